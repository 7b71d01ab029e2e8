/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Who is the keeper: whoever put the key, under the lease of its session.
 *
 *   TRY to put it ──▶ it is there ──▶ WATCH it, and try again when it goes, or after a while
 *     │ put, or there and ours
 *     └──▶ LEAD until the session's bound is over, another session began, or the key has changed
 *
 * Whoever holds no lease any more cannot know it before its bound: by then it has stopped.
 */
#include <stdio.h>

#include "keeper/keeper_inside.h"

#define ELECT_AGAIN_NS (5 * NS_PER_S)
#define ELECT_SOON_NS (200 * NS_PER_MS)

static void elect_try(struct keeper *keeper);

static void elect_timer(struct timer *timer)
{
    elect_try(CONTAINER_OF(timer, struct keeper, elect_timer));
}

static void elect_wait(struct keeper *keeper, uint64_t delay_ns)
{
    keeper->elect_timer.fire = elect_timer;
    if (!keeper->closing)
        clock_set_after(keeper->options.clock, &keeper->elect_timer, delay_ns);
}

bool keeper_leads(const struct keeper *keeper)
{
    return keeper->leads &&
           (MUTANT(344) || (catalog_session(keeper->options.catalog) == keeper->lease &&
                            clock_now_ns(keeper->options.clock) <
                                catalog_session_until_ns(keeper->options.catalog)));
}

void keeper_if_leads(const struct keeper *keeper, struct meta_request *request)
{
    struct metadata_key key = metadata_keeper_key();
    if (!MUTANT(343))
        meta_if_modified(request, META_SLICE(key), keeper->revision);
}

void keeper_resign(struct keeper *keeper)
{
    if (!keeper->leads)
        return;
    keeper->leads = false;
    keeper_resigned(keeper);
    elect_wait(keeper, ELECT_SOON_NS);
}

static void elect_won(struct keeper *keeper, uint64_t revision, uint64_t lease)
{
    keeper->revision = revision;
    keeper->lease = lease;
    keeper->leads = true;
    if (keeper_leads(keeper)) {
        keeper_led(keeper);
    } else {
        keeper->leads = false;
        elect_wait(keeper, ELECT_SOON_NS);
    }
}

/* Somebody has it: or we do, and did not know. */
static bool elect_ours(const struct keeper *keeper, const struct meta_response *response)
{
    struct metadata_keeper record;
    if (response->entry_count == 0 ||
        metadata_keeper_decode(response->entries[0].value.data, response->entries[0].value.length,
                               &record) != 0)
        return false;
    metadata_keeper_done(&record);
    return record.session == keeper->lease || MUTANT(349);
}

static void elect_done(struct meta_request *request, int result)
{
    struct keeper *keeper = CONTAINER_OF(request, struct keeper, elect);
    if (keeper->closing)
        return;
    if (result != 0)
        elect_wait(keeper, ELECT_SOON_NS); /* It may be ours, and is found to be then. */
    else if (request->succeeded)
        elect_won(keeper, request->revision, keeper->lease);
    else if (elect_ours(keeper, &request->responses[0]))
        elect_won(keeper, request->responses[0].entries[0].modified_revision, keeper->lease);
    else
        elect_wait(keeper, ELECT_AGAIN_NS);
}

static int elect_put(struct keeper *keeper)
{
    const struct catalog *catalog = keeper->options.catalog;
    struct metadata_keeper record = {
        .session = keeper->lease,
        .since_ns = clock_wall_ns(keeper->options.clock),
    };
    const char *node, *address;
    catalog_session_who(catalog, &node, &address);
    (void)snprintf(record.node, sizeof record.node, "%s", node);
    (void)snprintf(record.address, sizeof record.address, "%s", address);
    struct metadata_bytes value = {0};
    struct metadata_key key = metadata_keeper_key();
    int result = metadata_keeper_encode(&record, &value);
    if (result != 0)
        return result;
    meta_request_reset(&keeper->elect);
    meta_if_absent(&keeper->elect, META_SLICE(key));
    meta_put(&keeper->elect, META_SLICE(key), META_SLICE(value), keeper->lease);
    meta_else(&keeper->elect);
    meta_get(&keeper->elect, META_SLICE(key));
    metadata_bytes_done(&value);
    return meta_commit(keeper->options.meta, &keeper->elect, elect_done);
}

static void elect_try(struct keeper *keeper)
{
    const struct catalog *catalog = keeper->options.catalog;
    if (keeper->leads || keeper->closing || keeper->elect.flying)
        return;
    keeper->lease = catalog_session(catalog);
    bool lives = clock_now_ns(keeper->options.clock) < catalog_session_until_ns(catalog);
    if (keeper->lease == 0 || !lives || elect_put(keeper) != 0)
        elect_wait(keeper, ELECT_SOON_NS);
}

/* --- The key is watched ----------------------------------------------------------------------- */

static void key_event(struct meta_watch *watch, const struct meta_event *event)
{
    struct keeper *keeper = CONTAINER_OF(watch, struct keeper, key_watch);
    if (keeper->leads && event->revision > keeper->revision)
        keeper_resign(keeper);
    else if (!keeper->leads && event->kind == META_EVENT_DELETE)
        elect_try(keeper);
}

static void key_watch_start(struct keeper *keeper);

static void key_watch_ended(struct meta_watch *watch, int result)
{
    struct keeper *keeper = CONTAINER_OF(watch, struct keeper, key_watch);
    keeper->key_watching = false;
    if (result == IOMESH_COMPACTED)
        key_watch_start(keeper);
}

static void key_watch_start(struct keeper *keeper)
{
    struct metadata_key key = metadata_keeper_key();
    keeper->key_watching = meta_watch_start(keeper->options.meta, &keeper->key_watch,
                                            META_SLICE(key), 0, key_event, key_watch_ended) == 0;
}

void keeper_elect_start(struct keeper *keeper)
{
    key_watch_start(keeper);
    elect_try(keeper);
}
