# SPDX-License-Identifier: Apache-2.0
# One Debian package, `iomesh`: programs, library, headers, units, pages. `cpack` in a build tree
# that was configured with -DCMAKE_INSTALL_PREFIX=/usr, as scripts/package does.
set(systemd_units lib/systemd/system)
file(GLOB units CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/deploy/systemd/*.service
     ${CMAKE_SOURCE_DIR}/deploy/systemd/*.socket)
if(CMAKE_INSTALL_PREFIX STREQUAL "/usr")
    install(FILES ${units} DESTINATION /${systemd_units})
else()
    install(FILES ${units} DESTINATION ${systemd_units})
endif()

# Man pages are docs/man/PROGRAM.SECTION; bash's completion is docs/completion/PROGRAM, zsh's
# docs/completion/_PROGRAM.
file(GLOB pages CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/docs/man/*.[1-8])
foreach(page IN LISTS pages)
    string(REGEX MATCH "[1-8]$" section ${page})
    get_filename_component(leaf ${page} NAME)
    set(compressed ${CMAKE_BINARY_DIR}/man/${leaf}.gz)
    add_custom_command(OUTPUT ${compressed}
        COMMAND ${CMAKE_COMMAND} -E make_directory ${CMAKE_BINARY_DIR}/man
        COMMAND sh -c "gzip -9 --no-name --stdout '${page}' >'${compressed}'"
        DEPENDS ${page} VERBATIM)
    list(APPEND compressed_pages ${compressed})
    install(FILES ${compressed} DESTINATION ${CMAKE_INSTALL_MANDIR}/man${section})
endforeach()
add_custom_target(pages ALL DEPENDS ${compressed_pages})
file(GLOB completions CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/docs/completion/iomesh*)
install(FILES ${completions} DESTINATION ${CMAKE_INSTALL_DATADIR}/bash-completion/completions)
file(GLOB completions CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/docs/completion/_iomesh*)
if(CMAKE_INSTALL_PREFIX STREQUAL "/usr")
    install(FILES ${completions} DESTINATION ${CMAKE_INSTALL_DATADIR}/zsh/vendor-completions)
else()
    install(FILES ${completions} DESTINATION ${CMAKE_INSTALL_DATADIR}/zsh/site-functions)
endif()

install(FILES ${CMAKE_SOURCE_DIR}/README.md DESTINATION ${CMAKE_INSTALL_DOCDIR})
execute_process(COMMAND gzip -9 --no-name --stdout ${CMAKE_SOURCE_DIR}/CHANGELOG.md
                OUTPUT_FILE ${CMAKE_BINARY_DIR}/changelog.gz COMMAND_ERROR_IS_FATAL ANY)
install(FILES ${CMAKE_BINARY_DIR}/changelog.gz DESTINATION ${CMAKE_INSTALL_DOCDIR})
install(FILES ${CMAKE_SOURCE_DIR}/deploy/debian/copyright DESTINATION ${CMAKE_INSTALL_DOCDIR})

set(CPACK_GENERATOR DEB)
set(CPACK_PACKAGE_NAME iomesh)
set(CPACK_PACKAGE_VENDOR "libiomesh")
set(CPACK_PACKAGE_CONTACT "libiomesh maintainers <maintainers@iomesh.invalid>")
set(CPACK_PACKAGE_DESCRIPTION_SUMMARY "block volumes from disks, in user space")
set(CPACK_PACKAGING_INSTALL_PREFIX /usr)
set(CPACK_STRIP_FILES ON)
set(CPACK_DEBIAN_FILE_NAME DEB-DEFAULT)
set(CPACK_DEBIAN_PACKAGE_SECTION admin)
set(CPACK_DEBIAN_PACKAGE_PRIORITY optional)
set(CPACK_DEBIAN_PACKAGE_SHLIBDEPS ON)
# The package brings libiomesh itself: shlibdeps has to find it in the staging tree.
set(CPACK_DEBIAN_PACKAGE_SHLIBDEPS_PRIVATE_DIRS ${CMAKE_BINARY_DIR}/lib)
set(CPACK_DEBIAN_PACKAGE_GENERATE_SHLIBS ON)
set(CPACK_DEBIAN_PACKAGE_DESCRIPTION
    "libiomesh turns files and disks into block volumes: checked, thin,
crash-safe. This package holds the library, its headers, the NBD server
and the command line.")
set(CPACK_DEBIAN_PACKAGE_CONTROL_EXTRA
    "${CMAKE_SOURCE_DIR}/deploy/debian/postinst;${CMAKE_SOURCE_DIR}/deploy/debian/postrm;\
${CMAKE_SOURCE_DIR}/deploy/debian/triggers")
set(CPACK_DEBIAN_PACKAGE_CONTROL_STRICT_PERMISSION ON)
include(CPack)
