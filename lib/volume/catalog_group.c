/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Groups: snapshots of several volumes at one instant, which go together.
 *
 * The record of a group has the volume and the cut of each, and changes in one transaction with
 * theirs. Members are volumes that their users see, for one with snapshots cannot be deleted.
 */
#include <stdlib.h>
#include <string.h>

#include "volume/catalog_cluster.h"

_Static_assert(CATALOG_GROUP_VOLUMES_MAX == METADATA_PARTS_MAX, "a record has all of a group");

struct group {
    struct catalog_gang gang;
    char name[CATALOG_NAME_BYTES_MAX + 1];
    struct metadata_together together; /* Of a deletion: as it was read. */
    uint64_t revision;
    uint32_t named; /* Parts whose volume's name is known. */
    bool missing;   /* Of a part there is no snapshot. */
};

static struct group *group_of(struct catalog_op *op)
{
    return CONTAINER_OF(op, struct group, gang.op);
}

static void group_end(struct catalog_op *op, int result)
{
    struct group *group = group_of(op);
    catalog_done_fn *done = op->done;
    void *context = op->context;
    metadata_together_done(&group->together);
    free(group);
    done(context, result);
}

static struct group *group_new(const char *name, catalog_done_fn *done, void *context)
{
    struct group *group = calloc(1, sizeof *group);
    if (group == NULL)
        return NULL;
    memcpy(group->name, name, strlen(name) + 1);
    group->gang.op.done = done;
    group->gang.op.context = context;
    return group;
}

static int group_may_start(struct catalog *catalog, const char *name)
{
    int error = name_check("group", name, strlen(name));
    return error != 0 ? error : catalog_may_start(catalog, NULL, false);
}

static int group_read_only(const struct catalog *catalog, const char *name)
{
    if (!catalog->options.read_only)
        return 0;
    return FAIL(-EROFS, "group \"%s\": the pool is open for reading only", name);
}

/* --- Creating ------------------------------------------------------------------------------- */

static void create_taken(struct catalog_op *op, int result)
{
    struct group *group = group_of(op);
    if (result == 0)
        catalog_tell(op->catalog, STORE_INFO, 0, 0, "group \"%s\": snapshots of %u volumes taken",
                     group->name, group->gang.count);
    catalog_gang_finish(&group->gang, result);
}

static int create_build(struct catalog_gang *gang)
{
    struct group *group = group_of(&gang->op);
    struct metadata_together *together = &group->together;
    struct metadata_bytes value = {0};
    memcpy(together->name, group->name, sizeof together->name);
    together->created_ns = clock_wall_ns(gang->op.catalog->options.clock);
    together->part_count = gang->count;
    for (uint32_t i = 0; i < gang->count; i++) {
        together->parts[i].volume = gang->members[i]->snapshot.volume;
        together->parts[i].cut = gang->members[i]->snapshot.cut;
    }
    int result = metadata_together_encode(together, &value);
    if (result != 0)
        return result;
    struct metadata_key key = metadata_together_key(group->name, strlen(group->name));
    meta_if_absent(&gang->op.request, META_SLICE(key));
    meta_put(&gang->op.request, META_SLICE(key), META_SLICE(value), 0);
    metadata_bytes_done(&value);
    return 0;
}

static void create_looked(struct catalog_op *op, int result)
{
    struct group *group = group_of(op);
    struct catalog_gang *gang = &group->gang;
    if (result != 0)
        FAIL(result, "group \"%s\": %s", group->name, base_error_text(result));
    else if (op->request.responses[0].entry_count > 0)
        result = FAIL(-EEXIST, "there is a group \"%s\" already", group->name);
    for (uint32_t i = 0; i < gang->count && result == 0; i++) {
        const struct catalog_op *member = &gang->members[i]->op;
        result = catalog_take_check(member, group->name);
        if (result == 0 && member->record.incomplete)
            result = FAIL(-EBUSY, "volume \"%s\" is incomplete: an import into it has not ended",
                          member->slot->name);
    }
    if (result != 0)
        catalog_gang_finish(gang, result);
    else
        catalog_gang_take(gang, create_build, create_taken);
}

