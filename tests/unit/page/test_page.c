/* SPDX-License-Identifier: Apache-2.0 */
#include "codec/codec.h"
#include "pages.h"

static const struct pointer hole = {.kind = POINTER_HOLE};

/* A root of level 1 with one leaf of pointers under slot 3, written and in the cache no more. */
static struct pages *one_leaf(struct page_root *root)
{
    struct pages *pages = pages_open(1, 64);
    *root = (struct page_root){.level = 1};
    struct page *top = page_create_root(pages->cache, root, &hole);
    struct page *leaf = page_create(pages->cache, top, 3, &hole);
    struct pointer pointer = pages_data(100, 5);
    page_set_slot(leaf, 9, &pointer);
    page_unpin(leaf);
    page_unpin(top);
    pages_checkpoint(pages);
    pages_reopen(pages, 64);
    root->page = NULL;
    return pages;
}

static uint64_t leaf_sequence(struct pages *pages, struct page_root *root, unsigned slot)
{
    struct page *top = pages_root(pages, root);
    struct page *leaf = pages_child(pages, top, 3);
    cr_assert_not_null(leaf);
    uint64_t sequence = page_slot(leaf, slot).sequence;
    page_unpin(leaf);
    page_unpin(top);
    return sequence;
}

static void leaf_set(struct pages *pages, struct page_root *root, unsigned slot, uint64_t sequence)
{
    struct page *top = pages_root(pages, root);
    struct page *leaf = pages_child(pages, top, 3);
    cr_assert_not_null(leaf);
    struct pointer pointer = pages_data(200, sequence);
    page_set_slot(leaf, slot, &pointer);
    page_unpin(leaf);
    page_unpin(top);
}

Test(page, written_pages_are_read_back)
{
    struct page_root root;
    struct pages *pages = one_leaf(&root);
    cr_assert_eq(root.pointer.kind, POINTER_RAW);
    cr_assert_eq(leaf_sequence(pages, &root, 9), 5);
    cr_assert_eq(pages->taken, 2);
    cr_assert_eq(pages->replaced, 0);
    pages_close(pages);
}

Test(page, a_pointer_says_the_newest_sequence_beneath)
{
    struct page_root root;
    struct pages *pages = one_leaf(&root);
    cr_assert_eq(root.pointer.sequence, 5);
    leaf_set(pages, &root, 200, 77);
    leaf_set(pages, &root, 201, 6);
    pages_checkpoint(pages);
    cr_assert_eq(root.pointer.sequence, 77);
    pages_close(pages);
}

Test(page, one_read_however_many_wait)
{
    struct page_root root;
    struct pages *pages = one_leaf(&root);
    struct page_waiter more[3];
    struct page *page;
    for (unsigned i = 0; i < 3; i++) {
        list_init(&more[i].node);
        more[i].wake = pages_woken;
        cr_assert_eq(page_open_root(pages->cache, &root, &more[i], &page), -EAGAIN);
    }
    cr_assert_eq(page_open_root(pages->cache, &root, &pages->waiter, &page), -EAGAIN);
    page_waiter_cancel(&more[0]);
    page_waiter_cancel(&more[1]);
    page_waiter_cancel(&more[2]);
    pages_settle(pages);
    cr_assert_eq(pages->disk->counts.reads, 1);
    cr_assert_eq(pages->woken, 1);
    pages_close(pages);
}

Test(page, each_flipped_bit_is_corrupt_and_never_data)
{
    struct page_root root;
    struct pages *pages = one_leaf(&root);
    struct prng prng = {.state = 3};
    for (unsigned i = 0; i < 200; i++) {
        uint64_t offset = root.pointer.place * BLOCK_BYTES + prng_below(&prng, BLOCK_BYTES);
        uint8_t before, after;
        sim_disk_peek(pages->disk, offset, 1, &before);
        after = (uint8_t)(before ^ 1u << prng_below(&prng, 8));
        sim_disk_poke(pages->disk, offset, 1, &after);
        struct page *page;
        cr_assert_eq(page_open_root(pages->cache, &root, &pages->waiter, &page), -EAGAIN);
        pages_settle(pages);
        cr_assert_eq(page_open_root(pages->cache, &root, &pages->waiter, &page), IOMESH_CORRUPT);
        sim_disk_poke(pages->disk, offset, 1, &before);
        /* Told once to the one who waited; who asks again reads again. */
        page_unpin(pages_root(pages, &root));
        cr_assert_eq(page_release_root(pages->cache, &root, NULL), 0);
    }
    pages_close(pages);
}

