//! The ledger of a crash test: what was asked of the server, and what it acknowledged.
//!
//! A text file, one line per event, fields separated by a space:
//!
//! ```text
//! ringfort-ledger 1 BUCKET          the first line
//! put VERSION SIZE KEY              before the request is sent
//! delete VERSION KEY
//! ack VERSION ETAG KEY              after its answer; ETAG is - when there is none
//! refused VERSION KEY               certainly not carried out
//! ```
//!
//! A write without `ack` or `refused` may have been carried out or not: both are right.
//!
//! **Invariant:** every line is handed to the kernel by one write(2) before the next request of that
//! key is sent, so the ledger survives the death of this process and of the server.
//!
//! Deliberately absent: syncing the file. The ledger does not survive the loss of the machine that
//! writes it; keep it on another one when testing power loss.

use crate::error::{Error, Result};
use crate::limits;
use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::path::Path;

const MAGIC: &str = "ringfort-ledger 1 ";

/// Appends events. Several may be open on one file: each line is one write in append mode.
#[derive(Debug)]
pub struct LedgerWriter {
    file: File,
    line: Vec<u8>,
}

impl LedgerWriter {
    /// Opens or creates the ledger. A last line that was cut short is removed.
    pub fn open(path: &Path, bucket: &str) -> Result<Self> {
        let context = |source| Error::io(path.display().to_string(), source);
        let mut options = OpenOptions::new();
        let mut file = options.read(true).append(true).create(true).open(path).map_err(context)?;
        let length = whole_lines(&mut file).map_err(context)?;
        file.set_len(length).map_err(context)?;
        if length == 0 {
            file.write_all(format!("{MAGIC}{bucket}\n").as_bytes()).map_err(context)?;
        } else if read_bucket(path)? != bucket {
            return Err(Error::Usage(format!("{} belongs to another bucket", path.display())));
        }
        Ok(Self { file, line: Vec::with_capacity(limits::LEDGER_LINE_BYTES_MAX) })
    }

    pub fn put(&mut self, version: u64, size: u64, key: &str) -> Result<()> {
        self.append(format_args!("put {version} {size} {key}\n"))
    }

    pub fn delete(&mut self, version: u64, key: &str) -> Result<()> {
        self.append(format_args!("delete {version} {key}\n"))
    }

    /// `etag`: as the server sent it; empty if it sent none.
    pub fn acknowledged(&mut self, version: u64, etag: &[u8], key: &str) -> Result<()> {
        let plain = !etag.is_empty() && etag.iter().all(u8::is_ascii_graphic);
        let etag = if plain { std::str::from_utf8(etag).unwrap_or("-") } else { "-" };
        self.append(format_args!("ack {version} {etag} {key}\n"))
    }

    pub fn refused(&mut self, version: u64, key: &str) -> Result<()> {
        self.append(format_args!("refused {version} {key}\n"))
    }

    fn append(&mut self, line: std::fmt::Arguments<'_>) -> Result<()> {
        self.line.clear();
        self.line.write_fmt(line).expect("writing to a Vec cannot fail");
        self.file
            .write_all(&self.line)
            .map_err(|source| Error::io("appending to the ledger", source))
    }
}

/// What a ledger says of one key.
#[derive(Debug, Default)]
pub struct KeyRecord {
    /// The last acknowledged write.
    pub settled: Option<Event>,
    /// Writes begun after it whose outcome is unknown.
    pub maybes: Vec<Event>,
    /// The version of the first write in this ledger.
    pub first_version: u64,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    pub version: u64,
    /// `None`: a DELETE.
    pub size: Option<u64>,
    /// Known when the write was acknowledged with one.
    pub etag: Option<String>,
}

