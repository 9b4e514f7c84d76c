/* A small well-formed GGUF file that tests read, break and fail to allocate. */
#ifndef CLQ_TEST_GGUF_EXAMPLE_H
#define CLQ_TEST_GGUF_EXAMPLE_H

#include "gguf_writer.h"

/* Every kind of entry and four tensors; data to be freed with free(). */
gguf_bytes gguf_example(uint32_t version);

/* Opens a well-formed image as "valid.gguf"; a refusal fails the test. */
clqi_gguf *gguf_open_example(const gguf_bytes *bytes);

bool gguf_string_is(clqi_gguf_string string, const char *expected);

#endif
