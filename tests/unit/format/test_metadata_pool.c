/* SPDX-License-Identifier: Apache-2.0 */
/* What placement and the keeper need of the records: as bytes that no later program may change. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

#include "format/metadata.h"

static void value_is(struct metadata_bytes *value, const char *hex)
{
    char text[1024] = "";
    cr_assert_leq(value->length, 500);
    for (size_t i = 0; i < value->length; i++)
        (void)snprintf(text + 2 * i, 3, "%02x", value->bytes[i]);
    cr_assert_str_eq(text, hex);
}

static const struct metadata_store store_full = {
    .id = 7,
    .uuid = {1, 2, 3},
    .node = "n1",
    .address = "10.0.0.1:4000",
    .zone = "z",
    .rack = "r",
    .media = METADATA_SSD,
    .bytes = 1ull << 48,
    .bytes_used = 5,
    .state = METADATA_STORE_DRAINING,
    .incarnation = 9,
    .bytes_promised = 6,
    .state_since_ns = 1700000000000000000ull,
    .state_reason = METADATA_REASON_OPERATOR,
    .weight_percent = 50,
    .failed = true,
};

Test(metadata_pool, a_store_has_these_bytes_and_comes_back)
{
    struct metadata_bytes value;
    struct metadata_store back;
    cr_assert_eq(metadata_store_encode(&store_full, &value), 0);
    value_is(&value, "30eb4a48494d030108071210010203000000000000000000000000001a026e31220d3130"
                     "2e302e302e313a343030302a017a32017238014080808080808040480550015809600668"
                     "8080a8b1e39fe7cb17700878328801"
                     "01");
    cr_assert_eq(metadata_store_decode(value.bytes, value.length, &back), 0);
    cr_assert_eq(back.bytes_promised, store_full.bytes_promised);
    cr_assert_eq(back.state_since_ns, store_full.state_since_ns);
    cr_assert_eq(back.state_reason, store_full.state_reason);
    cr_assert_eq(back.weight_percent, store_full.weight_percent);
    cr_assert(back.failed);
    metadata_store_done(&back);
    metadata_bytes_done(&value);
}

/* What a pool of one process writes must not grow by fields that it does not use. */
Test(metadata_pool, a_store_that_says_nothing_new_has_the_bytes_that_it_had)
{
    struct metadata_bytes value;
    struct metadata_store store = {.id = 1, .bytes = 4096, .incarnation = 2};
    cr_assert_eq(metadata_store_encode(&store, &value), 0);
    value_is(&value, "719aa042494d030108011210000000000000000000000000000000004080205802");
    metadata_bytes_done(&value);
}

Test(metadata_pool, what_keepers_tell_each_other_of_a_store_has_these_bytes_and_comes_back)
{
    struct metadata_bytes value;
    struct metadata_store back;
    struct metadata_store store = {
        .id = 1, .bytes = 4096, .drains = true, .silent_ms = 61000, .silent_told_ns = 300};
    cr_assert_eq(metadata_store_encode(&store, &value), 0);
    value_is(&value, "8a6915fa494d0301080112100000000000000000000000000000000040802090"
                     "01019801c8dc03a001ac02");
    cr_assert_eq(metadata_store_decode(value.bytes, value.length, &back), 0);
    cr_assert(back.drains);
    cr_assert_eq(back.silent_ms, 61000);
    cr_assert_eq(back.silent_told_ns, 300);
    metadata_store_done(&back);
    metadata_bytes_done(&value);
}

Test(metadata_pool, a_group_has_these_bytes_and_comes_back)
{
    struct metadata_bytes value;
    struct metadata_group back;
    struct metadata_group group = {
        .volume = 1,
        .id = 2,
        .generation = 3,
        .member_count = 2,
        .members = {{.store = 5, .since_ns = 8, .leaving = true},
                    {.store = 6, .state = METADATA_STALE, .reason = METADATA_REASON_SILENT}},
    };
    cr_assert_eq(metadata_group_encode(&group, &value), 0);
    value_is(&value, "0251e6fb494d070108011002180322060805280830012206080610011801");
    cr_assert_eq(metadata_group_decode(value.bytes, value.length, &back), 0);
    cr_assert_eq(back.members[0].since_ns, 8);
    cr_assert(back.members[0].leaving && !back.members[1].leaving);
    cr_assert_eq(back.members[1].reason, METADATA_REASON_SILENT);
    metadata_group_done(&back);
    metadata_bytes_done(&value);
}

