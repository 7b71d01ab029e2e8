/* SPDX-License-Identifier: Apache-2.0 */
#include "pair.h"

TestSuite(calls, .init = pair_open, .fini = pair_close);

Test(calls, a_call_carries_path_metadata_timeout_and_message_and_its_answer_comes_back)
{
    struct call *call = pair_call(0, "/t/Echo", "hello", 5, true);
    pair_run();
    cr_assert_str_eq(pair.path, "/t/Echo");
    cr_assert_str_eq(pair.token, "abc.17");
    cr_assert_eq(pair.timeout_ns, 2500 * NS_PER_MS);
    cr_assert_eq(pair.half_closed, 1);
    cr_assert(call->ended);
    cr_assert_eq(call->status, GRPC_OK, "%s", call->text);
    cr_assert_eq(call->messages, 1);
    cr_assert_eq(call->bytes, 5);
    cr_assert_eq(call->first, 'h');
    cr_assert(call->may_have_run);
    cr_assert_eq(pair.server_ended, 1);
    cr_assert_eq(pair.server_ended_status, GRPC_OK);
}

Test(calls, however_the_bytes_are_cut)
{
    uint32_t ask[2] = {3, 100000};
    for (size_t step = 1; step < 40; step += 13) {
        pair.step = step;
        struct call *call = pair_call(0, "/t/Big", ask, sizeof ask, true);
        pair_run();
        cr_assert_eq(call->status, GRPC_OK, "%s", call->text);
        cr_assert_eq(call->messages, 3);
        cr_assert_eq(call->bytes, 300000);
    }
}

Test(calls, an_empty_message_is_a_message)
{
    struct call *call = pair_call(0, "/t/Echo", "", 0, true);
    pair_run();
    cr_assert_eq(call->messages, 1);
    cr_assert_eq(call->bytes, 0);
    cr_assert_eq(call->status, GRPC_OK);
}

Test(calls, a_refusal_carries_its_sentence_unharmed)
{
    struct call *call = pair_call(0, "/t/Refuse", "x", 1, true);
    pair_run();
    cr_assert(call->ended);
    cr_assert_eq(call->status, GRPC_NOT_FOUND);
    cr_assert_str_eq(call->text, "no such lease: 100% \xc3\xa4");
}

Test(calls, a_stream_of_messages_goes_both_ways_until_either_ends_it)
{
    struct call *call = pair_call(0, "/t/Echo", "a", 1, false);
    pair_run();
    cr_assert_eq(call->messages, 1);
    cr_assert_not(call->ended);
    for (unsigned i = 0; i < 100; i++) {
        cr_assert_eq(grpc_send(call->stream, "bc", 2, false), 0);
        pair_run();
    }
    cr_assert_eq(call->messages, 101);
    cr_assert_eq(grpc_send(call->stream, "", 0, true), 0);
    pair_run();
    cr_assert(call->ended);
    cr_assert_eq(call->status, GRPC_OK);
    cr_assert_eq(pair.server_messages, 102);
}

Test(calls, cancelling_tells_the_server_and_nobody_here)
{
    struct call *call = pair_call(0, "/t/Deaf", "x", 1, true);
    pair_run();
    cr_assert(grpc_cancel(call->stream), "all of it had left");
    pair_run();
    cr_assert_not(call->ended);
    cr_assert_eq(pair.server_ended, 1);
    cr_assert_eq(pair.server_ended_status, GRPC_CANCELLED);
}

Test(calls, cancelling_within_a_message_is_the_last_that_is_heard)
{
    uint32_t ask[2] = {5, 10};
    struct call *call = pair_call(0, "/t/Big", ask, sizeof ask, true);
    call->cancel_at_message = true;
    pair_run();
    cr_assert_eq(call->messages, 1);
    cr_assert_not(call->ended);
}

