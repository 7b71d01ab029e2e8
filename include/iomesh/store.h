/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The stores of a cluster: which there are, how they are, what is wrong and what is done about it.
 *
 * A pool of "etcd://..." has many stores, each served by an iomeshd on some node. What is said here
 * is what the metadata says, so these calls work as long as etcd does, however many nodes are away.
 * Of an embedded pool, which has one store, they are -ENOTSUP: iomesh_pool_status() tells.
 *
 * As in <iomesh/volume.h> these are operations on metadata: they may allocate. Each may return
 * -EINVAL (with a sentence), -EAGAIN (too much is asked at once), -EROFS, -ENOMEM, -ENOTSUP, and
 * its callback may see -ETIMEDOUT (the metadata is out of reach; nothing happened), IOMESH_UNKNOWN
 * besides what is said below.
 */
#ifndef IOMESH_STORE_H
#define IOMESH_STORE_H

#include <stdint.h>

#include <iomesh/engine.h>
#include <iomesh/pool.h>
#include <iomesh/version.h>

/* --- Stores -------------------------------------------------------------------------------- */

#define IOMESH_STORE_UP 0u
#define IOMESH_STORE_DRAINING 1u /* Its copies move to others; nothing new is placed on it. */
#define IOMESH_STORE_OUT 2u /* It is away for so long that its copies are made anew elsewhere. */

/* Why a store is in its state, or a copy is not in sync. Others may come. */
#define IOMESH_REASON_NONE 0u      /* It is as it should be, or is new. */
#define IOMESH_REASON_SILENT 1u    /* It did not answer in time. */
#define IOMESH_REASON_REFUSED 2u   /* Its node refused or reset connections. */
#define IOMESH_REASON_FAILED 3u    /* A device of its failed. */
#define IOMESH_REASON_FULL 4u      /* A write found no space. */
#define IOMESH_REASON_RESTARTED 5u /* Its machine restarted: what was not flushed is lost. */
#define IOMESH_REASON_SLOW 6u
#define IOMESH_REASON_DAMAGED 7u  /* It says itself that it lost something; or is an old image. */
#define IOMESH_REASON_OPERATOR 8u /* Somebody said so. */
#define IOMESH_REASON_MOVED 9u    /* Its copy is made elsewhere. */

#define IOMESH_TEXT_BYTES_MAX 255u /* Nodes, addresses, zones, racks. */

struct iomesh_store_info {
    uint32_t size;
    uint32_t state; /* IOMESH_STORE_… */
    uint64_t id;
    uint8_t uuid[16];                           /* As in its superblock. */
    uint32_t device_class;                      /* IOMESH_CLASS_…, of its fast devices. */
    uint32_t reason;                            /* Of its state: IOMESH_REASON_… */
    uint64_t state_since_ns;                    /* Since 1970; 0: not known. */
    uint32_t answers;                           /* 1: the process that serves it is alive. */
    uint32_t weight_percent;                    /* Of its capacity, for placement. */
    uint64_t bytes, used_bytes, promised_bytes; /* As it last said; promised: if all that is placed
                                                   on it were full. */
    uint64_t incarnation;                       /* Times that it was opened. */
    char node[IOMESH_TEXT_BYTES_MAX + 1];       /* "": not known, as the next. */
    char address[IOMESH_TEXT_BYTES_MAX + 1];
    char zone[IOMESH_TEXT_BYTES_MAX + 1];
    char rack[IOMESH_TEXT_BYTES_MAX + 1];
};

/* One store; borrowed until the callback returns. */
typedef void iomesh_store_info_fn(void *context, const struct iomesh_store_info *info);

/**
 * List the stores in order of their ids.
 *
 * @each  called for each, from a turn, before @done
 *
 * Returns 0 once accepted, or as said above.
 *
 * Thread: the engine's. Blocks: never. Allocates: yes. Since: 0.3.
 */
IOMESH_API int iomesh_store_list(struct iomesh_pool *pool, iomesh_store_info_fn *each,
                                 iomesh_done_fn *done, void *context);
/** The same, waiting. Thread: the engine's, not inside a callback. Blocks: yes. Since: 0.3. */
IOMESH_API int iomesh_store_list_sync(struct iomesh_pool *pool, iomesh_store_info_fn *each,
                                      void *context);

/* It will not come back: its copies are made anew from others at once, and it may be removed when
 * they are. */
