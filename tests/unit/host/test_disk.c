/* SPDX-License-Identifier: Apache-2.0 */
#include <criterion/criterion.h>
#include <signal.h>

#include "host/host.h"

static struct disk_io *last;
static unsigned done_count;
static int done_result;

static void submit(struct disk *disk, struct disk_io *io)
{
    cr_assert_eq(io->disk, disk);
    cr_assert_eq(io->state, DISK_IO_FLYING);
    last = io;
}

static void done(struct disk_io *io, int result)
{
    cr_assert_eq(io->state, DISK_IO_IDLE);
    done_count++;
    done_result = result;
}

static const struct disk_ops ops = {.submit = submit};
static uint8_t data[8192] __attribute__((aligned(4096)));

static struct disk small_disk(void)
{
    return (struct disk){.ops = &ops, .name = "d", .size_bytes = 65536, .block_bytes = 4096};
}

static struct disk_io io_of(enum disk_io_kind kind, uint64_t offset, uint32_t length)
{
    return (struct disk_io){
        .kind = kind, .offset_bytes = offset, .length_bytes = length, .data = data, .done = done};
}

Test(disk, a_request_ends_once_and_may_be_sent_again_from_its_end)
{
    struct disk disk = small_disk();
    struct disk_io io = io_of(DISK_WRITE, 65536 - 8192, 8192);
    disk_submit(&disk, &io);
    cr_assert_eq(last, &io);
    disk_complete(&io, -EIO);
    cr_assert_eq(done_count, 1);
    cr_assert_eq(done_result, -EIO);
    disk_submit(&disk, &io);
    disk_complete(&io, 0);
    cr_assert_eq(done_count, 2);
    struct disk_io flush = {.kind = DISK_FLUSH, .done = done};
    disk_submit(&disk, &flush);
    disk_complete(&flush, 0);
    cr_assert_eq(done_count, 3);
}

static void refused(struct disk_io io)
{
    struct disk disk = small_disk();
    disk_submit(&disk, &io);
}

Test(disk, beyond_the_end_is_a_bug, .signal = SIGABRT)
{
    refused(io_of(DISK_READ, 65536 - 4096, 8192));
}

Test(disk, an_offset_that_would_wrap_is_a_bug, .signal = SIGABRT)
{
    refused(io_of(DISK_ZERO, UINT64_MAX - 4095, 8192));
}

Test(disk, part_of_a_block_is_a_bug, .signal = SIGABRT)
{
    refused(io_of(DISK_WRITE, 512, 4096));
}

Test(disk, an_odd_length_is_a_bug, .signal = SIGABRT)
{
    refused(io_of(DISK_DISCARD, 0, 4097));
}

Test(disk, nothing_is_a_bug, .signal = SIGABRT)
{
    refused(io_of(DISK_READ, 0, 0));
}

Test(disk, memory_that_is_not_aligned_is_a_bug, .signal = SIGABRT)
{
    struct disk_io io = io_of(DISK_READ, 0, 4096);
    io.data = data + 1;
    refused(io);
}

Test(disk, sending_twice_is_a_bug, .signal = SIGABRT)
{
    struct disk disk = small_disk();
    struct disk_io io = io_of(DISK_READ, 0, 4096);
    disk_submit(&disk, &io);
    disk_submit(&disk, &io);
}

Test(disk, ending_twice_is_a_bug, .signal = SIGABRT)
{
    struct disk disk = small_disk();
    struct disk_io io = io_of(DISK_READ, 0, 4096);
    disk_submit(&disk, &io);
    disk_complete(&io, 0);
    disk_complete(&io, 0);
}
