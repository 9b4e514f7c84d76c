/* What run, logits and perplexity share: a model on a device, ready to be fed,
 * and the time that getting there took. */
#ifndef CLQ_CLI_ENGINE_H
#define CLQ_CLI_ENGINE_H

#include <stdint.h>

#include <clquant/model.h>

#include "options.h"

typedef struct cli_engine {
  const char *path;   /* --model */
  const char *device; /* --device */
  const char *thrift; /* how the command's user may take less memory: "use ..." */
  int acts;           /* places in CLI_ACTS and CLI_KV */
  int kv;
  clq_context *context;
  clq_model *model;
  clq_session *session;
  clq_model_info info;
  double opened_at;     /* cli_seconds() when the file was opened */
  double loading_build; /* seconds of kernel builds before the session */
} cli_engine;

#define CLI_ACTS "q8g32|q8|f32"
#define CLI_KV   "f16|f32|q8|q4"

/* Rows of an option table. */
#define CLI_ENGINE_MODEL(engine) \
  { "model", 'm', CLI_TEXT, "FILE", "the model, a GGUF file", &(engine).path }
#define CLI_ENGINE_OPTIONS(engine)                                                               \
  {"device",        0, CLI_TEXT, "DEVICE", "index or part of a name, as `clq devices` shows it", \
   &(engine).device},                                                                            \
      {"acts",                                                                                   \
       0,                                                                                        \
       CLI_CHOICE,                                                                               \
       CLI_ACTS,                                                                                 \
       "activations: int8 with a scale per 32 (default) or per token,\nor float",                \
       &(engine).acts},                                                                          \
  {                                                                                              \
    "kv", 0, CLI_CHOICE, CLI_KV, "KV cache (f16)", &(engine).kv                                  \
  }

const char *cli_acts_name(const cli_engine *engine);
const char *cli_kv_name(const cli_engine *engine);

/* CLI_MISUSED without a --model that could be a file. */
int cli_engine_check_path(const char *path, const cli_usage *usage);
int cli_engine_check(const cli_engine *engine, const cli_usage *usage);

/* Each gives an exit code and has said its sentence; close is due in any case. */
int cli_engine_load(cli_engine *engine);
/* A sequence of at most `context` tokens; 0: what the model was trained for. */
int cli_engine_start(cli_engine *engine, int64_t context);
/* Another one with the same activations and cache; clq_session_destroy releases it. */
int cli_engine_session(const cli_engine *engine, int64_t context, clq_session **session);
/* A failed call's sentence, with what to do if it ran out of memory. Returns CLI_FAILED. */
int cli_engine_fail(const cli_engine *engine, clq_status status);
/* The same of a call that found logits to be NaN or infinite. */
int cli_engine_fail_logits(const cli_engine *engine);
/* What to do about logits that are NaN or infinite. */
const char *cli_engine_nan_advice(const cli_engine *engine);
void cli_engine_close(cli_engine *engine);

/* Wall seconds spent on compiling kernels and plans so far. */
double cli_engine_build_seconds(const cli_engine *engine);
/* "off" without a folder of compiled kernels, "warm" if all came from it, else "cold". */
const char *cli_engine_kernel_cache(const cli_engine *engine);

/* Feeds tokens in pieces, so that SIGINT is answered between them. *fed is the number that went in;
 * fewer than count only after SIGINT. The logits of the last one go to `logits`, if not NULL. */
int cli_engine_feed(cli_engine *engine, const int32_t *ids, int64_t count, float *logits,
                    int64_t *fed);

#endif