Test(page, a_page_of_pointers_that_are_none_is_corrupt)
{
    struct page_root root;
    struct pages *pages = one_leaf(&root);
    static const uint16_t kinds[] = {POINTER_BAD, POINTER_PREPARED, POINTER_RUN, 6, 0x800, 0xfff};
    for (unsigned i = 0; i < COUNT_OF(kinds); i++) {
        _Alignas(512) uint8_t bytes[BLOCK_BYTES] = {0};
        put48(bytes + 16, 100 | (uint64_t)kinds[i] << 36);
        sim_disk_poke(pages->disk, 50 * BLOCK_BYTES, BLOCK_BYTES, bytes);
        root.pointer.place = 50;
        root.pointer.crc = crc32c(bytes, BLOCK_BYTES);
        struct page *page;
        cr_assert_eq(page_open_root(pages->cache, &root, &pages->waiter, &page), -EAGAIN);
        pages_settle(pages);
        cr_assert_eq(page_open_root(pages->cache, &root, &pages->waiter, &page), IOMESH_CORRUPT);
    }
    root.pointer.place = PAGES_BLOCKS; /* Beyond every device. */
    struct page *page;
    cr_assert_eq(page_open_root(pages->cache, &root, &pages->waiter, &page), IOMESH_CORRUPT);
    pages_close(pages);
}

Test(page, a_read_error_is_told_and_passes)
{
    struct page_root root;
    struct pages *pages = one_leaf(&root);
    pages->disk->faults.read_error_at = 1;
    struct page *page;
    cr_assert_eq(page_open_root(pages->cache, &root, &pages->waiter, &page), -EAGAIN);
    pages_settle(pages);
    cr_assert_eq(page_open_root(pages->cache, &root, &pages->waiter, &page), -EIO);
    cr_assert_eq(leaf_sequence(pages, &root, 9), 5);
    cr_assert_eq(pages->devices.failed, 0);
    pages_close(pages);
}

Test(page, a_checkpoint_has_what_was_true_at_the_freeze)
{
    struct page_root root;
    struct pages *pages = one_leaf(&root);
    leaf_set(pages, &root, 10, 20);
    page_freeze(pages->cache);
    pages_write_start(pages);
    leaf_set(pages, &root, 10, 30); /* Before any write, */
    page_write_turn(&pages->write);
    leaf_set(pages, &root, 11, 31); /* and while they fly. */
    pages_settle(pages);
    cr_assert_eq(pages->write_result, 0);
    struct page_root durable = {.level = 1, .pointer = root.frozen_pointer};
    page_thaw(pages->cache);
    cr_assert_eq(leaf_sequence(pages, &root, 10), 30);
    cr_assert_eq(leaf_sequence(pages, &root, 11), 31);
    cr_assert_eq(page_dirty_count(pages->cache), 2);

    pages_reopen(pages, 64);
    cr_assert_eq(leaf_sequence(pages, &durable, 10), 20);
    cr_assert_eq(leaf_sequence(pages, &durable, 11), 0);
    cr_assert_eq(leaf_sequence(pages, &durable, 9), 5);
    pages_close(pages);
}

Test(page, a_frozen_page_that_stays_as_it_was_is_clean_once_written)
{
    struct page_root root;
    struct pages *pages = one_leaf(&root);
    leaf_set(pages, &root, 10, 20);
    cr_assert_eq(page_dirty_count(pages->cache), 2);
    pages_checkpoint(pages);
    cr_assert_eq(page_dirty_count(pages->cache), 0);
    cr_assert_eq(pages->replaced, 2);
    cr_assert_eq(page_release_root(pages->cache, &root, NULL), 0);
    cr_assert_eq(leaf_sequence(pages, &root, 10), 20);
    pages_close(pages);
}

Test(page, dropped_before_it_was_written_frees_nothing)
{
    struct page_root root;
    struct pages *pages = one_leaf(&root);
    struct page *top = pages_root(pages, &root);
    struct page *page = page_create(pages->cache, top, 4, &hole);
    page_drop(page, &hole);
    cr_assert_eq(pages->freed, 0);
    page_unpin(top);
    pages_checkpoint(pages);
    cr_assert_eq(pages->freed, 0);
    cr_assert_eq(pages->replaced, 1); /* The root. */
    pages_close(pages);
}

Test(page, dropped_clean_frees_its_place_at_once)
{
    struct page_root root;
    struct pages *pages = one_leaf(&root);
    struct page *top = pages_root(pages, &root);
    uint64_t place = page_slot(top, 3).place;
    page_drop(pages_child(pages, top, 3), &hole);
    cr_assert_eq(pages->freed, 1);
    cr_assert_eq(pages->state[place], 2);
    cr_assert_eq(page_slot(top, 3).kind, POINTER_HOLE);
    page_unpin(top);
    pages_close(pages);
}

