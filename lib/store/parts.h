/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Parts of groups in this store: what the files part*.c share.
 *
 *   port ──▶ obey? ──▶ control (FENCE, ROLE, FLUSH, ...) ──▶ drain ──▶ save ──▶ flush ──▶ told
 *                └───▶ call (WRITE, READ, ...) ──▶ store_op ──▶ obey again? ──▶ batch ──▶ told
 *
 * A part's state is in memory, in a hash, and on disk among 31 others in a block of VOLUME_PARTS: a
 * block that is written as any other is, so one log decides what came first. A part takes about
 * 200 bytes of memory, and with it its share of the hash and of what is known of its block: 100,000
 * parts take 23 MB.
 *
 * Watermarks change with each write and are not written for it: they ride in the write's record.
 * A checkpoint that is about to begin has them written to their states first, for it ends the
 * records.
 */
#ifndef STORE_PARTS_H
#define STORE_PARTS_H

#include "format/part_state.h"
#include "store/internal.h"
#include "store/resync.h"

/* Blocks of states that are written at once. */
#define PART_SAVES 8u
/* Requests of reading, writing and the like at once; more wait in a queue, whose limit is whoever
 * has the port's. */
#define PART_CALLS 256u
#define PARTS_MAX (1u << 20)

struct part_block {
    struct list node; /* In parts->dirty or parts->stale. */
    uint32_t number;
    uint32_t used;
    uint64_t version; /* As in memory, as written, as flushed. */
    uint64_t saved, durable;
    int error; /* Why it could not be written. */
    bool writing;
    struct part *parts[PART_STATES_PER_BLOCK];
};

struct part {
    struct part *next;       /* In its row. */
    struct part_block *home; /* NULL: there are only notes of it. */
    uint64_t volume;
    uint32_t group;
    uint32_t index; /* In its block. */
    struct part_state state;
    uint64_t turn;       /* +1 with each FENCE: who came before, and is in no batch, is dropped. */
    struct list entered; /* struct part_call: has a record in a batch. */
    uint32_t refs;       /* Calls and controls. */
    uint32_t boot;       /* In which it was told its role. */
    bool retired, gone;
    uint64_t settled_kept; /* state.settled as its block had it when it was written last. */
    bool counted;          /* state.aside is exact. */
    bool disturbed;        /* Some went or came while they were counted. */
    struct part_run *runs; /* Its segments, as it was told last; NULL: not since it was opened. */
    uint32_t run_count;
    struct part_control *role; /* That is at work. */
    /* While records are replayed: what they say. */
    uint64_t noted, noted_certain;
    uint32_t noted_generation;
};

struct part_call {
    struct list node; /* Free, or in part->entered. */
    struct parts *parts;
    struct part *part;
    struct part_request *request;
    uint64_t turn;
    bool canceled;
    struct store_flush flush;
    struct store_op op;
    /* RESYNC, REPAIR. */
    uint32_t at, run; /* Blocks dealt with, and of the run under way. */
    int result;
    struct store_resync resync;
};

/* What the one REPAIR at a time has read. */
struct part_repair {
    bool read;
    uint32_t first, count;
    struct part_version here[RECORD_REPAIR_BLOCKS];
    uint64_t places[RECORD_REPAIR_BLOCKS];
    uint8_t bad[RECORD_REPAIR_BLOCKS / 8];
    uint8_t *bytes;
};

enum control_state { CONTROL_DRAIN, CONTROL_WORK, CONTROL_SAVE, CONTROL_FLUSH, CONTROL_ENDED };

/* A request that does not go the way of reads and writes. */
struct part_control {
    struct list node;
    struct parts *parts;
    struct part *part; /* NULL: of none. */
    struct part_request *request;
    enum control_state state;
    int result;
    bool waits;         /* For a callback. */
    uint64_t turn;      /* FENCE: who is older is waited for. */
    uint64_t version;   /* Of the part's block: to be saved. */
    uint64_t watermark; /* FLUSH: as it came before. */
    uint32_t cut;       /* VIEWS: which gap. */
    uint32_t mebibyte;
    struct store_flush flush;
    struct tree_path path;
    struct store_view_space *spaces;
    struct part_aside *aside;
};

