# cuDNN without a GPU: real plans for described ones. libcuda.so.1 is a stand-in that must be loaded first (cuDNN looks for that name); it
# is built only for these programs and lies in a folder of its own.
add_library(vicmae_libcuda_for_plans SHARED libcuda_for_plans.c)
set_target_properties(vicmae_libcuda_for_plans PROPERTIES OUTPUT_NAME cuda SOVERSION 1
                      LIBRARY_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/tests/plans)
target_compile_options(vicmae_libcuda_for_plans PRIVATE -Wno-missing-prototypes -fvisibility=default -fno-lto)
target_link_options(vicmae_libcuda_for_plans PRIVATE -fno-lto)

# --no-as-needed: nothing refers to it, and it must be there.
function(vicmae_plans_for_described_gpus target)
  target_link_libraries(${target} PRIVATE -Wl,--no-as-needed vicmae_libcuda_for_plans -Wl,--as-needed)
endfunction()

vicmae_plans_for_described_gpus(vicmae_cuda_standin)
target_link_libraries(vicmae_cuda_standin PRIVATE PkgConfig::JANSSON)
target_sources(vicmae_cuda_standin PRIVATE library_leaks.c)

vicmae_test(test_cudnn_plans test_cudnn_plans.c library_leaks.c ${PROJECT_SOURCE_DIR}/engine/backend/cuda/cudnn_graph.c LIBS ${CUDNN_LIBRARY})
vicmae_plans_for_described_gpus(test_cudnn_plans)
target_include_directories(test_cudnn_plans SYSTEM PRIVATE ${CUDNN_INCLUDE} ${CUDAToolkit_INCLUDE_DIRS})
