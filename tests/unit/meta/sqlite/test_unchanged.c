/* SPDX-License-Identifier: Apache-2.0 */
/* Opened for reading only: everything is seen, nothing is changed. */
#include "fixture.h"

TestSuite(unchanged, .init = suite_open, .fini = suite_close);

/* Ends the one that writes; as a killed process does, or in order. */
static void leave(bool killed)
{
    drain();
    if (killed)
        meta_vfs_power_off(&pool.vfs);
    meta_close(suite.meta);
    pool.vfs.off = false;
}

static int open_as(bool read_only)
{
    struct meta_sqlite_options options = pool_options;
    options.create = false;
    options.read_only = read_only;
    return meta_sqlite_open(&options, &suite.meta);
}

static size_t length_of(const char *path)
{
    size_t length = 0;
    return meta_vfs_bytes(&pool.vfs, path, &length) != NULL ? length : SIZE_MAX;
}

static int told;

static void on_told(struct meta_request *request, int result)
{
    (void)request;
    told = result;
}

/* Everything that changes is refused, and not one operation reaches the files. */
static void check_refuses(uint64_t operations)
{
    meta_put(build(), META_TEXT("new"), META_TEXT("1"), 0);
    cr_assert_eq(run(), -EROFS);
    meta_delete(build(), META_TEXT("a"));
    cr_assert_eq(run(), -EROFS);
    cr_assert_str_eq(value_of("a"), "1");
    drain();
    meta_close(suite.meta);
    cr_assert_eq(pool.vfs.operations, operations, "a file was written");
}

Test(unchanged, a_file_that_was_closed_is_read_and_gets_no_log)
{
    put("a", "1");
    leave(false);
    size_t length = length_of(POOL_PATH);
    uint64_t operations = pool.vfs.operations;
    cr_assert_eq(open_as(true), 0, "%s", base_last_error());
    check_refuses(operations);
    cr_assert_eq(length_of(POOL_PATH), length);
    cr_assert_eq(length_of(POOL_PATH "-wal"), SIZE_MAX);
    cr_assert_eq(open_as(false), 0);
}

Test(unchanged, a_log_that_was_left_is_read_and_stays)
{
    put("a", "0");
    pool_reopen();
    put("a", "1");
    put_leased("session", "of the dead", grant(10));
    leave(true);
    size_t length = length_of(POOL_PATH "-wal");
    cr_assert_lt(length, SIZE_MAX);
    uint64_t operations = pool.vfs.operations;
    for (unsigned i = 0; i < 2; i++) {
        cr_assert_eq(open_as(true), 0, "%s", base_last_error());
        cr_assert(exists("session"), "a key of a dead lease was deleted");
        check_refuses(operations);
        cr_assert_eq(length_of(POOL_PATH "-wal"), length);
    }
    cr_assert_eq(open_as(false), 0);
    cr_assert_str_eq(value_of("a"), "1");
    cr_assert_not(exists("session"));
}

Test(unchanged, a_lease_is_refused)
{
    leave(false);
    cr_assert_eq(open_as(true), 0, "%s", base_last_error());
    told = 1;
    cr_assert_eq(meta_lease_grant(suite.meta, &suite.request, 5 * NS_PER_S, on_told), 0);
    drain();
    cr_assert_eq(told, -EROFS);
    meta_close(suite.meta);
    cr_assert_eq(open_as(false), 0);
}

Test(unchanged, an_empty_file_is_refused_before_its_log_is_deleted)
{
    put("a", "1");
    leave(true);
    size_t length = length_of(POOL_PATH "-wal");
    meta_vfs_put(&pool.vfs, POOL_PATH, "", 0);
    for (unsigned read_only = 0; read_only < 2; read_only++) {
        cr_assert_eq(open_as(read_only != 0), -ENOENT);
        cr_assert_not_null(strstr(base_last_error(), "empty"), "%s", base_last_error());
        cr_assert_eq(length_of(POOL_PATH "-wal"), length, "the log is gone");
    }
    pool_options.create = true;
    cr_assert_eq(meta_sqlite_open(&pool_options, &suite.meta), 0);
}

Test(unchanged, a_making_that_was_interrupted_is_refused_and_left)
{
    leave(false);
    meta_vfs_put(&pool.vfs, POOL_PATH "-journal", "some", 4);
    cr_assert_eq(open_as(true), -ENOENT);
    cr_assert_not_null(strstr(base_last_error(), "never completely"), "%s", base_last_error());
    cr_assert_eq(length_of(POOL_PATH "-journal"), 4);
    cr_assert_eq(open_as(false), 0);
}
