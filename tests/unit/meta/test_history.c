/* SPDX-License-Identifier: Apache-2.0 */
#include <criterion/criterion.h>
#include <stdio.h>

#include "meta/history.h"

static struct meta_history history;

/* What a watch was told: "5a 5b. 6c." where the dot marks the last of a revision. */
struct told {
    struct meta_watch watch;
    char text[400];
    int ended;
    bool cancel_at_once;
};

static void on_event(struct meta_watch *watch, const struct meta_event *event)
{
    struct told *told = CONTAINER_OF(watch, struct told, watch);
    size_t length = strlen(told->text);
    (void)snprintf(told->text + length, sizeof told->text - length, "%s%llu%.*s%s%s",
                   length > 0 ? " " : "", (unsigned long long)event->revision,
                   (int)event->entry.key.length, (const char *)event->entry.key.data,
                   event->kind == META_EVENT_DELETE ? "-" : "", event->last ? "." : "");
    if (told->cancel_at_once)
        meta_history_cancel(&history, watch);
}

static void on_ended(struct meta_watch *watch, int result)
{
    CONTAINER_OF(watch, struct told, watch)->ended = result;
}

static void watch(struct told *told, const char *prefix, uint64_t from)
{
    *told = (struct told){.watch = {.event = on_event, .ended = on_ended, .from = from}};
    told->watch.prefix_length = (uint16_t)strlen(prefix);
    memcpy(told->watch.prefix, prefix, strlen(prefix));
    list_init(&told->watch.node);
    meta_history_watch(&history, &told->watch);
}

static void put(uint64_t revision, const char *key)
{
    struct list items;
    struct meta_event event = {
        .kind = META_EVENT_PUT,
        .revision = revision,
        .entry = {.key = META_TEXT(key), .value = META_TEXT("v")},
    };
    struct meta_item *item = meta_item_new(&event);
    list_init(&items);
    list_push_back(&items, &item->node);
    meta_history_append(&history, &items);
}

static void cancel(struct told *told)
{
    if (told->watch.active)
        meta_history_cancel(&history, &told->watch);
}

TestSuite(history);

Test(history, events_come_in_order_whole_revisions_marked_at_their_end)
{
    struct told all;
    struct told some;
    meta_history_init(&history, 4);
    watch(&all, "", 0);
    watch(&some, "b", 0);
    put(5, "a");
    put(5, "b");
    put(5, "c");
    put(6, "bb");
    cr_assert_str_eq(all.text, "", "told inside the call");
    cr_assert_eq(meta_history_deliver(&history), 6);
    cr_assert_str_eq(all.text, "5a 5b 5c. 6bb.");
    cr_assert_str_eq(some.text, "5b. 6bb.");
    cr_assert_eq(meta_history_deliver(&history), 0);
    cancel(&all);
    cancel(&some);
    meta_history_done(&history);
}

Test(history, a_watch_from_a_revision_is_told_the_past_from_there)
{
    struct told told;
    meta_history_init(&history, 4);
    put(5, "a");
    put(6, "a");
    put(7, "a");
    watch(&told, "a", 6);
    meta_history_deliver(&history);
    put(8, "a");
    meta_history_deliver(&history);
    cr_assert_str_eq(told.text, "6a. 7a. 8a.");
    cancel(&told);

    watch(&told, "a", 8); /* The last there is. */
    meta_history_deliver(&history);
    cr_assert_str_eq(told.text, "8a.");
    cancel(&told);

    watch(&told, "a", 10); /* Not yet. */
    put(9, "a");
    put(10, "a");
    meta_history_deliver(&history);
    cr_assert_str_eq(told.text, "10a.");
    cancel(&told);
    meta_history_done(&history);
}

Test(history, what_is_gone_ends_a_watch_as_compacted)
{
    struct told old;
    struct told kept;
    struct told before;
    meta_history_init(&history, 4);
    history.items_max = 2;
    put(5, "a");
    put(6, "a");
    put(7, "a");
    meta_history_deliver(&history); /* Forgets 5. */
    watch(&old, "", 5);
    watch(&kept, "", 6);
    watch(&before, "", 4); /* Before history began. */
    meta_history_deliver(&history);
    cr_assert_eq(old.ended, IOMESH_COMPACTED);
    cr_assert_not(old.watch.active);
    cr_assert_str_eq(kept.text, "6a. 7a.");
    cr_assert_eq(kept.ended, 0);
    cr_assert_eq(before.ended, IOMESH_COMPACTED);
    cancel(&kept);
    meta_history_done(&history);
}

Test(history, whoever_watches_is_told_before_the_past_is_forgotten)
{
    struct told told;
    meta_history_init(&history, 4);
    history.items_max = 2;
    watch(&told, "", 0);
    for (uint64_t revision = 5; revision < 15; revision++)
        put(revision, "a");
    cr_assert_eq(meta_history_deliver(&history), 10);
    cr_assert_eq(told.ended, 0);
    cr_assert_eq(history.number_next - history.number_first, 2);
    cancel(&told);
    meta_history_done(&history);
}

Test(history, bytes_are_bounded_too)
{
    static uint8_t value[512 << 10];
    struct list items;
    meta_history_init(&history, 4);
    for (uint64_t revision = 5; revision < 45; revision++) {
        struct meta_event event = {
            .revision = revision,
            .entry = {.key = META_TEXT("k"), .value = {value, sizeof value}},
        };
        list_init(&items);
        list_push_back(&items, &meta_item_new(&event)->node);
        meta_history_append(&history, &items);
    }
    meta_history_deliver(&history);
    cr_assert_leq(history.bytes, META_HISTORY_BYTES_MAX);
    cr_assert_gt(history.number_next - history.number_first, 10);
    meta_history_done(&history);
}

Test(history, a_cancelled_watch_hears_nothing_more_even_from_within_its_callback)
{
    struct told told;
    struct told other;
    meta_history_init(&history, 4);
    watch(&told, "", 0);
    watch(&other, "", 0);
    told.cancel_at_once = true;
    put(5, "a");
    put(6, "b");
    meta_history_deliver(&history);
    cr_assert_str_eq(told.text, "5a.");
    cr_assert_eq(told.ended, 0);
    cr_assert_str_eq(other.text, "5a. 6b.");
    cancel(&other);
    meta_history_done(&history);
}

Test(history, what_could_not_be_kept_ends_the_watches_that_missed_it)
{
    struct told told;
    struct told later;
    meta_history_init(&history, 4);
    watch(&told, "", 0);
    put(5, "a");
    meta_history_lose(&history, 6);
    watch(&later, "", 0);
    put(7, "b");
    meta_history_deliver(&history);
    cr_assert_eq(told.ended, IOMESH_COMPACTED);
    cr_assert_str_eq(later.text, "7b.");
    cancel(&later);
    meta_history_done(&history);
}

Test(history, an_end_reaches_every_watch_once)
{
    struct told a;
    struct told b;
    meta_history_init(&history, 4);
    watch(&a, "", 0);
    watch(&b, "", 0);
    cr_assert_eq(meta_history_end(&history, IOMESH_FAILED), 2);
    cr_assert_eq(a.ended, IOMESH_FAILED);
    cr_assert_eq(b.ended, IOMESH_FAILED);
    cr_assert_eq(meta_history_end(&history, IOMESH_FAILED), 0);
    meta_history_done(&history);
}
