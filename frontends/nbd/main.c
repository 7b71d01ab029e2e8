/* SPDX-License-Identifier: Apache-2.0 */
/* iomesh-nbd: from the command line to the last byte flushed. */
#include <ev.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/http.h"
#include "common/log.h"
#include "common/loop.h"
#include "common/report.h"
#include "common/service.h"
#include "nbd/identity.h"
#include "nbd/metrics.h"
#include "nbd/plant.h"
#include "nbd/server.h"
#include "nbd/settings.h"

/* How long a drain waits for requests before it cuts connections. */
static const double drain_seconds_max = 10.;
static const double tick_seconds = 0.25;

struct program {
    struct settings settings;
    struct server server;
    struct loop loop;
    struct http *http;
    ev_signal terminate, interrupt;
    ev_timer tick;
    ev_timer drain_limit;
    bool cut;   /* Connections were, by the drain's limit. */
    int passed; /* Sockets that were handed over. */
    int exit_status;
};

static void on_tick(struct ev_loop *ev, ev_timer *timer, int events)
{
    (void)ev;
    (void)events;
    struct program *program = timer->data;
    server_tick(&program->server);
}

static void on_drained(void *context)
{
    struct program *program = context;
    loop_stop(&program->loop);
}

static void on_drain_limit(struct ev_loop *ev, ev_timer *timer, int events)
{
    (void)ev;
    (void)events;
    struct program *program = timer->data;
    if (!program->cut) {
        program->cut = true;
        server_cut(&program->server);
    } else if (settings_cluster(&program->settings)) {
        /* As kill -9: nothing that was acknowledged is lost. */
        log_line(LOG_LEVEL_ERROR, "requests wait for copies that cannot be reached: not waiting "
                                  "any longer");
        _exit(EXIT_FAILURE);
    }
}

static void on_signal(struct ev_loop *ev, ev_signal *signal, int events)
{
    (void)events;
    struct program *program = signal->data;
    if (program->server.draining)
        return;
    log_line(LOG_LEVEL_NOTICE, "shutting down: %u connections", program->server.connection_count);
    service_tell("STOPPING=1");
    ev_timer_start(ev, &program->drain_limit);
    server_drain(&program->server, on_drained, program);
}

static void on_turned(void *context)
{
    struct program *program = context;
    if (!TAILQ_EMPTY(&program->server.ios_retry))
        server_turned(&program->server);
}

static bool all_rotational(struct iomesh_pool *pool)
{
    struct iomesh_device_status device = {.size = sizeof device};
    uint32_t index = 0;
    for (; iomesh_pool_device(pool, index, &device) == 0; index++)
        if (device.device_class != IOMESH_CLASS_HDD)
            return false;
    return index > 0;
}

static int open_pool(struct program *program)
{
    const struct settings *settings = &program->settings;
    struct iomesh_engine_options engine_options = IOMESH_ENGINE_OPTIONS_INIT;
    engine_options.buffer_bytes = settings->buffer_bytes;
    engine_options.spin_ns_max = settings->spin_us > 0 ? settings->spin_us * 1000 : 1;
    engine_options.trace = report_event;
    struct server *server = &program->server;
    int result = iomesh_engine_open(&engine_options, &server->engine);
    if (result != 0)
        return report_refusal(result);
    struct iomesh_pool_options pool_options = IOMESH_POOL_OPTIONS_INIT;
    pool_options.flags = settings->pool_flags;
    pool_options.cache_bytes = settings->cache_bytes;
    pool_options.scrub_rate = settings->scrub_rate;
    pool_options.scrub_interval_ns = settings->scrub_interval_ns;
    /* Room for every request of ours, and for what else may use the pool. */
    pool_options.requests_max = settings->limits.requests_max + 64;
    if (pool_options.requests_max > 65536)
        pool_options.requests_max = 65536;
    char address[IDENTITY_BYTES_MAX];
    if (settings_cluster(settings))
        pool_options.address = identity_address(settings, program->passed, address);
    pool_options.node = settings->node;
    pool_options.zone = settings->zone;
    pool_options.rack = settings->rack;
    pool_options.tls_directory = settings->peer_tls_directory;
    result = iomesh_pool_open_sync(server->engine, settings->pool, &pool_options, &server->pool);
    if (result != 0)
        return report_refusal(result);
    server->rotational = all_rotational(server->pool) && !PLANTED("rotational");
    return EXIT_SUCCESS;
}

static int listen_everywhere(struct program *program)
{
    const struct settings *settings = &program->settings;
    struct server *server = &program->server;
    const int passed = program->passed;
    if (settings->socket_count + (uint32_t)passed > SERVER_LISTENERS_MAX) {
        log_line(LOG_LEVEL_ERROR,
                 "%d sockets were handed over and %u asked for: %d are served at most", passed,
                 settings->socket_count, (int)SERVER_LISTENERS_MAX);
        return EXIT_FAILURE;
    }
    for (int fd = SERVICE_SOCKET_FIRST; fd < SERVICE_SOCKET_FIRST + passed; fd++) {
        char address[32];
        snprintf(address, sizeof address, "fd:%d", fd);
        const int result = server_listen(server, address, 0);
        if (result != 0)
            return report_refusal(result);
    }
    for (uint32_t index = 0; index < settings->socket_count; index++) {
        const int result = server_listen(server, settings->sockets[index], settings->socket_mode);
        if (result != 0)
            return report_refusal(result);
    }
    if (server->listener_count == 0)
        return report_failure("nowhere to listen", "give --socket PATH or --listen HOST:PORT");
    return EXIT_SUCCESS;
}

