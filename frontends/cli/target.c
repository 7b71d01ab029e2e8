/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/target.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* An owner that just begins or ends is waited for: so often, so long each time. */
enum { TRIES = 10 };
static const uint64_t try_ns = 500000000u;
/* Who only looks is told soon that etcd is out of reach: so long for all members, then for any. */
static const uint64_t look_wait_ns = 2000000000u, old_wait_ns = 1000000000u;

/* --- Sentences ----------------------------------------------------------------------------- */

int target_complain(const struct target *target, const char *format, ...)
{
    char text[900];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    const struct command *command = target->command;
    if (command->log_json)
        log_line(LOG_LEVEL_ERROR, "%s: %s", command->spec->words, text);
    else
        fprintf(stderr, "iomesh-cli: %s: %s\n", command->spec->words, text);
    return 1;
}

static bool pool_is_there(const char *url)
{
    static const char scheme[] = "file:";
    char path[4096];
    if (strncmp(url, "etcd:", 5) == 0)
        return true;
    if (strncmp(url, scheme, sizeof scheme - 1) != 0 ||
        snprintf(path, sizeof path, "%s/meta.db", url + sizeof scheme - 1) >= (int)sizeof path)
        return false;
    return access(path, F_OK) == 0;
}

/* Of what the pool does not have, where to look. */
static const char *where_to_look(enum command_id id)
{
    switch (id) {
    case COMMAND_SNAPSHOT_DELETE:
    case COMMAND_SNAPSHOT_ROLLBACK:
    case COMMAND_SNAPSHOT_DIFF:
    case COMMAND_VOLUME_CLONE:
    case COMMAND_VOLUME_EXPORT:
        return "iomesh-cli volume list and snapshot list tell what there is";
    case COMMAND_VOLUME_IMPORT:
        return "import what was exported before it, in that order, or a whole backup under another "
               "name";
    case COMMAND_GROUP_DELETE: return "iomesh-cli snapshot group list tells what there is";
    default: return "iomesh-cli volume list tells what there is";
    }
}

static const char *how_to_force(enum command_id id)
{
    if (id == COMMAND_VOLUME_RESIZE)
        return "--force cuts off its end";
    return id == COMMAND_SNAPSHOT_ROLLBACK ? "--force gives it the snapshot's size" : NULL;
}

/* What to do, where the library cannot know it. */
static const char *advice(const struct command *command, bool is_open, int result)
{
    enum command_id id = command->spec->id;
    switch (result) {
    case -ENOENT: return is_open && id >= COMMAND_VOLUME_CREATE ? where_to_look(id) : NULL;
    case -EEXIST:
        if (id >= COMMAND_VOLUME_CREATE)
            return "choose another name";
        return pool_is_there(command->pool) ? "choose another place"
                                            : "--overwrite takes devices as they are";
    case -EPERM:
        return id == COMMAND_POOL_REBUILD ? "--accept-loss goes on without them" : how_to_force(id);
    case -EACCES: return "run as the user that owns the pool, or as root";
    case -ENOSPC:
        if (id == COMMAND_SNAPSHOT_ROLLBACK)
            return NULL; /* The library knows what can be done. */
        return id > COMMAND_VOLUME_DELETE ? "delete what is not needed, then try again"
                                          : "free space, or choose a smaller size";
    case -ETIMEDOUT:
        return target_is_cluster(command)
                   ? "volumes that are open go on until their lease runs out, 4 s after etcd was "
                     "last reached, then wait, and go on by themselves when it is back; nothing "
                     "else can be learned meanwhile"
                   : NULL;
    case IOMESH_IN_USE: return "stop the process that uses it, or ask that";
    case IOMESH_FAILED: return "replace the device and restore, or restart to try it again";
    case IOMESH_CORRUPT:
        return id == COMMAND_STORE_CHECK ? NULL : "iomesh-cli pool check names each fault";
    case IOMESH_FORMAT: return "use the release that wrote it, or a newer one";
    default: return NULL;
    }
}

