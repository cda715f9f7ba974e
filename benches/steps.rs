//! Criterion benchmarks: kernels' twins beside the bare products, and whole steps of the bundled model.
//!
//! `cargo bench --bench steps`. Times belong to the machine; ratios within one run are what is compared.

use criterion::{Criterion, criterion_group, criterion_main};
use migm::eval::bench;
use migm::eval::random::RandomWeights;
use migm::generate::model::{Device, Model};
use migm::generate::predict::Predictor;
use migm::generate::published;
use migm::generate::refresh::Refresh;
use migm::generate::session::{Session, Settings, Shape};
use migm::models::Condition;
use migm::program::Formats;
use std::hint::black_box;

/// One whole picture of the bundled model: vanilla, and two budgets.
fn pictures(c: &mut Criterion) {
    let Ok(model) = Model::bundled_class() else { return };
    let sampling = model.config.sampling;
    let shape = Shape::new(bench::batch(&model.config.family, 1, &sampling), Some(Predictor::Shortcut));
    let Ok(mut session) = Session::new(&model, shape, &Device::Cpu) else { return };
    let mut group = c.benchmark_group("picture");
    for refresh in [Refresh::Every, Refresh::Uniform(4), Refresh::Uniform(2)] {
        let settings = Settings { sampling, refresh, predictor: Predictor::Shortcut };
        group.bench_function(settings.refresh.to_string(), |b| {
            b.iter(|| {
                let run = session
                    .configure(&settings)
                    .map(|_| ())
                    .and_then(|()| session.start(&[Condition::Class(Some(2))], &[1]))
                    .and_then(|()| session.finish());
                black_box(run).is_ok()
            });
        });
    }
    group.finish();
}

/// The two kinds of step at the width of the official models, on a grid of 16 x 16 and two layers.
fn steps(c: &mut Criterion) {
    let Some(Ok(config)) = published::config("maskgit-256").map(|config| config.resized(Some(2), None))
    else {
        return;
    };
    let sampling = config.sampling;
    let shape = Shape::new(bench::batch(&config.family, 1, &sampling), Some(Predictor::Shortcut));
    let Ok(mut session) = Session::with_weights(
        &config.family,
        shape,
        &Device::Cpu,
        Formats::F32,
        &mut RandomWeights { seed: 1 },
    ) else {
        return;
    };
    let settings = Settings { sampling, refresh: Refresh::Uniform(4), predictor: Predictor::Shortcut };
    if session.configure(&settings).is_err() || session.start(&[Condition::Class(Some(1))], &[1]).is_err() {
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
