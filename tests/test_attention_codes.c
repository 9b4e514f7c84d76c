/* Attention over quantized caches: against a double reference on the numbers that the codes stand
 * for, and the same bits in every form, alone and in a batch. */
#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "device.h"
#include "opencl.h"
#include "ref/attention.h"

TestSuite(attention_codes, .fini = opencl_none_live);

typedef struct model {
  int64_t heads, kv_heads, head_dim;
  clq_dtype k, v;
  bool given; /* scales of keys by channel */
} model;

/* Keys and values of one sequence, as the reference quantizes them; the caches hold one more block,
 * of bytes 0xA5 and scales of NaN. */
typedef struct sequence {
  model m;
  int64_t length;
  float *q;
  clqi_ref_cache cache;
} sequence;

static clqi_ref_kv half_new(const clqi_ref_cache *c, clq_dtype dtype, bool given) {
  const size_t planes = (size_t)(c->heads * (given ? c->head_dim : c->capacity));
  clqi_ref_kv h = {.data = malloc(clqi_ref_kv_bytes(c, dtype)),
                   .dtype = dtype,
                   .given = given,
                   .scale = malloc(planes * sizeof(float)),
                   .zero = malloc(planes * sizeof(int32_t))};
  memset(h.data, 0xA5, clqi_ref_kv_bytes(c, dtype));
  memset(h.zero, 0xA5, planes * sizeof(int32_t));
  for (size_t i = 0; i < planes; ++i) {
    h.scale[i] = given ? (1.0f + (float)(i % 5)) / 127.0f : NAN;
  }
  return h;
}

static sequence sequence_new(model m, int64_t length) {
  sequence s = {.m = m, .length = length};
  test_random random = {(uint64_t)(length * 1000 + m.heads * 10 + m.head_dim)};
  s.cache = (clqi_ref_cache){.sequences = 1,
                             .heads = m.kv_heads,
                             .capacity = (length + 31) / 16 * 16,
                             .head_dim = m.head_dim};
  s.cache.k = half_new(&s.cache, m.k, m.given);
  s.cache.v = half_new(&s.cache, m.v, false);
  s.q = malloc((size_t)(length * m.heads * m.head_dim) * sizeof *s.q);
  for (int64_t i = 0; i < length * m.heads * m.head_dim; ++i) {
    s.q[i] = 2.0f * test_random_float(&random);
  }
  for (int64_t h = 0; h < m.kv_heads; ++h) {
    for (int64_t key = 0; key < length; ++key) {
      float k[256] = {0};
      float v[256] = {0};
      for (int64_t d = 0; d < m.head_dim; ++d) {
        k[d] = 2.0f * test_random_float(&random);
        v[d] = test_random_float(&random);
      }
      clqi_ref_cache_put_k(&s.cache, (clqi_ref_token){0, h, key}, k);
      clqi_ref_cache_put_v(&s.cache, (clqi_ref_token){0, h, key}, v);
    }
  }
  return s;
}

static void half_free(clqi_ref_kv *h) {
  free(h->data);
  free(h->scale);
  free(h->zero);
}

static void sequence_free(sequence *s) {
  half_free(&s->cache.k);
  half_free(&s->cache.v);
  free(s->q);
}

typedef struct half_buffers {
  test_buffer data, scale, zero;
} half_buffers;

static clq_tensor upload(const test_device *d, const clqi_ref_cache *c, const clqi_ref_kv *h,
                         half_buffers *b) {
  const size_t planes = (size_t)(c->heads * (h->given ? c->head_dim : c->capacity));
  const int64_t dims = h->dtype == CLQ_U8 ? c->head_dim / 2 : c->head_dim;
  b->data = test_buffer_new(d, h->data, clqi_ref_kv_bytes(c, h->dtype));
  b->scale = test_buffer_new(d, h->scale, planes * sizeof(float));
  b->zero = test_buffer_new(d, h->zero, planes * sizeof(int32_t));
  return (clq_tensor){b->data.mem,
                      h->dtype,
                      {1, c->heads, c->capacity, dims},
                      .quant = {.per = h->given ? CLQ_PER_CHANNEL : CLQ_PER_TOKEN,
                                .scale = b->scale.mem,
                                .zero = h->dtype == CLQ_U8 ? b->zero.mem : NULL}};
}

static void half_buffers_free(half_buffers *b) {
  test_buffer_free(&b->data);
  test_buffer_free(&b->scale);
  test_buffer_free(&b->zero);
}

/* Rows first .. first + rows - 1; returns [rows, heads * head_dim]. */
static float *run(const test_device *d, const sequence *s, int64_t first, int64_t rows) {
  const int64_t width = s->m.heads * s->m.head_dim;
  const size_t bytes = (size_t)(rows * width) * sizeof(float);
  const int32_t position = (int32_t)first;
  half_buffers k;
  half_buffers v;
  test_buffer qb = test_buffer_new(d, s->q + first * width, bytes);
  test_buffer pb = test_buffer_new(d, &position, sizeof position);
  test_buffer ob = test_buffer_new(d, NULL, bytes);
  test_ok(clq_attention(
      d->stream, &(clq_attention_args){.q = {qb.mem, CLQ_F32, {rows, s->m.heads, s->m.head_dim}},
                                       .cache = {upload(d, &s->cache, &s->cache.k, &k),
                                                 upload(d, &s->cache, &s->cache.v, &v)},
                                       .position = {pb.mem, CLQ_I32, {1}},
                                       .out = {ob.mem, CLQ_F32, {rows, width}}}));
  float *out = malloc(bytes);
  test_buffer_read(d, &ob, out);
  half_buffers_free(&k);
  half_buffers_free(&v);
  test_buffer_free(&qb);
  test_buffer_free(&pb);
  test_buffer_free(&ob);
  return out;
}

