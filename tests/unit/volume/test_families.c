/* SPDX-License-Identifier: Apache-2.0 */
/* Rolling back, flattening, sizes of clones, imports. */
#include <stdio.h>

#include "format/metadata.h"
#include "pool.h"

TestSuite(families, .init = pool_open, .fini = pool_close);

Test(families, a_volume_rolled_back_is_what_its_snapshot_shows)
{
    uint64_t before = blocks_used();
    cr_assert_eq(create("one", 8 * MIB), 0);
    block_put("one", 0, 1);
    block_put("one", MIB, 1);
    cr_assert_eq(snapshot_create("one", "a"), 0);
    block_put("one", 0, 2);
    block_put("one", 2 * MIB, 2);
    cr_assert_eq(snapshot_create("one", "b"), 0);
    block_put("one", MIB, 3);
    cr_assert_eq(snapshot_rollback("one", "a", false), 0, "%s", base_last_error());
    cr_assert_eq(block_look("one", 0), 1);
    cr_assert_eq(block_look("one", MIB), 1);
    cr_assert_eq(block_look("one", 2 * MIB), 0);
    cr_assert_eq(block_look("one@b", 0), 2);
    cr_assert_eq(block_look("one@b", MIB), 1);
    cr_assert_eq(snapshot_rollback("one", "b", false), 0);
    cr_assert_eq(block_look("one", 0), 2);
    cr_assert_eq(block_look("one", 2 * MIB), 2);
    cr_assert_eq(block_look("one@a", 2 * MIB), 0);
    cr_assert_eq(snapshot_delete("one", "a"), 0);
    cr_assert_eq(snapshot_delete("one", "b"), 0);
    pool_settle();
    cr_assert_eq(block_look("one", 0), 2);
    cr_assert_eq(delete ("one"), 0);
    cr_assert_eq(blocks_used(), before);
}

Test(families, a_rollback_is_refused_while_the_volume_is_open_and_where_it_would_cut)
{
    struct catalog_handle *handle;
    cr_assert_eq(create("one", 8 * MIB), 0);
    block_put("one", 7 * MIB, 1);
    cr_assert_eq(snapshot_create("one", "a"), 0);
    cr_assert_eq(snapshot_rollback("one", "b", false), -ENOENT);
    cr_assert_eq(handle_open("one", true, &handle), 0);
    cr_assert_eq(snapshot_rollback("one", "a", false), -EBUSY);
    cr_assert(strstr(base_last_error(), "\"one\" is open") != NULL);
    cr_assert_eq(handle_close(handle), 0);
    cr_assert_eq(resize("one", 4 * MIB, true), 0);
    cr_assert_eq(block_look("one@a", 7 * MIB), 1);
    cr_assert_eq(snapshot_rollback("one", "a", false), -EPERM);
    cr_assert(strstr(base_last_error(), "not forced") != NULL);
    cr_assert_eq(snapshot_rollback("one", "a", true), 0);
    cr_assert_eq(show("one"), 0);
    cr_assert_eq(shown.bytes, 8 * MIB);
    cr_assert_eq(block_look("one", 7 * MIB), 1);
}

Test(families, a_volume_that_grew_keeps_its_size_when_it_is_rolled_back_unless_it_is_forced)
{
    cr_assert_eq(create("one", 4 * MIB), 0);
    cr_assert_eq(snapshot_create("one", "a"), 0);
    cr_assert_eq(resize("one", 8 * MIB, false), 0);
    block_put("one", 6 * MIB, 1);
    cr_assert_eq(snapshot_rollback("one", "a", false), 0);
    cr_assert_eq(show("one"), 0);
    cr_assert_eq(shown.bytes, 8 * MIB);
    cr_assert_eq(block_look("one", 6 * MIB), 0);
    block_put("one", 6 * MIB, 2);
    cr_assert_eq(snapshot_rollback("one", "a", true), 0);
    cr_assert_eq(show("one"), 0);
    cr_assert_eq(shown.bytes, 4 * MIB);
    cr_assert_eq(resize("one", 8 * MIB, false), 0);
    cr_assert_eq(block_look("one", 6 * MIB), 0);
}

