/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Two pages over HTTP, from the loop's own thread: /metrics and /healthz.
 *
 * libmicrohttpd runs without threads: its one epoll descriptor is a libev watcher. So a page reads
 * the engine's numbers where they live, no lock and no copy, at the price of the time that it
 * takes to print them.
 */
#ifndef COMMON_HTTP_H
#define COMMON_HTTP_H

#include <ev.h>
#include <stdbool.h>
#include <stddef.h>

struct http;

/* A page being printed; http_print() adds to it. */
struct http_page;
__attribute__((format(printf, 2, 3))) void http_print(struct http_page *page, const char *format,
                                                      ...);

struct http_pages {
    void (*metrics)(void *context, struct http_page *page);
    bool (*health)(void *context, struct http_page *page); /* false: 503 */
    void *context;
};

/* Listen on "HOST:PORT" or "[v6]:PORT". Returns 0, or a negative errno with a sentence in
 * `error`. */
int http_open(struct ev_loop *ev, const char *address, const struct http_pages *pages, char *error,
              size_t error_bytes, struct http **ret_http);
/* The port that is listened on. */
unsigned http_port(const struct http *http);
/* NULL is fine. */
void http_close(struct http *http);

#endif
