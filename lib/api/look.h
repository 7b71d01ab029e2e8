/* SPDX-License-Identifier: Apache-2.0 */
/*
 * look: one reading of what the metadata of a cluster says, for whoever asks what is wrong.
 *
 *   the pool's record ──▶ the keeper ──▶ sessions ──▶ stores
 *     ──▶ (volumes ──▶ how far copying is ──▶ groups) ──▶ done
 *
 * Owns what it read until it is freed. Changes nothing, needs no session and no store: it works
 * while half of the nodes are away. Two pages are two moments, so what changes meanwhile is seen
 * before or after; what belongs to nothing that was seen is left out.
 *
 * A store is taken to answer if the process that serves it is alive: a session of its node and
 * address is in the metadata.
 *
 * A record that cannot be read is counted and passed over. About 1.2 KiB for each store, 200 bytes
 * for each volume and 150 for each of its groups, at most LOOK_GROUPS_MAX of these.
 */
#ifndef API_LOOK_H
#define API_LOOK_H

#include "format/metadata.h"
#include "host/clock.h"
#include "keeper/plan.h"
#include "meta/meta.h"

#define LOOK_GROUPS_MAX (1u << 22)

struct look_store {
    struct metadata_store record;
    uint64_t revision;
    bool answers;
    uint64_t silent_since_ns; /* The earliest that copies tell of; 0: not known. */
};

struct look_volume {
    uint64_t id;
    char name[NAME_BYTES_MAX + 1];
    uint64_t bytes;
    enum metadata_volume_state state;
    bool owned; /* By a session that lives. */
    struct metadata_policy policy;
};

struct look_member {
    uint64_t store, since_ns;
    uint32_t reason;
    uint8_t state; /* enum metadata_member_state */
    bool leaving;
};

struct look_group {
    uint64_t volume;
    uint32_t id, member_count;
    size_t first; /* Of look->members. */
};

/* How far the copies of a group are that catch up. */
struct look_progress {
    uint64_t volume;
    uint32_t group;
    uint64_t segments_done, segments_total;
};

struct look_session {
    uint64_t id;
    char *node, *address; /* One allocation. */
};

struct look;
/* look: the caller's from then on, look_free(); NULL unless result is 0. */
typedef void look_done_fn(void *context, int result, struct look *look);

struct look {
    struct metadata_cluster cluster;
    uint64_t cluster_revision;
    struct look_session *sessions; /* In order of node and address, once all are there. */
    struct look_store *stores;     /* In order of ids. */
    struct look_volume *volumes;   /* The same. */
    struct look_group *groups;     /* In order of volumes and ids. */
    struct look_member *members;
    struct look_progress *progresses; /* The same. */
    size_t session_count, store_count, volume_count, group_count, member_count, progress_count;
    size_t session_room, store_room, volume_room, group_room, member_room, progress_room;
    bool kept;                       /* There is a keeper. */
    char keeper[METADATA_TEXT_ROOM]; /* Its node. */
    uint64_t unreadable;             /* Records. */
    uint64_t wall_ns;                /* When it began, since 1970. */

    struct meta *meta;
    bool volumes_too;
    unsigned step;
    struct metadata_key after;
    struct meta_request request;
    look_done_fn *done;
    void *context;
};

/* `done` once if 0 is returned: 0, -ENOENT (there is no pool), or what the metadata said; with a
 * sentence. Else as meta_commit(). The metadata is borrowed until then. */
int look_start(struct meta *meta, struct clock *clock, bool volumes, look_done_fn *done,
               void *context);
/* NULL is fine. */
void look_free(struct look *look);

/* NULL: there is none. */
struct look_store *look_store(const struct look *look, uint64_t id);
const struct look_volume *look_volume(const struct look *look, uint64_t id);
bool look_lives(const struct look *look, const char *node, const char *address);

/* --- What is wrong: look_plan.c ------------------------------------------------------------- */

struct look_plan {
    struct plan *plan;
    struct plan_store *stores;
};
/* Everything that was seen, told to a plan. 0, or as plan_open(). */
int look_plan_open(struct look *look, struct look_plan *ret_plan);
void look_plan_close(struct look_plan *plan);

#endif
