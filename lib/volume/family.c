/* SPDX-License-Identifier: Apache-2.0 */
/* What fills the holes of a clone. */
#include <stdlib.h>
#include <string.h>

#include "volume/inside.h"

int family_make(const struct volume_parent *parents, uint32_t count, struct family **ret_family)
{
    *ret_family = NULL;
    if (count == 0)
        return 0;
    assert(count <= VOLUME_PARENTS_MAX);
    size_t bytes = count * sizeof *parents;
    struct family *family = malloc(sizeof *family + bytes);
    if (family == NULL)
        return FAIL(-ENOMEM, "the family of a volume: no memory");
    family->references = 1;
    family->retired = NULL;
    family->count = count;
    memcpy(family->parents, parents, bytes);
    *ret_family = family;
    return 0;
}

struct family *family_keep(struct family *family)
{
    if (family != NULL)
        family->references++;
    return family;
}

void family_drop(struct family *family)
{
    if (family == NULL || --family->references > 0)
        return;
    if (family->retired != NULL)
        (*family->retired)--;
    free(family);
}

/* The blocks that are holes so far, of those that were asked for. False: none. */
static bool family_holes(const struct store_op *op, uint8_t only[BLOCK_SET_BYTES])
{
    bool any = false;
    for (uint32_t i = 0; i < op->count; i++) {
        bool asked = op->only == NULL || block_set_has(op->only, i);
        bool hole = asked && op->kinds[i] == POINTER_HOLE;
        block_set_put(only, i, hole);
        any = any || hole;
    }
    return any;
}

bool family_next(const struct family *family, uint32_t *level, struct store_op *op,
                 uint8_t only[BLOCK_SET_BYTES])
{
    if (family == NULL || *level == (MUTANT(132) ? 1 : family->count))
        return false;
    if (!family_holes(op, only))
        return false;
    const struct volume_parent *parent = &family->parents[(*level)++];
    op->volume = parent->volume;
    op->view = parent->view;
    op->only = only;
    return true;
}
