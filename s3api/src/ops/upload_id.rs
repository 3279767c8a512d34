//! The text form of upload ids: opaque to clients, 16 hex digits to us.

use super::Context;
use crate::error::Result;
use engine::UploadId;
use engine::platform::Platform;

const DIGITS: usize = 16;

pub(crate) fn encode(id: UploadId) -> String {
    format!("{:016x}", id.0)
}

pub(crate) fn decode(text: &str) -> Option<UploadId> {
    let is_digit = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    if text.len() != DIGITS || !text.bytes().all(is_digit) {
        return None;
    }
    u64::from_str_radix(text, 16).ok().map(UploadId)
}

/// The upload that the request names; what is no id names no upload.
pub(super) fn of_request<P: Platform>(context: &Context<'_, P>) -> Result<UploadId> {
    let text = context.query("uploadId").unwrap_or_default();
    decode(text).ok_or_else(|| context.no_such_upload())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_read_back_and_nothing_else_is() {
        for id in [UploadId(0), UploadId(0xfeed), UploadId(u64::MAX)] {
            assert_eq!(decode(&encode(id)), Some(id));
        }
        for text in ["", "1", "+00000000000000f", "000000000000000G", "00000000000000000"] {
            assert_eq!(decode(text), None, "{text}");
        }
    }
}
