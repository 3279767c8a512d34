//! A small filesystem of its own for a test: ext4 in a file, mounted through a loop device.
//!
//! It fills up, dies and comes back without harm to anything else. Needs root and loop devices; where
//! they are not to be had, [`Volume::new`] says so, and the test is left out.
//!
//! Invariant: what was mounted is unmounted when the guard is dropped, whatever became of the test; it must
//! be dropped before its site, which removes the directory.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::{Site, scripts, wait_until};

/// Puts the filesystem of a directory out of service at once, unwritten journal and all: from then on its
/// files cannot be opened, read or written (EIO). The number is ext4's shutdown ioctl, 2 its flag for
/// leaving the journal as it is.
const SHUT_DOWN: &str = "import fcntl, os, struct, sys
fcntl.ioctl(os.open(sys.argv[1], os.O_RDONLY), 0x8004587d, struct.pack('I', 2))";

/// A mounted filesystem.
#[derive(Debug)]
pub struct Volume {
    image: PathBuf,
    path: PathBuf,
}

impl Volume {
    /// A filesystem of so many bytes, mounted at `name` beside the test's data. `None`: this machine does
    /// not let us; the reason is printed.
    pub fn new(site: &Site, name: &str, bytes: u64) -> Option<Self> {
        let image = site.path(&format!("{name}.image"));
        File::create_new(&image).unwrap().set_len(bytes).unwrap();
        let volume = Self { image, path: site.path(name) };
        fs::create_dir(&volume.path).unwrap();
        let made = run(Command::new("mkfs.ext4").args(["-q", "-F", "-m", "0"]).arg(&volume.image));
        if let Err(reason) = made.and_then(|()| volume.try_mount()) {
            #[expect(clippy::print_stderr, reason = "a test that was left out says so")]
            {
                eprintln!("left out, no filesystem of our own is to be had here: {reason}");
            }
            return None;
        }
        Some(volume)
    }

    /// Where it is mounted.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// It dies: everything on it fails from now on.
    pub fn shut_down(&self) {
        let python = scripts::interpreter(scripts::Python::Main);
        run(Command::new(python).args(["-c", SHUT_DOWN]).arg(&self.path)).unwrap();
    }

    /// It turns read-only by itself, as ext4 does when it finds itself damaged: writes fail, reads go on.
    pub fn turn_read_only(&self) {
        let mounts = fs::read_to_string("/proc/self/mounts").unwrap();
        let path = self.path.display().to_string();
        let device = mounts
            .lines()
            .filter_map(|line| line.split_once(' '))
            .find_map(|(device, rest)| rest.starts_with(&format!("{path} ")).then_some(device))
            .expect("the volume is mounted");
        let device = device.trim_start_matches("/dev/");
        fs::write(format!("/sys/fs/ext4/{device}/trigger_fs_error"), "1").unwrap();
    }

    /// Reads of what lies behind the first `bytes` fail from now on.
    pub fn cut_off(&self, bytes: u64) {
        File::options().write(true).open(&self.image).unwrap().set_len(bytes).unwrap();
    }

    /// Takes it away, as when a drive is pulled from a host that is off. The server on it must have ended.
    /// The kernel gives an io_uring's files back on its own time, a moment after the process is gone: until
    /// then the volume is busy.
    pub fn unmount(&self) {
        wait_until("nobody holds a file of the volume", || {
            match run(Command::new("umount").env("LC_ALL", "C").arg(&self.path)) {
                Ok(()) => true,
                Err(reason) if reason.contains("target is busy") => false,
                Err(reason) => panic!("{reason}"),
            }
        });
    }

    pub fn mount(&self) {
        self.try_mount().unwrap();
    }

    fn try_mount(&self) -> Result<(), String> {
        run(Command::new("mount")
            .args(["-o", "loop,errors=remount-ro"])
            .arg(&self.image)
            .arg(&self.path))
    }
}

impl Drop for Volume {
    fn drop(&mut self) {
        // Detached at once, freed when the last user has gone. It may not be mounted.
        let _ = run(Command::new("umount").arg("-l").arg(&self.path));
    }
}

fn run(command: &mut Command) -> Result<(), String> {
    let output = command.stdin(Stdio::null()).output().map_err(|e| format!("{command:?}: {e}"))?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!("{command:?}: {}", String::from_utf8_lossy(&output.stderr).trim()))
}