#define IOMESH_STORE_LOST 1u

/**
 * Empty a store: what it holds is moved to others, by the keeper, and nothing new is placed on it.
 * It goes on serving what it has. iomesh_pool_look() tells how far that is.
 *
 * @flags  0 or IOMESH_STORE_LOST
 *
 * Returns 0 once accepted, or as said above; @done may see -ENOENT.
 *
 * Thread: the engine's. Blocks: never. Allocates: yes. Since: 0.3.
 */
IOMESH_API int iomesh_store_drain(struct iomesh_pool *pool, uint64_t store, uint32_t flags,
                                  iomesh_done_fn *done, void *context);
/** The same, waiting. Thread: the engine's, not inside a callback. Blocks: yes. Since: 0.3. */
IOMESH_API int iomesh_store_drain_sync(struct iomesh_pool *pool, uint64_t store, uint32_t flags);

/**
 * Take a store into use again that was being drained, or is out, or under which a device failed.
 * What has been moved stays where it is now. One that failed is opened anew, by iomeshd if it runs,
 * and is given again what it had not flushed. Returns as iomesh_store_drain().
 *
 * Thread: the engine's. Blocks: never. Allocates: yes. Since: 0.3.
 */
IOMESH_API int iomesh_store_undrain(struct iomesh_pool *pool, uint64_t store, iomesh_done_fn *done,
                                    void *context);
/** The same, waiting. Thread: the engine's, not inside a callback. Blocks: yes. Since: 0.3. */
IOMESH_API int iomesh_store_undrain_sync(struct iomesh_pool *pool, uint64_t store);

/**
 * Remove a store from the pool: no copy is on it, and it drains or is out. It is not a store of the
 * pool from then on, and whatever is on its devices is nobody's.
 *
 * Returns 0 once accepted, or as said above; @done may see -ENOENT, -EBUSY (it is in use, it holds
 * copies, or it was taken out of use so short a time ago that somebody may not know; the sentence
 * says which).
 *
 * Thread: the engine's. Blocks: never. Allocates: yes. Since: 0.3.
 */
IOMESH_API int iomesh_store_remove(struct iomesh_pool *pool, uint64_t store, iomesh_done_fn *done,
                                   void *context);
/** The same, waiting. Thread: the engine's, not inside a callback. Blocks: yes. Since: 0.3. */
IOMESH_API int iomesh_store_remove_sync(struct iomesh_pool *pool, uint64_t store);

/* --- Copies -------------------------------------------------------------------------------- */

#define IOMESH_COPY_IN_SYNC 0u
#define IOMESH_COPY_STALE 1u
#define IOMESH_COPY_CATCHING_UP 2u

/* One copy of a group of a volume's segments. */
struct iomesh_copy_info {
    uint32_t size;
    uint32_t state;      /* IOMESH_COPY_… */
    uint32_t group;      /* Of the volume. */
    uint32_t reason;     /* Why it is not in sync: IOMESH_REASON_… */
    uint64_t store;      /* Its id. */
    uint64_t since_ns;   /* Of its state, since 1970; 0: not known. */
    uint32_t generation; /* Of the group: how often its copies have changed. */
    uint32_t reserved;
    /* Of its group, while copies of that catch up, as the coordinator said a while ago: in all
     * views. 0: not known. */
    uint64_t copied_bytes, segments_done, segments_total;
    uint64_t second_bytes; /* Copied in a second, lately. */
};

typedef void iomesh_copy_info_fn(void *context, const struct iomesh_copy_info *info);

/**
 * Tell where a volume is, and how each of its copies is: every copy of every group, in order.
 *
 * Returns 0 once accepted, or as said above; @done may see -ENOENT.
 *
 * Thread: the engine's. Blocks: never. Allocates: yes. Since: 0.3.
 */
IOMESH_API int iomesh_volume_copies(struct iomesh_pool *pool, const char *name,
                                    iomesh_copy_info_fn *each, iomesh_done_fn *done, void *context);
/** The same, waiting. Thread: the engine's, not inside a callback. Blocks: yes. Since: 0.3. */
IOMESH_API int iomesh_volume_copies_sync(struct iomesh_pool *pool, const char *name,
                                         iomesh_copy_info_fn *each, void *context);

/* --- What is wrong ------------------------------------------------------------------------- */

