#include "ops/op.h"

#include <stdio.h>
#include <string.h>

#include "ops/overlap.h"
#include "ops/table.h"
#include "runtime/buffer.h"
#include "runtime/checked.h"
#include "runtime/stream.h"

const clqi_op *clqi_op_find(clq_op op) {
  const size_t i = (size_t)op;
  return i < clqi_op_count ? clqi_op_table[i] : NULL;
}

int64_t clqi_stride(const clq_tensor *t, int dims, int dim) {
  if (t->stride[dim] != 0) {
    return t->stride[dim];
  }
  int64_t stride = 1;
  for (int d = dims - 1; d > dim; --d) {
    stride *= t->shape[d];
  }
  return stride;
}

int clqi_used_dims(const clq_tensor *t) {
  int dims = CLQ_MAX_DIMS;
  while (dims > 1 && t->shape[dims - 1] == 0) {
    dims--;
  }
  return dims;
}

clq_status clqi_extent_bytes(const clq_tensor *t, uint64_t *bytes) {
  const int dims = clqi_used_dims(t);
  int64_t dense = 1;
  int64_t elements = 1;
  *bytes = 0;
  for (int d = dims - 1; d >= 0; d--) {
    if (t->shape[d] == 0) {
      return CLQ_OK;
    }
    int64_t reach;
    CLQI_REQUIRE(t->shape[d] > 0 && t->stride[d] >= 0,
                 "dimension %d has extent %lld, stride %lld, expected 0 or more", d,
                 (long long)t->shape[d], (long long)t->stride[d]);
    CLQI_REQUIRE(clqi_mul_i64(t->shape[d] - 1, t->stride[d] != 0 ? t->stride[d] : dense, &reach) &&
                     clqi_add_i64(elements, reach, &elements) &&
                     clqi_mul_i64(dense, t->shape[d], &dense),
                 "the size overflows");
  }
  int64_t product;
  CLQI_REQUIRE(clqi_mul_i64(elements, (int64_t)clq_dtype_bytes(t->dtype), &product),
               "the size overflows");
  *bytes = (uint64_t)product;
  return CLQ_OK;
}

int64_t clqi_rows(const clq_tensor *t, int dims) {
  int64_t rows = 1;
  for (int d = 0; d < dims - 1; ++d) {
    rows *= t->shape[d];
  }
  return rows;
}

static clq_status check_dtype(const char *op, const char *arg, const clq_tensor *t,
                              unsigned allowed) {
  if (t->dtype >= CLQ_F32 && t->dtype <= CLQ_U16 && (allowed & CLQI_DT(t->dtype)) != 0) {
    return CLQ_OK;
  }
  char names[64] = "";
  size_t n = 0;
  for (int d = CLQ_F32; d <= CLQ_U16; ++d) {
    if ((allowed & CLQI_DT(d)) != 0) {
      n += (size_t)snprintf(names + n, sizeof names - n, "%s%s", n == 0 ? "" : ", ",
                            clq_dtype_name((clq_dtype)d));
    }
  }
  CLQI_REQUIRE(clq_dtype_bytes(t->dtype) != 0, "%s: dtype of %s is %d, expected one of %s", op, arg,
               (int)t->dtype, names);
  return clqi_fail(CLQ_UNSUPPORTED, "%s: dtype of %s is %s, offered: %s", op, arg,
                   clq_dtype_name(t->dtype), names);
}

/* Strides are left out from the end, as extents are. */
static clq_status check_strides_given(const char *op, const char *arg, const clq_tensor *t,
                                      int dims) {
  int64_t behind = 0;
  for (int d = CLQ_MAX_DIMS - 1; d >= 0; --d) {
    CLQI_REQUIRE(t->stride[d] >= 0, "%s: stride %d of %s is %lld, expected 0 (dense) or more", op,
                 d, arg, (long long)t->stride[d]);
    CLQI_REQUIRE(d < dims || t->stride[d] == 0,
                 "%s: %s has %d dimensions here, but stride %d is %lld, expected 0", op, arg, dims,
                 d, (long long)t->stride[d]);
    CLQI_REQUIRE(t->stride[d] != 0 || behind == 0 || t->shape[d] <= 1,
                 "%s: stride %d of %s is 0 before one of %lld; broadcasting is not offered, and a "
                 "dense tensor leaves all strides 0",
                 op, d, arg, (long long)behind);
    behind = t->stride[d] != 0 ? t->stride[d] : behind;
  }
  return CLQ_OK;
}

