/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Asking the process that owns a pool.
 *
 * Promised for a minor version only. An embedded pool belongs to one process; the library serves
 * DIR/control.sock there, for the same user and root. These calls do through it what the calls of
 * <iomesh/volume.h> and <iomesh/stat.h> do in the owner's process, with the same results and the
 * same sentences; and besides
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

#endif
