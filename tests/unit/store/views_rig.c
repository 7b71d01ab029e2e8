/* SPDX-License-Identifier: Apache-2.0 */
#include "unit/store/views_rig.h"

#include <stdlib.h>
#include <string.h>

struct views views;

static void on_event(void *context, const struct store_event *event)
{
    (void)context;
    if (event->kind != STORE_DAMAGE)
        return;
    views.damage++;
    cr_assert(views.expects_damage, "%s", event->text);
}

void views_open(uint64_t disk_blocks)
{
    views = (struct views){.sequence = 100};
    uint64_t cache_bytes = options.cache_bytes;
    uint32_t segments_max = options.segments_max, quarantine_max = options.quarantine_max;
    open_world(disk_blocks);
    options.event = on_event;
    options.cache_bytes = cache_bytes;
    options.segments_max = segments_max;
    options.quarantine_max = quarantine_max;
    format_store();
    start_store();
    data = aligned_alloc(BLOCK_BYTES, (size_t)MAP_BLOCKS * BLOCK_BYTES);
    cr_assert_not_null(data);
    views.used_empty = views_used();
}

void views_close(void)
{
    stop_store();
    world_close(&world);
    free(data);
    options = (struct store_options){0};
}

/* --- Going down ------------------------------------------------------------------------------ */

void views_down_after(uint64_t moments, bool power)
{
    views.down_after = world.moments + moments;
    views.power = power;
}

void views_down_now(bool power)
{
    /* Its memory stays where a leak checker finds it. */
    static struct store *gone[4096];
    static unsigned count;
    cr_assert_lt(count, COUNT_OF(gone));
    gone[count++] = store;
    if (power)
        world_restart(&world);
    else
        world_kill(&world);
    memset(&op, 0, sizeof op);
    views.down_after = 0;
    views.downs++;
    start_store();
}

/* True: it ended, with *ret_result; false: it went down meanwhile. */
static bool ends(int *ret_result)
{
    for (waiting = true; waiting;) {
        if (views.down_after != 0 && world.moments >= views.down_after)
            return false;
        cr_assert(world_step(&world));
        do
            store_turn(store);
        while (waiting && store_turn_needed(store));
    }
    *ret_result = ended;
    return true;
}

static void flush_done(struct store_flush *flush, int result)
{
    (void)flush;
    done(NULL, result);
}

static bool flush_ends(void)
{
    static struct store_flush flush;
    int result = 0;
    flush = (struct store_flush){.done = flush_done};
    store_flush(store, &flush);
    bool ended_well = ends(&result);
    cr_assert_eq(result, 0);
    return ended_well;
}

void views_checkpoint(void)
{
    static struct checkpoint_waiter waiter;
    int result = 0;
    waiter = (struct checkpoint_waiter){.done = done};
    store_checkpoint(store, &waiter);
    if (!ends(&result))
        views_down_now(views.power);
    cr_assert_eq(result, 0);
}

/* --- Operations ------------------------------------------------------------------------------ */

void views_fill(uint8_t *to, uint32_t tag, uint32_t index)
{
    memset(to, 0, BLOCK_BYTES);
    if (tag == 0)
        return;
    for (unsigned i = 0; i < BLOCK_BYTES; i += 8) {
        put32(to + i, tag);
        put32(to + i + 4, index);
    }
}

static void op_fill(enum store_op_kind kind, uint64_t block, uint32_t count, void *bytes)
{
    op.kind = kind;
    op.volume = VIEWS_VOLUME;
    op.view = VIEW_HEAD;
    op.block = block;
    op.count = count;
    op.data = bytes;
    op.epoch = 1;
    op.done = op_done;
    op.sequence = ++views.sequence;
    op.cut = views.count == 0 ? 0 : views.views[views.count - 1].cut;
    op.views = true;
    op.parent = false;
}

int views_read(uint64_t view, uint32_t index, uint32_t count, uint8_t *to)
{
    op_fill(STORE_READ, VIEWS_BLOCK(index), count, to);
    op.view = view;
    store_submit(store, &op);
    return wait_for_it();
}

static bool block_is(uint32_t index, uint32_t tag)
{
    static uint8_t got[BLOCK_BYTES] __attribute__((aligned(4096)));
    static uint8_t wanted[BLOCK_BYTES];
    cr_assert_eq(views_read(VIEW_HEAD, index, 1, got), 0);
    views_fill(wanted, tag, index);
    return memcmp(got, wanted, BLOCK_BYTES) == 0;
}

void views_settle(uint32_t index, uint32_t tag)
{
    if (block_is(index, tag))
        views.head[index] = tag;
    else
        cr_assert(block_is(index, views.head[index]), "block %u is neither old nor new", index);
}

