/* SPDX-License-Identifier: Apache-2.0 */
/* Deleting what only some views of a volume show, in the background. */
#include "store/internal.h"

int store_delete_views(struct store *store, uint64_t volume, uint64_t first, uint64_t last,
                       uint64_t previous, store_done_fn *done, void *context)
{
    (void)store, (void)first, (void)last, (void)previous, (void)done, (void)context;
    return FAIL(-ENOTSUP, "volume %llu: views are not deleted by this version",
                (unsigned long long)volume);
}
