/* SPDX-License-Identifier: Apache-2.0 */
/* Random transactions, done there and then in the model: the same must come of both. */
#include "suite.h"

#include "sim/meta_model.h"

#define TRANSACTIONS 400u

TestSuite(random, .init = suite_open, .fini = suite_close);

static struct model model, shadow;
static uint64_t shadow_revision;
static bool shadow_last = true;
static const char *watch_wrong;

/* What the watch is told, done to the keys that it sees. */
static void on_event(struct meta_watch *watch, const struct meta_event *event)
{
    unsigned key = 0;
    struct model_cell cell = {0};
    struct meta_slice name = event->entry.key;
    (void)watch;
    if (event->kind == META_EVENT_PUT) {
        if (!model_read(&event->entry, &key, &cell))
            watch_wrong = "an event of an entry that nobody wrote";
    } else {
        key = (unsigned)(((const uint8_t *)name.data)[2] - '0');
    }
    if (shadow_last ? event->revision <= shadow_revision : event->revision != shadow_revision)
        watch_wrong = "events are out of order, or `last` was not";
    if (event->previous_revision != shadow.cells[key].modified)
        watch_wrong = "an event names another previous revision";
    shadow_revision = event->revision;
    shadow_last = event->last;
    shadow.cells[key] = cell;
}

static void on_ended(struct meta_watch *watch, int result)
{
    (void)watch;
    (void)result;
    watch_wrong = "the watch ended";
}

static bool shadow_is(void)
{
    return memcmp(shadow.cells, model.cells, MODEL_KEYS / 2 * sizeof model.cells[0]) == 0;
}

Test(random, transactions_do_what_the_model_does_and_the_watch_tells_it)
{
    struct prng prng = {.state = 20};
    struct model_transaction transaction;
    struct meta_watch watch;
    uint64_t tag = 0;
    model_init(&model);
    meta_get(build(), META_TEXT("none"));
    cr_assert_eq(run(), 0);
    model.revision = suite.request.revision;
    uint64_t lease = grant(3600);
    cr_assert_eq(meta_watch_start(suite.meta, &watch, META_TEXT("a/"), model.revision + 1, on_event,
                                  on_ended),
                 0);
    for (unsigned i = 0; i < TRANSACTIONS; i++) {
        model_draw(&model, &prng, lease, &tag, &transaction);
        model_build(&transaction, &suite.request);
        cr_assert_eq(run(), 0);
        const char *differs = model_apply(&model, &transaction, &suite.request);
        cr_assert_null(differs, "transaction %u: %s", i, differs);
    }
    cr_assert_eq(end_lease(lease), 0);
    model_end_lease(&model, lease);
    for (unsigned i = 0; i < 1000 && watch_wrong == NULL && !shadow_is(); i++)
        suite_wait();
    cr_assert_null(watch_wrong, "%s", watch_wrong);
    cr_assert(shadow_is(), "the watch was not told what happened");
    meta_watch_cancel(suite.meta, &watch);
}
