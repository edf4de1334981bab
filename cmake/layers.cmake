# The layers and who may use whom: the one table, read by the build (a library links only what stands here, so a call
# upward does not link) and by tests/lint (which checks the includes against it).
set(WEFT_LAYERS core comm kernels parallel model engine bench launch)
set(WEFT_USES_core)
set(WEFT_USES_comm core)
set(WEFT_USES_kernels core)
set(WEFT_USES_parallel comm kernels core)
set(WEFT_USES_model parallel kernels core)
set(WEFT_USES_engine model parallel comm kernels core)
set(WEFT_USES_bench engine model parallel comm kernels core)
set(WEFT_USES_launch bench engine model parallel comm kernels core)

# weft_layer(name [LINK external libraries...]): libweft_<name>.so from every .c file of the folder. Only weft_* symbols
# leave the library; wi_* ones end at its border. A folder without sources is a layer that has nothing yet.
function(weft_layer name)
  cmake_parse_arguments(arg "" "" "LINK" ${ARGN})
  file(GLOB sources CONFIGURE_DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/*.c)
  list(TRANSFORM WEFT_USES_${name} PREPEND weft_ OUTPUT_VARIABLE uses)
  if(NOT sources)
    add_library(weft_${name} INTERFACE)
    target_link_libraries(weft_${name} INTERFACE ${uses})
    return()
  endif()
  add_library(weft_${name} SHARED ${sources})
  weft_own_code(weft_${name})
  weft_export_only(weft_${name} ${CMAKE_SOURCE_DIR}/cmake/exports.map)
  target_link_libraries(weft_${name} PUBLIC ${uses} PRIVATE ${arg_LINK})
  set_target_properties(weft_${name} PROPERTIES VERSION ${PROJECT_VERSION} SOVERSION ${PROJECT_VERSION}
    INSTALL_RPATH "$ORIGIN:$ORIGIN/bundled")
  install(TARGETS weft_${name} LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR}/weft)
endfunction()

# weft_plugin(name SOURCES ... USES layers... LINK external libraries...): libweft_<name>.so, opened at run time.
function(weft_plugin name)
  cmake_parse_arguments(arg "" "" "SOURCES;USES;LINK" ${ARGN})
  list(TRANSFORM arg_USES PREPEND weft_ OUTPUT_VARIABLE uses)
  add_library(weft_${name} MODULE ${arg_SOURCES})
  weft_own_code(weft_${name})
  weft_export_only(weft_${name} ${CMAKE_SOURCE_DIR}/cmake/exports.map)
  target_link_libraries(weft_${name} PRIVATE ${uses} ${arg_LINK})
  set_target_properties(weft_${name} PROPERTIES INSTALL_RPATH "$ORIGIN:$ORIGIN/bundled"
    LIBRARY_OUTPUT_DIRECTORY $<TARGET_FILE_DIR:weft_core>)
  install(TARGETS weft_${name} LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR}/weft)
endfunction()
