/* Measures one case: ours on the wall and on the device, and, on CPUs, the
 * machine's own loops over as many bytes, all taking turns. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench.h"
#include "cli.h"

/* One turn should last long enough for the clock, the driver's own wake-ups, and the caches to hold
 * what its calls leave there. */
static const double TURN_SECONDS = 0.02;
enum { MOST_CALLS = 1000, MOST_TRACED = 8, LEAST_LIMIT_BYTES = 65536 };
enum { ALL_TOPICS = CLQ_LOG_DISPATCH | CLQ_LOG_BUILD | CLQ_LOG_EXEC | CLQ_LOG_CACHE };

/* --- which variant --- */

static void note(const char *text, const char *op, const char *what, char *to, size_t size) {
  const size_t length = op == NULL ? 0 : strlen(op);
  if (length > 0 && strncmp(text, op, length) == 0 &&
      strncmp(text + length, what, strlen(what)) == 0) {
    (void)snprintf(to, size, "%s", text + length + strlen(what));
  }
}

static void append(char *list, size_t size, const char *name) {
  const size_t length = strlen(list);
  (void)snprintf(list + length, size - length, "%s%s", length == 0 ? "" : " + ", name);
}

/* What CLQ_VERBOSE asks for, which listening took from the library. */
static void pass_on(void *user, clq_log_topic topic, const char *text) {
  (void)user;
  const char *verbose = getenv("CLQ_VERBOSE");
  static const struct {
    clq_log_topic topic;
    const char *name;
  } topics[] = {{CLQ_LOG_DISPATCH, "dispatch"},
                {CLQ_LOG_BUILD, "build"},
                {CLQ_LOG_EXEC, "exec"},
                {CLQ_LOG_CACHE, "cache"}};
  for (size_t i = 0; verbose != NULL && i < sizeof topics / sizeof topics[0]; ++i) {
    if (topics[i].topic == topic && strstr(verbose, topics[i].name) != NULL) {
      (void)fprintf(stderr, "clq: %s\n", text);
    }
  }
}

/* "gemm: chose gemm_q8_tile_vnni", and "gemm: tile 8 x 16" where the operator says so. */
static void hear(void *user, clq_log_topic topic, const char *text) {
  bench_case *c = user;
  pass_on(NULL, topic, text);
  const char *chosen = strstr(text, ": chose ");
  if (topic == CLQ_LOG_DISPATCH && c->planning_peer) {
    if (chosen != NULL) {
      append(c->peer_variant, sizeof c->peer_variant, chosen + strlen(": chose "));
    }
  } else if (topic == CLQ_LOG_DISPATCH) {
    note(text, c->op->name, ": chose ", c->record.variant, sizeof c->record.variant);
    note(text, c->op->name, ": tile ", c->record.tile, sizeof c->record.tile);
    note(text, c->then.name, ": chose ", c->then_variant, sizeof c->then_variant);
  }
}

static void plan_case(bench_case *c) {
  clq_graph *graph = NULL;
  bool good = bench_ok(c, clq_graph_create(c->session->context, &graph));
  for (int32_t i = 0; good && i < c->calls; ++i) {
    good = bench_ok(
        c, clq_graph_add(graph, c->op->op, (const char *)c->args + (size_t)i * c->args_bytes));
  }
  if (good && c->then.args != NULL) {
    good = bench_ok(c, clq_graph_add(graph, c->then.op, c->then.args));
  }
  if (good) {
    (void)bench_ok(c, clq_plan_create(graph, &c->plan));
  }
  clq_graph_destroy(graph);
  if (c->then_variant[0] != '\0') {
    append(c->record.variant, sizeof c->record.variant, c->then_variant);
  }
}

void bench_plan_peer(bench_case *c, const bench_step *steps, int count) {
  clq_graph *graph = NULL;
  c->planning_peer = true;
  bool good = c->code == CLI_DONE && bench_ok(c, clq_graph_create(c->session->context, &graph));
  for (int i = 0; good && i < count; ++i) {
    good = bench_ok(c, clq_graph_add(graph, steps[i].op, steps[i].args));
  }
  if (good) {
    (void)bench_ok(c, clq_plan_create(graph, &c->peer_plan));
  }
  clq_graph_destroy(graph);
  c->planning_peer = false;
}

void bench_run_peer(bench_case *c) {
  (void)bench_ok(c, clq_plan_run(c->peer_plan, c->session->stream));
}

/* --- turns --- */

