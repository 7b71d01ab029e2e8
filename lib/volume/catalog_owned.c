/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Volumes of a cluster that this process owns: their copies, from opening to closing.
 */
#include <stdlib.h>
#include <string.h>

#include "volume/catalog_cluster.h"

#define OWNED_LOOK_NS (60 * NS_PER_S)

/* --- What copies ask -------------------------------------------------------------------------- */

static struct part_port *call_port(void *context, uint64_t store)
{
    const struct catalog_cluster *cluster = &owned_catalog(context)->cluster;
    return cluster->port(cluster->context, store);
}

static void call_transact(void *context, uint32_t id, const struct replica_record *record)
{
    struct catalog_owned *owned = context;
    for (uint32_t i = 0; i < owned->group_count; i++) {
        if (owned->groups[i].record.id != id)
            continue;
        owned->groups[i].wanted = *record;
        owned->groups[i].asked = true;
    }
    catalog_owned_later(owned);
}

static uint64_t call_take_sequence(void *context)
{
    struct catalog_owned *owned = context;
    struct catalog_volume *volume = owned->volume;
    if (volume->volume != NULL)
        return volume_take_sequence(volume->volume);
    if (owned->sequence < volume->record.sequence_end)
        return owned->sequence++;
    catalog_volume_want_lot(volume);
    return 0;
}

uint32_t catalog_owned_cuts_now(const struct catalog_owned *owned, uint64_t *cuts)
{
    uint32_t count = owned->cut_count;
    memcpy(cuts, owned->cuts, count * sizeof *cuts);
    uint64_t riding = owned->volume->riding;
    if (riding != 0 && (count == 0 || cuts[count - 1] < riding))
        cuts[count++] = riding;
    return count;
}

static uint32_t call_cuts(void *context, uint64_t *cuts)
{
    return catalog_owned_cuts_now(context, cuts);
}

static void call_opened(void *context)
{
    struct catalog_owned *owned = context;
    struct catalog_op *op = owned->op;
    owned->op = NULL;
    catalog_owned_began(owned);
    if (op != NULL)
        catalog_op_later(op, 0, owned->opened);
}

static void call_ended(void *context, int result)
{
    struct catalog_owned *owned = context;
    struct catalog_op *op = owned->op;
    owned->ended = result;
    owned->op = NULL;
    bool expected =
        owned->volume->record.owner_yields || owned_catalog(owned)->state == CATALOG_CLOSING;
    catalog_tell(owned_catalog(owned), expected ? STORE_DEBUG : STORE_WARNING,
                 owned->volume->record.id, 0, "volume \"%s\": this process has it no more: %s",
                 owned->volume->slot->name, base_error_text(result));
    if (owned->volume->lot_wanted)
        catalog_volume_want_lot(owned->volume); /* Whoever waits for a sequence does in vain. */
    if (op != NULL)
        catalog_op_later(op, result, owned->opened);
}

static void call_look(void *context, uint64_t volume)
{
    catalog_kin_look(context, volume);
}

struct copies_calls catalog_owned_calls(struct catalog_owned *owned)
{
    return (struct copies_calls){.port = call_port,
                                 .transact = call_transact,
                                 .take_sequence = call_take_sequence,
                                 .cuts = call_cuts,
                                 .look = call_look,
                                 .opened = call_opened,
                                 .ended = call_ended,
                                 .context = owned};
}

/* --- Opening and closing ---------------------------------------------------------------------- */

int catalog_owned_new(struct catalog_volume *volume, struct catalog_owned **ret_owned)
{
    struct catalog_owned *owned = calloc(1, sizeof *owned);
    if (owned == NULL)
        return -ENOMEM;
    owned->volume = volume;
    list_init(&owned->later);
    list_init(&owned->wishful);
    list_init(&owned->kin);
    list_push_back(&volume->catalog->owned, &owned->node);
    *ret_owned = owned;
    return 0;
}

uint64_t catalog_local_store(const struct catalog *catalog, const struct metadata_group *group)
{
    const char *node = catalog->cluster.node;
    for (uint32_t i = 0; node != NULL && node[0] != '\0' && i < group->member_count; i++) {
        const struct metadata_store *store = stores_find(&catalog->stores, group->members[i].store);
        if (store != NULL && strcmp(store->node, node) == 0)
            return store->id;
    }
    return 0;
}

