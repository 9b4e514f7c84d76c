#include "parallel.h"

#include <stdlib.h>

#include "cli.h"

int cli_parallel_start(cli_parallel *parallel, const cli_engine *engine, int32_t count,
                       int64_t context) {
  parallel->sessions = calloc((size_t)count, sizeof(clq_session *));
  if (parallel->sessions == NULL) {
    return cli_fail_memory();
  }
  parallel->count = count;
  parallel->engine = engine;
  parallel->sessions[0] = engine->session;
  for (int32_t i = 1; i < count; ++i) {
    const int code = cli_engine_session(engine, context, &parallel->sessions[i]);
    if (code != CLI_DONE) {
      return code;
    }
  }
  const clq_status status =
      count > 1 ? clq_batch_create(parallel->sessions, count, &parallel->batch) : CLQ_OK;
  return status == CLQ_OK ? CLI_DONE : cli_engine_fail(engine, status);
}

int cli_parallel_fork(const cli_parallel *parallel) {
  for (int32_t i = 1; i < parallel->count; ++i) {
    if (clq_session_copy(parallel->sessions[i], parallel->sessions[0]) != CLQ_OK) {
      return cli_fail_library();
    }
  }
  return CLI_DONE;
}

int cli_parallel_step(const cli_parallel *parallel, const int32_t *members, const int32_t *ids,
                      int32_t count, clq_sampler *const *samplers, int32_t *chosen) {
  const clq_status status =
      parallel->batch == NULL
          ? clq_session_generate(parallel->sessions[0], ids, 1, samplers[0], chosen, 1)
          : clq_batch_generate(parallel->batch, members, ids, count, samplers, chosen);
  return status == CLQ_OK                 ? CLI_DONE
         : status == CLQ_INVALID_ARGUMENT ? cli_engine_fail_logits(parallel->engine)
                                          : cli_engine_fail(parallel->engine, status);
}

void cli_parallel_close(cli_parallel *parallel) {
  clq_batch_destroy(parallel->batch);
  for (int32_t i = 1; i < parallel->count; ++i) {
    clq_session_destroy(parallel->sessions[i]);
  }
  free(parallel->sessions);
  *parallel = (cli_parallel){0};
}

clq_session_stats cli_parallel_stats(const cli_parallel *parallel, const cli_engine *engine) {
  clq_session_stats first;
  clq_session_get_stats(engine->session, &first);
  first.build_seconds = cli_engine_build_seconds(engine);
  if (parallel->batch != NULL) {
    clq_session_stats batch;
    clq_batch_get_stats(parallel->batch, &batch);
    first.kv_bytes = batch.kv_bytes;
    first.build_seconds += batch.build_seconds;
    first.arena_bytes =
        batch.arena_bytes > first.arena_bytes ? batch.arena_bytes : first.arena_bytes;
  }
  return first;
}
