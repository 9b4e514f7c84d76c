#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "device.h"
#include "opencl.h"
#include "ref/attention.h"
#include "ref/math.h"
#include "ref/ref.h"

TestSuite(attention, .fini = opencl_none_live);

typedef struct model {
  int64_t heads, kv_heads, head_dim;
  clq_dtype cache;
} model;

/* A sequence: queries of `length` rows and caches that hold its keys and values; behind them the
 * caches are full of NaN. Values are as the caches' dtype rounds them. */
typedef struct sequence {
  model m;
  int64_t length, capacity;
  float *q; /* [length, heads, head_dim] */
  void *k;  /* as the operator wants them */
  void *v;
  size_t cache_bytes;
} sequence;

static const char *const forms[] = {NULL, "x86_avx512", "cpu"};
enum { FORMS = sizeof forms / sizeof forms[0] };

static int64_t k_index(const sequence *s, int64_t head, int64_t key, int64_t d) {
  return head * s->capacity * s->m.head_dim + key / 16 * 16 * s->m.head_dim + d * 16 + key % 16;
}

static int64_t v_index(const sequence *s, int64_t head, int64_t key, int64_t d) {
  return (head * s->capacity + key) * s->m.head_dim + d;
}

static void put(const sequence *s, void *cache, int64_t i, float x) {
  if (s->m.cache == CLQ_F16) {
    ((uint16_t *)cache)[i] = clqi_ref_f16_from_f32(x);
  } else {
    ((float *)cache)[i] = x;
  }
}

static float get(const sequence *s, const void *cache, int64_t i) {
  return s->m.cache == CLQ_F16 ? clqi_ref_f32_from_f16(((const uint16_t *)cache)[i])
                               : ((const float *)cache)[i];
}

static sequence sequence_new(model m, int64_t length) {
  sequence s = {.m = m, .length = length, .capacity = (length + 47) / 16 * 16};
  const int64_t cached = m.kv_heads * s.capacity * m.head_dim;
  test_random random = {(uint64_t)(length * 1000 + m.heads * 10 + m.head_dim)};
  s.cache_bytes = (size_t)cached * clq_dtype_bytes(m.cache);
  s.q = malloc((size_t)(length * m.heads * m.head_dim) * sizeof *s.q);
  s.k = malloc(s.cache_bytes);
  s.v = malloc(s.cache_bytes);
  for (int64_t i = 0; i < length * m.heads * m.head_dim; ++i) {
    s.q[i] = 2.0f * test_random_float(&random);
  }
  for (int64_t h = 0; h < m.kv_heads; ++h) {
    for (int64_t key = 0; key < s.capacity; ++key) {
      for (int64_t d = 0; d < m.head_dim; ++d) {
        put(&s, s.k, k_index(&s, h, key, d),
            key < length ? 2.0f * test_random_float(&random) : NAN);
        put(&s, s.v, v_index(&s, h, key, d), key < length ? test_random_float(&random) : NAN);
      }
    }
  }
  return s;
}

static void sequence_free(sequence *s) {
  free(s->q);
  free(s->k);
  free(s->v);
}

/* Rows first .. first + rows - 1 of the sequence in one call, from position `position`. `gap`:
 * floats between the rows of q and of out. Returns [rows, heads * head_dim]. `status` of the
 * finish that follows goes to *finish if not NULL, else it must be CLQ_OK. */
