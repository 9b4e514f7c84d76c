/* The next token of each row of logits, and its first tokens in the order of lib/sample.h. Tokens are
 * kept by top-k, top-p and min-p in turn, their weights are taken again at the temperature, and the
 * one is drawn at which the sum of weights, by ids, passes a random share of the whole. */
#include "lib/sample.h"

/* What sample_group chooses from: 0: what sample_part left of a row; 1: the row, of which it gathers
 * those first that the filters may keep. */
#ifndef CLQ_WHOLE
#define CLQ_WHOLE 0
#endif

#if CLQ_ON_CPU

typedef struct row_of {
  const __global float *x;
  long cols;
  float largest; /* logit */
  float min_p, inverse;
  int order, last; /* of the last token that is kept: its logit's order, and its id */
} row_of;

static inline int16 inside16(long i, long end) {
  return i + 16 <= end ? (int16)-1 : clq_mask16(i, end);
}

/* Orders, behind the row's end the lowest number. */
static inline int16 orders(const __global float *x, long i, long end) {
  const int16 o = clq_order16(clq_row_load_f32(x, i, end));
  return i + 16 <= end ? o : select((int16)(int)0x80000000, o, clq_mask16(i, end));
}

/* The first token's key. *bad: the first token that is NaN or +inf, or CLQ_NO_TOKEN. */
static inline ulong find_largest(const __global float *x, long cols, ulong *bad) {
  int16 most[2] = {(int16)(int)0x80000000, (int16)(int)0x80000000};
  int16 least[2] = {(int16)0, (int16)0};
  int16 at[2] = {(int16)0, (int16)0};
#define STEP(i, j)                                              \
  {                                                             \
    const int16 o = clq_order16(vload16(0, x + (i)));           \
    const int16 better = o > most[j];                           \
    at[j] = select(at[j], (int16)(int)(i), better);             \
    most[j] = max(most[j], o);                                  \
    least[j] = min(least[j], o);                                \
  }
  long i = 0;
  for (; i + 32 <= cols; i += 32) {
    STEP(i, 0)
    STEP(i + 16, 1)
  }
#undef STEP
  ulong best = 0;
  bool any_bad = false;
  for (int j = 0; j < 2 && i > 0; j++) {
    int o[16], a[16], l[16];
    vstore16(most[j], 0, o);
    vstore16(at[j], 0, a);
    vstore16(least[j], 0, l);
    for (int k = 0; k < 16; k++) {
      best = max(best, clq_key(o[k], a[k] + k));
      any_bad |= clq_bad_order(o[k]) || clq_bad_order(l[k]);
    }
  }
  for (; i < cols; i++) {
    const int o = clq_order(x[i]);
    best = max(best, clq_key(o, i));
    any_bad |= clq_bad_order(o);
  }
  *bad = CLQ_NO_TOKEN;
  for (i = 0; any_bad && i < cols; i++) {
    if (clq_bad_order(clq_order(x[i]))) {
      *bad = (ulong)i;
      break;
    }
  }
  return best;
}

/* A heap whose root is its smallest key, or its largest. */
static inline void sift_down(__global ulong *heap, long size, long at, bool largest_first) {
  const ulong moved = heap[at];
  for (;;) {
    long child = 2 * at + 1;
    if (child >= size) {
      break;
    }
    if (child + 1 < size && (heap[child + 1] > heap[child]) == largest_first) {
      child++;
    }
    if ((heap[child] > moved) != largest_first) {
      break;
    }
    heap[at] = heap[child];
    at = child;
  }
  heap[at] = moved;
}

static inline void make_heap(__global ulong *heap, long size, bool largest_first) {
  for (long i = size / 2; i-- > 0;) {
    sift_down(heap, size, i, largest_first);
  }
}

/* The first k tokens of the row, the last of them at heap[0]. Most vectors of a long row fail one
 * comparison. */
static inline void select_top(const __global float *x, long cols, long k, __global ulong *heap) {
  for (long i = 0; i < k; i++) {
    heap[i] = clq_key(clq_order(x[i]), i);
  }
  make_heap(heap, k, false);
  int worst = clq_key_order(heap[0]);
  for (long i = k; i < cols; i += 16) {
    const int16 o = orders(x, i, cols);
    if (!any(o > worst)) {
      continue;
    }
    int each[16];
    vstore16(o, 0, each);
    for (int j = 0; j < 16; j++) {
      if (each[j] > worst) {
        heap[0] = clq_key(each[j], i + j);
        sift_down(heap, k, 0, false);
        worst = clq_key_order(heap[0]);
      }
    }
  }
}

