/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Creating: a number, then the name and the record in one transaction.
 */
#include <stdlib.h>
#include <string.h>

#include "volume/catalog_inside.h"

struct create {
    struct catalog_op op;
    struct catalog_create what;
};

static void create_end(struct catalog_op *op, int result)
{
    catalog_done_fn *done = op->done;
    void *context = op->context;
    free(CONTAINER_OF(op, struct create, op));
    done(context, result);
}

static void create_committed(struct catalog_op *op, int result)
{
    if (result != 0) {
        catalog_op_fail(op, result);
        return;
    }
    if (!op->request.succeeded) {
        catalog_op_end(op, FAIL(-EEXIST, "there is a volume \"%s\" already", op->slot->name));
        return;
    }
    catalog_tell(op->catalog, STORE_INFO, op->id, CONTAINER_OF(op, struct create, op)->what.bytes,
                 "volume \"%s\": created, number %llu", op->slot->name, (unsigned long long)op->id);
    catalog_op_end(op, 0);
}

static void create_numbered(struct catalog_op *op, int result)
{
    if (result != 0) {
        catalog_op_fail(op, result);
        return;
    }
    const struct create *create = CONTAINER_OF(op, struct create, op);
    struct metadata_volume record = {
        .id = op->id,
        .bytes = create->what.bytes,
        .sector_bytes = create->what.sector_bytes,
        .state = METADATA_VOLUME_LIVE,
        .sequence_end = 1, /* 0 is what was never written. */
        .created_ns = clock_wall_ns(op->catalog->options.clock),
        .policy = {.copies = 1, .copies_min = 1},
    };
    memcpy(record.name, op->slot->name, strlen(op->slot->name) + 1);
    result = catalog_put_name(&op->request, &record);
    if (result == 0) /* Revision 0: there is none. */
        result = catalog_put_record(&op->request, &record, 0);
    if (result == 0)
        catalog_op_commit(op, create_committed);
    else
        catalog_op_later(op, result, create_committed);
}

static void create_begin(struct catalog_op *op, int result)
{
    (void)result;
    catalog_op_take_id(op, create_numbered);
}

int catalog_create(struct catalog *catalog, const char *name, const struct catalog_create *what,
                   catalog_done_fn *done, void *context)
{
    int error = catalog_may_start(catalog, name, true);
    if (error == 0)
        error = catalog_check_size(name, what->bytes);
    if (error != 0)
        return error;
    if (what->sector_bytes != 512 && what->sector_bytes != 4096)
        return FAIL(-EINVAL, "volume \"%s\": a sector of %u bytes: it is 512 or 4096", name,
                    what->sector_bytes);
    struct create *create = calloc(1, sizeof *create);
    if (create == NULL)
        return FAIL(-ENOMEM, "creating volume \"%s\": no memory", name);
    create->what = *what;
    create->op.done = done;
    create->op.context = context;
    error = catalog_op_start(&create->op, catalog, name, create_begin, create_end);
    if (error != 0)
        free(create);
    return error;
}
