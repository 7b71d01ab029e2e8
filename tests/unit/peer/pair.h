/* SPDX-License-Identifier: Apache-2.0 */
/* One server, one store that is a mirror, and whoever asks: in the false world. */
#ifndef UNIT_PEER_PAIR_H
#define UNIT_PEER_PAIR_H

#include <criterion/criterion.h>
#include <string.h>

#include "format/wire.h"
#include "peer/peer.h"
#include "sim/mirror.h"
#include "sim/net.h"

#define PAIR_PORTS 3u
#define PAIR_POOL "the pool of all"

struct pair {
    struct world world;
    struct sim_net *net;
    struct sim_host *here[PAIR_PORTS], *there;
    struct mirror mirror;
    struct peer_server *server;
    struct peer_port *ports[PAIR_PORTS];
    struct peer_buffers buffers;
    uint64_t out, out_max;
    bool closed;
    unsigned changes;
    uint64_t epoch;
};

struct question {
    struct part_request request;
    int ended, result;
    uint64_t ended_ns;
    struct pair *pair;
    uint32_t crcs[PART_BLOCKS_MAX];
    _Alignas(4096) uint8_t data[PART_BLOCKS_MAX * BLOCK_BYTES];
};

void pair_open(struct pair *pair);
void pair_server_open(struct pair *pair);
void pair_server_close(struct pair *pair);
/* Options as they are by default, changed by `change` if it is not NULL. */
struct peer_port_options pair_options(struct pair *pair, unsigned index);
void pair_connect(struct pair *pair, unsigned index, const struct peer_port_options *options);
struct part_port *pair_part(struct pair *pair, unsigned index);
/* Until then, or for so long; whether it came. */
bool pair_run_until_up(struct pair *pair, unsigned index, uint64_t limit_ns);
void pair_run(struct pair *pair, uint64_t ns);
void pair_close(struct pair *pair);

struct question *question_new(struct pair *pair, enum part_request_kind kind);
/* WRITE or READ of `count` blocks from block 0. */
void question_blocks(struct question *question, uint32_t count);
void question_ask(struct question *question, unsigned port);
void question_wait(struct question *question, uint64_t limit_ns);

#endif
