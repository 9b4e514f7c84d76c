#include "model/encoder_pass.h"

#include <string.h>

#include "ops/kv_cache.h"
#include "runtime/buffer.h"
#include "runtime/checked.h"
#include "runtime/clock.h"
#include "runtime/memory.h"
#include "runtime/status.h"
#include "runtime/stream.h"

static int64_t whole_blocks(int64_t keys) {
  return clqi_div_up(keys, CLQI_KEY_BLOCK) * CLQI_KEY_BLOCK;
}

/* ---------------------------------------------------------------- buffers */

static int64_t input_count(int64_t rows, int64_t texts) { return texts + 1 + 2 * rows; }

/* Keys and values of one layer, of all texts of a pass. */
static clq_status create_caches(clqi_encoder_passes *p) {
  const clqi_bert_config *c = &p->bert->config;
  const bool codes = (p->pass.int8 & CLQ_ENCODER_INT8_ATTENTION) != 0;
  const size_t element = codes ? 1 : sizeof(float);
  size_t keys = 0;
  size_t scales = 0;
  if (!clqi_mul_size((size_t)p->most_keys * element, (size_t)c->width, &keys) ||
      !clqi_mul_size((size_t)p->most_keys * sizeof(float), (size_t)c->heads, &scales)) {
    return clqi_fail(CLQ_OUT_OF_HOST_MEMORY, "encoder: the extents overflow");
  }
  const uint64_t bytes = 2 * ((uint64_t)keys + (codes ? scales : 0));
  CLQI_TRY(clqi_memory_claim(p->context, bytes, "encoder: keys and values"));
  p->claimed_bytes = bytes;
  p->stats.kv_bytes = bytes;
  CLQI_TRY(clqi_buffer_create(p->context, keys, &p->pass.k));
  CLQI_TRY(clqi_buffer_create(p->context, keys, &p->pass.v));
  if (codes) {
    CLQI_TRY(clqi_buffer_create(p->context, scales, &p->pass.k_scale));
    CLQI_TRY(clqi_buffer_create(p->context, scales, &p->pass.v_scale));
  }
  return CLQ_OK;
}

/* What norms and activations read. */
static clq_status create_codes(clqi_encoder_passes *p) {
  const clqi_bert_config *c = &p->bert->config;
  size_t sums = 0;
  size_t ups = 0;
  if (!clqi_mul_size((size_t)p->most_rows, (size_t)c->width, &sums) ||
      !clqi_mul_size((size_t)p->most_rows, (size_t)c->feed_forward, &ups)) {
    return clqi_fail(CLQ_OUT_OF_HOST_MEMORY, "encoder: the extents overflow");
  }
  if ((p->pass.int8 & CLQ_ENCODER_INT8_NORM) != 0) {
    CLQI_TRY(clqi_buffer_create(p->context, sums, &p->pass.sum_codes));
  }
  return (p->pass.int8 & CLQ_ENCODER_INT8_ACTIVATION) != 0
             ? clqi_buffer_create(p->context, ups, &p->pass.up_codes)
             : CLQ_OK;
}

static clq_status create_taps(clqi_encoder_passes *p) {
  const clqi_bert_config *c = &p->bert->config;
  const size_t rows = (size_t)p->most_rows * sizeof(float);
  size_t sums = 0;
  size_t ups = 0;
  if (!clqi_mul_size(rows, (size_t)(clqi_bert_sums(p->bert) * c->width), &sums) ||
      !clqi_mul_size(rows, (size_t)(c->layers * c->feed_forward), &ups)) {
    return clqi_fail(CLQ_OUT_OF_HOST_MEMORY, "encoder: the extents overflow");
  }
  CLQI_TRY(clqi_buffer_create(p->context, sums, &p->pass.sums));
  return clqi_buffer_create(p->context, ups, &p->pass.ups);
}

