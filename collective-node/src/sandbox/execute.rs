//! Runs one compiled program inside the child: the store, its limits, and the functions of the world.

use std::fs::File;
use std::io::{self, BufReader};
use std::ptr::NonNull;

use thiserror::Error;
use wasmtime::component::{Component, Linker, WasmList, WasmStr};
use wasmtime::{Engine, ResourceLimiter, Store, StoreContextMut};

use super::component::{World, bad_import, cut_lines, invalid};
use super::failure::{MAX_TEXT_BYTES, Trap};
use super::records::Records;
use super::wasi::{self, Wasi};
use super::wire::{Kind, Report, TaskFrame, write_frame};
use super::{MAX_LOG_BYTES, engine, sys};

/// Fuel for one call to the host: what the call itself costs, in instructions of the program.
const CALL_FUEL: u64 = 1000;
/// Elements of all tables together: Python's largest has a tenth.
const MAX_TABLE_ELEMENTS: usize = 100_000;
/// Core instances: Python's component has 33.
const MAX_INSTANCES: usize = 64;
/// Tables: Python's component has two.
const MAX_TABLES: usize = 8;
/// Memories: one for the program, and room for an adapter's.
const MAX_MEMORIES: usize = 4;
/// Bytes that one call may hand to the host: what the host copies at most (a returned error), beside
/// the program's own memory.
const HOSTCALL_BYTES: usize = 16 << 20;
/// Bytes of output gathered before they are written to the pipe.
const WRITE_BYTES: usize = 64 << 10;

/// A program that is ready to be instantiated.
pub(super) struct Loaded {
    engine: Engine,
    component: Component,
}

/// Loads a compiled form that the parent vouches for. None: it was made by another engine, with other
/// settings, or for another processor.
pub(super) fn load(compiled: NonNull<[u8]>) -> Option<Loaded> {
    let engine = engine::engine().ok()?;
    // SAFETY: `deserialize_raw` runs whatever machine code it is given, so the bytes must come from
    // `precompile_component`, and stay there as they are. They are mapped for good from memory that the
    // parent sealed, and the parent puts nothing there but what a compiling child returned just now or
    // what its own MAC covers (cache.rs). Should a hostile component have taken over the compiling child, the code can only
    // stand for that same component, in this process, behind this jail.
    #[allow(unsafe_code)]
    let component = unsafe { Component::deserialize_raw(&engine, compiled) }.ok()?;
    Some(Loaded { engine, component })
}

/// Starts the clock: after `seconds` the program traps wherever it is.
pub(super) fn arm(loaded: &Loaded, seconds: u32) -> io::Result<()> {
    sys::raise_epoch_after(&loaded.engine, seconds)
}

/// The pipe from the parent.
pub(super) type Input = BufReader<File>;

/// Runs the program to its end. Gives back the pipes and how it ended; an error is a broken pipe.
pub(super) fn run(
    loaded: &Loaded,
    task: TaskFrame,
    bundle: Vec<u8>,
    from: Input,
    to: File,
) -> io::Result<(Input, File, Report)> {
    let limits = task.limits;
    let host = Host {
        records: Records::new(from, task.source, task.columns),
        output: Vec::with_capacity(WRITE_BYTES),
        output_left: limits.output_bytes,
        log_left: MAX_LOG_BYTES,
        keep_log: task.keep_log,
        seed: task.seed,
        bundle,
        wasi: Wasi::new(task.seed),
        memory: Memory {
            limit: limits.memory_bytes,
            bytes: 0,
            table_elements: 0,
        },
        to,
    };
    let mut store = Store::new(&loaded.engine, host);
    store.limiter(|host| &mut host.memory);
    store.set_hostcall_fuel(HOSTCALL_BYTES);
    store.set_epoch_deadline(1);
    store.set_fuel(limits.fuel).expect("the engine counts fuel");
    let ended = call(loaded, &mut store, task.world, &task.arguments);
    let left = store.get_fuel().expect("the engine counts fuel");
    let mut host = store.into_data();
    host.flush()?;
    let trap = match ended {
        Ok(Ok(())) => None,
        Ok(Err(text)) => {
            // As the log: on contributed data nobody may read it, so it does not leave this process.
            if host.keep_log {
                write_frame(&mut host.to, Kind::Text, text.as_bytes())?;
            }
            Some(Trap::ReturnedError)
        }
        Err(Halt::Trap(trap)) => Some(trap),
        Err(Halt::Pipe(error)) => return Err(error),
    };
    let report = Report {
        trap,
        fuel: limits.fuel - left,
        memory_bytes: host.memory.bytes,
        accepted: host.records.accepted,
        rejected: host.records.rejected,
    };
    Ok((host.records.from, host.to, report))
}

