/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of copies_*.c share. */
#ifndef VOLUME_COPIES_INSIDE_H
#define VOLUME_COPIES_INSIDE_H

#include "volume/copies.h"

#define COPIES_FLUSHES 64u /* Of one volume under way; more wait. */
#define COPIES_REPAIRS 64u /* That wait, of one engine; what comes when it is full is read again. */

/* Copied at once by a lane while the volumes are in use. */
#define COPIES_YIELD_BLOCKS 32u
#define LANE_READS 16u /* Runs of blocks of a page read at once. */

#define COPIES_RETRY_NS (20 * NS_PER_MS)
#define COPIES_LOOK_NS (500 * NS_PER_MS) /* Between two looks at the records of kin. */

/* One bit for each copy. */
#define COPY_BIT(copy) ((uint8_t)(1u << (copy)))
#define EACH_COPY(copy) for (uint8_t copy = 0; copy < REPLICA_COPIES_MAX; copy++)

struct copies_group;
struct copies_lane;

/*
 * One operation.
 *
 *   WRITE ──▶ (CREDIT: is it an overwrite?) ──▶ SENT ──▶ done, says the machine ──▶ nothing flies
 *   READ  ──▶ CHOOSE ──▶ ASKED ──▶ more is wanted: CHOOSE; or HELD; or told
 *   MAP, CHANGED  the same
 */
enum copies_op_state { COPIES_IDLE, COPIES_CREDIT, COPIES_SENT, COPIES_ASKED, COPIES_HELD };

struct copies_op {
    struct list node;         /* Free; in group->waiting or ->held; in engine->finished. */
    struct store_op *op;      /* NULL: a lane settles. */
    struct copies_lane *lane; /* It. */
    struct copies *copies;
    struct copies_group *group; /* NULL: of kin, where nothing was ever written. */
    enum copies_op_state state;
    int result;

    /* What is asked. */
    enum part_request_kind kind;
    uint32_t count;
    uint64_t view, block, last, since, sequence, cut;
    void *data;
    bool views, parent;

    /* To all the copies. */
    struct replica_write write;
    uint8_t flying; /* Copies whose request is under way. */
    uint8_t again;  /* Of these, to be sent once more. */
    uint8_t full;   /* Copies that have no space for it. */
    uint8_t lacks;  /* CREDIT: the copy that does not say that it has. */
    bool over;      /* The machine has done with it. */
    struct part_port *credit[REPLICA_COPIES_MAX]; /* Where its space is promised. */

    /* To one of them. */
    uint8_t tried;                     /* Copies that could not. */
    uint8_t asked;                     /* Copy. */
    bool leave;                        /* What is asked takes too long: another copy. */
    uint32_t at;                       /* First block of what was asked, from `block`. */
    uint64_t asked_ns;                 /* When. */
    struct timer timer;                /* Waiting: try again. Asked: ask another. */
    uint8_t want[PART_BLOCKS_MAX / 8]; /* Blocks still to be read. */
    uint8_t bad[REPLICA_COPIES_MAX][PART_BLOCKS_MAX / 8];
    uint8_t bad_copies;

    struct part_request requests[REPLICA_COPIES_MAX];
    uint32_t crcs[PART_BLOCKS_MAX];
    struct part_version versions[PART_BLOCKS_MAX];
};

/* A flush of all groups. */
struct copies_flush {
    struct list node;
    struct copies *copies;
    struct store_flush *flush;
    uint32_t pending;
    int result;
    struct replica_flush parts[]; /* One for each group. */
};

/*
 * Work through the map pages of a group, in lanes: each takes a segment of one view at a time.
 *
 *   RECONCILE  the heads of the copies that are in sync, above the lowest trusted watermark
 *   RESYNC     each view from the oldest, then the head, of one copy against its source
 */
enum copies_task_kind { COPIES_RECONCILE, COPIES_RESYNC };

struct copies_task {
    struct copies_group *group;
    struct list node; /* In engine->tasks: it has work for a lane. */
    enum copies_task_kind kind;
    bool running;
    bool stopped;     /* Its lanes end as soon as they can; nothing is told. */
    bool failed;      /* It ends, and was not complete. */
    bool begin_again; /* Another attempt follows when the lanes have ended. */
    uint8_t copies;   /* Compared; RESYNC: source and target. */
    uint8_t source, target;
    uint32_t attempt;
    uint64_t above;
    uint64_t sequence; /* RECONCILE: the last that settled something. */
    uint32_t lanes;    /* At work. */
    /* Where it is. */
    uint64_t *cuts; /* RESYNC: those kept, oldest first. */
    uint32_t cut_count;
    uint32_t view;     /* Index into cuts; cut_count: the head. */
    uint32_t run;      /* Of copies->runs. */
    uint32_t segment;  /* In it. */
    bool views_flying; /* RESYNC: the target drops what is not kept. */
    struct part_request views_request;
    uint64_t copied_bytes;
    uint64_t segments_done, segments_total;
    struct timer later; /* It has failed: that is told then. */
    /* Of the attempt that follows. */
    struct replica_action next;
};

