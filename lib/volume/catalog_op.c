/* SPDX-License-Identifier: Apache-2.0 */
/* Operations, one after the other for each name. */
#include <stdlib.h>
#include <string.h>

#include "codec/codec.h"
#include "volume/catalog_cluster.h"

/* --- Slots ---------------------------------------------------------------------------------- */

static struct list *slot_bucket(struct catalog *catalog, const char *name)
{
    return &catalog->buckets[crc32c(name, strlen(name)) % CATALOG_BUCKETS];
}

struct catalog_slot *catalog_slot_find(struct catalog *catalog, const char *name)
{
    LIST_EACH (slot_bucket(catalog, name), node) {
        struct catalog_slot *slot = LIST_ENTRY(node, struct catalog_slot, node);
        if (strcmp(slot->name, name) == 0)
            return slot;
    }
    return NULL;
}

static struct catalog_slot *slot_take(struct catalog *catalog, const char *name)
{
    struct catalog_slot *slot = catalog_slot_find(catalog, name);
    if (slot != NULL)
        return slot;
    slot = calloc(1, sizeof *slot);
    if (slot == NULL)
        return NULL;
    memcpy(slot->name, name, strlen(name) + 1);
    list_init(&slot->ops);
    list_init(&slot->views);
    list_init(&slot->lost);
    list_push_back(slot_bucket(catalog, name), &slot->node);
    return slot;
}

/* What this process owns no more is not what is opened by its name. */
static void slot_lose(struct catalog_slot *slot)
{
    LIST_EACH_SAFE (&slot->views, node, after) {
        const struct catalog_owned *owned = LIST_ENTRY(node, struct catalog_volume, node)->owned;
        if (owned == NULL || owned->ended == 0)
            continue;
        list_remove(node);
        list_push_back(&slot->lost, node);
    }
    struct catalog_volume *volume = slot->open;
    if (volume == NULL || volume->owned == NULL || volume->owned->ended == 0)
        return;
    REACH(catalog_volume_lost);
    list_push_back(&slot->lost, &volume->node);
    slot->open = NULL;
}

/* The next of its queue, or an end to it. */
static void slot_go_on(struct catalog_slot *slot)
{
    if (slot->running)
        return;
    struct list *node = list_pop_front(&slot->ops);
    if (node != NULL)
        catalog_slot_yield(slot, LIST_ENTRY(node, struct catalog_op, node));
    slot_lose(slot);
    if (node != NULL) {
        struct catalog_op *op = LIST_ENTRY(node, struct catalog_op, node);
        slot->running = true;
        op->begin(op, 0);
    } else if (slot->open == NULL && list_empty(&slot->views) && list_empty(&slot->lost)) {
        list_remove(&slot->node);
        free(slot);
    }
}

/* --- Beginning and end ---------------------------------------------------------------------- */

int catalog_may_start(struct catalog *catalog, const char *name, bool changes)
{
    assert(catalog->state == CATALOG_READY);
    int error = name == NULL ? 0 : name_check("volume", name, strlen(name));
    if (error != 0)
        return error;
    if (changes && catalog->options.read_only)
        return FAIL(-EROFS, "volume \"%s\": the pool is open for reading only", name);
    if (catalog->op_count >= catalog->options.operations_max)
        return FAIL(-EAGAIN, "%u operations on volumes are under way already", catalog->op_count);
    return 0;
}

int catalog_op_start(struct catalog_op *op, struct catalog *catalog, const char *name,
                     catalog_step_fn *begin, void (*end)(struct catalog_op *, int))
{
    if (name != NULL) {
        op->slot = slot_take(catalog, name);
        if (op->slot == NULL)
            return FAIL(-ENOMEM, "volume \"%s\": no memory", name);
    }
    op->catalog = catalog;
    op->begin = begin;
    op->end = end;
    list_init(&op->node);
    list_init(&op->later);
    list_push_back(&catalog->ops, &op->all);
    catalog->op_count++;
    if (op->slot == NULL) {
        begin(op, 0);
        return 0;
    }
    if (op->slot->running) {
        REACH(catalog_name_waited);
        catalog_slot_yield(op->slot, op);
    }
    list_push_back(&op->slot->ops, &op->node);
    slot_go_on(op->slot);
    return 0;
}

