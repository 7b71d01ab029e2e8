/* SPDX-License-Identifier: Apache-2.0 */
/* Stories: three nodes (and more), what is told of them, what is done, and how it is said. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

#include "keeper/plan.h"

#define NOW (100000 * NS_PER_S)
#define GIB (1ull << 30)

static struct plan_store stores[8];
static struct plan_settings settings;
static struct plan *plan;
static bool balancing;
static char text[PLAN_TEXT_BYTES];

static const char *const nodes[] = {"a", "b", "c", "d", "e", "f", "g", "h"};

static void pool(uint32_t count)
{
    settings = plan_settings_of(&(struct metadata_cluster){.format = 1}, count);
    for (uint32_t i = 0; i < count; i++)
        stores[i] = (struct plan_store){
            .record = {.id = i + 1, .node = nodes[i], .bytes = 1000 * GIB, .bytes_used = 400 * GIB},
            .answers = true,
        };
}

static void open_plan(uint32_t count)
{
    cr_assert_eq(plan_open(&settings, stores, count, NOW, balancing, &plan), 0);
}

static void silent(uint32_t store, uint64_t seconds)
{
    stores[store].answers = false;
    stores[store].silent_since_ns = NOW - seconds * NS_PER_S;
}

static void volume(uint64_t id, uint32_t copies)
{
    struct plan_volume told = {
        .id = id, .groups = 1, .policy = {.copies = copies, .copies_min = MAX(1, copies - 1)}};
    plan_volume(plan, &told);
}

/* Three copies, on stores a, b, c; that of b in `state`. */
static struct plan_group group(enum metadata_member_state state, uint32_t reason)
{
    return (struct plan_group){
        .segments = 400,
        .bytes = 100 * GIB,
        .member_count = 3,
        .members = {{.store = 1},
                    {.store = 2, .state = state, .reason = reason, .since_ns = NOW - NS_PER_S},
                    {.store = 3}},
    };
}

static void volumes_of(uint32_t count, const struct plan_group *told)
{
    for (uint32_t i = 1; i <= count; i++) {
        volume(i, 3);
        plan_group(plan, told);
    }
    plan_decide(plan);
}

static const struct plan_action *action(enum plan_action_kind kind)
{
    size_t count;
    const struct plan_action *actions = plan_actions(plan, &count);
    for (size_t i = 0; i < count; i++)
        if (actions[i].kind == kind)
            return &actions[i];
    return NULL;
}

static size_t actions(void)
{
    size_t count;
    (void)plan_actions(plan, &count);
    return count;
}

static void said(size_t at, const char *sentence)
{
    size_t count;
    const struct plan_fact *facts = plan_facts(plan, &count);
    cr_assert_lt(at, count, "%zu facts", count);
    cr_assert_str_eq(plan_fact_text(plan, &facts[at], text), sentence);
}

static void nothing_said(void)
{
    size_t count;
    (void)plan_facts(plan, &count);
    cr_assert_eq(count, 0);
}

static void done(void)
{
    plan_close(plan);
    plan = NULL;
}

Test(plan, a_pool_that_is_well_has_nothing_to_do_and_nothing_to_say)
{
    struct plan_group told = group(METADATA_IN_SYNC, 0);
    pool(4);
    open_plan(4);
    volumes_of(14, &told);
    cr_assert_eq(actions(), 0);
    nothing_said();
    done();
}

Test(plan, a_node_that_is_silent_is_waited_for_and_then_its_copies_are_made_anew)
{
    struct plan_group told = group(METADATA_STALE, METADATA_REASON_SILENT);
    pool(4);
    silent(1, 240);
    open_plan(4);
    volumes_of(14, &told);
    cr_assert_eq(actions(), 0);
    said(0, "1 of 3 copies of 14 volumes are out of date because node b has not answered for 4 "
            "minutes; if it does not come back in 6 minutes they are made anew elsewhere");
    done();

    silent(1, 600);
    open_plan(4);
    volumes_of(14, &told);
    cr_assert_eq(action(PLAN_STORE_OUT)->source, 2);
    const struct plan_action *add = action(PLAN_ADD);
    cr_assert_eq(add->target, 4);
    cr_assert_eq(add->source, 2);
    cr_assert_eq(add->why, PLAN_WHY_LOST);
    cr_assert_eq(add->bytes, 100 * GIB);
    cr_assert_eq(add->bytes_second, 50u << 20); /* Two at a time share what a store may take. */
    cr_assert_eq(actions(), 3);
    said(0, "1 of 3 copies of 14 volumes are out of date because node b has not answered for 10 "
            "minutes and is out; 2 are being rebuilt and 12 more wait for their turn, 3 hours "
            "left");
    done();
}

