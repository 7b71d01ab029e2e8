/* SPDX-License-Identifier: Apache-2.0 */
#include "format/deferred.h"

#include <string.h>

static bool extents_ascend(const struct deferred_page *page)
{
    for (uint32_t i = 0; i < page->count; i++) {
        uint64_t end = deferred_place(page->extents[i]) + deferred_blocks(page->extents[i]);
        uint64_t after = i + 1 < page->count ? deferred_place(page->extents[i + 1]) : 1ull << 36;
        if (end > after)
            return false;
    }
    return true;
}

void deferred_put(uint8_t to[BLOCK_BYTES], const struct deferred_page *page)
{
    assert(page->count <= DEFERRED_EXTENTS);
    assert(page->next_place != 0 || page->next_crc == 0);
    assert(extents_ascend(page));
    memset(to, 0, BLOCK_BYTES);
    put32(to, DEFERRED_MAGIC);
    put32(to + 4, page->count);
    put64(to + 8, page->next_place);
    put32(to + 16, page->next_crc);
    for (uint32_t i = 0; i < page->count; i++)
        put64(to + DEFERRED_HEADER_BYTES + (size_t)i * 8, page->extents[i]);
}

static bool zeros(const uint8_t *from, size_t length)
{
    for (size_t i = 0; i < length; i++) {
        if (from[i] != 0)
            return false;
    }
    return true;
}

int deferred_get(const uint8_t from[BLOCK_BYTES], struct deferred_page *ret_page)
{
    if (get32(from) != DEFERRED_MAGIC)
        return IOMESH_FORMAT;
    struct deferred_page page = {
        .count = get32(from + 4),
        .next_place = get64(from + 8),
        .next_crc = get32(from + 16),
    };
    if (page.count > DEFERRED_EXTENTS || (page.next_place == 0 && page.next_crc != 0))
        return IOMESH_CORRUPT;
    for (uint32_t i = 0; i < page.count; i++)
        page.extents[i] = get64(from + DEFERRED_HEADER_BYTES + (size_t)i * 8);
    size_t used = DEFERRED_HEADER_BYTES + (size_t)page.count * 8;
    if (!extents_ascend(&page) || !zeros(from + 20, 4) || !zeros(from + used, BLOCK_BYTES - used))
        return IOMESH_CORRUPT;
    *ret_page = page;
    return 0;
}
