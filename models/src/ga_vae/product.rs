//! Products of matrices and rows of channels: the one loop that all of GA-VAE's arithmetic goes through.
//!
//! Outputs lie along the vectors: a panel of 16 weights is loaded once and multiplied with one number of each of `ROWS` rows, whose sums
//! stay in registers until all terms are added. No vector is ever summed across, so every output's order of additions is the same
//! whatever a vector's width: the portable lane gives the same bits everywhere.
// Positions address several arrays at once here; iterators over them would hide which.
#![allow(clippy::needless_range_loop)]

use super::fold::{JOINT_LANES, PANEL};
use super::shape::SUBSETS;
use crate::lane::Lane;
use alfred_core::limits::JOINTS;

/// One matrix and the rows that it is multiplied with.
#[derive(Clone, Copy)]
pub(super) struct Term<'a> {
    /// Rows (frame, joint) of `row_values` numbers, of which `count` from `first` on are read.
    pub(super) rows: &'a [f32],
    pub(super) row_values: usize,
    pub(super) first: usize,
    pub(super) count: usize,
    /// Frames of `rows`: an output of frame t reads frame `t * stride + tap - ahead` where there is one.
    pub(super) frames: usize,
    pub(super) stride: usize,
    pub(super) tap: usize,
    pub(super) ahead: usize,
    /// Weights of panel p and number k begin at `p * panel_step + k * step`.
    pub(super) weights: &'a [f32],
    pub(super) panel_step: usize,
    pub(super) step: usize,
}

impl<'a> Term<'a> {
    /// A packed matrix times whole rows of the same frame.
    pub(super) const fn plain(rows: &'a [f32], row_values: usize, frames: usize, weights: &'a [f32]) -> Self {
        Self {
            rows,
            row_values,
            first: 0,
            count: row_values,
            frames,
            stride: 1,
            tap: 0,
            ahead: 0,
            weights,
            panel_step: row_values * PANEL,
            step: PANEL,
        }
    }
}

/// Rows that are added as they are, or times one factor per channel.
#[derive(Clone, Copy)]
pub(super) struct Carried<'a> {
    pub(super) rows: &'a [f32],
    pub(super) gain: Option<&'a [f32]>,
}

/// Where results go.
pub(super) enum Destination<'a> {
    /// Rows of `row_values` numbers, from `first` on.
    Rows { rows: &'a mut [f32], row_values: usize, first: usize },
    /// Keys: `[frame][matrix][panel of joints][embedding][joint of the panel]`.
    Keys { keys: &'a mut [f32], embedding: usize },
}

/// `results = relu(sum of terms + bias + carried)`, the last three where they are wanted.
pub(super) struct Product<'a> {
    pub(super) terms: &'a [Term<'a>],
    /// One number per output; empty for none.
    pub(super) bias: &'a [f32],
    pub(super) carried: Option<Carried<'a>>,
    pub(super) has_relu: bool,
    pub(super) to: Destination<'a>,
}

/// Sums of some rows and panels.
type Sums<V, const ROWS: usize, const PANELS: usize, const VECTORS: usize> = [[[V; VECTORS]; PANELS]; ROWS];

