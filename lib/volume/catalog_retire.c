/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What stores of a cluster are asked behind the user's back.
 *
 * A volume that is deleted: its groups tell which stores have something of it, or had.
 *
 *   GROUPS ──▶ of each store: FENCE to the epoch of the deletion ──▶ the copies of records that
 *                ▲                                   it keeps: LIST, FORGET ──▶ RETIRE ──▶ done
 *                └── a second later, while it is away
 *
 * Nobody sends copies after the fence, and forgetting them is durable when RETIRE is.
 * Its records stay until every store has answered: whoever opens the pool after a crash asks all of
 * them again, which does no harm. A store that has no record any more is not asked.
 *
 * Cuts that are dropped, of a volume that is open here: the copies of one group after the other are
 * told which cuts are kept (VIEWS). Those that are stale hear it when they catch up.
 */
#include <stdlib.h>
#include <string.h>

#include "format/metadata_copy.h"
#include "volume/catalog_cluster.h"

struct retire_target {
    struct catalog_retire *retire;
    uint64_t store;
    uint32_t group; /* One of those that it has. */
    bool flying, done;
    struct part_request request;
    unsigned kind;      /* Of target_kinds: whose copies are listed next. */
    uint8_t *data;      /* The list. NULL: not yet. */
    uint32_t at, bytes; /* Of the list: the next to be forgotten. */
    char key[METADATA_KEY_BYTES_MAX + 1];
};

static const enum metadata_kind target_kinds[] = {METADATA_VOLUME, METADATA_GROUP, METADATA_MAP,
                                                  METADATA_SNAPSHOT};

struct catalog_retire {
    struct catalog_chore *chore;
    struct retire_target *targets; /* In order of stores. */
    uint32_t count, capacity;
    uint32_t left, flying;
    bool stopped;
    struct metadata_key after;
    struct meta_request request;
    struct timer timer;
};

/* --- The end ---------------------------------------------------------------------------------- */

static void retire_end(struct catalog_retire *retire, int result)
{
    struct catalog_chore *chore = retire->chore;
    clock_cancel(chore->catalog->options.clock, &retire->timer);
    chore->retire = NULL;
    meta_request_done(&retire->request);
    for (uint32_t i = 0; i < retire->count; i++)
        free(retire->targets[i].data);
    free(retire->targets);
    free(retire);
    catalog_chore_stored(chore, result);
}

/* --- Asking ----------------------------------------------------------------------------------- */

static void retire_ask(struct catalog_retire *retire);

static void retire_again(struct timer *timer)
{
    retire_ask(CONTAINER_OF(timer, struct catalog_retire, timer));
}

static void retire_look(struct catalog_retire *retire)
{
    if (retire->flying > 0)
        return;
    if (retire->left == 0) {
        retire_end(retire, 0);
    } else if (retire->stopped) {
        retire_end(retire, -ECANCELED);
    } else {
        REACH(catalog_retire_waits);
        retire->timer.fire = retire_again;
        clock_set_after(retire->chore->catalog->options.clock, &retire->timer, CATALOG_RETRY_NS);
    }
}

void catalog_retire_hurry(struct catalog *catalog)
{
    LIST_EACH (&catalog->chores, node) {
        struct catalog_retire *retire = LIST_ENTRY(node, struct catalog_chore, node)->retire;
        if (retire != NULL && retire->timer.set)
            clock_set_after(catalog->options.clock, &retire->timer, 0);
    }
}

static void target_done(struct part_request *request, int result);

static void target_send(struct retire_target *target, struct part_port *port,
                        enum part_request_kind kind)
{
    const struct catalog_chore *chore = target->retire->chore;
    target->request = (struct part_request){
        .kind = kind,
        .volume = chore->id,
        .group = target->group,
        .epoch = chore->epoch,
        .generation = UINT32_MAX,
        .done = target_done,
        .context = target,
    };
    if (!target->flying)
        target->retire->flying++;
    target->flying = true;
    part_submit(port, &target->request);
}

/* All of a kind that the store has. */
static void target_list(struct retire_target *target, struct part_port *port)
{
    const struct catalog_chore *chore = target->retire->chore;
    enum metadata_kind kind = target_kinds[target->kind];
    struct metadata_key key = kind == METADATA_VOLUME ? metadata_volume_key(chore->id)
                                                      : metadata_volume_prefix(kind, chore->id);
    size_t length = kind == METADATA_VOLUME ? key.length - 1 : key.length;
    memcpy(target->key, key.bytes, length);
    target->key[length] = '\0';
    target->request = (struct part_request){
        .kind = PART_RECORDS,
        .group = (uint32_t)length,
        .count = PART_RECORDS_BLOCKS_MIN,
        .data = target->data,
        .key = target->key,
        .done = target_done,
        .context = target,
    };
    part_submit(port, &target->request);
}

