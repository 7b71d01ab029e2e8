/* SPDX-License-Identifier: Apache-2.0 */
#include "sim/mirror.h"

#include <string.h>

#include "codec/codec.h"
#include "format/pointer.h"

uint64_t mirror_seed;

/* --- What only this request can be answered with ------------------------------------------- */

void mirror_block(uint8_t to[BLOCK_BYTES], uint64_t volume, uint64_t block, uint64_t sequence)
{
    if (sequence == 0) {
        memset(to, 0, BLOCK_BYTES);
        return;
    }
    struct prng prng = {.state = volume * 0x10001 ^ block << 20 ^ sequence << 32};
    put64(to, sequence);
    for (uint32_t i = 8; i < BLOCK_BYTES; i += 8)
        put64(to + i, prng_next(&prng));
}

uint32_t mirror_crc(uint64_t volume, uint64_t block, uint64_t sequence)
{
    uint8_t bytes[BLOCK_BYTES];
    mirror_block(bytes, volume, block, sequence);
    return crc32c(bytes, sizeof bytes);
}

static uint64_t mix(uint64_t sum, uint64_t value)
{
    struct prng prng = {.state = sum ^ value};
    return prng_next(&prng);
}

uint64_t mirror_sum(const struct part_request *request)
{
    uint64_t sum = mix((uint64_t)request->kind, request->epoch);
    sum = mix(sum, request->volume);
    sum = mix(sum, (uint64_t)request->group << 32 | request->generation);
    uint32_t bytes = request->kind == PART_RECORDS ? 0 : request->bytes;
    sum = mix(sum, (uint64_t)request->count << 32 | bytes);
    sum = mix(sum, request->watermark);
    sum = mix(sum, request->view);
    sum = mix(sum, request->block);
    sum = mix(sum, request->last);
    sum = mix(sum, request->since);
    sum = mix(sum, request->sequence);
    sum = mix(sum, request->cut);
    sum = mix(sum, request->settled);
    sum = mix(sum, (uint64_t)(request->role | request->views << 8 | request->parent << 9 |
                              request->fua << 10 | request->settle << 11));
    for (uint32_t i = 0; i < request->cut_count; i++)
        sum = mix(sum, request->cuts[i]);
    for (uint32_t i = 0; i < request->run_count; i++)
        sum = mix(sum, (uint64_t)request->runs[i].first << 32 | request->runs[i].count);
    for (const char *at = request->key; at != NULL && *at != '\0'; at++)
        sum = mix(sum, (uint8_t)*at);
    return sum;
}

int mirror_result(const struct part_request *request, uint64_t sum)
{
    static const int results[] = {-ENOSPC, IOMESH_FENCED, IOMESH_CONFLICT, -EAGAIN, IOMESH_FAILED};
    if (request->kind == PART_READ && sum % 13 == 1)
        return IOMESH_CORRUPT;
    return sum % 13 == 0 ? results[sum / 13 % COUNT_OF(results)] : 0;
}

uint32_t mirror_list_bytes(uint32_t count, uint64_t sum)
{
    return sum % 5 == 0 ? 0 : (uint32_t)(sum % (count * BLOCK_BYTES + 1));
}

bool mirror_is_bad(uint64_t sum, uint32_t index)
{
    return mix(sum, index) % 3 == 0;
}

/* --- Answers ------------------------------------------------------------------------------- */

static uint64_t *sequence_of(struct mirror *mirror, const struct part_request *request, uint32_t i)
{
    uint64_t block = request->block + i;
    REQUIRE(request->volume < MIRROR_VOLUMES && block < MIRROR_BLOCKS);
    return &mirror->sequences[request->volume][block];
}

static void has_block(const struct part_request *request, uint32_t i, uint64_t sequence)
{
    uint8_t bytes[BLOCK_BYTES];
    mirror_block(bytes, request->volume, request->block + i, sequence);
    REQUIRE(memcmp(bytes, (uint8_t *)request->data + (size_t)i * BLOCK_BYTES, BLOCK_BYTES) == 0);
}

