/* The loops that are alike for vectors of every width; limits_x86.c includes this once for each:
 *   LOOP(name)  name of the function for this width
 *   TARGET      attributes of its functions
 *   WIDTH       bytes of a vector
 *   SUMS        accumulators of the arithmetic loop
 *   STREAM(to, vector), FMA(a, x, y): the instructions that C has no operator for */

typedef unsigned LOOP(words) __attribute__((vector_size(WIDTH), may_alias));
typedef float LOOP(floats) __attribute__((vector_size(WIDTH)));

TARGET static unsigned LOOP(read)(void *to, const void *from, size_t bytes) {
  (void)to;
  const LOOP(words) *p = from;
  LOOP(words) a[8] = {{0}};
  for (size_t left = bytes / sizeof *p; left > 0; left -= 8) {
    UNROLLED
    for (int i = 0; i < 8; ++i) {
      a[i] += *p++;
    }
  }
  unsigned sum = 0;
  for (int i = 0; i < 8; ++i) {
    for (size_t j = 0; j < WIDTH / sizeof sum; ++j) {
      sum += a[i][j];
    }
  }
  return sum;
}

TARGET static unsigned LOOP(copy)(void *to, const void *from, size_t bytes) {
  const LOOP(words) *p = from;
  LOOP(words) *q = to;
  for (size_t left = bytes / sizeof *p; left > 0; left -= 8) {
    UNROLLED
    for (int i = 0; i < 8; ++i) {
      *q++ = *p++;
    }
  }
  return 0;
}

TARGET static unsigned LOOP(copy_nontemporal)(void *to, const void *from, size_t bytes) {
  const LOOP(words) *p = from;
  LOOP(words) *q = to;
  for (size_t left = bytes / sizeof *p; left > 0; left -= 8) {
    UNROLLED
    for (int i = 0; i < 8; ++i) {
      STREAM(q++, *p++);
    }
  }
  _mm_sfence();
  return 0;
}

TARGET static float LOOP(fp32)(long passes) {
  LOOP(floats) a[SUMS];
  LOOP(floats) x = (LOOP(floats)){0} + 0.5f;
  const LOOP(floats) y = (LOOP(floats)){0} + 0.25f;
  UNROLLED
  for (int i = 0; i < SUMS; ++i) {
    a[i] = (LOOP(floats)){0} + (float)i;
  }
  for (long n = passes * PASS; n > 0; --n) {
    OPAQUE(x);
    UNROLLED
    for (int i = 0; i < SUMS; ++i) {
      a[i] = FMA(a[i], x, y);
    }
  }
  float sum = 0.0f;
  UNROLLED
  for (int i = 0; i < SUMS; ++i) {
    for (size_t j = 0; j < WIDTH / sizeof sum; ++j) {
      sum += a[i][j];
    }
  }
  return sum;
}

#undef LOOP
#undef TARGET
#undef WIDTH
#undef SUMS
#undef STREAM
#undef FMA
