# What `cmake --install` places beside the tools, and the packages that CPack makes of it.
include(GNUInstallDirs)
find_program(GZIP gzip REQUIRED)
set(compressed "")
foreach(tool IN LISTS LQ_TOOLS)
  set(page ${PROJECT_SOURCE_DIR}/man/${tool}.1)
  add_custom_command(OUTPUT ${tool}.1.gz DEPENDS ${page} VERBATIM
    COMMAND sh -c "\"$1\" -9nc \"$2\" >\"$3\"" sh ${GZIP} ${page} ${tool}.1.gz)
  list(APPEND compressed ${CMAKE_CURRENT_BINARY_DIR}/${tool}.1.gz)
  set(completions ${PROJECT_SOURCE_DIR}/completions)
  install(FILES ${completions}/${tool}.bash RENAME ${tool}
    DESTINATION ${CMAKE_INSTALL_DATADIR}/bash-completion/completions)
  install(FILES ${completions}/_${tool} DESTINATION ${CMAKE_INSTALL_DATADIR}/zsh/vendor-completions)
  install(FILES ${completions}/${tool}.fish
    DESTINATION ${CMAKE_INSTALL_DATADIR}/fish/vendor_completions.d)
endforeach()
add_custom_target(man_pages ALL DEPENDS ${compressed})
install(FILES ${compressed} DESTINATION ${CMAKE_INSTALL_MANDIR}/man1)
install(FILES LICENSE RENAME copyright DESTINATION ${CMAKE_INSTALL_DATADIR}/doc/lq)
install(FILES README.md DESTINATION ${CMAKE_INSTALL_DATADIR}/doc/lq)

set(CPACK_GENERATOR "DEB;TZST")
set(CPACK_PACKAGE_NAME lq)
set(CPACK_PACKAGE_VENDOR "The lq developers")
set(CPACK_PACKAGE_CONTACT "The lq developers <developers@lq.invalid>")
set(CPACK_PACKAGE_DESCRIPTION_SUMMARY "convert, quantize, run and measure language models")
set(CPACK_PACKAGE_DESCRIPTION "Converts models published in the Hugging Face form to GGUF, stores their
weights in fewer bits, answers and chats with them, and measures how fast
they run. No Python is needed.")
set(CPACK_RESOURCE_FILE_LICENSE ${PROJECT_SOURCE_DIR}/LICENSE)
set(CPACK_PACKAGING_INSTALL_PREFIX /usr)
set(CPACK_STRIP_FILES ON)
set(CPACK_DEBIAN_FILE_NAME DEB-DEFAULT)
set(CPACK_DEBIAN_PACKAGE_SECTION science)
set(CPACK_DEBIAN_PACKAGE_PRIORITY optional)
set(CPACK_DEBIAN_PACKAGE_SHLIBDEPS ON)
include(CPack)
