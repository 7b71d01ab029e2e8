/* SPDX-License-Identifier: Apache-2.0 */
#include "sim/image.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const uint8_t page_zero[IMAGE_PAGE_BYTES];

static void *sim_alloc(size_t count, size_t size)
{
    void *memory = calloc(count, size);
    if (memory == NULL)
        abort();
    return memory;
}

void image_open(struct image *image, uint64_t size_bytes)
{
    assert(size_bytes % 512 == 0);
    image->size_bytes = size_bytes;
    image->chunk_count = DIV_CEIL(size_bytes, IMAGE_PAGE_BYTES * IMAGE_CHUNK_PAGES);
    image->chunks = sim_alloc(image->chunk_count, sizeof(struct image_chunk *));
}

static void image_clear(struct image *image)
{
    for (uint64_t i = 0; i < image->chunk_count; i++) {
        if (image->chunks[i] == NULL)
            continue;
        for (unsigned j = 0; j < IMAGE_CHUNK_PAGES; j++)
            free(image->chunks[i]->pages[j]);
        free(image->chunks[i]);
        image->chunks[i] = NULL;
    }
}

void image_close(struct image *image)
{
    image_clear(image);
    free(image->chunks);
    image->chunks = NULL;
    image->chunk_count = 0;
}

uint8_t *image_page(const struct image *image, uint64_t page)
{
    assert(page / IMAGE_CHUNK_PAGES < image->chunk_count);
    const struct image_chunk *chunk = image->chunks[page / IMAGE_CHUNK_PAGES];
    return chunk == NULL ? NULL : chunk->pages[page % IMAGE_CHUNK_PAGES];
}

static uint8_t **image_slot(struct image *image, uint64_t page)
{
    assert(page / IMAGE_CHUNK_PAGES < image->chunk_count);
    struct image_chunk **chunk = &image->chunks[page / IMAGE_CHUNK_PAGES];
    if (*chunk == NULL)
        *chunk = sim_alloc(1, sizeof **chunk);
    return &(*chunk)->pages[page % IMAGE_CHUNK_PAGES];
}

void image_read(const struct image *image, uint64_t offset, uint64_t length, void *to)
{
    assert(offset <= image->size_bytes && length <= image->size_bytes - offset);
    uint8_t *out = to;
    while (length > 0) {
        uint64_t within = offset % IMAGE_PAGE_BYTES;
        uint64_t piece = MIN(length, IMAGE_PAGE_BYTES - within);
        const uint8_t *page = image_page(image, offset / IMAGE_PAGE_BYTES);
        memcpy(out, page == NULL ? page_zero : page + within, piece);
        out += piece;
        offset += piece;
        length -= piece;
    }
}

static void image_write_piece(struct image *image, uint64_t offset, uint64_t piece,
                              const uint8_t *from)
{
    uint64_t page = offset / IMAGE_PAGE_BYTES;
    if (from == NULL && image_page(image, page) == NULL)
        return;
    uint8_t **slot = image_slot(image, page);
    if (from == NULL && piece == IMAGE_PAGE_BYTES) {
        free(*slot);
        *slot = NULL;
        return;
    }
    if (*slot == NULL)
        *slot = sim_alloc(1, IMAGE_PAGE_BYTES);
    uint8_t *to = *slot + offset % IMAGE_PAGE_BYTES;
    if (from == NULL)
        memset(to, 0, piece);
    else
        memcpy(to, from, piece);
}

void image_write(struct image *image, uint64_t offset, uint64_t length, const void *from)
{
    assert(offset <= image->size_bytes && length <= image->size_bytes - offset);
    const uint8_t *in = from;
    while (length > 0) {
        uint64_t piece = MIN(length, IMAGE_PAGE_BYTES - offset % IMAGE_PAGE_BYTES);
        image_write_piece(image, offset, piece, in);
        if (in != NULL)
            in += piece;
        offset += piece;
        length -= piece;
    }
}

static uint64_t image_pages(const struct image *image)
{
    return DIV_CEIL(image->size_bytes, IMAGE_PAGE_BYTES);
}

void image_copy(struct image *to, const struct image *from)
{
    assert(to->size_bytes == from->size_bytes);
    for (uint64_t page = 0; page < image_pages(from); page++) {
        if (page % IMAGE_CHUNK_PAGES == 0 && from->chunks[page / IMAGE_CHUNK_PAGES] == NULL &&
            to->chunks[page / IMAGE_CHUNK_PAGES] == NULL) {
            page += IMAGE_CHUNK_PAGES - 1;
            continue;
        }
        uint64_t offset = page * IMAGE_PAGE_BYTES;
        image_write(to, offset, MIN(IMAGE_PAGE_BYTES, to->size_bytes - offset),
                    image_page(from, page));
    }
}

bool image_equal(const struct image *a, const struct image *b, uint64_t *ret_offset)
{
    assert(a->size_bytes == b->size_bytes);
    for (uint64_t page = 0; page < image_pages(a); page++) {
        const uint8_t *left = image_page(a, page);
        const uint8_t *right = image_page(b, page);
        if (left == right)
            continue;
        left = left == NULL ? page_zero : left;
        right = right == NULL ? page_zero : right;
        if (memcmp(left, right, IMAGE_PAGE_BYTES) == 0)
            continue;
        uint64_t at = 0;
        while (left[at] == right[at])
            at++;
        *ret_offset = page * IMAGE_PAGE_BYTES + at;
        return false;
    }
    return true;
}

int image_dump(const struct image *image, const char *path)
{
    int fd = open(path, O_CREAT | O_TRUNC | O_WRONLY | O_CLOEXEC, 0644);
    if (fd < 0)
        return -errno;
    int result = ftruncate(fd, (off_t)image->size_bytes) == 0 ? 0 : -errno;
    for (uint64_t page = 0; page < image_pages(image) && result == 0; page++) {
        const uint8_t *bytes = image_page(image, page);
        uint64_t offset = page * IMAGE_PAGE_BYTES;
        size_t length = MIN(IMAGE_PAGE_BYTES, image->size_bytes - offset);
        if (bytes != NULL && pwrite(fd, bytes, length, (off_t)offset) != (ssize_t)length)
            result = errno == 0 ? -EIO : -errno;
    }
    if (close(fd) != 0 && result == 0)
        result = -errno;
    return result;
}

int image_load(struct image *image, const char *path)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    int result = 0;
    for (uint64_t page = 0; page < image_pages(image) && result == 0; page++) {
        uint8_t bytes[IMAGE_PAGE_BYTES];
        uint64_t offset = page * IMAGE_PAGE_BYTES;
        size_t length = MIN(sizeof bytes, image->size_bytes - offset);
        if (pread(fd, bytes, length, (off_t)offset) != (ssize_t)length)
            result = -EIO;
        else
            image_write(image, offset, length,
                        memcmp(bytes, page_zero, length) == 0 ? NULL : bytes);
    }
    close(fd);
    return result;
}
