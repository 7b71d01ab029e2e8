/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of this room share: sets of copies, and the doors between them. */
#ifndef REPLICA_INTERNAL_H
#define REPLICA_INTERNAL_H

#include "replica/replica.h"

/* struct replica_copy.todo: one bit for each action that a copy may be owed. */
enum copy_todo {
    TODO_FENCE = 1u,
    TODO_ROLE = 2u,
    TODO_RESYNC = 4u,
    TODO_STOP = 8u,
    TODO_FLUSH = 16u,
    TODO_WATERMARK = 32u,
};

/* struct replica.todo. */
enum group_todo {
    TODO_TRANSACT = 1u,
    TODO_RECONCILE = 2u,
    TODO_OPEN = 4u,
    TODO_CHANGED = 8u,
    TODO_ENDED = 16u,
};

/* struct replica_write.state and struct replica_flush.state. */
enum { REQUEST_IDLE, REQUEST_FLYING, REQUEST_DONE };

#define EACH_COPY(replica, copy)                                     \
    for (__typeof__(&(replica)->copies[0]) copy = (replica)->copies; \
         copy < (replica)->copies + REPLICA_COPIES_MAX; copy++)      \
        if ((copy)->state != REPLICA_ABSENT)

static inline uint8_t copy_bit(const struct replica *replica, const struct replica_copy *copy)
{
    return (uint8_t)(1u << (copy - replica->copies));
}

static inline uint8_t copy_index(const struct replica *replica, const struct replica_copy *copy)
{
    return (uint8_t)(copy - replica->copies);
}

static inline uint32_t copies_count(uint8_t mask)
{
    return (uint32_t)__builtin_popcount(mask);
}

static inline struct replica_write *write_of_node(struct list *node)
{
    return CONTAINER_OF(node, struct replica_write, node);
}

/* copies.c */
uint8_t replica_placed(const struct replica *replica);
/* In sync, and it has what it acknowledged. */
uint8_t replica_whole(const struct replica *replica);
/* Who is sent writes: who must have them, but those that lost what they had. */
uint8_t replica_targets(const struct replica *replica);
uint8_t replica_connected_mask(const struct replica *replica);
void replica_mark_failed(struct replica *replica, struct replica_copy *copy, uint64_t now);
/* It answered: it need not go, if that is not asked for yet. */
void replica_mark_well(struct replica *replica, struct replica_copy *copy);
void replica_abort_catching(struct replica *replica, struct replica_copy *copy, uint64_t now);
/* It was asked for its role, or told it, and has not confirmed. */
bool replica_owes_role(const struct replica *replica, const struct replica_copy *copy);
void replica_ask_role(struct replica_copy *copy, uint8_t role, uint64_t now);
void replica_find_sources(struct replica *replica, uint64_t now);

/* open.c */
void replica_fencing_step(struct replica *replica, uint64_t now);
void replica_bearing_step(struct replica *replica, uint64_t now);
void replica_reconcile_begin(struct replica *replica);
void replica_activate(struct replica *replica, uint64_t now);

/* change.c */
void replica_propose(struct replica *replica, const struct replica_member *members, uint64_t now);
/* Begins the transaction that is most wanted, if one may begin. */
void replica_plan(struct replica *replica, uint64_t now);

/* write.c */
void replica_writes_evaluate(struct replica *replica);
/* What `copies` had of them counts no more; they are sent to them again if they are targets. */
void replica_writes_forget(struct replica *replica, uint8_t copies, bool acked, uint64_t now);
void replica_writes_tick(struct replica *replica, uint64_t now);
void replica_writes_end(struct replica *replica);

/* flush.c */
void replica_flush_kick(struct replica *replica);
void replica_flush_evaluate(struct replica *replica);
void replica_flush_tick(struct replica *replica, uint64_t now);

/* slow.c */
void replica_sample(struct replica_copy *copy, uint64_t took_ns, uint64_t now);
void replica_slow_tick(struct replica *replica, uint64_t now);

#endif
