//! GA-VAE's hand-derived step: loss and gradient of a batch, and what scoring wants to know of it.
//!
//! A batch normalisation needs its statistics of the whole batch, so a batch goes through the network stage by stage: all groups of sixteen samples
//! through one stage, then their sums in order, then the next stage. Groups are spread over threads; what a thread adds up of the gradient is added
//! in the threads' order, so the bits depend on their number and on nothing else.

use crate::train::burn_tensors::{ANOMALY_MARGIN, Samples};
use crate::train::ga_vae_block::{BlockFolds, BlockView, FixedFamily, Scratch};
use crate::train::ga_vae_block_back::BlockBacks;
use crate::train::ga_vae_group::{Group, Parts, Room, WINDOW_VALUES, draw_noise};
use crate::train::ga_vae_kernels::FRAME;
use crate::train::ga_vae_norm::{Fold, NormPlace, Source, Sums, add_sums};
use crate::train::ga_vae_plan::{PackedBlock, PackedTemporal, Plan};
use crate::train::lanes::LANES;
use alfred_core::limits::{CHANNELS, JOINTS};
use alfred_models::ga_vae::parameters::ScoreRule;
use alfred_models::ga_vae::shape::{ENCODER_BLOCKS, GaVaeShape, WINDOW_FRAMES};
use alfred_synth::random::Random;
use std::thread;

/// Means and unbiased variances of a batch, by where the running ones begin.
pub type Statistics = Vec<(usize, Vec<f32>)>;

/// A batch's loss, scores, gradient and statistics.
#[derive(Clone, Debug)]
pub struct BatchGradient {
    /// The bound over normal windows and what anomalous ones lack to the margin, over all windows.
    pub loss: f64,
    /// Of the trainable numbers, in storage order.
    pub gradient: Vec<f32>,
    /// For the running statistics, the reference among them.
    pub statistics: Statistics,
}

/// A loss' slopes by a sample's halved squared error, divergence, and halved squared distance.
#[derive(Clone, Copy, Debug, Default)]
struct Slope {
    error: f32,
    divergence: f32,
    distance: f32,
}

/// How a forward pass runs.
#[derive(Debug)]
enum Mode<'m> {
    /// With the batch's statistics and noise.
    Train(&'m [f32]),
    /// With running statistics and without noise.
    Infer,
}

/// The network in training: weights' copies, and room for a batch.
#[derive(Clone, Debug)]
pub struct Network {
    plan: Plan,
    fixed: FixedFamily,
    packed: Vec<PackedBlock>,
    packed_output: PackedTemporal,
    groups: Vec<Group>,
    rooms: Vec<Room>,
    window_fold: Fold,
    folds: Vec<BlockFolds>,
    output_fold: Fold,
    /// Samples of the batch.
    count: usize,
}

impl Network {
    /// A network for so many threads, at least one.
    #[must_use]
    pub fn new(shape: GaVaeShape, threads: usize) -> Self {
        let plan = Plan::new(shape);
        let room = Room { scratch: Scratch::default(), gradient: vec![0.0; plan.values] };
        let [weight, bias] = plan.output_temporal;
        Self {
            fixed: FixedFamily::new(),
            packed: plan.blocks.iter().map(PackedBlock::new).collect(),
            packed_output: PackedTemporal::new(CHANNELS, WINDOW_FRAMES, 1, weight, bias),
            groups: Vec::new(),
            rooms: vec![room; threads.max(1)],
            window_fold: Fold::default(),
            folds: vec![BlockFolds::default(); plan.blocks.len()],
            output_fold: Fold::default(),
            count: 0,
            plan,
        }
    }

    /// Where the tensors lie.
    #[must_use]
    pub const fn plan(&self) -> &Plan {
        &self.plan
    }

