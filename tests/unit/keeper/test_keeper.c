/* SPDX-License-Identifier: Apache-2.0 */
/* The keeper over a cluster of four stores: processes 0 and 1 may be it, 2 uses volumes. */
#include "gathering.h"
#include "keeper/keeper.h"
#include "volume/catalog_keep.h"
#include "volume/stores.h"

static struct keeper *keepers[2];
static unsigned closing;

static void keepers_turn(void)
{
    for (unsigned i = 0; i < 2; i++) {
        if (keepers[i] != NULL)
            keeper_turn(keepers[i]);
    }
}

static void keeper_closed(void *context)
{
    keepers[*(unsigned *)context] = NULL;
    closing--;
}

static void keeper_start(unsigned number)
{
    struct keeper_options options = {
        .meta = gathering.meta, .clock = &gathering.world.clock, .catalog = catalog_of(number)};
    cr_assert_eq(keeper_open(&options, &keepers[number]), 0);
}

static void keeper_end(unsigned number)
{
    closing++;
    keeper_close(keepers[number], keeper_closed, &number);
    for (unsigned turns = 0; closing > 0; turns++) {
        cr_assert_lt(turns, 1000000);
        gathering_turn();
    }
}

static bool leads(unsigned number)
{
    struct keeper_look look;
    keeper_look(keepers[number], &look);
    return look.leads;
}

static void settings_put(uint64_t out_after_ms)
{
    struct metadata_cluster cluster = {.uuid = {0x31, 0x41, 0x59}, .format = 1};
    struct metadata_bytes value = {0};
    cluster.out_after_ms = out_after_ms;
    cr_assert_eq(metadata_cluster_encode(&cluster, &value), 0);
    key_put(metadata_cluster_key(), &value);
}

static void four_stores(void)
{
    gathering_open_stores(4);
    settings_put(20000);
    user_options(0, "d1", "iomeshd-a");
    user_options(1, "d2", "iomeshd-b");
    user_options(2, "c", "client");
    for (unsigned i = 0; i < 3; i++)
        cr_assert_eq(user_open(i), 0, "%s", base_last_error());
    gathering_also = keepers_turn;
    keeper_start(0);
    gathering_run(NS_PER_S / 10);
    keeper_start(1);
    gathering_run(NS_PER_S / 10);
}

static void all_end(void)
{
    for (unsigned i = 0; i < 2; i++) {
        if (keepers[i] != NULL)
            keeper_end(i);
    }
    gathering_close();
}

TestSuite(keeper, .init = four_stores, .fini = all_end, .timeout = 60);

static const struct catalog_create small = {.bytes = 4 * SEGMENT, .sector_bytes = 4096};
static struct catalog_handle *handle;
static struct metadata_group group;

static const struct metadata_member *member_of(uint64_t store)
{
    cr_assert(group_get(1, 0, &group));
    for (uint32_t i = 0; i < group.member_count; i++) {
        if (group.members[i].store == store)
            return &group.members[i];
    }
    return NULL;
}

static unsigned in_sync(void)
{
    unsigned count = 0;
    cr_assert(group_get(1, 0, &group));
    for (uint32_t i = 0; i < group.member_count; i++)
        count += group.members[i].state == METADATA_IN_SYNC ? 1 : 0;
    return count;
}

static void store_away(unsigned store, bool away)
{
    for (unsigned user = 0; user < 3; user++)
        link_cut(user, store, away);
}

static enum metadata_store_state state_of(uint64_t store)
{
    return stores_find(catalog_stores(catalog_of(2)), store)->state;
}

static void drain(uint64_t store)
{
    struct metadata_store record = *stores_find(catalog_stores(catalog_of(2)), store);
    record.state = METADATA_STORE_DRAINING;
    store_record_put(&record);
}

static void make_with_a_block(void)
{
    cr_assert_eq(user_create(2, "a", &small), 0, "%s", base_last_error());
    cr_assert_eq(user_open_volume(2, "a", &handle), 0, "%s", base_last_error());
    cr_assert_eq(put_block(handle, 0, 7), 0);
    cr_assert_eq(volume_flush(handle), 0);
    (void)member_of(0);
}

Test(keeper, there_is_one_and_another_when_it_goes)
{
    cr_assert(leads(0) && !leads(1));
    keeper_end(0);
    gathering_run(NS_PER_S);
    cr_assert(leads(1));
    keeper_start(0);
    gathering_run(10 * NS_PER_S);
    cr_assert(leads(1) && !leads(0));
}

