/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Between the engine's thread and the file's.
 *
 *   submit ──▶ queue ──▶ step: a batch, one COMMIT ──▶ finished, events ──▶ wakeup ──▶ poll
 *
 * The step is the same whether a thread makes it or the caller does; only who calls it differs.
 */
#include <signal.h>
#include <stdlib.h>

#include "meta/sqlite/inside.h"

static struct meta_sqlite *sqlite_of(struct meta *meta)
{
    return CONTAINER_OF(meta, struct meta_sqlite, meta);
}

/* The next batch, in order. Under the mutex. */
static uint32_t batch_take(struct meta_sqlite *sqlite, struct list *batch)
{
    uint32_t count = 0;
    size_t bytes = 0;
    while (count < META_SQLITE_BATCH_MAX && bytes < META_SQLITE_BATCH_BYTES_MAX) {
        struct list *node = list_pop_front(&sqlite->queue);
        if (node == NULL)
            break;
        bytes += LIST_ENTRY(node, struct meta_request, node)->body->bytes;
        list_push_back(batch, node);
        count++;
    }
    return count;
}

/* Executes what waits. Called with the mutex held; it is let go meanwhile. */
static uint32_t step(struct meta_sqlite *sqlite)
{
    struct list batch;
    list_init(&batch);
    uint32_t count = batch_take(sqlite, &batch);
    if (count == 0)
        return 0;
    pthread_mutex_unlock(&sqlite->mutex);
    bool committed = meta_sqlite_batch(&sqlite->file, &batch);
    pthread_mutex_lock(&sqlite->mutex);
    list_splice_back(&sqlite->finished, &batch);
    list_splice_back(&sqlite->events, &sqlite->file.events);
    sqlite->file.event_count = sqlite->file.events_committed = 0;
    sqlite->failed = sqlite->file.failed;
    sqlite->counts.requests += count;
    sqlite->counts.commits += committed;
    return count;
}

static void *worker(void *context)
{
    struct meta_sqlite *sqlite = context;
    pthread_mutex_lock(&sqlite->mutex);
    while (!sqlite->stop) {
        if (step(sqlite) == 0) {
            pthread_cond_wait(&sqlite->work, &sqlite->mutex);
            continue;
        }
        pthread_mutex_unlock(&sqlite->mutex);
        sqlite->wakeup(sqlite->wakeup_context);
        pthread_mutex_lock(&sqlite->mutex);
    }
    pthread_mutex_unlock(&sqlite->mutex);
    return NULL;
}

unsigned meta_sqlite_step(struct meta *meta)
{
    struct meta_sqlite *sqlite = sqlite_of(meta);
    assert(!sqlite->threaded);
    pthread_mutex_lock(&sqlite->mutex);
    uint32_t count = step(sqlite);
    pthread_mutex_unlock(&sqlite->mutex);
    if (count > 0)
        sqlite->wakeup(sqlite->wakeup_context);
    return count;
}

/* Every lease that a transaction names is alive. */
static int leases_alive(struct meta_sqlite *sqlite, const struct meta_body *body)
{
    for (unsigned b = 0; b < COUNT_OF(body->branches); b++)
        for (uint32_t i = 0; i < body->branches[b].count; i++) {
            const struct meta_op *op = &body->branches[b].ops[i];
            if (op->kind != META_PUT || op->lease == 0)
                continue;
            const struct meta_sqlite_lease *lease = meta_sqlite_lease_find(sqlite, op->lease);
            if (lease == NULL || lease->state == LEASE_ENDING)
                return -ENOENT;
        }
    return 0;
}

