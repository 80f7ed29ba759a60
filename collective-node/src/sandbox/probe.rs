//! `sandbox-child probe [LAYER…]`: puts on every layer but those named, tries from inside what the jail
//! is there to deny, and prints what came of it as one line of JSON. For tests, and for operators who
//! want to see it for themselves. No program and no contributed byte is near it.

use std::collections::BTreeMap;
use std::net::{TcpStream, UdpSocket};
use std::os::unix::net::UnixDatagram;
use std::process::Command;
use std::{env, fs, io, thread};

use serde::Serialize;

use super::jail::{self, KernelLimits, Layer, Layers};
use super::sys;

/// What was seen from inside.
#[derive(Serialize)]
struct Sight {
    layers: Layers,
    /// Each attempt: `ok`, or the name of the error.
    attempts: BTreeMap<&'static str, String>,
    descriptors: Vec<i32>,
    environment: usize,
    /// Names of the network interfaces, where asking is not denied itself.
    interfaces: Option<Vec<String>>,
}

/// Prints what is seen. Exit code 64 for a layer that does not exist.
pub(super) fn probe(without: &[&str]) -> i32 {
    let layer = |name: &&str| serde_json::from_value::<Layer>(serde_json::json!(name)).ok();
    let Some(without) = without.iter().map(layer).collect::<Option<Vec<_>>>() else {
        return 64;
    };
    let layers = jail::enter(
        KernelLimits {
            memory: 64 << 20,
            seconds: 5,
        },
        &without,
    );
    let attempts = BTreeMap::from([
        ("read /etc/passwd", outcome(fs::read("/etc/passwd"))),
        ("read /proc/self/maps", outcome(fs::read("/proc/self/maps"))),
        (
            "list /",
            outcome(fs::read_dir("/").map(|mut entries| entries.next())),
        ),
        ("write /dev/null", outcome(fs::write("/dev/null", b"x"))),
        ("bind UDP", outcome(UdpSocket::bind("127.0.0.1:0"))),
        ("connect TCP", outcome(TcpStream::connect("127.0.0.1:9"))),
        ("open a UNIX socket", outcome(UnixDatagram::unbound())),
        ("hold 128 MiB", hold(128 << 20)),
        (
            "start a process",
            outcome(Command::new("/bin/true").spawn()),
        ),
        (
            "start a thread",
            outcome(thread::Builder::new().spawn(|| ())),
        ),
        (
            "enter a user namespace",
            outcome(sys::unshare(libc::CLONE_NEWUSER)),
        ),
        ("signal the parent", outcome(sys::may_signal_parent())),
    ]);
    let sight = Sight {
        layers,
        attempts,
        descriptors: (0..1024)
            .filter(|descriptor| sys::is_open(*descriptor))
            .collect(),
        environment: env::vars_os().count(),
        interfaces: sys::interfaces().ok(),
    };
    println!("{}", serde_json::to_string(&sight).expect("plain fields"));
    0
}

/// Twice the memory that the probe is given.
fn hold(bytes: usize) -> String {
    match Vec::<u8>::new().try_reserve_exact(bytes) {
        Ok(()) => "ok".into(),
        Err(_) => "no memory".into(),
    }
}

fn outcome<T>(result: io::Result<T>) -> String {
    match result.map_err(|error| error.raw_os_error()) {
        Ok(_) => "ok".into(),
        Err(Some(libc::EPERM)) => "EPERM".into(),
        Err(Some(libc::EACCES)) => "EACCES".into(),
        Err(Some(libc::ENOENT)) => "ENOENT".into(),
        Err(Some(libc::EROFS)) => "EROFS".into(),
        Err(Some(libc::ENETUNREACH)) => "ENETUNREACH".into(),
        Err(Some(other)) => format!("errno {other}"),
        Err(None) => "error".into(),
    }
}
