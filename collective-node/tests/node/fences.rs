//! A stranger's sources that reach for the machine on which they are built: its files, its memory, its time.

use std::path::{Path, PathBuf};
use std::process::Output;

use crate::by_hand::{binary, refusal};
use crate::forge::Forge;
use collective_node::programs::git::{Clone, address};

/// What nobody else may read, and what makes of it a test that cannot pass by chance.
const SECRET: &str = "AGE-SECRET-KEY-OF-ANN";

/// A folder with a program in this language, and a secret beside it; none where its compiler is missing.
struct Place {
    folder: tempfile::TempDir,
    sources: PathBuf,
    good: String,
}

impl Place {
    fn new(language: &str, main: &str) -> Option<Self> {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(folder.path().join("secret"), SECRET).expect("written");
        std::fs::create_dir(folder.path().join("tmp")).expect("a folder");
        let sources = folder.path().join("means/src").join(main);
        let place = Self {
            folder,
            sources,
            good: String::new(),
        };
        let made = place.run(&["program", "new", "means", "--lang", language]);
        assert!(made.status.success(), "{made:?}");
        let good = std::fs::read_to_string(&place.sources).expect("a scaffold");
        let place = Self { good, ..place };
        let built = place.build();
        let said = String::from_utf8_lossy(&built.stderr).into_owned();
        if said.contains("no compiler for") {
            println!("skipped: {language}: {said}");
            return None;
        }
        assert!(built.status.success(), "{said}");
        Some(place)
    }

    fn secret(&self) -> PathBuf {
        self.folder.path().join("secret")
    }

    fn temporary(&self) -> PathBuf {
        self.folder.path().join("tmp")
    }

    fn run(&self, arguments: &[&str]) -> Output {
        let output = binary()
            .current_dir(self.folder.path())
            .env("TMPDIR", self.temporary())
            .args(arguments)
            .output();
        output.expect("the binary starts")
    }

    fn build(&self) -> Output {
        let bytes = self.folder.path().join("means.bytes");
        let _ = std::fs::remove_file(bytes);
        self.run(&["program", "build", "means", "means.bytes"])
    }

    /// Builds the program with these lines after it.
    fn with(&self, lines: &str) -> Output {
        std::fs::write(&self.sources, format!("{}\n{lines}\n", self.good)).expect("written");
        self.build()
    }

    /// Expects that a build with these lines is refused in these words, and that it leaves nothing.
    fn refuses(&self, lines: &str, words: &str) {
        let built = self.with(lines);
        let said = String::from_utf8_lossy(&built.stderr).into_owned();
        assert!(!said.contains(SECRET), "{said}");
        refusal(built, lines, words);
        assert!(!self.folder.path().join("means.bytes").exists());
        let left = std::fs::read_dir(self.temporary()).expect("a folder");
        assert_eq!(left.count(), 0, "work folders are removed");
        assert_eq!(living_in(&self.temporary()), Vec::<String>::new());
    }
}

/// Command lines of processes that work below a folder, removed or not.
fn living_in(folder: &Path) -> Vec<String> {
    let processes = std::fs::read_dir("/proc").expect("processes").flatten();
    let there = |process: &PathBuf| {
        std::fs::read_link(process.join("cwd")).is_ok_and(|cwd| cwd.starts_with(folder))
    };
    let processes = processes.map(|entry| entry.path()).filter(there);
    processes
        .map(|process| std::fs::read_to_string(process.join("cmdline")).unwrap_or_default())
        .collect()
}

#[test]
fn c_names_no_file_of_this_machine() {
    let Some(place) = Place::new("c", "main.c") else {
        return;
    };
    let secret = place.secret().display().to_string();
    // What is beside it is embedded, so that a refusal is the fence's.
    std::fs::write(place.sources.with_file_name("beside.h"), SECRET).expect("written");
    let embed = |path: &str| {
        format!("__attribute__((used)) const char embedded[] = {{\n#embed \"{path}\"\n}};")
    };
    let built = place.with(&embed("beside.h"));
    assert!(built.status.success(), "{built:?}");
    let bytes = std::fs::read(place.folder.path().join("means.bytes")).expect("bytes");
    let has = |bytes: &[u8]| {
        bytes
            .windows(SECRET.len())
            .any(|part| part == SECRET.as_bytes())
    };
    assert!(has(&bytes), "what is embedded is in the bytes");

    place.refuses(&embed(&secret), "do not compile");
    place.refuses(&embed("../../../../secret"), "do not compile");
    place.refuses(&format!("#include \"{secret}\""), "Permission denied");
    place.refuses(&embed("/etc/passwd"), "do not compile");
    place.refuses(&embed("/dev/zero"), "do not compile");
    place.refuses("#include \"/dev/zero\"", "Permission denied");
    place.refuses(&embed("/proc/self/environ"), "do not compile");
    place.refuses(&format!("__asm__(\".incbin \\\"{secret}\\\"\");"), "secret");
}

#[test]
fn zig_and_rust_name_no_file_of_this_machine() {
    if let Some(place) = Place::new("zig", "main.zig") {
        let secret = place.secret();
        let embed = format!("export const k = @embedFile(\"{}\");", secret.display());
        place.refuses(&embed, "error");
        let import = format!(
            "const c = @cImport(@cInclude(\"{}\"));\nexport const k = c.x;",
            secret.display()
        );
        place.refuses(&import, "error");
    }
    if let Some(place) = Place::new("rust", "lib.rs") {
        let secret = place.secret().display().to_string();
        for path in [&secret, "/etc/passwd", "/dev/zero", "/proc/self/environ"] {
            let embed =
                format!("#[unsafe(no_mangle)]\npub static K: &[u8] = include_bytes!(\"{path}\");");
            place.refuses(&embed, "Permission denied");
        }
    }
}

#[test]
fn a_bomb_ends_with_all_that_it_started() {
    let Some(place) = Place::new("c", "main.c") else {
        return;
    };
    let mut bomb = "#define B0 1,1,1,1,1,1,1,1,1,1,\n".to_owned();
    for level in 1..10 {
        let once = format!("B{} ", level - 1);
        bomb += &format!("#define B{level} {}\n", once.repeat(10));
    }
    place.refuses(
        &format!("{bomb}const char b[] = {{ B9 1 }};"),
        "out of memory",
    );
}

#[test]
fn a_forge_with_many_names_can_be_read() {
    let folder = tempfile::tempdir().expect("a folder");
    let Some(forge) = Forge::start(&folder.path().join("forge")) else {
        return;
    };
    let commit = forge.git("rev-parse HEAD");
    // More than git may print of them.
    let names: String = (0..20_000)
        .map(|request| format!("{commit} refs/pull/{request}/head\n"))
        .collect();
    assert!(names.len() > 1 << 20);
    std::fs::write(forge.folder.join("origin.git/packed-refs"), names).expect("written");
    for at in [forge.file(), forge.http.clone()] {
        let copy = tempfile::tempdir().expect("a folder");
        let copy = Clone::open(copy.path(), &address(&at).expect("an address")).expect("a copy");
        let request = "refs/pull/7777/head".parse().expect("a name");
        assert_eq!(copy.fetch_tip(&request).expect("a tip").as_str(), commit);
    }
}
