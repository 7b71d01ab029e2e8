/* SPDX-License-Identifier: Apache-2.0 */
/* A part obeys whom it was fenced to, and remembers. */
#include <stdlib.h>
#include <string.h>

#include "format/pointer.h"
#include "store/internal.h"
#include "unit/store/parts_rig.h"

/* In sync, with one block of each sequence up to `last`. */
static void open_in_sync(uint64_t last)
{
    parts_open(8192, 1);
    cr_assert_eq(fence(5), 0);
    cr_assert_eq(request.state.role, PART_NEW);
    cr_assert_eq(role(PART_IN_SYNC, 2), 0);
    for (uint64_t i = 1; i <= last; i++) {
        watermark = i - 1;
        cr_assert_eq(put_blocks(i, 1, i, 0), 0);
    }
}

Test(parts, nobody_is_obeyed_before_a_fence)
{
    parts_open(8192, 1);
    epoch = 1;
    cr_assert_eq(put_blocks(0, 1, 1, 0), IOMESH_FENCED);
    cr_assert_eq(get_block(0, VIEW_HEAD), IOMESH_FENCED);
    cr_assert_eq(role(PART_IN_SYNC, 1), IOMESH_FENCED);
    cr_assert_eq(fence(3), 0);
    cr_assert_eq(get_block(0, VIEW_HEAD), IOMESH_CONFLICT, "it has no role");
    cr_assert_eq(role(PART_IN_SYNC, 1), 0);
    cr_assert_eq(get_block(0, VIEW_HEAD), 0);
    cr_assert_eq(versions[0].kind, POINTER_HOLE);
    parts_shut();
}

Test(parts, only_the_epoch_of_the_fence_is_obeyed)
{
    open_in_sync(3);
    epoch = 4;
    cr_assert_eq(put_blocks(0, 1, 9, 0), IOMESH_FENCED);
    cr_assert_eq(request.state.epoch, 5, "it says whose it is");
    epoch = 6;
    cr_assert_eq(put_blocks(0, 1, 9, 0), IOMESH_FENCED, "nor a newer one");
    epoch = 5;
    cr_assert_eq(fence(4), IOMESH_FENCED);
    cr_assert_eq(fence(6), 0);
    cr_assert_eq(request.state.watermark, 2);
    cr_assert_eq(request.state.role, PART_IN_SYNC);
    epoch = 5;
    cr_assert_eq(get_block(1, VIEW_HEAD), IOMESH_FENCED);
    epoch = 6;
    cr_assert_eq(get_block(1, VIEW_HEAD), 0);
    cr_assert(is_written_by(0, 1, 1));
    generation = 1;
    cr_assert_eq(put_blocks(0, 1, 9, 0), IOMESH_CONFLICT);
    cr_assert_eq(request.state.generation, 2);
    generation = 4;
    cr_assert_eq(put_blocks(0, 1, 9, 0), 0, "a newer one is taken over");
    generation = 3;
    cr_assert_eq(put_blocks(0, 1, 10, 0), IOMESH_CONFLICT);
    parts_shut();
}

Test(parts, a_fence_and_a_role_survive_the_process_and_power_loss)
{
    open_in_sync(3);
    cr_assert_eq(fence(8), 0);
    for (unsigned i = 0; i < 4; i++) {
        parts_down(i % 2 != 0, 1);
        struct part_state state = state_now();
        cr_assert_eq(state.epoch, 8);
        cr_assert_eq(state.role, PART_IN_SYNC);
        cr_assert_eq(state.role_generation, 2);
        cr_assert_eq(state.watermark, 2);
        epoch = 5;
        cr_assert_eq(put_blocks(0, 1, 9, 0), IOMESH_FENCED);
        epoch = 8;
    }
    cr_assert_eq(parts_check(), 0);
    cr_assert_eq(state_now().epoch, 8);
    parts_shut();
}

/* Where the old log fills its region that would be over its beginning, and who recovers next, if
 * this one is killed, needs it whole. */
