/* SPDX-License-Identifier: Apache-2.0 */
#include <criterion/criterion.h>
#include <stdlib.h>

#include "meta/implement.h"

/* An implementation that takes what it is given, up to a limit. */
static struct list taken;
static unsigned taken_max = 8;
static int done_result = 1;

static int fake_submit(struct meta *meta, struct meta_request *request)
{
    if (meta->flying == taken_max)
        return -EAGAIN;
    list_push_back(&taken, &request->node);
    return 0;
}

static unsigned fake_poll(struct meta *meta)
{
    unsigned ran = 0;
    struct list *node;
    while ((node = list_pop_front(&taken)) != NULL) {
        meta_complete(meta, LIST_ENTRY(node, struct meta_request, node), 0);
        ran++;
    }
    return ran;
}

static void fake_close(struct meta *meta)
{
    meta->ops = NULL;
}

static const struct meta_ops fake_ops = {
    .submit = fake_submit,
    .poll = fake_poll,
    .close = fake_close,
};

static void on_done(struct meta_request *request, int result)
{
    (void)request;
    done_result = result;
}

static struct meta fake_open(void)
{
    list_init(&taken);
    done_result = 1;
    return (struct meta){.ops = &fake_ops};
}

static void refused(struct meta_request *request, int code, const char *sentence)
{
    struct meta meta = fake_open();
    cr_assert_eq(meta_commit(&meta, request, on_done), code);
    cr_assert_str_eq(base_last_error(), sentence);
    cr_assert_eq(meta_flying(&meta), 0);
    meta_request_done(request);
}

Test(request, keys_and_values_are_copied)
{
    struct meta meta = fake_open();
    struct meta_request request = {0};
    char key[] = "key";
    char value[] = "value";
    meta_put(&request, META_TEXT(key), META_TEXT(value), 0);
    key[0] = value[0] = 'X';
    cr_assert_eq(meta_commit(&meta, &request, on_done), 0);
    cr_assert(meta_slice_equal(request.body->branches[0].ops[0].key, META_TEXT("key")));
    cr_assert(meta_slice_equal(request.body->branches[0].ops[0].value, META_TEXT("value")));
    cr_assert_eq(meta_flying(&meta), 1);
    cr_assert_eq(done_result, 1, "it ran inside the call");
    cr_assert_eq(meta_poll(&meta), 1);
    cr_assert_eq(done_result, 0);
    cr_assert_eq(meta_flying(&meta), 0);
    meta_request_done(&request);
    meta_close(&meta);
}

Test(request, limits_of_keys_values_and_transactions_are_checked_at_the_seam)
{
    struct meta_request request = {0};
    uint8_t *big = calloc(1, META_VALUE_BYTES_MAX + 1);
    meta_get(&request, (struct meta_slice){big, 0});
    refused(&request, -EINVAL, "a key is empty");
    meta_get(&request, (struct meta_slice){big, META_KEY_BYTES_MAX + 1});
    refused(&request, -E2BIG, "a key is longer than 512 bytes");
    meta_put(&request, META_TEXT("k"), (struct meta_slice){big, META_VALUE_BYTES_MAX + 1}, 0);
    refused(&request, -E2BIG, "a value is longer than 512 KiB");
    for (unsigned i = 0; i < 3; i++) {
        uint8_t key = (uint8_t)('a' + i);
        meta_put(&request, (struct meta_slice){&key, 1},
                 (struct meta_slice){big, META_VALUE_BYTES_MAX}, 0);
    }
    refused(&request, -E2BIG, "a transaction holds more than 1 MiB of keys and values");
    for (unsigned i = 0; i <= META_COMPARES_MAX; i++)
        meta_if_absent(&request, META_TEXT("k"));
    refused(&request, -E2BIG, "a transaction has more than 256 compares");
    for (unsigned i = 0; i <= META_OPS_MAX; i++)
        meta_get(&request, META_TEXT("k"));
    refused(&request, -E2BIG, "a transaction has more than 256 operations");
    meta_list(&request, META_TEXT("k"), (struct meta_slice){0}, 0);
    refused(&request, -EINVAL, "a page of a list holds 1 to 1000 entries");
    meta_list(&request, META_TEXT("k"), (struct meta_slice){0}, META_LIST_ENTRIES_MAX + 1);
    refused(&request, -EINVAL, "a page of a list holds 1 to 1000 entries");
    meta_delete_prefix(&request, (struct meta_slice){0});
    refused(&request, -EINVAL, "a key is empty");
    free(big);
}

