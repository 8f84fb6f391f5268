//! SPARTA's prediction branch in burn, in both forms.
//!
//! Source: the SPARTA paper (arXiv 2408.15185), future-target decoder branch. Tensors, tokens and positions are those of
//! `alfred_models::sparta`, so that what is trained here is what the device scores with.

use crate::train::burn_tensors::{Leaves, Place, Samples, TensorSpec, layer_norm, linear, margin_loss};
use crate::train::burn_trainer::{BurnModel, BurnTrainer, Mode, Outcome};
use crate::train::checkpoint::Metadata;
use crate::train::optimiser::{Adam, Optimiser};
use alfred_models::sparta::parameters::{
    EMBEDDING, Form, HEAD_VALUES, HEADS, HIDDEN, LAYERS, NORM_EPSILON, SpartaParameters, Stack, TOKENS,
};
use alfred_models::sparta::tokens::{Half, frame_tokens, positional_encoding, tokens};
use alfred_models::sparta::weights_file::{ARCHITECTURE, HeapParameters};
use alfred_synth::random::Random;
use burn::tensor::Tensor;
use burn::tensor::activation::{relu, softmax};

/// Gradient norm beyond which gradients are cut. The published code cuts nothing; typical norms are below 1.
const GRADIENT_NORM_MAX: f64 = 5.0;

/// SPARTA's forward pass.
#[derive(Clone, Debug)]
pub struct SpartaModel {
    form: Form,
    /// Share of values that training drops after every part of a layer (published: 0.1).
    dropout: f64,
    /// Which layers of encoder and decoder take part: in the `tokens` form those that are not silent when training starts.
    speaking: [[bool; LAYERS]; 2],
    specs: Vec<TensorSpec>,
}

/// A trainer of given parameters.
#[must_use]
pub fn trainer<V: AsRef<[f32]>>(parameters: &SpartaParameters<V>, form: Form, dropout: f64, seed: u64) -> BurnTrainer<SpartaModel> {
    let spec = |tensor: alfred_models::sparta::parameters::Tensor<'_>| TensorSpec {
        name: tensor.name.to_string(),
        shape: tensor.shape.dimensions().to_vec(),
        is_trainable: true,
    };
    let speaking = if form == Form::Tokens { parameters.speaking_layers() } else { [[true; LAYERS]; 2] };
    let values = parameters.values().to_vec();
    let optimiser = Optimiser::Adam(Adam::new(values.len()));
    let model = SpartaModel { form, dropout, speaking, specs: parameters.tensors().map(spec).collect() };
    BurnTrainer::new(model, values, optimiser, GRADIENT_NORM_MAX, seed, false)
}

/// Random parameters for the first `depth` layers of encoder and decoder (the others are silent), distributed as PyTorch initialises its
/// transformer layers: input projections of attentions by Xavier's rule, other matrices and biases uniform in `±1 / sqrt(fan-in)`, biases
/// of attentions 0.
#[must_use]
pub fn fresh(depth: usize, random: &mut Random) -> HeapParameters {
    let mut parameters = HeapParameters::zero();
    parameters.visit_mut(|tensor| {
        let suffix = tensor.name.suffix;
        let bound = if tensor.name.layer >= depth {
            return;
        } else if suffix.ends_with("in_proj_weight") {
            libm::sqrt(6.0 / (4 * EMBEDDING) as f64)
        } else if suffix.ends_with("out_proj.weight") || suffix.starts_with("linear1") {
            1.0 / libm::sqrt(EMBEDDING as f64)
        } else if suffix.starts_with("linear2") {
            1.0 / libm::sqrt(HIDDEN as f64)
        } else {
            return;
        };
        tensor.values.iter_mut().for_each(|value| *value = random.between(-bound, bound) as f32);
    });
    parameters
}

impl BurnModel for SpartaModel {
    fn frames(&self) -> usize {
        self.form.window_frames()
    }

    fn specs(&self) -> &[TensorSpec] {
        &self.specs
    }

