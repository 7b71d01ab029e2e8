# SPDX-License-Identifier: Apache-2.0
# The build file is the architecture: which room may see which, checked at configure and again
# whenever a source file changes.

# Real-world headers and who may name them: uring/, and a metadata implementation for its own
# library. Everyone else asks host/.
set(LAW_WORLD_HEADERS
    liburing.h linux/io_uring.h time.h sys/time.h sys/socket.h pthread.h threads.h)

# ret_quoted and ret_system: what a file includes, in "" and in <>.
function(law_includes file ret_quoted ret_system)
    file(STRINGS ${file} lines REGEX "^[ \t]*#[ \t]*include[ \t]*[\"<]")
    set(quoted "")
    set(system "")
    foreach(line IN LISTS lines)
        if(line MATCHES "include[ \t]*\"([^\"]+)\"")
            list(APPEND quoted ${CMAKE_MATCH_1})
        elseif(line MATCHES "include[ \t]*<([^>]+)>")
            list(APPEND system ${CMAKE_MATCH_1})
        endif()
    endforeach()
    set(${ret_quoted} "${quoted}" PARENT_SCOPE)
    set(${ret_system} "${system}" PARENT_SCOPE)
endfunction()

# An edit may add an include, so an edit configures again; it takes a fraction of a second.
function(law_watch)
    if(ARGN)
        set_property(DIRECTORY ${CMAKE_SOURCE_DIR} APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${ARGN})
    endif()
endfunction()

# One source file of a room against the law.
function(law_check_room_file room file needs)
    law_includes(${file} quoted system)
    file(RELATIVE_PATH shown ${CMAKE_SOURCE_DIR} ${file})
    foreach(header IN LISTS quoted)
        get_filename_component(other "${header}" DIRECTORY)
        get_filename_component(leaf "${header}" NAME)
        if(other STREQUAL "")
            message(FATAL_ERROR "${shown}: include \"${room}/${header}\", not \"${header}\"")
        endif()
        if(other STREQUAL room)
            continue()
        endif()
        if(NOT other IN_LIST needs)
            message(FATAL_ERROR "${shown}: ${room}/ may not see ${other}/ (\"${header}\")")
        endif()
        get_filename_component(front "${other}" NAME)
        if(room MATCHES "^${other}/")
            continue() # An implementation sees all of the interface that it implements.
        endif()
        get_property(open GLOBAL PROPERTY LAW_OPEN_ROOMS)
        if(NOT other IN_LIST open AND NOT leaf STREQUAL "${front}.h")
            message(FATAL_ERROR "${shown}: ${header} is ${other}/'s own business; "
                "what others may include is \"${other}/${front}.h\"")
        endif()
    endforeach()
    if(room STREQUAL "uring" OR room MATCHES "^meta/")
        return()
    endif()
    foreach(header IN LISTS system)
        if(header IN_LIST LAW_WORLD_HEADERS OR header MATCHES "^liburing/")
            message(FATAL_ERROR "${shown}: ${room}/ may not include <${header}>: "
                "the outside world is host/; only uring/ and meta/<implementation>/ name it")
        endif()
    endforeach()
endfunction()

# A frontend sees <iomesh/...>, its own headers and those of common/; nothing of lib/. cli/ sees
# backup/ too, which sees nothing but itself.
function(law_check_frontend_file frontend file)
    law_includes(${file} quoted system)
    file(RELATIVE_PATH shown ${CMAKE_SOURCE_DIR} ${file})
    foreach(header IN LISTS quoted)
        get_filename_component(other "${header}" DIRECTORY)
        if(frontend STREQUAL "cli" AND other STREQUAL "backup")
            continue()
        endif()
        if(NOT other STREQUAL frontend AND
           (NOT other STREQUAL "common" OR frontend STREQUAL "backup"))
            message(FATAL_ERROR "${shown}: frontends/${frontend} may include <iomesh/...>, "
                "\"${frontend}/...\" and \"common/...\", not \"${header}\"")
        endif()
    endforeach()
    foreach(header IN LISTS system)
        if(header MATCHES "^(liburing\\.h|liburing/.*|linux/io_uring\\.h)$")
            message(FATAL_ERROR "${shown}: a frontend has no ring of its own (<${header}>)")
        endif()
    endforeach()
endfunction()
