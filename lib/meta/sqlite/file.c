/* SPDX-License-Identifier: Apache-2.0 */
/* Opening and closing meta.db: what it is, whether it may be used, and a sentence if not. */
#include <stdio.h>
#include <string.h>

#include "meta/sqlite/inside.h"

static const char *const statement_texts[] = {
#define STATEMENT_TEXT(name, text) [STATEMENT_##name] = text,
    SQLITE_STATEMENTS(STATEMENT_TEXT)
#undef STATEMENT_TEXT
};

/* A value of 64 bits is stored as SQLite's signed integer; none here reaches the sign. */
#define SCHEMA                                                                      \
    "BEGIN IMMEDIATE;"                                                              \
    "CREATE TABLE state (id INTEGER PRIMARY KEY CHECK (id = 1),"                    \
    " revision INTEGER NOT NULL, opens INTEGER NOT NULL);"                          \
    "INSERT INTO state VALUES (1, 1, 0);"                                           \
    "CREATE TABLE entry (key BLOB PRIMARY KEY NOT NULL, value BLOB NOT NULL,"       \
    " created INTEGER NOT NULL, modified INTEGER NOT NULL, lease INTEGER NOT NULL," \
    " checksum INTEGER NOT NULL) WITHOUT ROWID;"                                    \
    "CREATE INDEX entry_leased ON entry (lease) WHERE lease != 0;"                  \
    "PRAGMA application_id = %d;"                                                   \
    "PRAGMA user_version = %d;"                                                     \
    "COMMIT;"

static int result_of(int code)
{
    switch (code & 0xff) {
    case SQLITE_FULL: return -ENOSPC;
    case SQLITE_NOMEM: return -ENOMEM;
    case SQLITE_TOOBIG: return -E2BIG;
    case SQLITE_BUSY:
    case SQLITE_LOCKED: return IOMESH_IN_USE;
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB: return IOMESH_CORRUPT;
    case SQLITE_READONLY: return -EROFS;
    default: return IOMESH_FAILED;
    }
}

int meta_sqlite_result(struct meta_sqlite_file *file, int code)
{
    int result = result_of(code);
    if (result == -ENOSPC || result == -ENOMEM || result == -E2BIG || file->failed)
        return result;
    (void)snprintf(file->failure, sizeof file->failure, "the metadata in %s failed: %s",
                   sqlite3_db_filename(file->db, "main"), sqlite3_errmsg(file->db));
    file->failed = true;
    return result;
}

/* The sentence for what went wrong while opening. */
static int open_refused(struct meta_sqlite_file *file, const char *path)
{
    int code = sqlite3_extended_errcode(file->db);
    int system = sqlite3_system_errno(file->db);
    switch (code & 0xff) {
    case SQLITE_CANTOPEN:
        if (system == ENOENT)
            return FAIL(-ENOENT, "there is no metadata at %s", path);
        return FAIL(system > 0 ? -system : -EIO, "cannot open the metadata %s: %s", path,
                    system > 0 ? strerror(system) : sqlite3_errmsg(file->db));
    case SQLITE_NOTADB:
        return FAIL(IOMESH_CORRUPT, "%s is not metadata of iomesh, or its beginning is damaged",
                    path);
    case SQLITE_CORRUPT:
        return FAIL(IOMESH_CORRUPT, "the metadata %s is damaged: %s", path,
                    sqlite3_errmsg(file->db));
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
        return FAIL(IOMESH_IN_USE, "the metadata %s is in use by another process", path);
    case SQLITE_FULL: return FAIL(-ENOSPC, "no space left to open the metadata %s", path);
    case SQLITE_NOMEM: return FAIL(-ENOMEM, "no memory to open the metadata %s", path);
    case SQLITE_READONLY: return FAIL(-EROFS, "the metadata %s cannot be written", path);
    default:
        return FAIL(system > 0 ? -system : -EIO, "cannot use the metadata %s: %s%s%s", path,
                    sqlite3_errmsg(file->db), system > 0 ? ": " : "",
                    system > 0 ? strerror(system) : "");
    }
}

