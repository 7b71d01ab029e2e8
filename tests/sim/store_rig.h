/* SPDX-License-Identifier: Apache-2.0 */
/*
 * store_rig: one store, its volumes and the requests on them, in the false world.
 *
 * The seed draws everything: how many devices, how small the cache, journal and reserve are (edges
 * are near), what the requests do, when power goes. A rig checks each read at once and everything
 * after each crash; the first thing that is false is kept as a sentence.
 */
#ifndef SIM_STORE_RIG_H
#define SIM_STORE_RIG_H

#include "sim/disk.h"
#include "sim/store_model.h"
#include "sim/world.h"
#include "store/store.h"
#include "volume/volume.h"

#define RIG_VOLUMES 3u
#define RIG_REQUESTS 16u
#define RIG_DEVICES 3u
#define RIG_REQUEST_BLOCKS 64u
#define RIG_SEGMENTS 64u /* Requests that are not modelled; more lie behind them. */
/* Blocks from here on are not modelled: whether they are whole the check alone says. */
#define RIG_SPRAY_FROM (4u * SEGMENT_BLOCKS)

struct rig;
struct rig_snap;
struct rig_views;

struct rig_volume {
    uint64_t id;
    struct volume *volume;
    struct model model;
    uint64_t sequence_end; /* What the metadata would remember. */
    uint64_t epoch;
    uint32_t sector_bytes;
    bool deleting; /* Done when the store says so. */
    bool asked;    /* The store is at it. */
    struct rig *rig;
};

struct rig_request {
    struct volume_io io;
    struct rig *rig;
    struct rig_volume *volume;
    struct rig_snap *snap; /* A read of a snapshot; or NULL. */
    bool busy;
    bool spray;      /* Not modelled. */
    bool overwrites; /* Data that was there: there is space for it. */
    int result;      /* Of the last one. */
    uint64_t flush_acks;
    uint32_t index;        /* First block of the window. */
    uint32_t first_sector; /* In it. */
    uint32_t sectors;
    uint32_t versions[RIG_REQUEST_BLOCKS]; /* Made by it, or there when it began. */
    uint8_t *data;
};

struct rig_counts {
    uint64_t cuts, kills, clean_closes, requests, reads_checked, settled, no_space, errors;
    uint64_t deletions, checkpoints, faults;
    uint64_t snaps_taken, snaps_deleted, clones, rollbacks, flattened, counted, compared;
};

struct rig {
    struct world world;
    struct prng prng;
    struct sim_disk *disks[RIG_DEVICES];
    unsigned disk_count;
    struct store_options options;
    struct store *store;
    struct volume_engine *engine;
    struct rig_volume volumes[RIG_VOLUMES];
    struct rig_request requests[RIG_REQUESTS];
    unsigned depth;
    unsigned spray; /* Percent of the requests. */
    uint64_t next_id;
    uint64_t tag;
    uint64_t incarnation;
    bool faulty; /* Faults are on: errors are legal, wrong data is not. */
    bool media;  /* Some of them lose or change what was written and flushed. */
    bool verbose;
    bool gave_up;    /* Faulty: the store said that it cannot go on, as it may. */
    char wrong[512]; /* The first thing that was false; "" if nothing was. */
    struct rig_counts counts;
    struct store_checked checked; /* By the last rig_check(). */
    struct rig_views *views;      /* NULL: this seed has no snapshots. */
    int ended;                    /* Result of what was waited for. */
    bool waiting;
};

uint64_t rig_volume_bytes(void);
void rig_open(struct rig *rig, uint64_t seed);
void rig_close(struct rig *rig);

/* Makes the store and its volumes. */
bool rig_format(struct rig *rig);
/* Opens the store; what an open after a crash must promise is checked by rig_settle(). False with
 * gave_up: media faults took what it needs, and it said so. */
bool rig_start(struct rig *rig);
/* `count` requests, `depth` at once; ends early if the power goes. */
void rig_run(struct rig *rig, uint64_t count);
/* Ends every request under way. False: power went. */
bool rig_drain(struct rig *rig);
/* After a crash: reads every modelled block of every volume and settles it. */
bool rig_settle(struct rig *rig, bool power_cut);
/* Flush, checkpoint, and the proof that reachable blocks and the free map agree. */
bool rig_check(struct rig *rig);
void rig_crash(struct rig *rig, bool power_cut);
bool rig_stop(struct rig *rig);
/* Notes what was false. Returns false. */
bool rig_wrong(struct rig *rig, const char *format, ...) __attribute__((format(printf, 2, 3)));

#endif
