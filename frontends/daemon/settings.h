/* SPDX-License-Identifier: Apache-2.0 */
/* What flags, the configuration file and the environment ask for. */
#ifndef DAEMON_SETTINGS_H
#define DAEMON_SETTINGS_H

#include <stdbool.h>
#include <stdint.h>

#include <iomesh/sys/serve.h>

#include "common/log.h"
#include "common/options.h"

enum { SETTINGS_STORES_MAX = 256 };

/* --store PATH[:SIZE][,class=nvme|ssd|hdd] */
struct settings_store {
    char *path;
    uint64_t bytes; /* 0: it is there. */
    uint32_t device_class;
};

struct settings {
    char *pool;
    char *node, *zone, *rack;
    char *advertise; /* NULL: the first of `listen`. */
    char *boot_id;
    char *tls_directory;
    char *metrics;
    char *listen[IOMESH_NODE_LISTENERS_MAX]; /* Addresses of <iomesh/sys/stream.h>. */
    uint32_t listen_count;
    struct settings_store stores[SETTINGS_STORES_MAX];
    uint32_t store_count;
    enum log_level log_level;
    bool log_json;
    uint32_t node_flags;
    uint32_t connections_max;
    uint64_t buffer_bytes;
    uint64_t cache_bytes; /* Of each store. */
    uint64_t scrub_rate, scrub_interval_ns;
    uint32_t spin_us; /* 0: never. */
};

/* As options_read(). */
enum options_outcome settings_read(struct settings *settings, int argc, char **argv);
void settings_done(struct settings *settings);

/* What --store says. NULL, or a sentence. The path is yours to free. */
const char *settings_store_parse(const char *text, struct settings_store *ret_store);
/* HOST:PORT, tcp:HOST:PORT or unix:PATH as the library has it, yours to free. NULL, or a
 * sentence. `published`: others are to find it. */
const char *settings_address_parse(const char *text, bool published, char **ret_address);

#endif
