/* clq cache, and what becomes of a folder of compiled kernels that cannot be used. */
#include <cjson/cJSON.h>
#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "clq.h"

/* One line on stderr, the command done all the same. */
static void expect_cache_warning(command_result result, const char *reason) {
  cr_assert_eq(result.code, 0, "%s", result.err);
  const char *warning = strstr(result.err, "clq: warning: ");
  cr_assert_not_null(warning, "%s", result.err);
  cr_assert_not_null(strstr(warning, reason), "'%s' is not in: %s", reason, warning);
  cr_assert_not_null(strstr(warning, "; kernels are compiled again each time: set CLQ_CACHE_DIR"));
  cr_assert_null(strstr(warning + 1, "clq: warning"), "%s", result.err);
  command_free(&result);
}

static void expect_unused(const char *variable, const char *reason) {
  expect_ok(clq(variable, "cache"), reason);
  expect_refusal(clq(variable, "cache", "--clear"), 1, reason);
  expect_cache_warning(clq(variable, "devices"), reason);
}

/* Folders that nobody can write to, root included. */
Test(cli_cache, a_cache_folder_that_cannot_be_used_is_done_without) {
  static const char *const variables[] = {"CLQ_CACHE_DIR=/proc/clq", "CLQ_CACHE_DIR=/dev/null",
                                          "CLQ_CACHE_DIR=off"};
  for (size_t i = 1; i < sizeof variables / sizeof variables[0]; ++i) {
    cJSON *json = expect_json(clq(variables[i], "cache", "-o", "json"));
    cr_assert_str_empty(json_string(json, "dir"));
    cr_assert_str_not_empty(json_string(json, "why"));
    cr_assert_eq(json_number(json, "files"), 0);
    expect_ok(clq(variables[i], "cache"), json_string(json, "why"));
    cJSON_Delete(json);
  }
  expect_cache_warning(clq(variables[0], "devices"), "/proc/clq cannot be created (");
  expect_unused(variables[1], "/dev/null is not a folder");
  expect_ok(clq(variables[2], "devices"), "traits");
  expect_ok(clq("CLQ_CACHE_DIR=OFF", "cache"), "off: turned off");
  expect_ok(clq(variables[2], "cache", "--clear"), "off: turned off");
  const char *const argv[] = {"/usr/bin/env", variables[0], CLQ_TEST_CLI, "devices", NULL};
  command_result told = command_run(argv, "CLQ_VERBOSE=cache", NULL);
  cr_assert(told.code == 0 && strstr(told.out, "traits") != NULL);
  cr_assert_not_null(strstr(told.err, "disk cache off: "), "%s", told.err);
  command_free(&told);
}

Test(cli_cache, a_folder_without_permission_is_done_without) {
  if (geteuid() == 0) {
    cr_skip_test("root may write anywhere");
  }
  scratch s = scratch_new("x");
  (void)snprintf(s.variable, sizeof s.variable, "CLQ_CACHE_DIR=%s/below", s.folder);
  cr_assert_eq(chmod(s.folder, 0500), 0);
  expect_unused(s.variable, "/below cannot be created (Permission denied)");
  (void)snprintf(s.variable, sizeof s.variable, "CLQ_CACHE_DIR=%s", s.folder);
  cr_assert_eq(chmod(s.folder, 0555), 0);
  expect_unused(s.variable, "is not writable");
  cr_assert_eq(chmod(s.folder, 0700), 0);
  scratch_free(&s);
}

Test(cli_cache, a_folder_that_is_open_to_others_is_refused) {
  scratch s = scratch_new("link");
  (void)snprintf(s.variable, sizeof s.variable, "CLQ_CACHE_DIR=%s", s.file);
  cr_assert_eq(symlink(s.folder, s.file), 0);
  expect_unused(s.variable, "/link is a symbolic link, which is refused");
  cr_assert_eq(unlink(s.file), 0);
  (void)snprintf(s.variable, sizeof s.variable, "CLQ_CACHE_DIR=%s", s.folder);
  cr_assert_eq(chmod(s.folder, 0755), 0);
  expect_unused(s.variable, "is open to others (name a folder of your own, or close this one");
  cr_assert_eq(chmod(s.folder, 0700), 0);
  expect_ok(clq(s.variable, "cache", "--clear"), "removed 0 files");
  scratch_free(&s);
}

