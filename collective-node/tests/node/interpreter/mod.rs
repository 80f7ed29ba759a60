//! Programs of sources in the sandbox, whatever their language.

use std::collections::BTreeMap;

use collective::approval::Interpreted;
use collective::bundle::Bundle;
use collective::permit::{Binary, Code};
use collective_node::sandbox::{Cache, Failure, Limits, Run, Sandbox, Stop, Task, Trap};

use crate::bombs::{binary, limits, records, stopped, task};

/// A runtime, and a sandbox whose cache all tests of a process share, as compiling an interpreter takes a while.
pub struct Interpreter {
    language: Interpreted,
    pub runtime: Vec<u8>,
    pub sandbox: Sandbox,
    _cache: tempfile::TempDir,
}

impl Interpreter {
    /// That of the file that a variable names; where there is none, says so, and by which recipe it is made.
    pub fn named(language: Interpreted, variable: &str, recipe: &str) -> Option<Self> {
        let Some(path) = std::env::var_os(variable) else {
            println!("skipped: no {variable}; `just {recipe}` makes one");
            return None;
        };
        let runtime = std::fs::read(&path).expect("the variable names a file");
        let folder = tempfile::tempdir().expect("a folder");
        let cache = Cache::new(folder.path().into(), &[1; 32]);
        let made = Self {
            language,
            runtime,
            sandbox: Sandbox::new(binary(), vec![], Some(cache)),
            _cache: folder,
        };
        let code = made.code(&[(language.entry(), "")]);
        made.sandbox.prepare(&code).expect("the runtime compiles");
        Some(made)
    }

    fn code(&self, files: &[(&str, &str)]) -> Code {
        let files: BTreeMap<String, String> = files
            .iter()
            .map(|(path, text)| ((*path).into(), (*text).into()))
            .collect();
        let bundle = Bundle::new(files).expect("a good tree");
        let runtime = Binary::new(self.runtime.clone());
        Code::sources(self.language, bundle, runtime).expect("it has an entry")
    }

    /// A task of two columns for a program of these files.
    pub fn task(&self, files: &[(&str, &str)]) -> Task {
        Task {
            code: self.code(files),
            limits: Limits {
                fuel: 20_000_000_000,
                memory_bytes: 256 << 20,
                seconds: 60,
                ..limits()
            },
            keep_log: true,
            ..task(&[])
        }
    }

    /// Runs a program of these files over two records.
    pub fn run(&self, files: &[(&str, &str)]) -> Result<Run, Failure> {
        let records = records(&["1,2\n", "3,4\n"]);
        self.sandbox.try_out(&self.task(files), records)
    }

    /// Runs a program with a change to its task, which has to stop it.
    pub fn stopped(&self, files: &[(&str, &str)], change: impl FnOnce(&mut Task)) -> Trap {
        let mut task = self.task(files);
        change(&mut task);
        let stop = stopped(self.sandbox.try_out(&task, records(&["1,2\n"])));
        println!("{:?}, {:?}", stop.trap, stop.usage);
        stop.trap
    }
}

/// The program's own words on why it failed.
pub fn said(stop: &Stop) -> &str {
    stop.text.as_ref().map_or("", |text| text.reveal())
}
