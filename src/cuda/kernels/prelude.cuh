// What every kernel builds on: types, conversions, vector loads, the functions that elementwise.def's expressions call,
// and thin names over the instructions. No header of the toolkit is needed: NVRTC alone compiles this.
#pragma once

typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;
typedef long long i64;

#define TENON_INLINE __device__ __forceinline__
#define UNROLL _Pragma("unroll")

struct half_t {
  u16 bits;
};
struct bf16_t {
  u16 bits;
};

// ---- Conversions: everything computes in float.

TENON_INLINE float to_float(float x) { return x; }
TENON_INLINE float to_float(half_t x) {
  float y;
  asm("cvt.f32.f16 %0, %1;" : "=f"(y) : "h"(x.bits));
  return y;
}
TENON_INLINE float to_float(bf16_t x) { return __uint_as_float(u32(x.bits) << 16); }
TENON_INLINE float to_float(double x) { return float(x); }
TENON_INLINE float to_float(bool x) { return x ? 1.0f : 0.0f; }
TENON_INLINE float to_float(signed char x) { return float(x); }
TENON_INLINE float to_float(u8 x) { return float(x); }
TENON_INLINE float to_float(short x) { return float(x); }
TENON_INLINE float to_float(u16 x) { return float(x); }
TENON_INLINE float to_float(int x) { return float(x); }
TENON_INLINE float to_float(u32 x) { return float(x); }
TENON_INLINE float to_float(i64 x) { return float(x); }
TENON_INLINE float to_float(u64 x) { return float(x); }

template <class T>
struct From;
template <>
struct From<float> {
  static TENON_INLINE float make(float x) { return x; }
};
template <>
struct From<half_t> {
  static TENON_INLINE half_t make(float x) {
    half_t y;
    asm("cvt.rn.f16.f32 %0, %1;" : "=h"(y.bits) : "f"(x));
    return y;
  }
};
template <>
struct From<bf16_t> {
  static TENON_INLINE bf16_t make(float x) {
    bf16_t y;
#if __CUDA_ARCH__ >= 800
    asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(y.bits) : "f"(x));
#else
    u32 b = __float_as_uint(x);
    y.bits = x != x ? u16(0x7fc0) : u16((b + 0x7fff + ((b >> 16) & 1)) >> 16);
#endif
    return y;
  }
};
template <>
struct From<double> {
  static TENON_INLINE double make(float x) { return double(x); }
};
template <>
struct From<bool> {
  static TENON_INLINE bool make(float x) { return x != 0.0f; }
};
// Integers: towards zero, saturating (what cvt.rzi.sat does); NaN gives 0.
#define TENON_FROM_INT(type, lo, hi, wide) \
  template <> \
  struct From<type> { \
    static TENON_INLINE type make(float x) { return x != x ? (type)0 : x <= lo ? (type)lo : x >= hi ? (type)hi : (type)(wide)x; } \
  };
TENON_FROM_INT(signed char, -128.0f, 127.0f, int)
TENON_FROM_INT(u8, 0.0f, 255.0f, int)
TENON_FROM_INT(short, -32768.0f, 32767.0f, int)
TENON_FROM_INT(u16, 0.0f, 65535.0f, int)
TENON_FROM_INT(int, -2147483648.0f, 2147483520.0f, int)
TENON_FROM_INT(u32, 0.0f, 4294967040.0f, u32)
TENON_FROM_INT(i64, -9223372036854775808.0f, 9223371487098961920.0f, i64)
TENON_FROM_INT(u64, 0.0f, 18446742974197923840.0f, u64)
#undef TENON_FROM_INT

// ---- Vectors of elements, loaded and stored with one instruction where they are at most 16 bytes.

template <class T, int V>
struct alignas(sizeof(T) * V > 16 ? 16 : sizeof(T) * V) Pack {
  T x[V];
};

template <int V, class T>
TENON_INLINE void load(float (&to)[V], const T* from) {
  Pack<T, V> p = *reinterpret_cast<const Pack<T, V>*>(from);
  UNROLL for (int i = 0; i < V; ++i) to[i] = to_float(p.x[i]);
}
template <int V, class T>
TENON_INLINE void load_one(float (&to)[V], const T* from) {
  float x = to_float(*from);
  UNROLL for (int i = 0; i < V; ++i) to[i] = x;
}
template <int V, class T>
TENON_INLINE void store(T* to, const float (&from)[V]) {
  Pack<T, V> p;
  UNROLL for (int i = 0; i < V; ++i) p.x[i] = From<T>::make(from[i]);
  *reinterpret_cast<Pack<T, V>*>(to) = p;
}

