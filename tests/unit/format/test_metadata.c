/* SPDX-License-Identifier: Apache-2.0 */
#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#include "codec/codec.h"
#include "format/metadata.h"

static void key_is(struct metadata_key key, const char *text)
{
    cr_assert_eq(key.length, strlen(text));
    cr_assert_arr_eq(key.bytes, text, key.length);
}

static struct metadata_volume some_volume(void)
{
    struct metadata_volume volume = {
        .id = 0x1234567890,
        .name = "größe",
        .bytes = 64ull << 40,
        .sector_bytes = 512,
        .state = METADATA_VOLUME_DELETING,
        .owner_session = 77,
        .epoch = 3,
        .sequence_end = (1ull << 48) - 1,
        .created_ns = 1700000000000000000ull,
        .policy = {.copies = 3,
                   .copies_min = 2,
                   .ec_data = 4,
                   .ec_parity = 2,
                   .tier = METADATA_TIER_CAPACITY,
                   .compression = METADATA_COMPRESS_ZSTD,
                   .domain = METADATA_DOMAIN_ZONE,
                   .media = METADATA_MEDIA_MASK},
        .parent_volume = 9,
        .parent_cut = 10,
        .cipher = METADATA_CIPHER_AES_256_XTS,
        .key_name = "vault:7",
        .wrapped_key_length = 3,
        .wrapped_key = {1, 2, 3},
        .operations_max = 1000,
        .bytes_max = 1 << 20,
        .burst_ms = 500,
        .flattened = 11,
        .rollback_cut = 12,
        .rollback_from = 13,
        .rollback_bytes = 14 << 12,
        .unclean = true,
        .incomplete = true,
        .import_uuid = {15, 16},
        .import_name = "monday",
        .import_base = 17,
        .import_bytes = 21 << 12,
        .equal_cut = 18,
        .equal_sequence = 19,
        .snapshots = 20,
        .emptied = true,
        .owner_yields = true,
        .label_count = 2,
    };
    volume.labels = calloc(2, sizeof *volume.labels);
    volume.labels[0] = (struct metadata_label){.key = "team", .value = "storage"};
    volume.labels[1] = (struct metadata_label){.key = "empty"};
    return volume;
}

Test(metadata, keys_are_text_in_the_order_of_their_numbers)
{
    key_is(metadata_cluster_key(), "cluster");
    key_is(metadata_counter_key("volume"), "counter/volume");
    key_is(metadata_store_key(10), "store/000000000000000a");
    key_is(metadata_session_key(1), "session/0000000000000001");
    key_is(metadata_name_key("a b", 3), "name/a b");
    key_is(metadata_volume_key(UINT64_MAX), "volume/ffffffffffffffff");
    key_is(metadata_group_key(1, 2), "group/0000000000000001/0002");
    key_is(metadata_map_key(1, 15), "map/0000000000000001/000f");
    key_is(metadata_snapshot_key(1, (1ull << 48) - 1), "snap/0000000000000001/ffffffffffff");
    key_is(metadata_together_key("a b", 3), "snapgroup/a b");
    key_is(metadata_keeper_key(), "keeper");
    key_is(metadata_wish_key(1, 2), "wish/0000000000000001/0002");
    key_is(metadata_progress_key(1, 2), "progress/0000000000000001/0002");
    key_is(metadata_prefix(METADATA_NAME), "name/");
    key_is(metadata_volume_prefix(METADATA_MAP, 1), "map/0000000000000001/");
}

Test(metadata, a_key_taken_apart_is_what_it_was_made_from)
{
    struct metadata_key_parts parts;
    struct metadata_key key = metadata_snapshot_key(0xabc, 0xdef);
    cr_assert_eq(metadata_key_parse(key.bytes, key.length, &parts), 0);
    cr_assert_eq(parts.kind, METADATA_SNAPSHOT);
    cr_assert_eq(parts.id, 0xabc);
    cr_assert_eq(parts.index, 0xdef);

    key = metadata_name_key("größe", strlen("größe"));
    cr_assert_eq(metadata_key_parse(key.bytes, key.length, &parts), 0);
    cr_assert_eq(parts.kind, METADATA_NAME);
    cr_assert_eq(parts.name_length, strlen("größe"));
    cr_assert_arr_eq(parts.name, "größe", parts.name_length);
}

