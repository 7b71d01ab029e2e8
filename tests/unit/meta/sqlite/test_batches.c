/* SPDX-License-Identifier: Apache-2.0 */
#include "fixture.h"

#include <stdio.h>

TestSuite(batches, .init = suite_open, .fini = suite_close);

#define KEY META_TEXT("key")

static struct meta_entry entry_of(const char *key)
{
    cr_assert(exists(key));
    return suite.request.responses[0].entries[0];
}

Test(batches, a_transaction_that_fails_by_itself_leaves_nothing_and_harms_no_other)
{
    static uint8_t big[META_VALUE_BYTES_MAX];
    char key[8];
    for (unsigned i = 0; i < 9; i++) {
        (void)snprintf(key, sizeof key, "big%u", i);
        meta_put(build(), META_TEXT(key), (struct meta_slice){big, sizeof big}, 0);
        cr_assert_eq(run(), 0);
    }
    uint64_t revision = suite.request.revision;

    /* The answer is over 4 MiB: refused after the put was done. In one batch with another. */
    meta_put(build(), META_TEXT("half"), META_TEXT("x"), 0);
    for (unsigned i = 0; i < 9; i++) {
        (void)snprintf(key, sizeof key, "big%u", i);
        meta_get(&suite.request, META_TEXT(key));
    }
    cr_assert_eq(run(), -E2BIG);
    cr_assert_not(exists("half"));
    cr_assert_eq(suite.request.revision, revision, "a revision was used by what did not happen");
    put("whole", "x");
    cr_assert_eq(suite.request.revision, revision + 1);
}

Test(batches, what_was_committed_is_there_after_opening_again)
{
    put("a", "1");
    put("b", "2");
    meta_delete(build(), META_TEXT("a"));
    cr_assert_eq(run(), 0);
    struct meta_entry before = entry_of("b");
    uint64_t revision = suite.request.revision;
    uint64_t modified_before = before.modified_revision;
    pool_reopen();
    cr_assert_not(exists("a"));
    cr_assert_str_eq(value_of("b"), "2");
    cr_assert_eq(suite.request.revision, revision);
    cr_assert_eq(entry_of("b").modified_revision, modified_before);
    put("c", "3");
    cr_assert_eq(suite.request.revision, revision + 1);
}

static struct meta_request many[50];
static unsigned many_done;

static void on_many(struct meta_request *request, int result)
{
    cr_assert_eq(result, 0);
    cr_assert_eq(request, &many[many_done], "answered out of order");
    many_done++;
}

Test(batches, what_waits_together_is_committed_together)
{
    char key[16];
    for (unsigned i = 0; i < COUNT_OF(many); i++) {
        (void)snprintf(key, sizeof key, "many%u", i);
        meta_put(&many[i], META_TEXT(key), META_TEXT("x"), 0);
        cr_assert_eq(meta_commit(suite.meta, &many[i], on_many), 0);
    }
    uint64_t syncs = pool.vfs.syncs;
    uint64_t commits = meta_sqlite_counts(suite.meta).commits;
    drain();
    cr_assert_eq(many_done, COUNT_OF(many));
    cr_assert_eq(meta_sqlite_counts(suite.meta).commits, commits + 1);
    cr_assert_leq(pool.vfs.syncs, syncs + 2); /* One more when a log begins anew. */
    uint64_t revision = many[0].revision;
    for (unsigned i = 0; i < COUNT_OF(many); i++) {
        cr_assert_eq(many[i].revision, revision + i);
        meta_request_done(&many[i]);
    }
}

Test(batches, a_compare_sees_what_was_submitted_before_it_in_one_batch)
{
    many_done = 0;
    for (unsigned i = 0; i < 2; i++) {
        meta_if_absent(&many[i], KEY);
        meta_put(&many[i], KEY, META_TEXT("x"), 0);
        cr_assert_eq(meta_commit(suite.meta, &many[i], on_many), 0);
    }
    drain();
    cr_assert(many[0].succeeded);
    cr_assert_not(many[1].succeeded);
    meta_request_done(&many[0]);
    meta_request_done(&many[1]);
}

Test(batches, more_than_the_queue_holds_is_refused)
{
    suite_close();
    pool_options.queue_max = 2;
    suite_open();
    many_done = 0;
    for (unsigned i = 0; i < 3; i++) {
        meta_get(&many[i], KEY);
        cr_assert_eq(meta_commit(suite.meta, &many[i], on_many), i < 2 ? 0 : -EAGAIN);
    }
    drain();
    cr_assert_eq(many_done, 2);
    cr_assert_eq(meta_commit(suite.meta, &many[2], on_many), 0);
    drain();
    for (unsigned i = 0; i < 3; i++)
        meta_request_done(&many[i]);
}

Test(batches, no_callback_runs_inside_a_call_and_the_engine_is_woken)
{
    many_done = 0;
    meta_get(&many[0], KEY);
    cr_assert_eq(meta_commit(suite.meta, &many[0], on_many), 0);
    cr_assert_eq(many_done, 0);
    unsigned wakeups = pool.wakeups;
    cr_assert_eq(meta_sqlite_step(suite.meta), 1);
    cr_assert_eq(many_done, 0);
    cr_assert_gt(pool.wakeups, wakeups);
    cr_assert_eq(meta_poll(suite.meta), 1);
    cr_assert_eq(many_done, 1);
    meta_request_done(&many[0]);
}
