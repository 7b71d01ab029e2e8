/* SPDX-License-Identifier: Apache-2.0 */
#include "fault/failing.h"

#include <errno.h>
#include <sqlite3.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/types.h>

#include "host/disk.h"
#include <liburing.h>

const char *const failing_names[FAILINGS] = {
    "read-eio",    "read-short", "read-nothing", "read-bad", "write-eio", "write-eio-after",
    "write-short", "write-full", "flush-eio",    "meta-eio", "meta-full"};

static enum failing kind;
static uint64_t at; /* 0: nothing fails. */
static uint64_t count;
static bool fired;
static const struct disk_io *victim; /* In flight, and to fail. */
static uint64_t bad_from, bad_to;    /* Bytes that cannot be read. */

/* SQLite has a thread of its own. */
static atomic_uint_fast64_t meta_count, meta_at;
static atomic_bool meta_fired;

/* --- Below the ring ------------------------------------------------------------------------- */

/* As the linker calls what it puts between, and what that stands before. */
void real_prepare(struct disk_io *io,
                  struct io_uring_sqe *sqe) __asm__("__real_uring_disk_prepare");
void real_completed(struct disk_io *io, int result) __asm__("__real_uring_disk_completed");
void failing_prepare(struct disk_io *io,
                     struct io_uring_sqe *sqe) __asm__("__wrap_uring_disk_prepare");
void failing_completed(struct disk_io *io, int result) __asm__("__wrap_uring_disk_completed");

static bool concerns(const struct disk_io *io)
{
    switch (io->kind) {
    case DISK_READ: return kind <= READ_BAD;
    case DISK_WRITE:
    case DISK_ZERO: return kind >= WRITE_EIO && kind <= WRITE_FULL;
    case DISK_FLUSH: return kind == FLUSH_EIO;
    default: return false;
    }
}

void failing_prepare(struct disk_io *io, struct io_uring_sqe *sqe)
{
    real_prepare(io, sqe);
    if (at == 0 || !concerns(io) || ++count != at)
        return;
    fired = true;
    if (kind == READ_BAD) {
        bad_from = io->offset_bytes;
        bad_to = bad_from + io->length_bytes;
        return;
    }
    victim = io;
    if (kind == READ_SHORT || kind == WRITE_SHORT)
        sqe->len = sqe->len / 2 - sqe->len / 2 % io->disk->block_bytes;
    else if (kind != WRITE_EIO_AFTER)
        io_uring_prep_nop(sqe);
}

void failing_completed(struct disk_io *io, int result)
{
    static const int results[FAILINGS] = {
        [READ_EIO] = -EIO,      [WRITE_EIO] = -EIO, [WRITE_EIO_AFTER] = -EIO,
        [WRITE_FULL] = -ENOSPC, [FLUSH_EIO] = -EIO, [READ_NOTHING] = 0};
    if (io->kind == DISK_READ && io->offset_bytes < bad_to &&
        bad_from < io->offset_bytes + io->length_bytes)
        result = -EIO;
    if (io == victim) {
        victim = NULL;
        if (kind != READ_SHORT && kind != WRITE_SHORT)
            result = results[kind];
    }
    real_completed(io, result);
}

/* --- Below SQLite --------------------------------------------------------------------------- */

typedef ssize_t pwrite_fn(int fd, const void *data, size_t bytes, off_t offset);
static pwrite_fn *meta_pwrite;

static ssize_t failing_pwrite(int fd, const void *data, size_t bytes, off_t offset)
{
    uint64_t n = atomic_fetch_add(&meta_count, 1) + 1;
    if (n == atomic_load(&meta_at)) {
        atomic_store(&meta_fired, true);
        errno = kind == META_FULL ? ENOSPC : EIO;
        return -1;
    }
    return meta_pwrite(fd, data, bytes, offset);
}

bool failing_open(void)
{
    static const char *const names[] = {"pwrite64", "pwrite"};
    if (sqlite3_initialize() != SQLITE_OK)
        return false;
    sqlite3_vfs *vfs = sqlite3_vfs_find(NULL);
    for (unsigned i = 0; vfs != NULL && i < COUNT_OF(names); i++) {
        sqlite3_syscall_ptr old = vfs->xGetSystemCall(vfs, names[i]);
        if (old == NULL)
            continue;
        meta_pwrite = (pwrite_fn *)old;
        return vfs->xSetSystemCall(vfs, names[i], (sqlite3_syscall_ptr)failing_pwrite) == SQLITE_OK;
    }
    return false;
}

/* --- Both ----------------------------------------------------------------------------------- */

void failing_arm(enum failing failing, uint64_t n)
{
    bool meta = failing >= META_EIO;
    kind = failing;
    fired = false;
    count = 0;
    at = meta ? 0 : n;
    atomic_store(&meta_fired, false);
    atomic_store(&meta_at, meta ? atomic_load(&meta_count) + n : 0);
}

bool failing_flying(void)
{
    return victim != NULL;
}

bool failing_mend(void)
{
    at = bad_from = bad_to = 0;
    atomic_store(&meta_at, 0);
    return fired || atomic_load(&meta_fired);
}
