/* clq bench: which operator, which shapes, on what device. The measuring itself
 * stands in bench/. */
#include "cli.h"

#if CLQ_WITH_BENCH

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench.h"
#include "options.h"

/* Every shape word of every operator: an option with a list of values. */
typedef struct shape_word {
  const char *name;
  bench_kind kind;
  const char *help;
} shape_word;

static const shape_word shape_words[] = {
    {"m", BENCH_NUMBER, "gemm: rows of the activations"},
    {"n", BENCH_NUMBER, "gemm: rows of the weights; embedding: size of the vocabulary"},
    {"k", BENCH_NUMBER, "gemm: what is summed over"},
    {"weights", BENCH_WORD,
     "gemm, embedding: f32, f16, bf16, q4_0, q4_1, q5_0, q5_1, q8_0, q2_k, q3_k,\nq4_k, q5_k, "
     "q6_k, "
     "iq4_nl, mxfp4; w8, w4, w3, w2, w8g32, w4g64, ... with a\nscale per row or group; w4z, "
     "w4g32z, ... "
     "with "
     "zero points.\nembedding also: 8bit, 4bit, 2bit (FBGEMM's rows); mixed: f16, 8bit and "
     "4bit\nby "
     "frequency"},
    {"acts", BENCH_WORD,
     "gemm: f32, f16, bf16; q8: int8 with a scale per token; q8g32: per group;\nq8a, q8ag32: with "
     "zero points. dequantize: q8, "
     "q8g32, "
     "..."},
    {"rows", BENCH_NUMBER,
     "norms, softmax, sample, elementwise, rope, embedding, pool (of all sequences)"},
    {"cols", BENCH_NUMBER, "elements of a row"},
    {"dtype", BENCH_WORD,
     "of the floats: f32, f16, bf16; add: f32, f16, bf16, q8;\nembedding: f32, f16, bf16; of the "
     "input of "
     "softmax: f32, f16, bf16, q8; of integer_norm: i8, u8, i32;\ninteger_gelu: i8, i32"},
    {"out", BENCH_WORD,
     "norms, activate, add: f32, f16, bf16, q8, q8g32, ...; quantize: q8, q8g32, ...\ngemm: f32, "
     "f16, "
     "q8; "
     "softmax: f32, f16, bf16, u8; integer_norm: i8, u8;\npool: f32, f16, bf16; "
     "lookup: i8, f32, f16, bf16"},
    {"norm", BENCH_WORD, "integer_norm: layer, rms"},
    {"exponents", BENCH_FLAG, "integer_norm: with a power-of-two factor for each channel"},
    {"activation", BENCH_WORD, "activate, lookup: relu, gelu, gelu_tanh, silu"},
    {"mode", BENCH_WORD, "integer_add: saturate, gemmlowp, single"},
    {"gated", BENCH_FLAG, "activate: times a second input (SwiGLU, GeGLU)"},
    {"pooling", BENCH_WORD, "pool: mean, first, last"},
    {"normalize", BENCH_FLAG, "pool: to length 1"},
    {"residual", BENCH_FLAG, "norms: add a residual first and write the sum back"},
    {"lut", BENCH_WORD,
     "softmax of q8: how exponentials are made, two-level (default), f32, q30,\nu16, "
     "u16-two-level, ibert, ivit"},
    {"draw", BENCH_WORD,
     "sample: greedy, all, top-k (40), top-p (0.9), filtered (top-k, top-p, min-p)"},
    {"batch", BENCH_NUMBER, "attention, pool: sequences"},
    {"heads", BENCH_NUMBER, "attention, rope: query heads"},
    {"kv-heads", BENCH_NUMBER, "attention, rope: heads of the KV cache"},
    {"head-dim", BENCH_NUMBER, "attention, rope: elements of a head, a multiple of 16 up to 256"},
    {"queries", BENCH_NUMBER, "attention: rows at the end of each sequence"},
    {"keys", BENCH_NUMBER, "attention: length of the sequence"},
    {"kv", BENCH_WORD, "attention, rope: type of the KV cache, f32, f16, q8, q4"},
    {"window", BENCH_NUMBER,
     "attention: keys that a row sees at most to either side, itself among them"},
    {"bidirectional", BENCH_FLAG, "attention: rows see keys behind them too"},
    {"nodes", BENCH_NUMBER, "plan: nodes of the graph"},
};
enum { WORDS = sizeof shape_words / sizeof shape_words[0], OWN_OPTIONS = 7 };

typedef struct bench_options {
  cli_ints numbers[WORDS];
  cli_words words[WORDS];
  bool flags[WORDS];
  bool given[WORDS];
  const char *device;
  const char *peer;
  bool cold;
  bool no_limits;
  int64_t repetitions;
  double max_error;
  int format;
} bench_options;

