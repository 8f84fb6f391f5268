//! Adam and Adamax with PyTorch's semantics, gradient-norm clipping, and learning-rate schedules. Knows no architecture: flat arrays only.

/// Adamax' constants: PyTorch's defaults, which the published training uses.
const BETA_MOMENT: f64 = 0.9;
const BETA_NORM: f64 = 0.999;
const EPSILON: f64 = 1e-8;

/// Finds a stored tensor by name and length, or names it.
pub type StoredTensor<'s> = &'s mut dyn FnMut(&str, usize) -> Result<Vec<f32>, String>;

/// Adamax (Kingma and Ba 2015, section 7.1) as `torch.optim.Adamax` computes it: the epsilon is added to the gradient's magnitude
/// before the maximum, and there is no weight decay.
#[derive(Clone, Debug, PartialEq)]
pub struct Adamax {
    /// First moment of each parameter.
    pub moment: Vec<f32>,
    /// Decayed infinity norm of each parameter.
    pub norm: Vec<f32>,
    /// Steps done.
    pub steps: u64,
}

impl Adamax {
    /// No step done yet.
    #[must_use]
    pub fn new(parameters: usize) -> Self {
        Self { moment: vec![0.0; parameters], norm: vec![0.0; parameters], steps: 0 }
    }

    /// Moves `values` against `gradient`; all slices have the same length.
    ///
    /// A gradient of exactly zero leaves its parameter alone as long as it was never anything else.
    pub fn step(&mut self, values: &mut [f32], gradient: &[f32], learning_rate: f64) {
        self.steps += 1;
        let rate = learning_rate / (1.0 - libm::pow(BETA_MOMENT, self.steps as f64));
        let state = self.moment.iter_mut().zip(&mut self.norm);
        for ((value, &gradient), (moment, norm)) in values.iter_mut().zip(gradient).zip(state) {
            let gradient = f64::from(gradient);
            *moment = (BETA_MOMENT * f64::from(*moment) + (1.0 - BETA_MOMENT) * gradient) as f32;
            *norm = (BETA_NORM * f64::from(*norm)).max(gradient.abs() + EPSILON) as f32;
            *value = (f64::from(*value) - rate * f64::from(*moment) / f64::from(*norm)) as f32;
        }
    }
}

/// Adam (Kingma and Ba 2015, algorithm 1) as `torch.optim.Adam` computes it: no weight decay, epsilon outside the root.
#[derive(Clone, Debug, PartialEq)]
pub struct Adam {
    /// First moment of each parameter.
    pub moment: Vec<f32>,
    /// Decayed mean of each parameter's squared gradient.
    pub square: Vec<f32>,
    /// Steps done.
    pub steps: u64,
}

impl Adam {
    /// No step done yet.
    #[must_use]
    pub fn new(parameters: usize) -> Self {
        Self { moment: vec![0.0; parameters], square: vec![0.0; parameters], steps: 0 }
    }

    /// Moves `values` against `gradient`; all slices have the same length.
    pub fn step(&mut self, values: &mut [f32], gradient: &[f32], learning_rate: f64) {
        self.steps += 1;
        let rate = learning_rate / (1.0 - libm::pow(BETA_MOMENT, self.steps as f64));
        let root = libm::sqrt(1.0 - libm::pow(BETA_NORM, self.steps as f64));
        let state = self.moment.iter_mut().zip(&mut self.square);
        for ((value, &gradient), (moment, square)) in values.iter_mut().zip(gradient).zip(state) {
            let gradient = f64::from(gradient);
            *moment = (BETA_MOMENT * f64::from(*moment) + (1.0 - BETA_MOMENT) * gradient) as f32;
            *square = (BETA_NORM * f64::from(*square) + (1.0 - BETA_NORM) * gradient * gradient) as f32;
            *value = (f64::from(*value) - rate * f64::from(*moment) / (f64::from(*square).sqrt() / root + EPSILON)) as f32;
        }
    }
}

/// Either rule.
#[derive(Clone, Debug, PartialEq)]
pub enum Optimiser {
    /// Adam.
    Adam(Adam),
    /// Adamax.
    Adamax(Adamax),
}

impl Optimiser {
    /// Steps done.
    #[must_use]
    pub const fn steps(&self) -> u64 {
        match self {
            Self::Adam(adam) => adam.steps,
            Self::Adamax(adamax) => adamax.steps,
        }
    }

    /// Moves `values` against `gradient`; both have the length that the optimiser was made for.
    pub fn step(&mut self, values: &mut [f32], gradient: &[f32], learning_rate: f64) {
        match self {
            Self::Adam(adam) => adam.step(values, gradient, learning_rate),
            Self::Adamax(adamax) => adamax.step(values, gradient, learning_rate),
        }
    }

    /// The state's tensors by name, and the step count, for checkpoints.
    #[must_use]
    pub fn state(&self) -> (Vec<(String, Vec<f32>)>, u64) {
        let [first, second] = self.names();
        let (moment, other) = match self {
            Self::Adam(adam) => (&adam.moment, &adam.square),
            Self::Adamax(adamax) => (&adamax.moment, &adamax.norm),
        };
        (vec![(first.into(), moment.clone()), (second.into(), other.clone())], self.steps())
    }

