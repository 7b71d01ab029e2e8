/* SPDX-License-Identifier: Apache-2.0 */
/* What the stores say, held together: one truth again. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <iomesh/event.h>

#include "api/rebuild.h"
#include "base/uuid.h"
#include "format/pointer.h"

/* A volume, and the newest set of its records: those that one store has. */
struct rebuild_volume {
    struct rebuild_volume *next;
    uint64_t id;
    const struct rebuild_store *from;
    struct metadata_stamp stamp; /* Of the newest of them. */
    struct metadata_volume record;
    uint64_t epoch, sequence; /* Beyond what any store has seen, at least. */
    uint32_t part_generation; /* Of the group at hand. */
    bool written;             /* Some part of it was. */
};

void rebuild_say(struct rebuild *rebuild, uint32_t severity, const char *format, ...)
{
    char text[512];
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    rebuild->faults += severity <= IOMESH_SEVERITY_WARNING;
    if (rebuild->tell != NULL)
        rebuild->tell(rebuild->context, severity, text);
}

/* --- What was read -------------------------------------------------------------------------- */

struct rebuild_store *rebuild_store_new(struct rebuild *rebuild, const char *path)
{
    struct rebuild_store *store =
        rebuild->store_count == REBUILD_STORES_MAX ? NULL : calloc(1, sizeof *store);
    if (store != NULL)
        store->path = strdup(path);
    if (store == NULL || store->path == NULL) {
        free(store);
        return NULL;
    }
    rebuild->stores[rebuild->store_count++] = store;
    return store;
}

void rebuild_store_drop(struct rebuild *rebuild)
{
    struct rebuild_store *store = rebuild->stores[--rebuild->store_count];
    free(store->path);
    free(store);
}

const struct rebuild_store *rebuild_store_same(const struct rebuild *rebuild,
                                               const struct rebuild_store *store)
{
    for (uint32_t i = 0; i < rebuild->store_count; i++) {
        const struct rebuild_store *other = rebuild->stores[i];
        if (other != store && !uuid_is_none(store->uuid) &&
            memcmp(other->uuid, store->uuid, sizeof other->uuid) == 0)
            return other;
    }
    return NULL;
}

static void own_record(struct rebuild_store *store, const struct rebuild_copy *copy)
{
    struct metadata_store record;
    if (metadata_store_decode(copy->data, copy->bytes, &record) != 0)
        return;
    bool own = store->id != 0 ? record.id == store->id
                              : memcmp(record.uuid, store->uuid, sizeof record.uuid) == 0;
    if (!own) {
        metadata_store_done(&record);
        return;
    }
    metadata_store_done(&store->record);
    memcpy(store->uuid, record.uuid, sizeof store->uuid);
    store->record = record;
    store->known = true;
}

int rebuild_copy_add(struct rebuild *rebuild, struct rebuild_store *store,
                     const struct metadata_copy *from)
{
    struct rebuild_copy *copy = calloc(1, sizeof *copy);
    if (copy == NULL)
        return -ENOMEM;
    memcpy(copy->key.bytes, from->key, from->key_length);
    copy->key.length = from->key_length;
    if (metadata_key_parse(copy->key.bytes, copy->key.length, &copy->parts) != 0 ||
        !metadata_stamp_get(from->data, from->bytes, &copy->stamp)) {
        free(copy);
        rebuild_say(rebuild, IOMESH_SEVERITY_WARNING, "%s: a copy that makes no sense is left out",
                    store->path);
        return 0;
    }
    copy->bytes = from->bytes - METADATA_COPY_STAMP_BYTES;
    copy->data = malloc(copy->bytes);
    if (copy->data == NULL) {
        free(copy);
        return -ENOMEM;
    }
    memcpy(copy->data, from->data + METADATA_COPY_STAMP_BYTES, copy->bytes);
    copy->next = store->copies;
    store->copies = copy;
    if (copy->parts.kind == METADATA_STORE)
        own_record(store, copy);
    return 0;
}

