/* SPDX-License-Identifier: Apache-2.0 */
/* What the keeper wishes of groups, and volumes that are kept: owned by somebody who yields. */
#include "gathering.h"
#include "volume/catalog_keep.h"

static void four_stores(void)
{
    gathering_open_stores(4);
    user_options(0, "n1", "gateway-a");
    user_options(1, "n2", "gateway-b");
    cr_assert_eq(user_open(0), 0, "%s", base_last_error());
    cr_assert_eq(user_open(1), 0, "%s", base_last_error());
}

TestSuite(wished, .init = four_stores, .fini = gathering_close, .timeout = 60);

static const struct catalog_create small = {.bytes = 4 * SEGMENT, .sector_bytes = 4096};
static struct catalog_handle *first, *second;
static struct metadata_group group;

static void wish(enum metadata_wish_kind kind, uint64_t target, uint64_t source)
{
    struct metadata_wish record = {
        .volume = 1, .group = 0, .kind = kind, .target = target, .source = source};
    struct metadata_bytes value = {0};
    cr_assert_eq(metadata_wish_encode(&record, &value), 0);
    key_put(metadata_wish_key(1, 0), &value);
}

static const struct metadata_member *member_of(uint64_t store)
{
    cr_assert(group_get(1, 0, &group));
    for (uint32_t i = 0; i < group.member_count; i++) {
        if (group.members[i].store == store)
            return &group.members[i];
    }
    return NULL;
}

static bool yields(void)
{
    struct metadata_volume record;
    cr_assert(volume_get(1, &record));
    metadata_volume_done(&record);
    return record.owner_session != 0 && record.owner_yields;
}

/* The store of four that has none of the first volume. */
static uint64_t spare(void)
{
    for (uint64_t store = 1; store <= 4; store++) {
        if (member_of(store) == NULL)
            return store;
    }
    cr_assert(false);
    return 0;
}

static void kept(void *context, int result, struct catalog_handle *handle)
{
    gathering.opened = handle;
    gathering_ended(context, result);
}

static int keep(unsigned user, struct catalog_handle **ret_handle)
{
    gathering.waiting = true;
    int result = gathering_wait(catalog_keep(catalog_of(user), 1, kept, NULL));
    *ret_handle = gathering.opened;
    return result;
}

static void make_with_a_block(uint8_t byte)
{
    cr_assert_eq(user_create(0, "a", &small), 0, "%s", base_last_error());
    cr_assert_eq(user_open_volume(0, "a", &first), 0, "%s", base_last_error());
    cr_assert_eq(put_block(first, 0, byte), 0);
}

Test(wished, a_copy_that_is_wished_for_is_made_by_the_owner_and_the_other_is_leaving)
{
    make_with_a_block(7);
    uint64_t target = spare();
    uint64_t source = group.members[1].store;
    wish(METADATA_WISH_ADD, target, source);
    gathering_run(5 * NS_PER_S);
    cr_assert_not_null(member_of(target));
    cr_assert_eq(member_of(target)->state, METADATA_IN_SYNC);
    cr_assert_eq(member_of(source)->state, METADATA_IN_SYNC);
    cr_assert(member_of(source)->leaving);
    cr_assert_neq(store_shows((unsigned)target, 0, 0, VIEW_HEAD), 0);
    wish(METADATA_WISH_DROP, 0, source);
    gathering_run(2 * NS_PER_S);
    cr_assert_null(member_of(source));
    cr_assert_eq(group.member_count, 3);
    cr_assert_eq(group.left[0], source);
    cr_assert_eq(get_block(first, 0), 7);
    cr_assert_eq(user_close_volume(first), 0);
}

Test(wished, a_copy_that_is_needed_does_not_go_whatever_is_wished)
{
    make_with_a_block(7);
    cr_assert_neq(spare(), 0);
    uint64_t source = group.members[0].store;
    wish(METADATA_WISH_DROP, 0, source);
    gathering_run(3 * NS_PER_S);
    cr_assert_not_null(member_of(source));
    cr_assert_eq(user_close_volume(first), 0);
}

Test(wished, what_was_wished_before_the_volume_was_opened_is_done_then)
{
    make_with_a_block(7);
    cr_assert_eq(user_close_volume(first), 0);
    uint64_t target = spare();
    wish(METADATA_WISH_ADD, target, 0);
    gathering_run(NS_PER_S);
    cr_assert_null(member_of(target));
    cr_assert_eq(user_open_volume(1, "a", &first), 0);
    gathering_run(5 * NS_PER_S);
    cr_assert_not_null(member_of(target));
    cr_assert_eq(member_of(target)->state, METADATA_IN_SYNC);
    cr_assert_eq(user_close_volume(first), 0);
}

Test(wished, who_keeps_a_volume_does_what_is_wished_and_gives_it_back)
{
    make_with_a_block(7);
    cr_assert_eq(user_close_volume(first), 0);
    uint64_t target = spare();
    wish(METADATA_WISH_ADD, target, 0);
    cr_assert_eq(keep(1, &second), 0, "%s", base_last_error());
    cr_assert(yields());
    gathering_run(5 * NS_PER_S);
    cr_assert_eq(member_of(target)->state, METADATA_IN_SYNC);
    cr_assert_eq(user_close_volume(second), 0);
    cr_assert_not(yields());
}

