//! STG-NF's forward pass over a batch, with batch or running statistics, keeping what the backward pass needs.
//!
//! The formulas are those of "Normalizing Flows for Human Pose Anomaly Detection" (ICCV 2023) with its uniform adjacency: the graph
//! convolution is the mean over the 18 joints, so that everything up to the temporal convolution is computed once per frame instead
//! of once per joint, and batch normalisations of affine maps follow from the moments of their input. Both hold in training too.
//!
//! Blocks are computed on the threads of the pool that the caller is in. Every sum over a batch adds its blocks' sums in their order, so the bits
//! do not depend on the number of threads.

use crate::dataset::windows::{Batch, WindowSet};
use crate::train::lanes::{LANES, Lane, LaneSum, ZERO, exp, map};
use alfred_core::limits::JOINTS;
use alfred_models::stg_nf::parameters::{BATCH_NORM_EPSILON, BatchNorm, FLOWS, FlowParameters, StgNfParameters, StgNfShape};
use core::f64::consts::{LN_2, TAU};
use rayon::prelude::*;

/// Variance of the prior: the published code adds this to a variance of one.
pub const PRIOR_VARIANCE: f64 = 1.0 + 1e-6;
/// Added to the sigmoid, so that no scale is zero.
pub const SCALE_FLOOR: f32 = 1e-6;

/// Where batch normalisations take their statistics from.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Statistics {
    /// From the batch; the running ones move by this momentum towards the batch's (0: stay; PyTorch's default: 0.1).
    Batch {
        /// Weight of the batch in the running statistics, 0 to 1.
        momentum: f64,
    },
    /// From training: inference.
    Running,
}

/// What a flow step's forward pass leaves for its backward pass.
#[derive(Clone, Copy, Debug, Default)]
pub struct FlowTrace {
    /// Mean and variance of the conditioner over batch, time and joints.
    pub conditioner: Moments,
    /// Mean and variance of the conditioner's joint mean over batch and time.
    pub joint_mean: Moments,
    /// Mean and variance of the temporal convolution's outputs.
    pub convolution: [Moments; 2],
    /// Batch normalisation before the convolution as an affine map of the joint mean.
    pub before: [Affine; 2],
    /// Batch normalisation after the convolution as an affine map.
    pub after: [Affine; 2],
    /// Residual path as an affine map of the conditioner.
    pub residual: [Affine; 2],
}

/// Mean and (population) variance.
#[derive(Clone, Copy, Debug, Default)]
pub struct Moments {
    /// Mean.
    pub mean: f64,
    /// Population variance.
    pub variance: f64,
}

impl Moments {
    fn new(sum: f64, squares: f64, count: f64) -> Self {
        let mean = sum / count;
        Self { mean, variance: (squares / count - mean * mean).max(0.0) }
    }

    /// Moments of `factor * x + offset`.
    fn mapped(self, factor: f64, offset: f64) -> Self {
        Self { mean: factor * self.mean + offset, variance: factor * factor * self.variance }
    }
}

/// `factor * x + offset`.
#[derive(Clone, Copy, Debug, Default)]
pub struct Affine {
    /// Factor.
    pub factor: f64,
    /// Offset.
    pub offset: f64,
    /// One over the standard deviation (with epsilon) that the normalisation divided by.
    pub inverse_deviation: f64,
}

/// Buffers of a forward and a backward pass; they grow with the batch and are kept.
#[derive(Debug)]
pub struct Workspace {
    /// The model's shape.
    pub shape: StgNfShape,
    /// Samples in the batch.
    pub samples: usize,
    /// `states[0]` is x; `states[i + 1]` the conditioner of flow i; `states[9]` the last transformed channel. [block][time][joint].
    pub states: Vec<Vec<Lane>>,
    /// Scale of each flow, [block][time][joint].
    pub scales: Vec<Vec<Lane>>,
    /// Joint mean of each flow's conditioner, [block][time].
    pub means: Vec<Vec<Lane>>,
    /// Output of the temporal convolution of each flow, [channel][block][time].
    pub convolved: Vec<[Vec<Lane>; 2]>,
    /// Per flow.
    pub traces: [FlowTrace; FLOWS],
    /// Prior mean of each sample, [block].
    pub priors: Vec<Lane>,
    /// Negative log-likelihood of each sample, bits per dimension.
    pub nll: Vec<f64>,
    log_determinants: Vec<[f64; LANES]>,
}

