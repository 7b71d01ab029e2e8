/* SPDX-License-Identifier: Apache-2.0 */
#include "suite.h"

#include <stdio.h>

#define PATIENCE 2000u /* Waits. */

struct suite suite;

static int run_result;

static void on_run(struct meta_request *request, int result)
{
    (void)request;
    run_result = result;
}

static int wait_for_result(void)
{
    for (unsigned i = 0; i < PATIENCE && run_result == 1; i++)
        suite_wait();
    cr_assert_leq(run_result, 0, "it never ended");
    return run_result;
}

struct meta_request *build(void)
{
    meta_request_reset(&suite.request);
    return &suite.request;
}

int run(void)
{
    run_result = 1;
    cr_assert_eq(meta_commit(suite.meta, &suite.request, on_run), 0, "%s", base_last_error());
    return wait_for_result();
}

void put_leased(const char *key, const char *value, uint64_t lease)
{
    meta_put(build(), META_TEXT(key), META_TEXT(value), lease);
    cr_assert_eq(run(), 0);
}

void put(const char *key, const char *value)
{
    put_leased(key, value, 0);
}

bool exists(const char *key)
{
    meta_get(build(), META_TEXT(key));
    cr_assert_eq(run(), 0);
    return suite.request.responses[0].entry_count == 1;
}

const char *value_of(const char *key)
{
    static char text[256];
    text[0] = '\0';
    if (exists(key)) {
        struct meta_slice value = suite.request.responses[0].entries[0].value;
        cr_assert_lt(value.length, sizeof text);
        memcpy(text, value.data, value.length);
        text[value.length] = '\0';
    }
    return text;
}

uint64_t grant(unsigned seconds)
{
    run_result = 1;
    cr_assert_eq(meta_lease_grant(suite.meta, &suite.request, seconds * NS_PER_S, on_run), 0);
    cr_assert_eq(wait_for_result(), 0);
    cr_assert_neq(suite.request.lease, 0);
    cr_assert_eq(suite.request.ttl_ns, seconds * NS_PER_S);
    return suite.request.lease;
}

int keep_lease(uint64_t lease)
{
    run_result = 1;
    cr_assert_eq(meta_lease_keep(suite.meta, &suite.request, lease, on_run), 0);
    return wait_for_result();
}

int end_lease(uint64_t lease)
{
    run_result = 1;
    cr_assert_eq(meta_lease_revoke(suite.meta, &suite.request, lease, on_run), 0);
    return wait_for_result();
}

/* --- Watches ------------------------------------------------------------------------------- */

static void on_event(struct meta_watch *watch, const struct meta_event *event)
{
    struct ear *ear = CONTAINER_OF(watch, struct ear, watch);
    size_t length = strlen(ear->told);
    char revisions[48] = "";
    if (ear->revisions_too)
        (void)snprintf(revisions, sizeof revisions, "@%llu<%llu",
                       (unsigned long long)event->revision,
                       (unsigned long long)event->previous_revision);
    (void)snprintf(ear->told + length, sizeof ear->told - length, "%.*s%s%.*s%s%s",
                   (int)event->entry.key.length, (const char *)event->entry.key.data,
                   event->kind == META_EVENT_DELETE ? "-" : "=", (int)event->entry.value.length,
                   (const char *)event->entry.value.data, revisions, event->last ? ". " : " ");
}

static void on_ended(struct meta_watch *watch, int result)
{
    CONTAINER_OF(watch, struct ear, watch)->ended = result;
}

void ear_start(struct ear *ear, const char *prefix, uint64_t from)
{
    ear->told[0] = '\0';
    ear->ended = 0;
    cr_assert_eq(
        meta_watch_start(suite.meta, &ear->watch, META_TEXT(prefix), from, on_event, on_ended), 0);
}

void ear_expect(struct ear *ear, const char *told)
{
    for (unsigned i = 0; i < PATIENCE && strlen(ear->told) < strlen(told) && ear->ended == 0; i++)
        suite_wait();
    cr_assert_eq(ear->ended, 0, "the watch ended: %s", base_error_text(ear->ended));
    cr_assert_str_eq(ear->told, told);
}

void ear_expect_end(struct ear *ear, int result)
{
    for (unsigned i = 0; i < PATIENCE && ear->ended == 0; i++)
        suite_wait();
    cr_assert_eq(ear->ended, result);
}

void ear_stop(struct ear *ear)
{
    meta_watch_cancel(suite.meta, &ear->watch);
}
