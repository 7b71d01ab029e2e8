/* SPDX-License-Identifier: Apache-2.0 */
#include <criterion/criterion.h>

#include "device/device.h"
#include "sim/disk.h"

static struct world world;
static struct sim_disk *disks[2];
static struct device_set devices;
static unsigned ended;
static int last_result;
static uint8_t block[2 * BLOCK_BYTES] __attribute__((aligned(4096)));

static void done(struct device_io *io, int result)
{
    (void)io;
    ended++;
    last_result = result;
}

static void settle(void)
{
    while (world_step(&world) || device_turn(&devices) > 0)
        continue;
}

static void open_two(void)
{
    world_open(&world, 1);
    disks[0] = sim_disk_open(&world, "a", 100 * BLOCK_BYTES);
    disks[1] = sim_disk_open(&world, "b", 50 * BLOCK_BYTES);
    devices = (struct device_set){.count = 2};
    devices.devices[0] = (struct device){.disk = &disks[0]->disk, .blocks = 100};
    devices.devices[1] = (struct device){.disk = &disks[1]->disk, .base = 32768, .blocks = 50};
    device_set_init(&devices);
}

static void close_two(void)
{
    world_close(&world);
}

TestSuite(device_places, .init = open_two, .fini = close_two);

Test(device_places, each_place_is_on_one_device_or_none)
{
    cr_assert_eq(device_at(&devices, 0), &devices.devices[0]);
    cr_assert_eq(device_at(&devices, 99), &devices.devices[0]);
    cr_assert_null(device_at(&devices, 100));
    cr_assert_null(device_at(&devices, 32767));
    cr_assert_eq(device_at(&devices, 32768), &devices.devices[1]);
    cr_assert_null(device_at(&devices, 32768 + 50));
    cr_assert_null(device_at(&devices, UINT64_MAX));
}

Test(device_places, a_range_is_held_only_whole)
{
    cr_assert(device_holds(&devices, 0, 100));
    cr_assert_not(device_holds(&devices, 0, 101));
    cr_assert_not(device_holds(&devices, 99, 2));
    cr_assert_not(device_holds(&devices, 5, 0));
    cr_assert_not(device_holds(&devices, 100, 1));
    cr_assert(device_holds(&devices, 32768 + 49, 1));
    cr_assert_not(device_holds(&devices, 99, UINT64_MAX));
}

Test(device_places, a_place_is_an_offset_of_its_device)
{
    struct device_io io = {0};
    block[7] = 42;
    device_submit(&devices, &io, DISK_WRITE, 32768 + 3, 2, block, done);
    cr_assert_eq(ended, 0, "done inside the call");
    settle();
    cr_assert_eq(ended, 1);
    uint8_t byte;
    sim_disk_peek(disks[1], 3 * BLOCK_BYTES + 7, 1, &byte);
    cr_assert_eq(byte, 42);
    cr_assert_eq(devices.bytes_written, 2 * BLOCK_BYTES);
}

Test(device_places, what_comes_after_a_failure_reaches_no_disk)
{
    device_fail(&devices, &devices.devices[0], -EIO);
    struct device_io write = {0}, read = {0};
    device_submit(&devices, &write, DISK_WRITE, 32768, 1, block, done);
    cr_assert_eq(ended, 0, "done inside the call");
    settle();
    cr_assert_eq(last_result, IOMESH_FAILED);
    cr_assert_eq(disks[1]->counts.writes, 0);
    device_submit(&devices, &read, DISK_READ, 32768, 1, block, done);
    settle();
    cr_assert_eq(last_result, 0);
    cr_assert_eq(ended, 2);
}
