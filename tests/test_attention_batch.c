#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "attention_batch.h"
#include "opencl.h"
#include "runtime/context.h"

TestSuite(attention_batch, .fini = opencl_none_live);

static const char *const forms[] = {NULL, "x86_avx512", "cpu"};
enum { FORMS = sizeof forms / sizeof forms[0] };

/* Each sequence has the bits that it has alone, and is right. */
static void check_batch(const test_device *d, const attention_batch *b, bool even) {
  int32_t starts[ATTENTION_SEQUENCES + 1];
  attention_starts(b, starts);
  const int64_t width = attention_width(b);
  float *all = attention_run(d, b, even ? NULL : starts, NULL);
  for (int s = 0; s < b->sequences; ++s) {
    const attention_batch alone = attention_one(b, s);
    if (b->rows[s] == 0) {
      continue;
    }
    float *out = attention_run(d, &alone, NULL, NULL);
    cr_assert_arr_eq(out, all + starts[s] * width, (size_t)(b->rows[s] * width) * sizeof *out,
                     "sequence %d among others is not what it is alone", s);
    for (int64_t row = 0; row < b->rows[s]; row += 1 + row) {
      attention_check_row(&alone, row, out, 1e-5);
    }
    attention_check_row(&alone, b->rows[s] - 1, out, 1e-5);
    free(out);
  }
  free(all);
}

/* Rows of all, position of all: with empty sequences first, last and between, and more keys than a
 * chunk. */
static const attention_batch ragged = {.heads = 9,
                                       .kv_heads = 3,
                                       .head_dim = 64,
                                       .capacity = 512,
                                       .cache = CLQ_F16,
                                       .sequences = 7,
                                       .rows = {0, 5, 33, 1, 0, 262, 0},
                                       .position = {3, 0, 250, 401, 0, 7, 0}};

/* How rows see keys. */
static void look(attention_batch *b, int way) {
  b->bidirectional = way >= 2;
  b->window = way % 2 == 1 ? 20 + 100 * (way == 3) : 0;
}

Test(attention_batch, ragged_sequences) {
  attention_batch b = ragged;
  attention_fill(&b);
  for (size_t f = 0; f < FORMS; ++f) {
    test_device d = test_device_open(forms[f]);
    for (int way = 0; way < 4; ++way) {
      look(&b, way);
      check_batch(&d, &b, false);
    }
    test_device_close(&d);
  }
  attention_drop(&b);
}

Test(attention_batch, as_many_rows_each) {
  test_device d = test_device_open(NULL);
  for (int rows = 1; rows <= 5; rows += 4) {
    attention_batch b = ragged;
    b.sequences = 5;
    for (int s = 0; s < b.sequences; ++s) {
      b.rows[s] = rows;
    }
    attention_fill(&b);
    check_batch(&d, &b, true);
    attention_drop(&b);
  }
  test_device_close(&d);
}

/* Cross-attention: so many keys as are told, none among them, whatever the position. */
Test(attention_batch, keys_of_their_own) {
  for (size_t f = 0; f < FORMS; f += 2) {
    test_device d = test_device_open(forms[f]);
    for (int windowed = 0; windowed < 2; ++windowed) {
      attention_batch b = ragged;
      b.sequences = 4;
      b.bidirectional = true;
      b.has_keys = true;
      b.window = windowed ? 9 : 0;
      static const int32_t rows[] = {5, 13, 1, 20};
      static const int32_t keys[] = {0, 300, 512, 17};
      static const int32_t position[] = {2, 700, 0, 0};
      memcpy(b.rows, rows, sizeof rows);
      memcpy(b.keys, keys, sizeof keys);
      memcpy(b.position, position, sizeof position);
      attention_fill(&b);
      check_batch(&d, &b, false);
      attention_drop(&b);
    }
    test_device_close(&d);
  }
}

