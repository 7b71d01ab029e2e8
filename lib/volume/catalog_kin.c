/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What an open volume reads of others: where the copies of its parents are, and of a snapshot that
 * is open by itself.
 *
 *   asked by its copies ──▶ GROUPS and MAPS are read ──▶ copies_kin_set()
 *                             ▲                    │
 *                             └─ more than a page: until two readings agree
 *
 * Records of groups count only together with the maps of the same moment. Who reads need not own
 * anything: the tie of a clone, or the key of a reader, keeps the cut.
 */
#include <stdlib.h>
#include <string.h>

#include "volume/catalog_cluster.h"

struct catalog_kin {
    struct list node;            /* In owned->kin. */
    struct catalog_owned *owned; /* NULL: it is gone. */
    uint64_t volume;
    bool flying;
    bool paged;            /* It took more than one transaction. */
    uint64_t digest, last; /* Of the revisions of this reading, and of the one before. */
    struct metadata_key group_after, map_after;
    struct catalog_owned found; /* Groups and runs; nothing else of it is used. */
    struct meta_request request;
};

static void kin_forget(struct catalog_kin *kin)
{
    for (uint32_t i = 0; i < kin->found.group_count; i++)
        metadata_group_done(&kin->found.groups[i].record);
    free(kin->found.groups);
    free(kin->found.runs);
    kin->found = (struct catalog_owned){0};
    kin->group_after.length = kin->map_after.length = 0;
    kin->digest = 0;
}

static void kin_free(struct catalog_kin *kin)
{
    kin_forget(kin);
    list_remove(&kin->node);
    meta_request_done(&kin->request);
    free(kin);
}

/* --- What was found --------------------------------------------------------------------------- */

/* Where no coordinator was ever active, nothing was ever written, and no store would answer. */
static bool group_is_born(const struct catalog_kin *kin, uint32_t index)
{
    return kin->found.groups[index].record.generation > 0;
}

static int kin_set(struct catalog_kin *kin)
{
    const struct catalog_owned *found = &kin->found;
    struct copies_group_options *groups = calloc(found->group_count + 1, sizeof *groups);
    struct copies_run *runs = calloc(found->run_count + 1, sizeof *runs);
    if (groups == NULL || runs == NULL) {
        free(groups);
        free(runs);
        return -ENOMEM;
    }
    struct copies_kin_layout layout = {
        .groups = groups, .group_count = found->group_count, .runs = runs};
    for (uint32_t i = 0; i < found->group_count; i++)
        groups[i] = (struct copies_group_options){
            .id = found->groups[i].record.id,
            .record = catalog_owned_record(&found->groups[i].record, 0)};
    for (uint32_t i = 0; i < found->run_count; i++) {
        if (group_is_born(kin, found->runs[i].group))
            runs[layout.run_count++] = found->runs[i];
    }
    if (found->group_count > 0)
        layout.local_store =
            catalog_local_store(owned_catalog(kin->owned), &found->groups[0].record);
    int result = copies_kin_set(kin->owned->copies, kin->volume, &layout);
    free(groups);
    free(runs);
    return result;
}

/* --- Reading ---------------------------------------------------------------------------------- */

static int kin_read(struct catalog_kin *kin);

static void kin_failed(struct catalog_kin *kin, int result)
{
    if (result == IOMESH_CORRUPT || result == IOMESH_FORMAT)
        catalog_tell(owned_catalog(kin->owned), STORE_ERROR, kin->volume, 0,
                     "volume %llu, which others read: its records in the metadata: %s",
                     (unsigned long long)kin->volume, base_error_text(result));
    kin_forget(kin);
    kin->last = 0;
    copies_kin_unknown(kin->owned->copies, kin->volume);
}

