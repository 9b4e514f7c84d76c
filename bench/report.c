/* Records as a table, as CSV, or as JSON in the shape of Google Benchmark. One
 * list of fields feeds all three. */
#include <cjson/cJSON.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "bench.h"
#include "cli.h"
#include "git_revision.h"

enum { MOST_FIELDS = 48, KEY_BYTES = 32, NAME_BYTES = BENCH_NAME_BYTES };

struct bench_report {
  bench_format format;
  cli_json json;                         /* refers to keys */
  char keys[BENCH_MAX_WORDS][KEY_BYTES]; /* of the operator's words */
  bool begun;                            /* the header is out */
};

/* text NULL: a number; number NaN: nothing. */
typedef struct field {
  const char *key;
  const char *text;
  double number;
  bool boolean;
  bool brief; /* also in the table */
} field;

typedef struct fields {
  field items[MOST_FIELDS];
  int count;
} fields;

static field *add(fields *f, const char *key, bool brief) {
  field *item = &f->items[f->count < MOST_FIELDS - 1 ? f->count++ : f->count];
  *item = (field){.key = key, .number = NAN, .brief = brief};
  return item;
}

static void add_number(fields *f, const char *key, double value, bool brief) {
  add(f, key, brief)->number = value;
}

static void add_text(fields *f, const char *key, const char *value, bool brief) {
  add(f, key, brief)->text = value;
}

void bench_run_name(const bench_case *c, char name[NAME_BYTES]) {
  int at = snprintf(name, NAME_BYTES, "%s", c->op->name);
  for (int i = 0; i < c->op->word_count && at < NAME_BYTES; ++i) {
    const bench_word *word = &c->op->words[i];
    const size_t left = (size_t)(NAME_BYTES - at);
    if (word->kind == BENCH_WORD) {
      at += snprintf(name + at, left, "/%s:%s", word->name, c->values[i].word);
    } else if (word->kind == BENCH_NUMBER) {
      at += snprintf(name + at, left, "/%s:%lld", word->name, (long long)c->values[i].number);
    } else if (c->values[i].number != 0) {
      at += snprintf(name + at, left, "/%s", word->name);
    }
  }
  if (c->op->word_count == 0 && at < NAME_BYTES) {
    at += snprintf(name + at, (size_t)(NAME_BYTES - at), "/%s", c->record.variant);
  }
  if (c->session->cold && at < NAME_BYTES) {
    at += snprintf(name + at, (size_t)(NAME_BYTES - at), "/cold");
  }
  if (c->record.peer != NULL && at < NAME_BYTES) {
    (void)snprintf(name + at, (size_t)(NAME_BYTES - at), "/peer:%s", c->session->peer->name);
  }
}

static double per_second(double amount, double nanoseconds) {
  return amount > 0.0 && nanoseconds > 0.0 ? 1e9 * amount / nanoseconds : (double)NAN;
}

static double known(double value) { return value > 0.0 ? value : (double)NAN; }

static void add_words(fields *f, const bench_case *c) {
  for (int i = 0; i < c->op->word_count; ++i) {
    const bench_word *word = &c->op->words[i];
    char *key = c->session->report->keys[i];
    (void)snprintf(key, KEY_BYTES, "%s", word->name);
    for (char *at = key; *at != '\0'; ++at) {
      if (*at == '-') {
        *at = '_';
      }
    }
    if (word->kind == BENCH_WORD) {
      add_text(f, key, c->values[i].word, true);
    } else {
      add_number(f, key, (double)c->values[i].number, true);
      f->items[f->count - 1].boolean = word->kind == BENCH_FLAG;
    }
  }
}

