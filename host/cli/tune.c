/* clq tune: fits an operator's tuned values to the device and keeps them as its table. */
#include "cli.h"
#include "json.h"
#include "options.h"

#if CLQ_WITH_BENCH

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "bench.h"
#include "tuner.h"

enum { MOST_CASES = 256 };

/* What gemm's sets serve: products of codes or of floats, and how many rows x has. */
static const char *const set_names[] = {"gemm_q8_few", "gemm_q8_many", "gemm_f32_few",
                                        "gemm_f32_many"};
enum { SETS = sizeof set_names / sizeof *set_names };

typedef struct tune_options {
  cli_ints m, n, k;
  cli_words weights, acts;
  double budget;
  const char *out;
  const char *device;
  bool clblast;
  int format;
} tune_options;

typedef struct tuning {
  bench_session session;
  tuner_set sets[SETS];
  tuner_case *cases[SETS][MOST_CASES];
  const char *file;
  double seconds;
} tuning;

/* --- what is to be tuned for --- */

static const bench_value *lists_at(const tune_options *o, const size_t at[5], bench_value *values) {
  const bench_op *op = bench_find("gemm");
  const int64_t numbers[] = {o->m.items[at[4]], o->n.items[at[2]], o->k.items[at[3]]};
  for (int i = 0; i < op->word_count; ++i) {
    const char *name = op->words[i].name;
    values[i] = (bench_value){0, op->words[i].standard};
    values[i].number = strcmp(name, "m") == 0   ? numbers[0]
                       : strcmp(name, "n") == 0 ? numbers[1]
                       : strcmp(name, "k") == 0 ? numbers[2]
                                                : 0;
    values[i].word = strcmp(name, "weights") == 0 ? o->weights.items[at[0]]
                     : strcmp(name, "acts") == 0  ? o->acts.items[at[1]]
                                                  : values[i].word;
  }
  return values;
}

static int set_of(const clq_gemm_args *a) {
  const clq_format format = clq_weights_format(a->weights);
  const bool float_weights =
      format == CLQ_FORMAT_F32 || format == CLQ_FORMAT_F16 || format == CLQ_FORMAT_BF16;
  const bool codes = (a->x.dtype == CLQ_I8 || a->x.dtype == CLQ_U8) && !float_weights;
  return (codes ? 0 : 2) + (a->x.shape[0] > CLQ_TUNING_FEW_ROWS);
}

static int add_case(tuning *t, const bench_value *values) {
  tuner_case *c = calloc(1, sizeof *c);
  if (c == NULL) {
    return cli_fail_memory();
  }
  c->bench = (bench_case){.session = &t->session, .op = bench_find("gemm"), .calls = 1};
  memcpy(c->bench.values, values, sizeof c->bench.values);
  bench_case_open(&c->bench);
  const int code = c->bench.left_out ? CLI_DONE : c->bench.code;
  tuner_set *set = c->bench.code == CLI_DONE ? &t->sets[set_of(c->bench.args)] : NULL;
  if (set == NULL || set->case_count == MOST_CASES) {
    bench_case_close(&c->bench);
    free(c);
    return code;
  }
  set->cases[set->case_count++] = c;
  return CLI_DONE;
}

static int add_cases(tuning *t, const tune_options *o) {
  const size_t counts[] = {o->weights.count, o->acts.count, o->n.count, o->k.count, o->m.count};
  size_t total = 1;
  for (int i = 0; i < 5; ++i) {
    total *= counts[i];
  }
  t->session.sweeps = total > 1;
  int code = CLI_DONE;
  for (size_t c = 0; c < total && code == CLI_DONE && !cli_interrupted(); ++c) {
    bench_value values[BENCH_MAX_WORDS] = {0};
    size_t at[5];
    size_t rest = c;
    for (int i = 4; i >= 0; --i) {
      at[i] = rest % counts[i];
      rest /= counts[i];
    }
    code = add_case(t, lists_at(o, at, values));
  }
  return code;
}

/* --- report --- */

