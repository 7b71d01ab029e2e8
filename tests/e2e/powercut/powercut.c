/* SPDX-License-Identifier: Apache-2.0 */
/*
 * nbdkit plugin: a file-backed drive whose power can be cut (see platter.h).
 *
 *   nbdkit ./powercut.so file=DISK [control=SOCKET] [seed=N] [cache=SIZE] [cut-after=N]
 *
 * After a cut every request fails with EIO until the drive is armed again. The control socket takes
 * one line per connection and answers with one:
 *
 *   status         armed 1 pending 12 cuts 0 kept 0 lost 0 torn 0 flushes 3 through 0
 *   cut [SEED]     cut seed 17 kept 5 lost 6 torn 1
 *   cut-after N    ok        the N-th write from now is taken into the cache, then the power goes
 *   arm            ok
 *   bad OFFSET LENGTH    these bytes cannot be read; length 0: all can
 *   delay MS             each request takes so much longer
 */
#include "platter.h"

#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define NBDKIT_API_VERSION 2
#include <nbdkit-plugin.h>

/* One lock is held around every request anyway, and nbdkit 1.32 stops on an assertion when a client
 * with parallel requests is killed. */
#define THREAD_MODEL NBDKIT_THREAD_MODEL_SERIALIZE_REQUESTS

static const char *file_path;
static char *control_path;
static uint64_t seed = 1;
static uint64_t cache_bytes_max = 256u << 20;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct platter platter;
static bool armed = true;
static uint64_t writes_until_cut;       /* 0: no cut is planned. */
static uint64_t bad_offset, bad_length; /* Cannot be read; length 0: all can. */
static unsigned delay_ms;               /* That each request takes longer. */
static int control_socket = -1;

static int powercut_config(const char *key, const char *value)
{
    if (strcmp(key, "file") == 0) {
        file_path = value;
    } else if (strcmp(key, "control") == 0) {
        control_path = nbdkit_absolute_path(value);
        return control_path != NULL ? 0 : -1;
    } else if (strcmp(key, "seed") == 0) {
        return nbdkit_parse_uint64_t("seed", value, &seed);
    } else if (strcmp(key, "cut-after") == 0) {
        return nbdkit_parse_uint64_t("cut-after", value, &writes_until_cut);
    } else if (strcmp(key, "cache") == 0) {
        int64_t size = nbdkit_parse_size(value);
        if (size < 0)
            return -1;
        cache_bytes_max = (uint64_t)size;
    } else {
        nbdkit_error("unknown parameter '%s'", key);
        return -1;
    }
    return 0;
}

static int powercut_config_complete(void)
{
    if (file_path == NULL) {
        nbdkit_error("file=PATH is missing");
        return -1;
    }
    return 0;
}

static int powercut_get_ready(void)
{
    if (platter_open(&platter, file_path, cache_bytes_max, seed) != 0) {
        nbdkit_error("%s: %m", file_path);
        return -1;
    }
    return 0;
}

/* Under the lock. */
static int cut(uint64_t cut_seed, struct platter_cut *ret_cut)
{
    armed = false;
    writes_until_cut = 0;
    if (platter_cut(&platter, cut_seed, ret_cut) != 0) {
        nbdkit_error("the cut could not write to %s: %m", file_path);
        return -1;
    }
    nbdkit_debug("cut seed %" PRIu64 " kept %" PRIu64 " lost %" PRIu64 " torn %" PRIu64,
                 ret_cut->seed, ret_cut->kept, ret_cut->lost, ret_cut->torn);
    return 0;
}

static void answer_cut(const char *line, char *answer, size_t size)
{
    struct platter_cut done;
    if (!armed)
        snprintf(answer, size, "error: the power is off\n");
    else if (cut(strtoull(line + 3, NULL, 10), &done) != 0)
        snprintf(answer, size, "error: %s\n", strerror(errno));
    else
        snprintf(answer, size,
                 "cut seed %" PRIu64 " kept %" PRIu64 " lost %" PRIu64 " torn %" PRIu64 "\n",
                 done.seed, done.kept, done.lost, done.torn);
}

static void set_bad(const char *line)
{
    char *end;
    bad_offset = strtoull(line, &end, 10);
    bad_length = strtoull(end, NULL, 10);
}

static void answer_line(const char *line, char *answer, size_t size)
{
    const struct platter_counts *counts = &platter.counts;

    pthread_mutex_lock(&lock);
    if (strcmp(line, "status") == 0) {
        snprintf(answer, size,
                 "armed %d pending %" PRIu64 " cuts %" PRIu64 " kept %" PRIu64 " lost %" PRIu64
                 " torn %" PRIu64 " flushes %" PRIu64 " through %" PRIu64 "\n",
                 armed, platter.pending, counts->cuts, counts->kept, counts->lost, counts->torn,
                 counts->flushes, counts->through);
    } else if (strncmp(line, "cut-after ", 10) == 0) {
        writes_until_cut = strtoull(line + 10, NULL, 10);
        snprintf(answer, size, "ok\n");
    } else if (strncmp(line, "cut", 3) == 0) {
        answer_cut(line, answer, size);
    } else if (strcmp(line, "arm") == 0) {
        armed = true;
        snprintf(answer, size, "ok\n");
    } else if (strncmp(line, "bad ", 4) == 0) {
        set_bad(line + 4);
        snprintf(answer, size, "ok\n");
    } else if (strncmp(line, "delay ", 6) == 0) {
        delay_ms = (unsigned)strtoul(line + 6, NULL, 10);
        snprintf(answer, size, "ok\n");
    } else {
        snprintf(answer, size,
                 "error: status, cut [SEED], cut-after N, arm, bad OFFSET LENGTH or delay MS\n");
    }
    pthread_mutex_unlock(&lock);
}

