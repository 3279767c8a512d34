//! The thread that writes the audit log.
//!
//! Invariants: lines are written whole and in the order in which they came; after a write that failed the same
//! bytes are tried again until they are written, so that a disk that was full for a while costs what did not fit
//! into memory meanwhile, and no more. A new file begins with a whole line.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use super::entry;
use super::{AuditTarget, State};
use crate::limits::AUDIT_BATCH_BYTES;

/// How long a file may hold what is not synced, and how long a failed write waits for its next attempt.
const PACE: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub(super) enum Message {
    Line(String),
    End,
}

#[derive(Debug)]
struct Sink {
    file: File,
    /// Pipes and terminals have nothing to sync.
    is_regular: bool,
}

impl Sink {
    fn open(target: &AuditTarget) -> io::Result<Self> {
        let file = match target {
            // Who may read the log learns who does what; nobody else does.
            AuditTarget::File(path) => {
                OpenOptions::new().append(true).create(true).mode(0o640).open(path)?
            }
            // Without the buffer of the standard library: what that keeps back would be lost with the process.
            AuditTarget::Stdout => File::from(io::stdout().as_fd().try_clone_to_owned()?),
        };
        let is_regular = file.metadata()?.is_file();
        let mut sink = Self { file, is_regular };
        if let AuditTarget::File(path) = target {
            sink.end_line(path)?;
        }
        Ok(sink)
    }

    /// A process that ended while it wrote may have left half a line.
    fn end_line(&mut self, path: &Path) -> io::Result<()> {
        let size = self.file.metadata()?.len();
        if !self.is_regular || size == 0 {
            return Ok(());
        }
        let mut last = [0];
        File::open(path)?.read_exact_at(&mut last, size - 1)?;
        if last != *b"\n" { self.file.write_all(b"\n") } else { Ok(()) }
    }

    fn sync(&self) -> io::Result<()> {
        if self.is_regular { self.file.sync_data() } else { Ok(()) }
    }
}

#[derive(Debug)]
pub(super) struct Writer {
    target: AuditTarget,
    sink: Sink,
    state: Arc<State>,
    /// Lines on their way into the file, and how many bytes of them are there.
    batch: Vec<u8>,
    at: usize,
    /// Of the batch, and their bytes.
    lines: usize,
    line_bytes: usize,
    /// Since when something is not synced.
    unsynced: Option<Instant>,
    /// The last write failed; when the next one is due.
    failed: Option<Instant>,
    is_ending: bool,
}

impl Writer {
    pub(super) fn open(target: AuditTarget, state: Arc<State>) -> io::Result<Self> {
        let sink = Sink::open(&target)?;
        Ok(Self {
            target,
            sink,
            state,
            batch: Vec::with_capacity(AUDIT_BATCH_BYTES),
            at: 0,
            lines: 0,
            line_bytes: 0,
            unsynced: None,
            failed: None,
            is_ending: false,
        })
    }

    /// Writes until the end is asked for.
    pub(super) fn run(mut self, receiver: &Receiver<Message>) {
        loop {
            if self.state.reopen.swap(false, Ordering::Relaxed) {
                self.reopen();
            }
            if self.batch.is_empty() && !self.is_ending {
                self.gather(receiver);
            }
            self.write();
            self.sync_if_due();
            // An end does not wait for a log that cannot be written.
            let is_over = self.is_ending && self.batch.is_empty();
            if is_over || (self.failed.is_some() && self.state.is_ending.load(Ordering::Relaxed)) {
                return self.end();
            }
        }
    }

    /// Waits for lines, and takes as many as there are.
    fn gather(&mut self, receiver: &Receiver<Message>) {
        let since = self.unsynced.map_or(Duration::ZERO, |since| since.elapsed());
        match receiver.recv_timeout(PACE.saturating_sub(since)) {
            Ok(message) => self.take(message),
            Err(RecvTimeoutError::Timeout) => return self.tell_lost(),
            Err(RecvTimeoutError::Disconnected) => self.is_ending = true,
        }
        while self.batch.len() < AUDIT_BATCH_BYTES && !self.is_ending {
            match receiver.try_recv() {
                Ok(message) => self.take(message),
                Err(_) => return,
            }
        }
    }