// ---- What the expressions of elementwise.def call, with T = float.

namespace ew {
TENON_INLINE float select(bool c, float a, float b) { return c ? a : b; }
#if __CUDA_ARCH__ >= 800
TENON_INLINE float max(float a, float b) {
  float y;
  asm("max.NaN.f32 %0, %1, %2;" : "=f"(y) : "f"(a), "f"(b));
  return y;
}
TENON_INLINE float min(float a, float b) {
  float y;
  asm("min.NaN.f32 %0, %1, %2;" : "=f"(y) : "f"(a), "f"(b));
  return y;
}
#else
TENON_INLINE float max(float a, float b) { return (a > b) | (a != a) ? a : b; }
TENON_INLINE float min(float a, float b) { return (a < b) | (a != a) ? a : b; }
#endif
TENON_INLINE float abs(float x) { return ::fabsf(x); }
TENON_INLINE float fma(float a, float b, float c) { return ::fmaf(a, b, c); }
TENON_INLINE float fmod(float a, float b) { return ::fmodf(a, b); }
TENON_INLINE float mod(float a, float b) {
  float r = ::fmodf(a, b);
  return r != 0.0f && (r < 0.0f) != (b < 0.0f) ? r + b : r;
}
TENON_INLINE float pow(float a, float b) { return ::powf(a, b); }
TENON_INLINE float floor(float x) { return ::floorf(x); }
TENON_INLINE float ceil(float x) { return ::ceilf(x); }
TENON_INLINE float trunc(float x) { return ::truncf(x); }
TENON_INLINE float rint(float x) { return ::rintf(x); }
TENON_INLINE float sqrt(float x) { return ::sqrtf(x); }
#ifdef TENON_FAST
TENON_INLINE float exp(float x) { return __expf(x); }
TENON_INLINE float log(float x) { return __logf(x); }
#else
TENON_INLINE float exp(float x) { return ::expf(x); }
TENON_INLINE float log(float x) { return ::logf(x); }
#endif
TENON_INLINE float expm1(float x) { return ::expm1f(x); }
TENON_INLINE float log1p(float x) { return ::log1pf(x); }
TENON_INLINE float erf(float x) { return ::erff(x); }
TENON_INLINE float sin(float x) { return ::sinf(x); }
TENON_INLINE float cos(float x) { return ::cosf(x); }
TENON_INLINE float tan(float x) { return ::tanf(x); }
TENON_INLINE float asin(float x) { return ::asinf(x); }
TENON_INLINE float acos(float x) { return ::acosf(x); }
TENON_INLINE float atan(float x) { return ::atanf(x); }
TENON_INLINE float sinh(float x) { return ::sinhf(x); }
TENON_INLINE float cosh(float x) { return ::coshf(x); }
TENON_INLINE float tanh(float x) { return ::tanhf(x); }
TENON_INLINE float asinh(float x) { return ::asinhf(x); }
TENON_INLINE float acosh(float x) { return ::acoshf(x); }
TENON_INLINE float atanh(float x) { return ::atanhf(x); }
// What only tapes have.
TENON_INLINE float round_half(float x) { return to_float(From<half_t>::make(x)); }
TENON_INLINE float round_bf16(float x) { return to_float(From<bf16_t>::make(x)); }
TENON_INLINE float clamp_trunc(float x, float lo, float hi) { return x != x ? 0.0f : ::truncf(::fminf(::fmaxf(x, lo), hi)); }
TENON_INLINE float quantize(float x, float scale, float zero, float lo, float hi) {
  return ::fminf(::fmaxf(::rintf(x / scale) + zero, lo), hi);
}
TENON_INLINE float dequantize(float x, float scale, float zero) { return (x - zero) * scale; }
}  // namespace ew

/// Pointers that a kernel's generated part reads and writes.
struct Operands {
  const void* in[16];
  void* out[8];
};

// ---- Programmatic launch: begin the successor early, wait for the predecessor's results late.

