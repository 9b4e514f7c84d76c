/* GPTQ layers decode to what their packers were given, and hostile ones are refused. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "counting.h"
#include "gptq_packer.h"
#include "io/gptq.h"

static uint64_t next_random(uint64_t *state) { /* splitmix64 */
  uint64_t z = *state += 0x9e3779b97f4a7c15u;
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
  return z ^ (z >> 31);
}

static uint32_t *random_values(size_t count, uint32_t least, uint32_t most, uint64_t *random) {
  uint32_t *values = malloc((count == 0 ? 1 : count) * sizeof *values);
  for (size_t i = 0; i < count; ++i) {
    values[i] = least + (uint32_t)(next_random(random) % (most - least + 1));
  }
  return values;
}

/* A layer before it is packed, and packed. */
typedef struct layer {
  uint32_t *codes; /* [cols, rows] */
  uint32_t *zeros; /* [groups, rows] */
  uint32_t *qweight, *qzeros;
  uint16_t *scales; /* [groups, rows] */
  int32_t *g_idx;   /* [cols] */
  size_t rows, cols, groups, size;
  clqi_gptq_linear packed;
  /* decoded */
  clqi_linear_codes out;
  uint32_t *order;
  bool ordered;
} layer;

static layer layer_new(int bits, size_t rows, size_t cols, int64_t group_size, bool act_order,
                       uint32_t least_zero, uint64_t *random) {
  layer l = {.rows = rows, .cols = cols};
  l.size = group_size == -1 ? cols : (size_t)group_size;
  l.groups = group_size == -1 ? 1 : (cols + l.size - 1) / l.size;
  const uint32_t most = (1u << bits) - 1;
  l.codes = random_values(cols * rows, 0, most, random);
  l.zeros = random_values(l.groups * rows, least_zero, most, random);
  l.scales = malloc(l.groups * rows * sizeof *l.scales);
  for (size_t i = 0; i < l.groups * rows; ++i) {
    l.scales[i] = (uint16_t)next_random(random);
  }
  l.g_idx = malloc(cols * sizeof *l.g_idx);
  for (size_t k = 0; k < cols; ++k) {
    l.g_idx[k] = (int32_t)(k / l.size);
  }
  for (size_t k = cols; act_order && k-- > 1;) {
    const size_t other = (size_t)(next_random(random) % (k + 1));
    const int32_t group = l.g_idx[k];
    l.g_idx[k] = l.g_idx[other];
    l.g_idx[other] = group;
  }
  l.qweight = gptq_pack(l.codes, cols, rows, bits);
  l.qzeros = gptq_pack_zeros(l.zeros, l.groups, rows, bits);
  l.packed = (clqi_gptq_linear){.rows = (int64_t)rows,
                                .cols = (int64_t)cols,
                                .group_size = group_size,
                                .bits = bits,
                                .zero_is_true = true,
                                .qweight = l.qweight,
                                .qzeros = l.qzeros,
                                .scales = l.scales,
                                .g_idx = l.g_idx};
  l.out = (clqi_linear_codes){.codes = malloc(rows * cols),
                              .zeros = malloc(rows * l.groups),
                              .scales = malloc(rows * l.groups * sizeof(uint16_t))};
  l.order = malloc(cols * sizeof *l.order);
  return l;
}

static void layer_free(layer *l) {
  free(l->codes);
  free(l->zeros);
  free(l->scales);
  free(l->g_idx);
  free(l->qweight);
  free(l->qzeros);
  free(l->out.codes);
  free(l->out.zeros);
  free(l->out.scales);
  free(l->order);
}

static clq_status decode(layer *l) {
  return clqi_gptq_decode(&l->packed, &l->out, l->order, &l->ordered);
}

static void expect_equal(layer *l, const char *what) {
  cr_assert_eq(decode(l), CLQ_OK, "%s: %s", what, clq_last_error());
  bool ordered = true;
  for (size_t p = 0; p < l->cols; ++p) {
    const size_t col = l->order[p];
    cr_assert_lt(col, l->cols, "%s", what);
    cr_assert_eq((size_t)l->g_idx[col], p / l->size, "%s: position %zu", what, p);
    cr_assert(p == 0 || l->g_idx[col] != l->g_idx[l->order[p - 1]] || col > l->order[p - 1],
              "%s: columns of a group keep their order", what);
    ordered = ordered && col == p;
    for (size_t row = 0; row < l->rows; ++row) {
      cr_assert_eq(l->out.codes[row * l->cols + p], l->codes[col * l->rows + row],
                   "%s: row %zu column %zu", what, row, col);
    }
  }
  cr_assert_eq(l->ordered, ordered, "%s", what);
  for (size_t g = 0; g < l->groups; ++g) {
    for (size_t row = 0; row < l->rows; ++row) {
      cr_assert_eq(l->out.zeros[row * l->groups + g], l->zeros[g * l->rows + row],
                   "%s: zero point of row %zu group %zu", what, row, g);
      cr_assert_eq(l->out.scales[row * l->groups + g], l->scales[g * l->rows + row], "%s", what);
    }
  }
}

