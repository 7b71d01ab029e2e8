/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of meta/sqlite share. */
#ifndef META_SQLITE_INSIDE_H
#define META_SQLITE_INSIDE_H

#include <pthread.h>
#include <sqlite3.h>

#include "meta/history.h"
#include "meta/sqlite/sqlite.h"

#define SQLITE_APPLICATION_ID 0x494d6f68 /* "IMoh" */

/* Columns of a row come in this order everywhere. */
#define ROW_COLUMNS "key, value, created, modified, lease, checksum"

#define SQLITE_STATEMENTS(X)                                                                 \
    X(BEGIN_READ, "BEGIN")                                                                   \
    X(BEGIN_WRITE, "BEGIN IMMEDIATE")                                                        \
    X(COMMIT, "COMMIT")                                                                      \
    X(SAVEPOINT, "SAVEPOINT one")                                                            \
    X(RELEASE, "RELEASE one")                                                                \
    X(ROLLBACK_TO, "ROLLBACK TO one")                                                        \
    X(REVISION, "UPDATE state SET revision = ?1")                                            \
    X(GET, "SELECT " ROW_COLUMNS " FROM entry WHERE key = ?1")                               \
    X(PUT, "INSERT OR REPLACE INTO entry (" ROW_COLUMNS ") VALUES (?1, ?2, ?3, ?4, ?5, ?6)") \
    X(DELETE, "DELETE FROM entry WHERE key = ?1")                                            \
    X(LIST, "SELECT " ROW_COLUMNS " FROM entry WHERE key >= ?1 AND key < ?2 ORDER BY key "   \
            "LIMIT ?3")                                                                      \
    X(DELETE_RANGE, "DELETE FROM entry WHERE key >= ?1 AND key < ?2")                        \
    X(LIST_LEASED, "SELECT " ROW_COLUMNS " FROM entry WHERE lease = ?1 ORDER BY key")        \
    X(DELETE_LEASED, "DELETE FROM entry WHERE lease = ?1")

#define STATEMENT_NAME(name, text) STATEMENT_##name,
enum meta_sqlite_statement { SQLITE_STATEMENTS(STATEMENT_NAME) STATEMENT_COUNT };
#undef STATEMENT_NAME

struct meta_sqlite_guard;

/* The file, and the state of the transaction under way. One thread at a time. */
struct meta_sqlite_file {
    sqlite3 *db;
    struct meta_sqlite_guard *guard; /* Of one that is not to be changed, or NULL. */
    sqlite3_stmt *statements[STATEMENT_COUNT];
    uint64_t revision;        /* With the changes of the transaction under way. */
    uint64_t revision_stored; /* As of the last COMMIT. */
    uint64_t opens;           /* How often the file was opened: the upper half of lease ids. */
    struct list events;       /* struct meta_item: of the transaction under way. */
    uint32_t event_count;
    uint32_t events_committed; /* The first ones: of transactions that are committed. */
    uint32_t checkpoint_pages;
    uint32_t log_pages; /* In the log since it was last copied home. */
    bool failed;
    char failure[256]; /* Written once, before `failed` is. */
};

enum lease_state { LEASE_ALIVE, LEASE_ENDING };

struct meta_sqlite;

struct meta_sqlite_lease {
    struct meta_sqlite *sqlite;
    enum lease_state state;
    uint64_t id;
    uint64_t ttl_ns;
    struct timer timer;
    struct meta_request ending; /* Ours, when it ran out; a revoking caller brings its own. */
    struct list node;
};

struct meta_sqlite {
    struct meta meta;

    /* The engine's. */
    struct clock *clock;
    void (*wakeup)(void *context);
    void *wakeup_context;
    uint32_t queue_max;
    struct list leases; /* struct meta_sqlite_lease, at most META_LEASES_MAX. */
    uint32_t lease_count;
    uint32_t lease_next;  /* The lower half of the next lease's id. */
    struct list answered; /* Requests that the file has no part in. */
    struct meta_history history;

    /* Shared, under the mutex. Everything in them is bounded by queue_max and the leases. */
    pthread_mutex_t mutex;
    pthread_cond_t work;
    struct list queue;    /* Requests that wait. */
    struct list finished; /* Requests that the file has answered. */
    struct list events;   /* struct meta_item: committed. */
    struct meta_sqlite_counts counts;
    bool failed;
    bool stop;
    bool read_only; /* Never changes. */

