/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Volumes by name: create, list, show, resize, delete, open, close.
 *
 * Names: 1 to 128 bytes of UTF-8 without '/', '@' and control characters. All of these are
 * operations on metadata: they may allocate, and complete when what they did survives power loss.
 */
#ifndef IOMESH_VOLUME_H
#define IOMESH_VOLUME_H

#include <stdint.h>

#include <iomesh/engine.h>
#include <iomesh/pool.h>
#include <iomesh/version.h>

struct iomesh_volume;

#define IOMESH_NAME_BYTES_MAX 128u
#define IOMESH_VOLUME_BYTES_MIN 4096ull
#define IOMESH_VOLUME_BYTES_MAX (64ull << 40)

struct iomesh_volume_create_options {
    uint32_t size;
    uint32_t sector_bytes; /* Logical sector: 512 or 4096; 0: 4096. */
    uint64_t bytes;        /* 4 KiB .. 64 TiB, a multiple of 4 KiB. */
    uint32_t flags;        /* 0 */
    uint32_t reserved;

    /* Since 0.3. Of a cluster. */
    uint32_t copies; /* 1 .. 5; 0: 3. */
    uint32_t
        copies_min;  /* So many must be in sync, or writes wait; 0: 1 of 2, 2 of 3 and 4, 3 of 5. */
    uint32_t domain; /* IOMESH_DOMAIN_…: no two copies in one. */
    uint32_t classes; /* 1 << IOMESH_CLASS_… of each that its stores may be of; 0: any. */
};

#define IOMESH_DOMAIN_NODE 0u
#define IOMESH_DOMAIN_STORE 1u
#define IOMESH_DOMAIN_RACK 2u
#define IOMESH_DOMAIN_ZONE 3u

#define IOMESH_VOLUME_CREATE_OPTIONS_INIT                                             \
    {                                                                                 \
        (uint32_t)sizeof(struct iomesh_volume_create_options), 0, 0, 0, 0, 0, 0, 0, 0 \
    }

/**
 * Create a volume. It reads zeros and takes no space until it is written.
 *
 * @name  copied
 *
 * Returns 0 once accepted, or -EINVAL (name, size or sector, with a sentence), -EAGAIN (too many
 * operations run), -EROFS, -ENOMEM, -ENOTSUP (copies, of an embedded pool); @done may see -EEXIST,
 * -ENOSPC (also: the stores of the cluster are not enough for what is asked; the sentence says what
 * is missing), -EIO, IOMESH_UNKNOWN.
 *
 * Thread: the engine's. Blocks: never. Allocates: yes. Since: 0.1.
 */
IOMESH_API int iomesh_volume_create(struct iomesh_pool *pool, const char *name,
                                    const struct iomesh_volume_create_options *options,
                                    iomesh_done_fn *done, void *context);
/** The same, waiting. Thread: the engine's, not inside a callback. Blocks: yes. Since: 0.1. */
IOMESH_API int iomesh_volume_create_sync(struct iomesh_pool *pool, const char *name,
                                         const struct iomesh_volume_create_options *options);

/**
 * Delete a volume. Its name is free once @done runs; its space comes back in the background,
 * through crashes.
 *
 * Returns 0 once accepted, or -EINVAL, -EAGAIN, -EROFS, -ENOMEM; @done may see -ENOENT,
 * -EBUSY (it is open, or has snapshots), -EIO, IOMESH_UNKNOWN.
 *
 * Thread: the engine's. Blocks: never. Allocates: yes. Since: 0.1.
 */
IOMESH_API int iomesh_volume_delete(struct iomesh_pool *pool, const char *name,
                                    iomesh_done_fn *done, void *context);
/** The same, waiting. Thread: the engine's, not inside a callback. Blocks: yes. Since: 0.1. */
IOMESH_API int iomesh_volume_delete_sync(struct iomesh_pool *pool, const char *name);

/* Allow a resize that cuts off the end of a volume, and what is written there. */
#define IOMESH_RESIZE_FORCE 1u

