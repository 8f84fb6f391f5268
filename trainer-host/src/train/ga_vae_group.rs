//! Sixteen samples of GA-VAE's hand-derived step: what they keep of a pass, and what is no block: the window's normalisation, the latent
//! values, stretching in time, and the decoder's output.

use crate::train::burn_tensors::Samples;
use crate::train::ga_vae_block::{BlockState, FixedFamily, Scratch, convolve, pad_rectified, room, rows};
use crate::train::ga_vae_block_back::{Flow, convolve_back};
use crate::train::ga_vae_kernels::{Dots, FRAME, Product, Start};
use crate::train::ga_vae_norm::{Back, Fold, Mask, Sums, add_row_sums, before, moments, slopes, through};
use crate::train::ga_vae_plan::{BlockPlan, PADDING, PackedTemporal, Plan};
use crate::train::lanes::LANES;
use alfred_core::limits::{CHANNELS, JOINTS};
use alfred_models::ga_vae::shape::{LATENT_FRAMES, SUBSETS, WINDOW_FRAMES};
use alfred_synth::random::Random;

/// Numbers of a channel of the window.
pub const WINDOW_PLANE: usize = WINDOW_FRAMES * FRAME;

/// Numbers of a channel of the latent values.
pub const LATENT_PLANE: usize = LATENT_FRAMES * FRAME;

/// Largest logarithm of a deviation that is sampled with, as in the other step.
pub const LOG_DEVIATION_MAX: f32 = 4.0;

/// Numbers of a window.
pub const WINDOW_VALUES: usize = CHANNELS * WINDOW_FRAMES * JOINTS;

/// What training and scoring want to know of each sample.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Parts {
    /// Squared distance of the encoder's output from its mean over the training windows.
    pub distance: f64,
    /// Squared error of the decoder's output.
    pub error: f64,
    /// Divergence of the latent distribution from the prior.
    pub divergence: f64,
}

/// A group of samples.
#[derive(Clone, Debug)]
pub struct Group {
    /// Which places hold a sample.
    pub mask: Mask,
    /// How many do.
    pub live: usize,
    /// The windows.
    pub window: Vec<f32>,
    /// Encoder's blocks, then the decoder's.
    pub blocks: Vec<BlockState>,
    /// The blocks' inputs, where they are not the output of the block before.
    pub inputs: Vec<Vec<f32>>,
    /// Noise of the latent values.
    pub noise: Vec<f32>,
    /// Latent values, means where nothing is sampled.
    pub latent: Vec<f32>,
    /// The output's graph convolution, before its normalisation.
    pub graph: Vec<f32>,
    /// The decoder's output.
    pub output: Vec<f32>,
    /// The way back.
    pub flow: Flow,
}

/// What a thread works with.
#[derive(Clone, Debug)]
pub struct Room {
    /// For one block at a time.
    pub scratch: Scratch,
    /// Sums of the thread's groups, in storage order.
    pub gradient: Vec<f32>,
}

impl Group {
    /// Room for sixteen samples.
    #[must_use]
    pub fn new(plan: &Plan, encoder_blocks: usize) -> Self {
        let own_input = |(number, block): (usize, &BlockPlan)| {
            let is_own = number == 0 || number == encoder_blocks || block.shape.stretch > 1;
            vec![0.0; if is_own { block.shape.inputs * block.plane() } else { 0 }]
        };
        let latent = plan.shape.latent_channels() * LATENT_PLANE;
        Self {
            mask: [0.0; LANES],
            live: 0,
            window: vec![0.0; CHANNELS * WINDOW_PLANE],
            blocks: plan.blocks.iter().map(BlockState::new).collect(),
            inputs: plan.blocks.iter().enumerate().map(own_input).collect(),
            noise: vec![0.0; latent],
            latent: vec![0.0; latent],
            graph: vec![0.0; CHANNELS * WINDOW_PLANE],
            output: vec![0.0; CHANNELS * WINDOW_PLANE],
            flow: Flow::default(),
        }
    }

    /// Takes up to sixteen samples from `first` on; places without one hold the first sample.
    pub fn load(&mut self, samples: &Samples, first: usize) {
        self.live = (samples.count - first).min(LANES);
        for lane in 0..LANES {
            self.mask[lane] = if lane < self.live { 1.0 } else { 0.0 };
            let window = samples.window(first + if lane < self.live { lane } else { 0 });
            for (at, value) in window.iter().enumerate() {
                let (row, frame) = (at / WINDOW_FRAMES, at % WINDOW_FRAMES);
                self.window[((row / JOINTS * WINDOW_FRAMES + frame) * JOINTS + row % JOINTS) * LANES + lane] = *value;
            }
        }
    }