static bool run_sql(struct meta_sqlite_file *file, const char *sql)
{
    return sqlite3_exec(file->db, sql, NULL, NULL, NULL) == SQLITE_OK;
}

/* The one integer that a query answers. */
static bool ask_integer(struct meta_sqlite_file *file, const char *sql, int64_t *ret_value)
{
    sqlite3_stmt *statement = NULL;
    if (sqlite3_prepare_v2(file->db, sql, -1, &statement, NULL) != SQLITE_OK)
        return false;
    int code = sqlite3_step(statement);
    if (code == SQLITE_ROW)
        *ret_value = sqlite3_column_int64(statement, 0);
    sqlite3_finalize(statement);
    return code == SQLITE_ROW;
}

/* Is the file ours, and of a schema that we know? Sets *ret_empty for one that holds nothing. */
static int identify(struct meta_sqlite_file *file, const char *path, bool *ret_empty)
{
    int64_t application = 0;
    int64_t version = 0;
    int64_t objects = 0;
    if (!ask_integer(file, "PRAGMA application_id", &application) ||
        !ask_integer(file, "PRAGMA user_version", &version) ||
        !ask_integer(file, "SELECT count(*) FROM sqlite_schema", &objects))
        return open_refused(file, path);
    *ret_empty = application == 0 && version == 0 && objects == 0;
    if (*ret_empty)
        return 0;
    if (application != SQLITE_APPLICATION_ID)
        return FAIL(IOMESH_FORMAT, "%s is a database of another program, not metadata of iomesh",
                    path);
    if (version > META_SQLITE_SCHEMA_VERSION)
        return FAIL(IOMESH_FORMAT,
                    "the metadata %s has schema version %lld, newer than version %d, the newest "
                    "that this program knows: use the newer program",
                    path, (long long)version, META_SQLITE_SCHEMA_VERSION);
    if (version < 1)
        return FAIL(IOMESH_CORRUPT, "the metadata %s is damaged: its schema version is %lld", path,
                    (long long)version);
    return 0;
}

static int create_schema(struct meta_sqlite_file *file, const char *path)
{
    char schema[sizeof SCHEMA + 32];
    (void)snprintf(schema, sizeof schema, SCHEMA, SQLITE_APPLICATION_ID,
                   META_SQLITE_SCHEMA_VERSION);
    return run_sql(file, schema) ? 0 : open_refused(file, path);
}

int meta_sqlite_file_prepare(struct meta_sqlite_file *file, const char *path)
{
    for (unsigned i = 0; i < STATEMENT_COUNT; i++)
        if (sqlite3_prepare_v3(file->db, statement_texts[i], -1, SQLITE_PREPARE_PERSISTENT,
                               &file->statements[i], NULL) != SQLITE_OK) {
            /* Our own statements against our own schema: then it is not what it says it is. */
            if (sqlite3_errcode(file->db) == SQLITE_ERROR)
                return FAIL(IOMESH_CORRUPT, "the metadata %s is damaged: %s", path,
                            sqlite3_errmsg(file->db));
            return open_refused(file, path);
        }
    return 0;
}

/*
 * Writes the log of an earlier process over itself, and syncs it.
 *
 * A sync that failed leaves pages in the system's cache that are clean and yet nowhere else. SQLite
 * would read a transaction from them, show it, copy some of it home; a power cut would then take
 * the transaction back and leave the copy: the storm found that too. Whatever we are about to show
 * is made durable first. A clean close leaves no log, so this costs nothing then.
 */
