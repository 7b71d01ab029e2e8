/* SPDX-License-Identifier: Apache-2.0 */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "codec/codec.h"
#include "format/pointer.h"
#include "format/wire.h"

static struct wire_header a_write(void)
{
    return (struct wire_header){
        .type = WIRE_WRITE,
        .flags = WIRE_FUA | WIRE_VIEWS_MAY,
        .count = 3,
        .aside_bytes = 12,
        .data_bytes = 3 * BLOCK_BYTES,
        .aside_crc = 0x01020304,
        .session = 0x1112131415161718,
        .number = 0x2122232425262728,
        .group = 0x31323334,
        .generation = 0x41424344,
        .volume = 0x5152535455565758,
        .epoch = 0x6162636465666768,
        .watermark = 0x717273747576,
        .block = 0x8182838480,
        .view = SEQUENCE_MAX,
        .sequence = 0x919293949596,
        .cut = 0xa1a2a3a4a5a6,
    };
}

/* A version of the wire never changes: these bytes are what the first release sent. */
static const uint8_t golden_write[WIRE_HEADER_BYTES] = {
    0x95, 0x52, 0xd4, 0x3e, 'I',  'M',  'W',  '1',  4,    3,    3,    0,    12,   0,    0,    0,
    0x00, 0x30, 0,    0,    4,    3,    2,    1,    0x18, 0x17, 0x16, 0x15, 0x14, 0x13, 0x12, 0x11,
    0x28, 0x27, 0x26, 0x25, 0x24, 0x23, 0x22, 0x21, 0x34, 0x33, 0x32, 0x31, 0x44, 0x43, 0x42, 0x41,
    0x58, 0x57, 0x56, 0x55, 0x54, 0x53, 0x52, 0x51, 0x68, 0x67, 0x66, 0x65, 0x64, 0x63, 0x62, 0x61,
    0x76, 0x75, 0x74, 0x73, 0x72, 0x71, 0,    0,    0x80, 0x84, 0x83, 0x82, 0x81, 0,    0,    0,
    0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0,    0,    0x96, 0x95, 0x94, 0x93, 0x92, 0x91, 0,    0,
    0xa6, 0xa5, 0xa4, 0xa3, 0xa2, 0xa1, 0,    0,    0,    0,    0,    0,    0,    0,    0,    0,
};

static struct wire_header an_answer(void)
{
    return (struct wire_header){
        .type = WIRE_FENCE | WIRE_ANSWER,
        .flags = WIRE_WITH_STATE,
        .aside_bytes = WIRE_STATE_BYTES,
        .aside_crc = 7,
        .session = 1,
        .number = 2,
        .generation = 3,
        .volume = 4,
        .result = IOMESH_FENCED,
        .found = 0x0102030405060708,
        .room_blocks = 0x1112131415161718,
    };
}

static const uint8_t golden_answer[WIRE_HEADER_BYTES] = {
    0xf6, 0x24, 0xeb, 0x8f, 'I', 'M', 'W', '1', 0x81, 0x10, 0,    0,    56,   0,    0,    0, //
    0,    0,    0,    0,    7,   0,   0,   0,   1,    0,    0,    0,    0,    0,    0,    0, //
    2,    0,    0,    0,    0,   0,   0,   0,   0,    0,    0,    0,    3,    0,    0,    0, //
    4,    0,    0,    0,    0,   0,   0,   0,   0x75, 0xec, 0xff, 0xff, 0,    0,    0,    0, //
    8,    7,    6,    5,    4,   3,   2,   1,   0x18, 0x17, 0x16, 0x15, 0x14, 0x13, 0x12, 0x11,
};

static void golden_check(const struct wire_header *header, const uint8_t *golden)
{
    uint8_t bytes[WIRE_HEADER_BYTES];
    wire_header_put(bytes, header);
    for (unsigned i = 0; i < WIRE_HEADER_BYTES; i++)
        cr_expect_eq(bytes[i], golden[i], "byte %u is 0x%02x, was 0x%02x", i, bytes[i], golden[i]);
    struct wire_header back;
    cr_assert_eq(wire_header_get(golden, &back), 0);
    wire_header_put(bytes, &back);
    cr_expect_eq(memcmp(bytes, golden, sizeof bytes), 0);
}