static void *control_loop(void *unused)
{
    (void)unused;
    for (;;) {
        int peer = accept(control_socket, NULL, NULL);
        if (peer < 0) {
            if (errno == EINTR || errno == ECONNABORTED)
                continue;
            return NULL; /* The socket was shut down: nbdkit is ending. */
        }
        char line[128];
        char answer[256];
        ssize_t got = read(peer, line, sizeof line - 1);
        if (got > 0) {
            line[got] = '\0';
            line[strcspn(line, "\n")] = '\0';
            answer_line(line, answer, sizeof answer);
            if (write(peer, answer, strlen(answer)) < 0)
                nbdkit_debug("the control client left");
        }
        close(peer);
    }
}

static int powercut_after_fork(void)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    pthread_t thread;

    if (control_path == NULL)
        return 0;
    if (strlen(control_path) >= sizeof address.sun_path) {
        nbdkit_error("%s: too long for a socket", control_path);
        return -1;
    }
    memcpy(address.sun_path, control_path, strlen(control_path) + 1);
    unlink(control_path);
    control_socket = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (control_socket < 0 ||
        bind(control_socket, (const struct sockaddr *)&address, sizeof address) != 0 ||
        listen(control_socket, 4) != 0) {
        nbdkit_error("%s: %m", control_path);
        return -1;
    }
    int result = pthread_create(&thread, NULL, control_loop, NULL);
    if (result != 0) {
        nbdkit_error("control thread: %s", strerror(result));
        return -1;
    }
    pthread_detach(thread);
    return 0;
}

static void powercut_cleanup(void)
{
    if (control_socket >= 0)
        shutdown(control_socket, SHUT_RDWR);
    if (control_path != NULL)
        unlink(control_path);
    pthread_mutex_lock(&lock);
    armed = false;
    platter_close(&platter);
    pthread_mutex_unlock(&lock);
}

static void *powercut_open(int readonly)
{
    (void)readonly;
    return NBDKIT_HANDLE_NOT_NEEDED;
}

static int64_t powercut_get_size(void *handle)
{
    (void)handle;
    return (int64_t)platter.size_bytes;
}

static int powercut_block_size(void *handle, uint32_t *minimum, uint32_t *preferred,
                               uint32_t *maximum)
{
    (void)handle;
    *minimum = PLATTER_SECTOR_BYTES;
    *preferred = 4096;
    *maximum = 32u << 20;
    return 0;
}

static int powercut_yes(void *handle)
{
    (void)handle;
    return 1;
}

static int powercut_fua(void *handle)
{
    (void)handle;
    return NBDKIT_FUA_NATIVE;
}

/* Takes the lock; true if the drive has power. */
static bool enter(void)
{
    pthread_mutex_lock(&lock);
    if (delay_ms > 0)
        nbdkit_nanosleep(delay_ms / 1000, delay_ms % 1000 * 1000000);
    if (armed)
        return true;
    pthread_mutex_unlock(&lock);
    nbdkit_set_error(EIO);
    return false;
}

static int leave(int result)
{
    if (result != 0)
        nbdkit_error("%s: %m", file_path);
    pthread_mutex_unlock(&lock);
    return result;
}

static int powercut_pread(void *handle, void *data, uint32_t count, uint64_t offset, uint32_t flags)
{
    (void)handle, (void)flags;
    if (!enter())
        return -1;
    bool bad = offset < bad_offset + bad_length && bad_offset < offset + count;
    if (bad)
        errno = EIO;
    else
        memcpy(data, platter.view + offset, count);
    return leave(bad ? -1 : 0);
}

static int write_or_cut(uint64_t offset, uint32_t count, const void *data, uint32_t flags)
{
    if (!enter())
        return -1;
    int result = platter_write(&platter, offset, count, data, (flags & NBDKIT_FLAG_FUA) != 0);
    if (result == 0 && writes_until_cut > 0 && --writes_until_cut == 0) {
        struct platter_cut done;
        cut(0, &done);
        errno = EIO;
        result = -1;
    }
    return leave(result);
}

static int powercut_pwrite(void *handle, const void *data, uint32_t count, uint64_t offset,
                           uint32_t flags)
{
    (void)handle;
    return write_or_cut(offset, count, data, flags);
}

static int powercut_zero(void *handle, uint32_t count, uint64_t offset, uint32_t flags)
{
    (void)handle;
    return write_or_cut(offset, count, NULL, flags);
}

static int powercut_flush(void *handle, uint32_t flags)
{
    (void)handle, (void)flags;
    if (!enter())
        return -1;
    return leave(platter_flush(&platter));
}

static struct nbdkit_plugin plugin = {
    .name = "powercut",
    .description = "a drive with a volatile cache whose power can be cut",
    .config = powercut_config,
    .config_complete = powercut_config_complete,
    .config_help = "file=PATH (required), control=SOCKET, seed=N, cache=SIZE, cut-after=N",
    .magic_config_key = "file",
    .get_ready = powercut_get_ready,
    .after_fork = powercut_after_fork,
    .cleanup = powercut_cleanup,
    .open = powercut_open,
    .get_size = powercut_get_size,
    .block_size = powercut_block_size,
    .can_multi_conn = powercut_yes,
    .can_trim = powercut_yes,
    .can_fua = powercut_fua,
    .can_zero = powercut_yes,
    .pread = powercut_pread,
    .pwrite = powercut_pwrite,
    .zero = powercut_zero,
    .trim = powercut_zero,
    .flush = powercut_flush,
    .errno_is_preserved = 1,
};

NBDKIT_REGISTER_PLUGIN(plugin)
