//! Layers of SPARTA's hand-derived step: what a chunk of windows keeps of the forward pass, and the way back through it.
//!
//! A layer is two or three parts, each `x := x + part(norm(x))`: attention to itself, in the decoder attention to the encoder's output, and a
//! feed-forward network. A part keeps its normalised inputs and what its derivative needs; the way back adds to the gradients of parameters
//! and to the gradient of `x`.

use crate::train::matrix::{Left, Right, linear, linear_back, linear_gradient, transpose};
use crate::train::sparta_attention::{PARTS, Shares, attend, attend_back};
use alfred_models::lane::{Kernel, Lane, run_widest};
use alfred_models::sparta::parameters::{EMBEDDING, HEADS, HIDDEN, NORM_EPSILON, TOKENS};

/// Where an attention's tensors begin in the flat parameters.
#[derive(Clone, Copy, Debug)]
pub struct AttentionPlace {
    in_weight: usize,
    in_bias: usize,
    out_weight: usize,
    out_bias: usize,
}

/// Where a feed-forward network's tensors begin.
#[derive(Clone, Copy, Debug)]
pub struct FeedForwardPlace {
    first_weight: usize,
    first_bias: usize,
    second_weight: usize,
    second_bias: usize,
}

/// Where a normalisation's factors and, after them, its offsets begin.
#[derive(Clone, Copy, Debug)]
pub struct NormPlace(usize);

/// Hands out places in storage order.
#[derive(Clone, Copy, Debug, Default)]
pub struct Cursor(usize);

impl Cursor {
    fn take(&mut self, values: usize) -> usize {
        let at = self.0;
        self.0 += values;
        at
    }

    /// What has been handed out.
    #[must_use]
    pub const fn values(&self) -> usize {
        self.0
    }

    /// The next attention.
    pub fn attention(&mut self) -> AttentionPlace {
        AttentionPlace {
            in_weight: self.take(PARTS * EMBEDDING),
            in_bias: self.take(PARTS),
            out_weight: self.take(EMBEDDING * EMBEDDING),
            out_bias: self.take(EMBEDDING),
        }
    }

    /// The next feed-forward network.
    pub fn feed_forward(&mut self) -> FeedForwardPlace {
        FeedForwardPlace {
            first_weight: self.take(HIDDEN * EMBEDDING),
            first_bias: self.take(HIDDEN),
            second_weight: self.take(EMBEDDING * HIDDEN),
            second_bias: self.take(EMBEDDING),
        }
    }

    /// The next normalisation.
    pub fn norm(&mut self) -> NormPlace {
        NormPlace(self.take(2 * EMBEDDING))
    }
}

/// The parameters of a step: as they are, and every matrix transposed at the same place.
#[derive(Debug)]
pub struct Parameters<'p> {
    /// In storage order.
    pub plain: &'p [f32],
    /// Matrices transposed; the rest is not used.
    pub transposed: &'p [f32],
}

/// Transposes the matrices of an attention and a network.
pub fn transpose_attention(place: &AttentionPlace, plain: &[f32], out: &mut [f32]) {
    let matrices = [(place.in_weight, PARTS * EMBEDDING), (place.out_weight, EMBEDDING * EMBEDDING)];
    matrices.iter().for_each(|&(at, size)| transpose(&plain[at..at + size], EMBEDDING, &mut out[at..at + size]));
}

/// Transposes the matrices of a feed-forward network.
pub fn transpose_feed_forward(place: &FeedForwardPlace, plain: &[f32], out: &mut [f32]) {
    let size = HIDDEN * EMBEDDING;
    for (at, columns) in [(place.first_weight, EMBEDDING), (place.second_weight, HIDDEN)] {
        transpose(&plain[at..at + size], columns, &mut out[at..at + size]);
    }
}

/// What a layer normalisation keeps, for `rows` tokens.
#[derive(Clone, Debug)]
pub struct Norm {
    place: NormPlace,
    /// Centred and divided by the deviation.
    unit: Vec<f32>,
    /// One over the deviation, by token.
    inverse: Vec<f32>,
    /// What it gives.
    out: Vec<f32>,
}

impl Norm {
    /// Room for so many tokens.
    #[must_use]
    pub fn new(place: NormPlace, rows: usize) -> Self {
        Self { place, unit: vec![0.0; rows * EMBEDDING], inverse: vec![0.0; rows], out: vec![0.0; rows * EMBEDDING] }
    }

    fn forward(&mut self, parameters: &Parameters<'_>, inputs: &[f32]) {
        let (weight, bias) = parameters.plain[self.place.0..][..2 * EMBEDDING].split_at(EMBEDDING);
        run_widest(Normalise { norm: self, weight, bias, inputs });
    }

