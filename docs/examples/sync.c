/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A pool in a directory, a volume in it, written and read back, each call waiting for its end.
 *
 *     cc sync.c -o sync $(pkg-config --cflags --libs iomesh) && ./sync /var/tmp/pool
 */
#include <stdio.h>
#include <string.h>

#include <iomesh/iomesh.h>

static int failed(const char *what, int code)
{
    const char *sentence = iomesh_last_error();
    fprintf(stderr, "%s: %s\n", what, sentence[0] != '\0' ? sentence : iomesh_error_text(code));
    return 1;
}

static void print_volume(void *context, const struct iomesh_volume_info *info)
{
    (void)context;
    printf("%s: %llu bytes in sectors of %u\n", info->name, (unsigned long long)info->bytes,
           info->sector_bytes);
}

static int write_and_read(struct iomesh_volume *volume)
{
    static const char text[512] = "Every byte is checked against a checksum kept apart from it.";
    char back[512];
    int code = iomesh_write_sync(volume, 1024, sizeof text, text, 0);
    if (code == 0)
        code = iomesh_flush_sync(volume); /* From here on it survives power loss. */
    if (code == 0)
        code = iomesh_read_sync(volume, 1024, sizeof back, back);
    if (code != 0)
        return failed("I/O", code);
    printf("%s\n", back);
    return memcmp(text, back, sizeof text) == 0 ? 0 : 1;
}

static int use(struct iomesh_pool *pool)
{
    struct iomesh_volume_create_options create = IOMESH_VOLUME_CREATE_OPTIONS_INIT;
    create.bytes = 10ull << 30; /* Thin: takes space as it is written. */
    create.sector_bytes = 512;
    int code = iomesh_volume_create_sync(pool, "letters", &create);
    if (code != 0)
        return failed("create", code);
    code = iomesh_volume_list_sync(pool, print_volume, NULL);
    struct iomesh_volume *volume = NULL;
    if (code == 0)
        code = iomesh_volume_open_sync(pool, "letters", NULL, &volume);
    if (code != 0)
        return failed("open", code);
    int status = write_and_read(volume);
    iomesh_volume_close_sync(volume);
    return status;
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
