/* Tables for clq_lookup from functions of one number. Pure C, once per layer. */
#include <clquant/ops.h>
#include <math.h>
#include <string.h>

#include "runtime/status.h"

enum { ENTRIES = 256 };

double clq_scalar_relu(double x, void *user) {
  (void)user;
  return x < 0.0 ? 0.0 : x;
}

double clq_scalar_gelu(double x, void *user) {
  (void)user;
  return 0.5 * x * erfc(-x * sqrt(0.5));
}

double clq_scalar_gelu_tanh(double x, void *user) {
  (void)user;
  static const double ROOT_2_BY_PI = 0.79788456080286535588;
  return x / (1.0 + exp(-2.0 * ROOT_2_BY_PI * (x + 0.044715 * x * x * x)));
}

double clq_scalar_silu(double x, void *user) {
  (void)user;
  return x / (1.0 + exp(-x));
}

double clq_scalar_sigmoid(double x, void *user) {
  (void)user;
  return 1.0 / (1.0 + exp(-x));
}

double clq_scalar_tanh(double x, void *user) {
  (void)user;
  return tanh(x);
}

static bool is_byte(clq_dtype dtype) { return dtype == CLQ_I8 || dtype == CLQ_U8; }

static clq_status check_codes(const char *name, clq_dtype dtype, float scale, int32_t zero) {
  const int32_t low = dtype == CLQ_I8 ? -128 : 0;
  CLQI_REQUIRE(isfinite(scale) && scale > 0.0f,
               "lookup: %s_scale is %g, expected a finite positive number", name, (double)scale);
  CLQI_REQUIRE(zero >= low && zero <= low + 255, "lookup: %s_zero is %d, expected %d to %d (%s)",
               name, (int)zero, (int)low, (int)low + 255, clq_dtype_name(dtype));
  return CLQ_OK;
}

static clq_status check(const clq_lookup_desc *d, const void *table) {
  CLQI_REQUIRE(d != NULL && table != NULL && d->function != NULL,
               "lookup: desc, its function and table must not be NULL");
  CLQI_REQUIRE(is_byte(d->x), "lookup: x is %s, expected i8 or u8", clq_dtype_name(d->x));
  CLQI_TRY(check_codes("x", d->x, d->x_scale, d->x_zero));
  CLQI_REQUIRE(is_byte(d->out) || d->out == CLQ_F32 || d->out == CLQ_F16 || d->out == CLQ_BF16,
               "lookup: out is %s, expected i8, u8, f32, f16 or bf16", clq_dtype_name(d->out));
  return is_byte(d->out) ? check_codes("out", d->out, d->out_scale, d->out_zero) : CLQ_OK;
}

/* The nearest code, halves to even; NaN gives the zero point. */
static uint8_t code_of(const clq_lookup_desc *d, double y) {
  const double high = d->out == CLQ_I8 ? 127.0 : 255.0;
  const double low = d->out == CLQ_U8 ? 0.0 : d->out_zero == 0 ? -127.0 : -128.0;
  const double code = (isnan(y) ? 0.0 : rint(y / (double)d->out_scale)) + (double)d->out_zero;
  return (uint8_t)(int)fmin(fmax(code, low), high);
}

/* y in 16 bits, rounded once, halves to even. `fraction` of them are stored fraction bits. */
static uint16_t half_of(double y, int fraction, int bias) {
  const unsigned sign = signbit(y) ? 0x8000U : 0;
  const unsigned infinite = 0x7fffU >> fraction << fraction;
  if (isnan(y)) {
    return (uint16_t)(sign | infinite | 1U << (fraction - 1));
  }
  if (y == 0.0 || isinf(y)) {
    return (uint16_t)(sign | (y == 0.0 ? 0 : infinite));
  }
  int exponent = 0;
  (void)frexp(y, &exponent);
  exponent = exponent - 1 < 1 - bias ? 1 - bias : exponent - 1;
  if (exponent > bias) {
    return (uint16_t)(sign | infinite);
  }
  /* A carry into the exponent is right, up to infinity. */
  const unsigned units = (unsigned)rint(ldexp(fabs(y), fraction - exponent));
  return (uint16_t)(sign | (((unsigned)(exponent + bias - 1) << fraction) + units));
}

static void put(const clq_lookup_desc *d, double y, size_t entry, uint8_t *table) {
  const float single = (float)y;
  const uint16_t half = d->out == CLQ_F16 ? half_of(y, 10, 15) : half_of(y, 7, 127);
  switch (d->out) {
    case CLQ_F32: memcpy(table + sizeof single * entry, &single, sizeof single); return;
    case CLQ_F16:
    case CLQ_BF16: memcpy(table + sizeof half * entry, &half, sizeof half); return;
    default: table[entry] = code_of(d, y);
  }
}

clq_status clq_lookup_fill(const clq_lookup_desc *desc, void *table) {
  CLQI_TRY(check(desc, table));
  for (int entry = 0; entry < ENTRIES; ++entry) {
    const int code = desc->x == CLQ_I8 && entry > 127 ? entry - 256 : entry;
    const double x = (double)desc->x_scale * (double)(code - desc->x_zero);
    put(desc, desc->function(x, desc->user), (size_t)entry, table);
  }
  return CLQ_OK;
}
