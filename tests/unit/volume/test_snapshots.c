/* SPDX-License-Identifier: Apache-2.0 */
/* Snapshots, groups and clones by name, over SQLite and a store in the false world. */
#include <stdio.h>

#include "pool.h"

TestSuite(snapshots, .init = pool_open, .fini = pool_close);

Test(snapshots, a_snapshot_of_an_open_volume_shows_what_was_written_before_it)
{
    struct catalog_handle *handle;
    cr_assert_eq(create("one", 8 * MIB), 0);
    cr_assert_eq(handle_open("one", false, &handle), 0);
    cr_assert_eq(block_write(handle, 0, 1), 0);
    cr_assert_eq(snapshot_create("one", "a"), 0, "%s", base_last_error());
    cr_assert_eq(block_write(handle, 0, 2), 0);
    cr_assert_eq(block_write(handle, MIB, 3), 0);
    cr_assert_eq(block_look("one@a", 0), 1);
    cr_assert_eq(block_look("one@a", MIB), 0);
    cr_assert_eq(block_read(handle, 0), 2);
    cr_assert_eq(handle_close(handle), 0);
    pool_power_cut();
    cr_assert_eq(block_look("one@a", 0), 1);
    cr_assert_eq(block_look("one@a", MIB), 0);
    cr_assert_eq(block_look("one", 0), 2);
}

Test(snapshots, a_snapshot_of_a_closed_volume_shows_what_was_written_before_it)
{
    cr_assert_eq(create("one", 8 * MIB), 0);
    block_put("one", 0, 1);
    cr_assert_eq(snapshot_create("one", "a"), 0);
    cr_assert_eq(snapshot_create("one", "b"), 0);
    block_put("one", 0, 2);
    cr_assert_eq(snapshot_create("one", "c"), 0);
    block_put("one", 0, 3);
    cr_assert_eq(block_look("one@a", 0), 1);
    cr_assert_eq(block_look("one@b", 0), 1);
    cr_assert_eq(block_look("one@c", 0), 2);
    cr_assert_eq(block_look("one", 0), 3);
}

Test(snapshots, those_of_a_volume_are_listed_oldest_first_with_their_space)
{
    cr_assert_eq(create("one", 8 * MIB), 0);
    block_put("one", 0, 1);
    block_put("one", MIB, 1);
    cr_assert_eq(snapshot_create("one", "b"), 0);
    block_put("one", 0, 2);
    cr_assert_eq(resize("one", 12 * MIB, false), 0);
    cr_assert_eq(snapshot_create("one", "a"), 0);
    cr_assert_eq(snapshot_list("one", true), 0);
    cr_assert_eq(found_count, 2u);
    cr_assert_str_eq(found[0].name, "b");
    cr_assert_eq(found[0].snapshot.bytes, 8 * MIB);
    cr_assert(found[0].snapshot.space);
    cr_assert_eq(found[0].snapshot.unique_bytes, 4096u);
    cr_assert_eq(found[0].snapshot.shared_bytes, 4096u);
    cr_assert_str_eq(found[1].name, "a");
    cr_assert_eq(found[1].snapshot.bytes, 12 * MIB);
    cr_assert_eq(found[1].snapshot.unique_bytes, 0u);
    cr_assert_eq(found[1].snapshot.shared_bytes, 8192u);
    cr_assert_neq(memcmp(found[0].snapshot.uuid, found[1].snapshot.uuid, 16), 0);
    cr_assert_eq(show("one"), 0);
    cr_assert_eq(shown.snapshot_count, 2u);
}

Test(snapshots, what_is_refused_is_refused_with_a_sentence)
{
    struct catalog_handle *handle;
    cr_assert_eq(snapshot_create("one", "a"), -ENOENT);
    cr_assert_eq(create("one", 8 * MIB), 0);
    cr_assert_eq(snapshot_create("one", "a@b"), -EINVAL);
    cr_assert_eq(snapshot_create("one", "a"), 0);
    cr_assert_eq(snapshot_create("one", "a"), -EEXIST);
    cr_assert(strstr(base_last_error(), "\"one\" has a snapshot \"a\"") != NULL);
    cr_assert_eq(snapshot_delete("one", "b"), -ENOENT);
    cr_assert(strstr(base_last_error(), "no snapshot \"b\"") != NULL);
    cr_assert_eq(block_look("one@b", 0), -ENOENT);
    cr_assert_eq(block_look("one@", 0), -EINVAL);
    cr_assert_eq(handle_open("one@a", false, &handle), -EROFS);
    cr_assert(strstr(base_last_error(), "\"one@a\"") != NULL);
    cr_assert_eq(handle_open("one@a", true, &handle), 0);
    cr_assert_str_eq(catalog_handle_name(handle), "one@a");
    cr_assert_eq(snapshot_delete("one", "a"), -EBUSY);
    cr_assert(strstr(base_last_error(), "\"one@a\" is open") != NULL);
    cr_assert_eq(handle_close(handle), 0);
    cr_assert_eq(delete ("one"), -EBUSY);
    cr_assert(strstr(base_last_error(), "has 1 snapshot: delete it first") != NULL);
    cr_assert_eq(snapshot_delete("one", "a"), 0);
    cr_assert_eq(snapshot_delete("one", "a"), -ENOENT);
    cr_assert_eq(delete ("one"), 0);
}

