#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "device.h"
#include "opencl.h"
#include "ref/attention.h"
#include "ref/math.h"
#include "runtime/context.h"

TestSuite(attention_batch, .fini = opencl_none_live);

enum { MOST = 8, GUARD = 3 };

/* Sequences with a cache of f16 or f32. What no row sees of it is NaN. */
typedef struct batch {
  int64_t heads, kv_heads, head_dim, capacity;
  clq_dtype cache;
  int sequences;
  int32_t rows[MOST]; /* query rows of each */
  int32_t position[MOST];
  bool bidirectional;
  bool has_keys;
  int32_t keys[MOST];
  int64_t window;
  float *q;    /* [all rows, heads, head_dim] */
  void *k, *v; /* [sequences, kv_heads, capacity, head_dim] in the operator's layout */
} batch;

static const char *const forms[] = {NULL, "x86_avx512", "cpu"};
enum { FORMS = sizeof forms / sizeof forms[0] };

static int64_t rows_before(const batch *b, int sequence) {
  int64_t rows = 0;
  for (int s = 0; s < sequence; ++s) {
    rows += b->rows[s];
  }
  return rows;
}

static int64_t width_of(const batch *b) { return b->heads * b->head_dim; }

static int64_t keys_of(const batch *b, int s) {
  return b->has_keys ? b->keys[s] : b->position[s] + b->rows[s];
}

static int64_t sequence_elements(const batch *b) { return b->kv_heads * b->capacity * b->head_dim; }

static void put(const batch *b, void *cache, int64_t i, float x) {
  if (b->cache == CLQ_F16) {
    ((uint16_t *)cache)[i] = clqi_ref_f16_from_f32(x);
  } else {
    ((float *)cache)[i] = x;
  }
}

static int64_t k_index(const batch *b, int s, int64_t head, int64_t key, int64_t d) {
  const int64_t start = (s * b->kv_heads + head) * b->capacity * b->head_dim;
  return start + key / 16 * 16 * b->head_dim + d * 16 + key % 16;
}

static int64_t v_index(const batch *b, int s, int64_t head, int64_t key, int64_t d) {
  return ((s * b->kv_heads + head) * b->capacity + key) * b->head_dim + d;
}

static void fill(batch *b) {
  test_random random = {(uint64_t)(b->head_dim + b->heads)};
  const int64_t elements = rows_before(b, b->sequences) * width_of(b);
  const size_t cached = (size_t)(b->sequences * sequence_elements(b)) * clq_dtype_bytes(b->cache);
  b->q = malloc((size_t)(elements + 1) * sizeof *b->q);
  b->k = malloc(cached);
  b->v = malloc(cached);
  for (int64_t i = 0; i < elements; ++i) {
    b->q[i] = 2.0f * test_random_float(&random);
  }
  for (int s = 0; s < b->sequences; ++s) {
    for (int64_t h = 0; h < b->kv_heads; ++h) {
      for (int64_t key = 0; key < b->capacity; ++key) {
        for (int64_t d = 0; d < b->head_dim; ++d) {
          const bool there = key < keys_of(b, s);
          const float k = there ? 2.0f * test_random_float(&random) : NAN;
          put(b, b->k, k_index(b, s, h, key, d), k);
          put(b, b->v, v_index(b, s, h, key, d), there ? test_random_float(&random) : NAN);
        }
      }
    }
  }
}

static void drop(batch *b) {
  free(b->q);
  free(b->k);
  free(b->v);
}

/* One sequence of it, on the same memory. */
static batch one(const batch *b, int s) {
  batch r = *b;
  const size_t at = (size_t)(s * sequence_elements(b)) * clq_dtype_bytes(b->cache);
  r.sequences = 1;
  r.rows[0] = b->rows[s];
  r.position[0] = b->position[s];
  r.keys[0] = b->keys[s];
  r.q = b->q + rows_before(b, s) * width_of(b);
  r.k = (char *)b->k + at;
  r.v = (char *)b->v + at;
  return r;
}

/* In one call; starts[] NULL: absent. The result has GUARD rows more, which must not be written.
 * *finish gets the status of the stream's finish if not NULL, else it must be CLQ_OK. */
