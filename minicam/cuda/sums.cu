// Sums of feature maps over rectangles of positions, and sums of products, with few roundings and in a fixed order.
//
// A thread's own sum keeps what each addition rounds off (Ogita, Rump and Oishi, "Accurate sum and dot product",
// SIAM J. Sci. Comput. 26, 2005, algorithm 4.4), so that its error is one rounding however long the sum is.

struct Sum {
    float total = 0, rest = 0;

    __device__ void add(float x) {
        const float next = total + x, added = next - total;
        rest += (total - (next - added)) + (x - added);
        total = next;
    }
    __device__ float rounded() const { return total + rest; }
};

#ifdef VECTOR
constexpr int LANES = 32, SLOTS = 8;

// partial[n, r, j, k] = sum of x[n, r, c, k] over the columns c from bounds[j] to bounds[j + 1]: of the SLOTS rows of
// threads in a block, each takes every SLOTS-th column.
extern "C" __global__ void __launch_bounds__(LANES * SLOTS, 3) partial_sums(
    const INPUT* __restrict__ x, Sizes sizes, Pitches pitches, const int* __restrict__ bounds, int intervals,
    float* __restrict__ partial) {
    SHARED_MEMORY(float, sums);  // [SLOTS][LANES * VECTOR]
    const int n = int(blockIdx.x) / sizes.rows, r = int(blockIdx.x) % sizes.rows;
    const int lane = threadIdx.x % LANES, slot = threadIdx.x / LANES, k = (int(blockIdx.y) * LANES + lane) * VECTOR;
    for (int interval = 0; interval < intervals; ++interval) {
        Sum sum[VECTOR];
        if (k < sizes.channels)
#pragma unroll 4
            for (int c = bounds[interval] + slot; c < bounds[interval + 1]; c += SLOTS) {
                const Vector<VECTOR> element = load<VECTOR>(x + pitches.at(n, r, c) + k);
#pragma unroll
                for (int j = 0; j < VECTOR; ++j) sum[j].add(element.of[j]);
            }
#pragma unroll
        for (int j = 0; j < VECTOR; ++j) sums[(slot * LANES + lane) * VECTOR + j] = sum[j].rounded();
        __syncthreads();
        if (slot == 0 && k < sizes.channels) {
            float* const to = partial + (int(blockIdx.x) * intervals + interval) * sizes.channels + k;
#pragma unroll
            for (int j = 0; j < VECTOR; ++j) {
                Sum all;
                for (int s = 0; s < SLOTS; ++s) all.add(sums[(s * LANES + lane) * VECTOR + j]);
                if (k + j < sizes.channels) to[j] = all.rounded();
            }
        }
        __syncthreads();
    }
}
#else
struct Rectangle {
    int first_row, end_row, first_interval, end_interval;
};

// The sum of the values that the threads of a block with the same `lane` hold, in thread `lane` of slot 0.
__device__ float sum_of_slots(float* sums, float own, int lane, int lanes, int slots) {
    sums[threadIdx.x] = own;
    __syncthreads();
    Sum all;
    if (threadIdx.x == lane)
        for (int slot = 0; slot < slots; ++slot) all.add(sums[slot * lanes + lane]);
    return all.rounded();
}

// sums[n, i, k] = sum of partial[n, r, j, k] over the rows r and intervals j of rectangle i.
extern "C" __global__ void __launch_bounds__(256) rectangle_sums(
    const float* __restrict__ partial, int rows, int intervals, int channels,
    const Rectangle* __restrict__ rectangles, float* __restrict__ sums) {
    SHARED_MEMORY(float, shared);  // [blockDim.x]
    constexpr int LANES = 32, SLOTS = 8;
    const int lane = threadIdx.x % LANES, slot = threadIdx.x / LANES;
    const int i = blockIdx.x, k = int(blockIdx.y) * LANES + lane, n = blockIdx.z;
    const Rectangle rectangle = rectangles[i];
    Sum sum;
    if (k < channels)
        for (int j = rectangle.first_interval; j < rectangle.end_interval; ++j)
#pragma unroll 4
            for (int r = rectangle.first_row + slot; r < rectangle.end_row; r += SLOTS)
                sum.add(partial[((n * rows + r) * intervals + j) * channels + k]);
    const float total = sum_of_slots(shared, sum.rounded(), lane, LANES, SLOTS);
    if (slot == 0 && k < channels) sums[(n * int(gridDim.x) + i) * channels + k] = total;
}

// out[n, k] = sum over i of sums[n, i] weight[i, k]: a block for few columns k, so that there are many blocks. Products
// are rounded before they are added, so that `Sum` sees one number.
extern "C" __global__ void __launch_bounds__(512) product(
    const float* __restrict__ sums, const float* __restrict__ weight, int length, int columns,
    float* __restrict__ out) {
    SHARED_MEMORY(float, shared);  // [blockDim.x]
    constexpr int LANES = 8, SLOTS = 64;
    const int lane = threadIdx.x % LANES, slot = threadIdx.x / LANES;
    const int k = int(blockIdx.x) * LANES + lane, n = blockIdx.y;
    Sum sum;
    if (k < columns)
#pragma unroll 4
        for (int i = slot; i < length; i += SLOTS) sum.add(__fmul_rn(sums[n * length + i], weight[i * columns + k]));
    const float total = sum_of_slots(shared, sum.rounded(), lane, LANES, SLOTS);
    if (slot == 0 && k < columns) out[n * columns + k] = total;
}
#endif