#define IOMESH_HEALTH_WELL 0u
#define IOMESH_HEALTH_BUSY 1u     /* Something is being done that nobody need care about. */
#define IOMESH_HEALTH_DEGRADED 2u /* All is served, with less to spare than was asked for. */
#define IOMESH_HEALTH_STOPPED 3u  /* I/O of some volume waits. */

/* The most severe first. Others may come. */
#define IOMESH_FACT_UNREACHABLE 0u /* No copy in sync answers: I/O waits. */
#define IOMESH_FACT_PAUSED 1u      /* Too few are in sync: writes wait. */
#define IOMESH_FACT_HELD 2u        /* So many stores are silent that nothing is replaced. */
#define IOMESH_FACT_STALE 3u       /* Copies are not in sync because of a node. */
#define IOMESH_FACT_SHORT 4u       /* There are fewer copies than were asked for. */
#define IOMESH_FACT_SILENT 5u      /* The stores of a node do not answer, and hold no copy. */
#define IOMESH_FACT_FULL 6u
#define IOMESH_FACT_DRAINING 7u
#define IOMESH_FACT_BALANCING 8u
#define IOMESH_FACT_DELETING 9u
#define IOMESH_FACT_FAILED 10u /* A device failed: its store is not used until somebody says so. */
#define IOMESH_FACT_NO_STORES 32u
#define IOMESH_FACT_METADATA 33u /* Records that cannot be read. */
#define IOMESH_FACT_MEMBER 34u   /* A member of etcd that does not answer. */
#define IOMESH_FACT_NO_KEEPER 35u

/* One thing that is to be known. What does not apply is 0. */
struct iomesh_fact {
    uint32_t size;
    uint32_t kind;    /* IOMESH_FACT_… */
    uint32_t health;  /* IOMESH_HEALTH_…, because of it. */
    uint32_t reason;  /* IOMESH_REASON_… */
    const char *text; /* What is wrong, why, what is done about it, how long that takes; a sentence
                         in plain words. Borrowed until the callback returns. */
    uint64_t store;   /* It is about, or one of its node's. */
    uint64_t volume;  /* The first. */
    uint32_t volumes, groups;
    uint32_t copies_missing, copies_wanted; /* Where it is worst. */
    /* Copies that are being made, wait for their turn, for the store to come back, have no place to
     * go, or are up to the coordinator of their volume. */
    uint32_t copies_running, copies_queued, copies_waiting, copies_nowhere, copies_owner;
    uint32_t reserved;
    uint64_t left_bytes;
    uint64_t since_ns;     /* Since 1970; 0: not known. */
    uint64_t seconds_left; /* UINT64_MAX: not known. */
};

typedef void iomesh_fact_fn(void *context, const struct iomesh_fact *fact);

/* All of it in numbers. */
struct iomesh_look {
    uint32_t size;
    uint32_t health; /* IOMESH_HEALTH_…, the worst of the facts'. */
    uint8_t uuid[16];
    uint64_t created_ns;
    uint64_t stores, stores_answering, stores_draining, stores_out;
    uint64_t nodes;                             /* That have a store. */
    uint64_t bytes, used_bytes, promised_bytes; /* Of all stores that are not out. */
    uint64_t sessions;                          /* Processes that have the pool open. */
    uint64_t volumes, volumes_open, volumes_deleting;
    uint64_t groups, copies, copies_in_sync, copies_stale, copies_catching_up;
    uint64_t facts;
    uint32_t members, members_answering;    /* Of etcd, as the URL names them. */
    char keeper[IOMESH_TEXT_BYTES_MAX + 1]; /* The node of the keeper; "": there is none, or it has
                                               no name. */
};

typedef void iomesh_look_fn(void *context, const struct iomesh_look *look);

/**
 * Look at the whole pool: what is wrong, why, what is done about it, how long that takes.
 *
 * It reads the metadata once, all volumes and copies: some seconds for 100,000 of them. Whether a
 * store answers is what its session says, so it takes up to the lease (5 s) until it is seen that
 * one does not.
 *
 * @fact  called for each fact, the most severe first; NULL is fine
 * @look  called once before @done if that sees 0; NULL is fine
 *
 * Returns 0 once accepted, or as said above; @done may see -ENOMEM.
 *
 * Thread: the engine's. Blocks: never. Allocates: yes. Since: 0.3.
 */
IOMESH_API int iomesh_pool_look(struct iomesh_pool *pool, iomesh_fact_fn *fact,
                                iomesh_look_fn *look, iomesh_done_fn *done, void *context);