static const int all_bits[] = {2, 3, 4, 8};

Test(gptq, layers_decode_to_what_was_packed) {
  static const size_t rows[] = {32, 64, 96};
  static const size_t cols[] = {32, 96, 160};
  static const int64_t sizes[] = {-1, 16, 32, 48, 128, 1000};
  uint64_t random = 1;
  for (int b = 0; b < 4; ++b) {
    for (int i = 0; i < 3 * 3 * 6 * 2; ++i) {
      const bool act_order = i % 2 != 0;
      const int64_t size = sizes[i / 2 % 6];
      char what[128];
      layer l = layer_new(all_bits[b], rows[i / 12 % 3], cols[i / 36], size, act_order, 0, &random);
      (void)snprintf(what, sizeof what, "bits %d, %zu x %zu, groups of %d, act-order %d",
                     all_bits[b], l.rows, l.cols, (int)size, act_order);
      expect_equal(&l, what);
      gptq_zeros_to_v1(l.qzeros, l.groups, l.rows, all_bits[b]);
      l.packed.zero_is_true = false;
      expect_equal(&l, what);
      if (!act_order) {
        l.packed.g_idx = NULL;
        expect_equal(&l, what);
      }
      layer_free(&l);
    }
  }
}

/* What fills words though the packers never write it. */
Test(gptq, few_rows_and_columns) {
  static const struct {
    int bits;
    size_t rows, cols;
  } shapes[] = {{2, 16, 16}, {4, 8, 8}, {4, 24, 40}, {8, 4, 4}, {8, 12, 20}};
  uint64_t random = 2;
  for (size_t i = 0; i < sizeof shapes / sizeof *shapes; ++i) {
    layer l = layer_new(shapes[i].bits, shapes[i].rows, shapes[i].cols, 3, true, 0, &random);
    expect_equal(&l, "small");
    layer_free(&l);
  }
}

/* The first packers subtracted before they packed, and had no zero point of 0. */
Test(gptq, zeros_of_the_first_packers) {
  uint64_t random = 3;
  for (int b = 0; b < 4; ++b) {
    layer l = layer_new(all_bits[b], 64, 64, 32, false, 1, &random);
    uint32_t *less = malloc(l.groups * l.rows * sizeof *less);
    for (size_t i = 0; i < l.groups * l.rows; ++i) {
      less[i] = l.zeros[i] - 1;
    }
    free(l.qzeros);
    l.qzeros = gptq_pack_zeros(less, l.groups, l.rows, all_bits[b]);
    l.packed.qzeros = l.qzeros;
    l.packed.zero_is_true = false;
    expect_equal(&l, "less one");
    free(less);
    layer_free(&l);
  }
}

/* The words that the formats' description gives. */
Test(gptq, known_words) {
  static const struct {
    int bits;
    uint32_t v1, v2;
    unsigned zero;
  } cases[] = {{4, 0x77777777u, 0x88888888u, 8},
               {8, 0x7f7f7f7fu, 0x80808080u, 128},
               {2, 0x55555555u, 0xaaaaaaaau, 2}};
  for (size_t i = 0; i < 3; ++i) {
    for (int mode = 0; mode < 4; ++mode) { /* v1 and v2, with sym and without */
      const uint32_t word = mode % 2 == 0 ? cases[i].v1 : cases[i].v2;
      const uint32_t qweight[16] = {0x76543210u};
      const uint16_t scales[16] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16};
      const int64_t fields = 32 / cases[i].bits;
      uint8_t codes[256], zeros[16];
      uint16_t out_scales[16];
      uint32_t order[16];
      bool ordered = false;
      const clqi_gptq_linear linear = {.rows = fields,
                                       .cols = fields,
                                       .group_size = -1,
                                       .bits = cases[i].bits,
                                       .zero_is_true = mode % 2 != 0,
                                       .sym = mode >= 2,
                                       .qweight = qweight,
                                       .qzeros = &word,
                                       .scales = scales};
      cr_assert_eq(clqi_gptq_decode(&linear, &(clqi_linear_codes){codes, zeros, out_scales}, order,
                                    &ordered),
                   CLQ_OK, "%s", clq_last_error());
      for (int64_t row = 0; row < fields; ++row) {
        cr_assert_eq(zeros[row], cases[i].zero);
        cr_assert_eq(out_scales[row], row + 1);
      }
      for (int64_t p = 0; cases[i].bits == 4 && p < 8; ++p) {
        cr_assert(codes[p] == p && codes[8 + p] == 0);
      }
    }
  }
}