    /// Adds the gradient of the inputs to `sums`, from that of the output, `outer`, which is used up.
    fn back(&self, parameters: &Parameters<'_>, outer: &mut [f32], sums: &mut [f32], gradient: &mut [f32]) {
        let weight = &parameters.plain[self.place.0..][..EMBEDDING];
        let (of_weight, of_bias) = gradient[self.place.0..][..2 * EMBEDDING].split_at_mut(EMBEDDING);
        run_widest(NormaliseBack { norm: self, weight, outer, sums, of_weight, of_bias });
    }
}

struct Normalise<'a> {
    norm: &'a mut Norm,
    weight: &'a [f32],
    bias: &'a [f32],
    inputs: &'a [f32],
}

/// Sum of a token's numbers, in eight parts, so that the compiler may use vectors.
#[inline(always)]
fn total(mut number: impl FnMut(usize) -> f32) -> f32 {
    let mut sums = [0.0_f32; 8];
    for block in 0..EMBEDDING / 8 {
        for (lane, sum) in sums.iter_mut().enumerate() {
            *sum += number(block * 8 + lane);
        }
    }
    ((sums[0] + sums[4]) + (sums[2] + sums[6])) + ((sums[1] + sums[5]) + (sums[3] + sums[7]))
}

impl Kernel for Normalise<'_> {
    type Output = ();

    #[inline(always)]
    fn run<L: Lane>(self, _lane: L) {
        let Self { norm, weight, bias, inputs } = self;
        let (weight, bias) = (&weight[..EMBEDDING], &bias[..EMBEDDING]);
        let rows = norm.unit.chunks_exact_mut(EMBEDDING).zip(norm.out.chunks_exact_mut(EMBEDDING)).zip(&mut norm.inverse);
        for (((unit, out), inverse), inputs) in rows.zip(inputs.chunks_exact(EMBEDDING)) {
            let mean = total(|place| inputs[place]) * (1.0 / EMBEDDING as f32);
            for place in 0..EMBEDDING {
                unit[place] = inputs[place] - mean;
            }
            let variance = total(|place| unit[place] * unit[place]) * (1.0 / EMBEDDING as f32);
            *inverse = 1.0 / (variance + NORM_EPSILON as f32).sqrt();
            for place in 0..EMBEDDING {
                unit[place] *= *inverse;
                out[place] = unit[place] * weight[place] + bias[place];
            }
        }
    }
}

struct NormaliseBack<'a> {
    norm: &'a Norm,
    weight: &'a [f32],
    outer: &'a mut [f32],
    sums: &'a mut [f32],
    of_weight: &'a mut [f32],
    of_bias: &'a mut [f32],
}

impl Kernel for NormaliseBack<'_> {
    type Output = ();

    /// With `u` the unit values and `g = outer * weight`: `inverse * (g - mean(g) - u * mean(g u))`.
    #[inline(always)]
    fn run<L: Lane>(self, _lane: L) {
        let Self { norm, weight, outer, sums, of_weight, of_bias } = self;
        let (weight, of_weight, of_bias) = (&weight[..EMBEDDING], &mut of_weight[..EMBEDDING], &mut of_bias[..EMBEDDING]);
        let rows = norm.unit.chunks_exact(EMBEDDING).zip(&norm.inverse);
        for ((unit, inverse), (outer, sums)) in rows.zip(outer.chunks_exact_mut(EMBEDDING).zip(sums.chunks_exact_mut(EMBEDDING))) {
            for place in 0..EMBEDDING {
                of_weight[place] += outer[place] * unit[place];
                of_bias[place] += outer[place];
                outer[place] *= weight[place];
            }
            let mean = total(|place| outer[place]) * (1.0 / EMBEDDING as f32);
            let along = total(|place| outer[place] * unit[place]) * (1.0 / EMBEDDING as f32);
            for place in 0..EMBEDDING {
                sums[place] += inverse * (outer[place] - mean - unit[place] * along);
            }
        }
    }
}

/// The encoder's output as the decoder's attentions read it: keys of its normalised values (factors 1, offsets 0), values of it as it is; and
/// the gradients of both.
#[derive(Clone, Debug)]
pub struct Memory {
    /// The encoder's stream, at last its output.
    pub plain: Vec<f32>,
    /// Gradient of `plain`, without what goes through `norm` until [`Memory::close`].
    pub gradient: Vec<f32>,
    norm: Norm,
    unit_gradient: Vec<f32>,
}

impl Memory {
    /// Room for so many tokens.
    #[must_use]
    pub fn new(rows: usize) -> Self {
        let tokens = || vec![0.0; rows * EMBEDDING];
        Self { plain: tokens(), gradient: tokens(), norm: Norm::new(NormPlace(0), rows), unit_gradient: tokens() }
    }

