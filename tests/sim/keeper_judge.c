/* SPDX-License-Identifier: Apache-2.0 */
/* Every change of the metadata is looked at: who may have made it, and whether it may be. */
#include <stdio.h>
#include <string.h>

#include "sim/keeper_life.h"

static const struct metadata_member *member_of(const struct metadata_group *group, uint64_t store)
{
    for (uint32_t i = 0; i < group->member_count; i++) {
        if (group->members[i].store == store)
            return &group->members[i];
    }
    return NULL;
}

static unsigned in_sync(const struct metadata_group *group)
{
    unsigned count = 0;
    for (uint32_t i = 0; i < group->member_count; i++)
        count += group->members[i].state == METADATA_IN_SYNC ? 1 : 0;
    return count;
}

static unsigned volume_at(uint64_t id)
{
    return id <= LIFE_VOLUMES ? (unsigned)id : LIFE_PARENT;
}

static void group_changed(struct life *life, const struct meta_entry *entry)
{
    struct metadata_group now;
    if (metadata_group_decode(entry->value.data, entry->value.length, &now) != 0) {
        (void)life_wrong(life, "a group's record cannot be read");
        return;
    }
    struct metadata_group *before = &life->groups[volume_at(now.volume)];
    for (uint32_t i = 0; i < before->member_count; i++) {
        if (member_of(&now, before->members[i].store) != NULL)
            continue;
        life->counts.drops++;
        /* Another may be found out of date in the same transaction. */
        unsigned others = in_sync(before) - (before->members[i].state == METADATA_IN_SYNC ? 1 : 0);
        if (others < 3)
            (void)life_wrong(life, "volume %llu: the copy on store %llu went, and %u are left",
                             (unsigned long long)now.volume,
                             (unsigned long long)before->members[i].store, others);
    }
    for (uint32_t i = 0; i < now.member_count && before->member_count > 0; i++)
        life->counts.adds += member_of(before, now.members[i].store) == NULL ? 1 : 0;
    if (in_sync(&now) == 0)
        (void)life_wrong(life, "volume %llu: no copy is in sync", (unsigned long long)now.volume);
    *before = now;
}

static void wish_changed(struct life *life, const struct meta_event *event)
{
    struct metadata_wish wish;
    life->wishes += event->kind == META_EVENT_DELETE ? UINT32_MAX
                    : event->previous_revision == 0  ? 1
                                                     : 0;
    if (event->kind == META_EVENT_DELETE)
        return;
    if (metadata_wish_decode(event->entry.value.data, event->entry.value.length, &wish) != 0)
        (void)life_wrong(life, "a wish cannot be read");
    else if (wish.session != life->keeper_session)
        (void)life_wrong(life, "somebody wishes who is not the keeper: %llx, and %llx is",
                         (unsigned long long)wish.session,
                         (unsigned long long)life->keeper_session);
}

static void keeper_changed(struct life *life, const struct meta_event *event)
{
    struct metadata_keeper keeper = {0};
    if (event->kind == META_EVENT_PUT &&
        metadata_keeper_decode(event->entry.value.data, event->entry.value.length, &keeper) != 0)
        (void)life_wrong(life, "the keeper's record cannot be read");
    life->keeper_session = keeper.session;
    life->keeper_revision = event->revision;
    life->counts.led += keeper.session != 0 ? 1 : 0;
    metadata_keeper_done(&keeper);
}

static void volume_changed(struct life *life, const struct meta_entry *entry)
{
    struct metadata_volume record;
    if (metadata_volume_decode(entry->value.data, entry->value.length, &record) != 0) {
        (void)life_wrong(life, "a volume's record cannot be read");
        return;
    }
    unsigned at = volume_at(record.id);
    if (life->owners[at] != record.owner_session || life->yields[at] != record.owner_yields) {
        life->counts.taken +=
            life->yields[at] && record.owner_session != 0 && !record.owner_yields ? 1 : 0;
        life->taken_ns[at] = life->worlds.now_ns;
    }
    life->owners[at] = record.owner_session;
    life->yields[at] = record.owner_yields;
    metadata_volume_done(&record);
}

static void store_changed(struct life *life, const struct meta_entry *entry)
{
    struct metadata_store record;
    if (metadata_store_decode(entry->value.data, entry->value.length, &record) != 0) {
        (void)life_wrong(life, "a store's record cannot be read");
        return;
    }
    life->counts.outs += record.state == METADATA_STORE_OUT ? 1 : 0;
    life->stores[record.id] = record;
}