Test(metadata, what_is_no_key_is_refused)
{
    static const char *const bad[] = {
        "",
        "clusters",
        "volume/",
        "volume/000000000000000A", /* A number has one spelling. */
        "volume/00000000000000001",
        "volume/000000000000000g",
        "group/0000000000000001",
        "group/0000000000000001/1",
        "group/0000000000000001-0001",
        "name/",
        "name/a@b",
        "names/x",
    };
    struct metadata_key_parts parts;
    for (size_t i = 0; i < COUNT_OF(bad); i++)
        cr_assert_eq(metadata_key_parse(bad[i], strlen(bad[i]), &parts), IOMESH_FORMAT, "%s",
                     bad[i]);
}

Test(metadata, a_volume_comes_back_as_it_went)
{
    struct metadata_volume volume = some_volume();
    struct metadata_volume back;
    struct metadata_bytes value;
    cr_assert_eq(metadata_volume_encode(&volume, &value), 0);
    cr_assert_eq(metadata_volume_decode(value.bytes, value.length, &back), 0);
    cr_assert_eq(back.label_count, 2);
    cr_assert_str_eq(back.labels[0].key, "team");
    cr_assert_str_eq(back.labels[0].value, "storage");
    cr_assert_str_eq(back.labels[1].key, "empty");
    cr_assert_str_eq(back.labels[1].value, "");
    metadata_volume_done(&back);
    metadata_volume_done(&volume);
    volume.labels = NULL;
    cr_assert_eq(volume.id, back.id);
    cr_assert_str_eq(volume.name, back.name);
    cr_assert_eq(volume.bytes, back.bytes);
    cr_assert_eq(volume.sector_bytes, back.sector_bytes);
    cr_assert_eq(volume.state, back.state);
    cr_assert_eq(volume.owner_session, back.owner_session);
    cr_assert_eq(volume.epoch, back.epoch);
    cr_assert_eq(volume.sequence_end, back.sequence_end);
    cr_assert_eq(volume.created_ns, back.created_ns);
    cr_assert_eq(memcmp(&volume.policy, &back.policy, sizeof volume.policy), 0);
    cr_assert_eq(volume.parent_volume, back.parent_volume);
    cr_assert_eq(volume.parent_cut, back.parent_cut);
    cr_assert_eq(volume.cipher, back.cipher);
    cr_assert_str_eq(volume.key_name, back.key_name);
    cr_assert_eq(volume.wrapped_key_length, back.wrapped_key_length);
    cr_assert_arr_eq(volume.wrapped_key, back.wrapped_key, sizeof back.wrapped_key);
    cr_assert_eq(volume.operations_max, back.operations_max);
    cr_assert_eq(volume.bytes_max, back.bytes_max);
    cr_assert_eq(volume.burst_ms, back.burst_ms);
    cr_assert_eq(volume.flattened, back.flattened);
    cr_assert_eq(volume.rollback_cut, back.rollback_cut);
    cr_assert_eq(volume.rollback_from, back.rollback_from);
    cr_assert_eq(volume.rollback_bytes, back.rollback_bytes);
    cr_assert(back.unclean && back.incomplete && back.emptied && back.owner_yields);
    cr_assert_arr_eq(volume.import_uuid, back.import_uuid, sizeof volume.import_uuid);
    cr_assert_str_eq(volume.import_name, back.import_name);
    cr_assert_eq(volume.import_base, back.import_base);
    cr_assert_eq(volume.import_bytes, back.import_bytes);
    cr_assert_eq(volume.equal_cut, back.equal_cut);
    cr_assert_eq(volume.equal_sequence, back.equal_sequence);
    cr_assert_eq(volume.snapshots, back.snapshots);
    metadata_bytes_done(&value);
}

