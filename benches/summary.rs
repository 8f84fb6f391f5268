//! `cargo bench --bench summary`: the figures that README cites, as one markdown document on stdout.
//!
//! Everything that is compared takes turns in one process on one core, so that ratios hold on a busy machine too. Times are those of
//! single calls, clock included. Without `--bench` (as in `cargo test --benches`) a few calls run, to see that it still works.

#[allow(dead_code, reason = "each bench uses a part of it")]
mod support;

use alfred_board::root::Root;
use alfred_board::select::{AUTO, FALLBACK, select};
use alfred_board::sim::SimSettings;
use alfred_core::limits::{BATCH_WINDOWS_MAX, TRACKS_MAX};
use alfred_core::scorer::{ScoreFault, ScoreResult, Window};
use alfred_models::arena::ArenaAllocator;
use alfred_models::stg_nf::scorer::Lane;
use alfred_synth::crowd::Crowd;
use std::hint::black_box;
use std::rc::Rc;
use support::budgets::Budgets;
use support::contest::{Contender, Length, Nothing, Times, hold};
use support::engines::{Field, NamedScorer, TRACT_COLLAPSED, TRACT_EXPORTED, field, other_models};
use support::machine;
use support::stage::{Decode, Normalise};
use support::stream::{Model, Stream};

/// tract runs in its arena, as on a device.
#[global_allocator]
static ALLOCATOR: ArenaAllocator = ArenaAllocator::new();

const MEASURED: Length = Length { rounds: 100, calls: 50, warm_up_calls: 5 };
const MEASURED_SLOW: Length = Length { rounds: 20, calls: 5, warm_up_calls: 1 };
const SMOKE: Length = Length { rounds: 2, calls: 2, warm_up_calls: 0 };

/// What the project promised of its fast lane at batch 1, and of a frame with 16 persons.
const EXPORTED_RATIO_MIN: f64 = 50.0;
const COLLAPSED_RATIO_MIN: f64 = 15.0;
const FRAME_MEDIAN_US_MAX: f64 = 200.0;
const FRAME_PERSONS: usize = 16;

/// An engine that scores a batch of always other windows.
struct EngineCall<'a> {
    named: &'a mut NamedScorer,
    windows: &'a [Window],
    batch: usize,
    next: usize,
}

impl<'a> EngineCall<'a> {
    fn new(named: &'a mut NamedScorer, windows: &'a [Window], batch: usize) -> Self {
        Self { named, windows, batch, next: 0 }
    }
}

impl Contender for EngineCall<'_> {
    fn prepare(&mut self) {
        self.next = (self.next + self.batch) % (self.windows.len() + 1 - self.batch);
    }

    fn call(&mut self) {
        let mut scores: [ScoreResult; BATCH_WINDOWS_MAX] = [Err(ScoreFault::Engine); BATCH_WINDOWS_MAX];
        self.named.scorer.score_batch(&self.windows[self.next..self.next + self.batch], &mut scores[..self.batch]);
        black_box(&mut scores);
    }
}

fn main() {
    let is_measured = std::env::args().any(|argument| argument == "--bench");
    let length = if is_measured { MEASURED } else { SMOKE };
    let core = machine::pin();
    let load_before = machine::load_average();
    let crowd = Rc::new(Crowd::record());
    let mut field = field(&crowd);
    if !is_measured {
        println!("SMOKE RUN without --bench: the figures mean nothing");
    }
    println!("# Summary of measurements\n\n{}.", machine::describe(core));
    println!("{} calls each, in {} turns; p99 is that of single calls.", length.rounds * length.calls, length.rounds);
    println!("\"Disturbed\" are calls during which another process got the core; \"own p99\" leaves them out.\n");
    let ratios = print_engines(&mut field, length);
    print_batches(&mut field, length);
    print_other_models(&crowd, if is_measured { MEASURED_SLOW } else { SMOKE });
    let (frame_median_us, mut measured) = print_frames(&crowd, length);
    measured.extend(stages(&crowd, &mut field, length));
    print_budgets(&measured);
    print_targets(ratios, frame_median_us);
    let (load_after, interruptions) = (machine::load_average(), machine::interruptions());
    println!("\nLoad average {load_before} before, {load_after} after; other processes got this core {interruptions} times.");
}

