/* SPDX-License-Identifier: Apache-2.0 */
#include "nbd/settings.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct option_spec table[] = {
    {"pool", "URL", "file:DIR or etcd://HOST:PORT[,...]/NAME; IOMESH_POOL stands in for it", NULL},
    {"socket", "PATH", "listen on a unix socket; may be repeated", NULL},
    {"socket-mode", "MODE", "permissions of unix sockets, octal (600)", NULL},
    {"listen", "HOST:PORT", "listen on TCP; may be repeated", NULL},
    {"tls-certificates", "DIR", "require TLS: ca-cert.pem, server-cert.pem, server-key.pem", NULL},
    {"metrics", "HOST:PORT", "serve /metrics and /healthz over HTTP", NULL},
    {"read-only", NULL, "serve every volume read-only", NULL},
    {"default-export", "NAME", "the volume of clients that name none", NULL},
    {"connections", "N", "clients at once (256)", NULL},
    {"handshakes", "N", "clients at once that have not chosen an export (64)", NULL},
    {"handshake-timeout", "SECONDS", "for choosing an export (10)", NULL},
    {"stall-timeout", "SECONDS", "for a client that owes or ignores data (60)", NULL},
    {"requests", "N", "requests at once, of all clients (1024)", NULL},
    {"connection-requests", "N", "requests at once of one client (128)", NULL},
    {"buffer-size", "SIZE", "memory for payloads, of all clients (32M)", NULL},
    {"connection-buffer", "SIZE", "memory for payloads of one client (16M)", NULL},
    {"max-request", "SIZE", "largest read or write, 64K to 32M (32M)", NULL},
    {"cache-size", "SIZE", "page cache of the pool (64M)", NULL},
    {"spin", "MICROSECONDS", "longest busy wait before sleeping, 0 to 1000 (0)", NULL},
    {"discard", NULL, "give freed space back to the file system or device", NULL},
    {"scrub-rate", "SIZE", "bytes that a scrub reads a second, at most (16M)", NULL},
    {"scrub-interval", "DAYS", "from the end of a scrub to the next, 1 to 365 (7)", NULL},
    {"no-scrub", NULL, "do not scrub in the background", NULL},
    {"node", "NAME", "in a cluster: the node that this is (the name of the machine)", NULL},
    {"zone", "NAME", "in a cluster: the zone that this is in", NULL},
    {"rack", "NAME", "in a cluster: the rack that this is in", NULL},
    {"peer-tls-certificates", "DIR", "in a cluster: TLS to stores; files as above", NULL},
    {"log-level", "LEVEL", "error, warning, notice, info or debug (notice)", NULL},
    {"log-json", NULL, "log JSON objects, one a line", NULL},
    {NULL, NULL, NULL, NULL},
};

static const char usage[] =
    "usage: iomesh-nbd --pool URL [--socket PATH] [--listen HOST:PORT] ...\n"
    "Serves the volumes of a pool over NBD.";

static const char *take_address(struct settings *settings, const char *scheme, const char *value)
{
    if (settings->socket_count == SERVER_LISTENERS_MAX)
        return "too many addresses";
    if (value[0] == '\0')
        return "is empty";
    char *address;
    if (asprintf(&address, "%s:%s", scheme, value) < 0)
        return "no memory";
    settings->sockets[settings->socket_count++] = address;
    return NULL;
}

static const char *take_seconds(const char *value, uint64_t *ns)
{
    uint32_t seconds;
    const char *sentence = options_take_number(value, 1, 3600, &seconds);
    if (sentence == NULL)
        *ns = (uint64_t)seconds * 1000000000u;
    return sentence;
}

static const char *take_mode(struct settings *settings, const char *value)
{
    char *end;
    const unsigned long mode = strtoul(value, &end, 8);
    if (value[0] == '\0' || *end != '\0' || mode == 0 || mode > 0777)
        return "is an octal number such as 660";
    settings->socket_mode = (uint32_t)mode;
    return NULL;
}