Test(plan, where_there_is_no_other_node_it_says_what_is_missing)
{
    struct plan_group told = group(METADATA_STALE, METADATA_REASON_SILENT);
    pool(3);
    stores[1].record.state = METADATA_STORE_OUT;
    stores[1].state_reason = METADATA_REASON_OPERATOR;
    open_plan(3);
    volumes_of(2, &told);
    cr_assert_eq(actions(), 0);
    said(0, "1 of 3 copies of 2 volumes are out of date because node b was put out, 1 second ago; "
            "2 have no place to go: 3 copies on different nodes need 3 nodes, and there are 2 (1 "
            "more is draining or out): add 1 node, ask for fewer copies, or let copies share a "
            "node");
    done();
}

Test(plan, a_copy_that_catches_up_says_how_long_that_takes)
{
    struct plan_group told = group(METADATA_CATCHING_UP, METADATA_REASON_SILENT);
    told.members[1].bytes_left = 60000ull << 20;
    pool(3);
    open_plan(3);
    volume(7, 3);
    plan_group(plan, &told);
    plan_decide(plan);
    said(0, "1 of 3 copies of volume 7 is out of date because node b did not answer, 1 second "
            "ago; 1 is being rebuilt, 10 minutes left");
    /* Nobody is its coordinator: somebody must be. */
    cr_assert_eq(action(PLAN_RESYNC)->volume, 7);
    cr_assert_eq(plan_bytes_second(plan, 0, 2), 100u << 20);
    cr_assert_eq(plan_bytes_second(plan, 0, 1), 0);
    done();
}

Test(plan, with_a_coordinator_the_keeper_leaves_the_volume_alone)
{
    struct plan_group told = group(METADATA_STALE, METADATA_REASON_RESTARTED);
    struct plan_volume owned = {
        .id = 7, .owned = true, .groups = 1, .policy = {.copies = 3, .copies_min = 2}};
    pool(3);
    open_plan(3);
    plan_volume(plan, &owned);
    plan_group(plan, &told);
    plan_decide(plan);
    cr_assert_eq(actions(), 0);
    said(0, "1 of 3 copies of volume 7 is out of date because node b restarted, and lost what it "
            "had not flushed, 1 second ago; 1 is brought up to date by the volume's coordinator");
    done();
}

Test(plan, when_most_nodes_are_silent_at_once_nobody_is_put_out)
{
    struct plan_group told = group(METADATA_STALE, METADATA_REASON_SILENT);
    pool(4);
    silent(1, 6000);
    silent(2, 6000);
    open_plan(4);
    volumes_of(1, &told);
    cr_assert_eq(actions(), 0);
    said(0, "volume 1 cannot be written in part: fewer copies are in sync (1 of 3) than its policy "
            "takes for enough; writing goes on as soon as one more is");
    said(1, "2 of 4 stores do not answer, more than a third of the nodes: the network may be the "
            "cause, and nothing is replaced until some answer or are put out by hand");
    said(2, "2 of 3 copies of volume 1 are out of date because node b has not answered for 100 "
            "minutes; nothing is made anew elsewhere, for too many stores are silent at once");
    done();
}

Test(plan, what_nobody_in_sync_answers_for_is_left_alone_and_said_first)
{
    struct plan_group told = group(METADATA_IN_SYNC, 0);
    told.member_count = 1;
    pool(4);
    stores[0].record.state = METADATA_STORE_OUT;
    stores[0].state_reason = METADATA_REASON_FAILED;
    open_plan(4);
    volume(1, 1);
    plan_group(plan, &told);
    plan_decide(plan);
    cr_assert_eq(actions(), 0);
    said(0, "volume 1 cannot be read or written in part: no copy that is in sync answers; bring a "
            "node back that has one, or accept the loss");
    said(1, "1 of 1 copies of volume 1 is out of date because node a has a device that failed");
    said(2, "store 1 on node a is not used, for a write or a flush of a device of its failed; look "
            "at the device, then say store undrain 1, or give it up with store drain 1 --lost");
    done();
}

