//! What was measured: a table for people, JSON for machines.

use std::fmt::{self, Display, Formatter};

use serde::Serialize;

use super::sample::{Sample, Spread, whole};

/// Where the column of names ends.
const NAME_WIDTH: usize = 42;
/// Where a ratio ends.
const SPREAD_WIDTH: usize = 30;
/// Where a goal ends.
const GOAL_WIDTH: usize = 18;

/// All that was measured in one run.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Report {
    /// What it was measured with.
    pub setup: String,
    /// One after another.
    pub sections: Vec<Section>,
}

/// What was measured of one workload.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Section {
    /// The workload's name.
    pub workload: &'static str,
    /// What was done.
    pub title: String,
    /// The calls, of each server.
    pub rows: Vec<Row>,
    /// How they compare.
    pub checks: Vec<Check>,
}

/// The calls to one server, all rounds together.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// Which server, or which work.
    pub name: String,
    /// How many calls at once.
    pub callers: usize,
    /// How many calls in all.
    pub calls: u64,
    /// How many in a second.
    pub calls_per_second: f64,
    /// The median.
    pub p50_millis: f64,
    /// What 99 of 100 were answered within.
    pub p99_millis: f64,
    /// What 999 of 1,000 were answered within.
    pub p999_millis: f64,
    /// Of the server's processor time, for each call; only where the system tells.
    pub cpu_micros_per_call: Option<f64>,
    /// The mean size.
    pub request_bytes: u64,
    /// The mean size.
    pub reply_bytes: u64,
}

impl Row {
    /// The rounds of one server.
    #[must_use]
    pub fn new(name: impl Into<String>, callers: usize, rounds: &[Sample]) -> Self {
        let all = Sample::of_all(rounds);
        let (request_bytes, reply_bytes) = all.sizes();
        Self {
            name: name.into(),
            callers,
            calls: all.calls(),
            calls_per_second: all.rate(),
            p50_millis: all.millis(50.0),
            p99_millis: all.millis(99.0),
            p999_millis: all.millis(99.9),
            cpu_micros_per_call: all.cpu_micros(),
            request_bytes,
            reply_bytes,
        }
    }
}

/// How a number is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Unit {
    /// A part of one, as percent.
    Percent,
    /// So many times another.
    Times,
    /// Milliseconds.
    Millis,
    /// Microseconds.
    Micros,
    /// Seconds.
    Seconds,
    /// Units of 1,024 bytes.
    Kib,
    /// Units of 1,048,576 bytes.
    Mib,
    /// In a second.
    PerSecond,
}

/// What is aimed at.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Goal {
    /// This or more.
    AtLeast(f64),
    /// This or less.
    AtMost(f64),
}

impl Goal {
    fn is_met(self, value: f64) -> bool {
        match self {
            Self::AtLeast(goal) => value >= goal,
            Self::AtMost(goal) => value <= goal,
        }
    }
}

/// A number, and whether it is what is aimed at. The median of the rounds decides.
#[derive(Clone, Debug, Serialize)]
pub struct Check {
    /// What it is of.
    pub what: String,
    /// How it is shown.
    pub unit: Unit,
    /// What the rounds gave; `None` where the system does not tell.
    pub value: Option<Spread>,
    /// What is aimed at, if anything.
    pub goal: Option<Goal>,
    /// Whether that is reached; `None` where there is no goal, or no value.
    pub met: Option<bool>,
}

impl Check {
    /// A number with a goal.
    #[must_use]
    pub fn new(what: impl Into<String>, unit: Unit, value: Option<Spread>, goal: Option<Goal>) -> Self {
        let met = goal.zip(value).map(|(goal, value)| goal.is_met(value.median));
        Self { what: what.into(), unit, value, goal, met }
    }

    /// A number that is only told.
    #[must_use]
    pub fn told(what: impl Into<String>, unit: Unit, value: Option<f64>) -> Self {
        Self::new(what, unit, value.map(Spread::one), None)
    }
}

impl Report {
    /// All as JSON.
    ///
    /// # Panics
    /// Never: it is made of numbers and texts.
    #[must_use]
    pub fn to_json(&self) -> String {
        serde_json::to_string_pretty(self).expect("numbers and texts are JSON")
    }

    /// How many goals are met, and how many there are.
    #[must_use]
    pub fn goals(&self) -> (usize, usize) {
        let met = self.sections.iter().flat_map(|section| &section.checks).filter_map(|check| check.met);
        met.fold((0, 0), |(met, all), is_met| (met + usize::from(is_met), all + 1))
    }
}

impl Display for Report {
    fn fmt(&self, to: &mut Formatter<'_>) -> fmt::Result {
        writeln!(to, "{}", self.setup)?;
        for section in &self.sections {
            write!(to, "\n{section}")?;
        }
        let (met, all) = self.goals();
        writeln!(to, "\n{met} of {all} goals met")
    }
}

impl Display for Section {
    fn fmt(&self, to: &mut Formatter<'_>) -> fmt::Result {
        writeln!(to, "{}: {}", self.workload, self.title)?;
        if !self.rows.is_empty() {
            writeln!(
                to,
                "{:NAME_WIDTH$}{:>11}{:>10}{:>10}{:>10}{:>12}",
                "", "calls/s", "p50 ms", "p99 ms", "p99.9 ms", "CPU us/call"
            )?;
        }
        for row in &self.rows {
            let callers = if row.callers == 1 { "1 caller" } else { &format!("{} callers", row.callers) };
            writeln!(
                to,
                "  {:<width$}{:>11}{:>10.2}{:>10.2}{:>10.2}{:>12}",
                format!("{}, {callers}", row.name),
                thousands(row.calls_per_second),
                row.p50_millis,
                row.p99_millis,
                row.p999_millis,
                row.cpu_micros_per_call.map_or_else(|| "-".to_owned(), |micros| format!("{micros:.1}")),
                width = NAME_WIDTH - 2,
            )?;
        }
        self.checks.iter().try_for_each(|check| write!(to, "{check}"))
    }
}

