/* SPDX-License-Identifier: Apache-2.0 */
/* Unpacking what etcd says, within a bound. */
#ifndef META_ETCD_ANSWER_H
#define META_ETCD_ANSWER_H

#include "meta/etcd/inside.h"
#include "meta/etcd/rpc.pb-c.h"

/* NULL: it is no such message, or one that would take far more memory than it has bytes. */
ProtobufCMessage *etcd_unpack(const ProtobufCMessageDescriptor *kind, const void *data,
                              size_t length);
/* NULL is fine. */
void etcd_unpacked_free(void *message);
/* A key without the pool before it. False: it is none of ours. */
bool etcd_key(const struct meta_etcd *etcd, ProtobufCBinaryData key, struct meta_slice *ret_key);

#endif
