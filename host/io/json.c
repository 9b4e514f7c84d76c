#include "io/json.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "io/text.h"
#include "io/utf8.h"
#include "runtime/memory.h"
#include "runtime/sort_order.h"

void clqi_json_set_refusal(const clqi_json *json, size_t at, const char *format, ...) {
  char text[1024];
  va_list args;
  va_start(args, format);
  (void)vsnprintf(text, sizeof text, format, args);
  va_end(args);
  clqi_set_error("%s: %s (at byte %zu)%s", json->name, text, json->origin + at, json->advice);
}

clq_status clqi_json_begin(clqi_json *json, const char *name, size_t origin, char *text,
                           size_t length) {
  *json = (clqi_json){.name = name,
                      .advice = ": the file is damaged, fetch it again",
                      .what = "the JSON",
                      .origin = origin,
                      .text = text,
                      .length = length};
  if (length > CLQI_JSON_MAX_BYTES) {
    return clqi_json_refuse(json, "the JSON has %zu bytes, more than the %d allowed", length,
                            CLQI_JSON_MAX_BYTES);
  }
  const size_t valid = clqi_utf8_valid_length(text, length);
  return valid == length ? CLQ_OK : clqi_json_refuse_at(json, valid, "the JSON is not UTF-8");
}

void clqi_json_free(clqi_json *json) {
  clqi_free(json->keys);
  json->keys = NULL;
}

/* The next byte; NUL, which no JSON has, at the end. */
static char this_byte(const clqi_json *json) {
  if (json->at >= json->length) {
    return '\0';
  }
  return json->text[json->at];
}

/* The same behind white space. */
static char next_byte(clqi_json *json) {
  char c = this_byte(json);
  while (c == ' ' || c == '\t' || c == '\n' || c == '\r') {
    ++json->at;
    c = this_byte(json);
  }
  return c;
}

static clq_status fail_expected(const clqi_json *json, const char *expected) {
  if (json->at >= json->length) {
    return clqi_json_refuse(json, "the JSON ends inside %s, expected %s", json->what, expected);
  }
  const char c = json->text[json->at];
  if (c > 0x20 && c < 0x7f) {
    return clqi_json_refuse(json, "%s has the character %c where %s is expected", json->what, c,
                            expected);
  }
  return clqi_json_refuse(json, "%s has the byte %02x where %s is expected", json->what,
                          (unsigned)(unsigned char)c, expected);
}

clq_status clqi_json_finish(clqi_json *json) {
  (void)next_byte(json);
  return json->at == json->length ? CLQ_OK : fail_expected(json, "the end");
}

clq_status clqi_json_peek(clqi_json *json, clqi_json_kind *out) {
  switch (next_byte(json)) {
    case '{': *out = CLQI_JSON_OBJECT; return CLQ_OK;
    case '[': *out = CLQI_JSON_ARRAY; return CLQ_OK;
    case '"': *out = CLQI_JSON_STRING; return CLQ_OK;
    case 't':
    case 'f': *out = CLQI_JSON_BOOL; return CLQ_OK;
    case 'n': *out = CLQI_JSON_NULL; return CLQ_OK;
    case '-':
    case '0':
    case '1':
    case '2':
    case '3':
    case '4':
    case '5':
    case '6':
    case '7':
    case '8':
    case '9': *out = CLQI_JSON_NUMBER; return CLQ_OK;
    default: return fail_expected(json, "a value");
  }
}

/* --- Objects and arrays. -------------------------------------------------- */

static clq_status enter(clqi_json *json, char open, char close, const char *expected) {
  if (next_byte(json) != open) {
    return fail_expected(json, expected);
  }
  if (json->depth == CLQI_JSON_MAX_DEPTH) {
    return clqi_json_refuse(json, "%s is nested deeper than the %d levels allowed", json->what,
                            CLQI_JSON_MAX_DEPTH);
  }
  ++json->at;
  json->open[json->depth].close = close;
  json->open[json->depth].started = false;
  json->open[json->depth].first_key = json->key_count;
  ++json->depth;
  return CLQ_OK;
}

clq_status clqi_json_enter_object(clqi_json *json) { return enter(json, '{', '}', "an object"); }
clq_status clqi_json_enter_array(clqi_json *json) { return enter(json, '[', ']', "an array"); }

