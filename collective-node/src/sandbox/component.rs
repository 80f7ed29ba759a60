//! Components: making one from a core module, and refusing one that asks for more than the world has.

use thiserror::Error;
use wit_component::{ComponentEncoder, DecodedWasm, StringEncoding, embed_component_metadata};
use wit_parser::{PackageId, Resolve, WorldId, WorldItem};

use super::failure::Trap;

/// The world of every program: `wit/program.wit`.
pub const WORLD: &str = include_str!("../../../wit/program.wit");

/// First bytes of every component: magic, version 13, layer 1 (Component Model, Binary.md).
const PREAMBLE: &[u8] = b"\0asm\x0d\0\x01\0";
/// Bytes of an import's name that a report repeats.
const MAX_NAME_BYTES: usize = 128;
/// Bytes of what the decoder or the engine says of a component that is none.
const MAX_REASON_BYTES: usize = 256;

/// Why a core module is no program.
#[derive(Debug, Error)]
#[error("the module does not fit the world of wit/program.wit: {0}")]
pub struct ComponentizeError(String);

/// Makes a component of a core WebAssembly module (from C, Zig, Rust) whose imports and exports have
/// the names of the canonical ABI. Equal modules give equal components.
///
/// # Errors
/// What does not fit: an unknown import, a missing or mistyped export, no memory.
pub fn componentize(core_module: &[u8]) -> Result<Vec<u8>, ComponentizeError> {
    let (resolve, world) = world();
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

/// Refuses a component that imports anything but functions of the world, by name, before anything of
/// it is compiled. The types are compared when it is linked.
pub(super) fn check_imports(component: &[u8]) -> Result<(), Trap> {
    if !component.starts_with(PREAMBLE) {
        return Err(Trap::Invalid("it is not a component".into()));
    }
    let decoded = wit_component::decode(component).map_err(|error| invalid(&error))?;
    let DecodedWasm::Component(asked, asked_world) = decoded else {
        return Err(Trap::Invalid("it holds interfaces and no program".into()));
    };
    let (offered, offered_world) = world();
    for (key, item) in &asked.worlds[asked_world].imports {
        let name = asked.name_world_key(key);
        let refused = |name: &str| Err(Trap::BadImport(cut(name, MAX_NAME_BYTES)));
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
        let mut asked = asked.interfaces[*asked_id].functions.keys();
        if let Some(function) = asked.find(|function| !functions.contains_key(*function)) {
            return refused(&format!("{name}#{function}"));
        }
    }
    Ok(())
}

/// A refusal with the reason cut to what a report carries.
pub(super) fn invalid(reason: &dyn std::fmt::Display) -> Trap {
    Trap::Invalid(cut(&format!("{reason:#}"), MAX_REASON_BYTES))
}

/// At most `limit` bytes of `text`, without its control characters.
pub(super) fn cut(text: &str, limit: usize) -> String {
    let mut kept = String::new();
    for letter in text
        .chars()
        .map(|letter| if letter.is_control() { ' ' } else { letter })
    {
        if kept.len() + letter.len_utf8() > limit {
            break;
        }
        kept.push(letter);
    }
    kept
}

fn world() -> (Resolve, WorldId) {
    let mut resolve = Resolve::default();
    let package: PackageId = resolve
        .push_str("program.wit", WORLD)
        .expect("the world in this binary parses");
    let world = resolve
        .select_world(&[package], Some("program"))
        .expect("the world's name is program");
    (resolve, world)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_and_unprintable_names_are_cut() {
        assert_eq!(cut("a\nb", 9), "a b");
        assert_eq!(cut("ééé", 5), "éé");
    }

    #[test]
    fn bytes_that_are_no_component_are_refused() {
        for bytes in [&b""[..], b"\0asm", b"\0asm\x01\0\0\0", b"no wasm at all"] {
            let found = check_imports(bytes);
            assert!(
                matches!(found, Err(Trap::Invalid(_))),
                "{bytes:?}: {found:?}"
            );
        }
        assert!(componentize(b"no wasm at all").is_err());
    }
}
