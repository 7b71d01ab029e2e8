/* SPDX-License-Identifier: Apache-2.0 */
#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>
#include <time.h>

#include "unit/api/pool.h"

TestSuite(api_pool, .init = place_make, .fini = place_remove);

Test(api_pool, a_pool_is_made_opened_written_closed_and_opened_again)
{
    pool_init(64 * MIB);
    engine_start();
    pool_start(0);
    volume_make("v", 8 * MIB, 0);
    struct iomesh_volume *volume = volume_start("v");
    char text[4096] = "kept", back[4096];
    OK(iomesh_write_sync(volume, 4096, sizeof text, text, IOMESH_FUA));
    OK(iomesh_volume_close_sync(volume));
    pool_stop();
    check_clean();
    pool_start(0);
    volume = volume_start("v");
    OK(iomesh_read_sync(volume, 4096, sizeof back, back));
    cr_expect_str_eq(back, "kept");
    OK(iomesh_volume_close_sync(volume));
    pool_stop();
    OK(iomesh_engine_close(engine));
}

Test(api_pool, what_cannot_be_made_is_refused_with_a_sentence_and_leaves_nothing)
{
    struct iomesh_pool_init_options init = IOMESH_POOL_INIT_OPTIONS_INIT;
    REFUSED(iomesh_pool_init(NULL, NULL), -EINVAL);
    REFUSED(iomesh_pool_init("", NULL), -EINVAL);
    REFUSED(iomesh_pool_init("nfs:x", NULL), -EINVAL);
    REFUSED(iomesh_pool_init("file:", NULL), -EINVAL);
    REFUSED(iomesh_pool_init("etcd://h:1/", NULL), -EINVAL);
    init.bytes = 1 * MIB;
    REFUSED(iomesh_pool_init("etcd://h:1/p", &init), -EINVAL);
    REFUSED(iomesh_pool_init(url, &init), -EINVAL);
    init.bytes = 64 * MIB + 1;
    REFUSED(iomesh_pool_init(url, &init), -EINVAL);
    init.bytes = 64 * MIB;
    init.flags = 1u << 31;
    REFUSED(iomesh_pool_init(url, &init), -EINVAL);
    init.flags = 0;
    init.size = 0;
    REFUSED(iomesh_pool_init(url, &init), -EINVAL);
    init.size = sizeof init;
    struct iomesh_device device = IOMESH_DEVICE_INIT;
    init.device_count = 1;
    init.devices = &device;
    REFUSED(iomesh_pool_init(url, &init), -EINVAL);
    init.bytes = 0;
    device.path = "/dev/null";
    REFUSED(iomesh_pool_init(url, &init), -ENOTBLK);
    device.path = "no-such-device";
    REFUSED(iomesh_pool_init(url, &init), -ENOENT);
    device.device_class = 9;
    REFUSED(iomesh_pool_init(url, &init), -EINVAL);
    cr_expect_eq(entries_of(directory), -1, "something was left behind");
    REFUSED(iomesh_pool_init("file:no/such/parent/x", NULL), -ENOENT);
}

static uint64_t progress_last;

static void progressed(void *context, uint64_t done, uint64_t total)
{
    uint64_t *all = context;
    cr_assert(done >= progress_last && done <= total);
    cr_assert(*all == 0 || *all == total);
    progress_last = done;
    *all = total;
}

Test(api_pool, making_one_tells_how_far_it_is_and_ends_with_all)
{
    struct iomesh_pool_init_options init = IOMESH_POOL_INIT_OPTIONS_INIT;
    uint64_t all = 0;
    init.bytes = 64 * MIB;
    init.progress = progressed;
    init.context = &all;
    OK(iomesh_pool_init(url, &init));
    cr_expect_gt(all, MIB / 4, "superblocks and journal");
    cr_expect_eq(progress_last, all);
}

Test(api_pool, a_second_pool_in_a_place_is_refused_and_the_first_stays)
{
    pool_init(64 * MIB);
    struct iomesh_pool_init_options init = IOMESH_POOL_INIT_OPTIONS_INIT;
    init.bytes = 64 * MIB;
    REFUSED(iomesh_pool_init(url, &init), -EEXIST);
    check_clean();
}

