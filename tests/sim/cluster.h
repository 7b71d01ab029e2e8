/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cluster: stores on machines of their own, coordinators on theirs, roads between them, and the
 * truth beside: all shipped objects but the roads, the disks, the clocks and the truth.
 *
 *     owners[i] ──roads──▶ nodes[j]: a store and its port         truth: epoch, lease, groups, cuts
 *     └ copies, volume, requests                              (transactions are slow, get lost)
 *
 * One volume. A register is a block of it: each write of one has a value of its own, and all that
 * was asked and answered is kept, to be judged at the end (history.h). What a snapshot shows counts
 * as a read of the moment in which it was taken.
 */
#ifndef SIM_CLUSTER_H
#define SIM_CLUSTER_H

#include "sim/disk.h"
#include "sim/history.h"
#include "sim/road.h"
#include "sim/worlds.h"
#include "volume/volume.h"

#define CLUSTER_NODES 5u
#define CLUSTER_OWNERS 3u
#define CLUSTER_GROUPS 2u
#define CLUSTER_REQUESTS 8u
#define CLUSTER_REGISTERS 96u
#define CLUSTER_CUTS 6u
#define CLUSTER_VOLUME 7u
#define CLUSTER_SEGMENTS 4u
#define CLUSTER_TTL_NS (500 * NS_PER_MS)
#define CLUSTER_LOT (1u << 20)
#define CLUSTER_ROTS 64u
#define CLUSTER_PLACES 4u

struct cluster;

struct cluster_node {
    struct cluster *cluster;
    unsigned number;
    unsigned machine; /* Its number in worlds. */
    struct world world;
    struct sim_disk *disk;
    struct store_options options;
    struct store *store;
    bool runs;  /* Its process does. */
    bool ready; /* Its store is open. */
    bool waiting;
    int ended;
    uint64_t incarnation;
    uint64_t died_ns; /* When its process ended last. */
    uint64_t back_ns; /* When it is started again. */
    uint64_t stopped_until_ns;
    bool failed; /* Its disk did: whoever runs it turns it off and on again. */
    uint32_t boots;
    uint32_t lossy; /* Groups of which it may lack what was not flushed: its power went. */
};

enum owner_state { OWNER_IDLE, OWNER_ACQUIRING, OWNER_OPENING, OWNER_OPEN, OWNER_ENDING };

struct cluster_owner;

struct cluster_request {
    struct volume_io io;
    struct cluster_owner *owner;
    bool busy;
    bool doomed; /* It was under way when all power went. */
    uint32_t cells[CLUSTER_REGISTERS];
    uint32_t count;                  /* Of them. */
    uint32_t ops[CLUSTER_REGISTERS]; /* In the history: of a write. */
    uint64_t begun;
    int result;
    uint8_t *data;
};

struct cluster_owner {
    struct cluster *cluster;
    unsigned number;
    unsigned machine;
    struct world world;
    struct road roads[CLUSTER_NODES];
    struct copies_engine *copies_engine;
    struct volume_engine *volume_engine;
    struct copies *copies;
    struct volume *volume;
    enum owner_state state;
    unsigned life; /* +1 with each death: what was asked in an earlier one is not answered. */
    uint64_t epoch;
    uint64_t sequence, sequence_end;
    uint64_t cuts[CLUSTER_CUTS + 1];
    uint32_t cut_count;
    struct volume_hold hold;
    struct volume_io cut_flush; /* What a cut covers is durable before it is committed. */
    uint64_t cut_taken_ns;
    bool holding;
    bool closing;
    bool cutting;                                             /* A cut is not committed yet. */
    bool dropping;                                            /* Nor that one goes. */
    struct part_request views[CLUSTER_GROUPS][CLUSTER_NODES]; /* Cuts that went go there. */
    uint32_t views_flying;
    bool wants, forces; /* By hand: it takes the volume. */
    bool cut_off;       /* It does not reach the truth. */
    bool deaf;          /* What the truth answers waits. */
    struct timer wake;
    struct cluster_request requests[CLUSTER_REQUESTS];
    uint64_t stopped_until_ns;
    uint64_t calm_ask_ns; /* When it is calm: nothing is asked before. */
};

