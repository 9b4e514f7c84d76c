#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "device.h"
#include "opencl.h"
#include "ref/math.h"
#include "ref/rope.h"

TestSuite(rope, .fini = opencl_none_live);

typedef struct shape {
  int64_t rows, heads, kv_heads, head_dim, dims; /* heads 0: only appended; kv_heads 0: q alone;
                                                  * dims 0: no table */
  int64_t position, positions, capacity;
  clq_dtype k, v;
  clq_rope_layout layout;
  int64_t sequences; /* 0: 1; those behind the first stand 5 further each */
  bool given, in_place, strided, starts, nowhere, norms, special;
} shape;

static void describe(char what[256], const shape *s) {
  (void)snprintf(what, 256,
                 "rows %lld heads %lld kv %lld head_dim %lld dims %lld position %lld capacity %lld "
                 "cache %s %s layout %d sequences %lld given %d in place %d strided %d starts %d "
                 "nowhere %d norms %d special %d",
                 (long long)s->rows, (long long)s->heads, (long long)s->kv_heads,
                 (long long)s->head_dim, (long long)s->dims, (long long)s->position,
                 (long long)s->capacity, clq_dtype_name(s->k), clq_dtype_name(s->v), (int)s->layout,
                 (long long)s->sequences, s->given, s->in_place, s->strided, s->starts, s->nowhere,
                 s->norms, s->special);
}

static float *fill(size_t count, uint64_t seed) {
  test_random random = {seed};
  float *x = malloc((count + 1) * sizeof *x);
  for (size_t i = 0; i < count; ++i) {
    x[i] = test_random_normal(&random);
  }
  return x;
}

/* Heads that quantization treats apart: zeros, one tiny, with a NaN, with infinities, one-sided. */
static void make_special(float *x, int64_t heads, int64_t head_dim) {
  for (int64_t h = 0; h < heads; ++h) {
    float *y = x + h * head_dim;
    for (int64_t d = 0; d < head_dim; ++d) {
      switch (h % 8) {
        case 0: y[d] = 0.0f; break;
        case 1: y[d] *= 0x1p-125f; break;
        case 2: y[d] = fabsf(y[d]) + 1.0f; break;
        case 3: y[d] = -fabsf(y[d]) - 1.0f; break;
        case 4: y[d] *= 0x1p+120f; break;
        default: break;
      }
    }
    y[h % head_dim] = h % 8 == 5 ? NAN : h % 8 == 6 ? INFINITY : y[h % head_dim];
    y[3] = h % 8 == 6 ? -INFINITY : y[3];
  }
}

/* What a projection of q, k and v stacked would leave: rows of heads + 2 * kv_heads heads, and
 * three floats between rows if strided. */
typedef struct stacked {
  float *data;
  size_t count;
  int64_t row;
} stacked;

static stacked stack(const shape *s, const float *q, const float *k, const float *v) {
  const int64_t qn = s->heads * s->head_dim;
  const int64_t kn = s->kv_heads * s->head_dim;
  stacked t = {.row = qn + 2 * kn + (s->strided ? 3 : 0)};
  t.count = (size_t)((s->rows - 1) * t.row + qn + 2 * kn);
  t.data = calloc(t.count + 1, sizeof *t.data);
  for (int64_t r = 0; r < s->rows; ++r) {
    float *row = t.data + r * t.row;
    memcpy(row, q + r * qn, (size_t)qn * sizeof *q);
    memcpy(row + qn, k + r * kn, (size_t)kn * sizeof *k);
    memcpy(row + qn + kn, v + r * kn, (size_t)kn * sizeof *v);
  }
  return t;
}

/* Keys or values: what is expected, and the buffers that the device fills. */
typedef struct half_cache {
  clqi_ref_kv expected;
  size_t bytes, planes; /* planes: elements of each */
  test_buffer data, scale, zero;
} half_cache;

