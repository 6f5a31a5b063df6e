use std::io::Write as _;

use super::*;

const NODE: u8 = 8;
/// Segments before this one are covered by the snapshot.
const FROM: u64 = 3;

fn varint_of(number: u64) -> Vec<u8> {
    [&[u8::MAX][..], &number.to_le_bytes()].concat()
}

/// A message as sled writes it.
fn written(kind: u8, segment: u64, page: Page, length: usize) -> Vec<u8> {
    let length_of = varint_of(length as u64);
    let header = [&[kind][..], &length_of, &varint_of(segment), &varint_of(page)].concat();
    let content = vec![7; length];
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&content);
    hasher.update(&header);
    [&(!hasher.finalize()).to_le_bytes()[..], &header, &content].concat()
}

fn place_of(lsn: i64) -> [u8; 8] {
    (lsn ^ i64::MAX).to_le_bytes()
}

/// A segment that is begun when everything before it is durable, with messages of kinds and pages.
fn segment(number: u64, messages: &[(u8, Page)]) -> Vec<u8> {
    let lsn = i64::try_from(number * SEGMENT_BYTES as u64).unwrap();
    let rest = [place_of(lsn), place_of(lsn - 1)].concat();
    let mut bytes = [&(!crc32fast::hash(&rest)).to_le_bytes()[..], &rest].concat();
    for (kind, page) in messages {
        bytes.extend(written(*kind, number, *page, 1000));
    }
    bytes.resize(SEGMENT_BYTES, 0);
    bytes
}

/// One that is full.
fn full(number: u64, messages: &[(u8, Page)]) -> Vec<u8> {
    let mut bytes = segment(number, messages);
    let end = messages.len() * written(NODE, number, 0, 1000).len() + SEGMENT_HEADER_BYTES;
    put(&mut bytes, end, &written(CAP, number, 0, SEGMENT_BYTES - end - MESSAGE_HEADER_BYTES_MAX));
    bytes
}

fn put(bytes: &mut [u8], at: usize, what: &[u8]) {
    bytes[at..at + what.len()].copy_from_slice(what);
}

/// An old segment, with what of the pages it had is in the newest; and two newer ones, the last of them not full.
fn whole() -> Vec<Vec<u8>> {
    let old = full(FROM, &[(NODE, 1), (LINK, 2), (CANCELED, 9), (BATCH_MANIFEST, 8), (NODE, 3)]);
    vec![old, full(FROM + 1, &[(NODE, 4)]), segment(FROM + 2, &[(NODE, 1), (NODE, 2), (NODE, 3)])]
}

/// The same, where something is done to the places of segments in the file.
fn after(change: impl FnOnce(&mut Vec<Vec<u8>>)) -> Vec<Vec<u8>> {
    let mut places = whole();
    change(&mut places);
    places
}

/// A piece of the segment after the newest, which was written before the one that has its header.
fn begin(place: &mut [u8], at: usize) {
    put(place, at, &written(NODE, FROM + 3, 4, 2000));
}

#[track_caller]
fn check(places: &[Vec<u8>], empty: Option<&[u64]>, expected: Option<&str>) {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(&places.concat()).unwrap();
    let empty = empty.map(|empty| empty.iter().copied().collect());
    let doubt = look(file, FROM * SEGMENT_BYTES as Lsn, empty.as_ref()).unwrap();
    assert_eq!(doubt.map(|doubt| doubt.what), expected);
}

#[test]
fn what_a_crash_leaves_is_no_damage() {
    check(&whole(), Some(&[]), None);
    // The newest lacks its last piece, and the next one is begun over an old one, or where nothing was.
    check(&after(|places| begin(&mut places[0], 1500)), Some(&[]), None);
    let over_nothing = |places: &mut Vec<_>| {
        let mut place = vec![0; SEGMENT_BYTES];
        begin(&mut place, 1500);
        places.insert(0, place);
    };
    check(&after(over_nothing), Some(&[0]), None);
    // The newest is full, and the next one's beginning was on its way.
    check(&after(|places| places[2] = full(FROM + 2, &[(NODE, 1), (NODE, 2), (NODE, 3)])), Some(&[]), None);
    // sled has used none of what was empty, or the first of it.
    let empty = |places: &mut Vec<Vec<u8>>| places.extend([vec![0; SEGMENT_BYTES], vec![0; SEGMENT_BYTES]]);
    check(&after(empty), Some(&[3, 4]), None);
    check(&after(empty), None, None);
    // sled was emptying it.
    check(&after(|places| places[0][..65536].fill(0)), None, None);
    // The first segment after the snapshot is on its way behind the second.
    let only = [vec![0; SEGMENT_BYTES], segment(FROM + 1, &[])];
    let mut stable_from = only.clone();
    let rest = [
        place_of(((FROM + 1) * SEGMENT_BYTES as u64).cast_signed()),
        place_of((FROM * SEGMENT_BYTES as u64).cast_signed() - 1),
    ]
    .concat();
    put(&mut stable_from[1], 0, &[&(!crc32fast::hash(&rest)).to_le_bytes()[..], &rest].concat());
    check(&stable_from, Some(&[0, 1]), None);
}

#[test]
fn damage_is_doubted() {
    let needed = Some("a torn segment that is needed");
    let unbegun = Some("a torn segment, where none was begun");
    let headless = Some("a segment without its header");
    let zeros = Some("zeros where there was a segment");
    let tailless = Some("the segment that was last durable is missing");
    check(&after(|places| places[0][900] ^= 1), Some(&[]), unbegun);
    // Page 4 is nowhere else.
    check(&after(|places| places[1][900] ^= 1), Some(&[]), unbegun);
    check(&after(|places| begin(&mut places[0], 1500)), Some(&[]), None);
    let is_needed = after(|places| {
        places[0] = full(FROM, &[(NODE, 5), (NODE, 1), (NODE, 1)]);
        begin(&mut places[0], 1500);
    });
    check(&is_needed, Some(&[]), needed);
    // Whether it was canceled or not: what came before is not replaced by it.
    let canceled = after(|places| {
        places[0] = full(FROM, &[(NODE, 4), (NODE, 1), (NODE, 1)]);
        places[1] = full(FROM + 1, &[(CANCELED, 4)]);
        begin(&mut places[0], 1500);
    });
    check(&canceled, Some(&[]), needed);
    check(&after(|places| places[0][..SEGMENT_HEADER_BYTES].fill(0)), Some(&[]), headless);
    check(&after(|places| places[0][..65536].fill(0)), Some(&[]), zeros);
    check(&after(|places| places[0].fill(0)), Some(&[]), zeros);
    check(&after(|places| places.push(vec![0; SEGMENT_BYTES])), Some(&[]), zeros);
    check(&after(|places| drop(places.remove(1))), Some(&[]), tailless);
    check(&after(|places| places[1][5] ^= 1), Some(&[]), Some("a header that does not match its checksum"));
    let twice = after(|places| places.push(full(FROM, &[])));
    check(&twice, Some(&[]), Some("a segment that is there twice"));
}
