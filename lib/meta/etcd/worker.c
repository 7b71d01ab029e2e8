/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The thread that talks to etcd, and what goes between it and the engine's.
 *
 *   submit ──▶ submitted ──▶ waiting ──▶ a connection ──▶ done ──▶ finished ──▶ wakeup ──▶ poll
 */
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "meta/etcd/inside.h"

uint64_t etcd_now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_BOOTTIME, &now);
    return (uint64_t)now.tv_sec * NS_PER_S + (uint64_t)now.tv_nsec;
}

void etcd_ring(struct meta_etcd *etcd)
{
    uint64_t one = 1;
    ssize_t written = write(etcd->bell, &one, sizeof one);
    (void)written; /* Full: it rings already. */
}

void etcd_trouble(struct meta_etcd *etcd, const char *who, const char *word)
{
    pthread_mutex_lock(&etcd->mutex);
    (void)snprintf(etcd->state.trouble, sizeof etcd->state.trouble, "etcd at %.80s: %.160s", who,
                   word);
    pthread_mutex_unlock(&etcd->mutex);
}

/* --- The worker ---------------------------------------------------------------------------- */

/* Forgets a watch that nobody listens to. */
static void watch_drop(struct etcd_watch *watch)
{
    struct etcd_call *call = &watch->call;
    list_remove(&watch->node);
    list_remove(&call->node); /* From wherever it waits. */
    if (call->link != NULL) {
        grpc_cancel(call->stream);
        call->link->call_count--;
    }
    etcd_watch_free(watch);
}

/* Whoever waits does so no longer than that. */
static void hurry(struct list *calls, uint64_t until_ns)
{
    LIST_EACH (calls, node) {
        struct etcd_call *call = LIST_ENTRY(node, struct etcd_call, node);
        call->deadline_ns = MIN(call->deadline_ns, until_ns);
    }
}

static void hurry_all(struct meta_etcd *etcd, uint64_t until_ns)
{
    hurry(&etcd->waiting, until_ns);
    LIST_EACH (&etcd->links, node)
        hurry(&LIST_ENTRY(node, struct etcd_link, node)->calls, until_ns);
    etcd->expire_ns = MIN(etcd->expire_ns, until_ns);
}

/* Takes what the engine gave. False: it is over. */
static bool take_over(struct meta_etcd *etcd)
{
    struct list submitted;
    struct list dropped;
    struct list *node;
    list_init(&submitted);
    list_init(&dropped);
    pthread_mutex_lock(&etcd->mutex);
    list_splice_back(&submitted, &etcd->submitted);
    list_splice_back(&dropped, &etcd->dropped);
    bool stop = etcd->stop;
    uint64_t hurry_ns = etcd->hurry_ns;
    pthread_mutex_unlock(&etcd->mutex);
    LIST_EACH (&submitted, each) {
        const struct etcd_call *call = LIST_ENTRY(each, struct etcd_call, node);
        if (call->kind == CALL_REQUEST)
            etcd->expire_ns = MIN(etcd->expire_ns, call->deadline_ns);
    }
    list_splice_back(&etcd->waiting, &submitted);
    if (hurry_ns != 0)
        hurry_all(etcd, hurry_ns);
    while ((node = list_first(&dropped)) != NULL)
        watch_drop(LIST_ENTRY(node, struct etcd_watch, node));
    return !stop;
}

/* Gives the engine what is done. */
static void hand_over(struct meta_etcd *etcd)
{
    bool any = etcd->events || !list_empty(&etcd->done);
    etcd->events = false;
    if (!any)
        return;
    pthread_mutex_lock(&etcd->mutex);
    etcd->state.repeated = etcd->repeated;
    etcd->state.unknown = etcd->unknown;
    list_splice_back(&etcd->finished, &etcd->done);
    pthread_mutex_unlock(&etcd->mutex);
    etcd->wakeup(etcd->wakeup_context);
}

/* The next member's turn, at once until all had theirs, then after a pause. */
static void failed(struct meta_etcd *etcd, const struct etcd_link *link, uint64_t now)
{
    if (link->state >= LINK_UP && now >= link->since_ns + NS_PER_S)
        etcd->failures = 0; /* It did some work. */
    uint32_t rounds = ++etcd->failures / etcd->place.endpoint_count;
    uint64_t pause_ns = 0;
    if (rounds > 0)
        pause_ns = ETCD_PAUSE_NS_MIN << MIN(rounds - 1, 5);
    pause_ns = MIN(pause_ns, ETCD_PAUSE_NS_MAX);
    if (pause_ns > 0)
        pause_ns = pause_ns / 2 + prng_below(&etcd->prng, pause_ns / 2 + 1);
    etcd->connect_ns = now + pause_ns;
}

