/* SPDX-License-Identifier: Apache-2.0 */
/* Where streams come from: connecting. */
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "uring/stream.h"

struct stream_connection {
    struct uring *uring;
    int fd;
    struct stream_options options;
    struct stream_address address;
    struct uring_op op;
    bool canceled;
    iomesh_connected_fn *connected;
    void *context;
};

static void connect_prepare(struct uring_op *op, struct io_uring_sqe *sqe)
{
    const struct stream_connection *connection = CONTAINER_OF(op, struct stream_connection, op);
    /* It was given up before the ring had room for it. */
    if (connection->canceled)
        io_uring_prep_nop(sqe);
    else
        io_uring_prep_connect(sqe, connection->fd,
                              (const struct sockaddr *)&connection->address.bytes,
                              connection->address.length);
}

static void connect_done(struct uring_op *op, int result, uint32_t flags)
{
    (void)flags;
    struct stream_connection *connection = CONTAINER_OF(op, struct stream_connection, op);
    struct iomesh_stream *stream = NULL;
    if (connection->canceled)
        result = -ECANCELED;
    if (result == 0)
        result = stream_open(connection->uring, connection->fd, &connection->options, &stream);
    if (result != 0) {
        close(connection->fd);
        (void)FAIL(result, "%s: cannot connect: %s", connection->address.text,
                   base_error_text(result));
    }
    iomesh_connected_fn *connected = connection->connected;
    void *context = connection->context;
    connection->uring->open_count--;
    free(connection);
    connected(context, result, stream);
}

int stream_connection_open(struct uring *uring, const struct stream_address *address,
                           const struct stream_options *options, iomesh_connected_fn *connected,
                           void *context, struct stream_connection **ret_connection)
{
    struct stream_connection *connection = calloc(1, sizeof *connection);
    if (connection == NULL)
        return FAIL(-ENOMEM, "%s: no memory", address->text);
    connection->fd = socket(address->bytes.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (connection->fd < 0) {
        free(connection);
        return FAIL(-errno, "%s: no socket: %s", address->text, strerror(errno));
    }
    connection->uring = uring;
    connection->options = *options;
    connection->address = *address;
    connection->op = (struct uring_op){.prepare = connect_prepare, .done = connect_done};
    list_init(&connection->op.node);
    connection->connected = connected;
    connection->context = context;
    uring->open_count++;
    uring_op_start(uring, &connection->op);
    *ret_connection = connection;
    return 0;
}

void stream_connection_cancel(struct stream_connection *connection)
{
    if (connection->canceled)
        return;
    connection->canceled = true;
    uring_op_cancel(connection->uring, &connection->op);
}

int uring_stream_connect(struct uring *uring, const char *address,
                         const struct iomesh_stream_options *given, iomesh_connected_fn *connected,
                         void *context)
{
    struct stream_options options;
    struct stream_address parsed;
    struct stream_connection *connection;
    int result = stream_options_check(given, &options);
    if (result == 0)
        result = address_parse(address, false, &parsed);
    if (result == 0)
        result = stream_connection_open(uring, &parsed, &options, connected, context, &connection);
    return result;
}
