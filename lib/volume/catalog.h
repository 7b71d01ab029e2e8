/* SPDX-License-Identifier: Apache-2.0 */
/*
 * catalog: volumes by name, over the metadata of a pool and its store, or the stores of a cluster.
 *
 * Owns the truth about which volumes there are, the names and numbers of them, epochs and lots of
 * sequences, and every volume that is open. Borrows the metadata, the store and the volume engine,
 * which outlive it.
 *
 * Promises:
 *   - What an operation did is durable when `done(0)` runs; after any other result but
 *     IOMESH_UNKNOWN nothing of it happened. `done` runs once if 0 was returned, never otherwise,
 *     from meta_poll(), the store or catalog_turn(), never inside the call.
 *   - Operations on one name happen one after the other, in the order in which they were asked for.
 *   - The number of a volume is never used again, and no sequence of a volume is used twice,
 *     however the process or the power ends. Both are reserved in the metadata in lots, before use.
 *   - A volume or snapshot deleted is gone by name at once; its space comes back in the background,
 *     through crashes: the metadata says `deleting` until the store has forgotten it. What a clone
 *     needs of it stays, hidden, until the last clone is gone or flattened.
 *   - What was cut off by a resize never comes back.
 *   - A snapshot is all that was written before one instant between asking for it and `done`; I/O
 *     waits only for what was under way then, never for the metadata. A snapshot of a group is that
 *     for all its volumes: one instant, one transaction.
 *   - A rollback is whole or has not begun, to whoever opens the volume.
 *
 * Where an operation is refused, base_last_error() says why in a sentence, valid in `done`.
 *
 * Thread: the engine's. Nothing blocks. Metadata operations allocate, within operations_max and
 * volumes_max; I/O on an open volume does not come here.
 *
 * In one turn: meta_poll(), volume_engine_turn(), store_turn(), catalog_turn(). A call made outside
 * a turn may leave work for catalog_turn(): see that a turn follows.
 */
#ifndef VOLUME_CATALOG_H
#define VOLUME_CATALOG_H

#include "format/metadata.h"
#include "meta/meta.h"
#include "place/place.h"
#include "volume/volume.h"

struct catalog;
struct catalog_handle;

#define CATALOG_FORMAT_VERSION 1u
#define CATALOG_NAME_BYTES_MAX 128u
#define CATALOG_BYTES_MAX (64ull << 40)
#define CATALOG_LIST_MAX 1000u
#define CATALOG_SESSION_TTL_NS (5 * NS_PER_S)

typedef void catalog_done_fn(void *context, int result);

/* --- Before the store is open --------------------------------------------------------------- */

/*
 * Make the metadata of a new pool, in one transaction: it is a pool when `done(0)` runs, and none
 * before. The store is formatted already. The metadata is borrowed until then, and wants
 * meta_poll(). `done` may see -EEXIST: there is a pool.
 */
int catalog_format(struct meta *meta, const uint8_t pool_uuid[16], const uint8_t store_uuid[16],
                   catalog_done_fn *done, void *context);
/* The same for a cluster: a pool without stores, until some have records. */
int catalog_format_cluster(struct meta *meta, const uint8_t pool_uuid[16], catalog_done_fn *done,
                           void *context);

/* What the metadata says of the pool. */
struct catalog_look {
    uint8_t pool_uuid[16];
    uint8_t store_uuid[16];
    uint64_t incarnation; /* What to pass as store_options.incarnation_min. */
};
/* result: 0, or -ENOENT (no pool), IOMESH_FORMAT (newer: the sentence names both versions),
 * IOMESH_CORRUPT, what the metadata said. look: NULL unless 0; valid during the call. */
typedef void catalog_look_fn(void *context, int result, const struct catalog_look *look);
int catalog_look(struct meta *meta, catalog_look_fn *done, void *context);

struct catalog_check {
    /* One call per fault, a whole sentence. volume: its number, or 0. */
    void (*fault)(void *context, uint64_t volume, const char *text);
    /* Each volume, deleted ones whose space is coming back too, in order of their numbers.
     * written: it was opened for writing, so a store may have something of it. */
    void (*volume)(void *context, uint64_t volume, bool written);
    /* 0: everything was read, faults or not. */
    catalog_done_fn *done;
    void *context;
};
/* Hold the records of volumes and names against each other; changes nothing. `done` runs once if 0
 * is returned. The metadata is borrowed until then, and wants meta_poll(). */
