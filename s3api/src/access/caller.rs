//! Whose request it is, and how it came.

use super::policy::Policy;
use super::subject::{Owner, Subject};
use crate::admin::api_keys::ApiCaller;
use crate::error::{Code, Result, S3Error};
use crate::users::{User, Users};
use engine::platform::Platform;
use http::Peer;
use std::cell::{Cell, OnceCell};
use std::rc::Rc;

#[derive(Debug, Clone)]
pub struct Caller {
    pub subject: Subject,
    /// Of a user.
    pub user: Option<Rc<User>>,
    pub peer: Peer,
    /// The signature came in the query.
    pub is_presigned: bool,
    /// The signature came in a form.
    pub is_form: bool,
    /// There is no signature: the management port has signed them in.
    pub is_vouched: bool,
    /// With which API key, where it was one.
    pub manager: Option<Rc<ApiCaller>>,
    /// Who signed the form that came without any other signature.
    pub(crate) form_signer: OnceCell<Box<Caller>>,
    /// What is read becomes the body of an error.
    pub is_for_error: bool,
    /// When the signature was made, in seconds since the Unix epoch; none without one.
    pub signed_at: Option<i64>,
    /// Now, in seconds since the Unix epoch.
    pub now: i64,
    /// The decision depends on the object, and is made of each that is looked at.
    pub(crate) is_by_object: Cell<bool>,
    /// The decision is still to be made.
    pub(crate) is_undecided: Cell<bool>,
}

impl Caller {
    pub fn new(subject: Subject, user: Option<Rc<User>>) -> Self {
        Self {
            subject,
            user,
            peer: Peer::default(),
            is_presigned: false,
            is_form: false,
            is_vouched: false,
            manager: None,
            form_signer: OnceCell::new(),
            is_for_error: false,
            signed_at: None,
            now: 0,
            is_by_object: Cell::new(false),
            is_undecided: Cell::new(false),
        }
    }

    /// Whoever has an access key whose signature was found good, or nobody.
    pub fn of_access_key<P: Platform>(
        users: &Users<'_, P>,
        access_key: Option<&str>,
    ) -> Result<Self> {
        match access_key {
            None => Ok(Self::new(Subject::Anonymous, None)),
            Some(key) if key == users.root.access_key => Ok(Self::root(users.root.clone())),
            Some(key) => {
                let user = users.by_access_key(key)?;
                // It may have gone within the last microseconds.
                let user = user.ok_or_else(|| S3Error::from(Code::InvalidAccessKeyId))?;
                Ok(Self::new(Subject::User(user.owner.clone()), Some(user)))
            }
        }
    }

    pub fn root(owner: Rc<Owner>) -> Self {
        Self::new(Subject::Root(owner), None)
    }

    /// Who it was in the end: the signer of a form, where one came.
    pub fn in_the_end(&self) -> &Self {
        self.form_signer.get().map_or(self, |signer| signer)
    }

    /// As what the caller owns things, and is shown in documents.
    pub fn owner(&self) -> &Owner {
        self.subject.owner()
    }

    /// The policies of the caller's own.
    pub(super) fn policies(&self) -> impl Iterator<Item = &Policy> {
        self.user.iter().flat_map(|user| user.policies.values())
    }
}