impl Display for Check {
    fn fmt(&self, to: &mut Formatter<'_>) -> fmt::Result {
        let spread = self.value.map_or_else(
            || "-".to_owned(),
            |Spread { median, min, max }| {
                let [median, min, max] = [median, min, max].map(|value| self.unit.show(value));
                if min == max { median } else { format!("{median} ({min} to {max})") }
            },
        );
        let line = match self.goal {
            None => format!("  {:<width$}{spread:>SPREAD_WIDTH$}", self.what, width = NAME_WIDTH - 2),
            Some(goal) => {
                let goal = match goal {
                    Goal::AtLeast(value) => format!("goal >= {}", self.unit.show(value)),
                    Goal::AtMost(value) => format!("goal <= {}", self.unit.show(value)),
                };
                let verdict = match self.met {
                    Some(true) => "ok",
                    Some(false) => "missed",
                    None => "not known",
                };
                format!(
                    "  {:<width$}{spread:>SPREAD_WIDTH$}   {goal:<GOAL_WIDTH$}{verdict}",
                    self.what,
                    width = NAME_WIDTH - 2,
                )
            }
        };
        writeln!(to, "{}", line.trim_end())
    }
}

impl Unit {
    fn show(self, value: f64) -> String {
        match self {
            Self::Percent => format!("{:.0}%", 100.0 * value),
            Self::Times => format!("{value:.2}x"),
            Self::Millis => format!("{value:.2} ms"),
            Self::Micros => format!("{value:.2} us"),
            Self::Seconds => format!("{value:.2} s"),
            Self::Kib => format!("{value:.1} KiB"),
            Self::Mib => format!("{value:.1} MiB"),
            Self::PerSecond => format!("{}/s", thousands(value)),
        }
    }
}

/// Bytes as MiB.
#[must_use]
pub fn mib(bytes: u64) -> f64 {
    whole(bytes) / f64::from(1 << 20)
}

/// A whole number that can be read at once.
pub(super) fn thousands(value: f64) -> String {
    let digits = format!("{value:.0}");
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;

    fn report() -> Report {
        let round = |micros: u64, calls: u64, cpu| {
            let mut round = Sample::default();
            (round.seconds, round.cpu_seconds) = (1.0, Some(cpu));
            for _ in 0..calls {
                round.record(micros);
            }
            round
        };
        let spread = |median, min, max| Some(Spread { median, min, max });
        let mut untold = round(2_500, 12, 0.1);
        untold.cpu_seconds = None;
        Report {
            setup: "holdpoint 0.1.0".to_owned(),
            sections: vec![
                Section {
                    workload: "update",
                    title: "an update".to_owned(),
                    rows: vec![
                        Row::new("bare echo", 64, &[round(1_500, 12_345, 0.25)]),
                        Row::new("holdpoint", 1, &[untold]),
                    ],
                    checks: vec![
                        Check::new(
                            "calls/s, of the echo's",
                            Unit::Percent,
                            spread(0.8, 0.7, 0.91),
                            Some(Goal::AtLeast(0.75)),
                        ),
                        Check::new(
                            "CPU, of the echo's",
                            Unit::Times,
                            spread(3.0, 2.5, 3.5),
                            Some(Goal::AtMost(2.0)),
                        ),
                        Check::new("memory for each", Unit::Kib, None, Some(Goal::AtMost(40.0))),
                        Check::told("on disk", Unit::Mib, Some(mib(3 << 19))),
                    ],
                },
                Section { workload: "start", title: "after kill -9".to_owned(), ..Section::default() },
            ],
        }
    }

    #[test]
    fn the_table_can_be_read() {
        let expected = expect![[r#"
            holdpoint 0.1.0

            update: an update
                                                          calls/s    p50 ms    p99 ms  p99.9 ms CPU us/call
              bare echo, 64 callers                        12,345      1.50      1.50      1.50        20.3
              holdpoint, 1 caller                              12      2.50      2.50      2.50           -
              calls/s, of the echo's                                80% (70% to 91%)   goal >= 75%       ok
              CPU, of the echo's                              3.00x (2.50x to 3.50x)   goal <= 2.00x     missed
              memory for each                                                      -   goal <= 40.0 KiB  not known
              on disk                                                        1.5 MiB

            start: after kill -9

            1 of 2 goals met
        "#]];
        expected.assert_eq(&report().to_string());
    }

    #[test]
    fn goals_are_met_by_the_median() {
        assert_eq!(report().goals(), (1, 2));
        let met = |value, goal| Check::new("", Unit::Times, Some(Spread::one(value)), Some(goal)).met;
        assert_eq!(met(2.0, Goal::AtMost(2.0)), Some(true));
        assert_eq!(met(2.1, Goal::AtMost(2.0)), Some(false));
        assert_eq!(met(0.75, Goal::AtLeast(0.75)), Some(true));
        assert_eq!(met(0.74, Goal::AtLeast(0.75)), Some(false));
        assert_eq!(Check::told("", Unit::Times, Some(1.0)).met, None);
    }

    #[test]
    fn numbers_have_commas() {
        let rows =
            [(0.0, "0"), (999.4, "999"), (1_000.0, "1,000"), (123_456.0, "123,456"), (1e6, "1,000,000")];
        for (value, expected) in rows {
            assert_eq!(thousands(value), expected);
        }
    }
}
