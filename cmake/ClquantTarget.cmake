# What every C target of the project is compiled with.

# clq_glob(OUT folder...): the .c files directly in the folders, absolute, sorted.
function(clq_glob out)
  set(files)
  foreach(folder IN LISTS ARGN)
    file(GLOB found CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/${folder}/*.c)
    list(APPEND files ${found})
  endforeach()
  set(${out} ${files} PARENT_SCOPE)
endfunction()

function(clq_target_defaults target)
  set_target_properties(${target} PROPERTIES
    C_STANDARD 11 C_STANDARD_REQUIRED ON C_EXTENSIONS OFF C_VISIBILITY_PRESET hidden)
  # OpenCL 3.0 headers; POSIX.1-2008 and the BSD calls that glibc offers with it.
  target_compile_definitions(${target} PRIVATE
    CL_TARGET_OPENCL_VERSION=300 _POSIX_C_SOURCE=200809L _DEFAULT_SOURCE)
  # Contraction would make references differ from kernels in the last bit.
  target_compile_options(${target} PRIVATE
    -ffp-contract=off -fstack-protector-strong
    -Wall -Wextra -Wno-missing-field-initializers -Wpedantic -Wshadow -Wconversion -Wsign-conversion -Wstrict-prototypes
    -Wmissing-prototypes -Wvla -Wcast-align -Wundef -Wdouble-promotion -Wformat=2)
  if(CLQ_WERROR)
    target_compile_options(${target} PRIVATE -Werror)
  endif()
  if(CLQ_SANITIZE)
    target_compile_options(${target} PRIVATE
      -fsanitize=${CLQ_SANITIZE} -fno-sanitize-recover=all -fno-omit-frame-pointer
      # What the sanitizers insert hides from GCC that a loop runs at least once.
      $<$<C_COMPILER_ID:GNU>:-Wno-maybe-uninitialized>)
    target_link_options(${target} PUBLIC -fsanitize=${CLQ_SANITIZE})
  endif()
  if(CLQ_FUZZ)
    target_compile_options(${target} PRIVATE -fsanitize=fuzzer-no-link)
    target_link_options(${target} PUBLIC -fsanitize=fuzzer-no-link)
  endif()
endfunction()
