# libtenon.so (the C and C++ API and nothing else), its install rules, and the examples that the tests build against it.
file(GLOB api_sources CONFIGURE_DEPENDS src/engine/*.cpp)
add_library(tenon_shared SHARED ${api_sources})
set_target_properties(tenon_shared PROPERTIES OUTPUT_NAME tenon EXPORT_NAME tenon DEFINE_SYMBOL "" VERSION ${PROJECT_VERSION}
  SOVERSION ${PROJECT_VERSION_MAJOR} LINK_DEPENDS ${PROJECT_SOURCE_DIR}/src/engine/exports.map)
target_include_directories(tenon_shared PUBLIC $<BUILD_INTERFACE:${PROJECT_SOURCE_DIR}/include>
  $<INSTALL_INTERFACE:include>)
target_compile_features(tenon_shared PUBLIC cxx_std_20)
target_link_libraries(tenon_shared PRIVATE $<BUILD_INTERFACE:tenon_runtime> $<BUILD_INTERFACE:tenon_onnx>)
target_link_options(tenon_shared PRIVATE -Wl,--version-script=${PROJECT_SOURCE_DIR}/src/engine/exports.map)

include(GNUInstallDirs)
include(CMakePackageConfigHelpers)
install(TARGETS tenon_shared EXPORT tenon LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR})
install(DIRECTORY include/tenon DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})
set(tenon_package ${CMAKE_INSTALL_LIBDIR}/cmake/tenon)
install(EXPORT tenon NAMESPACE tenon:: FILE tenonConfig.cmake DESTINATION ${tenon_package})
write_basic_package_version_file(${PROJECT_BINARY_DIR}/tenonConfigVersion.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${PROJECT_BINARY_DIR}/tenonConfigVersion.cmake DESTINATION ${tenon_package})

# The examples of docs/api.md, as a user of the installed library compiles them: with include/ alone.
if(TENON_TESTS AND TARGET engine_tests)
  enable_language(C)
  add_executable(example_c docs/examples/first.c)
  set_target_properties(example_c PROPERTIES C_STANDARD 99 C_STANDARD_REQUIRED ON C_EXTENSIONS OFF)
  add_executable(example_cpp docs/examples/first.cpp)
  foreach(example example_c example_cpp)
    target_compile_options(${example} PRIVATE -Wall -Wextra -Wpedantic -Werror)
    target_link_libraries(${example} PRIVATE tenon_shared)
    if(TENON_SANITIZE)
      target_link_options(${example} PRIVATE -fsanitize=${TENON_SANITIZE})
    endif()
  endforeach()
  target_compile_definitions(engine_tests PRIVATE TENON_EXAMPLE_C="$<TARGET_FILE:example_c>"
    TENON_EXAMPLE_CPP="$<TARGET_FILE:example_cpp>" TENON_LIBRARY="$<TARGET_FILE:tenon_shared>")
  add_dependencies(engine_tests example_c example_cpp)
endif()
