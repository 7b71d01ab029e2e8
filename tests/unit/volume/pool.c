/* SPDX-License-Identifier: Apache-2.0 */
#include "pool.h"

struct catalog_rig rig;
struct catalog_info shown;
char shown_name[CATALOG_NAME_BYTES_MAX + 1];
char shown_parent[CATALOG_NAME_BYTES_MAX + 1];
struct listed found[LISTED_MAX];
unsigned found_count;

void pool_open(void)
{
    catalog_rig_open(&rig, 1, NULL);
    rig.catalog_options.id_lot = 4;
    rig.catalog_options.sequence_lot = 16;
    cr_assert(catalog_rig_format(&rig), "%s", rig.wrong);
    cr_assert(catalog_rig_start(&rig), "%s", rig.wrong);
}

void pool_reopen(void)
{
    cr_assert(catalog_rig_stop(&rig), "%s", rig.wrong);
    cr_assert(catalog_rig_start(&rig), "%s", rig.wrong);
}

void pool_power_cut(void)
{
    catalog_rig_crash(&rig, true);
    cr_assert(catalog_rig_start(&rig), "%s", rig.wrong);
}

void pool_close(void)
{
    cr_assert(catalog_rig_stop(&rig), "%s", rig.wrong);
    cr_assert(catalog_rig_check(&rig), "%s", rig.wrong);
    catalog_rig_close(&rig);
}

void pool_settle(void)
{
    cr_assert(catalog_rig_settle(&rig), "%s", rig.wrong);
}

void wait_ended(void)
{
    cr_assert(catalog_rig_wait(&rig, &rig.waiting, "operation"), "%s", rig.wrong);
}

static int ended(int accepted)
{
    if (accepted != 0)
        return accepted;
    cr_assert(rig.waiting, "it ended inside the call");
    wait_ended();
    return rig.ended;
}

int create(const char *name, uint64_t bytes)
{
    struct catalog_create what = {.bytes = bytes, .sector_bytes = 512};
    rig.waiting = true;
    return ended(catalog_create(rig.catalog, name, &what, catalog_rig_ended, &rig));
}

int delete (const char *name)
{
    rig.waiting = true;
    return ended(catalog_delete(rig.catalog, name, catalog_rig_ended, &rig));
}

int resize(const char *name, uint64_t bytes, bool force)
{
    rig.waiting = true;
    return ended(catalog_resize(rig.catalog, name, bytes, force, catalog_rig_ended, &rig));
}

static void note_info(void *context, const struct catalog_info *info)
{
    (void)context;
    shown = *info;
    memcpy(shown_name, info->name, strlen(info->name) + 1);
    shown.name = shown_name;
    shown_parent[0] = '\0';
    if (info->parent != NULL)
        memcpy(shown_parent, info->parent, strlen(info->parent) + 1);
}

int show(const char *name)
{
    rig.waiting = true;
    return ended(catalog_show(rig.catalog, name, note_info, catalog_rig_ended, &rig));
}

static struct catalog_handle *opened;

static void note_opened(void *context, int result, struct catalog_handle *handle)
{
    cr_assert_eq(result == 0, handle != NULL);
    opened = handle;
    catalog_rig_ended(context, result);
}

int handle_open(const char *name, bool read_only, struct catalog_handle **ret_handle)
{
    rig.waiting = true;
    int result = ended(catalog_handle_open(rig.catalog, name, read_only, note_opened, &rig));
    if (result == 0)
        *ret_handle = opened;
    return result;
}

int handle_close(struct catalog_handle *handle)
{
    rig.waiting = true;
    catalog_handle_close(handle, catalog_rig_ended, &rig);
    return ended(0);
}

static uint8_t block[BLOCK_BYTES] __attribute__((aligned(BLOCK_BYTES)));

static void io_done(struct volume_io *io, int result)
{
    (void)io;
    catalog_rig_ended(&rig, result);
}

static int block_io(struct catalog_handle *handle, enum volume_io_kind kind, uint64_t offset)
{
    static struct volume_io io;
    io.kind = kind;
    io.flags = kind == VOLUME_WRITE ? VOLUME_FUA : 0;
    io.offset = offset;
    io.length = sizeof block;
    io.data = block;
    io.done = io_done;
    rig.waiting = true;
    volume_submit(catalog_handle_volume(handle), &io);
    return ended(0);
}

int block_write(struct catalog_handle *handle, uint64_t offset, uint8_t byte)
{
    memset(block, byte, sizeof block);
    return block_io(handle, VOLUME_WRITE, offset);
}

int block_read(struct catalog_handle *handle, uint64_t offset)
{
    int result = block_io(handle, VOLUME_READ, offset);
    if (result != 0)
        return result;
    for (size_t i = 1; i < sizeof block; i++) {
        if (block[i] != block[0])
            return -1;
    }
    return block[0];
}

/* --- Snapshots ------------------------------------------------------------------------------ */

