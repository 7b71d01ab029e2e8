/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What changed since a sequence, without a look at what did not: an entry of the table says the
 * newest sequence of its segment, a slot of the directory that of its map page. What is dirty in
 * memory says nothing yet, and is looked at. No view shows anything newer than the head does at the
 * same mebibyte, so the head leads, and the view is looked for only where the head is newer.
 */
#include "tree/internal.h"

/* What one call may rule out before others have their turn. */
#define CHANGED_STEPS_PER_TURN 256u

struct newer {
    struct tree *tree;
    uint64_t volume, since;
    const struct segment *memory;
};

static bool root_is_newer(const struct page_root *root, uint64_t since)
{
    bool unsaid = (root->dirty || root->frozen) && !MUTANT(30);
    return unsaid || root->pointer.sequence > since;
}

static bool is_head(const struct segment_key *key, uint64_t volume)
{
    return key->volume == volume && key->segment < SEGMENTS_PER_VOLUME;
}

static enum table_verdict judge_newer(void *context, const struct table_entry *entry,
                                      struct segment_key *from)
{
    const struct newer *newer = context;
    if (!is_head(&entry->key, newer->volume) ||
        (newer->memory != NULL && segment_key_compare(&entry->key, &newer->memory->key) >= 0))
        return TABLE_STOP;
    if (entry->pointer.sequence > newer->since && segment_find(newer->tree, &entry->key) == NULL)
        return TABLE_TAKE;
    *from = entry->key;
    return segment_key_advance(from) ? TABLE_PASS : TABLE_STOP;
}

static const struct segment *newer_in_memory(const struct newer *newer,
                                             const struct segment_key *from)
{
    const struct segment *segment = order_from(newer->tree, from);
    for (; segment != NULL; segment = segment->order[0]) {
        if (!is_head(&segment->key, newer->volume))
            return NULL;
        if (segment_has_anything(segment) && root_is_newer(&segment->root, newer->since))
            return segment;
    }
    return NULL;
}

/* The next segment of the head that may have something newer, at that of *block or after; *block is
 * its first one then, if it is not already within. 0, -ENOENT, -EAGAIN or an error. */
static int next_segment(struct tree_path *path, uint64_t volume, uint64_t since, uint64_t *block)
{
    struct newer newer = {.tree = path->tree, .volume = volume, .since = since};
    struct table_seek seek = {
        .from = {.volume = volume, .segment = (uint32_t)(*block / SEGMENT_BLOCKS)},
        .judge = judge_newer,
        .context = &newer,
        .yields = true,
    };
    newer.memory = newer_in_memory(&newer, &seek.from);
    int result = table_seek(path->tree, &seek, &path->waiter);
    struct segment_key found = result == 0 ? seek.entry.key : seek.from;
    bool memory = newer.memory != NULL && segment_key_compare(&newer.memory->key, &found) < 0;
    if (newer.memory != NULL && (result == -ENOENT || (result == -EAGAIN && memory)))
        found = newer.memory->key;
    if (newer.memory != NULL && result == -ENOENT)
        result = 0;
    if (result != -ENOENT && is_head(&found, volume))
        *block = MAX(*block, (uint64_t)found.segment * SEGMENT_BLOCKS);
    return result;
}

static bool slot_is_newer(struct page *directory, unsigned map, uint64_t since)
{
    const struct page *page = page_cached(directory, map);
    bool unsaid = page != NULL && page_changed(page) && !MUTANT(30);
    return unsaid || page_slot(directory, map).sequence > since;
}

/* The next map page of the segment that path->segment is: 0 and *block; -ENOENT: none, *block is
 * behind it. */
static int next_map(struct tree_path *path, uint64_t since, uint64_t *block)
{
    struct page_root *root = &path->segment->root;
    int result = page_open_root(path->tree->cache, root, &path->waiter, &path->directory);
    if (result != 0 && result != -ENOENT)
        return result;
    unsigned map = (unsigned)(*block % SEGMENT_BLOCKS / MAP_BLOCKS);
    if (result == 0) {
        while (map < POINTERS_PER_PAGE && !slot_is_newer(path->directory, map, since))
            map++;
        page_unpin(path->directory);
        path->directory = NULL;
    } else if (root->pointer.sequence <= since) { /* One pointer speaks for all of it. */
        map = POINTERS_PER_PAGE;
    }
    *block += (uint64_t)map * MAP_BLOCKS - *block % SEGMENT_BLOCKS;
    return map < POINTERS_PER_PAGE ? 0 : -ENOENT;
}

/* Whether a view has a page of its own there that is older: 0: it may be newer; -ENOENT: it is. */
static int view_is_newer(struct tree_path *path, uint64_t volume, uint64_t view, uint64_t since,
                         uint64_t block)
{
    struct owner owner;
    int result =
        owner_from(path->tree, volume, (uint32_t)(block / MAP_BLOCKS), view, &path->waiter, &owner);
    if (result != 0)
        return result == -ENOENT ? 0 : result;
    bool newer = owner.segment != NULL ? root_is_newer(&owner.segment->root, since)
                                       : owner.pointer.sequence > since;
    return newer ? 0 : -ENOENT;
}

/* One step. 0: `path` is open; -ENOENT: nothing up to where *block has moved to. */
static int changed_step(struct tree_path *path, uint64_t volume, uint64_t view, uint64_t since,
                        uint64_t last, uint64_t *block)
{
    struct segment_key key = head_key(volume, *block);
    int result = path_hold(path, &key, NULL);
    if (result == 0)
        result = next_map(path, since, block);
    if (result != 0)
        return result;
    if (*block > last)
        return -ENOENT;
    result = view == VIEW_HEAD ? 0 : view_is_newer(path, volume, view, since, *block);
    if (result == 0)
        return tree_path_open(path, volume, view, *block, false);
    *block += result == -ENOENT ? MAP_BLOCKS : 0;
    return result;
}

int tree_changed_next(struct tree_path *path, uint64_t volume, uint64_t view, uint64_t since,
                      uint64_t last, uint64_t *block)
{
    assert(!path->open);
    last = MIN(last, (uint64_t)SEGMENTS_PER_VOLUME * SEGMENT_BLOCKS - 1);
    *block -= *block % MAP_BLOCKS;
    int result = 0;
    for (unsigned steps = 0; *block <= last; steps++) {
        if (steps == CHANGED_STEPS_PER_TURN) {
            page_wake(path->tree->cache, &path->waiter);
            return -EAGAIN;
        }
        result = next_segment(path, volume, since, block);
        if (result != 0 || *block > last)
            break;
        result = changed_step(path, volume, view, since, last, block);
        if (result != -ENOENT)
            break;
    }
    if (result == -EAGAIN || path->open)
        return result;
    tree_path_close(path);
    return result == 0 ? -ENOENT : result;
}
