/* SPDX-License-Identifier: Apache-2.0 */
/* What volumes show, in pictures; and jobs on them. */
#include "bench.h"

struct prng prng = {.state = 11};

static void change_at(struct request *request, struct volume *volume, struct picture *picture,
                      uint64_t offset, uint64_t length)
{
    bool writes = !prng_one_in(&prng, 4);
    uint8_t byte = writes ? (uint8_t)(1 + prng_below(&prng, 255)) : 0;
    memset(picture->sectors + offset / 512, byte, length / 512);
    memset(request->data, byte, length);
    request_start(request, volume, writes ? VOLUME_WRITE : VOLUME_DISCARD, offset, length);
}

void change_start(struct request *request, struct volume *volume, struct picture *picture)
{
    bool fine = prng_one_in(&prng, 2);
    uint64_t unit = fine ? 512 : 4096;
    uint64_t length = (1 + prng_below(&prng, fine ? 20 : 60)) * unit;
    uint64_t offset = prng_below(&prng, (PICTURE_BYTES - length) / unit) * unit;
    change_at(request, volume, picture, offset, length);
}

void change_start_in(struct request *request, struct volume *volume, struct picture *picture,
                     unsigned eighth)
{
    uint64_t window = PICTURE_BYTES / 8;
    uint64_t length = (1 + prng_below(&prng, 20)) * BLOCK_BYTES;
    uint64_t offset = prng_below(&prng, (window - length) / BLOCK_BYTES) * BLOCK_BYTES;
    change_at(request, volume, picture, eighth * window + offset, length);
}

void change_some(struct volume *volume, struct picture *picture, unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        change_start(&requests[0], volume, picture);
        bench_wait(&requests[0].busy);
        cr_assert_eq(requests[0].result, 0);
    }
}

void must_show(struct volume *volume, const struct picture *picture)
{
    cr_assert_eq(request_run(volume, VOLUME_READ, 0, 0, PICTURE_BYTES), 0);
    for (uint64_t i = 0; i < PICTURE_BYTES; i++)
        cr_assert_eq(requests[0].data[i], picture->sectors[i / 512], "sector %llu: %u, not %u",
                     (unsigned long long)(i / 512), requests[0].data[i], picture->sectors[i / 512]);
}

/* --- Jobs ----------------------------------------------------------------------------------- */

static void job_done(struct volume_job *job, int result)
{
    struct noted_job *noted = CONTAINER_OF(job, struct noted_job, job);
    cr_assert(noted->runs);
    noted->runs = false;
    noted->result = result;
}

static void job_progress(struct volume_job *job, uint64_t done_bytes, uint64_t total_bytes)
{
    struct noted_job *noted = CONTAINER_OF(job, struct noted_job, job);
    cr_assert_geq(done_bytes, noted->done_bytes);
    cr_assert_leq(done_bytes, total_bytes);
    noted->done_bytes = done_bytes;
    noted->total_bytes = total_bytes;
    if (++noted->progressed == noted->stop_after)
        volume_job_stop(job);
}

static void noted_init(struct noted_job *noted, unsigned stop_after)
{
    *noted = (struct noted_job){.job = {.progress = job_progress, .done = job_done},
                                .runs = true,
                                .stop_after = stop_after};
}

void flatten_start(struct noted_job *noted, struct volume *volume, unsigned stop_after)
{
    noted_init(noted, stop_after);
    cr_assert_eq(volume_flatten_start(volume, &noted->job), 0);
    cr_assert(noted->runs, "told inside the call");
}

int flatten_now(struct volume *volume)
{
    struct noted_job noted;
    flatten_start(&noted, volume, 0);
    bench_wait(&noted.runs);
    return noted.result;
}

int roll_back_now(struct volume *volume, uint64_t cut, uint64_t from,
                  const struct volume_parent *parents, uint32_t count, unsigned stop_after)
{
    struct noted_job noted;
    struct volume_rollback rollback = {
        .cut = cut, .from = from, .parents = parents, .parent_count = count};
    noted_init(&noted, stop_after);
    cr_assert_eq(volume_rollback_start(volume, &rollback, &noted.job), 0);
    bench_wait(&noted.runs);
    return noted.result;
}