static half_cache half_new(const test_device *d, const clqi_ref_cache *c, clq_dtype dtype,
                           bool given) {
  half_cache h = {.bytes = clqi_ref_kv_bytes(c, dtype)};
  const bool codes = dtype == CLQ_I8 || dtype == CLQ_U8;
  h.planes = !codes  ? 0
             : given ? (size_t)(c->heads * c->head_dim)
                     : (size_t)(c->sequences * c->heads * c->capacity);
  h.expected = (clqi_ref_kv){.data = malloc(h.bytes + 1),
                             .dtype = dtype,
                             .given = given,
                             .scale = malloc((h.planes + 1) * sizeof(float)),
                             .zero = malloc((h.planes + 1) * sizeof(int32_t))};
  memset(h.expected.data, 0xA5, h.bytes);
  memset(h.expected.scale, 0xA5, h.planes * sizeof(float));
  memset(h.expected.zero, 0xA5, h.planes * sizeof(int32_t));
  for (size_t i = 0; given && i < h.planes; ++i) {
    h.expected.scale[i] = 0.01f + 0.001f * (float)(i % 17);
  }
  h.data = test_buffer_new_front(d, NULL, h.bytes);
  h.scale = test_buffer_new(d, given ? h.expected.scale : NULL, h.planes * sizeof(float));
  h.zero = test_buffer_new(d, NULL, h.planes * sizeof(int32_t));
  return h;
}

static clq_tensor half_tensor(const half_cache *h, const clqi_ref_cache *c) {
  const clq_dtype dtype = h->expected.dtype;
  clq_tensor t = {
      h->data.mem,
      dtype,
      {c->sequences, c->heads, c->capacity, dtype == CLQ_U8 ? c->head_dim / 2 : c->head_dim}};
  if (h->planes > 0) {
    t.quant.per = h->expected.given ? CLQ_PER_CHANNEL : CLQ_PER_TOKEN;
    t.quant.scale = h->scale.mem;
    t.quant.zero = dtype == CLQ_U8 ? h->zero.mem : NULL;
  }
  return t;
}

/* Bit for bit, but any NaN is as good as another. */
static void check_floats(const float *actual, const float *expected, size_t count, const char *name,
                         const char *what) {
  for (size_t i = 0; i < count; ++i) {
    if (memcmp(&actual[i], &expected[i], sizeof *actual) != 0) {
      cr_assert(isnan(actual[i]) && isnan(expected[i]), "%s[%zu] is %a, expected %a: %s", name, i,
                (double)actual[i], (double)expected[i], what);
    }
  }
}

static void half_check(const test_device *d, half_cache *h, const char *name, const char *what) {
  unsigned char *data = malloc(h->bytes + h->planes * 4 + 1);
  test_buffer_read(d, &h->data, data);
  for (size_t i = 0; i < h->bytes; ++i) {
    cr_assert_eq(data[i], ((unsigned char *)h->expected.data)[i],
                 "byte %zu of %s is %d, not %d: %s", i, name, data[i],
                 ((unsigned char *)h->expected.data)[i], what);
  }
  if (h->planes > 0) {
    float *scale = malloc(h->planes * sizeof *scale);
    test_buffer_read(d, &h->scale, scale);
    check_floats(scale, h->expected.scale, h->planes, name, what);
    test_buffer_read(d, &h->zero, data);
    cr_assert_arr_eq(data, h->expected.zero, h->planes * 4, "zeros of %s: %s", name, what);
    free(scale);
  }
  test_buffer_free(&h->data);
  test_buffer_free(&h->scale);
  test_buffer_free(&h->zero);
  free(h->expected.data);
  free(h->expected.scale);
  free(h->expected.zero);
  free(data);
}

enum { MOST_SEQUENCES = 4 };

/* The first has all but a few rows, the second none, the rest one each, and the last what is left.
 */
static void uneven(const shape *s, int32_t starts[MOST_SEQUENCES + 1]) {
  starts[0] = 0;
  for (int64_t i = 1; i <= s->sequences; ++i) {
    const int64_t row = i == s->sequences ? s->rows : s->rows / 2 + (i > 2 ? i - 2 : 0);
    starts[i] = (int32_t)(row < s->rows ? row : s->rows);
  }
}

/* Runs one shape and demands the reference's bits, in the whole of every output. Returns the
 * number of rows whose position did not fit. */
