/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Snapshots, groups of them, clones, what has changed, and importing.
 *
 * A snapshot is what a volume held at one moment. "NAME@SNAP" is the snapshot SNAP of the volume
 * NAME; the names of snapshots and groups are as those of volumes. Taking one copies nothing and
 * costs no space; from then on what is overwritten stays, until no snapshot shows it. Any may be
 * deleted, in any order. iomesh_volume_open() of "NAME@SNAP" gives a handle for reading.
 *
 * A clone is a volume of its own that begins as what a snapshot shows. iomesh_volume_flatten()
 * makes it independent.
 *
 * As in <iomesh/volume.h> these are operations on metadata: they may allocate, and complete when
 * what they did survives power loss. Each may return -EINVAL (a name, or an argument, with a
 * sentence), -EAGAIN (too many operations run), -EROFS (the pool is read-only), -ENOMEM, and its
 * callback may see -EIO, IOMESH_FAILED, IOMESH_UNKNOWN besides what is said below.
 */
#ifndef IOMESH_SNAPSHOT_H
#define IOMESH_SNAPSHOT_H

#include <stdint.h>

#include <iomesh/engine.h>
#include <iomesh/io.h>
#include <iomesh/pool.h>
#include <iomesh/version.h>
#include <iomesh/volume.h>

#define IOMESH_SNAPSHOTS_MAX 4096u   /* Of a volume. */
#define IOMESH_GROUP_VOLUMES_MAX 64u /* In a group. */
#define IOMESH_UUID_BYTES 16u

/* --- Snapshots ----------------------------------------------------------------------------- */

/**
 * Take a snapshot of a volume, open or not.
 *
 * It holds every write that completed before this call and none that was begun after @done ran;
 * of those between, each is in it or not. Writes wait for those under way to end, and for nothing
 * else. What it holds survives power loss once @done runs, as if the volume had been flushed.
 *
 * @name  "NAME@SNAP"; copied
 *
 * Returns 0 once accepted, or as said above; @done may see -ENOENT (no such volume), -EEXIST (it
 * has such a snapshot), -EMLINK (IOMESH_SNAPSHOTS_MAX), -EBUSY (an import of the volume is not
 * over), -ENOSPC.
 *
 * Thread: the engine's. Blocks: never. Allocates: yes. Since: 0.2.
 */
IOMESH_API int iomesh_snapshot_create(struct iomesh_pool *pool, const char *name,
                                      iomesh_done_fn *done, void *context);
/** The same, waiting. Thread: the engine's, not inside a callback. Blocks: yes. Since: 0.2. */
IOMESH_API int iomesh_snapshot_create_sync(struct iomesh_pool *pool, const char *name);

/**
 * Delete a snapshot. Its name is free once @done runs; its space comes back in the background,
 * through crashes, on a full store too. One with clones goes the same way as soon as the last of
 * them is deleted or flattened, and is hidden until then.
 *
 * @name  "NAME@SNAP"; copied
 *
 * Returns 0 once accepted, or as said above; @done may see -ENOENT, -EBUSY (it is open, is
 * being rolled back to, is the base of an import, or belongs to a group: delete the group).
 *
 * Thread: the engine's. Blocks: never. Allocates: yes. Since: 0.2.
 */
IOMESH_API int iomesh_snapshot_delete(struct iomesh_pool *pool, const char *name,
                                      iomesh_done_fn *done, void *context);
/** The same, waiting. Thread: the engine's, not inside a callback. Blocks: yes. Since: 0.2. */
IOMESH_API int iomesh_snapshot_delete_sync(struct iomesh_pool *pool, const char *name);

/* The volume gets the size that it had. */
#define IOMESH_ROLLBACK_FORCE 1u

