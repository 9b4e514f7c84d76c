#include <stdio.h>

#include "ops/emit.h"
#include "ops/epilogue.h"
#include "ops/gemm_clblast.h"
#include "ops/gemm_tiling.h"
#include "ops/gemm_variants.h"
#include "ops/gemm_x.h"
#include "ops/op.h"
#include "ops/weights_args.h"
#include "quant/weights.h"
#include "runtime/checked.h"

static const char NAME[] = "gemm";

enum {
  MORE_BYTES = 96,   /* of build options: three of them, each a name and a number */
  FLOAT_ROW = 8192,  /* of a row that is converted whole; more if K is */
  SPLIT_LANES = 128, /* 16 columns by 8 slices of K */
  MMA_ITEMS = 128,   /* four warps of gemm_q8_mma.cl, */
  MMA_COLUMNS = 256, /* and their columns */
  ZERO_LANES = 64    /* work-group of gemm_sum_zero */
};

static const clqi_field fields[] = {
    CLQI_FIELD(clq_gemm_args, x, CLQI_IN, false),
    CLQI_FIELD(clq_gemm_args, bias, CLQI_IN, true),
    CLQI_FIELD(clq_gemm_args, gate, CLQI_IN, true),
    CLQI_FIELD(clq_gemm_args, residual, CLQI_IN, true),
    CLQI_FIELD(clq_gemm_args, x_outliers, CLQI_IN, true),
    CLQI_FIELD(clq_gemm_args, out, CLQI_OUT, false),
};

static clq_status infer(void *args) {
  clq_gemm_args *a = args;
  if (a->weights != NULL && a->out.shape[0] == 0 && a->out.shape[1] == 0) {
    a->out.shape[0] = a->x.shape[0];
    a->out.shape[1] = a->weights->rows;
  }
  return CLQ_OK;
}

static clq_status check(const clq_context *context, const void *args) {
  const clq_gemm_args *a = args;
  CLQI_REQUIRE(a->weights != NULL, "gemm: weights are missing");
  CLQI_REQUIRE(a->weights->context == context, "gemm: the weights belong to another context");
  CLQI_TRY(clqi_gemm_check_x(a));
  CLQI_TRY(clqi_check_epilogue(a, a->x.shape[0], a->weights->rows));
  if (a->x.shape[0] > INT32_MAX) {
    return clqi_fail(CLQ_UNSUPPORTED, "gemm: x has %lld rows, at most %d are offered",
                     (long long)a->x.shape[0], INT32_MAX);
  }
  return CLQ_OK;
}

static bool empty(const void *args) {
  const clq_gemm_args *a = args;
  return a->x.shape[0] == 0;
}

/* --- launch --- */

/* What every kernel takes behind x. */
static void shape_args(clqi_launch *l, const clq_gemm_args *a, int64_t group) {
  clqi_arg_weights(l, a->weights);
  clqi_arg_tensor(l, &a->out);
  clqi_arg_i64(l, clqi_stride(&a->x, 2, 0));
  clqi_arg_i64(l, clqi_stride(&a->out, 2, 0));
  clqi_arg_i32(l, (int32_t)a->x.shape[0]);
  clqi_arg_i32(l, (int32_t)a->weights->rows);
  clqi_arg_i32(l, (int32_t)a->weights->cols);
  clqi_arg_i32(l, (int32_t)group);
  clqi_arg_order(l, a->weights);
  clqi_arg_epilogue(l, a);
}

static clq_status finish(clqi_launch *l, const clq_gemm_args *a, const size_t global[2],
                         const size_t local[2]) {
  const double m = (double)a->x.shape[0];
  const double n = (double)a->weights->rows;
  const double k = (double)a->weights->cols;
  return clqi_launch_end(
      l, 2, global, local,
      clqi_gemm_x_bytes(a) + clqi_weights_row_bytes(a->weights, n) + clqi_epilogue_bytes(a),
      2.0 * m * n * k + clqi_epilogue_ops(a));
}

static void lane_range(const clq_gemm_args *a, const clqi_gemm_form *f, size_t global[2],
                       size_t local[2]) {
  const int32_t lanes = f->parameters.lanes;
  global[0] = (size_t)(clqi_div_up(a->weights->rows, lanes) * lanes);
  global[1] = (size_t)clqi_div_up(a->x.shape[0], f->rows);
  local[0] = (size_t)lanes;
  local[1] = 1;
}

static bool rows_are_words(const clq_gemm_args *a) {
  return a->x.offset % 4 == 0 && clqi_stride(&a->x, 2, 0) % 4 == 0 && a->x.shape[1] % 4 == 0;
}

static int64_t next_power_of_two(int64_t value) {
  int64_t p = 1;
  while (p < value) {
    p *= 2;
  }
  return p;
}