enum copies_lane_state {
    LANE_FREE,
    LANE_LIST,   /* Where is the next page with anything? */
    LANE_MAP,    /* What is on it, of those that did not tell. */
    LANE_PACED,  /* Until it may copy: copies_pace.c. */
    LANE_READ,   /* What is to be written. */
    LANE_WRITE,  /* To the target, or to those that are repaired. */
    LANE_SETTLE, /* Through the machine, to those that differ. */
};

struct copies_lane {
    struct list node; /* Free. */
    struct copies_engine *engine;
    struct copies_task *task;
    struct copies_group *group; /* Of a repair. */
    enum copies_lane_state state;
    uint64_t view, since;
    uint64_t block, last; /* What is left of the segment. */
    uint64_t page;        /* First block of the one at hand. */
    uint64_t found[REPLICA_COPIES_MAX];
    uint8_t copies;     /* Who is compared. */
    uint8_t flying;     /* Requests under way. */
    uint8_t lacking;    /* Lists that could not be had. */
    uint32_t at, count; /* Blocks of the page at hand. */
    uint8_t source, tried;
    uint8_t unreadable[REPLICA_COPIES_MAX][PART_BLOCKS_MAX / 8];
    struct replica_settlement settlement;
    struct copies_op op; /* What it settles with. */
    uint8_t repair;      /* Copies. */
    struct part_request requests[REPLICA_COPIES_MAX];
    struct part_request reads[LANE_READS]; /* RESYNC: of runs, if all goes well. */
    uint32_t reading;                      /* Under way. */
    uint32_t read_at;                      /* Blocks before it are being read, or were. */
    int read_result;
    bool single;      /* A block of the page is damaged at the source: run by run. */
    bool split;       /* A part of another lane's segment. */
    struct list pace; /* In engine->paced. */
    uint64_t pace_bytes;
    bool pace_moves; /* They count as under way. */
    void (*pace_go)(struct copies_lane *lane);
    struct part_version *versions[REPLICA_COPIES_MAX]; /* 256 each. */
    struct part_version sent[PART_BLOCKS_MAX];
    uint32_t crcs[PART_BLOCKS_MAX];
    uint8_t *data; /* 1 MiB. */
};

/* A limit in bytes a second. */
struct copies_pace {
    uint64_t rate; /* 0: none. */
    int64_t credit;
    uint64_t at_ns;
};

struct copies_repair {
    struct copies_group *group; /* NULL: none. */
    uint64_t view, block;
    uint32_t count;
    uint8_t copies;
};

struct copies_group {
    struct copies *copies;
    uint32_t id;
    struct replica replica;
    struct list ready; /* In engine->ready: the machine has something to say. */
    struct timer tick;
    uint64_t stores[REPLICA_COPIES_MAX];
    struct part_port *ports[REPLICA_COPIES_MAX];
    struct part_request fences[REPLICA_COPIES_MAX];
    struct part_request roles[REPLICA_COPIES_MAX];
    struct part_request flushes[REPLICA_COPIES_MAX];
    struct part_request marks[REPLICA_COPIES_MAX];
    uint64_t tokens[REPLICA_COPIES_MAX];
    uint8_t fencing, roling, flushing, marking; /* Under way. */
    struct list waiting; /* struct copies_op: for the volume to open, for a copy to read from. */
    struct list held;    /* With the data in hand. */
    bool opened;
    struct copies_task reconcile;
    struct copies_task resync[REPLICA_COPIES_MAX];
    uint64_t repaired_blocks, hedged_reads;
    uint64_t window_ns, window_bytes, window_rate; /* How much was copied of late. */
};

/*
 * Another volume whose cuts are read.
 *
 *   WANTED ──▶ LOOKED AT ──▶ set: `copies` are those that it said ──▶ a copy refused, or none
 *     ▲  a while after the look before                                 answers ──┐
 *     └──────────────────────────────────────────────────────────────────────────┘
 *
 * What replaces `copies` is their heir: whatever waits goes there, what is under way ends where it
 * is, or goes there too.
 */
