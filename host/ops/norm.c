#include "ops/norm.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "runtime/checked.h"

enum {
  CHUNK = 128, /* of lib/norm_stats.h */
  BLOCK = 1024,
  LANES = 32,           /* work-items that take a block, of lib/norm_quads.h */
  MOST_ITEMS = 512,     /* CLQ_GROUP of lib/norm_quads.h where a work-group holds a row */
  MOST_ROWS = 4,        /* of a work-item on CPUs; lib/norm_rows.h is built for it */
  NEAR_COLUMNS = 32768, /* rows times columns of a work-item, to stay in the near cache */
  ITEMS_PER_UNIT = 8,   /* at least, so that units share the work evenly */
  WARP_ITEMS = 128,     /* work-items of a group that takes a row with each warp */
  STREAM_ITEMS = 256    /* CLQ_GROUP of lib/norm_quads.h where a work-group walks a row */
};

static const unsigned FLOATS = CLQI_DT(CLQ_F32) | CLQI_DT(CLQ_F16) | CLQI_DT(CLQ_BF16);

static bool is_integer(const clq_tensor *t) { return t->dtype >= CLQ_I8; }

/* ---------------------------------------------------------------- checks */

static clq_status check_x(const clqi_norm *n) {
  const unsigned integers = CLQI_DT(CLQ_I8) | CLQI_DT(CLQ_U8) | CLQI_DT(CLQ_I32);
  const unsigned per = CLQI_GR(CLQ_PER_TENSOR) | CLQI_GR(CLQ_PER_TOKEN);
  CLQI_TRY(clqi_check_tensor(n->name, "x", n->x, 2, FLOATS | integers));
  if (n->x->dtype != CLQ_I32) {
    CLQI_TRY(clqi_check_quant(n->name, "x", n->x, per | CLQI_GR(CLQ_PER_CHANNEL), 0));
  } else if (n->x->quant.per != 0) {
    CLQI_TRY(clqi_check_quant(n->name, "x", n->x, per, 0));
    CLQI_REQUIRE(n->x->quant.zero == NULL, "%s: x is i32, so its zero plane must be absent",
                 n->name);
  }
  CLQI_REQUIRE(!clqi_present(n->exponent) || clqi_is_codes(n->x),
               "%s: exponent is for an x of i8 or u8, which is %s", n->name,
               clq_dtype_name(n->x->dtype));
  CLQI_REQUIRE(!clqi_present(n->column_scale) || n->x->dtype == CLQ_I32,
               "%s: column_scale is for an x of i32, which is %s", n->name,
               clq_dtype_name(n->x->dtype));
  return CLQ_OK;
}

/* An optional [cols] or [rows]. */
static clq_status check_line(const clqi_norm *n, const char *arg, const clq_tensor *t,
                             unsigned types, int of_dim) {
  if (!clqi_present(t)) {
    return CLQ_OK;
  }
  CLQI_TRY(clqi_check_tensor(n->name, arg, t, 1, types));
  return clqi_check_extent(n->name, arg, t, 0, n->x->shape[of_dim],
                           of_dim == 0 ? "rows of x" : "cols of x");
}

static clq_status check_residual(const clqi_norm *n) {
  if (!clqi_present(n->residual)) {
    CLQI_REQUIRE(n->alpha == 0.0f, "%s: alpha is %g, expected 0: there is no residual", n->name,
                 (double)n->alpha);
    CLQI_REQUIRE(n->keep_residual == 0, "%s: keep_residual is %d, expected 0: there is no residual",
                 n->name, (int)n->keep_residual);
    return CLQ_OK;
  }
  CLQI_REQUIRE(n->keep_residual == 0 || n->keep_residual == 1,
               "%s: keep_residual is %d, expected 0 or 1", n->name, (int)n->keep_residual);
  CLQI_TRY(clqi_check_tensor(n->name, "residual", n->residual, 2, FLOATS));
  CLQI_TRY(clqi_check_extent(n->name, "residual", n->residual, 0, n->x->shape[0], "rows of x"));
  return clqi_check_extent(n->name, "residual", n->residual, 1, n->x->shape[1], "cols of x");
}

