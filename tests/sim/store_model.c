/* SPDX-License-Identifier: Apache-2.0 */
#include "sim/store_model.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SECTOR 512u

int model_open(struct model *model)
{
    *model = (struct model){.acks = 1, .durable_acks = 1};
    model->blocks = calloc(MODEL_BLOCKS, sizeof *model->blocks);
    if (model->blocks == NULL)
        return -ENOMEM;
    for (uint32_t i = 0; i < MODEL_BLOCKS; i++) {
        model->blocks[i].count = 1;
        model->blocks[i].versions[0].acked_at = 1;
        model->blocks[i].versions[0].durable = true;
        model->blocks[i].versions[0].changed = 0xff;
        model->blocks[i].versions[0].effect = MODEL_BASE;
        model->blocks[i].empty = true;
    }
    return 0;
}

void model_close(struct model *model)
{
    free(model->blocks);
    model->blocks = NULL;
}

uint64_t model_block_of(uint32_t index)
{
    assert(index < MODEL_BLOCKS);
    uint32_t far = index - MODEL_NEAR;
    if (index >= MODEL_NEAR)
        return (64 + far % 4) * 65536ull + far / 4 * 256 * 5 + far;
    return index < 256 ? 65536 - 128 + index : 3 * 65536 + (index - 256);
}

void model_fill(uint8_t *sector, uint64_t tag)
{
    if (tag == 0) {
        memset(sector, 0, SECTOR);
        return;
    }
    struct prng prng = {.state = tag};
    put64(sector, tag);
    for (unsigned i = 8; i < SECTOR; i += 8)
        put64(sector + i, prng_next(&prng));
}

bool model_room(const struct model *model, uint32_t index)
{
    return model->blocks[index].count < MODEL_VERSIONS_MAX;
}

uint32_t model_change(struct model *model, uint32_t index, uint32_t first, uint32_t count,
                      const uint64_t *tags, enum model_effect effect)
{
    struct model_block *block = &model->blocks[index];
    assert(block->count < MODEL_VERSIONS_MAX);
    struct model_version *version = &block->versions[block->count];
    *version = (struct model_version){.effect = effect, .stamp = ++model->stamps};
    for (uint32_t i = 0; i < count; i++) {
        version->tags[first + i] = tags == NULL ? 0 : tags[i];
        version->changed |= (uint8_t)(1u << (first + i));
    }
    return block->count++;
}

/* Versions before the newest durable one are history. Their numbers stay: count only grows, but
 * for the base. */
static bool version_durable(const struct model *model, const struct model_version *version)
{
    return version->durable || (version->acked_at != 0 && version->acked_at <= model->durable_acks);
}

void model_acked(struct model *model, uint32_t index, uint32_t version, bool durable)
{
    struct model_version *acked = &model->blocks[index].versions[version];
    acked->acked_at = ++model->acks;
    acked->durable = durable;
}

void model_failed(struct model *model, uint32_t index, uint32_t version)
{
    model->blocks[index].versions[version].failed = true;
}

bool model_holds_data(const struct model *model, uint32_t index)
{
    const struct model_block *block = &model->blocks[index];
    const struct model_version *newest = &block->versions[block->count - 1];
    bool data = false;
    for (unsigned s = 0; s < MODEL_SECTORS; s++)
        data = data || ((newest->changed & 1u << s) != 0 && newest->tags[s] != 0);
    return data && newest->acked_at != 0;
}

static bool sector_is(const uint8_t *sector, uint64_t tag)
{
    uint8_t expected[SECTOR];
    model_fill(expected, tag);
    return memcmp(expected, sector, SECTOR) == 0;
}

/* Whether the sectors of `mask` are those of version `at`. `data` is where sector 0 would be. */
static bool version_matches(const struct model_block *block, uint32_t at, unsigned mask,
                            const uint8_t *data)
{
    const struct model_version *version = &block->versions[at];
    unsigned rest = mask & ~(unsigned)version->changed;
    for (unsigned s = 0; s < MODEL_SECTORS; s++) {
        bool here = (mask & version->changed & 1u << s) != 0;
        if (here && !sector_is(data + (size_t)s * SECTOR, version->tags[s]))
            return false;
    }
    for (uint32_t below = at; rest != 0 && below-- > 0;) {
        if (version_matches(block, below, rest, data))
            return true;
        if (block->versions[below].acked_at != 0)
            break;
    }
    return rest == 0;
}

static bool sectors_match(const struct model_block *block, uint32_t at, uint32_t first,
                          uint32_t count, const uint8_t *data)
{
    unsigned mask = ((1u << count) - 1) << first;
    return version_matches(block, at, mask, data - (size_t)first * SECTOR);
}

/* Each sector is whole and known, but together they are no version. */
static const char *describe(const struct model_block *block, uint32_t first, uint32_t count,
                            const uint8_t *data)
{
    for (uint32_t i = 0; i < block->count; i++) {
        if (sectors_match(block, i, first, count, data))
            return "an older version came back";
    }
    for (uint32_t s = 0; s < count; s++) {
        bool known = false;
        for (uint32_t i = 0; i < block->count && !known; i++)
            known = sectors_match(block, i, first + s, 1, data + (size_t)s * SECTOR);
        if (!known)
            return "bytes that nobody wrote there";
    }
    return "a mixture of two versions";
}

