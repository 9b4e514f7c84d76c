#include "quant/pack.h"

#include <math.h>
#include <string.h>

#include "quant/formats.h"
#include "quant/parallel.h"
#include "quant/words.h"
#include "runtime/checked.h"

enum { TILE = CLQI_TILE, BLOCK = 32 };

/* What moving a byte of a source row counts for when threads are chosen. */
#define OPERATIONS_PER_BYTE 0.5

/* One source row of W, and its quantization if that stands beside it. */
typedef struct source_row {
  const uint8_t *data; /* NULL: padding */
  const uint8_t *scales;
  const uint8_t *mins;
  const uint8_t *zeros;
} source_row;

typedef struct job {
  const clq_weights *weights;
  const clq_weights_desc *desc;
  size_t row_bytes;
  uint8_t *base;
  int64_t from, to; /* first tile of the parts' rows, and where it goes */
} job;

static void find_rows(const job *j, int64_t first, source_row rows[TILE]) {
  int64_t start = 0;
  int32_t part = 0;
  for (int64_t n = first; n < first + TILE; ++n) {
    while (part < j->desc->part_count && n >= start + j->desc->parts[part].rows) {
      start += j->desc->parts[part++].rows;
    }
    source_row *row = &rows[n - first];
    *row = (source_row){0};
    if (part < j->desc->part_count) {
      const clq_weights_part *p = &j->desc->parts[part];
      const size_t r = (size_t)(n - start);
      const size_t plane = j->desc->group == CLQ_GROUP_TENSOR ? 0 : r * (size_t)j->weights->groups;
      const size_t scale = plane * clqi_weights_scale_bytes(j->weights);
      row->data = (const uint8_t *)p->data + r * j->row_bytes;
      row->scales = p->scales == NULL ? NULL : (const uint8_t *)p->scales + scale;
      row->mins = p->mins == NULL ? NULL : (const uint8_t *)p->mins + scale;
      row->zeros = p->zeros == NULL ? NULL : p->zeros + plane;
    }
  }
}

/* 16 bytes of a GGUF block (element j low, j + 16 high) to four words, one per 8 elements. */
static void pack_nibble_block(const uint8_t *codes, uint8_t *out) {
  const uint32_t low = 0x0f0f0f0fU;
  CLQI_UNROLLED
  for (int i = 0; i < 2; ++i) {
    const uint32_t a = clqi_load32(codes + 8 * i);
    const uint32_t b = clqi_load32(codes + 8 * i + 4);
    clqi_store32(out + 4 * TILE * i, (a & low) | ((b & low) << 4));
    clqi_store32(out + 4 * TILE * (i + 2), ((a >> 4) & low) | (b & ~low));
  }
}

/* Row of words `row` of a block: bits [shift, shift + bits) of its 32 / bits codes from 32 / bits *
 * row on; bits are 1, 2 or 4. */
CLQI_INLINED void put_row(const uint64_t codes[BLOCK / 8], int row, int shift, int bits,
                          uint8_t *out) {
  const int eights = bits == 1 ? 4 : bits == 2 ? 2 : 1;
  const uint64_t mask = clqi_bytes8((1U << bits) - 1);
  uint64_t word = 0; /* of even fours of codes; of odd ones in its upper half */
  CLQI_UNROLLED
  for (int i = 0; i < 4; ++i) {
    word |= i < eights ? ((codes[eights * row + i] >> shift) & mask) << (2 * bits * i) : 0;
  }
  clqi_store32(out, (uint32_t)word | (uint32_t)(word >> 32) << bits);
}

/* Rows of `low` bits, then rows of the other `high`. */
CLQI_INLINED void put_rows(const uint64_t codes[BLOCK / 8], int low, int high, uint8_t *out) {
  CLQI_UNROLLED
  for (int row = 0; row < low; ++row, out += 4 * TILE) {
    put_row(codes, row, 0, low, out);
  }
  CLQI_UNROLLED
  for (int row = 0; row < high; ++row, out += 4 * TILE) {
    put_row(codes, row, low, high, out);
  }
}

/* 32 codes of a row, as clqi_weights_low_bits has them. */
CLQI_INLINED void put_block(int bits, const uint64_t codes[BLOCK / 8], uint8_t *out) {
  switch (bits) {
    case 2: put_rows(codes, 2, 0, out); return;
    case 3: put_rows(codes, 2, 1, out); return;
    case 4: put_rows(codes, 4, 0, out); return;
    case 5: put_rows(codes, 4, 1, out); return;
    case 6: put_rows(codes, 4, 2, out); return;
    default:
      CLQI_UNROLLED
      for (int i = 0; i < BLOCK / 8; ++i, out += 8 * TILE) {
        clqi_store32(out, (uint32_t)codes[i]);
        clqi_store32(out + 4 * TILE, (uint32_t)(codes[i] >> 32));
      }
  }
}

