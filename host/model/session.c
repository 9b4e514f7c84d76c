#include <clquant/model.h>

#include <string.h>

#include "model/decoder.h"
#include "ops/kv_cache.h"
#include "ops/rope_table.h"
#include "runtime/buffer.h"
#include "runtime/checked.h"
#include "runtime/clock.h"
#include "runtime/memory.h"
#include "runtime/status.h"
#include "runtime/stream.h"

/* Rows of one pass. More rows only cost memory; logits of every row cost rows * vocabulary * 4
 * bytes, hence fewer of those. */
enum { MAX_ROWS = 512, MAX_LOGIT_ROWS = 32, MAX_PLANS = 8 };

/* A compiled pass. */
typedef struct pass {
  int64_t rows;
  clq_logits_wanted wanted;
  clq_plan *plan;
  uint64_t last_use;
} pass;

struct clq_session {
  clq_model *model;
  clq_stream *stream;
  clq_stream *own_stream; /* stream, if the session made it */
  clq_acts acts;
  clqi_decoder_io io;
  cl_mem *caches;     /* k then v of each layer */
  int64_t logit_rows; /* that io.logits holds */
  int64_t position;
  pass passes[MAX_PLANS];
  uint64_t clock;
  cl_mem arena;            /* the largest that a plan needed so far; retained */
  cl_int inputs[MAX_ROWS]; /* ids and position on their way to the device */
  cl_int position_input;
  clq_trace *trace;
  clq_session_stats stats;
};

static clq_status out_of_memory(void) {
  return clqi_fail(CLQ_OUT_OF_HOST_MEMORY, "session: out of memory");
}

/* ---------------------------------------------------------------- buffers */

static clq_status create_rope_table(clq_session *s) {
  const clq_model *m = s->model;
  size_t bytes;
  if (!clqi_mul_size((size_t)s->io.context, (size_t)m->rope_dims * sizeof(float), &bytes)) {
    return out_of_memory();
  }
  float *table = clqi_malloc(bytes);
  if (table == NULL) {
    return out_of_memory();
  }
  clqi_rope_table_fill(table, s->io.context, m->rope_dims, m->rope_base, m->rope_divisor,
                       m->rope_factors);
  const clq_status status = clqi_buffer_create_from(m->context, table, bytes, &s->io.table);
  clqi_free(table);
  return status;
}

static clq_status create_caches(clq_session *s) {
  const clq_model_info *info = &s->model->info;
  const size_t layers = (size_t)info->layers;
  size_t bytes;
  if (!clqi_mul_size((size_t)(info->kv_heads * info->head_dim), clq_dtype_bytes(s->io.kv),
                     &bytes) ||
      !clqi_mul_size(bytes, (size_t)s->io.capacity, &bytes)) {
    return out_of_memory();
  }
  s->caches = clqi_calloc(2 * layers, sizeof *s->caches);
  if (s->caches == NULL) {
    return out_of_memory();
  }
  s->io.k = s->caches;
  s->io.v = s->caches + layers;
  for (size_t i = 0; i < 2 * layers; ++i) {
    CLQI_TRY(clqi_buffer_create(s->model->context, bytes, &s->caches[i]));
    s->stats.kv_bytes += bytes;
  }
  return CLQ_OK;
}

static clq_status create_buffers(clq_session *s) {
  const clq_context *context = s->model->context;
  CLQI_TRY(create_rope_table(s));
  CLQI_TRY(create_caches(s));
  CLQI_TRY(clqi_buffer_create(context, MAX_ROWS * sizeof(cl_int), &s->io.ids));
  return clqi_buffer_create(context, sizeof(cl_int), &s->io.position);
}

/* ---------------------------------------------------------------- passes */

static void drop_pass(pass *p) {
  clq_plan_destroy(p->plan);
  *p = (pass){.rows = 0};
}

/* Logits grow on demand; plans that wrote to the old buffer go. */
static clq_status reserve_logits(clq_session *s, int64_t rows) {
  if (rows <= s->logit_rows) {
    return CLQ_OK;
  }
  for (int i = 0; i < MAX_PLANS; ++i) {
    if (s->passes[i].wanted != CLQ_LOGITS_NONE) {
      drop_pass(&s->passes[i]);
    }
  }
  clqi_buffer_release(s->io.logits);
  s->io.logits = NULL;
  s->logit_rows = 0;
  const uint64_t bytes = (uint64_t)(rows * s->model->info.vocabulary) * sizeof(float);
  CLQI_TRY(clqi_buffer_create(s->model->context, bytes, &s->io.logits));
  s->logit_rows = rows;
  return CLQ_OK;
}

