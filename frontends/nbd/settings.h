/* SPDX-License-Identifier: Apache-2.0 */
/* What flags, the configuration file and the environment ask for. */
#ifndef NBD_SETTINGS_H
#define NBD_SETTINGS_H

#include "common/log.h"
#include "common/options.h"
#include "nbd/server.h"

struct settings {
    const char *pool;
    char *sockets[SERVER_LISTENERS_MAX]; /* Addresses of <iomesh/sys/stream.h>. */
    uint32_t socket_count;
    uint32_t socket_mode;
    char *tls_directory;
    char *metrics;
    enum log_level log_level;
    bool log_json;
    bool read_only;
    char default_export[NBD_NAME_BYTES_MAX + 1];
    struct server_limits limits;
    uint64_t buffer_bytes;
    uint64_t cache_bytes;
    uint64_t scrub_rate, scrub_interval_ns;
    uint32_t spin_us; /* 0: never. */
    uint32_t pool_flags;
    /* In a cluster. NULL: not given. */
    char *node, *zone, *rack, *peer_tls_directory;
    bool pool_named;       /* By a flag or the file. */
    const char *of_stores; /* A flag that says something of the pool's own store; or NULL. */
};

/* As options_read(). */
enum options_outcome settings_read(struct settings *settings, int argc, char **argv);
/* The pool is a cluster's. */
bool settings_cluster(const struct settings *settings);
void settings_done(struct settings *settings);

#endif
