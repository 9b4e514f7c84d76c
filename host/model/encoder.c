#include <clquant/encoder.h>

#include <stdlib.h>
#include <string.h>

#include "model/bert_graph.h"
#include "model/encoder_pass.h"
#include "ops/kv_cache.h"
#include "runtime/buffer.h"
#include "runtime/checked.h"
#include "runtime/clock.h"
#include "runtime/memory.h"
#include "runtime/status.h"
#include "runtime/stream.h"

/* Tokens of one pass, unless a single text has more. On a CPU more only cost memory. */
enum { ROWS_CPU = 1024, ROWS = 8192 };

struct clq_encoder {
  clq_context *context;
  clq_stream *own_stream; /* NULL: not needed yet */
  clq_tokenizer *tokenizer;
  clqi_bert bert;
  clqi_encoder_passes_desc desc;
  double load_seconds;
  clqi_encoder_passes passes;
  clqi_bert_scales scales; /* none before clq_encoder_calibrate */
};

static clq_status out_of_memory(void) {
  return clqi_fail(CLQ_OUT_OF_HOST_MEMORY, "encoder: out of memory");
}

/* ---------------------------------------------------------------- loading */

static clq_status check_format(const char *what, clq_format format) {
  const bool is_offered = format == 0 || format == CLQ_FORMAT_F32 || format == CLQ_FORMAT_F16 ||
                          format == CLQ_FORMAT_BF16 || format == CLQ_FORMAT_W8;
  return is_offered ? CLQ_OK
                    : clqi_fail(CLQ_UNSUPPORTED, "encoder: %s are %s, offered: f32, f16, bf16, w8",
                                what, clq_format_name(format));
}

/* The parts that want scales. */
enum { CALIBRATED = CLQ_ENCODER_INT8_ACTIVATION | CLQ_ENCODER_INT8_NORM };

static clq_status check_int8(const clq_encoder_desc *desc) {
  const unsigned all = CLQ_ENCODER_INT8_ATTENTION | CLQ_ENCODER_INT8_SOFTMAX |
                       CLQ_ENCODER_INT8_ACTIVATION | CLQ_ENCODER_INT8_NORM |
                       CLQ_ENCODER_INT8_RESIDUAL;
  CLQI_REQUIRE((desc->int8 & ~all) == 0, "encoder: int8 is 0x%x, expected or-ed clq_encoder_int8",
               desc->int8);
  CLQI_REQUIRE((desc->int8 & CLQ_ENCODER_INT8_SOFTMAX) == 0 ||
                   (desc->int8 & CLQ_ENCODER_INT8_ATTENTION) != 0,
               "encoder: an int8 softmax is for int8 attention; take both");
  CLQI_REQUIRE((desc->int8 & CLQ_ENCODER_INT8_RESIDUAL) == 0 ||
                   (desc->acts != 0 && desc->acts != CLQ_ACTS_F32),
               "encoder: an int8 residual is what matrices read; take acts q8 or q8g32 with it");
  return CLQ_OK;
}

static clq_status check_desc(const clq_encoder_desc *desc) {
  CLQI_TRY(check_format("weights", desc->weights));
  CLQI_TRY(check_format("embeddings", desc->embeddings));
  CLQI_REQUIRE(desc->group == 0 || desc->weights == CLQ_FORMAT_W8,
               "encoder: group is %lld, expected 0: only w8 has groups", (long long)desc->group);
  CLQI_REQUIRE(desc->group == 0 || (desc->group >= 32 && desc->group % 8 == 0),
               "encoder: group is %lld, expected 0 or a multiple of 8 from 32 on",
               (long long)desc->group);
  CLQI_REQUIRE(desc->acts >= 0 && desc->acts <= CLQ_ACTS_F32, "encoder: acts is %d",
               (int)desc->acts);
  return check_int8(desc);
}