static void op_forget_record(struct catalog_op *op)
{
    if (op->revision != 0 && !op->record_lent)
        metadata_volume_done(&op->record);
    op->record = (struct metadata_volume){0};
    op->record_lent = false;
    op->revision = 0;
}

/* All that it holds. */
void catalog_op_forget(struct catalog_op *op)
{
    op_forget_record(op);
    catalog_cuts_done(&op->cuts);
    metadata_snapshot_done(&op->tie);
    free(op->space);
    op->space = NULL;
    free(op->parents);
    op->parents = NULL;
    op->parent_count = op->parent_capacity = 0;
    catalog_claim_free(op->claim);
    op->claim = NULL;
    catalog_grow_free(op->grow);
    op->grow = NULL;
    meta_request_done(&op->request);
}

void catalog_op_end(struct catalog_op *op, int result)
{
    struct catalog_slot *slot = op->slot;
    list_remove(&op->all);
    list_remove(&op->later);
    op->catalog->op_count--;
    catalog_op_forget(op);
    op->end(op, result);
    /* What was asked for meanwhile has waited: the slot was still running. */
    if (slot != NULL) {
        slot->running = false;
        slot_go_on(slot);
    }
}

static const char *op_name(const struct catalog_op *op)
{
    return op->slot != NULL ? op->slot->name : op->name;
}

void catalog_op_fail(struct catalog_op *op, int result)
{
    if (op->slot != NULL || op->name != NULL)
        FAIL(result, "volume \"%s\": %s", op_name(op), base_error_text(result));
    else
        FAIL(result, "volumes: %s", base_error_text(result));
    catalog_op_end(op, result);
}

bool catalog_op_failed(struct catalog_op *op, int result)
{
    if (result != 0) {
        catalog_op_fail(op, result);
        return true;
    }
    if (!op->request.succeeded) {
        catalog_op_fail(op, IOMESH_CONFLICT);
        return true;
    }
    return false;
}

/* --- Waiting -------------------------------------------------------------------------------- */

void catalog_op_later(struct catalog_op *op, int result, catalog_step_fn *next)
{
    assert(result != -EAGAIN);
    op->next = next;
    op->result = result;
    list_push_back(&op->catalog->later, &op->later);
}

static void op_committed(struct meta_request *request, int result)
{
    struct catalog_op *op = CONTAINER_OF(request, struct catalog_op, request);
    if (result == IOMESH_UNKNOWN && MUTANT(431))
        result = IOMESH_CONFLICT;
    op->next(op, result);
}

void catalog_op_commit(struct catalog_op *op, catalog_step_fn *next)
{
    op->next = next;
    op->result = meta_commit(op->catalog->options.meta, &op->request, op_committed);
    if (op->result != 0)
        list_push_back(&op->catalog->later, &op->later);
}

unsigned catalog_ops_turn(struct catalog *catalog)
{
    struct list later;
    list_init(&later);
    list_splice_back(&later, &catalog->later);
    unsigned ran = 0;
    for (struct list *node; (node = list_pop_front(&later)) != NULL;) {
        struct catalog_op *op = LIST_ENTRY(node, struct catalog_op, later);
        if (op->result == -EAGAIN) {
            catalog_op_commit(op, op->next);
        } else {
            ran++;
            op->next(op, op->result);
        }
    }
    return ran;
}

/* --- The record of a name ------------------------------------------------------------------- */

static void read_done(struct catalog_op *op, int result)
{
    const struct meta_response *response = &op->request.responses[0];
    if (result == 0 && response->entry_count == 0)
        result = -ENOENT;
    if (result == 0)
        result = metadata_volume_decode(response->entries[0].value.data,
                                        response->entries[0].value.length, &op->record);
    if (result == 0)
        op->revision = response->entries[0].modified_revision;
    op->read(op, result);
}

void catalog_op_read(struct catalog_op *op, uint64_t volume, catalog_step_fn *read)
{
    op_forget_record(op);
    op->read = read;
    struct metadata_key key = metadata_volume_key(volume);
    meta_request_reset(&op->request);
    meta_get(&op->request, META_SLICE(key));
    catalog_op_commit(op, read_done);
}

