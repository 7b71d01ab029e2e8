/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The tree of failure domains, and the sums that choosing looks at. Building sorts by keys, so the
 * order in which stores were told leaves no trace.
 */
#include <stdlib.h>
#include <string.h>

#include "place/internal.h"

/* A store on its way into the tree. */
struct seat {
    uint64_t keys[PLACE_LEVELS];
    uint64_t id;
    uint32_t leaf;
};

enum place_level place_level_of(enum metadata_domain domain)
{
    switch (domain) {
    case METADATA_DOMAIN_ZONE: return PLACE_ZONE;
    case METADATA_DOMAIN_RACK: return PLACE_RACK;
    case METADATA_DOMAIN_STORE: return PLACE_STORE;
    case METADATA_DOMAIN_NODE: break;
    }
    return PLACE_NODE;
}

struct place_store place_store_of(const struct metadata_store *record)
{
    return (struct place_store){
        .id = record->id,
        .zone = record->zone,
        .rack = record->rack,
        .node = record->node,
        .bytes = record->bytes,
        .bytes_used = record->bytes_used,
        .bytes_promised = record->bytes_promised,
        .media = record->media,
        .state = record->state,
        .weight_percent = record->weight_percent,
    };
}

/* --- Sums ----------------------------------------------------------------------------------- */

static bool leaf_may_be_chosen(const struct place_leaf *leaf)
{
    bool up =
        leaf->state == METADATA_STORE_UP || (MUTANT(256) && leaf->state == METADATA_STORE_DRAINING);
    bool full = leaf->used / PLACE_FULL_PERCENT >= leaf->bytes / 100;
    return up && leaf->weight > 0 && (!full || MUTANT(257));
}

/* One store more or less that may be chosen: how many domains of each level that makes. */
static void fit_change(struct place *place, const struct place_leaf *leaf, bool may)
{
    int32_t delta[PLACE_LEVELS][PLACE_MASKS] = {{0}};
    for (uint32_t mask = 1; mask < PLACE_MASKS; mask++)
        delta[PLACE_STORE][mask] = mask >> leaf->media & 1 ? (may ? 1 : -1) : 0;
    for (uint32_t at = leaf->domain; at != PLACE_ROOT; at = place->domains[at].parent) {
        struct domain *domain = &place->domains[at];
        for (uint32_t level = 0; level < PLACE_LEVELS; level++)
            for (uint32_t mask = 1; mask < PLACE_MASKS; mask++)
                domain->fit[level][mask] += (uint32_t)delta[level][mask];
        if (domain->level >= PLACE_STORE)
            continue;
        for (uint32_t mask = 1; mask < PLACE_MASKS; mask++) {
            uint32_t now = domain->fit[PLACE_STORE][mask] > 0;
            delta[domain->level][mask] = (int32_t)now - (int32_t)domain->fit[domain->level][mask];
            domain->fit[domain->level][mask] = now;
        }
    }
}

/* Brings the sums up to date with what the leaf says now. */
static void leaf_count_anew(struct place *place, struct place_leaf *leaf)
{
    bool may = leaf_may_be_chosen(leaf);
    uint64_t weight = may ? MAX(1, leaf->weight / BLOCK_BYTES) : 0;
    uint64_t load = may ? place_load_of(leaf->used, leaf->promised) / BLOCK_BYTES : 0;
    for (uint32_t at = leaf->domain; at != PLACE_ROOT; at = place->domains[at].parent) {
        struct domain *domain = &place->domains[at];
        place->odds[at].weight[leaf->media] += weight - leaf->counted_weight;
        domain->load[leaf->media] += load - leaf->counted_load;
    }
    leaf->counted_weight = weight;
    leaf->counted_load = load;
    if (may != leaf->counted)
        fit_change(place, leaf, may);
    leaf->counted = may;
}

/* --- Building ------------------------------------------------------------------------------- */

static int leaf_order(const void *a, const void *b)
{
    const struct place_leaf *left = a;
    const struct place_leaf *right = b;
    return (left->id > right->id) - (left->id < right->id);
}

static int seat_order_by_node(const void *a, const void *b)
{
    const struct seat *left = a;
    const struct seat *right = b;
    if (left->keys[PLACE_NODE] != right->keys[PLACE_NODE])
        return left->keys[PLACE_NODE] < right->keys[PLACE_NODE] ? -1 : 1;
    return (left->id > right->id) - (left->id < right->id);
}

