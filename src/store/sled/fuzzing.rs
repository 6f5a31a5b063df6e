//! Stored values, entries, the journal and the small files, from bytes of any kind.

use super::{directory, entry, journal, segments, value, witness};

/// What is read, is what would be written.
pub(in crate::store) fn files(kind: u8, bytes: &[u8]) {
    match kind {
        11 => stored(bytes),
        12 => journal::fuzz(bytes),
        13 => segments::fuzz(bytes),
        14 => witness::fuzz(bytes),
        15 => directory::fuzz(bytes),
        16 => entry::fuzz(bytes),
        _ => {}
    }
}

/// A key up to the first zero, then what stands there.
fn stored(bytes: &[u8]) {
    let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
    let (key, raw) = bytes.split_at(end);
    if let Ok(payload) = value::inline(key, raw) {
        assert_eq!(value::encode(key, payload), raw);
    }
    if let Ok(Some(chunks)) = value::chunks_of(key, raw) {
        // As many as it says, however many that is.
        assert!(chunks.keys().take(3).all(|key| key.len() == 13));
    }
    let payload = &raw[..raw.len().min(value::PAYLOAD_BYTES_MAX)];
    let good = value::encode(key, payload);
    assert_eq!(value::inline(key, &good).expect("it was just written"), payload);
    assert!(value::inline(&[key, b"x"].concat(), &good).is_err(), "it is another key's");
}