static void say_set(const tuner_set *set) {
  (void)printf("%s: %lld of %.0f combinations tried on %zu shape%s; ", set->name,
               (long long)set->tried, set->combinations, set->case_count,
               set->case_count == 1 ? "" : "s");
  if (set->ratio < 1.0) {
    (void)printf("%.2f times as fast with\n", 1.0 / set->ratio);
  } else {
    (void)printf("the built-in values stay\n");
  }
  for (int i = 0; i < set->count; ++i) {
    const clq_tuning_value *v = &set->info[i];
    if (set->best.at[i] != 0) {
      (void)printf("  %s %d (built in: %d)\n", strchr(v->name, '.') + 1,
                   (int)v->allowed[set->best.at[i]], (int)v->standard);
    }
  }
  if (tuner_changed_bits(set)) {
    (void)printf("  results may have other bits with these, within the bound of gemm\n");
  }
  for (size_t i = 0; i < set->case_count; ++i) {
    const tuner_case *c = set->cases[i];
    char name[BENCH_NAME_BYTES];
    bench_run_name(&c->bench, name);
    (void)printf("  %s: %.1f us before, %.1f after\n", name, 1e-3 * c->before_ns,
                 1e-3 * c->after_ns);
  }
  (void)fflush(stdout);
}

static void add_set(cli_json *json, const tuner_set *set) {
  cli_json_open(json, NULL);
  cli_json_string(json, "set", set->name);
  cli_json_number(json, "combinations", set->combinations);
  cli_json_number(json, "small", set->small);
  cli_json_number(json, "tried", (double)set->tried);
  cli_json_number(json, "failed", (double)set->failed);
  cli_json_number(json, "wrong", (double)set->wrong);
  cli_json_number(json, "ratio", set->ratio);
  cli_json_bool(json, "other_bits", tuner_changed_bits(set));
  cli_json_open_list(json, "values");
  for (int i = 0; i < set->count; ++i) {
    cli_json_open(json, NULL);
    cli_json_string(json, "name", set->info[i].name);
    cli_json_number(json, "value", set->info[i].allowed[set->best.at[i]]);
    cli_json_number(json, "built_in", set->info[i].standard);
    cli_json_close(json);
  }
  cli_json_close(json);
  cli_json_open_list(json, "shapes");
  for (size_t i = 0; i < set->case_count; ++i) {
    const tuner_case *c = set->cases[i];
    char name[BENCH_NAME_BYTES];
    bench_run_name(&c->bench, name);
    cli_json_open(json, NULL);
    cli_json_string(json, "name", name);
    cli_json_number(json, "before_ns", c->before_ns);
    cli_json_number(json, "after_ns", c->after_ns);
    cli_json_close(json);
  }
  cli_json_close(json);
  cli_json_close(json);
}

static int print_json(const tuning *t, const tune_options *o) {
  cli_json json = cli_json_new();
  cli_json_string(&json, "device", t->session.device->name);
  cli_json_string(&json, "driver", t->session.device->driver);
  cli_json_string(&json, "file", t->file);
  cli_json_number(&json, "budget_s", o->budget);
  cli_json_number(&json, "seconds", t->seconds);
  cli_json_open_list(&json, "sets");
  for (int i = 0; i < SETS; ++i) {
    if (t->sets[i].case_count > 0) {
      add_set(&json, &t->sets[i]);
    }
  }
  cli_json_close(&json);
  return cli_json_print(&json);
}

/* --- */

/* Before anything is measured: is there a place for the table? */
static int check_place(const clq_context *context, const char *out) {
  const char *why = "";
  if (out == NULL) {
    return clq_context_cache_dir(context, &why) != NULL
               ? CLI_DONE
               : cli_fail(
                     "there is nowhere to keep the table: %s; set CLQ_CACHE_DIR to a folder of "
                     "your own, or name a file with --out",
                     why);
  }
  struct stat there;
  if (stat(out, &there) == 0 && S_ISDIR(there.st_mode)) {
    return cli_fail("--out %s is a folder; give a file in it, as %s%stable.clqt", out, out,
                    out[strlen(out) - 1] == '/' ? "" : "/");
  }
  char folder[1024];
  const char *slash = strrchr(out, '/');
  const int length = slash == NULL ? 1 : slash == out ? 1 : (int)(slash - out);
  const int n = snprintf(folder, sizeof folder, "%.*s", length, slash == NULL ? "." : out);
  if (n < 0 || (size_t)n >= sizeof folder || access(folder, W_OK | X_OK) != 0) {
    return cli_fail(
        "no table can be written to %s; give --out a file in a folder that is there and "
        "is yours",
        out);
  }
  return CLI_DONE;
}

