#include "gptq_packer.h"

#include <stdlib.h>

static uint32_t *new_words(size_t count) {
  uint32_t *words = calloc(count == 0 ? 1 : count, sizeof *words);
  if (words == NULL) {
    abort();
  }
  return words;
}

/* One column: its values and words lie `in_stride` and `out_stride` apart. */
static void pack_column(const uint32_t *in, size_t in_stride, size_t words, int bits, uint32_t *out,
                        size_t out_stride) {
#define VALUE(j) in[(j)*in_stride]
#define WORD(r)  out[(r)*out_stride]
  size_t i = 0;
  size_t row = 0;
  while (row < words) {
    if (bits != 3) {
      const size_t fields = 32 / (size_t)bits;
      for (size_t j = i; j < i + fields; ++j) {
        WORD(row) |= VALUE(j) << ((size_t)bits * (j - i));
      }
      i += fields;
      ++row;
      continue;
    }
    for (size_t j = i; j < i + 10; ++j) {
      WORD(row) |= VALUE(j) << (3 * (j - i));
    }
    i += 10;
    WORD(row) |= VALUE(i) << 30;
    ++row;
    WORD(row) |= VALUE(i) >> 2 & 1;
    ++i;
    for (size_t j = i; j < i + 10; ++j) {
      WORD(row) |= VALUE(j) << (3 * (j - i) + 1);
    }
    i += 10;
    WORD(row) |= VALUE(i) << 31;
    ++row;
    WORD(row) |= VALUE(i) >> 1 & 3;
    ++i;
    for (size_t j = i; j < i + 10; ++j) {
      WORD(row) |= VALUE(j) << (3 * (j - i) + 2);
    }
    i += 10;
    ++row;
  }
#undef VALUE
#undef WORD
}

uint32_t *gptq_pack(const uint32_t *in, size_t count, size_t other, int bits) {
  const size_t words = count * (size_t)bits / 32;
  uint32_t *out = new_words(words * other);
  for (size_t n = 0; n < other; ++n) {
    pack_column(in + n, other, words, bits, out + n, other);
  }
  return out;
}

uint32_t *gptq_pack_zeros(const uint32_t *in, size_t groups, size_t rows, int bits) {
  const size_t words = rows * (size_t)bits / 32;
  uint32_t *out = new_words(words * groups);
  for (size_t g = 0; g < groups; ++g) {
    pack_column(in + g * rows, 1, words, bits, out + g * words, 1);
  }
  return out;
}

/* The 3-bit value at j of 32 in three words. */
static uint32_t *word_of_three(uint32_t *words, size_t j, unsigned *shift) {
  *shift = (unsigned)(j < 11 ? 3 * j : j < 22 ? 3 * (j - 11) + 1 : 3 * (j - 22) + 2);
  return words + (j < 11 ? 0 : j < 22 ? 1 : 2);
}

static void subtract_one_of_three(uint32_t *words, size_t j) {
  unsigned shift;
  uint32_t *word = word_of_three(words, j, &shift);
  uint32_t value = *word >> shift & 7;
  const unsigned over = shift + 3 > 32 ? shift + 3 - 32 : 0;
  if (over != 0) {
    value |= (word[1] & ((1u << over) - 1)) << (3 - over);
  }
  value = (value + 7) & 7;
  *word = (*word & ~(7u << shift)) | value << shift;
  if (over != 0) {
    word[1] = (word[1] & ~((1u << over) - 1)) | value >> (3 - over);
  }
}

void gptq_zeros_to_v1(uint32_t *qzeros, size_t groups, size_t rows, int bits) {
  const size_t words = groups * rows * (size_t)bits / 32;
  for (size_t i = 0; i < words; i += bits == 3 ? 3 : 1) {
    switch (bits) {
      case 2: qzeros[i] -= 0x55555555u; break;
      case 4: qzeros[i] -= 0x11111111u; break;
      case 8: qzeros[i] -= 0x01010101u; break;
      default:
        for (size_t j = 0; j < 32; ++j) {
          subtract_one_of_three(qzeros + i, j);
        }
        break;
    }
  }
}

uint32_t *awq_pack(const uint32_t *in, size_t count, size_t rows) {
  static const size_t order_map[8] = {0, 2, 4, 6, 1, 3, 5, 7};
  uint32_t *out = new_words(count * (rows / 8));
  for (size_t k = 0; k < count; ++k) {
    for (size_t col = 0; col < rows / 8; ++col) {
      for (size_t i = 0; i < 8; ++i) {
        out[k * (rows / 8) + col] |= in[k * rows + col * 8 + order_map[i]] << (i * 4);
      }
    }
  }
  return out;
}