void target_progress(const struct target *target, struct progress *progress, const char *left)
{
    const struct command *command = target->command;
    char line[400];
    if (target->control != NULL)
        left = "it goes on in the process that owns the pool";
    snprintf(line, sizeof line, "iomesh-cli: %s: interrupted; %s", command->spec->words, left);
    progress_begin(progress, command->spec->words);
    if (!command->log_json)
        progress_parting(progress, line);
}

/* It may run for long, so that others want to ask this process meanwhile. */
static bool takes_long(enum command_id id)
{
    return id == COMMAND_POOL_SCRUB || id == COMMAND_VOLUME_FLATTEN ||
           id == COMMAND_VOLUME_EXPORT || id == COMMAND_VOLUME_IMPORT ||
           id == COMMAND_VOLUME_ABANDON || id == COMMAND_SNAPSHOT_ROLLBACK;
}

int target_fail_saying(const struct target *target, int result, const char *sentence)
{
    const bool is_open = target->control != NULL || target->pool != NULL;
    const char *more = advice(target->command, is_open, result);
    return target_complain(target, "%s%s%s", sentence, more != NULL ? "; " : "",
                           more != NULL ? more : "");
}

int target_fail(const struct target *target, int result)
{
    const char *sentence = iomesh_last_error();
    if (sentence[0] == '\0')
        sentence = iomesh_error_text(result);
    return target_fail_saying(target, result, sentence);
}

/* --- Opening ------------------------------------------------------------------------------- */

static void on_trace(void *context, const struct iomesh_event *event)
{
    (void)context;
    const uint32_t severity =
        event->severity > LOG_LEVEL_DEBUG ? (uint32_t)LOG_LEVEL_DEBUG : event->severity;
    log_line((enum log_level)severity, "%s", event->text);
}

int target_engine(struct target *target, const struct command *command)
{
    *target = (struct target){.command = command};
    struct iomesh_engine_options options = IOMESH_ENGINE_OPTIONS_INIT;
    options.buffer_bytes = 1u << 20;
    options.trace = on_trace;
    int result = iomesh_engine_open(&options, &target->engine);
    return result == 0 ? 0 : target_fail(target, result);
}

bool target_is_cluster(const struct command *command)
{
    return command->pool != NULL && strncmp(command->pool, "etcd:", 5) == 0;
}

/* It changes nothing: of a cluster it needs no session. */
static bool only_looks(enum command_id id)
{
    return id == COMMAND_POOL_STATUS || id == COMMAND_POOL_SHOW || id == COMMAND_STORE_LIST ||
           id == COMMAND_VOLUME_LIST || id == COMMAND_VOLUME_SHOW || id == COMMAND_GROUP_LIST;
}

int target_ask_owner(struct target *target)
{
    int result = iomesh_control_open(target->engine, target->command->pool, &target->control);
    return result == -ENOENT || result == -ECONNREFUSED || result == -ENAMETOOLONG ? 0 : result;
}

/* What a cluster's pool alone has. */
static bool of_clusters(enum command_id id)
{
    return id >= COMMAND_POOL_SHOW && id <= COMMAND_STORE_REMOVE;
}

/* Without a majority of etcd's members what one of them has is more than nothing. `result`: of
 * asking all of them. */
static int open_old(struct target *target, struct iomesh_pool_options *options, int result)
{
    char sentence[512];
    const char *why = iomesh_last_error();
    snprintf(sentence, sizeof sentence, "%s", why[0] != '\0' ? why : iomesh_error_text(result));
    options->flags |= IOMESH_POOL_STALE;
    options->metadata_wait_ns = old_wait_ns;
    const char *pool = target->command->pool;
    if (iomesh_pool_open_sync(target->engine, pool, options, &target->pool) != 0)
        return target_close(target, target_fail_saying(target, result, sentence));
    /* Of status it is one of the facts. */
    if (target->command->spec->id != COMMAND_POOL_STATUS)
        target_complain(target, "%s: what follows is what one member of etcd has: it may be old",
                        sentence);
    return 0;
}

