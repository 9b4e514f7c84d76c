#include "quant/weights.h"

#include <string.h>

#include "quant/formats.h"
#include "quant/pack.h"
#include "quant/progress.h"
#include "runtime/buffer.h"
#include "runtime/checked.h"
#include "runtime/memory.h"

enum {
  PLANE_ALIGNMENT = 128,
  MOST_COLS = 1 << 30, /* so that no kernel's index of groups overflows an int */
  BAND_BYTES = 8 << 20 /* of rows from a source: enough for a few threads to share */
};

int64_t clq_weights_rows(const clq_weights *weights) { return weights->rows; }
int64_t clq_weights_cols(const clq_weights *weights) { return weights->cols; }
clq_format clq_weights_format(const clq_weights *weights) { return weights->format; }
uint64_t clq_weights_bytes(const clq_weights *weights) { return weights->bytes; }

static clq_status check_part(const clq_weights_desc *desc, bool in_memory, int32_t i) {
  const clq_weights_part *part = &desc->parts[i];
  CLQI_REQUIRE(part->rows >= 1, "weights_pack: part %d has %lld rows, expected 1 or more", (int)i,
               (long long)part->rows);
  CLQI_REQUIRE(!in_memory || part->data != NULL, "weights_pack: part %d has no data", (int)i);
  if (clqi_format_is_plain(desc->format)) {
    CLQI_REQUIRE(part->scales != NULL, "weights_pack: part %d has no scales, which %s needs",
                 (int)i, clq_format_name(desc->format));
  } else {
    CLQI_REQUIRE(part->scales == NULL, "weights_pack: part %d has scales, but %s brings its own",
                 (int)i, clq_format_name(desc->format));
  }
  CLQI_REQUIRE((part->zeros == NULL && part->mins == NULL) || clqi_format_is_plain(desc->format),
               "weights_pack: part %d has %s, which %s does not know", (int)i,
               part->zeros != NULL ? "zero points" : "minima", clq_format_name(desc->format));
  CLQI_REQUIRE(part->zeros == NULL || part->mins == NULL,
               "weights_pack: part %d has zero points and minima, expected one of them", (int)i);
  CLQI_REQUIRE((part->mins == NULL) == (desc->parts[0].mins == NULL),
               "weights_pack: part %d %s minima, part 0 is different", (int)i,
               part->mins == NULL ? "has no" : "has");
  return CLQ_OK;
}

static clq_status check_planes(const clq_weights_desc *desc) {
  const bool plain = clqi_format_is_plain(desc->format);
  CLQI_REQUIRE(desc->group == 0 || plain, "weights_pack: group is %lld, but %s has its own",
               (long long)desc->group, clq_format_name(desc->format));
  CLQI_REQUIRE(desc->group == CLQ_GROUP_TENSOR ||
                   (desc->group >= 0 && (desc->group % 8 == 0 || desc->group >= desc->cols)),
               "weights_pack: group is %lld, expected a multiple of 8 from 0 on, K and more, or %d "
               "for one scale a part",
               (long long)desc->group, CLQ_GROUP_TENSOR);
  CLQI_REQUIRE(desc->scale_dtype == 0 || plain, "weights_pack: scales are %s, but %s has its own",
               clq_dtype_name(desc->scale_dtype), clq_format_name(desc->format));
  CLQI_REQUIRE(desc->scale_dtype == 0 || desc->scale_dtype == CLQ_F32 ||
                   desc->scale_dtype == CLQ_F16 || desc->scale_dtype == CLQ_BF16,
               "weights_pack: scales are %s, expected f32, f16 or bf16",
               clq_dtype_name(desc->scale_dtype));
  return CLQ_OK;
}

/* NULL is none; else a permutation of the columns. */
static clq_status check_order(const int32_t *order, int64_t cols) {
  if (order == NULL) {
    return CLQ_OK;
  }
  clq_status status = CLQ_OK;
  bool *seen = clqi_calloc((size_t)cols, sizeof *seen);
  if (seen == NULL) {
    return clqi_fail(CLQ_OUT_OF_HOST_MEMORY, "weights_pack: out of memory");
  }
  for (int64_t p = 0; p < cols && status == CLQ_OK; ++p) {
    const int32_t column = order[p];
    if (column < 0 || column >= cols || seen[column]) {
      status = clqi_fail(CLQ_INVALID_ARGUMENT,
                         "weights_pack: position %lld of the order is column %d, expected each of "
                         "0 to %lld once",
                         (long long)p, (int)column, (long long)cols - 1);
    } else {
      seen[column] = true;
    }
  }
  clqi_free(seen);
  return status;
}

