/* Texts by their bytes, for the longest of them that another text begins with. */
#ifndef CLQI_IO_TEXT_INDEX_H
#define CLQI_IO_TEXT_INDEX_H

#include "io/text.h"

typedef struct clqi_text_entry {
  clqi_text text; /* not empty */
  int32_t id;
} clqi_text_entry;

/* All zero: none. */
typedef struct clqi_text_index {
  clqi_text_entry *entries; /* sorted; of equal texts the one given first is found */
  uint32_t first[257];      /* of those with this first byte */
} clqi_text_index;

/* Copies the entries, at most UINT32_MAX of them, but not their texts. what: for the sentence when
 * memory runs out. */
CLQ_NODISCARD clq_status clqi_text_index_create(const clqi_text_entry *entries, size_t count,
                                                const char *what, clqi_text_index *out);
void clqi_text_index_destroy(clqi_text_index *index);

/* The longest entry that text begins with, or NULL. */
const clqi_text_entry *clqi_text_index_longest(const clqi_text_index *index, clqi_text text);
/* The entry with exactly these bytes, or NULL. */
const clqi_text_entry *clqi_text_index_find(const clqi_text_index *index, clqi_text text);

#endif
