#include "quant/pack.h"

#include <math.h>
#include <string.h>

#include "quant/formats.h"
#include "quant/parallel.h"
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
  int64_t first_tile; /* where the first part begins */
} job;

static uint32_t load32(const uint8_t *p) {
  uint32_t v;
  memcpy(&v, p, sizeof v);
  return v;
}

static void store32(uint8_t *p, uint32_t v) { memcpy(p, &v, sizeof v); }

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
      const size_t plane = r * (size_t)j->weights->groups;
      const size_t scale = plane * clqi_weights_scale_bytes(j->weights);
      row->data = (const uint8_t *)p->data + r * j->row_bytes;
      row->scales = p->scales == NULL ? NULL : (const uint8_t *)p->scales + scale;
      row->mins = p->mins == NULL ? NULL : (const uint8_t *)p->mins + scale;
      row->zeros = p->zeros == NULL ? NULL : p->zeros + plane;
    }
  }
}

/* 16 bytes of a GGUF block (element j low, j + 16 high) to four words, one per 8 elements. The
 * masks keep every byte to itself, so byte order does not matter. */
static void pack_nibble_block(const uint8_t *codes, uint8_t *out) {
  const uint32_t low = 0x0f0f0f0fU;
  const uint32_t a = load32(codes);
  const uint32_t b = load32(codes + 4);
  const uint32_t c = load32(codes + 8);
  const uint32_t d = load32(codes + 12);
  store32(out, (a & low) | ((b & low) << 4));
  store32(out + 4 * TILE, (c & low) | ((d & low) << 4));
  store32(out + 8 * TILE, ((a >> 4) & low) | (b & ~low));
  store32(out + 12 * TILE, ((c >> 4) & low) | (d & ~low));
}

/* `count` codes, a multiple of 32, as the packed form has them, in blocks of 32: rows of their low
 * bits, then rows of the others, each row filled from the least significant bits on. */
static void put_codes(const clq_weights *w, const uint8_t *codes, int32_t count, uint8_t *out) {
  const int32_t low = clqi_weights_low_bits(w);
  for (int32_t k = 0; k < count; k += BLOCK) {
    int32_t row_bits = low;
    int32_t done = 0;
    for (int32_t row = 0; row < w->bits; ++row, done += 32 / row_bits, out += 4 * TILE) {
      if (row == low) {
        row_bits = w->bits - low;
        done = 0;
      }
      const uint32_t mask = 0x01010101U * ((1U << row_bits) - 1U);
      uint32_t word = 0;
      for (int32_t i = 0; i < 32 / row_bits; i += 4) {
        const uint32_t four = load32(codes + k + done + i);
        word |= ((row < low ? four : four >> low) & mask) << (i / 4 * row_bits);
      }
      store32(out, word);
    }
  }
}

static void pack_byte_block(const uint8_t *codes, uint8_t *out) {
  for (int i = 0; i < BLOCK / 4; ++i) {
    store32(out + i * 4 * TILE, load32(codes + 4 * i));
  }
}

/* Codes of a block, which but for bytes without minima are unsigned. */
static void pack_code_block(const clq_weights *w, const int8_t *codes, int32_t count,
                            uint8_t *out) {
  uint8_t shifted[CLQI_MAX_BLOCK];
  const int zero = w->has_min ? 0 : clqi_weights_middle(w);
  for (int32_t k = 0; k < count; ++k) {
    shifted[k] = (uint8_t)(codes[k] + zero);
  }
  put_codes(w, shifted, count, out);
}

/* What one block of one row writes: its codes, and its groups' scales and minima. */
typedef struct block_place {
  uint8_t *codes;
  uint8_t *scale;
  uint8_t *min;
} block_place;

