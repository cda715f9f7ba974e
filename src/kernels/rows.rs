//! Copies of rows by index. Twins of `shaders/gather_rows.wgsl` and `shaders/scatter_rows.wgsl`.

use super::{
    Binding, Buffers, Cost, Extent, Kernel, Slot, StepValues, shader::Permutation, split_workgroups,
};
use rayon::prelude::*;

/// `y[r] = table[min(indices[r], table_rows - 1)]`: a codebook look-up.
///
/// Shapes: `table` is `[table_rows, table_stride]`, of which the first `width` columns are used; `indices` are
/// `u32`, `[rows]`; `y` is `[rows, width]`.
#[derive(Debug, Clone)]
pub(crate) struct GatherRows {
    pub(crate) table: Slot,
    pub(crate) indices: Slot,
    pub(crate) y: Slot,
    pub(crate) rows: Extent,
    pub(crate) width: u32,
    pub(crate) table_stride: u32,
    pub(crate) table_rows: u32,
}

/// `y[indices[r]] = x[r]`; indices beyond `y_rows` are skipped. Indices must differ among themselves.
///
/// Shapes: `x` is `[rows, width]`; `indices` are `u32`, `[rows]`; `y` is `[y_rows, width]` and keeps its other rows.
#[derive(Debug, Clone)]
pub(crate) struct ScatterRows {
    pub(crate) x: Slot,
    pub(crate) indices: Slot,
    pub(crate) y: Slot,
    pub(crate) rows: Extent,
    pub(crate) width: u32,
    pub(crate) y_rows: u32,
}

/// The parameter block of `gather_rows`; widths in the shader's elements, which are one or four floats.
#[repr(C)]
#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
pub(crate) struct GatherParams {
    pub(crate) rows: u32,
    pub(crate) width: u32,
    pub(crate) table_stride: u32,
    pub(crate) table_rows: u32,
}

/// The parameter block of `scatter_rows`; widths as above.
#[repr(C)]
#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
pub(crate) struct ScatterParams {
    pub(crate) rows: u32,
    pub(crate) width: u32,
    pub(crate) y_rows: u32,
    pub(crate) unused: u32,
}

/// Invocations of a workgroup, an element each.
const LANES: u32 = 256;

fn elements(width: u32, fours: bool) -> u32 {
    if fours { width / 4 } else { width }
}

impl GatherRows {
    fn fours(&self) -> bool {
        self.width.is_multiple_of(4) && self.table_stride.is_multiple_of(4)
    }

    fn at(&self, step: &StepValues, fours: bool) -> GatherParams {
        GatherParams {
            rows: self.rows.at(step),
            width: elements(self.width, fours),
            table_stride: elements(self.table_stride, fours),
            table_rows: self.table_rows,
        }
    }
}

impl Kernel for GatherRows {
    fn permutation(&self) -> Permutation {
        Permutation::new("gather_rows").flag("VEC4", self.fours())
    }

    fn bindings(&self) -> Vec<Binding> {
        vec![Binding::read(1, self.table), Binding::read(2, self.indices), Binding::write(3, self.y)]
    }

    fn params(&self, step: &StepValues) -> Vec<u8> {
        bytemuck::bytes_of(&self.at(step, self.fours())).to_vec()
    }

    fn workgroups(&self, step: &StepValues) -> [u32; 3] {
        split_workgroups((self.rows.at(step) * elements(self.width, self.fours())).div_ceil(LANES))
    }

    fn cost(&self, step: &StepValues) -> Cost {
        let rows = u64::from(self.rows.at(step));
        Cost::new(0, rows * (2 * u64::from(self.width) + 1))
    }

    fn describe(&self) -> String {
        format!("[{}, {}] of {} rows", self.rows, self.width, self.table_rows)
    }

    fn run(&self, step: &StepValues, io: &mut Buffers<'_>) {
        gather_rows(self.at(step, false), io.f32(1), io.u32(2), io.f32_mut(3));
    }
}

impl ScatterRows {
    fn fours(&self) -> bool {
        self.width.is_multiple_of(4)
    }

    fn at(&self, step: &StepValues, fours: bool) -> ScatterParams {
        let width = elements(self.width, fours);
        ScatterParams { rows: self.rows.at(step), width, y_rows: self.y_rows, unused: 0 }
    }
}

impl Kernel for ScatterRows {
    fn permutation(&self) -> Permutation {
        Permutation::new("scatter_rows").flag("VEC4", self.fours())
    }