static void load_volume_read(struct catalog_op *op, int result)
{
    bool nameless = op->nameless != 0;
    enum metadata_volume_state state = nameless ? METADATA_VOLUME_KEPT : METADATA_VOLUME_LIVE;
    bool gone = result == -ENOENT || (result == 0 && op->record.state != state);
    /* Between the two reads another process may delete the volume, and give its name to another. */
    if (gone && !nameless && catalog_is_cluster(op->catalog) && op->gone != op->id &&
        !MUTANT(371)) {
        REACH(catalog_deleted_meanwhile);
        op->gone = op->id;
        catalog_op_load(op, op->loaded);
        return;
    }
    /* So may this one, without its slot, or a name. */
    if (gone && (op->slot == NULL || nameless)) {
        catalog_op_end(op, FAIL(-ENOENT, "there is no volume \"%s\"", op_name(op)));
        return;
    }
    if (result == -ENOENT)
        result = IOMESH_CORRUPT;
    /* The name and the record are written and deleted in one transaction. */
    if (result == 0 && (op->record.state != state || op->record.id != op->id ||
                        (!nameless && strcmp(op->record.name, op_name(op)) != 0) ||
                        catalog_check_size(op_name(op), op->record.bytes) != 0))
        result = IOMESH_CORRUPT;
    if (result != 0)
        catalog_op_end(op, FAIL(result, "volume \"%s\": its record in the metadata, %llu: %s",
                                op_name(op), (unsigned long long)op->id, base_error_text(result)));
    else
        op->loaded(op, 0);
}

static void load_name_read(struct catalog_op *op, int result)
{
    if (result != 0) {
        catalog_op_fail(op, result);
        return;
    }
    const struct meta_response *response = &op->request.responses[0];
    if (response->entry_count == 0) {
        catalog_op_end(op, FAIL(-ENOENT, "there is no volume \"%s\"", op_name(op)));
        return;
    }
    struct metadata_name name = {0};
    result = metadata_name_decode(response->entries[0].value.data,
                                  response->entries[0].value.length, &name);
    if (result != 0) {
        catalog_op_fail(op, result);
        return;
    }
    op->id = name.volume;
    metadata_name_done(&name);
    catalog_op_read(op, op->id, load_volume_read);
}

void catalog_op_load(struct catalog_op *op, catalog_step_fn *loaded)
{
    op_forget_record(op);
    struct catalog_volume *open = op->slot != NULL ? op->slot->open : NULL;
    if (open != NULL) {
        op->record = open->record;
        op->record_lent = true;
        op->revision = open->revision;
        op->id = open->record.id;
        catalog_op_later(op, 0, loaded);
        return;
    }
    op->loaded = loaded;
    if (op->nameless != 0) {
        op->id = op->nameless;
        catalog_op_read(op, op->id, load_volume_read);
        return;
    }
    struct metadata_key key = metadata_name_key(op_name(op), strlen(op_name(op)));
    meta_request_reset(&op->request);
    meta_get(&op->request, META_SLICE(key));
    catalog_op_commit(op, load_name_read);
}

/* --- A crash -------------------------------------------------------------------------------- */

void catalog_ops_abandon(struct catalog *catalog)
{
    for (unsigned i = 0; i < CATALOG_BUCKETS; i++) {
        for (struct list *node; (node = list_pop_front(&catalog->buckets[i])) != NULL;) {
            struct catalog_slot *slot = LIST_ENTRY(node, struct catalog_slot, node);
            if (slot->open != NULL)
                catalog_volume_abandon(slot->open);
            for (struct list *view; (view = list_first(&slot->views)) != NULL;)
                catalog_volume_abandon(LIST_ENTRY(view, struct catalog_volume, node));
            assert(list_empty(&slot->lost)); /* Of an embedded pool. */
            free(slot);
        }
    }
    for (struct list *node; (node = list_pop_front(&catalog->ops)) != NULL;) {
        struct catalog_op *op = LIST_ENTRY(node, struct catalog_op, all);
        catalog_op_forget(op);
        free(op); /* It is the head of whatever was allocated. */
    }
}
