# xgrammar::xgrammar, as scripts/build_xgrammar.sh leaves it in .cache/xgrammar. Imported, so its headers are system
# headers: warnings in them are not errors of ours.
set(TRIREME_XGRAMMAR ${CMAKE_SOURCE_DIR}/.cache/xgrammar CACHE PATH "Where xgrammar's include/ and lib/ are")
if(NOT EXISTS ${TRIREME_XGRAMMAR}/lib/libxgrammar.a)
  message(FATAL_ERROR "No xgrammar in ${TRIREME_XGRAMMAR}: run scripts/setup.sh, which builds it")
endif()
add_library(xgrammar::xgrammar STATIC IMPORTED GLOBAL)
set_target_properties(xgrammar::xgrammar PROPERTIES
  IMPORTED_LOCATION ${TRIREME_XGRAMMAR}/lib/libxgrammar.a
  INTERFACE_INCLUDE_DIRECTORIES ${TRIREME_XGRAMMAR}/include
  INTERFACE_LINK_LIBRARIES Threads::Threads)
