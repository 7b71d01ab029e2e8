/* SPDX-License-Identifier: Apache-2.0 */
/*
 * store: one failure unit of space: its devices, log, tree and free map as one thing.
 *
 * Owns everything on its devices. Promises (design sections 1 and 4): a completed write survives
 * any process crash; after a completed flush it survives power loss; a block is
 * old or new, never a mixture; every block read was checked; a full store answers -ENOSPC and harms
 * nothing; a device error fails the store for good and harms nothing else.
 *
 * It does not order: two operations on one block that are under way at once are the caller's bug
 * (the volume locks ranges). Of two writes of a block the one with the newer sequence stays.
 *
 * Operations live in their waiter (zeroed once, then reused), `done` runs once, from a turn, never
 * inside the call. Nothing on their way allocates.
 */
#ifndef STORE_STORE_H
#define STORE_STORE_H

#include "device/device.h"
#include "format/pointer.h"
#include "journal/journal.h"
#include "page/page.h"
#include "space/space.h"
#include "tree/tree.h"

struct store;
struct part_port;
struct part_version;
struct store_resync;

#define STORE_OP_BLOCKS_MAX 256u /* One map page's worth; an operation never crosses one (1 MiB). */
#define STORE_OP_EXTENTS 16u     /* Of one journal record. */
#define STORE_OP_READS 32u       /* Requests of one read under way at once. */

/* --- Opening ----------------------------------------------------------------------------- */

struct store_device {
    struct disk *disk; /* Borrowed until the store is closed. */
    enum device_class class;
};

enum store_event_severity { STORE_DEBUG, STORE_INFO, STORE_WARNING, STORE_ERROR };

/* What its numbers are. */
enum store_event_kind {
    STORE_SAYS,          /* None. */
    STORE_DAMAGE,        /* Volume (0: of none), its first block, blocks. */
    STORE_DEVICE_FAILED, /* Device, code (as int64_t). */
    STORE_CHECKPOINT,    /* Pages, nanoseconds. */
    STORE_SCRUB,         /* None: it begins. Ended: blocks checked, blocks damaged. */
};

struct store_event {
    enum store_event_severity severity;
    enum store_event_kind kind;
    uint32_t number_count;
    uint64_t numbers[3];
    const char *text; /* A whole sentence, valid during the call. */
};

struct store_options {
    struct clock *clock;
    struct store_device devices[DEVICES_MAX];
    unsigned device_count;

    uint64_t cache_bytes;       /* For pages of every kind; 0: 64 MiB. */
    bool discard;               /* Give freed space back to what is below. */
    bool read_only;             /* Nothing is written: for `pool check`. */
    uint64_t scrub_bytes_per_s; /* Of passes that begin by themselves; 0: none do. */
    uint64_t scrub_interval_ns; /* From the end of a pass to the next; 0: a week. */

    /* Of the machine, another with each of its boots; zeros: not known. If it is another than when
     * the store was opened last, or not known, parts are trusted to what was flushed. */
    uint8_t boot_id[16];
    /* A device failed a write or a flush when the store was opened last: it may have dropped what
     * it had taken, on whatever boot. Parts are trusted to what was flushed, too. */
    bool failed;
    uint32_t parts_max; /* 0: 1,048,576. Each takes about 200 bytes of memory. */

    /* Not older than this incarnation (what the metadata recorded): an old image is refused. */
    uint64_t incarnation_min;

    /* Used by store_format() only: for which pool; zeros: not known. */
    uint8_t pool_uuid[16];
    /* The same. For tests and small devices; 0: chosen by the size. */
    uint64_t journal_bytes;
    uint64_t reserve_bytes;
    uint32_t batch_blocks_max;
    void (*progress)(void *context, uint64_t done, uint64_t total); /* Bytes wiped; NULL is fine. */
    uint32_t segments_max;   /* Segment objects in memory; 0: 8192. */
    uint32_t scratch_max;    /* Reads at once that go through gaps; 0: 24. */
    uint32_t quarantine_max; /* Freed blocks that may wait for a flush; 0: 131,072. */

    /* The library never logs: it tells. */
    void (*event)(void *context, const struct store_event *event);
    void *context;
};

