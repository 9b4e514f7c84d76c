/* What every operator refuses in a tensor's description: fields that would be passed over, extents
 * and strides that mean nothing, pieces of one buffer that overlap. */
#include <criterion/criterion.h>
#include <math.h>
#include <stdint.h>

#include <clquant/ops.h>

#include "device.h"
#include "opencl.h"

TestSuite(arguments, .fini = opencl_none_live);

enum { ROWS = 4, COLS = 64, MOST_BYTES = 2 * 4 * ROWS * COLS };

typedef struct fixture {
  test_device d;
  test_buffer x, out, planes;
} fixture;

static fixture fixture_open(void) {
  fixture f = {.d = test_device_open(NULL)};
  f.x = test_buffer_new(&f.d, NULL, MOST_BYTES);
  f.out = test_buffer_new(&f.d, NULL, MOST_BYTES);
  f.planes = test_buffer_new(&f.d, NULL, MOST_BYTES);
  return f;
}

static void fixture_close(fixture *f) {
  test_ok(clq_stream_finish(f->d.stream));
  test_buffer_free(&f->x);
  test_buffer_free(&f->out);
  test_buffer_free(&f->planes);
  test_device_close(&f->d);
}

static clq_add_args add_of(const fixture *f) {
  return (clq_add_args){.a = {f->x.mem, CLQ_F32, {ROWS, COLS}},
                        .b = {f->x.mem, CLQ_F32, {ROWS, COLS}},
                        .out = {f->out.mem, CLQ_F32, {ROWS, COLS}}};
}

static clq_quantize_args quantize_of(const fixture *f) {
  return (clq_quantize_args){.x = {f->x.mem, CLQ_F32, {ROWS, COLS}},
                             .out = {f->out.mem,
                                     CLQ_I8,
                                     {ROWS, COLS},
                                     .quant = {.per = CLQ_PER_TOKEN, .scale = f->planes.mem}}};
}

Test(arguments, zero_extents_are_empty_and_extents_behind_the_last_dimension_are_absent) {
  fixture f = fixture_open();
  static const int64_t empty[][2] = {{5, 0}, {0, 70}, {0, 0}};
  for (int i = 0; i < 3; ++i) {
    clq_add_args a = add_of(&f);
    for (int d = 0; d < 2; ++d) {
      a.a.shape[d] = a.b.shape[d] = a.out.shape[d] = empty[i][d];
    }
    test_ok(clq_add(f.d.stream, &a));
  }
  clq_add_args a = add_of(&f);
  a.a = (clq_tensor){f.x.mem, CLQ_F32, {5, 0, 70}};
  test_fails(clq_add(f.d.stream, &a), CLQ_INVALID_ARGUMENT,
             "add: a has 2 dimensions here, but extent 2 is 70, expected 0 (absent)");
  a.a = (clq_tensor){f.x.mem, CLQ_F32, {ROWS, COLS, 1}};
  test_fails(clq_add(f.d.stream, &a), CLQ_INVALID_ARGUMENT, "extent 2 is 1, expected 0 (absent)");
  fixture_close(&f);
}

/* Of a third extent of 1 the last dimension was taken to be that: one scale instead of 64. */
Test(arguments, planes_are_measured_by_the_operators_dimensions) {
  fixture f = fixture_open();
  test_buffer scale = test_buffer_new(&f.d, NULL, sizeof(float));
  clq_dequantize_args a = {
      .x = {f.x.mem, CLQ_I8, {ROWS, COLS}, .quant = {.per = CLQ_PER_CHANNEL, .scale = scale.mem}},
      .out = {f.out.mem, CLQ_F32, {ROWS, COLS}}};
  test_fails(clq_dequantize(f.d.stream, &a), CLQ_INVALID_ARGUMENT, "x.quant.scale has 4 bytes");
  a.x.shape[2] = 1;
  test_fails(clq_dequantize(f.d.stream, &a), CLQ_INVALID_ARGUMENT, "extent 2");
  test_buffer_free(&scale);
  fixture_close(&f);
}

