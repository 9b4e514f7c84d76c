/* Text to ids. */
#include "io/wordpiece.h"

#include <string.h>

#include "io/utf8.h"
#include "io/wordpiece_private.h"
#include "runtime/memory.h"
#include "runtime/status.h"

/* What one call of encode works with. */
typedef struct encoder {
  const clqi_tokenizer *t;
  const clqi_wordpiece *w;
  bool special; /* control tokens in the text are tokens */
  clq_tokens *tokens;
  clqi_bytes normalized; /* of the stretch at hand */
} encoder;

/* --- Words. ------------------------------------------------------------------ */

static bool too_long(const clqi_wordpiece *w, clqi_text word) {
  size_t chars = 0;
  if (word.length <= w->max_chars) {
    return false;
  }
  for (size_t i = 0; i < word.length && chars <= w->max_chars; ++i) {
    chars += ((unsigned char)word.data[i] & 0xC0) != 0x80;
  }
  return chars > w->max_chars;
}

/* Pieces are whole characters, as tokens are, so a piece never ends within one. The longest first
 * piece, then the longest that goes on ...: where none does, the word is unknown as a whole. */
static clq_status encode_word(encoder *e, clqi_text word) {
  const int64_t before = e->tokens->count;
  bool known = !too_long(e->w, word);
  for (size_t at = 0; known && at < word.length;) {
    const clqi_text_entry *piece = clqi_text_index_longest(
        at == 0 ? &e->w->starts : &e->w->rests, (clqi_text){word.data + at, word.length - at});
    known = piece != NULL;
    if (known) {
      CLQI_TRY(clqi_tokens_append(e->tokens, piece->id));
      at += piece->text.length;
    }
  }
  if (known) {
    return CLQ_OK;
  }
  e->tokens->count = before;
  return clqi_tokens_append(e->tokens, e->t->unk);
}

static clq_status encode_words(encoder *e, clqi_text text) {
  size_t end = 0;
  for (size_t at = 0; clqi_bert_next_word(text.data, text.length, &at, &end); at = end) {
    CLQI_TRY(encode_word(e, (clqi_text){text.data + at, end - at}));
  }
  return CLQ_OK;
}

/* --- Added tokens. ----------------------------------------------------------- */

typedef clq_status (*encode_fn)(encoder *e, clqi_text text);

/* Finds the added tokens in the text, the leftmost and of those the longest, and gives what lies
 * between them to encode. A special token that is text has its place nevertheless: no other is
 * found within it. */
static clq_status split(encoder *e, const clqi_text_index *added, clqi_text text,
                        encode_fn encode) {
  size_t plain = 0; /* what is before has been encoded */
  for (size_t at = 0; at < text.length;) {
    const clqi_text_entry *token =
        clqi_text_index_longest(added, (clqi_text){text.data + at, text.length - at});
    if (token == NULL) {
      ++at;
      continue;
    }
    size_t begin = at;
    size_t end = at + token->text.length;
    at = end;
    if (!e->special && clqi_tokenizer_is_control(e->t, token->id)) {
      continue;
    }
    const unsigned type = e->t->types[token->id];
    if ((type & CLQI_TOKEN_LSTRIP) != 0 && begin > plain) {
      begin -= clqi_bert_trailing_space(text.data + plain, begin - plain);
    }
    if ((type & CLQI_TOKEN_RSTRIP) != 0) {
      end += clqi_bert_leading_space(text.data + end, text.length - end);
    }
    if (begin > plain) {
      CLQI_TRY(encode(e, (clqi_text){text.data + plain, begin - plain}));
    }
    CLQI_TRY(clqi_tokens_append(e->tokens, token->id));
    plain = end;
  }
  return plain < text.length ? encode(e, (clqi_text){text.data + plain, text.length - plain})
                             : CLQ_OK;
}

static clq_status encode_normalized(encoder *e, clqi_text text) {
  e->normalized.length = 0;
  CLQI_TRY(clqi_bert_normalize(&e->w->rules, text.data, text.length, &e->normalized));
  const clqi_text normalized = {e->normalized.data, e->normalized.length};
  return split(e, &e->w->normalized, normalized, encode_words);
}

