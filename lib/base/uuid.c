/* SPDX-License-Identifier: Apache-2.0 */
#include "base/uuid.h"

static const char digits[] = "0123456789abcdef";

/* Before which byte of a UUID a dash stands. */
static bool uuid_dash(unsigned byte)
{
    return byte == 4 || byte == 6 || byte == 8 || byte == 10;
}

static int uuid_digit(char letter)
{
    if (letter >= '0' && letter <= '9')
        return letter - '0';
    if (letter >= 'a' && letter <= 'f')
        return letter - 'a' + 10;
    if (letter >= 'A' && letter <= 'F')
        return letter - 'A' + 10;
    return -1;
}

bool uuid_parse(const char *text, uint8_t ret_uuid[UUID_BYTES])
{
    uint8_t uuid[UUID_BYTES];
    for (unsigned i = 0; i < UUID_BYTES; i++) {
        if (uuid_dash(i) && *text++ != '-')
            return false;
        int high = uuid_digit(text[0]);
        int low = high < 0 ? -1 : uuid_digit(text[1]);
        if (low < 0)
            return false;
        uuid[i] = (uint8_t)(high << 4 | low);
        text += 2;
    }
    if (text[0] != '\0' && (text[0] != '\n' || text[1] != '\0'))
        return false;
    for (unsigned i = 0; i < UUID_BYTES; i++)
        ret_uuid[i] = uuid[i];
    return true;
}

void uuid_print(const uint8_t uuid[UUID_BYTES], char text[UUID_TEXT_BYTES])
{
    for (unsigned i = 0; i < UUID_BYTES; i++) {
        if (uuid_dash(i))
            *text++ = '-';
        *text++ = digits[uuid[i] >> 4];
        *text++ = digits[uuid[i] & 15];
    }
    *text = '\0';
}

bool uuid_is_none(const uint8_t uuid[UUID_BYTES])
{
    for (unsigned i = 0; i < UUID_BYTES; i++) {
        if (uuid[i] != 0)
            return false;
    }
    return true;
}
