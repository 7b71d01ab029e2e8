/* SPDX-License-Identifier: Apache-2.0 */
/*
 * replica: one group's copies, as the coordinator of its volume sees them. Pure: events in, actions
 * out; the time is a number that comes in; no clock, no I/O, no chance, no allocation.
 *
 * Owns: who is in sync, who is asked what, which copies a write needs and which of them have it,
 * the watermark, what is flushed where, when a copy has failed, when it may come back, and what is
 * told to the metadata. It does not own: connections, messages, blocks, range locks, sequences,
 * the lease, credits of space. Those are the caller's (volume/), which performs the actions.
 *
 * Promises (design: "in sync", "one writer", "acknowledged"):
 *   - REPLICA_DO_WRITE_DONE without error comes only when every copy that the metadata may call in
 *     sync has the write, min_copies of them at least, and no other coordinator may have read.
 *   - a copy is made stale only by a transaction that is known to be committed; the last never.
 *   - REPLICA_DO_FLUSH_DONE without error: what was done before is durable on each of them.
 *   - after a write or flush that was done is lost everywhere, the session ends and nothing more
 *     is ever done without error.
 *
 * The group:
 *
 *                 all or enough        someone in sync         settled
 *                 copies answered      did not answer          or nothing to
 *   IDLE ──▶ FENCING ──┬──────────▶ SHRINKING ──▶ RECONCILING ─────▶ ACTIVE ──▶ ENDED
 *    ▲ begin     │     └───────────────────────────▶ ▲                 ▲         │ any of them,
 *    │           └─ generation 0 ──▶ BEARING ──────────────────────────┘         │ once another
 *    └───────────────────────────── begin, once all has ended ◀──────────────────┘ epoch is seen
 *
 *   FENCING      every placed copy is asked to obey this epoch only, until it answers
 *   SHRINKING    a transaction makes stale who did not answer, or lost what it had (wiped)
 *   RECONCILING  the caller compares the copies in sync above the lowest trusted watermark
 *   BEARING      a new group, generation 0: copies are told their role, then generation 1 says so
 *
 * A copy, beside its state in the metadata (struct replica_member):
 *
 *   STALE ─transaction─▶ ASKED ─ROLE answered─▶ COPYING ─resynced─▶ SEALING ─flushed, nothing set
 *     ▲                    │                       │  ▲                │      aside─▶ JOINING
 *     │                    │                       │  └─ still set aside ─┘              │
 *     └───transaction──────┴── silent, refused, failed, another boot id ──┘   transaction│
 *     └───transaction── (others remain, min_copies or what it had is lost) ◀── SERVING ◀─┘
 *
 *   From COPYING on it gets every write and must have it. From SERVING on it may be read, once it
 *   confirmed its role: it is told until it does.
 *
 * What the caller sends, and what of an answer it brings back here:
 *   - each request carries epoch and generation (replica->epoch, replica->generation when it is
 *     sent), and the watermark (replica_watermark()) if it is a write; each answer echoes the
 *     generation of its request, and the caller hands that on. An answer from a session with the
 *     store that has ended is dropped by the caller; replica_disconnected() was told then.
 *   - after every call here, and when replica_deadline() has come (replica_tick()), take actions
 *     with replica_next() until there is none. At most one of a kind per copy waits: bounded.
 *   - performing an action never calls back inside: answers come as events, later.
 */
#ifndef REPLICA_REPLICA_H
#define REPLICA_REPLICA_H

#include "base/base.h"

/* Five copies, and one more while a copy moves. A set of copies is a mask of 1u << copy. */
#define REPLICA_COPIES_MAX 6u

/* --- What the metadata says: group/<id>/<g> --------------------------------------------------- */

enum replica_state {
    REPLICA_ABSENT, /* No copy has this number. */
    REPLICA_STALE,
    REPLICA_CATCHING_UP,
    REPLICA_IN_SYNC,
};

struct replica_member {
    uint64_t store;
    uint8_t state; /* enum replica_state. */
};

/* Members are compared by store: the caller need not keep their places in the record. */
struct replica_record {
    uint64_t epoch;      /* Of the volume. */
    uint32_t generation; /* +1 by each transaction; 0: no coordinator was ever active. */
    struct replica_member members[REPLICA_COPIES_MAX];
};

/* --- What a store says of its part ------------------------------------------------------------ */

