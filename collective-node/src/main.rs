//! The binary `collective`: every role is a subcommand.

use std::process::ExitCode;

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    // Before anything else: a sandbox child shuts itself in before a thread or a runtime exists.
    if arguments.next().as_deref() == Some("sandbox-child") {
        collective_node::sandbox::child_main(arguments);
    }
    collective_node::cmd::main()
}
