/* Text to ids, and what is known of a token. */
#include "io/tokenizer.h"

#include <string.h>

#include "io/tokenizer_private.h"
#include "io/utf8.h"
#include "io/wordpiece.h"
#include "runtime/array.h"
#include "runtime/checked.h"
#include "runtime/memory.h"
#include "runtime/status.h"

/* Positions inside a piece are 32-bit, and repair may triple the length. */
#define MAX_TEXT_BYTES ((size_t)1 << 30)

static clq_status reserve(clq_tokens *tokens, int64_t more) {
  const clq_status status =
      clqi_array_reserve(&tokens->ids, tokens->count, more, &tokens->capacity, sizeof *tokens->ids);
  return status == CLQ_OK ? CLQ_OK : clqi_fail_prefix(status, "tokenizer: tokens");
}

clq_status clqi_tokens_append(clq_tokens *tokens, int32_t id) {
  CLQI_TRY(reserve(tokens, 1));
  tokens->ids[tokens->count++] = id;
  return CLQ_OK;
}

/* --- Plain text. ------------------------------------------------------------- */

/* What one call of encode works with. */
typedef struct encoder {
  const clqi_tokenizer *t;
  clq_tokens *tokens;
  clqi_pretokenizer_scan *scan;
  clqi_bpe_scratch scratch;
  clqi_bytes repaired;
} encoder;

static clq_status encode_piece(encoder *e, const char *piece, size_t length) {
  const clqi_tokenizer *t = e->t;
  CLQI_TRY(reserve(e->tokens, (int64_t)length));
  int32_t *ids = e->tokens->ids + e->tokens->count;
  if (t->whole != NULL) {
    const int32_t id = clqi_tokenizer_find_whole(t, (clqi_text){piece, length});
    if (id >= 0) {
      ids[0] = id;
      ++e->tokens->count;
      return CLQ_OK;
    }
  }
  size_t count = 0;
  for (size_t i = 0; i < length; ++i) {
    const int32_t id = t->byte_ids[(uint8_t)piece[i]];
    if (id >= 0) {
      ids[count++] = id;
    }
  }
  CLQI_TRY(clqi_bpe_merge(&t->rules, &e->scratch, ids, count, &count));
  e->tokens->count += (int64_t)count;
  return CLQ_OK;
}

static clq_status encode_plain(encoder *e, const char *text, size_t length) {
  if (clqi_utf8_valid_length(text, length) != length) {
    e->repaired.length = 0;
    CLQI_TRY(clqi_utf8_repair(text, length, &e->repaired));
    text = e->repaired.data;
    length = e->repaired.length;
  }
  size_t start = 0;
  while (start < length) {
    size_t end = 0;
    CLQI_TRY(clqi_pretokenizer_next(e->scan, text, length, start, &end));
    CLQI_TRY(encode_piece(e, text + start, end - start));
    start = end;
  }
  return CLQ_OK;
}

/* --- Special tokens. --------------------------------------------------------- */

/* Encodes [*plain, at) and the token that stands at `at`, moves *plain behind it. */
static clq_status encode_special(encoder *e, const char *text, size_t *plain, size_t at,
                                 int32_t id) {
  CLQI_TRY(encode_plain(e, text + *plain, at - *plain));
  CLQI_TRY(clqi_tokens_append(e->tokens, id));
  *plain = at + clqi_token_bytes(e->t, id).length;
  return CLQ_OK;
}

static clq_status encode_parts(encoder *e, const char *text, size_t length,
                               const clqi_text_part *parts, size_t part_count) {
  size_t plain = 0; /* where the plain text that is not yet encoded begins */
  size_t begin = 0;
  for (size_t part = 0; part < part_count; ++part) {
    const size_t end = begin + parts[part].length;
    for (size_t at = begin; parts[part].special && at < end;) {
      const clqi_text_entry *special =
          clqi_text_index_longest(&e->t->specials, (clqi_text){text + at, end - at});
      if (special == NULL) {
        ++at;
        continue;
      }
      CLQI_TRY(encode_special(e, text, &plain, at, special->id));
      at = plain;
    }
    begin = end;
  }
  return encode_plain(e, text + plain, length - plain);
}

static clq_status encode_wordpiece(const clqi_tokenizer *t, const char *text, size_t length,
                                   const clqi_text_part *parts, size_t part_count, unsigned flags,
                                   clq_tokens *tokens) {
  if (part_count > 1) {
    return clqi_fail(CLQ_UNSUPPORTED, "tokenizer: WordPiece takes a text of one part, not of %zu",
                     part_count);
  }
  const bool special = part_count == 1 && parts[0].special;
  const unsigned rest = flags & ~(unsigned)CLQ_ENCODE_SPECIAL;
  return clqi_wordpiece_encode(t, text, length, rest | (special ? CLQ_ENCODE_SPECIAL : 0u), tokens);
}

