# Options, compiler flags, and what was found on this machine.
set(backend_values AUTO ON OFF)
foreach(backend MPI CUDA NCCL UCX)
  set(WEFT_${backend} AUTO CACHE STRING "Build with ${backend}: AUTO (when it is found), ON (it must be found) or OFF")
  set_property(CACHE WEFT_${backend} PROPERTY STRINGS ${backend_values})
  if(NOT WEFT_${backend} IN_LIST backend_values)
    message(FATAL_ERROR "WEFT_${backend}=${WEFT_${backend}}: must be AUTO, ON or OFF")
  endif()
endforeach()
option(WEFT_FUZZ "Build the fuzz targets, which need clang: cmake --preset fuzz" OFF)
set(WEFT_SANITIZE "" CACHE STRING "Sanitizers, as -fsanitize takes them: address,undefined or thread")

set(CMAKE_C_STANDARD 17)
set(CMAKE_C_STANDARD_REQUIRED ON)
set(CMAKE_C_EXTENSIONS OFF)
set(CMAKE_POSITION_INDEPENDENT_CODE ON)
set(CMAKE_EXPORT_COMPILE_COMMANDS ON)
set(CMAKE_RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/bin)
set(CMAKE_LIBRARY_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/lib)
# A library that is built anew does not link anew all that uses it: only what it exports matters, and that is looked up
# at run time.
set(CMAKE_LINK_DEPENDS_NO_SHARED ON)
# RPATH and not RUNPATH: it also finds what the libraries that an installation bundles need themselves.
add_link_options(-Wl,--disable-new-dtags)
if(NOT CMAKE_BUILD_TYPE)
  set(CMAKE_BUILD_TYPE Release CACHE STRING "Release, RelWithDebInfo or Debug" FORCE)
endif()
set(CMAKE_C_FLAGS_RELEASE "-O3 -DNDEBUG -g1") # -g1: names and lines in backtraces and profiles
if(WEFT_SANITIZE) # reports show no more than that; following each variable takes the compiler as long as all else
  set(CMAKE_C_FLAGS_DEBUG -g1)
  set(CMAKE_CXX_FLAGS_DEBUG -g1)
endif()

set(THREADS_PREFER_PTHREAD_FLAG ON)
find_package(Threads REQUIRED)
find_package(PkgConfig REQUIRED)
pkg_check_modules(HWLOC REQUIRED IMPORTED_TARGET hwloc)
pkg_check_modules(JANSSON REQUIRED IMPORTED_TARGET jansson)
pkg_check_modules(PCRE2 REQUIRED IMPORTED_TARGET libpcre2-8)
pkg_check_modules(UTF8PROC REQUIRED IMPORTED_TARGET libutf8proc)

# What is on this machine: WEFT_HAVE_<backend> is TRUE or FALSE, WEFT_BUILD_BACKENDS is the text that `weft info` shows.
# Nothing is linked here; the folder of a backend links what it needs, and a build without any is complete.
include(backends)

# Flags of everything that is ours. Arithmetic is defined by the source: no contraction, no fast math, anywhere.
function(weft_own_code target)
  target_include_directories(${target} PRIVATE ${CMAKE_SOURCE_DIR})
  target_compile_definitions(${target} PRIVATE _GNU_SOURCE)
  target_compile_options(${target} PRIVATE
    -Wall -Wextra -Wpedantic -Werror -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wpointer-arith -Wcast-qual
    -Wwrite-strings -Wvla -Wformat=2 -Wimplicit-fallthrough -Wno-unused-parameter
    $<$<C_COMPILER_ID:GNU>:-Wno-format-truncation> # texts are cut on purpose, and gcc sees it at some levels only
    -fmacro-prefix-map=${CMAKE_SOURCE_DIR}/=       # __FILE__ as it is called in the tree
    -ffp-contract=off -fno-math-errno -fno-omit-frame-pointer)
  if(WEFT_SANITIZE)
    target_compile_options(${target} PRIVATE -fsanitize=${WEFT_SANITIZE} -fno-sanitize-recover=all)
    target_link_options(${target} PRIVATE -fsanitize=${WEFT_SANITIZE})
  endif()
  target_link_libraries(${target} PRIVATE Threads::Threads)
endfunction()

function(weft_export_only target map)
  target_link_options(${target} PRIVATE -Wl,--version-script=${map})
  set_property(TARGET ${target} APPEND PROPERTY LINK_DEPENDS ${map})
  # clang's sanitizer runtimes live in the program and cannot be resolved while a library is linked
  if(NOT (WEFT_SANITIZE AND CMAKE_C_COMPILER_ID MATCHES Clang))
    target_link_options(${target} PRIVATE -Wl,-z,defs)
  endif()
endfunction()
