/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The engine: one thread, one ring. You own the loop.
 *
 * With your own loop: before it sleeps, every time, ask iomesh_deadline(). 0: call iomesh_turn()
 * and ask again; requests are sent by a turn. Else sleep that long at most, watching iomesh_fd()
 * for reading, and then call iomesh_turn().
 * Without one: iomesh_wait() in a loop, or the …_sync calls.
 */
#ifndef IOMESH_ENGINE_H
#define IOMESH_ENGINE_H

#include <stdint.h>

#include <iomesh/event.h>
#include <iomesh/version.h>

struct iomesh_engine;

/* How every operation ends. result: 0, or a negative code. */
typedef void iomesh_done_fn(void *context, int result);
typedef void iomesh_post_fn(void *context);

#define IOMESH_NEVER UINT64_MAX

struct iomesh_engine_options {
    uint32_t size;
    uint32_t ring_entries; /* Requests sent to the kernel at once, 64 .. 32768; 0: 1024. */
    uint64_t buffer_bytes; /* Arena of iomesh_buffer_get(), 1 MiB .. 1 GiB; 0: 32 MiB. */
    uint32_t posts_max;    /* Functions waiting for the thread, 1 .. 65536; 0: 1024. */
    uint32_t work_threads; /* For compression and the like, 1 .. 64; 0: 2. Started at first use. */
    uint32_t spin_ns_max;  /* Longest busy wait before sleeping; 0: 50,000. 1 turns it off. */
    uint32_t reserved;
    iomesh_trace_fn *trace; /* NULL: nobody listens. */
    void *trace_context;
};

#define IOMESH_ENGINE_OPTIONS_INIT                                             \
    {                                                                          \
        (uint32_t)sizeof(struct iomesh_engine_options), 0, 0, 0, 0, 0, 0, 0, 0 \
    }

/**
 * Open an engine.
 *
 * @options     NULL for defaults; copied
 * @ret_engine  yours until iomesh_engine_close()
 *
 * Returns 0, or
 *   -EINVAL           an option is out of range
 *   -EPERM, -ENOSYS   io_uring is refused here; the sentence names what refuses it
 *   -ENOTSUP          the kernel is older than Linux 6.1
 *   -ENOMEM, -EMFILE
 *
 * Thread: the one that will turn it. Blocks: briefly. Allocates: yes. Since: 0.1.
 */
IOMESH_API int iomesh_engine_open(const struct iomesh_engine_options *options,
                                  struct iomesh_engine **ret_engine);

/**
 * Close an engine. NULL is fine.
 *
 * Everything opened on it must be closed before; functions posted and not yet run are run.
 *
 * Returns 0, -EBUSY if something is still open (nothing happened), -EDEADLK inside a callback.
 *
 * Thread: the engine's. Blocks: briefly. Since: 0.1.
 */
IOMESH_API int iomesh_engine_close(struct iomesh_engine *engine);

/**
 * A descriptor that becomes readable when a turn is due, from iomesh_deadline() on until the next
 * turn. An eventfd, the engine's own: poll it, never read or close it.
 *
 * Returns the descriptor.
 *
 * Thread: the engine's. Blocks: never. Allocates: never. Since: 0.1.
 */
IOMESH_API int iomesh_fd(struct iomesh_engine *engine);

/**
 * How long the engine can do without a turn if its descriptor stays quiet. Arms the descriptor:
 * call it each time before sleeping.
 *
 * Returns nanoseconds from now; 0: a turn is due; IOMESH_NEVER: nothing is waited for.
 *
 * Thread: the engine's. Blocks: never. Allocates: never. Since: 0.1.
 */
IOMESH_API uint64_t iomesh_deadline(struct iomesh_engine *engine);

/**
 * Turn the crank once: collect completions, run their callbacks and what is due, send what was
 * asked.
 *
 * Returns how many callbacks ran, -EDEADLK inside a callback, or the error of a ring that broke.
 *
 * Thread: the engine's. Blocks: never. Allocates: never. Since: 0.1.
 */
IOMESH_API int iomesh_turn(struct iomesh_engine *engine);

/**
 * Turn the crank, and wait if there was nothing to do.
 *
 * Watches the ring for a short while first if completions came fast lately (spin_ns_max).
 *
 * @timeout_ns  the longest wait; 0: none; IOMESH_NEVER: until something happens
 *
 * Returns as iomesh_turn(); 0 after a timeout or a signal.
 *
 * Thread: the engine's. Blocks: up to the timeout. Allocates: never. Since: 0.1.
 */
IOMESH_API int iomesh_wait(struct iomesh_engine *engine, uint64_t timeout_ns);

/**
 * Watch the ring for a short while: call it just before your loop would sleep.
 *
 * Adapts: spins as long as completions came fast lately, not at all otherwise.
 *
 * Returns 1 if a turn is due now, 0 if the loop may sleep.
 *
 * Thread: the engine's. Blocks: up to spin_ns_max, busy. Allocates: never. Since: 0.1.
 */
IOMESH_API int iomesh_spin(struct iomesh_engine *engine);

/**
 * Have the engine's thread run a function, from a turn soon. In order for each posting thread.
 *
 * @post  runs exactly once if 0 is returned
 *
 * Returns 0, or -EAGAIN when posts_max functions are waiting.
 *
 * Thread: any; not from a signal handler. Blocks: never. Allocates: never. Since: 0.1.
 */
IOMESH_API int iomesh_post(struct iomesh_engine *engine, iomesh_post_fn *post, void *context);

/**
 * Borrow memory that the ring knows: the cheapest place to read to and write from.
 *
 * @bytes  1 .. the arena; rounded up to 4 KiB times a power of two, aligned to 4 KiB
 *
 * Returns the memory (undefined bytes), or NULL if the arena has no such piece left: wait for
 * one to be put back, or use memory of your own.
 *
 * Thread: the engine's. Blocks: never. Allocates: never. Since: 0.1.
 */
IOMESH_API void *iomesh_buffer_get(struct iomesh_engine *engine, uint64_t bytes);

/**
 * Give back what iomesh_buffer_get() gave. NULL is fine. No request may still use it.
 *
 * Thread: the engine's. Blocks: never. Allocates: never. Since: 0.1.
 */
IOMESH_API void iomesh_buffer_put(struct iomesh_engine *engine, void *buffer);

#endif
