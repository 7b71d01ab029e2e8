/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A backup stream on a descriptor: a file, a pipe, a socket.
 *
 * One thread owns a writer or reader and calls everything here; a few threads of its own pack,
 * unpack and move the bytes, and tell by `notify`, from one of them, that there may be something
 * to do. Nothing waits but backup_…_close(), and that only for threads that end at once.
 */
#ifndef BACKUP_STREAM_H
#define BACKUP_STREAM_H

#include "backup/lanes.h"

typedef void backup_notify_fn(void *context);

/* --- Writing ------------------------------------------------------------------------------- */

struct backup_writer;

/* `fd` stays the caller's. 0, -ENOMEM, -EAGAIN. */
int backup_writer_open(int fd, unsigned threads, backup_notify_fn *notify, void *context,
                       struct backup_writer **ret_writer);
/* The next frame to fill in: content.type, and by it header, count and extents, or those and
 * plain. NULL: all are on their way. */
struct lanes_slot *backup_writer_next(struct backup_writer *writer);
/* Filled in: it goes out once all that were next before it have. */
void backup_writer_send(struct backup_writer *writer, struct lanes_slot *slot);
/* Everything that was sent is out, or never will be. */
bool backup_writer_idle(struct backup_writer *writer);
/* 0, or the errno that ended it; then the rest goes nowhere. */
int backup_writer_error(const struct backup_writer *writer);
/* Bytes of the stream that are out. */
uint64_t backup_writer_bytes(const struct backup_writer *writer);
/* NULL is fine. */
void backup_writer_close(struct backup_writer *writer);

/* --- Reading ------------------------------------------------------------------------------- */

struct backup_reader;

int backup_reader_open(int fd, unsigned threads, backup_notify_fn *notify, void *context,
                       struct backup_reader **ret_reader);
/*
 * The next frame. 1: *ret_slot is good and follows from all before it, yours until
 * backup_reader_give(); a type that is not known has been left out. 0: it is not there yet.
 * -ENODATA: the stream has ended, as it should. -EBADMSG: it is refused, and backup_reader_why()
 * says why. Else the errno of reading. After a negative answer there are no more.
 */
int backup_reader_next(struct backup_reader *reader, struct lanes_slot **ret_slot);
void backup_reader_give(struct backup_reader *reader, struct lanes_slot *slot);
/* "frame 12 at byte 345: a checksum is wrong: …" */
const char *backup_reader_why(const struct backup_reader *reader);
/* Bytes of the stream that were taken. */
uint64_t backup_reader_bytes(const struct backup_reader *reader);
/* NULL is fine. */
void backup_reader_close(struct backup_reader *reader);

#endif
