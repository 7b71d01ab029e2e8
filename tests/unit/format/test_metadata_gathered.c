/* SPDX-License-Identifier: Apache-2.0 */
/* What stores say, in a file; stamps of copies. */
#include <criterion/criterion.h>
#include <string.h>

#include "format/metadata_gathered.h"

Test(metadata_gathered, a_store_comes_back_as_it_was)
{
    const struct gathered_store store = {.uuid = {1, 2, 3}, .incarnation = 9, .path = "/srv/a b"};
    struct gathered_store back;
    uint8_t bytes[GATHERED_STORE_BYTES_MAX];
    uint32_t length = gathered_store_put(bytes, &store);
    cr_assert_eq(gathered_store_get(bytes, length, &back), 0);
    cr_assert_arr_eq(back.uuid, store.uuid, sizeof store.uuid);
    cr_assert_eq(back.incarnation, 9);
    cr_assert_str_eq(back.path, "/srv/a b");
    cr_assert_eq(gathered_store_get(bytes, 23, &back), IOMESH_CORRUPT);
    bytes[26] = 0;
    cr_assert_eq(gathered_store_get(bytes, length, &back), IOMESH_CORRUPT);
}

Test(metadata_gathered, a_part_comes_back_as_it_was_and_nonsense_is_refused)
{
    const struct part_saved part = {.used = true,
                                    .role = 1,
                                    .group = 3,
                                    .volume = 7,
                                    .epoch = 5,
                                    .watermark = 100,
                                    .flushed = 90,
                                    .generation = 4,
                                    .role_generation = 2};
    struct part_saved back;
    uint64_t sequence;
    uint8_t bytes[GATHERED_PART_BYTES];
    gathered_part_put(bytes, &part, 123);
    cr_assert_eq(gathered_part_get(bytes, sizeof bytes, &back, &sequence), 0);
    cr_assert_eq(back.volume, 7);
    cr_assert_eq(back.watermark, 100);
    cr_assert_eq(back.generation, 4);
    cr_assert_eq(sequence, 123);
    cr_assert_eq(gathered_part_get(bytes, sizeof bytes - 1, &back, &sequence), IOMESH_CORRUPT);
    memset(bytes, 0, sizeof bytes);
    cr_assert_eq(gathered_part_get(bytes, sizeof bytes, &back, &sequence), IOMESH_CORRUPT);
}

Test(metadata_gathered, a_sum_depends_on_each_entry_and_their_order)
{
    const uint8_t a[3] = {1, 2, 3}, b[3] = {1, 2, 4};
    uint32_t ab = gathered_sum(gathered_sum(0, a, 3), b, 3);
    cr_assert_neq(ab, gathered_sum(gathered_sum(0, b, 3), a, 3));
    cr_assert_neq(ab, gathered_sum(0, a, 3));
    cr_assert_eq(ab, gathered_sum(gathered_sum(0, a, 3), b, 3));
}

Test(metadata_gathered, epochs_come_before_revisions)
{
    const struct metadata_stamp old = {.epoch = 2, .revision = 900};
    const struct metadata_stamp new = {.epoch = 3, .revision = 1};
    struct metadata_stamp back;
    uint8_t bytes[METADATA_COPY_STAMP_BYTES + 1] = {0};
    cr_assert_lt(metadata_stamp_compare(&old, &new), 0);
    cr_assert_gt(metadata_stamp_compare(&new, &old), 0);
    cr_assert_eq(metadata_stamp_compare(&old, &old), 0);
    metadata_stamp_put(bytes, &old);
    cr_assert(metadata_stamp_get(bytes, sizeof bytes, &back));
    cr_assert_eq(metadata_stamp_compare(&old, &back), 0);
    cr_assert_not(metadata_stamp_get(bytes, METADATA_COPY_STAMP_BYTES, &back));
}
