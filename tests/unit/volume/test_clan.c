/* SPDX-License-Identifier: Apache-2.0 */
/* Clones in a cluster: what they read of volumes that others own, or nobody. */
#include "gathering.h"

static void three_stores(void)
{
    gathering_open_stores(3);
    user_options(0, "n1", "gateway-a");
    user_options(1, "n2", "gateway-b");
    cr_assert_eq(user_open(0), 0, "%s", base_last_error());
    cr_assert_eq(user_open(1), 0, "%s", base_last_error());
}

TestSuite(clan, .init = three_stores, .fini = gathering_close, .timeout = 15);

static const struct catalog_create small = {.bytes = 4 * SEGMENT, .sector_bytes = 4096};

static struct catalog_handle *parent, *clone;

/* Snapshot "s" of volume "a", which is open in the first process, shows 7 and 8. */
static void a_with_s(void)
{
    cr_assert_eq(user_create(0, "a", &small), 0, "%s", base_last_error());
    cr_assert_eq(user_open_volume(0, "a", &parent), 0, "%s", base_last_error());
    cr_assert_eq(put_block(parent, 0, 7), 0);
    cr_assert_eq(put_block(parent, 3 * SEGMENT, 8), 0);
    cr_assert_eq(user_snapshot(0, "a", "s"), 0, "%s", base_last_error());
    cr_assert_eq(put_block(parent, 0, 9), 0);
}

static unsigned clones_of_s(void)
{
    struct metadata_volume record;
    struct metadata_snapshot snapshot;
    unsigned clones = UINT32_MAX;
    cr_assert(volume_get(1, &record));
    for (uint64_t cut = 1; cut < record.sequence_end && clones == UINT32_MAX; cut++) {
        if (snapshot_get(1, cut, &snapshot))
            clones = snapshot.clones;
    }
    metadata_volume_done(&record);
    return clones;
}

Test(clan, a_clone_reads_through_a_volume_that_another_process_owns)
{
    a_with_s();
    cr_assert_eq(user_clone(1, "a", "s", "b"), 0, "%s", base_last_error());
    cr_assert_eq(user_open_volume(1, "b", &clone), 0, "%s", base_last_error());
    cr_assert_eq(get_block(clone, 0), 7);
    cr_assert_eq(get_block(clone, 3 * SEGMENT), 8);
    cr_assert_eq(get_block(clone, SEGMENT), 0);
    cr_assert_eq(put_block(clone, 0, 5), 0);
    cr_assert_eq(discard_range(clone, 3 * SEGMENT, 4096), 0);
    cr_assert_eq(get_block(clone, 0), 5);
    cr_assert_eq(get_block(clone, 3 * SEGMENT), 0);
    cr_assert_eq(get_block(parent, 0), 9);
    cr_assert_eq(get_block(parent, 3 * SEGMENT), 8);
    cr_assert_eq(user_close_volume(clone), 0);
    cr_assert_eq(user_open_volume(0, "b", &clone), 0, "%s", base_last_error());
    cr_assert_eq(get_block(clone, 0), 5);
    cr_assert_eq(get_block(clone, 4096), 0);
    cr_assert_eq(user_close_volume(clone), 0);
    cr_assert_eq(user_close_volume(parent), 0);
}

Test(clan, of_a_volume_as_it_is_by_its_owner_and_by_nobody_else)
{
    a_with_s();
    cr_assert_eq(user_clone(1, "a", NULL, "b"), -EBUSY);
    cr_assert_not_null(strstr(base_last_error(), "is open on node \"n1\""), "%s",
                       base_last_error());
    cr_assert_eq(user_clone(0, "a", NULL, "b"), 0, "%s", base_last_error());
    cr_assert_eq(put_block(parent, 0, 10), 0);
    cr_assert_eq(user_open_volume(1, "b", &clone), 0, "%s", base_last_error());
    cr_assert_eq(get_block(clone, 0), 9);
    cr_assert_eq(user_close_volume(clone), 0);
    cr_assert_eq(user_close_volume(parent), 0);
    cr_assert_eq(user_clone(1, "a", NULL, "c"), 0, "%s", base_last_error());
    cr_assert_eq(user_open_volume(0, "a", &parent), 0, "it was closed again: %s",
                 base_last_error());
    cr_assert_eq(put_block(parent, 0, 11), 0);
    cr_assert_eq(user_open_volume(1, "c", &clone), 0, "%s", base_last_error());
    cr_assert_eq(get_block(clone, 0), 10);
    cr_assert_eq(user_close_volume(clone), 0);
    cr_assert_eq(user_close_volume(parent), 0);
}

