/* tokenizer.json of the `tokenizers` package, as far as BERT's kind goes. Objects stand in any
 * order, so what they say is kept until all of it is there. */
#include <stdio.h>
#include <string.h>

#include "io/folder_tokenizer.h"
#include "io/json.h"
#include "io/wordpiece.h"
#include "runtime/array.h"
#include "runtime/memory.h"

enum { MAX_SPECIALS = 16 };

/* A token of the model's vocabulary. Texts lie in the JSON's own. */
typedef struct vocab_entry {
  clqi_text text;
  int32_t id;
} vocab_entry;

/* Names in a template, and what ids they have. */
typedef struct named_id {
  const char *name;
  int64_t id;
} named_id;

typedef struct raw_template {
  clqi_template form;
  const char *names[CLQI_TEMPLATE_MAX_PARTS]; /* of its tokens */
} raw_template;

typedef struct reader {
  clqi_json json;
  clqi_wordpiece_desc desc;
  vocab_entry *vocab;
  int64_t vocab_count;
  int64_t vocab_capacity;
  clqi_text *tokens; /* vocab, by ids */
  clqi_added_token *added;
  int64_t added_count;
  int64_t added_capacity;
  bool has_model;
  bool has_pre_tokenizer;
  bool strips_said; /* strip_accents is true or false, not null */
  raw_template single;
  raw_template pair;
  named_id specials[MAX_SPECIALS];
  size_t special_count;
  named_id cls; /* of BertProcessing */
  named_id sep;
} reader;

/* --- Parts of JSON. ---------------------------------------------------------- */

typedef clq_status (*key_fn)(reader *r, const char *key);

static void set_what(reader *r, const char *what) {
  (void)snprintf(r->json.what, sizeof r->json.what, "%s", what);
}

/* Gives every key to `take`, which reads or skips its value. */
static clq_status read_object(reader *r, const char *what, key_fn take) {
  const char *key = NULL;
  set_what(r, what);
  CLQI_TRY(clqi_json_enter_object(&r->json));
  for (;;) {
    set_what(r, what);
    CLQI_TRY(clqi_json_next_key(&r->json, &key));
    if (key == NULL) {
      return CLQ_OK;
    }
    CLQI_TRY(take(r, key));
  }
}

/* True, and skipped, where there is null. */
static clq_status skip_null(reader *r, bool *null) {
  clqi_json_kind kind = CLQI_JSON_NULL;
  CLQI_TRY(clqi_json_peek(&r->json, &kind));
  *null = kind == CLQI_JSON_NULL;
  return *null ? clqi_json_skip(&r->json) : CLQ_OK;
}

static clq_status read_text(reader *r, clqi_text *out) {
  const char *text = NULL;
  CLQI_TRY(clqi_json_string(&r->json, &text));
  *out = clqi_text_of(text);
  return CLQ_OK;
}

static clq_status read_id(reader *r, int64_t *out) {
  return clqi_json_integer(&r->json, 0, INT32_MAX, out);
}

static bool is(const char *key, const char *name) { return strcmp(key, name) == 0; }

/* The value of a part's key "type", which must be what is offered. */
static clq_status read_type(reader *r, const char *part, const char *offered) {
  const char *type = NULL;
  CLQI_TRY(clqi_json_string(&r->json, &type));
  if (is(type, offered)) {
    return CLQ_OK;
  }
  return clqi_fail(CLQ_UNSUPPORTED, "%s: %s type is %s, expected %s", r->json.name, part,
                   clqi_excerpt_of(clqi_text_of(type)).text, offered);
}

/* --- The model. -------------------------------------------------------------- */

static clq_status take_token(reader *r, const char *key) {
  int64_t id = 0;
  CLQI_TRY(read_id(r, &id));
  CLQI_TRY(clqi_array_reserve(&r->vocab, r->vocab_count, 1, &r->vocab_capacity, sizeof *r->vocab));
  r->vocab[r->vocab_count++] = (vocab_entry){clqi_text_of(key), (int32_t)id};
  return CLQ_OK;
}