static clq_status check_strides(const char *op, const char *arg, const clq_tensor *t, int dims) {
  int64_t inner = 1;
  for (int d = dims - 1; d >= 0; --d) {
    const int64_t stride = clqi_stride(t, dims, d);
    CLQI_REQUIRE(d < dims - 1 || stride == 1, "%s: the last stride of %s is %lld, expected 1", op,
                 arg, (long long)stride);
    CLQI_REQUIRE(stride >= inner || t->shape[d] <= 1,
                 "%s: stride %d of %s is %lld, expected at least %lld (the elements inside it)", op,
                 d, arg, (long long)stride, (long long)inner);
    CLQI_REQUIRE(clqi_mul_i64(stride, t->shape[d] == 0 ? 1 : t->shape[d], &inner),
                 "%s: the extent of %s overflows", op, arg);
  }
  return CLQ_OK;
}

/* Of what describes quantization, nothing is given that would be passed over. */
static clq_status check_quant_given(const char *op, const char *arg, const clq_tensor *t) {
  const clq_quant *q = &t->quant;
  CLQI_REQUIRE(q->per == 0 || (q->per >= CLQ_PER_TENSOR && q->per <= CLQ_PER_GROUP),
               "%s: quant.per of %s is %d, expected 0 or one of clq_granularity (1 to 4)", op, arg,
               (int)q->per);
  const bool codes = t->dtype == CLQ_I8 || t->dtype == CLQ_U8 || t->dtype == CLQ_I32;
  CLQI_REQUIRE(codes || q->per == 0, "%s: %s is %s, so quant.per must be 0", op, arg,
               clq_dtype_name(t->dtype));
  const char *plane = q->scale != NULL  ? "scale"
                      : q->zero != NULL ? "zero"
                      : q->sum != NULL  ? "sum"
                                        : NULL;
  CLQI_REQUIRE(q->per != 0 || plane == NULL, "%s: %s has quant.%s, but quant.per is 0%s", op, arg,
               plane, codes ? ": it must say what shares a scale" : "");
  CLQI_REQUIRE(q->per == CLQ_PER_GROUP || q->group == 0,
               "%s: %s has quant.group %d, but quant.per is not CLQ_PER_GROUP", op, arg,
               (int)q->group);
  CLQI_REQUIRE(q->per != CLQ_PER_GROUP || q->group > 0,
               "%s: the group of %s is %d, expected 1 or more", op, arg, (int)q->group);
  return CLQ_OK;
}

clq_status clqi_check_tensor(const char *op, const char *arg, const clq_tensor *t, int dims,
                             unsigned allowed) {
  CLQI_REQUIRE(clqi_present(t), "%s: %s is missing", op, arg);
  CLQI_TRY(check_dtype(op, arg, t, allowed));
  int64_t elements = 1;
  for (int d = 0; d < CLQ_MAX_DIMS; ++d) {
    CLQI_REQUIRE(t->shape[d] >= 0, "%s: dimension %d of %s is %lld, expected 0 or more", op, d, arg,
                 (long long)t->shape[d]);
    CLQI_REQUIRE(d < dims || t->shape[d] == 0,
                 "%s: %s has %d dimensions here, but extent %d is %lld, expected 0 (absent)", op,
                 arg, dims, d, (long long)t->shape[d]);
    CLQI_REQUIRE(d >= dims || clqi_mul_i64(elements, t->shape[d], &elements),
                 "%s: the size of %s overflows", op, arg);
  }
  CLQI_TRY(check_strides_given(op, arg, t, dims));
  CLQI_TRY(check_quant_given(op, arg, t));
  const size_t bytes = clq_dtype_bytes(t->dtype);
  CLQI_REQUIRE(t->offset % bytes == 0,
               "%s: the offset of %s is %llu bytes, expected a multiple of %zu", op, arg,
               (unsigned long long)t->offset, bytes);
  return elements == 0 ? CLQ_OK : check_strides(op, arg, t, dims);
}

clq_status clqi_check_extent(const char *op, const char *arg, const clq_tensor *t, int dim,
                             int64_t expected, const char *whose) {
  CLQI_REQUIRE(t->shape[dim] == expected, "%s: dimension %d of %s is %lld, expected %lld (%s)", op,
               dim, arg, (long long)t->shape[dim], (long long)expected, whose);
  return CLQ_OK;
}

static clq_status check_granularity(const char *op, const char *arg, const clq_tensor *t,
                                    unsigned allowed) {
  static const char *const names[] = {"", "per tensor", "per channel", "per token", "per group"};
  if ((allowed & CLQI_GR(t->quant.per)) != 0) {
    return CLQ_OK;
  }
  char offered[64] = "";
  size_t n = 0;
  for (int g = CLQ_PER_TENSOR; g <= CLQ_PER_GROUP; ++g) {
    if ((allowed & CLQI_GR(g)) != 0) {
      n += (size_t)snprintf(offered + n, sizeof offered - n, "%s%s", n == 0 ? "" : ", ", names[g]);
    }
  }
  return clqi_fail(CLQ_UNSUPPORTED, "%s: %s is quantized %s, offered: %s", op, arg,
                   names[t->quant.per], offered);
}

