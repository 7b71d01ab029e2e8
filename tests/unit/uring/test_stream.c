/* SPDX-License-Identifier: Apache-2.0 */
#include <netinet/in.h>
#include <pthread.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "unit/uring/real.h"

TestSuite(uring_stream, .init = real_open, .fini = real_close);

struct end {
    struct iomesh_stream *stream;
    int pending;
    int result;
};

static void end_done(void *context, int result)
{
    struct end *end = context;
    end->result = result;
    end->pending--;
}

static void end_streamed(void *context, int result, struct iomesh_stream *stream)
{
    struct end *end = context;
    if (stream != NULL)
        end->stream = stream;
    end->result = result;
    end->pending--;
}

static struct iomesh_listener *listener;
static struct end server, client;
static int listener_pending;
static char socket_path[80];

static void accepted(void *context, int result, struct iomesh_stream *stream)
{
    if (result == -ECANCELED)
        listener_pending--;
    else
        end_streamed(context, result, stream);
}

static void pair_open(const char *address, const struct iomesh_stream_options *options)
{
    listener = NULL;
    server = (struct end){.pending = 1};
    client = (struct end){.pending = 1};
    cr_assert_eq(uring_listen(ring, address, options, accepted, &server, &listener), 0, "%s",
                 base_last_error());
    listener_pending = 1;
    cr_assert_eq(uring_stream_connect(ring, uring_listener_address(listener), options, end_streamed,
                                      &client),
                 0, "%s", base_last_error());
    real_run(&client.pending);
    real_run(&server.pending);
    cr_assert(client.stream != NULL && server.stream != NULL);
}

static void pair_open_unix(void)
{
    char address[96];
    (void)snprintf(socket_path, sizeof socket_path, "%s/socket", place);
    (void)snprintf(address, sizeof address, "unix:%s", socket_path);
    pair_open(address, NULL);
}

static void end_close(struct end *end)
{
    end->pending = 1;
    uring_stream_close(end->stream, end_done, end);
    real_run(&end->pending);
    end->stream = NULL;
}

static void pair_close(void)
{
    end_close(&client);
    end_close(&server);
    uring_listener_close(listener);
    real_run(&listener_pending);
}

static void send_now(struct end *end, const void *data, size_t length)
{
    struct iovec part = {(void *)(uintptr_t)data, length};
    struct iomesh_send send = {.parts = &part, .part_count = 1, .done = end_done, .context = end};
    end->pending = 1;
    cr_assert_eq(uring_stream_send(end->stream, &send), 0);
    real_run(&end->pending);
    cr_assert_eq(end->result, 0);
}

Test(uring_stream, small_messages_arrive_together_and_are_taken_one_by_one)
{
    pair_open_unix();
    struct stat what;
    cr_expect_eq(stat(socket_path, &what), 0);
    cr_expect_eq(what.st_mode & 0777, 0600);
    send_now(&client, "first.second.third.", 19);
    server.pending = 1;
    cr_assert_eq(uring_stream_fill(server.stream, 6, end_done, &server), 0);
    cr_expect_eq(server.pending, 1, "never inside the call");
    cr_expect_eq(uring_stream_fill(server.stream, 6, end_done, &server), -EBUSY);
    real_run(&server.pending);
    const void *data = NULL;
    cr_assert_eq(uring_stream_peek(server.stream, &data), 19);
    cr_expect_eq(memcmp(data, "first.", 6), 0);
    uring_stream_consume(server.stream, 6);
    char taken[14] = "";
    server.pending = 1;
    cr_assert_eq(uring_stream_receive(server.stream, taken, 13, end_done, &server), 0);
    cr_expect_eq(server.pending, 1, "never inside the call, even if it is all there");
    real_run(&server.pending);
    cr_expect_str_eq(taken, "second.third.");
    cr_expect_eq(uring_stream_peek(server.stream, &data), 0);
    pair_close();
    cr_expect_neq(stat(socket_path, &what), 0, "the socket's file stays behind");
}

