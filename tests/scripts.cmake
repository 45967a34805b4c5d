# Tests that drive the command line tool: what scripts rely on (tests/cli) and bad inputs (tests/hostile), with any Python 3,
# and the shared models (tests/models, skipped where these or the peers are not at hand). Included by the top CMakeLists.txt
# where the tool is built.
find_package(Python3 COMPONENTS Interpreter)
if(Python3_FOUND AND TARGET tenon)
  set(hostile ${Python3_EXECUTABLE} ${PROJECT_SOURCE_DIR}/tests/hostile/run.py --tenon $<TARGET_FILE:tenon>)
  if(TENON_SANITIZE)
    add_test(NAME hostile/corpus COMMAND ${hostile} --sanitized --sample 250)
  else()
    add_test(NAME hostile/corpus COMMAND ${hostile})
    # Twice as long as on two idle cores.
    add_test(NAME conformance/onnx COMMAND ${Python3_EXECUTABLE} ${PROJECT_SOURCE_DIR}/tests/conformance/run.py
      --runner $<TARGET_FILE:conformance>)
    set_tests_properties(conformance/onnx PROPERTIES SKIP_RETURN_CODE 77 RUN_SERIAL TRUE TIMEOUT 360)
    add_test(NAME conformance/peers COMMAND ${Python3_EXECUTABLE} ${PROJECT_SOURCE_DIR}/tests/conformance/peers.py
      --runner $<TARGET_FILE:conformance>)
    set_tests_properties(conformance/peers PROPERTIES SKIP_RETURN_CODE 77 TIMEOUT 300)
    foreach(what accuracy real references)
      add_test(NAME models/${what} COMMAND ${Python3_EXECUTABLE} ${PROJECT_SOURCE_DIR}/tests/models/run.py ${what}
        --tenon $<TARGET_FILE:tenon>)
      set_tests_properties(models/${what} PROPERTIES SKIP_RETURN_CODE 77 RUN_SERIAL TRUE TIMEOUT 1800)
    endforeach()
  endif()
  add_test(NAME cli/behaviour COMMAND ${Python3_EXECUTABLE} ${PROJECT_SOURCE_DIR}/tests/cli/run.py
    --tenon $<TARGET_FILE:tenon>)
  set_tests_properties(cli/behaviour PROPERTIES TIMEOUT 900)
  set_tests_properties(hostile/corpus PROPERTIES RUN_SERIAL TRUE TIMEOUT 900)
endif()