impl KeyRecord {
    fn begin(&mut self, version: u64, size: Option<u64>) -> std::result::Result<(), &'static str> {
        if self.maybes.len() >= limits::LEDGER_MAYBES_MAX {
            return Err("too many writes of unknown outcome of one key");
        }
        if self.first_version == 0 {
            self.first_version = version;
        }
        self.maybes.push(Event { version, size, etag: None });
        Ok(())
    }

    /// An acknowledged write settles the key: what was begun before it has taken place before it, if
    /// at all.
    fn acknowledge(&mut self, version: u64, etag: &str) -> std::result::Result<(), &'static str> {
        let place = self.maybes.iter().position(|event| event.version == version);
        let mut event = self.maybes.remove(place.ok_or("acknowledges what was not begun")?);
        event.etag = (etag != "-").then(|| etag.to_owned());
        self.maybes.retain(|maybe| maybe.version > version);
        self.settled = Some(event);
        Ok(())
    }

    /// All states that a read may find, the settled one first.
    pub fn acceptable(&self) -> impl Iterator<Item = &Event> {
        self.settled.iter().chain(&self.maybes)
    }

    /// Whether a read may find nothing.
    pub fn may_be_absent(&self) -> bool {
        self.settled.is_none() || self.acceptable().any(|event| event.size.is_none())
    }
}

/// A ledger read back: the bucket, and every key's record, in the order of the keys.
#[derive(Debug)]
pub struct Ledger {
    pub bucket: String,
    pub keys: Vec<(String, KeyRecord)>,
}

impl Ledger {
    pub fn read(path: &Path) -> Result<Self> {
        let file =
            File::open(path).map_err(|source| Error::io(path.display().to_string(), source))?;
        Self::parse(BufReader::new(file))
    }

    /// A last line without its end was being written when the writer died: it is passed over.
    fn parse(mut lines: impl BufRead) -> Result<Self> {
        let mut keys: HashMap<String, KeyRecord> = HashMap::new();
        let (mut bucket, mut line) = (None, String::new());
        for number in 1.. {
            line.clear();
            let mut bounded = lines.by_ref().take(limits::LEDGER_LINE_BYTES_MAX as u64);
            bounded
                .read_line(&mut line)
                .map_err(|source| Error::io("reading the ledger", source))?;
            let Some(text) = line.strip_suffix('\n') else {
                if line.len() < limits::LEDGER_LINE_BYTES_MAX {
                    break;
                }
                return Err(Error::Ledger { line: number, reason: "too long" });
            };
            let failed = |reason| Error::Ledger { line: number, reason };
            if bucket.is_none() {
                bucket = Some(
                    text.strip_prefix(MAGIC).ok_or_else(|| failed("not a ledger"))?.to_owned(),
                );
                continue;
            }
            fold_line(&mut keys, text).map_err(failed)?;
        }
        let bucket = bucket.ok_or(Error::Ledger { line: 1, reason: "not a ledger" })?;
        let mut keys: Vec<_> = keys.into_iter().collect();
        keys.sort_unstable_by(|(a, _), (b, _)| a.cmp(b));
        Ok(Self { bucket, keys })
    }
}

fn fold_line(
    keys: &mut HashMap<String, KeyRecord>,
    text: &str,
) -> std::result::Result<(), &'static str> {
    let fields: Vec<&str> = text.split(' ').collect();
    let number = |text: &str| text.parse::<u64>().map_err(|_| "not a number");
    match fields.as_slice() {
        ["put", version, size, key] => {
            record(keys, key)?.begin(number(version)?, Some(number(size)?))
        }
        ["delete", version, key] => record(keys, key)?.begin(number(version)?, None),
        ["ack", version, etag, key] => record(keys, key)?.acknowledge(number(version)?, etag),
        ["refused", version, key] => {
            let version = number(version)?;
            record(keys, key)?.maybes.retain(|event| event.version != version);
            Ok(())
        }
        _ => Err("not an event"),
    }
}

fn record<'a>(
    keys: &'a mut HashMap<String, KeyRecord>,
    key: &str,
) -> std::result::Result<&'a mut KeyRecord, &'static str> {
    if keys.len() >= limits::LEDGER_KEYS_MAX && !keys.contains_key(key) {
        return Err("too many keys");
    }
    Ok(keys.entry(key.to_owned()).or_default())
}