/**
 * Make a volume again what a snapshot of it shows. The volume is not open, and is not opened before
 * @done has run. Every snapshot stays. What differs is written anew, so space is taken for it. From
 * the first change on it is finished even if the process ends: the volume says so
 * (IOMESH_VOLUME_ROLLING_BACK), and it goes on when the pool or the volume is opened next, when
 * there is space again, or when asked once more. Until then the volume can be opened for reading,
 * and shows the snapshot.
 *
 * @name      "NAME@SNAP"; copied
 * @flags     0: the size stays, zeros follow the end of a smaller snapshot; IOMESH_ROLLBACK_FORCE
 * @progress  bytes dealt with, of about so many; from turns, before @done; NULL is fine
 * @context   of both
 *
 * Returns 0 once accepted, or as said above; @done may see -ENOENT, -EBUSY (the volume is open),
 * -EPERM (the snapshot is larger, and FORCE is not given), -ENOSPC (not finished: make space);
 * IOMESH_CORRUPT: if the volume does not say ROLLING_BACK any more it is done, but blocks of the
 * snapshot cannot be read, and read as errors here too until they are written.
 *
 * Thread: the engine's. Blocks: never. Allocates: yes. Since: 0.2.
 */
IOMESH_API int iomesh_snapshot_rollback(struct iomesh_pool *pool, const char *name, uint32_t flags,
                                        iomesh_progress_fn *progress, iomesh_done_fn *done,
                                        void *context);
/** The same, waiting. Thread: the engine's, not inside a callback. Blocks: yes. Since: 0.2. */
IOMESH_API int iomesh_snapshot_rollback_sync(struct iomesh_pool *pool, const char *name,
                                             uint32_t flags, iomesh_progress_fn *progress,
                                             void *context);

struct iomesh_snapshot_info {
    uint32_t size;
    uint32_t flags;                         /* IOMESH_SNAPSHOT_… */
    uint64_t volume_id;                     /* Of the volume. */
    uint64_t cut;                           /* The moment: for iomesh_changed(). Later is more. */
    uint64_t bytes;                         /* The volume's size then. */
    uint64_t created_ns;                    /* Since 1970. */
    uint8_t uuid[IOMESH_UUID_BYTES];        /* No other snapshot anywhere has it, but copies of
                                             * this one that were imported. */
    uint64_t unique_bytes;                  /* With IOMESH_SNAPSHOT_SPACE: of its data, what comes
                                             * back if it alone is deleted, */
    uint64_t shared_bytes;                  /* and the rest of what it shows and takes space. */
    uint32_t clone_count;                   /* Volumes that read from it. */
    char name[IOMESH_NAME_BYTES_MAX + 1];   /* "SNAP"; "" of one that never had a name. */
    char volume[IOMESH_NAME_BYTES_MAX + 1]; /* "NAME" */
    char group[IOMESH_NAME_BYTES_MAX + 1];  /* That it belongs to; "": none. */
};

/* Asked for with it, and said of what was answered: unique_bytes and shared_bytes are known. To
 * find out is one pass over the volume's map. */
#define IOMESH_SNAPSHOT_SPACE 1u
/* Asked for with it: those that are hidden, or being deleted, are listed too. */
#define IOMESH_SNAPSHOT_ALL 2u
#define IOMESH_SNAPSHOT_HIDDEN 4u   /* Deleted, or never named; clones need it. */
#define IOMESH_SNAPSHOT_DELETING 8u /* Its space is coming back. */

/* One snapshot; borrowed until the callback returns. */
typedef void iomesh_snapshot_info_fn(void *context, const struct iomesh_snapshot_info *info);

/**
 * List the snapshots of a volume, oldest first.
 *
 * @volume  its name
 * @flags   of IOMESH_SNAPSHOT_SPACE, IOMESH_SNAPSHOT_ALL
 * @each    called for each, from a turn, before @done
 *
 * Returns 0 once accepted, or as said above; @done may see -ENOENT.
 *
 * Thread: the engine's. Blocks: never. Allocates: yes. Since: 0.2.
 */
IOMESH_API int iomesh_snapshot_list(struct iomesh_pool *pool, const char *volume, uint32_t flags,
                                    iomesh_snapshot_info_fn *each, iomesh_done_fn *done,
                                    void *context);
/** The same, waiting. Thread: the engine's, not inside a callback. Blocks: yes. Since: 0.2. */
IOMESH_API int iomesh_snapshot_list_sync(struct iomesh_pool *pool, const char *volume,
                                         uint32_t flags, iomesh_snapshot_info_fn *each,
                                         void *context);

