//! The check of a request's signature, header form, with the day's key already derived.
//!
//! The load generator's signer makes the signatures: it shares no code with what checks them.

use crate::sample::{self, ACCESS_KEY, REGION, SECRET_KEY, STAMP_SECONDS};
use criterion::Criterion;
use http::RequestHead;
use s3api::auth::{Authenticator, Credentials};
use std::hint::black_box;

pub(crate) fn benches(criterion: &mut Criterion) {
    let credentials = Credentials::new(REGION);
    credentials.insert(ACCESS_KEY, SECRET_KEY);
    let authenticator = Authenticator::new(credentials);
    let mut group = criterion.benchmark_group("SigV4 verification");
    for (name, head) in [("GET", sample::get_head()), ("PUT", sample::put_head())] {
        let head = RequestHead::parse(&head).expect("the head is well-formed");
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                let found = authenticator.authenticate(black_box(&head), STAMP_SECONDS, &());
                found.expect("the signature is good")
            });
        });
    }
    group.finish();
}
