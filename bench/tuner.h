/* The search behind `clq tune`: one set of tuned values (clquant/tuning.h) over the cases that it
 * serves. */
#ifndef CLQ_BENCH_TUNER_H
#define CLQ_BENCH_TUNER_H

#include <clquant/tuning.h>

#include "bench.h"

enum { TUNER_MOST_VALUES = 16 };

/* One shape. `bench` is opened by the caller, who closes it. */
typedef struct tuner_case {
  bench_case bench;
  clq_plan *standard;      /* with the built-in values */
  unsigned char *expected; /* what it gives, compared with the reference */
  unsigned char *other;    /* what a value that changes bits gives, within the operator's bound */
  int64_t calls;           /* of a turn */
  double before_ns, after_ns; /* least times of a call, with the built-in and the best values */
} tuner_case;

typedef struct tuner_values {
  int32_t at[TUNER_MOST_VALUES]; /* places among what is allowed */
} tuner_values;

typedef struct tuner_set {
  const char *name; /* "gemm_q8_few" */
  tuner_case **cases;
  size_t case_count;

  /* Filled by the search. */
  int32_t index[TUNER_MOST_VALUES];
  clq_tuning_value info[TUNER_MOST_VALUES];
  int count;
  tuner_values best; /* all 0, which are the built-in values, unless better ones were found */
  double combinations, small; /* in all, and of those that are tried first */
  int64_t tried;
  int64_t failed; /* the driver would not build or run them */
  int64_t wrong;  /* other bits than the built-in values', and not allowed to: never taken */
  double ratio;   /* time with the best over that with the built-in values; 1 if those stay */
} tuner_set;

/* The values of the set that the device's forms read; those that change bits only if wanted, else
 * they have their built-in value from here on. False with none. */
bool tuner_open(tuner_set *set, clq_context *context, bool other_bits);
/* Whether the best values change bits. */
bool tuner_changed_bits(const tuner_set *set);

/* Searches for about so many seconds: the small combinations in their order, then a random sample
 * of all; each must give the bits of the built-in values, which are compared with the reference,
 * or, where a value may change them, keep the operator's bound. In the end the best few take turns
 * with the built-in values, and then the winner alone, once more. The context then has the best
 * values, or after a failure and SIGINT the built-in ones. Returns an exit code. */
int tuner_search(tuner_set *set, bench_session *session, double seconds);

void tuner_close(tuner_set *set);

#endif
