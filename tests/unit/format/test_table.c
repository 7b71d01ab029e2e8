/* SPDX-License-Identifier: Apache-2.0 */
#include <criterion/criterion.h>
#include <string.h>

#include "format/table.h"

static void entries_fill(struct table_entry *entries, unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        entries[i] = (struct table_entry){
            .key = {.volume = i / 7, .segment = i % 7 * 1000, .view = SEQUENCE_MAX - i % 2},
            .pointer = {.kind = POINTER_RAW, .place = PLACE_MAX - i, .sequence = i, .crc = ~i}};
    }
}

Test(table, a_node_decodes_to_what_was_encoded)
{
    struct table_entry entries[TABLE_ENTRIES];
    entries_fill(entries, TABLE_ENTRIES);
    for (unsigned count = 1; count <= TABLE_ENTRIES; count += 17) {
        uint8_t bytes[BLOCK_BYTES];
        table_encode(bytes, 3, entries, count);
        struct table_node node;
        cr_assert_eq(table_decode(bytes, &node), 0);
        cr_assert_eq(node.level, 3);
        cr_assert_eq(node.count, count);
        for (unsigned i = 0; i < count; i++) {
            struct table_entry entry = table_entry(&node, i);
            cr_assert_eq(segment_key_compare(&entry.key, &entries[i].key), 0);
            cr_assert_eq(entry.pointer.place, entries[i].pointer.place);
            cr_assert_eq(entry.pointer.crc, entries[i].pointer.crc);
            cr_assert_eq(table_search(&node, &entries[i].key), i);
        }
    }
}

Test(table, a_search_finds_the_first_at_or_after)
{
    struct table_entry entries[3];
    entries_fill(entries, 3);
    uint8_t bytes[BLOCK_BYTES];
    table_encode(bytes, 0, entries, 3);
    struct table_node node;
    cr_assert_eq(table_decode(bytes, &node), 0);
    struct segment_key key = {0};
    cr_assert_eq(table_search(&node, &key), 0);
    key.segment = 1001;
    cr_assert_eq(table_search(&node, &key), 2);
    key.volume = 1;
    cr_assert_eq(table_search(&node, &key), 3);
}

static bool refused(const uint8_t *good, unsigned offset, uint8_t value)
{
    uint8_t bytes[BLOCK_BYTES];
    memcpy(bytes, good, sizeof bytes);
    bytes[offset] = value;
    struct table_node node;
    return table_decode(bytes, &node) == IOMESH_CORRUPT;
}

Test(table, what_is_no_node_is_refused)
{
    struct table_entry entries[4];
    entries_fill(entries, 4);
    uint8_t bytes[BLOCK_BYTES];
    table_encode(bytes, 0, entries, 4);
    cr_assert(!refused(bytes, 0, bytes[0]));
    cr_assert(refused(bytes, 0, 'X'));
    cr_assert(refused(bytes, 4, TABLE_LEVELS));
    cr_assert(refused(bytes, 5, 1));
    cr_assert(refused(bytes, 6, 0));
    cr_assert(refused(bytes, 6, 3)); /* Something after the last. */
    cr_assert(refused(bytes, 6, 5)); /* A hole, and out of order. */
    cr_assert(refused(bytes, 6, TABLE_ENTRIES + 1));
    cr_assert(refused(bytes, 7, 1));
    cr_assert(refused(bytes, 15, 1));
    cr_assert(refused(bytes, 16 + 34 * 4, 1));
    cr_assert(refused(bytes, BLOCK_BYTES - 1, 1));
    cr_assert(refused(bytes, 16, 9));             /* The first key is above the second. */
    cr_assert(refused(bytes, 16 + 18 + 4, 0x3f)); /* Bad is nothing that a segment can be. */
}

Test(table, a_zero_stands_in_a_leaf_only)
{
    struct table_entry entry = {.pointer = pointer_zero(5)};
    uint8_t bytes[BLOCK_BYTES];
    table_encode(bytes, 0, &entry, 1);
    struct table_node node;
    cr_assert_eq(table_decode(bytes, &node), 0);
    cr_assert(refused(bytes, 4, 1));
}
