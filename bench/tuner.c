#include "tuner.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli.h"

/* A turn should be long beside the driver's wake-ups, and short, so that many fit. */
static const double TURN_SECONDS = 0.004;
/* Of the budget, for candidates, and up to the end of the final; what is left confirms its winner.
 */
static const double SEARCH_SHARE = 0.6;
static const double FINAL_SHARE = 0.8;
/* What is slower than this in its first turns is measured no further. */
static const double HOPELESS = 1.25;
/* Better by less may be chance, and the built-in values stay. */
static const double WORTH_IT = 0.97;
/* Nor is what makes one of the shapes so much slower taken for the sake of the others. */
static const double SLOWED_DOWN = 1.05;
enum { FINALISTS = 4, LEAST_ROUNDS = 5, MOST_ROUNDS = 15, MOST_CALLS = 200, MOST_SEEN = 4096 };

typedef struct candidate {
  tuner_values values;
  double score; /* mean of ln(its time / the built-in values' time) */
} candidate;

typedef struct search {
  tuner_set *set;
  bench_session *session;
  uint64_t random;
  candidate best[FINALISTS];
  int best_count;
  tuner_values seen[MOST_SEEN];
  size_t seen_count;
  int code;
} search;

bool tuner_open(tuner_set *set, clq_context *context, bool other_bits) {
  const size_t length = strlen(set->name);
  clq_tuning_value value;
  set->count = 0;
  set->combinations = set->small = set->ratio = 1.0;
  for (int32_t i = 0; clq_tuning_get(context, i, &value) == CLQ_OK; ++i) {
    if (strncmp(value.name, set->name, length) != 0 || value.name[length] != '.') {
      continue;
    }
    if (value.changes_bits != 0 && !other_bits) {
      (void)(clq_tuning_set(context, i, value.standard) == CLQ_OK);
    } else if (value.used != 0 && set->count < TUNER_MOST_VALUES) {
      set->index[set->count] = i;
      set->info[set->count++] = value;
      set->combinations *= value.allowed_count;
      set->small *= value.small_count;
    }
  }
  return set->count > 0;
}

/* Whether values of the set that are not the built-in ones change bits. */
static bool change_bits(const tuner_set *set, const tuner_values *values) {
  for (int i = 0; i < set->count; ++i) {
    if (set->info[i].changes_bits != 0 && values->at[i] != 0) {
      return true;
    }
  }
  return false;
}

bool tuner_changed_bits(const tuner_set *set) { return change_bits(set, &set->best); }

void tuner_close(tuner_set *set) {
  for (size_t i = 0; i < set->case_count; ++i) {
    clq_plan_destroy(set->cases[i]->standard);
    set->cases[i]->standard = NULL;
    free(set->cases[i]->expected);
    set->cases[i]->expected = NULL;
    free(set->cases[i]->other);
    set->cases[i]->other = NULL;
  }
}

static bool over(const search *s) { return s->code != CLI_DONE || cli_interrupted(); }

static void apply(search *s, const tuner_values *values) {
  for (int i = 0; i < s->set->count; ++i) {
    const clq_tuning_value *v = &s->set->info[i];
    if (clq_tuning_set(s->session->context, s->set->index[i], v->allowed[values->at[i]]) !=
        CLQ_OK) {
      s->code = cli_fail_library();
    }
  }
}

/* A plan of the case with the values that the context has; NULL if it fails. */
static clq_plan *plan_of(const search *s, const bench_case *c) {
  clq_graph *graph = NULL;
  clq_plan *plan = NULL;
  if (clq_graph_create(s->session->context, &graph) != CLQ_OK) {
    return NULL;
  }
  if (clq_graph_add(graph, c->op->op, c->args) != CLQ_OK ||
      clq_plan_create(graph, &plan) != CLQ_OK) {
    plan = NULL;
  }
  clq_graph_destroy(graph);
  return plan;
}

/* --- bits --- */

static const clq_tensor *out_of(const tuner_case *c) {
  return &((const clq_gemm_args *)c->bench.args)->out;
}

static size_t out_bytes(const tuner_case *c) {
  const clq_tensor *out = out_of(c);
  return (size_t)(out->shape[0] * out->shape[1]) * clq_dtype_bytes(out->dtype);
}

