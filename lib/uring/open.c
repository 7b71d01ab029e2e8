/* SPDX-License-Identifier: Apache-2.0 */
/* Setting the ring up with what this kernel offers, and taking it down. */
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#include "uring/stream.h"

/* Best first. All know TASKRUN_FLAG, so that waiting completions show without a system call. */
static const unsigned setups[] = {
    IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_TASKRUN_FLAG,
    IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_COOP_TASKRUN | IORING_SETUP_TASKRUN_FLAG,
    IORING_SETUP_COOP_TASKRUN | IORING_SETUP_TASKRUN_FLAG,
    0,
};

#define FEATURES_NEEDED \
    (IORING_FEAT_NODROP | IORING_FEAT_EXT_ARG | IORING_FEAT_SUBMIT_STABLE | IORING_FEAT_FAST_POLL)

static const int operations_needed[] = {
    IORING_OP_READ,       IORING_OP_WRITE,   IORING_OP_READ_FIXED, IORING_OP_WRITE_FIXED,
    IORING_OP_FSYNC,      IORING_OP_ACCEPT,  IORING_OP_CONNECT,    IORING_OP_RECVMSG,
    IORING_OP_RECV,       IORING_OP_SENDMSG, IORING_OP_FALLOCATE,  IORING_OP_ASYNC_CANCEL,
    IORING_OP_SENDMSG_ZC, /* Not used: the mark of Linux 6.1. */
};

static int ring_setup(struct uring *uring, uint32_t entries)
{
    int result = -EINVAL;
    for (unsigned i = 0; i < COUNT_OF(setups) && result == -EINVAL; i++) {
        struct io_uring_params parameters = {
            .flags = setups[i] | IORING_SETUP_CLAMP | IORING_SETUP_CQSIZE,
            .cq_entries = 4 * entries,
        };
        result = io_uring_queue_init_params(entries, &uring->ring, &parameters);
        uring->setup_flags = setups[i];
    }
    if (result < 0)
        return uring_refused(result);
    if ((uring->ring.features & FEATURES_NEEDED) != FEATURES_NEEDED)
        return uring_refused(-ENOTSUP);
    struct io_uring_probe *probe = io_uring_get_probe_ring(&uring->ring);
    if (probe == NULL)
        return uring_refused(-ENOTSUP);
    bool complete = true;
    for (unsigned i = 0; i < COUNT_OF(operations_needed) - 1; i++)
        complete = complete && io_uring_opcode_supported(probe, operations_needed[i]);
    bool modern = io_uring_opcode_supported(probe, IORING_OP_SENDMSG_ZC);
    io_uring_free_probe(probe);
    if (!complete)
        return uring_refused(-ENOTSUP);
    if (!modern)
        uring_notice(uring, "this kernel is older than Linux 6.1, the oldest that is tested");
    return 0;
}

/* Makes the memory known to the ring. Without it everything works, a little slower. */
static void ring_register(struct uring *uring)
{
    struct iovec buffers[] = {
        [URING_BUFFER_ARENA] = {uring->arena.memory, uring->arena.bytes},
        [URING_BUFFER_ZERO] = {uring->zero, URING_ZERO_BYTES},
    };
    int result = io_uring_register_buffers(&uring->ring, buffers, COUNT_OF(buffers));
    uring->buffers_registered = result == 0;
    if (result != 0)
        uring_notice(uring,
                     "buffers could not be registered (%s): raise the limit of locked memory "
                     "(LimitMEMLOCK, ulimit -l) for less CPU per request",
                     strerror(-result));
    result = io_uring_register_files_sparse(&uring->ring, URING_FILES_MAX);
    uring->files_registered = result == 0;
    if (result != 0)
        uring_notice(uring, "descriptors could not be registered: %s", strerror(-result));
    /* Saves a lookup for each system call; kernels before 5.18 do without. */
    (void)io_uring_register_ring_fd(&uring->ring);
}

static void wake_prepare(struct uring_op *op, struct io_uring_sqe *sqe)
{
    struct uring *uring = CONTAINER_OF(op, struct uring, wake_op);
    io_uring_prep_read(sqe, uring->wake_fd, &uring->wake_value, sizeof uring->wake_value, 0);
}

static void wake_done(struct uring_op *op, int result, uint32_t flags)
{
    (void)result;
    (void)flags;
    struct uring *uring = CONTAINER_OF(op, struct uring, wake_op);
    uring->wake_flying = !uring->closing;
    if (!uring->closing)
        uring_op_start(uring, op);
}

