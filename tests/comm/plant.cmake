# cmake -D IN= -D OUT= -D TEXT= -D BY= -P plant.cmake: copies a source with one fault planted in it: TEXT, which must
# stand there once, is replaced by BY, in which \\n is a new line.
file(READ "${IN}" source)
string(FIND "${source}" "${TEXT}" first)
string(FIND "${source}" "${TEXT}" last REVERSE)
if(first EQUAL -1 OR NOT first EQUAL last)
  message(FATAL_ERROR "${IN} does not hold this once: ${TEXT}\nIt has changed: change what the test plants as well.")
endif()
string(REPLACE "\\n" "\n" BY "${BY}")
string(REPLACE "${TEXT}" "${BY}" source "${source}")
file(WRITE "${OUT}" "${source}")
