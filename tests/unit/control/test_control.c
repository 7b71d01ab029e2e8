/* SPDX-License-Identifier: Apache-2.0 */
/* Words of the control socket: what is encoded is decoded, what is broken is refused. */
#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#include "control/control.h"

static struct control_bytes bytes;

static const uint8_t *body(void)
{
    return bytes.bytes + CONTROL_FRAME_BYTES;
}

static void drop(void)
{
    free(bytes.bytes);
    bytes = (struct control_bytes){0};
}

TestSuite(control, .fini = drop);

static struct control_request request_example(void)
{
    struct control_request request = {.id = 77,
                                      .kind = CONTROL_VOLUME_RESIZE,
                                      .bytes = 1ull << 40,
                                      .sector_bytes = 512,
                                      .flags = 1,
                                      .limit = 9,
                                      .index = 3};
    memcpy(request.name, "wéb", sizeof "wéb");
    return request;
}

Test(control, a_request_comes_back_as_it_was)
{
    struct control_request sent = request_example();
    struct control_request got;
    uint32_t length;
    cr_assert_eq(control_request_encode(&sent, &bytes), 0);
    cr_assert_eq(control_frame_decode(bytes.bytes, CONTROL_REQUEST_BYTES_MAX, &length), 0);
    cr_assert_eq(length + CONTROL_FRAME_BYTES, bytes.length);
    cr_assert_eq(control_request_decode(body(), length, &got), 0);
    cr_assert_eq(got.id, sent.id);
    cr_assert_eq(got.kind, sent.kind);
    cr_assert_eq(got.bytes, sent.bytes);
    cr_assert_eq(got.sector_bytes, sent.sector_bytes);
    cr_assert_eq(got.flags, sent.flags);
    cr_assert_eq(got.limit, sent.limit);
    cr_assert_eq(got.index, sent.index);
    cr_assert_str_eq(got.name, sent.name);
}

Test(control, every_byte_of_a_head_that_is_wrong_is_refused)
{
    struct control_request sent = request_example();
    uint32_t length = 12345;
    cr_assert_eq(control_request_encode(&sent, &bytes), 0);
    for (unsigned at = 0; at < 8; at++) {
        for (unsigned bit = 0; bit < 8; bit++) {
            bytes.bytes[at] ^= (uint8_t)(1u << bit);
            int result = control_frame_decode(bytes.bytes, CONTROL_REQUEST_BYTES_MAX, &length);
            cr_assert_eq(result, at == 4 || at == 5 ? IOMESH_FORMAT : -EPROTO, "byte %u", at);
            bytes.bytes[at] ^= (uint8_t)(1u << bit);
        }
    }
    cr_assert_eq(length, 12345, "a length was written with a refusal");
}

Test(control, another_version_is_refused_with_both_numbers)
{
    struct control_request sent = request_example();
    uint32_t length;
    cr_assert_eq(control_request_encode(&sent, &bytes), 0);
    put16(bytes.bytes + 4, 9);
    cr_assert_eq(control_frame_decode(bytes.bytes, CONTROL_REQUEST_BYTES_MAX, &length),
                 IOMESH_FORMAT);
    cr_assert(strstr(base_last_error(), "version 9, this one 1") != NULL, "%s", base_last_error());
}

Test(control, a_message_over_the_limit_is_refused_and_one_at_it_is_not)
{
    struct control_request sent = request_example();
    uint32_t length;
    cr_assert_eq(control_request_encode(&sent, &bytes), 0);
    put32(bytes.bytes + 8, CONTROL_REQUEST_BYTES_MAX);
    cr_assert_eq(control_frame_decode(bytes.bytes, CONTROL_REQUEST_BYTES_MAX, &length), 0);
    put32(bytes.bytes + 8, CONTROL_REQUEST_BYTES_MAX + 1);
    cr_assert_eq(control_frame_decode(bytes.bytes, CONTROL_REQUEST_BYTES_MAX, &length), -EMSGSIZE);
}

Test(control, a_request_that_says_more_than_is_known_is_not_half_done)
{
    struct control_request sent = request_example();
    struct control_request got;
    cr_assert_eq(control_request_encode(&sent, &bytes), 0);
    size_t length = bytes.length - CONTROL_FRAME_BYTES;
    uint8_t *longer = malloc(length + 3);
    memcpy(longer, body(), length);
    longer[length] = (31 << 3 & 127) | 128; /* Field 31, a number. */
    longer[length + 1] = 31 << 3 >> 7;
    longer[length + 2] = 1;
    cr_assert_eq(control_request_decode(longer, length + 3, &got), -ENOTSUP);
    cr_assert_eq(got.id, sent.id, "the answer needs the number of the request");
    free(longer);
}