static float *run_at(const test_device *d, const sequence *s, int64_t first, int64_t rows,
                     int64_t position, int64_t gap, clq_status *finish) {
  const int64_t width = s->m.heads * s->m.head_dim;
  const int64_t stride = width + gap;
  const size_t count = (size_t)((rows - 1) * stride + width);
  float *q = calloc(count, sizeof *q);
  for (int64_t r = 0; r < rows; ++r) {
    memcpy(q + r * stride, s->q + (first + r) * width, (size_t)width * sizeof *q);
  }
  const int32_t p = (int32_t)position;
  test_buffer qb = test_buffer_new(d, q, count * sizeof *q);
  test_buffer kb = test_buffer_new(d, s->k, s->cache_bytes);
  test_buffer vb = test_buffer_new(d, s->v, s->cache_bytes);
  test_buffer pb = test_buffer_new(d, &p, sizeof p);
  test_buffer ob = test_buffer_new(d, NULL, count * sizeof *q);
  const clq_tensor cache = {kb.mem, s->m.cache, {1, s->m.kv_heads, s->capacity, s->m.head_dim}};
  clq_attention_args args = {
      .q = {qb.mem, CLQ_F32, {rows, s->m.heads, s->m.head_dim}, {stride, s->m.head_dim, 1}},
      .cache = {cache, cache},
      .position = {pb.mem, CLQ_I32, {1}},
      .out = {ob.mem, CLQ_F32, {rows, width}, {stride, 1}},
  };
  args.cache.v.mem = vb.mem;
  test_ok(clq_attention(d->stream, &args));
  if (finish != NULL) {
    *finish = clq_stream_finish(d->stream);
  }
  test_buffer_read(d, &ob, q);
  float *out = malloc((size_t)(rows * width) * sizeof *out);
  for (int64_t r = 0; r < rows; ++r) {
    memcpy(out + r * width, q + r * stride, (size_t)width * sizeof *out);
    for (int64_t i = 0; r + 1 < rows && i < gap; ++i) {
      unsigned char untouched[4];
      memset(untouched, 0xA5, 4);
      cr_assert_arr_eq(q + r * stride + width + i, untouched, 4, "wrote between rows");
    }
  }
  test_buffer *buffers[] = {&qb, &kb, &vb, &pb, &ob};
  for (size_t i = 0; i < sizeof buffers / sizeof buffers[0]; ++i) {
    test_buffer_free(buffers[i]);
  }
  free(q);
  return out;
}

static float *run(const test_device *d, const sequence *s, int64_t first, int64_t rows) {
  return run_at(d, s, first, rows, first, (first + rows) % 3, NULL);
}

/* The largest sum of |scale * q * k| over the keys that the line sees. */
static double score_size(const sequence *s, int64_t row, int64_t head) {
  const float *q = s->q + (row * s->m.heads + head) * s->m.head_dim;
  const int64_t kv = head / (s->m.heads / s->m.kv_heads);
  double largest = 0.0;
  for (int64_t key = 0; key <= row; ++key) {
    double sum = 0.0;
    for (int64_t d = 0; d < s->m.head_dim; ++d) {
      sum += fabs((double)q[d] * (double)get(s, s->k, k_index(s, kv, key, d)));
    }
    largest = fmax(largest, sum / sqrt((double)s->m.head_dim));
  }
  return largest;
}

/* One row against the double reference; the bound is that of ops.h with max |v| <= 1. */
static void check_row(const sequence *s, int64_t row, const float *out) {
  const int64_t width = s->m.heads * s->m.head_dim;
  double *exact = malloc((size_t)width * sizeof *exact);
  double *scratch = malloc((size_t)s->capacity * sizeof *scratch);
  const int64_t bad = clqi_ref_attention_run(&(clqi_ref_attention){.q = s->q + row * width,
                                                                   .k_cache = s->k,
                                                                   .v_cache = s->v,
                                                                   .out = exact,
                                                                   .scratch = scratch,
                                                                   .cache_dtype = s->m.cache,
                                                                   .rows = 1,
                                                                   .heads = s->m.heads,
                                                                   .kv_heads = s->m.kv_heads,
                                                                   .head_dim = s->m.head_dim,
                                                                   .capacity = s->capacity,
                                                                   .position = row});
  cr_assert_eq(bad, 0);
  for (int64_t i = 0; i < width; ++i) {
    const double bound = 0x1p-21 * (1.0 + score_size(s, row, i / s->m.head_dim));
    const double error = fabs((double)out[i] - exact[i]);
    cr_assert(error <= bound,
              "row %lld, element %lld: %g, expected %g (head_dim %lld, heads %lld/%lld)",
              (long long)row, (long long)i, (double)out[i], exact[i], (long long)s->m.head_dim,
              (long long)s->m.heads, (long long)s->m.kv_heads);
    i += i % s->m.head_dim == 5 ? s->m.head_dim / 2 : 0;
  }
  free(exact);
  free(scratch);
}

