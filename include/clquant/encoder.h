/** @file encoder.h
 *  Encoder models of BERT's kind, from a folder with safetensors to a vector a text:
 *
 *      clq_encoder *e;  clq_encoder_load(ctx, "all-MiniLM-L6-v2", NULL, &e);
 *      const char *texts[] = { "A man is eating.", "Un homme mange." };
 *      clq_encoder_embed(e, NULL, texts, NULL, 2, vectors);      // [2, width], of length 1
 *
 *  The texts of a call are packed behind each other, without padding, and go through the model
 *  several at a time; a text's vector is the same bits whatever stands beside it. */
#ifndef CLQUANT_ENCODER_H
#define CLQUANT_ENCODER_H

#include <clquant/model.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct clq_encoder clq_encoder;

/** Parts of the model that may be integers beside its matrices, or-ed. The last three want
 *  clq_encoder_calibrate first. */
typedef enum clq_encoder_int8 {
  /** Keys, values, queries and weights of attention are int8 codes; the softmax stays float. */
  CLQ_ENCODER_INT8_ATTENTION = 1,
  /** With it: scores are 8 bits, exponentials come from a table. */
  CLQ_ENCODER_INT8_SOFTMAX = 2,
  /** The first product of the MLP is u8 codes with one scale, its activation a table of them. */
  CLQ_ENCODER_INT8_ACTIVATION = 4,
  /** Sums that norms read are int8 codes with a scale per channel. */
  CLQ_ENCODER_INT8_NORM = 8,
  /** With it: what is added there is the int8 codes that the sublayer read; not with
   *  CLQ_ACTS_F32. */
  CLQ_ENCODER_INT8_RESIDUAL = 16
} clq_encoder_int8;

/** How the model is held and computed; all zero: as the files have it, in floats. */
typedef struct clq_encoder_desc {
  /** Of the matrices: CLQ_FORMAT_F32, _F16 or _BF16, rounded to nearest even, or _W8: int8 codes,
   *  absmax / 127. 0: as the file has its embeddings. */
  clq_format weights;
  clq_format embeddings; /**< of words and positions; 0: as weights */
  /** W8: elements that share a scale, a multiple of 8 that is at least 32; 0: a row. */
  int64_t group;
  /** What matrices are multiplied with; 0: CLQ_ACTS_F32. */
  clq_acts acts;
  unsigned int8; /**< or-ed clq_encoder_int8 */
} clq_encoder_desc;

typedef struct clq_encoder_info {
  int64_t layers;
  int64_t width; /**< of a vector */
  int64_t heads;
  int64_t feed_forward;
  int64_t vocabulary;
  int64_t context;     /**< tokens of a text, [CLS] and [SEP] among them; what is more is cut off */
  clq_pooling pooling; /**< CLQ_POOL_MEAN or CLQ_POOL_FIRST */
  clq_format weights;  /**< as it was chosen, or found in the file */
  clq_format embeddings;
  clq_acts acts;
  unsigned int8;
  uint64_t weight_bytes; /**< on the device */
  double load_seconds;   /**< reading and packing; kernel builds not included */
} clq_encoder_info;

/** Loads a model of BERT's kind: config.json, model.safetensors (or shards with their index), of
 *  f32, f16 or bf16, and the tokenizer (clq_tokenizer_open) in @p folder. As sentence-transformers
 *  has it, 1_Pooling/config.json says mean or first token (without it: mean), and
 *  sentence_bert_config.json max_seq_length, how many tokens of a text count (without it: as many
 *  as there are positions). @p desc may be NULL.
 *  CLQ_IO_ERROR; CLQ_BAD_FILE for what is malformed, missing or not finite; CLQ_UNSUPPORTED for
 *  other kinds of models; CLQ_INVALID_ARGUMENT. Sentences name the file. */
CLQ_API CLQ_NODISCARD clq_status clq_encoder_load(clq_context *context, const char *folder,
                                                  const clq_encoder_desc *desc,
                                                  clq_encoder **encoder);
/** NULL is allowed. */
CLQ_API void clq_encoder_destroy(clq_encoder *encoder);

CLQ_API void clq_encoder_get_info(const clq_encoder *encoder, clq_encoder_info *info);
/** Lives as long as the encoder. */
CLQ_API const clq_tokenizer *clq_encoder_tokenizer(const clq_encoder *encoder);

/** Writes a vector for each text to @p vectors, host memory [count, width], and waits: the pooled
 *  rows of its last layer, divided by their length (which is at least 1e-12). @p lengths: the bytes
 *  of each text; NULL: they end with NUL. Special tokens spelled in a text are text.
 *  @p stream NULL: one of the encoder's own. One thread at a time. After an error vectors are
 *  undefined. CLQ_INVALID_STATE where int8 parts want clq_encoder_calibrate first. */
CLQ_API CLQ_NODISCARD clq_status clq_encoder_embed(clq_encoder *encoder, clq_stream *stream,
                                                   const char *const *texts, const size_t *lengths,
                                                   int64_t count, float *vectors);

/** Finds the scales that the encoder's int8 parts want, from texts that are typical (some dozens):
 *  the model computes them in floats, and ranges of sums and of the MLP's first product are taken
 *  down. A channel's scale is a power of two times the tensor's, max |x| / 127 and up to twice
 * that. Replaces what an earlier call found. CLQ_INVALID_ARGUMENT without texts. */
CLQ_API CLQ_NODISCARD clq_status clq_encoder_calibrate(clq_encoder *encoder, clq_stream *stream,
                                                       const char *const *texts,
                                                       const size_t *lengths, int64_t count);

typedef struct clq_encoder_stats {
  uint64_t arena_bytes; /**< activations: the most that one pass needs */
  uint64_t kv_bytes;    /**< keys and values of one layer's texts */
  double build_seconds; /**< compiling passes, kernels included */
  int64_t tokens;       /**< of all texts so far */
  int64_t passes;
} clq_encoder_stats;
CLQ_API void clq_encoder_get_stats(const clq_encoder *encoder, clq_encoder_stats *stats);

/** From now on all work is traced into @p trace (NULL: off); it must outlive the tracing. */
CLQ_API void clq_encoder_trace(clq_encoder *encoder, clq_trace *trace);

#ifdef __cplusplus
}
#endif
#endif
