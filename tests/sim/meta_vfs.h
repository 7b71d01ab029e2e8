/* SPDX-License-Identifier: Apache-2.0 */
/*
 * meta_vfs: SQLite's files on a disk in memory whose power can be cut.
 *
 * A VFS of SQLite's own kind, so that the shipped lib/meta/sqlite runs on it unchanged: open it
 * with `.vfs = vfs.name` and any path. Everything that it draws (what a cut leaves, SQLite's salts)
 * comes from its seed: the same seed and the same calls leave the same bytes. One thread.
 *
 * What a file is: what its readers see now, what is surely on the platter, and the writes between.
 * A sync moves all of them to the platter. A cut leaves, for each sector of 512 bytes on its own,
 * the sector as it was after a drawn number of those writes: none, all or some; so a write may be
 * lost, torn, or overtaken by a later one. Files that were created but never synced, deletions and
 * truncations that nothing made durable, may have happened or not.
 *
 * An operation is a write, truncation, sync or deletion. They are counted, so that a test can run
 * once, see how many there were, and cut after each in turn:
 *
 *     struct meta_vfs vfs;
 *     meta_vfs_open(&vfs, seed);
 *     vfs.cut_after = n;                  the n-th operation is the last that happens
 *     ... meta_sqlite_open(), transactions; after the cut everything fails with IOMESH_… codes ...
 *     meta_close(meta);                   writes nothing any more
 *     meta_vfs_restart(&vfs);             power again: only what survived is there
 *     ... meta_sqlite_open() again, and look ...
 *     meta_vfs_close(&vfs);
 *
 * Beside a world (tests/sim/world.h): when the world's power goes, meta_vfs_power_off(); when the
 * cut is this one's, `on_cut` tells the world. One power for both.
 */
#ifndef SIM_META_VFS_H
#define SIM_META_VFS_H

#include <sqlite3.h>

#include "base/base.h"

struct meta_vfs {
    sqlite3_vfs sqlite; /* SQLite's. */
    char name[32];      /* For meta_sqlite_options.vfs. */
    struct prng prng;
    struct list files;
    uint64_t operations; /* So far. */
    uint64_t syncs;      /* Of them. */
    uint64_t bytes_written;

    /* Faults. Set and clear them at any time. */
    uint64_t cut_after; /* Power goes after this operation; 0: never. */
    void (*on_cut)(void *context);
    void *on_cut_context;
    /* Operations fail_first .. fail_last (0: none) fail with this code of SQLite's: SQLITE_FULL
     * (writes only), SQLITE_IOERR_FSYNC (syncs only), SQLITE_IOERR_WRITE. A failed sync forgets
     * what it was to write, as page caches do: some of it never reaches the platter, and the next
     * sync will not say so. */
    uint64_t fail_first;
    uint64_t fail_last;
    int fail_code;
    uint64_t space_bytes; /* All files together grow no further: SQLITE_FULL. 0: without end. */
    bool sync_lies;       /* A planted bug: syncs do nothing and say that they did. */

    bool off;
    int system_error; /* As errno, of the last refusal. */
};

/* Registers with SQLite under a name made from its address. */
void meta_vfs_open(struct meta_vfs *vfs, uint64_t seed);
/* Every file is gone. Nothing has one open. */
void meta_vfs_close(struct meta_vfs *vfs);

void meta_vfs_power_off(struct meta_vfs *vfs);
/* Draws what survived, and turns power on; faults are cleared. Nothing has a file open. */
void meta_vfs_restart(struct meta_vfs *vfs);

/* A file's bytes as its readers see them, for tests that damage them. NULL if there is none. */
uint8_t *meta_vfs_bytes(struct meta_vfs *vfs, const char *path, size_t *ret_length);
/* A file with just these bytes, made if it is not there, all of it durable. */
void meta_vfs_put(struct meta_vfs *vfs, const char *path, const void *bytes, size_t length);
/* The same change to what is on the platter: damage, not a write. */
void meta_vfs_damage(struct meta_vfs *vfs, const char *path, size_t offset, uint8_t xor_with);

#endif
