/* SPDX-License-Identifier: Apache-2.0 */
#include "sim/net.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sim/flow.h"

#define CONNECT_RETRY_NS (10 * NS_PER_MS)

struct sim_listener {
    struct net_listener net;
    struct sim_host *host;
    struct list node; /* In net->listeners. */
    char address[NET_ADDRESS_BYTES];
    struct net_options options;
    net_connected_fn *accept;
    void *context;
    struct world_event event; /* Its end. */
    bool closing;
};

struct sim_attempt {
    struct net_attempt net;
    struct sim_host *host;
    char address[NET_ADDRESS_BYTES];
    struct net_options options;
    net_connected_fn *connected;
    void *context;
    uint64_t begin_ns;
    bool canceled;
    struct world_event event;
};

/* A stream on its way to the listener's callback. */
struct sim_arrival {
    struct sim_flow *flow;
    struct sim_listener *listener;
    struct world_event event;
};

static struct sim_host *host_of(struct net *net)
{
    return CONTAINER_OF(net, struct sim_host, net);
}

/* --- Listening ----------------------------------------------------------------------------- */

static struct sim_listener *listener_find(const struct sim_net *net, const char *address)
{
    LIST_EACH (&net->listeners, node) {
        struct sim_listener *listener = LIST_ENTRY(node, struct sim_listener, node);
        if (!listener->closing && strcmp(listener->address, address) == 0)
            return listener;
    }
    return NULL;
}

static void listener_end(struct world_event *event)
{
    struct sim_listener *listener = CONTAINER_OF(event, struct sim_listener, event);
    net_connected_fn *accept = listener->accept;
    void *context = listener->context;
    list_remove(&listener->node);
    free(listener);
    accept(context, -ECANCELED, NULL);
}

static int sim_listen(struct net *net, const char *address, const struct net_options *options,
                      net_connected_fn *accept, void *context, struct net_listener **ret_listener)
{
    struct sim_host *host = host_of(net);
    size_t length = strlen(host->name);
    if (strncmp(address, host->name, length) != 0 || address[length] != ':')
        return -EADDRNOTAVAIL;
    if (listener_find(host->owner, address) != NULL)
        return -EADDRINUSE;
    struct sim_listener *listener = calloc(1, sizeof *listener);
    if (listener == NULL)
        abort();
    listener->net.net = net;
    listener->host = host;
    if (options != NULL)
        listener->options = *options;
    (void)snprintf(listener->address, sizeof listener->address, "%s", address);
    listener->accept = accept;
    listener->context = context;
    listener->event.fire = listener_end;
    list_push_back(&host->owner->listeners, &listener->node);
    *ret_listener = &listener->net;
    return 0;
}

static const char *sim_listener_address(const struct net_listener *net)
{
    return ((const struct sim_listener *)(const void *)net)->address;
}

/* Behind every arrival that it still takes. */
static void sim_listener_close(struct net_listener *net)
{
    struct sim_listener *listener = CONTAINER_OF(net, struct sim_listener, net);
    listener->closing = true;
    world_at(listener->host->owner->world, &listener->event, NS_PER_MS);
}

/* --- Connecting ---------------------------------------------------------------------------- */

static void arrival_end(struct world_event *event)
{
    struct sim_arrival *arrival = CONTAINER_OF(event, struct sim_arrival, event);
    struct sim_flow *flow = arrival->flow;
    struct sim_listener *listener = arrival->listener;
    free(arrival);
    listener->accept(listener->context, 0, &flow->ends[1].net);
    flow->events--;
    flow_check(flow);
}

static void attempt_end(struct sim_attempt *attempt, int result, struct net_stream *stream)
{
    net_connected_fn *connected = attempt->connected;
    void *context = attempt->context;
    free(attempt);
    connected(context, result, stream);
}

static void attempt_succeed(struct sim_attempt *attempt, struct sim_listener *listener)
{
    struct sim_net *net = attempt->host->owner;
    struct sim_flow *flow =
        flow_open(attempt->host, listener->host, &attempt->options, &listener->options);
    struct sim_arrival *arrival = calloc(1, sizeof *arrival);
    if (arrival == NULL)
        abort();
    *arrival = (struct sim_arrival){.flow = flow, .listener = listener, .event.fire = arrival_end};
    flow->events++;
    world_at(net->world, &arrival->event, prng_below(&net->latency, 50000));
    attempt_end(attempt, 0, &flow->ends[0].net);
}

static void attempt_run(struct world_event *event)
{
    struct sim_attempt *attempt = CONTAINER_OF(event, struct sim_attempt, event);
    struct sim_net *net = attempt->host->owner;
    uint64_t waited_ns = net->world->now_ns - attempt->begin_ns;
    struct sim_listener *listener = listener_find(net, attempt->address);
    const struct sim_host *to = listener != NULL ? listener->host : NULL;
    unsigned from = attempt->host->index;
    bool held =
        attempt->host->paused ||
        (to != NULL && (to->paused || net->cut[from][to->index] || net->cut[to->index][from]));
    if (attempt->canceled) {
        attempt_end(attempt, -ECANCELED, NULL);
    } else if (held && waited_ns < net->faults.connect_ns_max) {
        world_at(net->world, event, CONNECT_RETRY_NS + prng_below(&net->latency, NS_PER_MS));
    } else if (held) {
        attempt_end(attempt, -ETIMEDOUT, NULL);
    } else if (listener == NULL || prng_one_in(&net->chance, net->faults.refuse_one_in)) {
        net->counts.refused++;
        attempt_end(attempt, -ECONNREFUSED, NULL);
    } else {
        attempt_succeed(attempt, listener);
    }
}

