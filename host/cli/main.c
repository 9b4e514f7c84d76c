#include <signal.h>
#include <stdio.h>
#include <string.h>

#include <clquant/status.h>

#include "cli.h"
#include "options.h"

static const struct command {
  const char *name;
  int (*run)(int argc, char **argv);
  const char *purpose;
} commands[] = {
#if CLQ_WITH_BENCH
    {"bench", cli_bench, "measure an operator and check its answer"},
#endif
    {"cache", cli_cache, "show or clear the folder of compiled kernels"},
    {"devices", cli_devices, "list the OpenCL devices and what they can do"},
    {"embed", cli_embed, "turn texts into vectors with an encoder model"},
    {"logits", cli_logits, "write a model's predictions for every token of a text"},
    {"perplexity", cli_perplexity, "measure how well a model predicts a text"},
    {"run", cli_run, "continue a text, or answer it, with a language model"},
    {"tokenize", cli_tokenize, "turn text into a model's token ids, or back"},
#if CLQ_WITH_BENCH
    {"tune", cli_tune, "fit an operator to the device, and keep what was found"},
#endif
};
enum { COMMAND_COUNT = sizeof commands / sizeof commands[0] };

static void print_usage(FILE *out) {
  (void)fputs("usage: clq COMMAND [option]...\n\n", out);
  for (size_t i = 0; i < COMMAND_COUNT; ++i) {
    (void)fprintf(out, "  %-12s%s\n", commands[i].name, commands[i].purpose);
  }
  (void)fputs(
      "\n  clq COMMAND --help   the command's options\n"
      "  clq --version        the version of the library\n"
      "\n"
      "Environment: CLQ_DEVICE (index or part of the name of the device),\n"
      "CLQ_CACHE_DIR (folder of compiled kernels, or off), CLQ_DISABLE (traits to ignore),\n"
      "CLQ_TUNING (file of a tuned table, or off),\n"
      "CLQ_VERBOSE=dispatch,build,exec,cache (reasons, to stderr).\n"
      "Exit code: 0 done, 1 failed (one sentence on stderr), 2 wrong usage.\n",
      out);
}

static const char *command_name(const void *list, size_t i) {
  (void)list;
  return i < COMMAND_COUNT ? commands[i].name : NULL;
}

static int unknown_command(const char *word) {
  const char *what = word[0] == '-' ? "option" : "command";
  const char *nearest = word[0] == '-' ? NULL : cli_nearest(word, command_name, NULL);
  (void)fprintf(stderr, "clq: unknown %s '%s'", what, word);
  if (nearest != NULL) {
    (void)fprintf(stderr, ", did you mean '%s'", nearest);
  }
  (void)fputs("; try 'clq --help'\n", stderr);
  return CLI_MISUSED;
}

int main(int argc, char **argv) {
  (void)signal(SIGXFSZ, SIG_IGN); /* a file that may grow no further is a failed write */
  if (argc < 2) {
    print_usage(stderr);
    return CLI_MISUSED;
  }
  if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0) {
    print_usage(stdout);
    return cli_flush(CLI_DONE);
  }
  if (strcmp(argv[1], "--version") == 0) {
    (void)printf("clq %s\n", clq_version());
    return cli_flush(CLI_DONE);
  }
  for (size_t i = 0; i < COMMAND_COUNT; ++i) {
    if (strcmp(argv[1], commands[i].name) == 0) {
      const int code = commands[i].run(argc - 1, argv + 1);
      return cli_flush(code == CLI_CANCELLED ? CLI_DONE : code);
    }
  }
  return unknown_command(argv[1]);
}