static int seat_order(const void *a, const void *b)
{
    const struct seat *left = a;
    const struct seat *right = b;
    for (uint32_t level = 0; level < PLACE_LEVELS; level++)
        if (left->keys[level] != right->keys[level])
            return left->keys[level] < right->keys[level] ? -1 : 1;
    return (left->id > right->id) - (left->id < right->id);
}

static void seats_fill(struct place *place, const struct place_store *stores, struct seat *seats)
{
    uint32_t count = place->leaf_count;
    for (uint32_t i = 0; i < count; i++) {
        const struct place_store *store = &stores[i];
        uint64_t zone = place_key(0, store->zone == NULL ? "" : store->zone);
        seats[i] = (struct seat){
            .keys = {zone, place_key(zone, store->rack == NULL ? "" : store->rack),
                     place_node_key(store->node == NULL ? "" : store->node),
                     place_store_key(store->id)},
            .id = store->id,
            .leaf = place_index(place, store->id),
        };
    }
    /* A node that is said to be in two racks is one node all the same. */
    qsort(seats, count, sizeof *seats, seat_order_by_node);
    for (uint32_t i = 1; i < count; i++)
        if (seats[i].keys[PLACE_NODE] == seats[i - 1].keys[PLACE_NODE])
            memcpy(seats[i].keys, seats[i - 1].keys, PLACE_NODE * sizeof seats[i].keys[0]);
    qsort(seats, count, sizeof *seats, seat_order);
}

/* The first level, from the top, at which a seat is in another domain than the one before it. */
static uint32_t seat_differs(const struct seat *seats, uint32_t i)
{
    uint32_t level = 0;
    if (i > 0)
        while (level < PLACE_STORE && seats[i].keys[level] == seats[i - 1].keys[level])
            level++;
    return level;
}

static void domains_fill(struct place *place, const struct seat *seats)
{
    uint32_t next[PLACE_LEVELS];
    for (uint32_t level = 0; level < PLACE_LEVELS; level++)
        next[level] = place->level_first[level];
    place->domains[0] = (struct domain){.parent = PLACE_ROOT, .level = PLACE_ROOT, .first = 1};
    for (uint32_t i = 0; i < place->leaf_count; i++) {
        for (uint32_t level = seat_differs(seats, i); level < PLACE_LEVELS; level++) {
            uint32_t parent = level == 0 ? 0 : next[level - 1] - 1;
            uint32_t at = next[level]++;
            place->domains[at] = (struct domain){
                .parent = parent,
                .level = level,
                .first = level + 1 < PLACE_LEVELS ? next[level + 1] : 0,
            };
            place->odds[at].key = seats[i].keys[level];
            place->domains[parent].count++;
        }
        uint32_t leaf = seats[i].leaf;
        place->leaves[leaf].domain = next[PLACE_STORE] - 1;
        place->leaf_of[next[PLACE_STORE] - 1] = leaf;
    }
}

static void domains_count(struct place *place, const struct seat *seats)
{
    uint32_t counts[PLACE_LEVELS] = {0};
    for (uint32_t i = 0; i < place->leaf_count; i++)
        for (uint32_t level = seat_differs(seats, i); level < PLACE_LEVELS; level++)
            counts[level]++;
    place->level_first[0] = 1;
    for (uint32_t level = 0; level < PLACE_LEVELS; level++)
        place->level_first[level + 1] = place->level_first[level] + counts[level];
    place->domain_count = place->level_first[PLACE_LEVELS];
}

static int leaves_fill(struct place *place, const struct place_store *stores)
{
    uint32_t count = place->leaf_count;
    for (uint32_t i = 0; i < count; i++) {
        const struct place_store *store = &stores[i];
        uint64_t percent = store->weight_percent == 0 ? 100 : store->weight_percent;
        assert((unsigned)store->media < PLACE_MEDIA);
        place->leaves[i] = (struct place_leaf){
            .id = store->id,
            .bytes = store->bytes,
            .used = store->bytes_used,
            .promised = store->bytes_promised,
            .weight = (uint64_t)((place_wide)store->bytes * MIN(percent, 100) / 100),
            .media = (uint8_t)store->media,
            .state = (uint8_t)store->state,
        };
    }
    qsort(place->leaves, count, sizeof *place->leaves, leaf_order);
    for (uint32_t i = 1; i < count; i++)
        if (place->leaves[i].id == place->leaves[i - 1].id)
            return FAIL(-EINVAL, "two stores have the id %llx",
                        (unsigned long long)place->leaves[i].id);
    return 0;
}

/* A zone, a rack, a node and itself for each store, and the root. */
static size_t domains_max(size_t count)
{
    return 1 + PLACE_LEVELS * count;
}

