/* pool against its reference bit for bit, in every form, and against exact sums. */
#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "forms.h"
#include "opencl.h"
#include "ref/math.h"
#include "ref/pool.h"

TestSuite(pool, .fini = opencl_none_live);

/* Lengths of sequences, an empty one first, last and between; 0 rows before and 3 behind. */
static const int lengths[] = {0, 1, 2, 3, 17, 0, 64, 1, 130, 0};
enum { SEQUENCES = sizeof lengths / sizeof lengths[0], BEHIND = 3, GAP = 5 };

typedef struct setting {
  clq_dtype x, out;
  clq_pooling pooling;
  bool normalize;
  float eps;
} setting;

/* Three programs, with that of wide rows below: each is slow to build. */
static const setting settings[] = {
    {CLQ_F32, CLQ_F32, 0, false, 0.0f},
    {CLQ_F32, CLQ_F32, CLQ_POOL_FIRST, false, 0.0f},
    {CLQ_F32, CLQ_F32, CLQ_POOL_LAST, false, 0.0f},
    {CLQ_BF16, CLQ_F16, CLQ_POOL_MEAN, true, 0.0f},
    {CLQ_BF16, CLQ_F16, CLQ_POOL_FIRST, true, 0.0f},
    {CLQ_BF16, CLQ_F16, CLQ_POOL_LAST, true, 100.0f},
};

/* v as an element of `type` at p; what it then stands for. */
static float put(clq_dtype type, float v, void *p) {
  if (type == CLQ_F32) {
    memcpy(p, &v, 4);
    return v;
  }
  const uint16_t bits = type == CLQ_F16 ? clqi_ref_f16_from_f32(v) : clqi_ref_bf16_from_f32(v);
  memcpy(p, &bits, 2);
  return type == CLQ_F16 ? clqi_ref_f32_from_f16(bits) : clqi_ref_f32_from_bf16(bits);
}

/* One call of packed sequences, with gaps between rows of x and of out. */
typedef struct call {
  setting set;
  int64_t rows, cols, sequences;
  float *x; /* [rows, cols], rounded to set.x when the call is made */
  const int32_t *starts;
} call;

static unsigned char *run(const test_device *d, const call *c, clq_status finish,
                          const char *sentence) {
  const size_t x_size = clq_dtype_bytes(c->set.x);
  const size_t out_size = clq_dtype_bytes(c->set.out);
  const int64_t stride = c->cols + GAP;
  const size_t x_bytes = (size_t)((c->rows - 1) * stride + c->cols) * x_size;
  const size_t out_bytes = (size_t)((c->sequences - 1) * stride + c->cols) * out_size;
  unsigned char *x = calloc(x_bytes, 1);
  for (int64_t r = 0; r < c->rows; ++r) {
    for (int64_t i = 0; i < c->cols; ++i) {
      float *v = &c->x[r * c->cols + i];
      *v = put(c->set.x, *v, x + (size_t)(r * stride + i) * x_size);
    }
  }
  test_buffer xb = test_buffer_new(d, x, x_bytes);
  test_buffer sb = test_buffer_new(d, c->starts, (size_t)(c->sequences + 1) * 4);
  test_buffer ob = test_buffer_new(d, NULL, out_bytes);
  test_ok(clq_pool(
      d->stream, &(clq_pool_args){.x = {xb.mem, c->set.x, {c->rows, c->cols}, {stride, 1}},
                                  .starts = {sb.mem, CLQ_I32, {c->sequences + 1}},
                                  .out = {ob.mem, c->set.out, {c->sequences, c->cols}, {stride, 1}},
                                  .pooling = c->set.pooling,
                                  .normalize = c->set.normalize,
                                  .eps = c->set.eps}));
  if (finish != CLQ_OK) {
    test_fails(clq_stream_finish(d->stream), finish, sentence);
  }
  unsigned char *got = malloc(out_bytes);
  test_buffer_read(d, &ob, got);
  test_buffer_free(&xb);
  test_buffer_free(&sb);
  test_buffer_free(&ob);
  free(x);
  return got;
}

