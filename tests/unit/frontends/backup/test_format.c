/* SPDX-License-Identifier: Apache-2.0 */
#include <criterion/criterion.h>
#include <string.h>

#include "unit/frontends/backup/streams.h"

static uint8_t payload[BACKUP_PAYLOAD_BYTES_MAX + 64];
static uint8_t plain[BACKUP_DATA_BYTES_MAX];
static uint8_t again[BACKUP_DATA_BYTES_MAX];

Test(format, the_checksum_is_crc32c_and_goes_on_where_it_was)
{
    cr_assert_eq(backup_checksum(0, "123456789", 9), 0xe3069283);
    cr_assert_eq(backup_checksum(backup_checksum(0, "1234", 4), "56789", 5), 0xe3069283);
}

static bool same_header(const struct backup_header *one, const struct backup_header *other)
{
    return memcmp(one->pool_uuid, other->pool_uuid, sizeof one->pool_uuid) == 0 &&
           memcmp(one->snapshot_uuid, other->snapshot_uuid, sizeof one->snapshot_uuid) == 0 &&
           memcmp(one->base_uuid, other->base_uuid, sizeof one->base_uuid) == 0 &&
           one->volume_id == other->volume_id && one->volume_bytes == other->volume_bytes &&
           one->created_ns == other->created_ns && one->sector_bytes == other->sector_bytes &&
           one->flags == other->flags && strcmp(one->volume, other->volume) == 0 &&
           strcmp(one->snapshot, other->snapshot) == 0 && strcmp(one->base, other->base) == 0;
}

Test(format, a_header_comes_back_as_it_was)
{
    for (int increment = 0; increment < 2; increment++) {
        struct backup_header header = made_header(increment);
        struct backup_header back;
        memset(&back, 0xee, sizeof back);
        header.flags = increment ? 0 : BACKUP_FLAG_PASSING;
        memset(header.volume, 'v', BACKUP_NAME_BYTES_MAX);
        const uint32_t length = backup_header_encode(&header, payload);
        cr_assert_eq(backup_header_decode(payload, length, &back), BACKUP_GOOD);
        cr_assert(same_header(&header, &back));
        cr_assert_eq(backup_is_increment(&back), increment);
        /* A later writer's fields are behind it. */
        cr_assert_eq(backup_header_decode(payload, length + 60, &back), BACKUP_GOOD);
        for (uint32_t cut = 0; cut < length; cut++)
            cr_assert_eq(backup_header_decode(payload, cut, &back), BACKUP_NONSENSE);
    }
}

Test(format, a_header_that_makes_no_sense_is_refused)
{
    static const struct {
        uint32_t at;
        uint8_t bytes[8];
        uint32_t length;
    } wrong[] = {
        {56, {0}, 8},    /* No size. */
        {56, {1}, 1},    /* Not of whole blocks. */
        {62, {0x41}, 1}, /* Too large. */
        {72, {0, 4}, 2}, /* A sector of 1 KiB more. */
        {76, {2}, 1},    /* A flag that is not known. */
        {80, {0}, 1},    /* No name of the volume. */
        {80, {129}, 1},  /* Too long a name. */
        {82, {0}, 1},    /* No name of the snapshot. */
        {84, {1}, 1},    /* A base's name in a full stream. */
        {86, {1}, 1},    /* Reserved. */
        {88, {0}, 1},    /* A name with a zero byte. */
    };
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        const struct backup_header header = made_header(false);
        struct backup_header back;
        const uint32_t length = backup_header_encode(&header, payload);
        memcpy(payload + wrong[i].at, wrong[i].bytes, wrong[i].length);
        cr_assert_eq(backup_header_decode(payload, length + 60, &back), BACKUP_NONSENSE,
                     "number %zu", i);
    }
    struct backup_header header = made_header(true);
    struct backup_header back;
    memset(header.snapshot_uuid, 0, 16);
    cr_assert_eq(backup_header_decode(payload, backup_header_encode(&header, payload), &back),
                 BACKUP_NONSENSE);
    header = made_header(true);
    memcpy(header.base_uuid, header.snapshot_uuid, 16); /* It would lead to where it starts. */
    cr_assert_eq(backup_header_decode(payload, backup_header_encode(&header, payload), &back),
                 BACKUP_NONSENSE);
    header = made_header(true);
    header.base[0] = '\0';
    cr_assert_eq(backup_header_decode(payload, backup_header_encode(&header, payload), &back),
                 BACKUP_NONSENSE);
}

/* Packed, and unpacked again into the same. Returns how much it takes. */
static uint32_t pack(const struct backup_extent *extents, uint32_t count, uint8_t seed)
{
    struct backup_extent back[BACKUP_EXTENTS_MAX];
    uint32_t back_count = 0;
    uint64_t bytes = 0;
    struct backup_packer *packer = backup_packer_open();
    made_plain(extents, count, seed, plain);
    for (uint32_t i = 0; i < count; i++)
        bytes += extents[i].bytes;
    const uint32_t length = backup_data_encode(packer, extents, count, plain, payload);
    cr_assert_leq(length, BACKUP_PAYLOAD_BYTES_MAX);
    cr_assert_eq(backup_data_decode(packer, payload, length, back, &back_count, again),
                 BACKUP_GOOD);
    cr_assert_eq(back_count, count);
    cr_assert_eq(memcmp(back, extents, count * sizeof *back), 0);
    cr_assert_eq(memcmp(plain, again, bytes), 0);
    backup_packer_close(packer);
    return length;
}

