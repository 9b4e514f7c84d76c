#include "ops/gemm_clblast.h"

#include "ops/epilogue.h"
#include "ops/gemm_x.h"
#include "ops/weights_args.h"
#include "quant/weights.h"
#include "runtime/checked.h"

enum {
  LANES = 64, /* work-group of the kernels around the product */
  RUN = 32,   /* elements of K of a work-item of gemm_f32_weights */
  /* Most floats of each kind in scratch memory, 64 MiB together. */
  MOST_WEIGHTS = CLQI_CLBLAST_MOST_DEPTH * CLQI_TILE,
  MOST_X = MOST_WEIGHTS / 2,
  MOST_PRODUCTS = MOST_WEIGHTS / 2,
  MOST_COLUMNS = 1 << 16 /* so that there is room for rows of them */
};

/* How the product is cut, and what is not where CLBlast could take it or leave it: that goes
 * through the scratch memory, weights first, then products, then x. */
typedef struct slicing {
  int64_t rows;
  int64_t cols; /* a multiple of CLQI_TILE, which may be more than there are */
  bool widens_x;
  bool parks; /* the product does not lie in out until the end */
  cl_mem scratch;
  int64_t products_at, x_at; /* elements */
} slicing;

static int64_t least_of(int64_t a, int64_t b) { return a < b ? a : b; }

static slicing slicing_of(const clq_gemm_args *a) {
  const int64_t depth = a->weights->cols;
  const int64_t fitting = least_of(MOST_WEIGHTS / depth, MOST_COLUMNS) / CLQI_TILE * CLQI_TILE;
  const int64_t padded = clqi_div_up(a->weights->rows, CLQI_TILE) * CLQI_TILE;
  slicing s = {.rows = a->x.shape[0],
               .cols = least_of(fitting, padded),
               .widens_x = a->x.dtype != CLQ_F32,
               .parks = !clqi_out_holds_sums(a)};
  if (s.widens_x) {
    s.rows = least_of(s.rows, MOST_X / depth);
  }
  if (s.parks) {
    s.rows = least_of(s.rows, MOST_PRODUCTS / s.cols);
  }
  s.products_at = depth * s.cols;
  s.x_at = s.products_at + (s.parks ? s.rows * s.cols : 0);
  return s;
}

static clq_status take_scratch(clqi_emitter *emitter, const clq_gemm_args *a, slicing *s) {
  const int64_t floats = s->x_at + (s->widens_x ? s->rows * a->weights->cols : 0);
  const clq_status status =
      emitter->scratch(emitter, sizeof(cl_float) * (uint64_t)floats, &s->scratch);
  return status == CLQ_OK ? CLQ_OK : clqi_fail_prefix(status, "gemm: floats for CLBlast");
}

static void arg_scratch(clqi_launch *l, const slicing *s, int64_t element) {
  clqi_arg_buffer(l, s->scratch, sizeof(cl_float) * (uint64_t)element, sizeof(cl_float));
}

static clq_status end_lanes(clqi_launch *l, int64_t across, int64_t down, double bytes,
                            double ops) {
  const size_t width = (size_t)clqi_div_up(across, LANES) * LANES;
  return clqi_launch_end(l, 2, (size_t[]){width, (size_t)down}, (size_t[]){LANES, 1}, bytes, ops);
}

/* Columns from n0 on, as floats. */
static clq_status widen_weights(clqi_emitter *emitter, const clq_gemm_args *a,
                                const clqi_variant *v, const slicing *s, int64_t n0, int64_t cols) {
  const clq_weights *w = a->weights;
  char options[CLQI_WEIGHTS_OPTIONS_BYTES];
  clqi_weights_options(w, options);
  clqi_launch l;
  clqi_begin(&l, emitter, v, "%s", options);
  clqi_arg_weights(&l, w);
  arg_scratch(&l, s, 0);
  clqi_arg_i32(&l, (int32_t)n0);
  clqi_arg_i32(&l, (int32_t)cols);
  clqi_arg_i32(&l, (int32_t)w->cols);
  clqi_arg_i32(&l, (int32_t)(w->groups <= 1 ? w->padded_cols : w->group));
  clqi_arg_order(&l, w);
  const double floats = (double)cols * (double)w->cols;
  return end_lanes(&l, cols, clqi_div_up(w->cols, RUN),
                   clqi_weights_row_bytes(w, (double)cols) + sizeof(cl_float) * floats, floats);
}

