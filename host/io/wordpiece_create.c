/* Builds a WordPiece tokenizer from a vocabulary that is not trusted. */
#include <string.h>

#include "io/utf8.h"
#include "io/wordpiece.h"
#include "io/wordpiece_private.h"
#include "runtime/checked.h"
#include "runtime/memory.h"
#include "runtime/status.h"

/* Added tokens are looked for at every place of a text: a long one would cost its length there. */
enum { MAX_ADDED_BYTES = 1024 };

static clq_status out_of_memory(const char *what) {
  return clqi_fail(CLQ_OUT_OF_HOST_MEMORY, "tokenizer: out of memory for the %s", what);
}

clqi_wordpiece_desc clqi_wordpiece_defaults(void) {
  return (clqi_wordpiece_desc){.rules = {true, true, true, true},
                               .unk = clqi_text_of("[UNK]"),
                               .prefix = clqi_text_of("##"),
                               .max_chars = 100,
                               .cleanup = true,
                               .pad = -1};
}

void clqi_wordpiece_bert_templates(clqi_wordpiece_desc *desc, int64_t cls, int64_t sep) {
  const clqi_template_part parts[] = {
      {CLQI_TEMPLATE_TOKEN, cls, 0}, {CLQI_TEMPLATE_FIRST, -1, 0},  {CLQI_TEMPLATE_TOKEN, sep, 0},
      {CLQI_TEMPLATE_SECOND, -1, 1}, {CLQI_TEMPLATE_TOKEN, sep, 1},
  };
  memcpy(desc->single.parts, parts, 3 * sizeof *parts);
  desc->single.count = 3;
  memcpy(desc->pair.parts, parts, sizeof parts);
  desc->pair.count = 5;
}

/* What a call works with. */
typedef struct builder {
  const clqi_wordpiece_desc *desc;
  clqi_tokenizer *t;
  clqi_wordpiece *w;
  clqi_text_entry *entries; /* room for all tokens */
  size_t used;              /* of the tokens' bytes */
} builder;

/* --- Texts. ------------------------------------------------------------------ */

static clq_status check_text(clqi_text text, size_t id) {
  if (text.length == 0) {
    return clqi_fail(CLQ_BAD_FILE, "tokenizer: token %zu is empty", id);
  }
  if (clqi_utf8_valid_length(text.data, text.length) != text.length) {
    return clqi_fail(CLQ_BAD_FILE, "tokenizer: token %zu, \"%s\", is not valid UTF-8", id,
                     clqi_excerpt_of(text).text);
  }
  return CLQ_OK;
}

static clq_status add_text(builder *b, clqi_text text) {
  clqi_tokenizer *t = b->t;
  CLQI_TRY(check_text(text, (size_t)t->count));
  memcpy(t->bytes + b->used, text.data, text.length);
  b->used += text.length;
  t->types[t->count++] = CLQI_TOKEN_NORMAL;
  t->offsets[t->count] = (uint32_t)b->used;
  return CLQ_OK;
}

static clq_status allocate(builder *b) {
  const clqi_wordpiece_desc *desc = b->desc;
  size_t bytes = 1;
  size_t count = 0;
  if (desc->token_count == 0 || !clqi_add_size(desc->token_count, desc->added_count, &count) ||
      count > INT32_MAX / 2) {
    return clqi_fail(CLQ_BAD_FILE, "tokenizer: %zu tokens, expected 1 to %d", desc->token_count,
                     INT32_MAX / 2);
  }
  for (size_t i = 0; i < count; ++i) {
    const size_t length = i < desc->token_count ? desc->tokens[i].length
                                                : desc->added[i - desc->token_count].text.length;
    if (!clqi_add_size(bytes, length, &bytes) || bytes > UINT32_MAX) {
      return clqi_fail(CLQ_BAD_FILE, "tokenizer: the tokens' text is longer than 4 GiB");
    }
  }
  b->t->bytes = clqi_malloc(bytes);
  b->t->offsets = clqi_calloc(count + 1, sizeof *b->t->offsets);
  b->t->types = clqi_calloc(count, sizeof *b->t->types);
  b->entries = clqi_calloc(count, sizeof *b->entries);
  return b->t->bytes == NULL || b->t->offsets == NULL || b->t->types == NULL || b->entries == NULL
             ? out_of_memory("vocabulary")
             : CLQ_OK;
}

/* --- The model. -------------------------------------------------------------- */

static clq_status check_twice(const clqi_text_index *index, size_t count) {
  for (size_t i = 1; i < count; ++i) {
    const clqi_text_entry *a = &index->entries[i - 1];
    if (clqi_text_equal(a->text, index->entries[i].text)) {
      return clqi_fail(CLQ_BAD_FILE, "tokenizer: tokens %d and %d are both \"%s\"", (int)a->id,
                       (int)index->entries[i].id, clqi_excerpt_of(a->text).text);
    }
  }
  return CLQ_OK;
}

