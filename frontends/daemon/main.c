/* SPDX-License-Identifier: Apache-2.0 */
/* iomeshd: from the command line to the last checkpoint. */
#include <ev.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <iomesh/iomesh.h>
#include <iomesh/sys/serve.h>

#include "common/http.h"
#include "common/log.h"
#include "common/loop.h"
#include "common/report.h"
#include "common/service.h"
#include "daemon/metrics.h"
#include "daemon/settings.h"
#include "daemon/stores.h"

static const double tick_seconds = 0.25;

struct program {
    struct settings settings;
    struct iomesh_engine *engine;
    struct iomesh_pool *pool;
    struct iomesh_node *node;
    struct stores stores;
    struct loop loop;
    struct http *http;
    ev_signal terminate, interrupt;
    ev_timer tick, watchdog;
    bool ready; /* Was told. */
    int exit_status;
};

/* --- The end -------------------------------------------------------------------------------- */

static void on_closed(void *context, int result)
{
    struct program *program = context;
    program->node = program->stores.node = NULL;
    if (result != 0)
        program->exit_status = report_refusal(result);
    loop_stop(&program->loop);
}

static void drain(struct program *program)
{
    if (program->stores.draining)
        return;
    program->stores.draining = true;
    service_tell("STOPPING=1\nSTATUS=closing stores");
    if (iomesh_node_close(program->node, on_closed, program) != 0)
        loop_stop(&program->loop);
}

static void on_signal(struct ev_loop *ev, ev_signal *signal, int events)
{
    (void)ev;
    (void)events;
    struct program *program = signal->data;
    if (!program->stores.draining)
        log_line(LOG_LEVEL_NOTICE, "shutting down: %u stores",
                 stores_in(&program->stores, STORE_SERVED));
    drain(program);
}

/* --- While it runs -------------------------------------------------------------------------- */

static void tell_state(const struct program *program)
{
    char state[160];
    const uint32_t served = stores_in(&program->stores, STORE_SERVED);
    snprintf(state, sizeof state, "%sSTATUS=%u of %u stores are served%s",
             program->ready ? "READY=1\n" : "", served, program->stores.count,
             served == program->stores.count ? "" : ", see the log");
    service_tell(state);
}

/* Once each store was tried: one that is served is enough to go on. */
static void on_stores_changed(void *context)
{
    struct program *program = context;
    if (program->stores.draining)
        return;
    if (!program->ready && stores_all_tried(&program->stores)) {
        program->ready = stores_in(&program->stores, STORE_SERVED) > 0;
        if (!program->ready) {
            program->exit_status = report_failure("no store can be served", "see above");
            drain(program);
            return;
        }
    }
    tell_state(program);
}

static void on_tick(struct ev_loop *ev, ev_timer *timer, int events)
{
    (void)events;
    struct program *program = timer->data;
    stores_tick(&program->stores, ev_now(ev));
}

static void on_watchdog(struct ev_loop *ev, ev_timer *timer, int events)
{
    (void)ev;
    (void)timer;
    (void)events;
    service_tell("WATCHDOG=1");
}

static void watch(struct program *program)
{
    struct ev_loop *ev = EV_DEFAULT;
    const double watchdog = service_watchdog_seconds();
    loop_init(&program->loop, ev, program->engine);
    ev_signal_init(&program->terminate, on_signal, SIGTERM);
    ev_signal_init(&program->interrupt, on_signal, SIGINT);
    ev_timer_init(&program->tick, on_tick, 0., tick_seconds);
    ev_timer_init(&program->watchdog, on_watchdog, watchdog, watchdog);
    program->terminate.data = program->interrupt.data = program->tick.data = program;
    ev_signal_start(ev, &program->terminate);
    ev_signal_start(ev, &program->interrupt);
    ev_timer_start(ev, &program->tick);
    if (watchdog > 0.)
        ev_timer_start(ev, &program->watchdog);
}

/* --- The beginning -------------------------------------------------------------------------- */