/**
 * What is known about one snapshot.
 *
 * @name   "NAME@SNAP"
 * @flags  0 or IOMESH_SNAPSHOT_SPACE
 * @each   called once with it, before @done, if there is one
 *
 * Returns 0 once accepted, or as said above; @done may see -ENOENT.
 *
 * Thread: the engine's. Blocks: never. Allocates: yes. Since: 0.2.
 */
IOMESH_API int iomesh_snapshot_show(struct iomesh_pool *pool, const char *name, uint32_t flags,
                                    iomesh_snapshot_info_fn *each, iomesh_done_fn *done,
                                    void *context);
/** The same, waiting. @ret_info: set its size before. Thread: the engine's. Since: 0.2. */
IOMESH_API int iomesh_snapshot_show_sync(struct iomesh_pool *pool, const char *name, uint32_t flags,
                                         struct iomesh_snapshot_info *ret_info);

/* --- Groups -------------------------------------------------------------------------------- */

/**
 * Take snapshots of several volumes at one instant: no write is in one of them that was begun
 * after the end of a write that is not in another. Each volume gets a snapshot of the group's
 * name. All of them are there, or none.
 *
 * @group    copied
 * @volumes  names of different volumes, 1 .. IOMESH_GROUP_VOLUMES_MAX; copied
 *
 * Returns 0 once accepted, or as said above; @done may see what a snapshot of one of them may
 * (the sentence names it), and -EEXIST (there is such a group).
 *
 * Thread: the engine's. Blocks: never. Allocates: yes. Since: 0.2.
 */
IOMESH_API int iomesh_group_create(struct iomesh_pool *pool, const char *group,
                                   const char *const *volumes, uint32_t volume_count,
                                   iomesh_done_fn *done, void *context);
/** The same, waiting. Thread: the engine's, not inside a callback. Blocks: yes. Since: 0.2. */
IOMESH_API int iomesh_group_create_sync(struct iomesh_pool *pool, const char *group,
                                        const char *const *volumes, uint32_t volume_count);

/**
 * Delete a group and the snapshots in it, all or none, as iomesh_snapshot_delete() does one.
 *
 * Returns 0 once accepted, or as said above; @done may see -ENOENT, -EBUSY (one is open).
 *
 * Thread: the engine's. Blocks: never. Allocates: yes. Since: 0.2.
 */
IOMESH_API int iomesh_group_delete(struct iomesh_pool *pool, const char *group,
                                   iomesh_done_fn *done, void *context);
/** The same, waiting. Thread: the engine's, not inside a callback. Blocks: yes. Since: 0.2. */
IOMESH_API int iomesh_group_delete_sync(struct iomesh_pool *pool, const char *group);

struct iomesh_group_info {
    uint32_t size;
    uint32_t volume_count;
    uint64_t created_ns;        /* Since 1970. */
    const char *const *volumes; /* Their names; borrowed until the callback returns. */
    char name[IOMESH_NAME_BYTES_MAX + 1];
};

/* One group; borrowed until the callback returns. */
typedef void iomesh_group_info_fn(void *context, const struct iomesh_group_info *info);

/**
 * List the groups in order of their names.
 *
 * @each  called for each, from a turn, before @done
 *
 * Returns 0 once accepted, or as said above.
 *
 * Thread: the engine's. Blocks: never. Allocates: yes. Since: 0.2.
 */
IOMESH_API int iomesh_group_list(struct iomesh_pool *pool, iomesh_group_info_fn *each,
                                 iomesh_done_fn *done, void *context);
/** The same, waiting. Thread: the engine's, not inside a callback. Blocks: yes. Since: 0.2. */
IOMESH_API int iomesh_group_list_sync(struct iomesh_pool *pool, iomesh_group_info_fn *each,
                                      void *context);

/* --- Clones -------------------------------------------------------------------------------- */

/**
 * Make a volume that begins as what a snapshot shows. Copies nothing. It can be written, resized,
 * snapshotted and cloned as any other; reading it is as fast as reading its family.
 *
 * @source  "NAME@SNAP"; or "NAME": as the volume is now, for which a snapshot without a name is
 *          taken that goes with its last clone; copied
 * @name    of the new volume; copied
 *
 * Returns 0 once accepted, or as said above; @done may see -ENOENT, -EEXIST, -EMLINK, -EBUSY
 * and -ENOSPC as for taking the snapshot.
 *
 * Thread: the engine's. Blocks: never. Allocates: yes. Since: 0.2.
 */
