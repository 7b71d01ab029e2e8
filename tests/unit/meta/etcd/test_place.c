/* SPDX-License-Identifier: Apache-2.0 */
#include "fixture.h"

#include <stdio.h>

static struct meta_etcd_place place;

Test(place, a_url_names_endpoints_pool_and_options)
{
    cr_assert_eq(meta_etcd_place_parse("etcd://one:2379,10.0.0.2:79,[::1]:12379/a/b?wait=3&"
                                       "ca=/etc/ca%20one.pem&user=me&password-file=/p&"
                                       "max-txn-ops=512&cert=c&key=k",
                                       &place),
                 0, "%s", base_last_error());
    cr_assert_eq(place.endpoint_count, 3);
    cr_assert_str_eq(place.endpoints[0].host, "one");
    cr_assert_str_eq(place.endpoints[0].port, "2379");
    cr_assert_str_eq(place.endpoints[2].host, "::1");
    cr_assert_str_eq(place.endpoints[2].port, "12379");
    cr_assert_str_eq(place.pool, "a/b");
    cr_assert_eq(place.wait_ns, 3 * NS_PER_S);
    cr_assert_str_eq(place.ca, "/etc/ca one.pem");
    cr_assert_str_eq(place.user, "me");
    cr_assert_eq(place.txn_ops, 512);
    cr_assert_eq(meta_etcd_place_parse("etcd://h:1/p/", &place), 0);
    cr_assert_str_eq(place.pool, "p");
    cr_assert_eq(place.wait_ns, META_ETCD_WAIT_NS);
    cr_assert_eq(place.txn_ops, META_ETCD_TXN_OPS);
}

Test(place, what_is_wrong_is_refused_by_name)
{
    static const struct {
        const char *url;
        const char *said;
    } wrong[] = {
        {"file:/x", "etcd://HOST:PORT/POOL"},
        {"etcd://h/p", "`h` is no endpoint"},
        {"etcd://h:0/p", "`h:0` is no endpoint"},
        {"etcd://h:65536/p", "`h:65536`"},
        {"etcd://h:1,/p", "`` is no endpoint"},
        {"etcd://::1:1/p", "`::1:1`"},
        {"etcd://me:secret@h:1/p", "no endpoint"},
        {"etcd://h:1", "name the pool"},
        {"etcd://h:1///", "name the pool"},
        {"etcd://h:1/p?colour=red", "no option `colour`"},
        {"etcd://h:1/p?wait", "`wait` has no value"},
        {"etcd://h:1/p?wait=0", "1 to 3600"},
        {"etcd://h:1/p?wait=1.5", "1 to 3600"},
        {"etcd://h:1/p?ca=", "`ca` is empty"},
        {"etcd://h:1/p?ca=a&ca=b", "`ca` is said twice"},
        {"etcd://h:1/p?cert=a&ca=b", "`cert` and `key` go together"},
        {"etcd://h:1/p?cert=a&key=b", "needs `ca`"},
        {"etcd://h:1/p?user=a", "`user` and `password-file`"},
        {"etcd://h:1/p?password=a", "no option `password`"},
        {"etcd://h:1/p?user=%00", "`user` is empty"},
        {"etcd://h:1/p?max-txn-ops=2", "16 to 4096"},
        {"etcd://h:1,h:1,h:1,h:1,h:1,h:1,h:1,h:1,h:1,h:1,h:1,h:1,h:1,h:1,h:1,h:1,h:1/p",
         "more than 16 endpoints"},
    };
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        cr_assert_lt(meta_etcd_place_parse(wrong[i].url, &place), 0, "%s", wrong[i].url);
        cr_assert_not_null(strstr(base_last_error(), wrong[i].said), "%s: %s", wrong[i].url,
                           base_last_error());
    }
}

Test(place, a_name_that_is_too_long_is_refused)
{
    char url[400];
    memset(url, 'x', sizeof url);
    memcpy(url, "etcd://h:1/", 11);
    url[11 + META_ETCD_POOL_BYTES_MAX] = '\0';
    cr_assert_eq(meta_etcd_place_parse(url, &place), 0);
    url[11 + META_ETCD_POOL_BYTES_MAX] = 'x';
    url[11 + META_ETCD_POOL_BYTES_MAX + 1] = '\0';
    cr_assert_eq(meta_etcd_place_parse(url, &place), -EINVAL);
}

Test(place, files_that_cannot_be_used_are_named_at_opening)
{
    static const char *const urls[] = {
        "etcd://h:1/p?ca=/no/such/ca.pem",
        "etcd://h:1/p?user=a&password-file=/no/such/password",
    };
    for (unsigned i = 0; i < 2; i++) {
        struct meta_etcd_options options = {.url = urls[i], .wakeup = (void (*)(void *))abort};
        struct meta *meta;
        cr_assert_eq(meta_etcd_open(&options, &meta), -EINVAL);
        cr_assert_not_null(strstr(base_last_error(), "/no/such/"), "%s", base_last_error());
    }
}
