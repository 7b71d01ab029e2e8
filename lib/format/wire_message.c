/* SPDX-License-Identifier: Apache-2.0 */
/* Messages of the wire. Decoding takes from memory that is given: a message cannot take more. */
#include <stdio.h>
#include <string.h>

#include "format/pointer.h"
#include "format/wire.h"
#include "format/wire.pb-c.h"

/* --- Memory of one decoding ----------------------------------------------------------------- */

struct bump {
    uint8_t *memory;
    size_t used, size;
};

static void *bump_alloc(void *context, size_t size)
{
    struct bump *bump = context;
    size_t at = ROUND_UP(bump->used, sizeof(uint64_t));
    if (at > bump->size || size > bump->size - at)
        return NULL;
    bump->used = at + size;
    return bump->memory + at;
}

static void bump_free(void *context, void *pointer)
{
    (void)context;
    (void)pointer;
}

#define BUMP_ALLOCATOR(bump)        \
    {                               \
        bump_alloc, bump_free, bump \
    }

static bool bytes_take(const ProtobufCBinaryData *from, uint8_t to[WIRE_UUID_BYTES])
{
    if (from->len != WIRE_UUID_BYTES)
        return false;
    memcpy(to, from->data, WIRE_UUID_BYTES);
    return true;
}

static ProtobufCBinaryData bytes_lend(const void *bytes, size_t length)
{
    union {
        const void *ours;
        uint8_t *theirs;
    } lent = {.ours = bytes};
    return (ProtobufCBinaryData){.data = lent.theirs, .len = length};
}

/* --- The handshake -------------------------------------------------------------------------- */

/* So much is enough for the largest: three times its bytes. */
#define HANDSHAKE_MEMORY_BYTES 4096u

uint32_t wire_hello_put(uint8_t *to, const struct wire_hello *hello)
{
    Wire__Hello message = WIRE__HELLO__INIT;
    message.version_first = hello->version_first;
    message.version_last = hello->version_last;
    message.features = hello->features;
    message.pool = bytes_lend(hello->pool, sizeof hello->pool);
    message.store = hello->store;
    message.engine = hello->engine;
    message.half = hello->half;
    return (uint32_t)wire__hello__pack(&message, to);
}

int wire_hello_get(const uint8_t *from, uint32_t bytes, struct wire_hello *ret_hello)
{
    uint64_t memory[HANDSHAKE_MEMORY_BYTES / sizeof(uint64_t)];
    struct bump bump = {.memory = (uint8_t *)memory, .size = sizeof memory};
    ProtobufCAllocator allocator = BUMP_ALLOCATOR(&bump);
    const Wire__Hello *message = wire__hello__unpack(&allocator, bytes, from);
    struct wire_hello hello = {0};
    if (message == NULL || !bytes_take(&message->pool, hello.pool) ||
        message->version_first > message->version_last || message->version_first == 0)
        return -EPROTO;
    hello.version_first = message->version_first;
    hello.version_last = message->version_last;
    hello.features = message->features;
    hello.store = message->store;
    hello.engine = message->engine;
    hello.half = message->half;
    *ret_hello = hello;
    return 0;
}

uint32_t wire_welcome_put(uint8_t *to, const struct wire_welcome *welcome)
{
    Wire__Welcome message = WIRE__WELCOME__INIT;
    message.version = welcome->version;
    message.features = welcome->features;
    message.pool = bytes_lend(welcome->pool, sizeof welcome->pool);
    message.store = welcome->store;
    message.session = welcome->session;
    message.incarnation = welcome->incarnation;
    message.boot_id = bytes_lend(welcome->boot_id, sizeof welcome->boot_id);
    message.requests_max = welcome->requests_max;
    message.bytes_max = welcome->bytes_max;
    message.room_blocks = welcome->room_blocks;
    return (uint32_t)wire__welcome__pack(&message, to);
}

int wire_welcome_get(const uint8_t *from, uint32_t bytes, struct wire_welcome *ret_welcome)
{
    uint64_t memory[HANDSHAKE_MEMORY_BYTES / sizeof(uint64_t)];
    struct bump bump = {.memory = (uint8_t *)memory, .size = sizeof memory};
    ProtobufCAllocator allocator = BUMP_ALLOCATOR(&bump);
    const Wire__Welcome *message = wire__welcome__unpack(&allocator, bytes, from);
    struct wire_welcome welcome = {0};
    if (message == NULL || !bytes_take(&message->pool, welcome.pool) ||
        !bytes_take(&message->boot_id, welcome.boot_id) || message->version == 0 ||
        message->requests_max == 0)
        return -EPROTO;
    welcome.version = message->version;
    welcome.features = message->features;
    welcome.store = message->store;
    welcome.session = message->session;
    welcome.incarnation = message->incarnation;
    welcome.requests_max = message->requests_max;
    welcome.bytes_max = message->bytes_max;
    welcome.room_blocks = message->room_blocks;
    *ret_welcome = welcome;
    return 0;
}

