// conv2d: a 3x3 convolution, channels last, as a product whose left operand is gathered while it is staged.
// A row is an output pixel, K runs over (ky, kx, input channel). Forms: SAME (zero padding of one all round),
// UPSAMPLE (the same after doubling each side by nearest neighbour), DOWNSAMPLE (stride two, one zero right and bottom).
#import gemm_tile
#import store_each
#import weights

struct Params {
    rows: u32,   // images * out_height * out_width
    inner: u32,  // 9 * cin
    outer: u32,  // output channels
    cin: u32,
    height: u32, // of the input
    width: u32,
    out_height: u32,
    out_width: u32,
}
@group(0) @binding(0) var<uniform> params: Params;
#ifdef VEC4
@group(0) @binding(1) var<storage, read> x: array<vec4<f32>>;    // [images, height, width, cin / 4]
#else
@group(0) @binding(1) var<storage, read> x: array<f32>;          // [images, height, width, cin]
#endif
// binding 2: weight, [cout, padded(9 * cin)]
#ifdef BIAS
@group(0) @binding(3) var<storage, read> bias: array<f32>;       // [cout]
#endif
@group(0) @binding(4) var<storage, read_write> y: array<f32>;    // [images, out_height, out_width, cout]

// `first` is the first input pixel of the image; `top` and `left` are where the window begins, padding included.
struct Row { index: u32, inside: bool, first: u32, top: i32, left: i32 }

fn find_row(row: u32) -> Row {
    let line = row / params.out_width;
    let image = line / params.out_height;
#ifdef DOWNSAMPLE
    let top = i32(2u * (line % params.out_height));
    let left = i32(2u * (row % params.out_width));
#else
    let top = i32(line % params.out_height) - 1;
    let left = i32(row % params.out_width) - 1;
#endif
    return Row(row, row < params.rows, image * params.height * params.width, top, left);
}

// The input pixel under a tap (ky * 3 + kx) of a row's window; the second component is 0 in the padding.
fn pixel_at(row: Row, tap: u32) -> vec2<u32> {
    let iy = row.top + i32(tap / 3u);
    let ix = row.left + i32(tap % 3u);
#ifdef UPSAMPLE
    let height = 2 * i32(params.height);
    let width = 2 * i32(params.width);
#else
    let height = i32(params.height);
    let width = i32(params.width);
#endif
    if !row.inside || iy < 0 || ix < 0 || iy >= height || ix >= width {
        return vec2<u32>();
    }
#ifdef UPSAMPLE
    return vec2<u32>(row.first + u32(iy / 2) * params.width + u32(ix / 2), 1u);
#else
    return vec2<u32>(row.first + u32(iy) * params.width + u32(ix), 1u);
#endif
}

#ifdef VEC4
fn load_x(row: Row, k4: u32) -> vec4<f32> {
    let width = params.cin / 4u;
    if 4u * k4 < params.inner {
        let pixel = pixel_at(row, k4 / width);
        if pixel.y != 0u {
            return x[pixel.x * width + k4 % width];
        }
    }
    return vec4<f32>();
}
#else
fn element(row: Row, k: u32) -> f32 {
    if k < params.inner {
        let pixel = pixel_at(row, k / params.cin);
        if pixel.y != 0u {
            return x[pixel.x * params.cin + k % params.cin];
        }
    }
    return 0.0;
}

fn load_x(row: Row, k4: u32) -> vec4<f32> {
    let k = 4u * k4;
    return vec4<f32>(element(row, k), element(row, k + 1u), element(row, k + 2u), element(row, k + 3u));
}
#endif

fn load_w(column: u32, k4: u32) -> vec4<f32> {
    if column < params.outer && 4u * k4 < params.inner {
        return weight_at(column, k4);
    }
    return vec4<f32>();
}

fn store(row: Row, column: u32, sum: f32) {
    if !row.inside || column >= params.outer {
        return;
    }
    var value = sum;
#ifdef BIAS
    value += bias[column];
#endif
    let at = row.index * params.outer + column;
#ifdef ACCUMULATE
    value += y[at];
#endif
    y[at] = value;
}
