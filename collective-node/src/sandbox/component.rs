//! Components: making one from a core module, and refusing one that asks for more than the world has.

use std::panic;

use collective::permit::{Binary, Code};
use serde::{Deserialize, Serialize};
use thiserror::Error;
use wit_component::{ComponentEncoder, DecodedWasm, StringEncoding, embed_component_metadata};
use wit_parser::{Function, PackageId, Resolve, Type, TypeDefKind, WorldId, WorldItem};

use super::failure::Trap;
use super::wasi;

/// The world of every program: `wit/program.wit`.
pub const WORLD: &str = include_str!("../../../wit/program.wit");

/// The world of every runtime: `wit/runtime.wit`, and what [`super::wasi`] answers.
const RUNTIME_WORLD: &str = include_str!("../../../wit/runtime.wit");

/// What a component may ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum World {
    /// The functions of `wit/program.wit`.
    Program,
    /// Those, its sources, and an operating system that tells nothing.
    Runtime,
}

impl World {
    /// The world that this code runs in.
    pub(super) fn of(code: &Code) -> Self {
        match code {
            // A query or a training has no component that could ask for anything.
            Code::Component(_) | Code::Sql(_) | Code::Training(_) => Self::Program,
            Code::Sources { .. } => Self::Runtime,
        }
    }
}

/// First bytes of every component: magic, version 13, layer 1 (Component Model, Binary.md).
const PREAMBLE: &[u8] = b"\0asm\x0d\0\x01\0";
/// What the sandbox calls.
const RUN: &str = "run";
/// Its type, for people.
const RUN_TYPE: &str = "`run: func(arguments: string) -> result<_, string>`";
/// Bytes of an import's name that a report repeats.
const MAX_NAME_BYTES: usize = 128;
/// Bytes of what the decoder or the engine says of a component that is none.
const MAX_REASON_BYTES: usize = 256;

/// Why a core module is no program.
#[derive(Debug, Error)]
#[error("the module does not fit its world in wit/: {0}")]
pub struct ComponentizeError(String);

/// Makes a component of a core WebAssembly module (from C, Zig, Rust) whose imports and exports have
/// the names of the canonical ABI. Equal modules give equal components.
///
/// # Errors
/// What does not fit: an unknown import, a missing or mistyped export, no memory.
pub fn componentize(core_module: &[u8]) -> Result<Vec<u8>, ComponentizeError> {
    componentize_for(World::Program, core_module)
}

/// The same for a world that is named: an interpreter is made a component of [`World::Runtime`].
///
/// # Errors
/// As [`componentize`].
pub fn componentize_for(world: World, core_module: &[u8]) -> Result<Vec<u8>, ComponentizeError> {
    let (resolve, world) = parsed(world);
    let mut module = core_module.to_vec();
    embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8)
        .and_then(|()| {
            ComponentEncoder::default()
                .module(&module)?
                .validate(true)
                .encode()
        })
        .map_err(|error| ComponentizeError(format!("{error:#}")))
}

/// Refuses a component that imports anything but functions of its world, by name, or that has no `run`. Nothing of it is
/// compiled or run: a proposer asks this before a vote, the sandbox before it compiles. What a runtime takes of WASI is
/// compared by name alone, and by type when it is linked.
///
/// # Errors
/// [`Trap::BadImport`] with the first import that the world does not have like that, or [`Trap::Invalid`].
pub fn check_world(component: &[u8], world: World) -> Result<(), Trap> {
    if !is_component(component) {
        return Err(Trap::Invalid("it is not a component".into()));
    }
    // The decoder meets hostile bytes: a panic of its own is a refusal like any other.
    let decoded = panic::catch_unwind(|| wit_component::decode(component))
        .map_err(|_| Trap::Invalid("the decoder gave up on it".into()))?
        .map_err(|error| invalid(&error))?;
    let DecodedWasm::Component(asked, asked_world) = decoded else {
        return Err(Trap::Invalid("it holds interfaces and no program".into()));
    };
    let (offered, offered_world) = parsed(world);
    for (key, item) in &asked.worlds[asked_world].imports {
        let name = asked.name_world_key(key);
        if world == World::Runtime && wasi::is_offered(&name) {
            continue;
        }
        let refused = |name: &str| Err(bad_import(name));
        let offer = offered.worlds[offered_world]
            .imports
            .iter()
            .find(|(key, _)| offered.name_world_key(key) == name);
        let (WorldItem::Interface { id: asked_id, .. }, Some((_, WorldItem::Interface { id, .. }))) =
            (item, offer)
        else {
            return refused(&name);
        };
        let functions = &offered.interfaces[*id].functions;
        let interface = &asked.interfaces[*asked_id];
        let differs = |(name, function): &(&String, &Function)| {
            let offer = functions.get(*name);
            !offer.is_some_and(|offer| is_same(&asked, function, &offered, offer))
        };
        let other = interface.functions.iter().find(differs);
        // None of the world's interfaces has a type of its own.
        let other = other.map(|(function, _)| function);
        if let Some(member) = other.or(interface.types.keys().next()) {
            return refused(&format!("{name}#{member}"));
        }
    }
    let run = function(&asked, asked_world, RUN);
    let wanted = function(&offered, offered_world, RUN).expect("both worlds export it");
    if !run.is_some_and(|run| is_same(&asked, run, &offered, wanted)) {
        return Err(Trap::Invalid(format!("it does not export {RUN_TYPE}")));
    }
    Ok(())
}

