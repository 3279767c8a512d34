//! What a refusal gives away by being another one: whether a key, an upload or a configuration is there.
//!
//! Whoever may not, hears the same of what is there and of what is not. That a key is not there is told to who
//! may list the bucket, or the bucket that is copied from; everybody learns that a bucket is not there, as at AWS.

use super::model::{Style, Who, expected};
use super::row::{Place, Row};
use super::settings::{just_enough, private};
use super::{Player, Scene};
use ringfort_tests::harness::client::{Answer, Request};
use s3api::route::Operation;

/// What of an answer is the same for the same reason: its status, code, message, and which headers it has.
fn shape(answer: &Answer) -> (u16, String, String, Vec<String>) {
    let mut names: Vec<String> = answer.headers.iter().map(|(name, _)| name.clone()).collect();
    names.sort();
    (answer.status, answer.code(), answer.element("Message").unwrap_or_default(), names)
}

impl Player<'_> {
    pub(super) fn look_for_leaks(&mut self, row: &Row) {
        if row.operation == Operation::ListBuckets {
            self.buckets_of_others_are_not_listed(row);
        }
        if row.is_open || row.place == Place::Nothing {
            return;
        }
        self.same_for_strangers(row);
        self.no_such_bucket(row);
        if row.missing.is_some() {
            self.missing_is_told_to_who_may_list(row);
        }
    }

    /// Strangers hear the same wherever they ask.
    fn same_for_strangers(&mut self, row: &Row) {
        let setting = private(&[]);
        let there = self.stage.build(row, &setting);
        let bare = Row { place: Place::Empty, before: Vec::new(), ..row.clone() };
        let empty = self.stage.build(&bare, &setting);
        let empty = there.in_bucket(&empty.bucket);
        let gone = row.of_gone_key();
        let mut cases = vec![
            ("a missing key", gone.clone(), there.clone()),
            ("an empty bucket", row.clone(), empty),
        ];
        // Who would have to pay is told so once they may.
        let payer =
            "<RequestPaymentConfiguration><Payer>Requester</Payer></RequestPaymentConfiguration>";
        let paid = row.clone().after("PUT", "/{b}?requestPayment=", payer);
        cases.push((
            "a bucket whose requesters pay",
            row.clone(),
            self.stage.build(&paid, &setting),
        ));
        if let Some(deleted) = self.with_deleted_key(row) {
            cases.push(("a deleted key", row.clone(), deleted));
        }
        // A condition that would hold, or not, is not looked at.
        for name in ["if-match", "if-none-match", "x-amz-copy-source-if-none-match"] {
            cases.push((name, row.clone().header(name, "*"), there.clone()));
            cases.push((name, gone.clone().header(name, "*"), there.clone()));
        }
        if row.is_form() || row.is_per_key {
            // Its headers are no conditions. Who deletes many and does not say that they pay is refused as
            // a whole, as at AWS, and not for each key.
            cases.truncate(if row.is_per_key { 2 } else { 3 });
        }
        for who in [Who::Other, Who::Anonymous] {
            let style = Style::all(row, who)[0];
            let of_it = shape(&self.ask(row, &there, (who, style)));
            for (what, row, scene) in &cases {
                let other = shape(&self.ask(row, scene, (who, style)));
                self.findings.check((of_it != other).then(|| {
                    format!("{}, {who:?}: {of_it:?}, and of {what} {other:?}", row.name())
                }));
            }
        }
    }

    /// The place of a row whose key holds a delete marker, where there may be one.
    fn with_deleted_key(&mut self, row: &Row) -> Option<Scene> {
        let place = match row.place {
            Place::Object => Place::Versioned,
            Place::Source => Place::VersionedSource,
            _ => return None,
        };
        let row = Row { place, before: Vec::new(), ..row.clone() };
        let scene = self.stage.build(&row, &private(&[]));
        let home = if row.place.has_source() { "/{s}/kept" } else { "/{b}/kept" };
        self.stage.by(Who::Root, Request::new("DELETE", &scene.fill(home)));
        Some(scene)
    }

    /// A list of buckets shows root all of them and everybody else their own.
    fn buckets_of_others_are_not_listed(&mut self, row: &Row) {
        let scene = self.stage.build(&Row { place: Place::Empty, ..row.clone() }, &private(&[]));
        for (who, is_shown) in [(Who::Root, true), (Who::Owner, true), (Who::Other, false)] {
            for style in Style::all(row, who) {
                let answer = self.ask(row, &scene, (who, *style));
                let name = format!("<Name>{}</Name>", scene.bucket);
                let is_wrong = answer.text().contains(&name) != is_shown;
                self.findings.check(
                    is_wrong.then(|| {
                        format!("{who:?} {style:?}: {} in {}", scene.bucket, answer.text())
                    }),
                );
            }
        }
    }

    fn no_such_bucket(&mut self, row: &Row) {
        let setting = private(&[]);
        let name = self.stage.name();
        let scene = Scene::default().in_bucket(&name);
        // What stands for an upload or a version must be one.
        let row = Row {
            target: row.target.replace("{v}", "null").replace("{u}", "0123456789abcdef"),
            ..row.clone()
        };
        let code = if row.method == "HEAD" { "" } else { "NoSuchBucket" };
        for who in [Who::Root, Who::Owner, Who::Other, Who::Anonymous] {
            let answer = self.ask(&row, &scene, (who, Style::all(&row, who)[0]));
            let found = (answer.status, answer.code());
            self.findings.check((found != (404, code.to_owned())).then(|| {
                format!("{}, {}, {who:?} of no bucket: {found:?}", row.name(), setting.name)
            }));
        }
    }

    fn missing_is_told_to_who_may_list(&mut self, row: &Row) {
        let gone = row.of_gone_key();
        let told = Row { answer: row.missing.unwrap(), ..gone.clone() };
        let mut listing = told.clone();
        listing.needs.push(row.listing());
        let setting = just_enough(&[]);
        let is_upload = row.place.has_upload();
        for (what, row, who, is_told) in [
            ("its owner", &told, Who::Owner, true),
            ("root", &told, Who::Root, true),
            ("who may list", &listing, Who::Other, true),
            // That there is no such upload says nothing of keys.
            ("who may not list", &told, Who::Other, is_upload),
        ] {
            let scene = self.stage.build(row, &setting);
            self.stage.set_users(row, &setting, Some(&scene));
            for style in Style::all(row, who) {
                let wanted = match is_told {
                    true => expected(row, &setting, who, *style),
                    false if row.method == "HEAD" => (403, ""),
                    false => (403, "AccessDenied"),
                };
                let answer = self.ask(row, &scene, (who, *style));
                let found = (answer.status, answer.code());
                self.findings.check(((found.0, found.1.as_str()) != wanted).then(|| {
                    format!(
                        "{}, a missing key, {what}, {style:?}: {found:?} and not {wanted:?}",
                        row.name()
                    )
                }));
            }
            self.stage.set_users(row, &setting, None);
        }
    }
}
