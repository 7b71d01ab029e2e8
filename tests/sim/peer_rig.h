/* SPDX-License-Identifier: Apache-2.0 */
/*
 * peer_rig: engines and stores on a false net, and requests between them.
 *
 * Every request ends exactly once, with the only answer that it can have, or with -ECONNRESET (or
 * -ECANCELED, if it was). Its memory is poisoned when it has ended, and must stay so. A read shows,
 * of each block, nothing older than what was acknowledged when it began and nothing that was not
 * sent.
 */
#ifndef SIM_PEER_RIG_H
#define SIM_PEER_RIG_H

#include "peer/peer.h"
#include "sim/mirror.h"
#include "sim/net.h"

#define RIG_STORES_MAX 2u
#define RIG_ENGINES_MAX 3u
#define RIG_PORTS_MAX (RIG_STORES_MAX * RIG_ENGINES_MAX)
#define RIG_OPS 24u
#define RIG_OPS_LARGE 6u  /* The first, which have PART_BLOCKS_MAX, */
#define RIG_OP_BLOCKS 16u /* and the others. */
#define RIG_QUARANTINE 8u

struct rig;

struct rig_op {
    struct part_request request;
    struct rig *rig;
    bool flying, canceled;
    uint32_t blocks_max, store;
    uint64_t rest_until_ns; /* Its memory must stay poisoned until then. */
    uint8_t *data;
    struct part_version versions[PART_BLOCKS_MAX];
    uint32_t crcs[PART_BLOCKS_MAX];
    uint64_t cuts[PART_CUTS_MAX];
    struct part_run runs[PART_RUNS_MAX];
    char key[32];
    uint64_t floor[PART_BLOCKS_MAX]; /* Of each block: acknowledged when it began. */
};

struct rig_port {
    struct rig *rig;
    uint32_t engine, store;
    struct peer_port *port; /* NULL: closed. */
    bool closing, open_again;
    uint64_t session;
};

struct rig_buffers {
    struct peer_buffers buffers;
    uint64_t out_bytes, limit_bytes;
    uint64_t refused;
    struct {
        uint8_t *memory;
        uint64_t bytes;
    } resting[RIG_QUARANTINE];
    uint32_t rest_next;
};

struct rig_counts {
    uint64_t done, right, failed, reset, canceled, corrupt, reads, ups, breaks, strays, damaged,
        replaced, stalled, hungry;
};

struct rig {
    struct world world;
    struct sim_net *net;
    struct prng prng;
    struct sim_host *engine_hosts[RIG_ENGINES_MAX], *store_host;
    uint32_t engines, stores;
    struct mirror mirrors[RIG_STORES_MAX];
    struct peer_server *server; /* NULL: closed. */
    bool server_closing;
    struct rig_buffers buffers;
    struct rig_port ports[RIG_PORTS_MAX];
    struct rig_op ops[RIG_OPS];
    uint64_t epoch_next, sequence_next;
    uint64_t sent[RIG_STORES_MAX][MIRROR_VOLUMES][MIRROR_BLOCKS];
    uint64_t acked[RIG_STORES_MAX][MIRROR_VOLUMES][MIRROR_BLOCKS];
    bool corrupts; /* Bytes change on the way. */
    uint32_t requests_max;
    uint64_t bytes_max;
    struct rig_counts counts;
};

void rig_open(struct rig *rig, uint64_t seed);
/* Everything ends, and nothing is left. */
void rig_close(struct rig *rig);
void rig_server_open(struct rig *rig);
void rig_server_close(struct rig *rig);
void rig_port_open(struct rig *rig, struct rig_port *port);
void rig_port_close(struct rig_port *port);
/* A drawn request, if there is memory for one. */
void rig_ask(struct rig *rig);
void rig_cancel_one(struct rig *rig);
bool rig_is_idle(const struct rig *rig);
bool rig_is_up(const struct rig *rig);
/* Reads all blocks of a store. */
void rig_read_all(struct rig *rig, struct rig_port *port);

/* Of peer_ops.c. */
void rig_op_fill(struct rig_op *op, struct rig_port *port);
void rig_op_done(struct part_request *request, int result);
void rig_op_poison(struct rig_op *op);
void rig_op_check_poison(const struct rig_op *op);

#endif