/* Looking does not make it; what compiles does. */
Test(cli_cache, a_folder_that_is_not_there_yet_is_not_made_by_looking) {
  scratch s = scratch_new("below");
  struct stat info;
  (void)snprintf(s.variable, sizeof s.variable, "CLQ_CACHE_DIR=%s/deeper", s.file);
  expect_ok(clq(s.variable, "cache"), "/below/deeper\nthere is none yet");
  expect_ok(clq(s.variable, "cache", "--clear"), "there is none yet");
  cJSON *json = expect_json(clq(s.variable, "cache", "-o", "json"));
  cr_assert_not_null(strstr(json_string(json, "dir"), "/below/deeper"));
  cr_assert_not_null(strstr(json_string(json, "why"), "there is none yet"));
  cr_assert_eq(json_number(json, "files"), 0);
  cJSON_Delete(json);
  cr_assert_neq(stat(s.file, &info), 0);
  char deeper[128];
  (void)snprintf(deeper, sizeof deeper, "%s/deeper", s.file);
  expect_ok(clq(s.variable, "devices"), "traits");
  cr_assert_eq(stat(deeper, &info), 0);
  cr_assert_eq(info.st_mode & 0777, 0700);
  expect_ok(clq(s.variable, "cache", "--clear"), "removed 1 file,");
  cr_assert_eq(rmdir(deeper), 0);
  cr_assert_eq(rmdir(s.file), 0);
  scratch_free(&s);
}

static void make_fifo_of_file(const char *path) {
  cr_assert_eq(unlink(path), 0);
  cr_assert_eq(mkfifo(path, 0600), 0);
}

/* What nobody ever writes to is not waited for. */
Test(cli_cache, an_entry_that_is_a_fifo_is_passed_over, .timeout = 60) {
  scratch s = scratch_new("x");
  (void)snprintf(s.variable, sizeof s.variable, "CLQ_CACHE_DIR=%s", s.folder);
  expect_ok(clq(s.variable, "devices"), "traits");
  cr_assert_geq(for_files(s.folder, make_fifo_of_file), 1);
  expect_ok(clq(s.variable, "devices"), "traits");
  scratch_free(&s);
}

static void make_folder_of_file(const char *path) {
  cr_assert_eq(unlink(path), 0);
  cr_assert_eq(mkdir(path, 0700), 0);
}

static void remove_subfolder(const char *path) { cr_assert_eq(rmdir(path), 0, "%s", path); }

/* As on a full disk: a file that cannot be written is told once and leaves no part of itself. Here
 * a folder of its name is in the way. */
Test(cli_cache, a_cache_folder_that_takes_no_more_is_told_once) {
  scratch s = scratch_new("x");
  (void)snprintf(s.variable, sizeof s.variable, "CLQ_CACHE_DIR=%s", s.folder);
  expect_ok(clq(s.variable, "devices"), "traits");
  const int files = for_files(s.folder, make_folder_of_file);
  cr_assert_gt(files, 0);
  command_result result = clq(s.variable, "devices");
  cr_assert_eq(result.code, 0, "%s", result.err);
  const char *warning = strstr(result.err, "clq: warning: the cache folder ");
  cr_assert_not_null(warning, "%s", result.err);
  cr_assert_not_null(strstr(warning, " takes no more compiled kernels (Is a directory): "), "%s",
                     warning);
  cr_assert_null(strstr(warning + 1, "clq: warning"), "%s", result.err);
  command_free(&result);
  cr_assert_eq(for_files(s.folder, remove_subfolder), files);
  scratch_free(&s);
}

