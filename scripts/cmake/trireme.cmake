# Compiler settings, dependencies, and the three commands every folder uses:
#   trireme_library(NAME SOURCES … DEPS …)   one per folder
#   trireme_test(NAME SOURCES … DEPS … LABELS …)
#   trireme_bench(NAME SOURCES … DEPS …)
set(CMAKE_CXX_STANDARD 20)
set(CMAKE_CXX_STANDARD_REQUIRED ON)
set(CMAKE_CXX_EXTENSIONS OFF)
set(CMAKE_POSITION_INDEPENDENT_CODE ON)
set(CMAKE_EXPORT_COMPILE_COMMANDS ON)
if(NOT CMAKE_BUILD_TYPE)
  set(CMAKE_BUILD_TYPE Release)
endif()

option(TRIREME_WERROR "Warnings are errors" ON)
set(TRIREME_SANITIZE "" CACHE STRING "Value of -fsanitize=, or empty")
option(TRIREME_FUZZ "Build the libFuzzer targets of tests/fuzz (clang only)" OFF)
option(TRIREME_THREAD_SAFETY "Clang thread-safety analysis, as errors" OFF)

find_program(CCACHE ccache)
if(CCACHE)
  set(CMAKE_CXX_COMPILER_LAUNCHER ${CCACHE})
  set(CMAKE_C_COMPILER_LAUNCHER ${CCACHE})
endif()

find_package(Threads REQUIRED)
find_package(Protobuf REQUIRED)  # module mode: the distribution ships no protobuf-config.cmake
find_package(gRPC CONFIG REQUIRED)
find_package(absl CONFIG REQUIRED)
find_package(MPI REQUIRED COMPONENTS C)
# Open MPI's mpi.h otherwise pulls in the C++ bindings, which do not link.
target_compile_definitions(MPI::MPI_C INTERFACE OMPI_SKIP_MPICXX=1)
find_package(hwy CONFIG REQUIRED)
find_package(GTest CONFIG REQUIRED)
find_package(benchmark CONFIG REQUIRED)
find_package(nlohmann_json CONFIG REQUIRED)
find_package(yaml-cpp CONFIG REQUIRED)
find_package(CLI11 CONFIG REQUIRED)
find_package(OpenSSL REQUIRED)
# Only its core: its own configuration file wants what its HTTP parts need.
find_path(PROMETHEUS_INCLUDE prometheus/registry.h REQUIRED)
find_library(PROMETHEUS_CORE prometheus-cpp-core REQUIRED)
add_library(prometheus-cpp::core UNKNOWN IMPORTED)
set_target_properties(prometheus-cpp::core PROPERTIES
  IMPORTED_LOCATION ${PROMETHEUS_CORE} INTERFACE_INCLUDE_DIRECTORIES ${PROMETHEUS_INCLUDE})
find_package(Boost 1.74 REQUIRED)  # Beast and Asio: headers alone
find_package(Python3 REQUIRED COMPONENTS Interpreter)  # lint and black-box tests
find_package(PkgConfig REQUIRED)
pkg_check_modules(PCRE2 REQUIRED IMPORTED_TARGET libpcre2-8)
include(xgrammar)

add_library(trireme_options INTERFACE)
# The project's own root is the only include path: #include "runtime/base/check.h".
target_include_directories(trireme_options INTERFACE ${CMAKE_SOURCE_DIR})
target_compile_options(trireme_options INTERFACE
  -Wall -Wextra -Wconversion -Wno-sign-conversion -Wshadow -Wnon-virtual-dtor -Woverloaded-virtual
  # Designated initialisers leave out what has a default; every field of ours has one.
  -Wno-missing-field-initializers
  # Every product and sum is written as it must be rounded: the compiler may not fuse them.
  -ffp-contract=off
  -fstack-protector-strong)
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
  # False positives of GCC 12 at -O2 in std::vector and std::string.
  target_compile_options(trireme_options INTERFACE -Wno-stringop-overflow -Wno-array-bounds -Wno-restrict)
