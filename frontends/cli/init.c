/* SPDX-License-Identifier: Apache-2.0 */
/* pool init */
#include <stdio.h>
#include <string.h>

#include "cli/progress.h"
#include "cli/run.h"
#include "cli/target.h"
#include "cli/text.h"

/* --size is that of the devices which do not say their own, or of the pool's own file. */
int devices_gather(const struct target *target, struct iomesh_device *devices, uint64_t *ret_bytes)
{
    const struct command *command = target->command;
    unsigned unsized = 0;
    for (unsigned i = 0; i < command->device_count; i++) {
        char given[400];
        snprintf(given, sizeof given, "%s", command->devices[i]);
        const char *sentence = text_device(command->devices[i], &devices[i]);
        if (sentence != NULL) {
            (void)target_complain(target, "--device %s: %s", given, sentence);
            return 2;
        }
        if (devices[i].bytes == 0 && command->size_given) {
            devices[i].bytes = command->size;
            unsized++;
        }
    }
    if (command->device_count > 0 && command->size_given && unsized == 0) {
        (void)target_complain(target, "--size: every device has a size of its own");
        return 2;
    }
    *ret_bytes = command->device_count == 0 ? command->size : 0;
    return 0;
}

struct making {
    struct progress progress;
    uint64_t done;
};

static void on_progress(void *context, uint64_t done, uint64_t total)
{
    struct making *making = context;
    making->done = done;
    progress_tell(&making->progress, done, total);
}

int run_pool_init(const struct command *command)
{
    const struct target target = {.command = command};
    struct iomesh_device devices[DEVICES_GIVEN_MAX];
    struct iomesh_pool_init_options options = IOMESH_POOL_INIT_OPTIONS_INIT;
    if (command->overwrite)
        options.flags |= IOMESH_POOL_OVERWRITE;
    int status = devices_gather(&target, devices, &options.bytes);
    if (status != 0)
        return status;
    options.device_count = command->device_count;
    options.devices = devices;
    struct making making = {0};
    progress_begin(&making.progress, "pool init");
    options.progress = on_progress;
    options.context = &making;
    int result = iomesh_pool_init(command->pool, &options);
    progress_end(&making.progress);
    if (result != 0)
        return target_fail(&target, result);
    if (command->json)
        return json_out(command, json_pack("{s:o, s:b, s:o}", "pool", json_text(command->pool),
                                           "made", 1, "prepared_bytes", json_number(making.done)));
    printf("pool %s is made\n", command->pool);
    return 0;
}
