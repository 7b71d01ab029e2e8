/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A pool whose keeper is at work: volumes' groups with the states of their copies, stores that fall
 * silent and come back, and time. Each pass tells the plan everything, does what it decides, and
 * holds each decision against what may never be. Copies proceed at the rates that they are given.
 */
#ifndef SIM_PLAN_MODEL_H
#define SIM_PLAN_MODEL_H

#include "keeper/plan.h"
#include "sim/crowd.h"

struct model_volume {
    struct plan_volume told;
    uint32_t first, last; /* Its groups, chained. */
    bool deleted;
};

struct model_group {
    struct plan_group told;
    uint64_t volume;
    uint32_t next;
    uint64_t second[METADATA_MEMBERS_MAX]; /* Bytes, of those that catch up. */
};

struct plan_model {
    struct crowd crowd;
    struct plan_settings settings;
    enum place_level level;
    uint32_t store_room, volume_room, group_room;
    struct plan_store *stores; /* Store i has the id i + 1. */
    uint32_t volume_count, group_count;
    struct model_volume *volumes; /* Volume i has the id i + 1. */
    struct model_group *groups;
    uint64_t now_ns;
    bool balancing;
    /* Of the last pass. */
    uint32_t actions, facts;
    uint64_t pass_us;                       /* Of a processor: telling and deciding. */
    uint64_t balanced_bytes, rebuilt_bytes; /* That were begun, ever. */
    char worst[PLAN_TEXT_BYTES];            /* The most severe fact. */
    /* NULL, or which decision may never be. */
    const char *wrong;
};

void plan_model_init(struct plan_model *model, uint64_t seed, const struct crowd_shape *shape,
                     uint32_t volumes, uint64_t segments, uint32_t copies, enum place_level level);
void plan_model_done(struct plan_model *model);
void plan_model_add_stores(struct plan_model *model, const struct crowd_shape *shape,
                           uint32_t nodes);

/* All stores of a node (that of store `at`) fall silent or come back. */
void plan_model_silent(struct plan_model *model, uint32_t at, bool silent);
/* Coordinators notice: copies on silent stores are stale, but never the last in sync. */
void plan_model_notice(struct plan_model *model);

/* One pass of the keeper, and what it decides is done. */
void plan_model_pass(struct plan_model *model);
/* Copies proceed. */
void plan_model_advance(struct plan_model *model, uint64_t ns);

/* Fullness by what copies have now, of stores that are up and answer. */
struct crowd_fullness plan_model_fullness(const struct plan_model *model);
/* What copies have on a store, by its index. */
uint64_t plan_model_bytes(const struct plan_model *model, uint32_t store);
/* How many groups are not as their policy wants them. */
uint32_t plan_model_unwell(const struct plan_model *model);

#endif