struct copies_kin {
    struct list node;    /* In copies->kin. */
    struct copies *root; /* Whose it is. */
    uint64_t volume;
    struct copies *copies; /* NULL: it was not looked at yet. */
    struct list waiting;   /* struct store_op.node: until it was. */
    bool looking;
    uint64_t looked_ns;
    struct timer timer; /* To look. */
};

struct copies {
    struct copies_engine *engine;
    struct list node; /* In engine->volumes. */
    struct copies_options options;
    struct copies_pace pace;
    struct copies_run *runs;
    struct copies_group *groups;
    uint32_t group_room; /* There may be so many. */
    struct copies_flush **flushes;
    struct list free_flushes;
    struct list flushes_waiting; /* struct store_flush: for one of them. */
    uint32_t groups_open;
    uint32_t ops; /* Under way. */
    bool told_open, told_end, closing;
    struct list kin;       /* struct copies_kin.node */
    struct copies_kin *of; /* Not NULL: these are the copies of kin. */
    struct copies *heir;   /* They were replaced by these. */
    uint32_t views;        /* Of kin that are there. */
    int ended;             /* 0, or why. */
    void (*closed)(void *context);
    void *closed_context;
};

struct copies_engine {
    struct clock *clock;
    struct copies_op *ops;
    struct copies_lane *lanes;
    struct list free_ops, free_lanes;
    struct list ready; /* struct copies_group.ready */
    uint32_t lane_count;
    struct list tasks;    /* struct copies_task.node: want a lane. */
    struct list finished; /* struct copies_op.node: to be told. */
    struct list starved;  /* struct store_op.node: for a copies_op. */
    struct list flushed;  /* struct copies_flush.node: to be told. */
    struct list refused;  /* struct store_op.node: of kin, and its root has ended. */
    struct list volumes;  /* struct copies.node */
    struct copies_repair repairs[COPIES_REPAIRS];
    uint32_t repair_count;
    bool closes;     /* Something is to be closed. */
    uint8_t *memory; /* Of the lanes. */
    struct copies_pace pace;
    struct list paced; /* struct copies_lane.pace: want to copy. */
    struct timer pace_timer;
    uint64_t moving_bytes;  /* Of lanes that copy. */
    uint64_t foreground_ns; /* The last operation began; 0: none yet. */
};

static inline bool copies_bit(const uint8_t *set, uint32_t index)
{
    return (set[index / 8] >> index % 8 & 1) != 0;
}

static inline void copies_bit_put(uint8_t *set, uint32_t index, bool in)
{
    set[index / 8] = (uint8_t)((set[index / 8] & ~(1u << index % 8)) | (unsigned)in << index % 8);
}

/* --- copies.c ------------------------------------------------------------------------------- */

/* The machine may have something to say: it is asked in this turn. */
void copies_group_ready(struct copies_group *group);
/* Its timer. */
void copies_group_tick(struct timer *timer);
uint64_t copies_now(const struct copies_group *group);
/* Fills what every request to a copy carries. */
void copies_address(struct copies_group *group, struct part_request *request,
                    enum part_request_kind kind);
/* False: there is no port to that copy now, and nothing was sent. */
bool copies_send(struct copies_group *group, uint8_t copy, struct part_request *request,
                 part_done_fn *done, void *context);
/* What an answer says beside its result: another fence, an error of the copy. True: it was that,
 * and there is nothing else to look at. */
bool copies_answer_ends(struct copies_group *group, uint8_t copy, int result,
                        const struct part_request *request);
/* The group of a segment; NULL: none. `ret_last`: the last segment of the run it is in. */
struct copies_group *copies_group_of(struct copies *copies, uint32_t segment, uint32_t *ret_last);
/* The group of a block. If there is none: of the first block that has one, up to `last`. */
struct copies_group *copies_group_from(struct copies *copies, uint64_t *block, uint64_t last);
/* A copy whose store is the local one. REPLICA_COPIES_MAX: none. */
uint8_t copies_local(const struct copies_group *group);

/* --- copies_open.c -------------------------------------------------------------------------- */

/* copies_open(), or copies of kin. */
int copies_make(struct copies_engine *engine, const struct copies_options *options,
                struct copies_kin *of, struct copies **ret_copies);
/* Nothing of it is under way. */
void copies_free(struct copies *copies);

/* --- copies_kin.c --------------------------------------------------------------------------- */

/* An operation on another volume. */
void copies_kin_submit(struct copies *copies, struct store_op *of);
/* These copies of kin may not be the right ones any more. */
void copies_kin_doubt(struct copies *copies);
/* All of it ends, or has its lease renewed, or a port changed, or goes. */
void copies_kin_end(struct copies *copies);
void copies_kin_lease(struct copies *copies, uint64_t bound_ns);
void copies_kin_port(struct copies *copies, struct part_port *port);
void copies_kin_close(struct copies *copies);
void copies_kin_free(struct copies *copies);
/* Tells what was submitted to kin of what has ended. */
void copies_kin_refuse(struct copies_engine *engine);

