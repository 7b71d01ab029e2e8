/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The bounded history of one process, and the watches that read it.
 *
 * An implementation that sees every change (sqlite) appends what was committed, in order, on the
 * engine's thread, and delivers from its poll. History begins where it was initialised.
 */
#ifndef META_HISTORY_H
#define META_HISTORY_H

#include "meta/implement.h"

#define META_HISTORY_ITEMS_MAX 4096u
#define META_HISTORY_BYTES_MAX (8u << 20)

/* One key changed. One piece of memory: key and value follow. */
struct meta_item {
    struct list node; /* The maker's, until it is appended. */
    struct meta_event event;
    size_t bytes;
};

struct meta_history {
    struct meta_item **items; /* A ring: number n is at n & (capacity - 1). */
    uint32_t capacity;        /* A power of two, or 0. */
    uint64_t number_first;    /* Numbers first .. next - 1 are kept. */
    uint64_t number_next;
    uint64_t revision_gone; /* Events up to this revision are gone. */
    size_t bytes;
    struct list watches;
    struct meta_watch *current; /* Whose callback runs; NULL once it was cancelled. */
    uint32_t items_max;         /* META_HISTORY_ITEMS_MAX, smaller in tests. */
};

/* `revision`: where history begins; events up to it are gone. */
void meta_history_init(struct meta_history *history, uint64_t revision);
void meta_history_done(struct meta_history *history);

/* NULL if there is no memory. Free with free() unless it was appended. */
struct meta_item *meta_item_new(const struct meta_event *event);

/* Takes every item of a list, in order. What finds no memory makes the watches end as compacted. */
void meta_history_append(struct meta_history *history, struct list *items);
/* Forgets what was not delivered: the changes up to `revision` could not be told. */
void meta_history_lose(struct meta_history *history, uint64_t revision);

void meta_history_watch(struct meta_history *history, struct meta_watch *watch);
void meta_history_cancel(struct meta_history *history, struct meta_watch *watch);

/* Runs the callbacks of all that is new, then forgets what passes the bounds. Returns how many. */
unsigned meta_history_deliver(struct meta_history *history);
/* Ends every watch. Returns how many callbacks ran. */
unsigned meta_history_end(struct meta_history *history, int result);

#endif
