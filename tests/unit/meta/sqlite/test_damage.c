/* SPDX-License-Identifier: Apache-2.0 */
/* Damage and failures of an open file, and the check of a closed one. */
#include "fixture.h"

#include <stdio.h>
#include <stdlib.h>

TestSuite(damage, .init = suite_open, .fini = suite_close);

static char faults[1024];

static void on_fault(void *context, const char *sentence)
{
    (void)context;
    size_t length = strlen(faults);
    (void)snprintf(faults + length, sizeof faults - length, "%s\n", sentence);
}

/* Checks the file while no process has it open. */
static int check(void)
{
    faults[0] = '\0';
    return meta_sqlite_check(POOL_PATH, pool.vfs.name, on_fault, NULL);
}

/* Where a text stands in the file. */
static size_t find(const char *text)
{
    size_t length;
    const uint8_t *bytes = meta_vfs_bytes(&pool.vfs, POOL_PATH, &length);
    const uint8_t *at = memmem(bytes, length, text, strlen(text));
    cr_assert_not_null(at);
    return (size_t)(at - bytes);
}

static void close_only(void)
{
    drain();
    meta_close(suite.meta);
}

static void open_only(void)
{
    cr_assert_eq(meta_sqlite_open(&pool_options, &suite.meta), 0, "%s", base_last_error());
}

Test(damage, a_flipped_bit_in_a_value_is_noticed_when_it_is_read_and_harms_no_other)
{
    put("good", "fine fine fine");
    put("hurt", "precious value");
    close_only();
    meta_vfs_damage(&pool.vfs, POOL_PATH, find("precious"), 1);
    open_only();
    meta_get(build(), META_TEXT("hurt"));
    cr_assert_eq(run(), IOMESH_CORRUPT);
    cr_assert_str_eq(value_of("good"), "fine fine fine");
    meta_list(build(), (struct meta_slice){0}, (struct meta_slice){0}, 10);
    cr_assert_eq(run(), IOMESH_CORRUPT);
    meta_if_value(build(), META_TEXT("hurt"), META_TEXT("quecious value"));
    cr_assert_eq(run(), IOMESH_CORRUPT);
    put("new", "still works");
    cr_assert_str_eq(meta_sqlite_failure(suite.meta), "");
}

Test(damage, a_sound_file_has_no_faults_and_the_check_changes_nothing)
{
    put("a", "1");
    close_only();
    size_t length;
    const uint8_t *bytes = meta_vfs_bytes(&pool.vfs, POOL_PATH, &length);
    uint8_t *before = malloc(length);
    memcpy(before, bytes, length);
    uint64_t operations = pool.vfs.operations;
    cr_assert_eq(check(), 0, "%s %s", faults, base_last_error());
    cr_assert_eq(pool.vfs.operations, operations);
    cr_assert_arr_eq(before, bytes, length);
    free(before);
    open_only();
}

Test(damage, the_check_reads_a_log_that_was_left_and_leaves_it)
{
    size_t length;
    put("a", "1");
    put("b", "in the log only");
    meta_vfs_power_off(&pool.vfs);
    meta_close(suite.meta);
    pool.vfs.off = false; /* Killed, not cut. */
    cr_assert_not_null(meta_vfs_bytes(&pool.vfs, POOL_PATH "-wal", &length));
    uint64_t operations = pool.vfs.operations;
    cr_assert_eq(check(), 0, "%s %s", faults, base_last_error());
    cr_assert_eq(pool.vfs.operations, operations);
    cr_assert_not_null(meta_vfs_bytes(&pool.vfs, POOL_PATH "-wal", &length));
    open_only();
    cr_assert_str_eq(value_of("b"), "in the log only");
}

Test(damage, the_check_names_the_entry_that_is_hurt)
{
    put("good", "fine fine fine");
    put("hurt", "precious value");
    close_only();
    meta_vfs_damage(&pool.vfs, POOL_PATH, find("precious"), 1);
    cr_assert_eq(check(), 1, "%s", faults);
    cr_assert_str_eq(faults, "metadata: the entry hurt fails its checksum\n");
    open_only();
}