const struct rebuild_part *rebuild_part_find(const struct rebuild_store *store, uint64_t volume,
                                             uint32_t group)
{
    const struct rebuild_part *part = store->parts;
    while (part != NULL && (part->volume != volume || part->group != group))
        part = part->next;
    return part;
}

void rebuild_done(struct rebuild *rebuild)
{
    for (uint32_t i = 0; i < rebuild->store_count; i++) {
        struct rebuild_store *store = rebuild->stores[i];
        for (struct rebuild_copy *copy = store->copies, *next; copy != NULL; copy = next) {
            next = copy->next;
            free(copy->data);
            free(copy);
        }
        for (struct rebuild_part *part = store->parts, *next; part != NULL; part = next) {
            next = part->next;
            free(part);
        }
        metadata_store_done(&store->record);
        free(store->path);
        free(store);
    }
    for (struct rebuild_record *record = rebuild->records, *next; record != NULL; record = next) {
        next = record->next;
        metadata_bytes_done(&record->value);
        free(record);
    }
    for (struct rebuild_volume *volume = rebuild->volumes, *next; volume != NULL; volume = next) {
        next = volume->next;
        metadata_volume_done(&volume->record);
        free(volume);
    }
    metadata_cluster_done(&rebuild->cluster);
    *rebuild = (struct rebuild){0};
}

/* --- Records -------------------------------------------------------------------------------- */

/* Takes the value. */
static int record_put(struct rebuild *rebuild, struct metadata_key key,
                      struct metadata_bytes *value)
{
    struct rebuild_record *record = calloc(1, sizeof *record);
    if (record == NULL) {
        metadata_bytes_done(value);
        return -ENOMEM;
    }
    record->key = key;
    record->value = *value;
    *value = (struct metadata_bytes){0};
    *rebuild->last = record;
    rebuild->last = &record->next;
    return 0;
}

static int stores_merge(struct rebuild *rebuild)
{
    for (uint32_t i = 0; i < rebuild->store_count; i++) {
        struct rebuild_store *store = rebuild->stores[i];
        struct metadata_bytes value = {0};
        if (!store->known) {
            rebuild_say(rebuild, IOMESH_SEVERITY_WARNING,
                        "%s: has no copy of its own record, so it held nothing: add it anew",
                        store->path);
            continue;
        }
        store->record.incarnation = store->incarnation;
        if (store->bytes != 0)
            store->record.bytes = store->bytes;
        if (store->record.state == METADATA_STORE_OUT) {
            store->record.state =
                store->record.drains ? METADATA_STORE_DRAINING : METADATA_STORE_UP;
            store->record.drains = false;
            store->record.state_reason = METADATA_REASON_NONE;
        }
        rebuild->store_last = MAX(rebuild->store_last, store->record.id);
        int result = metadata_store_encode(&store->record, &value);
        if (result == 0)
            result = record_put(rebuild, metadata_store_key(store->record.id), &value);
        if (result != 0)
            return result;
    }
    return 0;
}

static const struct rebuild_store *store_of(const struct rebuild *rebuild, uint64_t id)
{
    for (uint32_t i = 0; i < rebuild->store_count; i++) {
        if (rebuild->stores[i]->known && rebuild->stores[i]->record.id == id)
            return rebuild->stores[i];
    }
    return NULL;
}

/* --- Volumes -------------------------------------------------------------------------------- */

static struct rebuild_volume *volume_find(const struct rebuild *rebuild, uint64_t id)
{
    struct rebuild_volume *volume = rebuild->volumes;
    while (volume != NULL && volume->id != id)
        volume = volume->next;
    return volume;
}

