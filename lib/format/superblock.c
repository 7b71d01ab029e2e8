/* SPDX-License-Identifier: Apache-2.0 */
#include "format/superblock.h"

#include <string.h>

#include "codec/codec.h"

#define LABEL_MAGIC 0x56444d49u      /* "IMDV" */
#define SUPERBLOCK_MAGIC 0x42534d49u /* "IMSB" */
#define FLAG_CLEAN 1u
#define FLAG_SCRUB_RUNS 2u
#define FLAG_PARTS 4u
#define SCRUB_AT 152u
#define BOOT_AT 216u
#define POOL_AT 236u
#define DEVICES_AT 512u
#define DEVICE_STRIDE 40u

uint64_t superblock_block(uint64_t generation, unsigned copy)
{
    assert(copy < 2);
    return 8 + 8 * (generation % 2) + 16 * (uint64_t)copy;
}

/* Magic before sum: a foreign device is named as such, not as damage. */
static int block_decode(const uint8_t from[BLOCK_BYTES], uint32_t magic, uint32_t *ret_version)
{
    if (get32(from + 4) != magic)
        return IOMESH_FORMAT;
    if (get32(from) != crc32c(from + 4, BLOCK_BYTES - 4))
        return IOMESH_CORRUPT;
    *ret_version = get32(from + 8);
    bool known = *ret_version >= STORE_FORMAT_OLDEST && *ret_version <= STORE_FORMAT;
    return known ? 0 : IOMESH_FORMAT;
}

void label_encode(uint8_t to[BLOCK_BYTES], const struct label *label)
{
    assert(label->index < SUPERBLOCK_DEVICES_MAX && label->class < 3);
    memset(to, 0, BLOCK_BYTES);
    put32(to + 4, LABEL_MAGIC);
    put32(to + 8, label->version);
    put32(to + 12, label->index);
    memcpy(to + 16, label->store_uuid, STORE_UUID_BYTES);
    memcpy(to + 32, label->device_uuid, STORE_UUID_BYTES);
    put64(to + 48, label->base);
    put64(to + 56, label->blocks);
    put32(to + 64, label->class);
    put32(to, crc32c(to + 4, BLOCK_BYTES - 4));
}

int label_decode(const uint8_t from[BLOCK_BYTES], struct label *ret_label)
{
    ret_label->version = 0;
    int error = block_decode(from, LABEL_MAGIC, &ret_label->version);
    if (error != 0)
        return error;
    ret_label->index = get32(from + 12);
    memcpy(ret_label->store_uuid, from + 16, STORE_UUID_BYTES);
    memcpy(ret_label->device_uuid, from + 32, STORE_UUID_BYTES);
    ret_label->base = get64(from + 48);
    ret_label->blocks = get64(from + 56);
    ret_label->class = get32(from + 64);
    bool sane = ret_label->index < SUPERBLOCK_DEVICES_MAX && ret_label->class < 3 &&
                ret_label->base <= PLACE_MAX && ret_label->blocks <= PLACE_MAX;
    return sane ? 0 : IOMESH_CORRUPT;
}

static void device_encode(uint8_t *to, const struct superblock_device *device)
{
    memcpy(to, device->uuid, STORE_UUID_BYTES);
    put64(to + 16, device->base);
    put64(to + 24, device->blocks);
    put32(to + 32, device->class);
}

static int device_decode(const uint8_t *from, struct superblock_device *ret_device)
{
    memcpy(ret_device->uuid, from, STORE_UUID_BYTES);
    ret_device->base = get64(from + 16);
    ret_device->blocks = get64(from + 24);
    ret_device->class = get32(from + 32);
    bool sane =
        ret_device->class < 3 && ret_device->base <= PLACE_MAX && ret_device->blocks <= PLACE_MAX;
    return sane ? 0 : IOMESH_CORRUPT;
}

static void scrub_encode(uint8_t *to, const struct superblock_scrub *scrub)
{
    put64(to, scrub->ended_ns);
    put64(to + 8, scrub->ended_blocks);
    put64(to + 16, scrub->ended_faults);
    put64(to + 24, scrub->blocks);
    put64(to + 32, scrub->faults);
    put64(to + 40, scrub->key.volume);
    put64(to + 48, scrub->key.view);
    put32(to + 56, scrub->key.segment);
    put32(to + 60, scrub->block);
}

static struct superblock_scrub scrub_decode(const uint8_t *from)
{
    return (struct superblock_scrub){
        .ended_ns = get64(from),
        .ended_blocks = get64(from + 8),
        .ended_faults = get64(from + 16),
        .blocks = get64(from + 24),
        .faults = get64(from + 32),
        .key = {.volume = get64(from + 40), .view = get64(from + 48), .segment = get32(from + 56)},
        .block = get32(from + 60),
    };
}

