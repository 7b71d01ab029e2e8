/* SPDX-License-Identifier: Apache-2.0 */
/* A ring and a file to try it on. */
#ifndef UNIT_URING_REAL_H
#define UNIT_URING_REAL_H

#include <criterion/criterion.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "uring/uring.h"

static struct uring *ring;
static char place[] = "out/uring-XXXXXX";
static char file[64];

/* Below the working directory: /tmp may be a file system without direct I/O. */
static void real_open(void)
{
    (void)mkdir("out", 0777);
    struct uring_options options = {.entries = 64, .buffer_bytes = 1u << 20};
    cr_assert_eq(uring_open(&options, &ring), 0, "%s", base_last_error());
    cr_assert_not_null(mkdtemp(place));
    (void)snprintf(file, sizeof file, "%s/disk", place);
}

static void real_close(void)
{
    uring_close(ring);
    (void)unlink(file);
    (void)rmdir(place);
}

/* Turns until *pending is 0. */
static inline void real_run(const int *pending)
{
    uint64_t end_ns = clock_now_ns(uring_clock(ring)) + 20 * NS_PER_S;
    while (*pending > 0) {
        if (uring_collect(ring) == 0)
            (void)uring_wait(ring, end_ns);
        (void)clock_run(uring_clock(ring));
        cr_assert_lt(clock_now_ns(uring_clock(ring)), end_ns, "nothing happened for 20 s");
    }
}

#endif