Test(api_pool, a_pool_over_named_devices_finds_them_again)
{
    char paths[2][80];
    struct iomesh_device devices[2] = {IOMESH_DEVICE_INIT, IOMESH_DEVICE_INIT};
    for (unsigned i = 0; i < 2; i++) {
        (void)snprintf(paths[i], sizeof paths[i], "%s/disk%u", place, i);
        devices[i].path = paths[i];
        devices[i].bytes = (64 + 64 * i) * MIB;
        devices[i].device_class = i == 0 ? IOMESH_CLASS_SSD : IOMESH_CLASS_HDD;
    }
    struct iomesh_pool_init_options init = IOMESH_POOL_INIT_OPTIONS_INIT;
    init.devices = devices;
    init.device_count = 2;
    OK(iomesh_pool_init(url, &init));
    engine_start();
    pool_start(0);
    struct iomesh_pool_status status = {.size = sizeof status};
    OK(iomesh_pool_status(pool, &status));
    cr_expect_eq(status.device_count, 2);
    cr_expect_eq(status.state, IOMESH_POOL_HEALTHY);
    cr_expect_leq(status.total_bytes, 192 * MIB);
    cr_expect_gt(status.total_bytes, 180 * MIB);
    cr_expect_gt(status.free_bytes, 128 * MIB);
    struct iomesh_device_status device = {.size = sizeof device};
    OK(iomesh_pool_device(pool, 1, &device));
    cr_expect(device.device_class == IOMESH_CLASS_HDD && device.bytes == 128 * MIB &&
              device.is_file == 1 && device.failed == 0);
    REFUSED(iomesh_pool_device(pool, 2, &device), -ENOENT);
    pool_stop();
    /* A device that holds a store is not taken again by accident. */
    (void)snprintf(url, sizeof url, "file:%s/other", place);
    REFUSED(iomesh_pool_init(url, &init), -EEXIST);
    cr_expect_eq(access(paths[0], F_OK), 0);
    (void)snprintf(url, sizeof url, "file:%s/pool", place);
    pool_start(0);
    pool_stop();
    OK(iomesh_engine_close(engine));
    check_clean();
}

Test(api_pool, a_pool_that_is_open_elsewhere_is_in_use)
{
    pool_init(64 * MIB);
    engine_start();
    pool_start(0);
    struct iomesh_engine *other = NULL;
    struct iomesh_pool *second = NULL;
    OK(iomesh_engine_open(NULL, &other));
    struct iomesh_pool_options options = IOMESH_POOL_OPTIONS_INIT;
    options.claim_wait_ns = 100000000;
    REFUSED(iomesh_pool_open_sync(other, url, &options, &second), IOMESH_IN_USE);
    struct iomesh_check_result result = IOMESH_CHECK_RESULT_INIT;
    REFUSED(iomesh_pool_check(url, 0, NULL, NULL, NULL, &result), IOMESH_IN_USE);
    REFUSED(iomesh_engine_close(engine), -EBUSY);
    pool_stop();
    OK(iomesh_pool_open_sync(other, url, &options, &second));
    OK(iomesh_pool_close_sync(second));
    OK(iomesh_engine_close(other));
    OK(iomesh_engine_close(engine));
}

static void damage(const char *leaf, long at, const void *bytes, size_t length)
{
    char path[128];
    (void)snprintf(path, sizeof path, "%s/%s", directory, leaf);
    int fd = open(path, O_WRONLY);
    cr_assert_geq(fd, 0);
    cr_assert_eq(pwrite(fd, bytes, length, at), (ssize_t)length);
    close(fd);
}

Test(api_pool, what_is_no_pool_is_refused_with_a_sentence)
{
    engine_start();
    REFUSED(iomesh_pool_open_sync(engine, url, NULL, &pool), -ENOENT);
    cr_assert_eq(mkdir(directory, 0700), 0);
    REFUSED(iomesh_pool_open_sync(engine, url, NULL, &pool), -ENOENT);
    struct iomesh_pool_options options = IOMESH_POOL_OPTIONS_INIT;
    options.flags = 1u << 30;
    REFUSED(iomesh_pool_open_sync(engine, url, &options, &pool), -EINVAL);
    pool_init(64 * MIB);
    uint8_t zeros[4096 * 64] = {0};
    damage("store", 0, zeros, 4096);
    REFUSED(iomesh_pool_open_sync(engine, url, NULL, &pool), IOMESH_FORMAT);
    damage("meta.db", 0, "this is no database at all", 26);
    REFUSED(iomesh_pool_open_sync(engine, url, NULL, &pool), IOMESH_CORRUPT);
    cr_expect_null(pool);
    OK(iomesh_engine_close(engine));
}

