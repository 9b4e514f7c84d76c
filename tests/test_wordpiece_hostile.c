/* tokenizer.json and vocab.txt that must be refused, and memory that runs out. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "counting.h"
#include "io/folder_tokenizer.h"

/* A whole tokenizer; what a case changes is replaced in it. */
static const char good[] =
    "{\"version\":\"1.0\",\"truncation\":{\"max_length\":128},\"padding\":{\"pad_id\":0},"
    "\"added_tokens\":[{\"id\":0,\"content\":\"[UNK]\",\"special\":true},"
    "{\"id\":1,\"content\":\"[CLS]\",\"special\":true,\"lstrip\":false},"
    "{\"id\":6,\"content\":\"New\",\"special\":false,\"normalized\":true}],"
    "\"normalizer\":{\"type\":\"BertNormalizer\",\"clean_text\":true,"
    "\"handle_chinese_chars\":true,\"strip_accents\":null,\"lowercase\":true},"
    "\"pre_tokenizer\":{\"type\":\"BertPreTokenizer\"},"
    "\"post_processor\":{\"type\":\"TemplateProcessing\",\"single\":"
    "[{\"SpecialToken\":{\"id\":\"[CLS]\",\"type_id\":0}},{\"Sequence\":{\"id\":\"A\","
    "\"type_id\":0}}],\"pair\":[{\"Sequence\":{\"id\":\"A\",\"type_id\":0}},"
    "{\"Sequence\":{\"id\":\"B\",\"type_id\":1}}],"
    "\"special_tokens\":{\"[CLS]\":{\"id\":\"[CLS]\",\"ids\":[1],\"tokens\":[\"[CLS]\"]}}},"
    "\"decoder\":{\"type\":\"WordPiece\",\"prefix\":\"##\",\"cleanup\":true},"
    "\"model\":{\"type\":\"WordPiece\",\"unk_token\":\"[UNK]\","
    "\"continuing_subword_prefix\":\"##\",\"max_input_chars_per_word\":100,"
    "\"vocab\":{\"[UNK]\":0,\"[CLS]\":1,\"a\":2,\"##b\":3,\"c\":4,\"d\":5}}}";

/* `good` with the first `from` replaced, to be freed. */
static char *changed(const char *from, const char *to) {
  const char *at = strstr(good, from);
  cr_assert_not_null(at, "\"%s\" is not there", from);
  char *text = malloc(sizeof good + strlen(to));
  cr_assert_not_null(text);
  (void)snprintf(text, sizeof good + strlen(to), "%.*s%s%s", (int)(at - good), good, to,
                 at + strlen(from));
  return text;
}

static clq_status parse(char *text, clqi_tokenizer **t) {
  return clqi_tokenizer_json_parse("t.json", text, strlen(text), t);
}