clq_status clqi_wordpiece_encode(const clqi_tokenizer *t, const char *text, size_t length,
                                 unsigned flags, clq_tokens *tokens) {
  encoder e = {
      .t = t, .w = t->wordpiece, .special = (flags & CLQ_ENCODE_SPECIAL) != 0, .tokens = tokens};
  clqi_bytes repaired = {0};
  clq_status status = CLQ_OK;
  if (clqi_utf8_valid_length(text, length) != length) {
    CLQI_TRY_CLEAN(clqi_utf8_repair(text, length, &repaired));
    text = repaired.data;
    length = repaired.length;
  }
  CLQI_TRY_CLEAN(split(&e, &t->specials, (clqi_text){text, length}, encode_normalized));

cleanup:
  clqi_bytes_free(&repaired);
  clqi_bytes_free(&e.normalized);
  return status;
}

/* --- Templates. -------------------------------------------------------------- */

static int64_t own_tokens(const clqi_template *form) {
  int64_t count = 0;
  for (size_t i = 0; i < form->count; ++i) {
    count += form->parts[i].kind == CLQI_TEMPLATE_TOKEN;
  }
  return count;
}

static int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }

/* At most so many ids of both, the longer one giving way first; where both do, the second one keeps
 * the odd id if it is not the shorter one. */
static void shorten(int64_t most, clq_tokens texts[2]) {
  int64_t *shorter = &texts[0].count;
  int64_t *longer = &texts[1].count;
  if (texts[0].count > texts[1].count) {
    shorter = &texts[1].count;
    longer = &texts[0].count;
  }
  if (*shorter <= most - *longer) {
    return;
  }
  *shorter = least(*shorter, most / 2);
  *longer = most - *shorter;
}

static clq_status append_ids(const int32_t *ids, int64_t count, int32_t type, clq_tokens *tokens,
                             clq_tokens *types) {
  for (int64_t i = 0; i < count; ++i) {
    CLQI_TRY(clqi_tokens_append(tokens, ids[i]));
    if (types != NULL) {
      CLQI_TRY(clqi_tokens_append(types, type));
    }
  }
  return CLQ_OK;
}

static clq_status fill_template(const clqi_template *form, const clq_tokens texts[2],
                                clq_tokens *tokens, clq_tokens *types) {
  for (size_t i = 0; i < form->count; ++i) {
    const clqi_template_part *part = &form->parts[i];
    const clq_tokens *text = &texts[part->kind == CLQI_TEMPLATE_SECOND];
    const int32_t id = (int32_t)part->id;
    const bool own = part->kind == CLQI_TEMPLATE_TOKEN;
    CLQI_TRY(append_ids(own ? &id : text->ids, own ? 1 : text->count, part->type, tokens, types));
  }
  return CLQ_OK;
}

clq_status clqi_wordpiece_encode_pair(const clqi_tokenizer *t, clqi_text text,
                                      const clqi_text *pair, int64_t most, unsigned flags,
                                      clq_tokens *tokens, clq_tokens *types) {
  const clqi_template *form = pair == NULL ? &t->wordpiece->single : &t->wordpiece->pair;
  const int64_t own = own_tokens(form);
  if (form->count == 0) {
    return clqi_fail(CLQ_UNSUPPORTED, "tokenizer: the file has no template for %s",
                     pair == NULL ? "a text" : "a pair of texts");
  }
  CLQI_REQUIRE(most >= own, "tokenizer: most is %lld ids, the template alone has %lld",
               (long long)most, (long long)own);
  clq_tokens texts[2] = {{0}, {0}};
  clq_status status = CLQ_OK;
  CLQI_TRY_CLEAN(clqi_wordpiece_encode(t, text.data, text.length, flags, &texts[0]));
  if (pair != NULL) {
    CLQI_TRY_CLEAN(clqi_wordpiece_encode(t, pair->data, pair->length, flags, &texts[1]));
  }
  shorten(most - own, texts);
  status = fill_template(form, texts, tokens, types);

cleanup:
  clqi_free(texts[0].ids);
  clqi_free(texts[1].ids);
  return status;
}