/* At each moment: after it the volume is all of the one or all of the other. */
Test(families, a_rollback_that_was_interrupted_is_finished_before_anybody_sees_the_volume)
{
    for (unsigned moment = 1; moment < 60; moment++) {
        char name[8];
        (void)snprintf(name, sizeof name, "v%u", moment);
        cr_assert_eq(create(name, 8 * MIB), 0);
        for (unsigned i = 0; i < 4; i++)
            block_put(name, i * MIB, 1);
        cr_assert_eq(snapshot_create(name, "a"), 0);
        for (unsigned i = 0; i < 4; i++)
            block_put(name, i * MIB, 2);
        rig.waiting = true;
        cr_assert_eq(
            catalog_snapshot_rollback(rig.catalog, name, "a", false, NULL, catalog_rig_ended, &rig),
            0);
        for (unsigned i = 0; i < moment && rig.waiting; i++)
            (void)catalog_rig_turn(&rig);
        bool done = !rig.waiting;
        pool_power_cut();
        int first = block_look(name, 0);
        cr_assert(first == 1 || (first == 2 && !done), "%d", first);
        for (unsigned i = 1; i < 4; i++)
            cr_assert_eq(block_look(name, i * MIB), first);
        pool_settle();
        if (done)
            break;
    }
}

Test(families, a_flattened_clone_needs_its_parent_no_more)
{
    uint64_t before = blocks_used();
    cr_assert_eq(create("one", 8 * MIB), 0);
    block_put("one", 0, 1);
    block_put("one", MIB, 1);
    cr_assert_eq(clone_make("one", NULL, "two"), 0);
    block_put("two", 0, 2);
    cr_assert_eq(flatten("one"), 0);
    cr_assert_eq(flatten("two"), 0, "%s", base_last_error());
    pool_settle();
    cr_assert_eq(show("two"), 0);
    cr_assert_str_eq(shown_parent, "");
    cr_assert_eq(snapshot_list("one", false), 0);
    cr_assert_eq(found_count, 0u, "the hidden snapshot is gone");
    cr_assert_eq(delete ("one"), 0);
    pool_settle();
    cr_assert_eq(block_look("two", 0), 2);
    cr_assert_eq(block_look("two", MIB), 1);
    cr_assert_eq(delete ("two"), 0);
    cr_assert_eq(blocks_used(), before);
}

Test(families, a_snapshot_from_before_the_flattening_keeps_the_tie)
{
    cr_assert_eq(create("one", 8 * MIB), 0);
    block_put("one", 0, 1);
    cr_assert_eq(snapshot_create("one", "a"), 0);
    cr_assert_eq(clone_make("one", "a", "two"), 0);
    cr_assert_eq(snapshot_create("two", "before"), 0);
    cr_assert_eq(flatten("two"), 0);
    cr_assert_eq(snapshot_create("two", "after"), 0);
    pool_settle();
    cr_assert_eq(show("two"), 0);
    cr_assert_str_eq(shown_parent, "one");
    cr_assert(shown.flags & CATALOG_FLATTENED);
    cr_assert_eq(snapshot_delete("one", "a"), 0);
    pool_settle();
    cr_assert_eq(block_look("two@before", 0), 1);
    cr_assert_eq(block_look("two@after", 0), 1);
    block_put("two", 0, 3);
    cr_assert_eq(snapshot_rollback("two", "before", false), 0);
    cr_assert_eq(block_look("two", 0), 1);
    cr_assert_eq(snapshot_delete("two", "before"), 0);
    pool_settle();
    cr_assert_eq(show("two"), 0);
    cr_assert_str_eq(shown_parent, "");
    cr_assert_eq(snapshot_list("one", false), 0);
    cr_assert_eq(found_count, 0u);
    cr_assert_eq(block_look("two@after", 0), 1);
}

Test(families, beyond_its_parent_a_clone_reads_zeros_also_after_it_was_smaller)
{
    cr_assert_eq(create("one", 4 * MIB), 0);
    for (unsigned i = 0; i < 4; i++)
        block_put("one", i * MIB, 1);
    cr_assert_eq(clone_make("one", NULL, "two"), 0);
    cr_assert_eq(resize("two", 2 * MIB, true), 0);
    cr_assert_eq(resize("two", 8 * MIB, false), 0);
    cr_assert_eq(block_look("two", MIB), 1);
    cr_assert_eq(block_look("two", 3 * MIB), 0, "what was cut off never comes back");
    cr_assert_eq(block_look("two", 6 * MIB), 0);
    cr_assert_eq(block_look("one", 3 * MIB), 1);
}

