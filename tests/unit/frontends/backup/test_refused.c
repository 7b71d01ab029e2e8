/* SPDX-License-Identifier: Apache-2.0 */
/* Streams that are not as they should be, and how far they are believed. */
#include <criterion/criterion.h>
#include <errno.h>
#include <string.h>

#include "unit/frontends/backup/streams.h"

static struct made made;

/* How many frames end at or before this byte. */
static unsigned frames_before(size_t at)
{
    unsigned count = 0;
    while (count < made.frames &&
           at >= (count + 1 < made.frames ? made.starts[count + 1] : made.length))
        count++;
    return count;
}

Test(refused, a_whole_stream_is_read_to_its_end)
{
    made_whole(&made);
    const struct outcome outcome = read_stream(made.bytes, made.length);
    cr_assert_eq(outcome.result, -ENODATA, "%s", outcome.why);
    cr_assert_eq(outcome.frames, 5);
    cr_assert_eq(outcome.types[0], BACKUP_HEADER);
    cr_assert_eq(outcome.types[4], BACKUP_END);
    cr_assert_eq(outcome.data_bytes, 24576);
}

Test(refused, a_stream_cut_at_any_byte_is_truncated_and_no_frame_behind_the_cut_is_believed)
{
    made_whole(&made);
    for (size_t length = 0; length < made.length; length++) {
        const struct outcome outcome = read_stream(made.bytes, length);
        cr_assert_eq(outcome.result, -EBADMSG, "cut at %zu", length);
        cr_assert_eq(outcome.frames, frames_before(length), "cut at %zu: %u frames", length,
                     outcome.frames);
        cr_assert(strstr(outcome.why, length == 0 ? "empty" : "ends in the middle") != NULL, "%s",
                  outcome.why);
    }
}

Test(refused, a_byte_that_is_turned_over_is_seen_in_its_frame_and_nothing_behind_it_is_believed)
{
    made_whole(&made);
    for (size_t at = 0; at < made.length; at++) {
        const unsigned turned = at % 3 != 0 ? 1u << at % 8 : 0xff;
        const uint8_t kept = made.bytes[at];
        made.bytes[at] = (uint8_t)(kept ^ turned);
        const struct outcome outcome = read_stream(made.bytes, made.length);
        made.bytes[at] = kept;
        cr_assert_eq(outcome.result, -EBADMSG, "byte %zu", at);
        cr_assert_eq(outcome.frames, frames_before(at), "byte %zu: %u frames, %s", at,
                     outcome.frames, outcome.why);
    }
}

static void refused_as(enum backup_fault fault, unsigned frames)
{
    const struct outcome outcome = read_stream(made.bytes, made.length);
    cr_assert_eq(outcome.result, -EBADMSG);
    cr_assert(strstr(outcome.why, backup_fault_text(fault)) != NULL, "%s", outcome.why);
    cr_assert_eq(outcome.frames, frames, "%u frames", outcome.frames);
}

Test(refused, another_kind_of_file)
{
    made_begin(&made);
    memset(made.bytes, 0, 4096);
    made.length = 4096;
    refused_as(BACKUP_NO_STREAM, 0);
}

Test(refused, a_newer_version_by_its_own_sentence)
{
    made_whole(&made);
    made.bytes[8] = 2;
    const uint32_t checksum = backup_checksum(0, made.bytes, 12);
    memcpy(made.bytes + 12, &checksum, 4);
    refused_as(BACKUP_NEWER, 0);
}

Test(refused, a_frame_that_is_lost)
{
    made_whole(&made);
    memmove(made.bytes + made.starts[2], made.bytes + made.starts[3], made.length - made.starts[3]);
    made.length -= made.starts[3] - made.starts[2];
    refused_as(BACKUP_SEAM, 2);
}

Test(refused, a_frame_that_comes_twice)
{
    made_whole(&made);
    const size_t length = made.starts[3] - made.starts[2];
    memmove(made.bytes + made.starts[3], made.bytes + made.starts[2], made.length - made.starts[2]);
    made.length += length;
    refused_as(BACKUP_SEAM, 3);
}

