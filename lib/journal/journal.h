/* SPDX-License-Identifier: Apache-2.0 */
/*
 * journal: one store's log. One order, decided here.
 *
 * Owns a fixed region of one device and the batches in it. Records are bytes to it. Records join
 * the open batch; a batch is one write of 1 .. batch_blocks_max blocks; a few are in flight.
 *
 *   OPEN ──▶ FLYING ──▶ WRITTEN (it, and every batch before it) ──▶ APPLIED ──▶ DURABLE ──▶ TRIMMED
 *
 * A batch carries the store's incarnation, its number (no gaps), the highest number known durable,
 * its length and a CRC32C over all of it. Where batch n + 1 begins follows from where n began and
 * its length alone: next to it, or at the start of the region if fewer than batch_blocks_max blocks
 * are left there.
 *
 * Promises: `done` of an entry runs after its batch and every batch before it are written, in
 * append order. The tail never overtakes the trim position: appends wait instead. A failed write
 * (no space below included) fails the device set and the journal: every entry, waiting or to come,
 * ends with IOMESH_FAILED.
 */
#ifndef JOURNAL_JOURNAL_H
#define JOURNAL_JOURNAL_H

#include "device/device.h"

struct journal;

struct journal_position {
    uint64_t batch; /* Number of the batch that begins there; starts at 1. */
    uint64_t block; /* Blocks from the start of the region. */
};

struct journal_options {
    struct device_set *devices;
    uint64_t place;                /* Of the region. */
    uint64_t blocks;               /* At least 4 * batch_blocks_max. */
    uint64_t incarnation;          /* Of the store, this time. */
    struct journal_position start; /* The first batch to be written now, or to be scanned. */
    uint32_t batch_blocks_max;     /* 2 .. 64; the same whenever this region is opened. */
    uint32_t in_flight_max;        /* Batches, 1 .. 8. */
    uint32_t read_blocks;          /* Of one read of a scan; 0: 256 (1 MiB). */
};

int journal_open(const struct journal_options *options, struct journal **ret_journal);
/* Nothing may be in flight, unless its completion will never come. */
void journal_close(struct journal *journal);

/* --- Appending --------------------------------------------------------------------------- */

struct journal_entry;
typedef void journal_done_fn(struct journal_entry *entry, int result);

/* Lives in the operation that waits for it. */
struct journal_entry {
    struct list node;
    uint64_t batch; /* Which one it joined: known once journal_append() returned 0. */
    journal_done_fn *done;
};

/* Largest record, in bytes, for the given options. */
uint32_t journal_record_bytes_max(const struct journal *journal);

/*
 * Add a record of at least one byte, copied at once. 0: `entry->done` runs once, later. -EAGAIN:
 * no room in the open batch while all others fly, the region is full until a trim, or 1,024 batches
 * wait for journal_applied(): try again when `on_room` runs.
 * IOMESH_FAILED. After done(0), apply the record to memory and call journal_applied() exactly
 * once; on done(<0) don't.
 */
int journal_append(struct journal *journal, struct journal_entry *entry, const void *record,
                   uint32_t length, journal_done_fn *done);
void journal_applied(struct journal *journal, struct journal_entry *entry);

/* Called from a completion or from journal_turn() when an append that was refused may go on. */
void journal_on_room(struct journal *journal, void (*on_room)(void *context), void *context);

/* Once per engine turn, after all appends: sends the open batch if it may go. */
void journal_turn(struct journal *journal);

/* --- Durability and trim ----------------------------------------------------------------- */

/* The highest batch such that it and all before are written and all their records applied: what
 * a flush that begins now will make durable. */
uint64_t journal_applied_through(const struct journal *journal);
/* A flush that began when journal_applied_through() said so has completed. */
void journal_set_durable(struct journal *journal, uint64_t batch);
uint64_t journal_durable(const struct journal *journal);
/* Something is durable that no written batch names yet: an idle store appends an empty batch
 * with journal_mark() within 100 ms. */
bool journal_durable_unnamed(const struct journal *journal);
void journal_mark(struct journal *journal);

/* The oldest batch that holds a record not applied yet, or the next to be written: where replay
 * would begin if everything applied were in a checkpoint taken now. */
struct journal_position journal_replay_start(const struct journal *journal);
/* A checkpoint that begins its replay there is durable. */
void journal_trim(struct journal *journal, struct journal_position start);
uint64_t journal_used_blocks(const struct journal *journal);
uint64_t journal_blocks(const struct journal *journal);
/* No entry waits and no batch flies. */
bool journal_idle(const struct journal *journal);

/* --- Recovery ---------------------------------------------------------------------------- */

/*
 * What a scan found. Batches of another incarnation than options.incarnation are not batches.
 * A block that cannot be read (each is tried again, alone) is a hole; if it is where the chain
 * ends, nobody knows what was there, and that is damage too.
 */
struct journal_scan {
    struct journal_position end; /* One past the last good batch of the unbroken chain. */
    uint64_t last; /* The highest number of any valid batch: the next incarnation goes on above. */
    uint64_t durable;          /* The highest durable number that any valid batch names. */
    bool damaged;              /* The chain ends at or below `durable`: batches were lost. */
    uint64_t batches, records; /* In the chain. */
    uint64_t beyond;           /* Valid batches numbered at or above the chain's end. */
    uint64_t unreadable;       /* Blocks. */
};
/*
 * Reads from options.start; the whole region is looked at for batches beyond a hole. Allocates the
 * buffers of its reads, kept until journal_close(). -ENOMEM: then `done` never runs.
 */
int journal_scan_start(struct journal *journal, void (*done)(void *context, int result),
                       void *context);
const struct journal_scan *journal_scanned(const struct journal *journal);

/*
 * After a scan: give every record of the chain in order. `visit` answers 0 to go on, or 1 to be
 * continued behind it by journal_replay_continue(); the record's bytes stay put meanwhile.
 * `certain`: the batch is at or below the scan's durable number. Then `done`: 0, or IOMESH_CORRUPT
 * if a batch that the scan saw whole is not any more.
 */
typedef int journal_visit_fn(void *context, uint64_t batch, bool certain, const uint8_t *record,
                             uint32_t length);
void journal_replay_start_visit(struct journal *journal, journal_visit_fn *visit,
                                void (*done)(void *context, int result), void *context);
void journal_replay_continue(struct journal *journal);

struct journal_stats {
    uint64_t batches, records, bytes_records, blocks_written, waits_full, waits_room, marks;
};
void journal_stats(const struct journal *journal, struct journal_stats *ret_stats);

#endif