static clq_status take_model(reader *r, const char *key) {
  if (is(key, "type")) {
    return read_type(r, "model", "WordPiece");
  }
  if (is(key, "unk_token")) {
    return read_text(r, &r->desc.unk);
  }
  if (is(key, "continuing_subword_prefix")) {
    return read_text(r, &r->desc.prefix);
  }
  if (is(key, "max_input_chars_per_word")) {
    return clqi_json_integer(&r->json, 0, CLQI_JSON_MAX_INTEGER, &r->desc.max_chars);
  }
  return is(key, "vocab") ? read_object(r, "the model's vocab", take_token)
                          : clqi_json_skip(&r->json);
}

/* --- Added tokens. ----------------------------------------------------------- */

static clq_status take_added(reader *r, const char *key) {
  clqi_added_token *added = &r->added[r->added_count - 1];
  bool single_word = false;
  if (is(key, "id")) {
    return read_id(r, &added->id);
  }
  if (is(key, "content")) {
    return read_text(r, &added->text);
  }
  if (is(key, "special")) {
    return clqi_json_bool(&r->json, &added->special);
  }
  if (is(key, "lstrip")) {
    return clqi_json_bool(&r->json, &added->lstrip);
  }
  if (is(key, "rstrip")) {
    return clqi_json_bool(&r->json, &added->rstrip);
  }
  if (is(key, "normalized")) {
    return clqi_json_bool(&r->json, &added->normalized);
  }
  if (!is(key, "single_word")) {
    return clqi_json_skip(&r->json);
  }
  CLQI_TRY(clqi_json_bool(&r->json, &single_word));
  return !single_word ? CLQ_OK
                      : clqi_fail(CLQ_UNSUPPORTED,
                                  "%s: an added token has single_word, expected tokens without it",
                                  r->json.name);
}

static clq_status read_added(reader *r) {
  bool more = false;
  set_what(r, "added_tokens");
  CLQI_TRY(clqi_json_enter_array(&r->json));
  for (;;) {
    set_what(r, "added_tokens");
    CLQI_TRY(clqi_json_next_item(&r->json, &more));
    if (!more) {
      return CLQ_OK;
    }
    CLQI_TRY(
        clqi_array_reserve(&r->added, r->added_count, 1, &r->added_capacity, sizeof *r->added));
    r->added[r->added_count++] = (clqi_added_token){.id = -1};
    CLQI_TRY(read_object(r, "an added token", take_added));
  }
}

/* --- Text's rules. ----------------------------------------------------------- */

static clq_status take_normalizer(reader *r, const char *key) {
  clqi_bert_rules *rules = &r->desc.rules;
  bool null = false;
  if (is(key, "type")) {
    return read_type(r, "normalizer", "BertNormalizer");
  }
  if (is(key, "clean_text")) {
    return clqi_json_bool(&r->json, &rules->clean_text);
  }
  if (is(key, "handle_chinese_chars")) {
    return clqi_json_bool(&r->json, &rules->chinese_chars);
  }
  if (is(key, "lowercase")) {
    return clqi_json_bool(&r->json, &rules->lowercase);
  }
  if (!is(key, "strip_accents")) {
    return clqi_json_skip(&r->json);
  }
  CLQI_TRY(skip_null(r, &null));
  r->strips_said = !null;
  return null ? CLQ_OK : clqi_json_bool(&r->json, &rules->strip_accents);
}

static clq_status take_pre_tokenizer(reader *r, const char *key) {
  if (!is(key, "type")) {
    return clqi_json_skip(&r->json);
  }
  r->has_pre_tokenizer = true;
  return read_type(r, "pre_tokenizer", "BertPreTokenizer");
}

static clq_status take_decoder(reader *r, const char *key) {
  if (is(key, "type")) {
    return read_type(r, "decoder", "WordPiece");
  }
  if (is(key, "prefix")) {
    return read_text(r, &r->desc.decoder_prefix);
  }
  return is(key, "cleanup") ? clqi_json_bool(&r->json, &r->desc.cleanup) : clqi_json_skip(&r->json);
}

