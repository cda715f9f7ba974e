//! Colours and spaces, by what they mean. Full and shortcut steps have the same two colours wherever they appear.

use eframe::egui::{self, Color32, CornerRadius, Stroke, Theme, Visuals};

/// The colours of a theme.
#[derive(Clone, Copy, Debug)]
pub struct Palette {
    /// Full steps.
    pub full: Color32,
    /// Steps of a predictor.
    pub predicted: Color32,
    /// The one accent.
    pub accent: Color32,
    /// Behind the canvas.
    pub canvas: Color32,
    /// Masked tokens, and the hatching over them.
    pub masked: [Color32; 2],
    /// Frames of new tokens.
    pub new: Color32,
    /// What failed.
    pub failure: Color32,
    /// Hints, and what matters less.
    pub weak: Color32,
    /// What is selected, on [`Self::selected`].
    pub on_selected: Color32,
    /// Behind what is selected, and behind the one button that matters.
    pub selected: Color32,
}

impl Palette {
    const DARK: Self = Self {
        full: Color32::from_rgb(0xf2, 0xa3, 0x3c),
        predicted: Color32::from_rgb(0x2f, 0xb5, 0xa4),
        accent: Color32::from_rgb(0x6c, 0xa6, 0xff),
        canvas: Color32::from_rgb(0x13, 0x14, 0x17),
        masked: [Color32::from_rgb(0x2b, 0x2d, 0x33), Color32::from_rgb(0x3a, 0x3d, 0x45)],
        new: Color32::WHITE,
        failure: Color32::from_rgb(0xff, 0x7b, 0x72),
        weak: Color32::from_rgb(0x9a, 0x9e, 0xa8),
        on_selected: Color32::WHITE,
        selected: Color32::from_rgb(0x2f, 0x55, 0x92),
    };
    const LIGHT: Self = Self {
        full: Color32::from_rgb(0x9a, 0x58, 0x00),
        predicted: Color32::from_rgb(0x00, 0x72, 0x65),
        accent: Color32::from_rgb(0x1f, 0x5f, 0xd0),
        canvas: Color32::from_rgb(0xe9, 0xea, 0xee),
        masked: [Color32::from_rgb(0xc9, 0xcc, 0xd3), Color32::from_rgb(0xb4, 0xb8, 0xc1)],
        new: Color32::WHITE,
        failure: Color32::from_rgb(0xb4, 0x23, 0x18),
        weak: Color32::from_rgb(0x5c, 0x60, 0x68),
        on_selected: Color32::from_rgb(0x10, 0x1c, 0x38),
        selected: Color32::from_rgb(0xb4, 0xcd, 0xf7),
    };

    /// Of the theme that a part of the window has.
    pub fn of(ui: &egui::Ui) -> Self {
        if ui.visuals().dark_mode { Self::DARK } else { Self::LIGHT }
    }
}

/// Prepares both themes.
pub fn install(context: &egui::Context) {
    for (theme, palette) in [(Theme::Dark, Palette::DARK), (Theme::Light, Palette::LIGHT)] {
        let mut visuals = if theme == Theme::Dark { Visuals::dark() } else { Visuals::light() };
        if theme == Theme::Dark {
            visuals.panel_fill = Color32::from_rgb(0x1b, 0x1d, 0x23);
            visuals.window_fill = visuals.panel_fill;
            visuals.extreme_bg_color = Color32::from_rgb(0x24, 0x27, 0x2f);
        } else {
            visuals.panel_fill = Color32::from_rgb(0xf6, 0xf7, 0xf9);
        }
        visuals.selection.bg_fill = palette.selected;
        visuals.selection.stroke = Stroke::new(1.0, palette.on_selected);
        visuals.hyperlink_color = palette.accent;
        visuals.weak_text_color = Some(palette.weak);
        // egui's grey of what is not touched is too faint for small letters.
        let text = if theme == Theme::Dark { Color32::from_gray(0xc8) } else { Color32::from_gray(0x30) };
        visuals.widgets.noninteractive.fg_stroke.color = text;
        visuals.widgets.inactive.fg_stroke.color = text;
        for widget in [
            &mut visuals.widgets.noninteractive,
            &mut visuals.widgets.inactive,
            &mut visuals.widgets.hovered,
            &mut visuals.widgets.active,
            &mut visuals.widgets.open,
        ] {
            widget.corner_radius = CornerRadius::same(6);
        }
        context.set_visuals_of(theme, visuals);
        context.style_mut_of(theme, |style| {
            style.spacing.item_spacing = egui::vec2(8.0, 6.0);
            style.spacing.button_padding = egui::vec2(8.0, 4.0);
            style.spacing.slider_width = 160.0;
            style.interaction.tooltip_delay = 0.4;
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The Web Content Accessibility Guidelines' ratio of two opaque colours.
    fn contrast(a: Color32, b: Color32) -> f64 {
        let luminance = |color: Color32| {
            let linear = |value: u8| {
                let share = f64::from(value) / 255.0;
                if share <= 0.04045 { share / 12.92 } else { ((share + 0.055) / 1.055).powf(2.4) }
            };
            0.2126 * linear(color.r()) + 0.7152 * linear(color.g()) + 0.0722 * linear(color.b())
        };
        let (light, dark) = (luminance(a).max(luminance(b)), luminance(a).min(luminance(b)));
        (light + 0.05) / (dark + 0.05)
    }

    #[test]
    fn the_ratio_is_the_published_one() {
        assert!((contrast(Color32::WHITE, Color32::BLACK) - 21.0).abs() < 1e-9);
        assert!((contrast(Color32::from_gray(0x76), Color32::WHITE) - 4.54).abs() < 0.01);
    }

    #[test]
    fn all_text_stands_out_from_what_is_behind_it() {
        let context = egui::Context::default();
        install(&context);
        for (theme, palette) in [(Theme::Dark, Palette::DARK), (Theme::Light, Palette::LIGHT)] {
            let visuals = context.style_of(theme).visuals.clone();
            let widgets = &visuals.widgets;
            let behind = [visuals.panel_fill, visuals.window_fill, visuals.extreme_bg_color];
            let texts = [
                ("text", visuals.text_color()),
                ("strong", visuals.strong_text_color()),
                ("hints", visuals.weak_text_color()),
                ("links", visuals.hyperlink_color),
            ];
            let meant = [
                ("full", palette.full),
                ("predicted", palette.predicted),
                ("accent", palette.accent),
                ("failure", palette.failure),
            ];
            let pairs =
                texts.iter().flat_map(|text| behind.iter().map(move |behind| (text.0, text.1, *behind)));
            let meant = meant.iter().map(|meant| (meant.0, meant.1, visuals.panel_fill));
            let canvas = texts.iter().map(|text| (text.0, text.1, palette.canvas));
            let states = [&widgets.inactive, &widgets.hovered, &widgets.active, &widgets.open];
            let buttons = states.iter().map(|state| ("buttons", state.fg_stroke.color, state.weak_bg_fill));
            let selected = [
                ("selected", palette.on_selected, palette.selected),
                ("button", visuals.strong_text_color(), palette.selected),
            ];
            for (name, text, behind) in pairs.chain(meant).chain(canvas).chain(buttons).chain(selected) {
                let found = contrast(text, behind);
                assert!(found >= 4.5, "{theme:?}, {name}: {found:.2} of {text:?} on {behind:?}");
            }
        }
    }
}