static int64_t check_shape(const test_device *d, shape s) {
  char what[256];
  s.sequences = s.sequences == 0 ? 1 : s.sequences;
  describe(what, &s);
  const size_t q_count = (size_t)(s.rows * s.heads * s.head_dim);
  const size_t k_count = (size_t)(s.rows * s.kv_heads * s.head_dim);
  const size_t table_count = (size_t)(s.positions * s.dims);
  float *q = fill(q_count, 1);
  float *k = fill(k_count, 2);
  float *v = fill(k_count, 3);
  float *gains = fill((size_t)(2 * s.head_dim), 4);
  if (s.special) {
    make_special(k, s.rows * s.kv_heads, s.head_dim);
    make_special(v, s.rows * s.kv_heads, s.head_dim);
  }
  float *table = malloc((table_count + 1) * sizeof *table);
  test_ok(clq_rope_table(table, s.positions, s.dims, 10000.0));
  float *expected = malloc((q_count + 1) * sizeof *expected);
  memset(expected, 0xA5, q_count * sizeof *expected);
  const stacked in = stack(&s, q, k, v);
  int32_t position[MOST_SEQUENCES];
  int32_t starts[MOST_SEQUENCES + 1];
  for (int64_t i = 0; i < s.sequences; ++i) {
    position[i] = (int32_t)(s.position + 5 * i);
  }
  uneven(&s, starts);
  if (s.in_place) {
    memcpy(expected, q, q_count * sizeof *expected);
  }
  clqi_ref_cache cache = {.sequences = s.sequences,
                          .heads = s.kv_heads,
                          .capacity = s.capacity,
                          .head_dim = s.head_dim};
  half_cache keys = half_new(d, &cache, s.k, s.given);
  half_cache values = half_new(d, &cache, s.v, false);
  cache.k = keys.expected;
  cache.v = values.expected;

  const size_t q_bytes = (size_t)(s.heads * s.head_dim) * 4;
  const size_t kv_bytes = (size_t)(s.kv_heads * s.head_dim) * 4;
  const size_t dim_bytes = (size_t)s.head_dim * 4;
  test_buffer x = test_buffer_new(d, in.data, in.count * 4);
  test_buffer tb = test_buffer_new(d, table, table_count * 4);
  test_buffer pb = test_buffer_new(d, position, (size_t)s.sequences * 4);
  test_buffer sb = test_buffer_new(d, starts, (size_t)(s.sequences + 1) * 4);
  test_buffer ob = test_buffer_new(d, NULL, q_count * 4);
  test_buffer gb = test_buffer_new(d, gains, 2 * dim_bytes);
  clq_rope_args args = {.layout = s.layout};
  if (s.heads > 0) {
    args.q = (clq_tensor){x.mem, CLQ_F32, {s.rows, s.heads, s.head_dim}, {in.row, s.head_dim, 1}};
    args.out = (clq_tensor){ob.mem, CLQ_F32};
  }
  if (s.in_place) {
    args.out = args.q;
  }
  if (s.kv_heads > 0) {
    args.k = (clq_tensor){
        x.mem, CLQ_F32, {s.rows, s.kv_heads, s.head_dim}, {in.row, s.head_dim, 1}, q_bytes};
    args.v = args.k;
    args.v.offset += kv_bytes;
    args.cache.k = half_tensor(&keys, &cache);
    args.cache.v = half_tensor(&values, &cache);
  }
  if (s.dims > 0) {
    args.table = (clq_tensor){tb.mem, CLQ_F32, {s.positions, s.dims / 2, 2}};
  }
  if (!s.nowhere) {
    args.position = (clq_tensor){pb.mem, CLQ_I32, {s.sequences}};
  }
  if (s.starts) {
    args.starts = (clq_tensor){sb.mem, CLQ_I32, {s.sequences + 1}};
  }
  if (s.norms && s.heads > 0) {
    args.q_gamma = (clq_tensor){gb.mem, CLQ_F32, {s.head_dim}};
  }
  if (s.norms && s.kv_heads > 0) {
    args.k_gamma = (clq_tensor){gb.mem, CLQ_F32, {s.head_dim}, .offset = dim_bytes};
  }
  args.eps = s.norms ? 1e-6f : 0.0f;
  test_ok(clq_rope(d->stream, &args));
  const int64_t bad =
      clqi_ref_rope_run(&(clqi_ref_rope){.q = s.heads > 0 ? q : NULL,
                                         .out = expected,
                                         .k = s.kv_heads > 0 ? k : NULL,
                                         .v = v,
                                         .cache = cache,
                                         .table = s.dims > 0 ? table : NULL,
                                         .q_gamma = s.norms ? gains : NULL,
                                         .k_gamma = s.norms ? gains + s.head_dim : NULL,
                                         .eps = args.eps,
                                         .position = s.nowhere ? NULL : position,
                                         .starts = s.starts ? starts : NULL,
                                         .layout = s.layout,
                                         .rows = s.rows,
                                         .sequences = s.sequences,
                                         .heads = s.heads,
                                         .kv_heads = s.kv_heads,
                                         .head_dim = s.head_dim,
                                         .dims = s.dims,
                                         .positions = s.positions});
  if (bad > 0) {
    test_fails(clq_stream_finish(d->stream), CLQ_INVALID_ARGUMENT, "position");
  }
  test_ok(clq_stream_finish(d->stream));
  float *out = malloc((q_count + 1) * sizeof *out);
  if (s.in_place) {
    float *all = malloc((in.count + 1) * sizeof *all);
    test_buffer_read(d, &x, all);
    for (int64_t r = 0; r < s.rows; ++r) {
      memcpy(out + r * s.heads * s.head_dim, all + r * in.row, q_bytes);
    }
    free(all);
  } else {
    test_buffer_read(d, &ob, out);
  }
  cr_assert_arr_eq(out, expected, q_count * sizeof *out, "out of %s", what);
  half_check(d, &keys, "k", what);
  half_check(d, &values, "v", what);

  test_buffer *buffers[] = {&x, &tb, &pb, &sb, &ob, &gb};
  for (size_t i = 0; i < sizeof buffers / sizeof buffers[0]; ++i) {
    test_buffer_free(buffers[i]);
  }
  free(q);
  free(k);
  free(v);
  free(gains);
  free(table);
  free(expected);
  free(in.data);
  free(out);
  return bad;
}

