//! The targets over what was found before, and over variants of it.

use std::{
    env, fs,
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path,
};

use crate::chance::Chance;

use super::*;

type Target = (&'static str, fn(&[u8]));

const TARGETS: [Target; 6] = [
    ("bearer", bearer),
    ("expressions", expressions),
    ("patches", patches),
    ("records", records),
    ("requests", requests),
    ("tokens", tokens),
];

/// What was found before, by its name.
fn corpus(target: &str) -> Vec<(String, Vec<u8>)> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target);
    let files = fs::read_dir(&directory).unwrap().map(|file| file.unwrap().path());
    let mut inputs: Vec<_> =
        files.map(|path| (path.display().to_string(), fs::read(path).unwrap())).collect();
    assert!(!inputs.is_empty(), "{} is empty", directory.display());
    inputs.sort();
    inputs
}

/// Something else made of inputs: a few bytes changed, left out, put in, or taken from another.
fn mutated(inputs: &[(String, Vec<u8>)], chance: &mut Chance) -> Vec<u8> {
    let mut input = inputs[chance.below(inputs.len())].1.clone();
    for _ in 0..=chance.below(5) {
        let at = chance.below(input.len() + 1);
        let end = (at + chance.below(9)).min(input.len());
        match chance.below(5) {
            0 => input[at..end].iter_mut().for_each(|byte| *byte ^= 1 << chance.below(8)),
            1 => drop(input.drain(at..end)),
            2 => input.insert(at, chance.next().to_le_bytes()[0]),
            3 => input.extend_from_within(at..end),
            _ => {
                let other = &inputs[chance.below(inputs.len())].1;
                let from = chance.below(other.len() + 1);
                let to = (from + chance.below(40)).min(other.len());
                input.splice(at..at, other[from..to].iter().copied());
            }
        }
    }
    input
}

#[test]
fn what_was_found_before_holds() {
    for (target, run) in TARGETS {
        for (name, input) in corpus(target) {
            println!("{name}");
            run(&input);
        }
    }
}

/// Not guided by what they reach, as the fuzzer's are, and the same each time. `HOLDPOINT_FUZZ_INPUTS` is how many for each
/// target, `HOLDPOINT_FUZZ_SEED` makes others.
#[test]
fn variants_of_what_was_found_before_hold() {
    let number = |name, usual| env::var(name).map_or(usual, |text| text.parse::<u64>().unwrap());
    let inputs_max = number("HOLDPOINT_FUZZ_INPUTS", 300);
    let seed = number("HOLDPOINT_FUZZ_SEED", 0);
    for (target, run) in TARGETS {
        let inputs = corpus(target);
        let mut chance = Chance::new(seed << 40);
        for _ in 0..inputs_max {
            let input = mutated(&inputs, &mut chance);
            let outcome = catch_unwind(AssertUnwindSafe(|| run(&input)));
            assert!(outcome.is_ok(), "{target}: \"{}\"", input.escape_ascii());
        }
    }
}