static clq_status compile(clq_session *s, int64_t rows, clq_logits_wanted wanted, clq_plan **plan) {
  clq_status status = CLQ_OK;
  clq_graph *graph = NULL;
  const double start = clqi_now_seconds();
  CLQI_TRY_CLEAN(clq_graph_create(s->model->context, &graph));
  CLQI_TRY_CLEAN(clqi_decoder_record(graph, s->model, &s->io, s->acts, rows, wanted));
  CLQI_TRY_CLEAN(clq_plan_create_in(graph, s->arena, plan));
  s->stats.build_seconds += clqi_now_seconds() - start;
cleanup:
  clq_graph_destroy(graph);
  return status;
}

/* The plans of a session run one after the other, so they share the largest arena. */
static clq_status keep_largest_arena(clq_session *s, const pass *p) {
  clq_plan_stats stats;
  clq_plan_get_stats(p->plan, &stats);
  if (stats.arena_bytes > s->stats.arena_bytes) {
    CLQI_TRY(clqi_buffer_retain(clq_plan_arena(p->plan)));
    clqi_buffer_release(s->arena);
    s->arena = clq_plan_arena(p->plan);
    s->stats.arena_bytes = stats.arena_bytes;
    s->stats.arena_naive_bytes = stats.naive_bytes;
    s->stats.arena_lower_bound_bytes = stats.lower_bound_bytes;
  }
  if (p->rows == 1 && p->wanted == CLQ_LOGITS_LAST) {
    s->stats.launches = stats.launches;
  }
  return CLQ_OK;
}

/* The compiled pass for this shape; the longest unused one makes room. */
static clq_status find_pass(clq_session *s, int64_t rows, clq_logits_wanted wanted, pass **out) {
  pass *oldest = &s->passes[0];
  for (int i = 0; i < MAX_PLANS; ++i) {
    pass *p = &s->passes[i];
    if (p->plan != NULL && p->rows == rows && p->wanted == wanted) {
      p->last_use = ++s->clock;
      *out = p;
      return CLQ_OK;
    }
    if (p->last_use < oldest->last_use) {
      oldest = p;
    }
  }
  drop_pass(oldest);
  CLQI_TRY(compile(s, rows, wanted, &oldest->plan));
  oldest->rows = rows;
  oldest->wanted = wanted;
  oldest->last_use = ++s->clock;
  *out = oldest;
  return keep_largest_arena(s, oldest);
}

/* ---------------------------------------------------------------- running */

static clq_status write_inputs(clq_session *s, const int32_t *ids, int64_t rows) {
  const size_t bytes = (size_t)rows * sizeof *ids;
  memcpy(s->inputs, ids, bytes);
  s->position_input = (cl_int)s->position;
  CLQI_TRY(clqi_stream_write(s->stream, s->io.ids, bytes, s->inputs));
  return clqi_stream_write(s->stream, s->io.position, sizeof s->position_input, &s->position_input);
}

static clq_status read_logits(clq_session *s, int64_t rows, float *logits) {
  const size_t bytes = (size_t)(rows * s->model->info.vocabulary) * sizeof(float);
  return clqi_stream_read(s->stream, s->io.logits, bytes, logits);
}

/* Runs and waits. What moves between host and device does so in the stream's order, so that there
 * is one wait a pass. */
static clq_status run_pass(clq_session *s, const int32_t *ids, int64_t rows,
                           clq_logits_wanted wanted, float *logits) {
  pass *p = NULL;
  const int64_t logit_rows = wanted == CLQ_LOGITS_ALL ? rows : wanted == CLQ_LOGITS_LAST;
  CLQI_TRY(reserve_logits(s, logit_rows));
  CLQI_TRY(find_pass(s, rows, wanted, &p));
  clq_status status = write_inputs(s, ids, rows);
  if (status == CLQ_OK) {
    status = s->trace == NULL ? clq_plan_run(p->plan, s->stream)
                              : clq_plan_run_traced(p->plan, s->stream, s->trace);
  }
  if (status == CLQ_OK && logit_rows > 0) {
    status = read_logits(s, logit_rows, logits);
  }
  /* After an error too: nothing may still read inputs or write logits. */
  const clq_status finished = clq_stream_finish(s->stream);
  status = status == CLQ_OK ? finished : status;
  s->position += status == CLQ_OK ? rows : 0;
  return status;
}

static clq_status check_eval(const clq_session *s, const int32_t *ids, int64_t count,
                             clq_logits_wanted wanted, const float *logits) {
  CLQI_REQUIRE(s != NULL && (ids != NULL || count == 0) && count >= 0,
               "session: session and ids must not be NULL");
  CLQI_REQUIRE(wanted >= CLQ_LOGITS_NONE && wanted <= CLQ_LOGITS_ALL &&
                   (logits != NULL || wanted == CLQ_LOGITS_NONE || count == 0),
               "session: logits are wanted but there is no memory for them");
  CLQI_REQUIRE(count <= s->io.context - s->position,
               "session: %lld tokens do not fit: %lld of the context's %lld positions are taken; "
               "use a shorter prompt or a larger context",
               (long long)count, (long long)s->position, (long long)s->io.context);
  for (int64_t i = 0; i < count; ++i) {
    CLQI_REQUIRE(ids[i] >= 0 && ids[i] < s->model->info.vocabulary,
                 "session: id %d at %lld is not one of the model's %lld tokens", (int)ids[i],
                 (long long)i, (long long)s->model->info.vocabulary);
  }
  return CLQ_OK;
}

