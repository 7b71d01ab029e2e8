/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Merging the roots of frozen segments into the segment table, one level at a time.
 *
 *            ┌────────────── next group ◀─────────────┐
 *            ▼                                        │
 *   start ─ GATHER ──▶ (absorb a neighbour if it is small) ──▶ EMIT nodes
 *            │ level done: what was emitted changes the level above
 *            ▼
 *           END: all writes have ended
 *
 * A group is the changes that fall into one old node. Its entries and they are gathered in order
 * and emitted as as few nodes as hold them, evenly filled; an old node that changed is replaced,
 * one that did not stays. A node left with less than a third absorbs the one after it under the
 * same parent. Above, the old node's entry is deleted and an entry for each new node inserted
 * under its first key. The old table is only read: lookups go on in it until the thaw.
 */
#include <stdlib.h>
#include <string.h>

#include "codec/codec.h"
#include "tree/internal.h"

#define MERGE_DEPTH 8u
#define GROUPS_PER_TURN 32u

enum merge_phase { MERGE_GATHER, MERGE_EMIT, MERGE_END };

struct merge_write {
    struct merge *merge;
    struct device_io io;
    uint8_t *bytes;
    bool busy;
};

struct merge {
    struct tree *tree;
    struct tree_checkpoint *checkpoint;
    struct page_waiter waiter;
    enum merge_phase phase;
    uint8_t level;
    bool whole;  /* Above the old root: the changes are all there is. */
    bool rooted; /* `root` is the new table. */
    int result;
    unsigned in_flight;
    uint64_t pages; /* At the freeze, then with what the merge adds and takes away. */
    uint64_t pages_before;

    /* An entry of kind hole deletes. In order, no key twice. */
    struct table_entry *changes, *above;
    uint32_t change_count, above_count, at, limit;
    uint32_t group; /* In `above`: where this group's begin. */
    struct segment_key deleted[2];
    unsigned deleted_count;
    struct table_entry *gathered;
    uint32_t gathered_count, emitted, nodes_left, gather_limit;

    uint64_t *replaced;
    uint32_t replaced_count, replaced_limit;
    struct pointer root;
    uint8_t root_level;
    unsigned root_count;
    uint8_t *buffers;
    struct merge_write writes[MERGE_DEPTH];
};

static void merge_run(struct merge *merge);

static void merge_woken(struct page_waiter *waiter)
{
    merge_run(CONTAINER_OF(waiter, struct merge, waiter));
}

/* --- Gathering -------------------------------------------------------------------------------- */

static void gather(struct merge *merge, const struct table_entry *entry)
{
    if (entry->pointer.kind == POINTER_HOLE)
        return;
    assert(merge->gathered_count < merge->gather_limit);
    merge->gathered[merge->gathered_count++] = *entry;
}

static bool change_below(const struct merge *merge, const struct table_spot *spot)
{
    return merge->at < merge->change_count &&
           (!spot->bounded ||
            segment_key_compare(&merge->changes[merge->at].key, &spot->bound) < 0);
}

static bool pointer_equal(const struct pointer *a, const struct pointer *b)
{
    return a->kind == b->kind && a->place == b->place && a->sequence == b->sequence &&
           a->crc == b->crc;
}

/* The old node's entries and the changes that fall into it, in order. True if it changed. */
static bool gather_node(struct merge *merge, const struct table_spot *spot)
{
    bool changed = false;
    unsigned old = 0;
    while (old < spot->node.count || change_below(merge, spot)) {
        struct table_entry entry = {0};
        int order = 1;
        if (old < spot->node.count) {
            entry = table_entry(&spot->node, old);
            order = -1;
        }
        if (change_below(merge, spot)) {
            const struct table_entry *change = &merge->changes[merge->at];
            order = order > 0 ? 1 : segment_key_compare(&entry.key, &change->key);
        }
        if (order < 0) {
            gather(merge, &entry);
            old++;
            continue;
        }
        const struct table_entry *change = &merge->changes[merge->at++];
        changed |= order == 0 ? !pointer_equal(&entry.pointer, &change->pointer)
                              : change->pointer.kind != POINTER_HOLE;
        old += order == 0;
        gather(merge, change);
    }
    return changed;
}