int target_open(struct target *target, const struct command *command)
{
    *target = (struct target){.command = command};
    if (of_clusters(command->spec->id) && !target_is_cluster(command))
        return target_complain(target,
                               "%s: is a directory, with one store and no settings: this is of a "
                               "cluster's pool, etcd://HOST:PORT/NAME",
                               command->pool);
    int status = target_engine(target, command);
    if (status != 0)
        return status;
    struct iomesh_pool_options options = IOMESH_POOL_OPTIONS_INIT;
    options.cache_bytes = 16u << 20;
    options.claim_wait_ns = try_ns;
    options.flags = IOMESH_POOL_NO_SCRUB;
    /* A command that is over at once need not be asked by others; they wait for it. */
    if (!takes_long(command->spec->id))
        options.flags |= IOMESH_POOL_NO_CONTROL;
    const bool cluster = target_is_cluster(command);
    const bool looks = cluster && only_looks(command->spec->id);
    if (looks)
        options.flags |= IOMESH_POOL_READ_ONLY;
    if (looks && strstr(command->pool, "wait=") == NULL)
        options.metadata_wait_ns = look_wait_ns;
    options.node = command->node;
    options.zone = command->zone;
    options.rack = command->rack;
    options.tls_directory = command->peer_tls;
    int result = IOMESH_IN_USE;
    for (int i = 0; i < TRIES && result == IOMESH_IN_USE; i++) {
        result = cluster ? 0 : target_ask_owner(target);
        if (result == 0 && target->control == NULL)
            result = iomesh_pool_open_sync(target->engine, command->pool, &options, &target->pool);
    }
    if (result == 0)
        return 0;
    if (looks && result == -ETIMEDOUT)
        return open_old(target, &options, result);
    return target_close(target, target_fail(target, result));
}

int target_close(struct target *target, int status)
{
    iomesh_control_close(target->control);
    int result = iomesh_pool_close_sync(target->pool);
    if (result != 0)
        status = target_fail(target, result);
    if (result == 0 && (result = iomesh_engine_close(target->engine)) != 0)
        status = target_fail(target, result);
    *target = (struct target){0};
    return status;
}

/* --- Asking one or the other --------------------------------------------------------------- */

int target_status(struct target *target, struct iomesh_pool_status *ret_status)
{
    return target->control != NULL ? iomesh_control_status(target->control, ret_status)
                                   : iomesh_pool_status(target->pool, ret_status);
}

int target_device(struct target *target, uint32_t index, struct iomesh_device_status *ret_status)
{
    return target->control != NULL ? iomesh_control_device(target->control, index, ret_status)
                                   : iomesh_pool_device(target->pool, index, ret_status);
}

int target_scrub_start(struct target *target, uint64_t rate)
{
    return target->control != NULL ? iomesh_control_scrub_start(target->control, rate)
                                   : iomesh_scrub_start(target->pool, rate);
}

int target_create(struct target *target, const char *name,
                  const struct iomesh_volume_create_options *options)
{
    return target->control != NULL ? iomesh_control_volume_create(target->control, name, options)
                                   : iomesh_volume_create_sync(target->pool, name, options);
}

int target_delete(struct target *target, const char *name)
{
    return target->control != NULL ? iomesh_control_volume_delete(target->control, name)
                                   : iomesh_volume_delete_sync(target->pool, name);
}

int target_resize(struct target *target, const char *name, uint64_t bytes, uint32_t flags)
{
    return target->control != NULL
               ? iomesh_control_volume_resize(target->control, name, bytes, flags)
               : iomesh_volume_resize_sync(target->pool, name, bytes, flags);
}

int target_list(struct target *target, iomesh_volume_info_fn *each, void *context)
{
    return target->control != NULL ? iomesh_control_volume_list(target->control, each, context)
                                   : iomesh_volume_list_sync(target->pool, each, context);
}

int target_show(struct target *target, const char *name, struct iomesh_volume_info *ret_info)
{
    return target->control != NULL ? iomesh_control_volume_show(target->control, name, ret_info)
                                   : iomesh_volume_show_sync(target->pool, name, ret_info);
}
