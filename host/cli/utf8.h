#ifndef CLQ_CLI_UTF8_H
#define CLQ_CLI_UTF8_H

#include <stddef.h>

/* Length of the well-formed UTF-8 sequence (Unicode, table 3-7) that starts at text, of which
 * `left` >= 1 bytes may be read; 0 if there is none. */
size_t cli_utf8_sequence(const char *text, size_t left);

#endif
