/* UTF-8 against its definition by code points. */
#include <criterion/criterion.h>
#include <stdint.h>

#include "io/utf8.h"

/* Every lead byte with the continuations at which a rule changes. */
Test(utf8, a_sequence_is_recognized_by_its_code_points) {
  static const uint8_t edges[] = {0x00, 0x7F, 0x80, 0x8F, 0x90, 0x9F, 0xA0, 0xBF, 0xC0, 0xFF};
  enum { EDGES = sizeof edges };
  for (unsigned lead = 0; lead < 256; ++lead) {
    for (size_t i = 0; i < (size_t)EDGES * EDGES * EDGES; ++i) {
      const uint8_t bytes[4] = {(uint8_t)lead, edges[i % EDGES], edges[i / EDGES % EDGES],
                                edges[i / EDGES / EDGES]};
      const size_t wanted = lead < 0x80 ? 1 : lead >= 0xF0 ? 4 : lead >= 0xE0 ? 3 : 2;
      uint32_t point = wanted == 1 ? lead : lead & (0x7Fu >> wanted);
      int good = lead < 0x80 || (lead >= 0xC0 && lead < 0xF8);
      for (size_t k = 1; k < wanted; ++k) {
        good = good && (bytes[k] & 0xC0) == 0x80;
        point = (point << 6) | (bytes[k] & 0x3Fu);
      }
      static const uint32_t least[5] = {0, 0, 0x80, 0x800, 0x10000};
      good = good && point >= least[wanted] && point <= 0x10FFFF &&
             !(point >= 0xD800 && point <= 0xDFFF);
      cr_assert_eq(clqi_utf8_sequence((const char *)bytes, 4), good ? wanted : 0);
      if (good) {
        cr_assert_eq(clqi_utf8_code_point((const char *)bytes, wanted), point);
        for (size_t cut = 1; cut < wanted; ++cut) {
          cr_assert_eq(clqi_utf8_sequence((const char *)bytes, cut), 0);
          cr_assert(clqi_utf8_is_partial((const char *)bytes, cut));
        }
        cr_assert_not(clqi_utf8_is_partial((const char *)bytes, wanted));
      }
    }
  }
}