/* Sets *ret_answered if the file has no part in this. */
static int request_begin(struct meta_sqlite *sqlite, struct meta_request *request,
                         bool *ret_answered)
{
    int result = 0;
    *ret_answered = true;
    if (sqlite->read_only &&
        (request->body->kind != META_TRANSACTION || meta_request_changes(request)))
        return -EROFS;
    switch (request->body->kind) {
    case META_LEASE_GRANT: return meta_sqlite_lease_grant(sqlite, request);
    case META_LEASE_KEEP: return meta_sqlite_lease_keep(sqlite, request);
    case META_LEASE_REVOKE: result = meta_sqlite_lease_revoke(sqlite, request); break;
    case META_TRANSACTION: result = leases_alive(sqlite, request->body); break;
    }
    *ret_answered = result != 0;
    return result;
}

static int sqlite_submit(struct meta *meta, struct meta_request *request)
{
    struct meta_sqlite *sqlite = sqlite_of(meta);
    bool ours = request->done == meta_sqlite_lease_ended; /* Bounded by the leases. */
    if (!ours && meta->flying >= sqlite->queue_max)
        return -EAGAIN;
    bool answered;
    int result = request_begin(sqlite, request, &answered);
    if (answered) {
        request->result = result;
        list_push_back(&sqlite->answered, &request->node);
        sqlite->wakeup(sqlite->wakeup_context);
        return 0;
    }
    pthread_mutex_lock(&sqlite->mutex);
    list_push_back(&sqlite->queue, &request->node);
    pthread_cond_signal(&sqlite->work);
    pthread_mutex_unlock(&sqlite->mutex);
    return 0;
}

/* Tells the requests of a list what became of them; new ones go elsewhere meanwhile. */
static unsigned tell(struct meta_sqlite *sqlite, struct list *requests, bool by_file)
{
    unsigned ran = 0;
    struct list *node;
    while ((node = list_pop_front(requests)) != NULL) {
        struct meta_request *request = LIST_ENTRY(node, struct meta_request, node);
        if (request->body->kind == META_LEASE_REVOKE && by_file)
            meta_sqlite_lease_revoked(sqlite, request, request->result);
        meta_complete(&sqlite->meta, request, request->result);
        ran++;
    }
    return ran;
}

static unsigned sqlite_poll(struct meta *meta)
{
    struct meta_sqlite *sqlite = sqlite_of(meta);
    struct list answered;
    struct list finished;
    struct list events;
    list_init(&answered);
    list_init(&finished);
    list_init(&events);
    list_splice_back(&answered, &sqlite->answered);
    pthread_mutex_lock(&sqlite->mutex);
    list_splice_back(&finished, &sqlite->finished);
    list_splice_back(&events, &sqlite->events);
    bool failed = sqlite->failed;
    pthread_mutex_unlock(&sqlite->mutex);

    meta_history_append(&sqlite->history, &events);
    unsigned ran = meta_history_deliver(&sqlite->history);
    if (failed)
        ran += meta_history_end(&sqlite->history, IOMESH_FAILED);
    ran += tell(sqlite, &answered, false);
    return ran + tell(sqlite, &finished, true);
}

static int sqlite_watch_start(struct meta *meta, struct meta_watch *watch)
{
    struct meta_sqlite *sqlite = sqlite_of(meta);
    meta_history_watch(&sqlite->history, watch);
    sqlite->wakeup(sqlite->wakeup_context);
    return 0;
}

static void sqlite_watch_cancel(struct meta *meta, struct meta_watch *watch)
{
    meta_history_cancel(&sqlite_of(meta)->history, watch);
}

static void sqlite_free(struct meta_sqlite *sqlite)
{
    meta_history_done(&sqlite->history);
    pthread_cond_destroy(&sqlite->work);
    pthread_mutex_destroy(&sqlite->mutex);
    free(sqlite);
}

static void sqlite_close(struct meta *meta)
{
    struct meta_sqlite *sqlite = sqlite_of(meta);
    if (sqlite->threaded) {
        pthread_mutex_lock(&sqlite->mutex);
        sqlite->stop = true;
        pthread_cond_signal(&sqlite->work);
        pthread_mutex_unlock(&sqlite->mutex);
        pthread_join(sqlite->thread, NULL);
    }
    assert(list_empty(&sqlite->queue) && list_empty(&sqlite->finished));
    meta_history_append(&sqlite->history, &sqlite->events);
    meta_sqlite_leases_done(sqlite);
    meta_sqlite_file_close(&sqlite->file);
    sqlite_free(sqlite);
}

