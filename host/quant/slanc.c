#include <clquant/slanc.h>
#include <math.h>

#include "quant/norms.h"
#include "runtime/checked.h"
#include "runtime/memory.h"
#include "runtime/status.h"

/* Scales whose reciprocals are normal floats. */
#define SMALLEST_SCALE 0x1p-126
#define LARGEST_SCALE  0x1p126

/* Relative error of a scale. */
#define TOLERANCE 1e-5

static clq_status check_extent(const char *op, const char *name, int64_t extent) {
  CLQI_REQUIRE(extent >= 1, "%s: %s is %lld, expected 1 or more", op, name, (long long)extent);
  return CLQ_OK;
}

/* A matrix that is there and can be addressed. */
static clq_status check_size(const char *op, const char *name, const float *data, int64_t rows,
                             int64_t cols) {
  int64_t count = 0;
  CLQI_REQUIRE(data != NULL, "%s: %s must not be NULL", op, name);
  CLQI_REQUIRE(clqi_mul_i64(rows, cols, &count) && count <= INT64_MAX / (int64_t)sizeof *data,
               "%s: %s has %lld x %lld elements, which overflows", op, name, (long long)rows,
               (long long)cols);
  return CLQ_OK;
}

/* And holds numbers: once the sizes of all are known to be right. */
static clq_status check_matrix(const char *op, const char *name, const float *data, int64_t rows,
                               int64_t cols) {
  CLQI_TRY(check_size(op, name, data, rows, cols));
  const int64_t count = rows * cols;
  for (int64_t i = 0; i < count; ++i) {
    CLQI_REQUIRE(isfinite(data[i]),
                 "%s: %s is %g at row %lld, column %lld, expected a finite number", op, name,
                 (double)data[i], (long long)(i / cols), (long long)(i % cols));
  }
  return CLQ_OK;
}

static clq_status check_gamma(const char *op, const float *gamma, int64_t width) {
  return gamma == NULL ? CLQ_OK : check_matrix(op, "gamma", gamma, 1, width);
}

/* The power of two at or above s, or one that s passes by no more than its own error. */
static double round_to_power(double s) {
  int exponent = 0;
  const double mantissa = frexp(s, &exponent); /* [0.5, 1) */
  return ldexp(1.0, mantissa <= 0.5 * (1.0 + TOLERANCE) ? exponent - 1 : exponent);
}

static clq_status finish(const char *op, double s, clq_slanc_rounding rounding, float *scale) {
  CLQI_REQUIRE(s <= LARGEST_SCALE, "%s: the scale is %g, expected 2^126 at most", op, s);
  if (s < SMALLEST_SCALE) {
    *scale = 1.0f;
  } else {
    *scale = (float)(rounding == CLQ_SLANC_POWER_OF_TWO ? round_to_power(s) : s);
  }
  return CLQ_OK;
}

static clq_status check_rounding(const char *op, clq_slanc_rounding rounding) {
  CLQI_REQUIRE(rounding == CLQ_SLANC_EXACT || rounding == CLQ_SLANC_POWER_OF_TWO,
               "%s: rounding is %d, expected one of clq_slanc_rounding (0 or 1)", op,
               (int)rounding);
  return CLQ_OK;
}

/* --- attention --- */

static clq_status check_attention(const clq_slanc_attention_args *a) {
  static const char op[] = "slanc_attention";
  int64_t q_rows = 0;
  CLQI_TRY(check_rounding(op, a->rounding));
  CLQI_TRY(check_extent(op, "width", a->width));
  CLQI_TRY(check_extent(op, "heads", a->heads));
  CLQI_TRY(check_extent(op, "kv_heads", a->kv_heads));
  CLQI_TRY(check_extent(op, "head_dim", a->head_dim));
  CLQI_REQUIRE(a->heads % a->kv_heads == 0,
               "%s: %lld heads do not share %lld key-value heads evenly", op, (long long)a->heads,
               (long long)a->kv_heads);
  CLQI_REQUIRE(clqi_mul_i64(a->heads, a->head_dim, &q_rows),
               "%s: %lld heads of %lld elements overflow", op, (long long)a->heads,
               (long long)a->head_dim);
  CLQI_TRY(check_size(op, "value", a->value, a->kv_heads * a->head_dim, a->width));
  CLQI_TRY(check_size(op, "out", a->out, a->width, q_rows));
  CLQI_TRY(check_gamma(op, a->gamma, a->width));
  CLQI_TRY(check_matrix(op, "value", a->value, a->kv_heads * a->head_dim, a->width));
  return check_matrix(op, "out", a->out, a->width, q_rows);
}

/* P [width, heads * head_dim] to [width, kv_heads * head_dim]: the columns of the heads that share
 * a key-value head, added and divided by 2^shift >= heads / kv_heads, so that nothing overflows.
 * P W_V' with the rows of W_V repeated head by head is this times W_V, times 2^shift. */
