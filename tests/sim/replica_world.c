/* SPDX-License-Identifier: Apache-2.0 */
/* The queue of what is to come, the roads, and the metadata: see replica_rig.h. */
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "sim/replica_rig.h"

struct rig rig;

/* --- Chance and speech ------------------------------------------------------------------------ */

uint64_t rig_below(uint64_t limit)
{
    return limit == 0 ? 0 : prng_below(&rig.prng, limit);
}

bool rig_chance(uint64_t ppm)
{
    return rig_below(1000000) < ppm;
}

/* Mostly about the mean, now and then much longer. */
uint64_t rig_delay(uint64_t mean)
{
    uint64_t sum = 0;
    do
        sum += rig_below(mean * 2 + 1);
    while (rig_chance(250000) && sum < mean * 20);
    return sum;
}

void rig_say(const char *format, ...)
{
    if (!rig.verbose)
        return;
    va_list arguments;
    va_start(arguments, format);
    printf("%8llu ", (unsigned long long)rig.now);
    vprintf(format, arguments);
    putchar('\n');
    va_end(arguments);
}

void rig_fail(const char *format, ...)
{
    if (rig.fault[0] != '\0')
        return;
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(rig.fault, sizeof rig.fault, format, arguments);
    va_end(arguments);
    rig_say("FAULT %s", rig.fault);
}

/* --- The queue -------------------------------------------------------------------------------- */

struct event {
    uint64_t time, order;
    uint8_t kind, node;
    uint32_t life, detail; /* EVENT_MESSAGE: which message. */
};

static struct event *heap;
static uint32_t heap_count, heap_size;
static uint64_t event_order;
static struct message *messages;
static uint32_t *messages_free;
static uint32_t message_size, message_free_count;

static bool earlier(const struct event *a, const struct event *b)
{
    return a->time < b->time || (a->time == b->time && a->order < b->order);
}

static void push(struct event event)
{
    if (heap_count == heap_size) {
        heap_size = heap_size == 0 ? 1024 : heap_size * 2;
        heap = realloc(heap, heap_size * sizeof heap[0]);
        if (heap == NULL)
            abort();
    }
    uint32_t i = heap_count++;
    for (; i > 0 && earlier(&event, &heap[(i - 1) / 2]); i = (i - 1) / 2)
        heap[i] = heap[(i - 1) / 2];
    heap[i] = event;
}

static struct event pop(void)
{
    struct event first = heap[0];
    struct event last = heap[--heap_count];
    uint32_t i = 0;
    for (uint32_t child; (child = 2 * i + 1) < heap_count; i = child) {
        if (child + 1 < heap_count && earlier(&heap[child + 1], &heap[child]))
            child++;
        if (!earlier(&heap[child], &last))
            break;
        heap[i] = heap[child];
    }
    heap[i] = last;
    return first;
}

void rig_at(uint64_t delay, enum event_kind kind, uint8_t node, uint32_t life, uint32_t detail)
{
    push((struct event){.time = rig.now + delay,
                        .order = event_order++,
                        .kind = (uint8_t)kind,
                        .node = node,
                        .life = life,
                        .detail = detail});
}

static uint32_t message_take(const struct message *message)
{
    if (message_free_count == 0) {
        uint32_t size = message_size == 0 ? 256 : message_size * 2;
        messages = realloc(messages, size * sizeof messages[0]);
        messages_free = realloc(messages_free, size * sizeof messages_free[0]);
        if (messages == NULL || messages_free == NULL)
            abort();
        for (uint32_t i = size; i > message_size; i--)
            messages_free[message_free_count++] = i - 1;
        message_size = size;
    }
    uint32_t index = messages_free[--message_free_count];
    messages[index] = *message;
    return index;
}

void rig_send(const struct message *message)
{
    if (rig.blocked[message->from][message->to] || rig_chance(rig.drop_ppm))
        return;
    uint64_t mean = rig.net_us;
    if (message->to == RIG_META && rig.now < rig.meta.slow_until)
        mean *= 20;
    uint64_t late = rig.late[message->from][message->to];
    uint64_t delay = MAX(20 + rig_delay(mean), late - MIN(late, rig.now));
    rig_at(delay, EVENT_MESSAGE, message->to, 0, message_take(message));
    if (rig_chance(rig.repeat_ppm))
        rig_at(20 + rig_delay(rig.net_us * 6), EVENT_MESSAGE, message->to, 0,
               message_take(message));
}

