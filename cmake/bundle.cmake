# Run by `cmake --install`: copies the libraries that core and model need into bundle_directory, which weft's libraries
# search after their own folder. The C library, MPI and drivers are the machine's and never copied: plug-ins that need
# them are not looked at. Where a copy clashes with what a site's MPI needs, deleting the folder is the mend.
file(GET_RUNTIME_DEPENDENCIES LIBRARIES ${weft_libraries} RESOLVED_DEPENDENCIES_VAR libraries
  PRE_EXCLUDE_REGEXES "^ld-linux" "^lib(c|m|dl|rt|pthread|gcc_s)\\.so" "^libweft_")
foreach(library IN LISTS libraries)
  file(INSTALL ${library} DESTINATION ${CMAKE_INSTALL_PREFIX}/${bundle_directory} FOLLOW_SYMLINK_CHAIN)
  # libhwloc.so.15 is of Debian's package libhwloc15 and libpcre2-8.so.0 of libpcre2-8-0: the copy must carry their
  # copyright files.
  get_filename_component(name ${library} NAME)
  string(REGEX REPLACE "([0-9])\\.so\\." "\\1-.so." name ${name})
  string(REGEX REPLACE "\\.so\\.([0-9]+).*$" "\\1" package ${name})
  if(EXISTS /usr/share/doc/${package}/copyright)
    file(INSTALL /usr/share/doc/${package}/copyright DESTINATION ${CMAKE_INSTALL_PREFIX}/${licence_directory}
      RENAME ${package}.copyright)
  endif()
endforeach()
