/* SPDX-License-Identifier: Apache-2.0 */
/* A resync: versions of blocks from another part, in a record and in the tree. */
#include "store/internal.h"

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
