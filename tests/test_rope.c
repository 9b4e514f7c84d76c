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
  int64_t rows, heads, kv_heads, head_dim, dims; /* kv_heads 0: q alone */
  int64_t position, positions, capacity;
  clq_dtype cache;
  clq_rope_layout layout;
  bool in_place, strided;
} shape;

static void describe(char what[256], const shape *s) {
  (void)snprintf(what, 256,
                 "rows %lld heads %lld kv %lld head_dim %lld dims %lld position %lld capacity %lld "
                 "cache %s layout %d in place %d strided %d",
                 (long long)s->rows, (long long)s->heads, (long long)s->kv_heads,
                 (long long)s->head_dim, (long long)s->dims, (long long)s->position,
                 (long long)s->capacity, clq_dtype_name(s->cache), (int)s->layout, s->in_place,
                 s->strided);
}

static float *fill(size_t count, uint64_t seed) {
  test_random random = {seed};
  float *x = malloc((count + 1) * sizeof *x);
  for (size_t i = 0; i < count; ++i) {
    x[i] = test_random_normal(&random);
  }
  return x;
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

/* Runs one shape and demands the reference's bits, in the whole of every output. Returns the
 * number of rows whose position did not fit. */
static int64_t check_shape(const test_device *d, shape s) {
  char what[256];
  describe(what, &s);
  const size_t element = s.cache == CLQ_F16 ? 2 : 4;
  const size_t q_count = (size_t)(s.rows * s.heads * s.head_dim);
  const size_t k_count = (size_t)(s.rows * s.kv_heads * s.head_dim);
  const size_t cache_bytes = (size_t)(s.kv_heads * s.capacity * s.head_dim) * element;
  const size_t table_count = (size_t)(s.positions * s.dims);
  float *q = fill(q_count, 1);
  float *k = fill(k_count, 2);
  float *v = fill(k_count, 3);
  float *table = malloc((table_count + 1) * sizeof *table);
  test_ok(clq_rope_table(table, s.positions, s.dims, 10000.0));
  float *expected = malloc((q_count + 1) * sizeof *expected);
  memset(expected, 0xA5, q_count * sizeof *expected);
  unsigned char *expected_k = malloc(cache_bytes + 1);
  unsigned char *expected_v = malloc(cache_bytes + 1);
  memset(expected_k, 0xA5, cache_bytes);
  memset(expected_v, 0xA5, cache_bytes);
  const stacked in = stack(&s, q, k, v);
  const int32_t position = (int32_t)s.position;
  if (s.in_place) {
    memcpy(expected, q, q_count * sizeof *expected);
  }

  test_buffer x = test_buffer_new(d, in.data, in.count * 4);
  test_buffer tb = test_buffer_new(d, table, table_count * 4);
  test_buffer pb = test_buffer_new(d, &position, 4);
  test_buffer ob = test_buffer_new(d, NULL, q_count * 4);
  test_buffer kb = test_buffer_new(d, NULL, cache_bytes);
  test_buffer vb = test_buffer_new_front(d, NULL, cache_bytes);
  const size_t q_bytes = (size_t)(s.heads * s.head_dim) * 4;
  const size_t kv_bytes = (size_t)(s.kv_heads * s.head_dim) * 4;
  clq_rope_args args = {
      .q = {x.mem, CLQ_F32, {s.rows, s.heads, s.head_dim}, {in.row, s.head_dim, 1}},
      .out = {ob.mem, CLQ_F32},
      .position = {pb.mem, CLQ_I32, {1}},
      .table = {tb.mem, CLQ_F32, {s.positions, s.dims / 2, 2}},
      .layout = s.layout,
  };
  if (s.in_place) {
    args.out = args.q;
  }
  if (s.kv_heads > 0) {
    args.k = args.v = args.q;
    args.k.shape[1] = args.v.shape[1] = s.kv_heads;
    args.k.offset = q_bytes;
    args.v.offset = q_bytes + kv_bytes;
    args.cache.k = (clq_tensor){kb.mem, s.cache, {1, s.kv_heads, s.capacity, s.head_dim}};
    args.cache.v = (clq_tensor){vb.mem, s.cache, {1, s.kv_heads, s.capacity, s.head_dim}};
  }
  test_ok(clq_rope(d->stream, &args));
  const int64_t bad = clqi_ref_rope_run(&(clqi_ref_rope){.q = q,
                                                         .out = expected,
                                                         .k = s.kv_heads > 0 ? k : NULL,
                                                         .v = v,
                                                         .k_cache = expected_k,
                                                         .v_cache = expected_v,
                                                         .table = table,
                                                         .cache_dtype = s.cache,
                                                         .layout = s.layout,
                                                         .rows = s.rows,
                                                         .heads = s.heads,
                                                         .kv_heads = s.kv_heads,
                                                         .head_dim = s.head_dim,
                                                         .dims = s.dims,
                                                         .positions = s.positions,
                                                         .capacity = s.capacity,
                                                         .position = s.position});
  if (bad > 0) {
    test_fails(clq_stream_finish(d->stream), CLQ_INVALID_ARGUMENT, "position");
  }
  float *out = malloc((q_count + 1) * sizeof *out);
  unsigned char *cache = malloc(cache_bytes + 1);
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
  test_buffer_read(d, &kb, cache);
  cr_assert_arr_eq(cache, expected_k, cache_bytes, "k_cache of %s", what);
  test_buffer_read(d, &vb, cache);
  cr_assert_arr_eq(cache, expected_v, cache_bytes, "v_cache of %s", what);

  test_buffer *buffers[] = {&x, &tb, &pb, &ob, &kb, &vb};
  for (size_t i = 0; i < sizeof buffers / sizeof buffers[0]; ++i) {
    test_buffer_free(buffers[i]);
  }
  free(q);
  free(k);
  free(v);
  free(table);
  free(expected);
  free(expected_k);
  free(expected_v);
  free(in.data);
  free(out);
  free(cache);
  return bad;
}

static const char *const forms[] = {NULL, "cpu"};

static void sweep(const char *disable) {
  static const struct {
    int64_t heads, kv_heads, head_dim, dims;
    clq_dtype cache;
    clq_rope_layout layout;
  } models[] = {
      {9, 3, 64, 64, CLQ_F16, CLQ_ROPE_ADJACENT},
      {9, 3, 64, 64, CLQ_F32, CLQ_ROPE_HALF},
      {3, 1, 80, 32, CLQ_F16, CLQ_ROPE_HALF},
      {1, 1, 16, 10, CLQ_F32, CLQ_ROPE_ADJACENT},
      {4, 2, 128, 96, CLQ_F32, 0},
      {5, 0, 34, 34, CLQ_F32, CLQ_ROPE_ADJACENT},
  };
  static const int64_t rows[] = {1, 2, 15, 16, 17, 33};
  static const int64_t positions[] = {0, 1, 15, 16, 37};
  test_device d = test_device_open(disable);
  for (size_t m = 0; m < sizeof models / sizeof models[0]; ++m) {
    for (size_t r = 0; r < sizeof rows / sizeof rows[0]; ++r) {
      for (size_t p = 0; p < sizeof positions / sizeof positions[0]; ++p) {
        const int64_t bad = check_shape(&d, (shape){.rows = rows[r],
                                                    .heads = models[m].heads,
                                                    .kv_heads = models[m].kv_heads,
                                                    .head_dim = models[m].head_dim,
                                                    .dims = models[m].dims,
                                                    .position = positions[p],
                                                    .positions = 80,
                                                    .capacity = 80,
                                                    .cache = models[m].cache,
                                                    .layout = models[m].layout,
                                                    .in_place = (r + p) % 2 == 1,
                                                    .strided = p % 2 == 0});
        cr_assert_eq(bad, 0);
      }
    }
  }
  test_device_close(&d);
}

Test(rope, is_the_reference_bit_for_bit) { sweep(NULL); }
Test(rope, portable_form_is_the_reference_bit_for_bit) { sweep("cpu"); }

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
               .cache = CLQ_F16};
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
                       .heads = 1,
                       .head_dim = DIM,
                       .dims = DIM,
                       .positions = POSITIONS,
                       .layout = CLQ_ROPE_ADJACENT};
    r.q = x;
    r.out = q;
    r.position = 5 + 20 * at;
    cr_assert_eq(clqi_ref_rope_run(&r), 0);
    r.q = x + DIM;
    r.out = k;
    r.position = 2 + 20 * at;
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
                                  .cache = CLQ_F16});
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
  a.cache.v.dtype = CLQ_F32;
  test_fails(clq_rope(d.stream, &a), CLQ_INVALID_ARGUMENT,
             "dtype of cache.v is f32, expected f16 (that of cache.k)");
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
