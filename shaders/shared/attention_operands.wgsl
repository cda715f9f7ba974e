// The parameters, bindings, loads and stores of attention.wgsl and attention_wide.wgsl. Twin: src/kernels/attention.rs.
// The operands may lie in one buffer, in two or in three; no buffer is bound twice.
#import result

struct Params {
    sequences: u32, key_sequences: u32, queries: u32, keys: u32,
    heads: u32, head_width: u32,
    query_offset: u32, query_stride: u32, key_offset: u32, key_stride: u32, value_offset: u32, value_stride: u32,
    scale: f32, unused0: u32, unused1: u32, unused2: u32,
}
#ifdef F16_OPERANDS
alias Operand = f16;
#else
alias Operand = f32;
#endif
#ifdef VEC4
alias Element = vec4<f32>; // the head's width and every offset and stride are multiples of four
alias HeldElement = vec4<Operand>;
alias HeldResult = vec4<Y>;
#else
alias Element = f32;
alias HeldElement = Operand;
alias HeldResult = Y;
#endif
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> query: array<HeldElement>;  // [sequences * queries, query_stride]
#ifndef KEY_IN_QUERY
@group(0) @binding(2) var<storage, read> key: array<HeldElement>;    // [key_sequences * keys, key_stride]
#endif
#ifndef VALUE_IN_QUERY
#ifndef VALUE_IN_KEY
@group(0) @binding(3) var<storage, read> value: array<HeldElement>;  // [key_sequences * keys, value_stride]
#endif
#endif
@group(0) @binding(4) var<storage, read_write> y: array<HeldResult>; // [sequences * queries, heads * head_width]

fn query_at(i: u32) -> Element {
    return Element(query[i]);
}
fn key_at(i: u32) -> Element {
#ifdef KEY_IN_QUERY
    return Element(query[i]);
#else
    return Element(key[i]);
#endif
}
fn value_at(i: u32) -> Element {
#ifdef VALUE_IN_QUERY
    return Element(query[i]);
#else
#ifdef VALUE_IN_KEY
    return Element(key[i]);
#else
    return Element(value[i]);
#endif
#endif
}

// Columns 4c..4c+4 of a head whose first column is element `start`; zero beyond its width.
#ifdef VEC4
fn load_query(start: u32, c: u32) -> vec4<f32> {
    return query_at(start / 4u + c);
}
fn load_key(start: u32, c: u32) -> vec4<f32> {
    return key_at(start / 4u + c);
}
fn load_value(start: u32, c: u32) -> vec4<f32> {
    return value_at(start / 4u + c);
}
fn store(start: u32, c: u32, v: vec4<f32>) {
    y[start / 4u + c] = HeldResult(v);
}
#else
fn load_query(start: u32, c: u32) -> vec4<f32> {
    let left = params.head_width - 4u * c;
    let i = start + 4u * c;
    var v = vec4(query_at(i), 0.0, 0.0, 0.0);
    if left > 1u { v.y = query_at(i + 1u); }
    if left > 2u { v.z = query_at(i + 2u); }
    if left > 3u { v.w = query_at(i + 3u); }
    return v;
}
fn load_key(start: u32, c: u32) -> vec4<f32> {
    let left = params.head_width - 4u * c;
    let i = start + 4u * c;
    var v = vec4(key_at(i), 0.0, 0.0, 0.0);
    if left > 1u { v.y = key_at(i + 1u); }
    if left > 2u { v.z = key_at(i + 2u); }
    if left > 3u { v.w = key_at(i + 3u); }
    return v;
}
fn load_value(start: u32, c: u32) -> vec4<f32> {
    let left = params.head_width - 4u * c;
    let i = start + 4u * c;
    var v = vec4(value_at(i), 0.0, 0.0, 0.0);
    if left > 1u { v.y = value_at(i + 1u); }
    if left > 2u { v.z = value_at(i + 2u); }
    if left > 3u { v.w = value_at(i + 3u); }
    return v;
}
fn store(start: u32, c: u32, v: vec4<f32>) {
    let left = params.head_width - 4u * c;
    let i = start + 4u * c;
    y[i] = Y(v.x);
    if left > 1u { y[i + 1u] = Y(v.y); }
    if left > 2u { y[i + 2u] = Y(v.z); }
    if left > 3u { y[i + 3u] = Y(v.w); }
}
#endif

fn query_start(row: u32, column: u32) -> u32 {
    return row * params.query_stride + params.query_offset + column;
}
fn key_start(row: u32, column: u32) -> u32 {
    return row * params.key_stride + params.key_offset + column;
}
fn value_start(row: u32, column: u32) -> u32 {
    return row * params.value_stride + params.value_offset + column;
}
