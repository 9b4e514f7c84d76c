/* clq devices, and the variables that every command obeys. */
#include <cjson/cJSON.h>
#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "clq.h"

Test(cli_devices, devices_are_listed) {
  cJSON *json = expect_json(clq(NULL, "devices", "-o", "json"));
  const cJSON *devices = cJSON_GetObjectItem(json, "devices");
  cr_assert_gt(cJSON_GetArraySize(devices), 0);
  const cJSON *first = cJSON_GetArrayItem(devices, 0);
  cr_assert_eq(json_number(first, "index"), 0);
  cr_assert(json_number(first, "global_bytes") > 0 && json_number(first, "local_bytes") > 0 &&
            json_number(first, "compute_units") > 0);
  static const char *const texts[] = {"platform", "version", "driver", "type"};
  for (size_t i = 0; i < sizeof texts / sizeof texts[0]; ++i) {
    cr_assert_str_not_empty(json_string(first, texts[i]));
  }
  cr_assert(cJSON_IsArray(cJSON_GetObjectItem(first, "traits")));
  expect_ok(clq(NULL, "devices"), json_string(first, "name"));
  cJSON_Delete(json);
}

Test(cli_devices, an_unknown_device_is_named) {
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

Test(cli_devices, devices_tell_what_is_wrong_with_the_environment) {
  expect_list_and_sentence("CLQ_DEVICE=no such device",
                           "clq: CLQ_DEVICE: no device 'no such device': there ");
  expect_list_and_sentence("CLQ_DISABLE=cpu,foo", "clq: there is no trait 'foo' to ignore");
  command_result result = clq("CLQ_KERNEL_DIR=/nonexistent", "devices");
  cr_assert(result.code == 1 && strstr(result.out, "platform") != NULL);
  cr_assert_not_null(strstr(result.err, "clq: CLQ_KERNEL_DIR: "), "%s", result.err);
  cr_assert_not_null(strstr(result.err, "; set CLQ_KERNEL_DIR to the folder kernels_cl"));
  command_free(&result);
}

Test(cli_devices, devices_show_the_one_asked_for) {
  cJSON *json = expect_json(clq(NULL, "devices", "--device", "0", "-o", "json"));
  const cJSON *devices = cJSON_GetObjectItem(json, "devices");
  cr_assert_eq(cJSON_GetArraySize(devices), 1);
  const char *name = json_string(cJSON_GetArrayItem(devices, 0), "name");
  cr_assert_eq(json_number(cJSON_GetArrayItem(devices, 0), "index"), 0);
  /* --device wins over CLQ_DEVICE. */
  expect_ok(clq("CLQ_DEVICE=no such device", "devices", "--device", name), name);
  expect_refusal(clq(NULL, "devices", "--device", "999"), 1, "clq: no device '999': there ");
  cJSON_Delete(json);
}

/* Registered, and of no use: a library without a device in it, one that is not in use already. */
Test(cli_devices, a_driver_without_a_device_is_not_to_be_installed) {
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
Test(cli_devices, a_driver_that_cannot_be_loaded_is_named) {
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

Test(cli_devices, no_platform_says_what_to_install) {
  scratch s = scratch_new("model.gguf");
  (void)snprintf(s.variable, sizeof s.variable, "OCL_ICD_VENDORS=%s", s.folder);
  expect_refusal(clq(s.variable, "devices"), 1, "install");
  expect_refusal(clq(s.variable, "devices", "-o", "json"), 1, "install");
  expect_refusal(clq(s.variable, "run", "-m", s.file, "-p", "a"), 1, "install");
  scratch_free(&s);
}

Test(cli_devices, what_is_no_word_of_a_variable_is_named) {
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

/* No file takes a byte, so pocl's compiler builds nothing; that is no trait that the device lacks.
 */
Test(cli_devices, a_compiler_that_fails_is_told_from_a_trait_that_is_missing) {
  scratch s = scratch_new("x");
  static const char script[] =
      "export CLQ_CACHE_DIR=off POCL_CACHE_DIR=\"$1/pocl\"; mkdir \"$1/pocl\";"
      "(trap '' XFSZ; ulimit -f 0; \"$0\" devices 2>&1; echo \"code $?\") | cat;"
      "rm -r \"$1/pocl\"";
  command_result result = command_run(
      (const char *const[]){"/bin/sh", "-c", script, CLQ_TEST_CLI, s.folder, NULL}, NULL, NULL);
  if (strstr(result.out, "Portable Computing Language") == NULL) {
    cr_skip_test("this driver compiles without files");
  }
  cr_assert_not_null(strstr(result.out, "the driver's compiler builds nothing"), "%s", result.out);
  cr_assert_not_null(strstr(result.out, "code 1"), "%s", result.out);
  command_free(&result);
  scratch_free(&s);
}
