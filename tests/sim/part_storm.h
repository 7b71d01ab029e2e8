/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of storm_part share: the coordinator's model. */
#ifndef SIM_PART_STORM_H
#define SIM_PART_STORM_H

#include "format/pointer.h"
#include "sim/part_copies.h"
#include "tree/tree.h"

#define CUTS_MAX 6u

struct truth {
    uint64_t sequence;
    uint16_t kind;
};

struct coordinator {
    uint64_t epoch, sequence, watermark, durable;
    uint32_t generation;
    struct truth head[BLOCKS];
    struct truth views[CUTS_MAX][BLOCKS];
    uint64_t cuts[CUTS_MAX];
    uint32_t cut_count;
    bool views_ever;
    uint64_t fenced[COPIES]; /* The epoch that each has confirmed. */
    uint64_t floor[COPIES];  /* What those that stayed away are trusted with; 0: all. */
};
extern struct coordinator c;

#define PART_COUNTS(X) \
    X(writes)          \
    X(takeovers) X(kills) X(cuts_of_power) X(rejoins) X(resynced) X(repaired) X(broken_off)
#define PART_COUNT(name) uint64_t name;
extern struct part_counts {
    PART_COUNTS(PART_COUNT)
} counts;

void draw_down(void);
/* What an answer means for the copy: false: it is gone. */
bool answered(struct copy *copy, int result);
int say(struct ask *ask, struct copy *copy);
struct part_state state_of(struct copy *copy);
bool map_of(struct copy *copy, uint64_t view, struct part_version *versions);
void write_one(void);
void flush_all(void);
void cut_take(void);
void cut_drop(void);
void views_tell(struct copy *copy);
struct copy *source_of(void);
bool carry(struct copy *from, struct copy *to, uint64_t view, uint32_t index, uint32_t count);
bool fence_tell(struct copy *copy, struct part_state *ret_state);
void role_tell(struct copy *copy, uint8_t role);
/* What was acknowledged up to `trusted` must be there. */
void take_over(uint64_t trusted);
void coordinator_dies(void);

#endif
