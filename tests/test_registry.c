/* Every kernel's file has a reference, a test and a bench, and every device file is registered. */
#include <criterion/criterion.h>
#include <dirent.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "ops/table.h"
#include "ops/variant.h"

/* Kernels that no operator launches. */
static const char *const helpers[] = {"probe", "selftest"};

static const char *const files[] = {
#define CLQ_KERNEL(kernel, file) #file,
#include "kernels.def"
#undef CLQ_KERNEL
};
enum { FILES = sizeof files / sizeof files[0] };

static bool exists(const char *folder, const char *prefix, const char *name) {
  char path[512];
  (void)snprintf(path, sizeof path, "%s/../%s/%s%s.c", CLQ_TEST_DIR, folder, prefix, name);
  return access(path, R_OK) == 0;
}

/* The operator whose name a file bears, alone or before an '_': gemm of gemm_q8_tile, integer_norm
 * of integer_norm. NULL: none. */
static const char *operator_of(const char *file) {
  const char *best = NULL;
  for (size_t i = 0; i < clqi_op_count; ++i) {
    const char *name = clqi_op_table[i] == NULL ? "" : clqi_op_table[i]->name;
    const size_t n = strlen(name);
    const bool bears = n > 0 && strncmp(file, name, n) == 0 && (file[n] == '\0' || file[n] == '_');
    if (bears && (best == NULL || n > strlen(best))) {
      best = name;
    }
  }
  return best;
}

static void check_operator(const char *name) {
  cr_expect(exists("host/ops", "", name), "host/ops/%s.c", name);
  cr_expect(exists("host/ref", "", name), "host/ref/%s.c", name);
  cr_expect(exists("tests", "test_", name), "tests/test_%s.c", name);
  cr_expect(exists("bench", "bench_", name), "bench/bench_%s.c", name);
}

Test(registry, every_registered_file_belongs_to_an_operator) {
  for (size_t i = 0; i < FILES; ++i) {
    const bool helper = strcmp(files[i], helpers[0]) == 0 || strcmp(files[i], helpers[1]) == 0;
    cr_expect(helper || operator_of(files[i]) != NULL, "%s.cl bears no operator's name", files[i]);
  }
}

Test(registry, every_operator_has_a_reference_a_test_and_a_bench) {
  size_t operators = 0;
  for (size_t i = 0; i < clqi_op_count; ++i) {
    if (clqi_op_table[i] != NULL) {
      check_operator(clqi_op_table[i]->name);
      ++operators;
    }
  }
  cr_assert_gt(operators, 0);
}

static bool registered(const char *stem) {
  for (size_t i = 0; i < FILES; ++i) {
    if (strcmp(files[i], stem) == 0) {
      return true;
    }
  }
  return strcmp(stem, helpers[0]) == 0 || strcmp(stem, helpers[1]) == 0;
}

Test(registry, every_device_file_is_registered) {
  char folder[512];
  (void)snprintf(folder, sizeof folder, "%s/../kernels_cl", CLQ_TEST_DIR);
  DIR *dir = opendir(folder);
  cr_assert_not_null(dir);
  size_t seen = 0;
  for (const struct dirent *entry = readdir(dir); entry != NULL; entry = readdir(dir)) {
    char stem[256];
    const size_t length = strlen(entry->d_name);
    if (length < 3 || strcmp(entry->d_name + length - 3, ".cl") != 0) {
      continue;
    }
    (void)snprintf(stem, sizeof stem, "%.*s", (int)(length - 3), entry->d_name);
    cr_expect(registered(stem), "kernels_cl/%s.cl has no line in kernels.def", stem);
    ++seen;
  }
  (void)closedir(dir);
  cr_assert_gt(seen, 0);
}

Test(registry, operators_keep_their_limits) {
  for (size_t i = 0; i < clqi_op_count; ++i) {
    const clqi_op *op = clqi_op_table[i];
    cr_expect(op == NULL || op->args_bytes <= CLQI_MAX_ARGS_BYTES, "%s: %zu bytes of arguments",
              op == NULL ? "" : op->name, op == NULL ? 0 : op->args_bytes);
  }
}

/* An emitter that keeps what it is asked for. */
typedef struct listener {
  clqi_emitter emitter;
  clqi_kernel_id id;
  char options[1024];
} listener;

static clq_status listen(clqi_emitter *self, clqi_kernel_id id, const char *options,
                         cl_kernel *kernel) {
  listener *l = (listener *)self;
  l->id = id;
  (void)snprintf(l->options, sizeof l->options, "%s", options);
  *kernel = NULL;
  return CLQ_OK;
}

Test(registry, a_variant_adds_its_own_options) {
  listener l = {.emitter = {.kernel = listen}};
  clqi_variant v = {.name = "some", .kernel = CLQI_KERNEL_gemm_q8_lane, .options = "-DCLQ_ROWS=4"};
  clqi_launch launch;
  clqi_begin(&launch, &l.emitter, &v, "-DCLQ_OUT=%d", 2);
  cr_expect_eq(launch.status, CLQ_OK);
  cr_expect_eq(l.id, CLQI_KERNEL_gemm_q8_lane);
  cr_expect_str_eq(l.options, "-DCLQ_OUT=2 -DCLQ_ROWS=4");
  clqi_begin(&launch, &l.emitter, &v, "%s", "");
  cr_expect_str_eq(l.options, "-DCLQ_ROWS=4");
  v.options = NULL;
  clqi_begin(&launch, &l.emitter, &v, "-DCLQ_OUT=%d", 1);
  cr_expect_str_eq(l.options, "-DCLQ_OUT=1");
}

Test(registry, options_that_are_too_long_build_nothing) {
  listener l = {.emitter = {.kernel = listen}};
  clqi_variant v = {.name = "some", .kernel = CLQI_KERNEL_gemm_q8_lane, .options = "-DCLQ_ROWS=4"};
  for (int length = 490; length < 550; ++length) {
    clqi_launch launch;
    l.options[0] = '\0';
    clqi_begin(&launch, &l.emitter, &v, "%*d", length, 0);
    const bool fits = length + 1 + (int)strlen(v.options) < 512;
    cr_expect_eq(launch.status, fits ? CLQ_OK : CLQ_BUILD_FAILED, "%d", length);
    cr_expect_eq(strlen(l.options), fits ? (size_t)length + 1 + strlen(v.options) : 0);
    cr_expect(fits || strstr(clq_last_error(), "some: the build options") != NULL);
  }
}

Test(registry, operators_are_found_by_what_their_files_are_called) {
  cr_assert_str_eq(operator_of("gemm_q8_tile"), "gemm");
  cr_assert_str_eq(operator_of("integer_norm"), "integer_norm");
  cr_assert_null(operator_of("gemmology"));
  cr_assert_null(operator_of("silu"));
}
