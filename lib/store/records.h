/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Copies of metadata records, in a volume of the store's own (format/metadata_copy.h), for the
 * files records*.c.
 *
 *   IDLE ──▶ (the first request) FIND ──▶ HALF ──▶ FIND ... ──▶ what was asked for ──▶ IDLE
 *
 *   RECORD    WRITE ──▶ told                                  one block over one block
 *             WRITE ──▶ FLUSH ──▶ TRIM ──▶ told               otherwise, into the other half
 *   no bytes  FORGET (the other half) ──▶ FORGET_REST ──▶ told
 *   RECORDS   LIST ──▶ LIST ... ──▶ told
 *
 * A block is old or new after a crash, and of several each for itself: so what is longer than one
 * block goes where nothing counts, and what counted goes when the new one is durable.
 *
 * Which keys there are is read when somebody asks first, and then kept in memory, sorted: for each
 * about 40 bytes and its key. One request at a time; the others wait.
 */
#ifndef STORE_RECORDS_H
#define STORE_RECORDS_H

#include "format/metadata_copy.h"
#include "store/parts.h"

#define RECORDS_MAX (1u << 18)
#define RECORDS_HALVES (MAP_BLOCKS / METADATA_COPY_HALF_BLOCKS) /* Of a map page. */

enum records_state {
    RECORDS_IDLE,
    RECORDS_FIND,
    RECORDS_HALF,
    RECORDS_WRITE,
    RECORDS_FLUSH,
    RECORDS_TRIM,
    RECORDS_FORGET,
    RECORDS_FORGET_REST,
    RECORDS_LIST,
};

struct record_copy {
    uint64_t number;
    uint32_t slot, bytes;
    uint8_t half;
    char key[]; /* Ends with a zero. */
};

struct records {
    struct parts *parts;
    struct list queue;            /* struct part_request */
    struct part_request *request; /* At work. */
    enum records_state state;
    bool waits; /* For `op` or `flush`. */
    bool known; /* All that there is was found. */
    int result; /* Of `op` or `flush`. */

    struct record_copy **copies; /* By key. While they are searched: as they are met. */
    uint32_t count, room;
    uint64_t number;               /* The newest that was ever used here. */
    uint8_t used[RECORDS_MAX / 8]; /* One bit for each slot. */
    uint32_t free_from;            /* No slot below it is free. */

    struct record_copy *copy; /* RECORD: that it is about; not among `copies` yet if `fresh`. */
    bool fresh;
    uint32_t old_half, at; /* RECORDS: the next of `copies`. */

    uint64_t page;   /* Searching: the map page whose halves are looked at, */
    uint32_t half;   /* the half, */
    uint32_t length; /* and how many blocks of it there are. */
    struct part_version versions[MAP_BLOCKS];

    struct store_flush flush;
    struct store_op op;
    uint8_t *bytes; /* METADATA_COPY_BLOCKS_MAX */
};

/* records.c */
/* Begins, or waits for its turn. */
void records_begin(struct parts *parts, struct part_request *request);
void records_turn(struct parts *parts);
bool records_need_turn(const struct parts *parts);
/* Nobody waits for anything. */
bool records_idle(const struct parts *parts);
/* If it has not begun yet it is ended, and true. */
bool records_cancel(struct parts *parts, struct part_request *request);
void records_free(struct parts *parts);
/* Sends `op` for blocks of a half. */
void records_send(struct records *records, enum store_op_kind kind, uint64_t block, uint32_t count);

/* records_find.c: which copies there are. */
void records_find_begin(struct records *records);
/* 0: all is known; -EAGAIN: `op` is under way; an error. */
int records_find_step(struct records *records);
/* Where the key is among the copies, or would be. */
uint32_t records_position(const struct records *records, const char *key, bool *ret_there);
/* 0 or -ENOMEM: there is room for one more. */
int records_make_room(struct records *records);
void records_forget_all(struct records *records);

static inline uint64_t records_block(uint32_t slot, uint32_t half)
{
    return (uint64_t)slot * METADATA_COPY_SLOT_BLOCKS + half * METADATA_COPY_HALF_BLOCKS;
}

static inline void records_mark(struct records *records, uint32_t slot, bool used)
{
    uint8_t bit = (uint8_t)(1u << slot % 8);
    records->used[slot / 8] =
        (uint8_t)(used ? records->used[slot / 8] | bit : records->used[slot / 8] & ~bit);
}

#endif
