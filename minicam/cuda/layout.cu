// Reordering to channels-last, copying, and sums of feature maps.

#ifdef CHANNELS
// y[n, r, c, k] = scale[k] x[n, k, r - top, c - left] + offset[k] inside x, and 0 elsewhere.
//
// A block turns a tile of COLUMNS positions of a row and CHANNELS channels around in shared memory, so that both the
// loads along the columns and the stores along the channels are contiguous. The odd pitch of the tile spreads either
// direction over the banks.
constexpr int COLUMNS = 1024 / CHANNELS;

extern "C" __global__ void __launch_bounds__(256) to_channels_last(
    const float* __restrict__ x, Sizes x_sizes, OUTPUT* __restrict__ y, Sizes y_sizes, Pitches y_pitches,
    const float* __restrict__ scale, const float* __restrict__ offset, int top, int left) {
    SHARED_MEMORY(float, tile);  // [COLUMNS][CHANNELS + 1]
    const int n = int(blockIdx.x) / y_sizes.rows, r = int(blockIdx.x) % y_sizes.rows;
    const int first_column = int(blockIdx.y) * COLUMNS, first_channel = int(blockIdx.z) * CHANNELS;
    const int x_row = r - top;
    for (int i = threadIdx.x; i < COLUMNS * CHANNELS; i += blockDim.x) {
        const int k = first_channel + i / COLUMNS, x_column = first_column + i % COLUMNS - left;
        float element = 0;
        if (k < x_sizes.channels && 0 <= x_row && x_row < x_sizes.rows && 0 <= x_column && x_column < x_sizes.columns) {
            element = x[((n * x_sizes.channels + k) * x_sizes.rows + x_row) * x_sizes.columns + x_column];
            if (scale) element *= scale[k];
            if (offset) element += offset[k];
        }
        tile[i % COLUMNS * (CHANNELS + 1) + i / COLUMNS] = element;
    }
    __syncthreads();
    for (int i = threadIdx.x; i < COLUMNS * CHANNELS; i += blockDim.x) {
        const int c = first_column + i / CHANNELS, k = first_channel + i % CHANNELS;
        if (c < y_sizes.columns && k < y_sizes.channels)
            store(y + y_pitches.at(n, r, c) + k, tile[i / CHANNELS * (CHANNELS + 1) + i % CHANNELS]);
    }
}
#else
// y = scale[k] (x1 + x2 + x3) + offset[k], then max(y, 0) if `rectify`, and 0 where not mask > 0. What is null is left
// out.
extern "C" __global__ void __launch_bounds__(256) combine(
    const INPUT* __restrict__ x1, Pitches pitches1, const INPUT* __restrict__ x2, Pitches pitches2,
    const INPUT* __restrict__ x3, Pitches pitches3, const MASK* __restrict__ mask, Pitches mask_pitches,
    const float* __restrict__ scale, const float* __restrict__ offset, int rectify,
    OUTPUT* __restrict__ y, Sizes sizes, Pitches y_pitches) {
    const Item item = item_of<VECTOR>(sizes, sizes.channels);
    const int n = item.sample, r = item.row, c = item.column, k = item.channel;
    if (c >= sizes.columns) return;
    Vector<VECTOR> sum = load<VECTOR>(x1 + pitches1.at(n, r, c) + k);
    if (x2) add(sum, load<VECTOR>(x2 + pitches2.at(n, r, c) + k));
    if (x3) add(sum, load<VECTOR>(x3 + pitches3.at(n, r, c) + k));
#pragma unroll
    for (int j = 0; j < VECTOR; ++j) {
        if (scale && k + j < sizes.channels) sum.of[j] *= scale[k + j];
        if (offset && k + j < sizes.channels) sum.of[j] += offset[k + j];
        if (rectify) sum.of[j] = rectified(sum.of[j]);
    }
    if (mask) {
        const Vector<VECTOR> activity = load<VECTOR>(mask + mask_pitches.at(n, r, c) + k);
#pragma unroll
        for (int j = 0; j < VECTOR; ++j) sum.of[j] = activity.of[j] > 0 ? sum.of[j] : 0;
    }
    store(y + y_pitches.at(n, r, c) + k, sum, sizes.channels - k);
}
#endif
