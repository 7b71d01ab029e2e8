/* SPDX-License-Identifier: Apache-2.0 */
/* Volumes are opened, used a while, and closed; what is read must be what may be there. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sim/keeper_life.h"

void life_client_forget(struct life_client *client)
{
    *client = (struct life_client){0};
}

static struct life_user *user_of(struct life_client *client)
{
    return CONTAINER_OF(client, struct life_user, client);
}

static void closed(void *context, int result)
{
    (void)result;
    life_client_forget(context);
}

static void close_it(struct life_client *client)
{
    client->closing = true;
    catalog_handle_close(client->handle, closed, client);
}

/* --- Judging ---------------------------------------------------------------------------------- */

static bool may_be(const struct life_client *client, const struct life_register *of, uint32_t value)
{
    if (value == 0 && (client->log_at == 0 || of->acked_count == 0))
        return true;
    for (uint32_t i = client->log_at == 0 ? 0 : client->log_at - 1; i < of->acked_count; i++) {
        if (of->acked[i] == value)
            return true;
    }
    for (uint32_t i = 0; i < of->doubt_count; i++) {
        if (of->doubts[i] == value)
            return true;
    }
    return false;
}

static void value_acked(struct life_register *of, uint32_t value)
{
    if (of->acked_count < LIFE_LOG)
        of->acked[of->acked_count++] = value;
    for (uint32_t i = 0; i < of->doubt_count; i++) {
        if (of->doubts[i] == value)
            of->doubts[i] = of->doubts[--of->doubt_count];
    }
}

static void io_done(struct volume_io *io, int result)
{
    struct life_client *client = CONTAINER_OF(io, struct life_client, io);
    struct life_user *user = user_of(client);
    struct life *life = user->life;
    struct life_register *of = &life->registers[client->volume][client->at];
    client->busy = false;
    if (result == IOMESH_FENCED) {
        life->counts.fenced++;
        client->left = 0;
        return;
    }
    if (result != 0) {
        (void)life_wrong(life, "user %u: volume %u: %s", user->number, client->volume + 1,
                         base_error_text(result));
        return;
    }
    if (!client->reads) {
        life->counts.writes++;
        value_acked(of, client->value);
        return;
    }
    uint32_t value;
    memcpy(&value, client->data, sizeof value);
    life->counts.reads++;
    if (!may_be(client, of, value))
        (void)life_wrong(life, "user %u: volume %u, register %u: %u was read, and was not there",
                         user->number, client->volume + 1, client->at, value);
}

static uint64_t register_offset(uint32_t at)
{
    return (at % 2) * LIFE_SEGMENT + at * 3ull * BLOCK_BYTES;
}

static void ask(struct life_client *client)
{
    struct life *life = user_of(client)->life;
    client->at = (uint32_t)prng_below(&life->prng, LIFE_REGISTERS);
    struct life_register *of = &life->registers[client->volume][client->at];
    client->reads = prng_one_in(&life->prng, 2) || of->doubt_count + 1 >= LIFE_LOG ||
                    of->acked_count + 1 >= LIFE_LOG || life->calm;
    client->log_at = of->acked_count;
    client->busy = true;
    client->left--;
    if (client->data == NULL)
        client->data = aligned_alloc(BLOCK_BYTES, BLOCK_BYTES);
    assert(client->data != NULL);
    if (!client->reads) {
        client->value = ++life->value;
        memcpy(client->data, &client->value, sizeof client->value);
        of->doubts[of->doubt_count++] = client->value;
    }
    client->io = (struct volume_io){
        .kind = client->reads ? VOLUME_READ : VOLUME_WRITE,
        .offset = register_offset(client->at),
        .length = BLOCK_BYTES,
        .data = client->data,
        .done = io_done,
    };
    volume_submit(catalog_handle_volume(client->handle), &client->io);
}

/* --- What is there from the beginning --------------------------------------------------------- */

static void filled(struct volume_io *io, int result)
{
    struct life_client *client = CONTAINER_OF(io, struct life_client, io);
    client->busy = false;
    if (result != 0)
        (void)life_wrong(user_of(client)->life, "filling: %s", base_error_text(result));
}

static void fill_one(struct life_client *client, struct volume *volume)
{
    struct life *life = user_of(client)->life;
    client->busy = true;
    volume_submit(volume, &client->io);
    while (client->busy && life->wrong[0] == '\0')
        life_step(life, life->worlds.now_ns + NS_PER_S);
}

void life_client_fill(struct life_user *user, struct catalog_handle *handle, unsigned volume)
{
    struct life_client *client = &user->client;
    uint8_t *data = aligned_alloc(BLOCK_BYTES, BLOCK_BYTES);
    assert(data != NULL);
    for (uint32_t at = 0; at < LIFE_REGISTERS; at++) {
        struct life_register *of = &user->life->registers[volume][at];
        uint32_t value = ++user->life->value;
        memset(data, 0, BLOCK_BYTES);
        memcpy(data, &value, sizeof value);
        client->io = (struct volume_io){.kind = VOLUME_WRITE,
                                        .offset = register_offset(at),
                                        .length = BLOCK_BYTES,
                                        .data = data,
                                        .done = filled};
        fill_one(client, catalog_handle_volume(handle));
        of->acked[of->acked_count++] = value;
    }
    client->io = (struct volume_io){.kind = VOLUME_FLUSH, .done = filled};
    fill_one(client, catalog_handle_volume(handle));
    free(data);
    life_client_forget(client);
}

/* --- Opening ---------------------------------------------------------------------------------- */

static void opened(void *context, int result, struct catalog_handle *handle)
{
    struct life_client *client = context;
    struct life_user *user = user_of(client);
    struct life *life = user->life;
    client->opening = false;
    client->handle = handle;
    if (result == -EBUSY) {
        life->counts.refused++;
        uint64_t since_ns = life->taken_ns[client->volume + 1];
        if (life->yields[client->volume + 1] && since_ns + NS_PER_S < client->asked_ns)
            (void)life_wrong(life, "user %u: volume %u was refused, and the keeper has it",
                             user->number, client->volume + 1);
        life_client_forget(client);
    } else if (result != 0) {
        life_client_forget(client);
    } else {
        life->counts.opened++;
        client->left = 1 + (uint32_t)prng_below(&life->prng, 40);
    }
}

static void open_one(struct life_user *user)
{
    struct life *life = user->life;
    struct life_client *client = &user->client;
    char name[8];
    client->volume = (unsigned)prng_below(&life->prng, LIFE_VOLUMES);
    client->asked_ns = life->worlds.now_ns;
    client->opening = true;
    (void)snprintf(name, sizeof name, "v%u", client->volume + 1);
    if (catalog_handle_open(user->catalog, name, false, opened, client) != 0)
        life_client_forget(client);
}

void life_client_turn(struct life_user *user)
{
    struct life *life = user->life;
    struct life_client *client = &user->client;
    if (client->opening || client->closing || client->busy || !life->began)
        return;
    if (client->handle == NULL) {
        bool seldom = user->number < LIFE_KEEPERS;
        if (!life->calm && prng_one_in(&life->prng, seldom ? 400 : 100))
            open_one(user);
    } else if (client->left == 0 || life->calm) {
        close_it(client);
    } else if (prng_one_in(&life->prng, 4)) {
        ask(client);
    }
}
