/* SPDX-License-Identifier: Apache-2.0 */
#include "format/wire.h"

#include "codec/codec.h"
#include "format/pointer.h"

#define MAGIC 0x31574d49u /* "IMW1" */

/* --- What belongs to which type ------------------------------------------------------------- */

bool wire_is_control(uint8_t type)
{
    switch (type) {
    case WIRE_FENCE:
    case WIRE_ROLE:
    case WIRE_STATE:
    case WIRE_FLUSH:
    case WIRE_VIEWS:
    case WIRE_VIEW_SPACE:
    case WIRE_RETIRE:
    case WIRE_RECORD:
    case WIRE_RECORDS: return true;
    default: return false;
    }
}

bool wire_has_view(uint8_t type)
{
    switch (type) {
    case WIRE_RESYNC:
    case WIRE_REPAIR:
    case WIRE_READ:
    case WIRE_MAP:
    case WIRE_CHANGED: return true;
    default: return false;
    }
}

const char *wire_type_name(uint8_t type)
{
    static const char *const names[] = {
        [WIRE_FENCE] = "FENCE",     [WIRE_ROLE] = "ROLE",
        [WIRE_STATE] = "STATE",     [WIRE_WRITE] = "WRITE",
        [WIRE_ZERO] = "ZERO",       [WIRE_RESYNC] = "RESYNC",
        [WIRE_REPAIR] = "REPAIR",   [WIRE_READ] = "READ",
        [WIRE_MAP] = "MAP",         [WIRE_CHANGED] = "CHANGED",
        [WIRE_FLUSH] = "FLUSH",     [WIRE_WATERMARK] = "WATERMARK",
        [WIRE_VIEWS] = "VIEWS",     [WIRE_VIEW_SPACE] = "VIEW_SPACE",
        [WIRE_RETIRE] = "RETIRE",   [WIRE_RECORD] = "RECORD",
        [WIRE_RECORDS] = "RECORDS", [WIRE_HELLO] = "HELLO",
        [WIRE_WELCOME] = "WELCOME", [WIRE_REFUSED] = "REFUSED",
        [WIRE_PING] = "PING",       [WIRE_PONG] = "PONG",
    };
    type &= (uint8_t)~WIRE_ANSWER;
    return type < COUNT_OF(names) && names[type] != NULL ? names[type] : "?";
}

/* Flags that frames of this type may have. */
static uint8_t flags_of(uint8_t type)
{
    if (type & WIRE_ANSWER)
        return WIRE_WITH_STATE | WIRE_WITH_BITMAP | WIRE_WITH_VERSIONS;
    switch (type) {
    case WIRE_WRITE: return WIRE_FUA | WIRE_VIEWS_MAY;
    case WIRE_ZERO: return WIRE_FUA | WIRE_VIEWS_MAY | WIRE_PARENT;
    case WIRE_RESYNC:
    case WIRE_REPAIR: return WIRE_FUA;
    case WIRE_READ: return WIRE_WITH_VERSIONS | WIRE_SETTLE;
    default: return 0;
    }
}

/* Sizes of a request: exact, but for messages and the blocks of a RESYNC, which have a limit. */
static bool request_sizes_fit(const struct wire_header *header)
{
    uint32_t blocks = header->count * BLOCK_BYTES;
    uint32_t versions = header->count * WIRE_VERSION_BYTES;
    uint32_t cuts = header->cut_count * 8u;
    if (wire_is_control(header->type))
        return header->type == WIRE_RECORD || header->data_bytes == 0;
    switch (header->type) {
    case WIRE_WRITE:
        return header->aside_bytes == header->count * 4u && header->data_bytes == blocks;
    case WIRE_RESYNC:
    case WIRE_REPAIR:
        return header->aside_bytes == versions + cuts && header->data_bytes <= blocks &&
               header->data_bytes % BLOCK_BYTES == 0;
    case WIRE_HELLO:
    case WIRE_WELCOME:
    case WIRE_REFUSED:
        return header->aside_bytes <= WIRE_MESSAGE_BYTES_MAX && header->data_bytes == 0;
    default: return header->aside_bytes == 0 && header->data_bytes == 0;
    }
}

/* Whether this answer has what was asked for. */
static bool answer_is_full(const struct wire_header *header)
{
    return header->result == 0 ||
           (header->result == IOMESH_CORRUPT && header->type == (WIRE_READ | WIRE_ANSWER));
}