/* The answer to FENCE and to ROLE. */
struct replica_part {
    uint32_t generation; /* Of the request. */
    uint8_t role;        /* REPLICA_CATCHING_UP or REPLICA_IN_SYNC; REPLICA_ABSENT: it was never
                          * told one, so it holds nothing that counts. */
    bool restarted;      /* Its machine did, since it was last in sync and told so: what is above
                          * `watermark` may lack writes that it acknowledged. */
    uint64_t watermark;  /* Trusted: `flushed` if its machine restarted. */
    uint64_t boot;       /* Its machine's boot id, as a number that differs when that does. */
};

/* --- Options ---------------------------------------------------------------------------------- */

struct replica_options {
    uint8_t min_copies;        /* Below it writes are not done. 0: 1. */
    uint64_t grace_ns;         /* Refused or reset this long: failed. 0: 250 ms. */
    uint64_t copy_timeout_ns;  /* Silent this long: failed. 0: 2 s. */
    uint64_t fence_timeout_ns; /* Opening waits this long for all to answer. 0: copy_timeout_ns. */
    uint64_t resend_ns;        /* Repeat what is not answered: for roads that lose messages. 0: on
                                * a new connection only. */
    uint64_t retry_ns;         /* Between attempts of a transaction or of catching up. 0: 100 ms. */
    uint64_t idle_ns;          /* A watermark that no write carried is sent after. 0: 100 ms. */
    uint64_t flush_ns;         /* Flush without being asked. 0: 1 s. */
    uint64_t hedge_ns;         /* A read is asked twice no sooner. 0: 1 ms. */
    uint64_t slow_ns;          /* Slower than siblings and than this: read last. 0: 50 ms. */
    uint64_t evict_ns;         /* Slower than siblings and than this: stale. 0: 1 s. */
    uint64_t slow_for_ns;      /* For so long. 0: 10 s. */
};

/* --- Requests that live in what waits for them ------------------------------------------------ */

/* A write to the copies. Zero it once; the machine's from start until it is done or cancelled. */
struct replica_write {
    struct list node;  /* In flight, oldest first. */
    struct list ready; /* Among those to be sent, or done. */
    uint64_t sequence;
    uint64_t asked_ns; /* Since when copies that have not answered owe it. */
    uint64_t sent_ns;  /* Last time anything was sent. */
    uint8_t unsent;    /* Copies that must be sent to. */
    uint8_t sent;      /* Copies that were. */
    uint8_t acked;
    uint8_t state;
    bool fua;    /* Its answers mean durable. */
    bool settle; /* Reconcile's: it settles what may or may not have been acknowledged. */
};

struct replica_flush {
    struct list node;
    uint64_t count; /* What had been done when it began. */
    uint64_t asked_ns;
    uint8_t state;
};

/* --- What is to be done ----------------------------------------------------------------------- */

enum replica_do {
    /* Send FENCE(epoch) to `copy`. Answer: replica_fenced(). */
    REPLICA_DO_FENCE,
    /* Send ROLE(role, generation, watermark, flushed) to `copy`. Answer: replica_role_told(). To
     * catch up a store first sets aside all that is above the newest `flushed` that it was ever
     * told; once per generation, however often it is asked. */
    REPLICA_DO_ROLE,
    /* Replace the record, if its epoch is `record.epoch` and its generation record.generation - 1.
     * Outcome: replica_transacted() with what the record is now (read it if it was refused), or
     * replica_transact_unknown(). The same may be asked again. */
    REPLICA_DO_TRANSACT,
    /* Compare `copies` above sequence `above`, in all views; where they differ, replica_settle(),
     * and write with replica_write_start() of a write that says `settle`. A new attempt takes the
     * place of an older one: cancel its writes. Outcome: replica_reconciled(). */
    REPLICA_DO_RECONCILE,
    /* Reads, writes and flushes may begin. */
    REPLICA_DO_OPEN,
    /* Copy to `copy` what it lacks: list what it set aside, and what `source` has above `above` in
     * every view; read, verify, send. Asked only after ROLE was answered: a list older than that
     * would lack writes. A new attempt takes the place of an older. Outcome: replica_resynced(). */
    REPLICA_DO_RESYNC,
    /* Stop copying to `copy`: the attempt counts for nothing any more. */
    REPLICA_DO_STOP,
    /* Send FLUSH to `copy`. Answer: replica_flushed(), with `token`. */
    REPLICA_DO_FLUSH,
    /* Send watermark and flushed to `copy`: no write has carried them. No answer is looked at. */
    REPLICA_DO_WATERMARK,
    /* Send `write` to `copies`. Answers: replica_write_told(). */
    REPLICA_DO_SEND,
    REPLICA_DO_WRITE_DONE, /* `write`, `result`: 0 or IOMESH_FENCED, -EIO. Yours again. */
    REPLICA_DO_FLUSH_DONE, /* The same for `flush`. */
    /* Who is in sync, or may be read, has changed: reads that wait for a copy choose again. Reads
     * that were held (replica_read_told()) may be answered again, if the lease allows. */
    REPLICA_DO_CHANGED,
    /* The session is over, `result` says why: IOMESH_FENCED, or -EIO: acknowledged writes are lost.
     * After it writes and flushes are done with that result, and nothing is answered. */
    REPLICA_DO_ENDED,
};

