/* SPDX-License-Identifier: Apache-2.0 */
/* Volumes by name over SQLite and a store, both in the false world. */
#include <stdio.h>

#include "format/metadata.h"
#include "pool.h"

TestSuite(catalog, .init = pool_open, .fini = pool_close);

Test(catalog, a_volume_created_is_shown_and_survives_a_power_cut)
{
    cr_assert_eq(create("one", 8 * MIB), 0);
    cr_assert_eq(show("one"), 0);
    uint64_t id = shown.id;
    cr_assert_eq(shown.bytes, 8 * MIB);
    cr_assert_eq(shown.sector_bytes, 512u);
    cr_assert_eq(shown.handle_count, 0u);
    cr_assert_str_eq(shown.name, "one");
    pool_power_cut();
    cr_assert_eq(show("one"), 0);
    cr_assert_eq(shown.id, id);
    cr_assert_eq(shown.bytes, 8 * MIB);
}

Test(catalog, what_is_refused_is_refused_with_a_sentence)
{
    char *sentence_of = "volume \"one\"";
    cr_assert_eq(create("one", 8 * MIB), 0);
    cr_assert_eq(create("one", 8 * MIB), -EEXIST);
    cr_assert(strstr(base_last_error(), "\"one\"") != NULL);
    cr_assert_eq(create("a/b", 8 * MIB), -EINVAL);
    cr_assert_eq(create("", 8 * MIB), -EINVAL);
    cr_assert_eq(create("two", 0), -EINVAL);
    cr_assert_eq(create("two", 4097), -EINVAL);
    cr_assert_eq(create("two", CATALOG_BYTES_MAX + 4096), -EINVAL);
    cr_assert_eq(delete ("two"), -ENOENT);
    cr_assert_eq(show("two"), -ENOENT);
    cr_assert(strstr(base_last_error(), "\"two\"") != NULL);
    struct catalog_handle *handle;
    cr_assert_eq(handle_open("two", false, &handle), -ENOENT);
    cr_assert_eq(resize("two", 8 * MIB, false), -ENOENT);
    cr_assert_eq(handle_open("one", true, &handle), 0);
    cr_assert_eq(delete ("one"), -EBUSY);
    cr_assert(strstr(base_last_error(), sentence_of) != NULL);
    cr_assert_eq(handle_close(handle), 0);
    cr_assert_eq(resize("one", 4 * MIB, false), -EPERM);
    cr_assert_eq(show("one"), 0);
    cr_assert_eq(shown.bytes, 8 * MIB);
    cr_assert_eq(delete ("one"), 0);
    cr_assert_eq(show("one"), -ENOENT);
}

Test(catalog, numbers_are_never_used_again)
{
    uint64_t last = 0;
    for (unsigned i = 0; i < 20; i++) {
        cr_assert_eq(create("one", MIB), 0);
        cr_assert_eq(show("one"), 0);
        cr_assert_gt(shown.id, last);
        last = shown.id;
        cr_assert_eq(delete ("one"), 0);
        if (i % 3 == 0)
            pool_power_cut();
        else if (i % 5 == 0)
            pool_reopen();
    }
}

Test(catalog, a_volume_written_and_deleted_gives_its_space_back)
{
    struct store_stats before;
    struct store_stats after;
    store_stats(rig.store, &before);
    struct catalog_handle *handle;
    cr_assert_eq(create("one", 2 * SEGMENT), 0);
    cr_assert_eq(handle_open("one", false, &handle), 0);
    for (unsigned i = 0; i < 8; i++)
        cr_assert_eq(block_write(handle, i * 40 * MIB, 7), 0);
    cr_assert_eq(handle_close(handle), 0);
    cr_assert_eq(delete ("one"), 0);
    pool_settle();
    pool_reopen(); /* A checkpoint, so that nothing waits for one. */
    store_stats(rig.store, &after);
    cr_assert_eq(after.tree.pages_used, before.tree.pages_used);
    cr_assert_eq(create("one", 2 * SEGMENT), 0);
    cr_assert_eq(handle_open("one", true, &handle), 0);
    cr_assert_eq(block_read(handle, 0), 0);
    cr_assert_eq(handle_close(handle), 0);
}