/* Behind the prefix; NULL data for a token that does not begin with it or has nothing else. */
static clqi_text rest_of(clqi_text text, clqi_text prefix) {
  if (text.length <= prefix.length || memcmp(text.data, prefix.data, prefix.length) != 0) {
    return (clqi_text){0};
  }
  return (clqi_text){text.data + prefix.length, text.length - prefix.length};
}

static clq_status index_model(builder *b) {
  const clqi_text prefix = {b->desc->prefix.data == NULL ? "" : b->desc->prefix.data,
                            b->desc->prefix.length};
  const size_t all = b->desc->token_count;
  size_t rests = 0;
  for (size_t i = 0; i < all; ++i) {
    b->entries[i] = (clqi_text_entry){clqi_token_bytes(b->t, (int32_t)i), (int32_t)i};
  }
  CLQI_TRY(clqi_text_index_create(b->entries, all, "vocabulary", &b->w->starts));
  CLQI_TRY(check_twice(&b->w->starts, all));
  for (size_t i = 0; i < all; ++i) {
    const clqi_text rest = rest_of(b->entries[i].text, prefix);
    if (rest.data != NULL) {
      b->entries[rests++] = (clqi_text_entry){rest, (int32_t)i};
    }
  }
  return clqi_text_index_create(b->entries, rests, "vocabulary", &b->w->rests);
}

static clq_status add_model(builder *b) {
  for (size_t i = 0; i < b->desc->token_count; ++i) {
    CLQI_TRY(add_text(b, b->desc->tokens[i]));
  }
  CLQI_TRY(index_model(b));
  const clqi_text_entry *unk = clqi_text_index_find(&b->w->starts, b->desc->unk);
  if (unk == NULL) {
    return clqi_fail(CLQ_BAD_FILE, "tokenizer: the unknown token \"%s\" is not in the vocabulary",
                     clqi_excerpt_of(b->desc->unk).text);
  }
  b->t->unk = unk->id;
  return CLQ_OK;
}

/* --- Added tokens. ----------------------------------------------------------- */

/* The model's id, or for one that the model does not have the next. */
static clq_status add_added(builder *b, const clqi_added_token *added) {
  CLQI_TRY(check_text(added->text, (size_t)b->t->count));
  if (added->text.length > MAX_ADDED_BYTES) {
    return clqi_fail(CLQ_UNSUPPORTED, "tokenizer: the added token \"%s\" has %zu bytes, at most %d",
                     clqi_excerpt_of(added->text).text, added->text.length, MAX_ADDED_BYTES);
  }
  const clqi_text_entry *own = clqi_text_index_find(&b->w->starts, added->text);
  const int32_t id = own == NULL ? b->t->count : own->id;
  if (added->id != id) {
    return clqi_fail(CLQ_BAD_FILE, "tokenizer: the added token \"%s\" has id %lld, expected %d",
                     clqi_excerpt_of(added->text).text, (long long)added->id, (int)id);
  }
  if (own == NULL) {
    CLQI_TRY(add_text(b, added->text));
  } else if (b->t->types[id] != CLQI_TOKEN_NORMAL) {
    return clqi_fail(CLQ_BAD_FILE, "tokenizer: the token \"%s\" is added twice",
                     clqi_excerpt_of(added->text).text);
  }
  b->t->types[id] =
      (uint8_t)((unsigned)(added->special ? CLQI_TOKEN_CONTROL : CLQI_TOKEN_USER_DEFINED) |
                (added->lstrip ? CLQI_TOKEN_LSTRIP : 0u) |
                (added->rstrip ? CLQI_TOKEN_RSTRIP : 0u));
  return CLQ_OK;
}

static clq_status index_plain(builder *b) {
  size_t count = 0;
  for (size_t i = 0; i < b->desc->added_count; ++i) {
    const int32_t id = (int32_t)b->desc->added[i].id;
    if (!b->desc->added[i].normalized) {
      b->entries[count++] = (clqi_text_entry){clqi_token_bytes(b->t, id), id};
    }
  }
  CLQI_TRY(clqi_text_index_create(b->entries, count, "added tokens", &b->t->specials));
  return check_twice(&b->t->specials, count);
}

/* First all texts, for the bytes move as they grow; then what points to them. Of two that the rules
 * make alike, the special ones come first, as in the package. */
