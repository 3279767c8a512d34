//! Where a row is played: buckets with what a row and a setting ask for, and what is to be seen of them.
//!
//! Buckets are made afresh for each scene and left behind, so that no scene can hold a trace of another.

use super::cast::{Cast, Manager};
use super::model::{Grant, Level, Permission, Setting, Statement, What, When, Who, Whom};
use super::row::{KEPT, Need, On, Place, Row};
use super::table::{HOLD, RETENTION};
use ringfort_tests::harness::client::{Answer, Client, Request};
use serde_json::{Value, json};
use std::sync::Mutex;

/// The bytes of the object that is there.
pub(super) const CONTENT: &str = "bytes that no stranger may see";
/// What is kept with it.
pub(super) const SECRETS: [&str; 2] = ["secret-tag", "secret-metadata"];

/// The names of one place.
#[derive(Debug, Clone, Default)]
pub(super) struct Scene {
    pub(super) bucket: String,
    source: String,
    version: String,
    upload: String,
    part_etag: String,
    /// Of the object that is there.
    pub(super) etag: String,
}

impl Scene {
    pub(super) fn fill(&self, text: &str) -> String {
        let values = [
            ("{b}", &self.bucket),
            ("{s}", &self.source),
            ("{v}", &self.version),
            ("{u}", &self.upload),
            ("{e}", &self.part_etag),
        ];
        values.into_iter().fold(text.to_owned(), |text, (name, value)| text.replace(name, value))
    }

    /// The same, but for another bucket.
    pub(super) fn in_bucket(&self, bucket: &str) -> Self {
        Self { bucket: bucket.to_owned(), ..self.clone() }
    }
}

pub(super) struct Stage<'a> {
    pub(super) root: Client,
    pub(super) manager: &'a Mutex<Manager>,
    pub(super) cast: &'a Cast,
    /// In front of the names of buckets.
    pub(super) prefix: String,
    pub(super) made: usize,
}

