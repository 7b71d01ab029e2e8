/* SPDX-License-Identifier: Apache-2.0 */
/* Reading everything, and changing nothing: see unchanged.c. */
#include <stdio.h>

#include "meta/sqlite/inside.h"

#define FAULTS_MAX 100 /* Of SQLite's own; the first says most. */

struct checking {
    struct meta_sqlite_file file;
    meta_sqlite_fault_fn *fault;
    void *context;
    int fault_count;
};

static void fault_add(struct checking *checking, const char *format, const char *detail)
{
    char sentence[512];
    (void)snprintf(sentence, sizeof sentence, format, detail);
    checking->fault_count++;
    checking->fault(checking->context, sentence);
}

static int integrity_row(void *context, int columns, char **texts, char **names)
{
    (void)names;
    if (columns > 0 && texts[0] != NULL && strcmp(texts[0], "ok") != 0)
        fault_add(context, "metadata: SQLite finds: %s", texts[0]);
    return 0;
}

/* A key for people: what is not printable becomes a dot. */
static void key_text(struct meta_slice key, char text[80])
{
    const uint8_t *bytes = key.data;
    size_t length = MIN(key.length, 79);
    for (size_t i = 0; i < length; i++)
        text[i] = bytes[i] >= 0x20 && bytes[i] < 0x7f ? (char)bytes[i] : '.';
    text[length] = '\0';
}

static void check_rows(struct checking *checking)
{
    static const char sql[] = "SELECT " ROW_COLUMNS " FROM entry ORDER BY key";
    struct meta_sqlite_file *file = &checking->file;
    sqlite3_stmt *statement = NULL;
    int code = sqlite3_prepare_v2(file->db, sql, -1, &statement, NULL);
    while (code == SQLITE_OK && (code = sqlite3_step(statement)) == SQLITE_ROW) {
        struct meta_sqlite_row row;
        char text[80];
        struct meta_slice key = {.data = sqlite3_column_blob(statement, 0),
                                 .length = (size_t)sqlite3_column_bytes(statement, 0)};
        key_text(key, text);
        code = SQLITE_OK;
        if (meta_sqlite_row_read(statement, &row) != 0)
            fault_add(checking, "metadata: the entry %s fails its checksum", text);
        else if (row.created > row.modified || row.modified > file->revision)
            fault_add(checking, "metadata: the entry %s has a revision that never was", text);
    }
    if (code != SQLITE_DONE)
        fault_add(checking, "metadata: cannot be read to the end: %s", sqlite3_errmsg(file->db));
    sqlite3_finalize(statement);
}

int meta_sqlite_check(const char *path, const char *vfs, meta_sqlite_fault_fn *fault, void *context)
{
    struct checking checking = {.fault = fault, .context = context};
    int result = meta_sqlite_file_open_unchanged(&checking.file, path, vfs);
    if (result != 0)
        return result;
    char sql[64];
    (void)snprintf(sql, sizeof sql, "PRAGMA integrity_check(%d)", FAULTS_MAX);
    if (sqlite3_exec(checking.file.db, sql, integrity_row, &checking, NULL) != SQLITE_OK)
        fault_add(&checking, "metadata: cannot be checked: %s", sqlite3_errmsg(checking.file.db));
    check_rows(&checking);
    meta_sqlite_file_close(&checking.file);
    return checking.fault_count;
}
