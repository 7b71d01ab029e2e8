/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Volumes of a cluster that this process owns: what their copies ask for.
 *
 * Records of groups are changed in transactions of up to OWNED_BATCH groups, one at a time for each
 * volume and while nothing else changes the volume's record: it must still be as we know it. If it
 * is not, or a group is not, the same transaction reads all of them, and who reads decides: an
 * owner or epoch that is not ours ends the session; anything else was a change that we are told of.
 */
#include <stdlib.h>
#include <string.h>

#include "volume/catalog_cluster.h"

#define OWNED_BATCH 60u
#define OWNED_RETRY_NS (50 * NS_PER_MS)

static struct catalog *owned_catalog(const struct catalog_owned *owned)
{
    return owned->volume->catalog;
}

/* --- Records as the machine has them ----------------------------------------------------------- */

static struct replica_record record_of(const struct metadata_group *group, uint64_t epoch)
{
    static const uint8_t states[] = {[METADATA_IN_SYNC] = REPLICA_IN_SYNC,
                                     [METADATA_STALE] = REPLICA_STALE,
                                     [METADATA_CATCHING_UP] = REPLICA_CATCHING_UP};
    struct replica_record record = {.epoch = epoch, .generation = group->generation};
    for (uint32_t i = 0; i < group->member_count && i < REPLICA_COPIES_MAX; i++)
        record.members[i] = (struct replica_member){.store = group->members[i].store,
                                                    .state = states[group->members[i].state]};
    return record;
}

/* Why a copy is not in sync: as far as it shows. */
static enum metadata_reason stale_reason(const struct catalog_owned *owned, uint32_t group,
                                         uint64_t store)
{
    const struct catalog_cluster *cluster = &owned_catalog(owned)->cluster;
    struct copies_look look;
    const struct part_port *port = cluster->port(cluster->context, store);
    for (uint32_t i = 0; copies_look(owned->copies, group, &look) && i < REPLICA_COPIES_MAX; i++) {
        const struct replica_copy *copy = &look.replica->copies[i];
        if (copy->state == REPLICA_ABSENT || copy->store != store)
            continue;
        if (copy->lost || copy->restarted)
            return METADATA_REASON_RESTARTED;
        if (copy->evicted)
            return METADATA_REASON_SLOW;
    }
    if (port != NULL && port->state == PART_PORT_UP)
        return METADATA_REASON_FAILED;
    bool refused =
        port != NULL && (port->down_reason == -ECONNREFUSED || port->down_reason == -ECONNRESET);
    return refused ? METADATA_REASON_REFUSED : METADATA_REASON_SILENT;
}

static const struct metadata_member *member_find(const struct metadata_group *group, uint64_t store)
{
    for (uint32_t i = 0; i < group->member_count; i++) {
        if (group->members[i].store == store)
            return &group->members[i];
    }
    return NULL;
}

/* The record that `wanted` makes of the one that there is. */
static void group_apply(const struct catalog_owned *owned, const struct catalog_owned_group *group,
                        struct metadata_group *ret_record)
{
    static const enum metadata_member_state states[] = {
        [REPLICA_STALE] = METADATA_STALE,
        [REPLICA_CATCHING_UP] = METADATA_CATCHING_UP,
        [REPLICA_IN_SYNC] = METADATA_IN_SYNC,
    };
    uint64_t now_ns = clock_wall_ns(owned_catalog(owned)->options.clock);
    *ret_record = group->record; /* What a newer program put there stays: it is lent. */
    ret_record->generation = group->wanted.generation;
    ret_record->member_count = 0;
    for (uint32_t i = 0; i < REPLICA_COPIES_MAX; i++) {
        const struct replica_member *of = &group->wanted.members[i];
        if (of->state == REPLICA_ABSENT)
            continue;
        const struct metadata_member *before = member_find(&group->record, of->store);
        struct metadata_member member = {.store = of->store};
        if (before != NULL)
            member = *before;
        if (before == NULL || member.state != states[of->state]) {
            member.state = states[of->state];
            member.since_ns = now_ns;
            if (member.state == METADATA_IN_SYNC)
                member.reason = METADATA_REASON_NONE;
            else if (member.state == METADATA_STALE)
                member.reason = stale_reason(owned, group->record.id, of->store);
        }
        ret_record->members[ret_record->member_count++] = member;
    }
}