/* What operators ask of a model beyond what its files must be. */
static clq_status check_model(const clq_encoder *e, const char *folder) {
  const clqi_bert_config *c = &e->bert.config;
  const int64_t head_dim = c->width / c->heads;
  if (head_dim % 16 != 0 || head_dim > 256) {
    return clqi_fail(CLQ_UNSUPPORTED,
                     "%s: heads have %lld elements, offered: multiples of 16 up to 256; use "
                     "another model",
                     folder, (long long)head_dim);
  }
  if (clq_tokenizer_size(e->tokenizer) > c->vocabulary) {
    return clqi_fail(CLQ_BAD_FILE, "%s: the tokenizer has %lld tokens, the embeddings %lld rows",
                     folder, (long long)clq_tokenizer_size(e->tokenizer), (long long)c->vocabulary);
  }
  return CLQ_OK;
}

/* The template around a text must fit into what a text may have. */
static clq_status check_template(const clq_encoder *e, const char *folder) {
  clq_tokens tokens = {0};
  clq_status status = clq_tokenizer_encode_pair(e->tokenizer, "", 0, NULL, 0,
                                                e->bert.config.context, 0, &tokens, NULL);
  clq_tokens_free(&tokens);
  return status != CLQ_INVALID_ARGUMENT
             ? status
             : clqi_fail(CLQ_BAD_FILE,
                         "%s: a text of at most %lld tokens has no room for the tokens around it; "
                         "use another model",
                         folder, (long long)e->bert.config.context);
}

clq_status clq_encoder_load(clq_context *context, const char *folder, const clq_encoder_desc *desc,
                            clq_encoder **encoder) {
  static const clq_encoder_desc defaults;
  CLQI_REQUIRE(encoder != NULL, "encoder: the result pointer is NULL");
  *encoder = NULL;
  CLQI_REQUIRE(context != NULL && folder != NULL, "encoder: context and folder must not be NULL");
  desc = desc == NULL ? &defaults : desc;
  CLQI_TRY(check_desc(desc));
  const double start = clqi_now_seconds();
  clq_encoder *e = clqi_calloc(1, sizeof *e);
  if (e == NULL) {
    return out_of_memory();
  }
  clq_status status = CLQ_OK;
  e->context = context;
  const clqi_matrix_format format = {.format = desc->weights, .group = desc->group};
  CLQI_TRY_CLEAN(clqi_bert_load(context, folder, format, desc->embeddings, &e->bert));
  CLQI_TRY_CLEAN(clq_tokenizer_open(folder, &e->tokenizer));
  CLQI_TRY_CLEAN(check_model(e, folder));
  CLQI_TRY_CLEAN(check_template(e, folder));
  const bool is_cpu = strcmp(clq_context_info(context)->type, "cpu") == 0;
  e->desc = (clqi_encoder_passes_desc){.acts = desc->acts == 0 ? CLQ_ACTS_F32 : desc->acts,
                                       .int8 = desc->int8,
                                       .rows = is_cpu ? ROWS_CPU : ROWS};
  CLQI_TRY_CLEAN(clqi_encoder_passes_create(context, &e->bert, &e->desc, &e->passes));
  e->passes.pass.scales = &e->scales;
  e->load_seconds = clqi_now_seconds() - start;
  *encoder = e;
  e = NULL;
cleanup:
  clq_encoder_destroy(e);
  return status;
}

void clq_encoder_destroy(clq_encoder *encoder) {
  if (encoder == NULL) {
    return;
  }
  clqi_encoder_passes_free(&encoder->passes);
  clqi_bert_scales_free(&encoder->scales);
  clqi_bert_free(&encoder->bert);
  clq_tokenizer_destroy(encoder->tokenizer);
  clq_stream_destroy(encoder->own_stream);
  clqi_free(encoder);
}

void clq_encoder_get_info(const clq_encoder *encoder, clq_encoder_info *info) {
  const clqi_bert_config *c = &encoder->bert.config;
  *info = (clq_encoder_info){.layers = c->layers,
                             .width = c->width,
                             .heads = c->heads,
                             .feed_forward = c->feed_forward,
                             .vocabulary = c->vocabulary,
                             .context = c->context,
                             .pooling = c->pooling,
                             .weights = encoder->bert.format.format,
                             .embeddings = encoder->bert.embedding_format.format,
                             .acts = encoder->desc.acts,
                             .int8 = encoder->desc.int8,
                             .weight_bytes = encoder->bert.bytes,
                             .load_seconds = encoder->load_seconds};
}

