/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Requests against the file: one under a savepoint, many under one COMMIT.
 *
 *   batch:  BEGIN  { SAVEPOINT  compares, operations  RELEASE | ROLLBACK TO }...  COMMIT
 *
 * A request that fails by itself takes back its savepoint and nothing else. What fails the
 * transaction (no space, an I/O error) takes all of it back, and every request hears of it.
 */
#include "meta/sqlite/inside.h"

#define CHECKPOINT_PAGES 1000u

static bool compare_holds(const struct meta_compare *compare, const struct meta_sqlite_row *row)
{
    switch (compare->kind) {
    case META_IF_ABSENT: return row == NULL;
    case META_IF_PRESENT: return row != NULL;
    case META_IF_MODIFIED: return (row == NULL ? 0 : row->modified) == compare->revision;
    case META_IF_CREATED: return (row == NULL ? 0 : row->created) == compare->revision;
    case META_IF_VALUE: return row != NULL && meta_slice_equal(row->value, compare->value);
    }
    return false;
}

/* Leaves GET standing on the row, so that its bytes stay; the caller resets it. As _next(). */
static int row_find(struct meta_sqlite_file *file, struct meta_slice key,
                    struct meta_sqlite_row *ret_row)
{
    meta_sqlite_bind(file->statements[STATEMENT_GET], 1, key);
    return meta_sqlite_next(file, file->statements[STATEMENT_GET], ret_row);
}

static int compare_all(struct meta_sqlite_file *file, const struct meta_body *body,
                       bool *ret_succeeded)
{
    bool holds = true;
    for (uint32_t i = 0; i < body->compare_count && holds; i++) {
        struct meta_sqlite_row row;
        int found = row_find(file, body->compares[i].key, &row);
        holds = compare_holds(&body->compares[i], found > 0 ? &row : NULL);
        sqlite3_reset(file->statements[STATEMENT_GET]);
        if (found < 0)
            return found;
    }
    *ret_succeeded = holds;
    return 0;
}

/* What one transaction needs while it is done. */
struct doing {
    struct meta_sqlite_file *file;
    struct meta_request *request;
    uint64_t revision; /* Of what it changes. */
    bool changed;
    size_t answer_bytes;
};

static int do_put(struct doing *doing, const struct meta_op *op)
{
    struct meta_sqlite_file *file = doing->file;
    struct meta_sqlite_row row = {0};
    int found = row_find(file, op->key, &row);
    uint64_t previous = found > 0 ? row.modified : 0;
    uint64_t created = found > 0 ? row.created : doing->revision;
    sqlite3_reset(file->statements[STATEMENT_GET]);
    if (found < 0)
        return found;
    row = (struct meta_sqlite_row){
        .key = op->key,
        .value = op->value,
        .created = created,
        .modified = doing->revision,
        .lease = op->lease,
    };
    doing->changed = true;
    int result = meta_sqlite_row_put(file, &row);
    if (result != 0)
        return result;
    return meta_sqlite_event(file, META_EVENT_PUT, &row, doing->revision, previous);
}

static int do_delete(struct doing *doing, const struct meta_op *op, struct meta_response *response)
{
    struct meta_sqlite_file *file = doing->file;
    struct meta_sqlite_row row = {0};
    int found = row_find(file, op->key, &row);
    uint64_t previous = found > 0 ? row.modified : 0;
    sqlite3_reset(file->statements[STATEMENT_GET]);
    if (found <= 0)
        return found;
    doing->changed = true;
    response->deleted_count = 1;
    row = (struct meta_sqlite_row){.key = op->key};
    meta_sqlite_bind(file->statements[STATEMENT_DELETE], 1, op->key);
    int result = meta_sqlite_run(file, STATEMENT_DELETE);
    if (result != 0)
        return result;
    return meta_sqlite_event(file, META_EVENT_DELETE, &row, doing->revision, previous);
}

/* The range of keys that begin with a prefix: from it, to the first that is above all of them. */
struct range {
    uint8_t to[META_KEY_BYTES_MAX + 1];
    size_t to_length;
};

