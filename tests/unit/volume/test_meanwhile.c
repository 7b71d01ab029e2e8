/* SPDX-License-Identifier: Apache-2.0 */
/* What another process does to a volume between two steps of opening it, or of changing it. */
#include "gathering.h"
#include "volume/catalog_cluster.h"

#define STEPS 14u

static void three_stores(void)
{
    gathering_open_stores(3);
    user_options(0, "n1", "gateway-a");
    cr_assert_eq(user_open(0), 0, "%s", base_last_error());
}

static void closed(void)
{
    gathering_also = NULL;
    gathering_close();
}

TestSuite(meanwhile, .init = three_stores, .fini = closed, .timeout = 60);

static const struct catalog_create small = {.bytes = 4 * SEGMENT, .sector_bytes = 4096};

/* --- Another one, who deletes volume "a" after so many turns ---------------------------------- */

static struct {
    uint64_t volume;
    unsigned turns; /* 0: it is done. */
    bool flying;
    struct meta_request request;
} other;

static void other_told(struct meta_request *request, int result)
{
    (void)request;
    cr_assert_eq(result, 0);
    other.flying = false;
}

static void other_turn(void)
{
    struct metadata_key record = metadata_volume_key(other.volume);
    struct metadata_key name = metadata_name_key("a", 1);
    struct metadata_key maps = metadata_volume_prefix(METADATA_MAP, other.volume);
    struct metadata_key groups = metadata_volume_prefix(METADATA_GROUP, other.volume);
    if (other.turns == 0 || --other.turns > 0)
        return;
    meta_request_reset(&other.request);
    meta_delete(&other.request, META_SLICE(record));
    meta_delete(&other.request, META_SLICE(name));
    meta_delete_prefix(&other.request, META_SLICE(maps));
    meta_delete_prefix(&other.request, META_SLICE(groups));
    other.flying = true;
    cr_assert_eq(meta_commit(gathering.meta, &other.request, other_told), 0);
}

static void other_begin(uint64_t volume, unsigned turns)
{
    struct metadata_volume record;
    cr_assert_eq(user_create(0, "a", &small), 0, "%s", base_last_error());
    cr_assert(volume_get(volume, &record));
    metadata_volume_done(&record);
    other.volume = volume;
    other.turns = turns;
    gathering_also = other_turn;
}

static void other_wait(void)
{
    while (other.turns > 0 || other.flying)
        gathering_turn();
    gathering_also = NULL;
    meta_request_done(&other.request);
}

Test(meanwhile, what_is_deleted_while_it_is_resized_is_not_damaged)
{
    unsigned conflicts = 0;
    for (unsigned i = 1; i <= STEPS; i++) {
        other_begin(i, i);
        int result = user_resize(0, "a", 100 * SEGMENT, false);
        cr_assert(result == 0 || result == -ENOENT || result == IOMESH_CONFLICT, "%u: %s", i,
                  base_last_error());
        conflicts += result == IOMESH_CONFLICT ? 1 : 0;
        other_wait();
    }
    cr_assert_gt(conflicts, 0);
}

Test(meanwhile, what_is_taken_and_deleted_while_it_is_opened_is_not_damaged)
{
    unsigned fenced = 0;
    for (unsigned i = 1; i <= STEPS; i++) {
        other_begin(i, i);
        user_begin_open(0, "a");
        int result = gathering_wait(0);
        struct catalog_handle *handle = gathering.opened;
        cr_assert(result == 0 || result == -ENOENT || result == IOMESH_FENCED ||
                      result == IOMESH_CONFLICT,
                  "%u: %s", i, base_last_error());
        fenced += result == IOMESH_FENCED ? 1 : 0;
        other_wait();
        if (result == 0)
            (void)user_close_volume(handle);
    }
    cr_assert_gt(fenced, 0);
}

/* Its session was touched, by whoever took another volume from it, say. */
Test(meanwhile, what_is_doubted_while_it_is_opened_goes_on)
{
    unsigned doubted = 0;
    cr_assert_eq(user_create(0, "a", &small), 0);
    user_begin_open(0, "a");
    for (unsigned turns = 0; gathering.waiting; turns++) {
        cr_assert_lt(turns, 10000, "it is not opened");
        gathering_turn();
        LIST_EACH (&catalog_of(0)->owned, node) {
            struct catalog_owned *owned = LIST_ENTRY(node, struct catalog_owned, node);
            if (owned->copies != NULL || owned->unsure)
                continue;
            catalog_owned_doubt_one(owned);
            doubted++;
        }
    }
    cr_assert_gt(doubted, 0);
    cr_assert_eq(gathering.ended, 0);
    struct catalog_handle *handle = gathering.opened;
    gathering_run(20 * NS_PER_S);
    LIST_EACH (&catalog_of(0)->owned, node)
        cr_assert_not(LIST_ENTRY(node, struct catalog_owned, node)->unsure, "nobody looked");
    cr_assert_eq(put_block(handle, 0, 3), 0);
    cr_assert_eq(user_close_volume(handle), 0);
}
