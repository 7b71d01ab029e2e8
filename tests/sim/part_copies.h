/* SPDX-License-Identifier: Apache-2.0 */
/*
 * part_copies: stores that each have a part of one group, every one in a world of its own, and
 * words to them. What they should say is storm_part's business.
 */
#ifndef SIM_PART_COPIES_H
#define SIM_PART_COPIES_H

#include <stdio.h>
#include <stdlib.h>

#include "part/part.h"
#include "sim/disk.h"
#include "sim/world.h"
#include "store/store.h"

#define COPIES 3u
#define BLOCKS 32u /* Of the volume, in two MiBs. */
#define HALF (BLOCKS / 2)
#define VOLUME 9u
#define GROUP 2u
#define COPY_DISK_BLOCKS 6144u
#define ASKS_MAX 64u

extern uint64_t storm_seed;
extern const char *storm_doing;
extern bool damage_expected;

/* Ends the process of this seed. */
#define REQUIRE(condition, ...)                                                          \
    do {                                                                                 \
        if (!(condition)) {                                                              \
            (void)fprintf(stderr, "seed %llu: ", (unsigned long long)storm_seed);        \
            (void)fprintf(stderr, __VA_ARGS__);                                          \
            (void)fprintf(stderr, " (%s; %s:%d: %s)\n", storm_doing, __FILE__, __LINE__, \
                          #condition);                                                   \
            exit(1);                                                                     \
        }                                                                                \
    } while (0)

enum copy_role { COPY_STALE, COPY_CATCHING_UP, COPY_IN_SYNC };

struct copy {
    struct world world;
    struct sim_disk *disk;
    struct store_options options;
    struct store *store;
    bool up;
    enum copy_role role;      /* As the metadata says. */
    uint64_t goes_down_after; /* Moments of its world; 0: not. */
    bool by_power;
    int ended;
    bool waiting;
};

/* A request and what it needs, until it ends. */
struct ask {
    struct part_request request;
    struct copy *copy;
    bool busy, ended;
    uint32_t crcs[PART_BLOCKS_MAX];
    struct part_version versions[PART_BLOCKS_MAX];
    uint8_t *data;
};

extern struct copy copies[COPIES];
extern struct prng dice;

/* Block i of the model is this one of the volume. */
static inline uint64_t block_of(uint32_t index)
{
    return index < HALF ? index : 256 + index - HALF;
}

void copies_open(uint64_t seed);
/* One event of one of them, and its turns. A copy that goes down ends what it was asked with
 * -ECONNRESET. */
void copies_turn(void);
void copy_down(struct copy *copy, bool power);
void copy_up(struct copy *copy);
/* Closes it, checks it with its data, opens it again: the faults. */
uint64_t copy_check(struct copy *copy);
void copy_checkpoint(struct copy *copy);

struct ask *ask_get(void);
void ask_put(struct ask *ask);
/* `request.kind`, and what is of the request, are filled in. */
void ask_send(struct ask *ask, struct copy *copy, uint64_t epoch, uint32_t generation);
int ask_wait(struct ask *ask);
/* As a write of this sequence leaves it. */
void block_fill(uint8_t *to, uint64_t block, uint64_t sequence);

#endif