const clq_tokenizer *clq_encoder_tokenizer(const clq_encoder *encoder) {
  return encoder->tokenizer;
}

/* ---------------------------------------------------------------- texts */

/* The ids of all texts of a call, and the texts in the order in which they are computed. */
typedef struct batch {
  clq_tokens ids;
  clqi_encoder_text *texts; /* [count]: the longest first */
} batch;

static void free_batch(batch *b) {
  clqi_free(b->texts);
  clq_tokens_free(&b->ids);
}

static int by_length(const void *a, const void *b) {
  const clqi_encoder_text *x = a;
  const clqi_encoder_text *y = b;
  if (x->count != y->count) {
    return x->count < y->count ? 1 : -1;
  }
  return (x->index > y->index) - (x->index < y->index);
}

/* b is to be freed, whatever the answer. */
static clq_status tokenize(const clq_encoder *e, const char *const *texts, const size_t *lengths,
                           int64_t count, batch *b) {
  b->texts = clqi_calloc((size_t)count, sizeof *b->texts);
  if (b->texts == NULL) {
    return out_of_memory();
  }
  for (int64_t i = 0; i < count; ++i) {
    CLQI_REQUIRE(texts[i] != NULL, "encoder: text %lld is NULL", (long long)i);
    const int64_t first = b->ids.count;
    const size_t length = lengths != NULL ? lengths[i] : strlen(texts[i]);
    const clq_status status = clq_tokenizer_encode_pair(e->tokenizer, texts[i], length, NULL, 0,
                                                        e->bert.config.context, 0, &b->ids, NULL);
    if (status != CLQ_OK) {
      return clqi_fail_prefix(status, "encoder: text %lld", (long long)i);
    }
    b->texts[i] = (clqi_encoder_text){.index = i, .first = first, .count = b->ids.count - first};
  }
  qsort(b->texts, (size_t)count, sizeof *b->texts, by_length);
  return CLQ_OK;
}

static clq_status use_stream(clq_encoder *e, clq_stream **stream) {
  if (*stream == NULL && e->own_stream == NULL) {
    CLQI_TRY(clq_stream_create(e->context, NULL, &e->own_stream));
  }
  *stream = *stream == NULL ? e->own_stream : *stream;
  return CLQ_OK;
}

static clq_status check_texts(const clq_encoder *encoder, const char *const *texts, int64_t count) {
  CLQI_REQUIRE(encoder != NULL && count >= 0, "encoder: the encoder is NULL, or count negative");
  CLQI_REQUIRE(texts != NULL || count == 0, "encoder: texts and vectors must not be NULL");
  return CLQ_OK;
}

clq_status clq_encoder_embed(clq_encoder *encoder, clq_stream *stream, const char *const *texts,
                             const size_t *lengths, int64_t count, float *vectors) {
  CLQI_TRY(check_texts(encoder, texts, count));
  if (count == 0) {
    return CLQ_OK;
  }
  CLQI_REQUIRE(vectors != NULL, "encoder: texts and vectors must not be NULL");
  if ((encoder->desc.int8 & CALIBRATED) != 0 && encoder->scales.sums == NULL) {
    return clqi_fail(CLQ_INVALID_STATE,
                     "encoder: int8 norms and activations want clq_encoder_calibrate first");
  }
  clq_status status = CLQ_OK;
  batch b = {.texts = NULL};
  CLQI_TRY(use_stream(encoder, &stream));
  CLQI_TRY_CLEAN(tokenize(encoder, texts, lengths, count, &b));
  for (int64_t done = 0; done < count;) {
    int64_t taken = 0;
    CLQI_TRY_CLEAN(clqi_encoder_passes_run(&encoder->passes, stream, b.ids.ids, b.texts + done,
                                           count - done, &taken, vectors));
    done += taken;
  }
cleanup:
  free_batch(&b);
  return status;
}

/* ---------------------------------------------------------------- calibration */