struct part_save {
    struct parts *parts;
    struct part_block *block;
    uint64_t version;
    uint8_t *bytes;
    struct store_op op;
};

struct parts {
    struct store *store;
    struct part_port port;
    bool port_open;
    struct part **rows;
    uint32_t row_count, count;
    struct part_block **blocks;
    uint32_t block_count, block_room;
    uint32_t dirty_count; /* Blocks that are to be written, or are being. */
    bool unlogged;        /* At the end of recovery: the checkpoint to come has them. */
    struct list dirty, stale;
    uint64_t sequence;       /* The last of the store's own volumes. */
    uint64_t uncertain_from; /* Blocks of states with this sequence or a newer one may be lost by
                              * a power cut that they did not see. */
    struct part_save *saves;
    struct part_call *calls;
    struct list free_calls;
    struct list queued; /* Requests that wait for a call, */
    struct list held;   /* and those that wait for another in the same MiB, or to repair. */
    struct part_repair *repair;
    struct list ended;    /* Requests to be told. */
    struct list controls; /* struct part_control */
    struct parts_load *load;
    struct records *records; /* records.h; NULL: nobody has asked for one yet. */
};

/* part_table.c */
int store_parts_open(struct store *store);
void store_parts_close(struct store *store);
/* Opening begins anew: nothing is known. */
void store_parts_reset(struct store *store);
struct part *part_find(const struct parts *parts, uint64_t volume, uint32_t group);
/* Finds or makes; NULL: no memory, or too many. */
struct part *part_make(struct parts *parts, uint64_t volume, uint32_t group);
/* A place among the states: 0, or -ENOMEM. */
int part_settle(struct parts *parts, struct part *part);
int part_settle_at(struct parts *parts, struct part *part, uint32_t number, uint32_t index);
/* It goes, with its place; soon, if somebody refers to it. */
void part_drop(struct parts *parts, struct part *part);
void part_let_go(struct parts *parts, struct part *part);
/* The next after `part` (NULL: the first), of a volume (0: of any). */
struct part *part_next(const struct parts *parts, const struct part *part, uint64_t volume);

/* part_save.c */
/* Its state has changed: to be written now; with the next checkpoint. */
void part_changed(struct parts *parts, struct part *part);
void part_stale(struct parts *parts, struct part *part);
/* What is settled is written soon, if it was told without a write (about once a second): a part
 * that comes back sets aside, and is sent again, all that it has above. */
void part_keep_settled(struct parts *parts, struct part *part);
/* All that is stale is to be written. */
void parts_save(struct parts *parts);
bool parts_saved(const struct parts *parts);
void parts_save_turn(struct parts *parts);

/* part_load.c: what is on disk. `done` once, never inside the call. */
int parts_load_start(struct store *store, bool certain, store_done_fn *done, void *context);
void parts_load_turn(struct store *store);
/* A record of a part that is replayed. */
void parts_note(struct store *store, const struct record *record, bool certain);

/* part_enter.c */
/* 0; IOMESH_FENCED, IOMESH_CONFLICT. Takes over a newer generation. */
int part_obeys(struct parts *parts, struct part *part, const struct part_request *request);
/* What is known to be acknowledged everywhere. */
void part_hears(struct parts *parts, struct part *part, const struct part_request *request);

/* part.c */
void part_end(struct parts *parts, struct part_request *request, const struct part *part,
              int result);
/* part_call.c: 0: it was begun, or waits for a call. */
void part_call_begin(struct parts *parts, struct part_request *request, struct part *part);
void part_call_end(struct part_call *call, int result);
void part_calls_turn(struct parts *parts);
/* part_views.c: what does its work in steps: 0, -EAGAIN, or an error. */
int part_views_work(struct part_control *control);
int part_space_work(struct part_control *control);
int part_retire_work(struct part_control *control);
/* part_control.c */
void part_control_begin(struct parts *parts, struct part_request *request, struct part *part);
void part_controls_turn(struct parts *parts);
bool part_controls_need_turn(const struct parts *parts);
/* Volumes that were retired when the store was closed, or died. */
void part_resume_retired(struct parts *parts);

#endif
