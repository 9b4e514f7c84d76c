/* An allocator that counts what the library holds, and fails when told. */
#ifndef CLQ_TESTS_COUNTING_H
#define CLQ_TESTS_COUNTING_H

#include <stddef.h>

/* From now on the library's host memory is counted; the k-th allocation from here (1 is the next)
 * fails, and all after it if `persistent`; k 0: none. */
void counting_start(size_t k, int persistent);
/* Blocks allocated and not released since start. */
size_t counting_live(void);
/* Allocations asked for since start. */
size_t counting_calls(void);
/* True if an allocation was made to fail. */
int counting_failed(void);
/* Back to malloc and free. What was counted stays readable. */
void counting_stop(void);

#endif
