/* SPDX-License-Identifier: Apache-2.0 */
/*
 * <iomesh/store.h>: what is wrong with a pool, why, what is done about it, how long that takes.
 *
 *   the metadata is read once ──┐
 *                               ├──▶ both are there: the plan's facts, then ours, then the sums
 *   each member of etcd is asked ─┘
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api/cluster.h"
#include "api/look.h"
#include "api/members.h"
#include "api/operation.h"

#define FACT_TEXT_BYTES (PLAN_TEXT_BYTES + 2 * NAME_BYTES_MAX)

_Static_assert(IOMESH_FACT_UNREACHABLE == PLAN_FACT_UNREACHABLE, "a kind of fact");
_Static_assert(IOMESH_FACT_STALE == PLAN_FACT_STALE, "a kind of fact");
_Static_assert(IOMESH_FACT_FULL == PLAN_FACT_FULL, "a kind of fact");
_Static_assert(IOMESH_FACT_DELETING == PLAN_FACT_DELETING, "a kind of fact");
_Static_assert(IOMESH_FACT_FAILED == PLAN_FACT_FAILED, "a kind of fact");

struct inquiry {
    struct api_operation *operation;
    iomesh_fact_fn *fact;
    iomesh_look_fn *tell;
    struct look *look;
    struct members members;
    struct look_plan plan;
    struct iomesh_look sums;
    unsigned waiting;
    int result;
    char sentence[400];
};

/* --- Facts ---------------------------------------------------------------------------------- */

static void fact_tell(struct inquiry *inquiry, const struct iomesh_fact *fact)
{
    inquiry->sums.facts++;
    inquiry->sums.health = MAX(inquiry->sums.health, fact->health);
    if (inquiry->fact != NULL)
        inquiry->fact(inquiry->operation->context, fact);
}

static uint32_t health_of(const struct plan_fact *fact)
{
    switch (fact->kind) {
    case PLAN_FACT_UNREACHABLE:
    case PLAN_FACT_PAUSED: return IOMESH_HEALTH_STOPPED;
    case PLAN_FACT_DRAINING:
    case PLAN_FACT_BALANCING:
    case PLAN_FACT_DELETING: return IOMESH_HEALTH_BUSY;
    default: return IOMESH_HEALTH_DEGRADED;
    }
}

/* People know volumes by their names: "volume 17" becomes "volume "web"". */
static const char *with_name(const struct inquiry *inquiry, const struct plan_fact *fact,
                             const char *from, char to[FACT_TEXT_BYTES])
{
    char number[32];
    (void)snprintf(number, sizeof number, "volume %" PRIu64, fact->volume);
    const struct look_volume *volume =
        fact->volumes == 1 ? look_volume(inquiry->look, fact->volume) : NULL;
    const char *at = volume == NULL ? NULL : strstr(from, number);
    if (at == NULL || volume->name[0] == '\0')
        return from;
    (void)snprintf(to, FACT_TEXT_BYTES, "%.*svolume \"%s\"%s", (int)(at - from), from, volume->name,
                   at + strlen(number));
    return to;
}

static void plan_fact_tell(struct inquiry *inquiry, const struct plan_fact *from)
{
    char text[PLAN_TEXT_BYTES];
    char named[FACT_TEXT_BYTES];
    struct iomesh_fact fact = {
        .size = sizeof fact,
        .kind = from->kind,
        .health = health_of(from),
        .reason = from->reason,
        .volume = from->volume,
        .volumes = from->volumes,
        .groups = from->groups,
        .copies_missing = from->missing,
        .copies_wanted = from->copies,
        .copies_running = from->doing.running,
        .copies_queued = from->doing.queued,
        .copies_waiting = from->doing.waiting,
        .copies_nowhere = from->doing.nowhere,
        .copies_owner = from->doing.owner,
        .left_bytes = from->doing.bytes_left,
        .since_ns = from->since_ns > inquiry->look->wall_ns ? 0 : from->since_ns,
        .seconds_left = from->seconds_left,
    };
    if (from->store < inquiry->look->store_count)
        fact.store = inquiry->look->stores[from->store].record.id;
    fact.text = with_name(inquiry, from, plan_fact_text(inquiry->plan.plan, from, text), named);
    fact_tell(inquiry, &fact);
}

