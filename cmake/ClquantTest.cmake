# clq_test_environment(test): what a test finds around it. Each test has program
# caches of its own, because pocl 3.1's is not safe for several processes; they
# stay between runs, so that a second run is faster.
function(clq_test_environment test)
  set(cache ${PROJECT_BINARY_DIR}/test-cache/${test})
  file(MAKE_DIRECTORY ${cache}/pocl ${cache}/clq)
  set_tests_properties(${test} PROPERTIES
    TIMEOUT 1800
    SKIP_RETURN_CODE 77
    ENVIRONMENT "POCL_CACHE_DIR=${cache}/pocl;CLQ_CACHE_DIR=${cache}/clq;ASAN_OPTIONS=detect_leaks=0;UBSAN_OPTIONS=print_stacktrace=1")
endfunction()