    /// Loss, gradient and statistics of a batch, with the noise of `random`.
    /// `rule` says what anomalous windows are to have more of.
    pub fn loss_and_gradient(
        &mut self,
        values: &[f32],
        samples: &Samples,
        (rule, beta): (ScoreRule, f64),
        random: &mut Random,
    ) -> BatchGradient {
        let noise = draw_noise(&self.plan, samples.count, random);
        let mut statistics = Statistics::new();
        let parts = self.forward(values, samples, &Mode::Train(&noise), true, &mut statistics);
        statistics.push((self.plan.reference, self.reference(&samples.labels)));
        let count = samples.count.max(1) as f64;
        let latent = self.plan.shape.latent_values() as f64;
        let measure = |parts: &Parts| match rule {
            ScoreRule::Distance => parts.distance / latent,
            ScoreRule::Reconstruction => parts.error / WINDOW_VALUES as f64,
        };
        let measures: Vec<f64> = parts.iter().map(measure).collect();
        let margin = margin(&measures, &samples.labels);
        let (mut loss, mut slopes) = (0.0, Vec::new());
        for ((parts, measure), label) in parts.iter().zip(measures).zip(&samples.labels) {
            let mut slope = Slope::default();
            if *label > 0.0 {
                loss += (0.5 * parts.error + beta * parts.divergence) / WINDOW_VALUES as f64 / count;
                let share = 1.0 / (count * WINDOW_VALUES as f64);
                slope = Slope { error: share as f32, divergence: (beta * share) as f32, distance: 0.0 };
            } else if let Some(lacks) = margin.map(|margin| margin - measure).filter(|lacks| *lacks > 0.0) {
                loss += lacks / count;
                match rule {
                    ScoreRule::Distance => slope.distance = (-2.0 / (latent * count)) as f32,
                    ScoreRule::Reconstruction => slope.error = (-2.0 / (WINDOW_VALUES as f64 * count)) as f32,
                }
            }
            slopes.push(slope);
        }
        self.back(values, &slopes);
        let mut sums = self.rooms[0].gradient.clone();
        for room in &self.rooms[1..] {
            sums.iter_mut().zip(&room.gradient).for_each(|(sum, value)| *sum += value);
        }
        BatchGradient { loss, gradient: self.plan.gather(&sums), statistics }
    }

    /// What scores are made of, as inference computes it; with `decode`, errors too.
    pub fn measure(&mut self, values: &[f32], samples: &Samples, decode: bool) -> Vec<Parts> {
        self.forward(values, samples, &Mode::Infer, decode, &mut Statistics::new())
    }

    /// A batch's statistics with the noise of `random`; the reference, which is fitted to what inference gives, is not among them.
    pub fn statistics(&mut self, values: &[f32], samples: &Samples, random: &mut Random) -> Statistics {
        let noise = draw_noise(&self.plan, samples.count, random);
        let mut statistics = Statistics::new();
        self.forward(values, samples, &Mode::Train(&noise), true, &mut statistics);
        statistics
    }

    /// Mean of the encoder's outputs over the normal windows of the latest batch; over all where none is normal. `[channel][frame][joint]`.
    #[must_use]
    pub fn reference(&self, labels: &[f32]) -> Vec<f32> {
        let normal = labels.iter().filter(|label| **label > 0.0).count();
        let mut sums = vec![0.0; self.plan.shape.latent_values()];
        for (group, labels) in self.groups.iter().zip(labels.chunks(LANES)) {
            let described = &group.blocks[ENCODER_BLOCKS - 1].output;
            for (sum, cell) in sums.iter_mut().zip(described.chunks_exact(LANES)) {
                let counted = cell.iter().zip(labels).filter(|(_, label)| normal == 0 || **label > 0.0);
                *sum += counted.map(|(value, _)| f64::from(*value)).sum::<f64>();
            }
        }
        let counted = if normal == 0 { labels.len().max(1) } else { normal };
        sums.into_iter().map(|sum| (sum / counted as f64) as f32).collect()
    }

