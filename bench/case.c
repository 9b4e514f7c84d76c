/* Words, memory, tensors and checks of one case. */
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bench.h"
#include "cli.h"
#include "ref/math.h"

/* --- words --- */

static const bench_value *value_of(const bench_case *c, const char *word) {
  static const bench_value none = {0, ""};
  for (int i = 0; i < c->op->word_count; ++i) {
    if (strcmp(c->op->words[i].name, word) == 0) {
      return &c->values[i];
    }
  }
  return &none;
}

int64_t bench_number(const bench_case *c, const char *word) { return value_of(c, word)->number; }

const char *bench_choice(const bench_case *c, const char *word) { return value_of(c, word)->word; }

bool bench_is(const bench_case *c, const char *word, const char *value) {
  return strcmp(bench_choice(c, word), value) == 0;
}

/* --- failures --- */

void bench_fail(bench_case *c, const char *format, ...) {
  if (c->code != CLI_DONE) {
    return;
  }
  char text[512];
  va_list arguments;
  va_start(arguments, format);
  (void)vsnprintf(text, sizeof text, format, arguments);
  va_end(arguments);
  c->code = CLI_FAILED;
  if (c->session->sweeps && !c->measuring) {
    char name[BENCH_NAME_BYTES];
    bench_run_name(c, name);
    (void)fprintf(stderr, "clq: %s is left out: %s\n", name, text);
    c->left_out = true;
  } else {
    (void)cli_fail("%s", text);
  }
}

bool bench_ok(bench_case *c, clq_status status) {
  if (status != CLQ_OK) {
    /* What the case asks for can be refused; a device that fails will fail the next one, too. */
    c->measuring = c->measuring || !(status == CLQ_UNSUPPORTED || status == CLQ_INVALID_ARGUMENT ||
                                     status == CLQ_OUT_OF_DEVICE_MEMORY);
    char sentence[CLI_SENTENCE_BYTES];
    cli_sentence(sentence);
    const bool memory = status == CLQ_OUT_OF_HOST_MEMORY || status == CLQ_OUT_OF_DEVICE_MEMORY;
    bench_fail(c, "%s%s", sentence, memory ? "; take a smaller shape, or free memory" : "");
  }
  return c->code == CLI_DONE;
}

bool bench_over(const bench_case *c) { return c->code != CLI_DONE || cli_interrupted(); }

/* --- memory --- */

void bench_memory_begin(bench_case *c) {
  c->device_room = c->session->device->global_bytes;
  const long pages = sysconf(_SC_PHYS_PAGES);
  const long page_bytes = sysconf(_SC_PAGESIZE);
  const bool known = pages > 0 && page_bytes > 0;
  c->host_room = known ? (uint64_t)pages / 10 * 9 * (uint64_t)page_bytes : UINT64_MAX;
}

/* Sums stay below 2^63: what is larger is refused, or saturates while only sizes are taken. */
static uint64_t sum(uint64_t a, uint64_t b) {
  return a > INT64_MAX - b ? (uint64_t)INT64_MAX : a + b;
}

static bool fits(bench_case *c) {
  const bool shared = c->session->limits.on_cpu;
  const uint64_t host = shared ? sum(c->host_bytes, c->device_bytes) : c->host_bytes;
  if (c->device_bytes > c->device_room || host > c->host_room) {
    const bool device = c->device_bytes > c->device_room;
    bench_fail(
        c,
        "%s: the shape needs %llu MiB, copies to check with included, there are %llu MiB; take a "
        "smaller one",
        c->op->name, (unsigned long long)((device ? c->device_bytes : host) >> 20),
        (unsigned long long)((device ? c->device_room : c->host_room) >> 20));
  }
  return c->code == CLI_DONE;
}

bool bench_count_device(bench_case *c, double bytes) {
  c->device_bytes = sum(c->device_bytes, bytes < 0x1p62 ? (uint64_t)bytes : UINT64_C(1) << 62);
  return fits(c);
}

