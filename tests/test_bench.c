/* clq bench, run as a program on small shapes: the records' keys, order and contents. That answers
 * are checked is the bench's own doing: a wrong one ends it with code 1. */
#include <cjson/cJSON.h>
#include <criterion/criterion.h>
#include <math.h>
#include <signal.h>
#include <string.h>
#include <time.h>

#include "command.h"
#include "ops/table.h"

enum { MOST_WORDS = 24 };

#define bench(...) run((const char *const[MOST_WORDS]){CLQ_TEST_CLI, "bench", __VA_ARGS__, NULL})
/* Without the machine's limits, which take longer than all cases here. */
#define bench_at_once(...) bench(__VA_ARGS__, "--no-limits")

static command_result run(const char *const *argv) { return command_run(argv, NULL, NULL); }

static void expect_refusal(command_result result, int code, const char *part) {
  cr_assert_eq(result.code, code, "%d: %s", result.code, result.err);
  cr_assert_str_empty(result.out);
  cr_assert_not_null(strstr(result.err, part), "'%s' is not in: %s", part, result.err);
  cr_assert_null(strstr(result.err, "limits: "), "measured before it was refused: %s", result.err);
  command_free(&result);
}

static cJSON *expect_json(command_result result) {
  cr_assert_eq(result.code, 0, "%s", result.err);
  cJSON *json = cJSON_Parse(result.out);
  cr_assert(cJSON_IsObject(json), "%s", result.out);
  command_free(&result);
  return json;
}

static const cJSON *item(const cJSON *json, const char *key) {
  const cJSON *found = cJSON_GetObjectItemCaseSensitive(json, key);
  cr_assert_not_null(found, "%s", key);
  return found;
}

static double number(const cJSON *json, const char *key) {
  cr_assert(cJSON_IsNumber(item(json, key)), "%s", key);
  return item(json, key)->valuedouble;
}

static const char *text(const cJSON *json, const char *key) {
  cr_assert(cJSON_IsString(item(json, key)), "%s", key);
  return item(json, key)->valuestring;
}

static int keys(const cJSON *record) {
  int count = 0;
  for (const cJSON *at = record->child; at != NULL; at = at->next) {
    cr_assert(cJSON_GetObjectItemCaseSensitive(record, at->string) == at, "'%s' is there twice",
              at->string);
    ++count;
  }
  return count;
}

/* What every record of an operator has. */
static void check_record(const cJSON *r, const char *op, const char *cache) {
  const size_t length = strlen(op);
  cr_assert_eq(strncmp(text(r, "name"), op, length), 0);
  cr_assert_eq(strncmp(text(r, "run_name"), op, length), 0);
  cr_assert_str_eq(text(r, "aggregate_name"), "median");
  cr_assert_str_eq(text(r, "time_unit"), "ns");
  cr_assert_str_eq(text(r, "cache"), cache);
  cr_assert_eq(strncmp(text(r, "variant"), op, length), 0, "%s", text(r, "variant"));
  cr_assert(cJSON_IsTrue(item(r, "checked")));
  cr_assert_geq(number(r, "max_error"), 0.0);
  cr_assert_gt(number(r, "device_time"), 0.0);
  cr_assert_gt(number(r, "min_time"), 0.0);
  cr_assert_geq(number(r, "real_time"), number(r, "min_time"));
  cr_assert_gt(number(r, "bytes"), 0.0);
  cr_assert_gt(number(r, "ops"), 0.0);
  cr_assert_float_eq(number(r, "bytes_per_second"),
                     1e9 * number(r, "bytes") / number(r, "real_time"),
                     1e-6 * number(r, "bytes_per_second"));
  cr_assert_float_eq(number(r, "ops_per_second"), 1e9 * number(r, "ops") / number(r, "real_time"),
                     1e-6 * number(r, "ops_per_second"));
  (void)item(r, "tile");
  cr_assert_gt(keys(r), 20);
}