const char *model_check_read(struct model *model, uint32_t index, uint32_t versions, uint32_t first,
                             uint32_t count, const uint8_t *data)
{
    struct model_block *block = &model->blocks[index];
    bool under_way = false;
    for (uint32_t i = versions; i-- > 0;) {
        struct model_version *version = &block->versions[i];
        bool ended = version->acked_at != 0 || version->failed;
        if (sectors_match(block, i, first, count, data)) {
            if (ended && version->acked_at == 0 && count == MODEL_SECTORS) {
                version->acked_at = ++model->acks;
                version->unsure = true; /* It may be zeros over zeros. */
            }
            if (ended)
                return NULL;
            under_way = true; /* Unless an older one is the same. */
        }
        if (version->acked_at != 0)
            break;
    }
    return under_way ? "a value that is not acknowledged yet" : describe(block, first, count, data);
}

/* Of the space alone, at version `at` and what is below. */
static void version_space(const struct model_block *block, uint32_t at, struct model_shown *shown)
{
    const struct model_version *version = &block->versions[at];
    if (version->effect == MODEL_BASE) {
        shown->own = block->own;
        shown->empty = block->empty;
        shown->sure = !block->unsure;
        shown->stamp = version->stamp;
        return;
    }
    if (version->effect == MODEL_ZEROED) {
        version_space(block, at - 1, shown);
        if (shown->empty)
            return;
    }
    shown->own = version->effect != MODEL_NOTHING;
    shown->empty = version->effect == MODEL_NOTHING;
    shown->sure = (version->effect != MODEL_ZEROED || shown->sure) && !version->unsure;
    shown->stamp = version->stamp;
}

bool model_now(const struct model *model, uint32_t index, struct model_shown *ret_shown)
{
    const struct model_block *block = &model->blocks[index];
    uint32_t at = block->count - 1;
    while (block->versions[at].acked_at == 0 && !block->versions[at].failed)
        at--;
    version_space(block, at, ret_shown);
    if (at + 1 < block->count && block->versions[at + 1].in_pieces)
        return false;
    unsigned rest = 0xff;
    for (uint32_t i = at + 1; rest != 0 && i-- > 0;) {
        const struct model_version *version = &block->versions[i];
        unsigned here = rest & version->changed;
        if (here != 0 && version->acked_at == 0)
            return false;
        for (unsigned s = 0; s < MODEL_SECTORS; s++)
            ret_shown->tags[s] = (here & 1u << s) != 0 ? version->tags[s] : ret_shown->tags[s];
        rest &= ~here;
        /* One that failed between two that did not: what is there of the space is not known. */
        ret_shown->sure = ret_shown->sure && version->acked_at != 0;
    }
    return true;
}

/* A sector names its tag itself: what was found is the base. */
static void settle_as(struct model_block *block, uint32_t at, bool unsure, const uint8_t *data)
{
    struct model_shown shown;
    version_space(block, at, &shown);
    struct model_version *base = &block->versions[0];
    *base = (struct model_version){.acked_at = 1,
                                   .durable = true,
                                   .changed = 0xff,
                                   .effect = MODEL_BASE,
                                   .stamp = shown.stamp};
    for (unsigned s = 0; s < MODEL_SECTORS; s++)
        base->tags[s] = get64(data + (size_t)s * SECTOR);
    block->count = 1;
    block->own = shown.own;
    block->empty = shown.empty;
    block->unsure = !shown.sure || unsure;
}

const char *model_settle(struct model *model, uint32_t index, enum model_crash crash,
                         const uint8_t *data)
{
    struct model_block *block = &model->blocks[index];
    uint32_t found = block->count;
    bool unsure = false;
    for (uint32_t i = block->count; i-- > 0;) {
        const struct model_version *version = &block->versions[i];
        bool matches = sectors_match(block, i, 0, MODEL_SECTORS, data);
        /* Zeros and zeros, or what a rollback wrote again. */
        unsure = unsure || (matches && found < block->count);
        /* Some of it may have come from versions below that failed. */
        unsure = unsure || (matches && version->effect == MODEL_ZEROED);
        if (matches && found == block->count)
            found = i;
        if ((crash == MODEL_POWER_CUT && version_durable(model, version)) ||
            (crash == MODEL_KILL && version->acked_at != 0))
            break;
    }
    if (found == block->count)
        return describe(block, 0, MODEL_SECTORS, data);
    settle_as(block, found, unsure, data);
    return NULL;
}

void model_doubt(struct model *model, uint32_t index)
{
    struct model_block *block = &model->blocks[index];
    for (uint32_t i = 1; i < block->count; i++) {
        block->versions[i].acked_at = 0;
        block->versions[i].durable = false;
        block->versions[i].failed = true;
    }
}

void model_print(const struct model *model, uint32_t index, const uint8_t *data)
{
    const struct model_block *block = &model->blocks[index];
    (void)fprintf(stderr,
                  "acks up to %llu are durable; found:", (unsigned long long)model->durable_acks);
    for (uint32_t s = 0; s < MODEL_SECTORS; s++)
        (void)fprintf(stderr, " %llu", (unsigned long long)get64(data + (size_t)s * SECTOR));
    (void)fprintf(stderr, "\n");
    for (uint32_t i = 0; i < block->count; i++) {
        const struct model_version *version = &block->versions[i];
        (void)fprintf(stderr, "version %u, acknowledged %llu%s:", i,
                      (unsigned long long)version->acked_at, version->durable ? ", durable" : "");
        for (uint32_t s = 0; s < MODEL_SECTORS; s++)
            (void)fprintf(stderr, " %llu", (unsigned long long)version->tags[s]);
        (void)fprintf(stderr, "\n");
    }
}
