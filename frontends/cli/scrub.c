/* SPDX-License-Identifier: Apache-2.0 */
/* pool scrub */
#include <stdio.h>
#include <time.h>

#include "cli/progress.h"
#include "cli/run.h"
#include "cli/target.h"

static const uint64_t ask_ns = 100000000u; /* How often progress is looked at. */
enum { BLOCK_BYTES = 4096 };
static const unsigned starts_max = 20;          /* Looks until it runs, or is said not to. */
static const uint64_t alone_rate = 1024u << 20; /* Bytes a second when nobody else is hurt. */

/* The time passes in turns of the engine: the pool may be its own. */
static int pass_time(struct target *target, uint64_t ns)
{
    struct timespec began;
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &began);
    uint64_t passed = 0;
    while (passed < ns) {
        int result = iomesh_wait(target->engine, ns - passed);
        if (result < 0)
            return result;
        clock_gettime(CLOCK_MONOTONIC, &now);
        passed = (uint64_t)((now.tv_sec - began.tv_sec) * 1000000000 + now.tv_nsec - began.tv_nsec);
    }
    return 0;
}

/* Until one more round is done than before, or it does not run any more. */
static int wait_for_it(struct target *target, const struct iomesh_pool_status *before,
                       struct iomesh_pool_status *ret_after)
{
    struct progress progress;
    target_progress(target, &progress, "the next one goes on from about there");
    int result = 0;
    bool ran = false;
    for (unsigned looks = 0; result == 0; looks++) {
        result = target_status(target, ret_after);
        if (result != 0 || ret_after->scrub_completed > before->scrub_completed)
            break;
        if (!ret_after->scrub_running && (ran || looks > starts_max))
            break;
        ran = ran || ret_after->scrub_running;
        progress_tell(&progress, ret_after->scrub_pass_blocks, ret_after->scrub_pass_total_blocks);
        result = pass_time(target, ask_ns);
    }
    progress_end(&progress);
    return result;
}

static int tell(const struct target *target, const struct iomesh_pool_status *before,
                const struct iomesh_pool_status *after)
{
    const struct command *command = target->command;
    const bool whole = after->scrub_completed > before->scrub_completed;
    const uint64_t blocks = whole ? after->scrub_last_blocks : after->scrub_pass_blocks;
    const uint64_t damaged =
        whole ? after->scrub_last_damaged_blocks : after->scrub_pass_damaged_blocks;
    if (command->json) {
        int status = json_out(
            command,
            json_pack("{s:o, s:b, s:o, s:o, s:o, s:o}", "pool", json_text(command->pool),
                      "completed", whole, "checked_blocks", json_number(blocks), "checked_bytes",
                      json_number(blocks * BLOCK_BYTES), "damaged_blocks", json_number(damaged),
                      "ended_ns", whole ? json_number(after->scrub_last_ended_ns) : json_null()));
        if (status != 0)
            return status;
    } else if (damaged == 0 && whole) {
        printf("pool %s: %llu blocks checked, none damaged\n", command->pool,
               (unsigned long long)blocks);
    }
    if (damaged > 0)
        return target_complain(target, "%s: %llu blocks are damaged: pool check names them",
                               command->pool, (unsigned long long)damaged);
    return whole ? 0
                 : target_complain(target,
                                   "%s: the scrub was ended before it was through: "
                                   "start it again",
                                   command->pool);
}

static int start(struct target *target)
{
    const struct command *command = target->command;
    uint64_t rate = command->rate;
    if (rate == 0 && target->control == NULL)
        rate = alone_rate;
    int result = target_scrub_start(target, rate);
    return result == 0 ? 0 : target_fail(target, result);
}

static int scrub(struct target *target)
{
    const struct command *command = target->command;
    struct iomesh_pool_status before = {.size = sizeof before};
    struct iomesh_pool_status after = {.size = sizeof after};
    int result = target_status(target, &before);
    if (result != 0)
        return target_fail(target, result);
    int status = start(target);
    if (status != 0)
        return status;
    if (command->background) {
        if (command->json)
            return json_out(
                command, json_pack("{s:o, s:b}", "pool", json_text(command->pool), "started", 1));
        printf("pool %s: the scrub goes on in process %u; pool status tells how far it is\n",
               command->pool, iomesh_control_process(target->control));
        return 0;
    }
    result = wait_for_it(target, &before, &after);
    return result != 0 ? target_fail(target, result) : tell(target, &before, &after);
}

static int stop(struct target *target)
{
    const struct command *command = target->command;
    int result = iomesh_control_scrub_stop(target->control);
    if (result != 0)
        return target_fail(target, result);
    if (command->json)
        return json_out(command,
                        json_pack("{s:o, s:b}", "pool", json_text(command->pool), "stopped", 1));
    printf("pool %s: no scrub runs\n", command->pool);
    return 0;
}

int run_pool_scrub(struct target *target)
{
    const struct command *command = target->command;
    if (target->control == NULL && (command->background || command->stop))
        return target_complain(target, "%s: no process owns the pool: leave out --%s",
                               command->pool, command->stop ? "stop" : "background");
    return command->stop ? stop(target) : scrub(target);
}
