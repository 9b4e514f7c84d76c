/* A graph from inside: nodes in the order in which they run, and edges. */
#ifndef CLQI_SCHED_GRAPH_H
#define CLQI_SCHED_GRAPH_H

#include <clquant/graph.h>

#include "ops/op.h"

/* Edges and their planes start at multiples of this many bytes: a cache line of any device, and
 * more than any vector load asks for. */
enum { CLQI_EDGE_ALIGNMENT = 128 };

/* One region of memory: the codes or numbers, and for quantized types the scale plane and the
 * plane of sums behind them. */
typedef struct clqi_edge {
  clq_tensor tensor;    /* dense; shape all zero, or quant.per 0, until a node's output says it */
  int32_t first;        /* node that writes it, -1: none yet */
  int32_t last;         /* last node that touches it */
  uint64_t bytes;       /* of the codes or numbers; known once written, as what follows */
  uint64_t plane_bytes; /* of the scales, and of the sums; 0: not quantized */
  uint64_t scale_offset;
  uint64_t sum_offset;
  uint64_t region_bytes;
} clqi_edge;

typedef struct clqi_node {
  const clqi_op *op;
  void *args; /* op->args_bytes; checked, shapes inferred, edges still by number */
} clqi_node;

struct clq_graph {
  clq_context *context;
  clqi_node *nodes;
  int32_t node_count;
  int64_t node_capacity;
  clqi_edge *edges; /* edge number v is edges[v - 1] */
  int32_t edge_count;
  int64_t edge_capacity;
  clq_status status; /* first error; everything afterwards answers it */
  char error[1024];
};

/* The latched error again, or CLQ_OK. */
clq_status clqi_graph_status(const clq_graph *graph);

/* A tensor that names an edge, before anything else is asked of it: the edge exists, is written if
 * it is read, and lends the tensor what was left open. `op` and `arg` name it in the sentence. */
clq_status clqi_graph_resolve(const clq_graph *graph, const char *op, const char *arg,
                              clqi_role role, clq_tensor *tensor);

#endif
