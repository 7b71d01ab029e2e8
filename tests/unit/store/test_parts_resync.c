/* SPDX-License-Identifier: Apache-2.0 */
/* What another part has enters the views that should show it, and nothing is lost or freed twice.
 */
#include <string.h>

#include "codec/codec.h"
#include "format/pointer.h"
#include "unit/store/parts_rig.h"

static void open_catching_up(void)
{
    parts_open(8192, 1);
    cr_assert_eq(fence(5), 0);
    cr_assert_eq(role(PART_CATCHING_UP, 2), 0);
}

/* `count` versions of this kind and sequence, as `view` shows them. */
static int resync(uint64_t view, uint64_t block, uint32_t count, uint16_t kind, uint64_t sequence,
                  const uint64_t *cuts, uint32_t cut_count)
{
    static struct part_version sent[PART_BLOCKS_MAX];
    static uint8_t zeros[BLOCK_BYTES];
    memset(&request, 0, sizeof request);
    for (uint32_t i = 0; i < count; i++) {
        uint8_t *to = blocks + (size_t)i * BLOCK_BYTES;
        sent[i] = (struct part_version){.kind = kind, .sequence = sequence};
        memcpy(to, zeros, BLOCK_BYTES);
        if (kind != POINTER_RAW)
            continue;
        memset(to, (int)(sequence + block + i), BLOCK_BYTES);
        put64(to, block + i);
        put64(to + 8, sequence);
        sent[i].crc = crc32c(to, BLOCK_BYTES);
    }
    request.view = view;
    request.block = block;
    request.count = count;
    request.data = blocks;
    request.versions = sent;
    request.cuts = cuts;
    request.cut_count = cut_count;
    return ask(PART_RESYNC);
}

static uint64_t used_now(void)
{
    struct store_stats stats;
    for (unsigned i = 0; i < 3; i++)
        checkpoint();
    store_stats(store, &stats);
    return stats.space.used_blocks;
}

static bool shows(uint64_t block, uint64_t view, uint16_t kind, uint64_t sequence)
{
    struct part_version version = version_at(block, view);
    return version.kind == kind && version.sequence == sequence;
}

Test(parts_resync, each_view_gets_what_it_should_show)
{
    static const uint64_t cuts[] = {10, 20, 30};
    open_catching_up();
    cr_assert_eq(put_blocks(0, 4, 5, 0), 0); /* Before all cuts. */
    cr_assert_eq(resync(20, 1, 1, POINTER_RAW, 15, cuts, 3), 0);
    cr_assert(shows(1, 10, POINTER_RAW, 5), "what was replaced stays in the view before");
    cr_assert(shows(1, 20, POINTER_RAW, 15));
    cr_assert(shows(1, 30, POINTER_RAW, 15), "and later views show it");
    cr_assert(shows(1, VIEW_HEAD, POINTER_RAW, 15));
    cr_assert_eq(resync(30, 1, 1, POINTER_RAW, 25, cuts, 3), 0);
    cr_assert_eq(resync(VIEW_HEAD, 1, 1, POINTER_ZERO, 35, cuts, 3), 0);
    cr_assert(shows(1, 10, POINTER_RAW, 5));
    cr_assert(shows(1, 20, POINTER_RAW, 15));
    cr_assert(shows(1, 30, POINTER_RAW, 25));
    cr_assert(shows(1, VIEW_HEAD, POINTER_ZERO, 35));
    cr_assert(shows(0, 10, POINTER_RAW, 5));
    cr_assert(shows(0, VIEW_HEAD, POINTER_RAW, 5));
    cr_assert_eq(parts_check(), 0);
    parts_down(false, 1);
    cr_assert_eq(parts_check(), 0);
    parts_shut();
}