Test(page, dropped_while_frozen_is_still_written_for_the_checkpoint)
{
    for (unsigned turns = 0; turns < 2; turns++) {
        struct page_root root;
        struct pages *pages = one_leaf(&root);
        leaf_set(pages, &root, 10, 20);
        page_freeze(pages->cache);
        pages_write_start(pages);
        if (turns > 0)
            page_write_turn(&pages->write); /* The leaf flies. */
        struct page *top = pages_root(pages, &root);
        page_drop(pages_child(pages, top, 3), &hole);
        cr_assert_eq(pages->freed, 0);
        /* Something else may stand there at once. */
        struct page *next = page_create(pages->cache, top, 3, &hole);
        struct pointer pointer = pages_data(300, 40);
        page_set_slot(next, 12, &pointer);
        page_unpin(next);
        page_unpin(top);
        pages_settle(pages);
        cr_assert_eq(pages->freed, 1); /* The version just written. */
        cr_assert_eq(pages->replaced, 2);
        struct page_root durable = {.level = 1, .pointer = root.frozen_pointer};
        page_thaw(pages->cache);
        cr_assert_eq(leaf_sequence(pages, &root, 12), 40);
        cr_assert_eq(leaf_sequence(pages, &root, 10), 0);
        pages_reopen(pages, 64);
        cr_assert_eq(leaf_sequence(pages, &durable, 10), 20);
        pages_close(pages);
    }
}

Test(page, a_root_dropped_while_frozen_leaves_the_live_root_alone)
{
    struct page_root root;
    struct pages *pages = one_leaf(&root);
    leaf_set(pages, &root, 10, 20);
    page_freeze(pages->cache);
    struct page *top = pages_root(pages, &root);
    page_drop(pages_child(pages, top, 3), &hole);
    page_drop(top, &hole);
    pages_write_start(pages);
    pages_settle(pages);
    cr_assert_eq(root.pointer.kind, POINTER_HOLE);
    cr_assert_eq(root.frozen_pointer.kind, POINTER_RAW);
    cr_assert_eq(pages->freed, 2);
    cr_assert_eq(pages->replaced, 2);
    struct page_root durable = {.level = 1, .pointer = root.frozen_pointer};
    page_thaw(pages->cache);
    cr_assert(root.dirty);
    pages_reopen(pages, 64);
    cr_assert_eq(leaf_sequence(pages, &durable, 10), 20);
    pages_close(pages);
}

Test(page, a_failed_write_ends_once_and_keeps_everything)
{
    struct page_root root;
    struct pages *pages = one_leaf(&root);
    leaf_set(pages, &root, 10, 20);
    pages->disk->faults.write_error_at = pages->disk->counts.writes + 1;
    page_freeze(pages->cache);
    pages_write_start(pages);
    pages_settle(pages);
    cr_assert(pages->write_over);
    cr_assert_eq(pages->write_result, IOMESH_FAILED);
    cr_assert_eq(pages->replaced + pages->freed, 0);
    cr_assert_eq(leaf_sequence(pages, &root, 10), 20);
    struct page_cache_stats stats;
    page_cache_stats(pages->cache, &stats);
    cr_assert_eq(stats.frozen, 2);
    pages_close(pages);
}

Test(page, a_reservation_waits_for_frames_and_is_woken)
{
    struct pages *pages = pages_open(1, 64);
    cr_assert_eq(page_reserve(pages->cache, 16, &pages->waiter), 0);
    cr_assert_eq(page_reserve(pages->cache, 1, &pages->waiter), -EAGAIN);
    cr_assert(!page_turn_needed(pages->cache));
    page_unreserve(pages->cache, 16);
    cr_assert(page_turn_needed(pages->cache));
    cr_assert_eq(pages->woken, 0);
    pages_turn(pages);
    cr_assert_eq(pages->woken, 1);
    pages_close(pages);
}

Test(page, a_change_never_lacks_a_frame_that_was_reserved)
{
    struct pages *pages = pages_open(1, 64);
    struct page_root root = {.level = 1};
    struct page *top = page_create_root(pages->cache, &root, &hole);
    unsigned made = 0;
    while (page_reserve(pages->cache, 2, &pages->waiter) == 0) {
        page_unpin(page_create(pages->cache, top, made++, &hole));
        page_unreserve(pages->cache, 2);
        cr_assert_lt(made, 64);
    }
    cr_assert_geq(made, 64 / 3);
    cr_assert(page_wants_checkpoint(pages->cache));
    page_unpin(top);
    pages_checkpoint(pages);
    pages_turn(pages);
    cr_assert_eq(pages->woken, 1);
    cr_assert_eq(page_reserve(pages->cache, 2, &pages->waiter), 0);
    pages_close(pages);
}

