/* SPDX-License-Identifier: Apache-2.0 */
/* The ring, for the files of this room only. */
#ifndef URING_RING_H
#define URING_RING_H

#include <liburing.h>
#include <stdatomic.h>

#include "uring/uring.h"

#define URING_FILES_MAX 256u /* Registered descriptors: disks. */
#define URING_ZERO_BYTES (1u << 20)
/* Between two looks at the clock a spin takes a microsecond or two. Longer: somebody else ran. */
#define URING_SPIN_ROBBED_NS 40000ull
#define URING_SPIN_REST_NS (10 * NS_PER_MS)
#define URING_BUFFER_ARENA 0 /* Indices of the registered buffers. */
#define URING_BUFFER_ZERO 1

/* Anything in flight that is not a disk_io. Lives in what waits for it. */
struct uring_op {
    void (*prepare)(struct uring_op *op, struct io_uring_sqe *sqe);
    void (*done)(struct uring_op *op, int result, uint32_t flags);
    struct list node; /* In `waiting_ops` while the ring is full. */
};

/* Something to be called from the next uring_collect(). */
struct uring_later {
    void (*run)(struct uring_later *later);
    struct list node; /* list_init() it once. */
};

struct arena {
    uint8_t *memory;
    uint64_t bytes;
    uint32_t page_count;
    uint32_t *next, *previous; /* Free lists by index; NONE ends them. */
    uint8_t *state;            /* Order of the piece that begins here, | FREE. */
    uint32_t free[32];         /* First free piece of each order. */
};

int arena_open(struct arena *arena, uint64_t bytes);
void arena_close(struct arena *arena);
void *arena_get(struct arena *arena, uint64_t bytes);
void arena_put(struct arena *arena, void *buffer);

struct work_pool;

struct uring {
    struct io_uring ring;
    unsigned setup_flags;
    bool buffers_registered;
    bool files_registered;
    int broken;      /* An error of io_uring_enter that will not go away. */
    int event_fd;    /* Registered with the ring, and handed out. */
    bool fd_watched; /* Somebody has asked for it. */
    bool fd_armed;   /* Completions show there: somebody may sleep on it. */
    int wake_fd;     /* Written by other threads, read by the ring. */
    uint64_t wake_value;
    struct uring_op wake_op;
    bool wake_flying, closing;
    atomic_bool woken; /* wake_fd was written and not yet seen. */

    struct clock clock;
    struct work work;
    struct net net;
    struct work_pool *pool;
    uint32_t work_threads;

    struct arena arena;
    uint8_t *zero; /* URING_ZERO_BYTES of zeros. */
    bool file_used[URING_FILES_MAX];

    struct list waiting_ops; /* struct uring_op: the ring was full. */
    struct list waiting_ios; /* struct disk_io: likewise. */
    struct list ended_ios;   /* struct disk_io: the kernel is through, `done` has not run. */
    struct list later;       /* struct uring_later */
    struct list dirty;       /* Streams with something to send: iomesh_stream.dirty */
    unsigned flying;         /* Sent to the kernel or in the ring, not completed. */
    unsigned disk_flying;
    unsigned open_count;

    /* For the spin: how long the wait for something to do was lately, and how much came at once. */
    uint64_t spin_ns_max;
    uint64_t gap_ns;
    uint64_t idle_since_ns;      /* When collect last found nothing; 0: it found something. */
    uint64_t spin_rest_until_ns; /* Somebody else wanted the processor: no spinning before. */
    uint32_t batch_x16;

    bool lot_replied;             /* A send is among what goes to the kernel now. */
    uint64_t yield_rest_until_ns; /* Somebody else than a client shares the processor. */

    void (*notice)(void *context, const char *text);
    void *notice_context;
};

void uring_notice(struct uring *uring, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* Sends an operation, now or when the ring has room. */
void uring_op_start(struct uring *uring, struct uring_op *op);
void uring_later_start(struct uring *uring, struct uring_later *later);
/* Asks the kernel to end an operation early; it completes as ever. */
void uring_op_cancel(struct uring *uring, struct uring_op *op);

/* Of disk.c: prepares a request, and takes its completion. */
void uring_disk_prepare(struct disk_io *io, struct io_uring_sqe *sqe);
void uring_disk_completed(struct disk_io *io, int result);
void uring_disk_start(struct uring *uring, struct disk_io *io);
/* Ends it with an error from the next turn, without asking the kernel. */
void uring_disk_refuse(struct uring *uring, struct disk_io *io, int error);
/* Of lot.c. */
void uring_lot_placed(struct uring *uring); /* A disk request is in the ring: send it now? */
void uring_lot_ended(struct uring *uring, struct disk_io *io, int result);
unsigned uring_lot_tell(struct uring *uring); /* Ends some of them. Returns how many. */
void uring_lot_yield(struct uring *uring);    /* What a turn asked for is with the kernel. */
/* Of stream.c: gathers what waits to be sent. */
void uring_streams_gather(struct uring *uring);

/* Of clock.c and work.c. */
extern const struct clock_ops uring_clock_ops;
extern const struct work_ops uring_work_ops;
uint64_t uring_now_ns(void);
/* Ends finished jobs. Returns how many. */
unsigned uring_work_collect(struct uring *uring);
int uring_work_open(struct uring *uring);
void uring_work_close(struct uring *uring);

/* Of refuse.c: the sentence of a ring that could not be had. */
int uring_refused(int code);

#endif