clq_status clqi_norm_check(const clqi_norm *n) {
  CLQI_TRY(check_x(n));
  CLQI_TRY(check_residual(n));
  CLQI_TRY(check_line(n, "bias", n->bias, FLOATS, 1));
  CLQI_TRY(check_line(n, "gamma", n->gamma, FLOATS, 1));
  CLQI_TRY(check_line(n, "beta", n->beta, FLOATS, 1));
  CLQI_TRY(check_line(n, "column_scale", n->column_scale, CLQI_DT(CLQ_F32), 1));
  CLQI_TRY(check_line(n, "exponent", n->exponent, CLQI_DT(CLQ_I8), 1));
  CLQI_TRY(check_line(n, "mean", n->mean, CLQI_DT(CLQ_F32), 0));
  CLQI_TRY(check_line(n, "rstd", n->rstd, CLQI_DT(CLQ_F32), 0));
  CLQI_REQUIRE(
      isfinite(n->eps),
      "%s: eps is %g, expected 0 (for 1e-5), a finite positive number, or a negative one (for 0)",
      n->name, (double)n->eps);
  CLQI_REQUIRE(isfinite(n->alpha), "%s: alpha is %g, expected 0 (for 1) or a finite number",
               n->name, (double)n->alpha);
  CLQI_REQUIRE(isfinite(n->x_scale) && n->x_scale >= 0.0f,
               "%s: x_scale is %g, expected 0 (for 1) or a finite positive number", n->name,
               (double)n->x_scale);
  CLQI_REQUIRE(n->cast >= 0 && n->cast <= CLQ_CAST_GEMMA,
               "%s: cast is %d, expected 0 or one of clq_norm_cast (1 to 3)", n->name,
               (int)n->cast);
  if (n->x->shape[1] > INT32_MAX) {
    return clqi_fail(CLQ_UNSUPPORTED, "%s: x has %lld columns, at most %d are offered", n->name,
                     (long long)n->x->shape[1], INT32_MAX);
  }
  return clqi_check_output(n->name, n->out, n->x->shape[0], n->x->shape[1]);
}

/* ---------------------------------------------------------------- where a form serves */

/* Registers hold a row's scale, or those of small groups that lanes share. */
static const char *grouping_fits(const clqi_norm *n) {
  const bool one = n->out->quant.per != CLQ_PER_GROUP || n->out->quant.group >= n->x->shape[1];
  return one || clqi_near_groups(n->out) ? NULL
                                         : "a scale for the row, or for 4, 8, ... 128 columns";
}

/* lib/norm_warp.h exchanges values between work-items. */
static const char *exchange_fits(const clq_context *context, const clqi_norm *n) {
  const uint32_t any = CLQI_BIT(KHR_SUBGROUPS) | CLQI_BIT(INTEL_SUBGROUPS) |
                       CLQI_BIT(QCOM_SUBGROUPS) | CLQI_BIT(NVIDIA_PTX);
  return (context->traits & any) != 0 ? grouping_fits(n) : "sub-groups that exchange values";
}

static const char *warp_fits(const clq_context *context, const void *norm) {
  const clqi_norm *n = norm;
  return n->x->shape[1] > BLOCK ? "at most 1024 columns" : exchange_fits(context, n);
}

static size_t group_items(const clqi_norm *n) {
  return LANES * (size_t)clqi_div_up(n->x->shape[1], BLOCK);
}

static const char *group_fits(const clq_context *context, const void *norm) {
  const clqi_norm *n = norm;
  size_t most = 0;
  if (group_items(n) > MOST_ITEMS) {
    return "at most 16384 columns";
  }
  if (clGetDeviceInfo(context->device, CL_DEVICE_MAX_WORK_GROUP_SIZE, sizeof most, &most, NULL) !=
          CL_SUCCESS ||
      group_items(n) > most) {
    return "work-groups with a work-item for each 32 columns";
  }
  return exchange_fits(context, n);
}

/* ---------------------------------------------------------------- how a form is built and run */

/* Of a row, and quads of a lane: few sizes, for each is a program. */
static int lanes_of(int64_t cols) { return cols <= 32 ? 8 : cols <= 64 ? 16 : LANES; }
static int quads_of(int64_t cols) { return cols <= 64 ? 1 : cols <= 4 * CHUNK ? 4 : 8; }

