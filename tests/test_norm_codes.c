/* int8 codes of the norms against codes made in double from the same inputs: at least 99.9 % are
 * equal, none is off by more than 1. The share is printed (--verbose). */
#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>

#include "device.h"
#include "opencl.h"

TestSuite(norm_codes, .fini = opencl_none_live);

enum { ROWS = 64, COLS = 2300, COUNT = ROWS * COLS };

typedef struct kind {
  const char *name;
  bool centered;
  clq_dtype type;
  clq_granularity per;
  int32_t group;
  bool zero;
} kind;

static int64_t group_of(const kind *k) { return k->per == CLQ_PER_GROUP ? k->group : COLS; }
static bool is_static(const kind *k) {
  return k->per == CLQ_PER_TENSOR || k->per == CLQ_PER_CHANNEL;
}
static int64_t planes_of(const kind *k) {
  return k->per == CLQ_PER_CHANNEL  ? COLS
         : k->per == CLQ_PER_TENSOR ? 1
                                    : ROWS * ((COLS + group_of(k) - 1) / group_of(k));
}

/* Channels of uneven ranges, an outlier here and there, rows of uneven means. */
static float *make_x(void) {
  float *x = malloc(COUNT * sizeof *x);
  test_random random = {5};
  for (int i = 0; i < COUNT; ++i) {
    const int row = i / COLS;
    const int col = i % COLS;
    const float range = ldexpf(1.0f, col % 5) * (col % 311 == 7 ? 10.0f : 1.0f);
    x[i] = range * test_random_normal(&random) + 3.0f * (float)(row % 7);
  }
  return x;
}

static void norm_in_double(const float *x, bool centered, double *y) {
  double mean = 0.0;
  double squares = 0.0;
  for (int i = 0; centered && i < COLS; ++i) {
    mean += (double)x[i] / COLS;
  }
  for (int i = 0; i < COLS; ++i) {
    squares += ((double)x[i] - mean) * ((double)x[i] - mean);
  }
  for (int i = 0; i < COLS; ++i) {
    y[i] = ((double)x[i] - mean) / sqrt(squares / COLS + (double)1e-5f);
  }
}

/* As tensor.h has found scales and zero points, in double. */
static void parameters_of(const kind *k, const double *y, int64_t n, double *scale, double *zero) {
  const double lo = k->type == CLQ_U8 ? 0.0 : -128.0;
  double least = 0.0;
  double most = 0.0;
  for (int64_t i = 0; i < n; ++i) {
    least = fmin(least, y[i]);
    most = fmax(most, y[i]);
  }
  *scale = k->zero ? (most - least) / 255.0 : fmax(most, -least) / 127.0;
  *zero = k->zero ? rint(lo - least / *scale) : 0.0;
}

static int code_of(const kind *k, double y, double scale, double zero) {
  const double lo = k->type == CLQ_U8 ? 0.0 : -128.0;
  return (int)fmin(fmax(rint(y / scale) + zero, lo), lo + 255.0);
}

typedef struct tally {
  int equal, apart;
} tally;

static tally compare(const kind *k, const float *x, const signed char *codes, const float *scales,
                     const int32_t *zeros) {
  static double y[COLS];
  tally t = {0};
  for (int r = 0; r < ROWS; ++r) {
    norm_in_double(x + r * COLS, k->centered, y);
    for (int64_t b = 0; b < COLS; b += group_of(k)) {
      const int64_t n = b + group_of(k) < COLS ? group_of(k) : COLS - b;
      double scale = 0.0;
      double zero = 0.0;
      if (!is_static(k)) {
        parameters_of(k, y + b, n, &scale, &zero);
      }
      for (int64_t i = 0; i < n; ++i) {
        if (is_static(k)) {
          const int64_t at = k->per == CLQ_PER_CHANNEL ? i : 0;
          scale = (double)scales[at];
          zero = k->zero ? (double)zeros[at] : 0.0;
        }
        const signed char stored = codes[r * COLS + b + i];
        const int got = k->type == CLQ_U8 ? (unsigned char)stored : stored;
        const int off = abs(got - code_of(k, y[b + i], scale, zero));
        t.equal += off == 0 ? 1 : 0;
        t.apart += off > 1 ? 1 : 0;
      }
    }
  }
  return t;
}

