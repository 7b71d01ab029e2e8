/* SPDX-License-Identifier: Apache-2.0 */
/* volume import */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "cli/run.h"
#include "cli/text.h"
#include "cli/transfer.h"

struct importing {
    struct transfer transfer;
    const char *path; /* Or "standard input". */
    const char *name; /* Of the volume. */
    int fd;
    struct backup_reader *reader;
    struct backup_header header;
    char snapshot[SNAPSHOT_NAME_BYTES];
    bool ended;  /* The stream, as it should. */
    int refused; /* An exit status: the complaint was made. */
    struct piece pieces[LANES_SLOTS];
    unsigned piece_count;
    uint64_t zero_bytes;
};

/* --- Frames -------------------------------------------------------------------------------- */

static int send_write(struct piece *piece, const struct backup_extent *extent, uint8_t *data,
                      iomesh_done_fn *done)
{
    struct iomesh_volume *volume = piece->transfer->volume;
    return piece->slot->content.type == BACKUP_DATA
               ? iomesh_write(volume, extent->offset, (uint32_t)extent->bytes, data, 0, done, piece)
               : iomesh_discard(volume, extent->offset, extent->bytes, 0, done, piece);
}

static void piece_is_written(struct piece *piece)
{
    struct importing *importing = (struct importing *)(void *)piece->transfer;
    piece->busy = false;
    if (piece->slot->content.type == BACKUP_DATA)
        importing->transfer.data_bytes += piece->at;
    else
        importing->zero_bytes += piece->at;
    backup_reader_give(importing->reader, piece->slot);
}

static void take_extents(struct importing *importing, struct lanes_slot *slot)
{
    if (slot->owner == NULL)
        slot->owner = &importing->pieces[importing->piece_count++];
    struct piece *piece = slot->owner;
    *piece = (struct piece){
        .transfer = &importing->transfer, .slot = slot, .busy = true, .moved = piece_is_written};
    const struct backup_extent *last = &slot->content.extents[slot->content.count - 1];
    importing->transfer.position = last->offset + last->bytes;
    piece_go(piece, send_write);
}

/* --- The beginning ------------------------------------------------------------------------- */

/* Its snapshot must not be there yet: known before anything is touched. 0, or an exit status. */
static int look_for_snapshot(struct importing *importing)
{
    struct target *target = importing->transfer.target;
    struct iomesh_snapshot_info info;
    if (target_snapshot_show(target, importing->snapshot, &info) != 0)
        return 0;
    if (memcmp(info.uuid, importing->header.snapshot_uuid, sizeof info.uuid) == 0)
        return target_complain(target, "%s: %s holds this backup already", importing->path,
                               importing->snapshot);
    return target_complain(target,
                           "%s: there is another snapshot %s already: delete it, then try again",
                           importing->path, importing->snapshot);
}

/* What the pool said; a name that is none is the stream's, or the one that was given. */
static int refuse(const struct importing *importing, int result)
{
    const struct target *target = importing->transfer.target;
    char sentence[600];
    const char *said = iomesh_last_error();
    snprintf(sentence, sizeof sentence, "%s: %s", importing->path,
             said[0] != '\0' ? said : iomesh_error_text(result));
    return target_fail_saying(target, result, sentence);
}

static int begin(struct importing *importing)
{
    struct transfer *transfer = &importing->transfer;
    struct target *target = transfer->target;
    const struct backup_header *header = &importing->header;
    if (!snapshot_name(importing->name, header->snapshot, importing->snapshot))
        return target_complain(target, "%.40s…: too long to be a volume", importing->name);
    const bool increment = backup_is_increment(header);
    int status = increment ? look_for_snapshot(importing) : 0;
    if (status != 0)
        return status;
    struct iomesh_import_options options = IOMESH_IMPORT_OPTIONS_INIT;
    options.bytes = header->volume_bytes;
    options.sector_bytes = header->sector_bytes;
    options.uuid = header->snapshot_uuid;
    options.base = increment ? header->base_uuid : NULL;
    options.flags = increment && target->command->force ? IOMESH_IMPORT_FORCE : 0;
    options.copies = target->command->copies;
    options.copies_min = target->command->copies_min;
    options.domain = target->command->domain;
    options.classes = target->command->classes;
    int result = target_import_begin(target, importing->snapshot, &options, &transfer->volume);
    if (result != 0)
        return refuse(importing, result);
    transfer->total = header->volume_bytes;
    return 0;
}

/* --- The middle ---------------------------------------------------------------------------- */

static void take(struct importing *importing, struct lanes_slot *slot)
{
    switch (slot->content.type) {
    case BACKUP_DATA:
    case BACKUP_ZERO: take_extents(importing, slot); return;
    case BACKUP_HEADER:
        importing->header = slot->content.header;
        importing->refused = begin(importing);
        break;
    default: break; /* The end: that nothing follows is what next() tells. */
    }
    backup_reader_give(importing->reader, slot);
}

static void run(struct importing *importing)
{
    struct transfer *transfer = &importing->transfer;
    while (transfer->result == 0 && importing->refused == 0) {
        struct lanes_slot *slot;
        const int next = importing->ended ? 0 : backup_reader_next(importing->reader, &slot);
        if (next == 1) {
            take(importing, slot);
            continue;
        }
        if (next == -ENODATA)
            importing->ended = true;
        else if (next < 0)
            break;
        for (unsigned i = 0; i < importing->piece_count; i++)
            if (importing->pieces[i].busy)
                piece_go(&importing->pieces[i], send_write);
        if (importing->ended && transfer->in_flight == 0)
            break;
        transfer_turn(transfer);
    }
    transfer_drain(transfer);
}

/* --- The end ------------------------------------------------------------------------------- */

