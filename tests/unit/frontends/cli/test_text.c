/* SPDX-License-Identifier: Apache-2.0 */
/* What people read, and devices as they write them. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "cli/text.h"

Test(text, sizes_are_cut_to_a_tenth)
{
    char to[TEXT_BYTES];
    cr_assert_str_eq(text_size(0, to), "0 B");
    cr_assert_str_eq(text_size(1023, to), "1023 B");
    cr_assert_str_eq(text_size(1024, to), "1 KiB");
    cr_assert_str_eq(text_size(1536, to), "1.5 KiB");
    cr_assert_str_eq(text_size((10ull << 30) - 1, to), "9.9 GiB");
    cr_assert_str_eq(text_size(64ull << 40, to), "64 TiB");
    cr_assert_str_eq(text_size(UINT64_MAX, to), "15.9 EiB");
}

Test(text, times_and_durations)
{
    char to[TEXT_BYTES];
    cr_assert_str_eq(text_time(0, to), "never");
    cr_assert_str_eq(text_time(1000000000ull * 86400, to), "1970-01-02 00:00:00Z");
    cr_assert_str_eq(text_duration(999999, to), "0 ms");
    cr_assert_str_eq(text_duration(61000000000ull, to), "61 s");
    cr_assert_str_eq(text_duration(3600ull * 1000000000, to), "1 h 0 min");
    cr_assert_str_eq(text_duration(90000ull * 1000000000, to), "1 d 1 h");
}

Test(text, times_have_a_unit)
{
    const struct {
        const char *text;
        uint64_t ns; /* UINT64_MAX: refused. */
    } times[] = {{"250ms", 250000000u},
                 {"2s", 2000000000u},
                 {"10m", 600000000000u},
                 {"1h", 3600000000000u},
                 {"2d", 172800000000000u},
                 {"0s", 0},
                 {"213503d", 18446659200000000000u},
                 {"213504d", UINT64_MAX},
                 {"2", UINT64_MAX},
                 {"s", UINT64_MAX},
                 {"-2s", UINT64_MAX},
                 {"2 s", UINT64_MAX},
                 {"2sec", UINT64_MAX},
                 {"1.5h", UINT64_MAX},
                 {"", UINT64_MAX}};
    for (size_t i = 0; i < sizeof times / sizeof *times; i++) {
        uint64_t ns = UINT64_MAX;
        cr_assert_eq(text_time_read(times[i].text, &ns), times[i].ns != UINT64_MAX, "%s",
                     times[i].text);
        cr_assert_eq(ns, times[i].ns, "%s", times[i].text);
    }
}

Test(text, a_uuid_has_its_dashes)
{
    const uint8_t uuid[16] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 255};
    char to[TEXT_BYTES];
    text_uuid(uuid, to);
    cr_assert_str_eq(to, "00010203-0405-0607-0809-0a0b0c0d0eff");
}

Test(text, words_for_numbers_that_are_not_known_yet)
{
    cr_assert_str_eq(text_class(IOMESH_CLASS_HDD), "hdd");
    cr_assert_str_eq(text_class(99), "unknown");
    cr_assert_str_eq(text_state(99), "unknown");
    cr_assert_str_eq(text_fault(0), "unknown");
    cr_assert_str_eq(text_fault(IOMESH_FAULT_SPACE), "space");
}

static struct iomesh_device device;

static const char *parse(const char *text)
{
    static char copy[200];
    snprintf(copy, sizeof copy, "%s", text);
    return text_device(copy, &device);
}

Test(text, a_device_has_a_path_a_size_and_a_class)
{
    cr_assert_null(parse("/nowhere/a"));
    cr_assert_str_eq(device.path, "/nowhere/a");
    cr_assert_eq(device.bytes, 0);
    cr_assert_eq(device.device_class, IOMESH_CLASS_NVME);
    cr_assert_null(parse("/nowhere/a:10G,class=hdd"));
    cr_assert_str_eq(device.path, "/nowhere/a");
    cr_assert_eq(device.bytes, 10ull << 30);
    cr_assert_eq(device.device_class, IOMESH_CLASS_HDD);
    cr_assert_null(parse("/nowhere/a,class=ssd"));
    cr_assert_eq(device.device_class, IOMESH_CLASS_SSD);
}

Test(text, a_device_that_is_wrong_is_refused)
{
    const char *const wrong[] = {"",           ":1G",       "/a:",
                                 "/a:1X",      "/a:0",      "/a,",
                                 "/a,class=x", "/a,size=1", "/a:1G,class=hdd,",
                                 "/a:1.5G"};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
        cr_assert_not_null(parse(wrong[i]), "%s", wrong[i]);
}

Test(text, a_path_that_is_there_keeps_its_colons_and_commas)
{
    char path[] = "/tmp/iomesh-text-a:10G,class=hdd.XXXXXX";
    int fd = mkstemp(path);
    cr_assert_geq(fd, 0);
    close(fd);
    const char *sentence = parse(path);
    unlink(path);
    cr_assert_null(sentence);
    cr_assert_str_eq(device.path, path);
    cr_assert_eq(device.bytes, 0);
}

Test(text, columns_are_as_wide_as_their_characters)
{
    struct table table = {.column_count = 3, .right = 1u << 1};
    const char *const rows[][3] = {{"NAME", "SIZE", "X"}, {"wéb", "1 G", "a"}, {"z", "10 GiB", ""}};
    for (size_t i = 0; i < 3; i++)
        table_add(&table, rows[i]);
    char *text = NULL;
    size_t length = 0;
    FILE *out = open_memstream(&text, &length);
    table_print(&table, out);
    fclose(out);
    cr_assert_str_eq(text, "NAME    SIZE  X\n"
                           "wéb      1 G  a\n"
                           "z     10 GiB  \n");
    free(text);
    table_done(&table);
}
