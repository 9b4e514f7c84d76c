/* Rotary angles, with what model files say about them. */
#ifndef CLQI_OPS_ROPE_TABLE_H
#define CLQI_OPS_ROPE_TABLE_H

#include <stdint.h>

/* As clq_rope_table, with linear scaling (positions / divisor) and divisors of the single
 * frequencies (dims / 2 of them, or NULL). */
void clqi_rope_table_fill(float *table, int64_t positions, int64_t dims, double base,
                          double divisor, const float *factors);

#endif