static const model models[] = {
    {9, 3, 64, CLQ_F16}, {9, 3, 64, CLQ_F32}, {1, 1, 16, CLQ_F32}, {3, 1, 32, CLQ_F16}};
enum { MODELS = sizeof models / sizeof models[0] };

/* The last row of every length up to 70, alone: a decode step. */
static void decode_sweep(const test_device *d, model m) {
  sequence s = sequence_new(m, 70);
  const int64_t width = m.heads * m.head_dim;
  float *all = run(d, &s, 0, s.length);
  for (int64_t row = 0; row < s.length; ++row) {
    float *alone = run(d, &s, row, 1);
    check_row(&s, row, alone);
    cr_assert_arr_eq(alone, all + row * width, (size_t)width * sizeof *all,
                     "row %lld alone is not row %lld of %lld", (long long)row, (long long)row,
                     (long long)s.length);
    free(alone);
  }
  free(all);
  sequence_free(&s);
}

Test(attention, rows_up_to_70_keys) {
  for (size_t m = 0; m < MODELS; m += 2) {
    test_device d = test_device_open(NULL);
    decode_sweep(&d, models[m]);
    test_device_close(&d);
  }
}

/* Small enough for a simulated device. */
Test(attention, tiny_sequences) {
  static const model small[] = {{3, 1, 32, CLQ_F16}, {2, 2, 16, CLQ_F32}};
  test_device d = test_device_open(NULL);
  for (size_t m = 0; m < sizeof small / sizeof small[0]; ++m) {
    sequence s = sequence_new(small[m], 19);
    float *all = run(&d, &s, 0, s.length);
    float *last = run(&d, &s, s.length - 1, 1);
    for (int64_t row = 0; row < s.length; ++row) {
      check_row(&s, row, all + row * s.m.heads * s.m.head_dim);
    }
    check_row(&s, s.length - 1, last);
    free(all);
    free(last);
    sequence_free(&s);
  }
  test_device_close(&d);
}

/* Around one chunk of keys, two and four: prefill, parts of it, and single rows agree. */
Test(attention, lengths_around_chunks) {
  static const int64_t lengths[] = {255, 256, 257, 511, 512, 513, 1025};
  test_device d = test_device_open(NULL);
  for (size_t i = 0; i < sizeof lengths / sizeof lengths[0]; ++i) {
    sequence s = sequence_new(models[i % 2 * 2], lengths[i]);
    const int64_t width = s.m.heads * s.m.head_dim;
    float *all = run(&d, &s, 0, s.length);
    const int64_t rows[] = {0, 15, 16, 100, 254, s.length - 2, s.length - 1};
    for (size_t r = 0; r < sizeof rows / sizeof rows[0]; ++r) {
      check_row(&s, rows[r], all + rows[r] * width);
      float *alone = run(&d, &s, rows[r], 1);
      cr_assert_arr_eq(alone, all + rows[r] * width, (size_t)width * sizeof *all);
      free(alone);
    }
    static const int64_t counts[] = {2, 3, 4, 7, 31};
    for (size_t c = 0; c < sizeof counts / sizeof counts[0]; ++c) {
      const int64_t first = s.length - counts[c];
      float *part = run(&d, &s, first, counts[c]);
      cr_assert_arr_eq(part, all + first * width, (size_t)(counts[c] * width) * sizeof *all,
                       "%lld rows from %lld", (long long)counts[c], (long long)first);
      free(part);
    }
    free(all);
    sequence_free(&s);
  }
  test_device_close(&d);
}

