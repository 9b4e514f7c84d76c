/* Attention over a KV cache, keys in chunks of CLQ_CHUNK at absolute positions.
 *
 * A line is one query row of one head. Line by line and chunk by chunk:
 *     s[key]: the scores (lib/attention_float.h)
 *     m = max s;  p = exp(s - m);  l = sum p, in 16 lanes that fold neighbours first
 *     o[d]: the sums of values weighted with p
 * and chunks merge in ascending order (merge_factors). None of this depends on which lines are
 * computed together or by which form, so a row's bits do not either; and chunks computed apart
 * (CLQ_SPLIT) merge the same way.
 *
 * Only keys that the line may see are ever multiplied into its result: what stands in the cache
 * behind or before them (another row's NaN, uninitialized memory) does not matter. */
#include "lib/attention.h"

#if CLQ_ON_CPU

#ifndef CLQ_LINES
#define CLQ_LINES 12 /* lines of a tile */
#endif
#ifndef CLQ_VECTORS
#define CLQ_VECTORS 2 /* accumulators of 16 floats per line: 1, 2, 4 or 8 */
#endif

#define CLQ_DIM_VECTORS (CLQ_HEAD_DIM / 16)
#define SCORE_STRIDE (CLQ_CHUNK + 16) /* between lines, so that they fall into different sets */

/* As clq_store_f32, into private memory. */
static inline void store_private(float16 x, float *p) { ((clq_packed_f32 *)p)->v = x; }

/* Keys of a chunk. */
typedef struct key_range {
  int begin;
  int end;
} key_range;

#endif

#if CLQ_K >= CLQ_I8
#include "lib/attention_codes.h"
#else
#include "lib/attention_float.h"
#endif

#pragma OPENCL FP_CONTRACT OFF

#ifndef CLQ_WORK_ITEMS
#define CLQ_WORK_ITEMS (CLQ_ON_CPU ? 1 : 64) /* of a group; one that scores has at least 16 */
#endif

#if CLQ_OUT == CLQ_F16
#define STORE_ONE(x, p) CLQ_STORE1_F16(x, p)
#elif CLQ_OUT == CLQ_BF16
#define STORE_ONE(x, p) CLQ_STORE1_BF16(x, p)
#else
#define STORE_ONE(x, p) CLQ_STORE1(x, p)
#endif

/* The end of a line whose sums the work-items of a group have in local memory. */
static inline void store_shared(const __local float *sums, float inverse, int lid,
                                __global clq_out *out, __global float *out_scale,
                                __global int *out_sum) {
#if CLQ_OUT == CLQ_I8 && CLQ_CODES != CLQ_STATIC
  for (int g = lid; g < CLQ_HEAD_DIM / 32; g += CLQ_WORK_ITEMS) {
    store_group(vload16(2 * g, sums), vload16(2 * g + 1, sums), inverse, g, out, out_scale,
                out_sum);
  }
#elif CLQ_OUT == CLQ_I8
  const float mult = clq_div(1.0f, out_scale[0]);
  for (int d = lid; d < CLQ_HEAD_DIM; d += CLQ_WORK_ITEMS) {
    out[d] = (char)clq_affine_code(sums[d] * inverse, mult, 0, CLQ_LOWEST);
  }
#else
  for (int d = lid; d < CLQ_HEAD_DIM; d += CLQ_WORK_ITEMS) {
    STORE_ONE(sums[d] * inverse, out + d);
  }
#endif
}

#if CLQ_SPLIT
/* Where a chunk of a line has its sums, and its largest score with its sum of exponentials. */
#define PART(line, chunk) (((line) * chunks + (chunk)) * CLQ_HEAD_DIM)
#define STATS(line, chunk) ((rows * heads * CLQ_HEAD_DIM + (line) * 2) * chunks + (chunk) * 2)

