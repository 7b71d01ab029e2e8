/* SPDX-License-Identifier: Apache-2.0 */
/* The transmission phase: what is done, what is refused, and with which error. */
#include "peer.h"

static struct peer peer;

static uint32_t verdict(uint16_t type, uint16_t flags, uint64_t offset, uint64_t length)
{
    cr_assert_eq(peer_request(&peer, type, flags, offset, length), NBD_EVENT_REQUEST);
    cr_assert_eq(peer.event.request.cookie, 0x1122334455667788);
    cr_assert((peer.event.request.error == 0) == (peer.event.request.reason == NULL));
    return peer.event.request.error;
}

Test(request, every_command_with_its_flags_is_accepted)
{
    peer_go(&peer, NBD_STRUCTURED, true, &peer_export);
    cr_assert_eq(verdict(NBD_CMD_READ, NBD_CMD_FLAG_DF | NBD_CMD_FLAG_FUA, 512, 512), 0);
    cr_assert_eq(verdict(NBD_CMD_FLUSH, 0, 0, 0), 0);
    cr_assert_eq(verdict(NBD_CMD_TRIM, NBD_CMD_FLAG_FUA, 0, 1 << 30), 0);
    cr_assert_eq(verdict(NBD_CMD_CACHE, 0, 4096, 4096), 0);
    cr_assert_eq(verdict(NBD_CMD_WRITE_ZEROES,
                         NBD_CMD_FLAG_FUA | NBD_CMD_FLAG_NO_HOLE | NBD_CMD_FLAG_FAST_ZERO, 0, 4096),
                 0);
    cr_assert_eq(verdict(NBD_CMD_BLOCK_STATUS, NBD_CMD_FLAG_REQ_ONE, 0, 1 << 30), 0);
    cr_assert_eq(verdict(NBD_CMD_WRITE, NBD_CMD_FLAG_FUA, 4096, 512), 0);
    cr_assert_eq(peer.event.request.payload_bytes, 512);
    cr_assert_eq(peer.event.request.offset, 4096);
}

Test(request, a_wrong_magic_ends_the_connection)
{
    peer_go(&peer, NBD_SIMPLE, false, &peer_export);
    static const uint8_t zeros[28];
    peer_put(&peer, zeros, sizeof zeros);
    cr_assert_eq(peer_step(&peer), NBD_EVENT_BROKEN);
}

Test(request, unknown_commands_and_flags_are_invalid_and_the_next_request_is_heard)
{
    peer_go(&peer, NBD_SIMPLE, false, &peer_export);
    cr_assert_eq(verdict(8, 0, 0, 0), NBD_EINVAL);
    cr_assert_eq(verdict(0xffff, 0, 0, 0), NBD_EINVAL);
    cr_assert_eq(verdict(NBD_CMD_READ, NBD_CMD_FLAG_DF, 0, 512), NBD_EINVAL);
    cr_assert_eq(verdict(NBD_CMD_READ, NBD_CMD_FLAG_NO_HOLE, 0, 512), NBD_EINVAL);
    cr_assert_eq(verdict(NBD_CMD_TRIM, NBD_CMD_FLAG_FAST_ZERO, 0, 512), NBD_EINVAL);
    cr_assert_eq(verdict(NBD_CMD_READ, 0x8000, 0, 512), NBD_EINVAL);
    cr_assert_eq(verdict(NBD_CMD_FLUSH, 0, 512, 0), NBD_EINVAL);
    cr_assert_eq(verdict(NBD_CMD_READ, 0, 0, 512), 0);
}