    /* The worker's: the thread, or whoever steps. */
    struct meta_sqlite_file file;
    bool threaded;
    pthread_t thread;
};

/* file.c: opening and closing. `create` as in the options. */
int meta_sqlite_file_open(struct meta_sqlite_file *file, const char *path, const char *vfs,
                          bool create);
/* For reading only: identifies, reads the revision, prepares nothing. `name` is what SQLite opens,
 * with these flags besides, `path` what sentences call it. */
int meta_sqlite_file_inspect(struct meta_sqlite_file *file, const char *path, const char *name,
                             const char *vfs, int flags);
int meta_sqlite_file_prepare(struct meta_sqlite_file *file, const char *path);
void meta_sqlite_file_close(struct meta_sqlite_file *file);
/* Turns SQLite's code into ours, and remembers what cannot be mended. */
int meta_sqlite_result(struct meta_sqlite_file *file, int code);

/* rows.c: one row at a time. All return 0 or a negative result of ours. */
struct meta_sqlite_row {
    struct meta_slice key;
    struct meta_slice value;
    uint64_t created;
    uint64_t modified;
    uint64_t lease;
};
/* Runs a statement that answers nothing, and leaves it reset: one that stands keeps its
 * transaction open. */
int meta_sqlite_run(struct meta_sqlite_file *file, enum meta_sqlite_statement which);
void meta_sqlite_bind(sqlite3_stmt *statement, int index, struct meta_slice slice);
/* The next row: 1, 0 at the end, or negative. It is valid until the statement moves on. */
int meta_sqlite_next(struct meta_sqlite_file *file, sqlite3_stmt *statement,
                     struct meta_sqlite_row *ret_row);
/* Reads the row that a statement stands on. 0 or IOMESH_CORRUPT. */
int meta_sqlite_row_read(sqlite3_stmt *statement, struct meta_sqlite_row *ret_row);
int meta_sqlite_row_put(struct meta_sqlite_file *file, const struct meta_sqlite_row *row);

/* What was deleted in one go, and at which revision. */
struct meta_sqlite_deletion {
    enum meta_sqlite_statement list;
    enum meta_sqlite_statement remove;
    struct meta_slice from; /* LIST and DELETE_RANGE: keys at or above it, */
    struct meta_slice to;   /* and below this. */
    uint64_t lease;         /* LIST_LEASED and DELETE_LEASED. */
};
int meta_sqlite_delete_all(struct meta_sqlite_file *file, const struct meta_sqlite_deletion *what,
                           uint64_t revision, uint32_t *ret_count);
/* Remembers that a key changed, for the watches. */
int meta_sqlite_event(struct meta_sqlite_file *file, enum meta_event_kind kind,
                      const struct meta_sqlite_row *row, uint64_t revision,
                      uint64_t previous_revision);
/* Forgets the events after the first `count`. */
void meta_sqlite_events_cut(struct meta_sqlite_file *file, uint32_t count);

/* unchanged.c: opens for reading only, and changes nothing, be there a log or none. */
int meta_sqlite_file_open_unchanged(struct meta_sqlite_file *file, const char *path,
                                    const char *vfs);

void meta_sqlite_guard_done(struct meta_sqlite_guard *guard);

/* execute.c: a batch of requests, all of them answered (request->result) when it returns.
 * Events of what was committed are left in file->events. True if something was committed. */
bool meta_sqlite_batch(struct meta_sqlite_file *file, struct list *requests);

/* lease.c, on the engine's thread. */
struct meta_sqlite_lease *meta_sqlite_lease_find(struct meta_sqlite *sqlite, uint64_t id);
int meta_sqlite_lease_grant(struct meta_sqlite *sqlite, struct meta_request *request);
int meta_sqlite_lease_keep(struct meta_sqlite *sqlite, struct meta_request *request);
/* 0: the caller queues the request, and _revoked() tells what became of it. */
int meta_sqlite_lease_revoke(struct meta_sqlite *sqlite, struct meta_request *request);
void meta_sqlite_lease_revoked(struct meta_sqlite *sqlite, struct meta_request *request,
                               int result);
/* Ends the request with which a lease that ran out deletes its keys. */
void meta_sqlite_lease_ended(struct meta_request *request, int result);
void meta_sqlite_leases_done(struct meta_sqlite *sqlite);

#endif
