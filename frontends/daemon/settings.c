/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/settings.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>

static const struct option_spec table[] = {
    {"pool", "URL", "the pool, etcd://HOST:PORT[,...]/NAME; IOMESH_POOL stands in for it", NULL},
    {"node", "NAME", "what this machine is called in the pool (its host name)", NULL},
    {"store", "PATH[:SIZE]", "a store: directory or device; may be repeated; ,class=nvme|ssd|hdd",
     NULL},
    {"listen", "HOST:PORT", "serve stores on TCP, or on unix:PATH; may be repeated", NULL},
    {"advertise", "ADDRESS", "where others find this one (the first of --listen)", NULL},
    {"zone", "NAME", "the failure domain of this machine", NULL},
    {"rack", "NAME", "the same, smaller", NULL},
    {"peer-tls-certificates", "DIR", "TLS between machines: ca-cert.pem, server-cert.pem, ...",
     NULL},
    {"metrics", "HOST:PORT", "serve /metrics and /healthz over HTTP", NULL},
    {"control", "PATH", "a socket for questions to this process",
     "is not built yet: iomesh-cli asks the metadata, and --metrics tells the rest"},
    {"boot-id", "UUID", "another with each boot of the machine (as the kernel says)", NULL},
    {"no-keeper", NULL, "never take care of the pool as a whole", NULL},
    {"connections", "N", "connections at once, one for each client and store (1024)", NULL},
    {"buffer-size", "SIZE", "memory for data on its way, of all stores (64M)", NULL},
    {"cache-size", "SIZE", "page cache of each store (64M)", NULL},
    {"spin", "MICROSECONDS", "longest busy wait before sleeping, 0 to 1000 (0)", NULL},
    {"discard", NULL, "give freed space back to the file system or device", NULL},
    {"scrub-rate", "SIZE", "bytes that a scrub reads a second, at most, of each store (16M)", NULL},
    {"scrub-interval", "DAYS", "from the end of a scrub to the next, 1 to 365 (7)", NULL},
    {"no-scrub", NULL, "do not scrub in the background", NULL},
    {"log-level", "LEVEL", "error, warning, notice, info or debug (notice)", NULL},
    {"log-json", NULL, "log JSON objects, one a line", NULL},
    {NULL, NULL, NULL, NULL},
};

static const char usage[] =
    "usage: iomeshd --pool URL --store PATH[:SIZE] ... --listen HOST:PORT ...\n"
    "Serves stores of a cluster, and takes care of it when it is its turn.";

static const char *take_text(char **text, const char *value)
{
    return strlen(value) > 4095 ? "is too long" : options_take_text(text, value);
}

static const char *take_name(char **text, const char *value)
{
    return strlen(value) > 255 ? "is at most 255 bytes long" : take_text(text, value);
}

/* --- Stores --------------------------------------------------------------------------------- */

static const char *store_class(const char *text, uint32_t *ret_class)
{
    static const char *const names[] = {"nvme", "ssd", "hdd"};
    for (uint32_t index = 0; index < 3; index++) {
        if (strcmp(text, names[index]) == 0) {
            *ret_class = index; /* IOMESH_CLASS_… */
            return NULL;
        }
    }
    return "its class is nvme, ssd or hdd";
}

const char *settings_store_parse(const char *text, struct settings_store *ret_store)
{
    struct settings_store store = {.device_class = IOMESH_CLASS_NVME};
    const char *comma = strstr(text, ",class=");
    size_t length = comma == NULL ? strlen(text) : (size_t)(comma - text);
    const char *sentence = comma == NULL ? NULL : store_class(comma + 7, &store.device_class);
    if (sentence != NULL)
        return sentence;
    store.path = strndup(text, length);
    if (store.path == NULL)
        return "no memory";
    char *colon = strrchr(store.path, ':');
    if (colon != NULL && options_size(colon + 1, &store.bytes)) {
        *colon = '\0';
        if (store.bytes < IOMESH_POOL_BYTES_MIN || store.bytes % 4096 != 0)
            sentence = "a store has 64M or more, in multiples of 4K";
    }
    if (store.path[0] == '\0')
        sentence = "its path is empty";
    if (sentence != NULL)
        free(store.path);
    else
        *ret_store = store;
    return sentence;
}

