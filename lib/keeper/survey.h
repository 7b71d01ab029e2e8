/* SPDX-License-Identifier: Apache-2.0 */
/*
 * survey: one look at the metadata of a pool, told to a plan.
 *
 *   CLUSTER ──▶ SESSIONS ──▶ WISHES ──▶ PROGRESS ──▶ plan_open()
 *           ──▶ VOLUMES, MAPS, GROUPS, page by page, side by side ──▶ plan_decide() ──▶ `done`
 *
 * Owns the plan, until the next survey or survey_done(), and copies of what it borrows; and since
 * when each store has been silent, from survey to survey. Where one is silent when it is first
 * looked at, the time that its record tells counts as well, and that since it was told, but no more
 * than one of SURVEY_TOLD_PARTS of `out_after`: clocks of different machines are not trusted with
 * more. So keepers may die one after the other, and nobody's silence begins anew. Volumes and
 * groups are told as they come and not kept. Its pages are moments of their own: what changes
 * meanwhile is seen before or after.
 *
 * Changes nothing: of use to whoever wants to know what is wrong with a pool, too.
 */
#ifndef KEEPER_SURVEY_H
#define KEEPER_SURVEY_H

#include "host/clock.h"
#include "keeper/plan.h"
#include "meta/meta.h"
#include "volume/stores.h"

/* Who changes records tells each such part of `out_after`. */
#define SURVEY_TOLD_PARTS 8u

struct survey_options {
    struct meta *meta;
    struct clock *clock;
    const struct stores *stores;               /* Kept up by whoever has them. */
    bool (*up)(void *context, uint64_t store); /* Somebody answers there. NULL: nobody knows. */
    void *context;
};

/* A list that is read page by page. */
struct survey_cursor {
    struct survey *survey;
    enum metadata_kind kind;
    struct meta_request request;
    struct metadata_key after;
    uint32_t at;
    bool began, ended, flying;
};

struct survey_wish {
    struct metadata_wish wish;
    uint64_t revision;
    bool seen;    /* Its group is there. */
    bool member;  /* `target` is one; of DROP: `source` is. */
    bool done;    /* ADD: and in sync. */
    bool lost;    /* ADD: its store is out, or gone. */
    bool decided; /* The keeper's: an action was about it. */
};

struct survey_silence {
    uint64_t store, since_ns; /* Of the clock that does not jump: when we saw it first. */
    uint64_t before_ns;       /* So long it had been silent then. */
};

/* Zero it, set `options`. Read what has a comment, write nothing. */
struct survey {
    struct survey_options options;
    struct metadata_cluster cluster; /* As it was read. */
    struct plan *plan;
    struct plan_store *stores; /* As they were told, in order of their ids. */
    uint64_t *revisions;       /* Of their records. */
    uint64_t *promised;        /* What each would hold if its volumes were full; once `done`. */
    uint64_t *silent_ms;       /* How long each has been silent, 1 at least; 0: it answers. */
    uint32_t store_count;
    struct survey_wish *wishes; /* In order of volumes and groups. */
    uint32_t wish_count, wish_capacity;
    uint64_t *idle; /* Volumes without an owner that counts, in order. */
    uint32_t idle_count, idle_capacity;
    uint64_t volumes, groups; /* That were told. */
    uint64_t began_ns, took_ns;
    bool running;

    char *names;
    struct survey_silence *silences; /* In order of stores. */
    uint32_t silence_count;
    uint64_t *sessions, *addresses; /* Numbers; and hashes of node and address; both in order. */
    uint32_t session_count, session_capacity;
    struct metadata_progress *progresses; /* In order of volumes and groups. */
    uint32_t progress_count, progress_capacity;
    struct survey_cursor lists[4]; /* One after the other; then volumes, maps, groups. */
    struct metadata_volume volume; /* That is told now; id 0: none. */
    bool volume_told;
    uint32_t *sizes; /* Segments of its groups: size_count are not 0 perhaps. */
    uint32_t size_count;
    bool balancing, stopped;
    void (*done)(struct survey *survey, int result);
};

/* `done` runs once if 0 is returned, from meta_poll(): 0, or what meta_commit() says, -ENOMEM,
 * IOMESH_CORRUPT; -ECANCELED after survey_stop(). */
int survey_start(struct survey *survey, void (*done)(struct survey *survey, int result));
/* It ends soon. */
void survey_stop(struct survey *survey);
/* Frees what it holds; not while it runs. */
void survey_done(struct survey *survey);
bool survey_idle(const struct survey *survey, uint64_t volume);
/* After so much more of a silence its record is to tell it. */
uint64_t survey_told_part_ns(const struct survey *survey);
/* UINT32_MAX: there is none. */
uint32_t survey_store(const struct survey *survey, uint64_t store);

#endif
