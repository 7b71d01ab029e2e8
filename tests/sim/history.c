/* SPDX-License-Identifier: Apache-2.0 */
/* See history.h. */
#include "sim/history.h"

#include <assert.h>
#include <stdlib.h>

const char *history_fault_text(enum history_fault fault)
{
    static const char *const texts[] = {"fine", "a read of what was never written",
                                        "a read of what was written later", "a stale read"};
    return texts[fault];
}

/* By register, then value, then the write before its reads. */
static int compare_ops(const void *left, const void *right)
{
    const struct history_op *a = left;
    const struct history_op *b = right;
    if (a->cell != b->cell)
        return a->cell < b->cell ? -1 : 1;
    if (a->value != b->value)
        return a->value < b->value ? -1 : 1;
    if (a->write != b->write)
        return a->write ? -1 : 1;
    if (a->begun != b->begun)
        return a->begun < b->begun ? -1 : 1;
    return a->ended < b->ended ? -1 : a->ended > b->ended;
}

/* A value's zone: from the first moment at which it surely was there to the last; if the second
 * comes first, its life may lie anywhere between. */
struct zone {
    uint64_t low, high;
    bool forward;
    const struct history_op *op;
};

static int compare_zones(const void *left, const void *right)
{
    const struct zone *a = left;
    const struct zone *b = right;
    if (a->low != b->low)
        return a->low < b->low ? -1 : 1;
    return a->high < b->high ? -1 : a->high > b->high;
}

/* The zone of ops[0 .. count - 1], all of one value. */
static enum history_fault zone_of(const struct history_op *ops, size_t count, struct zone *zone)
{
    uint64_t first_end = HISTORY_NEVER;
    uint64_t last_begin = 0;
    uint64_t written = 0;
    if (ops[0].write) {
        first_end = ops[0].ended;
        last_begin = written = ops[0].begun;
    } else if (ops[0].value == 0) {
        first_end = 0;
    } else {
        return HISTORY_NEVER_WRITTEN;
    }
    for (size_t i = ops[0].write; i < count; i++) {
        assert(!ops[i].write); /* A value is written once. */
        if (ops[i].ended < written)
            return HISTORY_FUTURE;
        if (ops[i].ended < first_end)
            first_end = ops[i].ended;
        if (ops[i].begun > last_begin)
            last_begin = ops[i].begun;
    }
    zone->op = ops;
    zone->forward = first_end < last_begin;
    zone->low = zone->forward ? first_end : last_begin;
    zone->high = zone->forward ? last_begin : first_end;
    return HISTORY_FINE;
}

/* No two forward zones overlap, and no backward zone lies within a forward one. */
static const struct zone *clash(struct zone *zones, size_t count)
{
    qsort(zones, count, sizeof zones[0], compare_zones);
    const struct zone *before = NULL; /* The forward zone that reaches farthest. */
    for (size_t i = 0; i < count; i++) {
        const struct zone *zone = &zones[i];
        if (before != NULL && zone->low > before->low &&
            (zone->forward ? zone->low : zone->high) < before->high)
            return zone;
        if (before != NULL && zone->forward && zone->low == before->low &&
            zone->low < before->high && zone->low < zone->high)
            return zone;
        if (zone->forward && (before == NULL || zone->high > before->high))
            before = zone;
    }
    return NULL;
}

static enum history_fault check_cell(const struct history_op *ops, size_t count, struct zone *zones,
                                     const struct history_op **ret_at)
{
    size_t zone_count = 0;
    if (ops[0].value != 0) /* Nobody read what it held at first: it was there all the same. */
        zones[zone_count++] = (struct zone){.op = ops};
    for (size_t i = 0; i < count;) {
        size_t same = 1;
        while (i + same < count && ops[i + same].value == ops[i].value)
            same++;
        enum history_fault fault = zone_of(&ops[i], same, &zones[zone_count]);
        if (fault != HISTORY_FINE) {
            *ret_at = &ops[i];
            return fault;
        }
        /* Neither answered nor read: it need not have happened. */
        zone_count += same > 1 || !ops[i].write || ops[i].ended != HISTORY_NEVER;
        i += same;
    }
    const struct zone *zone = clash(zones, zone_count);
    if (zone == NULL)
        return HISTORY_FINE;
    *ret_at = zone->op;
    return HISTORY_STALE;
}

enum history_fault history_check(struct history_op *ops, size_t count,
                                 const struct history_op **ret_at)
{
    if (count == 0)
        return HISTORY_FINE;
    qsort(ops, count, sizeof ops[0], compare_ops);
    struct zone *zones = calloc(count + 1, sizeof zones[0]);
    if (zones == NULL)
        abort();
    enum history_fault fault = HISTORY_FINE;
    for (size_t i = 0; i < count && fault == HISTORY_FINE;) {
        size_t same = 1;
        while (i + same < count && ops[i + same].cell == ops[i].cell)
            same++;
        fault = check_cell(&ops[i], same, zones, ret_at);
        i += same;
    }
    free(zones);
    return fault;
}

/* --- By search ------------------------------------------------------------------------------ */

struct search {
    const struct history_op *ops;
    size_t count;
    uint32_t done; /* A mask. */
    uint64_t value;
};

/* One of one register goes next if nobody who is left had ended before it began. */
static bool go_on(struct search search)
{
    bool left = false;
    uint64_t first_end = HISTORY_NEVER;
    for (size_t i = 0; i < search.count; i++) {
        if ((search.done >> i & 1) != 0)
            continue;
        left = left || search.ops[i].ended != HISTORY_NEVER;
        if (search.ops[i].ended < first_end)
            first_end = search.ops[i].ended;
    }
    if (!left)
        return true; /* What was never answered need not have happened. */
    for (size_t i = 0; i < search.count; i++) {
        const struct history_op *op = &search.ops[i];
        if ((search.done >> i & 1) != 0 || op->begun > first_end)
            continue;
        if (!op->write && op->value != search.value)
            continue;
        struct search next = search;
        next.done |= 1u << i;
        next.value = op->value;
        if (go_on(next))
            return true;
    }
    return false;
}

bool history_search(const struct history_op *ops, size_t count)
{
    assert(count <= 24);
    return go_on((struct search){.ops = ops, .count = count});
}