static clq_status check_plane_offsets(const char *op, const char *arg, const clq_quant *q) {
  static const char *const names[] = {"scale", "zero", "sum"};
  const uint64_t offsets[] = {q->scale_offset, q->zero_offset, q->sum_offset};
  for (size_t i = 0; i < CLQI_COUNT(offsets); ++i) {
    CLQI_REQUIRE(offsets[i] % sizeof(cl_int) == 0,
                 "%s: quant.%s_offset of %s is %llu bytes, expected a multiple of 4", op, names[i],
                 arg, (unsigned long long)offsets[i]);
  }
  return CLQ_OK;
}

clq_status clqi_check_quant(const char *op, const char *arg, const clq_tensor *t, unsigned allowed,
                            int32_t group_fixed) {
  const clq_quant *q = &t->quant;
  if (t->dtype != CLQ_I8 && t->dtype != CLQ_U8 && t->dtype != CLQ_I32) {
    return CLQ_OK;
  }
  CLQI_REQUIRE(q->per != 0, "%s: %s is %s, so quant.per must say what shares a scale", op, arg,
               clq_dtype_name(t->dtype));
  CLQI_TRY(check_granularity(op, arg, t, allowed));
  CLQI_REQUIRE(t->value != 0 || q->scale != NULL, "%s: the scale buffer of %s is missing", op, arg);
  CLQI_TRY(check_plane_offsets(op, arg, q));
  if (q->per == CLQ_PER_GROUP) {
    if (group_fixed != 0 && q->group != group_fixed) {
      return clqi_fail(CLQ_UNSUPPORTED, "%s: the group of %s is %d, offered: %d", op, arg,
                       (int)q->group, (int)group_fixed);
    }
  }
  return CLQ_OK;
}

int64_t clqi_scale_count(const clq_tensor *t, int64_t rows, int64_t cols) {
  switch (t->quant.per) {
    case CLQ_PER_TENSOR: return 1;
    case CLQ_PER_CHANNEL: return cols;
    case CLQ_PER_TOKEN: return rows;
    case CLQ_PER_GROUP: return rows * clqi_div_up(cols, t->quant.group);
  }
  return 0;
}

int64_t clqi_sum_count(const clq_tensor *t, int64_t rows, int64_t cols) {
  const bool shared = t->quant.per == CLQ_PER_TENSOR || t->quant.per == CLQ_PER_CHANNEL;
  return shared ? rows : clqi_scale_count(t, rows, cols);
}

/* What checks of one argument's buffers need to know of it. */
typedef struct argument {
  const clq_context *context;
  const char *op;
  const char *name;
  clqi_role role;
  bool planes_given;
} argument;

/* The elements of a tensor, or one of its planes. */
typedef struct part {
  const char *name;
  cl_mem mem; /* NULL: absent */
  uint64_t offset;
  uint64_t bytes;
  clqi_role role;
} part;

static clq_status check_part(const argument *a, const part *p) {
  if (p->mem == NULL || p->bytes == 0) {
    return CLQ_OK;
  }
  uint64_t size = 0;
  const clq_status status = clqi_buffer_bytes(a->context, p->mem, &size);
  if (status != CLQ_OK) {
    return clqi_fail_prefix(status, "%s: %s%s", a->op, a->name, p->name);
  }
  bool readable = false;
  bool writable = false;
  CLQI_TRY(clqi_buffer_access(p->mem, &readable, &writable));
  CLQI_REQUIRE(p->role == CLQI_IN || writable, "%s: the buffer of %s%s was created read-only",
               a->op, a->name, p->name);
  CLQI_REQUIRE(p->role == CLQI_OUT || readable, "%s: the buffer of %s%s was created write-only",
               a->op, a->name, p->name);
  CLQI_REQUIRE(p->offset <= size && p->bytes <= size - p->offset,
               "%s: the buffer of %s%s has %llu bytes, needed: %llu from offset %llu", a->op,
               a->name, p->name, (unsigned long long)size, (unsigned long long)p->bytes,
               (unsigned long long)p->offset);
  return CLQ_OK;
}