/** The same, waiting. @ret_look: set its size before. Thread: the engine's, not inside a callback.
 * Blocks: yes. Since: 0.3. */
IOMESH_API int iomesh_pool_look_sync(struct iomesh_pool *pool, iomesh_fact_fn *fact, void *context,
                                     struct iomesh_look *ret_look);

/* --- Settings ------------------------------------------------------------------------------ */

/* What everybody who uses the pool is held to. 0: as it is built. */
struct iomesh_settings {
    uint32_t size;
    uint32_t balance_percent; /* Stores may differ in fullness by so much before copies are moved;
                                  1 .. 50. */
    uint64_t out_after_ns; /* A store silent for so long is out: its copies are made anew; 10 s ..
                                  30 days. */
    uint64_t grace_ns;     /* A store that refused or reset a connection may be away for so long
                                  before its copies are stale; 10 ms .. 10 s. */
    uint64_t copy_timeout_ns; /* The same of one that is silent; 100 ms .. 60 s. */
    uint32_t moves_per_store; /* Copies on their way into or out of one store at a time; 1 .. 64. */
    uint32_t moves_per_pool;  /* 1 .. 10,000. */
    uint64_t move_store_bytes; /* A second, into or out of one store; 1 MiB or more. */
    uint64_t move_pool_bytes;  /* A second, all together; 1 MiB or more. */
    uint64_t slow_ns; /* A copy slower than this, and than the others, is read last; 1 ms ..
                                  60 s. */
    /* A second, to copies that catch up; 1 MiB or more; 0: without a limit. */
    uint64_t resync_volume_bytes;  /* Of one volume. */
    uint64_t resync_process_bytes; /* Of all volumes that one process has open. */
};

#define IOMESH_SETTINGS_INIT                                                      \
    {                                                                             \
        (uint32_t)sizeof(struct iomesh_settings), 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0 \
    }

#define IOMESH_SETTING_BALANCE_PERCENT 1u
#define IOMESH_SETTING_OUT_AFTER 2u
#define IOMESH_SETTING_GRACE 4u
#define IOMESH_SETTING_COPY_TIMEOUT 8u
#define IOMESH_SETTING_MOVES_PER_STORE 16u
#define IOMESH_SETTING_MOVES_PER_POOL 32u
#define IOMESH_SETTING_MOVE_STORE_BYTES 64u
#define IOMESH_SETTING_MOVE_POOL_BYTES 128u
#define IOMESH_SETTING_SLOW 256u
#define IOMESH_SETTING_RESYNC_VOLUME_BYTES 512u
#define IOMESH_SETTING_RESYNC_PROCESS_BYTES 1024u

/**
 * Tell the settings of a pool.
 *
 * @ret_set   as they were set, 0 where they were not; set its size before. NULL is fine
 * @ret_used  what is in use. The same
 *
 * Returns 0, or -EINVAL (size), -ENOTSUP.
 *
 * Thread: the engine's. Blocks: never. Allocates: never. Since: 0.3.
 */
IOMESH_API int iomesh_settings_get(struct iomesh_pool *pool, struct iomesh_settings *ret_set,
                                   struct iomesh_settings *ret_used);

/**
 * Change settings. Everybody who uses the pool follows within moments; what concerns a volume, when
 * it is opened next.
 *
 * @which  IOMESH_SETTING_… | …: those of @settings that count
 *
 * Returns 0 once accepted, or as said above.
 *
 * Thread: the engine's. Blocks: never. Allocates: yes. Since: 0.3.
 */
IOMESH_API int iomesh_settings_set(struct iomesh_pool *pool, const struct iomesh_settings *settings,
                                   uint32_t which, iomesh_done_fn *done, void *context);
/** The same, waiting. Thread: the engine's, not inside a callback. Blocks: yes. Since: 0.3. */
IOMESH_API int iomesh_settings_set_sync(struct iomesh_pool *pool,
                                        const struct iomesh_settings *settings, uint32_t which);

/* --- Looking at one ------------------------------------------------------------------------ */