/// Length of the file up to the end of its last whole line.
fn whole_lines(file: &mut File) -> std::io::Result<u64> {
    let length = file.seek(SeekFrom::End(0))?;
    let tail_bytes = length.min(limits::LEDGER_LINE_BYTES_MAX as u64);
    file.seek(SeekFrom::Start(length - tail_bytes))?;
    let mut tail = Vec::new();
    file.take(tail_bytes).read_to_end(&mut tail)?;
    let end = tail.iter().rposition(|&byte| byte == b'\n').map_or(0, |place| place + 1);
    Ok(length - tail_bytes + end as u64)
}

fn read_bucket(path: &Path) -> Result<String> {
    let file = File::open(path).map_err(|source| Error::io(path.display().to_string(), source))?;
    let mut line = String::new();
    let mut bounded = BufReader::new(file).take(limits::LEDGER_LINE_BYTES_MAX as u64);
    bounded.read_line(&mut line).map_err(|source| Error::io(path.display().to_string(), source))?;
    let bucket = line.trim_end().strip_prefix(MAGIC);
    bucket.map(str::to_owned).ok_or(Error::Ledger { line: 1, reason: "not a ledger" })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn record(lines: &str) -> KeyRecord {
        let text = format!("{MAGIC}b\n{lines}");
        Ledger::parse(text.as_bytes()).unwrap().keys.remove(0).1
    }

    #[test]
    fn an_acknowledged_put_is_settled() {
        let record = record("put 5 10 k\nack 5 \"e\" k\n");
        let settled = Event { version: 5, size: Some(10), etag: Some("\"e\"".to_owned()) };
        assert_eq!(record.settled, Some(settled));
        assert!(record.maybes.is_empty() && !record.may_be_absent());
    }

    #[test]
    fn a_put_without_an_answer_leaves_old_and_new_acceptable() {
        let record = record("put 5 10 k\nack 5 - k\nput 6 11 k\n");
        let versions: Vec<u64> = record.acceptable().map(|event| event.version).collect();
        assert_eq!(versions, [5, 6]);
        assert!(!record.may_be_absent());
    }

    #[test]
    fn a_first_put_without_an_answer_may_be_absent() {
        assert!(record("put 5 10 k\n").may_be_absent());
    }

    #[test]
    fn an_acknowledgement_settles_what_was_open_before_it() {
        let record = record("put 5 10 k\nput 6 10 k\nack 6 - k\nput 7 1 k\nrefused 7 k\n");
        let versions: Vec<u64> = record.acceptable().map(|event| event.version).collect();
        assert_eq!(versions, [6]);
    }

    #[test]
    fn deletes_may_leave_nothing() {
        let put = "put 5 10 k\nack 5 - k\n";
        assert!(record(&format!("{put}delete 6 k\n")).may_be_absent());
        assert!(record(&format!("{put}delete 6 k\nack 6 - k\n")).may_be_absent());
        let again = format!("{put}delete 6 k\nack 6 - k\nput 7 1 k\nack 7 - k\n");
        assert!(!record(&again).may_be_absent());
    }

    #[test]
    fn a_torn_last_line_is_passed_over_and_any_other_is_an_error() {
        assert!(record("put 5 10 k\nack 5 - k\nput 6 1").maybes.is_empty());
        for bad in ["put 5 k\n", "ack 5 - k\n", "put x 1 k\n", "hello\n"] {
            assert!(Ledger::parse(format!("{MAGIC}b\n{bad}").as_bytes()).is_err(), "{bad}");
        }
        assert!(Ledger::parse(&b"other file\n"[..]).is_err());
    }

    #[test]
    fn reopening_removes_a_torn_line_and_goes_on() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("ledger");
        LedgerWriter::open(&path, "b").unwrap().put(1, 2, "k").unwrap();
        OpenOptions::new().append(true).open(&path).unwrap().write_all(b"put 9 9").unwrap();
        LedgerWriter::open(&path, "b").unwrap().acknowledged(1, b"", "k").unwrap();
        assert!(LedgerWriter::open(&path, "other").is_err());
        let ledger = Ledger::read(&path).unwrap();
        assert_eq!(ledger.bucket, "b");
        assert_eq!(ledger.keys[0].1.settled.as_ref().unwrap().version, 1);
    }
}
