/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of store/ share. */
#ifndef STORE_INTERNAL_H
#define STORE_INTERNAL_H

#include "format/record.h"
#include "format/superblock.h"
#include "part/part.h"
#include "store/store.h"

#define STORE_FLUSH_EVERY_NS NS_PER_S
#define STORE_FLUSH_EVERY_RECORDS 8192u
#define STORE_MARK_AFTER_NS (100 * NS_PER_MS)
/* Page writes of a checkpoint in flight: enough to keep the device busy, few enough for others. */
#define STORE_CHECKPOINT_DEPTH 8u
/* Journal batches in flight: a record seldom waits for a batch to end before its own can begin, and
 * ten or so still share a block at depth 32 (measured: 9.2; 10.3 with two in flight). */
#define STORE_BATCHES_IN_FLIGHT 4u

/*
 * The one flush at a time.
 *
 *   IDLE ──▶ FLYING ──▶ IDLE, or FLYING again if somebody joined meanwhile
 *
 * Who joins while one flies waits for the next: the one that flies may not cover it.
 */
struct flusher {
    struct list joined; /* Covered by the next. */
    struct list flying;
    bool busy;
    bool wanted;         /* Space waits for it. */
    uint64_t covers;     /* Batch that the flying one makes durable. */
    uint64_t records_at; /* Records appended when the last one began. */
    struct device_flush flush;
    struct timer timer; /* Every second. */
    struct timer mark;  /* 100 ms after a flush: name it. */
};

/* Writes both copies of one generation. */
struct super_write {
    struct device_io ios[2];
    uint8_t *bytes;
    unsigned pending;
    int result;
    void (*done)(struct super_write *write, int result);
    struct store *store;
};

#define CHECKPOINT_STATES(X) \
    X(IDLE)                  \
    X(SAVING)                \
    X(FLUSHING)              \
    X(RESERVING)             \
    X(PAGES)                 \
    X(TABLE)                 \
    X(DEFERRED)              \
    X(SETTLING)              \
    X(SUPER)                 \
    X(SEALING)
#define CHECKPOINT_STATE(name) CHECKPOINT_##name,
enum checkpoint_state { CHECKPOINT_STATES(CHECKPOINT_STATE) };
#undef CHECKPOINT_STATE

struct checkpoint {
    enum checkpoint_state state;
    bool wanted;          /* Somebody asked while one ran, or since. */
    bool clean;           /* The last of its store: nothing will follow. */
    uint64_t incarnation; /* To be recorded. */
    bool keep_replay;     /* During recovery: replay begins where it began. */
    struct journal_position replay;
    uint32_t reserved;
    struct store_flush flush;
    struct page_waiter waiter;
    struct page_write pages;
    struct tree_checkpoint table;
    struct space_deferred deferred;
    uint64_t began_ns;
    uint32_t page_count; /* That were dirty when it froze them. */
    struct list waiting; /* struct checkpoint_waiter: covered by the next to begin. */
    struct list running; /* Covered by the one under way. */
};

/* Touched only by reads that go through gaps; when all are in use, reads go round the gaps. */
#define SCRATCH_BLOCKS 64u
#define SCRATCH_MAX 24u

struct scratch {
    uint8_t *memory;
    uint8_t *free[SCRATCH_MAX];
    uint32_t count, free_count;
};

struct store {
    struct store_options options;
    struct clock *clock;
    struct device_set devices;
    enum store_state state;
    struct superblock super;
    struct page_cache *cache;
    struct tree *tree;
    struct space *space;
    struct journal *journal;

    /* While a record is applied: its batch, and what its operation may still free. */
    uint64_t applying_batch;
    uint32_t *applying_reserved;
    struct replay *replay; /* While records are replayed. */
    struct opening *opening;
    struct closing *closing;

    struct flusher flusher;
    struct checkpoint checkpoint;
    struct super_write super_write;
    struct parts *parts;

    struct list admission;      /* Changes that wait until a checkpoint has cleaned pages. */
    struct list appending;      /* Operations whose record found no room in the journal. */
    struct list finished;       /* To be told in the next turn. */
    struct list deletions;      /* struct deletion. */
    struct list view_deletions; /* struct view_deletion. */
    struct list view_counts;    /* struct view_count. */
    struct list changes;        /* Operations that change something and have not ended. */
    uint64_t change;            /* The number of the last that was accepted. */
    uint64_t passed_batch;      /* The last with a change whose cut the head had passed. */
    uint64_t active;            /* Operations accepted and not told yet. */
    struct scratch scratch;
    struct scrub *scrub;
    struct check *check;
    struct store_stats stats;
};

