/* SPDX-License-Identifier: Apache-2.0 */
/* What cannot be finished now: rollbacks that meet damage or a full store, and what goes on behind
 * when the metadata takes nothing. */
#include <sqlite3.h>

#include "pool.h"

TestSuite(stuck, .init = pool_open, .fini = pool_close);

#define BLOCKS 20u
#define SPOILT 7u

static uint64_t place(unsigned i)
{
    return i * MIB + (i % 2) * BLOCK_BYTES;
}

/* Snapshot "a" has `first`, the head 2. */
static void make(uint8_t first)
{
    cr_assert_eq(create("one", 64 * MIB), 0);
    for (unsigned i = 0; i < BLOCKS; i++)
        block_put("one", place(i), i == SPOILT ? first : 1);
    cr_assert_eq(snapshot_create("one", "a"), 0);
    for (unsigned i = 0; i < BLOCKS; i++)
        block_put("one", place(i), 2);
}

static void spoil(uint8_t byte)
{
    uint8_t is[BLOCK_BYTES];
    uint8_t wanted[BLOCK_BYTES];
    unsigned found_at = 0;
    memset(wanted, byte, sizeof wanted);
    for (uint64_t at = 0; at < rig.disk->disk.size_bytes; at += BLOCK_BYTES) {
        sim_disk_peek(rig.disk, at, BLOCK_BYTES, is);
        if (memcmp(is, wanted, BLOCK_BYTES) != 0)
            continue;
        (void)sim_disk_rot(rig.disk, at, BLOCK_BYTES);
        found_at++;
    }
    cr_assert_eq(found_at, 1u);
}

/* Each block but the spoilt one; that one: an error. */
static void must_show(const char *name, int byte, bool spoilt)
{
    struct catalog_handle *handle = NULL;
    cr_assert_eq(handle_open(name, true, &handle), 0, "%s", base_last_error());
    for (unsigned i = 0; i < BLOCKS; i++) {
        int is = block_read(handle, place(i));
        if (spoilt && i == SPOILT)
            cr_assert_lt(is, 0, "%s, block %u: %d", name, i, is);
        else
            cr_assert_eq(is, byte, "%s, block %u: %d", name, i, is);
    }
    cr_assert_eq(handle_close(handle), 0);
}

static bool is_rolling(void)
{
    cr_assert_eq(show("one"), 0);
    return (shown.flags & CATALOG_ROLLING_BACK) != 0;
}

Test(stuck, what_cannot_be_read_of_a_snapshot_is_damage_in_the_volume_and_the_rest_is_rolled_back)
{
    make(71);
    spoil(71);
    cr_assert_eq(snapshot_rollback("one", "a", false), IOMESH_CORRUPT);
    cr_assert(strstr(base_last_error(), "1 blocks of the snapshot") != NULL, "%s",
              base_last_error());
    cr_assert_not(is_rolling());
    must_show("one", 1, true);
    pool_power_cut();
    must_show("one", 1, true);
    pool_reopen();
    must_show("one", 1, true);
    must_show("one@a", 1, true);
    block_put("one", place(SPOILT), 1);
    must_show("one", 1, false);
    /* The next snapshot shows the damage as well, and no data in its place. */
    cr_assert_eq(snapshot_rollback("one", "a", false), IOMESH_CORRUPT);
    cr_assert_eq(snapshot_create("one", "b"), 0);
    block_put("one", place(SPOILT), 1);
    must_show("one@b", 1, true);
    must_show("one", 1, false);
    cr_assert_eq(snapshot_delete("one", "a"), 0);
    cr_assert_eq(snapshot_delete("one", "b"), 0);
    pool_settle();
}

/* Power goes at any moment of it: the damage is neither data nor zeros after, and all of the rest
 * is rolled back, whether the record of the damage was durable or is written again. */
Test(stuck, power_goes_anywhere_in_a_rollback_that_meets_damage)
{
    make(71);
    spoil(71);
    bool before_its_end = true;
    unsigned cuts = 0;
    for (unsigned turns = 1; before_its_end; turns += 1 + turns / 40) {
        for (unsigned i = 0; i < BLOCKS; i++)
            block_put("one", place(i), 2);
        rig.waiting = true;
        cr_assert_eq(catalog_snapshot_rollback(rig.catalog, "one", "a", false, NULL,
                                               catalog_rig_ended, &rig),
                     0);
        pool_turns(turns);
        before_its_end = rig.waiting;
        cuts += before_its_end ? 1 : 0;
        pool_power_cut();
        rig.waiting = false;
        if (!before_its_end || is_rolling())
            must_show("one", 1, true);
        int result = snapshot_rollback("one", "a", false);
        cr_assert_eq(result, IOMESH_CORRUPT, "after %u turns: %d", turns, result);
        must_show("one", 1, true);
    }
    cr_assert_gt(cuts, 30u);
    block_put("one", place(SPOILT), 1);
    cr_assert_eq(snapshot_delete("one", "a"), 0);
    pool_settle();
}

