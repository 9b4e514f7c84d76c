#include "sched/plan.h"

#include <string.h>

#include "runtime/array.h"
#include "runtime/buffer.h"
#include "runtime/memory.h"
#include "runtime/stream.h"
#include "sched/graph.h"
#include "sched/memory_plan.h"

/* --- memory --- */

/* Places the edges; offsets[i] is where edge i + 1 starts. Fills in the plan's statistics. */
static clq_status place_edges(const clq_graph *graph, clq_plan *plan, uint64_t *offsets) {
  clqi_region *regions = clqi_calloc((size_t)graph->edge_count + 1, sizeof *regions);
  if (regions == NULL) {
    return clqi_fail(CLQ_OUT_OF_HOST_MEMORY, "plan: out of memory for %d edges",
                     (int)graph->edge_count);
  }
  for (int32_t i = 0; i < graph->edge_count; i++) {
    const clqi_edge *edge = &graph->edges[i];
    const bool written = edge->first >= 0;
    regions[i] = (clqi_region){.first = written ? edge->first : 0,
                               .last = written ? edge->last : 0,
                               .bytes = (size_t)edge->region_bytes};
  }
  clqi_memory_totals totals;
  const clq_status status =
      clqi_memory_plan(regions, (uint32_t)graph->edge_count, CLQI_EDGE_ALIGNMENT, &totals);
  for (int32_t i = 0; i < graph->edge_count; i++) {
    offsets[i] = regions[i].offset;
  }
  plan->stats.arena_bytes = totals.arena;
  plan->stats.naive_bytes = totals.naive;
  plan->stats.lower_bound_bytes = totals.lower_bound;
  clqi_free(regions);
  return status;
}

/* Takes the offered buffer if it is large enough, else makes one. */
static clq_status obtain_arena(clq_plan *plan, cl_mem offered) {
  const uint64_t wanted = plan->stats.arena_bytes;
  if (wanted == 0) {
    return CLQ_OK;
  }
  if (offered != NULL) {
    uint64_t bytes;
    CLQI_TRY(clqi_buffer_bytes(plan->context, offered, &bytes));
    if (bytes >= wanted) {
      CLQI_TRY(clqi_buffer_retain(offered));
      plan->arena = offered;
      return CLQ_OK;
    }
  }
  return clqi_buffer_create(plan->context, wanted, &plan->arena);
}

/* Puts buffers in the place of edges. */
static void bind_edges(const clq_graph *graph, const clq_plan *plan, const uint64_t *offsets,
                       const clqi_op *op, void *args) {
  for (size_t i = 0; i < op->field_count; i++) {
    clq_tensor *t = clqi_field_tensor(&op->fields[i], args);
    if (t->value == 0) {
      continue;
    }
    const clqi_edge *edge = &graph->edges[t->value - 1];
    const uint64_t start = offsets[t->value - 1];
    t->value = 0;
    t->mem = plan->arena;
    t->offset += start;
    if (edge->plane_bytes != 0) {
      t->quant.scale = plan->arena;
      t->quant.scale_offset += start + edge->scale_offset;
      t->quant.sum = plan->arena;
      t->quant.sum_offset += start + edge->sum_offset;
    }
  }
}

/* --- recording --- */

/* The emitter that turns an operator's launches into commands of a plan. */
typedef struct recorder {
  clqi_emitter emitter; /* first, so that an emitter of a recorder is the recorder */
  clq_plan *plan;
  const char *op;
  int32_t node;
} recorder;

static clq_status intern_variant(clq_plan *plan, clqi_kernel_id id, const char *options,
                                 int32_t *variant) {
  for (int32_t i = 0; i < plan->variant_count; i++) {
    if (plan->variants[i].id == id && strcmp(plan->variants[i].options, options) == 0) {
      *variant = i;
      return CLQ_OK;
    }
  }
  CLQI_TRY(clqi_array_reserve(&plan->variants, plan->variant_count, 1, &plan->variant_capacity,
                              sizeof *plan->variants));
  char *copy = clqi_strdup(options);
  if (copy == NULL) {
    return clqi_fail(CLQ_OUT_OF_HOST_MEMORY, "out of memory");
  }
  *variant = plan->variant_count;
  plan->variants[plan->variant_count++] = (clqi_plan_variant){.id = id, .options = copy};
  return CLQ_OK;
}

/* A launch that an operator began and gave up for another one. */
static void drop_unfinished(clq_plan *plan, int32_t node) {
  if (plan->command_count == 0) {
    return;
  }
  clqi_command *last = &plan->commands[plan->command_count - 1];
  if (last->node == node && last->launch.dims == 0) {
    clqi_kernel_release(last->launch.kernel);
    plan->command_count--;
  }
}

