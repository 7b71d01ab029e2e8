/* SPDX-License-Identifier: Apache-2.0 */
/*
 * catalog_rig: a whole embedded pool in the false world: SQLite on a disk in memory (or on real
 * files), stepped inline, and a store on another; one power for both.
 *
 * Turns everything in one thread. The first thing that is false is kept as a sentence.
 */
#ifndef SIM_CATALOG_RIG_H
#define SIM_CATALOG_RIG_H

#include "meta/sqlite/sqlite.h"
#include "sim/disk.h"
#include "sim/meta_vfs.h"
#include "sim/world.h"
#include "volume/catalog.h"

struct catalog_rig {
    struct world world;
    struct sim_disk *disk;
    struct meta_vfs vfs;
    const char *path;     /* Of real files; NULL: on the VFS. */
    uint32_t meta_one_in; /* A turn in so many steps the metadata; 0 and 1: each. */
    struct prng prng;
    struct store_options store_options;
    struct catalog_options catalog_options;
    uint64_t incarnation;

    struct meta *meta;
    struct store *store;
    struct volume_engine *volumes;
    struct catalog *catalog;
    bool waiting;
    int ended;
    bool verbose;
    char wrong[512];
};

/* path: where the metadata is on real files, or NULL. */
void catalog_rig_open(struct catalog_rig *rig, uint64_t seed, const char *path);
void catalog_rig_close(struct catalog_rig *rig);

/* All below: false if the power went or something is wrong. */
bool catalog_rig_format(struct catalog_rig *rig);
bool catalog_rig_open_meta(struct catalog_rig *rig, bool create);
bool catalog_rig_start(struct catalog_rig *rig);
bool catalog_rig_stop(struct catalog_rig *rig);
/* After it the metadata is closed, and what the disks hold is what survived. */
void catalog_rig_crash(struct catalog_rig *rig, bool power_cut);
/* The store alone, opened for reading: reachable blocks and the free map agree. */
bool catalog_rig_check(struct catalog_rig *rig);

bool catalog_rig_turn(struct catalog_rig *rig);
/* Turns until *until_false is false. */
bool catalog_rig_wait(struct catalog_rig *rig, const bool *until_false, const char *what);
/* Until nothing goes on behind: deletions that were interrupted have ended. */
bool catalog_rig_settle(struct catalog_rig *rig);
/* For whatever answers with a result: rig->waiting ends, rig->ended has it. */
void catalog_rig_ended(void *context, int result);
bool catalog_rig_wrong(struct catalog_rig *rig, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

#endif
