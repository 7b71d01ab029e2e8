/* SPDX-License-Identifier: Apache-2.0 */
/*
 * store_model: what each block of a volume may legally hold.
 *
 * A block is 8 sectors of 512 bytes; a sector's contents follow from a 64-bit tag (0: zeros). Each
 * change of a block is a version: the tags of its 8 sectors. Versions are in the order in which
 * their requests were made, which is the order in which the volume lets overlapping requests pass.
 *
 *   a read may give       the newest version acknowledged before it was asked for, or a later one
 *                         that failed; never one that is still under way. Once given it counts
 *                         as acknowledged: no later read may un-see it
 *   after a kill          the newest acknowledged version, or a later one
 *   after a power cut     the newest version that a completed flush or FUA covers, or a later one
 *
 * and never a mixture of two. Below a change of some sectors the others are those of any version
 * that a read could have given then: one that failed may be there or not. What a read gave once
 * after a crash is the base from then on.
 */
#ifndef SIM_STORE_MODEL_H
#define SIM_STORE_MODEL_H

#include "base/base.h"

#define MODEL_BLOCKS 512u
#define MODEL_SECTORS 8u
#define MODEL_VERSIONS_MAX 24u

struct model_version {
    uint64_t tags[MODEL_SECTORS]; /* Of the sectors that it changed. */
    uint8_t changed;              /* One bit per sector; the others are as they were before it. */
    uint64_t acked_at;            /* 0: not acknowledged. */
    bool durable;                 /* By FUA. */
    bool failed;                  /* It ended with an error: done or not. */
};

struct model_block {
    struct model_version versions[MODEL_VERSIONS_MAX];
    uint32_t count; /* At least 1: the base, acknowledged and durable. */
};

/* One volume. Two windows of it are modelled: across the border of segments 0 and 1, and at the
 * start of segment 3. */
struct model {
    struct model_block *blocks; /* MODEL_BLOCKS. */
    uint64_t acks;              /* Acknowledgements so far. */
    uint64_t durable_acks;      /* Those that a completed flush covers. */
};

int model_open(struct model *model);
void model_close(struct model *model);

/* The volume's block that an index stands for. Consecutive within a window of 256. */
uint64_t model_block_of(uint32_t index);

void model_fill(uint8_t *sector, uint64_t tag);
/* Whether index has room for one more version. */
bool model_room(const struct model *model, uint32_t index);
/* A change of sectors [first, first + count) of a block is asked for. Answers its version. */
uint32_t model_change(struct model *model, uint32_t index, uint32_t first, uint32_t count,
                      const uint64_t *tags);
void model_acked(struct model *model, uint32_t index, uint32_t version, bool durable);
void model_failed(struct model *model, uint32_t index, uint32_t version);
/* Whether a block surely holds data: its newest version is acknowledged, and not all zeros. */
bool model_holds_data(const struct model *model, uint32_t index);

/* What a read that was asked for when the block had `versions` versions gave: NULL, or what is
 * wrong with it. Sectors [first, first + count). */
const char *model_check_read(struct model *model, uint32_t index, uint32_t versions, uint32_t first,
                             uint32_t count, const uint8_t *data);
/* What survived cannot be read: any of its versions may be there. */
void model_doubt(struct model *model, uint32_t index);
/* To standard error: the versions of a block, and what was found. */
void model_print(const struct model *model, uint32_t index, const uint8_t *data);
enum model_crash {
    MODEL_KILL,
    MODEL_POWER_CUT,
    MODEL_MEDIA, /* The media lost writes too: any version may be back, but nothing else. */
};
/* A whole block as found after a crash; it becomes the base. NULL, or what is wrong. */
const char *model_settle(struct model *model, uint32_t index, enum model_crash crash,
                         const uint8_t *data);

#endif