IOMESH_API int iomesh_volume_clone(struct iomesh_pool *pool, const char *source, const char *name,
                                   iomesh_done_fn *done, void *context);
/** The same, waiting. Thread: the engine's, not inside a callback. Blocks: yes. Since: 0.2. */
IOMESH_API int iomesh_volume_clone_sync(struct iomesh_pool *pool, const char *source,
                                        const char *name);

/**
 * Copy into a clone what it reads from its parent, open or not, while it is used. The tie is cut
 * with it, or with the last of the snapshots of the clone that are older. Interrupted, what was
 * copied stays; asked for again it goes on there.
 *
 * @progress  bytes dealt with, of about so many; from turns, before @done; NULL is fine
 * @context   of both
 *
 * Returns 0 once accepted, or as said above; @done may see -ENOENT, -EBUSY (it is under way),
 * -ENOSPC, IOMESH_CORRUPT, -ECANCELED (the pool is being closed). A volume that is no clone: 0.
 *
 * Thread: the engine's. Blocks: never. Allocates: yes. Since: 0.2.
 */
IOMESH_API int iomesh_volume_flatten(struct iomesh_pool *pool, const char *name,
                                     iomesh_progress_fn *progress, iomesh_done_fn *done,
                                     void *context);
/** The same, waiting. Thread: the engine's, not inside a callback. Blocks: yes. Since: 0.2. */
IOMESH_API int iomesh_volume_flatten_sync(struct iomesh_pool *pool, const char *name,
                                          iomesh_progress_fn *progress, void *context);

/* --- What has changed ---------------------------------------------------------------------- */

/**
 * What of a range of a volume was written since a snapshot of it. Through a handle on
 * "NAME@SNAP": between the two. Costs what changed, not what there is.
 *
 * The whole range is told, unless there is no more room: stretches that were written have
 * IOMESH_EXTENT_CHANGED, and those that read zeros now IOMESH_EXTENT_ZERO and _HOLE as for
 * iomesh_block_status(). What is not told to have changed has not; a block that was written with
 * what it held before is told too.
 *
 * @since             iomesh_snapshot_info.cut of a snapshot of this volume, older than what the
 *                    handle shows, and kept meanwhile; 0: whatever there is, of a clone what it
 *                    reads from its parent too
 * @offset, @length   as iomesh_block_status()
 * @extents           filled in order from @offset on, neighbours differ in flags; borrowed
 * @extent_max        1 or more; if the range has more extents the answer ends early
 *
 * Returns and completes as iomesh_block_status(); -EINVAL too if @since is later than what the
 * handle shows.
 *
 * Thread: the engine's. Blocks: never. Allocates: never. Since: 0.2.
 */
IOMESH_API int iomesh_changed(struct iomesh_volume *volume, uint64_t since, uint64_t offset,
                              uint64_t length, struct iomesh_extent *extents, uint32_t extent_max,
                              iomesh_extents_fn *done, void *context);
/** The same, waiting. Returns how many extents, or a negative code. Thread: the engine's.
 * Blocks: yes. Since: 0.2. */
IOMESH_API int iomesh_changed_sync(struct iomesh_volume *volume, uint64_t since, uint64_t offset,
                                   uint64_t length, struct iomesh_extent *extents,
                                   uint32_t extent_max);

/* --- Importing ----------------------------------------------------------------------------- */

struct iomesh_import_options {
    uint32_t size;
    uint32_t sector_bytes; /* As for creation; of an increment: the volume's. */
    uint64_t bytes;        /* Of the snapshot that was exported. */
    const uint8_t *uuid;   /* IOMESH_UUID_BYTES, of the snapshot that was exported. */
    const uint8_t *base;   /* Of the one that it was made against; NULL: a new volume. */
    uint32_t flags;        /* 0, IOMESH_IMPORT_FORCE */
    uint32_t reserved;

    /* Since 0.3. Of a new volume of a cluster, as for creation; of an increment 0. */
    uint32_t copies;
    uint32_t copies_min;
    uint32_t domain;
    uint32_t classes;
};

