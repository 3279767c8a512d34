//! The XML form of a lifecycle: read with AWS's checks and messages, and written again.
//!
//! Invariants: a document is taken whole or not at all; what is not known is refused. Nothing is ever
//! moved to another storage class, so transitions are refused with the code of S3-like stores that have
//! none: accepted and not carried out, they would be a lie.

use super::{Expiration, Filter, FilterForm, Lifecycle, NoncurrentExpiration, Rule};
use crate::dates;
use crate::error::{Code, Result, S3Error};
use crate::limits::{
    KEY_BYTES_MAX, LIFECYCLE_ID_BYTES_MAX, LIFECYCLE_NEWER_VERSIONS_MAX, LIFECYCLE_RULES_MAX,
    TAG_KEY_CHARACTERS_MAX, TAG_VALUE_CHARACTERS_MAX,
};
use crate::xml::reader::malformed;
use crate::xml::{Element, Writer};
use std::collections::HashSet;
use std::str::FromStr;

const SECONDS_PER_DAY: i64 = 86_400;

fn invalid_argument(message: impl Into<std::borrow::Cow<'static, str>>) -> S3Error {
    S3Error::new(Code::InvalidArgument, message)
}

fn invalid_request(message: &'static str) -> S3Error {
    S3Error::new(Code::InvalidRequest, message)
}

/// Reads a document. `make_id` names the rules that have no name.
pub fn parse(document: &[u8], mut make_id: impl FnMut() -> String) -> Result<Lifecycle> {
    let root = Element::parse(document, "LifecycleConfiguration")?;
    let elements = root.children();
    if elements.is_empty() || elements.iter().any(|child| child.name() != "Rule") {
        return Err(malformed());
    }
    if elements.len() > LIFECYCLE_RULES_MAX {
        return Err(invalid_request(
            "The number of lifecycle rules must not exceed the allowed limit of 1000 rules",
        ));
    }
    let rules =
        elements.iter().map(|rule| parse_rule(rule, &mut make_id)).collect::<Result<Vec<_>>>()?;
    check_together(&rules)?;
    Ok(Lifecycle { rules })
}

fn check_together(rules: &[Rule]) -> Result<()> {
    let mut ids = HashSet::new();
    if !rules.iter().all(|rule| ids.insert(rule.id.as_str())) {
        return Err(invalid_argument(
            "Rule ID must be unique. Found same ID for more than one rule",
        ));
    }
    let old_forms = rules.iter().filter(|rule| rule.filter.form == FilterForm::RulePrefix).count();
    if old_forms > 0 && old_forms < rules.len() {
        return Err(invalid_request(
            "Base level prefix cannot be used in Lifecycle V2, prefixes are only supported in the Filter.",
        ));
    }
    Ok(())
}

fn parse_rule(rule: &Element, make_id: &mut impl FnMut() -> String) -> Result<Rule> {
    let known = [
        "ID",
        "Prefix",
        "Filter",
        "Status",
        "Expiration",
        "NoncurrentVersionExpiration",
        "AbortIncompleteMultipartUpload",
    ];
    let transitions = ["Transition", "NoncurrentVersionTransition"];
    if rule.children().iter().any(|child| transitions.contains(&child.name())) {
        return Err(S3Error::new(
            Code::NotSupported,
            "The specified lifecycle configuration feature is not supported.",
        ));
    }
    check_children(rule, &known)?;
    let is_enabled = match rule.required("Status")?.trim() {
        "Enabled" => true,
        "Disabled" => false,
        _ => return Err(malformed()),
    };
    let id = match rule.child_text("ID") {
        Some(id) if !id.is_empty() => id.to_owned(),
        _ => make_id(),
    };
    if id.len() > LIFECYCLE_ID_BYTES_MAX {
        return Err(invalid_argument("ID length should not exceed allowed limit of 255"));
    }
    let filter = match (rule.child("Filter"), rule.child_text("Prefix")) {
        (Some(filter), None) => parse_filter(filter)?,
        (None, Some(prefix)) => Filter {
            form: FilterForm::RulePrefix,
            prefix: Some(checked_prefix(prefix)?),
            tags: Vec::new(),
            size_greater_than: None,
            size_less_than: None,
        },
        _ => return Err(malformed()),
    };
    let rule = Rule {
        id,
        is_enabled,
        filter,
        expiration: rule.child("Expiration").map(parse_expiration).transpose()?,
        noncurrent: rule.child("NoncurrentVersionExpiration").map(parse_noncurrent).transpose()?,
        abort_days: rule.child("AbortIncompleteMultipartUpload").map(parse_abort).transpose()?,
    };
    check_rule(&rule)?;
    Ok(rule)
}