/* limits: whether they were measured. */
static void check_context(const cJSON *json, bool limits) {
  const cJSON *c = item(json, "context");
  const char *const texts[] = {"date", "host", "device", "driver", "clq_version", "git_revision"};
  const char *const measured[] = {"array_bytes", "read_bytes_per_second", "copy_bytes_per_second",
                                  "fp32_flops_per_second", "int8_ops_per_second"};
  cr_assert_eq(number(json, "schema_version"), 1.0);
  for (size_t i = 0; i < sizeof texts / sizeof texts[0]; ++i) {
    cr_assert_str_not_empty(text(c, texts[i]), "%s", texts[i]);
  }
  cr_assert_gt(number(c, "threads"), 0.0);
  for (size_t i = 0; i < sizeof measured / sizeof measured[0]; ++i) {
    cr_assert(limits ? number(c, measured[i]) > 0.0 : cJSON_IsNull(item(c, measured[i])), "%s",
              measured[i]);
  }
  cr_assert(cJSON_IsArray(item(c, "cpu_features")));
}

static void check_single(command_result result, const char *op) {
  cJSON *json = expect_json(result);
  check_context(json, false);
  cr_assert_eq(cJSON_GetArraySize(item(json, "benchmarks")), 1);
  check_record(cJSON_GetArrayItem(item(json, "benchmarks"), 0), op, "warm");
  cJSON_Delete(json);
}

Test(bench, row_operators) {
  check_single(bench_at_once("layernorm", "--rows", "3", "--cols", "130", "--dtype", "bf16",
                             "--out", "bf16", "--residual", "--reps", "2", "-o", "json"),
               "layernorm");
  check_single(bench_at_once("rmsnorm", "--rows", "3", "--cols", "70", "--reps", "2", "-o", "json"),
               "rmsnorm");
  check_single(bench_at_once("rmsnorm", "--rows", "33", "--cols", "64", "--dtype", "f16",
                             "--residual", "--out", "q8g32", "--reps", "2", "-o", "json"),
               "rmsnorm");
  check_single(
      bench_at_once("quantize", "--rows", "5", "--cols", "64", "--reps", "2", "-o", "json"),
      "quantize");
  check_single(bench_at_once("dequantize", "--rows", "5", "--cols", "64", "--reps", "2", "--dtype",
                             "f16", "--acts", "q8g32", "-o", "json"),
               "dequantize");
  check_single(bench_at_once("activate", "--rows", "5", "--cols", "64", "--reps", "2", "--out",
                             "q8", "-o", "json"),
               "activate");
  check_single(bench_at_once("activate", "--rows", "5", "--cols", "64", "--reps", "2",
                             "--activation", "gelu", "--gated", "--dtype", "f16", "-o", "json"),
               "activate");
  check_single(bench_at_once("add", "--rows", "5", "--cols", "64", "--reps", "2", "-o", "json"),
               "add");
  check_single(bench_at_once("embedding", "--rows", "5", "--cols", "64", "--n", "90", "--weights",
                             "q4_1", "--reps", "2", "-o", "json"),
               "embedding");
  check_single(bench_at_once("softmax", "--rows", "5", "--cols", "64", "--reps", "2", "-o", "json"),
               "softmax");
  check_single(bench_at_once("softmax", "--rows", "5", "--cols", "64", "--dtype", "q8", "--out",
                             "u8", "--reps", "2", "-o", "json"),
               "softmax");
  check_single(bench_at_once("sample", "--rows", "5", "--cols", "900", "--draw", "filtered",
                             "--reps", "2", "-o", "json"),
               "sample");
  check_single(
      bench_at_once("integer_norm", "--rows", "3", "--cols", "70", "--reps", "2", "-o", "json"),
      "integer_norm");
  check_single(bench_at_once("integer_add", "--rows", "3", "--cols", "70", "--mode", "gemmlowp",
                             "--reps", "2", "-o", "json"),
               "integer_add");
  check_single(bench_at_once("integer_gelu", "--rows", "3", "--cols", "70", "--dtype", "i32",
                             "--reps", "2", "-o", "json"),
               "integer_gelu");
  check_single(bench_at_once("lookup", "--rows", "3", "--cols", "70", "--reps", "2", "-o", "json"),
               "lookup");
  check_single(
      bench_at_once("integer_norm", "--rows", "3", "--cols", "70", "--dtype", "i32", "--out", "u8",
                    "--norm", "rms", "--exponents", "--reps", "2", "-o", "json"),
      "integer_norm");
}

