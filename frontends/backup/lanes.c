/* SPDX-License-Identifier: Apache-2.0 */
#include "backup/lanes.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <unistd.h>

struct lane {
    struct lanes *lanes;
    struct backup_packer *packer;
    pthread_t thread;
};

struct lanes {
    struct lanes_steps steps;
    struct lanes_slot slots[LANES_SLOTS];
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    uint64_t owner_next;  /* The owner's alone. */
    uint64_t worker_next; /* Under the mutex from here on. */
    uint64_t turn;
    bool stop;
    struct lane lane[LANES_THREADS_MAX];
    unsigned thread_count;
};

/* --- Workers ------------------------------------------------------------------------------- */

/* Takes the next slot once it is given; NULL: stop. */
static struct lanes_slot *take(struct lanes *lanes, uint64_t *ret_ticket)
{
    pthread_mutex_lock(&lanes->mutex);
    const uint64_t ticket = lanes->worker_next++;
    struct lanes_slot *slot = &lanes->slots[ticket % LANES_SLOTS];
    while (!lanes->stop && (!slot->given || slot->taken))
        pthread_cond_wait(&lanes->changed, &lanes->mutex);
    const bool stop = lanes->stop;
    slot->taken = !stop;
    pthread_mutex_unlock(&lanes->mutex);
    *ret_ticket = ticket;
    return stop ? NULL : slot;
}

static bool await_turn(struct lanes *lanes, uint64_t ticket)
{
    pthread_mutex_lock(&lanes->mutex);
    while (!lanes->stop && lanes->turn != ticket)
        pthread_cond_wait(&lanes->changed, &lanes->mutex);
    const bool stop = lanes->stop;
    pthread_mutex_unlock(&lanes->mutex);
    return !stop;
}

static void end_turn(struct lanes *lanes)
{
    pthread_mutex_lock(&lanes->mutex);
    lanes->turn++;
    pthread_cond_broadcast(&lanes->changed);
    pthread_mutex_unlock(&lanes->mutex);
}

static void give_back(struct lanes *lanes, struct lanes_slot *slot)
{
    pthread_mutex_lock(&lanes->mutex);
    slot->given = slot->taken = false;
    pthread_cond_broadcast(&lanes->changed);
    pthread_mutex_unlock(&lanes->mutex);
    if (lanes->steps.notify != NULL)
        lanes->steps.notify(lanes->steps.notify_context);
}

static void step(const struct lanes *lanes, lanes_step_fn *fn, struct lanes_slot *slot,
                 struct backup_packer *packer)
{
    if (fn != NULL)
        fn(lanes->steps.context, slot, packer);
}

static void *work(void *argument)
{
    const struct lane *lane = argument;
    struct lanes *lanes = lane->lanes;
    pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, NULL);
    uint64_t ticket;
    for (struct lanes_slot *slot; (slot = take(lanes, &ticket)) != NULL;) {
        step(lanes, lanes->steps.before, slot, lane->packer);
        if (!await_turn(lanes, ticket))
            break;
        step(lanes, lanes->steps.in_turn, slot, lane->packer);
        end_turn(lanes);
        step(lanes, lanes->steps.after, slot, lane->packer);
        give_back(lanes, slot);
    }
    return NULL;
}

/* --- The owner ----------------------------------------------------------------------------- */

static int make_slots(struct lanes *lanes, bool given)
{
    for (unsigned i = 0; i < LANES_SLOTS; i++) {
        struct lanes_slot *slot = &lanes->slots[i];
        slot->plain = aligned_alloc(BACKUP_BLOCK_BYTES, BACKUP_DATA_BYTES_MAX);
        slot->head = malloc(BACKUP_FRAME_BYTES_MAX);
        if (slot->plain == NULL || slot->head == NULL)
            return -ENOMEM;
        slot->payload = slot->head + BACKUP_FRAME_HEAD_BYTES;
        slot->given = given;
    }
    return 0;
}

