#include "cli.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <clquant/status.h>
#include <clquant/tuning.h>

int cli_fail(const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  (void)fputs("clq: ", stderr);
  (void)vfprintf(stderr, format, arguments);
  (void)fputc('\n', stderr);
  va_end(arguments);
  return CLI_FAILED;
}

int cli_fail_library(void) {
  char sentence[CLI_SENTENCE_BYTES];
  cli_sentence(sentence);
  const bool memory = strstr(sentence, "out of ") != NULL && strstr(sentence, "memory") != NULL;
  return cli_fail("%s%s", sentence,
                  memory && strchr(sentence, ';') == NULL ? "; free some, or ask for less" : "");
}

int cli_fail_library_advice(const char *advice) {
  char sentence[CLI_SENTENCE_BYTES];
  cli_sentence(sentence);
  return cli_fail("%s; %s", sentence, advice);
}

int cli_fail_memory(void) { return cli_fail("out of memory; free some, or ask for less"); }

void cli_context_sentence(const char *device, char sentence[CLI_SENTENCE_BYTES]) {
  static const char variable[] = "CLQ_DEVICE: ";
  const bool unknown = strncmp(clq_last_error(), "no device '", 11) == 0;
  cli_sentence(sentence);
  if (device == NULL && unknown) {
    memmove(sentence + sizeof variable - 1, sentence, CLI_SENTENCE_BYTES - sizeof variable);
    memcpy(sentence, variable, sizeof variable - 1);
    sentence[CLI_SENTENCE_BYTES - 1] = '\0';
  }
}

int cli_open_context(const char *device, clq_context **context) {
  const clq_context_desc desc = {.device_name = device};
  if (clq_context_create(&desc, context) != CLQ_OK) {
    char sentence[CLI_SENTENCE_BYTES];
    cli_context_sentence(device, sentence);
    return cli_fail("%s", sentence);
  }
  cli_tell_cache(*context);
  cli_tell_tuning(*context);
  return CLI_DONE;
}

void cli_tell_cache(const clq_context *context) {
  static bool told;
  const char *chosen = getenv("CLQ_CACHE_DIR");
  const char *why = "";
  const bool wanted = chosen == NULL || strcmp(chosen, "off") != 0;
  if (!told && wanted && clq_context_cache_dir(context, &why) == NULL) {
    (void)fprintf(stderr,
                  "clq: warning: %s; kernels are compiled again each time: set CLQ_CACHE_DIR to a "
                  "folder of your own, or to off\n",
                  why);
    told = true;
  }
}

void cli_tell_tuning(const clq_context *context) {
  static bool told;
  const char *chosen = getenv("CLQ_TUNING");
  const char *why = "";
  const bool wanted = chosen != NULL && chosen[0] != '\0' && strcmp(chosen, "off") != 0;
  if (!told && wanted && clq_context_tuning(context, &why) == NULL) {
    (void)fprintf(stderr, "clq: warning: CLQ_TUNING: %s; built-in values serve\n", why);
    told = true;
  }
}

void cli_close_context(clq_context *context) {
  static bool told;
  if (context != NULL && clq_context_cache_save(context) != CLQ_OK && !told) {
    (void)fprintf(stderr, "clq: warning: %s\n", clq_last_error());
    told = true;
  }
  clq_context_destroy(context);
}

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

static char temporary[4096]; /* "": there is none */
static pthread_mutex_t temporary_lock = PTHREAD_MUTEX_INITIALIZER;

int cli_temporary_open(char *template) {
  (void)pthread_mutex_lock(&temporary_lock);
  const int descriptor = mkstemp(template);
  if (descriptor >= 0) {
    (void)snprintf(temporary, sizeof temporary, "%s", template);
  }
  (void)pthread_mutex_unlock(&temporary_lock);
  return descriptor;
}

void cli_temporary_done(void) {
  (void)pthread_mutex_lock(&temporary_lock);
  temporary[0] = '\0';
  (void)pthread_mutex_unlock(&temporary_lock);
}

/* As if the signal had not been caught, but for the file. */
static void die(const sigset_t *set, int number) {
  (void)pthread_mutex_lock(&temporary_lock);
  if (temporary[0] != '\0') {
    (void)unlink(temporary);
  }
  (void)signal(number, SIG_DFL);
  (void)pthread_sigmask(SIG_UNBLOCK, set, NULL);
  (void)raise(number);
}

static void *wait_for_signals(void *set) {
  int number = 0;
  (void)sigwait(set, &number);
  if (number == SIGINT) {
    interrupted = true;
    (void)sigwait(set, &number);
  }
  die(set, number);
  return NULL;
}

/* Whoever made us ignore it wants that: nohup, or a script's shell for `clq ... &`. */
static void add_unless_ignored(sigset_t *set, int number) {
  struct sigaction before;
  if (sigaction(number, NULL, &before) == 0 && before.sa_handler != SIG_IGN) {
    (void)sigaddset(set, number);
  }
}

/* Blocked in all threads but one and in the compilers that drivers start, because LLVM handles
 * these signals, too, even ignored ones: it removes the files of the compilation at hand, which
 * then fails. What is ignored is therefore blocked as well, and nobody waits for it. */
void cli_catch_signals(void) {
  static const int numbers[] = {SIGINT, SIGTERM, SIGHUP};
  static sigset_t set;
  sigset_t blocked;
  pthread_t waiter;
  (void)sigemptyset(&set);
  (void)sigemptyset(&blocked);
  for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; ++i) {
    (void)sigaddset(&blocked, numbers[i]);
    add_unless_ignored(&set, numbers[i]);
  }
  (void)pthread_sigmask(SIG_BLOCK, &blocked, NULL);
  if (pthread_create(&waiter, NULL, wait_for_signals, &set) == 0) {
    (void)pthread_detach(waiter);
  } else {
    (void)pthread_sigmask(SIG_UNBLOCK, &set, NULL);
  }
}

bool cli_interrupted(void) { return interrupted; }