/* Whether there is a value that CLBlast is tried by. */
static int check_clblast(const clq_context *context) {
  clq_tuning_value value;
  for (int32_t i = 0; clq_tuning_get(context, i, &value) == CLQ_OK; ++i) {
    if (value.changes_bits != 0 && value.used != 0) {
      return CLI_DONE;
    }
  }
  return cli_fail(
      "there is no CLBlast to try; take a library that was built with its headers "
      "(Debian: libclblast-dev), and install libclblast1");
}

static int open_session(tuning *t, const tune_options *o) {
  if (cli_open_context(o->device, &t->session.context) != CLI_DONE) {
    return CLI_FAILED;
  }
  int code = check_place(t->session.context, o->out);
  if (code == CLI_DONE && o->clblast) {
    code = check_clblast(t->session.context);
  }
  if (code == CLI_DONE &&
      clq_stream_create(t->session.context, NULL, &t->session.stream) != CLQ_OK) {
    return cli_fail_library();
  }
  t->session.device = clq_context_info(t->session.context);
  t->session.limits.on_cpu = strcmp(t->session.device->type, "cpu") == 0;
  return code;
}

static int search(tuning *t, const tune_options *o) {
  int wanted = 0;
  for (int i = 0; i < SETS; ++i) {
    wanted += t->sets[i].case_count > 0;
  }
  if (wanted == 0 && !cli_interrupted()) {
    return cli_fail("none of the combinations is offered; take one that 'clq bench --help' names");
  }
  int code = CLI_DONE;
  for (int i = 0; i < SETS && code == CLI_DONE && !cli_interrupted(); ++i) {
    tuner_set *set = &t->sets[i];
    if (set->case_count > 0 && tuner_open(set, t->session.context, o->clblast)) {
      code = tuner_search(set, &t->session, o->budget / wanted);
      if (code == CLI_DONE && !cli_interrupted() && o->format == 0) {
        say_set(set);
      }
    }
  }
  return code;
}

static int keep(tuning *t, const tune_options *o) {
  if (clq_tuning_save(t->session.context, o->out) != CLQ_OK) {
    return cli_fail_library();
  }
  t->file = clq_context_tuning(t->session.context, NULL);
  const char *named = getenv("CLQ_TUNING");
  if (named != NULL && named[0] != '\0' && strcmp(named, t->file) != 0) {
    (void)fprintf(stderr, "clq: note: CLQ_TUNING is %s: commands go by that, not by %s\n", named,
                  t->file);
  }
  if (o->format == 0) {
    (void)printf("written: %s\n", t->file);
  }
  return CLI_DONE;
}

static int run(tuning *t, const tune_options *o) {
  int code = open_session(t, o);
  const double began = cli_seconds();
  if (code == CLI_DONE) {
    code = add_cases(t, o);
  }
  if (code == CLI_DONE) {
    code = search(t, o);
  }
  t->seconds = cli_seconds() - began;
  if (code == CLI_DONE && cli_interrupted()) {
    (void)fprintf(stderr, "clq: interrupted; the tuned table is as it was\n");
    return CLI_CANCELLED;
  }
  if (code == CLI_DONE) {
    code = keep(t, o);
  }
  return code == CLI_DONE && o->format == 1 ? print_json(t, o) : code;
}

static void close_all(tuning *t) {
  for (int i = 0; i < SETS; ++i) {
    tuner_close(&t->sets[i]);
    for (size_t c = 0; c < t->sets[i].case_count; ++c) {
      bench_case_close(&t->sets[i].cases[c]->bench);
      free(t->sets[i].cases[c]);
    }
  }
  bench_close(&t->session);
}

/* Lists that are not given; all are the caller's to free. */
static bool fill_lists(tune_options *o) {
  static const char *const weights[] = {"w4g32"};
  static const char *const acts[] = {"q8g32", "f32"};
  struct {
    cli_ints *list;
    const char *standard;
  } numbers[] = {{&o->m, "1,8,128"}, {&o->n, "4096"}, {&o->k, "4096"}};
  for (size_t i = 0; i < sizeof numbers / sizeof *numbers; ++i) {
    if (numbers[i].list->count == 0 &&
        !cli_parse_ints(numbers[i].standard, 1, 1 << 30, numbers[i].list)) {
      return false;
    }
  }
  struct {
    cli_words *list;
    const char *const *standard;
    size_t count;
  } words[] = {{&o->weights, weights, 1}, {&o->acts, acts, 2}};
  for (size_t i = 0; i < sizeof words / sizeof *words; ++i) {
    if (words[i].list->count == 0) {
      words[i].list->items = malloc(words[i].count * sizeof *words[i].list->items);
      if (words[i].list->items == NULL) {
        return false;
      }
      memcpy(words[i].list->items, words[i].standard, words[i].count * sizeof *words[i].standard);
      words[i].list->count = words[i].count;
    }
  }
  return true;
}