impl Workspace {
    /// Buffers for models of a shape.
    #[must_use]
    pub fn new(shape: StgNfShape) -> Self {
        Self {
            shape,
            samples: 0,
            states: vec![Vec::new(); FLOWS + 2],
            scales: vec![Vec::new(); FLOWS],
            means: vec![Vec::new(); FLOWS],
            convolved: vec![[Vec::new(), Vec::new()]; FLOWS],
            traces: [FlowTrace::default(); FLOWS],
            priors: Vec::new(),
            nll: Vec::new(),
            log_determinants: Vec::new(),
        }
    }

    /// Blocks of the batch.
    #[must_use]
    pub fn blocks(&self) -> usize {
        self.samples.div_ceil(LANES)
    }

    /// Samples in a block; the last one may have dead lanes.
    #[must_use]
    pub fn live(&self, block: usize) -> usize {
        (self.samples - block * LANES).min(LANES)
    }

    /// The sum of `sums` (one per block) over live samples.
    #[must_use]
    pub fn total(&self, sums: impl Iterator<Item = LaneSum>) -> f64 {
        sums.enumerate().map(|(block, sum)| sum.total(self.live(block))).sum()
    }

    /// The same for several sums of each block.
    #[must_use]
    pub fn totals<const N: usize>(&self, sums: &[[LaneSum; N]]) -> [f64; N] {
        core::array::from_fn(|place| self.total(sums.iter().map(|sums| sums[place])))
    }

    /// Lays a batch out in lanes.
    pub fn load(&mut self, set: &WindowSet, batch: Batch<'_>, prior_mean: f32) {
        let frames = self.shape.frames();
        self.samples = batch.items.len();
        let blocks = self.blocks();
        let size = frames * JOINTS;
        for buffer in self.states.iter_mut().chain(&mut self.scales) {
            buffer.resize(blocks * size, ZERO);
        }
        for buffer in self.means.iter_mut().chain(self.convolved.iter_mut().flatten()) {
            buffer.resize(blocks * frames, ZERO);
        }
        self.priors = vec![ZERO; blocks];
        self.log_determinants = vec![[0.0; LANES]; blocks];
        self.nll = vec![0.0; self.samples];
        let [first, second] = [0, 1].map(|channel| channel * size);
        let (zeroth, rest) = self.states.split_at_mut(1);
        let buffers = zeroth[0].par_chunks_exact_mut(size).zip(rest[0].par_chunks_exact_mut(size)).zip(&mut self.priors);
        buffers.enumerate().for_each(|(block, ((zeroth, conditioner), priors))| {
            for lane in 0..LANES {
                let item = batch.items.get(block * LANES + lane);
                let window = item.map(|item| set.window(item.window));
                priors[lane] = item.map_or(0.0, |item| prior_mean * set.label(item.window));
                let sign = if item.is_some_and(|item| item.mirrored) { -1.0 } else { 1.0 };
                for time in 0..frames {
                    for joint in 0..JOINTS {
                        let (from, to) = (joint * frames + time, time * JOINTS + joint);
                        // Dead lanes hold zeros: finite, and left out of every sum.
                        zeroth[to][lane] = window.map_or(0.0, |window| sign * window[first + from]);
                        conditioner[to][lane] = window.map_or(0.0, |window| window[second + from]);
                    }
                }
            }
        });
    }

    /// Runs the model on the loaded batch; fills [`Workspace::nll`] and returns the mean. With batch statistics the running ones of
    /// `parameters` move. `initialise` sets each ActNorm from the batch as it passes through (bias = -mean, logs = -ln(std + 1e-6)).
    pub fn forward(&mut self, parameters: &mut StgNfParameters, statistics: Statistics, initialise: bool) -> f64 {
        for flow in 0..FLOWS {
            if initialise {
                self.initialise_actnorm(flow, &mut parameters.flows[flow]);
            }
            self.condition(flow, &parameters.flows[flow]);
            self.normalise_before(flow, &mut parameters.flows[flow], statistics);
            self.convolve(flow, &parameters.flows[flow]);
            self.normalise_after(flow, &mut parameters.flows[flow], statistics);
            self.couple(flow, &parameters.flows[flow]);
        }
        self.score()
    }

