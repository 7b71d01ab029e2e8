/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Asking the process that owns a pool.
 *
 * Promised for a minor version only. An embedded pool belongs to one process; the library serves
 * DIR/control.sock there, for the same user and root. These calls do through it what the calls of
 * <iomesh/volume.h>, <iomesh/snapshot.h> and <iomesh/stat.h> do in the owner's process, with the
 * same results and the same sentences; and besides
 *
 *   IOMESH_UNKNOWN  the owner went away, or did not answer in time: what was asked for may be done
 *   IOMESH_FORMAT   the owner speaks another version
 *   -ENOTSUP        the owner does not know what is asked for
 *   -EDEADLK        inside a callback: each of them waits
 */
#ifndef IOMESH_SYS_CONTROL_H
#define IOMESH_SYS_CONTROL_H

#include <stdint.h>

#include <iomesh/engine.h>
#include <iomesh/pool.h>
#include <iomesh/snapshot.h>
#include <iomesh/stat.h>
#include <iomesh/version.h>
#include <iomesh/volume.h>

struct iomesh_control;

/**
 * Connect to the owner of a pool.
 *
 * @url          as for iomesh_pool_open()
 * @ret_control  yours until iomesh_control_close()
 *
 * Returns 0, or -ENOENT, -ECONNREFUSED or -ENAMETOOLONG: nobody serves it; or -EACCES,
 * IOMESH_UNKNOWN, IOMESH_FORMAT, -ENOMEM, …
 *
 * Thread: the engine's. Blocks: yes. Allocates: yes. Since: 0.1.
 */
IOMESH_API int iomesh_control_open(struct iomesh_engine *engine, const char *url,
                                   struct iomesh_control **ret_control);
/** Disconnect. NULL is fine. Thread: the engine's. Blocks: briefly. Since: 0.1. */
IOMESH_API void iomesh_control_close(struct iomesh_control *control);

/** The owner's process id. Thread: the engine's. Blocks: never. Since: 0.1. */
IOMESH_API uint32_t iomesh_control_process(const struct iomesh_control *control);

/** Returns as iomesh_pool_status(). Thread: the engine's. Blocks: yes. Since: 0.1. */
IOMESH_API int iomesh_control_status(struct iomesh_control *control,
                                     struct iomesh_pool_status *ret_status);
/** Returns as iomesh_pool_device(); the path is valid until the next call on @control.
 * Thread: the engine's. Blocks: yes. Since: 0.1. */
IOMESH_API int iomesh_control_device(struct iomesh_control *control, uint32_t index,
                                     struct iomesh_device_status *ret_status);
/** Returns as iomesh_scrub_start(). Thread: the engine's. Blocks: yes. Since: 0.1. */
IOMESH_API int iomesh_control_scrub_start(struct iomesh_control *control, uint64_t rate);
/** Returns 0, or a code of the connection. Thread: the engine's. Blocks: yes. Since: 0.1. */
IOMESH_API int iomesh_control_scrub_stop(struct iomesh_control *control);

/** Returns as iomesh_volume_create_sync(). Thread: the engine's. Blocks: yes. Since: 0.1. */
IOMESH_API int iomesh_control_volume_create(struct iomesh_control *control, const char *name,
                                            const struct iomesh_volume_create_options *options);
/** Returns as iomesh_volume_delete_sync(). Thread: the engine's. Blocks: yes. Since: 0.1. */
IOMESH_API int iomesh_control_volume_delete(struct iomesh_control *control, const char *name);
/** Returns as iomesh_volume_resize_sync(). Thread: the engine's. Blocks: yes. Since: 0.1. */
IOMESH_API int iomesh_control_volume_resize(struct iomesh_control *control, const char *name,
                                            uint64_t bytes, uint32_t flags);
/** Returns as iomesh_volume_list_sync(). Thread: the engine's. Blocks: yes. Since: 0.1. */
IOMESH_API int iomesh_control_volume_list(struct iomesh_control *control,
                                          iomesh_volume_info_fn *each, void *context);
/** Returns as iomesh_volume_show_sync(). Thread: the engine's. Blocks: yes. Since: 0.1. */
IOMESH_API int iomesh_control_volume_show(struct iomesh_control *control, const char *name,
                                          struct iomesh_volume_info *ret_info);

/* --- Snapshots, groups, clones, importing -------------------------------------------------- */