static clq_status check_outliers(const clq_weights_desc *desc) {
  CLQI_REQUIRE(desc->outlier_count >= 0 && (desc->outliers != NULL) == (desc->outlier_count != 0),
               "weights_pack: outlier_count is %d, but outliers are %s", (int)desc->outlier_count,
               desc->outliers == NULL ? "NULL" : "there");
  for (int32_t i = 0; i < desc->part_count; ++i) {
    const clq_weights_part *part = &desc->parts[i];
    CLQI_REQUIRE(part->outliers == NULL || desc->outlier_count > 0,
                 "weights_pack: part %d has outliers, but the description none", (int)i);
    if (desc->outlier_count > 0 &&
        (desc->format != CLQ_FORMAT_W8 || part->zeros != NULL || part->mins != NULL)) {
      return clqi_fail(CLQ_UNSUPPORTED,
                       "weights_pack: outliers are offered beside w8 without zero points and "
                       "minima, this is %s%s",
                       clq_format_name(desc->format),
                       part->zeros != NULL  ? " with zero points"
                       : part->mins != NULL ? " with minima"
                                            : "");
    }
  }
  if (desc->outlier_count > 0 && desc->order != NULL) {
    return clqi_fail(CLQ_UNSUPPORTED,
                     "weights_pack: outliers are not offered together with an order of columns");
  }
  for (int32_t j = 0; j < desc->outlier_count; ++j) {
    const int64_t before = j == 0 ? -1 : desc->outliers[j - 1];
    CLQI_REQUIRE(desc->outliers[j] > before && desc->outliers[j] < desc->cols,
                 "weights_pack: outlier %d is column %d, expected one above %lld and below %lld",
                 (int)j, (int)desc->outliers[j], (long long)before, (long long)desc->cols);
  }
  return CLQ_OK;
}

static clq_status check_desc(const clq_weights_desc *desc, bool in_memory) {
  size_t row_bytes;
  CLQI_REQUIRE(clqi_format_find(desc->format) != NULL,
               "weights_pack: format is %d, expected one of clq_format", (int)desc->format);
  CLQI_REQUIRE(desc->cols >= 1 && desc->cols <= MOST_COLS,
               "weights_pack: cols is %lld, expected 1 to 1073741824", (long long)desc->cols);
  CLQI_REQUIRE(desc->cols % clqi_format_block(desc->format) == 0,
               "weights_pack: cols is %lld, expected a multiple of %lld for %s",
               (long long)desc->cols, (long long)clqi_format_block(desc->format),
               clq_format_name(desc->format));
  CLQI_REQUIRE(clqi_format_row_bytes(desc->format, desc->cols, &row_bytes),
               "weights_pack: %lld cols overflow", (long long)desc->cols);
  CLQI_TRY(check_planes(desc));
  CLQI_REQUIRE(desc->parts != NULL && desc->part_count >= 1, "weights_pack: no parts");
  for (int32_t i = 0; i < desc->part_count; ++i) {
    CLQI_TRY(check_part(desc, in_memory, i));
  }
  CLQI_TRY(check_outliers(desc));
  return check_order(desc->order, desc->cols);
}

/* One that changes nothing is left out. */
static bool is_reordered(const clq_weights_desc *desc) {
  for (int64_t p = 0; desc->order != NULL && p < desc->cols; ++p) {
    if (desc->order[p] != p) {
      return true;
    }
  }
  return false;
}

/* [tiles, per_tile] elements of `size` bytes behind what is there; false on overflow. */
static bool append_plane(uint64_t *end, int64_t tiles, int64_t per_tile, size_t size,
                         uint64_t *offset) {
  size_t start;
  size_t count;
  size_t finish;
  if (!clqi_align_size((size_t)*end, PLANE_ALIGNMENT, &start) ||
      !clqi_mul_size((size_t)tiles, (size_t)per_tile, &count) ||
      !clqi_mul_add_size(count, size * CLQI_TILE, start, &finish)) {
    return false;
  }
  *offset = start;
  *end = finish;
  return true;
}

