/* SPDX-License-Identifier: Apache-2.0 */
#include <criterion/criterion.h>

#include "grpc/inside.h"

static struct grpc_value value(const char *text)
{
    return (struct grpc_value){.data = (const uint8_t *)text, .length = strlen(text)};
}

Test(head, a_timeout_is_told_in_eight_digits_and_never_shorter_than_meant)
{
    static const uint64_t times[] = {
        1, 99999999, 100000000, NS_PER_S, 86400 * NS_PER_S, 99999999 * NS_PER_S, UINT64_MAX / 2};
    for (size_t i = 0; i < COUNT_OF(times); i++) {
        char text[GRPC_TIMEOUT_BYTES];
        uint64_t back = 0;
        grpc_timeout_encode(times[i], text);
        cr_assert_leq(strlen(text), 9);
        cr_assert(grpc_timeout_decode(value(text), &back), "%s", text);
        cr_assert_geq(back, times[i]);
        cr_assert_leq(back / 64, times[i] / 60 + 1, "%s", text);
    }
}

Test(head, what_is_no_timeout_is_refused)
{
    static const char *const wrong[] = {"", "S", "1", "1x", "-1S", "123456789S", "1.5S", " 1S"};
    uint64_t back;
    for (size_t i = 0; i < COUNT_OF(wrong); i++)
        cr_assert_not(grpc_timeout_decode(value(wrong[i]), &back), "%s", wrong[i]);
    cr_assert(grpc_timeout_decode(value("0m"), &back));
    cr_assert_neq(back, GRPC_TIMEOUT_NONE, "no time left is not the same as no limit");
}

Test(head, sentences_survive_escaping)
{
    char escaped[GRPC_ESCAPED_BYTES];
    char back[GRPC_TEXT_BYTES_MAX + 1];
    grpc_text_encode("50% of \xc3\xa4pfel", escaped);
    cr_assert_str_eq(escaped, "50%25 of %C3%A4pfel");
    grpc_text_decode(value(escaped), back);
    cr_assert_str_eq(back, "50% of \xc3\xa4pfel");
    grpc_text_decode(value("100% sure, %4, %zz, %0a!"), back);
    cr_assert_str_eq(back, "100% sure, %4, %zz,  !");
}

Test(head, too_much_metadata_is_refused)
{
    static struct grpc_request request;
    static char large[GRPC_FIELD_BYTES_MAX];
    memset(large, 'x', sizeof large - 1);
    cr_assert_not(grpc_head_request(&request, value("a"), value(large)));
    for (unsigned i = 0; i < GRPC_FIELDS_MAX; i++)
        cr_assert(grpc_head_request(&request, value("a"), value("b")));
    cr_assert_not(grpc_head_request(&request, value("a"), value("b")));
    cr_assert_str_eq(request.fields[GRPC_FIELDS_MAX - 1].value, "b");
    large[GRPC_PATH_BYTES_MAX + 1] = '\0';
    cr_assert_not(grpc_head_request(&request, value(":path"), value(large)));
}