/* Tiles for every register file and the portable form give the same bits. */
Test(attention, forms_agree_bit_for_bit) {
  static const int64_t lengths[] = {1, 16, 33, 300};
  for (size_t m = 0; m < MODELS; m += 2) {
    for (size_t i = 0; i < sizeof lengths / sizeof lengths[0]; ++i) {
      sequence s = sequence_new(models[m], lengths[i]);
      const size_t bytes = (size_t)(s.length * s.m.heads * s.m.head_dim) * sizeof(float);
      float *first = NULL;
      for (size_t f = 0; f < FORMS; ++f) {
        test_device d = test_device_open(forms[f]);
        float *out = run(&d, &s, 0, s.length);
        float *last = run(&d, &s, s.length - 1, 1);
        if (first == NULL) {
          first = out;
        } else {
          cr_assert_arr_eq(out, first, bytes, "%lld rows without %s", (long long)s.length,
                           forms[f]);
          free(out);
        }
        const int64_t width = s.m.heads * s.m.head_dim;
        cr_assert_arr_eq(last, first + (s.length - 1) * width, (size_t)width * sizeof *last);
        free(last);
        test_device_close(&d);
      }
      free(first);
      sequence_free(&s);
    }
  }
}

/* int8 groups of 32 are what quantizing the f32 result gives. */
static void check_i8(const test_device *d, model m, int64_t rows, bool sums) {
  sequence s = sequence_new(m, rows);
  const int64_t width = m.heads * m.head_dim;
  const size_t count = (size_t)(rows * width);
  float *out = run(d, &s, 0, rows);
  const int32_t position = 0;
  test_buffer qb = test_buffer_new(d, s.q, count * sizeof *out);
  test_buffer kb = test_buffer_new(d, s.k, s.cache_bytes);
  test_buffer vb = test_buffer_new(d, s.v, s.cache_bytes);
  test_buffer pb = test_buffer_new(d, &position, sizeof position);
  test_buffer ob = test_buffer_new(d, NULL, count);
  test_buffer sb = test_buffer_new(d, NULL, count / 32 * 4);
  test_buffer ub = test_buffer_new(d, NULL, count / 32 * 4);
  const clq_tensor cache = {kb.mem, m.cache, {1, m.kv_heads, s.capacity, m.head_dim}};
  clq_attention_args args = {
      .q = {qb.mem, CLQ_F32, {rows, m.heads, m.head_dim}},
      .cache = {cache, cache},
      .position = {pb.mem, CLQ_I32, {1}},
      .out = {
          ob.mem, CLQ_I8,
          .quant = {
              .per = CLQ_PER_GROUP, .group = 32, .scale = sb.mem, .sum = sums ? ub.mem : NULL}}};
  args.cache.v.mem = vb.mem;
  test_ok(clq_attention(d->stream, &args));
  int8_t *codes = malloc(count);
  int8_t *expected_codes = malloc(count);
  float *scales = malloc(count / 32 * 4);
  float *expected_scales = malloc(count / 32 * 4);
  int32_t *got_sums = malloc(count / 32 * 4);
  int32_t *expected_sums = malloc(count / 32 * 4);
  clqi_ref_quantize(out, rows, width, 32, expected_codes, expected_scales, expected_sums);
  test_buffer_read(d, &ob, codes);
  test_buffer_read(d, &sb, scales);
  test_buffer_read(d, &ub, got_sums);
  cr_assert_arr_eq(codes, expected_codes, count);
  cr_assert_arr_eq(scales, expected_scales, count / 32 * 4);
  if (sums) {
    cr_assert_arr_eq(got_sums, expected_sums, count / 32 * 4);
  }
  test_buffer *buffers[] = {&qb, &kb, &vb, &pb, &ob, &sb, &ub};
  for (size_t i = 0; i < sizeof buffers / sizeof buffers[0]; ++i) {
    test_buffer_free(buffers[i]);
  }
  free(out);
  free(codes);
  free(expected_codes);
  free(scales);
  free(expected_scales);
  free(got_sums);
  free(expected_sums);
  sequence_free(&s);
}

