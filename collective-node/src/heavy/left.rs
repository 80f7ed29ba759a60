//! What a program left in a folder. It wrote there as it liked, so nothing is believed: a link would have this machine read, or write,
//! somewhere else, and a pipe would have it wait.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

use thiserror::Error;

/// Files in one folder: a model, its description and its curves are a handful.
pub const MAX_FILES: usize = 64;

/// Bytes of a file's name, which goes on into paths and archives.
const MAX_NAME_BYTES: usize = 100;

/// Bits of a file's mode that have it run with its owner's or its group's rights.
const RIGHTS: u32 = 0o6000;

/// A file that was left, open: it is what was looked at, whatever lies under its name later.
#[derive(Debug)]
pub struct Left {
    /// Letters, digits, `.`, `-` and `_`, the first of them no dot or dash.
    pub name: String,
    /// Its length.
    pub bytes: u64,
    /// To be read from its beginning.
    pub file: File,
}

/// Why it is not taken. All but the disk's is the program's fault.
#[derive(Debug, Error)]
pub enum LeftError {
    /// A name.
    #[error(
        "it left a file whose name is not 1 to {MAX_NAME_BYTES} letters, digits, `.`, `-` or `_`, the first of them no dot or dash"
    )]
    Name,
    /// A link, a folder, a pipe, or a file that would run with somebody's rights.
    #[error("it left {0}, which is no plain file")]
    NotPlain(String),
    /// Too many.
    #[error("it left more than {MAX_FILES} files")]
    Many,
    /// Too much.
    #[error("it left more than {0} bytes")]
    Large(u64),
    /// The disk's fault.
    #[error("what it left cannot be read: {0}; check the disk")]
    Disk(#[from] io::Error),
}

/// Opens all files of a folder, in the order of their names. The program has to have ended.
///
/// # Errors
/// [`LeftError`]: either all of them, of at most `most` bytes together, or none.
pub fn open(folder: &Path, most: u64) -> Result<Vec<Left>, LeftError> {
    let mut left = Vec::new();
    let mut room = most;
    for entry in fs::read_dir(folder)? {
        if left.len() == MAX_FILES {
            return Err(LeftError::Many);
        }
        let name = entry?.file_name().into_string();
        let name = name.ok().filter(|name| is_name(name));
        let one = open_one(folder, name.ok_or(LeftError::Name)?)?;
        room = room.checked_sub(one.bytes).ok_or(LeftError::Large(most))?;
        left.push(one);
    }
    left.sort_by(|one, other| one.name.cmp(&other.name));
    Ok(left)
}

fn is_name(name: &str) -> bool {
    let letter = |byte: &u8| byte.is_ascii_alphanumeric() || b".-_".contains(byte);
    (1..=MAX_NAME_BYTES).contains(&name.len())
        && !name.starts_with(['.', '-'])
        && name.as_bytes().iter().all(letter)
}

fn open_one(folder: &Path, name: String) -> Result<Left, LeftError> {
    // No link is followed, and a pipe that nobody writes to is not waited for.
    let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK;
    let opened = OpenOptions::new()
        .read(true)
        .custom_flags(flags)
        .open(folder.join(&name));
    let file = match opened.map_err(|error| (error.raw_os_error(), error)) {
        Ok(file) => file,
        // A link, a socket, a file that its owner may not read.
        Err((Some(libc::ELOOP | libc::ENXIO | libc::EACCES), _)) => {
            return Err(LeftError::NotPlain(name));
        }
        Err((_, error)) => return Err(error.into()),
    };
    let is = file.metadata()?;
    if !is.is_file() || is.mode() & RIGHTS != 0 {
        return Err(LeftError::NotPlain(name));
    }
    Ok(Left {
        name,
        bytes: is.len(),
        file,
    })
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::os::unix::fs::{PermissionsExt, symlink};
    use std::os::unix::net::UnixListener;

    use super::*;

    /// What comes of a folder, beside one good file in it, to which something was done.
    fn with(more: impl FnOnce(&Path)) -> Result<Vec<Left>, LeftError> {
        let folder = tempfile::tempdir().expect("a folder");
        fs::write(folder.path().join("model.json"), "model").expect("written");
        more(folder.path());
        open(folder.path(), 10)
    }

    #[test]
    fn plain_files_are_taken_and_nothing_else() {
        let mut left = with(|folder| fs::write(folder.join("a"), "12345").expect("written"))
            .expect("two files of ten bytes");
        let names: Vec<_> = left
            .iter()
            .map(|left| (&left.name[..], left.bytes))
            .collect();
        assert_eq!(names, [("a", 5), ("model.json", 5)]);
        let mut text = String::new();
        left[1].file.read_to_string(&mut text).expect("read");
        assert_eq!(text, "model");

        type Make = fn(&Path);
        let no_file: [(&str, Make); 7] = [
            ("a link to a file", |at| {
                symlink("model.json", at).expect("made");
            }),
            ("a link to nothing", |at| {
                symlink("/none", at).expect("made")
            }),
            ("a link out", |at| symlink("/etc/passwd", at).expect("made")),
            ("a folder", |at| fs::create_dir(at).expect("made")),
            ("a socket", |at| {
                UnixListener::bind(at).expect("bound");
            }),
            ("a pipe", |at| {
                let made = std::process::Command::new("mkfifo").arg(at).status();
                assert!(made.expect("mkfifo").success());
            }),
            ("a file with its owner's rights", |at| {
                fs::write(at, "").expect("written");
                fs::set_permissions(at, fs::Permissions::from_mode(0o4755)).expect("set");
            }),
        ];
        for (what, make) in no_file {
            let refused = with(|folder| make(&folder.join("more")));
            assert!(
                matches!(&refused, Err(LeftError::NotPlain(name)) if name == "more"),
                "{what}: {refused:?}"
            );
        }
    }

    #[test]
    fn names_number_and_bytes_are_bounded() {
        let long = "a".repeat(MAX_NAME_BYTES + 1);
        for name in [".hidden", "-rf", "a b", "a\u{202e}b", "a\nb", &long] {
            let refused = with(|folder| fs::write(folder.join(name), "").expect("written"));
            assert!(
                matches!(refused, Err(LeftError::Name)),
                "{name}: {refused:?}"
            );
        }
        let large = with(|folder| fs::write(folder.join("a"), "123456").expect("written"));
        assert!(matches!(large, Err(LeftError::Large(10))), "{large:?}");
        let fill = |count: usize| {
            with(|folder| {
                let names = (1..count).map(|number| folder.join(format!("f{number}")));
                names.for_each(|path| fs::write(path, "").expect("written"));
            })
        };
        assert_eq!(fill(MAX_FILES).expect("as many").len(), MAX_FILES);
        let many = fill(MAX_FILES + 1);
        assert!(matches!(many, Err(LeftError::Many)), "{many:?}");
    }
}
