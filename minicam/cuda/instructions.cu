// Single instructions that C++ has no name for. Every other file of kernels follows this one in the same compilation.
//
// half_bits holds the 16 bits of an IEEE binary16 number: feature maps in half precision are stored so, and computed
// with in float.
#ifdef __CUDACC__

typedef unsigned short half_bits;

// Declares `type* name`: the shared memory of the block, aligned to 16 bytes, as large as the launch says.
#define SHARED_MEMORY(type, name)              \
    extern __shared__ uint4 shared_vectors[];  \
    type* const name = reinterpret_cast<type*>(shared_vectors)

__device__ __forceinline__ float half_to_float(half_bits x) {
    float y;
    asm("cvt.f32.f16 %0, %1;" : "=f"(y) : "h"(x));
    return y;
}

// Rounds to the nearest half, ties to even; beyond 65504 to infinity.
__device__ __forceinline__ half_bits float_to_half(float x) {
    half_bits y;
    asm("cvt.rn.f16.f32 %0, %1;" : "=h"(y) : "f"(x));
    return y;
}

// An element of feature maps, of either type.
__device__ __forceinline__ float value(float x) { return x; }
__device__ __forceinline__ float value(half_bits x) { return half_to_float(x); }
__device__ __forceinline__ void store(float* place, float x) { *place = x; }
__device__ __forceinline__ void store(half_bits* place, float x) { *place = float_to_half(x); }

// What follows needs compute capability 8.0; compilers' passes for the host see it too.
#if !defined(__CUDA_ARCH__) || __CUDA_ARCH__ >= 800

// The bits of x rounded to the nearest TF32 number (8 bits of exponent, 10 of mantissa), ties away from zero.
__device__ __forceinline__ unsigned to_tf32(float x) {
    unsigned y;
    asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(y) : "f"(x));
    return y;
}

// Starts to copy 16 bytes into shared memory: the first `bytes` of them from global memory, which alone are read, and
// zeros. Both addresses are multiples of 16.
__device__ __forceinline__ void copy_async(void* shared, const void* global, int bytes) {
    const unsigned address = static_cast<unsigned>(__cvta_generic_to_shared(shared));
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(address), "l"(global), "r"(bytes) : "memory");
}

// Closes the group of the copies that this thread has started since the last group.
__device__ __forceinline__ void copy_commit() { asm volatile("cp.async.commit_group;" ::: "memory"); }

// Waits until at most the N newest groups of this thread are still on their way.
template <int N>
__device__ __forceinline__ void copy_wait() {
    asm volatile("cp.async.wait_group %0;" ::"n"(N) : "memory");
}

// d (16 x 8) += a (16 x 8, TF32) b (8 x 8, TF32), by a whole warp. With g = lane / 4 and t = lane % 4, a thread holds
// a[g][t], a[g + 8][t], a[g][t + 4], a[g + 8][t + 4];  b[t][g], b[t + 4][g];
// d[g][2t], d[g][2t + 1], d[g + 8][2t], d[g + 8][2t + 1].
__device__ __forceinline__ void multiply_tf32(float (&d)[4], const unsigned (&a)[4], const unsigned (&b)[2]) {
    asm("mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
        "{%0, %1, %2, %3};"
        : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

// d (16 x 8) += a (16 x 16, half) b (16 x 8, half), by a whole warp. The places are those of multiply_tf32, with the
// pair of halves 2k, 2k + 1 (the lower bits hold 2k) for the element k.
__device__ __forceinline__ void multiply_half(float (&d)[4], const unsigned (&a)[4], const unsigned (&b)[2]) {
    asm("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
        "{%0, %1, %2, %3};"
        : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

#endif
#endif
