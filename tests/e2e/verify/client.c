/* SPDX-License-Identifier: Apache-2.0 */
#include "client.h"

#include <errno.h>
#include <poll.h>
#include <time.h>

double now_s(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

void client_close(struct client *client)
{
    for (unsigned i = 0; i < client->count; i++)
        nbd_close(client->handles[i]);
    client->count = 0;
}

static struct nbd_handle *connect_once(const char *uri)
{
    struct nbd_handle *handle = nbd_create();
    if (handle == NULL)
        return NULL;
    nbd_set_uri_allow_local_file(handle, true); /* For the directory of TLS certificates. */
    if (nbd_connect_uri(handle, uri) == 0)
        return handle;
    nbd_close(handle);
    return NULL;
}

static void learn(struct client *client)
{
    struct nbd_handle *handle = client->handles[0];
    int64_t block_min = nbd_get_block_size(handle, LIBNBD_SIZE_MINIMUM);

    client->size_bytes = (uint64_t)nbd_get_size(handle);
    client->block_min = block_min > 0 ? (uint32_t)block_min : 512;
    client->multi_conn = nbd_can_multi_conn(handle) > 0;
    client->can_fua = nbd_can_fua(handle) > 0;
    client->can_flush = nbd_can_flush(handle) > 0;
    client->can_zero = nbd_can_zero(handle) > 0;
    client->can_trim = nbd_can_trim(handle) > 0;
}

int client_connect(struct client *client, const char *uri, unsigned count, double wait_s)
{
    const double end_s = now_s() + wait_s;

    *client = (struct client){0};
    while (client->count < count) {
        struct nbd_handle *handle = connect_once(uri);
        if (handle != NULL) {
            client->handles[client->count++] = handle;
            continue;
        }
        if (now_s() >= end_s) {
            client_close(client);
            return -1;
        }
        nanosleep(&(struct timespec){.tv_nsec = 5000000}, NULL);
    }
    learn(client);
    return 0;
}

bool client_dead(const struct client *client)
{
    for (unsigned i = 0; i < client->count; i++)
        if (nbd_aio_is_dead(client->handles[i]) || nbd_aio_is_closed(client->handles[i]))
            return true;
    return false;
}

void client_turn(struct client *client, int timeout_ms)
{
    struct pollfd fds[CLIENT_CONNECTIONS_MAX];

    for (unsigned i = 0; i < client->count; i++) {
        unsigned direction = nbd_aio_get_direction(client->handles[i]);
        fds[i] = (struct pollfd){.fd = nbd_aio_get_fd(client->handles[i])};
        if (direction & LIBNBD_AIO_DIRECTION_READ)
            fds[i].events |= POLLIN;
        if (direction & LIBNBD_AIO_DIRECTION_WRITE)
            fds[i].events |= POLLOUT;
    }
    if (poll(fds, client->count, timeout_ms) <= 0)
        return;
    for (unsigned i = 0; i < client->count; i++) {
        struct nbd_handle *handle = client->handles[i];
        unsigned direction = nbd_aio_get_direction(handle);
        /* Replies first: what was acknowledged before the server died counts. */
        if (fds[i].revents & (POLLIN | POLLHUP | POLLERR) && direction & LIBNBD_AIO_DIRECTION_READ)
            nbd_aio_notify_read(handle);
        else if (fds[i].revents & (POLLOUT | POLLHUP | POLLERR) &&
                 direction & LIBNBD_AIO_DIRECTION_WRITE)
            nbd_aio_notify_write(handle);
    }
}
