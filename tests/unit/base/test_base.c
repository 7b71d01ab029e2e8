/* SPDX-License-Identifier: Apache-2.0 */
#include <criterion/criterion.h>
#include <string.h>

#include "base/base.h"

Test(bytes, are_little_endian_at_any_alignment)
{
    static const uint8_t expected[8] = {0x88, 0x77, 0x66, 0x55, 0x44, 0x33, 0x22, 0x11};
    for (size_t offset = 0; offset < 8; offset++) {
        uint8_t bytes[24];
        memset(bytes, 0xee, sizeof bytes);
        put64(bytes + offset, 0x1122334455667788);
        cr_assert_arr_eq(bytes + offset, expected, 8);
        cr_assert_eq(bytes[offset + 8], 0xee);
        cr_assert_eq(get64(bytes + offset), 0x1122334455667788);
        cr_assert_eq(get48(bytes + offset), 0x334455667788);
        cr_assert_eq(get32(bytes + offset), 0x55667788);
        cr_assert_eq(get16(bytes + offset), 0x7788);
    }
}

Test(bytes, each_width_writes_just_its_bytes)
{
    uint8_t bytes[9];
    memset(bytes, 0xee, sizeof bytes);
    put48(bytes, ~0ull);
    cr_assert_eq(bytes[6], 0xee);
    cr_assert_eq(get48(bytes), 0xffffffffffff);
    memset(bytes, 0xee, sizeof bytes);
    put32(bytes, 1);
    cr_assert_eq(bytes[4], 0xee);
    put16(bytes + 5, 0xabcd);
    cr_assert_eq(bytes[7], 0xee);
    cr_assert_eq(get16(bytes + 5), 0xabcd);
}

struct item {
    unsigned number;
    struct list node;
};

static unsigned list_number(struct list *node)
{
    return LIST_ENTRY(node, struct item, node)->number;
}

Test(list, gives_what_came_first_first)
{
    struct list list;
    list_init(&list);
    cr_assert(list_empty(&list));
    cr_assert_null(list_pop_front(&list));
    struct item items[4];
    for (unsigned i = 0; i < 4; i++) {
        items[i].number = i;
        if (i == 3)
            list_push_front(&list, &items[i].node);
        else
            list_push_back(&list, &items[i].node);
    }
    static const unsigned order[] = {3, 0, 1, 2};
    for (unsigned i = 0; i < 4; i++)
        cr_assert_eq(list_number(list_pop_front(&list)), order[i]);
    cr_assert(list_empty(&list));
}

Test(list, a_node_may_be_taken_out_twice)
{
    struct list list;
    struct item items[3];
    list_init(&list);
    for (unsigned i = 0; i < 3; i++) {
        items[i].number = i;
        list_push_back(&list, &items[i].node);
    }
    list_remove(&items[1].node);
    list_remove(&items[1].node);
    cr_assert_eq(list_number(list_first(&list)), 0);
    unsigned seen = 0;
    LIST_EACH_SAFE (&list, node, after) {
        seen++;
        list_remove(node);
    }
    cr_assert_eq(seen, 2);
    cr_assert(list_empty(&list));
}

Test(list, a_splice_moves_everything_in_order)
{
    struct list from, to;
    list_init(&from);
    list_init(&to);
    list_splice_back(&to, &from);
    cr_assert(list_empty(&to));
    struct item items[5];
    for (unsigned i = 0; i < 5; i++) {
        items[i].number = i;
        list_push_back(i < 2 ? &to : &from, &items[i].node);
    }
    list_splice_back(&to, &from);
    cr_assert(list_empty(&from));
    unsigned next = 0;
    LIST_EACH (&to, node)
        cr_assert_eq(list_number(node), next++);
    cr_assert_eq(next, 5);
    list_remove(&items[0].node);
    list_remove(&items[4].node);
    cr_assert_eq(list_number(list_first(&to)), 1);
}

/* From the reference implementation of splitmix64, seed 1234567. */
Test(prng, is_splitmix64)
{
    struct prng prng = {.state = 1234567};
    cr_assert_eq(prng_next(&prng), 6457827717110365317u);
    cr_assert_eq(prng_next(&prng), 3203168211198807973u);
    cr_assert_eq(prng_next(&prng), 9817491932198370423u);
}

Test(prng, stays_below_and_reaches_every_number)
{
    struct prng prng = {.state = 9};
    unsigned counts[10] = {0};
    for (unsigned i = 0; i < 10000; i++)
        counts[prng_below(&prng, 10)]++;
    for (unsigned i = 0; i < 10; i++)
        cr_assert(counts[i] > 850 && counts[i] < 1150, "%u came %u times", i, counts[i]);
    for (unsigned i = 0; i < 1000; i++) {
        cr_assert_not(prng_one_in(&prng, 0));
        cr_assert(prng_one_in(&prng, 1));
    }
}

Test(prng, a_fork_is_another_stream_and_one_draw_in_it_moves_no_other)
{
    struct prng a = {.state = 1}, b = {.state = 1};
    struct prng fork = prng_fork(&a);
    (void)prng_fork(&b);
    cr_assert_neq(prng_next(&fork), prng_next(&a));
    (void)prng_next(&b);
    cr_assert_eq(prng_next(&a), prng_next(&b));
}

Test(error, a_sentence_may_quote_the_one_before)
{
    base_clear_error();
    cr_assert_str_eq(base_last_error(), "");
    cr_assert_eq(FAIL(-ENOMEM, "no %s", "memory"), -ENOMEM);
    cr_assert_str_eq(base_last_error(), "no memory");
    cr_assert_eq(FAIL(IOMESH_FORMAT, "outer: %s", base_last_error()), IOMESH_FORMAT);
    cr_assert_str_eq(base_last_error(), "outer: no memory");
    cr_assert_not_null(strstr(base_last_error_place(), "test_base.c:"));
    base_clear_error();
    cr_assert_str_eq(base_last_error_place(), "");
}

Test(error, a_long_sentence_is_cut_not_lost)
{
    char text[2000];
    memset(text, 'x', sizeof text);
    text[sizeof text - 1] = '\0';
    (void)FAIL(-EINVAL, "%s", text);
    cr_assert(strlen(base_last_error()) > 400);
    cr_assert(strlen(base_last_error()) < sizeof text - 1);
}

Test(error, every_code_has_a_text_and_an_errno)
{
#define ERROR_CHECK(name, value, posix, text)               \
    cr_assert_str_eq(base_error_text(IOMESH_##name), text); \
    cr_assert_eq(base_error_posix(IOMESH_##name), posix);
    IOMESH_ERRORS(ERROR_CHECK)
#undef ERROR_CHECK
    cr_assert_str_eq(base_error_text(-EIO), strerror(EIO));
    cr_assert_eq(base_error_posix(-ENOSPC), ENOSPC);
    cr_assert_eq(base_error_posix(0), 0);
    cr_assert_not_null(base_error_text(0));
}
