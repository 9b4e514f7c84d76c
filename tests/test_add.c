#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "forms.h"
#include "opencl.h"
#include "ref/epilogue.h"
#include "ref/math.h"
#include "ref/ref.h"

TestSuite(add, .fini = opencl_none_live);

enum { ROWS = 3, MOST_COLS = 1100, MOST = ROWS * MOST_COLS, PAD = 7 };

/* One input. */
typedef struct kind {
  clq_dtype dtype;
  clq_granularity per; /* of codes */
  bool zero;
} kind;

/* One call. group: of codes whose scales are found, 0 for one a row. */
typedef struct setting {
  kind a, b, out;
  int32_t group;
} setting;

/* What an input holds, and its buffers; rows are PAD elements apart. */
typedef struct input {
  float values[MOST];
  unsigned char bytes[4 * (MOST + ROWS * PAD)];
  float scales[MOST_COLS];
  int32_t zeros[MOST_COLS];
  test_buffer mem, scale, zero;
  clq_tensor tensor;
} input;

static bool is_codes(clq_dtype dtype) { return dtype == CLQ_I8 || dtype == CLQ_U8; }

static float rounded(clq_dtype dtype, float v) {
  return dtype == CLQ_F16    ? clqi_ref_f32_from_f16(clqi_ref_f16_from_f32(v))
         : dtype == CLQ_BF16 ? clqi_ref_f32_from_bf16(clqi_ref_bf16_from_f32(v))
                             : v;
}

static void store(clq_dtype dtype, float v, unsigned char *bytes, int64_t at) {
  const uint16_t half = dtype == CLQ_F16 ? clqi_ref_f16_from_f32(v) : clqi_ref_bf16_from_f32(v);
  if (dtype == CLQ_F32) {
    memcpy(bytes + 4 * at, &v, 4);
  } else {
    memcpy(bytes + 2 * at, &half, 2);
  }
}

/* Which scale an element has. */
static int64_t plane_of(clq_granularity per, int64_t row, int64_t col) {
  return per == CLQ_PER_TOKEN ? row : per == CLQ_PER_CHANNEL ? col : 0;
}

static void input_open(input *in, const test_device *d, kind k, int64_t cols, uint64_t seed) {
  test_random random = {seed + (uint64_t)cols};
  const int64_t stride = cols + PAD;
  for (int i = 0; i < MOST_COLS; ++i) {
    in->scales[i] = 0.001f * (float)test_random_int(&random, 1, 90);
    in->zeros[i] = test_random_int(&random, -100, 100);
  }
  for (int64_t i = 0; i < ROWS * cols; ++i) {
    const int64_t at = i / cols * stride + i % cols;
    if (is_codes(k.dtype)) {
      const int64_t plane = plane_of(k.per, i / cols, i % cols);
      const uint8_t byte = (uint8_t)test_random_u32(&random);
      const int32_t code = k.dtype == CLQ_I8 ? (int8_t)byte : byte;
      in->bytes[at] = byte;
      in->values[i] = in->scales[plane] * (float)(code - (k.zero ? in->zeros[plane] : 0));
    } else {
      in->values[i] = rounded(k.dtype, 3.0f * test_random_normal(&random));
      store(k.dtype, in->values[i], in->bytes, at);
    }
  }
  const size_t planes = k.per == CLQ_PER_CHANNEL ? (size_t)cols : k.per == CLQ_PER_TOKEN ? ROWS : 1;
  in->mem = test_buffer_new(d, in->bytes,
                            clq_dtype_bytes(k.dtype) * (size_t)((ROWS - 1) * stride + cols));
  in->scale = test_buffer_new(d, in->scales, 4 * planes);
  in->zero = test_buffer_new(d, in->zeros, 4 * planes);
  in->tensor = (clq_tensor){in->mem.mem, k.dtype, {ROWS, cols}, {stride, 1}};
  if (is_codes(k.dtype)) {
    in->tensor.quant =
        (clq_quant){.per = k.per, .scale = in->scale.mem, .zero = k.zero ? in->zero.mem : NULL};
  }
}

static void input_close(input *in) {
  test_buffer_free(&in->mem);
  test_buffer_free(&in->scale);
  test_buffer_free(&in->zero);
}

/* The output's planes: what the references make of the sums. */
typedef struct planes {
  unsigned char bytes[4 * MOST];
  float scales[MOST];
  int32_t zeros[MOST], sums[MOST];
  size_t count, sum_count;
} planes;

