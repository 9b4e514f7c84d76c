/* Runs a program and keeps what it said. Failures to run it end the test. */
#ifndef CLQ_TEST_COMMAND_H
#define CLQ_TEST_COMMAND_H

#include <stddef.h>
#include <stdio.h>
#include <sys/types.h>

typedef struct command_result {
  int code;  /* exit code; 128 + number after a signal */
  char *out; /* NUL-terminated; released by command_free */
  size_t out_length;
  char *err;
} command_result;

typedef struct command {
  pid_t process;
  FILE *out; /* growing files */
  FILE *err;
} command;

/* argv ends with NULL. variable: "NAME=VALUE" to add to the environment, or NULL. The program
 * reads `input` (NULL: nothing) as stdin. */
command command_start(const char *const *argv, const char *variable, const char *input);
command_result command_wait(command *running);
command_result command_run(const char *const *argv, const char *variable, const char *input);
void command_free(command_result *result);

#endif