Test(metadata_pool, what_the_keeper_is_held_to_has_these_bytes_and_comes_back)
{
    struct metadata_bytes value;
    struct metadata_cluster back;
    struct metadata_cluster cluster = {
        .uuid = {9, 8},
        .format = 1,
        .created_ns = 2,
        .out_after_ms = 600000,
        .moves_per_store_max = 2,
        .moves_per_pool_max = 64,
        .move_store_bytes_max = 100u << 20,
        .move_pool_bytes_max = 1ull << 32,
        .balance_percent = 5,
        .grace_ms = 300,
        .copy_timeout_ms = 1500,
        .slow_ms = 20,
        .resync_volume_bytes_max = 100ull << 20,
        .resync_engine_bytes_max = 300ull << 20,
    };
    cr_assert_eq(metadata_cluster_encode(&cluster, &value), 0);
    value_is(&value, "b7f9096f494d01010a10090800000000000000000000000000001001180220c0cf242802"
                     "30403880808032408080808010480550ac0258dc0b60146880808032708080809601");
    cr_assert_eq(metadata_cluster_decode(value.bytes, value.length, &back), 0);
    cr_assert_eq(back.out_after_ms, cluster.out_after_ms);
    cr_assert_eq(back.moves_per_store_max, cluster.moves_per_store_max);
    cr_assert_eq(back.moves_per_pool_max, cluster.moves_per_pool_max);
    cr_assert_eq(back.move_store_bytes_max, cluster.move_store_bytes_max);
    cr_assert_eq(back.move_pool_bytes_max, cluster.move_pool_bytes_max);
    cr_assert_eq(back.balance_percent, cluster.balance_percent);
    cr_assert_eq(back.grace_ms, cluster.grace_ms);
    cr_assert_eq(back.copy_timeout_ms, cluster.copy_timeout_ms);
    cr_assert_eq(back.slow_ms, cluster.slow_ms);
    cr_assert_eq(back.resync_volume_bytes_max, cluster.resync_volume_bytes_max);
    cr_assert_eq(back.resync_engine_bytes_max, cluster.resync_engine_bytes_max);
    metadata_cluster_done(&back);
    metadata_bytes_done(&value);
}

/* It may mean that copies go where they must not. */
Test(metadata_pool, a_domain_or_medium_that_is_not_known_is_refused)
{
    for (unsigned which = 0; which < 2; which++) {
        struct metadata_volume volume = {.id = 1, .name = "v", .sector_bytes = 512};
        struct metadata_volume back;
        struct metadata_bytes value;
        if (which == 0)
            volume.policy.domain = (enum metadata_domain)(METADATA_DOMAIN_ZONE + 1);
        else
            volume.policy.media = METADATA_MEDIA_MASK + 1;
        cr_assert_eq(metadata_volume_encode(&volume, &value), 0);
        cr_assert_eq(metadata_volume_decode(value.bytes, value.length, &back), IOMESH_FORMAT);
        metadata_bytes_done(&value);
    }
}

Test(metadata_pool, what_is_wanted_of_a_group_comes_back)
{
    struct metadata_bytes value;
    struct metadata_wish back;
    struct metadata_wish wish = {.volume = 1,
                                 .group = 2,
                                 .kind = METADATA_WISH_DROP,
                                 .target = 3,
                                 .source = 4,
                                 .bytes_second = 5,
                                 .session = 7,
                                 .since_ns = 6};
    cr_assert_eq(metadata_wish_encode(&wish, &value), 0);
    cr_assert_eq(value.bytes[6], METADATA_WISH);
    cr_assert_eq(metadata_wish_decode(value.bytes, value.length, &back), 0);
    cr_assert_eq(memcmp(&back, &wish, sizeof wish), 0);
    metadata_bytes_done(&value);
    wish.kind = METADATA_WISH_DROP + 1;
    cr_assert_eq(metadata_wish_encode(&wish, &value), 0);
    cr_assert_eq(metadata_wish_decode(value.bytes, value.length, &back), IOMESH_FORMAT);
    metadata_bytes_done(&value);
}

Test(metadata_pool, who_is_the_keeper_and_how_far_copying_is_comes_back)
{
    struct metadata_bytes value;
    struct metadata_keeper who;
    struct metadata_keeper keeper = {
        .session = 7, .node = "n1", .address = "tcp:n1:4000", .since_ns = 8};
    cr_assert_eq(metadata_keeper_encode(&keeper, &value), 0);
    cr_assert_eq(metadata_keeper_decode(value.bytes, value.length, &who), 0);
    cr_assert_eq(who.session, 7);
    cr_assert_str_eq(who.node, "n1");
    cr_assert_str_eq(who.address, "tcp:n1:4000");
    cr_assert_eq(who.since_ns, 8);
    metadata_keeper_done(&who);
    metadata_bytes_done(&value);
    struct metadata_progress far;
    struct metadata_progress progress = {.volume = 1,
                                         .group = 2,
                                         .copied_bytes = 3,
                                         .segments_done = 4,
                                         .segments_total = 5,
                                         .bytes_second = 6,
                                         .told_ns = 7};
    cr_assert_eq(metadata_progress_encode(&progress, &value), 0);
    cr_assert_eq(metadata_progress_decode(value.bytes, value.length, &far), 0);
    cr_expect(far.copied_bytes == 3 && far.segments_done == 4 && far.segments_total == 5 &&
              far.bytes_second == 6 && far.told_ns == 7);
    metadata_progress_done(&far);
    metadata_bytes_done(&value);
}
