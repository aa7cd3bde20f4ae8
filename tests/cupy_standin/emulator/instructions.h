// The functions of instructions.cu, and the collective operations of a warp.
#pragma once
#include "threads.h"

#define SHARED_MEMORY(type, name) type* name = reinterpret_cast<type*>(emulator::shared_memory)

inline void __syncwarp(unsigned mask = 0xFFFFFFFFu, int line = __builtin_LINE()) {
    emulator::collective("__syncwarp", line, mask, nullptr, [](emulator::Thread**) {});
}

namespace emulator {
template <class T> struct Shuffle { T value, result; int source; };

// The lane whose value is taken may be outside the mask, or not exist: then the value is undefined, here poison.
template <class T> T shuffle(const char* operation, int line, unsigned mask, T value, int source) {
    static_assert(sizeof(T) == 4 || sizeof(T) == 8);
    Shuffle<T> own{value, value, source};
    collective(operation, line, mask, &own, [](Thread** lanes) {
        for (int i = 0; i < 32; ++i) {
            if (!lanes[i]) continue;
            auto& taker = *static_cast<Shuffle<T>*>(lanes[i]->data);
            Thread* giver = lanes[taker.source];
            if (giver) taker.result = static_cast<Shuffle<T>*>(giver->data)->value;
            else memset(&taker.result, POISON, sizeof(T));
        }
    });
    return own.result;
}
inline int lane() { return current->number & 31; }
inline int segment(int width) { return lane() & ~(width - 1); }
}  // namespace emulator

template <class T>
T __shfl_sync(unsigned mask, T value, int source, int width = 32, int line = __builtin_LINE()) {
    return emulator::shuffle("__shfl_sync", line, mask, value, emulator::segment(width) + (source & (width - 1)));
}
template <class T>
T __shfl_up_sync(unsigned mask, T value, unsigned steps, int width = 32, int line = __builtin_LINE()) {
    int lane = emulator::lane(), source = lane - int(steps);
    return emulator::shuffle("__shfl_up_sync", line, mask, value, source < emulator::segment(width) ? lane : source);
}
template <class T>
T __shfl_down_sync(unsigned mask, T value, unsigned steps, int width = 32, int line = __builtin_LINE()) {
    int lane = emulator::lane(), source = lane + int(steps), end = emulator::segment(width) + width;
    return emulator::shuffle("__shfl_down_sync", line, mask, value, source >= end ? lane : source);
}
template <class T>
T __shfl_xor_sync(unsigned mask, T value, int bits, int width = 32, int line = __builtin_LINE()) {
    int lane = emulator::lane(), source = lane ^ bits, end = emulator::segment(width) + width;
    return emulator::shuffle("__shfl_xor_sync", line, mask, value, source >= end ? lane : source);
}

typedef unsigned short half_bits;

// Every half is a float. A NaN becomes the canonical one, as cvt.f32.f16 has it.
inline float half_to_float(half_bits half) {
    unsigned sign = unsigned(half & 0x8000) << 16, exponent = half >> 10 & 31, fraction = half & 1023;
    if (exponent == 31) return __uint_as_float(fraction ? 0x7FFFFFFFu : sign | 0x7F800000u);
    if (exponent) return __uint_as_float(sign | (exponent + 112) << 23 | fraction << 13);
    float size = float(fraction) * 0x1p-24f;
    return sign ? -size : size;
}

// Rounds to the nearest, ties to even; from 65520 on to infinity; subnormal below 2^-14.
inline half_bits float_to_half(float value) {
    unsigned bits = __float_as_uint(value), sign = bits >> 16 & 0x8000, size = bits & 0x7FFFFFFF;
    if (size > 0x7F800000) return 0x7FFF;
    if (size >= 0x477FF000) return half_bits(sign | 0x7C00);
    if (size >= 0x38800000) return half_bits(sign | (size - 0x38000000 + 0xFFF + (size >> 13 & 1)) >> 13);
    // Adding 1/2 leaves the sum with a last place of 2^-24, that of the subnormal halves.
    return half_bits(sign | (__float_as_uint(__uint_as_float(size) + 0.5f) - 0x3F000000));
}

inline float value(float element) { return element; }
inline float value(half_bits element) { return half_to_float(element); }
inline void store(float* place, float number) { *place = number; }
inline void store(half_bits* place, float number) { *place = float_to_half(number); }