static float *run(const test_device *d, const batch *b, const int32_t *starts, clq_status *finish) {
  const int64_t rows = rows_before(b, b->sequences);
  const int64_t width = width_of(b);
  const size_t count = (size_t)((rows + GUARD) * width);
  const size_t cached = (size_t)(b->sequences * sequence_elements(b)) * clq_dtype_bytes(b->cache);
  const size_t ints = (size_t)b->sequences * sizeof(int32_t);
  test_buffer buffers[] = {
      test_buffer_new(d, b->q, (size_t)(rows * width) * sizeof *b->q),
      test_buffer_new(d, b->k, cached),
      test_buffer_new(d, b->v, cached),
      test_buffer_new(d, b->position, ints),
      test_buffer_new(d, b->keys, ints),
      test_buffer_new(d, starts, starts == NULL ? 4 : ints + sizeof(int32_t)),
      test_buffer_new(d, NULL, count * sizeof(float)),
  };
  const clq_tensor cache = {NULL, b->cache, {b->sequences, b->kv_heads, b->capacity, b->head_dim}};
  clq_attention_args args = {
      .q = {buffers[0].mem, CLQ_F32, {rows, b->heads, b->head_dim}},
      .cache = {cache, cache},
      .position = {buffers[3].mem, CLQ_I32, {b->sequences}},
      .out = {buffers[6].mem, CLQ_F32, {rows, width}},
      .bidirectional = b->bidirectional,
      .window = b->window,
  };
  args.cache.k.mem = buffers[1].mem;
  args.cache.v.mem = buffers[2].mem;
  if (b->has_keys) {
    args.keys = (clq_tensor){buffers[4].mem, CLQ_I32, {b->sequences}};
  }
  if (starts != NULL) {
    args.starts = (clq_tensor){buffers[5].mem, CLQ_I32, {b->sequences + 1}};
  }
  test_ok(clq_attention(d->stream, &args));
  if (finish != NULL) {
    *finish = clq_stream_finish(d->stream);
  }
  float *out = malloc(count * sizeof *out);
  test_buffer_read(d, &buffers[6], out);
  for (size_t i = (size_t)(rows * width); i < count; ++i) {
    unsigned char untouched[4];
    memset(untouched, 0xA5, 4);
    cr_assert_arr_eq(out + i, untouched, 4, "wrote behind the last row");
  }
  for (size_t i = 0; i < sizeof buffers / sizeof buffers[0]; ++i) {
    test_buffer_free(&buffers[i]);
  }
  return out;
}

static void starts_of(const batch *b, int32_t *starts) {
  for (int s = 0; s <= b->sequences; ++s) {
    starts[s] = (int32_t)rows_before(b, s);
  }
}

/* Row `row` of a batch of one sequence against the double reference; the bound is that of ops.h,
 * with |v| <= 1 and |k| <= 2. */
static void check_row(const batch *b, int64_t row, const float *out) {
  const int64_t width = width_of(b);
  double *exact = malloc((size_t)width * sizeof *exact);
  double *scratch = malloc((size_t)b->capacity * sizeof *scratch);
  const float *q = b->q + row * width;
  const int64_t bad =
      clqi_ref_attention_run(&(clqi_ref_attention){.q = q,
                                                   .k_cache = b->k,
                                                   .v_cache = b->v,
                                                   .out = exact,
                                                   .scratch = scratch,
                                                   .cache_dtype = b->cache,
                                                   .rows = 1,
                                                   .heads = b->heads,
                                                   .kv_heads = b->kv_heads,
                                                   .head_dim = b->head_dim,
                                                   .capacity = b->capacity,
                                                   .position = b->position[0] + row,
                                                   .bidirectional = b->bidirectional,
                                                   .keys = keys_of(b, 0),
                                                   .window = b->window});
  cr_assert_eq(bad, 0);
  for (int64_t i = 0; i < width; ++i) {
    double size = 0.0;
    for (int64_t d = 0; d < b->head_dim; ++d) {
      size += 2.0 * fabs((double)q[i / b->head_dim * b->head_dim + d]);
    }
    const double bound = 0x1p-21 * (1.0 + size / sqrt((double)b->head_dim));
    cr_assert(fabs((double)out[row * width + i] - exact[i]) <= bound,
              "row %lld, element %lld: %g, expected %g", (long long)row, (long long)i,
              (double)out[row * width + i], exact[i]);
  }
  free(exact);
  free(scratch);
}