Test(metadata, each_bit_that_flips_is_noticed)
{
    struct metadata_volume volume = some_volume();
    struct metadata_volume back;
    struct metadata_bytes value;
    cr_assert_eq(metadata_volume_encode(&volume, &value), 0);
    for (size_t bit = 0; bit < 8 * value.length; bit++) {
        value.bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
        cr_assert_eq(metadata_volume_decode(value.bytes, value.length, &back), IOMESH_CORRUPT,
                     "bit %zu", bit);
        value.bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
    for (size_t length = 0; length < value.length; length++)
        cr_assert_eq(metadata_volume_decode(value.bytes, length, &back), IOMESH_CORRUPT);
    metadata_bytes_done(&value);
    metadata_volume_done(&volume);
}

static void reseal(struct metadata_bytes *value)
{
    put32(value->bytes, crc32c(value->bytes + 4, value->length - 4));
}

Test(metadata, a_newer_version_is_refused_and_another_kind_is_damage)
{
    struct metadata_name name = {.volume = 5};
    struct metadata_counter counter;
    struct metadata_name back;
    struct metadata_bytes value;
    cr_assert_eq(metadata_name_encode(&name, &value), 0);
    cr_assert_eq(metadata_counter_decode(value.bytes, value.length, &counter), IOMESH_CORRUPT);
    value.bytes[7] = METADATA_VERSION + 1;
    reseal(&value);
    cr_assert_eq(metadata_name_decode(value.bytes, value.length, &back), IOMESH_FORMAT);
    metadata_bytes_done(&value);
}

/* The store keeps 48 bits of both: what is wider would be used twice. */
Test(metadata, an_epoch_or_sequence_wider_than_48_bits_is_damage)
{
    for (unsigned which = 0; which < 2; which++) {
        struct metadata_volume volume = some_volume();
        struct metadata_volume back;
        struct metadata_bytes value;
        *(which == 0 ? &volume.epoch : &volume.sequence_end) = 1ull << 48;
        cr_assert_eq(metadata_volume_encode(&volume, &value), 0);
        cr_assert_eq(metadata_volume_decode(value.bytes, value.length, &back), IOMESH_CORRUPT);
        metadata_bytes_done(&value);
        metadata_volume_done(&volume);
    }
}

Test(metadata, a_state_that_is_not_known_is_refused)
{
    struct metadata_snapshot snapshot = {.volume = 1, .cut = 2, .name = "s"};
    struct metadata_snapshot back;
    struct metadata_bytes value;
    /* One above the last: what a newer program might add. */
    snapshot.state = (enum metadata_snapshot_state)(METADATA_SNAPSHOT_DELETING + 1);
    cr_assert_eq(metadata_snapshot_encode(&snapshot, &value), 0);
    cr_assert_eq(metadata_snapshot_decode(value.bytes, value.length, &back), IOMESH_FORMAT);
    metadata_bytes_done(&value);
}

Test(metadata, fields_of_a_newer_program_survive_a_change_by_this_one)
{
    /* Fields 100 (varint 5), 101 (two bytes), 102 (64 bits), as protobuf writes them. */
    static const uint8_t newer[] = {0xa0, 0x06, 5, 0xaa, 0x06, 2, 'h', 'i', 0xb1,
                                    0x06, 1,    2, 3,    4,    5, 6,   7,   8};
    struct metadata_name name = {.volume = 5};
    struct metadata_name back;
    struct metadata_bytes value;
    struct metadata_bytes again;
    cr_assert_eq(metadata_name_encode(&name, &value), 0);
    value.bytes = realloc(value.bytes, value.length + sizeof newer);
    memcpy(value.bytes + value.length, newer, sizeof newer);
    value.length += sizeof newer;
    reseal(&value);

    cr_assert_eq(metadata_name_decode(value.bytes, value.length, &back), 0);
    cr_assert_eq(back.volume, 5);
    back.volume = 6;
    cr_assert_eq(metadata_name_encode(&back, &again), 0);
    cr_assert_eq(again.length, value.length);
    cr_assert_arr_eq(again.bytes + again.length - sizeof newer, newer, sizeof newer);
    metadata_name_done(&back);
    metadata_bytes_done(&value);
    metadata_bytes_done(&again);
}

Test(metadata, the_map_of_a_full_volume_is_small_and_one_that_alternates_still_fits)
{
    struct metadata_map *map = calloc(1, sizeof *map);
    struct metadata_map *back = calloc(1, sizeof *back);
    struct metadata_bytes value;
    map->volume = 1;
    map->index = 15;
    map->segment_count = METADATA_MAP_SEGMENTS;
    cr_assert_eq(metadata_map_encode(map, &value), 0);
    cr_assert_lt(value.length, 32);
    metadata_bytes_done(&value);

    for (uint32_t i = 0; i < METADATA_MAP_SEGMENTS; i++)
        map->groups[i] = (uint16_t)(i % 2 == 0 ? UINT16_MAX : i);
    cr_assert_eq(metadata_map_encode(map, &value), 0);
    cr_assert_lt(value.length, 512u << 10);
    cr_assert_eq(metadata_map_decode(value.bytes, value.length, back), 0);
    cr_assert_eq(back->segment_count, METADATA_MAP_SEGMENTS);
    cr_assert_arr_eq(back->groups, map->groups, sizeof map->groups);
    metadata_bytes_done(&value);
    free(map);
    free(back);
}

Test(metadata, stores_and_sessions_come_back_as_they_went)
{
    struct metadata_bytes value;
    struct metadata_store store = {
        .id = 7,
        .uuid = {1, 2, 3},
        .node = "n1",
        .address = "10.0.0.1:4000",
        .zone = "z",
        .rack = "r",
        .media = METADATA_HDD,
        .bytes = 1ull << 48,
        .bytes_used = 5,
        .state = METADATA_STORE_OUT,
        .incarnation = 9,
    };
    struct metadata_store store_back;
    cr_assert_eq(metadata_store_encode(&store, &value), 0);
    cr_assert_eq(metadata_store_decode(value.bytes, value.length, &store_back), 0);
    cr_assert_eq(store.id, store_back.id);
    cr_assert_arr_eq(store.uuid, store_back.uuid, sizeof store.uuid);
    cr_assert_str_eq(store.node, store_back.node);
    cr_assert_str_eq(store.address, store_back.address);
    cr_assert_str_eq(store.zone, store_back.zone);
    cr_assert_str_eq(store.rack, store_back.rack);
    cr_assert_eq(store.media, store_back.media);
    cr_assert_eq(store.bytes, store_back.bytes);
    cr_assert_eq(store.bytes_used, store_back.bytes_used);
    cr_assert_eq(store.state, store_back.state);
    cr_assert_eq(store.incarnation, store_back.incarnation);
    metadata_bytes_done(&value);

    struct metadata_session session = {.id = 3, .node = "n", .address = "a", .started_ns = 4};
    struct metadata_session session_back;
    cr_assert_eq(metadata_session_encode(&session, &value), 0);
    cr_assert_eq(metadata_session_decode(value.bytes, value.length, &session_back), 0);
    cr_assert_eq(session.id, session_back.id);
    cr_assert_str_eq(session.node, session_back.node);
    cr_assert_str_eq(session.address, session_back.address);
    cr_assert_eq(session.started_ns, session_back.started_ns);
    metadata_bytes_done(&value);
}

Test(metadata, groups_and_the_cluster_come_back_as_they_went)
{
    struct metadata_bytes value;
    struct metadata_group group = {
        .volume = 1,
        .id = 2,
        .generation = 3,
        .member_count = 2,
        .members = {{.store = 5},
                    {.store = 6, .state = METADATA_STALE, .reason = 1, .fragment = 1}},
    };
    struct metadata_group group_back;
    cr_assert_eq(metadata_group_encode(&group, &value), 0);
    cr_assert_eq(metadata_group_decode(value.bytes, value.length, &group_back), 0);
    cr_assert_eq(group.volume, group_back.volume);
    cr_assert_eq(group.id, group_back.id);
    cr_assert_eq(group.generation, group_back.generation);
    cr_assert_eq(group.member_count, group_back.member_count);
    for (uint32_t i = 0; i < group.member_count; i++) {
        cr_assert_eq(group.members[i].store, group_back.members[i].store);
        cr_assert_eq(group.members[i].state, group_back.members[i].state);
        cr_assert_eq(group.members[i].reason, group_back.members[i].reason);
        cr_assert_eq(group.members[i].fragment, group_back.members[i].fragment);
    }
    metadata_bytes_done(&value);

    struct metadata_cluster cluster = {.uuid = {9, 8}, .format = 1, .created_ns = 2};
    struct metadata_cluster cluster_back;
    cr_assert_eq(metadata_cluster_encode(&cluster, &value), 0);
    cr_assert_eq(metadata_cluster_decode(value.bytes, value.length, &cluster_back), 0);
    cr_assert_arr_eq(cluster.uuid, cluster_back.uuid, sizeof cluster.uuid);
    cr_assert_eq(cluster.format, cluster_back.format);
    cr_assert_eq(cluster.created_ns, cluster_back.created_ns);
    metadata_bytes_done(&value);
}

Test(metadata, snapshots_and_groups_of_them_come_back_as_they_went)
{
    struct metadata_bytes value;
    struct metadata_snapshot snapshot = {
        .volume = 1,
        .cut = 9,
        .name = "monday",
        .created_ns = 3,
        .state = METADATA_SNAPSHOT_HIDDEN,
        .uuid = {4, 5, 6},
        .bytes = 7ull << 40,
        .group = "all",
        .clones = 8,
        .first = 2,
    };
    struct metadata_snapshot back;
    cr_assert_eq(metadata_snapshot_encode(&snapshot, &value), 0);
    cr_assert_eq(metadata_snapshot_decode(value.bytes, value.length, &back), 0);
    cr_assert_eq(snapshot.volume, back.volume);
    cr_assert_eq(snapshot.cut, back.cut);
    cr_assert_str_eq(snapshot.name, back.name);
    cr_assert_eq(snapshot.created_ns, back.created_ns);
    cr_assert_eq(snapshot.state, back.state);
    cr_assert_arr_eq(snapshot.uuid, back.uuid, sizeof snapshot.uuid);
    cr_assert_eq(snapshot.bytes, back.bytes);
    cr_assert_str_eq(snapshot.group, back.group);
    cr_assert_eq(snapshot.clones, back.clones);
    cr_assert_eq(snapshot.first, back.first);
    metadata_bytes_done(&value);

    struct metadata_together together = {
        .name = "all", .created_ns = 3, .part_count = 2, .parts = {{1, 9}, {2, 10}}};
    struct metadata_together together_back;
    cr_assert_eq(metadata_together_encode(&together, &value), 0);
    cr_assert_eq(metadata_together_decode(value.bytes, value.length, &together_back), 0);
    cr_assert_str_eq(together.name, together_back.name);
    cr_assert_eq(together.created_ns, together_back.created_ns);
    cr_assert_eq(together_back.part_count, 2);
    cr_assert_arr_eq(together.parts, together_back.parts, 2 * sizeof together.parts[0]);
    metadata_bytes_done(&value);
}

/* Whoever drops the cuts between them would drop the ones of others. */
Test(metadata, a_snapshot_that_begins_after_its_own_cut_is_damage)
{
    struct metadata_snapshot snapshot = {.volume = 1, .cut = 2, .name = "s", .first = 3};
    struct metadata_snapshot back;
    struct metadata_bytes value;
    cr_assert_eq(metadata_snapshot_encode(&snapshot, &value), 0);
    cr_assert_eq(metadata_snapshot_decode(value.bytes, value.length, &back), IOMESH_CORRUPT);
    metadata_bytes_done(&value);
}
