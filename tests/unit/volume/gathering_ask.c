/* SPDX-License-Identifier: Apache-2.0 */
/* Operations of processes that use the pool, as calls that wait. */
#include "gathering.h"

/* --- Volumes ---------------------------------------------------------------------------------- */

static void volume_opened(void *context, int result, struct catalog_handle *handle)
{
    cr_assert_eq(result == 0, handle != NULL);
    gathering.opened = handle;
    gathering_ended(context, result);
}

void user_begin_open(unsigned number, const char *name)
{
    gathering.waiting = true;
    cr_assert_eq(catalog_handle_open(catalog_of(number), name, false, volume_opened, NULL), 0);
}

static int opened_wait(int accepted, struct catalog_handle **ret_handle)
{
    int result = gathering_wait(accepted);
    if (result == 0)
        *ret_handle = gathering.opened;
    return result;
}

int user_open_volume(unsigned number, const char *name, struct catalog_handle **ret_handle)
{
    gathering.waiting = true;
    return opened_wait(catalog_handle_open(catalog_of(number), name, false, volume_opened, NULL),
                       ret_handle);
}

int user_read_volume(unsigned number, const char *name, struct catalog_handle **ret_handle)
{
    gathering.waiting = true;
    return opened_wait(catalog_handle_open(catalog_of(number), name, true, volume_opened, NULL),
                       ret_handle);
}

int user_force_volume(unsigned number, const char *name, struct catalog_handle **ret_handle)
{
    gathering.waiting = true;
    return opened_wait(catalog_handle_open_force(catalog_of(number), name, volume_opened, NULL),
                       ret_handle);
}

int user_close_volume(struct catalog_handle *handle)
{
    gathering.waiting = true;
    catalog_handle_close(handle, gathering_ended, NULL);
    return gathering_wait(0);
}

static uint8_t block[BLOCK_BYTES] __attribute__((aligned(BLOCK_BYTES)));

static void io_done(struct volume_io *io, int result)
{
    (void)io;
    gathering_ended(NULL, result);
}

static void block_begin(struct catalog_handle *handle, enum volume_io_kind kind, uint64_t offset)
{
    static struct volume_io io;
    io = (struct volume_io){.kind = kind, .offset = offset, .data = block, .done = io_done};
    io.length = kind == VOLUME_FLUSH ? 0 : sizeof block;
    gathering.waiting = true;
    volume_submit(catalog_handle_volume(handle), &io);
}

static int block_io(struct catalog_handle *handle, enum volume_io_kind kind, uint64_t offset)
{
    block_begin(handle, kind, offset);
    return gathering_wait(0);
}

int put_block(struct catalog_handle *handle, uint64_t offset, uint8_t byte)
{
    memset(block, byte, sizeof block);
    return block_io(handle, VOLUME_WRITE, offset);
}

void begin_get(struct catalog_handle *handle, uint64_t offset)
{
    block_begin(handle, VOLUME_READ, offset);
}

int get_block(struct catalog_handle *handle, uint64_t offset)
{
    begin_get(handle, offset);
    (void)gathering_wait(0);
    return got_block();
}

int got_block(void)
{
    if (gathering.ended != 0)
        return gathering.ended;
    for (size_t i = 1; i < sizeof block; i++) {
        if (block[i] != block[0])
            return -1;
    }
    return block[0];
}

int discard_range(struct catalog_handle *handle, uint64_t offset, uint64_t length)
{
    static struct volume_io io;
    io = (struct volume_io){
        .kind = VOLUME_DISCARD, .offset = offset, .length = length, .done = io_done};
    gathering.waiting = true;
    volume_submit(catalog_handle_volume(handle), &io);
    return gathering_wait(0);
}

int volume_flush(struct catalog_handle *handle)
{
    return block_io(handle, VOLUME_FLUSH, 0);
}

/* --- Operations ------------------------------------------------------------------------------- */

int user_delete(unsigned number, const char *name)
{
    gathering.waiting = true;
    return gathering_wait(catalog_delete(catalog_of(number), name, gathering_ended, NULL));
}

int user_snapshot(unsigned number, const char *volume, const char *snapshot)
{
    static uint8_t uuid[16];
    uuid[0]++;
    gathering.waiting = true;
    return gathering_wait(
        catalog_snapshot_create(catalog_of(number), volume, snapshot, uuid, gathering_ended, NULL));
}

int user_snapshot_delete(unsigned number, const char *volume, const char *snapshot)
{
    gathering.waiting = true;
    return gathering_wait(
        catalog_snapshot_delete(catalog_of(number), volume, snapshot, gathering_ended, NULL));
}

static void later_told(void *context, int result)
{
    *(int *)context = result;
}

void user_begin_delete(unsigned number, const char *volume, const char *snapshot, int *ret_result)
{
    *ret_result = 1;
    int accepted =
        catalog_snapshot_delete(catalog_of(number), volume, snapshot, later_told, ret_result);
    if (accepted != 0)
        *ret_result = accepted;
}

