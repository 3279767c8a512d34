//! GetObjectAttributes.

use super::{Answer, Context, STORAGE_CLASS, encryption, xml_answer};
use crate::attributes::Attributes;
use crate::checksum_headers::{Checksum, element_name};
use crate::conditional::Unquoted;
use crate::dates::{self, HttpDate};
use crate::error::{Result, S3Error};
use crate::limits::LIST_ROWS_MAX;
use crate::xml::Writer;
use engine::platform::Platform;
use engine::{ObjectInfo, PartInfo};

const HEADER: &str = "x-amz-object-attributes";
const MAX_PARTS: &str = "x-amz-max-parts";
const MARKER: &str = "x-amz-part-number-marker";

pub(super) async fn get_object_attributes<P: Platform>(
    context: &Context<'_, P>,
) -> Result<Answer<P>> {
    let bucket = context.bucket_of_object()?;
    context.which()?;
    let values = context.head.header_values(HEADER);
    let wanted = Wanted::parse(values.map(|value| std::str::from_utf8(value).unwrap_or("?")))?;
    let page = Page::parse(|name| context.header(name))?;
    let reader = context.open_record(&bucket).await?;
    let info = reader.info();
    let customer = encryption::customer_key(context)?;
    encryption::of_read(context, bucket.id, context.key(), info, customer, false)?;
    let document = document(info, wanted, page)?;
    let modified = HttpDate(dates::seconds(info.current.version));
    let mut answer = xml_answer(document).with_header_text("Last-Modified", modified);
    context.write_version(&mut answer, &bucket, &info.current)?;
    Ok(answer)
}

fn document(info: &ObjectInfo, wanted: Wanted, page: Page) -> Result<Vec<u8>> {
    let checksum = Attributes::decode(&info.attributes)?.checksum.filter(|_| wanted.checksum);
    let parts = if wanted.object_parts { page.select(info)? } else { Vec::new() };
    Ok(Writer::document("GetObjectAttributesResponse", |writer| {
        if wanted.etag {
            writer.display("ETag", Unquoted(info.current.etag));
        }
        if let Some(checksum) = checksum {
            writer.element("Checksum", |writer| {
                writer.text(element_name(checksum.algorithm), &checksum.text());
                writer.text("ChecksumType", checksum.kind.name());
            });
        }
        if wanted.object_parts && !info.parts.is_empty() {
            writer.element("ObjectParts", |writer| {
                writer.value("PartsCount", info.parts.len());
                page.write(writer, &parts, &info.parts);
            });
        }
        if wanted.storage_class {
            writer.text("StorageClass", STORAGE_CLASS);
        }
        if wanted.object_size {
            writer.value("ObjectSize", info.current.size);
        }
    }))
}

/// What the client asks for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Wanted {
    etag: bool,
    checksum: bool,
    object_parts: bool,
    storage_class: bool,
    object_size: bool,
}

impl Wanted {
    /// From the values of the header, each a list.
    fn parse<'a>(values: impl Iterator<Item = &'a str>) -> Result<Self> {
        let mut wanted = Self::default();
        let names = values.flat_map(|value| value.split(','));
        for name in names.map(str::trim).filter(|name| !name.is_empty()) {
            let flag = match name {
                "ETag" => &mut wanted.etag,
                "Checksum" => &mut wanted.checksum,
                "ObjectParts" => &mut wanted.object_parts,
                "StorageClass" => &mut wanted.storage_class,
                "ObjectSize" => &mut wanted.object_size,
                _ => {
                    let message = "Invalid attribute name specified.";
                    return Err(S3Error::invalid_argument(message, HEADER, name));
                }
            };
            *flag = true;
        }
        if wanted == Self::default() {
            let message = "The x-amz-object-attributes header specifying the attributes to be \
                retrieved is either missing or empty";
            return Err(S3Error::invalid_argument(message, HEADER, ""));
        }
        Ok(wanted)
    }
}

