/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Opening a volume of a cluster: it becomes this process's own.
 *
 *   LOOK whether its owner lives ──▶ CLAIM ──▶ its GROUPS ──▶ its MAPS ──▶ copies are opened
 *     │ it does: refused               │ somebody was first: from the beginning
 *     └─ by force, or our earlier life ┘
 *
 * CLAIM is one transaction: a new epoch, we are the owner, the first lot of sequences. It compares
 * the record, that our session lives, and that the owner's key is as it was seen: gone, or there
 * and overruled. From then on nobody but us changes groups and maps: they are read at leisure.
 *
 * Overruling: our own earlier life (same node and address) has no I/O any more, its key is deleted.
 * Whoever is forced out may live on: its key is put anew, so that it looks at what it owns before
 * it believes in its lease again; until then it may answer, so we wait for the end of that.
 */
#include <stdlib.h>
#include <string.h>

#include "volume/catalog_cluster.h"

#define CLAIM_TRIES 5u

void catalog_claim_free(struct catalog_claim *claim)
{
    if (claim == NULL)
        return;
    metadata_bytes_done(&claim->owner_value);
    free(claim);
}

/* --- The end ---------------------------------------------------------------------------------- */

static void claim_gone(struct catalog_op *op, int result)
{
    struct catalog_volume *volume = op->closing;
    int why = op->why;
    (void)result;
    catalog_release(op->catalog, volume->record.id, volume->record.epoch);
    catalog_volume_free(volume);
    op->record_lent = true; /* And what was lent is gone. */
    catalog_op_fail(op, why);
}

/* No transaction of its groups is under way. */
static void claim_held(struct catalog_op *op, int result)
{
    (void)result;
    catalog_owned_close(op->closing->owned, op, claim_gone);
}

/* It is claimed, and cannot be opened. What it has is taken back by whoever opens it next. */
static void claim_give_up(struct catalog_op *op, int result)
{
    op->closing = op->claim->owned->volume;
    op->why = result;
    catalog_op_hold(op, op->closing, claim_held);
}

static void claim_looked(struct catalog_op *op, int result)
{
    const struct meta_response *response = &op->request.responses[0];
    bool ours = result == 0 && response->entry_count > 0 &&
                response->entries[0].modified_revision == op->claim->owned->volume->revision;
    if (result == 0)
        result = ours ? IOMESH_CORRUPT : IOMESH_FENCED;
    claim_give_up(op, result);
}

/* What does not fit may be of one that somebody else took, and deleted, say, meanwhile. */
static void claim_doubt(struct catalog_op *op, int result)
{
    if (result != IOMESH_CORRUPT || MUTANT(435)) {
        claim_give_up(op, result);
        return;
    }
    REACH(catalog_claim_doubted);
    struct metadata_key key = metadata_volume_key(op->claim->owned->volume->record.id);
    meta_request_reset(&op->request);
    meta_get(&op->request, META_SLICE(key));
    catalog_op_commit(op, claim_looked);
}

static void claim_open_volume(struct catalog_op *op, int result)
{
    struct catalog_owned *owned = op->claim->owned;
    struct catalog_volume *volume = owned->volume;
    if (op->catalog->state == CATALOG_CLOSING)
        result = -ECANCELED;
    if (result == 0)
        result = catalog_kin_add(owned, op);
    if (result == 0) {
        struct volume_options options = {
            .copies = owned->copies,
            .id = volume->record.id,
            .view = VIEW_HEAD,
            .bytes = volume->record.bytes,
            .sector_bytes = volume->record.sector_bytes,
            .epoch = volume->record.epoch,
            .sequence = owned->sequence,
            .sequence_end = volume->record.sequence_end,
            .cut = volume->cut,
            .views = true, /* A copy that was away may have some. */
            .parents = op->parents,
            .parent_count = op->parent_count,
            .want_sequences = catalog_volume_want_lot,
            .context = volume,
        };
        result = volume_open(op->catalog->options.volumes, &options, &volume->volume);
    }
    if (result != 0) {
        claim_give_up(op, result);
        return;
    }
    catalog_claim_free(op->claim);
    op->claim = NULL;
    op->slot->open = volume;
    catalog_records_changed(owned);
    if (op->cuts.count > catalog_cuts_kept(&op->cuts) || op->swept)
        catalog_chore_wake(op->catalog, volume->record.id);
    op->revision = 0; /* The record is the volume's. */
    catalog_op_load(op, op->opened);
}

/* --- Groups and maps -------------------------------------------------------------------------- */