/* Nothing is empty, so that a shape of zero still has buffers. Adds to *total. */
static bool size_of(bench_case *c, int64_t count, size_t element_bytes, uint64_t *total,
                    size_t *bytes) {
  if (count < 0 || (uint64_t)count > (SIZE_MAX / 4) / element_bytes) {
    *total = INT64_MAX;
    bench_fail(c, "%s: the shape is too large; take a smaller one", c->op->name);
    return false;
  }
  *bytes = (size_t)count * element_bytes;
  *bytes += *bytes == 0 ? element_bytes : 0;
  *total = sum(*total, *bytes);
  return fits(c);
}

void *bench_host(bench_case *c, int64_t count, size_t element_bytes) {
  size_t bytes = 0;
  if (!size_of(c, count, element_bytes, &c->host_bytes, &bytes)) {
    return NULL;
  }
  void *block = c->block_count < BENCH_MAX_BLOCKS ? calloc(bytes, 1) : NULL;
  if (block == NULL) {
    bench_fail(c, "%s: out of memory for %zu bytes; take a smaller shape", c->op->name, bytes);
    return NULL;
  }
  c->blocks[c->block_count++] = block;
  return block;
}

static void transfer(bench_case *c, cl_int code, const char *call) {
  if (code != CL_SUCCESS) {
    c->measuring = true; /* No refusal: the device fails, and will fail the next case, too. */
    bench_fail(c, "%s: %s failed with OpenCL error %d", c->op->name, call, (int)code);
  }
}

cl_mem bench_buffer(bench_case *c, const void *data, int64_t count, size_t element_bytes) {
  size_t bytes = 0;
  if (!size_of(c, count, element_bytes, &c->device_bytes, &bytes)) {
    return NULL;
  }
  if (c->buffer_count == BENCH_MAX_BLOCKS) {
    bench_fail(c, "%s: more buffers than a case may have", c->op->name);
    return NULL;
  }
  cl_mem mem = NULL;
  if (!bench_ok(c, clq_buffer_create(c->session->context, bytes, &mem))) {
    return NULL;
  }
  c->buffers[c->buffer_count++] = mem;
  if (data != NULL) {
    bench_write(c, mem, data, count, element_bytes);
  } else {
    const cl_uchar zero = 0;
    transfer(c,
             clEnqueueFillBuffer(clq_stream_queue(c->session->stream), mem, &zero, sizeof zero, 0,
                                 bytes, 0, NULL, NULL),
             "clEnqueueFillBuffer");
  }
  return mem;
}

void bench_write(bench_case *c, cl_mem mem, const void *data, int64_t count, size_t element_bytes) {
  if (c->code == CLI_DONE && count > 0) {
    transfer(c,
             clEnqueueWriteBuffer(clq_stream_queue(c->session->stream), mem, CL_TRUE, 0,
                                  (size_t)count * element_bytes, data, 0, NULL, NULL),
             "clEnqueueWriteBuffer");
  }
}

void *bench_read(bench_case *c, cl_mem mem, int64_t count, size_t element_bytes) {
  void *data = bench_host(c, count, element_bytes);
  if (data != NULL && count > 0) {
    transfer(c,
             clEnqueueReadBuffer(clq_stream_queue(c->session->stream), mem, CL_TRUE, 0,
                                 (size_t)count * element_bytes, data, 0, NULL, NULL),
             "clEnqueueReadBuffer");
  }
  return c->code == CLI_DONE ? data : NULL;
}

/* --- data --- */

uint64_t bench_random(uint64_t *state) {
  *state = *state * 6364136223846793005U + 1442695040888963407U;
  return *state >> 32;
}

float *bench_random_floats(bench_case *c, int64_t count, uint64_t seed) {
  float *data = bench_host(c, count, sizeof *data);
  for (int64_t i = 0; data != NULL && i < count; ++i) {
    data[i] = (float)((int32_t)(bench_random(&seed) >> 16) - 32768) * 0x1p-15f;
  }
  return data;
}

