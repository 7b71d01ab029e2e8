/* SPDX-License-Identifier: Apache-2.0 */
#include "model.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void *must(void *memory)
{
    if (memory == NULL) {
        fprintf(stderr, "verify: no memory\n");
        abort();
    }
    return memory;
}

void model_init(struct model *model, uint64_t session, uint64_t block_count, uint64_t extent_stride)
{
    *model = (struct model){
        .session = session,
        .extent_stride = extent_stride,
        .block_count = block_count,
        .atomic_bytes = BLOCK_BYTES,
        .blocks = must(calloc(block_count, sizeof(struct block))),
    };
    for (uint64_t i = 0; i < block_count; i++) {
        struct block *block = &model->blocks[i];
        block->versions = must(calloc(1, sizeof(struct version)));
        block->versions[0].durable = 1;
        block->count = block->room = 1;
    }
}

void model_done(struct model *model)
{
    for (uint64_t i = 0; i < model->block_count; i++)
        free(model->blocks[i].versions);
    free(model->blocks);
}

uint64_t model_offset(const struct model *model, uint64_t block)
{
    return block / EXTENT_BLOCKS * model->extent_stride + block % EXTENT_BLOCKS * BLOCK_BYTES;
}

/* The index of the oldest version that @block may show. */
static uint32_t oldest_legal(const struct model *model, const struct block *block,
                             enum model_mode mode)
{
    for (uint32_t i = block->count - 1; i > 0; i--) {
        const struct version *version = &block->versions[i];
        if (version->durable)
            return i;
        if (mode == MODEL_RUNNING && (version->acknowledged || version->write == block->seen))
            return i;
        if (version->acknowledged && version->acknowledged <= model->flushed)
            return i;
    }
    return 0;
}

static struct version *append(struct model *model, struct block *block)
{
    uint32_t dead = block->readers == 0 ? oldest_legal(model, block, MODEL_POWER_CUT) : 0;
    if (dead > 0) {
        block->count -= dead;
        memmove(block->versions, block->versions + dead, block->count * sizeof *block->versions);
    }
    if (block->count == block->room) {
        block->room = block->room * 2 + 2;
        block->versions = must(realloc(block->versions, block->room * sizeof *block->versions));
    }
    return &block->versions[block->count++];
}

void model_write(struct model *model, uint64_t index, unsigned first, unsigned last, uint64_t write,
                 uint64_t sequence)
{
    struct block *block = &model->blocks[index];
    struct version version = block->versions[block->count - 1]; /* What lies around it stays. */

    version.write = write;
    version.acknowledged = 0;
    version.durable = 0;
    for (unsigned i = first; i < last; i++)
        version.sectors[i] = sequence;
    *append(model, block) = version;
    block->writing = true;
}

void model_acknowledge(struct model *model, uint64_t index, uint64_t order, bool fua)
{
    struct block *block = &model->blocks[index];
    struct version *version = &block->versions[block->count - 1];

    version->acknowledged = order;
    version->durable = fua;
    block->writing = false;
}

uint64_t model_floor(const struct model *model, uint64_t index, enum model_mode mode)
{
    const struct block *block = &model->blocks[index];
    return block->versions[oldest_legal(model, block, mode)].write;
}

static bool shows(const struct version *version, const uint64_t found[BLOCK_SECTORS])
{
    return memcmp(version->sectors, found, sizeof version->sectors) == 0;
}

/* Each sector of its own may be any legal version's. */
static bool sectors_legal(const struct block *block, uint32_t oldest,
                          const uint64_t found[BLOCK_SECTORS])
{
    for (unsigned sector = 0; sector < BLOCK_SECTORS; sector++) {
        uint32_t i = oldest;
        while (i < block->count && block->versions[i].sectors[sector] != found[sector])
            i++;
        if (i == block->count)
            return false;
    }
    return true;
}

static void name_unreadable(char *sentence, size_t size, uint64_t sector, enum stamp stamp,
                            uint64_t found)
{
    if (stamp == STAMP_MISPLACED)
        snprintf(sentence, size, "sector %" PRIu64 " shows what was written to sector %" PRIu64,
                 sector, found);
    else if (stamp == STAMP_STRANGER)
        snprintf(sentence, size, "sector %" PRIu64 " shows data of another session", sector);
    else
        snprintf(sentence, size, "sector %" PRIu64 " is damaged: no write ever had these bytes",
                 sector);
}

