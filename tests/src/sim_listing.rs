//! Listings in a simulated history: what clients ask, and what the answer must be.

use crate::model::{Op, Outcome, ValueId};
use crate::sim_client::Client;
use crate::sim_world::{BUCKETS, Place};
use engine::{ListItem, ListQuery};
use std::collections::{BTreeMap, BTreeSet};

impl Client<'_> {
    /// Lists a bucket or a part of it, page by page; every key must have been as it is listed at some
    /// moment.
    pub(crate) async fn list(&self, bucket: usize) {
        let query = self.any_query(bucket);
        let keys = self.world.keys().iter().enumerate();
        let reads: Vec<_> = keys
            .filter(|(_, key)| is_asked_for(key, &query))
            .map(|(key, _)| ((bucket, key), self.world.begin((bucket, key), Op::Read)))
            .collect();
        let Some(items) = self.list_all(bucket, &query).await else {
            for (place, op) in reads {
                self.world.register(place, |register| register.drop_read(op));
            }
            return;
        };
        let listed: BTreeMap<&[u8], &ListItem> =
            items.iter().map(|item| (item.name(), item)).collect();
        for (place, op) in reads {
            match self.seen(place, &query, &listed) {
                Some(seen) => self.world.end(place, op, Outcome::Saw(seen)),
                None => self.world.register(place, |register| register.drop_read(op)),
            }
        }
    }

    /// What a listing says of a key; `None`: nothing.
    fn seen(
        &self,
        place: Place,
        query: &ListQuery,
        listed: &BTreeMap<&[u8], &ListItem>,
    ) -> Option<Option<ValueId>> {
        let key = self.world.key(place);
        let prefix = common_prefix(key, query);
        if prefix == Some(&query.after) {
            return None;
        }
        match listed.get(prefix.unwrap_or(key)) {
            None => Some(None),
            Some(ListItem::CommonPrefix(_)) => None,
            Some(ListItem::Key { current, .. }) => {
                Some(self.world.recognise(current, &self.world.name(place)))
            }
        }
    }

    fn any_query(&self, bucket: usize) -> ListQuery {
        let some_of = |place: Place| {
            let key = self.world.key(place);
            key[..self.world.below(key.len() as u64 + 1) as usize].to_vec()
        };
        let place = (bucket, self.world.any_place().1);
        let prefix = if self.world.one_in(3) { some_of(place) } else { Vec::new() };
        let place = (bucket, self.world.any_place().1);
        let after = if self.world.one_in(4) { some_of(place) } else { Vec::new() };
        let delimiter = if self.world.one_in(3) { b"/".to_vec() } else { Vec::new() };
        let limit = 1 + self.world.below(self.world.keys().len() as u64 + 1) as usize;
        ListQuery { prefix, delimiter, after, limit }
    }

    /// All rows of a bucket that a query asks for, in pages of its limit; complains of rows out of
    /// order.
    pub(crate) async fn list_all(&self, bucket: usize, query: &ListQuery) -> Option<Vec<ListItem>> {
        let id = self.bucket((bucket, 0))?;
        let mut query = query.clone();
        let mut items: Vec<ListItem> = Vec::new();
        loop {
            let page = match self.engine().list(id, &query).await {
                Ok(page) => page,
                Err(error) => {
                    self.world.judge_error(&error, "list");
                    return None;
                }
            };
            items.extend(page.items);
            let Some(last) = items.last().filter(|_| page.truncated) else {
                break;
            };
            query.after = last.name().to_vec();
        }
        if items.windows(2).any(|pair| pair[0].name() >= pair[1].name()) {
            self.world.fail(format!("a listing is out of order: {items:?}"));
        }
        Some(items)
    }

    /// Holds listings of a bucket that nobody changes to what reads say.
    pub(crate) async fn audit_listing(&self, bucket: usize, present: &BTreeMap<Vec<u8>, ValueId>) {
        let keys = self.world.keys().len();
        let limits = if keys < 20 { vec![1, 3, 1000] } else { vec![keys / 5 + 1, 1000] };
        let mut queries = vec![self.any_query(bucket)];
        for delimiter in [b"".as_slice(), b"/"] {
            queries.extend(limits.iter().map(|limit| {
                let delimiter = delimiter.to_vec();
                ListQuery { delimiter, limit: *limit, ..ListQuery::default() }
            }));
        }
        for query in queries {
            let Some(items) = self.list_all(bucket, &query).await else {
                return;
            };
            let listed: Vec<_> = items
                .iter()
                .map(|item| match item {
                    ListItem::Key { key, current } => {
                        (key.clone(), self.world.recognise(current, "a listing"))
                    }
                    ListItem::CommonPrefix(prefix) => (prefix.clone(), None),
                })
                .collect();
            let expected = expected(present, &query);
            if listed != expected {
                let name = BUCKETS[bucket];
                self.world.fail(format!(
                    "the listing of {name} by {query:?} says {listed:?}, reads say {expected:?}"
                ));
            }
        }
    }
}

fn is_asked_for(key: &[u8], query: &ListQuery) -> bool {
    key.starts_with(&query.prefix) && *key > *query.after
}

/// The common prefix into which a key is rolled up.
fn common_prefix<'a>(key: &'a [u8], query: &ListQuery) -> Option<&'a [u8]> {
    let rest = key.get(query.prefix.len()..)?;
    let at = rest.iter().position(|byte| query.delimiter.first() == Some(byte))?;
    Some(&key[..query.prefix.len() + at + 1])
}

/// The rows that a listing should have.
fn expected(
    present: &BTreeMap<Vec<u8>, ValueId>,
    query: &ListQuery,
) -> Vec<(Vec<u8>, Option<ValueId>)> {
    let asked_for = present.iter().filter(|(key, _)| is_asked_for(key, query));
    let rows: BTreeSet<(Vec<u8>, Option<ValueId>)> = asked_for
        .map(|(key, id)| match common_prefix(key, query) {
            Some(prefix) => (prefix.to_vec(), None),
            None => (key.clone(), Some(*id)),
        })
        .filter(|(name, _)| *name != query.after)
        .collect();
    rows.into_iter().collect()
}
