/* SPDX-License-Identifier: Apache-2.0 */
/*
 * See heap.h. Slabs of one size each, out of one range of addresses; larger pieces are runs of
 * slabs. Sizes go in steps of an eighth of a power of two, and of 4 KiB at least from there on, so
 * that what is asked for aligned is aligned.
 */
#include "sim/heap.h"

#ifndef IOMESH_SANITIZED

#include <errno.h>
#include <malloc.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define SLAB_SHIFT 18
#define SLAB ((size_t)1 << SLAB_SHIFT)
#define SLABS ((size_t)1 << 16) /* 16 GiB of addresses. */
#define PAGE ((size_t)4096)
#define CLASSES 128u
#define RUNS 256u /* Lists of free runs: by their slabs, the last of all that are longer. */
#define LEAST ((size_t)16)

/* What is free begins with this. */
struct piece {
    struct piece *next;
};

static struct {
    uint8_t *base;
    size_t slabs;  /* Given out. */
    size_t marked; /* As of heap_mark. */
    bool perturbs;
    uint8_t *at[CLASSES], *end[CLASSES]; /* The slab that is cut up now. */
    struct piece *free[CLASSES];
    struct piece *runs[RUNS];
    uint32_t of[SLABS];      /* A slab's size; of a run: its slabs, and the highest bit. */
    uint32_t touched[SLABS]; /* Bytes of a slab that may not be zero any more. */
} heap;

#define RUN (1u << 31)

