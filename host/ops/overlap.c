#include "ops/overlap.h"

#include <string.h>

#include "runtime/buffer.h"

/* Bytes that a view may touch: `lines` times `width` bytes, `pitch` apart. */
typedef struct footprint {
  uint64_t start;
  uint64_t end;
  uint64_t pitch; /* 0: one line */
  uint64_t width;
} footprint;

/* Extents were checked before, so that an error cannot occur; it would read as an empty view. */
static footprint footprint_of(const clq_tensor *t) {
  uint64_t bytes = 0;
  if (clqi_extent_bytes(t, &bytes) != CLQ_OK) {
    bytes = 0;
  }
  footprint f = {.start = t->offset, .end = t->offset + bytes, .width = bytes};
  const int dims = clqi_used_dims(t);
  int outer = 0;
  while (outer < dims - 1 && t->shape[outer] == 1) {
    outer++;
  }
  if (bytes > 0 && outer < dims - 1) {
    f.pitch = (uint64_t)clqi_stride(t, dims, outer) * clq_dtype_bytes(t->dtype);
    f.width = bytes - f.pitch * (uint64_t)(t->shape[outer] - 1);
  }
  return f;
}

static bool footprints_overlap(const footprint *a, const footprint *b) {
  if (a->width == 0 || b->width == 0 || a->end <= b->start || b->end <= a->start) {
    return false;
  }
  const uint64_t pitch = a->pitch != 0 ? a->pitch : b->pitch;
  if (pitch == 0 || (a->pitch != b->pitch && a->pitch != 0 && b->pitch != 0)) {
    return true;
  }
  /* Lines of one matrix: apart if their column ranges are, also around the end of a line. */
  const uint64_t behind = b->start >= a->start ? (b->start - a->start) % pitch
                                               : (pitch - (a->start - b->start) % pitch) % pitch;
  return behind < a->width || pitch - behind < b->width;
}

bool clqi_views_overlap(const clq_tensor *a, const clq_tensor *b) {
  const footprint fa = footprint_of(a);
  const footprint fb = footprint_of(b);
  return footprints_overlap(&fa, &fb);
}

/* Every element of one is the element of the same index of the other. */
static bool same_view(const clq_tensor *a, const clq_tensor *b) {
  if (a->dtype != b->dtype || a->offset != b->offset) {
    return false;
  }
  const int dims = clqi_used_dims(a);
  for (int d = 0; d < CLQ_MAX_DIMS; d++) {
    const bool line = a->shape[d] <= 1 && b->shape[d] <= 1; /* also dimensions that are absent */
    if (!line &&
        (a->shape[d] != b->shape[d] || clqi_stride(a, dims, d) != clqi_stride(b, dims, d))) {
      return false;
    }
  }
  return true;
}

/* Is `name` a word of the list "a b c"? */
static bool lists(const char *words, const char *name) {
  const size_t length = strlen(name);
  for (const char *at = words; at != NULL && *at != '\0'; at += strspn(at, " ")) {
    const size_t word = strcspn(at, " ");
    if (word == length && strncmp(at, name, length) == 0) {
      return true;
    }
    at += word;
  }
  return false;
}

enum { PARTS = 4, MOST_FIELDS = 12 };

/* What an argument covers: its elements, then the planes of its quantization. */
typedef struct part {
  cl_mem mem;    /* NULL: absent, or an edge; of a sub-buffer the buffer it is a piece of */
  int32_t value; /* edge */
  bool written;
  footprint bytes;
} part;

/* A sub-buffer's bytes move to where they lie in its buffer. */
static clq_status resolve(part *p) {
  uint64_t origin = 0;
  CLQI_TRY(clqi_buffer_whole(p->mem, &p->mem, &origin));
  p->bytes.start += origin;
  p->bytes.end += origin;
  return CLQ_OK;
}

