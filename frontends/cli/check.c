/* SPDX-License-Identifier: Apache-2.0 */
/* pool check, store check */
#include <stdio.h>
#include <unistd.h>

#include <iomesh/store.h>

#include "cli/progress.h"
#include "cli/run.h"
#include "cli/target.h"
#include "cli/text.h"

/* Faults told in full in JSON; all are counted. */
enum { FAULTS_TOLD_MAX = 10000, TRIES = 50 };

struct checking {
    const struct command *command;
    struct progress progress;
    json_t *faults;
};

static void on_fault(void *context, const struct iomesh_fault *fault)
{
    struct checking *checking = context;
    if (checking->command->json) {
        if (json_array_size(checking->faults) < FAULTS_TOLD_MAX)
            json_array_append_new(checking->faults,
                                  json_pack("{s:s, s:o, s:o, s:o}", "kind", text_fault(fault->kind),
                                            "volume_id", json_number(fault->volume_id), "block",
                                            json_number(fault->block), "text",
                                            json_text(fault->text)));
        return;
    }
    progress_wipe(&checking->progress);
    printf("fault: %s\n", fault->text);
}

static void on_progress(void *context, uint64_t done, uint64_t total)
{
    struct checking *checking = context;
    progress_tell(&checking->progress, done, total);
}

static int finished(struct target *target, struct checking *checking, int result)
{
    progress_end(&checking->progress);
    return result == 0 ? 0 : target_fail(target, result);
}

/* A pool that is served is refused at once; one whose owner was just killed is waited for. */
static int look(struct target *target, struct checking *checking,
                struct iomesh_check_result *ret_result)
{
    int result = target_ask_owner(target);
    if (result != 0)
        return target_fail(target, result);
    if (target->control != NULL)
        return target_complain(target,
                               "%s is in use by process %u: stop it, or ask it for a pool scrub",
                               checking->command->pool, iomesh_control_process(target->control));
    uint32_t flags = checking->command->no_data ? IOMESH_CHECK_NO_DATA : 0;
    for (int i = 0; i < TRIES; i++) {
        result = iomesh_pool_check(checking->command->pool, flags, on_fault, on_progress, checking,
                                   ret_result);
        if (result != IOMESH_IN_USE)
            break;
        usleep(100000);
    }
    return finished(target, checking, result);
}

/* `what`: "pool" or "store". */
static int tell(const struct target *target, struct checking *checking, const char *what,
                const char *name, const struct iomesh_check_result *result)
{
    const struct command *command = checking->command;
    const unsigned long long faults = result->faults;
    if (command->json) {
        int status =
            json_out(command, json_pack("{s:o, s:o, s:O, s:o, s:o, s:o}", what, json_text(name),
                                        "fault_count", json_number(result->faults), "faults",
                                        checking->faults, "blocks_checked",
                                        json_number(result->blocks_checked), "pages_checked",
                                        json_number(result->pages_checked), "volumes_checked",
                                        json_number(result->volumes_checked)));
        if (status != 0)
            return status;
    } else if (faults == 0) {
        printf("%s %s: no faults\n", what, name);
    }
    if (faults == 0)
        return 0;
    return target_complain(target, "%s has %llu faults: %s", name, faults,
                           command->spec->id == COMMAND_STORE_CHECK
                               ? "copies on other stores mend them while it is served; where "
                                 "there are none, restore what they name from a backup"
                               : "restore what they name from a backup");
}

static int look_at_store(struct target *target, struct checking *checking,
                         struct iomesh_check_result *ret_result)
{
    const struct command *command = checking->command;
    return finished(target, checking,
                    iomesh_store_check(command->arguments[0],
                                       command->no_data ? IOMESH_CHECK_NO_DATA : 0, on_fault,
                                       on_progress, checking, ret_result));
}

static int check(const struct command *command, const char *what, const char *name,
                 int (*look_at)(struct target *target, struct checking *checking,
                                struct iomesh_check_result *ret_result))
{
    struct target target;
    int status = target_engine(&target, command);
    if (status != 0)
        return status;
    struct checking checking = {.command = command, .faults = json_array()};
    struct iomesh_check_result result = IOMESH_CHECK_RESULT_INIT;
    target_progress(&target, &checking.progress, "it changes nothing");
    status = look_at(&target, &checking, &result);
    if (status == 0)
        status = tell(&target, &checking, what, name, &result);
    json_decref(checking.faults);
    return target_close(&target, status);
}

int run_pool_check(const struct command *command)
{
    return check(command, "pool", command->pool, look);
}

int run_store_check(const struct command *command)
{
    return check(command, "store", command->arguments[0], look_at_store);
}