Test(snapshots, in_any_order_they_are_deleted_and_the_others_stay_what_they_are)
{
    uint64_t before = blocks_used();
    struct catalog_handle *handle;
    static const char *const names[] = {"one@a", "one@b", "one@c", "one@d"};
    cr_assert_eq(create("one", 8 * MIB), 0);
    cr_assert_eq(handle_open("one", false, &handle), 0);
    for (unsigned i = 0; i < 4; i++) {
        cr_assert_eq(block_write(handle, 0, (uint8_t)(i + 1)), 0);
        cr_assert_eq(snapshot_create("one", names[i] + 4), 0);
    }
    cr_assert_eq(block_write(handle, 0, 9), 0);
    cr_assert_eq(snapshot_delete("one", "b"), 0);
    cr_assert_eq(snapshot_delete("one", "d"), 0);
    cr_assert_eq(block_write(handle, 0, 10), 0);
    pool_settle();
    cr_assert_eq(block_look("one@a", 0), 1);
    cr_assert_eq(block_look("one@c", 0), 3);
    cr_assert_eq(block_read(handle, 0), 10);
    cr_assert_eq(snapshot_delete("one", "a"), 0);
    cr_assert_eq(snapshot_delete("one", "c"), 0);
    cr_assert_eq(handle_close(handle), 0);
    pool_settle();
    cr_assert_eq(snapshot_list("one", false), 0);
    cr_assert_eq(found_count, 0u);
    cr_assert_eq(delete ("one"), 0);
    cr_assert_eq(blocks_used(), before);
}

Test(snapshots, a_deletion_that_was_interrupted_goes_on_at_the_next_open)
{
    cr_assert_eq(create("one", 8 * MIB), 0);
    block_put("one", 0, 1);
    cr_assert_eq(snapshot_create("one", "a"), 0);
    block_put("one", 0, 2);
    cr_assert_eq(snapshot_delete("one", "a"), 0);
    pool_power_cut();
    pool_settle();
    cr_assert_eq(snapshot_list("one", false), 0);
    cr_assert_eq(found_count, 0u);
}

Test(snapshots, a_group_is_made_and_deleted_as_one)
{
    static const char *const volumes[] = {"two", "one"};
    struct catalog_handle *handle;
    cr_assert_eq(create("one", 8 * MIB), 0);
    cr_assert_eq(create("two", 8 * MIB), 0);
    block_put("two", 0, 2);
    cr_assert_eq(handle_open("one", false, &handle), 0);
    cr_assert_eq(block_write(handle, 0, 1), 0);
    cr_assert_eq(group_create("g", volumes, 2), 0, "%s", base_last_error());
    cr_assert_eq(block_write(handle, 0, 3), 0);
    block_put("two", 0, 4);
    cr_assert_eq(block_look("one@g", 0), 1);
    cr_assert_eq(block_look("two@g", 0), 2);
    cr_assert_eq(group_create("g", volumes, 2), -EEXIST);
    cr_assert_eq(snapshot_delete("two", "g"), -EBUSY);
    cr_assert(strstr(base_last_error(), "group \"g\"") != NULL);
    cr_assert_eq(group_delete("h"), -ENOENT);
    cr_assert_eq(group_delete("g"), 0, "%s", base_last_error());
    cr_assert_eq(group_delete("g"), -ENOENT);
    pool_settle();
    for (unsigned i = 0; i < 2; i++) {
        cr_assert_eq(snapshot_list(volumes[i], false), 0);
        cr_assert_eq(found_count, 0u);
    }
    cr_assert_eq(handle_close(handle), 0);
}

Test(snapshots, a_group_is_refused_as_a_whole)
{
    static const char *const missing[] = {"one", "none"};
    static const char *const twice[] = {"one", "one"};
    cr_assert_eq(create("one", 8 * MIB), 0);
    cr_assert_eq(group_create("g", missing, 2), -ENOENT);
    cr_assert_eq(group_create("g", twice, 2), -EINVAL);
    cr_assert_eq(group_create("g", twice, 0), -EINVAL);
    cr_assert_eq(snapshot_list("one", false), 0);
    cr_assert_eq(found_count, 0u);
    cr_assert_eq(snapshot_create("one", "g"), 0);
    cr_assert_eq(group_create("g", missing, 1), -EEXIST);
}

