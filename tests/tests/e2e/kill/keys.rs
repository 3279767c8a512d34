//! Keys of one writer in one bucket: what each may hold, over answers, refusals and cuts.

use std::collections::BTreeMap;
use std::io;

use ringfort_tests::harness::client::{Answer, Client, Request};

use super::oracle::{Known, Object};

/// Why a write did not take place.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The server is gone, or says that it is going: the key is open.
    Cut(io::Error),
    /// There is no space, and nothing was done.
    Refused,
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Cut(error)
    }
}

/// While it stops, the server may refuse: that ends a writer as a kill does, and leaves the key open. In a
/// store that is `scarce`, 507 is an answer, and says that nothing was done; so is `SlowDown` for want of memory.
pub(crate) fn carried_out(answer: Answer, status: u16, scarce: bool) -> Result<Answer, Failure> {
    match answer.status {
        503 if scarce && answer.code() == "SlowDown" => Err(Failure::Refused),
        503 => Err(Failure::Cut(io::Error::other(answer.text()))),
        507 if scarce => Err(Failure::Refused),
        _ => Ok(answer.expect(status)),
    }
}

#[derive(Debug)]
pub(crate) struct Keys {
    bucket: &'static str,
    scarce: bool,
    known: BTreeMap<String, Known>,
}

impl Keys {
    /// `bucket` with its slash.
    pub(crate) fn new(bucket: &'static str, scarce: bool) -> Self {
        Self { bucket, scarce, known: BTreeMap::new() }
    }

    pub(crate) fn path(&self, key: &str) -> String {
        format!("{}/{key}", self.bucket)
    }

    pub(crate) fn known(&mut self, key: &str) -> &mut Known {
        self.known.entry(key.to_owned()).or_default()
    }

    pub(crate) fn settled(&self, key: &str) -> Option<Object> {
        self.known.get(key).and_then(Known::settled)
    }

    /// Those that hold an object, in order.
    pub(crate) fn present(&self) -> impl Iterator<Item = &str> {
        let present = self.known.iter().filter(|(_, known)| known.settled().is_some());
        present.map(|(key, _)| key.as_str())
    }

    /// Sends what makes `next` the content of a key.
    pub(crate) fn change(
        &mut self,
        client: &mut Client,
        key: &str,
        next: Option<Object>,
        request: &Request,
        status: u16,
    ) -> Result<Answer, Failure> {
        self.known(key).begin(next);
        let answer = carried_out(client.send(request)?, status, self.scarce);
        match &answer {
            Ok(_) => self.known(key).acknowledge(),
            Err(Failure::Refused) => self.known(key).refuse(),
            Err(Failure::Cut(_)) => {}
        }
        answer
    }

    pub(crate) fn put(
        &mut self,
        client: &mut Client,
        key: &str,
        object: Object,
    ) -> Result<(), Failure> {
        let request = Request::new("PUT", &self.path(key)).body(object.content());
        self.change(client, key, Some(object), &request, 200).map(drop)
    }

    pub(crate) fn delete(&mut self, client: &mut Client, key: &str) -> Result<(), Failure> {
        let request = Request::new("DELETE", &self.path(key));
        self.change(client, key, None, &request, 204).map(drop)
    }

    /// Reads a key on which no write is under way: it holds what it was last given.
    pub(crate) fn read(&mut self, client: &mut Client, key: &str) -> Result<(), Failure> {
        let answer = client.send(&Request::new("GET", &self.path(key)))?;
        let status = if self.settled(key).is_some() { 200 } else { 404 };
        let answer = carried_out(answer, status, false)?;
        self.known(key).settle(key, (status == 200).then_some(&answer.body));
        Ok(())
    }

    /// Reads everything back, and settles what was under way.
    pub(crate) fn verify(&mut self, client: &mut Client) {
        for (key, known) in &mut self.known {
            let path = format!("{}/{key}", self.bucket);
            let answer = client.get(&path);
            let head = client.call(&Request::new("HEAD", &path));
            assert_eq!(answer.status, head.status, "{key}");
            match answer.status {
                200 => {
                    let length = answer.body.len().to_string();
                    assert_eq!(head.header("content-length"), Some(length.as_str()), "{key}");
                    known.settle(key, Some(&answer.body));
                }
                404 => known.settle(key, None),
                _ => panic!("{key}: {answer:?}\n{}", answer.text()),
            }
        }
    }
}