static void declare(bench_options *o, cli_option options[WORDS + OWN_OPTIONS]) {
  for (int i = 0; i < WORDS; ++i) {
    const shape_word *w = &shape_words[i];
    options[i] = (cli_option){.name = w->name, .help = w->help, .given = &o->given[i]};
    switch (w->kind) {
      case BENCH_NUMBER:
        options[i].kind = CLI_INTS;
        options[i].value = "N,...";
        options[i].target = &o->numbers[i];
        options[i].low = 1;
        options[i].high = 1 << 30;
        break;
      case BENCH_WORD:
        options[i].kind = CLI_WORDS;
        options[i].value = "TYPE,...";
        options[i].target = &o->words[i];
        break;
      case BENCH_FLAG:
        options[i].kind = CLI_FLAG;
        options[i].target = &o->flags[i];
        break;
    }
  }
  const cli_option own[OWN_OPTIONS] = {
      {"cold", 0, CLI_FLAG, NULL, "empty the caches before every call", &o->cold},
      {"no-limits", 0, CLI_FLAG, NULL,
       "do not measure first what the machine can do, which takes seconds", &o->no_limits},
      {"reps", 0, CLI_INT, "N", "repetitions, of which the median counts (7)", &o->repetitions,
       .low = 1, .high = 100000},
      {"max-error", 0, CLI_FLOAT, "E",
       "for kernels of your own (CLQ_KERNEL_DIR): differences from the reference up to E are right",
       &o->max_error, .high = 1e9},
      {"peer", 0, CLI_TEXT, "NAME",
       "measure somebody else in turns with ours; gemm: clblast; norms: unfused", &o->peer},
      {"device", 0, CLI_TEXT, "DEVICE", "index or part of a name, as `clq devices` shows it",
       &o->device},
      {"output", 'o', CLI_CHOICE, "md|csv|json", "how to print the records (md)", &o->format},
  };
  memcpy(options + WORDS, own, sizeof own);
}

/* --- the words of one operator --- */

static int shape_index(const char *name) {
  for (int i = 0; i < WORDS; ++i) {
    if (strcmp(shape_words[i].name, name) == 0) {
      return i;
    }
  }
  return -1;
}

static bool takes(const bench_op *op, const char *name) {
  for (int i = 0; i < op->word_count; ++i) {
    if (strcmp(op->words[i].name, name) == 0) {
      return true;
    }
  }
  return false;
}

static bool is_good(const bench_word *word, const char *value) {
  return word->offered != NULL ? cli_choice(word->offered, value) >= 0 : word->accepts(value);
}

static int check_words(const bench_op *op, const bench_options *o, const cli_usage *usage) {
  if (o->cold && op->run != NULL) {
    return cli_misuse(usage, "%s takes no --cold", op->name);
  }
  if (o->no_limits && op == bench_find("limits")) {
    return cli_misuse(usage, "limits takes no --no-limits");
  }
  for (int i = 0; i < WORDS; ++i) {
    if (o->given[i] && !takes(op, shape_words[i].name)) {
      return cli_misuse(usage, "%s takes no --%s", op->name, shape_words[i].name);
    }
    if (o->given[i] && shape_words[i].kind == BENCH_NUMBER && o->numbers[i].count == 0) {
      return cli_misuse(usage, "--%s is empty", shape_words[i].name);
    }
  }
  for (int i = 0; i < op->word_count; ++i) {
    const bench_word *word = &op->words[i];
    const cli_words *list = &o->words[shape_index(word->name)];
    for (size_t v = 0; v < list->count; ++v) {
      if (!is_good(word, list->items[v])) {
        return word->offered != NULL ? cli_misuse(usage, "--%s is '%s', expected one of %s",
                                                  word->name, list->items[v], word->offered)
                                     : cli_misuse(usage, "--%s is '%s', which is no such type",
                                                  word->name, list->items[v]);
      }
    }
  }
  return CLI_DONE;
}

/* --- the sweep: the last word of the operator changes fastest --- */

static size_t choices(const bench_options *o, const bench_word *word) {
  const int i = shape_index(word->name);
  const size_t count = word->kind == BENCH_NUMBER ? o->numbers[i].count : o->words[i].count;
  return count == 0 ? 1 : count;
}

static bench_value value_at(const bench_options *o, const bench_word *word, size_t choice) {
  const int i = shape_index(word->name);
  bench_value value = {0, word->standard};
  switch (word->kind) {
    case BENCH_NUMBER:
      value.number = o->numbers[i].count == 0 ? strtoll(word->standard, NULL, 10)
                                              : o->numbers[i].items[choice];
      break;
    case BENCH_WORD:
      value.word = o->words[i].count == 0 ? word->standard : o->words[i].items[choice];
      break;
    case BENCH_FLAG: value.number = o->flags[i]; break;
  }
  return value;
}

static int sweep(bench_session *session, const bench_op *op, const bench_options *o) {
  size_t total = 1;
  for (int i = 0; i < op->word_count; ++i) {
    total *= choices(o, &op->words[i]);
  }
  session->sweeps = total > 1;
  int code = CLI_DONE;
  for (size_t at = 0; at < total && code == CLI_DONE && !cli_interrupted(); ++at) {
    bench_value values[BENCH_MAX_WORDS] = {0};
    size_t rest = at;
    for (int i = op->word_count - 1; i >= 0; --i) {
      const size_t count = choices(o, &op->words[i]);
      values[i] = value_at(o, &op->words[i], rest % count);
      rest /= count;
    }
    code = bench_run(session, op, values);
  }
  return code == CLI_DONE && session->left_out == total
             ? cli_fail(
                   "none of the %zu combinations is offered; take one that 'clq bench --help' "
                   "names",
                   total)
             : code;
}