Test(calls, many_at_a_time_and_more_than_the_server_takes)
{
    uint32_t ask[2] = {1, 5000};
    pair_close();
    pair_server_options.streams_max = 3;
    pair_open();
    pair_run(); /* The client is told. */
    for (unsigned i = 0; i < CALLS_MAX; i++)
        pair_call(i, "/t/Big", ask, sizeof ask, true);
    pair_run();
    for (unsigned i = 0; i < CALLS_MAX; i++) {
        cr_assert(pair.calls[i].ended, "call %u", i);
        cr_assert_eq(pair.calls[i].status, GRPC_OK, "%s", pair.calls[i].text);
        cr_assert_eq(pair.calls[i].bytes, 5000);
    }
}

Test(calls, what_was_begun_before_the_server_told_its_limit_is_refused_and_surely_did_not_run)
{
    uint32_t ask[2] = {1, 10};
    unsigned refused = 0;
    pair_close();
    pair_server_options.streams_max = 3;
    pair_open();
    for (unsigned i = 0; i < 10; i++)
        pair_call(i, "/t/Big", ask, sizeof ask, true);
    pair_run();
    for (unsigned i = 0; i < 10; i++) {
        if (pair.calls[i].status == GRPC_OK)
            continue;
        cr_assert_eq(pair.calls[i].status, GRPC_UNAVAILABLE);
        cr_assert_not(pair.calls[i].may_have_run);
        refused++;
    }
    cr_assert_eq(refused + pair.server_messages, 10);
    cr_assert_gt(refused, 0);
}

Test(calls, large_answers_wait_for_room_and_all_come)
{
    uint32_t ask[2] = {2, 3 << 20};
    for (unsigned i = 0; i < 8; i++)
        pair_call(i, "/t/Big", ask, sizeof ask, true);
    pair_run();
    for (unsigned i = 0; i < 8; i++) {
        cr_assert_eq(pair.calls[i].status, GRPC_OK, "%s", pair.calls[i].text);
        cr_assert_eq(pair.calls[i].messages, 2);
        cr_assert_eq(pair.calls[i].bytes, 6 << 20);
    }
}

Test(calls, who_waits_for_room_and_is_cancelled_does_not_keep_the_next_from_it)
{
    uint32_t ask[2] = {1, 3 << 20};
    for (unsigned i = 0; i < 4; i++)
        pair_call(i, "/t/Big", ask, sizeof ask, true);
    /* Until the first has some of its answer, and the others wait. */
    pair_move(pair.client, pair.server, SIZE_MAX);
    for (unsigned i = 0; i < 8; i++)
        pair_move(pair.server, pair.client, SIZE_MAX);
    grpc_cancel(pair.calls[0].stream);
    grpc_cancel(pair.calls[1].stream);
    pair_run();
    for (unsigned i = 2; i < 4; i++) {
        cr_assert_eq(pair.calls[i].status, GRPC_OK, "%s", pair.calls[i].text);
        cr_assert_eq(pair.calls[i].bytes, 3 << 20);
    }
}

Test(calls, a_message_that_is_too_large_ends_its_call_and_no_other)
{
    uint32_t ask[2] = {1, 5 << 20};
    uint32_t small[2] = {1, 100};
    pair_call(0, "/t/Big", ask, sizeof ask, true);
    pair_call(1, "/t/Big", small, sizeof small, true);
    pair_run();
    cr_assert_eq(pair.calls[0].status, GRPC_RESOURCE_EXHAUSTED);
    cr_assert_eq(pair.calls[0].message_bytes, 5 << 20);
    cr_assert_eq(pair.calls[1].status, GRPC_OK);
}

Test(calls, what_the_peer_does_not_take_is_bounded_here)
{
    static uint8_t data[1 << 20];
    struct call *call = pair_call(0, "/t/Deaf", data, sizeof data, false);
    int result = 0;
    for (unsigned i = 0; i < 10 && result == 0; i++)
        result = grpc_send(call->stream, data, sizeof data, false);
    cr_assert_eq(result, -EAGAIN);
}

