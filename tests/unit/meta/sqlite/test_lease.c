/* SPDX-License-Identifier: Apache-2.0 */
#include "fixture.h"

TestSuite(own_leases, .init = suite_open, .fini = suite_close);

static int told;

static void on_told(struct meta_request *request, int result)
{
    (void)request;
    told = result;
}

Test(own_leases, a_put_under_a_lease_that_is_gone_does_nothing)
{
    uint64_t lease = grant(1);
    suite_pass(1);
    meta_put(build(), META_TEXT("a"), META_TEXT("1"), lease);
    meta_put(&suite.request, META_TEXT("b"), META_TEXT("1"), 0);
    cr_assert_eq(run(), -ENOENT);
    cr_assert_not(exists("b"));
    meta_put(build(), META_TEXT("a"), META_TEXT("1"), 12345);
    cr_assert_eq(run(), -ENOENT);
}

Test(own_leases, a_later_put_replaces_the_lease)
{
    uint64_t first = grant(5);
    uint64_t second = grant(60);
    put_leased("freed", "1", first);
    put("freed", "2");
    put_leased("moved", "1", first);
    put_leased("moved", "2", second);
    suite_pass(10);
    cr_assert_str_eq(value_of("freed"), "2");
    cr_assert_str_eq(value_of("moved"), "2");
    cr_assert_eq(suite.request.responses[0].entries[0].lease, second);
    suite_pass(60);
    cr_assert_not(exists("moved"));
    cr_assert(exists("freed"));
}

Test(own_leases, a_put_that_waits_when_the_lease_ends_is_deleted_with_it)
{
    uint64_t lease = grant(5);
    meta_put(build(), META_TEXT("late"), META_TEXT("1"), lease);
    told = 1;
    cr_assert_eq(meta_commit(suite.meta, &suite.request, on_told), 0);
    suite_pass(6); /* Nothing was executed until now. */
    cr_assert_eq(told, 0);
    cr_assert_not(exists("late"));
}

Test(own_leases, no_lease_outlives_the_process)
{
    put_leased("session", "1", grant(3600));
    put("kept", "1");
    uint64_t revision = suite.request.revision;
    pool_reopen();
    cr_assert_not(exists("session"));
    cr_assert(exists("kept"));
    cr_assert_eq(suite.request.revision, revision + 1);
}

Test(own_leases, an_id_is_never_used_twice)
{
    uint64_t first = grant(60);
    uint64_t second = grant(60);
    cr_assert_neq(first, second);
    cr_assert_eq(end_lease(second), 0);
    cr_assert_gt(grant(60), second);
    pool_reopen();
    cr_assert_gt(grant(60), second + 1);
}

Test(own_leases, without_space_it_ends_later_and_forgets_nothing)
{
    put_leased("a", "1", grant(5));
    pool.vfs.fail_code = SQLITE_FULL;
    pool.vfs.fail_first = 1;
    pool.vfs.fail_last = UINT64_MAX;
    suite_pass(6);
    cr_assert(exists("a"));
    pool.vfs.fail_first = 0;
    suite_pass(1);
    cr_assert_not(exists("a"));
}
