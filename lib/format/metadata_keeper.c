/* SPDX-License-Identifier: Apache-2.0 */
/* Records of the keeper: who it is, what it wants, how far that is. */
#include "format/metadata.pb-c.h"
#include "format/metadata_frame.h"

int metadata_keeper_encode(const struct metadata_keeper *keeper, struct metadata_bytes *ret_value)
{
    Metadata__Keeper message = METADATA__KEEPER__INIT;
    message.session = keeper->session;
    message.node = metadata_text_lend(keeper->node);
    message.address = metadata_text_lend(keeper->address);
    message.since_ns = keeper->since_ns;
    return metadata_frame_pack(METADATA_KEEPER, &message.base, &keeper->unknown, ret_value);
}

static int keeper_take(const Metadata__Keeper *message, struct metadata_keeper *keeper)
{
    keeper->session = message->session;
    keeper->since_ns = message->since_ns;
    if (!metadata_text_take(message->node, keeper->node, sizeof keeper->node) ||
        !metadata_text_take(message->address, keeper->address, sizeof keeper->address))
        return IOMESH_CORRUPT;
    return metadata_frame_unknown(&message->base, &keeper->unknown);
}

int metadata_keeper_decode(const void *value, size_t length, struct metadata_keeper *ret_keeper)
{
    ProtobufCMessage *base;
    struct metadata_keeper keeper = {0};
    int result =
        metadata_frame_unpack(METADATA_KEEPER, &metadata__keeper__descriptor, value, length, &base);
    if (result != 0)
        return result;
    result = keeper_take((const Metadata__Keeper *)base, &keeper);
    protobuf_c_message_free_unpacked(base, NULL);
    if (result == 0)
        *ret_keeper = keeper;
    return result;
}

void metadata_keeper_done(struct metadata_keeper *keeper)
{
    metadata_bytes_done(&keeper->unknown);
}

int metadata_wish_encode(const struct metadata_wish *wish, struct metadata_bytes *ret_value)
{
    Metadata__Wish message = METADATA__WISH__INIT;
    message.volume = wish->volume;
    message.group = wish->group;
    message.kind = wish->kind;
    message.target = wish->target;
    message.source = wish->source;
    message.bytes_second = wish->bytes_second;
    message.since_ns = wish->since_ns;
    message.session = wish->session;
    return metadata_frame_pack(METADATA_WISH, &message.base, &wish->unknown, ret_value);
}

static int wish_take(const Metadata__Wish *message, struct metadata_wish *wish)
{
    if (message->kind > METADATA_WISH_DROP)
        return FAIL(IOMESH_FORMAT, METADATA_UNKNOWN, "a wish", METADATA_VERSION);
    if (message->group > UINT16_MAX)
        return IOMESH_CORRUPT;
    wish->volume = message->volume;
    wish->group = message->group;
    wish->kind = (enum metadata_wish_kind)message->kind;
    wish->target = message->target;
    wish->source = message->source;
    wish->bytes_second = message->bytes_second;
    wish->since_ns = message->since_ns;
    wish->session = message->session;
    return metadata_frame_unknown(&message->base, &wish->unknown);
}

int metadata_wish_decode(const void *value, size_t length, struct metadata_wish *ret_wish)
{
    ProtobufCMessage *base;
    struct metadata_wish wish = {0};
    int result =
        metadata_frame_unpack(METADATA_WISH, &metadata__wish__descriptor, value, length, &base);
    if (result != 0)
        return result;
    result = wish_take((const Metadata__Wish *)base, &wish);
    protobuf_c_message_free_unpacked(base, NULL);
    if (result == 0)
        *ret_wish = wish;
    return result;
}

void metadata_wish_done(struct metadata_wish *wish)
{
    metadata_bytes_done(&wish->unknown);
}

int metadata_progress_encode(const struct metadata_progress *progress,
                             struct metadata_bytes *ret_value)
{
    Metadata__Progress message = METADATA__PROGRESS__INIT;
    message.volume = progress->volume;
    message.group = progress->group;
    message.copied_bytes = progress->copied_bytes;
    message.segments_done = progress->segments_done;
    message.segments_total = progress->segments_total;
    message.bytes_second = progress->bytes_second;
    message.told_ns = progress->told_ns;
    return metadata_frame_pack(METADATA_PROGRESS, &message.base, &progress->unknown, ret_value);
}

static int progress_take(const Metadata__Progress *message, struct metadata_progress *progress)
{
    if (message->group > UINT16_MAX)
        return IOMESH_CORRUPT;
    progress->volume = message->volume;
    progress->group = message->group;
    progress->copied_bytes = message->copied_bytes;
    progress->segments_done = message->segments_done;
    progress->segments_total = message->segments_total;
    progress->bytes_second = message->bytes_second;
    progress->told_ns = message->told_ns;
    return metadata_frame_unknown(&message->base, &progress->unknown);
}

int metadata_progress_decode(const void *value, size_t length,
                             struct metadata_progress *ret_progress)
{
    ProtobufCMessage *base;
    struct metadata_progress progress = {0};
    int result = metadata_frame_unpack(METADATA_PROGRESS, &metadata__progress__descriptor, value,
                                       length, &base);
    if (result != 0)
        return result;
    result = progress_take((const Metadata__Progress *)base, &progress);
    protobuf_c_message_free_unpacked(base, NULL);
    if (result == 0)
        *ret_progress = progress;
    return result;
}

void metadata_progress_done(struct metadata_progress *progress)
{
    metadata_bytes_done(&progress->unknown);
}