/// Every engine at batch 1, slowest last. Returns the ratios of tract's two graphs to the fast lane.
fn print_engines(field: &mut Field, length: Length) -> [Option<f64>; 2] {
    println!("## One window at a time: {}, T = {}\n", field.weights, field.windows[0].frames());
    let mut calls: Vec<EngineCall<'_>> = field.scorers.iter_mut().map(|named| EngineCall::new(named, &field.windows, 1)).collect();
    let mut nothing = Nothing;
    let mut contenders: Vec<&mut dyn Contender> = calls.iter_mut().map(|call| call as &mut dyn Contender).collect();
    contenders.push(&mut nothing);
    let mut times = hold(&mut contenders, length);
    let clock_us = times.pop().unwrap_or_default().median_us();
    let mut rows: Vec<(&str, Times)> = calls.iter().map(|call| call.named.name).zip(times).collect();
    let fast = rows.iter().find(|(name, _)| *name == field.fast).map(|(_, times)| times.clone()).expect("the fast engine is one of all");
    rows.sort_by(|(_, one), (_, other)| one.median_us().total_cmp(&other.median_us()));
    println!(
        "| engine | median µs | p99 µs | own p99 µs | disturbed | time / fast | 90 % of the turns |\n|---|---:|---:|---:|---:|---:|---:|"
    );
    for (name, times) in &rows {
        let ratio = times.ratio_to(&fast);
        let name = if *name == field.fast { format!("**{name}** (fast)") } else { (*name).to_owned() };
        let range = format!("{:.1} | {:.1} to {:.1}", ratio.median, ratio.low, ratio.high);
        println!("| {name} | {} | {range} |", spread(times, 2));
    }
    println!("\nThe clock's own {clock_us:.3} µs are in every figure.\n");
    [TRACT_EXPORTED, TRACT_COLLAPSED]
        .map(|wanted| rows.iter().find(|(name, _)| *name == wanted).map(|(_, times)| times.ratio_to(&fast).median))
}

/// The native engines of the two lanes, and what a window costs in larger batches.
fn print_batches(field: &mut Field, length: Length) {
    println!("## Batches: median µs per window\n\n| engine | batch 1 | batch 8 | batch 16 |\n|---|---:|---:|---:|");
    let fast = field.fast;
    for named in field.scorers.iter_mut().filter(|named| [fast, "exact", "dense"].contains(&named.name)) {
        let medians = [1, 8, BATCH_WINDOWS_MAX].map(|batch| {
            let mut call = EngineCall::new(named, &field.windows, batch);
            let times = hold(&mut [&mut call], length);
            times[0].median_us() / batch as f64
        });
        println!("| {} | {:.2} | {:.2} | {:.2} |", named.name, medians[0], medians[1], medians[2]);
    }
    println!();
}

/// SPARTA and GA-VAE, one window at a time.
fn print_other_models(crowd: &Crowd, length: Length) {
    println!("## Other architectures: one window at a time, made-up weights, {} calls each\n", length.rounds * length.calls);
    println!("| model and lane | T | median µs | p99 µs | own p99 µs | disturbed |\n|---|---:|---:|---:|---:|---:|");
    let mut models = other_models(crowd);
    let mut calls: Vec<EngineCall<'_>> = models.iter_mut().map(|(named, windows)| EngineCall::new(named, windows, 1)).collect();
    let mut contenders: Vec<&mut dyn Contender> = calls.iter_mut().map(|call| call as &mut dyn Contender).collect();
    let times = hold(&mut contenders, length);
    for (call, times) in calls.iter().zip(&times) {
        println!("| {} | {} | {} |", call.named.name, call.windows[0].frames(), spread(times, 1));
    }
    println!();
}