    fn initialise_actnorm(&self, flow: usize, parameters: &mut FlowParameters) {
        for channel in 0..2 {
            let moments = self.moments_of(&self.states[flow + channel]);
            parameters.actnorm_bias[channel] = -moments.mean as f32;
            parameters.actnorm_logs[channel] = -libm::log(libm::sqrt(moments.variance) + 1e-6) as f32;
        }
    }

    fn moments_of(&self, values: &[Lane]) -> Moments {
        let size = self.shape.frames() * JOINTS;
        let sums = values.par_chunks_exact(size).map(|block| {
            let (mut sum, mut square) = (LaneSum::ZERO, LaneSum::ZERO);
            for value in block {
                sum.add(value);
                square.add(&map(|lane| value[lane] * value[lane]));
            }
            [sum, square]
        });
        let sums = self.totals(&sums.collect::<Vec<_>>());
        let count = (self.samples * size) as f64;
        Moments::new(sums[0], sums[1], count)
    }

    /// ActNorm of the conditioner in place, its moments, and its joint means.
    fn condition(&mut self, flow: usize, parameters: &FlowParameters) {
        let frames = self.shape.frames();
        // Channels are exchanged: the second one conditions.
        let (bias, factor) = actnorm(parameters, 1);
        let blocks = self.states[flow + 1].par_chunks_exact_mut(frames * JOINTS).zip(self.means[flow].par_chunks_exact_mut(frames));
        let sums = blocks.map(|(block, means)| {
            let (mut sum, mut square, mut mean_square) = (LaneSum::ZERO, LaneSum::ZERO, LaneSum::ZERO);
            for (row, mean) in block.chunks_exact_mut(JOINTS).zip(means) {
                let (mut total, mut squares) = (ZERO, ZERO);
                for value in row {
                    for lane in 0..LANES {
                        value[lane] = (value[lane] + bias) * factor;
                        total[lane] += value[lane];
                        squares[lane] += value[lane] * value[lane];
                    }
                }
                *mean = map(|lane| total[lane] * (1.0 / JOINTS as f32));
                sum.add(&total);
                square.add(&squares);
                mean_square.add(&map(|lane| mean[lane] * mean[lane]));
            }
            [sum, square, mean_square]
        });
        let sums: Vec<_> = sums.collect();
        let [sum, squares, mean_squares] = self.totals(&sums);
        let count = (self.samples * frames * JOINTS) as f64;
        self.traces[flow].conditioner = Moments::new(sum, squares, count);
        self.traces[flow].joint_mean = Moments::new(sum / JOINTS as f64, mean_squares, count / JOINTS as f64);
    }

    /// The normalisations that act on affine maps of the conditioner: before the convolution, and on the residual path.
    fn normalise_before(&mut self, flow: usize, parameters: &mut FlowParameters, statistics: Statistics) {
        let count = (self.samples * self.shape.frames() * JOINTS) as f64;
        let trace = &mut self.traces[flow];
        let (conditioner, joint_mean) = (trace.conditioner, trace.joint_mean);
        let (gcn, gcn_bias) = (parameters.gcn_weight, parameters.gcn_bias);
        trace.before = normalise_affine(joint_mean, gcn, gcn_bias, &mut parameters.norm_before, statistics, count);
        if flow > 0 {
            let (weight, bias) = (parameters.residual_weight, parameters.residual_bias);
            trace.residual = normalise_affine(conditioner, weight, bias, &mut parameters.residual_norm, statistics, count);
        }
    }