Test(control, a_name_longer_than_that_of_a_snapshot_is_refused)
{
    struct control_request got;
    uint8_t message[3 + 258] = {3 << 3 | 2, (258 & 127) | 128, 258 >> 7}; /* Field 3, 258 bytes. */
    memset(message + 3, 'x', 258);
    cr_assert_eq(control_request_decode(message, sizeof message, &got), -EINVAL);
    message[1] = (257 & 127) | 128;
    cr_assert_eq(control_request_decode(message, sizeof message - 1, &got), 0);
    cr_assert_eq(strlen(got.name), 257);
}

Test(control, a_status_and_a_device_come_back_as_they_were)
{
    struct control_response sent = {.id = 5, .process = 4711, .has_status = true};
    struct control_response got;
    /* Every number its own, so that no two are exchanged. */
    uint8_t *status = (uint8_t *)&sent.status;
    for (size_t i = 0; i < sizeof sent.status; i++)
        status[i] = (uint8_t)(i + 1);
    sent.status.size = sizeof sent.status;
    sent.has_device = true;
    sent.device = (struct iomesh_device_status){
        .size = sizeof sent.device, .device_class = 2, .bytes = 99, .failed = 1, .is_file = 1};
    sent.device_path = strdup("/dev/disk/\xff");
    cr_assert_eq(control_response_encode(&sent, &bytes), 0);
    cr_assert_eq(control_response_decode(body(), bytes.length - CONTROL_FRAME_BYTES, &got), 0);
    cr_assert_eq(got.process, 4711);
    cr_assert_arr_eq(&got.status, &sent.status, sizeof got.status);
    cr_assert_str_eq(got.device.path, "/dev/disk/\xff");
    got.device.path = sent.device.path;
    cr_assert_arr_eq(&got.device, &sent.device, sizeof got.device);
    control_response_done(&sent);
    control_response_done(&got);
}

Test(control, a_full_page_of_the_longest_names_fits_into_an_answer)
{
    struct control_response sent = {.id = UINT64_MAX, .result = 1};
    struct control_response got;
    struct iomesh_volume_info info = {.size = sizeof info,
                                      .sector_bytes = 4096,
                                      .id = UINT64_MAX,
                                      .bytes = UINT64_MAX,
                                      .created_ns = UINT64_MAX,
                                      .open_count = UINT32_MAX,
                                      .flags = UINT32_MAX,
                                      .snapshot_count = UINT64_MAX};
    memset(info.name, 'n', IOMESH_NAME_BYTES_MAX);
    memset(info.parent, 'p', IOMESH_NAME_BYTES_MAX);
    memset(info.parent_snapshot, 's', IOMESH_NAME_BYTES_MAX);
    for (unsigned i = 0; i < CONTROL_LIST_MAX; i++)
        cr_assert_eq(control_response_add(&sent, &info), 0);
    cr_assert_eq(control_response_add(&sent, &info), -EMSGSIZE);
    cr_assert_eq(control_response_encode(&sent, &bytes), 0);
    cr_assert_leq(bytes.length, CONTROL_RESPONSE_BYTES_MAX);
    cr_assert_eq(control_response_decode(body(), bytes.length - CONTROL_FRAME_BYTES, &got), 0);
    cr_assert_eq(got.result, 1);
    cr_assert_eq(got.volume_count, CONTROL_LIST_MAX);
    cr_assert_arr_eq(&got.volumes[CONTROL_LIST_MAX - 1], &info, sizeof info);
    control_response_done(&sent);
    control_response_done(&got);
}

Test(control, an_answer_cut_short_anywhere_is_refused_or_smaller)
{
    struct control_response sent = {.id = 1, .result = -2, .has_status = true};
    struct control_response got;
    memcpy(sent.sentence, "no", 3);
    sent.status.size = sizeof sent.status;
    sent.status.total_bytes = 1ull << 60;
    cr_assert_eq(control_response_encode(&sent, &bytes), 0);
    size_t length = bytes.length - CONTROL_FRAME_BYTES;
    for (size_t cut = 0; cut < length; cut++) {
        int result = control_response_decode(body(), cut, &got);
        cr_assert(result == -EPROTO || (result == 0 && !got.has_status), "cut at %zu", cut);
        if (result == 0)
            control_response_done(&got);
    }
}