/// A part as it is listed.
struct Row {
    number: u16,
    /// Of the plain bytes.
    size: u64,
    checksum: Option<Checksum>,
}

/// Which of the parts are listed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Page {
    parts_max: usize,
    /// Parts with higher numbers are listed.
    marker: u32,
}

impl Page {
    fn parse<'a>(header: impl Fn(&str) -> Option<&'a str>) -> Result<Self> {
        let number = |name| header(name).map(|text| parse_number(name, text)).transpose();
        let parts_max = number(MAX_PARTS)?.map_or(LIST_ROWS_MAX, |count| count as usize);
        let marker = number(MARKER)?.unwrap_or(0);
        Ok(Self { parts_max: parts_max.min(LIST_ROWS_MAX), marker })
    }

    fn select(self, info: &ObjectInfo) -> Result<Vec<Row>> {
        let behind = info.parts.iter().filter(|part| u32::from(part.number) > self.marker);
        let decode = |part: &PartInfo| {
            let checksum = Attributes::decode(&part.attributes)?.checksum;
            Ok(Row { number: part.number, size: encryption::part_size(info, part)?, checksum })
        };
        behind.take(self.parts_max).map(decode).collect()
    }

    fn write(self, writer: &mut Writer, parts: &[Row], all: &[PartInfo]) {
        let last = parts.last().map(|part| u32::from(part.number));
        let next = last.unwrap_or(self.marker);
        let truncated = all.iter().any(|part| u32::from(part.number) > next);
        writer.value("PartNumberMarker", self.marker);
        writer.value("NextPartNumberMarker", last.unwrap_or(0));
        writer.value("MaxParts", self.parts_max);
        writer.value("IsTruncated", truncated);
        for part in parts {
            writer.element("Part", |writer| {
                writer.value("PartNumber", part.number);
                writer.value("Size", part.size);
                if let Some(checksum) = &part.checksum {
                    writer.text(element_name(checksum.algorithm), &checksum.text());
                }
            });
        }
    }
}

fn parse_number(name: &'static str, text: &str) -> Result<u32> {
    text.parse().ok().filter(|number| *number <= i32::MAX as u32).ok_or_else(|| {
        let message = format!("Argument {name} must be an integer between 0 and 2147483647");
        S3Error::invalid_argument(message, name, text)
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::error::Code;

    #[test]
    fn what_is_wanted_is_named() {
        let parse = |values: &[&'static str]| Wanted::parse(values.iter().copied());
        let all = parse(&["ETag,Checksum, ObjectParts", "StorageClass,ObjectSize"]).unwrap();
        assert!(all.etag && all.checksum && all.object_parts);
        assert!(all.storage_class && all.object_size);
        assert!(!parse(&["ETag"]).unwrap().checksum);
        for values in [[].as_slice(), &[""], &[","], &["etag"], &["ETag,Size"], &["ETag;Checksum"]]
        {
            assert_eq!(parse(values).unwrap_err().code, Code::InvalidArgument, "{values:?}");
        }
    }

    #[test]
    fn pages() {
        let parse = |name: &str, value: &'static str| {
            Page::parse(|asked| (asked == name).then_some(value))
                .map(|page| (page.parts_max, page.marker))
        };
        assert_eq!(parse("other", ""), Ok((1000, 0)));
        assert_eq!(parse(MAX_PARTS, "7"), Ok((7, 0)));
        assert_eq!(parse(MAX_PARTS, "5000"), Ok((1000, 0)));
        assert_eq!(parse(MARKER, "70000"), Ok((1000, 70_000)));
        for text in ["", "-1", "x", "3000000000"] {
            assert_eq!(parse(MAX_PARTS, text).unwrap_err().code, Code::InvalidArgument);
            assert_eq!(parse(MARKER, text).unwrap_err().code, Code::InvalidArgument);
        }
    }
}
