/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which exports there are, and what is known of one without opening it.
 *
 *   LIST      VOLUMES ⇄ SNAPSHOTS    volumes in pages; after one that has snapshots, those
 *   CONTEXTS  facts, then CONTEXTS   the snapshots that the export can be compared with
 *
 * The engine names all snapshots of a volume in one turn: what does not fit `out` is named again,
 * from list_cut on, when that has been sent.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "nbd/server.h"

enum {
    /* Names of a page always fit the codec's out buffer: 20 x (24 + 128) < 4096. */
    LIST_PAGE = 20,
    /* Of each volume its newest snapshots: clients connect once for each name of a list. */
    LIST_SNAPSHOTS_MAX = 100,
};

const char *names_wanted(const struct connection *connection)
{
    const char *name = connection->session.name;
    return name[0] != '\0' ? name : connection->server->default_export;
}

/* The volume's part of an export's name; NULL: it is the whole. */
static const char *volume_of(const char *name, char ret_volume[IOMESH_NAME_BYTES_MAX + 1])
{
    const char *at = strchr(name, '@');
    const size_t length = at != NULL ? (size_t)(at - name) : 0;
    if (at == NULL || length > IOMESH_NAME_BYTES_MAX)
        return NULL;
    memcpy(ret_volume, name, length);
    ret_volume[length] = '\0';
    return ret_volume;
}

/* Sends what was named, if anything was, and goes on from there. */
static void go_on(struct connection *connection)
{
    if (connection->session.out_bytes > 0)
        handshake_send(connection);
    else
        names_go_on(connection);
}

/* An answer to the question came back. False: nobody waits for it any more. */
static bool awaited(struct connection *connection)
{
    connection->asking = false;
    if (!handshake_gone(connection))
        return true;
    connection_settle(connection);
    return false;
}

/* --- LIST ---------------------------------------------------------------------------------- */

static void list_refused(struct connection *connection)
{
    connection->stage = NAMES_NONE;
    nbd_export_refused(&connection->session, NBD_REP_ERR_POLICY, "the list cannot be read");
    handshake_send(connection);
}

static void volume_listed(void *context, const struct iomesh_volume_info *info)
{
    struct connection *connection = context;
    if (handshake_gone(connection) || connection->list_snapshots > 0)
        return;
    nbd_list_add(&connection->session, info->name);
    memcpy(connection->list_name, info->name, strlen(info->name) + 1);
    connection->list_snapshots = info->snapshot_count;
}

static void volumes_ended(void *context, int result)
{
    struct connection *connection = context;
    if (!awaited(connection))
        return;
    if (result < 0) {
        list_refused(connection);
        return;
    }
    connection->list_cut = 0;
    if (connection->list_snapshots > 0)
        connection->stage = NAMES_SNAPSHOTS;
    else if (result == 0) {
        connection->stage = NAMES_NONE;
        nbd_list_end(&connection->session);
    }
    go_on(connection);
}

static void snapshot_listed(void *context, const struct iomesh_snapshot_info *info)
{
    struct connection *connection = context;
    const uint32_t index = connection->list_index++;
    if (handshake_gone(connection) || connection->list_full || info->cut <= connection->list_cut ||
        index + LIST_SNAPSHOTS_MAX < connection->list_snapshots)
        return;
    char name[NBD_NAME_BYTES_MAX + 1];
    snprintf(name, sizeof name, "%s@%s", info->volume, info->name);
    if (nbd_list_add(&connection->session, name))
        connection->list_cut = info->cut;
    else
        connection->list_full = true;
}

static void snapshots_ended(void *context, int result)
{
    struct connection *connection = context;
    if (!awaited(connection))
        return;
    if (result != 0 && result != -ENOENT) { /* The volume may be gone meanwhile. */
        list_refused(connection);
        return;
    }
    if (!connection->list_full) {
        connection->stage = NAMES_VOLUMES;
        connection->list_snapshots = 0;
    }
    go_on(connection);
}

void names_list(struct connection *connection)
{
    connection->list_name[0] = '\0';
    connection->list_snapshots = 0;
    connection->stage = NAMES_VOLUMES;
    names_go_on(connection);
}

/* --- Contexts ------------------------------------------------------------------------------ */

static void context_listed(void *context, const struct iomesh_snapshot_info *info)
{
    struct connection *connection = context;
    if (handshake_gone(connection) || connection->list_full || info->cut <= connection->list_cut ||
        info->cut >= connection->view_cut)
        return;
    connection->since_volume = info->volume_id;
    if (nbd_context_add(&connection->session, info->name, info->cut))
        connection->list_cut = info->cut;
    else
        connection->list_full = true;
}

static void contexts_ended(void *context, int result)
{
    struct connection *connection = context;
    if (!awaited(connection))
        return;
    if (result != 0) {
        connection->stage = NAMES_NONE;
        handshake_refuse(connection, result);
        return;
    }
    if (!connection->list_full && nbd_context_end(&connection->session))
        connection->stage = NAMES_NONE;
    handshake_send(connection);
}