/* Each sequence has the bits that it has alone, and is right. */
static void check_batch(const test_device *d, const batch *b, bool even) {
  int32_t starts[MOST + 1];
  starts_of(b, starts);
  const int64_t width = width_of(b);
  float *all = run(d, b, even ? NULL : starts, NULL);
  for (int s = 0; s < b->sequences; ++s) {
    const batch alone = one(b, s);
    if (b->rows[s] == 0) {
      continue;
    }
    float *out = run(d, &alone, NULL, NULL);
    cr_assert_arr_eq(out, all + starts[s] * width, (size_t)(b->rows[s] * width) * sizeof *out,
                     "sequence %d among others is not what it is alone", s);
    for (int64_t row = 0; row < b->rows[s]; row += 1 + row) {
      check_row(&alone, row, out);
    }
    check_row(&alone, b->rows[s] - 1, out);
    free(out);
  }
  free(all);
}

/* Rows of all, position of all: with empty sequences first, last and between, and more keys than a
 * chunk. */
static const batch ragged = {.heads = 9,
                             .kv_heads = 3,
                             .head_dim = 64,
                             .capacity = 640,
                             .cache = CLQ_F16,
                             .sequences = 7,
                             .rows = {0, 5, 33, 1, 0, 270, 0},
                             .position = {3, 0, 250, 617, 0, 7, 0}};

/* How rows see keys. */
static void look(batch *b, int way) {
  b->bidirectional = way >= 2;
  b->window = way % 2 == 1 ? 20 + 100 * (way == 3) : 0;
}

Test(attention_batch, ragged_sequences) {
  for (size_t f = 0; f < FORMS; ++f) {
    test_device d = test_device_open(forms[f]);
    for (int way = 0; way < 4; ++way) {
      batch b = ragged;
      look(&b, way);
      fill(&b);
      check_batch(&d, &b, false);
      drop(&b);
    }
    test_device_close(&d);
  }
}

Test(attention_batch, as_many_rows_each) {
  test_device d = test_device_open(NULL);
  for (int rows = 1; rows <= 5; rows += 4) {
    batch b = ragged;
    b.sequences = 5;
    for (int s = 0; s < b.sequences; ++s) {
      b.rows[s] = rows;
    }
    fill(&b);
    check_batch(&d, &b, true);
    drop(&b);
  }
  test_device_close(&d);
}

/* Cross-attention: so many keys as are told, none among them, whatever the position. */
Test(attention_batch, keys_of_their_own) {
  for (size_t f = 0; f < FORMS; f += 2) {
    test_device d = test_device_open(forms[f]);
    for (int windowed = 0; windowed < 2; ++windowed) {
      batch b = ragged;
      b.sequences = 4;
      b.bidirectional = true;
      b.has_keys = true;
      b.window = windowed ? 9 : 0;
      static const int32_t rows[] = {5, 13, 1, 20};
      static const int32_t keys[] = {0, 300, 640, 17};
      static const int32_t position[] = {2, 700, 0, 0};
      memcpy(b.rows, rows, sizeof rows);
      memcpy(b.keys, keys, sizeof keys);
      memcpy(b.position, position, sizeof position);
      fill(&b);
      check_batch(&d, &b, false);
      drop(&b);
    }
    test_device_close(&d);
  }
}

/* A key or value that is not a number spoils the rows that see it and no other. */
Test(attention_batch, nan_stays_in_its_window) {
  for (size_t f = 0; f < FORMS; ++f) {
    test_device d = test_device_open(forms[f]);
    for (int way = 1; way < 4; way += 2) {
      for (int in_v = 0; in_v < 2; ++in_v) {
        batch b = ragged;
        look(&b, way);
        b.window = 20;
        fill(&b);
        int32_t starts[MOST + 1];
        starts_of(&b, starts);
        float *before = run(&d, &b, starts, NULL);
        const int64_t key = 200;
        put(&b, in_v ? b.v : b.k, in_v ? v_index(&b, 5, 1, key, 3) : k_index(&b, 5, 1, key, 3),
            NAN);
        float *after = run(&d, &b, starts, NULL);
        const int64_t width = width_of(&b);
        for (int64_t row = 0; row < starts[b.sequences]; ++row) {
          const int64_t at = row - starts[5] + b.position[5];
          const bool sees = row >= starts[5] && (way == 1 ? at >= key : at > key - b.window) &&
                            at < key + b.window;
          for (int64_t i = 0; i < width; ++i) {
            const int64_t head = i / b.head_dim;
            const bool spoilt = sees && head >= 3 && head < 6 && (!in_v || i % b.head_dim == 3);
            const float x = after[row * width + i];
            cr_assert(spoilt ? (bool)isnan(x) : x == before[row * width + i],
                      "row %lld, element %lld, %s", (long long)row, (long long)i, in_v ? "v" : "k");
          }
        }
        free(before);
        free(after);
        drop(&b);
      }
    }
    test_device_close(&d);
  }
}