/// Instantiates the program and calls its `run`. What it returns itself is the inner result.
fn call(
    loaded: &Loaded,
    store: &mut Store<Host>,
    world: World,
    arguments: &str,
) -> Result<Result<(), String>, Halt> {
    let misfit = |error| Halt::of(error, || Trap::Instantiate);
    let linker = link(loaded, world).map_err(misfit)?;
    let instance = linker
        .instantiate(&mut *store, &loaded.component)
        .map_err(misfit)?;
    let run = instance
        .get_typed_func::<(&str,), (Result<(), String>,)>(&mut *store, "run")
        .map_err(|error| Halt::Trap(invalid(&error)))?;
    let (result,) = run
        .call(store, (arguments,))
        .map_err(|error| Halt::of(error, || Trap::Abi))?;
    Ok(result.map_err(|text| cut_lines(&text, MAX_TEXT_BYTES)))
}

/// All that a component of this world can call.
fn link(loaded: &Loaded, world: World) -> wasmtime::Result<Linker<Host>> {
    let mut linker = program_world(&loaded.engine)?;
    if world == World::Program {
        // Compiling found no other import, unless the compiled form is that of a runtime.
        let asked = loaded.component.component_type();
        let mut asked = asked.imports(&loaded.engine).map(|(name, _)| name);
        if let Some(other) = asked.find(|name| !name.starts_with("collective:program/")) {
            return Err(Halt::Trap(bad_import(other)).into());
        }
    } else {
        linker
            .instance("collective:runtime/source@0.1.0")?
            .func_wrap("bundle", |mut store: StoreContextMut<'_, Host>, (): ()| {
                let bundle = store.data().bundle.clone();
                charge(&mut store, bundle.len())?;
                Ok((bundle,))
            })?;
        wasi::define(&mut linker, &loaded.component)?;
    }
    Ok(linker)
}

/// The functions of `wit/program.wit`, in its order.
fn program_world(engine: &Engine) -> wasmtime::Result<Linker<Host>> {
    let mut linker = Linker::new(engine);
    linker
        .instance("collective:program/dataset@0.1.0")?
        .func_wrap(
            "next-chunk",
            |mut store: StoreContextMut<'_, Host>, (max_bytes,): (u32,)| {
                charge(&mut store, 0)?;
                let chunk = store
                    .data_mut()
                    .records
                    .next_chunk(max_bytes)
                    .map_err(Halt::Pipe)?;
                charge(&mut store, chunk.as_ref().map_or(0, Vec::len))?;
                Ok((chunk,))
            },
        )?;
    linker
        .instance("collective:program/output@0.1.0")?
        .func_wrap(
            "write",
            |mut store: StoreContextMut<'_, Host>, (bytes,): (WasmList<u8>,)| {
                charge(&mut store, bytes.len())?;
                store.data_mut().spend_output(bytes.len())?;
                for start in (0..bytes.len()).step_by(WRITE_BYTES) {
                    let end = bytes.len().min(start + WRITE_BYTES);
                    // The program's memory and the host's state are parts of one store: a piece is copied
                    // out before it is written.
                    let piece = bytes.as_le_slice(&store)[start..end].to_vec();
                    store.data_mut().write(&piece)?;
                }
                Ok(())
            },
        )?;
    linker.instance("collective:program/log@0.1.0")?.func_wrap(
        "line",
        |mut store: StoreContextMut<'_, Host>, (text,): (WasmStr,)| {
            // Read in place: nothing is copied before its length was compared.
            let length = text.to_str(&store)?.len();
            charge(&mut store, length)?;
            store.data_mut().spend_log(length)?;
            let text = text.to_str(&store)?.into_owned();
            store.data_mut().log(&text)?;
            Ok(())
        },
    )?;
    linker
        .instance("collective:program/random@0.1.0")?
        .func_wrap("seed", |mut store: StoreContextMut<'_, Host>, (): ()| {
            charge(&mut store, 32)?;
            Ok((store.data().seed.to_vec(),))
        })?;
    Ok(linker)
}

/// Takes the fuel of one call that moves `bytes`.
pub(super) fn charge(store: &mut StoreContextMut<'_, Host>, bytes: usize) -> wasmtime::Result<()> {
    let left = store.get_fuel()?.checked_sub(CALL_FUEL + bytes as u64);
    store.set_fuel(left.unwrap_or(0))?;
    match left {
        Some(_) => Ok(()),
        None => Err(Halt::Trap(Trap::OutOfFuel).into()),
    }
}