Test(wished, who_wants_a_volume_that_is_kept_elsewhere_has_it_at_once)
{
    make_with_a_block(7);
    cr_assert_eq(user_close_volume(first), 0);
    cr_assert_eq(keep(1, &second), 0, "%s", base_last_error());
    uint64_t began_ns = gathering.world.now_ns;
    cr_assert_eq(user_open_volume(0, "a", &first), 0, "%s", base_last_error());
    cr_assert_eq(get_block(first, 0), 7);
    cr_assert_eq(put_block(first, 0, 8), 0);
    cr_assert_lt(gathering.world.now_ns - began_ns, 200 * NS_PER_MS);
    cr_assert_not(yields());
    gathering_run(NS_PER_S);
    cr_assert_eq(catalog_handle_ended(second), IOMESH_FENCED);
    cr_assert_eq(user_close_volume(second), 0);
    cr_assert_eq(put_block(first, 0, 9), 0);
    cr_assert_eq(user_close_volume(first), 0);
}

Test(wished, who_wants_a_volume_that_is_kept_here_has_it_at_once)
{
    make_with_a_block(7);
    cr_assert_eq(user_close_volume(first), 0);
    cr_assert_eq(keep(0, &second), 0, "%s", base_last_error());
    uint64_t began_ns = gathering.world.now_ns;
    cr_assert_eq(user_open_volume(0, "a", &first), 0, "%s", base_last_error());
    cr_assert_eq(get_block(first, 0), 7);
    cr_assert_lt(gathering.world.now_ns - began_ns, 200 * NS_PER_MS);
    cr_assert_eq(catalog_handle_ended(second), IOMESH_FENCED);
    cr_assert_eq(put_block(first, 0, 8), 0);
    cr_assert_eq(user_close_volume(second), 0);
    cr_assert_eq(get_block(first, 0), 8);
    cr_assert_eq(user_close_volume(first), 0);
}

Test(wished, a_volume_that_somebody_has_open_is_not_kept)
{
    make_with_a_block(7);
    cr_assert_eq(keep(0, &second), -EBUSY);
    cr_assert_eq(keep(1, &second), -EBUSY);
    cr_assert_eq(get_block(first, 0), 7);
    cr_assert_eq(user_close_volume(first), 0);
}

Test(wished, a_volume_that_is_kept_is_deleted_as_one_that_nobody_has)
{
    for (unsigned who = 0; who < 2; who++) {
        make_with_a_block(7);
        cr_assert_eq(user_close_volume(first), 0);
        if (who == 0)
            cr_assert_eq(keep(1, &second), 0, "%s", base_last_error());
        cr_assert_eq(user_delete(0, "a"), 0, "%s", base_last_error());
        if (who == 0) {
            gathering_run(NS_PER_S);
            cr_assert_neq(catalog_handle_ended(second), 0);
            cr_assert_eq(user_close_volume(second), 0);
            break;
        }
    }
    user_settle(0);
    cr_assert_eq(keys_of(metadata_prefix(METADATA_GROUP)), 0);
}

Test(wished, keeping_that_waits_for_stores_lets_go_when_the_volume_is_wanted)
{
    make_with_a_block(7);
    cr_assert_eq(user_close_volume(first), 0);
    for (unsigned i = 1; i <= 4; i++)
        link_cut(0, i, true);
    gathering.waiting = true;
    cr_assert_eq(catalog_keep(catalog_of(0), 1, kept, NULL), 0);
    gathering_run(3 * NS_PER_S);
    cr_assert(gathering.waiting);
    cr_assert_eq(user_open_volume(1, "a", &first), 0, "%s", base_last_error());
    cr_assert_eq(get_block(first, 0), 7);
    catalog_keep_stop(catalog_of(0), 0);
    gathering_run(NS_PER_S);
    cr_assert_eq(user_close_volume(first), 0);
}

Test(wished, how_far_copying_is_stands_in_the_metadata_while_it_goes_on)
{
    make_with_a_block(7);
    for (unsigned i = 1; i < 1024; i++)
        cr_assert_eq(put_block(first, i * 4096ull, 1), 0);
    uint64_t target = spare();
    catalog_set_resync(gathering.users[0].catalog, 512ull << 10);
    wish(METADATA_WISH_ADD, target, 0);
    link_cut(0, (unsigned)target, true);
    gathering_run(3 * NS_PER_S);
    cr_assert_eq(keys_of(metadata_prefix(METADATA_PROGRESS)), 0, "it has not begun");
    link_cut(0, (unsigned)target, false);
    gathering_run(5 * NS_PER_S);
    cr_assert_eq(keys_of(metadata_prefix(METADATA_PROGRESS)), 1);
    gathering_run(15 * NS_PER_S);
    cr_assert_eq(member_of(target)->state, METADATA_IN_SYNC);
    gathering_run(5 * NS_PER_S);
    cr_assert_eq(keys_of(metadata_prefix(METADATA_PROGRESS)), 0);
    cr_assert_eq(user_close_volume(first), 0);
}