static int volume_seen(struct rebuild *rebuild, const struct rebuild_store *store,
                       const struct rebuild_copy *copy)
{
    struct metadata_volume record;
    if (metadata_volume_decode(copy->data, copy->bytes, &record) != 0) {
        rebuild_say(rebuild, IOMESH_SEVERITY_WARNING,
                    "%s: its copy of the record of volume %llu cannot be read", store->path,
                    (unsigned long long)copy->parts.id);
        return 0;
    }
    struct rebuild_volume *volume = volume_find(rebuild, copy->parts.id);
    if (volume == NULL) {
        struct rebuild_volume **at = &rebuild->volumes;
        volume = calloc(1, sizeof *volume);
        if (volume == NULL) {
            metadata_volume_done(&record);
            return -ENOMEM;
        }
        while (*at != NULL && (*at)->id < copy->parts.id)
            at = &(*at)->next;
        volume->id = copy->parts.id;
        volume->next = *at;
        *at = volume;
    }
    struct metadata_stamp newest = copy->stamp;
    for (const struct rebuild_copy *of = store->copies; of != NULL; of = of->next) {
        bool own = of->parts.kind == METADATA_VOLUME || of->parts.kind == METADATA_GROUP ||
                   of->parts.kind == METADATA_MAP || of->parts.kind == METADATA_SNAPSHOT;
        if (own && of->parts.id == volume->id && metadata_stamp_compare(&newest, &of->stamp) < 0)
            newest = of->stamp;
    }
    volume->epoch = MAX(volume->epoch, MAX(record.epoch, newest.epoch));
    volume->sequence = MAX(volume->sequence, record.sequence_end);
    if (volume->from != NULL && metadata_stamp_compare(&volume->stamp, &newest) >= 0) {
        metadata_volume_done(&record);
        return 0;
    }
    metadata_volume_done(&volume->record);
    volume->record = record;
    volume->from = store;
    volume->stamp = newest;
    return 0;
}

/* Beyond anything that a part has seen. */
static void volume_raise(const struct rebuild *rebuild, struct rebuild_volume *volume)
{
    for (uint32_t i = 0; i < rebuild->store_count; i++) {
        for (const struct rebuild_part *part = rebuild->stores[i]->parts; part != NULL;
             part = part->next) {
            const struct part_state *state = &part->state;
            if (part->volume != volume->id)
                continue;
            volume->written = volume->written || state->epoch != 0;
            volume->epoch = MAX(volume->epoch, state->epoch);
            volume->sequence = MAX(volume->sequence, MAX(part->sequence, state->watermark));
            volume->sequence = MAX(volume->sequence, MAX(state->heard, state->settled));
        }
    }
}

static bool name_is_taken(const struct rebuild *rebuild, const struct rebuild_volume *by)
{
    for (const struct rebuild_volume *other = rebuild->volumes; other != NULL;
         other = other->next) {
        /* Of two the younger: the older was deleted, and a copy did not hear of it. */
        if (other->id > by->id && other->record.state == METADATA_VOLUME_LIVE &&
            strcmp(other->record.name, by->record.name) == 0)
            return true;
    }
    return false;
}

static int volume_name(struct rebuild *rebuild, struct rebuild_volume *volume)
{
    struct metadata_volume *record = &volume->record;
    struct metadata_bytes value = {0};
    struct metadata_name name = {.volume = volume->id};
    if (record->state != METADATA_VOLUME_LIVE)
        return 0;
    if (name_is_taken(rebuild, volume)) {
        char old[NAME_BYTES_MAX + 1];
        memcpy(old, record->name, sizeof old);
        (void)snprintf(record->name, sizeof record->name, "%.100s.%llu", old,
                       (unsigned long long)volume->id);
        rebuild_say(rebuild, IOMESH_SEVERITY_WARNING,
                    "volume %llu: another is called \"%s\" too, and younger: it is called \"%s\" "
                    "now",
                    (unsigned long long)volume->id, old, record->name);
    }
    int result = metadata_name_encode(&name, &value);
    return result != 0
               ? result
               : record_put(rebuild, metadata_name_key(record->name, strlen(record->name)), &value);
}

/* --- Groups --------------------------------------------------------------------------------- */