static void put_codes(int bits, const uint8_t *codes, int32_t count, uint8_t *out) {
  for (int32_t k = 0; k < count; k += BLOCK, out += (size_t)bits * 4 * TILE) {
    uint64_t words[BLOCK / 8];
    memcpy(words, codes + k, sizeof words);
    put_block(bits, words, out);
  }
}

/* Where one block of column n of a tile goes: its codes, and the planes of scales and minima from
 * its first group on. */
typedef struct block_place {
  uint8_t *codes;
  uint8_t *scale;
  uint8_t *min;
  bool has_min;
  int n;
} block_place;

/* A block's scale of 16 bits, or the half of a super-block and its bytes, one for each group. */
static void put_scales(const clqi_format_info *info, uint16_t scale, const int8_t *parts, int n,
                       uint8_t *plane) {
  memcpy(plane + 2 * n, &scale, sizeof scale);
  for (int32_t g = 0; info->scale == CLQ_I8 && g < info->block / info->group; ++g) {
    plane[(g + 2) * TILE + n] = (uint8_t)parts[g];
  }
}

static size_t scale_bytes_of_blocks(const clqi_format_info *info) {
  const size_t parts = info->scale == CLQ_I8 ? (size_t)(info->block / info->group) : 0;
  return (2 + parts) * TILE;
}

static void pack_nothing(const clqi_format_info *info, block_place to) {
  const int8_t parts[CLQI_MAX_BLOCK_GROUPS] = {0};
  for (int32_t i = 0; i < info->block * info->bits / 32; ++i) {
    clqi_store32(to.codes + (size_t)i * 4 * TILE, 0);
  }
  put_scales(info, 0, parts, to.n, to.scale);
  if (to.has_min) {
    put_scales(info, 0, parts, to.n, to.min);
  }
}

/* Where the nibbles of a block are, if they are what is packed: element j low, j + 16 high. */
static const uint8_t *nibbles_of(clq_format format, const uint8_t *block) {
  switch (format) {
    case CLQ_FORMAT_Q4_1: return block + 4;
    case CLQ_FORMAT_Q4_0:
    case CLQ_FORMAT_IQ4_NL: return block + 2;
    case CLQ_FORMAT_MXFP4: return block + 1;
    default: return NULL;
  }
}

static void pack_super_block(clq_format format, const clqi_format_info *info, const uint8_t *block,
                             block_place to) {
  clqi_block b;
  clqi_block_read(format, block, &b);
  put_codes(info->bits, b.codes, info->block, to.codes);
  put_scales(info, b.super[0], b.parts[0], to.n, to.scale);
  if (to.has_min) {
    put_scales(info, b.super[1], b.parts[1], to.n, to.min);
  }
}

static void pack_block(clq_format format, const clqi_format_info *info, const uint8_t *block,
                       block_place to) {
  if (info->scale == CLQ_I8) {
    pack_super_block(format, info, block, to);
    return;
  }
  const uint8_t *nibbles = nibbles_of(format, block);
  const bool has_half = format != CLQ_FORMAT_MXFP4;
  put_scales(info, has_half ? clqi_load16(block) : clqi_mxfp4_scale(block[0]), NULL, to.n,
             to.scale);
  if (to.has_min) {
    put_scales(info, clqi_load16(block + 2), NULL, to.n, to.min);
  }
  if (nibbles != NULL) {
    pack_nibble_block(nibbles, to.codes);
  } else if (format == CLQ_FORMAT_Q8_0) {
    put_codes(8, block + 2, BLOCK, to.codes);
  } else {
    clqi_block b;
    clqi_block_read(format, block, &b);
    put_codes(info->bits, b.codes, info->block, to.codes);
  }
}

/* Block by block over all columns of the tile, so that output lines are written whole. */
static void pack_blocks(const job *j, const source_row rows[TILE], uint8_t *codes, uint8_t *scale,
                        uint8_t *min) {
  const clq_weights *w = j->weights;
  const clqi_format_info *info = clqi_format_find(w->format);
  const size_t step = scale_bytes_of_blocks(info);
  for (int64_t i = 0; i < w->cols / info->block; ++i) {
    for (int n = 0; n < TILE; ++n) {
      const block_place to = {codes + 4 * n, scale, min, w->has_min, n};
      if (rows[n].data == NULL) {
        pack_nothing(info, to);
      } else {
        pack_block(w->format, info, rows[n].data + (size_t)i * (size_t)info->block_bytes, to);
      }
    }
    codes += (size_t)info->block * (size_t)w->bits * TILE / 8;
    scale += step;
    min += w->has_min ? step : 0;
  }
}

