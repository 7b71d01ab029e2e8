/* SPDX-License-Identifier: Apache-2.0 */
#include "unit/peer/pair.h"

static struct pair pair;

static void begin(void)
{
    pair_open(&pair);
}

static void end(void)
{
    pair_close(&pair);
}

TestSuite(peer, .init = begin, .fini = end);

static void up(unsigned index)
{
    pair_connect(&pair, index, NULL);
    cr_assert(pair_run_until_up(&pair, index, NS_PER_S), "%s",
              peer_port_sentence(pair.ports[index]));
}

Test(peer, what_is_written_is_read)
{
    up(0);
    struct question *write = question_new(&pair, PART_WRITE);
    question_blocks(write, 5);
    question_ask(write, 0);
    question_wait(write, NS_PER_S);
    cr_expect_eq(write->result, 0);
    struct question *read = question_new(&pair, PART_READ);
    question_blocks(read, 5);
    question_ask(read, 0);
    question_wait(read, NS_PER_S);
    cr_expect_eq(read->result, 0);
    cr_expect_eq(memcmp(read->data, write->data, 5 * BLOCK_BYTES), 0);
    cr_expect_eq(memcmp(read->crcs, write->crcs, 5 * sizeof *read->crcs), 0);
    free(write);
    free(read);
}

Test(peer, a_write_whose_sum_is_wrong_is_told_corrupt_and_the_session_lives)
{
    up(0);
    struct question *write = question_new(&pair, PART_WRITE);
    question_blocks(write, 2);
    write->data[BLOCK_BYTES + 77] ^= 1;
    question_ask(write, 0);
    question_wait(write, NS_PER_S);
    cr_expect_eq(write->result, IOMESH_CORRUPT);
    cr_expect_eq(pair.mirror.counts.requests, 0, "the store never sees it");
    cr_expect_eq(peer_port_counts(pair.ports[0]).breaks, 0);
    free(write);
}

Test(peer, it_comes_up_with_who_the_store_is)
{
    up(0);
    const struct part_port *part = pair_part(&pair, 0);
    cr_expect_eq(part->incarnation, 5);
    cr_expect_eq(memcmp(part->boot_id, "a boot, so far.", 16), 0);
    cr_expect_eq(part->room_blocks, 77);
    uint64_t session = part->session;
    sim_net_reset(pair.net, pair.here[0], pair.there);
    while (part->state == PART_PORT_UP)
        cr_assert(world_step(&pair.world));
    cr_expect_eq(part->down_reason, -ECONNRESET);
    cr_assert(pair_run_until_up(&pair, 0, NS_PER_S));
    cr_expect_neq(part->session, session);
}

Test(peer, a_refused_connection_is_told_at_once_and_a_retry_does_not_wait)
{
    pair_server_close(&pair);
    struct peer_port_options options = pair_options(&pair, 0);
    options.backoff_ns_min = options.backoff_ns_max = 100 * NS_PER_S;
    pair_connect(&pair, 0, &options);
    pair_run(&pair, NS_PER_MS);
    const struct part_port *part = pair_part(&pair, 0);
    cr_expect_eq(part->state, PART_PORT_DOWN);
    cr_expect_eq(part->down_reason, -ECONNREFUSED);
    struct question *state = question_new(&pair, PART_STATE);
    question_ask(state, 0);
    question_wait(state, NS_PER_MS);
    cr_expect_eq(state->result, -ECONNRESET);
    pair_server_open(&pair);
    pair_run(&pair, NS_PER_S);
    cr_expect_eq(part->state, PART_PORT_DOWN, "it waits");
    peer_port_retry(pair.ports[0]);
    cr_expect(pair_run_until_up(&pair, 0, 2 * NS_PER_MS));
    free(state);
}

Test(peer, attempts_become_rarer_up_to_a_limit)
{
    pair_server_close(&pair);
    pair_connect(&pair, 0, NULL);
    pair_run(&pair, 10 * NS_PER_S);
    /* 10, 20 ... 160 ms, then 300 each; each between half of it and all: a change to CONNECTING and
     * one back for each. */
    cr_expect_geq(pair.changes / 2, 34u);
    cr_expect_leq(pair.changes / 2, 75u);
}

Test(peer, a_silent_host_is_noticed_and_its_requests_end)
{
    up(0);
    const struct part_port *part = pair_part(&pair, 0);
    pair_run(&pair, 3 * NS_PER_S);
    cr_expect_leq(pair.world.now_ns - part->heard_ns, NS_PER_S, "idle, it is heard");
    sim_net_cut(pair.net, pair.here[0], pair.there, true);
    sim_net_cut(pair.net, pair.there, pair.here[0], true);
    uint64_t cut_ns = pair.world.now_ns;
    struct question *state = question_new(&pair, PART_STATE);
    question_ask(state, 0);
    pair_run(&pair, 2 * NS_PER_S);
    cr_expect_eq(part->state, PART_PORT_UP);
    cr_expect_geq(pair.world.now_ns - part->heard_ns, 2 * NS_PER_S, "who asks can see it");
    question_wait(state, 5 * NS_PER_S);
    cr_expect_eq(state->result, -ECONNRESET);
    cr_expect_leq(state->ended_ns - cut_ns, 5 * NS_PER_S);
    cr_expect_eq(part->down_reason, -ETIMEDOUT);
    sim_net_calm(pair.net);
    cr_expect(pair_run_until_up(&pair, 0, 5 * NS_PER_S));
    free(state);
}

