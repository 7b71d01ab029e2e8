/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Opening the file without changing a byte of it, or of its directory.
 *
 * Without a log beside it, it is opened as immutable: no locks, no log is made. A log (its process
 * was killed) is read where it stands: SQLite finds its transactions and keeps their index in
 * memory; nothing is copied home, and the log is neither cut nor removed. SQLite means to own a log
 * that it reads, so it does so through a VFS that opens for reading only whatever it is asked for
 * (left to itself SQLite sets the log's owner) and deletes nothing. That one has no locks, for they
 * need a file that may be written; whoever opens a pool holds its devices.
 *
 * A rollback journal cannot be read like this (SQLite would have to play it back) and is refused:
 * the making of the metadata was interrupted, so there is no pool in it.
 */
#include <stdio.h>
#include <stdlib.h>

#include "meta/sqlite/inside.h"

/* SQLite's VFS for the system without locks. */
#define VFS_UNLOCKED "unix-none"

/* --- A VFS that changes nothing ------------------------------------------------------------ */

struct meta_sqlite_guard {
    sqlite3_vfs vfs;
    sqlite3_vfs *base;
    char name[32];
};

static sqlite3_vfs *base_of(sqlite3_vfs *vfs)
{
    return CONTAINER_OF(vfs, struct meta_sqlite_guard, vfs)->base;
}

static int guard_open(sqlite3_vfs *vfs, sqlite3_filename name, sqlite3_file *file, int flags,
                      int *ret_flags)
{
    int kind = flags & SQLITE_OPEN_MAIN_DB ? SQLITE_OPEN_MAIN_DB : SQLITE_OPEN_SUPER_JOURNAL;
    int code = base_of(vfs)->xOpen(base_of(vfs), name, file, SQLITE_OPEN_READONLY | kind, NULL);
    if (code == SQLITE_OK && ret_flags != NULL)
        *ret_flags = (flags & ~SQLITE_OPEN_READWRITE & ~SQLITE_OPEN_CREATE) | SQLITE_OPEN_READONLY;
    return code;
}

static int guard_delete(sqlite3_vfs *vfs, const char *name, int sync_directory)
{
    (void)vfs;
    (void)name;
    (void)sync_directory;
    return SQLITE_READONLY;
}

static int guard_access(sqlite3_vfs *vfs, const char *name, int flags, int *ret_answer)
{
    return base_of(vfs)->xAccess(base_of(vfs), name, flags, ret_answer);
}

static int guard_path(sqlite3_vfs *vfs, const char *name, int size, char *ret_path)
{
    return base_of(vfs)->xFullPathname(base_of(vfs), name, size, ret_path);
}

static int guard_randomness(sqlite3_vfs *vfs, int size, char *ret_bytes)
{
    return base_of(vfs)->xRandomness(base_of(vfs), size, ret_bytes);
}

static int guard_sleep(sqlite3_vfs *vfs, int microseconds)
{
    return base_of(vfs)->xSleep(base_of(vfs), microseconds);
}

/* Nothing here asks what time it is. */
static int guard_time(sqlite3_vfs *vfs, sqlite3_int64 *ret_time)
{
    (void)vfs;
    *ret_time = 0;
    return SQLITE_OK;
}

static int guard_error(sqlite3_vfs *vfs, int size, char *ret_text)
{
    return base_of(vfs)->xGetLastError(base_of(vfs), size, ret_text);
}

static int guard_register(const char *base_name, struct meta_sqlite_guard **ret_guard)
{
    sqlite3_vfs *base = sqlite3_vfs_find(base_name);
    struct meta_sqlite_guard *guard = base != NULL ? calloc(1, sizeof *guard) : NULL;
    if (guard == NULL)
        return base == NULL ? -ENOTSUP : -ENOMEM;
    guard->base = base;
    guard->vfs = (sqlite3_vfs){
        .iVersion = 2,
        .szOsFile = base->szOsFile,
        .mxPathname = base->mxPathname,
        .zName = guard->name,
        .xOpen = guard_open,
        .xDelete = guard_delete,
        .xAccess = guard_access,
        .xFullPathname = guard_path,
        .xRandomness = guard_randomness,
        .xSleep = guard_sleep,
        .xCurrentTimeInt64 = guard_time,
        .xGetLastError = guard_error,
    };
    (void)snprintf(guard->name, sizeof guard->name, "unchanged-%p", (void *)guard);
    if (sqlite3_vfs_register(&guard->vfs, 0) != SQLITE_OK) {
        free(guard);
        return -ENOMEM;
    }
    *ret_guard = guard;
    return 0;
}

void meta_sqlite_guard_done(struct meta_sqlite_guard *guard)
{
    if (guard != NULL)
        sqlite3_vfs_unregister(&guard->vfs);
    free(guard);
}

/* --- Opening ------------------------------------------------------------------------------- */

static int beside_exists(const char *path, const char *suffix, const char *vfs_name,
                         bool *ret_exists)
{
    sqlite3_vfs *vfs = sqlite3_vfs_find(vfs_name);
    char *name = sqlite3_mprintf("%s%s", path, suffix);
    int exists = 0;
    int code = SQLITE_NOMEM;
    if (vfs != NULL && name != NULL)
        code = vfs->xAccess(vfs, name, SQLITE_ACCESS_EXISTS, &exists);
    sqlite3_free(name);
    *ret_exists = exists != 0;
    return code == SQLITE_OK ? 0 : FAIL(-EIO, "cannot look beside the metadata %s", path);
}

/* A path as a URI: what has a meaning there is escaped. */
static char *immutable_uri(const char *path)
{
    sqlite3_str *text = sqlite3_str_new(NULL);
    sqlite3_str_appendall(text, "file:");
    for (; *path != '\0'; path++) {
        if (strchr("%?#", *path) != NULL)
            sqlite3_str_appendf(text, "%%%02x", *path);
        else
            sqlite3_str_appendchar(text, 1, *path);
    }
    sqlite3_str_appendall(text, "?immutable=1");
    return sqlite3_str_finish(text);
}

static int open_immutable(struct meta_sqlite_file *file, const char *path, const char *vfs)
{
    char *uri = immutable_uri(path);
    if (uri == NULL)
        return FAIL(-ENOMEM, "no memory to open the metadata %s", path);
    int result = meta_sqlite_file_inspect(file, path, uri, vfs, SQLITE_OPEN_URI);
    sqlite3_free(uri);
    return result;
}

static int open_with_log(struct meta_sqlite_file *file, const char *path, const char *vfs)
{
    struct meta_sqlite_guard *guard;
    int result = guard_register(vfs != NULL ? vfs : VFS_UNLOCKED, &guard);
    if (result != 0)
        return FAIL(result, "cannot open the metadata %s unchanged: %s", path,
                    base_error_text(result));
    result = meta_sqlite_file_inspect(file, path, path, guard->name, 0);
    if (result == 0)
        file->guard = guard;
    else
        meta_sqlite_guard_done(guard);
    return result;
}

int meta_sqlite_file_open_unchanged(struct meta_sqlite_file *file, const char *path,
                                    const char *vfs)
{
    bool log;
    bool journal;
    int result = beside_exists(path, "-wal", vfs, &log);
    if (result == 0)
        result = beside_exists(path, "-journal", vfs, &journal);
    if (result != 0)
        return result;
    if (journal)
        return FAIL(-ENOENT,
                    "the metadata %s was never completely created: %s-journal is left of it", path,
                    path);
    return log ? open_with_log(file, path, vfs) : open_immutable(file, path, vfs);
}