int catalog_claim_group(struct catalog_owned *owned, uint64_t volume,
                        const struct meta_entry *entry)
{
    if (owned->group_count == owned->group_capacity) {
        uint32_t capacity = MAX(2 * owned->group_capacity, 16u);
        struct catalog_owned_group *groups = realloc(owned->groups, capacity * sizeof *groups);
        if (groups == NULL)
            return -ENOMEM;
        owned->groups = groups;
        owned->group_capacity = capacity;
    }
    struct catalog_owned_group *group = &owned->groups[owned->group_count];
    *group = (struct catalog_owned_group){.revision = entry->modified_revision};
    int result = metadata_group_decode(entry->value.data, entry->value.length, &group->record);
    if (result != 0)
        return result;
    owned->group_count++;
    bool sane = group->record.volume == volume &&
                group->record.member_count <= REPLICA_COPIES_MAX &&
                (owned->group_count == 1 || group[-1].record.id < group->record.id);
    return sane ? 0 : IOMESH_CORRUPT;
}

static bool group_index(const struct catalog_owned *owned, uint32_t id, uint32_t *ret_index)
{
    uint32_t low = 0;
    uint32_t high = owned->group_count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (owned->groups[middle].record.id < id)
            low = middle + 1;
        else
            high = middle;
    }
    *ret_index = low;
    return low < owned->group_count && owned->groups[low].record.id == id;
}

static int runs_add(struct catalog_owned *owned, uint32_t group)
{
    struct copies_run *last = owned->run_count == 0 ? NULL : &owned->runs[owned->run_count - 1];
    uint32_t segment = (uint32_t)owned->segments++;
    if (last != NULL && last->group == group) {
        last->count++;
        return 0;
    }
    if (owned->run_count == owned->run_capacity) {
        uint32_t capacity = MAX(2 * owned->run_capacity, 64u);
        struct copies_run *runs = realloc(owned->runs, capacity * sizeof *runs);
        if (runs == NULL)
            return -ENOMEM;
        owned->runs = runs;
        owned->run_capacity = capacity;
    }
    assert(owned->runs != NULL);
    owned->runs[owned->run_count++] =
        (struct copies_run){.first = segment, .count = 1, .group = group};
    return 0;
}

int catalog_claim_map(struct catalog_owned *owned, uint64_t volume, const struct meta_entry *entry)
{
    struct metadata_map *map = calloc(1, sizeof *map);
    if (map == NULL)
        return -ENOMEM;
    int result = metadata_map_decode(entry->value.data, entry->value.length, map);
    if (result == 0 &&
        (map->volume != volume || (uint64_t)map->index * METADATA_MAP_SEGMENTS != owned->segments))
        result = IOMESH_CORRUPT;
    for (uint32_t i = 0; result == 0 && i < map->segment_count; i++) {
        uint32_t group;
        result =
            group_index(owned, map->groups[i], &group) ? runs_add(owned, group) : IOMESH_CORRUPT;
    }
    metadata_map_done(map);
    free(map);
    return result;
}

static void read_page(struct catalog_op *op, enum metadata_kind kind, catalog_step_fn *read)
{
    struct metadata_key prefix = metadata_volume_prefix(kind, op->claim->owned->volume->record.id);
    meta_request_reset(&op->request);
    meta_list(&op->request, META_SLICE(prefix), META_SLICE(op->claim->after),
              META_LIST_ENTRIES_MAX);
    catalog_op_commit(op, read);
}

/* Each entry of a page; true: another page follows. */
static int read_entries(struct catalog_op *op, int result,
                        int (*add)(struct catalog_owned *, uint64_t, const struct meta_entry *),
                        bool *ret_more)
{
    struct catalog_claim *claim = op->claim;
    if (result != 0)
        return result;
    const struct meta_response *response = &op->request.responses[0];
    for (uint32_t i = 0; i < response->entry_count && result == 0; i++)
        result = add(claim->owned, claim->owned->volume->record.id, &response->entries[i]);
    *ret_more = response->more && response->entry_count > 0;
    if (result == 0 && *ret_more) {
        const struct meta_slice *last = &response->entries[response->entry_count - 1].key;
        if (last->length > sizeof claim->after.bytes)
            return IOMESH_CORRUPT;
        memcpy(claim->after.bytes, last->data, last->length);
        claim->after.length = last->length;
    }
    return result;
}

static void maps_read(struct catalog_op *op, int result)
{
    struct catalog_owned *owned = op->claim->owned;
    bool more = false;
    result = read_entries(op, result, catalog_claim_map, &more);
    if (result == 0 && more) {
        read_page(op, METADATA_MAP, maps_read);
        return;
    }
    if (result == 0 && owned->segments < place_segments(owned->volume->record.bytes))
        result = IOMESH_CORRUPT;
    if (result == 0 && op->keeps && !list_empty(&op->slot->ops))
        result = IOMESH_FENCED; /* Somebody wants it. */
    if (result == 0)
        result = catalog_owned_open(owned, op, claim_open_volume);
    if (result != 0)
        claim_doubt(op, result);
}

