//! Pin-hole cameras: metres to pixels, and the catalogue of the synthetic ones.

use crate::behaviour::Context;
use crate::geometry::Point;
use libm::{cos, sin};

/// A box in pixels that hides what stands behind it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Occluder {
    /// Left edge.
    pub left: f64,
    /// Upper edge.
    pub top: f64,
    /// Right edge.
    pub right: f64,
    /// Lower edge; who has the feet above it stands behind the box.
    pub bottom: f64,
}

/// What people before a camera do, as weights.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Mix {
    /// Walks through.
    pub walk: f64,
    /// Walks through with a load.
    pub carry: f64,
    /// Jogs through.
    pub jog: f64,
    /// Two or three who stand and talk.
    pub talk: f64,
    /// Stands or strolls with a telephone.
    pub phone: f64,
    /// Sits.
    pub sit: f64,
    /// Stands about, waves, bends down.
    pub loiter: f64,
}

impl Mix {
    /// The weights as an array, in the order of the fields.
    #[must_use]
    pub const fn weights(&self) -> [f64; 7] {
        [self.walk, self.carry, self.jog, self.talk, self.phone, self.sit, self.loiter]
    }
}

/// One synthetic camera and what it looks at. It stands at the origin and looks along x.
#[derive(Clone, Debug, PartialEq)]
pub struct CameraSpec {
    /// Number in file names (`CC`).
    pub number: u32,
    /// Short name.
    pub name: &'static str,
    /// Width of the picture, pixels.
    pub width: u32,
    /// Height of the picture, pixels.
    pub height: u32,
    /// Focal length, pixels.
    pub focal: f64,
    /// Height above the ground, metres.
    pub mount: f64,
    /// Tilt below the horizon, radians.
    pub tilt: f64,
    /// Frames per second.
    pub rate: f64,
    /// Nearest distance on the ground where people walk, metres.
    pub near: f64,
    /// Farthest distance on the ground where people walk, metres.
    pub far: f64,
    /// People before the camera, on average.
    pub density: f64,
    /// Factor on the detector's noise.
    pub noise: f64,
    /// What they do.
    pub mix: Mix,
    /// What is anomalous.
    pub context: Context,
    /// What hides them.
    pub occluders: Vec<Occluder>,
}

impl CameraSpec {
    /// The pixel of a point, or `None` when it is behind or at the camera.
    #[must_use]
    pub fn project(&self, point: Point) -> Option<(f64, f64)> {
        let d = point - Point::new(0.0, 0.0, self.mount);
        let (s, c) = (sin(self.tilt), cos(self.tilt));
        let depth = d.dot(Point::new(c, 0.0, -s));
        if depth < 0.2 {
            return None;
        }
        let down = d.dot(Point::new(-s, 0.0, -c));
        Some((0.5 * f64::from(self.width) - self.focal * d.y / depth, 0.5 * f64::from(self.height) + self.focal * down / depth))
    }

    /// Half the width of the visible ground at a distance, metres.
    #[must_use]
    pub fn half_width(&self, distance: f64) -> f64 {
        let depth = distance * cos(self.tilt) + self.mount * sin(self.tilt);
        0.5 * f64::from(self.width) * depth / self.focal
    }

    /// The camera called `name`, from the catalogue.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::catalogue().into_iter().find(|camera| camera.name == name)
    }

    /// The cameras of the source domain, on which general weights are trained.
    #[must_use]
    pub fn source() -> Vec<Self> {
        Self::catalogue().into_iter().filter(|camera| camera.name.starts_with("source")).collect()
    }

    /// Every camera: three of the source domain, four targets with a shift each, and one where fighting is normal.
    #[must_use]
    pub fn catalogue() -> Vec<Self> {
        let street = Mix { walk: 5.0, carry: 1.2, jog: 0.3, talk: 1.5, phone: 1.0, sit: 0.4, loiter: 1.0 };
        let base = Self {
            number: 10,
            name: "source0",
            width: 1280,
            height: 720,
            focal: 950.0,
            mount: 3.5,
            tilt: 0.22,
            rate: 30.0,
            near: 6.0,
            far: 18.0,
            density: 4.0,
            noise: 1.0,
            mix: street,
            context: Context::Public,
            occluders: Vec::new(),
        };
        let bench = Occluder { left: 820.0, top: 470.0, right: 1040.0, bottom: 590.0 };
        vec![
            base.clone(),
            Self { number: 11, name: "source1", focal: 1150.0, mount: 2.6, tilt: 0.12, occluders: vec![bench], ..base.clone() },
            Self {
                number: 12,
                name: "source2",
                width: 1920,
                height: 1080,
                focal: 1250.0,
                mount: 5.0,
                tilt: 0.35,
                near: 7.0,
                ..base.clone()
            },
            Self {
                number: 0,
                name: "hall",
                mix: Mix { sit: 6.0, talk: 3.0, ..street },
                noise: 1.2,
                mount: 2.8,
                tilt: 0.18,
                ..base.clone()
            },
            Self { number: 1, name: "gate", width: 640, height: 480, focal: 520.0, rate: 15.0, noise: 1.3, mount: 3.0, ..base.clone() },
            Self {
                number: 2,
                name: "roof",
                mount: 8.0,
                tilt: 0.75,
                near: 5.0,
                far: 13.0,
                focal: 900.0,
                mix: Mix { jog: 3.0, ..street },
                ..base.clone()
            },
            Self { number: 3, name: "alley", near: 4.0, far: 22.0, noise: 1.5, density: 2.5, occluders: vec![bench], ..base.clone() },
            Self { number: 6, name: "dojo", context: Context::Fighting, mount: 2.8, tilt: 0.16, near: 5.0, far: 12.0, ..base },
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::CameraSpec;
    use crate::geometry::Point;

    #[test]
    fn the_axis_hits_the_middle_and_left_is_left() {
        let camera = &CameraSpec::source()[0];
        let distance = camera.mount / libm::tan(camera.tilt);
        let (x, y) = camera.project(Point::new(distance, 0.0, 0.0)).expect("before the camera");
        assert!((x - 640.0).abs() < 1e-6 && (y - 360.0).abs() < 1e-6);
        assert!(camera.project(Point::new(10.0, 1.0, 0.0)).expect("before the camera").0 < 640.0);
        assert!(camera.project(Point::new(-10.0, 1.0, 0.0)).is_none());
        assert_eq!(CameraSpec::source().len(), 3);
        assert!(CameraSpec::named("dojo").is_some());
    }
}