typedef void store_done_fn(void *context, int result);

/*
 * Write a new, empty store over the devices (labels, superblocks, prepared journal). Refuses
 * devices that carry a store already unless `overwrite`. 0: *ret_store is set at once and wants
 * store_turn() until `done` ran; then it is gone. `done(0)`: durable, open it with store_open().
 */
int store_format(const struct store_options *options, const uint8_t uuid[16], bool overwrite,
                 struct store **ret_store, store_done_fn *done, void *context);

/* What the first superblock of a store says. */
struct store_identity {
    uint8_t uuid[16];
    uint8_t pool_uuid[16]; /* Zeros: not known. */
    uint64_t incarnation;
};
/* Read that and nothing more; changes nothing. As store_format(), and *ret_look is filled at
 * done(0). What store_open() would refuse by labels and superblocks is refused. */
int store_identify(const struct store_options *options, struct store_identity *ret_look,
                   struct store **ret_store, store_done_fn *done, void *context);

/*
 * Open and recover. 0: *ret_store is set at once and wants store_turn(); `done` runs once. After
 * done(0) it is ready; after done(<0) it is gone, and base_last_error() says why: no store here, a
 * foreign or newer superblock, a device that is missing, smaller than recorded or of another store,
 * too old an image. Lost journal batches are not an error: the store opens read-only, and
 * store_state() and an event say so.
 */
int store_open(const struct store_options *options, struct store **ret_store, store_done_fn *done,
               void *context);
/* Waits for operations under way, checkpoints (unless failed or read-only), frees: the store is
 * gone when `done` runs, whatever the result: 0, or IOMESH_FAILED if a device failed before or
 * meanwhile (what was not flushed may be lost). Wants store_turn() until then. */
void store_close(struct store *store, store_done_fn *done, void *context);

/* Once per engine turn. */
void store_turn(struct store *store);
/* There is something to do without waiting for anybody: turn again before sleeping. */
bool store_turn_needed(const struct store *store);

enum store_state { STORE_OPENING, STORE_READY, STORE_READ_ONLY, STORE_FAILED, STORE_CLOSING };
enum store_state store_state(const struct store *store);
uint64_t store_incarnation(const struct store *store);
const uint8_t *store_uuid(const struct store *store);
/* 0, or the error of the device that failed the store. */
int store_device_error(const struct store *store, unsigned device);

/* --- Operations -------------------------------------------------------------------------- */

/* A wait for a flush; lives in its waiter. */
struct store_flush {
    struct list node;
    void (*done)(struct store_flush *flush, int result);
    void *context;
};

struct store_op;
typedef void store_op_fn(struct store_op *op, int result);

enum store_op_kind {
    STORE_READ,
    STORE_WRITE,
    STORE_ZERO,
    STORE_BAD,
    STORE_MAP,
    STORE_CHANGED,
    STORE_RESYNC, /* Of a part: what another one shows; see resync.h. */
};

/* One request of a read. */
struct read_span {
    uint32_t first, blocks; /* Of read_plan.order. */
    uint8_t *scratch;       /* What it reads into, if not where the blocks belong. */
};

/* What is left to be read, in the order of its places. */
struct read_plan {
    uint8_t order[STORE_OP_BLOCKS_MAX]; /* Blocks, from op->block. */
    uint32_t count;
    uint8_t again[STORE_OP_BLOCKS_MAX]; /* Blocks of requests that failed. */
    uint32_t again_count;
    bool single;         /* Each block for itself: what fails now is told. */
    uint32_t slots_busy; /* One bit for each request. */
    struct read_span spans[STORE_OP_READS];
};