Test(attention, i8_is_the_quantized_f32) {
  for (size_t f = 0; f < FORMS; ++f) {
    test_device d = test_device_open(forms[f]);
    check_i8(&d, models[0], 35, true);
    if (forms[f] == NULL) {
      check_i8(&d, models[0], 9, false);
    }
    test_device_close(&d);
  }
}

/* A key or value that is not a number spoils the rows that see it and no other, whichever tile
 * they share. */
Test(attention, nan_stays_with_the_rows_that_see_it) {
  for (size_t f = 0; f < FORMS; ++f) {
    test_device d = test_device_open(forms[f]);
    for (int in_v = 0; in_v < 2; ++in_v) {
      sequence s = sequence_new(models[0], 40);
      const int64_t width = s.m.heads * s.m.head_dim;
      float *before = run(&d, &s, 0, s.length);
      const int64_t key = 21;
      put(&s, in_v ? s.v : s.k, in_v ? v_index(&s, 1, key, 3) : k_index(&s, 1, key, 3), NAN);
      float *after = run(&d, &s, 0, s.length);
      for (int64_t row = 0; row < s.length; ++row) {
        for (int64_t i = 0; i < width; ++i) {
          const int64_t head = i / s.m.head_dim;
          const bool spoilt =
              row >= key && head >= 3 && head < 6 && (!in_v || i % s.m.head_dim == 3);
          cr_assert(spoilt ? (bool)isnan(after[row * width + i])
                           : after[row * width + i] == before[row * width + i],
                    "row %lld, element %lld, %s", (long long)row, (long long)i, in_v ? "v" : "k");
        }
      }
      free(before);
      free(after);
      sequence_free(&s);
    }
    test_device_close(&d);
  }
}

/* Scores of -inf are a mask; a row of nothing else is zero; +inf cannot be computed. */
Test(attention, infinite_scores) {
  for (size_t f = 0; f < FORMS; ++f) {
    test_device d = test_device_open(forms[f]);
    sequence s = sequence_new((model){1, 1, 16, CLQ_F32}, 600);
    for (int64_t i = 0; i < s.length * 16; ++i) {
      s.q[i] = fabsf(s.q[i]) + 0.125f;
    }
    for (int64_t key = 0; key < 300; ++key) {
      put(&s, s.k, k_index(&s, 0, key, 0), -INFINITY);
    }
    put(&s, s.k, k_index(&s, 0, 599, 2), INFINITY);
    float *out = run(&d, &s, 0, s.length);
    for (int64_t i = 0; i < 16; ++i) {
      cr_assert_eq(out[i], 0.0f);
      cr_assert_eq(out[299 * 16 + i], 0.0f);
      cr_assert_eq(out[300 * 16 + i], get(&s, s.v, v_index(&s, 0, 300, i)));
      cr_assert(isfinite(out[598 * 16 + i]));
      cr_assert(isnan(out[599 * 16 + i]));
    }
    /* Masked keys count for nothing: the same as values of another kind under the mask. */
    for (int64_t key = 0; key < 300; ++key) {
      put(&s, s.v, v_index(&s, 0, key, 0), 100.0f);
    }
    float *again = run(&d, &s, 0, s.length);
    cr_assert_arr_eq(again, out, 599 * 16 * sizeof *out);
    free(out);
    free(again);
    sequence_free(&s);
    test_device_close(&d);
  }
}

