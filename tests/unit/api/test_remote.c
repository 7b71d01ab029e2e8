/* SPDX-License-Identifier: Apache-2.0 */
/* Handles on volumes of another process: here owner and client are one, on one engine. */
#include <sys/socket.h>
#include <sys/un.h>

#include <iomesh/sys/control.h>

#include "api/control.h"
#include "api/control_client.h"
#include "unit/api/pool.h"

static struct iomesh_control *control;

static void setup(void)
{
    pool_setup();
    volume_make("v", 16 * MIB, 512);
    OK(iomesh_control_open(engine, url, &control));
}

static void teardown(void)
{
    iomesh_control_close(control);
    pool_teardown();
}

TestSuite(api_remote, .init = setup, .fini = teardown, .timeout = 30);

static struct iomesh_volume *remote_start(const char *name)
{
    struct iomesh_volume *volume = NULL;
    OK(iomesh_control_volume_open(control, name, NULL, &volume));
    return volume;
}

static uint8_t *pattern(size_t length, unsigned seed)
{
    uint8_t *bytes = malloc(length);
    for (size_t i = 0; i < length; i++)
        bytes[i] = (uint8_t)(i * 7 + i / 4096 + seed);
    return bytes;
}

Test(api_remote, what_is_written_there_is_read_here_and_the_other_way)
{
    size_t length = 5 * MIB + 512;
    uint8_t *sent = pattern(length, 1);
    uint8_t *got = malloc(length);
    struct iomesh_volume *there = remote_start("v");
    struct iomesh_volume *here = volume_start("v");
    cr_expect_eq(iomesh_volume_bytes(there), 16 * MIB);
    cr_expect_eq(iomesh_volume_sector_bytes(there), 512);
    cr_expect_str_eq(iomesh_volume_name(there), "v");
    cr_expect_eq(iomesh_volume_is_read_only(there), 0);
    OK(iomesh_write_sync(there, 512, (uint32_t)length, sent, IOMESH_FUA));
    OK(iomesh_flush_sync(there));
    OK(iomesh_read_sync(here, 512, (uint32_t)length, got));
    cr_expect_arr_eq(got, sent, length);
    memset(got, 0, length);
    OK(iomesh_read_sync(there, 512, (uint32_t)length, got));
    cr_expect_arr_eq(got, sent, length);

    OK(iomesh_discard_sync(there, MIB, MIB, 0));
    OK(iomesh_write_zeroes_sync(there, 3 * MIB, MIB, IOMESH_NO_HOLE));
    struct iomesh_extent extents[16];
    struct iomesh_extent local[16];
    int count = iomesh_block_status_sync(there, 0, 16 * MIB, extents, 16);
    cr_assert_eq(count, iomesh_block_status_sync(here, 0, 16 * MIB, local, 16));
    cr_assert_gt(count, 3);
    cr_expect_arr_eq(extents, local, (size_t)count * sizeof *extents);
    cr_expect_eq(iomesh_block_status_sync(there, 0, 16 * MIB, extents, 1), 1);

    struct iomesh_volume_stats stats = {.size = sizeof stats};
    OK(iomesh_volume_stats(there, &stats));
    cr_expect_eq(stats.writes, 1);
    cr_expect_eq(stats.written_bytes, length);
    cr_expect_eq(stats.in_flight, 0);
    OK(iomesh_volume_close_sync(there));
    OK(iomesh_volume_close_sync(here));
    free(sent);
    free(got);
}

Test(api_remote, what_is_refused_here_is_refused_there_with_the_same_sentence)
{
    struct iomesh_volume *volume = NULL;
    uint8_t block[4096] = {0};
    REFUSED(iomesh_control_volume_open(control, "nobody", NULL, &volume), -ENOENT);
    REFUSED(iomesh_control_volume_open(control, "a/b", NULL, &volume), -EINVAL);
    struct iomesh_volume_options options = IOMESH_VOLUME_OPTIONS_INIT;
    options.flags = IOMESH_VOLUME_READ_ONLY;
    OK(iomesh_control_volume_open(control, "v", &options, &volume));
    cr_expect_eq(iomesh_volume_is_read_only(volume), 1);
    REFUSED(iomesh_write_sync(volume, 0, 4096, block, 0), -EROFS);
    REFUSED(iomesh_read_sync(volume, 100, 4096, block), -EINVAL);
    REFUSED(iomesh_read_sync(volume, 16 * MIB, 4096, block), -EINVAL);
    REFUSED(iomesh_import_end_sync(volume), -EINVAL);
    OK(iomesh_read_sync(volume, 0, 4096, block));
    REFUSED(iomesh_control_volume_delete(control, "v"), -EBUSY);
    OK(iomesh_volume_close_sync(volume));
    options.flags = 0x100;
    REFUSED(iomesh_control_volume_open(control, "v", &options, &volume), -EINVAL);
}

