/* The command clq, run as a program: exit codes, what stands on stdout and on stderr. */
#include <cjson/cJSON.h>
#include <criterion/criterion.h>
#include <dirent.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "command.h"
#include "gguf_writer.h"

enum { MOST_WORDS = 20 };

/* clq(variable, word, ..., NULL); see command.h for variable. */
#define clq(variable, ...) \
  clq_words((const char *const[MOST_WORDS]){CLQ_TEST_CLI, __VA_ARGS__, NULL}, variable, NULL)
#define clq_reading(input, ...) \
  clq_words((const char *const[MOST_WORDS]){CLQ_TEST_CLI, __VA_ARGS__, NULL}, NULL, input)

static command_result clq_words(const char *const *argv, const char *variable, const char *input) {
  return command_run(argv, variable, input);
}

/* Drivers may write to stderr while they compile; what clq says begins with its name. */
static bool clq_is_silent(const char *err) {
  return strncmp(err, "clq", 3) != 0 && strstr(err, "\nclq") == NULL;
}

/* Releases the result. */
static void expect_ok(command_result result, const char *part) {
  cr_assert_eq(result.code, 0, "%s", result.err);
  cr_assert_not_null(strstr(result.out, part), "%s", result.out);
  cr_assert(clq_is_silent(result.err), "%s", result.err);
  command_free(&result);
}

/* One line on stderr that holds `part`, nothing on stdout. */
static void expect_refusal(command_result result, int code, const char *part) {
  cr_assert_eq(result.code, code, "%d: %s", result.code, result.err);
  cr_assert_str_empty(result.out);
  cr_assert_not_null(strstr(result.err, part), "'%s' is not in: %s", part, result.err);
  const char *newline = strchr(result.err, '\n');
  cr_assert(newline != NULL && newline[1] == '\0', "not one line: %s", result.err);
  command_free(&result);
}

/* The object on stdout; releases the result. */
static cJSON *expect_json(command_result result) {
  cr_assert_eq(result.code, 0, "%s", result.err);
  const char *end = NULL;
  cJSON *json = cJSON_ParseWithOpts(result.out, &end, 0);
  cr_assert(cJSON_IsObject(json), "%s", result.out);
  cr_assert_str_eq(end, "\n");
  cr_assert_eq(cJSON_GetNumberValue(cJSON_GetObjectItem(json, "schema_version")), 1);
  command_free(&result);
  return json;
}

static double number(const cJSON *json, const char *key) {
  const cJSON *item = cJSON_GetObjectItemCaseSensitive(json, key);
  cr_assert(cJSON_IsNumber(item), "%s", key);
  return item->valuedouble;
}

static const char *string(const cJSON *json, const char *key) {
  const char *text = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(json, key));
  cr_assert_not_null(text, "%s", key);
  return text;
}

/* --- Scratch folders. --------------------------------------------------------- */

typedef struct scratch {
  char folder[64];
  char file[96];
  char variable[128];
} scratch;

static scratch scratch_new(const char *name) {
  scratch s = {.folder = "/tmp/clq_cli_XXXXXX"};
  cr_assert_not_null(mkdtemp(s.folder));
  (void)snprintf(s.file, sizeof s.file, "%s/%s", s.folder, name);
  return s;
}

static void put_file(const char *path, const void *data, size_t size) {
  FILE *file = fopen(path, "wb");
  cr_assert_not_null(file, "%s", path);
  cr_assert_eq(fwrite(data, 1, size, file), size);
  cr_assert_eq(fclose(file), 0);
}

/* Calls visit on every file; returns their number. */
static int for_files(const char *folder, void (*visit)(const char *path)) {
  DIR *dir = opendir(folder);
  cr_assert_not_null(dir, "%s", folder);
  int count = 0;
  for (const struct dirent *entry = readdir(dir); entry != NULL; entry = readdir(dir)) {
    if (entry->d_name[0] != '.') {
      char path[512];
      (void)snprintf(path, sizeof path, "%s/%s", folder, entry->d_name);
      visit(path);
      ++count;
    }
  }
  (void)closedir(dir);
  return count;
}

static void remove_file(const char *path) { cr_assert_eq(unlink(path), 0, "%s", path); }
static void leave_file(const char *path) { (void)path; }

static void scratch_free(const scratch *s) {
  (void)for_files(s->folder, remove_file);
  cr_assert_eq(rmdir(s->folder), 0);
}

/* --- Usage. ------------------------------------------------------------------- */

Test(cli, help_and_version_are_data) {
  expect_ok(clq(NULL, "--help"), "usage: clq COMMAND");
  expect_ok(clq(NULL, "-h"), "usage: clq COMMAND");
  expect_ok(clq(NULL, "--version"), "clq 0.");
  static const char *const commands[] = {"cache",      "devices", "logits",
                                         "perplexity", "run",     "tokenize"};
  for (size_t i = 0; i < sizeof commands / sizeof commands[0]; ++i) {
    char usage[64];
    (void)snprintf(usage, sizeof usage, "usage: clq %s", commands[i]);
    expect_ok(clq(NULL, commands[i], "--help"), usage);
    expect_ok(clq(NULL, commands[i], "-h"), usage);
    expect_ok(clq(NULL, "--help"), commands[i]);
  }
}

