/* Tenon's C API: tenon.hpp for C99 and for everything that calls C.
 *
 * Every function returns a tenon_status (but for the three that return text) and nothing is thrown. On failure results
 * are not written and tenon_last_error() has the message, of this thread. Strings are UTF-8 and end with 0. Handles are
 * opaque; destroying NULL does nothing. An engine may be used by several threads at once, a session by one at a time;
 * a session keeps its engine alive, so the two may be destroyed in either order. Names, dims and symbols that are
 * handed out live as long as the handle they were asked of, unless said otherwise.
 */
#ifndef TENON_TENON_H
#define TENON_TENON_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define TENON_C_API __attribute__((visibility("default")))

/* The codes of the Triton protocol, and success. */
typedef enum tenon_status {
  TENON_OK = 0,
  TENON_UNKNOWN = 1,
  TENON_INTERNAL = 2,
  TENON_NOT_FOUND = 3,
  TENON_INVALID_ARGUMENT = 4,
  TENON_UNAVAILABLE = 5,
  TENON_UNSUPPORTED = 6,
  TENON_ALREADY_EXISTS = 7,
  TENON_CANCELLED = 8
} tenon_status;

/* Element types; the numbers are those of ONNX's TensorProto.DataType. Sub-byte types are packed, low bits first. */
typedef enum tenon_dtype {
  TENON_UNDEFINED = 0,
  TENON_FLOAT32 = 1,
  TENON_UINT8 = 2,
  TENON_INT8 = 3,
  TENON_UINT16 = 4,
  TENON_INT16 = 5,
  TENON_INT32 = 6,
  TENON_INT64 = 7,
  TENON_STRING = 8,
  TENON_BOOL = 9,
  TENON_FLOAT16 = 10,
  TENON_FLOAT64 = 11,
  TENON_UINT32 = 12,
  TENON_UINT64 = 13,
  TENON_COMPLEX64 = 14,
  TENON_COMPLEX128 = 15,
  TENON_BFLOAT16 = 16,
  TENON_FLOAT8E4M3FN = 17,
  TENON_FLOAT8E4M3FNUZ = 18,
  TENON_FLOAT8E5M2 = 19,
  TENON_FLOAT8E5M2FNUZ = 20,
  TENON_UINT4 = 21,
  TENON_INT4 = 22,
  TENON_FLOAT4E2M1 = 23,
  TENON_FLOAT8E8M0 = 24,
  TENON_UINT2 = 25,
  TENON_INT2 = 26
} tenon_dtype;

typedef struct tenon_build_options tenon_build_options;
typedef struct tenon_engine tenon_engine;
typedef struct tenon_session tenon_session;

/* An input or output of an engine. */
typedef struct tenon_tensor_info {
  const char* name;
  tenon_dtype dtype;          /* TENON_UNDEFINED: not a tensor */
  int32_t rank;               /* -1: even the number of dimensions is open */
  const int64_t* dims;        /* -1 where open */
  const char* const* symbols; /* one a dimension: "N"; "" for numbers and unnamed dimensions */
} tenon_tensor_info;

/* The value of an output: valid until the next run of its session. */
typedef struct tenon_tensor {
  tenon_dtype dtype;
  int32_t rank;
  const int64_t* dims;
  const void* data; /* row-major */
  size_t bytes;
} tenon_tensor;

/* Time spent in one layer; the texts are valid until tenon_session_layers is called again. */
typedef struct tenon_layer_time {
  const char* name;
  const char* op;
  const char* implementation;
  double seconds; /* over `runs` runs */
  int64_t runs;
} tenon_layer_time;

/* --- texts --- */
TENON_C_API const char* tenon_version(void);
/* Of the last function of this thread that failed; "" before any did. Valid until the next one fails. */
TENON_C_API const char* tenon_last_error(void);
/* "invalid argument" */
TENON_C_API const char* tenon_status_text(tenon_status status);

/* --- options for building; NULL stands for the defaults wherever they are taken --- */
TENON_C_API tenon_status tenon_build_options_create(tenon_build_options** options);
TENON_C_API tenon_status tenon_build_options_destroy(tenon_build_options* options);
/* Plans for this shape of an input at once (other shapes are planned when they are first run). */
TENON_C_API tenon_status tenon_build_options_shape(tenon_build_options* options, const char* input, const int64_t* dims,
                                                   size_t rank);
