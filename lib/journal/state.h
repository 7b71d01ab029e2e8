/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of this room share. */
#ifndef JOURNAL_STATE_H
#define JOURNAL_STATE_H

#include "format/journal.h"
#include "journal/journal.h"
#include "journal/reader.h"

/* Batches that may hold records not applied yet, the open one included. */
#define JOURNAL_TRACKED 1024u
#define JOURNAL_FLYING_MAX 8u

/* A batch from its opening until all its records are applied. */
struct journal_batch {
    uint64_t at;          /* Where it begins; see `trim_at`. */
    uint32_t outstanding; /* Records not applied yet. */
    bool written;         /* It and all before. */
};

/* A buffer and the batch in it: free, open, or flying until every batch before it is written. */
struct journal_slot {
    struct device_io io;
    struct journal *journal;
    struct list node;
    struct list entries;
    uint8_t *buffer;
    uint64_t number;
    uint64_t durable; /* What its header names. */
    uint32_t used, count;
    bool ended;
};

enum replay_state { REPLAY_NONE, REPLAY_RUNNING, REPLAY_VISITING, REPLAY_PAUSED, REPLAY_ENDING };

struct journal {
    struct journal_options options;
    int failed;

    /* Addresses in blocks that only grow: address % blocks is the place in the region. The live
     * part is [trim_at, open_at + what the open batch takes), at most `blocks` long. */
    uint64_t trim_at, open_at;
    uint64_t trim_batch;

    uint64_t oldest;       /* The lowest batch that is not both written and applied. */
    uint64_t number;       /* Of the open batch. Tracked: oldest .. number. */
    uint64_t written;      /* It and all before are written. */
    uint64_t durable;      /* As the store said. */
    uint64_t named;        /* The highest durable number in a written batch. */
    uint64_t sealed_named; /* In a sealed one. */
    uint64_t records_in;   /* The highest sealed batch that holds a record. */
    bool mark_wanted;

    struct journal_batch tracked[JOURNAL_TRACKED]; /* By number. */
    struct journal_slot slots[JOURNAL_FLYING_MAX + 1];
    struct journal_slot *open;
    struct list flying; /* By number. */
    struct list free;
    unsigned flying_count;

    void (*on_room)(void *context);
    void *on_room_context;
    uint32_t refused_length; /* Of the first record refused since; 0: none was. */
    struct journal_stats stats;

    struct journal_reader reader;
    struct journal_scan scan;
    uint64_t scan_at, scan_end_at, chain_end_at;
    bool in_chain;
    void (*read_done)(void *context, int result);
    void *read_context;

    enum replay_state replay;
    int replay_result;
    journal_visit_fn *visit;
    struct batch_header replay_header;
    const uint8_t *replay_bytes; /* The batch being given; NULL between batches. */
    uint32_t replay_offset;
    uint64_t replay_batch; /* The next to give. */
};

/* Where a batch that might begin at `at` does begin. */
uint64_t journal_fit(const struct journal *journal, uint64_t at);
struct journal_position journal_position_of(const struct journal *journal, uint64_t batch,
                                            uint64_t at);
struct journal_batch *journal_tracked(struct journal *journal, uint64_t number);
/* After something was written or applied. */
void journal_advance(struct journal *journal);
/* Runs on_room if the append that was refused would be taken now. */
void journal_give_room(struct journal *journal);

#endif
