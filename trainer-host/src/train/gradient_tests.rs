//! The hand-derived gradient against finite differences of a plain f64 forward pass, and the trainer's promises. Needs no other data.

use crate::dataset::windows::{Batch, Item, Origin, WindowSet};

use crate::train::stg_nf_trainer::StgNfTrainer;
use crate::train::trainer::Trainer;
use alfred_models::stg_nf::parameters::{BatchNorm, FLOWS, StgNfParameters, StgNfShape, TensorRole};
use alfred_synth::random::Random;

/// L2 distance relative to the L2 norm: f32 against f64.
const TOLERANCE: f64 = 2e-5;
const JOINTS: usize = 18;

pub(super) fn random_set(frames: usize, count: usize, random: &mut Random) -> WindowSet {
    let mut set = WindowSet::new(frames);
    for index in 0..count {
        // Joints share a motion, so that joint means do not vanish.
        let motion: Vec<f64> = (0..2 * frames).map(|_| random.normal()).collect();
        let mut values = Vec::new();
        for place in 0..2 * JOINTS * frames {
            let (channel, time) = (place / (JOINTS * frames), place % frames);
            values.push((0.7 * motion[channel * frames + time] + 0.8 * random.normal()) as f32);
        }
        set.push(&values, index % 3 == 0, Origin { clip: 0, person: 0, centre: 0 });
    }
    set
}

pub(super) fn items(set: &WindowSet) -> Vec<Item> {
    (0..set.len() as u32).map(|window| Item { window, mirrored: window % 2 == 1 }).collect()
}

/// Batch normalisation of one channel in train mode, in f64, the slow and obvious way.
fn batch_norm(values: &mut [f64], norm: &BatchNorm, channel: usize, nudge: (f64, f64)) {
    let count = values.len() as f64;
    let mean = values.iter().sum::<f64>() / count;
    let variance = values.iter().map(|value| (value - mean) * (value - mean)).sum::<f64>() / count;
    for value in values {
        *value = (*value - mean) / (variance + 1e-5).sqrt() * (f64::from(norm.weight[channel]) + nudge.0)
            + f64::from(norm.bias[channel])
            + nudge.1;
    }
}

