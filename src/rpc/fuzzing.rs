//! Requests and tokens, from bytes of any kind, as far as they get without a store.

mod patch;
mod request;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use prost::Message;

pub use self::{patch::patches, request::requests};
use super::{token, watch};
use crate::proto::storage::v1::{PageToken, ResumeToken};

/// A token that is taken is one that we would make; and whatever we make is read back.
///
/// # Panics
/// Where that does not hold.
pub fn tokens(bytes: &[u8]) {
    if let Ok(text) = std::str::from_utf8(bytes) {
        sent::<PageToken>(text);
        sent::<ResumeToken>(text);
    }
    if let Some(token) = made::<PageToken>(bytes) {
        assert_eq!(token::open_page(&token::seal(&token), &token.scope).ok().flatten(), Some(token));
    }
    if let Some(token) = made::<ResumeToken>(bytes) {
        watch::fuzz(token);
    }
}

/// A token that a client sends.
fn sent<M: Message + Default + PartialEq>(text: &str) {
    if let Some(content) = token::open::<M>(text) {
        let bytes = URL_SAFE_NO_PAD.decode(text).expect("it was just read");
        assert_eq!(URL_SAFE_NO_PAD.encode(bytes), text, "another text for the same token");
        assert!(token::open::<M>(&token::seal(&content)) == Some(content));
    }
}

/// A token that a client made for itself, with a checksum that is right; none where it is too long.
fn made<M: Message + Default + PartialEq>(bytes: &[u8]) -> Option<M> {
    let content = M::decode(bytes).ok()?;
    let opened = token::open::<M>(&token::seal(&content))?;
    assert!(opened == content);
    Some(opened)
}
