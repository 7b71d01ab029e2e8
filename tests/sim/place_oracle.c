/* SPDX-License-Identifier: Apache-2.0 */
#include "sim/place_oracle.h"

#include <string.h>

static bool fits(const struct place_store *store, uint32_t media)
{
    bool wanted = media == 0 || (media >> store->media & 1) != 0;
    return wanted && store->state == METADATA_STORE_UP && store->bytes > 0 &&
           store->bytes_used / PLACE_FULL_PERCENT < store->bytes / 100;
}

/* In one domain of a level: by names, not by what place made of them. */
static bool together(const struct crowd *crowd, uint64_t a, uint64_t b, int level)
{
    const struct crowd_names *left = &crowd->names[a - 1];
    const struct crowd_names *right = &crowd->names[b - 1];
    switch (level) {
    case PLACE_ZONE: return strcmp(left->zone, right->zone) == 0;
    case PLACE_RACK:
        return strcmp(left->zone, right->zone) == 0 && strcmp(left->rack, right->rack) == 0;
    case PLACE_NODE: return strcmp(left->node, right->node) == 0;
    case PLACE_STORE: return a == b;
    default: return true; /* The pool. */
    }
}

/* Does `store` begin a domain that no store before it, of those that fit and are within the
 * domain of level `within` around `centre`, is in? */
static bool begins(const struct crowd *crowd, uint32_t at, int level, uint32_t media)
{
    for (uint32_t i = 0; i < at; i++)
        if (fits(&crowd->stores[i], media) && together(crowd, i + 1, at + 1, level))
            return false;
    return true;
}

uint32_t oracle_fit(const struct crowd *crowd, enum place_level level, uint32_t media)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < crowd->store_count; i++)
        count += fits(&crowd->stores[i], media) && begins(crowd, i, (int)level, media);
    return count;
}

static uint32_t beside(const struct crowd *crowd, const uint64_t *members, uint32_t count,
                       uint64_t store, int level)
{
    uint32_t there = 0;
    for (uint32_t i = 0; i < count; i++)
        there += together(crowd, members[i], store, level);
    return there;
}

/* Is there a store that fits and shares no domain of the level with those that are there? Within
 * the domain of another level that `near` is in, if that is not 0. */
static bool room(const struct crowd *crowd, const struct place_request *request,
                 const uint64_t *members, uint32_t count, int level, int within, uint64_t near)
{
    for (uint32_t i = 0; i < crowd->store_count; i++)
        if (fits(&crowd->stores[i], request->media) &&
            (near == 0 || together(crowd, i + 1, near, within)) &&
            beside(crowd, members, count, i + 1, level) == 0)
            return true;
    return false;
}

/* The widest level that is enough for all copies, or for one more. */
static int apart(const struct crowd *crowd, const struct place_request *request,
                 const uint64_t *members, uint32_t count, uint32_t kept)
{
    int level = PLACE_ZONE;
    while (level < (int)request->domain &&
           (kept == 0 ? oracle_fit(crowd, (enum place_level)level, request->media) < count
                      : !room(crowd, request, members, kept, level, 0, 0)))
        level++;
    return level;
}

/* A copy shares a domain with others. Was there, within the domain above it, another one without
 * any, that had a store which is apart from all the others? */
static bool avoidable(const struct crowd *crowd, const struct place_request *request,
                      const uint64_t *members, uint32_t count, uint32_t member, int level,
                      int apart_level)
{
    for (uint32_t i = 0; i < crowd->store_count; i++)
        if (fits(&crowd->stores[i], request->media) &&
            together(crowd, i + 1, members[member], level - 1) &&
            beside(crowd, members, count, i + 1, level) == 0 &&
            beside(crowd, members, count, i + 1, apart_level) == 0)
            return true;
    return false;
}

const char *oracle_judge(const struct crowd *crowd, const struct place_request *request,
                         const uint64_t *members, uint32_t member_count, uint32_t kept)
{
    int level_apart = apart(crowd, request, members, member_count, kept);
    for (uint32_t i = kept; i < member_count; i++) {
        if (members[i] == 0 || members[i] > crowd->store_count)
            return "a store that does not exist";
        if (!fits(&crowd->stores[members[i] - 1], request->media))
            return "a store that drains, is out, is full or of another medium";
        if (beside(crowd, members, member_count, members[i], level_apart) > 1)
            return "two copies in one domain of a level that is enough";
        for (int level = PLACE_ZONE; level < level_apart; level++)
            if (beside(crowd, members, member_count, members[i], level) > 1 &&
                avoidable(crowd, request, members, member_count, i, level, level_apart))
                return "two copies in one domain, and another had room";
    }
    return NULL;
}