clq_status clq_session_eval(clq_session *session, const int32_t *ids, int64_t count,
                            clq_logits_wanted wanted, float *logits) {
  CLQI_TRY(check_eval(session, ids, count, wanted, logits));
  const int64_t start = session->position;
  const int64_t most = wanted == CLQ_LOGITS_ALL ? MAX_LOGIT_ROWS : MAX_ROWS;
  for (int64_t done = 0; done < count;) {
    const int64_t rows = count - done < most ? count - done : most;
    const bool last = done + rows == count;
    const clq_logits_wanted here = wanted == CLQ_LOGITS_LAST && !last ? CLQ_LOGITS_NONE : wanted;
    const clq_status status = run_pass(session, ids + done, rows, here, logits);
    if (status != CLQ_OK) {
      session->position = start;
      return status;
    }
    done += rows;
    logits = wanted == CLQ_LOGITS_ALL ? logits + rows * session->model->info.vocabulary : logits;
  }
  return CLQ_OK;
}

/* ---------------------------------------------------------------- the object */

static clq_status check_desc(const clq_model *model, const clq_session_desc *desc) {
  CLQI_REQUIRE(desc->acts >= 0 && desc->acts <= CLQ_ACTS_F32, "session: acts is %d",
               (int)desc->acts);
  CLQI_REQUIRE(desc->kv == 0 || desc->kv == CLQ_F16 || desc->kv == CLQ_F32,
               "session: kv is %s, offered: f16, f32", clq_dtype_name(desc->kv));
  CLQI_REQUIRE(desc->context >= 0 && desc->context <= model->info.context,
               "session: a context of %lld tokens is wanted, the model was trained for %lld",
               (long long)desc->context, (long long)model->info.context);
  return CLQ_OK;
}

clq_status clq_session_create(clq_model *model, clq_stream *stream, const clq_session_desc *desc,
                              clq_session **session) {
  static const clq_session_desc defaults;
  CLQI_REQUIRE(model != NULL && session != NULL, "session: model and result must not be NULL");
  desc = desc == NULL ? &defaults : desc;
  CLQI_TRY(check_desc(model, desc));
  clq_session *s = clqi_calloc(1, sizeof *s);
  if (s == NULL) {
    return out_of_memory();
  }
  clq_status status = CLQ_OK;
  s->model = model;
  s->stream = stream;
  s->acts = desc->acts == 0 ? CLQ_ACTS_Q8G32 : desc->acts;
  s->io.kv = desc->kv == 0 ? CLQ_F16 : desc->kv;
  s->io.context = desc->context == 0 ? model->info.context : desc->context;
  s->io.capacity = clqi_div_up(s->io.context, CLQI_KEY_BLOCK) * CLQI_KEY_BLOCK;
  if (stream == NULL) {
    CLQI_TRY_CLEAN(clq_stream_create(model->context, NULL, &s->own_stream));
    s->stream = s->own_stream;
  }
  CLQI_TRY_CLEAN(create_buffers(s));
  *session = s;
  s = NULL;
cleanup:
  clq_session_destroy(s);
  return status;
}

void clq_session_destroy(clq_session *session) {
  if (session == NULL) {
    return;
  }
  for (int i = 0; i < MAX_PLANS; ++i) {
    drop_pass(&session->passes[i]);
  }
  for (int64_t i = 0; session->caches != NULL && i < 2 * session->model->info.layers; ++i) {
    clqi_buffer_release(session->caches[i]);
  }
  clqi_buffer_release(session->io.ids);
  clqi_buffer_release(session->io.position);
  clqi_buffer_release(session->io.table);
  clqi_buffer_release(session->io.logits);
  clqi_buffer_release(session->arena);
  clq_stream_destroy(session->own_stream);
  clqi_free(session->caches);
  clqi_free(session);
}

int64_t clq_session_position(const clq_session *session) { return session->position; }

clq_status clq_session_rewind(clq_session *session, int64_t position) {
  CLQI_REQUIRE(session != NULL && position >= 0 && position <= session->position,
               "session: rewind to %lld, expected 0 to %lld", (long long)position,
               (long long)(session == NULL ? 0 : session->position));
  session->position = position;
  return CLQ_OK;
}

void clq_session_get_stats(const clq_session *session, clq_session_stats *stats) {
  *stats = session->stats;
}

void clq_session_trace(clq_session *session, clq_trace *trace) { session->trace = trace; }
