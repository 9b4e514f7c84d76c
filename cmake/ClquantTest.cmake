# clq_test_environment(test): what a test finds around it. All share CLQuant's
# cache of programs; each has a pocl cache of its own, because pocl 3.1's is not
# safe for several processes. They stay between runs, so that a second is faster.
function(clq_test_environment test)
  set(cache ${PROJECT_BINARY_DIR}/test-cache)
  file(MAKE_DIRECTORY ${cache}/pocl/${test})
  set(environment "POCL_CACHE_DIR=${cache}/pocl/${test}" "CLQ_CACHE_DIR=${cache}/clq")
  if(CLQ_SANITIZE)
    # Leaks are found when a process ends, after Criterion has passed the case:
    # an exit code would not count any more, but an abort does. Thread-local
    # storage is not searched for pointers: stale ones lie there, CLQuant has none.
    list(APPEND environment
      "ASAN_OPTIONS=detect_leaks=1:abort_on_error=1"
      "LSAN_OPTIONS=suppressions=${PROJECT_SOURCE_DIR}/cmake/leaks.supp:print_suppressions=0:use_tls=0"
      "UBSAN_OPTIONS=print_stacktrace=1:abort_on_error=1")
    set_tests_properties(${test} PROPERTIES
      FAIL_REGULAR_EXPRESSION "Sanitizer;: runtime error: ")
  endif()
  set_tests_properties(${test} PROPERTIES
    TIMEOUT 1800
    SKIP_RETURN_CODE 77
    ENVIRONMENT "${environment}")
endfunction()
