/* SPDX-License-Identifier: Apache-2.0 */
/* Where a volume has anything at all, without a look at each of its segments. */
#include "store/internal.h"

static void seek_woken(struct tree_path *path)
{
    struct store_seek *seek = CONTAINER_OF(path, struct store_seek, path);
    seek->wake(seek);
}

int store_seek(struct store *store, struct store_seek *seek, uint64_t volume, uint32_t from,
               uint32_t *ret_segment)
{
    struct segment_key key = {.volume = volume, .segment = from};
    struct segment_key found;
    tree_path_init(&seek->path, store->tree, seek_woken);
    int error = tree_next_segment(&seek->path, &key, &found);
    if (error != 0)
        return error;
    /* The record of the volume, and its views, come after all of its head. */
    if (found.volume != volume || found.segment >= SEGMENTS_PER_VOLUME)
        return -ENOENT;
    *ret_segment = found.segment;
    return 0;
}