static const char *const forms[] = {NULL, "cpu"};

/* Of the rows and positions every `rows_step`-th and `positions_step`-th. */
static void sweep(const char *disable, size_t rows_step, size_t positions_step) {
  static const struct {
    int64_t heads, kv_heads, head_dim, dims;
    clq_dtype k, v;
    clq_rope_layout layout;
    bool given;
  } models[] = {
      {9, 3, 64, 64, CLQ_F16, CLQ_F16, CLQ_ROPE_ADJACENT, false},
      {9, 3, 64, 64, CLQ_I8, CLQ_I8, CLQ_ROPE_HALF, false},
      {3, 1, 80, 32, CLQ_U8, CLQ_U8, CLQ_ROPE_HALF, false},
      {1, 1, 16, 10, CLQ_F32, CLQ_F32, CLQ_ROPE_ADJACENT, false},
      {4, 2, 128, 96, CLQ_I8, CLQ_F16, 0, true},
      {2, 1, 256, 256, CLQ_U8, CLQ_I8, CLQ_ROPE_ADJACENT, false},
      {5, 0, 34, 34, CLQ_F32, CLQ_F32, CLQ_ROPE_ADJACENT, false},
  };
  static const int64_t rows[] = {1, 2, 15, 16, 17, 33};
  static const int64_t positions[] = {0, 1, 15, 16, 37};
  test_device d = test_device_open(disable);
  for (size_t m = 0; m < sizeof models / sizeof models[0]; ++m) {
    for (size_t r = 0; r < sizeof rows / sizeof rows[0]; r += rows_step) {
      for (size_t p = 0; p < sizeof positions / sizeof positions[0]; p += positions_step) {
        const bool many = rows[r] > 1 && (m + r + p) % 3 == 1;
        const bool even = many && rows[r] % 3 == 0;
        const int64_t bad = check_shape(&d, (shape){.rows = rows[r],
                                                    .heads = models[m].heads,
                                                    .kv_heads = models[m].kv_heads,
                                                    .head_dim = models[m].head_dim,
                                                    .dims = models[m].dims,
                                                    .position = positions[p],
                                                    .positions = 96,
                                                    .capacity = 96,
                                                    .k = models[m].k,
                                                    .v = models[m].v,
                                                    .layout = models[m].layout,
                                                    .given = models[m].given,
                                                    .sequences = even   ? 3
                                                                 : many ? 4
                                                                        : 1,
                                                    .starts = many && !even,
                                                    .nowhere = many && p == 1,
                                                    .norms = r % 3 == 2,
                                                    .in_place = (r + p) % 2 == 1,
                                                    .strided = p % 2 == 0});
        cr_assert_eq(bad, 0);
      }
    }
  }
  test_device_close(&d);
}

Test(rope, is_the_reference_bit_for_bit) { sweep(NULL, 1, 1); }
Test(rope, portable_form_is_the_reference_bit_for_bit) { sweep("cpu", 1, 1); }
Test(rope, tiny_shapes) { sweep("cpu", 4, 2); }

/* Keys and values alone, as an encoder appends them, whatever they hold. Of programs that other
 * tests build too. */