static inline ulong16 weights16(const row_of *r, float16 logits, float inverse) {
  const float16 e = clq_exp_down16((logits - r->largest) * inverse);
  return convert_ulong16(e * 0x1p40f);
}

static inline ulong sum16(ulong16 v) {
  const ulong8 a = v.lo + v.hi;
  const ulong4 b = a.lo + a.hi;
  return (b.x + b.y) + (b.z + b.w);
}

enum { BINS = 512 };

/* Distances from the largest logit in steps of 1/16: a token before another is in no later bin. */
static inline int16 bins16(const row_of *r, float16 logits) {
  return convert_int16(fmin((r->largest - logits) * 16.0f, (float16)(BINS - 1)));
}

/* The bin in which top-p's last token is, its tokens, and the mass that is wanted of them. */
static inline long gather(const row_of *r, long top_p, __global ulong *keys, ulong *wanted) {
  ulong bins[BINS];
  int at[16];
  for (int i = 0; i < BINS; i++) {
    bins[i] = 0;
  }
  for (long i = 0; i < r->cols; i += 16) {
    const float16 logits = clq_row_load_f32(r->x, i, r->cols);
    ulong w[16];
    vstore16(weights16(r, logits, 1.0f), 0, w);
    vstore16(bins16(r, logits), 0, at);
    for (int j = 0; j < 16 && i + j < r->cols; j++) {
      bins[at[j]] += w[j];
    }
  }
  ulong total = 0;
  for (int i = 0; i < BINS; i++) {
    total += bins[i];
  }
  ulong left = clq_wanted_mass(total, top_p);
  int bin = 0;
  for (; bins[bin] < left; bin++) {
    left -= bins[bin];
  }
  long n = 0;
  for (long i = 0; i < r->cols; i += 16) {
    const int16 b = bins16(r, clq_row_load_f32(r->x, i, r->cols));
    if (!any((b == bin) & inside16(i, r->cols))) {
      continue;
    }
    vstore16(b, 0, at);
    for (int j = 0; j < 16 && i + j < r->cols; j++) {
      if (at[j] == bin) {
        keys[n++] = clq_key(clq_order(r->x[i + j]), i + j);
      }
    }
  }
  *wanted = left;
  return n;
}

/* The last of those that make up the wanted mass. */
static inline ulong last_of_top_p(const row_of *r, __global ulong *keys, long n, ulong wanted) {
  make_heap(keys, n, true);
  ulong sum = 0;
  ulong last = keys[0];
  while (n > 0 && sum < wanted) {
    last = keys[0];
    sum += clq_weight(clq_float_of(clq_key_order(last)), r->largest, 1.0f);
    keys[0] = keys[--n];
    if (n > 0) {
      sift_down(keys, n, 0, true);
    }
  }
  return last;
}

/* The last token that top-k and top-p keep. */
static inline ulong last_kept(const row_of *r, __global ulong *keys, long top_k, long top_p) {
  const bool few = top_k < r->cols;
  if (few) {
    select_top(r->x, r->cols, top_k, keys);
  }
  if (top_p == 0) {
    return few ? keys[0] : clq_key(-CLQ_INFINITE, r->cols);
  }
  if (!few) {
    ulong wanted;
    const long n = gather(r, top_p, keys, &wanted);
    return last_of_top_p(r, keys, n, wanted);
  }
  ulong total = 0;
  for (long i = 0; i < top_k; i++) {
    total += clq_weight(clq_float_of(clq_key_order(keys[i])), r->largest, 1.0f);
  }
  return last_of_top_p(r, keys, top_k, clq_wanted_mass(total, top_p));
}