/* A command whose launch is to follow. The kernel, NULL for one that is none of ours, belongs to
 * the plan from here on, whether or not that launch is finished. */
static clq_status append_command(const recorder *r, clqi_kernel_id id, const char *options,
                                 cl_kernel *kernel) {
  clq_plan *plan = r->plan;
  drop_unfinished(plan, r->node);
  CLQI_TRY(clqi_array_reserve(&plan->commands, plan->command_count, 1, &plan->command_capacity,
                              sizeof *plan->commands));
  clqi_command command = {.op = r->op, .node = r->node};
  CLQI_TRY(intern_variant(plan, id, options, &command.variant));
  if (id != CLQI_KERNEL_SGEMM) {
    CLQI_TRY(clqi_kernel_create(plan->context, id, options, &command.launch.kernel));
  }
  plan->commands[plan->command_count++] = command;
  *kernel = command.launch.kernel;
  return CLQ_OK;
}

static clq_status recorder_kernel(clqi_emitter *self, clqi_kernel_id id, const char *options,
                                  cl_kernel *out) {
  return append_command((recorder *)self, id, options == NULL ? "" : options, out);
}

/* Nodes run one after the other, so that they may share it. */
static clq_status recorder_scratch(clqi_emitter *self, uint64_t bytes, cl_mem *out) {
  clq_plan *plan = ((recorder *)self)->plan;
  for (int32_t i = 0; i < plan->scratch_count; i++) {
    if (plan->scratch[i].bytes >= bytes) {
      *out = plan->scratch[i].mem;
      return CLQ_OK;
    }
  }
  CLQI_TRY(clqi_array_reserve(&plan->scratch, plan->scratch_count, 1, &plan->scratch_capacity,
                              sizeof *plan->scratch));
  clqi_scratch new = {.bytes = bytes};
  CLQI_TRY(clqi_buffer_create(self->context, bytes, &new.mem));
  plan->scratch[plan->scratch_count++] = new;
  *out = new.mem;
  return CLQ_OK;
}

static clq_status recorder_take(clqi_emitter *self, const clqi_launch *launch) {
  clq_plan *plan = ((recorder *)self)->plan;
  if (launch->id == CLQI_KERNEL_SGEMM) {
    cl_kernel none;
    CLQI_TRY(append_command((recorder *)self, launch->id, "", &none));
  }
  clqi_command *last = &plan->commands[plan->command_count - 1];
  CLQI_REQUIRE(last->launch.kernel == launch->kernel,
               "a launch must end before the next one begins");
  last->launch = *launch;
  last->launch.emitter = NULL;
  plan->error_word_used = plan->error_word_used || launch->uses_error_word;
  return CLQ_OK;
}

static clq_status record_node(const clq_graph *graph, int32_t node, const uint64_t *offsets,
                              clq_plan *plan, void *args) {
  const clqi_op *op = graph->nodes[node].op;
  memcpy(args, graph->nodes[node].args, op->args_bytes);
  if (op->empty(args)) {
    return CLQ_OK;
  }
  bind_edges(graph, plan, offsets, op, args);
  recorder r = {.emitter = {.context = plan->context,
                            .error_word = plan->error_word,
                            .kernel = recorder_kernel,
                            .scratch = recorder_scratch,
                            .take = recorder_take},
                .plan = plan,
                .op = op->name,
                .node = node};
  const clq_status status = op->launch(&r.emitter, args);
  return status == CLQ_OK ? CLQ_OK
                          : clqi_fail_prefix(status, "plan: node %d (%s)", (int)node, op->name);
}

static clq_status record_nodes(const clq_graph *graph, const uint64_t *offsets, clq_plan *plan) {
  size_t most = 1;
  for (int32_t i = 0; i < graph->node_count; i++) {
    const size_t bytes = graph->nodes[i].op->args_bytes;
    most = bytes > most ? bytes : most;
  }
  void *args = clqi_malloc(most);
  if (args == NULL) {
    return clqi_fail(CLQ_OUT_OF_HOST_MEMORY, "plan: out of memory");
  }
  clq_status status = CLQ_OK;
  for (int32_t i = 0; i < graph->node_count && status == CLQ_OK; i++) {
    status = record_node(graph, i, offsets, plan, args);
  }
  clqi_free(args);
  return status;
}

/* --- public --- */

clq_status clq_plan_create(const clq_graph *graph, clq_plan **plan) {
  return clq_plan_create_in(graph, NULL, plan);
}

