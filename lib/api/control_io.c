/* SPDX-License-Identifier: Apache-2.0 */
/* Volumes that a connection opened, and I/O on them. */
#include <stdlib.h>
#include <string.h>

#include "api/control.h"

/* --- Memory -------------------------------------------------------------------------------- */

static void io_free(struct control_io *io)
{
    for (unsigned i = 0; i < CONTROL_SLOTS; i++) {
        free(io->slots[i].data);
        free(io->slots[i].extents);
    }
    free(io);
}

static void slot_sent(struct control_answer *answer);
static void slot_retry(struct timer *timer);

static int io_make(struct control_session *session)
{
    struct control_io *io = calloc(1, sizeof *io);
    bool good = io != NULL;
    for (unsigned i = 0; good && i < CONTROL_SLOTS; i++) {
        struct control_slot *slot = &io->slots[i];
        slot->session = slot->answer.session = session;
        slot->answer.sent = slot_sent;
        slot->retry.fire = slot_retry;
        slot->data = aligned_alloc(BLOCK_BYTES, CONTROL_PAYLOAD_BYTES_MAX);
        slot->extents = calloc(CONTROL_EXTENTS_MAX, sizeof *slot->extents);
        good = slot->data != NULL && slot->extents != NULL;
    }
    if (!good) {
        if (io != NULL)
            io_free(io);
        return FAIL(-ENOMEM, "no memory for what a connection reads and writes");
    }
    session->io = io;
    return 0;
}

/* --- Handles ------------------------------------------------------------------------------- */

static struct control_opened *io_find(struct control_session *session, uint32_t number)
{
    for (unsigned i = 0; session->io != NULL && i < IOMESH_CONTROL_VOLUMES_MAX; i++) {
        if (number != 0 && session->io->opened[i].number == number)
            return &session->io->opened[i];
    }
    (void)FAIL(-EBADF, "the connection has no volume of number %u open", number);
    return NULL;
}

static void io_drop(struct control_session *session, struct control_opened *opened)
{
    *opened = (struct control_opened){0};
    session->io->opened_count--;
    session->control->handles--;
}

static void io_opened(void *context, int result, struct iomesh_volume *volume)
{
    struct control_session *session = context;
    struct control_io *io = session->io;
    session->control->operations--;
    if (result == 0) {
        struct control_opened *opened = io->opened;
        while (opened->number != 0)
            opened++;
        *opened = (struct control_opened){.number = ++io->number_last, .volume = volume};
        io->opened_count++;
        session->control->handles++;
        struct iomesh_volume_info info = {
            .size = sizeof info,
            .bytes = iomesh_volume_bytes(volume),
            .sector_bytes = iomesh_volume_sector_bytes(volume),
        };
        session->response.handle = opened->number;
        session->response.read_only = iomesh_volume_is_read_only(volume) != 0;
        result = control_response_add(&session->response, &info);
    }
    control_answer(session, result);
}

static int io_open(struct control_session *session, struct iomesh_pool *pool)
{
    const struct control_request *request = &session->request;
    int result = session->io == NULL ? io_make(session) : 0;
    if (result != 0)
        return result;
    if (session->io->opened_count == IOMESH_CONTROL_VOLUMES_MAX)
        return FAIL(-EMFILE, "a connection has at most %u volumes open",
                    IOMESH_CONTROL_VOLUMES_MAX);
    if (request->kind == CONTROL_OPEN) {
        struct iomesh_volume_options options = IOMESH_VOLUME_OPTIONS_INIT;
        options.flags = request->flags;
        return iomesh_volume_open(pool, request->name, &options, io_opened, session);
    }
    struct iomesh_import_options options = IOMESH_IMPORT_OPTIONS_INIT;
    options.bytes = request->bytes;
    options.sector_bytes = request->sector_bytes;
    options.flags = request->flags;
    options.uuid = request->has_uuid ? request->uuid : NULL;
    options.base = request->has_base ? request->base : NULL;
    return iomesh_import_begin(pool, request->name, &options, io_opened, session);
}

void control_io_open(struct control_session *session, struct iomesh_pool *pool)
{
    session->control->operations++;
    int result = io_open(session, pool);
    if (result == 0)
        return;
    session->control->operations--;
    control_answer(session, result);
}

static void io_handled(void *context, int result)
{
    struct control_session *session = context;
    session->control->operations--;
    control_answer(session, result);
}

static int io_handle(struct control_session *session)
{
    struct control_opened *opened = io_find(session, session->request.handle);
    if (opened == NULL)
        return -EBADF;
    if (session->request.kind == CONTROL_IMPORT_END)
        return iomesh_import_end(opened->volume, io_handled, session);
    int result = iomesh_volume_close(opened->volume, io_handled, session);
    if (result == 0)
        io_drop(session, opened);
    return result;
}

void control_io_handle(struct control_session *session)
{
    session->control->operations++;
    int result = io_handle(session);
    if (result == 0)
        return;
    session->control->operations--;
    control_answer(session, result);
}

