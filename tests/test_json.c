/* The strict JSON reader: what it accepts, and a sentence for everything else. */
#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "counting.h"
#include "io/json.h"
#include "runtime/memory.h"

/* A copy that ends where its allocation does, for sanitizers. */
static char *copy_of(const char *text, size_t length) {
  char *copy = malloc(length == 0 ? 1 : length);
  if (length != 0) {
    memcpy(copy, text, length);
  }
  return copy;
}

static clq_status skip_all(const char *text, size_t length) {
  clqi_json json;
  char *copy = copy_of(text, length);
  clq_status status = clqi_json_begin(&json, "x.json", 100, copy, length);
  if (status == CLQ_OK) {
    status = clqi_json_skip(&json);
  }
  if (status == CLQ_OK) {
    status = clqi_json_finish(&json);
  }
  clqi_json_free(&json);
  free(copy);
  return status;
}

static void expect_refused(const char *text, size_t length, const char *message) {
  cr_assert_eq(skip_all(text, length), CLQ_BAD_FILE, "%.60s", text);
  cr_assert_eq(strncmp(clq_last_error(), "x.json: ", 8), 0, "%s", clq_last_error());
  cr_assert_not_null(strstr(clq_last_error(), message), "expected '%s' in '%s' of %.60s", message,
                     clq_last_error(), text);
}

Test(json, the_grammar_is_accepted) {
  static const char *const texts[] = {
      "{}",
      "[]",
      " \t\r\n{ \"a\" : [ 1 , -0 , 0.5 , 1e5 , 1E-5 , -12.25e+3 ] , \"b\" : { } }  ",
      "true",
      "[true,false,null]",
      "\"\"",
      "\"\\\"\\\\\\/\\b\\f\\n\\r\\t\\u00e9\\ud83d\\ude00\xc3\xa9\"",
      "[[[[]]]]",
      "{\"a\":1,\"A\":2,\"aa\":{\"a\":1}}",
      "123456789012345678901234567890",
  };
  for (size_t i = 0; i < sizeof texts / sizeof *texts; ++i) {
    cr_assert_eq(skip_all(texts[i], strlen(texts[i])), CLQ_OK, "%s: %s", texts[i],
                 clq_last_error());
  }
}

Test(json, everything_else_is_refused) {
  static const struct {
    const char *text;
    const char *message;
  } cases[] = {
      {"", "the JSON ends inside the JSON, expected a value (at byte 100): the file is damaged"},
      {"{", "ends"},
      {"[1", "ends inside the JSON, expected ',' or ']'"},
      {"{\"a\"", "expected ':'"},
      {"{\"a\":", "expected a value"},
      {"{\"a\":1", "expected ',' or '}'"},
      {"{\"a\":1,}", "the character } where a string is expected (at byte 107)"},
      {"[1,]", "the character ] where a value is expected"},
      {"[,1]", "where a value is expected"},
      {"[1 2]", "the character 2 where ',' or ']' is expected"},
      {"{1:2}", "where a string is expected"},
      {"{\"a\" 1}", "where ':' is expected"},
      {"[1}", "where ',' or ']' is expected"},
      {"{\"a\":1]", "where ',' or '}' is expected"},
      {"{} {}", "the character { where the end is expected"},
      {"[1]\x01", "the byte 01 where the end is expected"},
      {"01", "the character 1 where the end is expected"},
      {"-", "expected a digit"},
      {"+1", "where a value is expected"},
      {".5", "where a value is expected"},
      {"1.", "expected a digit"},
      {"1e", "expected a digit"},
      {"1e+", "expected a digit"},
      {"0x10", "where the end is expected"},
      {"NaN", "where a value is expected"},
      {"Infinity", "where a value is expected"},
      {"-Infinity", "where a digit is expected"},
      {"tru", "where a value is expected"},
      {"nul", "where a value is expected"},
      {"truex", "where the end is expected"},
      {"'a'", "where a value is expected"},
      {"\"a", "the JSON ends inside the JSON, expected the end of a string"},
      {"\"a\nb\"", "the byte 0a where the end of a string is expected"},
      {"\"\\", "expected an escape"},
      {"\"\\x\"", "the character x where an escape is expected"},
      {"\"\\u12", "expected a hexadecimal digit"},
      {"\"\\u12g4\"", "the character g where a hexadecimal digit is expected"},
      {"\"\\u0000\"", "U+0000"},
      {"\"\\ud800\"", "half a surrogate pair"},
      {"\"\\ud800\\u0041\"", "half a surrogate pair"},
      {"\"\\udc00\"", "half a surrogate pair"},
      {"\"\\ud800\\ud800\"", "half a surrogate pair"},
      {"\"\xff\"", "the JSON is not UTF-8 (at byte 101)"},
      {"\"\xc3\"", "the JSON is not UTF-8"},
      {"\"\xed\xa0\x80\"", "the JSON is not UTF-8"},
      {"\xef\xbb\xbf{}", "the byte ef where a value is expected"},
      {"// a\n{}", "where a value is expected"},
      {"{\"a\":1,\"b\":2,\"a\":3}", "the JSON has the key 'a' twice (at byte 114)"},
      {"{\"b\":{\"a\":1,\"\\u0061\":2}}", "the key 'a' twice"},
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; ++i) {
    expect_refused(cases[i].text, strlen(cases[i].text), cases[i].message);
  }
  expect_refused("{}\0", 3, "the byte 00 where the end is expected");
  expect_refused("\"a\0b\"", 5, "the byte 00 where the end of a string is expected");
}

