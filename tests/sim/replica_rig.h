/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The storm of one group's copies, at the level of messages: the shipped machine (lib/replica) in
 * several owners, over false stores that obey a store's rules, and a metadata register. One queue
 * of events, one stream of chance, time in microseconds. What a message says is atomic; torn media
 * are the store's own storm.
 *
 *   replica_world.c   the queue, the roads between nodes, and the metadata
 *   replica_store.c   a store: fence, generation, role, watermark; what a power cut takes
 *   replica_owner.c   an owner: lease, sessions with stores, and what the machine asks for
 *   replica_jobs.c    what an owner does by itself: reconcile, copying
 *   replica_work.c    a client: reads, writes, flushes, and their history
 *   replica_check.c   what may never be false
 */
#ifndef SIM_REPLICA_RIG_H
#define SIM_REPLICA_RIG_H

#include <stdio.h>

#include "replica/replica.h"
#include "sim/history.h"

#define RIG_STORES 6u
#define RIG_OWNERS 3u
#define RIG_BLOCKS 4u
#define RIG_OPS 10u
#define RIG_OPS_MAX 12000u
#define RIG_META 0u
#define RIG_NODES (1u + RIG_STORES + RIG_OWNERS)
#define RIG_LOG 40u
#define RIG_DISK 96u
#define RIG_LOT (1ull << 20)
#define RIG_ERAS 7u

static inline uint8_t node_of_store(uint32_t store)
{
    return (uint8_t)(1u + store);
}

static inline uint8_t node_of_owner(uint32_t owner)
{
    return (uint8_t)(1u + RIG_STORES + owner);
}

enum cell_kind { CELL_HOLE, CELL_DATA, CELL_BAD };

/* What a copy has of a block. */
struct cell {
    uint64_t sequence;
    uint32_t value; /* Stands for the bytes and their CRC; a hole has one too, for the history. */
    uint8_t kind;
    bool rotten; /* The bytes fail their CRC: told when they are read. */
    bool aside;
};

enum message_kind {
    MESSAGE_NONE,
    /* To the metadata, and back. */
    MESSAGE_ACQUIRE,
    MESSAGE_RENEW,
    MESSAGE_TRANSACT,
    MESSAGE_META, /* The answer to each. */
    /* To a store. */
    MESSAGE_HELLO,
    MESSAGE_FENCE,
    MESSAGE_ROLE,
    MESSAGE_WRITE,
    MESSAGE_RESYNC,
    MESSAGE_REPAIR,
    MESSAGE_WATERMARK,
    MESSAGE_READ,
    MESSAGE_LIST,
    MESSAGE_FLUSH,
    MESSAGE_STORE, /* The answer to each. */
    MESSAGE_KINDS
};

enum message_status {
    STATUS_OK,
    STATUS_STALE_EPOCH,
    STATUS_STALE_GENERATION,
    STATUS_REFUSED, /* Not in sync, or set aside. */
    STATUS_BAD,
    STATUS_FAILED,
    STATUS_RESET, /* No such session. */
    STATUS_NO,    /* The metadata's. */
};

struct message {
    uint8_t kind, of, from, to; /* `of`: the kind that this answers. */
    uint8_t status, block, role, how;
    bool force, fua, restarted, own;
    uint32_t life; /* Of the owner: what an earlier life of it asked for is not for this one. */
    uint32_t session;
    uint32_t generation, answered_generation;
    uint32_t request;
    uint64_t epoch, watermark, flushed, token, boot, sent;
    struct cell cell;
    union {
        struct cell cells[RIG_BLOCKS];
        struct replica_record record;
    };
};

enum event_kind {
    EVENT_MESSAGE,
    EVENT_DISK, /* A store's request is done. */
    EVENT_STORE_UP,
    EVENT_OWNER_UP,
    EVENT_TICK, /* An owner's. */
    EVENT_WORK,
    EVENT_FAULT,
};

/* --- A store ---------------------------------------------------------------------------------- */