/* --- Transactions ------------------------------------------------------------------------------ */

static void owned_later(struct catalog_owned *owned)
{
    if (list_empty(&owned->later))
        list_push_back(&owned_catalog(owned)->owned_later, &owned->later);
}

static void owned_retry(struct timer *timer)
{
    owned_later(CONTAINER_OF(timer, struct catalog_owned, timer));
}

/* Something is to be put, or looked at. */
static bool owned_wants(const struct catalog_owned *owned)
{
    if (owned->unsure)
        return true;
    for (uint32_t i = 0; i < owned->group_count; i++) {
        if (owned->groups[i].asked)
            return true;
    }
    return false;
}

void catalog_owned_wake(struct catalog_owned *owned)
{
    if (owned->copies != NULL && owned->ended == 0 && owned_wants(owned))
        owned_later(owned);
}

static int commit_group(struct catalog_owned *owned, struct catalog_owned_group *group)
{
    struct metadata_group record;
    struct metadata_bytes value = {0};
    group_apply(owned, group, &record);
    int result = metadata_group_encode(&record, &value);
    if (result != 0)
        return result;
    struct metadata_key key = metadata_group_key(record.volume, record.id);
    meta_if_modified(&owned->request, META_SLICE(key), group->revision);
    meta_put(&owned->request, META_SLICE(key), META_SLICE(value), 0);
    metadata_bytes_done(&value);
    group->flying = true;
    return 0;
}

static int commit_build(struct catalog_owned *owned)
{
    struct metadata_key key = metadata_volume_key(owned->volume->record.id);
    uint32_t count = 0;
    int result = 0;
    meta_request_reset(&owned->request);
    meta_if_modified(&owned->request, META_SLICE(key), owned->volume->revision);
    for (uint32_t i = 0; i < owned->group_count && count < OWNED_BATCH && result == 0; i++) {
        if (!owned->groups[i].asked)
            continue;
        result = commit_group(owned, &owned->groups[i]);
        count++;
    }
    meta_else(&owned->request);
    meta_get(&owned->request, META_SLICE(key));
    for (uint32_t i = 0; i < owned->group_count; i++) {
        if (!owned->groups[i].flying)
            continue;
        struct metadata_key of =
            metadata_group_key(owned->volume->record.id, owned->groups[i].record.id);
        meta_get(&owned->request, META_SLICE(of));
    }
    return result;
}

/* --- What came of it ---------------------------------------------------------------------------- */

static void told_done(struct catalog_owned *owned)
{
    for (uint32_t i = 0; i < owned->group_count; i++) {
        struct catalog_owned_group *group = &owned->groups[i];
        if (!group->flying)
            continue;
        struct metadata_group record;
        group_apply(owned, group, &record);
        group->record = record;
        group->revision = owned->request.revision;
        copies_transacted(owned->copies, record.id, &group->wanted);
    }
}

static void told_unknown(struct catalog_owned *owned)
{
    for (uint32_t i = 0; i < owned->group_count; i++) {
        if (owned->groups[i].flying)
            copies_transact_unknown(owned->copies, owned->groups[i].record.id);
    }
}

/* The volume's record is another than we knew. 0: it is ours nevertheless. */
static int told_volume(struct catalog_owned *owned, const struct meta_response *response)
{
    struct catalog_volume *volume = owned->volume;
    struct metadata_volume record = {0};
    if (response->entry_count == 0)
        return IOMESH_FENCED;
    const struct meta_entry *entry = &response->entries[0];
    if (entry->modified_revision == volume->revision)
        return 0;
    int result = metadata_volume_decode(entry->value.data, entry->value.length, &record);
    if (result != 0)
        return result;
    if (record.epoch != volume->record.epoch ||
        record.owner_session != volume->record.owner_session ||
        record.state != METADATA_VOLUME_LIVE) {
        metadata_volume_done(&record);
        return IOMESH_FENCED;
    }
    REACH(catalog_record_adopted);
    metadata_volume_done(&volume->record);
    volume->record = record;
    volume->revision = entry->modified_revision;
    return 0;
}

