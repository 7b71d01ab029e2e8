/* SPDX-License-Identifier: Apache-2.0 */
/* A client and a server, and the bytes between them in a test's hands. */
#ifndef TEST_GRPC_PAIR_H
#define TEST_GRPC_PAIR_H

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>

#include "grpc/grpc.h"

#define CALLS_MAX 64u

/* What became of a call, at the client. */
struct call {
    struct grpc_stream *stream;
    unsigned messages;
    uint64_t bytes;
    uint8_t first; /* Byte of the last message. */
    bool ended;
    uint32_t status;
    bool may_have_run;
    uint32_t message_bytes;
    char text[GRPC_TEXT_BYTES_MAX + 1];
    bool cancel_at_message;
};

/* What the server saw. A path says how it behaves:
 *   /t/Echo     each message back, then OK
 *   /t/Big      a message asks for answers: u32 count, u32 bytes of each
 *   /t/Refuse   NOT_FOUND with a sentence, at once
 *   /t/Deaf     never an answer
 */
struct pair {
    struct grpc_session *client;
    struct grpc_session *server;
    struct call calls[CALLS_MAX];
    unsigned begun;
    unsigned half_closed;
    unsigned server_messages;
    unsigned server_ended;
    uint32_t server_ended_status;
    uint64_t timeout_ns;
    char path[GRPC_PATH_BYTES_MAX + 1];
    char token[64];
    struct grpc_stream *deaf;
    size_t step; /* Bytes that go over at a time; 0: all. */
    uint64_t held_peak;
};
extern struct pair pair;
extern struct grpc_options pair_client_options, pair_server_options;

void pair_open(void);
void pair_close(void);
/* Moves bytes both ways until none are left. */
void pair_run(void);
/* Moves at most so many bytes from one to the other. How many there were. */
size_t pair_move(struct grpc_session *from, struct grpc_session *to, size_t most);
struct call *pair_call(unsigned index, const char *path, const void *data, uint32_t length,
                       bool last);

#endif