    /// Normalises what the encoder left.
    pub fn normalise(&mut self) {
        run_widest(Normalise { norm: &mut self.norm, weight: &[1.0; EMBEDDING], bias: &[0.0; EMBEDDING], inputs: &self.plain });
    }

    /// Before the way back: no gradient yet.
    pub fn open(&mut self) {
        self.gradient.fill(0.0);
        self.unit_gradient.fill(0.0);
    }

    /// After the decoder's way back: takes the keys' gradient through the normalisation.
    pub fn close(&mut self) {
        let [mut of_weight, mut of_bias] = [[0.0; EMBEDDING]; 2];
        run_widest(NormaliseBack {
            norm: &self.norm,
            weight: &[1.0; EMBEDDING],
            outer: &mut self.unit_gradient,
            sums: &mut self.gradient,
            of_weight: &mut of_weight,
            of_bias: &mut of_bias,
        });
    }
}

/// Adds a part's output to the stream.
pub fn add(stream: &mut [f32], change: &[f32]) {
    stream.iter_mut().zip(change).for_each(|(value, change)| *value += change);
}

/// Room that all parts of a chunk share on their way back and forth.
#[derive(Clone, Debug)]
pub struct Scratch {
    /// A part's output.
    change: Vec<f32>,
    /// Gradient of a part's normalised inputs.
    inner: Vec<f32>,
    /// Gradient of what the heads found.
    joined: Vec<f32>,
    /// Gradient of queries, keys and values.
    parts: Vec<f32>,
    /// Gradient of a network's hidden values.
    hidden: Vec<f32>,
}

impl Scratch {
    /// Room for so many tokens.
    #[must_use]
    pub fn new(rows: usize) -> Self {
        let tokens = || vec![0.0; rows * EMBEDDING];
        Self { change: tokens(), inner: tokens(), joined: tokens(), parts: vec![0.0; rows * PARTS], hidden: vec![0.0; rows * HIDDEN] }
    }
}

/// Attention with the normalisation before it.
#[derive(Clone, Debug)]
pub struct AttentionPart {
    place: AttentionPlace,
    parts: Vec<f32>,
    shares: Vec<Shares>,
    joined: Vec<f32>,
    norm: Norm,
}

impl AttentionPart {
    /// Room for so many tokens.
    #[must_use]
    pub fn new(place: AttentionPlace, norm: NormPlace, rows: usize) -> Self {
        Self {
            place,
            parts: vec![0.0; rows * PARTS],
            shares: vec![[[0.0; TOKENS]; TOKENS]; rows / TOKENS * HEADS],
            joined: vec![0.0; rows * EMBEDDING],
            norm: Norm::new(norm, rows),
        }
    }

    /// Adds what the stream's tokens find among `memory`, or among themselves.
    pub fn forward(&mut self, parameters: &Parameters<'_>, stream: &mut [f32], memory: Option<&Memory>, scratch: &mut Scratch) {
        let rows = stream.len() / EMBEDDING;
        self.norm.forward(parameters, stream);
        let transposed = &parameters.transposed[self.place.in_weight..][..PARTS * EMBEDDING];
        let bias = &parameters.plain[self.place.in_bias..][..PARTS];
        let own = &*self.norm.out;
        let (keys, values) = memory.map_or((own, own), |memory| (&memory.norm.out, &memory.plain));
        for (part, inputs) in [own, keys, values].into_iter().enumerate() {
            let (first, last) = (part * EMBEDDING, (part + 1) * EMBEDDING);
            let right = Right { values: &transposed[first..], step: PARTS };
            linear(rows, inputs, EMBEDDING, right, &bias[first..last], &mut self.parts[first..], PARTS);
        }
        attend(&self.parts, &mut self.shares, &mut self.joined);
        let right = Right { values: &parameters.transposed[self.place.out_weight..][..EMBEDDING * EMBEDDING], step: EMBEDDING };
        let bias = &parameters.plain[self.place.out_bias..][..EMBEDDING];
        linear(rows, &self.joined, EMBEDDING, right, bias, &mut scratch.change, EMBEDDING);
        add(stream, &scratch.change);
    }

