/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of place share: the tree, and the hash that draws from it. */
#ifndef PLACE_INTERNAL_H
#define PLACE_INTERNAL_H

#include "place/place.h"

__extension__ typedef unsigned __int128 place_wide;

#define PLACE_MEDIA 3u
#define PLACE_MASKS 8u
#define PLACE_LOG_ENTRIES 257u
/* -log2 of a fraction, 0 .. 64, with so many bits behind the point. */
#define PLACE_LOG_BITS 56u

/* A zone, rack, node, store; or the root, of level PLACE_ROOT. */
#define PLACE_ROOT UINT32_MAX
struct domain {
    uint32_t parent;
    uint32_t first, count; /* Its children stand together, in order of their keys. */
    uint32_t level;
    /* Of the stores beneath that may be chosen, by medium, in blocks. */
    uint64_t load[PLACE_MEDIA];
    /* Domains of a level, beneath or this one itself, that have such a store; by mask of media. */
    uint32_t fit[PLACE_LEVELS][PLACE_MASKS];
};

/* What drawing looks at of each child, apart so that thousands of them stay in the cache. */
struct odds {
    uint64_t key;
    uint64_t weight[PLACE_MEDIA]; /* As load; not 0 exactly if a store beneath may be chosen. */
};

struct place_leaf {
    uint64_t id;
    uint64_t bytes, used, promised;
    uint64_t weight; /* Bytes. */
    uint32_t domain; /* Its index there. */
    uint8_t media;
    uint8_t state;
    bool counted; /* It is in the sums of its domains, with: */
    uint64_t counted_weight, counted_load;
};

struct place {
    uint32_t leaf_count;
    uint32_t domain_count;
    struct place_leaf *leaves; /* In order of ids. */
    struct domain *domains;    /* The root first, then level by level. */
    struct odds *odds;         /* Of each domain. */
    uint32_t *leaf_of;         /* Of each domain that is a store. */
    uint32_t level_first[PLACE_LEVELS + 1];
    /* While a group is placed: copies beneath a domain, and domains beneath, of the level that
     * keeps copies apart, that fit and hold one. All 0 between calls. */
    uint16_t *taken;
    uint16_t *busy;
    uint64_t logs[PLACE_LOG_ENTRIES]; /* log2(1 + i/256) */
};

/* What there is for `mask`; `wanted` and `held` stay 0. */
struct place_refusal place_refusal_of(const struct place *place, enum place_level level,
                                      uint32_t mask);

uint64_t place_mix(uint64_t value);
uint64_t place_key(uint64_t parent_key, const char *name);
uint64_t place_node_key(const char *name);
uint64_t place_store_key(uint64_t id);
uint64_t place_seed(uint64_t volume, uint32_t group);

void place_logs_fill(uint64_t logs[PLACE_LOG_ENTRIES]);
/* -log2((hash + 1) / 2^64), PLACE_LOG_BITS behind the point. */
uint64_t place_neglog(const uint64_t logs[PLACE_LOG_ENTRIES], uint64_t hash);
/* Not above place_neglog(), but for its last digits, and cheap. */
static inline uint64_t place_neglog_least(uint64_t hash)
{
    /* -log2(u) >= (1 - u) * log2(e), and log2(e) > 23/16. */
    uint64_t left = ~hash >> (64 - PLACE_LOG_BITS);
    return left + (left >> 2) + (left >> 3) + (left >> 4);
}

static inline uint32_t place_mask(uint32_t media)
{
    return media == 0 ? METADATA_MEDIA_MASK : media & METADATA_MEDIA_MASK;
}

static inline uint64_t odds_weight(const struct odds *odds, uint32_t mask)
{
    return (mask & 1 ? odds->weight[0] : 0) + (mask & 2 ? odds->weight[1] : 0) +
           (mask & 4 ? odds->weight[2] : 0);
}

static inline uint64_t domain_load(const struct domain *domain, uint32_t mask)
{
    return (mask & 1 ? domain->load[0] : 0) + (mask & 2 ? domain->load[1] : 0) +
           (mask & 4 ? domain->load[2] : 0);
}

static inline uint64_t place_load_of(uint64_t used, uint64_t promised)
{
    return used + (promised > used ? (promised - used) / PLACE_THIN_SHARE : 0);
}

#endif
