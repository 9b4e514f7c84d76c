# Install rules: headers, both libraries, the command, a CMake package with
# targets clquant::clquant and clquant::clquant_static, and clquant.pc.
include(CMakePackageConfigHelpers)

set(config_folder ${CMAKE_INSTALL_LIBDIR}/cmake/clquant)

install(DIRECTORY ${PROJECT_SOURCE_DIR}/include/clquant
  DESTINATION ${CMAKE_INSTALL_INCLUDEDIR} FILES_MATCHING PATTERN "*.h")
install(FILES ${PROJECT_SOURCE_DIR}/LICENSE DESTINATION ${CMAKE_INSTALL_DOCDIR} OPTIONAL)
install(TARGETS clquant EXPORT clquant-shared
  LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR})
install(TARGETS clquant_static EXPORT clquant-static
  ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR})
if(TARGET clq)
  install(TARGETS clq RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
  install(FILES ${PROJECT_SOURCE_DIR}/docs/clq.1 DESTINATION ${CMAKE_INSTALL_MANDIR}/man1)
endif()

# Two export sets: whoever links the shared library needs none of the private
# dependencies of the static one.
install(EXPORT clquant-shared NAMESPACE clquant:: DESTINATION ${config_folder})
install(EXPORT clquant-static NAMESPACE clquant:: DESTINATION ${config_folder})

configure_package_config_file(${PROJECT_SOURCE_DIR}/cmake/clquantConfig.cmake.in
  ${PROJECT_BINARY_DIR}/clquantConfig.cmake INSTALL_DESTINATION ${config_folder})
write_basic_package_version_file(${PROJECT_BINARY_DIR}/clquantConfigVersion.cmake
  COMPATIBILITY SameMinorVersion)
install(FILES ${PROJECT_BINARY_DIR}/clquantConfig.cmake
  ${PROJECT_BINARY_DIR}/clquantConfigVersion.cmake DESTINATION ${config_folder})

# clquant.pc finds the prefix from its own place, so that a tree that was moved
# or staged still answers right.
cmake_path(IS_ABSOLUTE CMAKE_INSTALL_LIBDIR libdir_is_absolute)
if(libdir_is_absolute)
  set(pc_prefix ${CMAKE_INSTALL_PREFIX})
  set(pc_libdir ${CMAKE_INSTALL_LIBDIR})
else()
  file(RELATIVE_PATH up /prefix/${CMAKE_INSTALL_LIBDIR}/pkgconfig /prefix)
  set(pc_prefix "\${pcfiledir}/${up}")
  set(pc_libdir "\${prefix}/${CMAKE_INSTALL_LIBDIR}")
endif()
cmake_path(IS_ABSOLUTE CMAKE_INSTALL_INCLUDEDIR includedir_is_absolute)
if(includedir_is_absolute)
  set(pc_includedir ${CMAKE_INSTALL_INCLUDEDIR})
else()
  set(pc_includedir "\${prefix}/${CMAKE_INSTALL_INCLUDEDIR}")
endif()
# Not Requires.private: its Cflags would reach whoever compiles against the headers,
# which need none of it.
set(pc_private_libs ${PCRE2_LDFLAGS} ${XXHASH_LDFLAGS})
list(REMOVE_DUPLICATES pc_private_libs)
list(JOIN pc_private_libs " " pc_private_libs)
configure_file(${PROJECT_SOURCE_DIR}/cmake/clquant.pc.in ${PROJECT_BINARY_DIR}/clquant.pc @ONLY)
install(FILES ${PROJECT_BINARY_DIR}/clquant.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)
