/* Bounded reads of a GGUF file, and the sentences with which they refuse. */
#ifndef CLQI_IO_GGUF_CURSOR_H
#define CLQI_IO_GGUF_CURSOR_H

#include "io/gguf_private.h"

typedef struct clqi_gguf_cursor {
  clqi_gguf *file;
  size_t offset;  /* of the next byte; never beyond the file's held bytes */
  size_t wanted;  /* nonzero: parsing stopped because so many bytes should have been held */
  char what[128]; /* the part being read, for messages: "key 'a.b'" */
} clqi_gguf_cursor;

/* Stores "FILE: message (at byte OFFSET)ADVICE" as the last error. */
void clqi_gguf_set_refusal(const clqi_gguf_cursor *p, const char *advice, size_t offset,
                           const char *format, ...) __attribute__((format(printf, 4, 5)));

/* clqi_gguf_refuse(cursor, offset, format, ...): the message ends with what to do; yields
 * CLQ_BAD_FILE. */
#define clqi_gguf_refuse(p, offset, ...) clqi_gguf_refuse_with(p, "", offset, __VA_ARGS__)

#define clqi_gguf_refuse_with(p, advice, offset, ...) \
  (clqi_gguf_set_refusal((p), (advice), (offset), __VA_ARGS__), clqi_same_status(CLQ_BAD_FILE))

/* The same for what no program writes: says that the file is damaged and what to do. */
#define clqi_gguf_damaged(p, offset, ...) \
  clqi_gguf_refuse_with(p, ": the file is damaged, fetch it again", offset, __VA_ARGS__)

/* For what a later version of the format may have. */
#define clqi_gguf_unknown(p, offset, ...)                                                   \
  clqi_gguf_refuse_with(p,                                                                  \
                        ": the file is damaged, fetch it again, or of a later format than " \
                        "this version of CLQuant reads",                                    \
                        offset, __VA_ARGS__)

/* Yields CLQ_OUT_OF_HOST_MEMORY. */
clq_status clqi_gguf_no_memory(const clqi_gguf_cursor *p, size_t count, const char *things);

static inline size_t clqi_gguf_remaining(const clqi_gguf_cursor *p) {
  return p->file->size - p->offset;
}

/* Each moves past what it reads, or refuses a file that ends before; where only the held bytes end
 * it sets `wanted` and fails without a sentence. */
CLQ_NODISCARD clq_status clqi_gguf_take(clqi_gguf_cursor *p, size_t bytes,
                                        const unsigned char **out);
CLQ_NODISCARD clq_status clqi_gguf_take_u32(clqi_gguf_cursor *p, uint32_t *out);
CLQ_NODISCARD clq_status clqi_gguf_take_u64(clqi_gguf_cursor *p, uint64_t *out);
CLQ_NODISCARD clq_status clqi_gguf_take_string(clqi_gguf_cursor *p, clqi_gguf_string *out);

/* A key or a tensor's name: 1 to limit bytes, none of them NUL. */
CLQ_NODISCARD clq_status clqi_gguf_take_name(clqi_gguf_cursor *p, size_t limit,
                                             clqi_gguf_string *out);

/* A new array 0, 1, ..., count-1 to be sorted; left alone if count is 0. */
CLQ_NODISCARD clq_status clqi_gguf_new_order(const clqi_gguf_cursor *p, size_t count,
                                             uint32_t **out);

static inline int clqi_gguf_compare_positions(uint32_t a, uint32_t b) { return (a > b) - (a < b); }

/* The metadata: file->entries, sorted and unique, and file->alignment. */
CLQ_NODISCARD clq_status clqi_gguf_parse_entries(clqi_gguf_cursor *p, size_t count);

/* The tensor records: file->tensors, sorted, unique, inside the file and disjoint. */
CLQ_NODISCARD clq_status clqi_gguf_parse_tensors(clqi_gguf_cursor *p, size_t count);

#endif