/* The answer of one run, into memory that held something else before. */
static bool answer(const search *s, const tuner_case *c, clq_plan *plan, unsigned char *to) {
  const cl_command_queue queue = clq_stream_queue(s->session->stream);
  const size_t bytes = out_bytes(c);
  const cl_uchar poison = 0xff; /* NaN */
  return clEnqueueFillBuffer(queue, out_of(c)->mem, &poison, sizeof poison, 0, bytes, 0, NULL,
                             NULL) == CL_SUCCESS &&
         clq_plan_run(plan, s->session->stream) == CLQ_OK &&
         clq_stream_finish(s->session->stream) == CLQ_OK &&
         clEnqueueReadBuffer(queue, out_of(c)->mem, CL_TRUE, 0, bytes, to, 0, NULL, NULL) ==
             CL_SUCCESS;
}

/* --- time --- */

/* Seconds of one call; infinite if it fails. */
static double turn(const search *s, clq_plan *plan, int64_t calls) {
  clq_stream *stream = s->session->stream;
  clq_status status = CLQ_OK;
  if (calls > 1) {
    status = clq_plan_run(plan, stream); /* finds what is then in the caches */
    status = status == CLQ_OK ? clq_stream_finish(stream) : status;
  }
  const double began = cli_seconds();
  for (int64_t i = 0; i < calls && status == CLQ_OK; ++i) {
    status = clq_plan_run(plan, stream);
  }
  status = status == CLQ_OK ? clq_stream_finish(stream) : status;
  return status == CLQ_OK ? (cli_seconds() - began) / (double)calls : (double)INFINITY;
}

/* The built-in values: their plans, their answers, and whether those are right. */
static void begin_case(search *s, tuner_case *c) {
  c->standard = plan_of(s, &c->bench);
  c->expected = malloc(out_bytes(c) + 1);
  if (c->expected == NULL) {
    s->code = cli_fail_memory();
    return;
  }
  if (c->standard == NULL) {
    s->code = cli_fail_library();
    return;
  }
  c->bench.plan = c->standard;
  bench_check(&c->bench);
  c->bench.plan = NULL; /* ours */
  if (c->bench.code != CLI_DONE) {
    s->code = c->bench.code;
    return;
  }
  if (!answer(s, c, c->standard, c->expected)) {
    s->code = cli_fail_library();
    return;
  }
  const double once = turn(s, c->standard, 1);
  const double wanted = TURN_SECONDS / fmax(once, 1e-9);
  c->calls = wanted < 1.0 ? 1 : wanted > MOST_CALLS ? MOST_CALLS : (int64_t)wanted;
  c->before_ns = c->after_ns = 1e9 * turn(s, c->standard, c->calls);
}

/* --- candidates --- */

static bool is_new(search *s, const tuner_values *values) {
  for (size_t i = 0; i < s->seen_count; ++i) {
    if (memcmp(&s->seen[i], values, sizeof *values) == 0) {
      return false;
    }
  }
  if (s->seen_count < MOST_SEEN) {
    s->seen[s->seen_count++] = *values;
  }
  return true;
}

static void keep(search *s, const candidate *new) {
  int at = s->best_count;
  while (at > 0 && s->best[at - 1].score > new->score) {
    --at;
  }
  for (int i = FINALISTS - 1; i > at; --i) {
    s->best[i] = s->best[i - 1];
  }
  if (at < FINALISTS) {
    s->best[at] = *new;
    s->best_count += s->best_count < FINALISTS;
  }
}

static void say_wrong(const tuner_set *set, const tuner_values *values) {
  (void)fprintf(stderr, "clq: warning: %s gives %s with", set->name,
                change_bits(set, values) ? "what is not within the operator's bound"
                                         : "other bits than the built-in values");
  for (int i = 0; i < set->count; ++i) {
    if (values->at[i] != 0) {
      (void)fprintf(stderr, " %s %d", strchr(set->info[i].name, '.') + 1,
                    (int)set->info[i].allowed[values->at[i]]);
    }
  }
  (void)fprintf(stderr, "; it is not taken\n");
}