/* Before any volume is held: whether there is one is the likely refusal. */
static void create_ready(struct catalog_op *op, int result)
{
    struct metadata_key key = metadata_together_key(group_of(op)->name, strlen(group_of(op)->name));
    (void)result;
    if (catalog_gang_prepare(&group_of(op)->gang))
        return;
    meta_request_reset(&op->request);
    meta_get(&op->request, META_SLICE(key));
    catalog_op_commit(op, create_looked);
}

static void create_begin(struct catalog_op *op, int result)
{
    (void)result;
    catalog_gang_gather(&group_of(op)->gang, create_ready);
}

static int create_add(struct group *group, const char *const *volumes, unsigned count,
                      const uint8_t (*uuids)[16])
{
    for (unsigned i = 0; i < count; i++) {
        struct catalog_member *member = catalog_gang_add(&group->gang, volumes[i]);
        if (member == NULL)
            return FAIL(-ENOMEM, "group \"%s\": no memory", group->name);
        memcpy(member->snapshot.name, group->name, sizeof group->name);
        memcpy(member->snapshot.group, group->name, sizeof group->name);
        memcpy(member->snapshot.uuid, uuids[i], sizeof member->snapshot.uuid);
    }
    return 0;
}

static int create_check(const char *name, const char *const *volumes, unsigned count)
{
    if (count == 0 || count > CATALOG_GROUP_VOLUMES_MAX)
        return FAIL(-EINVAL, "group \"%s\": of %u volumes; it is 1 to %u", name, count,
                    CATALOG_GROUP_VOLUMES_MAX);
    for (unsigned i = 0; i < count; i++) {
        int error = catalog_check_name(volumes[i]);
        if (error != 0)
            return error;
        for (unsigned j = 0; j < i; j++) {
            if (strcmp(volumes[i], volumes[j]) == 0)
                return FAIL(-EINVAL, "group \"%s\": volume \"%s\" is named twice", name,
                            volumes[i]);
        }
    }
    return 0;
}

int catalog_group_create(struct catalog *catalog, const char *name, const char *const *volumes,
                         unsigned count, const uint8_t (*uuids)[16], catalog_done_fn *done,
                         void *context)
{
    int error = group_may_start(catalog, name);
    if (error == 0)
        error = group_read_only(catalog, name);
    if (error == 0)
        error = create_check(name, volumes, count);
    if (error != 0)
        return error;
    struct group *group = group_new(name, done, context);
    if (group == NULL)
        return FAIL(-ENOMEM, "group \"%s\": no memory", name);
    error = create_add(group, volumes, count, uuids);
    if (error != 0) {
        catalog_gang_forget(&group->gang);
        free(group);
        return error;
    }
    return catalog_gang_start(&group->gang, catalog, create_begin, group_end);
}

/* --- Deleting ------------------------------------------------------------------------------- */

static int group_decode(const struct catalog_op *op, struct metadata_together *ret_together,
                        uint64_t *ret_revision)
{
    const struct meta_response *response = &op->request.responses[0];
    if (response->entry_count == 0)
        return -ENOENT;
    *ret_revision = response->entries[0].modified_revision;
    return metadata_together_decode(response->entries[0].value.data,
                                    response->entries[0].value.length, ret_together);
}

/* Is it still the one that was read? Until all names were ours another one may have deleted it. */
static void delete_looked(struct catalog_op *op, int result)
{
    struct group *group = group_of(op);
    struct metadata_together now = {0};
    uint64_t revision = 0;
    if (result == 0)
        result = group_decode(op, &now, &revision);
    metadata_together_done(&now);
    if (result == 0 && revision != group->revision)
        result = IOMESH_CONFLICT;
    else if (result == 0 && group->missing)
        result = IOMESH_CORRUPT;
    if (result == 0)
        catalog_gang_again(&group->gang);
    else if (result == -ENOENT)
        catalog_gang_end(&group->gang, FAIL(-ENOENT, "there is no group \"%s\"", group->name));
    else
        catalog_gang_end(&group->gang,
                         FAIL(result, "group \"%s\": %s", group->name, base_error_text(result)));
}