Test(clan, a_clone_of_a_clone_reads_through_both)
{
    a_with_s();
    cr_assert_eq(user_clone(1, "a", "s", "b"), 0, "%s", base_last_error());
    cr_assert_eq(user_open_volume(1, "b", &clone), 0);
    cr_assert_eq(put_block(clone, 4096, 5), 0);
    cr_assert_eq(user_snapshot(1, "b", "t"), 0, "%s", base_last_error());
    cr_assert_eq(put_block(clone, 4096, 6), 0);
    cr_assert_eq(user_clone(0, "b", "t", "c"), 0, "%s", base_last_error());
    static struct catalog_handle *third, *view;
    cr_assert_eq(user_open_volume(0, "c", &third), 0, "%s", base_last_error());
    cr_assert_eq(get_block(third, 0), 7);
    cr_assert_eq(get_block(third, 4096), 5);
    cr_assert_eq(user_read_volume(0, "b@t", &view), 0, "%s", base_last_error());
    cr_assert_eq(get_block(view, 0), 7);
    cr_assert_eq(get_block(view, 4096), 5);
    cr_assert_eq(user_close_volume(view), 0);
    cr_assert_eq(user_close_volume(third), 0);
    cr_assert_eq(user_close_volume(clone), 0);
    cr_assert_eq(user_close_volume(parent), 0);
}

/* The parent is as large as it was when the snapshot was taken. */
Test(clan, what_the_parent_never_had_reads_as_zeros)
{
    a_with_s();
    cr_assert_eq(user_clone(1, "a", "s", "b"), 0, "%s", base_last_error());
    cr_assert_eq(user_resize(1, "b", 8 * SEGMENT, false), 0, "%s", base_last_error());
    cr_assert_eq(user_open_volume(1, "b", &clone), 0, "%s", base_last_error());
    cr_assert_eq(get_block(clone, 7 * SEGMENT), 0);
    cr_assert_eq(put_block(clone, 7 * SEGMENT, 3), 0);
    cr_assert_eq(get_block(clone, 7 * SEGMENT), 3);
    cr_assert_eq(get_block(clone, 0), 7);
    cr_assert_eq(user_close_volume(clone), 0);
    cr_assert_eq(user_close_volume(parent), 0);
    cr_assert_eq(user_flatten(1, "b"), 0, "%s", base_last_error());
    user_settle(1);
    cr_assert_eq(clones_of_s(), 0);
}

Test(clan, a_parent_is_deleted_and_its_clone_reads_on)
{
    a_with_s();
    cr_assert_eq(user_clone(1, "a", "s", "b"), 0, "%s", base_last_error());
    cr_assert_eq(user_open_volume(1, "b", &clone), 0, "%s", base_last_error());
    cr_assert_eq(get_block(clone, 0), 7);
    cr_assert_eq(user_snapshot_delete(0, "a", "s"), 0, "%s", base_last_error());
    user_settle(0);
    cr_assert_eq(get_block(clone, 0), 7);
    cr_assert_eq(user_close_volume(parent), 0);
    cr_assert_eq(user_delete(0, "a"), 0, "%s", base_last_error());
    user_settle(0);
    cr_assert_eq(get_block(clone, 0), 7);
    cr_assert_eq(get_block(clone, 3 * SEGMENT), 8);
    cr_assert_eq(user_close_volume(clone), 0);
    cr_assert_eq(user_open_volume(0, "b", &clone), 0, "%s", base_last_error());
    cr_assert_eq(get_block(clone, 0), 7);
    cr_assert_eq(user_close_volume(clone), 0);
    cr_assert_eq(user_delete(1, "b"), 0, "%s", base_last_error());
    for (unsigned i = 0; i < 4; i++) {
        user_settle(1);
        gathering_run(2 * NS_PER_S);
    }
    cr_assert_eq(keys_of(metadata_prefix(METADATA_VOLUME)), 0);
    cr_assert_eq(keys_of(metadata_prefix(METADATA_GROUP)), 0);
}

