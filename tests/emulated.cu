// Kernels for test_emulator.py. Of each pair, NAME is right, and NAME_without_... lacks something that must be missed.

// Each block sums, over 4 rounds, its part of x turned around.
#define REVERSED_SUMS(NAME, AFTER_WRITE, AFTER_READ)                                  \
    extern "C" __global__ void NAME(const float* __restrict__ x, float* __restrict__ y) { \
        SHARED_MEMORY(float, part);                                                   \
        float sum = 0;                                                                \
        for (int round = 0; round < 4; ++round) {                                     \
            part[threadIdx.x] = x[(blockIdx.x * 4 + round) * blockDim.x + threadIdx.x]; \
            AFTER_WRITE;                                                              \
            sum += part[blockDim.x - 1 - threadIdx.x];                                \
            AFTER_READ;                                                               \
        }                                                                             \
        y[blockIdx.x * blockDim.x + threadIdx.x] = sum;                               \
    }
REVERSED_SUMS(reversed_sums, __syncthreads(), __syncthreads())
REVERSED_SUMS(reversed_sums_without_barrier_after_write, , __syncthreads())
REVERSED_SUMS(reversed_sums_without_barrier_after_read, __syncthreads(), )

// Each lane takes its neighbour's number through shared memory.
#define NEIGHBOURS(NAME, AFTER_WRITE)                                                 \
    extern "C" __global__ void NAME(const float* __restrict__ x, float* __restrict__ y) { \
        SHARED_MEMORY(float, all);                                                    \
        const int i = blockIdx.x * blockDim.x + threadIdx.x;                          \
        all[threadIdx.x] = x[i];                                                      \
        AFTER_WRITE;                                                                  \
        y[i] = all[threadIdx.x ^ 1];                                                  \
    }
NEIGHBOURS(neighbours, __syncwarp())
NEIGHBOURS(neighbours_without_syncwarp, )

// The same sums as reversed_sums; what the next round needs is on its way while this round is summed. Threads copy 4
// numbers each.
#define COPIED_SUMS(NAME, WAIT, AFTER_WAIT, AFTER_READ)                               \
    extern "C" __global__ void NAME(const float* __restrict__ x, float* __restrict__ y) { \
        SHARED_MEMORY(float, parts);                                                  \
        const int size = blockDim.x, first = blockIdx.x * 4 * size, mine = 4 * threadIdx.x; \
        float sum = 0;                                                                \
        if (mine < size) copy_async(parts + mine, x + first + mine, 16);              \
        copy_commit();                                                                \
        for (int round = 0; round < 4; ++round) {                                     \
            float* next = parts + (round + 1) % 2 * size;                             \
            if (round < 3 && mine < size) copy_async(next + mine, x + first + (round + 1) * size + mine, 16); \
            copy_commit();                                                            \
            WAIT;                                                                     \
            AFTER_WAIT;                                                               \
            sum += parts[round % 2 * size + size - 1 - threadIdx.x];                  \
            AFTER_READ;                                                               \
        }                                                                             \
        y[blockIdx.x * size + threadIdx.x] = sum;                                     \
    }
COPIED_SUMS(copied_sums, copy_wait<1>(), __syncthreads(), __syncthreads())
COPIED_SUMS(copied_sums_without_wait, , __syncthreads(), __syncthreads())
COPIED_SUMS(copied_sums_with_wait_for_too_few, copy_wait<2>(), __syncthreads(), __syncthreads())
COPIED_SUMS(copied_sums_without_barrier_after_wait, copy_wait<1>(), , __syncthreads())
COPIED_SUMS(copied_sums_without_barrier_after_read, copy_wait<1>(), __syncthreads(), )

// Sums of 32 numbers in shared memory, of which 31 are written.
extern "C" __global__ void sum_of_unwritten(const float* x, float* y) {
    SHARED_MEMORY(float, all);
    if (threadIdx.x > 0) all[threadIdx.x] = x[threadIdx.x];
    __syncthreads();
    float sum = 0;
    for (int i = 0; i < 32; ++i) sum += all[i];
    y[threadIdx.x] = sum;
}

// Sums 4 numbers in registers, of which 3 are set.
extern "C" __global__ void sum_of_unset(const float* x, float* y) {
    float own[4];
    for (int i = 0; i < 4; ++i)
        if (i != threadIdx.x % 4) own[i] = x[threadIdx.x];
    y[threadIdx.x] = own[0] + own[1] + own[2] + own[3];
}

