//! Requests of S3's that are under way within sessions, until the last byte of their answers is sent.
//!
//! Invariants: their number is bounded, of all and of one holder, so that transfers that nobody goes on
//! with leave connections of the management port for health, metrics and signing in; each is
//! counted until it is dropped, however it ends.

use std::cell::RefCell;
use std::io;
use std::rc::Rc;

use http::{Payload, Response, ResponseBody};

use super::session::Holder;
use crate::limits::{CONSOLE_REQUESTS_MAX, CONSOLE_REQUESTS_PER_HOLDER_MAX};

/// The holder of each request that is under way.
#[derive(Debug, Default, Clone)]
pub(super) struct Flight(Rc<RefCell<Vec<Holder>>>);

/// The place of one request.
#[derive(Debug)]
pub(super) struct Place {
    flight: Flight,
    holder: Holder,
}

impl Flight {
    /// A place for one more request, or why there is none.
    pub(super) fn enter(&self, holder: &Holder) -> Result<Place, &'static str> {
        let mut holders = self.0.borrow_mut();
        if holders.len() >= CONSOLE_REQUESTS_MAX {
            return Err("too many transfers are under way at the console; try again later");
        }
        let own = holders.iter().filter(|other| *other == holder).count();
        if own >= CONSOLE_REQUESTS_PER_HOLDER_MAX {
            return Err("too many transfers of yours are under way; end some, or try again later");
        }
        holders.push(holder.clone());
        Ok(Place { flight: self.clone(), holder: holder.clone() })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut holders = self.flight.0.borrow_mut();
        if let Some(at) = holders.iter().position(|holder| *holder == self.holder) {
            holders.swap_remove(at);
        }
    }
}

/// A body that keeps its request's place until it is sent or given up.
#[derive(Debug)]
pub struct Placed<B> {
    source: Source<B>,
    _place: Place,
}

#[derive(Debug)]
enum Source<B> {
    Stream(B),
    /// None once it was asked for.
    Bytes(Option<Vec<u8>>),
}

#[derive(Debug)]
pub enum Chunk<C> {
    Stream(C),
    Bytes(Vec<u8>),
}

impl<C: AsRef<[u8]>> AsRef<[u8]> for Chunk<C> {
    fn as_ref(&self) -> &[u8] {
        match self {
            Self::Stream(chunk) => chunk.as_ref(),
            Self::Bytes(bytes) => bytes,
        }
    }
}

impl<B: ResponseBody> ResponseBody for Placed<B> {
    type Chunk = Chunk<B::Chunk>;

    async fn next(&mut self) -> io::Result<Option<Self::Chunk>> {
        match &mut self.source {
            Source::Stream(body) => Ok(body.next().await?.map(Chunk::Stream)),
            Source::Bytes(bytes) => Ok(bytes.take().map(Chunk::Bytes)),
        }
    }
}

/// The same answer, whose body keeps the place.
pub(super) fn placed<B>(answer: Response<B>, place: Place) -> Response<Placed<B>> {
    answer.map_payload(|payload| {
        let length = payload.length();
        let source = match payload {
            Payload::Empty => return Payload::Empty,
            Payload::Static(bytes) => return Payload::Static(bytes),
            Payload::LengthOnly(length) => return Payload::LengthOnly(length),
            Payload::Bytes(bytes) => Source::Bytes(Some(bytes)),
            Payload::Stream { source, .. } => Source::Stream(source),
        };
        Payload::Stream { length, source: Placed { source, _place: place } }
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use http::NoBody;

    fn holder(number: usize) -> Holder {
        Holder::Person { access_key: number.to_string(), id: String::new() }
    }

    #[test]
    fn requests_under_way_are_bounded_and_counted_until_they_end() {
        let flight = Flight::default();
        let mut own: Vec<Place> = (0..CONSOLE_REQUESTS_PER_HOLDER_MAX)
            .map(|_| flight.enter(&holder(0)).unwrap())
            .collect();
        assert!(flight.enter(&holder(0)).unwrap_err().contains("of yours"));
        let others: Vec<Place> = (own.len()..CONSOLE_REQUESTS_MAX)
            .map(|number| flight.enter(&holder(number)).unwrap())
            .collect();
        assert!(flight.enter(&holder(1)).unwrap_err().contains("at the console"));
        own.pop();
        let answer = Response::<NoBody>::new(200).with_bytes(b"body".to_vec());
        let answer = placed(answer, flight.enter(&holder(1)).unwrap());
        assert_eq!(answer.payload.length(), 4);
        flight.enter(&holder(1)).unwrap_err();
        drop(answer);
        flight.enter(&holder(1)).unwrap();
        drop((own, others));
        assert!(flight.0.borrow().is_empty());
    }
}