Test(damage, each_byte_of_the_file_may_be_hurt_and_nothing_false_is_answered)
{
    char key[8];
    for (unsigned i = 0; i < 40; i++) {
        (void)snprintf(key, sizeof key, "key%02u", i);
        put(key, "the same value for every key");
    }
    close_only();
    size_t length;
    meta_vfs_bytes(&pool.vfs, POOL_PATH, &length);
    unsigned noticed = 0;
    for (size_t at = 0; at < length; at += 13) {
        meta_vfs_damage(&pool.vfs, POOL_PATH, at, 0x55);
        int faults_found = check();
        noticed += faults_found != 0;
        cr_assert(faults_found >= 0 || strstr(base_last_error(), POOL_PATH) != NULL);
        meta_vfs_damage(&pool.vfs, POOL_PATH, at, 0x55);
    }
    cr_assert_gt(noticed, 100);
    cr_assert_eq(check(), 0, "%s", faults);
    open_only();
}

Test(damage, after_an_error_of_the_device_everything_fails_until_it_is_opened_anew)
{
    put("a", "1");
    pool.vfs.fail_code = SQLITE_IOERR_FSYNC;
    pool.vfs.fail_first = 1;
    pool.vfs.fail_last = UINT64_MAX;
    meta_put(build(), META_TEXT("b"), META_TEXT("1"), 0);
    cr_assert_eq(run(), IOMESH_UNKNOWN);
    cr_assert_str_eq(meta_sqlite_failure(suite.meta),
                     "the metadata in meta.db failed: disk I/O error");
    pool.vfs.fail_first = 0;
    uint64_t operations = pool.vfs.operations;
    meta_put(build(), META_TEXT("c"), META_TEXT("1"), 0);
    cr_assert_eq(run(), IOMESH_FAILED);
    meta_get(build(), META_TEXT("a"));
    cr_assert_eq(run(), IOMESH_FAILED);
    meta_close(suite.meta);
    cr_assert_eq(pool.vfs.operations, operations, "the device was written after it failed");
    open_only();
    cr_assert_str_eq(value_of("a"), "1");
    cr_assert_not(exists("c"));
}

Test(damage, no_space_refuses_what_grows_harms_nothing_and_passes)
{
    put("a", "1");
    pool.vfs.fail_code = SQLITE_FULL;
    pool.vfs.fail_first = 1;
    pool.vfs.fail_last = UINT64_MAX;
    meta_put(build(), META_TEXT("b"), META_TEXT("1"), 0);
    cr_assert_eq(run(), -ENOSPC);
    cr_assert_str_eq(value_of("a"), "1");
    cr_assert_not(exists("b"));
    uint64_t revision = suite.request.revision;
    pool.vfs.fail_first = 0;
    put("b", "1");
    cr_assert_eq(suite.request.revision, revision + 1);
    cr_assert_str_eq(meta_sqlite_failure(suite.meta), "");
}

static int results[3];
static unsigned result_count;

static void on_result(struct meta_request *request, int result)
{
    (void)request;
    results[result_count++] = result;
}

Test(damage, a_large_one_without_space_does_not_take_a_small_one_with_it)
{
    static uint8_t big[META_VALUE_BYTES_MAX];
    struct meta_request requests[3] = {0};
    meta_put(&requests[0], META_TEXT("small"), META_TEXT("1"), 0);
    meta_put(&requests[1], META_TEXT("big"), (struct meta_slice){big, sizeof big}, 0);
    meta_put(&requests[2], META_TEXT("other"), META_TEXT("1"), 0);
    for (unsigned i = 0; i < 3; i++)
        cr_assert_eq(meta_commit(suite.meta, &requests[i], on_result), 0);
    /* The batch fails far into its writes, and the large one again when it is alone. */
    pool.vfs.space_bytes = 256 << 10;
    drain();
    cr_assert_eq(result_count, 3);
    cr_assert_eq(results[0], 0);
    cr_assert_eq(results[1], -ENOSPC);
    cr_assert_eq(results[2], 0);
    pool.vfs.space_bytes = 0;
    cr_assert_str_eq(value_of("small"), "1");
    cr_assert_not(exists("big"));
    cr_assert_str_eq(value_of("other"), "1");
    for (unsigned i = 0; i < 3; i++)
        meta_request_done(&requests[i]);
}
