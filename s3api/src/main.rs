//! The `ringfort` binary: its subcommands, what it says on standard output, its exit codes.
//!
//! Exit codes: 0 after an orderly stop, 1 when something failed, 2 when the command line or the
//! configuration was refused, 130 when a second signal cut a stop short; `verify`, `tune` and `import` have
//! their own.
//! Everything with more than a few lines of work is in the library.

use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;
use std::sync::Arc;

use clap::{ArgMatches, Command};
use import::import_command;

use s3api::admin_command::{self, admin_command};
use s3api::audit::{Audit, AuditThread};
use s3api::backup_command::{self, backup_command};
use s3api::config::{Config, Layers, LogFormat, serve_command};
use s3api::config_command::{self, config_command};
use s3api::encryption::master::{self, MasterKeys};
use s3api::inspect_command::{self, inspect_command};
use s3api::log;
use s3api::mfa::Mfa;
use s3api::notify_socket;
use s3api::privileges;
use s3api::restore_command::{self, restore_command};
use s3api::root_credentials::{self, MFA_SECRET, Origin, RootCredentials};
use s3api::serve::{self, S3Application, Settings, Sockets, Started, Stop};
use s3api::shell_command::{self, completions_command, man_command};
use s3api::sse_key_command::{self, sse_key_command};
use s3api::start_error::StartError;
use s3api::tune_command::{self, tune_command};
use s3api::verify_command::{self, verify_command};

/// Memory of a core stays with it, and a piece of whatever size is found without a search: glibc's costs more with
/// each connection.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const EXIT_FAILED: u8 = 1;
const EXIT_REFUSED: u8 = 2;

fn main() -> ExitCode {
    let matches = command().get_matches();
    let result = match matches.subcommand() {
        Some(("serve", arguments)) => serve(arguments),
        Some(("config", arguments)) => config_command::run(arguments, &variable),
        Some(("inspect", arguments)) => inspect_command::run(arguments),
        Some(("admin", arguments)) => admin_command::run(arguments),
        Some(("completions", arguments)) => shell_command::complete(arguments, command()),
        Some(("man", arguments)) => shell_command::man(arguments, command()),
        Some(("backup", arguments)) => backup_command::run(arguments),
        Some(("restore", arguments)) => restore_command::run(arguments),
        Some(("sse-key", arguments)) => sse_key_command::run(arguments),
        Some(("verify", arguments)) => {
            return checked(verify_command::run(arguments), verify_command::EXIT_COULD_NOT_RUN);
        }
        Some(("tune", arguments)) => {
            return checked(tune_command::run(arguments), tune_command::EXIT_COULD_NOT_RUN);
        }
        Some(("import", arguments)) => return import::run(arguments),
        // clap has answered everything else.
        _ => Ok(()),
    };
    let Err(error) = result else { return ExitCode::SUCCESS };
    report(&error);
    match error {
        StartError::Config { .. } | StartError::Credentials(_) | StartError::MasterKey(_) => {
            ExitCode::from(EXIT_REFUSED)
        }
        _ => ExitCode::from(EXIT_FAILED),
    }
}

/// The exit code of a command that tells what it found from what it could not look for.
fn checked(result: Result<ExitCode, StartError>, could_not_run: u8) -> ExitCode {
    result.unwrap_or_else(|error| {
        report(&error);
        ExitCode::from(could_not_run)
    })
}

/// Says why the program failed: in the log, or plainly while there is none.
fn report(error: &StartError) {
    if tracing::enabled!(tracing::Level::ERROR) {
        tracing::error!("{error}");
    } else {
        let _ = writeln!(io::stderr(), "ringfort: {error}");
    }
}

fn command() -> Command {
    Command::new("ringfort")
        .about("An S3-compatible object store for one dedicated Linux host with NVMe drives")
        .version(env!("CARGO_PKG_VERSION"))
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommand(serve_command())
        .subcommand(config_command())
        .subcommand(admin_command())
        .subcommand(inspect_command())
        .subcommand(backup_command())
        .subcommand(restore_command())
        .subcommand(import_command())
        .subcommand(verify_command())
        .subcommand(tune_command())
        .subcommand(sse_key_command())
        .subcommand(completions_command())
        .subcommand(man_command())
}

