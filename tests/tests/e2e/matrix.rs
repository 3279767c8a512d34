//! Who may do what: every operation, asked for by everybody who may and everybody who may not, in every form in
//! which a request comes.
//!
//! One table has a row for each operation (`matrix/table.rs`); what ought to come of a request is derived from its
//! row by a model of AWS's rules (`matrix/model.rs`) that knows nothing of the server. A cell is a row with a
//! setting (policies, ACLs, blocks), a caller and a form. What is refused must change nothing and tell nothing.
//! An operation without a row fails the test.

mod borrowed_rights;
mod cast;
mod leaks;
mod management;
mod model;
mod row;
mod send;
mod settings;
mod stage;
mod table;

use cast::{Cast, Manager, Session};
use model::{Setting, Style, Who, expected};
use ringfort_tests::harness::client::{Answer, Client, Signing};
use ringfort_tests::harness::scripts::run;
use ringfort_tests::harness::{Site, ringfort, setting};
use row::Row;
use s3api::route::{self, Operation, Target};
use send::DOMAIN;
use settings::settings;
use stage::{CONTENT, SECRETS, Scene, Stage};
use std::net::SocketAddr;
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use table::table;

/// Most of the time is waiting for the disk to have it.
const WORKERS: usize = 6;
const FAILURES_SHOWN_MAX: u64 = 60;

/// What was found, by all workers together.
#[derive(Default)]
struct Findings {
    cells: AtomicUsize,
    failures: Mutex<Vec<String>>,
}

impl Findings {
    /// Counts a cell, and keeps what is wrong with it.
    fn check(&self, wrong: Option<String>) {
        self.cells.fetch_add(1, Ordering::Relaxed);
        if let Some(wrong) = wrong {
            self.failures.lock().unwrap().push(wrong);
        }
    }

    fn conclude(self, what: &str) {
        let failures = self.failures.into_inner().unwrap();
        let most = setting("RINGFORT_MATRIX_SHOWN", FAILURES_SHOWN_MAX) as usize;
        let shown: Vec<&str> = failures.iter().take(most).map(String::as_str).collect();
        let cells = self.cells.into_inner();
        let count = failures.len();
        assert!(shown.is_empty(), "{count} of {cells} cells of {what}:\n{}", shown.join("\n"));
        say(&format!("{what}: {cells} cells"));
    }
}

#[expect(clippy::print_stdout, reason = "how much was checked is part of the proof")]
fn say(text: &str) {
    println!("{text}");
}

#[test]
fn every_operation_has_a_row_and_every_row_its_operation() {
    let table = table();
    let without: Vec<&str> = Operation::ALL
        .iter()
        .filter(|operation| !table.iter().any(|row| row.operation == **operation))
        .map(|operation| operation.name())
        .collect();
    assert!(without.is_empty(), "no row in tests/tests/e2e/matrix/table.rs for: {without:?}");
    for row in &table {
        let scene = Scene::default().in_bucket("bucket");
        let target = scene.fill(&row.target);
        let request = Target {
            method: row.method,
            host: Some("localhost"),
            target: &target,
            copy: row.headers.iter().any(|(name, _)| *name == "x-amz-copy-source"),
        };
        let routed = route::route(request, &[]).unwrap().operation;
        assert_eq!(routed, row.operation, "{}", row.name());
        assert_eq!(row.needs.is_empty(), row.is_open, "{}", row.name());
    }
    let mut names: Vec<String> = table.iter().map(Row::name).collect();
    names.sort();
    names.dedup();
    assert_eq!(names.len(), table.len(), "two rows of one name");
}

#[test]
fn every_operation_by_everybody_in_every_form() {
    let site = Site::new().flags(&["--domain", DOMAIN]);
    let keys = site.path("sse-keys");
    run(Command::new(ringfort()).arg("sse-key").arg(&keys));
    let site = site.flags(&["--sse-key-file", keys.to_str().unwrap()]);
    let server = site.start();
    let (table, next, findings) = (table(), AtomicUsize::new(0), Findings::default());
    // One change of users at a time is all that the server takes.
    let mut manager = Manager::new(server.admin_listen);
    let (listen, console) = (server.listen, server.admin_listen);
    let root = Session::of(console, &Signing::default());
    let casts: Vec<Cast> =
        (0..WORKERS).map(|worker| Cast::new(&mut manager, worker, console, &root)).collect();
    let manager = Mutex::new(manager);
    std::thread::scope(|scope| {
        for (worker, cast) in casts.iter().enumerate() {
            let (table, next, findings, manager) = (&table, &next, &findings, &manager);
            scope.spawn(move || {
                let prefix = format!("matrix-{worker}-");
                let root = Client::new(listen);
                let stage = Stage { root, manager, cast, prefix, made: 0 };
                let mut player = Player {
                    stage,
                    client: Client::new(listen),
                    console: Client::new(console),
                    listen,
                    findings,
                };
                while let Some(row) = table.get(next.fetch_add(1, Ordering::Relaxed)) {
                    for setting in settings(row) {
                        player.play(row, &setting);
                    }
                    player.look_for_leaks(row);
                }
            });
        }
    });
    findings.conclude("the authorisation matrix");
    server.stop();
}

