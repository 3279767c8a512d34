//! `ringfort admin`: the management API from the command line.
//!
//! A command line becomes one request ([`request`]), or as many as a list has pages; an answer becomes
//! a table for people or JSON for programs ([`show`]).
//!
//! Invariants: a list is shown page by page and never held whole; nothing that comes from the server
//! reaches a terminal as a control character.
//!
//! Not here: HTTP (`admin_client`), what the requests mean (`admin`).

mod arguments;
mod request;
mod show;

pub use arguments::admin_command;

use clap::ArgMatches;
use serde_json::Value;

use crate::admin_client::AdminClient;
use crate::percent::encode_all;
use crate::start_error::StartError;
use request::{Order, Shape, order};
use show::{Output, Printer};

/// # Errors
/// The server could not be asked, or refused.
pub fn run(arguments: &ArgMatches) -> Result<(), StartError> {
    let text = |name| arguments.get_one::<String>(name).cloned().unwrap_or_default();
    let client = AdminClient::new(&text("admin"), text("api-key"))?;
    let output = if text("output") == "json" { Output::Json } else { Output::Table };
    let order = order(arguments)?;
    match &order.shape {
        Shape::Rows { field, columns } => list(&client, &order, field, columns, output),
        Shape::Fields => {
            let answer = ask(&client, &order, "")?;
            Printer::new(output).fields(&answer)
        }
        Shape::Field(name) => {
            let answer = ask(&client, &order, "")?;
            Printer::new(output).field(&answer, name)
        }
    }
}

/// Asks for page after page.
fn list(
    client: &AdminClient,
    order: &Order,
    field: &str,
    columns: &[&str],
    output: Output,
) -> Result<(), StartError> {
    let mut printer = Printer::new(output);
    let mut markers = String::new();
    printer.begin_rows()?;
    loop {
        let answer = ask(client, order, &markers)?;
        let rows = answer[field].as_array().map(Vec::as_slice).unwrap_or_default();
        printer.rows(columns, rows)?;
        let Some(next) = answer["next_marker"].as_str() else { break };
        markers = format!("marker={}", encode_all(next));
        if let Some(id) = answer["next_upload_id_marker"].as_str() {
            markers = format!("{markers}&upload_id_marker={id}");
        }
    }
    printer.end_rows()
}

/// One request; `more` goes to its query.
fn ask(client: &AdminClient, order: &Order, more: &str) -> Result<Value, StartError> {
    let query: Vec<&str> =
        [order.query.as_str(), more].into_iter().filter(|part| !part.is_empty()).collect();
    let mark = if query.is_empty() { "" } else { "?" };
    let path = format!("/api/v1/{}{mark}{}", order.path, query.join("&"));
    let (status, answer) = client.call(order.method, &path, &order.body)?;
    if (200..300).contains(&status) {
        return Ok(answer);
    }
    let detail = answer["detail"].as_str().unwrap_or("no reason is given").to_owned();
    Err(StartError::Refused { status, detail: show::harmless(&detail) })
}
