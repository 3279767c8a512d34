//! A request's body, decoded from its framing while it is read.

use std::marker::PhantomData;

use crate::{Error, Result, Stream};

/// The body of one request, read straight into the service's buffers.
#[derive(Debug)]
pub struct RequestBody<'a, S> {
    stream: PhantomData<&'a mut S>,
}

impl<S: Stream> RequestBody<'_, S> {
    /// Reads some bytes of the body; 0 is its verified end. After an error every further read
    /// fails too.
    pub async fn read(&mut self, _buffer: &mut [u8]) -> Result<usize> {
        Err(Error::UnexpectedEnd)
    }

    /// Bytes still to come, where the length was declared.
    pub fn remaining(&self) -> Option<u64> {
        None
    }
}