/* The bench's programs as well, the lines about it included. */
Test(cli_cache, what_the_bench_compiles_is_kept_or_told) {
  scratch s = scratch_new("x");
  (void)snprintf(s.variable, sizeof s.variable, "CLQ_CACHE_DIR=%s", s.folder);
  const char *const argv[] = {"/usr/bin/env", s.variable,    CLQ_TEST_CLI, "bench",
                              "activate",     "--rows",      "1",          "--cols",
                              "32",           "--no-limits", NULL};
  command_result first = command_run(argv, "CLQ_VERBOSE=cache", NULL);
  cr_assert_eq(first.code, 0, "%s", first.err);
  int saved = 0;
  for (const char *at = first.err; (at = strstr(at, ": saved ")) != NULL; ++at) {
    ++saved;
  }
  const int files = for_files(s.folder, make_folder_of_file);
  cr_assert_gt(files, 1);
  cr_assert_eq(saved, files, "%s", first.err);
  command_free(&first);
  command_result again = command_run(argv, NULL, NULL);
  cr_assert_eq(again.code, 0, "%s", again.err);
  cr_assert_not_null(strstr(again.err, "clq: warning: the cache folder "), "%s", again.err);
  command_free(&again);
  cr_assert_eq(for_files(s.folder, remove_subfolder), files);
  scratch_free(&s);
}

static void spoil_file(const char *path) {
  struct stat info;
  cr_assert_eq(stat(path, &info), 0);
  FILE *file = fopen(path, "r+b");
  cr_assert_not_null(file);
  cr_assert_eq(fseek(file, (long)info.st_size - 1, SEEK_SET), 0);
  const int last = fgetc(file);
  cr_assert_eq(fseek(file, (long)info.st_size - 1, SEEK_SET), 0);
  cr_assert_eq(fputc(last ^ 1, file), last ^ 1);
  cr_assert_eq(fclose(file), 0);
}

static void cut_file(const char *path) { cr_assert_eq(truncate(path, 20), 0); }

/* The result of devices with a cache folder; *err says what the cache did. */
static char *devices_with_cache(const char *variable, command_result *result) {
  const char *const argv[] = {"/usr/bin/env", variable, CLQ_TEST_CLI, "devices", NULL};
  *result = command_run(argv, "CLQ_VERBOSE=cache", NULL);
  cr_assert_eq(result->code, 0, "%s", result->err);
  return result->err;
}

Test(cli_cache, spoiled_cache_files_are_built_again) {
  scratch s = scratch_new("x");
  (void)snprintf(s.variable, sizeof s.variable, "CLQ_CACHE_DIR=%s", s.folder);
  command_result first, again;
  cr_assert_null(strstr(devices_with_cache(s.variable, &first), "refused"), "%s", first.err);
  const int files = for_files(s.folder, leave_file);
  cr_assert_gt(files, 0, "nothing was cached: %s", first.err);
  void (*const spoil[])(const char *) = {spoil_file, cut_file};
  for (size_t i = 0; i < 2; ++i) {
    cr_assert_eq(for_files(s.folder, spoil[i]), files);
    cr_assert_not_null(strstr(devices_with_cache(s.variable, &again), "refused"), "%s", again.err);
    cr_assert_str_eq(again.out, first.out);
    command_free(&again);
    cr_assert_null(strstr(devices_with_cache(s.variable, &again), "refused"), "%s", again.err);
    cr_assert_not_null(strstr(again.err, "hit"), "%s", again.err);
    command_free(&again);
  }
  cJSON *json = expect_json(clq(s.variable, "cache", "--clear", "-o", "json"));
  cr_assert_eq(json_number(json, "files"), files);
  cr_assert_gt(json_number(json, "bytes"), 0);
  cr_assert_str_eq(json_string(json, "dir"), s.folder);
  cJSON_Delete(json);
  cr_assert_eq(for_files(s.folder, leave_file), 0);
  command_free(&first);
  scratch_free(&s);
}