Test(bench, products_and_attention) {
  check_single(bench_at_once("gemm", "--m", "3", "--n", "40", "--k", "64", "--weights", "w4g32z",
                             "--acts", "q8g32", "--reps", "2", "-o", "json"),
               "gemm");
  check_single(bench_at_once("gemm", "--m", "3", "--n", "40", "--k", "64", "--weights", "f16",
                             "--acts", "f32", "--reps", "2", "-o", "json"),
               "gemm");
  check_single(bench_at_once("rope", "--rows", "5", "--heads", "4", "--kv-heads", "2", "--head-dim",
                             "32", "--reps", "2", "-o", "json"),
               "rope");
  check_single(
      bench_at_once("attention", "--batch", "2", "--heads", "4", "--kv-heads", "2", "--head-dim",
                    "32", "--queries", "3", "--keys", "37", "--reps", "2", "-o", "json"),
      "attention");
}

/* int8 is made by a second launch, and both are named. */
Test(bench, types_of_a_product) {
  check_single(bench_at_once("gemm", "--m", "5", "--n", "40", "--k", "64", "--weights", "q4_1",
                             "--out", "f16", "--reps", "2", "-o", "json"),
               "gemm");
  cJSON *json = expect_json(bench_at_once("gemm", "--m", "5", "--n", "40", "--k", "64", "--weights",
                                          "w4g32", "--out", "f32,q8", "--reps", "2", "-o", "json"));
  const cJSON *floats = cJSON_GetArrayItem(item(json, "benchmarks"), 0);
  const cJSON *codes = cJSON_GetArrayItem(item(json, "benchmarks"), 1);
  check_record(floats, "gemm", "warm");
  check_record(codes, "gemm", "warm");
  cr_assert_null(strstr(text(floats, "variant"), "quantize"));
  cr_assert_not_null(strstr(text(codes, "variant"), " + quantize_"), "%s", text(codes, "variant"));
  /* f32 read, codes, a scale and a sum for each row written */
  cr_assert_eq(number(codes, "bytes") - number(floats, "bytes"), 5.0 * (40 * 5 + 8));
  cJSON_Delete(json);
}

/* Ours and the peer's, with the ratio of their times in ours. */
Test(bench, peer) {
  command_result r =
      bench_at_once("gemm", "--m", "1,5", "--n", "40", "--k", "64", "--weights", "f32", "--acts",
                    "f32", "--peer", "clblast", "--reps", "2", "-o", "json");
  if (r.code == 1 && strstr(r.err, "CLBlast") != NULL) {
    expect_refusal(r, 1, "cannot be measured");
    cr_skip_test("there is no CLBlast");
  }
  cJSON *json = expect_json(r);
  const cJSON *list = item(json, "benchmarks");
  cr_assert_eq(cJSON_GetArraySize(list), 4);
  for (int i = 0; i < 4; i += 2) {
    const cJSON *ours = cJSON_GetArrayItem(list, i);
    const cJSON *theirs = cJSON_GetArrayItem(list, i + 1);
    check_record(ours, "gemm", "warm");
    cr_assert(cJSON_IsNull(item(ours, "peer")));
    cr_assert(cJSON_IsNull(item(theirs, "ratio")));
    cr_assert_eq(strncmp(text(theirs, "peer"), "CLBlast 1.", 10), 0);
    cr_assert_not_null(strstr(text(theirs, "name"), "/peer:clblast_median"));
    cr_assert_str_eq(text(theirs, "variant"), i == 0 ? "CLBlastSgemv" : "CLBlastSgemm");
    cr_assert(cJSON_IsTrue(item(theirs, "checked")));
    cr_assert_float_eq(number(ours, "ratio") * number(ours, "real_time"),
                       number(theirs, "real_time"), 1e-6 * number(theirs, "real_time"));
    cr_assert_eq(keys(ours), keys(theirs));
  }
  cJSON_Delete(json);
  expect_refusal(bench("gemm", "--n", "8", "--k", "32", "--peer", "clblast", "-o", "json"), 1,
                 "CLBlast multiplies floats only");
}

