/* SPDX-License-Identifier: Apache-2.0 */
/* While nothing makes an owner, there is none. */
#include "tree/internal.h"

int tree_path_open_under(struct tree_path *path, uint64_t volume, uint64_t block, uint64_t cut)
{
    (void)cut;
    path->owner = 0;
    return tree_path_open(path, volume, VIEW_HEAD, block, true);
}

int tree_view_before(struct tree_path *path, uint64_t volume, uint32_t mebibyte, uint64_t cut,
                     uint64_t *ret_owner)
{
    (void)path, (void)volume, (void)mebibyte, (void)cut;
    *ret_owner = 0;
    return 0;
}

int tree_view_next(struct tree_path *path, uint64_t volume, uint64_t first, uint64_t last,
                   uint32_t *mebibyte, uint64_t *ret_cut)
{
    (void)path, (void)volume, (void)first, (void)last, (void)mebibyte, (void)ret_cut;
    return -ENOENT;
}

int tree_view_drop(struct tree_path *path, struct tree_path *beside, uint64_t volume,
                   uint32_t mebibyte, uint64_t cut, uint64_t previous)
{
    (void)path, (void)beside, (void)volume, (void)mebibyte, (void)cut, (void)previous;
    return 0;
}

int tree_views_drop_newest(struct tree_path *path, uint64_t volume, uint32_t mebibyte)
{
    (void)path, (void)volume, (void)mebibyte;
    return 0;
}

int tree_view_give_up(struct tree_path *path, uint64_t volume, uint32_t mebibyte, uint64_t cut)
{
    (void)path, (void)volume, (void)mebibyte, (void)cut;
    return 0;
}

int tree_changed_next(struct tree_path *path, uint64_t volume, uint64_t view, uint64_t since,
                      uint64_t last, uint64_t *block)
{
    (void)path, (void)volume, (void)view, (void)since, (void)last, (void)block;
    return -ENOENT;
}
