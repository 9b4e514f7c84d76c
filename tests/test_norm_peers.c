/* The shapes of other projects' own tests of their norms, bit for bit with the reference: f32
 * layernorm in two forms of the device, the others in its own; every form: test_norm_widths. Widths
 * are all of theirs. Counts of rows are theirs for one type of each list where the reference, on
 * one core, takes less than half a second (FULL_ELEMENTS); beyond that, and for the other types,
 * rows are cut to MOST_ELEMENTS for the sake of time: no row's result depends on how many there
 * are. With CLQ_TEST_LONG=1 nothing is cut and every type has every count. The types are those of
 * test_layernorm and test_rmsnorm, whose programs serve here too. */
#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "norm_case.h"
#include "opencl.h"

TestSuite(norm_peers, .fini = opencl_none_live);

enum { MOST_ELEMENTS = 48000, FULL_ELEMENTS = 2200000, MOST_WIDTHS = 26 };

static int64_t fewer(int64_t rows, int64_t cols) {
  const int64_t most = MOST_ELEMENTS / cols < 1 ? 1 : MOST_ELEMENTS / cols;
  return rows < most ? rows : most;
}

static bool nothing_is_cut(void) {
  const char *wanted = getenv("CLQ_TEST_LONG");
  return wanted != NULL && strcmp(wanted, "1") == 0;
}

/* Every width with every count of rows in the device's own form, but those that have more elements
 * than `most`, or no more than `least`. */
static void sweep_all(const norm_case *type, const int64_t *rows, size_t row_counts,
                      const int64_t *cols, size_t col_counts, int64_t least, int64_t most) {
  for (size_t r = 0; r < row_counts; ++r) {
    for (size_t i = 0; i < col_counts; ++i) {
      const int64_t elements = rows[r] * cols[i];
      if (elements > least && elements <= most) {
        norm_case c = *type;
        c.rows = rows[r];
        c.cols = cols[i];
        norm_case_run(1, type, &c, 1);
      }
    }
  }
}

/* Every width with a count of rows of its own; `pad` with every second. In the first `forms` forms
 * of the device. */
static void sweep(int forms, const norm_case *type, const int64_t *rows, size_t row_counts,
                  const int64_t *cols, size_t col_counts) {
  norm_case cases[MOST_WIDTHS];
  cr_assert_leq(col_counts, (size_t)MOST_WIDTHS);
  for (size_t i = 0; i < col_counts; ++i) {
    cases[i] = *type;
    cases[i].cols = cols[i];
    cases[i].rows = fewer(rows[i % row_counts], cols[i]);
    cases[i].pad = i % 2 == 0 ? type->pad : 0;
  }
  norm_case_run(forms, type, cases, col_counts);
  if (nothing_is_cut()) {
    sweep_all(type, rows, row_counts, cols, col_counts, 0, INT64_MAX);
  }
}
enum { OWN_FORM = 1, TWO_FORMS = 2 };

/* Counts of rows that sweep would cut and that a moment is enough for. */
static void sweep_rows(const norm_case *type, const int64_t *rows, size_t row_counts,
                       const int64_t *cols, size_t col_counts) {
  if (!nothing_is_cut()) {
    sweep_all(type, rows, row_counts, cols, col_counts, MOST_ELEMENTS, FULL_ELEMENTS);
  }
}
#define SWEEP(forms, type, rows, cols)                                      \
  sweep((forms), &(type), (rows), sizeof(rows) / sizeof((rows)[0]), (cols), \
        sizeof(cols) / sizeof((cols)[0]))

#define SWEEP_ROWS(type, rows, cols)                                    \
  sweep_rows(&(type), (rows), sizeof(rows) / sizeof((rows)[0]), (cols), \
             sizeof(cols) / sizeof((cols)[0]))