static int open_pool(struct program *program)
{
    const struct settings *settings = &program->settings;
    struct iomesh_engine_options engine = IOMESH_ENGINE_OPTIONS_INIT;
    engine.buffer_bytes = settings->buffer_bytes;
    engine.spin_ns_max = settings->spin_us > 0 ? settings->spin_us * 1000 : 1;
    engine.trace = report_event;
    int result = iomesh_engine_open(&engine, &program->engine);
    if (result != 0)
        return report_refusal(result);
    struct iomesh_pool_options pool = IOMESH_POOL_OPTIONS_INIT;
    pool.node = settings->node;
    pool.address = settings->advertise;
    pool.zone = settings->zone;
    pool.rack = settings->rack;
    pool.tls_directory = settings->tls_directory;
    result = iomesh_pool_open_sync(program->engine, settings->pool, &pool, &program->pool);
    return result == 0 ? EXIT_SUCCESS : report_refusal(result);
}

static int open_node(struct program *program)
{
    const struct settings *settings = &program->settings;
    struct iomesh_node_options node = IOMESH_NODE_OPTIONS_INIT;
    node.flags = settings->node_flags;
    node.listen = (const char *const *)settings->listen;
    node.listen_count = settings->listen_count;
    node.connections_max = settings->connections_max;
    node.boot_id = settings->boot_id;
    node.cache_bytes = settings->cache_bytes;
    node.scrub_rate = settings->scrub_rate;
    node.scrub_interval_ns = settings->scrub_interval_ns;
    const int result = iomesh_node_open(program->pool, &node, &program->node);
    if (result != 0)
        return report_refusal(result);
    program->stores.node = program->node;
    program->stores.changed = on_stores_changed;
    program->stores.context = program;
    return stores_init(&program->stores, settings) == 0 ? EXIT_SUCCESS
                                                        : report_failure("stores", "no memory");
}

static int start(struct program *program)
{
    const struct settings *settings = &program->settings;
    char sentence[512];
    if (open_pool(program) != EXIT_SUCCESS || open_node(program) != EXIT_SUCCESS)
        return EXIT_FAILURE;
    const struct http_pages pages = {metrics_page, metrics_health, &program->stores};
    if (settings->metrics != NULL && http_open(EV_DEFAULT, settings->metrics, &pages, sentence,
                                               sizeof sentence, &program->http) != 0)
        return report_failure("--metrics", sentence);
    for (uint32_t index = 0; index < settings->listen_count; index++)
        log_line(LOG_LEVEL_NOTICE, "node %s of %s listens on %s", settings->node, settings->pool,
                 iomesh_node_address(program->node, index));
    if (program->http != NULL)
        log_line(LOG_LEVEL_NOTICE, "metrics on port %u", http_port(program->http));
    return EXIT_SUCCESS;
}

/* Closes what start() opened, whatever it came to. */
static int stop(struct program *program, int status)
{
    http_close(program->http);
    if (iomesh_node_close_sync(program->node) != 0)
        status = report_failure("closing the stores", iomesh_last_error());
    if (iomesh_pool_close_sync(program->pool) != 0)
        status = report_failure("closing the pool", iomesh_last_error());
    if (program->engine != NULL && iomesh_engine_close(program->engine) != 0)
        status = report_failure("closing the engine", iomesh_last_error());
    stores_done(&program->stores);
    settings_done(&program->settings);
    return status;
}

int main(int argc, char **argv)
{
    static struct program program;
    switch (settings_read(&program.settings, argc, argv)) {
    case OPTIONS_RUN: break;
    case OPTIONS_EXIT_WELL: return EXIT_SUCCESS;
    case OPTIONS_EXIT_USAGE: settings_done(&program.settings); return 2;
    }
    log_setup("iomeshd", program.settings.log_level, program.settings.log_json);
    signal(SIGPIPE, SIG_IGN);
    if (ev_default_loop(0) == NULL)
        return report_failure("libev", "no usable backend");
    int status = start(&program);
    if (status != EXIT_SUCCESS)
        return stop(&program, status);
    watch(&program);
    const int broken = loop_run(&program.loop);
    if (broken != 0) {
        report_failure("the ring", iomesh_error_text(broken));
        _exit(EXIT_FAILURE);
    }
    status = stop(&program, program.exit_status);
    if (status == EXIT_SUCCESS)
        log_line(LOG_LEVEL_NOTICE, "all stores are closed");
    return status;
}