static double product(const sequence *s, int64_t row, int64_t head, int64_t key) {
  const float *q = s->q + (row * s->m.heads + head) * s->m.head_dim;
  double sum = 0.0;
  for (int64_t d = 0; d < s->m.head_dim; ++d) {
    float scale;
    const float k = clqi_ref_cache_k(
        &s->cache, (clqi_ref_token){0, head / (s->m.heads / s->m.kv_heads), key}, d, &scale);
    sum += fabs((double)q[d] * (double)k * (double)scale);
  }
  return sum / sqrt((double)s->m.head_dim);
}

/* One row against the double reference; the bound is that of ops.h with max |v| <= 1 + 1/15. */
static void check_row(const sequence *s, int64_t row, const float *out) {
  const int64_t width = s->m.heads * s->m.head_dim;
  double *exact = malloc((size_t)width * sizeof *exact);
  double *scratch = malloc((size_t)s->cache.capacity * sizeof *scratch);
  cr_assert_eq(clqi_ref_attention_run(&(clqi_ref_attention){.q = s->q + row * width,
                                                            .cache = &s->cache,
                                                            .out = exact,
                                                            .scratch = scratch,
                                                            .rows = 1,
                                                            .heads = s->m.heads,
                                                            .kv_heads = s->m.kv_heads,
                                                            .head_dim = s->m.head_dim,
                                                            .capacity = s->cache.capacity,
                                                            .position = row}),
               0);
  for (int64_t head = 0; head < s->m.heads; ++head) {
    double largest = 0.0;
    for (int64_t key = 0; key <= row; ++key) {
      largest = fmax(largest, product(s, row, head, key));
    }
    for (int64_t i = head * s->m.head_dim; i < (head + 1) * s->m.head_dim; ++i) {
      cr_assert(fabs((double)out[i] - exact[i]) <= 0x1p-21 * (1.0 + largest) * 1.07,
                "row %lld, element %lld: %g, expected %g (head_dim %lld, %s, %s)", (long long)row,
                (long long)i, (double)out[i], exact[i], (long long)s->m.head_dim,
                clq_dtype_name(s->m.k), clq_dtype_name(s->m.v));
    }
  }
  free(exact);
  free(scratch);
}

/* Each with two forms, so that every form has met both widths: each is a program to build. */
static const struct {
  model m;
  int64_t length;
  const char *forms[2];
} cases[] = {{{9, 3, 64, CLQ_I8, CLQ_I8, false}, 300, {NULL, "cpu"}},
             {{2, 1, 80, CLQ_U8, CLQ_U8, false}, 37, {NULL, "cpu"}},
             {{3, 1, 32, CLQ_I8, CLQ_U8, true}, 37, {"x86_avx512", "cpu"}}};

Test(attention_codes, is_what_the_codes_stand_for_in_every_form) {
  for (size_t c = 0; c < sizeof cases / sizeof cases[0]; ++c) {
    sequence s = sequence_new(cases[c].m, cases[c].length);
    const int64_t width = s.m.heads * s.m.head_dim;
    float *out[2];
    for (size_t f = 0; f < 2; ++f) {
      test_device d = test_device_open(cases[c].forms[f]);
      out[f] = run(&d, &s, 0, s.length);
      if (c == 0 && f == 0) {
        float *last = run(&d, &s, s.length - 1, 1);
        cr_assert_arr_eq(last, out[f] + (s.length - 1) * width, (size_t)width * sizeof *last,
                         "the last row alone");
        free(last);
      }
      test_device_close(&d);
    }
    const int64_t rows[] = {0, 1, 15, 16, s.length - 1};
    for (size_t r = 0; r < sizeof rows / sizeof rows[0]; ++r) {
      check_row(&s, rows[r], out[0] + rows[r] * width);
    }
    cr_assert_arr_eq(out[0], out[1], (size_t)(s.length * width) * sizeof(float), "case %zu", c);
    free(out[0]);
    free(out[1]);
    sequence_free(&s);
  }
}

Test(attention_codes, bad_arguments_are_named) {
  test_device d = test_device_open(NULL);
  test_buffer b = test_buffer_new(&d, NULL, 16384);
  const clq_tensor codes = {
      b.mem, CLQ_I8, {1, 1, 16, 32}, .quant = {.per = CLQ_PER_TOKEN, .scale = b.mem}};
  clq_attention_args a = {.q = {b.mem, CLQ_F32, {2, 1, 32}},
                          .cache = {codes, {b.mem, CLQ_F16, {1, 1, 16, 32}}},
                          .out = {b.mem, CLQ_F32, {2, 32}, .offset = 8192}};
  test_fails(clq_attention(d.stream, &a), CLQ_UNSUPPORTED,
             "cache.k is i8 and cache.v f16, offered: both floats or both codes");
  a.cache.v = codes;
  a.cache.v.quant.scale = NULL;
  test_fails(clq_attention(d.stream, &a), CLQ_INVALID_ARGUMENT, "the scale buffer of cache.v");
  test_buffer_free(&b);
  test_device_close(&d);
}