impl Product<'_> {
    /// Computes `frames` frames of `panels` panels each. `PAIR` panels are taken together where there are as many.
    #[inline(always)]
    pub(super) fn run<L: Lane, const ROWS: usize, const PAIR: usize, const VECTORS: usize>(
        &mut self,
        lane: L,
        frames: usize,
        panels: usize,
    ) {
        const { assert!(VECTORS * L::WIDTH == PANEL && JOINTS.is_multiple_of(ROWS)) };
        let mut panel = 0;
        while panel + PAIR <= panels {
            self.panels::<L, ROWS, PAIR, VECTORS>(lane, frames, panel);
            panel += PAIR;
        }
        while panel < panels {
            self.panels::<L, ROWS, 1, VECTORS>(lane, frames, panel);
            panel += 1;
        }
    }

    #[inline(always)]
    fn panels<L: Lane, const ROWS: usize, const PANELS: usize, const VECTORS: usize>(&mut self, lane: L, frames: usize, panel: usize) {
        for frame in 0..frames {
            for joint in (0..JOINTS).step_by(ROWS) {
                let mut sums = [[[lane.splat(0.0); VECTORS]; PANELS]; ROWS];
                for term in self.terms {
                    let place = frame * term.stride + term.tap;
                    if place >= term.ahead && place - term.ahead < term.frames {
                        add(lane, term, (place - term.ahead) * JOINTS + joint, panel, &mut sums);
                    }
                }
                for (row, sums) in sums.iter().enumerate() {
                    for (number, sums) in sums.iter().enumerate() {
                        self.finish(lane, frame, joint + row, panel + number, *sums);
                    }
                }
            }
        }
    }

    /// Bias, carried rows, ReLU; then to its place.
    #[inline(always)]
    fn finish<L: Lane, const VECTORS: usize>(&mut self, lane: L, frame: usize, joint: usize, panel: usize, mut sums: [L::Vector; VECTORS]) {
        let row = frame * JOINTS + joint;
        let channels = panel * PANEL..(panel + 1) * PANEL;
        if !self.bias.is_empty() {
            let bias = &self.bias[channels.clone()];
            for vector in 0..VECTORS {
                sums[vector] = lane.add(sums[vector], lane.load(&bias[vector * L::WIDTH..]));
            }
        }
        if let (Some(carried), Destination::Rows { row_values, .. }) = (&self.carried, &self.to) {
            let values = &carried.rows[row * row_values..][channels.clone()];
            for vector in 0..VECTORS {
                let value = lane.load(&values[vector * L::WIDTH..]);
                sums[vector] = match carried.gain {
                    Some(gain) => lane.multiply_add(value, lane.load(&gain[channels.clone()][vector * L::WIDTH..]), sums[vector]),
                    None => lane.add(sums[vector], value),
                };
            }
        }
        if self.has_relu {
            let zero = lane.splat(0.0);
            for vector in 0..VECTORS {
                // In this order NaN stays.
                sums[vector] = lane.max(zero, sums[vector]);
            }
        }
        match &mut self.to {
            Destination::Rows { rows, row_values, first } => {
                let values = &mut rows[row * *row_values + *first..][channels];
                for vector in 0..VECTORS {
                    lane.store(sums[vector], &mut values[vector * L::WIDTH..]);
                }
            }
            Destination::Keys { keys, embedding } => {
                let mut values = [0.0; PANEL];
                for vector in 0..VECTORS {
                    lane.store(sums[vector], &mut values[vector * L::WIDTH..]);
                }
                let (subset, channel) = (channels.start / *embedding, channels.start % *embedding);
                let matrix = ((frame * SUBSETS + subset) * (JOINT_LANES / PANEL) + joint / PANEL) * *embedding + channel;
                for (number, value) in values.into_iter().enumerate() {
                    keys[(matrix + number) * PANEL + joint % PANEL] = value;
                }
            }
        }
    }
}

/// Adds a term's products for `ROWS` rows from `row` on and `PANELS` panels from `panel` on.
#[inline(always)]
fn add<L: Lane, const ROWS: usize, const PANELS: usize, const VECTORS: usize>(
    lane: L,
    term: &Term<'_>,
    row: usize,
    panel: usize,
    sums: &mut Sums<L::Vector, ROWS, PANELS, VECTORS>,
) {
    let mut rows = [term.rows; ROWS];
    for number in 0..ROWS {
        rows[number] = &term.rows[(row + number) * term.row_values + term.first..][..term.count];
    }
    let mut panels = [term.weights; PANELS];
    for number in 0..PANELS {
        panels[number] = &term.weights[(panel + number) * term.panel_step..];
    }
    let mut local = *sums;
    for at in 0..term.count {
        let mut weights = [[lane.splat(0.0); VECTORS]; PANELS];
        for number in 0..PANELS {
            let values = &panels[number][at * term.step..][..PANEL];
            for vector in 0..VECTORS {
                weights[number][vector] = lane.load(&values[vector * L::WIDTH..]);
            }
        }
        for number in 0..ROWS {
            let value = lane.splat(rows[number][at]);
            for panel in 0..PANELS {
                for vector in 0..VECTORS {
                    local[number][panel][vector] = lane.multiply_add(value, weights[panel][vector], local[number][panel][vector]);
                }
            }
        }
    }
    *sums = local;
}