static bool answer_sizes_fit(const struct wire_header *header)
{
    uint32_t aside = (header->flags & WIRE_WITH_STATE ? WIRE_STATE_BYTES : 0) +
                     (header->flags & WIRE_WITH_BITMAP ? WIRE_BITMAP_BYTES : 0);
    uint32_t versions = header->count * WIRE_VERSION_BYTES;
    uint32_t data = 0;
    if (!answer_is_full(header))
        return header->aside_bytes == aside && header->data_bytes == 0 &&
               !(header->flags & WIRE_WITH_VERSIONS);
    switch (header->type & ~WIRE_ANSWER) {
    case WIRE_READ:
        aside += header->count * 4u + (header->flags & WIRE_WITH_VERSIONS ? versions : 0);
        data = header->count * BLOCK_BYTES;
        break;
    case WIRE_MAP:
    case WIRE_CHANGED:
        if (!(header->flags & WIRE_WITH_VERSIONS))
            return false;
        aside += versions;
        break;
    case WIRE_VIEW_SPACE:
        return header->aside_bytes == aside + (header->data_bytes > 0 ? 4 : 0) &&
               header->data_bytes % WIRE_SPACE_BYTES == 0 &&
               header->data_bytes <= WIRE_CUTS_MAX * WIRE_SPACE_BYTES;
    case WIRE_RECORDS:
        return header->aside_bytes == aside + (header->data_bytes > 0 ? 4 : 0) &&
               header->data_bytes <= header->count * BLOCK_BYTES;
    default: break;
    }
    return header->aside_bytes == aside && header->data_bytes == data;
}

static bool type_is_known(uint8_t type)
{
    uint8_t plain = type & (uint8_t)~WIRE_ANSWER;
    if (plain >= WIRE_FENCE && plain <= WIRE_REQUEST_LAST)
        return true;
    return type >= WIRE_HELLO && type <= WIRE_PONG;
}

static bool header_fits(const struct wire_header *header)
{
    if (!type_is_known(header->type) || header->count > WIRE_BLOCKS_MAX ||
        header->cut_count > WIRE_CUTS_MAX || header->aside_bytes > WIRE_ASIDE_BYTES_MAX ||
        header->data_bytes > WIRE_DATA_BYTES_MAX)
        return false;
    if (header->flags & ~flags_of(header->type) ||
        (header->cut_count != 0 && header->type != WIRE_RESYNC && header->type != WIRE_REPAIR))
        return false;
    if (header->aside_bytes == 0 && header->aside_crc != 0)
        return false;
    if (!(header->type & WIRE_ANSWER))
        return request_sizes_fit(header);
    return header->result <= 0 && answer_sizes_fit(header);
}

int wire_request_check(const struct wire_header *header)
{
    switch (header->type) {
    case WIRE_WRITE:
    case WIRE_ZERO:
    case WIRE_RESYNC:
    case WIRE_REPAIR:
    case WIRE_READ:
    case WIRE_MAP:
        if (header->count == 0 || header->block > SEQUENCE_MAX)
            return -EPROTO;
        if (header->block / WIRE_BLOCKS_MAX !=
            (header->block + header->count - 1) / WIRE_BLOCKS_MAX)
            return -EPROTO;
        break;
    default: break;
    }
    if (header->sequence > SEQUENCE_MAX || header->view > SEQUENCE_MAX ||
        header->watermark > SEQUENCE_MAX || header->cut > SEQUENCE_MAX)
        return -EPROTO;
    return 0;
}

/* --- The header ----------------------------------------------------------------------------- */

static void request_put(uint8_t *to, const struct wire_header *header)
{
    put64(to + 56, header->epoch);
    put64(to + 64, header->watermark);
    put64(to + 72, header->block);
    put64(to + 80, header->view);
    put64(to + 88, header->sequence);
    put64(to + 96, header->cut);
    put16(to + 104, header->cut_count);
    put48(to + 106, 0);
}

static void answer_put(uint8_t *to, const struct wire_header *header)
{
    put32(to + 56, (uint32_t)header->result);
    put32(to + 60, 0);
    put64(to + 64, header->found);
    put64(to + 72, header->room_blocks);
    for (unsigned i = 80; i < WIRE_HEADER_BYTES; i += 8)
        put64(to + i, 0);
}

void wire_header_put(uint8_t to[WIRE_HEADER_BYTES], const struct wire_header *header)
{
    assert(header_fits(header));
    put32(to + 4, MAGIC);
    to[8] = header->type;
    to[9] = header->flags;
    put16(to + 10, header->count);
    put32(to + 12, header->aside_bytes);
    put32(to + 16, header->data_bytes);
    put32(to + 20, header->aside_crc);
    put64(to + 24, header->session);
    put64(to + 32, header->number);
    put32(to + 40, header->group);
    put32(to + 44, header->generation);
    put64(to + 48, header->volume);
    if (header->type & WIRE_ANSWER)
        answer_put(to, header);
    else
        request_put(to, header);
    put32(to, crc32c(to + 4, WIRE_HEADER_BYTES - 4));
}

/* Whether reserved bytes are 0. */
static bool request_get(const uint8_t *from, struct wire_header *header)
{
    header->epoch = get64(from + 56);
    header->watermark = get64(from + 64);
    header->block = get64(from + 72);
    header->view = get64(from + 80);
    header->sequence = get64(from + 88);
    header->cut = get64(from + 96);
    header->cut_count = get16(from + 104);
    return get48(from + 106) == 0;
}

