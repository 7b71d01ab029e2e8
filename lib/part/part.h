/* SPDX-License-Identifier: Apache-2.0 */
/*
 * part: the words between a coordinator and one store's part of a group of segments.
 *
 * A part is known by (volume, group). The store that has it obeys the coordinator whose epoch it
 * was last fenced to, and nobody else. A port is whatever takes the words: a store in this process,
 * a connection to one that is far, the storm's. Who asks cannot tell which.
 *
 * Owns nothing. A request lives in its waiter, and all that it points to is borrowed until `done`,
 * which runs once, later, never inside the call. Pure: no clock, disk, net or chance.
 *
 * What a store checks, when a request arrives and again before its record enters a batch of the
 * journal (WRITE, ZERO, RESYNC, REPAIR, ROLE, VIEWS, RETIRE):
 *
 *     epoch != fence             IOMESH_FENCED, answer.state.epoch says whose it is (also if newer)
 *     generation < generation    IOMESH_CONFLICT, answer.state.generation says which
 *
 * A generation that is newer is taken over. The same is checked for READ, CHANGED, MAP, on arrival.
 *
 * Who coordinates nothing may READ, MAP and CHANGED of a view that is a cut, which never changes:
 * its epoch is 0. It asks a part that the metadata says is in sync, as of a moment after the cut
 * was committed, and keeps the cut from being deleted meanwhile. The store answers if the part
 * thinks that it is in sync, too, and never heard of a newer generation; it takes over nothing. So
 * whoever takes segments out of a part raises its generation there first.
 *
 *                  FENCE                  ROLE(in sync)
 *     PART_NEW ──────────────▶ PART_NEW ────────────────▶ PART_IN_SYNC ◀──┐
 *                                  │                          │            │ ROLE(in sync),
 *                                  │ ROLE(catching up)        │            │ nothing set aside
 *                                  └──────▶ PART_CATCHING_UP ◀┘ ───────────┘
 *
 * A part that was never heard of is PART_NEW with zeros everywhere: the metadata says whether that
 * is a new volume or a lost one.
 */
#ifndef PART_PART_H
#define PART_PART_H

#include "base/base.h"

#define PART_BLOCKS_MAX 256u /* Of one request; it never crosses a mebibyte. */
#define PART_CUTS_MAX 4097u  /* Kept cuts of a volume, one that is being taken included. */
#define PART_RUNS_MAX 1024u  /* Of segments, in a ROLE. */
#define PART_RECORD_BYTES_MAX (72u << 10)
#define PART_RECORD_KEY_BYTES_MAX 192u
#define PART_RECORDS_BLOCKS_MIN 20u /* The largest record fits into so many. */

enum part_role { PART_NEW = 0, PART_IN_SYNC = 1, PART_CATCHING_UP = 2 };

/* What a store knows of a part, durably. */
struct part_state {
    uint64_t epoch;           /* The fence. */
    uint64_t watermark;       /* It has every write up to it that was ever acknowledged. */
    uint64_t heard;           /* Catching up: the newest watermark that it was told. */
    uint64_t flushed;         /* The watermark that power loss leaves. <= watermark */
    uint64_t settled;         /* The newest of which it was told that no loss of power, however many
                               * it hits, undoes a write of the group up to it. */
    uint32_t generation;      /* The newest that it obeyed. */
    uint32_t role_generation; /* Of the role. */
    uint32_t aside;           /* Blocks set aside, of heads and views. UINT32_MAX: some may be, and
                               * nobody has counted since the store was opened: a ROLE does. */
    uint8_t role;             /* enum part_role */
    bool restarted;           /* Its machine did since it was last told its role: the watermark is
                               * `flushed`, and what was not flushed may be gone. */
};

/* One block as a view shows it. */
struct part_version {
    uint64_t sequence;
    uint32_t crc;  /* Of POINTER_RAW. */
    uint16_t kind; /* enum pointer_kind: HOLE, ZERO, RAW, BAD, SET_ASIDE. */
    uint16_t reserved;
};

struct part_run {
    uint32_t first, count; /* Segments. */
};