/// What a rule must not combine.
fn check_rule(rule: &Rule) -> Result<()> {
    let filter = &rule.filter;
    let has_sizes = filter.size_greater_than.is_some() || filter.size_less_than.is_some();
    if rule.expiration.is_none() && rule.noncurrent.is_none() && rule.abort_days.is_none() {
        return Err(invalid_request("At least one action needs to be specified in a rule"));
    }
    if rule.abort_days.is_some() && !filter.tags.is_empty() {
        return Err(invalid_request(
            "AbortIncompleteMultipartUpload cannot be specified with Tags.",
        ));
    }
    if rule.abort_days.is_some() && has_sizes {
        return Err(invalid_request(
            "AbortIncompleteMultipartUpload cannot be specified with Object Size.",
        ));
    }
    let is_of_markers = matches!(rule.expiration, Some(Expiration::DeleteMarkers(_)));
    if is_of_markers && !filter.tags.is_empty() {
        return Err(invalid_request("ExpiredObjectDeleteMarker cannot be specified with Tags."));
    }
    if is_of_markers && has_sizes {
        return Err(invalid_request(
            "ExpiredObjectDeleteMarker cannot be specified with Object Size.",
        ));
    }
    let newer_versions = rule.noncurrent.and_then(|noncurrent| noncurrent.newer_versions);
    if newer_versions.is_some() && filter.form == FilterForm::RulePrefix {
        return Err(invalid_request("NewerNoncurrentVersions can only be used with a Filter."));
    }
    Ok(())
}

fn parse_filter(filter: &Element) -> Result<Filter> {
    let (holder, form) = match filter.children() {
        [and] if and.name() == "And" => (and, FilterForm::And),
        children if children.len() <= 1 => (filter, FilterForm::Single),
        _ => return Err(malformed()),
    };
    check_children(holder, &["Prefix", "Tag", "ObjectSizeGreaterThan", "ObjectSizeLessThan"])?;
    if form == FilterForm::And && holder.children().is_empty() {
        return Err(malformed());
    }
    let tags = holder.all("Tag").map(parse_tag).collect::<Result<Vec<_>>>()?;
    let mut keys = HashSet::new();
    if !tags.iter().all(|(key, _)| keys.insert(key.as_str())) {
        return Err(invalid_request("Duplicate Tag Keys are not allowed."));
    }
    let size = |name| holder.child_text(name).map(number::<u64>).transpose();
    let (greater, less) = (size("ObjectSizeGreaterThan")?, size("ObjectSizeLessThan")?);
    if let (Some(greater), Some(less)) = (greater, less)
        && less <= greater
    {
        return Err(invalid_request(
            "'ObjectSizeLessThan' has to be a value greater than 'ObjectSizeGreaterThan'.",
        ));
    }
    Ok(Filter {
        form,
        prefix: holder.child_text("Prefix").map(checked_prefix).transpose()?,
        tags,
        size_greater_than: greater,
        size_less_than: less,
    })
}

fn checked_prefix(prefix: &str) -> Result<String> {
    if prefix.len() > KEY_BYTES_MAX {
        return Err(invalid_request("The maximum size of a prefix is 1024."));
    }
    Ok(prefix.to_owned())
}

fn parse_tag(tag: &Element) -> Result<(String, String)> {
    check_children(tag, &["Key", "Value"])?;
    let (key, value) = (tag.required("Key")?, tag.required("Value")?);
    if key.is_empty() || key.chars().count() > TAG_KEY_CHARACTERS_MAX {
        return Err(S3Error::new(Code::InvalidTag, "The TagKey you have provided is invalid"));
    }
    if value.chars().count() > TAG_VALUE_CHARACTERS_MAX {
        return Err(S3Error::new(Code::InvalidTag, "The TagValue you have provided is invalid"));
    }
    Ok((key.to_owned(), value.to_owned()))
}