TENON_INLINE void launch_next() {
#if __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.launch_dependents;" ::: "memory");
#endif
}
TENON_INLINE void wait_previous() {
#if __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.wait;" ::: "memory");
#endif
}

// ---- Shared memory and asynchronous copies.

TENON_INLINE u32 shared_address(const void* p) { return u32(__cvta_generic_to_shared(p)); }

/// Copies BYTES (4, 8 or 16) from global to shared memory; zeros when `valid` is false (`from` must still be an address
/// that may be formed).
template <int BYTES>
TENON_INLINE void copy_async(u32 to, const void* from, bool valid) {
#if __CUDA_ARCH__ >= 800
  int size = valid ? BYTES : 0;
  if constexpr (BYTES == 16) {
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(to), "l"(from), "r"(size) : "memory");
  } else {
    asm volatile("cp.async.ca.shared.global [%0], [%1], %2, %3;" ::"r"(to), "l"(from), "n"(BYTES), "r"(size) : "memory");
  }
#else
  UNROLL for (int i = 0; i < BYTES; i += 4) {
    u32 x = valid ? *reinterpret_cast<const u32*>(static_cast<const char*>(from) + i) : 0;
    asm volatile("st.shared.u32 [%0], %1;" ::"r"(to + i), "r"(x) : "memory");
  }
#endif
}
TENON_INLINE void copy_commit() {
#if __CUDA_ARCH__ >= 800
  asm volatile("cp.async.commit_group;" ::: "memory");
#endif
}
template <int LEFT>
TENON_INLINE void copy_wait() {
#if __CUDA_ARCH__ >= 800
  asm volatile("cp.async.wait_group %0;" ::"n"(LEFT) : "memory");
#endif
}

TENON_INLINE void load_matrices(u32 (&r)[4], u32 address) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"(address));
}
TENON_INLINE void load_matrices_transposed(u32 (&r)[4], u32 address) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"(address));
}

// ---- Matrix instructions on registers: a 16 x 32-byte strip of A (row-major) times an 8 x 32-byte strip of B (both along
// K), added to 16 x 8 floats. One 32-byte strip is K = 16 halves or 8 floats.

TENON_INLINE void mma_half(float (&c)[4], const u32 (&a)[4], u32 b0, u32 b1) {
#if __CUDA_ARCH__ >= 800
  asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
               : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
               : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
#else
  asm volatile("mma.sync.aligned.m16n8k8.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5}, {%6}, {%0,%1,%2,%3};"
               : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
               : "r"(a[0]), "r"(a[1]), "r"(b0));
  asm volatile("mma.sync.aligned.m16n8k8.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5}, {%6}, {%0,%1,%2,%3};"
               : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
               : "r"(a[2]), "r"(a[3]), "r"(b1));
#endif
}
#if __CUDA_ARCH__ >= 800
TENON_INLINE void mma_bf16(float (&c)[4], const u32 (&a)[4], u32 b0, u32 b1) {
  asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
               : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
               : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}
TENON_INLINE u32 round_tf32(u32 x) {
  u32 y;
  asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(y) : "f"(__uint_as_float(x)));
  return y;
}
TENON_INLINE void mma_tf32(float (&c)[4], const u32 (&a)[4], u32 b0, u32 b1) {
  asm volatile("mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
               : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
               : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}
#endif

// ---- Clusters (sm_90 and later).

#if __CUDA_ARCH__ >= 900
TENON_INLINE u32 cluster_rank() {
  u32 rank;
  asm volatile("mov.u32 %0, %%cluster_ctarank;" : "=r"(rank));
  return rank;
}
TENON_INLINE void cluster_barrier() {
  asm volatile("barrier.cluster.arrive.release.aligned;\nbarrier.cluster.wait.acquire.aligned;" ::: "memory");
}
/// Address of the same shared variable in another block of the cluster.
TENON_INLINE u32 peer_address(u32 address, u32 rank) {
  u32 peer;
  asm volatile("mapa.shared::cluster.u32 %0, %1, %2;" : "=r"(peer) : "r"(address), "r"(rank));
  return peer;
}
TENON_INLINE void load_peer(float (&to)[4], u32 address) {
  asm volatile("ld.shared::cluster.v4.f32 {%0, %1, %2, %3}, [%4];"
               : "=f"(to[0]), "=f"(to[1]), "=f"(to[2]), "=f"(to[3])
               : "r"(address)
               : "memory");
}
#endif
