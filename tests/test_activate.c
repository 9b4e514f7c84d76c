#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "forms.h"
#include "opencl.h"
#include "ref/epilogue.h"
#include "ref/math.h"
#include "ref/ref.h"

TestSuite(activate, .fini = opencl_none_live);

enum { ROWS = 3, PER_TOKEN = -1 };

static void saw(const test_forms *f) {
  test_forms_saw(f, "activate", "activate_rows", "activate_group");
}

/* One call: x and up are the halves of one buffer where they have one type, as a merged GEMM leaves
 * them. group: of codes; PER_TOKEN: a scale a row; 0: out is of floats. */
typedef struct setting {
  clq_activation activation;
  clq_dtype x, up, out; /* up 0: none */
  int64_t group;
} setting;

/* n values through a storage type and back; `stored` receives what the device gets. */
static void store(clq_dtype type, float *values, int64_t n, int64_t stride, int64_t cols,
                  unsigned char *stored) {
  for (int64_t i = 0; i < n; ++i) {
    const int64_t at = i / cols * stride + i % cols;
    if (type == CLQ_F32) {
      memcpy(stored + 4 * at, &values[i], 4);
    } else {
      const bool f16 = type == CLQ_F16;
      const uint16_t bits =
          f16 ? clqi_ref_f16_from_f32(values[i]) : clqi_ref_bf16_from_f32(values[i]);
      memcpy(stored + 2 * at, &bits, 2);
      values[i] = f16 ? clqi_ref_f32_from_f16(bits) : clqi_ref_f32_from_bf16(bits);
    }
  }
}

static void expect_floats(const test_device *d, const test_buffer *got, clq_dtype type,
                          const float *expected, int64_t n) {
  unsigned char *bytes = malloc(got->bytes);
  unsigned char *right = malloc(got->bytes);
  float *values = malloc((size_t)n * sizeof *values);
  memcpy(values, expected, (size_t)n * sizeof *values);
  store(type, values, n, n, n, right);
  test_buffer_read(d, got, bytes);
  cr_assert_arr_eq(bytes, right, got->bytes);
  free(bytes);
  free(right);
  free(values);
}

static void expect_codes(const test_device *d, const test_buffer got[3], const float *expected,
                         int64_t cols, int64_t group) {
  int8_t *codes = malloc(got[0].bytes);
  float *scales = malloc(got[1].bytes);
  int32_t *sums = malloc(got[2].bytes);
  clqi_ref_quantize(expected, ROWS, cols, group, codes, scales, sums);
  const void *const right[3] = {codes, scales, sums};
  for (int i = 0; i < 3; ++i) {
    unsigned char *bytes = malloc(got[i].bytes);
    test_buffer_read(d, &got[i], bytes);
    cr_assert_arr_eq(bytes, right[i], got[i].bytes, "cols %lld, plane %d", (long long)cols, i);
    free(bytes);
  }
  free(codes);
  free(scales);
  free(sums);
}

static void check(const test_device *d, const setting *s, int64_t cols) {
  const int64_t n = ROWS * cols;
  const bool halves = s->x == s->up;
  const int64_t stride = halves ? 2 * cols : cols;
  float *x = malloc((size_t)n * 4);
  float *up = malloc((size_t)n * 4);
  float *expected = malloc((size_t)n * 4);
  unsigned char *x_bytes = malloc((size_t)(ROWS * stride) * 4);
  unsigned char *up_bytes = malloc((size_t)n * 4);
  test_random random = {(uint64_t)cols};
  for (int64_t i = 0; i < n; ++i) {
    x[i] = 5.0f * test_random_normal(&random);
    up[i] = test_random_normal(&random);
  }
  x[0] = -200.0f; /* exp overflows; the answer is 0 */
  const size_t x_size = clq_dtype_bytes(s->x);
  store(s->x, x, n, stride, cols, x_bytes);
  if (s->up != 0) {
    store(s->up, up, n, stride, cols, halves ? x_bytes + (size_t)cols * x_size : up_bytes);
  }
  clqi_ref_activate(x, s->activation, s->up == 0 ? NULL : up, n, expected);
  const int64_t span = s->group > 0 ? s->group : cols;
  const int64_t planes = ROWS * ((cols + span - 1) / span);
  test_buffer xb = test_buffer_new(d, x_bytes, (size_t)(ROWS * stride) * x_size);
  test_buffer ub = test_buffer_new(d, up_bytes, (size_t)n * 4);
  test_buffer out[3] = {test_buffer_new(d, NULL, (size_t)n * clq_dtype_bytes(s->out)),
                        test_buffer_new(d, NULL, (size_t)planes * 4),
                        test_buffer_new(d, NULL, (size_t)planes * 4)};
  clq_activate_args args = {.x = {xb.mem, s->x, {ROWS, cols}, {stride, 1}},
                            .activation = s->activation,
                            .out = {out[0].mem, s->out}};
  if (s->up != 0) {
    args.up = (clq_tensor){ub.mem, s->up, {ROWS, cols}};
    if (halves) {
      args.up = args.x;
      args.up.offset = (uint64_t)cols * x_size;
    }
  }
  if (s->group != 0) {
    args.out.quant = (clq_quant){.per = s->group > 0 ? CLQ_PER_GROUP : CLQ_PER_TOKEN,
                                 .group = s->group > 0 ? (int32_t)s->group : 0,
                                 .scale = out[1].mem,
                                 .sum = out[2].mem};
  }
  test_ok(clq_activate(d->stream, &args));
  if (s->group == 0) {
    expect_floats(d, &out[0], s->out, expected, n);
  } else {
    expect_codes(d, out, expected, cols, span);
  }
  test_buffer_free(&xb);
  test_buffer_free(&ub);
  for (int i = 0; i < 3; ++i) {
    test_buffer_free(&out[i]);
  }
  free(x);
  free(up);
  free(expected);
  free(x_bytes);
  free(up_bytes);
}

