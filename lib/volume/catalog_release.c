/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Volumes of a cluster that are ours in the metadata, and open nowhere: their closing was not
 * recorded, or they were claimed and could not be opened. While our session lives everybody else
 * would be refused. So they are given back when the metadata can be reached again.
 *
 *   READ ──▶ ours yet, of that epoch: PUT without an owner ──▶ done
 *     ▲        │ no: done                │
 *     └────────┴── a second later ◀──────┘ it failed
 */
#include <stdlib.h>

#include "volume/catalog_cluster.h"

struct catalog_release {
    struct catalog_op op;
    struct list node; /* In catalog->releases. */
    struct catalog *catalog;
    uint64_t volume, epoch, session;
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
    if (result == 0 || release->catalog->state != CATALOG_READY ||
        release->session != release->catalog->session.id) {
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

static void release_begin(struct catalog_op *op, int result)
{
    (void)result;
    catalog_op_read(op, release_of(op)->volume, release_read);
}

static void release_start(struct catalog_release *release)
{
    release->running = true;
    release->op = (struct catalog_op){0};
    (void)catalog_op_start(&release->op, release->catalog, NULL, release_begin, release_end);
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