Test(cli, wrong_usage_is_named) {
  command_result none = command_run((const char *const[]){CLQ_TEST_CLI, NULL}, NULL, NULL);
  cr_assert(none.code == 2 && *none.out == '\0' && strstr(none.err, "usage:") != NULL);
  command_free(&none);
  expect_refusal(clq(NULL, "rnu"), 2, "unknown command 'rnu', did you mean 'run'");
  expect_refusal(clq(NULL, "--verison"), 2, "unknown option '--verison'");
  expect_refusal(clq(NULL, "run", "--tepm", "1"), 2, "'--tepm', did you mean '--temp'");
  expect_refusal(clq(NULL, "run", "--qqqqqq"), 2, "unknown option '--qqqqqq'; try");
  expect_refusal(clq(NULL, "run", "-x"), 2, "unknown option '-x'");
  expect_refusal(clq(NULL, "run", "-seed", "1"), 2, "did you mean '--seed'");
  static const char *const readers[] = {"run", "logits", "perplexity", "tokenize"};
  for (size_t i = 0; i < sizeof readers / sizeof readers[0]; ++i) {
    expect_refusal(clq(NULL, readers[i]), 2, "name the model with -m FILE");
  }
  expect_refusal(clq(NULL, "run", "-p", "a"), 2, "-m FILE");
  expect_refusal(clq(NULL, "run", "-m", "x"), 2, "give the text with -p");
  expect_refusal(clq(NULL, "run", "-m", "x", "-p", "a", "-"), 2, "more than one of");
  expect_refusal(clq(NULL, "run", "-m", "x", "hello"), 2, "'hello' is one word too many");
  expect_refusal(clq(NULL, "run", "-m", "x", "-p"), 2, "-p needs a value");
  expect_refusal(clq(NULL, "run", "-m", "x", "-p", "a", "-n", "many"), 2,
                 "expected a whole number");
  expect_refusal(clq(NULL, "run", "-m", "x", "-p", "a", "-n", "-1"), 2,
                 "clq run: -n is '-1', expected a whole number from 0 to 1073741823;");
  expect_refusal(clq(NULL, "run", "-m", "x", "-p", "a", "--tokens=-1"), 2, "--tokens is '-1'");
  expect_refusal(clq(NULL, "run", "-m", "x", "-p", "a", "--seed", "x"), 2,
                 "--seed is 'x', expected a whole number from 0 to 9223372036854775807;");
  expect_refusal(clq(NULL, "run", "-m", "x", "-p", "a", "--parallel", "0"), 2, "from 1 to 64");
  expect_refusal(clq(NULL, "run", "-m", "x", "-p", "a", "--parallel=65"), 2, "from 1 to 64");
  expect_refusal(clq(NULL, "run", "-m", "x", "-p", "a", "-n9999999999999999999"), 2, "from 0");
  expect_refusal(clq(NULL, "run", "-m", "x", "-p", "a", "--temp=nan"), 2, "expected a number");
  expect_refusal(clq(NULL, "run", "-m", "x", "-p", "a", "--top-p=1.5"), 2, "from 0 to 1");
  expect_refusal(clq(NULL, "run", "-m", "x", "-p", "a", "--acts", "q7"), 2, "one of q8g32|q8|f32");
  expect_refusal(clq(NULL, "run", "-m", "x", "-p", "a", "--chat=yes"), 2, "takes no value");
  expect_refusal(clq(NULL, "run", "-m", "x", "-p", "a", "--greedy", "--seed", "1"), 2,
                 "--greedy excludes");
  expect_refusal(clq(NULL, "devices", "-o", "xml"), 2, "one of text|json");
  expect_refusal(clq(NULL, "devices", "0"), 2, "one word too many");
  expect_refusal(clq(NULL, "logits", "-m", "x", "-p", "a"), 2, "--out");
  expect_refusal(clq(NULL, "logits", "-m", "x", "--out", "y"), 2, "--ids");
  expect_refusal(clq(NULL, "logits", "-m", "x", "--ids", "1,,2"), 2, "separated by commas");
  expect_refusal(clq(NULL, "logits", "-m", "x", "--ids", "1,-2"), 2, "from 0");
  expect_refusal(clq(NULL, "tokenize", "-p", "a"), 2, "-m FILE");
  expect_refusal(clq(NULL, "tokenize", "-m", "", "-p", "a"), 2,
                 "clq tokenize: -m is empty: name the model with -m FILE;");
  expect_refusal(clq(NULL, "run", "-m", "", "-p", "a"), 2, "-m is empty");
  expect_refusal(clq(NULL, "run", "-m", "-", "-p", "a"), 2, "not read from standard input; name");
  expect_refusal(clq(NULL, "run", "-m", "x", "-p", "a", "--trace", "-"), 2, "name a file with");
  expect_refusal(clq(NULL, "logits", "-m", "x", "-p", "a", "--out", ""), 2, "--out FILE.npy");
  expect_refusal(clq(NULL, "tokenize", "-m", "x", "-p", "a", "--decode", "--pieces"), 2,
                 "exclude each other");
  expect_refusal(clq(NULL, "perplexity", "-m", "x", "-f", "y", "--stride", "512"), 2,
                 "less than --ctx");
}

/* --- Devices and the cache. --------------------------------------------------- */

Test(cli, devices_are_listed) {
  cJSON *json = expect_json(clq(NULL, "devices", "-o", "json"));
  const cJSON *devices = cJSON_GetObjectItem(json, "devices");
  cr_assert_gt(cJSON_GetArraySize(devices), 0);
  const cJSON *first = cJSON_GetArrayItem(devices, 0);
  cr_assert_eq(number(first, "index"), 0);
  cr_assert(number(first, "global_bytes") > 0 && number(first, "local_bytes") > 0 &&
            number(first, "compute_units") > 0);
  static const char *const texts[] = {"platform", "version", "driver", "type"};
  for (size_t i = 0; i < sizeof texts / sizeof texts[0]; ++i) {
    cr_assert_str_not_empty(string(first, texts[i]));
  }
  cr_assert(cJSON_IsArray(cJSON_GetObjectItem(first, "traits")));
  expect_ok(clq(NULL, "devices"), string(first, "name"));
  cJSON_Delete(json);
}

Test(cli, an_unknown_device_is_named) {
  scratch s = scratch_new("model.gguf");
  put_file(s.file, "GGUF", 4);
  expect_refusal(clq("CLQ_DEVICE=no such device", "run", "-m", s.file, "-p", "a"), 1,
                 "no device 'no such device'");
  expect_refusal(clq(NULL, "run", "-m", s.file, "-p", "a", "--device", "999"), 1,
                 "no device '999'");
  scratch_free(&s);
}

/* The list, which helps to mend it, and the sentence of the other commands behind it. */
static void expect_list_and_sentence(const char *variable, const char *part) {
  command_result text = clq(variable, "devices");
  cr_assert_eq(text.code, 1, "%s: %d", variable, text.code);
  cr_assert_not_null(strstr(text.out, "   traits    "), "%s", text.out);
  cr_assert_null(strstr(text.out, "unknown"), "%s", text.out);
  cr_assert_not_null(strstr(text.err, part), "'%s' is not in: %s", part, text.err);
  command_free(&text);
  command_result json = clq(variable, "devices", "-o", "json");
  cJSON *object = cJSON_Parse(json.out);
  cr_assert(json.code == 1 && strstr(json.err, part) != NULL);
  cr_assert_gt(cJSON_GetArraySize(cJSON_GetObjectItem(object, "devices")), 0);
  cJSON_Delete(object);
  command_free(&json);
}

Test(cli, devices_tell_what_is_wrong_with_the_environment) {
  expect_list_and_sentence("CLQ_DEVICE=no such device",
                           "clq: CLQ_DEVICE: no device 'no such device': there ");
  expect_list_and_sentence("CLQ_DISABLE=cpu,foo", "clq: there is no trait 'foo' to ignore");
  command_result result = clq("CLQ_KERNEL_DIR=/nonexistent", "devices");
  cr_assert(result.code == 1 && strstr(result.out, "platform") != NULL);
  cr_assert_not_null(strstr(result.err, "clq: CLQ_KERNEL_DIR: "), "%s", result.err);
  cr_assert_not_null(strstr(result.err, "; set CLQ_KERNEL_DIR to the folder kernels_cl"));
  command_free(&result);
}

Test(cli, devices_show_the_one_asked_for) {
  cJSON *json = expect_json(clq(NULL, "devices", "--device", "0", "-o", "json"));
  const cJSON *devices = cJSON_GetObjectItem(json, "devices");
  cr_assert_eq(cJSON_GetArraySize(devices), 1);
  const char *name = string(cJSON_GetArrayItem(devices, 0), "name");
  cr_assert_eq(number(cJSON_GetArrayItem(devices, 0), "index"), 0);
  /* --device wins over CLQ_DEVICE. */
  expect_ok(clq("CLQ_DEVICE=no such device", "devices", "--device", name), name);
  expect_refusal(clq(NULL, "devices", "--device", "999"), 1, "clq: no device '999': there ");
  cJSON_Delete(json);
}

/* Registered, and of no use: a library without a device in it, one that is not in use already. */
Test(cli, a_driver_without_a_device_is_not_to_be_installed) {
  scratch s = scratch_new("useless.icd");
  put_file(s.file, "libanl.so.1\n", 12);
  (void)snprintf(s.variable, sizeof s.variable, "OCL_ICD_VENDORS=%s", s.folder);
  command_result result = clq(s.variable, "devices");
  cr_assert_null(strstr(result.err, "install"), "%s", result.err);
  expect_refusal(result, 1,
                 "drivers are registered (useless.icd), but none of them offers a device; for pocl "
                 "set POCL_CACHE_DIR (or HOME) to a folder that can be written to");
  scratch_free(&s);
}

