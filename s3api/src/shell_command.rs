//! `ringfort completions` and `ringfort man`: what shells and people read about the command line, made
//! from the same description that parses it.
//!
//! Not here: the command line itself.

use std::io::{self, Write};
use std::path::PathBuf;

use clap::{Arg, ArgMatches, Command, value_parser};
use clap_complete::Shell;
use clap_mangen::Man;

use crate::start_error::StartError;

pub fn completions_command() -> Command {
    Command::new("completions")
        .about("Write what a shell needs to complete this command line")
        .after_help("For bash: ringfort completions bash > /etc/bash_completion.d/ringfort")
        .arg(Arg::new("shell").required(true).value_parser(value_parser!(Shell)))
}

pub fn man_command() -> Command {
    Command::new("man").about("Write the manual page, or a page for each subcommand").arg(
        Arg::new("directory")
            .long("dir")
            .value_name("DIR")
            .value_parser(value_parser!(PathBuf))
            .help("Write ringfort.1 and a page for each subcommand there"),
    )
}

/// # Errors
/// Standard output could not be written.
pub fn complete(arguments: &ArgMatches, mut command: Command) -> Result<(), StartError> {
    let Some(shell) = arguments.get_one::<Shell>("shell") else { return Ok(()) };
    let mut script = Vec::new();
    clap_complete::generate(*shell, &mut command, "ringfort", &mut script);
    say(&script)
}

/// # Errors
/// Standard output or a file could not be written.
pub fn man(arguments: &ArgMatches, command: Command) -> Result<(), StartError> {
    if let Some(directory) = arguments.get_one::<PathBuf>("directory") {
        let context = || format!("write manual pages to {}", directory.display());
        return clap_mangen::generate_to(command, directory)
            .map_err(|source| StartError::io(context(), source));
    }
    let mut page = Vec::new();
    Man::new(command)
        .render(&mut page)
        .map_err(|source| StartError::io("write the manual page", source))?;
    say(&page)
}

fn say(text: &[u8]) -> Result<(), StartError> {
    let mut out = io::stdout().lock();
    let written = out.write_all(text).and_then(|()| out.flush());
    written.map_err(|source| StartError::io("write to standard output", source))
}
