/* embedding from tables in the caller's buffers: rows as FBGEMM has them, tables of several formats
 * behind a map; and what makes such tables. */
#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "forms.h"
#include "opencl.h"
#include "ref/math.h"
#include "ref/ref.h"

TestSuite(embedding_tables, .fini = opencl_none_live);

static float *random_rows(int64_t rows, int64_t cols) {
  float *x = malloc((size_t)(rows * cols) * sizeof *x);
  test_random random = {(uint64_t)cols + 1};
  for (int64_t i = 0; i < rows * cols; ++i) {
    x[i] = test_random_normal(&random);
  }
  return x;
}

/* --- the rows --- */

static uint32_t word_of(FILE *f) {
  uint32_t word = 0;
  cr_assert_eq(fread(&word, sizeof word, 1, f), 1);
  return word;
}

Test(embedding_tables, rows_are_those_of_pytorch_byte_for_byte) {
  FILE *f = fopen(CLQ_TEST_DIR "/golden/rows.bin", "rb");
  cr_assert_not_null(f);
  cr_assert_eq(word_of(f), 0x52514c43U);
  cr_assert_eq(word_of(f), 1);
  for (uint32_t matrices = word_of(f); matrices > 0; --matrices) {
    const int64_t rows = word_of(f);
    const int64_t cols = word_of(f);
    float *x = malloc((size_t)(rows * cols) * sizeof *x);
    cr_assert_eq(fread(x, sizeof *x, (size_t)(rows * cols), f), (size_t)(rows * cols));
    for (int format = CLQ_ROW_8BIT; format <= CLQ_ROW_2BIT; ++format) {
      const size_t bytes = (size_t)clq_row_bytes((clq_row_format)format, cols);
      uint8_t *expected = malloc((size_t)rows * bytes);
      uint8_t *got = malloc((size_t)rows * bytes);
      cr_assert_eq(fread(expected, bytes, (size_t)rows, f), (size_t)rows);
      test_ok(clq_rows_quantize(
          &(clq_rows_desc){.format = (clq_row_format)format, .x = x, .rows = rows, .cols = cols},
          got));
      for (int64_t r = 0; r < rows; ++r) {
        cr_assert_arr_eq(got + (size_t)r * bytes, expected + (size_t)r * bytes, bytes,
                         "%s: row %lld of %lld columns",
                         clq_row_format_name((clq_row_format)format), (long long)r,
                         (long long)cols);
      }
      free(expected);
      free(got);
    }
    free(x);
  }
  (void)fclose(f);
}

/* No width that PyTorch takes has a byte with codes missing. */
Test(embedding_tables, a_code_is_the_nearest_and_any_width_is_taken) {
  static const int steps[] = {255, 15, 3};
  for (int64_t cols = 1; cols < 40; cols += 2) {
    float *x = random_rows(9, cols);
    const int32_t pick[] = {8, 0, 3};
    for (int i = 0; i < 3; ++i) {
      const clq_row_format format = (clq_row_format)(CLQ_ROW_8BIT + i);
      const int64_t bytes = clq_row_bytes(format, cols);
      uint8_t *rows = malloc((size_t)(3 * bytes));
      float *back = malloc((size_t)cols * sizeof *back);
      test_ok(clq_rows_quantize(&(clq_rows_desc){format, x, 3, cols, pick}, rows));
      for (int r = 0; r < 3; ++r) {
        const float *row = x + pick[r] * cols;
        float least = row[0];
        float most = row[0];
        for (int64_t c = 0; c < cols; ++c) {
          least = fminf(least, row[c]);
          most = fmaxf(most, row[c]);
        }
        clqi_ref_table_row(rows + r * bytes, format, cols, back);
        const double step = (double)(most - least) / steps[i];
        for (int64_t c = 0; c < cols; ++c) {
          /* A scale of f16 is off by 2^-11, at the last code the most, a minimum likewise. */
          const double slack = i == 0 ? 1e-5 : 0x1p-11 * (fabs((double)least) + steps[i] * step);
          cr_assert_float_eq((double)back[c], (double)row[c], 0.5 * step + slack, "%d bits, %lld",
                             8 >> i, (long long)c);
        }
      }
      free(rows);
      free(back);
    }
    free(x);
  }
}

