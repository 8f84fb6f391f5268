//! SPARTA's `tokens` form, forward and back, on a few windows at a time: so few that what the way back needs stays in the caches.

use crate::train::matrix::ROWS;
use crate::train::sparta_layers::{
    AttentionPart, AttentionPlace, Cursor, FeedForwardPart, FeedForwardPlace, Memory, Parameters, Scratch, add, transpose_attention,
    transpose_feed_forward,
};
use alfred_models::sparta::parameters::{EMBEDDING, LAYERS, PARAMETERS, SEEN_FRAMES, TOKENS};
use alfred_models::sparta::tokens::{frame_tokens, positional_encoding};

/// Windows that are computed together.
pub const CHUNK: usize = 4;

/// Their tokens.
const CHUNK_ROWS: usize = CHUNK * TOKENS;

/// Numbers of a window's tokens.
const WINDOW_VALUES: usize = TOKENS * EMBEDDING;

/// Those that were seen; the error counts the others.
const SEEN_VALUES: usize = SEEN_FRAMES * EMBEDDING;

/// One over the number of the others.
const UNSEEN_SHARE: f64 = 1.0 / (WINDOW_VALUES - SEEN_VALUES) as f64;

const _: () = assert!(CHUNK_ROWS.is_multiple_of(ROWS));

#[derive(Clone, Debug)]
struct EncoderLayer {
    own: AttentionPart,
    network: FeedForwardPart,
}

#[derive(Clone, Debug)]
struct DecoderLayer {
    own: AttentionPart,
    cross: AttentionPart,
    network: FeedForwardPart,
}

/// Where the matrices lie: what is transposed before a step.
#[derive(Clone, Debug, Default)]
pub struct Places {
    attentions: Vec<AttentionPlace>,
    networks: Vec<FeedForwardPlace>,
}

impl Places {
    /// Writes every matrix transposed into `out`.
    pub fn transpose(&self, plain: &[f32], out: &mut [f32]) {
        self.attentions.iter().for_each(|place| transpose_attention(place, plain, out));
        self.networks.iter().for_each(|place| transpose_feed_forward(place, plain, out));
    }
}

/// Everything that a chunk keeps, and the gradient that chunks add to.
#[derive(Clone, Debug)]
pub struct Workspace {
    positions: Vec<f32>,
    memory: Memory,
    /// The decoder's stream.
    stream: Vec<f32>,
    /// What the decoder's stream is to become: the window's tokens and the positions that went in.
    goal: Vec<f32>,
    encoder: Vec<EncoderLayer>,
    decoder: Vec<DecoderLayer>,
    scratch: Scratch,
    /// Errors, then the decoder's gradient.
    outer: Vec<f32>,
    /// In storage order.
    pub gradient: Vec<f32>,
}

impl Workspace {
    /// Room for one chunk, and where the matrices of the layers that speak lie; silent ones are left out.
    ///
    /// # Panics
    /// Never: the layers' tensors are those of the parameters' table.
    #[must_use]
    pub fn new(speaking: &[[bool; LAYERS]; 2]) -> (Self, Places) {
        let (mut cursor, mut places) = (Cursor::default(), Places::default());
        let (mut encoder, mut decoder) = (Vec::new(), Vec::new());
        for speaks in speaking[0] {
            let (own, network) = (cursor.attention(), cursor.feed_forward());
            let norms = [cursor.norm(), cursor.norm()];
            if !speaks {
                continue;
            }
            places.attentions.push(own);
            places.networks.push(network);
            encoder.push(EncoderLayer {
                own: AttentionPart::new(own, norms[0], CHUNK_ROWS),
                network: FeedForwardPart::new(network, norms[1], CHUNK_ROWS),
            });
        }
        for speaks in speaking[1] {
            let (own, cross, network) = (cursor.attention(), cursor.attention(), cursor.feed_forward());
            let norms = [cursor.norm(), cursor.norm(), cursor.norm()];
            if !speaks {
                continue;
            }
            places.attentions.extend([own, cross]);
            places.networks.push(network);
            decoder.push(DecoderLayer {
                own: AttentionPart::new(own, norms[0], CHUNK_ROWS),
                cross: AttentionPart::new(cross, norms[1], CHUNK_ROWS),
                network: FeedForwardPart::new(network, norms[2], CHUNK_ROWS),
            });
        }
        assert_eq!(cursor.values(), PARAMETERS, "the layers' tensors are the table's");
        let positions = (0..TOKENS).flat_map(|token| (0..EMBEDDING).map(move |place| positional_encoding(token, place))).collect();
        let rows = || vec![0.0; CHUNK_ROWS * EMBEDDING];
        let workspace = Self {
            positions,
            memory: Memory::new(CHUNK_ROWS),
            stream: rows(),
            goal: rows(),
            encoder,
            decoder,
            scratch: Scratch::new(CHUNK_ROWS),
            outer: rows(),
            gradient: vec![0.0; PARAMETERS],
        };
        (workspace, places)
    }