    /// A block's input, and what is kept of it.
    pub fn block(&mut self, number: usize) -> (&[f32], &mut BlockState, &mut Flow, &Mask) {
        let (before, rest) = self.blocks.split_at_mut(number);
        let own = &self.inputs[number];
        let input = match before.last() {
            Some(before) if own.is_empty() => &before.output,
            _ => own,
        };
        (input, &mut rest[0], &mut self.flow, &self.mask)
    }

    /// Moments of the window's features: joint by joint, both coordinates.
    #[must_use]
    pub fn window_moments(&self) -> Sums {
        let feature = |feature: usize| {
            let mut sums = [0.0; 2];
            for cell in self.cells(feature) {
                for (value, live) in self.window[cell..][..LANES].iter().zip(&self.mask) {
                    let value = f64::from(*value) * f64::from(*live);
                    sums[0] += value;
                    sums[1] += value * value;
                }
            }
            sums
        };
        (0..CHANNELS * JOINTS).map(feature).collect()
    }

    /// Where the cells of a feature lie.
    fn cells(&self, feature: usize) -> impl Iterator<Item = usize> + use<> {
        let (joint, channel) = (feature / CHANNELS, feature % CHANNELS);
        (0..WINDOW_FRAMES).map(move |frame| ((channel * WINDOW_FRAMES + frame) * JOINTS + joint) * LANES)
    }

    /// The normalised window, the first block's input.
    pub fn normalise_window(&mut self, fold: &Fold) {
        for feature in 0..CHANNELS * JOINTS {
            for cell in self.cells(feature) {
                for (out, value) in self.inputs[0][cell..][..LANES].iter_mut().zip(&self.window[cell..]) {
                    *out = fold.scale[feature] * value + fold.shift[feature];
                }
            }
        }
    }

    /// Sums for the way back through the window's normalisation.
    #[must_use]
    pub fn window_slopes(&self, fold: &Fold) -> Sums {
        let feature = |feature: usize| {
            let mut sums = [0.0; 2];
            for cell in self.cells(feature) {
                for (slope, value) in self.flow.output[cell..][..LANES].iter().zip(&self.window[cell..]) {
                    sums[0] += f64::from(*slope);
                    sums[1] += f64::from(*slope) * f64::from(value - fold.mean[feature]);
                }
            }
            sums
        };
        (0..CHANNELS * JOINTS).map(feature).collect()
    }

    /// Squared distances from a reference, `[channel][frame][joint]`, and the divergences from the prior, of the encoder's output.
    pub fn measure(&self, described: &[f32], reference: &[f32], parts: &mut [Parts; LANES]) {
        for (cell, mean) in described.chunks_exact(LANES).zip(reference) {
            for lane in 0..LANES {
                let difference = f64::from(cell[lane]) - f64::from(*mean);
                parts[lane].distance += difference * difference;
            }
        }
        let (means, deviations) = described.split_at(described.len() / 2);
        for (mean, log_deviation) in means.chunks_exact(LANES).zip(deviations.chunks_exact(LANES)) {
            for lane in 0..LANES {
                let (mean, log_deviation) = (f64::from(mean[lane]), f64::from(log_deviation[lane].min(LOG_DEVIATION_MAX)));
                parts[lane].divergence += 0.5 * (mean * mean + libm::exp(2.0 * log_deviation) - 2.0 * log_deviation - 1.0);
            }
        }
    }

    /// Draws the latent values with the noise that is there, or takes their means.
    pub fn sample(&mut self, described: usize, has_noise: bool) {
        let described = &self.blocks[described].output;
        let (means, deviations) = described.split_at(described.len() / 2);
        self.latent.copy_from_slice(means);
        if has_noise {
            for ((value, log_deviation), noise) in self.latent.iter_mut().zip(deviations).zip(&self.noise) {
                *value += libm::expf(log_deviation.min(LOG_DEVIATION_MAX)) * noise;
            }
        }
    }

    /// A decoder block's input: what is before it, stretched in time.
    pub fn stretch(&mut self, number: usize, is_first: bool, plan: &BlockPlan) {
        let input = &mut self.inputs[number];
        if input.is_empty() {
            return;
        }
        let from = if is_first { &self.latent } else { &self.blocks[number - 1].output };
        let frames = plan.shape.frames / plan.shape.stretch;
        for (out, row) in input.chunks_exact_mut(plan.plane()).zip(from.chunks_exact(frames * FRAME)) {
            for (frame, out) in out.chunks_exact_mut(FRAME).enumerate() {
                let [(before, first), (after, second)] = sources(frame, plan.shape.stretch, frames);
                let rows = row[before * FRAME..].iter().zip(&row[after * FRAME..]);
                out.iter_mut().zip(rows).for_each(|(out, (before, after))| *out = first * before + second * after);
            }
        }
    }