static clq_status take_padding(reader *r, const char *key) {
  return is(key, "pad_id") ? read_id(r, &r->desc.pad) : clqi_json_skip(&r->json);
}

/* --- Templates. -------------------------------------------------------------- */

static clq_status add_part(reader *r, raw_template *of, clqi_template_part part, const char *name) {
  if (of->form.count == CLQI_TEMPLATE_MAX_PARTS) {
    return clqi_fail(CLQ_UNSUPPORTED, "%s: a template has more than %d parts", r->json.name,
                     CLQI_TEMPLATE_MAX_PARTS);
  }
  of->names[of->form.count] = name;
  of->form.parts[of->form.count++] = part;
  return CLQ_OK;
}

/* {"id": "A", "type_id": 0} */
static clq_status read_place(reader *r, const char **id, int64_t *type) {
  const char *key = NULL;
  *id = NULL;
  CLQI_TRY(clqi_json_enter_object(&r->json));
  for (;;) {
    CLQI_TRY(clqi_json_next_key(&r->json, &key));
    if (key == NULL) {
      return *id != NULL ? CLQ_OK : clqi_json_refuse(&r->json, "%s has no id", r->json.what);
    }
    CLQI_TRY(is(key, "id")        ? clqi_json_string(&r->json, id)
             : is(key, "type_id") ? read_id(r, type)
                                  : clqi_json_skip(&r->json));
  }
}

/* {"Sequence": place} or {"SpecialToken": place} */
static clq_status read_part(reader *r, raw_template *of) {
  const char *kind = NULL;
  const char *id = NULL;
  const char *end = NULL;
  int64_t type = 0;
  CLQI_TRY(clqi_json_enter_object(&r->json));
  CLQI_TRY(clqi_json_next_key(&r->json, &kind));
  if (kind == NULL || (!is(kind, "Sequence") && !is(kind, "SpecialToken"))) {
    return clqi_json_refuse(&r->json, "a part of %s is neither Sequence nor SpecialToken",
                            r->json.what);
  }
  CLQI_TRY(read_place(r, &id, &type));
  const bool sequence = is(kind, "Sequence");
  if (sequence && !is(id, "A") && !is(id, "B")) {
    return clqi_json_refuse(&r->json, "%s has the sequence '%s', expected A or B", r->json.what,
                            clqi_excerpt_of(clqi_text_of(id)).text);
  }
  const clqi_template_kind text = is(id, "A") ? CLQI_TEMPLATE_FIRST : CLQI_TEMPLATE_SECOND;
  const clqi_template_part part = {.kind = sequence ? text : CLQI_TEMPLATE_TOKEN,
                                   .type = (int32_t)type};
  CLQI_TRY(add_part(r, of, part, sequence ? NULL : id));
  CLQI_TRY(clqi_json_next_key(&r->json, &end));
  return end == NULL ? CLQ_OK : clqi_json_refuse(&r->json, "a part of %s is two", r->json.what);
}

static clq_status read_template(reader *r, const char *what, raw_template *of) {
  bool more = false;
  set_what(r, what);
  CLQI_TRY(clqi_json_enter_array(&r->json));
  for (;;) {
    CLQI_TRY(clqi_json_next_item(&r->json, &more));
    if (!more) {
      return CLQ_OK;
    }
    CLQI_TRY(read_part(r, of));
  }
}

/* An array of one id. */
static clq_status read_only_id(reader *r, int64_t *id) {
  bool more = false;
  CLQI_TRY(clqi_json_enter_array(&r->json));
  CLQI_TRY(clqi_json_next_item(&r->json, &more));
  if (more) {
    CLQI_TRY(read_id(r, id));
    CLQI_TRY(clqi_json_next_item(&r->json, &more));
    if (!more) {
      return CLQ_OK;
    }
  }
  return clqi_fail(CLQ_UNSUPPORTED, "%s: a special token of the template has no id or several",
                   r->json.name);
}