/* Writes of a later time are there already, in a view and the head. */
Test(parts_resync, what_is_newer_stays_and_what_is_older_goes)
{
    static const uint64_t cuts[] = {10, 20, 30};
    open_catching_up();
    cr_assert_eq(put_blocks(0, 8, 5, 0), 0);
    uint64_t used = used_now();
    cr_assert_eq(put_blocks(2, 1, 33, 30), 0); /* The head is newer; 30 shows 5. */
    cr_assert_eq(resync(10, 2, 2, POINTER_RAW, 7, cuts, 3), 0);
    cr_assert(shows(2, 10, POINTER_RAW, 7));
    cr_assert(shows(2, 30, POINTER_RAW, 7));
    cr_assert(shows(2, VIEW_HEAD, POINTER_RAW, 33));
    cr_assert(shows(3, VIEW_HEAD, POINTER_RAW, 7));
    cr_assert_eq(resync(20, 2, 1, POINTER_RAW, 15, cuts, 3), 0);
    cr_assert(shows(2, 10, POINTER_RAW, 7));
    cr_assert(shows(2, 30, POINTER_RAW, 15));
    cr_assert_eq(parts_check(), 0);
    /* All views go, the head is written anew: what is left is what was at first. */
    memset(&request, 0, sizeof request);
    cr_assert_eq(ask(PART_VIEWS), 0);
    cr_assert_eq(used_now(), used);
    cr_assert_eq(parts_check(), 0);
    parts_shut();
}

Test(parts_resync, what_is_set_aside_becomes_what_the_other_has)
{
    static const uint64_t cuts[] = {20};
    parts_open(8192, 1);
    cr_assert_eq(fence(5), 0);
    cr_assert_eq(role(PART_IN_SYNC, 2), 0);
    cr_assert_eq(put_blocks(0, 8, 5, 0), 0);
    watermark = 5;
    cr_assert_eq(put_blocks(0, 8, 15, 0), 0);
    cr_assert_eq(put_blocks(0, 4, 25, 20), 0);
    cr_assert_eq(put_blocks(9, 1, 26, 20), 0);
    cr_assert_eq(role(PART_CATCHING_UP, 3), 0);
    cr_assert_eq(request.state.aside, 8 + 8 + 1);
    uint64_t used = used_now();
    /* The other never had 15: the older one comes back, into the view and the head. */
    cr_assert_eq(resync(20, 0, 8, POINTER_RAW, 5, cuts, 1), 0);
    cr_assert(shows(0, 20, POINTER_RAW, 5));
    cr_assert(shows(0, VIEW_HEAD, POINTER_SET_ASIDE, 25), "the head has its own turn");
    cr_assert_eq(resync(VIEW_HEAD, 0, 8, POINTER_RAW, 5, cuts, 1), 0);
    cr_assert_eq(resync(VIEW_HEAD, 9, 1, POINTER_HOLE, 0, cuts, 1), 0);
    cr_assert(shows(0, VIEW_HEAD, POINTER_RAW, 5));
    cr_assert(shows(9, VIEW_HEAD, POINTER_HOLE, 0));
    cr_assert_eq(state_now().aside, 0);
    cr_assert_eq(used_now(), used + 8, "one place for what view and head share");
    watermark = 30;
    cr_assert_eq(role(PART_IN_SYNC, 4), 0);
    cr_assert_eq(get_block(3, VIEW_HEAD), 0);
    cr_assert(is_written_by(0, 3, 5));
    cr_assert_eq(parts_check(), 0);
    parts_shut();
}

Test(parts_resync, a_replay_of_it_changes_nothing)
{
    static const uint64_t cuts[] = {10, 20, 30};
    open_catching_up();
    cr_assert_eq(put_blocks(0, 64, 5, 0), 0);
    for (uint64_t round = 0; round < 3; round++) {
        cr_assert_eq(resync(cuts[round], 4 * round, 60, POINTER_RAW, 6 + 10 * round, cuts, 3), 0);
        cr_assert_eq(put_blocks(3 * round, 5, 40 + round, 30), 0);
    }
    checkpoint();
    cr_assert_eq(resync(VIEW_HEAD, 100, 20, POINTER_RAW, 34, cuts, 3), 0);
    for (unsigned i = 0; i < 3; i++) {
        parts_down(i == 1, 1);
        cr_assert(shows(12, 10, POINTER_RAW, 6));
        cr_assert(shows(12, 20, POINTER_RAW, 16));
        cr_assert(shows(12, 30, POINTER_RAW, 26));
        cr_assert(shows(7, VIEW_HEAD, POINTER_RAW, 42));
        cr_assert_eq(parts_check(), 0);
    }
    parts_shut();
}

