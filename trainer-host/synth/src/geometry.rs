//! Points and rotations: metres, radians; x forward, y left, z up.

use core::ops::{Add, Mul, Sub};
use libm::{cos, sin};

/// A point or a direction in metres.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Point {
    /// Forward.
    pub x: f64,
    /// To the left.
    pub y: f64,
    /// Up.
    pub z: f64,
}

impl Point {
    /// A point from its coordinates.
    #[must_use]
    pub const fn new(x: f64, y: f64, z: f64) -> Self {
        Self { x, y, z }
    }

    /// Inner product.
    #[must_use]
    pub fn dot(self, other: Self) -> f64 {
        self.x * other.x + self.y * other.y + self.z * other.z
    }
}

impl Add for Point {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        Self::new(self.x + other.x, self.y + other.y, self.z + other.z)
    }
}

impl Sub for Point {
    type Output = Self;
    fn sub(self, other: Self) -> Self {
        Self::new(self.x - other.x, self.y - other.y, self.z - other.z)
    }
}

impl Mul<f64> for Point {
    type Output = Self;
    fn mul(self, factor: f64) -> Self {
        Self::new(self.x * factor, self.y * factor, self.z * factor)
    }
}

/// A rotation; `a.then(b)` applies `b` in the frame that `a` made (matrix product a b).
#[derive(Clone, Copy, Debug)]
pub struct Rotation([[f64; 3]; 3]);

impl Rotation {
    /// Leans forward: up moves towards forward.
    #[must_use]
    pub fn pitch(angle: f64) -> Self {
        let (s, c) = (sin(angle), cos(angle));
        Self([[c, 0.0, s], [0.0, 1.0, 0.0], [-s, 0.0, c]])
    }

    /// Leans to the left: up moves towards left.
    #[must_use]
    pub fn roll(angle: f64) -> Self {
        let (s, c) = (sin(angle), cos(angle));
        Self([[1.0, 0.0, 0.0], [0.0, c, s], [0.0, -s, c]])
    }

    /// Turns to the left: forward moves towards left.
    #[must_use]
    pub fn yaw(angle: f64) -> Self {
        let (s, c) = (sin(angle), cos(angle));
        Self([[c, -s, 0.0], [s, c, 0.0], [0.0, 0.0, 1.0]])
    }

    /// This rotation, and inside its frame `inner`.
    #[must_use]
    pub fn then(self, inner: Self) -> Self {
        let mut out = [[0.0; 3]; 3];
        for (row, out_row) in out.iter_mut().enumerate() {
            for (column, out) in out_row.iter_mut().enumerate() {
                *out = (0..3).map(|middle| self.0[row][middle] * inner.0[middle][column]).sum();
            }
        }
        Self(out)
    }

    /// Rotates a vector.
    #[must_use]
    pub fn turn(self, p: Point) -> Point {
        let row = |row: usize| self.0[row][0] * p.x + self.0[row][1] * p.y + self.0[row][2] * p.z;
        Point::new(row(0), row(1), row(2))
    }
}

/// From 0 to 1 with level ends.
#[must_use]
pub fn smooth_step(fraction: f64) -> f64 {
    let fraction = fraction.clamp(0.0, 1.0);
    fraction * fraction * (3.0 - 2.0 * fraction)
}

/// `from` at fraction 0, `to` at fraction 1.
#[must_use]
pub fn blend(from: f64, to: f64, fraction: f64) -> f64 {
    from + (to - from) * fraction
}
