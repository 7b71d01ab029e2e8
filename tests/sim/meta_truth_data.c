/* SPDX-License-Identifier: Apache-2.0 */
/* What is true: keys, leases, and the events of their changes. */
#include "sim/meta_truth_inside.h"

#include <stdlib.h>

struct truth_lease {
    struct list node;
    struct truth *truth;
    uint64_t id;
    uint64_t ttl_ns;
    struct timer timer;
};

/* --- Keys ---------------------------------------------------------------------------------- */

static struct meta_slice key_of(const struct truth_key *key)
{
    return (struct meta_slice){.data = key->bytes, .length = key->key_length};
}

static int compare_keys(struct meta_slice a, struct meta_slice b)
{
    size_t common = MIN(a.length, b.length);
    int order = common > 0 ? memcmp(a.data, b.data, common) : 0;
    return order != 0 ? order : (a.length > b.length) - (a.length < b.length);
}

/* Where a key is, or would be. */
static uint32_t key_place(const struct truth *truth, struct meta_slice key)
{
    uint32_t low = 0;
    uint32_t high = truth->key_count;
    while (low < high) {
        uint32_t middle = (low + high) / 2;
        if (compare_keys(key_of(&truth->keys[middle]), key) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static struct truth_key *key_find(struct truth *truth, struct meta_slice key)
{
    uint32_t at = key_place(truth, key);
    if (at == truth->key_count || compare_keys(key_of(&truth->keys[at]), key) != 0)
        return NULL;
    return &truth->keys[at];
}

static struct truth_key *key_insert(struct truth *truth, struct meta_slice key)
{
    uint32_t at = key_place(truth, key);
    if (truth->key_count == truth->key_capacity) {
        truth->key_capacity = MAX(64, truth->key_capacity * 2);
        truth->keys = realloc(truth->keys, truth->key_capacity * sizeof *truth->keys);
        assert(truth->keys != NULL);
    }
    memmove(&truth->keys[at + 1], &truth->keys[at], (truth->key_count - at) * sizeof *truth->keys);
    truth->key_count++;
    truth->keys[at] = (struct truth_key){0};
    return &truth->keys[at];
}

static void key_remove(struct truth *truth, uint32_t at)
{
    free(truth->keys[at].bytes);
    truth->key_count--;
    memmove(&truth->keys[at], &truth->keys[at + 1], (truth->key_count - at) * sizeof *truth->keys);
}

/* --- Changes ------------------------------------------------------------------------------- */

/* Tells every handle, in its time. */
static void tell(struct truth *truth, enum meta_event_kind kind, struct meta_slice key,
                 const struct truth_key *now, uint64_t revision, uint64_t previous)
{
    struct meta_event event = {
        .kind = kind,
        .revision = revision,
        .previous_revision = previous,
        .entry = {.key = key},
    };
    if (kind == META_EVENT_PUT) {
        event.entry.value = (struct meta_slice){now->bytes + now->key_length, now->value_length};
        event.entry.created_revision = now->created;
        event.entry.modified_revision = now->modified;
        event.entry.lease = now->lease;
    }
    LIST_EACH (&truth->handles, node) {
        struct truth_handle *handle = LIST_ENTRY(node, struct truth_handle, node);
        struct meta_item *item = meta_item_new(&event);
        assert(item != NULL);
        list_push_back(&handle->held, &item->node);
        handle->options.wakeup(handle->options.wakeup_context);
    }
}

static void do_put(struct truth *truth, const struct meta_op *op, uint64_t revision)
{
    struct truth_key *key = key_find(truth, op->key);
    uint64_t previous = key != NULL ? key->modified : 0;
    uint64_t created = key != NULL ? key->created : revision;
    if (key == NULL)
        key = key_insert(truth, op->key);
    free(key->bytes);
    *key = (struct truth_key){
        .bytes = malloc(op->key.length + op->value.length),
        .key_length = op->key.length,
        .value_length = op->value.length,
        .created = created,
        .modified = revision,
        .lease = op->lease,
    };
    assert(key->bytes != NULL);
    memcpy(key->bytes, op->key.data, op->key.length);
    if (op->value.length > 0)
        memcpy(key->bytes + op->key.length, op->value.data, op->value.length);
    tell(truth, META_EVENT_PUT, key_of(key), key, revision, previous);
}

static void do_delete(struct truth *truth, uint32_t at, uint64_t revision)
{
    const struct truth_key *key = &truth->keys[at];
    tell(truth, META_EVENT_DELETE, key_of(key), NULL, revision, key->modified);
    key_remove(truth, at);
}

static uint32_t do_delete_op(struct truth *truth, const struct meta_op *op, uint64_t revision)
{
    uint32_t count = 0;
    for (uint32_t at = key_place(truth, op->key); at < truth->key_count;) {
        struct meta_slice key = key_of(&truth->keys[at]);
        if (op->kind == META_DELETE ? compare_keys(key, op->key) != 0
                                    : !meta_slice_begins(key, op->key))
            break;
        do_delete(truth, at, revision);
        count++;
    }
    return count;
}

/* --- Transactions -------------------------------------------------------------------------- */

static bool compare_holds(struct truth *truth, const struct meta_compare *compare)
{
    const struct truth_key *key = key_find(truth, compare->key);
    switch (compare->kind) {
    case META_IF_ABSENT: return key == NULL;
    case META_IF_PRESENT: return key != NULL;
    case META_IF_MODIFIED: return (key == NULL ? 0 : key->modified) == compare->revision;
    case META_IF_CREATED: return (key == NULL ? 0 : key->created) == compare->revision;
    case META_IF_VALUE: break;
    }
    return key != NULL &&
           meta_slice_equal(compare->value,
                            (struct meta_slice){key->bytes + key->key_length, key->value_length});
}

static struct truth_lease *lease_find(struct truth *truth, uint64_t id)
{
    LIST_EACH (&truth->leases, node) {
        struct truth_lease *lease = LIST_ENTRY(node, struct truth_lease, node);
        if (lease->id == id)
            return lease;
    }
    return NULL;
}

static void entry_copy(struct meta_request *to, const struct truth_key *key,
                       struct meta_entry *entry)
{
    *entry = (struct meta_entry){
        .created_revision = key->created,
        .modified_revision = key->modified,
        .lease = key->lease,
    };
    int result = meta_answer_copy(to, key_of(key), &entry->key);
    struct meta_slice value = {key->bytes + key->key_length, key->value_length};
    result |= meta_answer_copy(to, value, &entry->value);
    assert(result == 0);
    (void)result;
}

/* Reads into a response. False: the answer is too large. */
static bool do_read(struct truth *truth, const struct meta_op *op, struct meta_request *to,
                    struct meta_response *response, size_t *bytes)
{
    bool list = op->kind == META_LIST;
    uint32_t limit = list ? op->limit : 1;
    uint32_t at = key_place(truth, op->key);
    response->entries = meta_answer_allocate(to, limit * sizeof *response->entries);
    assert(response->entries != NULL);
    for (; at < truth->key_count; at++) {
        const struct truth_key *key = &truth->keys[at];
        if (list ? !meta_slice_begins(key_of(key), op->key)
                 : compare_keys(key_of(key), op->key) != 0)
            break;
        if (list && compare_keys(key_of(key), op->value) <= 0)
            continue;
        bool fits = *bytes + key->key_length + key->value_length <= META_RESPONSE_BYTES_MAX;
        if (!fits && !list)
            return false;
        if (!fits || response->entry_count == limit) {
            response->more = list;
            break;
        }
        *bytes += key->key_length + key->value_length;
        entry_copy(to, key, &response->entries[response->entry_count++]);
    }
    return true;
}

static int do_transaction(struct truth *truth, const struct meta_body *body,
                          struct meta_request *to)
{
    bool holds = true;
    bool changed = false;
    size_t bytes = 0;
    for (uint32_t i = 0; i < body->compare_count; i++)
        holds &= compare_holds(truth, &body->compares[i]);
    const struct meta_branch *branch = &body->branches[holds ? 0 : 1];
    for (uint32_t i = 0; i < branch->count; i++)
        if (branch->ops[i].kind == META_PUT && branch->ops[i].lease != 0 &&
            lease_find(truth, branch->ops[i].lease) == NULL)
            return -ENOENT;
    meta_answer_reset(to);
    if (meta_answer_begin(to, branch->count) != 0)
        return -ENOMEM;
    to->succeeded = holds;
    for (uint32_t i = 0; i < branch->count; i++) {
        const struct meta_op *op = &branch->ops[i];
        struct meta_response *response = &to->responses[i];
        response->kind = op->kind;
        if (op->kind == META_PUT) {
            do_put(truth, op, truth->revision + 1);
            changed = true;
        } else if (op->kind <= META_DELETE_PREFIX) {
            response->deleted_count = do_delete_op(truth, op, truth->revision + 1);
            changed |= response->deleted_count > 0;
        } else if (!do_read(truth, op, to, response, &bytes) && !changed) {
            return -E2BIG;
        }
    }
    truth->revision += changed;
    to->revision = truth->revision;
    return 0;
}

/* --- Leases -------------------------------------------------------------------------------- */

static void lease_end(struct truth_lease *lease)
{
    struct truth *truth = lease->truth;
    bool changed = false;
    for (uint32_t at = 0; at < truth->key_count;) {
        if (truth->keys[at].lease == lease->id) {
            do_delete(truth, at, truth->revision + 1);
            changed = true;
        } else {
            at++;
        }
    }
    truth->revision += changed;
    clock_cancel(truth->clock, &lease->timer);
    list_remove(&lease->node);
    free(lease);
}

static void lease_ran_out(struct timer *timer)
{
    lease_end(CONTAINER_OF(timer, struct truth_lease, timer));
}

static int do_lease(struct truth *truth, const struct meta_request *asked, struct meta_request *to)
{
    struct truth_lease *lease = lease_find(truth, asked->lease);
    to->revision = truth->revision;
    if (asked->body->kind == META_LEASE_GRANT) {
        lease = calloc(1, sizeof *lease);
        assert(lease != NULL);
        lease->truth = truth;
        lease->id = ++truth->lease_next;
        lease->ttl_ns = ROUND_UP(asked->ttl_ns, NS_PER_S);
        lease->timer.fire = lease_ran_out;
        list_push_back(&truth->leases, &lease->node);
    } else if (lease == NULL) {
        return -ENOENT;
    }
    to->lease = lease->id;
    to->ttl_ns = lease->ttl_ns;
    if (asked->body->kind == META_LEASE_REVOKE)
        lease_end(lease);
    else
        clock_set_after(truth->clock, &lease->timer, lease->ttl_ns);
    to->revision = truth->revision;
    return 0;
}

int truth_do(struct truth *truth, const struct meta_request *asked, struct meta_request *to)
{
    if (asked->body->kind != META_TRANSACTION)
        return do_lease(truth, asked, to);
    return do_transaction(truth, asked->body, to);
}

void truth_data_done(struct truth *truth)
{
    struct list *node;
    while ((node = list_first(&truth->leases)) != NULL) {
        struct truth_lease *lease = LIST_ENTRY(node, struct truth_lease, node);
        clock_cancel(truth->clock, &lease->timer);
        list_remove(&lease->node);
        free(lease);
    }
    while (truth->key_count > 0)
        key_remove(truth, truth->key_count - 1);
    free(truth->keys);
}