/* Merges the chunks of a line: a work-group a line, rows along dimension 0, heads along 1. */
__kernel __attribute__((reqd_work_group_size(CLQ_WORK_ITEMS, 1, 1))) void attention_merge(
    ATTENTION_ARGS) {
  ATTENTION_AT
  const int lid = (int)get_local_id(0);
  const long row = (long)get_group_id(0);
  const int head = (int)get_group_id(1);
  const long line = row * heads + head;
  const clq_sequence s = clq_sequence_of_row(&in.all, row);
  const bool mine = row - s.first >= 0 && row - s.first < s.rows;
  span seen = {0, 0};
  if (mine) {
    seen = keys_seen(&in, &s, row - s.first);
  }
  const long first = seen.begin / CLQ_CHUNK;
  const __global float *part = parts + PART(line, 0);
  const __global float *stats = parts + STATS(line, 0);

  __local float sums[CLQ_HEAD_DIM];
  for (int d = lid; d < CLQ_HEAD_DIM; d += CLQ_WORK_ITEMS) {
    sums[d] = 0.0f;
  }
  float m = -CLQ_INF;
  float l = 0.0f;
  for (long c = first; c * CLQ_CHUNK < seen.end; c++) {
    const float chunk_m = stats[2 * c];
    float a = 0.0f;
    float b = 1.0f;
    m = c > first ? merge_factors(m, chunk_m, &a, &b) : chunk_m;
    l = fma(l, a, stats[2 * c + 1] * b);
    for (int d = lid; d < CLQ_HEAD_DIM; d += CLQ_WORK_ITEMS) {
      sums[d] = fma(sums[d], a, part[c * CLQ_HEAD_DIM + d] * b);
    }
  }
  barrier(CLK_LOCAL_MEM_FENCE);
  if (mine) {
    store_shared(sums, line_inverse(l), lid, out + row * out_row + head * CLQ_HEAD_DIM,
                 out_scale + LINE_PLANE(line), CLQ_PLANE(out_sum, LINE_PLANE(line)));
  }
}
#endif

#if !CLQ_ON_CPU

/* The portable form: one work-group a line; scores are computed key by work-item, values
 * dimension by work-item, sums in the lanes of a tile's vectors. Rows along dimension 0, heads along
 * 1; CLQ_SPLIT: a work-group a chunk of a line, chunks along 2. */