static void link_leave(struct meta_etcd *etcd, struct etcd_link *link, uint64_t now)
{
    if (link->state == LINK_LEAVING)
        return;
    etcd_trouble(etcd, link->name, link->word);
    failed(etcd, link, now);
    link->state = LINK_LEAVING;
    if (etcd->current == link)
        etcd->current = NULL;
    etcd_calls_take_back(link);
}

/* Connections that are no more of use, and how many are left. */
static uint32_t links_sweep(struct meta_etcd *etcd, uint64_t now)
{
    uint32_t count = 0;
    LIST_EACH_SAFE (&etcd->links, node, after) {
        struct etcd_link *link = LIST_ENTRY(node, struct etcd_link, node);
        if (link->retired && link->state < LINK_UP)
            link->dead = true; /* Before it was of any use. */
        if (link->retired && !link->dead)
            link_leave(etcd, link, now);
        if (link->state == LINK_LEAVING && list_empty(&link->calls))
            etcd_link_kill(link, "left");
        if (!link->dead) {
            count++;
            continue;
        }
        if (link->state != LINK_LEAVING && !link->spare) {
            etcd_trouble(etcd, link->name, link->word);
            failed(etcd, link, now);
        }
        etcd_link_close(link);
    }
    return count;
}

/* --- Several at once ------------------------------------------------------------------------
 *
 * A member that does not answer at once may be dead or only slow: the next is tried beside it, and
 * the first that is up is taken.
 */

/* The first that is up is the current one; the others are not needed. */
static void links_choose(struct meta_etcd *etcd)
{
    struct etcd_link *up = etcd->current;
    if (up != NULL && (up->state != LINK_UP || up->dead || up->retired))
        up = NULL;
    LIST_EACH (&etcd->links, node) {
        struct etcd_link *link = LIST_ENTRY(node, struct etcd_link, node);
        if (up == NULL && link->state == LINK_UP && !link->dead && !link->retired)
            up = link;
    }
    if (up == NULL)
        return;
    etcd->current = up;
    LIST_EACH (&etcd->links, node) {
        struct etcd_link *link = LIST_ENTRY(node, struct etcd_link, node);
        if (link == up || link->state > LINK_UP || link->dead || link->retired)
            continue;
        link->spare = true;
        etcd_link_kill(link, "another was there sooner");
    }
}

/* When the next is tried beside those that are being made; UINT64_MAX: not. */
static uint64_t race_at(const struct meta_etcd *etcd)
{
    const struct etcd_link *current = etcd->current;
    uint32_t making = 0;
    uint32_t all = 0;
    if (current == NULL || current->state >= LINK_UP || current->dead || current->retired)
        return UINT64_MAX;
    LIST_EACH (&etcd->links, node) {
        making += LIST_ENTRY(node, const struct etcd_link, node)->state < LINK_UP;
        all++;
    }
    if (making >= etcd->place.endpoint_count || all >= ETCD_LINKS_MAX)
        return UINT64_MAX;
    return current->begun_ns + ETCD_RACE_NS;
}

static void links_tend(struct meta_etcd *etcd, uint64_t now)
{
    links_choose(etcd);
    uint32_t count = links_sweep(etcd, now);
    bool alone = etcd->current == NULL && now >= etcd->connect_ns;
    if (alone || now >= race_at(etcd)) {
        if (count >= ETCD_LINKS_MAX) {
            etcd_link_kill(LIST_ENTRY(list_first(&etcd->links), struct etcd_link, node),
                           "left, and it never answered");
            links_sweep(etcd, now);
        }
        etcd_link_begin(etcd);
        pthread_mutex_lock(&etcd->mutex);
        etcd->state.connections++;
        pthread_mutex_unlock(&etcd->mutex);
    }
    const struct etcd_link *current = etcd->current;
    pthread_mutex_lock(&etcd->mutex);
    etcd->state.connected = current != NULL && current->state == LINK_UP;
    if (current != NULL)
        (void)snprintf(etcd->state.endpoint, sizeof etcd->state.endpoint, "%s", current->name);
    pthread_mutex_unlock(&etcd->mutex);
}

/* When to wake though nothing came. */
static uint64_t due(struct meta_etcd *etcd, uint64_t now)
{
    uint64_t at = etcd->expire_ns;
    bool up = etcd->current != NULL && etcd->current->state == LINK_UP;
    if (etcd->current == NULL)
        at = MIN(at, etcd->connect_ns);
    at = MIN(at, race_at(etcd));
    LIST_EACH (&etcd->links, node) {
        struct etcd_link *link = LIST_ENTRY(node, struct etcd_link, node);
        if (!link->dead)
            at = MIN(at, etcd_link_tick(link, now));
        if (link->dead)
            at = now;
    }
    LIST_EACH (&etcd->waiting, node) {
        const struct etcd_call *call = LIST_ENTRY(node, struct etcd_call, node);
        if (up && call->again_ns > now)
            at = MIN(at, call->again_ns);
    }
    return at;
}