/* An increment: the volume gets the size of the snapshot, be it smaller. */
#define IOMESH_IMPORT_FORCE 1u

#define IOMESH_IMPORT_OPTIONS_INIT                                                   \
    {                                                                                \
        (uint32_t)sizeof(struct iomesh_import_options), 0, 0, 0, 0, 0, 0, 0, 0, 0, 0 \
    }

/**
 * Begin to import: a new volume, or an increment over a snapshot of one that is there.
 *
 * The volume is marked (IOMESH_VOLUME_INCOMPLETE) and open for writing, to this handle only, until
 * iomesh_import_end(); others may read what is there. If that never comes, for a crash or because
 * the handle was closed, only iomesh_import_abandon() removes the mark.
 *
 * An increment of a larger volume makes this one grow. One that was grown here since its base keeps
 * its size, and has zeros behind the increment's; the snapshot has the size of what was exported.
 *
 * @name     "NAME@SNAP": the volume, and the snapshot that the import makes of it; copied
 * @options  bytes and uuid are needed; copied
 * @opened   runs exactly once if 0 is returned, never otherwise
 *
 * Returns 0 once accepted, or as said above, or -ENOTSUP (copies, of an embedded pool); @opened may
 * see -ENOSPC (the stores are not enough for what is asked), -EEXIST (new, and there is such a
 * volume; or there is such a snapshot), -ENOENT (an increment, and there is no such volume, or no
 * snapshot of it with the uuid of the base), -ESTALE (the volume has changed since its base),
 * -EBUSY (it is open, or marked already), -EPERM (what was exported was made smaller since the
 * base, and FORCE is not given), -EINVAL (sectors that do not fit).
 *
 * Thread: the engine's. Blocks: never. Allocates: yes. Since: 0.2.
 */
IOMESH_API int iomesh_import_begin(struct iomesh_pool *pool, const char *name,
                                   const struct iomesh_import_options *options,
                                   iomesh_volume_opened_fn *opened, void *context);
/** The same, waiting. Thread: the engine's, not inside a callback. Blocks: yes. Since: 0.2. */
IOMESH_API int iomesh_import_begin_sync(struct iomesh_pool *pool, const char *name,
                                        const struct iomesh_import_options *options,
                                        struct iomesh_volume **ret_volume);

/**
 * End an import: what was written is flushed, the snapshot is taken, the mark is gone, in one. The
 * handle stays open, as an ordinary one if @done sees 0.
 *
 * @volume  as iomesh_import_begin() gave it; its I/O has completed
 *
 * Returns 0 once accepted, or -EINVAL (it is not of an import), -EBUSY (I/O is in flight), -EAGAIN,
 * -ENOMEM; @done may see -ENOSPC, -EIO, IOMESH_FAILED, IOMESH_UNKNOWN.
 *
 * Thread: the engine's. Blocks: never. Allocates: yes. Since: 0.2.
 */
IOMESH_API int iomesh_import_end(struct iomesh_volume *volume, iomesh_done_fn *done, void *context);
/** The same, waiting. Thread: the engine's, not inside a callback. Blocks: yes. Since: 0.2. */
IOMESH_API int iomesh_import_end_sync(struct iomesh_volume *volume);

/**
 * Give up an import, one that a crash interrupted too: a new volume is deleted, one that was there
 * becomes what its base shows. The volume is not open.
 *
 * @name      of the volume; copied
 * @progress  bytes dealt with, of about so many; from turns, before @done; NULL is fine
 * @context   of both
 *
 * Returns 0 once accepted, or as said above; @done may see -ENOENT, -EINVAL (it is not marked),
 * -EBUSY (it is open), -ENOSPC.
 *
 * Thread: the engine's. Blocks: never. Allocates: yes. Since: 0.2.
 */
IOMESH_API int iomesh_import_abandon(struct iomesh_pool *pool, const char *name,
                                     iomesh_progress_fn *progress, iomesh_done_fn *done,
                                     void *context);
/** The same, waiting. Thread: the engine's, not inside a callback. Blocks: yes. Since: 0.2. */
IOMESH_API int iomesh_import_abandon_sync(struct iomesh_pool *pool, const char *name,
                                          iomesh_progress_fn *progress, void *context);

#endif
