# Flags that every target of the project shares, and the functions that declare its targets.
add_library(hadal_flags INTERFACE)
target_compile_features(hadal_flags INTERFACE cxx_std_20)
target_compile_options(hadal_flags INTERFACE -Wall -Wextra -Wconversion -Wshadow -Werror -ffp-contract=off)
target_include_directories(hadal_flags INTERFACE "${CMAKE_SOURCE_DIR}/src")
if(HADAL_FUZZ)
  target_compile_options(hadal_flags INTERFACE -fsanitize=fuzzer-no-link)  # coverage of the code under test
endif()
set(CMAKE_CXX_EXTENSIONS OFF)
set(CMAKE_EXPORT_COMPILE_COMMANDS ON)

# hadal_library(<name> SOURCES <files> USES <libraries>): one static library a folder of src/.
function(hadal_library name)
  cmake_parse_arguments(ARG "" "" "SOURCES;USES" ${ARGN})
  add_library(hadal_${name} STATIC ${ARG_SOURCES})
  target_link_libraries(hadal_${name} PUBLIC hadal_flags ${ARG_USES})
endfunction()

# All programs of a sanitizer's subset, and all fuzzers, so that their builds make nothing else.
add_custom_target(asan_tests)
add_custom_target(tsan_tests)
add_custom_target(fuzzers)

# hadal_test(<name> SOURCES <files> USES <libraries> [LABELS <labels>] [TIMEOUT <seconds>]): one test program, one ctest entry.
# Labels: fast (the default), slow (not part of `make test`), golden, e2e; asan: what computes addresses
# itself, for the ASan run (parsers run under ASan as fuzzers); tsan: what has threads, for the TSan run.
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
    set(ARG_TIMEOUT 600)
  endif()
  foreach(sanitizer asan tsan)
    if(sanitizer IN_LIST ARG_LABELS)
      add_dependencies(${sanitizer}_tests ${name})
    endif()
  endforeach()
  set_tests_properties(${name} PROPERTIES LABELS "${ARG_LABELS}" TIMEOUT ${ARG_TIMEOUT})
endfunction()

# hadal_fuzzer(<name> USES <libraries>): the target of fuzz/<name>_fuzzer.cc. With HADAL_FUZZ a libFuzzer program
# <name>_fuzzer, which replays its corpus under ASan as well; else a test <name>_corpus that replays fuzz/corpus/<name>,
# where every input that ever failed lies.
function(hadal_fuzzer name)
  cmake_parse_arguments(ARG "" "" "USES" ${ARGN})
  if(HADAL_FUZZ)
    add_executable(${name}_fuzzer ${name}_fuzzer.cc)
    target_link_libraries(${name}_fuzzer PRIVATE hadal_flags ${ARG_USES})
    target_link_options(${name}_fuzzer PRIVATE -fsanitize=fuzzer)
    add_dependencies(fuzzers ${name}_fuzzer)
  else()
    add_executable(${name}_corpus ${name}_fuzzer.cc replay.cc)
    target_link_libraries(${name}_corpus PRIVATE hadal_flags ${ARG_USES})
    add_test(NAME ${name}_corpus COMMAND ${name}_corpus "${CMAKE_CURRENT_SOURCE_DIR}/corpus/${name}")
    set_tests_properties(${name}_corpus PROPERTIES LABELS fast TIMEOUT 60)
  endif()
endfunction()