Test(catalog, a_deletion_that_was_interrupted_goes_on_at_the_next_open)
{
    struct catalog_handle *handle;
    cr_assert_eq(create("one", SEGMENT), 0);
    cr_assert_eq(handle_open("one", false, &handle), 0);
    cr_assert_eq(block_write(handle, 0, 7), 0);
    cr_assert_eq(handle_close(handle), 0);
    cr_assert_eq(delete ("one"), 0);
    struct catalog_counts counts;
    catalog_counts(rig.catalog, &counts);
    cr_assert_eq(counts.deletions, 1u);
    pool_power_cut();
    cr_assert_eq(show("one"), -ENOENT);
    pool_settle();
    struct store_stats stats;
    store_stats(rig.store, &stats);
    cr_assert_leq(stats.tree.pages_used, 1u, "%llu pages",
                  (unsigned long long)stats.tree.pages_used);
}

Test(catalog, handles_share_a_volume_and_the_last_one_closes_it)
{
    struct catalog_handle *reader;
    struct catalog_handle *writer;
    cr_assert_eq(create("one", 8 * MIB), 0);
    cr_assert_eq(handle_open("one", true, &reader), 0);
    cr_assert_eq(show("one"), 0);
    cr_assert_eq(shown.epoch, 0u, "opening for reading takes no epoch");
    cr_assert_eq(handle_open("one", false, &writer), 0);
    cr_assert_eq(catalog_handle_volume(reader), catalog_handle_volume(writer));
    cr_assert(catalog_handle_read_only(reader));
    cr_assert(!catalog_handle_read_only(writer));
    cr_assert_eq(show("one"), 0);
    cr_assert_eq(shown.epoch, 1u);
    cr_assert_eq(shown.handle_count, 2u);
    cr_assert_eq(block_write(writer, 4096, 9), 0);
    cr_assert_eq(block_read(reader, 4096), 9);
    cr_assert_eq(handle_close(writer), 0);
    struct catalog_counts counts;
    catalog_counts(rig.catalog, &counts);
    cr_assert_eq(counts.volumes_open, 1u);
    cr_assert_eq(block_read(reader, 4096), 9);
    cr_assert_eq(handle_close(reader), 0);
    catalog_counts(rig.catalog, &counts);
    cr_assert_eq(counts.volumes_open, 0u);
}

Test(catalog, sequences_go_on_after_a_close_and_jump_after_a_crash)
{
    struct catalog_handle *handle;
    cr_assert_eq(create("one", 8 * MIB), 0);
    cr_assert_eq(handle_open("one", false, &handle), 0);
    for (unsigned i = 0; i < 5; i++)
        cr_assert_eq(block_write(handle, 0, 1), 0);
    uint64_t used = volume_sequence(catalog_handle_volume(handle));
    cr_assert_eq(handle_close(handle), 0);
    cr_assert_eq(handle_open("one", false, &handle), 0);
    cr_assert_eq(volume_sequence(catalog_handle_volume(handle)), used, "given back");
    for (unsigned i = 0; i < 100; i++)
        cr_assert_eq(block_write(handle, 0, 2), 0);
    used = volume_sequence(catalog_handle_volume(handle));
    pool_power_cut();
    cr_assert_eq(handle_open("one", false, &handle), 0);
    cr_assert_geq(volume_sequence(catalog_handle_volume(handle)), used);
    cr_assert_eq(block_read(handle, 0), 2);
    cr_assert_eq(handle_close(handle), 0);
}

Test(catalog, what_a_resize_cut_off_reads_zeros_when_it_grows_again)
{
    struct catalog_handle *handle;
    cr_assert_eq(create("one", 3 * SEGMENT), 0);
    cr_assert_eq(handle_open("one", false, &handle), 0);
    struct volume *volume = catalog_handle_volume(handle);
    cr_assert_eq(block_write(handle, 0, 1), 0);
    cr_assert_eq(block_write(handle, 3 * MIB, 2), 0);
    cr_assert_eq(block_write(handle, 2 * SEGMENT + MIB, 3), 0);
    cr_assert_eq(resize("one", 3 * MIB, true), 0);
    cr_assert_eq(volume_bytes(volume), 3 * MIB);
    cr_assert_eq(resize("one", 4 * SEGMENT, false), 0);
    cr_assert_eq(volume_bytes(volume), 4 * SEGMENT);
    cr_assert_eq(block_read(handle, 0), 1);
    cr_assert_eq(block_read(handle, 3 * MIB), 0);
    cr_assert_eq(block_read(handle, 2 * SEGMENT + MIB), 0);
    cr_assert_eq(handle_close(handle), 0);
    cr_assert_eq(show("one"), 0);
    cr_assert_eq(shown.bytes, 4 * SEGMENT);
}

