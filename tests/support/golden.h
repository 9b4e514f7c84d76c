/* tests/golden/logits.bin: the independent fp64 logits of eight prompts. */
#ifndef CLQ_TESTS_GOLDEN_H
#define CLQ_TESTS_GOLDEN_H

#include <stdbool.h>
#include <stdint.h>

enum { GOLDEN_COLUMNS = 192, GOLDEN_TOP = 16, GOLDEN_MAX_PROMPTS = 16 };

typedef struct golden_row {
  uint32_t argmax;
  float margin; /* largest minus second largest logit */
  float log_sum;
  uint32_t top_ids[GOLDEN_TOP];
  float top_logits[GOLDEN_TOP];
  float column_logits[GOLDEN_COLUMNS];
} golden_row;

typedef struct golden_prompt {
  char name[33];
  uint32_t tokens;
  const int32_t *ids;
  const golden_row *rows;
  const float *last_row; /* [vocab], or NULL */
} golden_prompt;

typedef struct golden {
  void *data;
  uint32_t vocab;
  uint32_t prompt_count;
  const uint32_t *column_ids;
  golden_prompt prompts[GOLDEN_MAX_PROMPTS];
} golden;

/* Reads the file; ends the test if it is missing or malformed. */
golden golden_open(void);
void golden_close(golden *g);

#endif
