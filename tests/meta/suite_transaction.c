/* SPDX-License-Identifier: Apache-2.0 */
#include "suite.h"

#include <stdio.h>
#include <stdlib.h>

TestSuite(transaction, .init = suite_open, .fini = suite_close);

#define KEY META_TEXT("key")

static struct meta_entry entry_of(const char *key)
{
    cr_assert(exists(key));
    return suite.request.responses[0].entries[0];
}

Test(transaction, each_change_raises_the_revision_by_one_and_reading_does_not)
{
    meta_get(build(), KEY);
    cr_assert_eq(run(), 0);
    uint64_t revision = suite.request.revision;
    put("a", "1");
    cr_assert_eq(suite.request.revision, revision + 1);
    meta_put(build(), META_TEXT("a"), META_TEXT("2"), 0);
    meta_put(&suite.request, META_TEXT("b"), META_TEXT("2"), 0);
    cr_assert_eq(run(), 0);
    cr_assert_eq(suite.request.revision, revision + 2);
    cr_assert_eq(entry_of("a").created_revision, revision + 1);
    cr_assert_eq(entry_of("a").modified_revision, revision + 2);
    cr_assert_eq(entry_of("b").created_revision, revision + 2);
    cr_assert_eq(suite.request.revision, revision + 2);
}

Test(transaction, deleting_nothing_is_no_change)
{
    put("b", "1");
    uint64_t revision = suite.request.revision;
    meta_delete(build(), META_TEXT("a"));
    meta_delete_prefix(&suite.request, META_TEXT("x/"));
    cr_assert_eq(run(), 0);
    cr_assert_eq(suite.request.revision, revision);
    cr_assert_eq(suite.request.responses[0].deleted_count, 0);
    cr_assert_eq(suite.request.responses[1].deleted_count, 0);
}

Test(transaction, a_key_created_anew_has_a_new_creation)
{
    put("a", "1");
    uint64_t first = entry_of("a").created_revision;
    meta_delete(build(), META_TEXT("a"));
    cr_assert_eq(run(), 0);
    cr_assert_eq(suite.request.responses[0].deleted_count, 1);
    cr_assert_not(exists("a"));
    put("a", "2");
    cr_assert_gt(entry_of("a").created_revision, first);
}

/* One compare against a key that is there with "v", and one that is not. */
static void compare_is(void (*compare)(struct meta_request *, bool there), bool there, bool holds)
{
    compare(build(), there);
    meta_put(&suite.request, META_TEXT("then"), META_TEXT("x"), 0);
    meta_else(&suite.request);
    meta_get(&suite.request, KEY);
    meta_get(&suite.request, KEY);
    cr_assert_eq(run(), 0);
    cr_assert_eq(suite.request.succeeded, holds);
    cr_assert_eq(suite.request.response_count, holds ? 1 : 2);
    cr_assert_eq(exists("then"), holds);
    meta_delete(build(), META_TEXT("then"));
    cr_assert_eq(run(), 0);
}

static struct meta_slice there_or_not(bool there)
{
    return there ? KEY : META_TEXT("missing");
}

static void absent(struct meta_request *request, bool there)
{
    meta_if_absent(request, there_or_not(there));
}

static void present(struct meta_request *request, bool there)
{
    meta_if_present(request, there_or_not(there));
}

static void right_value(struct meta_request *request, bool there)
{
    meta_if_value(request, there_or_not(there), META_TEXT("v"));
}

static void wrong_value(struct meta_request *request, bool there)
{
    meta_if_value(request, there_or_not(there), META_TEXT("vv"));
}

static void empty_value(struct meta_request *request, bool there)
{
    meta_if_value(request, there_or_not(there), (struct meta_slice){0});
}

static uint64_t created, modified;

static void right_modified(struct meta_request *request, bool there)
{
    meta_if_modified(request, there_or_not(there), modified);
}

static void old_modified(struct meta_request *request, bool there)
{
    meta_if_modified(request, there_or_not(there), created);
}

static void no_modified(struct meta_request *request, bool there)
{
    meta_if_modified(request, there_or_not(there), 0);
}

static void right_created(struct meta_request *request, bool there)
{
    meta_if_created(request, there_or_not(there), created);
}

