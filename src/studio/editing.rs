//! Editing in the window: a region painted on a picture's tokens, runs that make it anew, and the way back.
//!
//! What was done is a list of moments, each with all that it shows, so that going back computes nothing: the picture, its codes, and what
//! is painted. A stroke adds one, and so does a run.

use super::actor::RunId;
use crate::generate::edit::Edit;
use crate::generate::picture::Picture;
use crate::generate::recipe::Recipe;
use crate::generate::region::Region;
use crate::generate::thing::thing;
use std::sync::Arc;

/// Moments kept; the oldest give way.
const MOMENTS: usize = 256;
/// The widest brush, in cells around the middle one.
pub const WIDEST: u32 = 5;

/// What the pointer paints.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Tool {
    /// A disc that follows it.
    #[default]
    Brush,
    /// From where it was pressed to where it is let go.
    Rectangle,
    /// What it is on, whole.
    Thing,
}

/// A picture, and what is painted on it.
#[derive(Clone, Debug)]
pub struct Moment {
    /// Which picture, by number: a texture's name.
    pub number: usize,
    /// The picture.
    pub picture: Arc<Picture>,
    /// Its codes.
    codes: Arc<[u32]>,
    /// What is to be made anew.
    pub region: Region,
    /// Whether a run made it, and nothing was painted since.
    pub is_made: bool,
}

/// Where a pointer is, while it is pressed.
#[derive(Clone, Debug)]
struct Stroke {
    from: [u32; 2],
    /// Where it was last.
    at: Option<[u32; 2]>,
    /// As it was before.
    before: Region,
    now: Region,
}

/// A picture that is edited.
#[derive(Clone, Debug)]
pub struct Editing {
    moments: Vec<Moment>,
    at: usize,
    pictures: usize,
    stroke: Option<Stroke>,
    /// The run that makes a region anew, and what it began on: strokes may follow while it is under way.
    run: Option<(RunId, Edit)>,
    /// What the pointer paints.
    pub tool: Tool,
    /// Cells around the middle one.
    pub radius: u32,
    /// Whether it takes away.
    pub erases: bool,
    /// Whether a run starts when a stroke ends.
    pub live: bool,
    /// How much of the picture is shown as it was at first, from the left.
    pub before: f32,
}

impl Editing {
    /// Of a picture and its codes on a grid.
    pub fn new(picture: Picture, codes: &[u32], grid: [u32; 2]) -> Self {
        let moment = Moment {
            number: 0,
            picture: Arc::new(picture),
            codes: codes.into(),
            region: Region::none(grid),
            is_made: true,
        };
        Self {
            moments: vec![moment],
            at: 0,
            pictures: 1,
            stroke: None,
            run: None,
            tool: Tool::default(),
            radius: 1,
            erases: false,
            live: false,
            before: 0.0,
        }
    }

    /// What is shown.
    pub fn present(&self) -> &Moment {
        &self.moments[self.at]
    }

    /// How it began.
    pub fn first(&self) -> &Moment {
        &self.moments[0]
    }

    /// What is painted, the stroke under way included.
    pub fn region(&self) -> &Region {
        self.stroke.as_ref().map_or(&self.present().region, |stroke| &stroke.now)
    }

    fn push(&mut self, moment: Moment) {
        self.moments.truncate(self.at + 1);
        self.moments.push(moment);
        if self.moments.len() > MOMENTS {
            // The first stays: it is what the picture is compared with.
            self.moments.remove(1);
        }
        self.at = self.moments.len() - 1;
    }

    /// Another region of the same picture; nothing, where it is the same.
    pub fn change(&mut self, region: Region) {
        if region != self.present().region {
            self.push(Moment { region, is_made: false, ..self.present().clone() });
        }
    }

    /// The pointer is pressed, or moves while it is, at a cell.
    pub fn paint(&mut self, cell: [u32; 2]) {
        let present = self.present().region.clone();
        let (grid, radius) = (present.grid(), self.radius as f32);
        let mut stroke = self.stroke.take().unwrap_or_else(|| Stroke {
            from: cell,
            at: None,
            before: present.clone(),
            now: present,
        });
        if stroke.at.replace(cell) == Some(cell) {
            self.stroke = Some(stroke);
            return;
        }
        let (base, touched) = match self.tool {
            // A brush adds to what it touched so far.
            Tool::Brush => (&stroke.now, Region::disc(grid, cell, radius)),
            Tool::Thing => (&stroke.now, thing(&self.present().picture, grid, cell)),
            Tool::Rectangle => {
                let [row, column] = stroke.from;
                let [top, left] = [row.min(cell[0]), column.min(cell[1])];
                let [height, width] = [row.abs_diff(cell[0]) + 1, column.abs_diff(cell[1]) + 1];
                (&stroke.before, Region::rectangle(grid, grid, [left, top, width, height]))
            }
        };
        stroke.now = if self.erases { base.except(&touched) } else { base.with(&touched) };
        self.stroke = Some(stroke);
    }

