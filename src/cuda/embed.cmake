# Writes OUT, a C++ file with the files of FOLDER as text: cmake -DFOLDER=... -DOUT=... -P embed.cmake
file(GLOB files ${FOLDER}/*.cu ${FOLDER}/*.cuh)
list(FILTER files EXCLUDE REGEX "/generated\\.cuh$")  # made for each instance
set(body "")
foreach(file ${files})
  get_filename_component(name ${file} NAME)
  file(READ ${file} text)
  string(APPEND body "    \"${name}\", R\"tenon-cu(${text})tenon-cu\",\n")
endforeach()
file(WRITE ${OUT} "namespace tenon::cuda {\nextern const char* const kEmbeddedKernels[];\nconst char* const kEmbeddedKernels[] = {\n${body}    nullptr};\n}\n")
