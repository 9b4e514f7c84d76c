#include "runtime/sort_order.h"

static void swap(uint32_t *a, uint32_t *b) {
  const uint32_t kept = *a;
  *a = *b;
  *b = kept;
}

/* Restores the heap below root, whose children are heaps. */
static void sift_down(uint32_t *order, size_t root, size_t count, clqi_order_fn compare,
                      const void *context) {
  for (size_t child = 2 * root + 1; child < count; child = 2 * root + 1) {
    if (child + 1 < count && compare(context, order[child], order[child + 1]) < 0) {
      ++child;
    }
    if (compare(context, order[root], order[child]) >= 0) {
      return;
    }
    swap(&order[root], &order[child]);
    root = child;
  }
}

void clqi_sort_order(uint32_t *order, size_t count, clqi_order_fn compare, const void *context) {
  for (size_t root = count / 2; root-- > 0;) {
    sift_down(order, root, count, compare, context);
  }
  for (size_t end = count; end-- > 1;) {
    swap(&order[0], &order[end]);
    sift_down(order, 0, end, compare, context);
  }
}

uint32_t clqi_find_in_order(const uint32_t *order, size_t count, clqi_against_fn against,
                            const void *wanted) {
  size_t begin = 0;
  size_t end = count;
  while (begin < end) {
    const size_t middle = begin + (end - begin) / 2;
    const int sign = against(wanted, order[middle]);
    if (sign == 0) {
      return order[middle];
    }
    if (sign < 0) {
      end = middle;
    } else {
      begin = middle + 1;
    }
  }
  return UINT32_MAX;
}