Test(wire, a_header_has_the_bytes_that_it_always_had)
{
    struct wire_header write = a_write(), answer = an_answer();
    golden_check(&write, golden_write);
    golden_check(&answer, golden_answer);
}

Test(wire, any_bit_that_turns_over_is_found)
{
    for (unsigned bit = 0; bit < WIRE_HEADER_BYTES * 8; bit++) {
        uint8_t bytes[WIRE_HEADER_BYTES];
        struct wire_header header;
        memcpy(bytes, golden_write, sizeof bytes);
        bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
        cr_expect_lt(wire_header_get(bytes, &header), 0, "bit %u", bit);
    }
}

static int decode_after(void (*change)(uint8_t *bytes))
{
    uint8_t bytes[WIRE_HEADER_BYTES];
    struct wire_header header;
    memcpy(bytes, golden_write, sizeof bytes);
    change(bytes);
    put32(bytes, crc32c(bytes + 4, sizeof bytes - 4));
    return wire_header_get(bytes, &header);
}

static void no_change(uint8_t *bytes)
{
    (void)bytes;
}
static void other_magic(uint8_t *bytes)
{
    bytes[4] = 'X';
}
static void unknown_type(uint8_t *bytes)
{
    bytes[8] = 77;
}
static void foreign_flag(uint8_t *bytes)
{
    bytes[9] |= WIRE_PARENT;
}
static void many_blocks(uint8_t *bytes)
{
    put16(bytes + 10, 257);
}
static void more_aside(uint8_t *bytes)
{
    put32(bytes + 12, 16);
}
static void less_data(uint8_t *bytes)
{
    put32(bytes + 16, BLOCK_BYTES);
}
static void settle_of_a_write(uint8_t *bytes)
{
    bytes[9] |= WIRE_SETTLE;
}
static void cuts_of_a_write(uint8_t *bytes)
{
    put16(bytes + 104, 1);
}
static void reserved_set(uint8_t *bytes)
{
    bytes[111] = 1;
}

Test(wire, a_frame_whose_sizes_do_not_fit_its_type_is_refused)
{
    cr_expect_eq(decode_after(no_change), 0);
    cr_expect_eq(decode_after(other_magic), IOMESH_FORMAT);
    cr_expect_eq(decode_after(unknown_type), IOMESH_CORRUPT);
    cr_expect_eq(decode_after(foreign_flag), IOMESH_CORRUPT);
    cr_expect_eq(decode_after(many_blocks), IOMESH_CORRUPT);
    cr_expect_eq(decode_after(more_aside), IOMESH_CORRUPT);
    cr_expect_eq(decode_after(less_data), IOMESH_CORRUPT);
    cr_expect_eq(decode_after(settle_of_a_write), IOMESH_CORRUPT);
    cr_expect_eq(decode_after(cuts_of_a_write), IOMESH_CORRUPT);
    cr_expect_eq(decode_after(reserved_set), IOMESH_CORRUPT);
}

Test(wire, a_request_stays_in_its_mebibyte)
{
    struct wire_header header = a_write();
    cr_expect_eq(wire_request_check(&header), 0);
    header.block = 254;
    cr_expect_eq(wire_request_check(&header), -EPROTO);
    header.count = 2;
    cr_expect_eq(wire_request_check(&header), 0);
    header.count = 0;
    cr_expect_eq(wire_request_check(&header), -EPROTO);
    header = a_write();
    header.sequence = SEQUENCE_MAX + 1;
    cr_expect_eq(wire_request_check(&header), -EPROTO);
    header.sequence = 5;
    header.block = UINT64_MAX - 1;
    cr_expect_eq(wire_request_check(&header), -EPROTO);
}

Test(wire, cuts_belong_to_what_is_put_into_views)
{
    static const uint8_t types[] = {WIRE_RESYNC, WIRE_REPAIR};
    for (unsigned i = 0; i < COUNT_OF(types); i++) {
        uint8_t bytes[WIRE_HEADER_BYTES];
        struct wire_header header = {.type = types[i],
                                     .count = 1,
                                     .cut_count = 3,
                                     .aside_bytes = WIRE_VERSION_BYTES + 3 * 8},
                           back;
        wire_header_put(bytes, &header);
        cr_assert_eq(wire_header_get(bytes, &back), 0);
        cr_expect_eq(back.cut_count, 3);
    }
}