enum part_request_kind {
    /*
     * The store obeys `epoch` from now on, durably, and answers with its state. What was in a batch
     * before is finished, and counted in the answer; the rest is dropped (IOMESH_FENCED). An older
     * epoch than the fence: IOMESH_FENCED.
     */
    PART_FENCE = 1,
    /*
     * `role`, for `generation`; `runs` are all segments of the part, for either role.
     * PART_IN_SYNC, with `watermark`: refused with -EBUSY while blocks are set aside.
     * PART_CATCHING_UP: sets aside every block (its views' too) with a sequence above what the part
     * trusts or heard (the newer of the state's watermark and `heard`: what it heard was
     * acknowledged by it, too, since it was last told to catch up), or above `settled`, if that is
     * older: what came after, those in sync may have lost with their power while this one was away.
     * Watermark and the rest of the state are lowered to it. Once for a generation: asked again,
     * the answer is the state as it is, and nothing changes. `since`, if it is not 0: no part that
     * was away is trusted with more. Durable when answered.
     */
    PART_ROLE = 2,
    /* No check, no change: the state. */
    PART_STATE = 3,

    /* Each block is changed where `sequence` is newer than what is there, or where it is set aside.
     * `cut` as in store_op. crcs: of each block, looked at on arrival. Idempotent. */
    PART_WRITE = 4,
    PART_ZERO = 5, /* As WRITE, without data. `parent`: also where there is nothing. */
    /*
     * What `versions` say of each block, as `view` shows it, from a part that is in sync; `data`
     * has all blocks, those of POINTER_RAW count. Taken where it is newer than what the view shows,
     * or that is set aside (then HOLE counts too), or it is BAD and this is not and of the same
     * sequence; into this view and every later one that shows something older. `cuts`: those kept,
     * oldest first, so that what is replaced stays in the views before. A block of SET_ASIDE in
     * `versions` is not touched. BAD is taken as BAD.
     */
    PART_RESYNC = 6,
    /* Blocks whose stored data is damaged here get the same contents and sequence, at a new place,
     * in every view that shows the damaged one; others are left alone. versions, data, cuts as
     * RESYNC. */
    PART_REPAIR = 7,

    /* Refused with IOMESH_CONFLICT unless the part is in sync (or `settle`: it is by the metadata,
     * and was not told yet), and with -EAGAIN where a block is set aside. Answers: data, crcs, and
     * if asked for versions. IOMESH_CORRUPT: `bad` says which blocks; the data of the others is
     * good. */
    PART_READ = 8,
    /* versions of the range, without reading data. Any role. */
    PART_MAP = 9,
    /* The first map page from block to last with a block whose sequence in `view` is newer than
     * `since`. Answers: found (the first block of that page), versions of the whole page, changed.
     * -ENOENT: none. Any role. */
    PART_CHANGED = 10,

    /* All that was answered before is durable; state.flushed moves to the newest watermark that
     * came before. `runs`, of a part that is catching up: as ROLE, so that state.aside is known
     * after a restart, too. */
    PART_FLUSH = 11,
    /* Only tells the watermark (idle, every 100 ms). What a part that catches up is told, here and
     * with writes, was acknowledged by it too: nobody tells one that is not waited for. */
    PART_WATERMARK = 12,

    /* Views with other cuts than `cuts` go, up to `sequence`, the newest that there was when they
     * were listed: a cut that is taken while this goes on is not in the list, and stays. 0: all go.
     * Answered when they have; asked again, it goes on. */
    PART_VIEWS = 13,
    /* How much each of `cuts` holds: struct part_view_space into `data`. */
    PART_VIEW_SPACE = 14,
    /* Everything of the volume in this store goes, in the background. Answered when it is durable
     * that it will. Also of a volume that was never heard of. */
    PART_RETIRE = 15,
    /* Keep `data` (`bytes`) as the copy of the metadata record whose key is `key`; 0 bytes: forget
     * it. Durable with the next flush; until then the one before may come back. -E2BIG: it is
     * longer than PART_RECORD_BYTES_MAX. `volume` 0: of no volume, and no part is looked at. */
    PART_RECORD = 16,
    /* Copies of records whose keys come after `key` (NULL: from the first on), in the order of
     * their bytes, as many as fit into the `count` blocks of `data` (PART_RECORDS_BLOCKS_MIN or
     * more): a list of format/metadata_copy.h. `group`: if not 0, only of keys whose first so many
     * bytes are those of `key`. Answers: found, how many; bytes, of the list. None: there are no
     * more. Of all volumes and none; anybody may ask. What is damaged here is passed over. */
    PART_RECORDS = 17,
    PART_REQUEST_LAST = PART_RECORDS,
};

struct part_view_space {
    uint64_t cut, unique_blocks, shared_blocks;
};

