//! Every action of the studio, once: its text, tooltip, icon and keys. Buttons, menus, the palette and the keyboard read them
//! from here. One table of all, and longer for that than other files.

use eframe::egui::{Key, KeyboardShortcut, Modifiers};

/// What a person can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Command {
    /// Run the recipe.
    Generate,
    /// Run the recipe after what is under way.
    Enqueue,
    /// Have pictures follow the controls, or not.
    Live,
    /// Go on from the step shown in another way.
    Branch,
    /// Make a part of the picture shown anew.
    Edit,
    /// The same of a picture from a file.
    EditPicture,
    /// To what was before.
    Undo,
    /// And back.
    Redo,
    /// Back to the runs.
    LeaveEditing,
    /// Stop the run.
    Stop,
    /// Draw another seed.
    NewSeed,
    /// Keep the seed from run to run, or not.
    LockSeed,
    /// Run the recipe by several methods.
    Compare,
    /// Put the present settings beside the methods that are compared.
    AddMethod,
    /// Run seeds and methods for the prompt, and have every picture judged.
    Sweep,
    /// Make a pair for the blind test.
    NextPair,
    /// Save what was said in it.
    SaveBlind,
    /// Open a model folder.
    OpenModel,
    /// Forget the weights that the browser stores.
    ClearStored,
    /// To the first step.
    FirstStep,
    /// A step back.
    PreviousStep,
    /// A step on.
    NextStep,
    /// To the finished picture.
    LastStep,
    /// Full steps spread evenly again.
    UniformRefresh,
    /// Show what is masked.
    ShowMasked,
    /// Frame what the step revealed.
    ShowNew,
    /// Shade by confidence.
    ShowConfidence,
    /// Shade by how far features moved.
    ShowMoved,
    /// The whole picture, centred.
    ResetView,
    /// Save the pictures.
    SavePng,
    /// Save them resolving.
    SaveGif,
    /// Save all runs of the history on a sheet.
    SaveSheet,
    /// The picture to the clipboard.
    CopyPicture,
    /// A link that opens this run.
    CopyLink,
    /// Follow the system's theme.
    ThemeSystem,
    /// Light.
    ThemeLight,
    /// Dark.
    ThemeDark,
    /// Search all commands.
    Palette,
    /// Close the window.
    Quit,
    /// Make the step shown a full one of the next run, or not.
    ToggleFull,
    /// A closer look.
    ZoomIn,
    /// From farther away.
    ZoomOut,
    /// Compute on the graphics device.
    ComputeOnGpu,
    /// Compute on the processor.
    ComputeOnCpu,
    /// Begin the tour, or go on with it.
    Tour,
    /// Its next stop.
    TourNext,
    /// The stop before.
    TourBack,
    /// End it.
    TourLeave,
}

/// Where menus put a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Menu {
    /// Files and the clipboard.
    File,
    /// Runs.
    Run,
    /// What is shown.
    View,
}

impl Menu {
    /// All, from left to right.
    pub const ALL: [Self; 3] = [Self::File, Self::Run, Self::View];

    /// Its title.
    pub fn text(self) -> &'static str {
        match self {
            Self::File => "File",
            Self::Run => "Run",
            Self::View => "View",
        }
    }
}

impl Command {
    /// All, in the order of menus and palette.
    pub const ALL: [Self; 48] = [
        Self::Generate,
        Self::Enqueue,
        Self::Live,
        Self::Branch,
        Self::Edit,
        Self::Undo,
        Self::Redo,
        Self::LeaveEditing,
        Self::Stop,
        Self::NewSeed,
        Self::LockSeed,
        Self::Compare,
        Self::AddMethod,
        Self::Sweep,
        Self::NextPair,
        Self::ToggleFull,
        Self::UniformRefresh,
        Self::FirstStep,
        Self::PreviousStep,
        Self::NextStep,
        Self::LastStep,
        Self::ComputeOnGpu,
        Self::ComputeOnCpu,
        Self::OpenModel,
        Self::EditPicture,
        Self::ClearStored,
        Self::SavePng,
        Self::SaveGif,
        Self::SaveSheet,
        Self::SaveBlind,
        Self::CopyPicture,
        Self::CopyLink,
        Self::Quit,
        Self::ShowMasked,
        Self::ShowNew,
        Self::ShowConfidence,
        Self::ShowMoved,
        Self::ZoomIn,
        Self::ZoomOut,
        Self::ResetView,
        Self::ThemeSystem,
        Self::ThemeLight,
        Self::ThemeDark,
        Self::Tour,
        Self::TourNext,
        Self::TourBack,
        Self::TourLeave,
        Self::Palette,
    ];

