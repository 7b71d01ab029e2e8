/* SPDX-License-Identifier: Apache-2.0 */
#include "sim/meta_vfs.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SECTOR_BYTES 512u

enum change_kind { CHANGE_WRITE, CHANGE_TRUNCATE, CHANGE_DELETE };

/* Something done to a file that is not surely on the platter. */
struct change {
    enum change_kind kind;
    uint64_t offset; /* CHANGE_TRUNCATE: the new length. */
    size_t length;
    struct list node;
    uint8_t data[];
};

struct image {
    uint8_t *bytes;
    size_t length;
    size_t capacity;
    bool exists;
};

struct sim_file {
    struct list node;
    struct image now;     /* What readers see. */
    struct image platter; /* What is durable. */
    struct list changes;  /* struct change: what leads from the platter to now. */
    uint32_t handles;
    char name[];
};

/* SQLite's handle. */
struct handle {
    sqlite3_file sqlite;
    struct meta_vfs *vfs;
    struct sim_file *file;
};

static void *must(void *memory)
{
    if (memory == NULL)
        abort();
    return memory;
}

static void image_resize(struct image *image, size_t length)
{
    if (length > image->capacity) {
        image->capacity = MAX(length, image->capacity * 2);
        image->bytes = must(realloc(image->bytes, image->capacity));
    }
    if (length > image->length)
        memset(image->bytes + image->length, 0, length - image->length);
    image->length = length;
}

static void image_write(struct image *image, uint64_t offset, const uint8_t *data, size_t length)
{
    image->exists = true;
    if (length == 0)
        return;
    if (offset + length > image->length)
        image_resize(image, offset + length);
    memcpy(image->bytes + offset, data, length);
}

static void image_copy(struct image *to, const struct image *from)
{
    to->exists = from->exists;
    image_resize(to, from->length);
    if (from->length > 0)
        memcpy(to->bytes, from->bytes, from->length);
}

static void change_apply(struct image *image, const struct change *change)
{
    switch (change->kind) {
    case CHANGE_WRITE: image_write(image, change->offset, change->data, change->length); break;
    case CHANGE_TRUNCATE: image_resize(image, MIN(image->length, change->offset)); break;
    case CHANGE_DELETE:
        image_resize(image, 0);
        image->exists = false;
        break;
    }
}

static void change_add(struct sim_file *file, enum change_kind kind, uint64_t offset,
                       const void *data, size_t length)
{
    struct change *change = must(malloc(sizeof *change + length));
    *change = (struct change){.kind = kind, .offset = offset, .length = length};
    if (length > 0)
        memcpy(change->data, data, length);
    list_push_back(&file->changes, &change->node);
    change_apply(&file->now, change);
}

static void changes_forget(struct sim_file *file)
{
    struct list *node;
    while ((node = list_pop_front(&file->changes)) != NULL)
        free(LIST_ENTRY(node, struct change, node));
}

static void file_sync(struct sim_file *file)
{
    LIST_EACH (&file->changes, node)
        change_apply(&file->platter, LIST_ENTRY(node, struct change, node));
    file->platter.exists = file->now.exists;
    changes_forget(file);
}

/* How many of the writes that touch a sector reached it. One draw per sector and cut. */
struct fate {
    uint32_t touched; /* Writes seen so far. */
    uint32_t kept;    /* Of them, the first so many happened. */
};

static struct fate *fates_draw(struct meta_vfs *vfs, const struct sim_file *file, size_t *ret_count)
{
    uint64_t end = 0;
    LIST_EACH (&file->changes, node) {
        const struct change *change = LIST_ENTRY(node, struct change, node);
        end = MAX(end, change->offset + change->length);
    }
    size_t count = DIV_CEIL(end, SECTOR_BYTES) + 1;
    struct fate *fates = must(calloc(count, sizeof *fates));
    LIST_EACH (&file->changes, node) {
        const struct change *change = LIST_ENTRY(node, struct change, node);
        if (change->kind != CHANGE_WRITE)
            continue;
        for (uint64_t s = change->offset / SECTOR_BYTES;
             s * SECTOR_BYTES < change->offset + change->length; s++)
            fates[s].touched++;
    }
    for (size_t s = 0; s < count; s++) {
        fates[s].kept = (uint32_t)prng_below(&vfs->prng, (uint64_t)fates[s].touched + 1);
        fates[s].touched = 0;
    }
    *ret_count = count;
    return fates;
}

/* The sectors of one write that made it. */
static void write_torn(struct image *image, const struct change *change, struct fate *fates)
{
    uint64_t end = change->offset + change->length;
    for (uint64_t at = change->offset; at < end;) {
        uint64_t sector = at / SECTOR_BYTES;
        uint64_t piece = MIN(end, (sector + 1) * SECTOR_BYTES) - at;
        if (fates[sector].touched++ < fates[sector].kept)
            image_write(image, at, change->data + (at - change->offset), piece);
        at += piece;
    }
}