static const struct refusal {
  const char *from;
  const char *to;
  clq_status status;
  const char *sentence;
} refusals[] = {
    /* Other kinds. */
    {"\"WordPiece\",\"unk", "\"BPE\",\"unk", CLQ_UNSUPPORTED,
     "t.json: model type is BPE, expected WordPiece"},
    {"BertNormalizer", "Lowercase\\u001b", CLQ_UNSUPPORTED,
     "t.json: normalizer type is Lowercase?, expected BertNormalizer"},
    {"BertPreTokenizer", "Whitespace", CLQ_UNSUPPORTED,
     "t.json: pre_tokenizer type is Whitespace, expected BertPreTokenizer"},
    {"{\"type\":\"BertPreTokenizer\"}", "null", CLQ_UNSUPPORTED, "it has no pre_tokenizer"},
    {"TemplateProcessing", "RobertaProcessing", CLQ_UNSUPPORTED,
     "t.json: post_processor type is RobertaProcessing, expected TemplateProcessing or "
     "BertProcessing"},
    {"\"WordPiece\",\"prefix", "\"ByteLevel\",\"prefix", CLQ_UNSUPPORTED,
     "t.json: decoder type is ByteLevel, expected WordPiece"},
    {"\"lstrip\":false", "\"single_word\":true", CLQ_UNSUPPORTED, "has single_word"},
    {":100", ":1025", CLQ_UNSUPPORTED, "max_input_chars_per_word is 1025, expected 1 to 1024"},
    {":100", ":0", CLQ_UNSUPPORTED, "max_input_chars_per_word is 0"},
    {"\"ids\":[1]", "\"ids\":[1,1]", CLQ_UNSUPPORTED, "has no id or several"},
    {"\"ids\":[1]", "\"ids\":[]", CLQ_UNSUPPORTED, "has no id or several"},
    /* What contradicts itself. */
    {"\"unk_token\":\"[UNK]\"", "\"unk_token\":\"<unk>\"", CLQ_BAD_FILE,
     "t.json: tokenizer: the unknown token \"<unk>\" is not in the vocabulary; the file is damaged "
     "or of another kind: download it again"},
    {"\"d\":5", "\"d\":4", CLQ_BAD_FILE, "tokens \"c\" and \"d\" both have id 4"},
    {"\"d\":5", "\"d\":6", CLQ_BAD_FILE, "token \"d\" has id 6, expected 0 to 5"},
    {"\"d\":5", "\"c\":5", CLQ_BAD_FILE, "has the key 'c' twice"},
    {"\"d\":5", "\"\":5", CLQ_BAD_FILE, "token 5 is empty"},
    {"\"d\":5", "\"d\":-1", CLQ_BAD_FILE, "has the number -1"},
    {"\"d\":5", "\"d\":5.0", CLQ_BAD_FILE, "has the number 5.0"},
    {"\"d\":5", "\"d\":99999999999999999999", CLQ_BAD_FILE, "expected an integer from 0"},
    {"\"d\":5", "\"d\":\"5\"", CLQ_BAD_FILE, "expected"},
    {"\"d\":5", "\"d\":2147483647", CLQ_BAD_FILE, "has id 2147483647, expected 0 to 5"},
    {"{\"[UNK]\":0,\"[CLS]\":1,\"a\":2,\"##b\":3,\"c\":4,\"d\":5}", "[[\"a\",0.5]]", CLQ_BAD_FILE,
     "an object is expected"},
    {"{\"[UNK]\":0,\"[CLS]\":1,\"a\":2,\"##b\":3,\"c\":4,\"d\":5}", "{}", CLQ_BAD_FILE,
     "it has no vocab in its model"},
    {"\"model\":", "\"modell\":", CLQ_BAD_FILE, "it has no model"},
    {"\"id\":6", "\"id\":7", CLQ_BAD_FILE, "the added token \"New\" has id 7, expected 6"},
    {"\"id\":1,", "\"id\":2,", CLQ_BAD_FILE, "the added token \"[CLS]\" has id 2, expected 1"},
    {"\"id\":1,", "", CLQ_BAD_FILE, "has id -1, expected 1"},
    {"\"content\":\"New\"", "\"content\":\"\"", CLQ_BAD_FILE, "token 6 is empty"},
    {"\"content\":\"New\"", "\"content\":\"\\u0301\"", CLQ_BAD_FILE, "nothing is left of"},
    {"{\"id\":6,\"content\":\"New\"", "{\"id\":1,\"content\":\"[CLS]\"", CLQ_BAD_FILE,
     "the token \"[CLS]\" is added twice"},
    {"\"pad_id\":0", "\"pad_id\":7", CLQ_BAD_FILE, "the padding token is token 7"},
    {"\"ids\":[1]", "\"ids\":[9]", CLQ_BAD_FILE, "the template for a text has token 9"},
    {"\"ids\":[1]", "\"idz\":[1]", CLQ_BAD_FILE,
     "a template has the token '[CLS]', which has no id"},
    {"{\"[CLS]\":{\"id\"", "{\"[SEP]\":{\"id\"", CLQ_BAD_FILE, "which has no id"},
    {"{\"Sequence\":{\"id\":\"A\",\"type_id\":0}}]", "{\"Sequence\":{\"id\":\"B\"}}]",
     CLQ_UNSUPPORTED, "the template for a text does not hold the text once"},
    {"\"B\"", "\"A\"", CLQ_UNSUPPORTED, "the template for a pair of texts does not hold each text"},
    {"\"B\"", "\"C\"", CLQ_BAD_FILE, "has the sequence 'C', expected A or B"},
    {"{\"Sequence\":{\"id\":\"B\",\"type_id\":1}}", "{}", CLQ_BAD_FILE, "is neither Sequence nor"},
    {"{\"id\":\"B\",\"type_id\":1}", "{\"type_id\":1}", CLQ_BAD_FILE, "has no id"},
    {"{\"id\":\"B\",\"type_id\":1}", "{\"id\":\"B\"},\"x\":1", CLQ_BAD_FILE, "is two"},
    {"\"type\":\"TemplateProcessing\",", "\"sep\":[\"a\",1],", CLQ_BAD_FILE,
     "not just cls and sep"},
    {"\"type\":\"TemplateProcessing\",", "\"sep\":[\"a\",1,2],", CLQ_BAD_FILE, "more than a name"},
    {"\"type\":\"TemplateProcessing\",", "\"sep\":[1],", CLQ_BAD_FILE, "a string is expected"},
    /* Wrong types, and no JSON. */
    {"\"lowercase\":true", "\"lowercase\":1", CLQ_BAD_FILE, "true or false is expected"},
    {"\"cleanup\":true", "\"cleanup\":null", CLQ_BAD_FILE, "true or false is expected"},
    {"\"unk_token\":\"[UNK]\"", "\"unk_token\":{}", CLQ_BAD_FILE, "a string is expected"},
    {"\"normalizer\":{", "\"normalizer\":[{", CLQ_BAD_FILE, "an object is expected"},
    {"\"version\":\"1.0\"", "\"version\":\"1.0\",\"version\":1", CLQ_BAD_FILE, "twice"},
    {"\"version\":\"1.0\"", "\"version\":\"\xFF\"", CLQ_BAD_FILE, "is not UTF-8"},
    {"}}}", "}}", CLQ_BAD_FILE, "ends inside"},
    {"}}}", "}}}}", CLQ_BAD_FILE, "the end is expected"},
};

