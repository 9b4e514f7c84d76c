#include "ops/gemm_variants.h"

#include <stdio.h>

#include "ops/epilogue.h"
#include "ops/gemm_clblast.h"
#include "ops/gemm_parameters.h"
#include "ops/gemm_x.h"
#include "quant/weights.h"
#include "runtime/checked.h"
#include "runtime/clblast.h"

enum {
  /* Of K in one chunk, when out cannot hold partial sums: both sides lie in private memory, floats
   * four times as wide. */
  MOST_CODES = 32768,
  MOST_FLOATS = 16384,
  MOST_ROW = 262144 /* of K in a row that is converted whole: a MiB */
};

/* "at most 4 rows", until the thread's next one. */
static const char *wanted(const char *bound, int32_t count, const char *what) {
  static _Thread_local char text[48];
  (void)snprintf(text, sizeof text, "%s %d %s", bound, (int)count, what);
  return text;
}

static const char *few_rows(const clq_context *context, const void *args) {
  const clq_gemm_args *a = args;
  const int32_t most = clqi_gemm_parameters_of(context, a).row_form_rows;
  return a->x.shape[0] <= most ? NULL : wanted("at most", most, "rows");
}

/* A tile of tensor cores has 16 rows. */
static const char *many_rows(const clq_context *context, const void *args) {
  const clq_gemm_args *a = args;
  const int32_t least = clqi_gemm_parameters_of(context, a).mma_rows;
  return a->x.shape[0] >= least ? NULL : wanted("at least", least, "rows");
}

static const char *one_row(const clq_context *context, const void *args) {
  (void)context;
  return ((const clq_gemm_args *)args)->x.shape[0] == 1 ? NULL : "one row";
}

/* The lane forms leave a GPU idle when there are few rows; slicing K helps where it has groups. */
static const char *many_groups(const clq_context *context, const void *args) {
  const clq_gemm_args *a = args;
  const clqi_gemm_parameters p = clqi_gemm_parameters_of(context, a);
  const int64_t groups = clqi_div_up(a->x.shape[1], clqi_gemm_sums_of(a).group);
  if (a->x.shape[0] > p.split_rows) {
    return wanted("at most", p.split_rows, "rows");
  }
  return groups >= p.split_groups ? NULL : wanted("at least", p.split_groups, "groups");
}

/* Between chunks of K, the CPU forms leave their partial sums in out. Where it cannot hold them
 * they take all of K at once. */
static const char *in_one_chunk(const clq_gemm_args *a, int32_t most, const char *bound) {
  return clqi_out_holds_sums(a) || a->x.shape[1] <= most ? NULL : bound;
}

static const char *one_chunk(const clq_context *context, const void *args) {
  (void)context;
  return in_one_chunk(args, MOST_CODES,
                      "K of 32768 or less for an out that cannot hold partial sums");
}

static const char *one_chunk_of_floats(const clq_context *context, const void *args) {
  (void)context;
  return in_one_chunk(args, MOST_FLOATS,
                      "K of 16384 or less for an out that cannot hold partial sums");
}

static const char *few_rows_one_chunk(const clq_context *context, const void *args) {
  const char *why_not = few_rows(context, args);
  return why_not == NULL ? one_chunk(context, args) : why_not;
}

/* What is no f32 yet becomes so in a work-item's own memory. */
static const char *few_rows_as_floats(const clq_context *context, const void *args) {
  const clq_gemm_args *a = args;
  const char *why_not = few_rows(context, args);
  return why_not != NULL                                      ? why_not
         : a->x.dtype == CLQ_F32 || a->x.shape[1] <= MOST_ROW ? NULL
                                                              : "K of 262144 or less";
}

/* A table of the device has to ask for it: its bits are not those of the others. */
static const char *clblast_is_asked_for(const clq_context *context, const void *args) {
  const clq_gemm_args *a = args;
  const int32_t least = clqi_gemm_parameters_of(context, a).clblast_rows;
  if (least == 0) {
    return "a tuned clblast_rows";
  }
  if (a->x.shape[0] < least) {
    return wanted("at least", least, "rows");
  }
  return a->x.shape[1] <= CLQI_CLBLAST_MOST_DEPTH ? clqi_clblast_missing() : "K of 524288 or less";
}

