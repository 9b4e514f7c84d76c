# Puts the device code into the library: kernels_cl/*.cl and kernels_cl/lib/*
# become one generated C file, host/runtime/embedded.h declares what it holds.
# Includes are resolved by the runtime, the same way for these files and for an
# override folder.

# clq_embed_kernels(OUT): the generated source.
function(clq_embed_kernels out)
  set(folder ${PROJECT_SOURCE_DIR}/kernels_cl)
  file(GLOB files RELATIVE ${folder} CONFIGURE_DEPENDS ${folder}/*.cl ${folder}/lib/*.h
    ${folder}/lib/*.def)
  set(depends ${files})
  list(TRANSFORM depends PREPEND ${folder}/)
  set(generated ${PROJECT_BINARY_DIR}/generated/embedded_kernels.c)
  # The list stands in a file of its own, so that a removed kernel rebuilds too.
  set(list_file ${PROJECT_BINARY_DIR}/generated/embedded_kernels.txt)
  list(JOIN files "\n" list_text)
  file(CONFIGURE OUTPUT ${list_file} CONTENT "${list_text}\n" @ONLY)
  add_custom_command(
    OUTPUT ${generated}
    COMMAND ${CMAKE_COMMAND} -D FOLDER=${folder} -D LIST=${list_file} -D OUTPUT=${generated}
      -P ${PROJECT_SOURCE_DIR}/cmake/EmbedKernels.cmake
    DEPENDS ${depends} ${list_file} ${PROJECT_SOURCE_DIR}/cmake/EmbedKernels.cmake
    COMMENT "Embedding kernels"
    VERBATIM)
  set(${out} ${generated} PARENT_SCOPE)
endfunction()