struct part {
    uint64_t fence, watermark;
    uint64_t settled; /* Told to be durable on all in sync. */
    uint64_t boot;    /* When it was last told that it is in sync. */
    uint32_t generation, role_generation;
    uint8_t role;
    struct cell cells[RIG_BLOCKS];
};

struct record { /* Applied and not yet durable. */
    uint8_t block;
    struct cell cell;
};

struct false_store {
    bool up, slow, broken, wiped;
    uint32_t life;
    uint64_t boot;
    uint32_t sessions[RIG_OWNERS];
    uint64_t greeted[RIG_OWNERS];
    uint32_t session_last;
    struct part live, durable;
    struct record log[RIG_LOG];
    uint32_t log_count;
    struct message disk[RIG_DISK];
    bool disk_busy[RIG_DISK];
    uint64_t lost[RIG_BLOCKS]; /* The newest that a power cut took. */
};

/* --- An owner --------------------------------------------------------------------------------- */

enum owner_state { OWNER_OUT, OWNER_ACQUIRING, OWNER_IN };

enum op_kind { OP_NONE, OP_READ, OP_WRITE, OP_FLUSH };

struct op {
    uint8_t kind, block, tried, bad, copy, hedge_copy;
    bool hole, held, hedged;
    uint32_t value, request, hedge_request, history;
    uint32_t generation;
    uint64_t begun, asked;
    struct cell cell;           /* Read, and held. */
    uint64_t acked[RIG_BLOCKS]; /* OP_FLUSH: what it covers. */
    struct replica_write write;
    struct replica_flush flush;
};

/* Copying to a copy. */
struct copying {
    bool active, listed, listed_aside, reading, poison;
    uint8_t source, tried, bad;
    uint32_t attempt, request, aside_request;
    uint8_t wanted; /* Blocks. */
    uint8_t block;
    uint64_t above, progress, asked;
    struct cell cell;
};

struct settling {
    bool active;
    uint8_t copies, listed, left, stage;
    uint32_t attempt, request;
    uint64_t above, progress, asked;
    uint8_t block, source;
    struct replica_version versions[RIG_BLOCKS][REPLICA_COPIES_MAX];
    struct cell cells[RIG_BLOCKS][REPLICA_COPIES_MAX];
    struct replica_write write;
    struct cell cell;
};

struct owner {
    bool up, force;
    uint8_t near; /* The copy that it reads from if it may. */
    enum owner_state state;
    uint32_t life, requests;
    uint64_t paused_until;
    int64_t drift_ppm;
    uint64_t offset;
    uint64_t known_epoch, sequence, renewed_at, acquire_at;
    struct replica replica;
    uint32_t sessions[RIG_STORES]; /* 0: none. */
    uint32_t hello_request[RIG_STORES];
    uint64_t hello_at[RIG_STORES];
    bool transacting;
    uint32_t transact_request;
    uint64_t transact_sent;
    struct op ops[RIG_OPS];
    struct copying copying[REPLICA_COPIES_MAX];
    struct settling settling;
};

/* --- The metadata ----------------------------------------------------------------------------- */

struct register_ {
    struct replica_record record;
    int holder;
    uint32_t holder_life;
    uint64_t expires, sequence, granted_sequence;
    bool granted_forced;
    uint64_t down_until, slow_until;
};

/* --- All of it -------------------------------------------------------------------------------- */

struct rig_counts {
    uint64_t seeds, events, acked, reads, flushes, epochs, generations, converged, eio, power_cuts,
        kills, lost_sessions, eras, moves, wipes;
};

