/* SPDX-License-Identifier: Apache-2.0 */
/* <iomesh/sys/stream.h>: arguments are checked here, the rest is uring/'s. */
#include <iomesh/sys/stream.h>

#include "api/engine.h"

int iomesh_listen(struct iomesh_engine *engine, const char *address,
                  const struct iomesh_stream_options *options, iomesh_accept_fn *accept,
                  void *context, struct iomesh_listener **ret_listener)
{
    if (address == NULL || accept == NULL)
        return FAIL(-EINVAL, "listening needs an address and a callback");
    return uring_listen(engine->uring, address, options, accept, context, ret_listener);
}

const char *iomesh_listener_address(const struct iomesh_listener *listener)
{
    return uring_listener_address(listener);
}

void iomesh_listener_close(struct iomesh_listener *listener)
{
    uring_listener_close(listener);
}

int iomesh_stream_connect(struct iomesh_engine *engine, const char *address,
                          const struct iomesh_stream_options *options,
                          iomesh_connected_fn *connected, void *context)
{
    if (address == NULL || connected == NULL)
        return FAIL(-EINVAL, "connecting needs an address and a callback");
    return uring_stream_connect(engine->uring, address, options, connected, context);
}

int iomesh_stream_adopt(struct iomesh_engine *engine, int fd,
                        const struct iomesh_stream_options *options,
                        struct iomesh_stream **ret_stream)
{
    return uring_stream_adopt(engine->uring, fd, options, ret_stream);
}

const char *iomesh_stream_peer(const struct iomesh_stream *stream)
{
    return uring_stream_peer(stream);
}

int iomesh_stream_fill(struct iomesh_stream *stream, uint32_t bytes, iomesh_done_fn *done,
                       void *context)
{
    if (done == NULL)
        return FAIL(-EINVAL, "a fill needs a callback");
    return uring_stream_fill(stream, bytes, done, context);
}

uint32_t iomesh_stream_peek(struct iomesh_stream *stream, const void **ret_data)
{
    return uring_stream_peek(stream, ret_data);
}

void iomesh_stream_consume(struct iomesh_stream *stream, uint32_t bytes)
{
    uring_stream_consume(stream, bytes);
}

int iomesh_stream_receive(struct iomesh_stream *stream, void *data, uint32_t length,
                          iomesh_done_fn *done, void *context)
{
    if (done == NULL)
        return FAIL(-EINVAL, "a receive needs a callback");
    return uring_stream_receive(stream, data, length, done, context);
}

int iomesh_stream_send(struct iomesh_stream *stream, struct iomesh_send *send)
{
    return uring_stream_send(stream, send);
}

void iomesh_stream_close(struct iomesh_stream *stream, iomesh_done_fn *closed, void *context)
{
    uring_stream_close(stream, closed, context);
}
