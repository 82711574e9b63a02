# Tests of every interleaving (model.h). To be included where PkgConfig::CMOCKA is known; brings the
# explorer's own test, unit.model, along.
set(HAK_MODEL_DIR ${CMAKE_CURRENT_LIST_DIR})

# hak_model_test(name [SOURCES file...] [TIMEOUT seconds])
#
# model_<name>.c, a cmocka program, and the given files of libhak (relative to libhak/), compiled
# together under the explorer, as the test unit.model_<name>. All assertions are on. base/os.c is
# never among the files: model.c takes the place of its futex calls. A lock does not spin before it
# sleeps, as that would only multiply the executions.
function(hak_model_test name)
  cmake_parse_arguments(PARSE_ARGV 1 test "" "TIMEOUT" "SOURCES")
  list(TRANSFORM test_SOURCES PREPEND ${PROJECT_SOURCE_DIR}/libhak/)
  hak_model_program(model_${name} model_${name}.c ${test_SOURCES})
  if(test_TIMEOUT AND TEST unit.model_${name})
    set_tests_properties(unit.model_${name} PROPERTIES TIMEOUT ${test_TIMEOUT})
  endif()
endfunction()

# Not in builds with AddressSanitizer or ThreadSanitizer: the explorer moves one system thread from
# stack to stack, and what they would report is that.
function(hak_model_program name)
  if(HAK_SANITIZE MATCHES "^(address|thread)$")
    return()
  endif()
  set(target unit_${name})
  add_executable(${target} ${ARGN} ${HAK_MODEL_DIR}/model.c)
  target_compile_options(
    ${target} PRIVATE -O1 -g -include ${HAK_MODEL_DIR}/model.h
                      -fmacro-prefix-map=${PROJECT_SOURCE_DIR}/=
  )
  target_compile_definitions(${target} PRIVATE HAK_DEBUG=1 HAK_LOCK_SPINS=0)
  target_include_directories(
    ${target} PRIVATE ${PROJECT_SOURCE_DIR}/include ${PROJECT_SOURCE_DIR}/libhak ${HAK_MODEL_DIR}
  )
  target_link_libraries(${target} PRIVATE hak_flags PkgConfig::CMOCKA)
  add_test(NAME unit.${name} COMMAND ${target})
  set_tests_properties(unit.${name} PROPERTIES LABELS "unit;model" TIMEOUT 60)
  hak_place(unit.${name} unit 2)
endfunction()

hak_model_program(model ${HAK_MODEL_DIR}/test_model.c)