Test(peer, one_way_is_not_enough)
{
    up(0);
    sim_net_cut(pair.net, pair.there, pair.here[0], true);
    pair_run(&pair, 6 * NS_PER_S);
    cr_expect_neq(pair_part(&pair, 0)->state, PART_PORT_UP);
}

Test(peer, an_idle_connection_stays)
{
    up(0);
    pair_run(&pair, 120 * NS_PER_S);
    cr_expect_eq(peer_port_counts(pair.ports[0]).breaks, 0);
    cr_expect_eq(peer_port_counts(pair.ports[0]).connects, 1);
}

Test(peer, who_stood_still_does_not_blame_the_store)
{
    up(0);
    /* The machine slept: no timer ran, and then all of them. */
    pair.world.now_ns += 3600 * NS_PER_S;
    pair_run(&pair, NS_PER_S);
    cr_expect_eq(peer_port_counts(pair.ports[0]).breaks, 0);
}

Test(peer, a_newer_connection_of_an_engine_ends_its_old_one)
{
    up(0);
    struct peer_port_options options = pair_options(&pair, 1);
    options.engine = 100;
    pair_connect(&pair, 1, &options);
    cr_assert(pair_run_until_up(&pair, 1, NS_PER_S));
    pair_run(&pair, NS_PER_MS);
    cr_expect_eq(peer_server_counts(pair.server).replaced, 1);
    cr_expect_neq(pair_part(&pair, 0)->state, PART_PORT_UP);
}

Test(peer, who_does_not_read_his_answers_holds_nobody_else)
{
    pair.out_max = 2u << 20;
    up(0);
    up(1);
    struct question *many[8];
    for (unsigned i = 0; i < COUNT_OF(many); i++) {
        many[i] = question_new(&pair, PART_READ);
        question_blocks(many[i], 64);
        question_ask(many[i], 0);
    }
    pair_run(&pair, NS_PER_MS);
    sim_host_pause(pair.here[0], true);
    uint64_t begin_ns = pair.world.now_ns;
    struct question *other = question_new(&pair, PART_READ);
    question_blocks(other, 256);
    question_ask(other, 1);
    question_wait(other, 5 * NS_PER_S);
    cr_expect_eq(other->result, 0);
    cr_expect_leq(other->ended_ns - begin_ns, 3 * NS_PER_S);
    sim_net_calm(pair.net);
    for (unsigned i = 0; i < COUNT_OF(many); i++) {
        question_wait(many[i], 10 * NS_PER_S);
        free(many[i]);
    }
    free(other);
}

Test(peer, a_canceled_request_ends_soon_even_if_nobody_takes_its_data)
{
    up(0);
    sim_host_pause(pair.there, true);
    struct question *write = question_new(&pair, PART_WRITE);
    question_blocks(write, 256);
    question_ask(write, 0);
    pair_run(&pair, 10 * NS_PER_MS);
    uint64_t begin_ns = pair.world.now_ns;
    part_cancel(&write->request);
    cr_expect_eq(write->ended, 0);
    question_wait(write, NS_PER_S);
    cr_expect_eq(write->result, -ECANCELED);
    cr_expect_leq(write->ended_ns - begin_ns, 100 * NS_PER_MS);
    sim_net_calm(pair.net);
    free(write);
}

Test(peer, many_at_once_all_end_with_their_answers)
{
    struct peer_port_options options = pair_options(&pair, 0);
    options.requests_max = 4;
    options.bytes_max = 64u << 10;
    pair_connect(&pair, 0, &options);
    cr_assert(pair_run_until_up(&pair, 0, NS_PER_S));
    struct question *many[40];
    for (unsigned i = 0; i < COUNT_OF(many); i++) {
        many[i] = question_new(&pair, i % 2 ? PART_READ : PART_STATE);
        if (i % 2)
            question_blocks(many[i], 1 + i);
        question_ask(many[i], 0);
    }
    for (unsigned i = 0; i < COUNT_OF(many); i++) {
        question_wait(many[i], NS_PER_S);
        cr_expect_eq(many[i]->result, 0);
        cr_expect_eq(many[i]->request.found, mirror_sum(&many[i]->request));
        free(many[i]);
    }
    cr_expect_gt(peer_port_counts(pair.ports[0]).waits, 0);
}

static void removed(void *context)
{
    *(bool *)context = true;
}

