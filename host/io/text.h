/* Text that is not NUL-terminated (a file's strings, a prompt), and bytes that
 * grow. */
#ifndef CLQI_IO_TEXT_H
#define CLQI_IO_TEXT_H

#include <stdbool.h>
#include <stddef.h>

#include <clquant/model.h>

/* Bytes that somebody else owns. NULL data only with length 0. */
typedef struct clqi_text {
  const char *data;
  size_t length;
} clqi_text;

/* Owned bytes; all zero is an empty one. Release with clqi_bytes_free. The public type, under a
 * name that can't be mistaken for the view above. */
typedef clq_text clqi_bytes;

/* Makes room for `more` bytes past the end. CLQ_OUT_OF_HOST_MEMORY leaves the
 * content as it was. */
clq_status clqi_bytes_reserve(clqi_bytes *bytes, size_t more);
clq_status clqi_bytes_append(clqi_bytes *bytes, const char *data, size_t length);
void clqi_bytes_free(clqi_bytes *bytes);

/* A NUL-terminated string as a view; NULL gives the empty one. */
clqi_text clqi_text_of(const char *string);
bool clqi_text_equal(clqi_text a, clqi_text b);

/* Position of the first `part` in `text` at or after `from`, or SIZE_MAX. */
size_t clqi_text_find(clqi_text text, size_t from, clqi_text part);

/* What of a foreign text may stand in an error sentence: its first 60 bytes,
 * with anything but printable ASCII shown as '?'. */
typedef struct clqi_excerpt {
  char text[64];
} clqi_excerpt;
clqi_excerpt clqi_excerpt_of(clqi_text text);

#endif
