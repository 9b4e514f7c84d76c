#include "ops/sample.h"

#include <float.h>
#include <math.h>

#include "ops/emit.h"
#include "ops/op.h"
#include "runtime/checked.h"

static const char NAME[] = "sample";

enum {
  ITEMS = 128,        /* of a work-group, as in kernels_cl/sample.cl */
  PART = 2048,        /* tokens of a row that one of sample_part takes */
  HEAD = 2,           /* numbers in front of what it kept */
  MOST_LISTED = 256,  /* of top_ids, and that a part keeps */
  ITEMS_PER_UNIT = 4, /* on a CPU, work-items per core that even out its load */
  STATE = 4           /* words of a row's state */
};

/* Of the other kernels, which do not depend on it: one program less. */
static const char HELPERS[] = "-DCLQ_WHOLE=0";

static const clqi_field fields[] = {
    CLQI_FIELD(clq_sample_args, logits, CLQI_IN, false),
    CLQI_FIELD(clq_sample_args, out, CLQI_OUT, true),
    CLQI_FIELD(clq_sample_args, state, CLQI_INOUT, true),
    CLQI_FIELD(clq_sample_args, counters, CLQI_INOUT, true),
    CLQI_FIELD(clq_sample_args, top_ids, CLQI_OUT, true),
    CLQI_FIELD(clq_sample_args, top_logits, CLQI_OUT, true),
};

/* ---------------------------------------------------------------- settings */

clq_status clqi_sampling_check(const clq_sampling *s) {
  CLQI_REQUIRE(s->temperature >= 0 && isfinite(s->temperature),
               "sampling: temperature is %g, expected a number from 0", (double)s->temperature);
  CLQI_REQUIRE(s->top_k >= 0, "sampling: top_k is %d, expected 0 (off) or more", (int)s->top_k);
  CLQI_REQUIRE(s->top_p >= 0, "sampling: top_p is %g, expected 0 (off) to 1", (double)s->top_p);
  CLQI_REQUIRE(s->min_p >= 0 && s->min_p <= 1, "sampling: min_p is %g, expected 0 (off) to 1",
               (double)s->min_p);
  return CLQ_OK;
}

/* Infinite or subnormal factors would make NaN of the distance 0 or of -inf. */
static float inverse_of(float temperature) {
  const float inverse = 1.0f / temperature;
  return inverse > FLT_MAX ? FLT_MAX : inverse < FLT_MIN ? FLT_MIN : inverse;
}

static uint64_t top_p_of(float p) {
  const uint64_t fixed = p < 1.0f ? (uint64_t)((double)p * 0x1p32) : 0;
  return p > 0.0f && p < 1.0f && fixed == 0 ? 1 : fixed;
}

clqi_sampling clqi_sampling_of(const clq_sampling *s, int64_t vocabulary) {
  if (!(s->temperature > 0)) {
    return (clqi_sampling){.greedy = true, .top_k = 1, .inverse = 1.0f};
  }
  return (clqi_sampling){.top_k = s->top_k > 0 && s->top_k < vocabulary ? s->top_k : vocabulary,
                         .top_p = top_p_of(s->top_p),
                         .min_p = s->min_p,
                         .inverse = inverse_of(s->temperature)};
}

/* ---------------------------------------------------------------- checks */

static clq_status infer(void *args) {
  clq_sample_args *a = args;
  if (clqi_present(&a->out) && a->out.shape[0] == 0) {
    a->out.shape[0] = a->logits.shape[0];
  }
  return CLQ_OK;
}

/* An optional i32 tensor of `dims` dimensions whose first is the rows. */
static clq_status check_words(const clq_sample_args *a, const char *name, const clq_tensor *t,
                              int dims) {
  if (!clqi_present(t)) {
    return CLQ_OK;
  }
  CLQI_TRY(clqi_check_tensor(NAME, name, t, dims, CLQI_DT(CLQ_I32)));
  return clqi_check_extent(NAME, name, t, 0, a->logits.shape[0], "rows of logits");
}