Test(rope, special_numbers_are_quantized_as_the_reference_does) {
  static const clq_dtype types[][2] = {{CLQ_I8, CLQ_I8}, {CLQ_U8, CLQ_U8}, {CLQ_I8, CLQ_F16}};
  for (size_t f = 0; f < 2; ++f) {
    test_device d = test_device_open(forms[f]);
    for (size_t t = 0; t < 3; ++t) {
      for (int64_t rows = 5; rows <= 21; rows += 16) {
        cr_assert_eq(check_shape(&d, (shape){.rows = rows,
                                             .kv_heads = t == 2 ? 1 : 2,
                                             .head_dim = t == 2   ? 128
                                                         : t == 1 ? 80
                                                                  : 64,
                                             .position = 3,
                                             .capacity = 48,
                                             .k = types[t][0],
                                             .v = types[t][1],
                                             .layout = t == 2 ? 0 : CLQ_ROPE_HALF,
                                             .given = t == 2,
                                             .special = t != 2}),
                     0);
      }
    }
    test_device_close(&d);
  }
}

/* The norm before the rotation is clq_rmsnorm's, to the bit. */
Test(rope, norms_are_those_of_rmsnorm) {
  enum { ROWS = 7, HEADS = 3, DIM = 34, COUNT = ROWS * HEADS * DIM };
  for (size_t f = 0; f < 2; ++f) {
    test_device d = test_device_open(forms[f]);
    float *x = fill(COUNT, 5);
    float *gamma = fill(DIM, 6);
    float table[16 * DIM];
    test_ok(clq_rope_table(table, 16, DIM, 10000.0));
    test_buffer xb = test_buffer_new(&d, x, COUNT * 4);
    test_buffer gb = test_buffer_new(&d, gamma, DIM * 4);
    test_buffer tb = test_buffer_new(&d, table, sizeof table);
    test_buffer nb = test_buffer_new(&d, NULL, COUNT * 4);
    test_buffer apart = test_buffer_new(&d, NULL, COUNT * 4);
    test_buffer fused = test_buffer_new(&d, NULL, COUNT * 4);
    const clq_tensor g = {gb.mem, CLQ_F32, {DIM}};
    const clq_tensor angles = {tb.mem, CLQ_F32, {16, DIM / 2, 2}};
    test_ok(clq_rmsnorm(d.stream, &(clq_rmsnorm_args){.x = {xb.mem, CLQ_F32, {ROWS * HEADS, DIM}},
                                                      .gamma = g,
                                                      .out = {nb.mem, CLQ_F32}}));
    test_ok(clq_rope(d.stream, &(clq_rope_args){.q = {nb.mem, CLQ_F32, {ROWS, HEADS, DIM}},
                                                .out = {apart.mem, CLQ_F32},
                                                .table = angles}));
    test_ok(clq_rope(d.stream, &(clq_rope_args){.q = {xb.mem, CLQ_F32, {ROWS, HEADS, DIM}},
                                                .out = {fused.mem, CLQ_F32},
                                                .q_gamma = g,
                                                .table = angles}));
    float *a = malloc(COUNT * 4);
    float *b = malloc(COUNT * 4);
    test_buffer_read(&d, &apart, a);
    test_buffer_read(&d, &fused, b);
    cr_assert_arr_eq(a, b, COUNT * 4);
    test_buffer *buffers[] = {&xb, &gb, &tb, &nb, &apart, &fused};
    for (size_t i = 0; i < sizeof buffers / sizeof buffers[0]; ++i) {
      test_buffer_free(buffers[i]);
    }
    free(x);
    free(gamma);
    free(a);
    free(b);
    test_device_close(&d);
  }
}

/* Starts that do not ascend, or pass the rows: reported, and nothing outside is touched (the
 * buffers end at guard pages). */
Test(rope, impossible_starts_are_reported) {
  static const int32_t bad[][4] = {
      {0, 9, 5, 12}, {0, 12, 12, 13}, {-1, 3, 5, 12}, {0, 3, INT32_MAX, 12}, {0, 3, INT32_MIN, 12}};
  for (size_t f = 0; f < 2; ++f) {
    test_device d = test_device_open(forms[f]);
    test_buffer x = test_buffer_new(&d, NULL, 12 * 16 * 4);
    test_buffer kb = test_buffer_new(&d, NULL, 3 * 16 * 16 * 4);
    test_buffer vb = test_buffer_new_front(&d, NULL, 3 * 16 * 16 * 4);
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; ++i) {
      test_buffer sb = test_buffer_new(&d, bad[i], sizeof bad[i]);
      const clq_tensor rows = {x.mem, CLQ_F32, {12, 1, 16}};
      test_ok(clq_rope(d.stream, &(clq_rope_args){.k = rows,
                                                  .v = rows,
                                                  .cache = {{kb.mem, CLQ_F32, {3, 1, 16, 16}},
                                                            {vb.mem, CLQ_F32, {3, 1, 16, 16}}},
                                                  .starts = {sb.mem, CLQ_I32, {4}}}));
      test_fails(clq_stream_finish(d.stream), CLQ_INVALID_ARGUMENT, "starts of sequence");
      test_buffer_free(&sb);
    }
    test_buffer_free(&x);
    test_buffer_free(&kb);
    test_buffer_free(&vb);
    test_device_close(&d);
  }
}

