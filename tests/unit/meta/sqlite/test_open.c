/* SPDX-License-Identifier: Apache-2.0 */
/* Real files: what is refused, with which sentence, and that nothing is left behind. */
#include "fixture.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static char directory[] = "/tmp/iomesh-meta-XXXXXX";
static char path[64];
static char log_path[64];
static struct clock idle_clock;

static uint64_t idle_now(struct clock *clock)
{
    (void)clock;
    return 0;
}

static const struct clock_ops idle_ops = {.now_ns = idle_now, .wall_ns = idle_now};

static void directory_make(void)
{
    cr_assert_not_null(mkdtemp(directory));
    (void)snprintf(path, sizeof path, "%s/meta.db", directory);
    (void)snprintf(log_path, sizeof log_path, "%s/meta.db-wal", directory);
    idle_clock.ops = &idle_ops;
}

static void directory_remove(void)
{
    unlink(path);
    rmdir(path);
    unlink(log_path);
    cr_assert_eq(rmdir(directory), 0, "something else was left in %s", directory);
}

TestSuite(open, .init = directory_make, .fini = directory_remove);

static void no_wakeup(void *context)
{
    (void)context;
}

static int try_open(bool create, struct meta **ret_meta)
{
    struct meta_sqlite_options options = {
        .path = path,
        .create = create,
        .clock = &idle_clock,
        .wakeup = no_wakeup,
    };
    base_clear_error();
    return meta_sqlite_open(&options, ret_meta);
}

static void refused(int code, const char *format)
{
    struct meta *meta = NULL;
    char sentence[256];
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
    (void)snprintf(sentence, sizeof sentence, format, path);
#pragma GCC diagnostic pop
    cr_assert_eq(try_open(false, &meta), code, "%s", base_last_error());
    cr_assert_str_eq(base_last_error(), sentence);
    cr_assert_null(meta);
}

static struct meta *made(void)
{
    struct meta *meta;
    cr_assert_eq(try_open(true, &meta), 0, "%s", base_last_error());
    return meta;
}

static void sql(const char *text)
{
    sqlite3 *db;
    cr_assert_eq(sqlite3_open(path, &db), SQLITE_OK);
    cr_assert_eq(sqlite3_exec(db, text, NULL, NULL, NULL), SQLITE_OK, "%s", sqlite3_errmsg(db));
    sqlite3_close(db);
}

static void overwrite(long offset, const void *bytes, size_t length)
{
    FILE *file = fopen(path, "r+b");
    cr_assert_not_null(file);
    fseek(file, offset, SEEK_SET);
    fwrite(bytes, 1, length, file);
    fclose(file);
}

static bool there(const char *name)
{
    return access(name, F_OK) == 0;
}

Test(open, nothing_there_is_said_and_nothing_is_created)
{
    refused(-ENOENT, "there is no metadata at %s");
    cr_assert_not(there(path));
}

Test(open, an_empty_file_is_an_interrupted_creation)
{
    close(open(path, O_CREAT | O_WRONLY, 0600));
    refused(-ENOENT, "%s is empty: the metadata was never completely created");
    meta_close(made());
}

Test(open, a_clean_close_leaves_one_file)
{
    struct meta *meta = made();
    char shm_path[64];
    (void)snprintf(shm_path, sizeof shm_path, "%s/meta.db-shm", directory);
    cr_assert(there(log_path));
    cr_assert_not(there(shm_path));
    meta_close(meta);
    cr_assert(there(path));
    cr_assert_not(there(log_path));
}

Test(open, a_newer_schema_is_refused_naming_both_versions)
{
    meta_close(made());
    sql("PRAGMA user_version = 7");
    refused(IOMESH_FORMAT, "the metadata %s has schema version 7, newer than version 1, the newest "
                           "that this program knows: use the newer program");
}

Test(open, a_database_of_another_program_is_refused)
{
    sql("CREATE TABLE songs (title TEXT)");
    refused(IOMESH_FORMAT, "%s is a database of another program, not metadata of iomesh");
    struct meta *meta;
    cr_assert_eq(try_open(true, &meta), IOMESH_FORMAT);
    sql("SELECT title FROM songs");
}

Test(open, garbage_is_refused)
{
    char garbage[8192];
    memset(garbage, 'x', sizeof garbage);
    close(open(path, O_CREAT | O_WRONLY, 0600));
    overwrite(0, garbage, sizeof garbage);
    refused(IOMESH_CORRUPT, "%s is not metadata of iomesh, or its beginning is damaged");
}

Test(open, a_truncated_file_is_refused)
{
    meta_close(made());
    cr_assert_eq(truncate(path, 5000), 0);
    refused(IOMESH_CORRUPT, "the metadata %s is damaged: database disk image is malformed");
}

Test(open, a_missing_table_is_damage)
{
    meta_close(made());
    sql("DROP TABLE entry");
    refused(IOMESH_CORRUPT, "the metadata %s is damaged: no such table: entry");
}

Test(open, a_lost_revision_is_damage)
{
    meta_close(made());
    sql("DELETE FROM state");
    refused(IOMESH_CORRUPT, "the metadata %s is damaged: it has no revision");
}

Test(open, a_directory_is_no_metadata)
{
    struct meta *meta;
    cr_assert_eq(mkdir(path, 0700), 0);
    cr_assert_lt(try_open(false, &meta), 0);
    cr_assert_not_null(strstr(base_last_error(), path));
}

Test(open, a_second_process_is_refused)
{
    struct meta *meta = made();
    pid_t child = fork();
    if (child == 0) {
        struct meta *other;
        int result = try_open(false, &other);
        bool said = strstr(base_last_error(), "is in use by another process") != NULL;
        _exit(result == IOMESH_IN_USE && said ? 0 : 1);
    }
    int status;
    cr_assert_eq(waitpid(child, &status, 0), child);
    cr_assert_eq(status, 0);
    meta_close(meta);
}

/* Each page overwritten in turn: an error or an answer, never a crash; what is read is checked. */
Test(open, a_damaged_page_anywhere_is_survived)
{
    meta_close(made());
    struct stat stat_now;
    cr_assert_eq(stat(path, &stat_now), 0);
    uint8_t *image = malloc((size_t)stat_now.st_size);
    FILE *file = fopen(path, "rb");
    cr_assert_eq(fread(image, 1, (size_t)stat_now.st_size, file), (size_t)stat_now.st_size);
    fclose(file);
    unsigned opened = 0;
    for (long at = 0; at < stat_now.st_size; at += 512) {
        uint8_t noise[512];
        struct prng prng = {.state = (uint64_t)at};
        struct meta *meta;
        for (size_t i = 0; i < sizeof noise; i++)
            noise[i] = (uint8_t)prng_next(&prng);
        overwrite(0, image, (size_t)stat_now.st_size);
        overwrite(at, noise, sizeof noise);
        unlink(log_path);
        if (try_open(false, &meta) == 0) {
            opened++;
            meta_close(meta);
        } else {
            cr_assert_not_null(strstr(base_last_error(), path), "%s", base_last_error());
        }
    }
    cr_assert_gt(opened, 0, "nothing but the beginning matters to an empty pool");
    free(image);
}
