/* SPDX-License-Identifier: Apache-2.0 */
/* A few threads that take jobs from one list and put them on another. */
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>

#include "uring/ring.h"

#define WORK_THREADS_MAX 64u

struct work_pool {
    struct uring *uring;
    pthread_mutex_t lock;
    pthread_cond_t more;
    struct list queued; /* Both lists: under the lock. Bounded by the jobs that callers own. */
    struct list done;
    bool stop;
    bool started; /* The engine's thread only. */
    unsigned thread_count;
    pthread_t threads[WORK_THREADS_MAX];
};

static void *work_thread(void *argument)
{
    struct work_pool *pool = argument;
    pthread_mutex_lock(&pool->lock);
    for (;;) {
        struct list *node = list_pop_front(&pool->queued);
        if (node == NULL) {
            if (pool->stop)
                break;
            pthread_cond_wait(&pool->more, &pool->lock);
            continue;
        }
        pthread_mutex_unlock(&pool->lock);
        struct work_job *job = LIST_ENTRY(node, struct work_job, node);
        job->run(job);
        pthread_mutex_lock(&pool->lock);
        list_push_back(&pool->done, &job->node);
        uring_wake(pool->uring);
    }
    pthread_mutex_unlock(&pool->lock);
    return NULL;
}

/* Signals are the program's: its own threads shall take them. */
static int work_thread_start(struct work_pool *pool)
{
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int error = pthread_create(&pool->threads[pool->thread_count], NULL, work_thread, pool);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (error == 0)
        pool->thread_count++;
    return -error;
}

int uring_work_open(struct uring *uring)
{
    struct work_pool *pool = calloc(1, sizeof *pool);
    if (pool == NULL)
        return -ENOMEM;
    pool->uring = uring;
    list_init(&pool->queued);
    list_init(&pool->done);
    pthread_mutex_init(&pool->lock, NULL);
    pthread_cond_init(&pool->more, NULL);
    uring->pool = pool;
    return 0;
}

static void work_start(struct work_pool *pool)
{
    uint32_t wanted = MIN(pool->uring->work_threads, WORK_THREADS_MAX);
    pool->started = true;
    for (uint32_t i = 0; i < wanted; i++) {
        if (work_thread_start(pool) != 0) {
            uring_notice(pool->uring, "only %u of %u work threads could be started", i, wanted);
            return;
        }
    }
}

static void work_submit_real(struct work *work, struct work_job *job)
{
    struct uring *uring = CONTAINER_OF(work, struct uring, work);
    struct work_pool *pool = uring->pool;
    if (!pool->started)
        work_start(pool);
    bool inlined = pool->thread_count == 0;
    /* No thread to be had: slower, but done. Its end still waits for the next turn. */
    if (inlined)
        job->run(job);
    pthread_mutex_lock(&pool->lock);
    list_push_back(inlined ? &pool->done : &pool->queued, &job->node);
    pthread_cond_signal(&pool->more);
    pthread_mutex_unlock(&pool->lock);
    if (inlined)
        uring_wake(uring);
}

const struct work_ops uring_work_ops = {.submit = work_submit_real};

unsigned uring_work_collect(struct uring *uring)
{
    struct work_pool *pool = uring->pool;
    if (!pool->started)
        return 0;
    struct list done;
    list_init(&done);
    pthread_mutex_lock(&pool->lock);
    list_splice_back(&done, &pool->done);
    pthread_mutex_unlock(&pool->lock);
    unsigned count = 0;
    for (struct list *node; (node = list_pop_front(&done)) != NULL; count++) {
        struct work_job *job = LIST_ENTRY(node, struct work_job, node);
        job->done(job);
    }
    return count;
}

void uring_work_close(struct uring *uring)
{
    struct work_pool *pool = uring->pool;
    if (pool == NULL)
        return;
    pthread_mutex_lock(&pool->lock);
    pool->stop = true;
    pthread_cond_broadcast(&pool->more);
    pthread_mutex_unlock(&pool->lock);
    for (unsigned i = 0; i < pool->thread_count; i++)
        pthread_join(pool->threads[i], NULL);
    pthread_cond_destroy(&pool->more);
    pthread_mutex_destroy(&pool->lock);
    free(pool);
    uring->pool = NULL;
}