static int check_words(const tune_options *o, const cli_words *words, const cli_usage *usage) {
  if (words->count > 1) {
    return cli_misuse(usage, "one operator at a time, not '%s' as well", words->items[1]);
  }
  if (words->count == 1 && strcmp(words->items[0], "gemm") != 0) {
    return cli_misuse(usage, "'%s' cannot be tuned, expected gemm", words->items[0]);
  }
  for (size_t i = 0; i < o->weights.count; ++i) {
    if (!bench_is_weights_word(o->weights.items[i])) {
      return cli_misuse(usage, "--weights is '%s', which is no such type", o->weights.items[i]);
    }
  }
  for (size_t i = 0; i < o->acts.count; ++i) {
    if (!bench_is_acts_word(o->acts.items[i])) {
      return cli_misuse(usage, "--acts is '%s', which is no such type", o->acts.items[i]);
    }
  }
  const size_t total = o->m.count * o->n.count * o->k.count * o->weights.count * o->acts.count;
  return total <= MOST_CASES ? CLI_DONE
                             : cli_misuse(usage,
                                          "there are %zu combinations of shapes, at most %d "
                                          "are taken",
                                          total, MOST_CASES);
}

int cli_tune(int argc, char **argv) {
  tune_options o = {.budget = 60.0};
  const double most = 1 << 30;
  const cli_option options[] = {
      {"m", 0, CLI_INTS, "N,...", "rows of x (1,8,128)", &o.m, .low = 1, .high = most},
      {"n", 0, CLI_INTS, "N,...", "rows of the weights (4096)", &o.n, .low = 1, .high = most},
      {"k", 0, CLI_INTS, "N,...", "columns of x and of the weights (4096)", &o.k, .low = 1,
       .high = most},
      {"weights", 0, CLI_WORDS, "TYPE,...", "types of the weights (w4g32)", &o.weights},
      {"acts", 0, CLI_WORDS, "TYPE,...", "types of x (q8g32,f32)", &o.acts},
      {"budget", 0, CLI_FLOAT, "SECONDS", "how long to search, set-up not included (60)", &o.budget,
       .low = 0.1, .high = 1e6},
      {"clblast", 0, CLI_FLAG, NULL,
       "try CLBlast too, for x of floats and more than 16 rows: results then have other bits, "
       "within\n"
       "the bound of gemm",
       &o.clblast},
      {"out", 0, CLI_TEXT, "FILE", "write the table there, for CLQ_TUNING", &o.out},
      {"device", 0, CLI_TEXT, "DEVICE", "index or part of a name, as `clq devices` shows it",
       &o.device},
      {"output", 'o', CLI_CHOICE, "text|json", "how to print what was found", &o.format},
  };
  const cli_usage usage = {"tune", "[gemm] [option]...",
                           "Measures what values of tile sizes and thresholds serve the device "
                           "best, on the shapes given,\n"
                           "and keeps them as its table, which all commands and programs then go "
                           "by. Each candidate must\n"
                           "give the bits of the built-in values, which are checked against the "
                           "reference; only with --clblast\nmay some keep to gemm's bound instead. "
                           "SIGINT leaves the table as it was.",
                           CLI_OPTIONS(options)};
  int code = CLI_DONE;
  cli_words words = {0};
  tuning *t = NULL;
  if (cli_parse(&usage, argc, argv, &words, &code)) {
    t = calloc(1, sizeof *t);
    code = t != NULL && fill_lists(&o) ? check_words(&o, &words, &usage) : cli_fail_memory();
    if (t != NULL && code == CLI_DONE) {
      for (int i = 0; i < SETS; ++i) {
        t->sets[i] = (tuner_set){.name = set_names[i], .cases = t->cases[i], .ratio = 1.0};
      }
      cli_catch_signals();
      code = run(t, &o);
      close_all(t);
    }
  }
  free(t);
  free(o.m.items);
  free(o.n.items);
  free(o.k.items);
  free(o.weights.items);
  free(o.acts.items);
  free(words.items);
  return code;
}

#endif