static void check(const test_device *d, const kind *k, const float *x) {
  const size_t planes = (size_t)planes_of(k);
  float *scales = malloc(planes * sizeof *scales);
  int32_t *zeros = malloc(planes * sizeof *zeros);
  signed char *codes = malloc(COUNT);
  for (size_t i = 0; i < planes; ++i) {
    scales[i] = 0.01f + 0.001f * (float)(i % 23);
    zeros[i] = (int32_t)(i % 41) - 20 + (k->type == CLQ_U8 ? 128 : 0);
  }
  test_buffer xb = test_buffer_new(d, x, COUNT * sizeof *x);
  test_buffer ob = test_buffer_new(d, NULL, COUNT);
  test_buffer sb = test_buffer_new(d, scales, planes * sizeof *scales);
  test_buffer zb = test_buffer_new(d, zeros, planes * sizeof *zeros);
  const clq_tensor in = {xb.mem, CLQ_F32, {ROWS, COLS}};
  const clq_tensor out = {
      ob.mem,
      k->type,
      {ROWS, COLS},
      .quant = {
          .per = k->per, .group = k->group, .scale = sb.mem, .zero = k->zero ? zb.mem : NULL}};
  if (k->centered) {
    test_ok(clq_layernorm(d->stream, &(clq_layernorm_args){.x = in, .out = out}));
  } else {
    test_ok(clq_rmsnorm(d->stream, &(clq_rmsnorm_args){.x = in, .out = out}));
  }
  test_buffer_read(d, &ob, codes);
  const tally t = compare(k, x, codes, scales, zeros);
  const double share = 100.0 * (double)t.equal / COUNT;
  cr_log_info("%s: %.4f %% equal, %d more than 1 apart, of %d", k->name, share, t.apart, COUNT);
  cr_expect_geq(share, 99.9, "%s: %.4f %% equal", k->name, share);
  cr_expect_eq(t.apart, 0, "%s: %d codes are off by more than 1", k->name, t.apart);
  test_buffer *all[] = {&xb, &ob, &sb, &zb};
  for (int i = 0; i < 4; ++i) {
    test_buffer_free(all[i]);
  }
  free(scales);
  free(zeros);
  free(codes);
}

Test(norm_codes, agree_with_double) {
  static const kind kinds[] = {
      {"layernorm, i8 per token", true, CLQ_I8, CLQ_PER_TOKEN, 0, false},
      {"layernorm, i8 per token, asymmetric", true, CLQ_I8, CLQ_PER_TOKEN, 0, true},
      {"layernorm, u8 per token, asymmetric", true, CLQ_U8, CLQ_PER_TOKEN, 0, true},
      {"layernorm, i8 per 32", true, CLQ_I8, CLQ_PER_GROUP, 32, false},
      {"layernorm, i8 per 64", true, CLQ_I8, CLQ_PER_GROUP, 64, false},
      {"layernorm, i8 per 128", true, CLQ_I8, CLQ_PER_GROUP, 128, false},
      {"layernorm, i8 per 128, asymmetric", true, CLQ_I8, CLQ_PER_GROUP, 128, true},
      {"layernorm, i8 per tensor", true, CLQ_I8, CLQ_PER_TENSOR, 0, false},
      {"layernorm, u8 per tensor, zero point", true, CLQ_U8, CLQ_PER_TENSOR, 0, true},
      {"layernorm, i8 per channel, zero points", true, CLQ_I8, CLQ_PER_CHANNEL, 0, true},
      {"rmsnorm, i8 per token", false, CLQ_I8, CLQ_PER_TOKEN, 0, false},
      {"rmsnorm, i8 per 32", false, CLQ_I8, CLQ_PER_GROUP, 32, false},
      {"rmsnorm, i8 per channel", false, CLQ_I8, CLQ_PER_CHANNEL, 0, false},
  };
  test_device d = test_device_open(NULL);
  float *x = make_x();
  for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; ++i) {
    check(&d, &kinds[i], x);
  }
  free(x);
  test_device_close(&d);
}
