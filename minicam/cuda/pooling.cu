// Max pooling and its adjoint. With stride s, dilation d, low padding p, output o sees input s o + d t - p at tap t:
//
//     y[o] = the largest x that o sees; padding is -infinity, and NaN is larger than all else
//     dx[i] = sum of dy[o] over the outputs o for which x[i] is the first that equals y[o]

struct Pooling {
    int tap_rows, tap_columns, row_stride, column_stride, row_dilation, column_dilation, row_padding, column_padding;
};

// The input at row r and column c of a sample, or -infinity in the padding.
__device__ Vector<VECTOR> element(const INPUT* __restrict__ x, const Sizes& sizes, const Pitches& pitches,
                                  int n, int r, int c, int channel) {
    if (0 <= r && r < sizes.rows && 0 <= c && c < sizes.columns) return load<VECTOR>(x + pitches.at(n, r, c) + channel);
    Vector<VECTOR> padding;
#pragma unroll
    for (int j = 0; j < VECTOR; ++j) padding.of[j] = minus_infinity();
    return padding;
}

#ifndef GRADIENT
extern "C" __global__ void __launch_bounds__(256) max_pool(
    const INPUT* __restrict__ x, Sizes x_sizes, Pitches x_pitches, Pooling p,
    INPUT* __restrict__ y, Sizes y_sizes, Pitches y_pitches) {
    const Item item = item_of<VECTOR>(y_sizes, y_sizes.channels);
    const int n = item.sample, k = item.channel;
    if (item.column >= y_sizes.columns) return;
    const int top = item.row * p.row_stride - p.row_padding, left = item.column * p.column_stride - p.column_padding;
    Vector<VECTOR> largest;
#pragma unroll
    for (int j = 0; j < VECTOR; ++j) largest.of[j] = minus_infinity();
    for (int a = 0; a < p.tap_rows; ++a)
        for (int b = 0; b < p.tap_columns; ++b) {
            const Vector<VECTOR> seen =
                element(x, x_sizes, x_pitches, n, top + a * p.row_dilation, left + b * p.column_dilation, k);
#pragma unroll
            for (int j = 0; j < VECTOR; ++j)
                if (seen.of[j] > largest.of[j] || seen.of[j] != seen.of[j]) largest.of[j] = seen.of[j];
        }
    store(y + y_pitches.at(n, item.row, item.column) + k, largest, y_sizes.channels - k);
}
#else
__device__ inline bool same(float a, float b) { return a == b || (a != a && b != b); }

// Channels as bits: those in which an output, whose first tap is at (top, left), sees `peak` before the tap `end`.
__device__ unsigned seen_before(int end, const Vector<VECTOR>& peak, const INPUT* __restrict__ x, const Sizes& sizes,
                                const Pitches& pitches, const Pooling& p, int n, int top, int left, int channel) {
    unsigned found = 0;
    for (int t = 0; t < end; ++t) {
        const Vector<VECTOR> seen = element(x, sizes, pitches, n, top + t / p.tap_columns * p.row_dilation,
                                            left + t % p.tap_columns * p.column_dilation, channel);
#pragma unroll
        for (int j = 0; j < VECTOR; ++j) found |= unsigned(same(seen.of[j], peak.of[j])) << j;
    }
    return found;
}

// The output that sees input i at a tap, along one axis; -1 if there is none.
__device__ inline int output_of(int i, int tap, int stride, int dilation, int padding, int outputs) {
    const int start = i + padding - dilation * tap;
    return start < 0 || start % stride || start / stride >= outputs ? -1 : start / stride;
}

extern "C" __global__ void __launch_bounds__(256) max_pool_adjoint(
    const INPUT* __restrict__ x, Sizes x_sizes, Pitches x_pitches, Pooling p,
    const INPUT* __restrict__ y, Sizes y_sizes, Pitches y_pitches,
    const GRADIENT* __restrict__ dy, Pitches dy_pitches, GRADIENT* __restrict__ dx, Pitches dx_pitches) {
    const Item item = item_of<VECTOR>(x_sizes, x_sizes.channels);
    const int n = item.sample, k = item.channel;
    if (item.column >= x_sizes.columns) return;
    const Vector<VECTOR> own = load<VECTOR>(x + x_pitches.at(n, item.row, item.column) + k);
    Vector<VECTOR> sum = {};
    for (int a = 0; a < p.tap_rows; ++a) {
        const int row = output_of(item.row, a, p.row_stride, p.row_dilation, p.row_padding, y_sizes.rows);
        if (row < 0) continue;
        for (int b = 0; b < p.tap_columns; ++b) {
            const int column = output_of(item.column, b, p.column_stride, p.column_dilation, p.column_padding,
                                         y_sizes.columns);
            if (column < 0) continue;
            const Vector<VECTOR> peak = load<VECTOR>(y + y_pitches.at(n, row, column) + k);
            unsigned wins = 0;
#pragma unroll
            for (int j = 0; j < VECTOR; ++j) wins |= unsigned(same(own.of[j], peak.of[j])) << j;
            if (!wins) continue;
            wins &= ~seen_before(a * p.tap_columns + b, peak, x, x_sizes, x_pitches, p, n,
                                 row * p.row_stride - p.row_padding, column * p.column_stride - p.column_padding, k);
            const Vector<VECTOR> gradient = load<VECTOR>(dy + dy_pitches.at(n, row, column) + k);
#pragma unroll
            for (int j = 0; j < VECTOR; ++j) sum.of[j] += wins >> j & 1 ? gradient.of[j] : 0;
        }
    }
    store(dx + dx_pitches.at(n, item.row, item.column) + k, sum, x_sizes.channels - k);
}
#endif