/* vLLM, tests/kernels/core/test_layernorm.py: half types, weights, strided inputs. */
Test(norm_peers, vllm_rmsnorm) {
  static const int64_t rows[] = {7, 83, 4096};
  static const int64_t cols[] = {8, 768, 769, 5120, 5125, 8192};
  const norm_case type = {
      .x = CLQ_F16, .gamma = CLQ_F16, .cast = CLQ_CAST_LLAMA, .out = CLQ_F16, .pad = 64};
  SWEEP(OWN_FORM, type, rows, cols);
  SWEEP_ROWS(type, rows, cols);
}

/* vLLM, test_fused_quant_layernorm.py: residual added, codes per token and per group. */
Test(norm_peers, vllm_fused_quantization) {
  static const int64_t rows[] = {1, 83, 2048, 4096};
  static const int64_t cols[] = {1, 64, 128, 1024, 1025, 1026, 1027, 1028, 1029, 5120, 5137};
  norm_case type = {.x = CLQ_BF16,
                    .residual = CLQ_BF16,
                    .gamma = CLQ_BF16,
                    .cast = CLQ_CAST_LLAMA,
                    .out = CLQ_I8,
                    .per = CLQ_PER_TOKEN,
                    .sum = true,
                    .pad = 16};
  SWEEP(OWN_FORM, type, rows, cols);
  SWEEP_ROWS(type, rows, cols);
  static const int64_t grouped[] = {64, 128, 1024, 5120, 5137};
  type.per = CLQ_PER_GROUP;
  for (type.group = 64; type.group <= 128; type.group *= 2) {
    SWEEP(OWN_FORM, type, rows, grouped);
  }
}

/* FlashInfer, tests/utils/test_norm.py. */
Test(norm_peers, flashinfer_gemma_rmsnorm) {
  static const int64_t rows[] = {1, 19, 99, 989};
  static const int64_t cols[] = {111, 500, 1024, 3072, 3584, 4096, 8192, 16384};
  const norm_case type = {
      .x = CLQ_BF16, .gamma = CLQ_F32, .cast = CLQ_CAST_GEMMA, .out = CLQ_BF16, .pad = 8};
  SWEEP(OWN_FORM, type, rows, cols);
  SWEEP_ROWS(type, rows, cols);
}

/* apex, test_fast_layer_norm.py: widths to 65536, mixed types; statistics for training. */
Test(norm_peers, apex_layernorm) {
  static const int64_t rows[] = {512};
  static const int64_t cols[] = {768,   1024,  1536,  2048,  2304,  3072,  3840,  4096,  5120,
                                 6144,  8192,  10240, 12288, 12800, 14336, 15360, 16384, 18432,
                                 20480, 24576, 25600, 30720, 32768, 40960, 49152, 65536};
  const norm_case type = {
      .centered = true, .gamma = CLQ_F32, .beta = CLQ_F32, .mean = true, .rstd = true};
  SWEEP(TWO_FORMS, type, rows, cols);
  SWEEP_ROWS(type, rows, cols);
  static const int64_t some[] = {768, 1536, 5120, 18432};
  const norm_case mixed = {.centered = true,
                           .x = CLQ_F16,
                           .residual = CLQ_F16,
                           .gamma = CLQ_F16,
                           .beta = CLQ_F32,
                           .out = CLQ_F16};
  SWEEP(OWN_FORM, mixed, rows, some);
}

/* Liger, test_layer_norm.py and test_rms_norm.py; OneFlow's [1, 5120]. */
Test(norm_peers, liger_and_oneflow) {
  static const int64_t rows[] = {16, 36, 99};
  static const int64_t cols[] = {64, 128, 256, 1023, 1500, 5120};
  const norm_case layer = {
      .centered = true, .gamma = CLQ_F32, .beta = CLQ_F32, .mean = true, .rstd = true};
  const norm_case rms = {.gamma = CLQ_F32, .rstd = true};
  SWEEP(OWN_FORM, layer, rows, cols);
  SWEEP(OWN_FORM, rms, rows, cols);
  SWEEP_ROWS(layer, rows, cols);
}

