/* SPDX-License-Identifier: Apache-2.0 */
#include <criterion/criterion.h>
#include <string.h>

#include "base/base.h"
#include "base/uuid.h"

static const char text[] = "6f1c2a9e-0f65-4b9e-8d0b-5c1b6b1f4c1f";

Test(uuid, is_read_as_it_is_written)
{
    uint8_t uuid[UUID_BYTES];
    char again[UUID_TEXT_BYTES];
    cr_assert(uuid_parse(text, uuid));
    cr_assert_eq(uuid[0], 0x6f);
    cr_assert_eq(uuid[15], 0x1f);
    uuid_print(uuid, again);
    cr_assert_str_eq(again, text);
    cr_assert(uuid_parse("6F1C2A9E-0F65-4B9E-8D0B-5C1B6B1F4C1F\n", uuid), "the kernel's newline");
    uuid_print(uuid, again);
    cr_assert_str_eq(again, text);
}

Test(uuid, what_is_none_is_refused_and_nothing_is_written)
{
    static const char *const none[] = {
        "",
        "-",
        "6f1c2a9e",
        "6f1c2a9e0f654b9e8d0b5c1b6b1f4c1f",
        "6f1c2a9e-0f65-4b9e-8d0b-5c1b6b1f4c1",
        "6f1c2a9e-0f65-4b9e-8d0b-5c1b6b1f4c1f ",
        "6f1c2a9e-0f65-4b9e-8d0b-5c1b6b1f4c1f\n\n",
        "6f1c2a9e-0f65-4b9e-8d0b-5c1b6b1f4cg1",
        " f1c2a9e-0f65-4b9e-8d0b-5c1b6b1f4c1f",
    };
    uint8_t uuid[UUID_BYTES];
    memset(uuid, 0x55, sizeof uuid);
    for (unsigned i = 0; i < COUNT_OF(none); i++)
        cr_assert_not(uuid_parse(none[i], uuid), "%s", none[i]);
    for (unsigned i = 0; i < UUID_BYTES; i++)
        cr_assert_eq(uuid[i], 0x55);
    /* Cut off anywhere. */
    for (size_t length = 0; length < strlen(text); length++) {
        char cut[UUID_TEXT_BYTES];
        memcpy(cut, text, length);
        cut[length] = '\0';
        cr_assert_not(uuid_parse(cut, uuid));
    }
}

Test(uuid, zeros_are_none)
{
    uint8_t uuid[UUID_BYTES] = {0};
    cr_assert(uuid_is_none(uuid));
    uuid[15] = 1;
    cr_assert_not(uuid_is_none(uuid));
}
