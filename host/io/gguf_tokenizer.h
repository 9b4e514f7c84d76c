/* The tokenizer that a GGUF file's metadata describes. */
#ifndef CLQI_IO_GGUF_TOKENIZER_H
#define CLQI_IO_GGUF_TOKENIZER_H

#include "io/gguf.h"
#include "io/tokenizer.h"

/* The tokenizer does not need the file afterwards. Errors as of
 * clqi_tokenizer_create, after the file's name. */
CLQ_NODISCARD clq_status clqi_gguf_tokenizer(const clqi_gguf *file, clqi_tokenizer **out);

/* tokenizer.chat_template, inside the file; empty if it has none. */
CLQ_NODISCARD clq_status clqi_gguf_chat_template(const clqi_gguf *file, clqi_text *out);

#endif
