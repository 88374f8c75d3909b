//! A file system of a few megabytes that can be filled and emptied. It is in memory, in a mount namespace of its own,
//! and disappears with its process. Only root can create one.

use std::{
    fs::{self, File},
    io::{BufRead, BufReader, Write},
    os::unix::fs::chown,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use uuid::Uuid;

use super::{postgres::other_user, skipped};

/// The file system. Removed on drop.
pub struct SmallDisk {
    /// The mount point, as seen within the namespace.
    pub directory: PathBuf,
    holder: Child,
}

impl SmallDisk {
    /// Creates one of this many KiB. If that is not permitted, returns `None` and reports that the test is skipped.
    pub fn of(kib: usize) -> Option<Self> {
        let directory = std::env::temp_dir().join(format!("titlecast-disk-{}", Uuid::now_v7()));
        fs::create_dir(&directory).unwrap();
        // The process ends when its standard input closes, which is when the test ends.
        let script = "mount -t tmpfs -o size=\"$2k\" tmpfs \"$1\" && echo mounted && exec cat";
        let mut holder = Command::new("unshare")
            .args(["-m", "sh", "-c", script, "sh"])
            .arg(&directory)
            .arg(kib.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut line = String::new();
        let mut said = BufReader::new(holder.stdout.take().unwrap());
        said.read_line(&mut line).unwrap();
        let disk = Self { directory, holder };
        if line != "mounted\n" {
            skipped("no file system can be mounted");
            return None;
        }
        if let Some((user, group)) = other_user() {
            chown(disk.outside(), Some(user), Some(group)).unwrap();
        }
        Some(disk)
    }

    /// The pid of a process in the namespace.
    pub fn pid(&self) -> u32 {
        self.holder.id()
    }

    /// Fills the disk to the last byte.
    pub fn fill(&self) {
        let mut file = File::create(self.filling()).unwrap();
        for size in [64 * 1024, 1] {
            let piece = vec![b'x'; size];
            while file.write_all(&piece).is_ok() {}
        }
    }

    /// Frees the space again.
    pub fn make_room(&self) {
        fs::remove_file(self.filling()).unwrap();
    }

    fn filling(&self) -> PathBuf {
        self.outside().join("filling")
    }

    /// The mount point, as seen outside the namespace.
    pub fn outside(&self) -> PathBuf {
        let root = PathBuf::from(format!("/proc/{}/root", self.holder.id()));
        root.join(self.directory.strip_prefix(Path::new("/")).unwrap())
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = self.holder.kill();
        let _ = self.holder.wait();
        let _ = fs::remove_dir(&self.directory);
    }
}