static clq_status check_list(const clq_sample_args *a) {
  const int64_t vocabulary = a->logits.shape[1];
  const int64_t count = a->top_ids.shape[1];
  if (!clqi_present(&a->top_ids)) {
    CLQI_REQUIRE(!clqi_present(&a->top_logits), "sample: top_logits is given without top_ids");
    return CLQ_OK;
  }
  CLQI_TRY(check_words(a, "top_ids", &a->top_ids, 2));
  CLQI_REQUIRE(count >= 1 && count <= MOST_LISTED && count <= vocabulary,
               "sample: dimension 1 of top_ids is %lld, expected 1 to %lld", (long long)count,
               (long long)(vocabulary < MOST_LISTED ? vocabulary : MOST_LISTED));
  if (!clqi_present(&a->top_logits)) {
    return CLQ_OK;
  }
  CLQI_TRY(clqi_check_tensor(NAME, "top_logits", &a->top_logits, 2, CLQI_DT(CLQ_F32)));
  CLQI_TRY(clqi_check_extent(NAME, "top_logits", &a->top_logits, 0, a->logits.shape[0],
                             "rows of logits"));
  return clqi_check_extent(NAME, "top_logits", &a->top_logits, 1, count, "cols of top_ids");
}

static clq_status check(const clq_context *context, const void *args) {
  (void)context;
  const clq_sample_args *a = args;
  CLQI_TRY(clqi_check_tensor(NAME, "logits", &a->logits, 2, CLQI_DT(CLQ_F32)));
  CLQI_REQUIRE(a->logits.shape[1] >= 1 && a->logits.shape[1] <= CLQI_MAX_VOCABULARY,
               "sample: dimension 1 of logits is %lld, expected 1 to 2^23",
               (long long)a->logits.shape[1]);
  CLQI_REQUIRE(clqi_present(&a->out) || clqi_present(&a->top_ids),
               "sample: neither out nor top_ids is given");
  CLQI_TRY(clqi_sampling_check(&a->sampling));
  CLQI_TRY(check_words(a, "out", &a->out, 1));
  CLQI_TRY(check_words(a, "state", &a->state, 2));
  if (clqi_present(&a->state)) {
    CLQI_TRY(clqi_check_extent(NAME, "state", &a->state, 1, STATE, "seed and draws, 64 bits each"));
  }
  CLQI_TRY(check_words(a, "counters", &a->counters, 2));
  CLQI_REQUIRE(clqi_present(&a->out) || (!clqi_present(&a->state) && !clqi_present(&a->counters)),
               "sample: state or counters are given without out");
  return check_list(a);
}

static bool empty(const void *args) {
  const clq_sample_args *a = args;
  return a->logits.shape[0] == 0;
}

/* ---------------------------------------------------------------- launches */

static const clqi_variant variants[] = {
    {.name = "sample_rows", .kernel = CLQI_KERNEL_sample_rows, .needs = CLQI_BIT(CPU)},
    {.name = "sample_group", .kernel = CLQI_KERNEL_sample_group},
};

/* CLQ_SAMPLE_ARGS of lib/sample.h. */
static void common_args(clqi_launch *l, const clq_sample_args *a) {
  const clqi_sampling s = clqi_sampling_of(&a->sampling, a->logits.shape[1]);
  const bool counted = clqi_present(&a->counters);
  clqi_arg_tensor(l, &a->logits);
  clqi_arg_tensor(l, &a->out);
  clqi_arg_tensor(l, &a->state);
  clqi_arg_tensor(l, &a->counters);
  clqi_arg_error_word(l);
  clqi_arg_i64(l, a->logits.shape[0]);
  clqi_arg_i64(l, a->logits.shape[1]);
  clqi_arg_i64(l, clqi_stride(&a->logits, 2, 0));
  clqi_arg_i64(l, clqi_present(&a->state) ? clqi_stride(&a->state, 2, 0) : 0);
  clqi_arg_i64(l, counted ? clqi_stride(&a->counters, 2, 0) : 0);
  clqi_arg_i64(l, counted ? a->counters.shape[1] : 0);
  clqi_arg_i64(l, s.top_k);
  clqi_arg_i64(l, (int64_t)s.top_p);
  clqi_arg_f32(l, s.min_p);
  clqi_arg_f32(l, s.inverse);
  clqi_arg_i32(l, s.greedy);
  clqi_arg_i64(l, (int64_t)a->sampling.seed);
}

