//! Makes a program, or a runtime, of a core module: `componentize [--runtime] MODULE.wasm COMPONENT.wasm`.

use std::process::ExitCode;

use collective_node::sandbox::{World, componentize_for};

fn main() -> ExitCode {
    let mut arguments: Vec<String> = std::env::args().skip(1).collect();
    let is_runtime = arguments.first().is_some_and(|first| first == "--runtime");
    arguments.drain(..usize::from(is_runtime));
    let [module, component] = arguments.as_slice() else {
        eprintln!("usage: componentize [--runtime] MODULE.wasm COMPONENT.wasm");
        return ExitCode::from(64);
    };
    let world = if is_runtime {
        World::Runtime
    } else {
        World::Program
    };
    let made = std::fs::read(module)
        .map_err(|error| format!("{module}: {error}"))
        .and_then(|bytes| componentize_for(world, &bytes).map_err(|error| error.to_string()))
        .and_then(|bytes| {
            std::fs::write(component, bytes).map_err(|error| format!("{component}: {error}"))
        });
    match made {
        Ok(()) => ExitCode::SUCCESS,
        Err(reason) => {
            eprintln!("componentize: {reason}");
            ExitCode::FAILURE
        }
    }
}
