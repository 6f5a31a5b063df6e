//! What a round of calls took, and how rounds compare.

use hdrhistogram::Histogram;
use serde::Serialize;

/// Significant digits of latencies.
const DIGITS: u8 = 3;
/// No call takes an hour.
const MICROS_MAX: u64 = 3_600_000_000;

/// What a round of calls took, or several together.
#[derive(Clone, Debug)]
pub struct Sample {
    micros: Histogram<u32>,
    /// How long the round lasted.
    pub seconds: f64,
    /// What the server took of the processor meanwhile, in seconds; only where the system tells.
    pub cpu_seconds: Option<f64>,
    /// The bytes of all requests.
    pub request_bytes: u64,
    /// The bytes of all replies.
    pub reply_bytes: u64,
}

impl Default for Sample {
    fn default() -> Self {
        let micros = Histogram::new(DIGITS).expect("a histogram can have three digits");
        Self { micros, seconds: 0.0, cpu_seconds: None, request_bytes: 0, reply_bytes: 0 }
    }
}

impl Sample {
    /// Adds a call that took so many microseconds.
    ///
    /// # Panics
    /// Never: what is counted grows as is needed.
    pub fn record(&mut self, micros: u64) {
        self.micros.record(micros.clamp(1, MICROS_MAX)).expect("a histogram that resizes takes an hour");
    }

    /// Adds the calls of another caller in the same round.
    ///
    /// # Panics
    /// Never: what is counted grows as is needed.
    pub fn join(&mut self, other: &Self) {
        self.micros.add(&other.micros).expect("a histogram that resizes takes any other");
        self.request_bytes += other.request_bytes;
        self.reply_bytes += other.reply_bytes;
    }

    /// Several rounds as one.
    #[must_use]
    pub fn of_all(rounds: &[Self]) -> Self {
        let mut all = Self::default();
        for round in rounds {
            all.join(round);
            all.seconds += round.seconds;
        }
        all.cpu_seconds = rounds.iter().map(|round| round.cpu_seconds).sum();
        all
    }

    /// How many calls.
    #[must_use]
    pub fn calls(&self) -> u64 {
        self.micros.len()
    }

    /// How many calls in a second.
    #[must_use]
    pub fn rate(&self) -> f64 {
        whole(self.calls()) / self.seconds
    }

    /// What so many of a hundred calls were answered within, in milliseconds.
    #[must_use]
    pub fn millis(&self, percent: f64) -> f64 {
        whole(self.micros.value_at_percentile(percent)) / 1e3
    }

    /// What the server took of the processor for each call, in microseconds.
    #[must_use]
    pub fn cpu_micros(&self) -> Option<f64> {
        self.cpu_seconds.map(|seconds| seconds * 1e6 / whole(self.calls()))
    }

    /// The sizes of a request and of a reply, in bytes: their means.
    #[must_use]
    pub fn sizes(&self) -> (u64, u64) {
        let calls = self.calls().max(1);
        (self.request_bytes / calls, self.reply_bytes / calls)
    }
}

/// A count, as a number to divide by.
#[must_use]
#[allow(clippy::cast_precision_loss, reason = "what is counted here is far below 2 to the 53rd")]
pub fn whole(count: u64) -> f64 {
    count as f64
}

/// What several rounds gave.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Spread {
    /// Half are no more than this.
    pub median: f64,
    /// The smallest.
    pub min: f64,
    /// The greatest.
    pub max: f64,
}

impl Spread {
    /// Of what each round gave; `None` where there is none, or one of them is not to be had.
    #[must_use]
    pub fn of(rounds: impl IntoIterator<Item = Option<f64>>) -> Option<Self> {
        let mut values = rounds.into_iter().collect::<Option<Vec<f64>>>()?;
        values.sort_by(f64::total_cmp);
        let (min, max) = (*values.first()?, *values.last()?);
        let half = values.len() / 2;
        let median =
            if values.len() % 2 == 1 { values[half] } else { f64::midpoint(values[half - 1], values[half]) };
        Some(Self { median, min, max })
    }

    /// Of one value.
    #[must_use]
    pub fn one(value: f64) -> Self {
        Self { median: value, min: value, max: value }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spread_has_the_one_in_the_middle() {
        let spread = |values: &[f64]| Spread::of(values.iter().copied().map(Some));
        assert_eq!(spread(&[]), None);
        assert_eq!(spread(&[3.0]), Some(Spread::one(3.0)));
        assert_eq!(spread(&[3.0, 1.0, 2.0]), Some(Spread { median: 2.0, min: 1.0, max: 3.0 }));
        assert_eq!(spread(&[4.0, 1.0, 2.0, 3.0]), Some(Spread { median: 2.5, min: 1.0, max: 4.0 }));
        assert_eq!(Spread::of([Some(1.0), None]), None, "what one round does not tell is not known");
    }

    #[test]
    fn rounds_add_up() {
        let round = |micros: &[u64], cpu_seconds| {
            let mut round = Sample { seconds: 2.0, cpu_seconds, request_bytes: 30, ..Sample::default() };
            for micros in micros {
                round.record(*micros);
            }
            round
        };
        let rounds = [round(&[1_000, 1_000, 1_000], Some(0.5)), round(&[9_000], Some(0.25))];
        let all = Sample::of_all(&rounds);
        assert_eq!((all.calls(), all.sizes()), (4, (15, 0)));
        assert!((all.rate() - 1.0).abs() < 1e-9);
        assert!((all.millis(50.0) - 1.0).abs() < 1e-2 && (all.millis(99.0) - 9.0).abs() < 1e-1, "{all:?}");
        assert!((all.cpu_micros().unwrap() - 187_500.0).abs() < 1e-6);
        let untold = Sample::of_all(&[round(&[1], Some(0.5)), round(&[1], None)]);
        assert_eq!(untold.cpu_micros(), None);
    }
}
