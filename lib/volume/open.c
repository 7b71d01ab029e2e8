/* SPDX-License-Identifier: Apache-2.0 */
/* Opening and closing of the engine and of volumes, and what is said to an open volume. */
#include <stdlib.h>
#include <string.h>

#include "volume/inside.h"

static void engine_lists(struct volume_engine *engine, uint32_t op_count, uint32_t bounce_count)
{
    list_init(&engine->free_pieces);
    list_init(&engine->free_bounces);
    list_init(&engine->free_aheads);
    list_init(&engine->ready);
    list_init(&engine->held);
    list_init(&engine->holds_later);
    for (uint32_t i = 0; i < op_count; i++)
        list_push_back(&engine->free_pieces, &engine->pieces[i].node);
    for (uint32_t i = 0; i < SURVEYS_AHEAD; i++)
        list_push_back(&engine->free_aheads, &engine->aheads[i].node);
    for (uint32_t i = 0; i < bounce_count; i++) {
        struct bounce *bounce = (void *)(engine->bounces + (size_t)i * BOUNCE_BYTES);
        list_push_back(&engine->free_bounces, &bounce->node);
    }
}

int volume_engine_open(const struct volume_engine_options *options,
                       struct volume_engine **ret_engine)
{
    uint32_t op_count = options->op_count != 0 ? options->op_count : 256;
    uint32_t bounce_count = options->bounce_count != 0 ? options->bounce_count : 32;
    struct volume_engine *engine = calloc(1, sizeof *engine);
    if (engine == NULL)
        return FAIL(-ENOMEM, "opening volumes: no memory");
    engine->store = options->store;
    engine->pieces = calloc(op_count, sizeof *engine->pieces);
    engine->bounces = aligned_alloc(BLOCK_BYTES, (size_t)bounce_count * BOUNCE_BYTES);
    engine->zeros = aligned_alloc(BLOCK_BYTES, (size_t)MAP_BLOCKS * BLOCK_BYTES);
    engine->aheads = calloc(SURVEYS_AHEAD, sizeof *engine->aheads);
    if (engine->pieces == NULL || engine->bounces == NULL || engine->zeros == NULL ||
        engine->aheads == NULL) {
        volume_engine_close(engine);
        return FAIL(-ENOMEM, "opening volumes: no memory");
    }
    memset(engine->zeros, 0, (size_t)MAP_BLOCKS * BLOCK_BYTES);
    engine_lists(engine, op_count, bounce_count);
    *ret_engine = engine;
    return 0;
}

void volume_engine_close(struct volume_engine *engine)
{
    if (engine == NULL)
        return;
    assert(engine->volume_count == 0);
    free(engine->pieces);
    free(engine->bounces);
    free(engine->zeros);
    free(engine->aheads);
    free(engine);
}

static void sequences_set(struct volume *volume, uint64_t end)
{
    volume->sequence_end = end;
    volume->sequence_warn = end - (end - volume->sequence) / 2;
    volume->wants_sequences = false;
}

void volume_want_sequences(struct volume *volume)
{
    if (volume->wants_sequences)
        return;
    volume->wants_sequences = true;
    if (volume->want_sequences != NULL)
        volume->want_sequences(volume->context);
}

int volume_open(struct volume_engine *engine, const struct volume_options *options,
                struct volume **ret_volume)
{
    assert(options->view == VIEW_HEAD || options->sequence == options->sequence_end);
    struct volume *volume = calloc(1, sizeof *volume);
    if (volume == NULL)
        return FAIL(-ENOMEM, "opening volume %llu: no memory", (unsigned long long)options->id);
    int result = family_make(options->parents, options->parent_count, &volume->family);
    if (result != 0) {
        free(volume);
        return result;
    }
    volume->engine = engine;
    volume->copies = options->copies;
    volume->id = options->id;
    volume->view = options->view;
    volume->bytes = options->bytes;
    volume->sector_bytes = options->sector_bytes;
    volume->epoch = options->epoch;
    volume->sequence = options->sequence;
    volume->writable = options->sequence < options->sequence_end;
    volume->want_sequences = options->want_sequences;
    volume->context = options->context;
    volume->cut = options->cut;
    volume->views = options->views;
    sequences_set(volume, options->sequence_end);
    list_init(&volume->holding);
    list_init(&volume->waiting);
    list_init(&volume->stopped);
    list_init(&volume->holds);
    list_init(&volume->hold_later);
    engine->volume_count++;
    *ret_volume = volume;
    return 0;
}

void volume_close(struct volume *volume)
{
    assert(volume->io_count == 0);
    assert(volume->holder == NULL && list_empty(&volume->holds));
    list_remove(&volume->hold_later);
    volume->engine->volume_count--;
    family_drop(volume->family);
    free(volume);
}

uint64_t volume_bytes(const struct volume *volume)
{
    return volume->bytes;
}

uint32_t volume_sector_bytes(const struct volume *volume)
{
    return volume->sector_bytes;
}

uint64_t volume_view(const struct volume *volume)
{
    return volume->view;
}

uint64_t volume_id(const struct volume *volume)
{
    return volume->id;
}

uint64_t volume_sequence(const struct volume *volume)
{
    return volume->sequence;
}

void volume_extend_sequences(struct volume *volume, uint64_t sequence_end)
{
    sequences_set(volume, sequence_end);
    volume_hold_advance(volume);
}

void volume_make_writable(struct volume *volume, uint64_t epoch, uint64_t sequence,
                          uint64_t sequence_end)
{
    assert(volume->sequence == volume->sequence_end && volume->view == VIEW_HEAD);
    volume->writable = true;
    volume->epoch = epoch;
    volume->sequence = sequence;
    sequences_set(volume, sequence_end);
}

uint64_t volume_take_sequence(struct volume *volume)
{
    if (!volume_has_sequence(volume)) {
        volume_want_sequences(volume);
        return 0;
    }
    return volume->sequence++;
}

void volume_refuse_sequences(struct volume *volume, int result)
{
    assert(result < 0);
    volume->refused = result;
    volume_hold_advance(volume);
}

void volume_set_views(struct volume *volume, uint64_t cut, bool views)
{
    volume->cut = cut;
    volume->views = views;
}

int volume_set_parents(struct volume *volume, const struct volume_parent *parents,
                       uint32_t parent_count)
{
    struct family *family;
    int result = family_make(parents, parent_count, &family);
    if (result != 0)
        return result;
    if (volume->family != NULL) {
        volume->family->retired = &volume->families_retired;
        volume->families_retired++;
    }
    family_drop(volume->family);
    volume->family = family;
    return 0;
}

bool volume_parents_quiet(const struct volume *volume)
{
    return volume->families_retired == 0;
}

void volume_set_bytes(struct volume *volume, uint64_t bytes)
{
    volume->bytes = bytes;
}

uint32_t volume_io_count(const struct volume *volume)
{
    return volume->io_count;
}