/* True: the next of the list is being forgotten. */
static bool target_forget(struct retire_target *target, struct part_port *port)
{
    struct metadata_copy copy;
    struct metadata_key own = metadata_volume_key(target->retire->chore->id);
    while (target->at < target->bytes) {
        int length =
            metadata_copy_listed(target->data + target->at, target->bytes - target->at, &copy);
        if (length < 0)
            return false;
        target->at += (uint32_t)length;
        if (target_kinds[target->kind] == METADATA_VOLUME &&
            (copy.key_length != own.length || memcmp(copy.key, own.bytes, own.length) != 0))
            continue;
        memcpy(target->key, copy.key, sizeof copy.key);
        target->request = (struct part_request){
            .kind = PART_RECORD, .key = target->key, .done = target_done, .context = target};
        part_submit(port, &target->request);
        return true;
    }
    return false;
}

/* The next of its copies goes. False: it has none any more. */
static bool target_forgets(struct retire_target *target, const struct part_request *request)
{
    bool listed = request->kind == PART_RECORDS;
    bool own = request->kind != PART_FENCE && target_kinds[target->kind] == METADATA_VOLUME;
    if (request->kind == PART_FENCE) {
        target->kind = 0;
        if (target->data == NULL)
            target->data =
                aligned_alloc(BLOCK_BYTES, (size_t)PART_RECORDS_BLOCKS_MIN * BLOCK_BYTES);
        if (target->data == NULL || MUTANT(372))
            return false;
        target_list(target, request->port);
        return true;
    }
    if (listed) {
        target->at = 0;
        target->bytes = request->bytes;
    }
    if (target_forget(target, request->port))
        return true;
    /* Of the volume's own record there is one; of others one list may not have had all. */
    if (own || (listed && request->found == 0))
        target->kind++;
    if (target->kind == COUNT_OF(target_kinds))
        return false;
    target_list(target, request->port);
    return true;
}

static void target_done(struct part_request *request, int result)
{
    struct retire_target *target = request->context;
    struct catalog_retire *retire = target->retire;
    bool last = request->kind == PART_RETIRE;
    /* One that is retired already obeys nobody, and says so to the fence only. */
    if (request->kind == PART_FENCE && result == IOMESH_FENCED)
        result = 0;
    if (!last && result == 0 && !retire->stopped) {
        if (!target_forgets(target, request))
            target_send(target, request->port, PART_RETIRE);
        return;
    }
    target->flying = false;
    retire->flying--;
    if (last && result == 0) {
        target->done = true;
        retire->left--;
    }
    retire_look(retire);
}

static void retire_ask(struct catalog_retire *retire)
{
    const struct catalog *catalog = retire->chore->catalog;
    retire->flying++; /* This look. */
    for (uint32_t i = 0; i < retire->count && !retire->stopped; i++) {
        struct retire_target *target = &retire->targets[i];
        if (target->done)
            continue;
        struct part_port *port = catalog->cluster.port(catalog->cluster.context, target->store);
        if (stores_find(&catalog->stores, target->store) == NULL) {
            target->done = true;
            retire->left--;
        } else if (port != NULL && port->state == PART_PORT_UP) {
            target_send(target, port, PART_FENCE);
        }
    }
    retire->flying--;
    retire_look(retire);
}

/* --- Whom to ask ------------------------------------------------------------------------------ */

static int target_add(struct catalog_retire *retire, uint64_t store, uint32_t group)
{
    for (uint32_t i = 0; i < retire->count; i++) {
        if (retire->targets[i].store == store)
            return 0;
    }
    if (retire->count == retire->capacity) {
        uint32_t capacity = MAX(2 * retire->capacity, 16u);
        struct retire_target *targets = realloc(retire->targets, capacity * sizeof *targets);
        if (targets == NULL)
            return -ENOMEM;
        retire->targets = targets;
        retire->capacity = capacity;
    }
    retire->targets[retire->count++] =
        (struct retire_target){.retire = retire, .store = store, .group = group};
    return 0;
}

static int retire_group(struct catalog_retire *retire, const struct meta_entry *entry)
{
    struct metadata_group group;
    int result = metadata_group_decode(entry->value.data, entry->value.length, &group);
    if (result != 0)
        return result;
    for (uint32_t i = 0; i < group.member_count && result == 0; i++)
        result = target_add(retire, group.members[i].store, group.id);
    for (uint32_t i = 0; i < group.left_count && result == 0; i++)
        result = target_add(retire, group.left[i], group.id);
    metadata_group_done(&group);
    return result;
}