Test(request, what_is_at_a_limit_is_taken)
{
    struct meta meta = fake_open();
    struct meta_request request = {0};
    uint8_t *big = calloc(1, META_VALUE_BYTES_MAX);
    memset(big, 'k', META_KEY_BYTES_MAX);
    meta_put(&request, (struct meta_slice){big, META_KEY_BYTES_MAX},
             (struct meta_slice){big, META_VALUE_BYTES_MAX}, 0);
    for (unsigned i = 0; i < META_COMPARES_MAX; i++)
        meta_if_absent(&request, META_TEXT("k"));
    for (unsigned i = 1; i < META_OPS_MAX; i++)
        meta_get(&request, META_TEXT("k"));
    cr_assert_eq(meta_commit(&meta, &request, on_done), 0);
    meta_poll(&meta);
    meta_request_done(&request);
    free(big);
}

Test(request, one_key_is_changed_once_in_a_branch)
{
    static const char sentence[] = "a transaction changes one key twice";
    struct meta_request request = {0};
    meta_put(&request, META_TEXT("ab"), META_TEXT("1"), 0);
    meta_delete(&request, META_TEXT("ab"));
    refused(&request, -EINVAL, sentence);
    meta_put(&request, META_TEXT("ab"), META_TEXT("1"), 0);
    meta_delete_prefix(&request, META_TEXT("a"));
    refused(&request, -EINVAL, sentence);
    meta_delete_prefix(&request, META_TEXT("a"));
    meta_put(&request, META_TEXT("ab"), META_TEXT("1"), 0);
    refused(&request, -EINVAL, sentence);
    meta_delete_prefix(&request, META_TEXT("a"));
    meta_delete_prefix(&request, META_TEXT("ab"));
    refused(&request, -EINVAL, sentence);

    /* Not in the other branch, not by reading, not under a neighbour's prefix. */
    struct meta meta = fake_open();
    meta_put(&request, META_TEXT("ab"), META_TEXT("1"), 0);
    meta_get(&request, META_TEXT("ab"));
    meta_delete_prefix(&request, META_TEXT("ac"));
    meta_else(&request);
    meta_delete(&request, META_TEXT("ab"));
    cr_assert_eq(meta_commit(&meta, &request, on_done), 0);
    meta_poll(&meta);
    meta_request_done(&request);
}

Test(request, a_full_queue_refuses_and_the_request_may_be_submitted_again)
{
    struct meta meta = fake_open();
    struct meta_request requests[2] = {0};
    taken_max = 1;
    meta_get(&requests[0], META_TEXT("k"));
    meta_get(&requests[1], META_TEXT("k"));
    cr_assert_eq(meta_commit(&meta, &requests[0], on_done), 0);
    cr_assert_eq(meta_commit(&meta, &requests[1], on_done), -EAGAIN);
    cr_assert_str_eq(base_last_error(),
                     "the metadata's queue is full: too many requests are in flight");
    meta_poll(&meta);
    cr_assert_eq(meta_commit(&meta, &requests[1], on_done), 0);
    meta_poll(&meta);
    meta_request_done(&requests[0]);
    meta_request_done(&requests[1]);
}

Test(request, a_lease_lives_between_a_second_and_a_day)
{
    struct meta meta = fake_open();
    struct meta_request request = {0};
    cr_assert_eq(meta_lease_grant(&meta, &request, NS_PER_S - 1, on_done), -EINVAL);
    cr_assert_eq(meta_lease_grant(&meta, &request, META_LEASE_TTL_NS_MAX + 1, on_done), -EINVAL);
    cr_assert_eq(meta_lease_grant(&meta, &request, NS_PER_S, on_done), 0);
    meta_poll(&meta);
    meta_request_done(&request);
}
