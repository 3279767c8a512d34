//! What a line of the audit log holds.
//!
//! Not here: where the values come from (`record`).

use std::net::IpAddr;

use serde::Serialize;

/// The version of the lines' form: it changes when a field changes its meaning, not when one is added.
const VERSION: u32 = 1;

/// Who made a request.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub(super) struct Who<'a> {
    /// `root`, `user`, `anonymous`; `manager`, who may use the management API; `unknown`: nobody has shown who it
    /// was.
    pub kind: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub access_key: Option<&'a str>,
    /// The canonical id of root or a user; of an API key its own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<&'a str>,
    /// What somebody unknown said of themselves.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub claimed_access_key: Option<&'a str>,
}

/// A request and its answer, but for what is known when the answer has been sent.
#[derive(Debug, Clone, Default, Serialize)]
pub(super) struct Entry<'a> {
    /// When the request came, RFC 3339 with microseconds.
    pub time: String,
    /// Which it came to: `s3` or `management`.
    pub port: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    pub request_id: &'a str,
    /// Of the distributed trace that the client says the request belongs to (W3C Trace Context).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trace_id: Option<&'a str>,
    pub operation: &'a str,
    pub method: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bucket: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub copy_source: Option<&'a str>,
    /// Of a request of the management port that is none of S3's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<&'a str>,
    pub who: Who<'a>,
    /// By whose API key they were vouched for, at the management port.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub manager: Option<Who<'a>>,
    /// Where the signature was: `header`, `query` or `form`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shown_by: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<IpAddr>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub proxy: Option<IpAddr>,
    pub is_secure: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user_agent: Option<&'a str>,
    pub status: u16,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<&'a str>,
    pub bytes_in: u64,
}

/// A line that lacks its end.
#[derive(Debug)]
pub(super) struct Draft(String);

impl Entry<'_> {
    pub(super) fn draft(&self) -> Draft {
        // Texts, numbers and addresses: nothing here can fail.
        let text = serde_json::to_string(self).unwrap_or_default();
        let fields = text.strip_prefix('{').and_then(|text| text.strip_suffix('}'));
        Draft(format!("{{\"v\":{VERSION},{}", fields.unwrap_or_default()))
    }
}

impl Draft {
    /// The whole line. `is_whole`: all of the answer was given out.
    pub(super) fn finish(&self, bytes_out: u64, seconds: f64, is_whole: bool) -> String {
        let Self(text) = self;
        format!(
            "{text},\"bytes_out\":{bytes_out},\"seconds\":{seconds:.6},\"is_whole\":{is_whole}}}\n"
        )
    }
}

/// The line in the place of those that are missing.
pub(super) fn lost(lines: u64) -> String {
    let time = now();
    format!("{{\"v\":{VERSION},\"time\":\"{time}\",\"lost_lines\":{lines}}}\n")
}

/// Now, RFC 3339 with microseconds.
pub(super) fn now() -> String {
    format!("{:.6}", jiff::Timestamp::now())
}