static int told_group(struct catalog_owned *owned, struct catalog_owned_group *group,
                      const struct meta_response *response)
{
    if (response->entry_count == 0)
        return IOMESH_CORRUPT;
    const struct meta_entry *entry = &response->entries[0];
    struct metadata_group record = {0};
    int result = metadata_group_decode(entry->value.data, entry->value.length, &record);
    if (result != 0)
        return result;
    metadata_group_done(&group->record);
    group->record = record;
    group->revision = entry->modified_revision;
    struct replica_record now = record_of(&record, owned->volume->record.epoch);
    copies_transacted(owned->copies, record.id, &now);
    return 0;
}

static void told_otherwise(struct catalog_owned *owned)
{
    const struct meta_response *responses = owned->request.responses;
    int result = told_volume(owned, &responses[0]);
    uint32_t at = 1;
    for (uint32_t i = 0; i < owned->group_count && result == 0; i++) {
        if (owned->groups[i].flying)
            result = told_group(owned, &owned->groups[i], &responses[at++]);
    }
    if (result == 0)
        return;
    if (result != IOMESH_FENCED)
        catalog_tell(owned_catalog(owned), STORE_ERROR, owned->volume->record.id, 0,
                     "volume %llu: its records in the metadata: %s",
                     (unsigned long long)owned->volume->record.id, base_error_text(result));
    copies_end(owned->copies, IOMESH_FENCED);
}

static void owned_committed(struct meta_request *request, int result)
{
    struct catalog_owned *owned = CONTAINER_OF(request, struct catalog_owned, request);
    owned->committing = false;
    for (uint32_t i = 0; i < owned->group_count; i++)
        owned->groups[i].asked = owned->groups[i].asked && !owned->groups[i].flying;
    if (owned->ended != 0)
        ; /* Nobody asks any more. */
    else if (result != 0)
        told_unknown(owned); /* It is asked for again, and what happened is seen then. */
    else if (request->succeeded)
        told_done(owned);
    else
        told_otherwise(owned);
    if (result == 0) {
        owned->unsure = owned->unsure_again;
        owned->unsure_again = false;
    }
    for (uint32_t i = 0; i < owned->group_count; i++)
        owned->groups[i].flying = false;
    catalog_volume_changed(owned->volume, NULL, 0);
}

static void owned_commit(struct catalog_owned *owned)
{
    struct catalog *catalog = owned_catalog(owned);
    if (owned->committing || owned->volume->changing || owned->ended != 0 ||
        owned->copies == NULL || owned->timer.set || !owned_wants(owned))
        return;
    int result = commit_build(owned);
    if (result == 0)
        result = meta_commit(catalog->options.meta, &owned->request, owned_committed);
    if (result == 0) {
        owned->committing = owned->volume->changing = true;
        return;
    }
    for (uint32_t i = 0; i < owned->group_count; i++)
        owned->groups[i].flying = false;
    owned->timer.fire = owned_retry;
    clock_set_after(catalog->options.clock, &owned->timer, OWNED_RETRY_NS);
}

void catalog_owned_turn(struct catalog *catalog)
{
    for (struct list *node; (node = list_pop_front(&catalog->owned_later)) != NULL;)
        owned_commit(LIST_ENTRY(node, struct catalog_owned, later));
}

/* --- What copies ask ----------------------------------------------------------------------------- */

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
    owned_later(owned);
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
    if (op != NULL)
        catalog_op_later(op, 0, owned->opened);
}

static void call_ended(void *context, int result)
{
    struct catalog_owned *owned = context;
    struct catalog_op *op = owned->op;
    owned->ended = result;
    owned->op = NULL;
    catalog_tell(owned_catalog(owned), STORE_WARNING, owned->volume->record.id, 0,
                 "volume \"%s\": this process has it no more: %s", owned->volume->slot->name,
                 base_error_text(result));
    if (op != NULL)
        catalog_op_later(op, result, owned->opened);
}

/* --- Opening and closing ------------------------------------------------------------------------- */

int catalog_owned_new(struct catalog_volume *volume, struct catalog_owned **ret_owned)
{
    struct catalog_owned *owned = calloc(1, sizeof *owned);
    if (owned == NULL)
        return -ENOMEM;
    owned->volume = volume;
    list_init(&owned->later);
    list_push_back(&volume->catalog->owned, &owned->node);
    *ret_owned = owned;
    return 0;
}

