/** @file ops.h
 *  The operators. Each takes a stream and one argument struct, checks it,
 *  chooses a kernel variant for the device, enqueues it and returns: no
 *  allocation the caller sees, no synchronization. In an argument struct zero
 *  always means "absent" or "the default".
 *
 *      clq_status s = clq_rmsnorm(stream, &(clq_rmsnorm_args){
 *          .x        = { x,   CLQ_F32, { rows, cols } },
 *          .residual = { res, CLQ_F32, { rows, cols } },   // s = x + residual, written back here
 *          .gamma    = { g,   CLQ_F32, { cols } },
 *          .eps      = 1e-5f,
 *          .out      = { q,   CLQ_I8,  { rows, cols },
 *                        .quant = { .per = CLQ_PER_TOKEN, .scale = sc, .sum = su } },
 *      });
 *      if (s) fprintf(stderr, "%s\n", clq_last_error());
 *
 *  Common rules. Every tensor may have a byte offset and a row stride; the
 *  elements of a row are contiguous. Outputs must not overlap inputs unless
 *  the operator says so, also as sub-buffers of one buffer.
 *  Zero rows or columns are success without a launch.
 *  CLQ_INVALID_ARGUMENT: a contract broken; CLQ_UNSUPPORTED: well formed but
 *  not offered. Float results are computed in f32 with explicit fma and
 *  correctly rounded division; a row's result never depends on how many rows
 *  are computed with it. */
#ifndef CLQUANT_OPS_H
#define CLQUANT_OPS_H

#include <stdbool.h>

#include <clquant/context.h>
#include <clquant/quantize.h>
#include <clquant/tensor.h>

