//! The child's main: shut itself in, say how well that went, then compile or run one program, or open one export.

use std::fs::File;
use std::io::{self, BufReader, Read, Write};
use std::os::fd::AsFd;
use std::panic::{self, AssertUnwindSafe};

use collective::limits::MAX_BUNDLE_BYTES;

use super::component::{self, World, check_world};
use super::failure::Trap;
use super::wire::{Kind, MAX_FRAME_BYTES, Report, TaskFrame, read_frame, write_frame};
use super::{MAX_COMPILED_BYTES, MAX_COMPONENT_BYTES, engine, execute, jail, probe, sys, unpack};

/// Bytes read from the pipe at once.
const READ_BYTES: usize = 256 << 10;

/// What `collective sandbox-child …` does. Must be called before any thread is started, with the
/// arguments after `sandbox-child`. Never returns.
pub fn child_main(arguments: impl Iterator<Item = String>) -> ! {
    child_main_with(arguments, |mode, mut from, mut to| match mode {
        "compile" => compile(&mut from, &mut to),
        "run" => run(from, to),
        "unpack" => unpack::run(from, to),
        _ => Err(io::ErrorKind::InvalidInput.into()),
    })
}

/// The same for a binary that does something else in the jail.
pub(super) fn child_main_with(
    arguments: impl Iterator<Item = String>,
    work: impl FnOnce(&str, execute::Input, File) -> io::Result<()>,
) -> ! {
    if sys::close_inherited().is_err() {
        std::process::exit(KERNEL);
    }
    let arguments: Vec<String> = arguments.collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let code = match arguments[..] {
        ["probe", ref without @ ..] => probe::probe(without),
        [
            mode @ ("compile" | "run" | "unpack" | "engine"),
            memory,
            seconds,
        ] => match (memory.parse(), seconds.parse()) {
            (Ok(memory), Ok(seconds)) => {
                let limits = jail::KernelLimits { memory, seconds };
                serve(limits, |from, to| work(mode, from, to))
            }
            _ => USAGE,
        },
        _ => USAGE,
    };
    std::process::exit(code)
}

/// Exit code for arguments that no parent gives.
pub(super) const USAGE: i32 = 64;
/// Exit code for a kernel before Linux 5.9, which cannot close what was inherited.
const KERNEL: i32 = 69;
/// Exit code for a pipe that broke: the parent is gone.
pub(super) const BROKEN: i32 = 74;

fn serve(
    limits: jail::KernelLimits,
    work: impl FnOnce(execute::Input, File) -> io::Result<()>,
) -> i32 {
    // A panic's message could show contributed bytes.
    panic::set_hook(Box::new(|_| {}));
    let Ok((from, mut to)) = pipes() else {
        return BROKEN;
    };
    let from = BufReader::with_capacity(READ_BYTES, from);
    let layers = jail::enter(limits, &[]);
    let layers = serde_json::to_vec(&layers).expect("layers have only plain fields");
    let done = write_frame(&mut to, Kind::Layers, &layers).and_then(|()| work(from, to));
    match done {
        Ok(()) => 0,
        Err(_) => BROKEN,
    }
}

/// Own copies of the two pipes, made while copying is still allowed.
fn pipes() -> io::Result<(File, File)> {
    let from = io::stdin().as_fd().try_clone_to_owned()?;
    let to = io::stdout().as_fd().try_clone_to_owned()?;
    Ok((File::from(from), File::from(to)))
}

fn compile(from: &mut impl Read, to: &mut impl Write) -> io::Result<()> {
    let (component, world) = gather(from, Kind::Program, Kind::Go, MAX_COMPONENT_BYTES)?;
    let world: World = serde_json::from_slice(&world)?;
    // Decoder and compiler meet hostile bytes here: a panic of theirs is a refusal like any other.
    let compiled = panic::catch_unwind(AssertUnwindSafe(|| {
        check_world(&component, world)?;
        engine::engine()
            .and_then(|engine| engine.precompile_component(&component))
            .map_err(|error| component::invalid(&error))
    }))
    .unwrap_or_else(|_| Err(Trap::Invalid("the compiler gave up on it".into())));
    let trap = match compiled {
        Ok(bytes) if bytes.len() <= MAX_COMPILED_BYTES => {
            for piece in bytes.chunks(MAX_FRAME_BYTES) {
                write_frame(to, Kind::Compiled, piece)?;
            }
            None
        }
        Ok(_) => Some(Trap::CompileLimit),
        Err(trap) => Some(trap),
    };
    report(
        to,
        &Report {
            trap,
            ..Report::default()
        },
    )?;
    wait_for_the_end(from)
}

fn run(mut from: execute::Input, mut to: File) -> io::Result<()> {
    let (bundle, task) = gather(&mut from, Kind::Bundle, Kind::Task, MAX_BUNDLE_BYTES)?;
    let task: TaskFrame = serde_json::from_slice(&task)?;
    let compiled = sys::map(&io::stderr(), task.compiled_bytes)?;
    let Some(loaded) = execute::load(compiled) else {
        return write_frame(&mut to, Kind::Stale, &[]);
    };
    execute::arm(&loaded, task.limits.seconds)?;
    write_frame(&mut to, Kind::Ready, &[])?;
    let (mut from, mut to, ended) = execute::run(&loaded, task, bundle, from, to)?;
    report(&mut to, &ended)?;
    wait_for_the_end(&mut from)
}

/// Pieces up to the frame `last`, whose payload comes with them.
fn gather(
    from: &mut impl Read,
    piece: Kind,
    last: Kind,
    limit: usize,
) -> io::Result<(Vec<u8>, Vec<u8>)> {
    let mut joined = Vec::new();
    loop {
        match read_frame(from)? {
            (kind, bytes) if kind == piece && bytes.len() <= limit - joined.len() => {
                joined.extend(bytes);
            }
            (kind, payload) if kind == last => return Ok((joined, payload)),
            _ => {
                return Err(io::Error::new(
                    io::ErrorKind::InvalidData,
                    "unexpected frame",
                ));
            }
        }
    }
}

pub(super) fn report(to: &mut impl Write, report: &Report) -> io::Result<()> {
    let payload = serde_json::to_vec(report).expect("a report has only plain fields");
    write_frame(to, Kind::Report, &payload)?;
    to.flush()
}

/// Stays until the parent has read how much memory this process had, and ends it.
pub(super) fn wait_for_the_end(from: &mut impl Read) -> io::Result<()> {
    io::copy(from, &mut io::sink()).map(drop)
}
