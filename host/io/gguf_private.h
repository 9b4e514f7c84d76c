/* The parsed form of a GGUF file, shared by its parser and its look-ups. */
#ifndef CLQI_IO_GGUF_PRIVATE_H
#define CLQI_IO_GGUF_PRIVATE_H

#include "io/file.h"
#include "io/gguf.h"

/* One metadata entry. Every extent was checked against the file's size. */
typedef struct clqi_gguf_entry {
  clqi_gguf_string key;
  clqi_gguf_type type; /* of the value, or of an array's elements */
  bool is_array;
  size_t count;              /* elements; 1 for a scalar */
  const unsigned char *data; /* the elements; for a scalar string its bytes */
  size_t bytes;              /* at data */
} clqi_gguf_entry;

struct clqi_gguf {
  char *name;
  clqi_file source;           /* descriptor -1 for a memory image */
  const unsigned char *bytes; /* the memory image, or a copy of a file's beginning */
  unsigned char *copy;        /* bytes, if it is to be released */
  size_t held;                /* bytes at bytes; metadata and tensor records lie in them */
  size_t size;                /* of the whole */
  uint32_t version;
  size_t alignment;
  size_t data_offset;
  /* The _order arrays hold indices sorted by name, which serve look-ups and
   * proofs of uniqueness in n log n whatever the names are; a hash table would
   * let a file choose its collisions. */
  clqi_gguf_entry *entries;
  size_t entry_count;
  uint32_t *entry_order;
  clqi_gguf_tensor *tensors;
  size_t tensor_count;
  uint32_t *tensor_order;
};

/* Room for a name from the file as messages show it. */
typedef struct clqi_gguf_quoted {
  char text[88];
} clqi_gguf_quoted;

/* 'name' with bytes other than printable ASCII as ?, shortened if long: a file
 * must not be able to write control sequences to a terminal. */
clqi_gguf_quoted clqi_gguf_quote(const char *name, size_t length);

/* Bytes of one value of the type; 0 for strings and arrays. */
size_t clqi_gguf_type_bytes(clqi_gguf_type type);

/* "u32", "string", ... */
const char *clqi_gguf_type_name(clqi_gguf_type type);

const clqi_gguf_entry *clqi_gguf_find_entry(const clqi_gguf *file, const char *key);

#endif
