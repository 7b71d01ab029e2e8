/* SPDX-License-Identifier: Apache-2.0 */
/* Why there is no place, in numbers and in words. */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "place/internal.h"

const char *place_level_text(enum place_level level, uint64_t count)
{
    static const char *const one[] = {"zone", "rack", "node", "store"};
    static const char *const many[] = {"zones", "racks", "nodes", "stores"};
    assert((unsigned)level < PLACE_LEVELS);
    return count == 1 ? one[level] : many[level];
}

/* What the best store of a domain is, of those that were looked at. */
enum best { BEST_NONE, BEST_UP, BEST_OF_KIND, BEST_FIT };

static enum best leaf_best(const struct place_leaf *leaf, uint32_t mask)
{
    if (leaf->state != METADATA_STORE_UP || leaf->weight == 0)
        return BEST_NONE;
    if ((mask >> leaf->media & 1) == 0)
        return BEST_UP;
    return leaf->counted ? BEST_FIT : BEST_OF_KIND;
}

struct place_refusal place_refusal_of(const struct place *place, enum place_level level,
                                      uint32_t mask)
{
    struct place_refusal refusal = {.domain = level, .media = mask};
    uint32_t now = 0;
    enum best best = BEST_NONE;
    for (uint32_t at = place->level_first[PLACE_STORE]; at <= place->domain_count; at++) {
        uint32_t of = 0;
        if (at < place->domain_count)
            of = place_domain(place, place->leaf_of[at], level);
        if (of != now && now != 0) {
            refusal.all++;
            refusal.up += best >= BEST_UP;
            refusal.of_kind += best >= BEST_OF_KIND;
            refusal.fit += best >= BEST_FIT;
            best = BEST_NONE;
        }
        now = of;
        if (at < place->domain_count)
            best = MAX(best, leaf_best(&place->leaves[place->leaf_of[at]], mask));
    }
    return refusal;
}

struct text {
    char *to;
    size_t length, size;
};

static void say(struct text *text, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void say(struct text *text, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    int length = vsnprintf(text->to + text->length, text->size - text->length, format, arguments);
    va_end(arguments);
    if (length > 0)
        text->length = MIN(text->size - 1, text->length + (size_t)length);
}

static void say_media(struct text *text, uint32_t mask)
{
    static const char *const names[] = {"nvme", "ssd", "hdd"};
    const char *between = "";
    for (uint32_t media = 0; media < COUNT_OF(names); media++)
        if (mask >> media & 1) {
            say(text, "%s%s", between, names[media]);
            between = " or ";
        }
}

static void say_missing(struct text *text, const struct place_refusal *refusal)
{
    const char *before = " (";
    const struct {
        uint32_t count;
        const char *what;
    } rows[] = {
        {refusal->all - refusal->up, "draining or out"},
        {refusal->up - refusal->of_kind, "without such a store"},
        {refusal->of_kind - refusal->fit, "full"},
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++)
        if (rows[i].count > 0) {
            say(text, "%s%u more %s %s", before, rows[i].count, rows[i].count == 1 ? "is" : "are",
                rows[i].what);
            before = ", ";
        }
    if (before[0] == ',')
        say(text, ")");
}

const char *place_refusal_text(const struct place_refusal *refusal, char to[PLACE_TEXT_BYTES])
{
    struct text text = {.to = to, .size = PLACE_TEXT_BYTES};
    uint32_t wanted = refusal->wanted;
    uint32_t lacking = wanted > refusal->fit ? wanted - refusal->fit : 1;
    bool any = refusal->media == 0 || refusal->media == METADATA_MEDIA_MASK;
    to[0] = '\0';
    if (wanted == 1)
        say(&text, "a copy needs a %s", place_level_text(refusal->domain, 1));
    else
        say(&text, "%u copies on different %s need %u %s", wanted,
            place_level_text(refusal->domain, 2), wanted, place_level_text(refusal->domain, 2));
    if (!any) {
        say(&text, wanted == 1 ? " with an " : " with ");
        say_media(&text, refusal->media);
        say(&text, wanted == 1 ? " store" : " stores");
    }
    say(&text, ", and there %s %u", refusal->fit == 1 ? "is" : "are", refusal->fit);
    say_missing(&text, refusal);
    say(&text, ": add %u %s", lacking, place_level_text(refusal->domain, lacking));
    if (refusal->of_kind > refusal->fit)
        say(&text, ", make space");
    if (wanted > 1)
        say(&text, ", ask for fewer copies");
    if (wanted > 1 && refusal->domain != PLACE_STORE)
        say(&text, ", or let copies share a %s", place_level_text(refusal->domain, 1));
    return to;
}