Test(catalog, a_closed_volume_shrinks_too_and_is_closed_after)
{
    struct catalog_handle *handle;
    cr_assert_eq(create("one", 8 * MIB), 0);
    cr_assert_eq(handle_open("one", false, &handle), 0);
    cr_assert_eq(block_write(handle, 6 * MIB, 5), 0);
    cr_assert_eq(handle_close(handle), 0);
    cr_assert_eq(resize("one", 4 * MIB, true), 0);
    struct catalog_counts counts;
    catalog_counts(rig.catalog, &counts);
    cr_assert_eq(counts.volumes_open, 0u);
    cr_assert_eq(resize("one", 8 * MIB, false), 0);
    pool_power_cut();
    cr_assert_eq(handle_open("one", true, &handle), 0);
    cr_assert_eq(block_read(handle, 6 * MIB), 0);
    cr_assert_eq(handle_close(handle), 0);
}

Test(catalog, a_volume_of_64_tib_shrinks_by_what_is_in_it)
{
    struct catalog_handle *handle;
    cr_assert_eq(create("one", CATALOG_BYTES_MAX), 0);
    cr_assert_eq(handle_open("one", false, &handle), 0);
    cr_assert_eq(block_write(handle, 5 * SEGMENT + MIB, 1), 0);
    cr_assert_eq(block_write(handle, CATALOG_BYTES_MAX - 4096, 2), 0);
    uint64_t sequence = volume_sequence(catalog_handle_volume(handle));
    cr_assert_eq(resize("one", MIB, true), 0);
    cr_assert_eq(volume_sequence(catalog_handle_volume(handle)), sequence + 2,
                 "one operation for each segment that holds something");
    cr_assert_eq(resize("one", CATALOG_BYTES_MAX, false), 0);
    cr_assert_eq(block_read(handle, 5 * SEGMENT + MIB), 0);
    cr_assert_eq(block_read(handle, CATALOG_BYTES_MAX - 4096), 0);
    cr_assert_eq(handle_close(handle), 0);
}

Test(catalog, writes_end_with_an_error_when_no_more_sequences_can_be_reserved)
{
    struct catalog_handle *handle;
    cr_assert_eq(create("one", 8 * MIB), 0);
    cr_assert_eq(handle_open("one", false, &handle), 0);
    rig.vfs.fail_first = rig.vfs.operations + 1;
    rig.vfs.fail_last = UINT64_MAX;
    rig.vfs.fail_code = SQLITE_IOERR_FSYNC;
    unsigned written = 0;
    while (written < 100 && block_write(handle, 0, 3) == 0)
        written++;
    cr_assert_leq(written, 16u, "no more than the lot that was reserved");
    cr_assert_geq(written, 8u);
    cr_assert_eq(block_read(handle, 0), 3);
    cr_assert_neq(handle_close(handle), 0);
}

static unsigned listed;
static char listed_last[CATALOG_NAME_BYTES_MAX + 1];

static void note_listed(void *context, const struct catalog_info *info)
{
    (void)context;
    cr_assert_lt(strcmp(listed_last, info->name), 0, "%s before %s", listed_last, info->name);
    memcpy(listed_last, info->name, strlen(info->name) + 1);
    listed++;
}

Test(catalog, a_list_comes_in_pages_and_in_order)
{
    for (unsigned i = 0; i < 300; i++) {
        char name[16];
        (void)snprintf(name, sizeof name, "v%03u", i * 7 % 300);
        cr_assert_eq(create(name, MIB), 0);
    }
    int more = 1;
    unsigned pages = 0;
    listed = 0;
    listed_last[0] = '\0';
    while (more == 1) {
        char after[CATALOG_NAME_BYTES_MAX + 1];
        memcpy(after, listed_last, sizeof after);
        rig.waiting = true;
        cr_assert_eq(catalog_list(rig.catalog, after, 140, note_listed, catalog_rig_ended, &rig),
                     0);
        wait_ended();
        more = rig.ended;
        pages++;
    }
    cr_assert_eq(more, 0);
    cr_assert_eq(listed, 300u);
    cr_assert_eq(pages, 3u);
}

