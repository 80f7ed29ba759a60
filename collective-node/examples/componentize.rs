//! Makes a program of a core module: `componentize MODULE.wasm COMPONENT.wasm`.

use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [module, component] = arguments.as_slice() else {
        eprintln!("usage: componentize MODULE.wasm COMPONENT.wasm");
        return ExitCode::from(64);
    };
    let made = std::fs::read(module)
        .map_err(|error| format!("{module}: {error}"))
        .and_then(|bytes| {
            collective_node::sandbox::componentize(&bytes).map_err(|error| error.to_string())
        })
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
