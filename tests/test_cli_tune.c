/* clq tune: the table that it writes, who then goes by it, and what it refuses. */
#include <cjson/cJSON.h>
#include <criterion/criterion.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "clq.h"

static char table[512];

static void note_table(const char *path) {
  if (strstr(path, ".clqt") != NULL) {
    (void)snprintf(table, sizeof table, "%s", path);
  }
}

/* The tuned table in the folder, "" without one. */
static const char *find_table(const char *folder) {
  table[0] = '\0';
  (void)for_files(folder, note_table);
  return table;
}

static const cJSON *item(const cJSON *json, const char *key) {
  const cJSON *found = cJSON_GetObjectItemCaseSensitive(json, key);
  cr_assert_not_null(found, "%s", key);
  return found;
}

static void expect_table_of_devices(const char *variable, const char *file, const char *why) {
  cJSON *json = expect_json(clq(variable, "devices", "--device", "0", "-o", "json"));
  const cJSON *device = cJSON_GetArrayItem(item(json, "devices"), 0);
  cr_assert_str_eq(json_string(device, "tuning"), file);
  cr_assert_not_null(strstr(json_string(device, "tuning_why"), why));
  cJSON_Delete(json);
}

static void check_set(const cJSON *set) {
  cr_assert_str_eq(json_string(set, "set"), "gemm_q8_few");
  cr_assert_eq(json_number(set, "wrong"), 0);
  cr_assert_eq(json_number(set, "failed"), 0);
  cr_assert_gt(json_number(set, "tried"), 0);
  cr_assert_geq(json_number(set, "combinations"), json_number(set, "small"));
  cr_assert(json_number(set, "ratio") > 0 && json_number(set, "ratio") <= 1);
  cr_assert_gt(cJSON_GetArraySize(item(set, "values")), 3);
  cr_assert_eq(cJSON_GetArraySize(item(set, "shapes")), 2);
  const cJSON *shape = cJSON_GetArrayItem(item(set, "shapes"), 1);
  cr_assert_not_null(strstr(json_string(shape, "name"), "m:5/n:64/k:96"));
  cr_assert_gt(json_number(shape, "before_ns"), 0);
  cr_assert_gt(json_number(shape, "after_ns"), 0);
}

/* Every value that was searched stands in the file as the report has it. */
static void check_file(const cJSON *set, const char *path) {
  char text[8192] = "";
  FILE *file = fopen(path, "rb");
  cr_assert_not_null(file, "%s", path);
  text[fread(text, 1, sizeof text - 1, file)] = '\0';
  (void)fclose(file);
  const cJSON *value = NULL;
  cJSON_ArrayForEach(value, item(set, "values")) {
    char line[128];
    (void)snprintf(line, sizeof line, "\n%s %d\n", json_string(value, "name"),
                   (int)json_number(value, "value"));
    cr_assert_not_null(strstr(text, line), "%s", line);
  }
}

Test(cli_tune, writes_the_table_that_commands_then_go_by) {
  scratch s = scratch_new("table");
  (void)snprintf(s.variable, sizeof s.variable, "CLQ_CACHE_DIR=%s", s.folder);
  cJSON *json = expect_json(clq(s.variable, "tune", "gemm", "--m", "1,5", "--n", "64", "--k", "96",
                                "--acts", "q8g32", "--budget", "0.5", "-o", "json"));
  cr_assert_eq(cJSON_GetArraySize(item(json, "sets")), 1);
  const cJSON *set = cJSON_GetArrayItem(item(json, "sets"), 0);
  check_set(set);
  cr_assert_str_eq(json_string(json, "file"), find_table(s.folder));
  check_file(set, json_string(json, "file"));
  cJSON_Delete(json);
  expect_table_of_devices(s.variable, find_table(s.folder), "");

  /* Damaged, it is passed over; named by hand as well, and then said. */
  put_file(find_table(s.folder), "clquant-tuning 1\nlibrary", 24);
  expect_table_of_devices(s.variable, "", "is not used: it is cut off");
  char named[sizeof table + 16];
  (void)snprintf(named, sizeof named, "CLQ_TUNING=%s", find_table(s.folder));
  command_result result =
      clq(named, "bench", "add", "--rows", "1", "--cols", "64", "--reps", "1", "--no-limits");
  cr_assert_eq(result.code, 0, "%s", result.err);
  cr_assert_not_null(strstr(result.err, "clq: warning: CLQ_TUNING: the table "), "%s", result.err);
  cr_assert_not_null(strstr(result.err, "is not used: it is cut off; built-in values serve"));
  command_free(&result);
  scratch_free(&s);
}