static void revoked(struct meta_request *request, int result)
{
    (void)request;
    gathering_ended(NULL, result);
}

static void session_revoke(unsigned user)
{
    static struct meta_request request;
    uint64_t lease = catalog_session(catalog_of(user));
    gathering.waiting = true;
    cr_assert_eq(gathering_wait(meta_lease_revoke(gathering.meta, &request, lease, revoked)), 0);
    meta_request_done(&request);
}

Test(keeper, one_that_lost_its_session_has_stopped_before_another_begins)
{
    cr_assert(leads(0));
    session_revoke(0);
    for (unsigned i = 0; i < 200 && !leads(1); i++) {
        gathering_run(10 * NS_PER_MS);
        cr_assert_not(leads(0) && leads(1));
    }
    cr_assert(leads(1) || leads(0));
    gathering_run(20 * NS_PER_S);
    cr_assert_neq(leads(0), leads(1));
}

Test(keeper, the_copy_of_a_store_that_is_silent_too_long_is_made_elsewhere_by_the_owner)
{
    make_with_a_block();
    uint64_t lost = group.members[1].store;
    store_away((unsigned)lost, true);
    cr_assert_eq(put_block(handle, 4096, 8), 0);
    gathering_run(15 * NS_PER_S);
    cr_assert_eq(state_of(lost), METADATA_STORE_UP, "not yet");
    cr_assert_eq(in_sync(), 2);
    gathering_run(30 * NS_PER_S);
    cr_assert_eq(state_of(lost), METADATA_STORE_OUT);
    cr_assert_eq(in_sync(), 3);
    cr_assert_null(member_of(lost));
    cr_assert_eq(group.member_count, 3);
    cr_assert_eq(keys_of(metadata_prefix(METADATA_WISH)), 0);
    store_away((unsigned)lost, false);
    gathering_run(70 * NS_PER_S);
    cr_assert_eq(state_of(lost), METADATA_STORE_UP);
    cr_assert_null(member_of(lost));
    cr_assert_eq(get_block(handle, 0), 7);
    cr_assert_eq(get_block(handle, 4096), 8);
    cr_assert_eq(user_close_volume(handle), 0);
}

Test(keeper, what_nobody_has_open_is_repaired_and_given_back)
{
    make_with_a_block();
    cr_assert_eq(user_close_volume(handle), 0);
    uint64_t lost = group.members[0].store;
    store_away((unsigned)lost, true);
    gathering_run(60 * NS_PER_S);
    cr_assert_eq(state_of(lost), METADATA_STORE_OUT);
    cr_assert_eq(in_sync(), 3);
    cr_assert_null(member_of(lost));
    gathering_run(10 * NS_PER_S);
    struct metadata_volume record;
    cr_assert(volume_get(1, &record));
    cr_assert_eq(record.owner_session, 0);
    cr_assert_not(record.unclean);
    metadata_volume_done(&record);
    cr_assert_eq(user_open_volume(2, "a", &handle), 0);
    cr_assert_eq(get_block(handle, 0), 7);
    cr_assert_eq(user_close_volume(handle), 0);
}

Test(keeper, what_was_deleted_and_is_kept_for_a_clone_is_repaired_too)
{
    struct metadata_volume record;
    make_with_a_block();
    cr_assert_eq(user_close_volume(handle), 0);
    cr_assert_eq(user_clone(2, "a", NULL, "b"), 0, "%s", base_last_error());
    cr_assert_eq(user_delete(2, "a"), 0, "%s", base_last_error());
    cr_assert(volume_get(1, &record));
    cr_assert_eq(record.state, METADATA_VOLUME_KEPT);
    metadata_volume_done(&record);
    (void)member_of(0);
    uint64_t first = group.members[0].store;
    uint64_t drained = group.members[1].store;
    store_away((unsigned)first, true);
    gathering_run(90 * NS_PER_S);
    cr_assert_eq(state_of(first), METADATA_STORE_OUT);
    cr_assert_null(member_of(first));
    cr_assert_eq(in_sync(), 3);
    /* Nothing of it is where it was in the end, and the clone shows it. */
    store_away((unsigned)first, false);
    gathering_run(70 * NS_PER_S);
    drain(drained);
    gathering_run(30 * NS_PER_S);
    cr_assert_null(member_of(drained));
    cr_assert_eq(in_sync(), 3);
    cr_assert_eq(user_open_volume(2, "b", &handle), 0, "%s", base_last_error());
    cr_assert_eq(get_block(handle, 0), 7);
    cr_assert_eq(user_close_volume(handle), 0);
    /* It goes when its clone does, though the keeper had it. */
    cr_assert_eq(user_delete(2, "b"), 0, "%s", base_last_error());
    gathering_run(60 * NS_PER_S);
    cr_assert_not(volume_get(1, &record));
    cr_assert_eq(keys_of(metadata_prefix(METADATA_GROUP)), 0);
}

