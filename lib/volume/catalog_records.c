/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Copies of the records of a cluster's volumes, on the stores that have the volumes: what metadata
 * can be made of anew when etcd is lost.
 *
 *   a record of an open volume changed, a store came back, or a long time has passed
 *     ──▶ a little later: READ the volume's records ──▶ of each store of its groups, one after the
 *         other: LIST the copies that it has ──▶ FORGET those of no record ──▶ SEND those that are
 *         new or changed
 *
 * So what is kept is always what was read, whatever led to it, and what a store missed while it was
 * away it gets when it is back. A store takes copies from whoever owns the volume, and from nobody
 * before (the part's fence). A copy has a stamp: the epoch of its sender, and the revision of the
 * record.
 *
 * Nobody waits for it, and what goes wrong is tried again with the next change: a copy may be older
 * than the record, and who makes metadata of copies must know that. Bounded: RECORDS_RUNS_MAX
 * volumes at a time, one request each.
 */
#include <stdlib.h>
#include <string.h>

#include "format/metadata_copy.h"
#include "volume/catalog_cluster.h"

#define RECORDS_RUNS_MAX 4u
#define RECORDS_SOON_NS (200 * NS_PER_MS)
#define RECORDS_OFTEN_NS (600 * NS_PER_S)
#define RECORDS_LAST_NS (2 * NS_PER_S) /* Closing a volume waits for it no longer. */
#define RECORDS_LIST_BYTES (PART_RECORDS_BLOCKS_MIN * BLOCK_BYTES)
#define RECORDS_TARGETS_MAX 96u /* Stores of one volume: more are not sent copies. */

/* A record, as it was read. */
struct records_item {
    struct records_item *next; /* In order of keys. */
    uint64_t store;            /* Of its record: for that one alone. 0: for all. */
    bool kept;                 /* By the store that is at hand, as it is here. */
    uint32_t bytes;            /* With its stamp. */
    uint8_t *data;
    char key[METADATA_KEY_BYTES_MAX + 1];
};

struct records_target {
    uint64_t store;
    uint32_t group, generation; /* One of those that it has. */
};

/* Which copies are one volume's: keys that begin so, or one key. */
struct records_range {
    char key[METADATA_KEY_BYTES_MAX + 1];
    bool exact;
};
#define RECORDS_RANGES 6u

struct records_run {
    struct catalog_op op;
    struct catalog_owned *owned; /* NULL: it was closed. */
    uint64_t volume, epoch;
    struct records_item *items, **last;
    struct records_target targets[RECORDS_TARGETS_MAX];
    struct records_range ranges[RECORDS_RANGES];
    uint32_t target_count, at, range;
    unsigned kind; /* Of records_kinds: the next to be read. */
    struct metadata_key after;
    struct part_request request;
    bool flying;
    char (*forget)[METADATA_KEY_BYTES_MAX + 1];
    uint32_t forget_count, forget_room;
    char listed[METADATA_KEY_BYTES_MAX + 1]; /* The last that was. */
    uint8_t *data;
};

static const enum metadata_kind records_kinds[] = {METADATA_VOLUME, METADATA_GROUP, METADATA_MAP,
                                                   METADATA_SNAPSHOT};

static struct records_run *run_of(struct catalog_op *op)
{
    return CONTAINER_OF(op, struct records_run, op);
}

/* --- The end -------------------------------------------------------------------------------- */

static void last_done(struct catalog_owned *owned)
{
    struct catalog_op *op = owned->records_op;
    clock_cancel(owned_catalog(owned)->options.clock, &owned->records_timer);
    owned->records_op = NULL;
    if (op != NULL)
        catalog_op_later(op, 0, owned->records_next);
}

static void run_end(struct catalog_op *op, int result)
{
    struct records_run *run = run_of(op);
    (void)result;
    if (run->owned != NULL) {
        run->owned->records = NULL;
        last_done(run->owned);
    }
    op->catalog->records_runs--;
    for (struct records_item *item = run->items, *next; item != NULL; item = next) {
        next = item->next;
        free(item->data);
        free(item);
    }
    free(run->forget);
    free(run->data);
    free(run);
}

/* Nobody wants it any more. */
static bool run_is_over(const struct records_run *run)
{
    return run->owned == NULL || run->owned->ended != 0 || run->owned->copies == NULL ||
           run->op.catalog->state != CATALOG_READY;
}

/* --- What there is -------------------------------------------------------------------------- */

static int item_add(struct records_run *run, const struct meta_entry *entry, uint64_t store)
{
    struct metadata_stamp stamp = {.epoch = run->epoch, .revision = entry->modified_revision};
    uint64_t bytes = METADATA_COPY_STAMP_BYTES + entry->value.length;
    if (entry->key.length > METADATA_KEY_BYTES_MAX || entry->value.length == 0 ||
        bytes > PART_RECORD_BYTES_MAX)
        return 0; /* Not one of ours. */
    struct records_item *item = calloc(1, sizeof *item);
    uint8_t *data = malloc(bytes);
    if (item == NULL || data == NULL) {
        free(item);
        free(data);
        return -ENOMEM;
    }
    metadata_stamp_put(data, &stamp);
    memcpy(data + METADATA_COPY_STAMP_BYTES, entry->value.data, entry->value.length);
    memcpy(item->key, entry->key.data, entry->key.length);
    item->store = store;
    item->bytes = (uint32_t)bytes;
    item->data = data;
    *run->last = item;
    run->last = &item->next;
    return 0;
}

static int target_add(struct records_run *run, const struct metadata_group *group)
{
    for (uint32_t i = 0; i < group->member_count; i++) {
        uint32_t at = 0;
        while (at < run->target_count && run->targets[at].store != group->members[i].store)
            at++;
        if (at < run->target_count || at == RECORDS_TARGETS_MAX)
            continue;
        run->targets[run->target_count++] = (struct records_target){
            .store = group->members[i].store, .group = group->id, .generation = group->generation};
    }
    return 0;
}

static int take_entry(struct records_run *run, const struct meta_entry *entry)
{
    struct metadata_key_parts parts;
    int result = metadata_key_parse(entry->key.data, entry->key.length, &parts);
    if (result != 0)
        return 0;
    if (parts.kind == METADATA_GROUP) {
        struct metadata_group group;
        result = metadata_group_decode(entry->value.data, entry->value.length, &group);
        if (result == 0) {
            result = target_add(run, &group);
            metadata_group_done(&group);
        }
    }
    if (result == 0)
        result = item_add(run, entry, parts.kind == METADATA_STORE ? parts.id : 0);
    return result;
}

/* --- Sending -------------------------------------------------------------------------------- */

static void target_begin(struct records_run *run);
static void range_list(struct records_run *run);

static void request_told(struct part_request *request, int result);

static void request_send(struct records_run *run, enum part_request_kind kind)
{
    const struct catalog_cluster *cluster = &run->op.catalog->cluster;
    const struct records_target *target = &run->targets[run->at];
    struct part_port *port = cluster->port(cluster->context, target->store);
    bool list = kind == PART_RECORDS;
    run->request.kind = kind;
    run->request.volume = list ? 0 : run->volume;
    run->request.group = list ? (uint32_t)strlen(run->ranges[run->range].key) : target->group;
    run->request.epoch = run->epoch;
    run->request.generation = target->generation;
    run->request.done = request_told;
    run->request.context = run;
    if (port == NULL || port->state != PART_PORT_UP) {
        run->at++;
        target_begin(run);
        return;
    }
    run->flying = true;
    part_submit(port, &run->request);
}

static void target_next(struct records_run *run)
{
    run->at++;
    target_begin(run);
}

/* The next that is to be forgotten, or sent. */
static void target_send(struct records_run *run)
{
    run->request = (struct part_request){0};
    if (run->forget_count > 0) {
        run->request.key = run->forget[--run->forget_count];
        request_send(run, PART_RECORD);
        return;
    }
    uint64_t store = run->targets[run->at].store;
    for (struct records_item *item = run->items; item != NULL; item = item->next) {
        if (item->kept || (item->store != 0 && item->store != store))
            continue;
        item->kept = true;
        memcpy(run->data, item->data, item->bytes);
        run->request.key = item->key;
        run->request.data = run->data;
        run->request.bytes = item->bytes;
        REACH(catalog_record_sent);
        request_send(run, PART_RECORD);
        return;
    }
    target_next(run);
}

static int forget_add(struct records_run *run, const char *key)
{
    if (run->forget_count == run->forget_room) {
        uint32_t room = 2 * run->forget_room + 16;
        void *grown = realloc(run->forget, room * sizeof *run->forget);
        if (grown == NULL)
            return -ENOMEM;
        run->forget = grown;
        run->forget_room = room;
    }
    memcpy(run->forget[run->forget_count++], key, METADATA_KEY_BYTES_MAX + 1);
    return 0;
}

/* One that the store has. */
static int copy_listed(struct records_run *run, const struct metadata_copy *copy)
{
    uint64_t store = run->targets[run->at].store;
    for (struct records_item *item = run->items; item != NULL; item = item->next) {
        if (strcmp(item->key, copy->key) != 0 || (item->store != 0 && item->store != store))
            continue;
        item->kept = item->bytes == copy->bytes && memcmp(item->data, copy->data, copy->bytes) == 0;
        return 0;
    }
    if (run->ranges[run->range].exact)
        return 0; /* Somebody else's. */
    REACH(catalog_record_forgotten);
    return forget_add(run, copy->key);
}

static int range_take(struct records_run *run)
{
    uint32_t at = 0;
    for (uint64_t i = 0; i < run->request.found; i++) {
        struct metadata_copy copy;
        int length = metadata_copy_listed(run->data + at, run->request.bytes - at, &copy);
        if (length < 0)
            return length;
        at += (uint32_t)length;
        int result = copy_listed(run, &copy);
        if (result != 0)
            return result;
        memcpy(run->listed, copy.key, sizeof copy.key);
    }
    return 0;
}

static void range_listed(struct records_run *run)
{
    int result = range_take(run);
    if (result != 0) {
        target_next(run);
        return;
    }
    if (run->request.found == 0) {
        run->range++;
        run->listed[0] = '\0';
    }
    if (run->range < RECORDS_RANGES)
        range_list(run);
    else
        target_send(run);
}

static void range_list(struct records_run *run)
{
    const char *key = run->ranges[run->range].key;
    run->request = (struct part_request){
        .count = PART_RECORDS_BLOCKS_MIN,
        .data = run->data,
        .key = run->listed[0] != '\0' ? run->listed : key,
    };
    request_send(run, PART_RECORDS);
}

static void request_told(struct part_request *request, int result)
{
    struct records_run *run = request->context;
    run->flying = false;
    if (run_is_over(run))
        catalog_op_end(&run->op, 0);
    else if (result != 0)
        target_next(run); /* It is away, full, or somebody else's: with the next change. */
    else if (request->kind == PART_RECORDS)
        range_listed(run);
    else
        target_send(run);
}

/* Keys that begin with all of a key but its last byte: few, and that one among them. */
static void range_set(struct records_range *range, struct metadata_key key, bool exact)
{
    size_t length = exact ? key.length - 1 : key.length;
    memcpy(range->key, key.bytes, length);
    range->key[length] = '\0';
    range->exact = exact;
}

static void target_begin(struct records_run *run)
{
    if (run->at == run->target_count || run_is_over(run)) {
        catalog_op_later(&run->op, 0, catalog_op_end);
        return;
    }
    range_set(&run->ranges[0], metadata_cluster_key(), true);
    range_set(&run->ranges[1], metadata_volume_prefix(METADATA_GROUP, run->volume), false);
    range_set(&run->ranges[2], metadata_volume_prefix(METADATA_MAP, run->volume), false);
    range_set(&run->ranges[3], metadata_volume_prefix(METADATA_SNAPSHOT, run->volume), false);
    range_set(&run->ranges[4], metadata_store_key(run->targets[run->at].store), true);
    range_set(&run->ranges[5], metadata_volume_key(run->volume), true);
    for (struct records_item *item = run->items; item != NULL; item = item->next)
        item->kept = false;
    run->forget_count = 0;
    run->range = 0;
    run->listed[0] = '\0';
    range_list(run);
}

/* --- Reading -------------------------------------------------------------------------------- */

static int run_take(struct records_run *run, int result)
{
    if (result == 0 && run_is_over(run))
        result = -ECANCELED;
    for (uint32_t i = 0; result == 0 && i < run->op.request.response_count; i++) {
        const struct meta_response *response = &run->op.request.responses[i];
        for (uint32_t j = 0; j < response->entry_count && result == 0; j++)
            result = take_entry(run, &response->entries[j]);
    }
    return result;
}

static void stores_read(struct catalog_op *op, int result)
{
    struct records_run *run = run_of(op);
    result = run_take(run, result);
    if (result == 0)
        target_begin(run);
    else
        catalog_op_end(op, result);
}

static void stores_ask(struct records_run *run)
{
    struct metadata_key cluster = metadata_cluster_key();
    meta_request_reset(&run->op.request);
    meta_get(&run->op.request, META_SLICE(cluster));
    for (uint32_t i = 0; i < run->target_count; i++) {
        struct metadata_key key = metadata_store_key(run->targets[i].store);
        meta_get(&run->op.request, META_SLICE(key));
    }
    catalog_op_commit(&run->op, stores_read);
}

static void kind_ask(struct records_run *run);

static void kind_read(struct catalog_op *op, int result)
{
    struct records_run *run = run_of(op);
    result = run_take(run, result);
    if (result != 0) {
        catalog_op_end(op, result);
        return;
    }
    const struct meta_response *response = &op->request.responses[0];
    run->after.length = 0;
    if (response->kind == META_LIST && response->more && response->entry_count > 0) {
        const struct meta_slice *last = &response->entries[response->entry_count - 1].key;
        run->after.length = MIN(last->length, sizeof run->after.bytes);
        memcpy(run->after.bytes, last->data, run->after.length);
    } else if (++run->kind == COUNT_OF(records_kinds)) {
        stores_ask(run);
        return;
    }
    kind_ask(run);
}

static void kind_ask(struct records_run *run)
{
    enum metadata_kind kind = records_kinds[run->kind];
    struct metadata_key key = kind == METADATA_VOLUME ? metadata_volume_key(run->volume)
                                                      : metadata_volume_prefix(kind, run->volume);
    meta_request_reset(&run->op.request);
    if (kind == METADATA_VOLUME)
        meta_get(&run->op.request, META_SLICE(key));
    else
        meta_list(&run->op.request, META_SLICE(key), META_SLICE(run->after), META_LIST_ENTRIES_MAX);
    catalog_op_commit(&run->op, kind_read);
}

static void run_begin(struct catalog_op *op, int result)
{
    (void)result;
    kind_ask(run_of(op));
}

/* --- When ----------------------------------------------------------------------------------- */

static bool run_start(struct catalog_owned *owned)
{
    struct catalog *catalog = owned_catalog(owned);
    struct records_run *run = calloc(1, sizeof *run);
    if (run != NULL)
        run->data = aligned_alloc(BLOCK_BYTES, RECORDS_LIST_BYTES);
    if (run == NULL || run->data == NULL) {
        free(run);
        return false;
    }
    run->owned = owned;
    run->volume = owned->volume->record.id;
    run->epoch = owned->volume->record.epoch;
    run->last = &run->items;
    owned->records = run;
    owned->records_due_ns = clock_now_ns(catalog->options.clock) + RECORDS_OFTEN_NS;
    catalog->records_runs++;
    (void)catalog_op_start(&run->op, catalog, NULL, run_begin, run_end);
    return true;
}

static void records_fire(struct timer *timer)
{
    struct catalog *catalog = CONTAINER_OF(timer, struct catalog, records_timer);
    uint64_t now_ns = clock_now_ns(catalog->options.clock);
    uint64_t next_ns = CLOCK_NEVER;
    if (catalog->state != CATALOG_READY)
        return;
    LIST_EACH (&catalog->owned, node) {
        struct catalog_owned *owned = LIST_ENTRY(node, struct catalog_owned, node);
        if (owned->copies == NULL || owned->volume->volume == NULL || owned->ended != 0)
            continue;
        if (owned->records_due_ns <= now_ns && owned->records == NULL &&
            catalog->records_runs < RECORDS_RUNS_MAX)
            (void)run_start(owned);
        next_ns = MIN(next_ns, MAX(owned->records_due_ns, now_ns + RECORDS_SOON_NS));
    }
    if (next_ns != CLOCK_NEVER)
        clock_set(catalog->options.clock, timer, next_ns);
}

void catalog_records_changed(struct catalog_owned *owned)
{
    struct catalog *catalog = owned_catalog(owned);
    uint64_t soon_ns = clock_now_ns(catalog->options.clock) + RECORDS_SOON_NS;
    owned->records_due_ns = MIN(owned->records_due_ns, soon_ns);
    catalog->records_timer.fire = records_fire;
    if (catalog->state == CATALOG_READY &&
        (!catalog->records_timer.set || catalog->records_timer.at_ns > soon_ns))
        clock_set(catalog->options.clock, &catalog->records_timer, soon_ns);
}

void catalog_records_port(struct catalog *catalog, const struct part_port *port)
{
    if (port->state != PART_PORT_UP || MUTANT(432))
        return;
    LIST_EACH (&catalog->owned, node) {
        struct catalog_owned *owned = LIST_ENTRY(node, struct catalog_owned, node);
        for (uint32_t i = 0; i < owned->group_count; i++) {
            const struct metadata_group *group = &owned->groups[i].record;
            for (uint32_t j = 0; j < group->member_count; j++) {
                if (group->members[j].store == port->store)
                    catalog_records_changed(owned);
            }
        }
    }
}

bool catalog_records_settled(const struct catalog_owned *owned)
{
    return owned->records == NULL &&
           owned->records_due_ns >
               clock_now_ns(owned_catalog(owned)->options.clock) + RECORDS_SOON_NS;
}

void catalog_records_leave(struct catalog_owned *owned)
{
    struct records_run *run = owned->records;
    if (run == NULL)
        return;
    run->owned = NULL;
    owned->records = NULL;
    if (run->flying)
        part_cancel(&run->request);
    last_done(owned);
}

static void last_fire(struct timer *timer)
{
    catalog_records_leave(CONTAINER_OF(timer, struct catalog_owned, records_timer));
}

void catalog_records_last(struct catalog_owned *owned, struct catalog_op *op, catalog_step_fn *next)
{
    struct catalog *catalog = owned_catalog(owned);
    bool late = owned->ended != 0 || owned->copies == NULL || catalog->state != CATALOG_READY;
    if (late)
        catalog_records_leave(owned);
    if (late || catalog_records_settled(owned) || (owned->records == NULL && !run_start(owned))) {
        catalog_op_later(op, 0, next);
        return;
    }
    REACH(catalog_records_last);
    owned->records_op = op;
    owned->records_next = next;
    owned->records_timer.fire = last_fire;
    clock_set_after(catalog->options.clock, &owned->records_timer, RECORDS_LAST_NS);
}

void catalog_records_stop(struct catalog *catalog)
{
    clock_cancel(catalog->options.clock, &catalog->records_timer);
    LIST_EACH (&catalog->owned, node)
        catalog_records_leave(LIST_ENTRY(node, struct catalog_owned, node));
}
