/* The WordPiece model behind a tokenizer: words by the rules of bert_text.h, each cut into the
 * longest pieces that the vocabulary has from its start on, and templates that put [CLS] and [SEP]
 * around what an encoder model takes. As the `tokenizers` package does it, to the id. */
#ifndef CLQI_IO_WORDPIECE_H
#define CLQI_IO_WORDPIECE_H

#include "io/bert_text.h"
#include "io/text_index.h"
#include "io/tokenizer.h"

/* A token that is looked for in the text before there are words. */
typedef struct clqi_added_token {
  clqi_text text;
  int64_t id;
  bool special;    /* control: text unless CLQ_ENCODE_SPECIAL says otherwise */
  bool lstrip;     /* takes the white space before it along */
  bool rstrip;     /* and behind it */
  bool normalized; /* looked for in what the rules leave of the text, as they leave it */
} clqi_added_token;

typedef enum clqi_template_kind {
  CLQI_TEMPLATE_TOKEN,
  CLQI_TEMPLATE_FIRST, /* the text */
  CLQI_TEMPLATE_SECOND /* the other text of a pair */
} clqi_template_kind;

typedef struct clqi_template_part {
  clqi_template_kind kind;
  int64_t id; /* of a token */
  int32_t type;
} clqi_template_part;

enum { CLQI_TEMPLATE_MAX_PARTS = 16, CLQI_WORDPIECE_MAX_CHARS = 1024 };

typedef struct clqi_template {
  clqi_template_part parts[CLQI_TEMPLATE_MAX_PARTS];
  size_t count; /* 0: there is none */
} clqi_template;

/* What create copies from; it may go away afterwards. */
typedef struct clqi_wordpiece_desc {
  const clqi_text *tokens; /* the model's, in the order of their ids */
  size_t token_count;
  const clqi_added_token *added; /* those that are not the model's follow its ids, in order */
  size_t added_count;
  clqi_bert_rules rules;
  clqi_text unk;            /* the model's token for words that have no pieces */
  clqi_text prefix;         /* of pieces that go on: "##" */
  int64_t max_chars;        /* a word of more characters is unk; 1 to CLQI_WORDPIECE_MAX_CHARS */
  clqi_text decoder_prefix; /* what decoding takes off */
  bool cleanup;             /* decoding joins punctuation to the word before it */
  clqi_template single;
  clqi_template pair;
  int64_t pad; /* -1: absent */
} clqi_wordpiece_desc;

/* BERT's settings, without tokens and templates. */
clqi_wordpiece_desc clqi_wordpiece_defaults(void);
/* BERT's templates, [CLS] A [SEP] and [CLS] A [SEP] B [SEP], the last two of type 1. */
void clqi_wordpiece_bert_templates(clqi_wordpiece_desc *desc, int64_t cls, int64_t sep);

/* CLQ_BAD_FILE for what contradicts itself. *out is NULL on failure. */
CLQ_NODISCARD clq_status clqi_wordpiece_create(const clqi_wordpiece_desc *desc,
                                               clqi_tokenizer **out);

/* --- What tokenizer.h's calls come to. ---------------------------------------- */

typedef struct clqi_wordpiece clqi_wordpiece;
void clqi_wordpiece_destroy(clqi_wordpiece *wordpiece);
/* On failure some ids may have been appended. */
CLQ_NODISCARD clq_status clqi_wordpiece_encode(const clqi_tokenizer *tokenizer, const char *text,
                                               size_t length, unsigned flags, clq_tokens *tokens);
CLQ_NODISCARD clq_status clqi_wordpiece_encode_pair(const clqi_tokenizer *tokenizer, clqi_text text,
                                                    const clqi_text *pair, int64_t most,
                                                    unsigned flags, clq_tokens *tokens,
                                                    clq_tokens *types);
CLQ_NODISCARD clq_status clqi_wordpiece_decode(const clqi_tokenizer *tokenizer, const int32_t *ids,
                                               int64_t count, bool skip_control, clqi_bytes *out);

#endif