/* --- The metadata ----------------------------------------------------------------------------- */

static bool grant(const struct message *message, uint32_t owner)
{
    struct register_ *meta = &rig.meta;
    if (meta->holder == (int)owner && meta->holder_life == message->life) {
        meta->expires = rig.now + rig.ttl; /* Asked again. */
        return true;
    }
    bool own = meta->holder == (int)owner; /* An earlier life of the same session: it is over. */
    bool held = meta->holder >= 0 && !own && rig.now < meta->expires;
    if (message->epoch != meta->record.epoch || (held && !message->force))
        return false;
    meta->record.epoch++;
    meta->granted_forced = held;
    meta->granted_sequence = meta->sequence;
    meta->sequence += RIG_LOT;
    meta->holder = (int)owner;
    meta->holder_life = message->life;
    meta->expires = rig.now + rig.ttl;
    rig_say("meta: epoch %llu to owner %u%s", (unsigned long long)meta->record.epoch, owner,
            held ? ", by force" : "");
    return true;
}

static bool transact(const struct message *message)
{
    struct register_ *meta = &rig.meta;
    if (message->record.epoch != meta->record.epoch && !MUTANT(221))
        return false;
    if (message->record.generation != meta->record.generation + 1)
        return true; /* What there is now tells whether it was this one. */
    if (message->record.epoch != meta->record.epoch)
        rig_fail("I6: a session that is over changed who is in sync");
    uint64_t epoch = meta->record.epoch;
    uint32_t in_sync = 0;
    meta->record = message->record;
    meta->record.epoch = epoch;
    char states[REPLICA_COPIES_MAX + 1] = "";
    for (uint32_t i = 0; i < REPLICA_COPIES_MAX; i++) {
        in_sync += meta->record.members[i].state == REPLICA_IN_SYNC;
        states[i] = "-scI"[meta->record.members[i].state];
    }
    rig_say("meta: generation %u: %s", meta->record.generation, states);
    if (in_sync == 0)
        rig_fail("I6: nobody is in sync any more");
    check_copies("a transaction");
    return true;
}

static void meta_message(const struct message *message)
{
    struct register_ *meta = &rig.meta;
    if (rig.now < meta->down_until)
        return;
    uint32_t owner = message->from - node_of_owner(0);
    bool mine = message->epoch == meta->record.epoch;
    bool ok = false;
    switch (message->kind) {
    case MESSAGE_ACQUIRE: ok = grant(message, owner); break;
    case MESSAGE_RENEW:
        ok = mine;
        if (ok)
            meta->expires = rig.now + rig.ttl;
        break;
    case MESSAGE_TRANSACT: ok = transact(message); break;
    default: return;
    }
    struct message answer = {
        .kind = MESSAGE_META,
        .of = message->kind,
        .from = RIG_META,
        .to = message->from,
        .life = message->life,
        .request = message->request,
        .status = ok ? STATUS_OK : STATUS_NO,
        .force = meta->granted_forced,
        .watermark = meta->granted_sequence,
        .sent = message->sent,
        .record = meta->record,
    };
    rig_send(&answer);
}

/* --- One seed --------------------------------------------------------------------------------- */

static void draw_world(void)
{
    static const uint8_t copies[] = {1, 2, 2, 3, 3, 3, 3, 3, 4, 5};
    rig.copies = copies[rig_below(sizeof copies)];
    rig.min_copies = rig.copies <= 2 ? 1 : rig.copies == 5 ? 3 : 2;
    rig.drop_ppm = rig_chance(500000) ? rig_below(60000) : 0;
    rig.repeat_ppm = rig_chance(500000) ? rig_below(80000) : 0;
    rig.net_us = 100 + rig_below(1500);
    rig.disk_us = 50 + rig_below(1500);
    rig.rot_left = (uint32_t)rig_below(3);
    rig.wipes_left = (uint32_t)rig_below(2);
    rig.ttl = 150000;
    rig.copy_timeout = 30000;
    rig.fence_timeout = 60000;
    rig.resend = 6000 + rig_below(4000);
    rig.tick = 3000;
    rig.flush_every = 60000;
    rig.kinds = prng_next(&rig.prng) | prng_next(&rig.prng);
    rig.faults_until = 500000 + rig_below(1000000);
    rig.ends = rig.faults_until + 900000;
}