/* Other bits than the built-in values' are compared with the reference once; then they stay. */
static bool within_bound(const search *s, tuner_case *c, clq_plan *plan, const unsigned char *out) {
  if (c->other != NULL) {
    return memcmp(out, c->other, out_bytes(c)) == 0;
  }
  c->bench.plan = plan;
  c->bench.other_bits = true;
  bench_check(&c->bench);
  const bool right = c->bench.code == CLI_DONE;
  c->bench.plan = NULL; /* not the case's */
  c->bench.other_bits = false;
  c->bench.code = CLI_DONE;
  c->bench.bound = c->bench.record.max_error = 0.0;
  c->other = right && !over(s) ? malloc(out_bytes(c) + 1) : NULL;
  if (c->other != NULL) {
    memcpy(c->other, out, out_bytes(c));
  }
  return right;
}

static bool is_right(const search *s, tuner_case *c, const tuner_values *values, clq_plan *plan,
                     const unsigned char *out) {
  return memcmp(out, c->expected, out_bytes(c)) == 0 ||
         (change_bits(s->set, values) && within_bound(s, c, plan, out));
}

/* ln of the case's time over that of the built-in values, by the less of two turns each; infinite
 * where it fails or is wrong. */
static double score_case(search *s, tuner_case *c, const tuner_values *values) {
  clq_plan *plan = plan_of(s, &c->bench);
  unsigned char *out = malloc(out_bytes(c) + 1);
  double score = (double)INFINITY;
  if (plan == NULL || out == NULL || !answer(s, c, plan, out)) {
    ++s->set->failed;
  } else if (!is_right(s, c, values, plan, out)) {
    ++s->set->wrong;
    say_wrong(s->set, values);
  } else {
    double theirs = turn(s, plan, c->calls);
    double ours = turn(s, c->standard, c->calls);
    if (theirs < HOPELESS * ours) {
      theirs = fmin(theirs, turn(s, plan, c->calls));
      ours = fmin(ours, turn(s, c->standard, c->calls));
    }
    score = log(theirs / ours);
  }
  free(out);
  clq_plan_destroy(plan);
  return score;
}

static void try_values(search *s, const tuner_values *values) {
  if (!is_new(s, values)) {
    return;
  }
  candidate new = {*values, 0.0};
  const size_t count = s->set->case_count;
  apply(s, values);
  for (size_t i = 0; i < count && !over(s) && new.score < log(HOPELESS) * (double)count; ++i) {
    new.score += score_case(s, s->set->cases[i], values);
  }
  new.score /= (double)count;
  ++s->set->tried;
  if (!over(s) && isfinite(new.score) && new.score < 0.0) {
    keep(s, &new);
  }
}

/* Counts through the small combinations, the last value fastest; false behind the last. */
static bool next_small(const tuner_set *set, tuner_values *values) {
  for (int i = set->count - 1; i >= 0; --i) {
    if (++values->at[i] < set->info[i].small_count) {
      return true;
    }
    values->at[i] = 0;
  }
  return false;
}

static void try_all(search *s, double until) {
  tuner_values values = {{0}};
  (void)is_new(s, &values); /* the built-in ones */
  while (next_small(s->set, &values) && cli_seconds() < until && !over(s)) {
    try_values(s, &values);
  }
  while ((double)s->seen_count < fmin(s->set->combinations, MOST_SEEN) && cli_seconds() < until &&
         !over(s)) {
    for (int i = 0; i < s->set->count; ++i) {
      values.at[i] = (int32_t)(bench_random(&s->random) % (uint64_t)s->set->info[i].allowed_count);
    }
    try_values(s, &values);
  }
}

/* --- final: the best few and the built-in values take turns --- */

enum { MOST_FINAL_CASES = 256 };

typedef struct finalist {
  clq_plan *plans[MOST_FINAL_CASES];
  double scores[MOST_ROUNDS];
  double least[MOST_FINAL_CASES];
} finalist;

static void play(search *s, finalist *f, double *standard_least, int rounds_done) {
  for (size_t i = 0; i < s->set->case_count; ++i) {
    const tuner_case *c = s->set->cases[i];
    const double ours = turn(s, c->standard, c->calls);
    standard_least[i] = fmin(standard_least[i], ours);
    for (int b = 0; b < s->best_count; ++b) {
      const double theirs = turn(s, f[b].plans[i], c->calls);
      f[b].least[i] = fmin(f[b].least[i], theirs);
      f[b].scores[rounds_done] += log(theirs / ours) / (double)s->set->case_count;
    }
  }
}

