/* Builds a tokenizer from a vocabulary that is not trusted. */
#include <string.h>
#include <sys/random.h>
#include <time.h>
#include <xxhash.h>

#include "io/tokenizer_private.h"
#include "io/utf8.h"
#include "io/wordpiece.h"
#include "runtime/checked.h"
#include "runtime/memory.h"
#include "runtime/status.h"

/* The ways in which the known families end a turn or a text. */
static const char *const end_texts[] = {
    "<|endoftext|>", "<|im_end|>", "<|eot_id|>", "<|eom_id|>", "<|end_of_text|>", "<|end|>", "</s>",
};

/* Token texts by hash, as the file spells them: finds duplicates and what a
 * merge names. */
typedef struct text_table {
  struct text_slot {
    uint32_t hash; /* high half: most strangers part here without a look at the text */
    int32_t id;    /* -1: free */
  } * slots;
  size_t mask;
  uint64_t seed;
  const clqi_text *tokens;
} text_table;

/* Another one each time: the tables probe linearly, so a file whose tokens (or merges) were chosen
 * to share one slot under a hash known beforehand would make loading quadratic, a hang. */
static uint64_t random_seed(const void *address) {
  uint64_t seed = 0;
  if (getrandom(&seed, sizeof seed, GRND_NONBLOCK) != (ssize_t)sizeof seed) {
    struct timespec now = {0};
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    const uint64_t guess[] = {(uint64_t)now.tv_sec, (uint64_t)now.tv_nsec,
                              (uint64_t)(uintptr_t)address};
    seed = XXH3_64bits(guess, sizeof guess);
  }
  return seed;
}

static clq_status out_of_memory(const char *what) {
  return clqi_fail(CLQ_OUT_OF_HOST_MEMORY, "tokenizer: out of memory for the %s", what);
}

static struct text_slot *table_slot(const text_table *table, clqi_text text, uint32_t *tag) {
  const uint64_t hash = XXH3_64bits_withSeed(text.data, text.length, table->seed);
  *tag = (uint32_t)(hash >> 32);
  size_t at = (size_t)hash & table->mask;
  while (table->slots[at].id >= 0 && (table->slots[at].hash != *tag ||
                                      !clqi_text_equal(table->tokens[table->slots[at].id], text))) {
    at = (at + 1) & table->mask;
  }
  return &table->slots[at];
}

static int32_t table_find(const text_table *table, clqi_text text) {
  uint32_t tag = 0;
  return table_slot(table, text, &tag)->id;
}

static size_t table_size(size_t count) {
  size_t size = 16;
  while (size < 2 * count) {
    size *= 2;
  }
  return size;
}

static clq_status table_create(const clqi_tokenizer_desc *desc, uint64_t seed, text_table *table) {
  const size_t size = table_size(desc->token_count);
  table->tokens = desc->tokens;
  table->mask = size - 1;
  table->seed = seed;
  table->slots = clqi_malloc(size * sizeof *table->slots);
  if (table->slots == NULL) {
    return out_of_memory("token table");
  }
  memset(table->slots, 0xFF, size * sizeof *table->slots);
  for (size_t i = 0; i < desc->token_count; ++i) {
    uint32_t tag = 0;
    struct text_slot *slot = table_slot(table, desc->tokens[i], &tag);
    if (slot->id >= 0) {
      return clqi_fail(CLQ_BAD_FILE, "tokenizer: tokens %d and %zu are both \"%s\"", (int)slot->id,
                       i, clqi_excerpt_of(desc->tokens[i]).text);
    }
    *slot = (struct text_slot){tag, (int32_t)i};
  }
  return CLQ_OK;
}

/* --- The byte-level alphabet: every byte is a printable character. -----------
 * Printable Latin-1 stands for itself, the other 68 bytes are U+0100 and up in
 * their order. */

enum { ALPHABET_END = 0x100 + 68 };

static void alphabet(int16_t byte_of[ALPHABET_END]) {
  int next = 0x100;
  for (int i = 0; i < ALPHABET_END; ++i) {
    byte_of[i] = -1;
  }
  for (int byte = 0; byte < 256; ++byte) {
    const bool printable =
        (byte >= 0x21 && byte <= 0x7E) || (byte >= 0xA1 && byte <= 0xAC) || byte >= 0xAE;
    byte_of[printable ? byte : next++] = (int16_t)byte;
  }
}

/* Writes the bytes that text stands for to out (at most text.length); false if a
 * character is not of the alphabet. */
