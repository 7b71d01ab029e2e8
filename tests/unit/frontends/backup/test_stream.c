/* SPDX-License-Identifier: Apache-2.0 */
/* Writers and readers on the two ends of a pipe. */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

#include "unit/frontends/backup/streams.h"

enum { FRAMES = 40 };

static struct backup_extent extent_of(unsigned frame)
{
    return (struct backup_extent){UINT64_C(2) * frame << 20, BACKUP_DATA_BYTES_MAX};
}

/* Waits without a loop of events: these tests are about threads, not about being told. */
static struct lanes_slot *next_to_write(struct backup_writer *writer)
{
    struct lanes_slot *slot;
    while ((slot = backup_writer_next(writer)) == NULL)
        usleep(100);
    return slot;
}

static void send(struct backup_writer *writer, uint16_t type, unsigned frame)
{
    struct lanes_slot *slot = next_to_write(writer);
    slot->content.type = type;
    slot->content.count = 1;
    slot->content.extents[0] = extent_of(frame);
    if (type == BACKUP_HEADER)
        slot->content.header = made_header(true);
    if (type == BACKUP_DATA)
        made_plain(slot->content.extents, 1, (uint8_t)frame, slot->plain);
    backup_writer_send(writer, slot);
}

static void finish(struct backup_writer *writer)
{
    while (!backup_writer_idle(writer))
        usleep(100);
}

static void *write_all(void *context)
{
    const int fd = *(int *)context;
    struct backup_writer *writer;
    if (backup_writer_open(fd, 3, NULL, NULL, &writer) != 0)
        return NULL;
    send(writer, BACKUP_HEADER, 0);
    for (unsigned i = 0; i < FRAMES; i++)
        send(writer, i % 5 == 4 ? BACKUP_ZERO : BACKUP_DATA, i);
    send(writer, BACKUP_END, 0);
    finish(writer);
    const int error = backup_writer_error(writer);
    backup_writer_close(writer);
    close(fd);
    return error == 0 ? context : NULL;
}

static int next_to_read(struct backup_reader *reader, struct lanes_slot **slot)
{
    int result;
    while ((result = backup_reader_next(reader, slot)) == 0)
        usleep(100);
    return result;
}

Test(stream, what_goes_into_a_pipe_comes_out_in_its_order)
{
    static uint8_t plain[BACKUP_DATA_BYTES_MAX];
    int ends[2];
    cr_assert_eq(pipe(ends), 0);
    pthread_t thread;
    cr_assert_eq(pthread_create(&thread, NULL, write_all, &ends[1]), 0);
    struct backup_reader *reader;
    cr_assert_eq(backup_reader_open(ends[0], 3, NULL, NULL, &reader), 0);
    struct lanes_slot *slot;
    cr_assert_eq(next_to_read(reader, &slot), 1);
    cr_assert_eq(slot->content.type, BACKUP_HEADER);
    cr_assert_str_eq(slot->content.header.base, "sunday");
    backup_reader_give(reader, slot);
    for (unsigned i = 0; i < FRAMES; i++) {
        const struct backup_extent extent = extent_of(i);
        cr_assert_eq(next_to_read(reader, &slot), 1, "%s", backup_reader_why(reader));
        cr_assert_eq(slot->content.type, i % 5 == 4 ? BACKUP_ZERO : BACKUP_DATA);
        cr_assert_eq(memcmp(slot->content.extents, &extent, sizeof extent), 0);
        made_plain(&extent, 1, (uint8_t)i, plain);
        cr_assert(i % 5 == 4 || memcmp(slot->plain, plain, sizeof plain) == 0, "frame %u", i);
        backup_reader_give(reader, slot);
    }
    cr_assert_eq(next_to_read(reader, &slot), 1);
    cr_assert_eq(slot->content.type, BACKUP_END);
    backup_reader_give(reader, slot);
    cr_assert_eq(next_to_read(reader, &slot), -ENODATA);
    cr_assert_eq(next_to_read(reader, &slot), -ENODATA, "it stays so");
    backup_reader_close(reader);
    void *good;
    pthread_join(thread, &good);
    cr_assert_not_null(good);
    close(ends[0]);
}