/* Closes the volume. What is left of it after a failure, for the end of the sentence. */
static const char *give_up(struct importing *importing)
{
    struct iomesh_volume *volume = importing->transfer.volume;
    importing->transfer.volume = NULL;
    if (volume == NULL && importing->header.volume_bytes == 0)
        return "nothing was imported"; /* It never said what it is. */
    if (volume == NULL)
        return backup_is_increment(&importing->header) ? "the volume is untouched"
                                                       : "no volume was made";
    struct progress progress;
    progress_begin(&progress, "volume abandon");
    int result = iomesh_volume_close_sync(volume);
    if (result == 0)
        result = target_import_abandon(importing->transfer.target, importing->name, progress_on,
                                       &progress);
    progress_end(&progress);
    if (result != 0)
        return "the volume is marked incomplete: iomesh-cli volume abandon gives the import up";
    return backup_is_increment(&importing->header) ? "the volume is what it was before"
                                                   : "no volume was made";
}

static int complain(struct importing *importing)
{
    struct transfer *transfer = &importing->transfer;
    struct target *target = transfer->target;
    /* A signal often ends who writes the stream as well: that is why it broke off. */
    const int result = transfer->result == 0 && transfer_interrupted() ? -EINTR : transfer->result;
    struct lanes_slot *slot;
    char why[400];
    if (result == -EINTR) {
        snprintf(why, sizeof why, "interrupted");
    } else if (result != 0) {
        snprintf(why, sizeof why, "%s: writing: %s", importing->name, iomesh_error_text(result));
    } else {
        const int next = backup_reader_next(importing->reader, &slot);
        snprintf(why, sizeof why, "%s: %s", importing->path,
                 next == -EBADMSG ? backup_reader_why(importing->reader) : strerror(-next));
    }
    const char *left = give_up(importing);
    return target_complain(target, "%s; %s", why, left);
}

static int tell(struct importing *importing, uint64_t took_ns)
{
    const struct command *command = importing->transfer.target->command;
    const uint64_t data = importing->transfer.data_bytes;
    const uint64_t stream = backup_reader_bytes(importing->reader);
    const struct backup_header *header = &importing->header;
    const bool kept = (header->flags & BACKUP_FLAG_PASSING) == 0;
    if (command->json)
        return json_out(command,
                        json_pack("{s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o}", "name",
                                  json_text(importing->name), "snapshot",
                                  kept ? json_text(header->snapshot) : json_null(), "uuid",
                                  json_uuid(header->snapshot_uuid), "since",
                                  header->base[0] != '\0' ? json_text(header->base) : json_null(),
                                  "data_bytes", json_number(data), "zero_bytes",
                                  json_number(importing->zero_bytes), "stream_bytes",
                                  json_number(stream), "duration_ns", json_number(took_ns)));
    char texts[4][TEXT_BYTES];
    printf("%s is imported: %s of data from %s, %s, %s/s\n",
           kept ? importing->snapshot : importing->name, text_size(data, texts[0]),
           text_size(stream, texts[1]), text_duration(took_ns, texts[2]),
           text_size(data / (took_ns / 1000000 + 1) * 1000, texts[3]));
    return 0;
}

/* The stream is whole: so is the volume, in one step. */
static int finish(struct importing *importing)
{
    struct target *target = importing->transfer.target;
    int result = iomesh_import_end_sync(importing->transfer.volume);
    if (result != 0) {
        char sentence[600];
        const char *said = iomesh_last_error();
        snprintf(sentence, sizeof sentence, "%s",
                 said[0] != '\0' ? said : iomesh_error_text(result));
        return target_complain(target, "%s; %s", sentence, give_up(importing));
    }
    result = iomesh_volume_close_sync(importing->transfer.volume);
    if (result == 0 && importing->header.flags & BACKUP_FLAG_PASSING)
        result = target_snapshot_delete(target, importing->snapshot);
    return result != 0 ? target_fail(target, result) : 0;
}

static int import(struct importing *importing)
{
    struct transfer *transfer = &importing->transfer;
    transfer_catch_signals();
    progress_begin(&transfer->progress, "volume import");
    run(importing);
    progress_end(&transfer->progress);
    if (importing->refused != 0)
        return importing->refused;
    if (transfer->result != 0 || !importing->ended)
        return complain(importing);
    int status = finish(importing);
    return status != 0 ? status : tell(importing, progress_age(&transfer->progress));
}

static int open_input(struct importing *importing)
{
    const struct target *target = importing->transfer.target;
    if (strcmp(importing->path, "-") == 0) {
        importing->path = "standard input";
        importing->fd = STDIN_FILENO;
        return isatty(STDIN_FILENO) != 1
                   ? 0
                   : target_complain(target, "standard input is a terminal: name a FILE, or let "
                                             "another program write it");
    }
    importing->fd = open(importing->path, O_RDONLY | O_CLOEXEC);
    return importing->fd >= 0 ? 0
                              : target_complain(target, "%s: %s", importing->path, strerror(errno));
}

int run_volume_import(const struct command *command)
{
    struct target target = {.command = command};
    struct importing importing = {.transfer.target = &target};
    importing.path = command->arguments[0];
    importing.name = command->arguments[1];
    int status = open_input(&importing);
    if (status != 0)
        return status;
    transfer_widen(importing.fd);
    status = target_open(&target, command);
    if (status == 0) {
        int result = backup_reader_open(importing.fd, transfer_threads(), transfer_wake,
                                        target.engine, &importing.reader);
        status = result == 0 ? import(&importing)
                             : target_complain(&target, "cannot begin: %s", strerror(-result));
        backup_reader_close(importing.reader);
        status = target_close(&target, status);
    }
    if (importing.fd != STDIN_FILENO)
        close(importing.fd);
    return status;
}
