/* Tables of several formats, filled by how often ids are asked for. */
#include <stdlib.h>

#include "quant/rows.h"
#include "runtime/checked.h"
#include "runtime/memory.h"
#include "runtime/status.h"

enum { MOST_COLS = 1 << 30 };

typedef struct counted {
  int64_t count;
  int32_t id;
} counted;

static int by_count(const void *a, const void *b) {
  const counted *x = a;
  const counted *y = b;
  return x->count != y->count ? (x->count < y->count) - (x->count > y->count)
                              : (x->id > y->id) - (x->id < y->id);
}

/* Squared step of a row of range 1. */
static double error_of(clq_row_format format) {
  switch (format) {
    case CLQ_ROW_F32: return 0x1p-48;
    case CLQ_ROW_F16: return 0x1p-22;
    case CLQ_ROW_BF16: return 0x1p-16;
    case CLQ_ROW_8BIT: return 1.0 / (255.0 * 255.0);
    case CLQ_ROW_4BIT: return 1.0 / (15.0 * 15.0);
    case CLQ_ROW_2BIT: return 1.0 / (3.0 * 3.0);
  }
  return 0.0;
}

/* Tables behind one another: end[t] is where the next begins among the sorted ids. */
typedef struct cut {
  int tables;
  int64_t bytes[CLQ_MOST_TABLES]; /* of a row */
  double error[CLQ_MOST_TABLES];
  int64_t end[CLQ_MOST_TABLES];
} cut;

static clq_status cut_of(const clq_mixed_desc *d, cut *c) {
  *c = (cut){0};
  while (c->tables < CLQ_MOST_TABLES && d->formats[c->tables] != 0) {
    const int t = c->tables++;
    CLQI_REQUIRE(d->formats[t] >= CLQ_ROW_F32 && d->formats[t] <= CLQ_ROW_2BIT,
                 "mixed_tables: format %d is %d, expected one of clq_row_format (1 to 6)", t,
                 (int)d->formats[t]);
    c->bytes[t] = clq_row_bytes(d->formats[t], d->cols);
    c->error[t] = error_of(d->formats[t]);
    CLQI_REQUIRE(t == 0 || c->bytes[t] < c->bytes[t - 1],
                 "mixed_tables: a row of %lld takes %lld bytes in format %d and %lld in format %d, "
                 "expected fewer from one to the next",
                 (long long)d->cols, (long long)c->bytes[t - (t > 0)], t - 1,
                 (long long)c->bytes[t], t);
    c->end[t] = d->rows;
  }
  CLQI_REQUIRE(c->tables > 0, "mixed_tables: there is no format");
  return CLQ_OK;
}

static clq_status check(const clq_mixed_desc *d, const void *map, const void *order,
                        const void *tables) {
  CLQI_REQUIRE(d != NULL && map != NULL && order != NULL && tables != NULL,
               "mixed_tables: desc, map, order and tables must not be NULL");
  CLQI_REQUIRE(d->rows > 0 && d->rows <= INT32_MAX,
               "mixed_tables: rows is %lld, expected 1 to 2147483647", (long long)d->rows);
  CLQI_REQUIRE(d->cols > 0 && d->cols <= MOST_COLS, "mixed_tables: cols is %lld, expected 1 to %d",
               (long long)d->cols, MOST_COLS);
  CLQI_REQUIRE(d->counts != NULL, "mixed_tables: counts must not be NULL");
  for (int64_t i = 0; i < d->rows; ++i) {
    CLQI_REQUIRE(d->counts[i] >= 0, "mixed_tables: counts[%lld] is %lld, expected 0 or more",
                 (long long)i, (long long)d->counts[i]);
  }
  return CLQ_OK;
}

static bool has_thresholds(const clq_mixed_desc *d) {
  for (int t = 0; t < CLQ_MOST_TABLES; ++t) {
    if (d->least[t] != 0) {
      return true;
    }
  }
  return false;
}