Test(embedding_tables, rows_of_floats_are_rounded_to_nearest_even) {
  static const float x[] = {1.0f,       0x1.002p0f, 0x1.006p0f, -65504.0f, 0x1p-24f, 0x1p-25f,
                            0x1.8p-25f, -0.0f,      0x1.01p0f,  0x1.03p0f, -3.0f,    0x1.ff8p-15f};
  static const uint16_t halves[] = {0x3c00, 0x3c00, 0x3c02, 0xfbff, 0x0001, 0x0000,
                                    0x0001, 0x8000, 0x3c04, 0x3c0c, 0xc200, 0x03ff};
  static const uint16_t brain[] = {0x3f80, 0x3f80, 0x3f80, 0xc780, 0x3380, 0x3300,
                                   0x3340, 0x8000, 0x3f80, 0x3f82, 0xc040, 0x3880};
  uint16_t got[12];
  clq_rows_desc d = {CLQ_ROW_F16, x, 1, 12, NULL};
  test_ok(clq_rows_quantize(&d, got));
  cr_assert_arr_eq(got, halves, sizeof got);
  d.format = CLQ_ROW_BF16;
  test_ok(clq_rows_quantize(&d, got));
  cr_assert_arr_eq(got, brain, sizeof got);
  float same[12];
  d.format = CLQ_ROW_F32;
  test_ok(clq_rows_quantize(&d, same));
  cr_assert_arr_eq(same, x, sizeof x);
}

Test(embedding_tables, what_no_row_can_hold_is_refused) {
  uint8_t out[64];
  const float nan[] = {1.0f, NAN, 2.0f, 3.0f};
  const float wide[] = {-3e38f, 3e38f, 0.0f, 0.0f};
  const float large[] = {70000.0f, 70001.0f, 70000.0f, 70000.0f};
  const clq_status bad = CLQ_INVALID_ARGUMENT;
  for (int format = CLQ_ROW_F32; format <= CLQ_ROW_2BIT; ++format) {
    clq_rows_desc d = {(clq_row_format)format, nan, 1, 4, NULL};
    test_fails(clq_rows_quantize(&d, out), bad, "rows_quantize: row 0 has a value that is not");
    d.x = wide;
    if (format != CLQ_ROW_F32 && format != CLQ_ROW_BF16) {
      test_fails(clq_rows_quantize(&d, out), bad, clq_row_format_name((clq_row_format)format));
    }
    d.x = large;
    if (format == CLQ_ROW_F16 || format == CLQ_ROW_4BIT || format == CLQ_ROW_2BIT) {
      test_fails(clq_rows_quantize(&d, out), bad, "does not hold");
    } else {
      test_ok(clq_rows_quantize(&d, out));
    }
  }
  clq_rows_desc d = {CLQ_ROW_8BIT, large, 1, 4, NULL};
  test_fails(clq_rows_quantize(NULL, out), bad, "desc must not be NULL");
  test_fails(clq_rows_quantize(&d, NULL), bad, "out must not be NULL");
  d.pick = (const int32_t[]){-1};
  test_fails(clq_rows_quantize(&d, out), bad, "pick[0] is -1");
  d.format = 0;
  test_fails(clq_rows_quantize(&d, out), bad, "format is 0");
  cr_assert_eq(clq_row_bytes(CLQ_ROW_4BIT, INT64_MAX), 0);
  cr_assert_eq(clq_row_bytes(0, 4), 0);
  cr_assert_eq(clq_row_bytes(CLQ_ROW_8BIT, 64) + clq_row_bytes(CLQ_ROW_4BIT, 33) +
                   clq_row_bytes(CLQ_ROW_2BIT, 33),
               72 + 21 + 13);
  cr_assert_str_eq(clq_row_format_name((clq_row_format)9), "?");
}

/* --- the gather --- */

enum { ROWS = 7, GAP = 3, IDS = 30, MAP = 25 };

typedef struct setting {
  clq_row_format formats[CLQ_MOST_TABLES];
  bool mapped;
  clq_dtype out;
} setting;

static const setting settings[] = {
    {{CLQ_ROW_F16, CLQ_ROW_8BIT, CLQ_ROW_4BIT, CLQ_ROW_2BIT}, true, CLQ_F32},
    {{CLQ_ROW_F32, CLQ_ROW_BF16}, false, CLQ_F16},
};

/* Tables with rows GAP elements apart; rows of nothing but the given format. */
typedef struct fixture {
  test_buffer buffers[CLQ_MOST_TABLES];
  uint8_t *bytes[CLQ_MOST_TABLES];
  clqi_ref_table ref[CLQ_MOST_TABLES];
  clq_embedding_args args;
} fixture;

static bool is_float(clq_row_format format) { return format <= CLQ_ROW_BF16; }