/// What the functions of the world work on.
pub(super) struct Host {
    records: Records<Input>,
    /// Output that is not in the pipe yet.
    output: Vec<u8>,
    output_left: u64,
    log_left: usize,
    keep_log: bool,
    seed: [u8; 32],
    /// The sources, for a runtime.
    bundle: Vec<u8>,
    pub(super) wasi: Wasi,
    memory: Memory,
    to: File,
}

impl Host {
    fn spend_output(&mut self, bytes: usize) -> Result<(), Halt> {
        let left = self.output_left.checked_sub(bytes as u64);
        self.output_left = left.ok_or(Halt::Trap(Trap::OutputLimit))?;
        Ok(())
    }

    /// A line costs its bytes and the line feed.
    pub(super) fn spend_log(&mut self, bytes: usize) -> Result<(), Halt> {
        let left = self.log_left.checked_sub(bytes + 1);
        self.log_left = left.ok_or(Halt::Trap(Trap::LogLimit))?;
        Ok(())
    }

    /// Queues a piece of at most [`WRITE_BYTES`].
    fn write(&mut self, piece: &[u8]) -> Result<(), Halt> {
        if self.output.len() + piece.len() > WRITE_BYTES {
            self.flush().map_err(Halt::Pipe)?;
        }
        self.output.extend_from_slice(piece);
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        if !self.output.is_empty() {
            write_frame(&mut self.to, Kind::Output, &self.output)?;
            self.output.clear();
        }
        Ok(())
    }

    pub(super) fn log(&mut self, line: &str) -> Result<(), Halt> {
        if !self.keep_log {
            return Ok(());
        }
        write_frame(&mut self.to, Kind::Log, line.as_bytes()).map_err(Halt::Pipe)
    }
}

/// Counts what the program holds; over the limit it traps, so that the reason is not mistaken.
struct Memory {
    limit: u64,
    bytes: u64,
    table_elements: usize,
}

impl ResourceLimiter for Memory {
    fn memory_growing(
        &mut self,
        current: usize,
        desired: usize,
        _: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let bytes = self.bytes + (desired - current) as u64;
        if bytes > self.limit {
            return Err(Halt::Trap(Trap::Memory).into());
        }
        self.bytes = bytes;
        Ok(true)
    }

    fn table_growing(
        &mut self,
        current: usize,
        desired: usize,
        _: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let elements = self.table_elements + (desired - current);
        if elements > MAX_TABLE_ELEMENTS {
            return Err(Halt::Trap(Trap::Tables).into());
        }
        self.table_elements = elements;
        Ok(true)
    }

    fn instances(&self) -> usize {
        MAX_INSTANCES
    }

    fn tables(&self) -> usize {
        MAX_TABLES
    }

    fn memories(&self) -> usize {
        MAX_MEMORIES
    }
}

/// Why the program does not go on.
#[derive(Debug, Error)]
pub(super) enum Halt {
    #[error(transparent)]
    Trap(Trap),
    #[error("the pipe to the parent broke: {0}")]
    Pipe(#[source] io::Error),
}

impl Halt {
    /// What an error of the engine means; `otherwise` where the engine gives it no name.
    fn of(error: wasmtime::Error, otherwise: impl FnOnce() -> Trap) -> Self {
        let error = match error.downcast::<Self>() {
            Ok(halt) => return halt,
            Err(error) => error,
        };
        let Some(trap) = error.downcast_ref::<wasmtime::Trap>() else {
            return Self::Trap(otherwise());
        };
        Self::Trap(match trap {
            wasmtime::Trap::OutOfFuel => Trap::OutOfFuel,
            wasmtime::Trap::Interrupt => Trap::Deadline,
            wasmtime::Trap::StackOverflow => Trap::Stack,
            wasmtime::Trap::UnreachableCodeReached => Trap::Unreachable,
            wasmtime::Trap::MemoryOutOfBounds | wasmtime::Trap::TableOutOfBounds => {
                Trap::OutOfBounds
            }
            wasmtime::Trap::IntegerDivisionByZero => Trap::DivisionByZero,
            wasmtime::Trap::IntegerOverflow => Trap::IntegerOverflow,
            wasmtime::Trap::BadConversionToInteger => Trap::BadConversion,
            wasmtime::Trap::IndirectCallToNull | wasmtime::Trap::BadSignature => {
                Trap::BadIndirectCall
            }
            // What is left concerns the component model: pointers, discriminants, re-entry.
            _ => Trap::Abi,
        })
    }
}
