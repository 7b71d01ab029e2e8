/* SPDX-License-Identifier: Apache-2.0 */
/* Two ends on a ring of the real world, with certificates that fit, and others that do not. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/prng.h"
#include "tls/tls.h"
#include "uring/uring.h"

static struct uring *ring;
static struct net *server, *client;
static struct net_listener *listener;
static struct net_stream *ends[2];
static char directory[64] = "/tmp/iomesh-tls-XXXXXX", noticed[512];
static int connected_with, closed_count;
static bool told, listener_ended;

static void shell(const char *line)
{
    char command[4096];
    (void)snprintf(command, sizeof command, "cd %s && { %s; } >>log 2>&1", directory, line);
    cr_assert_eq(system(command), 0, "%s", line); /* NOLINT(cert-env33-c): a test's own words. */
}

/* DIRECTORY/NAME with the three files: signed by `authority`, with the words of openssl x509. */
static void certificates(const char *name, const char *authority, const char *words)
{
    char line[2048];
    (void)snprintf(
        line, sizeof line,
        "mkdir -p %s && "
        "{ [ -e %s.key ] || openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes "
        "-days 9 -subj /CN=%s -keyout %s.key -out %s.pem; } && "
        "openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=%s "
        "-keyout %s/server-key.pem -out %s/csr && "
        "openssl x509 -req -in %s/csr -CA %s.pem -CAkey %s.key -CAcreateserial "
        "-out %s/server-cert.pem %s && cp ca.pem %s/ca-cert.pem",
        name, authority, authority, authority, authority, name, name, name, name, authority,
        authority, name, words, name);
    shell(line);
}

/* The same, but it was good for a day in 2020. */
static void expired(const char *name)
{
    char line[1024];
    certificates(name, "ca", "-days 2");
    shell("touch index && printf '[ca]\\ndefault_ca=d\\n[d]\\nnew_certs_dir=.\\ndatabase=index\\n"
          "rand_serial=yes\\ndefault_md=sha256\\npolicy=p\\n[p]\\ncommonName=supplied\\n' >ca.cnf");
    (void)snprintf(line, sizeof line,
                   "openssl ca -batch -config ca.cnf -cert ca.pem -keyfile ca.key -notext "
                   "-startdate 20200101000000Z -enddate 20200102000000Z -in %s/csr "
                   "-out %s/server-cert.pem",
                   name, name);
    shell(line);
}

static void begin(void)
{
    struct uring_options options = {.entries = 64, .buffer_bytes = 8u << 20};
    cr_assert_eq(uring_open(&options, &ring), 0, "%s", base_last_error());
    cr_assert_not_null(mkdtemp(directory));
    certificates("good", "ca", "-days 2");
}

static void turn(void)
{
    uint64_t end_ns = clock_now_ns(uring_clock(ring)) + 10 * NS_PER_MS;
    if (uring_collect(ring) + clock_run(uring_clock(ring)) == 0)
        (void)uring_wait(ring, MIN(end_ns, clock_deadline_ns(uring_clock(ring))));
    else
        (void)uring_submit(ring);
}

#define UNTIL(condition)                                                         \
    do {                                                                         \
        uint64_t until_end_ns = clock_now_ns(uring_clock(ring)) + 20 * NS_PER_S; \
        while (!(condition)) {                                                   \
            turn();                                                              \
            cr_assert_lt(clock_now_ns(uring_clock(ring)), until_end_ns);         \
        }                                                                        \
    } while (0)

static void notice(void *context, const char *sentence)
{
    (void)context;
    (void)snprintf(noticed, sizeof noticed, "%s", sentence);
}

static struct net *net_with(const char *name)
{
    char path[128];
    struct net *net;
    (void)snprintf(path, sizeof path, "%s/%s", directory, name);
    struct tls_options options = {.below = uring_net(ring),
                                  .clock = uring_clock(ring),
                                  .directory = path,
                                  .handshake_ns = 300 * NS_PER_MS,
                                  .notice = notice};
    cr_assert_eq(tls_net_open(&options, &net), 0, "%s", base_last_error());
    return net;
}

static void came(void *context, int result, struct net_stream *stream)
{
    (void)context;
    if (result == -ECANCELED)
        listener_ended = true;
    else
        ends[1] = stream;
}

static void went(void *context, int result, struct net_stream *stream)
{
    (void)context;
    ends[0] = stream;
    connected_with = result;
    told = true;
}

static void listen_at(const char *address)
{
    cr_assert_eq(net_listen(server, address, NULL, came, NULL, &listener), 0, "%s",
                 base_last_error());
}

