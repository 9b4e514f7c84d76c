/* The public tokenizer: a vocabulary together with its model's chat template. */
#ifndef CLQI_MODEL_TOKENIZER_H
#define CLQI_MODEL_TOKENIZER_H

#include <clquant/model.h>

#include "io/gguf.h"
#include "io/tokenizer.h"

struct clq_tokenizer {
  clqi_tokenizer *vocabulary;
  clqi_bytes chat_template; /* a copy; empty if the model has none */
};

/* Does not need the file afterwards. Errors begin with the file's name; *out is
 * NULL then. Released by clq_tokenizer_destroy. */
CLQ_NODISCARD clq_status clqi_tokenizer_from_gguf(const clqi_gguf *file, clq_tokenizer **out);

#endif
