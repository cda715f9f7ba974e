//! Every action of the studio, once: its menu, text, tooltip, icon and keys. Buttons, menus, the palette and the keyboard read them
//! from here.

use eframe::egui::{Key, KeyboardShortcut, Modifiers};

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

/// What is known of a command.
struct About {
    menu: Menu,
    icon: &'static str,
    text: &'static str,
    tooltip: &'static str,
    keys: Option<KeyboardShortcut>,
}

fn none() -> Option<KeyboardShortcut> {
    None
}

fn plain(key: Key) -> Option<KeyboardShortcut> {
    Some(KeyboardShortcut::new(Modifiers::NONE, key))
}

fn command(key: Key) -> Option<KeyboardShortcut> {
    Some(KeyboardShortcut::new(Modifiers::COMMAND, key))
}

fn shifted(key: Key) -> Option<KeyboardShortcut> {
    Some(KeyboardShortcut::new(Modifiers::COMMAND | Modifiers::SHIFT, key))
}

/// Makes `Command` and what is known of each from a table, in the order of menus and palette.
macro_rules! commands {
    ($(#[doc = $doc:literal] $name:ident: $menu:ident $icon:literal $text:literal, $tooltip:literal, $keys:expr;)*) => {
        /// What a person can do.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Command {
            $(#[doc = $doc] $name,)*
        }

        impl Command {
            /// All, in the order of menus and palette.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            fn about(self) -> About {
                match self {
                    $(Self::$name => About {
                        menu: Menu::$menu,
                        icon: $icon,
                        text: $text,
                        tooltip: $tooltip,
                        keys: $keys,
                    },)*
                }
            }
        }
    };
}