static int poll_ms(uint64_t at, uint64_t now)
{
    if (at <= now)
        return 0;
    return (int)MIN(DIV_CEIL(at - now, NS_PER_MS), 60000);
}

/* Waits for something, and moves bytes. */
static void turn(struct meta_etcd *etcd, int timeout_ms)
{
    struct pollfd fds[ETCD_LINKS_MAX + 2] = {{.fd = etcd->bell, .events = POLLIN}};
    struct etcd_link *links[ETCD_LINKS_MAX + 2] = {0};
    nfds_t count = 1;
    uint64_t rings;
    LIST_EACH (&etcd->links, node) {
        struct etcd_link *link = LIST_ENTRY(node, struct etcd_link, node);
        if (link->dead || link->fd < 0 || count == COUNT_OF(fds))
            continue;
        links[count] = link;
        fds[count++] = (struct pollfd){.fd = link->fd, .events = etcd_link_events(link)};
    }
    if (poll(fds, count, timeout_ms) < 0)
        return;
    if (fds[0].revents != 0) {
        ssize_t got = read(etcd->bell, &rings, sizeof rings);
        (void)got;
    }
    for (nfds_t i = 1; i < count; i++)
        etcd_link_io(links[i], fds[i].revents);
}

static void *worker(void *context)
{
    struct meta_etcd *etcd = context;
    while (take_over(etcd)) {
        uint64_t now = etcd_now_ns();
        links_tend(etcd, now);
        etcd_calls_send(etcd, now);
        etcd_calls_expire(etcd, now);
        uint64_t at = due(etcd, now);
        LIST_EACH (&etcd->links, node)
            etcd_link_flush(LIST_ENTRY(node, struct etcd_link, node));
        LIST_EACH (&etcd->links, node) {
            const struct etcd_link *link = LIST_ENTRY(node, struct etcd_link, node);
            if (link->dead || (link->retired && link->state != LINK_LEAVING))
                at = now;
        }
        hand_over(etcd);
        turn(etcd, poll_ms(at, now));
    }
    return NULL;
}

/* --- The engine's -------------------------------------------------------------------------- */

static struct meta_etcd *etcd_of(struct meta *meta)
{
    return CONTAINER_OF(meta, struct meta_etcd, meta);
}

static int etcd_submit(struct meta *meta, struct meta_request *request)
{
    struct meta_etcd *etcd = etcd_of(meta);
    if (meta->flying >= etcd->queue_max)
        return -EAGAIN;
    int result = etcd_check(etcd, request);
    if (result != 0)
        return result;
    struct etcd_call *call = calloc(1, sizeof *call);
    if (call == NULL)
        return FAIL(-ENOMEM, "no memory for a request");
    call->kind = CALL_REQUEST;
    call->request = request;
    call->once = request->body->kind == META_TRANSACTION && meta_request_changes(request);
    call->deadline_ns = etcd_now_ns() + etcd->wait_ns;
    pthread_mutex_lock(&etcd->mutex);
    list_push_back(&etcd->submitted, &call->node);
    pthread_mutex_unlock(&etcd->mutex);
    etcd_ring(etcd);
    return 0;
}

static unsigned etcd_poll(struct meta *meta)
{
    struct meta_etcd *etcd = etcd_of(meta);
    struct list finished;
    struct list *node;
    list_init(&finished);
    pthread_mutex_lock(&etcd->mutex);
    list_splice_back(&finished, &etcd->finished);
    pthread_mutex_unlock(&etcd->mutex);
    unsigned ran = etcd_watch_deliver(etcd);
    while ((node = list_pop_front(&finished)) != NULL) {
        struct etcd_call *call = LIST_ENTRY(node, struct etcd_call, node);
        struct meta_request *request = call->request;
        free(call);
        if (request->result == 0)
            etcd->revision_known = MAX(etcd->revision_known, request->revision);
        meta_complete(meta, request, request->result);
        ran++;
    }
    return ran;
}

static void etcd_free(struct meta_etcd *etcd)
{
    if (etcd->bell >= 0)
        close(etcd->bell);
    SSL_CTX_free(etcd->tls);
    OPENSSL_cleanse(etcd->password, sizeof etcd->password);
    OPENSSL_cleanse(etcd->token, sizeof etcd->token);
    pthread_mutex_destroy(&etcd->mutex);
    free(etcd);
}

