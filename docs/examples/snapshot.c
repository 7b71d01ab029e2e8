/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A snapshot is taken, the volume written on, what has changed is told, and the volume rolled back.
 *
 *     cc snapshot.c -o snapshot $(pkg-config --cflags --libs iomesh) && ./snapshot /var/tmp/pool
 */
#include <stdio.h>
#include <string.h>

#include <iomesh/iomesh.h>

#define BYTES (1ull << 30)

static int failed(const char *what, int code)
{
    const char *sentence = iomesh_last_error();
    fprintf(stderr, "%s: %s\n", what, sentence[0] != '\0' ? sentence : iomesh_error_text(code));
    return 1;
}

static int put(struct iomesh_volume *volume, uint64_t offset, const char *text)
{
    char block[4096] = {0};
    snprintf(block, sizeof block, "%s", text);
    return iomesh_write_sync(volume, offset, sizeof block, block, 0);
}

/* What is at the beginning of the volume, or of a snapshot of it. */
static int show(struct iomesh_pool *pool, const char *name, char block[4096])
{
    struct iomesh_volume *volume = NULL;
    int code = iomesh_volume_open_sync(pool, name, NULL, &volume);
    if (code == 0)
        code = iomesh_read_sync(volume, 0, 4096, block);
    if (code == 0)
        printf("%s: %s\n", name, block);
    int closed = iomesh_volume_close_sync(volume);
    return code != 0 ? code : closed;
}

/* Each stretch that was written since the snapshot; the rest costs nothing to ask about. */
static int diff(struct iomesh_pool *pool, struct iomesh_volume *volume, const char *snapshot)
{
    struct iomesh_snapshot_info info = {.size = sizeof info};
    struct iomesh_extent extents[64];
    int code = iomesh_snapshot_show_sync(pool, snapshot, 0, &info);
    for (uint64_t offset = 0; code >= 0 && offset < BYTES;) {
        code = iomesh_changed_sync(volume, info.cut, offset, BYTES - offset, extents, 64);
        for (int i = 0; i < code; i++) {
            if (extents[i].flags & IOMESH_EXTENT_CHANGED)
                printf("changed: %llu bytes at %llu\n", (unsigned long long)extents[i].bytes,
                       (unsigned long long)offset);
            offset += extents[i].bytes;
        }
    }
    return code < 0 ? code : 0;
}

static int use(struct iomesh_pool *pool)
{
    struct iomesh_volume_create_options create = IOMESH_VOLUME_CREATE_OPTIONS_INIT;
    struct iomesh_volume *volume = NULL;
    create.bytes = BYTES;
    int code = iomesh_volume_create_sync(pool, "letters", &create);
    if (code == 0)
        code = iomesh_volume_open_sync(pool, "letters", NULL, &volume);
    if (code == 0)
        code = put(volume, 0, "the first version");
    if (code == 0)
        code = iomesh_snapshot_create_sync(pool, "letters@monday"); /* While it is in use. */
    if (code == 0)
        code = put(volume, 0, "the second version");
    if (code == 0)
        code = put(volume, 512 << 20, "more");
    if (code == 0)
        code = diff(pool, volume, "letters@monday");
    int closed = iomesh_volume_close_sync(volume);
    code = code != 0 ? code : closed;

    char block[4096] = {0};
    if (code == 0)
        code = show(pool, "letters@monday", block);
    if (code == 0)
        code = iomesh_snapshot_rollback_sync(pool, "letters@monday", 0, NULL, NULL);
    if (code == 0)
        code = show(pool, "letters", block);
    if (code == 0)
        code = iomesh_snapshot_delete_sync(pool, "letters@monday");
    if (code != 0)
        return failed("letters", code);
    return strcmp(block, "the first version") == 0 ? 0 : 1;
}

int main(int count, char **arguments)
{
    if (count != 2) {
        fprintf(stderr, "usage: %s DIRECTORY\n", arguments[0]);
        return 2;
    }
    char url[1024];
    snprintf(url, sizeof url, "file:%s", arguments[1]);
    struct iomesh_pool_init_options init = IOMESH_POOL_INIT_OPTIONS_INIT;
    init.bytes = 256u << 20;
    int code = iomesh_pool_init(url, &init);
    struct iomesh_engine *engine = NULL;
    if (code == 0)
        code = iomesh_engine_open(NULL, &engine);
    struct iomesh_pool *pool = NULL;
    if (code == 0)
        code = iomesh_pool_open_sync(engine, url, NULL, &pool);
    if (code != 0) {
        iomesh_engine_close(engine);
        return failed(url, code);
    }
    int status = use(pool);
    code = iomesh_pool_close_sync(pool);
    iomesh_engine_close(engine);
    return code != 0 ? failed("close", code) : status;
}