/* The place of a block is damaged on the disk. */
static void hurt(uint64_t block, uint64_t sequence)
{
    uint8_t bytes[BLOCK_BYTES];
    for (uint64_t place = 64; place < 8192; place++) {
        sim_disk_peek(disk, place * BLOCK_BYTES, BLOCK_BYTES, bytes);
        if (get64(bytes) == block && get64(bytes + 8) == sequence && bytes[100] != 0)
            (void)sim_disk_rot(disk, place * BLOCK_BYTES, BLOCK_BYTES);
    }
}

Test(parts_resync, a_repair_reaches_every_view_that_shows_the_damage)
{
    static struct part_version sent[2];
    parts_open(8192, 1);
    cr_assert_eq(fence(5), 0);
    cr_assert_eq(role(PART_IN_SYNC, 2), 0);
    cr_assert_eq(put_blocks(1, 2, 5, 0), 0);
    cr_assert_eq(put_blocks(7, 1, 12, 10), 0);
    cr_assert_eq(put_blocks(8, 1, 22, 20), 0);
    uint64_t used = used_now();
    hurt(1, 5);
    cr_assert_eq(get_block(1, 10), IOMESH_CORRUPT);
    cr_assert_eq(request.bad[0], 1);
    memset(&request, 0, sizeof request);
    for (uint32_t i = 0; i < 2; i++) {
        uint8_t *to = blocks + (size_t)i * BLOCK_BYTES;
        memset(to, (int)(5 + 1 + i), BLOCK_BYTES);
        put64(to, 1 + i);
        put64(to + 8, 5);
        sent[i] = (struct part_version){
            .kind = POINTER_RAW, .sequence = 5 + i, .crc = crc32c(to, BLOCK_BYTES)};
    }
    request.view = VIEW_HEAD;
    request.block = 1;
    request.count = 2;
    request.data = blocks;
    request.versions = sent;
    cr_assert_eq(ask(PART_REPAIR), 0);
    static const uint64_t views[] = {10, 20, VIEW_HEAD};
    for (unsigned i = 0; i < 3; i++) {
        cr_assert_eq(get_block(1, views[i]), 0);
        cr_assert(is_written_by(0, 1, 5));
        cr_assert_eq(get_block(2, views[i]), 0, "the other was not damaged, nor of that sequence");
        cr_assert(is_written_by(0, 2, 5));
    }
    cr_assert_eq(used_now(), used);
    cr_assert_eq(parts_check(), 0);
    parts_shut();
}

static int zeros(uint64_t block, uint32_t count, uint64_t sequence)
{
    request = (struct part_request){.block = block, .count = count, .sequence = sequence};
    request.views = true;
    return ask(PART_ZERO);
}

/* While it catches up zeros are told of what is not there, too. On a full store they are where that
 * makes no page. */
Test(parts_resync, zeros_that_make_no_page_go_through_on_a_full_store)
{
    open_catching_up();
    cr_assert_eq(put_blocks(2 * MAP_BLOCKS, 1, 3, 0), 0);
    for (uint64_t i = 0; i < 2; i++)
        cr_assert_eq(zeros(i, 1, 4 + i), 0); /* A page of zeros. */
    int result = 0;
    uint64_t sequence = 10;
    for (uint64_t block = 4 * MAP_BLOCKS; result == 0; block += 32)
        result = put_blocks(block, 32, sequence++, 0);
    cr_assert_eq(result, -ENOSPC);
    for (uint64_t block = 60000; put_blocks(block, 1, sequence++, 0) == 0; block++)
        ;
    uint64_t used = used_now();
    cr_assert_eq(zeros(8, 20, sequence++), 0, "in the page that is there");
    cr_assert(shows(9, VIEW_HEAD, POINTER_ZERO, sequence - 1));
    cr_assert_eq(zeros(0, MAP_BLOCKS, sequence++), 0, "all of it: the page goes");
    cr_assert_eq(zeros(3 * MAP_BLOCKS, MAP_BLOCKS, sequence++), 0, "in a slot of the directory");
    cr_assert(shows(3 * MAP_BLOCKS, VIEW_HEAD, POINTER_ZERO, sequence - 1));
    cr_assert_leq(used_now(), used);
    cr_assert_eq(parts_check(), 0);
    parts_shut();
}
