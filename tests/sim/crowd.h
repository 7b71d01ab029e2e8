/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A pool of many stores and volumes, as numbers only: what placement and the keeper decide over,
 * made from a seed. Aborts where a test would fail anyway: no memory.
 */
#ifndef SIM_CROWD_H
#define SIM_CROWD_H

#include "base/base.h"
#include "place/place.h"

/* A tree with its memory; as place_init(). */
int crowd_open(const struct place_store *stores, size_t count, struct place **ret_place);
void crowd_close(struct place *place); /* NULL is fine. */

struct crowd_shape {
    uint32_t zones, racks, nodes, stores; /* In the pool, a zone, a rack, a node. */
    bool named;                           /* Zones and racks have names; else all are one. */
    bool uneven;                          /* Capacities of 1, 2 and 4 times store_bytes. */
    bool mixed;                           /* Media drawn; else all NVMe. */
    uint64_t store_bytes;
};

struct crowd_group {
    uint64_t volume;
    uint32_t id;
    uint32_t segments;
    uint32_t member_count;
    uint64_t members[METADATA_MEMBERS_MAX];
};

#define CROWD_NAME_BYTES 24u
struct crowd_names {
    char zone[CROWD_NAME_BYTES], rack[CROWD_NAME_BYTES], node[CROWD_NAME_BYTES];
};

struct crowd {
    struct prng prng;
    struct place *place; /* As the pool is. */
    uint32_t store_count, store_room;
    struct place_store *stores;
    struct crowd_names *names;
    uint32_t group_count, group_room;
    struct crowd_group *groups;
    uint64_t volume_count;
};

/* Makes the stores; there is no volume yet. Freed by crowd_done(). */
void crowd_init(struct crowd *crowd, uint64_t seed, const struct crowd_shape *shape);
void crowd_done(struct crowd *crowd);

/* More of them: nodes of their own, spread over the zones and racks that there are. */
void crowd_add_stores(struct crowd *crowd, const struct crowd_shape *shape, uint32_t nodes);
/* The tree anew, from the stores and what the groups put on them. */
void crowd_rebuild(struct crowd *crowd);

/* A volume of so many segments, placed and charged as written in full. False: refused. */
bool crowd_create(struct crowd *crowd, uint64_t segments, uint32_t copies, enum place_level level,
                  uint32_t media);
/* Of the stores that are up, in parts of a million of their weight. */
struct crowd_fullness {
    uint64_t mean_ppm, least_ppm, most_ppm;
};
struct crowd_fullness crowd_fullness(const struct crowd *crowd);

/* As the machine counts: processor time of this process. */
uint64_t crowd_cpu_us(void);

#endif
