/* SPDX-License-Identifier: Apache-2.0 */
#include "keeper/survey.h"

#include <stdlib.h>
#include <string.h>

#include "keeper/survey_inside.h"

#define FNV_BASIS 0xcbf29ce484222325u
#define FNV_PRIME 0x100000001b3u

/* --- Ends ------------------------------------------------------------------------------------- */

void survey_end(struct survey *survey, int result)
{
    survey->running = false;
    survey->took_ns = clock_now_ns(survey->options.clock) - survey->began_ns;
    metadata_volume_done(&survey->volume);
    survey->volume.id = 0;
    if (result == 0) {
        plan_decide(survey->plan);
        survey->balancing = plan_balancing(survey->plan);
    }
    survey->done(survey, result);
}

void survey_stop(struct survey *survey)
{
    survey->stopped = true;
}

void survey_done(struct survey *survey)
{
    assert(!survey->running);
    plan_close(survey->plan);
    metadata_cluster_done(&survey->cluster);
    for (unsigned i = 0; i < COUNT_OF(survey->lists); i++)
        meta_request_done(&survey->lists[i].request);
    free(survey->stores);
    free(survey->revisions);
    free(survey->promised);
    free(survey->silent_ms);
    free(survey->wishes);
    free(survey->idle);
    free(survey->names);
    free(survey->silences);
    free(survey->sessions);
    free(survey->addresses);
    free(survey->progresses);
    free(survey->sizes);
    *survey = (struct survey){0};
}

/* --- Room ------------------------------------------------------------------------------------- */

/* The array, with room for one more; NULL: no memory, and it is as it was. */
static void *room(void *items, uint32_t count, uint32_t *capacity, size_t each)
{
    if (count < *capacity)
        return items;
    uint32_t more = MAX(2 * *capacity, 64u);
    void *grown = realloc(items, more * each);
    if (grown != NULL)
        *capacity = more;
    return grown;
}

/* --- Sessions --------------------------------------------------------------------------------- */

static uint64_t address_hash(const char *node, const char *address)
{
    uint64_t hash = FNV_BASIS;
    for (; *node != '\0'; node++)
        hash = (hash ^ (uint8_t)*node) * FNV_PRIME;
    hash *= FNV_PRIME;
    for (; *address != '\0'; address++)
        hash = (hash ^ (uint8_t)*address) * FNV_PRIME;
    return hash;
}

static int number_order(const void *a, const void *b)
{
    const uint64_t *left = a;
    const uint64_t *right = b;
    return (*left > *right) - (*left < *right);
}

static bool has_number(const uint64_t *numbers, uint32_t count, uint64_t number)
{
    return count > 0 && bsearch(&number, numbers, count, sizeof number, number_order) != NULL;
}

int survey_session(struct survey *survey, const struct meta_entry *entry)
{
    struct metadata_session session;
    int result = metadata_session_decode(entry->value.data, entry->value.length, &session);
    if (result != 0)
        return result == -ENOMEM ? result : 0; /* Who cannot be read does not answer. */
    uint32_t capacity = survey->session_capacity;
    uint64_t *sessions = room(survey->sessions, survey->session_count, &capacity, sizeof *sessions);
    if (sessions != NULL)
        survey->sessions = sessions;
    uint64_t *addresses = room(survey->addresses, survey->session_count, &survey->session_capacity,
                               sizeof *addresses);
    if (addresses != NULL)
        survey->addresses = addresses;
    if (sessions == NULL || addresses == NULL) {
        metadata_session_done(&session);
        return -ENOMEM;
    }
    survey->sessions[survey->session_count] = session.id;
    survey->addresses[survey->session_count++] = address_hash(session.node, session.address);
    metadata_session_done(&session);
    return 0;
}

/* --- Wishes and progress ---------------------------------------------------------------------- */

int survey_wish(struct survey *survey, const struct meta_entry *entry)
{
    struct metadata_wish wish;
    int result = metadata_wish_decode(entry->value.data, entry->value.length, &wish);
    if (result != 0)
        return result == -ENOMEM ? result : 0;
    metadata_wish_done(&wish);
    wish.unknown = (struct metadata_bytes){0};
    struct survey_wish *items =
        room(survey->wishes, survey->wish_count, &survey->wish_capacity, sizeof *items);
    if (items == NULL)
        return -ENOMEM;
    survey->wishes = items;
    survey->wishes[survey->wish_count++] =
        (struct survey_wish){.wish = wish, .revision = entry->modified_revision};
    return 0;
}

int survey_progress(struct survey *survey, const struct meta_entry *entry)
{
    struct metadata_progress progress;
    int result = metadata_progress_decode(entry->value.data, entry->value.length, &progress);
    if (result != 0)
        return result == -ENOMEM ? result : 0;
    metadata_progress_done(&progress);
    progress.unknown = (struct metadata_bytes){0};
    struct metadata_progress *items =
        room(survey->progresses, survey->progress_count, &survey->progress_capacity, sizeof *items);
    if (items == NULL)
        return -ENOMEM;
    survey->progresses = items;
    survey->progresses[survey->progress_count++] = progress;
    return 0;
}

int survey_idle_add(struct survey *survey, uint64_t volume)
{
    uint64_t *items = room(survey->idle, survey->idle_count, &survey->idle_capacity, sizeof *items);
    if (items == NULL)
        return -ENOMEM;
    survey->idle = items;
    survey->idle[survey->idle_count++] = volume;
    return 0;
}

bool survey_idle(const struct survey *survey, uint64_t volume)
{
    return has_number(survey->idle, survey->idle_count, volume);
}

