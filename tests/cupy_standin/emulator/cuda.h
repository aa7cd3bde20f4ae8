// What a CUDA source takes for granted, for g++: qualifiers, vector types, built-in functions.
// `__shared__` is not defined on purpose: our kernels take shared memory through SHARED_MEMORY only.
#pragma once
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <utility>

#define __CUDA_ARCH__ 900
#define __global__
#define __device__
#define __host__
#define __constant__
#define __grid_constant__
#define __forceinline__ inline __attribute__((always_inline))
#define __noinline__ __attribute__((noinline))
#define __align__(bytes) alignas(bytes)
#define __launch_bounds__(...)

#define EMULATOR_VECTORS(scalar, name, bytes)                                                                          \
    struct alignas(2 * bytes) name##2 { scalar x, y; };                                                                \
    struct name##3 { scalar x, y, z; };                                                                                \
    struct alignas(4 * bytes) name##4 { scalar x, y, z, w; };                                                          \
    inline name##2 make_##name##2(scalar x, scalar y) { return {x, y}; }                                               \
    inline name##3 make_##name##3(scalar x, scalar y, scalar z) { return {x, y, z}; }                                  \
    inline name##4 make_##name##4(scalar x, scalar y, scalar z, scalar w) { return {x, y, z, w}; }
EMULATOR_VECTORS(signed char, char, 1)
EMULATOR_VECTORS(unsigned char, uchar, 1)
EMULATOR_VECTORS(short, short, 2)
EMULATOR_VECTORS(unsigned short, ushort, 2)
EMULATOR_VECTORS(int, int, 4)
EMULATOR_VECTORS(unsigned, uint, 4)
EMULATOR_VECTORS(float, float, 4)

struct dim3 { unsigned x = 1, y = 1, z = 1; };
inline uint3 threadIdx, blockIdx;
inline dim3 blockDim, gridDim;
constexpr int warpSize = 32;

#define EMULATOR_LEAST_AND_MOST(common, left, right)                                                                   \
    constexpr common min(left a, right b) { return (common)b < (common)a ? b : a; }                                    \
    constexpr common max(left a, right b) { return (common)a < (common)b ? b : a; }
EMULATOR_LEAST_AND_MOST(int, int, int)
EMULATOR_LEAST_AND_MOST(unsigned, unsigned, unsigned)
EMULATOR_LEAST_AND_MOST(unsigned, int, unsigned)
EMULATOR_LEAST_AND_MOST(unsigned, unsigned, int)
EMULATOR_LEAST_AND_MOST(long, long, long)
EMULATOR_LEAST_AND_MOST(long long, long long, long long)
EMULATOR_LEAST_AND_MOST(unsigned long, unsigned long, unsigned long)
EMULATOR_LEAST_AND_MOST(unsigned long long, unsigned long long, unsigned long long)
inline float min(float a, float b) { return fminf(a, b); }
inline float max(float a, float b) { return fmaxf(a, b); }
inline double min(double a, double b) { return fmin(a, b); }
inline double max(double a, double b) { return fmax(a, b); }

template <class To, class From> inline To emulator_bits(From value) {
    static_assert(sizeof(To) == sizeof(From));
    To result;
    memcpy(&result, &value, sizeof result);
    return result;
}
inline unsigned __float_as_uint(float value) { return emulator_bits<unsigned>(value); }
inline int __float_as_int(float value) { return emulator_bits<int>(value); }
inline float __uint_as_float(unsigned bits) { return emulator_bits<float>(bits); }
inline float __int_as_float(int bits) { return emulator_bits<float>(bits); }

template <class T> inline T __ldg(const T* address) { return *address; }
inline float rsqrtf(float x) { return 1.0f / sqrtf(x); }
inline float __expf(float x) { return expf(x); }
inline float __logf(float x) { return logf(x); }
inline float __fdividef(float a, float b) { return a / b; }
inline float __fmul_rn(float a, float b) { return a * b; }
inline float __fadd_rn(float a, float b) { return a + b; }
inline float __fsub_rn(float a, float b) { return a - b; }
inline float __fdiv_rn(float a, float b) { return a / b; }
inline float __frcp_rn(float a) { return 1.0f / a; }
inline float __fmaf_rn(float a, float b, float c) { return fmaf(a, b, c); }
inline int __float2int_rn(float x) { return int(nearbyintf(x)); }
inline int __float2int_rd(float x) { return int(floorf(x)); }
inline int __popc(unsigned x) { return __builtin_popcount(x); }
inline int __clz(int x) { return x ? __builtin_clz(unsigned(x)) : 32; }
inline int __ffs(int x) { return __builtin_ffs(x); }
inline int __mulhi(int a, int b) { return int((int64_t(a) * b) >> 32); }
inline unsigned __umulhi(unsigned a, unsigned b) { return unsigned((uint64_t(a) * b) >> 32); }
