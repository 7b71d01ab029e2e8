/* SPDX-License-Identifier: Apache-2.0 */
/* Where etcd's limits and meta.h's are not the same. */
#include "fixture.h"

#include <stdio.h>

TestSuite(limits, .init = suite_open, .fini = suite_close, .timeout = 20);

static void ops(unsigned compares, unsigned first, unsigned second)
{
    char key[16];
    build();
    for (unsigned i = 0; i < compares; i++) {
        (void)snprintf(key, sizeof key, "c%03u", i);
        meta_if_absent(&suite.request, META_TEXT(key));
    }
    for (unsigned i = 0; i < first; i++) {
        (void)snprintf(key, sizeof key, "k%03u", i);
        meta_put(&suite.request, META_TEXT(key), META_TEXT(key), 0);
    }
    meta_else(&suite.request);
    for (unsigned i = 0; i < second; i++) {
        (void)snprintf(key, sizeof key, "k%03u", i);
        meta_get(&suite.request, META_TEXT(key));
    }
}

Test(limits, more_operations_than_etcd_takes_in_one_list_are_one_transaction_all_the_same)
{
    ops(1, META_OPS_MAX, META_OPS_MAX);
    cr_assert_eq(run(), 0);
    cr_assert(suite.request.succeeded);
    cr_assert_eq(suite.request.response_count, META_OPS_MAX);
    uint64_t revision = suite.request.revision;
    put("c000", "now the compare does not hold");
    ops(60, META_OPS_MAX, META_OPS_MAX);
    cr_assert_eq(run(), 0);
    cr_assert_not(suite.request.succeeded);
    cr_assert_eq(suite.request.response_count, META_OPS_MAX);
    for (unsigned i = 0; i < META_OPS_MAX; i++) {
        char key[16];
        const struct meta_entry *entry = suite.request.responses[i].entries;
        (void)snprintf(key, sizeof key, "k%03u", i);
        cr_assert_eq(suite.request.responses[i].entry_count, 1);
        cr_assert_eq(memcmp(entry->key.data, key, 4), 0);
        cr_assert_eq(entry->modified_revision, revision, "not all in one revision");
    }
}

static void never(struct meta_request *request, int result)
{
    (void)request;
    (void)result;
}

Test(limits, more_compares_than_etcd_takes_are_refused_with_a_sentence)
{
    ops(META_ETCD_TXN_OPS, META_ETCD_TXN_OPS, 1);
    cr_assert_eq(run(), 0);
    ops(META_ETCD_TXN_OPS + 1, 1, 1);
    cr_assert_eq(meta_commit(suite.meta, &suite.request, never), -E2BIG);
    cr_assert_not_null(strstr(base_last_error(), "--max-txn-ops"), "%s", base_last_error());
    cr_assert_eq(meta_flying(suite.meta), 0);
}

Test(limits, the_largest_transaction_that_meta_takes_is_taken)
{
    static uint8_t big[META_VALUE_BYTES_MAX];
    meta_put(build(), META_TEXT("one"), (struct meta_slice){big, sizeof big}, 0);
    meta_put(&suite.request, META_TEXT("two"), (struct meta_slice){big, sizeof big - 6}, 0);
    cr_assert_eq(run(), 0);
    meta_get(build(), META_TEXT("one"));
    cr_assert_eq(run(), 0);
    cr_assert_eq(suite.request.responses[0].entries[0].value.length, sizeof big);
}

Test(limits, a_list_of_far_more_than_an_answer_holds_comes_in_pages)
{
    static uint8_t big[META_VALUE_BYTES_MAX];
    static char last[16];
    unsigned found = 0;
    for (unsigned i = 0; i < 40; i++) {
        char key[16];
        (void)snprintf(key, sizeof key, "big%02u", i);
        meta_put(build(), META_TEXT(key), (struct meta_slice){big, sizeof big}, 0);
        cr_assert_eq(run(), 0);
    }
    for (bool more = true; more;) {
        meta_list(build(), META_TEXT("big"), META_TEXT(last), 1000);
        cr_assert_eq(run(), 0);
        const struct meta_response *response = &suite.request.responses[0];
        cr_assert_gt(response->entry_count, 0);
        cr_assert_leq(response->entry_count, 7);
        memcpy(last, response->entries[response->entry_count - 1].key.data, 5);
        found += response->entry_count;
        more = response->more;
    }
    cr_assert_eq(found, 40);
}

Test(limits, what_others_have_in_that_etcd_is_not_seen_and_not_touched)
{
    char url[128];
    put("a", "mine");
    shared_url(url, sizeof url);
    (void)snprintf(url + strlen(url), sizeof url - strlen(url), "-neighbour");
    handle_close();
    handle_open(url, 0, 0);
    cr_assert_not(exists("a"));
    meta_list(build(), (struct meta_slice){0}, (struct meta_slice){0}, 10);
    cr_assert_eq(run(), 0);
    cr_assert_eq(suite.request.responses[0].entry_count, 0);
}