Test(snapshots, a_group_of_64_volumes_is_one_transaction)
{
    static char names[CATALOG_GROUP_VOLUMES_MAX][8];
    const char *volumes[CATALOG_GROUP_VOLUMES_MAX];
    for (unsigned i = 0; i < CATALOG_GROUP_VOLUMES_MAX; i++) {
        (void)snprintf(names[i], sizeof names[i], "v%u", i);
        volumes[i] = names[i];
        cr_assert_eq(create(names[i], MIB), 0);
    }
    cr_assert_eq(group_create("all", volumes, CATALOG_GROUP_VOLUMES_MAX), 0, "%s",
                 base_last_error());
    cr_assert_eq(group_delete("all"), 0, "%s", base_last_error());
    pool_settle();
}

Test(snapshots, a_clone_reads_as_its_snapshot_until_it_is_written)
{
    cr_assert_eq(create("one", 8 * MIB), 0);
    block_put("one", 0, 1);
    block_put("one", MIB, 1);
    cr_assert_eq(snapshot_create("one", "a"), 0);
    block_put("one", 0, 2);
    cr_assert_eq(clone_make("one", "b", "two"), -ENOENT);
    cr_assert_eq(clone_make("one", "a", "one"), -EEXIST);
    cr_assert_eq(clone_make("one", "a", "two"), 0, "%s", base_last_error());
    cr_assert_eq(clone_make("one", "a", "two"), -EEXIST);
    cr_assert_eq(block_look("two", 0), 1);
    block_put("two", 0, 7);
    cr_assert_eq(block_look("two", 0), 7);
    cr_assert_eq(block_look("two", MIB), 1);
    cr_assert_eq(block_look("one@a", 0), 1);
    cr_assert_eq(snapshot_list("one", false), 0);
    cr_assert_eq(found[0].snapshot.clones, 1u);
    cr_assert_eq(show("two"), 0);
    cr_assert_str_eq(shown_parent, "one");
}

Test(snapshots, what_a_clone_needs_stays_hidden_until_the_last_clone_is_gone)
{
    uint64_t before = blocks_used();
    cr_assert_eq(create("one", 8 * MIB), 0);
    block_put("one", 0, 1);
    cr_assert_eq(snapshot_create("one", "a"), 0);
    cr_assert_eq(clone_make("one", "a", "two"), 0);
    cr_assert_eq(clone_make("two", NULL, "three"), 0, "%s", base_last_error());
    cr_assert_eq(snapshot_delete("one", "a"), 0);
    cr_assert_eq(block_look("one@a", 0), -ENOENT);
    block_put("one", 0, 2);
    cr_assert_eq(snapshot_list("one", false), 0);
    cr_assert_eq(found_count, 1u);
    cr_assert(found[0].snapshot.hidden);
    cr_assert_eq(delete ("one"), 0, "%s", base_last_error());
    cr_assert_eq(show("one"), -ENOENT);
    pool_power_cut();
    pool_settle();
    cr_assert_eq(block_look("three", 0), 1);
    cr_assert_eq(show("two"), 0);
    cr_assert(shown.flags & CATALOG_PARENT_DELETED);
    cr_assert(shown.flags & CATALOG_PARENT_HIDDEN);
    cr_assert_eq(delete ("two"), 0);
    pool_settle();
    cr_assert_eq(block_look("three", 0), 1);
    cr_assert_eq(delete ("three"), 0);
    cr_assert_eq(blocks_used(), before);
}

Test(snapshots, a_cut_whose_transaction_failed_is_dropped)
{
    uint64_t before = blocks_used();
    struct catalog_handle *handle;
    cr_assert_eq(create("one", 8 * MIB), 0);
    cr_assert_eq(handle_open("one", false, &handle), 0);
    cr_assert_eq(block_write(handle, 0, 1), 0);
    rig.waiting = true;
    uint8_t uuid[16] = {1};
    cr_assert_eq(catalog_snapshot_create(rig.catalog, "one", "a", uuid, catalog_rig_ended, &rig),
                 0);
    pool_power_cut();
    cr_assert_eq(block_look("one", 0), 1);
    block_put("one", 0, 2);
    pool_settle();
    cr_assert_eq(delete ("one") == -EBUSY ? snapshot_delete("one", "a") : 0, 0);
    (void)delete ("one");
    cr_assert_eq(blocks_used(), before);
}