static int change(uint32_t first, uint32_t count, uint32_t tag)
{
    int result = 0;
    for (uint32_t i = first; i < first + count; i++)
        views.touched[i] = op.sequence;
    store_submit(store, &op);
    if (!ends(&result) || (result == 0 && !flush_ends())) {
        views_down_now(views.power);
        for (uint32_t i = first; i < first + count; i++)
            views_settle(i, tag);
        return 0;
    }
    for (uint32_t i = first; i < first + count; i++) {
        if (result == 0)
            views.head[i] = tag;
        else if (block_is(i, tag)) /* It may have been cut short. */
            views.head[i] = tag;
    }
    return result;
}

int views_write(uint32_t first, uint32_t count)
{
    uint32_t tag = ++views.tag;
    for (uint32_t i = 0; i < count; i++)
        views_fill(data + (size_t)i * BLOCK_BYTES, tag, first + i);
    op_fill(STORE_WRITE, VIEWS_BLOCK(first), count, data);
    return change(first, count, tag);
}

int views_zero(uint32_t first, uint32_t count)
{
    op_fill(STORE_ZERO, VIEWS_BLOCK(first), count, NULL);
    return change(first, count, 0);
}

int views_zero_segment(unsigned segment)
{
    op_fill(STORE_ZERO, segment == 0 ? 0 : 65536ull * 3, SEGMENT_BLOCKS, NULL);
    return change(segment * 768, 768, 0);
}

void views_cut(void)
{
    cr_assert_lt(views.count, VIEWS_MAX);
    struct views_view *view = &views.views[views.count++];
    view->cut = ++views.sequence;
    memcpy(view->tags, views.head, sizeof view->tags);
    memcpy(view->touched, views.touched, sizeof view->touched);
}

int views_delete(unsigned first, unsigned last)
{
    uint64_t cuts[2] = {views.views[first].cut, views.views[last].cut};
    uint64_t previous = first == 0 ? 0 : views.views[first - 1].cut;
    memmove(&views.views[first], &views.views[last + 1],
            (views.count - last - 1) * sizeof views.views[0]);
    views.count -= last + 1 - first;
    int result = 0;
    for (bool again = true; again;) {
        cr_assert_eq(
            store_delete_views(store, VIEWS_VOLUME, cuts[0], cuts[1], previous, done, NULL), 0);
        again = !ends(&result);
        if (again)
            views_down_now(views.power);
    }
    return result;
}

int views_delete_volume(void)
{
    int result = 0;
    for (bool again = true; again;) {
        cr_assert_eq(store_delete_volume(store, VIEWS_VOLUME, done, NULL), 0);
        again = !ends(&result);
        if (again)
            views_down_now(views.power);
    }
    memset(views.head, 0, sizeof views.head);
    memset(views.touched, 0, sizeof views.touched);
    views.count = 0;
    return result;
}

/* --- What there is --------------------------------------------------------------------------- */

static void verify(uint64_t view, const uint32_t *tags)
{
    static uint8_t got[MAP_BLOCKS * BLOCK_BYTES] __attribute__((aligned(4096)));
    uint8_t wanted[BLOCK_BYTES];
    for (uint32_t first = 0; first < VIEWS_BLOCKS; first += MAP_BLOCKS) {
        cr_assert_eq(views_read(view, first, MAP_BLOCKS, got), 0);
        for (uint32_t i = first; i < first + MAP_BLOCKS; i++) {
            views_fill(wanted, tags[i], i);
            cr_assert_eq(memcmp(got + (size_t)(i - first) * BLOCK_BYTES, wanted, BLOCK_BYTES), 0,
                         "view %llu block %u", (unsigned long long)view, i);
        }
    }
}

void views_verify(void)
{
    verify(VIEW_HEAD, views.head);
    for (unsigned i = 0; i < views.count; i++)
        verify(views.views[i].cut, views.views[i].tags);
}

uint64_t views_used(void)
{
    struct store_stats stats;
    checkpoint();
    checkpoint();
    store_stats(store, &stats);
    return stats.space.used_blocks;
}

void views_none_left(void)
{
    struct store_stats stats;
    uint64_t used = views_used(), shown = 0;
    store_stats(store, &stats);
    for (uint32_t i = 0; i < VIEWS_BLOCKS; i++)
        shown += views.head[i] != 0;
    cr_assert_eq(used, views.used_empty + shown + stats.tree.pages_used,
                 "%llu in use: %llu at first, %llu shown, %llu pages", (unsigned long long)used,
                 (unsigned long long)views.used_empty, (unsigned long long)shown,
                 (unsigned long long)stats.tree.pages_used);
}

static uint64_t faults;

static void on_fault(void *context, const struct store_fault *fault)
{
    (void)context;
    if (!views.expects_damage)
        cr_log_error("%s", fault->text);
}

static void on_checked(void *context, int result, const struct store_checked *checked)
{
    faults = checked->faults;
    done(context, result);
}

uint64_t views_check(void)
{
    const struct store_check check = {.fault = on_fault, .done = on_checked, .data = true};
    stop_store();
    options.read_only = true;
    start_store();
    cr_assert_eq(store_check_start(store, &check), 0);
    cr_assert_eq(wait_for_it(), 0);
    stop_store();
    options.read_only = false;
    start_store();
    return faults;
}
