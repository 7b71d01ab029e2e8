/* SPDX-License-Identifier: Apache-2.0 */
/*
 * keeper_life: a cluster with catalogs and keepers, from one seed: stores on machines of their own,
 * processes that use the pool, each with its own way to the truth, roads between them.
 *
 *     users[0 .. 1]  catalog, keeper, sometimes a volume       nodes[]: a store and its port
 *     users[2 .. 3]  catalog, volumes                          truth: the metadata
 *
 * Somebody watches every change of the metadata and judges it (keeper_judge.c).
 */
#ifndef SIM_KEEPER_LIFE_H
#define SIM_KEEPER_LIFE_H

#include "keeper/keeper.h"
#include "sim/disk.h"
#include "sim/meta_truth.h"
#include "sim/road.h"
#include "sim/worlds.h"
#include "volume/catalog_keep.h"

#define LIFE_NODES 5u
#define LIFE_USERS 4u
#define LIFE_KEEPERS 2u
#define LIFE_VOLUMES 4u /* That are used: 1 .. 4; the last is a clone. */
#define LIFE_PARENT 5u  /* Its parent, which was deleted: not its number in the metadata. */
#define LIFE_REGISTERS 8u
#define LIFE_LOG 512u
#define LIFE_SEGMENT (256ull << 20)

struct life;

struct life_node {
    struct life *life;
    unsigned number, machine;
    struct world world;
    struct sim_disk *disk;
    struct store_options options;
    struct store *store;
    bool waiting;
    bool away; /* Nobody reaches it. */
    uint64_t back_ns;
};

struct life_register {
    uint32_t acked[LIFE_LOG]; /* Values, in the order in which they were acknowledged. */
    uint32_t acked_count;
    uint32_t doubts[LIFE_LOG]; /* Begun, and not known to be written. */
    uint32_t doubt_count;
};

struct life_client {
    unsigned volume;
    struct catalog_handle *handle;
    bool opening, closing, busy, reads;
    uint64_t asked_ns;
    uint32_t left; /* Requests until it closes. */
    uint32_t at;   /* Register. */
    uint32_t value;
    uint32_t log_at, doubts_at;
    struct volume_io io;
    uint8_t *data;
};

struct life_user {
    struct life *life;
    unsigned number, machine;
    struct world world;
    struct meta *meta;
    struct road roads[LIFE_NODES];
    struct copies_engine *copies;
    struct volume_engine *volumes;
    struct catalog_cluster cluster;
    struct catalog *catalog;
    bool ready;
    struct keeper *keeper; /* Of the first ones. */
    struct life_client client;
    char address[32];
    uint64_t back_ns; /* Until then it stands still, is cut off, or is dead. */
    bool stands, cut, dead;
};

struct life_counts {
    uint64_t led, passes, opened, refused, taken, writes, reads, fenced, kills, stands, cuts, aways,
        drains, adds, drops, outs;
};

struct life {
    struct worlds worlds;
    struct prng prng;
    uint64_t seed;
    struct world truth_world;
    unsigned truth_machine;
    struct truth truth;
    struct meta *watcher; /* That of whoever judges, and of the operator. */
    struct meta_watch watch;
    struct meta_request request;
    bool waiting;
    int ended;
    struct life_node nodes[LIFE_NODES];
    struct life_user users[LIFE_USERS];
    struct life_register registers[LIFE_VOLUMES][LIFE_REGISTERS];
    uint32_t value;
    bool began, calm, verbose;
    struct life_counts counts;
    char wrong[512];

    /* As the watcher saw it last. */
    uint64_t keeper_session, keeper_revision; /* Of the key. */
    struct metadata_group groups[LIFE_PARENT + 1];
    uint64_t owners[LIFE_PARENT + 1];
    bool yields[LIFE_PARENT + 1];
    uint64_t taken_ns[LIFE_PARENT + 1]; /* When that was last changed. */
    struct metadata_store stores[LIFE_NODES + 1];
    uint32_t wishes;
    uint64_t operator_revision; /* Of its last change of a store. */
};

void life_open(struct life *life, uint64_t seed);
void life_step(struct life *life, uint64_t until_ns);
bool life_wrong(struct life *life, const char *format, ...) __attribute__((format(printf, 2, 3)));
void life_user_start(struct life_user *user);
void life_user_die(struct life_user *user);
/* Waits for what was accepted on the watcher's handle. */
void life_commit(struct life *life);
void life_store_put(struct life *life, const struct metadata_store *record);

/* keeper_client.c */
void life_client_turn(struct life_user *user);
void life_client_forget(struct life_client *client);
/* The registers of the volume that the handle is of have values, which are durable. */
void life_client_fill(struct life_user *user, struct catalog_handle *handle, unsigned volume);

/* keeper_judge.c */
void life_watch(struct life *life);
void life_look(struct life *life);
/* All has been calm for a while: it is as it should be. False: not yet; `text` says what. */
bool life_is_well(struct life *life, char text[256]);

#endif