static clqi_ref_pool_of reference_of(const call *c) {
  return (clqi_ref_pool_of){c->rows, c->cols, c->set.pooling == 0 ? CLQ_POOL_MEAN : c->set.pooling,
                            c->set.normalize, c->set.eps == 0.0f ? 1e-12f : c->set.eps};
}

static bool is_nan(clq_dtype type, const unsigned char *p) {
  uint32_t bits = 0;
  memcpy(&bits, p, clq_dtype_bytes(type));
  const uint32_t infinity = type == CLQ_F32 ? 0x7f800000U : type == CLQ_F16 ? 0x7c00U : 0x7f80U;
  return (bits & (type == CLQ_F32 ? 0x7fffffffU : 0x7fffU)) > infinity;
}

static void expect_reference(const call *c, const unsigned char *got) {
  const size_t size = clq_dtype_bytes(c->set.out);
  const clqi_ref_pool_of of = reference_of(c);
  float *expected = malloc((size_t)(c->sequences * c->cols) * sizeof *expected);
  (void)clqi_ref_pool(c->x, c->starts, c->sequences, &of, expected);
  for (int64_t s = 0; s < c->sequences; ++s) {
    for (int64_t i = 0; i < c->cols + (s + 1 < c->sequences ? GAP : 0); ++i) {
      unsigned char bits[4];
      memset(bits, 0xA5, sizeof bits);
      if (i < c->cols) {
        (void)put(c->set.out, expected[s * c->cols + i], bits);
      }
      const unsigned char *p = got + (size_t)(s * (c->cols + GAP) + i) * size;
      cr_assert(memcmp(p, bits, size) == 0 || (is_nan(c->set.out, p) && is_nan(c->set.out, bits)),
                "%s to %s, pooling %d, normalize %d: sequence %lld, column %lld of %lld",
                clq_dtype_name(c->set.x), clq_dtype_name(c->set.out), (int)c->set.pooling,
                c->set.normalize, (long long)s, (long long)i, (long long)c->cols);
    }
  }
  free(expected);
}

static int64_t starts_of(int32_t *starts, int64_t before) {
  starts[0] = (int32_t)before;
  for (int i = 0; i < SEQUENCES; ++i) {
    starts[i + 1] = starts[i] + lengths[i];
  }
  return starts[SEQUENCES] + BEHIND;
}

static call call_new(setting set, int64_t cols, const int32_t *starts, int64_t rows) {
  call c = {set, rows, cols, SEQUENCES, malloc((size_t)(rows * cols) * sizeof(float)), starts};
  test_random random = {(uint64_t)cols};
  for (int64_t i = 0; i < rows * cols; ++i) {
    c.x[i] = test_random_normal(&random) + (float)(i % 7);
  }
  return c;
}

static void check(const test_device *d, const int64_t *widths, int count) {
  for (size_t i = 0; i < sizeof settings / sizeof settings[0]; ++i) {
    for (int w = 0; w < count; ++w) {
      int32_t starts[SEQUENCES + 1];
      const int64_t rows = starts_of(starts, i % 2 == 0 ? 0 : 2);
      call c = call_new(settings[i], widths[w], starts, rows);
      unsigned char *got = run(d, &c, CLQ_OK, NULL);
      expect_reference(&c, got);
      free(got);
      free(c.x);
    }
  }
}

Test(pool, is_the_reference_bit_for_bit) {
  static const int64_t widths[] = {1, 4, 63, 64, 65, 257, 384, 1025};
  for (test_forms f = {0}; test_forms_next(&f);) {
    check(&f.device, widths, sizeof widths / sizeof widths[0]);
    test_forms_saw(&f, "pool", "pool_rows", "pool_group");
  }
}

Test(pool, tiny_widths) {
  static const int64_t widths[] = {5, 70};
  for (test_forms f = {0}; test_forms_next(&f);) {
    check(&f.device, widths, 2);
  }
}