/* The norms' own kernels one by one: all of their launches named, their own bytes counted. */
Test(bench, unfused) {
  cJSON *json = expect_json(bench_at_once("rmsnorm", "--rows", "5", "--cols", "70", "--dtype",
                                          "f32,f16", "--residual", "--out", "q8,f32", "--peer",
                                          "unfused", "--reps", "2", "-o", "json"));
  const cJSON *list = item(json, "benchmarks");
  cr_assert_eq(cJSON_GetArraySize(list), 8);
  for (int i = 0; i < 8; i += 2) {
    const cJSON *ours = cJSON_GetArrayItem(list, i);
    const cJSON *theirs = cJSON_GetArrayItem(list, i + 1);
    const double size = i < 4 ? 4.0 : 2.0;
    check_record(ours, "rmsnorm", "warm");
    cr_assert_str_eq(text(theirs, "peer"), "CLQuant unfused");
    cr_assert(cJSON_IsTrue(item(theirs, "checked")));
    cr_assert_gt(number(theirs, "device_time"), 0.0);
    cr_assert_eq(strncmp(text(theirs, "variant"), "add_", 4), 0, "%s", text(theirs, "variant"));
    cr_assert_float_eq(number(ours, "ratio") * number(ours, "real_time"),
                       number(theirs, "real_time"), 1e-6 * number(theirs, "real_time"));
    const bool codes = strcmp(text(theirs, "out"), "q8") == 0;
    cr_assert_eq(strstr(text(theirs, "variant"), "quantize_") != NULL, codes);
    /* The sum read again; for codes y as well, written and read. */
    cr_assert_eq(number(theirs, "bytes") - number(ours, "bytes"),
                 5.0 * 70 * size * (codes ? 3.0 : 1.0));
  }
  cJSON_Delete(json);
  json = expect_json(bench_at_once("layernorm", "--rows", "5", "--cols", "70", "--out", "q8g32",
                                   "--peer", "unfused", "--cold", "--reps", "1", "-o", "json"));
  const cJSON *theirs = cJSON_GetArrayItem(item(json, "benchmarks"), 1);
  cr_assert_eq(strncmp(text(theirs, "variant"), "layernorm_", 10), 0);
  cr_assert_eq(number(theirs, "max_error"), 0.0);
  cJSON_Delete(json);
  expect_refusal(bench("layernorm", "--rows", "5", "--cols", "70", "--peer", "unfused"), 1,
                 "nothing is fused");
}

/* Four combinations; the last word changes fastest; --cold is said in each record. */
Test(bench, sweeps_in_the_order_given) {
  static const double expected[][2] = {{2, 64}, {2, 32}, {1, 64}, {1, 32}};
  cJSON *json =
      expect_json(bench_at_once("gemm", "--k", "64,32", "--m", "2,1", "--n", "16", "--weights",
                                "q8_0", "--cold", "--reps", "1", "-o", "json"));
  const cJSON *list = item(json, "benchmarks");
  cr_assert_eq(cJSON_GetArraySize(list), 4);
  for (int i = 0; i < 4; ++i) {
    const cJSON *r = cJSON_GetArrayItem(list, i);
    check_record(r, "gemm", "cold");
    cr_assert_eq(number(r, "m"), expected[i][0]);
    cr_assert_eq(number(r, "k"), expected[i][1]);
    cr_assert_eq(number(r, "n"), 16.0);
    cr_assert_eq(number(r, "ops"), 2.0 * 16.0 * expected[i][0] * expected[i][1]);
    cr_assert_str_eq(text(r, "weights"), "q8_0");
    cr_assert_not_null(strstr(text(r, "name"), "/cold_median"));
  }
  cJSON_Delete(json);
}

static int count_of(const char *text, const char *part) {
  int count = 0;
  for (const char *at = strstr(text, part); at != NULL; at = strstr(at + 1, part)) {
    ++count;
  }
  return count;
}

/* What is not offered is left out of a sweep with the reason; a single case, or a sweep of such
 * cases alone, fails. */
Test(bench, a_sweep_goes_on) {
  command_result r = bench_at_once("gemm", "--n", "16", "--k", "64", "--weights", "q8_k,w4g32,bf16",
                                   "--acts", "f16,q8", "--reps", "1", "-o", "json");
  cr_assert_eq(count_of(r.err, " is left out: "), 2, "%s", r.err);
  cr_assert_not_null(
      strstr(r.err,
             "clq: gemm/m:1/n:16/k:64/weights:q8_k/acts:q8/out:f32 is left out: gemm: "
             "--weights q8_k is not offered; take f32, f16, w8, w4, "),
      "%s", r.err);
  cJSON *json = expect_json(r);
  cr_assert_eq(cJSON_GetArraySize(item(json, "benchmarks")), 4);
  check_record(cJSON_GetArrayItem(item(json, "benchmarks"), 0), "gemm", "warm");
  cJSON_Delete(json);
  expect_refusal(
      bench("gemm", "--n", "16", "--k", "64", "--weights", "q8_k,w4g7", "-o", "json"), 1,
      "clq: none of the 2 combinations is offered; take one that 'clq bench --help' names");
  json = expect_json(bench_at_once("plan", "--nodes", "1000001,9", "--reps", "1", "-o", "json"));
  cr_assert_eq(cJSON_GetArraySize(item(json, "benchmarks")), 1);
  cJSON_Delete(json);
}

