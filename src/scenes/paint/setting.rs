//! What place and light fix for a whole scene: colours, the horizon, where the light comes from.

use super::super::draws::Draws;
use super::canvas::{Rgb, mix, rgb, scaled, times};

/// Places, as the grammar numbers them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    Meadow,
    Desert,
    Snow,
    Beach,
    Sea,
    Road,
    Forest,
    Moon,
}

const PLACES: [Place; 8] = [
    Place::Meadow,
    Place::Desert,
    Place::Snow,
    Place::Beach,
    Place::Sea,
    Place::Road,
    Place::Forest,
    Place::Moon,
];

/// Lights, as the grammar numbers them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Light {
    Sunny,
    Sunset,
    Night,
    Grey,
}

const LIGHTS: [Light; 4] = [Light::Sunny, Light::Sunset, Light::Night, Light::Grey];

/// The look of a scene.
pub(super) struct Setting {
    pub(super) place: Place,
    pub(super) light: Light,
    /// Where the sky ends.
    pub(super) horizon: f32,
    /// The sky at the top, in the middle and at the horizon.
    pub(super) sky: [Rgb; 3],
    /// Sun or moon: its middle, and its radius.
    pub(super) sun: [f32; 2],
    pub(super) sun_radius: f32,
    /// Colour of sun or moon, and of what it lights.
    pub(super) sun_colour: Rgb,
    /// Ground far away and near, lit already.
    pub(super) ground: [Rgb; 2],
    /// What falls on ground and objects is multiplied by this.
    pub(super) tint: Rgb,
    /// How dark a cast shadow is, and how long for a height of 1.
    pub(super) shadow: f32,
    pub(super) shadow_length: f32,
    /// How bright the edges towards the light are.
    pub(super) rim: f32,
}

/// Top, middle, horizon.
const SUNNY: [[u32; 3]; 4] = [
    [0x2F7FD8, 0x6DB5EE, 0xD3EEFA],
    [0x3A9AE6, 0x86CAF5, 0xE6F6FB],
    [0x1F6FC4, 0x5AA9E2, 0xBFE3F3],
    [0x4AA8DC, 0x93D3EC, 0xF3F6E4],
];
const SUNSET: [[u32; 3]; 5] = [
    [0x3B3478, 0xC75B83, 0xFFB36B],
    [0x5A3F86, 0xE87672, 0xFFD08A],
    [0x2E3F7A, 0xA86893, 0xFF9E66],
    [0x7A3F77, 0xF0745C, 0xFFDC8C],
    [0x4566A0, 0xE59A8C, 0xFFCFA0],
];
const NIGHT: [[u32; 3]; 4] = [
    [0x07102C, 0x14305A, 0x2F4F7E],
    [0x0B0B2A, 0x222356, 0x4A4280],
    [0x041022, 0x0D2B44, 0x2A5A70],
    [0x0A0E26, 0x1B2450, 0x3A4A86],
];
const GREY: [[u32; 3]; 4] = [
    [0x7F8B98, 0xA5AFB9, 0xD3D9DE],
    [0x6B7682, 0x97A1AB, 0xC3CAD0],
    [0x8E959B, 0xB4B9BD, 0xDCDDDC],
    [0x748290, 0x93A0AC, 0xB9C4CC],
];
/// The moon's sky, by light.
const SPACE: [[u32; 3]; 4] = [
    [0x02050F, 0x061026, 0x0E1F42],
    [0x12091E, 0x40203A, 0xC0603E],
    [0x000108, 0x020410, 0x080C20],
    [0x4A4D54, 0x6A6E75, 0x93969B],
];

