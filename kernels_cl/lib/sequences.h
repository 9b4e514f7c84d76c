/* Rows of several sequences, packed one sequence after the other: those of sequence s are
 * starts[s] .. starts[s + 1] - 1, and without starts each has as many. Row r of it stands at
 * position[s] + r - starts[s]; without position at r - starts[s]. */
#ifndef CLQ_LIB_SEQUENCES_H
#define CLQ_LIB_SEQUENCES_H

#include "lib/device_error.h"

typedef struct {
  const __global int *starts;   /* [count + 1], or NULL */
  const __global int *position; /* [count], or NULL */
  __global int *error_word;
  long rows;
  int count;
} clq_sequences;

/* Row `first` is the first of `rows`, and stands at `past`. */
typedef struct {
  int index;
  long first;
  long rows;
  long past;
} clq_sequence;

/* Where the rows of sequence s start; those of `count` are the end. */
static inline long clq_rows_start(const clq_sequences *all, int s) {
  return all->starts != 0 ? (long)all->starts[s] : all->rows / all->count * s;
}

/* Of one whose starts are impossible: without rows. */
static inline clq_sequence clq_sequence_at(const clq_sequences *all, int s) {
  const long begin = clq_rows_start(all, s);
  const long end = clq_rows_start(all, s + 1);
  const bool good = begin >= 0 && begin <= end && end <= all->rows;
  clq_sequence r;
  r.index = s;
  r.first = good ? begin : 0;
  r.rows = good ? end - begin : 0;
  r.past = all->position != 0 ? (long)all->position[s] : 0;
  return r;
}

/* Reports starts that are impossible; work-item `at` of `count` looks at its share. */
static inline void clq_check_starts(const clq_sequences *all, long at, long count) {
  for (long s = at; all->starts != 0 && s < all->count; s += count) {
    const long begin = all->starts[s];
    const long end = all->starts[s + 1];
    if (begin < 0 || begin > end || end > all->rows) {
      clq_device_error(all->error_word, CLQ_ERROR_STARTS, (int)s);
    }
  }
}

/* The last sequence that starts at `row` or before, or the first: if any has the row, this one. */
static inline clq_sequence clq_sequence_of_row(const clq_sequences *all, long row) {
  int low = 0;
  int high = all->count - 1;
  while (low < high) {
    const int s = (low + high + 1) / 2;
    const bool before = clq_rows_start(all, s) <= row;
    low = before ? s : low;
    high = before ? high : s - 1;
  }
  return clq_sequence_at(all, low);
}

#endif
