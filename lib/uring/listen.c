/* SPDX-License-Identifier: Apache-2.0 */
/* Where streams come from: listening. connect.c has the other way. */
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "uring/stream.h"

#define ACCEPT_RETRY_NS (100 * NS_PER_MS)
#define IN_USE_RETRY_NS (20 * NS_PER_MS)

struct iomesh_listener {
    struct uring *uring;
    int fd;
    struct stream_options options;
    iomesh_accept_fn *accept;
    void *context;
    uint32_t stream_count; /* At most options.streams_max; more wait in the backlog. */
    bool accepting, closing, told;
    struct uring_op accept_op;
    struct uring_later later;
    struct timer retry; /* No descriptor was free: later one may be. */
    char *made;         /* The socket file to remove; NULL: none. */
    char text[STREAM_NAME_BYTES];
};

/* --- Accepting ----------------------------------------------------------------------------- */

static void accept_prepare(struct uring_op *op, struct io_uring_sqe *sqe)
{
    const struct iomesh_listener *listener = CONTAINER_OF(op, struct iomesh_listener, accept_op);
    io_uring_prep_accept(sqe, listener->fd, NULL, NULL, SOCK_CLOEXEC);
}

static void accept_start(struct iomesh_listener *listener)
{
    if (listener->accepting || listener->closing || listener->retry.set ||
        listener->stream_count >= listener->options.streams_max)
        return;
    listener->accepting = true;
    uring_op_start(listener->uring, &listener->accept_op);
}

/* Streams that came in keep it alive, for they count here; the callback's last word does not
 * wait. */
static void listener_release(struct iomesh_listener *listener)
{
    if (listener->accepting)
        return;
    if (!listener->told) {
        listener->told = true;
        listener->uring->open_count--;
        close(listener->fd);
        listener->accept(listener->context, -ECANCELED, NULL);
    }
    if (listener->stream_count > 0)
        return;
    list_remove(&listener->later.node);
    free(listener->made);
    free(listener);
}

static void accept_retry(struct timer *timer)
{
    accept_start(CONTAINER_OF(timer, struct iomesh_listener, retry));
}

static void accept_took(struct iomesh_listener *listener, int fd)
{
    struct iomesh_stream *stream = NULL;
    int result = fd < 0 ? fd : stream_open(listener->uring, fd, &listener->options, &stream);
    if (result == 0) {
        stream->listener = listener;
        listener->stream_count++;
        listener->accept(listener->context, 0, stream);
        return;
    }
    if (fd >= 0)
        close(fd);
    /* Who gave up while waiting is nobody's trouble. */
    if (result == -ECONNABORTED || result == -EINTR || result == -EAGAIN || result == -EPROTO)
        return;
    clock_set_after(&listener->uring->clock, &listener->retry, ACCEPT_RETRY_NS);
    listener->accept(listener->context, result, NULL);
}

static void accept_done(struct uring_op *op, int result, uint32_t flags)
{
    (void)flags;
    struct iomesh_listener *listener = CONTAINER_OF(op, struct iomesh_listener, accept_op);
    listener->accepting = false;
    if (listener->closing) {
        if (result >= 0)
            close(result);
        listener_release(listener);
        return;
    }
    accept_took(listener, result);
    accept_start(listener);
}

void listener_stream_gone(struct iomesh_listener *listener)
{
    listener->stream_count--;
    if (listener->closing && listener->told)
        listener_release(listener);
    else
        accept_start(listener);
}

static void listener_run_later(struct uring_later *later)
{
    listener_release(CONTAINER_OF(later, struct iomesh_listener, later));
}

void uring_listener_close(struct iomesh_listener *listener)
{
    if (listener == NULL)
        return;
    assert(!listener->closing);
    listener->closing = true;
    clock_cancel(&listener->uring->clock, &listener->retry);
    if (listener->made != NULL)
        (void)unlink(listener->made);
    /* Not shutdown(): a socket that was given belongs to others too. */
    if (listener->accepting)
        uring_op_cancel(listener->uring, &listener->accept_op);
    else
        uring_later_start(listener->uring, &listener->later);
}

const char *uring_listener_address(const struct iomesh_listener *listener)
{
    return listener->text;
}

/* --- Listening ----------------------------------------------------------------------------- */

/* A socket file whose server is gone refuses connections, and is in the way. So does any file
 * that is no socket: that one is somebody's and stays. One whose server has no time for more
 * would let us wait for ever. */