static int sim_connect(struct net *net, const char *address, const struct net_options *options,
                       net_connected_fn *connected, void *context, struct net_attempt **ret_attempt)
{
    struct sim_host *host = host_of(net);
    struct sim_attempt *attempt = calloc(1, sizeof *attempt);
    if (attempt == NULL)
        abort();
    attempt->net.net = net;
    attempt->host = host;
    (void)snprintf(attempt->address, sizeof attempt->address, "%s", address);
    if (options != NULL)
        attempt->options = *options;
    attempt->connected = connected;
    attempt->context = context;
    attempt->begin_ns = host->owner->world->now_ns;
    attempt->event.fire = attempt_run;
    const struct sim_net_faults *faults = &host->owner->faults;
    world_at(host->owner->world, &attempt->event,
             1 + faults->delay_ns_min +
                 prng_below(&host->owner->latency, faults->delay_ns_max + 1));
    *ret_attempt = &attempt->net;
    return 0;
}

static void sim_attempt_cancel(struct net_attempt *net)
{
    CONTAINER_OF(net, struct sim_attempt, net)->canceled = true;
}

static const struct net_ops sim_net_ops = {
    .listen = sim_listen,
    .listener_address = sim_listener_address,
    .listener_close = sim_listener_close,
    .connect = sim_connect,
    .attempt_cancel = sim_attempt_cancel,
};

/* --- The net ------------------------------------------------------------------------------- */

static const struct sim_net_faults no_faults = {
    .delay_ns_min = 10000,
    .delay_ns_max = 50000,
    .window_min = 64u << 10,
    .window_max = 256u << 10,
    .lost_ns = 200 * NS_PER_MS,
    .give_up_ns = 15 * NS_PER_S,
    .connect_ns_max = 20 * NS_PER_S,
};

struct sim_net *sim_net_open(struct world *world)
{
    struct sim_net *net = calloc(1, sizeof *net);
    if (net == NULL)
        abort();
    net->world = world;
    net->latency = prng_fork(&world->prng);
    net->chance = prng_fork(&world->prng);
    net->faults = no_faults;
    list_init(&net->listeners);
    list_init(&net->flows);
    return net;
}

void sim_net_close(struct sim_net *net)
{
    assert(list_empty(&net->listeners));
    LIST_EACH_SAFE (&net->flows, node, after)
        flow_free(LIST_ENTRY(node, struct sim_flow, node));
    for (unsigned i = 0; i < SIM_OLD_SENDS; i++)
        free(net->old[i].bytes);
    free(net);
}

void sim_net_calm(struct sim_net *net)
{
    net->faults = no_faults;
    for (unsigned i = 0; i < net->host_count; i++) {
        net->hosts[i].paused = false;
        for (unsigned j = 0; j < net->host_count; j++)
            net->cut[i][j] = false;
    }
    LIST_EACH (&net->flows, node)
        flow_wake(LIST_ENTRY(node, struct sim_flow, node));
}

struct sim_host *sim_host_open(struct sim_net *net, const char *name)
{
    assert(net->host_count < SIM_HOSTS_MAX);
    struct sim_host *host = &net->hosts[net->host_count];
    *host = (struct sim_host){.net.ops = &sim_net_ops, .owner = net, .index = net->host_count++};
    (void)snprintf(host->name, sizeof host->name, "%s", name);
    return host;
}

void sim_net_cut(struct sim_net *net, const struct sim_host *from, const struct sim_host *to,
                 bool cut)
{
    net->cut[from->index][to->index] = cut;
    if (cut)
        return;
    LIST_EACH (&net->flows, node)
        flow_wake(LIST_ENTRY(node, struct sim_flow, node));
}

void sim_host_pause(struct sim_host *host, bool paused)
{
    host->paused = paused;
    if (paused)
        return;
    LIST_EACH (&host->owner->flows, node)
        flow_wake(LIST_ENTRY(node, struct sim_flow, node));
}

void sim_net_reset(struct sim_net *net, const struct sim_host *one, const struct sim_host *other)
{
    LIST_EACH (&net->flows, node) {
        struct sim_flow *flow = LIST_ENTRY(node, struct sim_flow, node);
        const struct sim_host *a = flow->ends[0].host, *b = flow->ends[1].host;
        if (!((a == one && b == other) || (a == other && b == one)))
            continue;
        flow_break(&flow->ends[0], -ECONNRESET);
        flow_break(&flow->ends[1], -ECONNRESET);
    }
}

unsigned sim_net_streams(const struct sim_net *net)
{
    unsigned count = 0;
    LIST_EACH (&net->flows, node) {
        const struct sim_flow *flow = LIST_ENTRY(node, struct sim_flow, node);
        count += flow->ends[0].open || flow->ends[1].open;
    }
    return count;
}
