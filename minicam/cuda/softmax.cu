// Softmax over the channels of each position, the label that goes with it, and the adjoint.
//
//     y[k] = exp(x[k] - largest x) / sum over j of exp(x[j] - largest x)
//     dx[k] = y[k] (seed[k] - sum over j of seed[j] y[j])
//
// The label is the first of the largest channels, or the first that is NaN.

// Whether x in channel k comes before `best` in channel `label` as the largest.
__device__ inline bool beats(float x, int k, float best, int label) {
    if (x != x || best != best) return x != x && (best == best || k < label);
    return x > best || (x == best && k < label);
}

#ifdef GROUPS
// Few channels: one thread for a position holds them all, in GROUPS groups of four.
struct Pixel {
    float of[4 * GROUPS];
};

// Four channels from 4 g on; what lies behind the last channel is undefined.
template <typename T> __device__ Vector<4> load_group(const T* __restrict__ from, int g, int channels) {
    if constexpr (VECTOR == 4) {
        return load<4>(from + 4 * g);
    } else {
        Vector<4> group = {};
#pragma unroll
        for (int j = 0; j < 4; ++j)
            if (4 * g + j < channels) group.of[j] = value(from[4 * g + j]);
        return group;
    }
}

__device__ void store_group(OUTPUT* __restrict__ to, int g, int channels, const Vector<4>& group) {
    if constexpr (VECTOR == 4) {
        store(to + 4 * g, group, channels - 4 * g);
    } else {
#pragma unroll
        for (int j = 0; j < 4; ++j)
            if (4 * g + j < channels) store(to + 4 * g + j, group.of[j]);
    }
}

// y: may be null.
__device__ void finish(Pixel& pixel, int channels, OUTPUT* __restrict__ y, unsigned char* __restrict__ label) {
    float largest = pixel.of[0], sum = 0;
    int first = 0;
#pragma unroll
    for (int k = 1; k < 4 * GROUPS; ++k)
        if (k < channels && beats(pixel.of[k], k, largest, first)) largest = pixel.of[k], first = k;
    if (label) *label = (unsigned char)first;
    if (!y) return;
#pragma unroll
    for (int k = 0; k < 4 * GROUPS; ++k)
        if (k < channels) sum += pixel.of[k] = expf(pixel.of[k] - largest);
    const float factor = 1 / sum;
#pragma unroll
    for (int g = 0; g < GROUPS; ++g) {
        Vector<4> group;
#pragma unroll
        for (int j = 0; j < 4; ++j) group.of[j] = factor * pixel.of[4 * g + j];
        store_group(y, g, channels, group);
    }
}

// labels (samples, rows, columns). y and labels may be null.
extern "C" __global__ void __launch_bounds__(256, 3) softmax(
    const INPUT* __restrict__ x, Pitches x_pitches, OUTPUT* __restrict__ y, Sizes sizes, Pitches y_pitches,
    unsigned char* __restrict__ labels) {
    const Item item = item_of<1>(sizes, 1);
    const int n = item.sample, r = item.row, c = item.column;
    if (c >= sizes.columns) return;
    x += x_pitches.at(n, r, c);
    Pixel pixel;
#pragma unroll
    for (int g = 0; g < GROUPS; ++g) {
        if (4 * g >= sizes.channels) continue;
        const Vector<4> group = load_group(x, g, sizes.channels);
#pragma unroll
        for (int j = 0; j < 4; ++j) pixel.of[4 * g + j] = group.of[j];
    }
    finish(pixel, sizes.channels, y ? y + y_pitches.at(n, r, c) : nullptr,
           labels ? labels + (n * sizes.rows + r) * sizes.columns + c : nullptr);
}

struct Upsampling {  // see upsampling.cu
    int tap_rows, tap_columns, row_stride, column_stride, row_cropping, column_cropping;
    int channel_pitch, tap_pitch;
};

// y = softmax(bias + sum over the inputs o and taps t with s o + t - p = i of w[t] x[o])
extern "C" __global__ void __launch_bounds__(256, 2) upsample_softmax(
    const INPUT* __restrict__ x, Sizes x_sizes, Pitches x_pitches, const float* __restrict__ weight, Upsampling u,
    const float* __restrict__ bias, OUTPUT* __restrict__ y, Sizes y_sizes, Pitches y_pitches,
    unsigned char* __restrict__ labels) {
    const Item item = item_of<1>(y_sizes, 1);
    const int n = item.sample, channels = y_sizes.channels;
    if (item.column >= y_sizes.columns) return;
    const Reach rows = reach(item.row + u.row_cropping, u.tap_rows, u.row_stride, x_sizes.rows);
    const Reach columns = reach(item.column + u.column_cropping, u.tap_columns, u.column_stride, x_sizes.columns);
    Pixel pixel;
#pragma unroll
    for (int k = 0; k < 4 * GROUPS; ++k) pixel.of[k] = bias && k < channels ? bias[k] : 0;
    for (int r = rows.first; r <= rows.last; ++r)
        for (int c = columns.first; c <= columns.last; ++c) {
            const int t = (item.row + u.row_cropping - u.row_stride * r) * u.tap_columns
                        + item.column + u.column_cropping - u.column_stride * c;
            const float* __restrict__ tap = weight + t * u.tap_pitch;
            const INPUT* __restrict__ from = x + x_pitches.at(n, r, c);
#pragma unroll
            for (int g = 0; g < GROUPS; ++g) {
                if (4 * g >= channels) continue;
                const Vector<4> group = load_group(from, g, channels);
#pragma unroll
                for (int j = 0; j < 4; ++j) {
                    const int k = 4 * g + j;
                    if (k < channels) pixel.of[k] = fmaf(tap[k * u.channel_pitch], group.of[j], pixel.of[k]);
                }
            }
        }
    finish(pixel, channels, y + y_pitches.at(n, item.row, item.column),
           labels ? labels + (n * y_sizes.rows + item.row) * y_sizes.columns + item.column : nullptr);
}