Test(json, nesting_is_limited) {
  char text[2 * CLQI_JSON_MAX_DEPTH + 3];
  for (size_t depth = CLQI_JSON_MAX_DEPTH; depth <= CLQI_JSON_MAX_DEPTH + 1; ++depth) {
    memset(text, '[', depth);
    memset(text + depth, ']', depth);
    text[2 * depth] = '\0';
    if (depth == CLQI_JSON_MAX_DEPTH) {
      cr_assert_eq(skip_all(text, 2 * depth), CLQ_OK, "%s", clq_last_error());
    } else {
      expect_refused(text, 2 * depth, "nested deeper than the 64 levels allowed");
    }
  }
}

Test(json, strings_are_decoded) {
  char text[] = " \"a\\\"\\\\\\/\\b\\f\\n\\r\\tz\\u0041\\u00e9\\u20AC\\ud83d\\ude00\" ";
  clqi_json json;
  const char *out = NULL;
  cr_assert_eq(clqi_json_begin(&json, "x.json", 0, text, strlen(text)), CLQ_OK);
  cr_assert_eq(clqi_json_string(&json, &out), CLQ_OK, "%s", clq_last_error());
  cr_assert_eq(clqi_json_finish(&json), CLQ_OK);
  cr_assert_str_eq(out, "a\"\\/\b\f\n\r\tzA\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80");
  clqi_json_free(&json);
}

static clq_status integer_of(const char *text, int64_t least, int64_t most, int64_t *out) {
  clqi_json json;
  const size_t length = strlen(text);
  char *copy = copy_of(text, length);
  cr_assert_eq(clqi_json_begin(&json, "x.json", 0, copy, length), CLQ_OK);
  const clq_status status = clqi_json_integer(&json, least, most, out);
  clqi_json_free(&json);
  free(copy);
  return status;
}

static clq_status number_of(const char *text, double *out) {
  clqi_json json;
  const size_t length = strlen(text);
  char *copy = copy_of(text, length);
  cr_assert_eq(clqi_json_begin(&json, "x.json", 0, copy, length), CLQ_OK);
  clq_status status = clqi_json_number(&json, out);
  status = status != CLQ_OK ? status : clqi_json_finish(&json);
  clqi_json_free(&json);
  free(copy);
  return status;
}