    fn forward(&self, leaves: &Leaves, samples: &Samples, place: &Place, mode: Mode<'_>) -> Outcome {
        let count = samples.count;
        let sequence = |half: Half| {
            let of_window = |index| match (self.form, half) {
                (Form::Published, half) => tokens(samples.window(index), half),
                (Form::Tokens, Half::Source) => frame_tokens(samples.window(index))[0],
                (Form::Tokens, Half::Target) => frame_tokens(samples.window(index))[1],
            };
            let values = (0..count).flat_map(|index| of_window(index).into_iter().flatten()).collect();
            place.tensor::<2>(values, [count * TOKENS, EMBEDDING])
        };
        let target = sequence(Half::Target);
        let mut pass = Pass {
            form: self.form,
            leaves: leaves.tensors().iter(),
            dropout: match mode {
                Mode::Train(random) if self.dropout > 0.0 => Some((self.dropout, random, place)),
                _ => None,
            },
        };
        let positions = (0..TOKENS).flat_map(|token| (0..EMBEDDING).map(move |position| positional_encoding(token, position)));
        let positions = place.tensor::<2>(positions.collect(), [TOKENS, EMBEDDING]).repeat_dim(0, count);
        let mut memory = pass.drop_some(sequence(Half::Source) + positions.clone());
        let mut prediction = match self.form {
            Form::Published => pass.drop_some(target.clone() + positions.clone()),
            Form::Tokens => positions.clone(),
        };
        let mut keys = memory.clone();
        for (stack, speaking) in Stack::ALL.into_iter().zip(self.speaking) {
            for speaks in speaking {
                match stack {
                    _ if !speaks => pass.skip(stack),
                    Stack::Encoder => memory = pass.layer(memory, None),
                    Stack::Decoder => prediction = pass.layer(prediction, Some((&keys, &memory))),
                }
            }
            if stack == Stack::Encoder && self.form == Form::Tokens {
                let [ones, zeros] = [1.0, 0.0].map(|value| place.tensor::<2>(vec![value; EMBEDDING], [1, EMBEDDING]));
                keys = layer_norm(memory.clone(), ones, zeros, NORM_EPSILON);
            }
        }
        let errors = match self.form {
            Form::Published => {
                let error = target - prediction;
                error.clone() * error
            }
            Form::Tokens => (target + positions - prediction).abs(),
        };
        let unseen = self.form.first_predicted() * EMBEDDING..TOKENS * EMBEDDING;
        let scores = errors.reshape([count, TOKENS * EMBEDDING]).slice([0..count, unseen]).mean_dim(1).reshape([count]);
        Outcome { loss: margin_loss(scores.clone(), &samples.labels, place), scores, statistics: Vec::new() }
    }

    fn metadata(&self) -> Metadata {
        metadata(self.form)
    }
}

/// What a weight file says beside its tensors.
#[must_use]
pub fn metadata(form: Form) -> Metadata {
    let entry = |key: &str, value: String| (key.to_owned(), value);
    Metadata::from([
        entry("architecture", ARCHITECTURE.into()),
        entry("form", form.name().into()),
        entry("seg_len", TOKENS.to_string()),
        entry("d_model", EMBEDDING.to_string()),
        entry("layers", LAYERS.to_string()),
        entry("heads", HEADS.to_string()),
        entry("ff", HIDDEN.to_string()),
    ])
}

/// One forward pass: takes the tensors in storage order, which is the order of their use.
struct Pass<'p> {
    form: Form,
    leaves: core::slice::Iter<'p, Tensor<2>>,
    dropout: Option<(f64, &'p mut Random, &'p Place)>,
}

/// The four tensors of an attention.
struct Attention([Tensor<2>; 4]);