Test(peer, a_store_that_leaves_ends_its_connections_and_is_refused)
{
    up(0);
    bool gone = false;
    struct question *state = question_new(&pair, PART_STATE);
    question_ask(state, 0);
    peer_server_remove(pair.server, 1, removed, &gone);
    cr_expect_not(gone, "never inside the call");
    question_wait(state, NS_PER_S);
    while (!gone)
        cr_assert(world_step(&pair.world));
    cr_expect(mirror_is_idle(&pair.mirror));
    pair_run(&pair, 100 * NS_PER_MS);
    const struct part_port *part = pair_part(&pair, 0);
    cr_expect_eq(part->state, PART_PORT_DOWN);
    cr_expect_eq(part->down_reason, -ENXIO);
    cr_expect_str_eq(peer_port_sentence(pair.ports[0]), "there:7: store 1 is not here");
    free(state);
}

static void up_any(unsigned index, uint64_t from)
{
    struct peer_port_options options = pair_options(&pair, index);
    memset(options.pool, 0, sizeof options.pool);
    options.store = from;
    options.any = true;
    pair_connect(&pair, index, &options);
    (void)pair_run_until_up(&pair, index, 200 * NS_PER_MS);
}

Test(peer, who_knows_neither_pool_nor_stores_finds_each_and_may_look_only)
{
    cr_assert_eq(peer_server_add(pair.server, 5, 9, &pair.mirror.port), 0);
    up_any(0, 0);
    up_any(1, 2);
    up_any(2, 6);
    cr_expect_eq(pair_part(&pair, 0)->state, PART_PORT_UP);
    cr_expect_eq(pair_part(&pair, 0)->store, 1);
    cr_expect_eq(pair_part(&pair, 1)->state, PART_PORT_UP);
    cr_expect_eq(pair_part(&pair, 1)->store, 5);
    cr_expect_eq(pair_part(&pair, 1)->incarnation, 9);
    cr_expect_neq(pair_part(&pair, 2)->state, PART_PORT_UP);
    cr_expect_eq(pair_part(&pair, 2)->down_reason, -ENXIO);

    struct question *state = question_new(&pair, PART_STATE);
    question_ask(state, 1);
    question_wait(state, NS_PER_S);
    cr_expect_eq(state->ended, 1);
    cr_expect_neq(state->result, -ECONNRESET);
    uint64_t before = pair.mirror.counts.requests;
    struct question *write = question_new(&pair, PART_WRITE);
    question_blocks(write, 1);
    question_ask(write, 1);
    question_wait(write, NS_PER_S);
    cr_expect_eq(write->result, -ECONNRESET);
    cr_expect_eq(pair.mirror.counts.requests, before, "the store never sees it");
    free(state);
    free(write);
}

Test(peer, a_server_that_drains_answers_what_it_has_and_takes_nothing_new)
{
    pair.mirror.delay_ns_max = 2 * NS_PER_S;
    up(0);
    struct question *before = question_new(&pair, PART_READ),
                    *after = question_new(&pair, PART_READ);
    question_blocks(before, 1);
    question_blocks(after, 1);
    question_ask(before, 0);
    pair_run(&pair, 10 * NS_PER_MS);
    cr_assert_eq(peer_server_counts(pair.server).busy, 1);
    peer_server_drain(pair.server);
    question_ask(after, 0);
    question_wait(before, 5 * NS_PER_S);
    cr_expect_eq(before->result, 0);
    pair_run(&pair, 3 * NS_PER_S);
    cr_expect_eq(peer_server_counts(pair.server).busy, 0);
    cr_expect_eq(after->ended, 0);
    /* Nobody new gets in. */
    pair_connect(&pair, 1, NULL);
    cr_expect_not(pair_run_until_up(&pair, 1, NS_PER_S));
    pair_server_close(&pair);
    question_wait(after, NS_PER_S);
    cr_expect_eq(after->result, -ECONNRESET);
    free(before);
    free(after);
}

Test(peer, a_store_that_is_slow_for_long_is_not_taken_for_dead)
{
    /* One request has all the memory, and the disk takes its time: the other connection is not read
     * from, its pings neither. */
    pair.out_max = 1u << 20;
    pair.mirror.delay_ns_max = 60 * NS_PER_S;
    up(0);
    up(1);
    struct question *first = question_new(&pair, PART_READ),
                    *second = question_new(&pair, PART_READ);
    question_blocks(first, 256);
    question_blocks(second, 256);
    question_ask(first, 0);
    pair_run(&pair, NS_PER_MS);
    question_ask(second, 1);
    uint64_t begin_ns = pair.world.now_ns;
    question_wait(first, 60 * NS_PER_S);
    cr_assert_geq(first->ended_ns - begin_ns, 5 * NS_PER_S, "%llu ms",
                  (unsigned long long)((first->ended_ns - begin_ns) / NS_PER_MS));
    question_wait(second, 70 * NS_PER_S);
    cr_expect_eq(second->result, 0);
    cr_expect_gt(peer_server_counts(pair.server).waits, 0);
    cr_expect_eq(peer_port_counts(pair.ports[0]).breaks, 0);
    cr_expect_eq(peer_port_counts(pair.ports[1]).breaks, 0);
    free(first);
    free(second);
}