    fn forward(&mut self, values: &[f32], samples: &Samples, mode: &Mode<'_>, decode: bool, statistics: &mut Statistics) -> Vec<Parts> {
        self.load(values, samples, mode);
        if samples.count == 0 {
            return Vec::new();
        }
        let [sums] = sum(each(self.active(), |group, _| [group.window_moments()]));
        let window = Self::fold(mode, self.plan.data_norm, values, samples.count * WINDOW_FRAMES, statistics, &sums);
        each(self.active(), |group, _| group.normalise_window(&window));
        self.window_fold = window;
        for number in 0..ENCODER_BLOCKS {
            self.block(number, values, mode, statistics);
        }
        let reference = &values[self.plan.reference..][..self.plan.shape.latent_values()];
        let has_noise = matches!(mode, Mode::Train(_));
        let mut parts = each(self.active(), |group, _| {
            let mut parts = [Parts::default(); LANES];
            group.measure(&group.blocks[ENCODER_BLOCKS - 1].output, reference, &mut parts);
            group.sample(ENCODER_BLOCKS - 1, has_noise);
            parts
        });
        if decode {
            self.decode(values, mode, statistics, &mut parts);
        }
        parts.into_iter().flatten().take(samples.count).collect()
    }

    fn decode(&mut self, values: &[f32], mode: &Mode<'_>, statistics: &mut Statistics, parts: &mut [[Parts; LANES]]) {
        for number in ENCODER_BLOCKS..self.plan.blocks.len() {
            let block = self.plan.blocks[number];
            each(self.active(), |group, _| group.stretch(number, number == ENCODER_BLOCKS, &block));
            self.block(number, values, mode, statistics);
        }
        let (plan, fixed, packed) = (self.plan.clone(), self.fixed.clone(), self.packed_output.clone());
        let sums = sum(each(self.active(), |group, room| [group.expand_output(&plan, &fixed, values, &mut room.scratch)]));
        let elements = self.count * WINDOW_FRAMES * JOINTS;
        let fold = Self::fold(mode, plan.output_graph.norm, values, elements, statistics, &sums[0]);
        let errors = each(self.active(), |group, room| {
            let mut parts = [Parts::default(); LANES];
            group.finish(&fold, &packed, values, &mut room.scratch, &mut parts);
            parts
        });
        for (part, error) in parts.iter_mut().flatten().zip(errors.iter().flatten()) {
            part.error = error.error;
        }
        self.output_fold = fold;
    }

    /// Copies of new weights, and the samples in groups.
    fn load(&mut self, values: &[f32], samples: &Samples, mode: &Mode<'_>) {
        self.packed.iter_mut().zip(&self.plan.blocks).for_each(|(packed, plan)| packed.pack(plan, values));
        self.packed_output.pack(values);
        self.count = samples.count;
        let groups = samples.count.div_ceil(LANES);
        if self.groups.len() < groups {
            self.groups.resize(groups, Group::new(&self.plan, ENCODER_BLOCKS));
        }
        for (index, group) in self.groups[..groups].iter_mut().enumerate() {
            group.load(samples, index * LANES);
            if let Mode::Train(noise) = mode {
                group.take_noise(noise, index * LANES, samples.count);
            }
        }
    }

    /// The groups of this batch, and the threads' rooms.
    fn active(&mut self) -> (&mut [Group], &mut [Room]) {
        let groups = self.count.div_ceil(LANES);
        (&mut self.groups[..groups], &mut self.rooms)
    }

    fn fold(mode: &Mode<'_>, place: NormPlace, values: &[f32], elements: usize, statistics: &mut Statistics, sums: &Sums) -> Fold {
        match mode {
            Mode::Infer => place.fold(values, Source::Running),
            Mode::Train(_) => {
                let fold = place.fold(values, Source::Batch(sums, elements));
                statistics.push((place.at + 2 * place.channels, fold.mean.clone()));
                statistics.push((place.at + 3 * place.channels, fold.unbiased.clone()));
                fold
            }
        }
    }

