/* clq devices: every OpenCL device and the traits that its probes showed. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include <clquant/context.h>

#include "cli.h"
#include "json.h"
#include "options.h"

/* A device whose probes could not even start is listed all the same. */
static clq_context *open_device(const clq_device_info *info) {
  char index[16];
  (void)snprintf(index, sizeof index, "%" PRId32, info->index);
  clq_context *context = NULL;
  const clq_context_desc desc = {.device_name = index};
  if (clq_context_create(&desc, &context) != CLQ_OK) {
    return NULL;
  }
  cli_tell_cache(context);
  return context;
}

static void print_text(const clq_device_info *info, const clq_context *context) {
  (void)printf("%" PRId32 "  %s\n", info->index, info->name);
  (void)printf("   platform  %s\n   version   %s\n   driver    %s\n   type      %s, %" PRIu32
               " compute unit%s\n   memory    %.1f GiB global, %.0f KiB local\n   traits   ",
               info->platform, info->version, info->driver, info->type, info->compute_units,
               info->compute_units == 1 ? "" : "s", (double)info->global_bytes / (1 << 30),
               (double)info->local_bytes / 1024);
  if (context == NULL) {
    (void)printf(" unknown: %s", clq_last_error());
  }
  for (int32_t i = 0; context != NULL && clq_context_trait(context, i) != NULL; ++i) {
    (void)printf(" %s", clq_context_trait(context, i));
  }
  (void)printf("\n");
}

static void add_json(cli_json *json, const clq_device_info *info, const clq_context *context) {
  cli_json_open(json, NULL);
  cli_json_number(json, "index", info->index);
  cli_json_string(json, "name", info->name);
  cli_json_string(json, "platform", info->platform);
  cli_json_string(json, "version", info->version);
  cli_json_string(json, "driver", info->driver);
  cli_json_string(json, "type", info->type);
  cli_json_number(json, "global_bytes", (double)info->global_bytes);
  cli_json_number(json, "local_bytes", (double)info->local_bytes);
  cli_json_number(json, "compute_units", info->compute_units);
  cli_json_open_list(json, "traits");
  for (int32_t i = 0; context != NULL && clq_context_trait(context, i) != NULL; ++i) {
    cli_json_string(json, NULL, clq_context_trait(context, i));
  }
  cli_json_close(json);
  if (context == NULL) {
    cli_json_string(json, "error", clq_last_error());
  }
  cli_json_close(json);
}

static int list(const clq_device_info *infos, int32_t count, bool as_json) {
  cli_json json = {.failed = true};
  if (as_json) {
    json = cli_json_new();
    cli_json_open_list(&json, "devices");
  }
  for (int32_t i = 0; i < count; ++i) {
    clq_context *context = open_device(&infos[i]);
    if (as_json) {
      add_json(&json, &infos[i], context);
    } else {
      print_text(&infos[i], context);
    }
    clq_context_destroy(context);
  }
  if (as_json) {
    cli_json_close(&json);
    return cli_json_print(&json);
  }
  return CLI_DONE;
}

int cli_devices(int argc, char **argv) {
  int output = 0;
  const cli_option options[] = {
      {"output", 'o', CLI_CHOICE, "text|json", "how to print the list", &output},
  };
  const cli_usage usage = {"devices", "[-o json]",
                           "Lists the OpenCL devices and their traits: what a kernel of each kind, "
                           "built and run\non the device, was seen to do right.",
                           CLI_OPTIONS(options)};
  int code = CLI_DONE;
  if (!cli_parse(&usage, argc, argv, NULL, &code)) {
    return code;
  }
  int32_t count = 0;
  if (clq_devices(NULL, 0, &count) != CLQ_OK) {
    return cli_fail_library();
  }
  clq_device_info *infos = calloc((size_t)count + 1, sizeof *infos);
  if (infos == NULL) {
    return cli_fail_memory();
  }
  int32_t seen = 0;
  code = clq_devices(infos, count, &seen) == CLQ_OK
             ? list(infos, seen < count ? seen : count, output == 1)
             : cli_fail_library();
  free(infos);
  return code;
}
