/* SPDX-License-Identifier: Apache-2.0 */
/* What the trace hook is told, and with which numbers. */
#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>

#include "unit/api/pool.h"

enum { TOLD_MAX = 512 };

static struct iomesh_event told[TOLD_MAX];
static unsigned told_count;

static void on_event(void *context, const struct iomesh_event *event)
{
    (void)context;
    cr_assert_eq(event->size, sizeof *event);
    cr_assert(event->text[0] != '\0' && strchr(event->text, '\n') == NULL);
    if (told_count < TOLD_MAX)
        told[told_count++] = *event;
}

/* The n-th event of a kind, from 0; NULL if there is none. */
static const struct iomesh_event *find(uint32_t kind, unsigned n)
{
    for (unsigned i = 0; i < told_count; i++)
        if (told[i].kind == kind && n-- == 0)
            return &told[i];
    return NULL;
}

static void listen(void)
{
    struct iomesh_engine_options options = IOMESH_ENGINE_OPTIONS_INIT;
    options.buffer_bytes = 4 * MIB;
    options.trace = on_event;
    OK(iomesh_engine_open(&options, &engine));
    told_count = 0;
}

static void setup(void)
{
    place_make();
    pool_init(64 * MIB);
    listen();
    pool_start(IOMESH_POOL_NO_SCRUB);
}

TestSuite(api_trace, .init = setup, .fini = pool_teardown);

static void turn_until(uint32_t kind, unsigned n)
{
    for (unsigned i = 0; i < 1000 && find(kind, n) == NULL; i++)
        (void)iomesh_wait(engine, 10000000);
}

Test(api_trace, opening_tells_what_was_recovered)
{
    const struct iomesh_event *event = find(IOMESH_EVENT_POOL, 0);
    while (event != NULL && event->number_count == 0)
        event++;
    cr_assert_not_null(event);
    cr_expect_eq(event->number_count, 2);
    cr_expect_eq(event->numbers[0], 0, "it was closed");
}

Test(api_trace, a_checkpoint_tells_its_pages_and_time)
{
    volume_make("v", 8 * MIB, 0);
    struct iomesh_volume *volume = volume_start("v");
    static uint8_t data[MIB] = {1};
    OK(iomesh_write_sync(volume, 0, sizeof data, data, 0));
    OK(iomesh_volume_close_sync(volume));
    struct iomesh_pool_status status = {.size = sizeof status};
    OK(iomesh_pool_status(pool, &status));
    told_count = 0;
    pool_stop();
    const struct iomesh_event *event = find(IOMESH_EVENT_CHECKPOINT, 0);
    cr_assert_not_null(event);
    cr_expect_eq(event->number_count, 2);
    cr_expect_geq(event->numbers[0], 2, "a map page and a directory page");
    cr_expect_gt(event->numbers[1], 0);
    cr_expect_eq(event->severity, IOMESH_SEVERITY_DEBUG);
}

Test(api_trace, a_scrub_tells_its_beginning_and_its_end)
{
    volume_make("v", 8 * MIB, 0);
    struct iomesh_volume *volume = volume_start("v");
    static uint8_t data[MIB] = {1};
    OK(iomesh_write_sync(volume, 0, sizeof data, data, 0));
    OK(iomesh_volume_close_sync(volume));
    OK(iomesh_scrub_start(pool, 100 * MIB));
    turn_until(IOMESH_EVENT_SCRUB, 1);
    const struct iomesh_event *event = find(IOMESH_EVENT_SCRUB, 0);
    cr_assert_not_null(event);
    cr_expect_eq(event->number_count, 0);
    event = find(IOMESH_EVENT_SCRUB, 1);
    cr_assert_not_null(event);
    cr_expect_eq(event->number_count, 2);
    cr_expect_eq(event->numbers[0], 256);
    cr_expect_eq(event->numbers[1], 0);
}

/* Turns a bit of the first block in a file that has these bytes. */
static void rot(const char *leaf, const uint8_t bytes[4096])
{
    char path[128];
    (void)snprintf(path, sizeof path, "%s/%s", directory, leaf);
    int fd = open(path, O_RDWR);
    uint8_t block[4096];
    off_t at = 0;
    while (pread(fd, block, sizeof block, at) == sizeof block && memcmp(block, bytes, 4096) != 0)
        at += 4096;
    block[77] ^= 4;
    cr_assert_eq(pwrite(fd, block, sizeof block, at), (ssize_t)sizeof block);
    close(fd);
}

