/* SPDX-License-Identifier: Apache-2.0 */
#include <criterion/criterion.h>
#include <string.h>

#include "format/deferred.h"

static struct deferred_page full_page(struct prng *prng, uint32_t count)
{
    struct deferred_page page = {.next_place = 77, .next_crc = 0x1234, .count = count};
    uint64_t place = 0;
    for (uint32_t i = 0; i < count; i++) {
        uint32_t blocks = 1 + (uint32_t)prng_below(prng, 1000);
        place += prng_below(prng, 3);
        page.extents[i] = deferred_pack(place, blocks);
        place += blocks;
    }
    return page;
}

Test(deferred, what_is_put_is_got)
{
    struct prng prng = {.state = 3};
    for (uint32_t count = 0; count <= DEFERRED_EXTENTS; count += 1 + count / 3) {
        struct deferred_page page = full_page(&prng, count), again;
        uint8_t bytes[BLOCK_BYTES];
        deferred_put(bytes, &page);
        cr_assert_eq(deferred_get(bytes, &again), 0);
        cr_assert_eq(memcmp(&page, &again, sizeof page), 0);
    }
}

Test(deferred, the_largest_extent_fits)
{
    uint64_t packed = deferred_pack((1ull << 36) - 1, 1);
    cr_assert_eq(deferred_place(packed), (1ull << 36) - 1);
    cr_assert_eq(deferred_blocks(packed), 1);
    packed = deferred_pack(0, DEFERRED_BLOCKS_MAX);
    cr_assert_eq(deferred_blocks(packed), DEFERRED_BLOCKS_MAX);
}

Test(deferred, what_no_encoder_writes_is_refused)
{
    struct prng prng = {.state = 4};
    struct deferred_page page = full_page(&prng, 5), got;
    uint8_t bytes[BLOCK_BYTES];
    deferred_put(bytes, &page);
    bytes[0] ^= 1;
    cr_assert_eq(deferred_get(bytes, &got), IOMESH_FORMAT);

    deferred_put(bytes, &page);
    put32(bytes + 4, DEFERRED_EXTENTS + 1);
    cr_assert_eq(deferred_get(bytes, &got), IOMESH_CORRUPT);

    deferred_put(bytes, &page);
    put32(bytes + 4, 4); /* The fifth is then a byte where zeros should be. */
    cr_assert_eq(deferred_get(bytes, &got), IOMESH_CORRUPT);

    deferred_put(bytes, &page);
    put64(bytes + 24, deferred_pack(deferred_place(page.extents[1]), 1)); /* Overlaps. */
    cr_assert_eq(deferred_get(bytes, &got), IOMESH_CORRUPT);

    deferred_put(bytes, &page);
    put64(bytes + 8, 0); /* A sum of a page that there is none of. */
    cr_assert_eq(deferred_get(bytes, &got), IOMESH_CORRUPT);

    deferred_put(bytes, &page);
    bytes[20] = 1;
    cr_assert_eq(deferred_get(bytes, &got), IOMESH_CORRUPT);

    deferred_put(bytes, &page);
    put64(bytes + 24 + 32, deferred_pack((1ull << 36) - 1, 2)); /* Beyond every store. */
    cr_assert_eq(deferred_get(bytes, &got), IOMESH_CORRUPT);
}