/* What is named and what names it, wherever that stands. */
Test(cli, a_driver_that_cannot_be_loaded_is_named) {
  static const char gone[] =
      "names /nonexistent/libOpenCL.so, which cannot be loaded "
      "(/nonexistent/libOpenCL.so: cannot open shared object file: No such "
      "file or directory); install that driver again";
  scratch s = scratch_new("broken.icd");
  char expected[320];
  char empty[] = "/tmp/clq_cli_XXXXXX";
  char folder[96];
  put_file(s.file, "/nonexistent/libOpenCL.so\n", 26);
  (void)snprintf(expected, sizeof expected, "no OpenCL device: %s %s", s.file, gone);
  (void)snprintf(s.variable, sizeof s.variable, "OCL_ICD_VENDORS=%s", s.folder);
  expect_refusal(clq(s.variable, "devices"), 1, expected);
  (void)snprintf(s.variable, sizeof s.variable, "OCL_ICD_VENDORS=%s", s.file);
  expect_refusal(clq(s.variable, "devices"), 1, expected);
  put_file(s.file, "", 0);
  expect_refusal(clq(s.variable, "devices"), 1, "broken.icd names no library");
  expect_refusal(clq("OCL_ICD_VENDORS=libclq_gone.so", "devices"), 1,
                 "OCL_ICD_VENDORS names libclq_gone.so, which cannot be loaded (");
  expect_refusal(clq("OCL_ICD_VENDORS=/nonexistent/", "devices"), 1,
                 "OCL_ICD_VENDORS is /nonexistent/, where no driver is registered; unset it, or ");
  cr_assert_not_null(mkdtemp(empty));
  (void)snprintf(folder, sizeof folder, "OCL_ICD_VENDORS=%s", empty);
  const char *argv[] = {"/usr/bin/env", folder, NULL, CLQ_TEST_CLI, "devices", NULL};
  argv[2] = "OCL_ICD_FILENAMES=/nonexistent/libOpenCL.so";
  (void)snprintf(expected, sizeof expected, "no OpenCL device: OCL_ICD_FILENAMES %s", gone);
  expect_refusal(command_run(argv, NULL, NULL), 1, expected);
  argv[2] = "OCL_ICD_FILENAMES=/nonexistent/libOpenCL.so:libanl.so.1";
  expect_refusal(command_run(argv, NULL, NULL), 1,
                 "OCL_ICD_FILENAMES names libanl.so.1, but either");
  cr_assert_eq(rmdir(empty), 0);
  scratch_free(&s);
}

Test(cli, no_platform_says_what_to_install) {
  scratch s = scratch_new("model.gguf");
  (void)snprintf(s.variable, sizeof s.variable, "OCL_ICD_VENDORS=%s", s.folder);
  expect_refusal(clq(s.variable, "devices"), 1, "install");
  expect_refusal(clq(s.variable, "devices", "-o", "json"), 1, "install");
  expect_refusal(clq(s.variable, "run", "-m", s.file, "-p", "a"), 1, "install");
  scratch_free(&s);
}

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
Test(cli, a_cache_folder_that_cannot_be_used_is_done_without) {
  static const char *const variables[] = {"CLQ_CACHE_DIR=/proc/clq", "CLQ_CACHE_DIR=/dev/null",
                                          "CLQ_CACHE_DIR=off"};
  for (size_t i = 1; i < sizeof variables / sizeof variables[0]; ++i) {
    cJSON *json = expect_json(clq(variables[i], "cache", "-o", "json"));
    cr_assert_str_empty(string(json, "dir"));
    cr_assert_str_not_empty(string(json, "why"));
    cr_assert_eq(number(json, "files"), 0);
    expect_ok(clq(variables[i], "cache"), string(json, "why"));
    cJSON_Delete(json);
  }
  expect_cache_warning(clq(variables[0], "devices"), "/proc/clq cannot be created (");
  expect_unused(variables[1], "/dev/null is not a folder");
  expect_ok(clq(variables[2], "devices"), "traits");
  expect_ok(clq(variables[2], "cache", "--clear"), "off: turned off");
  const char *const argv[] = {"/usr/bin/env", variables[0], CLQ_TEST_CLI, "devices", NULL};
  command_result told = command_run(argv, "CLQ_VERBOSE=cache", NULL);
  cr_assert(told.code == 0 && strstr(told.out, "traits") != NULL);
  cr_assert_not_null(strstr(told.err, "disk cache off: "), "%s", told.err);
  command_free(&told);
}