Test(api_trace, damage_is_told_with_its_place_by_a_read_and_by_a_scrub)
{
    volume_make("other", MIB, 0);
    volume_make("v", 8 * MIB, 0);
    struct iomesh_volume *volume = volume_start("v");
    static uint8_t data[8 * 4096];
    memset(data, 0x5a, sizeof data);
    data[3 * 4096] = 1;
    OK(iomesh_write_sync(volume, MIB, sizeof data, data, 0));
    OK(iomesh_flush_sync(volume));
    rot("store", data + 3 * 4096ull);
    cr_assert_eq(iomesh_read_sync(volume, MIB, sizeof data, data), IOMESH_CORRUPT);
    OK(iomesh_volume_close_sync(volume));
    OK(iomesh_scrub_start(pool, 100 * MIB));
    turn_until(IOMESH_EVENT_SCRUB, 1);
    for (unsigned i = 0; i < 2; i++) {
        const struct iomesh_event *event = find(IOMESH_EVENT_DAMAGE, i);
        cr_assert_not_null(event);
        cr_expect_eq(event->severity, IOMESH_SEVERITY_CRITICAL);
        cr_expect_eq(event->number_count, 3);
        cr_expect_eq(event->numbers[0], 2, "the second volume");
        cr_expect_eq(event->numbers[1], 256 + 3);
        cr_expect_eq(event->numbers[2], 1);
    }
    cr_expect_null(find(IOMESH_EVENT_DAMAGE, 2));
    struct iomesh_pool_status status = {.size = sizeof status};
    OK(iomesh_pool_status(pool, &status));
    cr_expect_eq(status.checksum_errors, 2);
    cr_expect_eq(status.read_errors, 0);
}

Test(api_trace, a_full_pool_is_told_once_and_once_that_it_has_room_again)
{
    volume_make("v", 128 * MIB, 0);
    struct iomesh_volume *volume = volume_start("v");
    static uint8_t data[MIB] = {1};
    unsigned refused = 0;
    for (unsigned i = 0; i < 128 && refused < 5; i++) {
        int result = iomesh_write_sync(volume, i * MIB, sizeof data, data, 0);
        cr_assert(result == 0 || result == -ENOSPC);
        refused += result != 0;
    }
    cr_assert_eq(refused, 5);
    const struct iomesh_event *full = find(IOMESH_EVENT_SPACE, 0);
    cr_assert_not_null(full);
    cr_expect_eq(full->severity, IOMESH_SEVERITY_WARNING);
    cr_expect_eq(full->number_count, 2);
    cr_expect_lt(full->numbers[0], MIB);
    cr_expect_eq(full->numbers[1], 64 * MIB);
    cr_expect_null(find(IOMESH_EVENT_SPACE, 1));
    OK(iomesh_discard_sync(volume, 0, 32 * MIB, IOMESH_FUA));
    turn_until(IOMESH_EVENT_SPACE, 1);
    const struct iomesh_event *room = find(IOMESH_EVENT_SPACE, 1);
    cr_assert_not_null(room);
    cr_expect_eq(room->severity, IOMESH_SEVERITY_NOTICE);
    cr_expect_geq(room->numbers[0], MIB);
    OK(iomesh_volume_close_sync(volume));
}

Test(api_trace, the_device_that_failed_is_named_and_only_that)
{
    /* The second of two: no file of this process may be written beyond 96 MiB. */
    pool_stop();
    OK(iomesh_engine_close(engine));
    (void)snprintf(url, sizeof url, "file:%s/two", place);
    struct iomesh_device devices[2] = {IOMESH_DEVICE_INIT, IOMESH_DEVICE_INIT};
    char paths[2][80];
    for (unsigned i = 0; i < 2; i++) {
        (void)snprintf(paths[i], sizeof paths[i], "%s/disk%u", place, i);
        devices[i].path = paths[i];
        devices[i].bytes = (64 + 192 * i) * MIB;
    }
    struct iomesh_pool_init_options init = IOMESH_POOL_INIT_OPTIONS_INIT;
    init.devices = devices;
    init.device_count = 2;
    OK(iomesh_pool_init(url, &init));
    listen();
    pool_start(IOMESH_POOL_NO_SCRUB);
    volume_make("v", 256 * MIB, 0);
    struct iomesh_volume *volume = volume_start("v");
    struct rlimit limit;
    cr_assert_eq(getrlimit(RLIMIT_FSIZE, &limit), 0);
    limit.rlim_cur = 96 * MIB;
    cr_assert_neq(signal(SIGXFSZ, SIG_IGN), SIG_ERR);
    cr_assert_eq(setrlimit(RLIMIT_FSIZE, &limit), 0);
    static uint8_t data[MIB] = {1};
    int result = 0;
    for (unsigned i = 0; i < 256 && result == 0; i++)
        result = iomesh_write_sync(volume, i * MIB, sizeof data, data, 0);
    cr_expect_eq(result, IOMESH_FAILED, "%d", result);
    turn_until(IOMESH_EVENT_DEVICE_FAILED, 0);
    const struct iomesh_event *event = find(IOMESH_EVENT_DEVICE_FAILED, 0);
    cr_assert_not_null(event);
    cr_expect_eq(event->severity, IOMESH_SEVERITY_CRITICAL);
    cr_expect_eq(event->number_count, 2);
    cr_expect_eq(event->numbers[0], 1);
    int64_t code = (int64_t)event->numbers[1];
    cr_expect(code == -EFBIG || code == -EIO, "%lld: refused, or cut short", (long long)code);
    cr_expect_null(find(IOMESH_EVENT_DEVICE_FAILED, 1));
    struct iomesh_device_status status = {.size = sizeof status};
    for (unsigned i = 0; i < 2; i++) {
        OK(iomesh_pool_device(pool, i, &status));
        cr_expect_eq(status.failed, i);
    }
    OK(iomesh_volume_close_sync(volume));
    (void)iomesh_pool_close_sync(pool);
    pool = NULL;
}
