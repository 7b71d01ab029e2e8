/* SPDX-License-Identifier: Apache-2.0 */
/* See resync.h. */
#include "store/resync.h"

void store_enter_fill(struct tree_enter *enter, const struct record *record)
{
    *enter = (struct tree_enter){
        .how = record->repair ? TREE_REPAIR : TREE_RESYNC,
        .volume = record->volume,
        .mebibyte = (uint32_t)(record->block / MAP_BLOCKS),
        .view = record->view,
        .cut = record->cut,
        .index = (unsigned)(record->block % MAP_BLOCKS),
        .count = record->count,
        .kind = record->kind,
    };
    uint32_t block = 0;
    for (unsigned i = 0; i < record->extent_count; i++) {
        for (uint32_t j = 0; j < record->extents[i].blocks; j++, block++)
            enter->places[block] = record->extents[i].place + j;
    }
    for (uint32_t i = 0; i < record->count; i++) {
        enter->sequences[i] = record->sequences[i];
        enter->crcs[i] = record->kind == POINTER_RAW ? record->crcs[i] : 0;
        enter->damaged[i] = record->repair ? record->damaged[i] : 0;
    }
}

void store_resync_record(const struct store_op *op, struct record *record)
{
    const struct store_resync *resync = op->resync;
    *record = (struct record){
        .type = RECORD_RESYNC,
        .count = op->round,
        .volume = op->volume,
        .block = op->block + op->base,
        .watermark = op->watermark,
        .epoch = op->epoch,
        .generation = op->generation,
        .view = resync->view,
        .cut = resync->cut,
        .group = op->group,
        .kind = (uint8_t)resync->kind,
        .repair = resync->repair,
        .extent_count = (uint8_t)op->extent_count,
    };
    for (unsigned i = 0; i < op->extent_count; i++) {
        record->extents[i].place = op->extents[i].place;
        record->extents[i].blocks = (uint16_t)op->extents[i].blocks;
    }
    for (uint32_t i = 0; i < op->round; i++) {
        record->sequences[i] = resync->sequences[op->base + i];
        record->crcs[i] = op->crcs[op->base + i];
        if (resync->repair)
            record->damaged[i] = resync->damaged[op->base + i];
    }
}

/* In the same instant in which the last page has changed: what nothing shows is not needed, but may
 * be met by a replay. */
static void resync_link(struct store_op *op)
{
    struct space *space = op->store->space;
    uint32_t block = 0;
    for (unsigned i = 0; i < op->extent_count; i++) {
        space_link(space, op->extents[i]);
        for (uint32_t j = 0; j < op->extents[i].blocks; j++, block++) {
            if (!op->resync->enter.shown[block])
                space_free_page(space, op->extents[i].place + j);
        }
    }
}

int store_resync_apply(struct store_op *op, bool begins)
{
    struct store *store = op->store;
    struct tree_enter *enter = &op->resync->enter;
    int64_t asides = tree_asides(store->tree);
    int error = -EINPROGRESS;
    if (begins) {
        struct record record;
        store_resync_record(op, &record);
        store_enter_fill(enter, &record);
    }
    store->applying_batch = op->entry.batch;
    store->applying_reserved = &op->reserved;
    while (error == -EINPROGRESS)
        error = tree_enter(&op->path, enter);
    store->applying_reserved = NULL;
    if (op->guarded)
        store_part_asides(op, tree_asides(store->tree) - asides);
    if (error == -EAGAIN)
        return error;
    op->resync->refused += enter->refused;
    resync_link(op);
    return error;
}