static int compare_keys(const void *context, uint32_t a, uint32_t b) {
  const char *text = context;
  const int order = strcmp(text + a, text + b);
  return order != 0 ? order : (a > b) - (a < b);
}

/* Sorting finds equal keys in n log n whatever they are; a hash table would let a file choose its
 * collisions. */
static clq_status leave(clqi_json *json) {
  const size_t first = json->open[--json->depth].first_key;
  const size_t count = json->key_count - first;
  json->key_count = first;
  if (count < 2) {
    return CLQ_OK;
  }
  uint32_t *keys = json->keys + first;
  clqi_sort_order(keys, count, compare_keys, json->text);
  for (size_t i = 1; i < count; ++i) {
    const char *key = json->text + keys[i];
    if (strcmp(json->text + keys[i - 1], key) == 0) {
      return clqi_json_refuse_at(json, keys[i], "%s has the key '%s' twice", json->what,
                                 clqi_excerpt_of(clqi_text_of(key)).text);
    }
  }
  return CLQ_OK;
}

clq_status clqi_json_next_item(clqi_json *json, bool *more) {
  const char close = json->open[json->depth - 1].close;
  const char c = next_byte(json);
  *more = c != close;
  if (!*more) {
    ++json->at;
    return leave(json);
  }
  if (json->open[json->depth - 1].started) {
    if (c != ',') {
      return fail_expected(json, close == ']' ? "',' or ']'" : "',' or '}'");
    }
    ++json->at;
  }
  json->open[json->depth - 1].started = true;
  return CLQ_OK;
}

static clq_status keep_key(clqi_json *json, const char *key) {
  if (json->key_count == json->key_capacity) {
    const size_t capacity = json->key_capacity == 0 ? 64 : 2 * json->key_capacity;
    uint32_t *keys = clqi_realloc(json->keys, capacity, sizeof *keys);
    if (keys == NULL) {
      return clqi_fail(CLQ_OUT_OF_HOST_MEMORY, "%s: no memory for %zu keys", json->name, capacity);
    }
    json->keys = keys;
    json->key_capacity = capacity;
  }
  json->keys[json->key_count++] = (uint32_t)(key - json->text);
  return CLQ_OK;
}

clq_status clqi_json_next_key(clqi_json *json, const char **key) {
  bool more = false;
  *key = NULL;
  CLQI_TRY(clqi_json_next_item(json, &more));
  if (!more) {
    return CLQ_OK;
  }
  const char *text = NULL;
  CLQI_TRY(clqi_json_string(json, &text));
  CLQI_TRY(keep_key(json, text));
  if (next_byte(json) != ':') {
    return fail_expected(json, "':'");
  }
  ++json->at;
  *key = text;
  return CLQ_OK;
}

/* --- Strings. ------------------------------------------------------------- */

/* The four digits after \u. */
static clq_status take_hex(clqi_json *json, uint32_t *out) {
  *out = 0;
  for (int i = 0; i < 4; ++i, ++json->at) {
    static const char digits[] = "0123456789abcdef0123456789ABCDEF";
    const char c = this_byte(json);
    const char *digit = c == '\0' ? NULL : strchr(digits, c);
    if (digit == NULL) {
      return fail_expected(json, "a hexadecimal digit");
    }
    *out = *out << 4 | (uint32_t)((digit - digits) & 15);
  }
  return CLQ_OK;
}

static clq_status take_code_point(clqi_json *json, uint32_t *out) {
  const size_t start = json->at;
  CLQI_TRY(take_hex(json, out));
  if (*out == 0) {
    return clqi_json_refuse_at(json, start, "%s has a string with U+0000 in it", json->what);
  }
  if (*out < 0xd800 || *out > 0xdfff) {
    return CLQ_OK;
  }
  uint32_t low = 0;
  if (*out < 0xdc00 && json->length - json->at >= 2 && json->text[json->at] == '\\' &&
      json->text[json->at + 1] == 'u') {
    json->at += 2;
    CLQI_TRY(take_hex(json, &low));
  }
  if (low < 0xdc00 || low > 0xdfff) {
    return clqi_json_refuse_at(json, start, "%s has half a surrogate pair in a string", json->what);
  }
  *out = 0x10000 + ((*out - 0xd800) << 10) + (low - 0xdc00);
  return CLQ_OK;
}