endif()
if(CMAKE_CXX_COMPILER_ID MATCHES "Clang")
  # TRI_CHECK(false) is a loop without end to it, which [[unlikely]] says nothing about.
  target_compile_options(trireme_options INTERFACE -Wno-ignored-attributes)
endif()
if(TRIREME_WERROR)
  target_compile_options(trireme_options INTERFACE -Werror)
endif()
if(TRIREME_SANITIZE)
  target_compile_options(trireme_options INTERFACE
    -fsanitize=${TRIREME_SANITIZE} -fno-omit-frame-pointer -fno-sanitize-recover=all)
  target_link_options(trireme_options INTERFACE -fsanitize=${TRIREME_SANITIZE})
endif()
if(TRIREME_FUZZ)
  # Coverage in every library; the targets themselves add libFuzzer's main.
  target_compile_options(trireme_options INTERFACE
    -fsanitize=fuzzer-no-link,address,undefined -fno-omit-frame-pointer -fno-sanitize-recover=all)
  target_link_options(trireme_options INTERFACE -fsanitize=address,undefined)
endif()
if(TRIREME_THREAD_SAFETY)
  target_compile_options(trireme_options INTERFACE -Werror=thread-safety)
endif()
target_link_libraries(trireme_options INTERFACE Threads::Threads)

function(trireme_library name)
  cmake_parse_arguments(ARG "" "" "SOURCES;DEPS" ${ARGN})
  add_library(trireme_${name} STATIC ${ARG_SOURCES})
  target_link_libraries(trireme_${name} PUBLIC trireme_options ${ARG_DEPS})
endfunction()

# LABELS: any of unit golden mpi e2e fault. PROPERTIES are set on every discovered case.
function(trireme_test name)
  cmake_parse_arguments(ARG "" "" "SOURCES;DEPS;LABELS" ${ARGN})
  add_executable(${name} ${ARG_SOURCES})
  target_link_libraries(${name} PRIVATE trireme_options ${ARG_DEPS} GTest::gmock GTest::gtest_main)
  target_compile_definitions(${name} PRIVATE TRIREME_SOURCE_DIR="${CMAKE_SOURCE_DIR}")
  # One ctest entry a binary: hundreds of processes would cost more than the tests in them.
  add_test(NAME ${name} COMMAND ${name})
  set_tests_properties(${name} PROPERTIES LABELS "${ARG_LABELS}" TIMEOUT 300
    ENVIRONMENT "OMPI_ALLOW_RUN_AS_ROOT=1;OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1")
endfunction()

function(trireme_bench name)
  cmake_parse_arguments(ARG "" "" "SOURCES;DEPS" ${ARGN})
  add_executable(${name} ${ARG_SOURCES})
  target_link_libraries(${name} PRIVATE trireme_options ${ARG_DEPS} benchmark::benchmark_main)
endfunction()

# A black-box test of the program, SCRIPT.py beside the CMakeLists.txt that calls this. Such tests start servers and
# MPI jobs of several ranks, so each has the machine for itself. Exit code 77: skipped, with the reason in the output.
function(trireme_python_test name)
  cmake_parse_arguments(ARG "" "TIMEOUT" "LABELS" ${ARGN})
  if(NOT ARG_TIMEOUT)
    set(ARG_TIMEOUT 300)
  endif()
  add_test(NAME ${name} COMMAND ${Python3_EXECUTABLE} ${CMAKE_CURRENT_SOURCE_DIR}/${name}.py
    --program $<TARGET_FILE:trireme> --source ${CMAKE_SOURCE_DIR})
  set_tests_properties(${name} PROPERTIES LABELS "${ARG_LABELS}" TIMEOUT ${ARG_TIMEOUT}
    SKIP_RETURN_CODE 77 RUN_SERIAL TRUE)
endfunction()
