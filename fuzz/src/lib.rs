//! Fuzz targets: what Ringfort reads from strangers and from its disks, with oracles that say more than "it did not
//! panic". `README.md` says how to run them, and what they found.
//!
//! Invariants: a target is a function of its input alone, so that an input that failed once fails again; what it is
//! compared with (`reference`) shares no code with what it tests.
//!
//! Not here: what chooses inputs. That is libFuzzer (`bin/ringfort-fuzz.rs`), or `tests/corpus.rs`.

pub mod chance;
pub mod mutate;
pub mod reader;
pub mod reference;
pub mod targets;

/// A target panics if its oracle does not hold.
pub type Target = fn(&[u8]);

/// Every target, by the name of its directory below `corpus`.
pub const TARGETS: &[(&str, Target)] = &[
    ("http_stream", targets::http_stream::run),
    ("aws_chunked", targets::aws_chunked::unsigned),
    ("aws_chunked_signed", targets::aws_chunked::signed),
    ("disk_headers", targets::disk::headers),
    ("disk_group", targets::disk::group),
    ("disk_chunk", targets::disk::chunk),
    ("disk_rows", targets::disk::rows),
    ("disk_leaves", targets::leaves::run),
    ("sigv4_header", targets::signatures::header),
    ("sigv4_query", targets::signatures::query),
    ("form", targets::forms::form),
    ("post_policy", targets::forms::policy),
    ("xml_tree", targets::xml::tree),
    ("xml_documents", targets::xml::documents),
    ("policy_text", targets::policy::text),
    ("policy_verdict", targets::policy::verdict),
    ("ranges", targets::range::ranges),
    ("conditions", targets::range::conditions),
    ("routes", targets::routes::routes),
    ("copy_source", targets::routes::copy_source),
    ("sse_envelope", targets::stored::envelope),
    ("backup_list", targets::stored::backup_list),
    ("store", targets::store::run),
];

/// The target of a name.
pub fn target(name: &str) -> Option<Target> {
    TARGETS.iter().find(|(known, _)| *known == name).map(|(_, target)| *target)
}
