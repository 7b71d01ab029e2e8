/* SPDX-License-Identifier: Apache-2.0 */
/* Threads post to an engine while it works: each post runs once, each thread's in order, and the
 * thread sanitizer sees no race between posts, work and the ring. */
#include <iomesh/iomesh.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>

#include "base/base.h"
#include "host/host.h"
#include "uring/uring.h"

enum { THREADS = 4, POSTS = 5000, JOBS = 500 };

static struct iomesh_engine *engine;
static unsigned next_of[THREADS]; /* The engine's thread only. */
static unsigned ran;

struct note {
    unsigned thread, number;
};
static struct note notes[THREADS][POSTS];

static void note_run(void *context)
{
    const struct note *note = context;
    assert(note->number == next_of[note->thread]);
    next_of[note->thread]++;
    ran++;
}

static void *poster(void *argument)
{
    struct note *mine = argument;
    for (unsigned i = 0; i < POSTS; i++) {
        mine[i].number = i;
        while (iomesh_post(engine, note_run, &mine[i]) != 0)
            sched_yield();
    }
    return NULL;
}

static void post_test(void)
{
    struct iomesh_engine_options options = IOMESH_ENGINE_OPTIONS_INIT;
    options.posts_max = 64;
    options.buffer_bytes = 1u << 20;
    int result = iomesh_engine_open(&options, &engine);
    assert(result == 0);
    pthread_t threads[THREADS];
    for (unsigned i = 0; i < THREADS; i++) {
        for (unsigned j = 0; j < POSTS; j++)
            notes[i][j].thread = i;
        result = pthread_create(&threads[i], NULL, poster, notes[i]);
        assert(result == 0);
    }
    while (ran < THREADS * POSTS) {
        result = iomesh_wait(engine, 10 * NS_PER_S);
        assert(result >= 0);
    }
    for (unsigned i = 0; i < THREADS; i++) {
        pthread_join(threads[i], NULL);
        assert(next_of[i] == POSTS);
    }
    result = iomesh_engine_close(engine);
    assert(result == 0);
}

struct job {
    struct work_job job;
    uint64_t input, output;
};
static unsigned jobs_done;

static void job_run(struct work_job *work)
{
    struct job *job = CONTAINER_OF(work, struct job, job);
    job->output = job->input * job->input;
}

static void job_done(struct work_job *work)
{
    const struct job *job = CONTAINER_OF(work, struct job, job);
    assert(job->output == job->input * job->input);
    jobs_done++;
}

static void work_test(void)
{
    struct uring *uring = NULL;
    struct uring_options options = {.buffer_bytes = 1u << 20, .work_threads = 4};
    int result = uring_open(&options, &uring);
    assert(result == 0);
    static struct job jobs[JOBS];
    for (unsigned i = 0; i < JOBS; i++) {
        jobs[i] = (struct job){.job = {.run = job_run, .done = job_done}, .input = i};
        work_submit(uring_work(uring), &jobs[i].job);
    }
    while (jobs_done < JOBS) {
        if (uring_collect(uring) == 0)
            (void)uring_wait(uring, CLOCK_NEVER);
    }
    uring_close(uring);
}

int main(void)
{
    post_test();
    work_test();
    printf("%u posts and %u jobs ran once and in order\n", ran, jobs_done);
    return 0;
}