static int retire_read_page(struct catalog_retire *retire);

static void retire_read(struct meta_request *request, int result)
{
    struct catalog_retire *retire = CONTAINER_OF(request, struct catalog_retire, request);
    const struct meta_response *response = &request->responses[0];
    uint32_t count = result == 0 ? response->entry_count : 0;
    for (uint32_t i = 0; i < count && result == 0; i++)
        result = retire_group(retire, &response->entries[i]);
    if (result == 0 && retire->stopped)
        result = -ECANCELED;
    if (result == 0 && count > 0 && response->more) {
        const struct meta_slice *last = &response->entries[count - 1].key;
        retire->after.length = MIN(last->length, sizeof retire->after.bytes);
        memcpy(retire->after.bytes, last->data, retire->after.length);
        result = retire_read_page(retire);
        if (result == 0)
            return;
    }
    if (result != 0) {
        retire_end(retire, result);
        return;
    }
    retire->left = retire->count;
    retire_ask(retire);
}

static int retire_read_page(struct catalog_retire *retire)
{
    struct metadata_key prefix = metadata_volume_prefix(METADATA_GROUP, retire->chore->id);
    meta_request_reset(&retire->request);
    meta_list(&retire->request, META_SLICE(prefix), META_SLICE(retire->after),
              META_LIST_ENTRIES_MAX);
    return meta_commit(retire->chore->catalog->options.meta, &retire->request, retire_read);
}

static int retire_start(struct catalog_chore *chore)
{
    struct catalog_retire *retire = calloc(1, sizeof *retire);
    if (retire == NULL)
        return -ENOMEM;
    retire->chore = chore;
    int result = retire_read_page(retire);
    if (result != 0) {
        meta_request_done(&retire->request);
        free(retire);
        return result;
    }
    chore->retire = retire;
    return 0;
}

/* --- Cuts that are dropped -------------------------------------------------------------------- */

struct catalog_sweep {
    struct catalog_chore *chore;
    struct catalog_owned *owned;
    uint32_t group; /* Index of the one that is asked. */
    uint32_t flying;
    bool failed, stopped;
    struct part_request requests[REPLICA_COPIES_MAX];
    struct timer timer;
    uint32_t waited; /* For copies of records. */
    uint64_t *cuts;
    uint32_t cut_count;
};
#define SWEEP_WAITS 10u

static void sweep_end(struct catalog_sweep *sweep, int result)
{
    struct catalog_chore *chore = sweep->chore;
    struct catalog_owned *owned = sweep->owned;
    struct catalog_op *op = owned->swept;
    clock_cancel(chore->catalog->options.clock, &sweep->timer);
    chore->sweep = NULL;
    owned->sweep = NULL;
    owned->swept = NULL;
    free(sweep->cuts);
    free(sweep);
    if (op != NULL)
        catalog_op_later(op, 0, owned->swept_next);
    catalog_chore_stored(chore, result);
}

static void sweep_ask(struct catalog_sweep *sweep);

static void sweep_again(struct timer *timer)
{
    sweep_ask(CONTAINER_OF(timer, struct catalog_sweep, timer));
}

/* All of the group have answered. */
static void sweep_look(struct catalog_sweep *sweep)
{
    if (sweep->flying > 0)
        return;
    if (sweep->stopped || sweep->owned->ended != 0) {
        sweep_end(sweep, -ECANCELED);
    } else if (sweep->failed) {
        sweep->timer.fire = sweep_again;
        clock_set_after(sweep->chore->catalog->options.clock, &sweep->timer, CATALOG_RETRY_NS);
    } else if (++sweep->group == sweep->owned->group_count) {
        sweep_end(sweep, 0);
    } else {
        sweep_ask(sweep);
    }
}

static void sweep_told(struct part_request *request, int result)
{
    struct catalog_sweep *sweep = request->context;
    sweep->flying--;
    request->port = NULL; /* Not to be cancelled any more. */
    sweep->failed = sweep->failed || result != 0;
    sweep_look(sweep);
}

