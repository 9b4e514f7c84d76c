/* Tuned values: what a table may say, which tables are refused, and that no value changes a bit of
 * a product. That `clq tune` writes one is in test_cli_tune. */
#include <clquant/ops.h>
#include <clquant/tuning.h>
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "clq.h"
#include "device.h"
#include "weights.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static clq_tuning_value value_at(const clq_context *context, int32_t index) {
  clq_tuning_value value;
  test_ok(clq_tuning_get(context, index, &value));
  return value;
}

static int32_t value_count(const clq_context *context) {
  clq_tuning_value value;
  int32_t count = 0;
  while (clq_tuning_get(context, count, &value) == CLQ_OK) {
    ++count;
  }
  return count;
}

static int32_t index_of(const clq_context *context, const char *name) {
  int32_t i = 0;
  while (strcmp(value_at(context, i).name, name) != 0) {
    ++i;
  }
  return i;
}

static bool allows(const clq_tuning_value *v, int32_t value) {
  for (int32_t i = 0; i < v->allowed_count; ++i) {
    if (v->allowed[i] == value) {
      return true;
    }
  }
  return false;
}

Test(tuning, values_are_listed_with_what_they_may_be) {
  test_device d = test_device_open(NULL);
  const int32_t count = value_count(d.context);
  cr_assert_gt(count, 20);
  int32_t used = 0;
  for (int32_t i = 0; i < count; ++i) {
    const clq_tuning_value v = value_at(d.context, i);
    cr_assert_not_null(strchr(v.name, '.'));
    cr_assert_eq(index_of(d.context, v.name), i, "%s is there twice", v.name);
    cr_assert(v.small_count >= 1 && v.small_count <= v.allowed_count, "%s", v.name);
    cr_assert_eq(v.allowed[0], v.standard, "%s", v.name);
    cr_assert(v.changes_bits == 0 || v.standard == 0, "%s", v.name);
    cr_assert(allows(&v, v.value));
    used += v.used != 0;
    for (int32_t j = 0; j < v.allowed_count; ++j) {
      test_ok(clq_tuning_set(d.context, i, v.allowed[j]));
      cr_assert_eq(value_at(d.context, i).value, v.allowed[j]);
    }
    test_fails(clq_tuning_set(d.context, i, 7777), CLQ_INVALID_ARGUMENT, "cannot be 7777");
    test_fails(clq_tuning_set(d.context, i, -1), CLQ_INVALID_ARGUMENT, "cannot be -1");
  }
  cr_assert(used > 0 && used < count);
  clq_tuning_value v;
  test_fails(clq_tuning_get(d.context, count, &v), CLQ_INVALID_ARGUMENT, "index is");
  test_fails(clq_tuning_get(d.context, -1, &v), CLQ_INVALID_ARGUMENT, "index is");
  test_fails(clq_tuning_set(d.context, count, 1), CLQ_INVALID_ARGUMENT, "index is");
  test_device_close(&d);
}

/* --- no value changes a bit --- */

typedef struct product {
  const test_device *device;
  clq_weights *weights;
  test_buffer x, scale, out;
  clq_gemm_args args;
  size_t bytes;
} product;

/* K is more than most chunks hold, and no multiple of any. */
enum { COLS = 90, DEPTH = 2100 };

static product product_new(const test_device *d, bool codes, int64_t rows, test_random *random) {
  product p = {.device = d, .bytes = (size_t)rows * COLS * sizeof(float)};
  test_weights w = test_weights_new(random, CLQ_FORMAT_W4, COLS, DEPTH, 32, true);
  p.weights = test_weights_pack(d, &w);
  test_weights_free(&w);
  const int64_t groups = (DEPTH + 31) / 32;
  int8_t *code = malloc((size_t)(rows * DEPTH));
  float *x = malloc((size_t)(rows * DEPTH) * sizeof *x);
  float *scale = malloc((size_t)(rows * groups) * sizeof *scale);
  cr_assert(code != NULL && x != NULL && scale != NULL);
  for (int64_t i = 0; i < rows * DEPTH; ++i) {
    code[i] = (int8_t)test_random_int(random, -127, 127);
    x[i] = test_random_float(random);
  }
  for (int64_t i = 0; i < rows * groups; ++i) {
    scale[i] = test_random_float(random);
  }
  p.x = codes ? test_buffer_new(d, code, (size_t)(rows * DEPTH))
              : test_buffer_new(d, x, (size_t)(rows * DEPTH) * sizeof *x);
  p.scale = test_buffer_new(d, scale, (size_t)(rows * groups) * sizeof *scale);
  p.out = test_buffer_new(d, NULL, p.bytes);
  free(code);
  free(x);
  free(scale);
  p.args = (clq_gemm_args){.x = {.mem = p.x.mem, .dtype = CLQ_F32, .shape = {rows, DEPTH}},
                           .weights = p.weights,
                           .out = {.mem = p.out.mem, .dtype = CLQ_F32, .shape = {rows, COLS}}};
  if (codes) {
    p.args.x.dtype = CLQ_I8;
    p.args.x.quant = (clq_quant){.per = CLQ_PER_GROUP, .group = 32, .scale = p.scale.mem};
  }
  return p;
}