/* Large scores: the best key takes all, nothing overflows. */
Test(attention, large_scores) {
  test_device d = test_device_open(NULL);
  sequence s = sequence_new((model){1, 1, 16, CLQ_F32}, 530);
  for (int64_t i = 0; i < s.length * 16; ++i) {
    s.q[i] = 1000.0f;
  }
  for (int64_t key = 0; key < s.length; ++key) {
    for (int64_t i = 0; i < 16; ++i) {
      put(&s, s.k, k_index(&s, 0, key, i), (float)(key * 389 % 530));
    }
  }
  float *out = run(&d, &s, 0, s.length);
  int64_t best = 0;
  for (int64_t row = 0; row < s.length; ++row) {
    best = row * 389 % 530 > best * 389 % 530 ? row : best;
    for (int64_t i = 0; i < 16; ++i) {
      cr_assert_eq(out[row * 16 + i], get(&s, s.v, v_index(&s, 0, best, i)));
    }
  }
  free(out);
  sequence_free(&s);
  test_device_close(&d);
}

/* Rows outside the cache are zero and reported; the others are as ever. */
Test(attention, positions_outside_are_reported) {
  for (size_t f = 0; f < FORMS; ++f) {
    test_device d = test_device_open(forms[f]);
    sequence s = sequence_new((model){2, 1, 32, CLQ_F16}, 32);
    s.capacity = 32;
    for (int64_t i = 0; i < 2 * 32 * 32; ++i) { /* one head: the layout does not change */
      put(&s, i < 1024 ? s.k : s.v, i % 1024, 0.5f);
    }
    s.cache_bytes = 32 * 32 * 2;
    static const int64_t positions[] = {27, 32, -1, INT32_MIN, INT32_MAX};
    static const int64_t good[] = {5, 0, 0, 0, 0};
    for (int i = 0; i < 5; ++i) {
      clq_status status;
      float *out = run_at(&d, &s, 0, 9, positions[i], 0, &status);
      cr_assert_eq(status, CLQ_INVALID_ARGUMENT);
      cr_assert_not_null(strstr(clq_last_error(), "position"));
      for (int64_t r = 0; r < 9; ++r) {
        for (int64_t e = 0; e < 64; ++e) {
          cr_assert_float_eq(out[r * 64 + e], r < good[i] ? 0.5f : 0.0f, 1e-6f);
        }
      }
      free(out);
    }
    sequence_free(&s);
    test_device_close(&d);
  }
}

Test(attention, forms_are_chosen_by_trait_and_size) {
  static const struct {
    int64_t rows;
    const char *wide, *narrow;
  } cases[] = {{1, "attention_tile_3x4", "attention_tile_3x2"},
               {2, "attention_tile_6x4", "attention_tile_6x1"},
               {9, "attention_tile_12x2", "attention_tile_6x1"}};
  for (size_t f = 0; f < FORMS; ++f) {
    test_device d = test_device_open(forms[f]);
    const bool cpu = test_has_trait(d.context, "cpu");
    const bool wide = cpu && test_has_trait(d.context, "x86_avx512");
    for (int i = 0; i < 3; ++i) {
      sequence s = sequence_new(models[0], cases[i].rows);
      test_dispatch_start();
      free(run(&d, &s, 0, s.length));
      cr_assert(test_dispatch_saw("attention", wide  ? cases[i].wide
                                               : cpu ? cases[i].narrow
                                                     : "attention_group"));
      test_dispatch_stop();
      sequence_free(&s);
    }
    test_device_close(&d);
  }
}