static void no_created(struct meta_request *request, bool there)
{
    meta_if_created(request, there_or_not(there), 0);
}

Test(transaction, each_compare_chooses_the_branch)
{
    put("key", "u");
    put("key", "v");
    created = entry_of("key").created_revision;
    modified = entry_of("key").modified_revision;
    cr_assert_lt(created, modified);
    compare_is(absent, true, false);
    compare_is(absent, false, true);
    compare_is(present, true, true);
    compare_is(present, false, false);
    compare_is(right_value, true, true);
    compare_is(right_value, false, false);
    compare_is(wrong_value, true, false);
    compare_is(empty_value, true, false);
    compare_is(empty_value, false, false);
    compare_is(right_modified, true, true);
    compare_is(right_modified, false, false);
    compare_is(old_modified, true, false);
    compare_is(no_modified, true, false);
    compare_is(no_modified, false, true);
    compare_is(right_created, true, true);
    compare_is(no_created, true, false);
    compare_is(no_created, false, true);
}

Test(transaction, all_compares_must_hold)
{
    put("key", "v");
    meta_if_present(build(), KEY);
    meta_if_absent(&suite.request, META_TEXT("other"));
    meta_if_value(&suite.request, KEY, META_TEXT("w"));
    meta_put(&suite.request, META_TEXT("other"), META_TEXT("x"), 0);
    cr_assert_eq(run(), 0);
    cr_assert_not(suite.request.succeeded);
    cr_assert_eq(suite.request.response_count, 0);
    cr_assert_not(exists("other"));
}

Test(transaction, reads_see_the_operations_before_them)
{
    put("key", "old");
    meta_get(build(), KEY);
    meta_put(&suite.request, KEY, META_TEXT("new"), 0);
    meta_get(&suite.request, KEY);
    meta_list(&suite.request, META_TEXT("k"), (struct meta_slice){0}, 10);
    cr_assert_eq(run(), 0);
    cr_assert_arr_eq(suite.request.responses[0].entries[0].value.data, "old", 3);
    cr_assert_arr_eq(suite.request.responses[2].entries[0].value.data, "new", 3);
    cr_assert_eq(suite.request.responses[3].entry_count, 1);
}

Test(transaction, an_empty_value_is_a_value)
{
    put("key", "");
    cr_assert(exists("key"));
    cr_assert_eq(suite.request.responses[0].entries[0].value.length, 0);
    meta_if_value(build(), KEY, (struct meta_slice){0});
    cr_assert_eq(run(), 0);
    cr_assert(suite.request.succeeded);
}

Test(transaction, keys_are_bytes)
{
    static const uint8_t odd[] = {0, 255, '\'', 0};
    meta_put(build(), (struct meta_slice){odd, sizeof odd}, META_TEXT("x"), 0);
    cr_assert_eq(run(), 0);
    meta_list(build(), (struct meta_slice){odd, 2}, (struct meta_slice){0}, 10);
    cr_assert_eq(run(), 0);
    cr_assert_eq(suite.request.responses[0].entry_count, 1);
    cr_assert_eq(suite.request.responses[0].entries[0].key.length, sizeof odd);
    cr_assert_arr_eq(suite.request.responses[0].entries[0].key.data, odd, sizeof odd);
}

/* Keys of a page as one text. */
static const char *page(const char *prefix, const char *after, uint32_t limit)
{
    static char text[256];
    size_t length = 0;
    meta_list(build(), META_TEXT(prefix), META_TEXT(after), limit);
    cr_assert_eq(run(), 0);
    const struct meta_response *response = &suite.request.responses[0];
    for (uint32_t i = 0; i < response->entry_count; i++) {
        struct meta_slice key = response->entries[i].key;
        length += (size_t)snprintf(text + length, sizeof text - length, "%.*s ", (int)key.length,
                                   (const char *)key.data);
    }
    (void)snprintf(text + length, sizeof text - length, "%s", response->more ? "..." : ".");
    return text;
}