/* Before anybody can connect: who is served may ask for the end, too. The loop acts on it. */
static void watch_signals(struct program *program)
{
    ev_signal_init(&program->terminate, on_signal, SIGTERM);
    ev_signal_init(&program->interrupt, on_signal, SIGINT);
    program->terminate.data = program->interrupt.data = program;
    ev_signal_start(EV_DEFAULT, &program->terminate);
    ev_signal_start(EV_DEFAULT, &program->interrupt);
}

static int start(struct program *program)
{
    struct server *server = &program->server;
    const struct settings *settings = &program->settings;
    char sentence[512];
    program->passed = service_sockets();
    server->limits = settings->limits;
    server->read_only = settings->read_only;
    memcpy(server->default_export, settings->default_export, sizeof server->default_export);
    if (server_init(server) != 0)
        return report_failure("requests", "no memory");
    if (settings->tls_directory != NULL &&
        tls_context_open(settings->tls_directory, sentence, sizeof sentence, &server->tls) != 0)
        return report_failure("--tls-certificates", sentence);
    if (open_pool(program) != EXIT_SUCCESS)
        return EXIT_FAILURE;
    watch_signals(program);
    if (listen_everywhere(program) != EXIT_SUCCESS)
        return EXIT_FAILURE;
    const struct http_pages pages = {metrics_page, metrics_health, server};
    if (settings->metrics != NULL && http_open(EV_DEFAULT, settings->metrics, &pages, sentence,
                                               sizeof sentence, &program->http) != 0)
        return report_failure("--metrics", sentence);
    return EXIT_SUCCESS;
}

static void watch(struct program *program)
{
    struct ev_loop *ev = EV_DEFAULT;
    loop_init(&program->loop, ev, program->server.engine);
    program->loop.turned = on_turned;
    program->loop.turned_context = program;
    ev_timer_init(&program->tick, on_tick, tick_seconds, tick_seconds);
    ev_timer_init(&program->drain_limit, on_drain_limit, drain_seconds_max, drain_seconds_max);
    program->tick.data = program->drain_limit.data = program;
    ev_timer_start(ev, &program->tick);
}

/* Closes what start() opened, whatever it came to. */
static int stop(struct program *program, int status)
{
    struct server *server = &program->server;
    http_close(program->http);
    while (server->engine != NULL && !exports_are_idle(server) &&
           iomesh_wait(server->engine, IOMESH_NEVER) >= 0)
        ;
    if (server->flush_error != 0)
        status = report_failure("last flush", iomesh_error_text(server->flush_error));
    if (server->pool != NULL && iomesh_pool_close_sync(server->pool) != 0)
        status = report_failure("closing the pool", iomesh_last_error());
    if (server->engine != NULL && iomesh_engine_close(server->engine) != 0)
        status = report_failure("closing the engine", iomesh_last_error());
    server_done(server);
    settings_done(&program->settings);
    return status;
}

/* start() failed: nothing is left behind, neither sockets nor a claimed pool. */
static void give_up(struct program *program)
{
    struct server *server = &program->server;
    for (uint32_t index = 0; index < server->listener_count; index++)
        iomesh_listener_close(server->listeners[index]);
    while (server->listeners_open > 0 && iomesh_wait(server->engine, IOMESH_NEVER) >= 0)
        ;
    stop(program, EXIT_FAILURE);
}

static void ready(const struct program *program)
{
    const struct server *server = &program->server;
    for (uint32_t index = 0; index < server->listener_count; index++)
        log_line(LOG_LEVEL_NOTICE, "serving %s on %s%s", program->settings.pool,
                 iomesh_listener_address(server->listeners[index]),
                 server->tls != NULL ? " with TLS" : "");
    if (program->http != NULL)
        log_line(LOG_LEVEL_NOTICE, "metrics on port %u", http_port(program->http));
    service_tell("READY=1");
}

int main(int argc, char **argv)
{
    static struct program program;
    switch (settings_read(&program.settings, argc, argv)) {
    case OPTIONS_RUN: break;
    case OPTIONS_EXIT_WELL: return EXIT_SUCCESS;
    case OPTIONS_EXIT_USAGE: settings_done(&program.settings); return 2;
    }
    log_setup("iomesh-nbd", program.settings.log_level, program.settings.log_json);
    signal(SIGPIPE, SIG_IGN);
    if (ev_default_loop(0) == NULL)
        return report_failure("libev", "no usable backend");
    int status = start(&program);
    if (status != EXIT_SUCCESS) {
        give_up(&program);
        return status;
    }
    watch(&program);
    ready(&program);
    const int broken = loop_run(&program.loop);
    if (broken != 0) {
        report_failure("the ring", iomesh_error_text(broken));
        _exit(EXIT_FAILURE);
    }
    status = stop(&program, status);
    if (status == EXIT_SUCCESS)
        log_line(LOG_LEVEL_NOTICE, "all is flushed and closed");
    return status;
}
