/* clq devices: every OpenCL device and the traits that its probes showed. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include <clquant/context.h>
#include <clquant/tuning.h>

#include "cli.h"
#include "json.h"
#include "options.h"

/* What other commands would get with the environment as it is. */
typedef struct choice {
  clq_context *context; /* NULL: they fail */
  char sentence[CLI_SENTENCE_BYTES];
} choice;

static choice choose(const char *device) {
  choice c = {0};
  const clq_context_desc desc = {.device_name = device};
  if (clq_context_create(&desc, &c.context) != CLQ_OK) {
    cli_context_sentence(device, c.sentence);
  }
  return c;
}

/* A device whose probes could not even start is listed all the same. With a CLQ_DISABLE that is not
 * understood nothing is ignored: what its words could be is what the list is for. */
static clq_context *open_device(const clq_device_info *info) {
  char index[16];
  (void)snprintf(index, sizeof index, "%" PRId32, info->index);
  clq_context *context = NULL;
  clq_context_desc desc = {.device_name = index};
  clq_status status = clq_context_create(&desc, &context);
  if (status == CLQ_INVALID_ARGUMENT) {
    desc.disable = "";
    status = clq_context_create(&desc, &context);
  }
  if (status != CLQ_OK) {
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
    char sentence[CLI_SENTENCE_BYTES];
    cli_sentence(sentence);
    (void)printf(" unknown: %s", sentence);
  }
  for (int32_t i = 0; context != NULL && clq_context_trait(context, i) != NULL; ++i) {
    (void)printf(" %s", clq_context_trait(context, i));
  }
  (void)printf("\n");
  if (context != NULL) {
    const char *why = "";
    const char *file = clq_context_tuning(context, &why);
    (void)printf("   tuning    %s%s\n", file == NULL ? "built-in values: " : "",
                 file == NULL ? why : file);
  }
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
  if (context != NULL) {
    const char *why = "";
    const char *file = clq_context_tuning(context, &why);
    cli_json_string(json, "tuning", file == NULL ? "" : file);
    cli_json_string(json, "tuning_why", why);
  }
  if (context == NULL) {
    char sentence[CLI_SENTENCE_BYTES];
    cli_sentence(sentence);
    cli_json_string(json, "error", sentence);
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
    cli_close_context(context);
  }
  if (as_json) {
    cli_json_close(&json);
    return cli_json_print(&json);
  }
  return CLI_DONE;
}

/* All of them, and then what is wrong with the environment, if it is: the list helps to mend it. */
static int list_all(const choice *chosen, bool as_json) {
  int32_t count = 0;
  if (clq_devices(NULL, 0, &count) != CLQ_OK) {
    return cli_fail_library();
  }
  clq_device_info *infos = calloc((size_t)count + 1, sizeof *infos);
  if (infos == NULL) {
    return cli_fail_memory();
  }
  int32_t seen = 0;
  int code = clq_devices(infos, count, &seen) == CLQ_OK
                 ? list(infos, seen < count ? seen : count, as_json)
                 : cli_fail_library();
  free(infos);
  code = cli_flush(code);
  return code == CLI_DONE && chosen->context == NULL ? cli_fail("%s", chosen->sentence) : code;
}

int cli_devices(int argc, char **argv) {
  int output = 0;
  const char *device = NULL;
  const cli_option options[] = {
      {"device", 0, CLI_TEXT, "DEVICE", "only this one: its index, or a part of its name", &device},
      {"output", 'o', CLI_CHOICE, "text|json", "how to print the list", &output},
  };
  const cli_usage usage = {"devices", "[--device DEVICE] [-o json]",
                           "Lists the OpenCL devices and their traits: what a kernel of each kind, "
                           "built and run\non the device, was seen to do right. Fails, behind the "
                           "list, if the other commands would:\nbecause of CLQ_DEVICE, CLQ_DISABLE "
                           "or CLQ_KERNEL_DIR, or of the device that they would take.",
                           CLI_OPTIONS(options)};
  int code = CLI_DONE;
  if (!cli_parse(&usage, argc, argv, NULL, &code)) {
    return code;
  }
  choice chosen = choose(device);
  if (device == NULL) {
    code = list_all(&chosen, output == 1);
  } else if (chosen.context == NULL) {
    code = cli_fail("%s", chosen.sentence);
  } else {
    code = list(clq_context_info(chosen.context), 1, output == 1);
  }
  cli_close_context(chosen.context);
  return code;
}
