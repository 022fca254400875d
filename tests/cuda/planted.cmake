# Sources of the stand-in for CUDA's runtime and its kernels' scheduler.
set(runtime_on_cpu cuda_on_cpu.cpp memory_on_cpu.cpp streams_on_cpu.cpp graphs_on_cpu.cpp shared_memory_on_cpu.cpp)

if(VICMAE_SANITIZE MATCHES "thread")
  # Compiled without TSan, but telling it what orders what (sanitizers.h).
  set_source_files_properties(${runtime_on_cpu} PROPERTIES COMPILE_OPTIONS "-fno-sanitize=thread;-DCOC_TSAN=1")
endif()

# A test of the tests: faults that must be found, by builds of their own for each sanitizer (so not where all is sanitized).
function(vicmae_planted name options runtime_options)
  add_library(runtime_on_cpu_${name} OBJECT ${runtime_on_cpu})
  target_compile_options(runtime_on_cpu_${name} PRIVATE ${runtime_options})
  add_executable(planted_${name} planted.cu $<TARGET_OBJECTS:runtime_on_cpu_${name}>)
  target_compile_options(planted_${name} PRIVATE ${options})
  target_link_options(planted_${name} PRIVATE -fno-lto ${options})
  foreach(target runtime_on_cpu_${name} planted_${name})
    set_target_properties(${target} PROPERTIES CXX_STANDARD 17 CXX_STANDARD_REQUIRED ON RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/tests/planted)
    target_compile_options(${target} PRIVATE -fno-lto -g1 -Wall -Wextra -Wno-unknown-pragmas)
    target_include_directories(${target} PRIVATE ${PROJECT_SOURCE_DIR} ${CMAKE_CURRENT_SOURCE_DIR})
    target_include_directories(${target} SYSTEM PRIVATE ${CUDAToolkit_INCLUDE_DIRS})
  endforeach()
  target_link_libraries(planted_${name} PRIVATE Threads::Threads)
endfunction()

if(NOT VICMAE_SANITIZE)
  set_source_files_properties(planted.cu PROPERTIES LANGUAGE CXX COMPILE_OPTIONS "-x;c++")
  set(asan -O1 -fsanitize=address,undefined -fno-sanitize-recover=undefined)
  vicmae_planted(plain -O2 -O2)
  vicmae_planted(asan "${asan}" "${asan}")
  vicmae_planted(tsan "-O1;-fsanitize=thread" "-O1;-DCOC_TSAN=1")
  vicmae_planted(tsan_blocks "-O1;-fsanitize=thread" "-O1;-DCOC_TSAN=2")
  add_test(NAME cuda_planted COMMAND ${CMAKE_CURRENT_SOURCE_DIR}/test_planted.sh ${CMAKE_BINARY_DIR}/tests/planted)
  set_tests_properties(cuda_planted PROPERTIES TIMEOUT 600)
endif()
