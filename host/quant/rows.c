#include "quant/rows.h"

#include <math.h>
#include <string.h>

#include "quant/formats.h"
#include "quant/parallel.h"
#include "runtime/checked.h"
#include "runtime/status.h"

/* Of FBGEMM's 8-bit rows. */
static const float EPSILON = 1e-8f;

enum { CHUNK = 64, OPERATIONS_PER_ELEMENT = 8 };

const char *clq_row_format_name(clq_row_format format) {
  static const char *const names[] = {"f32", "f16", "bf16", "8bit", "4bit", "2bit"};
  return format >= CLQ_ROW_F32 && format <= CLQ_ROW_2BIT ? names[format - CLQ_ROW_F32] : "?";
}

int64_t clq_row_bytes(clq_row_format format, int64_t cols) {
  if (cols < 0 || cols > INT64_MAX / 8) {
    return 0;
  }
  switch (format) {
    case CLQ_ROW_F32: return 4 * cols;
    case CLQ_ROW_F16:
    case CLQ_ROW_BF16: return 2 * cols;
    case CLQ_ROW_8BIT: return cols + 8;
    case CLQ_ROW_4BIT: return (cols + 1) / 2 + 4;
    case CLQ_ROW_2BIT: return (cols + 3) / 4 + 4;
  }
  return 0;
}

static uint32_t bits_of(float x) {
  uint32_t bits;
  memcpy(&bits, &x, sizeof bits);
  return bits;
}

/* Nearest, ties to even; what is too large becomes infinite. x is no NaN. */
static uint16_t f16_of(float x) {
  const uint32_t sign = bits_of(x) >> 16 & 0x8000U;
  const float size = fabsf(x);
  if (size < 0x1p-14f) {
    return (uint16_t)(sign | (uint32_t)lrintf(size * 0x1p24f));
  }
  const uint32_t bits = bits_of(size);
  const uint32_t rounded = (bits + 0xfffU + (bits >> 13 & 1U)) >> 13;
  return (uint16_t)(sign | (rounded >= (143U << 10) ? 0x7c00U : rounded - (112U << 10)));
}

static uint16_t bf16_of(float x) {
  const uint32_t bits = bits_of(x);
  return (uint16_t)((bits + 0x7fffU + (bits >> 16 & 1U)) >> 16);
}

static void put16(uint16_t bits, uint8_t *out) {
  out[0] = (uint8_t)bits;
  out[1] = (uint8_t)(bits >> 8);
}

static void put_f32(float x, uint8_t *out) {
  const uint32_t bits = bits_of(x);
  put16((uint16_t)bits, out);
  put16((uint16_t)(bits >> 16), out + 2);
}

/* The first of the smallest and of the largest. */
typedef struct range {
  float least, most;
} range;

static range range_of(const float *x, int64_t cols) {
  range r = {cols > 0 ? x[0] : 0.0f, cols > 0 ? x[0] : 0.0f};
  for (int64_t c = 1; c < cols; ++c) {
    r.least = x[c] < r.least ? x[c] : r.least;
    r.most = x[c] > r.most ? x[c] : r.most;
  }
  return r;
}

static bool quantize_8(const float *x, int64_t cols, uint8_t *out) {
  const range r = range_of(x, cols);
  const float width = r.most - r.least;
  const float inverse = 255.0f / (width + EPSILON);
  for (int64_t c = 0; c < cols && isfinite(width); ++c) {
    out[c] = (uint8_t)lrintf((x[c] - r.least) * inverse);
  }
  put_f32(width / 255.0f, out + cols);
  put_f32(r.least, out + cols + 4);
  return isfinite(width);
}

static bool quantize_narrow(const float *x, int64_t cols, int bits, uint8_t *out) {
  const range r = range_of(x, cols);
  const int per_byte = 8 / bits;
  const int64_t bytes = (cols + per_byte - 1) / per_byte;
  const long most = (1L << bits) - 1;
  const uint16_t bias = f16_of(r.least);
  const float least = clqi_f32_from_f16(bias);
  const float width = r.most - least;
  if (!isfinite(width)) {
    return false;
  }
  float scale = clqi_f32_from_f16(f16_of(width == 0.0f ? 1.0f : width / (float)most));
  scale = scale == 0.0f || isinf(1.0f / scale) ? 1.0f : scale;
  const float inverse = 1.0f / scale;
  memset(out, 0, (size_t)bytes);
  for (int64_t c = 0; c < cols && isfinite(scale); ++c) {
    const long code = lrintf((x[c] - least) * inverse);
    const uint32_t held = (uint32_t)(code < 0 ? 0 : code > most ? most : code);
    uint8_t *byte = &out[c / per_byte];
    *byte = (uint8_t)(*byte | held << (int)(c % per_byte) * bits);
  }
  put16(f16_of(scale), out + bytes);
  put16(bias, out + bytes + 2);
  return isfinite(scale);
}