/* What each of 16 tokens weighs in the draw; false if none was kept, w is then not set. */
static inline bool drawn16(const row_of *r, long i, ulong16 *w) {
  const int16 o = orders(r->x, i, r->cols);
  const int16 ids = (int16)(int)i + (int16)(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
  const int16 kept =
      ((o > r->order) | ((o == r->order) & (ids <= r->last))) & inside16(i, r->cols);
  if (!any(kept)) {
    return false;
  }
  const float16 logits = clq_row_load_f32(r->x, i, r->cols);
  const float16 e = clq_exp_down16(logits - r->largest);
  const int16 likely = kept & (e >= r->min_p);
  *w = weights16(r, logits, r->inverse) & as_ulong16(convert_long16(likely));
  return true;
}

static inline int draw_of(const row_of *r, const __global uint *state, long seed, long row) {
  ulong16 sums = (ulong16)0;
  ulong16 w;
  for (long i = 0; i < r->cols; i += 16) {
    if (drawn16(r, i, &w)) {
      sums += w;
    }
  }
  const ulong target = clq_draw(state, seed, row, sum16(sums));
  ulong sum = 0;
  for (long i = 0; i < r->cols; i += 16) {
    if (!drawn16(r, i, &w)) {
      continue;
    }
    const ulong next = sum + sum16(w);
    if (next > target) {
      ulong each[16];
      vstore16(w, 0, each);
      for (int j = 0; j < 16; j++) {
        sum += each[j];
        if (sum > target) {
          return (int)i + j;
        }
      }
    }
    sum = next;
  }
  return -1;
}

/* One work-item for the rows whose number modulo the work-items it has. The hint keeps a compiler
 * from making vectors of vectors. */
__kernel __attribute__((reqd_work_group_size(1, 1, 1), vec_type_hint(float16))) void sample_rows(
    CLQ_SAMPLE_ARGS, CLQ_TENSOR(int, top_ids), CLQ_TENSOR(float, top_logits), const long top_count,
    const long top_ids_row, const long top_logits_row, __global ulong *keys_base, const long keys_start,
    const long room) {
  __global ulong *keys = keys_base + keys_start + (long)get_global_id(0) * room;
  for (long row = (long)get_global_id(0); row < rows; row += (long)get_global_size(0)) {
    const __global float *x = logits_base + logits_start + row * logits_row;
    ulong bad;
    const ulong best = find_largest(x, cols, &bad);
    const bool can = clq_can_choose(bad, clq_key_order(best), x, row, error_word);
    if (top_ids_base != 0) {
      __global int *ids = top_ids_base + top_ids_start + row * top_ids_row;
      __global float *top = top_logits_base == 0 ? 0 : CLQ_PLANE(top_logits, row * top_logits_row);
      if (can) {
        select_top(x, cols, top_count, keys);
      }
      for (long n = top_count; n-- > 0;) {
        ids[n] = can ? clq_key_id(keys[0]) : -1;
        if (top != 0) {
          top[n] = can ? x[ids[n]] : 0.0f;
        }
        keys[0] = keys[n];
        if (can) {
          sift_down(keys, n, 0, false);
        }
      }
    }
    if (out_base == 0) {
      continue;
    }
    int chosen = clq_key_id(best);
    __global uint *own_state = CLQ_PLANE(state, row * state_row);
    if (can && top_k > 1) {
      row_of r;
      r.x = x;
      r.cols = cols;
      r.largest = clq_float_of(clq_key_order(best));
      r.min_p = min_p;
      r.inverse = inverse;
      const ulong last = last_kept(&r, keys, top_k, top_p);
      r.order = clq_key_order(last);
      r.last = clq_key_id(last);
      chosen = draw_of(&r, own_state, seed, row);
    }
    if (can) {
      clq_count_draw(own_state, greedy, CLQ_PLANE(counters, row * counters_row), count);
    }
    out_base[out_start + row] = can ? chosen : -1;
  }
}

#else

#define ITEMS 128
#define PART 2048 /* tokens of a row that one work-group of sample_part takes */
#define HEAD 2    /* numbers in front of a part's keys: its first bad token's, its first token's key */

/* A number that is larger the lower the id is; 0: no bad token. (Of ~id, in 64 bits, one compiler
 * makes an instruction that no CPU has.) */
#define BAD_AT(id) ((1UL << 32) - (ulong)(id))

CLQ_INLINE ulong group_max(ulong v, int lid, __local ulong *scratch) {
  barrier(CLK_LOCAL_MEM_FENCE);
  scratch[lid] = v;
  barrier(CLK_LOCAL_MEM_FENCE);
  ulong most = 0;
  __attribute__((opencl_unroll_hint(8))) for (int i = 0; i < ITEMS; i++) {
    most = max(most, scratch[i]);
  }
  return most;
}

/* *before: the sum of the work-items in front. */
CLQ_INLINE ulong group_sum(ulong v, int lid, __local ulong *scratch, ulong *before) {
  barrier(CLK_LOCAL_MEM_FENCE);
  scratch[lid] = v;
  barrier(CLK_LOCAL_MEM_FENCE);
  ulong sum = 0, first = 0;
  __attribute__((opencl_unroll_hint(8))) for (int i = 0; i < ITEMS; i++) {
    first += i < lid ? scratch[i] : 0UL;
    sum += scratch[i];
  }
  *before = first;
  return sum;
}

/* Bits of a number below n; at most 32. */
static inline int bits_of(long n) { return 32 - (int)clz((uint)(n - 1) | 1u); }

/* Leaves in t the largest key that, with all larger ones, has `wanted` of what COUNTED(i, key) adds,
 * of those that KEY_AT gives for i < n. Keys agree with `common` between bits 32 and id_bits.
 * No step if not `on`: t stays. */
#define SELECT_KEY(t, on, n, KEY_AT, COUNTED, wanted, common, id_bits)                          \
  {                                                                                             \
    const int clq_steps = (on) ? 32 + (id_bits) : 0;                                            \
    t = (on) ? 0 : t;                                                                           \
    for (int clq_step = 0; clq_step < clq_steps; clq_step++) {                                  \
      const bool clq_high = clq_step < 32;                                                      \
      const int clq_bit = clq_high ? 63 - clq_step : (id_bits) + 31 - clq_step;                 \
      const ulong clq_try = t | (clq_high ? 0UL : (common)) | (1UL << clq_bit);                 \
      ulong clq_own = 0, clq_before;                                                            \
      for (long clq_i = lid; clq_i < (n); clq_i += ITEMS) {                                     \
        const ulong clq_k = KEY_AT(clq_i);                                                      \
        clq_own += clq_k >= clq_try ? COUNTED(clq_i, clq_k) : 0UL;                              \
      }                                                                                         \
      t = group_sum(clq_own, lid, scratch, &clq_before) >= (wanted) ? clq_try : t;              \
    }                                                                                           \
    t |= clq_steps > 0 ? (common) : 0UL;                                                        \
  }

#define ONE(i, key) 1UL

#if !CLQ_WHOLE

/* A work-group a part of a row: its first bad token, its first token's key, and, if more than one is
 * wanted, the keys of its first `wanted` tokens by ids (0 behind its last). */
__kernel __attribute__((reqd_work_group_size(ITEMS, 1, 1))) void sample_part(
    CLQ_TENSOR(const float, logits), const long cols, const long logits_row, const long wanted,
    __global ulong *parts_base, const long parts_start, const long slots) {
  __local ulong scratch[ITEMS];
  __local int own[PART];
  const int lid = (int)get_local_id(0);
  const long row = (long)get_group_id(1);
  const long begin = (long)get_group_id(0) * PART;
  const int n = (int)min((long)PART, cols - begin);
  const __global float *x = logits_base + logits_start + row * logits_row + begin;
  __global ulong *to =
      parts_base + parts_start + (row * (long)get_num_groups(0) + (long)get_group_id(0)) * slots;
  ulong best = 0, worst = 0;
  for (int i = lid; i < n; i += ITEMS) {
    const int o = clq_order(x[i]);
    own[i] = o;
    best = max(best, clq_key(o, begin + i));
    worst = max(worst, clq_bad_order(o) ? BAD_AT(begin + i) : 0UL);
  }
  best = group_max(best, lid, scratch);
  worst = group_max(worst, lid, scratch);
  if (lid < HEAD) {
    to[lid] = lid == 0 ? worst : best;
  }
#define KEY_AT(i) clq_key(own[i], begin + (i))
  const ulong common = (ulong)(uint)(~(uint)begin & ~(uint)(PART - 1));
  const ulong all = (ulong)min(wanted, (long)n);
  ulong t = 0;
  SELECT_KEY(t, wanted > 1, n, KEY_AT, ONE, all, common, 11)
  const int first = lid * (PART / ITEMS);
  const int last = min(first + PART / ITEMS, n);
  ulong count = 0, before;
  for (int i = first; i < last; i++) {
    count += wanted > 1 && KEY_AT(i) >= t;
  }
  (void)group_sum(count, lid, scratch, &before);
  long at = HEAD + (long)before;
  for (int i = first; i < last; i++) {
    if (wanted > 1 && KEY_AT(i) >= t) {
      to[at++] = KEY_AT(i);
    }
  }
  for (long i = HEAD + (long)all + lid; i < slots; i += ITEMS) {
    to[i] = 0;
  }
#undef KEY_AT
}

#endif

/* Key i of those that the parts of a row kept, which follow each other by ids. */
static inline ulong kept_key(const __global ulong *parts, long wanted, long i) {
  return wanted > 1 ? parts[i / wanted * (HEAD + wanted) + HEAD + i % wanted]
                    : parts[i * (HEAD + 1) + 1];
}

/* What sample_part found in the whole row. */
#define ROW_HEAD(best, bad)                                      \
  ulong best = 0, bad = 0;                                       \
  for (long i = lid; i < parts_of_row; i += ITEMS) {             \
    best = max(best, parts[i * slots + 1]);                      \
    bad = max(bad, parts[i * slots]);                           \
  }                                                              \
  best = group_max(best, lid, scratch);                          \
  bad = group_max(bad, lid, scratch);                             \
  bad = bad == 0 ? CLQ_NO_TOKEN : BAD_AT(bad);

/* A work-group a row chooses. gathered: room for `cols` keys of each row. */
__kernel __attribute__((reqd_work_group_size(ITEMS, 1, 1))) void sample_group(
    CLQ_SAMPLE_ARGS, const __global ulong *parts_base, const long parts_start,
    const long parts_of_row, const long wanted, __global ulong *gathered_base, const long gathered_start) {
  __local ulong scratch[ITEMS];
  __local int found[1];
  const int lid = (int)get_local_id(0);
  const long row = (long)get_group_id(0);
  const long slots = HEAD + wanted;
  const __global ulong *parts = parts_base + parts_start + row * parts_of_row * slots;
  const __global float *x = logits_base + logits_start + row * logits_row;
  __global uint *own_state = CLQ_PLANE(state, row * state_row);
  const int id_bits = bits_of(cols);
  const ulong common = (ulong)(uint)~(uint)((1UL << id_bits) - 1);
  ROW_HEAD(best, bad)
  const float largest = clq_float_of(clq_key_order(best));
#if CLQ_WHOLE
#define KEY_AT(i) clq_key(clq_order(x[i]), i)
  const long all = cols;
#else
#define KEY_AT(i) kept_key(parts, wanted, i)
  const long all = parts_of_row * wanted;
#endif
#define MASS(i, key) ((key) == 0 ? 0UL : clq_weight(clq_float_of(clq_key_order(key)), largest, 1.0f))
  ulong t = top_k == 1 ? best : 1;
  SELECT_KEY(t, top_k > 1 && top_k < cols, all, KEY_AT, ONE, (ulong)top_k, common, id_bits)
  const ulong top_k_last = t;
  ulong before, own_mass = 0;
  for (long i = lid; i < (top_p > 0 ? all : 0); i += ITEMS) {
    const ulong key = KEY_AT(i);
    own_mass += key >= t ? MASS(i, key) : 0UL;
  }
  const ulong total_mass = group_sum(own_mass, lid, scratch, &before);
  const ulong wanted_mass = clq_wanted_mass(total_mass, top_p);
#if CLQ_WHOLE
  const ulong floor = top_p > 0 ? clq_top_p_floor(total_mass, wanted_mass, cols) : 0;
  __global ulong *gathered = gathered_base + gathered_start + row * cols;
  const long chunk = (cols + ITEMS - 1) / ITEMS;
  const long first_near = min(lid * chunk, cols), last_near = min(first_near + chunk, cols);
#define MAY_BE(key) ((key) >= t && 2 * MASS(0, key) >= floor)
  ulong own_count = 0;
  for (long i = first_near; i < last_near; i++) {
    const ulong key = KEY_AT(i);
    own_count += MAY_BE(key) ? 1 : 0;
  }
  const long n = (long)group_sum(own_count, lid, scratch, &before);
  long to = (long)before;
  for (long i = first_near; i < last_near; i++) {
    const ulong key = KEY_AT(i);
    if (MAY_BE(key)) {
      gathered[to++] = key;
    }
  }
  barrier(CLK_GLOBAL_MEM_FENCE);
#undef KEY_AT
#define KEY_AT(i) gathered[i]
#else
  const long n = all;
#endif
#define MASS_ABOVE(i, key) ((key) >= top_k_last ? MASS(i, key) : 0UL)
  SELECT_KEY(t, top_p > 0, n, KEY_AT, MASS_ABOVE, wanted_mass, common, id_bits)
  t = max(t, top_k_last);
  /* What a token weighs in the draw. */
#define DRAWN(key)                                                                               \
  ((key) >= t && (key) != 0 &&                                                                   \
           clq_exp_down(clq_float_of(clq_key_order(key)) - largest) >= min_p                     \
       ? clq_weight(clq_float_of(clq_key_order(key)), largest, inverse)                          \
       : 0UL)
  const long each = (n + ITEMS - 1) / ITEMS;
  const long first = min(lid * each, n), last = min(first + each, n);
  ulong own_weight = 0;
  for (long i = first; i < last; i++) {
    const ulong key = KEY_AT(i);
    own_weight += DRAWN(key);
  }
  const ulong total = group_sum(own_weight, lid, scratch, &before);
  const ulong target = clq_draw(own_state, seed, row, total);
  if (before <= target && target < before + own_weight) {
    ulong sum = before;
    int chosen = -1;
    for (long i = first; i < last && sum <= target; i++) {
      const ulong key = KEY_AT(i);
      sum += DRAWN(key);
      chosen = clq_key_id(key);
    }
    found[0] = chosen;
  }
  barrier(CLK_LOCAL_MEM_FENCE);
  if (lid == 0) {
    const bool can = clq_can_choose(bad, clq_key_order(best), x, row, error_word);
    out_base[out_start + row] = can ? found[0] : -1;
    if (can) {
      clq_count_draw(own_state, greedy, CLQ_PLANE(counters, row * counters_row), count);
    }
  }
#undef KEY_AT
}

#if !CLQ_WHOLE

/* A work-group a row writes its first top_count <= 256 tokens, of those that the parts kept. */
__kernel __attribute__((reqd_work_group_size(ITEMS, 1, 1))) void sample_list(
    CLQ_TENSOR(const float, logits), const long logits_row, const long cols,
    __global int *error_word, CLQ_TENSOR(int, top_ids), CLQ_TENSOR(float, top_logits),
    const long top_count, const long top_ids_row, const long top_logits_row,
    const __global ulong *parts_base, const long parts_start, const long parts_of_row) {
  __local ulong scratch[ITEMS];
  __local ulong kept[256];
  const int lid = (int)get_local_id(0);
  const long row = (long)get_group_id(0);
  const long slots = HEAD + top_count;
  const __global ulong *parts = parts_base + parts_start + row * parts_of_row * slots;
  const __global float *x = logits_base + logits_start + row * logits_row;
  const int id_bits = bits_of(cols);
  const ulong common = (ulong)(uint)~(uint)((1UL << id_bits) - 1);
  ROW_HEAD(best, bad)
#define KEY_AT(i) kept_key(parts, top_count, i)
  const long n = parts_of_row * top_count;
  ulong t = best;
  SELECT_KEY(t, top_count > 1, n, KEY_AT, ONE, (ulong)top_count, common, id_bits)
  const long each = (n + ITEMS - 1) / ITEMS;
  const long first = min(lid * each, n), last = min(first + each, n);
  ulong count = 0, before;
  for (long i = first; i < last; i++) {
    count += KEY_AT(i) >= t;
  }
  (void)group_sum(count, lid, scratch, &before);
  int to = (int)before;
  for (long i = first; i < last; i++) {
    if (KEY_AT(i) >= t && to < 256) {
      kept[to++] = KEY_AT(i);
    }
  }
  barrier(CLK_LOCAL_MEM_FENCE);
  const bool can = bad == CLQ_NO_TOKEN && clq_key_order(best) != -CLQ_INFINITE;
  for (int i = lid; i < (int)top_count; i += ITEMS) {
    int place = 0;
    for (int j = 0; j < (int)top_count; j++) {
      place += kept[j] > kept[i];
    }
    place = can ? place : i;
    const int id = can ? clq_key_id(kept[i]) : -1;
    top_ids_base[top_ids_start + row * top_ids_row + place] = id;
    if (top_logits_base != 0) {
      top_logits_base[top_logits_start + row * top_logits_row + place] = can ? x[id] : 0.0f;
    }
  }
  if (lid == 0) {
    (void)clq_can_choose(bad, clq_key_order(best), x, row, error_word);
  }
#undef KEY_AT
}

#endif

#endif
