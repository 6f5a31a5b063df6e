//! Free data, left encoded.

use std::fmt;

use bytes::{Buf, BufMut, Bytes};
use prost::{
    DecodeError, Message,
    encoding::{self, DecodeContext, WireType},
};
use prost_types::{Struct, Value, value::Kind};

/// `google.protobuf.Struct` with its members left encoded.
///
/// Free data is carried along and seldom looked into: this is copied as one piece, and compared as bytes. What is made of
/// a `Struct` is in canonical form, so that equal data have equal bytes: members in the order of their names, and zeros without
/// a sign. What a client sends is brought into it before anything is decided.
#[derive(Clone, Default, PartialEq, Eq, Hash)]
pub struct Document(Vec<u8>);

/// The number of `google.protobuf.Struct.fields`.
const FIELDS: u32 = 1;

impl Document {
    /// Whether it has no members.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The members, decoded.
    ///
    /// # Errors
    /// When a client sent what is none.
    pub fn decoded(&self) -> Result<Struct, DecodeError> {
        Struct::decode(&*self.0)
    }

    /// The members of what was made of a `Struct`, which can be decoded; of anything else, none.
    #[must_use]
    pub fn members(&self) -> Struct {
        self.decoded().unwrap_or_default()
    }
}

impl From<Struct> for Document {
    fn from(mut members: Struct) -> Self {
        members.fields.values_mut().for_each(unsign_zeros);
        Self(members.encode_to_vec())
    }
}

impl fmt::Debug for Document {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.decoded() {
            Ok(members) => f.debug_map().entries(members.fields).finish(),
            Err(_) => write!(f, "{}", self.0.escape_ascii()),
        }
    }
}

impl Message for Document {
    fn encode_raw(&self, buffer: &mut impl BufMut) {
        buffer.put_slice(&self.0);
    }

    fn merge_field(
        &mut self,
        tag: u32,
        wire_type: WireType,
        buffer: &mut impl Buf,
        context: DecodeContext,
    ) -> Result<(), DecodeError> {
        if tag != FIELDS {
            return encoding::skip_field(wire_type, tag, buffer, context);
        }
        let mut member = Bytes::new();
        encoding::bytes::merge(wire_type, &mut member, buffer, context)?;
        encoding::bytes::encode(FIELDS, &member, &mut self.0);
        Ok(())
    }

    fn encoded_len(&self) -> usize {
        self.0.len()
    }

    fn clear(&mut self) {
        self.0.clear();
    }
}

/// Takes the signs off zeros. Two zeros are equal and differ in their bytes.
pub fn unsign_zeros(value: &mut Value) {
    match &mut value.kind {
        Some(Kind::NumberValue(number)) if *number == 0.0 => *number = 0.0,
        Some(Kind::ListValue(list)) => list.values.iter_mut().for_each(unsign_zeros),
        Some(Kind::StructValue(members)) => members.fields.values_mut().for_each(unsign_zeros),
        None
        | Some(Kind::NullValue(_) | Kind::NumberValue(_) | Kind::StringValue(_) | Kind::BoolValue(_)) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn members() -> Struct {
        let list = prost_types::ListValue { values: vec![Value::from(-0.0), Value::from(true)] };
        let inner = Struct { fields: [("zero".to_owned(), Value::from(-0.0))].into() };
        let kinds = [
            ("b", Kind::NumberValue(1.5)),
            ("a", Kind::StringValue("text".to_owned())),
            ("list", Kind::ListValue(list)),
            ("inner", Kind::StructValue(inner)),
            ("null", Kind::NullValue(0)),
        ];
        Struct { fields: kinds.map(|(name, kind)| (name.to_owned(), Value { kind: Some(kind) })).into() }
    }

    #[test]
    fn it_is_on_the_wire_what_a_struct_is() {
        let document = Document::from(members());
        let bytes = document.encode_to_vec();
        assert_eq!(document.encoded_len(), bytes.len());
        assert_eq!(Struct::decode(&*bytes), Ok(members()));
        assert_eq!(Document::decode(&*members().encode_to_vec()).unwrap().members(), members());
        assert_eq!(Document::decode(&*bytes), Ok(document));
    }

    #[test]
    fn zeros_have_no_sign_and_unknown_fields_are_dropped() {
        let mut bytes = Document::from(members()).encode_to_vec();
        let signed = (-0.0_f64).to_le_bytes();
        assert!(!bytes.windows(signed.len()).any(|window| window == signed));
        let expected = Document::decode(&*bytes);
        encoding::string::encode(9, &"of a later version".to_owned(), &mut bytes);
        assert_eq!(Document::decode(&*bytes), expected);
    }

    #[test]
    fn what_is_no_struct_is_told() {
        let mut bytes = Vec::new();
        encoding::bytes::encode(FIELDS, &vec![0xff], &mut bytes);
        let document = Document::decode(&*bytes).unwrap();
        assert!(document.decoded().is_err());
        assert_eq!(format!("{document:?}"), "\\n\\x01\\xff");
        assert!(Document::decode(&bytes[..2]).is_err(), "it is cut");
    }
}