struct replica_action {
    enum replica_do kind;
    uint64_t epoch;
    int result;
    uint8_t copy;
    uint8_t source;
    uint8_t copies; /* A mask. */
    uint8_t role;
    uint32_t generation;
    uint32_t attempt; /* RECONCILE, RESYNC. */
    uint64_t above;
    uint64_t watermark;
    uint64_t flushed; /* As replica_flushed_to(). */
    uint64_t token;
    struct replica_write *write;
    struct replica_flush *flush;
    struct replica_record record;
};

/* --- The machine ------------------------------------------------------------------------------ */

enum replica_phase {
    REPLICA_IDLE,
    REPLICA_FENCING,
    REPLICA_SHRINKING,
    REPLICA_RECONCILING,
    REPLICA_BEARING,
    REPLICA_ACTIVE,
    REPLICA_ENDED,
    REPLICA_VIEWING, /* Not a coordinator's: it reads what never changes. */
};

enum replica_catch {
    REPLICA_NOT_CATCHING,
    REPLICA_ASKED,
    REPLICA_COPYING,
    REPLICA_SEALING,
    REPLICA_JOINING,
};

/* Read what you like, write nothing. */
struct replica_copy {
    uint64_t store;
    uint8_t state;   /* enum replica_state: as last known to be committed. */
    uint8_t catches; /* enum replica_catch. */
    uint8_t source;  /* COPYING: from whom. */
    bool fenced;     /* It obeys this epoch. */
    bool connected;
    bool untold;  /* In sync, and has not confirmed it. */
    bool failed;  /* It shall be stale. */
    bool lost;    /* Its machine restarted, or it was wiped: it has not what it acknowledged. */
    bool wanted;  /* A copy that is stale shall catch up. */
    bool leaving; /* It shall be no member any more. */
    bool demoted; /* Slow: read last. */
    bool evicted; /* Made stale because it was slow. */
    bool restarted;
    uint8_t todo;      /* Actions that wait, by kind. */
    uint8_t role_told; /* What ROLE asked for. */
    uint8_t evictions;
    uint8_t attempts;
    uint8_t replaces; /* Copy that leaves once this is in sync; itself: none. */
    uint32_t added;   /* Generation at which it was last added: older answers count for nothing. */
    uint32_t attempt;
    uint32_t reads; /* Under way. */
    uint64_t boot;
    uint64_t trusted; /* Watermark that it answered. */
    uint64_t told;    /* Watermark that was sent to it. */
    uint64_t told_ns;
    uint64_t asked_ns;  /* Since when FENCE, ROLE or FLUSH is owed. */
    uint64_t resent_ns; /* When it was last sent. */
    uint64_t gone_ns;   /* Since when it is not connected. */
    uint64_t retry_ns;  /* Not before. */
    uint64_t slow_ns;   /* Since when it is slow; 0: it is not. */
    uint64_t quick_ns;
    uint64_t latency_ns; /* Smoothed. */
    uint64_t deviation_ns;
    uint64_t flushed; /* What of `done` is durable there; 0: not even what it began with. */
    uint64_t flushing;
    uint64_t flushed_to; /* The watermark when the last flush that it answered was sent. */
    uint64_t flushing_to;
    uint64_t told_flushed;
    uint64_t flush_token; /* Of the flush under way; 0: none. */
    uint64_t flush_ns;    /* Since when it is owed. */
    uint64_t again_ns;    /* When all that it owes was asked again, though it had failed. */
    uint64_t sampled_ns;
};

struct replica {
    struct replica_options options;
    enum replica_phase phase;
    int reason; /* ENDED. */
    uint64_t epoch;
    uint32_t generation;
    struct replica_copy copies[REPLICA_COPIES_MAX];
    uint64_t bound_ns;       /* Nothing is answered at or after this. */
    uint64_t answer_from_ns; /* Nor before this. */
    uint64_t began_ns;
    uint64_t ticked_ns;
    uint64_t newest;     /* Sequence started. */
    uint64_t done;       /* Writes done, and 1: what a flush must cover. */
    uint64_t flushed_to; /* Of the group. */
    uint64_t flush_wanted;
    uint64_t flush_at_ns;
    uint64_t flush_tokens;
    uint64_t transact_at_ns;
    uint32_t attempt;
    uint32_t attempts;
    bool settled;     /* Reconcile has ended: there may be a watermark. */
    bool transacting; /* Its outcome is not known. */
    uint16_t todo;
    struct replica_record next;
    struct list writes; /* By sequence. */
    struct list settles;
    struct list unsent;
    struct list finished;
    struct list flushes;
    struct list flushed;
};