/* Rows outside write nothing and are reported; the others are as ever. */
Test(rope, positions_outside_are_reported) {
  for (size_t f = 0; f < 2; ++f) {
    test_device d = test_device_open(forms[f]);
    shape s = {.rows = 20,
               .heads = 2,
               .kv_heads = 1,
               .head_dim = 16,
               .dims = 16,
               .positions = 64,
               .capacity = 48,
               .k = CLQ_F32,
               .v = CLQ_F32};
    s.position = 40;
    cr_assert_eq(check_shape(&d, s), 12);
    s.position = -7;
    cr_assert_eq(check_shape(&d, s), 7);
    s.position = INT32_MIN;
    cr_assert_eq(check_shape(&d, s), 20);
    s.position = INT32_MAX;
    cr_assert_eq(check_shape(&d, s), 20);
    s.position = 50;
    s.kv_heads = 0;
    cr_assert_eq(check_shape(&d, s), 6);
    s.position = 0;
    s.kv_heads = 1;
    cr_assert_eq(check_shape(&d, s), 0);
    test_device_close(&d);
  }
}

Test(rope, a_bad_position_is_named_once) {
  test_device d = test_device_open(NULL);
  const int32_t position = 77;
  test_buffer b = test_buffer_new(&d, NULL, 16 * 4);
  test_buffer pb = test_buffer_new(&d, &position, 4);
  test_buffer tb = test_buffer_new(&d, NULL, 8 * 16 * 4);
  test_ok(clq_rope(d.stream, &(clq_rope_args){.q = {b.mem, CLQ_F32, {1, 1, 16}},
                                              .out = {b.mem, CLQ_F32, {1, 1, 16}},
                                              .position = {pb.mem, CLQ_I32, {1}},
                                              .table = {tb.mem, CLQ_F32, {8, 8, 2}}}));
  test_fails(clq_stream_finish(d.stream), CLQ_INVALID_ARGUMENT, "position 77");
  test_ok(clq_stream_finish(d.stream));
  test_buffer_free(&b);
  test_buffer_free(&pb);
  test_buffer_free(&tb);
  test_device_close(&d);
}

Test(rope, table_is_cosine_and_sine) {
  float table[5 * 6];
  test_ok(clq_rope_table(table, 5, 6, 100.0));
  for (int p = 0; p < 5; ++p) {
    for (int i = 0; i < 3; ++i) {
      const double angle = p * pow(100.0, -2.0 * i / 6.0);
      cr_assert_eq(table[(p * 3 + i) * 2], (float)cos(angle));
      cr_assert_eq(table[(p * 3 + i) * 2 + 1], (float)sin(angle));
    }
  }
}

Test(rope, a_table_that_cannot_be_is_refused) {
  float table[6] = {1, 2, 3, 4, 5, 6};
  const float before[6] = {1, 2, 3, 4, 5, 6};
  test_fails(clq_rope_table(NULL, 1, 2, 100.0), CLQ_INVALID_ARGUMENT, "table is NULL");
  test_fails(clq_rope_table(table, -1, 2, 100.0), CLQ_INVALID_ARGUMENT, "-1 positions");
  test_fails(clq_rope_table(table, 1, 3, 100.0), CLQ_INVALID_ARGUMENT, "3 dims");
  test_fails(clq_rope_table(table, 1, -2, 100.0), CLQ_INVALID_ARGUMENT, "-2 dims");
  test_fails(clq_rope_table(table, 1, 2, 0.0), CLQ_INVALID_ARGUMENT, "base is 0");
  test_fails(clq_rope_table(table, 1, 2, (double)NAN), CLQ_INVALID_ARGUMENT, "base is");
  test_fails(clq_rope_table(table, 1, 2, (double)INFINITY), CLQ_INVALID_ARGUMENT, "base is inf");
  test_ok(clq_rope_table(NULL, 0, 2, 100.0));
  test_ok(clq_rope_table(table, 3, 0, 100.0));
  cr_assert_arr_eq(table, before, sizeof table);
}