static const char *take_store(struct settings *settings, const char *value)
{
    if (settings->store_count == SETTINGS_STORES_MAX)
        return "too many stores";
    const char *sentence = settings_store_parse(value, &settings->stores[settings->store_count]);
    if (sentence == NULL)
        settings->store_count++;
    return sentence;
}

/* --- Addresses ------------------------------------------------------------------------------ */

/* Whether others could connect to it. */
static const char *published_check(const char *host, const char *port)
{
    if (strcmp(port, "0") == 0)
        return "port 0 is any port, and others must know which: name it, or give --advertise";
    if (strncmp(host, "0.0.0.0:", 8) == 0 || strncmp(host, "[::]:", 5) == 0 || host[0] == ':' ||
        host[0] == '*')
        return "is every address of this machine: say with --advertise where others find it";
    return NULL;
}

const char *settings_address_parse(const char *text, bool published, char **ret_address)
{
    if (strncmp(text, "unix:", 5) == 0) {
        if (text[5] == '\0')
            return "has no path";
        *ret_address = strdup(text);
        return *ret_address == NULL ? "no memory" : NULL;
    }
    const char *host = strncmp(text, "tcp:", 4) == 0 ? text + 4 : text;
    const char *port = strrchr(host, ':');
    uint64_t number;
    if (port == NULL || !options_number(port + 1, 0, 65535, &number))
        return "is HOST:PORT, or unix:PATH";
    const char *sentence = published ? published_check(host, port + 1) : NULL;
    if (sentence != NULL)
        return sentence;
    if (asprintf(ret_address, "tcp:%s", host) < 0)
        return "no memory";
    if (strlen(*ret_address) <= 255)
        return NULL;
    free(*ret_address);
    return "is too long";
}

static const char *take_listen(struct settings *settings, const char *value)
{
    if (settings->listen_count == IOMESH_NODE_LISTENERS_MAX)
        return "too many addresses";
    const char *sentence =
        settings_address_parse(value, false, &settings->listen[settings->listen_count]);
    if (sentence == NULL)
        settings->listen_count++;
    return sentence;
}

static const char *take_advertise(struct settings *settings, const char *value)
{
    char *address;
    const char *sentence = settings_address_parse(value, true, &address);
    if (sentence != NULL)
        return sentence;
    free(settings->advertise);
    settings->advertise = address;
    return NULL;
}

/* --- All of them ---------------------------------------------------------------------------- */

static const char *take_flag(struct settings *settings, uint32_t flag, bool yes)
{
    settings->node_flags = yes ? settings->node_flags | flag : settings->node_flags & ~flag;
    return NULL;
}

static const char *take_limit(struct settings *settings, const char *name, const char *value)
{
    if (strcmp(name, "connections") == 0)
        return options_take_number(value, 1, 65536, &settings->connections_max);
    if (strcmp(name, "spin") == 0)
        return options_take_number(value, 0, 1000, &settings->spin_us);
    if (strcmp(name, "buffer-size") == 0)
        return options_take_size(value, 16u << 20, 1u << 30, &settings->buffer_bytes);
    if (strcmp(name, "cache-size") == 0)
        return options_take_size(value, 1u << 20, UINT64_C(1) << 40, &settings->cache_bytes);
    if (strcmp(name, "scrub-rate") == 0)
        return options_take_size(value, 64u << 10, UINT64_C(1) << 40, &settings->scrub_rate);
    return options_take_days(value, &settings->scrub_interval_ns); /* scrub-interval */
}

