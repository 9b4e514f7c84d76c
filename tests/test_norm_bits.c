/* The same bits on every device: what the norms make of a fixed fill has one hash, written down
 * here, whichever device runs this. There is no mode to switch on: no other order of summing
 * exists. (That the forms of one device agree is for test_layernorm and test_rmsnorm.) */
#include <criterion/criterion.h>
#include <inttypes.h>
#include <stdlib.h>

#include "norm_call.h"
#include "opencl.h"

TestSuite(norm_bits, .fini = opencl_none_live);

enum { ROWS = 3, MOST_COLS = 5137, MOST = ROWS * MOST_COLS };

/* x, residual, gamma, beta and out of f32, or all of f16 where `half`; codes where `per` is. */
typedef struct kind {
  const char *name;
  bool centered, half, residual;
  clq_norm_cast cast;
  clq_granularity per;
  int32_t group;
  bool zero;
  uint64_t hash;
} kind;

/* FNV-1a. */
static uint64_t hash_of(uint64_t hash, const void *data, size_t bytes) {
  const unsigned char *p = data;
  for (size_t i = 0; i < bytes; ++i) {
    hash = (hash ^ p[i]) * UINT64_C(1099511628211);
  }
  return hash;
}

/* `count` numbers of either sign, each a float or a half between 2^-2 and 2^3 in size. */
static test_buffer filled(const test_device *d, uint64_t seed, int64_t count, bool half) {
  static uint16_t halves[MOST];
  static float floats[MOST];
  test_random random = {seed};
  for (int64_t i = 0; i < count; ++i) {
    const uint32_t bits = test_random_u32(&random);
    if (half) {
      halves[i] = (uint16_t)((bits & 0x83ffU) | (13 + (bits >> 16) % 5) << 10);
    } else {
      floats[i] = test_random_float(&random) * (float)(1 << (bits % 4));
    }
  }
  return half ? test_buffer_new(d, halves, (size_t)count * sizeof *halves)
              : test_buffer_new(d, floats, (size_t)count * sizeof *floats);
}

static uint64_t hash_buffer(uint64_t hash, const test_device *d, const test_buffer *b) {
  unsigned char *bytes = malloc(b->bytes);
  test_buffer_read(d, b, bytes);
  hash = hash_of(hash, bytes, b->bytes);
  free(bytes);
  return hash;
}

static uint64_t run(const test_device *d, const kind *k, int64_t cols, uint64_t hash) {
  const clq_dtype type = k->half ? CLQ_F16 : CLQ_F32;
  const int64_t group = k->per == CLQ_PER_GROUP ? k->group : cols;
  const size_t planes = (size_t)(ROWS * ((cols + group - 1) / group)) * 4;
  const size_t element = k->per != 0 ? 1 : clq_dtype_bytes(type);
  enum { X, RESIDUAL, GAMMA, BETA, OUT, SCALE, ZERO, SUM, BUFFERS };
  test_buffer b[BUFFERS] = {filled(d, 1, ROWS * cols, k->half),
                            filled(d, 2, ROWS * cols, k->half),
                            filled(d, 3, cols, k->half),
                            filled(d, 4, cols, k->half),
                            test_buffer_new(d, NULL, (size_t)(ROWS * cols) * element),
                            test_buffer_new(d, NULL, planes),
                            test_buffer_new(d, NULL, planes),
                            test_buffer_new(d, NULL, planes)};
  const clq_tensor x = {b[X].mem, type, {ROWS, cols}};
  const clq_tensor residual = {b[RESIDUAL].mem, type, {ROWS, cols}};
  const clq_tensor gamma = {b[GAMMA].mem, type, {cols}};
  const clq_tensor beta = {b[BETA].mem, type, {cols}};
  clq_tensor out = {b[OUT].mem, k->per != 0 ? CLQ_I8 : type, {ROWS, cols}};
  if (k->per != 0) {
    out.quant = (clq_quant){.per = k->per,
                            .group = k->group,
                            .scale = b[SCALE].mem,
                            .zero = k->zero ? b[ZERO].mem : NULL,
                            .sum = b[SUM].mem};
  }
  const clq_tensor none = {0};
  test_norm(d, k->centered, k->cast,
            &(clq_layernorm_args){.x = x,
                                  .residual = k->residual ? residual : none,
                                  .gamma = gamma,
                                  .beta = beta,
                                  .out = out});
  hash = hash_buffer(hash, d, &b[OUT]);
  hash = k->residual ? hash_buffer(hash, d, &b[RESIDUAL]) : hash;
  hash = k->per != 0 ? hash_buffer(hash, d, &b[SCALE]) : hash;
  hash = k->per != 0 ? hash_buffer(hash, d, &b[SUM]) : hash;
  hash = k->zero ? hash_buffer(hash, d, &b[ZERO]) : hash;
  for (int i = 0; i < BUFFERS; ++i) {
    test_buffer_free(&b[i]);
  }
  return hash;
}

Test(norm_bits, are_the_same_on_every_device) {
  static const int64_t widths[] = {7, 64, 768, 1025, MOST_COLS};
  static const kind kinds[] = {
      {"layernorm f32", true, false, false, 0, 0, 0, false, UINT64_C(0x367d3ce74e1eae63)},
      {"layernorm f32, residual, codes per token", true, false, true, 0, CLQ_PER_TOKEN, 0, false,
       UINT64_C(0x932a5ae12e58051d)},
      {"layernorm f16, asymmetric codes per 64", true, true, false, 0, CLQ_PER_GROUP, 64, true,
       UINT64_C(0x6a2cdea97c07c82f)},
      {"rmsnorm f32, residual", false, false, true, 0, 0, 0, false, UINT64_C(0x4d7956a9682ac682)},
      {"rmsnorm f32, codes per 32", false, false, false, 0, CLQ_PER_GROUP, 32, false,
       UINT64_C(0xa4bda9529c7dec13)},
      {"rmsnorm f16 as LLaMA rounds", false, true, true, CLQ_CAST_LLAMA, 0, 0, false,
       UINT64_C(0xd7b3af9e93b617dd)},
  };
  test_device d = test_device_open(NULL);
  for (size_t k = 0; k < sizeof kinds / sizeof kinds[0]; ++k) {
    uint64_t hash = UINT64_C(14695981039346656037);
    for (size_t w = 0; w < sizeof widths / sizeof widths[0]; ++w) {
      hash = run(&d, &kinds[k], widths[w], hash);
    }
    cr_expect_eq(hash, kinds[k].hash, "%s: %016" PRIx64 ", expected %016" PRIx64, kinds[k].name,
                 hash, kinds[k].hash);
  }
  test_device_close(&d);
}
