//! Stored values, entries, the journal and the small files, from bytes of any kind.

use super::{
    directory, entry, journal, segments,
    value::{self, INLINE_BYTES_MAX, Stored},
    values, witness,
};

/// What is read, is what would be written.
pub(in crate::store) fn files(kind: u8, bytes: &[u8]) {
    match kind {
        11 => stored(bytes),
        12 => journal::fuzz(bytes),
        13 => segments::fuzz(bytes),
        14 => witness::fuzz(bytes),
        15 => directory::fuzz(bytes),
        16 => entry::fuzz(bytes),
        17 => values::fuzz(bytes),
        _ => {}
    }
}

/// A key up to the first zero, then what stands there.
fn stored(bytes: &[u8]) {
    let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
    let (key, raw) = (&bytes[..end], bytes.get(end + 1..).unwrap_or_default());
    if let Ok(stored) = Stored::decode(key, raw) {
        assert_eq!(stored.encode(key), raw);
    }
    let value = &raw[..raw.len().min(INLINE_BYTES_MAX)];
    let good = value::encode(key, value);
    assert_eq!(Stored::decode(key, &good).expect("it was just written"), Stored::Inline(value));
    assert!(Stored::decode(&[key, b"x"].concat(), &good).is_err(), "it is another key's");
}