static void etcd_close(struct meta *meta)
{
    struct meta_etcd *etcd = etcd_of(meta);
    struct list *node;
    pthread_mutex_lock(&etcd->mutex);
    etcd->stop = true;
    pthread_mutex_unlock(&etcd->mutex);
    etcd_ring(etcd);
    pthread_join(etcd->thread, NULL);
    (void)take_over(etcd); /* Watches that were dropped last. */
    assert(list_empty(&etcd->watches) && list_empty(&etcd->finished));
    while ((node = list_first(&etcd->links)) != NULL) {
        struct etcd_link *link = LIST_ENTRY(node, struct etcd_link, node);
        etcd_link_kill(link, "closed");
        etcd_link_close(link);
    }
    etcd_free(etcd);
}

static const struct meta_ops etcd_ops = {
    .submit = etcd_submit,
    .poll = etcd_poll,
    .watch_start = etcd_watch_start,
    .watch_cancel = etcd_watch_cancel,
    .close = etcd_close,
};

void meta_etcd_hurry(struct meta *meta, uint64_t wait_ns)
{
    struct meta_etcd *etcd = etcd_of(meta);
    pthread_mutex_lock(&etcd->mutex);
    etcd->hurry_ns = etcd_now_ns() + wait_ns;
    pthread_mutex_unlock(&etcd->mutex);
    etcd_ring(etcd);
}

void meta_etcd_state(struct meta *meta, struct meta_etcd_state *ret_state)
{
    struct meta_etcd *etcd = etcd_of(meta);
    pthread_mutex_lock(&etcd->mutex);
    *ret_state = etcd->state;
    pthread_mutex_unlock(&etcd->mutex);
}

/* --- Opening ------------------------------------------------------------------------------- */

static int read_password(struct meta_etcd *etcd)
{
    const char *path = etcd->place.password_file;
    if (path[0] == '\0')
        return 0;
    FILE *file = fopen(path, "re");
    if (file == NULL)
        return FAIL(-EINVAL, "%s: %s", path, strerror(errno));
    char *line = fgets(etcd->password, sizeof etcd->password, file);
    (void)fclose(file);
    if (line == NULL)
        return FAIL(-EINVAL, "%s: there is no password in it", path);
    line[strcspn(line, "\r\n")] = '\0';
    return 0;
}

static int prepare(struct meta_etcd *etcd, const struct meta_etcd_options *options)
{
    int result = meta_etcd_place_parse(options->url, &etcd->place);
    if (result == 0)
        result = read_password(etcd);
    if (result == 0)
        result = etcd_tls_open(&etcd->place, &etcd->tls);
    if (result != 0)
        return result;
    (void)snprintf(etcd->root, sizeof etcd->root, "%s/", etcd->place.pool);
    etcd->root_length = strlen(etcd->root);
    etcd->wait_ns = options->wait_ns != 0 ? options->wait_ns : etcd->place.wait_ns;
    etcd->prng.state = options->seed;
    etcd->endpoint_next = (uint32_t)prng_below(&etcd->prng, etcd->place.endpoint_count);
    etcd->bell = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    return etcd->bell >= 0 ? 0 : FAIL(-errno, "no eventfd: %s", strerror(errno));
}

/* Signals are for the program's own threads. */
static int thread_start(struct meta_etcd *etcd)
{
    sigset_t all;
    sigset_t before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int error = pthread_create(&etcd->thread, NULL, worker, etcd);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return error == 0 ? 0 : FAIL(-error, "cannot start the metadata's thread: %s", strerror(error));
}

int meta_etcd_open(const struct meta_etcd_options *options, struct meta **ret_meta)
{
    assert(options->wakeup != NULL);
    struct meta_etcd *etcd = calloc(1, sizeof *etcd);
    if (etcd == NULL)
        return FAIL(-ENOMEM, "no memory to open %s", options->url);
    etcd->meta.ops = &etcd_ops;
    etcd->wakeup = options->wakeup;
    etcd->wakeup_context = options->wakeup_context;
    etcd->queue_max = options->queue_max != 0 ? options->queue_max : META_ETCD_QUEUE_MAX;
    etcd->answer_ns = options->answer_ns != 0 ? options->answer_ns : META_ETCD_ANSWER_NS;
    etcd->silence_ns = options->silence_ns != 0 ? options->silence_ns : META_ETCD_SILENCE_NS;
    etcd->stale = options->stale;
    etcd->expire_ns = UINT64_MAX;
    etcd->bell = -1;
    list_init(&etcd->watches);
    list_init(&etcd->submitted);
    list_init(&etcd->finished);
    list_init(&etcd->dropped);
    list_init(&etcd->waiting);
    list_init(&etcd->done);
    list_init(&etcd->links);
    pthread_mutex_init(&etcd->mutex, NULL);
    int result = prepare(etcd, options);
    if (result == 0)
        result = thread_start(etcd);
    if (result != 0) {
        etcd_free(etcd);
        return result;
    }
    *ret_meta = &etcd->meta;
    return 0;
}
