/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Watches: a stream each, from the revision after the last one that was told as a whole.
 *
 * The worker gathers the events of a revision until the next one begins or etcd says that this was
 * all, and only then moves on: a stream that breaks off within a revision begins again before it.
 */
#include <stdlib.h>

#include "meta/etcd/answer.h"

/* --- The worker's -------------------------------------------------------------------------- */

static void items_free(struct list *items)
{
    struct list *node;
    while ((node = list_pop_front(items)) != NULL)
        free(LIST_ENTRY(node, struct meta_item, node));
}

void etcd_watch_free(struct etcd_watch *watch)
{
    items_free(&watch->ready);
    items_free(&watch->pending);
    free(watch);
}

void etcd_watch_end(struct meta_etcd *etcd, struct etcd_watch *watch, int result)
{
    if (watch->over)
        return;
    watch->over = true;
    etcd->events = true;
    pthread_mutex_lock(&etcd->mutex);
    watch->ended = result;
    pthread_mutex_unlock(&etcd->mutex);
}

void etcd_watch_restart(struct etcd_watch *watch)
{
    items_free(&watch->pending);
    watch->pending_bytes = 0;
    watch->pending_revision = 0;
}

/* What is pending is a whole revision: now it may be told. */
static void publish(struct meta_etcd *etcd, struct etcd_watch *watch)
{
    if (list_empty(&watch->pending))
        return;
    LIST_ENTRY(watch->pending.previous, struct meta_item, node)->event.last = true;
    watch->next = watch->pending_revision + 1;
    pthread_mutex_lock(&etcd->mutex);
    list_splice_back(&watch->ready, &watch->pending);
    watch->ready_bytes += watch->pending_bytes;
    bool too_much = watch->ready_bytes > META_ETCD_WATCH_BYTES_MAX;
    pthread_mutex_unlock(&etcd->mutex);
    watch->pending_bytes = 0;
    watch->denied = false;
    etcd->events = true;
    if (too_much)
        etcd_watch_end(etcd, watch, IOMESH_COMPACTED);
}

/* The revision at which the key was modified before. False: etcd has forgotten it. */
static bool previous_of(const Etcd__Event *event, uint64_t *ret_revision)
{
    const Etcd__Pair *now = event->kv;
    if (event->prev_kv != NULL && event->prev_kv->mod_revision > 0)
        *ret_revision = (uint64_t)event->prev_kv->mod_revision;
    else if (event->type == 0 && now->create_revision == now->mod_revision)
        *ret_revision = 0;
    else if (event->type == 0 && now->version == 2)
        *ret_revision = (uint64_t)now->create_revision;
    else
        return false;
    return true;
}

/* 0; IOMESH_COMPACTED; -EPROTO: it is none that we asked for; -ENOMEM. */
static int take_event(struct meta_etcd *etcd, struct etcd_watch *watch, const Etcd__Event *event)
{
    struct meta_event told = {.kind = event->type == 0 ? META_EVENT_PUT : META_EVENT_DELETE};
    const Etcd__Pair *pair = event->kv;
    struct meta_slice prefix = {.data = watch->prefix, .length = watch->prefix_length};
    if (pair == NULL || (event->type != 0 && event->type != 1) || pair->mod_revision <= 0 ||
        !etcd_key(etcd, pair->key, &told.entry.key) || !meta_slice_begins(told.entry.key, prefix))
        return -EPROTO;
    told.revision = (uint64_t)pair->mod_revision;
    if (told.revision < watch->next)
        return -EPROTO;
    if (watch->pending_revision != told.revision) {
        if (told.revision < watch->pending_revision)
            return -EPROTO;
        publish(etcd, watch);
        watch->pending_revision = told.revision;
    }
    if (!previous_of(event, &told.previous_revision))
        return IOMESH_COMPACTED;
    if (told.kind == META_EVENT_PUT) {
        told.entry.value = (struct meta_slice){.data = pair->value.data, .length = pair->value.len};
        told.entry.created_revision = (uint64_t)pair->create_revision;
        told.entry.modified_revision = told.revision;
        told.entry.lease = (uint64_t)pair->lease;
    }
    struct meta_item *item = meta_item_new(&told);
    if (item == NULL)
        return -ENOMEM;
    watch->pending_bytes += item->bytes;
    list_push_back(&watch->pending, &item->node);
    return watch->pending_bytes > META_ETCD_WATCH_BYTES_MAX ? IOMESH_COMPACTED : 0;
}

/* It ends, and not because the stream broke off. */
static void stop(struct etcd_link *link, struct etcd_watch *watch, int result)
{
    struct etcd_call *call = &watch->call;
    grpc_cancel(call->stream);
    list_remove(&call->node);
    link->call_count--;
    call->link = NULL;
    etcd_watch_restart(watch);
    etcd_watch_end(link->etcd, watch, result);
}

/* etcd ended it with a word; the stream itself may stay. */
static void cancelled(struct etcd_link *link, struct etcd_watch *watch,
                      const Etcd__WatchResponse *answer)
{
    if (answer->compact_revision > 0) {
        stop(link, watch, IOMESH_COMPACTED);
        return;
    }
    bool again = !watch->denied;
    watch->denied = true;
    if (!again) {
        etcd_trouble(link->etcd, link->name, answer->cancel_reason);
        stop(link, watch, IOMESH_FAILED);
        return;
    }
    /* As when the token is old: with a new one, over a new connection. */
    link->etcd->token[0] = '\0';
    etcd_link_retire(link, "it cancelled a watch");
}