/* Every type that the help names for the operator is taken. */
Test(bench, the_help_says_what_is_taken) {
  static const struct {
    const char *help, *op, *word, *types, *other, *value;
    int count;
  } cases[] = {
      {"norms, activate, add: f32, f16, bf16, q8, q8g32", "activate", "--out",
       "f32,f16,bf16,q8,q8g32", "--dtype", "f32", 5},
      {"activate, add: f32, f16, bf16", "rmsnorm", "--out", "f32,f16,bf16,q8,q8g32", "--dtype",
       "bf16", 5},
      {"quantize: q8, q8g32", "quantize", "--out", "q8,q8g32", "--dtype", "f32", 2},
      {"dequantize: q8, q8g32", "dequantize", "--acts", "q8,q8g32", "--dtype", "f32", 2},
      {"add: f32, f16, bf16, q8;", "add", "--dtype", "f32,f16,bf16,q8", "--rows", "2", 4},
      {"embedding: f32, f16, bf16", "embedding", "--dtype", "f32,f16,bf16", "--n", "9", 3},
      {"embedding also: 8bit, 4bit, 2bit", "embedding", "--weights", "8bit,4bit,2bit,mixed", "--n",
       "90", 4},
  };
  command_result help = bench("--help");
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; ++i) {
    cr_expect_not_null(strstr(help.out, cases[i].help), "'%s': %s", cases[i].help, help.out);
    cJSON *json = expect_json(bench_at_once(cases[i].op, "--rows", "2", "--cols", "64",
                                            cases[i].word, cases[i].types, cases[i].other,
                                            cases[i].value, "--reps", "1", "-o", "json"));
    cr_expect_eq(cJSON_GetArraySize(item(json, "benchmarks")), cases[i].count, "%s", cases[i].op);
    cJSON_Delete(json);
  }
  cr_expect_not_null(strstr(help.out, "a multiple of 16 up to 256"));
  command_free(&help);
}

/* Small shapes, where it comes to that. */
Test(bench, a_device_time_above_the_wall_is_noted) {
  command_result r = bench_at_once("quantize", "--rows", "1,2,3,4,5,6", "--cols", "64", "--reps",
                                   "2", "-o", "json");
  char *notes = strdup(r.err);
  cJSON *json = expect_json(r);
  for (int i = 0; i < 6; ++i) {
    const cJSON *record = cJSON_GetArrayItem(item(json, "benchmarks"), i);
    char note[256];
    (void)snprintf(note, sizeof note, "note: %s: the device's time", text(record, "run_name"));
    cr_expect_eq(number(record, "device_time") > number(record, "real_time"),
                 strstr(notes, note) != NULL, "%s", note);
  }
  free(notes);
  cJSON_Delete(json);
}

Test(bench, plan_and_limits) {
  cJSON *json = expect_json(bench_at_once("plan", "--nodes", "7,20", "--reps", "2", "-o", "json"));
  const cJSON *list = item(json, "benchmarks");
  cr_assert_eq(cJSON_GetArraySize(list), 2);
  for (int i = 0; i < 2; ++i) {
    const cJSON *r = cJSON_GetArrayItem(list, i);
    cr_assert_eq(number(r, "nodes"), i == 0 ? 7.0 : 20.0);
    cr_assert_gt(number(r, "plan_time"), 0.0);
    cr_assert_gt(number(r, "driver_time"), 0.0);
    cr_assert(cJSON_IsNull(item(r, "overhead_per_node")), "two turns cannot tell");
    cr_assert(cJSON_IsTrue(item(r, "checked")));
  }
  cJSON_Delete(json);
  json = expect_json(bench_at_once("plan", "--nodes", "50", "--reps", "5", "-o", "json"));
  const cJSON *overhead =
      item(cJSON_GetArrayItem(item(json, "benchmarks"), 0), "overhead_per_node");
  cr_assert(cJSON_IsNull(overhead) || overhead->valuedouble > 0.0);
  cJSON_Delete(json);
  command_result table = bench_at_once("plan", "--nodes", "7", "--reps", "1");
  cr_assert_not_null(strstr(table.out, "| graph us | plan us | driver us | overhead us/node |"),
                     "%s", table.out);
  cr_assert_null(strstr(table.out, "_time"), "%s", table.out);
  command_free(&table);
  json = expect_json(bench("limits", "-o", "json"));
  check_context(json, true);
  cr_assert_geq(cJSON_GetArraySize(item(json, "benchmarks")), 4);
  cJSON_Delete(json);
}