Test(clan, flattened_it_needs_its_parent_no_more)
{
    a_with_s();
    cr_assert_eq(user_clone(1, "a", "s", "b"), 0, "%s", base_last_error());
    cr_assert_eq(clones_of_s(), 1);
    cr_assert_eq(user_open_volume(1, "b", &clone), 0, "%s", base_last_error());
    cr_assert_eq(put_block(clone, 4096, 5), 0);
    cr_assert_eq(user_flatten(0, "b"), -EBUSY);
    cr_assert_eq(user_flatten(1, "b"), 0, "%s", base_last_error());
    user_settle(1);
    cr_assert_eq(clones_of_s(), 0);
    cr_assert_eq(user_snapshot_delete(0, "a", "s"), 0, "%s", base_last_error());
    user_settle(0);
    cr_assert_eq(get_block(clone, 0), 7);
    cr_assert_eq(get_block(clone, 4096), 5);
    cr_assert_eq(get_block(clone, 3 * SEGMENT), 8);
    cr_assert_eq(user_close_volume(clone), 0);
    cr_assert_eq(user_close_volume(parent), 0);
}

/* Another process took the clone by force, and flattens it: what it leaves is not read through. */
Test(clan, who_lost_a_clone_reads_nothing_through_it)
{
    a_with_s();
    cr_assert_eq(user_clone(1, "a", "s", "b"), 0, "%s", base_last_error());
    cr_assert_eq(user_open_volume(1, "b", &clone), 0, "%s", base_last_error());
    cr_assert_eq(get_block(clone, 0), 7);
    static struct catalog_handle *taken;
    cr_assert_eq(user_force_volume(0, "b", &taken), 0, "%s", base_last_error());
    cr_assert_eq(get_block(taken, 0), 7);
    cr_assert_eq(user_flatten(0, "b"), 0, "%s", base_last_error());
    user_settle(0);
    cr_assert_eq(user_snapshot_delete(0, "a", "s"), 0, "%s", base_last_error());
    user_settle(0);
    cr_assert_eq(get_block(clone, 0), IOMESH_FENCED);
    cr_assert_eq(get_block(taken, 0), 7);
    cr_assert_eq(user_close_volume(clone), 0);
    cr_assert_eq(user_close_volume(taken), 0);
    cr_assert_eq(user_close_volume(parent), 0);
}

/* Where the copies of the parent are changes under the reader. */
Test(clan, the_parents_copies_move_while_the_clone_reads)
{
    a_with_s();
    cr_assert_eq(user_clone(1, "a", "s", "b"), 0, "%s", base_last_error());
    cr_assert_eq(user_open_volume(1, "b", &clone), 0, "%s", base_last_error());
    cr_assert_eq(get_block(clone, 0), 7);
    for (unsigned away = 1; away <= 3; away++) {
        link_cut(0, away, true);
        cr_assert_eq(put_block(parent, 8192, (uint8_t)away), 0);
        cr_assert_eq(get_block(clone, 0), 7);
        cr_assert_eq(get_block(clone, 3 * SEGMENT), 8);
        link_cut(0, away, false);
        for (unsigned i = 0; i < 12; i++) {
            gathering_run(NS_PER_S / 4);
            cr_assert_eq(get_block(clone, 0), 7);
            cr_assert_eq(get_block(clone, 3 * SEGMENT), 8);
            cr_assert_eq(get_block(clone, 8192), 0);
        }
    }
    cr_assert_eq(user_close_volume(clone), 0);
    cr_assert_eq(user_close_volume(parent), 0);
}

