/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Volumes of a cluster that are ours in the metadata, and open nowhere: their closing was not
 * recorded, or they were claimed and could not be opened. While our session lives everybody else
 * would be refused. So they are given back when the metadata can be reached again.
 *
 *   READ ──▶ ours yet, of that epoch: PUT without an owner ──▶ done
 *     ▲        │ no: done                │
 *     └────────┴── a second later ◀──────┘ it failed
 *
 * So are keys of readers whose deletion failed, or that may yet be put by a transaction of which
 * nobody knows: the snapshot's record is put anew with it, which such a transaction compares. Here
 * the name's turn is waited for: whoever opens the snapshot again puts the same key.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "volume/catalog_cluster.h"

struct catalog_release {
    struct catalog_op op;
    struct list node; /* In catalog->releases. */
    struct catalog *catalog;
    uint64_t volume, epoch, session;
    uint64_t cut, reader; /* Not 0: the key of a reader. */
    char name[CATALOG_NAME_BYTES_MAX + 1];
    bool running;
    struct timer timer;
};

static struct catalog_release *release_of(struct catalog_op *op)
{
    return CONTAINER_OF(op, struct catalog_release, op);
}

static void release_free(struct catalog_release *release)
{
    clock_cancel(release->catalog->options.clock, &release->timer);
    list_remove(&release->node);
    free(release);
}

static void release_start(struct catalog_release *release);

static void release_again(struct timer *timer)
{
    release_start(CONTAINER_OF(timer, struct catalog_release, timer));
}

static void release_end(struct catalog_op *op, int result)
{
    struct catalog_release *release = release_of(op);
    release->running = false;
    const struct catalog_session *session = &release->catalog->session;
    if (result == 0 || release->catalog->state != CATALOG_READY ||
        release->session != session->id ||
        (release->reader != 0 && release->reader != session->lease)) {
        release_free(release);
        return;
    }
    release->timer.fire = release_again;
    clock_set_after(release->catalog->options.clock, &release->timer, CATALOG_RETRY_NS);
}

static void release_put(struct catalog_op *op, int result)
{
    if (result == 0 && !op->request.succeeded)
        result = IOMESH_CONFLICT;
    catalog_op_end(op, result);
}

static void release_read(struct catalog_op *op, int result)
{
    const struct catalog_release *release = release_of(op);
    if (result != 0 || op->record.epoch != release->epoch ||
        op->record.owner_session != release->session) {
        catalog_op_end(op, result == -ENOENT ? 0 : result);
        return;
    }
    REACH(catalog_released);
    op->record.owner_session = 0;
    op->record.owner_yields = false;
    meta_request_reset(&op->request);
    result = catalog_put_record(&op->request, &op->record, op->revision);
    if (result == 0)
        catalog_op_commit(op, release_put);
    else
        catalog_op_later(op, result, release_put);
}

/* The reader's key, and the record of what it read: either may be gone. */
static void release_key_read(struct catalog_op *op, int result)
{
    const struct catalog_release *release = release_of(op);
    struct metadata_key keys[] = {
        metadata_reader_key(release->volume, release->cut, release->reader),
        metadata_snapshot_key(release->volume, release->cut)};
    uint64_t revisions[2] = {0};
    struct metadata_bytes record = {0};
    for (unsigned i = 0; i < 2 && result == 0; i++) {
        if (op->request.responses[i].entry_count > 0)
            revisions[i] = op->request.responses[i].entries[0].modified_revision;
    }
    if (result == 0 && revisions[1] != 0) {
        const struct meta_slice *value = &op->request.responses[1].entries[0].value;
        record.length = value->length;
        record.bytes = malloc(value->length);
        if (record.bytes == NULL)
            result = -ENOMEM;
        else
            memcpy(record.bytes, value->data, value->length);
    }
    if (result != 0 || (revisions[0] == 0 && revisions[1] == 0)) {
        catalog_op_end(op, result);
        return;
    }
    REACH(catalog_reader_released);
    meta_request_reset(&op->request);
    if (revisions[1] != 0) {
        meta_if_modified(&op->request, META_SLICE(keys[1]), revisions[1]);
        meta_put(&op->request, META_SLICE(keys[1]), META_SLICE(record), 0);
    }
    if (revisions[0] != 0) {
        meta_if_modified(&op->request, META_SLICE(keys[0]), revisions[0]);
        meta_delete(&op->request, META_SLICE(keys[0]));
    }
    metadata_bytes_done(&record);
    catalog_op_commit(op, release_put);
}

static void release_key(struct catalog_op *op)
{
    const struct catalog_release *release = release_of(op);
    struct metadata_key keys[] = {
        metadata_reader_key(release->volume, release->cut, release->reader),
        metadata_snapshot_key(release->volume, release->cut)};
    const struct catalog_volume *view = catalog_slot_view(op->slot, release->cut);
    if (view != NULL && view->record.id == release->volume) {
        catalog_op_later(op, 0, catalog_op_end); /* It is open again: closing it deletes the key. */
        return;
    }
    meta_request_reset(&op->request);
    meta_get(&op->request, META_SLICE(keys[0]));
    meta_get(&op->request, META_SLICE(keys[1]));
    catalog_op_commit(op, release_key_read);
}

static void release_begin(struct catalog_op *op, int result)
{
    (void)result;
    if (release_of(op)->reader != 0)
        release_key(op);
    else
        catalog_op_read(op, release_of(op)->volume, release_read);
}

static void release_start(struct catalog_release *release)
{
    const char *name = release->reader != 0 ? release->name : NULL;
    release->running = true;
    release->op = (struct catalog_op){0};
    if (catalog_op_start(&release->op, release->catalog, name, release_begin, release_end) != 0)
        release_free(release); /* No memory: until the session ends. */
}

void catalog_release_reader(struct catalog *catalog, const char *name, uint64_t volume,
                            uint64_t cut, uint64_t reader)
{
    if (catalog->state != CATALOG_READY || reader != catalog->session.lease || MUTANT(373))
        return;
    struct catalog_release *release = calloc(1, sizeof *release);
    if (release == NULL)
        return; /* Until the session ends. */
    release->catalog = catalog;
    release->volume = volume;
    release->session = catalog->session.id;
    release->cut = cut;
    release->reader = reader;
    (void)snprintf(release->name, sizeof release->name, "%s", name);
    list_push_back(&catalog->releases, &release->node);
    release_start(release);
}

void catalog_release(struct catalog *catalog, uint64_t volume, uint64_t epoch)
{
    if (!catalog_is_cluster(catalog) || catalog->state != CATALOG_READY || MUTANT(351))
        return;
    struct catalog_release *release = calloc(1, sizeof *release);
    if (release == NULL)
        return; /* Until the session ends. */
    release->catalog = catalog;
    release->volume = volume;
    release->epoch = epoch;
    release->session = catalog->session.id;
    list_push_back(&catalog->releases, &release->node);
    release_start(release);
}

void catalog_releases_leave(struct catalog *catalog)
{
    LIST_EACH_SAFE (&catalog->releases, node, after) {
        struct catalog_release *release = LIST_ENTRY(node, struct catalog_release, node);
        if (!release->running)
            release_free(release);
    }
}