Test(families, an_import_is_incomplete_until_it_has_ended)
{
    struct catalog_import import = {
        .bytes = 8 * MIB, .sector_bytes = 512, .uuid = {7}, .snapshot = "monday"};
    struct catalog_handle *handle;
    struct catalog_handle *other;
    cr_assert_eq(import_begin("one", &import, &handle), 0, "%s", base_last_error());
    cr_assert_eq(block_write(handle, 0, 1), 0);
    cr_assert_eq(snapshot_create("one", "x"), -EBUSY);
    cr_assert_eq(handle_close(handle), 0);
    cr_assert_eq(show("one"), 0);
    cr_assert(shown.flags & CATALOG_INCOMPLETE);
    cr_assert_eq(handle_open("one", false, &other), -EBUSY);
    cr_assert(strstr(base_last_error(), "incomplete") != NULL);
    cr_assert_eq(import_begin("one", &import, &handle), -EEXIST);
    cr_assert_eq(import_abandon("one"), 0);
    cr_assert_eq(show("one"), -ENOENT);

    cr_assert_eq(import_begin("one", &import, &handle), 0);
    cr_assert_eq(block_write(handle, 0, 1), 0);
    cr_assert_eq(import_end(handle), 0, "%s", base_last_error());
    cr_assert_eq(import_end(handle), -EINVAL);
    cr_assert_eq(handle_close(handle), 0);
    cr_assert_eq(import_abandon("one"), -EINVAL);
    cr_assert_eq(block_look("one@monday", 0), 1);
    cr_assert_eq(snapshot_list("one", false), 0);
    cr_assert_eq(found[0].snapshot.uuid[0], 7);
}

Test(families, an_increment_goes_onto_its_base_and_nothing_else)
{
    char name[16] = "tuesday";
    struct catalog_import import = {
        .bytes = 8 * MIB, .sector_bytes = 512, .increment = true, .snapshot = name};
    struct catalog_handle *handle;
    import.uuid[0] = 99;
    cr_assert_eq(import_begin("one", &import, &handle), -ENOENT);
    cr_assert_eq(create("one", 8 * MIB), 0);
    block_put("one", 0, 1);
    cr_assert_eq(snapshot_create("one", "monday"), 0);
    cr_assert_eq(import_begin("one", &import, &handle), -ENOENT);
    cr_assert(strstr(base_last_error(), "made against") != NULL);
    cr_assert_eq(snapshot_list("one", false), 0);
    memcpy(import.base_uuid, found[0].snapshot.uuid, 16);
    block_put("one", MIB, 2);
    cr_assert_eq(import_begin("one", &import, &handle), -ESTALE);
    cr_assert(strstr(base_last_error(), "has changed") != NULL);
    cr_assert_eq(snapshot_rollback("one", "monday", false), 0);
    import.bytes = 4 * MIB;
    cr_assert_eq(import_begin("one", &import, &handle), -EPERM);
    import.bytes = 12 * MIB;
    cr_assert_eq(import_begin("one", &import, &handle), 0, "%s", base_last_error());
    cr_assert_eq(block_write(handle, 0, 5), 0);
    cr_assert_eq(block_write(handle, 10 * MIB, 5), 0);
    cr_assert_eq(snapshot_delete("one", "monday"), -EBUSY);
    cr_assert_eq(handle_close(handle), 0);
    cr_assert_eq(import_abandon("one"), 0, "%s", base_last_error());
    cr_assert_eq(show("one"), 0);
    cr_assert_eq(shown.bytes, 8 * MIB);
    cr_assert_eq(shown.flags, 0u);
    cr_assert_eq(block_look("one", 0), 1);
    cr_assert_eq(block_look("one", MIB), 0);

    cr_assert_eq(import_begin("one", &import, &handle), 0, "%s", base_last_error());
    cr_assert_eq(block_write(handle, 0, 5), 0);
    cr_assert_eq(import_end(handle), 0);
    cr_assert_eq(handle_close(handle), 0);
    cr_assert_eq(block_look("one@monday", 0), 1);
    cr_assert_eq(block_look("one@tuesday", 0), 5);
    (void)snprintf(name, sizeof name, "wednesday"); /* What has come already, renamed. */
    cr_assert_eq(snapshot_rollback("one", "monday", true), 0);
    cr_assert_eq(import_begin("one", &import, &handle), -EEXIST);
    cr_assert(strstr(base_last_error(), "\"tuesday\"") != NULL, "%s", base_last_error());
}

/* What was written last, out of what the volume's snapshot `base` shows. */
static void increment(const char *base, const char *name, uint8_t uuid, uint64_t bytes, bool force,
                      int result, struct catalog_handle **ret_handle)
{
    struct catalog_import import = {.bytes = bytes,
                                    .sector_bytes = 512,
                                    .increment = true,
                                    .force = force,
                                    .uuid = {uuid},
                                    .snapshot = name};
    cr_assert_eq(snapshot_list("one", false), 0);
    for (unsigned i = 0; i < found_count; i++)
        if (strcmp(found[i].name, base) == 0)
            memcpy(import.base_uuid, found[i].snapshot.uuid, 16);
    cr_assert_eq(import_begin("one", &import, ret_handle), result, "%s", base_last_error());
}

