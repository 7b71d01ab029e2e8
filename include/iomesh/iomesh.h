/* SPDX-License-Identifier: Apache-2.0 */
/*
 * libiomesh: block volumes from disks, in your process.
 *
 *   engine   one thread that turns a crank: yours (your own loop, or the synchronous calls)
 *   pool     disks and the metadata of what is on them: "file:DIR"
 *   volume   an array of 4 KiB blocks in a pool, found by its name; what it held at a moment
 *            is a snapshot, "NAME@SNAP"
 *
 * Rules that hold everywhere:
 *   - A call answers 0 or more, or a negative code: an errno where POSIX has the word, else one
 *     of <iomesh/errors.h>. iomesh_last_error() has the sentence.
 *   - Accepted means that `done` runs exactly once; refused means never. `done` always runs from
 *     iomesh_turn(), never inside the call that asked for it, and may call anything but the
 *     calls that wait (…_sync, iomesh_wait, iomesh_turn): those answer -EDEADLK there.
 *   - An engine, and all that was opened on it, belongs to the thread that opened it: only
 *     iomesh_post() may be called from others.
 *   - Options begin with their size: begin with the _INIT macro. 0 in a field means the default.
 *   - Sizes and offsets are bytes, times are nanoseconds.
 *
 * <iomesh/...> is a promise for a major version; <iomesh/sys/...> for a minor one.
 */
#ifndef IOMESH_IOMESH_H
#define IOMESH_IOMESH_H

#include <iomesh/engine.h>
#include <iomesh/errors.h>
#include <iomesh/event.h>
#include <iomesh/io.h>
#include <iomesh/pool.h>
#include <iomesh/snapshot.h>
#include <iomesh/stat.h>
#include <iomesh/store.h>
#include <iomesh/version.h>
#include <iomesh/volume.h>

#endif
