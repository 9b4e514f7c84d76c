#include "ops/gemm_variants.h"

#include "ops/epilogue.h"
#include "quant/weights.h"
#include "runtime/checked.h"

enum { MOST_CHUNK = 16384 /* of K in one chunk, when out cannot hold partial sums */ };

/* A tile of eight rows takes as long as about four single ones. */
static const char *few_rows(const clq_context *context, const void *args) {
  (void)context;
  return ((const clq_gemm_args *)args)->x.shape[0] <= 4 ? NULL : "4 rows or fewer";
}

/* A tile of tensor cores has 16 rows. */
static const char *many_rows(const clq_context *context, const void *args) {
  (void)context;
  return ((const clq_gemm_args *)args)->x.shape[0] > 8 ? NULL : "more than 8 rows";
}

static const char *one_row(const clq_context *context, const void *args) {
  (void)context;
  return ((const clq_gemm_args *)args)->x.shape[0] == 1 ? NULL : "one row";
}

/* The lane forms leave a GPU idle when there are few rows; slicing K helps where it has groups. */
static const char *many_groups(const clq_context *context, const void *args) {
  const clq_gemm_args *a = args;
  const int64_t groups =
      clqi_gemm_x_is_grouped(a) ? clqi_div_up(a->x.shape[1], CLQI_ACTS_GROUP) : a->weights->groups;
  return groups >= 8 ? few_rows(context, args) : "8 groups";
}

/* Between chunks of K, the CPU forms leave their partial sums in out. Where it cannot hold them
 * they take all of K at once. */
static const char *one_chunk(const clq_context *context, const void *args) {
  (void)context;
  const clq_gemm_args *a = args;
  return clqi_out_holds_sums(a) || a->x.shape[1] <= MOST_CHUNK
             ? NULL
             : "K of 16384 or less for an out that cannot hold partial sums";
}

static const char *few_rows_one_chunk(const clq_context *context, const void *args) {
  const char *why_not = few_rows(context, args);
  return why_not == NULL ? one_chunk(context, args) : why_not;
}

/* tile: rows of a work-item's tile, rows computed at once, which the kernel learns from options.
 * With neither x86 trait the compiler's own vectors serve. */
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
     "-DCLQ_BLOCK=4",
     CLQI_BIT(CPU) | CLQI_BIT(X86_AVX2),
     one_chunk,
     {8, 4}},
    {"gemm_q8_row", CLQI_KERNEL_gemm_q8_row, NULL, CLQI_BIT(CPU), few_rows_one_chunk, {1, 1}},
    {"gemm_q8_tile", CLQI_KERNEL_gemm_q8_tile, "-DCLQ_BLOCK=4", CLQI_BIT(CPU), one_chunk, {8, 4}},
    {"gemm_q8_mma", CLQI_KERNEL_gemm_q8_mma, NULL, CLQI_BIT(NVIDIA_MMA), many_rows, {32, 256}},
    {"gemm_q8_split", CLQI_KERNEL_gemm_q8_split, NULL, 0, many_groups, {1, 1}},
    {"gemm_q8_lane_row", CLQI_KERNEL_gemm_q8_lane, "-DCLQ_ROWS=1", 0, one_row, {1, 1}},
    {"gemm_q8_lane", CLQI_KERNEL_gemm_q8_lane, "-DCLQ_ROWS=4", 0, NULL, {4, 4}},
};

static const clqi_variant float_variants[] = {
    {"gemm_f32_row", CLQI_KERNEL_gemm_f32_tile, "-DCLQ_ROWS=1", CLQI_BIT(CPU), one_row, {1}},
    {"gemm_f32_tile", CLQI_KERNEL_gemm_f32_tile, "-DCLQ_ROWS=8", CLQI_BIT(CPU), one_chunk, {8}},
    {"gemm_f32_lane_row", CLQI_KERNEL_gemm_f32_lane, "-DCLQ_ROWS=1", 0, one_row, {1}},
    {"gemm_f32_lane", CLQI_KERNEL_gemm_f32_lane, "-DCLQ_ROWS=4", 0, NULL, {4}},
};

const clqi_variant *clqi_gemm_choose_integer(const clq_context *context,
                                             const clq_gemm_args *args) {
  return clqi_choose(context, "gemm", integer_variants, CLQI_COUNT(integer_variants), args);
}

const clqi_variant *clqi_gemm_choose_float(const clq_context *context, const clq_gemm_args *args) {
  return clqi_choose(context, "gemm", float_variants, CLQI_COUNT(float_variants), args);
}