/* op.c */
void store_op_finish(struct store_op *op, int result);
void store_op_retry_admission(struct store *store);
/* The way to what the operation changes at a block, as the tree's: with what its views keep. */
int store_op_open(struct store_op *op, uint64_t block);
/* The change is made; the path is open still. */
void store_op_changed(struct store_op *op);
/* What STORE_MAP and the like tell of a pointer. */
uint8_t store_pointer_kind(const struct pointer *pointer);
struct part_version store_version(const struct pointer *pointer);
/* Tells what has ended, admits and appends what waited. */
void store_ops_turn(struct store *store);
/* Every change that was accepted up to this number has ended. */
bool store_changes_ended(const struct store *store, uint64_t change);
/* Appends op's record, or queues the op until there is room. False: it queued or failed. */
void store_op_append(struct store_op *op);
bool store_must_throttle(const struct store *store);
bool store_must_throttle_pages(const struct store *store);
/* The next checkpoint finds space for one more change of the tree. */
bool store_may_change(const struct store *store);
void store_event(struct store *store, enum store_event_severity severity, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* With numbers of its kind; its text is the formatted one. */
void store_tell(struct store *store, struct store_event event, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* Damage in blocks of a volume (0: of none). */
#define store_damage(store, volume, block, blocks, ...)                  \
    store_tell((store),                                                  \
               (struct store_event){.severity = STORE_ERROR,             \
                                    .kind = STORE_DAMAGE,                \
                                    .number_count = 3,                   \
                                    .numbers = {volume, block, blocks}}, \
               __VA_ARGS__)
void store_fail(struct store *store, int error, const char *what);

/* write.c, read.c, zero.c, changed.c: one step each, from wherever the operation stands. */
void store_write_step(struct store_op *op);
void store_read_step(struct store_op *op);
void store_zero_step(struct store_op *op);
void store_changed_step(struct store_op *op);
/* A record of the operation is in the journal, and every one before it. */
void store_write_logged(struct store_op *op, int result);
void store_zero_logged(struct store_op *op, int result);
uint32_t store_write_record(const struct store_op *op, uint8_t *to);
uint32_t store_zero_record(const struct store_op *op, uint8_t *to);

/* Room in quarantine for what a record that is in the log will free; *ret_reserved of it. It must
 * not wait: nothing comes free before the record is applied. What finds no room comes free by a
 * checkpoint. */
int store_quarantine_enter(struct store *store, uint32_t blocks, uint32_t *ret_reserved);

/* flush.c */
void store_flusher_open(struct store *store);
void store_flusher_close(struct store *store);
void store_flusher_turn(struct store *store);
void store_want_flush(void *store);
/* checkpoint.c */
void store_want_checkpoint(void *store);

/* checkpoint.c */
void store_checkpoint_turn(struct store *store);
bool store_checkpoint_busy(const struct store *store);

/* super.c */
void store_super_write(struct store *store, void (*done)(struct super_write *write, int result));

/* delete.c */
/* One map page, then the segment itself. 0: the segment is gone; -EINPROGRESS: call again (whatever
 * was freed has been handed on); -EAGAIN and errors as of the tree. *map starts at 0. */
int store_drop_step(struct store *store, struct tree_path *path, const struct segment_key *key,
                    uint32_t *map);
void store_deletions_turn(struct store *store);
/* delete_views.c */
void store_view_deletions_turn(struct store *store);
bool store_view_deletions_turn_needed(const struct store *store);
/* view_space.c */
void store_view_counts_turn(struct store *store);
bool store_view_counts_turn_needed(const struct store *store);

/* part_enter.c: a record of a part is about to enter a batch: 0, or why it does not; and it has. */
int store_part_enters(struct store_op *op);
void store_part_entered(struct store_op *op);
/* An operation made so many more blocks set aside, or less; and something else of a volume. */
void store_part_asides(struct store_op *op, int64_t more);
void store_volume_asides(struct store *store, uint64_t volume, uint32_t mebibyte, int64_t more);
/* resync.c: what the record of a resync says, for the tree. */
void store_enter_fill(struct tree_enter *enter, const struct record *record);
/* part.c */
void store_parts_turn(struct store *store);
bool store_parts_turn_needed(const struct store *store);

/* scrub.c */
int store_scrub_open(struct store *store);
void store_scrub_turn(struct store *store);
/* Notes for the superblock where it stands. */
void store_scrub_save(struct store *store);
/* Ends its walk, which goes on at the next open; false while reads of it are under way. */
bool store_scrub_halt(struct store *store);
/* Halted. */
void store_scrub_close(struct store *store);
void store_scrub_stats(const struct store *store, struct store_stats *stats);

/* check.c */
void store_check_turn(struct store *store);
bool store_check_turn_needed(const struct store *store);

/* open.c */
void store_free(struct store *store);
void store_opening_turn(struct store *store);
void store_closing_turn(struct store *store);

/* replay.c: between journal scan and the checkpoint that ends recovery. */
int store_replay_start(struct store *store, store_done_fn *done, void *context);
void store_replay_turn(struct store *store);
/* The free map knows all that the tree shows: it is between two records, or steps of one. */
bool store_replay_marked(const struct store *store);
/* While replaying, what the tree frees goes here. */
void store_replay_freed(struct store *store, uint64_t place, uint32_t blocks);

#endif