/* What a plan does not know. */
static void own_fact_tell(struct inquiry *inquiry, uint32_t kind, uint32_t health, const char *text)
{
    struct iomesh_fact fact = {.size = sizeof fact,
                               .kind = kind,
                               .health = health,
                               .text = text,
                               .seconds_left = UINT64_MAX};
    fact_tell(inquiry, &fact);
}

static void members_tell(struct inquiry *inquiry)
{
    const struct members *members = &inquiry->members;
    uint32_t needed = members->count / 2 + 1;
    char text[FACT_TEXT_BYTES];
    for (uint32_t i = 0; i < members->count; i++) {
        const struct member *member = &members->items[i];
        if (member->answers)
            continue;
        (void)snprintf(text, sizeof text,
                       "etcd at %s does not answer (%s): %u of %u members do, and %u are needed",
                       member->endpoint, member->trouble, inquiry->sums.members_answering,
                       members->count, needed);
        own_fact_tell(inquiry, IOMESH_FACT_MEMBER, IOMESH_HEALTH_DEGRADED, text);
    }
}

static void own_facts(struct inquiry *inquiry)
{
    char text[FACT_TEXT_BYTES];
    if (inquiry->operation->pool->options.flags & IOMESH_POOL_STALE)
        own_fact_tell(inquiry, IOMESH_FACT_METADATA, IOMESH_HEALTH_STOPPED,
                      "etcd as a whole does not answer: all that is told here is what one member "
                      "of it has, and may be old; nothing can be created, opened or changed, and "
                      "volumes that are open wait once their lease has run out, 4 s");
    if (inquiry->look->unreadable > 0) {
        (void)snprintf(text, sizeof text,
                       "%" PRIu64 " records of the metadata cannot be read: a newer version may "
                       "have written them, or somebody else did",
                       inquiry->look->unreadable);
        own_fact_tell(inquiry, IOMESH_FACT_METADATA, IOMESH_HEALTH_DEGRADED, text);
    }
    if (inquiry->look->store_count == 0)
        own_fact_tell(
            inquiry, IOMESH_FACT_NO_STORES, IOMESH_HEALTH_DEGRADED,
            "the pool has no stores: start iomeshd with some, or add some with store add");
    else if (!inquiry->look->kept)
        own_fact_tell(inquiry, IOMESH_FACT_NO_KEEPER, IOMESH_HEALTH_DEGRADED,
                      "nobody is the keeper, so nothing is repaired, moved or given back: an "
                      "iomeshd that runs becomes it within seconds");
    members_tell(inquiry);
}

/* --- Sums ----------------------------------------------------------------------------------- */

static bool node_counted(const struct look *look, size_t store)
{
    for (size_t i = 0; i < store; i++) {
        if (strcmp(look->stores[i].record.node, look->stores[store].record.node) == 0)
            return true;
    }
    return false;
}

static void sum_stores(const struct look *look, struct iomesh_look *sums)
{
    for (size_t i = 0; i < look->store_count; i++) {
        const struct metadata_store *record = &look->stores[i].record;
        sums->stores++;
        sums->stores_answering += look->stores[i].answers;
        sums->stores_draining += record->state == METADATA_STORE_DRAINING;
        sums->stores_out += record->state == METADATA_STORE_OUT;
        /* Ten thousand stores are on neighbouring nodes, mostly. */
        bool same = i > 0 && strcmp(record->node, look->stores[i - 1].record.node) == 0;
        sums->nodes += !same && !node_counted(look, i);
        if (record->state == METADATA_STORE_OUT)
            continue;
        sums->bytes += record->bytes;
        sums->used_bytes += record->bytes_used;
        sums->promised_bytes += record->bytes_promised;
    }
}