static void take_answer(struct etcd_link *link, struct etcd_watch *watch,
                        const Etcd__WatchResponse *answer)
{
    struct meta_etcd *etcd = link->etcd;
    int result = 0;
    if (answer->header == NULL || answer->header->cluster_id != etcd->cluster) {
        etcd_link_kill(link, "it tells of another cluster");
        return;
    }
    if (answer->canceled) {
        cancelled(link, watch, answer);
        return;
    }
    for (size_t i = 0; i < answer->n_events && result == 0 && !watch->over; i++)
        result = take_event(etcd, watch, answer->events[i]);
    if (result == IOMESH_COMPACTED || (watch->over && watch->call.link != NULL)) {
        stop(link, watch, result);
        return;
    }
    if (result != 0) {
        etcd_link_kill(link, result == -ENOMEM ? "no memory for an event" : "it tells nonsense");
        return;
    }
    if (answer->fragment)
        return;
    publish(etcd, watch);
    if (answer->created)
        watch->denied = false;
    /* Nothing of ours up to here. */
    if (answer->n_events == 0 && !answer->created && answer->header->revision > 0)
        watch->next = MAX(watch->next, (uint64_t)answer->header->revision + 1);
    if (watch->over)
        stop(link, watch, IOMESH_COMPACTED);
}

void etcd_watch_message(struct etcd_watch *watch, struct etcd_link *link, const void *data,
                        uint32_t length)
{
    ProtobufCMessage *message = etcd_unpack(&etcd__watch_response__descriptor, data, length);
    if (message == NULL)
        etcd_link_kill(link, "it tells nonsense");
    else if (!link->dead && !link->retired)
        take_answer(link, watch, (const void *)message);
    etcd_unpacked_free(message);
}

/* --- The engine's -------------------------------------------------------------------------- */

static struct meta_etcd *etcd_of(struct meta *meta)
{
    return CONTAINER_OF(meta, struct meta_etcd, meta);
}

int etcd_watch_start(struct meta *meta, struct meta_watch *from)
{
    struct meta_etcd *etcd = etcd_of(meta);
    struct etcd_watch *watch = calloc(1, sizeof *watch);
    if (watch == NULL)
        return FAIL(-ENOMEM, "no memory for a watch");
    watch->watch = from;
    list_init(&watch->ready);
    list_init(&watch->pending);
    watch->call = (struct etcd_call){.kind = CALL_WATCH, .watch = watch};
    list_init(&watch->call.node);
    watch->prefix_length = from->prefix_length;
    memcpy(watch->prefix, from->prefix, from->prefix_length);
    /* What becomes known after this call is what comes after all that is known now. */
    watch->next = from->from;
    if (watch->next == 0 && etcd->revision_known > 0)
        watch->next = etcd->revision_known + 1;
    from->active = true;
    list_push_back(&etcd->watches, &watch->node);
    pthread_mutex_lock(&etcd->mutex);
    list_push_back(&etcd->submitted, &watch->call.node);
    pthread_mutex_unlock(&etcd->mutex);
    etcd_ring(etcd);
    return 0;
}

/* Nobody listens any more: the worker ends it. */
static void drop(struct meta_etcd *etcd, struct etcd_watch *watch)
{
    list_remove(&watch->node);
    pthread_mutex_lock(&etcd->mutex);
    list_push_back(&etcd->dropped, &watch->node);
    pthread_mutex_unlock(&etcd->mutex);
    etcd_ring(etcd);
}

void etcd_watch_cancel(struct meta *meta, struct meta_watch *from)
{
    struct meta_etcd *etcd = etcd_of(meta);
    from->active = false;
    LIST_EACH (&etcd->watches, node) {
        struct etcd_watch *watch = LIST_ENTRY(node, struct etcd_watch, node);
        if (watch->watch != from)
            continue;
        watch->watch = NULL;
        if (watch != etcd->delivering)
            drop(etcd, watch);
        return;
    }
    assert(false);
}

static unsigned deliver_one(struct meta_etcd *etcd, struct etcd_watch *watch)
{
    unsigned ran = 0;
    struct list items;
    struct list *node;
    list_init(&items);
    pthread_mutex_lock(&etcd->mutex);
    list_splice_back(&items, &watch->ready);
    watch->ready_bytes = 0;
    int ended = watch->ended;
    pthread_mutex_unlock(&etcd->mutex);
    etcd->delivering = watch;
    while ((node = list_pop_front(&items)) != NULL) {
        struct meta_item *item = LIST_ENTRY(node, struct meta_item, node);
        if (watch->watch != NULL) {
            etcd->revision_known = MAX(etcd->revision_known, item->event.revision);
            watch->watch->event(watch->watch, &item->event);
            ran++;
        }
        free(item);
    }
    if (watch->watch != NULL && ended != 0) {
        struct meta_watch *told = watch->watch;
        watch->watch = NULL;
        told->active = false;
        told->ended(told, ended);
        ran++;
    }
    etcd->delivering = NULL;
    if (watch->watch == NULL)
        drop(etcd, watch);
    return ran;
}

unsigned etcd_watch_deliver(struct meta_etcd *etcd)
{
    unsigned ran = 0;
    size_t count = 0;
    struct list *node;
    LIST_EACH (&etcd->watches, each)
        count++;
    /* Callbacks may begin and end any of them. */
    for (; count > 0 && (node = list_pop_front(&etcd->watches)) != NULL; count--) {
        list_push_back(&etcd->watches, node);
        ran += deliver_one(etcd, LIST_ENTRY(node, struct etcd_watch, node));
    }
    return ran;
}