/* Rows too wide for what is kept of one. */
Test(pool, wide_rows_have_the_bits_of_what_is_computed_twice) {
  enum { KEPT = 4096 };
  static const int64_t widths[] = {KEPT + 1, KEPT + 68};
  for (test_forms f = {0}; test_forms_next(&f);) {
    int32_t starts[SEQUENCES + 1] = {0, 2, 3, 9};
    for (int w = 0; w < 2; ++w) {
      call c =
          call_new((setting){CLQ_F16, CLQ_BF16, CLQ_POOL_MEAN, true, 0.0f}, widths[w], starts, 9);
      c.sequences = 3;
      unsigned char *got = run(&f.device, &c, CLQ_OK, NULL);
      expect_reference(&c, got);
      free(got);
      free(c.x);
    }
  }
}

/* A sequence among others has the bits that it has alone; NaN and Inf stay in theirs. */
static void check_neighbours(const test_device *d) {
  enum { WITH_NAN = 6, WITH_INF = 4, COLS = 70 };
  const setting set = {CLQ_BF16, CLQ_F16, CLQ_POOL_MEAN, true, 0.0f};
  int32_t starts[SEQUENCES + 1];
  const int64_t rows = starts_of(starts, 0);
  call c = call_new(set, COLS, starts, rows);
  unsigned char *all = run(d, &c, CLQ_OK, NULL);
  c.x[(starts[WITH_NAN] + 5) * COLS + 3] = NAN;
  c.x[(starts[WITH_INF] + 1) * COLS + 69] = -INFINITY;
  unsigned char *broken = run(d, &c, CLQ_OK, NULL);
  expect_reference(&c, broken);
  for (int s = 0; s < SEQUENCES; ++s) {
    const size_t at = (size_t)(s * (COLS + GAP)) * 2;
    const bool first = is_nan(CLQ_F16, broken + at);
    const bool last = is_nan(CLQ_F16, broken + at + (size_t)(COLS - 1) * 2);
    cr_assert(first == (s == WITH_NAN) && last == (s == WITH_NAN || s == WITH_INF), "%d", s);
    if (s != WITH_NAN && s != WITH_INF) {
      const call one = {set, rows, COLS, 1, c.x, starts + s};
      unsigned char *alone = run(d, &one, CLQ_OK, NULL);
      cr_assert_arr_eq(all + at, alone, COLS * 2, "sequence %d", s);
      cr_assert_arr_eq(broken + at, alone, COLS * 2, "sequence %d", s);
      free(alone);
    }
  }
  free(all);
  free(broken);
  free(c.x);
}

Test(pool, sequences_do_not_notice_each_other) {
  for (test_forms f = {0}; test_forms_next(&f);) {
    check_neighbours(&f.device);
  }
}

/* Sums in plain f32 would be off by a hundred times the bound. */
Test(pool, means_are_exact_but_for_the_last_bits) {
  enum { ROWS = 100000, COLS = 3 };
  test_device d = test_device_open(NULL);
  const int32_t starts[] = {0, ROWS};
  call c = {{CLQ_F32, CLQ_F32, 0, false, 0.0f}, ROWS, COLS, 1, NULL, starts};
  c.x = malloc((size_t)ROWS * COLS * sizeof *c.x);
  test_random random = {8};
  double sums[COLS] = {0};
  for (int64_t i = 0; i < (int64_t)ROWS * COLS; ++i) {
    c.x[i] = 1000.0f + test_random_normal(&random);
    sums[i % COLS] += (double)c.x[i];
  }
  unsigned char *got = run(&d, &c, CLQ_OK, NULL);
  for (int i = 0; i < COLS; ++i) {
    float v;
    memcpy(&v, got + sizeof v * (size_t)i, sizeof v);
    cr_assert_float_eq((double)v, sums[i] / ROWS, 1000.0 * (0x1p-22 + 1e10 * 0x1p-47), "%d", i);
    cr_assert_float_eq((double)v, sums[i] / ROWS, 1000.0 * 0x1p-23, "%d", i);
  }
  free(got);
  free(c.x);
  test_device_close(&d);
}

