//! One writer of the kill loop: its keys, its requests, and what it checks after a restart.

use std::collections::BTreeMap;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};

use ringfort_tests::harness::chance::Chance;
use ringfort_tests::harness::client::{Answer, Client, Request};

use super::BUCKET;
use super::oracle::{Known, Object};

/// The least that a part but the last may have.
const PART_BYTES: usize = 5 << 20;

/// What a writer writes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Load {
    /// Keys of one writer.
    pub(super) keys: u64,
    pub(super) sizes: &'static [usize],
    pub(super) upload_bytes: usize,
    /// The store is small: 507 is an answer, and says that nothing was done.
    pub(super) scarce: bool,
}

/// What became of the writes of one round.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Tally {
    pub(super) acknowledged: u64,
    /// For want of space.
    pub(super) refused: u64,
}

/// Why a write did not take place.
enum Failure {
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

pub(super) struct Writer {
    number: u64,
    load: Load,
    chance: Chance,
    written: u64,
    keys: BTreeMap<String, Known>,
    upload: Option<Upload>,
    rename: Option<Rename>,
}

/// A rename that has had no answer yet.
struct Rename {
    from: String,
    to: String,
    object: Object,
}

/// A multipart upload that outlives kills.
struct Upload {
    key: String,
    id: String,
    object: Object,
    /// Acknowledged parts: number and ETag.
    parts: Vec<(usize, String)>,
    is_completing: bool,
}

impl Upload {
    fn part_content(&self, number: usize) -> Vec<u8> {
        let content = self.object.content();
        let begin = (number - 1) * PART_BYTES;
        content[begin..(begin + PART_BYTES).min(content.len())].to_vec()
    }

    fn parts_wanted(&self) -> usize {
        self.object.size.div_ceil(PART_BYTES)
    }

    fn target(&self) -> String {
        format!("{BUCKET}/{}?uploadId={}", self.key, self.id)
    }
}

impl Writer {
    pub(super) fn new(number: u64, load: Load, chance: Chance) -> Self {
        Self { number, load, chance, written: 0, keys: BTreeMap::new(), upload: None, rename: None }
    }

    pub(super) fn present_keys(&self) -> impl Iterator<Item = String> {
        let present = self.keys.iter().filter(|(_, known)| known.settled().is_some());
        present.map(|(key, _)| key.clone())
    }

    pub(super) fn open_uploads(&self) -> usize {
        usize::from(self.upload.is_some())
    }

    /// Writes until the server is gone.
    pub(super) fn write_until_the_end(
        &mut self,
        mut client: Client,
        is_ending: &AtomicBool,
    ) -> Tally {
        let mut tally = Tally::default();
        loop {
            match self.write(&mut client) {
                Ok(()) => tally.acknowledged += 1,
                Err(Failure::Refused) => tally.refused += 1,
                Err(Failure::Cut(error)) => {
                    assert!(is_ending.load(Ordering::SeqCst), "before the kill: {error}");
                    return tally;
                }
            }
        }
    }

    fn write(&mut self, client: &mut Client) -> Result<(), Failure> {
        match self.chance.below(20) {
            0..=2 => self.delete(client),
            3..=4 => self.copy(client),
            5..=6 => self.multipart_step(client),
            7..=8 => self.rename(client),
            _ => self.put(client),
        }
    }

    fn put(&mut self, client: &mut Client) -> Result<(), Failure> {
        let key = self.pick_key();
        let size = *self.chance.of(self.load.sizes);
        let object = self.next_object(size);
        let request = Request::new("PUT", &path(&key)).body(object.content());
        self.change(client, &key, Some(object), &request, 200).map(drop)
    }

    fn delete(&mut self, client: &mut Client) -> Result<(), Failure> {
        let key = self.pick_key();
        self.change(client, &key, None, &Request::new("DELETE", &path(&key)), 204).map(drop)
    }

    /// Onto itself with other metadata: the content stays, whatever happens.
    fn copy(&mut self, client: &mut Client) -> Result<(), Failure> {
        let key = self.pick_key();
        let Some(object) = self.known(&key).settled() else { return Ok(()) };
        let request = Request::new("PUT", &path(&key))
            .header("x-amz-copy-source", &path(&key))
            .header("x-amz-metadata-directive", "REPLACE");
        self.change(client, &key, Some(object), &request, 200).map(drop)
    }

    /// The two keys change in one step.
    fn rename(&mut self, client: &mut Client) -> Result<(), Failure> {
        let (from, to) = (self.pick_key(), self.pick_key());
        let Some(object) = self.known(&from).settled().filter(|_| from != to) else {
            return Ok(());
        };
        self.rename = Some(Rename { from: from.clone(), to: to.clone(), object });
        self.known(&from).begin(None);
        let request = Request::new("PUT", &format!("{}?renameObject=", path(&to)))
            .header("x-amz-rename-source", &from);
        match self.change(client, &to, Some(object), &request, 200) {
            Ok(_) => self.known(&from).acknowledge(),
            Err(Failure::Refused) => self.known(&from).refuse(),
            Err(cut) => return Err(cut),
        }
        self.rename = None;
        Ok(())
    }

    /// One that was under way when the server died took place in whole or not at all.
    fn verify_rename(&mut self) {
        let Some(Rename { from, to, object }) = self.rename.take() else { return };
        let (former, new) = (self.known(&from).settled(), self.known(&to).settled());
        let is_done = former.is_none() && new == Some(object);
        let is_undone = former == Some(object) && new != Some(object);
        assert!(is_done || is_undone, "half a rename of {from} to {to}: {former:?}, {new:?}");
    }

