//! Which commands can be given, by what the window shows: buttons, menus and keys ask here.

use super::command::Command;
use super::editing::Editing;
use super::run::{Progress, Run};
use super::state::State;
use crate::generate::refresh::Refresh;

impl State {
    /// Whether a command can be given now.
    pub fn allows(&self, command: Command) -> bool {
        let steps = self.shown_run().map_or(0, |run| run.steps.len());
        let finished = self.shown_run().is_some_and(|run| run.progress == Progress::Finished);
        match command {
            Command::NextPair => self.model.is_some() && self.recipe.is_some() && self.blind.making.is_none(),
            Command::ClearStored => self.stored > 0,
            Command::SaveBlind => !self.blind.judged.is_empty(),
            // Nothing is painted, so there is nothing to make.
            Command::Generate
                if self.editing.as_ref().is_some_and(|editing| editing.region().count() == 0) =>
            {
                false
            }
            Command::Edit => {
                let model = self.model.as_ref().map(|model| &model.source);
                let run = self.shown_run().filter(|run| Some(&run.recipe.model) == model);
                self.editing.is_none() && run.is_some_and(|run| !run.pictures.is_empty())
            }
            Command::EditPicture => self.model.is_some(),
            Command::LeaveEditing => self.editing.is_some(),
            Command::Undo => self.editing.as_ref().is_some_and(Editing::can_undo),
            Command::Redo => self.editing.as_ref().is_some_and(Editing::can_redo),
            Command::Generate
            | Command::Enqueue
            | Command::Sweep
            | Command::Compare
            | Command::AddMethod
            | Command::NewSeed
            | Command::LockSeed
            | Command::CopyLink => self.model.is_some() && self.recipe.is_some(),
            Command::Stop => {
                let making = self.sweep.is_active() || self.board.is_active();
                self.open_run().is_some() || making || self.tour.at.is_some()
            }
            Command::Board => {
                let has_words = self.board.panels().iter().any(|panel| !panel.text.trim().is_empty());
                self.model.is_some() && self.recipe.is_some() && has_words && !self.board.is_active()
            }
            Command::AddPanel => self.recipe.is_some() && self.board.has_room(),
            Command::SaveBoard | Command::SaveBoardSvg => self.on_board().next().is_some(),
            Command::FirstStep | Command::PreviousStep | Command::NextStep | Command::LastStep => steps > 0,
            // The run shown may have had more steps than the next one.
            Command::ToggleFull => {
                let next = self.recipe.as_ref().map_or(0, |recipe| recipe.draw.steps as usize);
                self.step().is_some_and(|step| step < next)
            }
            Command::UniformRefresh => {
                self.recipe.as_ref().is_some_and(|recipe| matches!(recipe.refresh, Refresh::List(_)))
            }
            Command::SavePng | Command::SaveGif | Command::CopyPicture => finished,
            Command::SaveSheet => self.runs.iter().any(|run| run.progress == Progress::Finished),
            Command::Branch => {
                let run = self.shown_run().filter(|run| run.progress == Progress::Finished);
                let of_model =
                    |run: &&Run| self.model.as_ref().is_some_and(|model| model.source == run.recipe.model);
                let decides = self.recipe.as_ref().is_none_or(|recipe| recipe.draw.reveal.is_free());
                let behind = run.filter(of_model).zip(self.step());
                behind.is_some_and(|(run, step)| {
                    !decides && step + 1 < run.plan.len() && run.codes_after(step).is_some()
                })
            }
            Command::TourNext | Command::TourBack | Command::TourLeave => self.tour.at.is_some(),
            _ => true,
        }
    }
}
