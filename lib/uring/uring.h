/* SPDX-License-Identifier: Apache-2.0 */
/*
 * uring: the real world, on one io_uring.
 *
 * Owns the ring, the disks, streams and listeners on it, an arena of registered buffers, the clock,
 * and a small pool of threads for heavy work. Implements the tables of host/.
 *
 * Promises: every request that was accepted completes exactly once, from uring_collect() and never
 * inside the call that asked for it, however full the ring is; a turn enters the kernel once to
 * send
 * and, when nothing is left to do, once to wait. Works on Linux 6.1 and uses what newer ones offer.
 *
 * Thread: the one that opened it, but for uring_wake().
 */
#ifndef URING_URING_H
#define URING_URING_H

#include <iomesh/sys/stream.h>

#include "host/host.h"

struct uring;

struct uring_options {
    uint32_t entries;      /* Of the submission ring; 0: 1024. */
    uint32_t work_threads; /* 0: 2. */
    uint32_t spin_ns_max;  /* 0: 50,000. */
    uint64_t buffer_bytes; /* Of the arena; 0: 32 MiB. */
    /* Something that works less well than it could; a sentence, borrowed. NULL: nobody listens. */
    void (*notice)(void *context, const char *text);
    void *context;
};

/* 0, or -EPERM, -ENOSYS, -ENOTSUP, -ENOMEM, … with a sentence that names the cause. */
int uring_open(const struct uring_options *options, struct uring **ret_uring);
/* Nothing is open on it any more. NULL is fine. */
void uring_close(struct uring *uring);

struct clock *uring_clock(struct uring *uring);
struct work *uring_work(struct uring *uring);
struct net *uring_net(struct uring *uring);
/*
 * Readable when uring_collect() is due; disks, sockets and uring_wake() all show here, from this
 * call or uring_arm() on until the next uring_collect(): a loop that does not sleep does not pay.
 */
int uring_fd(struct uring *uring);
void uring_arm(struct uring *uring);

/* Ends what has completed, in order of completion. Returns how many callbacks ran. */
unsigned uring_collect(struct uring *uring);
/* Sends what was asked since. 0, or the error of a ring that broke. */
int uring_submit(struct uring *uring);
/* Whether uring_collect() or uring_submit() has something to do, as far as is known here. */
bool uring_ready(struct uring *uring);
/* Busy-waits a little if that is likely to pay: whether something is ready now. */
bool uring_spin(struct uring *uring);
/* Sends, and sleeps until something is ready, `until_ns` of the clock, or a signal. */
int uring_wait(struct uring *uring, uint64_t until_ns);
/* Makes a sleeping uring_wait() return and uring_fd() readable. Any thread. */
void uring_wake(struct uring *uring);
/* Disks, streams and listeners open. */
unsigned uring_open_count(const struct uring *uring);

/* Bytes that nobody can guess, for names that must be unique. Any thread. 0 or -errno. */
int uring_random(void *bytes, uint32_t count);
/* Of this machine, another with each of its boots. 0 or -errno with a sentence. Any thread. */
int uring_boot_id(uint8_t ret_boot_id[16]);

/* --- Buffers ------------------------------------------------------------------------------- */

/* 4 KiB-aligned memory that the ring knows, of at least so many bytes; NULL if there is none. */
void *uring_buffer_get(struct uring *uring, uint64_t bytes);
void uring_buffer_put(struct uring *uring, void *buffer);

/* --- Disks --------------------------------------------------------------------------------- */

#define URING_DISK_READ_ONLY 1u
#define URING_DISK_CREATE 2u /* Make the file, of `bytes`, if it is not there. */

/*
 * Open a file or block device for direct I/O and claim it: flock, and O_EXCL for a block device, on
 * the descriptor that does the I/O. The claim of a killed process lasts until its requests have
 * drained: on IOMESH_IN_USE try again for a while. Blocks for the system calls of opening.
 *
 * 0, or IOMESH_IN_USE, -ENOENT, -EACCES, -ENOTSUP (no direct I/O there), -ENXIO (shorter than
 * `bytes`), … with a sentence. `bytes`: the size to use; 0: all there is.
 */
int uring_disk_open(struct uring *uring, const char *path, uint64_t bytes, unsigned flags,
                    struct disk **ret_disk);
/* Nothing is in flight. NULL is fine. */
void uring_disk_close(struct disk *disk);
bool uring_disk_is_file(const struct disk *disk);

/* --- Streams: see <iomesh/sys/stream.h> ---------------------------------------------------- */

int uring_listen(struct uring *uring, const char *address,
                 const struct iomesh_stream_options *options, iomesh_accept_fn *accept,
                 void *context, struct iomesh_listener **ret_listener);
const char *uring_listener_address(const struct iomesh_listener *listener);
void uring_listener_close(struct iomesh_listener *listener);

int uring_stream_connect(struct uring *uring, const char *address,
                         const struct iomesh_stream_options *options,
                         iomesh_connected_fn *connected, void *context);
int uring_stream_adopt(struct uring *uring, int fd, const struct iomesh_stream_options *options,
                       struct iomesh_stream **ret_stream);
const char *uring_stream_peer(const struct iomesh_stream *stream);
/* The user at the other end of a unix socket, when it connected. 0 or -errno with a sentence. */
int uring_stream_user(const struct iomesh_stream *stream, uint32_t *ret_user);
int uring_stream_fill(struct iomesh_stream *stream, uint32_t bytes, iomesh_done_fn *done,
                      void *context);
uint32_t uring_stream_peek(struct iomesh_stream *stream, const void **ret_data);
void uring_stream_consume(struct iomesh_stream *stream, uint32_t bytes);
int uring_stream_receive(struct iomesh_stream *stream, void *data, uint32_t length,
                         iomesh_done_fn *done, void *context);
int uring_stream_send(struct iomesh_stream *stream, struct iomesh_send *send);
void uring_stream_close(struct iomesh_stream *stream, iomesh_done_fn *closed, void *context);

#endif