static void changed(struct meta_watch *watch, const struct meta_event *event)
{
    struct life *life = CONTAINER_OF(watch, struct life, watch);
    struct metadata_key_parts parts;
    if (metadata_key_parse(event->entry.key.data, event->entry.key.length, &parts) != 0) {
        (void)life_wrong(life, "what key is this?");
        return;
    }
    bool put = event->kind == META_EVENT_PUT;
    switch (parts.kind) {
    case METADATA_KEEPER: keeper_changed(life, event); break;
    case METADATA_WISH: wish_changed(life, event); break;
    case METADATA_GROUP:
        if (put)
            group_changed(life, &event->entry);
        break;
    case METADATA_VOLUME:
        if (put)
            volume_changed(life, &event->entry);
        break;
    case METADATA_STORE:
        if (put)
            store_changed(life, &event->entry);
        break;
    default: break;
    }
}

static void watch_ended(struct meta_watch *watch, int result)
{
    (void)life_wrong(CONTAINER_OF(watch, struct life, watch), "the watch ended: %s",
                     base_error_text(result));
}

void life_watch(struct life *life)
{
    struct meta_slice all = {0};
    (void)meta_watch_start(life->watcher, &life->watch, all, 0, changed, watch_ended);
}

/* --- At every moment -------------------------------------------------------------------------- */

void life_look(struct life *life)
{
    unsigned leading = 0;
    for (unsigned i = 0; i < LIFE_KEEPERS; i++) {
        struct keeper_look look;
        if (life->users[i].keeper == NULL)
            continue;
        keeper_look(life->users[i].keeper, &look);
        leading += look.leads ? 1 : 0;
    }
    if (leading > 1)
        (void)life_wrong(life, "two keepers lead");
    for (unsigned i = 0; i < LIFE_USERS; i++) {
        const struct life_client *client = &life->users[i].client;
        uint64_t volume = client->volume + 1;
        bool has = client->handle != NULL && !client->closing && life->users[i].ready &&
                   catalog_handle_ended(client->handle) == 0;
        if (has && life->yields[volume] && life->owners[volume] != 0 &&
            life->owners[volume] == catalog_session(life->users[i].catalog) &&
            life->taken_ns[volume] + NS_PER_S < life->worlds.now_ns)
            (void)life_wrong(life, "user %u has volume %llu open, and it yields", i,
                             (unsigned long long)volume);
    }
}

/* --- At the end ------------------------------------------------------------------------------- */

/* What a process had that died is nobody's. */
static bool lives(const struct life *life, uint64_t session)
{
    for (unsigned i = 0; i < LIFE_USERS; i++) {
        if (session != 0 && life->users[i].ready &&
            catalog_session(life->users[i].catalog) == session)
            return true;
    }
    return false;
}

bool life_is_well(struct life *life, char text[256])
{
    for (unsigned i = 1; i <= LIFE_NODES; i++) {
        if (life->stores[i].state == METADATA_STORE_OUT) {
            (void)snprintf(text, 256, "store %u is out", i);
            return false;
        }
    }
    for (unsigned i = 1; i <= LIFE_PARENT; i++) {
        const struct metadata_group *group = &life->groups[i];
        if (in_sync(group) != 3 || group->member_count != 3) {
            (void)snprintf(text, 256, "volume %u has %u copies, %u in sync", i, group->member_count,
                           in_sync(group));
            return false;
        }
        for (uint32_t m = 0; m < 3; m++) {
            if (life->stores[group->members[m].store].state != METADATA_STORE_UP) {
                (void)snprintf(text, 256, "volume %u has a copy on store %llu, which drains", i,
                               (unsigned long long)group->members[m].store);
                return false;
            }
        }
        if (lives(life, life->owners[i]) && !life->yields[i]) {
            (void)snprintf(text, 256, "volume %u is owned", i);
            return false;
        }
    }
    for (unsigned i = 0; i < LIFE_KEEPERS; i++) {
        struct keeper_look look = {0};
        if (life->users[i].keeper != NULL)
            keeper_look(life->users[i].keeper, &look);
        if (look.kept > 0) {
            (void)snprintf(text, 256, "user %u keeps %u volumes", i, look.kept);
            return false;
        }
    }
    if (life->wishes != 0) {
        (void)snprintf(text, 256, "%u wishes are left", life->wishes);
        return false;
    }
    return true;
}
