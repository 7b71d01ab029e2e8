/* SPDX-License-Identifier: Apache-2.0 */
/*
 * worlds: several machines, each a world of its own (clock, disks, work), under one time.
 *
 * Whoever has the next thing to come goes next; the others' clocks follow. So one machine can be
 * killed, or lose its power, and the others do not notice but by its silence. A machine's clock may
 * run fast or slow, and jump.
 */
#ifndef SIM_WORLDS_H
#define SIM_WORLDS_H

#include "sim/world.h"

#define WORLDS_MAX 16u

struct worlds {
    uint64_t now_ns; /* Of nobody's clock. */
    struct world *worlds[WORLDS_MAX];
    int32_t drift_ppm[WORLDS_MAX];     /* + fast. */
    uint64_t offset_ns[WORLDS_MAX];    /* Their clock when they joined or drift was changed, */
    uint64_t offset_at_ns[WORLDS_MAX]; /* and what the time was. */
    bool stopped[WORLDS_MAX];          /* Neither runs nor answers; time passes. */
    unsigned count;
};

void worlds_open(struct worlds *worlds);
/* Borrowed. Returns its number. */
unsigned worlds_add(struct worlds *worlds, struct world *world);
/* From now on its clock runs so much faster (parts per million). */
void worlds_drift(struct worlds *worlds, unsigned number, int32_t ppm);
/* Its clock is so much further: what was to come meanwhile is late. */
void worlds_jump(struct worlds *worlds, unsigned number, uint64_t by_ns);
/* The next thing that comes to anybody, whose number is returned; -1: nothing is to come, before
 * `until_ns`; it is that time then. */
int worlds_step(struct worlds *worlds, uint64_t until_ns);

#endif