/* --- Ending -------------------------------------------------------------------------------- */

static void io_closed(void *context, int result)
{
    (void)result;
    struct control_session *session = context;
    session->control->operations--;
    session->closing = false;
    control_go_on(session);
}

static void io_close_retry(struct timer *timer)
{
    control_go_on(CONTAINER_OF(timer, struct control_session, limit));
}

bool control_io_ended(struct control_session *session)
{
    struct control_io *io = session->io;
    if (io == NULL)
        return true;
    /* One after the other; of a request that is worked on the handle may be needed. */
    if (session->closing || io->busy_count > 0 ||
        (session->working && session->request.kind >= CONTROL_OPEN))
        return false;
    for (unsigned i = 0; i < IOMESH_CONTROL_VOLUMES_MAX; i++) {
        struct control_opened *opened = &io->opened[i];
        if (opened->number == 0)
            continue;
        session->control->operations++;
        session->closing = true;
        if (iomesh_volume_close(opened->volume, io_closed, session) == 0) {
            io_drop(session, opened);
            return false;
        }
        /* No memory, now. */
        session->control->operations--;
        session->closing = false;
        session->limit.fire = io_close_retry;
        clock_set_after(session->control->pool->clock, &session->limit, NS_PER_S);
        return false;
    }
    io_free(io);
    session->io = NULL;
    return true;
}

/* --- Slots --------------------------------------------------------------------------------- */

struct control_slot *control_io_slot(struct control_session *session)
{
    struct control_io *io = session->io;
    struct control_slot *slot = io->slots;
    while (slot->busy)
        slot++;
    assert(slot < io->slots + CONTROL_SLOTS);
    slot->busy = true;
    io->busy_count++;
    slot->request = session->request;
    control_request_done(&slot->request);
    session->request = (struct control_request){0};
    return slot;
}

static void slot_sent(struct control_answer *answer)
{
    struct control_slot *slot = CONTAINER_OF(answer, struct control_slot, answer);
    slot->busy = false;
    slot->session->io->busy_count--;
    control_go_on(slot->session);
}

static void slot_answer(struct control_slot *slot, int result, uint32_t extents, bool sentence)
{
    struct control_session *session = slot->session;
    if (session->state == CONTROL_GONE) {
        slot_sent(&slot->answer);
        return;
    }
    struct control_response response = {.id = slot->request.id, .extent_count = extents};
    if (extents > 0)
        response.extents = slot->extents;
    if (result == 0 && slot->request.kind == CONTROL_READ)
        response.payload = (uint32_t)slot->request.length;
    control_say(&response, result, sentence);
    control_send(&slot->answer, &response, slot->data);
}

static void slot_done(void *context, int result)
{
    slot_answer(context, result, 0, false);
}

static void slot_extents(void *context, int result, uint32_t extent_count)
{
    slot_answer(context, result, extent_count, false);
}

static int slot_submit(struct control_slot *slot)
{
    const struct control_request *request = &slot->request;
    struct control_opened *opened = io_find(slot->session, request->handle);
    if (opened == NULL)
        return -EBADF;
    struct iomesh_volume *volume = opened->volume;
    uint64_t offset = request->offset;
    uint64_t length = request->length;
    switch (request->kind) {
    case CONTROL_READ:
        if (length > CONTROL_PAYLOAD_BYTES_MAX)
            return FAIL(-EINVAL, "%llu bytes are more than an answer carries (%u)",
                        (unsigned long long)length, CONTROL_PAYLOAD_BYTES_MAX);
        return iomesh_read(volume, offset, (uint32_t)length, slot->data, slot_done, slot);
    case CONTROL_WRITE:
        return iomesh_write(volume, offset, request->payload, slot->data, request->flags, slot_done,
                            slot);
    case CONTROL_FLUSH: return iomesh_flush(volume, slot_done, slot);
    case CONTROL_DISCARD:
        return iomesh_discard(volume, offset, length, request->flags, slot_done, slot);
    case CONTROL_ZEROES:
        return iomesh_write_zeroes(volume, offset, length, request->flags, slot_done, slot);
    case CONTROL_BLOCK_STATUS:
        return iomesh_block_status(volume, offset, length, slot->extents,
                                   MIN(request->limit, CONTROL_EXTENTS_MAX), slot_extents, slot);
    default:
        return iomesh_changed(volume, request->since, offset, length, slot->extents,
                              MIN(request->limit, CONTROL_EXTENTS_MAX), slot_extents, slot);
    }
}

void control_io_start(struct control_slot *slot)
{
    base_clear_error();
    int result = slot_submit(slot);
    if (result == -EAGAIN)
        clock_set_after(slot->session->control->pool->clock, &slot->retry, CONTROL_RETRY_NS);
    else if (result != 0)
        slot_answer(slot, result, 0, true);
}

static void slot_retry(struct timer *timer)
{
    control_io_start(CONTAINER_OF(timer, struct control_slot, retry));
}