int catalog_check(struct meta *meta, const struct catalog_check *options);

/* --- Opening -------------------------------------------------------------------------------- */

struct catalog_event {
    enum store_event_severity severity;
    uint64_t volume_id; /* 0: of none. */
    uint64_t bytes;     /* Of the volume, where it says something. */
    const char *text;   /* A whole sentence, valid during the call. */
};

/*
 * A pool of many stores. Volumes are placed on them when they are created, and belong to the
 * process that has them open: while its session lives nobody else changes them.
 */
struct catalog_cluster {
    /* Of this process, borrowed, "" or NULL: not known. `node` as in the records of stores; what
     * has the same node and address as an earlier session is its successor, and takes its volumes
     * back without waiting: no two processes may have both. */
    const char *node, *address;
    const char *zone, *rack; /* Where it is: a volume's first copy goes near. */
    uint64_t session_ttl_ns; /* 0: CATALOG_SESSION_TTL_NS. */
    struct copies_engine *copies;
    struct replica_options replica; /* min_copies is each volume's own. */
    uint64_t resync_bytes_per_s;    /* Of each volume: copies_rate(). */

    /* The port to a store; NULL: there is none (any more). It lives as long as the catalog. */
    struct part_port *(*port)(void *context, uint64_t store);

    /* A store is new, or another than it was: whoever makes connections sees to it. record: NULL if
     * it is gone; else valid until the next change of it. */
    void (*store_changed)(void *context, uint64_t store, const struct metadata_store *record);
    void *context;
};

struct catalog_options {
    struct meta *meta;
    struct store *store;                   /* NULL: of a cluster. */
    const struct catalog_cluster *cluster; /* If there is no store; copied. */
    struct volume_engine *volumes;
    struct clock *clock;
    bool read_only; /* Nothing is changed: no session, no deletion; every change is -EROFS. */

    uint32_t operations_max; /* At once; 0: 1024. */
    uint32_t volumes_max;    /* Open at once; 0: 4096. */

    /* For tests; 0: 1024 numbers, 2^26 sequences. */
    uint32_t id_lot;
    uint64_t sequence_lot;

    /* Volumes created, deleted, resized, space of one given back, what went wrong behind. */
    void (*event)(void *context, const struct catalog_event *event);
    void *context;
};

/*
 * Open over a store that is open. 0: *ret_catalog is set at once, `done` runs once. After done(0)
 * it is ready, the incarnation of the store is recorded and a session is alive; deletions that were
 * interrupted go on in the background. After done(<0) it is gone: what catalog_look() says, and
 * IOMESH_FORMAT or -EINVAL for a store that is not this pool's or older than recorded.
 */
int catalog_open(const struct catalog_options *options, struct catalog **ret_catalog,
                 catalog_done_fn *done, void *context);

/*
 * Close, when the operations under way have ended. No handle is open. The catalog is gone when
 * `done` runs, whatever the result. Close the store after it: deletions end with the store, and go
 * on at the next open.
 */
void catalog_close(struct catalog *catalog, catalog_done_fn *done, void *context);
/* Forgets everything at once, as a crash does. For tests; nothing of the metadata is in flight. */
void catalog_abandon(struct catalog *catalog);

/* Of a cluster: a port went up or down. */
void catalog_port_changed(struct catalog *catalog, struct part_port *port);
/* The stores of a cluster's pool, kept up. */
struct stores;
const struct stores *catalog_stores(const struct catalog *catalog);
/* The session of this process, now; 0: it has none. Another one when it ran out. */
uint64_t catalog_session(const struct catalog *catalog);
/* What volumes are held to, those that are open too, from now on. */
void catalog_set_replica(struct catalog *catalog, const struct replica_options *replica);
/* As copies_rate(), of each volume; of all that are open, too. */
void catalog_set_resync(struct catalog *catalog, uint64_t bytes_per_s);
/* Of the pool that is open. */
void catalog_pool_uuid(const struct catalog *catalog, uint8_t ret_uuid[16]);

