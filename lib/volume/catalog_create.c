/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Creating: a number, then the name and the record in one transaction.
 *
 * In a cluster the volume is placed first, and its groups and maps are in that transaction. Where
 * they are too many for one, the record comes first and is `deleting`, so that whoever finds it
 * after a crash cleans up; the last of several transactions makes it live and gives it the name.
 *
 *   NUMBER ──▶ PLACE ─┬─▶ name, record, groups, maps ──────────────────────▶ told
 *                     └─▶ record (deleting) and some ──▶ more ──▶ name, record (live), the rest
 */
#include <stdlib.h>
#include <string.h>

#include "volume/catalog_cluster.h"

#define CREATE_ITEMS 200u /* Of a transaction, beside the name and the record. */

struct create {
    struct catalog_op op;
    struct catalog_create what;
    struct metadata_volume record;
    struct catalog_layout layout; /* Of a cluster. */
    uint32_t item;                /* The next to be put. */
    uint32_t items;
    char zone[METADATA_TEXT_ROOM], rack[METADATA_TEXT_ROOM], node[METADATA_TEXT_ROOM];
};

static struct create *create_of(struct catalog_op *op)
{
    return CONTAINER_OF(op, struct create, op);
}

static void create_end(struct catalog_op *op, int result)
{
    struct create *create = create_of(op);
    catalog_done_fn *done = op->done;
    void *context = op->context;
    if (result != 0 && result != IOMESH_UNKNOWN && create->items > 0)
        catalog_layout_return(op->catalog, &create->layout);
    /* Some of it may be there. */
    if (result != 0 && op->id != 0 && create->items > CREATE_ITEMS)
        catalog_chore_wake(op->catalog, op->id);
    catalog_layout_done(&create->layout);
    free(create);
    done(context, result);
}

static void create_committed(struct catalog_op *op, int result)
{
    const struct create *create = create_of(op);
    if (result != 0) {
        catalog_op_fail(op, result);
        return;
    }
    if (!op->request.succeeded) {
        catalog_op_end(op, FAIL(-EEXIST, "there is a volume \"%s\" already", op->slot->name));
        return;
    }
    catalog_tell(op->catalog, STORE_INFO, op->id, create->what.bytes,
                 "volume \"%s\": created, number %llu", op->slot->name, (unsigned long long)op->id);
    catalog_op_end(op, 0);
}

static void create_put(struct create *create);

static void create_put_some(struct catalog_op *op, int result)
{
    if (catalog_op_failed(op, result))
        return;
    REACH(catalog_created_in_parts);
    op->revision = op->request.revision; /* Of the record, as it was put. */
    create_of(op)->record.state = METADATA_VOLUME_LIVE;
    create_put(create_of(op));
}

/* The next transaction. Between the first and the last the record stays as it is. */
static int create_build(struct create *create, bool last)
{
    struct catalog_op *op = &create->op;
    uint64_t now_ns = create->record.created_ns;
    uint32_t end = last ? create->items : create->item + CREATE_ITEMS;
    bool first = create->item == 0;
    int result = 0;
    meta_request_reset(&op->request);
    if (last)
        result = catalog_put_name(&op->request, &create->record);
    else
        create->record.state = METADATA_VOLUME_DELETING;
    /* The keeper deletes what is nobody's. */
    create->record.owner_session =
        !last && catalog_is_cluster(op->catalog) ? op->catalog->session.id : 0;
    if (result == 0) /* Revision 0: there is none. */
        result = catalog_put_record(&op->request, &create->record, first ? 0 : op->revision);
    for (; result == 0 && create->item < end; create->item++)
        result = catalog_layout_put(&create->layout, create->item, now_ns, &op->request);
    return result;
}

static void create_put(struct create *create)
{
    bool last = create->items - create->item <= CREATE_ITEMS;
    catalog_step_fn *next = last ? create_committed : create_put_some;
    int result = create_build(create, last);
    if (result == 0)
        catalog_op_commit(&create->op, next);
    else
        catalog_op_later(&create->op, result, next);
}

