/* SPDX-License-Identifier: Apache-2.0 */
/* Drawn requests, and what their answers must be. */
#include <string.h>

#include "codec/codec.h"
#include "format/pointer.h"
#include "format/wire.h"
#include "sim/peer_rig.h"

#define POISON 0x5c

static uint32_t data_bytes(const struct rig_op *op)
{
    return op->blocks_max * BLOCK_BYTES;
}

void rig_op_poison(struct rig_op *op)
{
    memset(op->data, POISON, data_bytes(op));
    memset(op->versions, POISON, sizeof op->versions);
    memset(op->crcs, POISON, sizeof op->crcs);
}

static bool is_poison(const void *memory, size_t length)
{
    const uint8_t *bytes = memory;
    return bytes[0] == POISON && memcmp(bytes, bytes + 1, length - 1) == 0;
}

void rig_op_check_poison(const struct rig_op *op)
{
    REQUIRE(is_poison(op->data, data_bytes(op)));
    REQUIRE(is_poison(op->versions, sizeof op->versions));
    REQUIRE(is_poison(op->crcs, sizeof op->crcs));
}

/* --- Asking -------------------------------------------------------------------------------- */

static uint32_t draw_count(struct rig *rig, uint32_t max)
{
    uint64_t kind = prng_below(&rig->prng, 8);
    uint64_t most = kind < 5 ? 4 : kind < 7 ? 16 : 256;
    return 1 + (uint32_t)prng_below(&rig->prng, MIN(most, max));
}

static void draw_blocks(struct rig_op *op)
{
    struct prng *prng = &op->rig->prng;
    struct part_request *request = &op->request;
    request->count = draw_count(op->rig, op->blocks_max);
    uint64_t base = prng_below(prng, MIRROR_BLOCKS / PART_BLOCKS_MAX) * PART_BLOCKS_MAX;
    request->block = base + prng_below(prng, PART_BLOCKS_MAX - request->count + 1);
    for (uint32_t i = 0; i < request->count; i++)
        op->floor[i] = op->rig->acked[op->store][request->volume][request->block + i];
}

static void draw_cuts(struct rig_op *op, uint32_t max)
{
    struct prng *prng = &op->rig->prng;
    uint32_t most = prng_one_in(prng, 6) ? max : MIN(max, 40u);
    op->request.cut_count = (uint32_t)prng_below(prng, most + 1);
    uint64_t cut = 0;
    for (uint32_t i = 0; i < op->request.cut_count; i++)
        op->cuts[i] = cut += 1 + prng_below(prng, 1000);
    op->request.cuts = op->cuts;
}

static void sent(struct rig_op *op, uint32_t i, uint64_t sequence)
{
    const struct part_request *request = &op->request;
    uint64_t *newest = &op->rig->sent[op->store][request->volume][request->block + i];
    *newest = MAX(*newest, sequence);
}

static void fill_write(struct rig_op *op)
{
    struct part_request *request = &op->request;
    draw_blocks(op);
    request->sequence = op->rig->sequence_next++;
    request->cut = prng_below(&op->rig->prng, request->sequence);
    request->views = prng_one_in(&op->rig->prng, 2);
    request->fua = prng_one_in(&op->rig->prng, 2);
    request->data = op->data;
    request->crcs = op->crcs;
    for (uint32_t i = 0; i < request->count; i++) {
        uint8_t *to = op->data + (size_t)i * BLOCK_BYTES;
        mirror_block(to, request->volume, request->block + i, request->sequence);
        op->crcs[i] = crc32c(to, BLOCK_BYTES);
        sent(op, i, request->sequence);
    }
}

static void fill_versions(struct rig_op *op)
{
    struct part_request *request = &op->request;
    struct prng *prng = &op->rig->prng;
    draw_blocks(op);
    request->view = prng_next(prng) & SEQUENCE_MAX;
    request->data = op->data;
    request->versions = op->versions;
    draw_cuts(op, PART_CUTS_MAX);
    uint64_t dense = 1 + prng_below(prng, 4);
    for (uint32_t i = 0; i < request->count; i++) {
        uint64_t sequence = op->rig->sequence_next++;
        uint16_t kind = prng_below(prng, 4) < dense ? POINTER_RAW : POINTER_SET_ASIDE;
        op->versions[i] = (struct part_version){.sequence = sequence, .kind = kind};
        if (kind != POINTER_RAW)
            continue;
        uint8_t *to = op->data + (size_t)i * BLOCK_BYTES;
        mirror_block(to, request->volume, request->block + i, sequence);
        op->versions[i].crc = crc32c(to, BLOCK_BYTES);
        sent(op, i, sequence);
    }
}

static void fill_read(struct rig_op *op)
{
    struct part_request *request = &op->request;
    draw_blocks(op);
    request->data = op->data;
    request->settle = prng_one_in(&op->rig->prng, 2);
    request->crcs = prng_one_in(&op->rig->prng, 2) ? op->crcs : NULL;
    request->versions = prng_one_in(&op->rig->prng, 2) ? op->versions : NULL;
}