static void clear(uint64_t seed)
{
    struct rig_counts counts = rig.counts;
    bool verbose = rig.verbose;
    heap_count = 0;
    event_order = 0;
    message_free_count = 0;
    for (uint32_t i = message_size; i > 0; i--)
        messages_free[message_free_count++] = i - 1;
    /* The history is long, and what is beyond its count is never looked at. */
    memset(&rig, 0, offsetof(struct rig, history));
    memset((char *)&rig + offsetof(struct rig, history_count), 0,
           sizeof rig - offsetof(struct rig, history_count));
    rig.counts = counts;
    rig.verbose = verbose;
    rig.prng.state = seed * 0x9e3779b97f4a7c15u;
}

static void populate(void)
{
    rig.meta.holder = -1;
    for (uint32_t i = 0; i < rig.copies; i++)
        rig.meta.record.members[i] =
            (struct replica_member){.store = i + 1, .state = REPLICA_IN_SYNC};
    for (uint32_t i = 0; i < RIG_STORES; i++) {
        rig.stores[i].boot = 1 + rig_below(1000);
        store_up(i);
    }
    for (uint32_t i = 0; i < RIG_OWNERS; i++) {
        rig.owners[i].drift_ppm = rig.quiet ? 0 : (int64_t)rig_below(40000) - 20000;
        rig.owners[i].near = (uint8_t)i;
        rig.owners[i].offset = 1 + rig_below(1000000);
    }
}

void rig_start(uint64_t seed)
{
    clear(seed);
    draw_world();
    populate();
    for (uint32_t i = 0; i < RIG_OWNERS; i++)
        rig_at(rig_below(30000), EVENT_OWNER_UP, node_of_owner(i), 0, 0);
    rig_at(20000 + rig_below(50000), EVENT_FAULT, 0, 0, 0);
}

void rig_start_story(uint32_t copies)
{
    clear(1);
    draw_world();
    rig.copies = copies;
    rig.min_copies = copies > 2 ? 2 : 1;
    rig.quiet = true;
    rig.drop_ppm = rig.repeat_ppm = 0;
    rig.net_us = rig.disk_us = 50;
    rig.resend = 6000;
    populate();
}

static void run_message(uint8_t node, uint32_t index)
{
    struct message message = messages[index];
    messages_free[message_free_count++] = index;
    if (node == RIG_META) {
        meta_message(&message);
    } else if (node < node_of_owner(0)) {
        store_message(node - node_of_store(0), &message);
    } else {
        uint32_t owner = node - node_of_owner(0);
        if (rig.owners[owner].up && message.life == rig.owners[owner].life)
            owner_message(owner, &message);
    }
}

static void run_owner(const struct event *event)
{
    uint32_t index = event->node - node_of_owner(0);
    const struct owner *owner = &rig.owners[index];
    if (owner->life != event->life)
        return;
    if (event->kind == EVENT_OWNER_UP)
        owner_up(index);
    else if (owner->up && event->kind == EVENT_TICK)
        owner_tick(index);
    else if (owner->up && event->kind == EVENT_WORK)
        work_event(index);
}

static void run_event(const struct event *event)
{
    uint32_t store = event->node - node_of_store(0);
    switch ((enum event_kind)event->kind) {
    case EVENT_FAULT: fault_event(); break;
    case EVENT_DISK:
        if (rig.stores[store].life == event->life)
            store_disk(store, event->detail);
        break;
    case EVENT_STORE_UP: store_up(store); break;
    case EVENT_OWNER_UP:
    case EVENT_TICK:
    case EVENT_WORK: run_owner(event); break;
    case EVENT_MESSAGE: run_message(event->node, event->detail); break;
    }
}

void rig_run(uint64_t until)
{
    while (heap_count > 0 && heap[0].time <= until && rig.fault[0] == '\0') {
        struct event event = pop();
        rig.now = event.time;
        rig.counts.events++;
        uint32_t index = event.node - node_of_owner(0);
        if (index < RIG_OWNERS && rig.owners[index].paused_until > rig.now) {
            event.time = rig.owners[index].paused_until;
            event.order = event_order++;
            push(event);
            continue;
        }
        run_event(&event);
    }
    if (rig.fault[0] == '\0')
        rig.now = until;
}