struct cluster_truth {
    struct world world;
    unsigned machine;
    uint64_t epoch;
    unsigned owner; /* Its number; CLUSTER_OWNERS: nobody. */
    uint64_t lease_until_ns;
    uint64_t sequence_end;
    struct replica_record groups[CLUSTER_GROUPS];
    uint64_t cuts[CLUSTER_CUTS];
    uint64_t cut_times[CLUSTER_CUTS];
    uint32_t cut_count;
    bool away;
};

struct cluster_faults {
    uint32_t node_kill, node_cut, node_slow, node_stop, owner_kill, owner_stop, road_cut,
        road_reset, truth_away, truth_lost, force, snapshot, drop, jump, churn, disk_fail,
        rot; /* One in so many moments; 0: never. */
};

/* Situations that there were: none may be missing in as many seeds as CI runs. */
#define CLUSTER_COUNTS(X) \
    X(writes)             \
    X(reads)              \
    X(failed)             \
    X(flushes)            \
    X(zeros)              \
    X(full)               \
    X(acquired)           \
    X(forced)             \
    X(transactions)       \
    X(unknown)            \
    X(refused)            \
    X(fenced)             \
    X(reconciled)         \
    X(stale)              \
    X(caught_up)          \
    X(node_kills)         \
    X(node_cuts)          \
    X(node_stops)         \
    X(owner_kills)        \
    X(owner_stops)        \
    X(losses)             \
    X(cuts_taken)         \
    X(cuts_dropped)       \
    X(cuts_read)          \
    X(corrupt)            \
    X(rotten)             \
    X(disks_failed)       \
    X(jumps)              \
    X(added)              \
    X(dropped)            \
    X(repaired)           \
    X(hedged)             \
    X(stalls)             \
    X(resets)             \
    X(late)

#define CLUSTER_COUNT(name) uint64_t name;
struct cluster_counts {
    CLUSTER_COUNTS(CLUSTER_COUNT)
};
#undef CLUSTER_COUNT

/* What rotted: `node` had the only bad copy of `value`. */
struct cluster_rot {
    unsigned node;
    uint32_t group, cell;
    uint64_t value;
    uint64_t written_ns;           /* When its write was answered. */
    uint64_t bits[CLUSTER_PLACES]; /* Of the disk, that flipped. */
    uint32_t bit_count;
    uint64_t alone; /* As of then: since then somebody else always had it, if that is the same. */
};

struct cluster {
    struct worlds worlds;
    struct prng prng;
    uint64_t seed;
    struct cluster_truth truth;
    struct cluster_node nodes[CLUSTER_NODES];
    unsigned node_count;
    struct cluster_owner owners[CLUSTER_OWNERS];
    unsigned owner_count;
    unsigned group_count;
    unsigned copy_count; /* Of each group, at first. */
    unsigned min_copies;
    uint64_t disk_blocks;
    uint64_t node_seed;    /* Not 0: all stores are alike. */
    uint64_t small_blocks; /* Not 0: of node 0's disk. */
    bool full;             /* There is little space. */
    bool by_hand;          /* A story: nothing happens by itself. */
    unsigned rot_node;     /* The only one whose disk rots. */
    struct cluster_rot rots[CLUSTER_ROTS];
    uint32_t rot_count;
    uint64_t alone[CLUSTER_GROUPS][CLUSTER_NODES]; /* How often nobody else had all of a group. */
    struct cluster_faults faults;
    struct cluster_counts counts;
    uint64_t calm_ns; /* Since when. */
    bool calm;        /* No more faults, no more new requests but reads. */
    bool quiet;       /* No more requests. */
    bool verbose;
    struct history_op *history;
    size_t history_count, history_capacity;
    uint64_t flushed_ns; /* What was acknowledged before this is durable. */
    uint64_t losses;     /* Times that all power went, as far as a group can tell. */
    uint64_t next_value;
    char wrong[512];
};

