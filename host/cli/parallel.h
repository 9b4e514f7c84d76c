/* The sequences of clq run: the engine's session and, with --parallel, copies of it that are
 * decoded together. */
#ifndef CLQ_CLI_PARALLEL_H
#define CLQ_CLI_PARALLEL_H

#include "engine.h"

enum { CLI_MOST_PARALLEL = 64 };

typedef struct cli_parallel {
  int32_t count;
  clq_session **sessions; /* the first is the engine's */
  clq_batch *batch;       /* NULL for one sequence */
  const cli_engine *engine;
} cli_parallel;

/* Each but the last gives an exit code and has said its sentence; close is due in any case, before
 * the engine's. `context`: as the engine's session has it. */
int cli_parallel_start(cli_parallel *parallel, const cli_engine *engine, int32_t count,
                       int64_t context);
/* All sequences become what the first one is. */
int cli_parallel_fork(const cli_parallel *parallel);
/* Feeds ids[i] to sequence members[i], whose next token chosen[i] is drawn by samplers[i] on the
 * device. */
int cli_parallel_step(const cli_parallel *parallel, const int32_t *members, const int32_t *ids,
                      int32_t count, clq_sampler *const *samplers, int32_t *chosen);
void cli_parallel_close(cli_parallel *parallel);

/* What all sequences take together; build_seconds includes the engine's. */
clq_session_stats cli_parallel_stats(const cli_parallel *parallel, const cli_engine *engine);

#endif
