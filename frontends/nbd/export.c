/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A volume as long as clients use it.
 *
 *   OPENING ──▶ OPEN ──last client leaves──▶ FLUSHING ──▶ CLOSING ──▶ gone
 *      ▲                                                     │
 *      └──────────── somebody asked again meanwhile ◀────────┘
 *
 * It is flushed before it is closed: then a volume that nobody uses owes nothing to the power.
 *
 * In a cluster a volume may be taken from this process, and opening one waits while its copies are
 * away. Whoever has an export whose volume was taken gets errors until he leaves; those who come
 * after that was noticed get an export of their own, on the volume opened anew.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "common/log.h"
#include "nbd/plant.h"
#include "nbd/server.h"

static void start_opening(struct export *export);

static struct export *find(struct server *server, const char *name)
{
    struct export *export;
    TAILQ_FOREACH(export, &server->exports, link)
    {
        if (export->state == EXPORT_OPEN && iomesh_volume_ended(export->volume) != 0)
            export->ended = true;
        if (!export->ended && strcmp(export->name, name) == 0)
            return export;
    }
    return NULL;
}

bool exports_are_idle(const struct server *server)
{
    const struct export *export;
    TAILQ_FOREACH(export, &server->exports, link)
    if (export->state != EXPORT_OPENING || !TAILQ_EMPTY(&export->waiters))
        return false;
    return true;
}

void export_forget(struct connection *connection)
{
    if (!connection->awaiting)
        return;
    TAILQ_REMOVE(&connection->export->waiters, connection, waiting);
    connection->export = NULL;
    connection->awaiting = false;
    connection->asking = false;
}

/* Answers everybody who waits. They may leave or come back while they are told. */
static void tell_waiters(struct export *export, int result)
{
    struct connection *connection;
    while ((connection = TAILQ_FIRST(&export->waiters)) != NULL) {
        TAILQ_REMOVE(&export->waiters, connection, waiting);
        connection->awaiting = false;
        if (result == 0)
            export->users++;
        else
            connection->export = NULL;
        handshake_opened(connection, result);
    }
}

static void export_free(struct export *export)
{
    struct server *server = export->server;
    TAILQ_REMOVE(&server->exports, export, link);
    free(export);
    server_check_drained(server);
}

static void closed(void *context, int result)
{
    struct export *export = context;
    if (result != 0)
        log_line(LOG_LEVEL_ERROR, "closing volume %s: %s", export->name, iomesh_error_text(result));
    export->volume = NULL;
    if (TAILQ_EMPTY(&export->waiters))
        export_free(export);
    else
        start_opening(export);
}

static void flushed(void *context, int result)
{
    struct export *export = context;
    if (result == IOMESH_FENCED) {
        log_line(LOG_LEVEL_WARNING, "volume %s: closed; another process has it", export->name);
    } else if (result != 0) {
        log_line(LOG_LEVEL_ERROR, "flushing volume %s: %s", export->name,
                 iomesh_error_text(result));
        if (export->server->flush_error == 0)
            export->server->flush_error = result;
    }
    export->state = EXPORT_CLOSING;
    const int accepted = iomesh_volume_close(export->volume, closed, export);
    if (accepted != 0) {
        /* Only another request in flight could refuse it, and there is none. */
        log_line(LOG_LEVEL_ERROR, "closing volume %s: %s", export->name, iomesh_last_error());
        closed(export, accepted);
    }
}

static void start_closing(struct export *export)
{
    export->state = EXPORT_FLUSHING;
    int result = 0;
    if (!iomesh_volume_is_read_only(export->volume))
        result = iomesh_flush(export->volume, flushed, export);
    else
        flushed(export, 0);
    if (result != 0)
        flushed(export, result);
}

static void opened(void *context, int result, struct iomesh_volume *volume)
{
    struct export *export = context;
    if (result != 0) {
        tell_waiters(export, result);
        export_free(export);
        return;
    }
    export->volume = volume;
    export->state = EXPORT_OPEN;
    export->users = 1; /* Held while they are told: they may all turn out to be gone. */
    tell_waiters(export, 0);
    export_leave(export);
}

static void start_opening(struct export *export)
{
    struct iomesh_volume_options options = IOMESH_VOLUME_OPTIONS_INIT;
    if (export->server->read_only && !PLANTED("read-only"))
        options.flags |= IOMESH_VOLUME_READ_ONLY;
    export->state = EXPORT_OPENING;
    const int result =
        iomesh_volume_open(export->server->pool, export->name, &options, opened, export);
    if (result != 0)
        opened(export, result, NULL);
}

void export_open(struct connection *connection, const char *name)
{
    struct server *server = connection->server;
    struct export *export = find(server, name);
    if (export != NULL && export->state == EXPORT_OPEN) {
        export->users++;
        connection->export = export;
        handshake_opened(connection, 0);
        return;
    }
    const bool fresh = export == NULL;
    if (fresh) {
        export = calloc(1, sizeof *export);
        if (export == NULL) {
            handshake_opened(connection, -ENOMEM);
            return;
        }
        export->server = server;
        TAILQ_INIT(&export->waiters);
        memcpy(export->name, name, strlen(name) + 1);
        TAILQ_INSERT_TAIL(&server->exports, export, link);
    }
    connection->export = export;
    TAILQ_INSERT_TAIL(&export->waiters, connection, waiting);
    connection->awaiting = true;
    if (fresh)
        start_opening(export);
}

void export_leave(struct export *export)
{
    if (--export->users == 0)
        start_closing(export);
}