static bool from_alphabet(const int16_t byte_of[ALPHABET_END], clqi_text text, char *out,
                          size_t *length) {
  size_t count = 0;
  size_t at = 0;
  while (at < text.length) {
    const size_t sequence = clqi_utf8_sequence(text.data + at, text.length - at);
    if (sequence == 0 || sequence > 2) {
      return false;
    }
    const uint32_t point = clqi_utf8_code_point(text.data + at, sequence);
    if (point >= ALPHABET_END || byte_of[point] < 0) {
      return false;
    }
    out[count++] = (char)byte_of[point];
    at += sequence;
  }
  *length = count;
  return true;
}

/* --- Checks. ---------------------------------------------------------------- */

static clq_status check_id(const clqi_tokenizer_desc *desc, const char *name, int64_t id,
                           int32_t *out) {
  if (id < -1 || id >= (int64_t)desc->token_count) {
    return clqi_fail(CLQ_BAD_FILE, "tokenizer: %s is token %lld, the vocabulary has %zu", name,
                     (long long)id, desc->token_count);
  }
  *out = (int32_t)id;
  return CLQ_OK;
}

static clq_status check_desc(const clqi_tokenizer_desc *desc) {
  CLQI_REQUIRE(desc->token_count == 0 || desc->tokens != NULL, "tokenizer: tokens are NULL");
  CLQI_REQUIRE(desc->merge_count == 0 || desc->merges != NULL, "tokenizer: merges are NULL");
  if (!clqi_text_equal(desc->model, clqi_text_of("gpt2"))) {
    return clqi_fail(CLQ_UNSUPPORTED,
                     "tokenizer: model is \"%s\", supported is gpt2 (byte-level BPE)",
                     clqi_excerpt_of(desc->model).text);
  }
  if (desc->add_space_prefix) {
    return clqi_fail(CLQ_UNSUPPORTED, "tokenizer: add_space_prefix is not supported with gpt2");
  }
  if (desc->token_count == 0 || desc->token_count > INT32_MAX / 2) {
    return clqi_fail(CLQ_BAD_FILE, "tokenizer: %zu tokens, expected 1 to %d", desc->token_count,
                     INT32_MAX / 2);
  }
  if (desc->types != NULL && desc->type_count != desc->token_count) {
    return clqi_fail(CLQ_BAD_FILE, "tokenizer: %zu token types, expected %zu (one per token)",
                     desc->type_count, desc->token_count);
  }
  if (desc->merge_count > CLQI_BPE_MAX_RULES) {
    return clqi_fail(CLQ_BAD_FILE, "tokenizer: %zu merges, at most %d are supported",
                     desc->merge_count, CLQI_BPE_MAX_RULES);
  }
  if (desc->add_bos && desc->bos < 0) {
    return clqi_fail(CLQ_BAD_FILE, "tokenizer: add_bos without a BOS token");
  }
  return CLQ_OK;
}

/* --- Parts. ------------------------------------------------------------------ */

static clq_status add_token(clqi_tokenizer *t, const clqi_tokenizer_desc *desc,
                            const int16_t byte_of[ALPHABET_END], size_t index, size_t *used) {
  const clqi_text text = desc->tokens[index];
  const int32_t type = desc->types == NULL ? CLQI_TOKEN_NORMAL : desc->types[index];
  if (type < CLQI_TOKEN_NORMAL || type > CLQI_TOKEN_UNUSED) {
    return clqi_fail(CLQ_BAD_FILE, "tokenizer: token %zu has type %d, expected 1 to %d", index,
                     (int)type, (int)CLQI_TOKEN_UNUSED);
  }
  if (text.length == 0) {
    return clqi_fail(CLQ_BAD_FILE, "tokenizer: token %zu is empty", index);
  }
  size_t length = text.length;
  if (type == CLQI_TOKEN_NORMAL) {
    if (!from_alphabet(byte_of, text, t->bytes + *used, &length)) {
      return clqi_fail(CLQ_BAD_FILE, "tokenizer: token %zu, \"%s\", is not byte-level text", index,
                       clqi_excerpt_of(text).text);
    }
    if (length == 1) {
      t->byte_ids[(uint8_t)t->bytes[*used]] = (int32_t)index;
    }
  } else {
    if (clqi_utf8_valid_length(text.data, text.length) != text.length) {
      return clqi_fail(CLQ_BAD_FILE, "tokenizer: token %zu, \"%s\", is not valid UTF-8", index,
                       clqi_excerpt_of(text).text);
    }
    memcpy(t->bytes + *used, text.data, length);
  }
  t->offsets[index] = (uint32_t)*used;
  t->types[index] = (uint8_t)type;
  *used += length;
  return CLQ_OK;
}