static clq_status take_special_ids(reader *r, const char *key) {
  return is(key, "ids") ? read_only_id(r, &r->specials[r->special_count - 1].id)
                        : clqi_json_skip(&r->json);
}

static clq_status take_special(reader *r, const char *key) {
  if (r->special_count == MAX_SPECIALS) {
    return clqi_fail(CLQ_UNSUPPORTED, "%s: the templates have more than %d special tokens",
                     r->json.name, MAX_SPECIALS);
  }
  r->specials[r->special_count++] = (named_id){key, -1};
  return read_object(r, "a special token of the template", take_special_ids);
}

/* ["[SEP]", 102] */
static clq_status read_named_id(reader *r, named_id *out) {
  bool more = false;
  CLQI_TRY(clqi_json_enter_array(&r->json));
  CLQI_TRY(clqi_json_next_item(&r->json, &more));
  CLQI_TRY(clqi_json_string(&r->json, &out->name));
  CLQI_TRY(clqi_json_next_item(&r->json, &more));
  CLQI_TRY(read_id(r, &out->id));
  CLQI_TRY(clqi_json_next_item(&r->json, &more));
  return !more ? CLQ_OK
               : clqi_json_refuse(&r->json, "%s has more than a name and an id", r->json.what);
}

static clq_status take_post_processor(reader *r, const char *key) {
  const char *type = NULL;
  if (is(key, "type")) {
    CLQI_TRY(clqi_json_string(&r->json, &type));
    return is(type, "TemplateProcessing") || is(type, "BertProcessing")
               ? CLQ_OK
               : clqi_fail(CLQ_UNSUPPORTED,
                           "%s: post_processor type is %s, expected TemplateProcessing or "
                           "BertProcessing",
                           r->json.name, clqi_excerpt_of(clqi_text_of(type)).text);
  }
  if (is(key, "single")) {
    return read_template(r, "the template for a text", &r->single);
  }
  if (is(key, "pair")) {
    return read_template(r, "the template for a pair", &r->pair);
  }
  if (is(key, "special_tokens")) {
    return read_object(r, "the templates' special_tokens", take_special);
  }
  if (is(key, "sep") || is(key, "cls")) {
    return read_named_id(r, is(key, "sep") ? &r->sep : &r->cls);
  }
  return clqi_json_skip(&r->json);
}

static clq_status name_ids(reader *r, raw_template *of, clqi_template *out) {
  *out = of->form;
  for (size_t i = 0; i < out->count; ++i) {
    const char *name = of->names[i];
    size_t at = 0;
    if (name == NULL) {
      continue;
    }
    while (at < r->special_count && !is(r->specials[at].name, name)) {
      ++at;
    }
    if (at == r->special_count || r->specials[at].id < 0) {
      return clqi_fail(CLQ_BAD_FILE, "%s: a template has the token '%s', which has no id",
                       r->json.name, clqi_excerpt_of(clqi_text_of(name)).text);
    }
    out->parts[i].id = r->specials[at].id;
  }
  return CLQ_OK;
}

static clq_status finish_templates(reader *r) {
  if (r->cls.name == NULL && r->sep.name == NULL) {
    CLQI_TRY(name_ids(r, &r->single, &r->desc.single));
    return name_ids(r, &r->pair, &r->desc.pair);
  }
  if (r->cls.name == NULL || r->sep.name == NULL || r->single.form.count + r->pair.form.count > 0) {
    return clqi_fail(CLQ_BAD_FILE, "%s: post_processor has not just cls and sep", r->json.name);
  }
  clqi_wordpiece_bert_templates(&r->desc, r->cls.id, r->sep.id);
  return CLQ_OK;
}

/* --- All of it. -------------------------------------------------------------- */