/* --- tensors --- */

typedef struct tensor_type {
  clq_dtype dtype;
  clq_granularity per;
  int32_t group;
  bool zeros; /* codes are asymmetric */
} tensor_type;

static bool parse_codes(const char *word, tensor_type *type) {
  const bool zeros = strncmp(word, "q8a", 3) == 0;
  const char *rest = word + (zeros ? 3 : 2);
  if (strncmp(word, "q8", 2) != 0) {
    return false;
  }
  *type = (tensor_type){CLQ_I8, CLQ_PER_TOKEN, 0, zeros};
  if (*rest == '\0') {
    return true;
  }
  char *end = NULL;
  const long group =
      *rest == 'g' && rest[1] >= '1' && rest[1] <= '9' ? strtol(rest + 1, &end, 10) : 0;
  type->per = CLQ_PER_GROUP;
  type->group = (int32_t)group;
  return group > 0 && *end == '\0' && group <= 1 << 20;
}

static bool parse_tensor(const char *word, tensor_type *type) {
  static const struct {
    const char *name;
    clq_dtype dtype;
  } types[] = {{"f32", CLQ_F32}, {"f16", CLQ_F16}, {"bf16", CLQ_BF16}, {"u8", CLQ_U8}};
  for (size_t i = 0; i < sizeof types / sizeof types[0]; ++i) {
    if (strcmp(types[i].name, word) == 0) {
      *type = (tensor_type){.dtype = types[i].dtype};
      return true;
    }
  }
  return parse_codes(word, type);
}

bool bench_is_tensor_word(const char *word) {
  tensor_type type;
  return parse_tensor(word, &type) && !type.zeros;
}

bool bench_is_acts_word(const char *word) {
  tensor_type type;
  return parse_tensor(word, &type) && type.dtype != CLQ_U8;
}

/* Elements that share a scale, and scales in all. */
static int64_t group_of(const clq_tensor *t) {
  return t->quant.per == CLQ_PER_GROUP ? t->quant.group : t->shape[1];
}
static int64_t groups_of(const clq_tensor *t) {
  const int64_t group = group_of(t);
  return group == 0 ? 0 : (t->shape[1] + group - 1) / group;
}

clq_tensor bench_output(bench_case *c, const char *word, int64_t rows, int64_t cols) {
  tensor_type type = {0};
  if (!parse_tensor(word, &type)) {
    bench_fail(c, "%s: '%s' is no type of tensor", c->op->name, word);
    return (clq_tensor){0};
  }
  clq_tensor t = {
      .dtype = type.dtype, .shape = {rows, cols}, .quant = {.per = type.per, .group = type.group}};
  if (cols > 0 && rows > INT64_MAX / cols) {
    bench_fail(c, "%s: the shape is too large; take a smaller one", c->op->name);
    return t;
  }
  t.mem = bench_buffer(c, NULL, rows * cols, clq_dtype_bytes(type.dtype));
  if (type.dtype == CLQ_I8) {
    t.quant.scale = bench_buffer(c, NULL, rows * groups_of(&t), sizeof(float));
    t.quant.sum = bench_buffer(c, NULL, rows * groups_of(&t), sizeof(int32_t));
    t.quant.zero = type.zeros ? bench_buffer(c, NULL, rows * groups_of(&t), sizeof(int32_t)) : NULL;
  }
  return t;
}

/* Through a storage type and back. */
static void store_as_16_bits(bench_case *c, clq_tensor *t, float *data) {
  const int64_t count = t->shape[0] * t->shape[1];
  uint16_t *half = bench_host(c, count, sizeof *half);
  for (int64_t i = 0; half != NULL && i < count; ++i) {
    const bool f16 = t->dtype == CLQ_F16;
    half[i] = f16 ? clqi_ref_f16_from_f32(data[i]) : clqi_ref_bf16_from_f32(data[i]);
    data[i] = f16 ? clqi_ref_f32_from_f16(half[i]) : clqi_ref_f32_from_bf16(half[i]);
  }
  bench_write(c, t->mem, half, count, sizeof *half);
}