static struct net_attempt *go(struct net *from)
{
    struct net_attempt *attempt;
    told = false;
    cr_assert_eq(net_connect(from, net_listener_address(listener), NULL, went, NULL, &attempt), 0);
    return attempt;
}

static void meet(const char *mine, const char *theirs)
{
    server = net_with(theirs);
    client = net_with(mine);
    listen_at("127.0.0.1:0");
    (void)go(client);
    UNTIL(told);
}

static void is_closed(void *context, int result)
{
    (void)context;
    (void)result;
    closed_count++;
}

static void part(void)
{
    int open = 0;
    closed_count = 0;
    for (unsigned i = 0; i < 2; i++) {
        if (ends[i] != NULL) {
            net_close(ends[i], is_closed, NULL);
            open++;
        }
    }
    UNTIL(closed_count == open);
    ends[0] = ends[1] = NULL;
    net_listener_close(listener);
    UNTIL(listener_ended);
    listener_ended = false;
    UNTIL(uring_open_count(ring) == 0);
}

static void end(void)
{
    char command[128];
    tls_net_close(server);
    tls_net_close(client);
    uring_close(ring);
    (void)snprintf(command, sizeof command, "rm -rf %s", directory);
    cr_expect_eq(system(command), 0); /* NOLINT(cert-env33-c) */
}

TestSuite(tls, .init = begin, .fini = end, .timeout = 60);

/* --- Data ----------------------------------------------------------------------------------- */

#define PIECES 60u
#define PIECE_MAX 200000u

static uint8_t *sent, *got;
static uint32_t sent_bytes, got_bytes, sends_ended;
static struct iomesh_send sends[PIECES];
static struct iovec parts[PIECES][3];
static struct prng prng = {.state = 5};

static void send_ended(void *context, int result)
{
    cr_expect_eq(result, 0);
    cr_expect_eq(context, &sends[sends_ended], "out of order");
    sends_ended++;
}

static void send_pieces(struct net_stream *stream)
{
    sent_bytes = sends_ended = 0;
    for (unsigned i = 0; i < PIECES; i++) {
        for (unsigned p = 0; p < 3; p++) {
            uint32_t bytes = 1 + (uint32_t)prng_below(&prng, p == 2 ? PIECE_MAX : 300);
            parts[i][p] = (struct iovec){sent + sent_bytes, bytes};
            sent_bytes += bytes;
        }
        sends[i] = (struct iomesh_send){
            .parts = parts[i], .part_count = 3, .done = send_ended, .context = &sends[i]};
        cr_assert_eq(net_send(stream, &sends[i]), 0);
    }
}

static bool reading;

static void read_came(void *context, int result)
{
    (void)context;
    cr_expect_eq(result, 0);
    reading = false;
}

/* Now into the buffer, now where it shall be. */
static void read_all(struct net_stream *stream)
{
    const void *held;
    got_bytes = 0;
    while (got_bytes < sent_bytes) {
        uint32_t bytes = 1 + (uint32_t)prng_below(&prng, 60000);
        bytes = MIN(bytes, sent_bytes - got_bytes);
        bool direct = prng_below(&prng, 2) == 0;
        reading = true;
        int result = direct ? net_receive(stream, got + got_bytes, bytes, read_came, NULL)
                            : net_fill(stream, bytes, read_came, NULL);
        cr_assert_eq(result, 0);
        cr_assert(reading, "told inside the call");
        UNTIL(!reading);
        if (!direct) {
            cr_assert_geq(net_peek(stream, &held), bytes);
            memcpy(got + got_bytes, held, bytes);
            net_consume(stream, bytes);
        }
        got_bytes += bytes;
    }
}

Test(tls, all_that_is_sent_arrives_in_order_both_ways)
{
    sent = malloc((size_t)PIECES * (PIECE_MAX + 700));
    got = malloc((size_t)PIECES * (PIECE_MAX + 700));
    for (size_t i = 0; i < (size_t)PIECES * (PIECE_MAX + 700); i++)
        sent[i] = (uint8_t)prng_next(&prng);
    meet("good", "good");
    cr_assert_eq(connected_with, 0, "%s", base_last_error());
    UNTIL(ends[1] != NULL);
    for (unsigned way = 0; way < 2; way++) {
        send_pieces(ends[way]);
        read_all(ends[1 - way]);
        UNTIL(sends_ended == PIECES);
        cr_expect(memcmp(sent, got, sent_bytes) == 0);
    }
    part();
    free(sent);
    free(got);
}

