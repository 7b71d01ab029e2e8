/* SPDX-License-Identifier: Apache-2.0 */
/*
 * place: where copies go.
 *
 * Owns a tree of failure domains (zones, racks in them, nodes in those, their stores) with the
 * capacity and the load of each, made from the records of the stores.
 *
 * Promises:
 *   - The same answer on every machine and in every run, in whatever order the stores were told:
 *     the answer depends on the stores, what is asked, and nothing else.
 *   - Copies are as far apart as they can be: in different zones if there are enough, else in
 *     different racks, nodes, stores, down to the level that is asked for, never below it. At the
 *     levels above, no two are in one domain while there is another with room.
 *   - A store that drains, is out, is full or of a medium that is not wanted is never chosen.
 *   - Where nothing else decides, chance decides by capacity: weighted rendezvous hashing. What a
 *     store that comes or goes changes is what it takes or held, at each level of the tree.
 *   - Of a few that the hash proposes the least full is taken, so fullness stays even.
 *
 * How a domain is drawn. Each child c of a domain has a key (of its name, of a store: its id); with
 * h = mix(mix(mix(volume) + group) ^ key) as a fraction of 2^64, its cost is -log2(h) / weight, and
 * those with the least cost are proposed: CHOICES for each copy. All in integers.
 *
 * Pure: its memory is the caller's. One thread.
 */
#ifndef PLACE_PLACE_H
#define PLACE_PLACE_H

#include "base/base.h"
#include "format/metadata.h"

/* Widest first: what is in one domain is in one of each level before. */
enum place_level { PLACE_ZONE, PLACE_RACK, PLACE_NODE, PLACE_STORE };
#define PLACE_LEVELS 4u

#define PLACE_STORES_MAX 65536u
#define PLACE_SEGMENT_BYTES (256ull << 20)
/* A store that has used so much of its capacity is full: nothing new is placed on it. */
#define PLACE_FULL_PERCENT 90u
/* What is promised and not written counts as so much of what is written. */
#define PLACE_THIN_SHARE 4u

enum place_level place_level_of(enum metadata_domain domain);
/* "node", "nodes": for sentences. */
const char *place_level_text(enum place_level level, uint64_t count);

/* --- The tree ------------------------------------------------------------------------------- */

/* A store as placement sees it. Names are "" where there is none: all of those are one domain.
 * A rack is one within its zone; a node is one in the pool, where its first store (by id) is. */
struct place_store {
    uint64_t id;
    const char *zone, *rack, *node; /* Borrowed by place_init() only. */
    uint64_t bytes;                 /* Capacity. */
    uint64_t bytes_used;
    uint64_t bytes_promised; /* If what is placed on it were full. */
    enum metadata_media media;
    enum metadata_store_state state;
    uint32_t weight_percent; /* 0: all of its capacity. */
};

/* Borrows the names of `record`. */
struct place_store place_store_of(const struct metadata_store *record);

struct place;

/* What a tree of so many stores takes: some 1 KiB for each. */
size_t place_bytes(size_t count);

/*
 * Makes a tree.
 *
 * @memory     place_bytes(count), aligned as malloc() does; the caller's, and all that the tree is:
 *             it has no other end
 * @ret_place  at the beginning of @memory
 *
 * 0, or -EINVAL with a sentence: more than PLACE_STORES_MAX stores, or two with one id.
 */
int place_init(void *memory, const struct place_store *stores, size_t count,
               struct place **ret_place);

/* Stores have indices 0 .. place_count() - 1 in order of their ids, for as long as the tree lives.
 * UINT32_MAX: there is no store of that id. */
uint32_t place_count(const struct place *place);
uint32_t place_index(const struct place *place, uint64_t id);
uint64_t place_id(const struct place *place, uint32_t index);
enum metadata_store_state place_state(const struct place *place, uint32_t index);
/* An index of the store's domain at a level; two stores share it exactly if they are in one. */
uint32_t place_domain(const struct place *place, uint32_t index, enum place_level level);

/*
 * The load of a store: what it has used, and a PLACE_THIN_SHARE'th of what is promised beyond it.
 * Its fullness, by which stores are compared, is its load over its weight: its capacity, or the
 * share of it that weight_percent says.
 */
uint64_t place_load_bytes(const struct place *place, uint32_t index);
uint64_t place_weight_bytes(const struct place *place, uint32_t index);

/* What a store will have used and promised once what was decided has been done; both may fall. */
void place_charge(struct place *place, uint32_t index, int64_t used, int64_t promised);
void place_set_state(struct place *place, uint32_t index, enum metadata_store_state state);
/* Chances other than by capacity, until set again; 0: it is not chosen. For the balancer, which
 * draws by what is missing to even. */
void place_set_weight(struct place *place, uint32_t index, uint64_t bytes);

/* --- Choosing ------------------------------------------------------------------------------- */

/* Where a volume will be used; "" or NULL: not known. */
struct place_hint {
    const char *zone, *rack, *node;
};

