//! How long frames take on the interface's thread: the record by which the studio is held to never stalling.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use web_time::Instant;

/// Frames that are kept: five minutes of them at 60 a second.
const KEPT: usize = 18_000;

/// A frame.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Frame {
    /// Since the record began, in seconds.
    pub at: f64,
    /// Messages taken in, panels laid out and their commands obeyed, in milliseconds.
    pub interface_ms: f64,
    /// The frame before as a whole, with tessellation and drawing but without waiting for the screen, in milliseconds; 0 where
    /// the window system does not tell.
    pub previous_ms: f64,
    /// Whether a run was under way.
    pub generating: bool,
    /// Pictures shown since the record began, previews included.
    pub pictures: u32,
}

#[derive(Debug)]
struct Record {
    start: Instant,
    began: Option<Instant>,
    pictures: u32,
    frames: VecDeque<Frame>,
}

/// The record; clones share it, so that it outlives the window.
#[derive(Debug, Clone)]
pub struct Frames(Arc<Mutex<Record>>);

impl Default for Frames {
    fn default() -> Self {
        let start = Instant::now();
        Self(Arc::new(Mutex::new(Record { start, began: None, pictures: 0, frames: VecDeque::new() })))
    }
}

impl Frames {
    fn record<T>(&self, change: impl FnOnce(&mut Record) -> T) -> T {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// A frame begins.
    pub fn begin(&self) {
        self.record(|record| record.began = Some(Instant::now()));
    }

    /// It shows a new picture.
    pub fn picture(&self) {
        self.record(|record| record.pictures += 1);
    }

    /// It has ended. `previous` is the time of the one before as a whole, in seconds.
    pub fn end(&self, previous: Option<f32>, generating: bool) {
        self.record(|record| {
            let Some(began) = record.began.take() else { return };
            if record.frames.len() == KEPT {
                record.frames.pop_front();
            }
            let pictures = record.pictures;
            record.frames.push_back(Frame {
                pictures,
                at: (began - record.start).as_secs_f64(),
                interface_ms: 1e3 * began.elapsed().as_secs_f64(),
                previous_ms: 1e3 * f64::from(previous.unwrap_or(0.0)),
                generating,
            });
        });
    }

    /// All frames that are kept, the oldest first.
    pub fn all(&self) -> Vec<Frame> {
        self.record(|record| record.frames.iter().copied().collect())
    }

    /// The longest time on the interface's thread of a frame during a run, in milliseconds.
    pub fn slowest(&self) -> f64 {
        self.record(|record| {
            let during = record.frames.iter().filter(|frame| frame.generating);
            during.map(|frame| frame.interface_ms).fold(0.0, f64::max)
        })
    }

    /// All frames as CSV, with a line of names.
    pub fn to_csv(&self) -> String {
        use std::fmt::Write as _;
        let mut out = "at_s,interface_ms,previous_frame_ms,generating,pictures\n".to_owned();
        for frame in self.all() {
            let Frame { at, interface_ms, previous_ms, generating, pictures } = frame;
            // Writing to a string cannot fail.
            let _ = writeln!(
                out,
                "{at:.4},{interface_ms:.3},{previous_ms:.3},{},{pictures}",
                u8::from(generating)
            );
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_recorded_in_order_and_the_oldest_given_up() {
        let frames = Frames::default();
        frames.end(None, true);
        assert_eq!(frames.all(), [], "nothing had begun");
        for index in 0..KEPT + 3 {
            frames.begin();
            if index == 9 {
                frames.picture();
            }
            frames.end(Some(0.004), index % 2 == 0);
        }
        let all = frames.all();
        assert_eq!(all.len(), KEPT);
        assert!(all.is_sorted_by(|a, b| a.at <= b.at) && all[0].at > 0.0);
        assert!(frames.slowest() > 0.0 && (all[0].previous_ms - 4.0).abs() < 1e-3);
        assert_eq!((all[5].pictures, all[6].pictures), (0, 1), "three were given up");
        let csv = frames.to_csv();
        assert_eq!(csv.lines().count(), KEPT + 1);
        assert!(
            csv.lines().nth(1).is_some_and(|line| line.ends_with(",4.000,0,0")),
            "{:?}",
            csv.lines().nth(1)
        );
    }
}