/* Elements of K in a chunk. A power of two, so that programs are few. */
static int64_t chunk_of(int64_t whole, int64_t usual) {
  return whole > usual ? next_power_of_two(whole) : usual;
}

/* Chunks would cut a row's weights, one stream through memory, into pieces. */
static int64_t least_chunk(const clqi_gemm_form *f, int64_t group, int64_t whole) {
  const bool row = f->variant->kernel == CLQI_KERNEL_gemm_q8_row;
  return row && whole <= f->parameters.row_chunk ? whole : group;
}

static clq_status launch_integer(clqi_emitter *emitter, const clq_gemm_args *a) {
  const clq_weights *w = a->weights;
  const clqi_gemm_form f = clqi_gemm_choose_integer(emitter->context, a);
  const clqi_variant *v = f.variant;
  const bool split = v->kernel == CLQI_KERNEL_gemm_q8_split;
  const bool mma = v->kernel == CLQI_KERNEL_gemm_q8_mma;
  const bool lanes = split || mma || v->kernel == CLQI_KERNEL_gemm_q8_lane;
  const bool tile = v->kernel == CLQI_KERNEL_gemm_q8_tile;
  const clqi_gemm_sums sums = clqi_gemm_sums_of(a);
  const int64_t group = sums.group;
  const int64_t whole = clqi_div_up(w->padded_cols, group) * group;
  const int64_t least = clqi_out_holds_sums(a) ? least_chunk(&f, group, whole) : whole;
  const int64_t chunk = chunk_of(least, f.parameters.chunk);
  char more[MORE_BYTES];
  if (lanes) {
    const int used = snprintf(more, sizeof more, "-DCLQ_X_WORDS=%d", rows_are_words(a));
    if (v->kernel == CLQI_KERNEL_gemm_q8_lane && v->options == NULL) {
      (void)snprintf(more + used, sizeof more - (size_t)used, " -DCLQ_ROWS=%d", (int)f.rows);
    }
  } else {
    const int used = snprintf(more, sizeof more, "-DCLQ_SUM_GROUP=%d -DCLQ_CHUNK=%lld",
                              group == 32 || group == 16 ? (int)group : 0, (long long)chunk);
    if (tile) {
      (void)snprintf(more + used, sizeof more - (size_t)used, " -DCLQ_BLOCK=%d", (int)f.at_once);
    }
  }
  char weights[CLQI_WEIGHTS_OPTIONS_BYTES];
  char epilogue[CLQI_EPILOGUE_OPTIONS_BYTES];
  char acts[CLQI_GEMM_X_OPTIONS_BYTES];
  clqi_weights_options(w, weights);
  clqi_epilogue_options(a, epilogue);
  clqi_gemm_x_options(a, acts);
  clqi_launch l;
  clqi_begin(&l, emitter, v, "%s %s %s %s", weights, epilogue, acts, more);
  clqi_arg_tensor(&l, &a->x);
  clqi_arg_scale(&l, &a->x);
  clqi_arg_sum(&l, &a->x);
  clqi_arg_zero(&l, &a->x);
  shape_args(&l, a, group);
  clqi_arg_i32(&l, (int32_t)sums.w_ratio);
  if (split) {
    const size_t columns = (size_t)clqi_div_up(w->rows, CLQI_TILE) * SPLIT_LANES;
    return finish(&l, a, (size_t[]){columns, (size_t)a->x.shape[0]}, (size_t[]){SPLIT_LANES, 1});
  }
  if (mma) {
    const size_t columns = (size_t)clqi_div_up(w->rows, MMA_COLUMNS) * MMA_ITEMS;
    const size_t row_blocks = (size_t)clqi_div_up(a->x.shape[0], f.rows);
    return finish(&l, a, (size_t[]){columns, row_blocks}, (size_t[]){MMA_ITEMS, 1});
  }
  if (lanes) {
    size_t global[2];
    size_t local[2];
    lane_range(a, &f, global, local);
    return finish(&l, a, global, local);
  }
  /* The form for few rows takes one for each work-item. */
  const clqi_gemm_tiling t = clqi_gemm_tile(emitter->context, w, &f.parameters, a->x.shape[0],
                                            f.rows, tile ? f.parameters.row_tiles : 1, chunk);
  clqi_arg_i32(&l, t.tiles);
  if (tile) {
    clqi_arg_i32(&l, t.row_tiles);
  }
  return finish(&l, a, t.global, NULL);
}

