/* SPDX-License-Identifier: Apache-2.0 */
/* volume export */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "cli/output.h"
#include "cli/run.h"
#include "cli/text.h"
#include "cli/transfer.h"

enum { MAP_EXTENTS = 4096 };

struct exporting {
    struct transfer transfer;
    struct output output;
    struct backup_header header;
    char name[SNAPSHOT_NAME_BYTES]; /* "NAME@SNAP" */
    bool passing;                   /* Taken for this. */
    uint64_t since;                 /* The base's cut. */
    struct backup_writer *writer;
    struct piece pieces[LANES_SLOTS];
    unsigned piece_count;
    struct lanes_slot *open; /* Extents are still added to it. */
    uint64_t open_bytes;
    struct iomesh_extent *map; /* MAP_EXTENTS; what is left of them. */
    uint32_t map_next, map_count;
    bool asked; /* For more of the map. */
    bool ended;
    uint64_t zero_bytes;
};

/* --- Frames -------------------------------------------------------------------------------- */

static int send_read(struct piece *piece, const struct backup_extent *extent, uint8_t *data,
                     iomesh_done_fn *done)
{
    return iomesh_read(piece->transfer->volume, extent->offset, (uint32_t)extent->bytes, data, done,
                       piece);
}

static void piece_is_read(struct piece *piece)
{
    struct exporting *exporting = (struct exporting *)(void *)piece->transfer;
    piece->busy = false;
    if (piece->transfer->result != 0)
        return;
    piece->transfer->data_bytes += piece->at;
    backup_writer_send(exporting->writer, piece->slot);
}

/* The piece that belongs to a slot, from the first time that it is seen. */
static struct piece *piece_of(struct exporting *exporting, struct lanes_slot *slot)
{
    if (slot->owner == NULL)
        slot->owner = &exporting->pieces[exporting->piece_count++];
    return slot->owner;
}

static void close_frame(struct exporting *exporting)
{
    struct lanes_slot *slot = exporting->open;
    exporting->open = NULL;
    exporting->open_bytes = 0;
    if (slot == NULL)
        return;
    if (slot->content.type != BACKUP_DATA) {
        backup_writer_send(exporting->writer, slot);
        return;
    }
    struct piece *piece = piece_of(exporting, slot);
    *piece = (struct piece){
        .transfer = &exporting->transfer, .slot = slot, .busy = true, .moved = piece_is_read};
    piece_go(piece, send_read);
}

/* A frame of this type with room for an extent, or NULL: later. */
static struct lanes_slot *open_frame(struct exporting *exporting, uint16_t type)
{
    struct lanes_slot *slot = exporting->open;
    if (slot != NULL && (slot->content.type != type || slot->content.count == BACKUP_EXTENTS_MAX ||
                         (type == BACKUP_DATA && exporting->open_bytes == BACKUP_DATA_BYTES_MAX)))
        close_frame(exporting);
    if (exporting->open != NULL)
        return exporting->open;
    slot = backup_writer_next(exporting->writer);
    if (slot != NULL) {
        slot->content.type = type;
        slot->content.count = 0;
        exporting->open = slot;
    }
    return slot;
}

/* --- The map ------------------------------------------------------------------------------- */

static void map_is_there(void *context, int result, uint32_t extent_count)
{
    struct exporting *exporting = context;
    exporting->asked = false;
    exporting->transfer.in_flight--;
    exporting->map_next = 0;
    exporting->map_count = extent_count;
    if (result != 0)
        transfer_fail(&exporting->transfer, result);
}

static void ask_for_map(struct exporting *exporting)
{
    struct transfer *transfer = &exporting->transfer;
    const uint64_t length = transfer->total - transfer->position;
    int result = backup_is_increment(&exporting->header)
                     ? iomesh_changed(transfer->volume, exporting->since, transfer->position,
                                      length, exporting->map, MAP_EXTENTS, map_is_there, exporting)
                     : iomesh_block_status(transfer->volume, transfer->position, length,
                                           exporting->map, MAP_EXTENTS, map_is_there, exporting);
    if (result == 0) {
        exporting->asked = true;
        transfer->in_flight++;
    } else if (result != -EAGAIN) {
        transfer_fail(transfer, result);
    }
}

/* What an extent of the map becomes; 0: nothing. */
static uint16_t type_of(const struct exporting *exporting, const struct iomesh_extent *extent)
{
    const bool zero = (extent->flags & IOMESH_EXTENT_ZERO) != 0;
    if (!backup_is_increment(&exporting->header))
        return zero ? 0 : BACKUP_DATA;
    if ((extent->flags & IOMESH_EXTENT_CHANGED) == 0)
        return 0;
    return zero ? BACKUP_ZERO : BACKUP_DATA;
}