static int kin_entries(struct catalog_kin *kin, const struct meta_response *response,
                       int (*add)(struct catalog_owned *, uint64_t, const struct meta_entry *),
                       struct metadata_key *after)
{
    for (uint32_t i = 0; i < response->entry_count; i++) {
        const struct meta_entry *entry = &response->entries[i];
        int result = add(&kin->found, kin->volume, entry);
        if (result != 0)
            return result;
        kin->digest = kin->digest * 0x9e3779b97f4a7c15u + entry->modified_revision;
        after->length = MIN(entry->key.length, sizeof after->bytes);
        memcpy(after->bytes, entry->key.data, after->length);
    }
    return 0;
}

/* All of it was read, perhaps while it changed. */
static int kin_whole(struct catalog_kin *kin)
{
    bool agrees = !kin->paged || kin->digest == kin->last;
    int result = 0;
    kin->last = kin->digest;
    if (agrees)
        result = kin_set(kin);
    kin_forget(kin);
    return result != 0 || agrees ? result : kin_read(kin);
}

static void kin_told(struct meta_request *request, int result)
{
    struct catalog_kin *kin = CONTAINER_OF(request, struct catalog_kin, request);
    kin->flying = false;
    if (kin->owned == NULL) {
        kin_free(kin);
        return;
    }
    if (kin->owned->copies == NULL)
        return; /* It is being closed. */
    const struct meta_response *responses = request->responses;
    /* Maps name groups: those of later pages come first. */
    if (result == 0)
        result = kin_entries(kin, &responses[0], catalog_claim_group, &kin->group_after);
    bool more_groups = result == 0 && responses[0].more;
    if (result == 0 && !more_groups)
        result = kin_entries(kin, &responses[1], catalog_claim_map, &kin->map_after);
    bool more = result == 0 && (more_groups || responses[1].more);
    kin->paged = kin->paged || more;
    if (result == 0)
        result = more ? kin_read(kin) : kin_whole(kin);
    if (result != 0)
        kin_failed(kin, result);
}

static int kin_read(struct catalog_kin *kin)
{
    struct metadata_key groups = metadata_volume_prefix(METADATA_GROUP, kin->volume);
    struct metadata_key maps = metadata_volume_prefix(METADATA_MAP, kin->volume);
    meta_request_reset(&kin->request);
    meta_list(&kin->request, META_SLICE(groups), META_SLICE(kin->group_after),
              META_LIST_ENTRIES_MAX);
    meta_list(&kin->request, META_SLICE(maps), META_SLICE(kin->map_after), META_LIST_ENTRIES_MAX);
    int result = meta_commit(owned_catalog(kin->owned)->options.meta, &kin->request, kin_told);
    kin->flying = result == 0;
    return result;
}

/* --- From outside ----------------------------------------------------------------------------- */

static struct catalog_kin *kin_find(const struct catalog_owned *owned, uint64_t volume)
{
    LIST_EACH (&owned->kin, node) {
        struct catalog_kin *kin = LIST_ENTRY(node, struct catalog_kin, node);
        if (kin->volume == volume)
            return kin;
    }
    return NULL;
}

void catalog_kin_look(struct catalog_owned *owned, uint64_t volume)
{
    struct catalog_kin *kin = kin_find(owned, volume);
    if (kin == NULL) {
        kin = calloc(1, sizeof *kin);
        if (kin == NULL) {
            copies_kin_unknown(owned->copies, volume);
            return;
        }
        kin->owned = owned;
        kin->volume = volume;
        list_push_back(&owned->kin, &kin->node);
    }
    kin->paged = false;
    kin->last = 0;
    int result = kin->flying ? 0 : kin_read(kin);
    if (result != 0)
        kin_failed(kin, result);
}

int catalog_kin_add(struct catalog_owned *owned, const struct catalog_op *op)
{
    int result = 0;
    for (uint32_t i = 0; i < op->parent_count && result == 0; i++)
        result = copies_kin_open(owned->copies, op->parents[i].volume);
    return result;
}

void catalog_kin_free(struct catalog_owned *owned)
{
    LIST_EACH_SAFE (&owned->kin, node, after) {
        struct catalog_kin *kin = LIST_ENTRY(node, struct catalog_kin, node);
        kin->owned = NULL;
        if (kin->flying)
            list_remove(&kin->node);
        else
            kin_free(kin);
    }
}
