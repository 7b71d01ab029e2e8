/* SPDX-License-Identifier: Apache-2.0 */
/* What format.c and open.c share: a store that is coming into being. */
#ifndef STORE_OPENING_H
#define STORE_OPENING_H

#include "store/internal.h"

/*
 *   open:    LABELS ──▶ SUPERS ──▶ SPACE ──▶ SCAN ──▶ REPLAY ──▶ CHECKPOINT ──▶ ready
 *                                    │ clean                        ▲  │ read-only, damaged
 *                                    └──────▶ NAME ──▶ ready        │  └──▶ ready to read
 *   format:  LABELS ──▶ WIPE ──▶ MARK ──────────────────────────────┘
 */
struct opening_read {
    struct disk_io io;
    struct opening *opening;
    int result;
};

struct opening {
    struct store *store;
    store_done_fn *done;
    void *context;
    bool fresh;                  /* Format, not open. */
    bool overwrite;              /* Format: whatever is there. */
    struct store_identity *look; /* Only this is wanted; NULL: more. */
    uint8_t uuid[STORE_UUID_BYTES];
    uint8_t *blocks; /* One block for each device or superblock copy, 4 KiB aligned. */
    struct opening_read reads[DEVICES_MAX];
    struct device_io io;
    void (*next)(struct opening *opening);
    unsigned pending;
    int io_result;
    uint64_t wiped;  /* Blocks of the journal zeroed. */
    unsigned marked; /* Devices whose fixed area is marked. */
    struct page_waiter waiter;
    struct checkpoint_waiter checkpoint;
    struct store_flush flush;
    uint64_t began_ns;
    int result;
    bool ended;

    /* Recovery for reading only found its cache too small: it begins again with a larger one, and
     * says nothing of the records that were applied before. */
    bool small, again;
    uint64_t told; /* Records. */
    bool muted;
    bool loaded; /* States of parts are: next comes the new incarnation. */
    bool saving; /* What records said of parts is being written to their states. */
};

/* A store object with its lists and timers, nothing open yet. */
int opening_begin(const struct store_options *options, store_done_fn *done, void *context,
                  struct opening **ret_opening);
/* Reads block 0 of every disk, then `next`. */
void opening_read_labels(struct opening *opening, void (*next)(struct opening *opening));
/* Puts the disks where their labels say: 0, or why they are no store. */
int opening_labels_check(struct opening *opening);
/* Takes the newest superblock of those that were read: 0, or why there is none. */
int opening_supers_check(struct opening *opening);
void opening_end(struct opening *opening, int result);
/* Parts: loaded, and saved again. */
void opening_parts_turn(struct opening *opening);
/* Page cache, tree and space over store->super; a journal that writes from `start`. */
int opening_components(struct opening *opening);
int opening_journal(struct store *store, uint64_t incarnation, struct journal_position start);
/* From the map of free space on, with twice the cache; nothing is under way. */
void opening_again(struct opening *opening);
void opening_checkpoint(struct opening *opening, bool clean, store_done_fn *done);

/* sizes.c */
void sizes_choose(struct store *store, struct superblock *super);
uint32_t sizes_frames(const struct store *store);

#endif
