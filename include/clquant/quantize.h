/** @file quantize.h
 *  Weights: from their formats in files to what the device's kernels want. */
#ifndef CLQUANT_QUANTIZE_H
#define CLQUANT_QUANTIZE_H

#include <clquant/context.h>

#ifdef __cplusplus
extern "C" {
#endif

/** Formats of a weight matrix in host memory, [rows = N, cols = K], K fastest. Q, IQ and MX are
 *  GGUF's blocks, which hold their own scales: of 32 elements, those of "_K" of 256. A weight is
 *  what GGUF's `gguf` package decodes, bit for bit. */
typedef enum clq_format {
  CLQ_FORMAT_F32 = 1,
  CLQ_FORMAT_F16 = 2,
  CLQ_FORMAT_Q4_0 = 3,    /**< f16 d; 16 bytes of nibbles; (n - 8) * d */
  CLQ_FORMAT_Q4_1 = 4,    /**< f16 d, m; nibbles; n * d + m */
  CLQ_FORMAT_Q8_0 = 5,    /**< f16 d; 32 x i8; n * d */
  CLQ_FORMAT_W4 = 6,      /**< plain codes, see below: two a byte */
  CLQ_FORMAT_W8 = 7,      /**< plain codes, one a byte; i8 where neither zeros nor mins stand by */
  CLQ_FORMAT_BF16 = 8,    /**< the upper halves of f32 */
  CLQ_FORMAT_Q5_0 = 9,    /**< as Q4_0 with a fifth bit; (n - 16) * d */
  CLQ_FORMAT_Q5_1 = 10,   /**< as Q4_1 with a fifth bit */
  CLQ_FORMAT_Q2_K = 11,   /**< 2 bits; scale and minimum of 4 bits per 16; f16 d, dmin */
  CLQ_FORMAT_Q3_K = 12,   /**< 3 bits; scale of 6 bits per 16; f16 d */
  CLQ_FORMAT_Q4_K = 13,   /**< 4 bits; scale and minimum of 6 bits per 32; f16 d, dmin */
  CLQ_FORMAT_Q5_K = 14,   /**< as Q4_K with a fifth bit */
  CLQ_FORMAT_Q6_K = 15,   /**< 6 bits; scale of 8 bits per 16; f16 d */
  CLQ_FORMAT_IQ4_NL = 16, /**< f16 d; nibbles that choose one of 16 values */
  CLQ_FORMAT_MXFP4 = 17,  /**< e8m0 scale; nibbles that are e2m1 floats */
  CLQ_FORMAT_W2 = 18,     /**< plain codes, four a byte */
  CLQ_FORMAT_W3 = 19      /**< plain codes, eight in three bytes */
} clq_format;

/** "f32", "f16", "bf16", "w2", "w3", "w4", "w8", or GGUF's name in lower case: "q4_0", "q4_k",
 *  "mxfp4". */
CLQ_API const char *clq_format_name(clq_format format);

/** One matrix, or several of the same format and K stacked along N (q, k and v; gate and up):
 *  one GEMM then does the work of several.
 *
 *  Plain codes (W2, W3, W4, W8) are a row's bit string, least significant bits first, each row in
 *  whole bytes, of W3 in whole threes. Scales stand beside them, and maybe one plane more:
 *    neither       W = (code - 2^(bits - 1)) * scale; of W8 codes are i8: code * scale
 *    zeros         W = (code - zero) * scale
 *    mins          W = code * scale + min, rounded once (a float zero point: min = -zero * scale)
 *  All codes but those i8 are unsigned. Planes are [rows, ceil(cols / group)]. */
typedef struct clq_weights_part {
  const void *data;     /**< rows * bytes of a row, contiguous */
  const void *scales;   /**< plain codes: of the description's scale_dtype */
  const uint8_t *zeros; /**< plain codes, or NULL */
  int64_t rows;
  const void *mins; /**< plain codes, or NULL; as scales; in all parts or in none, not with zeros */
  const uint16_t *outliers; /**< f16 [rows, outlier_count] of the description's columns; NULL: what
                                 the codes say of them, code * scale rounded to f16 */
} clq_weights_part;

/** As a group: one scale, zero point or minimum for the whole matrix; planes are [1] then. */
#define CLQ_GROUP_TENSOR (-1)

/** How far a call is that may take a while: packing weights, loading layers or a model.
 *
 *  report is called in the thread that made the call, and by no other, every few megabytes of the
 *  source and once at the end, when done is total. Both are bytes of the source; done never falls,
 *  total never changes during the call. 0 as its answer ends the call with CLQ_CANCELLED, and as
 *  after any failure there is no result and nothing is held; any other goes on. It must not release
 *  what the call uses. A call that fails may have reported part or all of its work. */
typedef struct clq_progress {
  int32_t (*report)(void *user, uint64_t done, uint64_t total);
  void *user;
} clq_progress;

typedef struct clq_weights_desc {
  clq_format format;
  int64_t cols;  /**< K, at most 2^30; for blocks a multiple of their 32 or 256 elements */
  int64_t group; /**< plain codes: elements per scale, a multiple of 8 or at least K; 0: one scale a
                      row; CLQ_GROUP_TENSOR: one a part */
  const clq_weights_part *parts;
  int32_t part_count;
  clq_dtype scale_dtype; /**< plain codes, of scales and mins: CLQ_F32 (0 says so too), CLQ_F16,
                              CLQ_BF16 */
  /** The column at each position of the data, [cols], a permutation: W[n, order[p]] is element p of
   *  row n, and groups are of positions (act-order of GPTQ). It stays with the weights: clq_gemm
   *  reads x through it, clq_embedding and clq_weights_unpack write through it. NULL: none. */
  const int32_t *order;
  /** Columns that stay f16 beside a W8 without zeros and mins, [outlier_count], ascending
   * (LLM.int8, arXiv 2208.07339): codes that stand there are 0 in the packed weights, and clq_gemm
   * takes what clq_quantize leaves out of x as x_outliers. Not with an order. NULL: none. */
  const int32_t *outliers;
  int32_t outlier_count;
  const clq_progress *progress; /**< in bytes of the parts' data; NULL: nobody */
} clq_weights_desc;

/** Packed weights on the device, for clq_gemm and clq_embedding. Immutable; may be shared by
 *  streams and graphs of their context, and must outlive their use. */
typedef struct clq_weights clq_weights;

/** Packs into device memory; the source may be released afterwards.
 *  CLQ_INVALID_ARGUMENT for extents, groups and parts that do not fit together; CLQ_CANCELLED if
 *  the description's progress asks for it. */
CLQ_API CLQ_NODISCARD clq_status clq_weights_pack(clq_context *context,
                                                  const clq_weights_desc *desc,
                                                  clq_weights **weights);
CLQ_API void clq_weights_destroy(clq_weights *weights);
CLQ_API int64_t clq_weights_rows(const clq_weights *weights);
CLQ_API int64_t clq_weights_cols(const clq_weights *weights);
CLQ_API clq_format clq_weights_format(const clq_weights *weights);
/** Bytes on the device. */
CLQ_API uint64_t clq_weights_bytes(const clq_weights *weights);

/** How one row of an embedding table lies in a buffer of the caller's. */
typedef enum clq_row_format {
  CLQ_ROW_F32 = 1,
  CLQ_ROW_F16 = 2,
  CLQ_ROW_BF16 = 3,
  CLQ_ROW_8BIT = 4, /**< FBGEMM's fused row: K codes of a byte, f32 scale, f32 bias */
  CLQ_ROW_4BIT = 5, /**< two codes a byte, the first in the lower bits; f16 scale, f16 bias */
  CLQ_ROW_2BIT = 6  /**< four codes a byte, the same */
} clq_row_format;

/** "f32", "f16", "bf16", "8bit", "4bit", "2bit"; "?" for what is none. */
CLQ_API const char *clq_row_format_name(clq_row_format format);
/** Bytes of a row of @p cols elements with its scale and bias: K + 8, ceil(K / 2) + 4,
 *  ceil(K / 4) + 4. 0 for no format, negative columns and what overflows. */
CLQ_API int64_t clq_row_bytes(clq_row_format format, int64_t cols);

/** Rows to be written in one format. */
typedef struct clq_rows_desc {
  clq_row_format format;
  const float *x; /**< [at least as many rows as are picked, cols] in host memory, dense */
  int64_t rows;   /**< how many are written */
  int64_t cols;
  const int32_t *pick; /**< [rows] which row of x each one is; NULL: 0, 1, 2, ... */
} clq_rows_desc;

/** Writes rows, each clq_row_bytes, behind one another at @p out: bit for bit what FBGEMM's
 *  reference does (QuantUtils.cc), x = code * scale + bias:
 *      8 bits     bias = min, scale = (max - min) / 255,
 *                 code = rint((x - min) * (255 / (max - min + 1e-8)))
 *      4, 2 bits  bias = min rounded to f16, scale = (max - bias) / (2^bits - 1) rounded to f16, 1
 *                 where that is 0 or has no finite inverse, code = rint((x - bias) * (1 / scale)),
 *                 at least 0, at most 2^bits - 1
 *  Floats are rounded to nearest even. CLQ_INVALID_ARGUMENT: a value that is not finite, a range, a
 *  minimum or a scale that f32, or here f16, does not hold (FBGEMM writes Inf then). */
CLQ_API CLQ_NODISCARD clq_status clq_rows_quantize(const clq_rows_desc *desc, void *out);

enum { CLQ_MOST_TABLES = 4 };

/** Which id goes to a table of which format, by how often it is asked for. */
typedef struct clq_mixed_desc {
  int64_t rows; /**< ids */
  int64_t cols;
  const int64_t *counts;                   /**< [rows], not negative */
  clq_row_format formats[CLQ_MOST_TABLES]; /**< for the frequent ids first; 0 behind the last */
  /** Ids counted so often or more go to this table, or to one before it. All 0: budget counts. That
   *  of the last table must be 0. */
  int64_t least[CLQ_MOST_TABLES];
  /** Bytes for all tables and the map, scales and biases included. */
  uint64_t budget;
} clq_mixed_desc;

/** What clq_mixed_tables decides. */
typedef struct clq_mixed_tables_of {
  int64_t rows[CLQ_MOST_TABLES]; /**< of each table */
  uint64_t bytes;                /**< of all tables and the map */
} clq_mixed_tables_of;

/** Sorts ids by descending count, equals ascending, and cuts them into tables. @p order [rows]: the
 *  ids as they then stand, `pick` of clq_rows_quantize for the tables one after the other; @p map
 *  [rows]: where each id stands there, the map of clq_embedding.
 *
 *  With a budget all ids begin in the last table, and what moves a row one table up goes where the
 *  largest count * (error of this format - error of the finer one) per byte is, until no
 *  such row fits; errors are squared steps of a row of range 1 (8 bits: 1 / 255^2), so that rows
 *  are taken to be alike but for their counts. Ids that are never asked for stay in the last table.
 *  CLQ_INVALID_ARGUMENT: formats that do not take fewer bytes from one to the next, thresholds
 *  that rise, and a budget below all ids in the last table (the sentence says how much that is). */
CLQ_API CLQ_NODISCARD clq_status clq_mixed_tables(const clq_mixed_desc *desc, int32_t *map,
                                                  int32_t *order, clq_mixed_tables_of *tables);

/** Dequantizes rows [first, first + count) to @p out ([count, cols] f32) on the host: the inverse
 *  of packing, for tests and for a look at what the device holds. */
CLQ_API CLQ_NODISCARD clq_status clq_weights_unpack(const clq_weights *weights, int64_t first,
                                                    int64_t count, float *out);

#ifdef __cplusplus
}
#endif
#endif
