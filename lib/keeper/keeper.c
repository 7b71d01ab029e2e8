/* SPDX-License-Identifier: Apache-2.0 */
#include "keeper/keeper.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "keeper/keeper_inside.h"

#define BUSY_NS (5 * NS_PER_S)
#define IDLE_NS (60 * NS_PER_S)
#define SOON_NS (250 * NS_PER_MS)
#define LEAST_NS NS_PER_S
#define PASS_SHARE 10u /* Of the time, passes take no more than one part. */

void keeper_tell(const struct keeper *keeper, enum store_event_severity severity,
                 const char *format, ...)
{
    char text[512];
    va_list arguments;
    if (keeper->options.event == NULL)
        return;
    va_start(arguments, format);
    (void)vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    struct catalog_event event = {.severity = severity, .text = text};
    keeper->options.event(keeper->options.context, &event);
}

/* --- Passes ----------------------------------------------------------------------------------- */

static void pass_end(struct keeper *keeper);

/* Not sooner than the passes' share of the time allows. */
static void pass_at(struct keeper *keeper, uint64_t delay_ns)
{
    struct clock *clock = keeper->options.clock;
    uint64_t now_ns = clock_now_ns(clock);
    uint64_t at_ns = now_ns + delay_ns;
    if (keeper->pass_ended_ns != 0) {
        uint64_t took_ns = keeper->pass_ended_ns - keeper->pass_began_ns;
        at_ns = MAX(at_ns, keeper->pass_began_ns + keeper->options.least_ns);
        at_ns = MAX(at_ns, keeper->pass_ended_ns + took_ns * PASS_SHARE);
    }
    if (!keeper->pass_timer.set || keeper->pass_timer.at_ns > at_ns)
        clock_set(clock, &keeper->pass_timer, at_ns);
}

void keeper_pass_soon(struct keeper *keeper)
{
    if (!keeper->leads)
        return;
    keeper->due = true;
    if (!keeper->survey.running && !keeper->act.flying)
        pass_at(keeper, keeper->options.soon_ns);
}

void keeper_acted(struct keeper *keeper)
{
    pass_end(keeper);
}

static void surveyed(struct survey *survey, int result)
{
    struct keeper *keeper = CONTAINER_OF(survey, struct keeper, survey);
    size_t facts = 0;
    if (result != 0 || !keeper_leads(keeper)) {
        if (result != 0 && result != -ECANCELED)
            keeper_tell(keeper, STORE_WARNING, "the pool cannot be looked at: %s",
                        base_error_text(result));
        pass_end(keeper);
        return;
    }
    (void)plan_facts(survey->plan, &facts);
    keeper->look.facts = (uint32_t)facts;
    keeper->look.wishes = survey->wish_count;
    keeper->look.passes++;
    keeper_act(keeper);
}

static void pass_begin(struct timer *timer)
{
    struct keeper *keeper = CONTAINER_OF(timer, struct keeper, pass_timer);
    if (!keeper_leads(keeper) || keeper->survey.running || keeper->act.flying)
        return;
    keeper->due = false;
    keeper->pass_began_ns = clock_now_ns(keeper->options.clock);
    if (survey_start(&keeper->survey, surveyed) != 0)
        pass_end(keeper);
}

static void pass_end(struct keeper *keeper)
{
    keeper->pass_ended_ns = clock_now_ns(keeper->options.clock);
    keeper->look.pass_ns = keeper->pass_ended_ns - keeper->pass_began_ns;
    if (!keeper->leads)
        return;
    bool busy = keeper->look.facts > 0 || keeper->look.wishes > 0 || keeper->change_count > 0 ||
                keeper_kept_count(keeper) > 0;
    pass_at(keeper, keeper->due ? keeper->options.soon_ns
                    : busy      ? keeper->options.busy_ns
                                : keeper->options.idle_ns);
}

/* --- What changes ----------------------------------------------------------------------------- */

static void watch_start(struct keeper *keeper);

/* What a pass looks at; but not what it changes, nor how far copying is. */
static void pool_changed(struct meta_watch *watch, const struct meta_event *event)
{
    struct keeper *keeper = CONTAINER_OF(watch, struct keeper, watch);
    struct metadata_key_parts parts;
    if (metadata_key_parse(event->entry.key.data, event->entry.key.length, &parts) != 0)
        return;
    switch (parts.kind) {
    case METADATA_CLUSTER:
    case METADATA_STORE:
    case METADATA_SESSION:
    case METADATA_VOLUME:
    case METADATA_GROUP: keeper_pass_soon(keeper); break;
    default: break;
    }
}