Test(api_remote, a_connection_has_so_many_volumes_and_no_more)
{
    struct iomesh_volume *volumes[IOMESH_CONTROL_VOLUMES_MAX];
    struct iomesh_volume *more = NULL;
    for (unsigned i = 0; i < IOMESH_CONTROL_VOLUMES_MAX; i++)
        volumes[i] = remote_start("v");
    REFUSED(iomesh_control_volume_open(control, "v", NULL, &more), -EMFILE);
    OK(iomesh_volume_close_sync(volumes[3]));
    volumes[3] = remote_start("v");
    for (unsigned i = 0; i < IOMESH_CONTROL_VOLUMES_MAX; i++)
        OK(iomesh_volume_close_sync(volumes[i]));
}

struct many {
    unsigned left, failed;
};

static void many_done(void *context, int result)
{
    struct many *many = context;
    many->left--;
    many->failed += result != 0;
}

Test(api_remote, many_requests_at_once_each_find_their_own_answer)
{
    enum { COUNT = 64, BYTES = 192 << 10 };
    struct iomesh_volume *there = remote_start("v");
    uint8_t *sent = pattern((size_t)COUNT * BYTES, 3);
    uint8_t *got = calloc(COUNT, BYTES);
    struct many many = {.left = COUNT};
    for (unsigned i = 0; i < COUNT; i++)
        OK(iomesh_write(there, (uint64_t)i * BYTES, BYTES, sent + (size_t)i * BYTES, 0, many_done,
                        &many));
    cr_expect_eq(iomesh_flush(there, many_done, &many), -EAGAIN, "more than its limit");
    REFUSED(iomesh_volume_close(there, many_done, &many), -EBUSY);
    while (many.left > 0)
        cr_assert_geq(iomesh_wait(engine, IOMESH_NEVER), 0);
    many.left = COUNT;
    for (unsigned i = COUNT; i-- > 0;)
        OK(iomesh_read(there, (uint64_t)i * BYTES, BYTES, got + (size_t)i * BYTES, many_done,
                       &many));
    while (many.left > 0)
        cr_assert_geq(iomesh_wait(engine, IOMESH_NEVER), 0);
    cr_expect_eq(many.failed, 0);
    cr_expect_arr_eq(got, sent, (size_t)COUNT * BYTES);
    OK(iomesh_volume_close_sync(there));
    free(sent);
    free(got);
}

Test(api_remote, a_connection_that_ends_closes_its_volumes)
{
    struct iomesh_volume *there = remote_start("v");
    uint8_t block[4096] = {0};
    iomesh_control_close(control);
    control = NULL;
    cr_expect_eq(iomesh_write_sync(there, 0, 4096, block, 0), -ENOTCONN);
    OK(iomesh_volume_close_sync(there));
    /* The owner hears of it a little later. */
    int result = -EBUSY;
    for (unsigned i = 0; i < 1000 && result == -EBUSY; i++) {
        (void)iomesh_wait(engine, 1000000);
        result = iomesh_volume_delete_sync(pool, "v");
    }
    cr_expect_eq(result, 0);
}

Test(api_remote, a_pool_closes_over_the_volumes_and_requests_of_others)
{
    struct iomesh_volume *there = remote_start("v");
    uint8_t *sent = pattern(8 * MIB, 9);
    struct many many = {.left = 2};
    OK(iomesh_write(there, 0, 8 * MIB, sent, 0, many_done, &many));
    OK(iomesh_read(there, 8 * MIB, 8 * MIB, sent, many_done, &many));
    pool_stop();
    while (many.left > 0)
        cr_assert_geq(iomesh_wait(engine, IOMESH_NEVER), 0);
    cr_expect_eq(many.failed, 2);
    OK(iomesh_volume_close_sync(there));
    free(sent);
    check_clean();
}

/* --- A client that speaks by itself ---------------------------------------------------------- */

static int raw_connect(void)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    (void)snprintf(address.sun_path, sizeof address.sun_path, "%s/control.sock", directory);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);
    cr_assert_eq(connect(fd, (struct sockaddr *)&address, sizeof address), 0);
    return fd;
}

static void raw_send(int fd, const struct control_request *request, const void *payload)
{
    struct control_bytes bytes;
    cr_assert_eq(control_request_encode(request, &bytes), 0);
    cr_assert_eq(write(fd, bytes.bytes, bytes.length), (ssize_t)bytes.length);
    free(bytes.bytes);
    for (size_t at = 0; at < request->payload;) {
        ssize_t count = write(fd, (const uint8_t *)payload + at, request->payload - at);
        at += count > 0 ? (size_t)count : 0;
        (void)iomesh_wait(engine, 100000);
    }
}