Test(parts, recovery_writes_nothing_to_the_log_before_its_checkpoint_ends)
{
    open_in_sync(5);
    for (unsigned i = 0; i < 4; i++) {
        const struct superblock *super = &store->super;
        uint64_t offset = super->journal_place * BLOCK_BYTES;
        size_t length = (size_t)super->journal_blocks * BLOCK_BYTES;
        uint64_t incarnation = super->incarnation;
        uint8_t *before = malloc(length), *after = malloc(length);
        cr_assert(before != NULL && after != NULL);
        watermark = 10 + i;
        cr_assert_eq(put_blocks(0, 1, 20 + i, 0), 0, "its record says more than its part's state");
        sim_disk_kill(disk);
        sim_disk_peek(disk, offset, length, before);
        parts_down(false, 1);
        sim_disk_peek(disk, offset, length, after);
        cr_assert_eq(store->super.incarnation, incarnation + 1);
        cr_assert_eq(memcmp(before, after, length), 0);
        cr_assert_eq(state_now().watermark, 10 + i);
        free(before);
        free(after);
    }
    cr_assert_eq(parts_check(), 0);
    cr_assert_eq(state_now().watermark, 13);
    parts_shut();
}

Test(parts, a_write_that_is_in_no_batch_is_dropped_by_a_fence)
{
    open_in_sync(1);
    static struct part_request write, fences;
    static uint8_t data_of[BLOCK_BYTES] __attribute__((aligned(4096)));
    uint32_t sum;
    cr_assert_eq(put_blocks(1, 1, 20, 0), 0);
    memcpy(data_of, blocks, sizeof data_of);
    sum = crcs[0];
    write = (struct part_request){
        .block = 2, .count = 1, .sequence = 21, .data = data_of, .crcs = &sum};
    ask_begin(&write, PART_WRITE);
    fences = (struct part_request){.epoch = 6};
    ask_begin(&fences, PART_FENCE);
    cr_assert_eq(ask_wait(&fences), 0);
    cr_assert_eq(ask_wait(&write), 0, "it was in a batch: it is finished");
    epoch = 6;
    cr_assert_eq(version_at(2, VIEW_HEAD).sequence, 21);
    parts_shut();
}

Test(parts, another_boot_trusts_what_was_flushed)
{
    open_in_sync(5);
    cr_assert_eq(state_now().watermark, 4);
    request = (struct part_request){0};
    watermark = 5;
    cr_assert_eq(ask(PART_FLUSH), 0);
    cr_assert_eq(request.state.flushed, 5);
    for (uint64_t i = 6; i <= 8; i++) {
        watermark = i - 1;
        cr_assert_eq(put_blocks(i, 1, i, 0), 0);
    }
    parts_down(false, 1);
    cr_assert_eq(state_now().watermark, 7, "the same boot has all of it");
    cr_assert(!state_now().restarted);
    parts_down(true, 2);
    struct part_state state = state_now();
    cr_assert_eq(state.watermark, state.flushed);
    cr_assert(state.restarted);
    cr_assert_eq(role(PART_IN_SYNC, 3), 0);
    cr_assert(!state_now().restarted);
    parts_down(false, 2);
    cr_assert(!state_now().restarted);
    parts_shut();
}

/* The machine goes on, and its boot id with it. */
Test(parts, after_a_device_failed_what_was_flushed_is_trusted_on_the_same_boot)
{
    uint8_t told[16];
    open_in_sync(5);
    request = (struct part_request){0};
    watermark = 5;
    cr_assert_eq(ask(PART_FLUSH), 0);
    for (uint64_t i = 6; i <= 8; i++) {
        watermark = i - 1;
        cr_assert_eq(put_blocks(i, 1, i, 0), 0);
    }
    memcpy(told, store_port(store)->boot_id, sizeof told);
    parts_down(false, 1);
    cr_assert_eq(memcmp(store_port(store)->boot_id, told, sizeof told), 0);
    cr_assert_eq(state_now().watermark, 7);
    options.failed = true;
    parts_down(false, 1);
    options.failed = false;
    struct part_state state = state_now();
    cr_assert_eq(state.watermark, state.flushed);
    cr_assert(state.restarted);
    cr_assert_neq(memcmp(store_port(store)->boot_id, told, 8), 0, "coordinators compare eight");
    memcpy(told, store_port(store)->boot_id, sizeof told);
    cr_assert_eq(role(PART_IN_SYNC, 3), 0);
    parts_down(false, 1);
    cr_assert(!state_now().restarted);
    cr_assert_eq(memcmp(store_port(store)->boot_id, told, sizeof told), 0, "it stays changed");
    parts_shut();
}

Test(parts, a_checkpoint_forgets_no_watermark)
{
    open_in_sync(6);
    checkpoint();
    checkpoint();
    parts_down(false, 1);
    cr_assert_eq(state_now().watermark, 5);
    cr_assert_eq(parts_check(), 0);
    cr_assert_eq(state_now().watermark, 5);
    parts_shut();
}

