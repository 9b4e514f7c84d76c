/* A language model in a host program: load, feed a question, stream the answer.
 * Usage: 03_generate MODEL.gguf (or CLQ_TEST_MODEL=MODEL.gguf) */
#include <clquant/clquant.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { CONTEXT = 256, NO_MODEL = 77 };

static int fail(const char *what) {
  (void)fprintf(stderr, "%s: %s\n", what, clq_last_error());
  return 1;
}

int main(int argc, char **argv) {
  const char *path = argc > 1 ? argv[1] : getenv("CLQ_TEST_MODEL");
  if (path == NULL) {
    (void)fprintf(stderr, "usage: %s MODEL.gguf\n", argv[0]);
    return NO_MODEL;
  }
  clq_context *context = NULL;
  clq_model *model = NULL;
  clq_session *session = NULL;
  clq_sampler *sampler = NULL;
  if (clq_context_create(NULL, &context) || clq_model_load(context, path, &model) ||
      clq_session_create(model, NULL, &(clq_session_desc){.context = CONTEXT}, &session)) {
    return fail("load");
  }
  const clq_tokenizer *tokenizer = clq_model_tokenizer(model);
  const int64_t vocabulary = clq_tokenizer_size(tokenizer);
  float *logits = malloc((size_t)vocabulary * sizeof *logits);
  const char *question = "Name three colours.";
  clq_tokens prompt = {0};
  if (logits == NULL || clq_sampler_create(&(clq_sampling){0}, vocabulary, &sampler) ||
      clq_tokenizer_encode_chat(tokenizer, NULL, question, strlen(question), &prompt) ||
      clq_session_eval(session, prompt.ids, prompt.count, CLQ_LOGITS_LAST, logits)) {
    return fail("prompt");
  }

  clq_text_stream stream = {.held_count = 0};
  clq_text text = {0};
  int32_t id = 0;
  int tokens = 0;
  while (clq_session_position(session) < CONTEXT && tokens < 40) {
    if (clq_sampler_sample(sampler, logits, vocabulary, &id)) {
      return fail("sample");
    }
    if (clq_tokenizer_is_end(tokenizer, id)) {
      break;
    }
    text.length = 0;
    if (clq_text_stream_push(&stream, tokenizer, id, &text) ||
        clq_session_eval(session, &id, 1, CLQ_LOGITS_LAST, logits)) {
      return fail("generate");
    }
    (void)fwrite(text.data, 1, text.length, stdout);
    (void)fflush(stdout);
    ++tokens;
  }
  (void)printf("\n(%d tokens)\n", tokens);

  clq_text_free(&text);
  clq_tokens_free(&prompt);
  free(logits);
  clq_sampler_destroy(sampler);
  clq_session_destroy(session);
  clq_model_destroy(model);
  clq_context_destroy(context);
  return tokens > 0 ? 0 : 1;
}