Test(keeper, what_is_kept_for_a_clone_goes_while_the_keeper_has_it)
{
    struct metadata_volume record;
    make_with_a_block();
    for (unsigned i = 0; i < 400; i++)
        cr_assert_eq(put_block(handle, i * 4096ull, 9), 0);
    cr_assert_eq(user_close_volume(handle), 0);
    cr_assert_eq(user_clone(2, "a", NULL, "b"), 0, "%s", base_last_error());
    cr_assert_eq(user_delete(2, "a"), 0, "%s", base_last_error());
    drain(group.members[1].store);
    struct keeper_look look = {0};
    for (unsigned i = 0; i < 2000; i++) {
        gathering_run(NS_PER_MS);
        keeper_look(keepers[0], &look);
        cr_assert(volume_get(1, &record));
        bool has = record.owner_session != 0;
        metadata_volume_done(&record);
        if (look.kept > 0 && has)
            break;
    }
    cr_assert_gt(look.kept, 0);
    cr_assert_eq(user_delete(2, "b"), 0, "%s", base_last_error());
    gathering_run(60 * NS_PER_S);
    cr_assert_not(volume_get(1, &record));
    cr_assert_eq(keys_of(metadata_prefix(METADATA_GROUP)), 0);
    keeper_look(keepers[0], &look);
    cr_assert_eq(look.kept, 0);
    cr_assert_eq(look.facts, 1); /* The store that drains. */
}

Test(keeper, a_stale_copy_of_what_nobody_has_open_is_brought_up_to_date)
{
    make_with_a_block();
    uint64_t away = group.members[2].store;
    store_away((unsigned)away, true);
    for (unsigned i = 0; i < 64; i++)
        cr_assert_eq(put_block(handle, i * 4096ull, 9), 0);
    cr_assert_eq(user_close_volume(handle), 0);
    store_away((unsigned)away, false);
    cr_assert_eq(in_sync(), 2);
    gathering_run(15 * NS_PER_S);
    cr_assert_eq(in_sync(), 3);
    cr_assert_neq(store_shows((unsigned)away, 0, 63, VIEW_HEAD), 0);
}

Test(keeper, a_store_that_is_drained_is_empty_in_the_end_open_or_not)
{
    for (unsigned open = 0; open < 2; open++) {
        if (open == 0)
            make_with_a_block();
        uint64_t drained = group.members[1].store;
        if (open == 1)
            cr_assert_eq(user_close_volume(handle), 0);
        drain(drained);
        gathering_run(20 * NS_PER_S);
        cr_assert_null(member_of(drained));
        cr_assert_eq(in_sync(), 3);
        struct metadata_store record = *stores_find(catalog_stores(catalog_of(2)), drained);
        record.state = METADATA_STORE_UP;
        store_record_put(&record);
        gathering_run(2 * NS_PER_S);
    }
    gathering_run(15 * NS_PER_S);
    cr_assert_eq(user_open_volume(2, "a", &handle), 0);
    cr_assert_eq(get_block(handle, 0), 7);
    cr_assert_eq(user_close_volume(handle), 0);
}

Test(keeper, a_store_that_was_to_be_emptied_when_it_went_is_when_it_is_back)
{
    make_with_a_block();
    uint64_t drained = group.members[1].store;
    store_away((unsigned)drained, true);
    drain(drained);
    gathering_run(60 * NS_PER_S);
    cr_assert_eq(state_of(drained), METADATA_STORE_OUT);
    cr_assert_null(member_of(drained));
    store_away((unsigned)drained, false);
    gathering_run(70 * NS_PER_S);
    cr_assert_eq(state_of(drained), METADATA_STORE_DRAINING);
    cr_assert_not(stores_find(catalog_stores(catalog_of(2)), drained)->drains);
    cr_assert_null(member_of(drained));
    cr_assert_eq(user_close_volume(handle), 0);
}