/* The old node goes; if it has a parent, its entry there too. */
static void consume(struct merge *merge, const struct table_spot *spot, bool has_parent)
{
    assert(merge->replaced_count < merge->replaced_limit);
    merge->replaced[merge->replaced_count++] = spot->pointer.place;
    merge->pages--;
    if (has_parent) {
        assert(merge->deleted_count < COUNT_OF(merge->deleted));
        merge->deleted[merge->deleted_count++] = spot->separator;
    }
    merge->checkpoint->replaced(merge->checkpoint->context, spot->pointer.place);
}

static void begin_emit(struct merge *merge)
{
    merge->emitted = 0;
    merge->nodes_left = DIV_CEIL(merge->gathered_count, TABLE_ENTRIES);
    merge->group = merge->above_count;
    merge->phase = MERGE_EMIT;
}

/*
 * One old node with its changes, and the one after it if little is left of this one. Nothing is
 * taken until everything is in memory: who had to wait begins again at the same change.
 */
static int gather_group(struct merge *merge)
{
    uint32_t from = merge->at;
    struct table_spot spot, neighbour;
    int result =
        table_descend(merge->tree, &merge->changes[from].key, merge->level, &merge->waiter, &spot);
    if (result != 0)
        return result;
    merge->gathered_count = 0;
    merge->deleted_count = 0;
    bool changed = gather_node(merge, &spot);
    bool absorbs = changed && spot.sibling && merge->gathered_count < TABLE_ENTRIES / 3;
    if (absorbs)
        result = table_descend(merge->tree, &spot.bound, merge->level, &merge->waiter, &neighbour);
    if (result == -EAGAIN) {
        merge->at = from;
        table_leave(&spot);
        return result;
    }
    if (result != 0)
        absorbs = false; /* A neighbour that is broken is let alone. */
    if (changed)
        consume(merge, &spot, merge->level < merge->tree->root_level);
    if (absorbs) {
        REACH(tree_table_absorbs);
        (void)gather_node(merge, &neighbour);
        consume(merge, &neighbour, true);
        table_leave(&neighbour);
    }
    table_leave(&spot);
    if (changed)
        begin_emit(merge);
    return 0;
}

static void gather_whole(struct merge *merge)
{
    merge->gathered_count = 0;
    merge->deleted_count = 0;
    while (merge->at < merge->change_count)
        gather(merge, &merge->changes[merge->at++]);
    begin_emit(merge);
}

/* --- Emitting --------------------------------------------------------------------------------- */

static void merge_finish(struct merge *merge)
{
    struct tree_checkpoint *checkpoint = merge->checkpoint;
    merge->phase = MERGE_END;
    if (merge->in_flight > 0)
        return;
    merge->checkpoint = NULL;
    page_waiter_cancel(&merge->waiter);
    if (merge->result == 0) {
        checkpoint->table = merge->root;
        checkpoint->pages_used = merge->pages;
    }
    checkpoint->done(checkpoint, merge->result);
}

static void merge_written(struct device_io *io, int result)
{
    struct merge_write *write = CONTAINER_OF(io, struct merge_write, io);
    struct merge *merge = write->merge;
    write->busy = false;
    merge->in_flight--;
    if (result != 0 && merge->result == 0)
        merge->result = result;
    if (merge->phase == MERGE_END || merge->result != 0)
        merge_finish(merge);
    else
        page_wake(merge->tree->cache, &merge->waiter);
}

static struct merge_write *write_free(struct merge *merge)
{
    for (unsigned i = 0; i < MERGE_DEPTH; i++) {
        if (!merge->writes[i].busy)
            return &merge->writes[i];
    }
    return NULL;
}

static struct pointer emit_node(struct merge *merge, struct merge_write *write,
                                const struct table_entry *entries, uint32_t count)
{
    struct tree_checkpoint *checkpoint = merge->checkpoint;
    table_encode(write->bytes, merge->level, entries, count);
    struct pointer pointer = {
        .kind = POINTER_RAW,
        .place = checkpoint->take(checkpoint->context),
        .crc = crc32c(write->bytes, BLOCK_BYTES),
    };
    for (uint32_t i = 0; i < count; i++)
        pointer.sequence = MAX(pointer.sequence, entries[i].pointer.sequence);
    write->busy = true;
    merge->in_flight++;
    merge->pages++;
    merge->tree->table_pages_written++;
    device_submit(merge->tree->devices, &write->io, DISK_WRITE, pointer.place, 1, write->bytes,
                  merge_written);
    return pointer;
}

static void above_add(struct merge *merge, const struct table_entry *entry)
{
    assert(merge->above_count < merge->limit);
    merge->above[merge->above_count++] = *entry;
}

/* Puts the deletion of an old node's entry among the insertions of this group, unless one of
 * them takes its key over. */
