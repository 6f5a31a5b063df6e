//! What is in the files of values: how far each of them counts, and how much of it is needed.
//!
//! A new one is written for each checkpoint that changes it, and durable before the checkpoint names it.

use std::{collections::BTreeMap, fmt::Write as _};

use crate::store::sled::tables::Cohort;

/// What a checkpoint says of its inventory. No number: there is none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::store::sled) struct Noted {
    pub(in crate::store::sled) number: u64,
    /// The checksum of its text.
    pub(in crate::store::sled) sum: u32,
}

/// What there is in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Contents {
    pub(super) cohort: Cohort,
    /// Where it ends. What a crash has left behind that does not count.
    pub(super) end: u32,
    /// At most so much of it is needed; never more.
    pub(super) live: u32,
    /// That is exact, as far as is known: no checkpoint was cut off since it was counted.
    pub(super) is_counted: bool,
}

/// The files that count, by their numbers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Inventory(pub(super) BTreeMap<u64, Contents>);

impl Inventory {
    /// What all files have together.
    pub(super) fn bytes(&self) -> u64 {
        self.0.values().map(|contents| u64::from(contents.end)).sum()
    }

    /// What is needed of them.
    pub(super) fn live(&self) -> u64 {
        self.0.values().map(|contents| u64::from(contents.live)).sum()
    }

    pub(super) fn text(&self) -> String {
        let mut text = String::new();
        for (number, Contents { cohort, end, live, is_counted }) in &self.0 {
            let (cohort, sure) = (cohort.name(), if *is_counted { "counted" } else { "at-most" });
            let _ = writeln!(text, "file {number:016x} cohort {cohort} end {end} live {sure} {live}");
        }
        text
    }

    /// None where it is not what was written.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let files = text.lines().map(file).collect::<Option<BTreeMap<_, _>>>()?;
        let inventory = Self(files);
        (inventory.text() == text).then_some(inventory)
    }
}

fn file(text: &str) -> Option<(u64, Contents)> {
    let mut words = text.split(' ');
    let mut after = |name: &str| words.next().filter(|word| *word == name).and_then(|_| words.next());
    let number = u64::from_str_radix(after("file")?, 16).ok()?;
    let cohort = Cohort::of_name(after("cohort")?)?;
    let end = after("end")?.parse().ok()?;
    let is_counted = after("live")? == "counted";
    let live = words.next()?.parse().ok()?;
    Some((number, Contents { cohort, end, live, is_counted }))
}

/// Reads anything as an inventory.
#[cfg(any(test, fuzzing))]
pub(super) fn fuzz(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    if let Some(inventory) = Inventory::parse(&text) {
        assert_eq!(inventory.text(), text);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_inventory_is_read_as_it_was_written() {
        let contents = |cohort, live, is_counted| Contents { cohort, end: 70_000, live, is_counted };
        let files = [
            (1, contents(Cohort::Records, 0, true)),
            (2, contents(Cohort::Entries, 70_000, false)),
            (0xabc, contents(Cohort::Batches, 35_000, true)),
        ];
        for count in 0..=3 {
            let inventory = Inventory(files.into_iter().take(count).collect());
            assert_eq!(Inventory::parse(&inventory.text()), Some(inventory));
        }
        for bad in [
            "file 1 cohort entries end 1 live counted 1\n",
            "file 0000000000000001 cohort x end 1 live counted 1\n",
            "file 0000000000000001 cohort entries end 1 live 1\n",
            "file 0000000000000001 cohort entries end 1 live perhaps 1\n",
            "file 0000000000000001 cohort entries end 5000000000 live counted 1\n",
            "file 0000000000000001 cohort entries end 1 live counted 1",
            "\n",
        ] {
            assert_eq!(Inventory::parse(bad), None, "{bad:?}");
        }
    }
}
