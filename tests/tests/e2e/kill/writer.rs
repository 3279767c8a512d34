//! One writer of the kill loop: its keys, its requests, and what it checks after a restart.

use std::sync::atomic::{AtomicBool, Ordering};

use ringfort_tests::harness::chance::Chance;
use ringfort_tests::harness::client::{Client, Request};

use super::BUCKET;
use super::keys::{Failure, Keys, carried_out};
use super::oracle::Object;

/// The least that a part but the last may have.
const PART_BYTES: usize = 5 << 20;

/// What a writer writes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Load {
    /// Keys of one writer.
    pub(crate) keys: u64,
    pub(crate) sizes: &'static [usize],
    pub(crate) upload_bytes: usize,
    /// The store is small: 507 is an answer, and says that nothing was done.
    pub(crate) scarce: bool,
}

/// What became of the writes of one round.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Tally {
    pub(crate) acknowledged: u64,
    /// For want of space.
    pub(crate) refused: u64,
}

pub(crate) struct Writer {
    number: u64,
    load: Load,
    chance: Chance,
    written: u64,
    keys: Keys,
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
    pub(crate) fn new(number: u64, load: Load, chance: Chance) -> Self {
        let keys = Keys::new(BUCKET, load.scarce);
        Self { number, load, chance, written: 0, keys, upload: None, rename: None }
    }

    pub(crate) fn present_keys(&self) -> impl Iterator<Item = &str> {
        self.keys.present()
    }

    pub(crate) fn open_uploads(&self) -> usize {
        usize::from(self.upload.is_some())
    }

    /// Writes until the server is gone.
    pub(crate) fn write_until_the_end(
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

    /// One write of any kind.
    pub(crate) fn write(&mut self, client: &mut Client) -> Result<(), Failure> {
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
        self.keys.put(client, &key, object)
    }

    fn delete(&mut self, client: &mut Client) -> Result<(), Failure> {
        let key = self.pick_key();
        self.keys.delete(client, &key)
    }

    /// Onto itself with other metadata: the content stays, whatever happens.
    fn copy(&mut self, client: &mut Client) -> Result<(), Failure> {
        let key = self.pick_key();
        let Some(object) = self.keys.settled(&key) else { return Ok(()) };
        let request = Request::new("PUT", &path(&key))
            .header("x-amz-copy-source", &path(&key))
            .header("x-amz-metadata-directive", "REPLACE");
        self.keys.change(client, &key, Some(object), &request, 200).map(drop)
    }

    /// The two keys change in one step.
    fn rename(&mut self, client: &mut Client) -> Result<(), Failure> {
        let (from, to) = (self.pick_key(), self.pick_key());
        let Some(object) = self.keys.settled(&from).filter(|_| from != to) else {
            return Ok(());
        };
        self.rename = Some(Rename { from: from.clone(), to: to.clone(), object });
        self.keys.known(&from).begin(None);
        let request = Request::new("PUT", &format!("{}?renameObject=", path(&to)))
            .header("x-amz-rename-source", &from);
        match self.keys.change(client, &to, Some(object), &request, 200) {
            Ok(_) => self.keys.known(&from).acknowledge(),
            Err(Failure::Refused) => self.keys.known(&from).refuse(),
            Err(cut) => return Err(cut),
        }
        self.rename = None;
        Ok(())
    }

    /// One that was under way when the server died took place in whole or not at all.
    fn verify_rename(&mut self) {
        let Some(Rename { from, to, object }) = self.rename.take() else { return };
        let (former, new) = (self.keys.settled(&from), self.keys.settled(&to));
        let is_done = former.is_none() && new == Some(object);
        let is_undone = former == Some(object) && new != Some(object);
        assert!(is_done || is_undone, "half a rename of {from} to {to}: {former:?}, {new:?}");
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
        let answer = carried_out(client.send(&request)?, 200, load.scarce)?;
        upload.parts.push((number, answer.header("etag").unwrap().to_owned()));
        Ok(())
    }

    /// If this gets no answer, an upload may be left that nobody knows: `verify` aborts it.
    fn create_upload(&mut self, client: &mut Client) -> Result<(), Failure> {
        let key = self.pick_key();
        let object = self.next_object(self.load.upload_bytes);
        let request = Request::new("POST", &format!("{}?uploads=", path(&key)));
        let answer = carried_out(client.send(&request)?, 200, self.load.scarce)?;
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
        let answer = self.keys.change(client, &key, Some(object), &request, 200)?;
        assert!(answer.element("ETag").is_some(), "{}", answer.text());
        self.upload = None;
        Ok(())
    }

    /// Reads everything back, and settles what was under way.
    pub(crate) fn verify(&mut self, mut client: Client) {
        self.keys.verify(&mut client);
        self.verify_rename();
        self.verify_upload(&mut client);
        self.abort_unknown_uploads(&mut client);
    }

    /// Acknowledged parts are there; a completion took place in whole or not at all.
    fn verify_upload(&mut self, client: &mut Client) {
        let Some(upload) = &mut self.upload else { return };
        let settled = self.keys.settled(&upload.key);
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

    /// Reads a key back while the server lives.
    pub(crate) fn read(&mut self, client: &mut Client) -> Result<(), Failure> {
        let key = self.pick_key();
        self.keys.read(client, &key)
    }

    fn pick_key(&mut self) -> String {
        format!("w{}/{}", self.number, self.chance.below(self.load.keys))
    }

    fn next_object(&mut self, size: usize) -> Object {
        self.written += 1;
        Object { seed: self.number << 32 | self.written, size }
    }
}

fn path(key: &str) -> String {
    format!("{BUCKET}/{key}")
}