    /// Sends what makes `next` the content of a key.
    fn change(
        &mut self,
        client: &mut Client,
        key: &str,
        next: Option<Object>,
        request: &Request,
        status: u16,
    ) -> Result<Answer, Failure> {
        self.known(key).begin(next);
        let answer = carried_out(client.send(request)?, status, self.load);
        match &answer {
            Ok(_) => self.known(key).acknowledge(),
            Err(Failure::Refused) => self.known(key).refuse(),
            Err(Failure::Cut(_)) => {}
        }
        answer
    }

    /// Starts an upload, sends its next part, or completes it.
    fn multipart_step(&mut self, client: &mut Client) -> Result<(), Failure> {
        let load = self.load;
        let Some(upload) = &mut self.upload else { return self.create_upload(client) };
        let number = upload.parts.len() + 1;
        if number > upload.parts_wanted() {
            return self.complete_upload(client);
        }
        let target = format!("{BUCKET}/{}?partNumber={number}&uploadId={}", upload.key, upload.id);
        let request = Request::new("PUT", &target).body(upload.part_content(number));
        let answer = carried_out(client.send(&request)?, 200, load)?;
        upload.parts.push((number, answer.header("etag").unwrap().to_owned()));
        Ok(())
    }

    /// If this gets no answer, an upload may be left that nobody knows: `verify` aborts it.
    fn create_upload(&mut self, client: &mut Client) -> Result<(), Failure> {
        let key = self.pick_key();
        let object = self.next_object(self.load.upload_bytes);
        let request = Request::new("POST", &format!("{}?uploads=", path(&key)));
        let answer = carried_out(client.send(&request)?, 200, self.load)?;
        let id = answer.element("UploadId").unwrap();
        self.upload = Some(Upload { key, id, object, parts: Vec::new(), is_completing: false });
        Ok(())
    }

    fn complete_upload(&mut self, client: &mut Client) -> Result<(), Failure> {
        let upload = self.upload.as_mut().unwrap();
        let part = |(number, etag): &(usize, String)| {
            format!("<Part><PartNumber>{number}</PartNumber><ETag>{etag}</ETag></Part>")
        };
        let parts: String = upload.parts.iter().map(part).collect();
        let body = format!("<CompleteMultipartUpload>{parts}</CompleteMultipartUpload>");
        upload.is_completing = true;
        let (key, object) = (upload.key.clone(), upload.object);
        let request = Request::new("POST", &upload.target()).body(body);
        let answer = self.change(client, &key, Some(object), &request, 200)?;
        assert!(answer.element("ETag").is_some(), "{}", answer.text());
        self.upload = None;
        Ok(())
    }

    /// Reads everything back, and settles what was under way.
    pub(super) fn verify(&mut self, mut client: Client) {
        for (key, known) in &mut self.keys {
            let answer = client.get(&path(key));
            let head = client.call(&Request::new("HEAD", &path(key)));
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
        self.verify_rename();
        self.verify_upload(&mut client);
        self.abort_unknown_uploads(&mut client);
    }

    /// Acknowledged parts are there; a completion took place in whole or not at all.
    fn verify_upload(&mut self, client: &mut Client) {
        let Some(upload) = &mut self.upload else { return };
        let settled = self.keys.get(&upload.key).and_then(Known::settled);
        let answer = client.get(&upload.target());
        if answer.status == 404 {
            assert!(upload.is_completing, "an upload under way is gone: {}", answer.text());
            assert_eq!(settled, Some(upload.object), "half a completion");
            self.upload = None;
            return;
        }
        let text = answer.expect(200).text();
        for (_, etag) in &upload.parts {
            assert!(text.contains(etag.trim_matches('"')), "part {etag} is not in {text}");
        }
        assert_ne!(settled, Some(upload.object), "half a completion");
        upload.is_completing = false;
    }

    fn abort_unknown_uploads(&mut self, client: &mut Client) {
        let target = format!("{BUCKET}?prefix=w{}%2F&uploads=", self.number);
        let text = client.get(&target).expect(200).text();
        for row in text.split("<Upload>").skip(1) {
            let field = |name: &str| row.split(name).nth(1).unwrap().split('<').next().unwrap();
            let (key, id) = (field("<Key>"), field("<UploadId>"));
            if self.upload.as_ref().is_none_or(|upload| upload.id != id) {
                client.delete(&format!("{}?uploadId={id}", path(key))).expect(204);
            }
        }
    }

    fn pick_key(&mut self) -> String {
        format!("w{}/{}", self.number, self.chance.below(self.load.keys))
    }

    fn next_object(&mut self, size: usize) -> Object {
        self.written += 1;
        Object { seed: self.number << 32 | self.written, size }
    }

    fn known(&mut self, key: &str) -> &mut Known {
        self.keys.entry(key.to_owned()).or_default()
    }
}

fn path(key: &str) -> String {
    format!("{BUCKET}/{key}")
}

/// While it stops, the server may refuse: that ends the writer as a kill does, and leaves the key open.
fn carried_out(answer: Answer, status: u16, load: Load) -> Result<Answer, Failure> {
    match answer.status {
        503 => Err(Failure::Cut(io::Error::other(answer.text()))),
        507 if load.scarce => Err(Failure::Refused),
        _ => Ok(answer.expect(status)),
    }
}