/**
 * Check a store of a cluster that nobody serves: walks everything in it, changes nothing. What the
 * pool's metadata says is not looked at, nor other copies.
 *
 * @path        its directory, or its device
 * @flags       0, or IOMESH_CHECK_NO_DATA: pages only, data blocks are not read
 * @fault       called for each fault; NULL is fine
 * @progress    NULL is fine
 * @ret_result  how much was checked, how many faults (volumes_checked: of which it has something);
 *              set its size before; written whenever 0 is returned
 *
 * Returns 0 if it could look at everything (faults or not), or -ENOENT (no store there), -EINVAL
 * (an embedded pool), IOMESH_IN_USE (it is served), IOMESH_FORMAT, -EACCES, -ENOMEM ...
 *
 * Thread: any, not inside a callback. Blocks: yes, for as long as reading takes. Since: 0.3.
 */
IOMESH_API int iomesh_store_check(const char *path, uint32_t flags, iomesh_fault_fn *fault,
                                  iomesh_progress_fn *progress, void *context,
                                  struct iomesh_check_result *ret_result);

/* --- Metadata that is lost ----------------------------------------------------------------- */

/* What is found and what is missing, a line each. severity: IOMESH_SEVERITY_… of
 * <iomesh/event.h>: ERROR may be a loss, WARNING is missing or cannot be read, INFO is found. */
typedef void iomesh_rebuild_tell_fn(void *context, uint32_t severity, const char *text);

struct iomesh_rebuild_options {
    uint32_t size;
    uint32_t flags;            /* IOMESH_REBUILD_… */
    const char *const *stores; /* Directories and devices; borrowed for the call. */
    uint32_t store_count;      /* At most 256, those in files too. */
    uint32_t file_count;
    iomesh_rebuild_tell_fn *tell; /* NULL is fine. */
    void *context;
    const char *const *files; /* What was saved on other nodes; borrowed. */
    const char *save;         /* Make no metadata: what the stores of this node say goes into this
                                 file, which is not there yet, to be named on another node. */
    const char *const *addresses; /* Of daemons, "tcp:..." or "unix:...", that serve stores. */
    uint32_t address_count;
    uint32_t reserved;         /* 0. */
    const char *tls_directory; /* Connections to them are sealed, as of pools. NULL: not. */
};

#define IOMESH_REBUILD_ACCEPT_LOSS 1u /* Though writes that were acknowledged may be missing. */
#define IOMESH_REBUILD_LOOK 2u        /* Tell what would be made, make nothing. */

#define IOMESH_REBUILD_OPTIONS_INIT                                                         \
    {                                                                                       \
        (uint32_t)sizeof(struct iomesh_rebuild_options), 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0 \
    }

struct iomesh_rebuild_result {
    uint32_t size;
    uint32_t stores;
    uint64_t volumes, snapshots, groups; /* That were found. */
    uint64_t losses;                     /* Groups that may lack acknowledged writes. */
    uint64_t faults;                     /* Things that are missing, or could not be read. */
};

/**
 * Make the metadata of a cluster anew, when etcd is lost, from the copies of records that its
 * stores keep.
 *
 * Stores are opened that nobody serves, or daemons that still serve them are asked; no other
 * program of the pool runs. Those daemons are started anew afterwards. All stores that are left are
 * named: what is on none of them is lost. Copies of records follow their records by moments, so
 * what was made or deleted in the last of them may be missing, or be there again. Epochs and
 * sequences begin beyond whatever any store has seen; copies that cannot be known to be whole are
 * stale, and are brought up to date when their volume is opened.
 *
 * Of stores on several nodes that nobody serves each node saves what its own say, and the last one
 * is given the files.
 *
 * @url         "etcd://..."; no pool is there; not looked at if something is saved
 * @ret_result  written whatever is returned; set its size before. NULL is fine
 *
 * Returns 0, or
 *   -EINVAL        an option is wrong
 *   -EEXIST        there is a pool; or a store was named twice
 *   -EPERM         acknowledged writes may be missing, and ACCEPT_LOSS is not given
 *   -ENOENT        no store there; or none has copies of records
 *   -ECONNREFUSED, -ETIMEDOUT ...   a daemon does not answer
 *   -EXDEV         a store is of another pool than the others
 *   IOMESH_IN_USE  another process serves a store
 *   -ETIMEDOUT     etcd is out of reach; IOMESH_CORRUPT, -EIO, -ENOMEM …
 *
 * Thread: any, not inside a callback. Blocks: for as long as reading takes. Since: 0.3.
 */
IOMESH_API int iomesh_pool_rebuild(const char *url, const struct iomesh_rebuild_options *options,
                                   struct iomesh_rebuild_result *ret_result);

#endif
