/* SPDX-License-Identifier: Apache-2.0 */
#include "store/verify.h"

#include <stdlib.h>

#include "codec/codec.h"

int verify_open(struct verify *verify, struct store *store)
{
    verify->store = store;
    verify->buffers = aligned_alloc(BLOCK_BYTES, (size_t)VERIFY_SLOTS * BLOCK_BYTES);
    if (verify->buffers == NULL)
        return FAIL(-ENOMEM, "reading every block: no memory");
    for (unsigned i = 0; i < VERIFY_SLOTS; i++) {
        verify->slots[i].verify = verify;
        verify->slots[i].data = verify->buffers + (size_t)i * BLOCK_BYTES;
    }
    return 0;
}

void verify_close(struct verify *verify)
{
    assert(verify->busy == 0);
    free(verify->buffers);
    verify->buffers = NULL;
}

static void verify_read(struct device_io *io, int result)
{
    struct verify_slot *slot = CONTAINER_OF(io, struct verify_slot, io);
    struct verify *verify = slot->verify;
    slot->busy = false;
    verify->busy--;
    verify->blocks++;
    space_read_leave(verify->store->space, slot->ticket);
    if (result == 0 && crc32c(slot->data, BLOCK_BYTES) != slot->pointer.crc)
        result = IOMESH_CORRUPT;
    if (result != 0)
        verify->bad(verify, slot, result);
    verify->room(verify);
}

void verify_submit(struct verify *verify, const struct tree_visit *visit)
{
    struct verify_slot *slot = verify->slots;
    while (slot->busy)
        slot++;
    assert(slot < verify->slots + VERIFY_SLOTS);
    slot->busy = true;
    slot->key = visit->key;
    slot->block = visit->block;
    slot->pointer = visit->pointer;
    slot->ticket = space_read_enter(verify->store->space);
    verify->busy++;
    device_submit(&verify->store->devices, &slot->io, DISK_READ, visit->pointer.place, 1,
                  slot->data, verify_read);
}