size_t place_bytes(size_t count)
{
    size_t domains = domains_max(count);
    return sizeof(struct place) + count * (sizeof(struct place_leaf) + sizeof(struct seat)) +
           domains * (sizeof(struct domain) + sizeof(struct odds) + sizeof(uint32_t) +
                      2 * sizeof(uint16_t));
}

/* Those that need most alignment first. */
static struct seat *memory_share(struct place *place, size_t count)
{
    size_t domains = domains_max(count);
    place->leaves = (struct place_leaf *)(void *)(place + 1);
    place->domains = (struct domain *)(void *)(place->leaves + count);
    place->odds = (struct odds *)(void *)(place->domains + domains);
    struct seat *seats = (struct seat *)(void *)(place->odds + domains);
    place->leaf_of = (uint32_t *)(void *)(seats + count);
    place->taken = (uint16_t *)(void *)(place->leaf_of + domains);
    place->busy = place->taken + domains;
    return seats;
}

int place_init(void *memory, const struct place_store *stores, size_t count,
               struct place **ret_place)
{
    static_assert(sizeof(struct place) % 8 == 0 && sizeof(struct place_leaf) % 8 == 0 &&
                      sizeof(struct domain) % 8 == 0,
                  "what follows is aligned");
    if (count > PLACE_STORES_MAX)
        return FAIL(-EINVAL, "%zu stores: a pool has at most %u", count, PLACE_STORES_MAX);
    struct place *place = memory;
    memset(memory, 0, place_bytes(count));
    struct seat *seats = memory_share(place, count);
    place->leaf_count = (uint32_t)count;
    int result = leaves_fill(place, stores);
    if (result != 0)
        return result;
    seats_fill(place, stores, seats);
    domains_count(place, seats);
    domains_fill(place, seats);
    place_logs_fill(place->logs);
    for (uint32_t i = 0; i < place->leaf_count; i++)
        leaf_count_anew(place, &place->leaves[i]);
    *ret_place = place;
    return 0;
}

/* --- Words about stores --------------------------------------------------------------------- */

uint32_t place_count(const struct place *place)
{
    return place->leaf_count;
}

uint32_t place_index(const struct place *place, uint64_t id)
{
    uint32_t low = 0;
    uint32_t high = place->leaf_count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (place->leaves[middle].id < id)
            low = middle + 1;
        else
            high = middle;
    }
    return low < place->leaf_count && place->leaves[low].id == id ? low : UINT32_MAX;
}

uint64_t place_id(const struct place *place, uint32_t index)
{
    assert(index < place->leaf_count);
    return place->leaves[index].id;
}

enum metadata_store_state place_state(const struct place *place, uint32_t index)
{
    assert(index < place->leaf_count);
    return (enum metadata_store_state)place->leaves[index].state;
}

uint32_t place_domain(const struct place *place, uint32_t index, enum place_level level)
{
    assert(index < place->leaf_count);
    uint32_t at = place->leaves[index].domain;
    while (place->domains[at].level > (uint32_t)level)
        at = place->domains[at].parent;
    return at;
}

uint64_t place_load_bytes(const struct place *place, uint32_t index)
{
    assert(index < place->leaf_count);
    return place_load_of(place->leaves[index].used, place->leaves[index].promised);
}

uint64_t place_weight_bytes(const struct place *place, uint32_t index)
{
    assert(index < place->leaf_count);
    return place->leaves[index].weight;
}

static uint64_t moved(uint64_t value, int64_t by)
{
    uint64_t down = by < 0 ? 0 - (uint64_t)by : 0;
    /* What stores say and what is decided may not agree: never below nothing. */
    return by >= 0 ? value + (uint64_t)by : value - MIN(down, value);
}

void place_charge(struct place *place, uint32_t index, int64_t used, int64_t promised)
{
    assert(index < place->leaf_count);
    struct place_leaf *leaf = &place->leaves[index];
    leaf->used = moved(leaf->used, used);
    leaf->promised = moved(leaf->promised, promised);
    leaf_count_anew(place, leaf);
}

void place_set_state(struct place *place, uint32_t index, enum metadata_store_state state)
{
    assert(index < place->leaf_count);
    place->leaves[index].state = (uint8_t)state;
    leaf_count_anew(place, &place->leaves[index]);
}

void place_set_weight(struct place *place, uint32_t index, uint64_t bytes)
{
    assert(index < place->leaf_count);
    place->leaves[index].weight = bytes;
    leaf_count_anew(place, &place->leaves[index]);
}