Test(stream, slots_that_their_owner_keeps_are_not_handed_out_again)
{
    int ends[2];
    cr_assert_eq(pipe(ends), 0);
    struct backup_writer *writer;
    cr_assert_eq(backup_writer_open(ends[1], 2, NULL, NULL, &writer), 0);
    struct lanes_slot *slots[LANES_SLOTS];
    for (unsigned i = 0; i < LANES_SLOTS; i++)
        cr_assert_not_null(slots[i] = backup_writer_next(writer));
    cr_assert_null(backup_writer_next(writer));
    /* Given in the wrong order: the second waits for the first. */
    slots[0]->content.type = BACKUP_HEADER;
    slots[0]->content.header = made_header(false);
    slots[1]->content.type = BACKUP_END;
    backup_writer_send(writer, slots[1]);
    usleep(20000);
    cr_assert_eq(backup_writer_bytes(writer), 0);
    cr_assert_not(backup_writer_idle(writer));
    backup_writer_send(writer, slots[0]);
    finish(writer);
    cr_assert_eq(backup_writer_error(writer), 0);
    close(ends[1]);
    uint8_t bytes[1000];
    const ssize_t length = read(ends[0], bytes, sizeof bytes);
    cr_assert_eq(length, (ssize_t)backup_writer_bytes(writer));
    cr_assert_eq(read_stream(bytes, (size_t)length).result, -ENODATA);
    cr_assert_eq(backup_writer_next(writer), slots[0]);
    backup_writer_close(writer);
    close(ends[0]);
}

Test(stream, a_pipe_that_nobody_reads_any_more_ends_the_writer)
{
    int ends[2];
    signal(SIGPIPE, SIG_IGN);
    cr_assert_eq(pipe(ends), 0);
    close(ends[0]);
    struct backup_writer *writer;
    cr_assert_eq(backup_writer_open(ends[1], 2, NULL, NULL, &writer), 0);
    send(writer, BACKUP_HEADER, 0);
    for (unsigned i = 0; i < 20; i++)
        send(writer, BACKUP_DATA, i);
    finish(writer);
    cr_assert_eq(backup_writer_error(writer), -EPIPE);
    cr_assert_eq(backup_writer_bytes(writer), 0);
    backup_writer_close(writer);
    close(ends[1]);
}

Test(stream, a_full_disk_is_told_by_its_name)
{
    const int fd = open("/dev/full", O_WRONLY | O_CLOEXEC);
    struct backup_writer *writer;
    cr_assert_eq(backup_writer_open(fd, 1, NULL, NULL, &writer), 0);
    send(writer, BACKUP_HEADER, 0);
    finish(writer);
    cr_assert_eq(backup_writer_error(writer), -ENOSPC);
    backup_writer_close(writer);
    close(fd);
}

Test(stream, closing_does_not_wait_for_the_other_end, .timeout = 10)
{
    int ends[2];
    cr_assert_eq(pipe(ends), 0);
    struct backup_reader *reader;
    cr_assert_eq(backup_reader_open(ends[0], 3, NULL, NULL, &reader), 0);
    usleep(10000);
    backup_reader_close(reader);
    struct backup_writer *writer;
    cr_assert_eq(backup_writer_open(ends[1], 3, NULL, NULL, &writer), 0);
    send(writer, BACKUP_HEADER, 0);
    for (unsigned i = 0; i < 5; i++)
        send(writer, BACKUP_DATA, 2 * i + 1); /* More than a pipe holds. */
    usleep(10000);
    cr_assert_not(backup_writer_idle(writer));
    backup_writer_close(writer);
    close(ends[0]);
    close(ends[1]);
}

Test(stream, what_cannot_be_read_is_told_by_its_name)
{
    const int fd = open("/", O_RDONLY | O_CLOEXEC | O_DIRECTORY);
    struct backup_reader *reader;
    cr_assert_eq(backup_reader_open(fd, 1, NULL, NULL, &reader), 0);
    struct lanes_slot *slot;
    cr_assert_eq(next_to_read(reader, &slot), -EISDIR);
    backup_reader_close(reader);
    close(fd);
}