/**
 * Change the size of a volume, open or not. What is cut off is gone for ever: grown again, it
 * reads zeros.
 *
 * @bytes  as for creation
 * @flags  0 or IOMESH_RESIZE_FORCE, without which a volume only grows
 *
 * Returns 0 once accepted, or -EINVAL, -EAGAIN, -EROFS, -ENOMEM; @done may see -ENOENT, -EPERM
 * (it would shrink, and FORCE is not given), -EIO, IOMESH_UNKNOWN.
 *
 * Thread: the engine's. Blocks: never. Allocates: yes. Since: 0.1.
 */
IOMESH_API int iomesh_volume_resize(struct iomesh_pool *pool, const char *name, uint64_t bytes,
                                    uint32_t flags, iomesh_done_fn *done, void *context);
/** The same, waiting. Thread: the engine's, not inside a callback. Blocks: yes. Since: 0.1. */
IOMESH_API int iomesh_volume_resize_sync(struct iomesh_pool *pool, const char *name, uint64_t bytes,
                                         uint32_t flags);

struct iomesh_volume_info {
    uint32_t size;
    uint32_t sector_bytes;
    uint64_t id;
    uint64_t bytes;
    uint64_t created_ns;                  /* Since 1970. */
    uint32_t open_count;                  /* Handles on it in this process. */
    uint32_t flags;                       /* IOMESH_VOLUME_INCOMPLETE, … */
    char name[IOMESH_NAME_BYTES_MAX + 1]; /* Ends with a zero byte. */
    /* Since 0.2. */
    uint64_t snapshot_count;                /* Those that have a name. */
    char parent[IOMESH_NAME_BYTES_MAX + 1]; /* Of a clone: the volume; "": it is none. */
    char parent_snapshot[IOMESH_NAME_BYTES_MAX + 1];
    /* Since 0.3. Of a cluster, else 0. */
    uint32_t copies, copies_min;
    /* Of one that is shown, not of those in a list: who has it open, in this process or another. */
    char owner_node[256]; /* "": nobody has, as the next. */
    char owner_address[256];
};

/* An import into it is not over: <iomesh/snapshot.h>. */
#define IOMESH_VOLUME_INCOMPLETE 1u
/* A rollback of it is not over; it will be before it is opened for writing. */
#define IOMESH_VOLUME_ROLLING_BACK 2u
/* Of a clone: flattened. Only snapshots of it read from its parent. */
#define IOMESH_VOLUME_FLATTENED 4u
#define IOMESH_VOLUME_PARENT_DELETED 8u /* By its user; kept for its clones. */
#define IOMESH_VOLUME_PARENT_HIDDEN 16u /* The snapshot that it was made of: deleted, or unnamed. */

/* One volume; borrowed until the callback returns. */
typedef void iomesh_volume_info_fn(void *context, const struct iomesh_volume_info *info);

/**
 * List volumes in order of their names (of their bytes), a page at a time.
 *
 * @after  the name to go on after; NULL or "": from the first
 * @limit  1 .. 1000 per page
 * @each   called for each, from a turn, before @done
 * @done   result 0: that was the last page; 1: there are more; or a negative code
 *
 * Returns 0 once accepted, or -EINVAL, -EAGAIN, -ENOMEM; @done may see -EIO.
 *
 * Thread: the engine's. Blocks: never. Allocates: yes. Since: 0.1.
 */
IOMESH_API int iomesh_volume_list(struct iomesh_pool *pool, const char *after, uint32_t limit,
                                  iomesh_volume_info_fn *each, iomesh_done_fn *done, void *context);
/** All pages, waiting. Thread: the engine's, not inside a callback. Blocks: yes. Since: 0.1. */
IOMESH_API int iomesh_volume_list_sync(struct iomesh_pool *pool, iomesh_volume_info_fn *each,
                                       void *context);

/**
 * What is known about one volume.
 *
 * @each  called once with it, before @done, if there is one
 *
 * Returns 0 once accepted, or -EINVAL, -EAGAIN, -ENOMEM; @done may see -ENOENT, -EIO.
 *
 * Thread: the engine's. Blocks: never. Allocates: yes. Since: 0.1.
 */
IOMESH_API int iomesh_volume_show(struct iomesh_pool *pool, const char *name,
                                  iomesh_volume_info_fn *each, iomesh_done_fn *done, void *context);