/** Returns as iomesh_snapshot_create_sync(). Thread: the engine's. Blocks: yes. Since: 0.2. */
IOMESH_API int iomesh_control_snapshot_create(struct iomesh_control *control, const char *name);
/** Returns as iomesh_snapshot_delete_sync(). Thread: the engine's. Blocks: yes. Since: 0.2. */
IOMESH_API int iomesh_control_snapshot_delete(struct iomesh_control *control, const char *name);
/** Returns as iomesh_snapshot_rollback_sync(). It goes on in the owner if this process ends.
 * Thread: the engine's. Blocks: yes. Since: 0.2. */
IOMESH_API int iomesh_control_snapshot_rollback(struct iomesh_control *control, const char *name,
                                                uint32_t flags, iomesh_progress_fn *progress,
                                                void *context);
/** Returns as iomesh_snapshot_list_sync(). Thread: the engine's. Blocks: yes. Since: 0.2. */
IOMESH_API int iomesh_control_snapshot_list(struct iomesh_control *control, const char *volume,
                                            uint32_t flags, iomesh_snapshot_info_fn *each,
                                            void *context);
/** Returns as iomesh_snapshot_show_sync(). Thread: the engine's. Blocks: yes. Since: 0.2. */
IOMESH_API int iomesh_control_snapshot_show(struct iomesh_control *control, const char *name,
                                            uint32_t flags, struct iomesh_snapshot_info *ret_info);

/** Returns as iomesh_group_create_sync(). Thread: the engine's. Blocks: yes. Since: 0.2. */
IOMESH_API int iomesh_control_group_create(struct iomesh_control *control, const char *group,
                                           const char *const *volumes, uint32_t volume_count);
/** Returns as iomesh_group_delete_sync(). Thread: the engine's. Blocks: yes. Since: 0.2. */
IOMESH_API int iomesh_control_group_delete(struct iomesh_control *control, const char *group);
/** Returns as iomesh_group_list_sync(). Thread: the engine's. Blocks: yes. Since: 0.2. */
IOMESH_API int iomesh_control_group_list(struct iomesh_control *control, iomesh_group_info_fn *each,
                                         void *context);

/** Returns as iomesh_volume_clone_sync(). Thread: the engine's. Blocks: yes. Since: 0.2. */
IOMESH_API int iomesh_control_volume_clone(struct iomesh_control *control, const char *source,
                                           const char *name);
/** Returns as iomesh_volume_flatten_sync(). It goes on in the owner if this process ends.
 * Thread: the engine's. Blocks: yes. Since: 0.2. */
IOMESH_API int iomesh_control_volume_flatten(struct iomesh_control *control, const char *name,
                                             iomesh_progress_fn *progress, void *context);

/** Returns as iomesh_import_abandon_sync(). It goes on in the owner if this process ends.
 * Thread: the engine's. Blocks: yes. Since: 0.2. */
IOMESH_API int iomesh_control_import_abandon(struct iomesh_control *control, const char *name,
                                             iomesh_progress_fn *progress, void *context);

/* --- I/O ----------------------------------------------------------------------------------- */

/* Handles that one connection may have, and bytes that one message of it carries. */
#define IOMESH_CONTROL_VOLUMES_MAX 8u
#define IOMESH_CONTROL_IO_BYTES_MAX (1u << 20)

/**
 * Open a volume, or "NAME@SNAP", of the pool that the owner has.
 *
 * The handle is one as iomesh_volume_open() gives it: the calls of <iomesh/io.h>,
 * iomesh_changed(), and those of <iomesh/volume.h> that take a handle work on it, with the same
 * callbacks and the same promises. What it costs: each request is copied through a socket, in
 * messages of at most IOMESH_CONTROL_IO_BYTES_MAX, a few at a time; requests allocate. The size of
 * the volume is that at its opening. Requests may see IOMESH_UNKNOWN besides: the owner went away.
 *
 * Close it before @control. If the connection ends the owner closes it, when what is under way has
 * ended.
 *
 * @options     NULL: read and write
 * @ret_volume  yours until iomesh_volume_close()
 *
 * Returns as iomesh_volume_open_sync(), or -EMFILE: IOMESH_CONTROL_VOLUMES_MAX are open.
 *
 * Thread: the engine's. Blocks: yes. Allocates: yes. Since: 0.2.
 */
IOMESH_API int iomesh_control_volume_open(struct iomesh_control *control, const char *name,
                                          const struct iomesh_volume_options *options,
                                          struct iomesh_volume **ret_volume);
/** Begin an import. The handle is one as above, and iomesh_import_end() works on it too. Returns as
 * iomesh_import_begin_sync(), or -EMFILE. Thread: the engine's. Blocks: yes. Since: 0.2. */
IOMESH_API int iomesh_control_import_begin(struct iomesh_control *control, const char *name,
                                           const struct iomesh_import_options *options,
                                           struct iomesh_volume **ret_volume);

#endif
