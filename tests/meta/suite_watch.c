/* SPDX-License-Identifier: Apache-2.0 */
#include "suite.h"

#include <stdio.h>

TestSuite(watch, .init = suite_open, .fini = suite_close);

static struct ear ear;

Test(watch, it_tells_what_was_committed_in_order)
{
    ear_start(&ear, "a/", 0);
    put("a/1", "x");
    put("b/1", "y");
    meta_put(build(), META_TEXT("a/2"), META_TEXT("z"), 0);
    meta_delete(&suite.request, META_TEXT("a/1"));
    cr_assert_eq(run(), 0);
    ear_expect(&ear, "a/1=x. a/2=z a/1-. ");
    meta_delete_prefix(build(), META_TEXT("a/"));
    cr_assert_eq(run(), 0);
    ear_expect(&ear, "a/1=x. a/2=z a/1-. a/2-. ");
    ear_stop(&ear);
    put("a/3", "x");
    suite_settle();
    cr_assert_str_eq(ear.told, "a/1=x. a/2=z a/1-. a/2-. ");
    ear_stop(&ear);
}

Test(watch, what_is_submitted_after_it_began_is_told_though_nothing_was_asked_before)
{
    ear_start(&ear, "", 0);
    meta_put(build(), META_TEXT("first"), META_TEXT("1"), 0);
    cr_assert_eq(run(), 0);
    ear_expect(&ear, "first=1. ");
    ear_stop(&ear);
}

Test(watch, a_transaction_that_did_not_happen_is_not_told)
{
    ear_start(&ear, "", 0);
    put("a", "1");
    meta_if_absent(build(), META_TEXT("a"));
    meta_put(&suite.request, META_TEXT("b"), META_TEXT("1"), 0);
    cr_assert_eq(run(), 0);
    put("d", "1");
    ear_expect(&ear, "a=1. d=1. ");
    ear_stop(&ear);
}

Test(watch, an_event_names_its_revision_and_the_one_before)
{
    char expected[200];
    put("k", "1");
    unsigned long long r = suite.request.revision;
    ear.revisions_too = true;
    ear_start(&ear, "", (uint64_t)r + 1);
    put("k", "2");
    put("new", "1");
    meta_delete(build(), META_TEXT("k"));
    cr_assert_eq(run(), 0);
    put("k", "3");
    put("k", "4");
    put("k", "5");
    (void)snprintf(expected, sizeof expected,
                   "k=2@%llu<%llu. new=1@%llu<0. k-@%llu<%llu. k=3@%llu<0. k=4@%llu<%llu. "
                   "k=5@%llu<%llu. ",
                   r + 1, r, r + 2, r + 3, r + 1, r + 4, r + 5, r + 4, r + 6, r + 5);
    ear_expect(&ear, expected);
    ear_stop(&ear);
}

Test(watch, list_then_watch_misses_nothing)
{
    put("a", "1");
    meta_list(build(), (struct meta_slice){0}, (struct meta_slice){0}, 10);
    cr_assert_eq(run(), 0);
    uint64_t revision = suite.request.revision;
    put("b", "2");
    put("c", "3");
    ear_start(&ear, "", revision + 1);
    ear_expect(&ear, "b=2. c=3. ");
    ear_stop(&ear);
}

Test(watch, a_revision_of_many_keys_comes_whole)
{
    char key[8];
    char expected[1200] = "";
    ear_start(&ear, "k", 0);
    build();
    for (unsigned i = 0; i < 100; i++) {
        (void)snprintf(key, sizeof key, "k%02u", i);
        meta_put(&suite.request, META_TEXT(key), META_TEXT("v"), 0);
        size_t length = strlen(expected);
        (void)snprintf(expected + length, sizeof expected - length, "%s=v ", key);
    }
    cr_assert_eq(run(), 0);
    memcpy(expected + strlen(expected) - 1, ". ", 3);
    ear_expect(&ear, expected);
    ear_stop(&ear);
}

/* Begins the other, ends itself, from within. */
static struct meta_watch one, two;
static unsigned one_heard, two_heard;

static void never_ended(struct meta_watch *watch, int result)
{
    (void)watch;
    cr_assert_fail("a watch ended: %d", result);
}

static void on_two(struct meta_watch *watch, const struct meta_event *event)
{
    two_heard++;
    cr_assert_eq(event->entry.value.length, 1);
    meta_watch_cancel(suite.meta, watch);
}

static void on_one(struct meta_watch *watch, const struct meta_event *event)
{
    one_heard++;
    meta_watch_cancel(suite.meta, watch);
    cr_assert_eq(
        meta_watch_start(suite.meta, &two, META_TEXT(""), event->revision, on_two, never_ended), 0);
}

Test(watch, callbacks_may_begin_and_end_watches)
{
    cr_assert_eq(meta_watch_start(suite.meta, &one, META_TEXT(""), 0, on_one, never_ended), 0);
    put("a", "1");
    put("b", "1");
    for (unsigned i = 0; i < 1000 && two_heard == 0; i++)
        suite_wait();
    suite_settle();
    cr_assert_eq(one_heard, 1);
    cr_assert_eq(two_heard, 1);
}
