/* SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>

#include "meta/history.h"

void meta_history_init(struct meta_history *history, uint64_t revision)
{
    *history = (struct meta_history){
        .revision_gone = revision,
        .items_max = META_HISTORY_ITEMS_MAX,
    };
    list_init(&history->watches);
}

static struct meta_item **item_at(struct meta_history *history, uint64_t number)
{
    return &history->items[number & (history->capacity - 1)];
}

static void forget_first(struct meta_history *history)
{
    struct meta_item *item = *item_at(history, history->number_first++);
    history->revision_gone = item->event.revision;
    history->bytes -= item->bytes;
    free(item);
}

void meta_history_done(struct meta_history *history)
{
    assert(list_empty(&history->watches));
    while (history->number_first < history->number_next)
        forget_first(history);
    free(history->items);
    history->items = NULL;
}

struct meta_item *meta_item_new(const struct meta_event *event)
{
    struct meta_slice key = event->entry.key;
    struct meta_slice value = event->entry.value;
    struct meta_item *item = malloc(sizeof *item + key.length + value.length);
    if (item == NULL)
        return NULL;
    uint8_t *bytes = (uint8_t *)(item + 1);
    *item = (struct meta_item){.event = *event};
    item->bytes = sizeof *item + key.length + value.length;
    memcpy(bytes, key.data, key.length);
    if (value.length > 0)
        memcpy(bytes + key.length, value.data, value.length);
    item->event.entry.key.data = bytes;
    item->event.entry.value.data = bytes + key.length;
    list_init(&item->node);
    return item;
}

static bool ring_grow(struct meta_history *history)
{
    uint64_t count = history->number_next - history->number_first;
    if (count < history->capacity)
        return true;
    uint32_t larger = history->capacity == 0 ? 64 : history->capacity * 2;
    struct meta_item **items = calloc(larger, sizeof(struct meta_item *));
    if (items == NULL)
        return false;
    for (uint64_t n = history->number_first; n < history->number_next; n++)
        items[n & (larger - 1)] = *item_at(history, n);
    free(history->items);
    history->items = items;
    history->capacity = larger;
    return true;
}

void meta_history_lose(struct meta_history *history, uint64_t revision)
{
    while (history->number_first < history->number_next)
        forget_first(history);
    history->revision_gone = MAX(history->revision_gone, revision);
    /* A number that nobody was given: every watch that had not read so far sees the gap. */
    history->number_first = ++history->number_next;
}

void meta_history_append(struct meta_history *history, struct list *items)
{
    struct list *node;
    while ((node = list_pop_front(items)) != NULL) {
        struct meta_item *item = LIST_ENTRY(node, struct meta_item, node);
        if (!ring_grow(history)) {
            meta_history_lose(history, item->event.revision);
            free(item);
            continue;
        }
        *item_at(history, history->number_next++) = item;
        history->bytes += item->bytes;
    }
}

void meta_history_watch(struct meta_history *history, struct meta_watch *watch)
{
    watch->active = true;
    /* What comes after this call. From a revision: looked for at the first delivery, because the
     * history may forget it until then, and no callback runs inside this call. */
    watch->begun = watch->from == 0;
    watch->cursor = history->number_next;
    list_push_back(&history->watches, &watch->node);
}

void meta_history_cancel(struct meta_history *history, struct meta_watch *watch)
{
    list_remove(&watch->node);
    watch->active = false;
    if (history->current == watch)
        history->current = NULL;
}

static void watch_end(struct meta_history *history, struct meta_watch *watch, int result)
{
    meta_history_cancel(history, watch);
    watch->ended(watch, result);
}

static bool watch_wants(const struct meta_watch *watch, const struct meta_item *item)
{
    struct meta_slice prefix = {.data = watch->prefix, .length = watch->prefix_length};
    return item->event.revision >= watch->from && meta_slice_begins(item->event.entry.key, prefix);
}

/* Is there another event of this revision for this watch? */
static bool watch_has_more(struct meta_history *history, const struct meta_watch *watch,
                           uint64_t revision)
{
    for (uint64_t n = watch->cursor; n < history->number_next; n++) {
        const struct meta_item *item = *item_at(history, n);
        if (item->event.revision != revision)
            return false;
        if (watch_wants(watch, item))
            return true;
    }
    return false;
}

static unsigned watch_deliver(struct meta_history *history, struct meta_watch *watch)
{
    unsigned ran = 0;
    bool gone = watch->begun ? watch->cursor < history->number_first
                             : watch->from <= history->revision_gone;
    if (gone) {
        watch_end(history, watch, IOMESH_COMPACTED);
        return 1;
    }
    if (!watch->begun)
        watch->cursor = history->number_first;
    watch->begun = true;
    history->current = watch;
    while (history->current == watch && watch->cursor < history->number_next) {
        const struct meta_item *item = *item_at(history, watch->cursor++);
        if (!watch_wants(watch, item))
            continue;
        struct meta_event event = item->event;
        event.last = !watch_has_more(history, watch, event.revision);
        watch->event(watch, &event);
        ran++;
    }
    history->current = NULL;
    return ran;
}

unsigned meta_history_deliver(struct meta_history *history)
{
    unsigned ran = 0;
    struct list turn;
    struct list *node;
    list_init(&turn);
    list_splice_back(&turn, &history->watches);
    while ((node = list_pop_front(&turn)) != NULL) {
        list_push_back(&history->watches, node);
        ran += watch_deliver(history, LIST_ENTRY(node, struct meta_watch, node));
    }
    while (history->number_next - history->number_first > history->items_max ||
           history->bytes > META_HISTORY_BYTES_MAX)
        forget_first(history);
    return ran;
}

unsigned meta_history_end(struct meta_history *history, int result)
{
    unsigned ran = 0;
    struct list turn;
    struct list *node;
    list_init(&turn);
    list_splice_back(&turn, &history->watches);
    while ((node = list_pop_front(&turn)) != NULL) {
        watch_end(history, LIST_ENTRY(node, struct meta_watch, node), result);
        ran++;
    }
    return ran;
}
