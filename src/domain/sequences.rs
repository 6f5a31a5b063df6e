//! The sequence ids that the tasks of an attempt have, and those that are missing between them.

use std::collections::BTreeMap;

use crate::proto::v1::{SequenceRange, WorkflowAttempt};

/// How many missing ranges are told.
const RANGES_MAX: usize = 100;

/// Numbers from 0, most of them in a row.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sequences {
    /// The last number of each row, by its first. Between two rows at least one number is missing.
    rows: BTreeMap<i64, i64>,
}

/// What is missing between the smallest and the greatest.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Missing {
    /// The lowest of the ranges.
    pub ranges: Vec<SequenceRange>,
    /// How many numbers are missing in all.
    pub count: i64,
}

impl Sequences {
    /// Whether the number is there.
    #[must_use]
    pub fn contains(&self, number: i64) -> bool {
        self.rows.range(..=number).next_back().is_some_and(|(_, last)| number <= *last)
    }

    /// Adds a number.
    pub fn insert(&mut self, number: i64) {
        if self.contains(number) {
            return;
        }
        let (mut first, mut last) = (number, number);
        if let Some((before, _)) =
            self.rows.range(..number).next_back().filter(|(_, last)| **last == number - 1)
        {
            first = *before;
        }
        if let Some(after) = number.checked_add(1).and_then(|next| self.rows.remove(&next)) {
            last = after;
        }
        self.rows.insert(first, last);
    }

    /// What is missing.
    #[must_use]
    pub fn missing(&self) -> Missing {
        let gaps = self.rows.values().zip(self.rows.keys().skip(1));
        let gaps = gaps.map(|(last, first)| SequenceRange { first: last + 1, last: first - 1 });
        let count = gaps.clone().map(|gap| gap.last - gap.first + 1).sum();
        Missing { ranges: gaps.take(RANGES_MAX).collect(), count }
    }

    /// The rows, in order.
    #[must_use]
    pub fn ranges(&self) -> Vec<SequenceRange> {
        self.rows.iter().map(|(first, last)| SequenceRange { first: *first, last: *last }).collect()
    }
}

impl Missing {
    /// Puts it into an attempt.
    pub fn tell(self, attempt: &mut WorkflowAttempt) {
        attempt.missing_sequences = self.ranges;
        attempt.missing_sequence_count = self.count;
    }
}

impl FromIterator<SequenceRange> for Sequences {
    fn from_iter<I: IntoIterator<Item = SequenceRange>>(ranges: I) -> Self {
        Self { rows: ranges.into_iter().map(|range| (range.first, range.last)).collect() }
    }
}

impl FromIterator<i64> for Sequences {
    fn from_iter<I: IntoIterator<Item = i64>>(numbers: I) -> Self {
        let mut sequences = Self::default();
        numbers.into_iter().for_each(|number| sequences.insert(number));
        sequences
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn they_are_a_set(numbers in prop::collection::vec(prop_oneof![0..40_i64, Just(i64::MAX), Just(i64::MAX - 1)], 0..40)) {
            let naive: BTreeSet<i64> = numbers.iter().copied().collect();
            let sequences: Sequences = numbers.into_iter().collect();
            for number in (0..41).chain([i64::MAX - 1, i64::MAX]) {
                prop_assert_eq!(sequences.contains(number), naive.contains(&number), "{}", number);
            }
            let ends = naive.first().zip(naive.last());
            let span = ends.map_or(0, |(smallest, greatest)| i128::from(greatest - smallest) + 1);
            let missing = sequences.missing();
            prop_assert_eq!(i128::from(missing.count), span - i128::try_from(naive.len()).unwrap());
            for range in &missing.ranges {
                prop_assert!(range.first <= range.last);
                prop_assert!(naive.contains(&(range.first - 1)) && naive.contains(&(range.last + 1)));
                prop_assert_eq!(naive.range(range.first..=range.last).count(), 0);
            }
            prop_assert_eq!(&sequences.ranges().into_iter().collect::<Sequences>(), &sequences);
        }
    }

    #[test]
    fn the_lowest_hundred_ranges_are_told() {
        let sequences: Sequences = (0..300_i64).map(|number| number * 2).collect();
        let missing = sequences.missing();
        assert_eq!((missing.ranges.len(), missing.count), (RANGES_MAX, 299));
        assert_eq!(missing.ranges[99], SequenceRange { first: 199, last: 199 });
    }
}