    /// Mean absolute errors of up to [`CHUNK`] windows, each `[channel][joint][time]`.
    pub fn forward(&mut self, parameters: &Parameters<'_>, windows: &[&[f32]]) -> [f64; CHUNK] {
        self.load(windows);
        let Self { memory, stream, goal, encoder, decoder, scratch, outer, .. } = self;
        for layer in encoder {
            layer.own.forward(parameters, &mut memory.plain, None, scratch);
            layer.network.forward(parameters, &mut memory.plain, scratch);
        }
        memory.normalise();
        for layer in decoder {
            layer.own.forward(parameters, stream, None, scratch);
            layer.cross.forward(parameters, stream, Some(memory), scratch);
            layer.network.forward(parameters, stream, scratch);
        }
        let mut scores = [0.0; CHUNK];
        let windows = goal.chunks_exact(WINDOW_VALUES).zip(stream.chunks_exact(WINDOW_VALUES)).zip(outer.chunks_exact_mut(WINDOW_VALUES));
        for (score, ((goal, stream), outer)) in scores.iter_mut().zip(windows) {
            for ((error, value), goal) in outer.iter_mut().zip(stream).zip(goal) {
                *error = value - goal;
            }
            *score = outer[SEEN_VALUES..].iter().map(|error| f64::from(error.abs())).sum::<f64>() * UNSEEN_SHARE;
        }
        scores
    }

    /// Adds the gradient of `sum of slope * score` over the windows of the latest forward pass.
    pub fn back(&mut self, parameters: &Parameters<'_>, slopes: &[f32; CHUNK]) {
        let Self { memory, encoder, decoder, scratch, outer, gradient, .. } = self;
        for (errors, slope) in outer.chunks_exact_mut(WINDOW_VALUES).zip(slopes) {
            let (seen, unseen) = errors.split_at_mut(SEEN_VALUES);
            seen.fill(0.0);
            let step = slope * UNSEEN_SHARE as f32;
            // Where the error is 0, so is its slope; NaN stays.
            unseen.iter_mut().for_each(|error| *error = if *error == 0.0 { 0.0 } else { error.signum() * step });
        }
        memory.open();
        for layer in decoder.iter().rev() {
            layer.network.back(parameters, outer, scratch, gradient);
            layer.cross.back(parameters, outer, Some(memory), scratch, gradient);
            layer.own.back(parameters, outer, None, scratch, gradient);
        }
        memory.close();
        for layer in encoder.iter().rev() {
            layer.network.back(parameters, &mut memory.gradient, scratch, gradient);
            layer.own.back(parameters, &mut memory.gradient, None, scratch, gradient);
        }
    }

    /// Tokens of the windows; places without a window hold positions only.
    fn load(&mut self, windows: &[&[f32]]) {
        let blocks = self.memory.plain.chunks_exact_mut(WINDOW_VALUES).zip(self.stream.chunks_exact_mut(WINDOW_VALUES));
        for (index, ((memory, stream), goal)) in blocks.zip(self.goal.chunks_exact_mut(WINDOW_VALUES)).enumerate() {
            memory.copy_from_slice(&self.positions);
            stream.copy_from_slice(&self.positions);
            goal.copy_from_slice(&self.positions);
            if let Some(window) = windows.get(index) {
                let [seen, all] = frame_tokens(window);
                add(memory, seen.as_flattened());
                add(goal, all.as_flattened());
            }
        }
    }
}
