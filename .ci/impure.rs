//! What the library `collective` must not do, each once. Never built into anything: CI lets clippy read it under
//! collective/clippy.toml and expects every line refused (.ci/purity). No external crate, so that the compiler alone is enough.

#![deny(clippy::disallowed_macros)]
#![deny(clippy::disallowed_methods)]
#![deny(clippy::disallowed_types)]

/// Functions by their path: naming one is using one.
pub fn functions() {
    _ = std::fs::canonicalize::<&str>;
    _ = std::fs::create_dir::<&str>;
    _ = std::fs::create_dir_all::<&str>;
    _ = std::fs::exists::<&str>;
    _ = std::fs::metadata::<&str>;
    _ = std::fs::read::<&str>;
    _ = std::fs::read_dir::<&str>;
    _ = std::fs::read_link::<&str>;
    _ = std::fs::read_to_string::<&str>;
    _ = std::fs::remove_dir::<&str>;
    _ = std::fs::remove_dir_all::<&str>;
    _ = std::fs::remove_file::<&str>;
    _ = std::fs::symlink_metadata::<&str>;
    _ = std::fs::copy::<&str, &str>;
    _ = std::fs::hard_link::<&str, &str>;
    _ = std::fs::rename::<&str, &str>;
    _ = std::fs::set_permissions::<&str>;
    _ = std::os::unix::fs::symlink::<&str, &str>;
    _ = std::fs::write::<&str, &str>;
    _ = std::path::Path::canonicalize;
    _ = std::path::Path::exists;
    _ = std::path::Path::is_dir;
    _ = std::path::Path::is_file;
    _ = std::path::Path::is_symlink;
    _ = std::path::Path::metadata;
    _ = std::path::Path::read_dir;
    _ = std::path::Path::read_link;
    _ = std::path::Path::symlink_metadata;
    _ = std::path::Path::try_exists;
    _ = std::io::stdin;
    _ = std::io::stdout;
    _ = std::io::stderr;
    _ = std::time::SystemTime::now;
    _ = std::time::SystemTime::elapsed;
    _ = std::time::Instant::now;
    _ = std::time::Instant::elapsed;
    _ = std::thread::sleep;
    _ = std::env::args;
    _ = std::env::args_os;
    _ = std::env::current_dir;
    _ = std::env::current_exe;
    _ = std::env::home_dir;
    _ = std::env::temp_dir;
    _ = std::env::vars;
    _ = std::env::vars_os;
    _ = std::env::set_current_dir::<&str>;
    _ = std::env::var::<&str>;
    _ = std::env::var_os::<&str>;
    _ = std::process::abort;
    _ = std::process::exit;
    _ = std::process::id;
    _ = <str as std::net::ToSocketAddrs>::to_socket_addrs;
}

/// Types by name.
pub type Types = (
    std::fs::DirBuilder,
    std::fs::File,
    std::fs::OpenOptions,
    std::net::TcpListener,
    std::net::TcpStream,
    std::net::UdpSocket,
    std::os::unix::net::UnixDatagram,
    std::os::unix::net::UnixListener,
    std::os::unix::net::UnixStream,
    std::process::Command,
);

/// Macros that print.
pub fn macros() {
    eprint!("");
    eprintln!("");
    print!("");
    println!("");
    dbg!(());
}
