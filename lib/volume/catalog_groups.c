/* SPDX-License-Identifier: Apache-2.0 */
/*
 * All groups, told.
 *
 *   the next record ──▶ the records of its volumes, for their names ──▶ told ──┐
 *        ▲                                                                      │
 *        └──────────────────────────────────────────────────────────────────────┘
 */
#include <stdlib.h>
#include <string.h>

#include "volume/catalog_inside.h"

struct groups {
    struct catalog_op op;
    catalog_group_fn *each;
    struct metadata_together together;
    char names[METADATA_PARTS_MAX][CATALOG_NAME_BYTES_MAX + 1];
};

static struct groups *groups_of(struct catalog_op *op)
{
    return CONTAINER_OF(op, struct groups, op);
}

static void groups_end(struct catalog_op *op, int result)
{
    catalog_done_fn *done = op->done;
    void *context = op->context;
    metadata_together_done(&groups_of(op)->together);
    free(groups_of(op));
    done(context, result);
}

static void groups_next(struct catalog_op *op);

static void groups_tell(struct groups *groups)
{
    const struct metadata_together *together = &groups->together;
    struct catalog_group_info info = {
        .name = together->name,
        .created_ns = together->created_ns,
        .volume_count = together->part_count,
    };
    for (uint32_t i = 0; i < together->part_count; i++)
        info.volumes[i] = groups->names[i];
    groups->each(groups->op.context, &info);
}

static void groups_named(struct catalog_op *op, int result)
{
    struct groups *groups = groups_of(op);
    /* None: the group was deleted since it was read. */
    bool there = result == 0;
    for (uint32_t i = 0; i < groups->together.part_count && result == 0; i++) {
        const struct meta_response *response = &op->request.responses[i];
        struct metadata_volume volume = {0};
        there = there && response->entry_count > 0;
        if (there)
            result = metadata_volume_decode(response->entries[0].value.data,
                                            response->entries[0].value.length, &volume);
        memcpy(groups->names[i], volume.name, sizeof volume.name);
        metadata_volume_done(&volume);
    }
    if (result != 0) {
        catalog_op_end(
            op, FAIL(result, "group \"%s\": %s", groups->together.name, base_error_text(result)));
        return;
    }
    if (there)
        groups_tell(groups);
    groups_next(op);
}

static void groups_read(struct catalog_op *op, int result)
{
    struct groups *groups = groups_of(op);
    const struct meta_response *response = &op->request.responses[0];
    if (result == 0 && response->entry_count == 0) {
        catalog_op_end(op, 0);
        return;
    }
    metadata_together_done(&groups->together);
    if (result == 0)
        result = metadata_together_decode(response->entries[0].value.data,
                                          response->entries[0].value.length, &groups->together);
    if (result != 0) {
        catalog_op_end(op, FAIL(result, "groups of snapshots: %s", base_error_text(result)));
        return;
    }
    meta_request_reset(&op->request);
    for (uint32_t i = 0; i < groups->together.part_count; i++) {
        struct metadata_key key = metadata_volume_key(groups->together.parts[i].volume);
        meta_get(&op->request, META_SLICE(key));
    }
    if (groups->together.part_count == 0)
        groups_next(op);
    else
        catalog_op_commit(op, groups_named);
}

static void groups_next(struct catalog_op *op)
{
    const char *last = groups_of(op)->together.name;
    struct metadata_key prefix = metadata_prefix(METADATA_TOGETHER);
    struct metadata_key after = {0};
    if (last[0] != '\0')
        after = metadata_together_key(last, strlen(last));
    meta_request_reset(&op->request);
    meta_list(&op->request, META_SLICE(prefix), META_SLICE(after), 1);
    catalog_op_commit(op, groups_read);
}

static void groups_begin(struct catalog_op *op, int result)
{
    (void)result;
    groups_next(op);
}

int catalog_group_list(struct catalog *catalog, catalog_group_fn *each, catalog_done_fn *done,
                       void *context)
{
    int error = catalog_may_start(catalog, NULL, false);
    if (error != 0)
        return error;
    struct groups *groups = calloc(1, sizeof *groups);
    if (groups == NULL)
        return FAIL(-ENOMEM, "groups of snapshots: no memory");
    groups->each = each;
    groups->op.done = done;
    groups->op.context = context;
    return catalog_op_start(&groups->op, catalog, NULL, groups_begin, groups_end);
}
