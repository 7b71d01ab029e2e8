/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is left to be done for a volume when its user has been told.
 *
 *   wake ──▶ LOOK at its record ──▶ LIST its snapshots ──▶ one of:
 *              ▲                      deleting:  cut its tie; the STORE forgets it ──▶ no record
 *              │                      kept:      nothing needs it: deleting
 *              │                      any:       snapshots that are deleting: the STORE drops them
 *              │                                 ──▶ no records
 *              │                      kept:      its head is EMPTIED (catalog_empty.c)
 *              │                      live:      a rollback that waits for space goes on
 *              └─────────────────────────────────────┘  until there is nothing to do
 *
 * Each arrow between records is one transaction, and whoever opens the pool looks what is to be
 * done (catalog_scan.c). The store may be asked any number of times, also for what it never had.
 * One thing at a time is asked of it for a volume: what a snapshot leaves to the one before it must
 * be there when that one goes. What changes a volume that has a name is done by catalog_settle.c.
 * What goes wrong is tried again, ever more seldom.
 */
#include <stdlib.h>
#include <string.h>

#include "volume/catalog_cluster.h"

static struct catalog_chore *chore_of(struct catalog_op *op)
{
    return CONTAINER_OF(op, struct catalog_chore, op);
}

static void chore_free(struct catalog_chore *chore)
{
    if (chore->catalog != NULL) {
        chore->catalog->chore_count--;
        clock_cancel(chore->catalog->options.clock, &chore->timer);
    }
    list_remove(&chore->node);
    list_remove(&chore->ready);
    free(chore);
}

static void chore_ready(struct catalog_chore *chore)
{
    if (list_empty(&chore->ready))
        list_push_back(&chore->catalog->chores_ready, &chore->ready);
}

/* --- Waiting: for space, or that what went wrong is over ------------------------------------ */

static void chore_timer(struct timer *timer)
{
    chore_ready(CONTAINER_OF(timer, struct catalog_chore, timer));
}

static void chore_wait(struct catalog_chore *chore, uint64_t delay_ns)
{
    delay_ns = MIN(delay_ns << MIN(chore->tries, 16u), CATALOG_RETRY_NS_MAX);
    chore->timer.fire = chore_timer;
    clock_set_after(chore->catalog->options.clock, &chore->timer, delay_ns);
}

/* A store that takes no writes now is opened anew before it does; a volume of a cluster that was
 * closed since, too. */
static void chore_stopped(struct catalog_chore *chore, int result)
{
    struct catalog *catalog = chore->catalog;
    bool later = catalog_is_cluster(catalog) ? result == -ECANCELED
                                             : store_state(catalog->options.store) != STORE_READY;
    if (catalog->state == CATALOG_READY && later && chore->again) {
        chore->storing = false; /* Something else happened meanwhile. */
        chore_ready(chore);
        return;
    }
    if (catalog->state != CATALOG_READY || later) {
        chore_free(chore);
        return;
    }
    if (chore->tries == 0)
        catalog_tell(catalog, STORE_WARNING, chore->id, 0,
                     "what was deleted of volume %llu does not come back yet, and is tried again: "
                     "%s",
                     (unsigned long long)chore->id, base_error_text(result));
    REACH(catalog_chore_tries_again);
    chore->storing = chore->starved = false;
    chore_wait(chore, CATALOG_RETRY_NS);
    chore->tries++;
}

static void starved_wake(struct catalog_chore *chore)
{
    if (!chore->timer.set)
        return;
    clock_cancel(chore->catalog->options.clock, &chore->timer);
    chore_ready(chore);
}

/* Some came back. */
static void starved_wake_all(struct catalog *catalog)
{
    LIST_EACH (&catalog->chores, node)
        starved_wake(LIST_ENTRY(node, struct catalog_chore, node));
}

/* --- What the store does -------------------------------------------------------------------- */

static void forget_begin(struct catalog_op *op, int result);
static void chore_op_end(struct catalog_op *op, int result);