    fn bindings(&self) -> Vec<Binding> {
        vec![Binding::read(1, self.x), Binding::read(2, self.indices), Binding::update(3, self.y)]
    }

    fn params(&self, step: &StepValues) -> Vec<u8> {
        bytemuck::bytes_of(&self.at(step, self.fours())).to_vec()
    }

    fn workgroups(&self, step: &StepValues) -> [u32; 3] {
        split_workgroups((self.rows.at(step) * elements(self.width, self.fours())).div_ceil(LANES))
    }

    fn cost(&self, step: &StepValues) -> Cost {
        let rows = u64::from(self.rows.at(step));
        Cost::new(0, rows * (2 * u64::from(self.width) + 1))
    }

    fn describe(&self) -> String {
        format!("[{}, {}] into {} rows", self.rows, self.width, self.y_rows)
    }

    fn run(&self, step: &StepValues, io: &mut Buffers<'_>) {
        scatter_rows(self.at(step, false), io.f32(1), io.u32(2), io.f32_mut(3));
    }
}

/// The twin of `gather_rows`.
pub(crate) fn gather_rows(p: GatherParams, table: &[f32], indices: &[u32], y: &mut [f32]) {
    let [rows, width, stride] = [p.rows, p.width, p.table_stride].map(|v| v as usize);
    y[..rows * width].par_chunks_mut(width).zip(&indices[..rows]).with_min_len(64).for_each(|(y, &index)| {
        let row = index.min(p.table_rows - 1) as usize;
        y.copy_from_slice(&table[row * stride..row * stride + width]);
    });
}

/// The twin of `scatter_rows`.
pub(crate) fn scatter_rows(p: ScatterParams, x: &[f32], indices: &[u32], y: &mut [f32]) {
    let [rows, width] = [p.rows, p.width].map(|v| v as usize);
    for (x, &index) in x[..rows * width].chunks_exact(width).zip(&indices[..rows]) {
        if index < p.y_rows {
            let row = index as usize;
            y[row * width..(row + 1) * width].copy_from_slice(x);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::linear::testing::{validate, values};
    use super::*;

    fn gather(rows: u32, width: u32, table_stride: u32, table_rows: u32) -> GatherRows {
        let [table, indices, y] = [0, 1, 2].map(Slot);
        GatherRows { table, indices, y, rows: Extent::fixed(rows), width, table_stride, table_rows }
    }

    fn scatter(rows: u32, width: u32, y_rows: u32) -> ScatterRows {
        let [x, indices, y] = [0, 1, 2].map(Slot);
        ScatterRows { x, indices, y, rows: Extent::fixed(rows), width, y_rows }
    }

    fn run(k: &impl Kernel, x: &[f32], indices: &[u32], y: &mut [f32]) {
        let mut io = Buffers::default();
        io.bind_read(1, x);
        io.bind_read(2, bytemuck::cast_slice(indices));
        io.bind_write(3, y);
        k.run(&StepValues::default(), &mut io);
    }

    #[test]
    fn gathering_takes_rows_and_clamps_indices() {
        let table = values(5 * 8, 1);
        let mut y = vec![7.0; 4 * 6 + 2];
        run(&gather(4, 6, 8, 5), &table, &[3, 0, 99, 4, 1], &mut y);
        for (y, row) in y.chunks_exact(6).zip([3, 0, 4, 4]) {
            assert_eq!(y, &table[row * 8..row * 8 + 6]);
        }
        assert_eq!(y[24..], [7.0; 2]);
    }

    #[test]
    fn scattering_skips_what_is_out_of_range_and_keeps_the_rest() {
        let x = values(4 * 3, 1);
        let mut y = vec![7.0; 5 * 3];
        run(&scatter(4, 3, 5), &x, &[4, 5, 0, u32::MAX], &mut y);
        assert_eq!(y[..3], x[6..9]);
        assert_eq!(y[3..12], [7.0; 9]);
        assert_eq!(y[12..], x[..3]);
    }

    #[test]
    fn scattering_undoes_gathering() {
        let x = values(300 * 20, 1);
        let indices: Vec<u32> = (0..300).map(|i| i * 7 % 300).collect();
        let (mut there, mut back) = (vec![0.0; x.len()], vec![0.0; x.len()]);
        run(&gather(300, 20, 20, 300), &x, &indices, &mut there);
        run(&scatter(300, 20, 300), &there, &indices, &mut back);
        assert_eq!(x, back);
    }

    #[test]
    fn shaders_are_valid() {
        for width in [3, 8] {
            validate(&gather(4, width, 8, 5));
            validate(&scatter(4, width, 5));
        }
    }
}
