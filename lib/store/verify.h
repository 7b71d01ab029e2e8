/* SPDX-License-Identifier: Apache-2.0 */
/* Reading what a walk of the tree meets and comparing it with its CRC: for check and scrub. */
#ifndef STORE_VERIFY_H
#define STORE_VERIFY_H

#include "store/internal.h"

#define VERIFY_SLOTS 8u

struct verify_slot {
    struct device_io io;
    struct verify *verify;
    bool busy;
    uint64_t ticket;
    struct segment_key key;
    uint64_t block;
    struct pointer pointer;
    uint8_t *data;
};

struct verify {
    struct store *store;
    struct verify_slot slots[VERIFY_SLOTS];
    uint8_t *buffers;
    unsigned busy;
    uint64_t blocks; /* Read so far. */
    /* A block is damaged: -EIO or IOMESH_CORRUPT. */
    void (*bad)(struct verify *verify, const struct verify_slot *slot, int error);
    /* A slot came free. */
    void (*room)(struct verify *verify);
    void *context;
};

int verify_open(struct verify *verify, struct store *store);
/* Nothing is busy. */
void verify_close(struct verify *verify);
static inline bool verify_full(const struct verify *verify)
{
    return verify->busy == VERIFY_SLOTS;
}
/* In the same instant in which the walk showed the pointer: its place is kept from reuse. */
void verify_submit(struct verify *verify, const struct tree_visit *visit);

#endif