/* Once per engine turn. Returns how many callbacks ran. */
unsigned catalog_turn(struct catalog *catalog);

struct catalog_counts {
    uint32_t operations;   /* Under way or waiting, those of handles included. */
    uint32_t volumes_open; /* Volumes, not handles. */
    uint32_t handles;
    uint32_t deletions; /* Known to be under way in the background. */
    bool looked;        /* Those that were interrupted are known: the look after opening ended. */
};
void catalog_counts(const struct catalog *catalog, struct catalog_counts *ret_counts);

/* --- Volumes by name ------------------------------------------------------------------------ */

/* Every call below but catalog_handle_close() may return
 *   -EINVAL  the name (empty, over 128 bytes, not UTF-8, with '/', '@' or control characters)
 *   -EAGAIN  operations_max are under way
 *   -EROFS   the catalog is read-only (those that change something)
 *   -ENOMEM
 * with a sentence, and its `done` may see IOMESH_UNKNOWN, IOMESH_FAILED, IOMESH_CORRUPT, -ENOSPC,
 * -ENOMEM of the metadata. */

/* 0, or -EINVAL with a sentence. */
int catalog_check_name(const char *name);

#define CATALOG_COPIES_MAX 5u

struct catalog_create {
    uint64_t bytes;        /* 4 KiB .. 64 TiB, a multiple of 4 KiB. */
    uint32_t sector_bytes; /* 512 or 4096. */

    /* Of a cluster; else 0. */
    uint32_t copies;             /* 1 .. CATALOG_COPIES_MAX; 0: 3. */
    uint32_t copies_min;         /* In sync, or writes wait; 0: 1 of 2, 2 of 3 and 4, 3 of 5. */
    enum metadata_domain domain; /* No two copies in one of these. */
    uint32_t media;              /* 1 << enum metadata_media of each that will do; 0: any. */
    struct place_hint hint;      /* Where it will be used; borrowed. None: here. */
};
/* It reads zeros and takes no space. -EINVAL for the size, sector or copies; `done`: -EEXIST,
 * -ENOSPC (the stores of the cluster do not satisfy what is asked for). */
int catalog_create(struct catalog *catalog, const char *name, const struct catalog_create *create,
                   catalog_done_fn *done, void *context);

/*
 * `done`: -ENOENT, -EBUSY (it is open, or has snapshots). One that clones need is gone by name at
 * once; what they need of it stays until the last of them is deleted or flattened.
 */
int catalog_delete(struct catalog *catalog, const char *name, catalog_done_fn *done, void *context);

/*
 * Change the size, open or not. Smaller only with `force`: at once nothing beyond the new end is
 * accepted (volume_bytes() says so), then what is there becomes zeros and is flushed, then the
 * metadata changes. A crash in between leaves the old size. Snapshots keep theirs, and what they
 * show. `done`: -ENOENT, -EPERM (it would shrink), and what writing may see; then the old size
 * holds, and some of the end may read zeros.
 */
int catalog_resize(struct catalog *catalog, const char *name, uint64_t bytes, bool force,
                   catalog_done_fn *done, void *context);

enum catalog_info_flags {
    CATALOG_INCOMPLETE = 1u,     /* An import into it has not ended. */
    CATALOG_ROLLING_BACK = 2u,   /* To be finished before it is opened for writing. */
    CATALOG_FLATTENED = 4u,      /* The head does not need the parent; some snapshot does. */
    CATALOG_PARENT_DELETED = 8u, /* The parent has no name any more. */
    CATALOG_PARENT_HIDDEN = 16u, /* Its snapshot is kept for clones only. */
};

struct catalog_info {
    const char *name; /* Valid during the call, as the others. */
    uint64_t id;
    uint64_t bytes;
    uint64_t created_ns; /* Since 1970. */
    uint64_t epoch;      /* Times opened for writing. */
    uint32_t sector_bytes;
    uint32_t handle_count; /* Of the volume itself, not of its snapshots. */
    const char *parent;    /* NULL: not a clone. The name that it has, or had. */
    const char *parent_snapshot;
    uint32_t snapshot_count; /* Those that its user sees. */
    uint32_t flags;          /* enum catalog_info_flags */
    uint32_t copies, copies_min;
    const char *owner_node; /* Of catalog_show() in a cluster: who has it open. "": nobody has. */
    const char *owner_address;
};
typedef void catalog_info_fn(void *context, const struct catalog_info *info);