fn parse_expiration(expiration: &Element) -> Result<Expiration> {
    check_children(expiration, &["Days", "Date", "ExpiredObjectDeleteMarker"])?;
    let [action] = expiration.children() else { return Err(malformed()) };
    match action.name() {
        "Days" => days(action.text(), "Days", "Expiration").map(Expiration::Days),
        "Date" => parse_date(action.text().trim()).map(Expiration::Date),
        _ => match action.text().trim() {
            "true" => Ok(Expiration::DeleteMarkers(true)),
            "false" => Ok(Expiration::DeleteMarkers(false)),
            _ => Err(malformed()),
        },
    }
}

/// `2026-04-04T00:00:00Z`, or the day alone.
fn parse_date(text: &str) -> Result<i64> {
    let day = || text.parse::<jiff::civil::Date>().ok()?.to_zoned(jiff::tz::TimeZone::UTC).ok();
    let seconds = match text.parse::<jiff::Timestamp>() {
        Ok(time) if time.subsec_nanosecond() != 0 => {
            return Err(invalid_argument("'Date' must be at midnight GMT"));
        }
        Ok(time) => time.as_second(),
        Err(_) => day().ok_or_else(malformed)?.timestamp().as_second(),
    };
    if seconds.rem_euclid(SECONDS_PER_DAY) != 0 {
        return Err(invalid_argument("'Date' must be at midnight GMT"));
    }
    Ok(seconds)
}

fn parse_noncurrent(element: &Element) -> Result<NoncurrentExpiration> {
    check_children(element, &["NoncurrentDays", "NewerNoncurrentVersions"])?;
    let action = "NoncurrentVersionExpiration";
    let days = days(element.required("NoncurrentDays")?, "NoncurrentDays", action)?;
    let newer_versions = element
        .child_text("NewerNoncurrentVersions")
        .map(|text| self::days(text, "NewerNoncurrentVersions", action))
        .transpose()?;
    if newer_versions.is_some_and(|count| count > LIFECYCLE_NEWER_VERSIONS_MAX) {
        return Err(invalid_argument(
            "'NewerNoncurrentVersions' for NoncurrentVersionExpiration action must not exceed 100",
        ));
    }
    Ok(NoncurrentExpiration { days, newer_versions })
}

fn parse_abort(element: &Element) -> Result<u32> {
    check_children(element, &["DaysAfterInitiation"])?;
    let text = element.required("DaysAfterInitiation")?;
    days(text, "DaysAfterInitiation", "AbortIncompleteMultipartUpload")
}

/// A number of days or versions: positive, and within what the schema calls an integer.
fn days(text: &str, name: &str, action: &str) -> Result<u32> {
    let days: i32 = number(text)?;
    u32::try_from(days).ok().filter(|days| *days > 0).ok_or_else(|| {
        invalid_argument(format!("'{name}' for {action} action must be a positive integer"))
    })
}

fn number<T: FromStr>(text: &str) -> Result<T> {
    text.trim().parse().map_err(|_| malformed())
}

/// Only these children, and all but tags at most once.
fn check_children(element: &Element, known: &[&str]) -> Result<()> {
    let mut seen = HashSet::new();
    let is_fine = |child: &Element| {
        known.contains(&child.name())
            && (seen.insert(child.name().to_owned()) || child.name() == "Tag")
    };
    if element.children().iter().all(is_fine) { Ok(()) } else { Err(malformed()) }
}

/// The document as GetBucketLifecycleConfiguration answers it.
pub fn write(lifecycle: &Lifecycle) -> Vec<u8> {
    Writer::document("LifecycleConfiguration", |writer| {
        for rule in &lifecycle.rules {
            writer.element("Rule", |writer| write_rule(writer, rule));
        }
    })
}

