/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A node of the segment table, a copy-on-write B+tree.
 *
 * Format 1, little-endian, one block of 4,096 bytes:
 *
 *    0  magic      u32  "IMT1"
 *    4  level      u8   0: a leaf
 *    5  zero       u8
 *    6  count      u16  1 .. 120
 *    8  zero       u64
 *   16  entries    34 bytes each, by key, no two alike; zeros after the last:
 *         0  volume    u64
 *         8  segment   u32
 *        12  view      48 bits
 *        18  pointer   16 bytes: of the segment's root (raw or zero) in a leaf; above, of a node
 *
 * An entry above the leaves covers the keys from its own up to the next one's; the first covers
 * also what is less. The node's CRC32C is in the pointer that leads to it.
 */
#ifndef FORMAT_TABLE_H
#define FORMAT_TABLE_H

#include "format/pointer.h"

#define TABLE_MAGIC 0x31544d49u
#define TABLE_ENTRIES 120u
#define TABLE_LEVELS 8u

/* By volume, then segment, then view. */
struct segment_key {
    uint64_t volume;
    uint32_t segment;
    uint64_t view; /* 48 bits. */
};
int segment_key_compare(const struct segment_key *a, const struct segment_key *b);

struct table_entry {
    struct segment_key key;
    struct pointer pointer;
};

/* A checked node; borrows its bytes. */
struct table_node {
    const uint8_t *bytes;
    unsigned level, count;
};

/* Asserts: it is our data. */
void table_encode(uint8_t to[BLOCK_BYTES], unsigned level, const struct table_entry *entries,
                  unsigned count);
/* Total: 0, or IOMESH_CORRUPT. Everything below may then be asked of the node. */
int table_decode(const uint8_t from[BLOCK_BYTES], struct table_node *ret_node);
/* Of bytes that table_decode() took before, and that have not changed since. */
struct table_node table_node_of(const uint8_t from[BLOCK_BYTES]);
struct table_entry table_entry(const struct table_node *node, unsigned index);
struct segment_key table_key(const struct table_node *node, unsigned index);
/* The first entry whose key is `key` or greater; node->count if there is none. */
unsigned table_search(const struct table_node *node, const struct segment_key *key);

#endif