static clq_status add_tokens(clqi_tokenizer *t, const clqi_tokenizer_desc *desc) {
  size_t total = 0;
  for (size_t i = 0; i < desc->token_count; ++i) {
    CLQI_REQUIRE(desc->tokens[i].length == 0 || desc->tokens[i].data != NULL,
                 "tokenizer: token %zu is NULL", i);
    if (!clqi_add_size(total, desc->tokens[i].length, &total) || total > UINT32_MAX) {
      return clqi_fail(CLQ_BAD_FILE, "tokenizer: the tokens' text is longer than 4 GiB");
    }
  }
  t->count = (int32_t)desc->token_count;
  t->bytes = clqi_malloc(total + 1); /* not NULL for a total of 0 */
  t->offsets = clqi_calloc(desc->token_count + 1, sizeof *t->offsets);
  t->types = clqi_calloc(desc->token_count, sizeof *t->types);
  if (t->bytes == NULL || t->offsets == NULL || t->types == NULL) {
    return out_of_memory("vocabulary");
  }
  int16_t byte_of[ALPHABET_END];
  alphabet(byte_of);
  size_t used = 0;
  for (size_t i = 0; i < desc->token_count; ++i) {
    CLQI_TRY(add_token(t, desc, byte_of, i, &used));
  }
  t->offsets[desc->token_count] = (uint32_t)used;
  return CLQ_OK;
}

static clq_status bad_merge(const clqi_tokenizer_desc *desc, size_t index, const char *why) {
  return clqi_fail(CLQ_BAD_FILE, "tokenizer: merge %zu, \"%s\", %s", index,
                   clqi_excerpt_of(desc->merges[index]).text, why);
}

static clq_status add_merge(clqi_tokenizer *t, const clqi_tokenizer_desc *desc,
                            const text_table *table, size_t index, clqi_bytes *joined) {
  const clqi_text merge = desc->merges[index];
  CLQI_REQUIRE(merge.data != NULL, "tokenizer: merge %zu is NULL", index);
  const char *space = memchr(merge.data, ' ', merge.length);
  if (space == NULL) {
    return bad_merge(desc, index, "has no space between its parts");
  }
  const clqi_text left = {merge.data, (size_t)(space - merge.data)};
  const clqi_text right = {space + 1, merge.length - left.length - 1};
  joined->length = 0;
  CLQI_TRY(clqi_bytes_append(joined, left.data, left.length));
  CLQI_TRY(clqi_bytes_append(joined, right.data, right.length));
  const int32_t left_id = table_find(table, left);
  const int32_t right_id = table_find(table, right);
  const int32_t result = table_find(table, (clqi_text){joined->data, joined->length});
  if (left_id < 0 || right_id < 0) {
    return bad_merge(desc, index, "joins what are not tokens");
  }
  if (result < 0) {
    return bad_merge(desc, index, "makes what is not a token");
  }
  if (clqi_token_type_of(t, left_id) == CLQI_TOKEN_CONTROL ||
      clqi_token_type_of(t, right_id) == CLQI_TOKEN_CONTROL ||
      clqi_token_type_of(t, result) == CLQI_TOKEN_CONTROL) {
    return bad_merge(desc, index, "involves a control token");
  }
  if (!clqi_bpe_rules_add(&t->rules, left_id, right_id, (uint32_t)index, result)) {
    return bad_merge(desc, index, "occurs twice");
  }
  return CLQ_OK;
}

static clq_status add_merges(clqi_tokenizer *t, const clqi_tokenizer_desc *desc,
                             const text_table *table) {
  clqi_bytes joined = {0};
  clq_status status = clqi_bpe_rules_create(desc->merge_count, t->seed, &t->rules);
  for (size_t i = 0; i < desc->merge_count && status == CLQ_OK; ++i) {
    status = add_merge(t, desc, table, i, &joined);
  }
  clqi_bytes_free(&joined);
  return status;
}

static bool is_special(const clqi_tokenizer *t, int32_t id) {
  const clqi_token_type type = clqi_token_type_of(t, id);
  return type == CLQI_TOKEN_CONTROL || type == CLQI_TOKEN_USER_DEFINED;
}

static clq_status add_specials(clqi_tokenizer *t) {
  size_t count = 0;
  clqi_text_entry *entries = clqi_calloc((size_t)t->count, sizeof *entries);
  if (entries == NULL) {
    return out_of_memory("special tokens");
  }
  for (int32_t id = 0; id < t->count; ++id) {
    if (is_special(t, id)) {
      entries[count++] = (clqi_text_entry){clqi_token_bytes(t, id), id};
    }
  }
  const clq_status status = clqi_text_index_create(entries, count, "special tokens", &t->specials);
  clqi_free(entries);
  return status;
}