/** The same, waiting. @ret_info: set its size before. Thread: the engine's. Since: 0.1. */
IOMESH_API int iomesh_volume_show_sync(struct iomesh_pool *pool, const char *name,
                                       struct iomesh_volume_info *ret_info);

struct iomesh_volume_options {
    uint32_t size;
    uint32_t flags; /* IOMESH_VOLUME_READ_ONLY */
};

#define IOMESH_VOLUME_READ_ONLY 1u

#define IOMESH_VOLUME_OPTIONS_INIT                        \
    {                                                     \
        (uint32_t)sizeof(struct iomesh_volume_options), 0 \
    }

/* volume: NULL unless result is 0; then yours until iomesh_volume_close(). */
typedef void iomesh_volume_opened_fn(void *context, int result, struct iomesh_volume *volume);

/**
 * Open a volume for I/O. May be opened several times in one process: all handles see one volume,
 * and a flush through one covers the writes of all.
 *
 * @name     "NAME"; or since 0.2 "NAME@SNAP": a snapshot, for reading whatever the options say;
 *           copied
 * @options  NULL: read and write
 * @opened   runs exactly once if 0 is returned, never otherwise
 *
 * Returns 0 once accepted, or -EINVAL, -EAGAIN, -ENOMEM; @opened may see -ENOENT, -EROFS,
 * -EBUSY (an import into it is not over; in a cluster, another process has it open: the sentence
 * says where), IOMESH_FENCED (another process took it meanwhile), -ECANCELED, -EIO.
 *
 * In a cluster it waits, however long that takes, until the copies that it needs can be reached.
 *
 * Thread: the engine's. Blocks: never. Allocates: yes. Since: 0.1.
 */
IOMESH_API int iomesh_volume_open(struct iomesh_pool *pool, const char *name,
                                  const struct iomesh_volume_options *options,
                                  iomesh_volume_opened_fn *opened, void *context);
/** The same, waiting. Thread: the engine's, not inside a callback. Blocks: yes. Since: 0.1. */
IOMESH_API int iomesh_volume_open_sync(struct iomesh_pool *pool, const char *name,
                                       const struct iomesh_volume_options *options,
                                       struct iomesh_volume **ret_volume);

/**
 * Close a handle. Its I/O has completed before. The handle is dead once 0 is returned. Does not
 * flush: what was not flushed survives a crash of the process, not of power.
 *
 * Returns 0 once accepted, or -EBUSY: I/O is in flight.
 *
 * Thread: the engine's. Blocks: never. Since: 0.1.
 */
IOMESH_API int iomesh_volume_close(struct iomesh_volume *volume, iomesh_done_fn *done,
                                   void *context);
/** The same, waiting. NULL is fine. Thread: the engine's. Blocks: yes. Since: 0.1. */
IOMESH_API int iomesh_volume_close_sync(struct iomesh_volume *volume);

/** The size of an open volume in bytes, now. Thread: the engine's. Since: 0.1. */
IOMESH_API uint64_t iomesh_volume_bytes(const struct iomesh_volume *volume);
/** The logical sector of an open volume: 512 or 4096. Thread: the engine's. Since: 0.1. */
IOMESH_API uint32_t iomesh_volume_sector_bytes(const struct iomesh_volume *volume);
/** As it was opened; valid until the handle is closed. Thread: the engine's. Since: 0.1. */
IOMESH_API const char *iomesh_volume_name(const struct iomesh_volume *volume);
/** Returns 1 if writes are refused, else 0. Thread: the engine's. Since: 0.1. */
IOMESH_API int iomesh_volume_is_read_only(const struct iomesh_volume *volume);
/**
 * Whether the handle has come to its end: no I/O of it succeeds any more. In a cluster another
 * process may take the volume (when this one was not heard of for so long that its session ran out,
 * or by force), or what was acknowledged may be lost on all its copies. Close the handle; the
 * volume may be opened again at once, before that too, if nobody else has it.
 *
 * Returns 0, or IOMESH_FENCED, -EIO: what its I/O ends with.
 *
 * Thread: the engine's. Blocks: never. Allocates: never. Since: 0.3.
 */
IOMESH_API int iomesh_volume_ended(const struct iomesh_volume *volume);

#endif
