/* One JSON object for stdout, built with cJSON and printed as a whole.
 *
 *   cli_json json = cli_json_new();
 *   cli_json_number(&json, "load_s", seconds);
 *   cli_json_open_list(&json, "kernels");
 *   ...
 *   cli_json_close(&json);
 *   return cli_json_print(&json);
 *
 * A lack of memory latches and is reported by print. Keys are plain literals. */
#ifndef CLQ_CLI_JSON_H
#define CLQ_CLI_JSON_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct cJSON;

enum { CLI_JSON_DEPTH = 8 };

typedef struct cli_json {
  struct cJSON *open[CLI_JSON_DEPTH]; /* the root first */
  int depth;
  bool failed;
} cli_json;

/* An object with schema_version in it. */
cli_json cli_json_new(void);

/* In a list, key is NULL. NaN and infinities become null. */
void cli_json_number(cli_json *json, const char *key, double value);
/* Bytes that are not UTF-8 become U+FFFD. */
void cli_json_text(cli_json *json, const char *key, const char *text, size_t length);
void cli_json_string(cli_json *json, const char *key, const char *text);
void cli_json_bool(cli_json *json, const char *key, bool value);
void cli_json_ids(cli_json *json, const char *key, const int32_t *ids, int64_t count);

void cli_json_open(cli_json *json, const char *key);
void cli_json_open_list(cli_json *json, const char *key);
void cli_json_close(cli_json *json);

/* Writes the object and a newline to stdout and releases it; an exit code. */
int cli_json_print(cli_json *json);
/* Releases it without a word. */
void cli_json_drop(cli_json *json);

#endif