static void fill_record(struct rig_op *op)
{
    struct part_request *request = &op->request;
    struct prng *prng = &op->rig->prng;
    request->bytes = (uint32_t)prng_below(prng, 9000);
    request->data = op->data;
    for (uint32_t i = 0; i < request->bytes; i++)
        op->data[i] = (uint8_t)prng_next(prng);
    request->watermark = request->bytes > 0 ? crc32c(op->data, request->bytes) : 0;
    (void)snprintf(op->key, sizeof op->key, "group/%x/%u", (unsigned)prng_below(prng, 1000),
                   request->bytes);
    request->key = op->key;
}

static void fill_records(struct rig_op *op)
{
    struct part_request *request = &op->request;
    request->count = draw_count(op->rig, op->blocks_max);
    request->data = op->data;
    (void)snprintf(op->key, sizeof op->key, "map/%x", (unsigned)prng_below(&op->rig->prng, 1000));
    request->key = prng_one_in(&op->rig->prng, 3) ? NULL : op->key;
}

static void draw_runs(struct rig_op *op)
{
    struct part_request *request = &op->request;
    struct prng *prng = &op->rig->prng;
    request->run_count = (uint32_t)prng_below(prng, prng_one_in(prng, 4) ? PART_RUNS_MAX + 1 : 9);
    for (uint32_t i = 0; i < request->run_count; i++)
        op->runs[i] = (struct part_run){.first = (uint32_t)prng_next(prng), .count = i};
    request->runs = op->runs;
}

static void fill_role(struct rig_op *op)
{
    op->request.role = (uint8_t)prng_below(&op->rig->prng, 3);
    op->request.since = prng_next(&op->rig->prng) & SEQUENCE_MAX;
    draw_runs(op);
}

static void fill_kind(struct rig_op *op)
{
    struct part_request *request = &op->request;
    struct prng *prng = &op->rig->prng;
    switch (request->kind) {
    case PART_WRITE: fill_write(op); break;
    case PART_ZERO:
        draw_blocks(op);
        request->sequence = op->rig->sequence_next++;
        request->parent = prng_one_in(prng, 2);
        break;
    case PART_RESYNC:
    case PART_REPAIR: fill_versions(op); break;
    case PART_READ: fill_read(op); break;
    case PART_MAP:
        draw_blocks(op);
        request->versions = op->versions;
        break;
    case PART_CHANGED:
        request->block = prng_next(prng) & SEQUENCE_MAX;
        request->last = prng_next(prng) & SEQUENCE_MAX;
        request->since = prng_next(prng) & SEQUENCE_MAX;
        request->versions = op->versions;
        break;
    case PART_ROLE: fill_role(op); break;
    case PART_FLUSH: draw_runs(op); break;
    case PART_VIEWS:
        draw_cuts(op, PART_CUTS_MAX);
        request->sequence = prng_next(prng) & SEQUENCE_MAX;
        break;
    case PART_VIEW_SPACE:
        draw_cuts(op, MIN(op->blocks_max * BLOCK_BYTES / WIRE_SPACE_BYTES, PART_CUTS_MAX));
        request->data = op->data;
        break;
    case PART_RECORD: fill_record(op); break;
    case PART_RECORDS: fill_records(op); break;
    default: break;
    }
}

void rig_op_fill(struct rig_op *op, struct rig_port *port)
{
    struct rig *rig = op->rig;
    struct prng *prng = &rig->prng;
    uint64_t kind = prng_below(prng, 3);
    op->store = port->store;
    op->request = (struct part_request){
        .kind = kind == 0   ? PART_WRITE
                : kind == 1 ? PART_READ
                            : (enum part_request_kind)(1 + prng_below(prng, PART_REQUEST_LAST)),
        .volume = prng_below(prng, MIRROR_VOLUMES),
        .group = (uint32_t)prng_next(prng),
        .generation = prng_one_in(prng, 8) ? (uint32_t)prng_next(prng) : 7,
        .epoch = rig->epoch_next++,
        .watermark = prng_next(prng) & SEQUENCE_MAX,
        .done = rig_op_done,
    };
    if (!wire_has_view((uint8_t)op->request.kind))
        op->request.settled = prng_next(prng) & SEQUENCE_MAX;
    fill_kind(op);
}

/* --- Answers ------------------------------------------------------------------------------- */

static void check_read(struct rig_op *op, uint64_t sum, int result)
{
    const struct part_request *request = &op->request;
    for (uint32_t i = 0; i < request->count; i++) {
        uint64_t block = request->block + i;
        bool bad = request->bad[i / 8] >> i % 8 & 1;
        if (result != 0) {
            REQUIRE(bad == mirror_is_bad(sum, i));
            if (bad)
                continue;
        }
        uint8_t bytes[BLOCK_BYTES];
        const uint8_t *data = op->data + (size_t)i * BLOCK_BYTES;
        uint64_t sequence = get64(data);
        mirror_block(bytes, request->volume, block, sequence);
        REQUIRE(memcmp(bytes, data, BLOCK_BYTES) == 0);
        REQUIRE(sequence >= op->floor[i]);
        REQUIRE(sequence <= op->rig->sent[op->store][request->volume][block]);
        REQUIRE(request->versions == NULL || op->versions[i].sequence == sequence);
        REQUIRE(request->crcs == NULL || op->crcs[i] == crc32c(data, BLOCK_BYTES));
    }
    op->rig->counts.reads++;
}