/// The environment; a variable that is not Unicode counts as absent.
fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

fn serve(arguments: &ArgMatches) -> Result<(), StartError> {
    let config = Config::resolve(&Layers::gather(arguments, &variable)?)?;
    log::start(config.log_format, &variable)?;
    let stop = Stop::default();
    stop.on_signals()?;
    let plan = serve::plan(&config)?;
    let sockets = Sockets::bind(&config, plan.cores)?;
    if let Some(name) = &config.user {
        privileges::become_user(&privileges::find(name)?)?;
    }
    let (root, origin) = root_credentials::load(&config.data_dirs, &variable)?;
    introduce(&root, &origin);
    let (masters, origin) = MasterKeys::load(
        config.sse_key_file.as_deref(),
        &config.data_dirs,
        config.sse_key_beside_data,
        &variable,
    )?;
    introduce_masters(&masters, &origin);
    let format = config.log_format;
    let admin_api_key = root.admin_api_key.clone();
    let masters = Arc::new(masters);
    let mfa = variable(MFA_SECRET).map(|secret| Mfa::new(&secret)).transpose()?.map(Arc::new);
    let audit_thread = config.audit.as_ref().map(Audit::start).transpose()?;
    let audit = audit_thread.as_ref().map(AuditThread::audit);
    let settings =
        Settings { config: config.clone(), plan: plan.clone(), root, masters, mfa, audit };
    let application = S3Application::new(settings);
    let served = serve::run(&config, &plan, sockets, application, admin_api_key, stop, |started| {
        announce(started, format);
        notify_socket::ready(started);
    });
    if let Some(thread) = audit_thread {
        thread.finish();
    }
    if let Some(socket) = &config.admin_socket {
        // A start finds out by itself whether what is there is still in use.
        let _ = std::fs::remove_file(&socket.path);
    }
    served?;
    tracing::info!("stopped");
    Ok(())
}

/// Says where the credentials are; their secrets are shown once, and only to a person.
fn introduce(root: &RootCredentials, origin: &Origin) {
    match origin {
        Origin::Environment => tracing::info!("root credentials come from the environment"),
        Origin::File(path) => {
            tracing::info!(path = %path.display(), "root credentials are kept there")
        }
        Origin::Created(path) => {
            tracing::info!(path = %path.display(), "root credentials were made and are kept there");
            if io::stdout().is_terminal() {
                say(&format!(
                    "Root credentials of this new store (kept in {}):\n  access key: {}\n  secret key: {}",
                    path.display(),
                    root.access_key,
                    root.secret_key
                ));
            }
        }
    }
}

/// Says which master keys there are, or how there would be one.
fn introduce_masters(masters: &MasterKeys, origin: &master::Origin) {
    let ids: Vec<&str> = masters.ids().collect();
    match origin {
        master::Origin::None => tracing::info!(
            "there is no master key: SSE-S3 and SSE-KMS are refused. `ringfort sse-key FILE` makes a key \
             file for --sse-key-file"
        ),
        master::Origin::Environment => {
            tracing::info!(?ids, "master keys come from the environment, the current one first");
        }
        master::Origin::File(path) => {
            tracing::info!(path = %path.display(), ?ids, "master keys are there, the current one first");
        }
    }
}

/// One line for people or for programs, on standard output; the log is on standard error.
fn announce(started: &Started, format: LogFormat) {
    let line = match format {
        LogFormat::Human => started.to_string(),
        LogFormat::Json => started.to_json(),
    };
    tracing::info!("{started}");
    say(&line);
}

/// Standard output may be closed; the server runs without it.
fn say(text: &str) {
    let mut out = io::stdout().lock();
    let _ = writeln!(out, "{text}").and_then(|()| out.flush());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        command().debug_assert();
    }
}