static void pack_nothing(const clq_weights *w, const clqi_format_info *info, block_place to) {
  const size_t bytes = clqi_weights_scale_bytes(w);
  for (int32_t i = 0; i < info->block * w->bits / 32; ++i) {
    store32(to.codes + (size_t)i * 4 * TILE, 0);
  }
  for (int32_t g = 0; g < info->block / info->group; ++g) {
    memset(to.scale + (size_t)g * TILE * bytes, 0, bytes);
    if (w->has_min) {
      memset(to.min + (size_t)g * TILE * bytes, 0, bytes);
    }
  }
}

static void pack_block(const clq_weights *w, const clqi_format_info *info, const uint8_t *block,
                       block_place to) {
  const bool is_packed = w->format == CLQ_FORMAT_Q4_0 || w->format == CLQ_FORMAT_Q4_1;
  clqi_block b;
  if (w->scale_dtype == CLQ_F16) { /* in the file they are halves already, one group a block */
    memcpy(to.scale, block, 2);
    if (w->has_min) {
      memcpy(to.min, block + 2, 2);
    }
  }
  if (is_packed) {
    pack_nibble_block(block + (w->has_min ? 4 : 2), to.codes);
    return;
  }
  if (w->format == CLQ_FORMAT_Q8_0) {
    pack_byte_block(block + 2, to.codes);
    return;
  }
  clqi_block_read(w->format, block, &b);
  pack_code_block(w, b.codes, info->block, to.codes);
  for (int32_t g = 0; w->scale_dtype == CLQ_F32 && g < info->block / info->group; ++g) {
    memcpy(to.scale + (size_t)g * TILE * sizeof(float), &b.scales[g], sizeof(float));
    if (w->has_min) {
      memcpy(to.min + (size_t)g * TILE * sizeof(float), &b.mins[g], sizeof(float));
    }
  }
}

/* Block by block over all columns of the tile, so that output lines are written whole. */
static void pack_blocks(const job *j, const source_row rows[TILE], uint8_t *codes, uint8_t *scale,
                        uint8_t *min) {
  const clq_weights *w = j->weights;
  const clqi_format_info *info = clqi_format_find(w->format);
  const size_t scale_bytes = clqi_weights_scale_bytes(w);
  const size_t plane_step = (size_t)(info->block / info->group) * TILE * scale_bytes;
  for (int64_t i = 0; i < w->cols / info->block; ++i) {
    for (int n = 0; n < TILE; ++n) {
      const size_t column = (size_t)n * scale_bytes;
      const block_place to = {codes + 4 * n, scale + column, w->has_min ? min + column : NULL};
      if (rows[n].data == NULL) {
        pack_nothing(w, info, to);
      } else {
        pack_block(w, info, rows[n].data + (size_t)i * (size_t)info->block_bytes, to);
      }
    }
    codes += (size_t)info->block * (size_t)w->bits * TILE / 8;
    scale += plane_step;
    min += w->has_min ? plane_step : 0;
  }
}

/* Plain codes k .. k + 7 of a row of so many bytes: a bit string of `bits` bytes. What is not there
 * is 0. */
static void read_plain(const uint8_t *row, size_t row_bytes, int32_t bits, int64_t k,
                       uint8_t codes[8]) {
  const size_t first = (size_t)k / 8 * (size_t)bits;
  const unsigned mask = (1U << bits) - 1U;
  uint64_t string = 0;
  for (size_t i = 0; i < (size_t)bits && first + i < row_bytes; ++i) {
    string |= (uint64_t)row[first + i] << (8 * i);
  }
  for (int j = 0; j < 8; ++j) {
    codes[j] = (uint8_t)((string >> (bits * j)) & mask);
  }
}

static void pack_codes(const job *j, const source_row rows[TILE], uint8_t *out) {
  const clq_weights *w = j->weights;
  const int32_t plain = clqi_format_find(w->format)->plain;
  for (int64_t k = 0; k < w->padded_cols; k += BLOCK) {
    for (int n = 0; n < TILE; ++n) {
      const source_row *row = &rows[n];
      uint8_t codes[BLOCK] = {0};
      for (int i = 0; i < BLOCK && row->data != NULL; i += 8) {
        read_plain(row->data, j->row_bytes, plain, k + i, codes + i);
      }
      /* Signed bytes beside parts with zero points. */
      const unsigned shift = plain == 8 && w->has_zero && row->zeros == NULL ? 128 : 0;
      for (int i = 0; i < BLOCK; ++i) {
        codes[i] = row->data != NULL && k + i < w->cols ? (uint8_t)(codes[i] + shift) : 0;
      }
      put_codes(w, codes, BLOCK, out + 4 * n);
    }
    out += (size_t)w->bits * 4 * TILE;
  }
}