bool survey_lives(const struct survey *survey, uint64_t session)
{
    return has_number(survey->sessions, survey->session_count, session);
}

/* --- Stores ----------------------------------------------------------------------------------- */

uint32_t survey_store(const struct survey *survey, uint64_t store)
{
    uint32_t low = 0;
    uint32_t high = survey->store_count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (survey->stores[middle].record.id < store)
            low = middle + 1;
        else
            high = middle;
    }
    bool found = low < survey->store_count && survey->stores[low].record.id == store;
    return found ? low : UINT32_MAX;
}

static const char *name_copy(char **at, const char *name)
{
    char *copy = *at;
    size_t length = strlen(name) + 1;
    memcpy(copy, name, length);
    *at += length;
    return copy;
}

static int stores_room(struct survey *survey)
{
    const struct stores *stores = survey->options.stores;
    size_t bytes = 1;
    free(survey->stores);
    free(survey->revisions);
    free(survey->promised);
    free(survey->silent_ms);
    free(survey->names);
    survey->store_count = stores->count;
    for (uint32_t i = 0; i < stores->count; i++) {
        const struct metadata_store *record = &stores->entries[i]->record;
        bytes += strlen(record->zone) + strlen(record->rack) + strlen(record->node) + 3;
    }
    survey->stores = calloc(stores->count + 1, sizeof *survey->stores);
    survey->revisions = calloc(stores->count + 1, sizeof *survey->revisions);
    survey->promised = calloc(stores->count + 1, sizeof *survey->promised);
    survey->silent_ms = calloc(stores->count + 1, sizeof *survey->silent_ms);
    survey->names = malloc(bytes);
    bool all = survey->stores != NULL && survey->revisions != NULL && survey->promised != NULL &&
               survey->silent_ms != NULL && survey->names != NULL;
    return all ? 0 : -ENOMEM;
}

uint64_t survey_told_part_ns(const struct survey *survey)
{
    return plan_settings_of(&survey->cluster, survey->store_count).out_after_ns / SURVEY_TOLD_PARTS;
}

/* As it was at the survey before, or as its record says. */
static struct survey_silence silence_of(const struct survey *survey,
                                        const struct metadata_store *record)
{
    const struct survey_silence *found =
        survey->silence_count == 0 ? NULL
                                   : bsearch(&record->id, survey->silences, survey->silence_count,
                                             sizeof *found, number_order);
    if (found != NULL)
        return *found;
    struct survey_silence silence = {.store = record->id, .since_ns = survey->began_ns};
    if (record->silent_ms == 0 || MUTANT(353))
        return silence;
    uint64_t now_ns = clock_wall_ns(survey->options.clock);
    uint64_t untold_ns = now_ns - MIN(now_ns, record->silent_told_ns);
    silence.before_ns = MIN(record->silent_ms, UINT64_MAX / 2 / NS_PER_MS) * NS_PER_MS +
                        MIN(untold_ns, survey_told_part_ns(survey));
    return silence;
}

static void store_tell(struct survey *survey, uint32_t index, char **names,
                       struct survey_silence *silences, uint32_t *silence_count)
{
    const struct stores_entry *entry = survey->options.stores->entries[index];
    struct plan_store *store = &survey->stores[index];
    *store = (struct plan_store){.record = place_store_of(&entry->record),
                                 .state_reason = entry->record.state_reason,
                                 .drains = entry->record.drains};
    survey->revisions[index] = entry->revision;
    store->record.zone = name_copy(names, entry->record.zone);
    store->record.rack = name_copy(names, entry->record.rack);
    store->record.node = name_copy(names, entry->record.node);
    bool up =
        survey->options.up != NULL && survey->options.up(survey->options.context, store->record.id);
    /* One that says so of itself answers, but takes nothing: as good as silent. */
    bool failed = entry->record.state_reason == METADATA_REASON_FAILED ||
                  entry->record.state_reason == METADATA_REASON_DAMAGED;
    bool lives = up || (entry->record.address[0] != '\0' &&
                        has_number(survey->addresses, survey->session_count,
                                   address_hash(entry->record.node, entry->record.address)));
    store->answers = lives && !failed;
    if (store->answers)
        return;
    struct survey_silence silence = silence_of(survey, &entry->record);
    silences[(*silence_count)++] = silence;
    uint64_t silent_ns = survey->began_ns - silence.since_ns + silence.before_ns;
    survey->silent_ms[index] = MAX(silent_ns / NS_PER_MS, 1);
    /* In the time of the records: that of the wall. */
    uint64_t now_ns = clock_wall_ns(survey->options.clock);
    store->silent_since_ns = now_ns - MIN(now_ns, silent_ns);
}

int survey_plan(struct survey *survey)
{
    int result = stores_room(survey);
    uint32_t silence_count = 0;
    struct survey_silence *silences = calloc(survey->options.stores->count + 1, sizeof *silences);
    if (result != 0 || silences == NULL) {
        free(silences);
        survey->store_count = 0;
        return -ENOMEM;
    }
    if (survey->session_count > 0) {
        qsort(survey->sessions, survey->session_count, sizeof(uint64_t), number_order);
        qsort(survey->addresses, survey->session_count, sizeof(uint64_t), number_order);
    }
    char *names = survey->names;
    for (uint32_t i = 0; i < survey->store_count; i++)
        store_tell(survey, i, &names, silences, &silence_count);
    free(survey->silences);
    survey->silences = silences;
    survey->silence_count = silence_count;
    struct plan_settings settings = plan_settings_of(&survey->cluster, survey->store_count);
    return plan_open(&settings, survey->stores, survey->store_count,
                     clock_wall_ns(survey->options.clock), survey->balancing, &survey->plan);
}