Test(page, a_page_of_bytes_keeps_the_sequence_it_was_given)
{
    struct pages *pages = pages_open(1, 64);
    struct page_root root = {.level = 1, .leaf_is_bytes = true};
    struct page *top = page_create_root(pages->cache, &root, &hole);
    struct page *leaf = page_create(pages->cache, top, 0, NULL);
    memset(page_change(leaf), 0xee, BLOCK_BYTES); /* As pointers: nonsense. */
    page_annotate(leaf, 123);
    page_freeze(pages->cache);
    page_annotate(leaf, 124);
    pages_write_start(pages);
    pages_settle(pages);
    cr_assert_eq(page_slot(top, 0).sequence, 124);
    cr_assert_eq(page_slot(top, 0).kind, POINTER_RAW);
    struct page_root durable = {.level = 1, .leaf_is_bytes = true, .pointer = root.frozen_pointer};
    page_unpin(leaf);
    page_unpin(top);
    page_thaw(pages->cache);
    pages_reopen(pages, 64);
    top = pages_root(pages, &durable);
    cr_assert_eq(page_slot(top, 0).sequence, 123);
    leaf = pages_child(pages, top, 0);
    cr_assert_eq(page_bytes(leaf)[4095], 0xee);
    page_unpin(leaf);
    page_unpin(top);
    pages_close(pages);
}

Test(page, a_scan_does_not_wash_out_what_is_used)
{
    struct pages *pages = pages_open(1, 64);
    struct page_root root = {.level = 1};
    for (unsigned i = 0; i < 256; i += 16) {
        struct page *top =
            i == 0 ? page_create_root(pages->cache, &root, &hole) : pages_root(pages, &root);
        for (unsigned j = i; j < i + 16; j++)
            page_unpin(page_create(pages->cache, top, j, &hole));
        page_unpin(top);
        pages_checkpoint(pages);
    }
    struct page *top = pages_root(pages, &root);
    for (unsigned round = 0; round < 20; round++) { /* Eight pages, used again and again, */
        for (unsigned i = 0; i < 8; i++)
            page_unpin(pages_child(pages, top, i));
        for (unsigned i = 0; i < 10; i++)
            page_unpin(pages_child(pages, top, 20 + (round * 10 + i) % 200));
    }
    for (unsigned i = 20; i < 256; i++) /* then a scan. */
        page_unpin(pages_child(pages, top, i));
    uint64_t before = pages->disk->counts.reads;
    for (unsigned i = 0; i < 8; i++)
        page_unpin(pages_child(pages, top, i));
    cr_assert_eq(pages->disk->counts.reads, before);
    page_unpin(top);
    pages_close(pages);
}

Test(page, pages_by_place_are_checked_and_forgotten)
{
    struct pages *pages = pages_open(1, 64);
    _Alignas(512) uint8_t bytes[BLOCK_BYTES] = {1, 2, 3};
    sim_disk_poke(pages->disk, 70 * BLOCK_BYTES, BLOCK_BYTES, bytes);
    struct pointer pointer = {.kind = POINTER_RAW, .place = 70, .crc = crc32c(bytes, BLOCK_BYTES)};
    struct page *page;
    cr_assert_eq(page_open_place(pages->cache, &pointer, &pages->waiter, &page), -EAGAIN);
    page_forget_place(pages->cache, 70); /* While it is read. */
    pages_settle(pages);
    cr_assert_eq(pages->woken, 1);
    cr_assert_eq(page_open_place(pages->cache, &pointer, &pages->waiter, &page), -EAGAIN);
    pages_settle(pages);
    cr_assert_eq(page_open_place(pages->cache, &pointer, &pages->waiter, &page), 0);
    cr_assert_eq(page_bytes(page)[2], 3);
    page_unpin(page);
    page_forget_place(pages->cache, 70);
    bytes[0] = 9;
    sim_disk_poke(pages->disk, 70 * BLOCK_BYTES, BLOCK_BYTES, bytes);
    cr_assert_eq(page_open_place(pages->cache, &pointer, &pages->waiter, &page), -EAGAIN);
    pages_settle(pages);
    cr_assert_eq(page_open_place(pages->cache, &pointer, &pages->waiter, &page), IOMESH_CORRUPT);
    pages_close(pages);
}

