#include "utf8.h"

#include <stdbool.h>

size_t cli_utf8_sequence(const char *text, size_t left) {
  const unsigned char *at = (const unsigned char *)text;
  const unsigned char lead = at[0];
  const size_t length = lead < 0x80 ? 1 : lead < 0xC2 ? 0 : lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4;
  if (length == 0 || lead > 0xF4 || length > left) {
    return 0;
  }
  for (size_t i = 1; i < length; ++i) {
    if ((at[i] & 0xC0) != 0x80) {
      return 0;
    }
  }
  const bool overlong = (lead == 0xE0 && at[1] < 0xA0) || (lead == 0xF0 && at[1] < 0x90);
  const bool no_character = (lead == 0xED && at[1] > 0x9F) || (lead == 0xF4 && at[1] > 0x8F);
  return overlong || no_character ? 0 : length;
}