static void mark_ends(clqi_tokenizer *t) {
  for (size_t i = 0; i < sizeof end_texts / sizeof end_texts[0]; ++i) {
    const int32_t id = clqi_tokenizer_special(t, clqi_text_of(end_texts[i]));
    if (clqi_tokenizer_is_control(t, id)) {
      t->types[id] |= CLQI_TOKEN_ENDS;
    }
  }
  const int32_t named[2] = {t->eos, t->eot};
  for (int i = 0; i < 2; ++i) {
    if (named[i] >= 0) {
      t->types[named[i]] |= CLQI_TOKEN_ENDS;
    }
  }
}

static size_t whole_slot(const clqi_tokenizer *t, clqi_text bytes) {
  size_t at = (size_t)XXH3_64bits_withSeed(bytes.data, bytes.length, t->seed) & t->whole_mask;
  while (t->whole[at] >= 0 && !clqi_text_equal(clqi_token_bytes(t, t->whole[at]), bytes)) {
    at = (at + 1) & t->whole_mask;
  }
  return at;
}

int32_t clqi_tokenizer_find_whole(const clqi_tokenizer *t, clqi_text bytes) {
  return t->whole[whole_slot(t, bytes)];
}

static clq_status add_whole(clqi_tokenizer *t) {
  if (!clqi_pretokenizer_whole_pieces(t->pre)) {
    return CLQ_OK;
  }
  const size_t size = table_size((size_t)t->count);
  t->whole_mask = size - 1;
  t->whole = clqi_malloc(size * sizeof *t->whole);
  if (t->whole == NULL) {
    return out_of_memory("token table");
  }
  memset(t->whole, 0xFF, size * sizeof *t->whole);
  for (int32_t id = 0; id < t->count; ++id) {
    if (clqi_token_type_of(t, id) == CLQI_TOKEN_NORMAL) {
      t->whole[whole_slot(t, clqi_token_bytes(t, id))] = id;
    }
  }
  return CLQ_OK;
}

clq_status clqi_tokenizer_create(const clqi_tokenizer_desc *desc, clqi_tokenizer **out) {
  CLQI_REQUIRE(out != NULL && desc != NULL, "tokenizer: an argument is NULL");
  *out = NULL;
  CLQI_TRY(check_desc(desc));
  clq_status status = CLQ_OK;
  text_table table = {0};
  clqi_tokenizer *t = clqi_calloc(1, sizeof *t);
  if (t == NULL) {
    return out_of_memory("tokenizer");
  }
  memset(t->byte_ids, 0xFF, sizeof t->byte_ids);
  t->add_bos = desc->add_bos;
  t->seed = random_seed(t);
  CLQI_TRY_CLEAN(check_id(desc, "BOS", desc->bos, &t->bos));
  CLQI_TRY_CLEAN(check_id(desc, "EOS", desc->eos, &t->eos));
  CLQI_TRY_CLEAN(check_id(desc, "EOT", desc->eot, &t->eot));
  CLQI_TRY_CLEAN(check_id(desc, "the unknown token", desc->unk, &t->unk));
  CLQI_TRY_CLEAN(check_id(desc, "the padding token", desc->pad, &t->pad));
  CLQI_TRY_CLEAN(clqi_pretokenizer_create(desc->pre, &t->pre));
  CLQI_TRY_CLEAN(add_tokens(t, desc));
  CLQI_TRY_CLEAN(table_create(desc, t->seed, &table));
  CLQI_TRY_CLEAN(add_merges(t, desc, &table));
  CLQI_TRY_CLEAN(add_specials(t));
  CLQI_TRY_CLEAN(add_whole(t));
  mark_ends(t);
  *out = t;
  t = NULL;

cleanup:
  clqi_free(table.slots);
  clqi_tokenizer_destroy(t);
  return status;
}

void clqi_tokenizer_destroy(clqi_tokenizer *t) {
  if (t == NULL) {
    return;
  }
  clqi_pretokenizer_destroy(t->pre);
  clqi_bpe_rules_destroy(&t->rules);
  clqi_free(t->whole);
  clqi_text_index_destroy(&t->specials);
  clqi_wordpiece_destroy(t->wordpiece);
  clqi_free(t->types);
  clqi_free(t->offsets);
  clqi_free(t->bytes);
  clqi_free(t);
}