clq_status clqi_tokenizer_encode_parts(const clqi_tokenizer *t, const char *text, size_t length,
                                       const clqi_text_part *parts, size_t part_count,
                                       unsigned flags, clq_tokens *tokens) {
  CLQI_REQUIRE(t != NULL && tokens != NULL && (text != NULL || length == 0),
               "tokenizer: an argument is NULL");
  CLQI_REQUIRE(length <= MAX_TEXT_BYTES, "tokenizer: text has %zu bytes, at most %zu at once",
               length, MAX_TEXT_BYTES);
  size_t total = 0;
  for (size_t i = 0; i < part_count; ++i) {
    CLQI_REQUIRE(clqi_add_size(total, parts[i].length, &total), "tokenizer: parts overflow");
  }
  CLQI_REQUIRE(total == length, "tokenizer: parts have %zu bytes, the text %zu", total, length);

  text = text == NULL ? "" : text;
  const int64_t count_before = tokens->count;
  encoder e = {.t = t, .tokens = tokens};
  clq_status status = CLQ_OK;
  if (t->wordpiece != NULL) {
    status = encode_wordpiece(t, text, length, parts, part_count, flags, tokens);
    goto cleanup;
  }
  CLQI_TRY_CLEAN(clqi_pretokenizer_scan_create(t->pre, &e.scan));
  if ((flags & CLQ_ENCODE_BOS) != 0 && t->add_bos) {
    CLQI_TRY_CLEAN(clqi_tokens_append(tokens, t->bos));
  }
  CLQI_TRY_CLEAN(encode_parts(&e, text, length, parts, part_count));

cleanup:
  if (status != CLQ_OK) {
    tokens->count = count_before;
  }
  clqi_bytes_free(&e.repaired);
  clqi_bpe_scratch_free(&e.scratch);
  clqi_pretokenizer_scan_destroy(e.scan);
  return status;
}

clq_status clqi_tokenizer_encode(const clqi_tokenizer *t, const char *text, size_t length,
                                 unsigned flags, clq_tokens *tokens) {
  const clqi_text_part whole = {length, (flags & CLQ_ENCODE_SPECIAL) != 0};
  return clqi_tokenizer_encode_parts(t, text, length, &whole, 1, flags, tokens);
}

clq_status clqi_tokenizer_encode_pair(const clqi_tokenizer *t, clqi_text text,
                                      const clqi_text *pair, int64_t most, unsigned flags,
                                      clq_tokens *tokens, clq_tokens *types) {
  CLQI_REQUIRE(t != NULL && tokens != NULL, "tokenizer: an argument is NULL");
  const size_t longer = pair == NULL || pair->length < text.length ? text.length : pair->length;
  CLQI_REQUIRE(longer <= MAX_TEXT_BYTES, "tokenizer: text has %zu bytes, at most %zu at once",
               longer, MAX_TEXT_BYTES);
  if (t->wordpiece == NULL) {
    return clqi_fail(CLQ_UNSUPPORTED,
                     "tokenizer: it has no template for encoders, expected one with WordPiece");
  }
  const int64_t tokens_before = tokens->count;
  const int64_t types_before = types == NULL ? 0 : types->count;
  const clq_status status = clqi_wordpiece_encode_pair(t, text, pair, most, flags, tokens, types);
  if (status != CLQ_OK) {
    tokens->count = tokens_before;
    if (types != NULL) {
      types->count = types_before;
    }
  }
  return status;
}

/* --- What is known of a token. ----------------------------------------------- */

size_t clqi_tokenizer_size(const clqi_tokenizer *t) { return (size_t)t->count; }
int32_t clqi_tokenizer_bos(const clqi_tokenizer *t) { return t->bos; }
int32_t clqi_tokenizer_eos(const clqi_tokenizer *t) { return t->eos; }
int32_t clqi_tokenizer_unk(const clqi_tokenizer *t) { return t->unk; }
int32_t clqi_tokenizer_pad(const clqi_tokenizer *t) { return t->pad; }
bool clqi_tokenizer_adds_bos(const clqi_tokenizer *t) { return t->add_bos; }

int32_t clqi_tokenizer_special(const clqi_tokenizer *t, clqi_text text) {
  const clqi_text_entry *special = clqi_text_index_find(&t->specials, text);
  return special == NULL ? -1 : special->id;
}

static bool in_range(const clqi_tokenizer *t, int32_t id) { return id >= 0 && id < t->count; }

bool clqi_tokenizer_is_control(const clqi_tokenizer *t, int32_t id) {
  return in_range(t, id) && clqi_token_type_of(t, id) == CLQI_TOKEN_CONTROL;
}

bool clqi_tokenizer_is_end(const clqi_tokenizer *t, int32_t id) {
  return in_range(t, id) && (t->types[id] & CLQI_TOKEN_ENDS) != 0;
}

clq_status clqi_tokenizer_piece(const clqi_tokenizer *t, int32_t id, clqi_text *piece) {
  CLQI_REQUIRE(in_range(t, id), "tokenizer: token id is %d, expected 0 to %d", (int)id,
               (int)t->count - 1);
  *piece = clqi_token_bytes(t, id);
  return CLQ_OK;
}