Test(wire, elements_are_read_back_also_in_place)
{
    uint8_t bytes[64];
    uint32_t crcs[] = {1, 0xfedcba98};
    wire_crcs_put(bytes, crcs, 2);
    cr_expect_eq(memcmp(bytes, "\1\0\0\0\x98\xba\xdc\xfe", 8), 0);
    uint32_t back[2];
    wire_crcs_get(bytes, 2, back);
    cr_expect_eq(memcmp(back, crcs, sizeof crcs), 0);
    struct wire_version versions[] = {{.sequence = 9, .crc = 8, .kind = POINTER_RAW},
                                      {.sequence = SEQUENCE_MAX, .kind = POINTER_SET_ASIDE}};
    struct wire_version same[2];
    memcpy(same, versions, sizeof same);
    wire_versions_put((uint8_t *)same, same, 2);
    cr_assert_eq(wire_versions_get((uint8_t *)same, 2, same), 0);
    cr_expect_eq(memcmp(same, versions, sizeof same), 0);
    put16((uint8_t *)same + 12, POINTER_PREPARED);
    cr_expect_eq(wire_versions_get((uint8_t *)same, 2, same), -EPROTO);
}

Test(wire, cuts_that_do_not_grow_are_refused)
{
    uint8_t bytes[16];
    uint64_t cuts[] = {5, 7}, back[2];
    wire_cuts_put(bytes, cuts, 2);
    cr_assert_eq(wire_cuts_get(bytes, 2, back), 0);
    cr_expect_eq(back[1], 7);
    cuts[1] = 5;
    wire_cuts_put(bytes, cuts, 2);
    cr_expect_eq(wire_cuts_get(bytes, 2, back), -EPROTO);
    cuts[1] = SEQUENCE_MAX + 1;
    wire_cuts_put(bytes, cuts, 2);
    cr_expect_eq(wire_cuts_get(bytes, 2, back), -EPROTO);
}

Test(wire, a_state_is_read_back)
{
    struct wire_state state = {.epoch = 1,
                               .watermark = 2,
                               .heard = 3,
                               .flushed = 4,
                               .settled = 8,
                               .generation = 5,
                               .role_generation = 6,
                               .aside = 7,
                               .role = 2,
                               .restarted = true};
    uint8_t bytes[WIRE_STATE_BYTES], again[WIRE_STATE_BYTES];
    wire_state_put(bytes, &state);
    struct wire_state back;
    cr_assert_eq(wire_state_get(bytes, &back), 0);
    wire_state_put(again, &back);
    cr_expect_eq(memcmp(bytes, again, sizeof bytes), 0);
    cr_expect_eq(back.settled, 8);
    bytes[52] = 3;
    cr_expect_eq(wire_state_get(bytes, &back), -EPROTO);
    state.settled = SEQUENCE_MAX + 1;
    wire_state_put(bytes, &state);
    cr_expect_eq(wire_state_get(bytes, &back), -EPROTO);
}

/* --- Messages -------------------------------------------------------------------------------- */

Test(wire, a_handshake_is_read_back)
{
    uint8_t bytes[WIRE_MESSAGE_BYTES_MAX];
    struct wire_hello hello = {.version_first = 1,
                               .version_last = 3,
                               .features = 1ull << 63,
                               .store = 77,
                               .engine = UINT64_MAX,
                               .half = 0xfedcba98};
    memset(hello.pool, 0x5a, sizeof hello.pool);
    struct wire_hello hello_back;
    cr_assert_eq(wire_hello_get(bytes, wire_hello_put(bytes, &hello), &hello_back), 0);
    cr_expect_eq(memcmp(hello.pool, hello_back.pool, sizeof hello.pool), 0);
    cr_expect(hello_back.version_last == 3 && hello_back.features == 1ull << 63 &&
              hello_back.store == 77 && hello_back.engine == UINT64_MAX &&
              hello_back.half == 0xfedcba98);

    struct wire_welcome welcome = {.version = 1,
                                   .store = 77,
                                   .session = UINT64_MAX - 1,
                                   .incarnation = 9,
                                   .requests_max = 128,
                                   .bytes_max = 1ull << 40,
                                   .room_blocks = 11};
    struct wire_welcome welcome_back;
    cr_assert_eq(wire_welcome_get(bytes, wire_welcome_put(bytes, &welcome), &welcome_back), 0);
    cr_expect(welcome_back.session == UINT64_MAX - 1 && welcome_back.incarnation == 9 &&
              welcome_back.bytes_max == 1ull << 40 && welcome_back.room_blocks == 11);
}

