//! The simulated disk: names and files, capacity and locks, and the view by which a test looks at it
//! and damages it.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use super::inode::Inode;
use super::namespace::{Namespace, Node};
use super::random::Random;
use crate::platform::{BLOCK_BYTES, FilesystemSpace};

/// A write that the device acknowledged and did not do where it should have.
#[derive(Debug, Clone)]
pub struct StrayWrite {
    /// Where it should have gone.
    pub path: PathBuf,
    pub offset: u64,
    pub bytes: Vec<u8>,
    /// Where it went; `None`: nowhere.
    pub landing: Option<Landing>,
}

/// Where a misdirected write went.
#[derive(Debug, Clone)]
pub struct Landing {
    pub path: PathBuf,
    pub offset: u64,
    /// The whole file before.
    pub was: Vec<u8>,
}

#[derive(Debug)]
pub(super) struct Disk {
    pub(super) names: Namespace,
    pub(super) random: Random,
    pub(super) strays: Vec<StrayWrite>,
    capacity_bytes: u64,
    locks: BTreeSet<PathBuf>,
}

impl Disk {
    pub(super) fn new(capacity_bytes: u64, random: Random) -> Self {
        let (names, strays, locks) = (Namespace::new(), Vec::new(), BTreeSet::new());
        Self { names, random, strays, capacity_bytes, locks }
    }

    pub(super) fn create_file(&mut self, path: &Path) -> io::Result<Rc<RefCell<Inode>>> {
        let inode = Rc::new(RefCell::new(Inode::default()));
        self.names.create(path, Node::File(Rc::clone(&inode)))?;
        Ok(inode)
    }

    pub(super) fn lock(&mut self, path: &Path) -> io::Result<()> {
        if self.names.file(path).is_err() {
            self.create_file(path)?;
        }
        if !self.locks.insert(path.to_owned()) {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        Ok(())
    }

    pub(super) fn unlock(&mut self, path: &Path) {
        self.locks.remove(path);
    }

    /// An error when a file cannot grow to `length`.
    pub(super) fn require_space(&self, inode: &Inode, length: u64) -> io::Result<()> {
        let growth = length.saturating_sub(inode.length());
        if growth > 0 && growth > self.space().available_bytes {
            return Err(no_space());
        }
        Ok(())
    }

    /// A file counts with its length; one without a name does not.
    pub(super) fn space(&self) -> FilesystemSpace {
        // A file that is borrowed is the one that asks; it is not borrowed mutably meanwhile.
        let used = self.names.files().map(|(_, inode)| inode.borrow().length()).sum();
        FilesystemSpace {
            total_bytes: self.capacity_bytes,
            available_bytes: self.capacity_bytes.saturating_sub(used),
        }
    }

    /// What is free, in whole blocks.
    pub(super) fn free_blocks_bytes(&self) -> u64 {
        let available_bytes = self.space().available_bytes;
        available_bytes - available_bytes % BLOCK_BYTES as u64
    }

    /// A write to a file goes nowhere, or to some place of any file that has room for it.
    pub(super) fn lead_astray(
        &mut self,
        inode: &Rc<RefCell<Inode>>,
        offset: u64,
        bytes: &[u8],
        lands: bool,
    ) {
        let path_of = |inode: &Rc<RefCell<Inode>>| {
            let found = self.names.files().find(|(_, other)| Rc::ptr_eq(other, inode));
            found.map(|(path, _)| path.to_owned()).unwrap_or_default()
        };
        let path = path_of(inode);
        let mut landing = None;
        let blocks = (bytes.len() / BLOCK_BYTES) as u64;
        let room = |inode: &RefCell<Inode>| inode.borrow().length() / BLOCK_BYTES as u64;
        let files: Vec<_> = self.names.files().filter(|(_, file)| room(file) >= blocks).collect();
        let chosen = self.random.below(files.len().max(1) as u64) as usize;
        if let Some((place, file)) = files.get(chosen).copied().filter(|_| lands) {
            let at = self.random.below(room(file) - blocks + 1) * BLOCK_BYTES as u64;
            if place != path || at != offset {
                let whole = file.borrow().length() as usize;
                let mut was = vec![0; whole];
                file.borrow().read(0, &mut was, &mut || false);
                file.borrow_mut().stray(at, bytes);
                landing = Some(Landing { path: place.to_owned(), offset: at, was });
            }
        }
        self.strays.push(StrayWrite { path, offset, bytes: bytes.to_vec(), landing });
    }

    pub(super) fn lose_power(&mut self) {
        self.locks.clear();
        self.names.lose_power(&mut self.random);
        for (_, inode) in self.names.files() {
            inode.borrow_mut().lose_power(&mut self.random);
        }
    }

    /// All files become empty, for whoever still holds them.
    pub(super) fn wipe(&mut self) {
        for (_, inode) in self.names.files() {
            inode.take();
        }
    }

    pub(super) fn lose_process(&mut self) {
        self.locks.clear();
        for (_, inode) in self.names.files() {
            inode.borrow_mut().lose_process(&mut self.random);
        }
    }
}

/// The disk as a test sees it: at once, without time or faults. Panics where the test is wrong about
/// what exists.
#[derive(Debug)]
pub struct DiskView<'sim> {
    disk: &'sim RefCell<Disk>,
}

impl<'sim> DiskView<'sim> {
    pub(super) fn new(disk: &'sim RefCell<Disk>) -> Self {
        Self { disk }
    }

    /// The paths of all files, sorted.
    pub fn files(&self) -> Vec<PathBuf> {
        self.disk.borrow().names.files().map(|(path, _)| path.to_owned()).collect()
    }

    /// A file's length as a read sees it.
    pub fn length(&self, path: impl AsRef<Path>) -> u64 {
        self.inode(path.as_ref()).borrow().length()
    }

    /// Bytes as a read sees them, without the writes in flight; offset and length are multiples of 512.
    pub fn read(&self, path: impl AsRef<Path>, offset: u64, bytes: usize) -> Vec<u8> {
        let inode = self.inode(path.as_ref());
        let mut found = vec![0; bytes];
        let within = inode.borrow().read(offset, &mut found, &mut || false);
        assert!(within, "the range lies within the file");
        found
    }

    /// Flips one bit on the medium.
    pub fn flip_bit(&self, path: impl AsRef<Path>, offset: u64, bit: u8) {
        let inode = self.inode(path.as_ref());
        assert!(offset < inode.borrow().length(), "the bit lies within the file");
        inode.borrow_mut().damage(offset, &mut |byte| *byte ^= 1 << bit);
    }

    /// Overwrites bytes on the medium.
    pub fn overwrite(&self, path: impl AsRef<Path>, offset: u64, bytes: &[u8]) {
        let inode = self.inode(path.as_ref());
        for (at, new) in (offset..).zip(bytes) {
            inode.borrow_mut().damage(at, &mut |byte| *byte = *new);
        }
    }

    fn inode(&self, path: &Path) -> Rc<RefCell<Inode>> {
        self.disk.borrow().names.file(path).expect("the file exists")
    }
}

pub(super) fn input_output_error() -> io::Error {
    io::Error::from_raw_os_error(libc::EIO)
}

pub(super) fn no_space() -> io::Error {
    io::Error::from_raw_os_error(libc::ENOSPC)
}
