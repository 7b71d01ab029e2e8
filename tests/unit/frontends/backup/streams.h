/* SPDX-License-Identifier: Apache-2.0 */
/* Streams made by hand, frame by frame, and read back with what comes of it. */
#ifndef TEST_STREAMS_H
#define TEST_STREAMS_H

#include "backup/stream.h"

enum { MADE_BYTES_MAX = 1 << 16, MADE_FRAMES_MAX = 16 };

struct made {
    uint8_t bytes[MADE_BYTES_MAX];
    size_t length;
    size_t starts[MADE_FRAMES_MAX]; /* Where each frame begins. */
    unsigned frames;
    struct backup_chain chain;
    struct backup_sums sums;
};

struct backup_header made_header(bool increment);
void made_begin(struct made *made);
/* A frame with right checksums, whatever is in it. */
void made_frame(struct made *made, uint16_t type, const void *payload, uint32_t length);
void made_header_frame(struct made *made, bool increment);
void made_data(struct made *made, const struct backup_extent *extents, uint32_t count,
               uint8_t seed);
void made_zero(struct made *made, const struct backup_extent *extents, uint32_t count);
/* As the sums are: of what the calls above made. */
void made_end(struct made *made);
/* HEADER, DATA (compresses), DATA (does not, two extents), ZERO, END. */
void made_whole(struct made *made);

/* The data of extents, from their offsets and the seed. Even seeds compress. */
void made_plain(const struct backup_extent *extents, uint32_t count, uint8_t seed, uint8_t *to);

struct outcome {
    int result; /* Of the last backup_reader_next(). */
    unsigned frames;
    uint16_t types[MADE_FRAMES_MAX];
    uint64_t data_bytes;
    uint32_t data_checksum; /* Of all plain data that was handed out. */
    char why[300];
};

/* Reads all of it through a pipe. */
struct outcome read_stream(const uint8_t *bytes, size_t length);

#endif
