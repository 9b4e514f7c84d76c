/** @file tensor.h
 *  What an operator works on: a view of a buffer, its type, and how its
 *  numbers are quantized. A tensor owns nothing; it is a plain value that a
 *  designated initializer fills:
 *
 *      clq_tensor x = { buffer, CLQ_F32, { rows, cols } };
 *      clq_tensor q = { codes, CLQ_I8, { rows, cols },
 *                       .quant = { .per = CLQ_PER_TOKEN, .scale = s, .sum = u } };
 */
#ifndef CLQUANT_TENSOR_H
#define CLQUANT_TENSOR_H

#include <stdint.h>

#ifndef CL_TARGET_OPENCL_VERSION
#define CL_TARGET_OPENCL_VERSION 300
#endif
#include <CL/cl.h>

#include <clquant/status.h>

#ifdef __cplusplus
extern "C" {
#endif

#define CLQ_MAX_DIMS 4

/** Element types of tensors. Little-endian, as the device stores them. */
typedef enum clq_dtype {
  CLQ_F32 = 1,
  CLQ_F16 = 2,  /**< IEEE half, storage only: arithmetic is in f32 */
  CLQ_BF16 = 3, /**< upper half of an f32, storage only */
  CLQ_I8 = 4,
  CLQ_U8 = 5,
  CLQ_I32 = 6,
  CLQ_U16 = 7 /**< softmax's exponentials, in units of 2^-16; no other operator takes it */
} clq_dtype;

/** Bytes of one element; 0 for an unknown type. */
CLQ_API size_t clq_dtype_bytes(clq_dtype dtype);
/** "f32", "f16", "bf16", "i8", "u8", "i32", "u16"; "?" for an unknown type. */
CLQ_API const char *clq_dtype_name(clq_dtype dtype);

/** What shares one scale. Dimension -1 is the last one (the channels). */
typedef enum clq_granularity {
  CLQ_PER_TENSOR = 1,  /**< one scale */
  CLQ_PER_CHANNEL = 2, /**< one scale a column */
  CLQ_PER_TOKEN = 3,   /**< one scale a row */
  CLQ_PER_GROUP = 4    /**< one scale for each `group` consecutive elements of a row */
} clq_granularity;

/** How codes stand for numbers: x = scale * (code - zero).
 *
 *  The planes are dense and row-major: [1], [cols], [rows] or
 *  [rows, ceil(cols / group)] elements. `scale` is f32; `zero` and `sum` are
 *  i32. `sum` holds the sum of the codes that share a scale, or of each row
 *  where rows share scales ([rows]); whoever quantizes emits it in the same
 *  pass, because integer GEMM needs it for weights with a zero point or minimum.
 *
 *  Found scales (per token, per group):
 *    symmetric i8   codes -127..127, scale = absmax / 127, code = rint(x * (127 / absmax))
 *    asymmetric     lo = -128 (i8) or 0 (u8); with 0 counted among the elements
 *                   scale = max / 255 - min / 255, zero = rint(lo - min / scale),
 *                   code = rint(x * (1 / scale)) + zero, within lo..lo + 255
 *  rint: half to even. A row of zeros, or below 2^-119, has scale 0, codes that
 *  mean 0. A row with NaN has scale NaN and codes that mean 0; with Inf, scale
 *  Inf, the farthest codes for the infinities and codes that mean 0 for the rest;
 *  an asymmetric zero point is then lo + 128.
 *  Given scales (per tensor, per channel): code = rint(x * (1 / scale)) + zero,
 *  saturated, that of 0 for a NaN; a scale should be positive and finite, |zero|
 *  at most 2^20. */
typedef struct clq_quant {
  clq_granularity per; /**< 0: not quantized; the planes are then absent too */
  int32_t group;       /**< elements per group with CLQ_PER_GROUP, else 0 */
  cl_mem scale;
  cl_mem zero;           /**< absent: symmetric */
  cl_mem sum;            /**< absent: not wanted (outputs) or not known (inputs) */
  uint64_t scale_offset; /**< bytes into each plane's buffer */
  uint64_t zero_offset;
  uint64_t sum_offset;
} clq_quant;

/** A view. `mem` names the caller's buffer, or `value` an edge of a graph
 *  (graph.h); never both.
 *
 *  How many dimensions an argument has is the operator's to say (ops.h), not the
 *  tensor's: of the so many first entries of `shape` a 0 is an extent of zero,
 *  and the tensor is empty; the entries behind them are absent and must be 0, so
 *  that {5, 0, 70} is an empty tensor where three dimensions are taken and an
 *  error where two are. An output whose entries are all 0 takes the shape that
 *  the operator gives it.
 *
 *  Strides are given from the front: where they end, the rest is dense, and all
 *  zero is a dense tensor. A row's elements lie side by side, and rows do not
 *  share any: the last stride is 1, the others at least what lies inside them.
 *  There is no broadcasting, so a 0 before a stride that is given is an error
 *  (unless the extent there is 0 or 1). */
typedef struct clq_tensor {
  cl_mem mem;
  clq_dtype dtype;
  int64_t shape[CLQ_MAX_DIMS];  /**< elements; the last dimension is fastest */
  int64_t stride[CLQ_MAX_DIMS]; /**< elements */
  uint64_t offset;              /**< bytes from the buffer's start; a multiple of the element */
  clq_quant quant;
  int32_t value; /**< graph edge, 1 and up; 0: none */
} clq_tensor;

#ifdef __cplusplus
}
#endif
#endif