    /// Adds to `outer`, the stream's gradient, what the part sends back, and to that of the memory, if it has one.
    pub fn back(
        &self,
        parameters: &Parameters<'_>,
        outer: &mut [f32],
        memory: Option<&mut Memory>,
        scratch: &mut Scratch,
        gradient: &mut [f32],
    ) {
        let rows = outer.len() / EMBEDDING;
        let AttentionPlace { in_weight, in_bias, out_weight, out_bias } = self.place;
        let (weights, biases) = gradient[out_weight..out_bias + EMBEDDING].split_at_mut(out_bias - out_weight);
        linear_gradient(rows, outer, EMBEDDING, &self.joined, weights, biases);
        scratch.joined.fill(0.0);
        let left = Left { values: outer, row_step: EMBEDDING, depth_step: 1 };
        linear_back(rows, left, &parameters.plain[out_weight..][..EMBEDDING * EMBEDDING], EMBEDDING, &mut scratch.joined);
        attend_back(&self.parts, &self.shares, &scratch.joined, &mut scratch.parts);
        let (weights, biases) = gradient[in_weight..in_bias + PARTS].split_at_mut(in_bias - in_weight);
        let plain = &parameters.plain[in_weight..][..PARTS * EMBEDDING];
        scratch.inner.fill(0.0);
        let mut send = |first: usize, last: usize, inputs: &[f32], sums: &mut [f32]| {
            let own = first * EMBEDDING..last * EMBEDDING;
            linear_gradient(rows, &scratch.parts[first..], PARTS, inputs, &mut weights[own.clone()], &mut biases[first..last]);
            let left = Left { values: &scratch.parts[first..], row_step: PARTS, depth_step: 1 };
            linear_back(rows, left, &plain[own], last - first, sums);
        };
        match memory {
            None => send(0, PARTS, &self.norm.out, &mut scratch.inner),
            Some(memory) => {
                send(0, EMBEDDING, &self.norm.out, &mut scratch.inner);
                send(EMBEDDING, 2 * EMBEDDING, &memory.norm.out, &mut memory.unit_gradient);
                send(2 * EMBEDDING, PARTS, &memory.plain, &mut memory.gradient);
            }
        }
        self.norm.back(parameters, &mut scratch.inner, outer, gradient);
    }
}

/// Feed-forward network with the normalisation before it.
#[derive(Clone, Debug)]
pub struct FeedForwardPart {
    place: FeedForwardPlace,
    hidden: Vec<f32>,
    norm: Norm,
}

impl FeedForwardPart {
    /// Room for so many tokens.
    #[must_use]
    pub fn new(place: FeedForwardPlace, norm: NormPlace, rows: usize) -> Self {
        Self { place, hidden: vec![0.0; rows * HIDDEN], norm: Norm::new(norm, rows) }
    }

    /// Adds `second * max(0, first * norm(x) + bias) + bias`.
    pub fn forward(&mut self, parameters: &Parameters<'_>, stream: &mut [f32], scratch: &mut Scratch) {
        let rows = stream.len() / EMBEDDING;
        let FeedForwardPlace { first_weight, first_bias, second_weight, second_bias } = self.place;
        self.norm.forward(parameters, stream);
        let right = |at: usize, step: usize| Right { values: &parameters.transposed[at..][..HIDDEN * EMBEDDING], step };
        let bias = &parameters.plain[first_bias..][..HIDDEN];
        linear(rows, &self.norm.out, EMBEDDING, right(first_weight, HIDDEN), bias, &mut self.hidden, HIDDEN);
        // Unlike max, this keeps NaN.
        self.hidden.iter_mut().for_each(|value| *value = if *value < 0.0 { 0.0 } else { *value });
        let bias = &parameters.plain[second_bias..][..EMBEDDING];
        linear(rows, &self.hidden, HIDDEN, right(second_weight, EMBEDDING), bias, &mut scratch.change, EMBEDDING);
        add(stream, &scratch.change);
    }

    /// Adds to `outer`, the stream's gradient, what the part sends back.
    pub fn back(&self, parameters: &Parameters<'_>, outer: &mut [f32], scratch: &mut Scratch, gradient: &mut [f32]) {
        let rows = outer.len() / EMBEDDING;
        let FeedForwardPlace { first_weight, first_bias, second_weight, second_bias } = self.place;
        let (weights, biases) = gradient[second_weight..second_bias + EMBEDDING].split_at_mut(second_bias - second_weight);
        linear_gradient(rows, outer, EMBEDDING, &self.hidden, weights, biases);
        scratch.hidden.fill(0.0);
        let left = Left { values: outer, row_step: EMBEDDING, depth_step: 1 };
        linear_back(rows, left, &parameters.plain[second_weight..][..HIDDEN * EMBEDDING], EMBEDDING, &mut scratch.hidden);
        for (slope, value) in scratch.hidden.iter_mut().zip(&self.hidden) {
            *slope = if *value > 0.0 { *slope } else { 0.0 };
        }
        let (weights, biases) = gradient[first_weight..first_bias + HIDDEN].split_at_mut(first_bias - first_weight);
        linear_gradient(rows, &scratch.hidden, HIDDEN, &self.norm.out, weights, biases);
        scratch.inner.fill(0.0);
        let left = Left { values: &scratch.hidden, row_step: HIDDEN, depth_step: 1 };
        linear_back(rows, left, &parameters.plain[first_weight..][..HIDDEN * EMBEDDING], HIDDEN, &mut scratch.inner);
        self.norm.back(parameters, &mut scratch.inner, outer, gradient);
    }
}