#ifdef __cplusplus
extern "C" {
#endif

/** Every operator has one entry here, an argument struct and a function. */
typedef enum clq_op {
  CLQ_OP_RMSNORM = 1,
  CLQ_OP_QUANTIZE = 2,
  CLQ_OP_DEQUANTIZE = 3,
  CLQ_OP_GEMM = 4,
  CLQ_OP_ROPE = 5,
  CLQ_OP_ATTENTION = 6,
  CLQ_OP_SOFTMAX = 7,
  CLQ_OP_ACTIVATE = 8,
  CLQ_OP_EMBEDDING = 9,
  CLQ_OP_ADD = 10,
  CLQ_OP_LAYERNORM = 11,
  CLQ_OP_INTEGER_NORM = 12,
  CLQ_OP_POOL = 13,
  CLQ_OP_LOOKUP = 14,
  CLQ_OP_INTEGER_ADD = 15,
  CLQ_OP_INTEGER_GELU = 16,
  CLQ_OP_SAMPLE = 17
} clq_op;

/** Normalization of rows, with the residual added before and the result quantized after, in one
 *  pass over memory:
 *      s = alpha * residual + x + bias      (rounded to residual's dtype, written back)
 *      t = x_scale * s
 *      layernorm:  y = (t - mean(t)) * rstd * gamma + beta,
 *                  rstd = 1 / sqrt(var(t) + x_scale^2 eps)
 *      rmsnorm:    y = t * rstd * gamma,
 *                  rstd = 1 / sqrt(mean(t^2) + x_scale^2 eps)
 *  `x` [rows, cols] is f32, f16 or bf16; i8 or u8 with `quant` per tensor, token or channel (scale,
 *  zero), times 2^exponent[c] if `exponent` (i8 [cols], 0 to 7; beyond, the nearer of these) is
 *  given: the power-of-two factors of FQ-ViT; or i32, the accumulators of a GEMM, times the scale
 *  in `quant` (per tensor or token, absent: 1) and times column_scale[c] (f32 [cols]) if given.
 *  `residual` [rows, cols], in and out (with keep_residual nothing is stored there, but the rules
 *  for outputs hold); `bias`, `gamma`, `beta` [cols]: each f32, f16 or bf16 on its own account, or
 *  absent. `mean`, `rstd` f32 [rows], optional outputs: those of s. `out` is
 *  f32, f16 or bf16; i8 per token or per group of any size: scales, and sums if wanted, are
 *  outputs; symmetric, or, if quant.zero is given, asymmetric with zero points as outputs; u8
 *  asymmetric; i8 or u8 per tensor or per channel: scales, and zero points if given, are inputs. A
 *  float `out` may be a float `x`, element upon element: the same buffer object, offset, dtype and
 *  strides; codes may not. Codes are those of clq_quantize on y, bit for bit (with CLQ_CAST_LLAMA
 *  on y as rounded).
 *
 *  The mean and the variance come from Welford's method on t less a pivot, the mean of the row's
 *  first 128 elements, merged by Chan's formula, what sums round off kept beside them: the
 *  variance's relative error stays below 5e-7 for a mean of up to 1e7 standard deviations, and y is
 *  within
 *      2^-21 * (|y| + |beta| + |gamma| * max |t - mean| * rstd)
 *  of exact arithmetic on t as it was rounded to f32, rmsnorm's within 2^-21 * |y| of it, before
 *  casts; a published mean of up to 2^18 columns within 2^-23 * |mean| + 2^-19 deviations. All
 *  forms give the same bits, on every device.
 *
 *  Rows that are not finite; others do not notice:
 *      layernorm with NaN or Inf   y and rstd NaN, the mean NaN or infinite
 *      rmsnorm with NaN            y and rstd NaN
 *      rmsnorm with Inf            y NaN where Inf stands and 0 elsewhere, rstd 0
 *
 *  A constant row gives beta; eps 0 is not advised there. x_scale: SLaNC (arXiv 2410.10553); a
 *  power of two changes no bit while the squares, and eps * x_scale^2, stay between f32's smallest
 *  normal number and its largest. Rows of elements below about 1e-19, with eps less than 0, need
 *  such an x_scale as those above 1e19 do. CLQ_UNSUPPORTED: what is not among the above, 2^31
 *  columns and more, and sums of more than 8421504 codes (INT32_MAX / 255; an edge always has
 *  sums). Sources: Ba et al. 2016, Zhang and Sennrich 2019, Wang et al. 2022 (alpha: DeepNorm). */
typedef struct clq_layernorm_args {
  clq_tensor x;
  clq_tensor residual;
  clq_tensor bias;
  clq_tensor gamma;
  clq_tensor beta;
  clq_tensor column_scale;
  clq_tensor exponent;
  clq_tensor mean;
  clq_tensor rstd;
  clq_tensor out;
  float eps;             /**< 0: 1e-5; a negative value means exactly zero */
  float alpha;           /**< of the residual; 0: 1 */
  float x_scale;         /**< 0: 1 */
  int32_t keep_residual; /**< 1: s is not written back, the residual stays as it is */
} clq_layernorm_args;
CLQ_API CLQ_NODISCARD clq_status clq_layernorm(clq_stream *stream, const clq_layernorm_args *args);

/** How RMSNorm rounds on its way; models are trained with one of these. */
typedef enum clq_norm_cast {
  CLQ_CAST_F32 = 1,   /**< t * rstd * gamma in f32, rounded once, to out's dtype; the default */
  CLQ_CAST_LLAMA = 2, /**< t * rstd rounded to x's dtype (f32 if x is an integer), times gamma
                           rounded so again */
  CLQ_CAST_GEMMA = 3  /**< t * rstd * (1 + gamma) in f32 */
} clq_norm_cast;

/** RMSNorm: see clq_layernorm_args. */
typedef struct clq_rmsnorm_args {
  clq_tensor x;
  clq_tensor residual;
  clq_tensor bias;
  clq_tensor gamma;
  clq_tensor column_scale;
  clq_tensor exponent;
  clq_tensor rstd;
  clq_tensor out;
  float eps;     /**< 0: 1e-5; a negative value means exactly zero */
  float alpha;   /**< of the residual; 0: 1 */
  float x_scale; /**< 0: 1 */
  clq_norm_cast cast;
  int32_t keep_residual; /**< as clq_layernorm_args has it */
} clq_rmsnorm_args;
CLQ_API CLQ_NODISCARD clq_status clq_rmsnorm(clq_stream *stream, const clq_rmsnorm_args *args);

/** Quantization to 8 bits. `x` f32, f16 or bf16 [rows, cols]; `out` of the same shape,
 *      i8 per token or per group (any size; the last one may be ragged), symmetric; with quant.zero
 *      asymmetric; u8 asymmetric: scales, zero points and sums are found and written;
 *      i8 or u8 per tensor or per channel: scales, and zero points if given, are inputs;
 *      code = rint(x * (1 / scale)) + zero, saturated to the type.
 *  With `weights` that bring outlier columns (quantize.h), of K = cols, these columns of x take no
 *  part: they count as zeros, whatever stands there, and go to `outliers` [rows, count], f32, f16
 * or bf16, instead. So does LLM.int8, but that bitsandbytes lets what is below its threshold in
 * such a column into its row's absmax (and then out of its codes), so that its scale may be larger.
 */
typedef struct clq_quantize_args {
  clq_tensor x;
  clq_tensor out;
  const clq_weights *weights; /**< with outliers; else NULL */
  clq_tensor outliers;
} clq_quantize_args;
CLQ_API CLQ_NODISCARD clq_status clq_quantize(clq_stream *stream, const clq_quantize_args *args);

/** x = scale * (code - zero), exactly rounded once. `x` i8 or u8 with any granularity;
 *  `out` f32, f16 or bf16. */
typedef struct clq_dequantize_args {
  clq_tensor x;
  clq_tensor out;
} clq_dequantize_args;
CLQ_API CLQ_NODISCARD clq_status clq_dequantize(clq_stream *stream,
                                                const clq_dequantize_args *args);

/** What a function of one number does to each element, on its way out. */
typedef enum clq_activation {
  CLQ_ACTIVATION_NONE = 0,
  CLQ_ACTIVATION_RELU = 1,      /**< 0 where v < 0, else v */
  CLQ_ACTIVATION_GELU = 2,      /**< (v / 2) * (1 + erf(v / sqrt(2))) */
  CLQ_ACTIVATION_GELU_TANH = 3, /**< (v / 2) * (1 + tanh(sqrt(2 / pi) * (v + 0.044715 v^3))) */
  CLQ_ACTIVATION_SILU = 4       /**< v / (1 + exp(-v)) */
} clq_activation;

/** out[M, N] = x[M, K] * W[N, K]^T, and what follows it in the same launch. `weights`: any packed
 *  format (quantize.h).
 *
 *  `x` of f32, f16 or bf16: each product is one chain of fma over ascending K, in f32.
 *
 *  `x` of i8 or u8, per token or per group, with or without zero points (within the range of its
 *  type); sums, if it has them, save adding its codes up again. With weights of f32, f16 or bf16
 *  the result is that of the floats which clq_dequantize makes of x. With weights that are codes,
 *  products of codes are summed exactly in int32 over each group (the shorter of x's and the
 *  weights'), and groups are added in ascending order in f32. With q and code less their zero
 *  points:
 *      acc = sum of q * code,  sum = sum of q
 *      c = fma(float(acc) * x_scale, w_scale, c);  c = fma(x_scale * float(sum), w_min, c)
 *  (x_scale is applied once at the end when it is per token), so that every integer variant gives
 *  the same bits. CLQ_UNSUPPORTED then: groups of x and of the weights, of which neither divides
 *  the other, when a row has several of each; several groups of x whose size is no multiple of 8; a
 *  sum over more than 32768 elements; x per group with weights that bring an order of columns.
 *
 *  All of these are the same bits for a row whatever the number of rows, and on every device. One
 *  thing gives them up, and only where a tuned table asks for it (gemm_f32_many.clblast_rows of
 *  tuning.h, 0 unless somebody tunes for it): from so many rows of x on, more than 16, products
 *  with x as floats are CLBlast's, which adds in an order of its own. Before what follows it an
 *  element is then within
 *      K * 2^-23 * sum over k of |x[m, k] * W[n, k]|
 *  of the exact sum, where none of its terms and sums is subnormal or overflows; a row's bits
 *  may depend on the number of rows. Its stream, or plan, then keeps up to 64 MiB for floats.
 *
 *  Where weights have an order, K ascends by their positions. Weights with outlier columns ask for
 *  `x_outliers` [M, count], f32, f16 or bf16, the elements of x there; x itself has zeros there.
 *  Before all else then, j ascending,
 *      v = fma(x_outliers[m, j], W[n, outliers[j]], v)
 *
 *  Each element v of the product, in f32, goes through what is given of
 *      v = v + bias[n];  v = activation(v);  v = v * gate[m, n];  v = v + residual[m, n]
 *  in this order, rounded after each, and is written to `out` [M, N]: f32; f16 or bf16, rounded to
 *  nearest even; or i8 or u8 per tensor or per channel: scales, and zero points if given, are
 *  inputs, the codes those of clq_quantize on v, bit for bit; quant.sum [M], if wanted, receives
 *  the sum of each row's codes (a small launch before the other zeroes it). With
 *  CLQ_ACTIVATION_SILU and `gate` it is clq_activate of the product with `gate` as `up`. `bias`
 * [N], `gate` and `residual` [M, N] are f32, f16 or bf16, each on its own account; a float `out`
 * may be the `residual`, element upon element: the same buffer object, offset, dtype and strides.
 * An activation is within 2^-22 * |v| of the exact one, the same bits on every device; NaN stays
 * NaN, and -Inf becomes NaN but for RELU. */
typedef struct clq_gemm_args {
  clq_tensor x;
  const clq_weights *weights;
  clq_tensor out;
  clq_tensor bias;
  clq_activation activation;
  clq_tensor gate;
  clq_tensor residual;
  clq_tensor x_outliers;
} clq_gemm_args;
CLQ_API CLQ_NODISCARD clq_status clq_gemm(clq_stream *stream, const clq_gemm_args *args);

/** @p count products in one call, such as those of a mixture of experts: each has rows and weights
 *  of its own; one without rows is passed over. Each is computed as clq_gemm does it, in the
 *  order of the array. All are checked before the first is enqueued: where one is refused none
 *  has run, and the sentence says which, as args[2]. CLQ_INVALID_ARGUMENT also for a negative @p
 * count. */
CLQ_API CLQ_NODISCARD clq_status clq_gemm_grouped(clq_stream *stream, const clq_gemm_args *args,
                                                  int32_t count);

/** Keys and values of sequences: what clq_rope appends and clq_attention reads. Both tensors are
 *  [sequences, kv_heads, capacity, head_dim], capacity a multiple of 16, head_dim a multiple of 16
 *  up to 256. Sequences and heads may have strides, a head is dense. dtype, which may differ
 *  between them:
 *      f32, f16
 *      i8      codes -127..127, x = scale * code. CLQ_PER_TOKEN: a scale for each head of a token
 *              (plane [sequences, kv_heads, capacity]), found as clq_quantize does. Keys may
 * instead have CLQ_PER_CHANNEL: scales that are given, [kv_heads, head_dim] u8      two codes of 4
 * bits a byte: the last extent is head_dim / 2. CLQ_PER_TOKEN, with zero points: x = scale * (code
 * - zero), codes and zeros 0..15. With 0 counted among the numbers, scale = max / 15 - min / 15,
 * zero = rint(-min * (1 / scale)), code = rint(x * (1 / scale)) + zero. Rows that are not ordinary
 * as tensor.h has them: the code that means 0 is 8. How a head lies in memory: f32, f16   k:
 * [capacity / 16, head_dim, 16]       (16 keys side by side) v: [capacity, head_dim] i8         k:
 * [capacity / 16, head_dim / 4, 16, 4]   (4 dimensions of 16 keys) v: [capacity / 4, head_dim, 4]
 * (4 keys) u8         k: [capacity / 16, head_dim / 8, 16, 4]   byte i of a word: low half
 * dimension 8 g + i, high half 8 g + 4 + i v: [capacity / 4, head_dim / 2, 4]        low half
 * dimension d, high half d + head_dim / 2 so that a token is appended without reading what stands
 * beside it. Offset and strides of codes are multiples of 4 bytes. */
typedef struct clq_kv_cache {
  clq_tensor k;
  clq_tensor v;
} clq_kv_cache;

/** Which elements of a head rotate together. */
typedef enum clq_rope_layout {
  CLQ_ROPE_ADJACENT = 1, /**< (0,1), (2,3), ...: LLaMA as GGUF stores it; the default */
  CLQ_ROPE_HALF = 2      /**< (0, d/2), (1, d/2 + 1), ...: NeoX */
} clq_rope_layout;

/** Rotary position embedding of q, and of k on its way into the KV cache.
 *  `q` and `out` f32 [rows, heads, head_dim], may be the same. With `k` and `v` (f32 [rows,
 *  kv_heads, head_dim]) also appends them to `cache` at the rows' positions, rounded or quantized
 *  as it is; without `q` and `out` it does only that.
 *  The rows of sequences follow each other: `starts` says where those of each start, and where the
 *  last end (rows outside are left alone); absent: rows / sequences each. Row r of a sequence
 *  stands at position[sequence] + r; position absent: at r. Without a cache there are as many
 *  sequences as positions.
 *  `table` f32 [positions, dims / 2, 2], cosine and sine, as clq_rope_table makes it (dims <=
 *  head_dim rotate, the rest is copied); absent: nothing is rotated.
 *  With `q_gamma` or `k_gamma` each head of q or k first becomes what clq_rmsnorm makes of it as a
 *  row, to the bit.
 *  A position outside the table or the cache is an error found on the device: nothing
 *  is written for that row, and the next clq_stream_finish reports it, as it does starts that do
 *  not ascend or pass the rows (then what is written of `out` and `cache` is not defined). head_dim
 *  is even, up to 256, with a cache a multiple of 16. A pair (a, b) becomes
 *      fma(a, cosine, -(b * sine)),  fma(b, cosine, a * sine)
 *  on every device, so results, codes included, are the same to the bit. */
typedef struct clq_rope_args {
  clq_tensor q, out;           /**< optional, together */
  clq_tensor k, v;             /**< optional, together */
  clq_kv_cache cache;          /**< with k and v */
  clq_tensor position;         /**< optional, i32 [sequences] */
  clq_tensor starts;           /**< optional, i32 [sequences + 1] */
  clq_tensor table;            /**< optional */
  clq_tensor q_gamma, k_gamma; /**< optional, f32 [head_dim] */
  float eps;                   /**< of the norms; 0: 1e-5; a negative value means exactly zero */
  clq_rope_layout layout;
} clq_rope_args;
CLQ_API CLQ_NODISCARD clq_status clq_rope(clq_stream *stream, const clq_rope_args *args);

/** Fills @p table ([positions, dims / 2, 2] floats: cosine, sine) for plain RoPE:
 *  angle = position * base^(-2 i / dims), computed in double. CLQ_INVALID_ARGUMENT, with nothing
 *  written, unless dims is even and base a number above 0. */
CLQ_API CLQ_NODISCARD clq_status clq_rope_table(float *table, int64_t positions, int64_t dims,
                                                double base);

/** In which numbers clq_attention multiplies. */
typedef enum clq_attention_math {
  CLQ_ATTENTION_FLOAT = 0,      /**< the default; for any cache */
  CLQ_ATTENTION_INTEGER = 1,    /**< q and weights become codes, products are exact */
  CLQ_ATTENTION_INTEGER_LUT = 2 /**< the same, exponentials from a table */
} clq_attention_math;

/** Attention of the rows of sequences over a KV cache, grouped heads allowed.
 *      out[r, h] = softmax(scale * q[r, h] . K[h / (heads / kv_heads)]) V
 *  `q` f32 [rows, heads, head_dim]. The rows of sequences follow each other: `starts` says where
 *  those of each start, and where the last end (rows outside are not written); absent: rows /
 *  sequences each. Row r of a sequence stands at p = position[sequence] + r (absent: r) and sees
 *      causal         keys 0 .. p
 *      bidirectional  all keys of its sequence: keys[sequence] (cross-attention), or without `keys`
 *                     position[sequence] and as many more as it has rows
 *      window > 0     of those the ones above p - window and below p + window.
 *  The cache: keys and values both of floats or both of codes, which count as the numbers that they
 *  stand for.
 *  `out` [rows, heads * head_dim] f32, f16, bf16, i8 per group of 32 (then head_dim % 32 == 0), or
 *  i8 per tensor with a scale that is given.
 *  Keys are taken in chunks of a fixed size, merged in ascending order: a row has the same bits
 *  alone and among others, in any batch, a decode step the same as a prefill. What the cache holds
 *  that a row does not see has no influence on it. Memory beside the arguments: none, or where few
 *  lines meet many compute units, which then share a line's keys, scratch memory linear in
 * capacity. Error against exact arithmetic: at most 2^-21 * (1 + S) * max |v|,   S the largest sum
 * over d of |scale * q[d] * k[d]|, and then the rounding to out's type. A score of -inf masks its
 * key; a row of nothing else, or without keys, is zero; NaN or +inf make the row's head NaN. A row
 * whose keys are not in the cache is zero, and the next clq_stream_finish reports it, as it does
 * `starts` that do not ascend or pass the rows (then `out` is not defined, and nothing beside it
 * written). Codes are those of clq_quantize on the float result, bit for bit. Not offered yet,
 * CLQ_UNSUPPORTED: other `math` than CLQ_ATTENTION_FLOAT. */
typedef struct clq_attention_args {
  clq_tensor q;
  clq_kv_cache cache;
  clq_tensor position; /**< i32 [sequences] */
  clq_tensor starts;   /**< optional, i32 [sequences + 1] */
  clq_tensor keys;     /**< optional, i32 [sequences], with bidirectional */
  clq_tensor out;
  float scale;        /**< finite; 0: 1 / sqrt(head_dim) */
  bool bidirectional; /**< rows see all keys of their sequence */
  int64_t window;     /**< 0: none */
  clq_attention_math math;
} clq_attention_args;
CLQ_API CLQ_NODISCARD clq_status clq_attention(clq_stream *stream, const clq_attention_args *args);

/** How softmax of codes makes exp(-D * step), D = max - code, step = x's scale * the caller's. */
typedef enum clq_exp {
  CLQ_EXP_TWO_LEVEL = 0,     /**< f32, two tables of 16; the default, and on CPUs the fastest */
  CLQ_EXP_F32 = 1,           /**< f32[256] */
  CLQ_EXP_Q30 = 2,           /**< integers of 30 fraction bits, [256] */
  CLQ_EXP_U16 = 3,           /**< of 16, at most 65535 */
  CLQ_EXP_U16_TWO_LEVEL = 4, /**< products of two tables of 16 such numbers, rounded to such */
  CLQ_EXP_IBERT = 5, /**< I-BERT's i-exp (arXiv 2101.01321), ln 2 / step rounded to nearest */
  CLQ_EXP_IVIT = 6   /**< I-ViT's shift-exp (arXiv 2207.01405) */
} clq_exp;

/** Row-wise softmax of t = scale * x + mask, x [rows, cols]:
 *      out = exp(t - max t) / sum of exp(t - max t)
 *  `log`: its logarithm, t - max t - log(sum). `sum`: the exponentials themselves, 1 the largest,
 *  and f32 sum[rows] of them (before they are rounded to out's type), for who divides later.
 *
 *  What counts. `mask`, optional, [m, cols] with m a divisor of the rows, which take its rows in
 *  turn: f32, f16 or bf16 is added, u8 hides elements where it is 0. `lengths`, optional, i32 [n],
 * n a divisor of the rows: each serves rows / n rows that follow each other, of which only the
 * first lengths[i] elements count (none if negative). `queries`, unless 0: rows are causal matrices
 * of so many rows; row q of one sees its first cols - queries + q + 1 elements. What does not count
 * is never read but for masks, and gets 0 (with `log` -inf); so does a row of nothing.
 *
 *  `x` f32, f16 or bf16; or i8 or u8 with one scale per tensor or per token (a zero point cancels):
 *  then `exp` says how exponentials are made, each from 0 .. 255 and exact for the dequantized
 *  logits but for its own rounding, masks are u8, `log` is not offered and `scale` not negative.
 *
 *  `out` f32, f16, bf16 (it may be an `x` of its type); or u8 of 1/256 steps, the nearest,
 * saturated to 255 (`out.quant` absent, or per tensor: then its scale receives 1/256); or i8 per
 * tensor, the scale and an optional zero point given.
 *
 *  With `sum`, `out` may also be u16: the exponentials times 2^16, the nearest, at most 65535. Of
 *  CLQ_EXP_U16 and CLQ_EXP_U16_TWO_LEVEL these are the table's entries themselves and sum is their
 * sum times 2^-16, rounded once: what an integer product with V needs, exactly.
 *
 *  -inf gives 0, a row of -inf zeros; NaN or +inf, also as x's scale, makes its row NaN (u8, u16:
 * 0). Relative error of an f32 result against exact arithmetic: at most 4e-6 where exp is of f32 or
 *  x of floats; docs/softmax.md has the others' errors. */
typedef struct clq_softmax_args {
  clq_tensor x;
  clq_tensor out;
  float scale; /**< finite; 0: 1 */
  clq_tensor mask;
  clq_tensor lengths;
  int64_t queries;
  bool log;
  clq_tensor sum;
  clq_exp exp;
} clq_softmax_args;
CLQ_API CLQ_NODISCARD clq_status clq_softmax(clq_stream *stream, const clq_softmax_args *args);

/** How a token is drawn from logits; all zero is greedy. The filters apply in the order top_k,
 * top_p, min_p, temperature. */
typedef struct clq_sampling {
  float temperature; /**< 0: the largest logit, of equal ones the lowest id */
  int32_t top_k;     /**< 0: off */
  float top_p;       /**< 0, or 1 and more: off */
  float min_p;       /**< 0: off; at most 1 */
  uint64_t seed;
} clq_sampling;

/** Chooses a token for each row of `logits`, f32 [rows, vocabulary] with a vocabulary of at most
 * 2^23: all zero but logits and `out` is argmax. `out` i32 [rows] gets the ids; they are those that
 *  clq_sampler_sample (model.h) gives, on every device: weights are integers, 2^40 times exp of the
 *  distance from the largest logit, and their sums exact.
 *
 *  `top_ids` i32 [rows, n] and `top_logits` f32 [rows, n], optional (top_ids with or without the
 * other, and with or without `out`): the row's n largest logits, the largest first, of equal ones
 * the lowest id first; n from 1 to 256 and to the vocabulary. No setting of `sampling` matters to
 * them.
 *
 *  A draw is a function of logits, settings, a seed and a number that counts draws. `state`, i32
 *  [rows, 4], holds both for each row, seed and count, the lower half of each first, and is counted
 * up by a draw (not by argmax); without it row r has the seed sampling.seed + r and draws for the
 *  first time, as a new clq_sampler. `counters`, i32 [rows, m], optional: of a row for which a
 * token was chosen each is counted up by one: where the next step's position lies on the device,
 * steps can be enqueued without a word from the host.
 *
 *  A row with NaN or +inf, or with nothing above -inf: ids -1, top_logits 0, nothing counted up,
 * and the next clq_stream_finish reports it. -inf is never drawn. */
typedef struct clq_sample_args {
  clq_tensor logits;
  clq_tensor out;
  clq_sampling sampling;
  clq_tensor state;
  clq_tensor counters;
  clq_tensor top_ids;
  clq_tensor top_logits;
} clq_sample_args;
CLQ_API CLQ_NODISCARD clq_status clq_sample(clq_stream *stream, const clq_sample_args *args);

/** out = activation(x), or activation(x) * up, each step rounded to f32: what a gated MLP has
 *  between its products is CLQ_ACTIVATION_SILU (SwiGLU) or _GELU_TANH (GeGLU) with `up`. `x` and
 *  `up`, optional, are [rows, cols] of f32, f16 or bf16, each of its own, and may be views of one
 *  buffer; `out` as that of clq_layernorm; a float `out` may be `x` or `up`, element upon element.
 *  CLQ_ACTIVATION_NONE leaves x as it is. An activation is
 *  within 2^-22 * |v| of the exact one, the same bits on every device and as in clq_gemm. */
typedef struct clq_activate_args {
  clq_tensor x;
  clq_activation activation;
  clq_tensor up;
  clq_tensor out;
} clq_activate_args;
CLQ_API CLQ_NODISCARD clq_status clq_activate(clq_stream *stream, const clq_activate_args *args);

/** Any function of one number, of codes of 8 bits: out = table[x]. `x` i8 or u8 [rows, cols], with
 *  `quant` absent or per tensor or token, which is not read: what a code stands for is in the
 * table. `table` [256] of `out`'s dtype: the entry of a code is that of its byte read without sign,
 * so that of -1 is entry 255; clq_lookup_fill makes it.
 *
 *  `out` f32, f16 or bf16; or i8 or u8, not quantized, per tensor or per token: the scale plane
 *  receives out_scale, the zero plane out_zero, as they are; sums, per token only, the sum of the
 *  row's codes, so that clq_gemm and clq_dequantize read on. Without quant.per `out` may be an `x`
 *  of its type, element upon element: the same buffer object, offset, dtype and strides. */
typedef struct clq_lookup_args {
  clq_tensor x;
  clq_tensor table;
  clq_tensor out;
  float out_scale;  /**< copied to out's planes, not computed with; positive if there are any */
  int32_t out_zero; /**< the same */
} clq_lookup_args;
CLQ_API CLQ_NODISCARD clq_status clq_lookup(clq_stream *stream, const clq_lookup_args *args);

/** What a table is of. */
typedef struct clq_lookup_desc {
  clq_dtype x; /**< CLQ_I8 or CLQ_U8 */
  float x_scale;
  int32_t x_zero;
  clq_dtype out;    /**< f32, f16, bf16, i8 or u8 */
  float out_scale;  /**< of codes, as out_zero is */
  int32_t out_zero; /**< 0 with i8: codes are symmetric, from -127 on */
  double (*function)(double x, void *user);
  void *user; /**< passed on to it */
} clq_lookup_desc;

/** Fills @p table, 256 entries of `out`'s dtype in host memory, with y = function(x_scale * (code -
 *  x_zero)): as a float of out's type, rounded once, halves to even, or as the code
 *  rint(y / out_scale) + out_zero, saturated; NaN is out_zero. CLQ_INVALID_ARGUMENT for scales that
 *  are not finite and positive and zero points outside their types. */
CLQ_API CLQ_NODISCARD clq_status clq_lookup_fill(const clq_lookup_desc *desc, void *table);

/** For clq_lookup_desc: the functions of clq_activation, exact in double, and two more. @p user is
 *  not looked at. */
CLQ_API double clq_scalar_relu(double x, void *user);
CLQ_API double clq_scalar_gelu(double x, void *user);
CLQ_API double clq_scalar_gelu_tanh(double x, void *user);
CLQ_API double clq_scalar_silu(double x, void *user);
CLQ_API double clq_scalar_sigmoid(double x, void *user);
CLQ_API double clq_scalar_tanh(double x, void *user);

/** A table of clq_embedding in a buffer of the caller's. */
typedef struct clq_row_table {
  clq_tensor rows;       /**< of floats [n, K]; of codes u8 [n, clq_row_bytes(format, K)] */
  clq_row_format format; /**< 0: that of rows' type, f32, f16 or bf16 */
} clq_row_table;

/** Rows of tables: out[r] = dequantized row ids[r]. `ids` i32 [rows]; there are no 64-bit ids.
 *  `out` as that of clq_layernorm [rows, K]: floats, or codes, which are those of clq_quantize on
 *  the row in f32.
 *
 *  The rows are those of `weights`, any packed format of quantize.h; or of up to four `tables` as
 *  they are written by clq_rows_quantize, or by FBGEMM: a row of codes is fma(code, scale, bias).
 *  Tables stand one behind the other: id i is row i of the first, or row i - n of the second if the
 *  first has n rows, and so on. With `map` (i32 [ids there are]) it is row map[i] of them: frequent
 *  ids in a table of f16, others in codes of 8 or 4 bits (clq_mixed_tables makes such a map).
 *
 *  An id outside 0 .. N-1, or one whose entry in the map is no row of the tables, is never read:
 * its row is zeros (codes that mean 0), and the next clq_stream_finish reports it. CLQ_UNSUPPORTED:
 * codes per group of a number that is no multiple of 4; codes of weights that bring an order. */
typedef struct clq_embedding_args {
  clq_tensor ids;
  const clq_weights *weights; /**< or NULL, and tables */
  clq_tensor out;
  clq_row_table tables[CLQ_MOST_TABLES]; /**< from the first on, without gaps */
  clq_tensor map;
} clq_embedding_args;
CLQ_API CLQ_NODISCARD clq_status clq_embedding(clq_stream *stream, const clq_embedding_args *args);

/** What one row a sequence is made of. */
typedef enum clq_pooling {
  CLQ_POOL_MEAN = 1,  /**< the mean of its rows; the default */
  CLQ_POOL_FIRST = 2, /**< its first row: CLS of BERT */
  CLQ_POOL_LAST = 3   /**< its last row */
} clq_pooling;

/** One row for each of several sequences: out[s] = the mean, the first or the last of the rows
 *  starts[s] to starts[s + 1] - 1 of x, with `normalize` divided by its length:
 *      v / max(sqrt(sum of v^2), eps).
 *  `x` f32, f16 or bf16 [rows, cols]; `starts` i32 [sequences + 1], rows that do not descend;
 *  `out` f32, f16 or bf16 [sequences, cols]. Rows before starts[0] and from starts[sequences] on
 *  take no part. A sequence without rows is zeros; so is one whose starts are not such rows, of
 *  which nothing is read and which the next clq_stream_finish reports.
 *
 *  Rows are added in ascending order in f32 with what each addition rounds off kept: a mean is
 *  within 2^-22 * |mean| + rows^2 * 2^-47 * max |x| of the exact one before it is rounded to out's
 *  type; of one row it is that row. Bits do not depend on the other sequences, nor on the device.
 *  NaN and Inf stay in their column, or with `normalize` in their sequence (a row with Inf has Inf
 * as its length: NaN there and 0 elsewhere). Squares must not overflow: elements up to 1e17, and
 * down to 1e-17 at least one. */
typedef struct clq_pool_args {
  clq_tensor x;
  clq_tensor starts;
  clq_tensor out;
  clq_pooling pooling; /**< 0: CLQ_POOL_MEAN */
  bool normalize;      /**< to length 1 */
  float eps;           /**< of the length; 0: 1e-12 */
} clq_pool_args;
CLQ_API CLQ_NODISCARD clq_status clq_pool(clq_stream *stream, const clq_pool_args *args);

/** out = a + b in f32. `a` and `b` [rows, cols], each of its own: f32, f16 or bf16; or i8 or u8
 * with `quant` per tensor, token or channel, which stand for scale * (code - zero) as
 * clq_dequantize gives it. `out` as that of clq_layernorm: what is read as codes and written as
 * codes is dequantized, added and quantized again, each rounded once, the codes those of
 * clq_quantize on the sum, bit for bit. A float `out` may be a float `a` or `b`, element upon
 * element. For sums of codes in integers see clq_integer_add. */
typedef struct clq_add_args {
  clq_tensor a;
  clq_tensor b;
  clq_tensor out;
} clq_add_args;
CLQ_API CLQ_NODISCARD clq_status clq_add(clq_stream *stream, const clq_add_args *args);

/** Which norm. */
typedef enum clq_norm_kind {
  CLQ_NORM_LAYER = 1, /**< (x - mean) / sqrt(variance + eps); the default */
  CLQ_NORM_RMS = 2    /**< x / sqrt(mean of squares + eps) */
} clq_norm_kind;

/** LayerNorm or RMSNorm from codes to codes, the device using integers alone (after I-BERT, arXiv
 *  2101.01321, and FQ-ViT, 2111.13824): the same bits on every device, those of the C model.
 *
 *  `x` i8, u8 or i32 [rows, cols]; cols at most 8388608, with i32 131072. i8 and u8 may have one
 *  zero point (quant.per CLQ_PER_TENSOR; the scale is not read), taken for the nearest number of
 *  x's type. `exponent` i8 [cols], 0 to 7 (beyond, the nearer of these), optional, FQ-ViT's
 *  power-of-two factors: the norm is that of
 *      q' = (code - zero) << exponent[c].
 *  q' of i32 is 22 bits wide as in I-BERT and saturates at +-2^21.
 *
 *  `multiplier` i32 [cols], `bias` i32 [cols] (optional), `shift`, `eps` and `eps_shift` are what
 *  clq_integer_norm_prepare makes of gamma, beta and scales. With u = (q' - mean) / sqrt(cols *
 *  (variance + eps * 2^-eps_shift)), as an integer of 30 fraction bits,
 *      code = (u * multiplier + (bias << (shift - 16)) + (1 << (shift - 1))) >> shift
 *  saturated to `out`'s type: halves are rounded up. Sums and variance are exact, the square root
 *  is the exact integer one; before that last rounding a value is off the exact norm of q' by at
 *  most 2^-15 + 2^-27 * A steps, A the largest |gamma| * sqrt(cols) / out_scale, while |beta /
 *  out_scale + out_zero| is below 2^15 (beyond, it counts as that): its code is the
 *  nearest one except that close to a tie. A constant row (RMSNorm: of zeros) gives beta, also with
 *  eps = 0; gamma = 0 gives beta.
 *
 *  `out` i8 or u8, not quantized, per tensor or per token: the scale plane receives out_scale, the
 *  zero plane out_zero, as they are; sums, per token only, the sum of the row's codes, so that
 *  clq_gemm and clq_dequantize read on. i8 codes without zero points, quant.per given, stay within
 *  -127..127. Without quant.per `out` may be `x`, element upon element: the same buffer object,
 *  offset, dtype and strides. shift is from 16 to 46; eps is not negative and
 *  cols * eps * 2^-eps_shift at most 2^58. */
typedef struct clq_integer_norm_args {
  clq_tensor x;
  clq_tensor exponent;
  clq_tensor multiplier;
  clq_tensor bias;
  clq_tensor out;
  clq_norm_kind kind;
  int32_t shift;
  int32_t eps;       /**< squared steps of x, in units of 2^-eps_shift */
  int32_t eps_shift; /**< may be negative */
  float out_scale;   /**< copied to out's planes, not computed with; positive if there are any */
  int32_t out_zero;
} clq_integer_norm_args;
CLQ_API CLQ_NODISCARD clq_status clq_integer_norm(clq_stream *stream,
                                                  const clq_integer_norm_args *args);

/** A norm in floats: y = norm(x) * gamma + beta, x = x_scale * q', code = y / out_scale + out_zero.
 */
typedef struct clq_integer_norm_desc {
  int64_t cols;
  const float *gamma; /**< [cols]; NULL: 1 */
  const float *beta;  /**< [cols]; NULL: 0 */
  float eps;          /**< of x; 0: 1e-5; a negative value means exactly zero */
  float x_scale;      /**< of exponent 0; only eps depends on it */
  float out_scale;
  int32_t out_zero;
} clq_integer_norm_desc;

/** Makes the device's integers on the host: @p multiplier and @p bias ([cols]; bias may be NULL
 *  without beta and out_zero), and of @p args the members shift, eps, eps_shift, out_scale and
 *  out_zero. CLQ_INVALID_ARGUMENT for what is not finite, scales that are not positive, and
 *  |gamma| * sqrt(cols) / out_scale of 2^45 and more. */
CLQ_API CLQ_NODISCARD clq_status clq_integer_norm_prepare(const clq_integer_norm_desc *desc,
                                                          int32_t *multiplier, int32_t *bias,
                                                          clq_integer_norm_args *args);

/** How codes are added. */
typedef enum clq_integer_add_mode {
  CLQ_ADD_SATURATE = 1,       /**< one scale for both and the sum: codes are added as they are */
  CLQ_ADD_GEMMLOWP = 2,       /**< TensorFlow Lite's quantized ADD, bit for bit: three roundings */
  CLQ_ADD_SINGLE_ROUNDING = 3 /**< exact in 64 bits and rounded once, halves up */
} clq_integer_add_mode;

/** out = a + b from codes to codes, the device using integers alone: the same bits on every device,
 *  those of the C model. `a` and `b` i8 or u8 [rows, cols], each of its own, `quant` absent or per
 *  tensor or token and not read: clq_integer_add_prepare has made the integers below of scales and
 *  zero points that the host knows (one that only the device has found: clq_add). With
 *  a' = a - a_zero and b' = b - b_zero
 *
 *      SATURATE         y = a' + b'
 *      GEMMLOWP         y = r(r(a' << 20, a) + r(b' << 20, b), out), where r(x, a) is gemmlowp's
 *                       SaturatingRoundingDoublingHighMul(x, a_multiplier) and then its
 *                       RoundingDivideByPOT by a_shift
 *      SINGLE_ROUNDING  y = (a' * a_multiplier + b' * b_multiplier + (1 << (out_shift - 1)))
 *                           >> out_shift
 *
 *  and the code y + out_zero, saturated. `out` i8 or u8, not quantized, per tensor or per token,
 * its planes and sums as those of clq_integer_norm; i8 codes without zero points, quant.per given,
 * stay within -127..127. Without quant.per `out` may be `a` or `b` of its type, element upon
 * element.
 *
 *  CLQ_INVALID_ARGUMENT: zero points outside their types, negative multipliers, shifts outside 0 to
 *  31 (of SINGLE_ROUNDING out_shift outside 11 to 62). What a mode does not use must be 0. */
typedef struct clq_integer_add_args {
  clq_tensor a;
  clq_tensor b;
  clq_tensor out;
  clq_integer_add_mode mode;
  int32_t a_zero;
  int32_t a_multiplier;
  int32_t a_shift; /**< to the right, as all */
  int32_t b_zero;
  int32_t b_multiplier;
  int32_t b_shift;
  int32_t out_multiplier;
  int32_t out_shift;
  float out_scale; /**< copied to out's planes, not computed with; positive if there are any */
  int32_t out_zero;
} clq_integer_add_args;
CLQ_API CLQ_NODISCARD clq_status clq_integer_add(clq_stream *stream,
                                                 const clq_integer_add_args *args);

/** What codes stand for: a_scale * (a - a_zero), and so on. */
typedef struct clq_integer_add_desc {
  clq_integer_add_mode mode;
  float a_scale;
  int32_t a_zero;
  float b_scale;
  int32_t b_zero;
  float out_scale;
  int32_t out_zero;
} clq_integer_add_desc;

/** Makes the device's integers on the host: of @p args all members but the tensors. GEMMLOWP's are
 *  those of TensorFlow Lite's add_common.cc and its QuantizeMultiplier: a factor below 2^-32 is 0.
 *  SINGLE_ROUNDING's have 31 bits of the larger factor, so that its code is the nearest one except
 *  within 2^-22 of a tie where neither factor is above 1. CLQ_INVALID_ARGUMENT for scales that are
 *  not finite and positive; SATURATE with scales that differ; GEMMLOWP with 2 * max(a_scale,
 *  b_scale) / out_scale of 2^20 and more, SINGLE_ROUNDING with a_scale / out_scale or b_scale /
 *  out_scale so. */
CLQ_API CLQ_NODISCARD clq_status clq_integer_add_prepare(const clq_integer_add_desc *desc,
                                                         clq_integer_add_args *args);

/** GELU from codes to codes by I-BERT's polynomial (arXiv 2101.01321), the device using integers
 *  alone: the same bits on every device, those of the C model. Of codes of 8 bits a table of the
 *  exact function (clq_lookup) is faster and has no such error; this is for i32, the accumulators
 * of a product, and where I-BERT's numbers are wanted.
 *
 *  `x` i8, u8 or i32 [rows, cols] (i32: x_zero is 0, and -2^31 counts as -2^31 + 1), `quant` absent
 *  or per tensor or token and not read. The integers are clq_integer_gelu_prepare's:
 *
 *      t = |x - x_zero| * x_multiplier >> x_shift         |x| / sqrt(2), 20 fraction bits
 *      erf = 1 - 0.2888 * (1.769 - min(t, 1.769))^2       29 fraction bits, the sign of x
 *      v = (x - x_zero) * value_multiplier >> value_shift     x / out_scale, 15 fraction bits
 *      code = v * (1 + erf) / 2 + out_zero
 *
 *  all shifts rounding half up, v and the code saturating. Before its last rounding a code is
 * within 2^-15 + 2^-19 * |x| / out_scale steps of the polynomial, which is within 0.0182 of GELU,
 * while |x| / out_scale is below 2^16. `out` as that of clq_integer_add; it may be an `x` of its
 * type. */
typedef struct clq_integer_gelu_args {
  clq_tensor x;
  clq_tensor out;
  int32_t x_zero;
  int32_t x_multiplier;
  int32_t x_shift; /**< 1 to 62, as the other */
  int32_t value_multiplier;
  int32_t value_shift;
  float out_scale; /**< copied to out's planes, not computed with; positive if there are any */
  int32_t out_zero;
} clq_integer_gelu_args;
CLQ_API CLQ_NODISCARD clq_status clq_integer_gelu(clq_stream *stream,
                                                  const clq_integer_gelu_args *args);

/** Makes of scales and zero points what clq_integer_gelu computes with: of @p args all members but
 *  the tensors. CLQ_INVALID_ARGUMENT for scales that are not finite and positive, x_scale of
 *  1448 and more, and x_scale / out_scale of 2^15 and more. */
CLQ_API CLQ_NODISCARD clq_status clq_integer_gelu_prepare(float x_scale, int32_t x_zero,
                                                          float out_scale, int32_t out_zero,
                                                          clq_integer_gelu_args *args);

/** Rows of activations that are to be the input of a norm as 8-bit codes. */
typedef struct clq_factors_desc {
  const float *x; /**< [rows, cols] in host memory, dense */
  int64_t rows;
  int64_t cols;
  clq_dtype codes; /**< CLQ_I8 or CLQ_U8 */
  int32_t most;    /**< the largest exponent, up to 7; 0: 3, as in the paper */
} clq_factors_desc;

/** Chooses FQ-ViT's power-of-two factors (arXiv 2111.13824), with which channels of uneven ranges
 *  share a scale and a zero point, from rows that are typical:
 *      x = scale * ((code - zero) << exponent[c]),
 *      code = rint(x / (scale << exponent[c])) + zero, saturated.
 *  scale << most is what a scale per tensor would be: (max(x, 0) - min(x, 0)) / 255; zero is the
 *  one that belongs to it. exponent[c], from 0 to most, is the one with the least sum of squared
 *  errors over the channel, the smaller of equals. @p exponent [cols] is that of clq_layernorm,
 *  clq_rmsnorm and clq_integer_norm; @p zero NULL: symmetric, max |x| / 127 and codes
 *  from -127 on, for CLQ_I8 only. Nothing but zeros: scale 1.
 *  CLQ_INVALID_ARGUMENT for what is not finite and what breaks the above; nothing is written then.
 */
CLQ_API CLQ_NODISCARD clq_status clq_power_of_two_factors(const clq_factors_desc *desc,
                                                          int8_t *exponent, float *scale,
                                                          int32_t *zero);

#ifdef __cplusplus
}
#endif
#endif
