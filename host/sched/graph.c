#include "sched/graph.h"

#include <stdio.h>
#include <string.h>

#include "ops/overlap.h"
#include "runtime/array.h"
#include "runtime/checked.h"
#include "runtime/memory.h"

clq_status clqi_graph_status(const clq_graph *graph) {
  return graph->status == CLQ_OK ? CLQ_OK : clqi_fail(graph->status, "%s", graph->error);
}

static clq_status latch(clq_graph *graph, clq_status status) {
  graph->status = status;
  (void)snprintf(graph->error, sizeof graph->error, "%s", clq_last_error());
  return status;
}

clq_status clq_graph_create(clq_context *context, clq_graph **graph) {
  CLQI_REQUIRE(graph != NULL, "graph: the result pointer is NULL");
  *graph = NULL;
  CLQI_REQUIRE(context != NULL, "graph: context is NULL");
  clq_graph *g = clqi_calloc(1, sizeof *g);
  if (g == NULL) {
    return clqi_fail(CLQ_OUT_OF_HOST_MEMORY, "graph: out of memory");
  }
  g->context = context;
  *graph = g;
  return CLQ_OK;
}

void clq_graph_destroy(clq_graph *graph) {
  if (graph == NULL) {
    return;
  }
  for (int32_t i = 0; i < graph->node_count; i++) {
    clqi_free(graph->nodes[i].args);
  }
  clqi_free(graph->nodes);
  clqi_free(graph->edges);
  clqi_free(graph);
}

/* --- shapes and sizes --- */

static bool has_shape(const clq_tensor *t) {
  return t->shape[0] != 0 || t->shape[1] != 0 || t->shape[2] != 0 || t->shape[3] != 0;
}

/* Bytes of a scale plane; 0 unless quantized. */
static uint64_t plane_bytes(const clq_tensor *t) {
  const int dims = clqi_used_dims(t);
  return t->quant.per == 0 ? 0
                           : sizeof(cl_float) * (uint64_t)clqi_scale_count(t, clqi_rows(t, dims),
                                                                           t->shape[dims - 1]);
}

/* Lays out the region of an edge whose shape and quantization are known. */
static clq_status lay_out(clqi_edge *edge) {
  CLQI_TRY(clqi_extent_bytes(&edge->tensor, &edge->bytes));
  edge->plane_bytes = plane_bytes(&edge->tensor);
  edge->region_bytes = edge->bytes;
  if (edge->plane_bytes == 0) {
    return CLQ_OK;
  }
  size_t scale;
  size_t sum;
  size_t end;
  CLQI_REQUIRE(clqi_align_size(edge->bytes, CLQI_EDGE_ALIGNMENT, &scale) &&
                   clqi_add_size(scale, edge->plane_bytes, &sum) &&
                   clqi_align_size(sum, CLQI_EDGE_ALIGNMENT, &sum) &&
                   clqi_add_size(sum, edge->plane_bytes, &end),
               "the size overflows");
  edge->scale_offset = scale;
  edge->sum_offset = sum;
  edge->region_bytes = end;
  return CLQ_OK;
}

/* --- edges --- */

static clq_status new_edge(clq_graph *graph, clq_dtype dtype, int32_t dims, const int64_t *shape,
                           clq_tensor *tensor) {
  CLQI_TRY(clqi_graph_status(graph));
  CLQI_REQUIRE(clq_dtype_bytes(dtype) != 0, "dtype is %d, expected one of clq_dtype (1 to 6)",
               (int)dtype);
  CLQI_REQUIRE(dims >= 0 && dims <= CLQ_MAX_DIMS, "dims is %d, expected 0 to %d", (int)dims,
               CLQ_MAX_DIMS);
  CLQI_REQUIRE(dims == 0 || shape != NULL, "shape is NULL");
  CLQI_TRY(clqi_array_reserve(&graph->edges, graph->edge_count, 1, &graph->edge_capacity,
                              sizeof *graph->edges));
  clq_tensor t = {.dtype = dtype, .value = graph->edge_count + 1};
  for (int32_t d = 0; d < dims; d++) {
    CLQI_REQUIRE(shape[d] >= 0, "dimension %d is %lld, expected 0 or more", (int)d,
                 (long long)shape[d]);
    t.shape[d] = shape[d];
  }
  uint64_t bytes;
  CLQI_TRY(clqi_extent_bytes(&t, &bytes));
  graph->edges[graph->edge_count++] = (clqi_edge){.tensor = t, .first = -1, .last = -1};
  *tensor = t;
  return CLQ_OK;
}

