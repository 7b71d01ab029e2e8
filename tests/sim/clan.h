/* SPDX-License-Identifier: Apache-2.0 */
/*
 * clan: families of volumes in a cluster, from one seed: stores on machines of their own, processes
 * that each have a catalog (the first a keeper, too) and their own way to the truth, roads between
 * them. Whoever is asked to do something with a name does it, whatever the others do meanwhile.
 *
 *     users[]: catalog, lanes that ask        nodes[]: a store and its port
 *                       └────────── roads ────────┘            truth: the metadata
 *
 * What is judged comes from the truth itself, which is looked at after every transaction
 * (clan_truth.c): which volumes and snapshots there are, when a rollback began and ended. What a
 * volume may show is known by its number, what a snapshot may show by its cut (clan_data.c).
 */
#ifndef SIM_CLAN_H
#define SIM_CLAN_H

#include "keeper/keeper.h"
#include "sim/disk.h"
#include "sim/meta_truth.h"
#include "sim/road.h"
#include "sim/worlds.h"
#include "volume/catalog_keep.h"

#define CLAN_NODES 4u
#define CLAN_USERS 3u
#define CLAN_LANES 3u
#define CLAN_NAMES 5u
#define CLAN_SNAPS 5u /* Names of snapshots; the last are those of groups. */
#define CLAN_SINGLES 3u
#define CLAN_REGISTERS 4u
#define CLAN_VOLUMES 512u
#define CLAN_CUTS 512u
#define CLAN_WRITES 8192u
#define CLAN_NUMBERS 8192u /* Of what was asked. */
#define CLAN_SEGMENT (256ull << 20)
#define CLAN_NONE UINT32_MAX

struct clan;
struct clan_user;

struct clan_node {
    struct clan *clan;
    unsigned number, machine;
    struct world world;
    struct sim_disk *disk;
    struct store_options options;
    struct store *store;
    bool runs, ready, waiting;
    bool away; /* Nobody reaches it. */
    uint64_t incarnation;
    uint64_t back_ns;
    uint32_t boots;
};

enum clan_kind {
    CLAN_NOTHING,
    CLAN_USE, /* A volume, or a snapshot of it, for a while. */
    CLAN_CREATE,
    CLAN_DELETE,
    CLAN_RESIZE,
    CLAN_SNAP,
    CLAN_DROP,
    CLAN_GROUP,
    CLAN_UNGROUP,
    CLAN_CLONE,
    CLAN_FLATTEN,
    CLAN_ROLLBACK,
    CLAN_IMPORT,
    CLAN_ABANDON,
    CLAN_KINDS
};

enum lane_state { LANE_IDLE, LANE_ASKED, LANE_OPEN, LANE_CLOSING };

/* Something that a process does, one thing after the other. */
struct clan_lane {
    struct clan_user *user;
    enum lane_state state;
    enum clan_kind kind;
    uint64_t begun_ns;
    uint32_t number;            /* Of what is asked: its size or uuid says it. */
    uint32_t name, snap, other; /* snap: CLAN_NONE: of the volume as it is. */
    uint64_t bytes;
    bool force, read_only;
    char text[24]; /* NAME or NAME@SNAPSHOT. */
    struct catalog_handle *handle;
    uint64_t volume, view;  /* That the handle is of. */
    uint64_t epoch;         /* Under which the volume was its process's own. */
    bool importing, ending; /* An import, and its end is under way. */
    bool busy, reads, flushing;
    uint32_t left;  /* Requests until it closes. */
    uint32_t at;    /* Register. */
    uint32_t write; /* In the log. */
    uint64_t io_ns; /* When it was asked. */
    struct volume_io io;
    uint8_t *data;
};

struct clan_user {
    struct clan *clan;
    unsigned number, machine;
    struct world world;
    struct meta *meta;
    struct road roads[CLAN_NODES];
    struct copies_engine *copies;
    struct volume_engine *volumes;
    struct catalog_cluster cluster;
    struct catalog *catalog;
    struct keeper *keeper;
    bool ready;
    struct clan_lane lanes[CLAN_LANES];
    char address[32];
    uint64_t back_ns; /* Until then it stands still, is cut off, or is dead. */
    bool stands, cut, dead;
};

/* --- What may be read ------------------------------------------------------------------------- */

struct clan_write {
    uint64_t volume, value;
    uint32_t at;
    uint32_t cut; /* What this shows is written: a rollback; CLAN_NONE: the value. */
    uint64_t begun_ns;
    uint64_t acked_ns; /* 0: not, or nobody knows. */
    uint64_t ended_ns; /* It has happened before, or never does. 0: not yet. */
    bool aside;        /* Whoever opens the volume does not end it: a rollback, a resize. */
};

struct clan_cut {
    uint64_t volume, cut, bytes;
    uint64_t begun_ns, taken_ns; /* The instant is between. */
    uint64_t uuid;               /* The number of who asked; 0: nobody did by name. */
    bool fixed[CLAN_REGISTERS];  /* It was read, and never changes. */
    uint64_t values[CLAN_REGISTERS];
};

struct clan_volume {
    bool made, gone;
    uint64_t parent, parent_cut; /* At its birth. */
    uint64_t bytes;
    uint64_t epoch;
    uint64_t rollback_cut; /* One is under way. */
    uint64_t opened_ns;    /* Somebody has had it since then, at least, under this epoch: */
    uint64_t opened_epoch;
    unsigned opener; /* User. */
};