/* So many bytes, while the engine turns. Fewer: it was closed. */
static size_t raw_receive(int fd, uint8_t *bytes, size_t length)
{
    size_t got = 0;
    while (got < length) {
        (void)iomesh_wait(engine, 100000);
        ssize_t count = read(fd, bytes + got, length - got);
        if (count == 0 || (count < 0 && errno != EAGAIN))
            break;
        got += count > 0 ? (size_t)count : 0;
    }
    return got;
}

static void raw_answer(int fd, struct control_response *ret_response)
{
    uint8_t head[CONTROL_FRAME_BYTES];
    static uint8_t body[CONTROL_RESPONSE_BYTES_MAX];
    uint32_t length;
    cr_assert_eq(raw_receive(fd, head, sizeof head), sizeof head);
    cr_assert_eq(control_frame_decode(head, sizeof body, &length), 0);
    cr_assert_eq(raw_receive(fd, body, length), length);
    cr_assert_eq(control_response_decode(body, length, ret_response), 0);
}

static uint32_t raw_open(int fd)
{
    struct control_response response;
    raw_send(fd, &(struct control_request){.id = 1, .kind = CONTROL_OPEN, .name = "v"}, NULL);
    raw_answer(fd, &response);
    cr_assert_eq(response.result, 0, "%s", response.sentence);
    uint32_t handle = response.handle;
    control_response_done(&response);
    return handle;
}

Test(api_remote, one_that_stops_reading_holds_up_nobody_else)
{
    int fd = raw_connect();
    uint32_t handle = raw_open(fd);
    /* Far more than its slots and the socket take. */
    for (unsigned i = 0; i < 200; i++) {
        struct control_request request = {
            .id = 2 + i, .kind = CONTROL_READ, .handle = handle, .length = MIB};
        struct control_bytes bytes;
        cr_assert_eq(control_request_encode(&request, &bytes), 0);
        ssize_t sent = write(fd, bytes.bytes, bytes.length);
        free(bytes.bytes);
        if (sent < 0)
            break;
        (void)iomesh_wait(engine, 0);
    }
    struct iomesh_volume *there = remote_start("v");
    uint8_t *sent = pattern(4 * MIB, 5);
    OK(iomesh_write_sync(there, 0, 4 * MIB, sent, 0));
    struct iomesh_pool_status status = {.size = sizeof status};
    OK(iomesh_control_status(control, &status));
    cr_expect_leq(status.requests, CONTROL_SLOTS);
    OK(iomesh_volume_close_sync(there));
    free(sent);
    close(fd);
}

Test(api_remote, a_number_that_is_not_open_is_refused_and_the_next_request_is_understood)
{
    int fd = raw_connect();
    uint32_t handle = raw_open(fd);
    uint8_t data[4096] = {1};
    struct control_response response;
    struct control_request request = {
        .id = 5, .kind = CONTROL_WRITE, .handle = handle + 1, .payload = sizeof data};
    raw_send(fd, &request, data);
    raw_answer(fd, &response);
    cr_expect_eq(response.id, 5);
    cr_expect_eq(response.result, -EBADF);
    request.handle = handle;
    request.id = 6;
    raw_send(fd, &request, data);
    raw_answer(fd, &response);
    cr_expect_eq(response.id, 6);
    cr_expect_eq(response.result, 0, "%s", response.sentence);
    /* More than an answer carries. */
    request = (struct control_request){
        .id = 7, .kind = CONTROL_READ, .handle = handle, .length = 2 * MIB};
    raw_send(fd, &request, NULL);
    raw_answer(fd, &response);
    cr_expect_eq(response.result, -EINVAL);
    request = (struct control_request){.id = 8, .kind = CONTROL_CLOSE, .handle = handle};
    raw_send(fd, &request, NULL);
    raw_answer(fd, &response);
    cr_expect_eq(response.result, 0);
    request = (struct control_request){.id = 9, .kind = CONTROL_FLUSH, .handle = handle};
    raw_send(fd, &request, NULL);
    raw_answer(fd, &response);
    cr_expect_eq(response.result, -EBADF);
    close(fd);
}

Test(api_remote, data_before_a_volume_is_open_ends_the_connection_with_a_sentence)
{
    int fd = raw_connect();
    uint8_t data[4096] = {1};
    struct control_response response;
    struct control_request request = {.id = 5, .kind = CONTROL_WRITE, .payload = sizeof data};
    raw_send(fd, &request, data);
    raw_answer(fd, &response);
    cr_expect_eq(response.result, -EPROTO);
    cr_expect(strstr(response.sentence, "before") != NULL, "%s", response.sentence);
    cr_expect_eq(raw_receive(fd, data, 1), 0, "it goes on");
    close(fd);
}