static fixture fixture_new(const test_device *d, const setting *set, int64_t cols) {
  fixture f = {.args = {.out = {.dtype = set->out, .shape = {IDS, cols}}}};
  for (int t = 0; t < CLQ_MOST_TABLES && set->formats[t] != 0; ++t) {
    const clq_row_format format = set->formats[t];
    const clq_dtype dtype = is_float(format) ? (clq_dtype)format : CLQ_U8;
    const int64_t size = (int64_t)clq_dtype_bytes(dtype);
    const int64_t bytes = clq_row_bytes(format, cols);
    const int64_t stride = bytes / size + GAP;
    const size_t all = (size_t)((ROWS + t - 1) * stride * size + bytes);
    float *x = random_rows(ROWS + t, cols);
    f.bytes[t] = calloc(all, 1);
    for (int32_t r = 0; r < ROWS + t; ++r) {
      test_ok(clq_rows_quantize(&(clq_rows_desc){format, x, 1, cols, &r},
                                f.bytes[t] + r * stride * size));
    }
    free(x);
    f.buffers[t] = test_buffer_new(d, f.bytes[t], all);
    f.ref[t] = (clqi_ref_table){f.bytes[t], format, ROWS + t, stride * size};
    f.args.tables[t] =
        (clq_row_table){{f.buffers[t].mem, dtype, {ROWS + t, bytes / size}, {stride, 1}},
                        is_float(format) ? 0 : format};
  }
  return f;
}

static void fixture_free(fixture *f) {
  for (int t = 0; t < CLQ_MOST_TABLES && f->bytes[t] != NULL; ++t) {
    test_buffer_free(&f->buffers[t]);
    free(f->bytes[t]);
  }
}

/* `wrong`: the id that the error names; below -1: none. */
static void check_gather(const test_device *d, const setting *set, int64_t cols, const int32_t *ids,
                         const int32_t *map, const char *wrong) {
  fixture f = fixture_new(d, set, cols);
  const size_t size = clq_dtype_bytes(set->out);
  float *expected = malloc((size_t)(IDS * cols) * sizeof *expected);
  unsigned char *got = malloc((size_t)(IDS * cols) * size);
  const int64_t unknown = clqi_ref_embedding_tables(ids, IDS, f.ref, map, MAP, cols, expected);
  cr_assert_eq(unknown != 0, wrong != NULL);
  test_buffer ib = test_buffer_new(d, ids, IDS * 4);
  test_buffer mb = test_buffer_new(d, map, MAP * 4);
  test_buffer ob = test_buffer_new(d, NULL, (size_t)(IDS * cols) * size);
  f.args.ids = (clq_tensor){ib.mem, CLQ_I32, {IDS}};
  f.args.out.mem = ob.mem;
  if (map != NULL) {
    f.args.map = (clq_tensor){mb.mem, CLQ_I32, {MAP}};
  }
  test_ok(clq_embedding(d->stream, &f.args));
  if (wrong != NULL) {
    test_fails(clq_stream_finish(d->stream), CLQ_INVALID_ARGUMENT, wrong);
  }
  test_buffer_read(d, &ob, got);
  for (int64_t i = 0; i < IDS * cols; ++i) {
    const uint16_t half = set->out == CLQ_F16 ? clqi_ref_f16_from_f32(expected[i]) : 0;
    const void *bits = set->out == CLQ_F16 ? (const void *)&half : (const void *)&expected[i];
    cr_assert_arr_eq(got + (size_t)i * size, bits, size, "row %lld, column %lld of %lld",
                     (long long)(i / cols), (long long)(i % cols), (long long)cols);
  }
  test_buffer_free(&ib);
  test_buffer_free(&mb);
  test_buffer_free(&ob);
  fixture_free(&f);
  free(expected);
  free(got);
}

static void ids_and_map(test_random *random, const setting *set, int32_t *ids, int32_t *map) {
  int32_t rows = 0;
  for (int t = 0; t < CLQ_MOST_TABLES && set->formats[t] != 0; ++t) {
    rows += ROWS + t;
  }
  for (int i = 0; i < IDS; ++i) {
    ids[i] = test_random_int(random, 0, (set->mapped ? MAP : rows) - 1);
  }
  for (int i = 0; i < MAP; ++i) {
    map[i] = i * 11 % rows;
  }
}

static void check_widths(const test_device *d, const int64_t *widths, int count) {
  for (size_t s = 0; s < sizeof settings / sizeof settings[0]; ++s) {
    for (int w = 0; w < count; ++w) {
      int32_t ids[IDS];
      int32_t map[MAP];
      test_random random = {(uint64_t)widths[w]};
      ids_and_map(&random, &settings[s], ids, map);
      check_gather(d, &settings[s], widths[w], ids, settings[s].mapped ? map : NULL, NULL);
    }
  }
}

