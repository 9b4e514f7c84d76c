/** @file graph.h
 *  Record once, run many times. A graph takes the very argument structs of
 *  ops.h; between operators it has edges (clq_tensor with `value` set) for
 *  which a plan finds memory. Tensors with a cl_mem stay the caller's: inputs,
 *  outputs, caches, parameters.
 *
 *      clq_graph *g;  clq_graph_create(ctx, &g);
 *      clq_tensor h = clq_graph_edge(g, CLQ_F32, 2, (int64_t[]){ rows, cols });
 *      clq_graph_add(g, CLQ_OP_RMSNORM, &(clq_rmsnorm_args){ .x = x, .gamma = w, .out = h });
 *      ...
 *      clq_plan *p;   clq_plan_create(g, &p);
 *      clq_plan_run(p, stream);          // as often as wanted; no argument is touched
 *
 *  What changes from run to run (the position in a sequence) lies in small device buffers
 *  that the operators read. */
#ifndef CLQUANT_GRAPH_H
#define CLQUANT_GRAPH_H

#include <clquant/ops.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct clq_graph clq_graph;
typedef struct clq_plan clq_plan;

/** An empty one, on the context's device. */
CLQ_API CLQ_NODISCARD clq_status clq_graph_create(clq_context *context, clq_graph **graph);
/** NULL is ignored. */
CLQ_API void clq_graph_destroy(clq_graph *graph);

/** A new edge. For i8 the caller sets `quant.per` and `quant.group` on the returned tensor;
 *  scale and sum planes are planned with the codes. Errors latch in the graph and are
 *  returned by clq_graph_add or clq_plan_create. A view of an edge is the same tensor with
 *  another shape, stride or offset; of a quantized edge, whole rows, whose scales and sums are
 *  found by themselves (plane offsets stay 0). */
CLQ_API clq_tensor clq_graph_edge(clq_graph *graph, clq_dtype dtype, int32_t dims,
                                  const int64_t *shape);

/** Appends a node; @p args is the operator's struct and is copied. An output edge whose shape is
 *  all zero gets the one that the operator infers. Everything is checked now, with the errors of
 *  the operator's own call. */
CLQ_API CLQ_NODISCARD clq_status clq_graph_add(clq_graph *graph, clq_op op, const void *args);

/** Shape and dtype of an edge, as declared or inferred. */
CLQ_API CLQ_NODISCARD clq_status clq_graph_tensor(const clq_graph *graph, int32_t value,
                                                  clq_tensor *tensor);

/** Compiles: plans the memory, builds kernels, binds arguments. The graph may be destroyed
 *  afterwards; buffers and weights that its nodes name must outlive the plan's runs. Also answers
 *  what latched in the graph. */
CLQ_API CLQ_NODISCARD clq_status clq_plan_create(const clq_graph *graph, clq_plan **plan);
/** The same, with the edges in @p arena (retained) if that is large enough; else, and if it is
 *  NULL, in a buffer of the plan's own. Plans that share an arena must run one after the other:
 *  on one stream, or joined by events. */
CLQ_API CLQ_NODISCARD clq_status clq_plan_create_in(const clq_graph *graph, cl_mem arena,
                                                    clq_plan **plan);
/** The buffer that holds the plan's edges, for clq_plan_create_in; NULL if it needs none. */
CLQ_API cl_mem clq_plan_arena(const clq_plan *plan);
/** Its runs must be over; NULL is ignored. */
CLQ_API void clq_plan_destroy(clq_plan *plan);

/** Enqueues all of the plan's launches on @p stream, in order. Nothing is enqueued after the first
 *  error, which names the node; the outputs are then invalid, the plan is not. One thread at a
 *  time; runs on different streams must be joined by events, for they share the arena. */
CLQ_API CLQ_NODISCARD clq_status clq_plan_run(clq_plan *plan, clq_stream *stream);

typedef struct clq_plan_stats {
  int32_t nodes;
  int32_t launches;
  uint64_t arena_bytes;       /**< what the plan's edges take together */
  uint64_t naive_bytes;       /**< sum of all edges: what no reuse would take */
  uint64_t lower_bound_bytes; /**< most bytes alive at once: no plan can do with less */
} clq_plan_stats;
CLQ_API void clq_plan_get_stats(const clq_plan *plan, clq_plan_stats *stats);

/** Time on the device of each kernel over the runs that were profiled. */
typedef struct clq_kernel_time {
  const char *name;
  uint64_t calls;
  double device_seconds;
  double bytes; /**< that had to move, summed over calls */
  double ops;   /**< operations, a multiply-add counted as two */
} clq_kernel_time;

/** A trace collects one span per launch of the plan runs given to it (clq_plan_run_traced). */
typedef struct clq_trace clq_trace;
CLQ_API CLQ_NODISCARD clq_status clq_trace_create(clq_trace **trace);
CLQ_API void clq_trace_destroy(clq_trace *trace);
/** Runs the plan with profiling on and adds its spans; waits for the run's end. CLQ_INVALID_STATE
 *  unless the stream's queue has CL_QUEUE_PROFILING_ENABLE (queues that CLQuant makes have it). */
CLQ_API CLQ_NODISCARD clq_status clq_plan_run_traced(clq_plan *plan, clq_stream *stream,
                                                     clq_trace *trace);
/** Sums by kernel, most time first. Returns the number of kernels; writes up to capacity. */
CLQ_API int32_t clq_trace_kernels(const clq_trace *trace, clq_kernel_time *times, int32_t capacity);
/** Writes Chrome trace JSON (opens in Perfetto). CLQ_IO_ERROR. */
CLQ_API CLQ_NODISCARD clq_status clq_trace_write(const clq_trace *trace, const char *path);

#ifdef __cplusplus
}
#endif
#endif
