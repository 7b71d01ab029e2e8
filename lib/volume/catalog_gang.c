/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Operations on several names.
 *
 *   leader ──▶ slot of the first name ──▶ of the second ──▶ ... ──▶ LOAD and LIST each ──▶ ready
 */
#include <stdlib.h>
#include <string.h>

#include "volume/catalog_cluster.h"

static struct catalog_member *member_of(struct catalog_op *op)
{
    return CONTAINER_OF(op, struct catalog_member, op);
}

struct catalog_member *catalog_gang_add(struct catalog_gang *gang, const char *name)
{
    assert(gang->count < CATALOG_GANG_MAX);
    struct catalog_member *member = calloc(1, sizeof *member);
    if (member == NULL)
        return NULL;
    member->gang = gang;
    memcpy(member->name, name, strlen(name) + 1);
    gang->members[gang->count++] = member;
    return member;
}

void catalog_gang_forget(struct catalog_gang *gang)
{
    for (uint32_t i = 0; i < gang->count; i++)
        free(gang->members[i]);
    gang->count = 0;
}

/* --- The end -------------------------------------------------------------------------------- */

/* What was opened for a gang that ended in the middle. */
static void unused_end(struct catalog_op *op, int result)
{
    (void)result;
    free(op);
}

static void unused_begin(struct catalog_op *op, int result)
{
    (void)result;
    catalog_op_close_volume(op, catalog_op_end);
}

static void member_leave_open(const struct catalog_member *member)
{
    if (!member->opened)
        return;
    struct catalog_op *op = calloc(1, sizeof *op);
    if (op != NULL &&
        catalog_op_start(op, member->op.catalog, member->name, unused_begin, unused_end) != 0)
        free(op); /* It is closed by who uses it next. */
}

/* One that fails is the end of all. */
static void member_end(struct catalog_op *op, int result)
{
    struct catalog_member *member = member_of(op);
    struct catalog_gang *gang = member->gang;
    if (gang != NULL)
        gang->members[member->index] = NULL;
    member_leave_open(member);
    free(member);
    if (gang != NULL)
        catalog_gang_end(gang, result);
}

static void leader_end(struct catalog_op *op, int result)
{
    struct catalog_gang *gang = CONTAINER_OF(op, struct catalog_gang, op);
    struct catalog_member *members[CATALOG_GANG_MAX];
    uint32_t count = gang->count;
    for (uint32_t i = 0; i < count; i++) {
        members[i] = gang->members[i];
        if (members[i] == NULL)
            continue;
        members[i]->gang = NULL;
        if (members[i]->changing) /* Another one could not be had. */
            catalog_volume_changed(members[i]->op.slot->open, NULL, 0);
        members[i]->changing = false;
    }
    gang->end(op, result);
    for (uint32_t i = 0; i < count; i++) {
        if (members[i] == NULL)
            continue;
        if (members[i]->op.catalog != NULL)
            catalog_op_end(&members[i]->op, result);
        else
            free(members[i]); /* It never began. */
    }
}

void catalog_gang_end(struct catalog_gang *gang, int result)
{
    catalog_op_end(&gang->op, result);
}

static void finish_closed(struct catalog_op *op, int result)
{
    (void)result; /* Sequences that were not given back are lost, no more. */
    catalog_gang_finish(member_of(op)->gang, member_of(op)->gang->why);
}

void catalog_gang_finish(struct catalog_gang *gang, int result)
{
    gang->why = result;
    for (uint32_t i = 0; i < gang->count; i++) {
        struct catalog_member *member = gang->members[i];
        if (!member->opened)
            continue;
        member->opened = false;
        catalog_op_close_volume(&member->op, finish_closed);
        return;
    }
    catalog_gang_end(gang, result);
}

int catalog_gang_start(struct catalog_gang *gang, struct catalog *catalog, catalog_step_fn *begin,
                       void (*end)(struct catalog_op *, int))
{
    gang->end = end;
    return catalog_op_start(&gang->op, catalog, NULL, begin, leader_end);
}

/* --- Gathering ------------------------------------------------------------------------------ */

static void gather_load(struct catalog_gang *gang);

static void member_listed(struct catalog_op *op, int result)
{
    (void)result;
    member_of(op)->gang->at++;
    gather_load(member_of(op)->gang);
}

static void member_loaded(struct catalog_op *op, int result)
{
    (void)result;
    catalog_op_list(op, op->record.id, member_listed);
}

static void gather_load(struct catalog_gang *gang)
{
    while (gang->at < gang->count && gang->members[gang->at]->bare)
        gang->at++;
    if (gang->at < gang->count)
        catalog_op_load(&gang->members[gang->at]->op, member_loaded);
    else
        gang->ready(&gang->op, 0);
}

static void gather_next(struct catalog_gang *gang);

static void member_begin(struct catalog_op *op, int result)
{
    (void)result;
    gather_next(member_of(op)->gang);
}

static void gather_failed(struct catalog_op *op, int result)
{
    catalog_gang_end(CONTAINER_OF(op, struct catalog_gang, op), result);
}

static void gather_next(struct catalog_gang *gang)
{
    if (gang->at == gang->count) {
        gang->at = 0;
        gather_load(gang);
        return;
    }
    struct catalog_member *member = gang->members[gang->at++];
    int result =
        catalog_op_start(&member->op, gang->op.catalog, member->name, member_begin, member_end);
    if (result != 0)
        catalog_op_later(&gang->op, result, gather_failed);
}

static int member_compare(const void *a, const void *b)
{
    const struct catalog_member *const *left = a;
    const struct catalog_member *const *right = b;
    return strcmp((*left)->name, (*right)->name);
}

void catalog_gang_gather(struct catalog_gang *gang, catalog_step_fn *ready)
{
    qsort(gang->members, gang->count, sizeof gang->members[0], member_compare);
    for (uint32_t i = 0; i < gang->count; i++)
        gang->members[i]->index = i;
    gang->ready = ready;
    gang->at = 0;
    gather_next(gang);
}

void catalog_gang_again(struct catalog_gang *gang)
{
    gang->at = 0;
    gather_load(gang);
}

/* --- In a cluster ----------------------------------------------------------------------------- */

static void prepare_opened(struct catalog_op *op, int result)
{
    struct catalog_member *member = member_of(op);
    (void)result;
    member->opened = true;
    if (!catalog_gang_prepare(member->gang))
        catalog_gang_again(member->gang);
}

static void prepare_swept(struct catalog_op *op, int result)
{
    (void)result;
    catalog_gang_again(CONTAINER_OF(op, struct catalog_gang, op));
}

/* Copies may differ in what was written last until somebody has compared them: the volumes are
 * opened for a snapshot. While cuts are being dropped none is taken: a list without it is on its
 * way. */
bool catalog_gang_prepare(struct catalog_gang *gang)
{
    for (uint32_t i = 0; i < gang->count && catalog_is_cluster(gang->op.catalog); i++) {
        struct catalog_member *member = gang->members[i];
        const struct catalog_volume *volume = member->op.slot->open;
        if (member->bare)
            continue;
        if (volume == NULL) {
            member->op.writes = true;
            catalog_op_open_volume(&member->op, prepare_opened);
            return true;
        }
        if (volume->owned->sweep != NULL) {
            catalog_owned_after_sweep(volume->owned, &gang->op, prepare_swept);
            return true;
        }
    }
    return false;
}
