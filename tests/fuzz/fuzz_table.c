/* SPDX-License-Identifier: Apache-2.0 */
/* Any bytes in: an error, or a node that encodes back to the same bytes. */
#include <stdlib.h>
#include <string.h>

#include "format/table.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint8_t bytes[BLOCK_BYTES] = {0};
    memcpy(bytes, data, size < sizeof bytes ? size : sizeof bytes);
    struct table_node node;
    if (table_decode(bytes, &node) != 0)
        return 0;
    struct table_entry entries[TABLE_ENTRIES];
    for (unsigned i = 0; i < node.count; i++)
        entries[i] = table_entry(&node, i);
    uint8_t again[BLOCK_BYTES];
    table_encode(again, node.level, entries, node.count);
    if (memcmp(again, bytes, sizeof bytes) != 0)
        abort();
    if (table_search(&node, &entries[node.count / 2].key) != node.count / 2)
        abort();
    return 0;
}
