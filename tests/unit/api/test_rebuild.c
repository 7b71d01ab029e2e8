/* SPDX-License-Identifier: Apache-2.0 */
/* Metadata made anew: what stores say, held together. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <iomesh/event.h>

#include "api/rebuild.h"

static struct rebuild rebuild;
static char said[4096];

static void tell(void *context, uint32_t severity, const char *text)
{
    (void)context;
    size_t length = strlen(said);
    (void)snprintf(said + length, sizeof said - length, "%u %s\n", severity, text);
}

static void begin(void)
{
    rebuild.tell = tell;
}

static void end(void)
{
    rebuild_done(&rebuild);
}

TestSuite(rebuild, .init = begin, .fini = end);

/* --- What stores have ----------------------------------------------------------------------- */

static void keep(struct rebuild_store *store, struct metadata_key key, struct metadata_bytes *value,
                 uint64_t epoch, uint64_t revision)
{
    static uint8_t data[METADATA_COPY_BYTES_MAX];
    struct metadata_copy copy = {.bytes = METADATA_COPY_STAMP_BYTES + (uint32_t)value->length,
                                 .key_length = (uint32_t)key.length,
                                 .data = data};
    memcpy(copy.key, key.bytes, key.length);
    metadata_stamp_put(data, &(struct metadata_stamp){.epoch = epoch, .revision = revision});
    memcpy(data + METADATA_COPY_STAMP_BYTES, value->bytes, value->length);
    metadata_bytes_done(value);
    cr_assert_eq(rebuild_copy_add(&rebuild, store, &copy), 0);
}

static struct rebuild_store *store_new(uint64_t id)
{
    struct metadata_cluster cluster = {.uuid = {7}, .format = 1};
    struct metadata_store record = {.id = id, .uuid = {(uint8_t)id}, .state = METADATA_STORE_OUT};
    struct metadata_bytes value = {0};
    char path[16];
    (void)snprintf(path, sizeof path, "s%u", (unsigned)id);
    struct rebuild_store *store = rebuild_store_new(&rebuild, path);
    cr_assert_not_null(store);
    store->uuid[0] = (uint8_t)id;
    store->incarnation = 3;
    cr_assert_eq(metadata_cluster_encode(&cluster, &value), 0);
    keep(store, metadata_cluster_key(), &value, 1, 1);
    cr_assert_eq(metadata_store_encode(&record, &value), 0);
    keep(store, metadata_store_key(id), &value, 1, 1);
    return store;
}

static void keep_volume(struct rebuild_store *store, uint64_t id, const char *name, uint64_t epoch,
                        uint64_t revision)
{
    struct metadata_volume record = {.id = id,
                                     .bytes = 1 << 20,
                                     .sector_bytes = 4096,
                                     .owner_session = 5,
                                     .epoch = epoch,
                                     .sequence_end = 100 * epoch,
                                     .policy = {.copies = 3, .copies_min = 2}};
    struct metadata_bytes value = {0};
    (void)snprintf(record.name, sizeof record.name, "%s", name);
    cr_assert_eq(metadata_volume_encode(&record, &value), 0);
    keep(store, metadata_volume_key(id), &value, epoch, revision);
}

/* Members 1, 2, 3; a letter for each: i in sync, s stale. */
static void keep_group(struct rebuild_store *store, uint64_t volume, const char *states,
                       uint32_t generation, uint64_t epoch, uint64_t revision)
{
    struct metadata_group group = {.volume = volume, .generation = generation};
    struct metadata_bytes value = {0};
    for (; states[group.member_count] != '\0'; group.member_count++)
        group.members[group.member_count] = (struct metadata_member){
            .store = group.member_count + 1,
            .state = states[group.member_count] == 'i' ? METADATA_IN_SYNC : METADATA_STALE};
    cr_assert_eq(metadata_group_encode(&group, &value), 0);
    keep(store, metadata_group_key(volume, 0), &value, epoch, revision);
}

static struct rebuild_part *part(struct rebuild_store *store, uint64_t volume, uint8_t role,
                                 uint32_t generation)
{
    struct rebuild_part *made = calloc(1, sizeof *made);
    cr_assert_not_null(made);
    made->volume = volume;
    made->state = (struct part_state){.epoch = 4, .role = role, .generation = generation};
    made->next = store->parts;
    store->parts = made;
    return made;
}

/* --- What comes of it ----------------------------------------------------------------------- */

static const struct rebuild_record *found(struct metadata_key key)
{
    const struct rebuild_record *record = rebuild.records;
    while (record != NULL && (record->key.length != key.length ||
                              memcmp(record->key.bytes, key.bytes, key.length) != 0))
        record = record->next;
    return record;
}

static struct metadata_volume volume_of(uint64_t id)
{
    struct metadata_volume volume;
    const struct rebuild_record *record = found(metadata_volume_key(id));
    cr_assert_not_null(record);
    cr_assert_eq(metadata_volume_decode(record->value.bytes, record->value.length, &volume), 0);
    return volume;
}

