/* What clq run tells about a run, as JSON or as a table. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "cli.h"
#include "json.h"
#include "kernel_label.h"
#include "run.h"

/* NaN where there is nothing to divide. */
static double rate(double amount, double seconds) {
  return seconds > 0 ? amount / seconds : (double)NAN;
}

static double prefill_rate(const cli_run_state *run) {
  return rate((double)run->prompt.count, run->prefill_seconds);
}

/* Tokens of all answers; without_first: less the first one of each. */
static int64_t count_tokens(const cli_run_state *run, bool without_first) {
  int64_t count = 0;
  for (int64_t i = 0; i < run->parallel; ++i) {
    const int64_t of_answer = run->answers[i].count;
    count += of_answer - (without_first && of_answer > 0);
  }
  return count;
}

static double decode_rate(const cli_run_state *run) {
  const int64_t count = count_tokens(run, true);
  return count > 0 ? rate((double)count, run->decode_seconds) : (double)NAN;
}

static double peak_resident_bytes(void) {
  struct rusage usage = {0};
  (void)getrusage(RUSAGE_SELF, &usage);
  return 1024.0 * (double)usage.ru_maxrss;
}

/* Kernels of the trace, most time first; released with free(). */
static clq_kernel_time *list_kernels(const cli_run_state *run, int32_t *count) {
  *count = clq_trace_kernels(run->trace, NULL, 0);
  clq_kernel_time *kernels = calloc((size_t)*count + 1, sizeof *kernels);
  if (kernels != NULL) {
    (void)clq_trace_kernels(run->trace, kernels, *count);
  }
  return kernels;
}

static void add_kernels(cli_json *json, const cli_run_state *run) {
  int32_t count = 0;
  clq_kernel_time *kernels = list_kernels(run, &count);
  json->failed |= kernels == NULL;
  cli_json_open_list(json, "kernels");
  for (int32_t i = 0; kernels != NULL && i < count; ++i) {
    const clq_kernel_time *kernel = &kernels[i];
    cli_json_open(json, NULL);
    cli_json_string(json, "name", kernel->name);
    cli_json_number(json, "calls", (double)kernel->calls);
    cli_json_number(json, "device_s", kernel->device_seconds);
    cli_json_number(json, "bytes_per_second", rate(kernel->bytes, kernel->device_seconds));
    cli_json_number(json, "ops_per_second", rate(kernel->ops, kernel->device_seconds));
    cli_json_close(json);
  }
  cli_json_close(json);
  free(kernels);
}

static void add_answer(cli_json *json, const cli_answer *answer) {
  cli_json_ids(json, "tokens", answer->tokens, answer->count);
  cli_json_text(json, "text", answer->text.data, answer->text.length);
  cli_json_string(json, "stop_reason", answer->stop_reason);
}

static void add_answers(cli_json *json, const cli_run_state *run) {
  cli_json_open_list(json, "answers");
  for (int64_t i = 0; i < run->parallel; ++i) {
    cli_json_open(json, NULL);
    add_answer(json, &run->answers[i]);
    cli_json_close(json);
  }
  cli_json_close(json);
}

int cli_run_print_json(const cli_run_state *run) {
  const cli_engine *engine = &run->engine;
  const clq_session_stats session = cli_parallel_stats(&run->sequences, engine);
  cli_json json = cli_json_new();
  cli_json_string(&json, "device", clq_context_info(engine->context)->name);
  cli_json_string(&json, "model", engine->info.name);
  cli_json_ids(&json, "prompt_tokens", run->prompt.ids, run->prompt.count);
  add_answer(&json, &run->answers[0]);
  cli_json_string(&json, "acts", cli_acts_name(engine));
  cli_json_string(&json, "kv", cli_kv_name(engine));
  cli_json_number(&json, "load_s", run->load_seconds);
  cli_json_number(&json, "build_s", session.build_seconds);
  cli_json_number(&json, "first_token_s", run->first_token_seconds);
  cli_json_number(&json, "prefill_tokens_per_s", prefill_rate(run));
  cli_json_number(&json, "decode_tokens_per_s", decode_rate(run));
  cli_json_number(&json, "weight_bytes", (double)engine->info.weight_bytes);
  cli_json_number(&json, "arena_bytes", (double)session.arena_bytes);
  cli_json_number(&json, "kv_bytes", (double)session.kv_bytes);
  cli_json_number(&json, "peak_rss_bytes", peak_resident_bytes());
  cli_json_string(&json, "kernel_cache", cli_engine_kernel_cache(engine));
  if (run->parallel > 1) {
    add_answers(&json, run);
  }
  if (run->stats) {
    add_kernels(&json, run);
  }
  return cli_json_print(&json);
}