/* Files whose label is wrong: all zero points tell what they are. */
Test(gptq, sym_finds_mislabelled_zeros) {
  uint64_t random = 4;
  for (int b = 0; b < 4; ++b) {
    for (int mode = 0; mode < 4; ++mode) {
      layer l = layer_new(all_bits[b], 32, 64, 16, true, 0, &random);
      for (size_t i = 0; i < l.groups * l.rows; ++i) {
        l.zeros[i] = 1u << (all_bits[b] - 1);
      }
      free(l.qzeros);
      l.qzeros = gptq_pack_zeros(l.zeros, l.groups, l.rows, all_bits[b]);
      l.packed.qzeros = l.qzeros;
      if (mode % 2 != 0) {
        gptq_zeros_to_v1(l.qzeros, l.groups, l.rows, all_bits[b]);
      }
      l.packed.zero_is_true = mode >= 2;
      l.packed.sym = true;
      expect_equal(&l, "sym");
      l.qzeros[l.groups * l.rows * (size_t)all_bits[b] / 32 - 1] ^= 0x80000000u;
      cr_assert_eq(decode(&l), CLQ_BAD_FILE);
      cr_assert_not_null(strstr(clq_last_error(), "but sym promises"), "%s", clq_last_error());
      layer_free(&l);
    }
  }
}

static void expect_refused(layer *l, const char *message) {
  cr_assert_eq(decode(l), CLQ_BAD_FILE, "%s", message);
  cr_assert_eq(strncmp(clq_last_error(), "gptq: ", 6), 0, "%s", clq_last_error());
  cr_assert_not_null(strstr(clq_last_error(), message), "expected '%s' in '%s'", message,
                     clq_last_error());
}

Test(gptq, hostile_layers) {
  uint64_t random = 5;
  layer l = layer_new(4, 32, 64, 16, false, 0, &random);
  const clqi_gptq_linear good = l.packed;
  static const int bits[] = {-1, 0, 1, 5, 6, 7, 16, 32};
  for (size_t i = 0; i < sizeof bits / sizeof *bits; ++i) {
    l.packed.bits = bits[i];
    expect_refused(&l, "expected 2, 3, 4 or 8");
  }
  l.packed = good;
  for (int64_t size = -2; size <= 0; size += 2) {
    l.packed.group_size = size;
    expect_refused(&l, "expected 1 or more, or -1");
  }
  l.packed = good;
  l.packed.cols = 63;
  expect_refused(&l, "63 columns of 4 bits do not fill words of 32 bits");
  l.packed.cols = INT64_MAX;
  expect_refused(&l, "do not fill words");
  l.packed = good;
  l.packed.rows = 31;
  expect_refused(&l, "31 rows of 4 bits do not fill words of 32 bits");
  l.packed.rows = -32;
  expect_refused(&l, "do not fill words");
  l.packed = good;
  l.g_idx[5] = 4;
  expect_refused(&l, "g_idx has group 4 for column 5, expected 0 to 3");
  l.g_idx[5] = -1;
  expect_refused(&l, "g_idx has group -1 for column 5, expected 0 to 3");
  l.g_idx[5] = INT32_MIN;
  expect_refused(&l, "g_idx has group -2147483648");
  l.g_idx[5] = 1;
  expect_refused(&l, "g_idx has more columns of group 1 than the 16 expected");
  l.g_idx[5] = 0;
  expect_equal(&l, "good again");
  counting_start(1, 0);
  cr_assert_eq(decode(&l), CLQ_OUT_OF_HOST_MEMORY);
  counting_stop();
  cr_assert_eq(counting_live(), 0);
  layer_free(&l);
}
