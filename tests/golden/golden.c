/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Golden pools: what a version wrote, every later one reads.
 *
 *   golden make DIR MANIFEST kill|close   a new pool DIR with known content, and what is in it
 *   golden verify DIR MANIFEST            it opens, holds exactly that, takes writes, checks clean
 *   golden refuse DIR                     with a raised version, cut short, or foreign: refused
 *                                         with a sentence, and unchanged
 *
 * A manifest has one line a volume, `volume NAME BYTES SECTOR`, and one a run of sectors that holds
 * something, `NAME FIRST COUNT TAG`: 512 bytes each, TAG (64 bits) all over. The rest is zeros.
 */
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <iomesh/iomesh.h>

#include "codec/codec.h"
#include "format/superblock.h"

#define MIB (1ull << 20)
#define SECTOR 512u
#define RUNS_MAX 512u

static _Noreturn void die(const char *what)
{
    (void)fprintf(stderr, "golden: %s: %s\n", what, iomesh_last_error());
    exit(1);
}

#define OK(call)        \
    do {                \
        if ((call) < 0) \
            die(#call); \
    } while (0)

static struct iomesh_engine *engine;
static struct iomesh_pool *pool;
static char url[1024];
static char store[1024];

static void pool_named(const char *directory)
{
    (void)snprintf(url, sizeof url, "file:%s", directory);
    (void)snprintf(store, sizeof store, "%s/store", directory);
}

static int pool_start(void)
{
    struct iomesh_engine_options engine_options = IOMESH_ENGINE_OPTIONS_INIT;
    struct iomesh_pool_options options = IOMESH_POOL_OPTIONS_INIT;
    engine_options.buffer_bytes = 4 * MIB;
    options.flags = IOMESH_POOL_NO_CONTROL | IOMESH_POOL_NO_SCRUB;
    options.requests_max = 64;
    OK(iomesh_engine_open(&engine_options, &engine));
    return iomesh_pool_open_sync(engine, url, &options, &pool);
}

static void pool_stop(void)
{
    OK(iomesh_pool_close_sync(pool));
    OK(iomesh_engine_close(engine));
}

static void fill(uint8_t *to, uint64_t sectors, uint64_t tag)
{
    for (uint64_t i = 0; i < sectors * SECTOR; i += 8)
        put64(to + i, tag);
}

/* --- Making --------------------------------------------------------------------------------- */

/* What is done to each volume, in order; later ones win. Tag 0: discarded. A snapshot: taken then.
 */
struct step {
    const char *volume;
    uint64_t first, count, tag;
    const char *snapshot;
};

static const struct step steps[] = {
    {"small", 0, 80, 0x1111111111111111u, NULL},
    {"small", 43, 3, 0x2222222222222222u, NULL},
    {"small", 100, 700, 0x3333333333333333u, NULL},
    {"small", 160, 64, 0, NULL},
    {"small", 16383, 1, 0x4444444444444444u, NULL},
    {"wide", 0, 8, 0x5555555555555555u, NULL},
    {"wide", 524280, 16, 0x6666666666666666u, NULL},
    {"wide", 1048576, 2048, 0x7777777777777777u, NULL},
    {"wide", 1228792, 8, 0x8888888888888888u, NULL},
    {"wide", 1048584, 8, 0x9999999999999999u, NULL},
    {"gone", 0, 2048, 0xaaaaaaaaaaaaaaaau, NULL},
    {"wide", 0, 8, 0xbbbbbbbbbbbbbbbbu, NULL},
    /* Since format 2. */
    {"small", 0, 0, 0, "one"},
    {"small", 0, 40, 0xddddddddddddddddu, NULL},
    {"small", 300, 64, 0, NULL},
    {"wide", 0, 0, 0, "one"},
    {"wide", 1048576, 512, 0x1212121212121212u, NULL},
    {"wide", 0, 0, 0, "two"}, /* Deleted in the end. */
    {"wide", 524280, 8, 0, NULL},
    {"wide", 1048576, 256, 0x3434343434343434u, NULL},
    {"wide", 0, 0, 0, "three"},
    {"wide", 8, 8, 0x5656565656565656u, NULL},
    {"copy", 20, 40, 0x7878787878787878u, NULL},
    {"copy", 100, 8, 0, NULL},
};

#define SMALL_BYTES (8 * MIB)
#define WIDE_BYTES (600 * MIB)

static const struct {
    const char *name;
    uint64_t bytes;
    uint32_t sector;
} volumes[] = {{"small", SMALL_BYTES, 512},
               {"wide", WIDE_BYTES, 4096},
               {"gone", 16 * MIB, 512},
               {"copy", SMALL_BYTES, 512}};

/* What there is in the end. */
static const struct {
    const char *volume, *snapshot;
    uint64_t bytes;
    uint32_t sector;
} shown[] = {
    {"small", NULL, SMALL_BYTES, 512}, {"wide", NULL, WIDE_BYTES, 4096},
    {"copy", NULL, SMALL_BYTES, 512},  {"small", "one", SMALL_BYTES, 512},
    {"wide", "one", WIDE_BYTES, 4096}, {"wide", "three", WIDE_BYTES, 4096},
};

static void step_do(struct iomesh_volume *volume, const struct step *step)
{
    static uint8_t data[2048 * SECTOR];
    if (step->snapshot != NULL) {
        char name[64];
        (void)snprintf(name, sizeof name, "%s@%s", step->volume, step->snapshot);
        OK(iomesh_snapshot_create_sync(pool, name));
        return;
    }
    if (step->tag == 0) {
        OK(iomesh_discard_sync(volume, step->first * SECTOR, step->count * SECTOR, 0));
        return;
    }
    fill(data, step->count, step->tag);
    OK(iomesh_write_sync(volume, step->first * SECTOR, (uint32_t)(step->count * SECTOR), data, 0));
}

static void volume_make(const char *name, uint64_t bytes, uint32_t sector)
{
    struct iomesh_volume_create_options options = IOMESH_VOLUME_CREATE_OPTIONS_INIT;
    options.bytes = bytes;
    options.sector_bytes = sector;
    if (strcmp(name, "copy") == 0)
        OK(iomesh_volume_clone_sync(pool, "small@one", name));
    else
        OK(iomesh_volume_create_sync(pool, name, &options));
    struct iomesh_volume *volume;
    OK(iomesh_volume_open_sync(pool, name, NULL, &volume));
    for (unsigned i = 0; i < sizeof steps / sizeof *steps; i++) {
        if (strcmp(steps[i].volume, name) == 0)
            step_do(volume, &steps[i]);
    }
    OK(iomesh_flush_sync(volume));
    OK(iomesh_volume_close_sync(volume));
}

static void content_make(bool close_it)
{
    OK(pool_start());
    for (unsigned v = 0; v < sizeof volumes / sizeof *volumes; v++)
        volume_make(volumes[v].name, volumes[v].bytes, volumes[v].sector);
    OK(iomesh_volume_delete_sync(pool, "gone"));
    OK(iomesh_snapshot_delete_sync(pool, "wide@two"));
    if (close_it)
        pool_stop();
    else
        (void)raise(SIGKILL);
}

/* The tag of each sector of a volume, later steps winning; of a snapshot, up to where it was taken.
 */
static uint64_t step_tag(const char *volume, const char *snapshot, uint64_t sector)
{
    uint64_t tag = strcmp(volume, "copy") == 0 ? step_tag("small", "one", sector) : 0;
    for (unsigned i = 0; i < sizeof steps / sizeof *steps; i++) {
        const struct step *step = &steps[i];
        if (strcmp(step->volume, volume) != 0)
            continue;
        if (step->snapshot != NULL && snapshot != NULL && strcmp(step->snapshot, snapshot) == 0)
            break;
        if (sector >= step->first && sector < step->first + step->count)
            tag = step->tag;
    }
    return tag;
}

static void manifest_write(const char *path)
{
    FILE *file = fopen(path, "w");
    if (file == NULL)
        die(path);
    for (unsigned v = 0; v < sizeof shown / sizeof *shown; v++) {
        const char *volume = shown[v].volume, *snapshot = shown[v].snapshot;
        char name[64];
        (void)snprintf(name, sizeof name, "%s%s%s", volume, snapshot != NULL ? "@" : "",
                       snapshot != NULL ? snapshot : "");
        (void)fprintf(file, "volume %s %" PRIu64 " %u\n", name, shown[v].bytes, shown[v].sector);
        uint64_t sectors = shown[v].bytes / SECTOR;
        for (uint64_t first = 0, next; first < sectors; first = next) {
            uint64_t tag = step_tag(volume, snapshot, first);
            for (next = first + 1; next < sectors && step_tag(volume, snapshot, next) == tag;)
                next++;
            if (tag != 0)
                (void)fprintf(file, "%s %" PRIu64 " %" PRIu64 " %" PRIx64 "\n", name, first,
                              next - first, tag);
        }
    }
    if (fclose(file) != 0)
        die(path);
}

static int make(const char *manifest, bool close_it)
{
    struct iomesh_pool_init_options init = IOMESH_POOL_INIT_OPTIONS_INIT;
    init.bytes = 64 * MIB;
    OK(iomesh_pool_init(url, &init));
    (void)fflush(NULL);
    pid_t child = fork();
    if (child == 0) {
        content_make(close_it);
        _exit(0);
    }
    int status = 0;
    (void)waitpid(child, &status, 0);
    bool ended = close_it ? status == 0 : WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL;
    if (!ended)
        return 1;
    manifest_write(manifest);
    return 0;
}

/* --- Verifying ------------------------------------------------------------------------------ */

struct manifest_run {
    char volume[129];
    uint64_t first, count, tag;
};

struct manifest_volume {
    uint64_t bytes;
    unsigned sector;
    char name[129];
};

static struct manifest_run runs[RUNS_MAX];
static struct manifest_volume known[RUNS_MAX];
static unsigned run_count, known_count, volume_count, listed;

/* Copies a word; answers what follows it. */
static char *word_take(char *from, char *to, size_t room)
{
    size_t length = strcspn(from, " \n");
    if (length + 1 > room)
        die("a name of the manifest is too long");
    memcpy(to, from, length);
    to[length] = '\0';
    return from + length;
}

static bool is_snapshot(const char *name)
{
    return strchr(name, '@') != NULL;
}

static void manifest_read(const char *path)
{
    FILE *file = fopen(path, "r");
    if (file == NULL)
        die(path);
    char line[512];
    while (fgets(line, sizeof line, file) != NULL) {
        struct manifest_volume *volume = &known[known_count];
        struct manifest_run *run = &runs[run_count];
        if (known_count == RUNS_MAX || run_count == RUNS_MAX)
            die("the manifest is too long");
        if (strncmp(line, "volume ", 7) == 0) {
            char *rest = word_take(line + 7, volume->name, sizeof volume->name);
            volume->bytes = strtoull(rest, &rest, 10);
            volume->sector = (unsigned)strtoul(rest, &rest, 10);
            volume_count += !is_snapshot(volume->name);
            known_count++;
        } else {
            char *rest = word_take(line, run->volume, sizeof run->volume);
            run->first = strtoull(rest, &rest, 10);
            run->count = strtoull(rest, &rest, 10);
            run->tag = strtoull(rest, &rest, 16);
            run_count++;
        }
    }
    (void)fclose(file);
}

static uint64_t manifest_tag(const char *volume, uint64_t sector)
{
    for (unsigned i = 0; i < run_count; i++) {
        if (sector >= runs[i].first && sector - runs[i].first < runs[i].count &&
            strcmp(runs[i].volume, volume) == 0)
            return runs[i].tag;
    }
    return 0;
}

static void each_volume(void *context, const struct iomesh_volume_info *info)
{
    (void)context;
    for (unsigned i = 0; i < known_count; i++) {
        if (strcmp(known[i].name, info->name) == 0 && known[i].bytes == info->bytes &&
            known[i].sector == info->sector_bytes)
            listed++;
    }
    listed += 1000; /* Each that is there, known or not. */
}

static void verify_volume(const struct manifest_volume *wanted)
{
    static uint8_t data[MIB];
    uint8_t expected[SECTOR];
    struct iomesh_volume *volume;
    OK(iomesh_volume_open_sync(pool, wanted->name, NULL, &volume));
    for (uint64_t at = 0; at < wanted->bytes; at += sizeof data) {
        OK(iomesh_read_sync(volume, at, (uint32_t)sizeof data, data));
        for (uint64_t i = 0; i < sizeof data; i += SECTOR) {
            fill(expected, 1, manifest_tag(wanted->name, (at + i) / SECTOR));
            if (memcmp(expected, data + i, SECTOR) == 0)
                continue;
            (void)fprintf(stderr, "golden: %s, sector %" PRIu64 ": not what was written\n",
                          wanted->name, (at + i) / SECTOR);
            exit(1);
        }
    }
    fill(data, 8, 0xccccccccccccccccu);
    if (!is_snapshot(wanted->name))
        OK(iomesh_write_sync(volume, 0, 8 * SECTOR, data, IOMESH_FUA));
    OK(iomesh_volume_close_sync(volume));
}

static void fault_print(void *context, const struct iomesh_fault *fault)
{
    (void)context;
    (void)fprintf(stderr, "golden: %s\n", fault->text);
}

static void check_clean(void)
{
    struct iomesh_check_result result = IOMESH_CHECK_RESULT_INIT;
    OK(iomesh_pool_check(url, 0, fault_print, NULL, NULL, &result));
    if (result.faults != 0)
        die("the pool has faults");
}

/* What was opened for writing is of this program's format. */
static void expect_format(void)
{
    static const uint64_t blocks[] = {8, 16, 24, 32};
    uint64_t newest = 0;
    uint32_t version = 0;
    int file = open(store, O_RDONLY | O_CLOEXEC);
    for (unsigned i = 0; i < 4; i++) {
        uint8_t block[BLOCK_BYTES];
        if (pread(file, block, sizeof block, (off_t)(blocks[i] * BLOCK_BYTES)) != BLOCK_BYTES)
            die("reading a superblock");
        if (get64(block + 32) > newest)
            version = get32(block + 8);
        newest = MAX(newest, get64(block + 32));
    }
    (void)close(file);
    if (version != STORE_FORMAT)
        die("the newest superblock is of another format");
}

static int verify(const char *manifest)
{
    manifest_read(manifest);
    check_clean();
    OK(pool_start());
    OK(iomesh_volume_list_sync(pool, each_volume, NULL));
    if (listed != volume_count * 1001)
        die("the volumes are not those of the manifest");
    for (unsigned i = 0; i < known_count; i++)
        verify_volume(&known[i]);
    pool_stop();
    expect_format();
    check_clean();
    printf("%u volumes, %u runs: as written\n", known_count, run_count);
    return 0;
}

/* --- Refusing ------------------------------------------------------------------------------- */

/* It does not open, and the sentence has each word. */
static void expect_refused(const char *what, const char *const *words)
{
    struct stat before, after;
    (void)stat(store, &before);
    if (pool_start() == 0)
        die(what);
    for (; *words != NULL; words++) {
        if (strstr(iomesh_last_error(), *words) == NULL) {
            (void)fprintf(stderr, "golden: %s: no \"%s\" in: %s\n", what, *words,
                          iomesh_last_error());
            exit(1);
        }
    }
    printf("%s: %s\n", what, iomesh_last_error());
    OK(iomesh_engine_close(engine));
    (void)stat(store, &after);
    if (before.st_mtim.tv_sec != after.st_mtim.tv_sec ||
        before.st_mtim.tv_nsec != after.st_mtim.tv_nsec || before.st_size != after.st_size)
        die("what was refused was changed");
}

/* Blocks of the first device that name the version: the label, or the superblocks. */
static const uint64_t label_blocks[] = {0}, super_blocks[] = {8, 16, 24, 32};

static void version_raise(int file, const uint64_t *blocks, unsigned count, uint32_t version)
{
    for (unsigned i = 0; i < count; i++) {
        uint8_t block[BLOCK_BYTES];
        if (pread(file, block, sizeof block, (off_t)(blocks[i] * BLOCK_BYTES)) != BLOCK_BYTES)
            die("reading a block");
        put32(block + 8, version);
        put32(block, crc32c(block + 4, BLOCK_BYTES - 4));
        if (pwrite(file, block, sizeof block, (off_t)(blocks[i] * BLOCK_BYTES)) != BLOCK_BYTES)
            die("writing a block");
    }
}

static int refuse(void)
{
    int file = open(store, O_RDWR | O_CLOEXEC);
    struct stat what;
    if (file < 0 || fstat(file, &what) != 0)
        die(store);
    char ours[32];
    (void)snprintf(ours, sizeof ours, "format %u", STORE_FORMAT);
    version_raise(file, super_blocks, 4, 4711);
    expect_refused("raised superblocks", (const char *const[]){"format 4711", ours, NULL});
    version_raise(file, super_blocks, 4, STORE_FORMAT);
    version_raise(file, label_blocks, 1, 4712);
    expect_refused("raised label", (const char *const[]){"format 4712", ours, NULL});
    version_raise(file, label_blocks, 1, STORE_FORMAT);
    if (ftruncate(file, what.st_size / 2) != 0)
        die("ftruncate");
    expect_refused("cut in half", (const char *const[]){"cut short", NULL});
    if (ftruncate(file, 0) != 0 || ftruncate(file, what.st_size) != 0)
        die("ftruncate");
    expect_refused("zeros", (const char *const[]){"no store here", NULL});
    return close(file);
}

int main(int argc, char **argv)
{
    if (argc >= 3)
        pool_named(argv[2]);
    if (argc == 5 && strcmp(argv[1], "make") == 0)
        return make(argv[3], strcmp(argv[4], "close") == 0);
    if (argc == 4 && strcmp(argv[1], "verify") == 0)
        return verify(argv[3]);
    if (argc == 3 && strcmp(argv[1], "refuse") == 0)
        return refuse();
    (void)fprintf(stderr, "usage: golden make DIR MANIFEST kill|close | verify DIR MANIFEST | "
                          "refuse DIR\n");
    return 2;
}