static int log_rewrite(struct meta_sqlite_file *file)
{
    uint8_t piece[16384];
    sqlite3_file *log = NULL;
    sqlite3_int64 length = 0;
    if (MUTANT(124) ||
        sqlite3_file_control(file->db, "main", SQLITE_FCNTL_JOURNAL_POINTER, &log) != SQLITE_OK ||
        log == NULL || log->pMethods == NULL)
        return SQLITE_OK; /* Not in use: there is no log yet. */
    int code = log->pMethods->xFileSize(log, &length);
    if (length > 0)
        REACH(meta_log_rewritten);
    for (sqlite3_int64 at = 0; at < length && code == SQLITE_OK;) {
        int bytes = (int)MIN(length - at, (sqlite3_int64)sizeof piece);
        code = log->pMethods->xRead(log, piece, bytes, at);
        if (code == SQLITE_OK)
            code = log->pMethods->xWrite(log, piece, bytes, at);
        at += bytes;
    }
    if (code == SQLITE_OK && length > 0)
        code = log->pMethods->xSync(log, SQLITE_SYNC_NORMAL);
    return code;
}

/* After each commit: how long the log is now. */
static int log_grew(void *context, sqlite3 *db, const char *name, int pages)
{
    struct meta_sqlite_file *file = context;
    (void)db;
    (void)name;
    file->log_pages = (uint32_t)pages;
    return SQLITE_OK;
}

/* Counts this opening, and deletes what was attached to leases of processes that are gone. */
static int begin_life(struct meta_sqlite_file *file, const char *path)
{
    int64_t revision = 0;
    int64_t opens = 0;
    int64_t leased = 0;
    if (!run_sql(file, "BEGIN IMMEDIATE") ||
        !ask_integer(file, "SELECT revision FROM state WHERE id = 1", &revision) ||
        !ask_integer(file, "SELECT opens + 1 FROM state WHERE id = 1", &opens) ||
        !ask_integer(file, "SELECT count(*) FROM entry WHERE lease != 0", &leased)) {
        int code = sqlite3_errcode(file->db);
        if (code == SQLITE_OK || code == SQLITE_DONE)
            return FAIL(IOMESH_CORRUPT, "the metadata %s is damaged: it has no revision", path);
        return open_refused(file, path);
    }
    if (revision < 1 || opens < 1 || opens > INT32_MAX)
        return FAIL(IOMESH_CORRUPT, "the metadata %s is damaged: its revision is %lld", path,
                    (long long)revision);
    if (MUTANT(122))
        leased = 0;
    file->revision = (uint64_t)revision + (leased > 0);
    file->opens = (uint64_t)opens;
    char sql[160];
    (void)snprintf(sql, sizeof sql,
                   "DELETE FROM entry WHERE lease != 0 AND %d;"
                   "UPDATE state SET revision = %llu, opens = %llu;"
                   "COMMIT",
                   leased > 0, (unsigned long long)file->revision, (unsigned long long)file->opens);
    if (!run_sql(file, sql))
        return open_refused(file, path);
    file->revision_stored = file->revision;
    return 0;
}

/* Before SQLite looks into the file: beside an empty one it takes a log for garbage, and deletes
 * it. */
static int refuse_empty(struct meta_sqlite_file *file, const char *path)
{
    sqlite3_file *opened = NULL;
    sqlite3_int64 length = 0;
    if (sqlite3_file_control(file->db, "main", SQLITE_FCNTL_FILE_POINTER, &opened) != SQLITE_OK ||
        opened == NULL || opened->pMethods == NULL ||
        opened->pMethods->xFileSize(opened, &length) != SQLITE_OK || length > 0)
        return 0; /* What is wrong with it is told by who reads it. */
    return FAIL(-ENOENT, "%s is empty: the metadata was never completely created", path);
}

static int open_begin(struct meta_sqlite_file *file, const char *path, bool *ret_empty)
{
    sqlite3_extended_result_codes(file->db, 1);
    sqlite3_db_config(file->db, SQLITE_DBCONFIG_DEFENSIVE, 1, NULL);
    /* Exclusive before the first look into the file: SQLite then never wants a -shm file. EXTRA
     * until the log is in use: a rollback journal whose deletion a power cut took back would undo
     * what the log has copied home since (the storm found it). */
    if (!run_sql(file, "PRAGMA locking_mode = EXCLUSIVE; PRAGMA trusted_schema = OFF;"
                       "PRAGMA cell_size_check = ON; PRAGMA mmap_size = 0;"
                       "PRAGMA synchronous = EXTRA;"
                       "PRAGMA temp_store = MEMORY; PRAGMA cache_size = -8192"))
        return open_refused(file, path);
    return identify(file, path, ret_empty);
}