struct store_op {
    /* Filled by the caller. */
    enum store_op_kind kind;
    uint64_t volume;
    uint64_t view; /* VIEW_HEAD, or a snapshot's cut (STORE_READ, STORE_MAP, STORE_CHANGED). */
    uint64_t block;
    uint32_t count; /* 1 .. 256 blocks within one MiB; STORE_ZERO: see store_submit();
                        * STORE_CHANGED: 1. */
    const uint8_t
        *only;         /* STORE_READ, STORE_MAP: block i if bit i % 8 of byte i / 8; data and kinds
                          * of the others stay as they are. NULL: all of them. */
    void *data;        /* count * 4096 bytes, 512-byte aligned; borrowed until done. */
    uint64_t sequence; /* Of a change: newer than any before for this volume. */
    uint64_t epoch;
    uint64_t watermark;
    uint32_t generation;
    /* STORE_WRITE, STORE_ZERO, STORE_BAD, of a volume that has snapshots or clones. */
    uint64_t cut;   /* The newest cut that is kept: what it shows stays. 0: none. */
    bool views;     /* It may have views here, be it one that is being deleted. */
    bool parent;    /* Zeros over a hole count, for something else would show through it. */
    bool exact;     /* STORE_ZERO: zeros over zeros count, for something older may come yet. */
    uint64_t since; /* STORE_CHANGED: changes with a newer sequence; 0: whatever was written. */
    uint64_t last;  /* STORE_CHANGED: the last block of interest, >= block. */
    uint16_t group; /* Of a part: what its records say. */
    bool guarded;   /* Of a part: asked again as its records enter a batch. */
    bool summed;    /* STORE_WRITE: op->crcs are filled in. */
    /* STORE_READ, STORE_MAP, STORE_CHANGED: what each block is, as kinds. NULL: nobody asks. */
    struct part_version *versions;
    struct store_resync *resync; /* STORE_RESYNC. */
    store_op_fn *done;
    void *context;

    /* Answers. STORE_MAP, STORE_CHANGED: for each block, from op->block or op->found on. */
    uint8_t kinds[STORE_OP_BLOCKS_MAX];       /* enum pointer_kind; POINTER_RAW for any data. */
    uint64_t found;                           /* STORE_CHANGED: first block of a map page. */
    uint8_t changed[STORE_OP_BLOCKS_MAX / 8]; /* Block i of it: bit i % 8 of byte i / 8. */
    uint8_t bad[STORE_OP_BLOCKS_MAX / 8];     /* STORE_READ: blocks that cannot be had. */

    /* The store's own from here on. */
    struct store *store;
    struct list node;        /* In one of: waiting for admission, for the journal, or finished. */
    struct list change_node; /* Of a change that has not ended, in the order of acceptance. */
    uint64_t change;         /* Its number. */
    uint8_t state;
    uint8_t purpose;    /* enum space_purpose of what is being taken. */
    bool path_wanted;   /* Its path is still to be opened. */
    bool append_wanted; /* Its record is still to be appended. */
    bool system;        /* Of a volume of the store's own: taken also as it opens and closes. */
    bool dropped;       /* Its record never came into a batch. */
    bool unlogged;      /* STORE_WRITE: without a record; the checkpoint that follows has it. */
    int result;
    uint32_t pending;      /* What flies: device requests and the journal entry. */
    uint32_t base;         /* Blocks that earlier rounds dealt with. */
    uint32_t round;        /* Blocks of this round. */
    uint32_t reserved;     /* Places in quarantine reserved. */
    uint32_t promised;     /* Pages promised. */
    uint32_t extent_count; /* Of this round. */
    uint64_t ticket;       /* Of a read. */
    struct extent extents[STORE_OP_EXTENTS];
    struct device_io ios[STORE_OP_READS];
    uint32_t crcs[STORE_OP_BLOCKS_MAX];
    uint64_t places[STORE_OP_BLOCKS_MAX];
    struct read_plan plan;
    struct tree_path path;
    struct page_waiter waiter;
    struct journal_entry entry;
};

/*
 * Start an operation; `op->done` runs once, later.
 *   STORE_READ   -EIO and IOMESH_CORRUPT: some block in it cannot be had (counted and told);
 *                op->kinds says POINTER_BAD of those, and the data of all others is there
 *   STORE_WRITE  -ENOSPC: nothing written before is harmed; each block of it is old or new
 *   STORE_ZERO   within one MiB, or a whole segment (block % 65,536 == 0, count 65,536). -ENOSPC
 *                only where views exist (what they show stays, and zeros take a page then; some of
 *                the blocks may be zeros already), or a parent would show through a hole
 *   STORE_BAD    within one MiB: known damage from now on; for a copy of what cannot be read.
 *                -ENOSPC as STORE_ZERO
 *   STORE_MAP    what is where, without reading it
 *   STORE_CHANGED  the first map page from op->block to op->last with a block whose sequence in
 *                op->view is newer than op->since. Answers: found (may be below op->block, the
 *                first block of its page), kinds of the whole page, changed (only blocks from
 *                op->block to op->last). -ENOENT: none. Go on at found + 256.
 * Any: IOMESH_FAILED, -EROFS.
 */