/* Starts that are no starts, and keys that no cache has, are reported; nothing outside is read or
 * written (the buffers end at pages that cannot be touched). */
Test(attention_batch, bad_starts_and_keys_are_reported) {
  static const int32_t bad[][5] = {{0, 5, 4, 12, 20},         {-1, 5, 9, 12, 20},
                                   {0, 5, 9, 12, 21},         {0, 5, 9, INT32_MAX, 20},
                                   {0, INT32_MIN, 9, 12, 20}, {20, 12, 9, 5, 0},
                                   {INT32_MAX, 0, 0, 0, 0},   {0, 0, 0, 0, INT32_MAX}};
  for (size_t f = 0; f < FORMS; f += 2) {
    test_device d = test_device_open(forms[f]);
    batch b = ragged;
    b.sequences = 4;
    b.bidirectional = true;
    for (int s = 0; s < 4; ++s) {
      b.rows[s] = 5;
      b.position[s] = 0;
    }
    fill(&b);
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; ++i) {
      clq_status status;
      free(run(&d, &b, bad[i], &status));
      cr_assert_eq(status, CLQ_INVALID_ARGUMENT, "starts %zu", i);
      cr_assert_not_null(strstr(clq_last_error(), "starts of sequence"), "%s", clq_last_error());
    }
    b.has_keys = true;
    static const int32_t keys[] = {-1, 641, INT32_MAX, INT32_MIN};
    int32_t starts[MOST + 1];
    starts_of(&b, starts);
    float *good = NULL;
    for (int i = 0; i < 4; ++i) {
      const int32_t told[] = {5, 5, keys[i], 5};
      memcpy(b.keys, told, sizeof told);
      clq_status status;
      float *out = run(&d, &b, starts, &status);
      cr_assert_eq(status, CLQ_INVALID_ARGUMENT);
      cr_assert_not_null(strstr(clq_last_error(), "keys is "), "%s", clq_last_error());
      for (int64_t e = 10 * width_of(&b); e < 15 * width_of(&b); ++e) {
        cr_assert_eq(out[e], 0.0f);
        cr_assert(out[e + 5 * width_of(&b)] != 0.0f);
      }
      free(good);
      good = out;
    }
    free(good);
    drop(&b);
    test_device_close(&d);
  }
}

/* Chunks computed apart and merged have the bits of one walk, on a device with compute units
 * enough. */
Test(attention_batch, split_over_keys) {
  static const char *const names[] = {"attention_tile_12x2_split", "attention_tile_6x1_split",
                                      "attention_group_split"};
  for (size_t f = 0; f < FORMS; ++f) {
    test_device d = test_device_open(forms[f]);
    const uint32_t units = d.context->info.compute_units;
    const bool wide = test_has_trait(d.context, "x86_avx512");
    for (int way = 0; way < 4; ++way) {
      batch b = ragged;
      look(&b, way);
      fill(&b);
      int32_t starts[MOST + 1];
      starts_of(&b, starts);
      float *whole = run(&d, &b, starts, NULL);
      d.context->info.compute_units = 4096;
      test_dispatch_start();
      float *split = run(&d, &b, starts, NULL);
      cr_assert(test_dispatch_saw("attention", names[!test_has_trait(d.context, "cpu") ? 2
                                                     : wide                            ? 0
                                                                                       : 1]));
      test_dispatch_stop();
      d.context->info.compute_units = units;
      cr_assert_arr_eq(split, whole, (size_t)(starts[b.sequences] * width_of(&b)) * sizeof *whole);
      free(whole);
      free(split);
      drop(&b);
    }
    test_device_close(&d);
  }
}
