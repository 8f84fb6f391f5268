//! Latencies in fixed memory, and the deadline monitor.

use hdrhistogram::Histogram;

/// Longest latency that is told apart, in nanoseconds: one minute.
const LATENCY_NS_MAX: u64 = 60_000_000_000;
/// Two significant digits: a relative error of at most 1 %.
const DIGITS: u8 = 2;

/// Distribution of one kind of latency. A bucket counts to 4 thousand million, which is years of frames, and stays there.
#[derive(Clone, Debug)]
pub struct Latency {
    histogram: Histogram<u32>,
}

/// Figures of a [`Latency`] in microseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, serde::Serialize)]
pub struct LatencyFigures {
    /// How many.
    pub count: u64,
    /// Median.
    pub p50_us: f64,
    /// 90th percentile.
    pub p90_us: f64,
    /// 99th percentile.
    pub p99_us: f64,
    /// 99.9th percentile.
    pub p999_us: f64,
    /// Largest.
    pub max_us: f64,
}

impl Latency {
    /// An empty distribution. `None` never comes: the bounds are constants.
    #[must_use]
    pub fn new() -> Option<Self> {
        Histogram::new_with_bounds(1, LATENCY_NS_MAX, DIGITS).ok().map(|histogram| Self { histogram })
    }

    /// Adds one; more than a minute counts as a minute.
    pub fn record(&mut self, nanoseconds: u64) {
        self.histogram.saturating_record(nanoseconds.max(1));
    }

    /// The figures so far.
    #[must_use]
    pub fn figures(&self) -> LatencyFigures {
        let quantile = |share| self.histogram.value_at_quantile(share) as f64 / 1e3;
        LatencyFigures {
            count: self.histogram.len(),
            p50_us: quantile(0.5),
            p90_us: quantile(0.9),
            p99_us: quantile(0.99),
            p999_us: quantile(0.999),
            max_us: self.histogram.max() as f64 / 1e3,
        }
    }

    /// Bytes on the heap.
    #[must_use]
    pub fn heap_bytes() -> usize {
        Self::new().map_or(0, |latency| latency.histogram.distinct_values() * size_of::<u32>())
    }
}