void store_submit(struct store *store, struct store_op *op);

#define STORE_SCOUTS 24u
#define STORE_AHEAD_PAGES 96u

/* Looks for one page that will be asked for. */
struct store_scout {
    struct tree_path path;
    uint64_t block; /* Where it stands. */
    bool waits;
};

/* Fetches into memory what a row of STORE_CHANGED will look at. Lives in who asks them. */
struct store_ahead {
    struct store *store; /* NULL: it has ended. */
    uint64_t volume, view, since, last;
    uint64_t at;        /* What is asked for now. */
    uint64_t behind[2]; /* Where the farthest scouts stand: near ones, far ones. */
    uint64_t found[STORE_AHEAD_PAGES];
    uint32_t found_count; /* And not asked for yet. */
    struct store_scout scouts[STORE_SCOUTS];
};
void store_ahead_begin(struct store *store, struct store_ahead *ahead, uint64_t volume,
                       uint64_t view, uint64_t since, uint64_t last);
/* `op` was submitted just now; blocks only grow. */
void store_ahead_at(struct store_ahead *ahead, const struct store_op *op);
/* Harmless twice, and if all of it is zeros. Not later than the store begins to close. */
void store_ahead_end(struct store_ahead *ahead);

/* Everything acknowledged before this call is durable when `flush->done(0)` runs. */
void store_flush(struct store *store, struct store_flush *flush);

/* Free everything of a volume, its views too, in the background, through crashes; the volume takes
 * no operation any more. `done` when it is durably gone and its number may be forgotten. May
 * allocate. */
int store_delete_volume(struct store *store, uint64_t volume, store_done_fn *done, void *context);

/* --- Views: what snapshots hold in this store --------------------------------------------- */

/*
 * The store keeps no list of snapshots. A cut is a sequence that no write has: what is older is in
 * the snapshot. A write tells the newest cut that is kept (op->cut), and what that shows is kept,
 * in a map page of its own, from the first change of a MiB on.
 */

/*
 * Free what only the views with cuts first .. last show, in the background, through crashes. What
 * they share with others stays. `previous`: the newest cut below `first` that is kept, 0: none.
 * Writes that are submitted after the call carry another cut than these. Of one volume one call is
 * worked on at a time, in the order of the calls; interrupted, the caller asks again. `done(0)`:
 * durably gone. 0, or -EROFS, IOMESH_FAILED, -ENOMEM.
 */
int store_delete_views(struct store *store, uint64_t volume, uint64_t first, uint64_t last,
                       uint64_t previous, store_done_fn *done, void *context);

/* What a snapshot holds, in blocks of data. */
struct store_view_space {
    uint64_t cut;           /* Filled by the caller. */
    uint64_t unique_blocks; /* Deleting just this one gives back so many. */
    uint64_t shared_blocks; /* It shows so many more. */
};
/*
 * How much each of a volume's snapshots holds: `views` are all that are kept, by cut, oldest
 * first; borrowed until `done`. One pass over the map pages of the volume; what is written
 * meanwhile may be counted or not. 0, or -ENOMEM. `done`: 0, IOMESH_CORRUPT, -EIO, IOMESH_FAILED,
 * -ESHUTDOWN.
 */
int store_view_space(struct store *store, uint64_t volume, struct store_view_space *views,
                     uint32_t count, store_done_fn *done, void *context);

/* Lives in its waiter; `wake` set. */
struct store_seek {
    void (*wake)(struct store_seek *seek);
    struct tree_path path;
};
/*
 * The first segment of a volume's head at or after `from` in which anything was ever written. 0;
 * -ENOENT: none; -EAGAIN: `wake` runs when to ask again, from a turn; IOMESH_CORRUPT, -EIO,
 * IOMESH_FAILED.
 */