/// Ground, far and near, in white light.
const fn grounds(place: Place) -> &'static [[u32; 2]] {
    match place {
        Place::Meadow => {
            &[[0xA3D662, 0x4C9A3A], [0x8CC860, 0x3B8740], [0xC2D86A, 0x6BA03C], [0x86CF7E, 0x2F8A4E]]
        }
        Place::Desert => &[[0xF2D89C, 0xD39A4C], [0xEDC38A, 0xC47D45], [0xF6E0B0, 0xDDB06A]],
        Place::Snow => &[[0xFAFDFF, 0xD3E3F2], [0xF1F7FC, 0xC6D9EC], [0xFFFDFA, 0xDEE4F0]],
        Place::Beach => &[[0xF1DEAE, 0xE3C285], [0xF8EBC8, 0xE8D09A], [0xEBD4A6, 0xD3AE76]],
        Place::Sea => &[[0x5FBAD6, 0x0F5E94], [0x69C9CF, 0x0C748A], [0x6FB2DC, 0x145090]],
        Place::Road => &[[0x9499A0, 0x565B63], [0xA09E9C, 0x626060], [0x828994, 0x444A55]],
        Place::Forest => &[[0x7E8A48, 0x5A462C], [0x8A7A48, 0x4F3C28], [0x6F8A4C, 0x3F4A28]],
        Place::Moon => &[[0xB9BCC4, 0x848790], [0xC8C6C2, 0x8C8A88]],
    }
}

impl Setting {
    pub(super) fn new(place: usize, light: usize, draws: &mut Draws) -> Self {
        let (place, light) = (PLACES[place], LIGHTS[light]);
        let horizon = match place {
            Place::Forest => draws.range(0.48, 0.62),
            Place::Beach | Place::Sea => draws.range(0.36, 0.54),
            _ => draws.range(0.40, 0.60),
        };
        let space = place == Place::Moon;
        let sky = match light {
            _ if space => SPACE[light as usize],
            Light::Sunny => draws.pick(&SUNNY),
            Light::Sunset => draws.pick(&SUNSET),
            Light::Night => draws.pick(&NIGHT),
            Light::Grey => draws.pick(&GREY),
        };
        let sky = sky.map(rgb);
        let sun_height = match light {
            Light::Sunny => draws.range(0.10, 0.45),
            Light::Sunset => draws.range(0.68, 1.0),
            Light::Night | Light::Grey => draws.range(0.15, 0.5),
        };
        let (tint, shadow, shadow_length, rim): (Rgb, _, _, _) = match light {
            Light::Sunny => ([1.04, 1.02, 0.97], 0.46, draws.range(0.22, 0.40), 0.16),
            Light::Sunset => ([1.02, 0.80, 0.70], 0.40, draws.range(0.55, 0.85), 0.55),
            Light::Night => ([0.40, 0.49, 0.74], 0.36, draws.range(0.25, 0.45), 0.30),
            Light::Grey => ([0.83, 0.86, 0.89], 0.0, 0.2, 0.0),
        };
        let far_near = draws.pick(grounds(place)).map(rgb);
        // Air between here and there has the sky's colour.
        let haze = if space { 0.0 } else { 0.22 };
        let lit = far_near.map(|colour| times(colour, tint));
        let ground = [mix(lit[0], sky[2], haze), lit[1]];
        Self {
            place,
            light,
            horizon,
            sky,
            sun: [draws.range(0.12, 0.88), sun_height * horizon],
            sun_radius: if light == Light::Sunset {
                draws.range(0.05, 0.085)
            } else {
                draws.range(0.035, 0.06)
            },
            sun_colour: match light {
                Light::Sunny => rgb(0xFFF8DC),
                Light::Sunset => rgb(0xFFE09A),
                Light::Night => rgb(0xF2F0DA),
                Light::Grey => scaled(rgb(0xFFFFFF), 0.95),
            },
            ground,
            tint,
            shadow,
            shadow_length,
            rim,
        }
    }

    /// Whether the sky has a disc that throws light.
    pub(super) fn has_sun(&self) -> bool {
        self.light != Light::Grey
    }

    /// The colour of the sky by height, clouds and sun left out.
    pub(super) fn sky_at(&self, y: f32) -> Rgb {
        let t = (y / self.horizon).clamp(0.0, 1.0);
        let [top, middle, low] = self.sky;
        if t < 0.55 { mix(top, middle, t / 0.55) } else { mix(middle, low, (t - 0.55) / 0.45) }
    }

    /// A colour of things in this light.
    pub(super) fn lit(&self, hex: u32) -> Rgb {
        times(rgb(hex), self.tint)
    }
}