/* The shapes that an input may have, and the one to be fastest for. */
TENON_C_API tenon_status tenon_build_options_profile(tenon_build_options* options, const char* input,
                                                     const int64_t* min, const int64_t* opt, const int64_t* max,
                                                     size_t rank);
/* 0: one for each physical core. */
TENON_C_API tenon_status tenon_build_options_threads(tenon_build_options* options, int threads);
/* 0 (quick) to 5 (patient); 2 is the default. */
TENON_C_API tenon_status tenon_build_options_level(tenon_build_options* options, int level);
TENON_C_API tenon_status tenon_build_options_timing_cache(tenon_build_options* options, const char* path);
TENON_C_API tenon_status tenon_build_options_disable_pass(tenon_build_options* options, const char* pass);
/* Called while building, on the building thread; not after the build has returned. */
TENON_C_API tenon_status tenon_build_options_progress(
    tenon_build_options* options, void (*progress)(void* user, const char* phase, int done, int total), void* user);
/* Asked while building; anything but 0 ends the build with TENON_CANCELLED. */
TENON_C_API tenon_status tenon_build_options_cancel(tenon_build_options* options, int (*cancel)(void* user),
                                                    void* user);

/* --- engines --- */
TENON_C_API tenon_status tenon_engine_build(const char* onnx_path, const tenon_build_options* options,
                                            tenon_engine** engine);
/* The bytes are copied. */
TENON_C_API tenon_status tenon_engine_build_bytes(const void* onnx, size_t bytes, const tenon_build_options* options,
                                                  tenon_engine** engine);
/* Loads what tenon_engine_save wrote. threads 0: one for each physical core. */
TENON_C_API tenon_status tenon_engine_load(const char* plan_path, int threads, tenon_engine** engine);
TENON_C_API tenon_status tenon_engine_save(const tenon_engine* engine, const char* plan_path);
TENON_C_API tenon_status tenon_engine_destroy(tenon_engine* engine);
TENON_C_API tenon_status tenon_engine_input_count(const tenon_engine* engine, size_t* count);
TENON_C_API tenon_status tenon_engine_output_count(const tenon_engine* engine, size_t* count);
TENON_C_API tenon_status tenon_engine_input(const tenon_engine* engine, size_t index, tenon_tensor_info* info);
TENON_C_API tenon_status tenon_engine_output(const tenon_engine* engine, size_t index, tenon_tensor_info* info);
/* The model's metadata: "producer_name", "opset", "props.<key>". TENON_NOT_FOUND where it has no such key. */
TENON_C_API tenon_status tenon_engine_metadata(const tenon_engine* engine, const char* key, const char** value);

/* --- sessions --- */
TENON_C_API tenon_status tenon_session_create(const tenon_engine* engine, tenon_session** session);
TENON_C_API tenon_status tenon_session_destroy(tenon_session* session);
/* Reads the input from the caller's buffer at every run, without a copy, until it is set anew. */
TENON_C_API tenon_status tenon_session_set_input(tenon_session* session, const char* input, const void* data,
                                                 tenon_dtype dtype, const int64_t* dims, size_t rank);
/* A buffer of the session for the input, valid until the input is set anew. */
TENON_C_API tenon_status tenon_session_input_buffer(tenon_session* session, const char* input, const int64_t* dims,
                                                    size_t rank, void** data);
/* Writes the output to the caller's buffer; NULL: to a buffer of the session again. */
TENON_C_API tenon_status tenon_session_set_output(tenon_session* session, const char* output, void* data, size_t bytes);
TENON_C_API tenon_status tenon_session_run(tenon_session* session);
TENON_C_API tenon_status tenon_session_output(const tenon_session* session, const char* output, tenon_tensor* tensor);
/* Times layers from now on (anything but 0), or no more. */
TENON_C_API tenon_status tenon_session_set_profiling(tenon_session* session, int on);
/* The layers in order of execution; none when profiling is off. The array is the session's. */
TENON_C_API tenon_status tenon_session_layers(tenon_session* session, const tenon_layer_time** layers, size_t* count);

#ifdef __cplusplus
}
#endif

#endif /* TENON_TENON_H */