static void list_args(clqi_launch *l, const clq_sample_args *a) {
  clqi_arg_tensor(l, &a->top_ids);
  clqi_arg_tensor(l, &a->top_logits);
  clqi_arg_i64(l, clqi_present(&a->top_ids) ? a->top_ids.shape[1] : 0);
  clqi_arg_i64(l, clqi_present(&a->top_ids) ? clqi_stride(&a->top_ids, 2, 0) : 0);
  clqi_arg_i64(l, clqi_present(&a->top_logits) ? clqi_stride(&a->top_logits, 2, 0) : 0);
}

static double logit_bytes(const clq_sample_args *a) {
  return (double)a->logits.shape[0] * (double)a->logits.shape[1] * sizeof(cl_float);
}

static clq_status take_scratch(clqi_emitter *emitter, int64_t blocks, int64_t keys, cl_mem *out) {
  size_t bytes;
  if (!clqi_mul_size((size_t)blocks, (size_t)keys, &bytes) ||
      !clqi_mul_size(bytes, sizeof(cl_ulong), &bytes)) {
    return clqi_fail(CLQ_OUT_OF_DEVICE_MEMORY, "sample: the size overflows");
  }
  return emitter->scratch(emitter, bytes > 0 ? bytes : sizeof(cl_ulong), out);
}

/* Keys that a work-item of a CPU needs room for. */
static int64_t room_of(const clq_sample_args *a) {
  const int64_t cols = a->logits.shape[1];
  const clqi_sampling s = clqi_sampling_of(&a->sampling, cols);
  const int64_t listed = clqi_present(&a->top_ids) ? a->top_ids.shape[1] : 0;
  const int64_t drawn = !clqi_present(&a->out) ? 0
                        : s.top_k < cols       ? s.top_k
                        : s.top_p > 0          ? cols
                                               : 0;
  return listed > drawn ? listed : drawn;
}

static clq_status launch_rows(clqi_emitter *emitter, const clqi_variant *v,
                              const clq_sample_args *a) {
  const int64_t rows = a->logits.shape[0];
  const int64_t most = (int64_t)emitter->context->info.compute_units * ITEMS_PER_UNIT;
  const int64_t items = rows < most ? rows : most;
  const int64_t room = room_of(a);
  cl_mem keys = NULL;
  CLQI_TRY(take_scratch(emitter, items, room, &keys));
  clqi_launch l;
  clqi_begin(&l, emitter, v, "%s", "");
  common_args(&l, a);
  list_args(&l, a);
  clqi_arg_buffer(&l, keys, 0, sizeof(cl_ulong));
  clqi_arg_i64(&l, room);
  return clqi_launch_end(&l, 1, (size_t[]){(size_t)items}, NULL, logit_bytes(a), 0.0);
}

/* What sample_part leaves for each row. */
typedef struct parts {
  int64_t count;
  int64_t wanted; /* tokens that each keeps */
  cl_mem keys;
  int64_t gathered_at; /* behind it, if asked for: room for all tokens of all rows */
} parts;