static void *run_product(const product *p) {
  unsigned char *out = malloc(p->bytes);
  cr_assert_not_null(out);
  memset(out, 0xff, p->bytes);
  cr_assert_eq(clEnqueueWriteBuffer(clq_stream_queue(p->device->stream), p->out.mem, CL_TRUE, 0,
                                    p->bytes, out, 0, NULL, NULL),
               CL_SUCCESS);
  test_ok(clq_gemm(p->device->stream, &p->args));
  test_buffer_read(p->device, &p->out, out);
  return out;
}

static void product_free(product *p) {
  clq_weights_destroy(p->weights);
  test_buffer_free(&p->x);
  test_buffer_free(&p->scale);
  test_buffer_free(&p->out);
}

/* Whether the value is an option of a kernel's build, which takes its time: one other is enough. */
static bool builds(const char *name) {
  return strstr(name, "chunk") != NULL || strstr(name, "rows_at_once") != NULL ||
         strstr(name, "lane_rows") != NULL || strstr(name, "f32_many.row_tiles") != NULL;
}

/* Each value of the set by itself, and in the end all of them at their last one. */
static void expect_same_bits(test_device *d, const char *set, bool codes, int64_t rows) {
  test_random random = {(uint64_t)rows};
  product p = product_new(d, codes, rows, &random);
  void *expected = run_product(&p);
  const int32_t count = value_count(d->context);
  const size_t length = strlen(set);
  for (int32_t i = 0; i < count; ++i) {
    const clq_tuning_value v = value_at(d->context, i);
    if (v.used == 0 || v.changes_bits != 0 || strncmp(v.name, set, length) != 0 ||
        v.name[length] != '.') {
      continue;
    }
    for (int32_t j = builds(v.name) ? v.allowed_count - 1 : 1; j < v.allowed_count; ++j) {
      test_ok(clq_tuning_set(d->context, i, v.allowed[j]));
      void *out = run_product(&p);
      cr_assert_eq(memcmp(out, expected, p.bytes), 0, "%s %d, %d rows", v.name, (int)v.allowed[j],
                   (int)rows);
      free(out);
    }
    if (!builds(v.name)) {
      test_ok(clq_tuning_set(d->context, i, v.standard));
    }
  }
  for (int32_t i = 0; i < count; ++i) {
    const clq_tuning_value v = value_at(d->context, i);
    if (v.changes_bits == 0) {
      test_ok(clq_tuning_set(d->context, i, v.allowed[v.allowed_count - 1]));
    }
  }
  void *out = run_product(&p);
  cr_assert_eq(memcmp(out, expected, p.bytes), 0, "%s, %d rows", set, (int)rows);
  free(out);
  free(expected);
  product_free(&p);
}

Test(tuning, no_value_changes_a_bit) {
  test_device d = test_device_open(NULL);
  expect_same_bits(&d, "gemm_q8_many", true, 41);
  expect_same_bits(&d, "gemm_f32_many", false, 41);
  test_device_close(&d);
  d = test_device_open(NULL);
  expect_same_bits(&d, "gemm_q8_few", true, 5);
  expect_same_bits(&d, "gemm_f32_few", false, 3); /* 4 rows may be taken one by one */
  test_device_close(&d);
}

Test(tuning, no_value_changes_a_bit_in_lanes) {
  test_device d = test_device_open("cpu");
  expect_same_bits(&d, "gemm_q8_few", true, 5);
  expect_same_bits(&d, "gemm_f32_many", false, 41);
  test_device_close(&d);
}

/* The form for few rows serves more of them where a table says so. */
Test(tuning, a_value_moves_the_choice) {
  test_device d = test_device_open(NULL);
  if (!test_has_trait(d.context, "cpu")) {
    test_device_close(&d);
    cr_skip_test("not a CPU");
  }
  test_random random = {3};
  product p = product_new(&d, false, 2, &random);
  const int32_t rows = index_of(d.context, "gemm_f32_few.row_form_rows");
  for (int32_t most = 1; most <= 2; ++most) {
    test_ok(clq_tuning_set(d.context, rows, most));
    test_dispatch_start();
    free(run_product(&p));
    cr_assert_eq(test_dispatch_saw("gemm", "gemm_f32_row"), most == 2);
    test_dispatch_stop();
  }
  product_free(&p);
  test_device_close(&d);
}

