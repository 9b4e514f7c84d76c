/* The packers of AutoGPTQ, GPTQModel and AutoAWQ once more, word by word as they write them; the
 * library's decoders know only where bits lie. Running out of memory aborts. */
#ifndef CLQ_TESTS_GPTQ_PACKER_H
#define CLQ_TESTS_GPTQ_PACKER_H

#include <stddef.h>
#include <stdint.h>

/* in [count, other] values of bits 2, 3, 4 or 8 to [count * bits / 32, other] words along the first
 * axis: qweight with count inputs and other outputs. To be freed. */
uint32_t *gptq_pack(const uint32_t *in, size_t count, size_t other, int bits);
/* in [groups, rows] zero points to qzeros [groups, rows * bits / 32]. To be freed. */
uint32_t *gptq_pack_zeros(const uint32_t *in, size_t groups, size_t rows, int bits);
/* What GPTQModel does to qzeros when it writes the format gptq (v1). */
void gptq_zeros_to_v1(uint32_t *qzeros, size_t groups, size_t rows, int bits);
/* in [count, rows] values of 4 bits to [count, rows / 8] words. To be freed. */
uint32_t *awq_pack(const uint32_t *in, size_t count, size_t rows);

#endif