/* The escapes are longer than what they stand for. */
static char *put_code_point(char *to, uint32_t c) {
  const unsigned more = c < 0x80 ? 0 : c < 0x800 ? 1 : c < 0x10000 ? 2 : 3;
  static const unsigned char marks[] = {0, 0xc0, 0xe0, 0xf0};
  *to++ = (char)(unsigned char)(marks[more] | c >> 6 * more);
  for (unsigned i = more; i-- > 0;) {
    *to++ = (char)(unsigned char)(0x80 | (c >> 6 * i & 63));
  }
  return to;
}

static clq_status take_escape(clqi_json *json, char **to) {
  static const char letters[] = "\"\\/bfnrt";
  static const char values[] = "\"\\/\b\f\n\r\t";
  ++json->at;
  const char c = this_byte(json);
  if (c == 'u') {
    uint32_t point = 0;
    ++json->at;
    CLQI_TRY(take_code_point(json, &point));
    *to = put_code_point(*to, point);
    return CLQ_OK;
  }
  const char *letter = c == '\0' ? NULL : strchr(letters, c);
  if (letter == NULL) {
    return fail_expected(json, "an escape");
  }
  *(*to)++ = values[letter - letters];
  ++json->at;
  return CLQ_OK;
}

clq_status clqi_json_string(clqi_json *json, const char **out) {
  if (next_byte(json) != '"') {
    return fail_expected(json, "a string");
  }
  char *to = json->text + ++json->at;
  *out = to;
  for (;;) {
    const char c = this_byte(json);
    if (c == '"') {
      break;
    }
    if ((unsigned char)c < 0x20) {
      return fail_expected(json, "the end of a string");
    }
    if (c == '\\') {
      CLQI_TRY(take_escape(json, &to));
    } else {
      *to++ = c;
      ++json->at;
    }
  }
  *to = '\0'; /* at the closing quote, or before it */
  ++json->at;
  return CLQ_OK;
}

/* --- Numbers and words. --------------------------------------------------- */

static bool take_byte(clqi_json *json, const char *of) {
  const char c = this_byte(json);
  if (c == '\0' || strchr(of, c) == NULL) {
    return false;
  }
  ++json->at;
  return true;
}

static clq_status take_digits(clqi_json *json) {
  if (!take_byte(json, "0123456789")) {
    return fail_expected(json, "a digit");
  }
  while (take_byte(json, "0123456789")) {
  }
  return CLQ_OK;
}

/* *whole: it has neither fraction nor exponent. */
static clq_status take_number(clqi_json *json, clqi_text *out, bool *whole) {
  (void)next_byte(json);
  const size_t start = json->at;
  (void)take_byte(json, "-");
  if (!take_byte(json, "0")) {
    CLQI_TRY(take_digits(json));
  }
  const size_t end = json->at;
  if (take_byte(json, ".")) {
    CLQI_TRY(take_digits(json));
  }
  if (take_byte(json, "eE")) {
    (void)take_byte(json, "+-");
    CLQI_TRY(take_digits(json));
  }
  *whole = json->at == end;
  *out = (clqi_text){json->text + start, json->at - start};
  return CLQ_OK;
}

/* False beyond 2^53. */
static bool integer_of(clqi_text digits, int64_t *out) {
  const bool negative = digits.data[0] == '-';
  int64_t value = 0;
  for (size_t i = negative ? 1 : 0; i < digits.length; ++i) {
    value = 10 * value + (digits.data[i] - '0');
    if (value > CLQI_JSON_MAX_INTEGER) {
      return false;
    }
  }
  *out = negative ? -value : value;
  return true;
}

clq_status clqi_json_integer(clqi_json *json, int64_t least, int64_t most, int64_t *out) {
  clqi_text digits = {0};
  bool whole = false;
  int64_t value = 0;
  clqi_json_kind kind = CLQI_JSON_NULL;
  CLQI_TRY(clqi_json_peek(json, &kind));
  if (kind != CLQI_JSON_NUMBER) {
    return fail_expected(json, "an integer");
  }
  const size_t start = json->at;
  CLQI_TRY(take_number(json, &digits, &whole));
  if (!whole || !integer_of(digits, &value) || value < least || value > most) {
    return clqi_json_refuse_at(
        json, start, "%s has the number %s, expected an integer from %" PRId64 " to %" PRId64,
        json->what, clqi_excerpt_of(digits).text, least, most);
  }
  *out = value;
  return CLQ_OK;
}