Test(embedding_tables, are_the_reference_bit_for_bit) {
  static const int64_t widths[] = {1, 2, 3, 5, 15, 16, 17, 33, 64, 67, 1025};
  for (test_forms f = {0}; test_forms_next(&f);) {
    check_widths(&f.device, widths, sizeof widths / sizeof widths[0]);
    test_forms_saw(&f, "embedding", "embedding_tables_rows", "embedding_tables_group");
  }
}

/* Nothing outside the tables is read, the other rows are as ever. */
static void check_wrong(const test_device *d) {
  const setting *set = &settings[0];
  int32_t ids[IDS];
  int32_t map[MAP];
  test_random random = {1};
  static const int32_t wrong_ids[] = {-1, MAP, INT32_MAX, INT32_MIN};
  static const int32_t wrong_entries[] = {-1, 4 * ROWS + 6, INT32_MIN};
  for (int i = 0; i < 4; ++i) {
    ids_and_map(&random, set, ids, map);
    ids[IDS - 1] = wrong_ids[i];
    char sentence[64];
    (void)snprintf(sentence, sizeof sentence, "embedding: id %d is not a row", (int)wrong_ids[i]);
    check_gather(d, set, 21, ids, map, sentence);
  }
  for (int i = 0; i < 3; ++i) {
    ids_and_map(&random, set, ids, map);
    map[ids[3]] = wrong_entries[i];
    check_gather(d, set, 21, ids, map, "embedding: the map's entry of id");
  }
}

Test(embedding_tables, tiny_ids_that_are_none_give_zeros_and_an_error) {
  for (test_forms f = {0}; test_forms_next(&f);) {
    static const int64_t widths[] = {9};
    check_widths(&f.device, widths, 1);
    check_wrong(&f.device);
  }
}

Test(embedding_tables, refusals) {
  test_device d = test_device_open(NULL);
  const setting *set = &settings[0];
  fixture f = fixture_new(&d, set, 32);
  const int32_t ids[IDS] = {0};
  test_buffer ib = test_buffer_new(&d, ids, sizeof ids);
  test_buffer ob = test_buffer_new(&d, NULL, IDS * 32 * 4);
  f.args.ids = (clq_tensor){ib.mem, CLQ_I32, {IDS}};
  f.args.out.mem = ob.mem;
  const clq_status bad = CLQ_INVALID_ARGUMENT;
  clq_embedding_args a = f.args;
  a.tables[0].rows = (clq_tensor){0};
  test_fails(clq_embedding(d.stream, &a), bad, "embedding: weights are missing, and so are tables");
  a = f.args;
  a.tables[1].rows = (clq_tensor){0};
  test_fails(clq_embedding(d.stream, &a), bad, "tables[2] is given, but tables[1] is not");
  a = f.args;
  a.tables[1].format = 0;
  test_fails(clq_embedding(d.stream, &a), bad,
             "tables[1].format is 0, expected one of clq_row_format (1 to 6) for rows of u8");
  a = f.args;
  a.tables[1].format = CLQ_ROW_4BIT;
  test_fails(clq_embedding(d.stream, &a), bad,
             "dimension 1 of tables[1].rows is 40, expected 20 (bytes of a row");
  a = f.args;
  a.tables[0].format = CLQ_ROW_BF16;
  test_fails(clq_embedding(d.stream, &a), CLQ_UNSUPPORTED, "dtype of tables[0].rows is f16");
  a = f.args;
  a.map = (clq_tensor){ib.mem, CLQ_F32, {IDS}};
  test_fails(clq_embedding(d.stream, &a), CLQ_UNSUPPORTED, "dtype of map is f32");
  a = f.args;
  a.out.dtype = CLQ_I8;
  a.out.quant = (clq_quant){.per = CLQ_PER_GROUP, .group = 6, .scale = ib.mem};
  test_fails(clq_embedding(d.stream, &a), CLQ_UNSUPPORTED, "quant.group of out is 6, offered");
  a = f.args;
  a.out.shape[0] = a.out.shape[1] = 0;
  test_ok(clq_embedding(d.stream, &a));
  test_ok(clq_stream_finish(d.stream));
  test_buffer_free(&ib);
  test_buffer_free(&ob);
  fixture_free(&f);
  test_device_close(&d);
}

/* --- which row goes where --- */

