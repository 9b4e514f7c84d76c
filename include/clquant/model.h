/** @file model.h
 *  Language models, from a GGUF file to text:
 *
 *      clq_model *m;    clq_model_load(ctx, "model.gguf", &m);
 *      clq_session *s;  clq_session_create(m, NULL, NULL, &s);
 *      clq_tokens ids = {0};
 *      clq_tokenizer_encode(clq_model_tokenizer(m), "Once", 4, 0, &ids);
 *      clq_session_eval(s, ids.ids, ids.count, CLQ_LOGITS_LAST, logits);
 *
 *  A model is its weights on a device, shared by sessions; a session is one sequence with its KV
 *  cache, used by one thread at a time. */
#ifndef CLQUANT_MODEL_H
#define CLQUANT_MODEL_H

#include <clquant/graph.h>

#ifdef __cplusplus
extern "C" {
#endif

/* ---------------------------------------------------------------- text and ids */

typedef struct clq_tokenizer clq_tokenizer;

/** Token ids that grow; all zero is an empty list. Encoding appends. */
typedef struct clq_tokens {
  int32_t *ids;
  int64_t count;
  int64_t capacity;
} clq_tokens;
CLQ_API void clq_tokens_free(clq_tokens *tokens);

/** Bytes that grow; all zero is empty. Not NUL-terminated. */
typedef struct clq_text {
  char *data;
  size_t length;
  size_t capacity;
} clq_text;
CLQ_API void clq_text_free(clq_text *text);

/** The tokenizer in a GGUF file (byte-level BPE), or in a folder with tokenizer.json or vocab.txt
 * as BERT's kind has them (WordPiece); needs no device. CLQ_IO_ERROR, CLQ_BAD_FILE,
 *  CLQ_UNSUPPORTED. */
CLQ_API CLQ_NODISCARD clq_status clq_tokenizer_open(const char *path, clq_tokenizer **tokenizer);
CLQ_API void clq_tokenizer_destroy(clq_tokenizer *tokenizer);

typedef enum clq_encode_flags {
  CLQ_ENCODE_SPECIAL = 1, /**< special tokens in the text are tokens; otherwise they are text */
  CLQ_ENCODE_BOS = 2      /**< begin with BOS if the file's metadata says so */
} clq_encode_flags;

/** Appends the ids of @p length bytes. Each byte that is not UTF-8 becomes U+FFFD. */
CLQ_API CLQ_NODISCARD clq_status clq_tokenizer_encode(const clq_tokenizer *tokenizer,
                                                      const char *text, size_t length,
                                                      unsigned flags, clq_tokens *tokens);
/** Appends what an encoder model takes: the ids of @p text, and of @p pair (NULL: one text),
 * between the tokens that the file's template has around them ([CLS] text [SEP] pair [SEP]). There
 * are at most @p most ids: of texts that are too long the longer one loses its end first. @p types,
 * which may be NULL, gets as many token types: 0 for the first text, 1 for the other, as the
 * template says. @p flags: CLQ_ENCODE_SPECIAL. No padding: an encoder attends to all that is
 * appended. CLQ_UNSUPPORTED for a tokenizer without such a template; CLQ_INVALID_ARGUMENT if @p
 * most is less than the template has without texts. After an error nothing has been appended. */
CLQ_API CLQ_NODISCARD clq_status clq_tokenizer_encode_pair(const clq_tokenizer *tokenizer,
                                                           const char *text, size_t length,
                                                           const char *pair, size_t pair_length,
                                                           int64_t most, unsigned flags,
                                                           clq_tokens *tokens, clq_tokens *types);
/** Appends the ids of a conversation's opening: @p system (NULL: the template's own) and
 *  @p user, in the file's chat template, ready for the answer. The user's text is text: special
 *  tokens in it have no effect. CLQ_UNSUPPORTED for a template of an unknown family. */
CLQ_API CLQ_NODISCARD clq_status clq_tokenizer_encode_chat(const clq_tokenizer *tokenizer,
                                                           const char *system, const char *user,
                                                           size_t user_length, clq_tokens *tokens);
/** Appends the bytes of the ids; @p skip_special leaves control tokens out. What WordPiece's ids
 * are decoded to are words with blanks between them: the ids of one text belong into one call. */
CLQ_API CLQ_NODISCARD clq_status clq_tokenizer_decode(const clq_tokenizer *tokenizer,
                                                      const int32_t *ids, int64_t count,
                                                      int32_t skip_special, clq_text *text);
/** True where generation ends. */
CLQ_API int32_t clq_tokenizer_is_end(const clq_tokenizer *tokenizer, int32_t id);
CLQ_API int64_t clq_tokenizer_size(const clq_tokenizer *tokenizer);

/** Decodes a stream of ids to whole UTF-8 characters; all zero is a new one. */
typedef struct clq_text_stream {
  char held[4];
  size_t held_count;
} clq_text_stream;
/** Appends what is complete after @p id. Control tokens give nothing. CLQ_UNSUPPORTED for
 * WordPiece, whose ids do not tell where a text begins. */
CLQ_API CLQ_NODISCARD clq_status clq_text_stream_push(clq_text_stream *stream,
                                                      const clq_tokenizer *tokenizer, int32_t id,
                                                      clq_text *text);
/** Ends the stream: an incomplete character becomes U+FFFD. */
CLQ_API CLQ_NODISCARD clq_status clq_text_stream_end(clq_text_stream *stream, clq_text *text);

/* ---------------------------------------------------------------- models */

typedef struct clq_model clq_model;

/** Loads and packs the weights of a LLaMA-family model. Errors name the file and what to do.
 *  CLQ_IO_ERROR, CLQ_BAD_FILE, CLQ_UNSUPPORTED (architecture, tensor type). */
CLQ_API CLQ_NODISCARD clq_status clq_model_load(clq_context *context, const char *path,
                                                clq_model **model);
/** The same, reporting to @p progress (NULL: nobody), in bytes of the file's tensors, at least once
 *  a matrix. CLQ_CANCELLED. */
CLQ_API CLQ_NODISCARD clq_status clq_model_load_with_progress(clq_context *context,
                                                              const char *path,
                                                              const clq_progress *progress,
                                                              clq_model **model);
/** Its sessions must be gone. */
CLQ_API void clq_model_destroy(clq_model *model);

typedef struct clq_model_info {
  char name[128];
  char architecture[32];
  int64_t layers;
  int64_t width; /**< of the residual stream */
  int64_t heads;
  int64_t kv_heads;
  int64_t head_dim;
  int64_t feed_forward;
  int64_t vocabulary;
  int64_t context;       /**< tokens the model was trained for */
  uint64_t weight_bytes; /**< on the device */
  double load_seconds;   /**< reading and packing; kernel builds not included */
} clq_model_info;
CLQ_API void clq_model_get_info(const clq_model *model, clq_model_info *info);
/** The model's own tokenizer; lives as long as the model. */
CLQ_API const clq_tokenizer *clq_model_tokenizer(const clq_model *model);

/* ---------------------------------------------------------------- sessions */

typedef struct clq_session clq_session;

/** Activations between layers. */
typedef enum clq_acts {
  CLQ_ACTS_Q8G32 = 1, /**< int8, a scale per 32: keeps the model's quality; the default */
  CLQ_ACTS_Q8 = 2,    /**< int8, a scale per token */
  CLQ_ACTS_F32 = 3    /**< exact */
} clq_acts;

/** All zero: the defaults. */
typedef struct clq_session_desc {
  clq_acts acts;   /**< 0: CLQ_ACTS_Q8G32 */
  clq_dtype kv;    /**< of the KV cache: CLQ_F16 (0), CLQ_F32, or quantized as keys and values are
                        appended (clq_kv_cache): CLQ_I8, CLQ_U8 for 4 bits */
  int64_t context; /**< most tokens in the sequence; 0: what the model was trained for */
} clq_session_desc;

/** @p desc and @p stream may be NULL (an own stream then). CLQ_INVALID_ARGUMENT for a context
 * longer than the model's. */
CLQ_API CLQ_NODISCARD clq_status clq_session_create(clq_model *model, clq_stream *stream,
                                                    const clq_session_desc *desc,
                                                    clq_session **session);
CLQ_API void clq_session_destroy(clq_session *session);

typedef enum clq_logits_wanted {
  CLQ_LOGITS_NONE = 0, /**< only fill the KV cache */
  CLQ_LOGITS_LAST = 1, /**< [vocabulary]: the prediction after the last token */
  CLQ_LOGITS_ALL = 2   /**< [count, vocabulary] */
} clq_logits_wanted;

/** Feeds @p count tokens after those already fed and waits for the result. @p logits is host
 *  memory (NULL with CLQ_LOGITS_NONE). CLQ_INVALID_ARGUMENT: an id that is no token, or more
 *  tokens than the context holds; nothing has then been fed. */
CLQ_API CLQ_NODISCARD clq_status clq_session_eval(clq_session *session, const int32_t *ids,
                                                  int64_t count, clq_logits_wanted wanted,
                                                  float *logits);
typedef struct clq_sampler clq_sampler;

/** Feeds @p count tokens, at least one, and chooses @p wanted more, each fed to the next step: the
 * ids that clq_sampler_sample would choose from the logits, but chosen on the device, so that only
 * ids are read back, and steps follow each other without the host. The last one is not fed yet. @p
 * sampler says how and counts the draws; NULL is greedy. It may draw here and with
 * clq_sampler_sample by turns. A text that ends earlier has ended: clq_session_rewind takes back
 * what followed. CLQ_INVALID_ARGUMENT as clq_session_eval and clq_sampler_sample; after this and
 * any other error nothing has been fed or drawn. */
CLQ_API CLQ_NODISCARD clq_status clq_session_generate(clq_session *session, const int32_t *ids,
                                                      int64_t count, clq_sampler *sampler,
                                                      int32_t *chosen, int64_t wanted);
/** Tokens fed so far. */
CLQ_API int64_t clq_session_position(const clq_session *session);
/** Forgets all tokens from @p position on; 0 starts anew. */
CLQ_API CLQ_NODISCARD clq_status clq_session_rewind(clq_session *session, int64_t position);
/** @p to forgets its tokens and takes over those of @p from, which may go on in two ways then: one
 *  prompt, several answers. CLQ_INVALID_ARGUMENT unless both are of one model with one type of
 *  cache, and the tokens fit into the context of @p to; it keeps its own then. After any other
 *  error it has none. */
CLQ_API CLQ_NODISCARD clq_status clq_session_copy(clq_session *to, const clq_session *from);

typedef struct clq_session_stats {
  uint64_t kv_bytes;
  uint64_t arena_bytes;       /**< activations: the most that one plan needs */
  uint64_t arena_naive_bytes; /**< what that plan would take without reuse */
  uint64_t arena_lower_bound_bytes;
  double build_seconds; /**< compiling plans, kernels included */
  int32_t launches;     /**< of one decode step */
} clq_session_stats;
CLQ_API void clq_session_get_stats(const clq_session *session, clq_session_stats *stats);

/** From now on all work is traced into @p trace (NULL: off); it must outlive the tracing. */
CLQ_API void clq_session_trace(clq_session *session, clq_trace *trace);

/* ---------------------------------------------------------------- batches */

/** Sequences that are decoded together: a pass reads the weights once for a token of each.
 *
 *      clq_batch *b;  clq_batch_create((clq_session *[]){s0, s1, s2}, 3, &b);
 *      clq_batch_eval(b, NULL, (int32_t[]){i0, i1, i2}, 3, logits);        // a token each
 *      clq_batch_eval(b, (int32_t[]){0, 2}, (int32_t[]){i0, i2}, 2, logits); // s1 has ended
 *
 *  Each session may stand anywhere in its sequence, and may be fed alone, copied or rewound in
 *  between: a session gives the same bits alone and in any batch. */
typedef struct clq_batch clq_batch;

/** Of @p count different sessions of one model with the same activations; they must outlive the
 *  batch. It works on the stream of the first, and into that one's trace. One thread at a time uses
 *  a batch and its sessions. CLQ_INVALID_ARGUMENT for sessions that differ in model or activations,
 *  and for one that is named twice. */
CLQ_API CLQ_NODISCARD clq_status clq_batch_create(clq_session *const *sessions, int32_t count,
                                                  clq_batch **batch);
CLQ_API void clq_batch_destroy(clq_batch *batch);

/** Feeds ids[i] to the batch's session members[i], @p count different ones, and waits. @p members
 *  NULL: all of them, in order. @p logits: host memory, [count, vocabulary]. A set of members that
 *  is not among the last eight makes a pass that is compiled first: sequences that end may just be
 *  left out.
 *  CLQ_INVALID_ARGUMENT: an id that is no token, a context that is full; after this and any other
 *  error nothing has been fed to any session. */
CLQ_API CLQ_NODISCARD clq_status clq_batch_eval(clq_batch *batch, const int32_t *members,
                                                const int32_t *ids, int32_t count, float *logits);
/** The same, but of logits only the next token of each is read back, as clq_session_generate
 * chooses it: chosen[i] by samplers[i]. @p samplers NULL: greedy; else none is NULL, and they have
 * the same settings but for the seed (CLQ_UNSUPPORTED otherwise). */
CLQ_API CLQ_NODISCARD clq_status clq_batch_generate(clq_batch *batch, const int32_t *members,
                                                    const int32_t *ids, int32_t count,
                                                    clq_sampler *const *samplers, int32_t *chosen);
/** kv_bytes: of all its sessions; the rest: of the batch's own passes. */
CLQ_API void clq_batch_get_stats(const clq_batch *batch, clq_session_stats *stats);

/* ---------------------------------------------------------------- sampling */

/** @p sampling NULL: greedy; @p vocabulary: the most logits that a call will have.
 *  CLQ_INVALID_ARGUMENT for settings out of range. */
CLQ_API CLQ_NODISCARD clq_status clq_sampler_create(const clq_sampling *sampling,
                                                    int64_t vocabulary, clq_sampler **sampler);
CLQ_API void clq_sampler_destroy(clq_sampler *sampler);
/** CLQ_INVALID_ARGUMENT for NaN, +inf, or nothing above -inf; the sentence says what to try. */
CLQ_API CLQ_NODISCARD clq_status clq_sampler_sample(clq_sampler *sampler, const float *logits,
                                                    int64_t count, int32_t *id);

#ifdef __cplusplus
}
#endif
#endif