/* Every activation, type, gate and kind of code; not every combination. */
static const setting settings[] = {
    {CLQ_ACTIVATION_SILU, CLQ_F32, CLQ_F32, CLQ_F32, 0},
    {CLQ_ACTIVATION_SILU, CLQ_F32, CLQ_F32, CLQ_I8, PER_TOKEN},
    {CLQ_ACTIVATION_SILU, CLQ_F32, CLQ_F32, CLQ_I8, 32},
    {CLQ_ACTIVATION_SILU, CLQ_F32, CLQ_F32, CLQ_I8, 24},
    {CLQ_ACTIVATION_RELU, CLQ_F16, 0, CLQ_F16, 0},
    {CLQ_ACTIVATION_GELU, CLQ_F16, 0, CLQ_I8, PER_TOKEN},
    {CLQ_ACTIVATION_GELU_TANH, CLQ_BF16, CLQ_F16, CLQ_BF16, 0},
    {CLQ_ACTIVATION_GELU, CLQ_F32, 0, CLQ_F32, 0},
    {CLQ_ACTIVATION_NONE, CLQ_F32, CLQ_BF16, CLQ_F16, 0},
};
enum { SETTINGS = sizeof settings / sizeof settings[0] };

Test(activate, is_the_reference_bit_for_bit) {
  static const int64_t widths[] = {1, 15, 16, 17, 32, 63, 100, 1536, 8192, 8193};
  for (test_forms f = {0}; test_forms_next(&f);) {
    for (size_t i = 0; i < SETTINGS; ++i) {
      for (size_t w = 0; w < sizeof widths / sizeof widths[0]; ++w) {
        check(&f.device, &settings[i], widths[w]);
      }
    }
    saw(&f);
  }
}

Test(activate, tiny_shapes_in_every_form) {
  for (test_forms f = {0}; test_forms_next(&f);) {
    check(&f.device, &settings[0], 1100);
    for (size_t i = 1; i < SETTINGS; ++i) {
      check(&f.device, &settings[i], 70);
    }
    saw(&f);
  }
}

Test(activate, in_place) {
  enum { COLS = 37, COUNT = ROWS * COLS };
  float x[COUNT];
  float expected[COUNT];
  test_random random = {7};
  for (int i = 0; i < COUNT; ++i) {
    x[i] = test_random_normal(&random);
  }
  clqi_ref_activate(x, CLQ_ACTIVATION_GELU, NULL, COUNT, expected);
  for (test_forms f = {0}; test_forms_next(&f);) {
    test_buffer b = test_buffer_new(&f.device, x, sizeof x);
    const clq_tensor t = {b.mem, CLQ_F32, {ROWS, COLS}};
    test_ok(
        clq_activate(f.device.stream,
                     &(clq_activate_args){.x = t, .activation = CLQ_ACTIVATION_GELU, .out = t}));
    expect_floats(&f.device, &b, CLQ_F32, expected, COUNT);
    test_buffer_free(&b);
  }
}

static double exactly(clq_activation activation, double x) {
  switch (activation) {
    case CLQ_ACTIVATION_RELU: return x < 0.0 ? 0.0 : x;
    case CLQ_ACTIVATION_GELU: return 0.5 * x * erfc(-x * sqrt(0.5));
    case CLQ_ACTIVATION_GELU_TANH:
      return x / (1.0 + exp(-2.0 * sqrt(2.0 / M_PI) * (x + 0.044715 * x * x * x)));
    case CLQ_ACTIVATION_SILU: return x / (1.0 + exp(-x));
    default: return x;
  }
}

/* What ops.h promises: within 2^-22 * |x|, and one rounding for the gate. */
Test(activate, reference_agrees_with_double) {
  const float up = 1.25f;
  for (clq_activation a = CLQ_ACTIVATION_NONE; a <= CLQ_ACTIVATION_SILU; ++a) {
    for (int i = -4000; i <= 4000; ++i) {
      const float x = (float)i * 0.01f;
      float out;
      clqi_ref_activate(&x, a, &up, 1, &out);
      const double exact = exactly(a, (double)x) * (double)up;
      const double bound = 0x1p-22 * fabs((double)x) * (double)up + 0x1p-24 * fabs(exact) + 1e-44;
      cr_assert(fabs((double)out - exact) <= bound, "%d at %g: %g, expected %g", (int)a, (double)x,
                (double)out, exact);
    }
  }
}
