#ifndef CLQ_CLI_SENTENCE_H
#define CLQ_CLI_SENTENCE_H

enum { CLI_SENTENCE_BYTES = 2048 };

/* The library's last error in the command's words, in one line: options for arguments, and what to
 * do where the library cannot know it. To be asked before anything else is called. */
void cli_sentence(char sentence[CLI_SENTENCE_BYTES]);

#endif