Test(api_pool, a_device_that_shrank_is_refused)
{
    pool_init(64 * MIB);
    char path[128];
    (void)snprintf(path, sizeof path, "%s/store", directory);
    cr_assert_eq(truncate(path, 32 * MIB), 0);
    engine_start();
    cr_expect_lt(iomesh_pool_open_sync(engine, url, NULL, &pool), 0);
    cr_expect(strstr(iomesh_last_error(), "store") != NULL, "%s", iomesh_last_error());
    OK(iomesh_engine_close(engine));
}

static unsigned fault_count;
static uint64_t fault_block;

static void fault_found(void *context, const struct iomesh_fault *fault)
{
    (void)context;
    cr_expect_gt(strlen(fault->text), 10);
    cr_expect_eq(fault->kind, IOMESH_FAULT_CHECKSUM);
    cr_expect_eq(fault->volume_id, 1);
    cr_expect_eq(fault->block, fault_block);
    fault_count++;
}

Test(api_pool, a_check_finds_a_block_that_changed_below_and_reading_refuses_it)
{
    pool_init(64 * MIB);
    engine_start();
    pool_start(IOMESH_POOL_NO_SCRUB);
    volume_make("v", 8 * MIB, 0);
    struct iomesh_volume *volume = volume_start("v");
    static uint8_t pattern[MIB];
    for (size_t i = 0; i < sizeof pattern; i += 16)
        memcpy(pattern + i, "rot-this-pattern", 16);
    fault_block = 77;
    pattern[fault_block * 4096] = '!';
    OK(iomesh_write_sync(volume, 0, sizeof pattern, pattern, IOMESH_FUA));
    OK(iomesh_volume_close_sync(volume));
    pool_stop();
    check_clean();
    /* Wherever it was put: find it in the file, and turn one bit. */
    char path[128];
    (void)snprintf(path, sizeof path, "%s/store", directory);
    int fd = open(path, O_RDWR);
    uint8_t block[4096];
    off_t at = 0;
    while (pread(fd, block, sizeof block, at) == sizeof block &&
           memcmp(block, pattern + fault_block * 4096, 4096) != 0)
        at += 4096;
    block[77] ^= 4;
    cr_assert_eq(pwrite(fd, block, sizeof block, at), (ssize_t)sizeof block);
    close(fd);
    struct iomesh_check_result result = IOMESH_CHECK_RESULT_INIT;
    OK(iomesh_pool_check(url, 0, fault_found, NULL, NULL, &result));
    cr_expect_eq(result.faults, 1);
    cr_expect_eq(fault_count, 1);
    cr_expect_eq(result.blocks_checked, 256);
    cr_expect_eq(result.volumes_checked, 1);
    uint64_t pages = result.pages_checked;
    cr_expect_geq(pages, 5, "a table, a directory, a map, the free map: %u", (unsigned)pages);
    OK(iomesh_pool_check(url, IOMESH_CHECK_NO_DATA, NULL, NULL, NULL, &result));
    cr_expect_eq(result.faults, 0, "pages are whole");
    cr_expect_eq(result.blocks_checked, 0);
    cr_expect_eq(result.pages_checked, pages);
    pool_start(IOMESH_POOL_NO_SCRUB);
    volume = volume_start("v");
    static uint8_t back[MIB];
    unsigned refused = 0;
    for (unsigned i = 0; i < 256; i++) {
        int code = iomesh_read_sync(volume, i * 4096ull, 4096, back);
        if (code == IOMESH_CORRUPT)
            refused++;
        else
            cr_assert(code == 0 && memcmp(back, pattern, 4096) == 0);
    }
    cr_expect_eq(refused, 1);
    struct iomesh_pool_status status = {.size = sizeof status};
    OK(iomesh_pool_status(pool, &status));
    cr_expect_eq(status.state, IOMESH_POOL_DAMAGED);
    OK(iomesh_volume_close_sync(volume));
    pool_stop();
    OK(iomesh_engine_close(engine));
}