static void above_delete(struct merge *merge, const struct segment_key *key)
{
    uint32_t at = merge->group;
    int order = -1;
    for (; at < merge->above_count; at++) {
        order = segment_key_compare(&merge->above[at].key, key);
        if (order >= 0)
            break;
    }
    if (at < merge->above_count && order == 0)
        return;
    struct table_entry entry = {.key = *key, .pointer = {.kind = POINTER_HOLE}};
    above_add(merge, &entry);
    memmove(&merge->above[at + 1], &merge->above[at],
            (merge->above_count - 1 - at) * sizeof merge->above[0]);
    merge->above[at] = entry;
}

/* A root with one child is that child. */
static bool emit_is_idle(const struct merge *merge, bool top)
{
    return top && merge->level > 0 && merge->gathered_count == 1;
}

static void new_root(struct merge *merge, const struct pointer *pointer, unsigned level,
                     unsigned count)
{
    merge->root = *pointer;
    merge->root_level = (uint8_t)level;
    merge->root_count = count;
    merge->rooted = true;
}

/* True when the group is out. False: every buffer is busy; goes on when a write ends. */
static bool emit_group(struct merge *merge)
{
    bool top = merge->whole || merge->level == merge->tree->root_level;
    if (emit_is_idle(merge, top)) {
        /* How many entries it has is not read: as many as there may be. Were nothing said of it,
         * changes that were let in meanwhile would find that far more must be kept for them. */
        new_root(merge, &merge->gathered[0].pointer, merge->level - 1u, TABLE_ENTRIES);
        merge->nodes_left = 0;
    }
    while (merge->nodes_left > 0) {
        struct merge_write *write = write_free(merge);
        if (write == NULL)
            return false;
        const struct table_entry *first = &merge->gathered[merge->emitted];
        uint32_t count = DIV_CEIL(merge->gathered_count - merge->emitted, merge->nodes_left);
        struct table_entry entry = {.key = first->key};
        entry.pointer = emit_node(merge, write, first, count);
        above_add(merge, &entry);
        merge->emitted += count;
        merge->nodes_left--;
        if (top && merge->emitted == count && merge->nodes_left == 0)
            new_root(merge, &entry.pointer, merge->level, count);
    }
    for (unsigned i = 0; i < merge->deleted_count; i++)
        above_delete(merge, &merge->deleted[i]);
    if (top && merge->gathered_count == 0)
        new_root(merge, &(struct pointer){.kind = POINTER_HOLE}, NO_LEVEL, 0);
    merge->phase = MERGE_GATHER;
    return true;
}

/* --- The levels ------------------------------------------------------------------------------- */

/* False: there is no level above to be changed. */
static bool merge_climb(struct merge *merge)
{
    if (merge->rooted)
        return false;
    if (merge->above_count == 0) { /* Nothing differed after all. */
        new_root(merge, &merge->tree->table, merge->tree->root_level, merge->tree->root_count);
        return false;
    }
    struct table_entry *changes = merge->changes;
    merge->changes = merge->above;
    merge->change_count = merge->above_count;
    merge->above = changes;
    merge->above_count = 0;
    merge->at = 0;
    merge->whole = merge->whole || merge->level >= merge->tree->root_level;
    merge->level++;
    assert(merge->level < TABLE_LEVELS);
    return true;
}

/* 0: more in this turn; 1: later; or an error. */
static int merge_step(struct merge *merge)
{
    if (merge->phase == MERGE_EMIT)
        return emit_group(merge) ? 0 : 1;
    if (merge->at == merge->change_count) {
        if (merge_climb(merge))
            return 0;
        merge_finish(merge);
        return 1;
    }
    if (merge->whole) {
        gather_whole(merge);
        return 0;
    }
    int result = gather_group(merge);
    return result == -EAGAIN ? 1 : result;
}

static void merge_run(struct merge *merge)
{
    if (merge->phase == MERGE_END)
        return;
    for (unsigned i = 0; i < GROUPS_PER_TURN; i++) {
        int result = merge_step(merge);
        if (result == 1)
            return;
        if (result != 0) {
            REACH(tree_merge_failed);
            merge->result = result;
            merge_finish(merge);
            return;
        }
    }
    page_wake(merge->tree->cache, &merge->waiter);
}