static void flush_if_cold(bench_case *c) {
  if (c->session->cold && c->code == CLI_DONE) {
    c->code = bench_flush_caches(c->session);
  }
}

static void call_ours(bench_case *c) {
  (void)bench_ok(c, clq_plan_run(c->plan, c->session->stream));
}

/* Several calls find in the cache what the call before left there. So that this holds for the first
 * as well, whoever's turn it was before, there is one that does not count; a single call is too
 * long for that to matter. */
static bool warm_up_wanted(const bench_case *c, int64_t calls) {
  return calls > 1 && !c->session->cold;
}

/* Wall seconds of one call. */
static double wall_turn(bench_case *c, void (*call)(bench_case *), int64_t calls) {
  flush_if_cold(c);
  if (warm_up_wanted(c, calls) && c->code == CLI_DONE) {
    call(c);
    (void)bench_ok(c, clq_stream_finish(c->session->stream));
  }
  const double began = cli_seconds();
  for (int64_t i = 0; i < calls && c->code == CLI_DONE; ++i) {
    call(c);
  }
  (void)bench_ok(c, clq_stream_finish(c->session->stream));
  return (cli_seconds() - began) / (double)calls;
}

/* `calls` runs of the plan by the events of its launches, in sum. */
static clq_kernel_time traced_runs(bench_case *c, clq_plan *plan, int64_t calls) {
  clq_trace *trace = NULL;
  clq_kernel_time times[16];
  clq_kernel_time sum = {0};
  if (c->code != CLI_DONE || !bench_ok(c, clq_trace_create(&trace))) {
    sum.device_seconds = NAN;
    return sum;
  }
  for (int64_t i = 0; i < calls && c->code == CLI_DONE; ++i) {
    flush_if_cold(c);
    (void)bench_ok(c, clq_plan_run_traced(plan, c->session->stream, trace));
  }
  const int32_t kernels = clq_trace_kernels(trace, times, 16);
  for (int32_t i = 0; i < kernels && i < 16; ++i) {
    sum.device_seconds += times[i].device_seconds;
    sum.bytes += times[i].bytes;
    sum.ops += times[i].ops;
  }
  clq_trace_destroy(trace);
  return sum;
}

/* Seconds that the device spent on one call. */
static double device_turn(bench_case *c, clq_plan *plan, int64_t calls) {
  return traced_runs(c, plan, calls).device_seconds / (double)calls;
}

void bench_count(bench_case *c, clq_plan *plan) {
  const clq_kernel_time run = traced_runs(c, plan, 1);
  c->record.bytes = run.bytes;
  c->record.ops = run.ops;
}

/* Bytes per second of one of the machine's loops with the footprint of the case. */
static double limit_turn(bench_case *c, bench_arrays *arrays, bench_loop loop) {
  const bench_limits *l = &c->session->limits;
  const double share = loop == BENCH_LOOP_READ ? c->record.bytes : 0.5 * c->record.bytes;
  const double bytes = share < l->array_bytes ? share : l->array_bytes;
  const double guess = 2.0 * bytes / l->read;
  const double wanted = TURN_SECONDS / guess;
  const long passes = c->session->cold || wanted < 1.0 ? 1 : wanted > 1e5 ? 100000 : (long)wanted;
  flush_if_cold(c);
  if (warm_up_wanted(c, passes)) {
    (void)bench_loop_seconds(loop, l->threads, arrays, (size_t)bytes, 1);
  }
  const double seconds = bench_loop_seconds(loop, l->threads, arrays, (size_t)bytes, passes);
  return seconds > 0.0 ? (loop == BENCH_LOOP_READ ? bytes : 2.0 * bytes) / seconds : 0.0;
}

static bool limits_wanted(const bench_case *c) {
  return c->session->limits.on_cpu && c->session->limits.read > 0.0 &&
         c->record.bytes >= LEAST_LIMIT_BYTES;
}

typedef struct turns {
  double *wall, *peer, *device, *peer_device, *read, *plain, *nontemporal;
} turns;

static turns turns_new(bench_case *c) {
  const int64_t n = c->session->repetitions;
  return (turns){.wall = bench_host(c, n, sizeof(double)),
                 .peer = bench_host(c, n, sizeof(double)),
                 .device = bench_host(c, n, sizeof(double)),
                 .peer_device = bench_host(c, n, sizeof(double)),
                 .read = bench_host(c, n, sizeof(double)),
                 .plain = bench_host(c, n, sizeof(double)),
                 .nontemporal = bench_host(c, n, sizeof(double))};
}

