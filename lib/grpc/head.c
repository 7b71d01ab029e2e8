/* SPDX-License-Identifier: Apache-2.0 */
/* What gRPC writes into the headers of HTTP/2, and reads there. */
#include <stdio.h>

#include "grpc/inside.h"

static bool value_is(struct grpc_value value, const char *text)
{
    return value.length == strlen(text) && memcmp(value.data, text, value.length) == 0;
}

static bool value_begins(struct grpc_value value, const char *text)
{
    return value.length >= strlen(text) && memcmp(value.data, text, strlen(text)) == 0;
}

/* A number of at most nine digits. */
static bool value_number(struct grpc_value value, uint32_t *ret_number)
{
    uint32_t number = 0;
    if (value.length == 0 || value.length > 9)
        return false;
    for (size_t i = 0; i < value.length; i++) {
        if (value.data[i] < '0' || value.data[i] > '9')
            return false;
        number = number * 10 + (uint32_t)(value.data[i] - '0');
    }
    *ret_number = number;
    return true;
}

/* --- Time outs ----------------------------------------------------------------------------- */

static const struct {
    char letter;
    uint64_t unit_ns;
} units[] = {
    {'n', 1},        {'u', 1000},          {'m', NS_PER_MS},
    {'S', NS_PER_S}, {'M', 60 * NS_PER_S}, {'H', 3600 * NS_PER_S},
};

void grpc_timeout_encode(uint64_t timeout_ns, char ret_text[GRPC_TIMEOUT_BYTES])
{
    /* At most eight digits: the finest unit with which it has no more. Rounded up. */
    size_t i = 0;
    while (i + 1 < COUNT_OF(units) && DIV_CEIL(timeout_ns, units[i].unit_ns) > 99999999)
        i++;
    uint64_t count = MIN(DIV_CEIL(timeout_ns, units[i].unit_ns), 99999999);
    (void)snprintf(ret_text, GRPC_TIMEOUT_BYTES, "%llu%c", (unsigned long long)count,
                   units[i].letter);
}

bool grpc_timeout_decode(struct grpc_value text, uint64_t *ret_timeout_ns)
{
    uint32_t count;
    if (text.length < 2 || text.length > 9 ||
        !value_number((struct grpc_value){text.data, text.length - 1}, &count))
        return false;
    for (size_t i = 0; i < COUNT_OF(units); i++)
        if (units[i].letter == (char)text.data[text.length - 1]) {
            *ret_timeout_ns = MAX(count * units[i].unit_ns, 1);
            return true;
        }
    return false;
}

/* --- Sentences ----------------------------------------------------------------------------- */

void grpc_text_encode(const char *text, char ret_escaped[GRPC_ESCAPED_BYTES])
{
    static const char digits[] = "0123456789ABCDEF";
    size_t used = 0;
    for (size_t i = 0; text[i] != '\0' && i < GRPC_TEXT_BYTES_MAX; i++) {
        uint8_t byte = (uint8_t)text[i];
        if (byte >= ' ' && byte <= '~' && byte != '%') {
            ret_escaped[used++] = (char)byte;
        } else {
            ret_escaped[used++] = '%';
            ret_escaped[used++] = digits[byte >> 4];
            ret_escaped[used++] = digits[byte & 15];
        }
    }
    ret_escaped[used] = '\0';
}

static int hex_digit(uint8_t byte)
{
    if (byte >= '0' && byte <= '9')
        return byte - '0';
    if (byte >= 'A' && byte <= 'F')
        return byte - 'A' + 10;
    return byte >= 'a' && byte <= 'f' ? byte - 'a' + 10 : -1;
}

