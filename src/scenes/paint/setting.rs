//! Place and light together: the colours that everything of a background is painted in.

use super::canvas::{Rgb, mix, rgb, times};

/// The eight places, in the order of [`super::super::grammar::PLACES`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    Meadow,
    Desert,
    Snow,
    Beach,
    Sea,
    City,
    Forest,
    Moon,
}

impl Place {
    pub(super) const ALL: [Self; 8] = [
        Self::Meadow,
        Self::Desert,
        Self::Snow,
        Self::Beach,
        Self::Sea,
        Self::City,
        Self::Forest,
        Self::Moon,
    ];
}

/// The four lights, in the order of [`super::super::grammar::LIGHTS`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Light {
    Sunny,
    Sunset,
    Night,
    Grey,
}

impl Light {
    pub(super) const ALL: [Self; 4] = [Self::Sunny, Self::Sunset, Self::Night, Self::Grey];

    /// What it makes of the colour of a thing.
    pub(super) fn tint(self) -> Rgb {
        match self {
            Self::Sunny => [1.0, 1.0, 1.0],
            Self::Sunset => [1.0, 0.89, 0.84],
            Self::Night => [0.76, 0.76, 0.96],
            Self::Grey => [0.88, 0.90, 0.93],
        }
    }
}

/// Backgrounds of one place and light: three heights of the horizon, four arrangements.
pub(super) const HORIZONS: usize = 3;
pub(super) const VARIANTS: usize = 4;

/// What a background is painted from.
pub(super) struct Setting {
    pub(super) place: Place,
    pub(super) light: Light,
    /// Row of the horizon: a row of tokens begins there.
    pub(super) horizon: f32,
    pub(super) variant: usize,
    /// From the top of the sky to the horizon.
    pub(super) sky: [Rgb; 3],
    /// What far things fade into.
    pub(super) haze: Rgb,
}

impl Setting {
    pub(super) fn new(place: Place, light: Light, horizon: usize, variant: usize) -> Self {
        let sky = match (place, light) {
            (Place::Moon, Light::Sunny) => [0x14_2350, 0x2C_4A8C, 0x6A_8CC4],
            (Place::Moon, Light::Sunset) => [0x24_1540, 0x7A_3A6E, 0xE8_8C78],
            (Place::Moon, Light::Night) => [0x04_0616, 0x0B_1030, 0x1B_2350],
            (Place::Moon, Light::Grey) => [0x4C_5664, 0x78_8492, 0xA6_B0BA],
            (_, Light::Sunny) => [0x3C_97EE, 0x86_C8F8, 0xDF_F4FE],
            (_, Light::Sunset) => [0x51_3E8C, 0xD8_6A8E, 0xFF_C684],
            (_, Light::Night) => [0x0A_1038, 0x1B_2863, 0x45_569A],
            (_, Light::Grey) => [0x8C_99A6, 0xB4_BFC8, 0xDD_E3E7],
        };
        let sky = sky.map(rgb);
        let horizon = 48.0 + 8.0 * horizon as f32;
        Self { place, light, horizon, variant, sky, haze: mix(sky[1], sky[2], 0.7) }
    }

    /// The sky's colour at a row.
    pub(super) fn sky_at(&self, y: f32) -> Rgb {
        let t = (y / (self.horizon + 14.0)).clamp(0.0, 1.0) * 2.0;
        if t < 1.0 { mix(self.sky[0], self.sky[1], t) } else { mix(self.sky[1], self.sky[2], t - 1.0) }
    }

    /// Where the sun or the moon stands.
    pub(super) fn luminary(&self) -> [f32; 2] {
        let [x, y] = [[24.0, 16.0], [104.0, 20.0], [60.0, 14.0], [88.0, 18.0]][self.variant];
        [x, if self.light == Light::Sunset { self.horizon - 7.0 } else { y }]
    }

    /// A colour in this light.
    pub(super) fn lit(&self, hex: u32) -> Rgb {
        let ground = match self.light {
            Light::Sunny => [1.0, 1.0, 1.0],
            Light::Sunset => [1.0, 0.80, 0.74],
            Light::Night => [0.36, 0.44, 0.76],
            Light::Grey => [0.80, 0.83, 0.86],
        };
        times(rgb(hex), ground)
    }

    /// A colour in this light, so far away.
    pub(super) fn far(&self, hex: u32, distance: f32) -> Rgb {
        mix(self.lit(hex), self.haze, distance)
    }

    /// White as this light has it.
    pub(super) fn shine(&self) -> Rgb {
        match self.light {
            Light::Sunny => rgb(0xFF_FFFF),
            Light::Sunset => rgb(0xFF_E3B8),
            Light::Night => rgb(0xC9_D4FF),
            Light::Grey => rgb(0xF2_F5F7),
        }
    }
}
