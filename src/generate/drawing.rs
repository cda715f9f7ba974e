//! From features to revealed tokens: the operations of every step.

use crate::kernels::commit::Commit;
use crate::kernels::correct::{ListTokens, Remask, Surprise, WaitScores};
use crate::kernels::gauge::{self, Gauge};
use crate::kernels::movement::Movement;
use crate::kernels::rank_scores::RankScores;
use crate::kernels::sample::Sample;
use crate::kernels::spread_k::SpreadK;
use crate::kernels::top_k::{Take, TopK};
use crate::kernels::unite::{OutsideUnion, Unite};
use crate::kernels::{Extent, Slot, Symbol};
use crate::models::{Batch, Family, Network, Places, states};
use crate::program::{Builder, Element};

/// Features of the masked tokens as they were last looked at.
const HELD: &str = "held";
/// How far each moved since.
const MOVED: &str = "moved";
/// The likeliest code of each token at the last look.
const LIKELIEST: &str = "likeliest";
/// The scores of the draw, where the choice waits for the host.
const SCORES: &str = "scores";
/// Which known tokens are doubted, by place in their list.
const DOUBTED: &str = "doubted";

/// What the programs of a step are made for.
#[derive(Clone, Copy)]
pub(super) struct Drawing<'a> {
    pub(super) family: &'a dyn Family,
    pub(super) batch: Batch,
    pub(super) recorded_noise: bool,
    /// Whether the host looks at a step before tokens are chosen.
    pub(super) decides: bool,
    /// Whether full steps mask tokens again.
    pub(super) corrects: bool,
}

