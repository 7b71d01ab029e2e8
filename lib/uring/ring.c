/* SPDX-License-Identifier: Apache-2.0 */
/* Sending and collecting: where requests enter the kernel, and where they come back. */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "uring/ring.h"

/* A disk_io is told from an uring_op by the lowest bit of its address. */
#define TAG_IO 1ull
#define TAG_CANCEL 2ull /* The answer to a cancel: nobody waits for it. */
#define TAGS 3ull

void uring_notice(struct uring *uring, const char *format, ...)
{
    if (uring->notice == NULL)
        return;
    char text[256];
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    uring->notice(uring->notice_context, text);
}

/* --- Sending ------------------------------------------------------------------------------- */

static bool op_place(struct uring *uring, struct uring_op *op)
{
    struct io_uring_sqe *sqe = io_uring_get_sqe(&uring->ring);
    if (sqe == NULL)
        return false;
    op->prepare(op, sqe);
    io_uring_sqe_set_data64(sqe, (uintptr_t)op);
    uring->flying++;
    return true;
}

static bool io_place(struct uring *uring, struct disk_io *io)
{
    struct io_uring_sqe *sqe = io_uring_get_sqe(&uring->ring);
    if (sqe == NULL)
        return false;
    uring_disk_prepare(io, sqe);
    io_uring_sqe_set_data64(sqe, (uintptr_t)io | TAG_IO);
    uring->flying++;
    uring->disk_flying++;
    uring_lot_placed(uring);
    return true;
}

void uring_op_start(struct uring *uring, struct uring_op *op)
{
    if (!list_empty(&uring->waiting_ops) || !op_place(uring, op))
        list_push_back(&uring->waiting_ops, &op->node);
}

void uring_disk_start(struct uring *uring, struct disk_io *io)
{
    if (!list_empty(&uring->waiting_ios) || !io_place(uring, io))
        list_push_back(&uring->waiting_ios, &io->node);
}

void uring_disk_refuse(struct uring *uring, struct disk_io *io, int error)
{
    uring->flying++;
    uring->disk_flying++;
    uring_lot_ended(uring, io, error);
}

void uring_op_cancel(struct uring *uring, struct uring_op *op)
{
    struct io_uring_sqe *sqe = io_uring_get_sqe(&uring->ring);
    if (sqe == NULL) {
        (void)io_uring_submit(&uring->ring);
        sqe = io_uring_get_sqe(&uring->ring);
    }
    if (sqe == NULL)
        return;
    io_uring_prep_cancel64(sqe, (uintptr_t)op, 0);
    io_uring_sqe_set_data64(sqe, TAG_CANCEL);
    uring->flying++;
}

void uring_later_start(struct uring *uring, struct uring_later *later)
{
    if (list_empty(&later->node))
        list_push_back(&uring->later, &later->node);
}

/* What did not fit goes into the ring as far as it fits now. */
static bool ring_refill(struct uring *uring)
{
    while (!list_empty(&uring->waiting_ops)) {
        struct uring_op *op = LIST_ENTRY(uring->waiting_ops.next, struct uring_op, node);
        list_remove(&op->node);
        if (!op_place(uring, op)) {
            list_push_front(&uring->waiting_ops, &op->node);
            return false;
        }
    }
    while (!list_empty(&uring->waiting_ios)) {
        struct disk_io *io = LIST_ENTRY(uring->waiting_ios.next, struct disk_io, node);
        list_remove(&io->node);
        if (!io_place(uring, io)) {
            list_push_front(&uring->waiting_ios, &io->node);
            return false;
        }
    }
    return true;
}

/* Errors of entering the kernel that pass by themselves: what was not sent stays in the ring. */
static bool ring_error_passes(int code)
{
    return code == -EINTR || code == -EAGAIN || code == -EBUSY || code == -ETIME;
}

static int ring_broke(struct uring *uring, int code)
{
    uring->broken = code;
    uring_notice(uring, "the ring broke: %s", strerror(-code));
    return FAIL(code, "io_uring_enter: %s", strerror(-code));
}