uint32_t wire_refused_put(uint8_t *to, const struct wire_refused *refused)
{
    Wire__Refused message = WIRE__REFUSED__INIT;
    union {
        const char *ours;
        char *theirs;
    } lent = {.ours = refused->sentence};
    message.code = refused->code;
    message.version_first = refused->version_first;
    message.version_last = refused->version_last;
    message.sentence = lent.theirs;
    return (uint32_t)wire__refused__pack(&message, to);
}

int wire_refused_get(const uint8_t *from, uint32_t bytes, struct wire_refused *ret_refused)
{
    uint64_t memory[HANDSHAKE_MEMORY_BYTES / sizeof(uint64_t)];
    struct bump bump = {.memory = (uint8_t *)memory, .size = sizeof memory};
    ProtobufCAllocator allocator = BUMP_ALLOCATOR(&bump);
    const Wire__Refused *message = wire__refused__unpack(&allocator, bytes, from);
    if (message == NULL || message->code >= 0)
        return -EPROTO;
    struct wire_refused refused = {.code = message->code,
                                   .version_first = message->version_first,
                                   .version_last = message->version_last};
    (void)snprintf(refused.sentence, sizeof refused.sentence, "%s", message->sentence);
    /* It is shown to people: nothing that moves their cursor. */
    for (char *at = refused.sentence; *at != '\0'; at++)
        if ((uint8_t)*at < 0x20 || *at == 0x7f)
            *at = '?';
    *ret_refused = refused;
    return 0;
}

/* --- Requests ------------------------------------------------------------------------------- */

uint32_t wire_control_put(uint8_t *to, const struct wire_control *control)
{
    Wire__Control message = WIRE__CONTROL__INIT;
    union {
        const uint32_t *ours;
        uint32_t *theirs;
    } runs = {.ours = control->runs};
    union {
        const uint64_t *ours;
        uint64_t *theirs;
    } cuts = {.ours = control->cuts};
    if (control->run_count > WIRE_RUNS_MAX || control->cut_count > WIRE_CUTS_MAX)
        return 0;
    message.role = control->role;
    message.n_runs = (size_t)control->run_count * 2;
    message.runs = runs.theirs;
    message.n_cuts = control->cut_count;
    message.cuts = cuts.theirs;
    if (control->key != NULL)
        message.key = bytes_lend(control->key, strlen(control->key));
    message.data_crc = control->data_crc;
    if (message.key.len > WIRE_KEY_BYTES_MAX ||
        wire__control__get_packed_size(&message) > WIRE_ASIDE_BYTES_MAX)
        return 0;
    return (uint32_t)wire__control__pack(&message, to);
}

static bool control_cuts_grow(const Wire__Control *message)
{
    uint64_t before = 0;
    for (size_t i = 0; i < message->n_cuts; i++) {
        if (message->cuts[i] <= before || message->cuts[i] > SEQUENCE_MAX)
            return false;
        before = message->cuts[i];
    }
    return true;
}

int wire_control_get(const uint8_t *from, uint32_t bytes, void *memory, uint32_t memory_bytes,
                     struct wire_control *ret_control)
{
    struct bump bump = {.memory = memory, .size = memory_bytes};
    ProtobufCAllocator allocator = BUMP_ALLOCATOR(&bump);
    const Wire__Control *message = wire__control__unpack(&allocator, bytes, from);
    if (message == NULL || message->base.n_unknown_fields > 0 || message->role > 2 ||
        message->n_runs % 2 != 0 || message->n_runs / 2 > WIRE_RUNS_MAX ||
        message->n_cuts > WIRE_CUTS_MAX || message->key.len > WIRE_KEY_BYTES_MAX ||
        !control_cuts_grow(message))
        return -EPROTO;
    struct wire_control control = {
        .role = message->role,
        .runs = message->runs,
        .run_count = (uint32_t)(message->n_runs / 2),
        .cuts = message->cuts,
        .cut_count = (uint32_t)message->n_cuts,
        .data_crc = message->data_crc,
    };
    if (message->key.len > 0) {
        char *key = bump_alloc(&bump, message->key.len + 1);
        if (key == NULL || memchr(message->key.data, 0, message->key.len) != NULL)
            return -EPROTO;
        memcpy(key, message->key.data, message->key.len);
        key[message->key.len] = '\0';
        control.key = key;
    }
    *ret_control = control;
    return 0;
}
