/* SPDX-License-Identifier: Apache-2.0 */
/* Facts in plain words: what is wrong, why, what is done about it, how long that takes. */
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>

#include "keeper/plan_inside.h"

struct words {
    char *to;
    size_t length;
    bool joined; /* Something was said of what is done. */
};

static void say(struct words *words, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void say(struct words *words, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    int length =
        vsnprintf(words->to + words->length, PLAN_TEXT_BYTES - words->length, format, arguments);
    va_end(arguments);
    if (length > 0)
        words->length = MIN(PLAN_TEXT_BYTES - 1, words->length + (size_t)length);
}

static void say_count(struct words *words, uint64_t count, const char *one, const char *many)
{
    say(words, "%" PRIu64 " %s", count, count == 1 ? one : many);
}

static void say_time(struct words *words, uint64_t seconds)
{
    if (seconds < 120)
        say_count(words, seconds, "second", "seconds");
    else if (seconds < 120 * 60)
        say_count(words, seconds / 60, "minute", "minutes");
    else if (seconds < 72 * 3600)
        say_count(words, seconds / 3600, "hour", "hours");
    else
        say_count(words, seconds / 86400, "day", "days");
}

static void say_bytes(struct words *words, uint64_t bytes)
{
    static const char *const units[] = {"bytes", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
    size_t unit = 0;
    uint64_t tenths = 0;
    while (bytes >= 1024 && unit + 1 < COUNT_OF(units)) {
        tenths = bytes % 1024 * 10 / 1024;
        bytes /= 1024;
        unit++;
    }
    say(words, "%" PRIu64, bytes);
    if (unit > 0 && bytes < 100)
        say(words, ".%" PRIu64, tenths);
    say(words, " %s", units[unit]);
}

static void say_store(struct words *words, const struct plan *plan, uint32_t at)
{
    const struct place_store *record = &plan->stores[at].record;
    say(words, "store %" PRIu64, record->id);
    if (record->node != NULL && record->node[0] != '\0')
        say(words, " on node %s", record->node);
}

/* A node by its name; if it has none, its store. */
static void say_node(struct words *words, const struct plan *plan, uint32_t at)
{
    const char *node = plan->stores[at].record.node;
    if (node == NULL || node[0] == '\0')
        say_store(words, plan, at);
    else
        say(words, "node %s", node);
}

static uint64_t age_seconds(const struct plan *plan, uint64_t since_ns)
{
    return (plan->now_ns - MIN(plan->now_ns, since_ns)) / NS_PER_S;
}

static void say_cause(struct words *words, const struct plan *plan, const struct plan_fact *fact)
{
    static const char *const causes[METADATA_REASONS] = {
        [METADATA_REASON_NONE] = "is out",
        [METADATA_REASON_SILENT] = "has not answered",
        [METADATA_REASON_REFUSED] = "refused connections",
        [METADATA_REASON_FAILED] = "has a device that failed",
        [METADATA_REASON_FULL] = "has a store that is full",
        [METADATA_REASON_RESTARTED] = "restarted, and lost what it had not flushed",
        [METADATA_REASON_SLOW] = "is slow",
        [METADATA_REASON_DAMAGED] = "has a store that lost something",
        [METADATA_REASON_OPERATOR] = "was put out",
        [METADATA_REASON_MOVED] = "gives its copies away",
    };
    if (fact->store == PLAN_NONE) {
        say(words, "their stores are not in the pool any more");
        return;
    }
    say_node(words, plan, fact->store);
    bool silent = fact->reason == METADATA_REASON_SILENT && !plan->stores[fact->store].answers;
    if (fact->reason == METADATA_REASON_SILENT && !silent)
        say(words, " did not answer");
    else if (fact->reason < METADATA_REASONS)
        say(words, " %s", causes[fact->reason]);
    else
        say(words, " had trouble that this version does not know (%u)", fact->reason);
    if (fact->since_ns != 0 && fact->since_ns <= plan->now_ns) {
        say(words, silent ? " for " : ", ");
        say_time(words, age_seconds(plan, fact->since_ns));
        if (!silent)
            say(words, " ago");
    }
    if (fact->out && silent)
        say(words, " and is out");
}

static void join(struct words *words)
{
    say(words, words->joined ? ", " : "; ");
    words->joined = true;
}

static void say_left(struct words *words, const struct plan_fact *fact)
{
    if (fact->seconds_left == UINT64_MAX)
        return;
    say(words, ", ");
    say_time(words, fact->seconds_left);
    say(words, " left");
}

static void say_doing(struct words *words, const struct plan *plan, const struct plan_fact *fact,
                      const char *made)
{
    const struct plan_doing *doing = &fact->doing;
    char text[PLACE_TEXT_BYTES];
    if (doing->running > 0) {
        join(words);
        say_count(words, doing->running, "is", "are");
        say(words, " being %s", made);
        if (doing->queued > 0)
            say(words, " and %u more wait for their turn", doing->queued);
        say_left(words, fact);
    } else if (doing->queued > 0) {
        join(words);
        say(words, doing->queued == 1 ? "%u waits for its turn" : "%u wait for their turn",
            doing->queued);
    }
    if (doing->owner > 0) {
        join(words);
        say_count(words, doing->owner, "is", "are");
        say(words, " brought up to date by the volume's coordinator");
    }
    if (doing->waiting > 0 && plan->held) {
        join(words);
        say(words, "nothing is made anew elsewhere, for too many stores are silent at once");
    } else if (doing->waiting > 0) {
        join(words);
        say(words, "if it does not come back in ");
        say_time(words, DIV_CEIL(fact->out_in_ns, NS_PER_S));
        say(words, " they are made anew elsewhere");
    }
    if (doing->nowhere > 0) {
        join(words);
        say_count(words, doing->nowhere, "has", "have");
        say(words, " no place to go: %s", place_refusal_text(&fact->refusal, text));
    }
}

static void say_volumes(struct words *words, const struct plan_fact *fact)
{
    if (fact->volumes == 1)
        say(words, "volume %" PRIu64, fact->volume);
    else
        say(words, "%u volumes", fact->volumes);
}

static void say_unserved(struct words *words, const struct plan_fact *fact)
{
    bool unreachable = fact->kind == PLAN_FACT_UNREACHABLE;
    say_volumes(words, fact);
    if (unreachable)
        say(words, " cannot be read or written in part: no copy that is in sync answers; bring a "
                   "node back that has one, or accept the loss");
    else
        say(words,
            " cannot be written in part: fewer copies are in sync (%u of %u) than its policy "
            "takes for enough; writing goes on as soon as one more is",
            fact->missing, fact->copies);
}

static void say_stale(struct words *words, const struct plan *plan, const struct plan_fact *fact)
{
    say(words, "%u of %u copies of ", fact->missing, fact->copies);
    say_volumes(words, fact);
    say(words, fact->missing == 1 && fact->volumes == 1 ? " is" : " are");
    say(words, " out of date because ");
    say_cause(words, plan, fact);
    say_doing(words, plan, fact, "rebuilt");
}

static void say_draining(struct words *words, const struct plan *plan, const struct plan_fact *fact)
{
    say_store(words, plan, fact->store);
    say(words, " is drained: ");
    if (fact->groups == 0) {
        say(words, "it is empty and can be removed");
        return;
    }
    say_count(words, fact->groups, "copy", "copies");
    say(words, " left, ");
    say_bytes(words, fact->doing.bytes_left);
    say_doing(words, plan, fact, "moved");
}

static void say_fact(struct words *words, const struct plan *plan, const struct plan_fact *fact)
{
    switch (fact->kind) {
    case PLAN_FACT_UNREACHABLE:
    case PLAN_FACT_PAUSED: say_unserved(words, fact); break;
    case PLAN_FACT_HELD:
        say(words,
            "%u of %u stores do not answer, more than a third of the nodes: the network may "
            "be the cause, and nothing is replaced until some answer or are put out by hand",
            fact->stores, plan->store_count);
        break;
    case PLAN_FACT_STALE: say_stale(words, plan, fact); break;
    case PLAN_FACT_SHORT:
        say_volumes(words, fact);
        say(words, fact->volumes == 1 ? " lacks" : " lack");
        say(words, " %u of %u copies", fact->missing, fact->copies);
        say_doing(words, plan, fact, "made");
        break;
    case PLAN_FACT_SILENT:
        say_node(words, plan, fact->store);
        if (fact->since_ns <= plan->now_ns) {
            say(words, " has not answered for ");
            say_time(words, age_seconds(plan, fact->since_ns));
        } else {
            say(words, " does not answer");
        }
        say(words, "; it holds no copies");
        break;
    case PLAN_FACT_FULL:
        say_count(words, fact->stores, "store is", "stores are");
        say(words, " nearly full, ");
        say_store(words, plan, fact->store);
        say(words, " to %u %%: add stores, or delete something", fact->ppm / 10000);
        break;
    case PLAN_FACT_DRAINING: say_draining(words, plan, fact); break;
    case PLAN_FACT_BALANCING:
        if (fact->doing.running > 0)
            say(words,
                "copies are moved so that stores are equally full (the farthest is %u %% off)",
                fact->ppm / 10000);
        else
            say(words,
                "stores are not equally full (the farthest is %u %% off), but no copy can be "
                "moved without coming nearer to another",
                fact->ppm / 10000);
        say_left(words, fact);
        break;
    case PLAN_FACT_FAILED:
        say_store(words, plan, fact->store);
        say(words,
            " is not used, for a write or a flush of a device of its failed; look at the device, "
            "then say store undrain %" PRIu64 ", or give it up with store drain %" PRIu64 " --lost",
            plan->stores[fact->store].record.id, plan->stores[fact->store].record.id);
        break;
    case PLAN_FACT_DELETING:
        say_count(words, fact->volumes, "deleted volume is", "deleted volumes are");
        say(words, " being removed from the stores");
        break;
    }
}

const char *plan_fact_text(const struct plan *plan, const struct plan_fact *fact,
                           char text[PLAN_TEXT_BYTES])
{
    struct words words = {.to = text};
    text[0] = '\0';
    say_fact(&words, plan, fact);
    return text;
}

bool plan_removal(const struct plan *plan, uint64_t store, char text[PLAN_TEXT_BYTES])
{
    struct words words = {.to = text};
    uint32_t index = place_index(plan->place, store);
    text[0] = '\0';
    if (index == PLAN_NONE) {
        say(&words, "there is no store %" PRIu64 " in this pool", store);
        return false;
    }
    const struct seen *seen = &plan->seen[index];
    say_store(&words, plan, plan->told_at[index]);
    if (seen->copies > 0 && !MUTANT(266)) {
        say(&words, " holds ");
        say_count(&words, seen->copies, "copy", "copies");
        say(&words, ", ");
        say_bytes(&words, seen->copy_bytes);
        say(&words, plan_told(plan, index)->record.state == METADATA_STORE_UP
                        ? ": drain it first"
                        : ": wait until they are elsewhere");
        return false;
    }
    if (plan_told(plan, index)->record.state == METADATA_STORE_UP && !seen->out) {
        say(&words, " is up, and copies may be placed on it at any moment: drain it first");
        return false;
    }
    say(&words, " holds nothing and can be removed");
    return true;
}
