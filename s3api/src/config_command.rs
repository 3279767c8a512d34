//! `ringfort config`: a configuration that is checked without a start, and a file of all keys to begin with.
//!
//! Invariant: `check` refuses what `serve` would refuse before it looks at the host, and reads what it would
//! read: certificates, master keys, and secrets from the environment. It makes nothing, and opens no port and no store.

use std::io::{self, Write};

use clap::{ArgMatches, Command};

use crate::config::{Config, Layers, example, serve_command};
use crate::encryption::master::MasterKeys;
use crate::log;
use crate::mfa::Mfa;
use crate::root_credentials::{self, MFA_SECRET};
use crate::start_error::StartError;
use crate::tls::Certificates;

/// The subcommand, for clap.
pub fn config_command() -> Command {
    // The flags of `serve`, so that what is checked is what will be started.
    let check = serve_command()
        .name("check")
        .about("Check a configuration: the flags, the environment and the file that they name");
    Command::new("config")
        .about("Check a configuration, or print one to begin with")
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommand(check)
        .subcommand(
            Command::new("example").about("Print a TOML file with every key and its default"),
        )
}

/// # Errors
/// The configuration is refused, with the place that the value came from.
pub fn run(
    arguments: &ArgMatches,
    variable: &dyn Fn(&str) -> Option<String>,
) -> Result<(), StartError> {
    let text = match arguments.subcommand() {
        Some(("check", arguments)) => check(arguments, variable)?,
        _ => example(),
    };
    // Who closed the pipe has read enough.
    let _ = io::stdout().lock().write_all(text.as_bytes());
    Ok(())
}

fn check(
    arguments: &ArgMatches,
    variable: &dyn Fn(&str) -> Option<String>,
) -> Result<String, StartError> {
    let config = Config::resolve(&Layers::gather(arguments, variable)?)?;
    log::filter(variable)?;
    root_credentials::check_environment(variable)?;
    if let Some(files) = config.tls.clone() {
        Certificates::load(files.s3)?;
        Certificates::load(files.admin)?;
    }
    let (masters, _) = MasterKeys::load(
        config.sse_key_file.as_deref(),
        &config.data_dirs,
        config.sse_key_beside_data,
        variable,
    )?;
    variable(MFA_SECRET).map(|secret| Mfa::new(&secret)).transpose()?;
    let scheme = if config.tls.is_some() { "https" } else { "http" };
    let mut text = format!(
        "the configuration is sound\nS3 on {scheme}://{}, management on {scheme}://{}\n",
        config.listen, config.admin_listen
    );
    for directory in &config.data_dirs {
        text += &format!("data in {}\n", directory.display());
    }
    let keys = masters.ids().count();
    text += &format!("{keys} master keys, {} targets of events\n", config.notify_targets.len());
    Ok(text)
}
