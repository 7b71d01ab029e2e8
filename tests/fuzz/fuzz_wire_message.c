/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Any bytes in: an error, or a message that encodes, and decodes to what encodes to the same. Byte
 * 0 says which; the elements of an aside are looked at too.
 */
#include <stdlib.h>
#include <string.h>

#include "format/wire.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static uint8_t once[WIRE_ASIDE_BYTES_MAX], twice[WIRE_ASIDE_BYTES_MAX];
static uint64_t memory[WIRE_CONTROL_MEMORY_BYTES / 8], other[WIRE_CONTROL_MEMORY_BYTES / 8];

static void check(int truth)
{
    if (!truth)
        abort();
}

#define ROUND(what)                                        \
    do {                                                   \
        struct wire_##what value, back;                    \
        if (wire_##what##_get(bytes, length, &value) != 0) \
            return;                                        \
        uint32_t count = wire_##what##_put(once, &value);  \
        check(wire_##what##_get(once, count, &back) == 0); \
        check(wire_##what##_put(twice, &back) == count);   \
        check(memcmp(once, twice, count) == 0);            \
    } while (0)

static void round_hello(const uint8_t *bytes, uint32_t length)
{
    ROUND(hello);
}

static void round_welcome(const uint8_t *bytes, uint32_t length)
{
    ROUND(welcome);
}

static void round_refused(const uint8_t *bytes, uint32_t length)
{
    ROUND(refused);
}

static void round_control(const uint8_t *bytes, uint32_t length)
{
    struct wire_control value, back;
    if (wire_control_get(bytes, length, memory, sizeof memory, &value) != 0)
        return;
    uint32_t count = wire_control_put(once, &value);
    if (count == 0)
        return;
    check(wire_control_get(once, count, other, sizeof other, &back) == 0);
    check(wire_control_put(twice, &back) == count);
    check(memcmp(once, twice, count) == 0);
}

static void round_elements(const uint8_t *bytes, uint32_t length)
{
    struct wire_version versions[WIRE_BLOCKS_MAX];
    uint32_t count = length / WIRE_VERSION_BYTES;
    count = count < WIRE_BLOCKS_MAX ? count : WIRE_BLOCKS_MAX;
    if (wire_versions_get(bytes, count, versions) == 0) {
        wire_versions_put(once, versions, count);
        check(memcmp(once, bytes, (size_t)count * WIRE_VERSION_BYTES) == 0);
    }
    struct wire_state state;
    if (length >= WIRE_STATE_BYTES && wire_state_get(bytes, &state) == 0) {
        wire_state_put(once, &state);
        check(memcmp(once, bytes, WIRE_STATE_BYTES) == 0);
    }
    count = length / 8 < WIRE_CUTS_MAX ? length / 8 : WIRE_CUTS_MAX;
    if (wire_cuts_get(bytes, count, memory) == 0) {
        wire_cuts_put(once, memory, count);
        check(memcmp(once, bytes, (size_t)count * 8) == 0);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0 || size - 1 > WIRE_ASIDE_BYTES_MAX)
        return 0;
    uint32_t length = (uint32_t)size - 1;
    switch (data[0] % 5) {
    case 0: round_hello(data + 1, length < WIRE_MESSAGE_BYTES_MAX ? length : 0); break;
    case 1: round_welcome(data + 1, length < WIRE_MESSAGE_BYTES_MAX ? length : 0); break;
    case 2: round_refused(data + 1, length < WIRE_MESSAGE_BYTES_MAX ? length : 0); break;
    case 3: round_control(data + 1, length); break;
    default: round_elements(data + 1, length); break;
    }
    return 0;
}
