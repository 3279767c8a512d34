//! Where an operation puts the bytes of an object or part: straight into the engine's buffers, and
//! encrypted there if they are to be.
//!
//! Not here: what is computed of the bytes as they pass (`receive`).

use super::encryption::Sealing;
use crate::encryption::blocks::{StreamCipher, sealed_size};
use crate::encryption::sealer::Sealer;
use crate::error::Result;
use engine::checksum::Md5;
use engine::platform::Platform;
use engine::{Commit, Committed, ObjectWriter};

/// Takes plain bytes.
#[derive(Debug)]
pub(super) struct BodyWriter<P: Platform> {
    form: Form<P>,
    /// The ETag is not to be the MD5 of the plain bytes.
    hides_md5: bool,
}

#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "the usual form is to cost no allocation")]
enum Form<P: Platform> {
    Plain(ObjectWriter<P>),
    Sealed(Box<Sealer<ObjectWriter<P>>>),
}

/// How many bytes are stored for so many plain ones, if that is known.
pub(super) fn stored_size(plain_bytes: Option<u64>, sealing: Option<&Sealing>) -> Option<u64> {
    if sealing.is_some() { plain_bytes.map(sealed_size) } else { plain_bytes }
}

impl<P: Platform> BodyWriter<P> {
    /// `writer` is one for [`stored_size`] bytes. `part` is the number of a part, else 0.
    pub(super) fn new(
        writer: ObjectWriter<P>,
        plain_bytes: Option<u64>,
        part: u16,
        sealing: Option<&Sealing>,
    ) -> Result<Self> {
        let Some(sealing) = sealing else {
            return Ok(Self { form: Form::Plain(writer), hides_md5: false });
        };
        let cipher = StreamCipher::new(&sealing.data_key, &sealing.envelope.salt, part)?;
        let sealer = Sealer::new(writer, cipher, plain_bytes);
        let hides_md5 = !sealing.shown.has_md5_etag();
        Ok(Self { form: Form::Sealed(Box::new(sealer)), hides_md5 })
    }

    /// Plain bytes received so far.
    pub(super) fn written(&self) -> u64 {
        match &self.form {
            Form::Plain(writer) => writer.written(),
            Form::Sealed(sealer) => sealer.written(),
        }
    }

    /// Where the next plain bytes go; never empty.
    pub(super) fn spare(&mut self) -> &mut [u8] {
        match &mut self.form {
            Form::Plain(writer) => writer.spare(),
            Form::Sealed(sealer) => sealer.spare(),
        }
    }

    /// Takes the first `bytes` of the spare into an MD5, together with those of other uploads, before
    /// [`Self::advance`] says that they were filled. If the future is dropped the body is lost.
    pub(super) async fn update_md5(&mut self, md5: &mut Md5, bytes: usize) {
        match &mut self.form {
            Form::Plain(writer) => writer.update_md5(md5, 0..bytes).await,
            Form::Sealed(sealer) => sealer.update_md5(md5, bytes).await,
        }
    }

    /// Says that the first `bytes` of the spare were filled. They are plain no more afterwards.
    pub(super) async fn advance(&mut self, bytes: usize) -> Result<()> {
        match &mut self.form {
            Form::Plain(writer) => Ok(writer.advance(bytes).await?),
            Form::Sealed(sealer) => sealer.advance(bytes).await,
        }
    }

    /// Whether the MD5 of the plain bytes is needed for the ETag.
    pub(super) fn wants_md5(&self) -> bool {
        !self.hides_md5
    }

    /// To be called when the body has ended: nothing is plain any more. Gives the 16 bytes of the ETag if
    /// they are not the MD5 of the plain bytes.
    pub(super) async fn close(&mut self) -> Result<Option<[u8; 16]>> {
        match &mut self.form {
            Form::Plain(_) => Ok(None),
            Form::Sealed(sealer) => {
                let tags = sealer.close().await?;
                Ok(self.hides_md5.then_some(tags))
            }
        }
    }

    /// Makes the body visible, with the size that it had before it was encrypted.
    pub(super) async fn finish(self, mut commit: Commit) -> Result<Committed, engine::Error> {
        match self.form {
            Form::Plain(writer) => writer.finish(commit).await,
            Form::Sealed(sealer) => {
                commit.shown_size = Some(sealer.written());
                sealer.into_sink().finish(commit).await
            }
        }
    }
}