static bool answer_get(const uint8_t *from, struct wire_header *header)
{
    uint64_t reserved = get32(from + 60);
    header->result = (int32_t)get32(from + 56);
    header->found = get64(from + 64);
    header->room_blocks = get64(from + 72);
    for (unsigned i = 80; i < WIRE_HEADER_BYTES; i += 8)
        reserved |= get64(from + i);
    return reserved == 0;
}

int wire_header_get(const uint8_t from[WIRE_HEADER_BYTES], struct wire_header *ret_header)
{
    if (get32(from + 4) != MAGIC)
        return IOMESH_FORMAT;
    if (get32(from) != crc32c(from + 4, WIRE_HEADER_BYTES - 4) && !MUTANT(302))
        return IOMESH_CORRUPT;
    struct wire_header header = {
        .type = from[8],
        .flags = from[9],
        .count = get16(from + 10),
        .aside_bytes = get32(from + 12),
        .data_bytes = get32(from + 16),
        .aside_crc = get32(from + 20),
        .session = get64(from + 24),
        .number = get64(from + 32),
        .group = get32(from + 40),
        .generation = get32(from + 44),
        .volume = get64(from + 48),
    };
    bool clean = header.type & WIRE_ANSWER ? answer_get(from, &header) : request_get(from, &header);
    if (!clean || !header_fits(&header))
        return IOMESH_CORRUPT;
    *ret_header = header;
    return 0;
}

int wire_aside_check(const struct wire_header *header, const uint8_t *aside)
{
    if (header->aside_bytes == 0 || MUTANT(311))
        return 0;
    return crc32c(aside, header->aside_bytes) == header->aside_crc ? 0 : IOMESH_CORRUPT;
}

/* --- Elements ------------------------------------------------------------------------------- */

void wire_crcs_put(uint8_t *to, const uint32_t *crcs, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++)
        put32(to + (size_t)i * 4, crcs[i]);
}

void wire_crcs_get(const uint8_t *from, uint32_t count, uint32_t *ret_crcs)
{
    for (uint32_t i = 0; i < count; i++)
        ret_crcs[i] = get32(from + (size_t)i * 4);
}

void wire_cuts_put(uint8_t *to, const uint64_t *cuts, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++)
        put64(to + (size_t)i * 8, cuts[i]);
}

int wire_cuts_get(const uint8_t *from, uint32_t count, uint64_t *ret_cuts)
{
    uint64_t before = 0;
    for (uint32_t i = 0; i < count; i++) {
        uint64_t cut = get64(from + (size_t)i * 8);
        if (cut <= before || cut > SEQUENCE_MAX)
            return -EPROTO;
        ret_cuts[i] = before = cut;
    }
    return 0;
}

void wire_versions_put(uint8_t *to, const struct wire_version *versions, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++, to += WIRE_VERSION_BYTES) {
        struct wire_version version = versions[i];
        put64(to, version.sequence);
        put32(to + 8, version.crc);
        put16(to + 12, version.kind);
        put16(to + 14, 0);
    }
}

int wire_versions_get(const uint8_t *from, uint32_t count, struct wire_version *ret_versions)
{
    for (uint32_t i = 0; i < count; i++, from += WIRE_VERSION_BYTES) {
        struct wire_version version = {
            .sequence = get64(from), .crc = get32(from + 8), .kind = get16(from + 12)};
        if (version.sequence > SEQUENCE_MAX || version.kind > POINTER_SET_ASIDE ||
            get16(from + 14) != 0)
            return -EPROTO;
        ret_versions[i] = version;
    }
    return 0;
}

/* epoch watermark heard flushed settled (u64), generation, role generation, aside (u32), role,
 * restarted (u8), 0 (u16). */
void wire_state_put(uint8_t to[WIRE_STATE_BYTES], const struct wire_state *state)
{
    put64(to, state->epoch);
    put64(to + 8, state->watermark);
    put64(to + 16, state->heard);
    put64(to + 24, state->flushed);
    put64(to + 32, state->settled);
    put32(to + 40, state->generation);
    put32(to + 44, state->role_generation);
    put32(to + 48, state->aside);
    to[52] = state->role;
    to[53] = state->restarted;
    put16(to + 54, 0);
}

int wire_state_get(const uint8_t from[WIRE_STATE_BYTES], struct wire_state *ret_state)
{
    if (from[52] > 2 || from[53] > 1 || get16(from + 54) != 0)
        return -EPROTO;
    for (unsigned i = 8; i < 40; i += 8)
        if (get64(from + i) > SEQUENCE_MAX)
            return -EPROTO;
    *ret_state = (struct wire_state){
        .epoch = get64(from),
        .watermark = get64(from + 8),
        .heard = get64(from + 16),
        .flushed = get64(from + 24),
        .settled = get64(from + 32),
        .generation = get32(from + 40),
        .role_generation = get32(from + 44),
        .aside = get32(from + 48),
        .role = from[52],
        .restarted = from[53] != 0,
    };
    return 0;
}