Test(wire, what_a_refusal_says_cannot_move_a_cursor)
{
    uint8_t bytes[WIRE_MESSAGE_BYTES_MAX];
    struct wire_refused refused = {.code = -EXDEV, .version_first = 1, .version_last = 1};
    (void)snprintf(refused.sentence, sizeof refused.sentence, "%s", "an \x1b[2Jother pool");
    struct wire_refused back;
    cr_assert_eq(wire_refused_get(bytes, wire_refused_put(bytes, &refused), &back), 0);
    cr_expect_eq(back.code, -EXDEV);
    cr_expect_str_eq(back.sentence, "an ?[2Jother pool");
    refused.code = 0;
    cr_expect_eq(wire_refused_get(bytes, wire_refused_put(bytes, &refused), &back), -EPROTO);
}

Test(wire, the_largest_requests_fit)
{
    uint64_t *cuts = calloc(WIRE_CUTS_MAX, sizeof *cuts);
    uint32_t *runs = calloc((size_t)WIRE_RUNS_MAX * 2, sizeof *runs);
    uint8_t *bytes = malloc(WIRE_ASIDE_BYTES_MAX);
    uint64_t *memory = malloc(WIRE_CONTROL_MEMORY_BYTES);
    for (uint32_t i = 0; i < WIRE_CUTS_MAX; i++)
        cuts[i] = SEQUENCE_MAX - WIRE_CUTS_MAX + i;
    for (uint32_t i = 0; i < WIRE_RUNS_MAX * 2; i++)
        runs[i] = UINT32_MAX - i;
    char key[WIRE_KEY_BYTES_MAX + 1];
    memset(key, 'k', sizeof key - 1);
    key[sizeof key - 1] = '\0';
    struct wire_control control = {.cuts = cuts, .cut_count = WIRE_CUTS_MAX, .key = key};
    struct wire_control back;
    uint32_t length = wire_control_put(bytes, &control);
    cr_assert_gt(length, 0);
    cr_assert_eq(wire_control_get(bytes, length, memory, WIRE_CONTROL_MEMORY_BYTES, &back), 0);
    cr_expect(back.cut_count == WIRE_CUTS_MAX &&
              memcmp(back.cuts, cuts, WIRE_CUTS_MAX * sizeof *cuts) == 0);
    cr_expect_str_eq(back.key, key);
    cr_expect_eq(wire_control_get(bytes, length, memory, 4096, &back), -EPROTO);

    control = (struct wire_control){.role = 2, .runs = runs, .run_count = WIRE_RUNS_MAX};
    length = wire_control_put(bytes, &control);
    cr_assert_eq(wire_control_get(bytes, length, memory, WIRE_CONTROL_MEMORY_BYTES, &back), 0);
    cr_expect(back.role == 2 && back.run_count == WIRE_RUNS_MAX &&
              memcmp(back.runs, runs, (size_t)WIRE_RUNS_MAX * 8) == 0);
    free(cuts);
    free(runs);
    free(bytes);
    free(memory);
}

Test(wire, a_request_that_says_more_than_we_know_is_refused)
{
    uint8_t bytes[64];
    uint64_t memory[64];
    struct wire_control control = {.role = 1}, back;
    uint32_t length = wire_control_put(bytes, &control);
    cr_expect_eq(wire_control_get(bytes, length, memory, sizeof memory, &back), 0);
    bytes[length++] = 15 << 3; /* Field 15, a varint. */
    bytes[length++] = 1;
    cr_expect_eq(wire_control_get(bytes, length, memory, sizeof memory, &back), -EPROTO);
}
