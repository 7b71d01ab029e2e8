/* SPDX-License-Identifier: Apache-2.0 */
#include "fixture.h"

#include <stdio.h>

TestSuite(history, .init = suite_open, .fini = suite_close);

static char told[512];
static int ended;
static struct meta_watch watch;

static void on_event(struct meta_watch *unused, const struct meta_event *event)
{
    (void)unused;
    size_t length = strlen(told);
    (void)snprintf(told + length, sizeof told - length, "%.*s%s%.*s%s",
                   (int)event->entry.key.length, (const char *)event->entry.key.data,
                   event->kind == META_EVENT_DELETE ? "-" : "=", (int)event->entry.value.length,
                   (const char *)event->entry.value.data, event->last ? ". " : " ");
}

static void on_ended(struct meta_watch *unused, int result)
{
    (void)unused;
    ended = result;
}

static void start(const char *prefix, uint64_t from)
{
    told[0] = '\0';
    ended = 0;
    cr_assert_eq(meta_watch_start(suite.meta, &watch, META_TEXT(prefix), from, on_event, on_ended),
                 0);
}

Test(history, nothing_is_told_that_did_not_happen)
{
    start("", 0);
    put("a", "1");
    meta_if_absent(build(), META_TEXT("a"));
    meta_put(&suite.request, META_TEXT("b"), META_TEXT("1"), 0);
    cr_assert_eq(run(), 0);
    pool.vfs.fail_code = SQLITE_FULL;
    pool.vfs.fail_first = 1;
    pool.vfs.fail_last = UINT64_MAX;
    meta_put(build(), META_TEXT("c"), META_TEXT("1"), 0);
    cr_assert_eq(run(), -ENOSPC);
    pool.vfs.fail_first = 0;
    put("d", "1");
    cr_assert_str_eq(told, "a=1. d=1. ");
    meta_watch_cancel(suite.meta, &watch);
}

Test(history, from_before_the_pool_was_opened_is_compacted)
{
    put("a", "1");
    uint64_t revision = suite.request.revision;
    pool_reopen();
    start("", revision);
    cr_assert_eq(ended, 0, "told inside the call");
    drain();
    cr_assert_eq(ended, IOMESH_COMPACTED);
    start("", revision + 1);
    put("b", "1");
    cr_assert_str_eq(told, "b=1. ");
    meta_watch_cancel(suite.meta, &watch);
}

Test(history, from_beyond_the_bounded_history_is_compacted)
{
    put("first", "1");
    uint64_t revision = suite.request.revision;
    for (unsigned i = 0; i < 4096; i++)
        put("a", "1");
    start("", revision);
    drain();
    cr_assert_eq(ended, IOMESH_COMPACTED);
    start("", revision + 1);
    drain();
    cr_assert_eq(ended, 0);
    cr_assert_str_neq(told, "");
    meta_watch_cancel(suite.meta, &watch);
}

Test(history, a_failure_ends_it)
{
    start("", 0);
    pool.vfs.fail_code = SQLITE_IOERR_WRITE;
    pool.vfs.fail_first = 1;
    pool.vfs.fail_last = UINT64_MAX;
    meta_put(build(), META_TEXT("c"), META_TEXT("1"), 0);
    cr_assert_eq(run(), IOMESH_UNKNOWN);
    cr_assert_eq(ended, IOMESH_FAILED);
    cr_assert_str_eq(told, "");
}