static clq_status parts_of(const clqi_op *op, const clq_tensor *t, clqi_role role,
                           part parts[PARTS]) {
  const cl_mem mems[] = {t->mem, t->quant.scale, t->quant.zero, t->quant.sum};
  const uint64_t offsets[] = {0, t->quant.scale_offset, t->quant.zero_offset, t->quant.sum_offset};
  const int dims = clqi_used_dims(t);
  const int64_t rows = clqi_rows(t, dims);
  const int64_t cols = t->shape[dims - 1];
  for (int i = 0; i < PARTS; i++) {
    const int64_t count = i == 3 ? clqi_sum_count(t, rows, cols) : clqi_scale_count(t, rows, cols);
    const uint64_t plane = sizeof(cl_float) * (uint64_t)count;
    const bool given = (i == 1 || i == 2) && clqi_planes_given(op, t);
    parts[i] = (part){.mem = mems[i],
                      .written = role != CLQI_IN && !given,
                      .bytes = {.start = offsets[i], .end = offsets[i] + plane, .width = plane}};
  }
  parts[0].value = t->value;
  parts[0].bytes = footprint_of(t);
  for (int i = 0; i < PARTS; i++) {
    if (parts[i].mem != NULL) {
      CLQI_TRY(resolve(&parts[i]));
    }
  }
  return CLQ_OK;
}

static bool parts_overlap(const part *a, const part *b) {
  const bool together =
      (a->mem != NULL && a->mem == b->mem) || (a->value != 0 && a->value == b->value);
  return together && (a->written || b->written) && footprints_overlap(&a->bytes, &b->bytes);
}

/* An operator's arguments and what they cover, by field. */
typedef struct arguments {
  const clqi_op *op;
  const void *args;
  part parts[MOST_FIELDS][PARTS];
} arguments;

/* Part i of one field against part j of another. */
static clq_status check_parts(const arguments *a, size_t field, int i, size_t other, int j) {
  static const char *const names[PARTS] = {"", ".quant.scale", ".quant.zero", ".quant.sum"};
  CLQI_REQUIRE(!parts_overlap(&a->parts[field][i], &a->parts[other][j]), "%s: %s%s overlaps %s%s",
               a->op->name, a->op->fields[field].name, names[i], a->op->fields[other].name,
               names[j]);
  return CLQ_OK;
}

/* May the output lie where the input does? Only as the same buffer object: OpenCL leaves undefined
 * what a kernel sees that has a buffer and a sub-buffer of it. */
static bool in_place(const arguments *a, size_t written, size_t other) {
  const clq_tensor *out = clqi_field_const(&a->op->fields[written], a->args);
  const clq_tensor *in = clqi_field_const(&a->op->fields[other], a->args);
  return a->op->fields[written].role == CLQI_OUT && out->quant.per == 0 &&
         lists(a->op->in_place, a->op->fields[other].name) && out->mem == in->mem &&
         out->value == in->value && same_view(out, in);
}

static clq_status check_pair(const arguments *a, size_t written, size_t other) {
  const bool same = in_place(a, written, other);
  for (int i = 0; i < PARTS; i++) {
    for (int j = 0; j < PARTS; j++) {
      if (!same || i != 0 || j != 0) {
        CLQI_TRY(check_parts(a, written, i, other, j));
      }
    }
  }
  return CLQ_OK;
}

static clq_status check_itself(const arguments *a, size_t written) {
  for (int i = 1; i < PARTS; i++) {
    for (int j = 0; j < i; j++) {
      CLQI_TRY(check_parts(a, written, i, written, j));
    }
  }
  return CLQ_OK;
}

clq_status clqi_op_check_overlap(const clqi_op *op, const void *args) {
  arguments a = {.op = op, .args = args};
  CLQI_REQUIRE(op->field_count <= MOST_FIELDS, "%s: it has %zu tensors", op->name, op->field_count);
  for (size_t i = 0; i < op->field_count; i++) {
    const clqi_field *field = &op->fields[i];
    CLQI_TRY(parts_of(op, clqi_field_const(field, args), field->role, a.parts[i]));
  }
  for (size_t i = 0; i < op->field_count; i++) {
    if (op->fields[i].role == CLQI_IN) {
      continue;
    }
    CLQI_TRY(check_itself(&a, i));
    for (size_t j = 0; j < op->field_count; j++) {
      /* Two that are written meet once. */
      if (op->fields[j].role == CLQI_IN || j > i) {
        CLQI_TRY(check_pair(&a, i, j));
      }
    }
  }
  return CLQ_OK;
}