/* Its members' letters. */
static const char *group_of(uint64_t volume, uint32_t *ret_generation)
{
    static char states[METADATA_MEMBERS_MAX + 1];
    struct metadata_group group;
    const struct rebuild_record *record = found(metadata_group_key(volume, 0));
    cr_assert_not_null(record);
    cr_assert_eq(metadata_group_decode(record->value.bytes, record->value.length, &group), 0);
    for (uint32_t i = 0; i < group.member_count; i++)
        states[i] = group.members[i].state == METADATA_IN_SYNC ? 'i' : 's';
    states[group.member_count] = '\0';
    *ret_generation = group.generation;
    return states;
}

/* Three stores with volume 1, whose records say so; parts as they are when all is well. */
static struct rebuild_store *stores[3];

static void three(const char *states, uint32_t generation)
{
    for (unsigned i = 0; i < 3; i++) {
        stores[i] = store_new(i + 1);
        keep_volume(stores[i], 1, "a", 2, 10);
        keep_group(stores[i], 1, states, generation, 2, 10);
    }
}

Test(rebuild, all_that_was_in_sync_is_and_numbers_go_far_beyond_what_was_seen)
{
    uint32_t generation;
    three("iii", 6);
    for (unsigned i = 0; i < 3; i++)
        part(stores[i], 1, PART_IN_SYNC, 6)->sequence = 1000 + i;
    cr_assert_eq(rebuild_merge(&rebuild), 0, "%s", base_last_error());
    struct metadata_volume volume = volume_of(1);
    cr_expect_eq(volume.epoch, 4 + REBUILD_EPOCHS, "beyond the fence, not the record");
    cr_expect_eq(volume.sequence_end, 1002 + REBUILD_SEQUENCES, "beyond what a store has");
    cr_expect_eq(volume.owner_session, 0);
    cr_expect(volume.unclean);
    cr_expect_str_eq(group_of(1, &generation), "iii");
    cr_expect_eq(generation, 6 + REBUILD_GENERATIONS);
    cr_expect_not_null(found(metadata_name_key("a", 1)));
    cr_expect_eq(rebuild.losses, 0);
    cr_expect_eq(rebuild.faults, 0, "%s", said);
    cr_expect_eq(rebuild.volume_count, 1);
}

Test(rebuild, the_newest_record_counts_whatever_store_has_it)
{
    uint32_t generation;
    three("iii", 6);
    keep_group(stores[1], 1, "iis", 7, 2, 11);
    /* The older one of the same store is gone: a store keeps one of a key. */
    struct rebuild_copy **at = &stores[1]->copies->next;
    while ((*at)->parts.kind != METADATA_GROUP)
        at = &(*at)->next;
    struct rebuild_copy *older = *at;
    *at = older->next;
    free(older->data);
    free(older);
    for (unsigned i = 0; i < 3; i++)
        part(stores[i], 1, PART_IN_SYNC, 6);
    cr_assert_eq(rebuild_merge(&rebuild), 0);
    cr_expect_str_eq(group_of(1, &generation), "iis");
    cr_expect_eq(generation, 7 + REBUILD_GENERATIONS);
}

Test(rebuild, parts_that_saw_a_newer_generation_know_better_than_records)
{
    uint32_t generation;
    three("iii", 6);
    part(stores[0], 1, PART_IN_SYNC, 8);
    part(stores[1], 1, PART_IN_SYNC, 8);
    part(stores[2], 1, PART_IN_SYNC, 6);
    cr_assert_eq(rebuild_merge(&rebuild), 0);
    cr_expect_str_eq(group_of(1, &generation), "iis");
    cr_expect_eq(generation, 8 + REBUILD_GENERATIONS);
}

Test(rebuild, who_catches_up_in_a_newer_generation_is_not_whole)
{
    uint32_t generation;
    three("iis", 6);
    part(stores[0], 1, PART_IN_SYNC, 9);
    part(stores[1], 1, PART_IN_SYNC, 9);
    part(stores[2], 1, PART_CATCHING_UP, 9);
    cr_assert_eq(rebuild_merge(&rebuild), 0);
    cr_expect_str_eq(group_of(1, &generation), "iis");
}

Test(rebuild, a_store_that_was_wiped_is_stale)
{
    uint32_t generation;
    three("iii", 6);
    part(stores[0], 1, PART_IN_SYNC, 6);
    part(stores[1], 1, PART_IN_SYNC, 6);
    part(stores[2], 1, PART_NEW, 0)->state.epoch = 0;
    cr_assert_eq(rebuild_merge(&rebuild), 0);
    cr_expect_str_eq(group_of(1, &generation), "iis");
    cr_expect_eq(rebuild.losses, 0);
}

/* A store that is not among those named, of so many that are in sync. */
static void without(unsigned missing, const char *states, uint64_t losses)
{
    uint32_t generation;
    three(states, 6);
    for (unsigned i = 0; i < 3; i++)
        part(stores[i], 1, states[i] == 'i' ? PART_IN_SYNC : PART_CATCHING_UP, 6);
    for (unsigned i = 0; i < missing; i++)
        stores[2 - i]->known = false;
    cr_assert_eq(rebuild_merge(&rebuild), 0);
    cr_expect_eq(rebuild.losses, losses, "%s", said);
    (void)group_of(1, &generation);
}