Test(arguments, strides_are_given_from_the_front) {
  fixture f = fixture_open();
  clq_add_args a = add_of(&f);
  a.out.stride[1] = 1;
  test_fails(clq_add(f.d.stream, &a), CLQ_INVALID_ARGUMENT,
             "add: stride 0 of out is 0 before one of 1; broadcasting is not offered");
  a = add_of(&f);
  a.b.stride[1] = 1;
  test_fails(clq_add(f.d.stream, &a), CLQ_INVALID_ARGUMENT, "add: stride 0 of b is 0 before");
  a.b.shape[0] = a.a.shape[0] = a.out.shape[0] = 1; /* the step from row to row of one row */
  test_ok(clq_add(f.d.stream, &a));
  a = add_of(&f);
  a.a.stride[0] = 2 * COLS; /* behind it they follow */
  a.a.shape[0] = a.b.shape[0] = a.out.shape[0] = 2;
  test_ok(clq_add(f.d.stream, &a));
  a.a.stride[2] = 1;
  test_fails(clq_add(f.d.stream, &a), CLQ_INVALID_ARGUMENT,
             "add: a has 2 dimensions here, but stride 2 is 1, expected 0");
  fixture_close(&f);
}

Test(arguments, no_word_on_quantization_is_passed_over) {
  fixture f = fixture_open();
  clq_quantize_args a = quantize_of(&f);
  test_ok(clq_quantize(f.d.stream, &a));
  a.out.quant.per = 0;
  test_fails(clq_quantize(f.d.stream, &a), CLQ_INVALID_ARGUMENT,
             "quantize: out has quant.scale, but quant.per is 0: it must say what shares a scale");
  a = quantize_of(&f);
  a.out.quant.group = 32;
  test_fails(clq_quantize(f.d.stream, &a), CLQ_INVALID_ARGUMENT,
             "quantize: out has quant.group 32, but quant.per is not CLQ_PER_GROUP");
  a = quantize_of(&f);
  a.x.quant.scale = f.planes.mem;
  test_fails(clq_quantize(f.d.stream, &a), CLQ_INVALID_ARGUMENT,
             "quantize: x has quant.scale, but quant.per is 0");
  a = quantize_of(&f);
  a.x.quant.sum = f.planes.mem;
  test_fails(clq_quantize(f.d.stream, &a), CLQ_INVALID_ARGUMENT, "quantize: x has quant.sum");
  a = quantize_of(&f);
  a.x.quant.per = CLQ_PER_TOKEN;
  test_fails(clq_quantize(f.d.stream, &a), CLQ_INVALID_ARGUMENT,
             "quantize: x is f32, so quant.per must be 0");
  fixture_close(&f);
}

