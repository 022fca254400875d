# Writes OUT, a header with the source's revision ("unknown" without git), only when it has changed.
#   cmake -DSOURCE=dir -DOUT=file -P revision.cmake
find_package(Git QUIET)
set(revision "")
if(GIT_FOUND)
  execute_process(COMMAND ${GIT_EXECUTABLE} -C ${SOURCE} describe --always --dirty --abbrev=12
                  OUTPUT_VARIABLE revision OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET)
endif()
if(NOT revision)
  set(revision "unknown")
endif()
file(CONFIGURE OUTPUT ${OUT} CONTENT "/* made by revision.cmake */\n#define VMAE_REVISION \"${revision}\"\n")
