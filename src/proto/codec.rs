//! How messages are read from the wire and written to it: as tonic does, but a request that would take far more memory than it
//! has bytes is refused before it is decoded.
//!
//! An entry of a list is two bytes on the wire where it is empty, and may be a kilobyte in memory. What a limit says of the number
//! of entries is only looked at when all of them are there.

use std::{
    collections::{HashMap, HashSet},
    marker::PhantomData,
    sync::LazyLock,
};

use bytes::Buf;
use prost::{
    Message, Name,
    encoding::{WireType, decode_key, decode_varint},
};
use prost_reflect::{Cardinality, DescriptorPool, FieldDescriptor, Kind, MessageDescriptor};
use tonic::{
    Status,
    codec::{Codec, DecodeBuf, Decoder},
};
use tonic_prost::{ProstDecoder, ProstEncoder};

use super::API_DESCRIPTORS;

/// Not looked at: no more than some thousands of entries fit in so much, which are a few MiB.
const SMALL_BYTES: usize = 8 << 10;
/// What any request may take decoded, by the estimate here.
const FREE_BYTES: usize = 4 << 20;
/// For each byte of a request, so many more in memory.
const FACTOR: usize = 8;
/// A string or a list, without what is in it; bytes take little more.
const POINTER_BYTES: usize = 24;
/// As deep as prost reads.
const LEVELS_MAX: usize = 100;

static SIZES: LazyLock<Sizes> = LazyLock::new(Sizes::new);

/// The codec of the generated servers and clients.
#[derive(Debug)]
pub struct BoundedCodec<T, U>(PhantomData<(T, U)>);

impl<T, U> Default for BoundedCodec<T, U> {
    fn default() -> Self {
        Self(PhantomData)
    }
}

impl<T, U> Codec for BoundedCodec<T, U>
where
    T: Message + Send + 'static,
    U: Message + Default + Name + Send + 'static,
{
    type Encode = T;
    type Decode = U;
    type Encoder = ProstEncoder<T>;
    type Decoder = BoundedDecoder<U>;

    fn encoder(&mut self) -> Self::Encoder {
        ProstEncoder::default()
    }

    fn decoder(&mut self) -> Self::Decoder {
        BoundedDecoder(ProstDecoder::default())
    }
}

/// See [`BoundedCodec`].
#[derive(Debug)]
pub struct BoundedDecoder<U>(ProstDecoder<U>);

impl<U: Message + Default + Name> Decoder for BoundedDecoder<U> {
    type Item = U;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<U>, Status> {
        let length = buffer.remaining();
        if length > SMALL_BYTES && U::NAME.ends_with("Request") {
            let bytes_max = FREE_BYTES + length.saturating_mul(FACTOR);
            // tonic has the message in one piece.
            let bytes = SIZES.decoded(&U::full_name(), buffer.chunk());
            if bytes > bytes_max {
                // As tonic says it of what prost refuses.
                return Err(Status::internal(format!(
                    "failed to decode Protobuf message: its {length} bytes would take about {bytes} in memory, where \
                     {bytes_max} are allowed"
                )));
            }
        }
        self.0.decode(buffer)
    }
}

/// About how much messages of the API take in memory, without what their strings, bytes and lists hold.
struct Sizes {
    pool: DescriptorPool,
    by_name: HashMap<String, usize>,
}

impl Sizes {
    fn new() -> Self {
        let pool = DescriptorPool::decode(API_DESCRIPTORS).expect("the build made the descriptors");
        let mut by_name = HashMap::new();
        for message in pool.all_messages() {
            size(&message, &mut by_name, &mut HashSet::new());
        }
        Self { pool, by_name }
    }

    /// What a message of this name takes that is not decoded yet. What is no message is for the decoder to refuse.
    fn decoded(&self, name: &str, encoded: &[u8]) -> usize {
        let Some(message) = self.pool.get_message_by_name(name) else { return 0 };
        let mut bytes = self.by_name.get(name).copied().unwrap_or_default();
        self.add(&message, encoded, LEVELS_MAX, &mut bytes);
        bytes
    }