/* Tokens of a pass whose sums and products come to the host. */
enum { TAPPED_ROWS = 256 };

/* What the passes wrote of one pass, on the host. */
typedef struct taps {
  float *sums;
  float *ups;
} taps;

static clq_status read_taps(const clqi_encoder_passes *p, clq_stream *stream, const taps *t) {
  const clqi_bert_config *c = &p->bert->config;
  const size_t rows = (size_t)p->pass.rows * sizeof(float);
  clq_status status = clqi_stream_read(
      stream, p->pass.sums, rows * (size_t)(clqi_bert_sums(p->bert) * c->width), t->sums);
  if (status == CLQ_OK) {
    status =
        clqi_stream_read(stream, p->pass.ups, rows * (size_t)(c->layers * c->feed_forward), t->ups);
  }
  CLQI_ALSO(status, clq_stream_finish(stream));
  return status;
}

static clq_status measure(const clq_encoder *e, clq_stream *stream, const batch *b, int64_t count,
                          clqi_bert_ranges *ranges) {
  const clqi_bert_config *c = &e->bert.config;
  const clqi_encoder_passes_desc desc = {.acts = CLQ_ACTS_F32, .rows = TAPPED_ROWS, .tapped = true};
  clq_status status = CLQ_OK;
  taps t = {.sums = NULL};
  clqi_encoder_passes passes;
  CLQI_TRY_CLEAN(clqi_encoder_passes_create(e->context, &e->bert, &desc, &passes));
  const size_t rows = (size_t)passes.most_rows * sizeof(float);
  t.sums = clqi_malloc(rows * (size_t)(clqi_bert_sums(&e->bert) * c->width));
  t.ups = clqi_malloc(rows * (size_t)(c->layers * c->feed_forward));
  if (t.sums == NULL || t.ups == NULL) {
    status = out_of_memory();
    goto cleanup;
  }
  for (int64_t done = 0; done < count;) {
    int64_t taken = 0;
    CLQI_TRY_CLEAN(clqi_encoder_passes_run(&passes, stream, b->ids.ids, b->texts + done,
                                           count - done, &taken, NULL));
    CLQI_TRY_CLEAN(read_taps(&passes, stream, &t));
    clqi_bert_ranges_add(&e->bert, passes.pass.rows, t.sums, t.ups, ranges);
    done += taken;
  }
cleanup:
  clqi_free(t.sums);
  clqi_free(t.ups);
  clqi_encoder_passes_free(&passes);
  return status;
}

clq_status clq_encoder_calibrate(clq_encoder *encoder, clq_stream *stream, const char *const *texts,
                                 const size_t *lengths, int64_t count) {
  CLQI_TRY(check_texts(encoder, texts, count));
  CLQI_REQUIRE(count > 0, "encoder: there are no texts to calibrate with");
  clq_status status = CLQ_OK;
  batch b = {.texts = NULL};
  clqi_bert_ranges ranges = {.sums = NULL};
  clqi_bert_scales scales = {.sums = NULL};
  CLQI_TRY(use_stream(encoder, &stream));
  CLQI_TRY_CLEAN(tokenize(encoder, texts, lengths, count, &b));
  CLQI_TRY_CLEAN(clqi_bert_ranges_create(&encoder->bert, &ranges));
  CLQI_TRY_CLEAN(measure(encoder, stream, &b, count, &ranges));
  CLQI_TRY_CLEAN(clqi_bert_scales_create(encoder->context, &encoder->bert, &ranges, &scales));
  clqi_encoder_passes_drop(&encoder->passes);
  clqi_bert_scales_free(&encoder->scales);
  encoder->scales = scales;
cleanup:
  clqi_bert_ranges_free(&ranges);
  free_batch(&b);
  return status;
}

/* ---------------------------------------------------------------- what it took */

void clq_encoder_get_stats(const clq_encoder *encoder, clq_encoder_stats *stats) {
  *stats = encoder->passes.stats;
}

void clq_encoder_trace(clq_encoder *encoder, clq_trace *trace) { encoder->passes.trace = trace; }