/// One worker, who asks and judges.
struct Player<'a> {
    stage: Stage<'a>,
    client: Client,
    console: Client,
    listen: SocketAddr,
    findings: &'a Findings,
}

impl Player<'_> {
    fn ask(&mut self, row: &Row, scene: &Scene, (who, style): (Who, Style)) -> Answer {
        let address = self.listen.to_string();
        let request = send::request(row, scene, self.stage.cast, (who, style), &address);
        match style {
            Style::Console => self.console.call(&request),
            _ => self.client.call(&request),
        }
    }

    /// Asks for a row in a setting: first all that is to be refused, which changes nothing, then the rest.
    fn play(&mut self, row: &Row, setting: &Setting) {
        let forms = |who: &Who| Style::all(row, *who).iter().map(|style| (*who, *style)).collect();
        let cells: Vec<(Who, Style)> =
            setting.callers.iter().flat_map(|who: &Who| -> Vec<_> { forms(who) }).collect();
        let wanted = |(who, style): (Who, Style)| expected(row, setting, who, style);
        let (granted, refused): (Vec<_>, Vec<_>) =
            cells.into_iter().partition(|cell| wanted(*cell) == row.answer);
        let mut scene = self.stage.build(row, setting);
        self.stage.set_users(row, setting, Some(&scene));
        let before = (!row.is_read()).then(|| self.stage.look(row, &scene));
        for cell in refused {
            self.judge(row, setting, &scene, cell);
        }
        if let Some(before) = before {
            let after = self.stage.look(row, &scene);
            let changed = before.iter().zip(&after).find(|(before, after)| before != after);
            self.findings.check(changed.map(|(before, after)| {
                format!("{}, {}: refused, and yet\n  {before}\n  {after}", row.name(), setting.name)
            }));
        }
        for (at, cell) in granted.into_iter().enumerate() {
            if row.consumes && at > 0 {
                scene = self.stage.build(row, setting);
                self.stage.set_users(row, setting, Some(&scene));
            }
            self.judge(row, setting, &scene, cell);
        }
        self.stage.set_users(row, setting, None);
    }

    fn judge(&mut self, row: &Row, setting: &Setting, scene: &Scene, cell: (Who, Style)) {
        let wanted = expected(row, setting, cell.0, cell.1);
        let answer = self.ask(row, scene, cell);
        let found = (answer.status, answer.code());
        let wrong = match (found.0, found.1.as_str()) == wanted {
            true if wanted == row.answer => None,
            true => leak(&answer, scene),
            false => Some(format!("{found:?} and not {wanted:?}: {}", answer.text())),
        };
        let place = format!("{}, {}, {cell:?}", row.name(), setting.name);
        self.findings.check(wrong.map(|wrong| format!("{place}: {wrong}")));
    }
}

/// What a refusal tells that it should not.
fn leak(answer: &Answer, scene: &Scene) -> Option<String> {
    const TELLING: [&str; 5] =
        ["etag", "last-modified", "accept-ranges", "content-range", "expires"];
    let header = answer.headers.iter().find(|(name, value)| {
        let is_of_object = name.starts_with("x-amz-") && !is_of_answer(name);
        let is_size = name == "content-length" && *value == CONTENT.len().to_string();
        TELLING.contains(&name.as_str()) || is_of_object || is_size
    });
    if let Some((name, value)) = header {
        return Some(format!("the refusal tells {name}: {value}"));
    }
    let text = answer.text();
    let told = SECRETS.into_iter().chain([CONTENT, scene.etag.as_str()]);
    told.filter(|secret| !secret.is_empty() && text.contains(secret))
        .map(|secret| format!("the refusal tells {secret:?}: {text}"))
        .next()
}

/// Headers that every answer has, whatever it is about.
fn is_of_answer(name: &str) -> bool {
    matches!(name, "x-amz-request-id" | "x-amz-id-2" | "x-amz-bucket-region")
}
