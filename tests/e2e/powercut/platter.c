/* SPDX-License-Identifier: Apache-2.0 */
#include "platter.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

/* One acknowledged write that is not on the platter. */
struct platter_write {
    struct platter_write *next;
    uint64_t offset;
    uint64_t length;
    /* One bit a sector: superseded by a write that went through after this one, and must not reach
     * the platter from here. Allocated when first needed. */
    uint8_t *stale;
    uint8_t *data; /* NULL: zeroes. */
};

static uint64_t draw(uint64_t *state)
{
    uint64_t z = (*state += 0x9e3779b97f4a7c15u);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

static void write_free(struct platter_write *write)
{
    free(write->stale);
    free(write->data);
    free(write);
}

static uint64_t sectors_of(const struct platter_write *write)
{
    return write->length / PLATTER_SECTOR_BYTES;
}

static bool is_stale(const struct platter_write *write, uint64_t sector)
{
    return write->stale != NULL && (write->stale[sector / 8] & 1u << sector % 8) != 0;
}

static int put(int fd, uint64_t offset, uint64_t length, const uint8_t *data)
{
    while (length > 0) {
        ssize_t written = pwrite(fd, data, length, (off_t)offset);
        if (written <= 0)
            return -1;
        offset += (uint64_t)written;
        data += written;
        length -= (uint64_t)written;
    }
    return 0;
}

/* Puts sectors [@first, @last) of @write on the platter, but for the stale ones. */
static int persist(struct platter *platter, const struct platter_write *write, uint64_t first,
                   uint64_t last)
{
    static const uint8_t zeroes[64 * PLATTER_SECTOR_BYTES];
    const uint64_t step_max = write->data != NULL ? UINT64_MAX : 64;

    while (first < last) {
        uint64_t end = first;
        while (end < last && end - first < step_max && !is_stale(write, end))
            end++;
        const uint8_t *data =
            write->data != NULL ? write->data + first * PLATTER_SECTOR_BYTES : zeroes;
        if (end > first && put(platter->fd, write->offset + first * PLATTER_SECTOR_BYTES,
                               (end - first) * PLATTER_SECTOR_BYTES, data) != 0)
            return -1;
        first = end;
        while (first < last && is_stale(write, first))
            first++;
    }
    return 0;
}

static struct platter_write *take_oldest(struct platter *platter)
{
    struct platter_write *write = platter->oldest;
    platter->oldest = write->next;
    if (platter->oldest == NULL)
        platter->newest = NULL;
    platter->pending--;
    platter->cache_bytes -= write->length;
    return write;
}

/* Writes the oldest writes back until at most @keep_bytes wait. */
static int write_back(struct platter *platter, uint64_t keep_bytes)
{
    while (platter->oldest != NULL && platter->cache_bytes > keep_bytes) {
        struct platter_write *write = take_oldest(platter);
        int result = persist(platter, write, 0, sectors_of(write));
        write_free(write);
        if (result != 0)
            return -1;
    }
    return 0;
}

int platter_flush(struct platter *platter)
{
    platter->counts.flushes++;
    while (platter->oldest != NULL) {
        struct platter_write *write = take_oldest(platter);
        int result = persist(platter, write, 0, sectors_of(write));
        write_free(write);
        if (result != 0)
            return -1;
    }
    return 0;
}

/* A write that goes through overtakes older ones: where they overlap, these must not come after. */
static int supersede(struct platter *platter, uint64_t offset, uint64_t length)
{
    for (struct platter_write *write = platter->oldest; write != NULL; write = write->next) {
        if (write->offset >= offset + length || offset >= write->offset + write->length)
            continue;
        if (write->stale == NULL)
            write->stale = calloc(sectors_of(write) / 8 + 1, 1);
        if (write->stale == NULL)
            return -1;
        for (uint64_t sector = 0; sector < sectors_of(write); sector++) {
            uint64_t at = write->offset + sector * PLATTER_SECTOR_BYTES;
            if (at >= offset && at < offset + length)
                write->stale[sector / 8] |= (uint8_t)(1u << sector % 8);
        }
    }
    return 0;
}

static struct platter_write *write_new(uint64_t offset, uint64_t length, const void *data)
{
    struct platter_write *write = calloc(1, sizeof *write);
    if (write == NULL)
        return NULL;
    write->offset = offset;
    write->length = length;
    if (data == NULL)
        return write;
    write->data = malloc(length);
    if (write->data == NULL) {
        free(write);
        return NULL;
    }
    memcpy(write->data, data, length);
    return write;
}

int platter_write(struct platter *platter, uint64_t offset, uint64_t length, const void *data,
                  bool through)
{
    if (offset % PLATTER_SECTOR_BYTES != 0 || length % PLATTER_SECTOR_BYTES != 0 ||
        length > platter->size_bytes || offset > platter->size_bytes - length) {
        errno = EINVAL;
        return -1;
    }
    struct platter_write *write = write_new(offset, length, data);
    if (write == NULL)
        return -1;
    if (data != NULL)
        memcpy(platter->view + offset, data, length);
    else
        memset(platter->view + offset, 0, length);
    if (through) {
        int result = supersede(platter, offset, length);
        if (result == 0)
            result = persist(platter, write, 0, sectors_of(write));
        write_free(write);
        platter->counts.through++;
        return result;
    }
    if (platter->newest != NULL)
        platter->newest->next = write;
    else
        platter->oldest = write;
    platter->newest = write;
    platter->pending++;
    platter->cache_bytes += length;
    if (platter->cache_bytes > platter->cache_bytes_max)
        return write_back(platter, platter->cache_bytes_max / 2);
    return 0;
}

/* Tears: a beginning, an end, or any subset of its sectors arrives. */
static int persist_torn(struct platter *platter, const struct platter_write *write, uint64_t *state)
{
    const uint64_t sectors = sectors_of(write);
    const uint64_t at = 1 + draw(state) % (sectors - 1);

    switch (draw(state) % 3) {
    case 0: return persist(platter, write, 0, at);
    case 1: return persist(platter, write, at, sectors);
    default:
        for (uint64_t sector = 0; sector < sectors; sector++)
            if (draw(state) % 2 == 0 && persist(platter, write, sector, sector + 1) != 0)
                return -1;
        return 0;
    }
}

static struct platter_write **shuffled(struct platter *platter, uint64_t count, uint64_t *state)
{
    struct platter_write **order = calloc(count + 1, sizeof(struct platter_write *));
    if (order == NULL)
        return NULL;
    for (uint64_t i = 0; i < count; i++)
        order[i] = take_oldest(platter);
    for (uint64_t i = count; i > 1; i--) {
        uint64_t other = draw(state) % i;
        struct platter_write *write = order[i - 1];
        order[i - 1] = order[other];
        order[other] = write;
    }
    return order;
}

/* The view shows again what the platter has there. */
static int look_again(struct platter *platter, const struct platter_write *write)
{
    uint64_t done = 0;
    while (done < write->length) {
        ssize_t got = pread(platter->fd, platter->view + write->offset + done, write->length - done,
                            (off_t)(write->offset + done));
        if (got <= 0)
            return -1;
        done += (uint64_t)got;
    }
    return 0;
}

int platter_cut(struct platter *platter, uint64_t seed, struct platter_cut *ret_cut)
{
    /* From nothing kept to nearly everything: one lost write is as telling as all of them. */
    static const uint64_t moods[] = {0, 10, 50, 90, 99};
    uint64_t state = seed != 0 ? seed : draw(&platter->seed);
    struct platter_cut cut = {.seed = state};
    const uint64_t count = platter->pending;
    const uint64_t keep_percent = moods[draw(&state) % (sizeof moods / sizeof moods[0])];
    const uint64_t tear_percent = draw(&state) % 2 * 30;
    struct platter_write **order = shuffled(platter, count, &state);
    int result = 0;

    if (order == NULL)
        return -1;
    for (uint64_t i = 0; i < count && result == 0; i++) {
        if (draw(&state) % 100 >= keep_percent) {
            cut.lost++;
        } else if (sectors_of(order[i]) > 1 && draw(&state) % 100 < tear_percent) {
            cut.torn++;
            result = persist_torn(platter, order[i], &state);
        } else {
            cut.kept++;
            result = persist(platter, order[i], 0, sectors_of(order[i]));
        }
    }
    for (uint64_t i = 0; i < count; i++) {
        if (result == 0)
            result = look_again(platter, order[i]);
        write_free(order[i]);
    }
    free(order);
    platter->counts.cuts++;
    platter->counts.kept += cut.kept;
    platter->counts.lost += cut.lost;
    platter->counts.torn += cut.torn;
    *ret_cut = cut;
    return result;
}

/* Fills the view from the parts of the file that hold data. */
static int load(struct platter *platter)
{
    off_t at = 0;
    while ((at = lseek(platter->fd, at, SEEK_DATA)) >= 0) {
        off_t end = lseek(platter->fd, at, SEEK_HOLE);
        while (at < end) {
            ssize_t got = pread(platter->fd, platter->view + at, (size_t)(end - at), at);
            if (got <= 0)
                return -1;
            at += got;
        }
    }
    return errno == ENXIO ? 0 : -1; /* ENXIO: no data from here to the end. */
}

int platter_open(struct platter *platter, const char *path, uint64_t cache_bytes_max, uint64_t seed)
{
    struct stat stat;

    *platter = (struct platter){.fd = open(path, O_RDWR | O_CLOEXEC)};
    if (platter->fd < 0)
        return -1;
    if (fstat(platter->fd, &stat) != 0)
        goto failed;
    platter->size_bytes = (uint64_t)stat.st_size;
    platter->cache_bytes_max = cache_bytes_max;
    platter->seed = seed;
    if (platter->size_bytes == 0 || platter->size_bytes % PLATTER_SECTOR_BYTES != 0) {
        errno = EINVAL;
        goto failed;
    }
    platter->view = mmap(NULL, platter->size_bytes, PROT_READ | PROT_WRITE,
                         MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (platter->view == MAP_FAILED)
        goto failed;
    if (load(platter) == 0)
        return 0;
    munmap(platter->view, platter->size_bytes);
failed:
    close(platter->fd);
    return -1;
}

void platter_close(struct platter *platter)
{
    while (platter->oldest != NULL)
        write_free(take_oldest(platter));
    munmap(platter->view, platter->size_bytes);
    close(platter->fd);
}