clq_status clq_plan_create_in(const clq_graph *graph, cl_mem arena, clq_plan **plan) {
  CLQI_REQUIRE(plan != NULL, "plan: the result pointer is NULL");
  *plan = NULL;
  CLQI_REQUIRE(graph != NULL, "plan: graph is NULL");
  CLQI_TRY(clqi_graph_status(graph));
  clq_status status = CLQ_OK;
  uint64_t *offsets = NULL;
  clq_plan *p = clqi_calloc(1, sizeof *p);
  if (p == NULL) {
    return clqi_fail(CLQ_OUT_OF_HOST_MEMORY, "plan: out of memory");
  }
  p->context = graph->context;
  p->stats.nodes = graph->node_count;
  offsets = clqi_calloc((size_t)graph->edge_count + 1, sizeof *offsets);
  if (offsets == NULL) {
    status = clqi_fail(CLQ_OUT_OF_HOST_MEMORY, "plan: out of memory");
    goto cleanup;
  }
  CLQI_TRY_CLEAN(place_edges(graph, p, offsets));
  status = obtain_arena(p, arena);
  if (status != CLQ_OK) {
    (void)clqi_fail_prefix(status, "plan: the arena");
    goto cleanup;
  }
  CLQI_TRY_CLEAN(clqi_error_word_create(p->context, &p->error_word));
  CLQI_TRY_CLEAN(record_nodes(graph, offsets, p));
  p->stats.launches = p->command_count;
  *plan = p;
  p = NULL;

cleanup:
  clqi_free(offsets);
  clq_plan_destroy(p);
  return status;
}

void clq_plan_destroy(clq_plan *plan) {
  if (plan == NULL) {
    return;
  }
  for (int32_t i = 0; i < plan->command_count; i++) {
    clqi_kernel_release(plan->commands[i].launch.kernel);
  }
  for (int32_t i = 0; i < plan->variant_count; i++) {
    clqi_free(plan->variants[i].options);
  }
  for (int32_t i = 0; i < plan->scratch_count; i++) {
    clqi_buffer_release(plan->scratch[i].mem);
  }
  clqi_buffer_release(plan->arena);
  clqi_buffer_release(plan->error_word);
  clqi_free(plan->scratch);
  clqi_free(plan->commands);
  clqi_free(plan->variants);
  clqi_free(plan);
}

cl_mem clq_plan_arena(const clq_plan *plan) { return plan->arena; }

void clq_plan_get_stats(const clq_plan *plan, clq_plan_stats *stats) { *stats = plan->stats; }

/* --- running --- */

clq_status clqi_plan_check_run(const clq_plan *plan, const clq_stream *stream) {
  CLQI_REQUIRE(plan != NULL && stream != NULL, "plan: plan and stream must not be NULL");
  CLQI_REQUIRE(clq_stream_context(stream) == plan->context,
               "plan: the stream belongs to another context");
  return clqi_context_usable(plan->context);
}

/* So that the device works while the host still enqueues, which OpenCL promises to no queue that is
 * not flushed. Costs nothing measurable on pocl and on Intel's runtime, whatever the number. */
enum { COMMANDS_PER_FLUSH = 16 };

clq_status clqi_plan_enqueue(const clq_plan *plan, clq_stream *stream, cl_event *events,
                             int32_t *enqueued) {
  clq_status status = plan->error_word_used ? clqi_stream_watch(stream, plan->error_word) : CLQ_OK;
  if (status != CLQ_OK) {
    *enqueued = 0;
    return status;
  }
  int32_t i = 0;
  for (; i < plan->command_count; i++) {
    const clqi_command *command = &plan->commands[i];
    status = clqi_stream_enqueue(stream, &command->launch, events == NULL ? NULL : &events[i]);
    if (status != CLQ_OK) {
      (void)clqi_fail_prefix(status, "plan: node %d (%s)", (int)command->node, command->op);
      break;
    }
    if ((i + 1) % COMMANDS_PER_FLUSH == 0 || i + 1 == plan->command_count) {
      status = clqi_stream_flush(stream);
      if (status != CLQ_OK) {
        (void)clqi_fail_prefix(status, "plan: node %d (%s)", (int)command->node, command->op);
        i++; /* this one is out */
        break;
      }
    }
  }
  *enqueued = i;
  return status;
}

clq_status clq_plan_run(clq_plan *plan, clq_stream *stream) {
  CLQI_TRY(clqi_plan_check_run(plan, stream));
  int32_t enqueued;
  return clqi_plan_enqueue(plan, stream, NULL, &enqueued);
}