/* Rotation keeps lengths, and q . k depends on the distance of their positions only. */
Test(rope, dot_products_depend_on_distance) {
  enum { DIM = 32, POSITIONS = 40 };
  float table[POSITIONS * DIM];
  test_ok(clq_rope_table(table, POSITIONS, DIM, 10000.0));
  float *x = fill(2 * DIM, 9);
  double dots[2];
  for (int at = 0; at < 2; ++at) {
    float q[DIM];
    float k[DIM];
    clqi_ref_rope r = {.table = table,
                       .rows = 1,
                       .sequences = 1,
                       .heads = 1,
                       .head_dim = DIM,
                       .dims = DIM,
                       .positions = POSITIONS,
                       .layout = CLQ_ROPE_ADJACENT};
    r.q = x;
    r.out = q;
    r.position = (int32_t[]){5 + 20 * at};
    cr_assert_eq(clqi_ref_rope_run(&r), 0);
    r.q = x + DIM;
    r.out = k;
    r.position = (int32_t[]){2 + 20 * at};
    cr_assert_eq(clqi_ref_rope_run(&r), 0);
    dots[at] = 0.0;
    for (int d = 0; d < DIM; ++d) {
      dots[at] += (double)q[d] * (double)k[d];
    }
  }
  cr_assert(fabs(dots[0] - dots[1]) < 1e-5, "%g and %g", dots[0], dots[1]);
  free(x);
}

Test(rope, forms_are_chosen_by_trait) {
  for (size_t f = 0; f < 2; ++f) {
    test_device d = test_device_open(forms[f]);
    test_dispatch_start();
    (void)check_shape(&d, (shape){.rows = 3,
                                  .heads = 2,
                                  .kv_heads = 1,
                                  .head_dim = 16,
                                  .dims = 16,
                                  .positions = 64,
                                  .capacity = 48,
                                  .k = CLQ_F32,
                                  .v = CLQ_F32});
    const bool blocks = f == 0 && test_has_trait(d.context, "cpu");
    cr_assert(test_dispatch_saw("rope", blocks ? "rope_blocks" : "rope_pairs"));
    test_dispatch_stop();
    test_device_close(&d);
  }
}

