/* SPDX-License-Identifier: Apache-2.0 */
/* Views on disks that fail and pages that rot: the deletion of a view ends, and harms nobody. */
#include <string.h>

#include "unit/store/views_rig.h"

/* Three views of which the middle one holds something in each of four MiB. */
static void prepare(void)
{
    views_open(8192);
    for (unsigned i = 0; i < 3; i++) {
        for (uint32_t first = 0; first < 4 * MAP_BLOCKS; first += MAP_BLOCKS)
            cr_assert_eq(views_write(first + 16 * i, 48), 0);
        views_cut();
    }
    cr_assert_eq(views_write(0, 256), 0);
    cr_assert_eq(views_write(600, 9), 0);
    /* Nothing of them is in memory, but the map of free space. */
    stop_store();
    start_store();
    cr_assert_eq(views_write(VIEWS_BLOCKS - 1, 1), 0);
}

enum { READ_FAULT, WRITE_FAULT, FLUSH_FAULT };

static void arm(unsigned fault, uint64_t n)
{
    struct sim_faults *faults = &disk->faults;
    *faults = (struct sim_faults){0};
    if (fault == READ_FAULT)
        faults->read_error_at = disk->counts.reads + n;
    else if (fault == WRITE_FAULT)
        faults->write_error_at = disk->counts.writes + n;
    else
        faults->flush_error_at = disk->counts.flushes + n;
}

/* True: the fault happened. */
static bool delete_with(unsigned fault, uint64_t n)
{
    prepare();
    views.expects_damage = true;
    uint64_t cut = views.views[1].cut, previous = views.views[0].cut;
    uint64_t before = disk->counts.errors + disk->counts.flush_errors;
    arm(fault, n);
    cr_assert_eq(store_delete_views(store, VIEWS_VOLUME, cut, cut, previous, done, NULL), 0);
    int result = wait_for_it();
    /* Of a store that failed it fails. */
    static struct checkpoint_waiter waiter;
    waiter = (struct checkpoint_waiter){.done = done};
    store_checkpoint(store, &waiter);
    (void)wait_for_it();
    bool fired = disk->counts.errors + disk->counts.flush_errors > before;
    if (!fired)
        cr_assert_eq(result, 0);
    disk->faults = (struct sim_faults){0};
    views_down_now(true);
    cr_assert_eq(views_delete(1, 1), 0);
    views_verify();
    cr_assert_eq(views_check(), 0);
    cr_assert_eq(views_delete(0, 1), 0);
    cr_assert_eq(views_check(), 0);
    cr_assert_eq(views_delete_volume(), 0);
    cr_assert_eq(views_used(), views.used_empty);
    views_close();
    return fired;
}

Test(view_faults, a_deletion_that_a_disk_interrupts_is_done_again)
{
    for (unsigned fault = READ_FAULT; fault <= FLUSH_FAULT; fault++) {
        uint64_t n = 1;
        while (delete_with(fault, n))
            n++;
        cr_assert_gt(n, 2, "fault %u never happened", fault);
    }
}

/* --- Damage ----------------------------------------------------------------------------------- */

static uint64_t place_with(uint32_t tag, uint32_t index)
{
    uint8_t wanted[BLOCK_BYTES], got[BLOCK_BYTES];
    views_fill(wanted, tag, index);
    for (uint64_t place = 64; place < 8192; place++) {
        sim_disk_peek(disk, place * BLOCK_BYTES, BLOCK_BYTES, got);
        if (memcmp(got, wanted, BLOCK_BYTES) == 0)
            return place;
    }
    cr_assert_fail("block %u is nowhere", index);
    return 0;
}

/* Every version of a map page that shows a place for block `index`. */
static void rot_pages_with(uint32_t index, uint64_t shown)
{
    uint8_t bytes[BLOCK_BYTES];
    unsigned pages = 0;
    for (uint64_t place = 64; place < 8192; place++) {
        struct pointer pointer;
        sim_disk_peek(disk, place * BLOCK_BYTES, BLOCK_BYTES, bytes);
        if (pointer_get(bytes + (size_t)(index % MAP_BLOCKS) * POINTER_BYTES, &pointer) != 0 ||
            pointer.kind != POINTER_RAW || pointer.place != shown)
            continue;
        (void)sim_disk_rot(disk, place * BLOCK_BYTES, BLOCK_BYTES);
        pages++;
    }
    cr_assert_gt(pages, 0);
}

/* The page of the middle view, of the first MiB. */
static void rot_middle_page(void)
{
    uint32_t index = 40; /* Written before the cut, and once more before the next. */
    uint32_t tag = views.views[1].tags[index];
    cr_assert_neq(tag, views.views[0].tags[index]);
    cr_assert_neq(tag, views.views[2].tags[index]);
    rot_pages_with(index, place_with(tag, index));
    views.expects_damage = true;
}

Test(view_faults, a_view_whose_page_is_damaged_can_be_deleted)
{
    static uint8_t got[MAP_BLOCKS * BLOCK_BYTES] __attribute__((aligned(4096)));
    prepare();
    rot_middle_page();
    cr_assert_eq(views_read(views.views[1].cut, 0, 256, got), IOMESH_CORRUPT);
    uint64_t damaged = views_check();
    cr_assert_gt(damaged, 0);
    unsigned told = views.damage;
    cr_assert_eq(views_delete(1, 1), 0);
    cr_assert_gt(views.damage, told);
    views_verify();
    /* What is left is space that nobody has. */
    cr_assert_gt(views_check(), 0);
    views_verify();
    cr_assert_eq(views_delete(0, 1), 0);
    views_verify();
    cr_assert_eq(views_delete_volume(), 0);
    uint64_t lost = views_used() - views.used_empty;
    cr_assert(lost >= 1 && lost <= 256, "%llu", (unsigned long long)lost);
    views_close();
}

Test(view_faults, a_volume_with_a_damaged_view_can_be_deleted)
{
    prepare();
    rot_middle_page();
    cr_assert_eq(views_delete_volume(), 0);
    uint64_t lost = views_used() - views.used_empty;
    cr_assert(lost >= 1 && lost <= 256, "%llu", (unsigned long long)lost);
    views_close();
}