    /// The pointer is let go; whether that changed anything.
    pub fn lift(&mut self) -> bool {
        let Some(stroke) = self.stroke.take() else { return false };
        let changes = stroke.now != self.present().region;
        self.change(stroke.now);
        changes
    }

    /// Whether there is a moment before.
    pub fn can_undo(&self) -> bool {
        self.at > 0
    }

    /// Whether there is one after.
    pub fn can_redo(&self) -> bool {
        self.at + 1 < self.moments.len()
    }

    /// A moment back.
    pub fn undo(&mut self) {
        self.stroke = None;
        self.at = self.at.saturating_sub(1);
    }

    /// A moment on.
    pub fn redo(&mut self) {
        self.stroke = None;
        self.at = (self.at + 1).min(self.moments.len() - 1);
    }

    fn edit(&self) -> Option<Edit> {
        let Moment { picture, codes, region, .. } = self.present();
        Edit::new((**picture).clone(), codes, region.clone()).ok().filter(|_| region.count() > 0)
    }

    /// What the controls' recipe is for the region: one picture, in as many steps as it takes; `None` where nothing is painted.
    pub fn recipe(&self, controls: &Recipe) -> Option<Recipe> {
        let canvas = self.edit()?.canvas;
        let share = canvas.masked() as f32 / canvas.tokens() as f32;
        let settings = controls.settings().for_share(share);
        Some(Recipe {
            images: 1,
            draw: settings.sampling,
            refresh: settings.refresh,
            begun: Vec::new(),
            canvas: Some(canvas),
            ..controls.clone()
        })
    }

    /// A run of [`Editing::recipe`] was asked for; one before it counts no more.
    pub fn began(&mut self, id: RunId) {
        self.run = self.edit().map(|edit| (id, edit));
    }

    /// The run under way.
    pub fn run(&self) -> Option<RunId> {
        self.run.as_ref().map(|(id, _)| *id)
    }

    /// Takes in what a run made, if it is this one's: the picture that it began on, with that in its place. What was painted since stays
    /// painted.
    pub fn finished(&mut self, id: RunId, codes: &[u32], made: &Picture) -> Option<Picture> {
        let (_, edit) = self.run.take_if(|(own, _)| *own == id)?;
        let picture = edit.finish(made);
        self.pictures += 1;
        let moment = Moment {
            number: self.pictures - 1,
            picture: Arc::new(picture.clone()),
            codes: codes.into(),
            region: self.present().region.clone(),
            is_made: self.present().region == *edit.region(),
        };
        self.push(moment);
        Some(picture)
    }

    /// A run that came to nothing.
    pub fn lost(&mut self, id: RunId) {
        self.run.take_if(|(own, _)| *own == id);
    }

