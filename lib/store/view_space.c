/* SPDX-License-Identifier: Apache-2.0 */
/* How much the views of a volume hold. */
#include "store/internal.h"

int store_view_space(struct store *store, uint64_t volume, struct store_view_space *views,
                     uint32_t count, store_done_fn *done, void *context)
{
    (void)store, (void)views, (void)count, (void)done, (void)context;
    return FAIL(-ENOTSUP, "volume %llu: the space of views is not counted by this version",
                (unsigned long long)volume);
}