static void expect_row(const setting *s, const float *sums, int64_t cols, int64_t row, planes *p) {
  const int64_t group = s->group == 0 ? cols : s->group;
  const int32_t low = s->out.dtype == CLQ_U8 ? 0 : -128;
  int32_t codes[MOST_COLS];
  p->sums[row] = s->out.per == CLQ_PER_TENSOR ? 0 : p->sums[row];
  for (int64_t begin = 0, g = row * ((cols + group - 1) / group); begin < cols;
       begin += group, ++g) {
    const int64_t n = begin + group < cols ? group : cols - begin;
    const float *x = sums + row * cols + begin;
    if (s->out.per == CLQ_PER_TENSOR) {
      for (int64_t i = 0; i < n; ++i) {
        codes[begin + i] =
            clqi_ref_static_code(x[i], p->scales[0], s->out.zero ? p->zeros[0] : 0, low);
        p->sums[row] += codes[begin + i];
      }
    } else if (s->out.zero) {
      p->sums[g] =
          clqi_ref_quantize_asymmetric(x, n, low, codes + begin, &p->scales[g], &p->zeros[g]);
    } else {
      int8_t symmetric[MOST_COLS];
      p->sums[g] = clqi_ref_quantize_group(x, n, symmetric, &p->scales[g]);
      for (int64_t i = 0; i < n; ++i) {
        codes[begin + i] = symmetric[i];
      }
    }
  }
  for (int64_t i = 0; i < cols; ++i) {
    p->bytes[row * cols + i] = (unsigned char)codes[i];
  }
}

static void expect(const setting *s, const float *sums, int64_t cols, planes *p) {
  const int64_t group = s->group == 0 ? cols : s->group;
  p->scales[0] = 0.07f;
  p->zeros[0] = s->out.dtype == CLQ_U8 ? 120 : -9;
  p->sum_count = ROWS * (size_t)((cols + group - 1) / group);
  p->count = s->out.per == CLQ_PER_TENSOR ? 1 : p->sum_count;
  for (int64_t r = 0; r < ROWS; ++r) {
    if (is_codes(s->out.dtype)) {
      expect_row(s, sums, cols, r, p);
    } else {
      for (int64_t i = r * cols; i < (r + 1) * cols; ++i) {
        store(s->out.dtype, sums[i], p->bytes, i);
      }
    }
  }
}

static void same(const test_device *d, const test_buffer *got, const void *expected,
                 const char *what, int64_t cols) {
  unsigned char *bytes = malloc(got->bytes);
  test_buffer_read(d, got, bytes);
  cr_assert_arr_eq(bytes, expected, got->bytes, "%s, %lld columns", what, (long long)cols);
  free(bytes);
}

static void check(const test_device *d, const setting *s, int64_t cols) {
  static input a;
  static input b;
  static float sums[MOST];
  static planes p;
  input_open(&a, d, s->a, cols, 1);
  input_open(&b, d, s->b, cols, 2);
  clqi_ref_add(a.values, b.values, ROWS * cols, sums);
  expect(s, sums, cols, &p);
  const bool given = s->out.per == CLQ_PER_TENSOR;
  test_buffer out = test_buffer_new(d, NULL, clq_dtype_bytes(s->out.dtype) * (size_t)(ROWS * cols));
  test_buffer scale = test_buffer_new(d, given ? p.scales : NULL, 4 * p.count);
  test_buffer zero = test_buffer_new(d, given ? p.zeros : NULL, 4 * p.count);
  test_buffer sum = test_buffer_new(d, NULL, 4 * p.sum_count);
  clq_add_args args = {a.tensor, b.tensor, {out.mem, s->out.dtype}};
  if (is_codes(s->out.dtype)) {
    args.out.quant = (clq_quant){.per = s->out.per,
                                 .group = s->group,
                                 .scale = scale.mem,
                                 .zero = s->out.zero ? zero.mem : NULL,
                                 .sum = sum.mem};
  }
  test_ok(clq_add(d->stream, &args));
  same(d, &out, p.bytes, "elements", cols);
  if (is_codes(s->out.dtype)) {
    same(d, &scale, p.scales, "scales", cols);
    same(d, &sum, p.sums, "sums", cols);
    if (s->out.zero) {
      same(d, &zero, p.zeros, "zeros", cols);
    }
  }
  input_close(&a);
  input_close(&b);
  test_buffer_free(&out);
  test_buffer_free(&scale);
  test_buffer_free(&zero);
  test_buffer_free(&sum);
}