static clq_status launch_parts(clqi_emitter *emitter, const clq_sample_args *a, int64_t wanted,
                               bool gathers, parts *p) {
  const int64_t rows = a->logits.shape[0];
  const int64_t cols = a->logits.shape[1];
  *p = (parts){.count = clqi_div_up(cols, PART), .wanted = wanted};
  p->gathered_at = p->count * (HEAD + wanted); /* of a row, at most 2^12 * 258 */
  CLQI_TRY(take_scratch(emitter, rows, p->gathered_at + (gathers ? cols : 0), &p->keys));
  p->gathered_at *= rows;
  clqi_launch l;
  clqi_launch_begin(&l, emitter, CLQI_KERNEL_sample_part, HELPERS);
  clqi_arg_tensor(&l, &a->logits);
  clqi_arg_i64(&l, cols);
  clqi_arg_i64(&l, clqi_stride(&a->logits, 2, 0));
  clqi_arg_i64(&l, wanted);
  clqi_arg_buffer(&l, p->keys, 0, sizeof(cl_ulong));
  clqi_arg_i64(&l, HEAD + wanted);
  return clqi_launch_end(&l, 2, (size_t[]){(size_t)p->count * ITEMS, (size_t)rows},
                         (size_t[]){ITEMS, 1}, logit_bytes(a), 0.0);
}

static clq_status launch_list(clqi_emitter *emitter, const clq_sample_args *a) {
  parts p;
  clqi_launch l;
  CLQI_TRY(launch_parts(emitter, a, a->top_ids.shape[1], false, &p));
  clqi_launch_begin(&l, emitter, CLQI_KERNEL_sample_list, HELPERS);
  clqi_arg_tensor(&l, &a->logits);
  clqi_arg_i64(&l, clqi_stride(&a->logits, 2, 0));
  clqi_arg_i64(&l, a->logits.shape[1]);
  clqi_arg_error_word(&l);
  list_args(&l, a);
  clqi_arg_buffer(&l, p.keys, 0, sizeof(cl_ulong));
  clqi_arg_i64(&l, p.count);
  return clqi_launch_end(&l, 1, (size_t[]){(size_t)a->logits.shape[0] * ITEMS}, (size_t[]){ITEMS},
                         0.0, 0.0);
}

static clq_status launch_group(clqi_emitter *emitter, const clqi_variant *v,
                               const clq_sample_args *a) {
  const clqi_sampling s = clqi_sampling_of(&a->sampling, a->logits.shape[1]);
  const bool whole = s.top_k > MOST_LISTED || (s.top_k == a->logits.shape[1] && s.top_k > 1);
  parts p;
  clqi_launch l;
  CLQI_TRY(launch_parts(emitter, a, whole ? 1 : s.top_k, whole, &p));
  clqi_begin(&l, emitter, v, "-DCLQ_WHOLE=%d", whole);
  common_args(&l, a);
  clqi_arg_buffer(&l, p.keys, 0, sizeof(cl_ulong));
  clqi_arg_i64(&l, p.count);
  clqi_arg_i64(&l, p.wanted);
  clqi_arg_buffer(&l, p.keys, sizeof(cl_ulong) * (uint64_t)p.gathered_at, sizeof(cl_ulong));
  return clqi_launch_end(&l, 1, (size_t[]){(size_t)a->logits.shape[0] * ITEMS}, (size_t[]){ITEMS},
                         whole ? logit_bytes(a) : 0.0, 0.0);
}

static clq_status launch(clqi_emitter *emitter, const void *args) {
  const clq_sample_args *a = args;
  const clqi_variant *v = clqi_choose(emitter->context, NAME, variants, CLQI_COUNT(variants), args);
  if ((v->needs & CLQI_BIT(CPU)) != 0) {
    return launch_rows(emitter, v, a);
  }
  if (clqi_present(&a->top_ids)) {
    CLQI_TRY(launch_list(emitter, a));
  }
  return clqi_present(&a->out) ? launch_group(emitter, v, a) : CLQ_OK;
}

const clqi_op clqi_op_sample = {
    .name = NAME,
    .args_bytes = sizeof(clq_sample_args),
    .fields = fields,
    .field_count = CLQI_COUNT(fields),
    .infer = infer,
    .check = check,
    .empty = empty,
    .launch = launch,
};

clq_status clq_sample(clq_stream *stream, const clq_sample_args *args) {
  return clqi_op_run(stream, &clqi_op_sample, args);
}