static clq_status create_buffers(clqi_encoder_passes *p) {
  const int64_t width = p->bert->config.width;
  const size_t inputs = (size_t)input_count(p->most_rows, p->most_texts);
  size_t vectors = 0;
  if (!clqi_mul_size((size_t)p->most_texts * sizeof(float), (size_t)width, &vectors)) {
    return clqi_fail(CLQ_OUT_OF_HOST_MEMORY, "encoder: the extents overflow");
  }
  p->inputs = clqi_calloc(inputs, sizeof *p->inputs);
  p->vectors = clqi_malloc(vectors);
  if (p->inputs == NULL || p->vectors == NULL) {
    return clqi_fail(CLQ_OUT_OF_HOST_MEMORY, "encoder: out of memory");
  }
  CLQI_TRY(create_caches(p));
  CLQI_TRY(create_codes(p));
  CLQI_TRY(clqi_buffer_create(p->context, inputs * sizeof *p->inputs, &p->pass.inputs));
  return clqi_buffer_create(p->context, vectors, &p->pass.vectors);
}

clq_status clqi_encoder_passes_create(clq_context *context, const clqi_bert *bert,
                                      const clqi_encoder_passes_desc *desc,
                                      clqi_encoder_passes *passes) {
  const int64_t longest = bert->config.context;
  *passes = (clqi_encoder_passes){
      .context = context, .bert = bert, .pass = {.acts = desc->acts, .int8 = desc->int8}};
  passes->most_rows = desc->rows > longest ? desc->rows : longest;
  /* Room is used up to the half where texts are one key longer than a block. */
  passes->most_keys = 2 * whole_blocks(passes->most_rows);
  passes->most_texts = passes->most_keys / CLQI_KEY_BLOCK;
  CLQI_TRY(create_buffers(passes));
  return desc->tapped ? create_taps(passes) : CLQ_OK;
}

void clqi_encoder_passes_drop(clqi_encoder_passes *passes) {
  for (int i = 0; i < CLQI_ENCODER_PLANS; ++i) {
    clq_plan_destroy(passes->plans[i].plan);
    passes->plans[i] = (clqi_encoder_plan){.plan = NULL};
  }
}

void clqi_encoder_passes_free(clqi_encoder_passes *passes) {
  const clqi_bert_pass *pass = &passes->pass;
  const cl_mem buffers[] = {passes->arena, pass->k,         pass->v,       pass->k_scale,
                            pass->v_scale, pass->inputs,    pass->vectors, pass->sums,
                            pass->ups,     pass->sum_codes, pass->up_codes};
  clqi_encoder_passes_drop(passes);
  for (size_t i = 0; i < sizeof buffers / sizeof buffers[0]; ++i) {
    clqi_buffer_release(buffers[i]);
  }
  clqi_free(passes->inputs);
  clqi_free(passes->vectors);
  if (passes->claimed_bytes > 0) {
    clqi_memory_unclaim(passes->context, passes->claimed_bytes);
  }
  *passes = (clqi_encoder_passes){.clock = 0};
}

/* ---------------------------------------------------------------- plans */

static clq_status keep_largest_arena(clqi_encoder_passes *p, const clq_plan *plan) {
  clq_plan_stats stats;
  clq_plan_get_stats(plan, &stats);
  if (stats.arena_bytes <= p->stats.arena_bytes) {
    return CLQ_OK;
  }
  CLQI_TRY(clqi_buffer_retain(clq_plan_arena(plan)));
  clqi_buffer_release(p->arena);
  p->arena = clq_plan_arena(plan);
  p->stats.arena_bytes = stats.arena_bytes;
  return CLQ_OK;
}

static clq_status compile(clqi_encoder_passes *p, clq_plan **plan) {
  clq_status status = CLQ_OK;
  clq_graph *graph = NULL;
  clq_plan *made = NULL;
  const double start = clqi_now_seconds();
  CLQI_TRY_CLEAN(clq_graph_create(p->context, &graph));
  CLQI_TRY_CLEAN(clqi_bert_record(graph, p->bert, &p->pass));
  CLQI_TRY_CLEAN(clq_plan_create_in(graph, p->arena, &made));
  CLQI_TRY_CLEAN(keep_largest_arena(p, made));
  p->stats.build_seconds += clqi_now_seconds() - start;
  *plan = made;
  made = NULL;
cleanup:
  clq_plan_destroy(made);
  clq_graph_destroy(graph);
  return status;
}

