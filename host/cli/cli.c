#include "cli.h"

#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include <clquant/status.h>

int cli_fail(const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  (void)fputs("clq: ", stderr);
  (void)vfprintf(stderr, format, arguments);
  (void)fputc('\n', stderr);
  va_end(arguments);
  return CLI_FAILED;
}

int cli_fail_library(void) { return cli_fail("%s", clq_last_error()); }

int cli_fail_memory(void) { return cli_fail("out of memory"); }

int cli_flush(int code) {
  errno = 0;
  if (fflush(stdout) != 0 || ferror(stdout)) {
    /* Whoever already failed has said its sentence. */
    return code != CLI_DONE ? code
                            : cli_fail("cannot write to standard output: %s",
                                       errno != 0 ? strerror(errno) : "it was closed or is full");
  }
  return code;
}

double cli_seconds(void) {
  struct timespec now = {0};
  (void)clock_gettime(CLOCK_MONOTONIC, &now);
  return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

static volatile sig_atomic_t interrupted;

static void note_interrupt(int number) {
  (void)number;
  interrupted = 1;
}

void cli_catch_interrupt(void) {
  struct sigaction action = {.sa_handler = note_interrupt};
  (void)sigemptyset(&action.sa_mask);
  action.sa_flags = SA_RESTART | (int)SA_RESETHAND;
  (void)sigaction(SIGINT, &action, NULL);
}

int cli_interrupted(void) { return interrupted; }
