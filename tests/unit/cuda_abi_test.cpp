// Our declarations of the driver's structures against the toolkit's header, where that is installed.
#include <gtest/gtest.h>

#include "cuda/driver_api.hpp"

#if __has_include(<cuda.h>)
#include <cuda.h>

namespace tenon::cuda {
namespace {

TEST(CudaAbi, OurDeclarationsAreTheToolkits) {
  static_assert(sizeof(LaunchConfig) == sizeof(CUlaunchConfig) && sizeof(LaunchAttribute) == sizeof(CUlaunchAttribute));
  static_assert(offsetof(LaunchConfig, stream) == offsetof(CUlaunchConfig, hStream));
  static_assert(offsetof(LaunchConfig, attributes) == offsetof(CUlaunchConfig, attrs));
  static_assert(offsetof(LaunchConfig, attribute_count) == offsetof(CUlaunchConfig, numAttrs));
  static_assert(offsetof(LaunchAttribute, value) == offsetof(CUlaunchAttribute, value));
  static_assert(sizeof(TensorMap) == sizeof(CUtensorMap) && sizeof(DevicePtr) == sizeof(CUdeviceptr));
  EXPECT_EQ(int{LaunchAttribute::kClusterDimension}, int{CU_LAUNCH_ATTRIBUTE_CLUSTER_DIMENSION});
  EXPECT_EQ(int{LaunchAttribute::kProgrammaticSerialization},
            int{CU_LAUNCH_ATTRIBUTE_PROGRAMMATIC_STREAM_SERIALIZATION});
  EXPECT_EQ(int(Attribute::kSharedPerBlock), int{CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN});
  EXPECT_EQ(int(FunctionAttribute::kNonPortableCluster), int{CU_FUNC_ATTRIBUTE_NON_PORTABLE_CLUSTER_SIZE_ALLOWED});
  EXPECT_EQ(int(FunctionAttribute::kDynamicShared), int{CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES});
}
}  // namespace
}  // namespace tenon::cuda
#endif