/* A drawn part of what was not synced. */
static void file_tear(struct meta_vfs *vfs, struct sim_file *file)
{
    size_t count;
    struct fate *fates = fates_draw(vfs, file, &count);
    bool existed = file->platter.exists;
    LIST_EACH (&file->changes, node) {
        const struct change *change = LIST_ENTRY(node, struct change, node);
        if (change->kind == CHANGE_WRITE) {
            write_torn(&file->platter, change, fates);
        } else if (prng_one_in(&vfs->prng, 2)) {
            change_apply(&file->platter, change);
        } else if (change->kind == CHANGE_DELETE) {
            break; /* The name still means the old file: what came later was another's. */
        }
    }
    free(fates);
    /* Its name was never made durable: it may be gone whatever was written to it. */
    if (!existed && prng_one_in(&vfs->prng, 2)) {
        image_resize(&file->platter, 0);
        file->platter.exists = false;
    }
}

static void file_cut(struct meta_vfs *vfs, struct sim_file *file)
{
    uint64_t mood = prng_below(&vfs->prng, 4);
    if (mood == 1) /* Everything had just been written back. */
        file_sync(file);
    else if (mood > 1)
        file_tear(vfs, file);
    changes_forget(file);
    image_copy(&file->now, &file->platter);
}

enum operation_kind { OPERATION_WRITE, OPERATION_SYNC, OPERATION_OTHER };

/* Counts an operation. SQLITE_OK, or why it does not happen. */
static int operation_begin(struct meta_vfs *vfs, enum operation_kind kind)
{
    if (vfs->off)
        return SQLITE_IOERR;
    vfs->operations++;
    bool reached = vfs->fail_first != 0 && vfs->operations >= vfs->fail_first &&
                   vfs->operations <= vfs->fail_last;
    if (reached && (kind == OPERATION_WRITE || vfs->fail_code != SQLITE_FULL) &&
        (kind == OPERATION_SYNC || vfs->fail_code != SQLITE_IOERR_FSYNC)) {
        vfs->system_error = vfs->fail_code == SQLITE_FULL ? ENOSPC : EIO;
        return vfs->fail_code;
    }
    return SQLITE_OK;
}

static int operation_end(struct meta_vfs *vfs)
{
    if (vfs->cut_after != 0 && vfs->operations == vfs->cut_after)
        meta_vfs_power_off(vfs);
    return SQLITE_OK;
}

static struct handle *handle_of(sqlite3_file *sqlite)
{
    return CONTAINER_OF(sqlite, struct handle, sqlite);
}

static int handle_close(sqlite3_file *sqlite)
{
    handle_of(sqlite)->file->handles--;
    return SQLITE_OK;
}

static int handle_read(sqlite3_file *sqlite, void *to, int length, sqlite3_int64 offset)
{
    struct handle *handle = handle_of(sqlite);
    const struct image *now = &handle->file->now;
    size_t want = (size_t)length;
    if (handle->vfs->off)
        return SQLITE_IOERR_READ;
    size_t have = now->length > (uint64_t)offset ? MIN(now->length - (size_t)offset, want) : 0;
    if (have > 0)
        memcpy(to, now->bytes + offset, have);
    memset((uint8_t *)to + have, 0, want - have);
    return have == want ? SQLITE_OK : SQLITE_IOERR_SHORT_READ;
}

/* May this file grow to `end`? */
static bool space_for(struct handle *handle, uint64_t end)
{
    uint64_t used = end - handle->file->now.length;
    if (handle->vfs->space_bytes == 0)
        return true;
    LIST_EACH (&handle->vfs->files, node) {
        used += LIST_ENTRY(node, struct sim_file, node)->now.length;
    }
    return used <= handle->vfs->space_bytes;
}

static int handle_write(sqlite3_file *sqlite, const void *from, int length, sqlite3_int64 offset)
{
    struct handle *handle = handle_of(sqlite);
    int code = operation_begin(handle->vfs, OPERATION_WRITE);
    if (code != SQLITE_OK)
        return code;
    uint64_t end = (uint64_t)offset + (uint64_t)length;
    if (end > handle->file->now.length && !space_for(handle, end))
        return SQLITE_FULL;
    change_add(handle->file, CHANGE_WRITE, (uint64_t)offset, from, (size_t)length);
    handle->vfs->bytes_written += (uint64_t)length;
    return operation_end(handle->vfs);
}