/* Puts the beginning of an extent into a frame. How much; 0: there is no frame free. */
static uint64_t add(struct exporting *exporting, uint16_t type, uint64_t bytes)
{
    struct lanes_slot *slot = open_frame(exporting, type);
    if (slot == NULL)
        return 0;
    const uint64_t room = BACKUP_DATA_BYTES_MAX - exporting->open_bytes;
    if (type == BACKUP_DATA && bytes > room)
        bytes = room;
    slot->content.extents[slot->content.count++] =
        (struct backup_extent){exporting->transfer.position, bytes};
    if (type == BACKUP_DATA)
        exporting->open_bytes += bytes;
    else
        exporting->zero_bytes += bytes;
    return bytes;
}

static void end(struct exporting *exporting)
{
    close_frame(exporting);
    struct lanes_slot *slot = backup_writer_next(exporting->writer);
    if (slot == NULL)
        return;
    slot->content.type = BACKUP_END;
    backup_writer_send(exporting->writer, slot);
    exporting->ended = true;
}

/* As far as there are frames and map. */
static void fill(struct exporting *exporting)
{
    struct transfer *transfer = &exporting->transfer;
    while (transfer->result == 0 && !exporting->asked && !exporting->ended) {
        if (transfer->position == transfer->total) {
            end(exporting);
            return;
        }
        if (exporting->map_next == exporting->map_count) {
            ask_for_map(exporting);
            return;
        }
        struct iomesh_extent *extent = &exporting->map[exporting->map_next];
        const uint16_t type = type_of(exporting, extent);
        const uint64_t bytes = type == 0 ? extent->bytes : add(exporting, type, extent->bytes);
        if (bytes == 0)
            return;
        transfer->position += bytes;
        extent->bytes -= bytes;
        exporting->map_next += extent->bytes == 0;
    }
}

/* --- All of it ----------------------------------------------------------------------------- */

static void run(struct exporting *exporting)
{
    struct transfer *transfer = &exporting->transfer;
    struct lanes_slot *slot = backup_writer_next(exporting->writer);
    slot->content.type = BACKUP_HEADER;
    slot->content.header = exporting->header;
    backup_writer_send(exporting->writer, slot);
    while (transfer->result == 0 && backup_writer_error(exporting->writer) == 0 &&
           !(exporting->ended && backup_writer_idle(exporting->writer))) {
        fill(exporting);
        for (unsigned i = 0; i < exporting->piece_count; i++)
            if (exporting->pieces[i].busy)
                piece_go(&exporting->pieces[i], send_read);
        transfer_turn(transfer);
    }
    transfer_drain(transfer);
}

static int tell(struct exporting *exporting, uint64_t took_ns)
{
    const struct target *target = exporting->transfer.target;
    const struct command *command = target->command;
    const uint64_t data = exporting->transfer.data_bytes;
    const uint64_t stream = backup_writer_bytes(exporting->writer);
    if (command->json)
        return json_out(command,
                        json_pack("{s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o}", "name",
                                  json_text(command->arguments[0]), "uuid",
                                  json_uuid(exporting->header.snapshot_uuid), "since",
                                  command->since != NULL ? json_text(command->since) : json_null(),
                                  "file", json_text(exporting->output.path), "data_bytes",
                                  json_number(data), "zero_bytes",
                                  json_number(exporting->zero_bytes), "stream_bytes",
                                  json_number(stream), "duration_ns", json_number(took_ns)));
    if (exporting->output.fd == STDOUT_FILENO)
        return 0;
    char texts[4][TEXT_BYTES];
    printf("%s is exported to %s: %s of data in %s, %s, %s/s\n", command->arguments[0],
           exporting->output.path, text_size(data, texts[0]), text_size(stream, texts[1]),
           text_duration(took_ns, texts[2]),
           text_size(data / (took_ns / 1000000 + 1) * 1000, texts[3]));
    return 0;
}

/* Why it ended early. */
static int complain(struct exporting *exporting)
{
    const struct target *target = exporting->transfer.target;
    const int error = backup_writer_error(exporting->writer);
    const int result = exporting->transfer.result;
    if (error != 0)
        return target_complain(target, "%s: %s",
                               exporting->output.fd == STDOUT_FILENO ? "standard output"
                                                                     : exporting->output.path,
                               strerror(-error));
    if (result == -EINTR)
        return target_complain(target, "interrupted: %s is not exported", exporting->name);
    char sentence[400];
    snprintf(sentence, sizeof sentence, "%s: reading: %s", exporting->name,
             iomesh_error_text(result));
    return target_fail_saying(target, result, sentence);
}

