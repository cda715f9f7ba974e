//! Criterion benchmark of the composer: scenes a second, the data that training lives on.
//!
//! `cargo bench --bench scenes`. The figure belongs to the machine; a thousand a second on two cores is what a trainer needs.

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use migm::scenes::{Composer, Mix, Style};
use std::hint::black_box;

const BATCH: u64 = 128;

fn scenes(c: &mut Criterion) {
    let mut group = c.benchmark_group("scenes");
    group.throughput(Throughput::Elements(BATCH)).sample_size(20);
    for size in [64, 128] {
        let Ok(composer) = Composer::new(64, size, Style::ThreeD) else { return };
        let mut first = 0;
        group.bench_function(format!("{size} px"), |b| {
            b.iter(|| {
                first += BATCH;
                black_box(composer.scenes(1, first, BATCH, &Mix::default()).len())
            });
        });
    }
    group.finish();
}

criterion_group!(benches, scenes);
criterion_main!(benches);
