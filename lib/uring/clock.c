/* SPDX-License-Identifier: Apache-2.0 */
#include <fcntl.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

#include "base/uuid.h"
#include "uring/ring.h"

static uint64_t clock_read(clockid_t id)
{
    struct timespec now;
    int failed = clock_gettime(id, &now);
    assert(failed == 0);
    (void)failed;
    return (uint64_t)now.tv_sec * NS_PER_S + (uint64_t)now.tv_nsec;
}

uint64_t uring_now_ns(void)
{
    return clock_read(CLOCK_BOOTTIME);
}

static uint64_t clock_now(struct clock *clock)
{
    (void)clock;
    return uring_now_ns();
}

static uint64_t clock_wall(struct clock *clock)
{
    (void)clock;
    return clock_read(CLOCK_REALTIME);
}

const struct clock_ops uring_clock_ops = {.now_ns = clock_now, .wall_ns = clock_wall};

int uring_random(void *bytes, uint32_t count)
{
    ssize_t length = getrandom(bytes, count, 0);
    if (length < 0)
        return FAIL(-errno, "the system has no random bytes to give");
    return (uint32_t)length == count ? 0 : -EIO;
}

int uring_boot_id(uint8_t ret_boot_id[16])
{
    static const char path[] = "/proc/sys/kernel/random/boot_id";
    char text[64] = "";
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t length = fd >= 0 ? read(fd, text, sizeof text - 1) : -1;
    int error = errno;
    if (fd >= 0)
        close(fd);
    if (length < 0)
        return FAIL(-error, "%s: %s", path, strerror(error));
    return uuid_parse(text, ret_boot_id) ? 0 : FAIL(-EIO, "%s: says no UUID", path);
}