static int lines(const char *at) {
  int count = 0;
  for (; (at = strchr(at, '\n')) != NULL; ++at) {
    ++count;
  }
  return count;
}

static int commas(const char *at, size_t length) {
  int count = 0;
  for (size_t i = 0; i < length; ++i) {
    count += at[i] == ',';
  }
  return count;
}

Test(bench, tables) {
  command_result r = bench("add", "--rows", "1,2,3", "--cols", "8", "--reps", "1", "-o", "csv");
  cr_assert_eq(r.code, 0, "%s", r.err);
  cr_assert_not_null(strstr(r.err, "\nlimits: read "), "%s", r.err);
  cr_assert_eq(lines(r.out), 4, "%s", r.out);
  const size_t header = strcspn(r.out, "\n");
  const char *second = r.out + header + 1;
  cr_assert_eq(commas(r.out, header), commas(second, strcspn(second, "\n")));
  command_free(&r);
  r = bench_at_once("add", "--rows", "1,2,3", "--cols", "8", "--reps", "1");
  cr_assert_eq(r.code, 0, "%s", r.err);
  cr_assert_null(strstr(r.err, "limits: "), "%s", r.err);
  cr_assert_eq(lines(r.out), 5, "%s", r.out);
  cr_assert_eq(r.out[0], '|');
  command_free(&r);
}

Test(bench, misuse) {
  expect_refusal(bench("rmsnrm"), 2, "did you mean 'rmsnorm'");
  expect_refusal(bench("--reps", "3"), 2, "name an operator: layernorm, rmsnorm, ");
  expect_refusal(bench("zzzzzzzz"), 2, "expected one of layernorm, rmsnorm, ");
  expect_refusal(bench("gemm", "add"), 2, "one operator at a time");
  expect_refusal(bench("gemm", "--rows", "3"), 2, "gemm takes no --rows");
  expect_refusal(bench("gemm", "--m", "0"), 2, "--m");
  expect_refusal(bench("gemm", "--m", ""), 2, "--m");
  expect_refusal(bench("gemm", "--acts", "q9"), 2, "--acts");
  expect_refusal(bench("gemm", "--weights", "w4x"), 2, "--weights");
  expect_refusal(bench("gemm", "--out", "f64"), 2, "--out");
  expect_refusal(bench("softmax", "--lut", "u8"), 2, "--lut");
  expect_refusal(bench("gemm", "--peer", "x"), 2,
                 "gemm has no peer 'x'; there is unfused for layernorm");
  expect_refusal(bench("add", "--peer", "clblast"), 2, "clblast for gemm");
  expect_refusal(bench("gemm", "--reps", "0"), 2, "--reps");
  expect_refusal(bench("limits", "--cold"), 2, "limits takes no --cold");
  expect_refusal(bench("limits", "--no-limits"), 2, "limits takes no --no-limits");
}

/* In JSON nothing is printed but whole objects. */
Test(bench, what_is_not_offered_fails_with_the_reason) {
  expect_refusal(bench("gemm", "--n", "8", "--k", "32", "--weights", "q8_k", "-o", "json"), 1,
                 "q8_k");
  expect_refusal(bench("add", "--rows", "1000000000", "--cols", "100000", "-o", "json"), 1,
                 "the shape needs ");
  expect_refusal(bench("add", "--rows", "100000", "--cols", "40000", "-o", "json"), 1,
                 "the shape needs ");
  expect_refusal(bench("gemm", "--m", "1", "--n", "1073741824", "--k", "32", "--weights", "w4"), 1,
                 "the shape needs ");
  expect_refusal(bench("plan", "--nodes", "1000001", "-o", "json"), 1, "at most 1000000 nodes");
  expect_refusal(bench("gemm", "--n", "8", "--k", "33", "--weights", "q4_0", "-o", "json"), 1,
                 "multiple of 32");
  expect_refusal(bench("softmax", "--rows", "4", "--lut", "q30", "-o", "json"), 1, "q30");
  expect_refusal(bench("attention", "--keys", "4", "--kv", "q6", "-o", "json"), 2, "q6");
  expect_refusal(bench("attention", "--keys", "4", "--queries", "5", "-o", "json"), 1, "queries");
}