/*
 * A page of volumes in order of the bytes of their names, those after `after` (NULL or "": from the
 * first; any bytes, not only a name), at most `limit` (1 .. CATALOG_LIST_MAX). `each` runs for
 * every one, then `done` with 1 if there are more, else 0. A volume that changes meanwhile is seen
 * before or after.
 */
int catalog_list(struct catalog *catalog, const char *after, uint32_t limit, catalog_info_fn *each,
                 catalog_done_fn *done, void *context);
/* `each` runs once before done(0). `done`: -ENOENT. */
int catalog_show(struct catalog *catalog, const char *name, catalog_info_fn *each,
                 catalog_done_fn *done, void *context);

/* One copy of a group of a volume's segments, as the metadata says. */
struct catalog_copy {
    uint32_t group, generation;
    uint64_t store;
    enum metadata_member_state state;
    uint32_t reason;   /* Why it is not in sync: enum metadata_reason, or a newer one. */
    uint64_t since_ns; /* Of its state, since 1970; 0: not known. */
    /* Of the group, if one catches up, as its coordinator said or knows: in all views. */
    uint64_t copied_bytes, segments_done, segments_total;
    uint64_t bytes_second; /* Lately; 0: not known. */
};
typedef void catalog_copy_fn(void *context, const struct catalog_copy *copy);

/* `each` runs for every copy of every group in order, then `done`. Also while the volume waits for
 * its copies. Of an embedded pool there is none. `done`: -ENOENT. */
int catalog_copies(struct catalog *catalog, const char *name, catalog_copy_fn *each,
                   catalog_done_fn *done, void *context);

/* --- Open volumes --------------------------------------------------------------------------- */

/* handle: NULL unless result is 0; then the caller's until catalog_handle_close(). */
typedef void catalog_opened_fn(void *context, int result, struct catalog_handle *handle);

/*
 * Open. Handles of one name share one volume. The first for writing raises the epoch and reserves
 * sequences; for reading only nothing is changed. "NAME@SNAPSHOT" is what the snapshot shows, and
 * for reading only. A rollback that was interrupted is finished first. `opened`: -ENOENT, -EROFS
 * (for writing: a snapshot, or of a catalog or store that is read-only), -EMFILE (volumes_max),
 * -EBUSY (an import into it has not ended).
 *
 * In a cluster a volume is open in one process at a time, for reading too: -EBUSY (another one has
 * it, and its session lives), IOMESH_FENCED (another one took it meanwhile). It is open when every
 * group of it takes writes: while the only copy in sync of one is away, it waits. If another
 * process takes the volume, or the session of this one runs out, I/O of the handle ends with
 * IOMESH_FENCED; the volume may be opened again at once, and the handle is yet to be closed.
 */
int catalog_handle_open(struct catalog *catalog, const char *name, bool read_only,
                        catalog_opened_fn *opened, void *context);
/* For writing, in a cluster: whoever has it loses it. For operators. */
int catalog_handle_open_force(struct catalog *catalog, const char *name, catalog_opened_fn *opened,
                              void *context);

/*
 * Close. No I/O of this handle is under way. The handle is dead when this returns; `done` runs
 * later. The last one closes the volume and gives back the sequences that it did not use. A result
 * other than 0 says only that they were not given back: no harm.
 */
void catalog_handle_close(struct catalog_handle *handle, catalog_done_fn *done, void *context);

/* For I/O: volume_submit(), volume_bytes(), volume_sector_bytes(), volume_id(). The same for all
 * handles of a name. Writes through a handle for reading only are the caller's to refuse. */
struct volume *catalog_handle_volume(const struct catalog_handle *handle);
bool catalog_handle_read_only(const struct catalog_handle *handle);
/* As it was opened: NAME or NAME@SNAPSHOT. Valid until the handle is closed. */
const char *catalog_handle_name(const struct catalog_handle *handle);

