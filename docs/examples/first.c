/* Builds an engine of an ONNX model with one float input, keeps it as a plan, and runs the plan once on ones. */
#include <stdio.h>

#include "tenon/tenon.h"

static int failed(tenon_status status) {
  if (status == TENON_OK) return 0;
  fprintf(stderr, "%s: %s\n", tenon_status_text(status), tenon_last_error());
  return 1;
}

static int run(tenon_session* session, const tenon_tensor_info* input, const tenon_tensor_info* output) {
  int64_t dims[8];
  size_t count = 1, i;
  int32_t axis;
  void* data;
  tenon_tensor result;

  for (axis = 0; axis < input->rank && axis < 8; ++axis) {
    dims[axis] = input->dims[axis] < 0 ? 1 : input->dims[axis]; /* any size will do where the model leaves it open */
    count *= (size_t)dims[axis];
  }
  if (failed(tenon_session_input_buffer(session, input->name, dims, (size_t)axis, &data))) return 1;
  for (i = 0; i < count; ++i) ((float*)data)[i] = 1.0f;
  if (failed(tenon_session_run(session))) return 1;
  if (failed(tenon_session_output(session, output->name, &result))) return 1;
  for (i = 0; i < result.bytes / sizeof(float); ++i) printf("%g ", (double)((const float*)result.data)[i]);
  printf("\n");
  return 0;
}

int main(int argc, char** argv) {
  tenon_engine* built = NULL;
  tenon_engine* engine = NULL;
  tenon_session* session = NULL;
  tenon_tensor_info input, output;
  int bad;

  if (argc != 3) {
    fprintf(stderr, "usage: %s MODEL.onnx PLAN\n", argv[0]);
    return 2;
  }
  bad = failed(tenon_engine_build(argv[1], NULL, &built)) || failed(tenon_engine_save(built, argv[2])) ||
        failed(tenon_engine_load(argv[2], 1, &engine)) || failed(tenon_engine_input(engine, 0, &input)) ||
        failed(tenon_engine_output(engine, 0, &output)) || failed(tenon_session_create(engine, &session)) ||
        run(session, &input, &output);
  tenon_session_destroy(session);
  tenon_engine_destroy(engine);
  tenon_engine_destroy(built);
  return bad;
}