static int handle_truncate(sqlite3_file *sqlite, sqlite3_int64 length)
{
    struct handle *handle = handle_of(sqlite);
    int code = operation_begin(handle->vfs, OPERATION_OTHER);
    if (code != SQLITE_OK)
        return code;
    change_add(handle->file, CHANGE_TRUNCATE, (uint64_t)length, NULL, 0);
    return operation_end(handle->vfs);
}

static int handle_sync(sqlite3_file *sqlite, int flags)
{
    struct handle *handle = handle_of(sqlite);
    (void)flags;
    int code = operation_begin(handle->vfs, OPERATION_SYNC);
    handle->vfs->syncs++;
    if (code != SQLITE_OK) {
        if (!handle->vfs->off) {
            file_tear(handle->vfs, handle->file);
            changes_forget(handle->file);
        }
        return code;
    }
    if (!handle->vfs->sync_lies)
        file_sync(handle->file);
    return operation_end(handle->vfs);
}

static int handle_size(sqlite3_file *sqlite, sqlite3_int64 *ret_length)
{
    *ret_length = (sqlite3_int64)handle_of(sqlite)->file->now.length;
    return SQLITE_OK;
}

static int handle_lock(sqlite3_file *sqlite, int level)
{
    (void)sqlite;
    (void)level;
    return SQLITE_OK;
}

static int handle_reserved(sqlite3_file *sqlite, int *ret_reserved)
{
    (void)sqlite;
    *ret_reserved = 0;
    return SQLITE_OK;
}

static int handle_control(sqlite3_file *sqlite, int operation, void *argument)
{
    (void)sqlite;
    (void)operation;
    (void)argument;
    return SQLITE_NOTFOUND;
}

static int handle_sector(sqlite3_file *sqlite)
{
    (void)sqlite;
    return SECTOR_BYTES;
}

/* As the system's VFS says by default, and true here: a write touches no byte beside its own. */
static int handle_traits(sqlite3_file *sqlite)
{
    (void)sqlite;
    return SQLITE_IOCAP_POWERSAFE_OVERWRITE;
}

static const sqlite3_io_methods handle_methods = {
    .iVersion = 1, /* No shared memory: whoever opens must be exclusive. */
    .xClose = handle_close,
    .xRead = handle_read,
    .xWrite = handle_write,
    .xTruncate = handle_truncate,
    .xSync = handle_sync,
    .xFileSize = handle_size,
    .xLock = handle_lock,
    .xUnlock = handle_lock,
    .xCheckReservedLock = handle_reserved,
    .xFileControl = handle_control,
    .xSectorSize = handle_sector,
    .xDeviceCharacteristics = handle_traits,
};

static struct sim_file *file_find(struct meta_vfs *vfs, const char *name)
{
    LIST_EACH (&vfs->files, node) {
        struct sim_file *file = LIST_ENTRY(node, struct sim_file, node);
        if (strcmp(file->name, name) == 0)
            return file;
    }
    return NULL;
}

static struct sim_file *file_create(struct meta_vfs *vfs, const char *name)
{
    struct sim_file *file = must(calloc(1, sizeof *file + strlen(name) + 1));
    memcpy(file->name, name, strlen(name) + 1);
    list_init(&file->changes);
    list_push_back(&vfs->files, &file->node);
    return file;
}

static struct meta_vfs *vfs_of(sqlite3_vfs *sqlite)
{
    return CONTAINER_OF(sqlite, struct meta_vfs, sqlite);
}

static int vfs_open(sqlite3_vfs *sqlite, sqlite3_filename name, sqlite3_file *to, int flags,
                    int *ret_flags)
{
    struct meta_vfs *vfs = vfs_of(sqlite);
    struct handle *handle = handle_of(to);
    to->pMethods = NULL;
    if (vfs->off)
        return SQLITE_IOERR;
    struct sim_file *file = name == NULL ? NULL : file_find(vfs, name);
    bool exists = file != NULL && file->now.exists;
    if (name == NULL || (!exists && (flags & SQLITE_OPEN_CREATE) == 0)) {
        vfs->system_error = ENOENT;
        return SQLITE_CANTOPEN;
    }
    if (file == NULL)
        file = file_create(vfs, name);
    file->now.exists = true;
    file->handles++;
    *handle = (struct handle){.sqlite.pMethods = &handle_methods, .vfs = vfs, .file = file};
    if (ret_flags != NULL)
        *ret_flags = flags;
    return SQLITE_OK;
}

static int vfs_delete(sqlite3_vfs *sqlite, const char *name, int sync_directory)
{
    struct meta_vfs *vfs = vfs_of(sqlite);
    int code = operation_begin(vfs, OPERATION_OTHER);
    if (code != SQLITE_OK)
        return code;
    struct sim_file *file = file_find(vfs, name);
    if (file == NULL || !file->now.exists) {
        operation_end(vfs);
        return SQLITE_IOERR_DELETE_NOENT;
    }
    change_add(file, CHANGE_DELETE, 0, NULL, 0);
    if (sync_directory && !vfs->sync_lies)
        file_sync(file);
    return operation_end(vfs);
}