// What ends a launch, by `what`.
extern "C" __global__ void fails(float* x, int what, int one) {
    SHARED_MEMORY(float, all);
    const int i = threadIdx.x;
    int numbers[4] = {0, 1, 2, 3};
    if (what == 0 && i < 16) __syncthreads();
    if (what == 1) {
        if (i < 32) __syncthreads();
        else __syncthreads();
    }
    if (what == 2 && i % 2) x[i] = __shfl_xor_sync(0xffffffffu, x[i], 1);
    if (what == 3 && i < 40) __syncwarp(0xffu);
    if (what == 4) all[64] = 0;
    if (what == 5) *reinterpret_cast<float4*>(x + one) = make_float4(0, 0, 0, 0);
    if (what == 6) copy_async(all + one, x, 16);
    if (what == 7) copy_async(all, x + one, 16);
    if (what == 8) copy_async(all + 64, x, 16);
    if (what == 9) copy_async(all, x, 20 * one);
    if (what == 10) x[i] = float(numbers[4 * one]);
    if (what == 11) x[i] = float(0x7fffffff - 10 + 11 * one);
    if (what == 12) x[i] = float(i / (one - 1));
    if (what == 13) x[i] = float(1 << 32 * one);
    if (what == 14) *reinterpret_cast<float*>(16 * one) = 1;
    if (what == 15) x[-one] = 1;
    if (what == 16 && i < 16) {
        float d[4] = {};
        unsigned a[4] = {}, b[2] = {};
        multiply_tf32(d, a, b);
    }
}

extern "C" __global__ void shuffles(const float* x, int by, int width, float* y) {
    const float own = x[threadIdx.x];
    y[threadIdx.x] = __shfl_sync(0xffffffffu, own, by, width);
    y[32 + threadIdx.x] = __shfl_up_sync(0xffffffffu, own, by, width);
    y[64 + threadIdx.x] = __shfl_down_sync(0xffffffffu, own, by, width);
    y[96 + threadIdx.x] = __shfl_xor_sync(0xffffffffu, own, by, width);
}

// Half a warp sums; the other half does not take part.
extern "C" __global__ void half_a_warp(const float* x, float* y) {
    float sum = x[threadIdx.x];
    if (threadIdx.x < 16)
        for (int bit = 8; bit; bit /= 2) sum += __shfl_xor_sync(0xffffu, sum, bit);
    y[threadIdx.x] = sum;
}

extern "C" __global__ void conversions(const float* x, int n, half_bits* halves, unsigned* tf32) {
    for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < n; i += gridDim.x * blockDim.x) {
        store(halves + i, value(x[i]));
        tf32[i] = to_tf32(x[i]);
    }
}

extern "C" __global__ void from_halves(const half_bits* x, float* y) {
    const int i = blockIdx.x * blockDim.x + threadIdx.x;
    y[i] = value(x[i]);
}

// Registers of a warp, [lane][register].
extern "C" __global__ void multiply(const unsigned* a, const unsigned* b, float* d, int half) {
    unsigned own_a[4], own_b[2];
    float own_d[4];
    const int lane = threadIdx.x;
    for (int r = 0; r < 4; ++r) own_a[r] = a[lane * 4 + r], own_d[r] = d[lane * 4 + r];
    for (int r = 0; r < 2; ++r) own_b[r] = b[lane * 2 + r];
    if (half) multiply_half(own_d, own_a, own_b);
    else multiply_tf32(own_d, own_a, own_b);
    for (int r = 0; r < 4; ++r) d[lane * 4 + r] = own_d[r];
}

struct Size { int rows, columns; float scale; };

extern "C" __global__ void __launch_bounds__(2 * (32 + 32), 1) indices(Size size, int* __restrict__ y) {
    const int row = blockIdx.y * blockDim.y + threadIdx.y, column = blockIdx.x * blockDim.x + threadIdx.x;
    const int sample = blockIdx.z * blockDim.z + threadIdx.z;
    if (row < size.rows && column < size.columns)
        y[(sample * size.rows + row) * size.columns + column] = int(size.scale) * (100 * sample + 10 * row + column);
}

extern "C" __global__ void adds(const float* x, float* y, int n, int forgotten) {
    const int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < n && i != forgotten) y[i] = x[i] + 1;
}
