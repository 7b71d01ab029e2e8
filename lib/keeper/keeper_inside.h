/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of the keeper share. */
#ifndef KEEPER_INSIDE_H
#define KEEPER_INSIDE_H

#include "keeper/keeper.h"
#include "keeper/survey.h"
#include "volume/catalog_keep.h"

#define KEEPER_KEPT_MAX 64u     /* Volumes that are open at a time. */
#define KEEPER_REFUSED_MAX 128u /* That could not be, and are left alone for a while. */
#define KEEPER_BATCH 60u        /* Wishes of a transaction. */

/* A volume that is kept, or is being opened for that. */
struct keeper_kept {
    struct keeper *keeper;
    uint64_t volume; /* 0: nothing. */
    struct catalog_handle *handle;
    bool opening, closing;
    bool wanted; /* By the last pass. */
    uint64_t since_ns;
};

struct keeper_refused {
    uint64_t volume, until_ns;
};

/* What a pass changes in the metadata. */
struct keeper_change {
    enum { KEEPER_STORE, KEEPER_PROMISED, KEEPER_SILENT, KEEPER_WISH, KEEPER_FORGET } kind;
    uint64_t store, revision;
    uint64_t promised, silent_ms;
    enum metadata_store_state state;
    struct metadata_wish wish;
};

struct keeper {
    struct keeper_options options;
    bool closing;
    bool leads;
    bool due; /* A pass is to begin at `pass_timer`. */
    bool key_watching, watching;
    void (*closed)(void *context);
    void *closed_context;

    /* The key. */
    uint64_t revision, lease; /* Of the key that was put, and by which session. */
    struct meta_request elect;
    struct meta_watch key_watch;
    struct timer elect_timer;

    /* Passes. */
    struct survey survey;
    struct timer pass_timer;
    struct meta_watch watch;
    uint64_t pass_began_ns, pass_ended_ns;
    struct keeper_change *changes;
    uint32_t change_count, change_capacity;
    uint32_t change_at, change_end; /* In the transaction under way: from .. to. */
    struct meta_request act;

    struct keeper_kept kept[KEEPER_KEPT_MAX];
    struct keeper_refused refused[KEEPER_REFUSED_MAX];
    uint32_t refused_at;
    struct keeper_look look;
};

/* --- keeper_elect.c ------------------------------------------------------------------------- */

void keeper_elect_start(struct keeper *keeper);
/* Whether it leads, at this moment. */
bool keeper_leads(const struct keeper *keeper);
/* Compares the key: for every transaction that changes something. */
void keeper_if_leads(const struct keeper *keeper, struct meta_request *request);
/* Leads no more. */
void keeper_resign(struct keeper *keeper);

/* --- keeper.c ------------------------------------------------------------------------------- */

void keeper_led(struct keeper *keeper);
void keeper_resigned(struct keeper *keeper);
void keeper_tell(const struct keeper *keeper, enum store_event_severity severity,
                 const char *format, ...) __attribute__((format(printf, 3, 4)));
/* A pass begins soon, or after so long. */
void keeper_pass_soon(struct keeper *keeper);

/* --- keeper_act.c --------------------------------------------------------------------------- */

/* What the survey and its plan say is done, one transaction after the other; then keeper_acted().
 */
void keeper_act(struct keeper *keeper);
void keeper_acted(struct keeper *keeper);

/* --- keeper_kept.c -------------------------------------------------------------------------- */

/* What is kept, by the last pass: begins with none wanted, ends by letting go the others. */
void keeper_kept_begin(struct keeper *keeper);
void keeper_kept_want(struct keeper *keeper, uint64_t volume);
void keeper_kept_end(struct keeper *keeper);
/* All are let go. */
void keeper_kept_stop(struct keeper *keeper);
void keeper_kept_turn(struct keeper *keeper);
uint32_t keeper_kept_count(const struct keeper *keeper);

#endif
