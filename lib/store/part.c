/* SPDX-License-Identifier: Apache-2.0 */
/* The port of a store: which way each word goes, and the answers. */
#include <stdlib.h>
#include <string.h>

#include "store/records.h"

#define GROUPS_MAX 0x10000u /* A record has 16 bits for it. */
#define VOLUME_BLOCKS_MAX ((uint64_t)SEGMENTS_PER_VOLUME * SEGMENT_BLOCKS)

void part_end(struct parts *parts, struct part_request *request, const struct part *part,
              int result)
{
    if (part != NULL) {
        request->state = part->state;
        if (!part->counted)
            request->state.aside = UINT32_MAX;
    }
    request->result = result;
    list_remove(&request->node);
    list_push_back(&parts->ended, &request->node);
}

/* --- Sense ---------------------------------------------------------------------------------- */

static bool range_sane(const struct part_request *request)
{
    return request->count >= 1 && request->count <= PART_BLOCKS_MAX &&
           request->block < VOLUME_BLOCKS_MAX &&
           request->block % MAP_BLOCKS + request->count <= MAP_BLOCKS;
}

static bool change_sane(const struct part_request *request)
{
    bool cut = request->cut == 0 || (request->views && request->cut < request->sequence);
    return range_sane(request) && request->sequence > 0 && request->sequence < SEQUENCE_MAX && cut;
}

static bool view_sane(const struct part_request *request)
{
    return request->view > 0 && request->view <= VIEW_HEAD;
}

static bool cuts_sane(const struct part_request *request)
{
    if (request->cut_count > PART_CUTS_MAX)
        return false;
    for (uint32_t i = 0; i < request->cut_count; i++) {
        uint64_t before = i == 0 ? 0 : request->cuts[i - 1];
        if (request->cuts[i] <= before || request->cuts[i] >= VIEW_HEAD)
            return false;
    }
    return true;
}

static bool role_sane(const struct part_request *request)
{
    if (request->role != PART_IN_SYNC && request->role != PART_CATCHING_UP)
        return false;
    if (request->run_count > PART_RUNS_MAX)
        return false;
    for (uint32_t i = 0; i < request->run_count; i++) {
        const struct part_run *run = &request->runs[i];
        if (run->count == 0 || run->count > SEGMENTS_PER_VOLUME ||
            run->first > SEGMENTS_PER_VOLUME - run->count)
            return false;
    }
    return true;
}

static bool key_sane(const char *key)
{
    return key[0] != '\0' &&
           strnlen(key, PART_RECORD_KEY_BYTES_MAX + 1) <= PART_RECORD_KEY_BYTES_MAX;
}

static bool record_sane(const struct part_request *request)
{
    if (request->kind == PART_RECORDS)
        return (request->key == NULL || key_sane(request->key)) &&
               request->count >= PART_RECORDS_BLOCKS_MIN && request->count <= PART_BLOCKS_MAX &&
               request->data != NULL;
    return request->key != NULL && key_sane(request->key) &&
           (request->bytes == 0 || request->data != NULL);
}

static bool request_sane(const struct part_request *request)
{
    bool record = request->kind == PART_RECORD || request->kind == PART_RECORDS;
    if (record && request->volume == 0)
        return record_sane(request);
    if (request->volume == 0 || volume_is_system(request->volume) || request->group >= GROUPS_MAX ||
        request->epoch > SEQUENCE_MAX || request->watermark >= SEQUENCE_MAX)
        return false;
    switch (request->kind) {
    case PART_FENCE: return request->epoch > 0;
    case PART_ROLE: return role_sane(request);
    case PART_WRITE: return change_sane(request) && request->data != NULL && request->crcs != NULL;
    case PART_ZERO: return change_sane(request);
    case PART_READ: return range_sane(request) && view_sane(request) && request->data != NULL;
    case PART_MAP: return range_sane(request) && view_sane(request) && request->versions != NULL;
    case PART_CHANGED:
        return view_sane(request) && request->block <= request->last &&
               request->last < VOLUME_BLOCKS_MAX && request->versions != NULL;
    case PART_RESYNC:
    case PART_REPAIR:
        return range_sane(request) && view_sane(request) && cuts_sane(request) &&
               request->versions != NULL;
    case PART_VIEWS: return cuts_sane(request);
    case PART_VIEW_SPACE:
        return cuts_sane(request) && request->cut_count > 0 && request->data != NULL;
    case PART_STATE:
    case PART_FLUSH:
    case PART_WATERMARK:
    case PART_RETIRE: return true;
    case PART_RECORD:
    case PART_RECORDS: return record_sane(request);
    default: return false;
    }
}

/* --- Arriving ------------------------------------------------------------------------------- */

static bool kind_changes(enum part_request_kind kind)
{
    return kind != PART_STATE && kind != PART_READ && kind != PART_MAP && kind != PART_CHANGED &&
           kind != PART_VIEW_SPACE && kind != PART_RECORDS;
}

static int request_refused(const struct parts *parts, const struct part_request *request)
{
    switch (parts->store->state) {
    case STORE_READY: break;
    case STORE_READ_ONLY:
        if (kind_changes(request->kind))
            return -EROFS;
        break;
    case STORE_FAILED: return IOMESH_FAILED;
    default: return -ECONNRESET;
    }
    return request_sane(request) ? 0 : -EPROTO;
}