Test(clan, a_group_of_two_volumes_is_taken_at_once_or_refused_with_who_has_one)
{
    static struct catalog_handle *other, *view;
    a_with_s();
    cr_assert_eq(user_create(1, "o", &small), 0);
    cr_assert_eq(user_open_volume(1, "o", &other), 0);
    cr_assert_eq(put_block(other, 0, 4), 0);
    cr_assert_eq(user_group(0, "g", "a", "o"), -EBUSY);
    cr_assert_not_null(strstr(base_last_error(), "\"o\" is open on node \"n2\""), "%s",
                       base_last_error());
    cr_assert_eq(user_close_volume(other), 0);
    cr_assert_eq(user_group(0, "g", "a", "o"), 0, "%s", base_last_error());
    cr_assert_eq(user_open_volume(1, "o", &other), 0, "it was closed again: %s", base_last_error());
    cr_assert_eq(put_block(other, 0, 5), 0);
    cr_assert_eq(put_block(parent, 0, 5), 0);
    cr_assert_eq(user_read_volume(1, "o@g", &view), 0, "%s", base_last_error());
    cr_assert_eq(get_block(view, 0), 4);
    cr_assert_eq(user_group_delete(0, "g"), -EBUSY);
    cr_assert_eq(user_close_volume(view), 0);
    cr_assert_eq(user_read_volume(1, "a@g", &view), 0, "%s", base_last_error());
    cr_assert_eq(get_block(view, 0), 9);
    cr_assert_eq(user_close_volume(other), 0);
    cr_assert_eq(user_group_delete(0, "g"), -EBUSY, "it is read");
    cr_assert_eq(get_block(view, 0), 9);
    cr_assert_eq(user_close_volume(view), 0);
    cr_assert_eq(user_open_volume(1, "o", &other), 0);
    cr_assert_eq(user_group_delete(0, "g"), -EBUSY, "\"o\" is owned elsewhere");
    cr_assert_eq(user_close_volume(other), 0);
    cr_assert_eq(user_group_delete(0, "g"), 0, "%s", base_last_error());
    cr_assert_eq(keys_of(metadata_prefix(METADATA_TOGETHER)), 0);
    cr_assert_eq(user_close_volume(parent), 0);
}

Test(clan, a_volume_is_rolled_back)
{
    a_with_s();
    cr_assert_eq(put_block(parent, 4096, 9), 0);
    cr_assert_eq(discard_range(parent, 3 * SEGMENT, 4096), 0);
    cr_assert_eq(user_rollback(0, "a", "s", false), -EBUSY);
    cr_assert_eq(user_rollback(1, "a", "s", false), -EBUSY);
    cr_assert_eq(user_close_volume(parent), 0);
    cr_assert_eq(user_rollback(1, "a", "s", false), 0, "%s", base_last_error());
    cr_assert_eq(user_open_volume(0, "a", &parent), 0, "%s", base_last_error());
    cr_assert_eq(get_block(parent, 0), 7);
    cr_assert_eq(get_block(parent, 4096), 0);
    cr_assert_eq(get_block(parent, 3 * SEGMENT), 8);
    cr_assert_eq(user_close_volume(parent), 0);
}

static unsigned told;
static struct catalog_snapshot listed;

static void snapshot_told(void *context, const struct catalog_snapshot *snapshot)
{
    (void)context;
    told++;
    listed = *snapshot;
}

static int space_of(unsigned user)
{
    told = 0;
    gathering.waiting = true;
    return gathering_wait(
        catalog_snapshot_list(catalog_of(user), "a", true, snapshot_told, gathering_ended, NULL));
}

Test(clan, what_a_snapshot_holds_is_counted_in_every_copy)
{
    a_with_s();
    cr_assert_eq(space_of(1), 0, "%s", base_last_error());
    cr_assert_eq(told, 1);
    cr_assert(listed.space);
    cr_assert_eq(listed.unique_bytes, 3 * 4096, "%llu", (unsigned long long)listed.unique_bytes);
    cr_assert_eq(listed.shared_bytes, 3 * 4096, "%llu", (unsigned long long)listed.shared_bytes);
    link_cut(1, 2, true);
    cr_assert_eq(space_of(1), -ENOTCONN);
    cr_assert_eq(user_close_volume(parent), 0);
}

static void imported(void *context, int result, struct catalog_handle *handle)
{
    gathering.opened = handle;
    gathering_ended(context, result);
}

static int import_begin(unsigned user, const char *name, struct catalog_import *what)
{
    gathering.waiting = true;
    return gathering_wait(catalog_import_begin(catalog_of(user), name, what, imported, NULL));
}

static int import_end(struct catalog_handle *handle)
{
    gathering.waiting = true;
    return gathering_wait(catalog_import_end(handle, gathering_ended, NULL));
}

