/* SPDX-License-Identifier: Apache-2.0 */
/* Taking away what views have, one MiB at a time: for deletions and for replay. */
#ifndef STORE_VIEW_DROP_H
#define STORE_VIEW_DROP_H

#include "store/internal.h"

/* One MiB of one view, or of all. Its paths are closed and initialised, its own between two calls.
 */
struct view_drop {
    struct tree_path *path, *beside;
    uint64_t volume;
    uint32_t mebibyte;
    bool all; /* The head is gone, and all views go with it, the newest first. */
    uint64_t cut, previous;
    bool gives_up; /* A page on the way did not match its checksum. */
};

/*
 * 0: nothing of it is left; -EINPROGRESS: call again (what was freed has been handed on); -EAGAIN
 * and errors as of the tree. A page that does not match its checksum does not tell any more what is
 * beneath it: it goes, and what it showed is lost, which pool check tells.
 */
int store_view_drop_step(struct store *store, struct view_drop *drop);

/* --- Many of them ---------------------------------------------------------------------------- */

/* Of a volume whose deletion has dropped its head: every view. `done` when all of it is applied;
 * *ret_batch is then that of the last record. 0, or -ENOMEM. */
int store_drop_all_views(struct store *store, uint64_t volume, uint64_t *ret_batch,
                         store_done_fn *done, void *context);

#endif