Test(wordpiece_hostile, what_cannot_be_followed_is_refused_with_its_own_sentence) {
  clqi_tokenizer *t = NULL;
  char *text = changed("1.0", "1.1");
  cr_assert_eq(parse(text, &t), CLQ_OK, "%s", clq_last_error());
  clqi_tokenizer_destroy(t);
  free(text);
  for (size_t i = 0; i < sizeof refusals / sizeof *refusals; ++i) {
    const struct refusal *r = &refusals[i];
    text = changed(r->from, r->to);
    t = (clqi_tokenizer *)text;
    cr_assert_eq(parse(text, &t), r->status, "%s -> %s: %s", r->from, r->to, clq_last_error());
    cr_assert_null(t);
    cr_assert_not_null(strstr(clq_last_error(), r->sentence), "\"%s\" lacks \"%s\"",
                       clq_last_error(), r->sentence);
    free(text);
  }
}

Test(wordpiece_hostile, what_may_be_missing_may_be_missing) {
  static const struct {
    const char *from;
    const char *to;
  } cases[] = {
      {"\"type\":\"WordPiece\",\"unk", "\"unk"},
      {"\"unk_token\":\"[UNK]\",", ""},
      {",\"max_input_chars_per_word\":100", ""},
      {"{\"type\":\"WordPiece\",\"prefix\":\"##\",\"cleanup\":true}", "null"},
      {"{\"pad_id\":0}", "null"},
      {"\"added_tokens\"", "\"x\""},
      {"\"strip_accents\":null", "\"strip_accents\":true,\"new\":{\"a\":[1,2]}"},
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; ++i) {
    clqi_tokenizer *t = NULL;
    clq_tokens ids = {0};
    char *text = changed(cases[i].from, cases[i].to);
    cr_assert_eq(parse(text, &t), CLQ_OK, "%s: %s", cases[i].from, clq_last_error());
    cr_assert_eq(clqi_tokenizer_encode(t, "AB \xC3\x81 ab c", 10, 0, &ids), CLQ_OK);
    cr_assert(ids.count == 6 && ids.ids[0] == 2 && ids.ids[1] == 3 && ids.ids[2] == 2 &&
              ids.ids[5] == 4);
    clq_tokens_free(&ids);
    clqi_tokenizer_destroy(t);
    free(text);
  }
  clqi_tokenizer *t = NULL;
  clq_tokens ids = {0};
  char *text = changed("{\"type\":\"BertNormalizer\"", "null,\"x\":{\"type\":\"x\"");
  cr_assert_eq(parse(text, &t), CLQ_OK, "%s", clq_last_error());
  cr_assert_eq(clqi_tokenizer_encode(t, "A a", 3, 0, &ids), CLQ_OK);
  cr_assert(ids.count == 2 && ids.ids[0] == 0 && ids.ids[1] == 2);
  clqi_tokenizer_destroy(t);
  free(text);
  text = changed("\"post_processor\"", "\"x\"");
  cr_assert_eq(parse(text, &t), CLQ_OK, "%s", clq_last_error());
  cr_assert_eq(clqi_tokenizer_encode_pair(t, clqi_text_of("a"), NULL, 9, 0, &ids, NULL),
               CLQ_UNSUPPORTED);
  cr_assert_str_eq(clq_last_error(), "tokenizer: the file has no template for a text");
  clq_tokens_free(&ids);
  clqi_tokenizer_destroy(t);
  free(text);
}

