# What `cmake --install` adds to the program and weft's own libraries, so that the tree can be copied to a node where
# nothing but the C library is installed: the libraries of others that core and model link, and the documents.
install(FILES LICENSE README.md DESTINATION ${CMAKE_INSTALL_DOCDIR} OPTIONAL)
install(DIRECTORY launch/slurm DESTINATION ${CMAKE_INSTALL_DATADIR}/weft)
# Looks for the tree three folders up from itself.
install(FILES launch/modules/weft DESTINATION share/modulefiles/weft RENAME ${PROJECT_VERSION} COMPONENT module)
install(DIRECTORY docs/ DESTINATION ${CMAKE_INSTALL_DOCDIR} OPTIONAL)

if(NOT WEFT_SANITIZE)
  set(linking $<TARGET_FILE:weft_core>)
  get_target_property(kind weft_model TYPE)
  if(kind STREQUAL SHARED_LIBRARY) # not a layer that is empty
    string(APPEND linking ";$<TARGET_FILE:weft_model>")
  endif()
  install(CODE "set(weft_libraries \"${linking}\")
set(bundle_directory \"${CMAKE_INSTALL_LIBDIR}/weft/bundled\")
set(licence_directory \"${CMAKE_INSTALL_DOCDIR}/bundled\")")
  install(SCRIPT cmake/bundle.cmake)
endif()