/* The bytes of a word that come before the end of `left` codes; none below 1. */
static uint64_t bytes_before(int64_t left) {
  return left >= 8 ? UINT64_MAX : left <= 0 ? 0 : (1ULL << (8 * left)) - 1;
}

CLQI_INLINED uint64_t load_bytes(const uint8_t *p, int count) {
  uint64_t v = 0;
  CLQI_UNROLLED
  for (int i = 0; i < count; ++i) {
    v |= (uint64_t)p[i] << (8 * i);
  }
  return v;
}

/* Plain codes k .. k + 31 of a row of so many, a bit string, each turned over with `flip`. What is
 * not there is 0. */
CLQI_INLINED void read_plain(const uint8_t *row, int64_t cols, int64_t k, int bits, uint64_t flip,
                             uint64_t codes[BLOCK / 8]) {
  uint8_t last[BLOCK] = {0};
  const bool is_whole = cols - k >= BLOCK;
  const uint8_t *from = row + k / 8 * bits;
  if (!is_whole) {
    memcpy(last, from,
           (size_t)(bits == 3 ? clqi_div_up(cols - k, 8) * 3 : clqi_div_up((cols - k) * bits, 8)));
    from = last;
  }
  CLQI_UNROLLED
  for (int i = 0; i < BLOCK / 8; ++i) {
    codes[i] = clqi_spread8(load_bytes(from + (ptrdiff_t)i * bits, bits), bits) ^ flip;
  }
  for (int i = 0; i < BLOCK / 8 && !is_whole; ++i) {
    codes[i] &= bytes_before(cols - k - 8 * i);
  }
}

CLQI_INLINED void pack_plain(const job *j, const source_row rows[TILE], int bits, uint8_t *out) {
  const clq_weights *w = j->weights;
  for (int64_t k = 0; k < w->padded_cols; k += BLOCK, out += (size_t)bits * 4 * TILE) {
    for (int n = 0; n < TILE; ++n) {
      /* Signed bytes beside parts with zero points. */
      const bool flips = bits == 8 && w->has_zero && rows[n].zeros == NULL;
      uint64_t codes[BLOCK / 8] = {0};
      if (rows[n].data != NULL) {
        read_plain(rows[n].data, w->cols, k, bits, flips ? clqi_bytes8(128) : 0, codes);
      }
      put_block(bits, codes, out + 4 * n);
    }
  }
}

static void pack_codes(const job *j, const source_row rows[TILE], uint8_t *out) {
  switch (clqi_format_find(j->weights->format)->plain) {
    case 2: pack_plain(j, rows, 2, out); return;
    case 3: pack_plain(j, rows, 3, out); return;
    case 4: pack_plain(j, rows, 4, out); return;
    default: pack_plain(j, rows, 8, out); return;
  }
}

/* Rows of `cols` values of so many bytes, NULL: zeros, side by side. Some columns of one row after
 * the other: what they write stays in the first cache until it is whole. */
CLQI_INLINED void weave(const uint8_t *const rows[TILE], int64_t cols, size_t bytes, uint8_t *out) {
  enum { COLS = 64 };
  for (int64_t first = 0; first < cols; first += COLS) {
    const int64_t end = cols - first < COLS ? cols : first + COLS;
    for (size_t n = 0; n < TILE; ++n) {
      for (int64_t k = first; k < end && rows[n] != NULL; ++k) {
        memcpy(out + ((size_t)k * TILE + n) * bytes, rows[n] + (size_t)k * bytes, bytes);
      }
      for (int64_t k = first; k < end && rows[n] == NULL; ++k) {
        memset(out + ((size_t)k * TILE + n) * bytes, 0, bytes);
      }
    }
  }
}

static void weave_values(const uint8_t *const rows[TILE], int64_t cols, size_t bytes,
                         uint8_t *out) {
  if (bytes == 2) {
    weave(rows, cols, 2, out);
  } else {
    weave(rows, cols, 4, out);
  }
}

