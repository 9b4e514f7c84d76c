#include "json.h"

#include <cjson/cJSON.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli.h"
#include "utf8.h"

enum { SCHEMA_VERSION = 1 };

cli_json cli_json_new(void) {
  cli_json json = {.open = {cJSON_CreateObject()}};
  json.failed = json.open[0] == NULL;
  cli_json_number(&json, "schema_version", SCHEMA_VERSION);
  return json;
}

/* Takes item over. */
static bool add(cli_json *json, const char *key, cJSON *item) {
  cJSON *parent = json->open[json->depth];
  const bool added = item != NULL && !json->failed &&
                     (key == NULL ? cJSON_AddItemToArray(parent, item)
                                  : cJSON_AddItemToObjectCS(parent, key, item));
  if (!added) {
    cJSON_Delete(item);
    json->failed = true;
  }
  return added;
}

void cli_json_number(cli_json *json, const char *key, double value) {
  (void)add(json, key, cJSON_CreateNumber(value));
}

void cli_json_bool(cli_json *json, const char *key, bool value) {
  (void)add(json, key, cJSON_CreateBool(value));
}

enum { LONGEST_ESCAPE = 6 };

/* Writes one character of the text; returns the bytes it read. */
static size_t escape(const unsigned char *at, size_t left, char **out) {
  const size_t sequence = cli_utf8_sequence((const char *)at, left);
  if (sequence == 0) {
    memcpy(*out, "\xEF\xBF\xBD", 3);
    *out += 3;
    return 1;
  }
  if (*at == '"' || *at == '\\') {
    *(*out)++ = '\\';
    *(*out)++ = (char)*at;
  } else if (*at < 0x20) {
    static const char hex[] = "0123456789abcdef";
    memcpy(*out, "\\u00", 4);
    (*out)[4] = hex[*at >> 4];
    (*out)[5] = hex[*at & 15];
    *out += LONGEST_ESCAPE;
  } else {
    memcpy(*out, at, sequence);
    *out += sequence;
  }
  return sequence;
}

/* Escaped here, because cJSON's strings end at a NUL and are not checked. */
void cli_json_text(cli_json *json, const char *key, const char *text, size_t length) {
  char *quoted = malloc(length * LONGEST_ESCAPE + 3);
  if (quoted == NULL) {
    json->failed = true;
    return;
  }
  char *out = quoted;
  *out++ = '"';
  for (size_t i = 0; i < length;) {
    i += escape((const unsigned char *)text + i, length - i, &out);
  }
  *out++ = '"';
  *out = '\0';
  (void)add(json, key, cJSON_CreateRaw(quoted));
  free(quoted);
}

void cli_json_string(cli_json *json, const char *key, const char *text) {
  cli_json_text(json, key, text, strlen(text));
}

void cli_json_ids(cli_json *json, const char *key, const int32_t *ids, int64_t count) {
  cli_json_open_list(json, key);
  for (int64_t i = 0; i < count && !json->failed; ++i) {
    cli_json_number(json, NULL, ids[i]);
  }
  cli_json_close(json);
}

static void open_item(cli_json *json, const char *key, cJSON *item) {
  if (json->depth + 1 == CLI_JSON_DEPTH || !add(json, key, item)) {
    json->failed = true;
    return;
  }
  json->open[++json->depth] = item;
}

void cli_json_open(cli_json *json, const char *key) { open_item(json, key, cJSON_CreateObject()); }

void cli_json_open_list(cli_json *json, const char *key) {
  open_item(json, key, cJSON_CreateArray());
}

/* After a failure open and close no longer pair up, and nothing is added. */
void cli_json_close(cli_json *json) { json->depth -= json->depth > 0; }

void cli_json_drop(cli_json *json) {
  cJSON_Delete(json->open[0]);
  *json = (cli_json){.failed = true};
}

int cli_json_print(cli_json *json) {
  char *text = json->failed ? NULL : cJSON_Print(json->open[0]);
  cli_json_drop(json);
  if (text == NULL) {
    return cli_fail_memory();
  }
  (void)puts(text);
  cJSON_free(text);
  return cli_flush(CLI_DONE);
}