static int open_finish(struct meta_sqlite_file *file, const char *path, bool create, bool empty)
{
    int result = 0;
    if (sqlite3_db_readonly(file->db, "main") != 0)
        return FAIL(-EROFS, "the metadata %s cannot be written", path);
    if (empty && !create)
        return FAIL(-ENOENT, "%s is empty: the metadata was never completely created", path);
    /* The schema first, all of it in one transaction, then the log: an interruption leaves an
     * empty database, which is created again, or a whole one. */
    if (empty && (result = create_schema(file, path)) != 0)
        return result;
    if (!empty && log_rewrite(file) != SQLITE_OK)
        return FAIL(-EIO, "cannot make the log of the metadata %s durable", path);
    if (!run_sql(file, "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL") ||
        (MUTANT(121) && !run_sql(file, "PRAGMA synchronous = NORMAL")))
        return open_refused(file, path);
    /* In place of SQLite's own hook, which copies the log home: execute.c does. */
    sqlite3_wal_hook(file->db, log_grew, file);
    result = meta_sqlite_file_prepare(file, path);
    return result != 0 ? result : begin_life(file, path);
}

static int open_named(struct meta_sqlite_file *file, const char *path, const char *name,
                      const char *vfs, int flags)
{
    *file = (struct meta_sqlite_file){0};
    list_init(&file->events);
    if (sqlite3_open_v2(name, &file->db, flags | SQLITE_OPEN_NOMUTEX, vfs) == SQLITE_OK)
        return 0;
    return file->db != NULL ? open_refused(file, path)
                            : FAIL(-ENOMEM, "no memory to open the metadata %s", path);
}

int meta_sqlite_file_open(struct meta_sqlite_file *file, const char *path, const char *vfs,
                          bool create)
{
    bool empty = false;
    int flags = SQLITE_OPEN_READWRITE | (create ? SQLITE_OPEN_CREATE : 0);
    int result = open_named(file, path, path, vfs, flags);
    if (result == 0 && !create)
        result = refuse_empty(file, path);
    if (result == 0)
        result = open_begin(file, path, &empty);
    if (result == 0)
        result = open_finish(file, path, create, empty);
    if (result != 0)
        meta_sqlite_file_close(file);
    return result;
}

int meta_sqlite_file_inspect(struct meta_sqlite_file *file, const char *path, const char *name,
                             const char *vfs, int flags)
{
    bool empty = false;
    int64_t revision = 0;
    int result = open_named(file, path, name, vfs, SQLITE_OPEN_READONLY | flags);
    if (result == 0) {
        sqlite3_db_config(file->db, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, NULL);
        result = refuse_empty(file, path);
    }
    if (result == 0) {
        result = open_begin(file, path, &empty);
    }
    if (result == 0 && empty)
        result = FAIL(-ENOENT, "%s is empty: the metadata was never completely created", path);
    if (result == 0 && (!run_sql(file, "PRAGMA query_only = ON") ||
                        !ask_integer(file, "SELECT revision FROM state WHERE id = 1", &revision)))
        result = FAIL(IOMESH_CORRUPT, "the metadata %s is damaged: it has no revision", path);
    file->revision = file->revision_stored = (uint64_t)revision;
    if (result != 0)
        meta_sqlite_file_close(file);
    return result;
}

void meta_sqlite_file_close(struct meta_sqlite_file *file)
{
    meta_sqlite_events_cut(file, 0);
    for (unsigned i = 0; i < STATEMENT_COUNT; i++)
        sqlite3_finalize(file->statements[i]);
    /* Copies the log home and removes it. Not after a failure: what a device says then is not to
     * be trusted, and the log has everything. */
    if (file->failed)
        sqlite3_db_config(file->db, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, NULL);
    int code = sqlite3_close(file->db);
    assert(code == SQLITE_OK);
    (void)code;
    file->db = NULL;
    meta_sqlite_guard_done(file->guard);
    file->guard = NULL;
}