static int create_place(struct create *create)
{
    const struct catalog *catalog = create->op.catalog;
    const struct place_hint *hint = &create->what.hint;
    struct place_hint here = {.zone = catalog->cluster.zone,
                              .rack = catalog->cluster.rack,
                              .node = catalog->cluster.node};
    bool given = hint->zone != NULL || hint->rack != NULL || hint->node != NULL;
    int result = catalog_layout_new(create->op.catalog, &create->record, given ? hint : &here,
                                    &create->layout);
    if (result == 0)
        create->items = catalog_layout_items(&create->layout);
    return result;
}

static void create_numbered(struct catalog_op *op, int result)
{
    if (result != 0) {
        catalog_op_fail(op, result);
        return;
    }
    struct create *create = create_of(op);
    create->record = (struct metadata_volume){
        .id = op->id,
        .bytes = create->what.bytes,
        .sector_bytes = create->what.sector_bytes,
        .state = METADATA_VOLUME_LIVE,
        .sequence_end = 1, /* 0 is what was never written. */
        .created_ns = clock_wall_ns(op->catalog->options.clock),
        .policy = {.copies = create->what.copies,
                   .copies_min = create->what.copies_min,
                   .domain = create->what.domain,
                   .media = create->what.media},
    };
    memcpy(create->record.name, op->slot->name, strlen(op->slot->name) + 1);
    if (catalog_is_cluster(op->catalog) && (result = create_place(create)) != 0)
        catalog_op_end(op, result);
    else
        create_put(create);
}

static void create_begin(struct catalog_op *op, int result)
{
    (void)result;
    catalog_op_take_id(op, create_numbered);
}

/* --- What is asked for ---------------------------------------------------------------------- */

static const uint32_t copies_min_usual[CATALOG_COPIES_MAX + 1] = {0, 1, 1, 2, 2, 3};

int catalog_create_check(const struct catalog *catalog, const char *name,
                         struct catalog_create *what)
{
    bool cluster = catalog_is_cluster(catalog);
    if (what->copies == 0)
        what->copies = cluster ? 3 : 1;
    if (!cluster && (what->copies != 1 || what->copies_min > 1))
        return FAIL(-EINVAL, "volume \"%s\": %u copies: this pool has one store, so it is 1", name,
                    what->copies);
    if (what->copies > CATALOG_COPIES_MAX)
        return FAIL(-EINVAL, "volume \"%s\": %u copies: it is 1 to %u", name, what->copies,
                    CATALOG_COPIES_MAX);
    if (what->copies_min == 0)
        what->copies_min = copies_min_usual[what->copies];
    if (what->copies_min > what->copies)
        return FAIL(-EINVAL, "volume \"%s\": writes would wait for %u copies, and it has %u", name,
                    what->copies_min, what->copies);
    if (what->domain > METADATA_DOMAIN_ZONE || (what->media & ~METADATA_MEDIA_MASK) != 0)
        return FAIL(-EINVAL, "volume \"%s\": a failure domain or medium that there is not", name);
    return 0;
}

static int create_keep(char to[METADATA_TEXT_ROOM], const char **text)
{
    if (*text == NULL)
        return 0;
    size_t length = strlen(*text);
    if (length > METADATA_TEXT_BYTES_MAX)
        return FAIL(-EINVAL, "the name of a node, rack or zone has more than %u bytes",
                    METADATA_TEXT_BYTES_MAX);
    memcpy(to, *text, length + 1);
    *text = to;
    return 0;
}

static int create_keep_hint(struct create *create)
{
    struct place_hint *hint = &create->what.hint;
    int error = create_keep(create->zone, &hint->zone);
    if (error == 0)
        error = create_keep(create->rack, &hint->rack);
    return error != 0 ? error : create_keep(create->node, &hint->node);
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
    error = catalog_create_check(catalog, name, &create->what);
    if (error == 0)
        error = create_keep_hint(create);
    if (error == 0)
        error = catalog_op_start(&create->op, catalog, name, create_begin, create_end);
    if (error != 0)
        free(create);
    return error;
}
