/* SPDX-License-Identifier: Apache-2.0 */
#include "sim/model_frozen.h"

#include <stdlib.h>
#include <string.h>

#define SECTOR 512u

/* Changes that have not begun are none of the snapshot's: they wait, and carry the cut. Of those
 * that stopped between two pieces each block is there or not. */
static struct model_block *doubt_take(const struct model *model, uint32_t index)
{
    struct model_block *doubt = malloc(sizeof *doubt);
    if (doubt == NULL)
        abort();
    *doubt = model->blocks[index];
    uint32_t count = 1;
    for (; count < doubt->count; count++) {
        struct model_version *version = &doubt->versions[count];
        if (version->acked_at == 0 && !version->failed && !version->in_pieces)
            break;
        version->failed = version->failed || version->acked_at == 0;
    }
    doubt->count = count;
    return doubt;
}

struct model_frozen *frozen_take(const struct model *model)
{
    struct model_frozen *frozen = calloc(1, sizeof *frozen);
    if (frozen == NULL)
        abort();
    for (uint32_t i = 0; i < MODEL_BLOCKS; i++) {
        if (!model_now(model, i, &frozen->shown[i]))
            frozen->doubts[i] = doubt_take(model, i);
    }
    return frozen;
}

void frozen_free(struct model_frozen *frozen)
{
    for (uint32_t i = 0; frozen != NULL && i < MODEL_BLOCKS; i++)
        free(frozen->doubts[i]);
    free(frozen);
}

bool frozen_in_doubt(const struct model_frozen *frozen)
{
    bool doubt = false;
    for (uint32_t i = 0; i < MODEL_BLOCKS; i++)
        doubt = doubt || frozen->doubts[i] != NULL;
    return doubt;
}

/* A part of a block says nothing for sure. */
static const char *doubt_check(struct model_frozen *frozen, uint32_t index, uint32_t first,
                               uint32_t count, const uint8_t *data)
{
    struct model_block *doubt = frozen->doubts[index];
    struct model model = {.blocks = doubt, .durable_acks = UINT64_MAX};
    if (first != 0 || count != MODEL_SECTORS)
        return model_check_read(&model, 0, doubt->count, first, count, data);
    const char *wrong = model_settle(&model, 0, MODEL_KILL, data);
    if (wrong != NULL)
        return wrong;
    (void)model_now(&model, 0, &frozen->shown[index]);
    frozen->shown[index].sure = false;
    free(doubt);
    frozen->doubts[index] = NULL;
    return NULL;
}

const char *frozen_check(struct model_frozen *frozen, uint32_t index, uint32_t first,
                         uint32_t count, const uint8_t *data)
{
    if (frozen->doubts[index] != NULL)
        return doubt_check(frozen, index, first, count, data);
    for (uint32_t s = 0; s < count; s++) {
        uint8_t expected[SECTOR];
        uint64_t tag = frozen->shown[index].tags[first + s];
        model_fill(expected, tag);
        if (memcmp(expected, data + (size_t)s * SECTOR, SECTOR) == 0)
            continue;
        uint64_t found = get64(data + (size_t)s * SECTOR);
        return found > tag  ? "it shows what was written after it"
               : found == 0 ? "it shows zeros where there was data"
                            : "it shows what is older, or nobody wrote";
    }
    return NULL;
}

void frozen_clone(const struct model_frozen *frozen, struct model *model)
{
    model->stamps = 1; /* Whatever the parent's changes were. */
    for (uint32_t i = 0; i < MODEL_BLOCKS; i++) {
        struct model_block *block = &model->blocks[i];
        const struct model_shown *shown = &frozen->shown[i];
        for (unsigned s = 0; s < MODEL_SECTORS; s++)
            block->versions[0].tags[s] = shown->tags[s];
        block->versions[0].stamp = shown->stamp != 0 ? 1 : 0;
        block->own = false;
        block->empty = shown->empty;
        block->unsure = !shown->sure;
    }
}

static bool tags_zero(const struct model_shown *shown)
{
    uint64_t any = 0;
    for (unsigned s = 0; s < MODEL_SECTORS; s++)
        any |= shown->tags[s];
    return any == 0;
}

bool frozen_roll_back(const struct model_frozen *frozen, struct model *model, uint32_t index,
                      uint32_t *ret_version)
{
    const struct model_shown *to = &frozen->shown[index];
    struct model_shown now;
    bool known = model_now(model, index, &now);
    if (known && now.sure && to->sure && now.stamp == to->stamp)
        return false;
    enum model_effect effect = to->empty || tags_zero(to) ? MODEL_NOTHING : MODEL_DATA;
    *ret_version = model_change(model, index, 0, MODEL_SECTORS, to->tags, effect);
    struct model_version *version = &model->blocks[index].versions[*ret_version];
    version->unsure = !known || !now.sure || !to->sure || tags_zero(to);
    return true;
}

void frozen_flatten(struct model *model, bool ended)
{
    for (uint32_t i = 0; i < MODEL_BLOCKS; i++) {
        struct model_block *block = &model->blocks[i];
        if (block->own || block->empty)
            continue;
        block->own = ended;
        block->unsure = true;
    }
}

static bool same_place(const struct model_shown *a, const struct model_shown *b)
{
    return a->own && b->own && a->stamp == b->stamp;
}

void frozen_space(struct model_frozen *const *views, uint32_t count, const struct model *model,
                  struct model_space *ret_spaces)
{
    memset(ret_spaces, 0, count * sizeof *ret_spaces);
    for (uint32_t i = 0; i < MODEL_BLOCKS; i++) {
        struct model_shown head;
        bool head_known = model_now(model, i, &head);
        for (uint32_t v = 0; v < count; v++) {
            const struct model_shown *shown = &views[v]->shown[i];
            const struct model_shown *next = v + 1 < count ? &views[v + 1]->shown[i] : &head;
            bool sure =
                shown->sure && views[v]->doubts[i] == NULL && next->sure &&
                (v + 1 < count ? views[v + 1]->doubts[i] == NULL : head_known) &&
                (v == 0 || (views[v - 1]->shown[i].sure && views[v - 1]->doubts[i] == NULL));
            bool alone =
                !same_place(shown, next) && (v == 0 || !same_place(shown, &views[v - 1]->shown[i]));
            ret_spaces[v].slack += sure ? 0 : 1;
            ret_spaces[v].unique += shown->own && alone ? 1 : 0;
            ret_spaces[v].shared += shown->own && !alone ? 1 : 0;
        }
    }
}

enum frozen_change frozen_changed(const struct model_frozen *since, const struct model_frozen *view,
                                  const struct model *model, uint32_t index)
{
    struct model_shown now;
    bool known = view != NULL ? view->doubts[index] == NULL : model_now(model, index, &now);
    now = view != NULL ? view->shown[index] : now;
    if (!known || !now.sure)
        return FROZEN_EITHER;
    if (since == NULL)
        return !now.empty ? FROZEN_CHANGED : now.stamp == 0 ? FROZEN_SAME : FROZEN_EITHER;
    const struct model_shown *then = &since->shown[index];
    if (since->doubts[index] != NULL || !then->sure)
        return FROZEN_EITHER;
    if (then->stamp == now.stamp)
        return FROZEN_SAME;
    return memcmp(then->tags, now.tags, sizeof now.tags) == 0 ? FROZEN_EITHER : FROZEN_CHANGED;
}