static bool round_row(const float *x, int64_t cols, clq_row_format format, uint8_t *out) {
  bool good = true;
  for (int64_t c = 0; c < cols; ++c) {
    if (format == CLQ_ROW_F32) {
      put_f32(x[c], out + 4 * c);
      continue;
    }
    const uint16_t bits = format == CLQ_ROW_F16 ? f16_of(x[c]) : bf16_of(x[c]);
    good = good && (bits & 0x7fffU) < (format == CLQ_ROW_F16 ? 0x7c00U : 0x7f80U);
    put16(bits, out + 2 * c);
  }
  return good;
}

static bool all_finite(const float *x, int64_t cols) {
  for (int64_t c = 0; c < cols; ++c) {
    if (!isfinite(x[c])) {
      return false;
    }
  }
  return true;
}

static bool quantize_row(const float *x, int64_t cols, clq_row_format format, uint8_t *out) {
  switch (format) {
    case CLQ_ROW_8BIT: return quantize_8(x, cols, out);
    case CLQ_ROW_4BIT:
    case CLQ_ROW_2BIT: return quantize_narrow(x, cols, clqi_row_bits(format), out);
    default: return round_row(x, cols, format, out);
  }
}

typedef struct job {
  const clq_rows_desc *desc;
  int64_t row_bytes;
  uint8_t *out;
  int64_t
      bad[CLQI_MAX_THREADS]; /* the first row of a thread's that does not fit; INT64_MAX: none */
} job;

static const float *source(const clq_rows_desc *d, int64_t row) {
  return d->x + (d->pick == NULL ? row : (int64_t)d->pick[row]) * d->cols;
}

static void quantize_chunk(void *loop, int64_t index, int thread) {
  job *j = loop;
  const clq_rows_desc *d = j->desc;
  const int64_t end = (index + 1) * CHUNK < d->rows ? (index + 1) * CHUNK : d->rows;
  for (int64_t row = index * CHUNK; row < end; ++row) {
    const float *x = source(d, row);
    if (!all_finite(x, d->cols) ||
        !quantize_row(x, d->cols, d->format, j->out + row * j->row_bytes)) {
      j->bad[thread] = row < j->bad[thread] ? row : j->bad[thread];
      return;
    }
  }
}

static clq_status check(const clq_rows_desc *d, const void *out, int64_t row_bytes) {
  int64_t bytes = 0;
  int64_t elements = 0;
  CLQI_REQUIRE(d->format >= CLQ_ROW_F32 && d->format <= CLQ_ROW_2BIT,
               "rows_quantize: format is %d, expected one of clq_row_format (1 to 6)",
               (int)d->format);
  CLQI_REQUIRE(d->rows >= 0 && d->cols >= 0,
               "rows_quantize: %lld rows of %lld, expected 0 or more of each", (long long)d->rows,
               (long long)d->cols);
  CLQI_REQUIRE((row_bytes > 0 || d->cols == 0) && clqi_mul_i64(row_bytes, d->rows, &bytes) &&
                   clqi_mul_i64(d->rows, d->cols, &elements) && elements <= INT64_MAX / 4,
               "rows_quantize: the size overflows");
  CLQI_REQUIRE(out != NULL || bytes == 0, "rows_quantize: out must not be NULL");
  CLQI_REQUIRE(d->x != NULL || elements == 0, "rows_quantize: x must not be NULL");
  for (int64_t r = 0; d->pick != NULL && r < d->rows; ++r) {
    CLQI_REQUIRE(d->pick[r] >= 0, "rows_quantize: pick[%lld] is %d, expected 0 or more",
                 (long long)r, (int)d->pick[r]);
  }
  return CLQ_OK;
}

clq_status clq_rows_quantize(const clq_rows_desc *desc, void *out) {
  CLQI_REQUIRE(desc != NULL, "rows_quantize: desc must not be NULL");
  job j = {.desc = desc, .row_bytes = clq_row_bytes(desc->format, desc->cols), .out = out};
  CLQI_TRY(check(desc, out, j.row_bytes));
  for (int t = 0; t < CLQI_MAX_THREADS; ++t) {
    j.bad[t] = INT64_MAX;
  }
  const double work = (double)desc->rows * (double)desc->cols * OPERATIONS_PER_ELEMENT;
  clqi_parallel(quantize_chunk, &j, clqi_div_up(desc->rows, CHUNK), clqi_useful_threads(work));
  int64_t bad = INT64_MAX;
  for (int t = 0; t < CLQI_MAX_THREADS; ++t) {
    bad = j.bad[t] < bad ? j.bad[t] : bad;
  }
  CLQI_REQUIRE(bad == INT64_MAX,
               "rows_quantize: row %lld has a value that is not finite, or a range that %s does "
               "not hold",
               (long long)bad, clq_row_format_name(desc->format));
  return CLQ_OK;
}