static struct meta_slice range_end(struct range *range, struct meta_slice prefix)
{
    range->to_length = prefix.length;
    if (prefix.length > 0)
        memcpy(range->to, prefix.data, prefix.length);
    while (range->to_length > 0 && range->to[range->to_length - 1] == 0xff)
        range->to_length--;
    if (range->to_length > 0) {
        range->to[range->to_length - 1]++;
    } else {
        /* No end: longer than any key, and no key has a greater byte. */
        memset(range->to, 0xff, sizeof range->to);
        range->to_length = sizeof range->to;
    }
    return (struct meta_slice){.data = range->to, .length = range->to_length};
}

static int do_delete_prefix(struct doing *doing, const struct meta_op *op,
                            struct meta_response *response)
{
    struct range range;
    struct meta_sqlite_deletion what = {
        .list = STATEMENT_LIST,
        .remove = STATEMENT_DELETE_RANGE,
        .from = op->key,
        .to = range_end(&range, op->key),
    };
    int result =
        meta_sqlite_delete_all(doing->file, &what, doing->revision, &response->deleted_count);
    doing->changed |= response->deleted_count > 0;
    return result;
}

static int entry_answer(struct doing *doing, const struct meta_sqlite_row *row,
                        struct meta_entry *entry)
{
    entry->created_revision = row->created;
    entry->modified_revision = row->modified;
    entry->lease = row->lease;
    doing->answer_bytes += row->key.length + row->value.length;
    int result = meta_answer_copy(doing->request, row->key, &entry->key);
    return result != 0 ? result : meta_answer_copy(doing->request, row->value, &entry->value);
}

static bool entry_fits(const struct doing *doing, const struct meta_sqlite_row *row)
{
    return doing->answer_bytes + row->key.length + row->value.length <= META_RESPONSE_BYTES_MAX;
}

static int do_get(struct doing *doing, const struct meta_op *op, struct meta_response *response)
{
    struct meta_sqlite_row row;
    int result = row_find(doing->file, op->key, &row);
    if (result > 0) {
        response->entries = meta_answer_allocate(doing->request, sizeof *response->entries);
        response->entry_count = 1;
        if (response->entries == NULL)
            result = -ENOMEM;
        else if (!entry_fits(doing, &row))
            result = -E2BIG;
        else
            result = entry_answer(doing, &row, response->entries);
    }
    sqlite3_reset(doing->file->statements[STATEMENT_GET]);
    return result;
}

/* The first key of a page: the prefix, or what comes right after the last page's last key. */
static struct meta_slice list_begin(const struct meta_op *op, uint8_t room[META_KEY_BYTES_MAX + 1])
{
    struct meta_slice after = op->value;
    if (after.length == 0)
        return op->key;
    memcpy(room, after.data, after.length);
    room[after.length] = 0;
    size_t common = MIN(after.length + 1, op->key.length);
    int order = common > 0 ? memcmp(room, op->key.data, common) : 0;
    if (order < 0 || (order == 0 && after.length + 1 < op->key.length))
        return op->key;
    return (struct meta_slice){.data = room, .length = after.length + 1};
}

static int do_list(struct doing *doing, const struct meta_op *op, struct meta_response *response)
{
    uint8_t room[META_KEY_BYTES_MAX + 1];
    struct range range;
    struct meta_sqlite_row row;
    sqlite3_stmt *list = doing->file->statements[STATEMENT_LIST];
    response->entries = meta_answer_allocate(doing->request, op->limit * sizeof *response->entries);
    if (response->entries == NULL)
        return -ENOMEM;
    meta_sqlite_bind(list, 1, list_begin(op, room));
    meta_sqlite_bind(list, 2, range_end(&range, op->key));
    sqlite3_bind_int64(list, 3, (int64_t)op->limit + 1);
    int result;
    while ((result = meta_sqlite_next(doing->file, list, &row)) > 0) {
        if (response->entry_count == op->limit || !entry_fits(doing, &row)) {
            response->more = true;
            result = 0;
            break;
        }
        result = entry_answer(doing, &row, &response->entries[response->entry_count]);
        if (result != 0)
            break;
        response->entry_count++;
    }
    sqlite3_reset(list);
    return result;
}

