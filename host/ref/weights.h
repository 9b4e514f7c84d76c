/* The elements of weights in every format, one at a time. */
#ifndef CLQI_REF_WEIGHTS_H
#define CLQI_REF_WEIGHTS_H

#include "ref/ref.h"

/* One code of W, as its format stores it, and what its group says. */
typedef struct clqi_ref_element {
  int32_t code; /* zero point taken off */
  float scale;
  float min; /* 0 without minima */
} clqi_ref_element;

/* Not for formats of floats. */
clqi_ref_element clqi_ref_element_at(const clqi_ref_weights *w, int64_t n, int64_t k);

/* Elements that share a scale. */
int64_t clqi_ref_group(const clqi_ref_weights *w);

/* W[n, k] is fma(code, scale, min), not code * scale. */
bool clqi_ref_has_min(const clqi_ref_weights *w);

/* Bits of a plain code: 2, 3, 4, 8; 0 for other formats. */
int64_t clqi_ref_plain_bits(clq_format format);

/* How a block of a GGUF format lies in memory; 1 element of 0 bytes for other formats. */
typedef struct clqi_ref_block {
  int64_t elements, bytes;
  int64_t scale, min; /* byte at which the f16 that all else is multiplied by begins; -1: none */
} clqi_ref_block;
clqi_ref_block clqi_ref_block_of(clq_format format);

#endif