Test(wordpiece_hostile, long_added_tokens_and_many_parts_are_refused) {
  char long_token[1200] = "";
  memset(long_token, 'x', 1100);
  clqi_tokenizer *t = NULL;
  char *text = changed("New", long_token);
  cr_assert_eq(parse(text, &t), CLQ_UNSUPPORTED);
  cr_assert_not_null(strstr(clq_last_error(), "has 1100 bytes, at most 1024"));
  free(text);
  char parts[2000] = "\"pair\":[";
  for (int i = 0; i < 20; ++i) {
    strcat(parts, "{\"Sequence\":{\"id\":\"A\",\"type_id\":0}},");
  }
  text = changed("\"pair\":[", parts);
  cr_assert_eq(parse(text, &t), CLQ_UNSUPPORTED);
  cr_assert_not_null(strstr(clq_last_error(), "a template has more than 16 parts"));
  free(text);
}

Test(wordpiece_hostile, a_bad_vocabulary_of_lines_is_refused) {
  static const struct {
    const char *vocab;
    const char *config;
    const char *sentence;
  } cases[] = {
      {"[UNK]\n[CLS]\na\n", NULL, "v.txt: the sep_token \"[SEP]\" is not in the vocabulary"},
      {"[UNK]\n[SEP]\na\n", NULL, "v.txt: the cls_token \"[CLS]\" is not in the vocabulary"},
      {"[CLS]\n[SEP]\na\n", NULL, "v.txt: tokenizer: the unknown token \"[UNK]\" is not in the"},
      {"[UNK]\n[CLS]\n[SEP]\n\na\n", NULL, "v.txt: tokenizer: token 3 is empty"},
      {"[UNK]\n[CLS]\n[SEP]\na\na\n", NULL, "v.txt: tokenizer: tokens 3 and 4 are both \"a\""},
      {"[UNK]\n[CLS]\n[SEP]\na\xFF\n", NULL, "token 3, \"a?\", is not valid UTF-8"},
      {"[UNK]\n[CLS]\n[SEP]\n", "[]", "c.json: the configuration has the character ["},
      {"[UNK]\n[CLS]\n[SEP]\n", "{\"do_lower_case\":1}", "c.json: do_lower_case has"},
      {"[UNK]\n[CLS]\n[SEP]\n", "{\"cls_token\":{}}", "c.json: cls_token has no content"},
      {"[UNK]\n[CLS]\n[SEP]\n", "{\"cls_token\":7}", "c.json: cls_token has"},
      {"[UNK]\n[CLS]\n[SEP]\n", "{\"unk_token\":\"<unk>\"}", "the unknown token \"<unk>\""},
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; ++i) {
    clqi_tokenizer *t = NULL;
    char *config = cases[i].config == NULL ? NULL : strdup(cases[i].config);
    const size_t length = config == NULL ? 0 : strlen(config);
    cr_assert_eq(clqi_vocab_parse("v.txt", cases[i].vocab, strlen(cases[i].vocab), "c.json", config,
                                  length, &t),
                 CLQ_BAD_FILE, "case %zu", i);
    cr_assert_not_null(strstr(clq_last_error(), cases[i].sentence), "\"%s\" lacks \"%s\"",
                       clq_last_error(), cases[i].sentence);
    cr_assert_null(t);
    free(config);
  }
}