/// What was measured of a stage that may have a budget: name, persons in a frame, times.
type Measured = (&'static str, Option<usize>, Times);

/// A whole `Pipeline::step`. Returns the median of the fast lane with [`FRAME_PERSONS`] persons, and every time of that lane.
fn print_frames(crowd: &Rc<Crowd>, length: Length) -> (f64, Vec<Measured>) {
    println!("## Frame to decision: a whole `Pipeline::step`, our own weights, every person scored in every frame\n");
    let fast = Model::Pretrained(Lane::Fast);
    let kinds = [
        (1, fast, "fast"),
        (8, fast, "fast"),
        (FRAME_PERSONS, fast, "fast"),
        (TRACKS_MAX, fast, "fast"),
        (FRAME_PERSONS, Model::Pretrained(Lane::Exact), "exact"),
        (FRAME_PERSONS, Model::None, "no model"),
        (TRACKS_MAX, Model::None, "no model"),
    ];
    let mut streams: Vec<Stream> = kinds.iter().map(|&(persons, model, _)| Stream::steady(crowd, persons, model)).collect();
    let mut contenders: Vec<&mut dyn Contender> = streams.iter_mut().map(|stream| stream as &mut dyn Contender).collect();
    let times = hold(&mut contenders, length);
    println!("| persons | lane | median µs | p99 µs | own p99 µs | disturbed | p99 / median | own p99 / median | max µs | events |");
    println!("|---:|---|---:|---:|---:|---:|---:|---:|---:|---:|");
    for ((stream, times), (_, _, lane)) in streams.iter().zip(&times).zip(kinds) {
        stream.check();
        let (median, max, persons, events) = (times.median_us(), times.max_us(), stream.persons(), stream.events());
        let ratios = [times.quantile_us(0.99), times.undisturbed_quantile_us(0.99)].map(|p99| format!("{:.2}", p99 / median));
        println!("| {persons} | {lane} | {} | {} | {max:.1} | {events} |", spread(times, 1), ratios.join(" | "));
    }
    println!("\n\"No model\": a constant score, which leaves the cost of everything but the model.\n");
    let place = kinds.iter().position(|&(persons, model, _)| persons == FRAME_PERSONS && model == fast);
    let frame_median_us = place.map_or(f64::NAN, |place| times[place].median_us());
    let measured = kinds.into_iter().zip(times).filter(|((_, model, _), _)| *model == fast);
    (frame_median_us, measured.map(|((persons, ..), times)| ("frame_to_decision", Some(persons), times)).collect())
}

/// The stages that have budgets of their own.
fn stages(crowd: &Crowd, field: &mut Field, length: Length) -> Vec<Measured> {
    let mut decode = Decode::new(crowd, FRAME_PERSONS);
    let mut normalise = Normalise::new(crowd, field.windows[0].frames());
    let fast = field.scorers.iter_mut().find(|named| named.name == field.fast).expect("the fast engine is one of all");
    let mut scorer = EngineCall::new(fast, &field.windows, 1);
    let times = hold(&mut [&mut decode, &mut normalise, &mut scorer], length);
    [("pose_message", Some(FRAME_PERSONS)), ("normalise", None), ("scorer", None)]
        .into_iter()
        .zip(times)
        .map(|((stage, persons), times)| (stage, persons, times))
        .collect()
}

/// Every board's budgets (limits), what is on record of them, and what this run measured where it is this board.
fn print_budgets(measured: &[Measured]) {
    let here =
        select(AUTO, Root::at("/"), &SimSettings::default()).map_or_else(|_| FALLBACK.to_owned(), |board| board.facts().name.clone());
    println!("## Budgets: limits of p99 per board and stage (`benches/budgets.toml`), and figures; this machine is `{here}`\n");
    println!("| board | stage | persons | budget µs | on record µs | this run µs | own p99 µs | median µs | this run |");
    println!("|---|---|---:|---:|---:|---:|---:|---:|---|");
    let budgets = Budgets::read();
    for board in &budgets.board {
        for budget in &board.budget {
            let record =
                budgets.figure(&board.name, budget).map_or_else(|| "pending a board".into(), |figure| format!("{:.1}", figure.p99_us));
            let found = measured.iter().find(|(stage, persons, _)| *stage == budget.stage && *persons == budget.persons);
            let run = match found {
                Some((_, _, times)) if board.name == here => {
                    let (all, own) = (times.quantile_us(0.99), times.undisturbed_quantile_us(0.99));
                    let verdict = if all <= budget.p99_us_max { "within" } else { "OVER" };
                    format!("{all:.1} | {own:.1} | {:.1} | {verdict}", times.median_us())
                }
                _ => "- | - | - | another board".into(),
            };
            let persons = budget.persons.map_or_else(|| "one".into(), |persons| persons.to_string());
            println!("| {} | {} | {persons} | {:.0} | {record} | {run} |", board.name, budget.stage, budget.p99_us_max);
        }
    }
    for measurement in &budgets.measurement {
        println!("\nOn record, {}: {}, {} (`{}`).", measurement.board, measurement.machine, measurement.date, measurement.command);
    }
    println!();
}

/// Median, p99, p99 without disturbed calls, and how many those are, as cells of a table.
fn spread(times: &Times, digits: usize) -> String {
    let numbers = [times.median_us(), times.quantile_us(0.99), times.undisturbed_quantile_us(0.99)];
    let cells = numbers.map(|number| format!("{number:.digits$}"));
    format!("{} | {}", cells.join(" | "), times.disturbed_calls())
}

fn print_targets([exported, collapsed]: [Option<f64>; 2], frame_median_us: f64) {
    let verdict = |holds: bool| if holds { "met" } else { "MISSED" };
    let ratio = |found: Option<f64>, least: f64| match found {
        Some(found) => format!("{found:.0} times | {}", verdict(found >= least)),
        None => "not measured: no golden ONNX files | skipped".into(),
    };
    println!("## Targets\n\n| target | here | |\n|---|---|---|");
    println!("| tract, as exported / fast: at least {EXPORTED_RATIO_MIN} times | {} |", ratio(exported, EXPORTED_RATIO_MIN));
    println!("| tract, collapsed / fast: at least {COLLAPSED_RATIO_MIN} times | {} |", ratio(collapsed, COLLAPSED_RATIO_MIN));
    let frame = verdict(frame_median_us < FRAME_MEDIAN_US_MAX);
    println!("| {FRAME_PERSONS} persons, median below {FRAME_MEDIAN_US_MAX} µs | {frame_median_us:.1} µs | {frame} |");
}