/* One read fails once, each in turn: what is read a second time is no damage. */
Test(stuck, a_read_that_fails_once_makes_no_damage)
{
    make(1);
    unsigned refused = 0;
    for (unsigned n = 1; n < 40; n++) {
        for (unsigned i = 0; i < BLOCKS; i++)
            block_put("one", place(i), 2);
        pool_reopen();
        rig.disk->faults.read_error_at = rig.disk->counts.reads + n;
        int result = snapshot_rollback("one", "a", false);
        cr_assert(result == 0 || result == -EIO, "%d", result);
        rig.disk->faults.read_error_at = 0;
        refused += result != 0;
        if (result == 0 || is_rolling())
            must_show("one", 1, false);
        if (result != 0)
            cr_assert_eq(snapshot_rollback("one", "a", false), 0, "%s", base_last_error());
        must_show("one", 1, false);
    }
    cr_assert_lt(refused, 30u);
}

/* What a newer snapshot shows stays, so rolling back takes space. */
static void make_full(void)
{
    make(1);
    cr_assert_eq(snapshot_create("one", "b"), 0);
    cr_assert_eq(create("filler", 64 * MIB), 0);
    pool_fill("filler", 64 * MIB);
    cr_assert_eq(snapshot_rollback("one", "a", false), -ENOSPC);
    cr_assert(strstr(base_last_error(), "delete snapshots") != NULL, "%s", base_last_error());
    cr_assert(is_rolling());
}

Test(stuck, a_rollback_without_space_leaves_the_volume_readable_and_goes_on_by_itself)
{
    struct catalog_handle *handle = NULL;
    make_full();
    must_show("one", 1, false);
    must_show("one@b", 2, false);
    cr_assert_eq(handle_open("one", false, &handle), -ENOSPC);
    cr_assert_eq(snapshot_delete("one", "a"), -EBUSY);
    cr_assert_eq(snapshot_rollback("one", "a", false), -ENOSPC);
    pool_reopen();
    must_show("one", 1, false);
    cr_assert_eq(handle_open("one", true, &handle), 0);
    cr_assert_eq(delete ("filler"), 0);
    pool_settle();
    cr_assert_not(is_rolling());
    cr_assert_eq(block_read(handle, place(3)), 1);
    cr_assert_eq(handle_close(handle), 0);
    must_show("one", 1, false);
    must_show("one@b", 2, false);
    block_put("one", place(3), 3);
    cr_assert_eq(block_look("one@a", place(3)), 1);
}

Test(stuck, a_rollback_without_space_goes_on_with_the_same_command_or_is_replaced_by_another)
{
    make_full();
    cr_assert_eq(delete ("filler"), 0);
    cr_assert_eq(snapshot_rollback("one", "b", false), 0, "%s", base_last_error());
    must_show("one", 2, false);
    cr_assert_eq(snapshot_rollback("one", "a", false), 0);
    must_show("one", 1, false);
    pool_settle();
    must_show("one", 1, false);
}

/* What is rolled back last gives back what is needed first. */
Test(stuck, a_rollback_on_a_full_store_goes_round_until_nothing_gives_anything_back)
{
    struct catalog_handle *handle = NULL;
    make(1);
    cr_assert_eq(snapshot_create("one", "b"), 0);
    cr_assert_eq(handle_open("one", false, &handle), 0);
    for (unsigned i = 0; i < 100; i++)
        cr_assert_eq(block_write(handle, 40 * MIB + (uint64_t)i * BLOCK_BYTES, 9), 0);
    cr_assert_eq(handle_close(handle), 0);
    cr_assert_eq(create("filler", 64 * MIB), 0);
    pool_fill("filler", 64 * MIB);
    cr_assert_eq(snapshot_rollback("one", "a", false), 0, "%s", base_last_error());
    must_show("one", 1, false);
    must_show("one@b", 2, false);
    cr_assert_eq(block_look("one", 40 * MIB), 0);
}

Test(stuck, what_the_metadata_refused_is_tried_again)
{
    uint64_t before = blocks_used();
    make(1);
    cr_assert_eq(snapshot_delete("one", "a"), 0);
    rig.vfs.fail_code = SQLITE_FULL;
    rig.vfs.fail_last = UINT64_MAX;
    rig.vfs.fail_first = rig.vfs.operations + 1;
    pool_turns(20000);
    struct catalog_counts counts;
    catalog_counts(rig.catalog, &counts);
    cr_assert_eq(counts.deletions, 1u, "it waits");
    rig.vfs.fail_first = 0;
    pool_settle();
    cr_assert_eq(snapshot_list("one", false), 0);
    cr_assert_eq(found_count, 0u);
    cr_assert_eq(delete ("one"), 0);
    cr_assert_eq(blocks_used(), before);
}