static void take_write(struct mirror *mirror, const struct part_request *request)
{
    for (uint32_t i = 0; i < request->count; i++) {
        uint64_t *sequence = sequence_of(mirror, request, i);
        has_block(request, i, request->sequence);
        if (request->sequence > *sequence)
            *sequence = request->sequence;
    }
}

static void take_versions(struct mirror *mirror, const struct part_request *request)
{
    for (uint32_t i = 0; i < request->count; i++) {
        const struct part_version *version = &request->versions[i];
        uint64_t *sequence = sequence_of(mirror, request, i);
        if (version->kind != POINTER_RAW)
            continue;
        has_block(request, i, version->sequence);
        if (version->sequence > *sequence)
            *sequence = version->sequence;
    }
}

static void give_version(struct part_request *request, uint32_t i, uint64_t sequence)
{
    if (request->versions != NULL)
        request->versions[i] =
            (struct part_version){.sequence = sequence,
                                  .crc = mirror_crc(request->volume, request->block + i, sequence),
                                  .kind = sequence != 0 ? POINTER_RAW : POINTER_HOLE};
}

static void give_read(struct mirror *mirror, struct part_request *request, uint64_t sum, int result)
{
    memset(request->bad, 0, sizeof request->bad);
    for (uint32_t i = 0; i < request->count; i++) {
        uint64_t sequence = *sequence_of(mirror, request, i);
        uint8_t *to = (uint8_t *)request->data + (size_t)i * BLOCK_BYTES;
        give_version(request, i, sequence);
        mirror_block(to, request->volume, request->block + i, sequence);
        request->crcs[i] = crc32c(to, BLOCK_BYTES);
        if (result == 0 || !mirror_is_bad(sum, i))
            continue;
        request->bad[i / 8] |= (uint8_t)(1u << i % 8);
        memset(to, 0xee, BLOCK_BYTES);
    }
}

static void give_spaces(struct part_request *request, uint64_t sum)
{
    struct part_view_space *spaces = request->data;
    for (uint32_t i = 0; i < request->cut_count; i++)
        spaces[i] = (struct part_view_space){
            .cut = request->cuts[i], .unique_blocks = sum + i, .shared_blocks = sum - i};
}

static void give_list(struct part_request *request, uint64_t sum)
{
    request->bytes = mirror_list_bytes(request->count, sum);
    memset(request->data, (int)(sum & 0xff), request->bytes);
}

static void give_state(struct part_request *request, uint64_t sum)
{
    request->state = (struct part_state){
        .epoch = sum,
        .watermark = ~sum & SEQUENCE_MAX,
        .heard = sum * 3 & SEQUENCE_MAX,
        .flushed = sum * 5 & SEQUENCE_MAX,
        .settled = sum * 7 & SEQUENCE_MAX,
        .generation = (uint32_t)sum,
        .role_generation = (uint32_t)(sum >> 8),
        .aside = (uint32_t)(sum >> 16),
        .role = (uint8_t)(sum % 3),
        .restarted = sum >> 7 & 1,
    };
}

static void mirror_answer(struct mirror *mirror, struct part_request *request)
{
    uint64_t sum = mirror_sum(request);
    int result = mirror_result(request, sum);
    request->found = sum;
    request->room_blocks = sum;
    give_state(request, sum);
    switch (request->kind) {
    case PART_WRITE: take_write(mirror, request); break;
    case PART_RESYNC:
    case PART_REPAIR: take_versions(mirror, request); break;
    case PART_READ: give_read(mirror, request, sum, result); break;
    case PART_MAP:
        for (uint32_t i = 0; i < request->count; i++)
            give_version(request, i, *sequence_of(mirror, request, i));
        break;
    case PART_CHANGED:
        for (uint32_t i = 0; i < PART_BLOCKS_MAX; i++)
            request->versions[i] = (struct part_version){.sequence = sum >> 16, .crc = i};
        for (uint32_t i = 0; i < sizeof request->changed; i++)
            request->changed[i] = (uint8_t)(sum >> i % 8);
        break;
    case PART_VIEW_SPACE: give_spaces(request, sum); break;
    case PART_RECORDS: give_list(request, sum); break;
    case PART_RECORD:
        REQUIRE(request->bytes == 0 ||
                crc32c(request->data, request->bytes) == (uint32_t)request->watermark);
        break;
    default: break;
    }
    mirror->counts.failed += result != 0;
    request->done(request, result);
}