static const char *take_name(struct settings *settings, const char *value)
{
    const size_t most = strchr(value, '@') != NULL ? NBD_NAME_BYTES_MAX : IOMESH_NAME_BYTES_MAX;
    if (value[0] == '\0' || strlen(value) > most)
        return "is 1 to 128 bytes long, and so is a snapshot's after an @";
    memcpy(settings->default_export, value, strlen(value) + 1);
    return NULL;
}

static const char *take_flag(struct settings *settings, uint32_t flag, bool yes)
{
    settings->pool_flags = yes ? settings->pool_flags | flag : settings->pool_flags & ~flag;
    return NULL;
}

static const char *take_limit(struct settings *settings, const char *name, const char *value)
{
    struct server_limits *limits = &settings->limits;
    uint32_t *spin_us = &settings->spin_us;
    if (strcmp(name, "connections") == 0)
        return options_take_number(value, 1, 10000, &limits->connections_max);
    if (strcmp(name, "handshakes") == 0)
        return options_take_number(value, 1, 10000, &limits->handshakes_max);
    if (strcmp(name, "handshake-timeout") == 0)
        return take_seconds(value, &limits->handshake_ns_max);
    if (strcmp(name, "stall-timeout") == 0)
        return take_seconds(value, &limits->stall_ns_max);
    if (strcmp(name, "requests") == 0)
        return options_take_number(value, 1, 65536, &limits->requests_max);
    if (strcmp(name, "connection-requests") == 0)
        return options_take_number(value, 1, 65536, &limits->connection_requests_max);
    if (strcmp(name, "buffer-size") == 0)
        return options_take_size(value, 2u << 20, 1u << 30, &settings->buffer_bytes);
    if (strcmp(name, "connection-buffer") == 0)
        return options_take_size(value, 1u << 20, 1u << 30, &limits->connection_bytes_max);
    if (strcmp(name, "spin") == 0)
        return options_take_number(value, 0, 1000, spin_us);
    if (strcmp(name, "cache-size") == 0)
        return options_take_size(value, 1u << 20, UINT64_C(1) << 40, &settings->cache_bytes);
    if (strcmp(name, "scrub-rate") == 0)
        return options_take_size(value, 64u << 10, UINT64_C(1) << 40, &settings->scrub_rate);
    if (strcmp(name, "scrub-interval") == 0)
        return options_take_days(value, &settings->scrub_interval_ns);
    uint64_t bytes = 0;
    const char *sentence = options_take_size(value, 64u << 10, NBD_PAYLOAD_BYTES_MAX, &bytes);
    if (sentence == NULL && bytes % 4096 != 0)
        sentence = "is a multiple of 4K";
    if (sentence == NULL)
        limits->payload_bytes_max = (uint32_t)bytes;
    return sentence;
}

/* Who and where this is, in a cluster. */
static bool is_who(const char *name)
{
    static const char *const flags[] = {"node", "zone", "rack", "peer-tls-certificates"};
    for (size_t i = 0; i < sizeof flags / sizeof *flags; i++)
        if (strcmp(name, flags[i]) == 0)
            return true;
    return false;
}

static const char *take_who(struct settings *settings, const char *name, const char *value)
{
    if (strcmp(name, "node") == 0)
        return options_take_text(&settings->node, value);
    if (strcmp(name, "zone") == 0)
        return options_take_text(&settings->zone, value);
    if (strcmp(name, "rack") == 0)
        return options_take_text(&settings->rack, value);
    return options_take_text(&settings->peer_tls_directory, value);
}

/* Of the pool's own store: a cluster's are others'. */
static bool is_of_stores(const char *name, bool yes)
{
    static const char *const flags[] = {"cache-size", "scrub-rate", "scrub-interval"};
    for (size_t i = 0; i < sizeof flags / sizeof *flags; i++)
        if (strcmp(name, flags[i]) == 0)
            return true;
    return yes && (strcmp(name, "discard") == 0 || strcmp(name, "no-scrub") == 0);
}