    /// Those that mean something on this system.
    pub fn here() -> impl Iterator<Item = Self> {
        Self::ALL.into_iter().filter(|command| command.is_here())
    }

    /// Weights are stored by the browser alone, and its page is closed by its own means.
    pub fn is_here(self) -> bool {
        let page = cfg!(target_arch = "wasm32");
        match self {
            Self::ClearStored => page,
            Self::Quit => !page,
            _ => true,
        }
    }

    /// Sentence case; an ellipsis where a dialog follows.
    pub fn text(self) -> &'static str {
        match self {
            Self::Generate => "Generate",
            Self::Enqueue => "Add to the queue",
            Self::Live => "Follow the controls",
            Self::Branch => "Branch from this step",
            Self::Edit => "Edit the picture",
            Self::EditPicture => "Edit a picture…",
            Self::Undo => "Undo",
            Self::Redo => "Redo",
            Self::LeaveEditing => "Leave editing",
            Self::Stop => "Stop",
            Self::NewSeed => "New seed",
            Self::LockSeed => "Keep the seed",
            Self::Compare => "Compare methods",
            Self::AddMethod => "Add these settings",
            Self::Sweep => "Sweep over seeds and methods",
            Self::NextPair => "Next blind pair",
            Self::SaveBlind => "Save the blind test…",
            Self::OpenModel => "Open a model…",
            Self::ClearStored => "Clear stored weights",
            Self::FirstStep => "First step",
            Self::PreviousStep => "Previous step",
            Self::NextStep => "Next step",
            Self::LastStep => "Finished picture",
            Self::UniformRefresh => "Spread full steps evenly",
            Self::ShowMasked => "Show masked tokens",
            Self::ShowNew => "Show new tokens",
            Self::ShowConfidence => "Show confidence",
            Self::ShowMoved => "Show movement",
            Self::ResetView => "Fit the picture",
            Self::SavePng => "Save as PNG…",
            Self::SaveGif => "Save as animation…",
            Self::SaveSheet => "Save a contact sheet…",
            Self::CopyPicture => "Copy picture",
            Self::CopyLink => "Copy link",
            Self::ThemeSystem => "Theme of the system",
            Self::ThemeLight => "Light theme",
            Self::ThemeDark => "Dark theme",
            Self::Palette => "All commands…",
            Self::Quit => "Quit",
            Self::ToggleFull => "Full step or not",
            Self::ZoomIn => "Closer",
            Self::ZoomOut => "Farther",
            Self::ComputeOnGpu => "Compute on the GPU",
            Self::ComputeOnCpu => "Compute on the CPU",
            Self::Tour => "Take the tour",
            Self::TourNext => "Next stop of the tour",
            Self::TourBack => "Stop before",
            Self::TourLeave => "Leave the tour",
        }
    }

    /// What it does, on hover.
    pub fn tooltip(self) -> &'static str {
        match self {
            Self::Generate => "Makes pictures with the settings at the left",
            Self::Enqueue => "Makes pictures with these settings when those before them are finished",
            Self::Live => {
                "A quick picture follows every change, and the full settings when nothing changes for a second"
            }
            Self::Branch => {
                "Goes on from the step shown with the seed and the method of the controls, or with another seed"
            }
            Self::Edit => {
                "Makes a part of the picture anew: paint it, and say what the whole picture is to show"
            }
            Self::EditPicture => {
                "Opens a PNG, JPEG, WebP or GIF to make a part of it anew; files can also be dropped on the window"
            }
            Self::Undo => "Goes back by a stroke or a run of the edit; the old tokens are there at once",
            Self::Redo => "Takes back what was undone",
            Self::LeaveEditing => "Shows the runs again; what was made stays in the history",
            Self::Stop => "Stops the run after the step under way",
            Self::NewSeed => "Draws another seed: another picture of the same words",
            Self::LockSeed => {
                "Keeps the seed from run to run, so that only what you change makes a difference"
            }
            Self::Compare => "Runs the same seed by several methods, one beside the other",
            Self::AddMethod => {
                "Runs the settings on the left beside the methods that are compared, from the same seed"
            }
            Self::Sweep => "Eight seeds of each method for this prompt, judged; once more adds as many",
            Self::NextPair => "Makes a picture with and without acceleration, to be judged blindly",
            Self::SaveBlind => "Saves what was said in the blind test, as CSV",
            Self::OpenModel => "Opens a folder with config.json and weights",
            Self::ClearStored => {
                "Frees what the browser keeps of the models; they are fetched again when needed"
            }
            Self::FirstStep => "Shows what the first step left",
            Self::PreviousStep => "Goes back by a step of the last run",
            Self::NextStep => "Goes on by a step of the last run",
            Self::LastStep => "Shows the finished picture",
            Self::UniformRefresh => {
                "Replaces full steps that were picked by hand with as many, evenly spread"
            }
            Self::ShowMasked => "Hatches tokens that are not decided yet",
            Self::ShowNew => "Frames the tokens that the step revealed",
            Self::ShowMoved => {
                "Shades tokens by how far their features moved in the step: the new tokens' neighbours move most"
            }
            Self::ShowConfidence => "Shades tokens by how long they took to be decided",
            Self::ResetView => "Shows the whole picture in the middle",
            Self::SavePng => "Saves the pictures; drop the file here to have its settings back",
            Self::SaveGif => "Saves the pictures resolving step by step, as a GIF",
            Self::SaveSheet => "Saves the pictures of the history on one sheet",
            Self::CopyPicture => "Puts the picture on the clipboard",
            Self::CopyLink => {
                "Puts on the clipboard what opens this run again: a link in the browser, a command elsewhere"
            }
            Self::ThemeSystem => "Light or dark as the system is",
            Self::ThemeLight => "Light, whatever the system is",
            Self::ThemeDark => "Dark, whatever the system is",
            Self::Palette => "Finds a command by its name",
            Self::ToggleFull => "Makes the step shown run the full model in the next run, or not",
            Self::ZoomIn => "Shows the middle of the picture larger",
            Self::ZoomOut => "Shows more of the picture",
            Self::Quit => "Closes the window; settings and runs are kept for the next start",
            Self::ComputeOnGpu => "Goes on with the fastest graphics device there is, at the portable tier",
            Self::ComputeOnCpu => {
                "Goes on without a graphics device: the same programs and the same tokens, slower"
            }
            Self::Tour => "Shows in seven stops how a picture is made and what the refresh budget does",
            Self::TourNext => "Goes on with the tour",
            Self::TourBack => "Goes back in the tour",
            Self::TourLeave => "Ends the tour; it goes on from here next time",
        }
    }

    /// A glyph of the default fonts.
    pub fn icon(self) -> &'static str {
        match self {
            Self::Generate => "▶",
            Self::Enqueue => "📥",
            Self::Live => "🔄",
            Self::Branch => "🌱",
            Self::Edit => "✏",
            Self::EditPicture => "🖼",
            Self::Undo => "↺",
            Self::Redo => "↻",
            Self::LeaveEditing => "✔",
            Self::Stop => "⏹",
            Self::NewSeed => "🎲",
            Self::LockSeed => "🔒",
            Self::Compare => "🏁",
            Self::AddMethod => "➕",
            Self::Sweep => "📈",
            Self::NextPair => "👓",
            Self::SaveBlind => "📄",
            Self::OpenModel => "🗁",
            Self::ClearStored => "🗑",
            Self::FirstStep => "⏮",
            Self::PreviousStep => "◀",
            Self::NextStep => "▶",
            Self::LastStep => "⏭",
            Self::UniformRefresh => "📊",
            Self::ShowMasked => "🔳",
            Self::ShowNew => "✨",
            Self::ShowConfidence => "🌓",
            Self::ShowMoved => "🌊",
            Self::ResetView => "⛶",
            Self::SavePng => "💾",
            Self::SaveGif => "🎞",
            Self::SaveSheet => "📑",
            Self::CopyPicture => "📋",
            Self::CopyLink => "🔗",
            Self::ThemeSystem => "💻",
            Self::ThemeLight => "☀",
            Self::ThemeDark => "🌙",
            Self::Palette => "⌘",
            Self::Quit => "🚪",
            Self::ToggleFull => "⬛",
            Self::ZoomIn => "➕",
            Self::ZoomOut => "➖",
            Self::ComputeOnGpu => "⚡",
            Self::ComputeOnCpu => "🖥",
            Self::Tour => "💡",
            Self::TourNext => "▶",
            Self::TourBack => "◀",
            Self::TourLeave => "✖",
        }
    }

    /// Keys.
    pub fn shortcut(self) -> Option<KeyboardShortcut> {
        let plain = |key| Some(KeyboardShortcut::new(Modifiers::NONE, key));
        let command = |key| Some(KeyboardShortcut::new(Modifiers::COMMAND, key));
        let shifted = |key| Some(KeyboardShortcut::new(Modifiers::COMMAND | Modifiers::SHIFT, key));
        match self {
            Self::Generate => command(Key::Enter),
            Self::Enqueue => command(Key::J),
            Self::Live => command(Key::I),
            Self::Branch => plain(Key::B),
            Self::Edit => plain(Key::E),
            Self::Undo => command(Key::Z),
            Self::Redo => shifted(Key::Z),
            Self::Stop => plain(Key::Escape),
            Self::Tour => plain(Key::F1),
            Self::TourNext => plain(Key::PageDown),
            Self::TourBack => plain(Key::PageUp),
            Self::NewSeed => command(Key::D),
            Self::LockSeed => command(Key::L),
            Self::Compare => shifted(Key::Enter),
            Self::OpenModel => command(Key::O),
            Self::FirstStep => plain(Key::Home),
            Self::PreviousStep => plain(Key::ArrowLeft),
            Self::NextStep => plain(Key::ArrowRight),
            Self::LastStep => plain(Key::End),
            Self::UniformRefresh => command(Key::U),
            Self::ShowMasked => command(Key::Num1),
            Self::ShowNew => command(Key::Num2),
            Self::ShowConfidence => command(Key::Num3),
            Self::ShowMoved => command(Key::Num4),
            Self::ResetView => command(Key::Num0),
            Self::SavePng => command(Key::S),
            Self::SaveGif => shifted(Key::S),
            Self::CopyPicture => shifted(Key::C),
            Self::CopyLink => shifted(Key::L),
            Self::Palette => command(Key::K),
            Self::Quit => command(Key::Q),
            Self::ToggleFull => plain(Key::F),
            Self::ZoomIn => plain(Key::Plus),
            Self::ZoomOut => plain(Key::Minus),
            Self::TourLeave
            | Self::EditPicture
            | Self::LeaveEditing
            | Self::ClearStored
            | Self::AddMethod
            | Self::Sweep
            | Self::NextPair
            | Self::SaveBlind
            | Self::SaveSheet
            | Self::ComputeOnGpu
            | Self::ComputeOnCpu
            | Self::ThemeSystem
            | Self::ThemeLight
            | Self::ThemeDark => None,
        }
    }

    /// Its menu.
    pub fn menu(self) -> Menu {
        match self {
            Self::OpenModel
            | Self::EditPicture
            | Self::ClearStored
            | Self::SavePng
            | Self::SaveGif
            | Self::SaveSheet
            | Self::SaveBlind
            | Self::CopyPicture
            | Self::CopyLink
            | Self::Quit => Menu::File,
            Self::Generate
            | Self::Enqueue
            | Self::Live
            | Self::Branch
            | Self::Edit
            | Self::Undo
            | Self::Redo
            | Self::LeaveEditing
            | Self::Stop
            | Self::NewSeed
            | Self::LockSeed
            | Self::Compare
            | Self::AddMethod
            | Self::Sweep
            | Self::NextPair
            | Self::ToggleFull
            | Self::UniformRefresh
            | Self::FirstStep
            | Self::PreviousStep
            | Self::NextStep
            | Self::LastStep
            | Self::ComputeOnGpu
            | Self::ComputeOnCpu => Menu::Run,
            Self::ShowMasked
            | Self::ShowNew
            | Self::ShowConfidence
            | Self::ShowMoved
            | Self::ZoomIn
            | Self::ZoomOut
            | Self::ResetView
            | Self::ThemeSystem
            | Self::ThemeLight
            | Self::ThemeDark
            | Self::Tour
            | Self::TourNext
            | Self::TourBack
            | Self::TourLeave
            | Self::Palette => Menu::View,
        }
    }

    /// Whether its keys also mean something to a text field that is being edited.
    pub fn yields_to_text(self) -> bool {
        // A field has an undo of its own.
        let has_own = matches!(self, Self::Undo | Self::Redo);
        let is_letter =
            |keys: KeyboardShortcut| keys.modifiers == Modifiers::NONE && keys.logical_key != Key::Escape;
        has_own || self.shortcut().is_some_and(is_letter)
    }

    /// Whether it answers to words, in any order and case; all of it does to none.
    pub fn matches(self, words: &str) -> bool {
        let text = format!("{} {}", self.text(), self.tooltip()).to_lowercase();
        words.to_lowercase().split_whitespace().all(|word| text.contains(word))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn texts_are_in_sentence_case_without_a_full_stop() {
        for command in Command::ALL {
            for text in [command.text(), command.tooltip()] {
                assert!(text.starts_with(char::is_uppercase), "{text}");
                assert!(!text.ends_with('.') && !text.ends_with(':'), "{text}");
            }
        }
    }

    #[test]
    fn no_two_commands_share_their_keys() {
        let keys: Vec<_> = Command::ALL.iter().filter_map(|command| command.shortcut()).collect();
        assert_eq!(keys.iter().collect::<HashSet<_>>().len(), keys.len());
    }

    #[test]
    fn every_command_is_listed_once_and_found_by_its_text() {
        assert_eq!(Command::ALL.iter().collect::<HashSet<_>>().len(), Command::ALL.len());
        for command in Command::ALL {
            assert!(command.matches(command.text()) && command.matches(""), "{command:?}");
        }
        assert!(!Command::Stop.matches("seed"));
    }
}