int user_clone(unsigned number, const char *volume, const char *snapshot, const char *new_name)
{
    gathering.waiting = true;
    return gathering_wait(
        catalog_clone(catalog_of(number), volume, snapshot, new_name, gathering_ended, NULL));
}

int user_import(unsigned number, const char *volume, const struct catalog_import *import,
                struct catalog_handle **ret_handle)
{
    gathering.waiting = true;
    return opened_wait(
        catalog_import_begin(catalog_of(number), volume, import, volume_opened, NULL), ret_handle);
}

int user_flatten(unsigned number, const char *volume)
{
    gathering.waiting = true;
    return gathering_wait(catalog_flatten(catalog_of(number), volume, NULL, gathering_ended, NULL));
}

void user_begin_flatten(unsigned number, const char *volume, int *ret_result)
{
    *ret_result = 1;
    cr_assert_eq(catalog_flatten(catalog_of(number), volume, NULL, later_told, ret_result), 0);
}

int user_rollback(unsigned number, const char *volume, const char *snapshot, bool force)
{
    gathering.waiting = true;
    return gathering_wait(catalog_snapshot_rollback(catalog_of(number), volume, snapshot, force,
                                                    NULL, gathering_ended, NULL));
}

void user_begin_rollback(unsigned number, const char *volume, const char *snapshot, int *ret_result)
{
    *ret_result = 1;
    cr_assert_eq(catalog_snapshot_rollback(catalog_of(number), volume, snapshot, false, NULL,
                                           later_told, ret_result),
                 0);
}

int user_group(unsigned number, const char *group, const char *volume, const char *other)
{
    static uint8_t uuids[2][16];
    const char *volumes[2] = {volume, other};
    uuids[0][0]++;
    uuids[1][0] = (uint8_t)(uuids[0][0] ^ 0x80);
    uuids[0][1] = uuids[1][1] = 1;
    gathering.waiting = true;
    return gathering_wait(catalog_group_create(catalog_of(number), group, volumes, 2,
                                               (const uint8_t(*)[16])uuids, gathering_ended, NULL));
}

int user_group_delete(unsigned number, const char *group)
{
    gathering.waiting = true;
    return gathering_wait(catalog_group_delete(catalog_of(number), group, gathering_ended, NULL));
}

int user_resize(unsigned number, const char *name, uint64_t bytes, bool force)
{
    gathering.waiting = true;
    return gathering_wait(
        catalog_resize(catalog_of(number), name, bytes, force, gathering_ended, NULL));
}

void user_settle(unsigned number)
{
    struct catalog_counts counts;
    unsigned turns = 0;
    do {
        gathering_turns(20);
        cr_assert_lt(turns++, 100000, "it does not settle");
        catalog_counts(catalog_of(number), &counts);
    } while (counts.operations > 0 || counts.deletions > 0 || !counts.looked);
}

static void part_ended(struct part_request *request, int result)
{
    (void)request;
    gathering_ended(NULL, result);
}

int store_asked(unsigned store, struct part_request *request)
{
    request->volume = 1;
    request->done = part_ended;
    gathering.waiting = true;
    part_submit(store_port(gathering.members[store - 1].store), request);
    return gathering_wait(0);
}

static void part_ask(unsigned store, struct part_request *request)
{
    cr_assert_eq(store_asked(store, request), 0);
}

void store_damage(unsigned store, uint8_t byte)
{
    struct sim_disk *disk = gathering.members[store - 1].disk;
    static uint8_t found[BLOCK_BYTES], full[BLOCK_BYTES];
    unsigned count = 0;
    memset(full, byte, sizeof full);
    for (uint64_t at = 0; at < 4000ull * BLOCK_BYTES; at += BLOCK_BYTES) {
        sim_disk_peek(disk, at, sizeof found, found);
        if (memcmp(found, full, sizeof full) != 0)
            continue;
        found[7] ^= 1;
        sim_disk_poke(disk, at, sizeof found, found);
        count++;
    }
    cr_assert_eq(count, 1);
}

static struct part_state part_state_of(unsigned store, uint32_t group)
{
    struct part_request request = {.kind = PART_STATE, .group = group};
    part_ask(store, &request);
    return request.state;
}

uint64_t store_shows(unsigned store, uint32_t group, uint64_t at, uint64_t view)
{
    struct part_version versions[PART_BLOCKS_MAX];
    struct part_state state = part_state_of(store, group);
    struct part_request request = {.kind = PART_MAP,
                                   .group = group,
                                   .epoch = state.epoch,
                                   .generation = state.generation,
                                   .block = at,
                                   .count = 1,
                                   .view = view,
                                   .versions = versions};
    part_ask(store, &request);
    return versions[0].sequence;
}

uint8_t store_role(unsigned store, uint32_t group)
{
    return part_state_of(store, group).role;
}
