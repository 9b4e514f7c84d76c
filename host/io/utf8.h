/* UTF-8 as the Unicode standard's table 3-7 defines it: no surrogates, no
 * overlong forms, nothing above U+10FFFF.
 *
 * The project's rule for bad input: every byte that is not part of a
 * well-formed sequence becomes one U+FFFD. A truncated sequence of three bytes
 * therefore gives three. (Python's errors="replace" gives one for it.) */
#ifndef CLQI_IO_UTF8_H
#define CLQI_IO_UTF8_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "io/text.h"

/* Length, 1 to 4, of the well-formed sequence that starts at data; 0 if there
 * is none within length bytes. */
size_t clqi_utf8_sequence(const char *data, size_t length);

/* True when data is a proper beginning of a well-formed sequence: more bytes
 * could complete it. */
bool clqi_utf8_is_partial(const char *data, size_t length);

/* Number of bytes before the first that is not well formed; length if none. */
size_t clqi_utf8_valid_length(const char *data, size_t length);

/* Code point of a sequence that clqi_utf8_sequence accepted. */
uint32_t clqi_utf8_code_point(const char *data, size_t sequence);

/* Appends data with every bad byte replaced by U+FFFD. */
clq_status clqi_utf8_repair(const char *data, size_t length, clqi_bytes *out);

#endif
