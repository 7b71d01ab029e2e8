/* SPDX-License-Identifier: Apache-2.0 */
#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

#include "base/base.h"
#include "base/name.h"

static int check(const char *name)
{
    base_clear_error();
    return name_check("volume", name, strlen(name));
}

static void refused(const char *name, size_t length, const char *sentence)
{
    base_clear_error();
    cr_assert_eq(name_check("volume", name, length), -EINVAL, "%s", name);
    cr_assert_str_eq(base_last_error(), sentence);
}

Test(name, words_of_any_language_are_names)
{
    cr_assert_eq(check("a"), 0);
    cr_assert_eq(check("pg-data.1 (old)"), 0);
    cr_assert_eq(check("größe"), 0);
    cr_assert_eq(check("データ"), 0);
    cr_assert_eq(check("\xf0\x9f\x92\xbe"), 0);
    cr_assert_eq(check("\xf4\x8f\xbf\xbf"), 0); /* U+10FFFF */
    cr_assert_eq(check("\xc2\xa0"), 0);         /* The first that is no control character. */
}

Test(name, length_is_counted_in_bytes)
{
    char name[NAME_BYTES_MAX + 2];
    memset(name, 'x', sizeof name);
    cr_assert_eq(name_check("volume", name, NAME_BYTES_MAX), 0);
    refused(name, NAME_BYTES_MAX + 1,
            "the name of a volume has 129 bytes; at most 128 are allowed");
    refused(name, 0, "the name of a volume is empty");
}

Test(name, what_has_a_meaning_elsewhere_is_refused_and_where_it_stands_is_said)
{
    refused("a/b", 3, "the name of a volume has a '/' at byte 2, which is not allowed");
    refused("ab@", 3, "the name of a volume has a '@' at byte 3, which is not allowed");
    refused("a\nb", 3, "the name of a volume has a control character at byte 2");
    refused("\x7f", 1, "the name of a volume has a control character at byte 1");
    refused("a\0b", 3, "the name of a volume has a control character at byte 2");
    refused("\xc2\x85", 2, "the name of a volume has a control character at byte 1"); /* C1 */
    refused("\xc2\x9f", 2, "the name of a volume has a control character at byte 1");
}

Test(name, what_is_not_utf8_is_refused)
{
    static const struct {
        const char *bytes;
        size_t length;
        size_t at;
    } bad[] = {
        {"\x80", 1, 1},             /* A continuation first. */
        {"a\xff", 2, 2},            /* Never a byte of UTF-8. */
        {"\xc3", 1, 1},             /* Cut short. */
        {"ab\xe3\x83", 4, 3},       /* Cut short. */
        {"\xc0\xaf", 2, 1},         /* '/' in an overlong form. */
        {"\xe0\x80\xaf", 3, 1},     /* The same, longer. */
        {"\xed\xa0\x80", 3, 1},     /* A surrogate. */
        {"\xf4\x90\x80\x80", 4, 1}, /* Above U+10FFFF. */
        {"\xf8\x88\x80\x80\x80", 5, 1},
        {"\xe3\x83x", 3, 1},
    };
    for (size_t i = 0; i < COUNT_OF(bad); i++) {
        char sentence[80];
        (void)snprintf(sentence, sizeof sentence, "the name of a volume is not UTF-8 at byte %zu",
                       bad[i].at);
        refused(bad[i].bytes, bad[i].length, sentence);
    }
}