impl Pass<'_> {
    /// # Panics
    /// When the model has fewer tensors than its tables say.
    fn take<const N: usize>(&mut self) -> [Tensor<2>; N] {
        let (taken, _) = self.leaves.as_slice().split_at(N);
        let own = core::array::from_fn(|index| taken[index].clone());
        self.leaves = self.leaves.as_slice()[N..].iter();
        own
    }

    /// Passes over a layer's tensors.
    fn skip(&mut self, stack: Stack) {
        self.leaves = self.leaves.as_slice()[stack.table().len()..].iter();
    }

    /// `memory`: what the cross-attention of a decoder layer makes its keys and its values of.
    fn layer(&mut self, mut values: Tensor<2>, memory: Option<(&Tensor<2>, &Tensor<2>)>) -> Tensor<2> {
        // Storage order: all attentions, the feed-forward network, all norms.
        let own = Attention(self.take());
        let cross = memory.map(|memory| (Attention(self.take()), memory));
        let [first_weight, first_bias, second_weight, second_bias] = self.take();
        let form = self.form;
        values = self.residual(values, |_, values| attend(form, &own, [&values; 3]));
        if let Some((cross, (keys, memory))) = cross {
            values = self.residual(values, |_, values| attend(form, &cross, [&values, keys, memory]));
        }
        self.residual(values, |pass, values| {
            let hidden = pass.drop_some(relu(linear(values, first_weight, first_bias)));
            linear(hidden, second_weight, second_bias)
        })
    }

    /// `norm(x + part(x))`, or in the `tokens` form `x + part(norm(x))`.
    fn residual(&mut self, values: Tensor<2>, part: impl FnOnce(&mut Self, Tensor<2>) -> Tensor<2>) -> Tensor<2> {
        let [weight, bias] = self.take();
        match self.form {
            Form::Published => {
                let change = part(self, values.clone());
                layer_norm(values + self.drop_some(change), weight, bias, NORM_EPSILON)
            }
            Form::Tokens => {
                let change = part(self, layer_norm(values.clone(), weight, bias, NORM_EPSILON));
                values + self.drop_some(change)
            }
        }
    }

    /// Sets a share of the values to zero and scales the rest up by as much; nothing outside training.
    fn drop_some(&mut self, values: Tensor<2>) -> Tensor<2> {
        let Some((share, random, place)) = &mut self.dropout else { return values };
        let [rows, columns] = values.dims();
        let kept = (1.0 / (1.0 - *share)) as f32;
        // Four decisions per 64 bits: 16 bits each are exact enough for a share.
        let limit = (*share * 65536.0) as u64;
        let mut mask = Vec::with_capacity(rows * columns + 3);
        while mask.len() < rows * columns {
            let bits = random.bits();
            mask.extend([0, 16, 32, 48].map(|shift| if (bits >> shift & 0xffff) < limit { 0.0 } else { kept }));
        }
        mask.truncate(rows * columns);
        values * place.tensor(mask, [rows, columns])
    }
}

/// Multi-head attention of (N * 24, 72) queries to as many keys and their values; which keys a query sees is the form's.
fn attend(form: Form, attention: &Attention, [queries, keys, values]: [&Tensor<2>; 3]) -> Tensor<2> {
    let Attention([in_weight, in_bias, out_weight, out_bias]) = attention;
    // Part 0 makes queries, 1 keys, 2 values.
    let project = |input: &Tensor<2>, part: usize| {
        let rows = part * EMBEDDING..(part + 1) * EMBEDDING;
        linear(input.clone(), in_weight.clone().slice([rows.clone(), 0..EMBEDDING]), in_bias.clone().slice([0..1, rows]))
    };
    let found = match form {
        // One key: the softmax is 1.
        Form::Published => project(values, 2),
        Form::Tokens => {
            let count = queries.dims()[0] / TOKENS;
            let heads = |values: Tensor<2>| values.reshape([count, TOKENS, HEADS, HEAD_VALUES]).swap_dims(1, 2);
            let (queries, values) = (heads(project(queries, 0)), heads(project(values, 2)));
            let keys = heads(project(keys, 1)).swap_dims(2, 3);
            let weights = softmax(queries.matmul(keys) * (1.0 / libm::sqrt(HEAD_VALUES as f64)), 3);
            weights.matmul(values).swap_dims(1, 2).reshape([count * TOKENS, EMBEDDING])
        }
    };
    linear(found, out_weight.clone(), out_bias.clone())
}
