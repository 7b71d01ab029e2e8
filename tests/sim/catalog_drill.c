/* SPDX-License-Identifier: Apache-2.0 */
/* Operations on names, crashes, ends. Comparing: catalog_verify.c. */
#include "sim/catalog_drill.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MIB (1ull << 20)
#define TURNS_MAX 1000000u

/* Around the ends that sizes have: in a mebibyte, between them, in another segment. */
const uint64_t drill_offsets[DRILL_BLOCKS] = {
    0, MIB + 4096, 2 * MIB, 3 * MIB, 256 * MIB, 300 * MIB,
};
const uint64_t drill_sizes[DRILL_SIZES] = {
    MIB, 2 * MIB, 4 * MIB, 257 * MIB, 320 * MIB,
};

static void drill_event(void *context, const struct catalog_event *event)
{
    struct drill *drill = CONTAINER_OF((struct catalog_rig *)context, struct drill, rig);
    if (drill->rig.verbose)
        (void)fprintf(stderr, "      catalog %d: %s\n", (int)event->severity, event->text);
    for (unsigned i = 0; i < DRILL_NAMES; i++) {
        struct drill_name *name = &drill->names[i];
        char begin[64];
        (void)snprintf(begin, sizeof begin, "volume \"%s\": created", name->name);
        if (strncmp(event->text, begin, strlen(begin)) != 0)
            continue;
        name->id = event->volume_id;
        drill_note_id(name, name->id);
    }
}

void drill_open(struct drill *drill, uint64_t seed)
{
    memset(drill, 0, sizeof *drill);
    catalog_rig_open(&drill->rig, seed, NULL);
    drill->rig.catalog_options.event = drill_event;
    drill->prng = (struct prng){.state = seed ^ 0x9e3779b97f4a7c15u};
    drill->rig.catalog_options.id_lot = 1 + (uint32_t)prng_below(&drill->prng, 4);
    drill->rig.catalog_options.sequence_lot = 2 + prng_below(&drill->prng, 16);
    drill->rig.meta_one_in = 1 + (uint32_t)prng_below(&drill->prng, 8);
    for (unsigned i = 0; i < DRILL_NAMES; i++) {
        struct drill_name *name = &drill->names[i];
        name->drill = drill;
        (void)snprintf(name->name, sizeof name->name, "v%u", i);
        name->data = aligned_alloc(BLOCK_BYTES, BLOCK_BYTES);
        if (name->data == NULL)
            abort();
    }
}

void drill_close(struct drill *drill)
{
    for (unsigned i = 0; i < DRILL_NAMES; i++)
        free(drill->names[i].data);
    catalog_rig_close(&drill->rig);
}

/* --- Operations ----------------------------------------------------------------------------- */

static bool drill_wrong(struct drill_name *name, const char *what, int result)
{
    return catalog_rig_wrong(&name->drill->rig, "volume %s: %s, result %d (%s)", name->name, what,
                             result, base_last_error());
}

/* An id that a creation made: new. */
void drill_note_id(struct drill_name *name, uint64_t id)
{
    struct drill *drill = name->drill;
    for (uint32_t i = 0; i < drill->id_count; i++) {
        if (drill->ids[i] == id)
            (void)catalog_rig_wrong(&drill->rig, "number %llu was used twice, now by %s",
                                    (unsigned long long)id, name->name);
    }
    if (drill->id_count < DRILL_IDS_MAX)
        drill->ids[drill->id_count++] = id;
}

static void drill_created(struct drill_name *name, int result)
{
    if (result == -EEXIST && name->exists) {
        name->drill->counts.refused++;
        return;
    }
    if (result != 0 || name->exists) {
        (void)drill_wrong(name, "creation", result);
        return;
    }
    name->exists = true;
    name->bytes = name->doing_bytes;
    name->epoch = 0;
    name->sequence_high = 0;
    memset(name->tags, 0, sizeof name->tags);
}

static void drill_deleted(struct drill_name *name, int result)
{
    if (result == (name->exists ? -EBUSY : -ENOENT) && (!name->exists || name->handle != NULL)) {
        name->drill->counts.refused++;
        return;
    }
    if (result != 0 || !name->exists || name->handle != NULL)
        (void)drill_wrong(name, "deletion", result);
    name->exists = false;
}

