/* vocab.txt: a token per line, as BERT's first tokenizers had it; what else there is to know stands
 * in tokenizer_config.json, or is as BERT has it. */
#include <stdio.h>
#include <string.h>

#include "io/folder_tokenizer.h"
#include "io/json.h"
#include "io/wordpiece.h"
#include "runtime/memory.h"

enum { UNK, SEP, PAD, CLS, MASK, SPECIALS };

static const struct {
  const char *key;
  const char *usual;
} specials[SPECIALS] = {
    [UNK] = {"unk_token", "[UNK]"},    [SEP] = {"sep_token", "[SEP]"},
    [PAD] = {"pad_token", "[PAD]"},    [CLS] = {"cls_token", "[CLS]"},
    [MASK] = {"mask_token", "[MASK]"},
};

typedef struct reader {
  const char *name;
  clqi_wordpiece_desc desc;
  clqi_text *tokens;
  clqi_text texts[SPECIALS];
  clqi_added_token added[SPECIALS];
  bool strips_said;
} reader;

/* --- tokenizer_config.json. -------------------------------------------------- */

static clq_status read_flag(clqi_json *json, bool *out, bool *said) {
  clqi_json_kind kind = CLQI_JSON_NULL;
  CLQI_TRY(clqi_json_peek(json, &kind));
  *said = kind != CLQI_JSON_NULL;
  return *said ? clqi_json_bool(json, out) : clqi_json_skip(json);
}

/* "[CLS]" or {"content": "[CLS]", ...} */
static clq_status read_special(clqi_json *json, clqi_text *out) {
  clqi_json_kind kind = CLQI_JSON_NULL;
  const char *text = NULL;
  const char *key = NULL;
  CLQI_TRY(clqi_json_peek(json, &kind));
  if (kind == CLQI_JSON_STRING) {
    CLQI_TRY(clqi_json_string(json, &text));
  } else if (kind == CLQI_JSON_NULL) {
    return clqi_json_skip(json);
  } else {
    CLQI_TRY(clqi_json_enter_object(json));
    for (;;) {
      CLQI_TRY(clqi_json_next_key(json, &key));
      if (key == NULL) {
        break;
      }
      CLQI_TRY(strcmp(key, "content") == 0 ? clqi_json_string(json, &text) : clqi_json_skip(json));
    }
  }
  if (text == NULL) {
    return clqi_json_refuse(json, "%s has no content", json->what);
  }
  *out = clqi_text_of(text);
  return CLQ_OK;
}

static clq_status take_setting(reader *r, clqi_json *json, const char *key) {
  clqi_bert_rules *rules = &r->desc.rules;
  bool said = false;
  if (strcmp(key, "do_lower_case") == 0) {
    return read_flag(json, &rules->lowercase, &said);
  }
  if (strcmp(key, "tokenize_chinese_chars") == 0) {
    return read_flag(json, &rules->chinese_chars, &said);
  }
  if (strcmp(key, "strip_accents") == 0) {
    return read_flag(json, &rules->strip_accents, &r->strips_said);
  }
  for (int i = 0; i < SPECIALS; ++i) {
    if (strcmp(key, specials[i].key) == 0) {
      return read_special(json, &r->texts[i]);
    }
  }
  return clqi_json_skip(json);
}

static clq_status read_config(reader *r, clqi_json *json) {
  const char *key = NULL;
  (void)snprintf(json->what, sizeof json->what, "the configuration");
  CLQI_TRY(clqi_json_enter_object(json));
  for (;;) {
    (void)snprintf(json->what, sizeof json->what, "the configuration");
    CLQI_TRY(clqi_json_next_key(json, &key));
    if (key == NULL) {
      return clqi_json_finish(json);
    }
    (void)snprintf(json->what, sizeof json->what, "%s", key);
    CLQI_TRY(take_setting(r, json, key));
  }
}

/* --- vocab.txt. -------------------------------------------------------------- */