static void name_illegal(const struct model *model, uint64_t index, uint32_t oldest,
                         const uint64_t found[BLOCK_SECTORS], char *sentence, size_t size)
{
    const struct block *block = &model->blocks[index];
    const struct version *floor = &block->versions[oldest];
    unsigned odd = 0;

    if (sectors_legal(block, oldest, found)) {
        snprintf(sentence, size,
                 "block %" PRIu64 " at byte %" PRIu64 " is a mixture of versions: its first sector "
                 "is of write %" PRIu64 ", its last of write %" PRIu64,
                 index, model_offset(model, index), found[0], found[BLOCK_SECTORS - 1]);
        return;
    }
    while (odd + 1 < BLOCK_SECTORS && floor->sectors[odd] == found[odd])
        odd++;
    snprintf(sentence, size,
             "block %" PRIu64 " at byte %" PRIu64 " lost write %" PRIu64
             ", %s: its sector %u shows "
             "write %" PRIu64 " instead of %" PRIu64 " or newer",
             index, model_offset(model, index), floor->write,
             floor->durable         ? "which was written with FUA, or seen after an earlier crash"
             : !floor->acknowledged ? "which a read had shown"
             : floor->acknowledged <= model->flushed ? "which was acknowledged before a flush that "
                                                       "completed"
                                                     : "which was acknowledged",
             odd, found[odd], floor->sectors[odd]);
}

bool model_check(const struct model *model, uint64_t index, uint64_t floor,
                 const uint8_t bytes[BLOCK_BYTES], uint64_t *ret_write, char *sentence, size_t size)
{
    const struct block *block = &model->blocks[index];
    const uint64_t sector = model_offset(model, index) / SECTOR_BYTES;
    uint64_t found[BLOCK_SECTORS];
    uint32_t oldest = 0;

    for (unsigned i = 0; i < BLOCK_SECTORS; i++) {
        enum stamp stamp =
            stamp_read(bytes + i * SECTOR_BYTES, model->session, sector + i, &found[i]);
        if (stamp != STAMP_GOOD) {
            name_unreadable(sentence, size, sector + i, stamp, found[i]);
            return false;
        }
    }
    while (block->versions[oldest].write < floor)
        oldest++;
    for (uint32_t i = block->count; i-- > oldest;) {
        if (shows(&block->versions[i], found)) {
            *ret_write = block->versions[i].write;
            return true;
        }
    }
    if (model->atomic_bytes == SECTOR_BYTES && sectors_legal(block, oldest, found)) {
        *ret_write = floor;
        return true;
    }
    name_illegal(model, index, oldest, found, sentence, size);
    return false;
}

void model_settle(struct model *model, uint64_t index, uint64_t write,
                  const uint8_t bytes[BLOCK_BYTES])
{
    struct block *block = &model->blocks[index];
    const uint64_t sector = model_offset(model, index) / SECTOR_BYTES;

    for (unsigned i = 0; i < BLOCK_SECTORS; i++)
        stamp_read(bytes + i * SECTOR_BYTES, model->session, sector + i,
                   &block->versions[0].sectors[i]);
    block->versions[0].write = write;
    block->versions[0].durable = 1;
    block->count = 1;
    block->writing = false;
    block->readers = 0;
    block->seen = write;
}

void model_tell(const struct model *model, uint64_t index, const char *path)
{
    const struct block *block = &model->blocks[index];
    FILE *file = fopen(path, "w");

    if (file == NULL)
        return;
    fprintf(file,
            "block %" PRIu64 " at byte %" PRIu64 ", round %" PRIu64 ", flush %" PRIu64
            " covered acknowledgements up to %" PRIu64 "\n",
            index, model_offset(model, index), model->rounds, model->flush_count, model->flushed);
    for (uint32_t i = 0; i < block->count; i++) {
        const struct version *version = &block->versions[i];
        fprintf(file, "write %" PRIu64 " acknowledged %" PRIu64 " durable %" PRIu64 " sectors",
                version->write, version->acknowledged, version->durable);
        for (unsigned sector = 0; sector < BLOCK_SECTORS; sector++)
            fprintf(file, " %" PRIu64, version->sectors[sector]);
        fprintf(file, "\n");
    }
    fclose(file);
}

int model_save(const struct model *model, const char *path)
{
    FILE *file = fopen(path, "w");
    if (file == NULL)
        return -1;
    bool good = fwrite(model, sizeof *model, 1, file) == 1;
    for (uint64_t i = 0; i < model->block_count && good; i++) {
        const struct block *block = &model->blocks[i];
        good = fwrite(block, sizeof *block, 1, file) == 1 &&
               fwrite(block->versions, sizeof *block->versions, block->count, file) == block->count;
    }
    return fclose(file) == 0 && good ? 0 : -1;
}

int model_load(struct model *model, const char *path)
{
    FILE *file = fopen(path, "r");
    if (file == NULL)
        return -1;
    bool good = fread(model, sizeof *model, 1, file) == 1;
    if (good)
        model->blocks = must(calloc(model->block_count, sizeof *model->blocks));
    for (uint64_t i = 0; good && i < model->block_count; i++) {
        struct block *block = &model->blocks[i];
        good = fread(block, sizeof *block, 1, file) == 1;
        block->room = good ? block->count : 1;
        block->versions = must(calloc(block->room, sizeof *block->versions));
        good = good &&
               fread(block->versions, sizeof *block->versions, block->count, file) == block->count;
    }
    fclose(file);
    errno = good ? 0 : EINVAL;
    return good ? 0 : -1;
}