clq_tensor clq_graph_edge(clq_graph *graph, clq_dtype dtype, int32_t dims, const int64_t *shape) {
  clq_tensor tensor = {0};
  if (graph == NULL) {
    return tensor;
  }
  const bool failed_before = graph->status != CLQ_OK;
  const clq_status status = new_edge(graph, dtype, dims, shape, &tensor);
  if (status != CLQ_OK && !failed_before) {
    (void)clqi_fail_prefix(status, "graph: edge %d", (int)graph->edge_count + 1);
    (void)latch(graph, status);
  }
  return tensor;
}

clq_status clq_graph_tensor(const clq_graph *graph, int32_t value, clq_tensor *tensor) {
  CLQI_REQUIRE(graph != NULL && tensor != NULL, "graph: graph and tensor must not be NULL");
  CLQI_REQUIRE(value >= 1 && value <= graph->edge_count, "graph: there is no edge %d, it has %d",
               (int)value, (int)graph->edge_count);
  *tensor = graph->edges[value - 1].tensor;
  return CLQ_OK;
}

/* --- nodes --- */

/* Does this node, in another argument, read the edge? */
static bool reads_edge(const clqi_node *node, int32_t value) {
  for (size_t i = 0; i < node->op->field_count; i++) {
    if (node->op->fields[i].role != CLQI_OUT &&
        clqi_field_const(&node->op->fields[i], node->args)->value == value) {
      return true;
    }
  }
  return false;
}

clq_status clqi_graph_resolve(const clq_graph *graph, const char *op, const char *arg,
                              clqi_role role, clq_tensor *tensor) {
  clq_tensor *t = tensor;
  CLQI_REQUIRE(t->value >= 1 && t->value <= graph->edge_count,
               "%s: %s is edge %d, the graph has %d", op, arg, (int)t->value,
               (int)graph->edge_count);
  CLQI_REQUIRE(
      t->mem == NULL && t->quant.scale == NULL && t->quant.zero == NULL && t->quant.sum == NULL,
      "%s: %s names edge %d and a buffer; an edge's buffers are planned", op, arg, (int)t->value);
  CLQI_REQUIRE(
      t->quant.scale_offset == 0 && t->quant.zero_offset == 0 && t->quant.sum_offset == 0,
      "%s: %s names edge %d and where its planes lie; that follows from the rows of the view", op,
      arg, (int)t->value);
  const clqi_edge *edge = &graph->edges[t->value - 1];
  const clq_tensor *declared = &edge->tensor;
  CLQI_REQUIRE(t->dtype == declared->dtype, "%s: %s is %s, edge %d is %s", op, arg,
               clq_dtype_name(t->dtype), (int)t->value, clq_dtype_name(declared->dtype));
  CLQI_REQUIRE(role == CLQI_OUT || edge->first >= 0,
               "%s: %s reads edge %d before any node has written it", op, arg, (int)t->value);
  if (!has_shape(t)) {
    memcpy(t->shape, declared->shape, sizeof t->shape);
  }
  if (declared->quant.per != 0 && t->quant.per == 0) {
    t->quant.per = declared->quant.per;
    t->quant.group = declared->quant.group;
  }
  CLQI_REQUIRE((edge->first < 0 && declared->quant.per == 0) ||
                   (t->quant.per == declared->quant.per && t->quant.group == declared->quant.group),
               "%s: %s is not quantized as edge %d was when node %d wrote it", op, arg,
               (int)t->value, (int)edge->first);
  return CLQ_OK;
}