/// Mean negative log-likelihood with batch statistics, joint by joint, straight from the description of the model. `nudge(flow, suffix,
/// index)` is added to the parameter of that name.
pub(super) fn plain_loss(parameters: &StgNfParameters, set: &WindowSet, items: &[Item], nudge: &dyn Fn(usize, &str, usize) -> f64) -> f64 {
    let frames = parameters.shape.frames();
    let (taps, padding) = (parameters.shape.taps(), parameters.shape.padding());
    let size = frames * JOINTS;
    let channel = |channel: usize| -> Vec<f64> {
        let one = |item: &Item| {
            let sign = if channel == 0 && item.mirrored { -1.0 } else { 1.0 };
            set.window(item.window)[channel * size..(channel + 1) * size]
                .iter()
                .map(move |&value| sign * f64::from(value))
                .collect::<Vec<_>>()
        };
        items.iter().flat_map(one).collect()
    };
    let mut z = [channel(0), channel(1)];
    let mut log_determinants = vec![0.0; items.len()];
    for flow in 0..FLOWS {
        let p = &parameters.flows[flow];
        let at = |suffix: &str, value: f32, index: usize| f64::from(value) + nudge(flow, suffix, index);
        for (c, z) in z.iter_mut().enumerate() {
            let (bias, logs) = (at("actnorm.bias", p.actnorm_bias[c], c), at("actnorm.logs", p.actnorm_logs[c], c));
            z.iter_mut().for_each(|value| *value = (*value + bias) * logs.exp());
            log_determinants.iter_mut().for_each(|sum| *sum += size as f64 * logs);
        }
        z.swap(0, 1);
        let mut hidden = Vec::new();
        for o in 0..2 {
            let (weight, bias) = (at("block.0.gcn.conv.weight", p.gcn_weight[o], o), at("block.0.gcn.conv.bias", p.gcn_bias[o], o));
            let mut values: Vec<f64> = (0..z[0].len())
                .map(|place| {
                    let (window, time) = (place / size, place % frames);
                    (0..JOINTS).map(|joint| weight * z[0][window * size + joint * frames + time] + bias).sum::<f64>() / JOINTS as f64
                })
                .collect();
            batch_norm(&mut values, &p.norm_before, o, (nudge(flow, "block.0.tcn.0.weight", o), nudge(flow, "block.0.tcn.0.bias", o)));
            values.iter_mut().for_each(|value| *value = value.max(0.0));
            hidden.push(values);
        }
        let mut network = Vec::new();
        for o in 0..2 {
            let mut values = vec![at("block.0.tcn.2.bias", p.tcn_bias[o], o); z[0].len()];
            for (place, value) in values.iter_mut().enumerate() {
                let (row, time) = (place - place % frames, place % frames);
                for (i, hidden) in hidden.iter().enumerate() {
                    for k in 0..taps {
                        let index = (o * 2 + i) * taps + k;
                        let source = (time + k).checked_sub(padding).filter(|source| *source < frames);
                        if let Some(source) = source {
                            *value += at("block.0.tcn.2.weight", p.tcn_weight[index], index) * hidden[row + source];
                        }
                    }
                }
            }
            batch_norm(&mut values, &p.norm_after, o, (nudge(flow, "block.0.tcn.3.weight", o), nudge(flow, "block.0.tcn.3.bias", o)));
            if flow > 0 {
                let weight = at("block.0.residual.0.weight", p.residual_weight[o], o);
                let bias = at("block.0.residual.0.bias", p.residual_bias[o], o);
                let mut residual: Vec<f64> = z[0].iter().map(|value| weight * value + bias).collect();
                let nudges = (nudge(flow, "block.0.residual.1.weight", o), nudge(flow, "block.0.residual.1.bias", o));
                batch_norm(&mut residual, &p.residual_norm, o, nudges);
                values.iter_mut().zip(residual).for_each(|(value, residual)| *value += residual);
            }
            network.push(values);
        }
        for place in 0..z[1].len() {
            let scale = 1.0 / (1.0 + (-(network[1][place].max(0.0) + 2.0)).exp()) + 1e-6;
            z[1][place] = (z[1][place] + network[0][place].max(0.0)) * scale;
            log_determinants[place / size] += scale.ln();
        }
    }
    let mut sum = 0.0;
    for (sample, item) in items.iter().enumerate() {
        let prior = f64::from(parameters.prior_mean * set.label(item.window));
        let element = |&value: &f64| -0.5 * ((value - prior).powi(2) / (1.0 + 1e-6) + std::f64::consts::TAU.ln());
        let log_prior: f64 = z.iter().flat_map(|channel| &channel[sample * size..(sample + 1) * size]).map(element).sum();
        sum -= (log_determinants[sample] + log_prior) / (2.0 * size as f64 * std::f64::consts::LN_2);
    }
    sum / items.len() as f64
}

#[test]
fn gradient_equals_finite_differences() {
    let mut random = Random::new(5);
    // 21 samples: the second block has dead lanes.
    let set = random_set(8, 21, &mut random);
    let items = items(&set);
    let shape = StgNfShape::new(8).expect("a shape");
    let mut trainer = StgNfTrainer::new(shape, 3.0, &mut random);
    for _ in 0..3 {
        trainer.train_batch(&set, Batch { items: &items }, 1e-2).expect("a finite step");
    }
    let parameters = *trainer.parameters();
    let (loss, gradient) = trainer.loss_and_gradient(&set, Batch { items: &items }, 0.0);
    assert!((loss - plain_loss(&parameters, &set, &items, &|_, _, _| 0.0)).abs() < 1e-5);
    let step = 1e-5;
    let (mut distance, mut length) = (0.0, 0.0);
    for tensor in gradient.tensors().filter(|tensor| tensor.role == TensorRole::Trainable) {
        for (index, &ours) in tensor.values.iter().enumerate() {
            let nudged = |size: f64| {
                let here =
                    move |flow: usize, suffix: &str, i: usize| flow == tensor.name.flow && suffix == tensor.name.suffix && i == index;
                plain_loss(&parameters, &set, &items, &|flow, suffix, i| if here(flow, suffix, i) { size } else { 0.0 })
            };
            let truth = (nudged(step) - nudged(-step)) / (2.0 * step);
            distance += (f64::from(ours) - truth).powi(2);
            length += truth * truth;
            assert!(
                (f64::from(ours) - truth).abs() < 1e-4 * (1.0 + truth.abs()),
                "{}[{index}]: {ours}, by differences {truth}",
                tensor.name
            );
        }
    }
    let relative = (distance / length).sqrt();
    println!("relative L2 error against finite differences {relative:.2e}");
    assert!(relative < TOLERANCE, "{relative}");
}