/* "-" for NaN. */
static void print_row(const char *name, double value, const char *unit) {
  if (isnan(value)) {
    (void)fprintf(stderr, "  %-14s %10s\n", name, "-");
  } else {
    (void)fprintf(stderr, "  %-14s %10.*f %s\n", name, value < 10 ? 3 : 1, value, unit);
  }
}

static int print_kernels(const cli_run_state *run) {
  int32_t count = 0;
  clq_kernel_time *kernels = list_kernels(run, &count);
  if (kernels == NULL) {
    return cli_fail_memory();
  }
  (void)fprintf(stderr, "\n  %8s %10s %8s %9s  %s\n", "calls", "ms", "GB/s", "Gop/s", "kernel");
  for (int32_t i = 0; i < count; ++i) {
    const clq_kernel_time *kernel = &kernels[i];
    char label[CLI_LABEL_BYTES];
    cli_kernel_label(kernels, count, i, label);
    (void)fprintf(stderr, "  %8" PRIu64 " %10.2f %8.2f %9.2f  %s\n", kernel->calls,
                  1e3 * kernel->device_seconds, 1e-9 * rate(kernel->bytes, kernel->device_seconds),
                  1e-9 * rate(kernel->ops, kernel->device_seconds), label);
  }
  free(kernels);
  return CLI_DONE;
}

/* " length", or " eos (3), length (1)" where answers differ. */
static void print_stop_reasons(const cli_run_state *run) {
  static const char *const reasons[] = {"eos", "length", "context", "cancelled"};
  const char *comma = "";
  for (size_t r = 0; r < sizeof reasons / sizeof reasons[0]; ++r) {
    int64_t count = 0;
    for (int64_t i = 0; i < run->parallel; ++i) {
      count += strcmp(run->answers[i].stop_reason, reasons[r]) == 0;
    }
    if (count == run->parallel) {
      (void)fprintf(stderr, " %s", reasons[r]);
    } else if (count > 0) {
      (void)fprintf(stderr, "%s %s (%" PRId64 ")", comma, reasons[r], count);
      comma = ",";
    }
  }
}

int cli_run_print_stats(const cli_run_state *run) {
  const cli_engine *engine = &run->engine;
  const double mib = 1 << 20;
  const clq_session_stats session = cli_parallel_stats(&run->sequences, engine);
  (void)fprintf(stderr,
                "\n  %-14s %s\n  %-14s %s, activations %s, KV cache %s\n"
                "  %-14s %" PRId64 " in, %" PRId64 " out, stopped by",
                "device", clq_context_info(engine->context)->name, "model", engine->info.name,
                cli_acts_name(engine), cli_kv_name(engine), "tokens", run->prompt.count,
                count_tokens(run, false));
  print_stop_reasons(run);
  (void)fprintf(stderr, "\n  %-14s %s\n", "kernel cache", cli_engine_kernel_cache(engine));
  print_row("load", run->load_seconds, "s");
  print_row("kernel builds", session.build_seconds, "s");
  print_row("first token", run->first_token_seconds, "s");
  print_row("prefill", prefill_rate(run), "tokens/s");
  print_row("decode", decode_rate(run), "tokens/s");
  print_row("weights", (double)engine->info.weight_bytes / mib, "MiB on the device");
  print_row("KV cache", (double)session.kv_bytes / mib, "MiB");
  print_row("activations", (double)session.arena_bytes / mib, "MiB");
  print_row("peak resident", peak_resident_bytes() / mib, "MiB");
  return print_kernels(run);
}
