//! One row of the matrix: how an operation is asked for, what it needs, and what it answers who may.
//!
//! In targets, headers, bodies and steps `{b}` stands for the bucket, `{s}` for the bucket that is copied
//! from, `{v}` for the version of the object that is there, `{u}` for the upload and `{e}` for the ETag of its part.

use s3api::route::Operation;

/// The key of the object that is there.
pub(super) const KEPT: &str = "kept";
/// A key under which nothing is.
pub(super) const GONE: &str = "gone";

/// What an action is done to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum On {
    Service,
    /// A bucket that is not there yet.
    NewBucket,
    Bucket,
    Key(&'static str),
    /// The bucket that is copied from.
    Source,
    SourceKey(&'static str),
}

impl On {
    pub(super) fn is_source(self) -> bool {
        matches!(self, Self::Source | Self::SourceKey(_))
    }

    pub(super) fn has_no_bucket(self) -> bool {
        matches!(self, Self::Service | Self::NewBucket)
    }

    /// Whether it is the object that is there.
    pub(super) fn is_kept(self) -> bool {
        matches!(self, Self::Key(KEPT) | Self::SourceKey(KEPT))
    }
}

/// An action of IAM's that the operation needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Need {
    pub(super) action: &'static str,
    pub(super) on: On,
}

/// What is there beforehand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// Not even the bucket.
    Nothing,
    Empty,
    Object,
    /// An object in a bucket with versions.
    Versioned,
    /// The same with object lock.
    Locked,
    /// An object, and an upload of one part to its key.
    Upload,
    /// An object in a second bucket.
    Source,
    /// The same with versions.
    VersionedSource,
    /// The same, and an upload.
    UploadAndSource,
}

impl Place {
    pub(super) fn has_source(self) -> bool {
        matches!(self, Self::Source | Self::VersionedSource | Self::UploadAndSource)
    }

    pub(super) fn has_upload(self) -> bool {
        matches!(self, Self::Upload | Self::UploadAndSource)
    }

    pub(super) fn has_object(self) -> bool {
        !matches!(self, Self::Nothing | Self::Empty)
    }

    pub(super) fn has_versions(self) -> bool {
        matches!(self, Self::Versioned | Self::Locked | Self::VersionedSource)
    }
}

/// Something that root does to make the place what it is to be: method, target, body.
pub(super) type Step = (&'static str, &'static str, &'static str);

#[derive(Debug, Clone)]
pub(super) struct Row {
    pub(super) operation: Operation,
    /// What is special about it, where an operation has several rows.
    pub(super) what: &'static str,
    pub(super) method: &'static str,
    pub(super) target: String,
    /// For a form: its fields.
    pub(super) headers: Vec<(&'static str, String)>,
    pub(super) body: String,
    pub(super) place: Place,
    pub(super) before: Vec<Step>,
    pub(super) needs: Vec<Need>,
    /// Status and, of an error, code that who may is answered with.
    pub(super) answer: (u16, &'static str),
    /// The same where the object is not there; none if that makes no difference.
    pub(super) missing: Option<(u16, &'static str)>,
    /// The place is another one afterwards.
    pub(super) consumes: bool,
    /// It is decided about each key, and refusals stand in an answer of 200.
    pub(super) is_per_key: bool,
    /// It asks nobody who they are.
    pub(super) is_open: bool,
}

/// A row for `METHOD TARGET` on a bucket without objects, that answers 200.
pub(super) fn row(operation: Operation, line: &'static str) -> Row {
    let (method, target) = line.split_once(' ').unwrap();
    Row {
        operation,
        what: "",
        method,
        target: target.to_owned(),
        headers: Vec::new(),
        body: String::new(),
        place: Place::Empty,
        before: Vec::new(),
        needs: Vec::new(),
        answer: (200, ""),
        missing: None,
        consumes: false,
        is_per_key: false,
        is_open: false,
    }
}

impl Row {
    pub(super) fn what(self, what: &'static str) -> Self {
        Self { what, ..self }
    }

    pub(super) fn needs(mut self, on: On, actions: &[&'static str]) -> Self {
        self.needs.extend(actions.iter().map(|action| Need { action, on }));
        self
    }

    pub(super) fn at(self, place: Place) -> Self {
        Self { place, ..self }
    }

    pub(super) fn header(mut self, name: &'static str, value: &str) -> Self {
        self.headers.push((name, value.to_owned()));
        self
    }

    pub(super) fn body(self, body: &str) -> Self {
        Self { body: body.to_owned(), ..self }
    }

    pub(super) fn after(
        mut self,
        method: &'static str,
        target: &'static str,
        body: &'static str,
    ) -> Self {
        self.before.push((method, target, body));
        self
    }

    pub(super) fn answers(self, status: u16, code: &'static str) -> Self {
        Self { answer: (status, code), ..self }
    }

    pub(super) fn missing(self, status: u16, code: &'static str) -> Self {
        Self { missing: Some((status, code)), ..self }
    }

    pub(super) fn consumes(self) -> Self {
        Self { consumes: true, ..self }
    }

    pub(super) fn per_key(self) -> Self {
        Self { is_per_key: true, ..self }
    }

    pub(super) fn open(self) -> Self {
        Self { is_open: true, ..self }
    }

    pub(super) fn name(&self) -> String {
        let gap = if self.what.is_empty() { "" } else { " " };
        format!("{}{gap}{}", self.operation.name(), self.what)
    }

    pub(super) fn is_form(&self) -> bool {
        self.operation == Operation::PostObject
    }

    pub(super) fn is_read(&self) -> bool {
        matches!(self.method, "GET" | "HEAD" | "OPTIONS")
    }

    /// The same asked of a key under which nothing is.
    pub(super) fn of_gone_key(&self) -> Self {
        let mut row = self.clone();
        row.target = row.target.replace(KEPT, GONE);
        row.body = row.body.replace(KEPT, GONE);
        for (_, value) in &mut row.headers {
            *value = value.replace(KEPT, GONE);
        }
        for need in &mut row.needs {
            need.on = match need.on {
                On::Key(KEPT) => On::Key(GONE),
                On::SourceKey(KEPT) => On::SourceKey(GONE),
                other => other,
            };
        }
        row
    }

    /// What who may not list needs besides, to be told that a key is not there.
    pub(super) fn listing(&self) -> Need {
        let on = match self.needs.iter().any(|need| need.on.is_source()) {
            true => On::Source,
            false => On::Bucket,
        };
        let of_version = self.target.contains("versionId");
        let action = if of_version { "s3:ListBucketVersions" } else { "s3:ListBucket" };
        Need { action, on }
    }
}