/* Those that no part has to obey. */
static bool is_free(const struct part_request *request)
{
    enum part_request_kind kind = request->kind;
    if (kind == PART_RECORD && request->volume == 0)
        return true;
    return kind == PART_RECORDS || kind == PART_FENCE || kind == PART_STATE ||
           kind == PART_RETIRE || kind == PART_VIEW_SPACE;
}

static void part_arrives(struct parts *parts, struct part_request *request)
{
    struct part *part = part_find(parts, request->volume, request->group);
    int result = request_refused(parts, request);
    /* Who has the part may say that it goes; of what was never heard of, anybody. */
    bool goes = request->kind == PART_RETIRE && part != NULL && !part->retired;
    if (result == 0 && (goes || !is_free(request)))
        result = part == NULL ? IOMESH_FENCED : part_obeys(parts, part, request);
    if (result != 0) {
        part_end(parts, request, part, result);
        return;
    }
    switch (request->kind) {
    case PART_STATE: part_end(parts, request, part, 0); return;
    case PART_WATERMARK:
        part_hears(parts, part, request);
        part_keep_settled(parts, part);
        part_end(parts, request, part, 0);
        return;
    case PART_WRITE:
    case PART_ZERO:
    case PART_READ:
    case PART_MAP:
    case PART_CHANGED:
    case PART_RESYNC:
    case PART_REPAIR: part_call_begin(parts, request, part); return;
    case PART_RECORD:
    case PART_RECORDS: records_begin(parts, request); return;
    default: part_control_begin(parts, request, part); return;
    }
}

static void port_submit(struct part_port *port, struct part_request *request)
{
    struct parts *parts = CONTAINER_OF(port, struct parts, port);
    list_init(&request->node);
    request->state = (struct part_state){0};
    request->inside[0] = 0;
    part_arrives(parts, request);
}

/* What it was given is read from, or written to, until it ends: it ends as it does, but what is in
 * no batch yet will not come into one. */
static void port_cancel(struct part_port *port, struct part_request *request)
{
    struct parts *parts = CONTAINER_OF(port, struct parts, port);
    if (records_cancel(parts, request))
        return;
    for (unsigned i = 0; i < 2; i++) {
        LIST_EACH (i == 0 ? &parts->queued : &parts->held, node) {
            if (node == &request->node) {
                part_end(parts, request, NULL, -ECANCELED);
                return;
            }
        }
    }
    for (uint32_t i = 0; parts->calls != NULL && i < PART_CALLS; i++) {
        if (parts->calls[i].request == request)
            parts->calls[i].canceled = true;
    }
}

static const struct part_port_ops port_ops = {.submit = port_submit, .cancel = port_cancel};

static int calls_open(struct parts *parts)
{
    parts->calls = calloc(PART_CALLS, sizeof *parts->calls);
    if (parts->calls == NULL)
        return -ENOMEM;
    for (uint32_t i = 0; i < PART_CALLS; i++) {
        parts->calls[i].parts = parts;
        list_push_back(&parts->free_calls, &parts->calls[i].node);
    }
    return 0;
}

/* Of the machine, and of the boots as this store counts them: it has lost what was not flushed,
 * though the machine goes on, where a device failed. */
static void boot_tell(const struct store *store, uint8_t boot_id[16])
{
    uint8_t *count = boot_id + 4; /* Coordinators compare the first eight bytes. */
    memcpy(boot_id, store->options.boot_id, sizeof store->options.boot_id);
    if (!MUTANT(339))
        put32(count, get32(count) ^ store->super.boot);
}

struct part_port *store_port(struct store *store)
{
    struct parts *parts = store->parts;
    if (parts->port_open)
        return &parts->port;
    if (calls_open(parts) != 0)
        return NULL;
    parts->port_open = true;
    parts->port.ops = &port_ops;
    parts->port.state = PART_PORT_UP;
    parts->port.session = store->super.incarnation;
    parts->port.incarnation = store->super.incarnation;
    boot_tell(store, parts->port.boot_id);
    return &parts->port;
}

/* --- Turning -------------------------------------------------------------------------------- */

static void parts_tell(struct parts *parts)
{
    struct list told;
    list_init(&told);
    list_splice_back(&told, &parts->ended);
    for (struct list *node; (node = list_pop_front(&told)) != NULL;) {
        struct part_request *request = LIST_ENTRY(node, struct part_request, node);
        request->room_blocks = store_credit_blocks(parts->store);
        parts->port.room_blocks = request->room_blocks;
        request->done(request, request->result);
    }
}

void store_parts_turn(struct store *store)
{
    struct parts *parts = store->parts;
    part_calls_turn(parts);
    part_controls_turn(parts);
    parts_save_turn(parts);
    records_turn(parts);
    parts_tell(parts);
}

bool store_parts_turn_needed(const struct store *store)
{
    const struct parts *parts = store->parts;
    return parts != NULL && (!list_empty(&parts->ended) || part_controls_need_turn(parts) ||
                             records_need_turn(parts));
}
