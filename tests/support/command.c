#include "command.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static FILE *scratch_with(const char *content) {
  FILE *file = tmpfile();
  cr_assert_not_null(file);
  if (content != NULL) {
    cr_assert(fputs(content, file) >= 0 && fflush(file) == 0);
    rewind(file);
  }
  return file;
}

command command_start(const char *const *argv, const char *variable, const char *input) {
  FILE *in = scratch_with(input);
  command running = {.out = scratch_with(NULL), .err = scratch_with(NULL)};
  running.process = fork();
  cr_assert(running.process >= 0);
  if (running.process == 0) {
    char *copy = variable == NULL ? NULL : strdup(variable);
    if (dup2(fileno(in), 0) < 0 || dup2(fileno(running.out), 1) < 0 ||
        dup2(fileno(running.err), 2) < 0 || (copy != NULL && putenv(copy) != 0)) {
      _exit(126);
    }
    (void)execv(argv[0], (char *const *)argv);
    _exit(127);
  }
  (void)fclose(in);
  return running;
}

static char *slurp(FILE *file, size_t *length) {
  cr_assert_eq(fseek(file, 0, SEEK_END), 0);
  const long size = ftell(file);
  cr_assert(size >= 0);
  rewind(file);
  char *text = malloc((size_t)size + 1);
  cr_assert_not_null(text);
  *length = fread(text, 1, (size_t)size, file);
  text[*length] = '\0';
  (void)fclose(file);
  return text;
}

command_result command_wait(command *running) {
  int status = 0;
  cr_assert_eq(waitpid(running->process, &status, 0), running->process);
  command_result result = {.code =
                               WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status)};
  size_t err_length = 0;
  result.out = slurp(running->out, &result.out_length);
  result.err = slurp(running->err, &err_length);
  return result;
}

command_result command_run(const char *const *argv, const char *variable, const char *input) {
  command running = command_start(argv, variable, input);
  return command_wait(&running);
}

void command_free(command_result *result) {
  free(result->out);
  free(result->err);
  *result = (command_result){0};
}