static void pack_planes(const job *j, const source_row rows[TILE], uint8_t *scale, uint8_t *min,
                        uint8_t *zero) {
  const clq_weights *w = j->weights;
  const size_t bytes = clqi_weights_scale_bytes(w);
  const uint8_t middle = (uint8_t)(1U << (clqi_format_find(w->format)->plain - 1));
  const uint8_t *scales[TILE];
  const uint8_t *mins[TILE];
  for (int n = 0; n < TILE; ++n) {
    scales[n] = rows[n].scales;
    mins[n] = rows[n].mins;
  }
  weave_values(scales, w->groups, bytes, scale);
  if (w->has_min) {
    weave_values(mins, w->groups, bytes, min);
  }
  for (int64_t i = 0; w->has_zero && i < w->groups * TILE; ++i) {
    const uint8_t *zeros = rows[i % TILE].zeros;
    zero[i] = zeros == NULL ? middle : zeros[i / TILE];
  }
}

static void pack_floats(const job *j, const source_row rows[TILE], uint8_t *values) {
  const uint8_t *data[TILE];
  for (int n = 0; n < TILE; ++n) {
    data[n] = rows[n].data;
  }
  weave_values(data, j->weights->cols, (size_t)j->weights->bits / 8, values);
}

/* A share of the loop is a tile. */
static void pack_tile(void *loop, int64_t index, int thread) {
  const job *j = loop;
  const clq_weights *w = j->weights;
  const size_t code_bytes = (size_t)w->padded_cols * (size_t)w->bits * TILE / 8;
  const size_t scale_bytes = (size_t)clqi_weights_plane_bytes(w) * TILE;
  const size_t i = (size_t)(j->to + index);
  uint8_t *codes = j->base + i * code_bytes;
  uint8_t *scale = j->base + w->scale_offset + i * scale_bytes;
  uint8_t *min = j->base + w->min_offset + i * scale_bytes;
  source_row rows[TILE] = {{0}};
  (void)thread;
  find_rows(j, (j->from + index) * TILE, rows);
  if (w->bits >= 16) {
    pack_floats(j, rows, codes);
  } else if (!clqi_format_is_plain(w->format)) {
    pack_blocks(j, rows, codes, scale, min);
  } else {
    pack_codes(j, rows, codes);
    pack_planes(j, rows, scale, min, j->base + w->zero_offset + i * (size_t)w->groups * TILE);
  }
}

void clqi_pack(const clq_weights *weights, const clq_weights_desc *desc, int64_t from,
               int64_t count, int64_t to, uint8_t *base) {
  job j = {.weights = weights, .desc = desc, .base = base, .from = from, .to = to};
  (void)clqi_format_row_bytes(desc->format, desc->cols, &j.row_bytes);
  const double bytes = (double)(count * TILE) * (double)j.row_bytes;
  clqi_parallel(pack_tile, &j, count, clqi_useful_threads(OPERATIONS_PER_BYTE * bytes));
}

static float load_f32(const uint8_t *p) {
  float v;
  memcpy(&v, p, sizeof v);
  return v;
}

static float unpack_float(const clq_weights *w, const uint8_t *base, size_t i) {
  return w->bits == 32                  ? load_f32(base + 4 * i)
         : w->format == CLQ_FORMAT_BF16 ? clqi_load_bf16(base + 2 * i)
                                        : clqi_load_f16(base + 2 * i);
}

/* Element i of the plane of scales or minima at p. */
static float plane_value(const clq_weights *w, const uint8_t *p, size_t i) {
  const size_t super = TILE * (size_t)clqi_weights_super(w);
  if (super != 0) {
    const uint8_t *block = p + i / super * (super + 2 * TILE);
    return clqi_load_f16(block + 2 * (i % TILE)) * (float)(int8_t)block[2 * TILE + i % super];
  }
  return w->scale_dtype == CLQ_F32    ? load_f32(p + 4 * i)
         : w->scale_dtype == CLQ_BF16 ? clqi_load_bf16(p + 2 * i)
                                      : clqi_load_f16(p + 2 * i);
}

/* Rounded to nearest even. */
static uint16_t half_of(float value) {
  uint32_t bits;
  memcpy(&bits, &value, sizeof bits);
  const uint32_t sign = bits >> 16 & 0x8000U;
  uint32_t rest = bits & 0x7fffffffU;
  if (rest >= 0x47800000U) { /* 65536 */
    rest = rest > 0x7f800000U ? 0x7e00U : 0x7c00U;
  } else if (rest < 0x38800000U) { /* 2^-14 */
    rest = (uint32_t)rintf(fabsf(value) * 0x1p24f);
  } else {
    rest = (rest + 0xfffU + (rest >> 13 & 1U) - 0x38000000U) >> 13;
  }
  return (uint16_t)(sign | rest);
}