void names_go_on(struct connection *connection)
{
    struct iomesh_pool *pool = connection->server->pool;
    char volume[IOMESH_NAME_BYTES_MAX + 1];
    const char *name = names_wanted(connection);
    int result = 0;
    connection->asking = true;
    connection->list_full = false;
    connection->list_index = 0;
    switch (connection->stage) {
    case NAMES_VOLUMES:
        result = iomesh_volume_list(pool, connection->list_name, LIST_PAGE, volume_listed,
                                    volumes_ended, connection);
        if (result != 0)
            volumes_ended(connection, result);
        break;
    case NAMES_SNAPSHOTS:
        result = iomesh_snapshot_list(pool, connection->list_name, 0, snapshot_listed,
                                      snapshots_ended, connection);
        if (result != 0)
            snapshots_ended(connection, result);
        break;
    default:
        if (volume_of(name, volume) != NULL)
            name = volume;
        result = iomesh_snapshot_list(pool, name, 0, context_listed, contexts_ended, connection);
        if (result != 0)
            contexts_ended(connection, result);
        break;
    }
}

/* --- Facts --------------------------------------------------------------------------------- */

static void shown(void *context, const struct iomesh_volume_info *info)
{
    struct connection *connection = context;
    struct iomesh_pool_status status = {.size = sizeof status};
    const bool pool_read_only = iomesh_pool_status(connection->server->pool, &status) == 0 &&
                                status.state == IOMESH_POOL_IS_READ_ONLY;
    const bool snapshot = connection->view_cut != UINT64_MAX;
    handshake_facts(connection, snapshot ? connection->found.size_bytes : info->bytes,
                    info->sector_bytes, snapshot || connection->server->read_only || pool_read_only,
                    &connection->found);
}

static void show_ended(void *context, int result)
{
    struct connection *connection = context;
    if (!awaited(connection))
        return;
    if (result != 0) {
        handshake_refuse(connection, result);
    } else if (connection->comparing) {
        connection->stage = NAMES_CONTEXTS;
        connection->list_cut = 0;
        names_go_on(connection);
    } else {
        handshake_answered(connection, nbd_export_found(&connection->session, &connection->found),
                           NULL);
    }
}

static void show_volume(struct connection *connection, const char *volume)
{
    const int result =
        iomesh_volume_show(connection->server->pool, volume, shown, show_ended, connection);
    if (result != 0)
        show_ended(connection, result);
}

static void snapshot_shown(void *context, const struct iomesh_snapshot_info *info)
{
    struct connection *connection = context;
    connection->found.size_bytes = info->bytes;
    connection->view_cut = info->cut;
}

/* The sector is the volume's. */
static void snapshot_show_ended(void *context, int result)
{
    struct connection *connection = context;
    char volume[IOMESH_NAME_BYTES_MAX + 1];
    if (result != 0 || handshake_gone(connection) ||
        volume_of(names_wanted(connection), volume) == NULL)
        show_ended(connection, result);
    else
        show_volume(connection, volume);
}

void names_look_up(struct connection *connection, bool comparing)
{
    const char *name = names_wanted(connection);
    char volume[IOMESH_NAME_BYTES_MAX + 1];
    connection->asking = true;
    connection->comparing = comparing;
    connection->view_cut = UINT64_MAX;
    if (volume_of(name, volume) == NULL) {
        show_volume(connection, name);
        return;
    }
    const int result = iomesh_snapshot_show(connection->server->pool, name, 0, snapshot_shown,
                                            snapshot_show_ended, connection);
    if (result != 0)
        snapshot_show_ended(connection, result);
}

/* --- GO ------------------------------------------------------------------------------------ */

static void snapshot_found(void *context, const struct iomesh_snapshot_info *info)
{
    struct connection *connection = context;
    const struct nbd_contexts *contexts = &connection->session.contexts;
    for (uint32_t index = 0; index < contexts->snapshot_count; index++)
        if (info->volume_id == connection->since_volume && info->cut == contexts->cuts[index] &&
            strcmp(info->name, contexts->snapshots[index]) == 0)
            connection->confirmed |= 2u << index;
}

static void confirm_ended(void *context, int result)
{
    struct connection *connection = context;
    if (!awaited(connection))
        return;
    const uint32_t chosen = connection->session.contexts.bits & ~1u;
    if (result == 0 && (chosen & ~connection->confirmed) == 0) {
        handshake_go(connection);
        return;
    }
    export_leave(connection->export);
    connection->export = NULL;
    handshake_answered(connection,
                       nbd_export_refused(&connection->session, NBD_REP_ERR_UNKNOWN,
                                          "a snapshot that was chosen as a context is gone"),
                       "a snapshot that was chosen as a context is gone");
}

void names_confirm(struct connection *connection)
{
    const char *name = names_wanted(connection);
    char volume[IOMESH_NAME_BYTES_MAX + 1];
    if (volume_of(name, volume) != NULL)
        name = volume;
    connection->asking = true;
    connection->confirmed = 0;
    const int result = iomesh_snapshot_list(connection->server->pool, name, 0, snapshot_found,
                                            confirm_ended, connection);
    if (result != 0)
        confirm_ended(connection, result);
}