/* Every type and granularity of an input and kind of output; not every combination. */
static const setting settings[] = {
    {{CLQ_I8, CLQ_PER_TOKEN, false},
     {CLQ_I8, CLQ_PER_TENSOR, true},
     {CLQ_I8, CLQ_PER_TOKEN, false},
     0},
    {{CLQ_U8, CLQ_PER_CHANNEL, true}, {CLQ_F16, 0, false}, {CLQ_I8, CLQ_PER_GROUP, false}, 32},
    {{CLQ_F32, 0, false}, {CLQ_F32, 0, false}, {CLQ_F32, 0, false}, 0},
    {{CLQ_I8, CLQ_PER_CHANNEL, false},
     {CLQ_U8, CLQ_PER_TOKEN, true},
     {CLQ_U8, CLQ_PER_TENSOR, true},
     0},
    {{CLQ_BF16, 0, false}, {CLQ_I8, CLQ_PER_TENSOR, false}, {CLQ_F16, 0, false}, 0},
};
enum { SETTINGS = sizeof settings / sizeof settings[0] };

Test(add, is_the_reference_bit_for_bit_in_every_form) {
  static const int64_t widths[] = {1, 15, 33, 131, MOST_COLS};
  for (test_forms f = {0}; test_forms_next(&f);) {
    const bool cpu = test_has_trait(f.device.context, "cpu");
    for (size_t i = 0; i < (cpu ? SETTINGS : 1); ++i) {
      for (size_t w = 0; w < sizeof widths / sizeof widths[0]; ++w) {
        check(&f.device, &settings[i], widths[w]);
      }
    }
    test_forms_saw(&f, "add", "add_rows", "add_group");
  }
}

Test(add, tiny_in_place_with_nan_and_infinity) {
  enum { COLS = 37, COUNT = ROWS * COLS };
  float a[COUNT];
  float b[COUNT];
  float expected[COUNT];
  float got[COUNT];
  test_random random = {5};
  for (int i = 0; i < COUNT; ++i) {
    a[i] = test_random_normal(&random);
    b[i] = test_random_normal(&random);
  }
  a[3] = NAN;
  a[4] = INFINITY;
  a[5] = INFINITY;
  b[5] = -INFINITY;
  clqi_ref_add(a, b, COUNT, expected);
  for (test_forms f = {0}; test_forms_next(&f);) {
    for (int into = 0; into < 2; ++into) {
      test_buffer ab = test_buffer_new(&f.device, a, sizeof a);
      test_buffer bb = test_buffer_new(&f.device, b, sizeof b);
      const clq_tensor at = {ab.mem, CLQ_F32, {ROWS, COLS}};
      const clq_tensor bt = {bb.mem, CLQ_F32, {ROWS, COLS}};
      test_ok(clq_add(f.device.stream, &(clq_add_args){at, bt, into == 0 ? at : bt}));
      test_buffer_read(&f.device, into == 0 ? &ab : &bb, got);
      for (int i = 0; i < COUNT; ++i) {
        cr_assert(got[i] == expected[i] || (isnan(got[i]) && isnan(expected[i])), "element %d", i);
      }
      test_buffer_free(&ab);
      test_buffer_free(&bb);
    }
  }
}

Test(add, bad_arguments_are_named) {
  enum { COLS = 131 };
  test_device d = test_device_open(NULL);
  test_buffer b = test_buffer_new(&d, NULL, 4 * ROWS * COLS);
  test_buffer o = test_buffer_new(&d, NULL, 4 * ROWS * COLS);
  const clq_tensor t = {b.mem, CLQ_F32, {ROWS, COLS}};
  const clq_tensor out = {o.mem, CLQ_F32, {ROWS, COLS}};
  clq_tensor wrong = t;
  wrong.shape[1] = COLS - 1;
  test_fails(clq_add(d.stream, &(clq_add_args){t, wrong, out}), CLQ_INVALID_ARGUMENT,
             "add: dimension 1 of b is 130, expected 131 (cols of a)");
  wrong = t;
  wrong.dtype = CLQ_I32;
  test_fails(clq_add(d.stream, &(clq_add_args){t, wrong, out}), CLQ_UNSUPPORTED,
             "dtype of b is i32, offered: f32, f16, bf16, i8, u8");
  wrong.dtype = CLQ_I8;
  test_fails(clq_add(d.stream, &(clq_add_args){t, wrong, out}), CLQ_INVALID_ARGUMENT,
             "b is i8, so quant.per must say what shares a scale");
  wrong.quant = (clq_quant){.per = CLQ_PER_GROUP, .group = 32, .scale = b.mem};
  test_fails(clq_add(d.stream, &(clq_add_args){t, wrong, out}), CLQ_UNSUPPORTED,
             "b is quantized per group, offered: per tensor, per channel, per token");
  wrong.quant = (clq_quant){.per = CLQ_PER_TOKEN, .scale = b.mem};
  test_fails(clq_add(d.stream, &(clq_add_args){wrong, t, wrong}), CLQ_INVALID_ARGUMENT, "overlaps");
  test_buffer_free(&b);
  test_buffer_free(&o);
  test_device_close(&d);
}