Test(clan, a_volume_is_imported_and_an_increment_makes_it_larger)
{
    struct catalog_import what = {
        .bytes = 4 * SEGMENT, .sector_bytes = 4096, .uuid = {1}, .snapshot = "one"};
    static struct catalog_handle *handle;
    cr_assert_eq(import_begin(0, "i", &what), 0, "%s", base_last_error());
    handle = gathering.opened;
    cr_assert_eq(put_block(handle, 0, 1), 0);
    cr_assert_eq(user_read_volume(1, "i", &clone), -EBUSY);
    cr_assert_eq(import_end(handle), 0, "%s", base_last_error());
    cr_assert_eq(user_close_volume(handle), 0);
    what = (struct catalog_import){.bytes = 9 * SEGMENT,
                                   .sector_bytes = 4096,
                                   .increment = true,
                                   .base_uuid = {1},
                                   .uuid = {2},
                                   .snapshot = "two"};
    cr_assert_eq(import_begin(1, "i", &what), 0, "%s", base_last_error());
    handle = gathering.opened;
    cr_assert_eq(put_block(handle, 8 * SEGMENT, 2), 0);
    cr_assert_eq(put_block(handle, 0, 3), 0);
    cr_assert_eq(import_end(handle), 0, "%s", base_last_error());
    cr_assert_eq(user_read_volume(0, "i@one", &clone), 0, "%s", base_last_error());
    cr_assert_eq(get_block(clone, 0), 1);
    cr_assert_eq(user_close_volume(clone), 0);
    cr_assert_eq(user_read_volume(0, "i@two", &clone), 0, "%s", base_last_error());
    cr_assert_eq(get_block(clone, 0), 3);
    cr_assert_eq(get_block(clone, 8 * SEGMENT), 2);
    cr_assert_eq(user_close_volume(clone), 0);
    cr_assert_eq(user_close_volume(handle), 0);
}

static int import_abandon(unsigned user, const char *name)
{
    gathering.waiting = true;
    return gathering_wait(
        catalog_import_abandon(catalog_of(user), name, NULL, gathering_ended, NULL));
}

Test(clan, an_import_that_its_process_left_is_abandoned_by_another)
{
    struct catalog_import what = {
        .bytes = 4 * SEGMENT, .sector_bytes = 4096, .uuid = {1}, .snapshot = "one"};
    static struct catalog_handle *handle;
    cr_assert_eq(import_begin(0, "i", &what), 0, "%s", base_last_error());
    handle = gathering.opened;
    cr_assert_eq(put_block(handle, 0, 1), 0);
    cr_assert_eq(import_abandon(1, "i"), -EBUSY);
    cr_assert_eq(user_close_volume(handle), 0);
    cr_assert_eq(import_abandon(1, "i"), 0, "%s", base_last_error());
    user_settle(1);
    cr_assert_eq(keys_of(metadata_prefix(METADATA_VOLUME)), 0);
}

/* What is not readable in any copy is damage then, and what newer snapshots show stays. */
Test(clan, damage_is_rolled_back_to_in_every_copy_and_other_snapshots_stay)
{
    a_with_s();
    cr_assert_eq(put_block(parent, 0, 0xd1), 0);
    cr_assert_eq(user_snapshot(0, "a", "t"), 0, "%s", base_last_error());
    cr_assert_eq(volume_flush(parent), 0);
    cr_assert_eq(user_close_volume(parent), 0);
    for (unsigned store = 1; store <= 3; store++)
        store_damage(store, 7);
    cr_assert_eq(user_rollback(1, "a", "s", false), IOMESH_CORRUPT, "%s", base_last_error());
    cr_assert_eq(user_open_volume(0, "a", &parent), 0, "%s", base_last_error());
    cr_assert_eq(get_block(parent, 0), IOMESH_CORRUPT);
    cr_assert_eq(get_block(parent, 3 * SEGMENT), 8);
    cr_assert_eq(user_read_volume(1, "a@t", &clone), 0, "%s", base_last_error());
    cr_assert_eq(get_block(clone, 0), 0xd1);
    cr_assert_eq(get_block(clone, 3 * SEGMENT), 8);
    cr_assert_eq(put_block(parent, 0, 4), 0);
    cr_assert_eq(get_block(parent, 0), 4);
    cr_assert_eq(user_close_volume(clone), 0);
    cr_assert_eq(user_close_volume(parent), 0);
}

static void write_over(void)
{
    cr_assert_eq(user_open_volume(0, "a", &parent), 0, "%s", base_last_error());
    cr_assert_eq(put_block(parent, 0, 9), 0);
    cr_assert_eq(put_block(parent, 4096, 9), 0);
    cr_assert_eq(user_close_volume(parent), 0);
}

/* All of it is as it was, or as the snapshot shows it. */
static void is_one_or_the_other(struct catalog_handle *handle)
{
    bool begun = get_block(handle, 0) == 7;
    cr_assert_eq(get_block(handle, 0), begun ? 7 : 9);
    cr_assert_eq(get_block(handle, 4096), begun ? 0 : 9);
    cr_assert_eq(get_block(handle, 3 * SEGMENT), 8);
}