static void collect(fields *f, const bench_case *c, char run[NAME_BYTES],
                    char name[NAME_BYTES + 8]) {
  const bench_record *r = &c->record;
  bench_run_name(c, run);
  (void)snprintf(name, NAME_BYTES + 8, "%s_median", run);
  if (c->session->peer != NULL) {
    add_text(f, "peer", r->peer, true);
  }
  add_text(f, "name", name, false);
  add_text(f, "run_name", run, false);
  add_text(f, "aggregate_name", "median", false);
  add_number(f, "repetitions", (double)r->repetitions, false);
  add_words(f, c);
  add_text(f, "variant", r->variant[0] != '\0' ? r->variant : NULL, true);
  add_text(f, "tile", r->tile[0] != '\0' ? r->tile : NULL, true);
  add_text(f, "cache", c->session->cold ? "cold" : "warm", true);
  add_number(f, "real_time", r->real_ns, true);
  add_number(f, "device_time", r->device_ns, true);
  add_text(f, "time_unit", "ns", false);
  add_number(f, "min_time", r->min_ns, false);
  if (c->session->peer != NULL) {
    add_number(f, "ratio", known(r->ratio), true);
  }
  add_number(f, "bytes_per_second", per_second(r->bytes, r->real_ns), true);
  add_number(f, "ops_per_second", per_second(r->ops, r->real_ns), true);
  add_number(f, "device_bytes_per_second", per_second(r->bytes, r->device_ns), false);
  add_number(f, "device_ops_per_second", per_second(r->ops, r->device_ns), false);
  add_number(f, "bytes", r->bytes, false);
  add_number(f, "ops", r->ops, false);
  add_number(f, "limit_read_bytes_per_second", known(r->read_limit), false);
  add_number(f, "limit_copy_bytes_per_second", known(r->copy_limit), true);
  for (int i = 0; i < r->extra_count; ++i) {
    add_number(f, r->extras[i].key, r->extras[i].value, true);
  }
  add_number(f, "checked", r->checked ? 1.0 : 0.0, false);
  f->items[f->count - 1].boolean = true;
  add_number(f, "max_error", r->max_error, true);
  if (c->op->run != NULL && !r->checked) {
    f->count -= 2; /* nothing that could be right or wrong */
  }
}

/* --- formats --- */

static void json_record(bench_report *report, const fields *f) {
  cli_json *json = &report->json;
  cli_json_open(json, NULL);
  for (int i = 0; i < f->count; ++i) {
    const field *item = &f->items[i];
    if (item->text != NULL) {
      cli_json_string(json, item->key, item->text);
    } else if (item->boolean) {
      cli_json_bool(json, item->key, item->number != 0.0);
    } else {
      cli_json_number(json, item->key, item->number);
    }
  }
  cli_json_close(json);
}

static void print_value(const field *item, bool table) {
  if (item->text != NULL) {
    (void)printf("%s", item->text);
  } else if (item->boolean) {
    (void)printf("%s", item->number != 0.0 ? "true" : "false");
  } else if (isnan(item->number)) {
    (void)printf("%s", table ? "-" : "");
  } else {
    (void)printf(table ? "%.4g" : "%.15g", item->number);
  }
}

static void csv_record(bench_report *report, const fields *f) {
  for (int i = 0; !report->begun && i < f->count; ++i) {
    (void)printf("%s%s", i == 0 ? "" : ",", f->items[i].key);
  }
  (void)printf("%s", report->begun ? "" : "\n");
  for (int i = 0; i < f->count; ++i) {
    (void)printf("%s", i == 0 ? "" : ",");
    print_value(&f->items[i], false);
  }
  (void)printf("\n");
}

/* In units that are read easily. */
static field readable(const field *item) {
  static const struct {
    const char *key, *shown;
    double factor;
  } units[] = {
      {"real_time", "wall us", 1e-3},
      {"device_time", "device us", 1e-3},
      {"bytes_per_second", "GB/s", 1e-9},
      {"ops_per_second", "GOP/s", 1e-9},
      {"limit_copy_bytes_per_second", "copy GB/s", 1e-9},
      {"graph_time", "graph us", 1e-3},
      {"plan_time", "plan us", 1e-3},
      {"driver_time", "driver us", 1e-3},
      {"overhead_per_node", "overhead us/node", 1e-3},
  };
  field shown = *item;
  for (size_t i = 0; i < sizeof units / sizeof units[0]; ++i) {
    if (strcmp(units[i].key, item->key) == 0) {
      shown.key = units[i].shown;
      shown.number *= units[i].factor;
    }
  }
  return shown;
}

static void table_row(const fields *f, int what) {
  for (int i = 0; i < f->count; ++i) {
    if (!f->items[i].brief) {
      continue;
    }
    const field shown = readable(&f->items[i]);
    const bool whole = shown.text == NULL && !shown.boolean &&
                       shown.number == floor(shown.number) && fabs(shown.number) < 1e15;
    (void)printf("| ");
    if (what == 0) {
      (void)printf("%s", shown.key);
    } else if (what == 1) {
      (void)printf("%s", shown.text != NULL ? ":--" : "--:");
    } else if (whole) {
      (void)printf("%.0f", shown.number);
    } else {
      print_value(&shown, true);
    }
    (void)printf(" ");
  }
  (void)printf("|\n");
}