/* Rows from m0 on, as floats. */
static clq_status widen_x(clqi_emitter *emitter, const clq_gemm_args *a, const slicing *s,
                          int64_t m0, int64_t rows) {
  char options[CLQI_GEMM_X_OPTIONS_BYTES];
  clqi_gemm_x_options(a, options);
  clqi_launch l;
  clqi_launch_begin(&l, emitter, CLQI_KERNEL_gemm_f32_x, options);
  clqi_arg_tensor(&l, &a->x);
  if (a->x.quant.per != 0) {
    clqi_arg_scale(&l, &a->x);
    clqi_arg_zero(&l, &a->x);
    clqi_arg_i32(&l, clqi_gemm_x_group(a));
  }
  arg_scratch(&l, s, s->x_at);
  clqi_arg_i64(&l, clqi_stride(&a->x, 2, 0));
  clqi_arg_i32(&l, (int32_t)m0);
  clqi_arg_i32(&l, (int32_t)a->weights->cols);
  const double floats = (double)rows * (double)a->weights->cols;
  return end_lanes(
      &l, a->weights->cols, rows,
      clqi_gemm_x_bytes(a) * (double)rows / (double)a->x.shape[0] + sizeof(cl_float) * floats, 0.0);
}

/* A tensor's rows of f32 from an element on. */
static clqi_matrix matrix_of(const clq_tensor *t, int64_t row, int64_t col) {
  const int64_t stride = clqi_stride(t, 2, 0);
  return (clqi_matrix){t->mem, t->offset / sizeof(cl_float) + (uint64_t)(row * stride + col),
                       stride};
}

/* One slice's product: out[m0 .. m0 + rows, n0 .. n0 + cols], or where it is parked. */
static clqi_sgemm sgemm_of(const clq_gemm_args *a, const slicing *s, int64_t m0, int64_t rows,
                           int64_t n0, int64_t cols) {
  const int64_t depth = a->weights->cols;
  const int64_t padded = clqi_div_up(cols, CLQI_TILE) * CLQI_TILE;
  return (clqi_sgemm){
      .x = s->widens_x ? (clqi_matrix){s->scratch, (uint64_t)s->x_at, depth}
                       : matrix_of(&a->x, m0, 0),
      .w = {s->scratch, 0, padded},
      .out = s->parks ? (clqi_matrix){s->scratch, (uint64_t)s->products_at, padded}
                      : matrix_of(&a->out, m0, n0),
      .rows = rows,
      .cols = cols,
      .depth = depth,
  };
}

/* What follows the product, upon its way into out. */
static clq_status finish(clqi_emitter *emitter, const clq_gemm_args *a, const clqi_sgemm *product,
                         int64_t m0, int64_t n0) {
  char options[CLQI_EPILOGUE_OPTIONS_BYTES];
  clqi_epilogue_options(a, options);
  clqi_launch l;
  clqi_launch_begin(&l, emitter, CLQI_KERNEL_gemm_f32_end, options);
  clqi_arg_buffer(&l, product->out.mem, sizeof(cl_float) * product->out.offset, sizeof(cl_float));
  clqi_arg_tensor(&l, &a->out);
  clqi_arg_i64(&l, product->out.stride);
  clqi_arg_i64(&l, clqi_stride(&a->out, 2, 0));
  clqi_arg_i32(&l, (int32_t)m0);
  clqi_arg_i32(&l, (int32_t)n0);
  clqi_arg_i32(&l, (int32_t)product->cols);
  clqi_arg_i32(&l, (int32_t)a->weights->rows);
  clqi_arg_epilogue(&l, a);
  const double elements = (double)product->rows * (double)product->cols;
  const double share = elements / ((double)a->x.shape[0] * (double)a->weights->rows);
  return end_lanes(&l, product->cols, product->rows,
                   sizeof(cl_float) * elements + share * clqi_epilogue_bytes(a),
                   share * clqi_epilogue_ops(a));
}

clq_status clqi_gemm_launch_clblast(clqi_emitter *emitter, const clq_gemm_args *a,
                                    const clqi_variant *variant) {
  const int64_t m = a->x.shape[0];
  const int64_t n = a->weights->rows;
  slicing s = slicing_of(a);
  CLQI_TRY(take_scratch(emitter, a, &s));
  for (int64_t m0 = 0; m0 < m; m0 += s.rows) {
    const int64_t rows = least_of(s.rows, m - m0);
    if (s.widens_x) {
      CLQI_TRY(widen_x(emitter, a, &s, m0, rows));
    }
    for (int64_t n0 = 0; n0 < n; n0 += s.cols) {
      const clqi_sgemm product = sgemm_of(a, &s, m0, rows, n0, least_of(s.cols, n - n0));
      CLQI_TRY(widen_weights(emitter, a, variant, &s, n0, product.w.stride));
      CLQI_TRY(clqi_launch_sgemm(emitter, &product));
      if (s.parks || !clqi_epilogue_is_plain(a)) {
        CLQI_TRY(finish(emitter, a, &product, m0, n0));
      }
    }
  }
  return CLQ_OK;
}