/* --- Snapshots ------------------------------------------------------------------------------ */

/* The rules of names, and what `done` may see, as above. `done` may also see -ENOENT: there is no
 * volume, or no snapshot, of that name. */

#define CATALOG_SNAPSHOTS_MAX 4096u /* Of a volume; hidden ones too. */
#define CATALOG_GROUP_VOLUMES_MAX 64u

/*
 * Take one. uuid: 16 bytes that no other snapshot has; a backup knows it by them. What completed
 * before the call is in it; it is durable at done(0). An open volume's writes wait while those
 * under way end, and for nothing else. Another result: there is no such snapshot, and what was kept
 * for it is given back in the background.
 * `done`: -EEXIST, -EMLINK (CATALOG_SNAPSHOTS_MAX), -EBUSY (an import into it has not ended).
 */
int catalog_snapshot_create(struct catalog *catalog, const char *volume, const char *snapshot,
                            const uint8_t uuid[16], catalog_done_fn *done, void *context);

/*
 * Gone by name at once, its space comes back in the background; in any order. One that clones need
 * is hidden until they do not. `done`: -EBUSY (it is open, one of a group, being rolled back to, or
 * what an import began from).
 */
int catalog_snapshot_delete(struct catalog *catalog, const char *volume, const char *snapshot,
                            catalog_done_fn *done, void *context);

/* Bytes of the volume that were dealt with, of about so many. */
typedef void catalog_progress_fn(void *context, uint64_t done_bytes, uint64_t total_bytes);

/*
 * Make the volume what the snapshot shows; every other snapshot stays. It takes space as writing
 * does. From the first change on it is finished even if the process ends: when the pool or the
 * volume is opened next, or when there is space. Until then who opens the volume for reading is
 * shown the snapshot, for as long as he has it open. progress: NULL, or runs now and then before
 * `done`.
 *
 * The volume keeps its size, zeros beyond the snapshot's; with `force` it gets the snapshot's.
 * `done`: -EBUSY (it is open), -EPERM (the snapshot is larger, and that is not forced), and what
 * writing may see: then it goes on when the volume is opened next. IOMESH_CORRUPT when it is done:
 * what could not be read of the snapshot is damage in the volume too.
 */
int catalog_snapshot_rollback(struct catalog *catalog, const char *volume, const char *snapshot,
                              bool force, catalog_progress_fn *progress, catalog_done_fn *done,
                              void *context);

struct catalog_snapshot {
    const char *volume; /* Valid during the call, as the others. */
    const char *name;
    const char *group; /* "": of none. */
    uint64_t volume_id;
    uint64_t cut;   /* What was written with a sequence below it is in it. */
    uint64_t bytes; /* Of the volume when it was taken. */
    uint64_t created_ns;
    uint8_t uuid[16];
    uint32_t clones;
    bool hidden;   /* Deleted by its user, or taken for a clone: no name means it. */
    bool deleting; /* Its space is coming back. */
    bool space;    /* The next two are known. */
    /* In a cluster: in all copies that are in sync. */
    uint64_t unique_bytes; /* Data that nobody else shows: what deleting just this one frees. */
    uint64_t shared_bytes; /* Data that it shows and others too. */
};
typedef void catalog_snapshot_fn(void *context, const struct catalog_snapshot *snapshot);

/* All of a volume, oldest first, hidden ones and those being deleted too. `space`: measured, which
 * reads the map of the volume. */
int catalog_snapshot_list(struct catalog *catalog, const char *volume, bool space,
                          catalog_snapshot_fn *each, catalog_done_fn *done, void *context);

/* --- Groups --------------------------------------------------------------------------------- */

/*
 * A snapshot called `group` of each of 1 .. CATALOG_GROUP_VOLUMES_MAX volumes (none twice), at one
 * instant, in one transaction: all of them or none. They are deleted together only. uuids: one for
 * each. `done`: as catalog_snapshot_create(); -EEXIST also for the group.
 */
int catalog_group_create(struct catalog *catalog, const char *group, const char *const *volumes,
                         unsigned count, const uint8_t (*uuids)[16], catalog_done_fn *done,
                         void *context);