static void watch_ended(struct meta_watch *watch, int result)
{
    struct keeper *keeper = CONTAINER_OF(watch, struct keeper, watch);
    keeper->watching = false;
    if (result == IOMESH_COMPACTED)
        watch_start(keeper);
    keeper_pass_soon(keeper);
}

static void watch_start(struct keeper *keeper)
{
    struct meta_slice all = {0};
    keeper->watching = meta_watch_start(keeper->options.meta, &keeper->watch, all, 0, pool_changed,
                                        watch_ended) == 0;
}

/* --- Leading ---------------------------------------------------------------------------------- */

void keeper_led(struct keeper *keeper)
{
    keeper->look = (struct keeper_look){0};
    keeper->pass_ended_ns = 0;
    keeper->survey.silence_count = 0; /* Of another time. */
    keeper_tell(keeper, STORE_INFO, "this process is the keeper of the pool");
    watch_start(keeper);
    keeper_pass_soon(keeper);
}

void keeper_resigned(struct keeper *keeper)
{
    clock_cancel(keeper->options.clock, &keeper->pass_timer);
    if (keeper->watching)
        meta_watch_cancel(keeper->options.meta, &keeper->watch);
    keeper->watching = false;
    survey_stop(&keeper->survey);
    keeper->change_count = 0; /* Of what it decided, nothing more is done. */
    keeper_kept_stop(keeper);
    keeper_tell(keeper, STORE_INFO, "this process is the keeper of the pool no more");
}

/* --- Life ------------------------------------------------------------------------------------- */

static bool store_up(void *context, uint64_t store)
{
    const struct keeper *keeper = context;
    return catalog_store_up(keeper->options.catalog, store);
}

int keeper_open(const struct keeper_options *options, struct keeper **ret_keeper)
{
    struct keeper *keeper = calloc(1, sizeof *keeper);
    if (keeper == NULL)
        return FAIL(-ENOMEM, "the keeper: no memory");
    struct keeper_options *own = &keeper->options;
    *own = *options;
    own->busy_ns = own->busy_ns != 0 ? own->busy_ns : BUSY_NS;
    own->idle_ns = own->idle_ns != 0 ? own->idle_ns : IDLE_NS;
    own->soon_ns = own->soon_ns != 0 ? own->soon_ns : SOON_NS;
    own->least_ns = own->least_ns != 0 ? own->least_ns : LEAST_NS;
    keeper->survey.options = (struct survey_options){.meta = own->meta,
                                                     .clock = own->clock,
                                                     .stores = catalog_stores(own->catalog),
                                                     .up = store_up,
                                                     .context = keeper};
    keeper->pass_timer.fire = pass_begin;
    *ret_keeper = keeper;
    keeper_elect_start(keeper);
    return 0;
}

static void keeper_free(struct keeper *keeper)
{
    void (*closed)(void *) = keeper->closed;
    void *context = keeper->closed_context;
    survey_done(&keeper->survey);
    meta_request_done(&keeper->elect);
    meta_request_done(&keeper->act);
    free(keeper->changes);
    free(keeper);
    closed(context);
}

static void key_gone(struct meta_request *request, int result)
{
    (void)request;
    (void)result; /* It goes with the session, else. */
}

void keeper_close(struct keeper *keeper, void (*done)(void *context), void *context)
{
    bool led = keeper_leads(keeper);
    keeper->closing = true;
    keeper->closed = done;
    keeper->closed_context = context;
    keeper_resign(keeper);
    clock_cancel(keeper->options.clock, &keeper->elect_timer);
    if (keeper->key_watching)
        meta_watch_cancel(keeper->options.meta, &keeper->key_watch);
    keeper->key_watching = false;
    if (!led || keeper->elect.flying)
        return;
    struct metadata_key key = metadata_keeper_key();
    meta_request_reset(&keeper->elect);
    keeper_if_leads(keeper, &keeper->elect);
    meta_delete(&keeper->elect, META_SLICE(key));
    (void)meta_commit(keeper->options.meta, &keeper->elect, key_gone);
}

void keeper_turn(struct keeper *keeper)
{
    if (keeper->leads && !keeper_leads(keeper))
        keeper_resign(keeper);
    keeper_kept_turn(keeper);
    if (keeper->closing && !keeper->survey.running && !keeper->elect.flying &&
        !keeper->act.flying && keeper_kept_count(keeper) == 0)
        keeper_free(keeper);
}

void keeper_look(const struct keeper *keeper, struct keeper_look *ret_look)
{
    *ret_look = keeper->look;
    ret_look->leads = keeper_leads(keeper);
    ret_look->kept = keeper_kept_count(keeper);
}
