/* SPDX-License-Identifier: Apache-2.0 */
/* image: a sparse array of bytes in 4 KiB pages. What was never written is zero. */
#ifndef SIM_IMAGE_H
#define SIM_IMAGE_H

#include "base/base.h"

#define IMAGE_PAGE_BYTES 4096u
#define IMAGE_CHUNK_PAGES 64u

struct image_chunk {
    uint8_t *pages[IMAGE_CHUNK_PAGES]; /* NULL: zeros. */
};

struct image {
    uint64_t size_bytes; /* A multiple of 512. */
    uint64_t chunk_count;
    struct image_chunk **chunks; /* NULL: zeros. */
};

void image_open(struct image *image, uint64_t size_bytes);
void image_close(struct image *image);
void image_read(const struct image *image, uint64_t offset, uint64_t length, void *to);
/* `from` NULL: zeros, which take no memory where whole pages are meant. */
void image_write(struct image *image, uint64_t offset, uint64_t length, const void *from);
/* The bytes of one page, or NULL if it is zeros; may be written to. */
uint8_t *image_page(const struct image *image, uint64_t page);
/* `to` is open and of the same size; it becomes equal. */
void image_copy(struct image *to, const struct image *from);
/* True if equal; else the offset of the first byte that differs. */
bool image_equal(const struct image *a, const struct image *b, uint64_t *ret_offset);
/* To and from a (sparse) file: 0 or -errno. */
int image_dump(const struct image *image, const char *path);
int image_load(struct image *image, const char *path);

#endif