/* After a first call that may still build something. */
static int64_t calls_of_a_turn(bench_case *c, void (*call)(bench_case *)) {
  (void)wall_turn(c, call, 1);
  if (c->session->cold) {
    return 1;
  }
  const double once = wall_turn(c, call, 1);
  const double wanted = once > 0.0 ? TURN_SECONDS / once : MOST_CALLS;
  const int64_t calls = wanted < 1.0 ? 1 : wanted > MOST_CALLS ? MOST_CALLS : (int64_t)wanted;
  /* Once more, so that the first turn is no warmer or colder than the others. */
  (void)wall_turn(c, call, calls);
  return calls;
}

static void summarize(bench_case *c, turns *t, size_t count) {
  bench_record *r = &c->record;
  const double plain = bench_median(t->plain, count);
  const double nontemporal = bench_median(t->nontemporal, count);
  r->repetitions = (int64_t)count;
  r->real_ns = 1e9 * bench_median(t->wall, count);
  r->min_ns = 1e9 * t->wall[0];
  if (c->session->peer != NULL) {
    c->peer_ns = 1e9 * bench_median(t->peer, count);
    c->peer_min_ns = 1e9 * t->peer[0];
    c->peer_device_ns =
        c->peer_plan != NULL ? 1e9 * bench_median(t->peer_device, count) : (double)NAN;
    r->ratio = c->peer_ns / r->real_ns;
  }
  r->device_ns = 1e9 * bench_median(t->device, count);
  r->read_limit = bench_median(t->read, count);
  r->copy_limit = plain > nontemporal ? plain : nontemporal;
}

static void measure(bench_case *c) {
  const bench_peer *peer = c->session->peer;
  const bool limits = limits_wanted(c);
  bench_arrays *arrays =
      limits ? bench_arrays_new((size_t)fmin(c->record.bytes, c->session->limits.array_bytes))
             : NULL;
  turns t = turns_new(c);
  const int64_t calls = calls_of_a_turn(c, call_ours);
  const int64_t peer_calls = peer != NULL ? calls_of_a_turn(c, peer->call) : 0;
  const int64_t traced = calls < MOST_TRACED ? calls : MOST_TRACED;
  int64_t done = 0;
  for (; done < c->session->repetitions && !bench_over(c); ++done) {
    t.wall[done] = wall_turn(c, call_ours, calls);
    if (peer != NULL) {
      t.peer[done] = wall_turn(c, peer->call, peer_calls);
    }
    t.device[done] = device_turn(c, c->plan, traced);
    if (c->peer_plan != NULL) {
      t.peer_device[done] = device_turn(c, c->peer_plan, traced);
    }
    if (arrays != NULL) {
      t.read[done] = limit_turn(c, arrays, BENCH_LOOP_READ);
      t.plain[done] = limit_turn(c, arrays, BENCH_LOOP_COPY);
      t.nontemporal[done] = limit_turn(c, arrays, BENCH_LOOP_COPY_NONTEMPORAL);
    }
  }
  bench_arrays_free(arrays);
  if (!bench_over(c)) {
    summarize(c, &t, (size_t)done);
  }
}

void bench_check(bench_case *c) {
  if (bench_over(c)) {
    return;
  }
  if (c->op->reset != NULL) {
    c->op->reset(c);
  }
  call_ours(c);
  (void)bench_ok(c, clq_stream_finish(c->session->stream));
  if (bench_over(c)) {
    return;
  }
  c->op->check(c);
  c->bound = fmax(c->bound, c->session->max_error);
  c->record.checked = !bench_over(c) && c->record.max_error <= c->bound;
  if (!bench_over(c) && !c->record.checked) {
    bench_fail(c, "%s: %s differs from the reference by %g, at most %g is allowed", c->op->name,
               c->record.variant, c->record.max_error, c->bound);
  }
}

/* Its record, behind ours. */
static void emit_peer(bench_case *c) {
  const bench_peer *peer = c->session->peer;
  bench_record *r = &c->record;
  *r = (bench_record){.peer = peer->version(),
                      .repetitions = r->repetitions,
                      .real_ns = c->peer_ns,
                      .device_ns = c->peer_device_ns,
                      .min_ns = c->peer_min_ns,
                      .bytes = r->bytes,
                      .ops = r->ops};
  peer->check(c);
  r->checked = !bench_over(c) && r->max_error <= c->bound;
  if (!bench_over(c) && !r->checked) {
    bench_fail(c, "%s: %s differs from ours by %g, at most %g is allowed", c->op->name, r->peer,
               r->max_error, c->bound);
  }
  if (!bench_over(c)) {
    bench_emit(c);
  }
}