/* The line at *at, without its end; moves *at behind it. */
static clqi_text next_line(clqi_text text, size_t *at) {
  const char *start = text.data + *at;
  const char *newline = memchr(start, '\n', text.length - *at);
  size_t length = newline == NULL ? text.length - *at : (size_t)(newline - start);
  *at += length + (newline != NULL ? 1 : 0);
  if (length > 0 && start[length - 1] == '\r') {
    --length;
  }
  return (clqi_text){start, length};
}

static clq_status read_lines(reader *r, clqi_text vocab) {
  size_t count = 0;
  for (size_t at = 0; at < vocab.length; ++count) {
    (void)next_line(vocab, &at);
  }
  r->tokens = clqi_calloc(count + 1, sizeof *r->tokens);
  if (r->tokens == NULL) {
    return clqi_fail(CLQ_OUT_OF_HOST_MEMORY, "%s: no memory for %zu tokens", r->name, count);
  }
  count = 0;
  for (size_t at = 0; at < vocab.length; ++count) {
    r->tokens[count] = next_line(vocab, &at);
    for (int i = 0; i < SPECIALS; ++i) {
      if (clqi_text_equal(r->tokens[count], r->texts[i])) {
        r->added[i].id = (int64_t)count;
      }
    }
  }
  r->desc.tokens = r->tokens;
  r->desc.token_count = count;
  return CLQ_OK;
}

/* One token may serve as two. */
static bool is_added(const clqi_wordpiece_desc *desc, const reader *r, int64_t id) {
  size_t at = 0;
  while (at < desc->added_count && r->added[at].id != id) {
    ++at;
  }
  return at < desc->added_count;
}

/* Those of the special tokens that there are; [MASK], for one, may be missing. */
static clq_status add_specials(reader *r) {
  clqi_wordpiece_desc *desc = &r->desc;
  desc->unk = r->texts[UNK];
  desc->pad = r->added[PAD].id;
  if (r->added[CLS].id < 0 || r->added[SEP].id < 0) {
    const int missing = r->added[CLS].id < 0 ? CLS : SEP;
    return clqi_fail(CLQ_BAD_FILE, "%s: the %s \"%s\" is not in the vocabulary", r->name,
                     specials[missing].key, clqi_excerpt_of(r->texts[missing]).text);
  }
  clqi_wordpiece_bert_templates(desc, r->added[CLS].id, r->added[SEP].id);
  for (int i = 0; i < SPECIALS; ++i) {
    if (r->added[i].id >= 0 && !is_added(desc, r, r->added[i].id)) {
      r->added[i].text = r->texts[i];
      r->added[i].special = true;
      r->added[desc->added_count++] = r->added[i];
    }
  }
  desc->added = r->added;
  return CLQ_OK;
}

clq_status clqi_vocab_parse(const char *name, const char *vocab, size_t length,
                            const char *config_name, char *config, size_t config_length,
                            clqi_tokenizer **out) {
  clq_status status = CLQ_OK;
  clqi_json json = {0};
  reader r = {.name = name, .desc = clqi_wordpiece_defaults()};
  *out = NULL;
  for (int i = 0; i < SPECIALS; ++i) {
    r.texts[i] = clqi_text_of(specials[i].usual);
    r.added[i].id = -1;
  }
  if (config != NULL) {
    CLQI_TRY_CLEAN(clqi_json_begin(&json, config_name, 0, config, config_length));
    CLQI_TRY_CLEAN(read_config(&r, &json));
  }
  if (!r.strips_said) {
    r.desc.rules.strip_accents = r.desc.rules.lowercase;
  }
  CLQI_TRY_CLEAN(read_lines(&r, (clqi_text){vocab, length}));
  r.desc.decoder_prefix = r.desc.prefix;
  status = add_specials(&r);
  if (status == CLQ_OK) {
    status = clqi_wordpiece_create(&r.desc, out);
    status = status == CLQ_OK ? CLQ_OK : clqi_fail_prefix(status, "%s", name);
  }
  status = clqi_folder_tokenizer_advise(status);

cleanup:
  clqi_json_free(&json);
  clqi_free(r.tokens);
  return status;
}
