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
    };
    const LIGHT: Self = Self {
        full: Color32::from_rgb(0xb8, 0x6a, 0x00),
        predicted: Color32::from_rgb(0x00, 0x7d, 0x6e),
        accent: Color32::from_rgb(0x1f, 0x5f, 0xd0),
        canvas: Color32::from_rgb(0xe9, 0xea, 0xee),
        masked: [Color32::from_rgb(0xc9, 0xcc, 0xd3), Color32::from_rgb(0xb4, 0xb8, 0xc1)],
        new: Color32::WHITE,
        failure: Color32::from_rgb(0xb4, 0x23, 0x18),
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
        visuals.selection.bg_fill = palette.accent.gamma_multiply(0.45);
        visuals.selection.stroke = Stroke::new(1.0, palette.accent);
        visuals.hyperlink_color = palette.accent;
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
