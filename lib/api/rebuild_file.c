/* SPDX-License-Identifier: Apache-2.0 */
/* What the stores of a node say, written to a file and read on another node. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "api/rebuild.h"
#include "format/metadata_gathered.h"

/* --- Writing -------------------------------------------------------------------------------- */

struct writing {
    FILE *file;
    uint32_t sum;
    int error; /* errno of the first that failed. */
    uint8_t whole[METADATA_COPY_BYTES_MAX];
    uint8_t
        entry[METADATA_COPY_ENTRY_BYTES + METADATA_COPY_KEY_BYTES_MAX + METADATA_COPY_BYTES_MAX];
};

static void write_entry(struct writing *writing, const char *key, size_t key_length,
                        const struct metadata_stamp *stamp, const void *data, uint32_t bytes)
{
    struct metadata_copy copy = {.key_length = (uint32_t)key_length, .data = writing->whole};
    if (stamp != NULL) {
        metadata_stamp_put(writing->whole, stamp);
        copy.bytes = METADATA_COPY_STAMP_BYTES;
    }
    memcpy(writing->whole + copy.bytes, data, bytes);
    copy.bytes += bytes;
    memcpy(copy.key, key, key_length);
    uint32_t length = metadata_copy_list(writing->entry, sizeof writing->entry, &copy);
    writing->sum = gathered_sum(writing->sum, writing->entry, length);
    if (writing->error == 0 && fwrite(writing->entry, 1, length, writing->file) != length)
        writing->error = errno;
}

static void write_store(struct writing *writing, const struct rebuild_store *store)
{
    uint8_t bytes[MAX(GATHERED_STORE_BYTES_MAX, GATHERED_PART_BYTES)];
    struct gathered_store own = {.incarnation = store->incarnation};
    memcpy(own.uuid, store->uuid, sizeof own.uuid);
    (void)snprintf(own.path, sizeof own.path, "%s", store->path);
    write_entry(writing, GATHERED_STORE, strlen(GATHERED_STORE), NULL, bytes,
                gathered_store_put(bytes, &own));
    for (const struct rebuild_part *part = store->parts; part != NULL; part = part->next) {
        const struct part_state *state = &part->state;
        struct part_saved saved = {.used = true,
                                   .role = state->role,
                                   .group = part->group,
                                   .volume = part->volume,
                                   .epoch = state->epoch,
                                   .watermark = state->watermark,
                                   .heard = state->heard,
                                   .flushed = MIN(state->flushed, state->watermark),
                                   .settled = state->settled,
                                   .generation = state->generation,
                                   .role_generation =
                                       MIN(state->role_generation, state->generation)};
        gathered_part_put(bytes, &saved, part->sequence);
        write_entry(writing, GATHERED_PART, strlen(GATHERED_PART), NULL, bytes,
                    GATHERED_PART_BYTES);
    }
    for (const struct rebuild_copy *copy = store->copies; copy != NULL; copy = copy->next)
        write_entry(writing, (const char *)copy->key.bytes, copy->key.length, &copy->stamp,
                    copy->data, copy->bytes);
}

static void write_all(struct writing *writing, const struct rebuild *rebuild)
{
    uint8_t sum[4];
    write_entry(writing, GATHERED_FIRST, strlen(GATHERED_FIRST), NULL, GATHERED_MAGIC, 4);
    for (uint32_t i = 0; i < rebuild->store_count; i++)
        write_store(writing, rebuild->stores[i]);
    put32(sum, writing->sum);
    write_entry(writing, GATHERED_END, strlen(GATHERED_END), NULL, sum, sizeof sum);
    if (writing->error == 0 && (fflush(writing->file) != 0 || fsync(fileno(writing->file)) != 0))
        writing->error = errno;
    if (fclose(writing->file) != 0 && writing->error == 0)
        writing->error = errno;
}

int rebuild_save(const struct rebuild *rebuild, const char *path)
{
    struct writing *writing = calloc(1, sizeof *writing);
    if (writing == NULL)
        return FAIL(-ENOMEM, "%s: no memory", path);
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd >= 0)
        writing->file = fdopen(fd, "w");
    int result = 0;
    if (writing->file == NULL) {
        result = FAIL(-errno, "%s: cannot be made: %s", path, strerror(errno));
    } else {
        write_all(writing, rebuild);
        if (writing->error != 0) {
            (void)unlink(path);
            result = FAIL(-writing->error, "%s: %s", path, strerror(writing->error));
        }
    }
    free(writing);
    return result;
}