/* The others are as ever, nothing outside x is read, and the stream works on. */
static void check_bad_starts(const test_device *d) {
  enum { ROWS = 6, COLS = 33 };
  static const struct {
    int32_t starts[4];
    const char *sentence;
  } bad[] = {
      {{0, 2, 1, 6}, "pool: starts of sequence 1 are not rows of x in ascending order"},
      {{-1, 2, 2, 6}, "sequence 0"},
      {{0, 2, 2, 7}, "sequence 2"},
      {{0, 1, 3, INT32_MAX}, "sequence 2"},
      {{INT32_MIN, 1, 3, 6}, "sequence 0"},
  };
  for (size_t i = 0; i < sizeof bad / sizeof bad[0]; ++i) {
    const setting set = {CLQ_F32, CLQ_F32, i % 2 == 0 ? CLQ_POOL_MEAN : CLQ_POOL_LAST, false, 0.0f};
    call c = call_new(set, COLS, bad[i].starts, ROWS);
    c.sequences = 3;
    unsigned char *got = run(d, &c, CLQ_INVALID_ARGUMENT, bad[i].sentence);
    expect_reference(&c, got);
    free(got);
    c.starts = (const int32_t[]){0, 2, 2, 6};
    got = run(d, &c, CLQ_OK, NULL);
    expect_reference(&c, got);
    free(got);
    free(c.x);
  }
}

Test(pool, tiny_starts_that_are_none_give_zeros_and_an_error) {
  for (test_forms f = {0}; test_forms_next(&f);) {
    check_bad_starts(&f.device);
  }
}

Test(pool, refusals) {
  test_device d = test_device_open(NULL);
  test_buffer b = test_buffer_new(&d, NULL, 4 * 64);
  test_buffer starts = test_buffer_new(&d, (const int32_t[]){0, 1, 4}, 12);
  test_buffer out = test_buffer_new(&d, NULL, 4 * 32);
  const clq_pool_args good = {.x = {b.mem, CLQ_F32, {4, 16}},
                              .starts = {starts.mem, CLQ_I32, {3}},
                              .out = {out.mem, CLQ_F32}};
  const clq_status bad = CLQ_INVALID_ARGUMENT;
  test_ok(clq_pool(d.stream, &good));
  clq_pool_args a = good;
  a.pooling = 4;
  test_fails(clq_pool(d.stream, &a), bad, "pool: pooling is 4, expected one of");
  a = good;
  a.eps = -1.0f;
  test_fails(clq_pool(d.stream, &a), bad, "pool: eps is -1, expected 0");
  a.eps = NAN;
  test_fails(clq_pool(d.stream, &a), bad, "pool: eps is nan");
  a = good;
  a.x.dtype = CLQ_I32;
  test_fails(clq_pool(d.stream, &a), CLQ_UNSUPPORTED, "pool: dtype of x is i32, offered: f32, f16");
  a = good;
  a.starts.dtype = CLQ_F32;
  test_fails(clq_pool(d.stream, &a), CLQ_UNSUPPORTED, "pool: dtype of starts is f32");
  a = good;
  a.starts.shape[0] = 0;
  test_fails(clq_pool(d.stream, &a), bad, "pool: dimension 0 of starts is 0, expected 1 or more");
  a = good;
  a.out.shape[0] = 3;
  a.out.shape[1] = 16;
  test_fails(clq_pool(d.stream, &a), bad, "(sequences of starts)");
  a.out.shape[0] = 2;
  a.out.shape[1] = 15;
  test_fails(clq_pool(d.stream, &a), bad, "(cols of x)");
  a = good;
  a.starts.shape[0] = 1;
  test_ok(clq_pool(d.stream, &a));
  a = good;
  a.x.shape[0] = 5;
  test_fails(clq_pool(d.stream, &a), bad, "the buffer of x has 256 bytes");
  test_ok(clq_stream_finish(d.stream));
  test_buffer_free(&b);
  test_buffer_free(&starts);
  test_buffer_free(&out);
  test_device_close(&d);
}
