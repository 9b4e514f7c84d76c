/* clq cache: the folder of compiled kernels. */
#include <inttypes.h>
#include <stdio.h>

#include <clquant/context.h>

#include "cli.h"
#include "json.h"
#include "options.h"

static void print_text(const clq_cache_contents *found, bool clear) {
  if (found->dir[0] == '\0') {
    (void)printf("off: %s\n", found->why);
  } else if (found->why[0] != '\0') {
    (void)printf("%s\n%s\n", found->dir, found->why);
  } else {
    (void)printf("%s\n%s%" PRIu64 " file%s, %.1f KiB\n", found->dir, clear ? "removed " : "",
                 found->files, found->files == 1 ? "" : "s", (double)found->bytes / 1024);
  }
}

static int print_json(const clq_cache_contents *found, bool clear) {
  cli_json json = cli_json_new();
  cli_json_string(&json, "dir", found->dir);
  cli_json_string(&json, "why", found->why);
  cli_json_number(&json, "files", (double)found->files);
  cli_json_number(&json, "bytes", (double)found->bytes);
  cli_json_bool(&json, "cleared", clear);
  return cli_json_print(&json);
}

int cli_cache(int argc, char **argv) {
  bool clear = false;
  int output = 0;
  const cli_option options[] = {
      {"clear", 0, CLI_FLAG, NULL, "remove the compiled kernels; they are built again when needed",
       &clear},
      {"output", 'o', CLI_CHOICE, "text|json", "how to print", &output},
  };
  const cli_usage usage = {"cache", "[--clear] [-o json]",
                           "Shows the folder of compiled kernels and what is in it, or why none is "
                           "used.",
                           CLI_OPTIONS(options)};
  int code = CLI_DONE;
  if (!cli_parse(&usage, argc, argv, NULL, &code)) {
    return code;
  }
  clq_cache_contents found;
  if (clq_cache_scan(NULL, clear, &found) != CLQ_OK) {
    return cli_fail_library();
  }
  if (output == 1) {
    return print_json(&found, clear);
  }
  print_text(&found, clear);
  return CLI_DONE;
}
