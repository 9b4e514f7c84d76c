/* AWQ layers decode to what their packer was given. */
#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#include "gptq_packer.h"
#include "io/awq.h"

static uint32_t next_random(uint64_t *state) {
  *state = *state * 6364136223846793005u + 1442695040888963407u;
  return (uint32_t)(*state >> 33);
}

static uint32_t *random_nibbles(size_t count, uint64_t *random) {
  uint32_t *values = malloc((count == 0 ? 1 : count) * sizeof *values);
  for (size_t i = 0; i < count; ++i) {
    values[i] = next_random(random) & 15;
  }
  return values;
}

static void check_layer(size_t rows, size_t cols, int64_t group_size, uint64_t *random) {
  const size_t size = group_size == -1 ? cols : (size_t)group_size;
  const size_t groups = group_size == -1 ? 1 : (cols + size - 1) / size;
  uint32_t *codes = random_nibbles(cols * rows, random);
  uint32_t *zeros = random_nibbles(groups * rows, random);
  uint16_t *scales = malloc(groups * rows * sizeof *scales);
  for (size_t i = 0; i < groups * rows; ++i) {
    scales[i] = (uint16_t)next_random(random);
  }
  uint32_t *qweight = awq_pack(codes, cols, rows);
  uint32_t *qzeros = awq_pack(zeros, groups, rows);
  const clqi_linear_codes out = {malloc(rows * cols), malloc(rows * groups),
                                 malloc(rows * groups * sizeof *scales)};
  const clqi_awq_linear linear = {(int64_t)rows, (int64_t)cols, group_size,
                                  qweight,       qzeros,        scales};
  cr_assert_eq(clqi_awq_decode(&linear, &out), CLQ_OK, "%s", clq_last_error());
  for (size_t row = 0; row < rows; ++row) {
    for (size_t col = 0; col < cols; ++col) {
      cr_assert_eq(out.codes[row * cols + col], codes[col * rows + row],
                   "%zu x %zu: row %zu column %zu", rows, cols, row, col);
    }
    for (size_t g = 0; g < groups; ++g) {
      cr_assert_eq(out.zeros[row * groups + g], zeros[g * rows + row]);
      cr_assert_eq(out.scales[row * groups + g], scales[g * rows + row]);
    }
  }
  free(codes);
  free(zeros);
  free(scales);
  free(qweight);
  free(qzeros);
  free(out.codes);
  free(out.zeros);
  free(out.scales);
}

Test(awq, layers_decode_to_what_was_packed) {
  static const int64_t sizes[] = {-1, 16, 32, 100, 1000};
  uint64_t random = 1;
  for (size_t rows = 8; rows <= 72; rows += 8) {
    for (size_t cols = 1; cols <= 129; cols += 32) {
      for (size_t i = 0; i < 5; ++i) {
        check_layer(rows, cols, sizes[i], &random);
      }
    }
  }
}

Test(awq, known_word) {
  const uint32_t word = 0x75316420u; /* the order itself */
  const uint16_t scales[8] = {0};
  uint8_t codes[8], zeros[8];
  uint16_t out_scales[8];
  const clqi_awq_linear linear = {8, 1, -1, &word, &word, scales};
  cr_assert_eq(clqi_awq_decode(&linear, &(clqi_linear_codes){codes, zeros, out_scales}), CLQ_OK);
  for (int i = 0; i < 8; ++i) {
    cr_assert(codes[i] == i && zeros[i] == i);
  }
}

Test(awq, hostile_layers) {
  const clqi_linear_codes nowhere = {0};
  static const clqi_awq_linear layers[] = {{.rows = 7, .cols = 8, .group_size = -1},
                                           {.rows = -8, .cols = 8, .group_size = -1},
                                           {.rows = 8, .cols = -1, .group_size = -1},
                                           {.rows = 8, .cols = 8, .group_size = 0},
                                           {.rows = 8, .cols = 8, .group_size = -2}};
  for (size_t i = 0; i < 5; ++i) {
    cr_assert_eq(clqi_awq_decode(&layers[i], &nowhere), CLQ_BAD_FILE);
    cr_assert_not_null(
        strstr(clq_last_error(), i < 3 ? "expected rows in eights" : "expected 1 or more, or -1"),
        "%s", clq_last_error());
  }
}