/* A key or value that is not a number spoils the rows that see it and no other. */
Test(attention_batch, nan_stays_in_its_window) {
  attention_batch b = ragged;
  attention_fill(&b);
  b.window = 20;
  int32_t starts[ATTENTION_SEQUENCES + 1];
  attention_starts(&b, starts);
  const int64_t width = attention_width(&b);
  const int64_t key = 200;
  const int64_t k_at = attention_k_index(&b, 5, 1, key, 3);
  const int64_t v_at = attention_v_index(&b, 5, 1, key, 3);
  for (size_t f = 0; f < FORMS; ++f) {
    test_device d = test_device_open(forms[f]);
    for (int both_ways = 0; both_ways < 2; ++both_ways) {
      b.bidirectional = both_ways;
      attention_put(&b, b.k, k_at, 0.5f);
      attention_put(&b, b.v, v_at, 0.5f);
      float *before = attention_run(&d, &b, starts, NULL);
      attention_put(&b, both_ways ? b.v : b.k, both_ways ? v_at : k_at, NAN);
      float *after = attention_run(&d, &b, starts, NULL);
      for (int64_t row = 0; row < starts[b.sequences]; ++row) {
        const int64_t at = row - starts[5] + b.position[5];
        const bool sees = row >= starts[5] && at < key + b.window &&
                          (both_ways ? at > key - b.window : at >= key);
        for (int64_t i = 0; i < width; ++i) {
          const int64_t head = i / b.head_dim;
          const bool there = head >= 3 && head < 6 && (!both_ways || i % b.head_dim == 3);
          const float x = after[row * width + i];
          cr_assert(sees && there ? (bool)isnan(x) : x == before[row * width + i],
                    "row %lld, element %lld, %s", (long long)row, (long long)i,
                    both_ways ? "v" : "k");
        }
      }
      free(before);
      free(after);
    }
    test_device_close(&d);
  }
  attention_drop(&b);
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
    attention_batch b = ragged;
    b.sequences = 4;
    b.bidirectional = true;
    for (int s = 0; s < 4; ++s) {
      b.rows[s] = 5;
      b.position[s] = 0;
    }
    attention_fill(&b);
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; ++i) {
      clq_status status;
      free(attention_run(&d, &b, bad[i], &status));
      cr_assert_eq(status, CLQ_INVALID_ARGUMENT, "starts %zu", i);
      cr_assert_not_null(strstr(clq_last_error(), "starts of sequence"), "%s", clq_last_error());
    }
    b.has_keys = true;
    static const int32_t keys[] = {-1, 513, INT32_MAX, INT32_MIN};
    int32_t starts[ATTENTION_SEQUENCES + 1];
    attention_starts(&b, starts);
    float *good = NULL;
    for (int i = 0; i < 4; ++i) {
      const int32_t told[] = {5, 5, keys[i], 5};
      memcpy(b.keys, told, sizeof told);
      clq_status status;
      float *out = attention_run(&d, &b, starts, &status);
      cr_assert_eq(status, CLQ_INVALID_ARGUMENT);
      cr_assert_not_null(strstr(clq_last_error(), "keys is "), "%s", clq_last_error());
      for (int64_t e = 10 * attention_width(&b); e < 15 * attention_width(&b); ++e) {
        cr_assert_eq(out[e], 0.0f);
        cr_assert(out[e + 5 * attention_width(&b)] != 0.0f);
      }
      free(good);
      good = out;
    }
    free(good);
    attention_drop(&b);
    test_device_close(&d);
  }
}

/* Chunks computed apart and merged have the bits of one walk, on a device with compute units
 * enough. */
Test(attention_batch, split_over_keys) {
  static const char *const names[] = {"attention_tile_12x2_split", "attention_tile_6x1_split",
                                      "attention_group_split"};
  attention_batch b = ragged;
  attention_fill(&b);
  int32_t starts[ATTENTION_SEQUENCES + 1];
  attention_starts(&b, starts);
  const size_t bytes = (size_t)(starts[b.sequences] * attention_width(&b)) * sizeof(float);
  for (size_t f = 0; f < FORMS; ++f) {
    test_device d = test_device_open(forms[f]);
    const uint32_t units = d.context->info.compute_units;
    const bool cpu = test_has_trait(d.context, "cpu");
    const bool wide = cpu && test_has_trait(d.context, "x86_avx512");
    for (int way = 0; way < 4; ++way) {
      look(&b, way);
      d.context->info.compute_units = 1;
      float *whole = attention_run(&d, &b, starts, NULL);
      d.context->info.compute_units = 4096;
      test_dispatch_start();
      float *split = attention_run(&d, &b, starts, NULL);
      cr_assert(test_dispatch_saw("attention", names[wide ? 0 : cpu ? 1 : 2]));
      test_dispatch_stop();
      d.context->info.compute_units = units;
      cr_assert_arr_eq(split, whole, bytes);
      free(whole);
      free(split);
    }
    test_device_close(&d);
  }
  attention_drop(&b);
}