Test(cli, a_folder_without_permission_is_done_without) {
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

Test(cli, a_folder_that_is_open_to_others_is_refused) {
  scratch s = scratch_new("link");
  (void)snprintf(s.variable, sizeof s.variable, "CLQ_CACHE_DIR=%s", s.file);
  cr_assert_eq(symlink(s.folder, s.file), 0);
  expect_unused(s.variable, "/link is a symbolic link, which is refused");
  cr_assert_eq(unlink(s.file), 0);
  (void)snprintf(s.variable, sizeof s.variable, "CLQ_CACHE_DIR=%s", s.folder);
  char advice[128];
  (void)snprintf(advice, sizeof advice, "is open to others (chmod 700 %s)", s.folder);
  cr_assert_eq(chmod(s.folder, 0755), 0);
  expect_unused(s.variable, advice);
  cr_assert_eq(chmod(s.folder, 0700), 0);
  expect_ok(clq(s.variable, "cache", "--clear"), "removed 0 files");
  scratch_free(&s);
}

/* Looking does not make it; what compiles does. */
Test(cli, a_folder_that_is_not_there_yet_is_not_made_by_looking) {
  scratch s = scratch_new("below");
  struct stat info;
  (void)snprintf(s.variable, sizeof s.variable, "CLQ_CACHE_DIR=%s/deeper", s.file);
  expect_ok(clq(s.variable, "cache"), "/below/deeper\nthere is none yet");
  expect_ok(clq(s.variable, "cache", "--clear"), "there is none yet");
  cJSON *json = expect_json(clq(s.variable, "cache", "-o", "json"));
  cr_assert_not_null(strstr(string(json, "dir"), "/below/deeper"));
  cr_assert_not_null(strstr(string(json, "why"), "there is none yet"));
  cr_assert_eq(number(json, "files"), 0);
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

static void make_folder_of_file(const char *path) {
  cr_assert_eq(unlink(path), 0);
  cr_assert_eq(mkdir(path, 0700), 0);
}

static void remove_subfolder(const char *path) { cr_assert_eq(rmdir(path), 0, "%s", path); }

/* As on a full disk: a file that cannot be written is told once and leaves no part of itself. Here
 * a folder of its name is in the way. */
Test(cli, a_cache_folder_that_takes_no_more_is_told_once) {
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

Test(cli, what_is_no_word_of_a_variable_is_named) {
  command_result result = clq("CLQ_VERBOSE=cache,foo", "devices");
  cr_assert_eq(result.code, 0);
  cr_assert_not_null(strstr(result.err,
                            "CLQ_VERBOSE has no topic 'foo', expected some of "
                            "dispatch,build,exec,cache\n"),
                     "%s", result.err);
  cr_assert_not_null(strstr(result.err, "clquant cache: "), "%s", result.err);
  cr_assert_null(strstr(result.err, "'cache'"), "%s", result.err);
  command_free(&result);
  expect_refusal(clq("CLQ_DISABLE=cpu,foo", "bench", "limits"), 1,
                 "no trait 'foo' to ignore (CLQ_DISABLE); expected some of cpu,exact_divide,");
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

Test(cli, spoiled_cache_files_are_built_again) {
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
  cr_assert_eq(number(json, "files"), files);
  cr_assert_gt(number(json, "bytes"), 0);
  cr_assert_str_eq(string(json, "dir"), s.folder);
  cJSON_Delete(json);
  cr_assert_eq(for_files(s.folder, leave_file), 0);
  command_free(&first);
  scratch_free(&s);
}

/* --- Files. ------------------------------------------------------------------- */

Test(cli, what_is_no_model_is_refused) {
  scratch s = scratch_new("model.gguf");
  expect_refusal(clq(NULL, "run", "-m", s.file, "-p", "a"), 1,
                 "model.gguf: no such file; give -m the path of a GGUF file\n");
  expect_refusal(clq(NULL, "run", "-m", s.folder, "-p", "a"), 1, "is a directory");
  expect_refusal(clq(NULL, "tokenize", "-m", s.folder, "-p", "a"), 1,
                 "is a directory, expected a file; give -m the GGUF file in it\n");
  expect_refusal(clq(NULL, "tokenize", "-m", "/dev/null", "-p", "a"), 1,
                 "; save the model to a file first\n");
  put_file(s.file, "", 0);
  expect_refusal(clq(NULL, "run", "-m", s.file, "-p", "a"), 1, "is empty; download it again\n");
  put_file(s.file, "GGUF\3\0\0\0\1", 9);
  expect_refusal(clq(NULL, "run", "-m", s.file, "-p", "a"), 1, "model.gguf: ");
  put_file(s.file, "<html>", 6);
  expect_refusal(clq(NULL, "tokenize", "-m", s.file, "-p", "a"), 1, "not a GGUF file");
  gguf_image image = {0};
  gguf_add_string(&image, "general.architecture", "mamba");
  gguf_bytes bytes = gguf_finish(&image);
  put_file(s.file, bytes.data, bytes.size);
  expect_refusal(
      clq(NULL, "perplexity", "-m", s.file, "-p", "a"), 1,
      "architecture 'mamba' (general.architecture) is not supported, only llama is; use");
  free(bytes.data);
  scratch_free(&s);
}

/* All bytes as tokens would be long; "a", "b", "ab", a space and an accent are enough. */
static void add_tokenizer(gguf_image *image, const char *model, const char *pre) {
  static const char *const tokens[] = {"<|im_end|>", "a",        "b",       "ab",
                                       "\xC4\xA0",   "\xC3\x83", "\xC2\xA9"};
  static const char *const merge[] = {"a b"};
  static const int32_t types[] = {3, 1, 1, 1, 1, 1, 1};
  gguf_add_string(image, "tokenizer.ggml.model", model);
  gguf_add_string(image, "tokenizer.ggml.pre", pre);
  gguf_add_string_array(image, "tokenizer.ggml.tokens", tokens, 7);
  gguf_add_array(image, "tokenizer.ggml.token_type", CLQI_GGUF_I32, types, 7, sizeof types);
  gguf_add_string_array(image, "tokenizer.ggml.merges", merge, 1);
  gguf_add_u32(image, "tokenizer.ggml.eos_token_id", 0);
}

/* Metadata of a small LLaMA model, one number of it odd. */
static void add_metadata(gguf_image *image, const char *odd, float value) {
  static const char *const extents[] = {"llama.block_count",
                                        "llama.embedding_length",
                                        "llama.feed_forward_length",
                                        "llama.attention.head_count",
                                        "llama.context_length",
                                        "llama.rope.dimension_count",
                                        "llama.attention.head_count_kv"};
  static const uint32_t usual[] = {1, 64, 64, 4, 64, 16, 2};
  static const char *const floats[] = {"llama.attention.layer_norm_rms_epsilon",
                                       "llama.rope.freq_base", "llama.rope.scaling.factor"};
  gguf_add_string(image, "general.architecture", "llama");
  for (size_t i = 0; i < sizeof extents / sizeof extents[0]; ++i) {
    const bool is_odd = strcmp(extents[i], odd) == 0;
    gguf_add_u32(image, extents[i], is_odd ? (uint32_t)value : usual[i]);
  }
  for (size_t i = 0; i < sizeof floats / sizeof floats[0]; ++i) {
    gguf_add_f32(image, floats[i], strcmp(floats[i], odd) == 0 ? value : 2.0f);
  }
}

static void put_image(const char *path, gguf_image *image) {
  gguf_bytes bytes = gguf_finish(image);
  put_file(path, bytes.data, bytes.size);
  free(bytes.data);
}

static void put_metadata(const char *path, const char *odd, float value) {
  gguf_image image = {0};
  add_metadata(&image, odd, value);
  put_image(path, &image);
}

/* The key, what it is, what it may be, and the way out. */
Test(cli, metadata_that_cannot_be_right_is_named) {
  static const struct {
    const char *key;
    float value;
    const char *sentence;
  } cases[] = {
      {"llama.rope.freq_base", NAN, " is nan, expected a finite number above 1"},
      {"llama.rope.scaling.factor", -1, " is -1, expected a finite number above 0"},
      {"llama.rope.dimension_count", 7, " is 7, expected an even number"},
      {"llama.attention.layer_norm_rms_epsilon", NAN,
       " is nan, expected a finite number of at least 0"},
      {"llama.attention.head_count_kv", 3,
       " is 3, expected a divisor of llama.attention.head_count, 4,"},
      {"llama.block_count", 0, " is 0, expected 1 to 1024"},
      {"none", 0, "key 'tokenizer.ggml.tokens' is missing"},
  };
  scratch s = scratch_new("model.gguf");
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; ++i) {
    put_metadata(s.file, cases[i].key, cases[i].value);
    command_result result = clq(NULL, "run", "-m", s.file, "-p", "a");
    cr_assert(strcmp(cases[i].key, "none") == 0 || strstr(result.err, cases[i].key) != NULL);
    cr_assert_not_null(strstr(result.err, cases[i].sentence), "%s", result.err);
    expect_refusal(result, 1,
                   "; the file is damaged or not a model of this kind: download it again\n");
  }
  expect_refusal(clq(NULL, "tokenize", "-m", s.file, "-p", "a"), 1, ": download it again\n");
  scratch_free(&s);
}

/* Two places of a file that say how many tokens there are. */
Test(cli, a_vocabulary_size_that_is_not_the_tokenizers_is_refused) {
  static const struct {
    int64_t stated;
    const char *sentence;
  } cases[] = {
      {7, "tensor 'token_embd.weight' is missing"}, /* right: the next thing is missed */
      {8, "model.gguf: llama.vocab_size is 8, but tokenizer.ggml.tokens has 7 tokens; "},
      {0, "llama.vocab_size is 0, but tokenizer.ggml.tokens has 7 tokens; "},
      {-1, "llama.vocab_size is -1, but tokenizer.ggml.tokens has 7 tokens; "},
      {INT64_MAX, "llama.vocab_size is 9223372036854775807, but tokenizer.ggml.tokens has 7 "},
  };
  scratch s = scratch_new("model.gguf");
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; ++i) {
    gguf_image image = {0};
    add_metadata(&image, "none", 0);
    add_tokenizer(&image, "gpt2", "smollm");
    gguf_add_value(&image, "llama.vocab_size", CLQI_GGUF_I64, &cases[i].stated, 8);
    put_image(s.file, &image);
    expect_refusal(clq(NULL, "run", "-m", s.file, "-p", "a"), 1, cases[i].sentence);
  }
  scratch_free(&s);
}

Test(cli, what_cannot_be_written_or_read_is_said_first) {
  scratch s = scratch_new("no/logits.npy");
  expect_refusal(clq(NULL, "logits", "-m", "none", "-p", "a", "--out", s.file), 1,
                 "cannot be written: No such file or directory; give --out another name\n");
  expect_refusal(clq(NULL, "logits", "-m", "none", "-p", "a", "--out", s.folder), 1,
                 "no regular file");
  (void)snprintf(s.file, sizeof s.file, "%s/logits.npy", s.folder);
  expect_refusal(clq(NULL, "logits", "-m", "none", "-p", "a", "--out", s.file), 1,
                 "none: no such file");
  cr_assert_eq(for_files(s.folder, leave_file), 0, "a failed command leaves no file");
  scratch_free(&s);
}

/* --- Text. -------------------------------------------------------------------- */

static void put_foreign_tokenizer(const char *path, const char *model, const char *pre) {
  gguf_image image = {0};
  add_tokenizer(&image, model, pre);
  put_image(path, &image);
}

static void put_tokenizer(const char *path) { put_foreign_tokenizer(path, "gpt2", "smollm"); }

static void expect_text(command_result result, const char *text) {
  cr_assert_eq(result.code, 0, "%s", result.err);
  cr_assert_str_eq(result.out, text);
  command_free(&result);
}

Test(cli, text_becomes_ids_and_back) {
  scratch s = scratch_new("t.gguf");
  put_tokenizer(s.file);
  expect_text(clq(NULL, "tokenize", "-m", s.file, "-p", "abba"), "3 2 1\n");
  expect_text(clq(NULL, "tokenize", "-m", s.file, "-p", ""), "");
  expect_text(clq_reading("ab\n\nb a", "tokenize", "-m", s.file, "-"), "3\n\n2 4 1\n");
  expect_text(clq_reading("ab\n", "tokenize", "--model", s.file, "-f", "-"), "3\n");
  expect_text(clq(NULL, "tokenize", "-m", s.file, "--pieces", "-p", "ab\xC3\xA9"),
              "\"ab\" \"\\xc3\" \"\\xa9\"\n");
  expect_text(clq_reading("3 2\t1\n\n5 6\n 0", "tokenize", "-m", s.file, "--decode", "-"),
              "abba\n\n\xC3\xA9\n<|im_end|>\n");
  expect_refusal(clq(NULL, "tokenize", "-m", s.file, "--decode", "-p", "1x 2"), 1,
                 "'1x' is no token id");
  expect_refusal(clq(NULL, "tokenize", "-m", s.file, "--decode", "-p", "7"), 1,
                 "clq: '7' is no token id of the model, expected whole numbers from 0 to 6; `clq "
                 "tokenize` without --decode");
  expect_refusal(clq(NULL, "tokenize", "-m", s.file, "--decode", "-p", "99999999999"), 1,
                 "'99999999999' is no token id");
  expect_refusal(clq(NULL, "tokenize", "-m", s.file, "-f", "/no/such/file"), 1,
                 "/no/such/file: cannot be opened: No such file or directory; give -f a file");
  put_foreign_tokenizer(s.file, "llama", "smollm");
  expect_refusal(
      clq(NULL, "tokenize", "-m", s.file, "-p", "a"), 1,
      "t.gguf: its tokenizer is \"llama\", supported is gpt2 (byte-level BPE); use another "
      "model\n");
  put_foreign_tokenizer(s.file, "gpt2", "chameleon");
  expect_refusal(clq(NULL, "tokenize", "-m", s.file, "-p", "a"), 1, "; use another model\n");
  scratch_free(&s);
}

Test(cli, a_full_stdout_is_an_error) {
  if (access("/dev/full", W_OK) != 0) {
    cr_skip_test("there is no /dev/full");
  }
  const char *const argv[] = {"/bin/sh", "-c", CLQ_TEST_CLI " --version > /dev/full", NULL};
  expect_refusal(command_run(argv, NULL, NULL), 1, "cannot write to standard output");
}

/* --- A model. ----------------------------------------------------------------- */

static const char *test_model(void) {
  const char *path = getenv("CLQ_TEST_MODEL");
  if (path == NULL) {
    cr_skip_test("CLQ_TEST_MODEL is not set");
  }
  return path;
}

Test(cli, run_is_reproducible) {
  const char *model = test_model();
  command_result first = clq(NULL, "run", "-m", model, "-p", "Once upon a", "-n", "8");
  cr_assert_eq(first.code, 0, "%s", first.err);
  cr_assert(clq_is_silent(first.err), "%s", first.err);
  cJSON *json = expect_json(
      clq(NULL, "run", "-m", model, "-p", "Once upon a", "-n", "8", "--greedy", "-o", "json"));
  cr_assert_eq(strncmp(first.out, string(json, "text"), strlen(string(json, "text"))), 0,
               "'%s' and '%s'", first.out, string(json, "text"));
  cr_assert_eq(cJSON_GetArraySize(cJSON_GetObjectItem(json, "prompt_tokens")), 3);
  cr_assert_eq(cJSON_GetArraySize(cJSON_GetObjectItem(json, "tokens")), 8);
  cr_assert_str_eq(string(json, "stop_reason"), "length");
  cr_assert_str_eq(string(json, "acts"), "q8g32");
  cr_assert_str_eq(string(json, "kv"), "f16");
  cr_assert_str_not_empty(string(json, "device"));
  cr_assert_str_not_empty(string(json, "model"));
  cr_assert_str_not_empty(string(json, "kernel_cache"));
  static const char *const positive[] = {
      "load_s",      "first_token_s", "prefill_tokens_per_s", "decode_tokens_per_s", "weight_bytes",
      "arena_bytes", "kv_bytes",      "peak_rss_bytes"};
  for (size_t i = 0; i < sizeof positive / sizeof positive[0]; ++i) {
    cr_assert_gt(number(json, positive[i]), 0, "%s", positive[i]);
  }
  cr_assert_geq(number(json, "build_s"), 0);
  cr_assert_null(cJSON_GetObjectItem(json, "kernels"));
  cJSON_Delete(json);
  command_free(&first);
}

Test(cli, run_samples_by_its_seed) {
  const char *model = test_model();
  char *texts[3];
  static const char *const seeds[] = {"7", "7", "8"};
  for (size_t i = 0; i < 3; ++i) {
    command_result result = clq(NULL, "run", "-m", model, "-p", "The", "-n", "12", "--temp", "1.5",
                                "--top-k", "200", "--seed", seeds[i]);
    cr_assert_eq(result.code, 0, "%s", result.err);
    texts[i] = result.out;
    free(result.err);
  }
  cr_assert_str_eq(texts[0], texts[1]);
  cr_assert_str_neq(texts[0], texts[2]);
  for (size_t i = 0; i < 3; ++i) {
    free(texts[i]);
  }
}

Test(cli, run_ends_for_the_reason_it_gives) {
  const char *model = test_model();
  cJSON *json = expect_json(
      clq(NULL, "run", "-m", model, "-p", "Once upon a", "-n", "50", "--ctx", "10", "-o", "json"));
  cr_assert_str_eq(string(json, "stop_reason"), "context");
  /* Three tokens in, and what follows the tenth does not need room. */
  cr_assert_eq(cJSON_GetArraySize(cJSON_GetObjectItem(json, "tokens")), 8);
  cJSON_Delete(json);
  json = expect_json(clq(NULL, "run", "-m", model, "-p", "Once", "-n", "0", "-o", "json"));
  cr_assert_str_eq(string(json, "stop_reason"), "length");
  cr_assert(cJSON_IsNull(cJSON_GetObjectItem(json, "first_token_s")));
  cJSON_Delete(json);
  expect_refusal(clq(NULL, "run", "-m", model, "-p", "Once upon a", "--ctx", "2"), 1,
                 "the prompt has 3 tokens, the context holds 2");
  expect_refusal(clq(NULL, "run", "-m", model, "-p", ""), 1, "no tokens");
  expect_refusal(clq(NULL, "run", "-m", model, "-p", "a", "--kv", "q4"), 1, "not offered");
  expect_refusal(clq(NULL, "run", "-m", model, "-p", "a", "--ctx", "9999999"), 1,
                 "--ctx is 9999999, the model was trained for 8192; use a smaller --ctx");
  expect_refusal(clq(NULL, "perplexity", "-m", model, "-p", "a b c", "--ctx", "9999999"), 1,
                 "use a smaller --ctx");
}

/* Tokens of an object and of another one. */
static void expect_same_tokens(const cJSON *a, const cJSON *b) {
  cr_assert(
      cJSON_Compare(cJSON_GetObjectItem(a, "tokens"), cJSON_GetObjectItem(b, "tokens"), true));
  cr_assert_str_eq(string(a, "text"), string(b, "text"));
  cr_assert_str_eq(string(a, "stop_reason"), string(b, "stop_reason"));
}

/* Each answer is what a run of its own with that seed gives. */
Test(cli, parallel_answers_are_those_of_runs_alone) {
  const char *model = test_model();
  cJSON *json = expect_json(clq(NULL, "run", "-m", model, "-p", "The sky is", "-n", "9", "--temp",
                                "1.3", "--seed", "40", "--parallel", "3", "-o", "json"));
  const cJSON *answers = cJSON_GetObjectItem(json, "answers");
  cr_assert_eq(cJSON_GetArraySize(answers), 3);
  expect_same_tokens(json, cJSON_GetArrayItem(answers, 0));
  static const char *const seeds[] = {"40", "41", "42"};
  double kv_bytes = 0;
  for (int i = 0; i < 3; ++i) {
    cJSON *alone = expect_json(clq(NULL, "run", "-m", model, "-p", "The sky is", "-n", "9",
                                   "--temp", "1.3", "--seed", seeds[i], "-o", "json"));
    expect_same_tokens(alone, cJSON_GetArrayItem(answers, i));
    cr_assert_null(cJSON_GetObjectItem(alone, "answers"));
    kv_bytes += number(alone, "kv_bytes");
    cJSON_Delete(alone);
  }
  cr_assert_eq(number(json, "kv_bytes"), kv_bytes);
  cr_assert(number(json, "decode_tokens_per_s") > 0 && number(json, "first_token_s") > 0);
  cJSON_Delete(json);
}

/* A table that fits 100 columns, no kernel in it twice. */
static void expect_short_lines(const char *table) {
  const char *kernels = strstr(table, "  kernel\n");
  cr_assert_not_null(kernels, "%s", table);
  kernels = strchr(kernels, '\n') + 1;
  for (const char *line = kernels; *line != '\0'; line = strchr(line, '\n') + 1) {
    enum { NAME = 42 };
    const size_t length = strcspn(line, "\n");
    cr_assert(length > NAME && length <= 100, "%zu columns: %.*s", length, (int)length, line);
    for (const char *other = kernels; other < line; other = strchr(other, '\n') + 1) {
      cr_assert_neq(strncmp(other + NAME, line + NAME, length - NAME + 1), 0, "twice: %s", line);
    }
  }
  cr_assert_null(strstr(kernels, "-D"), "%s", kernels);
}

/* Where a text of its own ends, an answer ends; the others go on. */
Test(cli, parallel_answers_end_one_by_one) {
  const char *model = test_model();
  cJSON *json = expect_json(clq(NULL, "run", "-m", model, "--chat", "-p", "Say yes or no.", "-n",
                                "24", "--temp", "1.5", "--parallel", "8", "-o", "json"));
  const cJSON *answers = cJSON_GetObjectItem(json, "answers");
  cr_assert_eq(cJSON_GetArraySize(answers), 8);
  int ended = 0;
  for (int i = 0; i < 8; ++i) {
    const cJSON *answer = cJSON_GetArrayItem(answers, i);
    const int count = cJSON_GetArraySize(cJSON_GetObjectItem(answer, "tokens"));
    const bool eos = strcmp(string(answer, "stop_reason"), "eos") == 0;
    cr_assert(eos ? count <= 24 : count == 24, "%d tokens, %s", count,
              string(answer, "stop_reason"));
    ended += eos && count < 24;
  }
  cr_assert(ended > 0 && ended < 8, "%d of 8 ended: the case tests nothing", ended);
  char stopped[64];
  (void)snprintf(stopped, sizeof stopped, "stopped by eos (%d), length (%d)\n", ended, 8 - ended);
  cJSON_Delete(json);
  command_result table = clq(NULL, "run", "-m", model, "--chat", "-p", "Say yes or no.", "-n", "24",
                             "--temp", "1.5", "--parallel", "8", "--stats");
  cr_assert_not_null(strstr(table.err, stopped), "'%s' is not in: %s", stopped, table.err);
  expect_short_lines(table.err);
  command_free(&table);
  json = expect_json(clq(NULL, "run", "-m", model, "-p", "Once upon a", "-n", "50", "--ctx", "10",
                         "--parallel", "2", "-o", "json"));
  answers = cJSON_GetObjectItem(json, "answers");
  expect_same_tokens(cJSON_GetArrayItem(answers, 0), cJSON_GetArrayItem(answers, 1));
  cr_assert_str_eq(string(json, "stop_reason"), "context");
  cr_assert_eq(cJSON_GetArraySize(cJSON_GetObjectItem(json, "tokens")), 8);
  cJSON_Delete(json);
  json = expect_json(
      clq(NULL, "run", "-m", model, "-p", "Once", "-n", "0", "--parallel", "2", "-o", "json"));
  answers = cJSON_GetObjectItem(json, "answers");
  cr_assert_str_eq(string(cJSON_GetArrayItem(answers, 1), "stop_reason"), "length");
  cr_assert(cJSON_IsNull(cJSON_GetObjectItem(json, "decode_tokens_per_s")));
  cJSON_Delete(json);
}

Test(cli, parallel_answers_are_told_apart) {
  const char *model = test_model();
  command_result one = clq(NULL, "run", "-m", model, "-p", "Once upon a", "-n", "6");
  command_result two = clq(NULL, "run", "-m", model, "-p", "Once upon a", "-n", "6", "--parallel",
                           "2", "--greedy", "--stats");
  char expected[1024];
  (void)snprintf(expected, sizeof expected, "--- answer 1 of 2 ---\n%s--- answer 2 of 2 ---\n%s",
                 one.out, one.out);
  cr_assert_eq(two.code, 0, "%s", two.err);
  cr_assert_str_eq(two.out, expected);
  cr_assert_not_null(strstr(two.err, "3 in, 12 out, stopped by length\n"), "%s", two.err);
  command_free(&one);
  command_free(&two);
}

Test(cli, run_traces_its_kernels) {
  const char *model = test_model();
  scratch s = scratch_new("trace.json");
  cJSON *json = expect_json(clq(NULL, "run", "-m", model, "-p", "Once", "-n", "2", "--stats",
                                "--trace", s.file, "-o", "json"));
  const cJSON *kernels = cJSON_GetObjectItem(json, "kernels");
  cr_assert_gt(cJSON_GetArraySize(kernels), 0);
  const cJSON *kernel = cJSON_GetArrayItem(kernels, 0);
  cr_assert(number(kernel, "calls") > 0 && number(kernel, "device_s") > 0);
  cr_assert_not_null(strstr(string(kernel, "name"), " -DCLQ_"), "the whole name");
  cJSON_Delete(json);
  FILE *file = fopen(s.file, "rb");
  cr_assert_not_null(file);
  cr_assert_eq(fgetc(file), '{');
  (void)fclose(file);
  expect_refusal(clq(NULL, "run", "-m", s.file, "-p", "a"), 1, "not a GGUF file");
  scratch_free(&s);
}

typedef struct matrix {
  int rows, cols;
  float *values;
} matrix;

static matrix read_npy(const char *path) {
  FILE *file = fopen(path, "rb");
  cr_assert_not_null(file);
  char header[129] = {0};
  cr_assert_eq(fread(header, 1, 128, file), 128);
  cr_assert_eq(memcmp(header, "\x93NUMPY\x01\x00\x76\x00", 10), 0);
  matrix m = {0};
  cr_assert_eq(sscanf(header + 10, "{'descr': '<f4', 'fortran_order': False, 'shape': (%d, %d), }",
                      &m.rows, &m.cols),
               2, "%s", header + 10);
  const size_t count = (size_t)m.rows * (size_t)m.cols;
  m.values = malloc((count + 1) * sizeof *m.values);
  cr_assert_not_null(m.values);
  cr_assert_eq(fread(m.values, sizeof *m.values, count + 1, file), count);
  (void)fclose(file);
  return m;
}

static int likeliest(const matrix *m, int row) {
  const float *values = m->values + (size_t)row * (size_t)m->cols;
  int best = 0;
  for (int i = 1; i < m->cols; ++i) {
    best = values[i] > values[best] ? i : best;
  }
  return best;
}

static double nll_of(const matrix *m, int row, int id) {
  const float *values = m->values + (size_t)row * (size_t)m->cols;
  const double top = values[likeliest(m, row)];
  double sum = 0;
  for (int i = 0; i < m->cols; ++i) {
    sum += exp(values[i] - top);
  }
  return top + log(sum) - values[id];
}

/* Three commands that must agree: the last row's largest logit is what run draws; the rows' losses
 * are what perplexity adds up, whatever the windows, for one window. */
Test(cli, logits_agree_with_run_and_perplexity) {
  const char *model = test_model();
  scratch s = scratch_new("logits.npy");
  const char *text = "The quick brown fox jumps over the lazy";
  expect_text(clq(NULL, "logits", "-m", model, "-p", text, "--out", s.file), "");
  const matrix m = read_npy(s.file);
  cJSON *json = expect_json(clq(NULL, "run", "-m", model, "-p", text, "-n", "1", "-o", "json"));
  const cJSON *prompt = cJSON_GetObjectItem(json, "prompt_tokens");
  const int count = cJSON_GetArraySize(prompt);
  cr_assert(m.rows == count && m.cols > 1000);
  cr_assert_eq(cJSON_GetArrayItem(cJSON_GetObjectItem(json, "tokens"), 0)->valueint,
               likeliest(&m, count - 1));
  char ids[256] = "";
  double nll = 0;
  for (int i = 0; i < count; ++i) {
    const int id = cJSON_GetArrayItem(prompt, i)->valueint;
    const size_t used = strlen(ids);
    (void)snprintf(ids + used, sizeof ids - used, "%s%d", i == 0 ? "" : ",", id);
    nll += i == 0 ? 0 : nll_of(&m, i - 1, id);
  }
  cJSON_Delete(json);
  json = expect_json(clq(NULL, "perplexity", "-m", model, "-p", text, "-o", "json"));
  cr_assert_eq(number(json, "tokens_scored"), count - 1);
  cr_assert_float_eq(number(json, "nll"), nll, 1e-6 * nll);
  cr_assert_float_eq(number(json, "perplexity"), exp(nll / (count - 1)), 1e-4);
  cr_assert(number(json, "ctx") == 512 && number(json, "stride") == 256);
  cJSON_Delete(json);
  /* Windows of 4 score as many tokens, each with less before it. */
  json = expect_json(clq(NULL, "perplexity", "-m", model, "-p", text, "--ctx", "4", "--stride", "2",
                         "-o", "json"));
  cr_assert_eq(number(json, "tokens_scored"), count - 1);
  cr_assert(fabs(number(json, "nll") - nll) > 1e-3);
  cJSON_Delete(json);
  char other[128];
  (void)snprintf(other, sizeof other, "%s/ids.npy", s.folder);
  expect_text(clq(NULL, "logits", "-m", model, "--ids", ids, "--out", other), "");
  const matrix same = read_npy(other);
  cr_assert_eq(memcmp(same.values, m.values, (size_t)m.rows * (size_t)m.cols * sizeof(float)), 0);
  expect_refusal(clq(NULL, "logits", "-m", model, "--ids", "2147483647", "--out", other), 1,
                 "--ids has 2147483647, expected token ids of the model, 0 to ");
  cr_assert_eq(for_files(s.folder, leave_file), 2, "a failed command leaves what was there");
  free(m.values);
  free(same.values);
  scratch_free(&s);
}

Test(cli, logits_go_to_stdout) {
  const char *model = test_model();
  scratch s = scratch_new("logits.npy");
  expect_text(clq(NULL, "logits", "-m", model, "-p", "Once upon a", "--out", s.file), "");
  const matrix m = read_npy(s.file);
  /* In the folder, to see that no file named - comes up. */
  const char *const argv[] = {
      "/bin/sh",    "-c",  "cd \"$2\"; exec \"$0\" logits -m \"$1\" -p 'Once upon a' --out -",
      CLQ_TEST_CLI, model, s.folder,
      NULL};
  command_result result = command_run(argv, NULL, NULL);
  cr_assert_eq(result.code, 0, "%s", result.err);
  const size_t bytes = (size_t)m.rows * (size_t)m.cols * sizeof(float);
  cr_assert_eq(result.out_length, 128 + bytes);
  cr_assert_eq(memcmp(result.out, "\x93NUMPY", 6), 0);
  cr_assert_eq(memcmp(result.out + 128, m.values, bytes), 0);
  cr_assert_eq(for_files(s.folder, leave_file), 1);
  command_free(&result);
  free(m.values);
  scratch_free(&s);
}

/* The master of a pseudo-terminal is one, too. */
Test(cli, logits_are_not_for_a_terminal) {
  const char *const argv[] = {"/bin/sh", "-c",
                              CLQ_TEST_CLI " logits -m none -p a --out - > /dev/ptmx", NULL};
  if (access("/dev/ptmx", W_OK) != 0) {
    cr_skip_test("there is no /dev/ptmx");
  }
  expect_refusal(command_run(argv, NULL, NULL), 1, "standard output is a terminal");
}

static void wait_for_output(const command *running) {
  struct stat info = {0};
  for (int i = 0; i < 3000 && info.st_size == 0; ++i) {
    (void)usleep(10000);
    cr_assert_eq(fstat(fileno(running->out), &info), 0);
  }
  cr_assert_gt(info.st_size, 0, "no text within 30 s");
}

Test(cli, an_interrupt_keeps_what_was_produced) {
  const char *model = test_model();
  /* Warms the kernels up, so that the text starts at once. */
  expect_ok(clq(NULL, "run", "-m", model, "-p", "Once upon a time", "-n", "1"), "\n");
  const char *const argv[] = {CLQ_TEST_CLI, "run",  "-m",     model, "-p", "Once upon a time",
                              "-n",         "4000", "--temp", "1.0", NULL};
  command running = command_start(argv, NULL, NULL);
  wait_for_output(&running);
  cr_assert_eq(kill(running.process, SIGINT), 0);
  command_result result = command_wait(&running);
  cr_assert_eq(result.code, 0, "%d: %s", result.code, result.err);
  cr_assert(clq_is_silent(result.err), "%s", result.err);
  cr_assert(result.out_length > 1 && result.out[result.out_length - 1] == '\n');
  command_free(&result);
}

/* --- Memory. -------------------------------------------------------------------- */

/* Drivers that give out more than there is must not be found out by an assertion of theirs, and the
 * caches of all answers together may exceed what each of them does not. */
Test(cli, too_little_memory_is_said_with_what_to_do) {
#ifdef __SANITIZE_ADDRESS__
  cr_skip_test("the address sanitizer reserves more address space than the limit allows");
#endif
  const char *model = test_model();
  const char *const limited[] = {
      "/bin/sh",
      "-c",
      "ulimit -v 3000000; exec \"$0\" run -m \"$1\" -p hi -n 2 --parallel 64 --ctx 8192",
      CLQ_TEST_CLI,
      model,
      NULL};
  expect_refusal(command_run(limited, NULL, NULL), 1,
                 "; use a smaller --ctx or --parallel, or free memory\n");
  const char *const floats[] = {
      "/bin/sh",
      "-c",
      "ulimit -v 3000000; exec \"$0\" run -m \"$1\" -p hi -n 2 --parallel 64 --ctx 8192 --kv f32",
      CLQ_TEST_CLI,
      model,
      NULL};
  expect_refusal(command_run(floats, NULL, NULL), 1, "--parallel, --kv f16, or free memory\n");
}

Test(cli, text_without_an_end_is_refused) {
  const char *const endless[] = {CLQ_TEST_CLI, "tokenize",  "-m", test_model(),
                                 "-f",         "/dev/zero", NULL};
  expect_refusal(command_run(endless, NULL, NULL), 1, "more than 256 MiB of text");
}

/* --- Signals. ------------------------------------------------------------------- */

/* Starts argv with a pipe as stdin that nobody writes to; *end is to be closed. */
static command start_waiting(const char *const *argv, int *end) {
  int ends[2];
  cr_assert_eq(pipe(ends), 0);
  char path[32];
  (void)snprintf(path, sizeof path, "/dev/fd/%d", ends[0]);
  const char *words[MOST_WORDS] = {"/bin/sh", "-c", "exec \"$@\" < \"$0\"", path};
  for (size_t i = 0; argv[i] != NULL; ++i) {
    words[4 + i] = argv[i];
  }
  command running = command_start(words, NULL, NULL);
  (void)close(ends[0]);
  *end = ends[1];
  return running;
}

Test(cli, an_interrupt_ends_the_wait_for_stdin) {
  const char *model = test_model();
  static const char *const commands[] = {"tokenize", "run", "perplexity"};
  for (size_t i = 0; i < sizeof commands / sizeof commands[0]; ++i) {
    int end = -1;
    const char *const argv[] = {CLQ_TEST_CLI, commands[i], "-m", model, "-", NULL};
    command running = start_waiting(argv, &end);
    (void)sleep(3); /* the model is loaded and the wait has begun, or soon will */
    cr_assert_eq(kill(running.process, SIGINT), 0);
    command_result result = command_wait(&running);
    cr_assert_eq(result.code, 0, "%s: %d: %s", commands[i], result.code, result.err);
    cr_assert_str_empty(result.out);
    cr_assert(clq_is_silent(result.err), "%s", result.err);
    command_free(&result);
    (void)close(end);
  }
}

/* What would be half a file goes with the process. */
Test(cli, a_kill_leaves_no_temporary_file) {
  const char *model = test_model();
  static const int signals[] = {SIGTERM, SIGHUP};
  for (size_t i = 0; i < sizeof signals / sizeof signals[0]; ++i) {
    scratch s = scratch_new("out.npy");
    int end = -1;
    const char *const argv[] = {CLQ_TEST_CLI, "logits", "-m", model, "-", "--out", s.file, NULL};
    command running = start_waiting(argv, &end);
    for (int t = 0; t < 3000 && for_files(s.folder, leave_file) == 0; ++t) {
      (void)usleep(10000);
    }
    cr_assert_eq(for_files(s.folder, leave_file), 1, "the temporary file did not appear");
    cr_assert_eq(kill(running.process, signals[i]), 0);
    command_result result = command_wait(&running);
    cr_assert_eq(result.code, 128 + signals[i]);
    cr_assert_eq(for_files(s.folder, leave_file), 0);
    command_free(&result);
    (void)close(end);
    scratch_free(&s);
  }
}

/* --- What cannot be right. ------------------------------------------------------- */

Test(cli, a_trace_that_cannot_be_written_is_said_first) {
  scratch s = scratch_new("no.gguf");
  /* Said before the model is opened, which is not there. */
  expect_refusal(clq(NULL, "run", "-m", s.file, "-p", "a", "--trace", "/nonexistent/t.json"), 1,
                 "trace: /nonexistent/t.json cannot be written");
  expect_refusal(clq(NULL, "run", "-m", s.file, "-p", "a", "--trace", s.folder), 1,
                 "it is a folder");
  scratch_free(&s);
}

/* A copy of the model whose weights are 0xFF: scales that are NaN. */
static void damage(const char *model, const char *to) {
  enum { KEPT = 4 << 20 }; /* names and numbers lie before it */
  FILE *in = fopen(model, "rb");
  FILE *out = fopen(to, "wb");
  cr_assert(in != NULL && out != NULL);
  static char piece[1 << 16];
  long at = 0;
  for (size_t got; (got = fread(piece, 1, sizeof piece, in)) > 0; at += (long)got) {
    if (at >= KEPT) {
      memset(piece, 0xFF, got);
    }
    cr_assert_eq(fwrite(piece, 1, got, out), got);
  }
  (void)fclose(in);
  cr_assert_eq(fclose(out), 0);
}

Test(cli, logits_that_are_nan_are_a_failure) {
  const char *model = test_model();
  scratch s = scratch_new("nan.gguf");
  char out[128];
  (void)snprintf(out, sizeof out, "%s/out.npy", s.folder);
  damage(model, s.file);
  expect_refusal(clq(NULL, "perplexity", "-m", s.file, "-p", "Once upon a time", "-o", "json"), 1,
                 "try --acts f32 --kv f32");
  expect_refusal(clq(NULL, "logits", "-m", s.file, "-p", "Once upon", "--out", out), 1,
                 "NaN or infinite, nothing is written");
  cr_assert_neq(access(out, F_OK), 0);
  expect_refusal(clq(NULL, "run", "-m", s.file, "-p", "Once", "--acts", "f32", "--kv", "f32"), 1,
                 "; fetch the file again");
  scratch_free(&s);
}