fn write_rule(writer: &mut Writer, rule: &Rule) {
    writer.text("ID", &rule.id);
    match rule.filter.form {
        FilterForm::RulePrefix => write_predicates(writer, &rule.filter),
        FilterForm::Single => {
            writer.element("Filter", |writer| write_predicates(writer, &rule.filter));
        }
        FilterForm::And => writer.element("Filter", |writer| {
            writer.element("And", |writer| write_predicates(writer, &rule.filter));
        }),
    }
    writer.text("Status", if rule.is_enabled { "Enabled" } else { "Disabled" });
    if let Some(expiration) = rule.expiration {
        writer.element("Expiration", |writer| match expiration {
            Expiration::Days(days) => writer.value("Days", days),
            Expiration::Date(date) => writer.text("Date", &dates::iso_time(date)),
            Expiration::DeleteMarkers(is_on) => writer.value("ExpiredObjectDeleteMarker", is_on),
        });
    }
    if let Some(noncurrent) = rule.noncurrent {
        writer.element("NoncurrentVersionExpiration", |writer| {
            writer.value("NoncurrentDays", noncurrent.days);
            if let Some(count) = noncurrent.newer_versions {
                writer.value("NewerNoncurrentVersions", count);
            }
        });
    }
    if let Some(days) = rule.abort_days {
        writer.element("AbortIncompleteMultipartUpload", |writer| {
            writer.value("DaysAfterInitiation", days);
        });
    }
}