static int do_op(struct doing *doing, const struct meta_op *op, struct meta_response *response)
{
    response->kind = op->kind;
    switch (op->kind) {
    case META_PUT: return do_put(doing, op);
    case META_DELETE: return do_delete(doing, op, response);
    case META_DELETE_PREFIX: return do_delete_prefix(doing, op, response);
    case META_GET: return do_get(doing, op, response);
    case META_LIST: return do_list(doing, op, response);
    }
    return -EINVAL;
}

static int do_transaction(struct doing *doing)
{
    struct meta_request *request = doing->request;
    const struct meta_body *body = request->body;
    int result = compare_all(doing->file, body, &request->succeeded);
    if (result != 0)
        return result;
    const struct meta_branch *branch = &body->branches[request->succeeded ? 0 : 1];
    result = meta_answer_begin(request, branch->count);
    for (uint32_t i = 0; i < branch->count && result == 0; i++)
        result = do_op(doing, &branch->ops[i], &request->responses[i]);
    return result;
}

static int do_revoke(struct doing *doing)
{
    uint32_t count = 0;
    struct meta_sqlite_deletion what = {
        .list = STATEMENT_LIST_LEASED,
        .remove = STATEMENT_DELETE_LEASED,
        .lease = doing->request->lease,
    };
    int result = meta_sqlite_delete_all(doing->file, &what, doing->revision, &count);
    doing->changed = count > 0;
    return result;
}

static bool changes_something(const struct meta_request *request)
{
    return request->body->kind == META_LEASE_REVOKE || meta_request_changes(request);
}

/* True while the SQLite transaction stands: an error may have taken it back as a whole. */
static bool transaction_stands(const struct meta_sqlite_file *file)
{
    return sqlite3_get_autocommit(file->db) == 0;
}

/* One request, all or nothing. If the whole transaction falls, it is the batch that tells. */
static int execute_one(struct meta_sqlite_file *file, struct meta_request *request)
{
    struct doing doing = {.file = file, .request = request, .revision = file->revision + 1};
    uint32_t event_count = file->event_count;
    bool changes = changes_something(request);
    meta_answer_reset(request);
    int result = changes ? meta_sqlite_run(file, STATEMENT_SAVEPOINT) : 0;
    if (result != 0)
        return result;
    result = request->body->kind == META_LEASE_REVOKE ? do_revoke(&doing) : do_transaction(&doing);
    if (result != 0)
        meta_sqlite_events_cut(file, event_count);
    if (!transaction_stands(file) || file->failed)
        return result;
    if (changes && result != 0) {
        int undone = meta_sqlite_run(file, STATEMENT_ROLLBACK_TO);
        if (undone != 0)
            return undone;
    }
    if (changes) {
        int released = meta_sqlite_run(file, STATEMENT_RELEASE);
        if (released != 0)
            return released;
    }
    if (result == 0 && doing.changed)
        file->revision = doing.revision;
    request->revision = file->revision;
    return result;
}

static void take_back(struct meta_sqlite_file *file)
{
    meta_sqlite_events_cut(file, file->events_committed);
    file->revision = file->revision_stored;
    if (transaction_stands(file) && sqlite3_exec(file->db, "ROLLBACK", 0, 0, 0) != SQLITE_OK)
        meta_sqlite_result(file, sqlite3_extended_errcode(file->db));
}

/* Every request of a list that has no error of its own. */
static void answer_all(struct list *requests, int result)
{
    LIST_EACH (requests, node) {
        struct meta_request *request = LIST_ENTRY(node, struct meta_request, node);
        if (request->result == 0)
            request->result = result;
    }
}

/* What requests hear when a COMMIT failed in a way that leaves its outcome open. */
static void answer_unknown(struct list *requests)
{
    LIST_EACH (requests, node) {
        struct meta_request *request = LIST_ENTRY(node, struct meta_request, node);
        if (request->result == 0)
            request->result = changes_something(request) ? IOMESH_UNKNOWN : IOMESH_FAILED;
    }
}