static int vfs_access(sqlite3_vfs *sqlite, const char *name, int flags, int *ret_yes)
{
    struct meta_vfs *vfs = vfs_of(sqlite);
    (void)flags;
    if (vfs->off)
        return SQLITE_IOERR_ACCESS;
    const struct sim_file *file = file_find(vfs, name);
    *ret_yes = file != NULL && file->now.exists;
    return SQLITE_OK;
}

static int vfs_full_name(sqlite3_vfs *sqlite, const char *name, int length, char *ret_name)
{
    (void)sqlite;
    (void)snprintf(ret_name, (size_t)length, "%s", name);
    return SQLITE_OK;
}

static int vfs_random(sqlite3_vfs *sqlite, int length, char *ret_bytes)
{
    for (int i = 0; i < length; i++)
        ret_bytes[i] = (char)prng_next(&vfs_of(sqlite)->prng);
    return length;
}

static int vfs_sleep(sqlite3_vfs *sqlite, int microseconds)
{
    (void)sqlite;
    return microseconds;
}

static int vfs_time(sqlite3_vfs *sqlite, double *ret_day)
{
    (void)sqlite;
    *ret_day = 2460000.5;
    return SQLITE_OK;
}

static int vfs_last_error(sqlite3_vfs *sqlite, int length, char *text)
{
    (void)length;
    (void)text;
    return vfs_of(sqlite)->system_error;
}

void meta_vfs_open(struct meta_vfs *vfs, uint64_t seed)
{
    *vfs = (struct meta_vfs){.prng.state = seed};
    list_init(&vfs->files);
    (void)snprintf(vfs->name, sizeof vfs->name, "sim-%p", (void *)vfs);
    vfs->sqlite = (sqlite3_vfs){
        .iVersion = 1,
        .szOsFile = sizeof(struct handle),
        .mxPathname = 512,
        .zName = vfs->name,
        .xOpen = vfs_open,
        .xDelete = vfs_delete,
        .xAccess = vfs_access,
        .xFullPathname = vfs_full_name,
        .xRandomness = vfs_random,
        .xSleep = vfs_sleep,
        .xCurrentTime = vfs_time,
        .xGetLastError = vfs_last_error,
    };
    if (sqlite3_vfs_register(&vfs->sqlite, 0) != SQLITE_OK)
        abort();
}

void meta_vfs_close(struct meta_vfs *vfs)
{
    struct list *node;
    while ((node = list_pop_front(&vfs->files)) != NULL) {
        struct sim_file *file = LIST_ENTRY(node, struct sim_file, node);
        assert(file->handles == 0);
        changes_forget(file);
        free(file->now.bytes);
        free(file->platter.bytes);
        free(file);
    }
    sqlite3_vfs_unregister(&vfs->sqlite);
}

void meta_vfs_power_off(struct meta_vfs *vfs)
{
    if (vfs->off)
        return;
    vfs->off = true;
    vfs->system_error = EIO;
    if (vfs->on_cut != NULL)
        vfs->on_cut(vfs->on_cut_context);
}

void meta_vfs_restart(struct meta_vfs *vfs)
{
    LIST_EACH (&vfs->files, node) {
        struct sim_file *file = LIST_ENTRY(node, struct sim_file, node);
        assert(file->handles == 0);
        file_cut(vfs, file);
    }
    vfs->off = false;
    vfs->cut_after = 0;
    vfs->fail_first = vfs->fail_last = 0;
    vfs->sync_lies = false;
}

uint8_t *meta_vfs_bytes(struct meta_vfs *vfs, const char *path, size_t *ret_length)
{
    struct sim_file *file = file_find(vfs, path);
    if (file == NULL || !file->now.exists)
        return NULL;
    *ret_length = file->now.length;
    return file->now.bytes;
}

void meta_vfs_put(struct meta_vfs *vfs, const char *path, const void *bytes, size_t length)
{
    struct sim_file *file = file_find(vfs, path);
    if (file == NULL)
        file = file_create(vfs, path);
    change_add(file, CHANGE_TRUNCATE, 0, NULL, 0);
    change_add(file, CHANGE_WRITE, 0, bytes, length);
    file->now.exists = true;
    file_sync(file);
}

void meta_vfs_damage(struct meta_vfs *vfs, const char *path, size_t offset, uint8_t xor_with)
{
    struct sim_file *file = file_find(vfs, path);
    assert(file != NULL && offset < file->now.length);
    file->now.bytes[offset] ^= xor_with;
    if (offset < file->platter.length)
        file->platter.bytes[offset] ^= xor_with;
}