Test(keeper, keepers_that_die_one_after_the_other_do_not_put_off_who_is_out)
{
    make_with_a_block();
    uint64_t lost = group.members[1].store;
    store_away((unsigned)lost, true);
    /* 20 s of silence, by keepers of which none lives for more than 6 s. */
    for (unsigned i = 0; i < 5; i++) {
        gathering_run(6 * NS_PER_S);
        unsigned leader = leads(0) ? 0 : 1;
        cr_assert(leads(leader));
        keeper_end(leader);
        gathering_run(NS_PER_S / 2);
        keeper_start(leader);
    }
    gathering_run(NS_PER_S);
    cr_assert_eq(state_of(lost), METADATA_STORE_OUT);
    cr_assert_eq(user_close_volume(handle), 0);
}

Test(keeper, a_silence_that_is_over_is_forgotten)
{
    make_with_a_block();
    uint64_t lost = group.members[1].store;
    for (unsigned i = 0; i < 4; i++) {
        store_away((unsigned)lost, true);
        gathering_run(12 * NS_PER_S);
        cr_assert_gt(stores_find(catalog_stores(catalog_of(2)), lost)->silent_ms, 5000);
        store_away((unsigned)lost, false);
        gathering_run(10 * NS_PER_S);
        cr_assert_eq(stores_find(catalog_stores(catalog_of(2)), lost)->silent_ms, 0);
        cr_assert_eq(state_of(lost), METADATA_STORE_UP);
    }
    cr_assert_eq(user_close_volume(handle), 0);
}

/* A clock that is far ahead makes nobody silent for longer than a part of what is waited for. */
Test(keeper, what_is_told_of_a_silence_by_a_wrong_clock_counts_little)
{
    make_with_a_block();
    uint64_t lost = group.members[1].store;
    store_away((unsigned)lost, true);
    keeper_end(1);
    keeper_end(0);
    struct metadata_store record = *stores_find(catalog_stores(catalog_of(2)), lost);
    record.silent_ms = 1;
    record.silent_told_ns = 1;
    store_record_put(&record);
    keeper_start(0);
    gathering_run(15 * NS_PER_S);
    cr_assert_eq(state_of(lost), METADATA_STORE_UP, "not yet");
    gathering_run(8 * NS_PER_S);
    cr_assert_eq(state_of(lost), METADATA_STORE_OUT);
    cr_assert_eq(user_close_volume(handle), 0);
}

static void rates_put(uint64_t bytes_second)
{
    struct metadata_cluster cluster = {.uuid = {0x31, 0x41, 0x59}, .format = 1};
    struct metadata_bytes value = {0};
    cluster.out_after_ms = 20000;
    cluster.move_store_bytes_max = bytes_second;
    cr_assert_eq(metadata_cluster_encode(&cluster, &value), 0);
    key_put(metadata_cluster_key(), &value);
}

Test(keeper, moves_keep_to_their_rate_whatever_else_is_set_and_hear_of_another)
{
    make_with_a_block();
    for (unsigned i = 0; i < 1800; i++)
        cr_assert_eq(put_block(handle, i * 4096ull, 9), 0);
    rates_put(150000);
    gathering_run(2 * NS_PER_S);
    drain(group.members[1].store);
    for (unsigned i = 0; i < 300 && group.member_count < 4; i++) {
        gathering_run(10 * NS_PER_MS);
        (void)member_of(0);
    }
    cr_assert_eq(group.member_count, 4);
    catalog_set_resync(catalog_of(2), 0);
    gathering_run(6 * NS_PER_S);
    (void)member_of(0);
    cr_assert_eq(group.member_count, 4, "a mebibyte takes 7 s, but for the first ones");
    cr_assert_eq(in_sync(), 3);
    rates_put(0);
    gathering_run(7 * NS_PER_S);
    (void)member_of(0);
    cr_assert_eq(group.member_count, 3);
    cr_assert_eq(in_sync(), 3);
    cr_assert_eq(user_close_volume(handle), 0);
}

Test(keeper, what_was_deleted_by_a_process_that_died_goes)
{
    make_with_a_block();
    cr_assert_eq(user_close_volume(handle), 0);
    struct metadata_volume record;
    cr_assert(volume_get(1, &record));
    record.state = METADATA_VOLUME_DELETING;
    record.epoch++;
    struct metadata_bytes value = {0};
    cr_assert_eq(metadata_volume_encode(&record, &value), 0);
    metadata_volume_done(&record);
    key_put(metadata_volume_key(1), &value);
    gathering_run(10 * NS_PER_S);
    cr_assert_not(volume_get(1, &record));
    cr_assert_eq(keys_of(metadata_prefix(METADATA_GROUP)), 0);
}