Test(api_pool, a_read_only_pool_reads_and_refuses_every_change)
{
    pool_init(64 * MIB);
    engine_start();
    pool_start(0);
    volume_make("v", MIB, 0);
    pool_stop();
    int entries = entries_of(directory);
    pool_start(IOMESH_POOL_READ_ONLY);
    cr_expect_eq(entries_of(directory), entries, "a log, or a socket");
    struct iomesh_volume_create_options create = IOMESH_VOLUME_CREATE_OPTIONS_INIT;
    create.bytes = MIB;
    REFUSED(iomesh_volume_create_sync(pool, "w", &create), -EROFS);
    REFUSED(iomesh_volume_delete_sync(pool, "v"), -EROFS);
    REFUSED(iomesh_volume_resize_sync(pool, "v", 2 * MIB, 0), -EROFS);
    struct iomesh_volume *volume = NULL;
    REFUSED(iomesh_volume_open_sync(pool, "v", NULL, &volume), -EROFS);
    struct iomesh_volume_options read_only = IOMESH_VOLUME_OPTIONS_INIT;
    read_only.flags = IOMESH_VOLUME_READ_ONLY;
    OK(iomesh_volume_open_sync(pool, "v", &read_only, &volume));
    char block[4096] = "x";
    OK(iomesh_read_sync(volume, 0, sizeof block, block));
    cr_expect_eq(block[0], 0);
    REFUSED(iomesh_write_sync(volume, 0, sizeof block, block, 0), -EROFS);
    OK(iomesh_volume_close_sync(volume));
    pool_stop();
    OK(iomesh_engine_close(engine));
}

Test(api_pool, a_scrub_goes_over_everything_that_is_used)
{
    pool_init(64 * MIB);
    engine_start();
    pool_start(IOMESH_POOL_NO_SCRUB);
    volume_make("v", 4 * MIB, 0);
    struct iomesh_volume *volume = volume_start("v");
    static uint8_t data[MIB] = {1};
    OK(iomesh_write_sync(volume, 0, sizeof data, data, 0));
    struct iomesh_pool_status status = {.size = sizeof status};
    OK(iomesh_pool_status(pool, &status));
    cr_expect_eq(status.scrub_running, 0);
    cr_expect_eq(status.scrub_last_ended_ns, 0);
    OK(iomesh_scrub_start(pool, 100 * MIB));
    for (unsigned i = 0; i < 1000 && status.scrub_completed == 0; i++) {
        (void)iomesh_wait(engine, 10000000);
        OK(iomesh_pool_status(pool, &status));
    }
    cr_expect_eq(status.scrub_completed, 1);
    uint64_t now_ns = (uint64_t)time(NULL) * 1000000000;
    cr_expect(status.scrub_last_ended_ns + 60000000000 > now_ns &&
              status.scrub_last_ended_ns < now_ns + 60000000000);
    cr_expect_geq(status.scrub_checked_blocks, 256);
    cr_expect_eq(status.scrub_damaged_blocks, 0);
    iomesh_scrub_stop(pool);
    OK(iomesh_volume_close_sync(volume));
    pool_stop();
    OK(iomesh_engine_close(engine));
}

Test(api_pool, the_parts_of_its_space_add_up)
{
    pool_init(64 * MIB);
    engine_start();
    pool_start(0);
    struct iomesh_pool_status status = {.size = sizeof status};
    OK(iomesh_pool_status(pool, &status));
    cr_expect_eq(status.total_bytes, status.used_bytes + status.waiting_bytes + status.free_bytes +
                                         status.reserve_bytes);
    pool_stop();
    OK(iomesh_engine_close(engine));
}

Test(api_pool, a_store_whose_metadata_was_lost_is_not_made_new_by_accident)
{
    pool_init(64 * MIB);
    char path[128];
    (void)snprintf(path, sizeof path, "%s/meta.db", directory);
    cr_assert_eq(unlink(path), 0);
    struct iomesh_pool_init_options init = IOMESH_POOL_INIT_OPTIONS_INIT;
    init.bytes = 64 * MIB;
    REFUSED(iomesh_pool_init(url, &init), -EEXIST);
    (void)snprintf(path, sizeof path, "%s/store", directory);
    cr_expect_eq(access(path, F_OK), 0);
    init.flags = IOMESH_POOL_OVERWRITE;
    OK(iomesh_pool_init(url, &init));
    check_clean();
}

Test(api_pool, a_making_that_was_interrupted_is_taken_over)
{
    struct iomesh_pool_init_options init = IOMESH_POOL_INIT_OPTIONS_INIT;
    init.bytes = 64 * MIB;
    cr_assert_eq(mkdir(directory, 0700), 0);
    char path[128];
    (void)snprintf(path, sizeof path, "%s/meta.db", directory);
    int fd = open(path, O_CREAT | O_WRONLY, 0600);
    cr_assert_geq(fd, 0);
    close(fd);
    (void)snprintf(path, sizeof path, "%s/store", directory);
    fd = open(path, O_CREAT | O_WRONLY, 0600);
    cr_assert_eq(ftruncate(fd, 64 * MIB), 0);
    close(fd);
    OK(iomesh_pool_init(url, &init));
    check_clean();
}

