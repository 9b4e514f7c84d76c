#include "golden.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The words of the file, taken one after the other. */
typedef struct cursor {
  const uint32_t *words;
  size_t left;
} cursor;

static const uint32_t *take(cursor *c, size_t words) {
  cr_assert_geq(c->left, words, "logits.bin is too short");
  const uint32_t *at = c->words;
  c->words += words;
  c->left -= words;
  return at;
}

static golden_prompt take_prompt(cursor *c, uint32_t vocab) {
  golden_prompt p = {.name = {0}};
  memcpy(p.name, take(c, 8), 32);
  p.tokens = *take(c, 1);
  const bool has_last_row = *take(c, 1) != 0;
  p.ids = (const int32_t *)take(c, p.tokens);
  p.rows = (const golden_row *)take(c, p.tokens * sizeof(golden_row) / 4);
  p.last_row = has_last_row ? (const float *)take(c, vocab) : NULL;
  return p;
}

golden golden_open(void) {
  golden g = {NULL, 0, 0, NULL, {{.name = {0}}}};
  FILE *f = fopen(CLQ_TEST_DIR "/golden/logits.bin", "rb");
  cr_assert_not_null(f, "cannot open tests/golden/logits.bin");
  cr_assert_eq(fseek(f, 0, SEEK_END), 0);
  const size_t bytes = (size_t)ftell(f);
  rewind(f);
  g.data = malloc(bytes);
  cr_assert_eq(fread(g.data, 1, bytes, f), bytes);
  (void)fclose(f);
  cursor c = {g.data, bytes / 4};
  cr_assert_arr_eq(take(&c, 1), "CLQL", 4);
  cr_assert_eq(*take(&c, 1), 1, "version");
  g.vocab = *take(&c, 1);
  g.prompt_count = *take(&c, 1);
  cr_assert_leq(g.prompt_count, GOLDEN_MAX_PROMPTS);
  cr_assert_eq(*take(&c, 1), GOLDEN_COLUMNS);
  cr_assert_eq(*take(&c, 1), GOLDEN_TOP);
  g.column_ids = take(&c, GOLDEN_COLUMNS);
  for (uint32_t i = 0; i < g.prompt_count; ++i) {
    g.prompts[i] = take_prompt(&c, g.vocab);
  }
  cr_assert_eq(c.left, 0, "logits.bin is too long");
  return g;
}

void golden_close(golden *g) {
  free(g->data);
  g->data = NULL;
}