/* --- tables --- */

static char heard[4096];

static void hear(void *user, clq_log_topic topic, const char *text) {
  (void)user;
  (void)topic;
  if (strncmp(text, "tuning: ", 8) == 0) {
    (void)snprintf(heard, sizeof heard, "%s", text);
  }
}

static clq_context *open_context(const char *folder, const char *tuning) {
  const clq_context_desc desc = {.cache_dir = folder, .tuning = tuning};
  clq_context *context = NULL;
  heard[0] = '\0';
  clq_set_log(hear, NULL, CLQ_LOG_DISPATCH);
  test_ok(clq_context_create(&desc, &context));
  clq_set_log(NULL, NULL, 0);
  return context;
}

static void expect_standard(const clq_context *context, const char *why_not) {
  const char *why = "";
  cr_assert_null(clq_context_tuning(context, &why));
  cr_assert_not_null(strstr(why, why_not), "'%s' is not in: %s", why_not, why);
  for (int32_t i = 0; i < value_count(context); ++i) {
    cr_assert_eq(value_at(context, i).value, value_at(context, i).standard);
  }
}

/* A context with one value that is not the standard one, saved. */
static void save_table(const char *folder, const char *file) {
  clq_context *context = open_context(folder, "off");
  expect_standard(context, "turned off");
  test_ok(clq_tuning_set(context, index_of(context, "gemm_q8_many.chunk"), 4096));
  test_ok(clq_tuning_save(context, file));
  cr_assert_not_null(clq_context_tuning(context, NULL));
  clq_context_destroy(context);
}

static void expect_used(clq_context *context, const char *file) {
  const char *why = "";
  const char *used = clq_context_tuning(context, &why);
  cr_assert_not_null(used, "%s", why);
  cr_assert(file == NULL || strcmp(used, file) == 0, "%s", used);
  cr_assert_not_null(strstr(heard, used), "%s", heard);
  cr_assert_eq(value_at(context, index_of(context, "gemm_q8_many.chunk")).value, 4096);
  clq_context_destroy(context);
}

Test(tuning, a_saved_table_is_found) {
  scratch s = scratch_new("table");
  clq_context *context = open_context(s.folder, NULL);
  expect_standard(context, "there is none for this device");
  clq_context_destroy(context);
  save_table(s.folder, NULL);
  expect_used(open_context(s.folder, NULL), NULL);
  save_table(s.folder, s.file);
  expect_used(open_context(s.folder, s.file), s.file);
  struct stat info;
  cr_assert(stat(s.file, &info) == 0 && (info.st_mode & 0777) == 0600);
  cr_assert_eq(setenv("CLQ_TUNING", s.file, 1), 0);
  expect_used(open_context("off", NULL), s.file);
  cr_assert_eq(setenv("CLQ_TUNING", "off", 1), 0);
  context = open_context(s.folder, NULL);
  expect_standard(context, "turned off");
  clq_context_destroy(context);
  cr_assert_eq(unsetenv("CLQ_TUNING"), 0);
  /* Of another device, as traits make it one. */
  const clq_context_desc less = {.cache_dir = s.folder, .disable = "cpu"};
  test_ok(clq_context_create(&less, &context));
  expect_standard(context, "there is none for this device");
  clq_context_destroy(context);
  const clq_context_desc other = {.cache_dir = s.folder, .disable = "cpu", .tuning = s.file};
  test_ok(clq_context_create(&other, &context));
  expect_standard(context, "line 8: it is for 'traits ");
  clq_context_destroy(context);
  /* Clearing the cache leaves it: what lies there took longer to find out than a build. */
  clq_cache_contents found;
  test_ok(clq_cache_scan(s.folder, 1, &found));
  expect_used(open_context(s.folder, NULL), NULL);
  scratch_free(&s);
}

static char *read_file(const char *path, size_t *size) {
  FILE *file = fopen(path, "rb");
  cr_assert_not_null(file, "%s", path);
  char *text = calloc(1, 16384);
  cr_assert_not_null(text);
  *size = fread(text, 1, 16383, file);
  (void)fclose(file);
  return text;
}

static void expect_refused(const scratch *s, const char *why_not) {
  clq_context *context = open_context(s->folder, s->file);
  expect_standard(context, why_not);
  cr_assert_not_null(strstr(heard, why_not), "'%s' is not in: %s", why_not, heard);
  clq_context_destroy(context);
}