fn write_predicates(writer: &mut Writer, filter: &Filter) {
    writer.optional("Prefix", filter.prefix.as_deref());
    for (key, value) in &filter.tags {
        writer.element("Tag", |writer| {
            writer.text("Key", key);
            writer.text("Value", value);
        });
    }
    if let Some(size) = filter.size_greater_than {
        writer.value("ObjectSizeGreaterThan", size);
    }
    if let Some(size) = filter.size_less_than {
        writer.value("ObjectSizeLessThan", size);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    const EXPIRE: &str = "<Expiration><Days>1</Days></Expiration>";
    const ABORT: &str = "<AbortIncompleteMultipartUpload><DaysAfterInitiation>7\
                         </DaysAfterInitiation></AbortIncompleteMultipartUpload>";

    fn parse(rules: &str) -> Result<Lifecycle> {
        let document = format!("<LifecycleConfiguration>{rules}</LifecycleConfiguration>");
        super::parse(document.as_bytes(), || "made".to_owned())
    }

    fn rule(content: &str) -> String {
        format!("<Rule><ID>r</ID><Status>Enabled</Status>{content}</Rule>")
    }

    /// What is read is written again in the same words.
    fn check(filter: &str, actions: &str) {
        let rule = format!("<Rule><ID>r</ID>{filter}<Status>Disabled</Status>{actions}</Rule>");
        let lifecycle = parse(&rule).unwrap();
        let written = String::from_utf8(write(&lifecycle)).unwrap();
        let written = written.replace("<Prefix/>", "<Prefix></Prefix>");
        assert!(written.contains(&rule), "{rule}\n{written}");
        let json = serde_json::to_vec(&lifecycle).unwrap();
        assert_eq!(serde_json::from_slice::<Lifecycle>(&json).unwrap(), lifecycle);
    }

    #[test]
    fn documents_come_back_in_the_form_in_which_they_were_given() {
        check("<Prefix>logs/</Prefix>", EXPIRE);
        check("<Filter></Filter>", EXPIRE);
        check("<Filter><Prefix></Prefix></Filter>", ABORT);
        check("<Filter><Prefix>a&amp;b</Prefix></Filter>", EXPIRE);
        check("<Filter><Tag><Key>k</Key><Value></Value></Tag></Filter>", EXPIRE);
        check("<Filter><ObjectSizeGreaterThan>0</ObjectSizeGreaterThan></Filter>", EXPIRE);
        check("<Filter><ObjectSizeLessThan>9000000000</ObjectSizeLessThan></Filter>", EXPIRE);
        let and = "<Filter><And><Prefix>p</Prefix><Tag><Key>k</Key><Value>v</Value></Tag>\
                   <Tag><Key>l</Key><Value>w</Value></Tag>\
                   <ObjectSizeGreaterThan>1</ObjectSizeGreaterThan>\
                   <ObjectSizeLessThan>2</ObjectSizeLessThan></And></Filter>";
        check(and, EXPIRE);
        let date = "<Expiration><Date>2026-04-04T00:00:00Z</Date></Expiration>";
        check("<Prefix></Prefix>", date);
        let noncurrent = "<NoncurrentVersionExpiration><NoncurrentDays>2</NoncurrentDays>\
                          <NewerNoncurrentVersions>3</NewerNoncurrentVersions>\
                          </NoncurrentVersionExpiration>";
        let markers =
            "<Expiration><ExpiredObjectDeleteMarker>true</ExpiredObjectDeleteMarker></Expiration>";
        check("<Filter></Filter>", &format!("{markers}{noncurrent}{ABORT}"));
    }

    #[test]
    fn a_rule_without_a_name_gets_one_and_dates_need_no_time() {
        let found = parse(
            "<Rule><Prefix/><Status>Enabled</Status><Expiration><Date>2026-04-04</Date>\
             </Expiration></Rule>",
        );
        let rule = &found.unwrap().rules[0];
        assert_eq!(
            (rule.id.as_str(), rule.expiration),
            ("made", Some(Expiration::Date(1_775_260_800)))
        );
    }

    #[track_caller]
    fn refused(rules: &str, code: Code, message: &str) {
        let error = parse(rules).unwrap_err();
        assert_eq!(error.code, code, "{rules}");
        assert!(error.message.contains(message), "{rules}: {}", error.message);
    }

    #[test]
    fn documents_that_the_schema_refuses() {
        for content in [
            EXPIRE,
            "<Filter/><Prefix/><Expiration><Days>1</Days></Expiration>",
            "<Filter/><Expiration/>",
            "<Filter/><Expiration><Days>one</Days></Expiration>",
            "<Filter/><Expiration><Days>99999999999</Days></Expiration>",
            "<Filter/><Expiration><Days>1</Days><Date>2026-04-04T00:00:00Z</Date></Expiration>",
            "<Filter/><Expiration><Days>1</Days><ExpiredObjectDeleteMarker>true\
             </ExpiredObjectDeleteMarker></Expiration>",
            "<Filter/><Expiration><Date>soon</Date></Expiration>",
            "<Filter/><Expiration><ExpiredObjectDeleteMarker>1</ExpiredObjectDeleteMarker></Expiration>",
            "<Filter/><NoncurrentVersionExpiration/>",
            "<Filter/><AbortIncompleteMultipartUpload/>",
            "<Filter/><Status>Enabled</Status><Expiration><Days>1</Days></Expiration>",
            "<Filter/><Surprise/><Expiration><Days>1</Days></Expiration>",
            "<Filter><Prefix/><Prefix/></Filter><Expiration><Days>1</Days></Expiration>",
            "<Filter><Prefix/><ObjectSizeLessThan>1</ObjectSizeLessThan></Filter>\
             <Expiration><Days>1</Days></Expiration>",
            "<Filter><And/></Filter><Expiration><Days>1</Days></Expiration>",
            "<Filter><Tag><Key>k</Key></Tag></Filter><Expiration><Days>1</Days></Expiration>",
        ] {
            refused(&rule(content), Code::MalformedXML, "");
        }
        refused("", Code::MalformedXML, "");
        refused("<Other/>", Code::MalformedXML, "");
        refused(
            &format!("<Rule><Filter/><Status>enabled</Status>{EXPIRE}</Rule>"),
            Code::MalformedXML,
            "",
        );
        assert!(super::parse(b"<Lifecycle/>", String::new).is_err());
    }

    #[test]
    fn documents_that_mean_what_cannot_be() {
        let check = |content: &str, code, message| refused(&rule(content), code, message);
        let zero = "<Filter/><Expiration><Days>0</Days></Expiration>";
        check(
            zero,
            Code::InvalidArgument,
            "'Days' for Expiration action must be a positive integer",
        );
        let negative = "<Filter/><NoncurrentVersionExpiration><NoncurrentDays>-1</NoncurrentDays>\
                        </NoncurrentVersionExpiration>";
        check(negative, Code::InvalidArgument, "'NoncurrentDays' for NoncurrentVersionExpiration");
        let abort = ABORT.replace('7', "0");
        check(&format!("<Filter/>{abort}"), Code::InvalidArgument, "'DaysAfterInitiation' for");
        let noon = "<Filter/><Expiration><Date>2026-04-04T12:00:00Z</Date></Expiration>";
        check(noon, Code::InvalidArgument, "'Date' must be at midnight GMT");
        let fraction = "<Filter/><Expiration><Date>2026-04-04T00:00:00.5Z</Date></Expiration>";
        check(fraction, Code::InvalidArgument, "'Date' must be at midnight GMT");
        check("<Filter/>", Code::InvalidRequest, "At least one action");
        let tag = "<Filter><Tag><Key>k</Key><Value>v</Value></Tag></Filter>";
        check(&format!("{tag}{ABORT}"), Code::InvalidRequest, "cannot be specified with Tags");
        let markers =
            "<Expiration><ExpiredObjectDeleteMarker>true</ExpiredObjectDeleteMarker></Expiration>";
        check(&format!("{tag}{markers}"), Code::InvalidRequest, "cannot be specified with Tags");
        let size = "<Filter><ObjectSizeLessThan>1</ObjectSizeLessThan></Filter>";
        check(&format!("{size}{ABORT}"), Code::InvalidRequest, "Object Size");
        check(&format!("{size}{markers}"), Code::InvalidRequest, "Object Size");
        let sizes = "<Filter><And><ObjectSizeGreaterThan>5</ObjectSizeGreaterThan>\
                     <ObjectSizeLessThan>5</ObjectSizeLessThan></And></Filter>";
        check(&format!("{sizes}{EXPIRE}"), Code::InvalidRequest, "'ObjectSizeLessThan'");
        let twice = "<Filter><And><Tag><Key>k</Key><Value>1</Value></Tag>\
                     <Tag><Key>k</Key><Value>2</Value></Tag></And></Filter>";
        check(&format!("{twice}{EXPIRE}"), Code::InvalidRequest, "Duplicate Tag Keys");
        let nameless = "<Filter><Tag><Key></Key><Value>v</Value></Tag></Filter>";
        check(&format!("{nameless}{EXPIRE}"), Code::InvalidTag, "TagKey");
        let long = format!("<Prefix>{}</Prefix>{EXPIRE}", "p".repeat(1025));
        check(&long, Code::InvalidRequest, "The maximum size of a prefix is 1024");
        let newer = "<NoncurrentVersionExpiration><NoncurrentDays>1</NoncurrentDays>\
                     <NewerNoncurrentVersions>101</NewerNoncurrentVersions>\
                     </NoncurrentVersionExpiration>";
        check(&format!("<Filter/>{newer}"), Code::InvalidArgument, "NewerNoncurrentVersions");
        let newer = newer.replace("101", "1");
        check(&format!("<Prefix/>{newer}"), Code::InvalidRequest, "NewerNoncurrentVersions");
    }

    #[test]
    fn what_is_not_there_is_not_supported() {
        let transition =
            "<Transition><Days>1</Days><StorageClass>GLACIER</StorageClass></Transition>";
        refused(&rule(&format!("<Filter/>{transition}")), Code::NotSupported, "not supported");
        let later = "<NoncurrentVersionTransition><NoncurrentDays>1</NoncurrentDays>\
                     <StorageClass>GLACIER</StorageClass></NoncurrentVersionTransition>";
        refused(&rule(&format!("<Filter/>{EXPIRE}{later}")), Code::NotSupported, "not supported");
    }

    #[test]
    fn rules_are_bounded_and_their_names_unique() {
        let of = |id: usize| {
            format!("<Rule><ID>{id}</ID><Filter/><Status>Enabled</Status>{EXPIRE}</Rule>")
        };
        let many = |count: usize| (0..count).map(of).collect::<String>();
        assert_eq!(parse(&many(1000)).unwrap().rules.len(), 1000);
        refused(&many(1001), Code::InvalidRequest, "1000 rules");
        refused(&(of(1) + &of(1)), Code::InvalidArgument, "Rule ID must be unique");
        let long = rule(&format!("<Filter/>{EXPIRE}"))
            .replace("<ID>r", &format!("<ID>{}", "r".repeat(256)));
        refused(&long, Code::InvalidArgument, "ID length");
        let mixed = of(1) + &of(2).replace("<Filter/>", "<Prefix/>");
        refused(&mixed, Code::InvalidRequest, "Base level prefix");
    }
}