static uint32_t newest_generation(const struct rebuild *rebuild, const struct metadata_group *group)
{
    uint32_t newest = 0;
    for (uint32_t i = 0; i < rebuild->store_count; i++) {
        const struct rebuild_part *part =
            rebuild_part_find(rebuild->stores[i], group->volume, group->id);
        if (part != NULL)
            newest = MAX(newest, part->state.generation);
    }
    return newest;
}

/* It has all that was ever acknowledged, as far as can be known. */
static bool member_is_whole(const struct metadata_group *group,
                            const struct metadata_member *member, const struct rebuild_part *part,
                            uint32_t newest)
{
    if (part == NULL || part->state.role == PART_NEW)
        return false;
    if (group->generation >= newest)
        return member->state == METADATA_IN_SYNC;
    return part->state.role == PART_IN_SYNC && part->state.generation == newest;
}

/* Could those that count have gone on without those that are here? Each write was acknowledged by
 * copies_min of them, so not if fewer are missing. */
static void group_judge(struct rebuild *rebuild, const struct rebuild_volume *volume,
                        const struct metadata_group *group, uint32_t whole, uint32_t missing)
{
    uint32_t least = MAX(1, volume->record.policy.copies_min);
    if (whole > 0 && missing < least)
        return;
    rebuild->losses++;
    rebuild_say(rebuild, IOMESH_SEVERITY_ERROR,
                "volume %llu \"%s\", group %u: %u copies that may have the newest data are on "
                "stores that were not named, and %u are here: acknowledged writes may be missing",
                (unsigned long long)volume->id, volume->record.name, group->id, missing, whole);
}

static void group_members(struct rebuild *rebuild, const struct rebuild_volume *volume,
                          struct metadata_group *group)
{
    uint32_t newest = newest_generation(rebuild, group);
    uint32_t whole = 0;
    uint32_t missing = 0;
    bool is_whole[METADATA_MEMBERS_MAX] = {false};
    for (uint32_t i = 0; i < group->member_count; i++) {
        const struct metadata_member *member = &group->members[i];
        const struct rebuild_store *store = store_of(rebuild, member->store);
        is_whole[i] = store != NULL &&
                      member_is_whole(group, member,
                                      rebuild_part_find(store, group->volume, group->id), newest);
        whole += is_whole[i];
        missing += store == NULL && member->state == METADATA_IN_SYNC;
        if (store == NULL)
            rebuild_say(rebuild, IOMESH_SEVERITY_WARNING,
                        "volume %llu \"%s\", group %u: a copy is on store %llu, which was not "
                        "named",
                        (unsigned long long)volume->id, volume->record.name, group->id,
                        (unsigned long long)member->store);
    }
    if (volume->record.state != METADATA_VOLUME_DELETING && volume->written)
        group_judge(rebuild, volume, group, whole, missing);
    for (uint32_t i = 0; i < group->member_count && whole > 0; i++) {
        struct metadata_member *member = &group->members[i];
        enum metadata_member_state state = is_whole[i] ? METADATA_IN_SYNC : METADATA_STALE;
        if (state == METADATA_STALE && member->state == METADATA_IN_SYNC)
            member->reason = METADATA_REASON_OPERATOR;
        if (state == METADATA_IN_SYNC)
            member->reason = METADATA_REASON_NONE;
        member->state = state;
    }
    group->generation = MAX(group->generation, newest) + REBUILD_GENERATIONS;
}

static int group_merge(struct rebuild *rebuild, const struct rebuild_volume *volume,
                       const struct rebuild_copy *copy)
{
    struct metadata_group group;
    struct metadata_bytes value = {0};
    int result = metadata_group_decode(copy->data, copy->bytes, &group);
    if (result != 0)
        return result;
    group_members(rebuild, volume, &group);
    rebuild->group_count++;
    result = metadata_group_encode(&group, &value);
    metadata_group_done(&group);
    return result != 0 ? result : record_put(rebuild, copy->key, &value);
}

/* --- Snapshots ------------------------------------------------------------------------------ */