static void drill_resized(struct drill_name *name, int result)
{
    if (result == -ENOENT && !name->exists) {
        name->drill->counts.refused++;
        return;
    }
    if (result != 0 || !name->exists) {
        (void)drill_wrong(name, "resize", result);
        return;
    }
    for (unsigned i = 0; i < DRILL_BLOCKS; i++) {
        if (drill_offsets[i] >= name->doing_bytes)
            name->tags[i] = 0;
    }
    name->bytes = name->doing_bytes;
}

/* After the power went a result says: nothing of it happened. All but two say so. */
static bool drill_ended_by_power(struct drill_name *name, int result)
{
    if (!name->drill->power_went || result == 0)
        return false;
    bool doubt = result == IOMESH_UNKNOWN || name->doing == DRILL_RESIZE;
    if (!doubt)
        name->doing = DRILL_NONE;
    return true;
}

static void drill_done(void *context, int result)
{
    struct drill_name *name = context;
    if (drill_ended_by_power(name, result))
        return;
    enum drill_kind kind = name->doing;
    switch (kind) {
    case DRILL_CREATE: drill_created(name, result); break;
    case DRILL_DELETE: drill_deleted(name, result); break;
    case DRILL_RESIZE: drill_resized(name, result); break;
    default:
        if (result != 0)
            (void)drill_wrong(name, "closing", result);
    }
    name->doing = DRILL_NONE;
}

static void drill_opened(void *context, int result, struct catalog_handle *handle)
{
    struct drill_name *name = context;
    if (drill_ended_by_power(name, result))
        return;
    name->doing = DRILL_NONE;
    if (result == -ENOENT && !name->exists) {
        name->drill->counts.refused++;
        return;
    }
    if (result != 0 || !name->exists) {
        (void)drill_wrong(name, "opening", result);
        return;
    }
    name->handle = handle;
    uint64_t sequence = volume_sequence(catalog_handle_volume(handle));
    if (sequence < name->sequence_high || sequence == 0)
        (void)catalog_rig_wrong(
            &name->drill->rig, "volume %s begins with sequence %llu, but %llu was next", name->name,
            (unsigned long long)sequence, (unsigned long long)name->sequence_high);
}

void drill_start(struct drill_name *name, enum drill_kind kind, uint64_t bytes)
{
    struct drill *drill = name->drill;
    struct catalog *catalog = drill->rig.catalog;
    struct catalog_create what = {.bytes = bytes, .sector_bytes = 4096};
    assert(name->doing == DRILL_NONE);
    drill->counts.operations++;
    name->doing = kind;
    name->doing_bytes = bytes;
    int accepted = 0;
    switch (kind) {
    case DRILL_CREATE:
        accepted = catalog_create(catalog, name->name, &what, drill_done, name);
        break;
    case DRILL_DELETE: accepted = catalog_delete(catalog, name->name, drill_done, name); break;
    case DRILL_RESIZE:
        accepted = catalog_resize(catalog, name->name, bytes, true, drill_done, name);
        break;
    case DRILL_OPEN:
        accepted = catalog_handle_open(catalog, name->name, false, drill_opened, name);
        break;
    case DRILL_CLOSE: {
        struct catalog_handle *handle = name->handle;
        name->handle = NULL;
        catalog_handle_close(handle, drill_done, name);
        break;
    }
    default: abort();
    }
    if (accepted != 0)
        (void)drill_wrong(name, "refused in the call", accepted);
}

static void drill_written(struct volume_io *io, int result)
{
    struct drill_name *name = CONTAINER_OF(io, struct drill_name, io);
    if (result != 0) {
        if (!name->drill->power_went && result != -ENOSPC)
            (void)drill_wrong(name, "writing", result);
        return; /* In doubt. */
    }
    name->writing = false;
    /* A resize may have cut it off meanwhile. */
    if (drill_offsets[name->write_block] < name->bytes)
        name->tags[name->write_block] = name->write_tag;
}

void drill_write(struct drill_name *name, unsigned block)
{
    assert(name->handle != NULL && !name->writing);
    name->drill->counts.writes++;
    name->writing = true;
    name->write_block = block;
    name->write_tag = ++name->drill->tag;
    for (size_t i = 0; i < BLOCK_BYTES / sizeof name->write_tag; i++)
        memcpy(name->data + i * sizeof name->write_tag, &name->write_tag, sizeof name->write_tag);
    name->io.kind = VOLUME_WRITE;
    name->io.flags = VOLUME_FUA;
    name->io.offset = drill_offsets[block];
    name->io.length = BLOCK_BYTES;
    name->io.data = name->data;
    name->io.done = drill_written;
    volume_submit(catalog_handle_volume(name->handle), &name->io);
}

