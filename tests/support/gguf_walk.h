/* Touches everything a GGUF file hands out, for tests and fuzzing. */
#ifndef CLQ_TEST_GGUF_WALK_H
#define CLQ_TEST_GGUF_WALK_H

#include <stdint.h>

#include "io/gguf.h"

/* Reads every key through every look-up, and every byte of every string, array
 * and tensor; returns a checksum, so that no read is optimized away. */
uint64_t gguf_walk(const clqi_gguf *file);

#endif