/* In place and without help from the heap: a checkpoint allocates nothing. */
static void sift_down(struct table_entry *entries, uint32_t at, uint32_t count)
{
    struct table_entry moved = entries[at];
    for (uint32_t child; (child = 2 * at + 1) < count; at = child) {
        if (child + 1 < count &&
            segment_key_compare(&entries[child].key, &entries[child + 1].key) < 0)
            child++;
        if (segment_key_compare(&moved.key, &entries[child].key) >= 0)
            break;
        entries[at] = entries[child];
    }
    entries[at] = moved;
}

static void sort_entries(struct table_entry *entries, uint32_t count)
{
    for (uint32_t i = count / 2; i > 0; i--)
        sift_down(entries, i - 1, count);
    for (uint32_t end = count; end > 1; end--) {
        struct table_entry last = entries[end - 1];
        entries[end - 1] = entries[0];
        entries[0] = last;
        sift_down(entries, 0, end - 1);
    }
}

static void collect_frozen(struct merge *merge)
{
    struct tree *tree = merge->tree;
    merge->change_count = 0;
    for (uint32_t i = 0; i < tree->touched; i++) {
        struct segment *segment = &tree->segments[i];
        if (!segment->used || !segment->root.frozen)
            continue;
        assert(segment->root.frozen_pointer.kind <= POINTER_RAW);
        merge->changes[merge->change_count++] =
            (struct table_entry){.key = segment->key, .pointer = segment->root.frozen_pointer};
    }
    sort_entries(merge->changes, merge->change_count);
}

void merge_freeze(struct merge *merge)
{
    merge->pages = merge->tree->pages;
    merge->pages_before = merge->pages;
}

void merge_start(struct merge *merge, struct tree_checkpoint *checkpoint)
{
    assert(merge->checkpoint == NULL && merge->in_flight == 0);
    merge->checkpoint = checkpoint;
    merge->phase = MERGE_GATHER;
    merge->level = 0;
    merge->whole = merge->tree->table.kind == POINTER_HOLE;
    merge->rooted = false;
    merge->result = 0;
    merge->at = 0;
    merge->above_count = 0;
    merge->replaced_count = 0;
    collect_frozen(merge);
    page_wake(merge->tree->cache, &merge->waiter); /* Never inside the call. */
}

void merge_thaw(struct merge *merge)
{
    struct tree *tree = merge->tree;
    assert(merge->checkpoint == NULL && merge->rooted);
    tree->pages += merge->pages - merge->pages_before; /* Of the table alone; may be less. */
    tree->table = merge->root;
    tree->root_level = merge->root_level;
    tree->root_count = merge->root_count;
    for (uint32_t i = 0; i < merge->replaced_count && !MUTANT(47); i++)
        page_forget_place(tree->cache, merge->replaced[i]);
    merge->replaced_count = 0;
    merge->rooted = false;
}

void merge_close(struct merge *merge)
{
    if (merge == NULL)
        return;
    free(merge->changes);
    free(merge->above);
    free(merge->gathered);
    free(merge->replaced);
    free(merge->buffers);
    free(merge);
}

int merge_open(struct tree *tree, struct merge **ret_merge)
{
    struct merge *merge = calloc(1, sizeof *merge);
    if (merge == NULL)
        return -ENOMEM;
    merge->tree = tree;
    /* For each change: the node that it is in, a neighbour, and what they become. Most of it is
     * never touched, and so takes no memory. */
    merge->limit = 5 * tree->segments_max + 64;
    merge->gather_limit = merge->limit + 3 * TABLE_ENTRIES;
    merge->changes = calloc(merge->limit, sizeof *merge->changes);
    merge->above = calloc(merge->limit, sizeof *merge->above);
    merge->gathered = calloc(merge->gather_limit, sizeof *merge->gathered);
    merge->replaced_limit = 2 * TABLE_LEVELS * tree->segments_max + 64;
    merge->replaced = calloc(merge->replaced_limit, sizeof *merge->replaced);
    merge->buffers = aligned_alloc(BLOCK_BYTES, (size_t)MERGE_DEPTH * BLOCK_BYTES);
    *ret_merge = merge;
    if (merge->changes == NULL || merge->above == NULL || merge->gathered == NULL ||
        merge->replaced == NULL || merge->buffers == NULL)
        return -ENOMEM;
    list_init(&merge->waiter.node);
    merge->waiter.wake = merge_woken;
    for (unsigned i = 0; i < MERGE_DEPTH; i++) {
        merge->writes[i].merge = merge;
        merge->writes[i].bytes = merge->buffers + (size_t)i * BLOCK_BYTES;
    }
    return 0;
}