void grpc_text_decode(struct grpc_value escaped, char ret_text[GRPC_TEXT_BYTES_MAX + 1])
{
    size_t used = 0;
    for (size_t i = 0; i < escaped.length && used < GRPC_TEXT_BYTES_MAX; i++) {
        uint8_t byte = escaped.data[i];
        if (byte == '%' && i + 2 < escaped.length && hex_digit(escaped.data[i + 1]) >= 0 &&
            hex_digit(escaped.data[i + 2]) >= 0) {
            byte = (uint8_t)(hex_digit(escaped.data[i + 1]) << 4 | hex_digit(escaped.data[i + 2]));
            i += 2;
        }
        /* It goes into sentences for people: no control characters. */
        ret_text[used++] = byte >= ' ' && byte != 0x7f ? (char)byte : ' ';
    }
    ret_text[used] = '\0';
}

/* --- Fields -------------------------------------------------------------------------------- */

void grpc_head_answer(struct grpc_stream *stream, struct grpc_value name, struct grpc_value value)
{
    uint32_t number;
    if (value_is(name, ":status") && value_number(value, &number)) {
        stream->http_status = number;
    } else if (value_is(name, "grpc-status")) {
        stream->has_status = true;
        stream->status = value_number(value, &number) ? number : GRPC_UNKNOWN;
    } else if (value_is(name, "grpc-message")) {
        grpc_text_decode(value, stream->text);
    }
}

static bool field_add(struct grpc_request *request, struct grpc_value name, struct grpc_value value)
{
    size_t needed = name.length + value.length + 2;
    if (request->field_count == GRPC_FIELDS_MAX || sizeof request->bytes - request->used < needed ||
        memchr(value.data, 0, value.length) != NULL)
        return false;
    char *bytes = request->bytes + request->used;
    memcpy(bytes, name.data, name.length);
    bytes[name.length] = '\0';
    memcpy(bytes + name.length + 1, value.data, value.length);
    bytes[needed - 1] = '\0';
    request->used += needed;
    request->fields[request->field_count++] =
        (struct grpc_field){.name = bytes, .value = bytes + name.length + 1};
    return true;
}

bool grpc_head_request(struct grpc_request *request, struct grpc_value name,
                       struct grpc_value value)
{
    if (value_is(name, ":path")) {
        if (value.length > GRPC_PATH_BYTES_MAX || memchr(value.data, 0, value.length) != NULL)
            return false;
        memcpy(request->path, value.data, value.length);
        request->path[value.length] = '\0';
        return true;
    }
    if (value_is(name, "content-type"))
        request->is_grpc = value_begins(value, "application/grpc");
    if (value_is(name, "grpc-timeout"))
        return grpc_timeout_decode(value, &request->timeout_ns);
    if (value_begins(name, ":") || value_begins(name, "grpc-") || value_is(name, "te") ||
        value_is(name, "content-type"))
        return true;
    return field_add(request, name, value);
}

uint32_t grpc_status_of_http(uint32_t http_status)
{
    switch (http_status) {
    case 400: return GRPC_INTERNAL;
    case 401: return GRPC_UNAUTHENTICATED;
    case 403: return GRPC_PERMISSION_DENIED;
    case 404: return GRPC_UNIMPLEMENTED;
    case 429:
    case 502:
    case 503:
    case 504: return GRPC_UNAVAILABLE;
    default: return GRPC_UNKNOWN;
    }
}

const char *grpc_status_name(uint32_t status)
{
    static const char *const names[] = {
        "OK",
        "CANCELLED",
        "UNKNOWN",
        "INVALID_ARGUMENT",
        "DEADLINE_EXCEEDED",
        "NOT_FOUND",
        "ALREADY_EXISTS",
        "PERMISSION_DENIED",
        "RESOURCE_EXHAUSTED",
        "FAILED_PRECONDITION",
        "ABORTED",
        "OUT_OF_RANGE",
        "UNIMPLEMENTED",
        "INTERNAL",
        "UNAVAILABLE",
        "DATA_LOSS",
        "UNAUTHENTICATED",
    };
    return status < COUNT_OF(names) ? names[status] : "a status of no name";
}