int store_seek(struct store *store, struct store_seek *seek, uint64_t volume, uint32_t from,
               uint32_t *ret_segment);

/* --- Parts ------------------------------------------------------------------------------- */

/*
 * Where the words of part/part.h are taken, in this process: up while the store is. It lives as
 * long as the store. May allocate, once: NULL then, if there is no memory.
 */
struct part_port *store_port(struct store *store);

/* How many more blocks of new data fit now. */
uint64_t store_room_blocks(const struct store *store);
/* How many may be promised: fewer, for pages that writes make, and for several that promise them to
 * their own at once. Asks for a checkpoint if there are few, and it would give more. */
uint64_t store_credit_blocks(struct store *store);

/* Ask for a checkpoint now (it would come by itself): one that begins after this call. */
struct checkpoint_waiter {
    struct list node;
    store_done_fn *done;
    void *context;
};
void store_checkpoint(struct store *store, struct checkpoint_waiter *waiter);

/* --- Check and scrub --------------------------------------------------------------------- */

enum store_fault_kind {
    STORE_FAULT_UNREADABLE, /* The device refused. */
    STORE_FAULT_CHECKSUM,
    STORE_FAULT_SPACE,     /* The free map and what is reachable disagree. */
    STORE_FAULT_STRUCTURE, /* It makes no sense. */
    STORE_FAULT_KNOWN,     /* Marked as damaged before. */
};

struct store_fault {
    enum store_fault_kind kind;
    uint64_t volume; /* 0: of none. */
    uint64_t block;  /* Of the volume; of none: its place. */
    const char *text;
};

struct store_checked {
    uint64_t faults;
    uint64_t blocks; /* Of data, read and compared. */
    uint64_t pages;  /* Of the tree and the free map. */
};

struct store_check {
    /* One call per fault, a whole sentence. */
    void (*fault)(void *context, const struct store_fault *fault);
    /* Each volume of which there is something, once, in order. NULL is fine. */
    void (*volume)(void *context, uint64_t volume);
    /* Now and then; total is an estimate. */
    void (*progress)(void *context, uint64_t done, uint64_t total);
    void (*done)(void *context, int result, const struct store_checked *checked);
    void *context;
    bool data; /* Read and check every block too. */
};
/* Walks the tree, proves that reachable blocks and the free map agree. Needs an idle store that
 * was opened read_only; changes nothing. Allocates two bits per block. */
int store_check_start(struct store *store, const struct store_check *check);

/* A pass now, at this rate: one that is under way goes on at it, and so does one that a close or a
 * crash interrupted. 0, or -ENOMEM. */
int store_scrub_start(struct store *store, uint64_t bytes_per_s);
/* Ends the pass, forgets how far it was, and starts no other until the store is opened again. */
void store_scrub_stop(struct store *store);
bool store_scrub_running(const struct store *store);

struct store_stats {
    struct space_stats space;
    struct page_cache_stats cache;
    struct tree_stats tree;
    uint64_t reads, writes, zeroes, flushes, read_blocks, written_blocks, zeroed_blocks;
    uint64_t journal_blocks, journal_used_blocks, journal_batches, journal_records;
    uint64_t checkpoints, checkpoint_pages, checkpoint_ns_last, checkpoint_ns_max;
    uint64_t device_bytes_read, device_bytes_written, device_flushes;
    uint64_t corrupt_blocks, read_errors;              /* Blocks; requests that a device refused. */
    uint64_t scrub_blocks, scrub_passes, scrub_faults; /* Since it was opened. */
    uint64_t scrub_interval_ns;                        /* 0: no pass begins by itself. */
    /* Of the pass that is under way, also before the store was opened; rate 0: it does not run. */
    uint64_t scrub_rate, scrub_position_permille;
    uint64_t scrub_pass_blocks, scrub_total_blocks, scrub_pass_faults;
    /* Of the last whole pass, also before the store was opened. Since 1970; 0: none. */
    uint64_t scrub_ended_ns, scrub_ended_blocks, scrub_ended_faults;
    uint64_t replayed_records, recovery_ns;
    uint64_t operations_waiting;
};
void store_stats(struct store *store, struct store_stats *ret_stats);

#endif
