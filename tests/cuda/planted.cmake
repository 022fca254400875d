# The stand-in's scheduler under TSan: compiled without it, but telling it what orders what (sanitizers.h).
if(VICMAE_SANITIZE MATCHES "thread")
  set_source_files_properties(cuda_on_cpu.cpp memory_on_cpu.cpp streams_on_cpu.cpp graphs_on_cpu.cpp shared_memory_on_cpu.cpp
                              PROPERTIES COMPILE_OPTIONS "-fno-sanitize=thread;-DCOC_TSAN=1")
endif()