    /// What is there, of codes: for whoever asks whether they are the same.
    pub fn codes(&self) -> &[u32] {
        &self.present().codes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::generate::predict::Predictor;
    use crate::generate::recipe::Subject;
    use crate::generate::refresh::Refresh;
    use crate::generate::sampling::Sampling;

    const GRID: [u32; 2] = [4, 4];

    fn picture(level: u8) -> Picture {
        Picture { width: 16, height: 16, rgb: vec![level; 16 * 16 * 3] }
    }

    fn editing() -> Editing {
        Editing::new(picture(10), &(0..16).collect::<Vec<_>>(), GRID)
    }

    fn controls() -> Recipe {
        Recipe {
            model: "m".to_owned(),
            subject: Subject::Prompt("a fox".to_owned()),
            seed: 3,
            images: 4,
            draw: Sampling { steps: 32, ..Sampling::DIMOO },
            refresh: Refresh::Uniform(4),
            predictor: Predictor::Shortcut,
            quantize: None,
            begun: Vec::new(),
            canvas: None,
        }
    }

    #[test]
    fn strokes_add_and_take_away() {
        let mut editing = editing();
        editing.radius = 0;
        editing.paint([0, 0]);
        editing.paint([0, 1]);
        assert_eq!(editing.region().count(), 2, "seen before it is let go");
        assert!(editing.lift() && !editing.lift());
        editing.tool = Tool::Rectangle;
        editing.paint([3, 3]);
        editing.paint([0, 0]);
        // What it no longer covers is as it was.
        editing.paint([2, 2]);
        assert!(editing.lift());
        assert_eq!(editing.region().count(), 6);
        editing.erases = true;
        editing.paint([0, 0]);
        editing.paint([3, 0]);
        assert!(editing.lift());
        assert_eq!(editing.region().count(), 5);
        editing.paint([0, 0]);
        assert!(!editing.lift(), "nothing was there");
        editing.change(editing.region().inverted());
        assert_eq!(editing.region().count(), 11);
    }

    #[test]
    fn a_click_takes_a_thing_whole() {
        let mut shown = picture(10);
        for y in 4..8 {
            for x in 4..12 {
                shown.rgb[(y * 16 + x) * 3] = 250;
            }
        }
        let mut editing = Editing::new(shown, &[0; 64], [8, 8]);
        editing.tool = Tool::Thing;
        editing.paint([2, 2]);
        assert!(editing.lift());
        assert_eq!(*editing.region(), Region::rectangle([8, 8], [8, 8], [2, 2, 4, 2]).grown(1));
        editing.erases = true;
        editing.paint([3, 5]);
        assert!(editing.lift() && editing.region().count() == 0, "and gives it back");
    }

    #[test]
    fn every_moment_comes_back_as_it_was() {
        let mut editing = editing();
        assert!(!editing.can_undo() && !editing.can_redo() && editing.recipe(&controls()).is_none());
        editing.paint([1, 1]);
        editing.lift();
        let recipe = editing.recipe(&controls()).unwrap();
        let canvas = recipe.canvas.as_ref().unwrap();
        assert_eq!((canvas.masked(), recipe.images), (5, 1));
        assert_eq!((recipe.draw.steps, recipe.refresh), (14, Refresh::Uniform(2)));
        editing.began(RunId(7));
        assert!(editing.finished(RunId(6), &[9; 16], &picture(200)).is_none());
        let seen = editing.finished(RunId(7), &[9; 16], &picture(200)).unwrap();
        assert_eq!((seen.rgb[(5 * 16 + 5) * 3], editing.codes()), (200, &[9; 16][..]));
        assert_eq!(seen.rgb[(15 * 16 + 15) * 3], 10, "beyond the seam");
        assert!(editing.present().is_made && editing.region().count() == 5);
        editing.undo();
        assert_eq!((editing.codes()[3], editing.region().count()), (3, 5));
        editing.undo();
        assert_eq!((editing.region().count(), editing.present().number), (0, 0));
        editing.undo();
        editing.redo();
        editing.redo();
        assert_eq!((editing.codes(), editing.present().number), (&[9; 16][..], 1));
        editing.undo();
        editing.change(Region::all(GRID));
        assert!(!editing.can_redo(), "another way was taken");
        assert_eq!(editing.first().picture.rgb[0], 10);
        for _ in 0..MOMENTS {
            editing.change(editing.region().inverted());
        }
        assert!(editing.moments.len() <= MOMENTS && editing.first().region.count() == 0);
        editing.change(Region::all(GRID));
        editing.began(RunId(9));
        editing.lost(RunId(8));
        assert_eq!(editing.run(), Some(RunId(9)));
        editing.lost(RunId(9));
        assert_eq!(editing.run(), None);
    }

    #[test]
    fn strokes_during_a_run_stay_and_do_not_move_what_it_makes() {
        let mut editing = editing();
        editing.radius = 0;
        editing.paint([0, 0]);
        editing.lift();
        editing.began(RunId(1));
        editing.paint([3, 3]);
        editing.lift();
        let seen = editing.finished(RunId(1), &[9; 16], &picture(200)).unwrap();
        // Made where the run began, and not where was painted since.
        assert_eq!((seen.rgb[(2 * 16 + 2) * 3], seen.rgb[(14 * 16 + 14) * 3]), (200, 10));
        assert_eq!(editing.region().count(), 2);
        assert!(!editing.present().is_made, "there is something left to make");
    }
}
