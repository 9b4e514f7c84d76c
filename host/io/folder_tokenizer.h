/* The tokenizer in a model's folder as Hugging Face's libraries write it: tokenizer.json, or where
 * there is none vocab.txt with the settings in tokenizer_config.json, if there are any. */
#ifndef CLQI_IO_FOLDER_TOKENIZER_H
#define CLQI_IO_FOLDER_TOKENIZER_H

#include "io/tokenizer.h"

/* The tokenizer needs no file afterwards. CLQ_IO_ERROR, CLQ_BAD_FILE, CLQ_UNSUPPORTED; sentences
 * name the file. *out is NULL on failure. */
CLQ_NODISCARD clq_status clqi_folder_tokenizer(const char *folder, clqi_tokenizer **out);

/* The same from what the files hold, which is changed. name: for sentences.
 *
 * tokenizer.json: the model must be WordPiece, the normalizer BertNormalizer or none, the
 * pre-tokenizer BertPreTokenizer and the post-processor TemplateProcessing, BertProcessing or none.
 * Truncation and padding are the caller's business, but for the padding token. */
CLQ_NODISCARD clq_status clqi_tokenizer_json_parse(const char *name, char *text, size_t length,
                                                   clqi_tokenizer **out);

/* vocab.txt: a token per line. config: what tokenizer_config.json holds, or NULL. */
CLQ_NODISCARD clq_status clqi_vocab_parse(const char *name, const char *vocab, size_t length,
                                          const char *config_name, char *config,
                                          size_t config_length, clqi_tokenizer **out);

/* Adds to a CLQ_BAD_FILE what to do about it. */
clq_status clqi_folder_tokenizer_advise(clq_status status);

#endif