static void sum_volumes(const struct look *look, struct iomesh_look *sums)
{
    for (size_t i = 0; i < look->volume_count; i++) {
        bool deleting = look->volumes[i].state == METADATA_VOLUME_DELETING;
        sums->volumes_deleting += deleting;
        sums->volumes += look->volumes[i].state == METADATA_VOLUME_LIVE;
        sums->volumes_open += !deleting && look->volumes[i].owned;
    }
    for (size_t i = 0; i < look->member_count; i++) {
        sums->copies++;
        sums->copies_in_sync += look->members[i].state == METADATA_IN_SYNC;
        sums->copies_stale += look->members[i].state == METADATA_STALE;
        sums->copies_catching_up += look->members[i].state == METADATA_CATCHING_UP;
    }
    sums->groups = look->group_count;
    sums->sessions = look->session_count;
}

/* --- Steps ---------------------------------------------------------------------------------- */

static int inquiry_tell(struct inquiry *inquiry)
{
    size_t count;
    struct iomesh_look *sums = &inquiry->sums;
    *sums = (struct iomesh_look){.size = sizeof *sums,
                                 .created_ns = inquiry->look->cluster.created_ns,
                                 .members = inquiry->members.count};
    memcpy(sums->uuid, inquiry->look->cluster.uuid, sizeof sums->uuid);
    memcpy(sums->keeper, inquiry->look->keeper, sizeof sums->keeper);
    for (uint32_t i = 0; i < inquiry->members.count; i++)
        sums->members_answering += inquiry->members.items[i].answers;
    sum_stores(inquiry->look, sums);
    sum_volumes(inquiry->look, sums);
    int result = look_plan_open(inquiry->look, &inquiry->plan);
    if (result != 0)
        return result;
    const struct plan_fact *facts = plan_facts(inquiry->plan.plan, &count);
    for (size_t i = 0; i < count; i++)
        plan_fact_tell(inquiry, &facts[i]);
    look_plan_close(&inquiry->plan);
    own_facts(inquiry);
    if (inquiry->tell != NULL)
        inquiry->tell(inquiry->operation->context, sums);
    return 0;
}

static void inquiry_ended(struct inquiry *inquiry)
{
    if (--inquiry->waiting > 0)
        return;
    struct api_operation *operation = inquiry->operation;
    int result = inquiry->result;
    if (result == 0)
        result = inquiry_tell(inquiry);
    else
        (void)FAIL(result, "%s", inquiry->sentence);
    look_free(inquiry->look);
    free(inquiry);
    api_operation_done(operation, result);
}

static void inquiry_looked(void *context, int result, struct look *look)
{
    struct inquiry *inquiry = context;
    inquiry->look = look;
    inquiry->result = result;
    if (result != 0)
        (void)snprintf(inquiry->sentence, sizeof inquiry->sentence, "%s", base_last_error());
    inquiry_ended(inquiry);
}

static void inquiry_members(struct members *members)
{
    inquiry_ended(CONTAINER_OF(members, struct inquiry, members));
}

int iomesh_pool_look(struct iomesh_pool *pool, iomesh_fact_fn *fact, iomesh_look_fn *look,
                     iomesh_done_fn *done, void *context)
{
    int result = api_operation_refuse(pool, "", done != NULL);
    if (result == 0)
        result = cluster_refuse_embedded(pool, "a look at its stores");
    if (result != 0)
        return result;
    struct inquiry *inquiry = calloc(1, sizeof *inquiry);
    if (inquiry == NULL)
        return FAIL(-ENOMEM, "%s: no memory", pool->url);
    inquiry->operation = api_operation_begin(pool, context);
    if (inquiry->operation == NULL) {
        free(inquiry);
        return -ENOMEM;
    }
    inquiry->operation->done = done;
    inquiry->fact = fact;
    inquiry->tell = look;
    result = look_start(pool->meta, pool->clock, true, inquiry_looked, inquiry);
    if (result != 0) {
        api_operation_end(inquiry->operation);
        free(inquiry);
        return result;
    }
    inquiry->waiting = 1;
    if (members_start(&inquiry->members, pool->engine, pool->url,
                      pool->options.flags & IOMESH_POOL_STALE, inquiry_members) == 0)
        inquiry->waiting++;
    return 0;
}
