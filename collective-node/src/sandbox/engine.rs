//! The engine's settings: which WebAssembly there is, and what makes equal runs equal.
//!
//! Every setting that changes results, machine code or accepted programs stands in [`SETTINGS`] too,
//! which is hashed into the engine's id: receipts name it and the cache of compiled programs uses it.

use std::sync::{Arc, OnceLock};

use aws_lc_rs::digest;
use wasmtime::{Config, Engine, Strategy, WasmFeatures};

use super::sys::Mapped;

/// The engine, by name and version.
pub const ENGINE: &str = "wasmtime 48.0.8";

/// [`config`] in words, in the order of its lines. Change both or neither.
const SETTINGS: &str = "fuel; epochs; stack 1048576; nan canonical; cow off; backtrace off; address map off; unwind info off; \
    reservation 4294967296; guard 33554432; growth moves off; \
    off: simd, relaxed-simd, tail-call, multi-memory, memory64, wide-arithmetic, custom-page-sizes, \
    exceptions, threads, gc, function-references, stack-switching, component-model-async";

/// Bytes of stack for WebAssembly: Python needs half of it; the main thread has eight times as much.
pub(super) const STACK_BYTES: usize = 1 << 20;

/// SHA-256 over engine, version and settings: equal ids run equal programs equally.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EngineId(pub [u8; 32]);

/// The id of the engine in this binary.
#[must_use]
pub fn engine_id() -> EngineId {
    static ID: OnceLock<EngineId> = OnceLock::new();
    *ID.get_or_init(|| {
        let mut hash = digest::Context::new(&digest::SHA256);
        for part in ["collective/sandbox/engine/v1", ENGINE, SETTINGS] {
            hash.update(part.as_bytes());
            hash.update(b"\0");
        }
        EngineId(
            hash.finish()
                .as_ref()
                .try_into()
                .expect("SHA-256 has 32 bytes"),
        )
    })
}

/// An engine for the child: to compile with, or to run with.
pub(super) fn engine() -> wasmtime::Result<Engine> {
    Engine::new(&config())
}

fn config() -> Config {
    let mut config = Config::new();
    // Fuel decides; the epoch is raised once, at the deadline.
    config.consume_fuel(true);
    config.epoch_interruption(true);
    config.max_wasm_stack(STACK_BYTES);
    // One bit pattern for NaN, whatever the processor makes.
    config.cranelift_nan_canonicalization(true);
    // Copy-on-write images need memfd and files; the jail has neither.
    config.memory_init_cow(false);
    // A backtrace would name functions in error texts; nobody reads them.
    config.wasm_backtrace_max_frames(None);
    // What only a backtrace would use is a third of a compiled interpreter.
    config.generate_address_map(false);
    config.native_unwind_info(false);
    // 4 GiB of address space per memory: it never moves, so growth never holds two copies.
    config.memory_reservation(4 << 30);
    config.memory_guard_size(32 << 20);
    config.memory_may_move(false);
    // Only what C, Rust, Zig and Python components use; each proposal left out is code not reached.
    for absent in [
        WasmFeatures::SIMD,
        WasmFeatures::RELAXED_SIMD,
        WasmFeatures::TAIL_CALL,
        WasmFeatures::MULTI_MEMORY,
        WasmFeatures::MEMORY64,
        WasmFeatures::WIDE_ARITHMETIC,
        WasmFeatures::CUSTOM_PAGE_SIZES,
        WasmFeatures::EXCEPTIONS,
        WasmFeatures::THREADS,
        WasmFeatures::GC,
        WasmFeatures::FUNCTION_REFERENCES,
        WasmFeatures::STACK_SWITCHING,
        WasmFeatures::CM_ASYNC,
    ] {
        config.wasm_features(absent, false);
    }
    // One thread: the jail allows no other, and its processor time is counted.
    config.parallel_compilation(false);
    config.strategy(Strategy::Cranelift);
    // Compiled programs lie in memory that all children share, and are made executable where they are.
    config.with_custom_code_memory(Some(Arc::new(Mapped)));
    config
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_named_version_is_the_locked_one() {
        let lock = include_str!("../../../Cargo.lock");
        let (name, version) = ENGINE.split_once(' ').expect("name and version");
        let entry = format!("name = \"{name}\"\nversion = \"{version}\"\n");
        assert!(
            lock.contains(&entry),
            "Cargo.lock has another {name} than {version}"
        );
    }

    #[test]
    fn the_settings_are_accepted() {
        engine().expect("the settings fit together");
    }

    #[test]
    fn the_id_is_that_of_the_spec() {
        let hex: String = engine_id()
            .0
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        assert_eq!(
            hex,
            "950b3f151a30926543f9b4b5488332bfd7bb3ab4f8bdba955534f67c207dd72c"
        );
    }
}
