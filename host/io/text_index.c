#include "io/text_index.h"

#include <string.h>

#include "runtime/memory.h"
#include "runtime/sort_order.h"
#include "runtime/status.h"

/* A text before those that it begins. */
static int compare_entries(const void *context, uint32_t a, uint32_t b) {
  const clqi_text_entry *entries = context;
  const clqi_text x = entries[a].text;
  const clqi_text y = entries[b].text;
  const int order = memcmp(x.data, y.data, x.length < y.length ? x.length : y.length);
  if (order != 0 || x.length != y.length) {
    return order != 0 ? order : (x.length > y.length) - (x.length < y.length);
  }
  return (a > b) - (a < b);
}

clq_status clqi_text_index_create(const clqi_text_entry *entries, size_t count, const char *what,
                                  clqi_text_index *out) {
  *out = (clqi_text_index){0};
  if (count == 0) {
    return CLQ_OK;
  }
  clq_status status = CLQ_OK;
  uint32_t *order = clqi_calloc(count, sizeof *order);
  out->entries = clqi_calloc(count, sizeof *out->entries);
  if (order == NULL || out->entries == NULL) {
    status = clqi_fail(CLQ_OUT_OF_HOST_MEMORY, "tokenizer: out of memory for the %s", what);
    goto cleanup;
  }
  for (size_t i = 0; i < count; ++i) {
    order[i] = (uint32_t)i;
  }
  clqi_sort_order(order, count, compare_entries, entries);
  for (size_t i = 0; i < count; ++i) {
    out->entries[i] = entries[order[i]];
    ++out->first[(unsigned char)out->entries[i].text.data[0] + 1];
  }
  for (int byte = 0; byte < 256; ++byte) {
    out->first[byte + 1] += out->first[byte];
  }

cleanup:
  clqi_free(order);
  if (status != CLQ_OK) {
    clqi_text_index_destroy(out);
  }
  return status;
}

void clqi_text_index_destroy(clqi_text_index *index) {
  clqi_free(index->entries);
  *index = (clqi_text_index){0};
}

/* First entry in [low, high), all of which agree in their first `depth` bytes, whose byte at
 * `depth` is at least `byte`. One that ends there counts as less. */
static size_t lower_bound(const clqi_text_entry *entries, size_t low, size_t high, size_t depth,
                          unsigned byte) {
  while (low < high) {
    const size_t middle = low + (high - low) / 2;
    const clqi_text text = entries[middle].text;
    if (text.length <= depth || (unsigned char)text.data[depth] < byte) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  return low;
}

const clqi_text_entry *clqi_text_index_longest(const clqi_text_index *index, clqi_text text) {
  const clqi_text_entry *found = NULL;
  if (text.length == 0) {
    return NULL;
  }
  size_t low = index->first[(unsigned char)text.data[0]];
  size_t high = index->first[(unsigned char)text.data[0] + 1];
  for (size_t depth = 1; low < high; ++depth) {
    if (index->entries[low].text.length == depth) {
      found = &index->entries[low];
    }
    if (depth == text.length) {
      break;
    }
    const unsigned byte = (unsigned char)text.data[depth];
    low = lower_bound(index->entries, low, high, depth, byte);
    high = lower_bound(index->entries, low, high, depth, byte + 1);
  }
  return found;
}

const clqi_text_entry *clqi_text_index_find(const clqi_text_index *index, clqi_text text) {
  const clqi_text_entry *found = clqi_text_index_longest(index, text);
  return found != NULL && found->text.length == text.length ? found : NULL;
}
