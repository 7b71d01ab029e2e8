/* SPDX-License-Identifier: Apache-2.0 */
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <pthread.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

#include "unit/uring/real.h"
#include "uring/ring.h"

TestSuite(uring_ring, .init = real_open, .fini = real_close);

static bool readable(int fd, int timeout_ms)
{
    struct pollfd watched = {.fd = fd, .events = POLLIN};
    return poll(&watched, 1, timeout_ms) == 1;
}

static void quieten(void)
{
    for (unsigned i = 0; i < 100 && (readable(uring_fd(ring), 0) || uring_ready(ring)); i++) {
        (void)uring_collect(ring);
        (void)uring_submit(ring);
    }
}

Test(uring_ring, the_descriptor_shows_a_completion_and_is_quiet_after_it)
{
    struct disk *disk = NULL;
    cr_assert_eq(uring_disk_open(ring, file, 1u << 20, URING_DISK_CREATE, &disk), 0);
    int fd = uring_fd(ring);
    quieten();
    cr_expect(!readable(fd, 0));
    uring_wake(ring);
    cr_expect(readable(fd, 5000));
    quieten();
    cr_expect(!readable(fd, 20));
    uring_disk_close(disk);
}

static void *wake_later(void *unused)
{
    (void)unused;
    usleep(20000);
    uring_wake(ring);
    return NULL;
}

Test(uring_ring, a_wake_up_from_another_thread_ends_a_wait)
{
    pthread_t thread;
    uint64_t start_ns = clock_now_ns(uring_clock(ring));
    cr_assert_eq(pthread_create(&thread, NULL, wake_later, NULL), 0);
    (void)uring_wait(ring, start_ns + 10 * NS_PER_S);
    cr_expect_lt(clock_now_ns(uring_clock(ring)) - start_ns, 5 * NS_PER_S);
    cr_expect(uring_ready(ring));
    pthread_join(thread, NULL);
}

Test(uring_ring, a_wait_ends_at_its_time)
{
    quieten();
    uint64_t start_ns = clock_now_ns(uring_clock(ring));
    cr_expect_eq(uring_wait(ring, start_ns + 30 * NS_PER_MS), 0);
    uint64_t took_ns = clock_now_ns(uring_clock(ring)) - start_ns;
    cr_expect_geq(took_ns, 30 * NS_PER_MS);
    cr_expect_lt(took_ns, 5 * NS_PER_S);
}

struct job {
    struct work_job job;
    pthread_t ran_on;
    int *pending;
};

static void job_run(struct work_job *job)
{
    CONTAINER_OF(job, struct job, job)->ran_on = pthread_self();
}

static void job_done(struct work_job *job)
{
    --*CONTAINER_OF(job, struct job, job)->pending;
}

Test(uring_ring, work_runs_on_other_threads_and_ends_on_this_one)
{
    enum { COUNT = 200 };
    struct job jobs[COUNT];
    int pending = COUNT;
    for (unsigned i = 0; i < COUNT; i++) {
        jobs[i] = (struct job){.job = {.run = job_run, .done = job_done}, .pending = &pending};
        work_submit(uring_work(ring), &jobs[i].job);
    }
    real_run(&pending);
    for (unsigned i = 0; i < COUNT; i++)
        cr_expect(!pthread_equal(jobs[i].ran_on, pthread_self()));
}

Test(uring_ring, a_refused_ring_names_its_cause)
{
    cr_expect_eq(uring_refused(-ENOSYS), -ENOSYS);
    cr_expect(strstr(base_last_error(), "6.1") != NULL);
    cr_expect_eq(uring_refused(-EPERM), -EPERM);
    cr_expect(strlen(base_last_error()) > 40);
    cr_expect_eq(uring_refused(-EINVAL), -ENOTSUP);
    cr_expect(strstr(base_last_error(), "6.1") != NULL);
}

Test(uring_ring, the_arena_gives_aligned_pieces_that_do_not_overlap_and_takes_them_back)
{
    struct arena arena = {0};
    enum { PAGES = 256 + 3 };
    cr_assert_eq(arena_open(&arena, PAGES * 4096ull), 0);
    uint8_t *pieces[PAGES];
    unsigned count = 0;
    for (unsigned round = 0; round < 3; round++) {
        uint64_t bytes = 0;
        uint64_t sizes[] = {4096, 1, 12288, 65536, 4096, 8192};
        count = 0;
        for (;;) {
            uint64_t size = sizes[count % COUNT_OF(sizes)];
            uint8_t *piece = arena_get(&arena, size);
            if (piece == NULL)
                break;
            cr_assert_eq((uintptr_t)piece % 4096, 0);
            memset(piece, (int)count, size);
            pieces[count++] = piece;
            bytes += size;
        }
        cr_expect_gt(bytes, PAGES * 4096ull / 2);
        for (unsigned i = 0; i < count; i++)
            cr_assert_eq(pieces[i][0], (uint8_t)i, "piece %u was overwritten", i);
        for (unsigned i = 0; i < count; i++)
            arena_put(&arena, pieces[i]);
    }
    /* All merged again: the largest piece is to be had. */
    void *largest = arena_get(&arena, 256 * 4096ull);
    cr_expect_not_null(largest);
    cr_expect_null(arena_get(&arena, 0));
    cr_expect_null(arena_get(&arena, UINT64_MAX));
    arena_put(&arena, largest);
    arena_close(&arena);
}

/* What a container's profile does: io_uring_setup() is refused by a filter. */
static void forbid_rings(void)
{
    struct sock_filter rules[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, __NR_io_uring_setup, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {.len = COUNT_OF(rules), .filter = rules};
    cr_assert_eq(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
    cr_assert_eq(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program, 0, 0), 0);
}

Test(uring_ring, a_ring_that_a_filter_refuses_is_one_sentence_that_names_it)
{
    struct uring *refused = NULL;
    struct uring_options options = {.entries = 64, .buffer_bytes = 1u << 20};
    forbid_rings();
    cr_expect_eq(uring_open(&options, &refused), -EPERM);
    cr_expect_null(refused);
    cr_expect(strstr(base_last_error(), "seccomp") != NULL, "%s", base_last_error());
}