/* Element g of a plane beside plain codes; zeros where a row has none. */
static void copy_scale(uint8_t *to, const uint8_t *plane, int64_t g, size_t bytes) {
  if (plane == NULL) {
    memset(to, 0, bytes);
  } else {
    memcpy(to, plane + (size_t)g * bytes, bytes);
  }
}

static void pack_scales(const job *j, const source_row rows[TILE], uint8_t *scale, uint8_t *min,
                        uint8_t *zero) {
  const clq_weights *w = j->weights;
  const size_t bytes = clqi_weights_scale_bytes(w);
  const uint8_t middle = (uint8_t)(1U << (clqi_format_find(w->format)->plain - 1));
  for (int64_t g = 0; g < w->groups; ++g) {
    for (int n = 0; n < TILE; ++n) {
      const size_t at = (size_t)g * TILE + (size_t)n;
      copy_scale(scale + at * bytes, rows[n].scales, g, bytes);
      if (w->has_min) {
        copy_scale(min + at * bytes, rows[n].mins, g, bytes);
      }
      if (w->has_zero) {
        zero[at] = rows[n].zeros == NULL ? middle : rows[n].zeros[g];
      }
    }
  }
}

static void pack_floats(const job *j, const source_row rows[TILE], uint8_t *values) {
  const size_t bytes = (size_t)j->weights->bits / 8;
  for (int64_t k = 0; k < j->weights->cols; ++k) {
    for (int n = 0; n < TILE; ++n) {
      if (rows[n].data == NULL) {
        memset(values, 0, bytes);
      } else {
        memcpy(values, rows[n].data + (size_t)k * bytes, bytes);
      }
      values += bytes;
    }
  }
}

/* A share of the loop is a tile. */
static void pack_tile(void *loop, int64_t index, int thread) {
  const job *j = loop;
  const clq_weights *w = j->weights;
  const size_t code_bytes = (size_t)w->padded_cols * (size_t)w->bits * TILE / 8;
  const size_t plane = (size_t)w->groups * TILE;
  const size_t i = (size_t)(j->first_tile + index);
  uint8_t *codes = j->base + i * code_bytes;
  uint8_t *scale = j->base + w->scale_offset + i * plane * clqi_weights_scale_bytes(w);
  uint8_t *min = j->base + w->min_offset + i * plane * clqi_weights_scale_bytes(w);
  source_row rows[TILE] = {{0}};
  (void)thread;
  find_rows(j, index * TILE, rows);
  if (w->bits >= 16) {
    pack_floats(j, rows, codes);
  } else if (!clqi_format_is_plain(w->format)) {
    pack_blocks(j, rows, codes, scale, min);
  } else {
    pack_codes(j, rows, codes);
    pack_scales(j, rows, scale, min, j->base + w->zero_offset + i * plane);
  }
}

void clqi_pack(const clq_weights *weights, const clq_weights_desc *desc, int64_t first_tile,
               uint8_t *base) {
  job j = {.weights = weights, .desc = desc, .base = base, .first_tile = first_tile};
  int64_t rows = 0;
  (void)clqi_format_row_bytes(desc->format, desc->cols, &j.row_bytes);
  for (int32_t i = 0; i < desc->part_count; ++i) {
    rows += desc->parts[i].rows;
  }
  const double bytes = (double)rows * (double)j.row_bytes;
  clqi_parallel(pack_tile, &j, clqi_div_up(rows, TILE),
                clqi_useful_threads(OPERATIONS_PER_BYTE * bytes));
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
