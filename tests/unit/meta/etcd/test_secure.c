/* SPDX-License-Identifier: Apache-2.0 */
/* TLS, and who is let in. */
#include "fixture.h"

#include <signal.h>
#include <stdio.h>

static struct etcd_server server;

TestSuite(secure, .timeout = 30);

static const char *url_with(const char *format_cas, const char *more)
{
    static char url[1000];
    char options[800];
    (void)snprintf(options, sizeof options, "?ca=%s/%s&cert=%s/client.pem&key=%s/client.key%s",
                   server.directory, format_cas, server.directory, server.directory, more);
    etcd_server_url(&server, "pool", options, url, sizeof url);
    return url;
}

static const char *with_user(const char *password_file)
{
    static char more[200];
    (void)snprintf(more, sizeof more, "&user=root&password-file=%s/%s", server.directory,
                   password_file);
    return more;
}

static void password(const char *name, const char *text)
{
    char path[100];
    (void)snprintf(path, sizeof path, "%s/%s", server.directory, name);
    FILE *file = fopen(path, "we");
    cr_assert_not_null(file);
    (void)fprintf(file, "%s\n", text);
    (void)fclose(file);
}

static int put_once(void)
{
    meta_put(build(), META_TEXT("a"), META_TEXT("1"), 0);
    return run();
}

static void trouble_says(const char *words)
{
    struct meta_etcd_state state;
    meta_etcd_state(suite.meta, &state);
    cr_assert_not_null(strstr(state.trouble, words), "%s", state.trouble);
}

Test(secure, tls_both_ways_and_neither_side_takes_a_stranger)
{
    char url[200];
    cr_assert(etcd_server_start(&server, 1, true));
    handle_open(url_with("ca.pem", ""), 0, 0);
    put("a", "1");
    static uint8_t big[META_VALUE_BYTES_MAX];
    meta_put(build(), META_TEXT("big"), (struct meta_slice){big, sizeof big}, 0);
    cr_assert_eq(run(), 0);
    cr_assert(exists("big"));
    handle_close();

    handle_open(url_with("client.pem", ""), 500 * NS_PER_MS, 0); /* Not who signed it. */
    cr_assert_eq(put_once(), -ETIMEDOUT);
    trouble_says("certificate");
    handle_close();

    char options[100];
    (void)snprintf(options, sizeof options, "?ca=%s/ca.pem", server.directory);
    etcd_server_url(&server, "pool", options, url, sizeof url);
    handle_open(url, 500 * NS_PER_MS, 0); /* Without one of ours. */
    cr_assert_eq(put_once(), -ETIMEDOUT);
    trouble_says("TLS");
    handle_close();

    etcd_server_url(&server, "pool", "", url, sizeof url);
    handle_open(url, 500 * NS_PER_MS, 0); /* Without TLS. */
    cr_assert_eq(put_once(), -ETIMEDOUT);
    handle_close();
    etcd_server_stop(&server);
}

Test(secure, users_log_in_and_again_when_their_token_is_forgotten)
{
    struct ear ear = {0};
    cr_assert(etcd_server_start(&server, 1, true));
    password("right", "secret");
    password("wrong", "guess");
    /* Before there are users everybody is let in. */
    handle_open(url_with("ca.pem", with_user("right")), 0, 0);
    put("a", "0");
    handle_close();
    cr_assert(etcd_server_ctl(&server, "user add root:secret"));
    cr_assert(etcd_server_ctl(&server, "user grant-role root root"));
    cr_assert(etcd_server_ctl(&server, "auth enable"));

    handle_open(url_with("ca.pem", with_user("right")), 0, 0);
    ear_start(&ear, "", 0);
    put("a", "1");
    ear_expect(&ear, "a=1. ");
    /* A member that begins anew knows no token. */
    etcd_server_signal(&server, 0, SIGKILL);
    cr_assert(etcd_server_restart(&server, 0));
    put("a", "2");
    ear_expect(&ear, "a=1. a=2. ");
    ear_stop(&ear);
    handle_close();

    handle_open(url_with("ca.pem", with_user("wrong")), 0, 0);
    cr_assert_eq(put_once(), -EACCES);
    trouble_says("authentication failed");
    handle_close();

    handle_open(url_with("ca.pem", ""), 0, 0); /* The certificate's name has no rights. */
    cr_assert_eq(put_once(), -EACCES);
    handle_close();
    etcd_server_stop(&server);
}
