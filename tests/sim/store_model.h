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

#define MODEL_NEAR 512u /* In the two windows; the others lie far from each other. */
#define MODEL_FAR 24u
#define MODEL_BLOCKS (MODEL_NEAR + MODEL_FAR)
#define MODEL_SECTORS 8u
#define MODEL_VERSIONS_MAX 24u

/* What a change leaves of the space of a block. */
enum model_effect {
    MODEL_DATA,    /* A place of its own. */
    MODEL_NOTHING, /* None. */
    MODEL_ZEROED,  /* Some sectors only: none where there was none, else a place of its own. */
    MODEL_BASE,    /* As `base` says. */
};

/* What a block is known to be at some time. */
struct model_shown {
    uint64_t tags[MODEL_SECTORS];
    uint64_t stamp; /* Of the change that made it so: equal means the same place. */
    bool own;       /* The volume has a place for it; else it is zeros, or its parent's. */
    bool empty;     /* Nothing is there, also in its parents. */
    bool sure;      /* Of all but the tags. */
};

struct model_version {
    uint64_t tags[MODEL_SECTORS]; /* Of the sectors that it changed. */
    uint8_t changed;              /* One bit per sector; the others are as they were before it. */
    enum model_effect effect;
    uint64_t stamp;
    uint64_t acked_at; /* 0: not acknowledged. */
    bool durable;      /* By FUA. */
    bool failed;       /* It ended with an error: done or not. */
    bool unsure;       /* Whether it changed anything. */
    bool in_pieces;    /* Under way, some of it may be in place. */
};

struct model_block {
    struct model_version versions[MODEL_VERSIONS_MAX];
    uint32_t count;          /* At least 1: the base, acknowledged and durable. */
    bool own, empty, unsure; /* Of the base. */
};

/* One volume. Two windows of it are modelled: across the border of segments 0 and 1, and at the
 * start of segment 3; and single blocks in map pages of their own. */
struct model {
    struct model_block *blocks; /* MODEL_BLOCKS. */
    uint64_t acks;              /* Acknowledgements so far. */
    uint64_t durable_acks;      /* Those that a completed flush covers. */
    uint64_t stamps;
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
                      const uint64_t *tags, enum model_effect effect);
void model_acked(struct model *model, uint32_t index, uint32_t version, bool durable);
void model_failed(struct model *model, uint32_t index, uint32_t version);
/* Whether a block surely holds data: its newest version is acknowledged, and not all zeros. */
bool model_holds_data(const struct model *model, uint32_t index);

/* What a read that was asked for when the block had `versions` versions gave: NULL, or what is
 * wrong with it. Sectors [first, first + count). */
const char *model_check_read(struct model *model, uint32_t index, uint32_t versions, uint32_t first,
                             uint32_t count, const uint8_t *data);
/* What ended requests have made of a block. False: it is in doubt, for some failed, or are under
 * way in pieces. */
bool model_now(const struct model *model, uint32_t index, struct model_shown *ret_shown);
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