/* The same as clqi_ref_quantize, with zero points. */
static void quantize_asymmetric(const clq_tensor *t, const float *data, int8_t *codes,
                                float *scales, int32_t *zeros, int32_t *sums, int32_t *row) {
  const int64_t group = group_of(t);
  for (int64_t i = 0; i < t->shape[0] * groups_of(t); ++i) {
    const int64_t first = i % groups_of(t) * group;
    const int64_t count = first + group < t->shape[1] ? group : t->shape[1] - first;
    const int64_t at = i / groups_of(t) * t->shape[1] + first;
    sums[i] = clqi_ref_quantize_asymmetric(data + at, count, -128, row, &scales[i], &zeros[i]);
    for (int64_t k = 0; k < count; ++k) {
      codes[at + k] = (int8_t)row[k];
    }
  }
}

static void store_as_codes(bench_case *c, clq_tensor *t, float *data) {
  const int64_t rows = t->shape[0];
  const int64_t cols = t->shape[1];
  int8_t *codes = bench_host(c, rows * cols, sizeof *codes);
  float *scales = bench_host(c, rows * groups_of(t), sizeof *scales);
  int32_t *sums = bench_host(c, rows * groups_of(t), sizeof *sums);
  const bool affine = t->quant.zero != NULL;
  int32_t *zeros = affine ? bench_host(c, rows * groups_of(t), sizeof *zeros) : NULL;
  int32_t *row = affine ? bench_host(c, group_of(t), sizeof *row) : NULL;
  if (c->code != CLI_DONE || rows * cols == 0) {
    return;
  }
  if (affine) {
    quantize_asymmetric(t, data, codes, scales, zeros, sums, row);
    bench_write(c, t->quant.zero, zeros, rows * groups_of(t), sizeof *zeros);
  } else {
    clqi_ref_quantize(data, rows, cols, group_of(t), codes, scales, sums);
  }
  clqi_ref_dequantize(codes, scales, zeros, rows, cols, groups_of(t), group_of(t), data);
  bench_write(c, t->mem, codes, rows * cols, sizeof *codes);
  bench_write(c, t->quant.scale, scales, rows * groups_of(t), sizeof *scales);
  bench_write(c, t->quant.sum, sums, rows * groups_of(t), sizeof *sums);
}

clq_tensor bench_input(bench_case *c, const char *word, int64_t rows, int64_t cols, float *data) {
  clq_tensor t = bench_output(c, word, rows, cols);
  if (c->code != CLI_DONE) {
    return t;
  }
  switch (t.dtype) {
    case CLQ_F32: bench_write(c, t.mem, data, rows * cols, sizeof *data); break;
    case CLQ_F16:
    case CLQ_BF16: store_as_16_bits(c, &t, data); break;
    case CLQ_I8: store_as_codes(c, &t, data); break;
    default:
      bench_fail(c, "%s: '%s' is no type of an input; take f32, f16, bf16 or q8", c->op->name,
                 word);
  }
  return t;
}

double bench_tensor_bytes(const clq_tensor *t) {
  const double rows = (double)t->shape[0];
  const double planes = (t->quant.scale != NULL ? 4.0 : 0.0) + (t->quant.sum != NULL ? 4.0 : 0.0) +
                        (t->quant.zero != NULL ? 4.0 : 0.0);
  return rows * (double)t->shape[1] * (double)clq_dtype_bytes(t->dtype) +
         planes * rows * (double)groups_of(t);
}

/* --- checks --- */

int64_t bench_sample_count(int64_t rows, int64_t cost) {
  enum { BUDGET = 1 << 22 };
  const int64_t fits = BUDGET / (cost < 1 ? 1 : cost);
  const int64_t count = fits < 2 ? 2 : fits;
  return count < rows ? count : rows;
}

int64_t bench_sample_row(int64_t rows, int64_t samples, int64_t i) {
  return samples < 2 ? 0 : (int64_t)((double)i * (double)(rows - 1) / (double)(samples - 1));
}

