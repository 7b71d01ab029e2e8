/* SPDX-License-Identifier: Apache-2.0 */
/* What a part does in the background: views that go, what they hold, and a volume that goes. */
#include <stdlib.h>
#include <string.h>

#include "store/parts.h"

/* --- Views that are not kept ---------------------------------------------------------------- */

static void views_deleted(void *context, int result)
{
    struct part_control *control = context;
    control->waits = false;
    if (result != 0 && control->result == 0)
        control->result = result;
}

/* The gap before kept cut number `cut`, or behind the last: its first and last sequence. What is
 * newer than the list is nobody's gap. */
static bool gap_of(const struct part_request *request, uint32_t cut, uint64_t *ret_first,
                   uint64_t *ret_last)
{
    *ret_first = (cut == 0 ? 0 : request->cuts[cut - 1]) + 1;
    *ret_last = (cut == request->cut_count ? VIEW_HEAD : request->cuts[cut]) - 1;
    if (request->sequence != 0 && !MUTANT(330))
        *ret_last = MIN(*ret_last, request->sequence);
    return *ret_first <= *ret_last;
}

/* One gap after the other; only those in which there is something take time. */
int part_views_work(struct part_control *control)
{
    const struct part_request *request = control->request;
    struct store *store = control->parts->store;
    while (control->cut <= request->cut_count) {
        uint64_t first, last, found;
        int error = control->result;
        if (error == 0 && store->state != STORE_READY)
            error = -ECONNRESET;
        if (error != 0)
            return error;
        error = -ENOENT;
        if (gap_of(request, control->cut, &first, &last))
            error = tree_view_next(&control->path, request->volume, first, last, &control->mebibyte,
                                   &found);
        if (error == -EAGAIN) {
            control->waits = true;
            return error;
        }
        tree_path_close(&control->path);
        control->mebibyte = 0;
        if (error == -ENOENT) {
            control->cut++;
            continue;
        }
        if (error == 0)
            error = store_delete_views(store, request->volume, first, last, first - 1,
                                       views_deleted, control);
        if (error != 0)
            return error;
        control->waits = true;
        return -EAGAIN;
    }
    return 0;
}

/* --- What they hold ------------------------------------------------------------------------- */

static void space_counted(void *context, int result)
{
    struct part_control *control = context;
    const struct part_request *request = control->request;
    struct part_view_space *to = request->data;
    control->waits = false;
    control->result = result;
    for (uint32_t i = 0; result == 0 && i < request->cut_count; i++) {
        to[i] = (struct part_view_space){
            .cut = control->spaces[i].cut,
            .unique_blocks = control->spaces[i].unique_blocks,
            .shared_blocks = control->spaces[i].shared_blocks,
        };
    }
}

int part_space_work(struct part_control *control)
{
    const struct part_request *request = control->request;
    if (control->spaces != NULL)
        return control->result;
    control->spaces = calloc(request->cut_count, sizeof *control->spaces);
    if (control->spaces == NULL)
        return -ENOMEM;
    for (uint32_t i = 0; i < request->cut_count; i++)
        control->spaces[i].cut = request->cuts[i];
    int error = store_view_space(control->parts->store, request->volume, control->spaces,
                                 request->cut_count, space_counted, control);
    if (error != 0)
        return error;
    control->waits = true;
    return -EAGAIN;
}

/* --- A volume that goes --------------------------------------------------------------------- */

struct retirement {
    struct parts *parts;
    uint64_t volume;
};

/* Its parts are forgotten when all that they had is gone. Else the next open goes on. */
static void retirement_done(void *context, int result)
{
    struct retirement *retirement = context;
    struct parts *parts = retirement->parts;
    uint64_t volume = retirement->volume;
    free(retirement);
    if (result != 0)
        return;
    for (struct part *part = part_next(parts, NULL, volume), *next; part != NULL; part = next) {
        next = part_next(parts, part, volume);
        if (!part->gone)
            part_drop(parts, part);
    }
}

static int retirement_begin(struct parts *parts, uint64_t volume)
{
    struct retirement *retirement = calloc(1, sizeof *retirement);
    if (retirement == NULL)
        return -ENOMEM;
    retirement->parts = parts;
    retirement->volume = volume;
    int error = store_delete_volume(parts->store, volume, retirement_done, retirement);
    if (error != 0)
        free(retirement);
    return error;
}

/* All parts of the volume say that they go. False: some do not yet on disk. */
static bool retire_all(struct part_control *control)
{
    struct parts *parts = control->parts;
    bool saved = true;
    for (struct part *part = part_next(parts, NULL, control->request->volume); part != NULL;
         part = part_next(parts, part, control->request->volume)) {
        if (!part->retired && part->home != NULL) {
            part->retired = true;
            part->turn++;
            part_changed(parts, part);
        }
        if (part->home != NULL && part->home->saved < part->home->version) {
            saved = false;
            if (part->home->error != 0)
                control->result = part->home->error;
        }
        saved &= list_empty(&part->entered);
    }
    return saved;
}

static void retire_flushed(struct store_flush *flush, int result)
{
    struct part_control *control = CONTAINER_OF(flush, struct part_control, flush);
    control->waits = false;
    control->result = result;
    if (result == 0)
        control->result = retirement_begin(control->parts, control->request->volume);
    control->cut = 2;
}

/* A volume that was never heard of gets a part to say so. */
static int retire_unheard(struct part_control *control)
{
    struct parts *parts = control->parts;
    const struct part_request *request = control->request;
    if (part_next(parts, NULL, request->volume) != NULL)
        return 0;
    struct part *part = part_make(parts, request->volume, request->group);
    if (part == NULL)
        return -ENOMEM;
    int error = part_settle(parts, part);
    if (error != 0)
        part_drop(parts, part);
    return error;
}

int part_retire_work(struct part_control *control)
{
    if (control->cut == 2)
        return control->result;
    if (control->parts->store->state != STORE_READY)
        return -ECONNRESET;
    bool again = false;
    if (control->cut == 0) {
        struct part *first = part_next(control->parts, NULL, control->request->volume);
        again = first != NULL && first->retired;
        int error = again ? 0 : retire_unheard(control);
        if (error != 0)
            return error;
        control->cut = again ? 2 : 1;
    }
    if (again)
        return 0; /* It is on its way. */
    bool saved = retire_all(control);
    if (control->result != 0)
        return control->result;
    if (!saved)
        return -EAGAIN;
    control->waits = true;
    control->flush.done = retire_flushed;
    store_flush(control->parts->store, &control->flush);
    return -EAGAIN;
}

void part_resume_retired(struct parts *parts)
{
    for (struct part *part = part_next(parts, NULL, 0); part != NULL;
         part = part_next(parts, part, 0)) {
        bool first = part_next(parts, NULL, part->volume) == part;
        if (part->retired && first && retirement_begin(parts, part->volume) != 0)
            store_event(parts->store, STORE_WARNING,
                        "volume %llu was deleted, and still is to be: at the next open",
                        (unsigned long long)part->volume);
    }
}
