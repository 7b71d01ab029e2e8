/* SPDX-License-Identifier: Apache-2.0 */
/*
 * plot: a free map over false disks, and a plain model of it: one byte per block that says what the
 * block is, and for what is quarantined, what it waits for. Whatever space gives out is held
 * against the model; each block that was given out carries a tag on its disk until it is freed,
 * so that a zero or a discard that strays is seen.
 */
#ifndef SIM_PLOT_H
#define SIM_PLOT_H

#include <stdio.h>
#include <stdlib.h>

#include "sim/disk.h"
#include "space/space.h"

/* Ends the process: a unit test fails by it, and a storm catches a mutant. */
#define REQUIRE(condition) REQUIRE_SAYING(condition, " ")
#define REQUIRE_SAYING(condition, ...)                                           \
    do {                                                                         \
        if (!(condition)) {                                                      \
            (void)fprintf(stderr, "%s:%d: %s ", __FILE__, __LINE__, #condition); \
            (void)fprintf(stderr, __VA_ARGS__);                                  \
            (void)fprintf(stderr, "\n");                                         \
            abort();                                                             \
        }                                                                        \
    } while (0)

#define PLOT_DEVICES 4u
#define PLOT_READS 16u
#define PLOT_EXTENTS 4096u

enum plot_state {
    PLOT_FREE,
    PLOT_FIXED,
    PLOT_TAKEN, /* Given out, not linked. */
    PLOT_LINKED,
    PLOT_WAITS,       /* Freed data. */
    PLOT_PAGE,        /* Of the free map, of its deferred list, or of the pretended tree. */
    PLOT_PAGE_LIVE,   /* A page that the next checkpoint will not need. */
    PLOT_PAGE_FROZEN, /* One that the checkpoint under way does not need. */
    PLOT_PAGE_DONE,   /* Its checkpoint is durable. */
};

struct plot_wait {
    uint64_t batch;
    uint64_t time;
};

/* What happened to the tree since a freeze. */
struct plot_log {
    struct extent extent;
    uint64_t batch;
    bool used;
};

struct plot_options {
    unsigned devices;
    struct {
        uint64_t base, blocks;
        enum device_class class;
        bool prepares;
    } device[PLOT_DEVICES];
    uint64_t reserve_blocks;
    uint32_t quarantine_max;
    uint32_t frames;
    uint32_t fixed_blocks; /* At the start of the first device. */
    bool discard, no_want_checkpoint;
    uint64_t seed;
};

enum plot_checkpoint {
    PLOT_IDLE,
    PLOT_RESERVING,
    PLOT_PAGES,
    PLOT_DEFERRED,
    PLOT_FLUSHING,
    PLOT_NAMED, /* The superblock is durable, space has not been told. */
};

struct plot {
    struct plot_options options;
    struct world world;
    struct prng prng;
    struct sim_disk *disks[PLOT_DEVICES];
    struct device_set devices;
    struct page_cache *cache;
    struct space *space;
    uint64_t end; /* One past the last place. */
    uint64_t total;

    uint8_t *state;
    struct plot_wait *waits;
    uint64_t *tags;
    uint64_t tag_next, time;
    struct extent taken[PLOT_EXTENTS];
    struct extent linked[PLOT_EXTENTS];
    uint64_t pages[PLOT_EXTENTS]; /* Of the pretended tree. */
    uint64_t next_pages[PLOT_EXTENTS], snap_pages[PLOT_EXTENTS];
    struct {
        uint64_t ticket, time;
    } reads[PLOT_READS];
    uint64_t batch, durable;
    uint64_t used; /* Blocks that are FIXED, LINKED or PAGE. */

    /* The checkpoint under way, and the last that is durable. */
    struct page_write write;
    struct space_deferred deferred;
    struct device_flush flush;
    uint8_t *next_snap; /* What its tree reaches. */
    uint8_t *snap;
    struct pointer index;
    uint64_t deferred_place;
    struct plot_log *log, *next_log;
    size_t log_count, next_log_count, log_room;
    uint64_t checkpoints;
    struct page_waiter waiter, checkpoint_waiter;

    uint32_t checkpoint_reserved;
    unsigned woken;
    int load_result;
    uint32_t deferred_crc;
    enum plot_checkpoint checkpoint;
    unsigned read_count;
    unsigned taken_count;
    unsigned linked_count;
    unsigned page_count;
    unsigned next_page_count, snap_page_count;
    bool checkpoint_waits; /* For its run. */
    bool run_left;         /* A checkpoint that was not durable left some of its run. */
    bool want_flush, want_checkpoint;
    bool full_below; /* A disk has no space: neither has anybody else. */
    bool loaded;
};

struct plot *plot_open(const struct plot_options *options);
void plot_close(struct plot *plot);
/* Parts of opening and closing. */
void plot_space_open(struct plot *plot);
void plot_space_close(struct plot *plot);
int plot_load(struct plot *plot);
/* One turn of the engine. False: nothing is to come. */
bool plot_turn(struct plot *plot);
/* Until nothing moves. */
void plot_settle(struct plot *plot);
/* Flush: every batch so far is durable. */
void plot_durable(struct plot *plot);

/* Take and check against the model: what space_take() answered. */
int plot_take(struct plot *plot, enum device_class class, enum space_purpose purpose,
              uint32_t blocks_max);
/* Take, and link, `blocks` in all; settles while it has to wait. */
void plot_fill(struct plot *plot, enum space_purpose purpose, uint64_t blocks);
void plot_link(struct plot *plot, unsigned index);
void plot_give_back(struct plot *plot, unsigned index);
/* Free `blocks` from the end of a linked extent in the open batch. -EAGAIN: quarantine is full. */
int plot_free(struct plot *plot, unsigned index, uint32_t blocks);
void plot_free_page(struct plot *plot, unsigned index);
void plot_read_enter(struct plot *plot);
void plot_read_leave(struct plot *plot, unsigned index);

void plot_checkpoint_begin(struct plot *plot);
/* As far as it goes without a turn. `durable` false: the superblock's fate is not known. */
void plot_checkpoint_step(struct plot *plot, bool durable);
/* A whole one, settled. */
void plot_checkpoint_run(struct plot *plot);
/* The machine or the process dies; the store is opened again, with the journal up to `batch`. */
void plot_crash(struct plot *plot, bool power, uint64_t batch);

/* Everything that must hold at any instant. */
void plot_check(struct plot *plot);
/* Settles; then every single block, and every number. Reads and checkpoints must be over. */
void plot_check_all(struct plot *plot);
void plot_check_blocks(struct plot *plot);
void plot_tag_check(struct plot *plot, uint64_t place);
void plot_tag_again(struct plot *plot, uint64_t place);
uint64_t plot_count(const struct plot *plot, enum plot_state state);
struct space_stats plot_stats(const struct plot *plot);

#endif
