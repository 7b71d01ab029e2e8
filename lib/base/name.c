/* SPDX-License-Identifier: Apache-2.0 */
#include "base/name.h"

#include "base/base.h"

/*
 * One character of UTF-8 as RFC 3629 has it: no overlong forms, no surrogates, nothing above
 * U+10FFFF. Returns its bytes, or 0.
 */
static size_t utf8_decode(const uint8_t *from, size_t length, uint32_t *ret_character)
{
    static const uint32_t smallest[] = {0, 0, 0x80, 0x800, 0x10000};
    size_t count = from[0] < 0x80             ? 1
                   : (from[0] & 0xe0) == 0xc0 ? 2
                   : (from[0] & 0xf0) == 0xe0 ? 3
                   : (from[0] & 0xf8) == 0xf0 ? 4
                                              : 0;
    if (count == 0 || count > length)
        return 0;
    uint32_t character = count == 1 ? from[0] : from[0] & (0x7fu >> count);
    for (size_t i = 1; i < count; i++) {
        if ((from[i] & 0xc0) != 0x80)
            return 0;
        character = character << 6 | (from[i] & 0x3fu);
    }
    if (character < smallest[count] || character > 0x10ffff ||
        (character >= 0xd800 && character <= 0xdfff))
        return 0;
    *ret_character = character;
    return count;
}

/* C0, DEL and C1. */
static bool is_control(uint32_t character)
{
    return character < 0x20 || (character >= 0x7f && character <= 0x9f);
}

int name_check(const char *what, const void *name, size_t length)
{
    const uint8_t *bytes = name;
    if (length == 0)
        return FAIL(-EINVAL, "the name of a %s is empty", what);
    if (length > NAME_BYTES_MAX)
        return FAIL(-EINVAL, "the name of a %s has %zu bytes; at most %u are allowed", what, length,
                    NAME_BYTES_MAX);
    for (size_t at = 0; at < length;) {
        uint32_t character;
        size_t count = utf8_decode(bytes + at, length - at, &character);
        if (count == 0)
            return FAIL(-EINVAL, "the name of a %s is not UTF-8 at byte %zu", what, at + 1);
        if (character == '/' || character == '@')
            return FAIL(-EINVAL, "the name of a %s has a '%c' at byte %zu, which is not allowed",
                        what, (char)character, at + 1);
        if (is_control(character))
            return FAIL(-EINVAL, "the name of a %s has a control character at byte %zu", what,
                        at + 1);
        at += count;
    }
    return 0;
}