Test(cli_tune, a_file_of_ones_own_serves_where_it_is_named) {
  scratch s = scratch_new("table");
  expect_ok(clq(NULL, "tune", "--m", "20", "--n", "48", "--k", "64", "--acts", "q8", "--budget",
                "0.2", "--out", s.file),
            "\nwritten: ");
  (void)snprintf(s.variable, sizeof s.variable, "CLQ_TUNING=%s", s.file);
  expect_table_of_devices(s.variable, s.file, "");
  expect_table_of_devices("CLQ_TUNING=off", "", "turned off");
  cJSON *json = expect_json(clq(s.variable, "bench", "--no-limits", "gemm", "--m", "20", "--n",
                                "48", "--k", "64", "--reps", "1", "-o", "json"));
  cr_assert_str_eq(json_string(item(json, "context"), "tuning"), s.file);
  cJSON_Delete(json);
  scratch_free(&s);
}

/* Only who asks for CLBlast has it tried, and then it is held to the bound. */
Test(cli_tune, clblast_is_tried_where_it_is_asked_for) {
  scratch s = scratch_new("table");
  for (int asked = 0; asked < 2; ++asked) {
    command_result r =
        clq(NULL, "tune", "--m", "40", "--n", "48", "--k", "64", "--acts", "f32", "--budget", "0.3",
            "--out", s.file, "-o", "json", asked ? "--clblast" : "--budget=0.2");
    if (asked && r.code == 1 && strstr(r.err, "there is no CLBlast to try") != NULL) {
      command_free(&r);
      scratch_free(&s);
      cr_skip_test("there is no CLBlast");
    }
    cJSON *json = expect_json(r);
    const cJSON *set = cJSON_GetArrayItem(item(json, "sets"), 0);
    cr_assert_eq(json_number(set, "wrong"), 0);
    const cJSON *value = NULL;
    bool there = false;
    bool used = false;
    cJSON_ArrayForEach(value, item(set, "values")) {
      if (strcmp(json_string(value, "name"), "gemm_f32_many.clblast_rows") == 0) {
        there = true;
        used = json_number(value, "value") > 0;
      }
    }
    cr_assert_eq(there, asked == 1);
    cr_assert_eq(cJSON_IsTrue(item(set, "other_bits")) != 0, used);
    cJSON_Delete(json);
  }
  scratch_free(&s);
}

Test(cli_tune, refuses_in_a_sentence) {
  expect_refusal(clq("CLQ_CACHE_DIR=off", "tune"), 1,
                 "there is nowhere to keep the table: turned off; set CLQ_CACHE_DIR");
  expect_refusal(clq(NULL, "tune", "--out", "/proc/none/table"), 1,
                 "no table can be written to /proc/none/table; give --out");
  expect_refusal(clq(NULL, "tune", "--out", "/tmp"), 1,
                 "--out /tmp is a folder; give a file in it, as /tmp/table.clqt");
  expect_refusal(clq(NULL, "tune", "--device", "no such thing"), 1, "no device 'no such thing'");
  expect_refusal(
      clq(NULL, "tune", "--m", "1", "--n", "8", "--k", "96", "--weights", "w4g24", "--acts",
          "q8g32"),
      1,
      "gemm: with --acts of groups of 32 the group of --weights must be a multiple or a divisor");
  expect_refusal(
      clq(NULL, "tune", "--weights", "w4g32,w4g64", "--k", "48", "--m", "1", "--acts", "bf17"), 2,
      "--acts is 'bf17', which is no such type");
  expect_refusal(clq(NULL, "tune", "--weights", "w5"), 2, "--weights is 'w5'");
  expect_refusal(clq(NULL, "tune", "softmax"), 2, "'softmax' cannot be tuned, expected gemm");
  expect_refusal(clq(NULL, "tune", "gemm", "gemm"), 2, "one operator at a time");
  expect_refusal(clq(NULL, "tune", "--weights", ""), 2, "--weights is ''");
  expect_refusal(clq(NULL, "tune", "--budget", "0"), 2, "expected a number from 0.1 to 1000000");
  expect_refusal(clq(NULL, "tune", "--m", "0"), 2, "--m");
}

/* SIGINT leaves the old table, or none. */
Test(cli_tune, an_interrupted_search_leaves_the_table_as_it_was, .timeout = 120) {
  scratch s = scratch_new("table");
  (void)snprintf(s.variable, sizeof s.variable, "CLQ_CACHE_DIR=%s", s.folder);
  const char *const argv[] = {CLQ_TEST_CLI, "tune",   "--m", "1",        "--n",  "64", "--k",
                              "64",         "--acts", "q8",  "--budget", "1000", NULL};
  command c = command_start(argv, s.variable, NULL);
  const struct timespec pause = {.tv_sec = 2};
  (void)nanosleep(&pause, NULL);
  cr_assert_eq(kill(c.process, SIGINT), 0);
  command_result result = command_wait(&c);
  cr_assert_eq(result.code, 0, "%s", result.err);
  cr_assert_str_empty(result.out);
  cr_assert_not_null(strstr(result.err, "interrupted; the tuned table is as it was"));
  command_free(&result);
  cr_assert_str_empty(find_table(s.folder));
  scratch_free(&s);
}