Test(plan, a_store_that_drains_is_emptied_and_then_may_go)
{
    struct plan_group told = group(METADATA_IN_SYNC, 0);
    pool(4);
    stores[1].record.state = METADATA_STORE_DRAINING;
    open_plan(4);
    volumes_of(3, &told);
    const struct plan_action *add = action(PLAN_ADD);
    cr_assert_eq(add->source, 2);
    cr_assert_eq(add->target, 4);
    cr_assert_eq(add->why, PLAN_WHY_DRAIN);
    said(0,
         "store 2 on node b is drained: 3 copies left, 300 GiB; 2 are being moved and 1 more wait "
         "for their turn, 51 minutes left");
    cr_assert_not(plan_removal(plan, 2, text));
    cr_assert_str_eq(text,
                     "store 2 on node b holds 3 copies, 300 GiB: wait until they are elsewhere");
    cr_assert_not(plan_removal(plan, 4, text));
    cr_assert_str_eq(text, "store 4 on node d is up, and copies may be placed on it at any moment: "
                           "drain it first");
    cr_assert_not(plan_removal(plan, 9, text));
    cr_assert_str_eq(text, "there is no store 9 in this pool");
    done();

    /* The new copy is in sync, and the old one leaves. */
    told.member_count = 4;
    told.members[1].leaving = true;
    told.members[3].store = 4;
    open_plan(4);
    volumes_of(3, &told);
    cr_assert_eq(action(PLAN_DROP)->source, 2);
    cr_assert_eq(actions(), 3);
    done();

    told.members[1] = told.members[3];
    told.member_count = 3;
    open_plan(4);
    volumes_of(3, &told);
    cr_assert_eq(actions(), 0);
    said(0, "store 2 on node b is drained: it is empty and can be removed");
    cr_assert(plan_removal(plan, 2, text));
    cr_assert_str_eq(text, "store 2 on node b holds nothing and can be removed");
    done();
}

Test(plan, the_old_copy_stays_while_the_new_one_catches_up)
{
    struct plan_group told = group(METADATA_IN_SYNC, 0);
    told.member_count = 4;
    told.members[1].leaving = true;
    told.members[3] =
        (struct plan_member){.store = 4, .state = METADATA_CATCHING_UP, .bytes_left = UINT64_MAX};
    pool(4);
    open_plan(4);
    volumes_of(1, &told);
    cr_assert_null(action(PLAN_DROP));
    done();
}

Test(plan, a_store_that_was_out_for_silence_comes_back_and_one_put_out_by_hand_does_not)
{
    pool(4);
    stores[1].record.state = stores[2].record.state = METADATA_STORE_OUT;
    stores[1].state_reason = METADATA_REASON_SILENT;
    stores[2].state_reason = METADATA_REASON_OPERATOR;
    open_plan(4);
    plan_decide(plan);
    cr_assert_eq(actions(), 1);
    cr_assert_eq(action(PLAN_STORE_UP)->source, 2);
    done();
}

Test(plan, deletions_are_few_at_a_time_and_wait_for_whoever_has_the_volume)
{
    pool(1);
    settings.deletes_max = 2;
    open_plan(1);
    for (uint64_t id = 1; id <= 4; id++) {
        struct plan_volume told = {
            .id = id, .state = METADATA_VOLUME_DELETING, .owned = id == 1, .policy = {.copies = 1}};
        plan_volume(plan, &told);
    }
    plan_decide(plan);
    cr_assert_eq(actions(), 2);
    cr_assert_eq(action(PLAN_DELETE)->volume, 2);
    said(0, "4 deleted volumes are being removed from the stores");
    done();
}