static void delete_look(struct group *group)
{
    struct catalog_op *op = &group->gang.op;
    struct metadata_key key = metadata_together_key(group->name, strlen(group->name));
    meta_request_reset(&op->request);
    meta_get(&op->request, META_SLICE(key));
    catalog_op_commit(op, delete_looked);
}

static void delete_committed(struct catalog_op *op, int result)
{
    struct group *group = group_of(op);
    struct catalog_gang *gang = &group->gang;
    bool committed = result == 0 && op->request.succeeded;
    for (uint32_t i = 0; i < gang->count; i++) {
        struct catalog_member *member = gang->members[i];
        if (committed)
            catalog_drop_committed(&member->op, op->request.revision);
        else if (member->changing)
            catalog_volume_changed(member->op.slot->open, NULL, 0);
        member->changing = false;
    }
    if (result == 0 && !committed) {
        delete_look(group); /* One clone less than was read. */
        return;
    }
    if (committed)
        catalog_tell(op->catalog, STORE_INFO, 0, 0, "group \"%s\": deleted", group->name);
    else
        FAIL(result, "group \"%s\": %s", group->name, base_error_text(result));
    catalog_gang_end(gang, result);
}

static struct catalog_cut *part_of(const struct group *group, const struct catalog_member *member)
{
    for (uint32_t i = 0; i < group->together.part_count; i++) {
        const struct metadata_part *part = &group->together.parts[i];
        if (part->volume == member->op.record.id)
            return catalog_cuts_at(&member->op.cuts, part->cut);
    }
    return NULL;
}

static void delete_put(struct group *group)
{
    struct catalog_op *op = &group->gang.op;
    struct metadata_key key = metadata_together_key(group->name, strlen(group->name));
    int result = 0;
    meta_request_reset(&op->request);
    meta_if_modified(&op->request, META_SLICE(key), group->revision);
    meta_delete(&op->request, META_SLICE(key));
    for (uint32_t i = 0; i < group->gang.count && result == 0; i++) {
        struct catalog_member *member = group->gang.members[i];
        result = catalog_drop_build(&member->op, part_of(group, member), &op->request);
    }
    if (result == 0)
        catalog_op_commit(op, delete_committed);
    else
        catalog_op_later(op, result, delete_committed);
}

static void delete_change(struct group *group);

static void delete_held(struct catalog_op *op, int result)
{
    struct catalog_member *member = CONTAINER_OF(op, struct catalog_member, op);
    (void)result;
    member->changing = true;
    delete_change(group_of(&member->gang->op));
}

/* Nobody has it: what it is told compares its record. */
static void delete_ownerless(struct catalog_op *op, int result)
{
    (void)result;
    delete_change(group_of(&CONTAINER_OF(op, struct catalog_member, op)->gang->op));
}

static void delete_change(struct group *group)
{
    struct catalog_gang *gang = &group->gang;
    if (gang->at == gang->count) {
        delete_put(group);
        return;
    }
    struct catalog_op *op = &gang->members[gang->at++]->op;
    const struct catalog_volume *open = op->slot->open;
    /* What is known of it here is of the past, and stays so until it is closed. */
    if (open != NULL && open->owned != NULL && open->owned->ended != 0 && !MUTANT(375)) {
        REACH(catalog_group_of_what_was_lost);
        FAIL(IOMESH_FENCED, "group \"%s\": volume \"%s\": %s", group->name, op->slot->name,
             base_error_text(IOMESH_FENCED));
        catalog_gang_end(gang, IOMESH_FENCED);
        return;
    }
    if (open != NULL)
        catalog_op_hold_record(op, delete_held);
    else
        catalog_op_owner(op, delete_ownerless);
}