static void groups_read(struct catalog_op *op, int result)
{
    bool more = false;
    result = read_entries(op, result, catalog_claim_group, &more);
    if (result == 0 && !more && op->claim->owned->group_count == 0)
        result = IOMESH_CORRUPT;
    if (result != 0) {
        claim_doubt(op, result);
        return;
    }
    if (!more)
        op->claim->after.length = 0;
    if (more)
        read_page(op, METADATA_GROUP, groups_read);
    else
        read_page(op, METADATA_MAP, maps_read);
}

/* --- The claim -------------------------------------------------------------------------------- */

/* The record was put: it is ours. */
static int claim_take(struct catalog_op *op)
{
    struct catalog *catalog = op->catalog;
    struct catalog_claim *claim = op->claim;
    struct catalog_volume *volume;
    int result = catalog_volume_new(op, "", VIEW_HEAD, &volume);
    if (result != 0)
        return result;
    result = catalog_owned_new(volume, &claim->owned);
    if (result == 0)
        result = catalog_owned_cuts(claim->owned, &op->cuts);
    if (result != 0) {
        volume->owned = claim->owned;
        catalog_volume_free(volume);
        claim->owned = NULL;
        return result;
    }
    volume->owned = claim->owned;
    volume->record = op->record; /* Its memory too. */
    volume->revision = op->request.revision;
    volume->writable = true;
    volume->cut = catalog_cuts_kept_below(&op->cuts, UINT64_MAX);
    volume->views = op->cuts.count > 0 || op->swept;
    op->record_lent = true;
    claim->owned->sequence = op->record.sequence_end - catalog->options.sequence_lot;
    /* Our session was touched since: by whoever took it from us, maybe. */
    claim->owned->unsure = catalog->session.revision > op->request.revision;
    if (claim->forced)
        claim->owned->old_until_ns = clock_now_ns(catalog->options.clock) + catalog->session.ttl_ns;
    return 0;
}

static void claim_committed(struct catalog_op *op, int result)
{
    if (result != 0) {
        catalog_release(op->catalog, op->record.id, op->record.epoch); /* It may have happened. */
        catalog_op_fail(op, result);
        return;
    }
    if (!op->request.succeeded) {
        REACH(catalog_claim_overtaken);
        catalog_claim_free(op->claim);
        op->claim = NULL;
        if (++op->tries < CLAIM_TRIES)
            catalog_op_open_again(op);
        else
            catalog_op_fail(op, IOMESH_CONFLICT);
        return;
    }
    result = claim_take(op);
    if (result != 0)
        catalog_op_fail(op, result);
    else
        read_page(op, METADATA_GROUP, groups_read);
}

static void claim_build_owner(struct catalog_op *op)
{
    const struct catalog_claim *claim = op->claim;
    struct metadata_key ours = metadata_session_key(op->catalog->session.id);
    meta_if_present(&op->request, META_SLICE(ours));
    if (!claim->compares)
        return;
    struct metadata_key key = metadata_session_key(op->record.owner_session);
    meta_if_modified(&op->request, META_SLICE(key), claim->owner_revision);
    if (claim->succeeds)
        meta_delete(&op->request, META_SLICE(key));
    else if (claim->forced)
        meta_put(&op->request, META_SLICE(key), META_SLICE(claim->owner_value), claim->owner_lease);
}

static void claim_put(struct catalog_op *op)
{
    struct metadata_volume *record = &op->record;
    meta_request_reset(&op->request);
    claim_build_owner(op);
    int result =
        catalog_put_sweep_unclean(&op->request, record, catalog_cuts_newest(&op->cuts), &op->swept);
    record->epoch++;
    record->owner_session = op->catalog->session.id;
    record->owner_yields = op->keeps || (MUTANT(346) && record->owner_yields);
    record->sequence_end += op->catalog->options.sequence_lot;
    record->unclean = true;
    if (result == 0 && record->sequence_end > SEQUENCE_MAX)
        result = -EOVERFLOW;
    if (result == 0)
        result = catalog_put_record(&op->request, record, op->revision);
    if (result == 0)
        catalog_op_commit(op, claim_committed);
    else
        catalog_op_later(op, result, claim_committed);
}

/* --- Its owner -------------------------------------------------------------------------------- */

static bool is_ours(const struct catalog *catalog, const struct metadata_session *session)
{
    const struct catalog_cluster *cluster = &catalog->cluster;
    return session->node[0] != '\0' && session->address[0] != '\0' && cluster->node != NULL &&
           cluster->address != NULL && strcmp(session->node, cluster->node) == 0 &&
           strcmp(session->address, cluster->address) == 0;
}