static clq_status cut_by_thresholds(const clq_mixed_desc *d, const counted *sorted, cut *c) {
  for (int t = 0; t < CLQ_MOST_TABLES; ++t) {
    CLQI_REQUIRE(t + 1 < c->tables ? d->least[t] >= d->least[t + 1] : d->least[t] == 0,
                 "mixed_tables: least[%d] is %lld, expected %s", t, (long long)d->least[t],
                 t + 1 < c->tables ? "no less than the next one" : "0 from the last table on");
  }
  for (int t = 0; t + 1 < c->tables; ++t) {
    int64_t n = t == 0 ? 0 : c->end[t - 1];
    while (n < d->rows && sorted[n].count >= d->least[t]) {
      n++;
    }
    c->end[t] = n;
  }
  return CLQ_OK;
}

/* What moving the first row of table t + 1 to table t gains per byte; 0: there is none, or nothing
 * is gained, or it takes more than is `left`. */
static double gain(const cut *c, const counted *sorted, int t, uint64_t left) {
  const int64_t price = c->bytes[t] - c->bytes[t + 1];
  if (c->end[t] == c->end[t + 1] || (uint64_t)price > left) {
    return 0.0;
  }
  return (double)sorted[c->end[t]].count * (c->error[t + 1] - c->error[t]) / (double)price;
}

static clq_status cut_by_budget(const clq_mixed_desc *d, const counted *sorted, cut *c) {
  const int last = c->tables - 1;
  const uint64_t least = (uint64_t)d->rows * (uint64_t)(c->bytes[last] + (int64_t)sizeof(int32_t));
  CLQI_REQUIRE(d->budget >= least,
               "mixed_tables: budget is %llu bytes, expected at least %llu (all rows in the last "
               "format, and the map)",
               (unsigned long long)d->budget, (unsigned long long)least);
  uint64_t left = d->budget - least;
  for (int t = 0; t < last; ++t) {
    c->end[t] = 0;
  }
  for (;;) {
    int best = 0;
    double most = 0.0;
    for (int t = 0; t < last; ++t) {
      const double g = gain(c, sorted, t, left);
      best = g > most ? t : best;
      most = g > most ? g : most;
    }
    if (most == 0.0) {
      return CLQ_OK;
    }
    left -= (uint64_t)(c->bytes[best] - c->bytes[best + 1]);
    c->end[best]++;
  }
}

static void write_out(const counted *sorted, const cut *c, int32_t *map, int32_t *order,
                      clq_mixed_tables_of *tables) {
  const int64_t rows = c->end[c->tables - 1];
  for (int64_t i = 0; i < rows; ++i) {
    order[i] = sorted[i].id;
    map[sorted[i].id] = (int32_t)i;
  }
  *tables = (clq_mixed_tables_of){.bytes = (uint64_t)rows * sizeof *map};
  for (int t = 0; t < c->tables; ++t) {
    tables->rows[t] = c->end[t] - (t == 0 ? 0 : c->end[t - 1]);
    tables->bytes += (uint64_t)tables->rows[t] * (uint64_t)c->bytes[t];
  }
}

clq_status clq_mixed_tables(const clq_mixed_desc *desc, int32_t *map, int32_t *order,
                            clq_mixed_tables_of *tables) {
  cut c;
  CLQI_TRY(check(desc, map, order, tables));
  CLQI_TRY(cut_of(desc, &c));
  counted *sorted = clqi_malloc((size_t)desc->rows * sizeof *sorted);
  if (sorted == NULL) {
    return clqi_fail(CLQ_OUT_OF_HOST_MEMORY, "mixed_tables: no memory for %lld counts",
                     (long long)desc->rows);
  }
  for (int64_t i = 0; i < desc->rows; ++i) {
    sorted[i] = (counted){desc->counts[i], (int32_t)i};
  }
  qsort(sorted, (size_t)desc->rows, sizeof *sorted, by_count);
  const clq_status status =
      has_thresholds(desc) ? cut_by_thresholds(desc, sorted, &c) : cut_by_budget(desc, sorted, &c);
  if (status == CLQ_OK) {
    write_out(sorted, &c, map, order, tables);
  }
  clqi_free(sorted);
  return status;
}
