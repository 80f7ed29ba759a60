//! From a component to its compiled form: in memory since the last run, in the cache, or made by a child.

use std::fs::File;
use std::sync::{Arc, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use collective::id::BlobId;
use collective::permit::Code;
use serde::{Deserialize, Serialize};

use super::component::World;
use super::wire::Kind;
use super::worker::{self, WorkerLimits};
use super::{Failure, Fault, MAX_COMPILED_BYTES, MAX_COMPONENT_BYTES, Sandbox, Trap, Usage, sys};

/// What compiling one component may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CompileLimits {
    /// Bytes of memory.
    pub memory_bytes: u64,
    /// Seconds of processor time; by the wall clock it may take twice as long, on a busy machine.
    pub seconds: u32,
}

impl Default for CompileLimits {
    /// Three times of either that a Python interpreter takes.
    fn default() -> Self {
        Self {
            memory_bytes: 1 << 30,
            seconds: 90,
        }
    }
}

/// A compiled program in sealed memory, which its children share.
#[derive(Clone, Debug)]
pub(super) struct Compiled {
    pub(super) component: BlobId,
    pub(super) length: usize,
    pub(super) file: Arc<File>,
}

impl Sandbox {
    /// The compiled form: that of the last run, from the cache, or from a child made for it.
    pub(super) fn compiled(&self, code: &Code) -> Result<Compiled, Failure> {
        let component = code.component();
        let component = component.ok_or(Fault::BadTask("a query has a worker of its own"))?;
        if let Some(last) = self.last_if(component.id()) {
            return Ok(last);
        }
        if component.bytes().len() > MAX_COMPONENT_BYTES {
            return Err(Failure::before_start(Trap::Invalid(
                "the component is too large".into(),
            )));
        }
        let (id, cache) = (component.id(), self.cache.as_ref());
        let bytes = match cache.and_then(|cache| cache.find(id)) {
            Some(found) => found,
            None => {
                let compiled = self.compile(component.bytes(), World::of(code))?;
                if let Some(cache) = cache {
                    cache.keep(id, &compiled).map_err(Fault::Cache)?;
                }
                compiled
            }
        };
        let compiled = Compiled {
            component: id,
            length: bytes.len(),
            file: Arc::new(sys::sealed(&bytes).map_err(Fault::Memory)?),
        };
        *self.lock_last() = cache.map(|_| compiled.clone());
        Ok(compiled)
    }

    /// Compiled for another machine: neither in memory nor on disk is it worth anything.
    pub(super) fn forget(&self, component: BlobId) {
        *self.lock_last() = None;
        if let Some(cache) = &self.cache {
            cache.remove(component);
        }
    }

    fn last_if(&self, component: BlobId) -> Option<Compiled> {
        let last = self.lock_last();
        last.as_ref()
            .filter(|last| last.component == component)
            .cloned()
    }

    fn lock_last(&self) -> MutexGuard<'_, Option<Compiled>> {
        // Whoever panicked while holding it left a whole value: it is only ever replaced.
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn compile(&self, component: &[u8], world: World) -> Result<Vec<u8>, Failure> {
        let CompileLimits {
            memory_bytes,
            seconds,
        } = self.compile_limits;
        let limits = WorkerLimits {
            memory_bytes,
            seconds,
        };
        let deadline = Instant::now() + 2 * Duration::from_secs(seconds.into());
        let (mut worker, layers) = self.start("compile", limits, None, deadline)?;
        let world = serde_json::to_vec(&world).expect("a word");
        let sent = worker
            .send_all(Kind::Program, component)
            .and_then(|()| worker.send(Kind::Go, &world))
            .and_then(|()| worker.flush());
        let compiled = worker.collect(deadline, Kind::Compiled, MAX_COMPILED_BYTES);
        match compiled {
            Ok(ended) => {
                worker.kill();
                match ended.report.trap {
                    None => Ok(ended.bytes.to_vec()),
                    Some(trap) => Err(Failure::program(trap, None, Usage::default(), layers)),
                }
            }
            Err(worker::Silence::TimedOut) => {
                worker.kill();
                Err(Failure::program(
                    Trap::CompileLimit,
                    None,
                    Usage::default(),
                    layers,
                ))
            }
            Err(worker::Silence::Protocol(what)) => {
                worker.kill();
                Err(Fault::Protocol(what).into())
            }
            Err(worker::Silence::Ended) => {
                match worker.reap() {
                    // Out of memory aborts; out of processor time is a signal of its own.
                    worker::Death::Signal(signal) if signal != libc::SIGKILL => Err(
                        Failure::program(Trap::CompileLimit, None, Usage::default(), layers),
                    ),
                    death => Err(sent
                        .err()
                        .map_or_else(|| Fault::Died(death), Fault::Pipe)
                        .into()),
                }
            }
        }
    }
}