/* One that is in the set of copies that count, but away, is asked again: it will be stale soon. */
static void sweep_send(struct catalog_sweep *sweep, const struct copies_look *look, uint32_t copy)
{
    const struct catalog_cluster *cluster = &sweep->chore->catalog->cluster;
    const struct replica_copy *of = &look->replica->copies[copy];
    if (of->state != REPLICA_IN_SYNC && of->state != REPLICA_CATCHING_UP)
        return;
    struct part_port *port = cluster->port(cluster->context, of->store);
    if (port == NULL || port->state != PART_PORT_UP) {
        sweep->failed = true;
        return;
    }
    sweep->requests[copy] = (struct part_request){
        .kind = PART_VIEWS,
        .volume = sweep->chore->id,
        .group = sweep->owned->groups[sweep->group].record.id,
        .epoch = look->replica->epoch,
        .generation = look->replica->generation,
        .cuts = sweep->cuts,
        .cut_count = sweep->cut_count,
        .sequence = sweep->chore->last,
        .done = sweep_told,
        .context = sweep,
    };
    sweep->flying++;
    part_submit(port, &sweep->requests[copy]);
}

static void sweep_ask(struct catalog_sweep *sweep)
{
    struct copies_look look;
    uint32_t id = sweep->owned->groups[sweep->group].record.id;
    sweep->failed = !copies_look(sweep->owned->copies, id, &look);
    sweep->flying++; /* This look. */
    for (uint32_t i = 0; i < REPLICA_COPIES_MAX && !sweep->failed && !sweep->stopped; i++)
        sweep_send(sweep, &look, i);
    sweep->flying--;
    sweep_look(sweep);
}

static void sweep_begin(struct timer *timer)
{
    struct catalog_sweep *sweep = CONTAINER_OF(timer, struct catalog_sweep, timer);
    /* A copy of a record that says a snapshot is there must not outlive what it shows; but what is
     * deleted does not wait for that for ever. */
    bool told = catalog_records_settled(sweep->owned) || ++sweep->waited > SWEEP_WAITS;
    if ((sweep->owned->taking || !told) && !sweep->stopped && sweep->owned->ended == 0) {
        clock_set_after(sweep->chore->catalog->options.clock, timer, CATALOG_RETRY_NS);
        return;
    }
    sweep->cut_count = catalog_owned_cuts_now(sweep->owned, sweep->cuts);
    sweep_ask(sweep);
}

/* Not within the call: who wakes a chore may be taking a cut. */
static int sweep_start(struct catalog_chore *chore, struct catalog_owned *owned)
{
    struct catalog_sweep *sweep = calloc(1, sizeof *sweep);
    if (sweep != NULL)
        sweep->cuts = calloc(PART_CUTS_MAX + 1, sizeof *sweep->cuts);
    if (sweep == NULL || sweep->cuts == NULL) {
        free(sweep);
        return -ENOMEM;
    }
    REACH(catalog_sweep);
    sweep->chore = chore;
    sweep->owned = owned;
    chore->sweep = owned->sweep = sweep;
    sweep->timer.fire = sweep_begin;
    clock_set_after(chore->catalog->options.clock, &sweep->timer, 1);
    return 0;
}

/* --- From outside ----------------------------------------------------------------------------- */

int catalog_chore_ask(struct catalog_chore *chore)
{
    if (chore->last == 0)
        return retire_start(chore);
    LIST_EACH (&chore->catalog->owned, node) {
        struct catalog_owned *owned = LIST_ENTRY(node, struct catalog_owned, node);
        if (owned->volume->record.id == chore->id && owned->volume->volume != NULL &&
            owned->ended == 0 && owned->sweep == NULL)
            return sweep_start(chore, owned);
    }
    return -ECANCELED; /* It was closed since: when it is opened next. */
}

static void sweep_stop(struct catalog_sweep *sweep)
{
    sweep->stopped = true;
    if (sweep->timer.set)
        clock_set_after(sweep->chore->catalog->options.clock, &sweep->timer, 1);
    for (uint32_t i = 0; i < REPLICA_COPIES_MAX; i++) {
        if (sweep->requests[i].port != NULL)
            part_cancel(&sweep->requests[i]);
    }
}

void catalog_owned_sweep_stop(struct catalog_owned *owned)
{
    if (owned->sweep != NULL)
        sweep_stop(owned->sweep);
}

bool catalog_chore_leave(struct catalog_chore *chore)
{
    struct catalog_retire *retire = chore->retire;
    if (chore->sweep != NULL) {
        sweep_stop(chore->sweep);
        return true;
    }
    if (retire == NULL)
        return false;
    if (retire->stopped)
        return true;
    retire->stopped = true;
    for (uint32_t i = 0; i < retire->count; i++) {
        if (retire->targets[i].flying)
            part_cancel(&retire->targets[i].request);
    }
    if (retire->timer.set)
        clock_set_after(chore->catalog->options.clock, &retire->timer, 1);
    return true;
}