/* By hand: strtod reads as the process's locale writes. */
static double number_of(clqi_text digits) {
  enum { MOST = 400, MOST_EXPONENT = 100000 };
  size_t i = digits.data[0] == '-';
  long double mantissa = 0.0L;
  int exponent = 0;
  bool fraction = false;
  for (; i < digits.length && digits.data[i] != 'e' && digits.data[i] != 'E'; ++i) {
    if (digits.data[i] == '.') {
      fraction = true;
    } else if (mantissa < 1e18L) {
      mantissa = 10.0L * mantissa + (long double)(digits.data[i] - '0');
      exponent -= fraction;
    } else {
      exponent += !fraction; /* digits that no double has */
    }
  }
  int written = 0;
  bool negative = false;
  for (++i; i < digits.length; ++i) {
    negative = negative || digits.data[i] == '-';
    if (digits.data[i] >= '0' && digits.data[i] <= '9' && written < MOST_EXPONENT) {
      written = 10 * written + (digits.data[i] - '0');
    }
  }
  exponent += negative ? -written : written;
  exponent = exponent > MOST ? MOST : exponent < -MOST ? -MOST : exponent;
  const long double value = mantissa * powl(10.0L, (long double)exponent);
  return (double)(digits.data[0] == '-' ? -value : value);
}

clq_status clqi_json_number(clqi_json *json, double *out) {
  clqi_text digits = {0};
  bool whole = false;
  clqi_json_kind kind = CLQI_JSON_NULL;
  CLQI_TRY(clqi_json_peek(json, &kind));
  if (kind != CLQI_JSON_NUMBER) {
    return fail_expected(json, "a number");
  }
  const size_t start = json->at;
  CLQI_TRY(take_number(json, &digits, &whole));
  *out = number_of(digits);
  if (!isfinite(*out)) {
    return clqi_json_refuse_at(json, start, "%s has the number %s, which is too large", json->what,
                               clqi_excerpt_of(digits).text);
  }
  return CLQ_OK;
}

static clq_status take_word(clqi_json *json, const char *word) {
  const size_t length = strlen(word);
  if (json->length - json->at < length || memcmp(json->text + json->at, word, length) != 0) {
    return fail_expected(json, "a value");
  }
  json->at += length;
  return CLQ_OK;
}

clq_status clqi_json_bool(clqi_json *json, bool *out) {
  const char c = next_byte(json);
  if (c != 't' && c != 'f') {
    return fail_expected(json, "true or false");
  }
  CLQI_TRY(take_word(json, c == 't' ? "true" : "false"));
  *out = c == 't';
  return CLQ_OK;
}

static clq_status skip_object(clqi_json *json) {
  const char *key = NULL;
  CLQI_TRY(clqi_json_enter_object(json));
  do {
    CLQI_TRY(clqi_json_next_key(json, &key));
    if (key != NULL) {
      CLQI_TRY(clqi_json_skip(json));
    }
  } while (key != NULL);
  return CLQ_OK;
}

static clq_status skip_array(clqi_json *json) {
  bool more = false;
  CLQI_TRY(clqi_json_enter_array(json));
  do {
    CLQI_TRY(clqi_json_next_item(json, &more));
    if (more) {
      CLQI_TRY(clqi_json_skip(json));
    }
  } while (more);
  return CLQ_OK;
}

clq_status clqi_json_skip(clqi_json *json) {
  clqi_json_kind kind = CLQI_JSON_NULL;
  const char *text = NULL;
  clqi_text digits = {0};
  bool flag = false;
  CLQI_TRY(clqi_json_peek(json, &kind));
  switch (kind) {
    case CLQI_JSON_OBJECT: return skip_object(json);
    case CLQI_JSON_ARRAY: return skip_array(json);
    case CLQI_JSON_STRING: return clqi_json_string(json, &text);
    case CLQI_JSON_NUMBER: return take_number(json, &digits, &flag);
    case CLQI_JSON_BOOL: return clqi_json_bool(json, &flag);
    case CLQI_JSON_NULL: return take_word(json, "null");
  }
  return CLQ_OK;
}
