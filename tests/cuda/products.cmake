# Matrix products: the backend's against plain double, and what it asks of the real cuBLASLt.
vicmae_test(test_cuda_matmul test_cuda_matmul.c LIBS vmae_backend)
set(standin VICMAE_TEST_DEVICE=cuda VICMAE_CUDA_MODULE=$<TARGET_FILE:vicmae_cuda_standin>)
set_tests_properties(test_cuda_matmul PROPERTIES ENVIRONMENT "${standin}")
vicmae_device_variant(test_cuda_matmul test_cuda_matmul.random ${standin} COC_ORDER=random COC_SEED=3 COC_DEFERRED=1)

vicmae_test(test_cublaslt_shapes test_cublaslt_shapes.c library_leaks.c
            ${PROJECT_SOURCE_DIR}/engine/backend/cuda/matmul.c LIBS vmae_experiments)
target_include_directories(test_cublaslt_shapes SYSTEM PRIVATE ${CUDNN_INCLUDE} ${CUDAToolkit_INCLUDE_DIRS})
target_link_libraries(test_cublaslt_shapes PRIVATE CUDA::cublasLt ${CMAKE_DL_LIBS})

vicmae_test(test_cublaslt_standin test_cublaslt_standin.c ${standins})
target_include_directories(test_cublaslt_standin PRIVATE ${CMAKE_CURRENT_SOURCE_DIR})
target_include_directories(test_cublaslt_standin SYSTEM PRIVATE ${CUDNN_INCLUDE} ${CUDAToolkit_INCLUDE_DIRS})
set_target_properties(test_cublaslt_standin PROPERTIES CXX_STANDARD 17 CXX_STANDARD_REQUIRED ON)
target_compile_options(test_cublaslt_standin PRIVATE $<$<COMPILE_LANGUAGE:CXX>:-O2 -Wno-unknown-pragmas>)
target_link_libraries(test_cublaslt_standin PRIVATE CUDA::cublasLt ${CUDNN_LIBRARY} OpenMP::OpenMP_C)
