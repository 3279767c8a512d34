//! Listings: one page, and whether it is right.

use super::{End, Receiver, Worker, elements};
use crate::body::Body;
use crate::keyspace::name_key;
use crate::pace::Start;
use crate::request::Head;
use crate::workload::Operation;
use std::sync::Arc;

impl Worker {
    /// One page of keys, from a random key on.
    pub(super) async fn list(&mut self, start: Start) -> End {
        let after = self.shared.random.borrow_mut().below(self.shared.options.objects);
        self.write_list_head(after);
        let mut receiver = Receiver::collecting(&self.shared.pattern, &mut self.collected);
        let result =
            self.connection.exchange(&mut self.head, Body::None, false, &mut receiver).await;
        let answer = match result {
            Ok(answer) if answer.status == 200 => answer,
            other => return self.fail(Operation::List, start, other),
        };
        match self.judge_page(after) {
            Ok(()) => {
                let bytes = self.collected.len() as u64;
                self.complete(Operation::List, start, &answer, bytes);
            }
            Err(reason) => self.mismatch(Operation::List, &reason),
        }
        End::Done
    }

    fn write_list_head(&mut self, after: u64) {
        let options = Arc::clone(&self.shared.options);
        let prefix = options.key_prefix.replace('/', "%2F");
        let mut marker = String::new();
        name_key(&mut marker, &prefix, after);
        let (count, bucket) = (options.list_keys, &options.bucket);
        let query = format!("list-type=2&max-keys={count}&prefix={prefix}&start-after={marker}");
        self.path.clear();
        self.path.push('/');
        self.path.push_str(bucket);
        let head = Head { query: &query, ..Head::plain("GET", &self.target.host, &self.path) };
        self.shared.requests.borrow_mut().write(&head, &mut self.head);
    }

    /// Keys ascend and follow the marker; where every key is known to exist, none is missing.
    fn judge_page(&self, after: u64) -> Result<(), String> {
        let options = &self.shared.options;
        let text = std::str::from_utf8(&self.collected).map_err(|_| "not UTF-8".to_owned())?;
        let mut name = String::new();
        name_key(&mut name, &options.key_prefix, after);
        let (mut previous, mut count) = (name.clone(), 0u64);
        for key in elements(text, "<Key>", "</Key>") {
            if key <= previous.as_str() || !key.starts_with(&options.key_prefix) {
                return Err(format!("{key} does not belong behind {previous}"));
            }
            count += 1;
            if self.shared.listings_known && after + count < options.objects {
                name_key(&mut name, &options.key_prefix, after + count);
                if key != name {
                    return Err(format!("{name} is missing: {key} was listed in its place"));
                }
            }
            key.clone_into(&mut previous);
        }
        let expected = u64::from(options.list_keys).min(options.objects - 1 - after);
        if self.shared.listings_known && count < expected {
            return Err(format!("{count} keys behind {name}, expected at least {expected}"));
        }
        Ok(())
    }
}