static bool unix_is_stale(const struct stream_address *address)
{
    const char *path = ((const struct sockaddr_un *)(const void *)&address->bytes)->sun_path;
    struct stat file;
    if (lstat(path, &file) != 0 || !S_ISSOCK(file.st_mode))
        return false;
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return false;
    bool stale = connect(fd, (const struct sockaddr *)&address->bytes, address->length) != 0 &&
                 errno == ECONNREFUSED;
    close(fd);
    return stale;
}

static int unix_bind(int fd, const struct stream_address *address, uint32_t mode)
{
    const struct sockaddr *name = (const struct sockaddr *)&address->bytes;
    const char *path = ((const struct sockaddr_un *)name)->sun_path;
    /* Nobody gets in between bind() and chmod(): the socket does not listen yet. */
    int result = bind(fd, name, address->length);
    if (result != 0 && errno == EADDRINUSE) {
        if (!unix_is_stale(address))
            return -EADDRINUSE;
        (void)unlink(path);
        result = bind(fd, name, address->length);
    }
    if (result == 0 && chmod(path, mode) != 0) {
        result = -1;
        int code = errno;
        (void)unlink(path);
        errno = code;
    }
    return result == 0 ? 0 : -errno;
}

/* A descriptor that listens, or a negative errno. */
static int listen_once(const struct stream_options *options, const struct stream_address *address)
{
    int fd = socket(address->bytes.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -errno;
    int result = 0, on = 1;
    if (!address->is_unix)
        (void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (address->is_unix)
        result = unix_bind(fd, address, options->mode);
    else if (bind(fd, (const struct sockaddr *)&address->bytes, address->length) != 0)
        result = -errno;
    if (result == 0 && listen(fd, (int)options->backlog) != 0)
        result = -errno;
    if (result == 0)
        return fd;
    close(fd);
    return result;
}

static int listen_socket(const char *text, const struct stream_options *options,
                         struct stream_address *address)
{
    int result = address_parse(text, true, address);
    if (result != 0)
        return result;
    uint64_t until = uring_now_ns() + options->in_use_ms * NS_PER_MS;
    while ((result = listen_once(options, address)) == -EADDRINUSE && uring_now_ns() < until) {
        const struct timespec pause = {.tv_nsec = IN_USE_RETRY_NS};
        (void)nanosleep(&pause, NULL);
    }
    if (result >= 0)
        return result;
    return FAIL(result, "%s: cannot listen: %s", text, strerror(-result));
}

/* "fd:N": a socket that systemd, or another parent, opened for us. */
static int listen_given(const char *text)
{
    char *end = NULL;
    long number = strtol(text + 3, &end, 10);
    if (end == text + 3 || *end != '\0' || number < 0 || number > INT32_MAX)
        return FAIL(-EINVAL, "%s: say fd:NUMBER", text);
    int listening = 0;
    socklen_t length = sizeof listening;
    if (getsockopt((int)number, SOL_SOCKET, SO_ACCEPTCONN, &listening, &length) != 0)
        return FAIL(-errno, "%s: %s", text, strerror(errno));
    if (listening == 0)
        return FAIL(-EINVAL, "%s: is not a listening socket", text);
    return (int)number;
}

static int listener_open(struct uring *uring, const char *text, struct iomesh_listener *listener)
{
    struct stream_address address = {0};
    bool given = strncmp(text, "fd:", 3) == 0;
    int fd = given ? listen_given(text) : listen_socket(text, &listener->options, &address);
    if (fd < 0)
        return fd;
    listener->uring = uring;
    listener->fd = fd;
    if (address.is_unix)
        listener->made = strdup(((struct sockaddr_un *)&address.bytes)->sun_path);
    struct sockaddr_storage bound = {0};
    socklen_t length = sizeof bound;
    if (getsockname(fd, (struct sockaddr *)&bound, &length) == 0)
        address_name((const struct sockaddr *)&bound, length, listener->text);
    listener->accept_op = (struct uring_op){.prepare = accept_prepare, .done = accept_done};
    list_init(&listener->accept_op.node);
    listener->later.run = listener_run_later;
    list_init(&listener->later.node);
    listener->retry.fire = accept_retry;
    return 0;
}

int uring_listen(struct uring *uring, const char *address,
                 const struct iomesh_stream_options *given, iomesh_accept_fn *accept, void *context,
                 struct iomesh_listener **ret_listener)
{
    struct iomesh_listener *listener = calloc(1, sizeof *listener);
    if (listener == NULL)
        return FAIL(-ENOMEM, "%s: no memory", address);
    int result = stream_options_check(given, &listener->options);
    if (result == 0)
        result = listener_open(uring, address, listener);
    if (result != 0) {
        free(listener);
        return result;
    }
    listener->accept = accept;
    listener->context = context;
    uring->open_count++;
    accept_start(listener);
    *ret_listener = listener;
    return 0;
}
