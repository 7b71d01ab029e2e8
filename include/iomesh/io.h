/* SPDX-License-Identifier: Apache-2.0 */
/*
 * I/O on an open volume.
 *
 * Offsets and lengths are multiples of the volume's logical sector. Whole aligned 4 KiB blocks are
 * fastest; the rest is exact too, under concurrency. Each 4 KiB block is old or new after a crash,
 * never a mixture; a request over several blocks may be cut between them.
 *
 * Memory may have any alignment: a multiple of 4 KiB costs no copy.
 */
#ifndef IOMESH_IO_H
#define IOMESH_IO_H

#include <stdint.h>

#include <iomesh/engine.h>
#include <iomesh/volume.h>

/* Bytes that one read or write may carry. */
#define IOMESH_IO_BYTES_MAX (32u << 20)

/* Durable when it completes, as if a flush followed. */
#define IOMESH_FUA 1u
/* iomesh_write_zeroes(): space stays or is taken, so that a later write is not refused for lack
 * of it. Without it the range becomes a hole that reads zeros. */
#define IOMESH_NO_HOLE 2u
/* iomesh_write_zeroes(): only if it is faster than writing zeros would be; else -ENOTSUP at
 * once. */
#define IOMESH_FAST 4u

/**
 * Read.
 *
 * @offset  bytes from the start; a multiple of the sector
 * @length  bytes; a multiple of the sector, 1 sector .. IOMESH_IO_BYTES_MAX
 * @data    borrowed, undefined until @done has run with 0
 * @done    runs exactly once if 0 is returned, never otherwise; always from iomesh_turn()
 *
 * Returns 0 once accepted, or
 *   -EINVAL   offset or length is misaligned or out of range
 *   -EAGAIN   requests_max are in flight: try again after a completion
 * and @done may then see IOMESH_CORRUPT (never bad data), -EIO, IOMESH_FAILED, IOMESH_FENCED.
 *
 * Thread: the engine's. Blocks: never. Allocates: never. Since: 0.1.
 */
IOMESH_API int iomesh_read(struct iomesh_volume *volume, uint64_t offset, uint32_t length,
                           void *data, iomesh_done_fn *done, void *context);
/** The same, waiting. Thread: the engine's, not inside a callback. Blocks: yes. Since: 0.1. */
IOMESH_API int iomesh_read_sync(struct iomesh_volume *volume, uint64_t offset, uint32_t length,
                                void *data);

/**
 * Write.
 *
 * A completed write is seen by every later read and survives kill -9 of the process. It survives
 * power loss once a later iomesh_flush() completes; with IOMESH_FUA, as soon as it completes.
 *
 * @data   borrowed: leave it alone until @done has run
 * @flags  0 or IOMESH_FUA
 *
 * Else as iomesh_read(); refused with -EROFS too if the handle or the pool is read-only. @done may
 * see -ENOSPC (nothing written before is harmed), -EIO, IOMESH_FAILED, IOMESH_FENCED; after any
 * of them each block of the range is old or new.
 *
 * Thread: the engine's. Blocks: never. Allocates: never. Since: 0.1.
 */
IOMESH_API int iomesh_write(struct iomesh_volume *volume, uint64_t offset, uint32_t length,
                            const void *data, uint32_t flags, iomesh_done_fn *done, void *context);
/** The same, waiting. Thread: the engine's, not inside a callback. Blocks: yes. Since: 0.1. */
IOMESH_API int iomesh_write_sync(struct iomesh_volume *volume, uint64_t offset, uint32_t length,
                                 const void *data, uint32_t flags);

/**
 * Flush: every write, discard and write of zeroes of the volume that completed before this call,
 * through any handle, survives power loss once @done has run with 0.
 *
 * Returns 0 once accepted, or -EAGAIN; @done may see -EIO, IOMESH_FAILED. A flush never lies.
 *
 * Thread: the engine's. Blocks: never. Allocates: never. Since: 0.1.
 */
IOMESH_API int iomesh_flush(struct iomesh_volume *volume, iomesh_done_fn *done, void *context);
/** The same, waiting. Thread: the engine's, not inside a callback. Blocks: yes. Since: 0.1. */
IOMESH_API int iomesh_flush_sync(struct iomesh_volume *volume);

/**
 * Discard: the range reads zeros and its space comes back. Works on a full store.
 *
 * @length  bytes, a multiple of the sector; up to the whole volume
 * @flags   0 or IOMESH_FUA
 *
 * Returns and completes as iomesh_write().
 *
 * Thread: the engine's. Blocks: never. Allocates: never. Since: 0.1.
 */
IOMESH_API int iomesh_discard(struct iomesh_volume *volume, uint64_t offset, uint64_t length,
                              uint32_t flags, iomesh_done_fn *done, void *context);
/** The same, waiting. Thread: the engine's, not inside a callback. Blocks: yes. Since: 0.1. */
IOMESH_API int iomesh_discard_sync(struct iomesh_volume *volume, uint64_t offset, uint64_t length,
                                   uint32_t flags);

/**
 * Write zeroes without sending them.
 *
 * @length  bytes, a multiple of the sector; up to the whole volume
 * @flags   of IOMESH_FUA, IOMESH_NO_HOLE, IOMESH_FAST
 *
 * Returns and completes as iomesh_write(); with IOMESH_FAST also refused with -ENOTSUP.
 *
 * Thread: the engine's. Blocks: never. Allocates: never. Since: 0.1.
 */
IOMESH_API int iomesh_write_zeroes(struct iomesh_volume *volume, uint64_t offset, uint64_t length,
                                   uint32_t flags, iomesh_done_fn *done, void *context);
/** The same, waiting. Thread: the engine's, not inside a callback. Blocks: yes. Since: 0.1. */
IOMESH_API int iomesh_write_zeroes_sync(struct iomesh_volume *volume, uint64_t offset,
                                        uint64_t length, uint32_t flags);

/* A stretch of a volume of one kind. */
struct iomesh_extent {
    uint64_t bytes;
    uint32_t flags; /* IOMESH_EXTENT_… */
    uint32_t reserved;
};

#define IOMESH_EXTENT_HOLE 1u /* Takes no space. */
#define IOMESH_EXTENT_ZERO 2u /* Reads zeros. */
/* iomesh_changed() only: it was written. Since 0.2. */
#define IOMESH_EXTENT_CHANGED 4u

/* extent_count: those that were filled in, 0 unless result is 0. */
typedef void iomesh_extents_fn(void *context, int result, uint32_t extent_count);

/**
 * The allocation map: what of a range takes space.
 *
 * @offset, @length  as iomesh_discard()
 * @extents          filled in order from @offset on, neighbours differ in flags; borrowed
 * @extent_max       1 or more; if the range has more extents the answer ends early
 *
 * Returns and completes as iomesh_read(). At least one extent, at most the range, is told.
 *
 * Thread: the engine's. Blocks: never. Allocates: never. Since: 0.1.
 */
IOMESH_API int iomesh_block_status(struct iomesh_volume *volume, uint64_t offset, uint64_t length,
                                   struct iomesh_extent *extents, uint32_t extent_max,
                                   iomesh_extents_fn *done, void *context);
/** The same, waiting. Returns how many extents, or a negative code. Thread: the engine's.
 * Blocks: yes. Since: 0.1. */
IOMESH_API int iomesh_block_status_sync(struct iomesh_volume *volume, uint64_t offset,
                                        uint64_t length, struct iomesh_extent *extents,
                                        uint32_t extent_max);

#endif