impl Drawing<'_> {
    /// Whether drawing and choosing are programs of their own.
    pub(super) fn is_split(&self) -> bool {
        self.decides || self.corrects
    }

    /// States that are zero when a run begins, and their sizes.
    pub(super) fn own(&self) -> Vec<(String, usize)> {
        let tokens = (self.batch.images * self.family.tokens()) as usize;
        let mut own = Vec::new();
        if self.decides {
            own.extend([(LIKELIEST.to_owned(), tokens), (MOVED.to_owned(), 2 * tokens)]);
        }
        if self.corrects {
            own.push((states::ASIDE.to_owned(), tokens));
        }
        own
    }

    fn state(&self, b: &mut Builder, name: &str) -> Slot {
        b.state(name, self.batch.images, self.family.tokens(), Element::U32)
    }

    fn masked(&self) -> Extent {
        Extent::symbolic(1, Symbol::Masked, self.family.tokens())
    }

    fn committed(&self) -> Extent {
        Extent::symbolic(1, Symbol::Committed, self.family.tokens())
    }

    /// Scores by place in the list of masked positions: of this program, or of all where the choice is another.
    fn scores(&self, b: &mut Builder) -> Slot {
        let (images, tokens) = (self.batch.images, self.family.tokens());
        if self.is_split() {
            b.state(SCORES, images, tokens, Element::F32)
        } else {
            b.temporary(SCORES, Extent::fixed(images), tokens)
        }
    }

    /// Guided logits at masked positions, draw, scores; and the choice with it, where nothing comes in between.
    pub(super) fn sample(&self, b: &mut Builder) {
        let Self { family, batch, .. } = *self;
        let (images, tokens, codebook) = (batch.images, family.tokens(), family.codebook());
        let positions = self.state(b, states::POSITIONS);
        let drawn = self.state(b, states::DRAWN);
        let seeds = b.state(states::SEEDS, images, 2, Element::U32);
        let scores = self.scores(b);
        let measured = self.decides.then(|| b.temporary("measured", Extent::fixed(images * tokens), 4));
        let recorded = self.recorded_noise.then(|| {
            let token = b.state(states::NOISE_TOKEN, images * tokens, codebook, Element::F32);
            (token, b.state(states::NOISE_CHOICE, images, tokens, Element::F32))
        });
        // In parts where the logits of all positions would exceed a binding.
        for range in b.row_ranges(tokens, images * codebook) {
            let logits = family.guided_logits(b, batch, range.into());
            let kernel = Sample {
                logits,
                positions,
                seeds,
                recorded,
                drawn,
                scores,
                measured,
                images,
                tokens,
                masked: Extent::part(1, Symbol::Masked, range),
                first_masked: range.first,
                codebook,
            };
            b.scope("sample", |b| b.push(kernel));
        }
        let (ranks, masked) = (b.state(states::RANKS, tokens, 1, Element::U32), self.masked());
        let [marked, listed] = [states::UNITED, states::UNION].map(|name| self.state(b, name));
        b.scope("sample", |b| {
            // These stay aside in runs that do not ask for them.
            b.push(RankScores { ranks, positions, scores, images, tokens, masked });
            b.push(OutsideUnion { marked, positions, scores, images, tokens, masked });
            b.push(Unite { scores, positions, marked, listed, images, tokens, masked });
            if self.corrects {
                let aside = self.state(b, states::ASIDE);
                b.push(WaitScores { aside, positions, scores, images, tokens, masked });
            }
            if let Some(measured) = measured {
                let kernel = Gauge {
                    sums: b.state(MOVED, images * tokens, 2, Element::F32),
                    scores,
                    measured,
                    positions,
                    likeliest: self.state(b, LIKELIEST),
                    gauge: b.state(states::GAUGE, gauge::WORDS, 1, Element::F32),
                    tokens,
                    masked,
                };
                b.push(kernel);
            }
            if !self.is_split() {
                self.choose_by(b, scores);
            }
        });
    }

    /// Choice and reveal, where they are apart from the draw.
    pub(super) fn choose(&self, b: &mut Builder) {
        let scores = self.scores(b);
        b.scope("sample", |b| self.choose_by(b, scores));
    }

    fn choose_by(&self, b: &mut Builder, scores: Slot) {
        let (images, tokens, masked) = (self.batch.images, self.family.tokens(), self.masked());
        let [_, columns] = self.family.grid();
        let positions = self.state(b, states::POSITIONS);
        let chosen = b.temporary_u32("chosen", Extent::fixed(images), tokens);
        b.push(TopK { scores, chosen, images, tokens, masked, take: Take::Reveal });
        // This stays aside in runs that do not ask for it.
        b.push(SpreadK { scores, positions, chosen, images, tokens, columns, masked });
        let commit = Commit {
            chosen,
            drawn: self.state(b, states::DRAWN),
            positions,
            ids: self.state(b, states::IDS),
            new_ids: self.state(b, states::NEW_IDS),
            new_positions: self.state(b, states::NEW_POSITIONS),
            images,
            tokens,
            masked,
        };
        b.push(commit);
    }

    /// Which of the known tokens a full step finds least likely, as many as it masks again.
    pub(super) fn doubt(&self, b: &mut Builder) {
        let Self { family, batch, .. } = *self;
        let (images, tokens, codebook) = (batch.images, family.tokens(), family.codebook());
        let ids = self.state(b, states::IDS);
        let list = self.state(b, states::COMMITTED);
        let scores = b.temporary("surprise", Extent::fixed(images), tokens);
        let known = ListTokens { ids, list, images, tokens, mask: codebook, wants_masked: false };
        b.scope("doubt", |b| b.push(known));
        for range in b.row_ranges(tokens, images * codebook) {
            let places = Places::committed(range);
            let logits = family.guided_logits(b, batch, places);
            let kernel = Surprise {
                logits,
                list,
                ids,
                scores,
                images,
                tokens,
                listed: places.rows(1),
                first: range.first,
                codebook,
            };
            b.scope("doubt", |b| b.push(kernel));
        }
        let chosen = self.state(b, DOUBTED);
        let masked = self.committed();
        b.scope("doubt", |b| b.push(TopK { scores, chosen, images, tokens, masked, take: Take::Remask }));
    }

    /// Masks them again, once the step has revealed others.
    pub(super) fn remask(&self, b: &mut Builder) {
        let (images, tokens, mask) = (self.batch.images, self.family.tokens(), self.family.codebook());
        let (ids, positions) = (self.state(b, states::IDS), self.state(b, states::POSITIONS));
        let remask = Remask {
            list: self.state(b, states::COMMITTED),
            chosen: self.state(b, DOUBTED),
            ids,
            aside: self.state(b, states::ASIDE),
            images,
            tokens,
            listed: self.committed(),
            mask,
        };
        b.scope("remask", |b| {
            b.push(remask);
            b.push(ListTokens { ids, list: positions, images, tokens, mask, wants_masked: true });
        });
    }

    /// How far the features of a network moved since they were last looked at.
    pub(super) fn movement(&self, b: &mut Builder, network: &dyn Network) {
        let (images, tokens) = (self.batch.images, self.family.tokens());
        let features = network.features(b);
        let [_, width] = b.size(features);
        let length = network.length();
        let kernel = Movement {
            features,
            positions: self.state(b, states::POSITIONS),
            held: b.state(HELD, images * length, width, Element::F32),
            sums: b.state(MOVED, images * tokens, 2, Element::F32),
            images,
            tokens,
            masked: self.masked(),
            size: [length, width],
            placement: network.placement(),
        };
        b.push(kernel);
    }
}
