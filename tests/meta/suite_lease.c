/* SPDX-License-Identifier: Apache-2.0 */
/* Times here are real ones where the implementation's are: they are short. */
#include "suite.h"

TestSuite(lease, .init = suite_open, .fini = suite_close);

Test(lease, keys_vanish_together_when_it_runs_out_and_that_is_told)
{
    struct ear ear = {0};
    uint64_t lease = grant(2);
    ear_start(&ear, "s/", 0);
    put_leased("s/1", "x", lease);
    put_leased("s/2", "x", lease);
    put("c", "1");
    suite_pass(1);
    cr_assert(exists("s/1"));
    suite_pass(2);
    cr_assert_not(exists("s/1"));
    cr_assert_not(exists("s/2"));
    cr_assert(exists("c"));
    /* In one revision. */
    ear_expect(&ear, "s/1=x. s/2=x. s/1- s/2-. ");
    ear_stop(&ear);
}

Test(lease, keeping_it_alive_starts_its_time_anew)
{
    uint64_t lease = grant(2);
    put_leased("a", "1", lease);
    for (unsigned i = 0; i < 2; i++) {
        suite_pass(1);
        cr_assert_eq(keep_lease(lease), 0);
        cr_assert_eq(suite.request.ttl_ns, 2 * NS_PER_S);
    }
    suite_pass(1);
    cr_assert(exists("a"));
    suite_pass(2);
    cr_assert_not(exists("a"));
    cr_assert_eq(keep_lease(lease), -ENOENT);
}

Test(lease, revoking_it_deletes_its_keys_at_once)
{
    uint64_t lease = grant(10);
    put_leased("a", "1", lease);
    cr_assert_eq(end_lease(lease), 0);
    cr_assert_not(exists("a"));
    cr_assert_eq(end_lease(lease), -ENOENT);
    cr_assert_eq(keep_lease(lease), -ENOENT);
}

Test(lease, a_put_under_a_lease_that_is_gone_does_nothing)
{
    uint64_t lease = grant(60);
    cr_assert_eq(end_lease(lease), 0);
    meta_put(build(), META_TEXT("a"), META_TEXT("1"), lease);
    meta_put(&suite.request, META_TEXT("b"), META_TEXT("1"), 0);
    cr_assert_eq(run(), -ENOENT);
    cr_assert_not(exists("b"));
    meta_put(build(), META_TEXT("a"), META_TEXT("1"), 12345);
    cr_assert_eq(run(), -ENOENT);
}

Test(lease, a_later_put_replaces_the_lease)
{
    uint64_t first = grant(60);
    uint64_t second = grant(60);
    put_leased("freed", "1", first);
    put("freed", "2");
    put_leased("moved", "1", first);
    put_leased("moved", "2", second);
    cr_assert_eq(end_lease(first), 0);
    cr_assert_str_eq(value_of("freed"), "2");
    cr_assert_str_eq(value_of("moved"), "2");
    cr_assert_eq(suite.request.responses[0].entries[0].lease, second);
    cr_assert_eq(end_lease(second), 0);
    cr_assert_not(exists("moved"));
    cr_assert(exists("freed"));
}

Test(lease, an_id_is_never_used_twice)
{
    uint64_t first = grant(60);
    uint64_t second = grant(60);
    cr_assert_neq(first, second);
    cr_assert_eq(end_lease(second), 0);
    uint64_t third = grant(60);
    cr_assert_neq(third, first);
    cr_assert_neq(third, second);
    cr_assert_eq(end_lease(first), 0);
    cr_assert_eq(end_lease(third), 0);
}