Test(attention, bad_arguments_are_named) {
  test_device d = test_device_open(NULL);
  test_buffer b = test_buffer_new(&d, NULL, 16384);
  test_buffer o = test_buffer_new(&d, NULL, 16384);
  const clq_tensor cache = {b.mem, CLQ_F16, {1, 2, 32, 48}};
  const clq_attention_args good = {.q = {b.mem, CLQ_F32, {2, 4, 48}},
                                   .cache = {cache, cache},
                                   .position = {b.mem, CLQ_I32, {1}},
                                   .out = {o.mem, CLQ_F32, {2, 192}}};
  clq_attention_args a = good;
  a.q.shape[1] = 3;
  test_fails(clq_attention(d.stream, &a), CLQ_INVALID_ARGUMENT,
             "q has 3 heads, expected a multiple of the 2 heads of cache.k");
  a = good;
  a.out.shape[1] = 191;
  test_fails(clq_attention(d.stream, &a), CLQ_INVALID_ARGUMENT, "expected 192 (heads * head_dim)");
  a = good;
  a.cache.k.shape[3] = 64;
  test_fails(clq_attention(d.stream, &a), CLQ_INVALID_ARGUMENT,
             "dimension 3 of cache.k is 64, expected 48 (head_dim)");
  a = good;
  a.q.shape[2] = 24;
  test_fails(clq_attention(d.stream, &a), CLQ_UNSUPPORTED, "head_dim is 24");
  a = good;
  a.q.shape[2] = 272;
  test_fails(clq_attention(d.stream, &a), CLQ_UNSUPPORTED, "head_dim is 272");
  a = good;
  a.out.dtype = CLQ_I8;
  a.out.quant = (clq_quant){.per = CLQ_PER_GROUP, .group = 32, .scale = b.mem};
  test_fails(clq_attention(d.stream, &a), CLQ_INVALID_ARGUMENT, "groups of 32; head_dim is 48");
  a.out.quant.group = 16;
  test_fails(clq_attention(d.stream, &a), CLQ_UNSUPPORTED, "the group of out is 16, offered: 32");
  a = good;
  a.out.dtype = CLQ_U8;
  test_fails(clq_attention(d.stream, &a), CLQ_UNSUPPORTED, "dtype of out is u8");
  a.out.dtype = CLQ_I8;
  a.out.quant = (clq_quant){.per = CLQ_PER_TENSOR, .scale = b.mem, .sum = b.mem};
  test_fails(clq_attention(d.stream, &a), CLQ_UNSUPPORTED, "quant.sum is not offered");
  a = good;
  a.cache.k.stride[0] = 4000;
  a.cache.k.stride[1] = 2000;
  a.cache.k.stride[2] = 50;
  a.cache.k.stride[3] = 1;
  test_fails(clq_attention(d.stream, &a), CLQ_INVALID_ARGUMENT, "a head of a cache is dense");
  a = good;
  a.position.shape[0] = 2;
  test_fails(clq_attention(d.stream, &a), CLQ_INVALID_ARGUMENT, "position");
  a = good;
  a.cache.k.shape[2] = a.cache.v.shape[2] = 1 << 20;
  test_fails(clq_attention(d.stream, &a), CLQ_INVALID_ARGUMENT, "the buffer of cache.k");
  a = good;
  a.math = CLQ_ATTENTION_INTEGER;
  test_fails(clq_attention(d.stream, &a), CLQ_UNSUPPORTED, "math");
  a = good;
  a.window = -1;
  test_fails(clq_attention(d.stream, &a), CLQ_INVALID_ARGUMENT, "window is -1");
  a = good;
  a.keys = (clq_tensor){b.mem, CLQ_I32, {1}};
  test_fails(clq_attention(d.stream, &a), CLQ_INVALID_ARGUMENT, "keys come with bidirectional");
  a.bidirectional = true;
  a.keys.shape[0] = 2;
  test_fails(clq_attention(d.stream, &a), CLQ_INVALID_ARGUMENT,
             "dimension 0 of keys is 2, expected 1 (one a sequence)");
  a = good;
  a.starts = (clq_tensor){b.mem, CLQ_I32, {2}};
  a.starts.shape[0] = 1;
  test_fails(
      clq_attention(d.stream, &a), CLQ_INVALID_ARGUMENT,
      "dimension 0 of starts is 1, expected 2 (the first row of each sequence, and the end)");
  a = good;
  a.q.shape[0] = a.out.shape[0] = 0;
  test_ok(clq_attention(d.stream, &a));
  test_buffer_free(&b);
  test_buffer_free(&o);
  test_device_close(&d);
}