static clq_status launch_float(clqi_emitter *emitter, const clq_gemm_args *a) {
  const clq_weights *w = a->weights;
  const clqi_gemm_form f = clqi_gemm_choose_float(emitter->context, a);
  if (clqi_gemm_is_clblast(f.variant)) {
    return clqi_gemm_launch_clblast(emitter, a, f.variant);
  }
  const int64_t group = w->groups <= 1 ? w->padded_cols : w->group;
  char weights[CLQI_WEIGHTS_OPTIONS_BYTES];
  clqi_weights_options(w, weights);
  const bool lanes = f.variant->kernel == CLQI_KERNEL_gemm_f32_lane;
  const bool tile = !lanes && f.rows > 1;
  /* With all of K in one chunk there is room for one tile of rows only: both are private memory. */
  const int64_t usual = f.parameters.chunk;
  const int64_t chunk = chunk_of(tile && !clqi_out_holds_sums(a) ? w->padded_cols : 0, usual);
  const int64_t row_tiles = chunk > usual ? 1 : f.parameters.row_tiles;
  char more[MORE_BYTES] = "";
  if (tile) {
    (void)snprintf(more, sizeof more, " -DCLQ_CHUNK=%lld -DCLQ_ROW_TILES=%lld", (long long)chunk,
                   (long long)row_tiles);
  } else if (lanes && f.variant->options == NULL) {
    (void)snprintf(more, sizeof more, " -DCLQ_ROWS=%d", (int)f.rows);
  } else if (!lanes && a->x.dtype != CLQ_F32) {
    (void)snprintf(more, sizeof more, " -DCLQ_CHUNK=%lld",
                   (long long)chunk_of(a->x.shape[1], FLOAT_ROW));
  }
  char epilogue[CLQI_EPILOGUE_OPTIONS_BYTES];
  char acts[CLQI_GEMM_X_OPTIONS_BYTES];
  clqi_epilogue_options(a, epilogue);
  clqi_gemm_x_options(a, acts);
  clqi_launch l;
  clqi_begin(&l, emitter, f.variant, "%s %s %s%s", weights, epilogue, acts, more);
  clqi_arg_tensor(&l, &a->x);
  if (a->x.quant.per != 0) {
    clqi_arg_scale(&l, &a->x);
    clqi_arg_zero(&l, &a->x);
    clqi_arg_i32(&l, clqi_gemm_x_group(a));
  }
  shape_args(&l, a, group);
  if (lanes) {
    size_t global[2];
    size_t local[2];
    lane_range(a, &f, global, local);
    return finish(&l, a, global, local);
  }
  const clqi_gemm_tiling t =
      clqi_gemm_tile(emitter->context, w, &f.parameters, a->x.shape[0], f.rows, row_tiles, chunk);
  clqi_arg_i32(&l, t.tiles);
  clqi_arg_i32(&l, t.row_tiles);
  return finish(&l, a, t.global, NULL);
}

/* A launch of its own: tiles, in any order, add to the sums. */
static clq_status zero_sums(clqi_emitter *emitter, const clq_gemm_args *a) {
  const int64_t rows = a->x.shape[0];
  clqi_launch l;
  clqi_launch_begin(&l, emitter, CLQI_KERNEL_gemm_sum_zero, NULL);
  clqi_arg_sum(&l, &a->out);
  clqi_arg_i32(&l, (int32_t)rows);
  return clqi_launch_end(&l, 1, (size_t[]){(size_t)clqi_div_up(rows, ZERO_LANES) * ZERO_LANES},
                         (size_t[]){ZERO_LANES}, (double)sizeof(cl_int) * (double)rows, 0.0);
}

static clq_status launch(clqi_emitter *emitter, const void *args) {
  const clq_gemm_args *a = args;
  if (a->out.quant.sum != NULL) {
    CLQI_TRY(zero_sums(emitter, a));
  }
  return clqi_gemm_is_integer(a) ? launch_integer(emitter, a) : launch_float(emitter, a);
}

const clqi_op clqi_op_gemm = {
    .name = NAME,
    .args_bytes = sizeof(clq_gemm_args),
    .fields = fields,
    .field_count = CLQI_COUNT(fields),
    .in_place = "residual",
    .infer = infer,
    .check = check,
    .empty = empty,
    .launch = launch,
};

clq_status clq_gemm(clq_stream *stream, const clq_gemm_args *args) {
  return clqi_op_run(stream, &clqi_op_gemm, args);
}

clq_status clq_gemm_grouped(clq_stream *stream, const clq_gemm_args *args, int32_t count) {
  CLQI_REQUIRE(stream != NULL, "gemm_grouped: stream must not be NULL");
  CLQI_REQUIRE(count >= 0 && (args != NULL || count == 0),
               "gemm_grouped: %d products are asked for, expected 0 or more and their arguments",
               (int)count);
  return clqi_op_run_all(stream, &clqi_op_gemm, args, count);
}