    fn block(&mut self, number: usize, values: &[f32], mode: &Mode<'_>, statistics: &mut Statistics) {
        let (plan, packed, fixed) = (self.plan.blocks[number], self.packed[number].clone(), self.fixed.clone());
        let view = BlockView { plan: &plan, packed: &packed, fixed: &fixed, values };
        let (inside, outside) = (self.count * plan.plane() / LANES, self.count * plan.output_plane() / LANES);
        let mut fold = |place, elements, sums: &Sums| Self::fold(mode, place, values, elements, statistics, sums);
        let mut folds = BlockFolds::default();
        let [family, residual] = sum(each(self.active(), |group, room| {
            let (input, state, _, mask) = group.block(number);
            view.sum_families(input, state, mask, &mut room.scratch)
        }));
        folds.family = fold(plan.family_norm, inside, &family);
        if let Some(projection) = plan.graph_residual {
            folds.graph_residual = fold(projection.norm, inside, &residual);
        }
        let [mixed] = sum(each(self.active(), |group, room| {
            let (input, state, _, mask) = group.block(number);
            [view.join_families(input, state, &folds, mask, &mut room.scratch)]
        }));
        folds.mixed = fold(plan.norm, inside, &mixed);
        let [moved, residual] = sum(each(self.active(), |group, room| {
            let (input, state, _, mask) = group.block(number);
            view.move_frames(input, state, &folds, mask, &mut room.scratch)
        }));
        folds.moved = fold(plan.temporal.norm, outside, &moved);
        if let Some(projection) = plan.residual {
            folds.residual = fold(projection.norm, outside, &residual);
        }
        each(self.active(), |group, _| {
            let (input, state, _, _) = group.block(number);
            view.finish(input, state, &folds);
        });
        self.folds[number] = folds;
    }

    /// The whole way back; the gradient is left in the threads' rooms.
    fn back(&mut self, values: &[f32], slopes: &[Slope]) {
        self.rooms.iter_mut().for_each(|room| room.gradient.fill(0.0));
        let (plan, fixed, packed) = (self.plan.clone(), self.fixed.clone(), self.packed_output.clone());
        let fold = self.output_fold.clone();
        let by_group = |of: fn(&Slope) -> f32| -> Vec<[f32; LANES]> {
            slopes.chunks(LANES).map(|chunk| core::array::from_fn(|lane| chunk.get(lane).map_or(0.0, of))).collect()
        };
        let errors = by_group(|slope| slope.error);
        let (divergences, distances) = (by_group(|slope| slope.divergence), by_group(|slope| slope.distance));
        let slopes = sum(each_numbered(self.active(), |index, group, room| [group.back_error(&errors[index], &fold, &packed, room)]));
        let elements = self.count * WINDOW_FRAMES * JOINTS;
        let backs = plan.output_graph.norm.gradient(&fold, &slopes[0], elements, &mut self.rooms[0].gradient);
        each(self.active(), |group, room| group.back_output(&plan, &fixed, values, &backs, room));
        for number in (ENCODER_BLOCKS..plan.blocks.len()).rev() {
            self.block_back(number, values);
            each(self.active(), |group, _| group.unstretch(&plan.blocks[number]));
        }
        let reference = &values[plan.reference..][..plan.shape.latent_values()];
        each_numbered(self.active(), |index, group, _| {
            group.back_latent(ENCODER_BLOCKS - 1, reference, &divergences[index], &distances[index]);
        });
        for number in (0..ENCODER_BLOCKS).rev() {
            self.block_back(number, values);
        }
        let fold = self.window_fold.clone();
        let slopes = sum(each(self.active(), |group, _| [group.window_slopes(&fold)]));
        plan.data_norm.gradient(&fold, &slopes[0], self.count * WINDOW_FRAMES, &mut self.rooms[0].gradient);
    }

