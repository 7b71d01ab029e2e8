/* SPDX-License-Identifier: Apache-2.0 */
/* Volumes that were deleted while clones need snapshots of them: the space of the head. */
#include <stdio.h>

#include "format/metadata.h"
#include "pool.h"

TestSuite(kept, .init = pool_open, .fini = pool_close);

#define SIZE (SEGMENT + 4 * MIB)
#define PLACES 7u

/* In both segments: a MiB that the head never changed, one that it did, one of the head alone. */
static const uint64_t places[PLACES] = {0,       MIB,           MIB + BLOCK_BYTES, 2 * MIB,
                                        SEGMENT, SEGMENT + MIB, SEGMENT + 3 * MIB};

/* Snapshot, then more; and a clone of the snapshot, which wrote something too. */
static void family_make(void)
{
    cr_assert_eq(create("one", SIZE), 0);
    block_put("one", 0, 1);
    block_put("one", MIB, 2);
    block_put("one", SEGMENT, 3);
    block_put("one", SEGMENT + MIB, 4);
    cr_assert_eq(snapshot_create("one", "a"), 0);
    block_put("one", MIB, 5);
    block_put("one", MIB + BLOCK_BYTES, 6);
    block_put("one", 2 * MIB, 7);
    block_put("one", SEGMENT + MIB, 8);
    block_put("one", SEGMENT + 3 * MIB, 9);
    cr_assert_eq(clone_make("one", "a", "two"), 0);
    cr_assert_eq(snapshot_delete("one", "a"), 0);
    block_put("two", BLOCK_BYTES, 10);
    cr_assert_eq(clone_make("two", NULL, "three"), 0);
    cr_assert_eq(snapshot_create("two", "s"), 0);
}

static void shows(const char *name)
{
    static const int bytes[PLACES] = {1, 2, 0, 0, 3, 4, 0};
    struct catalog_handle *handle = NULL;
    cr_assert_eq(handle_open(name, true, &handle), 0, "%s", base_last_error());
    for (unsigned i = 0; i < PLACES; i++)
        cr_assert_eq(block_read(handle, places[i]), bytes[i], "%s, place %u", name, i);
    cr_assert_eq(block_read(handle, BLOCK_BYTES), 10);
    cr_assert_eq(handle_close(handle), 0);
}

static void all_show(void)
{
    shows("two");
    shows("three");
    shows("two@s");
}

static void note_got(struct meta_request *request, int result)
{
    cr_assert_eq(result, 0);
    (void)request;
    rig.waiting = false;
}

/* What the record of a volume says; false, if there is none. */
static bool record_of(uint64_t id, struct metadata_volume *ret_record)
{
    static struct meta_request request;
    struct metadata_key key = metadata_volume_key(id);
    meta_request_reset(&request);
    meta_get(&request, META_SLICE(key));
    rig.waiting = true;
    cr_assert_eq(meta_commit(rig.meta, &request, note_got), 0);
    wait_ended();
    bool is = request.responses[0].entry_count > 0;
    if (is) {
        const struct meta_slice *value = &request.responses[0].entries[0].value;
        cr_assert_eq(metadata_volume_decode(value->data, value->length, ret_record), 0);
    }
    meta_request_done(&request);
    return is;
}

static bool is_emptied(uint64_t id)
{
    struct metadata_volume record = {0};
    bool is = record_of(id, &record) && record.state == METADATA_VOLUME_KEPT && record.emptied;
    metadata_volume_done(&record);
    return is;
}

Test(kept, what_only_the_head_shows_comes_back_at_once_and_clones_show_what_they_did)
{
    uint64_t before = blocks_used();
    family_make();
    cr_assert_eq(show("one"), 0);
    uint64_t id = shown.id;
    all_show();
    uint64_t full = blocks_used();
    cr_assert_eq(delete ("one"), 0);
    all_show();
    uint64_t left = blocks_used();
    cr_assert(is_emptied(id));
    /* Five blocks, and the two map pages that were the head's alone. */
    cr_assert_leq(left + 7, full, "%llu of %llu", (unsigned long long)left,
                  (unsigned long long)full);
    all_show();
    cr_assert_eq(delete ("three"), 0);
    cr_assert_eq(snapshot_delete("two", "s"), 0);
    cr_assert_eq(delete ("two"), 0);
    cr_assert_eq(blocks_used(), before);
}

/* Power goes at each moment; then it is done again, and the last clone takes all with it. */
Test(kept, a_head_that_goes_survives_power_cuts_and_so_do_its_clones)
{
    uint64_t before = blocks_used();
    unsigned moment = 1;
    for (bool done = false; !done; moment += 1 + moment / 8) {
        cr_assert_lt(moment, 2000u);
        family_make();
        cr_assert_eq(show("one"), 0);
        uint64_t id = shown.id;
        cr_assert_eq(delete ("one"), 0);
        pool_turns(moment);
        struct catalog_counts counts;
        catalog_counts(rig.catalog, &counts);
        done = counts.deletions == 0;
        pool_power_cut();
        all_show();
        pool_settle();
        cr_assert(is_emptied(id), "moment %u", moment);
        all_show();
        cr_assert_eq(delete ("three"), 0);
        cr_assert_eq(snapshot_delete("two", "s"), 0);
        cr_assert_eq(delete ("two"), 0);
        cr_assert_eq(blocks_used(), before, "moment %u", moment);
    }
    cr_assert_gt(moment, 10u);
}

Test(kept, on_a_full_store_a_head_waits_for_space_and_then_goes)
{
    uint64_t before = blocks_used();
    cr_assert_eq(create("one", SIZE), 0);
    cr_assert_eq(create("filler", 64 * MIB), 0);
    for (unsigned i = 0; i < 100; i++)
        block_put("one", i * 2 * MIB, 1);
    block_put("one", 250 * MIB, 2);
    cr_assert_eq(snapshot_create("one", "a"), 0);
    block_put("one", 250 * MIB, 3);
    cr_assert_eq(clone_make("one", "a", "two"), 0);
    cr_assert_eq(snapshot_delete("one", "a"), 0);
    cr_assert_eq(show("one"), 0);
    uint64_t id = shown.id;
    pool_fill("filler", 64 * MIB);
    cr_assert_eq(delete ("one"), 0);
    struct catalog_counts counts;
    pool_turns(20000);
    catalog_counts(rig.catalog, &counts);
    cr_assert_eq(counts.deletions, 1u, "it waits");
    cr_assert_not(is_emptied(id));
    cr_assert_eq(block_look("two", 250 * MIB), 2);
    cr_assert_eq(block_look("two", 0), 1);
    cr_assert_eq(delete ("filler"), 0);
    pool_settle();
    cr_assert(is_emptied(id));
    for (unsigned i = 0; i < 100; i++)
        cr_assert_eq(block_look("two", i * 2 * MIB), 1);
    cr_assert_eq(block_look("two", 250 * MIB), 2);
    cr_assert_eq(delete ("two"), 0);
    cr_assert_eq(blocks_used(), before);
}
