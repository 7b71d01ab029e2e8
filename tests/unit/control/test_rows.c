/* SPDX-License-Identifier: Apache-2.0 */
/* Snapshots, groups, extents and data in requests and answers. */
#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#include "control/control.h"

static struct control_bytes bytes;

static void drop(void)
{
    free(bytes.bytes);
    bytes = (struct control_bytes){0};
}

TestSuite(control_rows, .fini = drop);

static int decode(struct control_response *ret_response)
{
    return control_response_decode(bytes.bytes + CONTROL_FRAME_BYTES,
                                   bytes.length - CONTROL_FRAME_BYTES, ret_response);
}

static int decode_request(struct control_request *ret_request)
{
    return control_request_decode(bytes.bytes + CONTROL_FRAME_BYTES,
                                  bytes.length - CONTROL_FRAME_BYTES, ret_request);
}

Test(control_rows, a_request_with_everything_comes_back_as_it_was)
{
    const char *names[] = {"one", "two", "thrée"};
    struct control_request got;
    struct control_request sent = {
        .id = 1,
        .kind = CONTROL_WRITE,
        .handle = 7,
        .offset = 1ull << 45,
        .length = 1ull << 46,
        .since = 1ull << 47,
        .payload = CONTROL_PAYLOAD_BYTES_MAX,
        .has_uuid = true,
        .uuid = "0123456789abcde",
        .has_base = true,
        .base = "fedcba987654321",
        .name = "v@s",
        .target = "clone",
        .names = names,
        .name_count = 3,
    };
    cr_assert_eq(control_request_encode(&sent, &bytes), 0);
    cr_assert_eq(decode_request(&got), 0);
    cr_assert_eq(got.name_count, 3);
    for (unsigned i = 0; i < 3; i++)
        cr_assert_str_eq(got.names[i], names[i]);
    cr_assert_eq(got.handle, sent.handle);
    cr_assert_eq(got.offset, sent.offset);
    cr_assert_eq(got.length, sent.length);
    cr_assert_eq(got.since, sent.since);
    cr_assert_eq(got.payload, sent.payload);
    cr_assert(got.has_uuid && got.has_base);
    cr_assert_arr_eq(got.uuid, sent.uuid, 16);
    cr_assert_arr_eq(got.base, sent.base, 16);
    cr_assert_str_eq(got.name, "v@s");
    cr_assert_str_eq(got.target, "clone");
    control_request_done(&got);
    cr_assert_null(got.names);
}

Test(control_rows, data_is_of_writes_and_within_its_limit)
{
    struct control_request got;
    struct control_request sent = {.kind = CONTROL_READ, .payload = 512};
    cr_assert_eq(control_request_encode(&sent, &bytes), 0);
    cr_assert_eq(decode_request(&got), -EPROTO);
    drop();
    sent =
        (struct control_request){.kind = CONTROL_WRITE, .payload = CONTROL_PAYLOAD_BYTES_MAX + 1};
    cr_assert_eq(control_request_encode(&sent, &bytes), 0);
    cr_assert_eq(decode_request(&got), -EPROTO);
    drop();
    struct control_response answer = {.payload = CONTROL_PAYLOAD_BYTES_MAX + 1};
    struct control_response read;
    cr_assert_eq(control_response_encode(&answer, &bytes), 0);
    cr_assert_eq(decode(&read), -EPROTO);
}

Test(control_rows, a_group_of_the_most_and_longest_names_fits_and_one_more_is_refused)
{
    static char text[IOMESH_GROUP_VOLUMES_MAX + 1][IOMESH_NAME_BYTES_MAX + 1];
    const char *names[IOMESH_GROUP_VOLUMES_MAX + 1];
    struct control_request got;
    struct control_request sent = {.kind = CONTROL_GROUP_CREATE, .names = names};
    for (unsigned i = 0; i < COUNT_OF(names); i++)
        names[i] = memset(text[i], 'n', IOMESH_NAME_BYTES_MAX);
    memset(sent.name, 'g', CONTROL_NAME_BYTES_MAX);
    memset(sent.target, 't', IOMESH_NAME_BYTES_MAX);
    sent.name_count = IOMESH_GROUP_VOLUMES_MAX;
    cr_assert_eq(control_request_encode(&sent, &bytes), 0);
    cr_assert_leq(bytes.length, CONTROL_FRAME_BYTES + CONTROL_REQUEST_BYTES_MAX);
    cr_assert_eq(decode_request(&got), 0);
    cr_assert_eq(got.name_count, IOMESH_GROUP_VOLUMES_MAX);
    control_request_done(&got);
    drop();
    sent.name_count++;
    cr_assert_eq(control_request_encode(&sent, &bytes), 0);
    cr_assert_eq(decode_request(&got), -EINVAL);
}