void cluster_open(struct cluster *cluster, uint64_t seed);
/* Of all nodes, with one group; nothing goes wrong, and nobody asks for anything. */
void cluster_open_story(struct cluster *cluster, unsigned nodes, unsigned owners);
/* The same, of 3 nodes with one owner, with disks of so many blocks, node 0's of `small`. */
void cluster_open_full_story(struct cluster *cluster, uint64_t blocks, uint64_t small);
/* One thing more. False: something was false, or nothing is to come. */
bool cluster_step(struct cluster *cluster);
bool cluster_wrong(struct cluster *cluster, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
void cluster_say(const struct cluster *cluster, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
/* Faults end, everything comes back. */
void cluster_calm(struct cluster *cluster);
/* Everything is where it should be, and says the same. */
bool cluster_judge(struct cluster *cluster);
/* What the truth says of a node's copy: enum replica_state. */
uint8_t cluster_state_of(const struct cluster *cluster, uint32_t group, unsigned node);

/* The block of a register. */
uint64_t cluster_block(uint32_t index);
uint32_t cluster_group_of(uint64_t block);

/* --- cluster_node.c --- */
void cluster_node_open(struct cluster *cluster, unsigned number);
void cluster_node_start(struct cluster_node *node);
void cluster_node_turn(struct cluster_node *node);
void cluster_node_die(struct cluster_node *node, bool power, bool silent);
/* Closes the store and proves it. */
bool cluster_node_prove(struct cluster_node *node);

/* --- cluster_owner.c --- */
void cluster_owner_open(struct cluster *cluster, unsigned number);
void cluster_owner_turn(struct cluster_owner *owner);
void cluster_owner_die(struct cluster_owner *owner);
/* What its session did is counted. */
void cluster_owner_count(struct cluster_owner *owner);
void cluster_owner_granted(struct cluster_owner *owner, int result, bool forced, uint64_t sent_ns);
void cluster_owner_cut(struct cluster_owner *owner);
void cluster_owner_drop_cut(struct cluster_owner *owner);
void cluster_owner_dropped(struct cluster_owner *owner, uint64_t cut);

/* --- cluster_client.c --- */
void cluster_client_turn(struct cluster_owner *owner);
/* Registers `first` to first + count - 1; of a discard, count 0: all of the segment of `first`. */
void cluster_request_start(struct cluster_owner *owner, struct cluster_request *request,
                           enum volume_io_kind kind, uint32_t flags, uint32_t first,
                           uint32_t count);

/* --- cluster_history.c --- */
size_t cluster_note(struct cluster *cluster, const struct history_op *op);
/* All power went: what was not flushed may be gone, whoever has seen it. */
void cluster_lose(struct cluster *cluster);
/* An acknowledged write that the design allows power to take. */
bool cluster_may_lose(const struct cluster *cluster, const struct history_op *write);
bool cluster_value(struct cluster *cluster, const uint8_t *block, uint64_t *ret_value);
bool cluster_judge_history(struct cluster *cluster);

/* --- cluster_fault.c --- */
/* What may go wrong at any moment. */
void cluster_moment(struct cluster *cluster);
void cluster_power_goes(struct cluster *cluster, uint32_t dying);
void cluster_come_back(struct cluster *cluster);
/* Was there a time since it rotted when nobody else had it? */
bool cluster_may_be_bad(const struct cluster *cluster, uint32_t cell);
/* Is a disk failing, or has it failed? It may have lost what it said that it had. */
bool cluster_disk_is_bad(const struct cluster *cluster);
/* Who is alone now with all of a group. */
void cluster_count_alone(struct cluster *cluster);
/* The block that a node has of a value, if any, is not readable any more. False: it has none. */
bool cluster_rot(struct cluster *cluster, unsigned node, uint64_t value);
/* The node is about to die: what was written within the last second, and rotted, did not. Of such
 * a block the store cannot tell that it ever arrived, and is back at the older version: the one
 * thing that it promises of a single copy alone. */
void cluster_rot_spares(struct cluster *cluster, unsigned node);

/* --- cluster_truth.c --- */
void cluster_truth_open(struct cluster *cluster);
void cluster_acquire(struct cluster_owner *owner, bool force);
void cluster_renew(struct cluster_owner *owner);
void cluster_transact(struct cluster_owner *owner, uint32_t group,
                      const struct replica_record *record);
void cluster_commit_cut(struct cluster_owner *owner, uint64_t cut, uint64_t taken_ns);
void cluster_commit_drop(struct cluster_owner *owner, uint64_t cut);

/* --- cluster_story.c, cluster_rules.c --- */
struct cluster_story {
    const char *name;
    void (*tell)(struct cluster *cluster);
};
extern const struct cluster_story cluster_stories[];
extern const uint32_t cluster_story_count;
extern const struct cluster_story cluster_rules[];
extern const uint32_t cluster_rule_count;

#endif
