/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A free map over false disks, and a plain model of it: one byte per block that says what the
 * block is, and for what is quarantined, what it waits for. Whatever space gives out is held
 * against the model; each block that was given out carries a tag on its disk until it is freed,
 * so that a zero or a discard that strays is seen.
 */
#ifndef UNIT_SPACE_RIG_H
#define UNIT_SPACE_RIG_H

#include <criterion/criterion.h>

#include "sim/disk.h"
#include "space/space.h"

#define RIG_DEVICES 4u
#define RIG_READS 16u
#define RIG_EXTENTS 4096u

enum rig_state {
    RIG_FREE,
    RIG_FIXED,
    RIG_TAKEN, /* Given out, not linked. */
    RIG_LINKED,
    RIG_WAITS,       /* Freed data. */
    RIG_PAGE,        /* Of the free map, of its deferred list, or of the pretended tree. */
    RIG_PAGE_LIVE,   /* A page that the next checkpoint will not need. */
    RIG_PAGE_FROZEN, /* One that the checkpoint under way does not need. */
    RIG_PAGE_DONE,   /* Its checkpoint is durable. */
};

struct rig_wait {
    uint64_t batch;
    uint64_t time;
};

/* What happened to the tree since a freeze. */
struct rig_log {
    struct extent extent;
    uint64_t batch;
    bool used;
};

struct rig_options {
    unsigned devices;
    struct {
        uint64_t base, blocks;
        enum device_class class;
        bool prepares;
    } device[RIG_DEVICES];
    uint64_t reserve_blocks;
    uint32_t quarantine_max;
    uint32_t frames;
    uint32_t fixed_blocks; /* At the start of the first device. */
    bool discard, no_want_checkpoint;
    uint64_t seed;
};

enum rig_checkpoint {
    RIG_IDLE,
    RIG_RESERVING,
    RIG_PAGES,
    RIG_DEFERRED,
    RIG_FLUSHING,
    RIG_NAMED, /* The superblock is durable, space has not been told. */
};

struct rig {
    struct rig_options options;
    struct world world;
    struct prng prng;
    struct sim_disk *disks[RIG_DEVICES];
    struct device_set devices;
    struct page_cache *cache;
    struct space *space;
    uint64_t end; /* One past the last place. */
    uint64_t total;

    uint8_t *state;
    struct rig_wait *waits;
    uint64_t *tags;
    uint64_t tag_next, time;
    struct extent taken[RIG_EXTENTS];
    unsigned taken_count;
    struct extent linked[RIG_EXTENTS];
    unsigned linked_count;
    uint64_t pages[RIG_EXTENTS]; /* Of the pretended tree. */
    unsigned page_count;
    uint64_t next_pages[RIG_EXTENTS], snap_pages[RIG_EXTENTS];
    unsigned next_page_count, snap_page_count;
    struct {
        uint64_t ticket, time;
    } reads[RIG_READS];
    unsigned read_count;
    uint64_t batch, durable;
    uint64_t used; /* Blocks that are FIXED, LINKED or PAGE. */

    /* The checkpoint under way, and the last that is durable. */
    enum rig_checkpoint checkpoint;
    uint32_t checkpoint_reserved;
    struct page_write write;
    struct space_deferred deferred;
    struct device_flush flush;
    uint8_t *next_snap; /* What its tree reaches. */
    uint8_t *snap;
    struct pointer index;
    uint64_t deferred_place;
    uint32_t deferred_crc;
    struct rig_log *log, *next_log;
    size_t log_count, next_log_count, log_room;
    uint64_t checkpoints;
    bool run_left; /* A checkpoint that was not durable left some of its run. */

    bool want_flush, want_checkpoint;
    struct page_waiter waiter, checkpoint_waiter;
    unsigned woken;
    bool loaded;
    int load_result;
};

struct rig *rig_open(const struct rig_options *options);
void rig_close(struct rig *rig);
/* Parts of opening and closing. */
void rig_space_open(struct rig *rig);
void rig_space_close(struct rig *rig);
int rig_load(struct rig *rig);
/* One turn of the engine. False: nothing is to come. */
bool rig_turn(struct rig *rig);
/* Until nothing moves. */
void rig_settle(struct rig *rig);
/* Flush: every batch so far is durable. */
void rig_durable(struct rig *rig);

/* Take and check against the model: what space_take() answered. */
int rig_take(struct rig *rig, enum device_class class, enum space_purpose purpose,
             uint32_t blocks_max);
/* Take, and link, `blocks` in all; settles while it has to wait. */
void rig_fill(struct rig *rig, enum space_purpose purpose, uint64_t blocks);
void rig_link(struct rig *rig, unsigned index);
void rig_give_back(struct rig *rig, unsigned index);
/* Free `blocks` from the end of a linked extent in the open batch. -EAGAIN: quarantine is full. */
int rig_free(struct rig *rig, unsigned index, uint32_t blocks);
void rig_free_page(struct rig *rig, unsigned index);
void rig_read_enter(struct rig *rig);
void rig_read_leave(struct rig *rig, unsigned index);

void rig_checkpoint_begin(struct rig *rig);
/* As far as it goes without a turn. `durable` false: the superblock's fate is not known. */
void rig_checkpoint_step(struct rig *rig, bool durable);
/* A whole one, settled. */
void rig_checkpoint_run(struct rig *rig);
/* The machine or the process dies; the store is opened again, with the journal up to `batch`. */
void rig_crash(struct rig *rig, bool power, uint64_t batch);

/* Everything that must hold at any instant. */
void rig_check(struct rig *rig);
/* Settles; then every single block, and every number. Reads and checkpoints must be over. */
void rig_check_all(struct rig *rig);
void rig_check_blocks(struct rig *rig);
void rig_tag_check(struct rig *rig, uint64_t place);
void rig_tag_again(struct rig *rig, uint64_t place);
uint64_t rig_count(const struct rig *rig, enum rig_state state);
struct space_stats rig_stats(const struct rig *rig);

#endif