/* It lives: whether it is overruled. */
static int owner_lives(struct catalog_op *op, const struct meta_entry *entry)
{
    struct catalog_claim *claim = op->claim;
    struct metadata_session session = {0};
    int result = metadata_session_decode(entry->value.data, entry->value.length, &session);
    if (result != 0)
        return FAIL(result, "volume \"%s\": the session of its owner in the metadata: %s",
                    op->slot->name, base_error_text(result));
    claim->owner_revision = entry->modified_revision;
    claim->owner_lease = entry->lease;
    claim->succeeds = is_ours(op->catalog, &session);
    claim->forced = op->force && !claim->succeeds;
    if (!claim->succeeds && !claim->forced)
        result =
            FAIL(-EBUSY, "volume \"%s\" is open on node \"%s\" (%s): close it there, or force it",
                 op->slot->name, session.node[0] != '\0' ? session.node : "?",
                 session.address[0] != '\0' ? session.address : "no address");
    metadata_session_done(&session);
    if (result != 0 || !claim->forced)
        return result;
    claim->owner_value.bytes = malloc(MAX(entry->value.length, 1u));
    if (claim->owner_value.bytes == NULL)
        return -ENOMEM;
    memcpy(claim->owner_value.bytes, entry->value.data, entry->value.length);
    claim->owner_value.length = entry->value.length;
    return 0;
}

static void owner_read(struct catalog_op *op, int result)
{
    const struct meta_response *response = &op->request.responses[0];
    if (result != 0) {
        catalog_op_fail(op, result);
        return;
    }
    op->claim->compares = true;
    if (response->entry_count > 0)
        result = owner_lives(op, &response->entries[0]);
    if (result != 0)
        catalog_op_end(op, result);
    else
        claim_put(op);
}

/* --- Operations on what nobody has open ------------------------------------------------------- */

static void other_read(struct catalog_op *op, int result)
{
    const struct meta_response *response = &op->request.responses[0];
    struct metadata_session session = {0};
    if (result != 0) {
        catalog_op_fail(op, result);
        return;
    }
    if (response->entry_count == 0) {
        op->read(op, 0);
        return;
    }
    const struct meta_slice *value = &response->entries[0].value;
    result = metadata_session_decode(value->data, value->length, &session);
    if (result != 0) {
        catalog_op_fail(op, result);
        return;
    }
    FAIL(-EBUSY, "volume \"%s\" is open on node \"%s\" (%s): it can be changed only there",
         op->slot->name, session.node, session.address);
    metadata_session_done(&session);
    catalog_op_end(op, -EBUSY);
}

void catalog_op_owner(struct catalog_op *op, catalog_step_fn *next)
{
    uint64_t owner = op->record.owner_session;
    if (!catalog_is_cluster(op->catalog) || op->slot->open != NULL || owner == 0 ||
        owner == op->catalog->session.id || op->record.owner_yields) {
        next(op, 0);
        return;
    }
    op->read = next;
    struct metadata_key key = metadata_session_key(owner);
    meta_request_reset(&op->request);
    meta_get(&op->request, META_SLICE(key));
    catalog_op_commit(op, other_read);
}

void catalog_op_unowned(struct catalog_op *op)
{
    const struct metadata_volume *record = &op->record;
    if (!catalog_is_cluster(op->catalog) || op->slot->open != NULL || record->owner_session == 0 ||
        record->owner_session == op->catalog->session.id || record->owner_yields)
        return;
    struct metadata_key key = metadata_session_key(record->owner_session);
    meta_if_absent(&op->request, META_SLICE(key));
}

int catalog_op_put_taken(struct catalog_op *op)
{
    catalog_op_unowned(op);
    if (catalog_is_cluster(op->catalog) && op->slot->open == NULL && !MUTANT(378)) {
        if (op->record.owner_session != 0)
            REACH(catalog_taken_by_change);
        op->record.owner_session = 0;
        op->record.owner_yields = false;
    }
    return catalog_put_record(&op->request, &op->record, op->revision);
}

/* --- Claiming --------------------------------------------------------------------------------- */

void catalog_op_claim(struct catalog_op *op)
{
    int result = 0;
    op->claim = calloc(1, sizeof *op->claim);
    if (op->claim == NULL)
        result = FAIL(-ENOMEM, "opening volume \"%s\": no memory", op->slot->name);
    if (result != 0) {
        catalog_op_end(op, result);
        return;
    }
    uint64_t owner = op->record.owner_session;
    /* Who yields has answered nobody: there is nothing to wait for, either. */
    if (owner == 0 || owner == op->catalog->session.id ||
        (op->record.owner_yields && !MUTANT(341))) {
        claim_put(op);
        return;
    }
    struct metadata_key key = metadata_session_key(owner);
    meta_request_reset(&op->request);
    meta_get(&op->request, META_SLICE(key));
    catalog_op_commit(op, owner_read);
}