impl Stage<'_> {
    pub(super) fn name(&mut self) -> String {
        self.made += 1;
        format!("{}{}", self.prefix, self.made)
    }

    /// What somebody does, who must be let do it.
    pub(super) fn by(&mut self, who: Who, request: Request) -> Answer {
        let signing = self.cast.signing(who, super::model::Style::Path);
        let request = request.signed_by(signing);
        let answer = self.root.call(&request);
        let is_good = answer.status < 300;
        assert!(is_good, "{who:?} {} {}: {}", request.method, request.path, answer.text());
        answer
    }

    fn set(&mut self, target: &str, body: impl Into<Vec<u8>>) -> Answer {
        self.by(Who::Root, Request::new("PUT", target).body(body))
    }

    /// Makes the place of a row, with what the setting says of it; users are as [`Self::set_users`] left them.
    pub(super) fn build(&mut self, row: &Row, setting: &Setting) -> Scene {
        let mut scene = Scene { bucket: self.name(), ..Scene::default() };
        if row.place == Place::Nothing {
            return scene;
        }
        let bucket = scene.bucket.clone();
        self.make_bucket(&bucket, row.place == Place::Locked, row.place.has_versions());
        let mut home = bucket.clone();
        if row.place.has_source() {
            scene.source = self.name();
            home.clone_from(&scene.source);
            self.make_bucket(&home, false, row.place.has_versions());
        }
        if row.place.has_object() {
            self.put_object(&mut scene, &home, setting.is_others_object);
        }
        if row.place == Place::Locked {
            self.set(&format!("/{bucket}/{KEPT}?retention="), RETENTION);
            self.set(&format!("/{bucket}/{KEPT}?legal-hold="), HOLD);
        }
        if row.place.has_upload() {
            let target = format!("/{bucket}/{KEPT}?uploads=");
            let begun = self.by(Who::Root, Request::new("POST", &target).body(""));
            scene.upload = begun.element("UploadId").unwrap();
            let part = scene.fill("/{b}/kept?partNumber=1&uploadId={u}");
            scene.part_etag = self.set(&part, "part").header("etag").unwrap().to_owned();
        }
        for (method, target, body) in &row.before {
            let request = Request::new(method, &scene.fill(target)).body(scene.fill(body));
            self.by(Who::Root, request);
        }
        self.grant(row, setting, &scene, &home);
        for bucket in [Some(bucket), Some(scene.source.clone())].into_iter().flatten() {
            if bucket.is_empty() {
                continue;
            }
            if setting.is_enforced {
                let rule = "<Rule><ObjectOwnership>BucketOwnerEnforced</ObjectOwnership></Rule>";
                let body = format!("<OwnershipControls>{rule}</OwnershipControls>");
                self.set(&format!("/{bucket}?ownershipControls="), body);
            }
            let statements = self.statements(&setting.of_bucket, row, &scene, Some(&bucket));
            if !statements.is_empty() {
                let policy = json!({"Version": "2012-10-17", "Statement": statements});
                self.set(&format!("/{bucket}?policy="), policy.to_string());
            }
            if setting.is_blocked {
                let body = "<PublicAccessBlockConfiguration>\
                    <IgnorePublicAcls>true</IgnorePublicAcls>\
                    <RestrictPublicBuckets>true</RestrictPublicBuckets>\
                    </PublicAccessBlockConfiguration>";
                self.set(&format!("/{bucket}?publicAccessBlock="), body);
            }
        }
        scene
    }

    fn make_bucket(&mut self, bucket: &str, is_locked: bool, has_versions: bool) {
        let mut request = Request::new("PUT", &format!("/{bucket}")).body("");
        if is_locked {
            request = request.header("x-amz-bucket-object-lock-enabled", "true");
        }
        self.by(Who::Owner, request);
        if has_versions {
            let status = "<Status>Enabled</Status>";
            let body = format!("<VersioningConfiguration>{status}</VersioningConfiguration>");
            self.set(&format!("/{bucket}?versioning="), body);
        }
    }

    fn put_object(&mut self, scene: &mut Scene, home: &str, is_others: bool) {
        let acl = |request: Request, name, value: &str| request.header(name, value).body("");
        let to_acl = || Request::new("PUT", &format!("/{home}?acl="));
        if is_others {
            let id = format!("id=\"{}\"", self.cast.other.canonical_id);
            self.by(Who::Root, acl(to_acl(), "x-amz-grant-write", &id));
        }
        let request = Request::new("PUT", &format!("/{home}/{KEPT}"))
            .header("x-amz-meta-inner", SECRETS[1])
            .body(CONTENT);
        let writer = if is_others { Who::Other } else { Who::Root };
        let put = self.by(writer, request);
        scene.version = put.header("x-amz-version-id").unwrap_or("null").to_owned();
        scene.etag = put.header("etag").unwrap().trim_matches('"').to_owned();
        let tag = format!("<Tag><Key>t</Key><Value>{}</Value></Tag>", SECRETS[0]);
        let tags = format!("<Tagging><TagSet>{tag}</TagSet></Tagging>");
        self.set(&format!("/{home}/{KEPT}?tagging="), tags);
        if is_others {
            self.by(Who::Root, acl(to_acl(), "x-amz-acl", "private"));
        }
    }

    fn grant(&mut self, row: &Row, setting: &Setting, scene: &Scene, home: &str) {
        for level in [Level::Bucket, Level::Object] {
            let grants: Vec<&Grant> = setting.grants.iter().filter(|it| it.on == level).collect();
            if grants.is_empty() {
                continue;
            }
            let targets = match level {
                Level::Bucket if scene.source.is_empty() => vec![format!("/{}?acl=", scene.bucket)],
                Level::Bucket => vec![format!("/{}?acl=", scene.bucket), format!("/{home}?acl=")],
                Level::Object if row.place.has_object() => vec![format!("/{home}/{KEPT}?acl=")],
                Level::Object => vec![],
            };
            for target in targets {
                let mut request = Request::new("PUT", &target).body("");
                for grant in &grants {
                    let grantee = match grant.whom {
                        Whom::Everybody => {
                            "uri=\"http://acs.amazonaws.com/groups/global/AllUsers\"".to_owned()
                        }
                        Whom::Known => {
                            "uri=\"http://acs.amazonaws.com/groups/global/AuthenticatedUsers\""
                                .to_owned()
                        }
                        Whom::One(who) => format!("id=\"{}\"", self.cast.person(who).canonical_id),
                    };
                    let header = match grant.permission {
                        Permission::Read => "x-amz-grant-read",
                        Permission::Write => "x-amz-grant-write",
                        Permission::ReadAcp => "x-amz-grant-read-acp",
                        Permission::WriteAcp => "x-amz-grant-write-acp",
                        Permission::FullControl => "x-amz-grant-full-control",
                    };
                    request = request.header(header, &grantee);
                }
                self.by(Who::Root, request);
            }
        }
    }

    /// Gives the users the policies of a setting for a place, or takes those away.
    pub(super) fn set_users(&mut self, row: &Row, setting: &Setting, scene: Option<&Scene>) {
        for who in [Who::Owner, Who::Other] {
            let own: Vec<Statement> =
                setting.of_users.iter().filter(|it| it.whom == Whom::One(who)).copied().collect();
            let path = format!("credentials/{}/policies/matrix", self.cast.person(who).number);
            if own.is_empty() {
                continue;
            }
            match scene {
                None => self.manager.lock().unwrap().expect(200, "DELETE", &path, ""),
                Some(scene) => {
                    let statements = self.statements(&own, row, scene, None);
                    let policy = json!({"Version": "2012-10-17", "Statement": statements});
                    self.manager.lock().unwrap().expect(200, "PUT", &path, &policy.to_string())
                }
            };
        }
    }

    /// Statements as policies have them; `bucket`: as that bucket's has them, and no user's.
    fn statements(
        &self,
        all: &[Statement],
        row: &Row,
        scene: &Scene,
        bucket: Option<&str>,
    ) -> Vec<Value> {
        let arn = |text: &str| format!("arn:aws:s3:::{text}");
        let resource = |need: &Need| match need.on {
            On::Service => "*".to_owned(),
            On::NewBucket | On::Bucket => arn(&scene.bucket),
            On::Key(key) => arn(&format!("{}/{key}", scene.bucket)),
            On::Source => arn(&scene.source),
            On::SourceKey(key) => arn(&format!("{}/{key}", scene.source)),
        };
        let is_here = |need: &Need| match bucket {
            None => true,
            Some(bucket) => {
                (if need.on.is_source() { &scene.source } else { &scene.bucket }) == bucket
            }
        };
        let everything = match bucket {
            None => json!("*"),
            Some(bucket) => json!([arn(bucket), arn(&format!("{bucket}/*"))]),
        };
        let mut made = Vec::new();
        for statement in all {
            let mut add = |name: &str, actions: Value, resources: Value| {
                let effect = if statement.allows { "Allow" } else { "Deny" };
                let mut made_one = json!({"Effect": effect, name: actions, "Resource": resources});
                let tag = match statement.when {
                    When::Always => None,
                    When::Tagged => Some(SECRETS[0]),
                    When::OtherwiseTagged => Some("another-tag"),
                };
                if let Some(tag) = tag {
                    let condition = json!({"StringEquals": {"s3:ExistingObjectTag/t": tag}});
                    made_one["Condition"] = condition;
                }
                if bucket.is_some() {
                    made_one["Principal"] = match statement.whom {
                        Whom::One(who) => {
                            let name = &self.cast.person(who).name;
                            json!({"AWS": format!("arn:aws:iam::123456789012:user/{name}")})
                        }
                        _ => json!("*"),
                    };
                }
                made.push(made_one);
            };
            let mut add_need =
                |need: &Need| add("Action", json!(need.action), json!(resource(need)));
            match statement.what {
                What::Needed => row.needs.iter().filter(|need| is_here(need)).for_each(add_need),
                What::Only(place) if is_here(&row.needs[place]) => add_need(&row.needs[place]),
                What::Only(_) => {}
                What::AllBut(place) if is_here(&row.needs[place]) => {
                    add("NotAction", json!(row.needs[place].action), everything.clone());
                }
                What::Everything | What::AllBut(_) => {
                    add("Action", json!("s3:*"), everything.clone())
                }
            }
        }
        made
    }

    /// All that root sees of a place.
    pub(super) fn look(&mut self, row: &Row, scene: &Scene) -> Vec<String> {
        const OF_BUCKET: [&str; 17] = [
            "",
            "?versions=",
            "?uploads=",
            "?policy=",
            "?acl=",
            "?tagging=",
            "?versioning=",
            "?object-lock=",
            "?publicAccessBlock=",
            "?ownershipControls=",
            "?cors=",
            "?encryption=",
            "?lifecycle=",
            "?logging=",
            "?notification=",
            "?website=",
            "?requestPayment=",
        ];
        const OF_OBJECT: [&str; 5] = ["", "?acl=", "?tagging=", "?retention=", "?legal-hold="];
        let mut targets: Vec<String> =
            OF_BUCKET.iter().map(|query| format!("/{}{query}", scene.bucket)).collect();
        let home = if scene.source.is_empty() { &scene.bucket } else { &scene.source };
        if row.place.has_object() {
            targets.extend(OF_OBJECT.iter().map(|query| format!("/{home}/{KEPT}{query}")));
        }
        if row.place.has_upload() {
            targets.push(scene.fill("/{b}/kept?uploadId={u}"));
        }
        let mut seen = Vec::new();
        for target in targets {
            let answer = self.root.call(&Request::new("GET", &target));
            let told = if answer.status < 300 { answer.text() } else { answer.code() };
            seen.push(format!("{target}: {} {told}", answer.status));
        }
        seen
    }
}