static const char *take_word(struct settings *settings, const char *name, const char *value)
{
    if (strcmp(name, "pool") == 0)
        return take_text(&settings->pool, value);
    if (strcmp(name, "node") == 0)
        return take_name(&settings->node, value);
    if (strcmp(name, "zone") == 0)
        return take_name(&settings->zone, value);
    if (strcmp(name, "rack") == 0)
        return take_name(&settings->rack, value);
    if (strcmp(name, "peer-tls-certificates") == 0)
        return take_text(&settings->tls_directory, value);
    if (strcmp(name, "metrics") == 0)
        return take_text(&settings->metrics, value);
    if (strcmp(name, "boot-id") == 0)
        return take_text(&settings->boot_id, value);
    return take_limit(settings, name, value);
}

static const char *take(void *context, const struct option_spec *spec, const char *value)
{
    struct settings *settings = context;
    const char *name = spec->name;
    const bool yes = strcmp(value, "yes") == 0;
    if (strcmp(name, "store") == 0)
        return take_store(settings, value);
    if (strcmp(name, "listen") == 0)
        return take_listen(settings, value);
    if (strcmp(name, "advertise") == 0)
        return take_advertise(settings, value);
    if (strcmp(name, "no-keeper") == 0)
        return take_flag(settings, IOMESH_NODE_NO_KEEPER, yes);
    if (strcmp(name, "no-scrub") == 0)
        return take_flag(settings, IOMESH_NODE_NO_SCRUB, yes);
    if (strcmp(name, "discard") == 0)
        return take_flag(settings, IOMESH_NODE_DISCARD, yes);
    if (strcmp(name, "log-level") == 0)
        return log_level_from(value, &settings->log_level)
                   ? NULL
                   : "is error, warning, notice, info or debug";
    if (strcmp(name, "log-json") != 0)
        return take_word(settings, name, value);
    settings->log_json = yes;
    return NULL;
}

static enum options_outcome missing(const char *sentence)
{
    fprintf(stderr, "iomeshd: %s\n", sentence);
    return OPTIONS_EXIT_USAGE;
}

/* What follows from what was given. */
static enum options_outcome complete(struct settings *settings)
{
    const char *pool = getenv("IOMESH_POOL");
    if (settings->pool == NULL && pool != NULL && pool[0] != '\0')
        settings->pool = strdup(pool);
    if (settings->pool == NULL)
        return missing("no pool: give --pool URL or set IOMESH_POOL");
    if (strncmp(settings->pool, "etcd:", 5) != 0)
        return missing("a daemon serves a cluster's pool, etcd://HOST:PORT/NAME; an embedded pool "
                       "belongs to the program that opens it");
    if (settings->listen_count == 0)
        return missing("nowhere to listen: give --listen HOST:PORT or --listen unix:PATH");
    if (settings->store_count == 0)
        return missing("nothing to serve: give --store PATH");
    if (settings->advertise == NULL) {
        const char *sentence =
            settings_address_parse(settings->listen[0], true, &settings->advertise);
        if (sentence != NULL) {
            fprintf(stderr, "iomeshd: --listen: %s\n", sentence);
            return OPTIONS_EXIT_USAGE;
        }
    }
    struct utsname machine;
    if (settings->node == NULL && uname(&machine) == 0)
        settings->node = strdup(machine.nodename);
    return settings->node == NULL ? missing("this machine has no name: give --node NAME")
                                  : OPTIONS_RUN;
}

enum options_outcome settings_read(struct settings *settings, int argc, char **argv)
{
    *settings = (struct settings){
        .log_level = LOG_LEVEL_NOTICE,
        .buffer_bytes = 64u << 20,
    };
    const enum options_outcome outcome =
        options_read("iomeshd", IOMESH_PROGRAM_VERSION, usage, table, argc, argv, take, settings);
    return outcome == OPTIONS_RUN ? complete(settings) : outcome;
}

void settings_done(struct settings *settings)
{
    for (uint32_t index = 0; index < settings->listen_count; index++)
        free(settings->listen[index]);
    for (uint32_t index = 0; index < settings->store_count; index++)
        free(settings->stores[index].path);
    free(settings->pool);
    free(settings->node);
    free(settings->zone);
    free(settings->rack);
    free(settings->advertise);
    free(settings->boot_id);
    free(settings->tls_directory);
    free(settings->metrics);
}
