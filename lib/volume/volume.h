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
 * volume_engine_open() but opening a volume, changing its family and beginning a job.
 *
 * Family: what was never written to a clone is read from its parents, nearest first. A parent is
 * what one view of a volume shows, and never changes.
 */
#ifndef VOLUME_VOLUME_H
#define VOLUME_VOLUME_H

#include "host/host.h"
#include "store/store.h"
#include "volume/copies.h"

struct volume;
struct volume_engine;
struct volume_io;

/* --- What the volumes of one engine share ------------------------------------------------- */

struct volume_engine_options {
    struct store *store;   /* NULL: every volume has its copies. */
    uint32_t op_count;     /* Store operations that may be under way; 0: 256. */
    uint32_t bounce_count; /* Buffers of 64 KiB for what is not aligned; 0: 32. */
};

int volume_engine_open(const struct volume_engine_options *options,
                       struct volume_engine **ret_engine);
/* No volume is open. NULL is fine. */
void volume_engine_close(struct volume_engine *engine);
/* Once per engine turn, before store_turn(): starts what waits. */
void volume_engine_turn(struct volume_engine *engine);
/* There is something to tell: turn again before sleeping. */
bool volume_engine_turn_needed(const struct volume_engine *engine);

/* --- I/O ---------------------------------------------------------------------------------- */

enum volume_io_kind {
    VOLUME_READ,
    VOLUME_WRITE,
    VOLUME_FLUSH,
    VOLUME_DISCARD,
    VOLUME_ZERO, /* As discard; with VOLUME_NO_HOLE zeros are written and take space. */
    VOLUME_MAP,
    VOLUME_CHANGED,
    VOLUME_COPY, /* A job's own; nobody else submits it. */
};

enum volume_io_flags { VOLUME_FUA = 1u, VOLUME_NO_HOLE = 2u };

/* VOLUME_CHANGED tells of ranges that did not change nothing but that: no flags. */
enum volume_extent_flags {
    VOLUME_EXTENT_HOLE = 1u,
    VOLUME_EXTENT_ZERO = 2u,
    VOLUME_EXTENT_CHANGED = 4u
};

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
    /* VOLUME_MAP, VOLUME_CHANGED: extent_max of them. They begin at `offset`, follow each other and
     * cover all of the request, or as much of it as fits them and one answer: ask on from there. */
    struct volume_extent *extents;
    uint32_t extent_max;
    uint32_t extent_count; /* Answer. */
    /* VOLUME_CHANGED: what was written after this cut of the same volume. 0: whatever there is, the
     * family's too. Costs by what changed, not by the length. */
    uint64_t since;
    volume_io_fn *done; /* Once, from a turn, never inside volume_submit(). */

    /* The volume's from here on. */
    struct volume *volume;
    struct list node;     /* Among those that hold, or wait for, a range. */
    struct list ready;    /* Among those that want a piece started, or are stopped by a hold. */
    uint64_t first, last; /* Blocks held, inclusive. */
    uint64_t next;        /* Offset of the next piece. */
    uint32_t pieces;      /* Under way. */
    int result;
    uint8_t state;
    struct store_flush flush;
};

void volume_submit(struct volume *volume, struct volume_io *io);

/* --- An open volume ----------------------------------------------------------------------- */

/* What a view of a volume shows: the view is a cut, or VIEW_HEAD of a volume that never changes. */
struct volume_parent {
    uint64_t volume, view;
};

/* Of a clone of a clone of ... */
#define VOLUME_PARENTS_MAX 4096u

struct volume_options {
    struct copies *copies; /* NULL: all of it is in the engine's store. Outlives the volume. */
    uint64_t id;
    uint64_t view; /* VIEW_HEAD; a cut: it is read only, and has no sequences. */
    uint64_t bytes;
    uint32_t sector_bytes; /* 512 or 4096. */
    uint64_t epoch;
    uint64_t sequence;     /* The first to be used. */
    uint64_t sequence_end; /* One past the last of the lot. */
    uint64_t cut;          /* As in volume_set_views(). */
    bool views;
    /* What fills its holes, nearest first. Copied. */
    const struct volume_parent *parents;
    uint32_t parent_count;
    /* Half of the lot is used: reserve the next in the metadata, then volume_extend_sequences(). */
    void (*want_sequences)(void *context);
    void *context;
};

int volume_open(struct volume_engine *engine, const struct volume_options *options,
                struct volume **ret_volume);
/* No I/O is under way, nor a job, nor a hold. */
void volume_close(struct volume *volume);

uint64_t volume_bytes(const struct volume *volume);
uint32_t volume_sector_bytes(const struct volume *volume);
uint64_t volume_id(const struct volume *volume);
uint64_t volume_view(const struct volume *volume);
/* The first sequence that was not used: what a clean close gives back begins here. */
uint64_t volume_sequence(const struct volume *volume);
void volume_extend_sequences(struct volume *volume, uint64_t sequence_end);
/* A volume that was opened without sequences may be written from now on. */
void volume_make_writable(struct volume *volume, uint64_t epoch, uint64_t sequence,
                          uint64_t sequence_end);