commands! {
    /// Run the recipe.
    Generate: Run "▶" "Generate", "Makes pictures with the settings at the left", command(Key::Enter);
    /// Run the recipe after what is under way.
    Enqueue: Run "📥" "Add to the queue", "Makes pictures with these settings when those before them are finished", command(Key::J);
    /// Have pictures follow the controls, or not.
    Live: Run "🔄" "Follow the controls", "A quick picture follows every change, and the full settings when nothing changes for a second", command(Key::I);
    /// Go on from the step shown in another way.
    Branch: Run "🌱" "Branch from this step", "Goes on from the step shown with the seed and the method of the controls, or with another seed", plain(Key::B);
    /// Make a part of the picture shown anew.
    Edit: Run "✏" "Edit the picture", "Makes a part of the picture anew: paint it, and say what the whole picture is to show", plain(Key::E);
    /// To what was before.
    Undo: Run "↺" "Undo", "Goes back by a stroke or a run of the edit; the old tokens are there at once", command(Key::Z);
    /// And back.
    Redo: Run "↻" "Redo", "Takes back what was undone", shifted(Key::Z);
    /// Back to the runs.
    LeaveEditing: Run "✔" "Leave editing", "Shows the runs again; what was made stays in the history", none();
    /// Stop the run.
    Stop: Run "⏹" "Stop", "Stops the run after the step under way", plain(Key::Escape);
    /// Draw another seed.
    NewSeed: Run "🎲" "New seed", "Draws another seed: another picture of the same words", command(Key::D);
    /// Keep the seed from run to run, or not.
    LockSeed: Run "🔒" "Keep the seed", "Keeps the seed from run to run, so that only what you change makes a difference", command(Key::L);
    /// Run the recipe by several methods.
    Compare: Run "🏁" "Compare methods", "Runs the same seed by several methods, one beside the other", shifted(Key::Enter);
    /// Put the present settings beside the methods that are compared.
    AddMethod: Run "➕" "Add these settings", "Runs the settings on the left beside the methods that are compared, from the same seed", none();
    /// Run seeds and methods for the prompt, and have every picture judged.
    Sweep: Run "📈" "Sweep over seeds and methods", "Eight seeds of each method for this prompt, judged; once more adds as many", none();
    /// Make a pair for the blind test.
    NextPair: Run "👓" "Next blind pair", "Makes a picture with and without acceleration, to be judged blindly", none();
    /// Have every panel of the storyboard made.
    Board: Run "🎬" "Make the board", "Makes the panels of the storyboard that are not there yet, with the settings and the seed at the left", none();
    /// Add the prompt to the storyboard.
    AddPanel: Run "➕" "Add to the board", "Adds a panel to the storyboard with what is asked for at the left", none();
    /// Make the step shown a full one of the next run, or not.
    ToggleFull: Run "⬛" "Full step or not", "Makes the step shown run the full model in the next run, or not", plain(Key::F);
    /// Full steps spread evenly again.
    UniformRefresh: Run "📊" "Spread full steps evenly", "Replaces full steps that were picked by hand with as many, evenly spread", command(Key::U);
    /// To the first step.
    FirstStep: Run "⏮" "First step", "Shows what the first step left", plain(Key::Home);
    /// A step back.
    PreviousStep: Run "◀" "Previous step", "Goes back by a step of the last run", plain(Key::ArrowLeft);
    /// A step on.
    NextStep: Run "▶" "Next step", "Goes on by a step of the last run", plain(Key::ArrowRight);
    /// To the finished picture.
    LastStep: Run "⏭" "Finished picture", "Shows the finished picture", plain(Key::End);
    /// Compute on the graphics device.
    ComputeOnGpu: Run "⚡" "Compute on the GPU", "Goes on with the fastest graphics device there is, at the portable tier", none();
    /// Compute on the processor.
    ComputeOnCpu: Run "🖥" "Compute on the CPU", "Goes on without a graphics device: the same programs and the same tokens, slower", none();
    /// Open a model folder.
    OpenModel: File "🗁" "Open a model…", "Opens a folder with config.json and weights", command(Key::O);
    /// The same of a picture from a file.
    EditPicture: File "🖼" "Edit a picture…", "Opens a PNG, JPEG, WebP or GIF to make a part of it anew; files can also be dropped on the window", none();
    /// Forget the weights that the browser stores.
    ClearStored: File "🗑" "Clear stored weights", "Frees what the browser keeps of the models; they are fetched again when needed", none();
    /// Save the pictures.
    SavePng: File "💾" "Save as PNG…", "Saves the pictures; drop the file here to have its settings back", command(Key::S);
    /// Save them resolving.
    SaveGif: File "🎞" "Save as animation…", "Saves the pictures resolving step by step, as a GIF", shifted(Key::S);
    /// Save all runs of the history on a sheet.
    SaveSheet: File "📑" "Save a contact sheet…", "Saves the pictures of the history on one sheet", none();
    /// Save what was said in it.
    SaveBlind: File "📄" "Save the blind test…", "Saves what was said in the blind test, as CSV", none();
    /// Save the storyboard as a picture.
    SaveBoard: File "💾" "Save the board as PNG…", "Saves the panels with their words on one page, as PNG", none();
    /// Save it as a page.
    SaveBoardSvg: File "📄" "Save the board as SVG…", "Saves the panels on a page of A4 whose words are text, as SVG: for print, and for PDF", none();
    /// The picture to the clipboard.
    CopyPicture: File "📋" "Copy picture", "Puts the picture on the clipboard", shifted(Key::C);
    /// A link that opens this run.
    CopyLink: File "🔗" "Copy link", "Puts on the clipboard what opens this run again: a link in the browser, a command elsewhere", shifted(Key::L);
    /// Close the window.
    Quit: File "🚪" "Quit", "Closes the window; settings and runs are kept for the next start", command(Key::Q);
    /// Show what is masked.
    ShowMasked: View "🔳" "Show masked tokens", "Hatches tokens that are not decided yet", command(Key::Num1);
    /// Frame what the step revealed.
    ShowNew: View "✨" "Show new tokens", "Frames the tokens that the step revealed", command(Key::Num2);
    /// Shade by confidence.
    ShowConfidence: View "🌓" "Show confidence", "Shades tokens by how long they took to be decided", command(Key::Num3);
    /// Shade by how far features moved.
    ShowMoved: View "🌊" "Show movement", "Shades tokens by how far their features moved in the step: the new tokens' neighbours move most", command(Key::Num4);
    /// A closer look.
    ZoomIn: View "➕" "Closer", "Shows the middle of the picture larger", plain(Key::Plus);
    /// From farther away.
    ZoomOut: View "➖" "Farther", "Shows more of the picture", plain(Key::Minus);
    /// The whole picture, centred.
    ResetView: View "⛶" "Fit the picture", "Shows the whole picture in the middle", command(Key::Num0);
    /// Follow the system's theme.
    ThemeSystem: View "💻" "Theme of the system", "Light or dark as the system is", none();
    /// Light.
    ThemeLight: View "☀" "Light theme", "Light, whatever the system is", none();
    /// Dark.
    ThemeDark: View "🌙" "Dark theme", "Dark, whatever the system is", none();
    /// Begin the tour, or go on with it.
    Tour: View "💡" "Take the tour", "Shows in seven stops how a picture is made and what the refresh budget does", plain(Key::F1);
    /// Its next stop.
    TourNext: View "▶" "Next stop of the tour", "Goes on with the tour", plain(Key::PageDown);
    /// The stop before.
    TourBack: View "◀" "Stop before", "Goes back in the tour", plain(Key::PageUp);
    /// End it.
    TourLeave: View "✖" "Leave the tour", "Ends the tour; it goes on from here next time", none();
    /// Search all commands.
    Palette: View "⌘" "All commands…", "Finds a command by its name", command(Key::K);
}

impl Command {
    /// Those that mean something on this system.
    pub fn here() -> impl Iterator<Item = Self> {
        Self::ALL.iter().copied().filter(|command| command.is_here())
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
        self.about().text
    }

    /// What it does, on hover.
    pub fn tooltip(self) -> &'static str {
        self.about().tooltip
    }

    /// A glyph of the default fonts.
    pub fn icon(self) -> &'static str {
        self.about().icon
    }

    /// Keys.
    pub fn shortcut(self) -> Option<KeyboardShortcut> {
        self.about().keys
    }

    /// Its menu.
    pub fn menu(self) -> Menu {
        self.about().menu
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
        for &command in Command::ALL {
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
        for &command in Command::ALL {
            assert!(command.matches(command.text()) && command.matches(""), "{command:?}");
        }
        assert!(!Command::Stop.matches("seed"));
    }
}
