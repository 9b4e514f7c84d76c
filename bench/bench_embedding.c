#include <math.h>
#include <string.h>

#include "bench.h"
#include "cli.h"

typedef struct state {
  clq_embedding_args args;
  int32_t *ids;
  clqi_ref_weights packed; /* or */
  clqi_ref_table tables[CLQ_MOST_TABLES];
  const int32_t *map;
} state;

/* Tables of clq_rows_quantize, by name. "mixed": the 5 % of ids that are asked for most are f16,
 * the next 20 % 8bit, the others 4bit. */
static const struct {
  const char *name;
  clq_row_format formats[3];
  int percent[3];
} kinds[] = {
    {"8bit", {CLQ_ROW_8BIT}, {100}},
    {"4bit", {CLQ_ROW_4BIT}, {100}},
    {"2bit", {CLQ_ROW_2BIT}, {100}},
    {"mixed", {CLQ_ROW_F16, CLQ_ROW_8BIT, CLQ_ROW_4BIT}, {5, 20, 100}},
};
enum { KINDS = sizeof kinds / sizeof kinds[0], NONE = -1 };

static int kind_of(const char *word) {
  for (int i = 0; i < KINDS; ++i) {
    if (strcmp(kinds[i].name, word) == 0) {
      return i;
    }
  }
  return NONE;
}

static bool is_table_word(const char *word) {
  return kind_of(word) != NONE || bench_is_weights_word(word);
}

static const bench_word words[] = {
    {"rows", BENCH_NUMBER, "512", NULL, NULL},
    {"cols", BENCH_NUMBER, "4096", NULL, NULL},
    {"n", BENCH_NUMBER, "32768", NULL, NULL},
    {"weights", BENCH_WORD, "q8_0", NULL, is_table_word},
    {"dtype", BENCH_WORD, "f32", "f32|f16|bf16", NULL},
};

static void quantize(bench_case *c, clq_row_format format, const float *x, int64_t rows,
                     int64_t cols, uint8_t *out) {
  if (x != NULL && out != NULL && rows > 0) {
    (void)bench_ok(c, clq_rows_quantize(&(clq_rows_desc){format, x, rows, cols, NULL}, out));
  }
}

static void prepare_tables(bench_case *c, int kind, int64_t vocabulary, int64_t cols) {
  state *s = c->state;
  int64_t left = vocabulary;
  const float *x = bench_random_floats(c, vocabulary * cols, 3);
  for (int t = 0; t < 3 && kinds[kind].formats[t] != 0; ++t) {
    const clq_row_format format = kinds[kind].formats[t];
    const int64_t part = vocabulary * kinds[kind].percent[t] / 100;
    const int64_t rows = part < left ? part : left;
    const int64_t bytes = clq_row_bytes(format, cols);
    const bool floats = format == CLQ_ROW_F16;
    uint8_t *data = bench_host(c, rows * bytes, 1);
    quantize(c, format, x == NULL ? NULL : x + (vocabulary - left) * cols, rows, cols, data);
    s->tables[t] = (clqi_ref_table){data, format, rows, bytes};
    s->args.tables[t] = (clq_row_table){{bench_buffer(c, data, rows * bytes, 1),
                                         floats ? CLQ_F16 : CLQ_U8,
                                         {rows, floats ? cols : bytes}},
                                        format};
    left -= rows;
  }
}

/* A shuffle: returns which id each position of the tables has. */
static const int32_t *prepare_map(bench_case *c, int64_t vocabulary) {
  state *s = c->state;
  uint64_t seed = 12;
  int32_t *order = bench_host(c, vocabulary, sizeof *order);
  int32_t *map = bench_host(c, vocabulary, sizeof *map);
  for (int64_t i = 0; order != NULL && map != NULL && i < vocabulary; ++i) {
    const int64_t j = (int64_t)(bench_random(&seed) % (uint64_t)(i + 1));
    order[i] = order[j];
    order[j] = (int32_t)i;
  }
  for (int64_t i = 0; order != NULL && map != NULL && i < vocabulary; ++i) {
    map[order[i]] = (int32_t)i;
  }
  s->map = map;
  s->args.map = (clq_tensor){bench_buffer(c, map, vocabulary, sizeof *map), CLQ_I32, {vocabulary}};
  return order;
}