Test(page, who_finds_every_frame_pinned_is_woken_when_one_is_let_go)
{
    struct pages *pages = pages_open(1, 64);
    struct page_root root = {.level = 1};
    for (unsigned i = 0; i < 128; i += 16) {
        struct page *top =
            i == 0 ? page_create_root(pages->cache, &root, &hole) : pages_root(pages, &root);
        for (unsigned j = i; j < i + 16; j++)
            page_unpin(page_create(pages->cache, top, j, &hole));
        page_unpin(top);
        pages_checkpoint(pages);
    }
    struct page *top = pages_root(pages, &root);
    struct page *pinned[63], *page;
    for (unsigned i = 0; i < 63; i++)
        pinned[i] = pages_child(pages, top, i);
    pages_settle(pages);
    pages->woken = 0;
    cr_assert_eq(page_open(pages->cache, top, 100, &pages->waiter, &page), -EAGAIN);
    pages_settle(pages);
    cr_assert_eq(pages->woken, 0);
    page_unpin(pinned[40]);
    cr_assert_eq(pages->woken, 0);
    pages_settle(pages);
    cr_assert_eq(pages->woken, 1);
    cr_assert_not_null(pages_child(pages, top, 100));
    pages_close(pages);
}

Test(page, a_version_that_was_given_away_is_not_replaced)
{
    struct page_root root, other = {.pointer = {.kind = POINTER_HOLE}};
    struct pages *pages = one_leaf(&root);
    struct page *top = pages_root(pages, &root);
    struct page *leaf = pages_child(pages, top, 3);
    uint64_t place = page_pointer(leaf).place;
    cr_assert(!page_changed(leaf));
    struct pointer given = page_disown(leaf);
    cr_assert_eq(given.place, place);
    cr_assert_eq(given.sequence, 5);
    cr_assert(page_changed(leaf));
    cr_assert_eq(page_pointer(leaf).kind, POINTER_HOLE);
    page_unpin(leaf);
    page_unpin(top);
    page_set_root(pages->cache, &other, &given);
    leaf_set(pages, &root, 9, 8);
    pages_checkpoint(pages);
    cr_assert_eq(pages->state[place], 1);
    cr_assert_eq(pages->replaced, 1); /* The root's. */
    struct page *copy = pages_root(pages, &other);
    cr_assert_eq(page_slot(copy, 9).sequence, 5);
    page_drop(copy, &hole);
    cr_assert_eq(pages->state[place], 2);
    cr_assert_eq(leaf_sequence(pages, &root, 9), 8);
    pages_close(pages);
}

Test(page, a_page_moves_to_another_root_as_it_is)
{
    for (unsigned dirty = 0; dirty < 2; dirty++) {
        struct pages *pages = pages_open(1, 64);
        struct page_root from = {.pointer = hole}, to = {.pointer = hole};
        struct page *page = page_create_root(pages->cache, &from, &hole);
        struct pointer pointer = pages_data(100, 5);
        page_set_slot(page, 9, &pointer);
        if (dirty == 0)
            pages_checkpoint(pages);
        page_move_root(pages->cache, &from, &to);
        cr_assert_eq(from.pointer.kind, POINTER_HOLE);
        cr_assert_null(page_cached_root(&from));
        cr_assert_eq(page_cached_root(&to), page);
        pointer.sequence = 6;
        page_set_slot(page, 10, &pointer);
        page_unpin(page);
        pages_checkpoint(pages);
        cr_assert_eq(from.frozen_pointer.kind, POINTER_HOLE);
        cr_assert_eq(to.frozen_pointer.sequence, 6);
        cr_assert_eq(pages->replaced, dirty == 0 ? 1 : 0);
        pages_reopen(pages, 64);
        to = (struct page_root){.pointer = to.pointer};
        page = pages_root(pages, &to);
        cr_assert_eq(page_slot(page, 9).sequence, 5);
        page_unpin(page);
        pages_close(pages);
    }
}

Test(page, a_copy_goes_its_own_way)
{
    struct page_root root, other = {.pointer = {.kind = POINTER_HOLE}};
    struct pages *pages = one_leaf(&root);
    struct page *top = pages_root(pages, &root);
    struct page *leaf = pages_child(pages, top, 3);
    struct page *copy = page_copy_root(pages->cache, &other, leaf);
    struct pointer pointer = pages_data(200, 9);
    page_set_slot(leaf, 9, &pointer);
    cr_assert_eq(page_slot(copy, 9).sequence, 5);
    page_unpin(copy);
    page_unpin(leaf);
    page_unpin(top);
    pages_checkpoint(pages);
    cr_assert_eq(other.frozen_pointer.kind, POINTER_RAW);
    cr_assert_eq(other.frozen_pointer.sequence, 5);
    pages_close(pages);
}
