/* SPDX-License-Identifier: Apache-2.0 */
/*
 * volume: reading and writing an array of bytes that a store keeps as blocks.
 *
 * Owns open volumes: the order of what overlaps, sequences, and the splitting of requests into
 * what a store takes (at most 1 MiB, never over a mebibyte's boundary). catalog.h opens them.
 *
 * Promises: each 4 KiB block is a linearizable register: a write that is under way holds its range,
 * and whatever overlaps waits, in order of arrival; reads share. Edges that are not whole blocks
 * are read, changed and written under the same hold, so they are exact under concurrency. A write
 * takes a sequence that no write of the volume ever had. Nothing here allocates after
 * volume_engine_open() but opening a volume.
 */
#ifndef VOLUME_VOLUME_H
#define VOLUME_VOLUME_H

#include "host/host.h"
#include "store/store.h"

struct volume;
struct volume_engine;
struct volume_io;

/* --- What the volumes of one engine share ------------------------------------------------- */

struct volume_engine_options {
    struct store *store;
    uint32_t op_count;     /* Store operations that may be under way; 0: 256. */
    uint32_t bounce_count; /* Buffers of 64 KiB for what is not aligned; 0: 32. */
};

int volume_engine_open(const struct volume_engine_options *options,
                       struct volume_engine **ret_engine);
/* No volume is open. NULL is fine. */
void volume_engine_close(struct volume_engine *engine);
/* Once per engine turn, before store_turn(): starts what waits. */
void volume_engine_turn(struct volume_engine *engine);

/* --- I/O ---------------------------------------------------------------------------------- */

enum volume_io_kind {
    VOLUME_READ,
    VOLUME_WRITE,
    VOLUME_FLUSH,
    VOLUME_DISCARD,
    VOLUME_ZERO, /* As discard; with VOLUME_NO_HOLE zeros are written and take space. */
    VOLUME_MAP,
};

enum volume_io_flags { VOLUME_FUA = 1u, VOLUME_NO_HOLE = 2u };

enum volume_extent_flags { VOLUME_EXTENT_HOLE = 1u, VOLUME_EXTENT_ZERO = 2u };

struct volume_extent {
    uint64_t bytes;
    uint32_t flags;
    uint32_t reserved;
};

typedef void volume_io_fn(struct volume_io *io, int result);

#define VOLUME_IO_PIECES 8u

/* Lives in whatever waits for it; zero it once. */
struct volume_io {
    /* The caller's. Offset and length: multiples of the volume's sector, within its size, length
     * not 0 but for VOLUME_FLUSH; checked by the caller, asserted here. */
    enum volume_io_kind kind;
    uint32_t flags;
    uint64_t offset;
    uint64_t length;
    void *data; /* Any alignment; 512 and better costs no copy. Borrowed until done. */
    struct volume_extent *extents; /* VOLUME_MAP: extent_max of them. */
    uint32_t extent_max;
    uint32_t extent_count; /* Answer. */
    volume_io_fn *done;    /* Once, from a turn, never inside volume_submit(). */

    /* The volume's from here on. */
    struct volume *volume;
    struct list node;     /* Among those that hold, or wait for, a range. */
    struct list ready;    /* Among those that want a piece started. */
    uint64_t first, last; /* Blocks held, inclusive. */
    uint64_t next;        /* Offset of the next piece. */
    uint32_t pieces;      /* Under way. */
    int result;
    uint8_t state;
    struct store_flush flush;
};

void volume_submit(struct volume *volume, struct volume_io *io);

/* --- An open volume ----------------------------------------------------------------------- */

struct volume_options {
    uint64_t id;
    uint64_t bytes;
    uint32_t sector_bytes; /* 512 or 4096. */
    uint64_t epoch;
    uint64_t sequence;     /* The first to be used. */
    uint64_t sequence_end; /* One past the last of the lot. */
    /* Half of the lot is used: reserve the next in the metadata, then volume_extend_sequences(). */
    void (*want_sequences)(void *context);
    void *context;
};

int volume_open(struct volume_engine *engine, const struct volume_options *options,
                struct volume **ret_volume);
/* No I/O is under way. */
void volume_close(struct volume *volume);

uint64_t volume_bytes(const struct volume *volume);
uint32_t volume_sector_bytes(const struct volume *volume);
uint64_t volume_id(const struct volume *volume);
/* The first sequence that was not used: what a clean close gives back begins here. */
uint64_t volume_sequence(const struct volume *volume);
void volume_extend_sequences(struct volume *volume, uint64_t sequence_end);
/* A volume that was opened without sequences may be written from now on. */
void volume_make_writable(struct volume *volume, uint64_t epoch, uint64_t sequence,
                          uint64_t sequence_end);
/* There will be no more sequences: what lacks one, now or later, ends with this result. */
void volume_refuse_sequences(struct volume *volume, int result);
/* From now on; what is under way beyond a smaller end ends as it would have. */
void volume_set_bytes(struct volume *volume, uint64_t bytes);
/* I/O accepted and not told yet. */
uint32_t volume_io_count(const struct volume *volume);

#endif