struct place_request {
    uint64_t volume;
    uint32_t group;
    uint32_t copies;         /* 1 .. METADATA_MEMBERS_MAX. */
    enum place_level domain; /* No two copies in one of these. */
    uint32_t media;          /* 1 << enum metadata_media of each that will do; 0: any. */
    uint64_t bytes;          /* That a copy will have when it is full. */
    struct place_hint hint;  /* The first copy goes as near as there is room. */
};

/* Why there is no place. Counted in domains of the level that was asked for. */
struct place_refusal {
    enum place_level domain;
    uint32_t wanted;
    uint32_t media;
    uint32_t all;     /* There are. */
    uint32_t up;      /* Of those, with a store that is neither draining nor out. */
    uint32_t of_kind; /* Of those, with one of a medium that will do. */
    uint32_t fit;     /* Of those, with one that is not full. */
    uint32_t held;    /* Of those, which other copies of the group are in. */
};

/* "3 copies on different nodes need 3 nodes, and there are 2: add a node, ...". Returns `text`. */
#define PLACE_TEXT_BYTES 320u
const char *place_refusal_text(const struct place_refusal *refusal, char text[PLACE_TEXT_BYTES]);

/*
 * Places a group. The first is that nearest to the hint.
 *
 * @ret_stores   room for request->copies ids
 * @ret_refusal  filled if there is no place; may be NULL
 *
 * Charges nothing. 0, or -ENOSPC with a sentence: what is there does not satisfy the request.
 */
int place_choose(struct place *place, const struct place_request *request, uint64_t *ret_stores,
                 struct place_refusal *ret_refusal);

/*
 * A store for one more copy of a group that has copies on `members` (those that are to stay; ids
 * that are not known count for nothing). request->copies is not looked at. As place_choose().
 */
int place_another(struct place *place, const struct place_request *request, const uint64_t *members,
                  uint32_t member_count, uint64_t *ret_store, struct place_refusal *ret_refusal);

/* How near the copies of a group are: pairs of them in one domain, of each level. */
struct place_spread {
    uint32_t shared[PLACE_LEVELS];
};
struct place_spread place_spread(const struct place *place, const uint64_t *members,
                                 uint32_t member_count);
/* Below 0 if `a` is farther apart than `b`, 0 if they are equal: stores first, zones last. */
int place_spread_compare(const struct place_spread *a, const struct place_spread *b);

/* --- Groups and segments -------------------------------------------------------------------- */

/* A volume has no more groups, unless a copy of one would take too much of a store. */
#define PLACE_GROUPS 16u
#define PLACE_GROUPS_MAX 4096u       /* Even then. */
#define PLACE_GROUP_SEGMENTS_MIN 16u /* 4 GiB: below it more groups make nothing better. */
#define PLACE_GROUP_STORE_SHARE 4u   /* A copy takes no more than this part of a usual store. */
#define PLACE_MAP_RUNS 256u          /* That a map begins with; growing and splitting add. */
#define PLACE_GROUPS_SPLIT_MAX 64u   /* Splitting for balance ends there. */

uint64_t place_segments(uint64_t volume_bytes);

/* How many groups a volume of so many segments should have: 1 .. PLACE_GROUPS_MAX.
 * `store_bytes`: of a usual store; 0: not known. */
uint32_t place_group_count(uint64_t segments, uint64_t store_bytes);
/* Of a usual store of these media (0: any) that may be chosen: the mean. 0 if there is none. */
uint64_t place_store_bytes(const struct place *place, uint32_t media);

/*
 * Gives segments of a volume that have no group yet to groups: those that have the fewest, in runs.
 * Creating a volume is growing one from nothing. A map is filled up to its end or `segments`.
 *
 * @map       index and what is in it, up to segment_count, are kept
 * @segments  of the whole volume
 * @sizes     segments of each group so far, all maps together; brought up to date
 * @groups    how many there are, new ones (of size 0) among them; 1 .. PLACE_GROUPS_MAX
 */
void place_map_grow(struct metadata_map *map, uint64_t segments, uint32_t *sizes, uint32_t groups);

/* Adds what a map holds to sizes[0 .. groups - 1]. IOMESH_CORRUPT if it names another group. */
int place_map_sizes(const struct metadata_map *map, uint32_t *sizes, uint32_t groups);

/* The last `count` segments of group `from` in this map, or as many as there are, become `to`'s.
 * Returns how many. Adds at most one run. */
uint32_t place_map_split(struct metadata_map *map, uint32_t from, uint32_t to, uint32_t count);

/*
 * How much of a group should leave a store that has `excess_bytes` too many for one that lacks
 * `missing_bytes`, so that both are nearer to even afterwards.
 *
 * @copy_bytes  that its copy has now, or will have; of `segments` segments
 * @groups      that the volume has
 *
 * Returns segments: all of them, a part (the group is to be split), or 0: leave it.
 */
uint32_t place_move_segments(uint64_t copy_bytes, uint32_t segments, uint32_t groups,
                             uint64_t excess_bytes, uint64_t missing_bytes);

#endif