Test(rope, bad_arguments_are_named) {
  test_device d = test_device_open(NULL);
  test_buffer b = test_buffer_new(&d, NULL, 16384);
  test_buffer c = test_buffer_new(&d, NULL, 16384);
  const clq_tensor heads = {b.mem, CLQ_F32, {2, 4, 32}};
  const clq_tensor kv = {b.mem, CLQ_F32, {2, 2, 32}};
  const clq_tensor cache = {c.mem, CLQ_F16, {1, 2, 32, 32}};
  const clq_rope_args good = {.q = heads,
                              .out = heads,
                              .k = kv,
                              .v = kv,
                              .cache = {cache, cache},
                              .position = {b.mem, CLQ_I32, {1}},
                              .table = {b.mem, CLQ_F32, {16, 16, 2}}};
  clq_rope_args a = good;
  a.v = (clq_tensor){0};
  test_fails(clq_rope(d.stream, &a), CLQ_INVALID_ARGUMENT, "come together");
  a = good;
  a.k.shape[0] = 3;
  test_fails(clq_rope(d.stream, &a), CLQ_INVALID_ARGUMENT,
             "dimension 0 of k is 3, expected 2 (rows of q)");
  a = good;
  a.cache.k.shape[2] = 24;
  test_fails(clq_rope(d.stream, &a), CLQ_INVALID_ARGUMENT, "expected a multiple of 16");
  a = good;
  a.cache.k.dtype = CLQ_I8;
  test_fails(clq_rope(d.stream, &a), CLQ_INVALID_ARGUMENT,
             "cache.k is i8, so quant.per must say what shares a scale");
  a.cache.k.quant = (clq_quant){.per = CLQ_PER_TENSOR, .scale = b.mem};
  test_fails(clq_rope(d.stream, &a), CLQ_UNSUPPORTED,
             "cache.k is quantized per tensor, offered: per channel, per token");
  a.cache.k.quant = (clq_quant){.per = CLQ_PER_TOKEN, .scale = b.mem, .zero = b.mem};
  test_fails(clq_rope(d.stream, &a), CLQ_INVALID_ARGUMENT, "cache.k is symmetric");
  a.cache.k.quant = (clq_quant){.per = CLQ_PER_TOKEN, .scale = b.mem, .sum = b.mem};
  test_fails(clq_rope(d.stream, &a), CLQ_INVALID_ARGUMENT, "quant.sum must be absent");
  a.cache.k.quant = (clq_quant){.per = CLQ_PER_TOKEN, .scale = b.mem};
  a.cache.k.offset = 2;
  test_fails(clq_rope(d.stream, &a), CLQ_INVALID_ARGUMENT,
             "offset of cache.k, a cache of codes, is 2 bytes, expected a multiple of 4");
  a = good;
  a.cache.k.dtype = CLQ_I8;
  a.cache.k.quant =
      (clq_quant){.per = CLQ_PER_CHANNEL, .scale = b.mem, .scale_offset = 16384 - 2 * 32 * 4 + 4};
  test_fails(clq_rope(d.stream, &a), CLQ_INVALID_ARGUMENT, "cache.k.quant.scale has 16384 bytes");
  a = good;
  a.cache.v.dtype = CLQ_U8;
  test_fails(clq_rope(d.stream, &a), CLQ_INVALID_ARGUMENT,
             "dimension 3 of cache.v is 32, expected 16 (half of head_dim: two codes a byte)");
  a.cache.v.shape[3] = 16;
  a.cache.v.quant = (clq_quant){.per = CLQ_PER_TOKEN, .scale = b.mem};
  test_fails(clq_rope(d.stream, &a), CLQ_INVALID_ARGUMENT, "the zero plane of cache.v is missing");
  a.cache.v.quant.per = CLQ_PER_CHANNEL;
  test_fails(clq_rope(d.stream, &a), CLQ_UNSUPPORTED, "cache.v is quantized per channel");
  a = good;
  a.position.shape[0] = 2;
  test_fails(clq_rope(d.stream, &a), CLQ_INVALID_ARGUMENT,
             "dimension 0 of position is 2, expected 1 (one a sequence)");
  a = good;
  a.cache.k.shape[0] = a.cache.v.shape[0] = 3;
  a.position = (clq_tensor){0};
  test_fails(clq_rope(d.stream, &a), CLQ_INVALID_ARGUMENT,
             "rope: 2 rows of 3 sequences, expected a multiple, or starts");
  a = good;
  a.q_gamma = (clq_tensor){b.mem, CLQ_F32, {31}};
  test_fails(clq_rope(d.stream, &a), CLQ_INVALID_ARGUMENT, "dimension 0 of q_gamma is 31");
  a = good;
  a.eps = NAN;
  test_fails(clq_rope(d.stream, &a), CLQ_INVALID_ARGUMENT, "eps is nan");
  test_fails(clq_rope(d.stream, &(clq_rope_args){0}), CLQ_INVALID_ARGUMENT,
             "rope: neither q nor k is given");
  a = good;
  a.cache.v.shape[1] = 1;
  test_fails(clq_rope(d.stream, &a), CLQ_INVALID_ARGUMENT, "heads of cache.k");
  a = good;
  a.table.shape[1] = 17;
  test_fails(clq_rope(d.stream, &a), CLQ_INVALID_ARGUMENT, "at most 16");
  a = good;
  a.table.shape[2] = 3;
  test_fails(clq_rope(d.stream, &a), CLQ_INVALID_ARGUMENT, "cosine and sine");
  a = good;
  a.position.dtype = CLQ_F32;
  test_fails(clq_rope(d.stream, &a), CLQ_UNSUPPORTED, "dtype of position is f32");
  a = good;
  a.layout = 3;
  test_fails(clq_rope(d.stream, &a), CLQ_INVALID_ARGUMENT, "layout is 3");
  a = good;
  a.q.shape[2] = a.out.shape[2] = a.k.shape[2] = a.v.shape[2] = 31;
  test_fails(clq_rope(d.stream, &a), CLQ_UNSUPPORTED, "head_dim is 31");
  a = good;
  a.cache.k.shape[2] = a.cache.v.shape[2] = 1 << 20;
  test_fails(clq_rope(d.stream, &a), CLQ_INVALID_ARGUMENT, "the buffer of cache.k");
  a = good;
  a.q.shape[0] = a.out.shape[0] = a.k.shape[0] = a.v.shape[0] = 0;
  test_ok(clq_rope(d.stream, &a));
  test_buffer_free(&b);
  test_buffer_free(&c);
  test_device_close(&d);
}
