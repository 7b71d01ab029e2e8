/* SPDX-License-Identifier: Apache-2.0 */
/* A store in the false world, with one volume in it, and ways to hurt both. */
#ifndef UNIT_STORE_FIXTURE_H
#define UNIT_STORE_FIXTURE_H

#include "unit/store/rig.h"

#define BLOCKS 256u
#define VOLUME 7u
#define BLOCK 1024u /* First of those that are written: they have a map page to themselves. */
#define DISK_BLOCKS 4096u

extern unsigned told; /* Events of damage. */
extern bool told_of[BLOCKS];
extern char warning[256]; /* The last one. */

/* A store with a volume of BLOCKS blocks, written in order, in a checkpoint. */
void open_store(void);
void close_store(void);
void crash_store(void);

/* One event of the world, and turns until nothing is left to do. */
void step(void);

/* Writes the first `count` blocks of `data`. */
void put(uint64_t block, uint32_t count);
/* Reads into `bytes`; returns the result. */
int get(uint64_t block, uint32_t count, uint8_t *bytes);
struct store_stats stats_now(void);

/* Where on the disk block i of `data` is. */
uint64_t place_of(uint32_t i);
/* And the map page that shows the first. */
uint64_t place_of_map(void);
/* And the directory that shows that. */
uint64_t place_of_directory(uint64_t map);
void rot(uint64_t place);

#endif