/* Rows of their own have scales and sums of their own. */
static bool rows_have_planes(const clq_tensor *t) {
  return t->quant.per == CLQ_PER_TOKEN || t->quant.per == CLQ_PER_GROUP;
}

/* An output on an edge that has been written: other columns or rows of it, or in the place of what
 * this node reads. Views of quantized edges are whole rows, so that where codes are apart, planes
 * are. */
static clq_status check_rewrite(const clq_graph *graph, const clqi_node *node,
                                const clqi_field *field) {
  const char *op = node->op->name;
  const clq_tensor *t = clqi_field_const(field, node->args);
  const clqi_edge *edge = &graph->edges[t->value - 1];
  if (field->role != CLQI_OUT || edge->first < 0) {
    return CLQ_OK;
  }
  CLQI_REQUIRE(edge->plane_bytes == 0 || rows_have_planes(t),
               "%s: %s is edge %d, which node %d has written; an edge whose rows share scales is "
               "written at once",
               op, field->name, (int)t->value, (int)edge->first);
  if (reads_edge(node, t->value)) {
    return CLQ_OK;
  }
  for (int32_t n = edge->first; n < graph->node_count; n++) {
    const clqi_node *earlier = &graph->nodes[n];
    for (size_t i = 0; i < earlier->op->field_count; i++) {
      const clqi_field *other = &earlier->op->fields[i];
      const clq_tensor *o = clqi_field_const(other, earlier->args);
      CLQI_REQUIRE(other->role == CLQI_IN || o->value != t->value || !clqi_views_overlap(t, o),
                   "%s: %s is edge %d where node %d has written it; only a node that reads an edge "
                   "may write there again",
                   op, field->name, (int)t->value, (int)n);
    }
  }
  return CLQ_OK;
}

/* Rows of `cols` elements, one behind the other? */
static bool is_dense(const clq_tensor *t, int dims) {
  int64_t inner = 1;
  for (int d = dims - 1; d >= 0; d--) {
    if (t->shape[d] > 1 && clqi_stride(t, dims, d) != inner) {
      return false;
    }
    inner *= t->shape[d];
  }
  return true;
}

/* A view of a quantized edge is whole rows of it. Their scales and sums lie in the planes where
 * the rows lie among the codes. */
static clq_status place_planes(const clqi_node *node, const clqi_field *field,
                               const clqi_edge *edge) {
  clq_tensor *t = clqi_field_tensor(field, node->args);
  const int dims = clqi_used_dims(t);
  const int64_t cols = t->shape[dims - 1];
  const int64_t edge_cols = edge->tensor.shape[clqi_used_dims(&edge->tensor) - 1];
  if (edge->plane_bytes == 0 || cols == 0) {
    return CLQ_OK;
  }
  const uint64_t row_bytes = (uint64_t)cols * clq_dtype_bytes(t->dtype);
  CLQI_REQUIRE(cols == edge_cols && t->offset % row_bytes == 0 && is_dense(t, dims),
               "%s: %s is a view of edge %d, which is quantized; it must be whole rows of %lld",
               node->op->name, field->name, (int)t->value, (long long)edge_cols);
  if (rows_have_planes(t)) {
    const clq_tensor row = {.dtype = t->dtype, .shape = {1, cols}, .quant = t->quant};
    t->quant.scale_offset = t->offset / row_bytes * plane_bytes(&row);
    t->quant.sum_offset = t->quant.scale_offset;
  }
  return CLQ_OK;
}

/* The same argument once the operator has checked it: gives a new edge what it lacks, then sees
 * that the view lies inside the edge. */
