//! Products against sums in f64, how they are cut into tasks, and a measurement.

use super::*;
use half::bf16;
use std::time::Instant;

fn part_of(inner: usize, outer: usize, row: u32, rounds: bool) -> Multiplied {
    Multiplied { row, inner: inner as u32, outer: outer as u32, rounds }
}

/// Numbers in [-1, 1), different for every seed.
fn values(count: usize, seed: u32) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9e37_79b9) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        state as f32 * 2_f32.powi(-31) - 1.0
    };
    (0..count).map(|_| next()).collect()
}

#[test]
fn products_are_those_of_the_operands_over_odd_shapes() {
    if !available() {
        println!("this processor has no AVX-512: nothing to compare");
        return;
    }
    for (in_bf16, by_tiles) in [(false, false), (true, false), (true, true)] {
        if in_bf16 && !multiplies_bf16() || by_tiles && !has_tiles() {
            println!("not compared, as this processor has no {}", if by_tiles { "tiles" } else { "bf16" });
            return;
        }
        let rounded = |value: f32| f64::from(if in_bf16 { bf16::from_f32(value).to_f32() } else { value });
        let shapes: [[usize; 3]; 8] = [
            [1, 1, 1],
            [12, 2, 32],
            [13, 3, 33],
            [37, 65, 77],
            [100, 192, 50],
            [7, 64, 16],
            [65, 31, 129],
            [700, 5, 40],
        ];
        for [rows, inner, outer] in shapes {
            let (stride, y_stride) = (inner.next_multiple_of(4), outer + 3);
            let (x, weight) = (values(rows * inner, 1), values((outer + 2) * stride, 2));
            let packed = Packed {
                tiles: by_tiles,
                ..Packed::new(&part_of(inner, outer, 2, true), &weight, stride, in_bf16)
            };
            for accumulate in [false, true] {
                let before = values(rows * y_stride, 3);
                let mut y = before.clone();
                packed.product(rows, &x, (&mut y, y_stride), accumulate, &|row, first, values| {
                    values
                        .iter_mut()
                        .enumerate()
                        .for_each(|(i, v)| *v += (row * 1000 + first + i) as f32 / 1024.0);
                });
                for (i, (&got, &before)) in y.iter().zip(&before).enumerate() {
                    let (row, output) = (i / y_stride, i % y_stride);
                    if output >= outer {
                        assert_eq!(got, before, "between rows: {rows} x {inner} x {outer}");
                        continue;
                    }
                    let of =
                        |i: usize| rounded(x[row * inner + i]) * rounded(weight[(output + 2) * stride + i]);
                    let added = (row * 1000 + output) as f64 / 1024.0
                        + if accumulate { f64::from(before) } else { 0.0 };
                    let wanted = (0..inner).map(of).sum::<f64>() + added;
                    let apart = (f64::from(got) - wanted).abs();
                    assert!(
                        apart < 1e-5 * (inner as f64).sqrt() + 1e-6 * wanted.abs(),
                        "{rows} x {inner} x {outer} at {i}: {got}, not {wanted}"
                    );
                }
            }
        }
    }
}

#[test]
fn what_is_not_to_be_rounded_is_packed_as_it_is() {
    if !available() {
        return;
    }
    let weight = values(32 * 8, 1);
    let bytes = |rounds, bf16| Packed::new(&part_of(8, 32, 0, rounds), &weight, 8, bf16).bytes();
    assert_eq!((bytes(true, false), bytes(false, true)), (32 * 8 * 4, 32 * 8 * 4));
    // Pairs are those of whole tiles: 16.
    assert_eq!(bytes(true, true), if multiplies_bf16() { 32 * 16 * 4 } else { 32 * 8 * 4 });
    assert!(!part_of(8, 15, 0, true).packs() && part_of(8, 16, 0, true).packs());
}