static const char *take(void *context, const struct option_spec *spec, const char *value)
{
    struct settings *settings = context;
    const char *name = spec->name;
    const bool yes = strcmp(value, "yes") == 0;
    if (is_who(name))
        return take_who(settings, name, value);
    if (is_of_stores(name, yes))
        settings->of_stores = name;
    if (strcmp(name, "pool") == 0) {
        char *pool = settings->pool_named ? (char *)settings->pool : NULL;
        const char *sentence = options_take_text(&pool, value);
        settings->pool = pool;
        settings->pool_named = true;
        return sentence;
    }
    if (strcmp(name, "socket") == 0)
        return take_address(settings, "unix", value);
    if (strcmp(name, "listen") == 0)
        return take_address(settings, "tcp", value);
    if (strcmp(name, "socket-mode") == 0)
        return take_mode(settings, value);
    if (strcmp(name, "tls-certificates") == 0)
        return options_take_text(&settings->tls_directory, value);
    if (strcmp(name, "metrics") == 0)
        return options_take_text(&settings->metrics, value);
    if (strcmp(name, "default-export") == 0)
        return take_name(settings, value);
    if (strcmp(name, "log-level") == 0)
        return log_level_from(value, &settings->log_level)
                   ? NULL
                   : "is error, warning, notice, info or debug";
    if (strcmp(name, "discard") == 0)
        return take_flag(settings, IOMESH_POOL_DISCARD, yes);
    if (strcmp(name, "no-scrub") == 0)
        return take_flag(settings, IOMESH_POOL_NO_SCRUB, yes);
    if (strcmp(name, "read-only") != 0 && strcmp(name, "log-json") != 0)
        return take_limit(settings, name, value);
    *(strcmp(name, "read-only") == 0 ? &settings->read_only : &settings->log_json) = yes;
    return NULL;
}

/* What was given is of the kind of pool that was. */
static enum options_outcome check_kind(const struct settings *settings)
{
    const bool cluster = settings_cluster(settings);
    if (cluster && settings->of_stores != NULL) {
        fprintf(stderr,
                "iomesh-nbd: --%s: a cluster's stores are served by iomeshd: say it there\n",
                settings->of_stores);
        return OPTIONS_EXIT_USAGE;
    }
    const char *given = settings->node != NULL                 ? "node"
                        : settings->zone != NULL               ? "zone"
                        : settings->rack != NULL               ? "rack"
                        : settings->peer_tls_directory != NULL ? "peer-tls-certificates"
                                                               : NULL;
    if (cluster || given == NULL)
        return OPTIONS_RUN;
    fprintf(stderr, "iomesh-nbd: --%s: is for a cluster's pool, etcd://HOST:PORT/NAME\n", given);
    return OPTIONS_EXIT_USAGE;
}

enum options_outcome settings_read(struct settings *settings, int argc, char **argv)
{
    *settings = (struct settings){
        .log_level = LOG_LEVEL_NOTICE,
        .buffer_bytes = 32u << 20,
        .limits = {.connections_max = 256,
                   .handshakes_max = 64,
                   .handshake_ns_max = UINT64_C(10000000000),
                   .stall_ns_max = UINT64_C(60000000000),
                   .requests_max = 1024,
                   .connection_requests_max = 128,
                   .connection_bytes_max = 16u << 20,
                   .payload_bytes_max = NBD_PAYLOAD_BYTES_MAX},
    };
    const enum options_outcome outcome = options_read("iomesh-nbd", IOMESH_PROGRAM_VERSION, usage,
                                                      table, argc, argv, take, settings);
    if (outcome != OPTIONS_RUN)
        return outcome;
    if (settings->pool == NULL)
        settings->pool = getenv("IOMESH_POOL");
    if (settings->pool == NULL || settings->pool[0] == '\0') {
        fprintf(stderr, "iomesh-nbd: no pool: give --pool URL or set IOMESH_POOL\n");
        return OPTIONS_EXIT_USAGE;
    }
    return check_kind(settings);
}

bool settings_cluster(const struct settings *settings)
{
    return strncmp(settings->pool, "etcd:", 5) == 0;
}

void settings_done(struct settings *settings)
{
    for (uint32_t index = 0; index < settings->socket_count; index++)
        free(settings->sockets[index]);
    free(settings->tls_directory);
    free(settings->metrics);
    free(settings->node);
    free(settings->zone);
    free(settings->rack);
    free(settings->peer_tls_directory);
    if (settings->pool_named)
        free((char *)settings->pool);
}
