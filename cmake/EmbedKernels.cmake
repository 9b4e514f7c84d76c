# cmake -D FOLDER=kernels_cl -D LIST=files.txt -D OUTPUT=x.c -P EmbedKernels.cmake
# Writes every file of LIST (paths relative to FOLDER, one a line) into OUTPUT
# as a byte array: string literals are limited in length and need escaping.
cmake_minimum_required(VERSION 3.25)

file(STRINGS ${LIST} files)
set(arrays)
set(rows)
set(index 0)
foreach(path IN LISTS files)
  file(READ ${FOLDER}/${path} hex HEX)
  string(LENGTH "${hex}" digits)
  math(EXPR length "${digits} / 2")
  # 16 bytes a line
  string(REGEX REPLACE "([0-9a-f][0-9a-f])" "0x\\1," bytes "${hex}")
  string(REPEAT "0x..," 16 line)
  string(REGEX REPLACE "(${line})" "\\1\n" bytes "${bytes}")
  string(APPEND arrays "/* ${path} */\nstatic const unsigned char file_${index}[] = {\n${bytes}0};\n\n")
  string(APPEND rows "    {\"${path}\", (const char *)file_${index}, ${length}},\n")
  math(EXPR index "${index} + 1")
endforeach()

# An array of no elements is not C; the sentinel also ends loops by name.
file(WRITE ${OUTPUT}.tmp "/* Generated from kernels_cl by cmake/EmbedKernels.cmake. */
#include \"runtime/embedded.h\"

${arrays}const clqi_embedded_file clqi_embedded_files[] = {
${rows}    {NULL, NULL, 0},
};
const size_t clqi_embedded_file_count = ${index};
")
file(RENAME ${OUTPUT}.tmp ${OUTPUT})