int uring_submit(struct uring *uring)
{
    if (uring->broken != 0)
        return uring->broken;
    uring_streams_gather(uring);
    bool all = ring_refill(uring);
    for (;;) {
        if (io_uring_sq_ready(&uring->ring) == 0)
            return 0;
        int sent = uring->setup_flags & IORING_SETUP_DEFER_TASKRUN
                       ? io_uring_submit_and_get_events(&uring->ring)
                       : io_uring_submit(&uring->ring);
        if (sent < 0)
            return ring_error_passes(sent) ? 0 : ring_broke(uring, sent);
        uring_lot_yield(uring);
        if (all || sent == 0)
            return 0;
        all = ring_refill(uring);
    }
}

/* --- Collecting ---------------------------------------------------------------------------- */

/* How many it ended: a disk's request ends later, with its lot. */
static unsigned ring_end_one(struct uring *uring, const struct io_uring_cqe *cqe)
{
    uint64_t data = cqe->user_data;
    int result = cqe->res;
    uint32_t flags = cqe->flags;
    /* The entry is free from here on: what runs may send more. */
    io_uring_cq_advance(&uring->ring, 1);
    void *request = (void *)(uintptr_t)(data & ~TAGS);
    if (data & TAG_IO) {
        uring_lot_ended(uring, request, result);
        return 0;
    }
    uring->flying--;
    if (!(data & TAG_CANCEL)) {
        struct uring_op *op = request;
        op->done(op, result, flags);
    }
    return 1;
}

/* Completions that the kernel holds back until the ring is entered. */
static bool ring_held(struct uring *uring)
{
    unsigned flags = __atomic_load_n(uring->ring.sq.kflags, __ATOMIC_RELAXED);
    return flags & (IORING_SQ_TASKRUN | IORING_SQ_CQ_OVERFLOW);
}

static unsigned ring_end_all(struct uring *uring)
{
    /* Not more than were there at the start: what completes meanwhile waits for the next turn. */
    unsigned ready = io_uring_cq_ready(&uring->ring);
    if (ready == 0 && ring_held(uring)) {
        (void)io_uring_get_events(&uring->ring);
        ready = io_uring_cq_ready(&uring->ring);
    }
    unsigned count = 0;
    for (unsigned i = 0; i < ready; i++) {
        const struct io_uring *ring = &uring->ring;
        count += ring_end_one(uring, &ring->cq.cqes[*ring->cq.khead & *ring->cq.kring_mask]);
    }
    return count + uring_lot_tell(uring);
}

static unsigned ring_run_later(struct uring *uring)
{
    struct list now;
    list_init(&now);
    list_splice_back(&now, &uring->later);
    unsigned count = 0;
    for (struct list *node; (node = list_pop_front(&now)) != NULL; count++) {
        struct uring_later *later = LIST_ENTRY(node, struct uring_later, node);
        later->run(later);
    }
    return count;
}

static void spin_idle(struct uring *uring)
{
    if (uring->idle_since_ns == 0)
        uring->idle_since_ns = uring_now_ns();
}

/* Learn how long it takes until something comes, and how much comes at once. */
static void spin_learn(struct uring *uring, unsigned count)
{
    if (count == 0) {
        spin_idle(uring);
        return;
    }
    uring->batch_x16 = (uring->batch_x16 * 7 + count * 16) / 8;
    if (uring->idle_since_ns == 0)
        return;
    /* A long rest says that a spin would not have paid, not how long the next gap will be. */
    uint64_t gap_ns = MIN(uring_now_ns() - uring->idle_since_ns, 4 * uring->spin_ns_max);
    uring->gap_ns = (uring->gap_ns * 7 + gap_ns) / 8;
    uring->idle_since_ns = 0;
}

static void ring_disarm(struct uring *uring)
{
    (void)io_uring_cq_eventfd_toggle(&uring->ring, false);
    uring->fd_armed = false;
}

unsigned uring_collect(struct uring *uring)
{
    if (uring->fd_armed) {
        uint64_t events;
        ssize_t length = read(uring->event_fd, &events, sizeof events);
        (void)length;
        ring_disarm(uring);
    }
    unsigned count = ring_end_all(uring);
    spin_learn(uring, count);
    if (atomic_load_explicit(&uring->woken, memory_order_relaxed) &&
        atomic_exchange(&uring->woken, false))
        count += uring_work_collect(uring);
    count += ring_run_later(uring);
    return count;
}

