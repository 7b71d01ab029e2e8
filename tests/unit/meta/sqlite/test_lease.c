/* SPDX-License-Identifier: Apache-2.0 */
#include "fixture.h"

TestSuite(lease, .init = pool_open, .fini = pool_close);

static int told;

static void on_told(struct meta_request *request, int result)
{
    (void)request;
    told = result;
}

static int keep(uint64_t lease)
{
    told = 1;
    cr_assert_eq(meta_lease_keep(pool.meta, &pool.request, lease, on_told), 0);
    drain();
    return told;
}

static int revoke(uint64_t lease)
{
    told = 1;
    cr_assert_eq(meta_lease_revoke(pool.meta, &pool.request, lease, on_told), 0);
    drain();
    return told;
}

Test(lease, keys_vanish_together_when_it_runs_out)
{
    uint64_t lease = grant(10);
    put_leased("a", "1", lease);
    put_leased("b", "1", lease);
    put("c", "1");
    uint64_t revision = pool.request.revision;
    pass_seconds(9);
    cr_assert(exists("a"));
    pass_seconds(1);
    cr_assert_not(exists("a"));
    cr_assert_not(exists("b"));
    cr_assert(exists("c"));
    cr_assert_eq(pool.request.revision, revision + 1);
}

Test(lease, keeping_it_alive_starts_its_time_anew)
{
    uint64_t lease = grant(10);
    put_leased("a", "1", lease);
    for (unsigned i = 0; i < 5; i++) {
        pass_seconds(9);
        cr_assert_eq(keep(lease), 0);
        cr_assert_eq(pool.request.ttl_ns, 10 * NS_PER_S);
    }
    cr_assert(exists("a"));
    pass_seconds(10);
    cr_assert_not(exists("a"));
    cr_assert_eq(keep(lease), -ENOENT);
}

Test(lease, revoking_it_deletes_its_keys_at_once)
{
    uint64_t lease = grant(10);
    put_leased("a", "1", lease);
    cr_assert_eq(revoke(lease), 0);
    cr_assert_not(exists("a"));
    cr_assert_eq(revoke(lease), -ENOENT);
    cr_assert_eq(keep(lease), -ENOENT);
    pass_seconds(20);
}

Test(lease, a_put_under_a_lease_that_is_gone_does_nothing)
{
    uint64_t lease = grant(1);
    pass_seconds(1);
    meta_put(build(), META_TEXT("a"), META_TEXT("1"), lease);
    meta_put(&pool.request, META_TEXT("b"), META_TEXT("1"), 0);
    cr_assert_eq(run(), -ENOENT);
    cr_assert_not(exists("b"));
    meta_put(build(), META_TEXT("a"), META_TEXT("1"), 12345);
    cr_assert_eq(run(), -ENOENT);
}

Test(lease, a_later_put_replaces_the_lease)
{
    uint64_t first = grant(5);
    uint64_t second = grant(60);
    put_leased("freed", "1", first);
    put("freed", "2");
    put_leased("moved", "1", first);
    put_leased("moved", "2", second);
    pass_seconds(10);
    cr_assert_str_eq(value_of("freed"), "2");
    cr_assert_str_eq(value_of("moved"), "2");
    cr_assert_eq(pool.request.responses[0].entries[0].lease, second);
    pass_seconds(60);
    cr_assert_not(exists("moved"));
    cr_assert(exists("freed"));
}

Test(lease, a_put_that_waits_when_the_lease_ends_is_deleted_with_it)
{
    uint64_t lease = grant(5);
    meta_put(build(), META_TEXT("late"), META_TEXT("1"), lease);
    told = 1;
    cr_assert_eq(meta_commit(pool.meta, &pool.request, on_told), 0);
    pass_seconds(6); /* Nothing was executed until now. */
    cr_assert_eq(told, 0);
    cr_assert_not(exists("late"));
}

Test(lease, no_lease_outlives_the_process)
{
    put_leased("session", "1", grant(3600));
    put("kept", "1");
    uint64_t revision = pool.request.revision;
    pool_reopen();
    cr_assert_not(exists("session"));
    cr_assert(exists("kept"));
    cr_assert_eq(pool.request.revision, revision + 1);
}

Test(lease, an_id_is_never_used_twice)
{
    uint64_t first = grant(60);
    uint64_t second = grant(60);
    cr_assert_neq(first, second);
    cr_assert_eq(revoke(second), 0);
    cr_assert_gt(grant(60), second);
    pool_reopen();
    cr_assert_gt(grant(60), second + 1);
}

Test(lease, without_space_it_ends_later_and_forgets_nothing)
{
    put_leased("a", "1", grant(5));
    pool.vfs.fail_code = SQLITE_FULL;
    pool.vfs.fail_first = 1;
    pool.vfs.fail_last = UINT64_MAX;
    pass_seconds(6);
    cr_assert(exists("a"));
    pool.vfs.fail_first = 0;
    pass_seconds(1);
    cr_assert_not(exists("a"));
}
