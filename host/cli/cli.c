#include "cli.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
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

int cli_fail_library_advice(const char *advice) {
  return cli_fail("%s; %s", clq_last_error(), advice);
}

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

static atomic_bool interrupted;

static void *wait_for_interrupts(void *set) {
  int number = 0;
  (void)sigwait(set, &number);
  interrupted = true;
  (void)sigwait(set, &number);
  (void)signal(SIGINT, SIG_DFL);
  (void)pthread_sigmask(SIG_UNBLOCK, set, NULL);
  (void)raise(SIGINT);
  return NULL;
}

/* Blocked in all threads but one and in the compilers that drivers start, because LLVM handles
 * SIGINT, too: it removes the files of the compilation at hand, which then fails. */
void cli_catch_interrupt(void) {
  static sigset_t set;
  pthread_t waiter;
  (void)sigemptyset(&set);
  (void)sigaddset(&set, SIGINT);
  (void)pthread_sigmask(SIG_BLOCK, &set, NULL);
  if (pthread_create(&waiter, NULL, wait_for_interrupts, &set) == 0) {
    (void)pthread_detach(waiter);
  } else {
    (void)pthread_sigmask(SIG_UNBLOCK, &set, NULL);
  }
}

bool cli_interrupted(void) { return interrupted; }