static void drill_peeked_at(void *context, const struct catalog_info *info)
{
    struct drill_name *name = context;
    if (strcmp(info->name, name->name) != 0)
        (void)catalog_rig_wrong(&name->drill->rig, "%s was asked for and %s told", name->name,
                                info->name);
}

static void drill_peeked(void *context, int result)
{
    struct drill_name *name = context;
    if (result != 0 && result != -ENOENT && !name->drill->power_went)
        (void)drill_wrong(name, "showing", result);
}

void drill_peek(struct drill_name *name)
{
    int accepted =
        catalog_show(name->drill->rig.catalog, name->name, drill_peeked_at, drill_peeked, name);
    if (accepted != 0)
        (void)drill_wrong(name, "showing", accepted);
}

/* --- Turning -------------------------------------------------------------------------------- */

static void drill_note_sequences(struct drill *drill)
{
    for (unsigned i = 0; i < DRILL_NAMES; i++) {
        struct drill_name *name = &drill->names[i];
        if (name->handle == NULL)
            continue;
        uint64_t sequence = volume_sequence(catalog_handle_volume(name->handle));
        name->sequence_high = MAX(name->sequence_high, sequence);
    }
}

bool drill_turn(struct drill *drill)
{
    bool on = catalog_rig_turn(&drill->rig);
    drill_note_sequences(drill);
    return on && drill->rig.wrong[0] == '\0';
}

static bool drill_busy(const struct drill *drill)
{
    for (unsigned i = 0; i < DRILL_NAMES; i++) {
        if (drill->names[i].doing != DRILL_NONE || drill->names[i].writing)
            return true;
    }
    return false;
}

bool drill_wait(struct drill *drill)
{
    for (unsigned turns = 0; drill_busy(drill); turns++) {
        if (!drill_turn(drill))
            return false;
        if (turns > TURNS_MAX)
            return catalog_rig_wrong(&drill->rig, "an operation does not end");
    }
    return drill->rig.wrong[0] == '\0';
}

/* --- Crashes and ends ----------------------------------------------------------------------- */

bool drill_crash(struct drill *drill, bool power_cut)
{
    for (unsigned tries = 0;; tries++) {
        drill_note_sequences(drill);
        drill->power_went = true;
        catalog_rig_crash(&drill->rig, power_cut);
        for (unsigned i = 0; i < DRILL_NAMES; i++)
            drill->names[i].handle = NULL;
        drill->power_went = false;
        if (power_cut)
            drill->counts.cuts++;
        else
            drill->counts.kills++;
        if (tries < 3 && prng_one_in(&drill->prng, 4))
            world_cut_after(&drill->rig.world, 1 + prng_below(&drill->prng, 120));
        else if (tries < 3 && prng_one_in(&drill->prng, 4))
            drill->rig.vfs.cut_after = drill->rig.vfs.operations + 1 + prng_below(&drill->prng, 40);
        bool up = catalog_rig_open_meta(&drill->rig, false) && drill_check_metadata(drill, false) &&
                  catalog_rig_start(&drill->rig) && drill_verify(drill);
        if (up) {
            world_cut_after(&drill->rig.world, 0);
            drill->rig.vfs.cut_after = 0;
        }
        if (up || drill->rig.wrong[0] != '\0')
            return up;
        power_cut = true;
    }
}

static bool drill_each(struct drill *drill, enum drill_kind kind)
{
    for (unsigned i = 0; i < DRILL_NAMES; i++) {
        struct drill_name *name = &drill->names[i];
        if (kind == DRILL_CLOSE ? name->handle != NULL : name->exists)
            drill_start(name, kind, 0);
    }
    return drill_wait(drill);
}

bool drill_end(struct drill *drill)
{
    struct catalog_rig *rig = &drill->rig;
    if (!drill_wait(drill) || !drill_each(drill, DRILL_CLOSE) || !catalog_rig_settle(rig) ||
        !drill_check_metadata(drill, true) || !drill_check_store(drill) || !catalog_rig_stop(rig) ||
        !catalog_rig_check(rig) || !catalog_rig_start(rig) || !drill_verify(drill) ||
        !drill_each(drill, DRILL_DELETE) || !catalog_rig_settle(rig) ||
        !drill_check_metadata(drill, true) || !drill_check_store(drill) || !catalog_rig_stop(rig))
        return false;
    return catalog_rig_check(rig);
}
