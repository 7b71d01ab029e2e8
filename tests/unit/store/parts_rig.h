/* SPDX-License-Identifier: Apache-2.0 */
/* One part of one store in the false world, asked word for word. */
#ifndef UNIT_STORE_PARTS_RIG_H
#define UNIT_STORE_PARTS_RIG_H

#include "part/part.h"
#include "unit/store/rig.h"

#define PARTS_VOLUME 7u
#define PARTS_GROUP 3u

extern struct part_request request; /* The last; what it answered. */
extern uint8_t *blocks;             /* 256 of them. */
extern uint32_t crcs[PART_BLOCKS_MAX];
extern struct part_version versions[PART_BLOCKS_MAX];
extern uint64_t epoch;
extern uint32_t generation;
extern uint64_t watermark;
extern uint64_t settled; /* All that is acknowledged is, unless a test says otherwise. */

/* A store of so many blocks; its machine's boot id is this byte. */
void parts_open(uint64_t disk_blocks, uint8_t boot);
void parts_shut(void);
/* The process dies, or the power goes; the store is opened again. */
void parts_down(bool power, uint8_t boot);

/* Submits `request` as it is filled in, with the names and numbers of above, and waits. */
int ask(enum part_request_kind kind);
/* Begins one that may be asked for beside others. */
void ask_begin(struct part_request *which, enum part_request_kind kind);
int ask_wait(struct part_request *which);
int fence(uint64_t to);
int role(uint8_t which, uint32_t of_generation);
/* Blocks that say who wrote them: (sequence, block). */
int put_blocks(uint64_t block, uint32_t count, uint64_t sequence, uint64_t cut);
int get_block(uint64_t block, uint64_t view);
/* Its contents are those of this write. */
bool is_written_by(uint32_t index, uint64_t block, uint64_t sequence);
struct part_state state_now(void);
/* What is at a block, as a view shows it. */
struct part_version version_at(uint64_t block, uint64_t view);
/* Closes, checks with data, opens again: the faults. */
uint64_t parts_check(void);

#endif