/* Of what the library refuses, options are named, and what to take: no arguments of its calls. */
Test(bench, refusals_are_in_the_words_of_the_options) {
  static const struct {
    const char *const words[12];
    const char *const told[6];
  } cases[] = {
      {{"gemm", "--n", "8", "--k", "64", "--weights", "w4g7,w4g24", "--acts", "q8g32,q8g12"},
       {": --weights: a group of 7 is not offered; take a multiple of 8, as w4g32, or K and more",
        ": gemm: with --acts of groups of 32 the group of --weights must be a multiple or a "
        "divisor "
        "of 32, not 24; take ",
        ": gemm: a group of 12 of --acts is not offered; take a multiple of 8, or K and more\n"}},
      {{"attention", "--heads", "4", "--kv-heads", "2,3", "--head-dim", "16,17", "--keys", "4",
        "--kv", "f16"},
       {": attention: --head-dim 17 is not offered; take a multiple of 16 up to 256\n",
        ": attention: --heads 4 is not offered with --kv-heads 3; take a multiple of that\n"}},
      {{"softmax", "--rows", "2", "--cols", "8", "--dtype", "f16,q8", "--lut", "two-level,q30"},
       {": softmax: --lut q30 is not offered with --dtype f16; take --dtype q8\n"}},
      {{"layernorm", "--rows", "2", "--cols", "8", "--out", "f32,u8"},
       {": layernorm: --out u8 is not offered; take q8 or q8g32\n"}},
  };
  static const char *const internal[] = {"dtype of", "quant.",  "weights_pack", "head_dim",
                                         "cache.k",  "of x is", "plan: ",       "graph: "};
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; ++i) {
    const char *argv[MOST_WORDS] = {CLQ_TEST_CLI, "bench", "--reps",     "1",
                                    "-o",         "json",  "--no-limits"};
    memcpy(argv + 7, cases[i].words, sizeof cases[i].words);
    command_result r = run(argv);
    for (size_t t = 0; t < 6 && cases[i].told[t] != NULL; ++t) {
      cr_assert_not_null(strstr(r.err, cases[i].told[t]), "'%s' is not in: %s", cases[i].told[t],
                         r.err);
    }
    for (size_t n = 0; n < sizeof internal / sizeof internal[0]; ++n) {
      cr_assert_null(strstr(r.err, internal[n]), "'%s' is in: %s", internal[n], r.err);
    }
    command_free(&r);
  }
}

/* SIGINT ends it cleanly with what was produced. */
Test(bench, interrupt) {
  command c =
      command_start((const char *const[]){CLQ_TEST_CLI, "bench", "add", "--rows", "64", "--cols",
                                          "64", "--reps", "100000", "-o", "json", NULL},
                    NULL, NULL);
  const struct timespec pause = {.tv_sec = 2};
  (void)nanosleep(&pause, NULL);
  cr_assert_eq(kill(c.process, SIGINT), 0);
  cJSON *json = expect_json(command_wait(&c));
  cr_assert(cJSON_IsArray(item(json, "benchmarks")));
  cJSON_Delete(json);
}

Test(bench, every_operator_is_offered_and_named_in_the_help) {
  command_result help = bench("--help");
  cr_assert_eq(help.code, 0);
  for (size_t i = 0; i < clqi_op_count; ++i) {
    if (clqi_op_table[i] != NULL) {
      const char *name = clqi_op_table[i]->name;
      cr_expect_not_null(strstr(help.out, name), "clq bench --help does not name %s", name);
      /* Known words only come to light behind a known operator. */
      expect_refusal(bench(name, "--device", "no such device"), 1, "no such device");
    }
  }
  command_free(&help);
}