static clq_status take_root(reader *r, const char *key) {
  static const struct {
    const char *key;
    key_fn take;
  } parts[] = {
      {"normalizer", take_normalizer}, {"pre_tokenizer", take_pre_tokenizer},
      {"decoder", take_decoder},       {"post_processor", take_post_processor},
      {"padding", take_padding},
  };
  bool null = false;
  if (is(key, "model")) {
    r->has_model = true;
    return read_object(r, "the model", take_model);
  }
  if (is(key, "added_tokens")) {
    return read_added(r);
  }
  for (size_t i = 0; i < sizeof parts / sizeof *parts; ++i) {
    if (is(key, parts[i].key)) {
      CLQI_TRY(skip_null(r, &null));
      if (null && is(key, "normalizer")) {
        r->desc.rules = (clqi_bert_rules){0};
        r->strips_said = true;
      }
      return null ? CLQ_OK : read_object(r, key, parts[i].take);
    }
  }
  return clqi_json_skip(&r->json);
}

/* Each id from 0 to their number once. */
static clq_status order_vocab(reader *r) {
  const int64_t count = r->vocab_count;
  r->tokens = clqi_calloc((size_t)count + 1, sizeof *r->tokens);
  if (r->tokens == NULL) {
    return clqi_fail(CLQ_OUT_OF_HOST_MEMORY, "%s: no memory for %lld tokens", r->json.name,
                     (long long)count);
  }
  for (int64_t i = 0; i < count; ++i) {
    const vocab_entry *entry = &r->vocab[i];
    if (entry->id >= count) {
      return clqi_fail(CLQ_BAD_FILE, "%s: token \"%s\" has id %d, expected 0 to %lld", r->json.name,
                       clqi_excerpt_of(entry->text).text, (int)entry->id, (long long)count - 1);
    }
    if (r->tokens[entry->id].data != NULL) {
      return clqi_fail(CLQ_BAD_FILE, "%s: tokens \"%s\" and \"%s\" both have id %d", r->json.name,
                       clqi_excerpt_of(r->tokens[entry->id]).text,
                       clqi_excerpt_of(entry->text).text, (int)entry->id);
    }
    r->tokens[entry->id] = entry->text;
  }
  return CLQ_OK;
}

static clq_status check_parts(const reader *r) {
  if (!r->has_model || r->vocab_count == 0) {
    return clqi_fail(CLQ_BAD_FILE, "%s: it has no %s", r->json.name,
                     r->has_model ? "vocab in its model" : "model");
  }
  if (!r->has_pre_tokenizer) {
    return clqi_fail(CLQ_UNSUPPORTED, "%s: it has no pre_tokenizer, expected BertPreTokenizer",
                     r->json.name);
  }
  return CLQ_OK;
}

static clq_status read_root(reader *r) {
  CLQI_TRY(read_object(r, "the tokenizer", take_root));
  CLQI_TRY(clqi_json_finish(&r->json));
  CLQI_TRY(check_parts(r));
  CLQI_TRY(order_vocab(r));
  CLQI_TRY(finish_templates(r));
  clqi_wordpiece_desc *desc = &r->desc;
  desc->tokens = r->tokens;
  desc->token_count = (size_t)r->vocab_count;
  desc->added = r->added;
  desc->added_count = (size_t)r->added_count;
  desc->rules.strip_accents = r->strips_said ? desc->rules.strip_accents : desc->rules.lowercase;
  if (desc->decoder_prefix.data == NULL) {
    desc->decoder_prefix = desc->prefix;
  }
  return CLQ_OK;
}

clq_status clqi_tokenizer_json_parse(const char *name, char *text, size_t length,
                                     clqi_tokenizer **out) {
  clq_status status = CLQ_OK;
  reader r = {.desc = clqi_wordpiece_defaults()};
  *out = NULL;
  CLQI_TRY_CLEAN(clqi_json_begin(&r.json, name, 0, text, length));
  r.json.advice = ""; /* here it is the same for all that may be wrong */
  status = read_root(&r);
  if (status == CLQ_OK) {
    status = clqi_wordpiece_create(&r.desc, out);
    status = status == CLQ_OK ? CLQ_OK : clqi_fail_prefix(status, "%s", name);
  }
  status = clqi_folder_tokenizer_advise(status);

cleanup:
  clqi_json_free(&r.json);
  clqi_free(r.vocab);
  clqi_free(r.tokens);
  clqi_free(r.added);
  return status;
}
