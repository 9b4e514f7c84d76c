/* The command clq: what its sub-commands share. They use the library's public
 * headers only. Data goes to stdout, talk to stderr.
 *
 * Exit codes: 0 done; 1 failed, after one sentence on stderr; 2 wrong usage. */
#ifndef CLQ_CLI_CLI_H
#define CLQ_CLI_CLI_H

#include <stdbool.h>

#include <clquant/context.h>

#include "sentence.h"

enum { CLI_DONE = 0, CLI_FAILED = 1, CLI_MISUSED = 2 };

/* Ends a command like a failure, without a sentence and with exit code 0: SIGINT came before there
 * was anything to print. */
enum { CLI_CANCELLED = 3 };

/* One per sub-command, each in its own file; argv[0] is the sub-command's name. */
int cli_bench(int argc, char **argv);
int cli_cache(int argc, char **argv);
int cli_devices(int argc, char **argv);
int cli_embed(int argc, char **argv);
int cli_logits(int argc, char **argv);
int cli_perplexity(int argc, char **argv);
int cli_run(int argc, char **argv);
int cli_tokenize(int argc, char **argv);
int cli_tune(int argc, char **argv);

/* Prints "clq: <sentence>" to stderr; returns CLI_FAILED. */
int cli_fail(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* The same with the library's last error, in the command's words. */
int cli_fail_library(void);
/* The same, and what to try. */
int cli_fail_library_advice(const char *advice);
int cli_fail_memory(void);

/* The context of the device that --device names (NULL: CLQ_DEVICE, or the first one), made or
 * refused as every command does it: an exit code, the sentence said. */
int cli_open_context(const char *device, clq_context **context);
/* The sentence for a context that could not be made, without a newline. */
void cli_context_sentence(const char *device, char sentence[CLI_SENTENCE_BYTES]);

/* Warns, once, where the context has no folder for its compiled kernels though nobody turned that
 * off. To be called after a context was created. */
void cli_tell_cache(const clq_context *context);

/* Warns, once, where CLQ_TUNING names a table that is not used. */
void cli_tell_tuning(const clq_context *context);

/* Keeps what was compiled and destroys the context; NULL is ignored. Warns, once, where nothing can
 * be kept. */
void cli_close_context(clq_context *context);

/* Waits for stdout to take everything; CLI_FAILED if it did not, else code. */
int cli_flush(int code);

/* Seconds on a clock that only goes forward. */
double cli_seconds(void);

/* From the call on, the first SIGINT only makes cli_interrupted() true; a second one ends the
 * process, as do SIGTERM and SIGHUP at once, after the temporary file was removed. To be called
 * before the first context is created, once. */
void cli_catch_signals(void);
/* mkstemp of a file that those signals remove, until done. One at a time. */
int cli_temporary_open(char *template);
void cli_temporary_done(void);
bool cli_interrupted(void);

#endif