    /// The way back through stretching: the gradient of the block's input becomes that of what was before it.
    pub fn unstretch(&mut self, plan: &BlockPlan) {
        if plan.shape.stretch == 1 {
            return;
        }
        let frames = plan.shape.frames / plan.shape.stretch;
        let Flow { output, input, .. } = &mut self.flow;
        let narrow = room(input, plan.shape.inputs * frames * FRAME);
        narrow.fill(0.0);
        for (row, slopes) in narrow.chunks_exact_mut(frames * FRAME).zip(output.chunks_exact(plan.plane())) {
            for (frame, slopes) in slopes.chunks_exact(FRAME).enumerate() {
                for (source, part) in sources(frame, plan.shape.stretch, frames) {
                    row[source * FRAME..][..FRAME].iter_mut().zip(slopes).for_each(|(sum, slope)| *sum += part * slope);
                }
            }
        }
        core::mem::swap(output, input);
    }

    /// The output's graph convolution, and its moments.
    pub fn expand_output(&mut self, plan: &Plan, fixed: &FixedFamily, values: &[f32], scratch: &mut Scratch) -> Sums {
        let Some(last) = self.blocks.last() else { return Sums::new() };
        let (expanded, channels) = (SUBSETS * CHANNELS, plan.shape.decoder_channels());
        let out = room(&mut scratch.layer, expanded * WINDOW_PLANE);
        let offsets = rows(&mut scratch.rows, channels, WINDOW_PLANE);
        Product {
            rows: expanded,
            columns: WINDOW_PLANE,
            left: &values[plan.output_graph.weight..][..expanded * channels],
            left_step: channels,
            right: &last.output,
            offsets,
            start: Start::Bias(&values[plan.output_graph.bias..][..expanded]),
            out,
            out_step: WINDOW_PLANE,
        }
        .run();
        self.graph.fill(0.0);
        for (subset, part) in out.chunks_exact(CHANNELS * WINDOW_PLANE).enumerate() {
            fixed.add(subset, part, false, &mut self.graph);
        }
        moments(&self.graph, WINDOW_PLANE, &self.mask)
    }

    /// The decoder's output, and every sample's squared error.
    pub fn finish(&mut self, fold: &Fold, packed: &PackedTemporal, values: &[f32], scratch: &mut Scratch, parts: &mut [Parts; LANES]) {
        pad_rectified(&self.graph, WINDOW_PLANE, fold, &mut scratch.padded);
        convolve(packed, values, &scratch.padded, &mut self.output);
        for (output, window) in self.output.chunks_exact(LANES).zip(self.window.chunks_exact(LANES)) {
            for lane in 0..LANES {
                let error = f64::from(window[lane]) - f64::from(output[lane]);
                parts[lane].error += error * error;
            }
        }
    }

    /// From the loss to the output's normalisation: `shares` are the loss' slopes by the halved squared errors.
    pub fn back_error(&mut self, shares: &Mask, fold: &Fold, packed: &PackedTemporal, room_of: &mut Room) -> Sums {
        let Room { scratch, gradient } = room_of;
        let step = WINDOW_PLANE + 2 * PADDING * FRAME;
        let padded = room(&mut scratch.padded_gradient, CHANNELS * step);
        padded.fill(0.0);
        for (channel, row) in padded.chunks_exact_mut(step).enumerate() {
            let range = channel * WINDOW_PLANE..(channel + 1) * WINDOW_PLANE;
            let (output, window) = (&self.output[range.clone()], &self.window[range]);
            for (place, slope) in row[PADDING * FRAME..][..WINDOW_PLANE].iter_mut().enumerate() {
                *slope = shares[place % LANES] * (output[place] - window[place]);
            }
        }
        add_row_sums(padded, step, &mut gradient[packed.bias..][..CHANNELS]);
        pad_rectified(&self.graph, WINDOW_PLANE, fold, &mut scratch.padded);
        let of_graph = room(&mut self.flow.mixed, CHANNELS * WINDOW_PLANE);
        convolve_back(packed, scratch, of_graph, gradient);
        for (slope, row) in of_graph.chunks_exact_mut(WINDOW_PLANE).zip(scratch.padded.chunks_exact(step)) {
            through(slope, &row[PADDING * FRAME..][..WINDOW_PLANE]);
        }
        slopes(of_graph, &self.graph, WINDOW_PLANE, fold)
    }