static int ended_with;
static bool ended;

static void it_ended(void *context, int result)
{
    (void)context;
    ended_with = result;
    ended = true;
}

Test(tls, an_end_that_closes_is_heard_of_and_what_it_said_before_as_well)
{
    meet("good", "good");
    UNTIL(ends[1] != NULL);
    struct iovec word = {(void *)"word", 4};
    struct iomesh_send one = {.parts = &word, .part_count = 1, .done = it_ended};
    cr_assert_eq(net_send(ends[0], &one), 0);
    UNTIL(ended);
    ended = false;
    net_close(ends[0], is_closed, NULL);
    UNTIL(closed_count == 1);
    ends[0] = NULL;
    cr_assert_eq(net_fill(ends[1], 5, it_ended, NULL), 0);
    UNTIL(ended);
    cr_expect_eq(ended_with, -ECONNRESET);
    const void *held;
    cr_assert_eq(net_peek(ends[1], &held), 4);
    cr_expect_eq(memcmp(held, "word", 4), 0);
    part();
}

static int fill_ended_with;

static void fill_ended(void *context, int result)
{
    (void)context;
    fill_ended_with = result;
}

Test(tls, closing_ends_what_is_under_way)
{
    meet("good", "good");
    UNTIL(ends[1] != NULL);
    static uint8_t much[4 << 20];
    struct iovec word = {much, sizeof much};
    struct iomesh_send one = {.parts = &word, .part_count = 1, .done = it_ended};
    ended = false;
    cr_assert_eq(net_send(ends[0], &one), 0); /* Nobody reads it. */
    cr_assert_eq(net_fill(ends[0], 1, fill_ended, NULL), 0);
    for (unsigned i = 0; i < 20; i++)
        turn();
    cr_assert(!ended);
    net_close(ends[0], is_closed, NULL);
    ends[0] = NULL;
    UNTIL(closed_count == 1);
    cr_expect(ended && ended_with == -ECANCELED);
    cr_expect_eq(fill_ended_with, -ECANCELED);
    part();
}

/* --- Whom it does not let in ----------------------------------------------------------------- */

static void is_refused(const char *why)
{
    /* With TLS 1.3 who connects may be done before the other end has looked. */
    if (connected_with == 0) {
        ended = false;
        /* It may be told so, and then it ends. */
        cr_assert_eq(net_fill(ends[0], 4096, it_ended, NULL), 0);
        UNTIL(ended);
        cr_expect_neq(ended_with, 0);
        if (client != NULL && why != NULL) {
            cr_expect_eq(ended_with, -EKEYREJECTED);
            cr_expect_not_null(strstr(base_last_error(), "our certificate is refused: "), "%s",
                               base_last_error());
        }
    }
    UNTIL(noticed[0] != '\0' || connected_with != 0);
    for (unsigned i = 0; i < 10; i++)
        turn();
    cr_expect_null(ends[1]);
    if (why != NULL)
        cr_expect_not_null(strstr(noticed, why), "%s", noticed);
    part();
}

Test(tls, a_client_of_another_authority_is_refused)
{
    certificates("foreign", "other", "-days 2");
    meet("foreign", "good");
    is_refused("certificate");
}

Test(tls, a_server_of_another_authority_is_refused)
{
    certificates("foreign", "other", "-days 2");
    meet("good", "foreign");
    cr_expect_eq(connected_with, -EPROTO);
    cr_expect_not_null(strstr(base_last_error(), "certificate"), "%s", base_last_error());
    is_refused(NULL);
}

Test(tls, a_certificate_that_has_expired_is_refused)
{
    expired("old");
    meet("old", "good");
    is_refused("expired");
}

Test(tls, a_server_whose_certificate_has_expired_is_refused)
{
    expired("old");
    meet("good", "old");
    cr_expect_eq(connected_with, -EPROTO);
    cr_expect_not_null(strstr(base_last_error(), "expired"), "%s", base_last_error());
    is_refused(NULL);
}

Test(tls, a_certificate_for_clients_alone_is_refused)
{
    shell("echo extendedKeyUsage=clientAuth >words");
    certificates("user", "ca", "-days 2 -extfile words");
    meet("user", "good");
    is_refused("purpose");
}

Test(tls, who_speaks_no_tls_is_refused)
{
    server = net_with("good");
    listen_at("127.0.0.1:0");
    (void)go(uring_net(ring));
    UNTIL(told);
    cr_assert_eq(connected_with, 0);
    static struct iovec word = {(void *)"IMP1 what is this? It is not what was expected.", 40};
    struct iomesh_send one = {.parts = &word, .part_count = 1, .done = it_ended};
    cr_assert_eq(net_send(ends[0], &one), 0);
    UNTIL(ended);
    is_refused("TLS");
}

