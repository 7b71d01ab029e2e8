/* SPDX-License-Identifier: Apache-2.0 */
/* Who asks: answers. What does not fit its request ends the connection. */
#include <string.h>

#include "codec/codec.h"
#include "peer/port.h"

/* Whose answer this is; NULL: nobody's, which a late one may be. */
static struct slot *answer_slot(struct peer_port *port, const struct wire_header *header)
{
    struct slot *slot = &port->slots[header->number & port->slot_mask];
    if (MUTANT(300)) {
        for (uint32_t i = 0; i <= port->slot_mask; i++) {
            slot = &port->slots[i];
            if (slot->busy && !slot->answered && (slot->kind | WIRE_ANSWER) == header->type)
                return slot;
        }
        return NULL;
    }
    if (header->session != port->part.session && !MUTANT(301))
        return NULL;
    if (!slot->busy || slot->answered)
        return NULL;
    if (slot->number != header->number && !MUTANT(301))
        return NULL;
    return slot;
}

/* Whether it is as large as what was asked for. */
static bool answer_fits(const struct slot *slot, const struct wire_header *header)
{
    if ((slot->kind | WIRE_ANSWER) != header->type || slot->generation != header->generation)
        return false;
    bool versions = header->flags & WIRE_WITH_VERSIONS;
    bool bitmap = header->flags & WIRE_WITH_BITMAP;
    bool bad = header->result == IOMESH_CORRUPT;
    if (header->result != 0 && !(slot->kind == PART_READ && bad))
        return !versions && !bitmap;
    switch (slot->kind) {
    case PART_READ: return header->count == slot->count && bitmap == bad;
    case PART_MAP: return header->count == slot->count && !bitmap;
    case PART_CHANGED: return header->count == PART_BLOCKS_MAX && bitmap;
    case PART_VIEW_SPACE: return header->data_bytes == slot->bytes && !bitmap;
    case PART_RECORDS: return header->count == slot->count && !bitmap && !versions;
    default: return !bitmap && !versions;
    }
}

static void answer_state(struct part_request *request, const struct wire_state *state)
{
    request->state = (struct part_state){
        .epoch = state->epoch,
        .watermark = state->watermark,
        .heard = state->heard,
        .flushed = state->flushed,
        .settled = state->settled,
        .generation = state->generation,
        .role_generation = state->role_generation,
        .aside = state->aside,
        .role = state->role,
        .restarted = state->restarted,
    };
}

/* What stands beside the data, in the order of the wire. */
static int answer_aside(struct slot *slot, const struct wire_header *header, const uint8_t *at)
{
    struct part_request *request = slot->request;
    const uint8_t *end = at + header->aside_bytes;
    int result = 0;
    if (header->flags & WIRE_WITH_VERSIONS) {
        if (request->versions == NULL)
            return -EPROTO;
        result =
            wire_versions_get(at, header->count, (struct wire_version *)(void *)request->versions);
        at += (size_t)header->count * WIRE_VERSION_BYTES;
    }
    if (result == 0 && header->data_bytes > 0) {
        uint32_t count = slot->kind == PART_READ ? header->count : 1u;
        wire_crcs_get(at, count, slot->crcs);
        if (slot->kind == PART_READ && request->crcs != NULL)
            memcpy(request->crcs, slot->crcs, count * sizeof *request->crcs);
        at += (size_t)count * 4;
    }
    if (result == 0 && header->flags & WIRE_WITH_STATE) {
        struct wire_state state;
        result = wire_state_get(at, &state);
        if (result == 0)
            answer_state(request, &state);
        at += WIRE_STATE_BYTES;
    }
    if (result == 0 && header->flags & WIRE_WITH_BITMAP) {
        memcpy(slot->kind == PART_READ ? request->bad : request->changed, at, WIRE_BITMAP_BYTES);
        at += WIRE_BITMAP_BYTES;
    }
    assert(result != 0 || at <= end);
    return result;
}

int answer_frame(struct peer_port *port, const struct wire_header *header, const uint8_t *aside)
{
    if (!(header->type & WIRE_ANSWER))
        return -EPROTO;
    struct slot *slot = answer_slot(port, header);
    port->receiving = slot;
    if (slot == NULL) {
        port->counts.strays++;
        return 0;
    }
    if (!answer_fits(slot, header))
        return -EPROTO;
    port->part.room_blocks = header->room_blocks;
    slot->result = header->result;
    struct part_request *request = slot->request;
    if (request != NULL) {
        int result = answer_aside(slot, header, aside);
        if (result != 0)
            return result;
        request->found = header->found;
        request->room_blocks = header->room_blocks;
        if (slot->kind == PART_RECORDS)
            request->bytes = header->data_bytes;
        if (header->data_bytes > 0)
            port->link.target = request->data;
    }
    if (header->data_bytes == 0) {
        port->receiving = NULL;
        flight_answered(port, slot, header->result);
    }
    return 0;
}

static bool answer_block_is_bad(const struct part_request *request, uint32_t block)
{
    return request->bad[block / 8] >> block % 8 & 1;
}

/* Damage on the way: the store has its own sums. */
static int answer_check(const struct slot *slot)
{
    const struct part_request *request = slot->request;
    const uint8_t *data = request->data;
    if (slot->kind == PART_VIEW_SPACE)
        return crc32c(data, slot->bytes) == slot->crcs[0] ? 0 : IOMESH_CORRUPT;
    if (slot->kind == PART_RECORDS)
        return crc32c(data, request->bytes) == slot->crcs[0] ? 0 : IOMESH_CORRUPT;
    for (uint32_t i = 0; i < slot->count; i++) {
        if (slot->result != 0 && answer_block_is_bad(request, i))
            continue;
        if (crc32c(data + (size_t)i * BLOCK_BYTES, BLOCK_BYTES) != slot->crcs[i] && !MUTANT(303))
            return IOMESH_CORRUPT;
    }
    return 0;
}

static void answer_space(struct part_request *request)
{
    uint8_t *from = request->data;
    for (uint32_t i = 0; i < request->cut_count; i++, from += WIRE_SPACE_BYTES) {
        struct part_view_space space = {.cut = get64(from),
                                        .unique_blocks = get64(from + 8),
                                        .shared_blocks = get64(from + 16)};
        memcpy(from, &space, sizeof space);
    }
}

int answer_data(struct peer_port *port)
{
    struct slot *slot = port->receiving;
    port->receiving = NULL;
    if (slot == NULL || slot->request == NULL) {
        if (slot != NULL)
            flight_answered(port, slot, slot->result);
        return 0;
    }
    port->counts.bytes_in += slot->bytes;
    int result = answer_check(slot);
    if (result != 0)
        return result;
    if (slot->kind == PART_VIEW_SPACE)
        answer_space(slot->request);
    flight_answered(port, slot, slot->result);
    return 0;
}