    fn convolve(&mut self, flow: usize, parameters: &FlowParameters) {
        let (frames, taps, padding) = (self.shape.frames(), self.shape.taps(), self.shape.padding());
        let before = self.traces[flow].before;
        let [first, second] = &mut self.convolved[flow];
        let blocks = first.par_chunks_exact_mut(frames).zip(second.par_chunks_exact_mut(frames));
        let hidden = || [vec![ZERO; frames], vec![ZERO; frames]];
        let sums = blocks.zip(self.means[flow].par_chunks_exact(frames)).map_init(hidden, |hidden, ((first, second), means)| {
            hidden_rows(means, &before, hidden);
            let mut sums = [LaneSum::ZERO; 4];
            for (output, rows) in [first, second].into_iter().enumerate() {
                for (time, row) in rows.iter_mut().enumerate() {
                    *row = [parameters.tcn_bias[output]; LANES];
                    for (input, hidden) in hidden.iter().enumerate() {
                        let kernel = &parameters.tcn_weight[(output * 2 + input) * taps..][..taps];
                        let first = padding.saturating_sub(time);
                        let last = taps.min(frames + padding - time);
                        for (weight, value) in kernel[first..last].iter().zip(&hidden[time + first - padding..]) {
                            for lane in 0..LANES {
                                row[lane] += weight * value[lane];
                            }
                        }
                    }
                    sums[output].add(row);
                    sums[2 + output].add(&map(|lane| row[lane] * row[lane]));
                }
            }
            sums
        });
        let sums: Vec<_> = sums.collect();
        let totals = self.totals(&sums);
        let count = (self.samples * frames) as f64;
        self.traces[flow].convolution = [0, 1].map(|output| Moments::new(totals[output], totals[2 + output], count));
    }

    fn normalise_after(&mut self, flow: usize, parameters: &mut FlowParameters, statistics: Statistics) {
        let count = (self.samples * self.shape.frames() * JOINTS) as f64;
        let trace = &mut self.traces[flow];
        for (channel, moments) in trace.convolution.into_iter().enumerate() {
            trace.after[channel] = normalise_one(moments, 1.0, 0.0, &mut parameters.norm_after, channel, statistics, count);
        }
    }

    /// The coupling: shift and scale of the other channel, and the logarithm of the determinant.
    fn couple(&mut self, flow: usize, parameters: &FlowParameters) {
        let frames = self.shape.frames();
        let size = frames * JOINTS;
        let (bias, factor) = actnorm(parameters, 0);
        let trace = &self.traces[flow];
        let network = Network::new(trace);
        let (before, after) = self.states.split_at_mut(flow + 2);
        let (other, conditioner, out) = (&before[flow], &before[flow + 1], &mut after[0]);
        let constant = size as f64 * f64::from(parameters.actnorm_logs[0] + parameters.actnorm_logs[1]);
        let convolved = &self.convolved[flow];
        let inputs = other.par_chunks_exact(size).zip(conditioner.par_chunks_exact(size));
        let outputs = out.par_chunks_exact_mut(size).zip(self.scales[flow].par_chunks_exact_mut(size)).zip(&mut self.log_determinants);
        inputs.zip(outputs).enumerate().for_each(|(block, ((other, conditioner), ((out, scales), log_determinants)))| {
            let mut product = [1.0_f64; LANES];
            for time in 0..frames {
                let start = [0, 1].map(|output| network.start(output, &convolved[output][block * frames + time]));
                let mut row_product = [1.0_f32; LANES];
                let places = time * JOINTS..(time + 1) * JOINTS;
                let inputs = other[places.clone()].iter().zip(&conditioner[places.clone()]);
                let outputs = out[places.clone()].iter_mut().zip(&mut scales[places]);
                for ((other, conditioner), (out, scale)) in inputs.zip(outputs) {
                    let raw = map(|lane| -2.0 - (start[1][lane] + network.residual[1] * conditioner[lane]).max(0.0));
                    let exponential = exp(&raw);
                    for lane in 0..LANES {
                        let shift = (start[0][lane] + network.residual[0] * conditioner[lane]).max(0.0);
                        let value = 1.0 / (1.0 + exponential[lane]) + SCALE_FLOOR;
                        scale[lane] = value;
                        row_product[lane] *= value;
                        out[lane] = ((other[lane] + bias) * factor + shift) * value;
                    }
                }
                // A row's product is at least 0.88^18; the product of all rows stays far above f64's smallest number.
                for (product, row) in product.iter_mut().zip(row_product) {
                    *product *= f64::from(row);
                }
            }
            for (sum, product) in log_determinants.iter_mut().zip(product) {
                *sum += constant + libm::log(product);
            }
        });
    }

