# cmake -D ROOT= -D SETTINGS= -D OUT= -P build_id.cmake: writes the header with WEFT_BUILD_ID, a hash over the settings
# file (its first line is what was built how, the rest the list of sources) and over the bytes of those sources.
file(READ ${SETTINGS} all)
string(REGEX MATCH "^([^\n]*)\n(.*)\n$" _ "${all}")
set(text "${CMAKE_MATCH_1}")
foreach(source IN LISTS CMAKE_MATCH_2)
  file(SHA1 ${source} hash)
  file(RELATIVE_PATH name ${ROOT} ${source})
  string(APPEND text "\n${name} ${hash}")
endforeach()
string(SHA1 id "${text}")
string(SUBSTRING ${id} 0 12 id)
file(WRITE ${OUT} "#define WEFT_BUILD_ID \"${id}\"\n")