/* TensorRT-LLM, test_smooth_quant_rms_norm.py: [2, 5, 10, 10], static, dynamic, sums. */
Test(norm_peers, tensorrt_llm_smooth_quant) {
  static const int64_t rows[] = {100};
  static const int64_t cols[] = {10};
  const norm_case dynamic = {.out = CLQ_I8, .per = CLQ_PER_TOKEN, .sum = true};
  const norm_case given = {.centered = true, .out = CLQ_I8, .per = CLQ_PER_TENSOR, .sum = true};
  const norm_case channel = {.out = CLQ_I8, .per = CLQ_PER_CHANNEL, .sum = true};
  SWEEP(OWN_FORM, dynamic, rows, cols);
  SWEEP(OWN_FORM, given, rows, cols);
  SWEEP(OWN_FORM, channel, rows, cols);
}

/* Rows that start 1 .. 15 elements into the buffer, at distances that align nothing. */
static void run_offsets(int forms, const norm_case *type) {
  static const int64_t cols[] = {769, 1025, 5137};
  enum { OFFSETS = 15 };
  norm_case cases[OFFSETS];
  for (int i = 0; i < OFFSETS; ++i) {
    cases[i] = *type;
    cases[i].lead = 1 + i;
    cases[i].rows = 2;
    cases[i].cols = cols[cases[i].lead % 3];
    cases[i].pad = 1 + cases[i].lead % 7;
  }
  norm_case_run(forms, type, cases, OFFSETS);
}

Test(norm_peers, every_offset_at_odd_widths) {
  run_offsets(TWO_FORMS,
              &(norm_case){
                  .centered = true, .gamma = CLQ_F32, .beta = CLQ_F32, .mean = true, .rstd = true});
  run_offsets(
      OWN_FORM,
      &(norm_case){
          .centered = true, .residual = CLQ_F32, .out = CLQ_I8, .per = CLQ_PER_TOKEN, .sum = true});
  run_offsets(OWN_FORM,
              &(norm_case){.x = CLQ_F16, .gamma = CLQ_F16, .cast = CLQ_CAST_LLAMA, .out = CLQ_F16});
}

/* ---------------------------------------------------------------- past 2^31 elements */

static const int64_t far_stride = (INT64_C(1) << 31) + 129;

/* The number of bytes is computed in 64 bits, and said so. */
Test(norm_peers, extents_past_2_31_are_checked) {
  test_device d = test_device_open(NULL);
  test_buffer b = test_buffer_new(&d, NULL, 1024);
  clq_layernorm_args a = {.x = {b.mem, CLQ_F32, {3, 200}, {far_stride, 1}},
                          .out = {b.mem, CLQ_F32, {3, 200}}};
  test_fails(clq_layernorm(d.stream, &a), CLQ_INVALID_ARGUMENT,
             "the buffer of x has 1024 bytes, needed: 17179871016");
  a.x = (clq_tensor){b.mem, CLQ_F32, {INT64_C(1) << 24, 769}};
  a.out.shape[0] = INT64_C(1) << 24;
  a.out.shape[1] = 769;
  test_fails(clq_layernorm(d.stream, &a), CLQ_INVALID_ARGUMENT,
             "the buffer of x has 1024 bytes, needed: 51606716416");
  test_buffer_free(&b);
  test_device_close(&d);
}

enum { FAR_ROWS = 2, FAR_COLS = 1100 };

typedef int8_t code_rows[FAR_ROWS][FAR_COLS];

static void layernorm(const test_device *d, clq_tensor x, clq_tensor out) {
  test_ok(clq_layernorm(d->stream, &(clq_layernorm_args){.x = x, .out = out}));
  test_ok(clq_stream_finish(d->stream));
}

/* Codes in two rows 2^31 elements apart, of which only the rows are ever touched: read and written
 * there they give what they give side by side. */
