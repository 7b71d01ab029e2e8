/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/transfer.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

static const uint64_t turn_ns = 100000000u; /* The longest that a signal or the bar waits. */
static volatile sig_atomic_t caught;

unsigned transfer_threads(void)
{
    const long processors = sysconf(_SC_NPROCESSORS_ONLN);
    if (processors < 1)
        return 1;
    return processors > LANES_THREADS_MAX ? LANES_THREADS_MAX : (unsigned)processors;
}

static void nothing(void *context)
{
    (void)context;
}

void transfer_wake(void *engine)
{
    /* Refused if a lot of them wait: then the engine is awake anyway. */
    (void)iomesh_post(engine, nothing, NULL);
}

static void on_signal(int number)
{
    caught = number;
}

void transfer_catch_signals(void)
{
    const struct sigaction action = {.sa_handler = on_signal, .sa_flags = (int)SA_RESETHAND};
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    sigaction(SIGHUP, &action, NULL);
}

bool transfer_interrupted(void)
{
    return caught != 0;
}

void transfer_fail(struct transfer *transfer, int result)
{
    if (transfer->result == 0)
        transfer->result = result;
}

void transfer_turn(struct transfer *transfer)
{
    const int ran = iomesh_wait(transfer->target->engine, turn_ns);
    if (ran < 0)
        transfer_fail(transfer, ran);
    if (transfer_interrupted())
        transfer_fail(transfer, -EINTR);
    progress_move(&transfer->progress, transfer->position, transfer->total, transfer->data_bytes);
}

void transfer_drain(struct transfer *transfer)
{
    while (transfer->in_flight > 0 && iomesh_wait(transfer->target->engine, turn_ns) >= 0)
        ;
}

void transfer_widen(int fd)
{
    (void)fcntl(fd, F_SETPIPE_SZ, BACKUP_DATA_BYTES_MAX); /* Refused if it is no pipe. */
}

static void piece_done(void *context, int result)
{
    struct piece *piece = context;
    struct transfer *transfer = piece->transfer;
    assert(piece->in_flight > 0 && transfer->in_flight > 0);
    piece->in_flight--;
    transfer->in_flight--;
    if (result != 0)
        transfer_fail(transfer, result);
    if (piece->in_flight == 0 && piece->sent == piece->slot->content.count)
        piece->moved(piece);
}

void piece_go(struct piece *piece, piece_send_fn *send)
{
    struct transfer *transfer = piece->transfer;
    const struct backup_content *content = &piece->slot->content;
    while (piece->sent < content->count && transfer->result == 0) {
        const struct backup_extent *extent = &content->extents[piece->sent];
        const int result = send(piece, extent, piece->slot->plain + piece->at, piece_done);
        if (result == -EAGAIN)
            return; /* After a completion, or the next turn, there is room again. */
        if (result != 0) {
            transfer_fail(transfer, result);
            return;
        }
        piece->at += extent->bytes;
        piece->sent++;
        piece->in_flight++;
        transfer->in_flight++;
    }
}