/* --- What breaks --------------------------------------------------------------------------- */

Test(calls, a_call_may_have_run_only_if_its_last_bytes_left)
{
    static uint8_t data[300000];
    pair_run(); /* Greetings. */
    for (size_t left = 0;; left += 7000) {
        const uint8_t *out;
        pair_close();
        pair_open();
        pair_run();
        struct call *call = pair_call(0, "/t/Echo", data, sizeof data, true);
        size_t moved = 0;
        size_t some = 1;
        while (moved < left && some > 0) {
            some = pair_move(pair.client, pair.server, left - moved);
            moved += some;
            pair_move(pair.server, pair.client, SIZE_MAX); /* Windows. */
        }
        bool server_has_all = pair.half_closed > 0;
        grpc_output(pair.client, &out); /* Made, and never sent. */
        grpc_lost(pair.client, "cut");
        cr_assert(call->ended);
        if (server_has_all)
            cr_assert(call->may_have_run, "the server has all of it");
        if (left + 20000 < sizeof data)
            cr_assert_not(call->may_have_run, "%zu bytes left, and it is said to have run", left);
        if (server_has_all)
            break;
    }
}

Test(calls, a_lost_connection_ends_each_call_once)
{
    pair_call(0, "/t/Deaf", "x", 1, true);
    pair_run();
    pair_call(1, "/t/Deaf", "x", 1, true);
    grpc_lost(pair.client, "cut");
    cr_assert_eq(pair.calls[0].status, GRPC_UNAVAILABLE);
    cr_assert_str_eq(pair.calls[0].text, "cut");
    cr_assert(pair.calls[0].may_have_run);
    cr_assert_eq(pair.calls[1].status, GRPC_UNAVAILABLE);
    cr_assert_not(pair.calls[1].may_have_run);
    struct grpc_head head = {.path = "/t/Echo"};
    struct grpc_stream *stream;
    cr_assert_eq(grpc_call(pair.client, &head, NULL, &stream), -EAGAIN);
}

Test(calls, a_server_that_leaves_finishes_what_it_has_and_takes_no_more)
{
    struct call *call = pair_call(0, "/t/Echo", "x", 1, false);
    pair_run();
    grpc_leave(pair.server);
    pair_run();
    cr_assert(grpc_leaving(pair.client));
    cr_assert_not(call->ended);
    cr_assert_eq(grpc_send(call->stream, "y", 1, true), 0);
    const uint8_t *data;
    size_t length = grpc_output(pair.client, &data);
    cr_assert_eq(grpc_receive(pair.server, data, length), 0);
    grpc_taken(pair.client, length);
    length = grpc_output(pair.server, &data);
    cr_assert_eq(grpc_receive(pair.client, data, length), 0);
    grpc_taken(pair.server, length);
    cr_assert_eq(call->status, GRPC_OK, "%s", call->text);
    cr_assert_eq(call->messages, 2);
    cr_assert(grpc_over(pair.server));
}

Test(calls, a_peer_that_speaks_something_else_is_soon_over)
{
    static const char http1[] = "HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n";
    struct call *call = pair_call(0, "/t/Echo", "x", 1, true);
    const uint8_t *data;
    int result = grpc_receive(pair.client, http1, sizeof http1 - 1);
    grpc_taken(pair.client, grpc_output(pair.client, &data));
    cr_assert(result == -EPROTO || grpc_over(pair.client));
    grpc_lost(pair.client, "not HTTP/2");
    cr_assert(call->ended);
    cr_assert_eq(call->status, GRPC_UNAVAILABLE);
}

Test(calls, a_ping_is_answered)
{
    const uint8_t *data;
    pair_run();
    cr_assert_eq(grpc_output(pair.server, &data), 0);
    grpc_ping(pair.client);
    pair_move(pair.client, pair.server, SIZE_MAX);
    cr_assert_gt(grpc_output(pair.server, &data), 0);
}