    /// Adds what a message holds beside itself. None where it cannot be read on.
    fn add(
        &self,
        message: &MessageDescriptor,
        mut encoded: &[u8],
        levels: usize,
        bytes: &mut usize,
    ) -> Option<()> {
        let deeper = levels.checked_sub(1)?;
        while !encoded.is_empty() {
            let (number, wire_type) = decode_key(&mut encoded).ok()?;
            let member = match wire_type {
                WireType::Varint => {
                    decode_varint(&mut encoded).ok()?;
                    &[][..]
                }
                WireType::SixtyFourBit => encoded.split_off(..8).map(|_| &[][..])?,
                WireType::ThirtyTwoBit => encoded.split_off(..4).map(|_| &[][..])?,
                WireType::LengthDelimited => {
                    let length = usize::try_from(decode_varint(&mut encoded).ok()?).ok()?;
                    encoded.split_off(..length)?
                }
                WireType::StartGroup | WireType::EndGroup => return None,
            };
            let Some(field) = message.get_field(number) else { continue };
            *bytes += member.len();
            if field.cardinality() == Cardinality::Repeated {
                *bytes += self.entry(&field);
            }
            if let Kind::Message(inner) = field.kind()
                && !is_left_encoded(&inner)
            {
                self.add(&inner, member, deeper, bytes)?;
            }
        }
        Some(())
    }

    /// What one entry of a list takes.
    fn entry(&self, field: &FieldDescriptor) -> usize {
        match field.kind() {
            Kind::Message(entry) => self.by_name.get(entry.full_name()).copied().unwrap_or(POINTER_BYTES),
            kind => scalar(&kind),
        }
    }
}

/// About how much a message takes. Members that are messages lie in it; what is in itself is on the heap.
fn size(
    message: &MessageDescriptor,
    by_name: &mut HashMap<String, usize>,
    outer: &mut HashSet<String>,
) -> usize {
    let name = message.full_name();
    if let Some(size) = by_name.get(name) {
        return *size;
    }
    if is_left_encoded(message) || !outer.insert(name.to_owned()) {
        return POINTER_BYTES;
    }
    let mut bytes = 0;
    for field in message.fields() {
        bytes += match field.kind() {
            _ if field.cardinality() == Cardinality::Repeated => POINTER_BYTES,
            Kind::Message(inner) => size(&inner, by_name, outer),
            kind => scalar(&kind),
        };
    }
    outer.remove(name);
    by_name.insert(name.to_owned(), bytes);
    bytes
}

fn scalar(kind: &Kind) -> usize {
    match kind {
        Kind::String | Kind::Bytes => POINTER_BYTES,
        _ => 8,
    }
}

/// Free data has limits of its own, and is decoded later.
fn is_left_encoded(message: &MessageDescriptor) -> bool {
    matches!(
        message.full_name(),
        "google.protobuf.Struct" | "google.protobuf.Value" | "google.protobuf.ListValue"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::v1::{
        BasicSyncRequest, Path, PublishWorkflowRequest, SingleStep, StepDefinition, StepEntry, Workflow,
    };

    /// With so many entries.
    fn sync(entries: usize, entry: &StepEntry) -> (usize, Vec<u8>) {
        let sync =
            BasicSyncRequest { completed_steps: vec![entry.clone(); entries], ..BasicSyncRequest::default() };
        let encoded = sync.encode_to_vec();
        (SIZES.decoded(&BasicSyncRequest::full_name(), &encoded), encoded)
    }

    #[test]
    fn an_entry_counts_with_what_it_takes_in_memory() {
        let (none, _) = sync(0, &StepEntry::default());
        let (two, _) = sync(2, &StepEntry::default());
        let entry = size_of::<StepEntry>();
        let told = (two - none) / 2;
        assert!((entry / 2..=entry * 2).contains(&told), "{told} of {entry}");
    }

    #[test]
    fn what_lies_deeper_counts_as_well() {
        let told = |steps: Vec<StepDefinition>| {
            let workflow = Some(Workflow { steps, ..Workflow::default() });
            let request = PublishWorkflowRequest { workflow, ..PublishWorkflowRequest::default() };
            SIZES.decoded(&PublishWorkflowRequest::full_name(), &request.encode_to_vec())
        };
        let paths = vec![Path::default(); 100];
        let step = told(vec![StepDefinition { paths, ..StepDefinition::default() }]);
        let no_step = told(Vec::new());
        let least = size_of::<StepDefinition>() + 100 * size_of::<Path>();
        assert!(step - no_step >= least / 2, "{} of {least}", step - no_step);
    }

    #[test]
    fn what_is_cut_off_counts_as_far_as_it_goes() {
        let entry = StepEntry { single_step: Some(SingleStep::default()), report_step: None };
        let (whole, encoded) = sync(3, &entry);
        let mut before = 0;
        for end in 0..=encoded.len() {
            let counted = SIZES.decoded(&BasicSyncRequest::full_name(), &encoded[..end]);
            assert!((before..=whole).contains(&counted), "{end}");
            before = counted;
        }
        assert_eq!(before, whole);
    }
}
