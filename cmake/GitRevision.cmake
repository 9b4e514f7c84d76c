# Run at build time: writes HEADER with the revision of FOLDER, "unknown" where
# there is no git or no repository. Rewritten only when it changes.
execute_process(COMMAND git -C ${FOLDER} describe --always --dirty --abbrev=12
  OUTPUT_VARIABLE revision OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET RESULT_VARIABLE result)
if(NOT result EQUAL 0 OR revision STREQUAL "")
  set(revision unknown)
endif()
file(CONFIGURE OUTPUT ${HEADER} CONTENT "#define CLQ_GIT_REVISION \"${revision}\"\n" @ONLY)
