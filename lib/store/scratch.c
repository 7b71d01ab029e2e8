/* SPDX-License-Identifier: Apache-2.0 */
#include "store/scratch.h"

#include <stdlib.h>

int scratch_open(struct scratch *scratch, uint32_t count_max)
{
    size_t bytes = (size_t)SCRATCH_BLOCKS * BLOCK_BYTES;
    scratch->count = count_max == 0 ? SCRATCH_MAX : MIN(count_max, SCRATCH_MAX);
    scratch->memory = aligned_alloc(BLOCK_BYTES, scratch->count * bytes);
    if (scratch->memory == NULL)
        return FAIL(-ENOMEM, "reading through gaps: no memory");
    for (uint32_t i = 0; i < scratch->count; i++)
        scratch->free[i] = scratch->memory + (scratch->count - 1 - i) * bytes;
    scratch->free_count = scratch->count;
    return 0;
}

void scratch_close(struct scratch *scratch)
{
    assert(scratch->memory == NULL || scratch->free_count == scratch->count);
    free(scratch->memory);
    scratch->memory = NULL;
}

uint8_t *scratch_get(struct scratch *scratch)
{
    return scratch->free_count > 0 ? scratch->free[--scratch->free_count] : NULL;
}

void scratch_put(struct scratch *scratch, uint8_t *buffer)
{
    assert(scratch->free_count < scratch->count);
    scratch->free[scratch->free_count++] = buffer;
}