static void check_versions(const struct rig_op *op, uint64_t sum)
{
    const struct part_request *request = &op->request;
    if (request->kind == PART_CHANGED) {
        for (uint32_t i = 0; i < PART_BLOCKS_MAX; i++)
            REQUIRE(op->versions[i].sequence == sum >> 16 && op->versions[i].crc == i);
        for (uint32_t i = 0; i < sizeof request->changed; i++)
            REQUIRE(request->changed[i] == (uint8_t)(sum >> i % 8));
        return;
    }
    for (uint32_t i = 0; i < request->count; i++) {
        REQUIRE(op->versions[i].sequence >= op->floor[i]);
        REQUIRE(op->versions[i].crc ==
                mirror_crc(request->volume, request->block + i, op->versions[i].sequence));
    }
}

static void check_spaces(const struct rig_op *op, uint64_t sum)
{
    const struct part_view_space *spaces = (const void *)op->data;
    for (uint32_t i = 0; i < op->request.cut_count; i++)
        REQUIRE(spaces[i].cut == op->cuts[i] && spaces[i].unique_blocks == sum + i &&
                spaces[i].shared_blocks == sum - i);
}

static void check_list(const struct rig_op *op, uint64_t sum)
{
    uint32_t bytes = op->request.bytes;
    REQUIRE(bytes == mirror_list_bytes(op->request.count, sum));
    for (uint32_t i = 0; i < bytes; i++)
        REQUIRE(op->data[i] == (sum & 0xff));
}

static void check_state(const struct part_request *request, uint64_t sum)
{
    const struct part_state *state = &request->state;
    REQUIRE(
        state->epoch == sum && state->watermark == (~sum & SEQUENCE_MAX) &&
        state->heard == (sum * 3 & SEQUENCE_MAX) && state->flushed == (sum * 5 & SEQUENCE_MAX) &&
        state->settled == (sum * 7 & SEQUENCE_MAX) && state->generation == (uint32_t)sum &&
        state->role_generation == (uint32_t)(sum >> 8) && state->aside == (uint32_t)(sum >> 16) &&
        state->role == sum % 3 && state->restarted == (sum >> 7 & 1));
}

static void note_acked(struct rig_op *op)
{
    const struct part_request *request = &op->request;
    for (uint32_t i = 0; i < request->count; i++) {
        uint64_t *acked = &op->rig->acked[op->store][request->volume][request->block + i];
        uint64_t sequence = request->sequence;
        if (request->kind != PART_WRITE)
            sequence = op->versions[i].kind == POINTER_RAW ? op->versions[i].sequence : 0;
        REQUIRE(sequence <=
                op->rig->mirrors[op->store].sequences[request->volume][request->block + i]);
        *acked = MAX(*acked, sequence);
    }
}

static void check_answer(struct rig_op *op, int result)
{
    const struct part_request *request = &op->request;
    uint64_t sum = mirror_sum(request);
    if (result == IOMESH_CORRUPT && op->rig->corrupts &&
        (request->kind == PART_WRITE || request->kind == PART_RESYNC ||
         request->kind == PART_REPAIR || request->kind == PART_RECORD)) {
        op->rig->counts.corrupt++; /* On the way, and found. */
        return;
    }
    REQUIRE(result == mirror_result(request, sum));
    REQUIRE(request->found == sum && request->room_blocks == 77);
    switch (request->kind) {
    case PART_FENCE:
    case PART_ROLE:
    case PART_STATE:
    case PART_FLUSH: check_state(request, sum); break;
    default:
        if (result == IOMESH_FENCED || result == IOMESH_CONFLICT)
            check_state(request, sum);
        break;
    }
    if (request->kind == PART_READ && (result == 0 || result == IOMESH_CORRUPT))
        check_read(op, sum, result);
    op->rig->counts.right++;
    if (result != 0) {
        op->rig->counts.failed++;
        return;
    }
    switch (request->kind) {
    case PART_WRITE:
    case PART_RESYNC:
    case PART_REPAIR: note_acked(op); break;
    case PART_MAP:
    case PART_CHANGED: check_versions(op, sum); break;
    case PART_VIEW_SPACE: check_spaces(op, sum); break;
    case PART_RECORDS: check_list(op, sum); break;
    default: break;
    }
}

void rig_op_done(struct part_request *request, int result)
{
    struct rig_op *op = CONTAINER_OF(request, struct rig_op, request);
    struct rig *rig = op->rig;
    REQUIRE(op->flying);
    op->flying = false;
    rig->counts.done++;
    if (result == -ECONNRESET)
        rig->counts.reset++;
    else if (result == -ECANCELED && op->canceled)
        rig->counts.canceled++;
    else
        check_answer(op, result);
    rig_op_poison(op);
    op->rest_until_ns = rig->world.now_ns + prng_below(&rig->prng, 20 * NS_PER_MS);
}