/* Sets everything but the buffer. */
static clq_status lay_out(clq_weights *w, const clq_weights_desc *desc) {
  const clqi_format_info *info = clqi_format_find(desc->format);
  w->format = desc->format;
  w->bits = info->bits;
  w->cols = desc->cols;
  w->padded_cols = desc->cols;
  w->values = info->values;
  w->scale_dtype = desc->scale_dtype != 0 ? desc->scale_dtype : info->scale;
  w->has_min = info->has_min || desc->parts[0].mins != NULL;
  for (int32_t i = 0; i < desc->part_count; ++i) {
    w->has_zero = w->has_zero || desc->parts[i].zeros != NULL;
    CLQI_REQUIRE(clqi_add_i64(w->rows, desc->parts[i].rows, &w->rows) && w->rows <= INT32_MAX,
                 "weights_pack: too many rows");
  }
  const int64_t tiles = clqi_div_up(w->rows, CLQI_TILE);
  bool fits = w->cols <= INT32_MAX - 32;
  if (fits && w->bits < 16) {
    w->padded_cols = clqi_div_up(w->cols, 32) * 32;
    w->group = info->group == 0 ? desc->group : info->group;
    w->group = w->group <= 0 || w->group > w->cols ? w->cols : w->group;
    w->groups = clqi_div_up(w->cols, w->group);
  }
  uint64_t codes = 0;
  fits = fits && append_plane(&w->bytes, tiles, w->padded_cols * w->bits / 8, 1, &codes);
  if (w->bits < 16) {
    const int64_t scales = clqi_weights_plane_bytes(w);
    fits = fits && append_plane(&w->bytes, tiles, scales, 1, &w->scale_offset);
    fits = fits && (!w->has_min || append_plane(&w->bytes, tiles, scales, 1, &w->min_offset));
    fits = fits && (!w->has_zero || append_plane(&w->bytes, tiles, w->groups, 1, &w->zero_offset));
  }
  w->outlier_count = desc->outlier_count;
  if (w->outlier_count > 0) {
    fits = fits && append_plane(&w->bytes, tiles, w->outlier_count, 2, &w->outlier_offset) &&
           append_plane(&w->bytes, 1, clqi_div_up(w->outlier_count, CLQI_TILE), sizeof(int32_t),
                        &w->outlier_column_offset);
  }
  w->has_order = is_reordered(desc);
  fits = fits && (!w->has_order || append_plane(&w->bytes, 1, clqi_div_up(w->cols, CLQI_TILE),
                                                sizeof(int32_t), &w->order_offset));
  CLQI_REQUIRE(fits, "weights_pack: %lld x %lld elements overflow", (long long)w->rows,
               (long long)w->cols);
  return CLQ_OK;
}

/* Rows first .. first + count - 1 of all parts together. */
static clq_status read_rows(const clq_weights_desc *desc, const clqi_row_source *source,
                            int64_t first, int64_t count, size_t row_bytes, uint8_t *out) {
  for (int32_t i = 0; i < desc->part_count && count > 0; ++i) {
    const int64_t left = desc->parts[i].rows - first;
    const int64_t rows = left < count ? left : count;
    if (rows > 0) {
      CLQI_TRY(source->read(source->from, i, first, rows, out));
      out += (size_t)rows * row_bytes;
      count -= rows;
    }
    first = left > 0 ? 0 : -left;
  }
  return CLQ_OK;
}

/* Rows that are read into the staging area, if they come from a source, and packed. */
static clq_status fill_band(const clq_weights *w, const clq_weights_desc *desc,
                            const clqi_row_source *source, int64_t tile, int64_t count,
                            size_t row_bytes, uint8_t *staging, uint8_t *base) {
  if (source == NULL) {
    clqi_pack(w, desc, tile, count, tile, base);
    return CLQ_OK;
  }
  const int64_t first = tile * CLQI_TILE;
  const int64_t left = w->rows - first;
  const clq_weights_part part = {.data = staging,
                                 .rows = left < count * CLQI_TILE ? left : count * CLQI_TILE};
  clq_weights_desc part_desc = *desc;
  part_desc.parts = &part;
  part_desc.part_count = 1;
  CLQI_TRY(read_rows(desc, source, first, part.rows, row_bytes, staging));
  clqi_pack(w, &part_desc, 0, count, tile, base);
  return CLQ_OK;
}