static const struct meta_ops sqlite_ops = {
    .submit = sqlite_submit,
    .poll = sqlite_poll,
    .watch_start = sqlite_watch_start,
    .watch_cancel = sqlite_watch_cancel,
    .close = sqlite_close,
};

/* Signals are for the program's own threads. */
static int thread_start(struct meta_sqlite *sqlite)
{
    sigset_t all;
    sigset_t before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int error = pthread_create(&sqlite->thread, NULL, worker, sqlite);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (error != 0)
        return FAIL(-error, "cannot start the metadata's thread: %s", strerror(error));
    sqlite->threaded = true;
    return 0;
}

static struct meta_sqlite *sqlite_new(const struct meta_sqlite_options *options)
{
    struct meta_sqlite *sqlite = calloc(1, sizeof *sqlite);
    if (sqlite == NULL)
        return NULL;
    sqlite->meta.ops = &sqlite_ops;
    sqlite->clock = options->clock;
    sqlite->wakeup = options->wakeup;
    sqlite->wakeup_context = options->wakeup_context;
    sqlite->queue_max = options->queue_max == 0 ? META_SQLITE_QUEUE_MAX : options->queue_max;
    list_init(&sqlite->leases);
    list_init(&sqlite->answered);
    list_init(&sqlite->queue);
    list_init(&sqlite->finished);
    list_init(&sqlite->events);
    meta_history_init(&sqlite->history, 0);
    pthread_mutex_init(&sqlite->mutex, NULL);
    pthread_cond_init(&sqlite->work, NULL);
    return sqlite;
}

static int file_open(struct meta_sqlite_file *file, const struct meta_sqlite_options *options)
{
    if (!options->read_only)
        return meta_sqlite_file_open(file, options->path, options->vfs, options->create);
    int result = meta_sqlite_file_open_unchanged(file, options->path, options->vfs);
    if (result == 0 && (result = meta_sqlite_file_prepare(file, options->path)) != 0)
        meta_sqlite_file_close(file);
    return result;
}

int meta_sqlite_open(const struct meta_sqlite_options *options, struct meta **ret_meta)
{
    assert(options->clock != NULL && options->wakeup != NULL);
    struct meta_sqlite *sqlite = sqlite_new(options);
    if (sqlite == NULL)
        return FAIL(-ENOMEM, "no memory to open the metadata %s", options->path);
    int result = file_open(&sqlite->file, options);
    sqlite->read_only = options->read_only;
    if (result == 0) {
        sqlite->file.checkpoint_pages = options->checkpoint_pages;
        sqlite->history.revision_gone = sqlite->file.revision;
        if (options->threaded)
            result = thread_start(sqlite);
        if (result != 0)
            meta_sqlite_file_close(&sqlite->file);
    }
    if (result != 0) {
        sqlite_free(sqlite);
        return result;
    }
    *ret_meta = &sqlite->meta;
    return 0;
}

const char *meta_sqlite_failure(struct meta *meta)
{
    struct meta_sqlite *sqlite = sqlite_of(meta);
    pthread_mutex_lock(&sqlite->mutex);
    bool failed = sqlite->failed;
    pthread_mutex_unlock(&sqlite->mutex);
    /* Written once, before `failed` was. */
    return failed ? sqlite->file.failure : "";
}

struct meta_sqlite_counts meta_sqlite_counts(struct meta *meta)
{
    struct meta_sqlite *sqlite = sqlite_of(meta);
    pthread_mutex_lock(&sqlite->mutex);
    struct meta_sqlite_counts counts = sqlite->counts;
    pthread_mutex_unlock(&sqlite->mutex);
    return counts;
}