void bench_error(bench_case *c, double actual, double expected) {
  const bool same = actual == expected || (isnan(actual) && isnan(expected));
  const double error = same ? 0.0 : fabs(actual - expected);
  /* Not a plain maximum: NaN must not get lost. */
  if (!(error <= c->record.max_error)) {
    c->record.max_error = isnan(error) ? HUGE_VAL : error;
  }
}

typedef struct stored {
  const void *data;
  const float *scales;
  const int32_t *sums;
} stored;

static void check_codes(bench_case *c, const clq_tensor *t, const stored *s, int64_t row,
                        const float *expected, int8_t *codes, float *scales, int32_t *sums) {
  const int64_t cols = t->shape[1];
  const int64_t groups = groups_of(t);
  const int64_t group = t->quant.per == CLQ_PER_GROUP && t->quant.group > 0 ? t->quant.group : cols;
  clqi_ref_quantize(expected, 1, cols, group, codes, scales, sums);
  for (int64_t i = 0; i < cols; ++i) {
    const float scale = scales[i / group];
    const int8_t code = ((const int8_t *)s->data)[row * cols + i];
    bench_error(c, (double)scale * code, (double)scale * codes[i]);
  }
  for (int64_t g = 0; g < groups; ++g) {
    bench_error(c, (double)s->scales[row * groups + g], (double)scales[g]);
    bench_error(c, s->sums[row * groups + g], sums[g]);
  }
}

static void check_floats(bench_case *c, const clq_tensor *t, const stored *s, int64_t row,
                         const float *expected) {
  const int64_t cols = t->shape[1];
  for (int64_t i = 0; i < cols; ++i) {
    if (t->dtype == CLQ_F16) {
      const uint16_t half = clqi_ref_f16_from_f32(expected[i]);
      bench_error(c, (double)clqi_ref_f32_from_f16(((const uint16_t *)s->data)[row * cols + i]),
                  (double)clqi_ref_f32_from_f16(half));
    } else if (t->dtype == CLQ_BF16) {
      const uint16_t half = clqi_ref_bf16_from_f32(expected[i]);
      bench_error(c, (double)clqi_ref_f32_from_bf16(((const uint16_t *)s->data)[row * cols + i]),
                  (double)clqi_ref_f32_from_bf16(half));
    } else {
      bench_error(c, (double)((const float *)s->data)[row * cols + i], (double)expected[i]);
    }
  }
}

void bench_check_rows(bench_case *c, const clq_tensor *t, int64_t cost,
                      void (*reference)(bench_case *c, int64_t row, float *out)) {
  const int64_t rows = t->shape[0];
  const int64_t cols = t->shape[1];
  const int64_t groups = groups_of(t);
  const bool codes = t->dtype == CLQ_I8;
  stored s = {.data = bench_read(c, t->mem, rows * cols, clq_dtype_bytes(t->dtype))};
  if (codes) {
    s.scales = bench_read(c, t->quant.scale, rows * groups, sizeof(float));
    s.sums = bench_read(c, t->quant.sum, rows * groups, sizeof(int32_t));
  }
  float *expected = bench_host(c, cols, sizeof *expected);
  int8_t *row_codes = bench_host(c, cols, sizeof *row_codes);
  float *row_scales = bench_host(c, groups, sizeof *row_scales);
  int32_t *row_sums = bench_host(c, groups, sizeof *row_sums);
  if (bench_over(c) || s.data == NULL || cols == 0) {
    return;
  }
  const int64_t samples = bench_sample_count(rows, cost);
  for (int64_t i = 0; i < samples && !bench_over(c); ++i) {
    const int64_t row = bench_sample_row(rows, samples, i);
    reference(c, row, expected);
    if (codes) {
      check_codes(c, t, &s, row, expected, row_codes, row_scales, row_sums);
    } else {
      check_floats(c, t, &s, row, expected);
    }
  }
}
