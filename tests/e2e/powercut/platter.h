/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A drive with a volatile write cache, whose power can be cut.
 *
 * What it is: a file (the platter: what survives), a view in memory (what a read sees), and the
 * list of writes that the drive has acknowledged and not yet put on the platter.
 *
 * What it promises: a write is on the platter after a flush that began after it ended, or if it was
 * written through (FUA). A cut puts a seeded random part of the other writes there, in a random
 * order, some of them torn at 512 bytes, and loses the rest. Nothing is lost that was flushed.
 *
 * Not thread-safe: the plugin holds one lock around every call.
 */
#ifndef POWERCUT_PLATTER_H
#define POWERCUT_PLATTER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PLATTER_SECTOR_BYTES 512u

struct platter_write;

struct platter_counts {
    uint64_t cuts;
    uint64_t kept; /* Writes that a cut put on the platter whole, over all cuts. */
    uint64_t lost;
    uint64_t torn;
    uint64_t flushes;
    uint64_t through; /* Writes with FUA. */
};

struct platter {
    int fd;
    uint8_t *view; /* Owned mapping of size_bytes. */
    uint64_t size_bytes;
    uint64_t cache_bytes_max; /* Above this the drive writes its oldest writes back by itself. */
    uint64_t cache_bytes;
    uint64_t seed;
    struct platter_write *oldest;
    struct platter_write *newest;
    uint64_t pending; /* Writes in the list. */
    struct platter_counts counts;
};

/* Opens the file at @path: it must exist and be whole sectors. Returns 0, or -1 with errno. */
int platter_open(struct platter *platter, const char *path, uint64_t cache_bytes_max,
                 uint64_t seed);
void platter_close(struct platter *platter);

/* @data NULL writes zeroes. Offsets and lengths are whole sectors. Returns 0, or -1 with errno. */
int platter_write(struct platter *platter, uint64_t offset, uint64_t length, const void *data,
                  bool through);
int platter_flush(struct platter *platter);

/* What one cut did with the writes that were pending. */
struct platter_cut {
    uint64_t seed;
    uint64_t kept;
    uint64_t lost;
    uint64_t torn;
};

/* Cuts the power. @seed 0 draws one from the platter's own. The view then shows the platter. */
int platter_cut(struct platter *platter, uint64_t seed, struct platter_cut *ret_cut);

#endif
