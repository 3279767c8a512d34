//! ListObjects and ListObjectsV2.
//!
//! Invariant: a continuation token holds nothing but the last name of its page, so that it survives
//! a restart and needs no memory of the server's.

use super::parameters::{Encoding, behind_marker, name_text, rows};
use super::{Answer, Context, Owner, STORAGE_CLASS, label, xml_answer};
use crate::conditional::Quoted;
use crate::dates;
use crate::error::{Result, S3Error};
use crate::xml::Writer;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use engine::platform::Platform;
use engine::{Bucket, ListItem, ListPage, ListQuery};

pub(super) async fn list_objects<P: Platform>(context: &Context<'_, P>) -> Result<Answer<P>> {
    let bucket = context.bucket()?;
    let request = Request::parse(context)?;
    let marker = context.query("marker").or_else(|| context.query("Marker")).unwrap_or_default();
    let after = behind_marker(marker, request.prefix, request.delimiter);
    let _turn = context.engine.listing_turn().await?;
    let page = request.page(context, &bucket, after).await?;
    let owner = context.owner_of(&bucket)?;

    let encoding = request.encoding;
    let last = last_name(&page)?;
    let document = Writer::document("ListBucketResult", |writer| {
        writer.text("Name", &bucket.name);
        writer.text("Prefix", &encoding.apply(request.prefix));
        writer.text("Marker", &encoding.apply(marker));
        // Without a delimiter the last key is the next marker, as clients know.
        if let (Some(last), true, true) = (last, page.truncated, !request.delimiter.is_empty()) {
            writer.text("NextMarker", &encoding.apply(last));
        }
        request.write_common(writer, &page);
        request.write_rows(writer, &page, Some(&*owner));
    });
    Ok(xml_answer(document))
}

pub(super) async fn list_objects_v2<P: Platform>(context: &Context<'_, P>) -> Result<Answer<P>> {
    let bucket = context.bucket()?;
    let request = Request::parse(context)?;
    let start_after = context.query("start-after");
    let token = context.query("continuation-token");
    // A token carries on where a page ended, so it goes before `start-after`.
    let after = match token {
        Some(token) if !token.is_empty() => decode_token(token)?,
        _ => start_after.unwrap_or_default().to_owned(),
    };
    let _turn = context.engine.listing_turn().await?;
    let page = request.page(context, &bucket, &after).await?;
    let fetch_owner = context.query("fetch-owner") == Some("true");
    let owner = context.owner_of(&bucket)?;

    let last = last_name(&page)?;
    let document = Writer::document("ListBucketResult", |writer| {
        writer.text("Name", &bucket.name);
        writer.text("Prefix", &request.encoding.apply(request.prefix));
        writer.optional("ContinuationToken", token);
        if let (Some(last), true) = (last, page.truncated) {
            writer.text("NextContinuationToken", &encode_token(last));
        }
        if let Some(start_after) = start_after {
            writer.text("StartAfter", &request.encoding.apply(start_after));
        }
        writer.value("KeyCount", page.items.len());
        request.write_common(writer, &page);
        request.write_rows(writer, &page, fetch_owner.then_some(&*owner));
    });
    Ok(xml_answer(document))
}

/// What both versions of the listing ask for.
struct Request<'a> {
    prefix: &'a str,
    delimiter: &'a str,
    limit: usize,
    encoding: Encoding,
}

impl<'a> Request<'a> {
    fn parse<P: Platform>(context: &Context<'a, P>) -> Result<Self> {
        Ok(Self {
            prefix: context.query("prefix").unwrap_or_default(),
            delimiter: context.query("delimiter").unwrap_or_default(),
            // The names of AWS's own paginators are documented as parameters too.
            limit: match context.query("max-keys") {
                None => rows(&context.route.query, "MaxKeys")?,
                Some(_) => rows(&context.route.query, "max-keys")?,
            },
            encoding: Encoding::parse(&context.route.query)?,
        })
    }

    async fn page<P: Platform>(
        &self,
        context: &Context<'_, P>,
        bucket: &Bucket,
        after: &str,
    ) -> Result<ListPage> {
        // Nothing was asked for, and nothing is not truncated.
        if self.limit == 0 {
            return Ok(ListPage::default());
        }
        let query = ListQuery {
            prefix: self.prefix.into(),
            delimiter: self.delimiter.into(),
            after: after.into(),
            limit: self.limit,
        };
        Ok(context.engine.list(bucket.id, &query).await?)
    }

    fn write_common(&self, writer: &mut Writer, page: &ListPage) {
        writer.value("MaxKeys", self.limit);
        if !self.delimiter.is_empty() {
            writer.text("Delimiter", &self.encoding.apply(self.delimiter));
        }
        writer.optional("EncodingType", self.encoding.name());
        writer.value("IsTruncated", page.truncated);
    }

    /// `owner`: the context, where owners are to be shown.
    fn write_rows(&self, writer: &mut Writer, page: &ListPage, owner: Option<&Owner>) {
        for item in &page.items {
            let ListItem::Key { key, current } = item else { continue };
            let Ok(key) = name_text(key) else { continue };
            writer.element("Contents", |writer| {
                writer.text("Key", &self.encoding.apply(key));
                writer.value("LastModified", dates::xml_time(current.version));
                writer.display("ETag", Quoted(current.etag));
                label::write(writer, current.label);
                writer.value("Size", current.size);
                writer.value("StorageClass", STORAGE_CLASS);
                if let Some(owner) = owner {
                    owner.write(writer, "Owner");
                }
            });
        }
        for item in &page.items {
            let ListItem::CommonPrefix(prefix) = item else { continue };
            let Ok(prefix) = name_text(prefix) else { continue };
            writer.element("CommonPrefixes", |writer| {
                writer.text("Prefix", &self.encoding.apply(prefix));
            });
        }
    }
}

fn last_name(page: &ListPage) -> Result<Option<&str>> {
    page.items.last().map(|item| name_text(item.name())).transpose()
}

/// The form of a continuation token.
const TOKEN_VERSION: u8 = 1;

/// A token from which a listing goes on behind `name`.
pub(super) fn encode_token(name: &str) -> String {
    let mut bytes = vec![TOKEN_VERSION];
    bytes.extend_from_slice(name.as_bytes());
    URL_SAFE_NO_PAD.encode(bytes)
}

/// The name behind which a listing goes on.
pub(super) fn decode_token(token: &str) -> Result<String> {
    let bytes = URL_SAFE_NO_PAD.decode(token).ok();
    let name = bytes.as_deref().and_then(|bytes| match bytes.split_first() {
        Some((&TOKEN_VERSION, name)) => String::from_utf8(name.to_vec()).ok(),
        _ => None,
    });
    name.ok_or_else(|| {
        S3Error::invalid_argument(
            "The continuation token provided is incorrect",
            "continuation-token",
            token,
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_hold_any_name_and_refuse_what_is_none() {
        for name in ["", "a", "a/b ü\u{1}", "x/"] {
            assert_eq!(decode_token(&encode_token(name)).as_deref(), Ok(name));
        }
        for token in ["a", "!!!", "AA", "Av8"] {
            assert!(decode_token(token).is_err(), "{token}");
        }
    }
}