static uint32_t random_state = 7;
static uint32_t random_below(uint32_t bound) {
  random_state = random_state * 1664525u + 1013904223u;
  return (random_state >> 8) % bound;
}

/* Bytes changed, dropped or doubled: a refusal with a sentence, or a tokenizer that works. */
Test(wordpiece_hostile, mutations_are_refused_or_work) {
  int refused = 0;
  int worked = 0;
  for (int round = 0; round < 4000; ++round) {
    char text[2 * sizeof good];
    size_t length = sizeof good - 1;
    memcpy(text, good, sizeof good);
    for (uint32_t changes = 1 + random_below(2); changes > 0; --changes) {
      const size_t at = random_below((uint32_t)length);
      switch (random_below(4)) {
        case 0: text[at] = (char)random_below(256); break;
        case 1: memmove(text + at, text + at + 1, --length - at); break;
        case 2: text[at] = (char)('0' + random_below(10)); break;
        default: memmove(text + at + 1, text + at, length++ - at); break;
      }
    }
    clqi_tokenizer *t = NULL;
    const clq_status status = clqi_tokenizer_json_parse("t.json", text, length, &t);
    if (status == CLQ_OK) {
      clq_tokens ids = {0};
      clqi_bytes bytes = {0};
      cr_assert_eq(clqi_tokenizer_encode(t, "new ab\xFF[CLS]a New", 17, 1, &ids), CLQ_OK);
      cr_assert_eq(clqi_tokenizer_decode(t, ids.ids, ids.count, false, &bytes), CLQ_OK);
      clqi_bytes_free(&bytes);
      clq_tokens_free(&ids);
      ++worked;
    } else {
      cr_assert((status == CLQ_BAD_FILE || status == CLQ_UNSUPPORTED) && t == NULL &&
                *clq_last_error() != '\0');
      ++refused;
    }
    clqi_tokenizer_destroy(t);
  }
  cr_assert(refused > 400 && worked > 400, "%d refused, %d worked", refused, worked);
}

/* --- Memory. ------------------------------------------------------------------ */

static clq_status use_everything(void) {
  static const char text[] = "New ab\xFF [CLS] \xE3\x80\xAF\xF0\x9D\x85\xA5\xE3\x80\xAE new c";
  const clqi_text pair = clqi_text_of("ab ab");
  clqi_tokenizer *t = NULL;
  clq_tokens ids = {0};
  clq_tokens types = {0};
  clqi_bytes bytes = {0};
  char *copy = strdup(good);
  clq_status status = parse(copy, &t);
  if (status == CLQ_OK) {
    status = clqi_tokenizer_encode_pair(t, (clqi_text){text, sizeof text - 1}, &pair, 40,
                                        CLQ_ENCODE_SPECIAL, &ids, &types);
    cr_assert(status == CLQ_OK || (ids.count == 0 && types.count == 0));
  }
  if (status == CLQ_OK) {
    status = clqi_tokenizer_decode(t, ids.ids, ids.count, false, &bytes);
  }
  free(copy);
  clqi_bytes_free(&bytes);
  clq_tokens_free(&ids);
  clq_tokens_free(&types);
  clqi_tokenizer_destroy(t);
  return status;
}

Test(wordpiece_hostile, every_lack_of_memory_is_an_error_and_leaks_nothing) {
  clq_status status = CLQ_OUT_OF_HOST_MEMORY;
  size_t allowed = 0;
  for (; status != CLQ_OK; ++allowed) {
    counting_start(allowed + 1, 1);
    status = use_everything();
    counting_stop();
    cr_assert(status == CLQ_OK || status == CLQ_OUT_OF_HOST_MEMORY, "allocation %zu: %s", allowed,
              clq_last_error());
    cr_assert_eq(counting_live(), 0, "allocation %zu fails: %zu blocks are left", allowed,
                 counting_live());
  }
  cr_assert_gt(allowed, 20);
}
