#include <math.h>

#include "ref/math.h"
#include "ref/ref.h"

int32_t clqi_ref_quantize_group(const float *x, int64_t n, int8_t *codes, float *scale) {
  int32_t absmax = 0;
  for (int64_t i = 0; i < n; ++i) {
    absmax = clqi_ref_absmax(absmax, x[i]);
  }
  const float mult = clqi_ref_quant_mult(absmax);
  int32_t sum = 0;
  for (int64_t i = 0; i < n; ++i) {
    codes[i] = clqi_ref_quant_code(x[i], mult);
    sum += codes[i];
  }
  *scale = clqi_ref_quant_scale(absmax);
  return sum;
}

void clqi_ref_quantize(const float *x, int64_t rows, int64_t cols, int64_t group, int8_t *codes,
                       float *scales, int32_t *sums) {
  const int64_t groups = (cols + group - 1) / group;
  for (int64_t r = 0; r < rows; ++r) {
    for (int64_t g = 0; g < groups; ++g) {
      const int64_t begin = r * cols + g * group;
      const int64_t n = g * group + group <= cols ? group : cols - g * group;
      const int32_t sum =
          clqi_ref_quantize_group(x + begin, n, codes + begin, &scales[r * groups + g]);
      if (sums != 0) {
        sums[r * groups + g] = sum;
      }
    }
  }
}

int32_t clqi_ref_affine_code(float x, float mult, int32_t zero, int32_t lo) {
  float v = x * mult;
  v = isinf(x) && mult == 0.0f ? x : v;
  v = fminf(fmaxf(isnan(v) ? 0.0f : v, -0x1p+21f), 0x1p+21f);
  const int32_t code = (int32_t)rintf(v) + zero;
  return code < lo ? lo : code > lo + 255 ? lo + 255 : code;
}

int32_t clqi_ref_quantize_asymmetric(const float *x, int64_t n, int32_t lo, int32_t *codes,
                                     float *scale, int32_t *zero) {
  const float smallest = 0x1p-119f;
  float least = 0.0f;
  float most = 0.0f;
  bool is_nan = false;
  for (int64_t i = 0; i < n; ++i) {
    is_nan = is_nan || isnan(x[i]);
    least = x[i] < least ? x[i] : least;
    most = x[i] > most ? x[i] : most;
  }
  const float s = is_nan ? NAN : clqi_ref_div(most, 255.0f) - clqi_ref_div(least, 255.0f);
  const bool number = s >= smallest && s < INFINITY;
  const float mult = number ? clqi_ref_div(1.0f, s) : isnan(s) ? s : 0.0f;
  *scale = s < smallest ? 0.0f : s;
  *zero = lo + 128;
  if (number) {
    const float z = rintf(fminf(fmaxf((float)lo - least * mult, -256.0f), 256.0f));
    *zero = z < (float)lo ? lo : z > (float)lo + 255.0f ? lo + 255 : (int32_t)z;
  }
  int32_t sum = 0;
  for (int64_t i = 0; i < n; ++i) {
    codes[i] = clqi_ref_affine_code(x[i], mult, *zero, lo);
    sum += codes[i];
  }
  return sum;
}