static void chore_start(struct catalog_chore *chore, catalog_step_fn *begin)
{
    chore->running = true;
    chore->op = (struct catalog_op){0};
    (void)catalog_op_start(&chore->op, chore->catalog, NULL, begin, chore_op_end);
}

void catalog_chore_stored(void *context, int result)
{
    struct catalog_chore *chore = context;
    chore->storing = false;
    if (chore->catalog == NULL)
        chore_free(chore);
    else if (result != 0)
        chore_stopped(chore, result);
    else
        chore_start(chore, forget_begin);
}

static void chore_store(struct catalog_chore *chore)
{
    struct store *store = chore->catalog->options.store;
    int result;
    chore->storing = true;
    if (store == NULL && (result = catalog_chore_ask(chore)) != 0)
        chore_stopped(chore, result);
    else if (store == NULL)
        return;
    else if (MUTANT(106))
        catalog_chore_stored(chore, 0);
    else if (chore->last == 0 &&
             (result = store_delete_volume(store, chore->id, catalog_chore_stored, chore)) != 0)
        chore_stopped(chore, result);
    else if (chore->last != 0 &&
             (result = store_delete_views(store, chore->id, chore->first, chore->last,
                                          chore->previous, catalog_chore_stored, chore)) != 0)
        chore_stopped(chore, result);
}

/* --- Forgetting what it dropped ------------------------------------------------------------- */

static void look_begin(struct catalog_op *op, int result);

static void forget_told(struct catalog_op *op, int result)
{
    struct catalog_chore *chore = chore_of(op);
    if (result != 0) {
        catalog_op_end(op, result);
        return;
    }
    chore->tries = 0;
    starved_wake_all(op->catalog);
    struct catalog_volume *volume =
        chore->last == 0 ? NULL : catalog_volume_find(op->catalog, &op->record);
    if (volume != NULL && volume->owned != NULL)
        catalog_records_changed(volume->owned);
    if (chore->last == 0)
        catalog_tell(op->catalog, STORE_DEBUG, chore->id, 0,
                     "the space of deleted volume %llu has come back",
                     (unsigned long long)chore->id);
    else
        catalog_tell(op->catalog, STORE_DEBUG, chore->id, 0,
                     "volume %llu: the space of snapshots that were deleted has come back",
                     (unsigned long long)chore->id);
    look_begin(op, 0);
}

static void forget_volume(struct catalog_op *op)
{
    struct metadata_key key = metadata_volume_key(chore_of(op)->id);
    struct metadata_key snapshots = metadata_volume_prefix(METADATA_SNAPSHOT, chore_of(op)->id);
    meta_request_reset(&op->request);
    meta_delete(&op->request, META_SLICE(key));
    meta_delete_prefix(&op->request, META_SLICE(snapshots));
    catalog_delete_groups(op->catalog, chore_of(op)->id, &op->request);
    catalog_op_commit(op, forget_told);
}

static void forget_orphans(struct catalog_op *op)
{
    struct catalog_chore *chore = chore_of(op);
    struct catalog_volume *volume = catalog_volume_find(op->catalog, &op->record);
    if (volume != NULL && volume->orphan_last == chore->last) {
        volume->orphan_first = volume->orphan_last = 0;
        catalog_volume_views(volume);
    }
    chore->orphans = false;
}

static void forget_listed(struct catalog_op *op, int result);

static void forget_more(struct catalog_op *op, int result)
{
    if (result != 0)
        catalog_op_end(op, result);
    else
        catalog_op_list(op, chore_of(op)->id, forget_listed);
}