Test(uring_stream, megabytes_go_both_ways_over_tcp_in_order)
{
    enum { LENGTH = 5 << 20 };
    pair_open("tcp:127.0.0.1:0",
              &(struct iomesh_stream_options){.size = sizeof(struct iomesh_stream_options),
                                              .buffer_bytes = 4096});
    cr_expect(strncmp(uring_stream_peer(server.stream), "tcp:127.0.0.1:", 14) == 0);
    uint8_t *out = malloc(LENGTH);
    uint8_t *in = malloc(LENGTH);
    for (size_t i = 0; i < LENGTH; i++)
        out[i] = (uint8_t)(i * 2654435761u >> 13);
    /* Many pieces, odd lengths, an empty one: more than one call can carry. */
    struct iovec parts[300];
    size_t at = 0;
    for (unsigned i = 0; i < 300; i++) {
        size_t length = i == 299 ? LENGTH - at : i == 7 ? 0 : 1 + i * 37 % 20000;
        parts[i] = (struct iovec){out + at, length};
        at += length;
    }
    struct end sent = {.pending = 2};
    struct iomesh_send first = {
        .parts = parts, .part_count = 150, .done = end_done, .context = &sent};
    struct iomesh_send second = {
        .parts = parts + 150, .part_count = 150, .done = end_done, .context = &sent};
    cr_assert_eq(uring_stream_send(client.stream, &first), 0);
    cr_assert_eq(uring_stream_send(client.stream, &second), 0);
    size_t got = 0;
    for (unsigned round = 0; got < LENGTH; round++) {
        uint32_t length = (uint32_t)MIN(LENGTH - got, 1 + round * 7919 % 300000);
        server.pending = 1;
        if (round % 3 == 0 && length <= 4096) {
            const void *data;
            cr_assert_eq(uring_stream_fill(server.stream, length, end_done, &server), 0);
            real_run(&server.pending);
            cr_assert_geq(uring_stream_peek(server.stream, &data), length);
            memcpy(in + got, data, length);
            uring_stream_consume(server.stream, length);
        } else {
            cr_assert_eq(uring_stream_receive(server.stream, in + got, length, end_done, &server),
                         0);
            real_run(&server.pending);
            cr_assert_eq(server.result, 0);
        }
        got += length;
    }
    real_run(&sent.pending);
    cr_expect_eq(sent.result, 0);
    cr_expect_eq(memcmp(in, out, LENGTH), 0);
    free(in);
    free(out);
    pair_close();
}

Test(uring_stream, an_end_that_goes_is_told_after_what_it_sent)
{
    pair_open_unix();
    send_now(&client, "bye", 3);
    end_close(&client);
    server.pending = 1;
    cr_assert_eq(uring_stream_fill(server.stream, 10, end_done, &server), 0);
    real_run(&server.pending);
    cr_expect_eq(server.result, -ECONNRESET);
    const void *data = NULL;
    cr_assert_eq(uring_stream_peek(server.stream, &data), 3);
    cr_expect_eq(memcmp(data, "bye", 3), 0);
    /* Sending into nothing fails, and so does every later send. */
    struct iovec part = {(void *)(uintptr_t) "x", 1};
    for (unsigned i = 0; i < 2; i++) {
        struct iomesh_send send = {
            .parts = &part, .part_count = 1, .done = end_done, .context = &server};
        server.pending = 1;
        cr_assert_eq(uring_stream_send(server.stream, &send), 0);
        real_run(&server.pending);
        cr_expect_eq(server.result, -EPIPE);
    }
    end_close(&server);
    uring_listener_close(listener);
    real_run(&listener_pending);
}

Test(uring_stream, closing_ends_a_receive_and_a_stuck_send_before_it_says_closed)
{
    enum { LENGTH = 8 << 20 };
    pair_open_unix();
    char byte;
    struct end receive = {.pending = 1}, send_end = {.pending = 1};
    cr_assert_eq(uring_stream_receive(server.stream, &byte, 1, end_done, &receive), 0);
    uint8_t *much = calloc(1, LENGTH);
    struct iovec part = {much, LENGTH};
    struct iomesh_send send = {
        .parts = &part, .part_count = 1, .done = end_done, .context = &send_end};
    cr_assert_eq(uring_stream_send(server.stream, &send), 0);
    for (unsigned i = 0; i < 20; i++) {
        (void)uring_collect(ring);
        (void)uring_submit(ring);
    }
    cr_assert_eq(send_end.pending, 1);
    server.pending = 1;
    uring_stream_close(server.stream, end_done, &server);
    cr_expect_eq(uring_stream_fill(server.stream, 1, end_done, &server), -EBUSY);
    real_run(&server.pending);
    cr_expect(receive.pending == 0 && receive.result == -ECANCELED);
    cr_expect(send_end.pending == 0 && send_end.result == -ECANCELED);
    free(much);
    end_close(&client);
    uring_listener_close(listener);
    real_run(&listener_pending);
}

Test(uring_stream, a_listener_takes_no_more_streams_than_it_may_until_one_goes)
{
    struct iomesh_stream_options one = {.size = sizeof one, .streams_max = 1};
    pair_open("tcp:127.0.0.1:0", &one);
    struct end second = {.pending = 1};
    struct end first = server;
    server.pending = 1;
    cr_assert_eq(
        uring_stream_connect(ring, uring_listener_address(listener), &one, end_streamed, &second),
        0);
    real_run(&second.pending);
    for (unsigned i = 0; i < 50; i++) {
        (void)uring_collect(ring);
        (void)uring_wait(ring, clock_now_ns(uring_clock(ring)) + NS_PER_MS);
    }
    cr_expect_eq(server.pending, 1, "a second stream was accepted");
    end_close(&first);
    real_run(&server.pending);
    cr_expect(server.stream != NULL && server.result == 0);
    end_close(&second);
    pair_close();
}