static uint32_t clones_of(const struct rebuild *rebuild, uint64_t volume, uint64_t cut)
{
    uint32_t count = 0;
    for (const struct rebuild_volume *of = rebuild->volumes; of != NULL; of = of->next)
        count += of->record.parent_volume == volume && of->record.parent_cut == cut;
    return count;
}

/* Snapshots that were taken together have one record more. */
static int together_merge(struct rebuild *rebuild, const struct metadata_snapshot *snapshot)
{
    struct metadata_key key = metadata_together_key(snapshot->group, strlen(snapshot->group));
    struct metadata_together together = {.created_ns = snapshot->created_ns};
    struct rebuild_record *record = rebuild->records;
    while (record != NULL && (record->key.length != key.length ||
                              memcmp(record->key.bytes, key.bytes, key.length) != 0))
        record = record->next;
    memcpy(together.name, snapshot->group, sizeof together.name);
    if (record != NULL &&
        metadata_together_decode(record->value.bytes, record->value.length, &together) != 0)
        return IOMESH_CORRUPT;
    struct metadata_bytes value = {0};
    if (together.part_count < METADATA_PARTS_MAX)
        together.parts[together.part_count++] =
            (struct metadata_part){.volume = snapshot->volume, .cut = snapshot->cut};
    int result = metadata_together_encode(&together, &value);
    metadata_together_done(&together);
    if (result != 0)
        return result;
    if (record == NULL)
        return record_put(rebuild, key, &value);
    metadata_bytes_done(&record->value);
    record->value = value;
    return 0;
}

static int snapshot_merge(struct rebuild *rebuild, struct rebuild_volume *volume,
                          const struct rebuild_copy *copy)
{
    struct metadata_snapshot snapshot;
    struct metadata_bytes value = {0};
    int result = metadata_snapshot_decode(copy->data, copy->bytes, &snapshot);
    if (result != 0)
        return result;
    snapshot.clones = clones_of(rebuild, volume->id, snapshot.cut);
    volume->sequence = MAX(volume->sequence, snapshot.cut);
    volume->record.snapshots += snapshot.state == METADATA_SNAPSHOT_LIVE;
    rebuild->snapshot_count += snapshot.state == METADATA_SNAPSHOT_LIVE;
    if (snapshot.state == METADATA_SNAPSHOT_LIVE && snapshot.group[0] != '\0')
        result = together_merge(rebuild, &snapshot);
    if (result == 0)
        result = metadata_snapshot_encode(&snapshot, &value);
    metadata_snapshot_done(&snapshot);
    return result != 0 ? result : record_put(rebuild, copy->key, &value);
}

/* --- All of it ------------------------------------------------------------------------------ */

static int volume_records(struct rebuild *rebuild, struct rebuild_volume *volume)
{
    uint32_t groups = 0;
    volume->record.snapshots = 0;
    for (const struct rebuild_copy *copy = volume->from->copies; copy != NULL; copy = copy->next) {
        int result = 0;
        struct metadata_bytes value = {0};
        if (copy->parts.id != volume->id)
            continue;
        if (copy->parts.kind == METADATA_GROUP) {
            result = group_merge(rebuild, volume, copy);
            groups++;
        } else if (copy->parts.kind == METADATA_SNAPSHOT) {
            result = snapshot_merge(rebuild, volume, copy);
        } else if (copy->parts.kind == METADATA_MAP) {
            value.bytes = malloc(copy->bytes);
            value.length = copy->bytes;
            if (value.bytes == NULL)
                return -ENOMEM;
            memcpy(value.bytes, copy->data, copy->bytes);
            result = record_put(rebuild, copy->key, &value);
        }
        if (result == -ENOMEM)
            return result;
        if (result != 0)
            rebuild_say(rebuild, IOMESH_SEVERITY_WARNING, "%s: its copy of %.*s cannot be read: %s",
                        volume->from->path, (int)copy->key.length, (const char *)copy->key.bytes,
                        base_error_text(result));
    }
    if (groups == 0)
        rebuild_say(rebuild, IOMESH_SEVERITY_WARNING,
                    "volume %llu \"%s\": no store has a record of its groups",
                    (unsigned long long)volume->id, volume->record.name);
    return 0;
}

