# What is installed, in two components: lib is what a preloaded program needs, dev what a linked
# one is built with.
include(CMakePackageConfigHelpers)

set(package_dir ${CMAKE_INSTALL_LIBDIR}/cmake/hak)

install(
  TARGETS hak
  EXPORT hak_targets
  LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR} COMPONENT lib NAMELINK_COMPONENT dev
  FILE_SET HEADERS DESTINATION ${CMAKE_INSTALL_INCLUDEDIR} COMPONENT dev
)
# The secure build has no header and no .so of its own to link with: it is preloaded.
install(
  TARGETS hak_secure
  LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR} COMPONENT lib NAMELINK_COMPONENT lib
)
# The header came with hak. CMake exports no target whose headers are not installed, so those of
# hak_static have a component that nobody installs.
install(
  TARGETS hak_static
  EXPORT hak_targets
  ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR} COMPONENT dev
  FILE_SET HEADERS
    DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}
    COMPONENT same_headers
    EXCLUDE_FROM_ALL
)
install(EXPORT hak_targets NAMESPACE hak:: DESTINATION ${package_dir} COMPONENT dev)

# The commands for gdb: to be sourced, and where gdb looks by itself for a library of this name, if
# hak's prefix is its own. That path has the prefix in it, which --prefix gives later than here.
install(
  FILES scripts/gdb/hak.py
  DESTINATION ${CMAKE_INSTALL_DATADIR}/hak/gdb
  COMPONENT lib
)
install(
  CODE "
    set(script \"${PROJECT_SOURCE_DIR}/scripts/gdb/hak.py\")
    set(library_dir \"${CMAKE_INSTALL_LIBDIR}\")
    set(data_dir \"${CMAKE_INSTALL_DATADIR}\")
    cmake_path(ABSOLUTE_PATH library_dir BASE_DIRECTORY \"\${CMAKE_INSTALL_PREFIX}\" NORMALIZE)
    cmake_path(ABSOLUTE_PATH data_dir BASE_DIRECTORY \"\${CMAKE_INSTALL_PREFIX}\" NORMALIZE)
    file(
      INSTALL \"\${script}\"
      DESTINATION \"\${data_dir}/gdb/auto-load\${library_dir}\"
      RENAME \"libhak.so.${PROJECT_VERSION}-gdb.py\"
    )
  "
  COMPONENT lib
)

configure_package_config_file(
  cmake/hakConfig.cmake.in ${PROJECT_BINARY_DIR}/hakConfig.cmake
  INSTALL_DESTINATION ${package_dir}
  NO_SET_AND_CHECK_MACRO
)
write_basic_package_version_file(
  ${PROJECT_BINARY_DIR}/hakConfigVersion.cmake COMPATIBILITY SameMajorVersion
)
install(
  FILES ${PROJECT_BINARY_DIR}/hakConfig.cmake ${PROJECT_BINARY_DIR}/hakConfigVersion.cmake
  DESTINATION ${package_dir}
  COMPONENT dev
)

# hak.pc finds the prefix from where it lies, so that an installed tree can be moved as a whole.
set(pc_dir ${CMAKE_INSTALL_LIBDIR}/pkgconfig)
cmake_path(ABSOLUTE_PATH pc_dir BASE_DIRECTORY ${CMAKE_INSTALL_PREFIX} OUTPUT_VARIABLE pc_from)
cmake_path(
  RELATIVE_PATH CMAKE_INSTALL_PREFIX BASE_DIRECTORY ${pc_from} OUTPUT_VARIABLE pc_to_prefix
)
# An absolute CMAKE_INSTALL_LIBDIR or INCLUDEDIR stays absolute, a relative one hangs on the prefix.
set(pc_prefix "\${prefix}")
cmake_path(APPEND pc_prefix ${CMAKE_INSTALL_LIBDIR} OUTPUT_VARIABLE pc_libdir)
cmake_path(APPEND pc_prefix ${CMAKE_INSTALL_INCLUDEDIR} OUTPUT_VARIABLE pc_includedir)
configure_file(cmake/hak.pc.in ${PROJECT_BINARY_DIR}/hak.pc @ONLY)
install(FILES ${PROJECT_BINARY_DIR}/hak.pc DESTINATION ${pc_dir} COMPONENT dev)