Test(format, data_takes_no_more_than_it_is_and_less_if_it_can)
{
    struct backup_extent extents[BACKUP_EXTENTS_MAX] = {{0, BACKUP_DATA_BYTES_MAX}};
    cr_assert_eq(pack(extents, 1, 1), 16 + 16 + BACKUP_DATA_BYTES_MAX);
    cr_assert_lt(pack(extents, 1, 2), 1000);
    for (uint32_t i = 0; i < BACKUP_EXTENTS_MAX; i++)
        extents[i] = (struct backup_extent){i * UINT64_C(81920), 4096};
    cr_assert_eq(pack(extents, BACKUP_EXTENTS_MAX, 1), BACKUP_PAYLOAD_BYTES_MAX);
    cr_assert_lt(pack(extents, BACKUP_EXTENTS_MAX, 2), 20000);
    extents[0] = (struct backup_extent){(UINT64_C(1) << 46) - 4096, 4096};
    pack(extents, 1, 1);
}

/* After a frame of noise a few places are tried first: what compresses there is compressed, and
 * what is noise in all of them is stored as it is. Alone, both are compressed. */
Test(format, noise_after_noise_is_not_looked_at_whole)
{
    const struct backup_extent extent = {0, BACKUP_DATA_BYTES_MAX};
    struct backup_packer *packer = backup_packer_open();
    made_plain(&extent, 1, 1, again);
    made_plain(&extent, 1, 2, plain);
    for (uint32_t at = 0; at < BACKUP_DATA_BYTES_MAX; at += BACKUP_DATA_BYTES_MAX / 8)
        memcpy(plain + at, again, 4096);
    cr_assert_lt(backup_data_encode(packer, &extent, 1, plain, payload), 100000);
    cr_assert_gt(backup_data_encode(packer, &extent, 1, again, payload), BACKUP_DATA_BYTES_MAX);
    cr_assert_gt(backup_data_encode(packer, &extent, 1, plain, payload), BACKUP_DATA_BYTES_MAX);
    memset(plain + BACKUP_DATA_BYTES_MAX / 2, 3, 4096);
    cr_assert_lt(backup_data_encode(packer, &extent, 1, plain, payload), 100000);
    backup_packer_close(packer);
}

Test(format, data_that_contradicts_itself_is_refused)
{
    static const struct {
        uint32_t at;
        uint32_t value;
    } wrong[] = {
        {0, 0},        {0, 2},     {0, 257}, {0, UINT32_MAX}, {4, 0},       {4, 8192},
        {4, 2u << 20}, {8, 0},     {12, 2},  {16, 1},         {20, 0x4000}, {24, 0},
        {24, 8192},    {24, 4097}, {28, 1},  {28, ~0u},
    };
    for (unsigned seed = 1; seed < 3; seed++) {
        for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
            const uint32_t length = pack((struct backup_extent[]){{0, 4096}}, 1, (uint8_t)seed);
            struct backup_extent back[BACKUP_EXTENTS_MAX];
            uint32_t count;
            struct backup_packer *packer = backup_packer_open();
            memcpy(payload + wrong[i].at, &wrong[i].value, 4);
            cr_assert_neq(backup_data_decode(packer, payload, length, back, &count, again),
                          BACKUP_GOOD, "number %zu", i);
            backup_packer_close(packer);
        }
    }
}

Test(format, data_is_unpacked_to_its_length_and_no_further)
{
    struct backup_extent back[BACKUP_EXTENTS_MAX];
    uint32_t count;
    struct backup_packer *packer = backup_packer_open();
    const uint32_t length = pack((struct backup_extent[]){{0, 1 << 20}}, 1, 2);
    const uint32_t less[2] = {4096, 0};
    memcpy(payload + 4, less, 4);
    memcpy(payload + 24, less, 8);
    memset(again, 0xaa, sizeof again);
    cr_assert_eq(backup_data_decode(packer, payload, length, back, &count, again), BACKUP_NONSENSE);
    for (size_t i = 4096; i < sizeof again; i++)
        cr_assert_eq(again[i], 0xaa);
    for (uint32_t cut = 0; cut < length; cut++)
        cr_assert_neq(backup_data_decode(packer, payload, cut, back, &count, again), BACKUP_GOOD);
    backup_packer_close(packer);
}

Test(format, zeros_and_the_end_come_back_as_they_were)
{
    const struct backup_extent extents[2] = {{0, 4096}, {UINT64_C(1) << 45, UINT64_C(1) << 45}};
    struct backup_extent back[BACKUP_EXTENTS_MAX];
    uint32_t count;
    uint32_t length = backup_zero_encode(extents, 2, payload);
    cr_assert_eq(backup_zero_decode(payload, length, back, &count), BACKUP_GOOD);
    cr_assert_eq(count, 2);
    cr_assert_eq(memcmp(back, extents, sizeof extents), 0);
    cr_assert_eq(backup_zero_decode(payload, length + 1, back, &count), BACKUP_NONSENSE);
    payload[4] = 1;
    cr_assert_eq(backup_zero_decode(payload, length, back, &count), BACKUP_NONSENSE);
    for (uint32_t cut = 0; cut < length; cut++)
        cr_assert_eq(backup_zero_decode(payload, cut, back, &count), BACKUP_NONSENSE);

    const struct backup_end end = {1, 2, 3, 4, 5};
    struct backup_end end_back;
    length = backup_end_encode(&end, payload);
    cr_assert_eq(backup_end_decode(payload, length, &end_back), BACKUP_GOOD);
    cr_assert(end_back.data_bytes == 1 && end_back.zero_bytes == 2 && end_back.frames == 3 &&
              end_back.stream_bytes == 4 && end_back.chain == 5);
    cr_assert_eq(backup_end_decode(payload, length - 1, &end_back), BACKUP_NONSENSE);
}