int catalog_owned_open(struct catalog_owned *owned, struct catalog_op *op, catalog_step_fn *opened)
{
    const struct catalog *catalog = owned_catalog(owned);
    const struct metadata_volume *record = &owned->volume->record;
    struct copies_group_options *groups = calloc(owned->group_count, sizeof *groups);
    if (groups == NULL)
        return -ENOMEM;
    for (uint32_t i = 0; i < owned->group_count; i++)
        groups[i] = (struct copies_group_options){
            .id = owned->groups[i].record.id,
            .record = catalog_owned_record(&owned->groups[i].record, record->epoch)};
    struct copies_options options = {
        .volume = record->id,
        .epoch = record->epoch,
        .sequence = owned->sequence - 1,
        .bound_ns = owned->unsure ? 0 : catalog->session.bound_ns,
        .old_until_ns = owned->old_until_ns,
        .local_store = catalog_local_store(catalog, &owned->groups[0].record),
        .groups = groups,
        .group_count = owned->group_count,
        .runs = owned->runs,
        .run_count = owned->run_count,
        .replica = catalog->cluster.replica,
        .resync_bytes_per_s = catalog->cluster.resync_bytes_per_s,
        .calls = catalog_owned_calls(owned),
    };
    options.replica.min_copies = (uint8_t)record->policy.copies_min;
    owned->op = op;
    owned->opened = opened;
    int result = copies_open(catalog->cluster.copies, &options, &owned->copies);
    if (result != 0)
        owned->op = NULL;
    else if (owned->unsure)
        catalog_owned_later(owned); /* There was nothing to be looked at for yet. */
    free(groups);
    free(owned->runs);
    owned->runs = NULL;
    return result;
}

static void owned_closed(void *context)
{
    struct catalog_owned *owned = context;
    struct catalog_op *op = owned->op;
    owned->op = NULL;
    owned->copies = NULL;
    catalog_op_later(op, 0, owned->closed);
}

static void owned_close(struct catalog_op *op, int result)
{
    struct catalog_owned *owned = op->closing->owned;
    (void)result;
    if (owned->copies == NULL) {
        catalog_op_later(op, 0, owned->closed);
        return;
    }
    owned->op = op;
    copies_close(owned->copies, owned_closed, owned);
}

static void owned_told(struct catalog_op *op, int result)
{
    struct catalog_owned *owned = op->closing->owned;
    (void)result;
    if (owned->sweep != NULL) {
        catalog_owned_sweep_stop(owned);
        catalog_owned_after_sweep(owned, op, owned_close);
    } else {
        owned_close(op, 0);
    }
}

static void owned_copied(struct catalog_op *op, int result)
{
    (void)result;
    catalog_owned_after_progress(op->closing->owned, op, owned_told);
}

void catalog_owned_close(struct catalog_owned *owned, struct catalog_op *op,
                         catalog_step_fn *closed)
{
    assert(op->closing == owned->volume);
    owned->closed = closed;
    owned->is_open = false;
    catalog_records_last(owned, op, owned_copied);
}

void catalog_owned_after_sweep(struct catalog_owned *owned, struct catalog_op *op,
                               catalog_step_fn *next)
{
    assert(owned->sweep != NULL && owned->swept == NULL);
    owned->swept = op;
    owned->swept_next = next;
}

void catalog_owned_free(struct catalog_owned *owned)
{
    if (owned == NULL)
        return;
    struct clock *clock = owned_catalog(owned)->options.clock;
    assert(owned->copies == NULL && !owned->committing && !owned->progressing);
    catalog_records_leave(owned);
    list_remove(&owned->node);
    list_remove(&owned->later);
    list_remove(&owned->wishful);
    clock_cancel(clock, &owned->timer);
    clock_cancel(clock, &owned->wish_timer);
    clock_cancel(clock, &owned->progress_timer);
    meta_request_done(&owned->progress);
    catalog_kin_free(owned);
    for (uint32_t i = 0; i < owned->group_count; i++)
        metadata_group_done(&owned->groups[i].record);
    meta_request_done(&owned->request);
    free(owned->groups);
    free(owned->runs);
    free(owned->cuts);
    free(owned);
}

/* --- Cuts ------------------------------------------------------------------------------------- */