/* The table with `from` replaced by `to`. */
static void expect_refused_with(const scratch *s, const char *text, const char *from,
                                const char *to, const char *why_not) {
  const char *at = strstr(text, from);
  cr_assert_not_null(at, "%s", from);
  char *changed = malloc(strlen(text) + strlen(to) + 1);
  cr_assert_not_null(changed);
  const int length = sprintf(changed, "%.*s%s%s", (int)(at - text), text, to, at + strlen(from));
  put_file(s->file, changed, (size_t)length);
  free(changed);
  expect_refused(s, why_not);
}

Test(tuning, a_table_that_is_not_whole_or_not_ours_is_refused) {
  scratch s = scratch_new("table");
  save_table(s.folder, s.file);
  size_t size = 0;
  char *text = read_file(s.file, &size);
  expect_refused_with(&s, text, "clquant-tuning 1", "clquant-tuning 2", "no table of this version");
  expect_refused_with(&s, text, "library ", "library 9", "line 2: it is for 'library 9");
  expect_refused_with(&s, text, "\ndevice ", "\ndevice x", "line 4: it is for 'device x");
  expect_refused_with(&s, text, "\ndriver ", "\ndriver 7 ", "line 6: it is for 'driver 7 ");
  expect_refused_with(&s, text, "units ", "units 9", "line 7: it is for 'units 9");
  expect_refused_with(&s, text, "q8_many.chunk 4096", "q8_many.chunk 4097", "cannot be '4097'");
  expect_refused_with(&s, text, "q8_many.chunk 4096", "q8_many.chunk -4096", "cannot be '-4096'");
  expect_refused_with(&s, text, "q8_many.chunk 4096", "q8_many.chunk 4294971392", "cannot be");
  expect_refused_with(&s, text, "q8_many.chunk 4096", "q8_many.chunk", "cannot be ''");
  expect_refused_with(&s, text, "q8_many.chunk 4096", "q8_many.chink 4096",
                      "there is no value 'gemm_q8_many.chink'");
  expect_refused_with(&s, text, "gemm_q8_many.chunk 4096\n",
                      "gemm_q8_many.chunk 4096\ngemm_q8_many.chunk 2048\n", "is there twice");
  expect_refused_with(&s, text, "\nend\n", "\n", "it is cut off");
  expect_refused_with(&s, text, "\nend\n", "\nend\nmore\n", "more behind the end");
  for (size_t length = 0; length < size; length += 97) {
    put_file(s.file, text, length);
    expect_refused(&s, length == 0 ? "cut off" : "");
  }
  text[size / 2] = '\0';
  put_file(s.file, text, size);
  expect_refused(&s, "it is no text");
  char *long_text = calloc(1, 20000);
  cr_assert_not_null(long_text);
  memset(long_text, 'x', 20000);
  put_file(s.file, long_text, 20000);
  expect_refused(&s, "too long");
  free(long_text);
  cr_assert_eq(unlink(s.file), 0);
  expect_refused(&s, "No such file");
  cr_assert_eq(mkfifo(s.file, 0600), 0);
  expect_refused(&s, "it is not a file");
  free(text);
  scratch_free(&s);
}

static char table_path[512];

static void note_table(const char *path) {
  if (strstr(path, ".clqt") != NULL) {
    (void)snprintf(table_path, sizeof table_path, "%s", path);
  }
}

/* In the cache folder a link is not followed either: who may change it chooses the table. */
Test(tuning, a_link_in_the_cache_folder_is_refused) {
  scratch s = scratch_new("table");
  save_table(s.folder, NULL);
  save_table(s.folder, s.file);
  table_path[0] = '\0';
  (void)for_files(s.folder, note_table);
  cr_assert_str_not_empty(table_path);
  cr_assert(unlink(table_path) == 0 && symlink(s.file, table_path) == 0);
  clq_context *context = open_context(s.folder, NULL);
  expect_standard(context, "is not used: ");
  clq_context_destroy(context);
  scratch_free(&s);
}

Test(tuning, a_table_that_cannot_be_written_is_said) {
  clq_context *context = open_context("off", NULL);
  expect_standard(context, "there is no cache folder: turned off");
  test_fails(clq_tuning_save(context, NULL), CLQ_IO_ERROR, "there is no cache folder");
  test_fails(clq_tuning_save(context, "/dev/null/table"), CLQ_IO_ERROR,
             "cannot be written to /dev/null/table");
  expect_standard(context, "");
  clq_context_destroy(context);
}
