//! What a runtime sees of WASI 0.2, beside the world of every program: nothing of the machine.
//!
//! An interpreter was built for an operating system, so it asks for one. Each question has one answer here, which is the
//! same on every machine and at every time. It lets a program learn: the job's seed in another form, and how often it asked.
//! What has no answer ends the run under the name of what was asked.

use collective::id::sha256;
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use wasmtime::StoreContextMut;
use wasmtime::component::types::ComponentItem;
use wasmtime::component::{Component, Linker, Resource, ResourceType, Val};

use super::MAX_LOG_BYTES;
use super::component::denied;
use super::execute::{Halt, Host, charge};

/// The interfaces that a runtime may import, in any version of WASI 0.2.
const INTERFACES: [&str; 25] = [
    "wasi:cli/environment",
    "wasi:cli/exit",
    "wasi:cli/stderr",
    "wasi:cli/stdin",
    "wasi:cli/stdout",
    "wasi:cli/terminal-input",
    "wasi:cli/terminal-output",
    "wasi:cli/terminal-stderr",
    "wasi:cli/terminal-stdin",
    "wasi:cli/terminal-stdout",
    "wasi:clocks/monotonic-clock",
    "wasi:clocks/wall-clock",
    "wasi:filesystem/preopens",
    "wasi:filesystem/types",
    "wasi:io/error",
    "wasi:io/poll",
    "wasi:io/streams",
    "wasi:random/random",
    "wasi:sockets/instance-network",
    "wasi:sockets/ip-name-lookup",
    "wasi:sockets/network",
    "wasi:sockets/tcp",
    "wasi:sockets/tcp-create-socket",
    "wasi:sockets/udp",
    "wasi:sockets/udp-create-socket",
];

/// Seconds since 1970 at which every run takes place: the first of January 2026.
const NOW: u64 = 1_767_225_600;
/// Nanoseconds by which the monotonic clock goes on whenever it is read.
const TICK: u64 = 1_000;
/// Bytes of randomness in one answer: an interpreter seeds itself with some 2,500.
const MAX_RANDOM_BYTES: u64 = 64 << 10;
/// First bytes of what the randomness is seeded with, before the job's seed.
const RANDOM_DOMAIN: &[u8] = b"collective/v1/sandbox/wasi-random";

/// What the answers depend on.
pub(super) struct Wasi {
    random: ChaCha20Rng,
    ticks: u64,
}

impl Wasi {
    /// At the start of the run with this seed.
    pub(super) fn new(seed: [u8; 32]) -> Self {
        let seed = sha256(&[RANDOM_DOMAIN, &seed].concat());
        Self {
            random: ChaCha20Rng::from_seed(seed.0),
            ticks: 0,
        }
    }
}

/// Whether this interface is one of those that are answered here.
pub(super) fn is_offered(name: &str) -> bool {
    let known = name.split_once('@');
    known.is_some_and(|(interface, version)| {
        INTERFACES.contains(&interface) && version.starts_with("0.2.")
    })
}

/// Defines all that `component` imports of WASI.
pub(super) fn define(linker: &mut Linker<Host>, component: &Component) -> wasmtime::Result<()> {
    let engine = linker.engine().clone();
    for (name, item) in component.component_type().imports(&engine) {
        let (true, ComponentItem::ComponentInstance(interface)) = (is_offered(name), item.ty)
        else {
            continue;
        };
        let mut instance = linker.instance(name)?;
        let interface_name = name.split_once('@').map_or(name, |(name, _)| name);
        for (member, item) in interface.exports(&engine) {
            match item.ty {
                ComponentItem::ComponentFunc(_) => {
                    let question = format!("{interface_name}#{member}");
                    instance.func_new(member, move |store, _, asked, answers| {
                        reply(store, &question, asked, answers)
                    })?;
                }
                ComponentItem::Resource(_) => {
                    instance.resource(member, ResourceType::host::<Thing>(), |_, _| Ok(()))?;
                }
                _ => {}
            }
        }
    }
    Ok(())
}

/// Whatever WASI has a handle for: a stream that leads to the log.
struct Thing;

fn reply(
    mut store: StoreContextMut<'_, Host>,
    question: &str,
    asked: &[Val],
    answers: &mut [Val],
) -> wasmtime::Result<()> {
    charge(&mut store, 0)?;
    let answer = answer(&mut store, question, asked)?;
    // Handles were lent for this call.
    for value in asked {
        if let Val::Resource(handle) = value {
            handle.resource_drop(&mut store)?;
        }
    }
    // Nothing that is answered here is without a result, whatever a component says of it.
    if let Some(place) = answers.first_mut() {
        *place = answer;
    }
    Ok(())
}