Test(uring_stream, a_stale_socket_file_is_replaced_and_a_served_one_is_not)
{
    pair_open_unix();
    struct iomesh_listener *other = NULL;
    cr_expect_eq(
        uring_listen(ring, uring_listener_address(listener), NULL, accepted, &server, &other),
        -EADDRINUSE);
    pair_close();
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    struct sockaddr_un name = {.sun_family = AF_UNIX};
    (void)snprintf(name.sun_path, sizeof name.sun_path, "%s", socket_path);
    cr_assert_eq(bind(fd, (struct sockaddr *)&name, sizeof name), 0);
    close(fd);
    pair_open_unix();
    pair_close();
}

static void *close_soon(void *fd)
{
    const struct timespec pause = {.tv_nsec = 100000000};
    nanosleep(&pause, NULL);
    close(*(int *)fd);
    return NULL;
}

/* As of a server that was killed, and of which the kernel holds the socket a while longer. */
Test(uring_stream, an_address_that_is_given_up_soon_is_waited_for, .timeout = 60)
{
    struct sockaddr_in name = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof name;
    int before = socket(AF_INET, SOCK_STREAM, 0);
    cr_assert_eq(bind(before, (struct sockaddr *)&name, length), 0);
    cr_assert_eq(listen(before, 1), 0);
    cr_assert_eq(getsockname(before, (struct sockaddr *)&name, &length), 0);
    char address[64];
    (void)snprintf(address, sizeof address, "tcp:127.0.0.1:%u", ntohs(name.sin_port));
    struct iomesh_stream_options options = IOMESH_STREAM_OPTIONS_INIT;
    cr_expect_eq(uring_listen(ring, address, &options, accepted, &server, &listener), -EADDRINUSE);
    options.in_use_ms = 60001;
    cr_expect_eq(uring_listen(ring, address, &options, accepted, &server, &listener), -EINVAL);
    options.in_use_ms = 50;
    cr_expect_eq(uring_listen(ring, address, &options, accepted, &server, &listener), -EADDRINUSE);
    pthread_t thread;
    cr_assert_eq(pthread_create(&thread, NULL, close_soon, &before), 0);
    options.in_use_ms = 50000;
    cr_assert_eq(uring_listen(ring, address, &options, accepted, &server, &listener), 0, "%s",
                 base_last_error());
    pthread_join(thread, NULL);
    listener_pending = 1;
    uring_listener_close(listener);
    real_run(&listener_pending);
}

/* Its backlog is full, so asking whether it lives would wait for ever. */
Test(uring_stream, a_socket_whose_server_stands_still_is_refused_at_once, .timeout = 10)
{
    char directory[] = "/tmp/iomesh-stream-XXXXXX";
    struct sockaddr_un name = {.sun_family = AF_UNIX};
    char address[120];
    cr_assert_not_null(mkdtemp(directory));
    (void)snprintf(name.sun_path, sizeof name.sun_path, "%s/s", directory);
    (void)snprintf(address, sizeof address, "unix:%s", name.sun_path);
    int server_fd = socket(AF_UNIX, SOCK_STREAM, 0);
    cr_assert_eq(bind(server_fd, (struct sockaddr *)&name, sizeof name), 0);
    cr_assert_eq(listen(server_fd, 0), 0);
    int waiting[8];
    for (unsigned i = 0; i < COUNT_OF(waiting); i++) {
        waiting[i] = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);
        (void)connect(waiting[i], (struct sockaddr *)&name, sizeof name);
    }
    cr_expect_eq(uring_listen(ring, address, NULL, accepted, &server, &listener), -EADDRINUSE, "%s",
                 base_last_error());
    for (unsigned i = 0; i < COUNT_OF(waiting); i++)
        close(waiting[i]);
    close(server_fd);
    cr_expect_eq(unlink(name.sun_path), 0);
    cr_expect_eq(rmdir(directory), 0);
}

Test(uring_stream, addresses_that_make_no_sense_are_refused_with_a_sentence)
{
    const char *wrong[] = {"",          "nbd:1",      "unix:",      "tcp:",  "tcp:host",
                           "tcp:1:2:3", "tcp:[::1]:", "fd:x",       "fd:-1", "fd:0x",
                           "fd:99999",  "tcp:::1:80", "tcp:h:http:"};
    for (unsigned i = 0; i < COUNT_OF(wrong); i++) {
        struct iomesh_listener *none = NULL;
        base_clear_error();
        cr_expect_lt(uring_listen(ring, wrong[i], NULL, accepted, &server, &none), 0, "%s",
                     wrong[i]);
        cr_expect(base_last_error()[0] != '\0', "%s: no sentence", wrong[i]);
        cr_expect_null(none);
    }
    struct end end = {.pending = 1};
    cr_assert_eq(uring_stream_connect(ring, "tcp:127.0.0.1:1", NULL, end_streamed, &end), 0);
    real_run(&end.pending);
    cr_expect_eq(end.result, -ECONNREFUSED);
    cr_expect_null(end.stream);
}
