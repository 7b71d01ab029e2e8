/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Volumes that are kept: opened for the keeper, and let go as soon as anybody wants them.
 *
 * Who is elsewhere just takes it (catalog_claim.c). Whatever comes here, an operation on the same
 * name, finds that it is ours no more, and begins as if nobody had it.
 */
#include "volume/catalog_keep.h"

#include <stdlib.h>
#include <string.h>

#include "volume/catalog_cluster.h"

/* --- Letting go ------------------------------------------------------------------------------- */

void catalog_slot_yield(struct catalog_slot *slot, const struct catalog_op *op)
{
    struct catalog_volume *volume = slot->open;
    if (op->keeps)
        return;
    if (!slot->running && volume != NULL && volume->owned != NULL && volume->record.owner_yields &&
        !MUTANT(342)) {
        REACH(catalog_kept_yields);
        catalog_owned_yield(volume->owned);
        return;
    }
    if (!slot->running)
        return;
    LIST_EACH (&op->catalog->owned, node) {
        struct catalog_owned *owned = LIST_ENTRY(node, struct catalog_owned, node);
        if (owned->op != NULL && owned->op->slot == slot && owned->op->keeps &&
            slot->open != owned->volume && owned->copies != NULL)
            copies_end(owned->copies, IOMESH_FENCED);
    }
}

void catalog_keep_stop(struct catalog *catalog, uint64_t volume)
{
    LIST_EACH (&catalog->owned, node) {
        struct catalog_owned *owned = LIST_ENTRY(node, struct catalog_owned, node);
        if (owned->op != NULL && owned->op->keeps && owned->copies != NULL &&
            owned->volume->slot->open != owned->volume &&
            (volume == 0 || owned->volume->record.id == volume))
            copies_end(owned->copies, IOMESH_FENCED);
    }
}

/* --- Opening ---------------------------------------------------------------------------------- */

struct keep {
    struct catalog_op op; /* Of no name: it is looked for. */
    uint64_t volume;
    catalog_opened_fn *opened;
    bool nameless; /* It was deleted, and clones need what it shows. */
    char name[CATALOG_NAME_BYTES_MAX + 1];
};

static void keep_end(struct catalog_op *op, int result)
{
    struct keep *keep = CONTAINER_OF(op, struct keep, op);
    struct catalog *catalog = op->catalog;
    if (result == 0 && catalog->state != CATALOG_READY)
        result = -ECANCELED;
    if (result == 0)
        result = catalog_handle_keep(catalog, keep->volume, keep->nameless ? NULL : keep->name,
                                     keep->opened, op->context);
    if (result != 0)
        keep->opened(op->context, result, NULL);
    free(keep);
}

static void keep_read(struct catalog_op *op, int result)
{
    struct keep *keep = CONTAINER_OF(op, struct keep, op);
    keep->nameless = op->record.state == METADATA_VOLUME_KEPT && !MUTANT(352);
    if (result == 0 && op->record.state != METADATA_VOLUME_LIVE && !keep->nameless)
        result = -ENOENT;
    if (result == 0)
        memcpy(keep->name, op->record.name, sizeof keep->name);
    catalog_op_end(op, result);
}

static void keep_begin(struct catalog_op *op, int result)
{
    (void)result;
    catalog_op_read(op, CONTAINER_OF(op, struct keep, op)->volume, keep_read);
}

int catalog_keep(struct catalog *catalog, uint64_t volume, catalog_opened_fn *opened, void *context)
{
    int error = catalog_may_start(catalog, NULL, false);
    if (error != 0)
        return error;
    struct keep *keep = calloc(1, sizeof *keep);
    if (keep == NULL)
        return FAIL(-ENOMEM, "keeping volume %llu: no memory", (unsigned long long)volume);
    keep->volume = volume;
    keep->opened = opened;
    keep->op.context = context;
    return catalog_op_start(&keep->op, catalog, NULL, keep_begin, keep_end);
}

/* --- What is asked ---------------------------------------------------------------------------- */

int catalog_handle_ended(const struct catalog_handle *handle)
{
    const struct catalog_owned *owned = handle->volume->owned;
    return owned == NULL ? 0 : owned->ended;
}

uint64_t catalog_session_until_ns(const struct catalog *catalog)
{
    bool lives = catalog->state == CATALOG_READY && !catalog->options.read_only;
    return lives ? catalog->session.bound_ns : 0;
}

void catalog_session_who(const struct catalog *catalog, const char **ret_node,
                         const char **ret_address)
{
    *ret_node = catalog->cluster.node != NULL ? catalog->cluster.node : "";
    *ret_address = catalog->cluster.address != NULL ? catalog->cluster.address : "";
}

bool catalog_store_up(const struct catalog *catalog, uint64_t store)
{
    const struct part_port *port = catalog->cluster.port(catalog->cluster.context, store);
    return port != NULL && port->state == PART_PORT_UP;
}

void catalog_delete_go_on(struct catalog *catalog, uint64_t volume)
{
    if (catalog->state == CATALOG_READY)
        catalog_chore_wake(catalog, volume);
}