    fn take(&mut self, message: Message) {
        match message {
            Message::Line(line) => {
                self.batch.extend_from_slice(line.as_bytes());
                self.lines += 1;
                self.line_bytes += line.len();
            }
            Message::End => {
                self.is_ending = true;
                self.tell_lost();
            }
        }
    }

    /// Tells of lines that are missing at the end, behind all that came.
    fn tell_lost(&mut self) {
        let lost = self.state.untold.swap(0, Ordering::Relaxed);
        if lost > 0 {
            self.batch.extend_from_slice(entry::lost(lost).as_bytes());
        }
    }

    fn write(&mut self) {
        if self.failed.is_some_and(|due| Instant::now() < due) {
            std::thread::sleep(PACE / 20);
            return;
        }
        while let Some(rest) = self.batch.get(self.at..).filter(|rest| !rest.is_empty()) {
            match self.sink.file.write(rest) {
                Ok(0) => return self.fail(&io::ErrorKind::WriteZero.into()),
                Ok(bytes) => self.at += bytes,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return self.fail(&error),
            }
        }
        if self.failed.take().is_some() {
            tracing::info!("the audit log is written again");
        }
        if !self.batch.is_empty() {
            self.unsynced.get_or_insert_with(Instant::now);
            self.settle();
        }
    }

    /// All of the batch is in the file.
    fn settle(&mut self) {
        let state = &self.state;
        state.written.fetch_add(self.lines as u64, Ordering::Relaxed);
        state.waiting_bytes.fetch_sub(self.line_bytes, Ordering::Relaxed);
        state.waiting_lines.fetch_sub(self.lines, Ordering::Relaxed);
        self.batch.clear();
        (self.at, self.lines, self.line_bytes) = (0, 0, 0);
    }

    fn fail(&mut self, error: &io::Error) {
        self.state.failures.fetch_add(1, Ordering::Relaxed);
        self.state.is_failing.store(true, Ordering::Relaxed);
        if self.failed.replace(Instant::now() + PACE).is_none() {
            tracing::error!(%error, "the audit log cannot be written; it is tried again every second");
        }
    }

    fn sync_if_due(&mut self) {
        if self.unsynced.is_some_and(|since| since.elapsed() >= PACE) {
            self.sync();
        }
    }

    fn sync(&mut self) {
        self.unsynced = None;
        match self.sink.sync() {
            Ok(()) => self.state.is_failing.store(self.failed.is_some(), Ordering::Relaxed),
            Err(error) => {
                self.state.failures.fetch_add(1, Ordering::Relaxed);
                self.state.is_failing.store(true, Ordering::Relaxed);
                tracing::error!(%error, "the audit log cannot be synced");
                // Tried again: the lines may be there no more, but the next ones may be kept.
                self.unsynced = Some(Instant::now());
            }
        }
    }

    /// The old file is kept if the new one cannot be had.
    fn reopen(&mut self) {
        self.sync();
        match Sink::open(&self.target) {
            Ok(sink) => {
                let is_regular = sink.is_regular;
                self.sink = sink;
                self.failed = self.failed.map(|_| Instant::now());
                tracing::info!("the audit log was opened anew");
                if !is_regular {
                    return;
                }
                // A line that was cut goes into the new file whole.
                let before = self.batch.get(..self.at).unwrap_or_default();
                self.at = before.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
            }
            Err(error) => {
                tracing::error!(%error, "the audit log cannot be opened anew; the old file is kept")
            }
        }
    }

    fn end(&mut self) {
        self.sync();
        if !self.batch.is_empty() {
            tracing::error!(lines = self.lines, "the end of the audit log could not be written");
        }
    }
}
