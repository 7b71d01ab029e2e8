/* SPDX-License-Identifier: Apache-2.0 */
/* What changed since a sequence, map page by map page. */
#include "store/internal.h"

void store_changed_step(struct store_op *op)
{
    store_op_finish(op, -ENOTSUP);
}