/// What a program's component asks for, or that of its runtime: interfaces by their names, all of them in its world.
///
/// # Errors
/// [`Trap`], as at its first run.
pub fn imports(code: &Code) -> Result<Vec<String>, Trap> {
    let Some(component) = code.component().map(Binary::bytes) else {
        return Ok(vec![]);
    };
    check_world(component, World::of(code))?;
    let decoded = wit_component::decode(component).map_err(|error| invalid(&error))?;
    let resolve = decoded.resolve();
    let worlds = resolve.worlds.iter().flat_map(|(_, world)| &world.imports);
    let mut names: Vec<_> = worlds.map(|(key, _)| resolve.name_world_key(key)).collect();
    names.sort();
    names.dedup();
    Ok(names)
}

/// Whether bytes begin as every component does.
pub fn is_component(bytes: &[u8]) -> bool {
    bytes.starts_with(PREAMBLE)
}

/// A function that a world exports.
fn function<'a>(resolve: &'a Resolve, world: WorldId, name: &str) -> Option<&'a Function> {
    let mut exports = resolve.worlds[world].exports.iter();
    exports.find_map(|(key, item)| match item {
        WorldItem::Function(function) if resolve.name_world_key(key) == name => Some(function),
        _ => None,
    })
}

/// Whether two functions take and give the same. The worlds' own are free functions of numbers, texts, lists, options and
/// results; whatever else is asked for is another one.
fn is_same(asked: &Resolve, function: &Function, offered: &Resolve, offer: &Function) -> bool {
    let same = |(one, other): (&Type, &Type)| is_same_type(asked, one, offered, other);
    let (takes, offers) = (&function.params, &offer.params);
    let pairs = takes
        .iter()
        .zip(offers)
        .map(|(one, other)| (&one.ty, &other.ty));
    function.kind == offer.kind
        && takes.len() == offers.len()
        && pairs
            .chain(function.result.as_ref().zip(offer.result.as_ref()))
            .all(same)
        && function.result.is_some() == offer.result.is_some()
}

/// As deep as the offered type is, whatever was asked for.
fn is_same_type(asked: &Resolve, one: &Type, offered: &Resolve, other: &Type) -> bool {
    let both = |one: &Option<Type>, other: &Option<Type>| match (one, other) {
        (Some(one), Some(other)) => is_same_type(asked, one, offered, other),
        (one, other) => one.is_none() && other.is_none(),
    };
    match (one, other) {
        (Type::Id(one), Type::Id(other)) => {
            match (&asked.types[*one].kind, &offered.types[*other].kind) {
                (TypeDefKind::List(one), TypeDefKind::List(other))
                | (TypeDefKind::Option(one), TypeDefKind::Option(other)) => {
                    is_same_type(asked, one, offered, other)
                }
                (TypeDefKind::Result(one), TypeDefKind::Result(other)) => {
                    both(&one.ok, &other.ok) && both(&one.err, &other.err)
                }
                _ => false,
            }
        }
        (Type::Id(_), _) | (_, Type::Id(_)) => false,
        (one, other) => one == other,
    }
}

/// A refusal of one import.
pub(super) fn bad_import(name: &str) -> Trap {
    Trap::BadImport(cut(name, MAX_NAME_BYTES))
}

/// What a runtime asked for and no program has, its name cut to what a report carries.
pub(super) fn denied(question: &str) -> Trap {
    Trap::Denied(cut(question, MAX_NAME_BYTES))
}

/// A refusal with the reason cut to what a report carries.
pub(super) fn invalid(reason: &dyn std::fmt::Display) -> Trap {
    Trap::Invalid(cut(&format!("{reason:#}"), MAX_REASON_BYTES))
}

/// At most `limit` bytes of `text`, without its control characters.
pub(super) fn cut(text: &str, limit: usize) -> String {
    let shown = |letter: char| if letter.is_control() { ' ' } else { letter };
    let mut kept = String::new();
    for letter in text.chars().map(shown) {
        if kept.len() + letter.len_utf8() > limit {
            break;
        }
        kept.push(letter);
    }
    kept
}

/// The same, with the lines of `text` as they are.
pub(super) fn cut_lines(text: &str, limit: usize) -> String {
    let mut kept = String::new();
    for line in text.split_inclusive('\n') {
        let (line, end) = line
            .strip_suffix('\n')
            .map_or((line, ""), |line| (line, "\n"));
        let room = limit - kept.len();
        kept += &cut(line, room);
        if line.len() >= room {
            break;
        }
        kept += end;
    }
    kept
}

fn parsed(world: World) -> (Resolve, WorldId) {
    let mut resolve = Resolve::default();
    let mut add = |name: &str, text: &str| {
        let package = resolve.push_str(name, text);
        package.expect("the worlds in this binary parse")
    };
    let program: PackageId = add("program.wit", WORLD);
    let (package, name) = match world {
        World::Program => (program, "program"),
        World::Runtime => (add("runtime.wit", RUNTIME_WORLD), "runtime"),
    };
    let world = resolve
        .select_world(&[package], Some(name))
        .expect("the worlds have these names");
    (resolve, world)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_and_unprintable_names_are_cut() {
        assert_eq!(cut("a\nb", 9), "a b");
        assert_eq!(cut("ééé", 5), "éé");
        assert_eq!(cut_lines("a\tb\r\nc\n", 9), "a b \nc\n");
        assert_eq!(cut_lines("ab\ncd\nef", 3), "ab\n");
        assert_eq!(cut_lines("ab\ncd\nef", 2), "ab");
        assert_eq!(cut_lines("éa\nb", 1), "");
    }

    #[test]
    fn bytes_that_are_no_component_are_refused() {
        for bytes in [&b""[..], b"\0asm", b"\0asm\x01\0\0\0", b"no wasm at all"] {
            let found = check_world(bytes, World::Program);
            assert!(
                matches!(found, Err(Trap::Invalid(_))),
                "{bytes:?}: {found:?}"
            );
        }
        assert!(componentize(b"no wasm at all").is_err());
    }
}
