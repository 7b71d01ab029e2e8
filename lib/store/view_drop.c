/* SPDX-License-Identifier: Apache-2.0 */
#include "store/view_drop.h"

static void view_lost(struct store *store, const struct view_drop *drop, uint64_t cut)
{
    REACH(view_drop_without_page);
    uint64_t block = (uint64_t)drop->mebibyte * MAP_BLOCKS;
    store->stats.corrupt_blocks++;
    store_damage(store, drop->volume, block, MAP_BLOCKS,
                 "deleting snapshot %llu of volume %llu: a page of the map of block %llu is "
                 "damaged: what only it showed, %u blocks at most, stays in use by nobody",
                 (unsigned long long)cut, (unsigned long long)drop->volume,
                 (unsigned long long)block, MAP_BLOCKS);
}

/* 0: gone, told. What was read in vain is not read once more for each thing that has to be waited
 * for. */
static int view_give_up(struct store *store, struct view_drop *drop)
{
    uint64_t cut = drop->cut;
    if (drop->all) {
        int error = tree_view_before(drop->path, drop->volume, drop->mebibyte, VIEW_HEAD, &cut);
        if (error != 0)
            return error;
    }
    int error = cut == 0 ? 0 : tree_view_give_up(drop->path, drop->volume, drop->mebibyte, cut);
    if (error == -EAGAIN)
        return error;
    drop->gives_up = false;
    if (error == 0 && cut != 0)
        view_lost(store, drop, cut);
    return error;
}

int store_view_drop_step(struct store *store, struct view_drop *drop)
{
    int error = 0;
    if (!drop->gives_up && drop->all)
        error = tree_views_drop_newest(drop->path, drop->volume, drop->mebibyte);
    else if (!drop->gives_up)
        error = tree_view_drop(drop->path, drop->beside, drop->volume, drop->mebibyte, drop->cut,
                               drop->previous);
    if (error == IOMESH_CORRUPT)
        drop->gives_up = true;
    if (!drop->gives_up)
        return error;
    error = view_give_up(store, drop);
    return error == 0 && drop->all ? -EINPROGRESS : error;
}