static int volume_merge(struct rebuild *rebuild, struct rebuild_volume *volume)
{
    struct metadata_volume *record = &volume->record;
    struct metadata_bytes value = {0};
    volume_raise(rebuild, volume);
    int result = volume_records(rebuild, volume);
    if (result != 0)
        return result;
    record->owner_session = 0;
    record->owner_yields = false;
    record->unclean = true; /* A store may have a cut of which no copy tells. */
    record->epoch = volume->epoch + REBUILD_EPOCHS;
    record->sequence_end = volume->sequence + REBUILD_SEQUENCES;
    if (record->epoch >= SEQUENCE_MAX || record->sequence_end >= SEQUENCE_MAX)
        return FAIL(-EOVERFLOW, "volume %llu has used up its epochs or sequences",
                    (unsigned long long)volume->id);
    if (record->parent_volume != 0 && volume_find(rebuild, record->parent_volume) == NULL)
        rebuild_say(rebuild, IOMESH_SEVERITY_WARNING,
                    "volume %llu \"%s\": is a clone of volume %llu, of which no store has a copy",
                    (unsigned long long)volume->id, record->name,
                    (unsigned long long)record->parent_volume);
    result = volume_name(rebuild, volume);
    if (result == 0)
        result = metadata_volume_encode(record, &value);
    if (result == 0)
        result = record_put(rebuild, metadata_volume_key(volume->id), &value);
    rebuild->volume_count += record->state == METADATA_VOLUME_LIVE;
    rebuild->id_last = MAX(rebuild->id_last, volume->id);
    if (record->state == METADATA_VOLUME_LIVE)
        rebuild_say(rebuild, IOMESH_SEVERITY_INFO, "volume %llu \"%s\" is found",
                    (unsigned long long)volume->id, record->name);
    return result;
}

/* The newest copy of the pool's own record. */
static int cluster_merge(struct rebuild *rebuild)
{
    const struct rebuild_copy *newest = NULL;
    for (uint32_t i = 0; i < rebuild->store_count; i++) {
        for (const struct rebuild_copy *copy = rebuild->stores[i]->copies; copy != NULL;
             copy = copy->next) {
            struct metadata_cluster cluster;
            if (copy->parts.kind != METADATA_CLUSTER ||
                metadata_cluster_decode(copy->data, copy->bytes, &cluster) != 0)
                continue;
            bool other = newest != NULL && memcmp(cluster.uuid, rebuild->cluster.uuid, 16) != 0;
            if (newest == NULL || copy->stamp.revision > newest->stamp.revision) {
                metadata_cluster_done(&rebuild->cluster);
                rebuild->cluster = cluster;
                newest = copy;
            } else {
                metadata_cluster_done(&cluster);
            }
            if (other)
                return FAIL(-EXDEV, "%s: is of another pool than the others",
                            rebuild->stores[i]->path);
        }
    }
    return newest != NULL ? 0
                          : FAIL(-ENOENT, "none of the stores has copies of records: nothing can "
                                          "be made of them");
}

int rebuild_merge(struct rebuild *rebuild)
{
    rebuild->last = &rebuild->records;
    int result = cluster_merge(rebuild);
    if (result == 0)
        result = stores_merge(rebuild);
    for (uint32_t i = 0; i < rebuild->store_count && result == 0; i++) {
        const struct rebuild_store *store = rebuild->stores[i];
        for (const struct rebuild_copy *copy = store->copies; copy != NULL && result == 0;
             copy = copy->next) {
            if (copy->parts.kind == METADATA_VOLUME)
                result = volume_seen(rebuild, store, copy);
        }
    }
    for (struct rebuild_volume *volume = rebuild->volumes; volume != NULL && result == 0;
         volume = volume->next)
        result = volume_merge(rebuild, volume);
    return result;
}