Test(rebuild, one_of_three_may_be_missing)
{
    without(1, "iii", 0);
}

Test(rebuild, two_of_three_may_have_gone_on_alone)
{
    without(2, "iii", 1);
}

Test(rebuild, who_is_left_must_be_whole)
{
    without(2, "sii", 1);
}

Test(rebuild, two_with_one_name_keep_both_and_the_older_gets_another)
{
    struct rebuild_store *store = store_new(1);
    keep_volume(store, 1, "a", 2, 10);
    keep_volume(store, 9, "a", 1, 20);
    cr_assert_eq(rebuild_merge(&rebuild), 0);
    cr_expect_str_eq(volume_of(1).name, "a.1");
    cr_expect_str_eq(volume_of(9).name, "a");
    cr_expect_not_null(found(metadata_name_key("a.1", 3)));
    cr_expect_eq(rebuild.id_last, 9);
}

Test(rebuild, snapshots_of_a_group_and_clones_are_counted_again)
{
    struct metadata_bytes value = {0};
    struct rebuild_store *store = store_new(1);
    keep_volume(store, 1, "a", 2, 10);
    struct metadata_volume clone = {.id = 2,
                                    .name = "b",
                                    .bytes = 1 << 20,
                                    .sector_bytes = 4096,
                                    .parent_volume = 1,
                                    .parent_cut = 5000};
    cr_assert_eq(metadata_volume_encode(&clone, &value), 0);
    keep(store, metadata_volume_key(2), &value, 1, 1);
    struct metadata_snapshot snapshot = {.volume = 1,
                                         .cut = 5000,
                                         .name = "night",
                                         .group = "night",
                                         .clones = 7,
                                         .state = METADATA_SNAPSHOT_LIVE};
    cr_assert_eq(metadata_snapshot_encode(&snapshot, &value), 0);
    keep(store, metadata_snapshot_key(1, 5000), &value, 2, 10);
    cr_assert_eq(rebuild_merge(&rebuild), 0);
    const struct rebuild_record *record = found(metadata_snapshot_key(1, 5000));
    cr_assert_not_null(record);
    cr_assert_eq(metadata_snapshot_decode(record->value.bytes, record->value.length, &snapshot), 0);
    cr_expect_eq(snapshot.clones, 1);
    cr_expect_eq(volume_of(1).snapshots, 1);
    cr_expect_eq(volume_of(1).sequence_end, 5000 + REBUILD_SEQUENCES);
    struct metadata_together together;
    record = found(metadata_together_key("night", 5));
    cr_assert_not_null(record);
    cr_assert_eq(metadata_together_decode(record->value.bytes, record->value.length, &together), 0);
    cr_expect_eq(together.part_count, 1);
    cr_expect_eq(together.parts[0].cut, 5000);
}

Test(rebuild, one_that_was_asked_from_far_is_known_by_its_number)
{
    struct metadata_store record = {.id = 4, .uuid = {44}};
    struct metadata_bytes value = {0};
    struct rebuild_store *near = store_new(1), *far = rebuild_store_new(&rebuild, "far");
    cr_assert_not_null(far);
    far->id = 4;
    cr_expect_null(rebuild_store_same(&rebuild, far), "nobody knows its uuid yet");
    cr_assert_eq(metadata_store_encode(&near->record, &value), 0);
    keep(far, metadata_store_key(1), &value, 1, 1);
    cr_expect_not(far->known, "another's");
    cr_assert_eq(metadata_store_encode(&record, &value), 0);
    keep(far, metadata_store_key(4), &value, 1, 1);
    cr_expect(far->known);
    cr_expect_eq(far->uuid[0], 44);
    cr_expect_null(rebuild_store_same(&rebuild, far));
    struct rebuild_store *again = rebuild_store_new(&rebuild, "again");
    cr_assert_not_null(again);
    again->uuid[0] = 44;
    cr_expect_eq(rebuild_store_same(&rebuild, again), far);
    rebuild_store_drop(&rebuild);
    cr_expect_eq(rebuild.store_count, 2);
    cr_expect_null(rebuild_store_same(&rebuild, far));
}

Test(rebuild, stores_of_two_pools_are_refused_and_so_are_none_with_copies)
{
    struct metadata_cluster cluster = {.uuid = {8}, .format = 1};
    struct metadata_bytes value = {0};
    cr_expect_eq(rebuild_merge(&rebuild), -ENOENT);
    (void)store_new(1);
    struct rebuild_store *other = rebuild_store_new(&rebuild, "other");
    cr_assert_eq(metadata_cluster_encode(&cluster, &value), 0);
    keep(other, metadata_cluster_key(), &value, 1, 2);
    cr_expect_eq(rebuild_merge(&rebuild), -EXDEV);
}