static void forget_listed(struct catalog_op *op, int result)
{
    struct catalog_chore *chore = chore_of(op);
    uint32_t count = 0;
    uint32_t found = 0;
    (void)result;
    meta_request_reset(&op->request);
    for (uint32_t i = 0; i < op->cuts.count; i++) {
        const struct metadata_snapshot *record = &op->cuts.items[i].record;
        if (record->state != METADATA_SNAPSHOT_DELETING || record->cut < chore->first ||
            record->cut > chore->last || ++found > META_OPS_MAX)
            continue;
        struct metadata_key key = metadata_snapshot_key(chore->id, record->cut);
        meta_delete(&op->request, META_SLICE(key));
        count++;
    }
    if (chore->orphans)
        forget_orphans(op);
    if (count == 0)
        look_begin(op, 0);
    else
        catalog_op_commit(op, found > count ? forget_more : forget_told);
}

static void forget_read(struct catalog_op *op, int result)
{
    if (result != 0)
        catalog_op_end(op, result);
    else
        catalog_op_list(op, chore_of(op)->id, forget_listed);
}

static void forget_begin(struct catalog_op *op, int result)
{
    (void)result;
    if (chore_of(op)->last == 0)
        forget_volume(op);
    else
        catalog_op_read(op, chore_of(op)->id, forget_read);
}

/* --- Changing a volume that has no name ----------------------------------------------------- */

/* Whoever changed it first: it is looked at again. */
static void change_committed(struct catalog_op *op, int result)
{
    if (result != 0)
        catalog_op_end(op, result);
    else
        look_begin(op, 0);
}

static void change_record(struct catalog_op *op)
{
    meta_request_reset(&op->request);
    int result = catalog_put_record(&op->request, &op->record, op->revision);
    if (result == 0)
        catalog_op_commit(op, change_committed);
    else
        catalog_op_later(op, result, change_committed);
}

static void untie_committed(struct catalog_op *op, int result)
{
    struct catalog_chore *chore = chore_of(op);
    if (result == 0 && op->request.succeeded)
        catalog_chore_wake(op->catalog, chore->tie_volume);
    change_committed(op, result);
}

static void untie_read(struct catalog_op *op, int result)
{
    if (result == 0)
        result = catalog_untie_build(op, &chore_of(op)->tie_volume);
    if (result == 0)
        catalog_op_commit(op, untie_committed);
    else
        catalog_op_later(op, result, untie_committed);
}

/* --- Looking what is to be done ------------------------------------------------------------- */

/* Hidden ones that no clone needs any more, as far as they fit a transaction. */
static bool kept_drop_hidden(struct catalog_op *op)
{
    uint32_t count = 0;
    int result = 0;
    meta_request_reset(&op->request);
    for (uint32_t i = 0; i < op->cuts.count && count < META_OPS_MAX && result == 0; i++) {
        struct catalog_cut *cut = &op->cuts.items[i];
        if (cut->record.state != METADATA_SNAPSHOT_HIDDEN || cut->record.clones != 0)
            continue;
        cut->record.state = METADATA_SNAPSHOT_DELETING;
        result = catalog_put_snapshot(&op->request, &cut->record, cut->revision);
        count++;
    }
    if (result != 0)
        catalog_op_later(op, result, change_committed);
    else if (count > 0)
        catalog_op_commit(op, change_committed);
    return count > 0;
}

/* The oldest snapshots that are deleting, side by side: they go together. */
static bool look_drop(struct catalog_op *op)
{
    struct catalog_chore *chore = chore_of(op);
    const struct catalog_cuts *cuts = &op->cuts;
    uint32_t i = 0;
    while (i < cuts->count && catalog_cut_kept(&cuts->items[i]))
        i++;
    if (i < cuts->count) {
        const struct metadata_snapshot *record = &cuts->items[i].record;
        chore->first = record->first != 0 ? record->first : record->cut;
        for (; i < cuts->count && !catalog_cut_kept(&cuts->items[i]); i++)
            chore->last = cuts->items[i].record.cut;
        return true;
    }
    const struct catalog_volume *volume = catalog_volume_find(op->catalog, &op->record);
    if (volume == NULL || volume->orphan_last == 0)
        return false;
    REACH(catalog_orphans_dropped);
    chore->first = volume->orphan_first;
    chore->last = volume->orphan_last;
    chore->orphans = true;
    return true;
}