    /// From the output's normalisation to the last block.
    pub fn back_output(&mut self, plan: &Plan, fixed: &FixedFamily, values: &[f32], backs: &[Back], room_of: &mut Room) {
        let Some(last) = self.blocks.last() else { return };
        let Room { scratch, gradient } = room_of;
        let (expanded, channels) = (SUBSETS * CHANNELS, plan.shape.decoder_channels());
        let of_graph = room(&mut scratch.mixed, CHANNELS * WINDOW_PLANE);
        for (channel, out) in of_graph.chunks_exact_mut(WINDOW_PLANE).enumerate() {
            let range = channel * WINDOW_PLANE..(channel + 1) * WINDOW_PLANE;
            before(&self.flow.mixed[range.clone()], &self.graph[range], backs[channel], &self.mask, out);
        }
        let layer = room(&mut scratch.layer, expanded * WINDOW_PLANE);
        layer.fill(0.0);
        for (subset, out) in layer.chunks_exact_mut(CHANNELS * WINDOW_PLANE).enumerate() {
            fixed.add(subset, of_graph, true, out);
        }
        let weight = &values[plan.output_graph.weight..][..expanded * channels];
        let mut turned = vec![0.0; weight.len()];
        crate::train::matrix::transpose(weight, channels, &mut turned);
        add_row_sums(layer, WINDOW_PLANE, &mut gradient[plan.output_graph.bias..][..expanded]);
        let lefts = rows(&mut scratch.rows, expanded, WINDOW_PLANE);
        let rights = rows(&mut scratch.others, channels, WINDOW_PLANE);
        let sums = &mut gradient[plan.output_graph.weight..][..expanded * channels];
        Dots { columns: WINDOW_PLANE, left: layer, lefts, right: &last.output, rights, sums, sums_step: channels }.run();
        let out = room(&mut self.flow.output, channels * WINDOW_PLANE);
        let (left, left_step, right, start) = (turned.as_slice(), expanded, &*layer, Start::Zero);
        Product { rows: channels, columns: WINDOW_PLANE, left, left_step, right, offsets: lefts, start, out, out_step: WINDOW_PLANE }.run();
    }

    /// From the latent values to the encoder's output: `shares` are the loss' slopes by the divergences, `pulls` those by half the squared
    /// distances from the reference.
    pub fn back_latent(&mut self, described: usize, reference: &[f32], shares: &Mask, pulls: &Mask) {
        let described = &self.blocks[described].output;
        let half = described.len() / 2;
        let Flow { output, input, .. } = &mut self.flow;
        let (of_means, of_deviations) = room(input, described.len()).split_at_mut(half);
        for place in 0..half {
            let (lane, latent) = (place % LANES, output[place]);
            let log_deviation = described[half + place];
            of_means[place] = latent + shares[lane] * described[place];
            // Beyond the cut nothing moves it.
            of_deviations[place] = if log_deviation < LOG_DEVIATION_MAX {
                let deviation = libm::expf(log_deviation);
                latent * self.noise[place] * deviation + shares[lane] * (deviation * deviation - 1.0)
            } else {
                0.0
            };
        }
        if pulls.iter().any(|pull| *pull != 0.0) {
            for (place, slope) in input[..2 * half].iter_mut().enumerate() {
                *slope += pulls[place % LANES] * (described[place] - reference[place / LANES]);
            }
        }
        core::mem::swap(output, input);
    }

    /// Draws the noise of the samples from `first` on out of a batch's, `[channel][frame][sample][joint]` of `count` samples.
    pub fn take_noise(&mut self, noise: &[f32], first: usize, count: usize) {
        for (row, cells) in self.noise.chunks_exact_mut(FRAME).enumerate() {
            for lane in 0..self.live {
                let from = &noise[(row * count + first + lane) * JOINTS..][..JOINTS];
                from.iter().enumerate().for_each(|(joint, value)| cells[joint * LANES + lane] = *value);
            }
        }
    }
}

/// A batch's noise, in the order of the step by automatic derivatives.
#[must_use]
pub fn draw_noise(plan: &Plan, count: usize, random: &mut Random) -> Vec<f32> {
    (0..plan.shape.latent_channels() * LATENT_FRAMES * count * JOINTS).map(|_| random.normal() as f32).collect()
}

/// Which frames a stretched frame is made of, and how much of each: linear, with half-pixel centres, held at both ends.
fn sources(frame: usize, stretch: usize, frames: usize) -> [(usize, f32); 2] {
    let at = ((frame as f64 + 0.5) / stretch as f64 - 0.5).max(0.0);
    let before = at as usize;
    let part = (at - before as f64) as f32;
    [(before, 1.0 - part), ((before + 1).min(frames - 1), part)]
}
