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

/* --- Records as the machine has them ---------------------------------------------------------- */

struct replica_record catalog_owned_record(const struct metadata_group *group, uint64_t epoch)
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

/* A store that is no member any more may have something of the volume: whoever deletes it asks. */
static void group_leave(const struct metadata_group *before, struct metadata_group *record)
{
    record->left_count = 0;
    for (uint32_t i = 0; i < before->left_count + before->member_count; i++) {
        uint64_t store = i < before->left_count ? before->left[i]
                                                : before->members[i - before->left_count].store;
        if (member_find(record, store) != NULL)
            continue;
        if (record->left_count == METADATA_LEFT_MAX) {
            record->left_count--;
            memmove(record->left, record->left + 1, record->left_count * sizeof *record->left);
        }
        record->left[record->left_count++] = store;
    }
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
            else if (member.state == METADATA_STALE && before != NULL)
                member.reason = stale_reason(owned, group->record.id, of->store);
        }
        member.leaving = member.leaving ||
                         catalog_wish_leaves(owned, &group->wanted, group->record.id, of->store);
        ret_record->members[ret_record->member_count++] = member;
    }
    group_leave(&group->record, ret_record);
}

/* --- Transactions ----------------------------------------------------------------------------- */

void catalog_owned_later(struct catalog_owned *owned)
{
    if (list_empty(&owned->later))
        list_push_back(&owned_catalog(owned)->owned_later, &owned->later);
}

static void owned_retry(struct timer *timer)
{
    catalog_owned_later(CONTAINER_OF(timer, struct catalog_owned, timer));
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
        catalog_owned_later(owned);
}

static int commit_group(struct catalog_owned *owned, struct catalog_owned_group *group)
{
    struct metadata_bytes value = {0};
    group_apply(owned, group, &group->next);
    int result = metadata_group_encode(&group->next, &value);
    if (result != 0)
        return result;
    struct metadata_key key = metadata_group_key(group->next.volume, group->next.id);
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

/* --- What came of it -------------------------------------------------------------------------- */

static void told_done(struct catalog_owned *owned)
{
    for (uint32_t i = 0; i < owned->group_count; i++) {
        struct catalog_owned_group *group = &owned->groups[i];
        if (!group->flying)
            continue;
        group->record = group->next;
        group->revision = owned->request.revision;
        copies_transacted(owned->copies, group->record.id, &group->wanted);
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
        record.state != volume->record.state) {
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
    struct replica_record now = catalog_owned_record(&record, owned->volume->record.epoch);
    copies_transacted(owned->copies, record.id, &now);
    return 0;
}

/* Whether it is ours still. */
static bool told_otherwise(struct catalog_owned *owned)
{
    const struct meta_response *responses = owned->request.responses;
    int result = told_volume(owned, &responses[0]);
    uint32_t at = 1;
    for (uint32_t i = 0; i < owned->group_count && result == 0; i++) {
        if (owned->groups[i].flying)
            result = told_group(owned, &owned->groups[i], &responses[at++]);
    }
    if (result == 0)
        return true;
    if (result != IOMESH_FENCED)
        catalog_tell(owned_catalog(owned), STORE_ERROR, owned->volume->record.id, 0,
                     "volume %llu: its records in the metadata: %s",
                     (unsigned long long)owned->volume->record.id, base_error_text(result));
    copies_end(owned->copies, IOMESH_FENCED);
    return false;
}

static void owned_committed(struct meta_request *request, int result)
{
    struct catalog_owned *owned = CONTAINER_OF(request, struct catalog_owned, request);
    owned->committing = false;
    bool ours = result == 0 && owned->ended == 0;
    for (uint32_t i = 0; i < owned->group_count; i++)
        owned->groups[i].asked = owned->groups[i].asked && !owned->groups[i].flying;
    if (owned->ended != 0)
        ; /* Nobody asks any more. */
    else if (result != 0)
        told_unknown(owned); /* It is asked for again, and what happened is seen then. */
    else if (request->succeeded)
        told_done(owned);
    else
        ours = told_otherwise(owned);
    bool sure = owned->unsure && !owned->unsure_again;
    if (result == 0) {
        owned->unsure = owned->unsure_again;
        owned->unsure_again = false;
    }
    if (ours && sure)
        copies_lease(owned->copies, owned_catalog(owned)->session.bound_ns);
    for (uint32_t i = 0; i < owned->group_count; i++)
        owned->groups[i].flying = false;
    catalog_owned_wish(owned);
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