/* A store of our own node that has a copy of the first group. */
static uint64_t local_store(const struct catalog_owned *owned)
{
    const struct catalog *catalog = owned_catalog(owned);
    const char *node = catalog->cluster.node;
    const struct metadata_group *group = &owned->groups[0].record;
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
            .record = record_of(&owned->groups[i].record, record->epoch)};
    struct copies_options options = {
        .volume = record->id,
        .epoch = record->epoch,
        .sequence = owned->sequence - 1,
        .bound_ns = catalog->session.bound_ns,
        .old_until_ns = owned->old_until_ns,
        .local_store = local_store(owned),
        .groups = groups,
        .group_count = owned->group_count,
        .runs = owned->runs,
        .run_count = owned->run_count,
        .replica = catalog->cluster.replica,
        .calls = {.port = call_port,
                  .transact = call_transact,
                  .take_sequence = call_take_sequence,
                  .cuts = call_cuts,
                  .opened = call_opened,
                  .ended = call_ended,
                  .context = owned},
    };
    options.replica.min_copies = (uint8_t)record->policy.copies_min;
    owned->op = op;
    owned->opened = opened;
    int result = copies_open(catalog->cluster.copies, &options, &owned->copies);
    if (result != 0)
        owned->op = NULL;
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

void catalog_owned_close(struct catalog_owned *owned, struct catalog_op *op,
                         catalog_step_fn *closed)
{
    owned->closed = closed;
    if (owned->copies == NULL) {
        catalog_op_later(op, 0, closed);
        return;
    }
    owned->op = op;
    copies_close(owned->copies, owned_closed, owned);
}

void catalog_owned_free(struct catalog_owned *owned)
{
    if (owned == NULL)
        return;
    assert(owned->copies == NULL && !owned->committing);
    list_remove(&owned->node);
    list_remove(&owned->later);
    clock_cancel(owned_catalog(owned)->options.clock, &owned->timer);
    for (uint32_t i = 0; i < owned->group_count; i++)
        metadata_group_done(&owned->groups[i].record);
    meta_request_done(&owned->request);
    free(owned->groups);
    free(owned->runs);
    free(owned->cuts);
    free(owned);
}

/* --- Cuts ---------------------------------------------------------------------------------------- */

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

/* --- The session ---------------------------------------------------------------------------------- */

void catalog_owned_lease(struct catalog *catalog)
{
    LIST_EACH (&catalog->owned, node) {
        struct catalog_owned *owned = LIST_ENTRY(node, struct catalog_owned, node);
        if (owned->copies != NULL && !owned->unsure && owned->ended == 0)
            copies_lease(owned->copies, catalog->session.bound_ns);
    }
}

void catalog_owned_doubt_one(struct catalog_owned *owned)
{
    owned->unsure = true;
    owned->unsure_again = owned->committing; /* What is under way may have looked before. */
    owned_later(owned);
}

void catalog_owned_doubt(struct catalog *catalog)
{
    LIST_EACH (&catalog->owned, node)
        catalog_owned_doubt_one(LIST_ENTRY(node, struct catalog_owned, node));
}

void catalog_owned_end(struct catalog *catalog)
{
    LIST_EACH (&catalog->owned, node) {
        struct catalog_owned *owned = LIST_ENTRY(node, struct catalog_owned, node);
        if (owned->copies != NULL)
            copies_end(owned->copies, IOMESH_FENCED);
    }
}

void catalog_owned_stop(struct catalog *catalog)
{
    LIST_EACH (&catalog->owned, node) {
        struct catalog_owned *owned = LIST_ENTRY(node, struct catalog_owned, node);
        if (owned->op != NULL && owned->copies != NULL && owned->volume->slot->open == NULL)
            copies_end(owned->copies, IOMESH_FENCED);
    }
}

void catalog_port_changed(struct catalog *catalog, struct part_port *port)
{
    LIST_EACH (&catalog->owned, node) {
        struct catalog_owned *owned = LIST_ENTRY(node, struct catalog_owned, node);
        if (owned->copies != NULL)
            copies_port_changed(owned->copies, port);
    }
}