Test(plan, balancing_begins_late_ends_early_and_says_so)
{
    struct plan_group told = group(METADATA_IN_SYNC, 0);
    pool(4);
    stores[3].record.bytes_used = 340 * GIB; /* 4.5 % below even. */
    open_plan(4);
    volumes_of(4, &told);
    cr_assert_not(plan_balancing(plan));
    cr_assert_eq(actions(), 0);
    done();

    balancing = true;
    open_plan(4);
    volumes_of(4, &told);
    cr_assert(plan_balancing(plan));
    cr_assert_eq(actions(), 0, "100 GiB are more than twice what store 4 lacks");
    done();

    told.segments = 100;
    told.bytes = 25 * GIB;
    open_plan(4);
    volumes_of(4, &told);
    cr_assert_eq(action(PLAN_ADD)->target, 4);
    cr_assert_eq(action(PLAN_ADD)->bytes, 25 * GIB);
    done();
    told.segments = 400;
    told.bytes = 100 * GIB;

    stores[3].record.bytes_used = 380 * GIB;
    open_plan(4);
    volumes_of(4, &told);
    cr_assert_not(plan_balancing(plan));
    done();

    balancing = false;
    stores[3].record.bytes_used = 0;
    open_plan(4);
    volumes_of(4, &told);
    cr_assert(plan_balancing(plan));
    cr_assert_eq(action(PLAN_ADD)->target, 4);
    cr_assert_eq(action(PLAN_ADD)->why, PLAN_WHY_BALANCE);
    size_t count;
    const struct plan_fact *facts = plan_facts(plan, &count);
    cr_assert_eq(count, 1);
    cr_assert_eq(facts[0].kind, PLAN_FACT_BALANCING);
    done();
}

Test(plan, full_and_silent_stores_are_said)
{
    pool(4);
    stores[0].record.bytes_used = 875 * GIB;
    stores[2].record.bytes_used = 950 * GIB;
    silent(3, 30);
    settings.balance_start_ppm = 1000000;
    open_plan(4);
    plan_decide(plan);
    said(0, "node d has not answered for 30 seconds; it holds no copies");
    said(1, "2 stores are nearly full, store 3 on node c to 94 %: add stores, or delete something");
    done();
}

Test(plan, every_kind_of_fact_and_reason_has_a_sentence_that_fits)
{
    pool(2);
    memset(text, 0, sizeof text);
    open_plan(2);
    plan_decide(plan);
    for (int kind = 0; kind <= (int)PLAN_FACT_FAILED; kind++)
        for (uint32_t reason = 0; reason <= METADATA_REASONS; reason++)
            for (uint32_t store = 0; store < 2; store++) {
                struct plan_fact fact = {
                    .kind = (enum plan_fact_kind)kind,
                    .store = store == 0 || kind > (int)PLAN_FACT_STALE ? 0 : UINT32_MAX,
                    .reason = reason,
                    .out = true,
                    .since_ns = 1,
                    .volumes = UINT32_MAX,
                    .groups = UINT32_MAX,
                    .missing = 32,
                    .copies = 32,
                    .stores = UINT32_MAX,
                    .doing = {.running = UINT32_MAX,
                              .queued = UINT32_MAX,
                              .waiting = UINT32_MAX,
                              .nowhere = UINT32_MAX,
                              .owner = UINT32_MAX,
                              .bytes_left = UINT64_MAX},
                    .seconds_left = UINT64_MAX - 1,
                    .refusal = {.wanted = 32, .media = 6, .all = UINT32_MAX},
                };
                size_t length = strlen(plan_fact_text(plan, &fact, text));
                cr_assert(length > 10 && length < PLAN_TEXT_BYTES - 1, "%d: %s", kind, text);
            }
    done();
}

Test(plan, settings_are_the_pools_or_as_built)
{
    struct metadata_cluster cluster = {.out_after_ms = 5000, .balance_percent = 10};
    struct plan_settings told = plan_settings_of(&cluster, 10000);
    cr_assert_eq(told.out_after_ns, 5 * NS_PER_S);
    cr_assert_eq(told.balance_start_ppm, 100000);
    cr_assert_eq(told.balance_stop_ppm, 50000);
    cr_assert_eq(told.moves_per_store_max, 2);
    cr_assert_eq(told.moves_per_pool_max, 2516);
    cluster = (struct metadata_cluster){.moves_per_pool_max = 3, .move_pool_bytes_max = 4};
    told = plan_settings_of(&cluster, 10000);
    cr_assert_eq(told.out_after_ns, 600 * NS_PER_S);
    cr_assert_eq(told.moves_per_pool_max, 3);
    cr_assert_eq(told.pool_bytes_max, 4);
}