static void put_done(struct meta_request *request, int result)
{
    (void)request;
    catalog_rig_ended(&rig, result);
}

static void put(struct metadata_key key, struct metadata_bytes value, size_t longer)
{
    struct meta_request request = {0};
    uint8_t bytes[META_KEY_BYTES_MAX];
    memset(bytes, 'x', sizeof bytes);
    memcpy(bytes, key.bytes, key.length);
    meta_put(&request, (struct meta_slice){.data = bytes, .length = key.length + longer},
             META_SLICE(value), 0);
    rig.waiting = true;
    cr_assert_eq(meta_commit(rig.meta, &request, put_done), 0);
    wait_ended();
    cr_assert_eq(rig.ended, 0);
    meta_request_done(&request);
    metadata_bytes_done(&value);
}

/* As long as the metadata takes them, and no name. */
Test(catalog, a_key_that_is_too_long_for_a_name_is_damage)
{
    struct metadata_name name = {.volume = 1};
    struct metadata_bytes value;
    cr_assert_eq(metadata_name_encode(&name, &value), 0);
    put(metadata_prefix(METADATA_NAME), value, 400);
    rig.waiting = true;
    cr_assert_eq(catalog_list(rig.catalog, NULL, 10, note_listed, catalog_rig_ended, &rig), 0);
    wait_ended();
    cr_assert_eq(rig.ended, IOMESH_CORRUPT);
}

Test(catalog, a_volume_larger_than_any_is_damage)
{
    struct metadata_volume record = {.id = 77,
                                     .name = "giant",
                                     .bytes = 2 * CATALOG_BYTES_MAX,
                                     .sector_bytes = 4096,
                                     .sequence_end = 1};
    struct metadata_name name = {.volume = record.id};
    struct metadata_bytes value;
    cr_assert_eq(metadata_volume_encode(&record, &value), 0);
    put(metadata_volume_key(record.id), value, 0);
    cr_assert_eq(metadata_name_encode(&name, &value), 0);
    put(metadata_name_key(record.name, strlen(record.name)), value, 0);
    struct catalog_handle *handle;
    cr_assert_eq(handle_open("giant", true, &handle), IOMESH_CORRUPT);
}

static int results[4];
static unsigned result_count;

static void note_result(void *context, int result)
{
    (void)context;
    results[result_count++] = result;
    rig.waiting = result_count < 4;
}

Test(catalog, operations_on_one_name_happen_in_their_order)
{
    struct catalog_create what = {.bytes = MIB, .sector_bytes = 4096};
    rig.waiting = true;
    cr_assert_eq(catalog_create(rig.catalog, "one", &what, note_result, NULL), 0);
    cr_assert_eq(catalog_create(rig.catalog, "one", &what, note_result, NULL), 0);
    cr_assert_eq(catalog_delete(rig.catalog, "one", note_result, NULL), 0);
    cr_assert_eq(catalog_create(rig.catalog, "one", &what, note_result, NULL), 0);
    wait_ended();
    cr_assert_eq(results[0], 0);
    cr_assert_eq(results[1], -EEXIST);
    cr_assert_eq(results[2], 0);
    cr_assert_eq(results[3], 0);
}

static void session_listed(struct meta_request *request, int result)
{
    (void)request;
    catalog_rig_ended(&rig, result);
}

Test(catalog, the_session_is_there_while_the_pool_is_open)
{
    /* Ten times as long as a lease lasts. */
    uint64_t until = rig.world.now_ns + 10 * CATALOG_SESSION_TTL_NS;
    while (rig.world.now_ns < until)
        cr_assert(catalog_rig_turn(&rig));
    struct meta_request request = {0};
    meta_list(&request, META_TEXT("session/"), META_TEXT(""), 10);
    rig.waiting = true;
    cr_assert_eq(meta_commit(rig.meta, &request, session_listed), 0);
    wait_ended();
    cr_assert_eq(rig.ended, 0);
    cr_assert_eq(request.responses[0].entry_count, 1u);
    meta_request_done(&request);
}
