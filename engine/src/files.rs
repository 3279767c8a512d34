//! The segment files that one core has open, at most so many.
//!
//! Every core opens for itself what it reads and writes; the least recently used handle is closed
//! when the bound is reached, whoever still uses it keeps it until done.

use crate::error::{Error, Result};
use crate::platform::{OpenMode, Platform};
use crate::store::Layout;
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;

#[derive(Debug)]
pub(crate) struct FileCache<P: Platform> {
    platform: P,
    layout: Rc<Layout>,
    open_max: usize,
    tick: Cell<u64>,
    open: RefCell<OpenFiles<P::File>>,
}

/// By shard and segment.
type OpenFiles<F> = HashMap<(u16, u32), Slot<F>>;

#[derive(Debug)]
struct Slot<F> {
    file: Rc<F>,
    used: u64,
}

impl<P: Platform> FileCache<P> {
    pub(crate) fn new(platform: P, layout: Rc<Layout>, open_max: usize) -> Self {
        Self {
            platform,
            layout,
            open_max: open_max.max(1),
            tick: Cell::new(0),
            open: RefCell::default(),
        }
    }

    /// A handle for reading and writing; writes are durable after its `sync`.
    pub(crate) async fn get(&self, shard: u16, segment: u32) -> Result<Rc<P::File>> {
        let tick = self.tick.replace(self.tick.get() + 1);
        if let Some(slot) = self.open.borrow_mut().get_mut(&(shard, segment)) {
            slot.used = tick;
            return Ok(slot.file.clone());
        }
        let path = self.layout.segment_path(shard, segment);
        let file = match self.platform.open(&path, OpenMode::WRITE).await {
            // A filesystem that found itself damaged: what is there can still be read.
            Err(error) if error.kind() == std::io::ErrorKind::ReadOnlyFilesystem => {
                self.platform.open(&path, OpenMode::READ).await
            }
            other => other,
        };
        let file = file.map_err(|source| Error::io(format!("open {}", path.display()), source))?;
        let file = Rc::new(file);
        let mut open = self.open.borrow_mut();
        if open.len() >= self.open_max {
            let oldest = open.iter().min_by_key(|(_, slot)| slot.used).map(|(name, _)| *name);
            if let Some(name) = oldest {
                open.remove(&name);
            }
        }
        open.insert((shard, segment), Slot { file: file.clone(), used: tick });
        Ok(file)
    }

    pub(crate) fn open_count(&self) -> usize {
        self.open.borrow().len()
    }

    /// Closes what nobody else uses.
    pub(crate) async fn close_all(&self) {
        let files: Vec<_> = self.open.take().into_values().collect();
        for slot in files {
            if let Ok(file) = Rc::try_unwrap(slot.file)
                && let Err(error) = platform_close::<P>(file).await
            {
                tracing::warn!(%error, "closing a segment file failed");
            }
        }
    }
}

async fn platform_close<P: Platform>(file: P::File) -> std::io::Result<()> {
    crate::platform::File::close(file).await
}