extern "C" __global__ void __launch_bounds__(256, 3) softmax_adjoint(
    const INPUT* __restrict__ y, Pitches y_pitches, const float* __restrict__ seed, Pitches seed_pitches,
    OUTPUT* __restrict__ dx, Sizes sizes, Pitches dx_pitches) {
    const Item item = item_of<1>(sizes, 1);
    const int n = item.sample, r = item.row, c = item.column, channels = sizes.channels;
    if (c >= sizes.columns) return;
    y += y_pitches.at(n, r, c);
    seed += seed_pitches.at(n, r, c);
    Pixel pixel;
    float sum = 0;
#pragma unroll
    for (int g = 0; g < GROUPS; ++g) {
        if (4 * g >= channels) continue;
        const Vector<4> group = load_group(y, g, channels);
#pragma unroll
        for (int j = 0; j < 4; ++j) {
            const int k = 4 * g + j;
            pixel.of[k] = group.of[j];
            if (k < channels) sum = fmaf(seed[k], pixel.of[k], sum);
        }
    }
#pragma unroll
    for (int g = 0; g < GROUPS; ++g) {
        Vector<4> group;
#pragma unroll
        for (int j = 0; j < 4; ++j) {
            const int k = 4 * g + j;
            group.of[j] = k < channels ? pixel.of[k] * (seed[k] - sum) : 0;
        }
        store_group(dx + dx_pitches.at(n, r, c), g, channels, group);
    }
}
#else
// Many channels: a warp for a position, each of its lanes for every 32nd channel.
struct Position {
    int sample, row, column;
};

__device__ inline Position position_of(const Sizes& sizes) {
    const int i = int(blockIdx.x * (blockDim.x / 32) + threadIdx.x / 32), row = i / sizes.columns;
    return {row / sizes.rows, row % sizes.rows, i % sizes.columns};
}

__device__ inline float warp_sum(float x) {
    for (int step = 16; step > 0; step /= 2) x += __shfl_xor_sync(~0u, x, step);
    return x;
}

extern "C" __global__ void __launch_bounds__(128) softmax_many(
    const INPUT* __restrict__ x, Pitches x_pitches, OUTPUT* __restrict__ y, Sizes sizes, Pitches y_pitches,
    unsigned char* __restrict__ labels) {
    const int lane = threadIdx.x % 32;
    const Position at = position_of(sizes);
    if (at.sample >= sizes.samples) return;
    x += x_pitches.at(at.sample, at.row, at.column);
    float largest = minus_infinity(), sum = 0;
    int first = sizes.channels;
    for (int k = lane; k < sizes.channels; k += 32) {
        const float element = value(x[k]);
        if (beats(element, k, largest, first)) largest = element, first = k;
    }
    for (int step = 16; step > 0; step /= 2) {
        const float other = __shfl_xor_sync(~0u, largest, step);
        const int k = __shfl_xor_sync(~0u, first, step);
        if (beats(other, k, largest, first)) largest = other, first = k;
    }
    if (labels && lane == 0)
        labels[(at.sample * sizes.rows + at.row) * sizes.columns + at.column] = (unsigned char)first;
    if (!y) return;
    for (int k = lane; k < sizes.channels; k += 32) sum += expf(value(x[k]) - largest);
    const float factor = 1 / warp_sum(sum);
    y += y_pitches.at(at.sample, at.row, at.column);
    for (int k = lane; k < sizes.channels; k += 32) store(y + k, factor * expf(value(x[k]) - largest));
}

extern "C" __global__ void __launch_bounds__(128) softmax_adjoint_many(
    const INPUT* __restrict__ y, Pitches y_pitches, const float* __restrict__ seed, Pitches seed_pitches,
    OUTPUT* __restrict__ dx, Sizes sizes, Pitches dx_pitches) {
    const int lane = threadIdx.x % 32;
    const Position at = position_of(sizes);
    if (at.sample >= sizes.samples) return;
    y += y_pitches.at(at.sample, at.row, at.column);
    seed += seed_pitches.at(at.sample, at.row, at.column);
    dx += dx_pitches.at(at.sample, at.row, at.column);
    float sum = 0;
    for (int k = lane; k < sizes.channels; k += 32) sum = fmaf(seed[k], value(y[k]), sum);
    sum = warp_sum(sum);
    for (int k = lane; k < sizes.channels; k += 32) store(dx + k, value(y[k]) * (seed[k] - sum));
}
#endif