/* The rolling back goes on where it is opened next, whoever does. */
Test(clan, a_rollback_that_its_process_left_is_finished_by_who_opens_the_volume)
{
    a_with_s();
    cr_assert_eq(user_close_volume(parent), 0);
    for (unsigned turns = 1; turns < 60; turns += 7) {
        int ended;
        write_over();
        user_begin_rollback(1, "a", "s", &ended);
        gathering_turns(turns);
        (void)user_close(1);
        cr_assert_neq(ended, 1);
        cr_assert_eq(user_open_volume(0, "a", &parent), 0, "%s", base_last_error());
        is_one_or_the_other(parent);
        cr_assert_eq(user_close_volume(parent), 0);
        cr_assert_eq(user_open(1), 0, "%s", base_last_error());
    }
}

/* Whoever was at it is fenced in the middle, as if it had died: it changes nothing any more. */
Test(clan, a_rollback_is_taken_over_by_force_and_finished)
{
    a_with_s();
    cr_assert_eq(user_close_volume(parent), 0);
    for (unsigned turns = 1; turns < 80; turns += 6) {
        static struct catalog_handle *taken;
        int ended;
        write_over();
        user_begin_rollback(0, "a", "s", &ended);
        gathering_turns(turns);
        cr_assert_eq(user_force_volume(1, "a", &taken), 0, "%s", base_last_error());
        is_one_or_the_other(taken);
        for (unsigned i = 0; ended == 1 && i < 60; i++)
            gathering_run(NS_PER_S);
        cr_assert_neq(ended, 1, "%u", turns);
        is_one_or_the_other(taken);
        cr_assert_eq(put_block(taken, 8192, 5), 0);
        cr_assert_eq(user_close_volume(taken), 0);
    }
}

/* The same with flattening: the parent is kept until all that it filled is in the clone. */
Test(clan, a_flattening_is_taken_over_by_force)
{
    a_with_s();
    for (unsigned turns = 1; turns < 80; turns += 6) {
        static struct catalog_handle *taken;
        cr_assert_eq(user_clone(1, "a", "s", "b"), 0, "%s", base_last_error());
        int ended;
        user_begin_flatten(1, "b", &ended);
        gathering_turns(turns);
        cr_assert_eq(user_force_volume(0, "b", &taken), 0, "%s", base_last_error());
        cr_assert_eq(get_block(taken, 0), 7);
        cr_assert_eq(get_block(taken, 3 * SEGMENT), 8);
        for (unsigned i = 0; ended == 1 && i < 60; i++)
            gathering_run(NS_PER_S);
        cr_assert_neq(ended, 1, "%u", turns);
        cr_assert_eq(user_close_volume(taken), 0);
        cr_assert_eq(user_flatten(0, "b"), 0, "%s", base_last_error());
        user_settle(0);
        cr_assert_eq(clones_of_s(), 0, "%u", turns);
        cr_assert_eq(user_delete(0, "b"), 0, "%s", base_last_error());
        user_settle(0);
    }
    cr_assert_eq(user_close_volume(parent), 0);
}

static unsigned snapshots_of_a(void)
{
    return keys_of(metadata_volume_prefix(METADATA_SNAPSHOT, 1));
}

/* Who deletes the clone may not change what another process owns. */
Test(clan, what_was_kept_for_a_clone_goes_when_its_owner_looks)
{
    cr_assert_eq(user_create(0, "a", &small), 0);
    cr_assert_eq(user_open_volume(0, "a", &parent), 0);
    cr_assert_eq(put_block(parent, 0, 7), 0);
    cr_assert_eq(user_clone(0, "a", NULL, "b"), 0, "%s", base_last_error());
    cr_assert_eq(put_block(parent, 0, 8), 0);
    cr_assert_eq(snapshots_of_a(), 1);
    cr_assert_eq(user_delete(1, "b"), 0, "%s", base_last_error());
    user_settle(1);
    cr_assert_eq(snapshots_of_a(), 1);
    gathering_run(130 * NS_PER_S);
    cr_assert_eq(snapshots_of_a(), 0);
    cr_assert_eq(get_block(parent, 0), 8);
    cr_assert_eq(user_close_volume(parent), 0);
}