static int ring_events(struct uring *uring)
{
    uring->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    uring->wake_fd = eventfd(0, EFD_CLOEXEC);
    if (uring->event_fd < 0 || uring->wake_fd < 0)
        return FAIL(-errno, "no descriptor for the engine: %s", strerror(errno));
    int result = io_uring_register_eventfd(&uring->ring, uring->event_fd);
    if (result != 0)
        return FAIL(result, "the ring takes no eventfd: %s", strerror(-result));
    (void)io_uring_cq_eventfd_toggle(&uring->ring, false);
    uring->wake_op.prepare = wake_prepare;
    uring->wake_op.done = wake_done;
    uring->wake_flying = true;
    uring_op_start(uring, &uring->wake_op);
    return uring_submit(uring);
}

static int uring_start(struct uring *uring, const struct uring_options *options)
{
    int result = ring_setup(uring, options->entries != 0 ? options->entries : 1024);
    if (result != 0)
        return result;
    void *zero =
        mmap(NULL, URING_ZERO_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    uring->zero = zero == MAP_FAILED ? NULL : zero;
    uint64_t buffer_bytes = options->buffer_bytes != 0 ? options->buffer_bytes : 32ull << 20;
    if (uring->zero == NULL || arena_open(&uring->arena, buffer_bytes) != 0 ||
        uring_work_open(uring) != 0)
        return FAIL(-ENOMEM, "no memory for the engine's buffers (%llu bytes)",
                    (unsigned long long)buffer_bytes);
    ring_register(uring);
    return ring_events(uring);
}

int uring_open(const struct uring_options *options, struct uring **ret_uring)
{
    struct uring *uring = calloc(1, sizeof *uring);
    if (uring == NULL)
        return FAIL(-ENOMEM, "no memory for a ring");
    uring->ring.ring_fd = -1;
    uring->event_fd = uring->wake_fd = -1;
    uring->notice = options->notice;
    uring->notice_context = options->context;
    uring->clock.ops = &uring_clock_ops;
    uring->work.ops = &uring_work_ops;
    uring->net.ops = &uring_net_ops;
    uring->work_threads = options->work_threads != 0 ? options->work_threads : 2;
    uring->spin_ns_max = options->spin_ns_max != 0 ? options->spin_ns_max : 50000;
    uring->gap_ns = 4 * uring->spin_ns_max;
    list_init(&uring->waiting_ops);
    list_init(&uring->waiting_ios);
    list_init(&uring->ended_ios);
    list_init(&uring->later);
    list_init(&uring->dirty);
    int result = uring_start(uring, options);
    if (result != 0) {
        uring_close(uring);
        return result;
    }
    *ret_uring = uring;
    return 0;
}

/* The kernel must not read into memory that is gone: the wake-up's read ends first. */
static void uring_drain(struct uring *uring)
{
    uring->closing = true;
    atomic_store(&uring->woken, false);
    uring_wake(uring);
    while (uring->flying > 0 && uring->broken == 0) {
        (void)uring_collect(uring);
        if (uring->flying > 0)
            (void)uring_wait(uring, CLOCK_NEVER);
    }
}

void uring_close(struct uring *uring)
{
    if (uring == NULL)
        return;
    assert(uring->open_count == 0);
    if (uring->wake_flying)
        uring_drain(uring);
    uring_work_close(uring);
    if (uring->ring.ring_fd >= 0)
        io_uring_queue_exit(&uring->ring);
    if (uring->event_fd >= 0)
        close(uring->event_fd);
    if (uring->wake_fd >= 0)
        close(uring->wake_fd);
    if (uring->zero != NULL)
        munmap(uring->zero, URING_ZERO_BYTES);
    arena_close(&uring->arena);
    free(uring);
}

struct clock *uring_clock(struct uring *uring)
{
    return &uring->clock;
}

struct work *uring_work(struct uring *uring)
{
    return &uring->work;
}

unsigned uring_open_count(const struct uring *uring)
{
    return uring->open_count;
}

void *uring_buffer_get(struct uring *uring, uint64_t bytes)
{
    return arena_get(&uring->arena, bytes);
}

void uring_buffer_put(struct uring *uring, void *buffer)
{
    if (buffer != NULL)
        arena_put(&uring->arena, buffer);
}