/* The plan for the pass at hand: a kept one, or compiled now. */
static clq_status get_plan(clqi_encoder_passes *p, clq_plan **plan) {
  const clqi_bert_pass *wanted = &p->pass;
  clqi_encoder_plan *found = NULL;
  clqi_encoder_plan *oldest = &p->plans[0];
  for (int i = 0; i < CLQI_ENCODER_PLANS && found == NULL; ++i) {
    clqi_encoder_plan *at = &p->plans[i];
    const bool fits = at->plan != NULL && at->rows == wanted->rows && at->texts == wanted->texts &&
                      at->capacity == wanted->capacity;
    found = fits ? at : NULL;
    oldest = at->last_use < oldest->last_use ? at : oldest;
  }
  if (found == NULL) {
    clq_plan_destroy(oldest->plan);
    *oldest = (clqi_encoder_plan){
        .rows = wanted->rows, .texts = wanted->texts, .capacity = wanted->capacity};
    CLQI_TRY(compile(p, &oldest->plan));
    found = oldest;
  }
  found->last_use = ++p->clock;
  *plan = found->plan;
  return CLQ_OK;
}

/* ---------------------------------------------------------------- running */

/* Sets the shapes of a pass of as many of the texts as fit. */
static void choose_texts(clqi_encoder_passes *p, const clqi_encoder_text *texts, int64_t count) {
  clqi_bert_pass *pass = &p->pass;
  pass->rows = 0;
  pass->texts = 0;
  pass->capacity = whole_blocks(texts[0].count);
  while (pass->texts < count && pass->texts < p->most_texts &&
         pass->rows + texts[pass->texts].count <= p->most_rows &&
         (pass->texts + 1) * pass->capacity <= p->most_keys) {
    pass->rows += texts[pass->texts].count;
    ++pass->texts;
  }
}

/* See clqi_bert_pass. */
static void fill_inputs(clqi_encoder_passes *p, const int32_t *ids,
                        const clqi_encoder_text *texts) {
  cl_int *starts = p->inputs;
  cl_int *row_ids = starts + p->pass.texts + 1;
  cl_int *positions = row_ids + p->pass.rows;
  cl_int row = 0;
  for (int64_t t = 0; t < p->pass.texts; ++t) {
    starts[t] = row;
    memcpy(row_ids + row, ids + texts[t].first, (size_t)texts[t].count * sizeof *ids);
    for (cl_int i = 0; i < texts[t].count; ++i) {
      positions[row + i] = i;
    }
    row += (cl_int)texts[t].count;
  }
  starts[p->pass.texts] = row;
}

static clq_status enqueue(clqi_encoder_passes *p, clq_plan *plan, clq_stream *stream) {
  const clqi_bert_pass *pass = &p->pass;
  const size_t inputs = (size_t)input_count(pass->rows, pass->texts);
  const size_t vectors = (size_t)(pass->texts * p->bert->config.width);
  CLQI_TRY(clqi_stream_write(stream, pass->inputs, inputs * sizeof *p->inputs, p->inputs));
  CLQI_TRY(p->trace == NULL ? clq_plan_run(plan, stream)
                            : clq_plan_run_traced(plan, stream, p->trace));
  return clqi_stream_read(stream, pass->vectors, vectors * sizeof *p->vectors, p->vectors);
}

clq_status clqi_encoder_passes_run(clqi_encoder_passes *passes, clq_stream *stream,
                                   const int32_t *ids, const clqi_encoder_text *texts,
                                   int64_t count, int64_t *taken, float *vectors) {
  const int64_t width = passes->bert->config.width;
  clq_plan *plan = NULL;
  choose_texts(passes, texts, count);
  fill_inputs(passes, ids, texts);
  CLQI_TRY(get_plan(passes, &plan));
  clq_status status = enqueue(passes, plan, stream);
  CLQI_ALSO(status, clq_stream_finish(stream));
  CLQI_TRY(status);
  for (int64_t t = 0; vectors != NULL && t < passes->pass.texts; ++t) {
    memcpy(vectors + texts[t].index * width, passes->vectors + t * width,
           (size_t)width * sizeof *vectors);
  }
  passes->stats.tokens += passes->pass.rows;
  ++passes->stats.passes;
  *taken = passes->pass.texts;
  return CLQ_OK;
}