#[test]
fn tasks_are_whole_tiles_and_enough_for_all_threads() {
    for threads in [1, 2, 3, 16] {
        for (tiles, panels) in [(1, 1), (2, 128), (24, 6), (86, 24), (1000, 3)] {
            let [tall, wide] = parts(tiles, panels, threads, 16);
            let lengths = |of, parts| (0..parts).map(move |i| part(of, i, parts).len());
            assert_eq!(
                [tiles, panels],
                [lengths(tiles, tall), lengths(panels, wide)].map(Iterator::sum::<usize>)
            );
            assert!(
                lengths(tiles, tall).all(|n| (1..=16).contains(&n)) && lengths(panels, wide).all(|n| n >= 1)
            );
            assert!(
                tall * wide >= threads.min(tiles * panels),
                "{tiles} x {panels} on {threads}: {tall} x {wide}"
            );
        }
    }
}

#[test]
fn attention_is_that_of_the_operands_over_odd_shapes() {
    for (by_tiles, found) in [(false, available()), (true, has_tiles())] {
        if !found {
            println!("not compared, as this processor has no {}", if by_tiles { "tiles" } else { "AVX-512" });
            return;
        }
        let rounded = |value: f32| f64::from(if by_tiles { bf16::from_f32(value).to_f32() } else { value });
        for [queries, keys, width] in
            [[1, 1, 1], [5, 33, 16], [33, 64, 33], [70, 129, 48], [32, 31, 128], [64, 286, 32]]
        {
            let stride = width + 5;
            let [query, key, value] =
                [(queries, 1), (keys, 2), (keys, 3)].map(|(rows, seed)| values(rows * stride, seed));
            // Scores from -12 to 12 or so.
            let scale = 24.0 / (width as f32).sqrt();
            let mut y = vec![7.0; queries * stride];
            let operands = [&query, &key, &value].map(|data| Rows { data, stride });
            // SAFETY: so many rows are there.
            unsafe { attend(by_tiles, operands, [queries, keys, width], scale, (y.as_mut_ptr(), stride)) };
            let (mut apart, mut size) = (0.0, 0.0);
            for q in 0..queries {
                // Queries are rounded after they were scaled.
                let scaled = |i: usize| rounded(query[q * stride + i] * (scale * std::f32::consts::LOG2_E));
                let score =
                    |k: usize| (0..width).map(|i| scaled(i) * rounded(key[k * stride + i])).sum::<f64>();
                let powers: Vec<f64> = (0..keys).map(|k| score(k).exp2()).collect();
                let sum: f64 = powers.iter().sum();
                for i in 0..width {
                    let wanted =
                        (0..keys).map(|k| powers[k] / sum * rounded(value[k * stride + i])).sum::<f64>();
                    apart += (f64::from(y[q * stride + i]) - wanted).powi(2);
                    size += wanted.powi(2);
                }
                assert!(y[q * stride + width..(q + 1) * stride].iter().all(|&v| v == 7.0), "between rows");
            }
            // In bf16 probabilities lose half of 2^-8 each at most, up or down by chance.
            let (error, most) = ((apart / size).sqrt(), if by_tiles { 3e-3 } else { 3e-6 });
            assert!(error < most, "{queries} x {keys} x {width}: {error}");
        }
    }
}

#[test]
fn what_is_no_number_stays_none_and_harms_no_other_row() {
    for (tiles, _) in [(false, available()), (true, has_tiles())].into_iter().filter(|(_, found)| *found) {
        let (mut query, others) = (values(40 * 16, 1), values(50 * 16, 2));
        query[3 * 16 + 5] = f32::NAN;
        let operands = [&query, &others, &others].map(|data| Rows { data, stride: 16 });
        let mut y = vec![0.0; 40 * 16];
        // SAFETY: so many rows are there.
        unsafe { attend(tiles, operands, [40, 50, 16], 0.25, (y.as_mut_ptr(), 16)) };
        let none: Vec<usize> = (0..40).filter(|q| y[q * 16..][..16].iter().any(|v| v.is_nan())).collect();
        assert_eq!(none, [3], "by tiles: {tiles}");
        assert!(y[3 * 16..][..16].iter().all(|v| v.is_nan()));
    }
}