static void increment_end(struct catalog_handle *handle, uint64_t bytes, uint64_t snapshot_bytes)
{
    cr_assert_eq(import_end(handle), 0, "%s", base_last_error());
    cr_assert_eq(handle_close(handle), 0);
    cr_assert_eq(show("one"), 0);
    cr_assert_eq(shown.bytes, bytes);
    cr_assert_eq(snapshot_list("one", false), 0);
    cr_assert_eq(found[found_count - 1].snapshot.bytes, snapshot_bytes);
}

Test(families, an_increment_onto_a_volume_that_grew_leaves_its_size)
{
    struct catalog_handle *handle;
    cr_assert_eq(create("one", 8 * MIB), 0);
    block_put("one", 0, 1);
    cr_assert_eq(snapshot_create("one", "monday"), 0);
    cr_assert_eq(resize("one", 16 * MIB, false), 0);
    increment("monday", "tuesday", 7, 8 * MIB, false, 0, &handle);
    cr_assert_eq(block_write(handle, 0, 2), 0);
    cr_assert_eq(handle_close(handle), 0);
    cr_assert_eq(import_abandon("one"), 0);
    cr_assert_eq(show("one"), 0);
    cr_assert_eq(shown.bytes, 16 * MIB, "what was given up leaves the size too");
    increment("monday", "tuesday", 7, 8 * MIB, false, 0, &handle);
    cr_assert_eq(block_write(handle, 0, 2), 0);
    increment_end(handle, 16 * MIB, 8 * MIB);
    /* And the next, of the same size, and one that grew. */
    increment("tuesday", "wednesday", 8, 8 * MIB, false, 0, &handle);
    increment_end(handle, 16 * MIB, 8 * MIB);
    increment("wednesday", "thursday", 9, 20 * MIB, false, 0, &handle);
    cr_assert_eq(block_write(handle, 18 * MIB, 3), 0);
    increment_end(handle, 20 * MIB, 20 * MIB);
    cr_assert_eq(block_look("one", 0), 2);
    cr_assert_eq(block_look("one@thursday", 18 * MIB), 3);
    cr_assert_eq(block_look("one@monday", 0), 1);
}

Test(families, an_increment_of_a_volume_that_was_made_smaller_is_to_be_forced)
{
    struct catalog_handle *handle;
    cr_assert_eq(create("one", 8 * MIB), 0);
    block_put("one", 0, 1);
    block_put("one", 6 * MIB, 1);
    cr_assert_eq(snapshot_create("one", "monday"), 0);
    increment("monday", "tuesday", 7, 4 * MIB, false, -EPERM, &handle);
    cr_assert(strstr(base_last_error(), "not forced") != NULL);
    increment("monday", "tuesday", 7, 4 * MIB, true, 0, &handle);
    cr_assert_eq(handle_close(handle), 0);
    cr_assert_eq(import_abandon("one"), 0);
    cr_assert_eq(show("one"), 0);
    cr_assert_eq(shown.bytes, 8 * MIB);
    cr_assert_eq(block_look("one", 6 * MIB), 1);
    increment("monday", "tuesday", 7, 4 * MIB, true, 0, &handle);
    increment_end(handle, 4 * MIB, 4 * MIB);
    cr_assert_eq(resize("one", 8 * MIB, false), 0);
    cr_assert_eq(block_look("one", 6 * MIB), 0);
    cr_assert_eq(block_look("one@monday", 6 * MIB), 1);
    cr_assert_eq(snapshot_rollback("one", "tuesday", true), 0);
    cr_assert_eq(resize("one", 2 * MIB, true), 0);
    increment("tuesday", "wednesday", 8, 4 * MIB, false, -ESTALE, &handle);
}

/* --- What the check of a pool says ---------------------------------------------------------- */

static unsigned faults;

static void note_fault(void *context, uint64_t volume, const char *text)
{
    (void)context;
    (void)volume;
    faults++;
    fprintf(stderr, "%s\n", text);
}

static void note_volume(void *context, uint64_t volume, bool written)
{
    (void)context;
    (void)volume;
    (void)written;
}

static void changed(struct meta_request *request, int result)
{
    (void)request;
    catalog_rig_ended(&rig, result);
}

