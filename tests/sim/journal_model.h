/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The smallest store that a journal can have, and an oracle that remembers what it promised.
 *
 * Records have numbers in the order of their making. Some own a block of data, written beside the
 * journal; a record is applied when both are done, now or later. Flushes, checkpoints (a superblock
 * names which records it holds and where replay begins), marks and trims come as chance has it.
 *
 *    block 0, 1   superblocks, alternating
 *          2 ..   the journal
 *    behind it    the data, a block for each record: whatever overruns the region is noticed
 */
#ifndef SIM_JOURNAL_MODEL_H
#define SIM_JOURNAL_MODEL_H

#include <stdnoreturn.h>

#include "journal/journal.h"
#include "sim/disk.h"

#define RECORDS_MAX 384u
#define JOURNAL_PLACE 2u
#define REGION_BLOCKS_MAX 96u

struct model;

struct record {
    struct journal_entry entry;
    struct device_io data_io;
    struct model *model;
    unsigned number;
    uint32_t length;
    bool has_data;
    /* What happened to it. */
    uint64_t incarnation, batch; /* Where it was appended; 0: nowhere. */
    bool ended, done, data_ended, data_done, applied;
    /* What is promised. */
    bool acknowledged; /* Survives the death of the process. */
    bool durable;      /* Survives a power cut. */
    bool flushing[2];  /* Covered by a flush under way. */
};

struct superblock {
    uint64_t generation, incarnation;
    struct journal_position start;
    uint8_t holds[RECORDS_MAX / 8];
};

/* One flush under way, a client's (0) or a checkpoint's (1). */
struct flush_op {
    struct device_flush flush;
    struct model *model;
    unsigned which;
    uint64_t covers;
    bool busy;
};

enum checkpoint_state { CHECKPOINT_IDLE, CHECKPOINT_DATA, CHECKPOINT_SUPER, CHECKPOINT_SETTLE };

struct model {
    struct world world;
    struct prng prng;
    struct sim_disk *disk;
    struct device_set devices;
    struct journal_options options;
    struct journal *journal;
    struct timer tick;
    bool verbose;

    struct record records[RECORDS_MAX];
    unsigned record_count; /* Made. */
    unsigned appended;     /* Those below were offered to the journal and taken, or are dead. */
    unsigned record_limit; /* In this life. */
    uint32_t length_max;
    bool wants_room;
    unsigned last_ended; /* Number of the last record that ended, for the order. */

    struct flush_op flushes[2];
    enum checkpoint_state checkpoint;
    struct superblock super;      /* The one on disk that counts. */
    struct superblock super_next; /* The one being written. */
    struct superblock written[2]; /* What was last sent to each block. */
    uint64_t super_durable;       /* Generation known durable. */
    struct device_io super_io;
    uint8_t *super_bytes;

    bool failed;       /* The device or the journal failed: this life only ends. */
    bool media_faults; /* Something happened that no journal can survive for sure. */
    /* Recovery. */
    bool waiting, read_ended;
    int read_result;
    unsigned replay_next;
    uint64_t replay_batch;
    struct superblock found;
    struct timer resume;
};

struct storm_counts {
    uint64_t seeds, lives, cuts, cuts_in_recovery, kills, failures, rests, records, replayed,
        durable, damaged, media, data_missing, checkpoints, flushes, marks, moments;
};
extern struct storm_counts counts;

/* Tells what is not so and ends the process. */
noreturn void broken(const struct model *model, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* --- The store (journal_model.c) ------------------------------------------------------------- */

/* Draws the options of a seed, formats the disk. */
void model_open(struct model *model, uint64_t seed, bool verbose);
void model_close(struct model *model);
/* Begins to make up to `records` more records, now that the journal is open. */
void model_begin(struct model *model, unsigned records);
/* A turn of everything, after each step of the world. */
void model_turn(struct model *model);
/* All records are applied, nothing is under way, what is durable is named. */
bool model_at_rest(const struct model *model);
/* The process is gone: what was under way never ends. */
void model_forget(struct model *model);

void super_encode(const struct superblock *super, uint8_t to[BLOCK_BYTES]);
bool super_decode(const uint8_t from[BLOCK_BYTES], struct superblock *ret_super);
static inline bool holds(const struct superblock *super, unsigned number)
{
    return super->holds[number / 8] >> number % 8 & 1;
}
/* The bytes of a record, valid until the next call, and of its block of data. */
const uint8_t *record_bytes(unsigned number, uint32_t length);
const uint8_t *data_bytes(unsigned number);
uint64_t data_place(const struct model *model, unsigned number);
void model_open_journal(struct model *model, uint64_t incarnation, struct journal_position start);

/* --- Recovery, and what must hold after it (journal_check.c) --------------------------------- */

enum recovery { RECOVERED, RECOVERY_CUT, RECOVERY_LOST };

/* Reads what is on the disk, checks it against the promises, writes the superblock that ends the
 * recovery and opens the journal for the next life. Lost: damage was found, rightly. */
enum recovery model_recover(struct model *model);
/* The highest durable number that any batch on the disk names. */
uint64_t named_on_disk(const struct model *model);

#endif