static clq_status settle_edge(clq_graph *graph, const clqi_node *node, const clqi_field *field) {
  const char *op = node->op->name;
  const clq_tensor *t = clqi_field_const(field, node->args);
  clqi_edge *edge = &graph->edges[t->value - 1];
  CLQI_TRY(check_rewrite(graph, node, field));
  if (edge->first < 0) {
    if (!has_shape(&edge->tensor)) {
      CLQI_REQUIRE(t->offset == 0 && t->stride[0] == 0,
                   "%s: %s is a view of edge %d, which has no shape yet", op, field->name,
                   (int)t->value);
      memcpy(edge->tensor.shape, t->shape, sizeof t->shape);
    }
    edge->tensor.quant.per = t->quant.per;
    edge->tensor.quant.group = t->quant.group;
    edge->first = graph->node_count;
    const clq_status status = lay_out(edge);
    if (status != CLQ_OK) {
      return clqi_fail_prefix(status, "%s: %s, edge %d", op, field->name, (int)t->value);
    }
  }
  edge->last = graph->node_count;

  uint64_t bytes;
  const clq_status status = clqi_extent_bytes(t, &bytes);
  if (status != CLQ_OK) {
    return clqi_fail_prefix(status, "%s: %s", op, field->name);
  }
  CLQI_REQUIRE(t->offset <= edge->bytes && bytes <= edge->bytes - t->offset,
               "%s: %s takes %llu bytes from offset %llu, edge %d has %llu", op, field->name,
               (unsigned long long)bytes, (unsigned long long)t->offset, (int)t->value,
               (unsigned long long)edge->bytes);
  return place_planes(node, field, edge);
}

static clq_status check_node(clq_graph *graph, const clqi_node *node) {
  const clqi_op *op = node->op;
  for (size_t i = 0; i < op->field_count; i++) {
    clq_tensor *t = clqi_field_tensor(&op->fields[i], node->args);
    if (t->value != 0) {
      CLQI_TRY(clqi_graph_resolve(graph, op->name, op->fields[i].name, op->fields[i].role, t));
    }
  }
  CLQI_TRY(clqi_op_prepare(graph->context, op, node->args));
  for (size_t i = 0; i < op->field_count; i++) {
    if (clqi_field_const(&op->fields[i], node->args)->value != 0) {
      CLQI_TRY(settle_edge(graph, node, &op->fields[i]));
    }
  }
  if (op->empty(node->args)) {
    return CLQ_OK;
  }
  CLQI_TRY(clqi_op_check_buffers(graph->context, op, node->args));
  return clqi_op_check_overlap(op, node->args);
}

static clq_status add_node(clq_graph *graph, clq_op number, const void *args) {
  const clqi_op *op = clqi_op_find(number);
  CLQI_REQUIRE(op != NULL, "operator is %d, expected one of clq_op", (int)number);
  CLQI_REQUIRE(args != NULL, "%s: args is NULL", op->name);
  CLQI_TRY(clqi_array_reserve(&graph->nodes, graph->node_count, 1, &graph->node_capacity,
                              sizeof *graph->nodes));
  clqi_node node = {.op = op, .args = clqi_malloc(op->args_bytes)};
  if (node.args == NULL) {
    return clqi_fail(CLQ_OUT_OF_HOST_MEMORY, "%s: out of memory", op->name);
  }
  memcpy(node.args, args, op->args_bytes);
  const clq_status status = check_node(graph, &node);
  if (status != CLQ_OK) {
    clqi_free(node.args);
    return status;
  }
  graph->nodes[graph->node_count++] = node;
  return CLQ_OK;
}

clq_status clq_graph_add(clq_graph *graph, clq_op op, const void *args) {
  CLQI_REQUIRE(graph != NULL, "graph: NULL");
  CLQI_TRY(clqi_graph_status(graph));
  const clq_status status = add_node(graph, op, args);
  if (status != CLQ_OK) {
    (void)clqi_fail_prefix(status, "graph: node %d", (int)graph->node_count);
    return latch(graph, status);
  }
  return CLQ_OK;
}
