/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Volumes without an owner that something is to be done for: the keeper owns them, and yields.
 *
 *   wanted by a pass ──▶ OPENING ──▶ OPEN ──▶ not wanted any more, or taken ──▶ CLOSING
 *                          └──▶ refused, or it waits for copies: left alone for a while
 */
#include "keeper/keeper_inside.h"

#define KEPT_WAIT_NS (20 * NS_PER_S)    /* For copies, while it is being opened. */
#define KEPT_REFUSED_NS (20 * NS_PER_S) /* Until it is tried again. */

static struct keeper_kept *kept_find(struct keeper *keeper, uint64_t volume)
{
    for (unsigned i = 0; i < KEEPER_KEPT_MAX; i++) {
        if (keeper->kept[i].volume == volume)
            return &keeper->kept[i];
    }
    return NULL;
}

static bool is_refused(const struct keeper *keeper, uint64_t volume, uint64_t now_ns)
{
    for (unsigned i = 0; i < KEEPER_REFUSED_MAX; i++) {
        if (keeper->refused[i].volume == volume && keeper->refused[i].until_ns > now_ns)
            return true;
    }
    return false;
}

static void refuse(struct keeper *keeper, uint64_t volume)
{
    uint64_t now_ns = clock_now_ns(keeper->options.clock);
    keeper->refused[keeper->refused_at++ % KEEPER_REFUSED_MAX] =
        (struct keeper_refused){.volume = volume, .until_ns = now_ns + KEPT_REFUSED_NS};
}

static void kept_closed(void *context, int result)
{
    struct keeper_kept *kept = context;
    (void)result; /* Who took it has it. */
    kept->volume = 0;
}

static void kept_close(struct keeper_kept *kept)
{
    kept->closing = true;
    catalog_handle_close(kept->handle, kept_closed, kept);
}

static void kept_opened(void *context, int result, struct catalog_handle *handle)
{
    struct keeper_kept *kept = context;
    struct keeper *keeper = kept->keeper;
    kept->opening = false;
    kept->handle = handle;
    if (result != 0) {
        refuse(keeper, kept->volume);
        kept->volume = 0;
    } else if (!keeper_leads(keeper) || keeper->closing || !kept->wanted) {
        kept_close(kept);
    }
}

static void kept_open(struct keeper *keeper, uint64_t volume, uint64_t now_ns)
{
    struct keeper_kept *kept = kept_find(keeper, 0);
    if (kept == NULL || is_refused(keeper, volume, now_ns))
        return;
    *kept = (struct keeper_kept){
        .keeper = keeper, .volume = volume, .opening = true, .wanted = true, .since_ns = now_ns};
    if (catalog_keep(keeper->options.catalog, volume, kept_opened, kept) != 0)
        kept->volume = 0;
}

void keeper_kept_begin(struct keeper *keeper)
{
    for (unsigned i = 0; i < KEEPER_KEPT_MAX; i++)
        keeper->kept[i].wanted = false;
}

void keeper_kept_want(struct keeper *keeper, uint64_t volume)
{
    struct keeper_kept *kept = kept_find(keeper, volume);
    if (kept != NULL)
        kept->wanted = true;
    else
        kept_open(keeper, volume, clock_now_ns(keeper->options.clock));
}

void keeper_kept_end(struct keeper *keeper)
{
    for (unsigned i = 0; i < KEEPER_KEPT_MAX; i++) {
        struct keeper_kept *kept = &keeper->kept[i];
        if (kept->volume == 0 || kept->wanted || kept->closing)
            continue;
        if (kept->opening)
            catalog_keep_stop(keeper->options.catalog, kept->volume);
        else
            kept_close(kept);
    }
}

void keeper_kept_stop(struct keeper *keeper)
{
    keeper_kept_begin(keeper);
    keeper_kept_end(keeper);
}

void keeper_kept_turn(struct keeper *keeper)
{
    uint64_t now_ns = clock_now_ns(keeper->options.clock);
    for (unsigned i = 0; i < KEEPER_KEPT_MAX; i++) {
        struct keeper_kept *kept = &keeper->kept[i];
        if (kept->volume == 0 || kept->closing)
            continue;
        if (kept->opening && (now_ns - kept->since_ns > KEPT_WAIT_NS || !kept->wanted))
            catalog_keep_stop(keeper->options.catalog, kept->volume);
        else if (!kept->opening && catalog_handle_ended(kept->handle) != 0)
            kept_close(kept);
    }
}

uint32_t keeper_kept_count(const struct keeper *keeper)
{
    uint32_t count = 0;
    for (unsigned i = 0; i < KEEPER_KEPT_MAX; i++)
        count += keeper->kept[i].volume != 0 ? 1 : 0;
    return count;
}