Test(families, the_check_of_a_pool_counts_clones_and_looks_for_their_parents)
{
    struct catalog_check check = {
        .fault = note_fault, .volume = note_volume, .done = catalog_rig_ended, .context = &rig};
    struct meta_request request = {0};
    cr_assert_eq(create("one", 8 * MIB), 0);
    cr_assert_eq(snapshot_create("one", "a"), 0);
    cr_assert_eq(clone_make("one", "a", "two"), 0);
    rig.waiting = true;
    cr_assert_eq(catalog_check(rig.meta, &check), 0);
    wait_ended();
    cr_assert_eq(faults, 0u);

    cr_assert_eq(snapshot_list("one", false), 0);
    struct metadata_key key =
        metadata_snapshot_key(found[0].snapshot.volume_id, found[0].snapshot.cut);
    struct metadata_snapshot record = {.volume = found[0].snapshot.volume_id,
                                       .cut = found[0].snapshot.cut,
                                       .name = "a",
                                       .bytes = 8 * MIB,
                                       .clones = 2};
    struct metadata_bytes value;
    cr_assert_eq(metadata_snapshot_encode(&record, &value), 0);
    meta_put(&request, META_SLICE(key), META_SLICE(value), 0);
    metadata_bytes_done(&value);
    rig.waiting = true;
    cr_assert_eq(meta_commit(rig.meta, &request, changed), 0);
    wait_ended();
    rig.waiting = true;
    cr_assert_eq(catalog_check(rig.meta, &check), 0);
    wait_ended();
    cr_assert_eq(faults, 1u, "the count is wrong");

    meta_request_reset(&request);
    meta_delete(&request, META_SLICE(key));
    rig.waiting = true;
    cr_assert_eq(meta_commit(rig.meta, &request, changed), 0);
    wait_ended();
    rig.waiting = true;
    cr_assert_eq(catalog_check(rig.meta, &check), 0);
    wait_ended();
    cr_assert_eq(faults, 2u, "the parent is gone");
    meta_request_done(&request);
}

static unsigned faults_now(void)
{
    struct catalog_check check = {
        .fault = note_fault, .volume = note_volume, .done = catalog_rig_ended, .context = &rig};
    faults = 0;
    rig.waiting = true;
    cr_assert_eq(catalog_check(rig.meta, &check), 0);
    wait_ended();
    return faults;
}

static void group_put(const struct metadata_together *together)
{
    struct meta_request request = {0};
    struct metadata_key key = metadata_together_key(together->name, strlen(together->name));
    struct metadata_bytes value;
    cr_assert_eq(metadata_together_encode(together, &value), 0);
    meta_put(&request, META_SLICE(key), META_SLICE(value), 0);
    metadata_bytes_done(&value);
    rig.waiting = true;
    cr_assert_eq(meta_commit(rig.meta, &request, changed), 0);
    wait_ended();
    meta_request_done(&request);
}

Test(families, the_check_of_a_pool_holds_groups_against_their_snapshots)
{
    static const char *const both[] = {"one", "two"};
    struct metadata_together together = {.name = "night", .created_ns = 1, .part_count = 2};
    cr_assert_eq(create("one", 8 * MIB), 0);
    cr_assert_eq(create("two", 8 * MIB), 0);
    cr_assert_eq(snapshot_create("one", "alone"), 0);
    cr_assert_eq(group_create("night", both, 2), 0);
    cr_assert_eq(faults_now(), 0u);
    for (unsigned i = 0; i < 2; i++) {
        cr_assert_eq(snapshot_list(both[i], false), 0);
        for (unsigned s = 0; s < found_count; s++) {
            if (strcmp(found[s].name, "night") == 0)
                together.parts[i] = (struct metadata_part){.volume = found[s].snapshot.volume_id,
                                                           .cut = found[s].snapshot.cut};
        }
    }
    group_put(&together);
    cr_assert_eq(faults_now(), 0u, "the record that there was");

    together.part_count = 1;
    group_put(&together);
    cr_assert_eq(faults_now(), 1u, "a snapshot names a group that does not have it");
    together.part_count = 2;
    together.parts[1].cut++;
    group_put(&together);
    cr_assert_eq(faults_now(), 2u, "and what the group has instead is not there");

    cr_assert_eq(snapshot_list("one", false), 0);
    for (unsigned s = 0; s < found_count; s++) {
        if (strcmp(found[s].name, "alone") == 0)
            together.parts[1] = (struct metadata_part){.volume = found[s].snapshot.volume_id,
                                                       .cut = found[s].snapshot.cut};
    }
    group_put(&together);
    cr_assert_eq(faults_now(), 2u, "one that is of no group");
    (void)snprintf(together.name, sizeof together.name, "day");
    group_put(&together);
    cr_assert_eq(faults_now(), 4u, "two that are of others");
}
