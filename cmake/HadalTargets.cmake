# Flags that every target of the project shares, and the functions that declare its targets.
add_library(hadal_flags INTERFACE)
target_compile_features(hadal_flags INTERFACE cxx_std_20)
target_compile_options(hadal_flags INTERFACE -Wall -Wextra -Wconversion -Wshadow -Werror -ffp-contract=off)
target_include_directories(hadal_flags INTERFACE "${CMAKE_SOURCE_DIR}/src")
set(CMAKE_CXX_EXTENSIONS OFF)
set(CMAKE_EXPORT_COMPILE_COMMANDS ON)

# hadal_library(<name> SOURCES <files> USES <libraries>): one static library a folder of src/.
function(hadal_library name)
  cmake_parse_arguments(ARG "" "" "SOURCES;USES" ${ARGN})
  add_library(hadal_${name} STATIC ${ARG_SOURCES})
  target_link_libraries(hadal_${name} PUBLIC hadal_flags ${ARG_USES})
endfunction()

# All programs of a sanitizer's subset, so that its build makes nothing else.
add_custom_target(asan_tests)
add_custom_target(tsan_tests)

# hadal_test(<name> SOURCES <files> USES <libraries> [LABELS <labels>] [TIMEOUT <seconds>]): one test program, one ctest entry.
# Labels: fast (the default), slow (not part of `make test`), golden, asan (part of the sanitizer runs), tsan, e2e.
function(hadal_test name)
  cmake_parse_arguments(ARG "" "TIMEOUT" "SOURCES;USES;LABELS" ${ARGN})
  add_executable(${name} ${ARG_SOURCES})
  target_link_libraries(${name} PRIVATE hadal_flags ${ARG_USES} GTest::gmock GTest::gtest_main)
  target_include_directories(${name} PRIVATE "${CMAKE_SOURCE_DIR}/tests")
  target_compile_definitions(${name} PRIVATE HADAL_SOURCE_DIR="${CMAKE_SOURCE_DIR}")
  add_test(NAME ${name} COMMAND ${name})
  if(NOT ARG_LABELS)
    set(ARG_LABELS fast)
  endif()
  if(NOT ARG_TIMEOUT)
    set(ARG_TIMEOUT 300)
  endif()
  foreach(sanitizer asan tsan)
    if(sanitizer IN_LIST ARG_LABELS)
      add_dependencies(${sanitizer}_tests ${name})
    endif()
  endforeach()
  set_tests_properties(${name} PROPERTIES LABELS "${ARG_LABELS}" TIMEOUT ${ARG_TIMEOUT})
endfunction()