Test(parts, while_it_catches_up_it_hears_and_does_not_trust)
{
    open_in_sync(4);
    cr_assert_eq(role(PART_CATCHING_UP, 3), 0);
    watermark = 40;
    cr_assert_eq(put_blocks(9, 1, 41, 0), 0);
    cr_assert_eq(state_now().watermark, 3);
    cr_assert_eq(state_now().heard, 40);
    cr_assert_eq(get_block(1, VIEW_HEAD), IOMESH_CONFLICT);
    parts_shut();
}

Test(parts, what_is_ahead_is_set_aside_once_for_a_generation)
{
    open_in_sync(4); /* The watermark is 3: block 4 may be one write ahead. */
    cr_assert_eq(role(PART_CATCHING_UP, 3), 0);
    cr_assert_eq(request.state.aside, 1);
    cr_assert_eq(version_at(4, VIEW_HEAD).kind, POINTER_SET_ASIDE);
    cr_assert_eq(version_at(4, VIEW_HEAD).sequence, 4);
    cr_assert_eq(version_at(3, VIEW_HEAD).kind, POINTER_RAW);
    cr_assert_eq(put_blocks(5, 1, 9, 0), 0);
    cr_assert_eq(role(PART_CATCHING_UP, 3), 0);
    cr_assert_eq(version_at(5, VIEW_HEAD).kind, POINTER_RAW, "asked again, nothing changes");
    cr_assert_eq(role(PART_IN_SYNC, 4), -EBUSY);
    generation = 4;
    cr_assert_eq(put_blocks(4, 1, 4, 0), 0, "the same write, sent again");
    cr_assert_eq(state_now().aside, 0);
    watermark = 9;
    cr_assert_eq(role(PART_IN_SYNC, 5), 0);
    cr_assert_eq(state_now().watermark, 9);
    cr_assert_eq(get_block(4, VIEW_HEAD), 0);
    cr_assert(is_written_by(0, 4, 4));
    cr_assert_eq(parts_check(), 0);
    parts_shut();
}

Test(parts, what_was_not_settled_is_set_aside_too)
{
    settled = 2;
    open_in_sync(6);
    cr_assert_eq(state_now().watermark, 5);
    cr_assert_eq(state_now().settled, 2);
    settled = UINT64_MAX;
    watermark = 40; /* Of others, while this one was away: too late to trust. */
    cr_assert_eq(role(PART_CATCHING_UP, 3), 0);
    cr_assert_eq(request.state.watermark, 2);
    cr_assert_eq(request.state.aside, 4);
    cr_assert_eq(version_at(3, VIEW_HEAD).kind, POINTER_SET_ASIDE);
    cr_assert_eq(version_at(2, VIEW_HEAD).kind, POINTER_RAW);
    parts_shut();
}

Test(parts, a_machine_that_restarted_takes_no_watermark_of_later_writes)
{
    open_in_sync(4);
    parts_down(true, 2);
    uint64_t before = state_now().watermark;
    watermark = 30;
    cr_assert_eq(put_blocks(9, 1, 31, 0), 0);
    cr_assert_eq(state_now().watermark, before);
    cr_assert_eq(state_now().heard, 0);
    parts_shut();
}

Test(parts, set_aside_survives_and_is_counted_again)
{
    open_in_sync(4);
    cr_assert_eq(put_blocks(300, 20, 30, 25), 0);
    cr_assert_eq(put_blocks(310, 20, 40, 35), 0);
    cr_assert_eq(role(PART_CATCHING_UP, 3), 0);
    /* Block 4; 30 blocks of the head; 20 of the view 35, 10 of which it shares with the head. */
    cr_assert_eq(request.state.aside, 1 + 30 + 20);
    parts_down(true, 1);
    cr_assert_eq(state_now().aside, UINT32_MAX, "nobody has counted");
    cr_assert_eq(role(PART_IN_SYNC, 4), -EBUSY);
    cr_assert_eq(state_now().aside, 51);
    cr_assert_eq(parts_check(), 0);
    cr_assert_eq(state_now().aside, 51, "closed cleanly it is known");
    parts_shut();
}

Test(parts, damaged_data_is_refused_on_arrival)
{
    open_in_sync(1);
    cr_assert_eq(put_blocks(1, 1, 2, 0), 0);
    crcs[0] ^= 1;
    request.sequence = 3;
    cr_assert_eq(ask(PART_WRITE), IOMESH_CORRUPT);
    cr_assert_eq(version_at(1, VIEW_HEAD).sequence, 2);
    parts_shut();
}

