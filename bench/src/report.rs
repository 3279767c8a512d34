//! How a measuring program tells its figures, and what went wrong.

use crate::{Error, Result};
use serde::Serialize;
use std::io::Write;
use std::process::ExitCode;

/// One line of JSON.
pub fn print(value: &impl Serialize) -> Result<()> {
    let mut line = serde_json::to_vec(value)
        .map_err(|error| Error::io("writing the figures", error.into()))?;
    line.push(b'\n');
    let mut output = std::io::stdout().lock();
    output
        .write_all(&line)
        .and_then(|()| output.flush())
        .map_err(|source| Error::io("standard output", source))
}

/// How the program ends; an error is told with its name.
pub fn exit_code(program: &str, result: Result<()>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // With standard error closed there is nobody to tell.
            _ = writeln!(std::io::stderr().lock(), "{program}: {error}");
            ExitCode::FAILURE
        }
    }
}