Test(transaction, a_list_is_in_order_and_comes_in_pages)
{
    static const char *const keys[] = {"b/3", "a/1", "b/1", "b/2", "b", "c", "b0"};
    for (size_t i = 0; i < COUNT_OF(keys); i++)
        put(keys[i], "x");
    cr_assert_str_eq(page("b/", "", 10), "b/1 b/2 b/3 .");
    cr_assert_str_eq(page("b/", "", 3), "b/1 b/2 b/3 .");
    cr_assert_str_eq(page("b/", "", 2), "b/1 b/2 ...");
    cr_assert_str_eq(page("b/", "b/2", 2), "b/3 .");
    cr_assert_str_eq(page("b/", "b/3", 2), ".");
    cr_assert_str_eq(page("b/", "a", 2), "b/1 b/2 ...");
    cr_assert_str_eq(page("b/", "b", 10), "b/1 b/2 b/3 .");
    cr_assert_str_eq(page("b/", "c", 10), ".");
    cr_assert_str_eq(page("", "", 10), "a/1 b b/1 b/2 b/3 b0 c .");
    cr_assert_str_eq(page("", "b/2", 2), "b/3 b0 ...");
}

Test(transaction, a_prefix_of_the_greatest_bytes_has_an_end)
{
    static const uint8_t high[] = {0xff, 0xff, 1};
    meta_put(build(), (struct meta_slice){high, 3}, META_TEXT("x"), 0);
    cr_assert_eq(run(), 0);
    meta_delete_prefix(build(), (struct meta_slice){high, 2});
    cr_assert_eq(run(), 0);
    cr_assert_eq(suite.request.responses[0].deleted_count, 1);
}

Test(transaction, deleting_by_prefix_takes_what_begins_with_it_and_nothing_else)
{
    static const char *const keys[] = {"a", "a/", "a/1", "a/2", "a0", "b"};
    for (size_t i = 0; i < COUNT_OF(keys); i++)
        put(keys[i], "x");
    meta_delete_prefix(build(), META_TEXT("a/"));
    cr_assert_eq(run(), 0);
    cr_assert_eq(suite.request.responses[0].deleted_count, 3);
    cr_assert_str_eq(page("", "", 10), "a a0 b .");
}

Test(transaction, an_answer_of_more_than_may_be_is_refused)
{
    static uint8_t big[META_VALUE_BYTES_MAX];
    char key[8];
    for (unsigned i = 0; i < 9; i++) {
        (void)snprintf(key, sizeof key, "big%u", i);
        meta_put(build(), META_TEXT(key), (struct meta_slice){big, sizeof big}, 0);
        cr_assert_eq(run(), 0);
    }
    build();
    for (unsigned i = 0; i < 9; i++) {
        (void)snprintf(key, sizeof key, "big%u", i);
        meta_get(&suite.request, META_TEXT(key));
    }
    cr_assert_eq(run(), -E2BIG);
    put("whole", "x");
}

Test(transaction, a_list_stops_before_its_answer_is_too_large)
{
    static uint8_t big[META_VALUE_BYTES_MAX];
    char key[8];
    for (unsigned i = 0; i < 10; i++) {
        (void)snprintf(key, sizeof key, "big%u", i);
        meta_put(build(), META_TEXT(key), (struct meta_slice){big, sizeof big}, 0);
        cr_assert_eq(run(), 0);
    }
    meta_list(build(), META_TEXT("big"), (struct meta_slice){0}, 100);
    cr_assert_eq(run(), 0);
    cr_assert_eq(suite.request.responses[0].entry_count, 7);
    cr_assert(suite.request.responses[0].more);
    meta_list(build(), META_TEXT("big"), META_TEXT("big6"), 100);
    cr_assert_eq(run(), 0);
    cr_assert_eq(suite.request.responses[0].entry_count, 3);
    cr_assert_not(suite.request.responses[0].more);
}

static struct meta_request again;
static unsigned again_count;

static void on_again(struct meta_request *request, int result)
{
    cr_assert_eq(result, 0);
    if (++again_count < 5)
        cr_assert_eq(meta_commit(suite.meta, request, on_again), 0);
    else
        meta_request_done(request);
}

Test(transaction, a_callback_may_submit_again_or_free_its_request)
{
    again_count = 0;
    meta_put(&again, KEY, META_TEXT("x"), 0);
    cr_assert_eq(meta_commit(suite.meta, &again, on_again), 0);
    while (again_count < 5)
        suite_wait();
}