Test(json, integers_are_exact) {
  static const struct {
    const char *text;
    int64_t value;
  } good[] = {{"0", 0},
              {"-0", 0},
              {"7", 7},
              {"-1", -1},
              {"9007199254740991", 9007199254740991},
              {"9007199254740992", 9007199254740992},
              {"-9007199254740992", -9007199254740992}};
  static const char *const bad[] = {
      "9007199254740993",
      "-9007199254740993",
      "18446744073709551614",
      "18446744073709551616",
      "99999999999999999999999999999999999999999999999999999999999999",
      "1.0",
      "1e3",
      "true",
      "\"1\"",
      "null",
      "[]"};
  int64_t out = 5;
  for (size_t i = 0; i < sizeof good / sizeof *good; ++i) {
    cr_assert_eq(integer_of(good[i].text, -CLQI_JSON_MAX_INTEGER, CLQI_JSON_MAX_INTEGER, &out),
                 CLQ_OK, "%s", clq_last_error());
    cr_assert_eq(out, good[i].value, "%s", good[i].text);
  }
  out = 5;
  for (size_t i = 0; i < sizeof bad / sizeof *bad; ++i) {
    cr_assert_eq(integer_of(bad[i], -CLQI_JSON_MAX_INTEGER, CLQI_JSON_MAX_INTEGER, &out),
                 CLQ_BAD_FILE, "%s", bad[i]);
    cr_assert_eq(out, 5, "%s", bad[i]);
  }
  cr_assert_eq(integer_of("8", 0, 7, &out), CLQ_BAD_FILE);
  cr_assert_str_eq(clq_last_error(),
                   "x.json: the JSON has the number 8, expected an integer from 0 to 7 (at byte "
                   "0): the file is damaged, fetch it again");
  cr_assert_eq(integer_of("-1", 0, 7, &out), CLQ_BAD_FILE);
}

Test(json, numbers_are_near) {
  static const char *const good[] = {"0",
                                     "-0.0",
                                     "1",
                                     "-12.5",
                                     "1e-12",
                                     "1E+3",
                                     "0.1",
                                     "3.14159265358979323846264338327950288",
                                     "123456789012345678901234567890",
                                     "1e308",
                                     "5e-324",
                                     "1e-400",
                                     "0e999999999999",
                                     "0.00000000000000000000000000000000001",
                                     "2.2250738585072014e-308"};
  static const char *const bad[] = {
      "1e309", "-1e309", "1e99999999999999999999", "\"1\"", "null", "true", "[]", "1.", ".5", "+1"};
  double out = 5.0;
  for (size_t i = 0; i < sizeof good / sizeof *good; ++i) {
    cr_assert_eq(number_of(good[i], &out), CLQ_OK, "%s", clq_last_error());
    const double exact = strtod(good[i], NULL);
    cr_assert_leq(fabs(out - exact), fabs(exact) * 0x1p-51, "%s: %.17g", good[i], out);
  }
  for (size_t i = 0; i < sizeof bad / sizeof *bad; ++i) {
    cr_assert_eq(number_of(bad[i], &out), CLQ_BAD_FILE, "%s", bad[i]);
  }
}

/* Keys must not take quadratic time, nor memory that nobody sees. */
Test(json, many_keys, .timeout = 20) {
  enum { COUNT = 200000, ROOM = 16 };
  char *text = malloc((size_t)COUNT * ROOM + 2);
  size_t length = 0;
  text[length++] = '{';
  for (unsigned i = 0; i < COUNT; ++i) {
    length += (size_t)snprintf(text + length, ROOM + 1, "%s\"%08x\":0", i == 0 ? "" : ",",
                               i * 2654435761u);
  }
  text[length++] = '}';
  cr_assert_eq(skip_all(text, length), CLQ_OK, "%s", clq_last_error());
  memcpy(text + length - 13, text + 1, 10); /* the last key is the first */
  expect_refused(text, length, "the key '00000000' twice");
  for (size_t k = 1; k <= 2; ++k) {
    counting_start(k, 0);
    cr_assert_eq(skip_all(text, length), CLQ_OUT_OF_HOST_MEMORY);
    counting_stop();
    cr_assert_eq(counting_live(), 0);
    cr_assert_eq(strncmp(clq_last_error(), "x.json: no memory", 17), 0, "%s", clq_last_error());
  }
  free(text);
}