/* The bytes of the rows that are asked for. */
static double table_bytes(const bench_case *c, int64_t rows) {
  const state *s = c->state;
  double bytes = 0.0;
  for (int64_t i = 0; i < rows; ++i) {
    int64_t at = s->map == NULL ? s->ids[i] : s->map[s->ids[i]];
    int t = 0;
    for (; t < CLQ_MOST_TABLES - 1 && at >= s->tables[t].rows; ++t) {
      at -= s->tables[t].rows;
    }
    bytes += (double)s->tables[t].stride + (s->map == NULL ? 0.0 : 4.0);
  }
  return bytes;
}

/* Evenly, or where there is an order by Zipf's law: position r about 1 / (r + 1) as often as 0. */
static void fill_ids(bench_case *c, int64_t rows, int64_t vocabulary, const int32_t *order) {
  state *s = c->state;
  uint64_t seed = 11;
  for (int64_t i = 0; s->ids != NULL && i < rows; ++i) {
    const double u = (double)(bench_random(&seed) & 0xffffff) * 0x1p-24;
    const double skewed = exp(u * log((double)vocabulary + 1.0)) - 1.0;
    const int64_t at = (int64_t)(order == NULL ? u * (double)vocabulary : skewed);
    s->ids[i] = order == NULL ? (int32_t)at : order[at < vocabulary ? at : vocabulary - 1];
  }
}

static void prepare(bench_case *c) {
  state *s = c->state;
  const int64_t rows = bench_number(c, "rows");
  const int64_t cols = bench_number(c, "cols");
  const int64_t vocabulary = bench_number(c, "n");
  const int kind = kind_of(bench_choice(c, "weights"));
  const bool mixed = kind != NONE && kinds[kind].formats[1] != 0;
  if (kind == NONE) {
    s->packed = bench_weights(c, bench_choice(c, "weights"), vocabulary, cols);
    s->args.weights = c->weights;
  } else {
    prepare_tables(c, kind, vocabulary, cols);
  }
  const int32_t *order = mixed ? prepare_map(c, vocabulary) : NULL;
  s->ids = bench_host(c, rows, sizeof *s->ids);
  fill_ids(c, rows, vocabulary, order);
  s->args.ids = (clq_tensor){bench_buffer(c, s->ids, rows, sizeof *s->ids), CLQ_I32, {rows}};
  s->args.out = bench_output(c, bench_choice(c, "dtype"), rows, cols);
  if (c->code == CLI_DONE) {
    c->record.bytes =
        (kind == NONE ? bench_weights_bytes(&s->packed, (double)rows) : table_bytes(c, rows)) +
        4.0 * (double)rows + bench_tensor_bytes(&s->args.out);
    c->record.ops = 2.0 * (double)rows * (double)cols;
  }
  c->args = &s->args;
}

static void reference(bench_case *c, int64_t row, float *out) {
  const state *s = c->state;
  if (s->args.weights != NULL) {
    (void)clqi_ref_embedding(&s->ids[row], 1, &s->packed, out);
  } else {
    (void)clqi_ref_embedding_tables(&s->ids[row], 1, s->tables, s->map, bench_number(c, "n"),
                                    s->args.out.shape[1], out);
  }
}

static void check(bench_case *c) {
  const state *s = c->state;
  bench_check_rows(c, &s->args.out, 4 * s->args.out.shape[1], reference);
}

extern const bench_op bench_op_embedding;
const bench_op bench_op_embedding = {.name = "embedding",
                                     .words = words,
                                     .word_count = sizeof words / sizeof words[0],
                                     .state_bytes = sizeof(state),
                                     .op = CLQ_OP_EMBEDDING,
                                     .prepare = prepare,
                                     .check = check};