/* The tensor's own bytes, last element included, lie inside its buffer; so do its planes. */
static clq_status check_tensor_buffers(const argument *a, const clq_tensor *t) {
  CLQI_REQUIRE(t->mem != NULL, "%s: %s has no buffer", a->op, a->name);
  uint64_t bytes = 0;
  const clq_status status = clqi_extent_bytes(t, &bytes);
  if (status != CLQ_OK) {
    return clqi_fail_prefix(status, "%s: the extent of %s", a->op, a->name);
  }
  if (bytes == 0) {
    return CLQ_OK;
  }
  const int dims = clqi_used_dims(t);
  const int64_t rows = clqi_rows(t, dims);
  const uint64_t planes = 4U * (uint64_t)clqi_scale_count(t, rows, t->shape[dims - 1]);
  const uint64_t sums = 4U * (uint64_t)clqi_sum_count(t, rows, t->shape[dims - 1]);
  const clqi_role found = a->planes_given ? CLQI_IN : a->role;
  const part parts[] = {
      {"", t->mem, t->offset, bytes, a->role},
      {".quant.scale", t->quant.scale, t->quant.scale_offset, planes, found},
      {".quant.zero", t->quant.zero, t->quant.zero_offset, planes, found},
      {".quant.sum", t->quant.sum, t->quant.sum_offset, sums, a->role},
  };
  for (size_t i = 0; i < CLQI_COUNT(parts); ++i) {
    CLQI_TRY(check_part(a, &parts[i]));
  }
  return CLQ_OK;
}

clq_status clqi_check_buffers(const clq_context *context, const char *op, const char *arg,
                              clqi_role role, bool planes_given, const clq_tensor *t) {
  return check_tensor_buffers(&(argument){context, op, arg, role, planes_given}, t);
}

clq_status clqi_op_check_buffers(const clq_context *context, const clqi_op *op, const void *args) {
  for (size_t i = 0; i < op->field_count; ++i) {
    const clq_tensor *t = clqi_field_const(&op->fields[i], args);
    if (clqi_present(t) && t->value == 0) {
      CLQI_TRY(clqi_check_buffers(context, op->name, op->fields[i].name, op->fields[i].role,
                                  clqi_planes_given(op, t), t));
    }
  }
  return CLQ_OK;
}

clq_status clqi_op_prepare(const clq_context *context, const clqi_op *op, void *args) {
  for (size_t i = 0; i < op->field_count; ++i) {
    CLQI_REQUIRE(op->fields[i].optional || clqi_present(clqi_field_const(&op->fields[i], args)),
                 "%s: %s is missing", op->name, op->fields[i].name);
  }
  if (op->infer != NULL) {
    CLQI_TRY(op->infer(args));
  }
  return op->check(context, args);
}

/* Everything before the launch, on a copy of the arguments, which it makes. */
static clq_status prepare_call(clq_stream *stream, const clqi_op *op, const void *args,
                               void *copy) {
  CLQI_REQUIRE(stream != NULL && args != NULL, "%s: stream and arguments must not be NULL",
               op->name);
  memcpy(copy, args, op->args_bytes);
  const clq_context *context = clqi_stream_emitter(stream)->context;
  CLQI_TRY(clqi_context_usable(context));
  for (size_t i = 0; i < op->field_count; ++i) {
    CLQI_REQUIRE(clqi_field_const(&op->fields[i], copy)->value == 0,
                 "%s: %s is an edge of a graph; an immediate call needs a buffer", op->name,
                 op->fields[i].name);
  }
  CLQI_TRY(clqi_op_prepare(context, op, copy));
  if (op->empty(copy)) {
    return CLQ_OK;
  }
  CLQI_TRY(clqi_op_check_buffers(context, op, copy));
  return clqi_op_check_overlap(op, copy);
}

clq_status clqi_op_run(clq_stream *stream, const clqi_op *op, const void *args) {
  _Alignas(16) char copy[CLQI_MAX_ARGS_BYTES];
  CLQI_TRY(prepare_call(stream, op, args, copy));
  return op->empty(copy) ? CLQ_OK : op->launch(clqi_stream_emitter(stream), copy);
}

clq_status clqi_op_run_all(clq_stream *stream, const clqi_op *op, const void *args, int32_t count) {
  _Alignas(16) char copy[CLQI_MAX_ARGS_BYTES];
  for (int pass = 0; pass < 2; ++pass) {
    for (int32_t i = 0; i < count; ++i) {
      const void *one = (const char *)args + (size_t)i * op->args_bytes;
      const clq_status status =
          pass == 0 ? prepare_call(stream, op, one, copy) : clqi_op_run(stream, op, one);
      if (status != CLQ_OK) {
        return clqi_fail_prefix(status, "args[%d]", (int)i);
      }
    }
  }
  return CLQ_OK;
}