/// `y = x weightT` by the `gemm` crate, on all threads.
fn by_gemm([rows, inner, outer]: [usize; 3], x: &[f32], weight: &[f32], y: &mut [f32]) {
    assert!(x.len() == rows * inner && weight.len() == outer * inner && y.len() == rows * outer);
    let (x, weight, y) = (x.as_ptr(), weight.as_ptr(), y.as_mut_ptr());
    let (width, inner_width) = (outer as isize, inner as isize);
    let threads = gemm::Parallelism::Rayon(0);
    // SAFETY: the slices hold what these sizes and strides reach.
    unsafe {
        gemm::gemm(
            rows,
            outer,
            inner,
            y,
            1,
            width,
            false,
            x,
            1,
            inner_width,
            weight,
            inner_width,
            1,
            0.0,
            1.0,
            false,
            false,
            false,
            threads,
        );
    }
}

/// The products of both bundled models and of MaskGIT at 512 px: beside `gemm`, and in bf16 without tiles and with them.
#[test]
#[ignore = "a measurement"]
fn packed_weights_beside_gemm() {
    let shapes = [(286, 192, 192), (286, 192, 1024), (286, 512, 192), (64, 192, 4096), (257, 192, 768)];
    let large = [(1025, 768, 2304), (1025, 768, 3072), (1025, 3072, 768)];
    for (rows, inner, outer) in shapes.into_iter().chain(large) {
        let (x, weight) = (values(rows * inner, 1), values(outer * inner, 2));
        let of = |bf16, tiles| Packed {
            tiles,
            ..Packed::new(&part_of(inner, outer, 0, true), &weight, inner, bf16)
        };
        let mut ways = vec![("f32", Some(of(false, false))), ("gemm", None)];
        if multiplies_bf16() {
            ways.push(("bf16", Some(of(true, false))));
        }
        if has_tiles() {
            ways.push(("bf16 by tiles", Some(of(true, true))));
        }
        let mut y = vec![0.0; rows * outer];
        let mut best = vec![f64::INFINITY; ways.len()];
        let again = 2_000_000_000 / (rows * inner * outer) + 1;
        for _ in 0..5 {
            for ((_, packed), best) in ways.iter().zip(&mut best) {
                let start = Instant::now();
                for _ in 0..again {
                    match packed {
                        Some(packed) => packed.product(rows, &x, (&mut y, outer), false, &|_, _, _| {}),
                        None => by_gemm([rows, inner, outer], &x, &weight, &mut y),
                    }
                }
                *best = best.min(start.elapsed().as_secs_f64() / again as f64);
            }
        }
        let named = ways.iter().zip(&best).map(|((name, _), seconds)| {
            format!("{name} {:.0}", 2e-9 * (rows * inner * outer) as f64 / seconds)
        });
        println!("{rows} x {inner} x {outer}, GFLOP/s: {}", named.collect::<Vec<_>>().join(", "));
    }
}

/// A head of MaskGIT at 512 px, of the bundled text model, of its shortcut, and of Lumina-DiMOO.
#[test]
#[ignore = "a measurement"]
fn attention_of_a_head() {
    for [tokens, heads, width] in [[1025, 16, 48], [286, 6, 32], [286, 6, 16], [4300, 32, 128]] {
        // As they come from a projection of all heads.
        let row = heads * width;
        let data = values(3 * tokens * row, 1);
        let operands = [0, 1, 2].map(|i| Rows { data: &data[i * row..], stride: 3 * row });
        let mut y = vec![0.0; tokens * width];
        for (name, found) in [("f32", available()), ("tiles", has_tiles())] {
            let mut best = f64::INFINITY;
            for _ in 0..if found { 20 } else { 0 } {
                let start = Instant::now();
                // SAFETY: so many rows are there.
                unsafe {
                    attend(name == "tiles", operands, [tokens, tokens, width], 0.1, (y.as_mut_ptr(), width));
                };
                best = best.min(start.elapsed().as_secs_f64());
            }
            let flops = 4e-9 * (tokens * tokens * width) as f64;
            let score = 1e9 * best / (tokens * tokens) as f64;
            println!(
                "{tokens} tokens, {width} wide, {name}: {:.0} GFLOP/s, {score:.2} ns a score",
                flops / best
            );
        }
    }
}
