//! `age-plugin-collective`: age clients start it to seal to a recipient `age1collective1…`, which `collective recipient`
//! prints. It only seals; nobody opens contributions by a plugin.

use std::io::{stdin, stdout};
use std::process::ExitCode;

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let done = match (arguments.next().as_deref(), arguments.next()) {
        (Some("--age-plugin=recipient-v1"), None) => collective_node::plugin::recipient_v1(
            &mut stdin().lock(),
            &mut stdout().lock(),
            &mut rand::rng(),
        ),
        _ => {
            eprintln!(
                "age-plugin-collective: started by an age client with --age-plugin=recipient-v1 \
                 and by nobody else; it knows no other state machine"
            );
            return ExitCode::from(2);
        }
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("age-plugin-collective: {error}");
            ExitCode::FAILURE
        }
    }
}