static clq_status index_normalized(builder *b) {
  clqi_bytes *texts = &b->w->normalized_texts;
  size_t count = 0;
  for (int special = 1; special >= 0; --special) {
    for (size_t i = 0; i < b->desc->added_count; ++i) {
      const clqi_added_token *added = &b->desc->added[i];
      const size_t before = texts->length;
      if (!added->normalized || added->special != (special != 0)) {
        continue;
      }
      CLQI_TRY(clqi_bert_normalize(&b->w->rules, added->text.data, added->text.length, texts));
      if (texts->length == before) {
        return clqi_fail(
            CLQ_BAD_FILE,
            "tokenizer: nothing is left of the added token \"%s\" when it is normalized",
            clqi_excerpt_of(added->text).text);
      }
      b->entries[count++] = (clqi_text_entry){{NULL, texts->length - before}, (int32_t)added->id};
    }
  }
  size_t at = 0;
  for (size_t i = 0; i < count; ++i) {
    b->entries[i].text.data = texts->data + at;
    at += b->entries[i].text.length;
  }
  return clqi_text_index_create(b->entries, count, "added tokens", &b->w->normalized);
}

static clq_status add_all_added(builder *b) {
  for (size_t i = 0; i < b->desc->added_count; ++i) {
    CLQI_TRY(add_added(b, &b->desc->added[i]));
  }
  CLQI_TRY(index_plain(b));
  return index_normalized(b);
}

/* --- The rest. --------------------------------------------------------------- */

/* One place for each text: what may come out of `most` ids is computed from that. */
static clq_status copy_template(const builder *b, const clqi_template *form, const char *name,
                                size_t texts, clqi_template *out) {
  size_t places[2] = {0, 0};
  *out = *form;
  for (size_t i = 0; i < form->count; ++i) {
    const clqi_template_part *part = &form->parts[i];
    if (part->kind != CLQI_TEMPLATE_TOKEN) {
      ++places[part->kind == CLQI_TEMPLATE_SECOND];
    } else if (part->id < 0 || part->id >= b->t->count) {
      return clqi_fail(CLQ_BAD_FILE,
                       "tokenizer: the template for %s has token %lld, the vocabulary has %d", name,
                       (long long)part->id, (int)b->t->count);
    }
  }
  if (form->count > 0 && (places[0] != 1 || places[1] != texts - 1)) {
    return clqi_fail(CLQ_UNSUPPORTED, "tokenizer: the template for %s does not hold %s once", name,
                     texts == 1 ? "the text" : "each text");
  }
  return CLQ_OK;
}

static clq_status add_settings(builder *b) {
  const clqi_wordpiece_desc *desc = b->desc;
  if (desc->max_chars < 1 || desc->max_chars > CLQI_WORDPIECE_MAX_CHARS) {
    return clqi_fail(CLQ_UNSUPPORTED,
                     "tokenizer: max_input_chars_per_word is %lld, expected 1 to %d",
                     (long long)desc->max_chars, CLQI_WORDPIECE_MAX_CHARS);
  }
  if (desc->pad < -1 || desc->pad >= b->t->count) {
    return clqi_fail(CLQ_BAD_FILE,
                     "tokenizer: the padding token is token %lld, the vocabulary has %d",
                     (long long)desc->pad, (int)b->t->count);
  }
  b->t->pad = (int32_t)desc->pad;
  b->w->max_chars = (size_t)desc->max_chars;
  b->w->cleanup = desc->cleanup;
  CLQI_TRY(clqi_bytes_append(&b->w->decoder_prefix, desc->decoder_prefix.data,
                             desc->decoder_prefix.length));
  CLQI_TRY(copy_template(b, &desc->single, "a text", 1, &b->w->single));
  return copy_template(b, &desc->pair, "a pair of texts", 2, &b->w->pair);
}

clq_status clqi_wordpiece_create(const clqi_wordpiece_desc *desc, clqi_tokenizer **out) {
  CLQI_REQUIRE(out != NULL && desc != NULL, "tokenizer: an argument is NULL");
  *out = NULL;
  clq_status status = CLQ_OK;
  builder b = {.desc = desc};
  b.t = clqi_calloc(1, sizeof *b.t);
  b.w = clqi_calloc(1, sizeof *b.w);
  if (b.t == NULL || b.w == NULL) {
    clqi_free(b.w);
    status = out_of_memory("tokenizer");
    goto cleanup;
  }
  b.t->wordpiece = b.w;
  b.t->bos = b.t->eos = b.t->eot = b.t->unk = b.t->pad = -1;
  b.w->rules = desc->rules;
  CLQI_TRY_CLEAN(allocate(&b));
  CLQI_TRY_CLEAN(add_model(&b));
  CLQI_TRY_CLEAN(add_all_added(&b));
  CLQI_TRY_CLEAN(add_settings(&b));
  *out = b.t;
  b.t = NULL;

cleanup:
  clqi_free(b.entries);
  clqi_tokenizer_destroy(b.t);
  return status;
}

void clqi_wordpiece_destroy(clqi_wordpiece *w) {
  if (w == NULL) {
    return;
  }
  clqi_text_index_destroy(&w->starts);
  clqi_text_index_destroy(&w->rests);
  clqi_text_index_destroy(&w->normalized);
  clqi_bytes_free(&w->normalized_texts);
  clqi_bytes_free(&w->decoder_prefix);
  clqi_free(w);
}