__kernel __attribute__((reqd_work_group_size(CLQ_WORK_ITEMS, 1, 1))) void attention_group(
    ATTENTION_ARGS) {
  ATTENTION_AT
  const int lid = (int)get_local_id(0);
  const long row = (long)(get_num_groups(0) - 1 - get_group_id(0)); /* most keys first */
  const int head = (int)get_group_id(1);
  const long line = row * heads + head;
  const int kv = head / in.group;
  clq_check_starts(&in.all, line * CLQ_WORK_ITEMS + lid, rows * heads * CLQ_WORK_ITEMS);
  const clq_sequence s = clq_sequence_of_row(&in.all, row);
  const bool mine = row - s.first >= 0 && row - s.first < s.rows;
  span seen = {0, 0};
  if (mine) {
    seen = keys_seen(&in, &s, row - s.first);
  }
  HEAD_CACHE(cache, s.index, kv)

  __local float query[CLQ_HEAD_DIM];
  __local float weights[CLQ_CHUNK];
  __local float lanes[16];
  __local float sums[CLQ_HEAD_DIM];
  for (int d = lid; d < CLQ_HEAD_DIM; d += CLQ_WORK_ITEMS) {
    query[d] = q[row * q_row + head * q_head + d] * scale;
    sums[d] = 0.0f;
  }

  float m = -CLQ_INF;
  float l = 0.0f;
  const long first = seen.begin & -(long)CLQ_CHUNK;
#if CLQ_SPLIT
  const long chunk = (long)get_group_id(2);
  const long from = max(chunk * CLQ_CHUNK, first);
  const long to = min((chunk + 1) * CLQ_CHUNK, seen.end);
#else
  const long from = first;
  const long to = seen.end;
#endif
  for (long start = from; start < to; start += CLQ_CHUNK) {
    const int begin = (int)max(seen.begin - start, 0L);
    const int end = (int)min(seen.end - start, (long)CLQ_CHUNK);
    barrier(CLK_LOCAL_MEM_FENCE); /* query is there; weights and lanes are free */
    for (int j = lid; j < CLQ_CHUNK; j += CLQ_WORK_ITEMS) {
      float score = -CLQ_INF;
      if (j >= begin && j < end) {
        score = key_score(&cache, start + j, query);
      }
      weights[j] = score;
    }
    barrier(CLK_LOCAL_MEM_FENCE);
    if (lid < 16) {
      float top = -CLQ_INF;
      for (int j = 0; j < CLQ_CHUNK; j += 16) {
        top = weights[j + lid] > top ? weights[j + lid] : top;
      }
      lanes[lid] = top;
    }
    barrier(CLK_LOCAL_MEM_FENCE);
    const float chunk_m = clq_fold_max16(vload16(0, lanes));
    const float origin = origin_of(chunk_m);
    for (int j = lid; j < CLQ_CHUNK; j += CLQ_WORK_ITEMS) {
      weights[j] = clq_exp_down(weights[j] - origin);
    }
    barrier(CLK_LOCAL_MEM_FENCE);
    if (lid < 16) {
      float sum = 0.0f;
      for (int j = 0; j < CLQ_CHUNK; j += 16) {
        sum += weights[j + lid];
      }
      lanes[lid] = sum;
    }
    barrier(CLK_LOCAL_MEM_FENCE);
    const float chunk_l = clq_fold_add16(vload16(0, lanes));
#if CLQ_SPLIT
    __global float *part = parts + PART(line, chunk);
    __global float *stats = parts + STATS(line, chunk);
    for (int d = lid; d < CLQ_HEAD_DIM; d += CLQ_WORK_ITEMS) {
      part[d] = value_sum(&cache, start, weights, begin, end, d);
    }
    if (lid == 0) {
      stats[0] = chunk_m;
      stats[1] = chunk_l;
    }
#else
    float a = 0.0f;
    float b = 1.0f;
    m = start > first ? merge_factors(m, chunk_m, &a, &b) : chunk_m;
    l = fma(l, a, chunk_l * b);
    for (int d = lid; d < CLQ_HEAD_DIM; d += CLQ_WORK_ITEMS) {
      sums[d] = fma(sums[d], a, value_sum(&cache, start, weights, begin, end, d) * b);
    }
#endif
  }

#if !CLQ_SPLIT
  barrier(CLK_LOCAL_MEM_FENCE);
  if (mine) {
    store_shared(sums, line_inverse(l), lid, out + row * out_row + head * CLQ_HEAD_DIM,
                 out_scale + LINE_PLANE(line), CLQ_PLANE(out_sum, LINE_PLANE(line)));
  }
#endif
}

#else /* CLQ_ON_CPU */

/* Turns scores of a line, those of the keys that it sees of a chunk, at least one, into weights
 * exp(s - m); returns their sum. */
