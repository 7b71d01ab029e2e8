/* SPDX-License-Identifier: Apache-2.0 */
/* One store on one disk of the false world, and waiting for what it was asked. */
#ifndef UNIT_STORE_RIG_H
#define UNIT_STORE_RIG_H

#include <criterion/criterion.h>

#include "sim/disk.h"
#include "sim/world.h"
#include "store/store.h"

extern struct world world;
extern struct sim_disk *disk;
extern struct store_options options;
extern struct store *store;
extern struct store_op op;
extern uint8_t *data;

/* Set before something is asked, and by `done`. */
extern bool waiting;
extern int ended;

void done(void *context, int result);
void op_done(struct store_op *which, int result);
/* Until `done` was called; returns its result. */
int wait_for_it(void);
/* A world with a disk of so many blocks, and options for a store on it. */
void open_world(uint64_t blocks);
void format_store(void);
/* What is there, again. */
void start_store(void);
void stop_store(void);
void checkpoint(void);

#endif