/* `done`: -EBUSY: one of them is open, or being rolled back to. */
int catalog_group_delete(struct catalog *catalog, const char *group, catalog_done_fn *done,
                         void *context);

struct catalog_group_info {
    const char *name; /* Valid during the call, as the others. */
    uint64_t created_ns;
    uint32_t volume_count;
    const char *volumes[CATALOG_GROUP_VOLUMES_MAX];
};
typedef void catalog_group_fn(void *context, const struct catalog_group_info *group);
/* All of them, in order of their names. */
int catalog_group_list(struct catalog *catalog, catalog_group_fn *each, catalog_done_fn *done,
                       void *context);

/* --- Clones --------------------------------------------------------------------------------- */

/*
 * A new volume, which reads as the snapshot until it is written; NULL: as the volume now, of which
 * a hidden snapshot is taken that goes with its last clone. It takes no space, and is as large as
 * the snapshot. `done`: -EEXIST, -EMLINK, -EBUSY, as for creating it and the snapshot.
 */
int catalog_clone(struct catalog *catalog, const char *volume, const char *snapshot,
                  const char *new_name, catalog_done_fn *done, void *context);

/*
 * Copy into a clone what it still reads from its parent, then cut the tie: at once, or with the
 * last of the snapshots of the clone that were taken before. In use or not; it may be closed
 * meanwhile. 0 for a volume that is no clone. `done`: -EBUSY (it is being flattened already), and
 * what writing may see: then some of it is copied, and the tie holds. -ECANCELED: the catalog is
 * being closed.
 */
int catalog_flatten(struct catalog *catalog, const char *volume, catalog_progress_fn *progress,
                    catalog_done_fn *done, void *context);

/* --- Changed blocks, and imports ------------------------------------------------------------ */

typedef void catalog_cut_fn(void *context, int result, uint64_t cut);
/*
 * What to pass as volume_io.since to be told of what changed since a snapshot of the volume that is
 * open here, up to what the handle shows. The snapshot is the caller's to keep meanwhile.
 * `done`: -EINVAL (the handle is of a snapshot that is not newer).
 */
int catalog_changed_since(struct catalog_handle *handle, const char *snapshot, catalog_cut_fn *done,
                          void *context);

struct catalog_import {
    uint64_t bytes;
    uint32_t sector_bytes;
    bool increment;        /* Onto a volume that is there; else a new one is made. */
    bool force;            /* An increment: the volume gets this size, if it is smaller too. */
    uint8_t base_uuid[16]; /* Of the snapshot that it was made against. */
    uint8_t uuid[16];      /* Of the snapshot that it makes. */
    const char *snapshot;  /* The name of that; copied. */
    uint32_t copies;       /* Of a new one, as of catalog_create. */
    uint32_t copies_min;
    enum metadata_domain domain;
    uint32_t media;
};
/*
 * An increment grows the volume if it is of a larger one. A volume that was grown since its base
 * keeps its size, with zeros behind that of the increment; the snapshot has the increment's.
 *
 * Begin: the volume is marked incomplete and open for writing, to this handle only. `opened`:
 *   -EEXIST    a new one: there is a volume of that name; or the snapshot's name is taken
 *   -ENOENT    an increment: there is no volume, or no snapshot of it with base_uuid
 *   -ESTALE    the volume has changed since that snapshot
 *   -EBUSY     it is open, or another import into it has not ended
 *   -EPERM     the exported volume was made smaller, and that is not forced
 *   -EINVAL    sectors that do not fit
 */
int catalog_import_begin(struct catalog *catalog, const char *name,
                         const struct catalog_import *import, catalog_opened_fn *opened,
                         void *context);
/* Flushes, takes the snapshot and removes the mark in one transaction. The handle stays open, as an
 * ordinary one if the result is 0. No I/O of it is under way. */
int catalog_import_end(struct catalog_handle *handle, catalog_done_fn *done, void *context);
/* The volume is not open. A new one is deleted, another made what the base shows; then it is not
 * marked any more. `done`: -EINVAL: no import into it was begun. */
int catalog_import_abandon(struct catalog *catalog, const char *name, catalog_progress_fn *progress,
                           catalog_done_fn *done, void *context);

#endif