/* No thread but the engine's. 0 in an option means its default. */
void replica_init(struct replica *replica, const struct replica_options *options);
/* From now on, in any phase: grace, copy_timeout (fence_timeout with it) and slow. The deadline may
 * be another afterwards. */
void replica_set(struct replica *replica, const struct replica_options *options);

/* --- The session ------------------------------------------------------------------------------ */

struct replica_grant {
    struct replica_record record; /* As the transaction that raised the epoch saw it. */
    uint64_t sequence;            /* The last before the first of this session's lot. */
    uint64_t bound_ns;     /* 0.8 of the TTL after the confirmed request for the lease was sent. */
    uint64_t old_until_ns; /* By when the old owner's lease has surely run out; 0: it gave way, its
                            * session is gone, or it was this session itself. */
};

/* IDLE or ENDED with nothing left to be done. */
void replica_begin(struct replica *replica, const struct replica_grant *grant, uint64_t now);
/* The lease was renewed. */
void replica_lease(struct replica *replica, uint64_t bound_ns);
/* Another epoch was seen, the session's key is gone, or the volume is closed: IOMESH_FENCED. */
void replica_end(struct replica *replica, int reason);

/*
 * Who coordinates nothing and reads a cut (part.h): IDLE becomes VIEWING. Copies that are in sync
 * by the record may be read until `bound_ns`, or what replica_lease() says; no other of these calls
 * but those of reads, replica_connected() and _disconnected(), and replica_end().
 */
void replica_view(struct replica *replica, const struct replica_record *record, uint64_t bound_ns);

/* --- Events: copies --------------------------------------------------------------------------- */

/* A session with the copy's store began; what an older one still owed will not be answered. Before
 * the first of them a copy counts as not connected since begin. */
void replica_connected(struct replica *replica, uint8_t copy, uint64_t boot, uint64_t now);
/* Refused, reset, or the session ended: failed if it is not back within grace. */
void replica_disconnected(struct replica *replica, uint8_t copy, uint64_t now);
/* An error of its device, no space where credit was given, or silent in what is not tracked here
 * (lists, copying to it). */
void replica_failed(struct replica *replica, uint8_t copy, uint64_t now);
/* Any answer "stale epoch": the fence that it named. A newer one ends the session. */
void replica_refused(struct replica *replica, uint8_t copy, uint64_t fence, uint64_t now);

void replica_fenced(struct replica *replica, uint8_t copy, uint64_t epoch,
                    const struct replica_part *part, uint64_t now);
void replica_role_told(struct replica *replica, uint8_t copy, const struct replica_part *part,
                       uint64_t now);
void replica_transacted(struct replica *replica, const struct replica_record *record, uint64_t now);
void replica_transact_unknown(struct replica *replica, uint64_t now);
/* `sequence`: the last that was used to settle, or what grant said. `complete` false: a list or a
 * block could not be had; it is tried again. */
void replica_reconciled(struct replica *replica, uint32_t attempt, bool complete, uint64_t sequence,
                        uint64_t now);
/* `complete` false: the source did not give it all. Call replica_failed() if the target did not
 * take it. */
void replica_resynced(struct replica *replica, uint8_t copy, uint32_t attempt, bool complete,
                      uint64_t now);
/* `set_aside`: blocks that the copy still has set aside, in all views. */
void replica_flushed(struct replica *replica, uint8_t copy, uint64_t token, uint32_t generation,
                     uint64_t set_aside, uint64_t now);
/* The copy refused it: it knows a newer generation. It is asked again if that is known here. */
void replica_flush_refused(struct replica *replica, uint8_t copy, uint64_t token,
                           uint32_t generation);

/* The next thing to do; false: nothing, for now. */
bool replica_next(struct replica *replica, uint64_t now, struct replica_action *ret_action);

void replica_tick(struct replica *replica, uint64_t now);
/* When replica_tick() is next of use; UINT64_MAX: when something else happens. */
uint64_t replica_deadline(const struct replica *replica);

/* --- Membership: the keeper's and the operator's wishes --------------------------------------- */