static void fold_heads(const clq_slanc_attention_args *a, int shift, float *folded) {
  const int64_t group = a->heads / a->kv_heads;
  const double factor = ldexp(1.0, -shift);
  const float *row = a->out;
  for (int64_t i = 0; i < a->width; ++i) {
    for (int64_t kv = 0; kv < a->kv_heads; ++kv) {
      for (int64_t j = 0; j < a->head_dim; ++j) {
        double sum = 0.0;
        for (int64_t h = 0; h < group; ++h) {
          sum += (double)row[h * a->head_dim + j];
        }
        *folded++ = (float)(sum * factor);
      }
      row += group * a->head_dim;
    }
  }
}

clq_status clq_slanc_attention(const clq_slanc_attention_args *args, float *scale) {
  CLQI_REQUIRE(args != NULL && scale != NULL,
               "slanc_attention: arguments and result must not be NULL");
  CLQI_TRY(check_attention(args));
  clq_status status = CLQ_OK;
  const int64_t kv_rows = args->kv_heads * args->head_dim;
  double norm = 0.0;
  float *folded = NULL;
  clqi_product product = {.a = args->out,
                          .b = args->value,
                          .gamma = args->gamma,
                          .rows = args->width,
                          .depth = kv_rows,
                          .cols = args->width,
                          .factor = 1.0,
                          .identity = true};
  if (args->heads != args->kv_heads) {
    const int64_t group = args->heads / args->kv_heads;
    int shift = 0;
    (void)frexp((double)group, &shift);
    folded = clqi_calloc((size_t)args->width, (size_t)kv_rows * sizeof *folded);
    if (folded == NULL) {
      return clqi_fail(CLQ_OUT_OF_HOST_MEMORY, "slanc_attention: out of memory");
    }
    fold_heads(args, shift, folded);
    product.a = folded;
    product.factor = ldexp(1.0, shift);
  }
  CLQI_TRY_CLEAN(clqi_product_norm(&product, &norm));
  status = finish("slanc_attention", norm, args->rounding, scale);
cleanup:
  clqi_free(folded);
  return status;
}

/* --- feed-forward --- */

static clq_status check_mlp(const clq_slanc_mlp_args *a) {
  static const char op[] = "slanc_mlp";
  CLQI_TRY(check_rounding(op, a->rounding));
  CLQI_TRY(check_extent(op, "width", a->width));
  CLQI_TRY(check_extent(op, "hidden", a->hidden));
  CLQI_TRY(check_size(op, "up", a->up, a->hidden, a->width));
  CLQI_TRY(check_size(op, "down", a->down, a->width, a->hidden));
  CLQI_TRY(check_gamma(op, a->gamma, a->width));
  if (a->gate != NULL) {
    CLQI_TRY(check_matrix(op, "gate", a->gate, a->hidden, a->width));
  }
  CLQI_TRY(check_matrix(op, "up", a->up, a->hidden, a->width));
  return check_matrix(op, "down", a->down, a->width, a->hidden);
}

static clq_status gated_norm(const clq_slanc_mlp_args *a, double *norm) {
  const clqi_product product = {.a = a->down,
                                .b = a->up,
                                .gamma = a->gamma,
                                .rows = a->width,
                                .depth = a->hidden,
                                .cols = a->width,
                                .factor = 1.0};
  double linear = 0.0;
  double gate = 0.0;
  CLQI_TRY(clqi_product_norm(&product, &linear));
  CLQI_TRY(clqi_spectral_norm(a->gate, a->hidden, a->width, a->gamma, &gate));
  *norm = linear * gate;
  return CLQ_OK;
}

static clq_status standard_norm(const clq_slanc_mlp_args *a, double *norm) {
  double first = 0.0;
  double second = 0.0;
  double sum = 0.0;
  for (int64_t i = 0; i < a->width; ++i) {
    sum += a->gamma == NULL ? 1.0 : fabs((double)a->gamma[i]);
  }
  CLQI_TRY(clqi_spectral_norm(a->up, a->hidden, a->width, NULL, &first));
  CLQI_TRY(clqi_spectral_norm(a->down, a->width, a->hidden, NULL, &second));
  *norm = sum / (double)a->width * first * second;
  return CLQ_OK;
}

clq_status clq_slanc_mlp(const clq_slanc_mlp_args *args, float *scale) {
  CLQI_REQUIRE(args != NULL && scale != NULL, "slanc_mlp: arguments and result must not be NULL");
  CLQI_TRY(check_mlp(args));
  double norm = 0.0;
  CLQI_TRY(args->gate == NULL ? standard_norm(args, &norm) : gated_norm(args, &norm));
  return finish("slanc_mlp", norm, args->rounding, scale);
}
