/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the keeper wants of the groups of volumes that are open here, and how far that is.
 *
 *   LIST wish/ ──▶ WATCH ──▶ a group of ours ──▶ its copies are asked (copies_add, copies_drop)
 *     ▲              │                             ▲        │ not now: again, a little later
 *     └──────────────┘ history was too short       └────────┘
 *
 * A wish may be seen late, twice, or after it was fulfilled. So it is held against what the copies
 * are now: who is a member is not added, and none goes that is needed. Who leaves because another
 * comes is marked so in the transaction that makes the other a member.
 */
#include <stdlib.h>
#include <string.h>

#include "volume/catalog_cluster.h"

#define WISHES_RETRY_NS NS_PER_S
#define WISH_AGAIN_NS (100 * NS_PER_MS)
#define PROGRESS_NS (2 * NS_PER_S)
#define PROGRESS_BATCH 60u

/* --- The mirror ------------------------------------------------------------------------------- */

static int wish_order(const struct catalog_wish *wish, uint64_t volume, uint64_t group)
{
    if (wish->volume != volume)
        return wish->volume < volume ? -1 : 1;
    return (wish->group > group) - (wish->group < group);
}

/* Where it is, or would be. */
static uint32_t wish_index(const struct catalog_wishes *wishes, uint64_t volume, uint64_t group)
{
    uint32_t low = 0;
    uint32_t high = wishes->count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (wish_order(&wishes->items[middle], volume, group) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

const struct catalog_wish *catalog_wish_find(const struct catalog *catalog, uint64_t volume,
                                             uint32_t group)
{
    const struct catalog_wishes *wishes = &catalog->wishes;
    uint32_t at = wish_index(wishes, volume, group);
    bool found = at < wishes->count && wish_order(&wishes->items[at], volume, group) == 0;
    return found ? &wishes->items[at] : NULL;
}

static void wishes_look(struct catalog *catalog, uint64_t volume)
{
    LIST_EACH (&catalog->owned, node) {
        struct catalog_owned *owned = LIST_ENTRY(node, struct catalog_owned, node);
        if (owned->volume->record.id == volume)
            catalog_owned_wish(owned);
    }
}

static struct catalog_wish *wish_room(struct catalog_wishes *wishes, uint32_t at)
{
    if (wishes->count == CATALOG_WISHES_MAX)
        return NULL;
    if (wishes->count == wishes->capacity) {
        uint32_t capacity = MAX(2 * wishes->capacity, 16u);
        struct catalog_wish *items = realloc(wishes->items, capacity * sizeof *items);
        if (items == NULL)
            return NULL;
        wishes->items = items;
        wishes->capacity = capacity;
    }
    memmove(&wishes->items[at + 1], &wishes->items[at],
            (wishes->count - at) * sizeof *wishes->items);
    wishes->count++;
    wishes->items[at] = (struct catalog_wish){0};
    return &wishes->items[at];
}

static void wish_remove(struct catalog_wishes *wishes, uint32_t at)
{
    wishes->count--;
    memmove(&wishes->items[at], &wishes->items[at + 1],
            (wishes->count - at) * sizeof *wishes->items);
}

/* The list and the watch may both tell of it, in any order: the newer one counts. What cannot be
 * read, or finds no room, is not done: who wished it sees that. */
static void wish_put(struct catalog *catalog, const struct meta_entry *entry)
{
    struct catalog_wishes *wishes = &catalog->wishes;
    struct metadata_wish record;
    if (metadata_wish_decode(entry->value.data, entry->value.length, &record) != 0)
        return;
    metadata_wish_done(&record);
    uint32_t at = wish_index(wishes, record.volume, record.group);
    bool known =
        at < wishes->count && wish_order(&wishes->items[at], record.volume, record.group) == 0;
    struct catalog_wish *wish = known ? &wishes->items[at] : wish_room(wishes, at);
    if (wish == NULL)
        return;
    bool news = !known || wish->revision < entry->modified_revision;
    if (news)
        *wish = (struct catalog_wish){.volume = record.volume,
                                      .group = record.group,
                                      .kind = record.kind,
                                      .target = record.target,
                                      .source = record.source,
                                      .bytes_second = record.bytes_second,
                                      .revision = entry->modified_revision};
    wish->listed = true;
    if (news)
        wishes_look(catalog, record.volume);
}

/* --- List and watch --------------------------------------------------------------------------- */

static void list_start(struct catalog *catalog);

static void list_again(struct timer *timer)
{
    list_start(CONTAINER_OF(timer, struct catalog, wishes.timer));
}

static void list_later(struct catalog *catalog)
{
    catalog->wishes.timer.fire = list_again;
    clock_set_after(catalog->options.clock, &catalog->wishes.timer, WISHES_RETRY_NS);
}

static void watch_event(struct meta_watch *watch, const struct meta_event *event)
{
    struct catalog *catalog = CONTAINER_OF(watch, struct catalog, wishes.watch);
    struct metadata_key_parts parts;
    if (event->kind == META_EVENT_PUT) {
        wish_put(catalog, &event->entry);
        return;
    }
    if (metadata_key_parse(event->entry.key.data, event->entry.key.length, &parts) != 0)
        return;
    uint32_t at = wish_index(&catalog->wishes, parts.id, parts.index);
    if (at < catalog->wishes.count &&
        wish_order(&catalog->wishes.items[at], parts.id, parts.index) == 0 &&
        catalog->wishes.items[at].revision < event->revision) {
        wish_remove(&catalog->wishes, at);
        wishes_look(catalog, parts.id);
    }
}

static void watch_ended(struct meta_watch *watch, int result)
{
    struct catalog *catalog = CONTAINER_OF(watch, struct catalog, wishes.watch);
    catalog->wishes.watching = false;
    if (result == IOMESH_COMPACTED)
        list_start(catalog);
    else
        list_later(catalog);
}

static void list_ended(struct catalog *catalog)
{
    struct catalog_wishes *wishes = &catalog->wishes;
    struct metadata_key prefix = metadata_prefix(METADATA_WISH);
    for (uint32_t i = wishes->count; i > 0; i--) {
        if (!wishes->items[i - 1].listed)
            wish_remove(wishes, i - 1);
    }
    int result = meta_watch_start(catalog->options.meta, &wishes->watch, META_SLICE(prefix),
                                  wishes->from, watch_event, watch_ended);
    assert(result == 0); /* A prefix is short. */
    (void)result;
    wishes->watching = true;
}

static void list_next(struct catalog *catalog);

static void list_read(struct meta_request *request, int result)
{
    struct catalog *catalog = CONTAINER_OF(request, struct catalog, wishes.request);
    struct catalog_wishes *wishes = &catalog->wishes;
    if (catalog->state == CATALOG_CLOSING)
        return;
    if (result != 0) {
        list_later(catalog);
        return;
    }
    const struct meta_response *response = &request->responses[0];
    uint32_t count = response->entry_count;
    if (wishes->after.length == 0)
        wishes->from = request->revision + 1;
    for (uint32_t i = 0; i < count; i++)
        wish_put(catalog, &response->entries[i]);
    if (!response->more || count == 0) {
        list_ended(catalog);
        return;
    }
    const struct meta_slice *last = &response->entries[count - 1].key;
    wishes->after.length = MIN(last->length, sizeof wishes->after.bytes);
    memcpy(wishes->after.bytes, last->data, wishes->after.length);
    list_next(catalog);
}

static void list_next(struct catalog *catalog)
{
    struct catalog_wishes *wishes = &catalog->wishes;
    struct metadata_key prefix = metadata_prefix(METADATA_WISH);
    meta_request_reset(&wishes->request);
    meta_list(&wishes->request, META_SLICE(prefix), META_SLICE(wishes->after),
              META_LIST_ENTRIES_MAX);
    if (meta_commit(catalog->options.meta, &wishes->request, list_read) != 0)
        list_later(catalog);
}

static void list_start(struct catalog *catalog)
{
    struct catalog_wishes *wishes = &catalog->wishes;
    wishes->after.length = 0;
    for (uint32_t i = 0; i < wishes->count; i++)
        wishes->items[i].listed = false;
    list_next(catalog);
}

/* --- Doing it --------------------------------------------------------------------------------- */

static uint8_t copy_of(const struct copies_look *look, uint64_t store)
{
    uint8_t copy = 0;
    while (copy < REPLICA_COPIES_MAX && (look->replica->copies[copy].state == REPLICA_ABSENT ||
                                         look->replica->copies[copy].store != store))
        copy++;
    return copy;
}

/* True: not now. */
static bool wish_add(const struct catalog_owned *owned, const struct catalog_wish *wish,
                     const struct copies_look *look)
{
    const struct metadata_store *store = stores_find(&owned_catalog(owned)->stores, wish->target);
    if (copy_of(look, wish->target) < REPLICA_COPIES_MAX || store == NULL ||
        store->state != METADATA_STORE_UP)
        return false;
    return copies_add(owned->copies, wish->group, wish->target, 0) == -EAGAIN;
}

/* In sync, and nothing speaks against its staying so: one that is about to be stale is none. */
static uint32_t sound_but(const struct replica *replica, uint8_t but)
{
    uint32_t count = 0;
    for (uint8_t i = 0; i < REPLICA_COPIES_MAX; i++) {
        const struct replica_copy *of = &replica->copies[i];
        count +=
            i != but && of->state == REPLICA_IN_SYNC && of->connected && !of->failed && !of->lost
                ? 1
                : 0;
    }
    return count;
}

/* What is in sync is known here better than to whoever wished it. */
static bool wish_drop(const struct catalog_owned *owned, const struct catalog_wish *wish,
                      const struct copies_look *look)
{
    uint8_t copy = copy_of(look, wish->source);
    if (copy == REPLICA_COPIES_MAX || look->replica->copies[copy].leaving)
        return false;
    uint32_t count = sound_but(look->replica, copy);
    if (look->replica->phase != REPLICA_ACTIVE || look->replica->transacting ||
        (count < owned->volume->record.policy.copies && !MUTANT(340)))
        return true;
    (void)copies_drop(owned->copies, wish->group, wish->source);
    return false;
}

static bool wish_do(const struct catalog_owned *owned, const struct catalog_wish *wish)
{
    struct copies_look look;
    if (!copies_look(owned->copies, wish->group, &look))
        return false;
    return wish->kind == METADATA_WISH_ADD ? wish_add(owned, wish, &look)
                                           : wish_drop(owned, wish, &look);
}

static void owned_wish_again(struct timer *timer)
{
    catalog_owned_wish(CONTAINER_OF(timer, struct catalog_owned, wish_timer));
}

void catalog_owned_rate(struct catalog_owned *owned)
{
    uint64_t usual = owned_catalog(owned)->cluster.resync_bytes_per_s;
    uint64_t wished = owned->wished_rate;
    copies_rate(owned->copies, wished != 0 && (usual == 0 || wished < usual) ? wished : usual);
}

static void owned_wishes_do(struct catalog_owned *owned)
{
    const struct catalog *catalog = owned_catalog(owned);
    const struct catalog_wishes *wishes = &catalog->wishes;
    uint64_t id = owned->volume->record.id;
    uint64_t rate = 0;
    bool again = false;
    if (owned->copies == NULL || owned->ended != 0 || !owned->is_open)
        return;
    for (uint32_t at = wish_index(wishes, id, 0);
         at < wishes->count && wishes->items[at].volume == id; at++) {
        again = wish_do(owned, &wishes->items[at]) || again;
        if (wishes->items[at].kind == METADATA_WISH_ADD)
            rate += wishes->items[at].bytes_second;
    }
    if (rate != owned->wished_rate) {
        owned->wished_rate = rate;
        catalog_owned_rate(owned);
    }
    owned->wish_timer.fire = owned_wish_again;
    if (again)
        clock_set_after(catalog->options.clock, &owned->wish_timer, WISH_AGAIN_NS);
}

void catalog_owned_wish(struct catalog_owned *owned)
{
    if (list_empty(&owned->wishful))
        list_push_back(&owned_catalog(owned)->owned_wishful, &owned->wishful);
}

void catalog_wishes_turn(struct catalog *catalog)
{
    for (struct list *node; (node = list_pop_front(&catalog->owned_wishful)) != NULL;)
        owned_wishes_do(LIST_ENTRY(node, struct catalog_owned, wishful));
}

bool catalog_wish_leaves(const struct catalog_owned *owned, const struct replica_record *wanted,
                         uint32_t group, uint64_t store)
{
    const struct catalog_wish *wish =
        catalog_wish_find(owned_catalog(owned), owned->volume->record.id, group);
    if (wish == NULL || wish->kind != METADATA_WISH_ADD || wish->source != store || store == 0)
        return false;
    for (uint32_t i = 0; i < REPLICA_COPIES_MAX; i++) {
        if (wanted->members[i].state != REPLICA_ABSENT && wanted->members[i].store == wish->target)
            return true;
    }
    return false;
}

/* --- How far it is ---------------------------------------------------------------------------- */

/* True: something of it is copied. */
static bool progress_of(const struct catalog_owned *owned, struct catalog_owned_group *group,
                        uint64_t now_ns, struct metadata_progress *ret_progress)
{
    struct copies_look look;
    bool catches = false;
    if (!copies_look(owned->copies, group->record.id, &look))
        return false;
    for (uint32_t i = 0; i < REPLICA_COPIES_MAX; i++)
        catches = catches || look.replica->copies[i].state == REPLICA_CATCHING_UP;
    uint64_t before = look.resync_copied_bytes < group->told_bytes ? 0 : group->told_bytes;
    *ret_progress = (struct metadata_progress){
        .volume = owned->volume->record.id,
        .group = group->record.id,
        .copied_bytes = look.resync_copied_bytes,
        .segments_done = look.resync_done_segments,
        .segments_total = look.resync_total_segments,
        .bytes_second = (look.resync_copied_bytes - before) / (PROGRESS_NS / NS_PER_S),
        .told_ns = now_ns,
    };
    group->told_bytes = look.resync_copied_bytes;
    return catches;
}

static bool progress_build(struct catalog_owned *owned)
{
    const struct catalog *catalog = owned_catalog(owned);
    uint64_t now_ns = clock_wall_ns(catalog->options.clock);
    uint32_t count = 0;
    struct metadata_key volume = metadata_volume_key(owned->volume->record.id);
    meta_request_reset(&owned->progress);
    meta_if_present(&owned->progress, META_SLICE(volume)); /* It may arrive late. */
    for (uint32_t i = 0; i < owned->group_count && count < PROGRESS_BATCH; i++) {
        struct catalog_owned_group *group = &owned->groups[i];
        struct metadata_progress progress = {0};
        struct metadata_bytes value = {0};
        bool copies = progress_of(owned, group, now_ns, &progress);
        if (!copies && !group->told)
            continue;
        struct metadata_key key = metadata_progress_key(owned->volume->record.id, group->record.id);
        if (!copies)
            meta_delete(&owned->progress, META_SLICE(key));
        else if (metadata_progress_encode(&progress, &value) == 0)
            meta_put(&owned->progress, META_SLICE(key), META_SLICE(value), catalog->session.lease);
        metadata_bytes_done(&value);
        group->told = copies;
        count++;
    }
    return count > 0;
}

static void progress_tick(struct timer *timer);

static void progress_wait(struct catalog_owned *owned)
{
    owned->progress_timer.fire = progress_tick;
    if (owned->ended == 0 && owned->copies != NULL)
        clock_set_after(owned_catalog(owned)->options.clock, &owned->progress_timer, PROGRESS_NS);
}

static void progress_told(struct meta_request *request, int result)
{
    struct catalog_owned *owned = CONTAINER_OF(request, struct catalog_owned, progress);
    owned->progressing = false;
    for (uint32_t i = 0; i < owned->group_count && result != 0; i++)
        owned->groups[i].told = true; /* There may be a record: it is told, or deleted, again. */
    if (owned->progressed != NULL)
        catalog_op_later(owned->progressed, 0, owned->progressed_next);
    else
        progress_wait(owned);
}

static void progress_tick(struct timer *timer)
{
    struct catalog_owned *owned = CONTAINER_OF(timer, struct catalog_owned, progress_timer);
    if (owned->copies == NULL || owned->ended != 0)
        return;
    owned->progressing = progress_build(owned) && meta_commit(owned_catalog(owned)->options.meta,
                                                              &owned->progress, progress_told) == 0;
    if (!owned->progressing)
        progress_wait(owned);
}

void catalog_owned_after_progress(struct catalog_owned *owned, struct catalog_op *op,
                                  catalog_step_fn *next)
{
    clock_cancel(owned_catalog(owned)->options.clock, &owned->progress_timer);
    if (!owned->progressing) {
        next(op, 0);
        return;
    }
    owned->progressed = op;
    owned->progressed_next = next;
}

/* --- From outside ----------------------------------------------------------------------------- */

void catalog_owned_began(struct catalog_owned *owned)
{
    owned->is_open = true;
    catalog_owned_wish(owned);
    progress_wait(owned);
}

void catalog_wishes_start(struct catalog *catalog)
{
    list_start(catalog);
}

void catalog_wishes_stop(struct catalog *catalog)
{
    struct catalog_wishes *wishes = &catalog->wishes;
    clock_cancel(catalog->options.clock, &wishes->timer);
    if (wishes->watching)
        meta_watch_cancel(catalog->options.meta, &wishes->watch);
    wishes->watching = false;
}

void catalog_wishes_done(struct catalog *catalog)
{
    catalog_wishes_stop(catalog);
    meta_request_done(&catalog->wishes.request);
    free(catalog->wishes.items);
    catalog->wishes.items = NULL;
    catalog->wishes.count = 0;
}