Test(keeper, whoever_opens_the_pool_leaves_deleting_to_the_keeper)
{
    struct metadata_volume record = {
        .id = 9, .name = "x", .sector_bytes = 512, .state = METADATA_VOLUME_DELETING};
    struct metadata_bytes value = {0};
    cr_assert_eq(user_close(2), 0);
    record.owner_session = catalog_session(catalog_of(1)); /* That it is being created by. */
    cr_assert_eq(metadata_volume_encode(&record, &value), 0);
    key_put(metadata_volume_key(9), &value);
    cr_assert_eq(user_open(2), 0);
    gathering_run(10 * NS_PER_S);
    cr_assert(volume_get(9, &record));
    metadata_volume_done(&record);
}

Test(keeper, nothing_is_kept_and_nothing_wished_when_all_is_well)
{
    make_with_a_block();
    cr_assert_eq(user_close_volume(handle), 0);
    gathering_run(70 * NS_PER_S);
    struct keeper_look look;
    keeper_look(keepers[0], &look);
    cr_assert(look.leads);
    cr_assert_gt(look.passes, 2);
    cr_assert_eq(look.adds + look.drops + look.stores_out + look.kept + look.facts, 0);
}

Test(keeper, who_wants_a_volume_that_is_being_repaired_does_not_wait)
{
    make_with_a_block();
    for (unsigned i = 0; i < 400; i++)
        cr_assert_eq(put_block(handle, i * 4096ull, 9), 0);
    cr_assert_eq(user_close_volume(handle), 0);
    uint64_t drained = group.members[1].store;
    drain(drained);
    struct keeper_look look = {0};
    for (unsigned i = 0; i < 2000 && look.kept == 0; i++) {
        gathering_run(NS_PER_MS);
        keeper_look(keepers[0], &look);
    }
    cr_assert_eq(look.kept, 1);
    gathering_run(2 * NS_PER_MS);
    uint64_t began_ns = gathering.world.now_ns;
    cr_assert_eq(user_open_volume(2, "a", &handle), 0, "%s", base_last_error());
    cr_assert_eq(get_block(handle, 0), 9);
    cr_assert_lt(gathering.world.now_ns - began_ns, 200 * NS_PER_MS);
    gathering_run(20 * NS_PER_S);
    cr_assert_null(member_of(drained), "its owner goes on with it");
    cr_assert_eq(get_block(handle, 399 * 4096ull), 9);
    cr_assert_eq(user_close_volume(handle), 0);
}

static uint64_t promised(uint64_t store)
{
    return stores_find(catalog_stores(catalog_of(2)), store)->bytes_promised;
}

Test(keeper, tells_what_stores_have_promised)
{
    make_with_a_block();
    gathering_run(5 * NS_PER_S);
    uint64_t sum = 0;
    for (uint64_t store = 1; store <= 4; store++)
        sum += promised(store);
    for (uint32_t i = 0; i < group.member_count; i++)
        cr_assert_eq(promised(group.members[i].store), 4 * SEGMENT);
    cr_assert_eq(sum, 3 * 4 * SEGMENT);
    cr_assert_eq(user_close_volume(handle), 0);
    cr_assert_eq(user_delete(2, "a"), 0);
    gathering_run(120 * NS_PER_S);
    for (uint64_t store = 1; store <= 4; store++)
        cr_assert_eq(promised(store), 0);
}

static void reason_put(uint64_t store, enum metadata_reason reason)
{
    struct metadata_store record = *stores_find(catalog_stores(catalog_of(2)), store);
    record.state_reason = reason;
    store_record_put(&record);
}

Test(keeper, a_store_whose_device_failed_is_out_though_it_answers)
{
    reason_put(3, METADATA_REASON_FAILED);
    gathering_run(15 * NS_PER_S);
    cr_assert_eq(state_of(3), METADATA_STORE_UP, "not yet");
    gathering_run(90 * NS_PER_S);
    cr_assert_eq(state_of(3), METADATA_STORE_OUT);
    const struct metadata_store *record = stores_find(catalog_stores(catalog_of(2)), 3);
    cr_assert_eq(record->state_reason, METADATA_REASON_FAILED);
    /* Opened anew, and well. */
    reason_put(3, METADATA_REASON_SILENT);
    gathering_run(90 * NS_PER_S);
    cr_assert_eq(state_of(3), METADATA_STORE_UP);
}
