/* SPDX-License-Identifier: Apache-2.0 */
#include "format/table.h"

#include <string.h>

#define HEAD_BYTES 16u
#define ENTRY_BYTES 34u

_Static_assert(HEAD_BYTES + TABLE_ENTRIES * ENTRY_BYTES == BLOCK_BYTES, "a node is a block");

int segment_key_compare(const struct segment_key *a, const struct segment_key *b)
{
    if (a->volume != b->volume)
        return a->volume < b->volume ? -1 : 1;
    if (a->segment != b->segment)
        return a->segment < b->segment ? -1 : 1;
    if (a->view != b->view)
        return a->view < b->view ? -1 : 1;
    return 0;
}

static const uint8_t *entry_bytes(const struct table_node *node, unsigned index)
{
    assert(index < node->count);
    return node->bytes + HEAD_BYTES + (size_t)index * ENTRY_BYTES;
}

struct segment_key table_key(const struct table_node *node, unsigned index)
{
    const uint8_t *from = entry_bytes(node, index);
    return (struct segment_key){
        .volume = get64(from), .segment = get32(from + 8), .view = get48(from + 12)};
}

struct table_entry table_entry(const struct table_node *node, unsigned index)
{
    struct table_entry entry = {.key = table_key(node, index)};
    int result = pointer_get(entry_bytes(node, index) + 18, &entry.pointer);
    assert(result == 0);
    return entry;
}

static bool may_stand_at(unsigned level, const struct pointer *pointer)
{
    return pointer->kind == POINTER_RAW || (level == 0 && pointer->kind == POINTER_ZERO);
}

void table_encode(uint8_t to[BLOCK_BYTES], unsigned level, const struct table_entry *entries,
                  unsigned count)
{
    assert(level < TABLE_LEVELS && count > 0 && count <= TABLE_ENTRIES);
    memset(to, 0, BLOCK_BYTES);
    put32(to, TABLE_MAGIC);
    to[4] = (uint8_t)level;
    put16(to + 6, (uint16_t)count);
    to += HEAD_BYTES;
    for (unsigned i = 0; i < count; i++, to += ENTRY_BYTES) {
        assert(i == 0 || segment_key_compare(&entries[i - 1].key, &entries[i].key) < 0);
        assert(may_stand_at(level, &entries[i].pointer));
        assert(entries[i].key.view <= SEQUENCE_MAX);
        put64(to, entries[i].key.volume);
        put32(to + 8, entries[i].key.segment);
        put48(to + 12, entries[i].key.view);
        pointer_put(to + 18, &entries[i].pointer);
    }
}

static bool all_zero(const uint8_t *from, const uint8_t *end)
{
    while (from < end && *from == 0)
        from++;
    return from == end;
}

static bool entries_sound(const struct table_node *node)
{
    struct segment_key last = {0};
    for (unsigned i = 0; i < node->count; i++) {
        struct segment_key key = table_key(node, i);
        if (i > 0 && segment_key_compare(&last, &key) >= 0)
            return false;
        struct pointer pointer;
        if (pointer_get(entry_bytes(node, i) + 18, &pointer) != 0 ||
            !may_stand_at(node->level, &pointer))
            return false;
        last = key;
    }
    return true;
}

int table_decode(const uint8_t from[BLOCK_BYTES], struct table_node *ret_node)
{
    struct table_node node = {.bytes = from, .level = from[4], .count = get16(from + 6)};
    if (get32(from) != TABLE_MAGIC || node.level >= TABLE_LEVELS || from[5] != 0 ||
        get64(from + 8) != 0 || node.count == 0 || node.count > TABLE_ENTRIES)
        return IOMESH_CORRUPT;
    if (!all_zero(from + HEAD_BYTES + (size_t)node.count * ENTRY_BYTES, from + BLOCK_BYTES))
        return IOMESH_CORRUPT;
    if (!entries_sound(&node))
        return IOMESH_CORRUPT;
    *ret_node = node;
    return 0;
}

struct table_node table_node_of(const uint8_t from[BLOCK_BYTES])
{
    return (struct table_node){.bytes = from, .level = from[4], .count = get16(from + 6)};
}

unsigned table_search(const struct table_node *node, const struct segment_key *key)
{
    unsigned low = 0, high = node->count;
    while (low < high) {
        unsigned middle = (low + high) / 2;
        struct segment_key at = table_key(node, middle);
        if (segment_key_compare(&at, key) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}
