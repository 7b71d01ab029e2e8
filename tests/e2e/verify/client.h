/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Several connections to one NBD export, turned by one poll loop.
 *
 * A connection that ends makes the client dead: libnbd then completes every outstanding request
 * with an error, and replies that had arrived before count as replies.
 */
#ifndef VERIFY_CLIENT_H
#define VERIFY_CLIENT_H

#include <libnbd.h>
#include <stdbool.h>
#include <stdint.h>

#define CLIENT_CONNECTIONS_MAX 64u

struct client {
    struct nbd_handle *handles[CLIENT_CONNECTIONS_MAX];
    unsigned count;
    uint64_t size_bytes;
    uint32_t block_min; /* Bytes: the smallest request that the server takes. */
    bool multi_conn;
    bool can_fua;
    bool can_flush;
    bool can_zero;
    bool can_trim;
};

/* Tries for @wait_s seconds. Returns 0, or -1 and nbd_get_error() speaks of the last try. */
int client_connect(struct client *client, const char *uri, unsigned count, double wait_s);
void client_close(struct client *client);

bool client_dead(const struct client *client);

/* Sends, receives and runs completions, for at most @timeout_ms. */
void client_turn(struct client *client, int timeout_ms);

double now_s(void);

#endif