/// The answer to one question, by its name in WASI 0.2.
fn answer(
    store: &mut StoreContextMut<'_, Host>,
    question: &str,
    asked: &[Val],
) -> wasmtime::Result<Val> {
    Ok(match (question, asked) {
        // No variable, no argument, no folder, no terminal.
        ("wasi:cli/environment#get-environment" | "wasi:cli/environment#get-arguments", _)
        | ("wasi:filesystem/preopens#get-directories", _) => Val::List(vec![]),
        ("wasi:cli/environment#initial-cwd", _)
        | ("wasi:cli/terminal-stdin#get-terminal-stdin", _)
        | ("wasi:cli/terminal-stdout#get-terminal-stdout", _)
        | ("wasi:cli/terminal-stderr#get-terminal-stderr", _) => Val::Option(None),

        // One moment, and a clock that counts how often it was read.
        ("wasi:clocks/wall-clock#now", _) => moment(NOW, 0),
        ("wasi:clocks/wall-clock#resolution", _) => moment(0, TICK),
        ("wasi:clocks/monotonic-clock#now", _) => {
            let wasi = &mut store.data_mut().wasi;
            wasi.ticks += 1;
            Val::U64(wasi.ticks * TICK)
        }
        ("wasi:clocks/monotonic-clock#resolution", _) => Val::U64(TICK),

        // Randomness that anybody can repeat.
        ("wasi:random/random#get-random-u64", _) => {
            Val::U64(store.data_mut().wasi.random.next_u64())
        }
        ("wasi:random/random#get-random-bytes", [Val::U64(length)])
            if *length <= MAX_RANDOM_BYTES =>
        {
            let mut bytes = vec![0; usize::try_from(*length)?];
            charge(store, bytes.len())?;
            store.data_mut().wasi.random.fill_bytes(&mut bytes);
            Val::List(bytes.into_iter().map(Val::U8).collect())
        }

        // Standard output and error are the log.
        ("wasi:cli/stdout#get-stdout" | "wasi:cli/stderr#get-stderr", _) => {
            let stream = Resource::<Thing>::new_own(0);
            Val::Resource(stream.try_into_resource_any(&mut *store)?)
        }
        ("wasi:io/streams#[method]output-stream.check-write", _) => {
            done(Some(Val::U64(MAX_LOG_BYTES as u64)))
        }
        (
            "wasi:io/streams#[method]output-stream.write"
            | "wasi:io/streams#[method]output-stream.blocking-write-and-flush",
            [_, Val::List(bytes)],
        ) => {
            charge(store, bytes.len())?;
            let bytes: Vec<u8> = bytes
                .iter()
                .map(|byte| match byte {
                    Val::U8(byte) => *byte,
                    _ => b'?',
                })
                .collect();
            // What is no UTF-8 grows when it is replaced: the log pays for what it is handed.
            let text = String::from_utf8_lossy(&bytes);
            let host = store.data_mut();
            host.spend_log(text.len())?;
            host.log(text.trim_end_matches('\n'))?;
            done(None)
        }
        (
            "wasi:io/streams#[method]output-stream.flush"
            | "wasi:io/streams#[method]output-stream.blocking-flush",
            _,
        ) => done(None),

        _ => return Err(Halt::Trap(denied(question)).into()),
    })
}

fn moment(seconds: u64, nanoseconds: u64) -> Val {
    let nanoseconds = u32::try_from(nanoseconds).expect("a tick is less than a second");
    Val::Record(vec![
        ("seconds".into(), Val::U64(seconds)),
        ("nanoseconds".into(), Val::U32(nanoseconds)),
    ])
}

fn done(value: Option<Val>) -> Val {
    Val::Result(Ok(value.map(Box::new)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn randomness_is_that_of_the_spec() {
        let mut wasi = Wasi::new([7; 32]);
        let mut bytes = [0; 16];
        wasi.random.fill_bytes(&mut bytes);
        let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hex, "340decc87c6a52ee532b1a2a01a614bd");
    }

    #[test]
    fn only_the_named_interfaces_are_offered() {
        assert!(is_offered("wasi:cli/environment@0.2.9"));
        for other in [
            "wasi:cli/environment",
            "wasi:cli/environment@0.3.0",
            "wasi:cli/environment@0.20.0",
            "wasi:http/outgoing-handler@0.2.9",
            "collective:program/dataset@0.1.0",
        ] {
            assert!(!is_offered(other), "{other}");
        }
    }
}