void bench_case_close(bench_case *c) {
  clq_set_log(pass_on, NULL, ALL_TOPICS);
  clq_plan_destroy(c->peer_plan);
  clq_plan_destroy(c->plan);
  clq_weights_destroy(c->weights);
  for (int i = 0; i < c->buffer_count; ++i) {
    (void)clReleaseMemObject(c->buffers[i]);
  }
  for (int i = 0; i < c->block_count; ++i) {
    free(c->blocks[i]);
  }
}

/* Sets the case up as if something had failed: nothing is made, only counted, so that what does not
 * fit in sum is refused before the first array. What a set-up leaves out then is counted later. */
static void refuse_too_large(bench_case *c) {
  bench_case trial = {.session = c->session, .op = c->op, .calls = 1, .code = CLI_FAILED};
  memcpy(trial.values, c->values, sizeof trial.values);
  trial.state = calloc(1, c->op->state_bytes + 1);
  if (trial.state == NULL) {
    bench_fail(c, "%s: out of memory", c->op->name);
    return;
  }
  c->op->prepare(&trial);
  free(trial.state);
  c->host_bytes = trial.host_bytes;
  (void)bench_count_device(c, (double)trial.device_bytes);
  c->host_bytes = 0;
  c->device_bytes = 0;
}

/* The exit code that counts for the sweep. */
static int end_case(bench_case *c) {
  bench_case_close(c);
  c->session->left_out += c->left_out ? 1 : 0;
  return c->left_out ? CLI_DONE : c->code;
}

void bench_case_open(bench_case *c) {
  bench_memory_begin(c);
  refuse_too_large(c);
  c->state = bench_host(c, 1, c->op->state_bytes);
  if (c->state != NULL) {
    c->op->prepare(c);
  }
}

int bench_run(bench_session *session, const bench_op *op, const bench_value *values) {
  bench_case c = {.session = session, .op = op, .calls = 1};
  memcpy(c.values, values, sizeof c.values);
  clq_set_log(hear, &c, ALL_TOPICS);
  if (op->run != NULL) {
    bench_memory_begin(&c);
    op->run(&c);
    return end_case(&c);
  }
  bench_case_open(&c);
  if (!bench_over(&c)) {
    plan_case(&c);
  }
  if (!bench_over(&c) && c.record.bytes == 0.0) {
    bench_count(&c, c.plan);
  }
  if (!bench_over(&c) && session->peer != NULL) {
    session->peer->prepare(&c);
  }
  bench_measuring(&c);
  if (!bench_over(&c)) {
    measure(&c);
    bench_check(&c);
  }
  if (!bench_over(&c)) {
    bench_emit(&c);
    if (session->peer != NULL) {
      emit_peer(&c);
    }
  }
  return end_case(&c);
}

void bench_emit(bench_case *c) {
  const bench_record *r = &c->record;
  char name[BENCH_NAME_BYTES];
  bench_report_record(c);
  if (r->device_ns > r->real_ns) {
    bench_run_name(c, name);
    (void)fprintf(stderr,
                  "clq: note: %s: the device's time is above the wall's, which is of other calls, "
                  "back to back and without the tracing; take more --reps\n",
                  name);
  }
}

/* --- the operators --- */

#define CLQ_BENCH_OPERATORS(X) \
  X(layernorm)                 \
  X(rmsnorm)                   \
  X(quantize)                  \
  X(dequantize)                \
  X(gemm)                      \
  X(rope)                      \
  X(attention)                 \
  X(softmax)                   \
  X(sample)                    \
  X(activate)                  \
  X(embedding)                 \
  X(add)                       \
  X(integer_norm)              \
  X(pool)                      \
  X(lookup)                    \
  X(integer_add)               \
  X(integer_gelu)              \
  X(plan)                      \
  X(limits)

#define CLQ_BENCH_DECLARE(name) extern const bench_op bench_op_##name;
#define CLQ_BENCH_ENTRY(name)   &bench_op_##name,
CLQ_BENCH_OPERATORS(CLQ_BENCH_DECLARE)
static const bench_op *const operators[] = {CLQ_BENCH_OPERATORS(CLQ_BENCH_ENTRY) NULL};

const bench_op *bench_at(size_t i) { return operators[i]; }

const bench_op *bench_find(const char *name) {
  for (size_t i = 0; operators[i] != NULL; ++i) {
    if (strcmp(operators[i]->name, name) == 0) {
      return operators[i];
    }
  }
  return NULL;
}