struct part_port;
struct part_request;
/* result: 0, what is told above, and of any request
 *   -ECONNRESET      the session ended first: it happened or not, or is yet to (until a FENCE)
 *   -ENOSPC          nothing written before is harmed
 *   IOMESH_FAILED    the store's device failed, for good
 *   IOMESH_CORRUPT   data did not match its CRC on arrival; of RESYNC, ZERO ...: a page is damaged
 *   -EPROTO          it makes no sense to the store
 *   -ECANCELED       part_cancel() */
typedef void part_done_fn(struct part_request *request, int result);

struct part_request {
    /* The caller's. Zero what does not apply. */
    enum part_request_kind kind;
    uint32_t group; /* < 65,536 */
    uint64_t volume;
    uint64_t epoch;
    uint32_t generation;
    uint32_t count; /* Blocks; entries of versions, crcs. */
    uint64_t watermark;
    uint64_t
        settled;   /* WRITE, ZERO, FLUSH, WATERMARK, ROLE: durable on every copy that is in sync. */
    uint64_t view; /* VIEW_HEAD or a cut. */
    uint64_t block;
    uint64_t last;     /* CHANGED. */
    uint64_t since;    /* CHANGED, ROLE. */
    uint64_t sequence; /* WRITE, ZERO, VIEWS. */
    uint64_t cut;      /* WRITE, ZERO: the newest that is kept. */
    uint8_t role;      /* ROLE. */
    bool views;        /* WRITE, ZERO: the part may have views. */
    bool parent;       /* ZERO. */
    bool fua;          /* Durable when answered. */
    bool settle;       /* READ: whatever the part's role is; for who compares copies. */
    void *data;        /* count * 4096 bytes, 512-byte aligned. */
    uint32_t bytes;    /* RECORD; out for RECORDS. */
    uint32_t cut_count, run_count;
    uint32_t *crcs;                /* In for WRITE, out for READ. */
    struct part_version *versions; /* In for RESYNC, REPAIR; out for MAP, CHANGED (256 entries). */
    const uint64_t *cuts;
    const struct part_run *runs;
    const char *key;
    part_done_fn *done;
    void *context;

    /* Answers. */
    struct part_state state; /* FENCE, ROLE, STATE, FLUSH; with IOMESH_FENCED and IOMESH_CONFLICT
                              * what matters of it. */
    uint64_t found;
    uint64_t room_blocks; /* New blocks that fit into the store: credit. With every answer. */
    uint8_t changed[PART_BLOCKS_MAX / 8];
    uint8_t bad[PART_BLOCKS_MAX / 8];

    /* The port's from here on. */
    struct part_port *port;
    struct list node;
    uint64_t number;
    int result;
    uint32_t state_of;
    uint64_t inside[4];
};

enum part_port_state {
    PART_PORT_DOWN,       /* Nobody is connected; it tries. */
    PART_PORT_CONNECTING, /* Or in the handshake. */
    PART_PORT_UP,
};

struct part_port_ops {
    void (*submit)(struct part_port *port, struct part_request *request);
    void (*cancel)(struct part_port *port, struct part_request *request);
};

/* One store, as a coordinator sees it. Shared by all volumes of an engine. */
struct part_port {
    const struct part_port_ops *ops;
    uint64_t store; /* Its id in the metadata. */
    enum part_port_state state;
    uint64_t session;         /* Another with every time that it comes up. */
    uint64_t incarnation;     /* Of the store, since it is up. */
    uint8_t boot_id[16];      /* Another whenever it may have lost what it had not flushed. */
    uint64_t room_blocks;     /* As told last. */
    uint64_t promised_blocks; /* Of these: of writes that are under way. The coordinators' own. */
    int down_reason;          /* Negative: why it went down, or could not connect. */
    uint64_t down_since_ns;
    uint64_t heard_ns; /* While it is up: when something last came from the store. A store in this
                        * process is always heard: 0. */
    /* Changes of state; set by whoever shares the port out. Never inside a call of the port. */
    void (*changed)(void *context, struct part_port *port);
    void *context;
};

/* A port that is not up ends it with -ECONNRESET, later. */
static inline void part_submit(struct part_port *port, struct part_request *request)
{
    assert(request->done != NULL);
    request->port = port;
    port->ops->submit(port, request);
}

/* `done` runs soon, with its result or -ECANCELED; an answer that comes later is dropped. The
 * request may still happen. Harmless when it is already ending. */
static inline void part_cancel(struct part_request *request)
{
    request->port->ops->cancel(request->port, request);
}

#endif