Test(parts, what_makes_no_sense_is_refused)
{
    open_in_sync(1);
    cr_assert_eq(put_blocks(250, 7, 5, 0), -EPROTO, "across a MiB");
    cr_assert_eq(put_blocks(0, 1, 5, 6), -EPROTO, "a cut of its future");
    cr_assert_eq(put_blocks(1ull << 34, 1, 5, 0), -EPROTO);
    cr_assert_eq(put_blocks(0, 1, 0, 0), -EPROTO);
    cr_assert_eq(get_block(0, 0), -EPROTO);
    parts_shut();
}

Test(parts, a_retired_volume_goes_through_crashes)
{
    open_in_sync(9);
    uint64_t room = store_room_blocks(store);
    request = (struct part_request){.epoch = 4};
    cr_assert_eq(ask(PART_RETIRE), IOMESH_FENCED, "not by an old coordinator");
    request = (struct part_request){0};
    cr_assert_eq(ask(PART_RETIRE), 0);
    cr_assert_eq(put_blocks(1, 1, 50, 0), IOMESH_FENCED);
    parts_down(true, 1);
    for (unsigned i = 0; i < 4; i++)
        checkpoint();
    cr_assert_gt(store_room_blocks(store), room);
    cr_assert_eq(state_now().epoch, 0, "never heard of");
    cr_assert_eq(parts_check(), 0);
    parts_shut();
}

Test(parts, views_that_are_not_kept_go)
{
    open_in_sync(3);
    cr_assert_eq(put_blocks(1, 1, 12, 10), 0);
    cr_assert_eq(put_blocks(1, 1, 22, 20), 0);
    cr_assert_eq(get_block(1, 10), 0);
    cr_assert(is_written_by(0, 1, 1));
    static const uint64_t kept[] = {20};
    static struct part_view_space space;
    request = (struct part_request){.cuts = kept, .cut_count = 1};
    cr_assert_eq(ask(PART_VIEWS), 0);
    request = (struct part_request){.cuts = kept, .cut_count = 1, .data = &space};
    cr_assert_eq(ask(PART_VIEW_SPACE), 0);
    cr_assert_eq(space.unique_blocks, 1);
    cr_assert_eq(get_block(1, 20), 0);
    cr_assert(is_written_by(0, 1, 12));
    request = (struct part_request){.since = 12, .view = VIEW_HEAD, .last = 600};
    request.versions = versions;
    cr_assert_eq(ask(PART_CHANGED), 0);
    cr_assert_eq(request.found, 0);
    cr_assert_eq(request.changed[0], 2);
    cr_assert_eq(versions[1].sequence, 22);
    cr_assert_eq(parts_check(), 0);
    parts_shut();
}

/* One step of the false world, and no more. */
static void step(void)
{
    if (!store_turn_needed(store))
        cr_assert(world_step(&world));
    store_turn(store);
}

/* A view that goes while what is set aside is counted takes some of that with it: whether that was
 * counted before or not, the count is what is there. */
Test(parts, a_view_that_goes_while_it_is_counted_counts_no_more)
{
    static const struct part_run all = {.first = 0, .count = 4};
    unsigned beside = 0;
    for (unsigned steps = 0; steps < 40; steps++) {
        static struct part_request roles, views, flush;
        open_in_sync(4);
        cr_assert_eq(put_blocks(300, 20, 30, 25), 0);
        cr_assert_eq(put_blocks(300, 20, 40, 35), 0);
        cr_assert_eq(role(PART_CATCHING_UP, 3), 0);
        cr_assert_eq(request.state.aside, 1 + 20 + 20);
        for (uint64_t i = 0; i < 200; i++)
            cr_assert_eq(put_blocks(i * MAP_BLOCKS + 7, 1, 50 + i, 0), 0);
        roles = (struct part_request){.role = PART_CATCHING_UP, .generation = 4};
        roles.runs = &all;
        roles.run_count = 1;
        ask_begin(&roles, PART_ROLE);
        for (unsigned i = 0; i < steps; i++)
            step();
        views = (struct part_request){.generation = 4};
        beside += roles.context == NULL;
        ask_begin(&views, PART_VIEWS);
        cr_assert_eq(ask_wait(&roles), 0);
        cr_assert_eq(ask_wait(&views), 0);
        generation = 4;
        flush = (struct part_request){.runs = &all, .run_count = 1};
        ask_begin(&flush, PART_FLUSH);
        cr_assert_eq(ask_wait(&flush), 0);
        cr_assert_eq(flush.state.aside, 1 + 20 + 200, "after %u steps: %u", steps,
                     flush.state.aside);
        parts_shut();
    }
    cr_assert_gt(beside, 10);
}