    /// The same rule with a stored state; `get` finds a tensor by name and length, or names it.
    ///
    /// # Errors
    /// What `get` answers.
    pub fn restored(&self, get: StoredTensor<'_>, steps: u64) -> Result<Self, String> {
        let [first, second] = self.names();
        Ok(match self {
            Self::Adam(adam) => {
                let count = adam.moment.len();
                Self::Adam(Adam { moment: get(first, count)?, square: get(second, count)?, steps })
            }
            Self::Adamax(adamax) => {
                let count = adamax.moment.len();
                Self::Adamax(Adamax { moment: get(first, count)?, norm: get(second, count)?, steps })
            }
        })
    }

    const fn names(&self) -> [&'static str; 2] {
        match self {
            Self::Adam(_) => ["adam.moment", "adam.square"],
            Self::Adamax(_) => ["adamax.moment", "adamax.norm"],
        }
    }
}

/// Scales `gradient` down to the norm `norm_max` if it is longer; returns its norm before. As `torch.nn.utils.clip_grad_norm_`.
pub fn clip_norm(gradient: &mut [f32], norm_max: f64) -> f64 {
    let norm = libm::sqrt(gradient.iter().map(|&value| f64::from(value) * f64::from(value)).sum());
    let factor = norm_max / (norm + 1e-6);
    if factor < 1.0 {
        for value in gradient {
            *value = (f64::from(*value) * factor) as f32;
        }
    }
    norm
}

/// How the learning rate changes from epoch to epoch.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Schedule {
    /// It does not.
    Constant,
    /// As published: epoch 0 and 1 at the full rate, then `rate * base^(epoch - 1)`, since it is set AFTER epoch e to `base^e`.
    Exponential {
        /// Factor per epoch (published: 0.99).
        base: f64,
    },
    /// Triangles between half the full rate and twice it, each cycle's height half of the one before; eight rises and falls in all, as
    /// SPARTA's published training ('triangular2', rising for an eighth of the epochs).
    Cyclic,
    /// From the full rate down to a hundredth of it along half a cosine.
    Cosine,
}

impl Schedule {
    /// The learning rate of an epoch (from 0) out of `epochs`.
    #[must_use]
    pub fn rate(self, full: f64, epoch: u32, epochs: u32) -> f64 {
        match self {
            Self::Constant => full,
            Self::Exponential { base } => full * libm::pow(base, f64::from(epoch.saturating_sub(1))),
            Self::Cyclic => {
                let rise = (f64::from(epochs) / 8.0).max(1.0);
                let position = f64::from(epoch) / rise;
                let cycle = libm::floor(1.0 + position / 2.0);
                let height = (1.0 - (position - 2.0 * cycle + 1.0).abs()).max(0.0) / libm::exp2(cycle - 1.0);
                full * (0.5 + 1.5 * height)
            }
            Self::Cosine => {
                let progress = f64::from(epoch) / f64::from(epochs.saturating_sub(1).max(1));
                full * (0.01 + 0.99 * 0.5 * (1.0 + libm::cos(core::f64::consts::PI * progress)))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Adam, Adamax, Schedule, clip_norm};

    /// By hand: lr 2, epochs 16, so a rise takes two epochs from 1 to 4, the next peak is at 2.5.
    #[test]
    fn the_cyclic_schedule_is_triangles_of_half_the_height() {
        let rates: Vec<f64> = (0..8).map(|epoch| Schedule::Cyclic.rate(2.0, epoch, 16)).collect();
        assert_eq!(rates, [1.0, 2.5, 4.0, 2.5, 1.0, 1.75, 2.5, 1.75]);
    }

    /// As `torch.optim.Adam`, by hand: the first step is the rate whatever the gradient, the second by the corrected moments.
    #[test]
    fn adam_steps_as_its_paper_says() {
        let (mut adam, mut values) = (Adam::new(2), [1.0_f32, 1.0]);
        adam.step(&mut values, &[4.0, 0.0], 0.1);
        assert!((values[0] - 0.9).abs() < 1e-6 && values[1] == 1.0, "{values:?}");
        adam.step(&mut values, &[-4.0, 0.0], 0.1);
        // Moments (0.36 - 0.4) / 0.19 and 0.031984 / 0.001999.
        let expected = 0.9 + 0.1 * (0.04 / 0.19) / f64::sqrt(0.031_984 / 0.001_999);
        assert!((f64::from(values[0]) - expected).abs() < 1e-5, "{} instead of {expected}", values[0]);
    }

    #[test]
    fn a_first_step_has_the_size_of_the_learning_rate() {
        let mut adamax = Adamax::new(3);
        let mut values = [1.0, -2.0, 3.0];
        adamax.step(&mut values, &[0.5, -1e-3, 0.0], 0.01);
        assert!((values[0] - 0.99).abs() < 1e-6 && (values[1] + 1.99).abs() < 1e-5);
        assert_eq!(values[2], 3.0);
    }

    #[test]
    fn long_gradients_are_cut_and_schedules_fall() {
        let mut gradient = [300.0, 400.0];
        assert!((clip_norm(&mut gradient, 100.0) - 500.0).abs() < 1e-9);
        assert!((gradient[0] - 60.0).abs() < 1e-4 && (gradient[1] - 80.0).abs() < 1e-4);
        assert_eq!(Schedule::Constant.rate(0.1, 7, 8), 0.1);
        assert_eq!(Schedule::Exponential { base: 0.5 }.rate(1.0, 1, 8), 1.0);
        assert_eq!(Schedule::Exponential { base: 0.5 }.rate(1.0, 3, 8), 0.25);
        assert!((Schedule::Cosine.rate(1.0, 7, 8) - 0.01).abs() < 1e-12);
    }
}
