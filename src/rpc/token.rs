//! Opaque tokens: what is in them, checksummed, as text that is safe in a URL.
//!
//! The checksum finds damage, not forgery: a token gives nobody anything that its bearer could not ask for.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use prost::Message;
use sha2::{Digest, Sha256};
use tonic::Status;

use super::status;
use crate::proto::storage::v1::PageToken;

const CHECKSUM_BYTES: usize = 8;
const TEXT_BYTES_MAX: usize = 4096;

/// Makes a token.
pub(super) fn seal(content: &impl Message) -> String {
    let mut bytes = content.encode_to_vec();
    let checksum = checksum(&bytes);
    bytes.extend_from_slice(&checksum);
    URL_SAFE_NO_PAD.encode(bytes)
}

/// Reads a token. `None`: it is damaged, or never was one.
pub(super) fn open<M: Message + Default>(token: &str) -> Option<M> {
    if token.len() > TEXT_BYTES_MAX {
        return None;
    }
    let bytes = URL_SAFE_NO_PAD.decode(token).ok()?;
    let (content, found) = bytes.split_last_chunk::<CHECKSUM_BYTES>()?;
    if checksum(content) != *found {
        return None;
    }
    M::decode(content).ok()
}

/// Reads the page token of a request, if it has one.
///
/// # Errors
/// INVALID_ARGUMENT where it is damaged, or was made for another request than the one whose scope this is.
pub(super) fn open_page(token: &str, scope: &[u8]) -> Result<Option<PageToken>, Status> {
    if token.is_empty() {
        return Ok(None);
    }
    let opened = open::<PageToken>(token).filter(|opened| opened.scope == scope);
    opened.map(Some).ok_or_else(status::page_token_invalid)
}

/// A hash of what a token is bound to, part by part.
pub(super) fn scope(parts: &[&[u8]]) -> Vec<u8> {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    hash.finalize()[..16].to_vec()
}

fn checksum(bytes: &[u8]) -> [u8; CHECKSUM_BYTES] {
    let hash: [u8; 32] = Sha256::digest(bytes).into();
    let (short, _) = hash.split_first_chunk().expect("8 of 32 bytes");
    *short
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_read_back_and_any_damage_is_found() {
        let content = PageToken { id: "job".to_owned(), revision: 7, ..PageToken::default() };
        let token = seal(&content);
        assert_eq!(open::<PageToken>(&token), Some(content));
        for at in 0..token.len() {
            for letter in ['A', 'z', '!', 'é'] {
                let damaged: String =
                    token.chars().enumerate().map(|(i, c)| if i == at { letter } else { c }).collect();
                assert!(damaged == token || open::<PageToken>(&damaged).is_none(), "{damaged}");
            }
            assert_eq!(open::<PageToken>(&token[..at]), None);
        }
        assert_eq!(open::<PageToken>(&"A".repeat(TEXT_BYTES_MAX + 1)), None);
    }
}