/* Uses one up for whoever writes beside it (copies.h). 0: there is none just now. */
uint64_t volume_take_sequence(struct volume *volume);
/* There will be no more sequences: what lacks one, now or later, ends with this result. */
void volume_refuse_sequences(struct volume *volume, int result);
/* From now on; what is under way beyond a smaller end ends as it would have. */
void volume_set_bytes(struct volume *volume, uint64_t bytes);
/* I/O accepted and not told yet, that of jobs included. */
uint32_t volume_io_count(const struct volume *volume);

/* --- Cuts --------------------------------------------------------------------------------- */

/*
 * A cut divides the writes of a volume: those before it are what a snapshot shows. While a volume
 * is held no change of it is under way, and none begins; requests of several pieces stop between
 * two of them, and what waits for nothing but a flush counts as ended: its data is in place. Reads
 * and flushes go on, except reads of what a change that waits is to change.
 *
 *   volume_hold() ──▶ has a sequence ──▶ no change begins ──▶ none is under way: done
 *   done: volume_take_cut() ──▶ volume_release()
 *
 * Several volumes at one instant: hold each, and when all are held take all cuts and release all,
 * before the callback returns. A volume is held by one at a time; others wait in order of arrival,
 * and between two holds what waited begins. Who holds several while others may do the same holds
 * them in the order of their numbers, each when the one before is held.
 *
 * A store that fails ends what is under way, so a hold ends too: whether the store still lives is
 * what the flush after it says.
 */
struct volume_hold {
    /* The caller's. */
    void (*done)(struct volume_hold *hold); /* Once, from a turn, never inside volume_hold(). */
    void *context;

    /* Answer: 0, and a sequence is kept for the cut; -EROFS: the volume is not open for writing;
     * or what volume_refuse_sequences() said. If not 0 it holds nothing, and is not released. */
    int result;

    /* The volume's. */
    struct list node; /* In volume->holds or engine->holds. */
    struct volume *volume;
};

void volume_hold(struct volume *volume, struct volume_hold *hold);
/* Gives up a hold, held or waiting, told or not: it is never told after this, and may be freed.
 * What waited begins. */
void volume_release(struct volume *volume, struct volume_hold *hold);
/* Held and told, once for each hold: uses up one sequence and returns it; what changes from now on
 * carries it. If the snapshot does not come about, volume_set_views() takes it back. */
uint64_t volume_take_cut(struct volume *volume);

/* What changes carry from now on: the newest cut that is kept (0: none), and whether the store may
 * have views of this volume at all, those that nobody keeps included. */
void volume_set_views(struct volume *volume, uint64_t cut, bool views);
/* What fills the holes from now on; flattened: 0 of them. Reads under way end with what they began
 * with. 0; -ENOMEM if parent_count is not 0. */
int volume_set_parents(struct volume *volume, const struct volume_parent *parents,
                       uint32_t parent_count);
/* Nothing reads from what volume_set_parents() replaced any more. */
bool volume_parents_quiet(const struct volume *volume);

/* --- Jobs --------------------------------------------------------------------------------- */

/*
 * Work through a whole volume, while it is in use. Each MiB is dealt with under its range lock,
 * several at once; memory is taken when a job begins. What it writes takes sequences, carries cuts,
 * and stops for holds like any change.
 *
 * Ends with 0: all of it is done, and durable. -ECANCELED: stopped. -ENOSPC, IOMESH_CORRUPT, ...:
 * what was done stays, and nothing else is harmed: begin the job again, and it goes on where it was
 * for little more than what is left.
 */
struct volume_job {
    /* The caller's. */
    void (*progress)(struct volume_job *job, uint64_t done_bytes,
                     uint64_t total_bytes);           /* Or NULL. */
    void (*done)(struct volume_job *job, int result); /* Once, from a turn. */
    void *context;

    /* Answer of a rollback: blocks that could not be read and are known damage now, and the first
     * of them. */
    uint64_t bad_blocks, bad_offset;

    /* The volume's. */
    struct volume_work *work;
};

/* Writes into the head what its family shows where it has holes; zeros of the family stay holes.
 * After done(0) the head needs no parents: volume_set_parents(), in the metadata first. Not of a
 * volume that is read only. 0 or -ENOMEM. */
int volume_flatten_start(struct volume *volume, struct volume_job *job);

struct volume_rollback {
    uint64_t cut;  /* The view that is to be shown again. */
    uint64_t from; /* The newest sequence that the volume had when rolling back was begun first. */
    /* The family of that view, which is not the head's after a flattening. Copied. */
    const struct volume_parent *parents;
    uint32_t parent_count;
};

/* Writes anew every block whose sequence in the head is in (cut, from], as the view shows it: a new
 * place and a new sequence, zeros where it shows nothing. What cannot be read of the view becomes
 * known damage in the head. On -ENOSPC all was tried. Up to the volume's bytes of now. Nobody else
 * writes to the volume meanwhile. 0 or -ENOMEM. */
int volume_rollback_start(struct volume *volume, const struct volume_rollback *rollback,
                          struct volume_job *job);

/* No further MiB is begun; done() runs soon. Harmless when it is already ending. */
void volume_job_stop(struct volume_job *job);

#endif