static void table_record(const bench_report *report, const fields *f) {
  if (!report->begun) {
    table_row(f, 0);
    table_row(f, 1);
  }
  table_row(f, 2);
}

void bench_report_record(const bench_case *c) {
  bench_report *report = c->session->report;
  fields f = {.count = 0};
  char run[NAME_BYTES];
  char name[NAME_BYTES + 8];
  collect(&f, c, run, name);
  switch (report->format) {
    case BENCH_JSON: json_record(report, &f); break;
    case BENCH_CSV: csv_record(report, &f); break;
    case BENCH_MD: table_record(report, &f); break;
  }
  report->begun = true;
  (void)fflush(stdout);
}

/* --- context --- */

static void json_context(cli_json *json, const bench_session *s, const char *date,
                         const char *host) {
  const bench_limits *l = &s->limits;
  cli_json_open(json, "context");
  cli_json_string(json, "date", date);
  cli_json_string(json, "host", host);
  cli_json_string(json, "device", s->device->name);
  cli_json_string(json, "platform", s->device->platform);
  cli_json_string(json, "driver", s->device->driver);
  cli_json_string(json, "clq_version", clq_version());
  cli_json_string(json, "git_revision", CLQ_GIT_REVISION);
  const char *tuned = clq_context_tuning(s->context, NULL);
  cli_json_string(json, "tuning", tuned == NULL ? "" : tuned);
  cli_json_number(json, "threads", l->threads);
  cli_json_open_list(json, "cpu_features");
  for (int i = 0; bench_cpu_feature(i) != NULL; ++i) {
    cli_json_string(json, NULL, bench_cpu_feature(i));
  }
  cli_json_close(json);
  cli_json_number(json, "array_bytes", known(l->array_bytes));
  cli_json_number(json, "read_bytes_per_second", known(l->read));
  cli_json_number(json, "copy_bytes_per_second", known(bench_limits_copy(l)));
  cli_json_number(json, "fp32_flops_per_second", known(l->fp32));
  cli_json_number(json, "int8_ops_per_second", known(l->int8));
  cli_json_close(json);
}

static void say_context(const bench_session *s, const char *date, const char *host) {
  const bench_limits *l = &s->limits;
  (void)fprintf(stderr, "%s on %s, %s %s\nclq %s (%s), %d threads,", date, host, s->device->name,
                s->device->driver, clq_version(), CLQ_GIT_REVISION, l->threads);
  for (int i = 0; bench_cpu_feature(i) != NULL; ++i) {
    (void)fprintf(stderr, " %s", bench_cpu_feature(i));
  }
  (void)fputc('\n', stderr);
  if (cli_interrupted()) {
    return; /* some are not measured */
  }
  if (!s->no_limits) {
    (void)fprintf(stderr,
                  "limits: read %.1f GB/s, copy %.1f GB/s, fp32 %.0f GFLOP/s, int8 %.0f GOP/s\n",
                  1e-9 * l->read, 1e-9 * bench_limits_copy(l), 1e-9 * l->fp32, 1e-9 * l->int8);
  }
  const char *tuned = clq_context_tuning(s->context, NULL);
  if (tuned != NULL) {
    (void)fprintf(stderr, "tuned table: %s\n", tuned);
  }
}

bench_report *bench_report_new(bench_format format) {
  bench_report *report = calloc(1, sizeof *report);
  if (report != NULL) {
    report->format = format;
  }
  return report;
}

void bench_report_begin(bench_session *session) {
  bench_report *report = session->report;
  char date[32] = "";
  char host[256] = "";
  const time_t now = time(NULL);
  struct tm parts;
  if (gmtime_r(&now, &parts) != NULL) {
    (void)strftime(date, sizeof date, "%Y-%m-%dT%H:%M:%SZ", &parts);
  }
  (void)gethostname(host, sizeof host - 1);
  if (report->format == BENCH_JSON) {
    report->json = cli_json_new();
    json_context(&report->json, session, date, host);
    cli_json_open_list(&report->json, "benchmarks");
  } else {
    say_context(session, date, host);
  }
  report->begun = false;
  session->begun = true;
}

int bench_report_end(bench_report *report, int code) {
  if (report == NULL) {
    return code;
  }
  if (report->format == BENCH_JSON && report->json.open[0] != NULL) {
    cli_json_close(&report->json);
    if (code == CLI_DONE) {
      code = cli_json_print(&report->json);
    } else {
      cJSON_Delete(report->json.open[0]);
    }
  }
  free(report);
  return cli_flush(code);
}