void superblock_encode(uint8_t to[BLOCK_BYTES], const struct superblock *superblock)
{
    assert(superblock->device_count >= 1 && superblock->device_count <= SUPERBLOCK_DEVICES_MAX);
    memset(to, 0, BLOCK_BYTES);
    put32(to + 4, SUPERBLOCK_MAGIC);
    put32(to + 8, superblock->version);
    put32(to + 12, (superblock->clean ? FLAG_CLEAN : 0) |
                       (superblock->scrub.running ? FLAG_SCRUB_RUNS : 0) |
                       (superblock->parts ? FLAG_PARTS : 0));
    memcpy(to + 16, superblock->uuid, STORE_UUID_BYTES);
    put64(to + 32, superblock->generation);
    put64(to + 40, superblock->incarnation);
    put64(to + 48, superblock->journal_place);
    put64(to + 56, superblock->journal_blocks);
    put64(to + 64, superblock->replay_batch);
    put64(to + 72, superblock->replay_block);
    pointer_put(to + 80, &superblock->table);
    pointer_put(to + 96, &superblock->index);
    put64(to + 112, superblock->deferred_place);
    put32(to + 120, superblock->deferred_crc);
    put32(to + 124, superblock->batch_blocks_max);
    put64(to + 128, superblock->reserve_blocks);
    put64(to + 136, superblock->pages_used);
    put32(to + 144, superblock->device_count);
    scrub_encode(to + SCRUB_AT, &superblock->scrub);
    memcpy(to + BOOT_AT, superblock->boot_id, sizeof superblock->boot_id);
    put32(to + BOOT_AT + 16, superblock->boot);
    memcpy(to + POOL_AT, superblock->pool_uuid, sizeof superblock->pool_uuid);
    for (uint32_t i = 0; i < superblock->device_count; i++)
        device_encode(to + DEVICES_AT + i * DEVICE_STRIDE, &superblock->devices[i]);
    put32(to, crc32c(to + 4, BLOCK_BYTES - 4));
}

static int superblock_sane(const struct superblock *superblock)
{
    bool sane = superblock->device_count >= 1 &&
                superblock->device_count <= SUPERBLOCK_DEVICES_MAX &&
                superblock->journal_place <= PLACE_MAX && superblock->journal_blocks <= PLACE_MAX &&
                superblock->replay_block < superblock->journal_blocks &&
                superblock->replay_batch >= 1 && superblock->deferred_place <= PLACE_MAX &&
                superblock->batch_blocks_max >= 2 && superblock->batch_blocks_max <= 64 &&
                superblock->journal_blocks / 4 >= superblock->batch_blocks_max;
    return sane ? 0 : IOMESH_CORRUPT;
}

int superblock_decode(const uint8_t from[BLOCK_BYTES], struct superblock *ret_superblock)
{
    ret_superblock->version = 0;
    int error = block_decode(from, SUPERBLOCK_MAGIC, &ret_superblock->version);
    if (error != 0)
        return error;
    ret_superblock->clean = (get32(from + 12) & FLAG_CLEAN) != 0;
    ret_superblock->parts = (get32(from + 12) & FLAG_PARTS) != 0;
    memcpy(ret_superblock->uuid, from + 16, STORE_UUID_BYTES);
    ret_superblock->generation = get64(from + 32);
    ret_superblock->incarnation = get64(from + 40);
    ret_superblock->journal_place = get64(from + 48);
    ret_superblock->journal_blocks = get64(from + 56);
    ret_superblock->replay_batch = get64(from + 64);
    ret_superblock->replay_block = get64(from + 72);
    if (pointer_get(from + 80, &ret_superblock->table) != 0 ||
        pointer_get(from + 96, &ret_superblock->index) != 0)
        return IOMESH_CORRUPT;
    ret_superblock->deferred_place = get64(from + 112);
    ret_superblock->deferred_crc = get32(from + 120);
    ret_superblock->batch_blocks_max = get32(from + 124);
    ret_superblock->reserve_blocks = get64(from + 128);
    ret_superblock->pages_used = get64(from + 136);
    ret_superblock->device_count = get32(from + 144);
    ret_superblock->scrub = scrub_decode(from + SCRUB_AT);
    memcpy(ret_superblock->boot_id, from + BOOT_AT, sizeof ret_superblock->boot_id);
    ret_superblock->boot = get32(from + BOOT_AT + 16);
    memcpy(ret_superblock->pool_uuid, from + POOL_AT, sizeof ret_superblock->pool_uuid);
    ret_superblock->scrub.running = (get32(from + 12) & FLAG_SCRUB_RUNS) != 0;
    error = superblock_sane(ret_superblock);
    for (uint32_t i = 0; error == 0 && i < ret_superblock->device_count; i++)
        error = device_decode(from + DEVICES_AT + i * DEVICE_STRIDE, &ret_superblock->devices[i]);
    return error;
}
