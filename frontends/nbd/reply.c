/* SPDX-License-Identifier: Apache-2.0 */
/* What goes back to the client in the transmission phase. */
#include <assert.h>
#include <errno.h>
#include <string.h>

#include "nbd/proto.h"

uint32_t nbd_error_from(int error)
{
    switch (error < 0 ? -error : error) {
    case 0: return 0;
    case EPERM:
    case EACCES:
    case EROFS: return NBD_EPERM;
    case ENOMEM: return NBD_ENOMEM;
    case EINVAL: return NBD_EINVAL;
    case ENOSPC:
    case EDQUOT:
    case EFBIG: return NBD_ENOSPC;
    case EOVERFLOW: return NBD_EOVERFLOW;
    case ENOTSUP: return NBD_ENOTSUP;
    case ESHUTDOWN: return NBD_ESHUTDOWN;
    default: return NBD_EIO;
    }
}

static uint8_t *put_simple(uint8_t *to, uint64_t cookie, uint32_t error)
{
    to = nbd_put32(to, NBD_SIMPLE_REPLY_MAGIC);
    to = nbd_put32(to, error);
    return nbd_put64(to, cookie);
}

static uint8_t *put_chunk(enum nbd_mode mode, uint8_t *to, const struct nbd_request *request,
                          uint16_t type, uint32_t length, bool last)
{
    assert(mode != NBD_SIMPLE);
    const bool extended = mode == NBD_EXTENDED;
    to = nbd_put32(to, extended ? NBD_EXTENDED_REPLY_MAGIC : NBD_STRUCTURED_REPLY_MAGIC);
    to = nbd_put16(to, last ? NBD_REPLY_FLAG_DONE : 0);
    to = nbd_put16(to, type);
    to = nbd_put64(to, request->cookie);
    if (!extended)
        return nbd_put32(to, length);
    to = nbd_put64(to, request->offset);
    return nbd_put64(to, length);
}

size_t nbd_put_done(enum nbd_mode mode, uint8_t *to, const struct nbd_request *request)
{
    uint8_t *end;
    /* A simple reply stays legal with structured ones, except to a READ, and is shorter. */
    if (mode == NBD_SIMPLE || (mode == NBD_STRUCTURED && request->type != NBD_CMD_READ))
        end = put_simple(to, request->cookie, 0);
    else
        end = put_chunk(mode, to, request, NBD_REPLY_TYPE_NONE, 0, true);
    return (size_t)(end - to);
}

size_t nbd_put_error(enum nbd_mode mode, uint8_t *to, const struct nbd_request *request,
                     uint32_t error, const char *sentence)
{
    enum { SENTENCE_BYTES_MAX = 128 };
    assert(error != 0);
    if (mode == NBD_SIMPLE)
        return (size_t)(put_simple(to, request->cookie, error) - to);
    const size_t length = sentence == NULL ? 0 : strnlen(sentence, SENTENCE_BYTES_MAX);
    uint8_t *end = put_chunk(mode, to, request, NBD_REPLY_TYPE_ERROR, 6 + (uint32_t)length, true);
    end = nbd_put32(end, error);
    end = nbd_put16(end, (uint16_t)length);
    if (length > 0)
        memcpy(end, sentence, length);
    return (size_t)(end - to) + length;
}

size_t nbd_put_data(enum nbd_mode mode, uint8_t *to, const struct nbd_request *request,
                    uint64_t offset, uint32_t length, bool last)
{
    if (mode == NBD_SIMPLE) {
        assert(offset == request->offset && length == request->length);
        return (size_t)(put_simple(to, request->cookie, 0) - to);
    }
    assert(length > 0);
    uint8_t *end = put_chunk(mode, to, request, NBD_REPLY_TYPE_OFFSET_DATA, 8 + length, last);
    return (size_t)(nbd_put64(end, offset) - to);
}

size_t nbd_put_hole(enum nbd_mode mode, uint8_t *to, const struct nbd_request *request,
                    uint64_t offset, uint32_t length, bool last)
{
    assert(length > 0);
    uint8_t *end = put_chunk(mode, to, request, NBD_REPLY_TYPE_OFFSET_HOLE, 12, last);
    end = nbd_put64(end, offset);
    return (size_t)(nbd_put32(end, length) - to);
}

size_t nbd_put_status(enum nbd_mode mode, uint8_t *to, const struct nbd_request *request,
                      uint32_t context, uint32_t count, bool last)
{
    assert(count > 0);
    const bool extended = mode == NBD_EXTENDED;
    const uint32_t head = extended ? 8 : 4;
    uint8_t *end = put_chunk(
        mode, to, request, extended ? NBD_REPLY_TYPE_BLOCK_STATUS_EXT : NBD_REPLY_TYPE_BLOCK_STATUS,
        head + count * (uint32_t)nbd_extent_bytes(mode), last);
    end = nbd_put32(end, context);
    if (extended)
        end = nbd_put32(end, count);
    return (size_t)(end - to);
}

size_t nbd_extent_bytes(enum nbd_mode mode)
{
    return mode == NBD_EXTENDED ? 16 : 8;
}

size_t nbd_put_extent(enum nbd_mode mode, uint8_t *to, uint64_t length, uint32_t flags)
{
    assert(length > 0);
    if (mode == NBD_EXTENDED) {
        nbd_put64(nbd_put64(to, length), flags);
    } else {
        assert(length <= UINT32_MAX);
        nbd_put32(nbd_put32(to, (uint32_t)length), flags);
    }
    return nbd_extent_bytes(mode);
}
