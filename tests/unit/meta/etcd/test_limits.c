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

/* --- Revisions that are larger than one message -------------------------------------------- */

#define LARGE 12u

static struct meta_watch watch;
static unsigned put_count, delete_count, last_count;
static uint64_t delete_revision;

static void on_large(struct meta_watch *unused, const struct meta_event *event)
{
    (void)unused;
    last_count += event->last;
    if (event->kind == META_EVENT_PUT) {
        cr_assert_eq(event->entry.value.length, 400u << 10);
        cr_assert(event->last);
        put_count++;
        return;
    }
    cr_assert(delete_revision == 0 || delete_revision == event->revision);
    delete_revision = event->revision;
    cr_assert_neq(event->previous_revision, 0);
    cr_assert_eq(event->last, ++delete_count == LARGE, "the revision ends too early, or not");
}

static void on_large_ended(struct meta_watch *unused, int result)
{
    (void)unused;
    cr_assert_fail("the watch ended: %s", base_error_text(result));
}

static void expect_large(unsigned want_puts, unsigned want_deletes)
{
    for (unsigned i = 0; i < 1000 && (put_count < want_puts || delete_count < want_deletes); i++)
        suite_wait();
    suite_settle();
    cr_assert_eq(put_count, want_puts);
    cr_assert_eq(delete_count, want_deletes);
}

Test(limits, a_watch_of_revisions_larger_than_a_message_hears_them_whole)
{
    static uint8_t big[400 << 10];
    uint64_t first = 0;
    for (unsigned i = 0; i < LARGE; i++) {
        char key[16];
        (void)snprintf(key, sizeof key, "l%02u", i);
        meta_put(build(), META_TEXT(key), (struct meta_slice){big, sizeof big}, 0);
        cr_assert_eq(run(), 0);
        first = first == 0 ? suite.request.revision : first;
    }
    /* The past at once, then one revision with the values before it: both in several messages. */
    cr_assert_eq(
        meta_watch_start(suite.meta, &watch, META_TEXT("l"), first, on_large, on_large_ended), 0);
    expect_large(LARGE, 0);
    meta_delete_prefix(build(), META_TEXT("l"));
    cr_assert_eq(run(), 0);
    cr_assert_eq(suite.request.responses[0].deleted_count, LARGE);
    expect_large(LARGE, LARGE);
    cr_assert_eq(last_count, LARGE + 1);
    /* And all of it once more, from the past. */
    meta_watch_cancel(suite.meta, &watch);
    put_count = delete_count = last_count = 0;
    delete_revision = 0;
    cr_assert_eq(
        meta_watch_start(suite.meta, &watch, META_TEXT("l"), first, on_large, on_large_ended), 0);
    expect_large(LARGE, LARGE);
    meta_watch_cancel(suite.meta, &watch);
}