/* A store becomes a member and catches up from watermark 0. If there is a session with it already,
 * call replica_connected() next. `replaces`: a copy that leaves once
 * the new one is in sync (moving, replacing), or REPLICA_COPIES_MAX. -ENOSPC: too many members;
 * -EEXIST: it is one; -EAGAIN: not active, or a transaction is under way. */
int replica_add(struct replica *replica, uint64_t store, uint8_t replaces, uint8_t *ret_copy);
/* It leaves by transaction, as soon as min_copies others are in sync. */
void replica_drop(struct replica *replica, uint8_t copy);

/* --- Reconcile: one block --------------------------------------------------------------------- */

struct replica_version {
    uint64_t sequence; /* 0: never written. */
    uint32_t crc;      /* Of what is there; equal for holes and zeros. */
    bool bad;          /* Marked so, or it failed its checksum. */
};

struct replica_settlement {
    uint8_t source;    /* Read from here; REPLICA_COPIES_MAX: from nowhere, it is bad. */
    uint8_t targets;   /* Write to these. */
    bool restamp;      /* With a new sequence, and to all. */
    uint64_t sequence; /* If not. */
};

/* What becomes of a block that the copies in `copies` have in these versions. */
struct replica_settlement replica_settle(const struct replica *replica, uint8_t copies,
                                         const struct replica_version *versions);

/* --- Writes ----------------------------------------------------------------------------------- */

/* ACTIVE, or RECONCILING if it settles. Sequences do not fall from write to write. `have`: copies
 * that need not be sent it, for they have it (settling; else 0). The action SEND follows. */
void replica_write_start(struct replica *replica, struct replica_write *write, uint64_t sequence,
                         uint8_t have, uint64_t now);
enum replica_told {
    REPLICA_TOLD_DONE,             /* The store has it: applied, or it had something newer. */
    REPLICA_TOLD_STALE_GENERATION, /* Sent again if the generation has changed since. */
};
void replica_write_told(struct replica *replica, struct replica_write *write, uint8_t copy,
                        uint32_t generation, enum replica_told told, uint64_t now);
/* A settling write of an attempt that is over; any write once ENDED was told. */
void replica_write_cancel(struct replica *replica, struct replica_write *write);

/* Every write of the group up to this is done, or never was. Rides on writes. */
uint64_t replica_watermark(const struct replica *replica);
/*
 * Every write of the group up to this is durable on every copy in sync: no loss of power undoes it.
 * A store keeps the newest that it was told, durably, in every role. What it has above that may
 * have been lost by all others while it was away, whatever its watermark says, so a copy that
 * catches up sets it aside (it is taken back unsent where it is still the same).
 */
uint64_t replica_flushed_to(const struct replica *replica);

/* Covers every write that was done before. */
void replica_flush_start(struct replica *replica, struct replica_flush *flush, uint64_t now);

/* --- Reads ------------------------------------------------------------------------------------ */

/* A copy that may be asked, not one of `tried`: `local` (REPLICA_COPIES_MAX: none) if it is well,
 * else the least loaded; REPLICA_COPIES_MAX: none. The caller holds the range against writes. */
uint8_t replica_read_choose(const struct replica *replica, uint8_t local, uint8_t tried);
void replica_read_began(struct replica *replica, uint8_t copy);
void replica_read_ended(struct replica *replica, uint8_t copy, uint64_t took_ns);
enum replica_verdict {
    REPLICA_READ_ANSWER, /* The data counts: give it, if it is whole. */
    REPLICA_READ_HOLD,   /* It counts, and may not be answered now: ask again at CHANGED. */
    REPLICA_READ_AGAIN,  /* It counts for nothing: choose again. */
};
/* With the data in hand. `generation`: of the request. */
enum replica_verdict replica_read_told(const struct replica *replica, uint8_t copy,
                                       uint32_t generation, uint64_t now);
/* Ask a second copy when the first has not answered for so long. */
uint64_t replica_hedge_ns(const struct replica *replica, uint8_t copy);
/* Whether what this copy answered, with the blocks in hand, may be copied to another: it is in
 * sync, and has lost nothing since it was asked. Of lists and reads from a source, each time. */
bool replica_may_copy_from(const struct replica *replica, uint8_t copy, uint32_t generation);
/* Whether any other answer of this copy to a request of that generation counts. */
bool replica_counts(const struct replica *replica, uint8_t copy, uint32_t generation);

/* --- For status, and for who checks ----------------------------------------------------------- */

uint8_t replica_in_sync(const struct replica *replica);  /* As known to be committed. */
uint8_t replica_required(const struct replica *replica); /* Who must have a write. */
/* May a write or read be answered at this moment? */
bool replica_may_answer(const struct replica *replica, uint64_t now);

#endif