static int start(struct lanes *lanes)
{
    struct lane *lane = &lanes->lane[lanes->thread_count];
    lane->lanes = lanes;
    lane->packer = backup_packer_open();
    if (lane->packer == NULL)
        return -ENOMEM;
    int result = -pthread_create(&lane->thread, NULL, work, lane);
    if (result == 0)
        lanes->thread_count++;
    else
        backup_packer_close(lane->packer);
    return result;
}

int lanes_open(const struct lanes_steps *steps, unsigned threads, bool given,
               struct lanes **ret_lanes)
{
    assert(threads >= 1 && threads <= LANES_THREADS_MAX);
    struct lanes *lanes = calloc(1, sizeof *lanes);
    if (lanes == NULL)
        return -ENOMEM;
    lanes->steps = *steps;
    pthread_mutex_init(&lanes->mutex, NULL);
    pthread_cond_init(&lanes->changed, NULL);
    int result = make_slots(lanes, given);
    while (result == 0 && lanes->thread_count < threads)
        result = start(lanes);
    if (result != 0) {
        lanes_close(lanes);
        return result;
    }
    *ret_lanes = lanes;
    return 0;
}

struct lanes_slot *lanes_next(struct lanes *lanes)
{
    struct lanes_slot *slot = &lanes->slots[lanes->owner_next % LANES_SLOTS];
    pthread_mutex_lock(&lanes->mutex);
    const bool given = slot->given;
    pthread_mutex_unlock(&lanes->mutex);
    if (given || slot->held)
        return NULL;
    lanes->owner_next++;
    slot->held = true;
    return slot;
}

void lanes_give(struct lanes *lanes, struct lanes_slot *slot)
{
    assert(slot->held);
    slot->held = false;
    pthread_mutex_lock(&lanes->mutex);
    slot->given = true;
    pthread_cond_broadcast(&lanes->changed);
    pthread_mutex_unlock(&lanes->mutex);
}

bool lanes_idle(struct lanes *lanes)
{
    bool idle = true;
    pthread_mutex_lock(&lanes->mutex);
    for (unsigned i = 0; i < LANES_SLOTS; i++)
        idle = idle && !lanes->slots[i].given;
    pthread_mutex_unlock(&lanes->mutex);
    return idle;
}

void lanes_close(struct lanes *lanes)
{
    if (lanes == NULL)
        return;
    pthread_mutex_lock(&lanes->mutex);
    lanes->stop = true;
    pthread_cond_broadcast(&lanes->changed);
    pthread_mutex_unlock(&lanes->mutex);
    for (unsigned i = 0; i < lanes->thread_count; i++) {
        pthread_cancel(lanes->lane[i].thread);
        pthread_join(lanes->lane[i].thread, NULL);
        backup_packer_close(lanes->lane[i].packer);
    }
    pthread_cond_destroy(&lanes->changed);
    pthread_mutex_destroy(&lanes->mutex);
    for (unsigned i = 0; i < LANES_SLOTS; i++) {
        free(lanes->slots[i].plain);
        free(lanes->slots[i].head);
    }
    free(lanes);
}

/* --- Transfers ----------------------------------------------------------------------------- */

int lanes_write(int fd, const void *data, size_t length)
{
    const uint8_t *from = data;
    while (length > 0) {
        int old;
        pthread_setcancelstate(PTHREAD_CANCEL_ENABLE, &old);
        const ssize_t done = write(fd, from, length);
        const int error = errno;
        pthread_setcancelstate(old, NULL);
        if (done < 0 && error != EINTR)
            return -error;
        if (done > 0) {
            from += done;
            length -= (size_t)done;
        }
    }
    return 0;
}

int lanes_read(int fd, void *data, size_t length, size_t *ret_bytes)
{
    uint8_t *to = data;
    size_t bytes = 0;
    while (bytes < length) {
        int old;
        pthread_setcancelstate(PTHREAD_CANCEL_ENABLE, &old);
        const ssize_t done = read(fd, to + bytes, length - bytes);
        const int error = errno;
        pthread_setcancelstate(old, NULL);
        if (done < 0 && error != EINTR)
            return -error;
        if (done == 0)
            break;
        if (done > 0)
            bytes += (size_t)done;
    }
    *ret_bytes = bytes;
    return 0;
}