/* --- Waiting ------------------------------------------------------------------------------- */

static bool ring_arrived(struct uring *uring)
{
    if (io_uring_cq_ready(&uring->ring) > 0 ||
        atomic_load_explicit(&uring->woken, memory_order_acquire))
        return true;
    if (!ring_held(uring))
        return false;
    /* The kernel may set the flag after it handed over what the flag announces: then it stays set,
     * with nothing behind it, until something else completes. Only asking tells. */
    (void)io_uring_get_events(&uring->ring);
    return io_uring_cq_ready(&uring->ring) > 0;
}

bool uring_ready(struct uring *uring)
{
    return ring_arrived(uring) || !list_empty(&uring->ended_ios) || !list_empty(&uring->later) ||
           !list_empty(&uring->dirty) || !list_empty(&uring->waiting_ops) ||
           !list_empty(&uring->waiting_ios) || io_uring_sq_ready(&uring->ring) > 0;
}

void uring_arm(struct uring *uring)
{
    if (!uring->fd_watched || uring->fd_armed)
        return;
    (void)io_uring_cq_eventfd_toggle(&uring->ring, true);
    uring->fd_armed = true;
    /* What came before the ring was told to say so. */
    if (!ring_arrived(uring))
        return;
    uint64_t one = 1;
    ssize_t written = write(uring->event_fd, &one, sizeof one);
    (void)written;
}

static void spin_pause(void)
{
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

/* Spinning pays where one request follows another closely and each is waited for; where many are
 * in flight sleeping lets them gather, at less cost for each. And it pays only while no other
 * process wants the processor: it would take the time from, say, the client it waits for. */
static bool spin_pays(const struct uring *uring)
{
    return uring->spin_ns_max > 1 && uring->flying > 0 && uring->batch_x16 < 40 &&
           uring->disk_flying <= 4 && uring->gap_ns < 2 * uring->spin_ns_max;
}

bool uring_spin(struct uring *uring)
{
    if (ring_arrived(uring))
        return true;
    spin_idle(uring);
    if (!spin_pays(uring))
        return false;
    uint64_t now_ns = uring_now_ns();
    if (now_ns < uring->spin_rest_until_ns)
        return false;
    uint64_t end_ns = now_ns + uring->spin_ns_max;
    while (now_ns < end_ns) {
        for (unsigned i = 0; i < 32; i++) {
            if (ring_arrived(uring))
                return true;
            spin_pause();
        }
        uint64_t before_ns = now_ns;
        now_ns = uring_now_ns();
        if (now_ns - before_ns > URING_SPIN_ROBBED_NS) {
            uring->spin_rest_until_ns = now_ns + URING_SPIN_REST_NS;
            break;
        }
    }
    return ring_arrived(uring);
}

int uring_wait(struct uring *uring, uint64_t until_ns)
{
    int result = uring_submit(uring);
    if (result != 0)
        return result;
    if (uring_ready(uring) || uring_spin(uring))
        return 0;
    uint64_t now_ns = uring_now_ns();
    if (until_ns <= now_ns)
        return 0;
    uint64_t left_ns = until_ns - now_ns;
    struct __kernel_timespec left = {.tv_sec = (long long)(left_ns / NS_PER_S),
                                     .tv_nsec = (long long)(left_ns % NS_PER_S)};
    struct io_uring_cqe *cqe = NULL;
    /* Sleeping here needs no descriptor: the ring's eventfd stays quiet. */
    if (uring->fd_armed)
        ring_disarm(uring);
    int sent = io_uring_submit_and_wait_timeout(&uring->ring, &cqe, 1,
                                                until_ns == CLOCK_NEVER ? NULL : &left, NULL);
    if (sent < 0 && !ring_error_passes(sent))
        return ring_broke(uring, sent);
    return 0;
}

int uring_fd(struct uring *uring)
{
    uring->fd_watched = true;
    uring_arm(uring);
    return uring->event_fd;
}

void uring_wake(struct uring *uring)
{
    /* One write for all that happens until it is seen. */
    if (atomic_exchange(&uring->woken, true))
        return;
    uint64_t one = 1;
    ssize_t written = write(uring->wake_fd, &one, sizeof one);
    (void)written;
}