// Rounds to 10 bits behind the point, ties away from zero.
inline unsigned to_tf32(float number) {
    unsigned bits = __float_as_uint(number);
    if ((bits & 0x7FFFFFFF) > 0x7F800000) return 0x7FFFFFFF;
    return (bits & 0x7F800000) == 0x7F800000 ? bits : (bits + 0x1000) & ~0x1FFFu;
}

inline void copy_async(void* shared, const void* global, int bytes, int line = __builtin_LINE()) {
    using namespace emulator;
    char* to = static_cast<char*>(shared);
    if (to < shared_memory || to + 16 > shared_memory + shared_bytes)
        fail("copy_async at line %d writes to byte %ld of %d bytes of shared memory", line, long(to - shared_memory),
             shared_bytes);
    if ((uintptr_t(shared) | uintptr_t(global)) & 15)
        fail("copy_async at line %d: byte %ld of shared memory or the address %p is no multiple of 16", line,
             long(to - shared_memory), global);
    if (bytes < 0 || bytes > 16) fail("copy_async at line %d: %d bytes, expected 0 to 16", line, bytes);
    Copy copy{to, static_cast<const char*>(global), bytes, current->group};
    if (chance.below(3) == 0) land(copy);
    else current->copies.push_back(copy);
}
inline void copy_commit() { ++emulator::current->group; }
template <int groups> void copy_wait() {
    emulator::land_groups(*emulator::current, emulator::current->group - groups);
}

namespace emulator {
struct Fragments { float* d; const unsigned *a, *b; };

// D (16, 8) += A (16, depth) B (depth, 8), each lane holding the elements that the PTX ISA gives it. `packed`
// elements of A and B lie in one register. The sums run over the depth upwards, each rounded to float; tensor cores
// sum in another order, with bits cut off.
template <int depth, int packed, float (*element)(unsigned bits, int which)>
__attribute__((optimize("O3"), no_sanitize("undefined"))) void multiply(Thread** lanes) {
    __attribute__((uninitialized)) float a[16][depth], b[depth][8], d[16][8];
    for (int i = 0; i < 32; ++i) {
        auto& own = *static_cast<Fragments*>(lanes[i]->data);
        int group = i / 4, member = i % 4;
        for (int which = 0; which < packed; ++which) {
            int k = member * packed + which;
            for (int r = 0; r < 4; ++r) a[group + r % 2 * 8][k + r / 2 * depth / 2] = element(own.a[r], which);
            for (int r = 0; r < 2; ++r) b[k + r * depth / 2][group] = element(own.b[r], which);
        }
        for (int r = 0; r < 4; ++r) d[group + r / 2 * 8][member * 2 + r % 2] = own.d[r];
    }
    for (int row = 0; row < 16; ++row)
        for (int k = 0; k < depth; ++k)
            for (int column = 0; column < 8; ++column) d[row][column] += a[row][k] * b[k][column];
    for (int i = 0; i < 32; ++i)
        for (int r = 0; r < 4; ++r)
            static_cast<Fragments*>(lanes[i]->data)->d[r] = d[i / 4 + r / 2 * 8][i % 4 * 2 + r % 2];
}
// The 13 bits that tf32 lacks are ignored.
inline float tf32_element(unsigned bits, int) { return __uint_as_float(bits & ~0x1FFFu); }
inline float half_element(unsigned bits, int which) { return half_to_float(half_bits(bits >> 16 * which)); }

inline void multiply(const char* name, int line, Fragments own, void (*complete)(Thread**)) {
    if ((unsigned(current->number) | 31) >= threads.size()) fail("%s at line %d: the warp is not whole", name, line);
    collective(name, line, 0xFFFFFFFFu, &own, complete);
}
}  // namespace emulator

inline void multiply_tf32(float (&d)[4], const unsigned (&a)[4], const unsigned (&b)[2], int line = __builtin_LINE()) {
    using namespace emulator;
    multiply("multiply_tf32", line, {d, a, b}, multiply<8, 1, tf32_element>);
}
inline void multiply_half(float (&d)[4], const unsigned (&a)[4], const unsigned (&b)[2], int line = __builtin_LINE()) {
    using namespace emulator;
    multiply("multiply_half", line, {d, a, b}, multiply<16, 2, half_element>);
}