struct clan_name {
    uint64_t volume; /* 0: nobody is called so. */
    uint64_t bound_ns, freed_ns;
};

/* What was asked, by number. */
struct clan_asked {
    enum clan_kind kind;
    uint64_t begun_ns;
    bool failed; /* It was told that nothing of it happened. */
    bool seen;   /* It happened. */
};

struct clan_counts {
    uint64_t asked, done, refused, unknown, used, writes, reads, views_read, fenced, forced, kills,
        stands, cuts, node_kills, node_cuts, aways, compacted, rollbacks, clones, flattened, groups,
        imports, abandoned, resized, deleted, copies_compared;
};

struct clan {
    struct worlds worlds;
    struct prng prng;
    uint64_t seed;
    struct world truth_world;
    unsigned truth_machine;
    struct truth truth;
    uint64_t revision; /* Of the truth, as it was looked at last. */
    struct meta *meta; /* The judge's own. */
    struct meta_request request;
    bool waiting;
    int ended;
    struct clan_node nodes[CLAN_NODES];
    struct clan_user users[CLAN_USERS];
    struct clan_volume volumes[CLAN_VOLUMES];
    struct clan_cut cuts[CLAN_CUTS];
    uint32_t cut_count;
    struct clan_write writes[CLAN_WRITES];
    uint32_t write_count;
    struct clan_name names[CLAN_NAMES];
    struct clan_asked asked[CLAN_NUMBERS];
    uint32_t number; /* The next. */
    uint64_t value;  /* The last that was written. */
    bool calm, verbose;
    bool hold;  /* Nobody begins anything. */
    int answer; /* The last. */
    struct clan_counts counts;
    char wrong[600];
};

extern const char *const clan_names[CLAN_NAMES];
extern const char *const clan_snaps[CLAN_SNAPS];
extern const uint64_t clan_offsets[CLAN_REGISTERS];

/* --- clan.c ----------------------------------------------------------------------------------- */

void clan_open(struct clan *clan, uint64_t seed);
void clan_step(struct clan *clan, uint64_t until_ns);
void clan_run(struct clan *clan, uint64_t ns);
bool clan_wrong(struct clan *clan, const char *format, ...) __attribute__((format(printf, 2, 3)));
void clan_say(const struct clan *clan, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
void clan_user_start(struct clan_user *user);
void clan_user_die(struct clan_user *user);

/* --- clan_node.c ------------------------------------------------------------------------------ */

void clan_node_open(struct clan *clan, unsigned number);
void clan_node_start(struct clan_node *node);
void clan_node_turn(struct clan_node *node);
void clan_node_die(struct clan_node *node, bool power);
/* Closes it; it holds nothing of any volume if `empty`, and its check is clean. */
void clan_node_prove(struct clan_node *node, bool empty);
/* A request of the store itself: its result. */
int clan_node_ask(struct clan_node *node, struct part_request *request);

/* --- clan_lane.c ------------------------------------------------------------------------------ */

void clan_lane_turn(struct clan_lane *lane);
void clan_lane_forget(struct clan_lane *lane);
/* Asks for `kind`; name, snap, other, force, read_only are set. False: refused at once. */
bool clan_lane_ask(struct clan_lane *lane, enum clan_kind kind);

/* --- clan_use.c ------------------------------------------------------------------------------- */

/* It is open: reads, writes, until it has had enough. */
void clan_use_begin(struct clan_lane *lane, struct catalog_handle *handle);
void clan_use_turn(struct clan_lane *lane);
/* Reads register `at` now. */
void clan_use_read(struct clan_lane *lane, uint32_t at);
void clan_use_close(struct clan_lane *lane);

/* --- clan_data.c ------------------------------------------------------------------------------ */

uint32_t clan_write_begin(struct clan *clan, uint64_t volume, uint32_t at, uint64_t value,
                          uint32_t cut);
/* Somebody else has it: what was in doubt has happened or never does. */
void clan_write_ended(struct clan *clan, uint64_t volume);
/* What is cut off at `bytes` may become zeros from now on. */
void clan_write_shrinks(struct clan *clan, uint64_t volume, uint64_t bytes);
/* May a read of that time show this? It is right or wrong from then on. */
bool clan_head_shows(struct clan *clan, uint64_t volume, uint32_t at, uint64_t value,
                     uint64_t begun_ns, uint64_t ended_ns);
bool clan_cut_shows(struct clan *clan, uint64_t volume, uint64_t cut, uint32_t at, uint64_t value);
/* CLAN_NONE: there was none. */
uint32_t clan_cut_find(const struct clan *clan, uint64_t volume, uint64_t cut);

/* --- clan_truth.c ----------------------------------------------------------------------------- */

/* What has changed since it was looked at last. */
void clan_truth_look(struct clan *clan);
/* The record of a volume. False: there is none. */
bool clan_truth_volume(const struct clan *clan, uint64_t id, struct metadata_volume *ret_record);
/* How many keys begin so. */
unsigned clan_truth_keys(const struct clan *clan, struct metadata_key prefix);
const struct truth_key *clan_truth_find(const struct clan *clan, const void *key, size_t length);

/* --- clan_calm.c ------------------------------------------------------------------------------ */

/* Everything works again: all must be well within a while, and empty when all is deleted. */
void clan_judge(struct clan *clan);

#endif