Test(request, past_the_end_is_no_space_to_writers_and_invalid_to_others)
{
    const uint64_t size = peer_export.size_bytes;
    peer_go(&peer, NBD_SIMPLE, false, &peer_export);
    cr_assert_eq(verdict(NBD_CMD_READ, 0, size, 512), NBD_EINVAL);
    cr_assert_eq(verdict(NBD_CMD_READ, 0, size - 512, 1024), NBD_EINVAL);
    cr_assert_eq(verdict(NBD_CMD_READ, 0, UINT64_MAX - 511, 1024), NBD_EINVAL);
    cr_assert_eq(verdict(NBD_CMD_TRIM, 0, size - 512, 1024), NBD_EINVAL);
    cr_assert_eq(verdict(NBD_CMD_WRITE_ZEROES, 0, size - 512, 1024), NBD_ENOSPC);
    cr_assert_eq(verdict(NBD_CMD_READ, 0, size - 512, 512), 0);
    cr_assert_eq(verdict(NBD_CMD_WRITE, 0, size - 512, 1024), NBD_ENOSPC);
}

Test(request, the_payload_of_a_refused_write_is_skipped)
{
    static const uint8_t payload[1024];
    peer_go(&peer, NBD_SIMPLE, false, &peer_export);
    cr_assert_eq(verdict(NBD_CMD_WRITE, 0, peer_export.size_bytes, sizeof payload), NBD_ENOSPC);
    cr_assert_eq(peer.event.request.payload_bytes, 0);
    peer_put(&peer, payload, 1000);
    cr_assert_eq(peer_step(&peer), NBD_EVENT_MORE);
    cr_assert_eq(peer.length, 0);
    peer_put(&peer, payload, 24);
    cr_assert_eq(verdict(NBD_CMD_READ, 0, 0, 512), 0);
}

Test(request, misaligned_requests_are_invalid)
{
    struct nbd_export export = peer_export;
    export.block_bytes_min = 4096;
    peer_go(&peer, NBD_SIMPLE, false, &export);
    cr_assert_eq(verdict(NBD_CMD_READ, 0, 512, 4096), NBD_EINVAL);
    cr_assert_eq(verdict(NBD_CMD_TRIM, 0, 0, 512), NBD_EINVAL);
    cr_assert_eq(verdict(NBD_CMD_READ, 0, 4096, 4096), 0);
}

Test(request, a_read_only_export_refuses_every_change)
{
    struct nbd_export export = peer_export;
    export.read_only = true;
    peer_go(&peer, NBD_SIMPLE, false, &export);
    cr_assert_eq(nbd_get16(peer.session.out + 30), NBD_FLAG_HAS_FLAGS | NBD_FLAG_READ_ONLY |
                                                       NBD_FLAG_SEND_FLUSH | NBD_FLAG_SEND_CACHE |
                                                       NBD_FLAG_CAN_MULTI_CONN);
    cr_assert_eq(verdict(NBD_CMD_TRIM, 0, 0, 512), NBD_EPERM);
    cr_assert_eq(verdict(NBD_CMD_WRITE_ZEROES, 0, 0, 512), NBD_EPERM);
    cr_assert_eq(verdict(NBD_CMD_READ, 0, 0, 512), 0);
    cr_assert_eq(verdict(NBD_CMD_FLUSH, 0, 0, 0), 0);
    cr_assert_eq(verdict(NBD_CMD_WRITE, 0, 0, 512), NBD_EPERM);
}

Test(request, payloads_over_the_limit_are_refused_and_over_32_mib_cut_off)
{
    struct nbd_export export = peer_export;
    export.payload_bytes_max = 1 << 20;
    peer_go(&peer, NBD_SIMPLE, false, &export);
    cr_assert_eq(verdict(NBD_CMD_READ, 0, 0, (1 << 20) + 512), NBD_EOVERFLOW);
    cr_assert_eq(verdict(NBD_CMD_TRIM, 0, 0, 1 << 29), 0);
    cr_assert_eq(verdict(NBD_CMD_WRITE, 0, 0, 2 << 20), NBD_EINVAL);
    cr_assert_eq(peer.session.skip_bytes, 2 << 20);
    peer_go(&peer, NBD_SIMPLE, false, &export);
    cr_assert_eq(peer_request(&peer, NBD_CMD_WRITE, 0, 0, NBD_PAYLOAD_BYTES_MAX + 1),
                 NBD_EVENT_BROKEN);
}