/* A band of tiles at a time, so that sources need little room and progress is seen. */
static clq_status fill(const clq_weights *w, const clq_weights_desc *desc,
                       const clqi_row_source *source, uint8_t *base) {
  size_t row_bytes = 0;
  (void)clqi_format_row_bytes(desc->format, desc->cols, &row_bytes);
  const size_t tile_bytes = row_bytes * CLQI_TILE; /* no more than w->bytes, which did not wrap */
  const int64_t tiles = clqi_div_up(w->rows, CLQI_TILE);
  int64_t band = tile_bytes < BAND_BYTES ? (int64_t)(BAND_BYTES / tile_bytes) : 1;
  band = band < tiles ? band : tiles;
  clqi_progress progress = {.to = desc->progress, .total = (uint64_t)w->rows * row_bytes};
  uint8_t *staging = source == NULL ? NULL : clqi_malloc((size_t)band * tile_bytes);
  if (source != NULL && staging == NULL) {
    return clqi_fail(CLQ_OUT_OF_HOST_MEMORY, "weights_pack: out of memory");
  }
  clq_status status = CLQ_OK;
  for (int64_t tile = 0; tile < tiles; tile += band) {
    const int64_t count = tiles - tile < band ? tiles - tile : band;
    const int64_t left = w->rows - tile * CLQI_TILE;
    const int64_t rows = left < count * CLQI_TILE ? left : count * CLQI_TILE;
    CLQI_TRY_CLEAN(fill_band(w, desc, source, tile, count, row_bytes, staging, base));
    CLQI_TRY_CLEAN(clqi_progress_add(&progress, (uint64_t)rows * row_bytes, "weights_pack"));
  }
cleanup:
  clqi_free(staging);
  return status;
}

/* source: NULL where the rows lie in the description's parts. */
static clq_status create(clq_context *context, const clq_weights_desc *desc,
                         const clqi_row_source *source, clq_weights **weights) {
  CLQI_TRY(check_desc(desc, source == NULL));
  clq_status status = CLQ_OK;
  clqi_mapping m;
  clq_weights *w = clqi_calloc(1, sizeof *w);
  if (w == NULL) {
    return clqi_fail(CLQ_OUT_OF_HOST_MEMORY, "weights_pack: out of memory");
  }
  w->context = context;
  CLQI_TRY_CLEAN(lay_out(w, desc));
  CLQI_TRY_CLEAN(clqi_memory_claim(context, w->bytes, "weights_pack"));
  w->claimed = true;
  CLQI_TRY_CLEAN(clqi_buffer_create_mappable(context, w->bytes, &w->mem));
  CLQI_TRY_CLEAN(clqi_buffer_map(context, w->mem, CL_MAP_WRITE_INVALIDATE_REGION, &m));
  if (w->has_order) {
    memcpy((uint8_t *)m.base + w->order_offset, desc->order, (size_t)w->cols * sizeof(int32_t));
  }
  status = fill(w, desc, source, m.base);
  if (status == CLQ_OK && w->outlier_count > 0) {
    clqi_pack_outliers(w, desc, m.base);
  }
  CLQI_ALSO(status, clqi_buffer_unmap(&m));
  if (status == CLQ_OK) {
    *weights = w;
    w = NULL;
  }
cleanup:
  clq_weights_destroy(w);
  return status;
}

clq_status clq_weights_pack(clq_context *context, const clq_weights_desc *desc,
                            clq_weights **weights) {
  CLQI_REQUIRE(weights != NULL, "weights_pack: the result pointer is NULL");
  *weights = NULL;
  CLQI_REQUIRE(context != NULL && desc != NULL,
               "weights_pack: context and description must not be NULL");
  return create(context, desc, NULL, weights);
}

clq_status clqi_weights_pack_from(clq_context *context, const clq_weights_desc *desc,
                                  const clqi_row_source *source, clq_weights **weights) {
  *weights = NULL;
  return create(context, desc, source, weights);
}

void clq_weights_destroy(clq_weights *weights) {
  if (weights == NULL) {
    return;
  }
  clqi_buffer_release(weights->mem);
  if (weights->claimed) {
    clqi_memory_unclaim(weights->context, weights->bytes);
  }
  clqi_free(weights);
}

clq_status clq_weights_unpack(const clq_weights *weights, int64_t first, int64_t count,
                              float *out) {
  CLQI_REQUIRE(weights != NULL && (out != NULL || count == 0),
               "weights_unpack: weights and result must not be NULL");
  CLQI_REQUIRE(first >= 0 && count >= 0 && first <= weights->rows && count <= weights->rows - first,
               "weights_unpack: %lld rows from row %lld on are wanted, there are %lld",
               (long long)count, (long long)first, (long long)weights->rows);
  clqi_mapping m;
  CLQI_TRY(clqi_buffer_map(weights->context, weights->mem, CL_MAP_READ, &m));
  for (int64_t i = 0; i < count; ++i) {
    clqi_unpack_row(weights, m.base, first + i, out + i * weights->cols);
  }
  return clqi_buffer_unmap(&m);
}