    /// Negative log-likelihoods in bits per dimension; returns their mean.
    fn score(&mut self) -> f64 {
        let size = self.shape.frames() * JOINTS;
        let dimensions = self.shape.dimensions() as f64;
        let (states, log_determinants) = (&self.states[FLOWS..], &self.log_determinants);
        self.nll.par_chunks_mut(LANES).zip(&self.priors).enumerate().for_each(|(block, (nll, prior))| {
            let mut squares = LaneSum::ZERO;
            for channel in states {
                for row in channel[block * size..(block + 1) * size].chunks_exact(JOINTS) {
                    let mut sum = ZERO;
                    for value in row {
                        for lane in 0..LANES {
                            let distance = value[lane] - prior[lane];
                            sum[lane] += distance * distance;
                        }
                    }
                    squares.add(&sum);
                }
            }
            for (lane, nll) in nll.iter_mut().enumerate() {
                let log_prior = -0.5 * (squares.lane(lane) / PRIOR_VARIANCE + dimensions * libm::log(TAU));
                *nll = -(log_determinants[block][lane] + log_prior) / (LN_2 * dimensions);
            }
        });
        self.nll.iter().sum::<f64>() / self.samples.max(1) as f64
    }
}

/// Bias and factor of an ActNorm channel.
#[must_use]
pub fn actnorm(parameters: &FlowParameters, channel: usize) -> (f32, f32) {
    (parameters.actnorm_bias[channel], libm::exp(f64::from(parameters.actnorm_logs[channel])) as f32)
}

/// The convolution's input: joint means after normalisation and ReLU.
pub fn hidden_rows(means: &[Lane], before: &[Affine; 2], hidden: &mut [Vec<Lane>; 2]) {
    for (affine, hidden) in before.iter().zip(hidden) {
        let (factor, offset) = (affine.factor as f32, affine.offset as f32);
        for (mean, hidden) in means.iter().zip(hidden) {
            *hidden = map(|lane| (factor * mean[lane] + offset).max(0.0));
        }
    }
}

/// The coupling network's last stage in f32: `relu(after * convolved + offset + residual * conditioner)`.
#[derive(Clone, Copy, Debug)]
pub struct Network {
    factor: [f32; 2],
    offset: [f32; 2],
    /// Factor of the conditioner.
    pub residual: [f32; 2],
}

impl Network {
    /// From a flow's trace.
    #[must_use]
    pub fn new(trace: &FlowTrace) -> Self {
        let each = |value: fn(&Affine, &Affine) -> f64| [0, 1].map(|output| value(&trace.after[output], &trace.residual[output]) as f32);
        Self {
            factor: each(|after, _| after.factor),
            offset: each(|after, residual| after.offset + residual.offset),
            residual: each(|_, residual| residual.factor),
        }
    }

    /// What all joints of a frame share.
    #[inline(always)]
    #[must_use]
    pub fn start(&self, output: usize, convolved: &Lane) -> Lane {
        map(|lane| self.factor[output] * convolved[lane] + self.offset[output])
    }
}

fn normalise_affine(
    moments: Moments,
    weight: [f32; 2],
    bias: [f32; 2],
    norm: &mut BatchNorm,
    statistics: Statistics,
    count: f64,
) -> [Affine; 2] {
    [0, 1].map(|channel| normalise_one(moments, f64::from(weight[channel]), f64::from(bias[channel]), norm, channel, statistics, count))
}

/// Batch normalisation of `weight * x + bias` as one affine map of x, from x's moments over `count` elements.
fn normalise_one(
    moments: Moments,
    weight: f64,
    bias: f64,
    norm: &mut BatchNorm,
    channel: usize,
    statistics: Statistics,
    count: f64,
) -> Affine {
    let mapped = moments.mapped(weight, bias);
    let used = match statistics {
        Statistics::Batch { momentum } => {
            if momentum > 0.0 {
                // PyTorch's rule: the running variance is the unbiased one.
                let unbiased = mapped.variance * count / (count - 1.0).max(1.0);
                let mix = |old: f32, new: f64| ((1.0 - momentum) * f64::from(old) + momentum * new) as f32;
                norm.running_mean[channel] = mix(norm.running_mean[channel], mapped.mean);
                norm.running_var[channel] = mix(norm.running_var[channel], unbiased);
            }
            mapped
        }
        Statistics::Running => Moments { mean: f64::from(norm.running_mean[channel]), variance: f64::from(norm.running_var[channel]) },
    };
    let inverse_deviation = 1.0 / libm::sqrt(used.variance + BATCH_NORM_EPSILON);
    let gain = f64::from(norm.weight[channel]) * inverse_deviation;
    Affine { factor: gain * weight, offset: gain * (bias - used.mean) + f64::from(norm.bias[channel]), inverse_deviation }
}