static int move(struct exporting *exporting)
{
    struct transfer *transfer = &exporting->transfer;
    struct target *target = transfer->target;
    int result = backup_writer_open(exporting->output.fd, transfer_threads(), transfer_wake,
                                    target->engine, &exporting->writer);
    if (result != 0)
        return target_complain(target, "cannot begin: %s", strerror(-result));
    transfer_widen(exporting->output.fd);
    progress_begin(&transfer->progress, "volume export");
    run(exporting);
    const uint64_t took_ns = progress_age(&transfer->progress);
    progress_end(&transfer->progress);
    int status = transfer->result != 0 || backup_writer_error(exporting->writer) != 0
                     ? complain(exporting)
                     : output_finish(&exporting->output, target);
    if (status == 0)
        status = tell(exporting, took_ns);
    backup_writer_close(exporting->writer);
    return status;
}

/* The pieces of a header: who and what. */
static int describe(struct exporting *exporting)
{
    struct target *target = exporting->transfer.target;
    struct backup_header *header = &exporting->header;
    const char *since = target->command->since;
    struct iomesh_snapshot_info info;
    struct iomesh_snapshot_info base;
    struct iomesh_pool_status pool = {.size = sizeof pool};
    int result = target_snapshot_show(target, exporting->name, &info);
    char base_name[SNAPSHOT_NAME_BYTES];
    if (result == 0 && since != NULL) {
        if (!snapshot_name(exporting->name, since, base_name))
            return target_complain(target, "--since: too long to be a snapshot");
        result = target_snapshot_show(target, base_name, &base);
    }
    if (result == 0)
        result = target_status(target, &pool);
    if (result != 0)
        return target_fail(target, result);
    if (since != NULL && base.cut >= info.cut)
        return target_complain(target, "--since %s: it is no older than %s: name one that is",
                               since, exporting->name);
    memcpy(header->pool_uuid, pool.uuid, sizeof pool.uuid);
    memcpy(header->snapshot_uuid, info.uuid, sizeof info.uuid);
    header->volume_id = info.volume_id;
    header->volume_bytes = info.bytes;
    header->created_ns = info.created_ns;
    header->flags = exporting->passing ? BACKUP_FLAG_PASSING : 0;
    memcpy(header->volume, info.volume, sizeof info.volume);
    memcpy(header->snapshot, info.name, sizeof info.name);
    if (since != NULL) {
        memcpy(header->base_uuid, base.uuid, sizeof base.uuid);
        memcpy(header->base, base.name, sizeof base.name);
        exporting->since = base.cut;
    }
    exporting->transfer.total = info.bytes;
    return 0;
}

static int export_snapshot(struct exporting *exporting)
{
    struct transfer *transfer = &exporting->transfer;
    struct target *target = transfer->target;
    int status = describe(exporting);
    if (status != 0)
        return status;
    exporting->map = calloc(MAP_EXTENTS, sizeof *exporting->map);
    int result = exporting->map == NULL
                     ? -ENOMEM
                     : target_volume_open(target, exporting->name, IOMESH_VOLUME_READ_ONLY,
                                          &transfer->volume);
    if (result == 0) {
        exporting->header.sector_bytes = iomesh_volume_sector_bytes(transfer->volume);
        status = move(exporting);
        result = iomesh_volume_close_sync(transfer->volume);
    }
    free(exporting->map);
    return result != 0 && status == 0 ? target_fail(target, result) : status;
}

/* Of a volume as it is now: through a snapshot that is gone afterwards. */
static int export_volume(struct exporting *exporting)
{
    struct target *target = exporting->transfer.target;
    const char *name = target->command->arguments[0];
    char made[TEXT_BYTES];
    snprintf(made, sizeof made, "export-%llu-%u", (unsigned long long)time(NULL),
             (unsigned)getpid());
    if (!snapshot_name(name, made, exporting->name))
        return target_complain(target, "%.40s…: too long to be a volume", name);
    int result = target_snapshot_create(target, exporting->name);
    if (result != 0)
        return target_fail(target, result);
    exporting->passing = true;
    int status = export_snapshot(exporting);
    result = target_snapshot_delete(target, exporting->name);
    if (result == 0)
        result = target_settle(target, exporting->header.volume);
    return result != 0 && status == 0 ? target_fail(target, result) : status;
}

int run_volume_export(const struct command *command)
{
    struct target target = {.command = command};
    struct exporting exporting = {.transfer.target = &target};
    const char *name = command->arguments[0];
    transfer_catch_signals(); /* From here on there is something to be taken away. */
    int status = output_open(&exporting.output, &target, command->arguments[1]);
    if (status != 0)
        return status;
    status = target_open(&target, command);
    if (status == 0) {
        if (strchr(name, '@') == NULL)
            status = export_volume(&exporting);
        else if (snapshot_name(name, strchr(name, '@') + 1, exporting.name))
            status = export_snapshot(&exporting);
        else
            status = target_complain(&target, "%.40s…: too long to be a snapshot", name);
        status = target_close(&target, status);
    }
    output_close(&exporting.output);
    return status;
}