Test(tls, who_says_nothing_is_waited_for_only_so_long)
{
    server = net_with("good");
    listen_at("127.0.0.1:0");
    (void)go(uring_net(ring));
    UNTIL(told && noticed[0] != '\0');
    is_refused("too long");
}

Test(tls, a_server_that_speaks_no_tls_is_refused)
{
    server = uring_net(ring);
    client = net_with("good");
    listen_at("127.0.0.1:0");
    (void)go(client);
    UNTIL(told);
    server = NULL;
    cr_expect_eq(connected_with, -ETIMEDOUT);
    cr_expect_not_null(strstr(base_last_error(), "too long"), "%s", base_last_error());
    part();
}

Test(tls, an_attempt_can_be_canceled_at_any_time)
{
    server = uring_net(ring);
    client = net_with("good");
    listen_at("127.0.0.1:0");
    for (unsigned turns = 0; turns < 6; turns++) {
        struct net_attempt *attempt = go(client);
        for (unsigned i = 0; i < turns; i++)
            turn();
        if (!told)
            net_attempt_cancel(attempt);
        UNTIL(told);
        cr_expect_eq(connected_with, -ECANCELED);
        UNTIL(ends[1] != NULL || turns == 0);
        if (ends[1] != NULL) {
            closed_count = 0;
            net_close(ends[1], is_closed, NULL);
            UNTIL(closed_count == 1);
        }
        ends[1] = NULL;
    }
    part();
    server = NULL;
}

Test(tls, a_listener_that_closes_lets_go_of_those_whom_it_greets)
{
    server = net_with("good");
    listen_at("127.0.0.1:0");
    (void)go(uring_net(ring));
    UNTIL(told);
    for (unsigned i = 0; i < 5; i++)
        turn();
    part();
    cr_expect_null(ends[1]);
}

/* --- Files ----------------------------------------------------------------------------------- */

Test(tls, over_a_unix_socket_nothing_is_sealed)
{
    char where[128];
    server = net_with("good");
    (void)snprintf(where, sizeof where, "unix:%s/socket", directory);
    listen_at(where);
    (void)go(uring_net(ring));
    UNTIL(told && ends[1] != NULL);
    cr_expect_eq(connected_with, 0);
    part();
}

Test(tls, certificates_are_read_again_when_asked_and_stay_if_they_cannot_be)
{
    meet("good", "good");
    UNTIL(ends[1] != NULL);
    shell("mv good/server-key.pem good/key");
    cr_expect_eq(tls_net_reload(server), -EINVAL);
    cr_expect_not_null(strstr(base_last_error(), "server-key.pem"), "%s", base_last_error());
    part();
    listen_at("127.0.0.1:0");
    (void)go(client);
    UNTIL(told && ends[1] != NULL);
    part();
    shell("mv good/key good/server-key.pem && rm other.* -f");
    certificates("foreign", "other", "-days 2");
    shell("cp foreign/server-*.pem good/");
    cr_expect_eq(tls_net_reload(server), 0);
    listen_at("127.0.0.1:0");
    (void)go(client);
    UNTIL(told);
    cr_expect_eq(connected_with, -EPROTO);
    part();
}

Test(tls, files_that_are_not_there_or_make_no_sense_are_named)
{
    static const char *const files[] = {"ca-cert.pem", "server-cert.pem", "server-key.pem"};
    char path[128], line[256];
    struct net *net;
    (void)snprintf(path, sizeof path, "%s/bad", directory);
    struct tls_options options = {
        .below = uring_net(ring), .clock = uring_clock(ring), .directory = path};
    for (unsigned i = 0; i < COUNT_OF(files); i++) {
        (void)snprintf(line, sizeof line, "rm -rf bad; cp -r good bad; rm bad/%s", files[i]);
        shell(line);
        cr_expect_eq(tls_net_open(&options, &net), -EINVAL);
        cr_expect_not_null(strstr(base_last_error(), files[i]), "%s", base_last_error());
        (void)snprintf(line, sizeof line, "echo nonsense >bad/%s", files[i]);
        shell(line);
        cr_expect_eq(tls_net_open(&options, &net), -EINVAL);
        cr_expect_not_null(strstr(base_last_error(), files[i]), "%s", base_last_error());
    }
}