static const clq_mixed_desc three = {
    .rows = 6,
    .cols = 32,
    .counts = (const int64_t[]){5, 900, 0, 30, 900, 5},
    .formats = {CLQ_ROW_F16, CLQ_ROW_8BIT, CLQ_ROW_4BIT},
};

Test(embedding_tables, thresholds_cut_the_sorted_ids) {
  clq_mixed_desc d = three;
  d.least[0] = 900;
  d.least[1] = 5;
  int32_t map[6];
  int32_t order[6];
  clq_mixed_tables_of tables;
  test_ok(clq_mixed_tables(&d, map, order, &tables));
  cr_assert_arr_eq(order, ((const int32_t[]){1, 4, 3, 0, 5, 2}), sizeof order);
  cr_assert_arr_eq(map, ((const int32_t[]){3, 0, 5, 2, 1, 4}), sizeof map);
  cr_assert_arr_eq(tables.rows, ((const int64_t[]){2, 3, 1, 0}), sizeof tables.rows);
  cr_assert_eq(tables.bytes, 2 * 64 + 3 * 40 + 20 + 6 * 4);
}

/* Every budget is kept, more of it never gives a row fewer bits, and what is left would not do. */
Test(embedding_tables, a_budget_is_kept_and_used) {
  enum { IDS_THERE = 300, COLS = 32 };
  int64_t counts[IDS_THERE];
  int32_t map[IDS_THERE];
  int32_t order[IDS_THERE];
  for (int i = 0; i < IDS_THERE; ++i) {
    counts[i * 7 % IDS_THERE] = 1000000 / (i + 1);
  }
  clq_mixed_desc d = {.rows = IDS_THERE,
                      .cols = COLS,
                      .counts = counts,
                      .formats = {CLQ_ROW_F16, CLQ_ROW_8BIT, CLQ_ROW_4BIT}};
  const uint64_t least = IDS_THERE * (20 + 4);
  const uint64_t most = IDS_THERE * (64 + 4);
  int64_t fine = 0;
  for (d.budget = least; d.budget <= most; d.budget += 50) {
    clq_mixed_tables_of tables;
    test_ok(clq_mixed_tables(&d, map, order, &tables));
    cr_assert_leq(tables.bytes, d.budget);
    cr_assert(tables.rows[2] == 0 || d.budget - tables.bytes < 20, "%llu of %llu",
              (unsigned long long)tables.bytes, (unsigned long long)d.budget);
    cr_assert_geq(tables.rows[0] * 100 + tables.rows[1], fine);
    fine = tables.rows[0] * 100 + tables.rows[1] - 100;
    for (int i = 0; i < IDS_THERE; ++i) {
      cr_assert_eq(map[order[i]], i);
      cr_assert(i == 0 || counts[order[i - 1]] >= counts[order[i]]);
    }
  }
  clq_mixed_tables_of tables;
  d.budget = least - 1;
  test_fails(clq_mixed_tables(&d, map, order, &tables), CLQ_INVALID_ARGUMENT,
             "budget is 7199 bytes, expected at least 7200");
}

Test(embedding_tables, mixed_tables_refuses) {
  int32_t map[6];
  int32_t order[6];
  clq_mixed_tables_of tables;
  const clq_status bad = CLQ_INVALID_ARGUMENT;
  clq_mixed_desc d = three;
  d.least[1] = 5;
  test_fails(clq_mixed_tables(&d, map, order, &tables), bad, "least[0] is 0, expected no less");
  d.least[0] = 9;
  d.least[2] = 1;
  test_fails(clq_mixed_tables(&d, map, order, &tables), bad, "least[2] is 1, expected 0");
  d = three;
  d.formats[1] = CLQ_ROW_BF16;
  test_fails(clq_mixed_tables(&d, map, order, &tables), bad, "takes 64 bytes in format 0 and 64");
  d = three;
  d.formats[0] = 0;
  test_fails(clq_mixed_tables(&d, map, order, &tables), bad, "there is no format");
  d = three;
  d.rows = 0;
  test_fails(clq_mixed_tables(&d, map, order, &tables), bad, "rows is 0");
  d = three;
  d.counts = (const int64_t[]){0, 0, -4, 0, 0, 0};
  test_fails(clq_mixed_tables(&d, map, order, &tables), bad, "counts[2] is -4");
  d.counts = NULL;
  test_fails(clq_mixed_tables(&d, map, order, &tables), bad, "counts must not be NULL");
  test_fails(clq_mixed_tables(&three, NULL, order, &tables), bad, "must not be NULL");
}