/* --- Waiting ------------------------------------------------------------------------------- */

static void mirror_arm(struct mirror *mirror)
{
    uint64_t next_ns = CLOCK_NEVER;
    LIST_EACH (&mirror->waiting, node)
        next_ns = MIN(next_ns, LIST_ENTRY(node, struct part_request, node)->inside[0]);
    if (next_ns != CLOCK_NEVER)
        clock_set(mirror->clock, &mirror->timer, next_ns);
    else
        clock_cancel(mirror->clock, &mirror->timer);
}

static void mirror_fire(struct timer *timer)
{
    struct mirror *mirror = CONTAINER_OF(timer, struct mirror, timer);
    uint64_t now_ns = clock_now_ns(mirror->clock);
    struct list due;
    list_init(&due);
    LIST_EACH_SAFE (&mirror->waiting, node, after) {
        if (LIST_ENTRY(node, struct part_request, node)->inside[0] > now_ns)
            continue;
        list_remove(node);
        list_push_back(&due, node);
    }
    for (struct list *node; (node = list_pop_front(&due)) != NULL;) {
        struct part_request *request = LIST_ENTRY(node, struct part_request, node);
        if (request->inside[1] != 0)
            request->done(request, -ECANCELED);
        else
            mirror_answer(mirror, request);
    }
    mirror_arm(mirror);
}

static void mirror_submit(struct part_port *port, struct part_request *request)
{
    struct mirror *mirror = CONTAINER_OF(port, struct mirror, port);
    uint64_t epoch = request->epoch;
    REQUIRE(epoch < MIRROR_EPOCHS && !(mirror->seen[epoch / 8] >> epoch % 8 & 1));
    mirror->seen[epoch / 8] |= (uint8_t)(1u << epoch % 8);
    mirror->counts.requests++;
    request->inside[0] = clock_now_ns(mirror->clock);
    if (mirror->delay_ns_max > 0)
        request->inside[0] += prng_below(&mirror->prng, mirror->delay_ns_max);
    request->inside[1] = 0;
    list_push_back(&mirror->waiting, &request->node);
    mirror_arm(mirror);
}

/* Some are in a batch already, and happen. */
static void mirror_cancel(struct part_port *port, struct part_request *request)
{
    struct mirror *mirror = CONTAINER_OF(port, struct mirror, port);
    mirror->counts.canceled++;
    request->inside[1] = prng_below(&mirror->prng, 2);
    if (request->inside[1] != 0)
        request->inside[0] = clock_now_ns(mirror->clock);
    mirror_arm(mirror);
}

static const struct part_port_ops mirror_ops = {.submit = mirror_submit, .cancel = mirror_cancel};

void mirror_open(struct mirror *mirror, struct clock *clock, uint64_t seed, uint64_t delay_ns_max)
{
    *mirror = (struct mirror){
        .port = {.ops = &mirror_ops, .state = PART_PORT_UP, .room_blocks = 77},
        .clock = clock,
        .prng.state = seed,
        .delay_ns_max = delay_ns_max,
        .timer.fire = mirror_fire,
    };
    list_init(&mirror->waiting);
}

bool mirror_is_idle(const struct mirror *mirror)
{
    return list_empty(&mirror->waiting);
}