static int run(const bench_op *op, const bench_options *o) {
  bench_session session = {.repetitions = o->repetitions,
                           .max_error = o->max_error,
                           .cold = o->cold,
                           .no_limits = o->no_limits,
                           .peer = o->peer == NULL ? NULL : op->peer};
  session.report = bench_report_new((bench_format)o->format);
  int code = session.report == NULL ? cli_fail_memory() : bench_open(&session, o->device);
  if (code == CLI_DONE) {
    code = sweep(&session, op, o);
  }
  if (code == CLI_DONE && !session.begun) {
    bench_report_begin(&session); /* interrupted before the first case */
  }
  code = bench_report_end(session.report, code);
  bench_close(&session);
  return code;
}

/* --- the peer --- */

/* "clblast for gemm", and so on. */
static void list_peers(char *list, size_t size) {
  size_t at = 0;
  list[0] = '\0';
  for (size_t i = 0; bench_at(i) != NULL; ++i) {
    const bench_op *op = bench_at(i);
    if (op->peer != NULL && at < size) {
      at += (size_t)snprintf(list + at, size - at, "%s%s for %s", at == 0 ? "" : ", ",
                             op->peer->name, op->name);
    }
  }
}

static int open_peer(const bench_op *op, const char *name, const cli_usage *usage) {
  if (name == NULL) {
    return CLI_DONE;
  }
  if (op->peer == NULL || strcmp(op->peer->name, name) != 0) {
    char list[256];
    list_peers(list, sizeof list);
    return cli_misuse(usage, "%s has no peer '%s'; there is %s, and scripts in bench/peers",
                      op->name, name, list);
  }
  const char *why_not = op->peer->open();
  return why_not == NULL ? CLI_DONE
                         : cli_fail("%s cannot be measured: %s", op->peer->version(), why_not);
}

/* --- */

static const char *op_name(const void *list, size_t i) {
  (void)list;
  return bench_at(i) == NULL ? NULL : bench_at(i)->name;
}

/* "add, gemm, ..." */
static void list_ops(char *list, size_t size) {
  size_t at = 0;
  for (size_t i = 0; bench_at(i) != NULL && at < size; ++i) {
    at += (size_t)snprintf(list + at, size - at, "%s%s", at == 0 ? "" : ", ", op_name(NULL, i));
  }
}

static const bench_op *find_op(const cli_words *words, const cli_usage *usage, int *code) {
  char list[512] = "";
  list_ops(list, sizeof list);
  if (words->count != 1) {
    *code = words->count == 0
                ? cli_misuse(usage, "name an operator: %s", list)
                : cli_misuse(usage, "one operator at a time, not '%s' as well", words->items[1]);
    return NULL;
  }
  const bench_op *op = bench_find(words->items[0]);
  if (op == NULL) {
    const char *nearest = cli_nearest(words->items[0], op_name, NULL);
    *code = nearest == NULL ? cli_misuse(usage, "unknown operator '%s', expected one of %s",
                                         words->items[0], list)
                            : cli_misuse(usage, "unknown operator '%s', did you mean '%s'",
                                         words->items[0], nearest);
  }
  return op;
}

int cli_bench(int argc, char **argv) {
  bench_options o = {.repetitions = 7};
  cli_option options[WORDS + OWN_OPTIONS];
  declare(&o, options);
  const cli_usage usage = {
      "bench", "OP [shape word]... [option]...",
      "Measures an operator, checks its answer against the reference in the same run, and prints\n"
      "one record for every combination of the lists. OP: layernorm rmsnorm quantize dequantize "
      "gemm rope\n"
      "attention softmax sample activate embedding add integer_norm integer_add integer_gelu "
      "lookup pool; "
      "plan (planning and "
      "scheduling); "
      "limits\n"
      "(what the machine itself can do). A combination that is not offered is left out of a sweep, "
      "with the\n"
      "reason on stderr. Medians; times in ns in JSON and CSV. SIGINT ends it with "
      "what was\n"
      "produced.",
      CLI_OPTIONS(options)};
  int code = CLI_DONE;
  cli_words words = {0};
  if (cli_parse(&usage, argc, argv, &words, &code)) {
    const bench_op *op = find_op(&words, &usage, &code);
    if (op != NULL) {
      code = check_words(op, &o, &usage);
    }
    if (code == CLI_DONE) {
      code = open_peer(op, o.peer, &usage);
    }
    if (code == CLI_DONE) {
      cli_catch_signals();
      code = run(op, &o);
    }
  }
  for (int i = 0; i < WORDS; ++i) {
    free(o.numbers[i].items);
    free(o.words[i].items);
  }
  free(words.items);
  return code;
}

#endif