enum { OPTION_BYTES = 80 };

static void rows_options(const clqi_norm *n, char options[OPTION_BYTES]) {
  (void)n;
  (void)snprintf(options, OPTION_BYTES, " -DCLQ_ROWS_AT_ONCE=%d", MOST_ROWS);
}

static void warp_options(const clqi_norm *n, char options[OPTION_BYTES]) {
  const int64_t cols = n->x->shape[1];
  (void)snprintf(options, OPTION_BYTES, " -DCLQ_LANES=%d -DCLQ_QUADS=%d", lanes_of(cols),
                 quads_of(cols));
}

/* Does the kernel's compiled form have warps of 32 lanes or more? */
static bool has_wide_warps(const clqi_launch *l, size_t local) {
  const clq_context *context = l->emitter->context;
  size_t lanes = 0;
  if (l->status != CLQ_OK || clqi_has(context, CLQI_TRAIT_NVIDIA_PTX)) {
    return true;
  }
  /* "OpenCL 2.1 ...": older devices cannot be asked. */
  const bool can_ask = strncmp(context->info.version, "OpenCL 1.", 9) != 0 &&
                       strncmp(context->info.version, "OpenCL 2.0", 10) != 0;
  return can_ask &&
         clGetKernelSubGroupInfo(l->kernel, context->device,
                                 CL_KERNEL_MAX_SUB_GROUP_SIZE_FOR_NDRANGE, sizeof local, &local,
                                 sizeof lanes, &lanes, NULL) == CL_SUCCESS &&
         lanes >= LANES;
}

static bool warp_runs(const clqi_launch *l, const clqi_norm *n) {
  (void)n;
  return has_wide_warps(l, WARP_ITEMS);
}

static bool group_runs(const clqi_launch *l, const clqi_norm *n) {
  const size_t items = group_items(n);
  return clqi_group_size(l, items) == items && has_wide_warps(l, items);
}

/* That must move, and be done. */
typedef struct work {
  double bytes, ops;
} work;

/* Several rows to a work-item where there are enough of them. */
static clq_status launch_rows(clqi_launch *l, const clqi_norm *n, work w) {
  const int64_t rows = n->x->shape[0];
  const int64_t items = (int64_t)l->emitter->context->info.compute_units * ITEMS_PER_UNIT;
  const int64_t fair = rows / items;
  const int64_t near = NEAR_COLUMNS / n->x->shape[1];
  const int64_t most = near < 1 ? 1 : near > MOST_ROWS ? MOST_ROWS : near;
  const int64_t each = fair < 1 ? 1 : fair > most ? most : fair;
  return clqi_launch_end(l, 1, (size_t[]){(size_t)clqi_div_up(rows, each)}, NULL, w.bytes, w.ops);
}

static clq_status launch_warp(clqi_launch *l, const clqi_norm *n, work w) {
  const size_t local = clqi_group_size(l, WARP_ITEMS);
  const size_t rows_at_once = local / (size_t)lanes_of(n->x->shape[1]);
  const size_t groups = (size_t)clqi_div_up(n->x->shape[0], (int64_t)rows_at_once);
  return clqi_launch_end(l, 1, (size_t[]){groups * local}, (size_t[]){local}, w.bytes, w.ops);
}

static clq_status launch_groups(clqi_launch *l, const clqi_norm *n, size_t local, work w) {
  return clqi_launch_end(l, 1, (size_t[]){(size_t)n->x->shape[0] * local}, (size_t[]){local},
                         w.bytes, w.ops);
}

static clq_status launch_group(clqi_launch *l, const clqi_norm *n, work w) {
  return launch_groups(l, n, group_items(n), w);
}

static clq_status launch_stream(clqi_launch *l, const clqi_norm *n, work w) {
  return launch_groups(l, n, clqi_group_size(l, STREAM_ITEMS), w);
}

/* ---------------------------------------------------------------- the forms */

/* In the order of preference; each has a file kernels_cl/lib/norm_<form>.h. */
enum { ROWS, WARP, GROUP, STREAM, FORMS };