/* How much a finalist is to be believed: ln of its time over that of the built-in values, by the
 * median of its rounds or by its least times, whichever speaks less for it; infinite if it lost
 * more than a quarter of its rounds, or if it slows down one of the shapes. */
static double verdict(const finalist *f, const double *standard_least, size_t count, int rounds) {
  double scores[MOST_ROUNDS];
  double least = 0.0;
  memcpy(scores, f->scores, sizeof scores);
  const double median = bench_median(scores, (size_t)rounds); /* sorts them */
  for (size_t i = 0; i < count; ++i) {
    const double ratio = f->least[i] / standard_least[i];
    least += ratio < SLOWED_DOWN ? log(ratio) / (double)count : (double)INFINITY;
  }
  return scores[3 * rounds / 4] < 0.0 ? fmax(median, least) : (double)INFINITY;
}

static void crown(search *s, const finalist *f, const double *standard_least, int rounds) {
  const size_t count = s->set->case_count;
  for (size_t i = 0; i < count; ++i) {
    s->set->cases[i]->before_ns = s->set->cases[i]->after_ns = 1e9 * standard_least[i];
  }
  for (int b = 0; b < s->best_count; ++b) {
    const double ratio = exp(verdict(&f[b], standard_least, count, rounds));
    if (ratio < WORTH_IT && ratio < s->set->ratio) {
      s->set->ratio = ratio;
      s->set->best = s->best[b].values;
      for (size_t i = 0; i < count; ++i) {
        s->set->cases[i]->after_ns = 1e9 * f[b].least[i];
      }
    }
  }
}

/* Until the clock shows `until`. The set has the winner then, if there is one. */
static void final(search *s, double until) {
  const size_t count = s->set->case_count;
  finalist *f = calloc(FINALISTS, sizeof *f);
  double *standard_least = calloc(count + 1, sizeof *standard_least);
  if (f == NULL || standard_least == NULL || count > MOST_FINAL_CASES) {
    free(standard_least);
    free(f);
    s->code = cli_fail_memory();
    return;
  }
  for (size_t i = 0; i < count && !over(s); ++i) {
    standard_least[i] = (double)INFINITY;
  }
  for (int b = 0; b < s->best_count && !over(s); ++b) {
    apply(s, &s->best[b].values);
    for (size_t i = 0; i < count && !over(s); ++i) {
      f[b].least[i] = (double)INFINITY;
      f[b].plans[i] = plan_of(s, &s->set->cases[i]->bench);
      s->code = f[b].plans[i] == NULL ? cli_fail_library() : s->code;
    }
  }
  int rounds = 0;
  while (rounds < MOST_ROUNDS && !over(s) && (rounds < LEAST_ROUNDS || cli_seconds() < until)) {
    play(s, f, standard_least, rounds++);
  }
  if (!over(s)) {
    crown(s, f, standard_least, rounds);
  }
  for (int b = 0; b < s->best_count; ++b) {
    for (size_t i = 0; i < count; ++i) {
      clq_plan_destroy(f[b].plans[i]);
    }
  }
  free(standard_least);
  free(f);
}

/* Who wins out of several may have been lucky: once more, alone. */
static void confirm(search *s, double until) {
  tuner_set *set = s->set;
  s->best[0].values = set->best;
  s->best_count = 1;
  set->best = (tuner_values){{0}};
  set->ratio = 1.0;
  final(s, until);
}

int tuner_search(tuner_set *set, bench_session *session, double seconds) {
  search *s = calloc(1, sizeof *s);
  if (s == NULL) {
    return cli_fail_memory();
  }
  const tuner_values standard = {{0}};
  *s = (search){.set = set, .session = session, .random = 1};
  apply(s, &standard);
  for (size_t i = 0; i < set->case_count && !over(s); ++i) {
    begin_case(s, set->cases[i]);
  }
  const double began = cli_seconds();
  try_all(s, began + SEARCH_SHARE * seconds);
  if (!over(s) && s->best_count > 0) {
    final(s, began + FINAL_SHARE * seconds);
  }
  if (!over(s) && set->ratio < 1.0) {
    confirm(s, began + seconds);
  }
  const int code = s->code;
  apply(s, over(s) ? &standard : &set->best);
  free(s);
  return code;
}
