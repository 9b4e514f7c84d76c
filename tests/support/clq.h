/* The command clq under test, what it must say, and scratch folders for it. */
#ifndef CLQ_TEST_CLQ_H
#define CLQ_TEST_CLQ_H

#include <cjson/cJSON.h>
#include <stdbool.h>

#include "command.h"
#include "gguf_writer.h"

enum { CLQ_MOST_WORDS = 20 };

/* clq(variable, word, ..., NULL); see command.h for variable. */
#define clq(variable, ...) \
  command_run((const char *const[CLQ_MOST_WORDS]){CLQ_TEST_CLI, __VA_ARGS__, NULL}, variable, NULL)
#define clq_reading(input, ...) \
  command_run((const char *const[CLQ_MOST_WORDS]){CLQ_TEST_CLI, __VA_ARGS__, NULL}, NULL, input)

/* Starts argv with a pipe as stdin that nobody writes to; *end is to be closed. */
command clq_start_waiting(const char *const *argv, int *end);

/* Drivers may write to stderr while they compile; what clq says begins with its name. */
bool clq_is_silent(const char *err);

/* Each of these releases the result. */
void expect_ok(command_result result, const char *part);
/* One line on stderr that holds `part`, nothing on stdout. */
void expect_refusal(command_result result, int code, const char *part);
/* The whole of stdout. */
void expect_text(command_result result, const char *text);
/* The object on stdout, the caller's. */
cJSON *expect_json(command_result result);

double json_number(const cJSON *json, const char *key);
const char *json_string(const cJSON *json, const char *key);

/* The model of CLQ_TEST_MODEL; skips the test without it. */
const char *test_model(void);

typedef struct scratch {
  char folder[64];
  char file[96];
  char variable[128]; /* room for an environment variable */
} scratch;

/* A folder, and the name of a file in it. */
scratch scratch_new(const char *name);
/* Removes the folder and its files. */
void scratch_free(const scratch *s);

void put_file(const char *path, const void *data, size_t size);
/* All bytes as tokens would be long; "a", "b", "ab", a space and an accent are enough. */
void add_tokenizer(gguf_image *image, const char *model, const char *pre);
/* The finished image as a file. */
void put_image(const char *path, gguf_image *image);
/* Calls visit on every file; returns their number. */
int for_files(const char *folder, void (*visit)(const char *path));
void remove_file(const char *path);
void leave_file(const char *path);

#endif
