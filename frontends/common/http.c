/* SPDX-License-Identifier: Apache-2.0 */
#include "common/http.h"

#include <errno.h>
#include <microhttpd.h>
#include <netdb.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "common/options.h"

enum { CONNECTIONS_MAX = 32, TIMEOUT_SECONDS = 10, MEMORY_BYTES = 16384 };

struct http {
    struct ev_loop *ev;
    struct MHD_Daemon *daemon;
    struct http_pages pages;
    ev_io readable;
    ev_timer timeout;
};

struct http_page {
    char *text;
    size_t bytes;
    FILE *stream;
};

void http_print(struct http_page *page, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    vfprintf(page->stream, format, arguments);
    va_end(arguments);
}

static enum MHD_Result queue_page(struct MHD_Connection *connection, unsigned status, char *text,
                                  size_t bytes)
{
    struct MHD_Response *response =
        MHD_create_response_from_buffer(bytes, text, MHD_RESPMEM_MUST_FREE);
    if (response == NULL) {
        free(text);
        return MHD_NO;
    }
    MHD_add_response_header(response, MHD_HTTP_HEADER_CONTENT_TYPE, "text/plain; version=0.0.4");
    const enum MHD_Result result = MHD_queue_response(connection, status, response);
    MHD_destroy_response(response);
    return result;
}

/* The types are libmicrohttpd's. */
static enum MHD_Result serve(void *context, struct MHD_Connection *connection, const char *url,
                             const char *method, const char *version, const char *upload,
                             size_t *upload_bytes, void **state)
{
    (void)version;
    (void)upload;
    struct http *http = context;
    static int seen;
    if (*state == NULL) { /* The first of two calls: headers only. */
        *state = &seen;
        return MHD_YES;
    }
    *upload_bytes = 0;
    struct http_page page = {0};
    page.stream = open_memstream(&page.text, &page.bytes);
    if (page.stream == NULL)
        return MHD_NO;
    unsigned status = MHD_HTTP_OK;
    if (strcmp(method, "GET") != 0 && strcmp(method, "HEAD") != 0) {
        status = MHD_HTTP_METHOD_NOT_ALLOWED;
        http_print(&page, "only GET\n");
    } else if (strcmp(url, "/metrics") == 0) {
        http->pages.metrics(http->pages.context, &page);
    } else if (strcmp(url, "/healthz") == 0) {
        if (!http->pages.health(http->pages.context, &page))
            status = MHD_HTTP_SERVICE_UNAVAILABLE;
    } else {
        status = MHD_HTTP_NOT_FOUND;
        http_print(&page, "/metrics or /healthz\n");
    }
    if (fclose(page.stream) != 0) {
        free(page.text);
        return MHD_NO;
    }
    return queue_page(connection, status, page.text, page.bytes);
}

static void http_turn(struct http *http)
{
    MHD_run(http->daemon);
    MHD_UNSIGNED_LONG_LONG wait_ms;
    ev_timer_stop(http->ev, &http->timeout);
    if (MHD_get_timeout(http->daemon, &wait_ms) == MHD_YES) {
        ev_timer_set(&http->timeout, (double)wait_ms / 1000., 0.);
        ev_timer_start(http->ev, &http->timeout);
    }
}

static void on_readable(struct ev_loop *ev, ev_io *watcher, int events)
{
    (void)ev;
    (void)events;
    http_turn(watcher->data);
}

static void on_timeout(struct ev_loop *ev, ev_timer *watcher, int events)
{
    (void)ev;
    (void)events;
    http_turn(watcher->data);
}

/* HOST:PORT to a socket address. */
static int resolve(const char *text, char *error, size_t error_bytes, struct addrinfo **ret_list)
{
    char host[256];
    const char *colon = strrchr(text, ':');
    const size_t length = colon == NULL ? 0 : (size_t)(colon - text);
    if (colon == NULL || length >= sizeof host || colon[1] == '\0') {
        snprintf(error, error_bytes, "%s: expected HOST:PORT", text);
        return -EINVAL;
    }
    uint64_t port;
    if (colon[1] >= '0' && colon[1] <= '9' && !options_number(colon + 1, 0, 65535, &port)) {
        snprintf(error, error_bytes, "%s: a port is at most 65535", text);
        return -EINVAL;
    }
    const bool bracketed = length >= 2 && text[0] == '[' && text[length - 1] == ']';
    snprintf(host, sizeof host, "%.*s", (int)(bracketed ? length - 2 : length), text + bracketed);
    const struct addrinfo hints = {
        .ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE};
    const int result = getaddrinfo(host[0] == '\0' ? NULL : host, colon + 1, &hints, ret_list);
    if (result != 0) {
        snprintf(error, error_bytes, "%s: %s", text, gai_strerror(result));
        return -EINVAL;
    }
    return 0;
}

static struct MHD_Daemon *start(struct http *http, const struct addrinfo *address)
{
    unsigned flags = MHD_USE_EPOLL;
    if (address->ai_family == AF_INET6)
        flags |= MHD_USE_IPv6;
    return MHD_start_daemon(
        flags, 0, NULL, NULL, serve, http, MHD_OPTION_SOCK_ADDR, address->ai_addr,
        MHD_OPTION_CONNECTION_LIMIT, CONNECTIONS_MAX, MHD_OPTION_CONNECTION_TIMEOUT,
        TIMEOUT_SECONDS, MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)MEMORY_BYTES, MHD_OPTION_END);
}

int http_open(struct ev_loop *ev, const char *address, const struct http_pages *pages, char *error,
              size_t error_bytes, struct http **ret_http)
{
    struct addrinfo *list;
    const int result = resolve(address, error, error_bytes, &list);
    if (result != 0)
        return result;
    struct http *http = calloc(1, sizeof *http);
    if (http == NULL) {
        freeaddrinfo(list);
        snprintf(error, error_bytes, "no memory");
        return -ENOMEM;
    }
    http->ev = ev;
    http->pages = *pages;
    errno = 0;
    for (struct addrinfo *item = list; item != NULL && http->daemon == NULL; item = item->ai_next)
        http->daemon = start(http, item);
    const int cause = errno == 0 ? EADDRINUSE : errno;
    freeaddrinfo(list);
    if (http->daemon == NULL) {
        free(http);
        snprintf(error, error_bytes, "%s: %s", address, strerror(cause));
        return -cause;
    }
    const union MHD_DaemonInfo *info = MHD_get_daemon_info(http->daemon, MHD_DAEMON_INFO_EPOLL_FD);
    ev_io_init(&http->readable, on_readable, info->epoll_fd, EV_READ);
    http->readable.data = http;
    ev_timer_init(&http->timeout, on_timeout, 0., 0.);
    http->timeout.data = http;
    ev_io_start(ev, &http->readable);
    *ret_http = http;
    return 0;
}

unsigned http_port(const struct http *http)
{
    return MHD_get_daemon_info(http->daemon, MHD_DAEMON_INFO_BIND_PORT)->port;
}

void http_close(struct http *http)
{
    if (http == NULL)
        return;
    ev_io_stop(http->ev, &http->readable);
    ev_timer_stop(http->ev, &http->timeout);
    MHD_stop_daemon(http->daemon);
    free(http);
}
