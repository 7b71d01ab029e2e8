# SPDX-License-Identifier: Apache-2.0
# What libiomesh stands on. Nothing here is optional: a missing library is one clear stop.
find_package(PkgConfig REQUIRED)
find_package(Threads REQUIRED)

# The ring: disks and data sockets of an engine in one submission queue.
pkg_check_modules(LIBURING REQUIRED IMPORTED_TARGET liburing>=2.3)
# CRC32C at memory speed on every block; later erasure coding.
pkg_check_modules(ISAL REQUIRED IMPORTED_TARGET libisal)
# Metadata of an embedded pool: one file that survives a crash.
pkg_check_modules(SQLITE REQUIRED IMPORTED_TARGET sqlite3)
# Control messages that may grow fields without breaking older peers.
pkg_check_modules(PROTOBUFC REQUIRED IMPORTED_TARGET libprotobuf-c)
# TLS, for peers and for NBD clients.
pkg_check_modules(OPENSSL REQUIRED IMPORTED_TARGET openssl)
# HTTP/2 beneath gRPC (etcd, later CSI): the framing, HPACK and flow control of a protocol whose
# every corner has been attacked elsewhere first. It moves bytes only, and knows no socket.
pkg_check_modules(NGHTTP2 REQUIRED IMPORTED_TARGET libnghttp2>=1.52)
# /metrics and /healthz, off the data path.
pkg_check_modules(MICROHTTPD REQUIRED IMPORTED_TARGET libmicrohttpd)
# --json output and configuration files.
pkg_check_modules(JANSSON REQUIRED IMPORTED_TARGET jansson)
# What a device holds before a pool is made on it.
pkg_check_modules(BLKID REQUIRED IMPORTED_TARGET blkid)
# Compression of backup streams; later of cold pages.
pkg_check_modules(ZSTD REQUIRED IMPORTED_TARGET libzstd)

# The control side of the frontends: signals, timers, sockets. Debian ships no .pc file for it.
find_library(LIBEV_LIBRARY ev REQUIRED)
find_path(LIBEV_INCLUDE ev.h REQUIRED)
add_library(libev INTERFACE IMPORTED)
set_target_properties(libev PROPERTIES
    INTERFACE_LINK_LIBRARIES ${LIBEV_LIBRARY}
    INTERFACE_INCLUDE_DIRECTORIES ${LIBEV_INCLUDE})

# Unit tests, each in a process of its own.
if(BUILD_TESTING)
    pkg_check_modules(CRITERION REQUIRED IMPORTED_TARGET criterion)
endif()

# Compiles the .proto files of control messages.
find_program(PROTOC_C protoc-c REQUIRED)

# Generates x.pb-c.{c,h} for one .proto below `root` and appends the .c to `ret_sources`.
# Include it as "room/x.pb-c.h".
function(protobuf_c ret_sources root proto)
    file(RELATIVE_PATH relative ${root} ${proto})
    string(REGEX REPLACE "\\.proto$" "" stem ${relative})
    set(out ${CMAKE_BINARY_DIR}/generated)
    add_custom_command(
        OUTPUT ${out}/${stem}.pb-c.c ${out}/${stem}.pb-c.h
        COMMAND ${CMAKE_COMMAND} -E make_directory ${out}
        COMMAND ${PROTOC_C} --proto_path=${root} --c_out=${out} ${relative}
        WORKING_DIRECTORY ${root}
        DEPENDS ${proto}
        VERBATIM)
    set_source_files_properties(${out}/${stem}.pb-c.c PROPERTIES COMPILE_OPTIONS -w)
    set_property(GLOBAL APPEND PROPERTY GENERATED_HEADERS ${out}/${stem}.pb-c.h)
    list(APPEND ${ret_sources} ${out}/${stem}.pb-c.c ${out}/${stem}.pb-c.h)
    set(${ret_sources} ${${ret_sources}} PARENT_SCOPE)
endfunction()