static void uuid_draw(uint8_t uuid[16])
{
    static uint8_t next;
    memset(uuid, 0, 16);
    uuid[0] = ++next;
}

int snapshot_create(const char *volume, const char *snapshot)
{
    uint8_t uuid[16];
    uuid_draw(uuid);
    rig.waiting = true;
    return ended(
        catalog_snapshot_create(rig.catalog, volume, snapshot, uuid, catalog_rig_ended, &rig));
}

int snapshot_delete(const char *volume, const char *snapshot)
{
    rig.waiting = true;
    return ended(catalog_snapshot_delete(rig.catalog, volume, snapshot, catalog_rig_ended, &rig));
}

static void note_snapshot(void *context, const struct catalog_snapshot *snapshot)
{
    (void)context;
    cr_assert_lt(found_count, LISTED_MAX);
    struct listed *note = &found[found_count++];
    note->snapshot = *snapshot;
    memcpy(note->name, snapshot->name, strlen(snapshot->name) + 1);
    memcpy(note->group, snapshot->group, strlen(snapshot->group) + 1);
}

int snapshot_list(const char *volume, bool space)
{
    found_count = 0;
    rig.waiting = true;
    return ended(
        catalog_snapshot_list(rig.catalog, volume, space, note_snapshot, catalog_rig_ended, &rig));
}

int group_create(const char *group, const char *const *volumes, unsigned count)
{
    uint8_t uuids[CATALOG_GROUP_VOLUMES_MAX + 1][16];
    for (unsigned i = 0; i < count; i++)
        uuid_draw(uuids[i]);
    rig.waiting = true;
    return ended(catalog_group_create(rig.catalog, group, volumes, count,
                                      (const uint8_t(*)[16])uuids, catalog_rig_ended, &rig));
}

int group_delete(const char *group)
{
    rig.waiting = true;
    return ended(catalog_group_delete(rig.catalog, group, catalog_rig_ended, &rig));
}

int clone_make(const char *volume, const char *snapshot, const char *new_name)
{
    rig.waiting = true;
    return ended(catalog_clone(rig.catalog, volume, snapshot, new_name, catalog_rig_ended, &rig));
}

int snapshot_rollback(const char *volume, const char *snapshot, bool force)
{
    rig.waiting = true;
    return ended(catalog_snapshot_rollback(rig.catalog, volume, snapshot, force, NULL,
                                           catalog_rig_ended, &rig));
}

int flatten(const char *volume)
{
    rig.waiting = true;
    return ended(catalog_flatten(rig.catalog, volume, NULL, catalog_rig_ended, &rig));
}

int import_begin(const char *name, const struct catalog_import *import,
                 struct catalog_handle **ret_handle)
{
    rig.waiting = true;
    int result = ended(catalog_import_begin(rig.catalog, name, import, note_opened, &rig));
    if (result == 0)
        *ret_handle = opened;
    return result;
}

int import_end(struct catalog_handle *handle)
{
    rig.waiting = true;
    return ended(catalog_import_end(handle, catalog_rig_ended, &rig));
}

int import_abandon(const char *name)
{
    rig.waiting = true;
    return ended(catalog_import_abandon(rig.catalog, name, NULL, catalog_rig_ended, &rig));
}

/* What a block of a volume, or of NAME@SNAPSHOT, reads as. */
int block_look(const char *name, uint64_t offset)
{
    struct catalog_handle *handle = NULL;
    int result = handle_open(name, true, &handle);
    if (result != 0)
        return result;
    result = block_read(handle, offset);
    cr_assert_eq(handle_close(handle), 0);
    return result;
}

void block_put(const char *name, uint64_t offset, uint8_t byte)
{
    struct catalog_handle *handle = NULL;
    cr_assert_eq(handle_open(name, false, &handle), 0, "%s", base_last_error());
    cr_assert_eq(block_write(handle, offset, byte), 0);
    cr_assert_eq(handle_close(handle), 0);
}

uint64_t blocks_used(void)
{
    struct store_stats stats;
    pool_settle();
    pool_reopen(); /* A checkpoint, so that nothing waits for one. */
    pool_settle();
    store_stats(rig.store, &stats);
    return stats.space.used_blocks;
}

void pool_turns(unsigned turns)
{
    for (unsigned i = 0; i < turns; i++)
        (void)catalog_rig_turn(&rig);
}

void pool_fill(const char *name, uint64_t bytes)
{
    struct catalog_handle *handle = NULL;
    cr_assert_eq(handle_open(name, false, &handle), 0);
    uint64_t at = 0;
    for (unsigned refused = 0; refused < 4 && at < bytes;) {
        int result = block_write(handle, at, 99);
        cr_assert(result == 0 || result == -ENOSPC);
        refused = result == 0 ? 0 : refused + 1;
        at += result == 0 ? BLOCK_BYTES : 0;
        if (result != 0)
            pool_turns(3000);
    }
    cr_assert_lt(at, bytes);
    cr_assert_eq(handle_close(handle), 0);
}
