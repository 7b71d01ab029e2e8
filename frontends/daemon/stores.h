/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The stores that the daemon was told to serve: each is tried until it is served, or will never be.
 *
 *   TRYING ──▶ SERVED ──▶ OVER: removed, taken by another, its node closed
 *     │  ▲
 *     ▼  │ after a while: what stands in its way may go
 *    DOWN ──▶ (or not: OVER)
 */
#ifndef DAEMON_STORES_H
#define DAEMON_STORES_H

#include <stdbool.h>
#include <stdint.h>

#include <iomesh/sys/serve.h>

#include "daemon/settings.h"

enum store_state { STORE_TRYING, STORE_SERVED, STORE_DOWN, STORE_OVER };

struct store {
    struct stores *stores;
    const struct settings_store *wanted;
    enum store_state state;
    struct iomesh_node_store *handle; /* NULL: DOWN, OVER. */
    bool tried;                       /* Once at least, to an end. */
    double again;                     /* DOWN: when it is tried again. */
    int result;                       /* Why it is DOWN or OVER. */
    char sentence[512];
};

struct stores {
    struct iomesh_node *node;
    struct store *items;
    uint32_t count;
    bool draining;
    void (*changed)(void *context); /* One of them is in another state. */
    void *context;
};

/* Zero it, set what is not its own. 0, or -1: no memory. */
int stores_init(struct stores *stores, const struct settings *settings);
void stores_done(struct stores *stores);
/* Tries those whose time has come. `now`: seconds of any clock that only goes on. */
void stores_tick(struct stores *stores, double now);

/* How many are in a state. */
uint32_t stores_in(const struct stores *stores, enum store_state state);
/* Each was tried to an end once. */
bool stores_all_tried(const struct stores *stores);

#endif
