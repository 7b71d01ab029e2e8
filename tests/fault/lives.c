/* SPDX-License-Identifier: Apache-2.0 */
#include "fault/lives.h"

#include <ftw.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "fault/failing.h"

static char base_path[64];
struct outcome *outcome;
struct iomesh_engine *engine;
struct iomesh_pool *pool;
struct iomesh_volume *volume;
bool verbose;

bool wrong(const char *format, ...)
{
    if (outcome->wrong[0] != '\0')
        return false;
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(outcome->wrong, sizeof outcome->wrong, format, arguments);
    va_end(arguments);
    return false;
}

void path_of(char path[128], const char *prefix, const char *name)
{
    (void)snprintf(path, 128, "%s%s/%s", prefix, base_path, name);
}

bool must(int result, const char *what)
{
    return result == 0 ? true : wrong("%s: %d (%s)", what, result, iomesh_last_error());
}

/* --- Opening, closing ----------------------------------------------------------------------- */

static void on_trace(void *context, const struct iomesh_event *event)
{
    (void)context;
    (void)fprintf(stderr, "      %u: %s\n", event->severity, event->text);
}

int engine_start(void)
{
    struct iomesh_engine_options options = IOMESH_ENGINE_OPTIONS_INIT;
    options.trace = verbose ? on_trace : NULL;
    options.buffer_bytes = 4 * MIB;
    return iomesh_engine_open(&options, &engine);
}

int pool_start(const char *name)
{
    char url[128];
    path_of(url, "file:", name);
    struct iomesh_pool_options options = IOMESH_POOL_OPTIONS_INIT;
    options.flags = IOMESH_POOL_NO_SCRUB | IOMESH_POOL_NO_CONTROL;
    options.requests_max = 64;
    options.cache_bytes = 4 * MIB;
    return iomesh_pool_open_sync(engine, url, &options, &pool);
}

int pool_make(const char *name)
{
    char url[128];
    path_of(url, "file:", name);
    struct iomesh_pool_init_options init = IOMESH_POOL_INIT_OPTIONS_INIT;
    init.bytes = IOMESH_POOL_BYTES_MIN;
    return iomesh_pool_init(url, &init);
}

int pool_check(const char *name, struct iomesh_check_result *ret_checked)
{
    char url[128];
    path_of(url, "file:", name);
    return iomesh_pool_check(url, 0, NULL, NULL, NULL, ret_checked);
}

/* The first error of closing what is open. */
int all_close(void)
{
    int result = iomesh_volume_close_sync(volume);
    volume = NULL;
    int pool_result = iomesh_pool_close_sync(pool);
    pool = NULL;
    int engine_result = iomesh_engine_close(engine);
    engine = NULL;
    return result != 0 ? result : pool_result != 0 ? pool_result : engine_result;
}

bool checks_out(void)
{
    struct iomesh_check_result checked = IOMESH_CHECK_RESULT_INIT;
    if (!must(pool_check("pool", &checked), "pool check"))
        return false;
    return checked.faults == 0
               ? true
               : wrong("pool check: %llu faults", (unsigned long long)checked.faults);
}

/* --- Directories and processes -------------------------------------------------------------- */

static int remove_one(const char *path, const struct stat *what, int type, struct FTW *at)
{
    (void)what, (void)type, (void)at;
    return remove(path);
}

void directory_remove(const char *name)
{
    char path[128];
    path_of(path, "", name);
    (void)nftw(path, remove_one, 8, FTW_DEPTH | FTW_PHYS);
}

bool directory_copy(const char *name)
{
    char text[512];
    directory_remove("pool");
    (void)snprintf(text, sizeof text, "cp -r --sparse=always --reflink=auto %s/%s %s/pool",
                   base_path, name, base_path);
    int status =
        system(text); // NOLINT(cert-env33-c): cp knows holes, and where they can be shared.
    return status == 0 ? true : wrong("%s: %d", text, status);
}

bool apart(void (*run)(const struct fault_plan *, uint64_t), const struct fault_plan *plan,
           uint64_t n)
{
    pid_t child = fork();
    if (child < 0)
        abort();
    if (child == 0) {
        (void)alarm(30);
        run(plan, n);
        _exit(0);
    }
    int status = 0;
    (void)waitpid(child, &status, 0);
    return status == 0 ? true : wrong("the process ended with status %#x", (unsigned)status);
}

bool lives_begin(void)
{
    (void)mkdir("out", 0777);
    (void)snprintf(base_path, sizeof base_path, "out/fault-XXXXXX");
    outcome =
        mmap(NULL, sizeof *outcome, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    return outcome != MAP_FAILED && mkdtemp(base_path) != NULL && failing_open();
}

void lives_end(void)
{
    directory_remove(".");
    (void)rmdir(base_path);
}
