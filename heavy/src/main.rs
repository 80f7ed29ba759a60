//! The binary `collective-heavy`: the worker of heavy nodes (SPEC "Heavy programs").
//!
//! Owns: the input folder of programs that run there, and the recipes that come with the project. Must not know: keys, chain,
//! network, who contributed. It reads and writes the folders that it is given and nothing else; whoever starts it shuts it in.

mod failure;
mod folder;
mod generate;
mod input;
mod logistic;
mod read;
mod recipe;
mod table;
mod transformer;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use failure::Failure;
use folder::Folders;
use recipe::Recipe;

/// Makes tables of contributions, and trains on them. Exit codes: 0 done, 1 the request's fault, 2 this machine's
#[derive(Parser)]
#[command(name = "collective-heavy", version)]
struct Command {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Make the input folder of a program out of contributions, which come in on standard input
    Table(table::Arguments),
    /// Train the recipe that the arguments in the input folder name
    Train(Folders),
    /// Write on from a prompt with weights that `train` made
    Generate(generate::Arguments),
}

fn main() -> ExitCode {
    let done = match Command::parse().verb {
        Verb::Table(arguments) => table::run(arguments),
        Verb::Train(folders) => train(&folders),
        Verb::Generate(arguments) => generate::run(&arguments),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("{failure}");
            ExitCode::from(failure.exit_code())
        }
    }
}

fn train(folders: &Folders) -> Result<(), Failure> {
    let arguments = input::arguments(&folders.input)?;
    match Recipe::parse(&arguments)? {
        Recipe::Logistic(asked) => logistic::run(&asked, folders),
        Recipe::Transformer(asked) => transformer::run(&asked, &arguments, folders),
    }
}
