/* SPDX-License-Identifier: Apache-2.0 */
/* Volumes that are being opened: that takes as long as their copies are away, and says so. */
#include <stdio.h>
#include <string.h>

#include "api/cluster.h"
#include "api/operation.h"

#define SLOW_NS (2 * NS_PER_S)
#define SLOW_AGAIN_NS (10 * NS_PER_S)
#define TOLD_MAX 5u /* Stores of one sentence. */

/* Which stores that somebody wants are not there; "" if all are. */
static void opening_missing(const struct cluster *cluster, char *text, size_t room)
{
    const struct stores *stores = cluster_stores(cluster);
    unsigned told = 0;
    size_t used = 0;
    text[0] = '\0';
    for (uint32_t i = 0; i < stores->count && told < TOLD_MAX && used + 1 < room; i++) {
        const struct metadata_store *record = &stores->entries[i]->record;
        const char *why = cluster_port_sentence(cluster, record->id);
        if (why[0] == '\0')
            continue;
        int bytes = snprintf(text + used, room - used, "; store %llu on node \"%s\": %s",
                             (unsigned long long)record->id, record->node, why);
        used += bytes > 0 ? (size_t)bytes : 0;
        told++;
    }
}

static void opening_slow(struct timer *timer)
{
    struct api_operation *operation = CONTAINER_OF(timer, struct api_operation, slow);
    const struct iomesh_pool *pool = operation->pool;
    char missing[600];
    char text[900];
    if (pool->state != POOL_OPEN)
        return;
    uint64_t seconds = (clock_now_ns(pool->clock) - operation->began_ns) / NS_PER_S;
    opening_missing(pool->cluster, missing, sizeof missing);
    (void)snprintf(text, sizeof text,
                   "volume \"%s\": not open after %llu s, waiting for its copies%s", operation->of,
                   (unsigned long long)seconds, missing);
    api_trace(pool->engine, IOMESH_SEVERITY_NOTICE, IOMESH_EVENT_POOL, text, NULL, 0);
    clock_set_after(pool->clock, timer, SLOW_AGAIN_NS);
}

void cluster_opening_begin(struct api_operation *operation, const char *name)
{
    struct iomesh_pool *pool = operation->pool;
    operation->opening = true;
    pool->openings++;
    (void)snprintf(operation->of, sizeof operation->of, "%s", name);
    operation->began_ns = clock_now_ns(pool->clock);
    operation->slow.fire = opening_slow;
    clock_set_after(pool->clock, &operation->slow, SLOW_NS);
}

void cluster_opening_end(struct api_operation *operation)
{
    operation->pool->openings--;
    clock_cancel(operation->pool->clock, &operation->slow);
}
