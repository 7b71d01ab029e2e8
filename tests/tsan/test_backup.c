/* SPDX-License-Identifier: Apache-2.0 */
/* A backup stream through a pipe: the threads of its writer and of its reader. */
#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "backup/stream.h"

enum { FRAMES = 100 };

static void told(void *context)
{
    __atomic_add_fetch((unsigned *)context, 1, __ATOMIC_RELAXED);
}

static void send(struct backup_writer *writer, uint16_t type, unsigned number)
{
    struct lanes_slot *slot;
    while ((slot = backup_writer_next(writer)) == NULL)
        usleep(100);
    struct backup_content *content = &slot->content;
    content->type = type;
    content->count = 1;
    content->extents[0] = (struct backup_extent){(uint64_t)number << 20, 65536};
    if (type == BACKUP_HEADER) {
        content->header =
            (struct backup_header){.volume_bytes = UINT64_C(1) << 30, .sector_bytes = 4096};
        content->header.snapshot_uuid[0] = 1;
        content->header.volume[0] = content->header.snapshot[0] = 'x';
    }
    memset(slot->plain, (int)number, 65536);
    backup_writer_send(writer, slot);
}

static void *write_all(void *context)
{
    const int fd = *(int *)context;
    unsigned notes = 0;
    struct backup_writer *writer;
    int result = backup_writer_open(fd, 3, told, &notes, &writer);
    assert(result == 0);
    send(writer, BACKUP_HEADER, 0);
    for (unsigned i = 0; i < FRAMES; i++)
        send(writer, BACKUP_DATA, i);
    send(writer, BACKUP_END, 0);
    while (!backup_writer_idle(writer))
        usleep(100);
    assert(backup_writer_error(writer) == 0);
    backup_writer_close(writer);
    assert(notes == FRAMES + 2);
    close(fd);
    return NULL;
}

static unsigned read_all(int fd)
{
    unsigned notes = 0;
    unsigned frames = 0;
    struct backup_reader *reader;
    int result = backup_reader_open(fd, 3, told, &notes, &reader);
    assert(result == 0);
    struct lanes_slot *slot;
    while ((result = backup_reader_next(reader, &slot)) >= 0) {
        if (result == 0) {
            usleep(100);
            continue;
        }
        assert(slot->content.type != BACKUP_DATA || slot->plain[65535] == frames - 1);
        frames++;
        backup_reader_give(reader, slot);
    }
    assert(result == -ENODATA);
    backup_reader_close(reader);
    return frames;
}

int main(void)
{
    int ends[2];
    int result = pipe(ends);
    assert(result == 0);
    pthread_t thread;
    result = pthread_create(&thread, NULL, write_all, &ends[1]);
    assert(result == 0);
    const unsigned frames = read_all(ends[0]);
    assert(frames == FRAMES + 2);
    pthread_join(thread, NULL);
    puts("tests: 1 passed, 0 failed");
    return 0;
}