/* tile: rows of a work-item's tile (0: lane_rows of the tuned values, an option of the kernel), and
 * rows computed at once, which rows_at_once overrides where it is not 0. With neither x86 trait the
 * compiler's own vectors serve. */
static const clqi_variant integer_variants[] = {
    {"gemm_q8_row_vnni",
     CLQI_KERNEL_gemm_q8_row,
     NULL,
     CLQI_BIT(CPU) | CLQI_BIT(X86_VNNI),
     few_rows_one_chunk,
     {1, 1}},
    {"gemm_q8_tile_vnni",
     CLQI_KERNEL_gemm_q8_tile,
     NULL,
     CLQI_BIT(CPU) | CLQI_BIT(X86_VNNI),
     one_chunk,
     {8, 8}},
    {"gemm_q8_row_avx2",
     CLQI_KERNEL_gemm_q8_row,
     NULL,
     CLQI_BIT(CPU) | CLQI_BIT(X86_AVX2),
     few_rows_one_chunk,
     {1, 1}},
    {"gemm_q8_tile_avx2",
     CLQI_KERNEL_gemm_q8_tile,
     NULL,
     CLQI_BIT(CPU) | CLQI_BIT(X86_AVX2),
     one_chunk,
     {8, 4}},
    {"gemm_q8_row", CLQI_KERNEL_gemm_q8_row, NULL, CLQI_BIT(CPU), few_rows_one_chunk, {1, 1}},
    {"gemm_q8_tile", CLQI_KERNEL_gemm_q8_tile, NULL, CLQI_BIT(CPU), one_chunk, {8, 4}},
    {"gemm_q8_mma", CLQI_KERNEL_gemm_q8_mma, NULL, CLQI_BIT(NVIDIA_MMA), many_rows, {32, 256}},
    {"gemm_q8_split", CLQI_KERNEL_gemm_q8_split, NULL, 0, many_groups, {1, 1}},
    {"gemm_q8_lane_row", CLQI_KERNEL_gemm_q8_lane, "-DCLQ_ROWS=1", 0, one_row, {1, 1}},
    {"gemm_q8_lane", CLQI_KERNEL_gemm_q8_lane, NULL, 0, NULL, {0}},
};

static const clqi_variant float_variants[] = {
    {"gemm_f32_clblast", CLQI_KERNEL_gemm_f32_weights, NULL, 0, clblast_is_asked_for, {0}},
    {"gemm_f32_row",
     CLQI_KERNEL_gemm_f32_tile,
     "-DCLQ_ROWS=1",
     CLQI_BIT(CPU),
     few_rows_as_floats,
     {1}},
    {"gemm_f32_tile",
     CLQI_KERNEL_gemm_f32_tile,
     "-DCLQ_ROWS=8",
     CLQI_BIT(CPU),
     one_chunk_of_floats,
     {8}},
    {"gemm_f32_lane_row", CLQI_KERNEL_gemm_f32_lane, "-DCLQ_ROWS=1", 0, one_row, {1}},
    {"gemm_f32_lane", CLQI_KERNEL_gemm_f32_lane, NULL, 0, NULL, {0}},
};

static clqi_gemm_form choose(const clq_context *context, const clq_gemm_args *args,
                             const clqi_variant *table, size_t count) {
  clqi_gemm_form form = {.variant = clqi_first_fit(context, "gemm", table, count, args),
                         .parameters = clqi_gemm_parameters_of(context, args)};
  if (clqi_gemm_is_clblast(form.variant)) {
    return form; /* what its tiles are only CLBlast knows */
  }
  const bool tile = form.variant->kernel == CLQI_KERNEL_gemm_q8_tile;
  const int32_t *size = form.variant->tile;
  form.rows = size[0] != 0 ? size[0] : form.parameters.lane_rows;
  form.at_once = tile && form.parameters.rows_at_once != 0 ? form.parameters.rows_at_once
                 : size[0] == 0                            ? form.rows
                                                           : size[1];
  clqi_log_tile("gemm", form.rows, form.at_once == 0 ? 1 : form.at_once);
  return form;
}

clqi_gemm_form clqi_gemm_choose_integer(const clq_context *context, const clq_gemm_args *args) {
  return choose(context, args, integer_variants, CLQI_COUNT(integer_variants));
}

clqi_gemm_form clqi_gemm_choose_float(const clq_context *context, const clq_gemm_args *args) {
  return choose(context, args, float_variants, CLQI_COUNT(float_variants));
}