static struct iomesh_snapshot_info snapshot_example(void)
{
    struct iomesh_snapshot_info info;
    memset(&info, 0xff, sizeof info);
    memset(info.name, 'n', sizeof info.name);
    memset(info.volume, 'v', sizeof info.volume);
    memset(info.group, 'g', sizeof info.group);
    info.name[IOMESH_NAME_BYTES_MAX] = info.volume[IOMESH_NAME_BYTES_MAX] =
        info.group[IOMESH_NAME_BYTES_MAX] = '\0';
    info.size = sizeof info;
    return info;
}

Test(control_rows, a_full_page_of_snapshots_fits_and_comes_back_as_it_was)
{
    struct control_response sent = {.id = UINT64_MAX, .more = true};
    struct control_response got;
    struct iomesh_snapshot_info info = snapshot_example();
    for (unsigned i = 0; i < CONTROL_SNAPSHOTS_MAX; i++)
        cr_assert_eq(control_response_add_snapshot(&sent, &info), 0);
    cr_assert_eq(control_response_encode(&sent, &bytes), 0);
    cr_assert_leq(bytes.length, CONTROL_RESPONSE_BYTES_MAX);
    cr_assert_eq(decode(&got), 0);
    cr_assert(got.more);
    cr_assert_eq(got.snapshot_count, CONTROL_SNAPSHOTS_MAX);
    const struct iomesh_snapshot_info *last = &got.snapshots[CONTROL_SNAPSHOTS_MAX - 1];
    cr_assert_eq(last->flags, info.flags);
    cr_assert_eq(last->volume_id, info.volume_id);
    cr_assert_eq(last->cut, info.cut);
    cr_assert_eq(last->unique_bytes, info.unique_bytes);
    cr_assert_eq(last->shared_bytes, info.shared_bytes);
    cr_assert_eq(last->clone_count, info.clone_count);
    cr_assert_arr_eq(last->uuid, info.uuid, sizeof info.uuid);
    cr_assert_str_eq(last->name, info.name);
    cr_assert_str_eq(last->volume, info.volume);
    cr_assert_str_eq(last->group, info.group);
    control_response_done(&got);
    /* One more than a page has is for the next. */
    drop();
    cr_assert_eq(control_response_add_snapshot(&sent, &info), 0);
    cr_assert_eq(control_response_encode(&sent, &bytes), 0);
    cr_assert_eq(decode(&got), -EPROTO);
    control_response_done(&sent);
}

Test(control_rows, a_full_page_of_groups_fits_and_comes_back_as_it_was)
{
    static char name[IOMESH_NAME_BYTES_MAX + 1];
    const char *names[IOMESH_GROUP_VOLUMES_MAX];
    struct control_response sent = {.id = 1};
    struct control_response got;
    struct iomesh_group_info info = {.size = sizeof info,
                                     .volume_count = IOMESH_GROUP_VOLUMES_MAX,
                                     .created_ns = 99,
                                     .volumes = names};
    memset(name, 'x', IOMESH_NAME_BYTES_MAX);
    memset(info.name, 'g', IOMESH_NAME_BYTES_MAX);
    for (unsigned i = 0; i < COUNT_OF(names); i++)
        names[i] = name;
    for (unsigned i = 0; i < CONTROL_GROUPS_MAX; i++)
        cr_assert_eq(control_response_add_group(&sent, &info), 0);
    cr_assert_eq(control_response_encode(&sent, &bytes), 0);
    cr_assert_leq(bytes.length, CONTROL_RESPONSE_BYTES_MAX);
    cr_assert_eq(decode(&got), 0);
    cr_assert_eq(got.group_count, CONTROL_GROUPS_MAX);
    cr_assert_eq(got.groups[1].created_ns, 99);
    cr_assert_eq(got.groups[1].volume_count, IOMESH_GROUP_VOLUMES_MAX);
    cr_assert_str_eq(got.groups[1].name, info.name);
    cr_assert_str_eq(got.groups[1].volumes[IOMESH_GROUP_VOLUMES_MAX - 1], name);
    control_response_done(&got);
    control_response_done(&sent);
}

Test(control_rows, extents_come_back_as_they_were_and_have_a_limit)
{
    struct control_response sent = {.extent_count = CONTROL_EXTENTS_MAX};
    struct control_response got;
    sent.extents = calloc(CONTROL_EXTENTS_MAX + 1, sizeof *sent.extents);
    for (unsigned i = 0; i <= CONTROL_EXTENTS_MAX; i++)
        sent.extents[i] = (struct iomesh_extent){.bytes = 4096ull << i % 40, .flags = i % 8};
    cr_assert_eq(control_response_encode(&sent, &bytes), 0);
    cr_assert_leq(bytes.length, CONTROL_RESPONSE_BYTES_MAX);
    cr_assert_eq(decode(&got), 0);
    cr_assert_eq(got.extent_count, CONTROL_EXTENTS_MAX);
    cr_assert_eq(got.extents[41].bytes, 8192);
    cr_assert_eq(got.extents[41].flags, 1);
    control_response_done(&got);
    drop();
    sent.extent_count++;
    cr_assert_eq(control_response_encode(&sent, &bytes), 0);
    cr_assert_eq(decode(&got), -EPROTO);
    control_response_done(&sent);
}
