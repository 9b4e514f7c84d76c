/* Strict reader of JSON (RFC 8259) from files that strangers wrote.
 *
 * The caller asks for what it expects, in the order of the text; nothing is built but what the
 * caller keeps, so that a hostile file cannot make the reader hold many times its own size.
 * Strings are decoded in place and end with NUL: they live as long as the text.
 *
 *   clqi_json json;
 *   CLQI_TRY_CLEAN(clqi_json_begin(&json, "config.json", 0, text, length));
 *   CLQI_TRY_CLEAN(clqi_json_enter_object(&json));
 *   for (;;) {
 *     const char *key;
 *     CLQI_TRY_CLEAN(clqi_json_next_key(&json, &key));
 *     if (key == NULL) { break; }
 *     CLQI_TRY_CLEAN(clqi_json_skip(&json));
 *   }
 *   CLQI_TRY_CLEAN(clqi_json_finish(&json));
 * cleanup:
 *   clqi_json_free(&json);
 *
 * Refused besides what the grammar does not have: keys that an object has twice (found when it
 * ends), bytes that are not UTF-8, half surrogate pairs, U+0000 in strings, nesting beyond
 * CLQI_JSON_MAX_DEPTH, integers beyond 2^53. Errors: CLQ_BAD_FILE with a sentence
 * "NAME: message (at byte N)ADVICE"; CLQ_OUT_OF_HOST_MEMORY. */
#ifndef CLQI_IO_JSON_H
#define CLQI_IO_JSON_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "runtime/status.h"

enum { CLQI_JSON_MAX_DEPTH = 64, CLQI_JSON_MAX_BYTES = 1 << 30 };
#define CLQI_JSON_MAX_INTEGER ((int64_t)1 << 53)

typedef enum clqi_json_kind {
  CLQI_JSON_OBJECT,
  CLQI_JSON_ARRAY,
  CLQI_JSON_STRING,
  CLQI_JSON_NUMBER,
  CLQI_JSON_BOOL,
  CLQI_JSON_NULL
} clqi_json_kind;

typedef struct clqi_json {
  const char *name;   /* of the file, for messages */
  const char *advice; /* the end of a refusal: what to do about the file */
  char what[128];     /* the part being read, for messages; the caller may set it */
  size_t origin;      /* of the text in its file */
  char *text;
  size_t length;
  size_t at; /* of the next byte */
  size_t depth;
  struct {
    char close;
    bool started;     /* an element has been read */
    size_t first_key; /* in keys */
  } open[CLQI_JSON_MAX_DEPTH];
  uint32_t *keys; /* of the objects that are open: where they begin in the text */
  size_t key_count;
  size_t key_capacity;
} clqi_json;

/* text, which is changed in place, and name must live as long as the reader. origin: what messages
 * add to positions in the text. To be freed also if this fails. */
CLQ_NODISCARD clq_status clqi_json_begin(clqi_json *json, const char *name, size_t origin,
                                         char *text, size_t length);
/* Refuses a text that goes on after its value. */
CLQ_NODISCARD clq_status clqi_json_finish(clqi_json *json);
void clqi_json_free(clqi_json *json);

/* What the next value is. */
CLQ_NODISCARD clq_status clqi_json_peek(clqi_json *json, clqi_json_kind *out);

CLQ_NODISCARD clq_status clqi_json_enter_object(clqi_json *json);
/* *key is NULL behind the last, and the object is then left. */
CLQ_NODISCARD clq_status clqi_json_next_key(clqi_json *json, const char **key);
CLQ_NODISCARD clq_status clqi_json_enter_array(clqi_json *json);
/* *more is false behind the last, and the array is then left. */
CLQ_NODISCARD clq_status clqi_json_next_item(clqi_json *json, bool *more);

CLQ_NODISCARD clq_status clqi_json_string(clqi_json *json, const char **out);
/* A number without fraction and exponent from least to most, which lie within 2^53. */
CLQ_NODISCARD clq_status clqi_json_integer(clqi_json *json, int64_t least, int64_t most,
                                           int64_t *out);
/* Any number that a double can hold, within two units of its last place. */
CLQ_NODISCARD clq_status clqi_json_number(clqi_json *json, double *out);
CLQ_NODISCARD clq_status clqi_json_bool(clqi_json *json, bool *out);
/* Any value, checked all the same. */
CLQ_NODISCARD clq_status clqi_json_skip(clqi_json *json);

/* clqi_json_refuse(json, format, ...): a refusal of what was just read, by the caller. */
void clqi_json_set_refusal(const clqi_json *json, size_t at, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
#define clqi_json_refuse_at(json, at, ...) \
  (clqi_json_set_refusal((json), (at), __VA_ARGS__), clqi_same_status(CLQ_BAD_FILE))
#define clqi_json_refuse(json, ...) clqi_json_refuse_at((json), (json)->at, __VA_ARGS__)

#endif
