/* The passes of an encoder: texts are taken together until there are enough tokens, and plans are
 * kept for the shapes that were met last. */
#ifndef CLQI_MODEL_ENCODER_PASS_H
#define CLQI_MODEL_ENCODER_PASS_H

#include "model/bert_graph.h"

/* Plans that are kept: the longest unused one makes room. */
enum { CLQI_ENCODER_PLANS = 8 };

typedef struct clqi_encoder_plan {
  clq_plan *plan; /* NULL: none */
  int64_t rows;
  int64_t texts;
  int64_t capacity;
  uint64_t last_use;
} clqi_encoder_plan;

/* Where a text's ids are, and whose result its vector is. */
typedef struct clqi_encoder_text {
  int64_t index; /* of the caller's texts */
  int64_t first; /* in the ids */
  int64_t count;
} clqi_encoder_text;

typedef struct clqi_encoder_passes {
  clq_context *context;
  const clqi_bert *bert;
  clqi_encoder_plan plans[CLQI_ENCODER_PLANS];
  uint64_t clock;
  int64_t most_rows;
  int64_t most_texts;
  int64_t most_keys;   /* texts * capacity */
  clqi_bert_pass pass; /* what all have; the rest as the pass at hand has it */
  cl_mem arena;        /* retained; NULL: none yet */
  cl_int *inputs;      /* on their way to the device */
  float *vectors;      /* on their way back */
  uint64_t claimed_bytes;
  clq_trace *trace;
  clq_encoder_stats stats;
} clqi_encoder_passes;

typedef struct clqi_encoder_passes_desc {
  clq_acts acts;
  unsigned int8;
  int64_t rows; /* tokens of a pass; more if one text may have more */
  bool tapped;  /* pass.sums and pass.ups are to be written */
} clqi_encoder_passes_desc;

/* *passes is to be freed, whatever the answer. */
CLQ_NODISCARD clq_status clqi_encoder_passes_create(clq_context *context, const clqi_bert *bert,
                                                    const clqi_encoder_passes_desc *desc,
                                                    clqi_encoder_passes *passes);
/* Forgets the plans, because buffers go that they name. */
void clqi_encoder_passes_drop(clqi_encoder_passes *passes);
void clqi_encoder_passes_free(clqi_encoder_passes *passes);

/* One pass of the first *taken of `count` texts, at least one, the longest first; waits. Each one's
 * vector goes to its index in `vectors` ([.., width]; NULL: nowhere). */
CLQ_NODISCARD clq_status clqi_encoder_passes_run(clqi_encoder_passes *passes, clq_stream *stream,
                                                 const int32_t *ids, const clqi_encoder_text *texts,
                                                 int64_t count, int64_t *taken, float *vectors);

#endif