/* Element k % 32 of a row of `bits` bits for 32 elements: byte k % 4 of its word has it. */
static int stored_bits(const uint8_t *row, int32_t bits, size_t n, size_t k) {
  const size_t per_word = 32U / (size_t)bits;
  const size_t word = k % 32 / per_word * TILE + n;
  const uint8_t byte = row[4 * word + k % 4];
  return (byte >> (k % per_word / 4 * (size_t)bits)) & ((1 << bits) - 1);
}

/* Code k of column n of the tile. */
static int stored_code(const clq_weights *w, const uint8_t *tile, size_t n, size_t k) {
  const int32_t low = clqi_weights_low_bits(w);
  const uint8_t *block = tile + k / 32 * (size_t)w->bits * 4 * TILE;
  const int code = stored_bits(block, low, n, k);
  if (low < w->bits) {
    const uint8_t *high = block + (size_t)low * 4 * TILE;
    return code | stored_bits(high, w->bits - low, n, k) << low;
  }
  return clqi_weights_are_signed(w) ? (int8_t)code : code;
}

static float unpack_code(const clq_weights *w, const uint8_t *base, size_t row, size_t k) {
  const size_t tile = row / TILE;
  const size_t n = row % TILE;
  if (w->bits >= 16) {
    return unpack_float(w, base, (tile * (size_t)w->cols + k) * TILE + n);
  }
  const size_t plane = (tile * (size_t)w->groups + k / (size_t)w->group) * TILE + n;
  const float scale = plane_value(w, base + w->scale_offset, plane);
  const int code = stored_code(w, base + tile * (size_t)w->padded_cols * (size_t)w->bits * 2, n, k);
  if (w->has_min) {
    return fmaf((float)code, scale, plane_value(w, base + w->min_offset, plane));
  }
  if (w->values != 0) {
    return (float)clqi_format_values(w->values)[code] * scale;
  }
  const int zero = w->has_zero ? base[w->zero_offset + plane] : clqi_weights_middle(w);
  return (float)(code - zero) * scale;
}

/* Byte of the f16 of outlier j in a row. */
static size_t outlier_at(const clq_weights *w, size_t row, size_t j) {
  const size_t tile = row / TILE * (size_t)w->outlier_count;
  return w->outlier_offset + 2 * ((tile + j) * TILE + row % TILE);
}

static void pack_outliers_of_row(const clq_weights *w, const clq_weights_desc *desc, size_t row,
                                 const uint16_t *values, uint8_t *base) {
  for (size_t j = 0; j < (size_t)w->outlier_count; ++j) {
    const size_t k = (size_t)desc->outliers[j];
    const uint16_t half = values != NULL ? values[j] : half_of(unpack_code(w, base, row, k));
    memcpy(base + outlier_at(w, row, j), &half, sizeof half);
    base[4 * ((row / TILE * ((size_t)w->padded_cols / 4) + k / 4) * TILE + row % TILE) + k % 4] = 0;
  }
}

void clqi_pack_outliers(const clq_weights *weights, const clq_weights_desc *desc, uint8_t *base) {
  const size_t count = (size_t)weights->outlier_count;
  const size_t rows = (size_t)clqi_div_up(weights->rows, TILE) * TILE;
  size_t row = 0;
  memset(base + weights->outlier_offset, 0, 2 * rows * count);
  memcpy(base + weights->outlier_column_offset, desc->outliers, count * sizeof *desc->outliers);
  for (int32_t i = 0; i < desc->part_count; ++i) {
    const clq_weights_part *part = &desc->parts[i];
    for (size_t r = 0; r < (size_t)part->rows; ++r, ++row) {
      pack_outliers_of_row(weights, desc, row,
                           part->outliers == NULL ? NULL : part->outliers + r * count, base);
    }
  }
}

static void unpack_outliers(const clq_weights *w, const uint8_t *base, size_t row, float *out) {
  for (size_t j = 0; j < (size_t)w->outlier_count; ++j) {
    int32_t column;
    memcpy(&column, base + w->outlier_column_offset + j * sizeof column, sizeof column);
    out[column] = clqi_load_f16(base + outlier_at(w, row, j));
  }
}

void clqi_unpack_row(const clq_weights *weights, const uint8_t *base, int64_t row, float *out) {
  for (size_t k = 0; k < (size_t)weights->cols; ++k) {
    int32_t column = (int32_t)k;
    if (weights->has_order) {
      memcpy(&column, base + weights->order_offset + k * sizeof column, sizeof column);
    }
    out[column] = unpack_code(weights, base, (size_t)row, k);
  }
  unpack_outliers(weights, base, (size_t)row, out);
}
