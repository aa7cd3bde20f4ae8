// Transposed convolution of each channel alone, and its adjoint. With stride s, low cropping p, and for each axis
//
//     y[i]  = bias + sum over the inputs o and taps t with s o + t - p = i of w[t] x[o]
//     dx[o] = sum over the taps t of w[t] dy[s o + t - p]
//
// Both gather: each thread computes VECTOR channels of one result, and adds in the order of the inputs or taps.

struct Upsampling {
    int tap_rows, tap_columns, row_stride, column_stride, row_cropping, column_cropping;
    int channel_pitch, tap_pitch;  // of the weights; a channel pitch of 0 gives all channels the same
};

// sum += the weights of tap t times x, in channel k and the VECTOR - 1 after it.
__device__ void add_tap(Vector<VECTOR>& sum, const float* __restrict__ weight, const Upsampling& u, int t,
                        const INPUT* __restrict__ x, int k, int channels) {
    const Vector<VECTOR> element = load<VECTOR>(x + k);
    weight += k * u.channel_pitch + t * u.tap_pitch;
    if (u.channel_pitch) {
#pragma unroll
        for (int j = 0; j < VECTOR; ++j)
            if (k + j < channels) sum.of[j] = fmaf(weight[j * u.channel_pitch], element.of[j], sum.of[j]);
    } else {
        const float shared = weight[0];
#pragma unroll
        for (int j = 0; j < VECTOR; ++j) sum.of[j] = fmaf(shared, element.of[j], sum.of[j]);
    }
}

extern "C" __global__ void __launch_bounds__(256) upsample(
    const INPUT* __restrict__ x, Sizes x_sizes, Pitches x_pitches, const float* __restrict__ weight, Upsampling u,
    const float* __restrict__ bias, OUTPUT* __restrict__ y, Sizes y_sizes, Pitches y_pitches) {
    const Item item = item_of<VECTOR>(y_sizes, y_sizes.channels);
    const int n = item.sample, k = item.channel;
    if (item.column >= y_sizes.columns) return;
    const Reach rows = reach(item.row + u.row_cropping, u.tap_rows, u.row_stride, x_sizes.rows);
    const Reach columns = reach(item.column + u.column_cropping, u.tap_columns, u.column_stride, x_sizes.columns);
    Vector<VECTOR> sum;
#pragma unroll
    for (int j = 0; j < VECTOR; ++j) sum.of[j] = bias && k + j < y_sizes.channels ? bias[k + j] : 0;
    for (int r = rows.first; r <= rows.last; ++r)
        for (int c = columns.first; c <= columns.last; ++c) {
            const int t = (item.row + u.row_cropping - u.row_stride * r) * u.tap_columns
                        + item.column + u.column_cropping - u.column_stride * c;
            add_tap(sum, weight, u, t, x + x_pitches.at(n, r, c), k, y_sizes.channels);
        }
    store(y + y_pitches.at(n, item.row, item.column) + k, sum, y_sizes.channels - k);
}

extern "C" __global__ void __launch_bounds__(256, 3) upsample_adjoint(
    const INPUT* __restrict__ dy, Sizes dy_sizes, Pitches dy_pitches, const float* __restrict__ weight, Upsampling u,
    OUTPUT* __restrict__ dx, Sizes dx_sizes, Pitches dx_pitches) {
    const Item item = item_of<VECTOR>(dx_sizes, dx_sizes.channels);
    const int n = item.sample, k = item.channel;
    if (item.column >= dx_sizes.columns) return;
    const int top = item.row * u.row_stride - u.row_cropping, left = item.column * u.column_stride - u.column_cropping;
    Vector<VECTOR> sum = {};
    for (int a = max(0, -top); a < min(u.tap_rows, dy_sizes.rows - top); ++a)
        for (int b = max(0, -left); b < min(u.tap_columns, dy_sizes.columns - left); ++b)
            add_tap(sum, weight, u, a * u.tap_columns + b, dy + dy_pitches.at(n, top + a, left + b), k,
                    dx_sizes.channels);
    store(dx + dx_pitches.at(n, item.row, item.column) + k, sum, dx_sizes.channels - k);
}