    fn block_back(&mut self, number: usize, values: &[f32]) {
        let (plan, packed, fixed) = (self.plan.blocks[number], self.packed[number].clone(), self.fixed.clone());
        let view = BlockView { plan: &plan, packed: &packed, fixed: &fixed, values };
        let folds = self.folds[number].clone();
        let (inside, outside) = (self.count * plan.shape.frames * FRAME / LANES, self.count * plan.output_plane() / LANES);
        let mut backs = BlockBacks::default();
        let [moved, residual] = sum(each(self.active(), |group, _| {
            let (_, state, flow, _) = group.block(number);
            view.back_finish(state, &folds, flow)
        }));
        backs.moved = plan.temporal.norm.gradient(&folds.moved, &moved, outside, &mut self.rooms[0].gradient);
        if let Some(projection) = plan.residual {
            backs.residual = projection.norm.gradient(&folds.residual, &residual, outside, &mut self.rooms[0].gradient);
        }
        let [mixed] = sum(each(self.active(), |group, room| {
            let (input, state, flow, mask) = group.block(number);
            [view.back_move(input, state, &folds, &backs, mask, flow, &mut room.scratch, &mut room.gradient)]
        }));
        backs.mixed = plan.norm.gradient(&folds.mixed, &mixed, inside, &mut self.rooms[0].gradient);
        let [family, residual] = sum(each(self.active(), |group, room| {
            let (_, state, flow, mask) = group.block(number);
            view.back_join(state, &folds, &backs, mask, flow, &mut room.scratch, &mut room.gradient)
        }));
        backs.family = plan.family_norm.gradient(&folds.family, &family, inside, &mut self.rooms[0].gradient);
        if let Some(projection) = plan.graph_residual {
            backs.graph_residual = projection.norm.gradient(&folds.graph_residual, &residual, inside, &mut self.rooms[0].gradient);
        }
        each(self.active(), |group, room| {
            let (input, state, flow, mask) = group.block(number);
            view.back_families(input, state, &backs, mask, flow, &mut room.scratch, &mut room.gradient);
            core::mem::swap(&mut flow.output, &mut flow.input);
        });
    }
}

/// The margin that anomalous windows are to reach: a multiple of the normal windows' mean. `None` when nothing is anomalous, or nothing normal.
fn margin(measures: &[f64], labels: &[f32]) -> Option<f64> {
    let normal = labels.iter().filter(|label| **label > 0.0).count();
    let of_normal = measures.iter().zip(labels).filter(|(_, label)| **label > 0.0).map(|(measure, _)| measure);
    (normal > 0 && normal < labels.len()).then(|| of_normal.sum::<f64>() / normal as f64 * ANOMALY_MARGIN)
}

/// The groups' sums, added in order.
fn sum<const N: usize>(groups: Vec<[Sums; N]>) -> [Sums; N] {
    let mut out = [const { Sums::new() }; N];
    for group in &groups {
        out.iter_mut().zip(group).for_each(|(sum, group)| add_sums(sum, group));
    }
    out
}

/// Lets the threads do a stage of all groups; what comes out is in the order of the groups.
fn each<R: Send>(groups: (&mut [Group], &mut [Room]), work: impl Fn(&mut Group, &mut Room) -> R + Sync) -> Vec<R> {
    each_numbered(groups, |_, group, room| work(group, room))
}

fn each_numbered<R: Send>((groups, rooms): (&mut [Group], &mut [Room]), work: impl Fn(usize, &mut Group, &mut Room) -> R + Sync) -> Vec<R> {
    if let [room] = rooms {
        return groups.iter_mut().enumerate().map(|(index, group)| work(index, group, room)).collect();
    }
    let threads = rooms.len();
    let mut shares: Vec<Vec<(usize, &mut Group)>> = (0..threads).map(|_| Vec::new()).collect();
    groups.iter_mut().enumerate().for_each(|(index, group)| shares[index % threads].push((index, group)));
    let mut results: Vec<(usize, R)> = thread::scope(|scope| {
        let work = &work;
        let start = |(share, room): (Vec<(usize, &mut Group)>, _)| {
            let room: &mut Room = room;
            share.into_iter().map(|(index, group)| (index, work(index, group, room))).collect::<Vec<_>>()
        };
        let handles: Vec<_> = shares.into_iter().zip(rooms).map(|part| scope.spawn(move || start(part))).collect();
        // A thread that panicked has printed why; the panic goes on here.
        handles.into_iter().flat_map(|handle| handle.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))).collect()
    });
    results.sort_unstable_by_key(|result| result.0);
    results.into_iter().map(|result| result.1).collect()
}