Test(request, block_status_needs_a_context_and_a_length)
{
    peer_go(&peer, NBD_STRUCTURED, false, &peer_export);
    cr_assert_eq(verdict(NBD_CMD_BLOCK_STATUS, 0, 0, 4096), NBD_EINVAL);
    peer_go(&peer, NBD_STRUCTURED, true, &peer_export);
    cr_assert_eq(verdict(NBD_CMD_BLOCK_STATUS, 0, 0, 0), NBD_EINVAL);
    cr_assert_eq(verdict(NBD_CMD_BLOCK_STATUS, NBD_CMD_FLAG_PAYLOAD_LEN, 0, 4096), NBD_EINVAL);
}

Test(request, disc_ends_without_a_reply)
{
    peer_go(&peer, NBD_SIMPLE, false, &peer_export);
    cr_assert_eq(peer_request(&peer, NBD_CMD_DISC, 0, 0, 0), NBD_EVENT_END);
}

Test(request, a_server_that_shuts_down_says_so)
{
    peer_go(&peer, NBD_SIMPLE, false, &peer_export);
    peer.session.closing = true;
    cr_assert_eq(verdict(NBD_CMD_READ, 0, 0, 512), NBD_ESHUTDOWN);
    cr_assert_eq(peer_request(&peer, NBD_CMD_DISC, 0, 0, 0), NBD_EVENT_END);
}

Test(request, extended_headers_carry_64_bit_lengths)
{
    struct nbd_export export = peer_export;
    export.size_bytes = UINT64_C(1) << 40;
    peer_go(&peer, NBD_EXTENDED, true, &export);
    cr_assert_eq(verdict(NBD_CMD_TRIM, 0, 0, UINT64_C(1) << 40), 0);
    cr_assert_eq(peer.event.request.length, UINT64_C(1) << 40);
    cr_assert_eq(verdict(NBD_CMD_WRITE_ZEROES, 0, 4096, UINT64_C(1) << 40), NBD_ENOSPC);
    cr_assert_eq(verdict(NBD_CMD_BLOCK_STATUS, 0, 0, UINT64_C(1) << 40), 0);
    cr_assert_eq(verdict(NBD_CMD_WRITE, NBD_CMD_FLAG_PAYLOAD_LEN, 0, 512), 0);
    cr_assert_eq(peer.event.request.payload_bytes, 512);
}

Test(request, an_extended_write_must_say_that_it_has_a_payload)
{
    peer_go(&peer, NBD_EXTENDED, false, &peer_export);
    cr_assert_eq(verdict(NBD_CMD_WRITE, 0, 0, 512), NBD_EINVAL);
    cr_assert_eq(peer.session.skip_bytes, 0);
}

Test(request, a_payload_where_none_belongs_is_skipped_and_refused)
{
    static const uint8_t payload[100];
    peer_go(&peer, NBD_EXTENDED, true, &peer_export);
    cr_assert_eq(verdict(NBD_CMD_READ, NBD_CMD_FLAG_PAYLOAD_LEN, 0, 100), NBD_EINVAL);
    peer_put(&peer, payload, sizeof payload);
    cr_assert_eq(verdict(NBD_CMD_READ, 0, 0, 512), 0);
    cr_assert_eq(verdict(NBD_CMD_WRITE, NBD_CMD_FLAG_PAYLOAD_LEN, 0, 0), NBD_EINVAL);
    cr_assert_eq(peer_request(&peer, NBD_CMD_READ, NBD_CMD_FLAG_PAYLOAD_LEN, 0,
                              NBD_PAYLOAD_BYTES_MAX + UINT64_C(1)),
                 NBD_EVENT_BROKEN);
}