static void heap_open(void)
{
    void *base = mmap(NULL, SLABS * SLAB + SLAB, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (base == MAP_FAILED)
        _exit(3);
    heap.base = (uint8_t *)(((uintptr_t)base + SLAB - 1) & ~(SLAB - 1));
}

/* Sixteen sizes up to 256, then eight to each power of two. */
static unsigned class_of(size_t size, size_t *ret_rounded)
{
    if (size <= 256) {
        unsigned number = size <= LEAST ? 0 : (unsigned)((size - 1) / LEAST);
        *ret_rounded = (number + 1) * LEAST;
        return number;
    }
    unsigned power = 63 - (unsigned)__builtin_clzll(size - 1);
    size_t step = (size_t)1 << (power - 3);
    if (size > PAGE && step < PAGE)
        step = PAGE;
    size_t rounded = (size + step - 1) & ~(step - 1);
    power = 63 - (unsigned)__builtin_clzll(rounded - 1);
    *ret_rounded = rounded;
    return 16 + (power - 8) * 8 + (unsigned)((rounded - 1) >> (power - 3) & 7);
}

static uint8_t *slabs_take(size_t count)
{
    if (heap.base == NULL)
        heap_open();
    if (heap.slabs + count > SLABS)
        return NULL;
    uint8_t *slab = heap.base + heap.slabs * SLAB;
    heap.slabs += count;
    return slab;
}

static size_t slab_of(const void *memory)
{
    return (size_t)((const uint8_t *)memory - heap.base) >> SLAB_SHIFT;
}

static uint8_t *piece_take(unsigned class, size_t rounded)
{
    struct piece *piece = heap.free[class];
    if (piece != NULL) {
        heap.free[class] = piece->next;
        return (uint8_t *)piece;
    }
    if ((size_t)(heap.end[class] - heap.at[class]) < rounded) {
        uint8_t *slab = slabs_take(1);
        if (slab == NULL)
            return NULL;
        heap.of[slab_of(slab)] = (uint32_t)rounded;
        heap.at[class] = slab;
        heap.end[class] = slab + SLAB;
    }
    uint8_t *bytes = heap.at[class];
    heap.at[class] += rounded;
    return bytes;
}

static uint8_t *run_take(size_t count)
{
    for (struct piece **at = &heap.runs[count < RUNS ? count : 0]; *at != NULL; at = &(*at)->next) {
        struct piece *piece = *at;
        if (heap.of[slab_of(piece)] != (RUN | count))
            continue;
        *at = piece->next;
        return (uint8_t *)piece;
    }
    uint8_t *bytes = slabs_take(count);
    if (bytes != NULL)
        heap.of[slab_of(bytes)] = RUN | (uint32_t)count;
    return bytes;
}

static size_t size_of(const void *memory)
{
    uint32_t of = heap.of[slab_of(memory)];
    return (of & RUN) != 0 ? (size_t)(of & ~RUN) << SLAB_SHIFT : of;
}

/* From now on `length` bytes are not zeros. Were they? */
static bool touch(const uint8_t *bytes, size_t length)
{
    bool zero = true;
    size_t within = (size_t)(bytes - heap.base) & (SLAB - 1);
    for (size_t slab = slab_of(bytes), end = within + length; end > 0; slab++) {
        zero = zero && heap.touched[slab] <= within;
        size_t to = end < SLAB ? end : SLAB;
        if (heap.touched[slab] < to)
            heap.touched[slab] = (uint32_t)to;
        end -= to;
        within = 0;
    }
    return zero;
}

static void *take(size_t size, bool zero)
{
    size_t rounded = (size + SLAB - 1) & ~(SLAB - 1);
    unsigned class = size <= SLAB / 2 ? class_of(size, &rounded) : CLASSES;
    uint8_t *bytes = class < CLASSES ? piece_take(class, rounded) : run_take(rounded >> SLAB_SHIFT);
    if (bytes == NULL) {
        errno = ENOMEM;
        return NULL;
    }
    bool was_zero = touch(bytes, rounded);
    if (zero && !was_zero)
        memset(bytes, 0, size);
    else if (!zero && heap.perturbs)
        memset(bytes, 0x5a, size);
    return bytes;
}

/* --- What programs call ----------------------------------------------------------------------- */

void *malloc(size_t size)
{
    return take(size, false);
}

void *calloc(size_t count, size_t size)
{
    size_t bytes;
    if (__builtin_mul_overflow(count, size, &bytes)) {
        errno = ENOMEM;
        return NULL;
    }
    return take(bytes, true);
}

void free(void *memory)
{
    if (memory == NULL)
        return;
    struct piece *piece = memory;
    size_t size = size_of(memory);
    if (heap.perturbs)
        memset(memory, 0xa5, size);
    size_t rounded;
    bool run = (heap.of[slab_of(memory)] & RUN) != 0;
    size_t count = size >> SLAB_SHIFT;
    struct piece **list =
        run ? &heap.runs[count < RUNS ? count : 0] : &heap.free[class_of(size, &rounded)];
    piece->next = *list;
    *list = piece;
}

void *realloc(void *memory, size_t size)
{
    if (memory == NULL)
        return malloc(size);
    size_t had = size_of(memory);
    if (size <= had && size > had / 2)
        return memory;
    void *bytes = malloc(size);
    if (bytes != NULL) {
        memcpy(bytes, memory, had < size ? had : size);
        free(memory);
    }
    return bytes;
}

void *aligned_alloc(size_t alignment, size_t size)
{
    if (alignment > PAGE)
        return take((size > SLAB ? size : SLAB), false);
    return take(alignment <= LEAST ? size : (size + alignment - 1) & ~(alignment - 1), false);
}

void *memalign(size_t alignment, size_t size)
{
    return aligned_alloc(alignment, size);
}

int posix_memalign(void **memory, size_t alignment, size_t size)
{
    *memory = aligned_alloc(alignment, size);
    return *memory == NULL ? ENOMEM : 0;
}

size_t malloc_usable_size(void *memory)
{
    return memory == NULL ? 0 : size_of(memory);
}

/* --- What storms call ------------------------------------------------------------------------- */

static void forget(void)
{
    memset(heap.at, 0, sizeof heap.at);
    memset(heap.end, 0, sizeof heap.end);
    memset(heap.free, 0, sizeof heap.free);
    memset(heap.runs, 0, sizeof heap.runs);
}

void heap_mark(void)
{
    forget();
    heap.marked = heap.slabs;
}

void heap_reset(void)
{
    forget();
    heap.slabs = heap.marked;
}

void heap_perturb(bool on)
{
    heap.perturbs = on;
}

#else

void heap_mark(void)
{
}

void heap_reset(void)
{
}

void heap_perturb(bool on)
{
    (void)on;
}

#endif
