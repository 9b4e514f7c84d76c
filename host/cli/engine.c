#include "engine.h"

#include <string.h>

#include "cli.h"

static const struct {
  const char *name;
  clq_acts acts;
} all_acts[] = {{"q8g32", CLQ_ACTS_Q8G32}, {"q8", CLQ_ACTS_Q8}, {"f32", CLQ_ACTS_F32}};

static const struct {
  const char *name;
  clq_dtype dtype;
} all_kv[] = {{"f16", CLQ_F16}, {"f32", CLQ_F32}, {"q8", CLQ_I8}, {"q4", CLQ_U8}};

const char *cli_acts_name(const cli_engine *engine) { return all_acts[engine->acts].name; }
const char *cli_kv_name(const cli_engine *engine) { return all_kv[engine->kv].name; }

int cli_engine_check_path(const char *path, const cli_usage *usage) {
  if (path == NULL || path[0] == '\0') {
    return cli_misuse(usage, "%sname the model with -m FILE", path == NULL ? "" : "-m is empty: ");
  }
  return strcmp(path, "-") != 0
             ? CLI_DONE
             : cli_misuse(usage, "a model is not read from standard input; name its file with -m");
}

int cli_engine_check(const cli_engine *engine, const cli_usage *usage) {
  return cli_engine_check_path(engine->path, usage);
}

int cli_engine_fail(const cli_engine *engine, clq_status status) {
  const bool memory = status == CLQ_OUT_OF_HOST_MEMORY || status == CLQ_OUT_OF_DEVICE_MEMORY;
  const bool floats = all_kv[engine->kv].dtype == CLQ_F32;
  if (!memory) {
    return cli_fail_library();
  }
  char sentence[CLI_SENTENCE_BYTES];
  cli_sentence(sentence);
  return cli_fail("%s; %s%s, or free memory", sentence, engine->thrift, floats ? ", --kv f16" : "");
}

const char *cli_engine_nan_advice(const cli_engine *engine) {
  const bool floats =
      all_acts[engine->acts].acts == CLQ_ACTS_F32 && all_kv[engine->kv].dtype == CLQ_F32;
  return floats ? "fetch the file again" : "try --acts f32 --kv f32, or fetch the file again";
}

int cli_engine_fail_logits(const cli_engine *engine) {
  return cli_fail_library_advice(cli_engine_nan_advice(engine));
}

int cli_engine_load(cli_engine *engine) {
  if (cli_open_context(engine->device, &engine->context) != CLI_DONE) {
    return CLI_FAILED;
  }
  clq_cache_stats before;
  clq_cache_stats after;
  clq_context_cache_stats(engine->context, &before);
  engine->opened_at = cli_seconds();
  const clq_status status = clq_model_load(engine->context, engine->path, &engine->model);
  if (status == CLQ_OUT_OF_HOST_MEMORY || status == CLQ_OUT_OF_DEVICE_MEMORY) {
    return cli_fail_library_advice("use a smaller model, or free memory");
  }
  if (status != CLQ_OK) {
    return cli_fail_library();
  }
  clq_context_cache_stats(engine->context, &after);
  engine->loading_build = after.build_seconds - before.build_seconds;
  clq_model_get_info(engine->model, &engine->info);
  return CLI_DONE;
}

int cli_engine_session(const cli_engine *engine, int64_t context, clq_session **session) {
  if (context > engine->info.context) {
    return cli_fail("--ctx is %lld, the model was trained for %lld; use a smaller --ctx",
                    (long long)context, (long long)engine->info.context);
  }
  const clq_session_desc desc = {
      .acts = all_acts[engine->acts].acts, .kv = all_kv[engine->kv].dtype, .context = context};
  const clq_status status = clq_session_create(engine->model, NULL, &desc, session);
  return status == CLQ_OK ? CLI_DONE : cli_engine_fail(engine, status);
}

int cli_engine_start(cli_engine *engine, int64_t context) {
  return cli_engine_session(engine, context, &engine->session);
}

void cli_engine_close(cli_engine *engine) {
  clq_session_destroy(engine->session);
  clq_model_destroy(engine->model);
  cli_close_context(engine->context);
  engine->session = NULL;
  engine->model = NULL;
  engine->context = NULL;
}

double cli_engine_build_seconds(const cli_engine *engine) {
  clq_session_stats stats;
  clq_session_get_stats(engine->session, &stats);
  return engine->loading_build + stats.build_seconds;
}

const char *cli_engine_kernel_cache(const cli_engine *engine) {
  clq_cache_stats stats;
  clq_context_cache_stats(engine->context, &stats);
  return stats.disk == 0 ? "off" : (stats.built == 0 ? "warm" : "cold");
}

/* As many as a session puts into one pass. */
enum { PIECE = 512 };

int cli_engine_feed(cli_engine *engine, const int32_t *ids, int64_t count, float *logits,
                    int64_t *fed) {
  *fed = 0;
  while (*fed < count && !cli_interrupted()) {
    const int64_t piece = count - *fed < PIECE ? count - *fed : PIECE;
    const clq_logits_wanted wanted =
        logits != NULL && *fed + piece == count ? CLQ_LOGITS_LAST : CLQ_LOGITS_NONE;
    const clq_status status = clq_session_eval(engine->session, ids + *fed, piece, wanted, logits);
    if (status != CLQ_OK) {
      return cli_engine_fail(engine, status);
    }
    *fed += piece;
  }
  return CLI_DONE;
}