#define refuses(op, status, sentence, ...) \
  test_fails(clq_##op(f.d.stream, &(clq_##op##_args){__VA_ARGS__}), status, #op ": " sentence)

/* Numbers and enumerators that mean nothing: what was given and what is expected. */
Test(arguments, sentences_say_what_is_expected) {
  fixture f = fixture_open();
  const clq_tensor x = {f.x.mem, CLQ_F32, {ROWS, COLS}};
  const clq_tensor out = {f.out.mem, CLQ_F32, {ROWS, COLS}};
  const clq_tensor codes = quantize_of(&f).out;
  const clq_status bad = CLQ_INVALID_ARGUMENT;
  clq_tensor odd;

  /* Of any tensor of any operator. */
  odd = x;
  odd.dtype = (clq_dtype)77;
  refuses(softmax, bad, "dtype of x is 77, expected one of f32, f16, bf16, i8, u8", odd, out);
  odd.dtype = (clq_dtype)0;
  refuses(activate, bad, "dtype of x is 0, expected one of f32, f16, bf16", .x = odd, .out = out);
  refuses(activate, bad, "activation is 9, expected one of clq_activation (0 to 4)", .x = x,
          .activation = (clq_activation)9, .out = out);
  odd = x;
  odd.shape[0] = -ROWS;
  refuses(quantize, bad, "dimension 0 of x is -4, expected 0 or more", odd, codes);
  odd = x;
  odd.stride[0] = -COLS;
  odd.stride[1] = 1;
  refuses(layernorm, bad, "stride 0 of x is -64, expected 0 (dense) or more", .x = odd, .out = out);
  odd.stride[0] = 10;
  refuses(layernorm, bad, "stride 0 of x is 10, expected at least 64 (the elements inside it)",
          .x = odd, .out = out);
  odd = codes;
  odd.quant.per = (clq_granularity)9;
  refuses(quantize, bad, "quant.per of out is 9, expected 0 or one of clq_granularity (1 to 4)", x,
          odd);
  refuses(rmsnorm, bad, "quant.per of x is 9, expected", .x = odd, .out = out);
  refuses(integer_norm, bad, "quant.per of x is 9, expected", .x = odd, .multiplier = x,
          .out = codes);
  odd = x;
  odd.quant.per = (clq_granularity)-1;
  refuses(softmax, bad, "quant.per of x is -1, expected", odd, out);
  odd = codes;
  odd.quant.per = CLQ_PER_CHANNEL;
  refuses(softmax, CLQ_UNSUPPORTED, "x is quantized per channel, offered: per tensor, per token",
          odd, out);
  odd.quant.per = CLQ_PER_GROUP;
  odd.quant.group = -32;
  refuses(quantize, bad, "the group of out is -32, expected 1 or more", x, odd);
  odd = codes;
  odd.quant.sum = f.planes.mem;
  odd.quant.sum_offset = 6;
  refuses(quantize, bad, "quant.sum_offset of out is 6 bytes, expected a multiple of 4", x, odd);

  /* Of one operator. */
  refuses(layernorm, bad,
          "eps is nan, expected 0 (for 1e-5), a finite positive number, or a negative one", .x = x,
          .out = out, .eps = NAN);
  refuses(rmsnorm, bad, "eps is -inf, expected 0 (for 1e-5)", .x = x, .out = out, .eps = -INFINITY);
  refuses(layernorm, bad, "alpha is nan, expected 0 (for 1) or a finite number", .x = x,
          .residual = {f.planes.mem, CLQ_F32, {ROWS, COLS}}, .out = out, .alpha = NAN);
  refuses(layernorm, bad, "alpha is nan, expected 0: there is no residual", .x = x, .out = out,
          .alpha = NAN);
  refuses(rmsnorm, bad, "x_scale is nan, expected 0 (for 1) or a finite positive number", .x = x,
          .out = out, .x_scale = NAN);
  refuses(rmsnorm, bad, "cast is 7, expected 0 or one of clq_norm_cast (1 to 3)", .x = x,
          .out = out, .cast = (clq_norm_cast)7);
  refuses(softmax, bad, "scale is nan, expected 0 (for 1) or a finite number", x, out, NAN);
  odd = codes;
  odd.quant.per = CLQ_PER_TENSOR;
  refuses(softmax, bad, "scale is -2, expected 0 (for 1) or a positive number with x of i8", odd,
          out, -2.0f);

  const clq_tensor heads = {f.x.mem, CLQ_F32, {ROWS, 2, 16}};
  const clq_tensor cache = {f.planes.mem, CLQ_F32, {1, 2, 16, 16}};
  const clq_tensor position = {f.planes.mem, CLQ_I32, {1}};
  refuses(rope, bad, "layout is 3, expected 0 or one of clq_rope_layout (1 or 2)", .q = heads,
          .out = {f.out.mem, CLQ_F32, {ROWS, 2, 16}}, .position = position,
          .table = {f.planes.mem, CLQ_F32, {16, 8, 2}}, .layout = (clq_rope_layout)3);
  refuses(attention, bad, "scale is inf, expected 0 (for 1 / sqrt(head_dim)) or a finite number",
          .q = heads, .cache = {cache, cache}, .position = position,
          .out = {f.out.mem, CLQ_F32, {ROWS, 32}}, .scale = INFINITY);

  /* More than is offered is no broken contract. */
  refuses(layernorm, CLQ_UNSUPPORTED, "x has 2147483648 columns, at most 2147483647 are offered",
          .x = {f.x.mem, CLQ_F32, {1, INT64_C(1) << 31}}, .out = out);

  clq_integer_norm_args norm = {.x = {f.x.mem, CLQ_I8, {ROWS, COLS}},
                                .multiplier = {f.planes.mem, CLQ_I32, {COLS}},
                                .out = {f.out.mem, CLQ_I8, {ROWS, COLS}},
                                .shift = 16};
  norm.kind = (clq_norm_kind)3;
  test_fails(clq_integer_norm(f.d.stream, &norm), bad,
             "kind is 3, expected 0 or one of clq_norm_kind (1 or 2)");
  norm.kind = CLQ_NORM_RMS;
  norm.eps = 1;
  norm.eps_shift = INT32_MIN;
  test_fails(clq_integer_norm(f.d.stream, &norm), bad,
             "eps * 2^-eps_shift is 1 * 2^2147483648, expected at most 2^58 / cols");
  norm.eps = 0;
  norm.out.quant = codes.quant;
  norm.out_scale = NAN;
  test_fails(clq_integer_norm(f.d.stream, &norm), bad,
             "out_scale is nan, expected a positive number for quant.scale of out");
  norm.x.quant.per = CLQ_PER_TOKEN;
  test_fails(clq_integer_norm(f.d.stream, &norm), CLQ_UNSUPPORTED,
             "quant.per of x is 3, offered: 0 or CLQ_PER_TENSOR (1)");
  norm.x.dtype = CLQ_I32;
  norm.x.quant.per = CLQ_PER_TENSOR;
  test_fails(clq_integer_norm(f.d.stream, &norm), bad,
             "x of i32 is quantized, expected quant.per 0");
  fixture_close(&f);
}

/* Where the device has images at all. */
Test(arguments, an_image_is_no_buffer) {
  fixture f = fixture_open();
  cl_int code = CL_SUCCESS;
  const cl_image_format format = {CL_R, CL_FLOAT};
  const cl_image_desc desc = {
      .image_type = CL_MEM_OBJECT_IMAGE2D, .image_width = COLS, .image_height = ROWS};
  cl_mem image =
      clCreateImage(clq_context_cl(f.d.context), CL_MEM_READ_WRITE, &format, &desc, NULL, &code);
  if (code == CL_SUCCESS) {
    test_fails(clq_softmax(f.d.stream, &(clq_softmax_args){.x = {image, CLQ_F32, {ROWS, COLS}},
                                                           .out = {f.out.mem, CLQ_F32}}),
               CLQ_INVALID_ARGUMENT,
               "softmax: x: the memory object is an image or a pipe, expected a buffer");
    (void)clReleaseMemObject(image);
  }
  fixture_close(&f);
}

static cl_mem piece(const test_buffer *whole, size_t origin, size_t bytes) {
  cl_int code = CL_SUCCESS;
  const cl_buffer_region region = {origin, bytes};
  cl_mem mem = clCreateSubBuffer(whole->mem, 0, CL_BUFFER_CREATE_TYPE_REGION, &region, &code);
  cr_assert_eq(code, CL_SUCCESS, "clCreateSubBuffer: %d", code);
  return mem;
}

/* Three pieces of one buffer: of 1024 bytes from 0, from 512 and from 1024. */
Test(arguments, sub_buffers_are_pieces_of_their_buffer) {
  enum { BYTES = 4 * ROWS * COLS, HALF = BYTES / 2 };
  fixture f = fixture_open();
  cl_mem low = piece(&f.x, 0, BYTES);
  cl_mem middle = piece(&f.x, HALF, BYTES);
  cl_mem high = piece(&f.x, BYTES, BYTES);
  clq_add_args a = add_of(&f);
  a.a.mem = a.b.mem = low;
  a.out.mem = high;
  test_ok(clq_add(f.d.stream, &a));
  a.out.mem = low;
  test_ok(clq_add(f.d.stream, &a)); /* in place, on one object */
  a.out.mem = middle;
  test_fails(clq_add(f.d.stream, &a), CLQ_INVALID_ARGUMENT, "add: out overlaps a");
  a.out.shape[0] = a.a.shape[0] = a.b.shape[0] = ROWS / 2; /* low ends where middle begins */
  test_ok(clq_add(f.d.stream, &a));

  /* A piece and its buffer. */
  a = add_of(&f);
  a.a.mem = a.b.mem = f.x.mem;
  a.out.mem = middle;
  test_fails(clq_add(f.d.stream, &a), CLQ_INVALID_ARGUMENT, "add: out overlaps a");
  a.out.mem = low; /* the same bytes, but two objects */
  test_fails(clq_add(f.d.stream, &a), CLQ_INVALID_ARGUMENT, "add: out overlaps a");
  a.out.mem = high;
  test_ok(clq_add(f.d.stream, &a));

  /* Planes. */
  clq_quantize_args q = quantize_of(&f);
  q.x.mem = low;
  q.out.quant.scale = middle;
  test_fails(clq_quantize(f.d.stream, &q), CLQ_INVALID_ARGUMENT,
             "quantize: out.quant.scale overlaps x");
  q.out.quant.scale = high;
  q.out.quant.sum = middle;
  q.out.quant.sum_offset = HALF;
  test_fails(clq_quantize(f.d.stream, &q), CLQ_INVALID_ARGUMENT,
             "quantize: out.quant.sum overlaps out.quant.scale");
  q.out.quant.sum_offset += sizeof(float) * ROWS;
  test_ok(clq_quantize(f.d.stream, &q));
  test_ok(clq_stream_finish(f.d.stream));
  clReleaseMemObject(low);
  clReleaseMemObject(middle);
  clReleaseMemObject(high);
  fixture_close(&f);
}