int catalog_owned_cuts(struct catalog_owned *owned, const struct catalog_cuts *cuts)
{
    uint64_t *kept = calloc(cuts->count + 1, sizeof *kept);
    if (kept == NULL)
        return -ENOMEM;
    free(owned->cuts);
    owned->cuts = kept;
    owned->cut_count = 0;
    for (uint32_t i = 0; i < cuts->count; i++) {
        if (catalog_cut_kept(&cuts->items[i]))
            kept[owned->cut_count++] = cuts->items[i].record.cut;
    }
    return 0;
}

void catalog_owned_keep(struct catalog_owned *owned, const struct catalog_cuts *cuts)
{
    uint32_t count = 0;
    uint32_t at = 0;
    for (uint32_t i = 0; i < owned->cut_count; i++) {
        while (at < cuts->count && cuts->items[at].record.cut < owned->cuts[i])
            at++;
        const struct catalog_cut *cut = at < cuts->count ? &cuts->items[at] : NULL;
        if (cut != NULL && cut->record.cut == owned->cuts[i] && catalog_cut_kept(cut))
            owned->cuts[count++] = owned->cuts[i];
    }
    owned->cut_count = count;
}

int catalog_owned_cut_room(struct catalog_owned *owned)
{
    uint64_t *cuts = realloc(owned->cuts, (owned->cut_count + 2) * sizeof *cuts);
    if (cuts == NULL)
        return -ENOMEM;
    owned->cuts = cuts;
    return 0;
}

void catalog_owned_cut_add(struct catalog_owned *owned, uint64_t cut)
{
    owned->cuts[owned->cut_count++] = cut;
}

/* --- The session ------------------------------------------------------------------------------ */

/* Clones of what we own may have gone elsewhere, and with them what snapshots are kept for. */
static void owned_look(struct catalog *catalog)
{
    uint64_t now_ns = clock_now_ns(catalog->options.clock);
    if (now_ns - MIN(now_ns, catalog->session.looked_ns) < OWNED_LOOK_NS)
        return;
    catalog->session.looked_ns = now_ns;
    LIST_EACH (&catalog->owned, node) {
        const struct catalog_owned *owned = LIST_ENTRY(node, struct catalog_owned, node);
        if (owned->cut_count > 0 && owned->volume->volume != NULL && owned->ended == 0)
            catalog_chore_wake(catalog, owned->volume->record.id);
    }
}

void catalog_owned_lease(struct catalog *catalog)
{
    LIST_EACH (&catalog->owned, node) {
        struct catalog_owned *owned = LIST_ENTRY(node, struct catalog_owned, node);
        if (owned->copies != NULL && !owned->unsure && owned->ended == 0)
            copies_lease(owned->copies, catalog->session.bound_ns);
    }
    catalog_views_lease(catalog);
    owned_look(catalog);
}

void catalog_owned_doubt_one(struct catalog_owned *owned)
{
    owned->unsure = true;
    owned->unsure_again = owned->committing; /* What is under way may have looked before. */
    catalog_owned_later(owned);
}

void catalog_owned_doubt(struct catalog *catalog)
{
    LIST_EACH (&catalog->owned, node)
        catalog_owned_doubt_one(LIST_ENTRY(node, struct catalog_owned, node));
}

void catalog_owned_stop(struct catalog *catalog)
{
    LIST_EACH (&catalog->owned, node) {
        struct catalog_owned *owned = LIST_ENTRY(node, struct catalog_owned, node);
        if (owned->op != NULL && owned->copies != NULL && owned->volume->slot->open == NULL)
            copies_end(owned->copies, IOMESH_FENCED);
    }
}

void catalog_owned_yield(struct catalog_owned *owned)
{
    if (owned->ended == 0)
        owned->ended = IOMESH_FENCED;
    if (owned->copies != NULL)
        copies_end(owned->copies, IOMESH_FENCED);
}

void catalog_port_changed(struct catalog *catalog, struct part_port *port)
{
    LIST_EACH (&catalog->owned, node) {
        struct catalog_owned *owned = LIST_ENTRY(node, struct catalog_owned, node);
        if (owned->copies != NULL)
            copies_port_changed(owned->copies, port);
    }
    if (port->state == PART_PORT_UP)
        catalog_retire_hurry(catalog);
    catalog_views_port(catalog, port);
    catalog_records_port(catalog, port);
}