APART float line_weights(float *scores, key_range seen, float *m) {
  const int16 lanes = (int16)(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
  scores += seen.begin & -16;
  const int last = ((seen.end - 1) >> 4) - (seen.begin >> 4);
  const float16 head = vload16(0, scores);
  store_private(lanes >= (int16)(seen.begin & 15) ? head : (float16)(-CLQ_INF), scores);
  const float16 raw = vload16(last, scores);
  const float16 tail = lanes <= (int16)((seen.end - 1) & 15) ? raw : (float16)(-CLQ_INF);
  store_private(tail, scores + 16 * last);
  float16 top = tail;
  for (int i = 0; i < last; i++) {
    const float16 s = vload16(i, scores);
    top = s > top ? s : top;
  }
  *m = clq_fold_max16(top);
  const float origin = origin_of(*m);
  float16 sum = (float16)0.0f;
  for (int i = 0; i <= last; i++) {
    const float16 p = clq_exp_down16(vload16(i, scores) - origin);
    store_private(p, scores + 16 * i);
    sum += p;
  }
  return clq_fold_add16(sum);
}

/* A line of a tile: the keys that it sees, and its statistics over the chunks so far. */
typedef struct line {
  span seen;
  float m;
  float l;
} line;

/* Adds a chunk's part of a line to what the earlier chunks, if any, gave. */
static inline void add_part(line *it, bool first, float chunk_m, float chunk_l,
                            const float16 *part, float16 *sums) {
  float a = 0.0f;
  float b = 1.0f;
  it->m = first ? chunk_m : merge_factors(it->m, chunk_m, &a, &b);
  it->l = fma(it->l, a, chunk_l * b);
  for (int n = 0; n < CLQ_DIM_VECTORS; n++) {
    sums[n] = fma(sums[n], (float16)a, part[n] * b);
  }
}

static inline void store_line(const float16 *sums, float inverse, __global clq_out *out,
                              __global float *out_scale, __global int *out_sum) {
#if CLQ_OUT == CLQ_I8 && CLQ_CODES != CLQ_STATIC
  for (int g = 0; g < CLQ_HEAD_DIM / 32; g++) {
    store_group(sums[2 * g], sums[2 * g + 1], inverse, g, out, out_scale, out_sum);
  }
#elif CLQ_OUT == CLQ_I8
  const float mult = clq_div(1.0f, out_scale[0]);
  for (int n = 0; n < CLQ_DIM_VECTORS; n++) {
    const int16 code = clq_affine_code16(sums[n] * inverse, (float16)mult, (int16)0, CLQ_LOWEST);
    CLQ_ROW_STORE(CLQ_OUT)(code, out, 16 * n, CLQ_HEAD_DIM);
  }
#else
  for (int n = 0; n < CLQ_DIM_VECTORS; n++) {
    CLQ_ROW_STORE(CLQ_OUT)(sums[n] * inverse, out, 16 * n, CLQ_HEAD_DIM);
  }
#endif
}

/* Tiles never have lines of two sequences. Those of sequence s are numbered from
 * starts[s] * group / CLQ_LINES + s on, which leaves room for them all whatever starts holds; where
 * all sequences have as many rows, from their tiles * s on. */
static inline long tiles_start(const batch *in, int s) {
  if (in->all.starts != 0) {
    return (long)in->all.starts[s] * in->group / CLQ_LINES + s;
  }
  return (in->all.rows / in->all.count * in->group + CLQ_LINES - 1) / CLQ_LINES * s;
}

APART int sequence_of_tile(const batch *in, long tile) {
  int low = 0;
  int high = in->all.count - 1;
  while (low < high) {
    const int s = (low + high + 1) / 2;
    const bool before = tiles_start(in, s) <= tile;
    low = before ? s : low;
    high = before ? high : s - 1;
  }
  return low;
}

/* The form for CPUs: one work-item for a tile of CLQ_LINES lines of one KV head of a sequence.
 * Lines of a KV head are numbered row by row, its query heads within; the last tiles, which see
 * most keys, come first. A short last tile repeats its last line. KV heads along dimension 0,
 * tiles along 1; CLQ_SPLIT: chunks along 2. */
__kernel __attribute__((reqd_work_group_size(1, 1, 1))) void attention_tile(ATTENTION_ARGS) {
  ATTENTION_AT
  const int group = in.group;
  const int kv = (int)get_global_id(0);
  const long tile = (long)(get_global_size(1) - 1 - get_global_id(1));
  clq_check_starts(&in.all, tile * kv_heads + kv, (long)get_global_size(1) * kv_heads);
  const clq_sequence s = clq_sequence_at(&in.all, sequence_of_tile(&in, tile));
  const long lines = s.rows * group;
  const long first = (tile - tiles_start(&in, s.index)) * CLQ_LINES;
  if (first < 0 || first >= lines) {
    return;
  }
  HEAD_CACHE(cache, s.index, kv)

  tile_queries queries;
  float scores[CLQ_LINES * SCORE_STRIDE];
  float16 part[CLQ_LINES * CLQ_DIM_VECTORS];
  float16 sums[CLQ_LINES * CLQ_DIM_VECTORS];
  line it[CLQ_LINES];
  long from = capacity;
  long to = 0;
  for (int t = 0; t < CLQ_LINES; t++) {
    const long at = min(first + t, lines - 1);
    const long row = s.first + at / group;
    take_query(&queries, t, q + row * q_row + (kv * group + at % group) * q_head, scale);
    it[t] = (line){keys_seen(&in, &s, at / group), -CLQ_INF, 0.0f};
    from = it[t].seen.begin < it[t].seen.end ? min(from, it[t].seen.begin) : from;
    to = max(to, it[t].seen.end);
    for (int n = 0; n < CLQ_DIM_VECTORS; n++) {
      sums[t * CLQ_DIM_VECTORS + n] = (float16)0.0f;
    }
  }

#if CLQ_SPLIT
  const long chunk = (long)get_global_id(2);
  from = max(chunk * CLQ_CHUNK, from & -(long)CLQ_CHUNK);
  to = min((chunk + 1) * CLQ_CHUNK, to);
#endif
  for (long start = from & -(long)CLQ_CHUNK; start < to; start += CLQ_CHUNK) {
    key_range seen[CLQ_LINES];
    key_range any = {CLQ_CHUNK, 0};
    key_range all = {0, CLQ_CHUNK};
    float chunk_m[CLQ_LINES];
    float chunk_l[CLQ_LINES];
    for (int t = 0; t < CLQ_LINES; t++) {
      seen[t].begin = (int)clamp(it[t].seen.begin - start, 0L, (long)CLQ_CHUNK);
      seen[t].end = (int)clamp(it[t].seen.end - start, 0L, (long)CLQ_CHUNK);
      if (seen[t].begin < seen[t].end) {
        any.begin = min(any.begin, seen[t].begin);
        any.end = max(any.end, seen[t].end);
        all.begin = max(all.begin, seen[t].begin);
        all.end = min(all.end, seen[t].end);
      }
    }
    if (all.begin >= all.end) {
      all.begin = CLQ_CHUNK;
      all.end = CLQ_CHUNK;
    }
    chunk_scores(&cache, start, &queries, any.begin >> 4, (any.end + 15) >> 4, scores);
    for (int t = 0; t < CLQ_LINES; t++) {
      if (seen[t].begin < seen[t].end) {
        chunk_l[t] = line_weights(scores + t * SCORE_STRIDE, seen[t], &chunk_m[t]);
      }
    }
    chunk_values(&cache, start, scores, seen, all, part);
#if CLQ_SPLIT
    for (int t = 0; t < CLQ_LINES && first + t < lines; t++) {
      if (seen[t].begin < seen[t].end) {
        const long at = (s.first + (first + t) / group) * heads + kv * group + (first + t) % group;
        __global float *to_part = parts + PART(at, chunk);
        __global float *stats = parts + STATS(at, chunk);
        for (int n = 0; n < CLQ_DIM_VECTORS; n++) {
          clq_store_f32(part[t * CLQ_DIM_VECTORS + n], to_part + 16 * n);
        }
        stats[0] = chunk_m[t];
        stats[1] = chunk_l[t];
      }
    }
#else
    for (int t = 0; t < CLQ_LINES; t++) {
      if (seen[t].begin < seen[t].end) {
        add_part(&it[t], it[t].seen.begin >= start, chunk_m[t], chunk_l[t],
                 part + t * CLQ_DIM_VECTORS, sums + t * CLQ_DIM_VECTORS);
      }
    }
#endif
  }

#if !CLQ_SPLIT
  for (int t = 0; t < CLQ_LINES && first + t < lines; t++) {
    const long row = s.first + (first + t) / group;
    const int head = kv * group + (int)((first + t) % group);
    const long plane = LINE_PLANE(row * heads + head);
    store_line(sums + t * CLQ_DIM_VECTORS, line_inverse(it[t].l),
               out + row * out_row + head * CLQ_HEAD_DIM, out_scale + plane,
               CLQ_PLANE(out_sum, plane));
  }
#endif
}

#endif
