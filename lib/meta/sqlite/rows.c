/* SPDX-License-Identifier: Apache-2.0 */
/* One row at a time, each with its checksum. */
#include <stdlib.h>

#include "codec/codec.h"
#include "meta/sqlite/inside.h"

enum { COLUMN_KEY, COLUMN_VALUE, COLUMN_CREATED, COLUMN_MODIFIED, COLUMN_LEASE, COLUMN_CHECKSUM };

static uint32_t row_checksum(const struct meta_sqlite_row *row)
{
    uint8_t sums[32];
    put32(sums, crc32c(row->key.data, row->key.length));
    put32(sums + 4, crc32c(row->value.data, row->value.length));
    put64(sums + 8, row->created);
    put64(sums + 16, row->modified);
    put64(sums + 24, row->lease);
    return crc32c(sums, sizeof sums);
}

int meta_sqlite_run(struct meta_sqlite_file *file, enum meta_sqlite_statement which)
{
    sqlite3_stmt *statement = file->statements[which];
    int code = sqlite3_step(statement);
    int result = code == SQLITE_DONE ? 0 : meta_sqlite_result(file, code);
    sqlite3_reset(statement);
    sqlite3_clear_bindings(statement);
    return result;
}

void meta_sqlite_bind(sqlite3_stmt *statement, int index, struct meta_slice slice)
{
    /* A NULL pointer would bind NULL, which is not the empty blob. */
    const void *data = slice.length == 0 ? "" : slice.data;
    int code = sqlite3_bind_blob(statement, index, data, (int)slice.length, SQLITE_STATIC);
    assert(code == SQLITE_OK);
    (void)code;
}

static struct meta_slice column_slice(sqlite3_stmt *statement, int column)
{
    const void *data = sqlite3_column_blob(statement, column);
    return (struct meta_slice){.data = data,
                               .length = (size_t)sqlite3_column_bytes(statement, column)};
}

int meta_sqlite_row_read(sqlite3_stmt *statement, struct meta_sqlite_row *ret_row)
{
    struct meta_sqlite_row row = {
        .key = column_slice(statement, COLUMN_KEY),
        .value = column_slice(statement, COLUMN_VALUE),
        .created = (uint64_t)sqlite3_column_int64(statement, COLUMN_CREATED),
        .modified = (uint64_t)sqlite3_column_int64(statement, COLUMN_MODIFIED),
        .lease = (uint64_t)sqlite3_column_int64(statement, COLUMN_LEASE),
    };
    if (row_checksum(&row) != (uint64_t)sqlite3_column_int64(statement, COLUMN_CHECKSUM) ||
        row.key.length == 0 || row.key.length > META_KEY_BYTES_MAX ||
        row.value.length > META_VALUE_BYTES_MAX)
        return IOMESH_CORRUPT;
    *ret_row = row;
    return 0;
}

int meta_sqlite_next(struct meta_sqlite_file *file, sqlite3_stmt *statement,
                     struct meta_sqlite_row *ret_row)
{
    int code = sqlite3_step(statement);
    if (code == SQLITE_DONE)
        return 0;
    if (code != SQLITE_ROW)
        return meta_sqlite_result(file, code);
    int result = meta_sqlite_row_read(statement, ret_row);
    return result == 0 ? 1 : result;
}

int meta_sqlite_row_put(struct meta_sqlite_file *file, const struct meta_sqlite_row *row)
{
    sqlite3_stmt *statement = file->statements[STATEMENT_PUT];
    meta_sqlite_bind(statement, 1 + COLUMN_KEY, row->key);
    meta_sqlite_bind(statement, 1 + COLUMN_VALUE, row->value);
    sqlite3_bind_int64(statement, 1 + COLUMN_CREATED, (int64_t)row->created);
    sqlite3_bind_int64(statement, 1 + COLUMN_MODIFIED, (int64_t)row->modified);
    sqlite3_bind_int64(statement, 1 + COLUMN_LEASE, (int64_t)row->lease);
    sqlite3_bind_int64(statement, 1 + COLUMN_CHECKSUM, row_checksum(row));
    return meta_sqlite_run(file, STATEMENT_PUT);
}

int meta_sqlite_event(struct meta_sqlite_file *file, enum meta_event_kind kind,
                      const struct meta_sqlite_row *row, uint64_t revision,
                      uint64_t previous_revision)
{
    struct meta_event event = {
        .kind = kind,
        .revision = revision,
        .previous_revision = previous_revision,
        .entry = {.key = row->key},
    };
    if (kind == META_EVENT_PUT) {
        event.entry.value = row->value;
        event.entry.created_revision = row->created;
        event.entry.modified_revision = row->modified;
        event.entry.lease = row->lease;
    }
    struct meta_item *item = meta_item_new(&event);
    if (item == NULL)
        return -ENOMEM;
    list_push_back(&file->events, &item->node);
    file->event_count++;
    return 0;
}

void meta_sqlite_events_cut(struct meta_sqlite_file *file, uint32_t count)
{
    while (file->event_count > count) {
        struct meta_item *item = LIST_ENTRY(file->events.previous, struct meta_item, node);
        list_remove(&item->node);
        free(item);
        file->event_count--;
    }
}

static void deletion_bind(sqlite3_stmt *statement, const struct meta_sqlite_deletion *what)
{
    if (what->remove == STATEMENT_DELETE_LEASED) {
        sqlite3_bind_int64(statement, 1, (int64_t)what->lease);
    } else {
        meta_sqlite_bind(statement, 1, what->from);
        meta_sqlite_bind(statement, 2, what->to);
    }
}

int meta_sqlite_delete_all(struct meta_sqlite_file *file, const struct meta_sqlite_deletion *what,
                           uint64_t revision, uint32_t *ret_count)
{
    sqlite3_stmt *list = file->statements[what->list];
    struct meta_sqlite_row row = {0};
    uint32_t count = 0;
    int result;
    deletion_bind(list, what);
    if (what->list == STATEMENT_LIST)
        sqlite3_bind_int64(list, 3, -1); /* No limit. */
    while ((result = meta_sqlite_next(file, list, &row)) > 0) {
        result = meta_sqlite_event(file, META_EVENT_DELETE, &row, revision, row.modified);
        if (result != 0)
            break;
        count++;
    }
    sqlite3_reset(list);
    if (result == 0 && count > 0) {
        deletion_bind(file->statements[what->remove], what);
        result = meta_sqlite_run(file, what->remove);
    }
    if (result == 0)
        *ret_count = count;
    return result;
}
