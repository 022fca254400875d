# Every kernel through nvcc and ptxas for the architectures of a release: no spills, no local memory, no double, and each
# kernel what ptxas_expectations.txt says it is. The numbers: tests/ptxas.csv and tests/ptxas.md of the build.
if(VICMAE_SANITIZE)
  return() # once is enough
endif()
add_test(NAME cuda_ptxas COMMAND ${CMAKE_CURRENT_SOURCE_DIR}/ptxas_gate.sh --csv ${CMAKE_BINARY_DIR}/tests/ptxas.csv
                                 --markdown ${CMAKE_BINARY_DIR}/tests/ptxas.md)
set_tests_properties(cuda_ptxas PROPERTIES SKIP_RETURN_CODE 77 TIMEOUT 1200 PROCESSORS 2 ENVIRONMENT "NVCC=${CMAKE_CUDA_COMPILER}")
