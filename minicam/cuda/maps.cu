// Grad-CAM's maps from the activations of a layer, and resizing them to the image.

#ifdef VECTOR
// y[t, position] = sum over k of weights[t, k] x[t, position, k], for TARGETS targets that have x in common. LANES
// threads share a position, each of them with every LANES-th group of VECTOR channels.
constexpr int LANES = 8;

extern "C" __global__ void __launch_bounds__(256) weighted_sum(
    const float* __restrict__ weights, const INPUT* __restrict__ x, Sizes sizes, Pitches pitches,
    float* __restrict__ y) {
    const int position = int(blockIdx.x * (blockDim.x / LANES) + threadIdx.x / LANES), lane = threadIdx.x % LANES;
    const int positions = sizes.rows * sizes.columns, first_target = int(blockIdx.y) * TARGETS;
    const int targets = min(TARGETS, sizes.samples - first_target);
    float sum[TARGETS] = {};
    if (position < positions) {
        x += pitches.at(first_target, position / sizes.columns, position % sizes.columns);
        for (int k = lane * VECTOR; k < sizes.channels; k += LANES * VECTOR) {
            const Vector<VECTOR> element = load<VECTOR>(x + k);
#pragma unroll
            for (int t = 0; t < TARGETS; ++t) {
                if (t >= targets) continue;
                const Vector<VECTOR> weight = load<VECTOR>(weights + (first_target + t) * sizes.channels + k);
#pragma unroll
                for (int j = 0; j < VECTOR; ++j) sum[t] = fmaf(weight.of[j], element.of[j], sum[t]);
            }
        }
    }
#pragma unroll
    for (int t = 0; t < TARGETS; ++t) {
        for (int step = LANES / 2; step > 0; step /= 2) sum[t] += __shfl_xor_sync(~0u, sum[t], step);
        if (lane == 0 && position < positions && t < targets) y[(first_target + t) * positions + position] = sum[t];
    }
}
#else
struct Resizing {
    int rows, columns, new_rows, new_columns, row_taps, column_taps;
};

// y[t, i, j] = sum over a of row_weights[a, i] (sum over b of column_weights[b, j] x[t, row_indices[a, i],
// column_indices[b, j]]), with max(x, 0) in place of x if `rectify`.
extern "C" __global__ void __launch_bounds__(256) resize(
    const float* __restrict__ x, Resizing size, const int* __restrict__ row_indices,
    const float* __restrict__ row_weights, const int* __restrict__ column_indices,
    const float* __restrict__ column_weights, int rectify, float* __restrict__ y) {
    const int t = int(blockIdx.x) / size.new_rows, i = int(blockIdx.x) % size.new_rows;
    const int j = int(blockIdx.y * blockDim.x + threadIdx.x);
    if (j >= size.new_columns) return;
    x += t * size.rows * size.columns;
    float sum = 0;
    for (int a = 0; a < size.row_taps; ++a) {
        const float* __restrict__ row = x + row_indices[a * size.new_rows + i] * size.columns;
        float across = 0;
        for (int b = 0; b < size.column_taps; ++b) {
            const float element = row[column_indices[b * size.new_columns + j]];
            across = fmaf(column_weights[b * size.new_columns + j], rectify ? rectified(element) : element, across);
        }
        sum = fmaf(row_weights[a * size.new_rows + i], across, sum);
    }
    y[int(blockIdx.x) * size.new_columns + j] = sum;
}
#endif