static void look_emptied(struct catalog_op *op, int result)
{
    struct catalog_chore *chore = chore_of(op);
    if (result == -ENOSPC) {
        REACH(catalog_head_starved);
        chore->starved = true;
        result = 0;
    } else if (result == 0) {
        starved_wake_all(op->catalog);
        look_begin(op, 0);
        return;
    }
    catalog_op_end(op, result);
}

/* Of a kept volume: what only the head shows. True: it goes on from there. */
static bool look_empty(struct catalog_op *op)
{
    struct catalog_chore *chore = chore_of(op);
    /* In a cluster it takes an owner to write, and this one has no name to be opened by: what the
     * head shows goes with the rest of it. */
    if (op->record.state != METADATA_VOLUME_KEPT || op->record.emptied ||
        catalog_is_cluster(op->catalog))
        return false;
    chore->starved = chore->was_starved && store_room_blocks(op->catalog->options.store) == 0;
    if (!chore->starved)
        catalog_op_empty(op, &chore->again, look_emptied);
    return !chore->starved;
}

/* Of a volume that is being rolled back: not at once, for whoever began it may be at it; and then
 * if there is space, now and then. */
static void look_rolls(struct catalog_op *op)
{
    struct catalog_chore *chore = chore_of(op);
    const struct metadata_volume *record = &op->record;
    if (record->state != METADATA_VOLUME_LIVE || record->rollback_cut == 0)
        return;
    const struct catalog_slot *slot = catalog_slot_find(op->catalog, record->name);
    bool busy = slot != NULL && (slot->running || slot->open != NULL);
    chore->starved = true;
    bool room =
        catalog_is_cluster(op->catalog) || store_room_blocks(op->catalog->options.store) > 0;
    if (!chore->was_starved || busy || !room)
        return;
    REACH(catalog_rollback_tried_again);
    chore->tries++;
    catalog_rollback_resume(op->catalog, record);
}

static void look_listed(struct catalog_op *op, int result)
{
    struct catalog_chore *chore = chore_of(op);
    struct metadata_volume *record = &op->record;
    (void)result;
    if (record->state == METADATA_VOLUME_KEPT) {
        if (kept_drop_hidden(op))
            return;
        if (catalog_cuts_kept(&op->cuts) == 0) {
            REACH(catalog_kept_ended);
            record->state = METADATA_VOLUME_DELETING;
            if (catalog_is_cluster(op->catalog)) {
                record->epoch++; /* The keeper may have it. */
                record->owner_session = 0;
                record->owner_yields = false;
            }
            change_record(op);
            return;
        }
    } else if (catalog_settle_wake(op)) {
        catalog_op_end(op, 0); /* It is looked at again then. */
        return;
    }
    if (look_drop(op)) {
        /* In a cluster who has it open tells the copies: when it is opened next. */
        chore->storing =
            !catalog_is_cluster(op->catalog) || catalog_volume_find(op->catalog, record) != NULL;
        chore->previous = MUTANT(113) ? 0 : catalog_cuts_kept_below(&op->cuts, chore->first);
    } else if (look_empty(op)) {
        return;
    } else {
        look_rolls(op);
    }
    catalog_op_end(op, 0);
}

static void look_read(struct catalog_op *op, int result)
{
    struct catalog_chore *chore = chore_of(op);
    if (result == -ENOENT) {
        catalog_op_end(op, 0);
    } else if (result != 0) {
        catalog_op_end(op, result);
    } else if (op->record.state != METADATA_VOLUME_DELETING) {
        catalog_op_list(op, chore->id, look_listed);
    } else if (op->record.parent_volume != 0) {
        catalog_op_read_tie(op, untie_read);
    } else {
        chore->storing = true;
        chore->epoch = op->record.epoch;
        catalog_op_end(op, 0);
    }
}