static void check_far_rows(const test_device *d, cl_mem far) {
  static float values[2][FAR_ROWS][FAR_COLS];
  code_rows codes;
  test_random random = {31};
  for (int i = 0; i < FAR_ROWS * FAR_COLS; ++i) {
    codes[i / FAR_COLS][i % FAR_COLS] = (int8_t)test_random_int(&random, -128, 127);
  }
  const float scale = 0.03f;
  test_buffer s = test_buffer_new(d, &scale, sizeof scale);
  test_buffer q = test_buffer_new(d, codes, sizeof codes);
  test_buffer y[2] = {test_buffer_new(d, NULL, sizeof values[0]),
                      test_buffer_new(d, NULL, sizeof values[0])};
  const clq_tensor near_codes = {
      q.mem, CLQ_I8, {FAR_ROWS, FAR_COLS}, .quant = {.per = CLQ_PER_TENSOR, .scale = s.mem}};
  clq_tensor far_codes = near_codes;
  far_codes.mem = far;
  far_codes.stride[0] = far_stride;
  far_codes.stride[1] = 1;
  for (int r = 0; r < FAR_ROWS; ++r) {
    cr_assert_eq(clEnqueueWriteBuffer(clq_stream_queue(d->stream), far, CL_TRUE,
                                      (size_t)(r * far_stride), FAR_COLS, codes[r], 0, NULL, NULL),
                 CL_SUCCESS);
  }
  layernorm(d, near_codes, (clq_tensor){y[0].mem, CLQ_F32, {FAR_ROWS, FAR_COLS}});
  layernorm(d, far_codes, (clq_tensor){y[1].mem, CLQ_F32, {FAR_ROWS, FAR_COLS}});
  test_buffer_read(d, &y[0], values[0]);
  test_buffer_read(d, &y[1], values[1]);
  cr_assert_arr_eq(values[0], values[1], sizeof values[0]);
  layernorm(d, (clq_tensor){y[0].mem, CLQ_F32, {FAR_ROWS, FAR_COLS}}, near_codes);
  layernorm(d, (clq_tensor){y[0].mem, CLQ_F32, {FAR_ROWS, FAR_COLS}}, far_codes);
  code_rows expected;
  test_buffer_read(d, &q, expected);
  cr_assert_arr_neq(codes, expected, sizeof codes, "nothing was written");
  for (int r = 0; r < FAR_ROWS; ++r) {
    cr_assert_eq(clEnqueueReadBuffer(clq_stream_queue(d->stream), far, CL_TRUE,
                                     (size_t)(r * far_stride), FAR_COLS, codes[r], 0, NULL, NULL),
                 CL_SUCCESS);
  }
  cr_assert_arr_eq(codes, expected, sizeof codes);
  test_buffer *all[] = {&s, &q, &y[0], &y[1]};
  for (int i = 0; i < 4; ++i) {
    test_buffer_free(all[i]);
  }
}

/* Memory that is promised and, but for the pages of two rows, never asked for. */
Test(norm_peers, rows_behind_2_31_elements) {
  const size_t bytes = (size_t)far_stride * (FAR_ROWS - 1) + FAR_COLS;
  for (test_forms f = {0}; test_forms_next(&f);) {
    cl_ulong most = 0;
    cr_assert_eq(clGetDeviceInfo(clq_context_device(f.device.context), CL_DEVICE_MAX_MEM_ALLOC_SIZE,
                                 sizeof most, &most, NULL),
                 CL_SUCCESS);
    void *pages = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (most >= bytes && pages != MAP_FAILED) {
      cl_mem far =
          clCreateBuffer(clq_context_cl(f.device.context), CL_MEM_USE_HOST_PTR, bytes, pages, NULL);
      cr_assert_not_null(far);
      check_far_rows(&f.device, far);
      (void)clReleaseMemObject(far);
    } else {
      cr_log_warn("no buffer of %zu bytes here: checked without one only", bytes);
    }
    if (pages != MAP_FAILED) {
      (void)munmap(pages, bytes);
    }
  }
}
