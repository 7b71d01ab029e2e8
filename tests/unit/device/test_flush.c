/* SPDX-License-Identifier: Apache-2.0 */
#include <criterion/criterion.h>

#include "device/device.h"
#include "sim/disk.h"

static struct world world;
static struct sim_disk *disk;
static struct device_set devices;
static unsigned failures_told;
static int last_result;
static unsigned ended;
static uint8_t block[BLOCK_BYTES] __attribute__((aligned(4096)));

static void failed(struct device_set *set, const struct device *device, int error)
{
    cr_assert_eq(set, &devices);
    cr_assert_eq(device, &devices.devices[0]);
    cr_assert_lt(error, 0);
    failures_told++;
}

static void open_world(void)
{
    world_open(&world, 1);
    disk = sim_disk_open(&world, "disk", 1u << 20);
    devices = (struct device_set){.count = 1, .on_failed = failed};
    devices.devices[0] = (struct device){.disk = &disk->disk, .blocks = 256};
    device_set_init(&devices);
}

static void close_world(void)
{
    world_close(&world);
}

TestSuite(device, .init = open_world, .fini = close_world);

static void written(struct device_io *io, int result)
{
    (void)io;
    last_result = result;
    ended++;
}

static void flushed(struct device_flush *flush, int result)
{
    (void)flush;
    last_result = result;
    ended++;
}

static void settle(void)
{
    while (world_step(&world) || device_turn(&devices) > 0) {
    }
}

static int write_block(uint64_t place)
{
    struct device_io io = {.result = 0};
    device_submit(&devices, &io, DISK_WRITE, place, 1, block, written);
    settle();
    return last_result;
}

Test(device, flushes_only_what_was_written)
{
    struct device_flush flush = {.pending = 0};
    device_flush(&devices, &flush, flushed);
    cr_assert_eq(ended, 0);
    settle();
    cr_assert(ended == 1 && last_result == 0);
    cr_assert_eq(disk->counts.flushes, 0);
    cr_assert_eq(write_block(3), 0);
    device_flush(&devices, &flush, flushed);
    settle();
    cr_assert_eq(disk->counts.flushes, 1);
    device_flush(&devices, &flush, flushed);
    settle();
    cr_assert_eq(disk->counts.flushes, 1);
}

/* Nothing is unflushed any more while a flush flies, and nothing of it is durable yet. */
Test(device, does_not_end_a_flush_before_one_in_flight_that_covers_it)
{
    cr_assert_eq(write_block(3), 0);
    struct device_flush first = {.pending = 0}, second = {.pending = 0};
    ended = 0;
    device_flush(&devices, &first, flushed);
    device_flush(&devices, &second, flushed);
    cr_assert_eq(device_turn(&devices), 0);
    cr_assert_eq(ended, 0);
    settle();
    cr_assert_eq(ended, 2);
    cr_assert_eq(devices.devices[0].flushing, 0);
}

Test(device, fails_for_good_when_a_flush_fails)
{
    struct device_flush flush = {.pending = 0};
    disk->faults.flush_error_at = 1;
    cr_assert_eq(write_block(3), 0);
    device_flush(&devices, &flush, flushed);
    settle();
    cr_assert_eq(last_result, IOMESH_FAILED);
    cr_assert_eq(failures_told, 1);
    cr_assert_eq(write_block(4), IOMESH_FAILED);
    cr_assert_eq(disk->counts.writes, 1);
    device_flush(&devices, &flush, flushed);
    settle();
    cr_assert_eq(last_result, IOMESH_FAILED);
    cr_assert_eq(disk->counts.flushes, 1);
    cr_assert_eq(failures_told, 1);
}

Test(device, fails_for_good_when_a_write_fails_or_is_short)
{
    disk->faults.short_at = 1;
    cr_assert_eq(write_block(3), IOMESH_FAILED);
    cr_assert_eq(failures_told, 1);
}

Test(device, is_only_full_when_no_space_is_below)
{
    disk->faults.full_at = 1;
    cr_assert_eq(write_block(3), -ENOSPC);
    cr_assert_eq(failures_told, 0);
    cr_assert_eq(write_block(3), 0);
}

static struct disk_io *held;

static void hold(struct disk *which, struct disk_io *io)
{
    (void)which;
    held = io;
}

/* What a file system could not place is dropped, and it says so once: the next flush would lie. */
Test(device, fails_for_good_when_a_flush_finds_no_space)
{
    const struct disk_ops ops = {.submit = hold};
    struct device_flush flush = {.pending = 0};
    cr_assert_eq(write_block(3), 0);
    disk->disk.ops = &ops;
    device_flush(&devices, &flush, flushed);
    disk_complete(held, -ENOSPC);
    cr_assert_eq(last_result, IOMESH_FAILED);
    cr_assert_eq(failures_told, 1);
    device_flush(&devices, &flush, flushed);
    settle();
    cr_assert_eq(last_result, IOMESH_FAILED);
}

Test(device, leaves_a_read_error_to_who_reads)
{
    disk->faults.read_error_at = 1;
    struct device_io io = {.result = 0};
    device_submit(&devices, &io, DISK_READ, 0, 1, block, written);
    settle();
    cr_assert_eq(last_result, -EIO);
    cr_assert_eq(failures_told, 0);
    cr_assert_eq(devices.read_errors, 1);
}