/* --- copies_op.c ---------------------------------------------------------------------------- */

struct copies_op *copies_op_take(struct copies_engine *engine);
void copies_op_release(struct copies_op *op);
/* It is told in this turn. */
void copies_op_finish(struct copies_op *op, int result);
/* What was begun with copies that have an heir: all of it is asked there. */
void copies_op_hand_over(struct copies_op *op);
/* Until something changes; who tried in vain, or wants space, tries again soon all the same. */
void copies_op_wait(struct copies_op *op);
/* What waited may go on. */
void copies_ops_retry(struct copies_group *group);
/* Everything that waits ends with the reason that the session did. */
void copies_ops_end(struct copies_group *group, int result);

/* --- copies_write.c ------------------------------------------------------------------------- */

void copies_write_begin(struct copies_op *op);
/* The machine's: to these copies. */
void copies_write_send(struct copies_op *op, uint8_t copies);
void copies_write_over(struct copies_op *op, int result);

/* --- copies_read.c -------------------------------------------------------------------------- */

/* Choose a copy and ask it; or wait. */
void copies_read_begin(struct copies_op *op);
void copies_read_go(struct copies_op *op);
/* With the data in hand. */
void copies_read_judge(struct copies_op *op);

/* --- copies_flush.c ------------------------------------------------------------------------- */

void copies_flush_done(struct replica_flush *flush, struct copies_group *group, int result);
void copies_flushes_turn(struct copies_engine *engine);

/* --- copies_task.c -------------------------------------------------------------------------- */

void copies_task_begin(struct copies_task *task, const struct replica_action *action);
/* Nothing is told of it. Harmless if it does not run. */
void copies_task_stop(struct copies_task *task);
/* Gives free lanes what is to be done. */
void copies_tasks_turn(struct copies_engine *engine);
/* A page was found in it: there may be many. */
void copies_lane_share(struct copies_lane *lane);
/* A lane's segment is done, or could not be; the lane is free. */
void copies_lane_ended(struct copies_lane *lane, bool complete);

/* --- copies_lane.c -------------------------------------------------------------------------- */

/* From lane->block to lane->last, page by page. */
void copies_lane_scan(struct copies_lane *lane);
/* The page is done. */
void copies_lane_next(struct copies_lane *lane);
/* Lets go of what is under way. */
void copies_lane_cancel(struct copies_lane *lane);
/* lane->count blocks from lane->at of the page, from a copy: data, lane->sent, lane->crcs. `done`
 * runs later; -ECONNRESET at once if it cannot be asked. */
void copies_lane_read(struct copies_lane *lane, uint8_t copy, part_done_fn *done);
/* `count` blocks from `first` of these on, from the task's source, one of several at once
 * (lane->reads, lane->reading). False: it cannot be asked. */
bool copies_lane_read_run(struct copies_lane *lane, uint32_t first, uint32_t count,
                          part_done_fn *done);
/* The same, to a copy, as PART_RESYNC or PART_REPAIR. */
void copies_lane_write(struct copies_lane *lane, uint8_t copy, enum part_request_kind kind,
                       part_done_fn *done);

/* --- copies_pace.c -------------------------------------------------------------------------- */

void copies_pace_set(struct copies_pace *pace, uint64_t bytes_per_s, uint64_t now);
void copies_pace_turn(struct timer *timer);
/* An operation began. */
void copies_pace_foreground(struct copies_engine *engine);
bool copies_pace_yields(const struct copies_engine *engine);
/* `go` when the lane may copy so much: at once, or later. Its until it is released. */
void copies_pace_take(struct copies_lane *lane, uint64_t bytes,
                      void (*go)(struct copies_lane *lane));
/* It was copied, or will not be. */
void copies_pace_release(struct copies_lane *lane);
/* What does not wait counts all the same. */
void copies_pace_spend(struct copies_group *group, uint64_t bytes);
uint64_t copies_pace_seen(const struct copies_group *group);

/* --- copies_settle.c, copies_resync.c, copies_repair.c ---------------------------------------- */

/* What is left of the page at hand, from lane->at on. */
void copies_settle_page(struct copies_lane *lane);
/* What was settled with is over. */
void copies_settled(struct copies_op *op, int result);
void copies_resync_page(struct copies_lane *lane);
/* Blocks that some copies could not read, and another could. */
void copies_repair_want(const struct copies_op *op);
void copies_repairs_turn(struct copies_engine *engine);

#endif
