/* SPDX-License-Identifier: Apache-2.0 */
/* The net of host/, on a ring. What streams do is told in test_stream.c. */
#include "unit/uring/real.h"

TestSuite(uring_net, .init = real_open, .fini = real_close);

struct ear {
    int listening, coming, connecting, closing, done;
    int result;
    struct net_stream *came, *went;
    struct net_listener *listener;
};
static struct ear ear;

static void came(void *context, int result, struct net_stream *stream)
{
    (void)context;
    if (result == -ECANCELED) {
        ear.listening--;
        return;
    }
    cr_assert_eq(result, 0);
    ear.came = stream;
    ear.coming--;
}

static void went(void *context, int result, struct net_stream *stream)
{
    (void)context;
    ear.result = result;
    ear.went = stream;
    ear.connecting--;
}

static void done(void *context, int result)
{
    (void)context;
    ear.result = result;
    ear.done--;
}

static void closed(void *context, int result)
{
    (void)context;
    (void)result;
    ear.closing--;
}

static struct net_attempt *connect_to(const char *address)
{
    struct net_attempt *attempt;
    ear.connecting = 1;
    cr_assert_eq(net_connect(uring_net(ring), address, NULL, went, NULL, &attempt), 0, "%s",
                 base_last_error());
    cr_assert_eq(ear.connecting, 1, "never inside the call");
    return attempt;
}

static void listen_on(const char *address)
{
    ear = (struct ear){.listening = 1, .coming = 1};
    cr_assert_eq(net_listen(uring_net(ring), address, NULL, came, NULL, &ear.listener), 0, "%s",
                 base_last_error());
}

static void close_stream(struct net_stream *stream)
{
    ear.closing = 1;
    net_close(stream, closed, NULL);
    real_run(&ear.closing);
}

/* Some bytes there, and the end of the listener. */
static void say_and_close(void)
{
    char text[6] = "";
    struct iovec part = {(void *)(uintptr_t) "hello", 5};
    struct iomesh_send send = {.parts = &part, .part_count = 1, .done = done};
    ear.done = 2;
    cr_assert_eq(net_receive(ear.came, text, 5, done, NULL), 0);
    cr_assert_eq(net_send(ear.went, &send), 0);
    real_run(&ear.done);
    cr_expect_str_eq(text, "hello");
    close_stream(ear.went);
    ear.done = 1;
    cr_assert_eq(net_fill(ear.came, 1, done, NULL), 0);
    real_run(&ear.done);
    cr_expect_eq(ear.result, -ECONNRESET);
    close_stream(ear.came);
    net_listener_close(ear.listener);
    real_run(&ear.listening);
}

static void meet(const char *address)
{
    listen_on(address);
    (void)connect_to(net_listener_address(ear.listener));
    real_run(&ear.connecting);
    cr_assert_eq(ear.result, 0);
    real_run(&ear.coming);
    cr_expect_str_neq(net_peer(ear.came), "");
    say_and_close();
}

Test(uring_net, an_address_is_a_host_and_a_port_or_a_path)
{
    meet("127.0.0.1:0");
    char address[128];
    (void)snprintf(address, sizeof address, "unix:%s/socket", place);
    meet(address);
}

Test(uring_net, names_of_hosts_are_looked_up_beside_the_engine)
{
    listen_on("127.0.0.1:0");
    char address[64];
    (void)snprintf(address, sizeof address, "localhost:%s",
                   strchr(net_listener_address(ear.listener), ':') + 1);
    (void)connect_to(address);
    real_run(&ear.connecting);
    cr_assert_eq(ear.result, 0, "%d", ear.result);
    real_run(&ear.coming);
    say_and_close();
}

Test(uring_net, a_host_that_nobody_knows_is_told_later)
{
    (void)connect_to("no-such-host.invalid:1");
    real_run(&ear.connecting);
    cr_expect_lt(ear.result, 0);
    cr_expect_null(ear.went);
}

Test(uring_net, an_address_that_is_none_is_refused_at_once)
{
    struct net_attempt *attempt;
    struct net *net = uring_net(ring);
    cr_expect_eq(net_connect(net, "nothing", NULL, went, NULL, &attempt), -EINVAL);
    cr_expect_eq(net_connect(net, "host:", NULL, went, NULL, &attempt), -EINVAL);
    cr_expect_eq(net_connect(net, "unix:", NULL, went, NULL, &attempt), -EINVAL);
    cr_expect_eq(net_connect(net, "1.2.3.4:99999", NULL, went, NULL, &attempt), -EINVAL);
}

Test(uring_net, nobody_there_is_told_at_once)
{
    (void)connect_to("127.0.0.1:1");
    real_run(&ear.connecting);
    cr_expect_eq(ear.result, -ECONNREFUSED);
}

Test(uring_net, an_attempt_that_was_canceled_ends_soon)
{
    uint64_t begin_ns = clock_now_ns(uring_clock(ring));
    /* An address for documents: nobody answers, or the network says that there is no way. */
    struct net_attempt *attempt = connect_to("192.0.2.1:7");
    net_attempt_cancel(attempt);
    real_run(&ear.connecting);
    cr_expect_eq(ear.result, -ECANCELED);
    attempt = connect_to("no-such-host.invalid:1");
    net_attempt_cancel(attempt);
    real_run(&ear.connecting);
    cr_expect_eq(ear.result, -ECANCELED);
    cr_expect_lt(clock_now_ns(uring_clock(ring)) - begin_ns, 2 * NS_PER_S);
    /* The one that looks the name up still has its memory. */
    ear.connecting = 1;
    (void)connect_to("no-such-host.invalid:2");
    real_run(&ear.connecting);
}