struct rig {
    struct prng prng;
    uint64_t now;
    uint64_t drop_ppm, repeat_ppm, net_us, disk_us;
    uint64_t ttl, copy_timeout, fence_timeout, resend, tick, flush_every;
    uint64_t faults_until, ends;
    uint32_t copies, min_copies, rot_left, wipes_left;
    uint64_t kinds; /* Of faults that are on. */
    bool forgetful; /* Whoever copies next does not hear of what is set aside. */
    bool quiet;     /* A story: no faults and no clients but those it asks for. */
    bool verbose;
    bool blocked[RIG_NODES][RIG_NODES];
    uint64_t late[RIG_NODES][RIG_NODES]; /* What goes this way comes no sooner. */
    struct register_ meta;
    struct false_store stores[RIG_STORES];
    struct owner owners[RIG_OWNERS];
    /* What was promised. */
    uint64_t acked[RIG_BLOCKS];
    uint64_t flushed[RIG_BLOCKS];
    uint32_t flushed_value[RIG_BLOCKS]; /* A story's. */
    bool rotted[RIG_BLOCKS];
    uint64_t acked_epoch[RIG_BLOCKS];
    uint32_t era_count[RIG_BLOCKS];
    /* Sessions up to this one were told of writes that are lost. */
    uint64_t era_epoch[RIG_BLOCKS][RIG_ERAS];
    uint32_t values;
    struct history_op history[RIG_OPS_MAX];
    uint64_t history_epoch[RIG_OPS_MAX];
    bool history_used[RIG_OPS_MAX]; /* Answered, or a write. */
    uint32_t history_count;
    char fault[200]; /* "" : none so far. */
    struct rig_counts counts;
};

extern struct rig rig;

/* replica_world.c */
void rig_start(uint64_t seed);
/* A world in which nothing happens but what a story tells: so many copies, nobody up but stores. */
void rig_start_story(uint32_t copies);
/* Until that time, or a fault. */
void rig_run(uint64_t until);
void rig_at(uint64_t delay, enum event_kind kind, uint8_t node, uint32_t life, uint32_t detail);
void rig_send(const struct message *message);
bool rig_chance(uint64_t ppm);
uint64_t rig_below(uint64_t limit);
uint64_t rig_delay(uint64_t mean);
void rig_say(const char *format, ...) __attribute__((format(printf, 1, 2)));
void rig_fail(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* replica_store.c */
void store_message(uint32_t store, const struct message *message);
void store_disk(uint32_t store, uint32_t slot);
void store_kill(uint32_t store, bool power);
void store_up(uint32_t store);
void store_wipe(uint32_t store);

/* replica_owner.c */
void owner_message(uint32_t owner, const struct message *message);
void owner_tick(uint32_t owner);
void owner_kill(uint32_t owner);
void owner_up(uint32_t owner);
void owner_perform(uint32_t owner);
uint64_t owner_clock(const struct owner *owner);
struct message owner_words(uint32_t owner, uint8_t kind, uint8_t copy);
/* To a copy, by the session with its store; nothing without one. */
void owner_send(uint32_t owner, uint8_t copy, struct message *message);

/* replica_jobs.c */
void settle_begin(uint32_t owner, const struct replica_action *action);
void settle_told(uint32_t owner, uint8_t copy, const struct message *message);
void settle_written(uint32_t owner);
void settle_send(uint32_t owner, const struct replica_action *action);
void settle_tick(uint32_t owner);
void copying_begin(uint32_t owner, const struct replica_action *action);
void copying_told(uint32_t owner, uint8_t copy, const struct message *message);
void copying_tick(uint32_t owner);

/* replica_work.c */
void work_event(uint32_t owner);
void work_begin(uint32_t owner, enum op_kind kind, uint8_t block);
void work_told(uint32_t owner, uint8_t copy, const struct message *message);
void work_send(uint32_t owner, const struct replica_action *action);
void work_written(uint32_t owner, struct replica_write *write, int result);
void work_flushed(uint32_t owner, struct replica_flush *flush, int result);
void work_again(uint32_t owner); /* Reads that were held, or found no copy. */
void work_tick(uint32_t owner);
void work_drop(uint32_t owner);

/* replica_check.c */
void check_copies(const char *when);
void check_history(void);
void check_end(void);

/* replica_fault.c */
void fault_event(void);
/* replica_story.c */
struct story {
    const char *name;
    void (*tell)(void); /* rig.fault says what was wrong. */
};
extern const struct story stories[];
extern const uint32_t story_count;

#endif
