/* SPDX-License-Identifier: Apache-2.0 */
#include "sim/crowd.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

int crowd_open(const struct place_store *stores, size_t count, struct place **ret_place)
{
    void *memory = malloc(place_bytes(count));
    if (memory == NULL)
        abort();
    int result = place_init(memory, stores, count, ret_place);
    if (result != 0)
        free(memory);
    return result;
}

void crowd_close(struct place *place)
{
    free(place);
}

static void *grown(void *array, uint32_t *room, uint32_t count, size_t size)
{
    if (count <= *room)
        return array;
    *room = MAX(2 * *room, MAX(count, 64));
    array = realloc(array, *room * size);
    if (array == NULL)
        abort();
    return array;
}

static void add_store(struct crowd *crowd, const struct crowd_shape *shape, uint32_t zone,
                      uint32_t rack, uint32_t node)
{
    uint32_t at = crowd->store_count++;
    uint32_t room = crowd->store_room;
    crowd->stores = grown(crowd->stores, &room, at + 1, sizeof *crowd->stores);
    crowd->names = grown(crowd->names, &crowd->store_room, at + 1, sizeof *crowd->names);
    struct crowd_names *names = &crowd->names[at];
    *names = (struct crowd_names){.zone = ""};
    if (shape->named) {
        (void)snprintf(names->zone, sizeof names->zone, "zone%u", zone);
        (void)snprintf(names->rack, sizeof names->rack, "rack%u", rack);
    }
    (void)snprintf(names->node, sizeof names->node, "node%u", node);
    uint64_t bytes = shape->store_bytes;
    if (shape->uneven)
        bytes <<= prng_below(&crowd->prng, 3);
    uint64_t media = shape->mixed ? prng_below(&crowd->prng, 3) : METADATA_NVME;
    crowd->stores[at] = (struct place_store){
        .id = at + 1,
        .bytes = bytes,
        .media = (enum metadata_media)media,
    };
}

static void names_lend(struct crowd *crowd)
{
    for (uint32_t i = 0; i < crowd->store_count; i++) {
        crowd->stores[i].zone = crowd->names[i].zone;
        crowd->stores[i].rack = crowd->names[i].rack;
        crowd->stores[i].node = crowd->names[i].node;
    }
}

void crowd_init(struct crowd *crowd, uint64_t seed, const struct crowd_shape *shape)
{
    uint32_t node = 0;
    *crowd = (struct crowd){.prng = {.state = seed}};
    for (uint32_t zone = 0; zone < shape->zones; zone++)
        for (uint32_t rack = 0; rack < shape->racks; rack++)
            for (uint32_t i = 0; i < shape->nodes; i++, node++)
                for (uint32_t store = 0; store < shape->stores; store++)
                    add_store(crowd, shape, zone, rack, node);
    crowd_rebuild(crowd);
}

void crowd_done(struct crowd *crowd)
{
    crowd_close(crowd->place);
    free(crowd->stores);
    free(crowd->names);
    free(crowd->groups);
}

void crowd_add_stores(struct crowd *crowd, const struct crowd_shape *shape, uint32_t nodes)
{
    uint32_t first = crowd->store_count; /* No node has that number yet. */
    for (uint32_t node = 0; node < nodes; node++) {
        uint32_t zone = node % shape->zones;
        uint32_t rack = node / shape->zones % shape->racks;
        for (uint32_t store = 0; store < shape->stores; store++)
            add_store(crowd, shape, zone, rack, first + node);
    }
    crowd_rebuild(crowd);
}

void crowd_rebuild(struct crowd *crowd)
{
    names_lend(crowd);
    for (uint32_t i = 0; i < crowd->store_count; i++)
        crowd->stores[i].bytes_used = crowd->stores[i].bytes_promised = 0;
    for (uint32_t i = 0; i < crowd->group_count; i++) {
        const struct crowd_group *group = &crowd->groups[i];
        for (uint32_t m = 0; m < group->member_count; m++) {
            struct place_store *store = &crowd->stores[group->members[m] - 1];
            store->bytes_used += group->segments * PLACE_SEGMENT_BYTES;
            store->bytes_promised = store->bytes_used;
        }
    }
    crowd_close(crowd->place);
    if (crowd_open(crowd->stores, crowd->store_count, &crowd->place) != 0)
        abort();
}

static void charge(struct crowd *crowd, const struct crowd_group *group)
{
    int64_t bytes = (int64_t)(group->segments * PLACE_SEGMENT_BYTES);
    for (uint32_t i = 0; i < group->member_count; i++)
        place_charge(crowd->place, place_index(crowd->place, group->members[i]), bytes, bytes);
}

bool crowd_create(struct crowd *crowd, uint64_t segments, uint32_t copies, enum place_level level,
                  uint32_t media)
{
    static uint32_t sizes[PLACE_GROUPS_MAX];
    static struct metadata_map map;
    uint32_t groups = place_group_count(segments, place_store_bytes(crowd->place, media));
    uint64_t volume = ++crowd->volume_count;
    memset(sizes, 0, groups * sizeof *sizes);
    for (uint32_t index = 0; (uint64_t)index * METADATA_MAP_SEGMENTS < segments; index++) {
        map.index = index;
        map.segment_count = 0;
        place_map_grow(&map, segments, sizes, groups);
    }
    for (uint32_t id = 0; id < groups; id++) {
        crowd->groups =
            grown(crowd->groups, &crowd->group_room, crowd->group_count + 1, sizeof *crowd->groups);
        struct crowd_group *group = &crowd->groups[crowd->group_count];
        struct place_request request = {
            .volume = volume,
            .group = id,
            .copies = copies,
            .domain = level,
            .media = media,
            .bytes = sizes[id] * PLACE_SEGMENT_BYTES,
        };
        *group = (struct crowd_group){
            .volume = volume, .id = id, .segments = sizes[id], .member_count = copies};
        if (place_choose(crowd->place, &request, group->members, NULL) != 0)
            return false;
        charge(crowd, group);
        crowd->group_count++;
    }
    return true;
}

struct crowd_fullness crowd_fullness(const struct crowd *crowd)
{
    struct crowd_fullness fullness = {.least_ppm = UINT64_MAX};
    uint64_t load = 0;
    uint64_t weight = 0;
    for (uint32_t i = 0; i < place_count(crowd->place); i++) {
        uint64_t has = place_load_bytes(crowd->place, i) >> 20;
        uint64_t holds = place_weight_bytes(crowd->place, i) >> 20;
        if (place_state(crowd->place, i) != METADATA_STORE_UP || holds == 0)
            continue;
        load += has;
        weight += holds;
        uint64_t ppm = has * 1000000 / holds;
        fullness.least_ppm = MIN(fullness.least_ppm, ppm);
        fullness.most_ppm = MAX(fullness.most_ppm, ppm);
    }
    fullness.mean_ppm = weight == 0 ? 0 : load * 1000 / (weight / 1000);
    return fullness;
}

uint64_t crowd_cpu_us(void)
{
    struct rusage usage;
    (void)getrusage(RUSAGE_SELF, &usage);
    return (uint64_t)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * 1000000 +
           (uint64_t)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec);
}
