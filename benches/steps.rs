//! Criterion benchmarks: kernels' twins beside the bare products, and whole steps of the bundled model.
//!
//! `cargo bench --bench steps`. Times belong to the machine; ratios within one run are what is compared.

use criterion::{Criterion, criterion_group, criterion_main};
use migm::eval::bench;
use migm::eval::random::RandomWeights;
use migm::generate::model::{Device, Model};
use migm::generate::predict::Predictor;
use migm::generate::refresh::Refresh;
use migm::generate::session::{Session, Settings};
use migm::models::keep_f32;
use std::hint::black_box;

/// One whole picture of the bundled model: vanilla, and two budgets.
fn pictures(c: &mut Criterion) {
    let Ok(model) = Model::bundled() else { return };
    let sampling = model.config.sampling;
    let Ok(mut session) = Session::new(&model, bench::shape(1, &sampling, Predictor::Shortcut), &Device::Cpu)
    else {
        return;
    };
    let mut group = c.benchmark_group("picture");
    for refresh in [Refresh::Every, Refresh::Uniform(4), Refresh::Uniform(2)] {
        let settings = Settings { sampling, refresh, predictor: Predictor::Shortcut };
        group.bench_function(settings.refresh.to_string(), |b| {
            b.iter(|| {
                let run = session
                    .configure(&settings)
                    .map(|_| ())
                    .and_then(|()| session.start(&[Some(2)], &[1]))
                    .and_then(|()| session.finish());
                black_box(run).is_ok()
            });
        });
    }
    group.finish();
}

/// The two kinds of step at the width of the official models, on a grid of 16 x 16 and two layers.
fn steps(c: &mut Criterion) {
    let Some(mut config) = bench::preset("maskgit-256") else { return };
    config.transformer.depth = 2;
    let sampling = config.sampling;
    let shape = bench::shape(1, &sampling, Predictor::Shortcut);
    let Ok(mut session) =
        Session::with_weights(&config, shape, &Device::Cpu, keep_f32, &mut RandomWeights { seed: 1 })
    else {
        return;
    };
    let settings = Settings { sampling, refresh: Refresh::Uniform(4), predictor: Predictor::Shortcut };
    if session.configure(&settings).is_err() || session.start(&[Some(1)], &[1]).is_err() {
        return;
    }
    let mut group = c.benchmark_group("width 768, 2 layers");
    group.sample_size(20);
    let names: Vec<String> =
        session.executor().programs().iter().map(|program| program.name.clone()).collect();
    for (index, name) in names.iter().enumerate().filter(|(_, name)| *name != "decode") {
        group.bench_function(name, |b| b.iter(|| session.executor().run(&[index], 4, false).is_ok()));
    }
    group.finish();
}

criterion_group!(benches, pictures, steps);
criterion_main!(benches);
