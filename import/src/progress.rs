//! How far an import is, on standard error while it runs: one line that is written over on a terminal, a line
//! now and then elsewhere.

use std::io::{self, IsTerminal, Write};
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, RecvTimeoutError};

use crate::limits::{PROGRESS_LOG, PROGRESS_TERMINAL};
use crate::report::{Tally, grouped, size};

/// Shows progress until the sender is dropped.
pub fn show(tally: &Tally, retries: &dyn Fn() -> u64, over: &Receiver<()>) {
    let is_terminal = io::stderr().is_terminal();
    let pause = if is_terminal { PROGRESS_TERMINAL } else { PROGRESS_LOG };
    let mut shown = 0;
    while over.recv_timeout(pause) == Err(RecvTimeoutError::Timeout) {
        let text = line(tally, retries());
        // Standard error may be closed; the import runs without it.
        let mut out = io::stderr().lock();
        let _ = if is_terminal {
            write!(out, "\r{text:shown$}").and_then(|()| out.flush())
        } else {
            writeln!(out, "{text}")
        };
        shown = text.chars().count();
    }
    if is_terminal && shown > 0 {
        let _ = write!(io::stderr(), "\r{:shown$}\r", "");
    }
}

fn line(tally: &Tally, retries: u64) -> String {
    let keys = tally.keys.load(Ordering::Relaxed);
    let bytes = tally.bytes.load(Ordering::Relaxed);
    let planned = grouped(tally.planned.load(Ordering::Relaxed));
    let listing = if tally.is_planned.load(Ordering::Relaxed) { "" } else { " listed so far" };
    let seconds = tally.seconds().max(0.001);
    format!(
        "{} of {planned} keys{listing}, {} copied, {:.0} keys/s, {}/s, {} problems, {} retries",
        grouped(keys),
        size(bytes),
        keys as f64 / seconds,
        size((bytes as f64 / seconds) as u64),
        grouped(tally.problem_count()),
        grouped(retries)
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    #[test]
    fn the_line_says_how_far_it_is_and_the_thread_ends() {
        let tally = Tally::default();
        tally.planned.store(20_000, Ordering::Relaxed);
        tally.keys.store(1_500, Ordering::Relaxed);
        let text = line(&tally, 3);
        assert!(text.starts_with("1,500 of 20,000 keys listed so far"), "{text}");
        assert!(text.ends_with("0 problems, 3 retries"), "{text}");
        let (send, receive) = mpsc::channel::<()>();
        drop(send);
        show(&tally, &|| 0, &receive);
    }
}
