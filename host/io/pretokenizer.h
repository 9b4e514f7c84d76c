/* Splits text into the pieces within which byte-level BPE merges, by the
 * regular expression that the model was trained with (PCRE2, Unicode). */
#ifndef CLQI_IO_PRETOKENIZER_H
#define CLQI_IO_PRETOKENIZER_H

#include <stdbool.h>
#include <stddef.h>

#include <clquant/status.h>

#include "io/text.h"

typedef struct clqi_pretokenizer clqi_pretokenizer;

/* name is GGUF's tokenizer.ggml.pre: "smollm", "gpt-2" or "llama-bpe" (also
 * "llama3", "llama-v3"). Any other is CLQ_UNSUPPORTED. */
clq_status clqi_pretokenizer_create(clqi_text name, clqi_pretokenizer **out);
void clqi_pretokenizer_destroy(clqi_pretokenizer *pre);

/* True when a piece that is itself a token is taken whole, whatever the merges
 * say (the LLaMA 3 vocabulary). */
bool clqi_pretokenizer_whole_pieces(const clqi_pretokenizer *pre);

/* Working memory of one caller. */
typedef struct clqi_pretokenizer_scan clqi_pretokenizer_scan;
clq_status clqi_pretokenizer_scan_create(const clqi_pretokenizer *pre,
                                         clqi_pretokenizer_scan **out);
void clqi_pretokenizer_scan_destroy(clqi_pretokenizer_scan *scan);

/* *end = where the piece that starts at `start` < length ends. The text is
 * well-formed UTF-8, start a character boundary. Pieces leave no gap. */
clq_status clqi_pretokenizer_next(clqi_pretokenizer_scan *scan, const char *text, size_t length,
                                  size_t start, size_t *end);

#endif