/* --- Reading -------------------------------------------------------------------------------- */

static int read_part(struct rebuild_store *store, const struct metadata_copy *entry)
{
    struct part_saved saved;
    uint64_t sequence;
    int result = gathered_part_get(entry->data, entry->bytes, &saved, &sequence);
    if (result != 0 || store == NULL)
        return result != 0 ? result : IOMESH_CORRUPT;
    struct rebuild_part *part = calloc(1, sizeof *part);
    if (part == NULL)
        return -ENOMEM;
    part->volume = saved.volume;
    part->group = saved.group;
    part->sequence = sequence;
    part->state = (struct part_state){.epoch = saved.epoch,
                                      .watermark = saved.watermark,
                                      .heard = saved.heard,
                                      .flushed = saved.flushed,
                                      .settled = saved.settled,
                                      .generation = saved.generation,
                                      .role_generation = saved.role_generation,
                                      .role = saved.role};
    part->next = store->parts;
    store->parts = part;
    return 0;
}

static int read_store(struct rebuild *rebuild, const struct metadata_copy *entry,
                      struct rebuild_store **ret_store)
{
    struct gathered_store own;
    int result = gathered_store_get(entry->data, entry->bytes, &own);
    if (result != 0)
        return result;
    struct rebuild_store *store = rebuild_store_new(rebuild, own.path);
    if (store == NULL)
        return -ENOMEM;
    memcpy(store->uuid, own.uuid, sizeof own.uuid);
    const struct rebuild_store *same = rebuild_store_same(rebuild, store);
    if (same != NULL)
        return FAIL(-EEXIST, "%s: is the same store as %s", own.path, same->path);
    store->incarnation = own.incarnation;
    *ret_store = store;
    return 0;
}

static int read_entries(struct rebuild *rebuild, const uint8_t *bytes, uint32_t length)
{
    struct rebuild_store *store = NULL;
    uint32_t sum = 0;
    for (uint32_t at = 0; at < length;) {
        struct metadata_copy entry;
        int result = metadata_copy_listed(bytes + at, length - at, &entry);
        if (result < 0)
            return IOMESH_CORRUPT;
        bool first = strcmp(entry.key, GATHERED_FIRST) == 0;
        if ((at == 0) != first ||
            (first && (entry.bytes != 4 || memcmp(entry.data, GATHERED_MAGIC, 4) != 0)))
            return IOMESH_FORMAT;
        if (strcmp(entry.key, GATHERED_END) == 0)
            return entry.bytes == 4 && at + (uint32_t)result == length && get32(entry.data) == sum
                       ? 0
                       : IOMESH_CORRUPT;
        sum = gathered_sum(sum, bytes + at, (uint32_t)result);
        at += (uint32_t)result;
        result = 0;
        if (strcmp(entry.key, GATHERED_STORE) == 0)
            result = read_store(rebuild, &entry, &store);
        else if (strcmp(entry.key, GATHERED_PART) == 0)
            result = read_part(store, &entry);
        else if (!first)
            result = store == NULL ? IOMESH_CORRUPT : rebuild_copy_add(rebuild, store, &entry);
        if (result != 0)
            return result;
    }
    return IOMESH_CORRUPT; /* Its end is missing. */
}

int rebuild_load(struct rebuild *rebuild, const char *path)
{
    struct stat is;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return FAIL(-errno, "%s: %s", path, strerror(errno));
    uint8_t *bytes = NULL;
    ssize_t length = -1;
    if (fstat(fd, &is) == 0 && (uint64_t)is.st_size <= GATHERED_BYTES_MAX &&
        (bytes = malloc((size_t)is.st_size + 1)) != NULL)
        length = read(fd, bytes, (size_t)is.st_size + 1);
    (void)close(fd);
    base_clear_error();
    int result = length != is.st_size ? -EIO : read_entries(rebuild, bytes, (uint32_t)length);
    free(bytes);
    if (result != 0 && base_last_error()[0] == '\0')
        (void)FAIL(result, "%s: %s", path,
                   result == IOMESH_FORMAT ? "was not made by pool rebuild-metadata --save"
                                           : base_error_text(result));
    return result;
}
