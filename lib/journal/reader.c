/* SPDX-License-Identifier: Apache-2.0 */
#include "journal/reader.h"

#include <stdlib.h>
#include <string.h>

int reader_init(struct journal_reader *reader)
{
    size_t each = (size_t)(reader->headroom + reader->piece_blocks) * BLOCK_BYTES;
    if (reader->memory == NULL)
        reader->memory = aligned_alloc(BLOCK_BYTES, each * READER_PIECES);
    if (reader->unreadable_map == NULL)
        reader->unreadable_map = calloc(DIV_CEIL(reader->region_blocks, 8), 1);
    if (reader->memory == NULL || reader->unreadable_map == NULL)
        return FAIL(-ENOMEM, "journal: no memory to read it");
    for (unsigned i = 0; i < READER_PIECES; i++) {
        reader->pieces[i].reader = reader;
        reader->pieces[i].data = reader->memory + i * each + (size_t)reader->headroom * BLOCK_BYTES;
    }
    return 0;
}

void reader_done(struct journal_reader *reader)
{
    free(reader->memory);
    free(reader->unreadable_map);
    reader->memory = NULL;
    reader->unreadable_map = NULL;
}

/* --- Reading --------------------------------------------------------------------------------- */

static void piece_ready(struct reader_piece *piece)
{
    struct journal_reader *reader = piece->reader;
    piece->flying = false;
    reader->flying--;
    reader->ready(reader);
}

static void retry_done(struct device_io *io, int result);

static void retry_next(struct reader_piece *piece)
{
    struct journal_reader *reader = piece->reader;
    if (piece->retry == piece->blocks) {
        piece_ready(piece);
        return;
    }
    uint64_t block = (piece->at + piece->retry) % reader->region_blocks;
    device_submit(reader->devices, &piece->io, DISK_READ, reader->place + block, 1,
                  piece->data + (size_t)piece->retry * BLOCK_BYTES, retry_done);
}

static void retry_done(struct device_io *io, int result)
{
    struct reader_piece *piece = CONTAINER_OF(io, struct reader_piece, io);
    struct journal_reader *reader = piece->reader;
    if (result != 0) {
        REACH(journal_block_unreadable);
        uint64_t block = (piece->at + piece->retry) % reader->region_blocks;
        memset(piece->data + (size_t)piece->retry * BLOCK_BYTES, 0, BLOCK_BYTES);
        reader->unreadable_map[block / 8] |= (uint8_t)(1u << block % 8);
        reader->unreadable++;
    }
    piece->retry++;
    retry_next(piece);
}

static void piece_done(struct device_io *io, int result)
{
    struct reader_piece *piece = CONTAINER_OF(io, struct reader_piece, io);
    if (result == 0) {
        piece_ready(piece);
        return;
    }
    REACH(journal_read_again);
    piece->retry = 0;
    retry_next(piece);
}

static void piece_send(struct journal_reader *reader, struct reader_piece *piece)
{
    piece->blocks = 0;
    piece->carried = 0;
    if (reader->read_at >= reader->end_at)
        return;
    uint64_t block = reader->read_at % reader->region_blocks;
    uint64_t blocks = MIN(reader->end_at - reader->read_at, reader->region_blocks - block);
    piece->blocks = (uint32_t)MIN(blocks, reader->piece_blocks);
    piece->at = reader->read_at;
    piece->flying = true;
    reader->read_at += piece->blocks;
    reader->flying++;
    device_submit(reader->devices, &piece->io, DISK_READ, reader->place + block, piece->blocks,
                  piece->data, piece_done);
}

void reader_start(struct journal_reader *reader, uint64_t at, uint64_t end_at,
                  void (*ready)(struct journal_reader *reader))
{
    assert(reader->flying == 0);
    reader->ready = ready;
    reader->read_at = at;
    reader->end_at = end_at;
    reader->head = 0;
    for (unsigned i = 0; i < READER_PIECES; i++)
        piece_send(reader, &reader->pieces[i]);
}

/* --- Looking --------------------------------------------------------------------------------- */

/* Takes what is left from `at` on along to the next piece, which has been read. */
static void head_advance(struct journal_reader *reader, uint64_t at)
{
    struct reader_piece *piece = &reader->pieces[reader->head];
    unsigned next_index = (reader->head + 1) % READER_PIECES;
    struct reader_piece *next = &reader->pieces[next_index];
    uint64_t end = piece->at + piece->blocks;
    if (at < end) {
        REACH(journal_carried);
        next->carried = (uint32_t)(end - at);
        assert(next->carried <= reader->headroom);
        size_t bytes = (size_t)next->carried * BLOCK_BYTES;
        memcpy(next->data - bytes, piece->data + (size_t)piece->blocks * BLOCK_BYTES - bytes,
               bytes);
    }
    reader->head = next_index;
    piece_send(reader, piece);
}

const uint8_t *reader_at(struct journal_reader *reader, uint64_t at, uint32_t blocks,
                         uint32_t *ret_blocks)
{
    assert(at < reader->end_at);
    for (;;) {
        struct reader_piece *piece = &reader->pieces[reader->head];
        const struct reader_piece *next = &reader->pieces[(reader->head + 1) % READER_PIECES];
        assert(piece->blocks > 0);
        if (piece->flying)
            return NULL;
        assert(at >= piece->at - piece->carried);
        uint64_t end = piece->at + piece->blocks;
        bool last = end == reader->end_at || end % reader->region_blocks == 0;
        if (at < end && (end - at >= blocks || last)) {
            *ret_blocks = (uint32_t)(end - at);
            return piece->data + (size_t)piece->blocks * BLOCK_BYTES -
                   (size_t)(end - at) * BLOCK_BYTES;
        }
        if (next->flying)
            return NULL;
        head_advance(reader, at);
    }
}

bool reader_missed(const struct journal_reader *reader, uint64_t at, uint64_t blocks)
{
    for (uint64_t i = at; i < at + blocks; i++) {
        uint64_t block = i % reader->region_blocks;
        if (reader->unreadable_map[block / 8] & 1u << block % 8)
            return true;
    }
    return false;
}
