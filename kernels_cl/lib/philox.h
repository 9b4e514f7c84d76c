/* Random numbers from a counter: Philox4x32-10 (Salmon and others, "Parallel random numbers: as easy
 * as 1, 2, 3", SC 2011). The C twin is host/model/sampling.c. */
#ifndef CLQ_LIB_PHILOX_H
#define CLQ_LIB_PHILOX_H

static inline uint4 clq_philox(uint4 counter, uint2 key) {
  for (int i = 0; i < 10; i++) {
    const uint high0 = mul_hi(0xd2511f53u, counter.x), low0 = 0xd2511f53u * counter.x;
    const uint high1 = mul_hi(0xcd9e8d57u, counter.z), low1 = 0xcd9e8d57u * counter.z;
    counter = (uint4)(high1 ^ counter.y ^ key.x, low1, high0 ^ counter.w ^ key.y, low0);
    key += (uint2)(0x9e3779b9u, 0xbb67ae85u);
  }
  return counter;
}

#endif