static void look_begin(struct catalog_op *op, int result)
{
    struct catalog_chore *chore = chore_of(op);
    (void)result;
    chore->again = false;
    chore->first = chore->last = 0;
    chore->was_starved = chore->starved;
    chore->starved = false;
    if (op->catalog->state != CATALOG_READY || !catalog_may_write(op->catalog))
        catalog_op_end(op, 0);
    else
        catalog_op_read(op, chore->id, look_read);
}

/* The part with the metadata has ended. */
static void chore_op_end(struct catalog_op *op, int result)
{
    struct catalog_chore *chore = chore_of(op);
    chore->running = false;
    if (result != 0)
        chore_stopped(chore, result);
    else if (chore->storing && chore->catalog->state == CATALOG_READY)
        chore_store(chore);
    else if (chore->again)
        chore_ready(chore);
    else if (chore->starved && chore->catalog->state == CATALOG_READY)
        chore_wait(chore, CATALOG_STARVED_NS);
    else
        chore_free(chore);
}

/* --- From outside --------------------------------------------------------------------------- */

static struct catalog_chore *chore_find(struct catalog *catalog, uint64_t id)
{
    LIST_EACH (&catalog->chores, node) {
        struct catalog_chore *chore = LIST_ENTRY(node, struct catalog_chore, node);
        if (chore->id == id)
            return chore;
    }
    return NULL;
}

void catalog_chore_wake(struct catalog *catalog, uint64_t id)
{
    struct catalog_chore *chore = chore_find(catalog, id);
    if (catalog->state != CATALOG_READY)
        return;
    if (chore != NULL) {
        chore->again = true;
        starved_wake(chore);
        return;
    }
    chore = calloc(1, sizeof *chore);
    if (chore == NULL) {
        catalog_tell(catalog, STORE_WARNING, id, 0,
                     "what was deleted of volume %llu comes back when the pool is opened next: %s",
                     (unsigned long long)id, base_error_text(-ENOMEM));
        return;
    }
    chore->catalog = catalog;
    chore->id = id;
    list_init(&chore->ready);
    list_push_back(&catalog->chores, &chore->node);
    catalog->chore_count++;
    chore_ready(chore);
}

void catalog_chore_wait(struct catalog *catalog, uint64_t id)
{
    struct catalog_chore *chore = chore_find(catalog, id);
    if (chore != NULL && chore->timer.set)
        return; /* It looks then. */
    catalog_chore_wake(catalog, id);
    chore = chore_find(catalog, id);
    if (chore == NULL || chore->running || chore->storing)
        return;
    list_remove(&chore->ready);
    chore->starved = true;
    chore_wait(chore, CATALOG_STARVED_NS);
}

unsigned catalog_chores_turn(struct catalog *catalog)
{
    struct list ready;
    unsigned ran = 0;
    list_init(&ready);
    list_splice_back(&ready, &catalog->chores_ready);
    for (struct list *node; (node = list_pop_front(&ready)) != NULL; ran++)
        chore_start(LIST_ENTRY(node, struct catalog_chore, ready), look_begin);
    return ran;
}

void catalog_chores_leave(struct catalog *catalog)
{
    LIST_EACH_SAFE (&catalog->chores, node, after) {
        struct catalog_chore *chore = LIST_ENTRY(node, struct catalog_chore, node);
        if (chore->running || catalog_chore_leave(chore))
            continue;
        if (!chore->storing) {
            chore_free(chore);
            continue;
        }
        list_remove(node);
        chore->catalog = NULL;
        catalog->chore_count--;
    }
}

void catalog_chores_abandon(struct catalog *catalog)
{
    for (struct list *node; (node = list_first(&catalog->chores)) != NULL;) {
        struct catalog_chore *chore = LIST_ENTRY(node, struct catalog_chore, node);
        if (chore->running) {
            list_remove(&chore->op.all);
            list_remove(&chore->op.later);
            catalog_op_forget(&chore->op);
        }
        if (!catalog_empty_abandon(&chore->emptying))
            list_remove(node); /* What is under way knows it. */
        else
            chore_free(chore);
    }
}