#define VARIANTS(op)                                                                        \
  {                                                                                         \
    [ROWS] = {#op "_rows", CLQI_KERNEL_##op##_rows, .needs = CLQI_BIT(CPU)},                \
    [WARP] = {#op "_warp", CLQI_KERNEL_##op##_warp, "-DCLQ_FORM=1", .fits = warp_fits},     \
    [GROUP] = {#op "_group", CLQI_KERNEL_##op##_group, "-DCLQ_FORM=2", .fits = group_fits}, \
    [STREAM] = {                                                                            \
      #op "_stream",                                                                        \
      CLQI_KERNEL_##op##_stream,                                                            \
      "-DCLQ_FORM=3"                                                                        \
    }                                                                                       \
  }
static const clqi_variant variants[2][FORMS] = {
    [false] = VARIANTS(rmsnorm), [true] = VARIANTS(layernorm)};

/* The rest of a form: build options that follow from the row, whether the kernel as compiled runs
 * as it would be launched (NULL: it does), the launch. */
static const struct form {
  void (*options)(const clqi_norm *n, char options[OPTION_BYTES]);
  bool (*runs)(const clqi_launch *l, const clqi_norm *n);
  clq_status (*launch)(clqi_launch *l, const clqi_norm *n, work w);
} forms[FORMS] = {[ROWS] = {rows_options, NULL, launch_rows},
                  [WARP] = {warp_options, warp_runs, launch_warp},
                  [GROUP] = {NULL, group_runs, launch_group},
                  [STREAM] = {NULL, NULL, launch_stream}};

/* ---------------------------------------------------------------- launch */

static int type_of(const clq_tensor *t) { return clqi_present(t) ? (int)t->dtype : 0; }

static int cast_of(const clqi_norm *n) {
  return n->cast == CLQ_CAST_LLAMA ? 2 : n->cast == CLQ_CAST_GEMMA ? 1 : 0;
}

static bool is_scaled(const clqi_norm *n) { return n->x_scale != 0.0f && n->x_scale != 1.0f; }

static void set_arguments(clqi_launch *l, const clqi_norm *n) {
  const clq_tensor *x = n->x;
  const int64_t cols = x->shape[1];
  const bool per_channel = x->quant.per == CLQ_PER_CHANNEL;
  const bool per_token = x->quant.per == CLQ_PER_TOKEN;
  const clq_tensor none = {0};
  const float factor = n->x_scale == 0.0f ? 1.0f : n->x_scale;
  const float eps = n->eps == 0.0f ? 1e-5f : n->eps < 0.0f ? 0.0f : n->eps;
  clqi_arg_tensor(l, x);
  clqi_arg_scale(l, per_channel ? &none : x);
  clqi_arg_zero(l, x);
  if (per_channel) {
    clqi_arg_scale(l, x);
  } else {
    clqi_arg_tensor(l, n->column_scale);
  }
  clqi_arg_tensor(l, n->exponent);
  clqi_arg_tensor(l, n->bias);
  clqi_arg_tensor(l, n->residual);
  clqi_arg_tensor(l, n->gamma);
  clqi_arg_tensor(l, n->beta);
  clqi_arg_tensor(l, n->mean);
  clqi_arg_tensor(l, n->rstd);
  clqi_arg_out(l, n->out, cols);
  clqi_arg_i64(l, x->shape[0]);
  clqi_arg_i64(l, cols);
  clqi_arg_i64(l, clqi_stride(x, 2, 0));
  clqi_arg_i64(l, clqi_stride(n->residual, 2, 0));
  clqi_arg_i64(l, per_token);
  clqi_arg_i64(l, per_channel);
  clqi_arg_f32(l, n->alpha == 0.0f ? 1.0f : n->alpha);
  clqi_arg_f32(l, factor);
  clqi_arg_f32(l, eps * factor * factor);
}

static size_t planes_bytes(const clq_tensor *t, int64_t rows, int64_t cols) {
  const size_t planes = (t->quant.scale != NULL ? 1U : 0U) + (t->quant.zero != NULL ? 1U : 0U);
  return planes * sizeof(cl_float) * (size_t)clqi_scale_count(t, rows, cols);
}

static double line_bytes(const clq_tensor *t) {
  return clqi_present(t) ? (double)t->shape[0] * (double)clq_dtype_bytes(t->dtype) : 0.0;
}

/* x once, the residual once each way, lines and planes once. */
static double bytes_of(const clqi_norm *n) {
  const int64_t rows = n->x->shape[0];
  const int64_t cols = n->x->shape[1];
  const double elements = (double)rows * (double)cols;
  const double ways = !clqi_present(n->residual) ? 0.0 : n->keep_residual != 0 ? 1.0 : 2.0;
  const double residual = ways * (double)clq_dtype_bytes(n->residual->dtype);
  const clq_tensor *lines[] = {n->bias,     n->gamma, n->beta, n->column_scale,
                               n->exponent, n->mean,  n->rstd};
  double bytes = elements * ((double)clq_dtype_bytes(n->x->dtype) + residual) +
                 (double)planes_bytes(n->x, rows, cols) + clqi_emit_bytes(n->out, rows, cols);
  for (size_t i = 0; i < CLQI_COUNT(lines); ++i) {
    bytes += line_bytes(lines[i]);
  }
  return bytes;
}

/* Additions and multiplications in the formulas at clq_layernorm_args, quantization apart. */
static double ops_of(const clqi_norm *n) {
  const double sum = (clqi_present(n->residual) ? 2.0 : 0.0) + (clqi_present(n->bias) ? 1.0 : 0.0) +
                     (is_scaled(n) ? 1.0 : 0.0);
  /* A sum, a distance, its square, their sum, a product; a square, their sum, a product. */
  const double norm = n->centered ? 5.0 : 3.0;
  const double affine = (clqi_present(n->gamma) ? 1.0 : 0.0) + (clqi_present(n->beta) ? 1.0 : 0.0);
  return (sum + norm + affine) * (double)n->x->shape[0] * (double)n->x->shape[1];
}

static work work_of(const clqi_norm *n) { return (work){bytes_of(n), ops_of(n)}; }

static void begin(clqi_launch *l, clqi_emitter *emitter, const clqi_norm *n, size_t form) {
  const clqi_variant *v = &variants[n->centered][form];
  const int x_float = is_integer(n->x) ? CLQ_F32 : (int)n->x->dtype;
  char own[OPTION_BYTES] = "";
  if (forms[form].options != NULL) {
    forms[form].options(n, own);
  }
  clqi_begin(l, emitter, v,
             "-DCLQ_X=%d -DCLQ_RESIDUAL=%d -DCLQ_BIAS=%d -DCLQ_GAMMA=%d -DCLQ_BETA=%d "
             "-DCLQ_CAST=%d -DCLQ_ROUND=%d -DCLQ_SCALED=%d %s%s%s%s%s",
             (int)n->x->dtype, type_of(n->residual), type_of(n->bias), type_of(n->gamma),
             type_of(n->beta), cast_of(n), cast_of(n) == 2 ? x_float : CLQ_F32, is_scaled(n),
             clqi_emit_option(n->out), clqi_stream_option(emitter->context, v, n->out),
             clqi_share_option(v, n->out), own, n->keep_residual != 0 ? " -DCLQ_WRITES_SUM=0" : "");
}

clq_status clqi_norm_launch(clqi_emitter *emitter, const clqi_norm *n) {
  const clqi_variant *own = variants[n->centered];
  size_t form = (size_t)(clqi_choose(emitter->context, n->name, own, FORMS, n) - own);
  clqi_launch l;
  begin(&l, emitter, n, form);
  if (forms[form].runs != NULL && !forms[form].runs(&l, n)) {
    clqi_log(CLQ_LOG_DISPATCH,
             "%s: not %s: its kernel is not seen to run in warps of 32 and groups of that size",
             n->name, own[form].name);
    form = STREAM;
    clqi_log(CLQ_LOG_DISPATCH, "%s: chose %s", n->name, own[form].name);
    begin(&l, emitter, n, form);
  }
  set_arguments(&l, n);
  return forms[form].launch(&l, n, work_of(n));
}