/* --- Deleting: nobody reads them -------------------------------------------------------------- */

static void delete_unread(struct group *group);

static void delete_unread_one(struct catalog_op *op, int result)
{
    (void)result;
    delete_unread(group_of(&CONTAINER_OF(op, struct catalog_member, op)->gang->op));
}

static void delete_unread(struct group *group)
{
    struct catalog_gang *gang = &group->gang;
    if (gang->at == gang->count || MUTANT(369)) {
        gang->at = 0;
        delete_change(group);
        return;
    }
    struct catalog_member *member = gang->members[gang->at++];
    catalog_op_readers(&member->op, part_of(group, member)->record.cut, delete_unread_one);
}

static void delete_ready(struct catalog_op *op, int result)
{
    struct group *group = group_of(op);
    struct catalog_gang *gang = &group->gang;
    result = 0;
    for (uint32_t i = 0; i < gang->count && result == 0; i++) {
        const struct catalog_member *member = gang->members[i];
        const struct catalog_cut *cut = part_of(group, member);
        group->missing = cut == NULL || cut->record.state != METADATA_SNAPSHOT_LIVE;
        if (group->missing) {
            delete_look(group);
            return;
        }
        result = catalog_drop_check(&member->op, cut);
    }
    if (result != 0) {
        catalog_gang_end(gang, result);
        return;
    }
    gang->at = 0;
    delete_unread(group);
}

static void delete_name_next(struct catalog_op *op);

static void delete_named(struct catalog_op *op, int result)
{
    struct group *group = group_of(op);
    group->missing = result == -ENOENT || (result == 0 && op->record.state != METADATA_VOLUME_LIVE);
    if (group->missing) {
        delete_look(group);
        return;
    }
    if (result != 0)
        FAIL(result, "group \"%s\": the record of its volume %llu: %s", group->name,
             (unsigned long long)group->together.parts[group->named].volume,
             base_error_text(result));
    else if (catalog_gang_add(&group->gang, op->record.name) == NULL)
        result = FAIL(-ENOMEM, "group \"%s\": no memory", group->name);
    group->named++;
    if (result != 0)
        catalog_gang_end(&group->gang, result);
    else if (group->named < group->together.part_count)
        delete_name_next(op);
    else
        catalog_gang_gather(&group->gang, delete_ready);
}

static void delete_name_next(struct catalog_op *op)
{
    struct group *group = group_of(op);
    catalog_op_read(op, group->together.parts[group->named].volume, delete_named);
}

static void delete_read(struct catalog_op *op, int result)
{
    struct group *group = group_of(op);
    if (result == 0)
        result = group_decode(op, &group->together, &group->revision);
    if (result == -ENOENT)
        catalog_op_end(op, FAIL(-ENOENT, "there is no group \"%s\"", group->name));
    else if (result != 0)
        catalog_op_end(op, FAIL(result, "group \"%s\": %s", group->name, base_error_text(result)));
    else if (group->together.part_count == 0)
        delete_put(group);
    else
        delete_name_next(op);
}

static void delete_begin(struct catalog_op *op, int result)
{
    struct metadata_key key = metadata_together_key(group_of(op)->name, strlen(group_of(op)->name));
    (void)result;
    meta_request_reset(&op->request);
    meta_get(&op->request, META_SLICE(key));
    catalog_op_commit(op, delete_read);
}

int catalog_group_delete(struct catalog *catalog, const char *name, catalog_done_fn *done,
                         void *context)
{
    int error = group_may_start(catalog, name);
    if (error == 0)
        error = group_read_only(catalog, name);
    if (error != 0)
        return error;
    struct group *group = group_new(name, done, context);
    if (group == NULL)
        return FAIL(-ENOMEM, "group \"%s\": no memory", name);
    return catalog_gang_start(&group->gang, catalog, delete_begin, group_end);
}
