/* Text to token ids and back: one handle, with byte-level BPE behind it or WordPiece
 * (wordpiece.h, which says how that one goes about it).
 *
 * Byte-level BPE: text is cut into pieces by the model's regular expression, each piece's bytes
 * become one token each, and neighbours merge by rank. Nothing is normalized.
 * Bytes that are not well-formed UTF-8 become U+FFFD first (utf8.h has the
 * rule). A byte for which the vocabulary has no token is dropped, as the
 * field's tokenizers do.
 *
 * Control tokens (<|im_end|>) never come out of plain text: they are recognized
 * only where the caller says that the text may hold them.
 *
 * Threads: a tokenizer is immutable, any number of threads may use it at once. */
#ifndef CLQI_IO_TOKENIZER_H
#define CLQI_IO_TOKENIZER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <clquant/model.h>

#include "io/text.h"

/* As tokenizer.ggml.token_type has them. */
typedef enum clqi_token_type {
  CLQI_TOKEN_NORMAL = 1, /* text in the byte-level alphabet; all others: plain text */
  CLQI_TOKEN_UNKNOWN = 2,
  CLQI_TOKEN_CONTROL = 3,
  CLQI_TOKEN_USER_DEFINED = 4,
  CLQI_TOKEN_UNUSED = 5
} clqi_token_type;

/* What create copies from; it may go away afterwards. */
typedef struct clqi_tokenizer_desc {
  clqi_text model;         /* "gpt2" */
  clqi_text pre;           /* see pretokenizer.h */
  const clqi_text *tokens; /* in the order of their ids */
  size_t token_count;
  const int32_t *types; /* NULL: all normal; else type_count == token_count */
  size_t type_count;
  const clqi_text *merges; /* "left right", best first */
  size_t merge_count;
  int64_t bos, eos, eot, unk, pad; /* -1: absent */
  bool add_bos;                    /* CLQ_ENCODE_BOS puts bos first */
  bool add_space_prefix;           /* must be false */
} clqi_tokenizer_desc;

typedef struct clqi_tokenizer clqi_tokenizer;

/* CLQ_BAD_FILE for a malformed vocabulary, CLQ_UNSUPPORTED for a model or
 * pre-tokenizer that is not offered. *out is NULL on failure. */
CLQ_NODISCARD clq_status clqi_tokenizer_create(const clqi_tokenizer_desc *desc,
                                               clqi_tokenizer **out);
/* NULL is allowed. */
void clqi_tokenizer_destroy(clqi_tokenizer *tokenizer);

CLQ_NODISCARD clq_status clqi_tokens_append(clq_tokens *tokens, int32_t id);

/* flags: or-ed clq_encode_flags; CLQ_ENCODE_SPECIAL takes the longest control or user-defined token
 * that fits. On failure the ids appended so far are undone. */
CLQ_NODISCARD clq_status clqi_tokenizer_encode(const clqi_tokenizer *tokenizer, const char *text,
                                               size_t length, unsigned flags, clq_tokens *tokens);

/* One text of several parts, in which only some may hold special tokens. The
 * parts are one text for splitting and merging; a special token lies wholly in
 * one part. */
typedef struct clqi_text_part {
  size_t length;
  bool special; /* CLQ_ENCODE_SPECIAL for this part */
} clqi_text_part;

/* The parts' lengths must add up to length. flags: CLQ_ENCODE_BOS. */
CLQ_NODISCARD clq_status clqi_tokenizer_encode_parts(const clqi_tokenizer *tokenizer,
                                                     const char *text, size_t length,
                                                     const clqi_text_part *parts, size_t part_count,
                                                     unsigned flags, clq_tokens *tokens);

/* What an encoder model takes: the ids of text, and of *pair if it is not NULL, in the file's
 * template, at most `most` of them: the longer text is cut off at its end first. types, which may
 * be NULL, gets the template's number of each id's text. flags: CLQ_ENCODE_SPECIAL. CLQ_UNSUPPORTED
 * without a template; CLQ_INVALID_ARGUMENT if `most` is less than the template has without texts.
 * On failure nothing is appended. */
CLQ_NODISCARD clq_status clqi_tokenizer_encode_pair(const clqi_tokenizer *tokenizer, clqi_text text,
                                                    const clqi_text *pair, int64_t most,
                                                    unsigned flags, clq_tokens *tokens,
                                                    clq_tokens *types);

size_t clqi_tokenizer_size(const clqi_tokenizer *tokenizer);
/* -1 where the vocabulary has none. */
int32_t clqi_tokenizer_bos(const clqi_tokenizer *tokenizer);
int32_t clqi_tokenizer_eos(const clqi_tokenizer *tokenizer);
int32_t clqi_tokenizer_unk(const clqi_tokenizer *tokenizer);
int32_t clqi_tokenizer_pad(const clqi_tokenizer *tokenizer);
bool clqi_tokenizer_adds_bos(const clqi_tokenizer *tokenizer);

/* Id of a control or user-defined token by its text, or -1. */
int32_t clqi_tokenizer_special(const clqi_tokenizer *tokenizer, clqi_text text);

/* An id out of range is neither. */
bool clqi_tokenizer_is_control(const clqi_tokenizer *tokenizer, int32_t id);
/* True where generation ends: eos, eot, and the control tokens by which the
 * known families end a turn or a text. */
bool clqi_tokenizer_is_end(const clqi_tokenizer *tokenizer, int32_t id);

/* The bytes of one token, often not whole characters; valid while the tokenizer
 * lives. */
CLQ_NODISCARD clq_status clqi_tokenizer_piece(const clqi_tokenizer *tokenizer, int32_t id,
                                              clqi_text *piece);

/* Appends the tokens' exact bytes; of WordPiece, words with blanks between them. Control tokens
 * give their text, or nothing with skip_control. An id out of range is CLQ_INVALID_ARGUMENT and
 * appends nothing. */
CLQ_NODISCARD clq_status clqi_tokenizer_decode(const clqi_tokenizer *tokenizer, const int32_t *ids,
                                               int64_t count, bool skip_control, clqi_bytes *out);

/* Streams well-formed UTF-8: bytes of a character whose rest may still come are
 * held back, bytes that can't become a character turn into U+FFFD. What push
 * and flush give together is clqi_utf8_repair of what decode gives. */
CLQ_NODISCARD clq_status clqi_text_stream_push(clq_text_stream *stream,
                                               const clqi_tokenizer *tokenizer, int32_t id,
                                               bool skip_control, clqi_bytes *out);
/* Ends the stream: what is held back becomes U+FFFD. */
CLQ_NODISCARD clq_status clqi_text_stream_end(clq_text_stream *stream, clqi_bytes *out);

#endif
