/* SPDX-License-Identifier: Apache-2.0 */
#include "load.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

uint64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

void must(const char *what, int code)
{
    if (code >= 0)
        return;
    fprintf(stderr, "%s: %s (%s)\n", what, iomesh_error_text(code), iomesh_last_error());
    exit(1);
}

void bench_init(struct bench *bench, uint64_t bytes)
{
    struct iomesh_pool_init_options init = IOMESH_POOL_INIT_OPTIONS_INIT;
    init.bytes = bytes;
    must(bench->url, iomesh_pool_init(bench->url, &init));
    must("engine", iomesh_engine_open(NULL, &bench->engine));
    bench_open(bench);
}

void bench_open(struct bench *bench)
{
    struct iomesh_pool_options open = IOMESH_POOL_OPTIONS_INIT;
    open.flags = IOMESH_POOL_NO_SCRUB;
    must("opening the pool", iomesh_pool_open_sync(bench->engine, bench->url, &open, &bench->pool));
}

void bench_close(struct bench *bench)
{
    must("closing the pool", iomesh_pool_close_sync(bench->pool));
    bench->pool = NULL;
}

void bench_wait(struct bench *bench, uint64_t ns)
{
    const uint64_t end_ns = now_ns() + ns;
    for (uint64_t now = now_ns(); now < end_ns; now = now_ns())
        must("the ring", iomesh_wait(bench->engine, end_ns - now));
}

void bench_status(struct bench *bench, struct iomesh_pool_status *ret_status)
{
    *ret_status = (struct iomesh_pool_status){.size = sizeof *ret_status};
    must("status", iomesh_pool_status(bench->pool, ret_status));
}

void bench_create(struct bench *bench, const char *volume, uint64_t bytes)
{
    struct iomesh_volume_create_options create = IOMESH_VOLUME_CREATE_OPTIONS_INIT;
    create.bytes = bytes;
    must(volume, iomesh_volume_create_sync(bench->pool, volume, &create));
}

struct iomesh_volume *bench_volume(struct bench *bench, const char *name)
{
    struct iomesh_volume *volume = NULL;
    must(name, iomesh_volume_open_sync(bench->pool, name, NULL, &volume));
    return volume;
}

static uint64_t draw(struct load *load)
{
    load->seed ^= load->seed << 13;
    load->seed ^= load->seed >> 7;
    load->seed ^= load->seed << 17;
    return load->seed;
}

static void next(struct load_slot *slot);

static void ended(void *context, int result)
{
    struct load_slot *slot = context;
    struct load *load = slot->load;
    must("I/O", result);
    const uint64_t now = now_ns();
    if (load->samples != NULL && load->ended < load->sample_max)
        load->samples[load->ended] = (struct load_sample){now, now - slot->start_ns};
    load->ended++;
    if (now < load->end_ns && load->begun < load->count_max)
        next(slot);
}

static void next(struct load_slot *slot)
{
    struct load *load = slot->load;
    const uint64_t blocks = load->bytes / load->block;
    const uint64_t index = (load->stride > 0 ? load->begun * load->stride : draw(load)) % blocks;
    load->begun++;
    slot->start_ns = now_ns();
    int code;
    if (load->reads) {
        code =
            iomesh_read(load->volume, index * load->block, load->block, slot->buffer, ended, slot);
    } else {
        /* Something new each time, so that nothing below can take a short cut. */
        const uint64_t value = draw(load);
        memcpy(slot->buffer, &value, sizeof value);
        code = iomesh_write(load->volume, index * load->block, load->block, slot->buffer, 0, ended,
                            slot);
    }
    must("I/O refused", code);
}

void load_start(struct load *load)
{
    load->begun = load->ended = 0;
    load->took_ns = now_ns();
    if (load->count_max == 0)
        load->count_max = UINT64_MAX;
    if (load->end_ns == 0)
        load->end_ns = UINT64_MAX;
    for (uint32_t index = 0; index < load->depth; index++) {
        struct load_slot *slot = &load->slots[index];
        *slot = (struct load_slot){load, iomesh_buffer_get(load->bench->engine, load->block), 0};
        if (slot->buffer == NULL)
            must("buffers", -12);
        for (uint32_t at = 0; at + 8 <= load->block; at += 8) {
            const uint64_t value = draw(load);
            memcpy((char *)slot->buffer + at, &value, sizeof value);
        }
    }
    for (uint32_t index = 0; index < load->depth && load->begun < load->count_max; index++)
        next(&load->slots[index]);
}

bool load_is_over(const struct load *load)
{
    return load->ended == load->begun;
}

void load_finish(struct load *load)
{
    while (!load_is_over(load))
        must("the ring", iomesh_wait(load->bench->engine, IOMESH_NEVER));
    load->took_ns = now_ns() - load->took_ns;
    for (uint32_t index = 0; index < load->depth; index++)
        iomesh_buffer_put(load->bench->engine, load->slots[index].buffer);
}

double load_run(struct load *load)
{
    load_start(load);
    load_finish(load);
    return (double)load->ended * 1e9 / (double)load->took_ns;
}

void load_fill(struct bench *bench, const char *volume)
{
    struct load load = {.bench = bench,
                        .block = 1u << 20,
                        .depth = 8,
                        .stride = 1,
                        .seed = 1,
                        .volume = bench_volume(bench, volume)};
    load.bytes = iomesh_volume_bytes(load.volume);
    load.count_max = load.bytes / load.block;
    load_run(&load);
    must("flush", iomesh_flush_sync(load.volume));
    must("close", iomesh_volume_close_sync(load.volume));
}