/* Executes what was begun. 0, or the result that fell on the transaction as a whole. */
static int execute_all(struct meta_sqlite_file *file, struct list *requests)
{
    LIST_EACH (requests, node) {
        struct meta_request *request = LIST_ENTRY(node, struct meta_request, node);
        request->result = execute_one(file, request);
        if (file->failed)
            return IOMESH_FAILED;
        if (!transaction_stands(file)) {
            assert(request->result != 0);
            return request->result;
        }
    }
    return 0;
}

static int store_revision(struct meta_sqlite_file *file)
{
    if (file->revision == file->revision_stored || MUTANT(123))
        return 0;
    sqlite3_bind_int64(file->statements[STATEMENT_REVISION], 1, (int64_t)file->revision);
    return meta_sqlite_run(file, STATEMENT_REVISION);
}

/* Copies the log home now and then. Left to itself, SQLite would ignore that a sync failed. */
static void checkpoint(struct meta_sqlite_file *file)
{
    uint32_t limit = file->checkpoint_pages == 0 ? CHECKPOINT_PAGES : file->checkpoint_pages;
    if (file->log_pages < limit)
        return;
    REACH(meta_checkpoint);
    int code = sqlite3_wal_checkpoint_v2(file->db, NULL, SQLITE_CHECKPOINT_PASSIVE, NULL, NULL);
    if (code == SQLITE_OK)
        file->log_pages = 0;
    else
        meta_sqlite_result(file, code);
}

/* One SQLite transaction. 0, or what fell on all of it, with every request answered either way. */
static int commit_all(struct meta_sqlite_file *file, struct list *requests, bool changes)
{
    int result = meta_sqlite_run(file, changes ? STATEMENT_BEGIN_WRITE : STATEMENT_BEGIN_READ);
    if (result == 0)
        result = execute_all(file, requests);
    if (result == 0)
        result = store_revision(file);
    if (result != 0) {
        take_back(file);
        answer_all(requests, result);
        return result;
    }
    result = meta_sqlite_run(file, STATEMENT_COMMIT);
    if (result == 0) {
        file->revision_stored = file->revision;
        file->events_committed = file->event_count;
        return 0;
    }
    /* No space: the last frame of the log, which commits, was not written. Anything else may have
     * gone wrong after it: then only the next opening can tell. */
    if (result == -ENOSPC) {
        REACH(meta_commit_no_space);
        answer_all(requests, result);
    } else {
        REACH(meta_commit_unknown);
        meta_sqlite_result(file, SQLITE_IOERR);
        if (!MUTANT(120))
            answer_unknown(requests);
    }
    take_back(file);
    return result;
}

/* Each request by itself, after all of them together found no space: a small one may fit. */
static bool commit_each(struct meta_sqlite_file *file, struct list *requests)
{
    struct list done;
    struct list *node;
    bool committed = false;
    REACH(meta_commit_each);
    list_init(&done);
    while ((node = list_pop_front(requests)) != NULL) {
        struct meta_request *request = LIST_ENTRY(node, struct meta_request, node);
        struct list one;
        uint64_t before = file->revision_stored;
        list_init(&one);
        list_push_back(&one, node);
        request->result = file->failed ? IOMESH_FAILED : 0;
        if (!file->failed && commit_all(file, &one, changes_something(request)) == 0)
            committed |= file->revision_stored != before;
        list_splice_back(&done, &one);
    }
    list_splice_back(requests, &done);
    return committed;
}

bool meta_sqlite_batch(struct meta_sqlite_file *file, struct list *requests)
{
    bool changes = false;
    uint32_t count = 0;
    LIST_EACH (requests, node) {
        struct meta_request *request = LIST_ENTRY(node, struct meta_request, node);
        request->result = 0;
        changes |= changes_something(request);
        count++;
    }
    if (file->failed) {
        answer_all(requests, IOMESH_FAILED);
        return false;
    }
    uint64_t before = file->revision_stored;
    int result = commit_all(file, requests, changes);
    if (result == -ENOSPC && count > 1 && !file->failed)
        return commit_each(file, requests);
    if (!file->failed)
        checkpoint(file);
    return file->revision_stored != before;
}