Test(refused, the_rest_of_another_stream_that_began_otherwise)
{
    static struct made other;
    made_begin(&other);
    made_header_frame(&other, true);
    made_data(&other, (struct backup_extent[]){{4096, 16384}}, 1, 4); /* Other data. */
    made_data(&other, (struct backup_extent[]){{40960, 4096}, {81920, 4096}}, 2, 1);
    made_whole(&made);
    const size_t length = other.length - other.starts[2];
    memcpy(made.bytes + made.starts[2], other.bytes + other.starts[2], length);
    made.length = made.starts[2] + length;
    refused_as(BACKUP_SEAM, 2);
}

Test(refused, anything_behind_the_end)
{
    made_whole(&made);
    made.bytes[made.length++] = 0;
    refused_as(BACKUP_TRAILING, 5);
}

Test(refused, an_unknown_kind_of_frame_unless_it_may_be_skipped)
{
    made_begin(&made);
    made_header_frame(&made, false);
    made_frame(&made, 0x8001, "whatever", 8);
    made_frame(&made, 0xffff, "", 0);
    made_end(&made);
    const struct outcome outcome = read_stream(made.bytes, made.length);
    cr_assert_eq(outcome.result, -ENODATA, "%s", outcome.why);
    cr_assert_eq(outcome.frames, 2);

    made_begin(&made);
    made_header_frame(&made, false);
    made_frame(&made, 5, "whatever", 8);
    made_end(&made);
    refused_as(BACKUP_UNKNOWN, 1);
}

Test(refused, a_first_frame_that_is_no_header_and_a_second_header)
{
    made_begin(&made);
    made_data(&made, (struct backup_extent[]){{0, 4096}}, 1, 2);
    refused_as(BACKUP_NONSENSE, 0);
    made_begin(&made);
    made_frame(&made, 0x8000, "", 0);
    refused_as(BACKUP_NONSENSE, 0);
    made_begin(&made);
    made_header_frame(&made, false);
    made_header_frame(&made, false);
    refused_as(BACKUP_NONSENSE, 1);
}

Test(refused, extents_that_go_back_or_leave_the_volume)
{
    const struct backup_extent wrong[][2] = {
        {{8192, 4096}, {8192, 4096}},
        {{8192, 8192}, {12288, 4096}},
        {{8192, 4096}, {4096, 4096}},
        {{8192, 4096}, {UINT64_C(1) << 30, 4096}},
        {{8192, 4096}, {(UINT64_C(1) << 30) - 4096, 8192}},
        {{8192, 4096}, {UINT64_MAX - 4095, 4096}},
    };
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        made_begin(&made);
        made_header_frame(&made, true);
        made_data(&made, &wrong[i][0], 1, 2);
        made_zero(&made, &wrong[i][1], 1);
        refused_as(BACKUP_NONSENSE, 2);
        made_begin(&made);
        made_header_frame(&made, true);
        made_zero(&made, wrong[i], 2);
        refused_as(BACKUP_NONSENSE, 1);
    }
}

Test(refused, zeros_in_a_full_stream)
{
    made_begin(&made);
    made_header_frame(&made, false);
    made_zero(&made, (struct backup_extent[]){{0, 4096}}, 1);
    refused_as(BACKUP_NONSENSE, 1);
}

Test(refused, an_end_that_has_counted_otherwise)
{
    for (unsigned field = 0; field < 5; field++) {
        uint8_t payload[64];
        made_begin(&made);
        made_header_frame(&made, true);
        made_data(&made, (struct backup_extent[]){{0, 4096}}, 1, 2);
        const struct backup_end end = backup_sums_end(&made.sums, &made.chain);
        const uint32_t length = backup_end_encode(&end, payload);
        payload[8 * field]++;
        made_frame(&made, BACKUP_END, payload, length);
        refused_as(BACKUP_NONSENSE, 2);
    }
}