/* --- A process that is killed ---------------------------------------------------------------- */

enum { KILLED_DEPTH = 16, KILLED_BLOCKS = 2000 };

static int told; /* The pipe: numbers of the writes that were acknowledged. */
static struct iomesh_volume *written;
static unsigned next_block;
static uint8_t blocks[KILLED_DEPTH][4096];

struct write_slot {
    unsigned slot, number;
};
static struct write_slot write_slots[KILLED_DEPTH];

static void write_next(struct write_slot *slot);

static void write_told(void *context, int result)
{
    struct write_slot *slot = context;
    if (result != 0 || write(told, &slot->number, sizeof slot->number) != sizeof slot->number)
        _exit(3);
    write_next(slot);
}

static void write_next(struct write_slot *slot)
{
    slot->number = next_block++;
    memset(blocks[slot->slot], (int)(slot->number % 255) + 1, 4096);
    memcpy(blocks[slot->slot], &slot->number, sizeof slot->number);
    if (iomesh_write(written, slot->number % KILLED_BLOCKS * 4096ull, 4096, blocks[slot->slot], 0,
                     write_told, slot) != 0)
        _exit(4);
}

/* Writes for ever; its parent kills it. */
static void write_until_killed(void)
{
    engine_start();
    pool_start(0);
    written = volume_start("v");
    for (unsigned i = 0; i < KILLED_DEPTH; i++) {
        write_slots[i].slot = i;
        write_next(&write_slots[i]);
    }
    for (;;)
        (void)iomesh_wait(engine, IOMESH_NEVER);
}

/* Every block holds the last write that was acknowledged, or one that may have been under way. */
static void check_blocks(unsigned base, const unsigned last[KILLED_BLOCKS])
{
    engine_start();
    pool_start(0);
    struct iomesh_volume *volume = volume_start("v");
    for (unsigned i = 0; i < KILLED_BLOCKS; i++) {
        uint8_t back[4096];
        unsigned number;
        OK(iomesh_read_sync(volume, i * 4096ull, sizeof back, back));
        memcpy(&number, back, sizeof number);
        if (last[i] == UINT32_MAX && number < base)
            continue;
        cr_assert(last[i] == UINT32_MAX || number >= last[i], "block %u: %u, acknowledged %u", i,
                  number, last[i]);
        cr_assert_eq(number % KILLED_BLOCKS, i);
        for (unsigned at = sizeof number; at < sizeof back; at++)
            cr_assert_eq(back[at], number % 255 + 1, "block %u is torn", i);
    }
    OK(iomesh_volume_close_sync(volume));
    pool_stop();
    OK(iomesh_engine_close(engine));
}

Test(api_pool, nothing_acknowledged_is_lost_when_the_process_is_killed, .timeout = 120)
{
    pool_init(64 * MIB);
    engine_start();
    pool_start(0);
    volume_make("v", 16 * MIB, 0);
    pool_stop();
    OK(iomesh_engine_close(engine));
    for (unsigned round = 0; round < 5; round++) {
        static unsigned last[KILLED_BLOCKS];
        memset(last, 0xff, sizeof last);
        int ends[2];
        cr_assert_eq(pipe(ends), 0);
        next_block = 1 + round * 100 * KILLED_BLOCKS; /* Newer than all before. */
        pid_t child = fork();
        if (child == 0) {
            told = ends[1];
            write_until_killed();
        }
        close(ends[1]);
        unsigned number, count = 0;
        while (read(ends[0], &number, sizeof number) == sizeof number) {
            unsigned *slot = &last[number % KILLED_BLOCKS];
            if (*slot == UINT32_MAX || *slot < number)
                *slot = number;
            if (++count == 1000 + round * 2777)
                cr_assert_eq(kill(child, SIGKILL), 0);
        }
        close(ends[0]);
        int status;
        cr_assert_eq(waitpid(child, &status, 0), child);
        cr_assert(WIFSIGNALED(status), "it ended by itself: %d", status);
        check_blocks(next_block, last);
        check_clean();
    }
}
