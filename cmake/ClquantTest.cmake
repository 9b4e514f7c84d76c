# clq_test_environment(test): what a test finds around it. All share CLQuant's
# cache of programs; each has a pocl cache of its own, because pocl 3.1's is not
# safe for several processes. They stay between runs, so that a second is faster.
function(clq_test_environment test)
  set(cache ${PROJECT_BINARY_DIR}/test-cache)
  file(MAKE_DIRECTORY ${cache}/pocl/${test})
  set_tests_properties(${test} PROPERTIES
    TIMEOUT 1800
    SKIP_RETURN_CODE 77
    ENVIRONMENT "POCL_CACHE_DIR=${cache}/pocl/${test};CLQ_CACHE_DIR=${cache}/clq;ASAN_OPTIONS=detect_leaks=0;UBSAN_OPTIONS=print_stacktrace=1")
endfunction()
