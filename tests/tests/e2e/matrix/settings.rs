//! What is set of a bucket and of users while a row's operation is asked for: one setting after the other.

use super::model::{
    Grant, IMPOSTORS, Level, Permission, Setting, Statement, What, When, Who, Whom,
};
use super::row::{On, Row};

const OTHER: Whom = Whom::One(Who::Other);

fn setting(name: impl Into<String>, callers: &[Who]) -> Setting {
    Setting { name: name.into(), callers: callers.to_vec(), ..Setting::default() }
}

fn allow(whom: Whom, what: What) -> Statement {
    Statement { allows: true, whom, what, when: When::Always }
}

fn deny(whom: Whom, what: What) -> Statement {
    Statement { allows: false, whom, what, when: When::Always }
}

impl Setting {
    fn of_bucket(mut self, statements: &[Statement]) -> Self {
        self.of_bucket.extend_from_slice(statements);
        self
    }

    fn of_users(mut self, statements: &[Statement]) -> Self {
        self.of_users.extend_from_slice(statements);
        self
    }

    fn grant(mut self, on: Level, whom: Whom, permission: Permission) -> Self {
        self.grants.push(Grant { on, whom, permission });
        self
    }

    fn blocked(self) -> Self {
        Self { is_blocked: true, ..self }
    }
}

/// Nothing is set at all.
pub(super) fn private(callers: &[Who]) -> Setting {
    setting("private", callers)
}

/// The other user has a policy of their own that allows what is needed and nothing else.
pub(super) fn just_enough(callers: &[Who]) -> Setting {
    setting("a user's policy allows what is needed", callers)
        .of_users(&[allow(OTHER, What::Needed)])
}

/// All settings in which a row is asked for.
pub(super) fn settings(row: &Row) -> Vec<Setting> {
    use Who::{Anonymous, Other, Owner, Root};
    let everyone = [Root, Owner, Other, Anonymous];
    if row.is_open {
        return vec![private(&[&everyone[..], &IMPOSTORS[..]].concat())];
    }
    let places = 0..row.needs.len();
    let mut all = vec![private(&everyone), just_enough(&[Other])];
    for place in places.clone() {
        let name =
            format!("users' policies deny {}, the bucket's allows all", row.needs[place].action);
        all.push(
            setting(name, &everyone)
                .of_bucket(&[allow(Whom::Everybody, What::Everything)])
                .of_users(&[
                    deny(OTHER, What::Only(place)),
                    deny(Whom::One(Owner), What::Only(place)),
                    allow(OTHER, What::Everything),
                ]),
        );
    }
    let mut public =
        setting("the bucket's policy allows everybody what is needed", &[Other, Anonymous])
            .of_bucket(&[allow(Whom::Everybody, What::Needed)]);
    public.callers.extend(IMPOSTORS);
    all.push(public.clone());
    if row.needs.iter().all(|need| need.on.has_no_bucket()) {
        return all;
    }
    all.push(Setting {
        name: "the same with public access blocked".to_owned(),
        callers: vec![Owner, Other, Anonymous],
        ..public.blocked()
    });
    all.push(
        setting("the bucket's policy allows the other user what is needed", &[Other, Anonymous])
            .of_bucket(&[allow(OTHER, What::Needed)]),
    );
    for place in places {
        let action = row.needs[place].action;
        all.push(
            setting(format!("a user's policy allows all but {action}"), &[Other])
                .of_users(&[allow(OTHER, What::AllBut(place))]),
        );
        all.push(
            setting(format!("the bucket's policy allows all but {action}"), &[Other, Anonymous])
                .of_bucket(&[allow(OTHER, What::AllBut(place))]),
        );
        all.push(
            setting(format!("the bucket's policy denies everybody {action}"), &everyone)
                .of_bucket(&[
                    allow(Whom::Everybody, What::Everything),
                    deny(Whom::Everybody, What::Only(place)),
                ])
                .of_users(&[allow(OTHER, What::Everything)]),
        );
        all.push(
            setting(format!("the bucket's policy denies its owner {action}"), &everyone)
                .of_bucket(&[deny(Whom::One(Owner), What::Only(place))]),
        );
    }
    all.extend(acls());
    if row.place.has_object() {
        all.push(Setting {
            is_enforced: true,
            ..setting("ACLs are switched off", &[Owner, Other, Anonymous]).grant(
                Level::Object,
                OTHER,
                Permission::FullControl,
            )
        });
    }
    if row.is_read() && row.needs.iter().all(|need| is_judged_by_tags(need.action)) {
        all.extend(by_tags());
    }
    // Tags and locks of somebody else's object are of no one document.
    let is_told = |on: On, action: &str| {
        !on.is_kept()
            || action.ends_with("Acl")
            || action.starts_with("s3:GetObject") && !action.ends_with("Tagging")
    };
    if row.needs.iter().any(|need| need.on.is_kept())
        && row.needs.iter().all(|need| is_told(need.on, need.action))
        && !row
            .needs
            .iter()
            .any(|need| need.action.ends_with("Retention") || need.action.ends_with("LegalHold"))
    {
        all.push(Setting {
            is_others_object: true,
            ..setting("the object is the other user's, the bucket's policy allows all", &everyone)
                .of_bucket(&[allow(Whom::Everybody, What::Everything)])
        });
    }
    all
}

/// Reads of an object about which its tags may decide.
fn is_judged_by_tags(action: &str) -> bool {
    matches!(
        action,
        "s3:GetObject"
            | "s3:GetObjectVersion"
            | "s3:GetObjectTagging"
            | "s3:GetObjectVersionTagging"
            | "s3:GetObjectAcl"
            | "s3:GetObjectVersionAcl"
    )
}

fn by_tags() -> Vec<Setting> {
    use Who::{Anonymous, Other, Owner, Root};
    let mut all = Vec::new();
    for when in [When::Tagged, When::OtherwiseTagged] {
        let if_so = |statement| Statement { when, ..statement };
        all.push(
            setting(format!("the bucket's policy allows what is {when:?}"), &[Other, Anonymous])
                .of_bucket(&[if_so(allow(Whom::Everybody, What::Needed))]),
        );
        all.push(
            setting(
                format!("the bucket's policy denies what is {when:?}"),
                &[Root, Owner, Other, Anonymous],
            )
            .of_bucket(&[
                allow(Whom::Everybody, What::Everything),
                if_so(deny(Whom::Everybody, What::Needed)),
            ]),
        );
    }
    all
}

fn acls() -> Vec<Setting> {
    use Permission::{FullControl, Read, ReadAcp, Write, WriteAcp};
    use Who::{Anonymous, Other, Owner};
    let callers = [Other, Anonymous];
    let mut all = Vec::new();
    for permission in [Read, Write, ReadAcp, WriteAcp, FullControl] {
        for on in [Level::Bucket, Level::Object] {
            let name = format!("the ACL of the {on:?} grants the other user {permission:?}");
            all.push(setting(name, &callers).grant(on, OTHER, permission));
        }
    }
    let public = |whom, permission| {
        let name = format!("ACLs of bucket and object grant {whom:?} {permission:?}");
        let public = setting(name, &callers).grant(Level::Bucket, whom, permission);
        public.grant(Level::Object, whom, permission)
    };
    for permission in [Read, Write, ReadAcp, WriteAcp] {
        all.push(public(Whom::Everybody, permission));
    }
    all.push(public(Whom::Known, FullControl));
    all.push(Setting {
        name: "ACLs grant everybody everything, public access is blocked".to_owned(),
        callers: vec![Owner, Other, Anonymous],
        ..public(Whom::Everybody, FullControl).blocked()
    });
    all
}
